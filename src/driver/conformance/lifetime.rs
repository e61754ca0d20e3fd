//! Expiry and cleanup.

use std::time::Duration;

use super::list_cases;
use super::setup::*;
use crate::clock::Timestamp;
use crate::driver::{Cleanup, Commit, CommitOutcome, Driver, Locator, SessionRecord};

list_cases! {
    "D7" a_session_is_live_until_the_millisecond_before_its_expiry,
    "D7" the_time_is_that_of_the_call,
    "M16" cleanup_is_inclusive_below_and_exclusive_above,
    "M16" cleanup_answers_how_many_it_removed,
    "M6" cleanup_removes_no_more_than_its_limit,
    "M16" cleanup_removes_the_items_too,
    "M16" cleanup_of_an_empty_or_reversed_range_removes_nothing,
    "M16" cleanup_compares_times_as_numbers,
    "T1" an_idle_timeout_counts_from_the_last_use_and_not_beyond_the_end,
    "T1" an_idle_timeout_follows_a_new_end,
    "T1" a_touch_revives_nothing,
    "M17" a_session_whose_expiry_was_moved_is_cleaned_up_by_the_new_one,
}

async fn store_expiring(driver: &dyn Driver, expires: Timestamp) -> SessionRecord {
    let mut record = fresh_record();
    (record.expires, record.ends) = (expires, expires);
    store(driver, &record).await;
    record
}

async fn exist(driver: &dyn Driver, records: &[SessionRecord]) -> Vec<bool> {
    let mut exist = Vec::new();
    for record in records {
        exist.push(stored(driver, record).await.is_some());
    }
    exist
}

async fn a_session_is_live_until_the_millisecond_before_its_expiry(driver: &dyn Driver) {
    let record = create(driver).await;
    for (now, live) in [(LIFE - 1, true), (LIFE, false), (LIFE + 1, false)] {
        let mut seen = write(&record, &[("a", Some("1"))]);
        seen.now = at(now);
        let blind = presented(record.key, None);
        let mut blind = commit(blind, vec![changes(&[("b", Some("2"))])]);
        blind.now = at(now);
        for write in [seen, blind] {
            let outcome = driver.commit(write).await.unwrap();
            assert_eq!(outcome != CommitOutcome::Gone, live, "{} ms before", LIFE - now);
        }
    }
}

async fn the_time_is_that_of_the_call(driver: &dyn Driver) {
    // A time long past and one far ahead of any clock: a driver has none of its own.
    for expires in [1_000, 4_102_444_800_000] {
        let record = store_expiring(driver, Timestamp::from_millis(expires)).await;
        let mut write = write(&record, &[("a", Some("1"))]);
        write.now = Timestamp::from_millis(expires - 1);
        done(driver, write.clone()).await;
        write.now = Timestamp::from_millis(expires);
        refused(driver, write, CommitOutcome::Gone).await;
    }
}

async fn cleanup_is_inclusive_below_and_exclusive_above(driver: &dyn Driver) {
    let mut records = Vec::new();
    for expires in [-1, 0, 1, 9, 10, 11] {
        records.push(store_expiring(driver, at(expires)).await);
    }
    assert_eq!(cleanup(driver, at(0), at(10)).await, 3);
    assert_eq!(exist(driver, &records).await, [true, false, false, false, true, true]);
}

async fn cleanup_answers_how_many_it_removed(driver: &dyn Driver) {
    assert_eq!(cleanup(driver, Timestamp::MIN, Timestamp::MAX).await, 0);
    for _ in 0..7 {
        store_expiring(driver, at(-1)).await;
    }
    create(driver).await;
    assert_eq!(cleanup(driver, Timestamp::EPOCH, NOW).await, 7);
    assert_eq!(cleanup(driver, Timestamp::EPOCH, NOW).await, 0);
}

async fn cleanup_removes_no_more_than_its_limit(driver: &dyn Driver) {
    for n in 0..25 {
        store_expiring(driver, at(-n)).await;
    }
    let live = create(driver).await;
    let mut removed = Vec::new();
    for _ in 0..4 {
        let batch = Cleanup { from: Timestamp::MIN, until: at(1), limit: 10 };
        removed.push(driver.cleanup(batch).await.unwrap());
    }
    assert_eq!(removed, [10, 10, 5, 0]);
    assert!(stored(driver, &live).await.is_some());
}

async fn cleanup_removes_the_items_too(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let other = create_with(driver, &[("a", Some("2"))]).await;
    let mut extend = write(&other, &[]);
    extend.session = set_expires(at(LIFE * 3));
    done(driver, extend).await;
    assert_eq!(cleanup(driver, Timestamp::EPOCH, at(LIFE * 2)).await, 1);
    store(driver, &record).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[]), "a new session with that name");
    assert_eq!(shop_items(driver, &other).await, pairs(&[("a", "2")]));
}

async fn cleanup_of_an_empty_or_reversed_range_removes_nothing(driver: &dyn Driver) {
    let record = store_expiring(driver, at(0)).await;
    assert_eq!(cleanup(driver, at(0), at(0)).await, 0);
    assert_eq!(cleanup(driver, at(1), at(-1)).await, 0);
    assert!(stored(driver, &record).await.is_some());
}

async fn cleanup_compares_times_as_numbers(driver: &dyn Driver) {
    // As texts, 9 comes after 10 and -1 after 0.
    let mut records = Vec::new();
    for expires in [-20, -3, 0, 9, 10, 100] {
        records.push(store_expiring(driver, Timestamp::from_millis(expires)).await);
    }
    assert_eq!(cleanup(driver, Timestamp::from_millis(-3), Timestamp::from_millis(10)).await, 3);
    assert_eq!(exist(driver, &records).await, [true, false, false, false, true, true]);
}

async fn a_session_whose_expiry_was_moved_is_cleaned_up_by_the_new_one(driver: &dyn Driver) {
    let (longer, shorter) = (create(driver).await, create(driver).await);
    for (record, expires) in [(&longer, at(LIFE * 5)), (&shorter, at(1))] {
        let mut change = write(record, &[]);
        change.session = set_expires(expires);
        done(driver, change).await;
    }
    assert_eq!(cleanup(driver, Timestamp::EPOCH, at(LIFE * 2)).await, 1);
    assert_eq!(exist(driver, &[longer.clone(), shorter]).await, [true, false]);
    let longer = Locator::Key(longer.key);
    assert_eq!(load(driver, vec![longer]).await.len(), 1);
}

/// The session is used at `now`, with an idle timeout in milliseconds.
fn touch(record: &SessionRecord, now: i64, idle: u64) -> Commit {
    let mut touch = commit(seen(record), Vec::new());
    touch.now = at(now);
    touch.session.last_used = Some(at(now));
    touch.session.idle = Some(Duration::from_millis(idle));
    touch
}

async fn an_idle_timeout_counts_from_the_last_use_and_not_beyond_the_end(driver: &dyn Driver) {
    let record = create(driver).await;
    let touched = done(driver, touch(&record, 10, 100)).await;
    let mut expected = record.clone();
    (expected.last_used, expected.expires) = (at(10), at(110));
    assert_eq!(touched, expected);
    assert_eq!(stored(driver, &record).await, Some(expected.clone()));

    let late = done(driver, touch(&record, 109, LIFE as u64)).await;
    (expected.last_used, expected.expires) = (at(109), at(LIFE));
    assert_eq!(late, expected);
    assert_eq!(
        cleanup(driver, at(LIFE), at(LIFE + 1)).await,
        1,
        "the expiry is found by a cleanup"
    );

    // A session that never ends: no millisecond is lost on the way.
    let mut endless = fresh_record();
    (endless.ends, endless.expires) = (Timestamp::from_millis(i64::MAX), at(LIFE));
    store(driver, &endless).await;
    let touched = done(driver, touch(&endless, 1, 1 << 50)).await;
    assert_eq!(touched.expires, at(1).saturating_add(Duration::from_millis(1 << 50)));
}

async fn an_idle_timeout_follows_a_new_end(driver: &dyn Driver) {
    let record = create(driver).await;
    for (ends, expires) in [(50, 50), (900, 110)] {
        let mut touch = touch(&record, 10, 100);
        touch.session.ends = Some(at(ends));
        let touched = done(driver, touch).await;
        assert_eq!((touched.ends, touched.expires), (at(ends), at(expires)));
    }
}

async fn a_touch_revives_nothing(driver: &dyn Driver) {
    let record = create(driver).await;
    let mut ended = commit(seen(&record), Vec::new());
    ended.session = set_expires(at(5));
    done(driver, ended).await;
    refused(driver, touch(&record, 5, 100), CommitOutcome::Gone).await;
    assert_eq!(stored(driver, &record).await.unwrap().expires, at(5));
    // A reader that saw the session before its end was moved does not move it back.
    assert_eq!(done(driver, touch(&record, 4, 100)).await.expires, at(5));
}
