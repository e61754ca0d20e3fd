//! What is special to SQLite. What every driver has to do is in `conformance`.

mod calls;
mod concurrency;
mod environment;
mod errors;
mod model;

use std::path::PathBuf;
use std::sync::Arc;

use sqlx::SqlitePool;
use tempfile::TempDir;
use uuid::Uuid;

use super::SqliteDriver;
use crate::clock::Timestamp;
use crate::driver::{
    ApplicationChanges, ApplicationName, Commit, Create, CreateOutcome, Driver, Found, Items,
    Limits, Load, Locator, SessionChange, SessionRecord, Target,
};
use crate::id::{SessionKey, SessionRef};

const NOW: Timestamp = Timestamp::from_millis(1_000);
const SHOP: ApplicationName = ApplicationName::from_static("shop");

/// A folder that is removed with everything in it, and a file in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("sessions.db")
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.file().display())
    }

    /// A driver for the file, with its environment.
    async fn driver(&self) -> SqliteDriver {
        let driver = SqliteDriver::connect(&self.url()).await.unwrap();
        driver.ensure_environment().await.unwrap();
        driver
    }
}

async fn memory() -> SqliteDriver {
    let driver = SqliteDriver::connect("sqlite::memory:").await.unwrap();
    driver.ensure_environment().await.unwrap();
    driver
}

fn key(n: u8) -> SessionKey {
    SessionKey::from_bytes([n; 32])
}

fn reference(n: u8) -> SessionRef {
    SessionRef::from_uuid(Uuid::from_bytes([n; 16]))
}

/// A session that lives from [`NOW`] on for a second.
fn session(n: u8) -> SessionRecord {
    SessionRecord::new(reference(n), key(n), NOW, Timestamp::from_millis(2_000))
}

async fn created(driver: &SqliteDriver, n: u8) -> SessionRecord {
    let session = session(n);
    let create = Create { session: session.clone() };
    assert_eq!(driver.create(create).await.unwrap(), CreateOutcome::Done);
    session
}

fn commit(target: Target, changes: Vec<ApplicationChanges>) -> Commit {
    Commit {
        target,
        changes,
        session: SessionChange::default(),
        max_sessions: None,
        limits: Limits::default(),
        now: NOW,
    }
}

fn seen(n: u8) -> Target {
    Target::Seen { session: reference(n), key: key(n) }
}

fn set(items: &[(&str, &str)]) -> Vec<ApplicationChanges> {
    let mut changes = ApplicationChanges::new(SHOP);
    let pair = |(key, value): &(&str, &str)| (Arc::from(*key), Some(Arc::from(*value)));
    changes.items = items.iter().map(pair).collect();
    vec![changes]
}

fn load(sessions: Vec<Locator>) -> Load {
    Load { sessions, application: Some(SHOP), limits: Limits::default(), now: NOW }
}

async fn loaded(driver: &SqliteDriver, n: u8) -> Vec<Found> {
    driver.load(load(vec![Locator::Key(key(n))])).await.unwrap()
}

async fn items(driver: &SqliteDriver, n: u8) -> Items {
    loaded(driver, n).await.remove(0).items
}

/// Statements from outside, on the driver's own writer.
async fn execute(pool: &SqlitePool, statements: &'static str) {
    sqlx::raw_sql(statements).execute(pool).await.unwrap();
}
