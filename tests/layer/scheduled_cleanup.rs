//! Cleaning up: on a schedule, and by chance. Time is tokio's, paused.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, advance, sleep};
use web_session::driver::*;
use web_session::{
    Clock, Driver, ManualClock, MemoryDriver, RandomError, RandomSource, SessionLayer, SessionRef,
};

use crate::logs::Logs;
use crate::visitor::*;
use crate::wrappers::{Around, Call, Failing, wrap};

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Error,
    Panic,
}

/// Notes when it is asked to clean up, and has trouble as planned.
#[derive(Debug, Clone)]
struct Watched {
    inner: Arc<dyn Driver>,
    trouble: Arc<Mutex<VecDeque<Trouble>>>,
    cleanups: Arc<Mutex<Vec<Instant>>>,
}

impl Watched {
    fn new(inner: impl Driver, trouble: impl IntoIterator<Item = Trouble>) -> Self {
        Self {
            inner: Arc::new(inner),
            trouble: Arc::new(Mutex::new(trouble.into_iter().collect())),
            cleanups: Arc::default(),
        }
    }

    fn count(&self) -> usize {
        self.cleanups.lock().unwrap().len()
    }

    /// The distances between the cleanups, in milliseconds.
    fn distances(&self) -> Vec<u128> {
        let cleanups = self.cleanups.lock().unwrap();
        cleanups.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect()
    }
}

impl Around for Watched {
    fn around<T: std::fmt::Debug + Send + 'static>(
        &self,
        call: Call,
        next: impl FnOnce(&dyn Driver) -> DriverFuture<T> + Send + 'static,
    ) -> DriverFuture<T> {
        if call == Call::Cleanup {
            self.cleanups.lock().unwrap().push(Instant::now());
            let trouble = self.trouble.lock().unwrap().pop_front();
            match trouble {
                Some(Trouble::Error) => return DriverFuture::ready(Err(Failing::error())),
                Some(Trouble::Panic) => panic!("the driver panicked"),
                None => {}
            }
        }
        next(&*self.inner)
    }
}

wrap!(Watched);

const MINUTE: Duration = Duration::from_secs(60);

async fn expired_sessions(layer: &SessionLayer, clock: &ManualClock, count: usize) {
    for _ in 0..count {
        layer.manager().create_for(Duration::from_secs(1)).await.unwrap();
    }
    clock.advance(Duration::from_secs(2));
}

/// Lets tasks that are ready run, without time passing.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

// T4
#[tokio::test(start_paused = true)]
async fn expired_sessions_are_removed_at_once_and_then_each_period_in_batches() {
    let memory = MemoryDriver::new();
    let watched = Watched::new(memory.clone(), []);
    let (layer, clock) = layer_with_clock(watched.clone()).await;
    expired_sessions(&layer, &clock, 2_500).await;
    let kept = session_with(&layer, &[("n", 1)]).await;
    let handle = layer.spawn_cleanup(MINUTE);
    settle().await;
    // Twelve full batches and a part.
    assert_eq!((watched.count(), memory.len()), (13, 1));
    let report = handle.report();
    assert_eq!((report.rounds, report.failures, report.removed), (1, 0, 2_500));

    expired_sessions(&layer, &clock, 10).await;
    advance(MINUTE - Duration::from_millis(2)).await;
    settle().await;
    assert_eq!(memory.len(), 11, "not before its time");
    advance(Duration::from_millis(2)).await;
    settle().await;
    let report = handle.report();
    assert_eq!((report.rounds, report.failures, report.removed), (2, 0, 2_510));
    assert_eq!(memory.len(), 1);
    assert!(items_of(&layer, &kept).await.is_some());
}

// T4
#[tokio::test(start_paused = true)]
async fn errors_and_panics_are_survived_with_a_growing_distance() {
    let (logs, _guard) = Logs::of_this_thread();
    let trouble = [
        Trouble::Error,
        Trouble::Panic,
        Trouble::Error,
        Trouble::Error,
        Trouble::Panic,
        Trouble::Error,
        Trouble::Error,
        Trouble::Error,
    ];
    let watched = Watched::new(MemoryDriver::new(), trouble);
    let (layer, clock) = layer_with_clock(watched.clone()).await;
    expired_sessions(&layer, &clock, 3).await;
    let handle = layer.spawn_cleanup(MINUTE);
    sleep(20 * MINUTE).await;
    let report = handle.report();
    assert_eq!((report.failures, report.removed), (8, 3));
    assert!(report.rounds > 5);

    let distances = watched.distances();
    let (back_off, regular) = distances.split_at(8);
    for (n, distance) in back_off.iter().enumerate() {
        // Doubled each time from one second, with jitter, and never longer than the period.
        let least = (1_000 << n).min(60_000);
        assert!((least..=60_001).contains(distance), "{distances:?}");
    }
    assert!(back_off[0] < 10_000, "{distances:?}");
    assert!(regular.iter().all(|distance| (60_000..=60_001).contains(distance)));
    let text = logs.text();
    assert_eq!(text.matches("expired sessions could not be cleaned up").count(), 8);
    assert!(text.contains("the storage is not available") && text.contains("the driver panicked"));
}

// T4
#[tokio::test(start_paused = true)]
async fn after_a_success_the_distance_begins_anew() {
    use Trouble::Error;
    let watched = Watched::new(MemoryDriver::new(), [Error, Error, Error, Error]);
    let layer = layer(watched.clone()).await;
    let handle = layer.spawn_cleanup(MINUTE);
    while handle.report().rounds == 0 {
        sleep(Duration::from_secs(1)).await;
    }
    watched.trouble.lock().unwrap().extend([Error]);
    sleep(3 * MINUTE).await;
    assert_eq!(handle.report().failures, 5);
    let after_the_fifth = watched.distances()[5];
    assert!((1_000..3_000).contains(&after_the_fifth), "{:?}", watched.distances());
}

// T4
#[tokio::test(start_paused = true)]
async fn a_period_is_never_shorter_than_a_second() {
    let watched = Watched::new(MemoryDriver::new(), []);
    let layer = layer(watched.clone()).await;
    let _handle = layer.spawn_cleanup(Duration::ZERO);
    sleep(Duration::from_millis(9_500)).await;
    assert_eq!(watched.count(), 10);
}

// T4
#[tokio::test(start_paused = true)]
async fn the_schedule_stops_with_its_handle() {
    let watched = Watched::new(MemoryDriver::new(), []);
    let layer = layer(watched.clone()).await;
    for way in ["drop", "stop"] {
        let handle = layer.spawn_cleanup(MINUTE);
        sleep(MINUTE + Duration::from_secs(1)).await;
        let before = watched.count();
        assert!(before > 0);
        match way {
            "drop" => drop(handle),
            _ => handle.stop().await,
        }
        sleep(10 * MINUTE).await;
        assert_eq!(watched.count(), before, "{way}");
    }
}

// T4
#[tokio::test(start_paused = true)]
async fn a_schedule_that_stops_in_the_middle_of_a_round_ends_the_round() {
    let watched = Watched::new(MemoryDriver::new(), []);
    let suspended = crate::wrappers::Suspending::new(watched.clone());
    let (layer, clock) = layer_with_clock(suspended).await;
    expired_sessions(&layer, &clock, 1_500).await;
    let handle = layer.spawn_cleanup(MINUTE);
    while watched.count() == 0 {
        tokio::task::yield_now().await;
    }
    handle.stop().await;
    settle().await;
    assert_eq!(watched.count(), 1, "the second batch was not begun");
}

/// Keeps its thread busy while it cleans up, and counts the calls that have begun and ended.
#[derive(Debug, Clone)]
struct Busy {
    inner: MemoryDriver,
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Around for Busy {
    fn around<T: std::fmt::Debug + Send + 'static>(
        &self,
        call: Call,
        next: impl FnOnce(&dyn Driver) -> DriverFuture<T> + Send + 'static,
    ) -> DriverFuture<T> {
        if call != Call::Cleanup {
            return next(&self.inner);
        }
        self.begun.fetch_add(1, SeqCst);
        std::thread::sleep(Duration::from_millis(200));
        let answer = next(&self.inner);
        self.ended.fetch_add(1, SeqCst);
        answer
    }
}

wrap!(Busy);

// T4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_a_schedule_waits_for_the_round() {
    let inner = MemoryDriver::new();
    let busy = Busy { inner, begun: Arc::default(), ended: Arc::default() };
    let handle = layer(busy.clone()).await.spawn_cleanup(MINUTE);
    while busy.begun.load(SeqCst) == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    handle.stop().await;
    assert_eq!((busy.begun.load(SeqCst), busy.ended.load(SeqCst)), (1, 1));
}

// T4, M6
#[tokio::test(start_paused = true)]
async fn while_a_schedule_runs_chance_starts_no_cleanup() {
    let watched = Watched::new(MemoryDriver::new(), []);
    let layer =
        SessionLayer::builder(watched.clone()).cleanup_probability(1.0).build().await.unwrap();
    let read = async || {
        let unknown = request_of(&"0".repeat(32));
        send(&layer, unknown, async |session| {
            assert!(!session.load().await.unwrap());
        })
        .await;
        settle().await;
    };
    read().await;
    assert_eq!(watched.count(), 1);

    let one = layer.spawn_cleanup(MINUTE);
    let two = layer.clone().spawn_cleanup(MINUTE);
    settle().await;
    assert_eq!(watched.count(), 3);
    read().await;
    assert_eq!(watched.count(), 3);
    one.stop().await;
    read().await;
    assert_eq!(watched.count(), 3, "one schedule is left");
    two.stop().await;
    read().await;
    assert_eq!(watched.count(), 4);
}

// M6
#[tokio::test(start_paused = true)]
async fn a_request_draws_once_and_never_waits_for_the_cleanup() {
    let watched = Watched::new(MemoryDriver::new(), [Trouble::Error, Trouble::Panic]);
    let layer =
        SessionLayer::builder(watched.clone()).cleanup_probability(1.0).build().await.unwrap();
    for round in 1..=3 {
        let answer = send(&layer, request_of(&"0".repeat(32)), async |session| {
            session.load().await?;
            assert_eq!(watched.count(), round - 1, "nobody waits for it");
            settle().await;
            session.app::<Shop>().set("n", &1)?;
            session.commit().await?;
            session.app::<Blog>().len().await.map(|n| n.to_string())
        })
        .await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, "0"));
        settle().await;
        assert_eq!(watched.count(), round, "trouble in one cleanup does not stop the next");
    }
    // A request that never calls the driver does not draw.
    send(&layer, request_with(&[]), async |session| drop(session.load().await)).await;
    settle().await;
    assert_eq!(watched.count(), 3);
}

/// The lowest number at each draw, so that chance never says no.
#[derive(Debug)]
struct Lowest;

impl RandomSource for Lowest {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        bytes.fill(0);
        Ok(())
    }
}

// M6
#[tokio::test]
async fn a_clock_that_was_set_back_does_not_switch_cleanup_by_chance_off() {
    let watched = Watched::new(MemoryDriver::new(), []);
    let clock = ManualClock::new(std::time::SystemTime::now());
    let builder = SessionLayer::builder(watched.clone()).clock(clock.clone()).random(Lowest);
    let layer = builder.cleanup_probability(0.05).build().await.unwrap();
    let read = async || {
        layer.manager().exists(&*"0".repeat(32)).await.unwrap();
        settle().await;
        watched.count()
    };
    assert_eq!((read().await, read().await), (1, 1), "one a minute");
    clock.set(clock.now() - 60 * MINUTE);
    assert_eq!((read().await, read().await), (2, 2), "one a minute of the new time");
    clock.advance(MINUTE);
    assert_eq!(read().await, 3);
}
