//! A fresh key for the same session.

use super::list_cases;
use super::setup::*;
use crate::driver::{CommitOutcome, Driver, Locator, ReplaceOutcome, Target};

list_cases! {
    "T2" a_session_that_is_created_keeps_the_key_of_its_record,
    "T2" rotation_keeps_the_session_and_its_items,
    "T2" the_retired_key_is_found_and_names_no_session,
    "T2" a_request_with_the_retired_key_still_commits_to_the_session,
    "T2" a_second_rotation_forgets_the_oldest_key,
    "T2" who_saw_an_older_key_does_not_rotate,
    "T2 S6" a_rotation_to_a_taken_key_changes_nothing,
    "T2" a_blind_write_under_a_retired_key_is_refused_for_a_while,
    "T2 S5" a_destroyed_session_is_found_by_neither_key,
    "T2 S6" of_simultaneous_rotations_one_is_done,
}

async fn rotation_keeps_the_session_and_its_items(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let key = fresh_key();
    let mut rotation = rotate(&record, key);
    rotation.changes = vec![changes(&[("b", Some("2"))])];
    rotation.now = at(7);
    let rotated = done(driver, rotation).await;
    let mut expected = record.clone();
    (expected.key, expected.previous_key, expected.rotated) = (key, Some(record.key), Some(at(7)));
    assert_eq!(rotated, expected);
    let found = load_key(driver, key).await.unwrap();
    assert_eq!(found.session, expected);
    assert_eq!(texts(&found.items), pairs(&[("a", "1"), ("b", "2")]));
}

async fn the_retired_key_is_found_and_names_no_session(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let rotated = done(driver, rotate(&record, fresh_key())).await;
    let found = load_key(driver, record.key).await.unwrap();
    assert_eq!(found.session, rotated, "so that the caller can tell a retired id from a wrong one");

    let both = vec![Locator::Key(record.key), Locator::Key(rotated.key)];
    assert_eq!(load(driver, both).await.len(), 1, "one session, answered once");
    assert_eq!(inspect(driver, Locator::Key(record.key)).await, None);
    assert!(destroy(driver, vec![Locator::Key(record.key)]).await.is_empty());
    let mut change = commit(Target::Existing(Locator::Key(record.key)), Vec::new());
    change.session = set_expires(NOW);
    refused(driver, change, CommitOutcome::Gone).await;
    assert_eq!(stored(driver, &record).await, Some(rotated));
}

async fn a_request_with_the_retired_key_still_commits_to_the_session(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let rotated = done(driver, rotate(&record, fresh_key())).await;
    assert_eq!(done(driver, write(&record, &[("a", Some("2"))])).await, rotated);
    let replaced = driver.replace_item(replace(&record, "a", Some("2"), "3")).await.unwrap();
    assert_eq!(replaced, ReplaceOutcome::Done);
    assert_eq!(shop_items(driver, &rotated).await, pairs(&[("a", "3")]));
}

async fn a_second_rotation_forgets_the_oldest_key(driver: &dyn Driver) {
    let first = create(driver).await;
    let second = done(driver, rotate(&first, fresh_key())).await;
    let third = done(driver, rotate(&second, fresh_key())).await;
    assert_eq!(third.previous_key, Some(second.key));
    assert!(load_key(driver, first.key).await.is_none());
    for key in [second.key, third.key] {
        assert_eq!(load_key(driver, key).await.map(|found| found.session.key), Some(third.key));
    }
}

async fn who_saw_an_older_key_does_not_rotate(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let rotated = done(driver, rotate(&record, fresh_key())).await;
    let mut late = rotate(&record, fresh_key());
    late.changes = vec![changes(&[("a", Some("2"))])];
    refused(driver, late, CommitOutcome::Rotated).await;
    assert_eq!(stored(driver, &record).await, Some(rotated));
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1")]));
}

async fn a_rotation_to_a_taken_key_changes_nothing(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let other = create(driver).await;
    let other = done(driver, rotate(&other, fresh_key())).await;
    for taken in [other.key, other.previous_key.unwrap(), record.key] {
        let mut rotation = rotate(&record, taken);
        rotation.changes = vec![changes(&[("a", Some("2"))])];
        rotation.session.expires = Some(at(LIFE * 2));
        refused(driver, rotation, CommitOutcome::Collision).await;
        assert_eq!(
            load_key(driver, record.key).await.map(|found| found.session),
            Some(record.clone())
        );
        assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1")]));
    }
    assert_eq!(stored(driver, &other).await, Some(other), "the other keeps its keys");
}

async fn a_blind_write_under_a_retired_key_is_refused_for_a_while(driver: &dyn Driver) {
    let record = create(driver).await;
    let rotated = done(driver, rotate(&record, fresh_key())).await;
    let spare = fresh_record();
    let blind = |spare: Option<_>, now| {
        let mut target = presented(record.key, spare);
        if let Target::Presented { retired_after, .. } = &mut target {
            *retired_after = at(now - 100);
        }
        let mut write = commit(target, vec![changes(&[("a", Some("1"))])]);
        write.now = at(now);
        write
    };
    refused(driver, blind(Some(&spare), 99), CommitOutcome::Rotated).await;
    refused(driver, blind(None, 99), CommitOutcome::Rotated).await;
    refused(driver, blind(None, 100), CommitOutcome::Gone).await;
    assert_eq!(stored(driver, &spare).await, None);
    assert_eq!(done(driver, blind(Some(&spare), 100)).await.session, spare.session);
    assert_eq!(stored(driver, &record).await, Some(rotated));
    assert_eq!(shop_items(driver, &record).await, pairs(&[]));
}

async fn a_destroyed_session_is_found_by_neither_key(driver: &dyn Driver) {
    let record = create(driver).await;
    let rotated = done(driver, rotate(&record, fresh_key())).await;
    destroy(driver, vec![Locator::Key(rotated.key)]).await;
    for key in [record.key, rotated.key] {
        assert!(load_key(driver, key).await.is_none());
    }
    // Both are free again, as a cleanup would leave them.
    let mut again = fresh_record();
    again.key = record.key;
    store(driver, &again).await;
}

async fn of_simultaneous_rotations_one_is_done(driver: &dyn Driver) {
    let record = create(driver).await;
    let rotations = (0..16).map(|_| driver.commit(rotate(&record, fresh_key()))).collect();
    let outcomes = at_once(rotations).await;
    let done: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            CommitOutcome::Done(record) => Some(record.clone()),
            other => {
                assert_eq!(*other, CommitOutcome::Rotated);
                None
            }
        })
        .collect();
    assert_eq!(done.len(), 1);
    assert_eq!(stored(driver, &record).await.as_ref(), done.first());
}

async fn a_session_that_is_created_keeps_the_key_of_its_record(driver: &dyn Driver) {
    for target in [Target::New, |record| presented(fresh_key(), Some(&record))] {
        let record = fresh_record();
        let mut creation = commit(target(record.clone()), Vec::new());
        creation.session.key = Some(fresh_key());
        assert_eq!(done(driver, creation).await, record);
        assert_eq!(stored(driver, &record).await, Some(record));
    }
}
