//! The sessions of one principal.

use super::list_cases;
use super::setup::*;
use crate::clock::Timestamp;
use crate::driver::{
    Commit, CommitOutcome, Driver, EndWhere, Keep, List, Locator, SessionRecord, Target,
};
use crate::id::{SessionKey, SessionRef};

list_cases! {
    "T3" a_principals_live_sessions_are_listed_from_the_oldest,
    "T3" principals_are_compared_byte_by_byte,
    "T3" a_principal_set_by_a_commit_is_listed,
    "T3" all_sessions_of_a_principal_are_ended_but_one,
    "T3" one_session_of_a_principal_is_ended_and_no_other_principals,
    "T3" only_the_newest_sessions_of_a_principal_are_kept,
    "T3" a_login_beyond_the_most_sessions_changes_nothing,
    "T3" only_other_live_sessions_count_towards_the_most,
    "T3" who_has_logged_out_does_not_count_towards_the_most,
    "T3" a_refused_login_does_not_count_towards_the_most,
    "T3 S5" what_is_gone_or_rotated_is_so_before_it_is_one_too_many,
    "T3 D7" a_session_that_looks_expired_by_another_clock_is_still_its_principals,
    "T3" of_simultaneous_logins_no_more_than_the_most_are_done,
}

async fn store_of(driver: &dyn Driver, principal: &str, created: Timestamp) -> SessionRecord {
    let mut record = fresh_record();
    record.principal = Some(principal.to_owned());
    record.created = created;
    store(driver, &record).await;
    record
}

async fn list(driver: &dyn Driver, principal: &str, now: Timestamp) -> Vec<SessionRecord> {
    driver.list(List { principal: principal.to_owned(), now }).await.unwrap()
}

async fn end(driver: &dyn Driver, principal: &str, except: Option<SessionRef>) -> Vec<SessionRef> {
    let mut ended = driver.end_where(EndWhere { except, ..all_of(principal) }).await.unwrap();
    ended.sort();
    ended
}

async fn a_principals_live_sessions_are_listed_from_the_oldest(driver: &dyn Driver) {
    let young = store_of(driver, "ada", at(-1)).await;
    let old = store_of(driver, "ada", at(-9)).await;
    let middle = store_of(driver, "ada", at(-5)).await;
    store_of(driver, "bob", at(-3)).await;
    create(driver).await;
    let all = list(driver, "ada", at(LIFE - 1)).await;
    assert_eq!(all, [old, middle, young]);
    assert!(list(driver, "ada", at(LIFE)).await.is_empty(), "expired ones are not listed");
    assert!(list(driver, "eve", NOW).await.is_empty());
}

async fn principals_are_compared_byte_by_byte(driver: &dyn Driver) {
    for principal in ["ada", "Ada", "ada ", "ád", "a%", ""] {
        let record = store_of(driver, principal, NOW).await;
        assert_eq!(list(driver, principal, NOW).await, [record], "{principal:?}");
    }
}

async fn a_principal_set_by_a_commit_is_listed(driver: &dyn Driver) {
    let record = create(driver).await;
    for principal in [Some("ada"), Some("bob"), None] {
        let mut login = write(&record, &[]);
        login.session.principal = Some(principal.map(str::to_owned));
        let answered = done(driver, login).await;
        for name in ["ada", "bob"] {
            let listed = list(driver, name, NOW).await;
            assert_eq!(listed.first(), (principal == Some(name)).then_some(&answered));
        }
    }
}

async fn all_sessions_of_a_principal_are_ended_but_one(driver: &dyn Driver) {
    let (one, two) = (store_of(driver, "ada", NOW).await, store_of(driver, "ada", NOW).await);
    let mut expired = fresh_record();
    (expired.principal, expired.expires) = (Some("ada".to_owned()), at(-1));
    store(driver, &expired).await;
    let (bob, nobody) = (store_of(driver, "bob", NOW).await, create(driver).await);

    let mut others = vec![two.session, expired.session];
    others.sort();
    assert_eq!(end(driver, "ada", Some(one.session)).await, others);
    assert_eq!(list(driver, "ada", NOW).await, std::slice::from_ref(&one));
    assert_eq!(end(driver, "ada", Some(bob.session)).await, [one.session]);
    let again = store_of(driver, "ada", NOW).await;
    assert_eq!(end(driver, "ada", None).await, [again.session]);
    assert!(end(driver, "ada", None).await.is_empty());
    for left in [bob, nobody] {
        assert_eq!(stored(driver, &left).await, Some(left));
    }
}

async fn one_session_of_a_principal_is_ended_and_no_other_principals(driver: &dyn Driver) {
    let one = store_of(driver, "ada", NOW).await;
    let two = store_of(driver, "ada", NOW).await;
    let other = store_of(driver, "bob", NOW).await;
    let only = |record: &SessionRecord| {
        driver.end_where(EndWhere { only: Some(record.session), ..all_of("ada") })
    };
    assert!(only(&other).await.unwrap().is_empty());
    assert_eq!(only(&one).await.unwrap(), [one.session]);
    assert!(only(&one).await.unwrap().is_empty());
    assert_eq!(list(driver, "ada", NOW).await, [two]);
    assert_eq!(stored(driver, &other).await, Some(other));
}

async fn only_the_newest_sessions_of_a_principal_are_kept(driver: &dyn Driver) {
    let oldest = store_of(driver, "ada", at(-9)).await;
    let older = store_of(driver, "ada", at(-8)).await;
    let young = store_of(driver, "ada", at(-1)).await;
    let mut expired = fresh_record();
    (expired.principal, expired.expires) = (Some("ada".to_owned()), NOW);
    store(driver, &expired).await;
    store_of(driver, "bob", at(-20)).await;
    // A login draws a fresh id, and that is what makes a session new.
    let oldest = done(driver, rotate(&oldest, fresh_key())).await;
    let keep = |newest| {
        driver.end_where(EndWhere { keep: Some(Keep { newest, now: NOW }), ..all_of("ada") })
    };
    assert!(keep(3).await.unwrap().is_empty());
    assert_eq!(keep(2).await.unwrap(), [older.session]);
    assert_eq!(list(driver, "ada", NOW).await, [oldest.clone(), young.clone()]);
    assert_eq!(keep(1).await.unwrap(), [young.session]);
    assert_eq!(list(driver, "ada", NOW).await, [oldest]);
    assert_eq!(stored(driver, &expired).await, Some(expired), "left for a cleanup");
    assert_eq!(list(driver, "bob", NOW).await.len(), 1);
}

fn all_of(principal: &str) -> EndWhere {
    EndWhere::new(principal.to_owned())
}

/// A login of "ada" that allows her two sessions.
fn login(target: Target) -> Commit {
    let mut login = commit(target, vec![changes(&[("a", Some("1"))])]);
    login.session.principal = Some(Some("ada".to_owned()));
    login.max_sessions = Some(2);
    login
}

async fn a_login_beyond_the_most_sessions_changes_nothing(driver: &dyn Driver) {
    let one = store_of(driver, "ada", NOW).await;
    let two = create(driver).await;
    done(driver, login(seen(&two))).await;
    let (three, fresh) = (create(driver).await, fresh_record());
    let mut rotation = login(seen(&three));
    rotation.session.key = Some(fresh_key());
    for login in [rotation, login(Target::New(fresh.clone()))] {
        refused(driver, login, CommitOutcome::TooMany).await;
    }
    assert_eq!(stored(driver, &fresh).await, None);
    assert_eq!(load_key(driver, three.key).await.map(|found| found.session), Some(three.clone()));
    assert!(shop_items(driver, &three).await.is_empty());
    assert_eq!(list(driver, "ada", NOW).await.len(), 2);
    destroy(driver, vec![Locator::Ref(one.session)]).await;
    done(driver, login(seen(&three))).await;
}

async fn only_other_live_sessions_count_towards_the_most(driver: &dyn Driver) {
    for principal in ["ada", "bob", "bob", "Ada"] {
        store_of(driver, principal, NOW).await;
    }
    let mut expired = fresh_record();
    (expired.principal, expired.expires) = (Some("ada".to_owned()), NOW);
    store(driver, &expired).await;
    let own = create(driver).await;
    for _ in 0..2 {
        done(driver, login(seen(&own))).await;
    }
    refused(driver, login(Target::New(fresh_record())), CommitOutcome::TooMany).await;
    // Who is logged in as another, or not at all, is not counted.
    let mut logout = write(&own, &[]);
    logout.session.principal = Some(None);
    done(driver, logout).await;
    let mut unlimited = login(Target::New(fresh_record()));
    unlimited.max_sessions = None;
    for _ in 0..2 {
        done(driver, unlimited.clone()).await;
        unlimited.target = Target::New(fresh_record());
    }
}

async fn who_has_logged_out_does_not_count_towards_the_most(driver: &dyn Driver) {
    store_of(driver, "ada", NOW).await;
    let own = create(driver).await;
    for principal in [None, Some("bob".to_owned())] {
        done(driver, login(seen(&own))).await;
        refused(driver, login(Target::New(fresh_record())), CommitOutcome::TooMany).await;
        let mut logout = write(&own, &[]);
        logout.session.principal = Some(principal);
        done(driver, logout).await;
        let other = done(driver, login(Target::New(fresh_record()))).await;
        destroy(driver, vec![Locator::Ref(other.session)]).await;
    }
}

/// Logs into a session, and gives it a fresh key.
fn rotating_login(record: &SessionRecord, key: SessionKey) -> Commit {
    let mut login = login(seen(record));
    login.session.key = Some(key);
    login
}

async fn a_refused_login_does_not_count_towards_the_most(driver: &dyn Driver) {
    let taken = store_of(driver, "ada", NOW).await;
    let (gone, expired, rotated) = (fresh_record(), fresh_record(), create(driver).await);
    store(driver, &SessionRecord { expires: NOW, ..expired.clone() }).await;
    done(driver, rotate(&rotated, fresh_key())).await;
    for login in [login(seen(&gone)), login(seen(&expired)), login(presented(fresh_key(), None))] {
        refused(driver, login, CommitOutcome::Gone).await;
    }
    refused(driver, rotating_login(&rotated, fresh_key()), CommitOutcome::Rotated).await;
    let own = create(driver).await;
    refused(driver, rotating_login(&own, taken.key), CommitOutcome::Collision).await;
    let twin = SessionRecord { key: taken.key, ..fresh_record() };
    refused(driver, login(Target::New(twin)), CommitOutcome::Collision).await;
    for target in [seen(&create(driver).await), Target::New(fresh_record())] {
        let mut large = login(target);
        large.limits.items = 0;
        assert!(driver.commit(large).await.is_err());
    }
    done(driver, login(seen(&own))).await;
    assert_eq!(list(driver, "ada", NOW).await.len(), 2);
    // One that is refused when it is the principal's already stays so.
    let mut large = login(seen(&own));
    large.limits.items = 0;
    assert!(driver.commit(large).await.is_err());
    assert_eq!(list(driver, "ada", NOW).await.len(), 2);
    refused(driver, login(Target::New(fresh_record())), CommitOutcome::TooMany).await;
}

async fn what_is_gone_or_rotated_is_so_before_it_is_one_too_many(driver: &dyn Driver) {
    for _ in 0..2 {
        store_of(driver, "ada", NOW).await;
    }
    let (rotated, expired) = (create(driver).await, fresh_record());
    store(driver, &SessionRecord { expires: NOW, ..expired.clone() }).await;
    done(driver, rotate(&rotated, fresh_key())).await;
    for target in [seen(&fresh_record()), seen(&expired), presented(expired.key, None)] {
        refused(driver, login(target), CommitOutcome::Gone).await;
    }
    let retired = login(presented(rotated.key, Some(&fresh_record())));
    for login in [rotating_login(&rotated, fresh_key()), retired] {
        refused(driver, login, CommitOutcome::Rotated).await;
    }
    let otherwise = login(presented(expired.key, Some(&fresh_record())));
    refused(driver, otherwise, CommitOutcome::TooMany).await;
}

async fn a_session_that_looks_expired_by_another_clock_is_still_its_principals(
    driver: &dyn Driver,
) {
    let one = store_of(driver, "ada", NOW).await;
    let mut two = fresh_record();
    (two.principal, two.expires) = (Some("ada".to_owned()), at(LIFE / 2));
    store(driver, &two).await;
    // The clock of this one is ahead, by which "two" has expired.
    let mut ahead = login(Target::New(fresh_record()));
    ahead.now = at(LIFE / 2);
    let ahead = done(driver, ahead).await;
    let mut touch = write(&two, &[]);
    touch.session.expires = Some(at(LIFE));
    let two = done(driver, touch).await;
    let mut theirs = list(driver, "ada", NOW).await;
    theirs.sort_by_key(|record| record.session);
    let mut expected = [one.session, two.session, ahead.session];
    expected.sort();
    assert!(theirs.iter().map(|record| record.session).eq(expected));
    assert_eq!(end(driver, "ada", None).await, expected);
}

async fn of_simultaneous_logins_no_more_than_the_most_are_done(driver: &dyn Driver) {
    let mut logins = Vec::new();
    for n in 0..64 {
        let target = match n % 2 {
            0 => seen(&create(driver).await),
            _ => Target::New(fresh_record()),
        };
        logins.push(driver.commit(login(target)));
    }
    let outcomes = at_once(logins).await;
    let done = outcomes.iter().filter(|outcome| matches!(outcome, CommitOutcome::Done(_)));
    assert_eq!(done.count(), 2);
    let refused = outcomes.iter().filter(|outcome| **outcome == CommitOutcome::TooMany);
    assert_eq!(refused.count(), 62);
    assert_eq!(list(driver, "ada", NOW).await.len(), 2);
}
