//! Every driver against the whole suite, each case a test of its own: `sqlite_file::a_commit_...`.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../examples/custom_driver/directory/mod.rs"]
mod directory;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use directory::Directory;
use libtest_mimic::{Arguments, Trial};
use tempfile::TempDir;
use web_session::MemoryDriver;
use web_session::driver::Driver;
use web_session::driver::conformance::{Case, cases};

/// A driver whose environment exists and is empty, and the directory that it may be in.
struct Fresh {
    driver: Box<dyn Driver>,
    place: Option<TempDir>,
}

impl Fresh {
    async fn new(driver: impl Driver, place: Option<TempDir>) -> Self {
        driver.ensure_environment().await.unwrap();
        Self { driver: Box::new(driver), place }
    }
}

type Open = fn() -> Pin<Box<dyn Future<Output = Fresh>>>;

/// A driver that is held to the suite.
struct Subject {
    name: &'static str,
    open: Open,
    /// Why it cannot be tested here, such as a server that is not reached. Its cases are then
    /// listed as ignored, with the reason.
    unavailable: Option<String>,
}

fn subject(name: &'static str, open: Open) -> Subject {
    Subject { name, open, unavailable: None }
}

fn subjects() -> Vec<Subject> {
    vec![
        subject("memory", || Box::pin(Fresh::new(MemoryDriver::new(), None))),
        subject("memory_in_arc", || {
            let driver: Arc<dyn Driver> = Arc::new(MemoryDriver::new());
            Box::pin(Fresh::new(Arc::new(driver), None))
        }),
        subject("memory_in_box", || {
            let driver: Box<dyn Driver> = Box::new(MemoryDriver::new());
            Box::pin(Fresh::new(driver, None))
        }),
        subject("directory", || {
            let place = tempfile::tempdir().unwrap();
            Box::pin(Fresh::new(Directory::new(place.path()), Some(place)))
        }),
        #[cfg(feature = "sqlite")]
        subject("sqlite_file", || {
            Box::pin(async {
                let place = tempfile::tempdir().unwrap();
                let url = format!("sqlite://{}", place.path().join("sessions.db").display());
                Fresh::new(web_session::connect(&url).await.unwrap(), Some(place)).await
            })
        }),
        #[cfg(feature = "sqlite")]
        subject("sqlite_memory", || {
            Box::pin(async {
                Fresh::new(web_session::connect("sqlite::memory:").await.unwrap(), None).await
            })
        }),
    ]
}

fn run(open: Open, case: Case) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let Fresh { driver, place } = open().await;
        case.run(&*driver).await;
        drop(driver);
        drop(place);
    });
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for Subject { name, open, unavailable } in subjects() {
        for case in cases() {
            let trial = Trial::test(format!("{name}::{}", case.name()), move || {
                run(open, case);
                Ok(())
            });
            trials.push(match &unavailable {
                Some(reason) => trial.with_kind(reason).with_ignored_flag(true),
                None => trial,
            });
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
