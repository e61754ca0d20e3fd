//! What is measured and what came out, as types that pass between processes as lines of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What each request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// No layer at all.
    Bare,
    /// A layer that does nothing.
    NoOp,
    /// With a cookie, and a handler that ignores the session.
    Untouched,
    /// Reads one integer.
    Read,
    /// Reads one integer, adds one, writes it.
    Write,
    /// Without a cookie: the first write of a new session.
    New,
    /// Of twenty requests fourteen read, five write, and one comes without a cookie.
    Mixed,
}

impl Workload {
    pub const ALL: [Self; 7] =
        [Self::Bare, Self::NoOp, Self::Untouched, Self::Read, Self::Write, Self::New, Self::Mixed];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::NoOp => "no-op",
            Self::Untouched => "untouched",
            Self::Read => "read",
            Self::Write => "write",
            Self::New => "new",
            Self::Mixed => "mixed",
        }
    }
}

/// One run of one workload. It ends after `seconds`, or after `requests` if that comes first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub workload: Workload,
    /// How many tasks send requests at the same time, each one after the other.
    pub tasks: usize,
    /// How many sessions they choose from.
    pub sessions: usize,
    pub seconds: f64,
    pub requests: Option<u64>,
}

impl Plan {
    /// The number of sessions that goes with a number of tasks: so many that batches of concurrent
    /// requests seldom meet the same session twice.
    pub fn sessions_for(tasks: usize) -> usize {
        if tasks > 64 { 5_000 } else { 200 }
    }

    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// What a run showed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Figures {
    pub requests: u64,
    pub requests_per_second: f64,
    /// Microseconds within which half of the requests were answered.
    pub p50: f64,
    /// Microseconds within which 99 % of the requests were answered.
    pub p99: f64,
}

/// What a measured program is asked to do: one order a line of its standard input. The first is
/// `Open`, and the end of the input ends the program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// Make an empty storage at a URL. The variant chooses between settings of a program.
    Open {
        url: String,
        variant: String,
    },
    Run(Plan),
    /// Remove everything that `Open` and the runs made.
    Clear,
}

/// The answer to an order: one line of the standard output.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    Done,
    Figures(Figures),
    Failed(String),
}
