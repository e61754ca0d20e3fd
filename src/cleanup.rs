//! Removes expired sessions beside the requests: now and then by itself, or on a schedule.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::driver::{Cleanup, Driver, DriverError};
use crate::events::SessionEvent;
use crate::random;
use crate::settings::Settings;

/// How many sessions one driver call removes at most, so that requests get in between.
const BATCH: u32 = 200;

/// How long requests have the storage after a batch: as long as it has taken, within these bounds. Less is not what a
/// timer can do, and more is what a batch has waited for itself.
const REST: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(20);

/// The shortest time between two automatic cleanups of a probability below 1.
const PAUSE: Duration = Duration::from_secs(60);

/// Removes the sessions with `from` ≤ expiry < `until`, batch by batch, and leaves time to requests between them.
pub(crate) async fn remove(
    driver: &dyn Driver,
    from: Timestamp,
    until: Timestamp,
) -> Result<u64, DriverError> {
    let mut removed = 0;
    loop {
        let begun = Instant::now();
        let batch = driver.cleanup(Cleanup { from, until, limit: BATCH }).await?;
        removed += batch;
        if batch < u64::from(BATCH) {
            return Ok(removed);
        }
        let took = begun.elapsed();
        if took < *REST.start() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(took.min(*REST.end())).await;
        }
    }
}

async fn remove_expired(settings: &Settings) -> Result<u64, DriverError> {
    let removed = remove(&*settings.driver, Timestamp::MIN, settings.now()).await?;
    settings.raise(SessionEvent::CleanedUp { removed });
    Ok(removed)
}

/// The cleanup that requests start by chance; one at a time.
#[derive(Debug)]
pub(crate) struct AutomaticCleanup {
    running: AtomicBool,
    /// When the last one began, in milliseconds since the epoch.
    last: AtomicI64,
    /// How many scheduled cleanups there are; while there is one, chance starts none.
    scheduled: AtomicUsize,
}

impl Default for AutomaticCleanup {
    fn default() -> Self {
        Self {
            running: AtomicBool::new(false),
            last: AtomicI64::new(i64::MIN),
            scheduled: AtomicUsize::new(0),
        }
    }
}

impl AutomaticCleanup {
    /// Starts a cleanup with the configured probability, on a task of its own.
    pub(crate) fn draw(&self, settings: &Arc<Settings>, now: Timestamp) {
        let probability = settings.cleanup_probability;
        if probability <= 0.0 || self.scheduled.load(Ordering::Relaxed) > 0 {
            return;
        }
        if probability < 1.0 && settings.driver.removes_expired() {
            return;
        }
        if !self.has_paused(probability, now) {
            return;
        }
        match random::chance(&*settings.random, probability) {
            Ok(true) => self.start(settings),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "whether to clean up could not be drawn"),
        }
    }

    /// Whether the last one is long enough ago. A clock that was set back must not keep the next from
    /// starting until it has caught up.
    fn has_paused(&self, probability: f64, now: Timestamp) -> bool {
        let last = Timestamp::from_millis(self.last.load(Ordering::Relaxed));
        probability >= 1.0 || now < last || now.since(last) >= PAUSE
    }

    fn start(&self, settings: &Arc<Settings>) {
        let Ok(runtime) = Handle::try_current() else {
            tracing::warn!("outside a tokio runtime expired sessions are not cleaned up");
            return;
        };
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let running = Running(settings.clone());
        // Another may have begun and ended since the draw, so the time is looked at again.
        let now = settings.now();
        if !self.has_paused(settings.cleanup_probability, now) {
            return;
        }
        self.last.store(now.as_millis(), Ordering::Relaxed);
        runtime.spawn(async move {
            if let Err(error) = remove_expired(&running.0).await {
                tracing::warn!(%error, "expired sessions could not be cleaned up");
            }
        });
    }
}

/// Lets the next cleanup start when this one is over, however it ends.
struct Running(Arc<Settings>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cleanup.running.store(false, Ordering::Release);
    }
}

/// A scheduled cleanup, from [`SessionLayer::spawn_cleanup`](crate::SessionLayer::spawn_cleanup).
/// It ends when this handle is dropped.
#[derive(Debug)]
#[must_use = "the cleanup stops when its handle is dropped"]
pub struct CleanupHandle {
    task: JoinHandle<()>,
    /// Held by the task of a round as long as it lives.
    round: Arc<Mutex<()>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    rounds: AtomicU64,
    failures: AtomicU64,
    removed: AtomicU64,
}

/// What a scheduled cleanup has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CleanupReport {
    /// How many rounds were completed.
    pub rounds: u64,
    /// How many rounds failed.
    pub failures: u64,
    /// How many sessions were removed by completed rounds.
    pub removed: u64,
}

impl CleanupHandle {
    /// What has been done so far.
    pub fn report(&self) -> CleanupReport {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CleanupReport {
            rounds: read(&self.counts.rounds),
            failures: read(&self.counts.failures),
            removed: read(&self.counts.removed),
        }
    }

    /// Ends the cleanup and waits until it has ended: no driver call is begun after this. What a
    /// driver does with a call that was given up half-way is its own affair; see
    /// [`DriverFuture`](crate::driver::DriverFuture).
    pub async fn stop(mut self) {
        self.task.abort();
        // The error says that the task was aborted.
        let _ = (&mut self.task).await;
        // Aborting a task does not wait for what it is in the middle of.
        drop(self.round.lock().await);
    }
}

impl Drop for CleanupHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Cleans up at once and then every `period`. A round that fails or panics is followed by another,
/// sooner than the next period at first and then at growing distances.
pub(crate) fn spawn(settings: Arc<Settings>, period: Duration) -> CleanupHandle {
    /// The distance to the first attempt after a failure, and the shortest period.
    const SOONEST: Duration = Duration::from_secs(1);
    let period = period.max(SOONEST);
    let counts = Arc::new(Counts::default());
    let reported = counts.clone();
    let running = Arc::new(Mutex::new(()));
    let ending = running.clone();
    let scheduled = Scheduled::new(settings);
    let back_off = ExponentialBuilder::new()
        .with_min_delay(SOONEST)
        .with_max_delay(period)
        .with_jitter()
        .without_max_times();
    let task = tokio::spawn(async move {
        let mut delays = back_off.build();
        loop {
            let delay = match round(&scheduled.0, &running).await {
                Ok(removed) => {
                    counts.rounds.fetch_add(1, Ordering::Relaxed);
                    counts.removed.fetch_add(removed, Ordering::Relaxed);
                    delays = back_off.build();
                    period
                }
                Err(reason) => {
                    counts.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(reason, "expired sessions could not be cleaned up");
                    delays.next().unwrap_or(period).min(period)
                }
            };
            tokio::time::sleep(delay).await;
        }
    });
    CleanupHandle { task, round: ending, counts: reported }
}

/// One round, in a task of its own, so that a panic of the driver is a failure like others.
async fn round(settings: &Arc<Settings>, running: &Arc<Mutex<()>>) -> Result<u64, String> {
    let settings = settings.clone();
    let running = running.clone().lock_owned().await;
    let mut task = AbortOnDrop(tokio::spawn(async move {
        let _running = running;
        remove_expired(&settings).await
    }));
    match (&mut task.0).await {
        Ok(Ok(removed)) => Ok(removed),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the driver panicked".to_owned()),
    }
}

struct AbortOnDrop(JoinHandle<Result<u64, DriverError>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps chance from starting a cleanup while a schedule does.
struct Scheduled(Arc<Settings>);

impl Scheduled {
    fn new(settings: Arc<Settings>) -> Self {
        settings.cleanup.scheduled.fetch_add(1, Ordering::Relaxed);
        Self(settings)
    }
}

impl Drop for Scheduled {
    fn drop(&mut self) {
        self.0.cleanup.scheduled.fetch_sub(1, Ordering::Relaxed);
    }
}
