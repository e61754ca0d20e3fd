//! Every driver against the whole suite, each case a test of its own: `postgres::a_commit_...`.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by a panic")]

#[path = "../examples/custom_driver/directory/mod.rs"]
mod directory;
#[path = "support/servers.rs"]
mod servers;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use directory::Directory;
use libtest_mimic::{Arguments, Trial};
use servers::Server;
use tempfile::TempDir;
use web_session::MemoryDriver;
use web_session::driver::conformance::{Case, cases};
use web_session::driver::{Driver, OnMissing};

/// A driver whose environment exists and is empty, and the directory that it may be in.
struct Fresh {
    driver: Arc<dyn Driver>,
    place: Option<TempDir>,
}

impl Fresh {
    async fn new(driver: impl Driver, place: Option<TempDir>) -> Self {
        driver.ensure_environment().await.unwrap();
        Self { driver: Arc::new(driver), place }
    }
}

type Open = fn() -> Pin<Box<dyn Future<Output = Fresh>>>;

/// A driver that is held to the suite.
struct Subject {
    name: &'static str,
    open: Open,
    /// The server that it needs.
    server: Option<&'static Server>,
}

fn subject(name: &'static str, open: Open) -> Subject {
    Subject { name, open, server: None }
}

/// A driver on a server, in an environment of its own.
#[allow(unused_macros, reason = "without a driver for a server there is none")]
macro_rules! on_server {
    ($name:literal, $driver:path, $server:path) => {{
        use $driver as Driver;
        let open: Open = || {
            Box::pin(async {
                let builder = Driver::builder(&$server.url()).environment(servers::environment());
                Fresh::new(builder.connect().await.unwrap(), None).await
            })
        };
        Subject { name: $name, open, server: Some(&$server) }
    }};
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
        #[cfg(feature = "postgres")]
        on_server!("postgres", web_session::PostgresDriver, servers::POSTGRES),
        #[cfg(feature = "mysql")]
        on_server!("mariadb", web_session::MySqlDriver, servers::MARIADB),
        #[cfg(feature = "redis")]
        on_server!("redis", web_session::RedisDriver, servers::REDIS),
        #[cfg(feature = "redis")]
        on_server!("redis_cluster", web_session::RedisDriver, servers::REDIS_CLUSTER),
    ]
}

fn run(open: Open, case: Case) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let Fresh { driver, place } = runtime.block_on(open());
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(case.run(&*driver))));
    runtime.block_on(driver.remove_environment(OnMissing::Ignore)).unwrap();
    drop(driver);
    drop(place);
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for Subject { name, open, server } in subjects() {
        for case in cases() {
            let (name, test) = (format!("{name}::{}", case.name()), move || run(open, case));
            trials.push(match server {
                Some(server) => servers::trial(name, server, test),
                None => Trial::test(name, move || {
                    test();
                    Ok(())
                }),
            });
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
