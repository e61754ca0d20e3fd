//! Instructions a request, with sessions in memory, as Valgrind counts them. This program runs under
//! Valgrind twice, with so many requests and with twice as many, and the difference counts, so that
//! everything else that a process does drops out.

use std::env;
use std::fs;
use std::process::Command;

use web_session::MemoryDriver;

use crate::workload::{self, Site};
use crate::{Counted, Section};

pub const TITLE: &str = "instructions";

const REQUESTS: usize = 1_000;

pub fn count() -> Counted {
    match Command::new("valgrind").arg("--version").output() {
        Ok(_) => Ok(section()),
        Err(error) => Err((TITLE.to_owned(), format!("valgrind: {error}"))),
    }
}

fn section() -> Section {
    let cost = |workload| {
        let [once, twice] = [REQUESTS, 2 * REQUESTS].map(|requests| total(workload, requests));
        (workload, (twice - once) / REQUESTS as u64)
    };
    (TITLE.to_owned(), workload::ALL.map(cost).to_vec())
}

/// The instructions of a process that serves so many requests.
fn total(workload: &str, requests: usize) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe().unwrap())
        .args(["--serve", workload, "--requests", &requests.to_string()])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let profile = fs::read_to_string(profile).unwrap();
    let total = profile.lines().find_map(|line| line.strip_prefix("summary: "));
    total.expect("the profile has a summary").trim().parse().unwrap()
}

/// What runs under Valgrind.
pub fn serve(workload: &str, requests: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let site = Site::new(MemoryDriver::new(), 200).await;
        for visitor in 0..requests {
            site.serve(workload, visitor).await;
        }
    });
}
