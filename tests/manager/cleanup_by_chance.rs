//! The cleanup that requests start now and then.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::task::yield_now;
use web_session::{RandomError, RandomSource, SessionId, SessionLayer};

use crate::rig::{Fixed, HOUR, MILLISECOND, Rig, SECOND, UNKNOWN, request, rig};
use crate::support::memory;

/// A layer over the same storage that cleans up with a probability.
async fn cleaning(rig: &Rig, probability: f64, random: impl RandomSource) -> SessionLayer {
    let builder = rig.builder().cleanup_probability(probability).random(random);
    builder.build().await.unwrap()
}

/// A manager that calls the driver once, and whatever it started.
async fn one_manager(sessions: &SessionLayer) {
    sessions.manager().exists(UNKNOWN).await.unwrap();
    // The runtime has one thread, so the cleanup is over when this goes on.
    yield_now().await;
}

async fn expired(rig: &Rig) -> SessionId {
    let id = rig.session_for(SECOND).await;
    rig.clock.advance(HOUR);
    id
}

on_each_driver! {
    // M6
    async fn with_probability_1_a_request_that_uses_the_storage_starts_a_cleanup(storage) {
        let rig = rig(storage).await;
        let [live, expired] = [rig.session().await, expired(&rig).await];
        let sessions = cleaning(&rig, 1.0, Fixed(255)).await;
        request(&sessions, &[&crate::rig::cookie(live)], async |session| {
            assert!(session.load().await.unwrap());
        }).await;
        let removed = async {
            while rig.manager().exists(expired).await.unwrap() {
                yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), removed).await.unwrap();
        assert_eq!(rig.n(live).await, Some(1));
    }

    // M6
    async fn a_storage_that_removes_expired_sessions_itself_is_cleaned_only_if_that_is_asked_for(
        storage
    ) {
        let rig = rig(storage).await;
        rig.driver.removes_expired.store(true, SeqCst);
        one_manager(&cleaning(&rig, 0.9, Fixed(0)).await).await;
        assert_eq!(rig.driver.count("cleanup"), 0);
        one_manager(&cleaning(&rig, 1.0, Fixed(0)).await).await;
        while rig.driver.count("cleanup") == 0 {
            yield_now().await;
        }
    }

    // M6
    async fn a_request_never_waits_for_it(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let sessions = cleaning(&rig, 1.0, Fixed(0)).await;
        rig.driver.stuck_cleanup.store(true, SeqCst);
        for n in 2..12 {
            let response = request(&sessions, &[&crate::rig::cookie(id)], async |session| {
                session.store("shop").unwrap().set("n", &n).unwrap();
            }).await;
            assert_eq!(response.status(), 200);
            assert_eq!(rig.n(id).await, Some(n));
        }
    }
}

// M6
#[tokio::test]
async fn with_probability_1_every_manager_starts_one() {
    let rig = rig(memory()).await;
    let sessions = cleaning(&rig, 1.0, Fixed(255)).await;
    for _ in 0..100 {
        one_manager(&sessions).await;
    }
    assert_eq!(rig.driver.count("cleanup"), 100);
}

// M6
#[tokio::test]
async fn with_probability_0_none_is_ever_started() {
    let rig = rig(memory()).await;
    let sessions = cleaning(&rig, 0.0, Fixed(0)).await;
    for _ in 0..100 {
        rig.clock.advance(HOUR);
        one_manager(&sessions).await;
    }
    assert_eq!(rig.driver.count("cleanup"), 0);
}

/// A random source that gives the same numbers in each run (SplitMix64).
#[derive(Debug)]
struct Pseudorandom(AtomicU64);

impl RandomSource for Pseudorandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        for chunk in bytes.chunks_mut(8) {
            let step = 0x9E37_79B9_7F4A_7C15_u64;
            let mut z = self.0.fetch_add(step, SeqCst).wrapping_add(step);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

// M6
#[tokio::test]
async fn with_probability_a_twentieth_about_one_manager_in_twenty_starts_one() {
    let rig = rig(memory()).await;
    let sessions = cleaning(&rig, 0.05, Pseudorandom(AtomicU64::new(1))).await;
    for _ in 0..10_000 {
        rig.clock.advance(61 * SECOND);
        one_manager(&sessions).await;
    }
    // Five hundred are expected, with a standard deviation of 22.
    let started = rig.driver.count("cleanup");
    assert!((400..=600).contains(&started), "{started}");
}

// M6
#[tokio::test]
async fn below_probability_1_at_most_one_a_minute_is_started() {
    let rig = rig(memory()).await;
    // The lowest number of all: each draw would start one.
    let sessions = cleaning(&rig, 0.05, Fixed(0)).await;
    for (advance, started) in [
        (Duration::ZERO, 1),
        (Duration::ZERO, 1),
        (60 * SECOND - MILLISECOND, 1),
        (MILLISECOND, 2),
        (59 * SECOND, 2),
        (HOUR, 3),
    ] {
        rig.clock.advance(advance);
        one_manager(&sessions).await;
        assert_eq!(rig.driver.count("cleanup"), started, "{advance:?}");
    }
}

// M6, L2
#[tokio::test]
async fn it_is_drawn_at_the_first_driver_call_of_a_manager_and_only_then() {
    let rig = rig(memory()).await;
    let id = rig.session().await;
    let sessions = cleaning(&rig, 1.0, Fixed(0)).await;
    request(&sessions, &[&crate::rig::cookie(id)], async |session| {
        rig.driver.calls();
        session.store("shop").unwrap().set("n", &2).unwrap();
        session.rollback();
        session.end().await.unwrap_or_default();
    })
    .await;
    yield_now().await;
    assert_eq!(rig.driver.calls(), ["destroy", "cleanup"]);

    request(&sessions, &[], async |session| {
        assert!(!session.load().await.unwrap());
        session.store("shop").unwrap();
    })
    .await;
    yield_now().await;
    assert_eq!(rig.driver.calls(), [""; 0]);

    let manager = sessions.manager();
    for _ in 0..3 {
        manager.exists(UNKNOWN).await.unwrap();
        yield_now().await;
    }
    assert_eq!(rig.driver.calls(), ["inspect", "cleanup", "inspect", "inspect"]);
}

// M6
#[tokio::test]
async fn one_runs_at_a_time() {
    let rig = rig(memory()).await;
    let sessions = cleaning(&rig, 1.0, Fixed(0)).await;
    rig.driver.stuck_cleanup.store(true, SeqCst);
    for _ in 0..10 {
        rig.clock.advance(HOUR);
        one_manager(&sessions).await;
    }
    assert_eq!(rig.driver.count("cleanup"), 1);

    // Another layer does not wait for it.
    rig.driver.stuck_cleanup.store(false, SeqCst);
    one_manager(&cleaning(&rig, 1.0, Fixed(0)).await).await;
    assert_eq!(rig.driver.count("cleanup"), 2);
}

// M6
#[tokio::test]
async fn a_failure_is_not_the_requests_and_does_not_keep_the_next_from_starting() {
    let rig = rig(memory()).await;
    let id = expired(&rig).await;
    let sessions = cleaning(&rig, 1.0, Fixed(0)).await;
    let manager = sessions.manager();
    assert!(!manager.load_id(UNKNOWN).await.unwrap());
    // The cleanup has been started, and does not run before this task waits.
    rig.driver.broken.store(true, SeqCst);
    yield_now().await;
    rig.driver.broken.store(false, SeqCst);
    assert_eq!(rig.driver.count("cleanup"), 1);
    assert!(rig.manager().exists(id).await.unwrap());
    one_manager(&sessions).await;
    assert_eq!(rig.driver.count("cleanup"), 2);
    assert!(!rig.manager().exists(id).await.unwrap());
}

// M6, M16
#[tokio::test]
async fn it_removes_all_that_has_expired_in_bounded_batches() {
    let rig = rig(memory()).await;
    let live = rig.session().await;
    let mut ids = Vec::new();
    for _ in 0..2_500 {
        ids.push(rig.manager().create_for(SECOND).await.unwrap());
    }
    rig.clock.advance(HOUR);
    one_manager(&cleaning(&rig, 1.0, Fixed(0)).await).await;
    for id in ids {
        while rig.manager().exists(id).await.unwrap() {
            yield_now().await;
        }
    }
    let limits = rig.driver.cleanup_limits();
    assert!(limits.len() >= 13, "{limits:?}");
    assert!(limits.iter().all(|limit| (1..=200).contains(limit)), "{limits:?}");
    assert!(rig.loads(live).await);
}

// M6, T4
#[tokio::test(start_paused = true)]
async fn none_is_started_while_a_schedule_cleans_up() {
    let rig = rig(memory()).await;
    let sessions = cleaning(&rig, 1.0, Fixed(0)).await;
    let schedule = sessions.spawn_cleanup(HOUR);
    while schedule.report().rounds == 0 {
        yield_now().await;
    }
    rig.driver.calls();
    for _ in 0..10 {
        one_manager(&sessions).await;
    }
    assert_eq!(rig.driver.count("cleanup"), 0);
    schedule.stop().await;
    one_manager(&sessions).await;
    assert_eq!(rig.driver.count("cleanup"), 1);
}
