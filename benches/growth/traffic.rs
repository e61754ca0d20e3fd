//! Requests, through an axum router, and how long they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use web_session::{Driver, SessionLayer};

use crate::load;
use crate::support::Failure;
use crate::support::load::{Latencies, Operation, run};
use crate::support::protocol::{Figures, Plan, Workload};
use crate::web_session_subject::pages;
use crate::workload::{answer, layer, request};

const TASKS: usize = 64;

/// How far apart requests are that come in at a steady pace.
const PACE: Duration = Duration::from_millis(1);

pub fn print_head() {
    println!("  {:<32}{:>12}{:>12}{:>12}", "", "requests/s", "p50 in µs", "p99 in µs");
}

pub fn print(name: &str, figures: &Figures) {
    let Figures { requests_per_second, p50, p99, .. } = figures;
    println!("  {name:<32}{requests_per_second:>12.0}{p50:>12.0}{p99:>12.0}");
}

pub struct Site {
    router: Router,
    pub layer: SessionLayer,
}

/// A request to one of many sessions: of so many in a row the first.
struct Asking {
    router: Router,
    workload: Workload,
    step: u64,
}

impl Operation for Asking {
    async fn call(&self, session: usize) -> Result<u64, Failure> {
        let id = load::id(session as u64 * self.step);
        answer(self.router.clone(), request(self.workload.name(), Some(&id))).await;
        Ok(1)
    }
}

impl Site {
    pub async fn new(driver: impl Driver) -> Self {
        let layer = layer(driver).build().await.unwrap();
        Self { router: pages().layer(layer.clone()), layer }
    }

    /// So many tasks, each of which asks again as soon as it has an answer.
    pub async fn rush(
        &self,
        workload: Workload,
        sessions: u64,
        step: u64,
        seconds: f64,
    ) -> Figures {
        let asking = Arc::new(Asking { router: self.router.clone(), workload, step });
        let sessions = usize::try_from(sessions / step).unwrap();
        let plan = Plan { workload, tasks: TASKS, sessions, seconds, requests: None };
        run(&asking, &plan).await.unwrap()
    }

    /// Opens the connections that many need who come at the same moment.
    pub async fn warm_up(&self, sessions: u64) {
        for _ in 0..20 {
            let mut tasks = JoinSet::new();
            for _ in 0..TASKS {
                tasks.spawn(read_one(self.router.clone(), sessions));
            }
            tasks.join_all().await;
        }
    }

    /// A thousand reads a second while something else is done, however long answers take. The time
    /// of each begins when it is due.
    pub async fn pace<T>(&self, sessions: u64, meanwhile: impl Future<Output = T>) -> (Figures, T) {
        let begin = Instant::now();
        let is_over = Arc::new(AtomicBool::new(false));
        let latencies = Arc::new(Mutex::new(Latencies::new().unwrap()));
        // A thread of its own keeps the time more exactly than the runtime, and is not held up by it.
        let pacer = std::thread::spawn({
            let (router, latencies, is_over) =
                (self.router.clone(), latencies.clone(), is_over.clone());
            let runtime = Handle::current();
            move || {
                let mut tasks = JoinSet::new();
                let mut turn = 0;
                while !is_over.load(Ordering::Relaxed) {
                    turn += 1;
                    let due = begin + PACE * turn;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let (read, latencies) = (read_one(router.clone(), sessions), latencies.clone());
                    let ask = async move {
                        read.await;
                        latencies.lock().add(1, due.elapsed());
                    };
                    tasks.spawn_on(ask, &runtime);
                }
                tasks
            }
        });
        let done = meanwhile.await;
        let elapsed = begin.elapsed();
        is_over.store(true, Ordering::Relaxed);
        let tasks = tokio::task::spawn_blocking(|| pacer.join().unwrap()).await.unwrap();
        tasks.join_all().await;
        let figures = latencies.lock().figures(elapsed);
        (figures, done)
    }
}

/// Reads one of the sessions. Every tenth is left out, as it is cleaned up.
async fn read_one(router: Router, sessions: u64) {
    let id = load::id(fastrand::u64(..sessions / 10) * 10 + fastrand::u64(1..10));
    answer(router, request(Workload::Read.name(), Some(&id))).await;
}
