//! Anything at all in the storage, read back through the crate.
//!
//! Fields are separated by the byte 0xff, which no text holds: a value, a key, a value of another
//! key, a principal, the numbers of a record, and what stands in a binary column of SQLite.
//! Whatever it is, the answer is what is stored or an error, and no error quotes it.

#![no_main]

mod support;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use support::{builder, run, timestamp};
use web_session::driver::{
    ApplicationChanges, Commit, CommitOutcome, Create, DriverErrorKind, SessionRecord, Target,
};
use web_session::{
    ApplicationName, Driver, Limits, MaxAge, MemoryDriver, SessionError, SessionId, SessionLayer,
    SessionRef, SessionStore, SqliteDriver, Timestamp,
};

const ID: &str = "00112233445566778899aabbccddeeff";
const APPLICATION: &str = "shop";

/// The size of what the layers accept, small enough to be exceeded.
const VALUE_BYTES: usize = 600;
const ITEMS: usize = 2;

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only read back")]
struct Profile {
    name: String,
    age: Option<u8>,
    tags: Vec<char>,
    #[serde(default)]
    inner: Option<Box<Profile>>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only read back")]
enum Choice {
    Nothing,
    One(f64),
    Two { a: i128, b: () },
}

/// What is stored, as the input has it.
struct Stored<'a> {
    value: &'a [u8],
    key: &'a [u8],
    other: &'a [u8],
    principal: Option<&'a [u8]>,
    numbers: &'a [u8],
    binary: Option<&'a [u8]>,
}

impl<'a> Stored<'a> {
    fn new(data: &'a [u8]) -> Self {
        let mut fields = data.split(|byte| *byte == 0xff);
        let mut next = || fields.next();
        let value = next().unwrap_or_default();
        let key = next().filter(|key| !key.is_empty()).unwrap_or(b"n");
        let other = next().filter(|other| !other.is_empty()).unwrap_or(b"1");
        let principal = next().filter(|principal| !principal.is_empty());
        Self { value, key, other, principal, numbers: next().unwrap_or_default(), binary: next() }
    }

    /// A number of the record, or the default if it is short.
    fn number(&self, at: usize, default: Timestamp) -> Timestamp {
        let bytes = self.numbers.chunks_exact(8).nth(at).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(default, |bytes| Timestamp::from_millis(i64::from_le_bytes(bytes)))
    }

    fn record(&self) -> SessionRecord {
        let id: SessionId = ID.parse().expect("an id");
        let session: SessionRef = "00000000-0000-7000-8000-000000000001".parse().expect("a UUID");
        let later = Timestamp::from_millis(timestamp().as_millis() + 60_000);
        let mut record = SessionRecord::new(session, id.key(), timestamp(), later);
        record.expires = self.number(0, later);
        record.ends = self.number(1, later);
        record.created = self.number(2, timestamp());
        record.last_used = self.number(3, timestamp());
        if self.numbers.len() >= 40 {
            record.cookie_lifetime = Some(self.number(4, later).as_millis());
            record.rotated = Some(self.number(5, timestamp()));
        }
        record.principal = self.principal.map(lossy);
        record.note = record.principal.clone();
        record
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fuzz_target!(|data: &[u8]| {
    let stored = Stored::new(data);
    run(async {
        in_memory(&stored).await;
        if let Some((place, bytes)) = stored.binary.and_then(<[u8]>::split_first)
            && b"sukp".contains(place)
        {
            in_sqlite(&stored, *place, bytes).await;
        }
    });
});

async fn layer(driver: impl Driver) -> SessionLayer {
    let limits = Limits::default().with_value_bytes(VALUE_BYTES).with_items(ITEMS);
    builder(driver).limits(limits).build().await.expect("the configuration is right")
}

/// What a driver accepts and the crate itself would never write: values that are no JSON, keys of
/// any length, records of any times.
async fn in_memory(stored: &Stored<'_>) {
    let driver = MemoryDriver::new();
    let record = stored.record();
    driver.create(Create::new(record.clone())).await.expect("memory does not fail");
    let [value, key, other] = [stored.value, stored.key, stored.other].map(lossy);
    let name = ApplicationName::new(APPLICATION).expect("a name");
    let mut changes = ApplicationChanges::new(name);
    let item = |key: &str, text: &str| (Arc::from(key), Some(Arc::from(text)));
    changes.items = vec![item(&key, &value)];
    if key != "other" {
        changes.items.push(item("other", &other));
        changes.items.sort();
    }
    // Written while it lives.
    let early = Timestamp::from_millis(record.expires.as_millis().saturating_sub(1));
    let target = Target::Seen { session: record.session, key: record.key };
    let mut commit = Commit::new(target, early);
    commit.changes = vec![changes];
    let live = match driver.commit(commit).await.expect("memory does not fail") {
        CommitOutcome::Done(record) => record.is_live(timestamp()),
        _ => false,
    };
    let layer = layer(driver).await;
    let session = layer.manager();
    assert_eq!(session.load_id(ID).await.expect("memory does not fail"), live);
    let meant = serde_json::from_str::<Value>(&value);
    let sizes = [value.len(), other.len()];
    match session.store(APPLICATION).expect("a name").get::<Value>(&key).await {
        Ok(None) => assert!(!live),
        Ok(Some(found)) => assert_eq!(found, meant.expect("what was read is JSON")),
        Err(SessionError::Decode(_)) => assert!(meant.is_err()),
        Err(SessionError::TooLarge(_)) => assert!(sizes.iter().any(|size| *size > VALUE_BYTES)),
        Err(SessionError::InvalidKey(length)) => assert!(length > 255),
        Err(error) => panic!("memory does not fail: {error}"),
    }
    read(&layer, &key).await;
}

/// What stands in the columns when someone else has written to the file: texts that are not UTF-8,
/// references and digests of any length.
///
/// `bytes` are the reference (`u`), the digest (`k`), the previous digest (`p`) or nothing (`s`).
async fn in_sqlite(stored: &Stored<'_>, place: u8, bytes: &[u8]) {
    let (pool, layer) = sqlite().await;
    // The items go with their sessions.
    sqlx::query("DELETE FROM web_session_sessions").execute(&pool).await.expect("SQLite");
    let record = stored.record();
    let digest = record.key.as_bytes().as_slice();
    let uid = record.session.as_uuid().as_bytes().as_slice();
    let (uid, key, previous) = match place {
        b'u' => (bytes, digest, None),
        b'k' => (uid, bytes, Some(digest)),
        b'p' => (uid, digest, Some(bytes)),
        _ => (uid, digest, None),
    };
    sqlx::query(
        "INSERT INTO web_session_sessions (uid, key, previous_key, rotated, expires, ends, created,
            last_used, cookie_lifetime, principal, note)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT))",
    )
    .bind(uid)
    .bind(key)
    .bind(previous)
    .bind(record.rotated.map(Timestamp::as_millis))
    .bind(record.expires.as_millis())
    .bind(record.ends.as_millis())
    .bind(record.created.as_millis())
    .bind(record.last_used.as_millis())
    .bind(record.cookie_lifetime)
    .bind(stored.principal)
    .bind(stored.principal)
    .execute(&pool)
    .await
    .expect("SQLite takes any bytes");
    for (key, value) in [(stored.key, stored.value), (b"other", stored.other)] {
        sqlx::query(
            "INSERT OR REPLACE INTO web_session_items (uid, application, item_key, value)
            VALUES (?, 'shop', ?, CAST(? AS TEXT))",
        )
        .bind(uid)
        .bind(key)
        .bind(value)
        .execute(&pool)
        .await
        .expect("SQLite takes any bytes");
    }
    read(&layer, &lossy(stored.key)).await;
}

/// One database in memory for all inputs.
async fn sqlite() -> (SqlitePool, SessionLayer) {
    thread_local! {
        static SHARED: OnceCell<(SqlitePool, SessionLayer)> = const { OnceCell::new() };
    }
    if let Some(shared) = SHARED.with(|shared| shared.get().cloned()) {
        return shared;
    }
    let options = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false);
    let pool = options.connect("sqlite::memory:").await.expect("SQLite");
    let driver = SqliteDriver::new(pool.clone());
    driver.ensure_environment().await.expect("SQLite");
    let made = (pool, layer(driver).await);
    SHARED.with(|shared| shared.get_or_init(|| made.clone()).clone())
}

/// Reads it in every way there is.
async fn read(layer: &SessionLayer, key: &str) {
    let session = layer.manager();
    let loaded = allowed(session.load_id(ID).await, key);
    if let Some(exists) = allowed(session.exists(ID).await, key) {
        assert!(exists || loaded != Some(true));
    }
    allowed(session.valid(ID).await, key);
    if loaded != Some(true) {
        return;
    }
    let _ = session.expire_time();
    let cookie = session.set_cookie_string(MaxAge::Session).expect("it is loaded");
    assert!(!cookie.is_empty());

    let store = session.store(APPLICATION).expect("a name");
    let keys = allowed(store.keys().await, key);
    // What cannot be read at all needs no more tries, which SQLite makes slow.
    if keys.is_some() {
        assert_eq!(allowed(store.len().await, key), keys.as_ref().map(Vec::len));
        if let Some(items) = allowed(store.items::<Value>().await, key) {
            assert_eq!(keys, Some(items.into_iter().map(|(key, _)| key).collect()));
        }
        allowed(store.has_key(key).await, key);
        get::<u64>(&store, key).await;
        get::<f64>(&store, key).await;
        get::<String>(&store, key).await;
        get::<Option<Vec<()>>>(&store, key).await;
        get::<Vec<Vec<i8>>>(&store, key).await;
        get::<BTreeMap<String, BTreeMap<String, Value>>>(&store, key).await;
        get::<Profile>(&store, key).await;
        get::<Choice>(&store, key).await;
        get::<Value>(&store, key).await;
    }

    let updated = store.update(key, |old: Option<Value>| json!([old])).await;
    if let Some(updated) = allowed(updated, key) {
        let session = layer.manager();
        assert_eq!(session.load_id(ID).await, Ok(true));
        let store = session.store(APPLICATION).expect("a name");
        assert_eq!(store.get(key).await, Ok(Some(updated)), "what was stored is read back");
    }
}

async fn get<T: DeserializeOwned + Debug>(store: &SessionStore, key: &str) {
    allowed(store.get::<T>(key).await, key);
}

/// The answer, unless it is one of the errors that there may be.
fn allowed<T: Debug>(answer: Result<T, SessionError>, key: &str) -> Option<T> {
    let error = match answer {
        Ok(answer) => return Some(answer),
        Err(error) => error,
    };
    match &error {
        SessionError::Decode(_) | SessionError::Encode(_) | SessionError::TooLarge(_) => {}
        SessionError::InvalidKey(length) => assert_eq!(*length, key.len()),
        SessionError::NoSuchSession | SessionError::Ended => {}
        SessionError::Driver(error) => {
            assert_eq!(error.kind(), DriverErrorKind::Corrupt, "{error}")
        }
        other => panic!("an error that nothing stored explains: {other:?}"),
    }
    let shown = format!("{error} {error:?}");
    assert!(shown.len() < 500, "the error is bounded");
    assert!(key.len() < 16 || !shown.contains(key), "the error quotes a key");
    None
}
