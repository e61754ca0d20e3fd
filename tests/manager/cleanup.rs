//! `cleanup`, when it is asked for.

use std::ops::Bound;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use web_session::{OnWarning, SessionError, SessionId, SessionWarning};

use crate::probe::no_answer;
use crate::rig::{DAY, HOUR, MILLISECOND, Rig, SECOND, rig};
use crate::support::memory;

const NANOSECOND: Duration = Duration::from_nanos(1);

/// Sessions that expire 1, 2, 3 and 4 milliseconds after `base`, which is an hour ago by then.
async fn four(rig: &Rig) -> (SystemTime, [SessionId; 4]) {
    let base = rig.now();
    let mut ids = Vec::new();
    for n in 1..=4 {
        ids.push(rig.session_for(n * MILLISECOND).await);
    }
    rig.clock.advance(HOUR);
    (base, ids.try_into().unwrap())
}

async fn left(rig: &Rig, ids: [SessionId; 4]) -> [bool; 4] {
    let mut left = [false; 4];
    for (left, id) in left.iter_mut().zip(ids) {
        *left = rig.manager().exists(id).await.unwrap();
    }
    left
}

on_each_driver! {
    // M16
    async fn the_earliest_expiry_is_removed_and_the_latest_is_kept(storage) {
        let rig = rig(storage).await;
        let (base, ids) = four(&rig).await;
        let manager = rig.manager();
        let range = base + 2 * MILLISECOND..base + 4 * MILLISECOND;
        assert_eq!(manager.cleanup_between(range.clone(), OnWarning::Stop).await, Ok(2));
        assert_eq!(left(&rig, ids).await, [true, false, false, true]);
        assert_eq!(manager.cleanup_between(range, OnWarning::Stop).await, Ok(0));
    }

    // M16
    async fn every_form_of_a_range_means_what_it_says(storage) {
        let rig = rig(storage).await;
        let at = |base: SystemTime, n: u32| base + n * MILLISECOND;
        let manager = rig.manager();

        let (base, ids) = four(&rig).await;
        let removed = manager.cleanup_between(..=at(base, 2), OnWarning::Stop).await;
        assert_eq!(removed, Ok(2));
        assert_eq!(left(&rig, ids).await, [false, false, true, true]);
        let after = (Bound::Excluded(at(base, 3)), Bound::Unbounded);
        assert_eq!(manager.cleanup_between(after, OnWarning::Stop).await, Ok(1));
        assert_eq!(left(&rig, ids).await, [false, false, true, false]);
        let from = at(base, 3)..;
        assert_eq!(manager.cleanup_between(from, OnWarning::Stop).await, Ok(1));

        let (base, ids) = four(&rig).await;
        let before = ..at(base, 2);
        assert_eq!(manager.cleanup_between(before, OnWarning::Stop).await, Ok(1));
        assert_eq!(left(&rig, ids).await, [false, true, true, true]);
        assert_eq!(manager.cleanup_between(.., OnWarning::Stop).await, Ok(3));
    }

    // M16
    async fn by_default_all_that_expired_before_now_is_removed_and_counted(storage) {
        let rig = rig(storage).await;
        let live = rig.session().await;
        let (_, ids) = four(&rig).await;
        assert_eq!(rig.manager().cleanup().await, Ok(4));
        assert_eq!(left(&rig, ids).await, [false; 4]);
        assert_eq!(rig.n(live).await, Some(1));
        assert_eq!(rig.manager().cleanup().await, Ok(0));
    }

    // M16
    async fn what_expires_now_is_removed_a_millisecond_later(storage) {
        let rig = rig(storage).await;
        let id = rig.session_for(SECOND).await;
        for (advance, removed) in [(SECOND - MILLISECOND, 0), (MILLISECOND, 0), (MILLISECOND, 1)] {
            rig.clock.advance(advance);
            assert_eq!(rig.manager().cleanup().await, Ok(removed));
        }
        assert_eq!(rig.manager().exists(id).await, Ok(false));
    }

    // M16
    async fn up_to_and_including_now_no_session_is_live(storage) {
        let rig = rig(storage).await;
        let over = rig.session_for(SECOND).await;
        let live = rig.session_for(SECOND + MILLISECOND).await;
        // A part of a millisecond is no time that a session could still have.
        for (advance, expired) in [(SECOND, 1), (MILLISECOND - NANOSECOND, 0)] {
            rig.clock.advance(advance);
            let removed = rig.manager().cleanup_between(..=rig.now(), OnWarning::Stop).await;
            assert_eq!(removed, Ok(expired));
        }
        assert_eq!(rig.manager().exists(over).await, Ok(false));
        assert!(rig.loads(live).await);
    }

    // M16
    async fn a_latest_expiry_in_the_future_warns_and_does_nothing_unless_that_is_ignored(storage) {
        let rig = rig(storage).await;
        let live = rig.session().await;
        let expired = rig.session_for(MILLISECOND).await;
        rig.clock.advance(HOUR);
        let manager = rig.manager();
        let warning = SessionError::Warning(SessionWarning::CleanupRemovesLiveSessions);
        for max in [rig.now() + MILLISECOND, rig.now() + DAY] {
            let outcome = manager.cleanup_between(..max, OnWarning::Stop).await;
            assert_eq!(outcome.as_ref(), Err(&warning));
        }
        assert_eq!(manager.exists(expired).await, Ok(true));
        assert_eq!(manager.cleanup_between(..rig.now(), OnWarning::Stop).await, Ok(1));
        let end = rig.now() + DAY - HOUR;
        assert_eq!(manager.cleanup_between(..end, OnWarning::Ignore).await, Ok(0));
        assert_eq!(manager.cleanup_between(..=end, OnWarning::Ignore).await, Ok(1));
        assert_eq!(manager.exists(live).await, Ok(false));
    }

    // M16
    async fn reversed_bounds_are_an_error_and_nothing_is_removed(storage) {
        let rig = rig(storage).await;
        let (base, ids) = four(&rig).await;
        let manager = rig.manager();
        let at = |n: u32| base + n * MILLISECOND;
        for on_warning in [OnWarning::Stop, OnWarning::Ignore] {
            let outcome = manager.cleanup_between(at(3)..at(2), on_warning).await;
            assert_eq!(outcome, Err(SessionError::ReversedRange));
            let future = rig.now() + SECOND..;
            let outcome = manager.cleanup_between(future, on_warning).await;
            assert_eq!(outcome, Err(SessionError::ReversedRange));
            assert_eq!(manager.cleanup_between(at(2)..at(2), on_warning).await, Ok(0));
        }
        assert_eq!(left(&rig, ids).await, [true; 4]);
    }

    // M16, M17
    async fn a_changed_expiry_is_the_one_that_counts(storage) {
        let rig = rig(storage).await;
        let [shortened, prolonged] = [rig.session().await, rig.session_for(SECOND).await];
        let manager = rig.manager();
        manager.set_expire(rig.now() + SECOND, shortened).await.unwrap();
        manager.set_expire(rig.now() + DAY, prolonged).await.unwrap();
        rig.clock.advance(HOUR);
        assert_eq!(manager.cleanup().await, Ok(1));
        assert_eq!(manager.exists(shortened).await, Ok(false));
        assert_eq!(rig.n(prolonged).await, Some(1));
    }

    // M16, S5
    async fn a_request_does_not_bring_back_what_was_cleaned_up(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            let shop = session.store("shop").unwrap();
            assert_eq!(shop.get("n").await, Ok(Some(1)));
            let all = ..rig.now() + 2 * DAY;
            assert_eq!(rig.manager().cleanup_between(all, OnWarning::Ignore).await, Ok(1));
            shop.set("n", &2).unwrap();
        }).await;
        assert_eq!(response.status(), 409);
        assert_eq!(rig.manager().exists(id).await, Ok(false));
    }

    // M16
    async fn a_storage_failure_is_an_error(storage) {
        let rig = rig(storage).await;
        rig.driver.broken.store(true, SeqCst);
        assert_eq!(rig.manager().cleanup().await, Err(SessionError::Driver(no_answer())));
    }
}

// M6, M16
#[tokio::test]
async fn many_sessions_are_removed_in_bounded_batches_and_all_are_counted() {
    let rig = rig(memory()).await;
    let live = rig.session().await;
    for _ in 0..2_500 {
        rig.manager().create_for(SECOND).await.unwrap();
    }
    rig.clock.advance(HOUR);
    assert_eq!(rig.manager().cleanup().await, Ok(2_500));
    let limits = rig.driver.cleanup_limits();
    assert!(limits.len() >= 13, "{limits:?}");
    assert!(limits.iter().all(|limit| (1..=200).contains(limit)), "{limits:?}");
    assert_eq!(rig.n(live).await, Some(1));
}

// SPEED: requests beside a cleanup.
#[tokio::test(start_paused = true)]
async fn a_cleanup_leaves_half_of_the_time_to_requests() {
    let rig = rig(memory()).await;
    for (takes, least) in [(5 * MILLISECOND, 125 * MILLISECOND), (Duration::ZERO, Duration::ZERO)] {
        for _ in 0..2_500 {
            rig.manager().create_for(SECOND).await.unwrap();
        }
        rig.clock.advance(HOUR);
        *rig.driver.cleanup_takes.lock() = takes;
        let begun = Instant::now();
        assert_eq!(rig.manager().cleanup().await, Ok(2_500));
        // 13 batches, and after each but the last a pause of the same length.
        assert!(
            (least..=least + 15 * MILLISECOND).contains(&begun.elapsed()),
            "{:?}",
            begun.elapsed()
        );
    }
}
