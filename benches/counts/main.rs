//! What a request costs in numbers that do not depend on the machine: heap allocations, calls of the
//! driver and their bytes, statements, instructions. They are compared with `benches/counts.toml`: a number
//! that has risen is a failure until that file is changed on purpose, one that has fallen is a hint.
//!
//! ```sh
//! cargo bench --all-features --bench counts                # compares
//! cargo bench --all-features --bench counts -- --update    # writes the file anew
//! ```
//!
//! The requests are in `workload`, the file in `file`; of the others each counts one thing. What
//! cannot be counted here, because a server or Valgrind is missing, is left out with the reason, or is
//! a failure where `WEB_SESSION_REQUIRE_SERVERS` is set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    reason = "a bench stops at the first surprise, and prints"
)]

mod allocations;
mod calls;
mod driver_calls;
mod file;
mod instructions;
mod statements;
mod workload;

#[path = "../../tests/manager/probe.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod probe;
#[path = "../../tests/support/servers.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web_session.rs"]
mod web_session_subject;

use std::process::ExitCode;

use clap::Parser;

/// A title, and a number for each workload or call.
type Section = (String, Vec<(&'static str, u64)>);

/// What was counted; or a title, and why that was not counted.
type Counted = Result<Section, (String, String)>;

/// Counts what a request costs, and compares it with benches/counts.toml.
#[derive(Parser)]
struct Options {
    /// Write the file anew instead.
    #[arg(long)]
    update: bool,
    /// Serve requests of this workload and nothing else: the program as Valgrind runs it.
    #[arg(long, hide = true)]
    serve: Option<String>,
    #[arg(long, hide = true, default_value_t = 0)]
    requests: usize,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(workload) = options.serve {
        instructions::serve(&workload, options.requests);
        return ExitCode::SUCCESS;
    }
    let mut counted = vec![Ok(allocations::count()), Ok(driver_calls::count())];
    counted.extend(statements::count());
    counted.push(instructions::count());
    if options.update { file::update(&counted) } else { file::compare(&counted) }
}
