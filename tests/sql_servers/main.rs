//! What is special to PostgreSQL and to MariaDB. What every driver has to do is in the conformance
//! suite. Each test runs on a real server, in an environment of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, unreachable_pub)]

mod both;
#[cfg(feature = "mysql")]
mod mariadb;
#[cfg(feature = "postgres")]
mod postgres;
#[path = "../support/servers.rs"]
mod servers;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use servers::Server;

/// A test, by its name and its server.
struct Test {
    name: String,
    server: &'static Server,
    run: Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>,
}

fn test<F: Future<Output = ()> + 'static>(
    name: &str,
    server: &'static Server,
    run: impl FnOnce() -> F + Send + 'static,
) -> Test {
    Test { name: name.to_owned(), server, run: Box::new(move || Box::pin(run())) }
}

/// Tests named after their functions.
macro_rules! tests {
    ($group:literal, $server:expr, [$($name:path),* $(,)?]) => {
        vec![$($crate::test(
            &format!("{}::{}", $group, stringify!($name).rsplit("::").next().unwrap()),
            $server,
            $name,
        )),*]
    };
}

pub(crate) use tests;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut tests: Vec<Test> = Vec::new();
    #[cfg(feature = "postgres")]
    tests.extend(postgres::tests());
    #[cfg(feature = "mysql")]
    tests.extend(mariadb::tests());
    let trials = tests.into_iter().map(|Test { name, server, run }| {
        servers::trial(name, server, move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(run());
        })
    });
    let trials: Vec<Trial> = trials.collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
