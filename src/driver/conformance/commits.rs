//! The four answers of a commit, and that a refused one stores nothing.

use super::list_cases;
use super::setup::*;
use crate::driver::{CommitOutcome, Driver, Locator, Target};

list_cases! {
    "S7" a_new_session_is_created_with_its_items,
    "S1" a_commit_stores_and_removes_items,
    "S5" a_commit_to_a_destroyed_session_stores_nothing,
    "S5" a_commit_to_an_expired_session_stores_nothing,
    "S5 M17" a_commit_after_a_logout_by_expiry_stores_nothing,
    "S5" a_session_that_never_was_is_gone,
    "S7" a_presented_live_session_is_written_to,
    "S7" under_an_unknown_id_a_fresh_session_is_created,
    "S7" under_an_expired_id_a_fresh_session_is_created,
    "S7" under_an_unknown_id_without_a_session_to_create_nothing_is_stored,
    "M17" an_existing_session_is_changed_though_it_has_expired,
    "M17" a_session_that_does_not_exist_cannot_be_changed,
    "M17" the_expiry_is_set_after_the_items_are_stored,
    "S6" a_commit_is_applied_in_all_applications_or_in_none,
    "S7" a_refused_commit_leaves_no_new_session_behind,
}

async fn a_new_session_is_created_with_its_items(driver: &dyn Driver) {
    let record = fresh_record();
    let applications =
        vec![changes(&[("a", Some("1")), ("b", Some("2"))]), changes_of(app("forum"), &[])];
    let answered = done(driver, commit(Target::New(record.clone()), applications)).await;
    assert_eq!(answered, record);
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1"), ("b", "2")]));
}

async fn a_commit_stores_and_removes_items(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1")), ("b", Some("2"))]).await;
    done(driver, write(&record, &[("a", None), ("b", Some("3")), ("c", Some("4"))])).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[("b", "3"), ("c", "4")]));
    done(driver, write(&record, &[("a", None), ("c", None)])).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[("b", "3")]));
}

async fn a_commit_to_a_destroyed_session_stores_nothing(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    destroy(driver, vec![Locator::Key(record.key)]).await;
    refused(driver, write(&record, &[("a", Some("2"))]), CommitOutcome::Gone).await;
    let mut extend = write(&record, &[]);
    extend.session = set_expires(at(LIFE * 2));
    refused(driver, extend, CommitOutcome::Gone).await;
    assert!(load_key(driver, record.key).await.is_none());
    assert_eq!(stored(driver, &record).await, None);
}

async fn a_commit_to_an_expired_session_stores_nothing(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let mut last = write(&record, &[("a", Some("2"))]);
    last.now = at(LIFE - 1);
    done(driver, last).await;
    let mut late = write(&record, &[("a", Some("3"))]);
    late.now = at(LIFE);
    late.session = set_expires(at(LIFE * 2));
    refused(driver, late, CommitOutcome::Gone).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "2")]));
    assert_eq!(stored(driver, &record).await.map(|record| record.expires), Some(record.expires));
}

async fn a_commit_after_a_logout_by_expiry_stores_nothing(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let mut logout = commit(Target::Existing(Locator::Key(record.key)), Vec::new());
    logout.session = set_expires(NOW);
    done(driver, logout).await;
    refused(driver, write(&record, &[("a", Some("2"))]), CommitOutcome::Gone).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1")]));
}

async fn a_session_that_never_was_is_gone(driver: &dyn Driver) {
    let record = fresh_record();
    refused(driver, write(&record, &[("a", Some("1"))]), CommitOutcome::Gone).await;
    assert!(load_key(driver, record.key).await.is_none());
}

async fn a_presented_live_session_is_written_to(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let spare = fresh_record();
    let target = presented(record.key, Some(&spare));
    let answered = done(driver, commit(target, vec![changes(&[("b", Some("2"))])])).await;
    assert_eq!(answered, record);
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1"), ("b", "2")]));
    assert_eq!(stored(driver, &spare).await, None);
}

async fn under_an_unknown_id_a_fresh_session_is_created(driver: &dyn Driver) {
    let (unknown, spare) = (fresh_key(), fresh_record());
    let target = presented(unknown, Some(&spare));
    let answered = done(driver, commit(target, vec![changes(&[("a", Some("1"))])])).await;
    assert_eq!(answered, spare);
    assert_eq!(shop_items(driver, &spare).await, pairs(&[("a", "1")]));
    assert!(load_key(driver, unknown).await.is_none(), "the presented id is not adopted");
}

async fn under_an_expired_id_a_fresh_session_is_created(driver: &dyn Driver) {
    let expired = create_with(driver, &[("a", Some("1"))]).await;
    let spare = fresh_record();
    let target = presented(expired.key, Some(&spare));
    let mut write = commit(target, vec![changes(&[("b", Some("2"))])]);
    write.now = at(LIFE);
    let answered = done(driver, write).await;
    assert_eq!(answered.session, spare.session);
    assert_eq!(shop_items(driver, &expired).await, pairs(&[("a", "1")]));
    assert_eq!(shop_items(driver, &spare).await, pairs(&[("b", "2")]));
}

async fn under_an_unknown_id_without_a_session_to_create_nothing_is_stored(driver: &dyn Driver) {
    let expired = create_with(driver, &[("a", Some("1"))]).await;
    for key in [fresh_key(), expired.key] {
        let mut write = commit(presented(key, None), vec![emptied(&[])]);
        write.now = at(LIFE);
        refused(driver, write, CommitOutcome::Gone).await;
    }
    assert_eq!(shop_items(driver, &expired).await, pairs(&[("a", "1")]));
}

async fn an_existing_session_is_changed_though_it_has_expired(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    for locator in [Locator::Key(record.key), Locator::Ref(record.session)] {
        for expires in [at(-LIFE), at(LIFE * 3)] {
            let mut change = commit(Target::Existing(locator), Vec::new());
            change.session = set_expires(expires);
            change.now = at(LIFE * 2);
            let answered = done(driver, change).await;
            assert_eq!((answered.expires, answered.ends), (expires, expires));
            assert_eq!(stored(driver, &record).await, Some(answered));
        }
    }
    let mut write = write(&record, &[("b", Some("2"))]);
    write.now = at(LIFE * 2);
    done(driver, write).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1"), ("b", "2")]));
}

async fn a_session_that_does_not_exist_cannot_be_changed(driver: &dyn Driver) {
    let unknown = fresh_record();
    for locator in [Locator::Key(unknown.key), Locator::Ref(unknown.session)] {
        let mut change = commit(Target::Existing(locator), Vec::new());
        change.session = set_expires(at(LIFE));
        refused(driver, change, CommitOutcome::Gone).await;
    }
    assert_eq!(stored(driver, &unknown).await, None);
}

async fn the_expiry_is_set_after_the_items_are_stored(driver: &dyn Driver) {
    let record = create(driver).await;
    let mut logout = write(&record, &[("a", Some("1"))]);
    logout.session = set_expires(NOW);
    let answered = done(driver, logout).await;
    assert_eq!(answered.expires, NOW);
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1")]));
}

async fn a_commit_is_applied_in_all_applications_or_in_none(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let too_many: Vec<_> = (0..3).map(|n| n.to_string()).collect();
    let too_many: Vec<_> = too_many.iter().map(|key| (key.as_str(), Some("0"))).collect();
    let mut half = commit(
        seen(&record),
        vec![emptied(&[("b", Some("2"))]), changes_of(app("forum"), &too_many)],
    );
    half.session = set_expires(at(LIFE * 2));
    half.limits.items = 2;
    assert!(driver.commit(half).await.is_err(), "the forum would hold too much");
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1")]));
    assert!(items_of(driver, &record, app("forum")).await.is_empty());
    assert_eq!(stored(driver, &record).await, Some(record));
}

async fn a_refused_commit_leaves_no_new_session_behind(driver: &dyn Driver) {
    let record = fresh_record();
    for target in [Target::New(record.clone()), presented(fresh_key(), Some(&record))] {
        let mut write = commit(target, vec![changes(&[("a", Some("1"))])]);
        write.limits.items = 0;
        assert!(driver.commit(write).await.is_err());
        assert_eq!(stored(driver, &record).await, None);
    }
}
