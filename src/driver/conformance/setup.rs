//! The words that the cases are written in.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::driver::{
    ApplicationChanges, ApplicationName, Cleanup, Commit, CommitOutcome, Create, CreateOutcome,
    Destroy, Driver, DriverFuture, Found, Inspect, Items, Limits, Load, Locator, ReplaceItem,
    SessionChange, SessionRecord, Target,
};
use crate::id::{SessionKey, SessionRef};
use crate::random::{self, OsRandom, Seed};

/// The time at which the cases begin: 2026-01-01T00:00:00Z.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// How long the cases' sessions live, in milliseconds.
pub(super) const LIFE: i64 = 60_000;

/// `millis` after the cases begin.
pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + millis)
}

pub(super) fn fresh_key() -> SessionKey {
    random::session_id(&OsRandom, &Seed::default()).unwrap().key()
}

pub(super) fn fresh_record() -> SessionRecord {
    let session = random::session_ref(&OsRandom, NOW).unwrap();
    SessionRecord::new(session, fresh_key(), NOW, at(LIFE))
}

pub(super) fn app(name: &'static str) -> ApplicationName {
    ApplicationName::new(name).unwrap()
}

pub(super) fn shop() -> ApplicationName {
    app("shop")
}

/// Changes of the shop's items; `None` removes.
pub(super) fn changes(items: &[(&str, Option<&str>)]) -> ApplicationChanges {
    changes_of(shop(), items)
}

pub(super) fn changes_of(
    application: ApplicationName,
    items: &[(&str, Option<&str>)],
) -> ApplicationChanges {
    let mut changes = ApplicationChanges::new(application);
    changes.items =
        items.iter().map(|(key, value)| (Arc::from(*key), value.map(Arc::from))).collect();
    changes.items.sort();
    changes
}

/// The removal of all of the shop's items, followed by changes.
pub(super) fn emptied(items: &[(&str, Option<&str>)]) -> ApplicationChanges {
    let mut changes = changes(items);
    changes.empty = true;
    changes
}

pub(super) fn commit(target: Target, changes: Vec<ApplicationChanges>) -> Commit {
    Commit {
        target,
        changes,
        session: SessionChange::default(),
        max_sessions: None,
        limits: Limits::default(),
        now: NOW,
    }
}

pub(super) fn seen(record: &SessionRecord) -> Target {
    Target::Seen { session: record.session, key: record.key }
}

/// A commit to a session that the request has seen.
pub(super) fn write(record: &SessionRecord, items: &[(&str, Option<&str>)]) -> Commit {
    commit(seen(record), vec![changes(items)])
}

/// A commit that gives the session a fresh key.
pub(super) fn rotate(record: &SessionRecord, key: SessionKey) -> Commit {
    let mut commit = commit(seen(record), Vec::new());
    commit.session.key = Some(key);
    commit
}

pub(super) fn set_expires(expires: Timestamp) -> SessionChange {
    SessionChange { expires: Some(expires), ends: Some(expires), ..SessionChange::default() }
}

pub(super) fn presented(key: SessionKey, otherwise: Option<&SessionRecord>) -> Target {
    Target::Presented { key, retired_after: at(-60_000), otherwise: otherwise.cloned() }
}

pub(super) fn replace(
    record: &SessionRecord,
    key: &str,
    expected: Option<&str>,
    value: &str,
) -> ReplaceItem {
    ReplaceItem {
        session: record.session,
        application: shop(),
        key: key.into(),
        expected: expected.map(Arc::from),
        value: value.into(),
        limits: Limits::default(),
        now: NOW,
    }
}

/// Stores a fresh session without items.
pub(super) async fn create(driver: &dyn Driver) -> SessionRecord {
    let record = fresh_record();
    store(driver, &record).await;
    record
}

pub(super) async fn store(driver: &dyn Driver, record: &SessionRecord) {
    let outcome = driver.create(Create { session: record.clone() }).await.unwrap();
    assert_eq!(outcome, CreateOutcome::Done);
}

/// Stores a fresh session with items of the shop.
pub(super) async fn create_with(
    driver: &dyn Driver,
    items: &[(&str, Option<&str>)],
) -> SessionRecord {
    let record = fresh_record();
    done(driver, commit(Target::New(record.clone()), vec![changes(items)])).await;
    record
}

/// Commits, which has to succeed, and answers the record that the driver gave.
pub(super) async fn done(driver: &dyn Driver, commit: Commit) -> SessionRecord {
    match driver.commit(commit).await.unwrap() {
        CommitOutcome::Done(record) => record,
        other => panic!("the commit was answered {other:?} instead of Done"),
    }
}

/// Commits, which has to be refused with this answer.
pub(super) async fn refused(driver: &dyn Driver, commit: Commit, expected: CommitOutcome) {
    assert_eq!(driver.commit(commit).await.unwrap(), expected);
}

pub(super) fn load_of(sessions: Vec<Locator>, application: Option<ApplicationName>) -> Load {
    Load { sessions, application, limits: Limits::default(), now: NOW }
}

pub(super) async fn load(driver: &dyn Driver, sessions: Vec<Locator>) -> Vec<Found> {
    driver.load(load_of(sessions, Some(shop()))).await.unwrap()
}

/// What the storage has under a key, with the shop's items.
pub(super) async fn load_key(driver: &dyn Driver, key: SessionKey) -> Option<Found> {
    let mut found = load(driver, vec![Locator::Key(key)]).await;
    assert!(found.len() <= 1, "one key names at most one session");
    found.pop()
}

/// The items of an application, which exists.
pub(super) async fn items_of(
    driver: &dyn Driver,
    record: &SessionRecord,
    application: ApplicationName,
) -> Items {
    let load = load_of(vec![Locator::Ref(record.session)], Some(application));
    let mut found = driver.load(load).await.unwrap();
    assert_eq!(found.len(), 1, "the session exists");
    found.pop().unwrap().items
}

/// The shop's items as text.
pub(super) async fn shop_items(
    driver: &dyn Driver,
    record: &SessionRecord,
) -> Vec<(String, String)> {
    texts(&items_of(driver, record, shop()).await)
}

pub(super) fn texts(items: &Items) -> Vec<(String, String)> {
    items.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

pub(super) fn pairs(items: &[(&str, &str)]) -> Vec<(String, String)> {
    items.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) async fn destroy(driver: &dyn Driver, sessions: Vec<Locator>) -> Vec<SessionRef> {
    driver.destroy(Destroy { sessions }).await.unwrap()
}

pub(super) async fn inspect(driver: &dyn Driver, session: Locator) -> Option<SessionRecord> {
    driver.inspect(Inspect { session }).await.unwrap()
}

/// What the storage has of a session, by its reference.
pub(super) async fn stored(driver: &dyn Driver, record: &SessionRecord) -> Option<SessionRecord> {
    inspect(driver, Locator::Ref(record.session)).await
}

pub(super) async fn cleanup(driver: &dyn Driver, from: Timestamp, until: Timestamp) -> u64 {
    driver.cleanup(Cleanup { from, until, limit: 1_000 }).await.unwrap()
}

/// Awaits calls that run at the same time.
pub(super) async fn at_once<T: Send + 'static>(calls: Vec<DriverFuture<T>>) -> Vec<T> {
    let tasks: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(task.await.unwrap().unwrap());
    }
    answers
}
