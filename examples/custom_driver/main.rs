//! A driver of one's own, and the suite that tells whether it keeps the promises of the trait.
//!
//! ```console
//! $ cargo run --example custom_driver
//! ok an_unknown_session_is_left_out
//! ...
//! ```
//!
//! `directory` is the driver. It needs `web-session`, `tokio`, `serde` and `serde_json`; only
//! this program needs the cargo feature `conformance`. `tests/conformance.rs` shows how to make each
//! case a test of `cargo test` instead.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod directory;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use directory::Directory;
use web_session::driver::Driver;
use web_session::driver::conformance;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let cases = conformance::cases();
    let mut passed = 0;
    for case in &cases {
        let place = tempfile::tempdir()?;
        let driver = Arc::new(Directory::new(place.path()));
        driver.ensure_environment().await?;
        let run = {
            let case = *case;
            tokio::spawn(async move { case.run(&*driver).await })
        };
        // A case that fails panics, and has said why.
        match run.await {
            Ok(()) => {
                println!("ok {}", case.name());
                passed += 1;
            }
            Err(_) => println!("FAILED {} ({})", case.name(), case.rows()),
        }
    }
    println!("{passed} of {} cases passed", cases.len());
    Ok(if passed == cases.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
