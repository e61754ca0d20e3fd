//! Many tasks that do the operations of a workload over and over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::Failure;
use super::protocol::{Figures, Plan};

/// Something that can be done many times at once.
pub trait Operation: Send + Sync + 'static {
    /// Does it once, with the session of that number, and says how many requests that was worth:
    /// one, unless the operation is a batch.
    fn call(&self, session: usize) -> impl Future<Output = Result<u64, Failure>> + Send;
}

/// How much longer than planned the first operations are done, which are not counted: the share of
/// the plan's time.
const WARM_UP: f64 = 0.15;

/// Does the operation as planned, first for a moment that is not counted.
pub async fn run<O: Operation>(operation: &Arc<O>, plan: &Plan) -> Result<Figures, Failure> {
    let warm_up = Plan {
        seconds: plan.seconds * WARM_UP,
        requests: plan.requests.map(|requests| requests / 5 + 1),
        ..plan.clone()
    };
    tasks(operation, &warm_up).await?;
    let started = Instant::now();
    let latencies = tasks(operation, plan).await?;
    let elapsed = started.elapsed();
    if latencies.requests == 0 {
        return Err("nothing was done in the time of the run".into());
    }
    Ok(latencies.figures(elapsed))
}

/// What was done, and how long it took.
pub struct Latencies {
    requests: u64,
    /// In nanoseconds.
    histogram: Histogram<u32>,
}

impl Latencies {
    pub fn new() -> Result<Self, Failure> {
        let longest = Duration::from_secs(100).as_nanos() as u64;
        Ok(Self { requests: 0, histogram: Histogram::new_with_bounds(1, longest, 2)? })
    }

    /// Adds an operation that was worth so many requests.
    pub fn add(&mut self, requests: u64, time: Duration) {
        self.requests += requests;
        self.histogram.saturating_record(time.as_nanos() as u64);
    }

    pub fn figures(&self, elapsed: Duration) -> Figures {
        let microseconds = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Figures {
            requests: self.requests,
            requests_per_second: self.requests as f64 / elapsed.as_secs_f64(),
            p50: microseconds(0.5),
            p99: microseconds(0.99),
        }
    }
}

async fn tasks<O: Operation>(operation: &Arc<O>, plan: &Plan) -> Result<Latencies, Failure> {
    let deadline = Instant::now() + plan.duration();
    let left = plan.requests.map(|requests| Arc::new(AtomicU64::new(requests)));
    let mut tasks = JoinSet::new();
    for number in 0..plan.tasks {
        let (operation, left, sessions) = (operation.clone(), left.clone(), plan.sessions);
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(number as u64);
            let mut latencies = Latencies::new()?;
            let mut before = Instant::now();
            while before < deadline && left.as_deref().is_none_or(take_one) {
                let requests = operation.call(random.usize(..sessions)).await?;
                let after = Instant::now();
                latencies.add(requests, after - before);
                before = after;
            }
            Ok::<_, Failure>(latencies)
        });
    }
    let mut all = Latencies::new()?;
    while let Some(ended) = tasks.join_next().await {
        let latencies = ended??;
        all.requests += latencies.requests;
        all.histogram.add(&latencies.histogram)?;
    }
    Ok(all)
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}
