//! Settings of the connections, what is read of hostile data, and how statements find their rows.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Row};

use super::*;
use crate::driver::sql::{Call, Statement, write_at_once};
use crate::driver::{Cleanup, DriverErrorKind, EnvironmentState, ReplaceItem, ReplaceOutcome};

async fn pragma(pool: &SqlitePool, statement: &'static str) -> String {
    let row = sqlx::query(statement).fetch_one(pool).await.unwrap();
    row.try_get::<String, _>(0).unwrap_or_else(|_| row.get::<i64, _>(0).to_string())
}

#[tokio::test]
async fn the_connections_have_the_promised_settings() {
    let folder = Folder::new();
    let driver = folder.driver().await;
    for pool in [driver.0.writer.pool(), driver.0.readers.pool()] {
        assert_eq!(pragma(pool, "PRAGMA journal_mode").await, "wal");
        assert_eq!(pragma(pool, "PRAGMA foreign_keys").await, "1");
        assert_eq!(pragma(pool, "PRAGMA busy_timeout").await, "5000");
    }
    assert_eq!(pragma(driver.0.writer.pool(), "PRAGMA synchronous").await, "1");
    assert_eq!(pragma(driver.0.readers.pool(), "PRAGMA query_only").await, "1");
    assert_eq!(driver.0.writer.pool().options().get_max_connections(), 1);
    assert_eq!(driver.0.readers.pool().options().get_max_connections(), 4);
}

#[tokio::test]
async fn sessions_survive_closing_and_opening_the_file() {
    let folder = Folder::new();
    let driver = folder.driver().await;
    created(&driver, 1).await;
    let pairs = [("a\0b", "\"\u{0}\\ é 🦀\""), ("é", "{\"a\":[1,null]}")];
    driver.commit(commit(seen(1), set(&pairs))).await.unwrap();
    driver.close().await;
    let stored = items(&folder.driver().await, 1).await;
    for (key, text) in pairs {
        assert_eq!(stored.get(key).map(|text| &**text), Some(text));
    }
}

// S8: a load refuses what is larger.
#[tokio::test]
async fn a_huge_value_that_another_program_stored_is_refused_and_not_read() {
    let driver = memory().await;
    created(&driver, 1).await;
    let query = sqlx::query(
        "INSERT INTO web_session_items SELECT uid, 'shop', CAST('k' AS BLOB), \
         replace(hex(zeroblob(25000000)), '0', 'x') FROM web_session_sessions",
    );
    query.execute(driver.0.writer.pool()).await.unwrap();
    let error = driver.load(load(vec![Locator::Key(key(1))])).await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::TooLarge);
    assert!(error.to_string().contains("a value is longer than 1048576"), "{error}");
    let replace = ReplaceItem {
        session: reference(1),
        application: SHOP,
        key: "k".into(),
        expected: None,
        value: "1".into(),
        limits: Limits::default(),
        now: NOW,
    };
    let error = driver.replace_item(replace).await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::TooLarge);
    // It can be replaced by a smaller one.
    driver.commit(commit(seen(1), set(&[("k", "1")]))).await.unwrap();
    assert_eq!(items(&driver, 1).await.len(), 1);
}

// S8
#[tokio::test]
async fn each_limit_is_told_apart() {
    let driver = memory().await;
    created(&driver, 1).await;
    let five = set(&[("a", "12"), ("b", "12"), ("c", "12"), ("d", "12"), ("e", "12")]);
    driver.commit(commit(seen(1), five)).await.unwrap();
    type Narrow = fn(&mut Limits);
    let cases: [(Narrow, &str); 3] = [
        (|limits| limits.value_bytes = 1, "a value is longer than 1 bytes"),
        (|limits| limits.items = 4, "more than 4 items"),
        (|limits| limits.application_bytes = 14, "holds more than 14 bytes"),
    ];
    for (narrow, text) in cases {
        let mut load = load(vec![Locator::Key(key(1))]);
        narrow(&mut load.limits);
        let error = driver.load(load).await.unwrap_err();
        assert_eq!(error.kind(), DriverErrorKind::TooLarge);
        assert!(error.to_string().contains(text), "{error}");

        let mut commit = commit(seen(1), set(&[("a", "21")]));
        narrow(&mut commit.limits);
        let error = driver.commit(commit).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(items(&driver, 1).await.get("a").map(|text| &**text), Some("12"));
    }
}

#[tokio::test]
async fn stored_data_of_another_form_is_an_error_and_not_no_session() {
    for statements in [
        "UPDATE web_session_items SET item_key = x'ff'",
        "UPDATE web_session_items SET value = CAST(x'22ff22' AS TEXT)",
        "UPDATE web_session_sessions SET previous_key = x'00'",
        "PRAGMA foreign_keys = OFF; UPDATE web_session_sessions SET uid = x'00'",
    ] {
        let driver = memory().await;
        created(&driver, 1).await;
        driver.commit(commit(seen(1), set(&[("a", "1")]))).await.unwrap();
        execute(driver.0.writer.pool(), statements).await;
        let error = driver.load(load(vec![Locator::Key(key(1))])).await.unwrap_err();
        assert_eq!(error.kind(), DriverErrorKind::Corrupt, "{statements}");
    }
}

// D4: a uid is the only thing that items hang on; they go with their session.
#[tokio::test]
async fn items_go_with_their_session() {
    let driver = memory().await;
    created(&driver, 1).await;
    driver.commit(commit(seen(1), set(&[("a", "1")]))).await.unwrap();
    let cleanup = Cleanup { from: Timestamp::MIN, until: Timestamp::MAX, limit: 10 };
    assert_eq!(driver.cleanup(cleanup).await.unwrap(), 1);
    let left = pragma(driver.0.writer.pool(), "SELECT count(*) FROM web_session_items").await;
    assert_eq!(left, "0");
}

// S5
#[tokio::test]
async fn an_item_of_a_session_that_is_gone_is_not_stored() {
    let driver = memory().await;
    let replace = ReplaceItem {
        session: reference(1),
        application: SHOP,
        key: "k".into(),
        expected: None,
        value: "1".into(),
        limits: Limits::default(),
        now: NOW,
    };
    assert_eq!(driver.replace_item(replace).await.unwrap(), ReplaceOutcome::Gone);
    let left = pragma(driver.0.writer.pool(), "SELECT count(*) FROM web_session_items").await;
    assert_eq!(left, "0");
}

// P1, "10 000 → 10 000 000 sessions": no statement walks over a table.
#[tokio::test]
async fn every_statement_finds_its_rows_by_an_index() {
    let driver = memory().await;
    let sql = &driver.0.statements;
    let many = [
        &sql.load_by_keys,
        &sql.load_many,
        &sql.lock_by_uids,
        &sql.lock_many,
        &sql.items_named,
        &sql.insert_many,
        &sql.empty_many,
        &sql.delete_items,
        &sql.set_items,
        &sql.exceeding,
    ];
    let single = [
        &sql.load,
        &sql.by_uid,
        &sql.by_key,
        &sql.lock_presented,
        &sql.lock_named,
        &sql.lock_principals,
        &sql.list,
        &sql.item,
        &sql.totals,
        &sql.insert,
        &sql.update,
        &sql.taken,
        &sql.delete_item,
        &sql.empty_application,
        &sql.delete,
        &sql.delete_expired,
    ];
    let whole = sql.whole.as_ref().unwrap();
    let whole = [&whole.store, &whole.create].into_iter().flat_map(|many| many.texts());
    let whole = whole.flat_map(|texts| texts.as_str().split(';'));
    let of_whole = whole.filter(|text| !text.contains("BEGIN") && !text.contains("COMMIT"));
    let alone = many.into_iter().flat_map(|many| many.texts()).chain(single);
    for text in alone.map(Statement::as_str).chain(of_whole) {
        let explain = format!("EXPLAIN QUERY PLAN {text}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(explain))
            .fetch_all(driver.0.writer.pool())
            .await
            .unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        // The rows of the statement itself are no table.
        let own = |step: &str| {
            step.ends_with("VALUES CLAUSE")
                || step.contains("CONSTANT ROW")
                || ["SCAN answer", "SCAN n"].contains(&step)
        };
        let walks = |step: &String| step.starts_with("SCAN") && !own(step);
        assert!(!plan.iter().any(walks), "{plan:#?}\n{text}");
    }
}

// P3
#[tokio::test]
async fn calls_of_every_size_use_the_same_statements() {
    let driver = memory().await;
    let mut counts = Vec::new();
    for round in [0, 20] {
        for n in 1..=4 {
            one_of_size(&driver, n, n + round).await;
        }
        let db = driver.0.writer.pool().acquire().await.unwrap();
        counts.push(db.cached_statements_size());
    }
    assert_eq!(counts.first(), counts.last());
}

async fn one_of_size(driver: &SqliteDriver, size: u8, n: u8) {
    created(driver, n).await;
    let texts: Vec<_> = (0..size * 3).map(|key| key.to_string()).collect();
    let pairs: Vec<_> = texts.iter().map(|text| (text.as_str(), "1")).collect();
    driver.commit(commit(seen(n), set(&pairs))).await.unwrap();
    let sessions: Vec<_> = (1..=size).map(|n| Locator::Key(key(n))).collect();
    assert_eq!(driver.load(load(sessions)).await.unwrap().len(), usize::from(size));
}

#[tokio::test]
async fn a_pool_of_the_applications_is_enough() {
    let folder = Folder::new();
    let options = SqliteConnectOptions::new().filename(folder.file()).create_if_missing(true);
    let pool = SqlitePool::connect_with(options.clone()).await.unwrap();
    let driver = SqliteDriver::new(pool.clone());
    driver.ensure_environment().await.unwrap();
    created(&driver, 1).await;
    driver.commit(commit(seen(1), set(&[("a", "1")]))).await.unwrap();
    assert_eq!(loaded(&folder.driver().await, 1).await.len(), 1);
    let shop = SqliteDriver::builder_for(pool).environment("shop").connect().await.unwrap();
    shop.ensure_environment().await.unwrap();
    assert!(loaded(&shop, 1).await.is_empty());

    let careless = SqlitePool::connect_with(options.foreign_keys(false)).await.unwrap();
    let error = SqliteDriver::builder_for(careless).connect().await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::Configuration);
    assert!(error.to_string().contains("foreign keys"), "{error}");
}

// M9
#[tokio::test]
async fn tables_that_were_made_by_hand_are_complete() {
    let folder = Folder::new();
    let builder = SqliteDriver::builder(&folder.url()).environment("shop");
    let statements = builder.create_statements().unwrap().join(";\n");
    let driver = builder.connect().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(driver.0.writer.pool()).await.unwrap();
    assert_eq!(driver.environment().await.unwrap(), EnvironmentState::Complete);
}

// P2: what waits at the same moment is one trip to the database, however many calls there are.
#[tokio::test]
async fn creations_and_writes_of_any_number_are_one_text() {
    let driver = memory().await;
    let sql = &driver.0.statements;
    for (first, count) in [(1, 1), (2, 2), (4, 3), (7, 5), (12, 7)] {
        let numbers = first..first + count;
        let creations =
            numbers.clone().map(|n| commit(Target::New(session(n)), set(&[("k", "1")])));
        let writes = numbers.clone().map(|n| commit(seen(n), set(&[("k", "2"), ("l", "3")])));
        for commits in [creations.collect::<Vec<_>>(), writes.collect()] {
            let calls: Vec<_> =
                commits.into_iter().map(|one| Call::Commit(Box::new(one))).collect();
            let calls: Vec<_> = calls.iter().collect();
            let mut lease = driver.0.writer.lease().await.unwrap();
            let answers = write_at_once(&mut *lease, sql, &calls).await.unwrap().unwrap();
            lease.done();
            assert!(answers.iter().all(Option::is_some), "{count}: {answers:?}");
        }
        for n in numbers {
            assert_eq!(items(&driver, n).await.len(), 2);
        }
    }

    // One session that is not there, is not live, or would hold too much, and nothing is stored.
    let mut late = commit(seen(3), set(&[("k", "3")]));
    late.now = session(3).expires;
    let mut large = commit(seen(1), set(&[("k", "3"), ("m", "3")]));
    large.limits.items = 2;
    let mut small = commit(seen(2), set(&[("k", "3")]));
    small.limits = large.limits;
    for refused in [commit(seen(99), set(&[("k", "3")])), late, large] {
        small.limits = refused.limits;
        let calls = [small.clone(), refused].map(|one| Call::Commit(Box::new(one)));
        let mut lease = driver.0.writer.lease().await.unwrap();
        let answers = write_at_once(&mut *lease, sql, &calls.each_ref()).await.unwrap();
        assert!(answers.is_none(), "{answers:?}");
        // One is alone already.
        let answers = write_at_once(&mut *lease, sql, &[&calls[1]]).await.unwrap();
        assert!(matches!(answers.as_deref(), Some([None])), "{answers:?}");
        lease.done();
        assert_eq!(items(&driver, 2).await.get("k").map(|text| &**text), Some("2"));
    }
}

// S4: what was stored is not stored again, perhaps over what others have written meanwhile.
#[tokio::test]
async fn of_a_batch_with_a_session_that_cannot_be_read_the_others_are_done_once() {
    let driver = memory().await;
    let (pool, sql) = (|| driver.0.writer.pool(), &driver.0.statements);
    for n in 1..=3 {
        created(&driver, n).await;
    }
    execute(
        pool(),
        "UPDATE web_session_sessions SET note = CAST(x'ff' AS TEXT) WHERE \"key\" = (
        SELECT \"key\" FROM web_session_sessions ORDER BY uid LIMIT 1 OFFSET 1)",
    )
    .await;
    execute(
        pool(),
        "CREATE TABLE stored (uid BLOB); CREATE TRIGGER notes AFTER INSERT ON web_session_items
        BEGIN INSERT INTO stored VALUES (new.uid); END",
    )
    .await;
    let calls = [1, 2, 3].map(|n| Call::Commit(Box::new(commit(seen(n), set(&[("k", "1")])))));
    let mut lease = driver.0.writer.lease().await.unwrap();
    let answers = write_at_once(&mut *lease, sql, &calls.each_ref()).await.unwrap().unwrap();
    lease.done();
    assert_eq!(answers.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(pragma(pool(), "SELECT count(*) FROM stored").await, "3");
    let error = driver.commit(commit(seen(2), set(&[("k", "2")]))).await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::Corrupt);
}
