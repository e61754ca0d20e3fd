//! Requests a second and latencies of one storage, whichever its URL names.
//!
//! ```console
//! $ cargo bench --all-features --bench load -- --url postgres://postgres@127.0.0.1/test
//! ```
//!
//! It makes an environment `web_session_bench` there, and removes it afterwards.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![allow(clippy::expect_used, reason = "a program that measures may end with a panic")]

mod support;
#[path = "support/web_session.rs"]
mod web_session_subject;

use std::process::ExitCode;

use clap::Parser;
use support::Failure;
use support::child::chain;
use support::protocol::{Plan, Workload};
use support::subject::Subject;

#[derive(Parser)]
struct Options {
    /// Where the sessions are kept: `memory:`, `sqlite:…`, `postgres:…`, `mysql:…` or `redis:…`.
    #[arg(long, default_value = "memory:")]
    url: String,
    /// How many tasks send requests at the same time.
    #[arg(long, value_delimiter = ',', default_value = "1,64,512")]
    tasks: Vec<usize>,
    /// What the requests do.
    #[arg(
        long, value_delimiter = ',', value_parser = workload,
        default_value = "bare,no-op,untouched,read,write,new,mixed"
    )]
    workloads: Vec<Workload>,
    /// How long each of the runs takes.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn workload(name: &str) -> Result<Workload, String> {
    let found = Workload::ALL.into_iter().find(|workload| workload.name() == name);
    found.ok_or_else(|| format!("there are {}", Workload::ALL.map(Workload::name).join(", ")))
}

async fn measure(options: &Options) -> Result<(), Failure> {
    let driver = web_session_subject::driver(&options.url).await?;
    let result = runs(options, &driver).await;
    web_session_subject::clear(&driver).await?;
    result
}

async fn runs(
    options: &Options,
    driver: &std::sync::Arc<dyn web_session::Driver>,
) -> Result<(), Failure> {
    println!("| tasks | workload | requests/s | p50 µs | p99 µs |");
    println!("|---|---|---|---|---|");
    for &tasks in &options.tasks {
        let mut subject = Subject::new(web_session_subject::router(driver.clone()).await?);
        for &workload in &options.workloads {
            let sessions = Plan::sessions_for(tasks);
            let seconds = options.seconds;
            let plan = Plan { workload, tasks, sessions, seconds, requests: None };
            let figures = subject.run(&plan).await?;
            println!(
                "| {tasks} | {} | {:.0} | {:.1} | {:.1} |",
                workload.name(),
                figures.requests_per_second,
                figures.p50,
                figures.p99
            );
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let options = Options::parse();
    match support::runtime().block_on(measure(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("load: {}", chain(&*failure));
            ExitCode::FAILURE
        }
    }
}
