//! Floods of requests: what visitors who never come back cost, and how far they can go. A test binary of
//! its own: the crate that counts the heap replaces the allocator of the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, unreachable_pub)]

mod bounded;
mod contents;
mod crowds;
mod idle;
#[path = "../support/servers.rs"]
mod servers;
mod visitors;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Tests in memory, named after their functions.
macro_rules! tests {
    ($($name:path),* $(,)?) => {
        vec![$(libtest_mimic::Trial::test(
            format!("memory::{}", stringify!($name).rsplit("::").next().unwrap()),
            || {
                $name();
                Ok(())
            },
        )),*]
    };
}

pub(crate) use tests;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials: Vec<Trial> =
        [idle::in_memory(), idle::on_servers(), bounded::tests(), crowds::tests()]
            .into_iter()
            .flatten()
            .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
