//! What is tested on both kinds of server in the same way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use web_session::driver::{
    ApplicationChanges, Commit, CommitOutcome, Create, CreateOutcome, Destroy, DriverErrorKind,
    EnvironmentState, Found, Inspect, Limits, Load, Locator, SessionRecord, Target,
};
use web_session::{ApplicationName, Driver, OnMissing, SessionKey, SessionRef, Timestamp};

pub const NOW: Timestamp = Timestamp::from_millis(1_000);

/// An environment that is removed when it is dropped, whatever became of the test.
pub struct Environment<D: Driver + Clone> {
    pub driver: D,
    pub name: String,
}

impl<D: Driver + Clone> Environment<D> {
    /// With its tables.
    pub async fn new(driver: D, name: String) -> Self {
        driver.ensure_environment().await.unwrap();
        Self { driver, name }
    }
}

impl<D: Driver + Clone> Drop for Environment<D> {
    fn drop(&mut self) {
        let driver = self.driver.clone();
        tokio::task::block_in_place(|| {
            let removing = driver.remove_environment(OnMissing::Ignore);
            tokio::runtime::Handle::current().block_on(removing).unwrap();
        });
    }
}

pub fn record(n: u8) -> SessionRecord {
    let session = SessionRef::from_uuid(uuid::Uuid::from_bytes([n; 16]));
    SessionRecord::new(session, SessionKey::from_bytes([n; 32]), NOW, Timestamp::from_millis(2_000))
}

pub async fn created(driver: &dyn Driver, n: u8) -> SessionRecord {
    let record = record(n);
    let outcome = driver.create(Create::new(record.clone())).await.unwrap();
    assert_eq!(outcome, CreateOutcome::Done);
    record
}

pub fn shop() -> ApplicationName {
    ApplicationName::new("shop").unwrap()
}

pub fn set(record: &SessionRecord, key: &str, value: &str) -> Commit {
    let target = Target::Seen { session: record.session, key: record.key };
    let mut commit = Commit::new(target, NOW);
    let mut changes = ApplicationChanges::new(shop());
    changes.items.push((key.into(), Some(value.into())));
    commit.changes.push(changes);
    commit
}

/// Creates a session with an item.
pub fn with_an_item(n: u8) -> Commit {
    let mut commit = set(&record(n), "a", "1");
    commit.target = Target::New(record(n));
    commit
}

/// Creates sessions at the same moment, of which some exist already, and one has a key that another had before.
pub async fn are_created_together(driver: &dyn Driver) {
    let mut rotated = record(100);
    rotated.previous_key = Some(record(99).key);
    assert_eq!(driver.create(Create::new(rotated)).await.unwrap(), CreateOutcome::Done);
    for (round, is_taken) in [(0..70, 0..0), (35..90, 35..70), (90..100, 99..100)] {
        let create = |n| driver.commit(with_an_item(n));
        let outcomes = join_all(round.clone().map(create)).await;
        for (n, outcome) in round.zip(outcomes) {
            let is_done = matches!(outcome.unwrap(), CommitOutcome::Done(_));
            assert_eq!(is_done, !is_taken.contains(&n), "{n}");
        }
    }
    let found = join_all((0..99).map(|n| async move { load(driver, &record(n)).await })).await;
    let items = |found: &Vec<Found>| found[0].items.get("a").is_some();
    assert!(found.iter().all(items));
}

/// Creates sessions, and then stores items in them, two batches of each at a time.
#[expect(clippy::future_not_send, reason = "the bound of such closures cannot be written")]
pub async fn writes_run_in_two_batches<T>(
    driver: &(impl Driver + Clone),
    lock: impl AsyncFn() -> T,
    how_many_wait: impl AsyncFn() -> i64,
    unlock: impl AsyncFn(T),
) {
    let stores = |key: &'static str| (0..200).map(move |n| set(&record(n), key, "1"));
    let creates = (0..200).map(with_an_item).collect();
    for commits in [creates, stores("b").chain(stores("c")).collect::<Vec<_>>()] {
        run_in_two_batches(driver, commits, &lock, &how_many_wait, &unlock).await;
    }
    let found = join_all((0..200).map(|n| async move { load(driver, &record(n)).await })).await;
    let has_all =
        |found: &Vec<Found>| ["a", "b", "c"].iter().all(|key| found[0].items.get(key).is_some());
    assert!(found.iter().all(has_all));
}

/// Commits while somebody else has the table of the items: two batches have begun then, and no third.
#[expect(clippy::future_not_send, reason = "the bound of such closures cannot be written")]
pub async fn run_in_two_batches<T>(
    driver: &(impl Driver + Clone),
    commits: Vec<Commit>,
    lock: &impl AsyncFn() -> T,
    how_many_wait: &impl AsyncFn() -> i64,
    unlock: &impl AsyncFn(T),
) {
    let locked = lock().await;
    let commit = |commit| {
        let driver = driver.clone();
        async move { driver.commit(commit).await }
    };
    let written = tokio::spawn(join_all(commits.into_iter().map(commit)));
    let until_two_wait = async {
        loop {
            match how_many_wait().await {
                0 | 1 => tokio::time::sleep(Duration::from_millis(5)).await,
                waiting => return waiting,
            }
        }
    };
    let waiting = timeout(Duration::from_secs(4), until_two_wait).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let waiting_later = how_many_wait().await;
    unlock(locked).await;
    assert_eq!((waiting, waiting_later), (Ok(2), 2));
    for outcome in written.await.unwrap() {
        assert!(matches!(outcome, Ok(CommitOutcome::Done(_))), "{outcome:?}");
    }
}

/// Creates sessions at the same moment, of which one has an item of half a mebibyte, and stores as much in one of them.
pub async fn a_long_item_is_no_matter_to_others(driver: &dyn Driver, from: u8) {
    let long = "x".repeat(Limits::default().value_bytes / 2);
    for creates in [true, false] {
        let write = |n| {
            let mut commit = set(&record(n), "a", &long);
            if creates {
                commit.target = Target::New(record(n));
            }
            // The first one goes alone.
            if n != from + 10 {
                commit.changes.clear();
            }
            driver.commit(commit)
        };
        for outcome in join_all((from..from + 64).map(write)).await {
            assert!(matches!(outcome, Ok(CommitOutcome::Done(_))), "{outcome:?}");
        }
    }
}

/// Stores one of at most two items.
pub fn set_one_of_two(n: u8, key: &str) -> Commit {
    let mut commit = set(&record(n), key, "1");
    commit.limits = Limits::default().with_items(2);
    commit
}

pub async fn load(driver: &dyn Driver, record: &SessionRecord) -> Vec<Found> {
    let mut load = Load::new(vec![Locator::Key(record.key)], NOW);
    load.application = Some(shop());
    driver.load(load).await.unwrap()
}

pub async fn state(driver: &dyn Driver) -> EnvironmentState {
    driver.environment().await.unwrap()
}

/// Writes and reads, as a session does.
pub async fn works(driver: &dyn Driver, n: u8) {
    let record = created(driver, n).await;
    let done = driver.commit(set(&record, "a", "1")).await.unwrap();
    assert!(matches!(done, CommitOutcome::Done(_)));
    let found = load(driver, &record).await;
    assert_eq!(found[0].items.get("a").map(Arc::as_ref), Some("1"));
    let ended = driver.destroy(Destroy::new(vec![Locator::Key(record.key)])).await.unwrap();
    assert_eq!(ended, [record.session]);
    let gone = driver.inspect(Inspect::new(Locator::Ref(record.session))).await.unwrap();
    assert_eq!(gone, None);
}

/// A URL and what is said of it: the kind of the error, and a word of its text.
pub type WrongUrl = (String, DriverErrorKind, &'static str);

/// Passwords that are not escaped, and so get to where other parts of the URL belong.
pub fn with_odd_passwords(scheme: &str) -> Vec<WrongUrl> {
    let odd = [
        ("app:/s3cret@db.example/shop", "%2F"),
        ("app:12/s3cret@db.example/shop", "%2F"),
        ("app:?s3cret@db.example/shop", "%3F"),
        ("app:12?s3cret@db.example/shop", "%3F"),
        ("app:/a?s3cret=1@db.example/shop", "%3F"),
        ("app:/a?sslmode=s3cret@db.example/shop", "%3F"),
        ("app:#s3cret@db.example/shop", "%23"),
        ("app:1#s3cret@db.example/shop", "%23"),
        ("app:a@b/s3cret@db.example/shop", "%40"),
        ("app:s3cret/a@db.example/shop", "port"),
    ];
    odd.map(|(rest, text)| (format!("{scheme}://{rest}"), DriverErrorKind::Configuration, text))
        .into()
}

/// Each says what is wrong with which part, and none shows a password.
pub async fn are_refused(urls: Vec<WrongUrl>) {
    for (url, kind, text) in urls {
        match web_session::connect(&url).await.unwrap_err() {
            web_session::ConnectError::Driver(error) => {
                let shown = format!("{error} {error:?}");
                assert_eq!(error.kind(), kind, "{url}: {shown}");
                assert!(shown.contains(text), "{url}: {shown} lacks {text:?}");
                assert!(!shown.contains("s3cret"), "{shown}");
            }
            other => panic!("{url}: {other}"),
        }
    }
}

/// As servers want it that replicate rows.
pub fn give_each_table_a_primary_key(statements: &[String]) {
    let tables = statements.iter().filter(|statement| statement.starts_with("CREATE TABLE"));
    let keyless: Vec<_> = tables.filter(|table| !table.contains("PRIMARY KEY")).collect();
    assert!(keyless.is_empty(), "{keyless:?}");
}

/// M8, D4: changed by these statements, it is refused for this reason and never misread.
pub async fn is_a_defect<D: Driver + Clone>(environment: &Environment<D>, defect: &str) {
    let driver = &environment.driver;
    match state(driver).await {
        EnvironmentState::Defective(text) => {
            assert!(text.contains(defect), "{text:?} lacks {defect:?}");
        }
        other => panic!("{defect}: {other:?}"),
    }
    let error = driver.ensure_environment().await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::EnvironmentDefective);
    let error = driver.create_environment().await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::EnvironmentExists);
    let layer = web_session::SessionLayer::builder(driver.clone()).build().await;
    assert!(layer.is_err(), "{defect}: a layer is not built on it");
    driver.remove_environment(OnMissing::Ignore).await.unwrap();
    assert_eq!(state(driver).await, EnvironmentState::Absent);
}

/// M9: what is missing is named and made again, and the rest keeps its data.
pub async fn is_completed<D: Driver + Clone>(environment: &Environment<D>, missing: &[&str]) {
    let driver = &environment.driver;
    let missing: Vec<_> =
        missing.iter().map(|suffix| format!("{}_{suffix}", environment.name)).collect();
    assert_eq!(state(driver).await, EnvironmentState::Incomplete(missing.clone()));
    let error = driver.remove_environment(OnMissing::Error).await.unwrap_err();
    assert!(error.to_string().contains(&missing[0]), "{error}");
    driver.ensure_environment().await.unwrap();
    assert_eq!(state(driver).await, EnvironmentState::Complete);
}
