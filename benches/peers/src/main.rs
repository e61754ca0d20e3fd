//! Compares session layers in alternating runs, and prints tables with the goals of this crate.
//!
//! Each measured program is a process of its own, built from one of the directories beside `src`, which
//! is told what to run over its standard input. Of each cell of a table all programs do one run after
//! the other, then all of them do the next round: what else the machine does meets all alike. The
//! table has the medians of the rounds.
//!
//! - `options.rs`: what is measured, from the command line, and the storages;
//! - `program.rs`: building the programs, starting them, giving them orders;
//! - `measure.rs`: the runs of a table;
//! - `report.rs`: the table, the ratios and the goals.

mod measure;
mod options;
mod program;
#[path = "../../support/protocol.rs"]
#[allow(dead_code, reason = "it is shared with the programs that are measured")]
mod protocol;
mod report;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use options::Options;

fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    program::build_all()?;
    let measuring = Instant::now();
    let mut verdicts = Vec::new();
    for storage in options.storages() {
        for &tasks in options.tasks.iter().filter(|&&tasks| storage.is_measured_with(tasks)) {
            let table = measure::table(options, &storage, tasks)?;
            report::print(&table);
            verdicts.extend(report::verdicts(&table));
        }
    }
    report::print_verdicts(&verdicts);
    let (built, measured) = (measuring - started, measuring.elapsed());
    println!("\nBuilt in {} s, measured in {} s.", built.as_secs(), measured.as_secs());
    Ok(())
}

fn main() -> ExitCode {
    match compare(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}
