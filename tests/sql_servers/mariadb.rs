//! What is special to MariaDB.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, MySql, MySqlPool, Row};
use tokio::time::{sleep, timeout};
use web_session::driver::DriverErrorKind::{Configuration, Timeout, TooLarge, Unavailable};
use web_session::driver::{
    CommitOutcome, Destroy, EnvironmentState, List, Locator, OnMissing, Target,
};
use web_session::{Driver, MySqlDriver, MySqlDriverBuilder};

use crate::Test;
use crate::both::*;
use crate::servers::{MARIADB, environment};

pub fn tests() -> Vec<Test> {
    crate::tests!(
        "mariadb",
        &MARIADB,
        [
            a_wrong_url_is_an_error_that_says_which_part_is_wrong,
            a_structure_that_is_not_what_is_needed_is_a_defect,
            what_is_missing_is_named_and_made_again,
            two_environments_in_one_database_do_not_see_each_other,
            a_user_that_may_not_make_tables_can_use_those_that_exist,
            tables_that_were_made_by_hand_are_complete,
            a_version_without_a_primary_key_as_it_was_made_before_is_complete,
            a_pool_of_the_applications_is_enough,
            connections_that_the_server_has_closed_are_replaced_and_nobody_notices,
            a_connection_that_is_lost_makes_the_other_one_be_looked_at,
            sessions_and_items_are_stored_by_one_statement_if_no_others_have_the_connections,
            as_many_batches_of_writes_run_as_there_are_connections_for_them,
            what_the_server_cannot_store_is_an_error_or_stored_whole,
            what_is_wrong_with_one_session_is_no_matter_to_those_that_are_stored_with_it,
            a_transaction_that_lost_a_deadlock_is_run_again,
            a_call_that_waits_for_a_lock_ends_in_time,
            a_write_in_one_trip_ends_in_time_on_the_server_too,
        ]
    )
}

fn builder() -> MySqlDriverBuilder {
    MySqlDriver::builder(&MARIADB.url())
}

async fn fresh() -> Environment<MySqlDriver> {
    let name = environment();
    let driver = builder().environment(&name).connect().await.unwrap();
    Environment::new(driver, name).await
}

async fn admin() -> MySqlPool {
    MySqlPool::connect(&MARIADB.url()).await.unwrap()
}

/// Runs statements, `{env}` being the name of the environment.
async fn run(environment: &str, statements: &str) {
    let statements = statements.replace("{env}", environment);
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&admin().await).await.unwrap();
}

/// The URL of the server for another user.
fn url_of(user: &str, password: &str) -> url::Url {
    let mut url = url::Url::parse(&MARIADB.url()).unwrap();
    url.set_username(user).unwrap();
    url.set_password(Some(password)).unwrap();
    url
}

/// Makes a user that may do everything, and answers its URL.
async fn user(name: &str) -> url::Url {
    run(name, "CREATE USER '{env}'@'%' IDENTIFIED BY 'right'; GRANT ALL ON *.* TO '{env}'@'%'")
        .await;
    url_of(name, "right")
}

/// A driver whose connections can be told from those of others.
async fn with_a_user_of_its_own(name: &str) -> MySqlDriver {
    let url = user(name).await;
    MySqlDriver::builder(url.as_str()).environment(name).connect().await.unwrap()
}

/// Keeps everybody else from storing items, until it is given to [`unlock`].
async fn lock_items(environment: &str) -> PoolConnection<MySql> {
    let mut other = admin().await.acquire().await.unwrap();
    let lock = format!("LOCK TABLES {environment}_items READ");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *other).await.unwrap();
    other
}

async fn unlock(mut other: PoolConnection<MySql>) {
    sqlx::raw_sql("UNLOCK TABLES").execute(&mut *other).await.unwrap();
}

async fn how_many_wait(admin: &MySqlPool, environment: &str) -> i64 {
    let waiting = "SELECT count(*) FROM information_schema.processlist
        WHERE state = 'Waiting for table metadata lock' AND position(? in info) > 0";
    sqlx::query_scalar(waiting).bind(environment).fetch_one(admin).await.unwrap()
}

// M1, E2
async fn a_wrong_url_is_an_error_that_says_which_part_is_wrong() {
    let name = environment();
    let real = user(&name).await;
    let (host, port) = (real.host_str().unwrap(), real.port().unwrap_or(3306));
    web_session::connect(real.as_str()).await.unwrap();
    let with = |rest: &str| format!("mysql://{name}:s3cret@{rest}");
    are_refused(vec![
        (with(&format!("{host}:{port}/test")), Configuration, "password"),
        (with(&format!("{host}:1/test")), Unavailable, "port"),
        (with("nosuchhost.invalid/test"), Unavailable, "host"),
        (with(&format!("{host}:{port}")), Configuration, "database"),
        (with("localhost:99999/test"), Configuration, "port"),
        (with(&format!("{host}:{port}/test?sslmod=require")), Configuration, "sslmod"),
        (format!("mysql://{host}:{port}/test?s3cret=1"), Configuration, "unknown parameter"),
    ])
    .await;
    are_refused(with_odd_passwords("mysql")).await;
    let pool = MySqlPool::connect_lazy("mysql://app:/s3cret@db.example/shop").unwrap();
    let driver = MySqlDriver::new(pool);
    assert!(!format!("{driver:?}").contains("s3cret"), "{driver:?}");
    let mut nowhere = real.clone();
    nowhere.set_path("nosuchdatabase");
    let error = MySqlDriver::connect(nowhere.as_str()).await.unwrap_err();
    assert_eq!(error.kind(), Configuration, "{error}");
    assert!(error.to_string().contains("database"), "{error}");
    run(&name, "DROP USER '{env}'@'%'").await;
}

// M8, D4
async fn a_structure_that_is_not_what_is_needed_is_a_defect() {
    for (statements, defect) in [
        ("ALTER TABLE {env}_sessions DROP COLUMN note", "note"),
        ("ALTER TABLE {env}_items CHANGE COLUMN value v LONGTEXT", "value"),
        ("ALTER TABLE {env}_items MODIFY value TEXT CHARACTER SET utf8mb4", "value"),
        ("ALTER TABLE {env}_items MODIFY item_key VARCHAR(255)", "item_key"),
        (
            "ALTER TABLE {env}_items MODIFY application VARCHAR(255)
                CHARACTER SET ascii COLLATE ascii_general_ci",
            "application",
        ),
        (
            "DROP TABLE {env}_version;
             CREATE TABLE {env}_version (version BIGINT) ENGINE = Aria",
            "not a table",
        ),
        ("DROP TABLE {env}_version; CREATE VIEW {env}_version AS SELECT 1 version", "not a table"),
        ("UPDATE {env}_version SET version = 2", "newer version"),
        ("UPDATE {env}_version SET version = 0", "unknown"),
        ("INSERT INTO {env}_version VALUES (2)", "more than one"),
    ] {
        let environment = fresh().await;
        run(&environment.name, statements).await;
        if statements.contains("VIEW") {
            assert!(matches!(state(&environment.driver).await, EnvironmentState::Defective(_)));
            run(&environment.name, "DROP VIEW {env}_version").await;
            continue;
        }
        is_a_defect(&environment, defect).await;
    }
}

// M9
async fn what_is_missing_is_named_and_made_again() {
    for (statements, missing) in [
        ("DROP TABLE {env}_items", &["items"] as &[_]),
        ("DROP TABLE {env}_version", &["version"]),
        ("DELETE FROM {env}_version", &["version"]),
        ("DROP INDEX {env}_sessions_expires ON {env}_sessions", &["sessions_expires"]),
        ("DROP INDEX {env}_sessions_principal ON {env}_sessions", &["sessions_principal"]),
    ] {
        let environment = fresh().await;
        let record = created(&environment.driver, 1).await;
        run(&environment.name, statements).await;
        is_completed(&environment, missing).await;
        assert_eq!(load(&environment.driver, &record).await.len(), 1, "{statements}");
    }
}

async fn two_environments_in_one_database_do_not_see_each_other() {
    let one = fresh().await;
    // The name of the one begins with that of the other.
    let name = format!("{}_b", one.name);
    let two = builder().environment(&name).connect().await.unwrap();
    assert_eq!(state(&two).await, EnvironmentState::Absent);
    let two = Environment::new(two, name).await;
    let record = created(&one.driver, 1).await;
    assert!(load(&two.driver, &record).await.is_empty());
    two.driver.remove_environment(OnMissing::Error).await.unwrap();
    assert_eq!(state(&one.driver).await, EnvironmentState::Complete);
    assert_eq!(load(&one.driver, &record).await.len(), 1);
}

async fn a_user_that_may_not_make_tables_can_use_those_that_exist() {
    let name = environment();
    run(
        &name,
        "CREATE USER '{env}'@'%' IDENTIFIED BY 'right';
         GRANT SELECT ON nosuchdatabase.* TO '{env}'@'%'",
    )
    .await;
    let owner = builder().environment(&name).connect().await.unwrap();
    let owner = Environment::new(owner, name.clone()).await;
    for table in ["sessions", "items", "version"] {
        let grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON {env}_TABLE TO '{env}'@'%'";
        run(&name, &grant.replace("TABLE", table)).await;
    }
    let url = url_of(&name, "right");
    let user = MySqlDriver::builder(url.as_str()).environment(&name).connect().await.unwrap();
    user.ensure_environment().await.unwrap();
    assert_eq!(state(&user).await, EnvironmentState::Complete);
    works(&user, 1).await;
    let other = format!("{name}_x");
    let other = MySqlDriver::builder(url.as_str()).environment(other).connect().await.unwrap();
    let error = other.ensure_environment().await.unwrap_err();
    assert_eq!(error.kind(), Configuration, "{error}");
    assert!(error.to_string().contains("permission"), "{error}");
    drop(owner);
    run(&name, "DROP USER '{env}'@'%'").await;
}

async fn tables_that_were_made_by_hand_are_complete() {
    let name = environment();
    let builder = builder().environment(&name);
    let statements = builder.create_statements().unwrap();
    give_each_table_a_primary_key(&statements);
    run(&name, &statements.join(";\n")).await;
    let driver = builder.connect().await.unwrap();
    assert_eq!(state(&driver).await, EnvironmentState::Complete);
    let environment = Environment::new(driver, name).await;
    works(&environment.driver, 1).await;
}

async fn a_version_without_a_primary_key_as_it_was_made_before_is_complete() {
    let environment = fresh().await;
    run(&environment.name, "ALTER TABLE {env}_version DROP PRIMARY KEY").await;
    environment.driver.ensure_environment().await.unwrap();
    assert_eq!(state(&environment.driver).await, EnvironmentState::Complete);
    works(&environment.driver, 1).await;
}

async fn a_pool_of_the_applications_is_enough() {
    let pool = admin().await;
    let driver = MySqlDriver::new(pool.clone());
    driver.ensure_environment().await.unwrap();
    driver.inspect(web_session::driver::Inspect::new(Locator::Key(record(9).key))).await.unwrap();
    let name = environment();
    let driver = MySqlDriver::builder_for(pool).environment(&name).connect().await.unwrap();
    let environment = Environment::new(driver, name).await;
    works(&environment.driver, 1).await;
}

async fn connections_that_the_server_has_closed_are_replaced_and_nobody_notices() {
    let name = environment();
    let driver = with_a_user_of_its_own(&name).await;
    {
        let environment = Environment::new(driver, name.clone()).await;
        for n in 0..5 {
            let calls: Vec<_> = (0..20)
                .map(|call| {
                    let driver = environment.driver.clone();
                    tokio::spawn(async move { works(&driver, n * 20 + call).await })
                })
                .collect();
            for call in calls {
                call.await.unwrap();
            }
            run(&name, "KILL HARD USER '{env}'@'%'").await;
            if n % 2 == 1 {
                // What became of a write in one trip is not known then.
                let outcome = environment.driver.commit(with_an_item(200 + n)).await;
                match outcome {
                    Ok(outcome) => assert!(matches!(outcome, CommitOutcome::Done(_))),
                    Err(error) => assert_eq!(error.kind(), Unavailable, "{error}"),
                }
            }
        }
    }
    run(&name, "DROP USER '{env}'@'%'").await;
}

// P2: a write in one trip on a connection that has answered just now, and is gone, would be an error.
async fn a_connection_that_is_lost_makes_the_other_one_be_looked_at() {
    let name = environment();
    let driver = with_a_user_of_its_own(&name).await;
    {
        let environment = Environment::new(driver, name.clone()).await;
        let (driver, name) = (&environment.driver, &name);
        let admin = admin().await;
        let (lock, how_many_wait) =
            (async || lock_items(name).await, async || how_many_wait(&admin, name).await);
        for all in [0..80, 100..180] {
            // Alone, without an item, it begins with a look at the connection.
            created(driver, all.end).await;
            let creates = all.map(with_an_item).collect();
            run_in_two_batches(driver, creates, &lock, &how_many_wait, &unlock).await;
            run(name, "KILL HARD USER '{env}'@'%'").await;
        }
    }
    run(&name, "DROP USER '{env}'@'%'").await;
}

/// Notes of each item how many blocks of statements its connection has run, and how often it has rolled back.
async fn count_blocks(environment: &str) {
    run(
        environment,
        "CREATE TABLE {env}_log (blocks BIGINT, rollbacks BIGINT);
         CREATE TRIGGER {env}_logs AFTER INSERT ON {env}_items FOR EACH ROW INSERT INTO {env}_log
             SELECT sum(IF(variable_name = 'COM_COMPOUND_SQL', variable_value, 0)),
                 sum(IF(variable_name = 'COM_ROLLBACK', variable_value, 0))
             FROM information_schema.session_status",
    )
    .await;
}

/// How many blocks a connection had run when it stored an item last, but for those that were undone: one asks whether
/// there can be any.
async fn blocks(environment: &str) -> i64 {
    highest(environment, "blocks - rollbacks").await
}

async fn highest(environment: &str, noted: &str) -> i64 {
    let latest = format!("SELECT CAST(coalesce(max({noted}), 0) AS SIGNED) FROM {environment}_log");
    sqlx::query_scalar(AssertSqlSafe(latest)).fetch_one(&admin().await).await.unwrap()
}

// P2, D6
async fn sessions_and_items_are_stored_by_one_statement_if_no_others_have_the_connections() {
    for told in ["nothing", "to be two", "by the application"] {
        let name = environment();
        let builder = match told {
            "to be two" => builder().max_connections(2),
            "by the application" => MySqlDriver::builder_for(admin().await),
            _ => builder(),
        };
        let driver = builder.environment(&name).connect().await.unwrap();
        let environment = Environment::new(driver, name).await;
        let (driver, name) = (&environment.driver, &environment.name);
        are_created_together(driver).await;
        count_blocks(name).await;
        driver.commit(with_an_item(101)).await.unwrap();
        let [mut created, mut stored] = [0; 2];
        for n in 102..120 {
            // If the machine is not too slow, the connection has answered just now.
            let before = blocks(name).await;
            driver.commit(with_an_item(n)).await.unwrap();
            let between = blocks(name).await;
            driver.commit(set(&record(n), "b", "1")).await.unwrap();
            created = created.max(between - before);
            stored = stored.max(blocks(name).await - between);
        }
        match told {
            "nothing" => assert_eq!([created, stored], [1; 2]),
            _ => assert_eq!(highest(name, "blocks").await, 0, "{told}"),
        }
        a_long_item_is_no_matter_to_others(driver, 130).await;
        run(name, "DROP TABLE {env}_log").await;
    }
}

// P2
async fn as_many_batches_of_writes_run_as_there_are_connections_for_them() {
    let environment = fresh().await;
    let (name, admin) = (&environment.name, admin().await);
    let (lock, how_many_wait) =
        (async || lock_items(name).await, async || how_many_wait(&admin, name).await);
    writes_run_in_two_batches(&environment.driver, lock, how_many_wait, unlock).await;
}

// What the client's character set does not have is not replaced by something else.
async fn what_the_server_cannot_store_is_an_error_or_stored_whole() {
    let name = environment();
    let mut url = url::Url::parse(&MARIADB.url()).unwrap();
    url.query_pairs_mut().append_pair("charset", "utf8mb3");
    let driver = MySqlDriver::builder(url.as_str()).environment(&name).connect().await.unwrap();
    let environment = Environment::new(driver, name).await;
    let (driver, name) = (&environment.driver, &environment.name);
    count_blocks(name).await;
    for n in 0..20 {
        let mut commit = with_an_item(n);
        let Target::New(new) = &mut commit.target else { unreachable!() };
        new.note = (n % 4 == 3).then(|| "a😀b".to_owned());
        let note = new.note.clone();
        match driver.commit(commit).await {
            Ok(_) => assert_eq!(load(driver, &record(n)).await[0].session.note, note),
            Err(error) => {
                assert!(note.is_some(), "{error}");
                assert!(load(driver, &record(n)).await.is_empty());
            }
        }
    }
    assert!(highest(name, "blocks").await > 1);
    run(name, "DROP TABLE {env}_log").await;
}

// P2, S6
async fn what_is_wrong_with_one_session_is_no_matter_to_those_that_are_stored_with_it() {
    let environment = fresh().await;
    let (driver, name, admin) = (&environment.driver, &environment.name, admin().await);
    let store = |n: u8, key: &str| driver.commit(set_one_of_two(n, key));
    join_all((0..40).map(|n| created(driver, n))).await;
    count_blocks(name).await;
    let wrong = [
        "UPDATE {env}_sessions SET expires = 0 WHERE uid = ?",
        "DELETE FROM {env}_sessions WHERE uid = ?",
        "INSERT INTO {env}_items VALUES (?, 'shop', 'c', '1')",
        "SELECT 1 FROM {env}_sessions WHERE uid = ? FOR UPDATE",
    ];
    for (from, wrong) in (0..).step_by(10).zip(wrong) {
        for n in from..from + 10 {
            store(n, "a").await.unwrap();
        }
        let mut other = admin.begin().await.unwrap();
        let of_one = uuid::Uuid::from_bytes([from; 16]);
        let wrong_with_one = sqlx::query(AssertSqlSafe(wrong.replace("{env}", name))).bind(of_one);
        wrong_with_one.execute(&mut *other).await.unwrap();
        let is_locked = wrong.starts_with("SELECT");
        let locks = match is_locked {
            true => Some(other),
            false => {
                other.commit().await.unwrap();
                None
            }
        };
        let stored = tokio::spawn(join_all((from..from + 10).map(|n| store(n, "b"))));
        let is_stored = async |n: u8| {
            let found = load(driver, &record(n)).await;
            found.first().is_some_and(|found| found.items.get("b").is_some())
        };
        let others = async {
            for n in from + 1..from + 10 {
                while !is_stored(n).await {
                    sleep(Duration::from_millis(5)).await;
                }
            }
        };
        timeout(Duration::from_secs(4), others).await.unwrap();
        assert!(!is_stored(from).await, "{wrong}");
        if let Some(locks) = locks {
            locks.commit().await.unwrap();
        }
        for (n, outcome) in (from..).zip(stored.await.unwrap()) {
            let is_done = matches!(outcome, Ok(CommitOutcome::Done(_)));
            assert_eq!(is_done, n > from || is_locked, "{wrong}: {outcome:?}");
            if wrong.starts_with("INSERT") && n == from {
                assert_eq!(outcome.unwrap_err().kind(), TooLarge);
            }
        }
        assert_eq!(is_stored(from).await, is_locked, "{wrong}");
    }
    assert!(blocks(name).await > 10);
    assert!(highest(name, "rollbacks").await >= 3);
    run(name, "DROP TABLE {env}_log").await;
}

// P2
async fn a_transaction_that_lost_a_deadlock_is_run_again() {
    let environment = fresh().await;
    let driver = &environment.driver;
    let (one, two) = (created(driver, 1).await, created(driver, 2).await);
    let admin = admin().await;
    let lock = |uid: [u8; 16]| {
        let text = format!("SELECT 1 FROM {}_sessions WHERE uid = ? FOR UPDATE", environment.name);
        sqlx::query(AssertSqlSafe(text)).bind(uuid::Uuid::from_bytes(uid))
    };
    // The side that has written more wins.
    let mut other = admin.begin().await.unwrap();
    for n in 10..60 {
        let text = format!("INSERT INTO {}_version VALUES (?)", environment.name);
        sqlx::query(AssertSqlSafe(text)).bind(n).execute(&mut *other).await.unwrap();
    }
    lock([2; 16]).execute(&mut *other).await.unwrap();
    let sessions = vec![Locator::Ref(one.session), Locator::Ref(two.session)];
    let ending = tokio::spawn(driver.destroy(Destroy::new(sessions)));
    let waiting =
        "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'";
    while sqlx::query(waiting).fetch_one(&admin).await.unwrap().get::<i64, _>(0) == 0 {
        // What the table says is renewed only when nobody has asked for a tenth of a second.
        sleep(Duration::from_millis(150)).await;
    }
    lock([1; 16]).execute(&mut *other).await.unwrap();
    other.rollback().await.unwrap();
    assert_eq!(ending.await.unwrap().unwrap(), [one.session, two.session]);
}

// P2
async fn a_call_that_waits_for_a_lock_ends_in_time() {
    let name = environment();
    let driver = builder()
        .environment(&name)
        .call_timeout(Duration::from_secs(1))
        .max_connections(1)
        .connect()
        .await
        .unwrap();
    let environment = Environment::new(driver, name).await;
    let (driver, admin) = (&environment.driver, admin().await);
    let record = created(driver, 1).await;
    let mut other = admin.acquire().await.unwrap();
    let lock = format!("LOCK TABLES {}_sessions WRITE", environment.name);
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *other).await.unwrap();
    let begun = Instant::now();
    for _ in 0..3 {
        let error = driver.commit(set(&record, "a", "1")).await.unwrap_err();
        assert_eq!(error.kind(), Timeout, "{error}");
        let error = driver.list(List::new("ada".to_owned(), NOW)).await.unwrap_err();
        assert_eq!(error.kind(), Timeout, "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "each call has its bound");
    sqlx::raw_sql("UNLOCK TABLES").execute(&mut *other).await.unwrap();
    let done = driver.commit(set(&record, "a", "2")).await.unwrap();
    assert!(matches!(done, CommitOutcome::Done(_)));
}

// P2
async fn a_write_in_one_trip_ends_in_time_on_the_server_too() {
    let name = environment();
    let limit = Duration::from_secs(1);
    let driver = builder().environment(&name).call_timeout(limit).connect().await.unwrap();
    let environment = Environment::new(driver, name.clone()).await;
    let (driver, admin) = (&environment.driver, admin().await);
    let record = created(driver, 1).await;
    let slow = "CREATE TRIGGER {env}_slow BEFORE INSERT ON {env}_items FOR EACH ROW
        SET NEW.value = IF(SLEEP(4), NEW.value, NEW.value)";
    count_blocks(&name).await;
    for key in ["a", "b"] {
        driver.commit(set(&record, key, "1")).await.unwrap();
    }
    assert!(blocks(&name).await > 1);
    run(&name, slow).await;
    let error = driver.commit(set(&record, "c", "1")).await.unwrap_err();
    assert_eq!(error.kind(), Timeout, "{error}");
    let running = format!(
        "SELECT count(*) FROM information_schema.processlist
        WHERE state = 'User sleep' AND info LIKE '%{name}%'"
    );
    let running = || sqlx::query_scalar::<_, i64>(AssertSqlSafe(running.clone()));
    while running().fetch_one(&admin).await.unwrap() > 0 {
        sleep(Duration::from_millis(20)).await;
    }
    let items = &load(driver, &record).await[0].items;
    assert_eq!(["b", "c"].map(|key| items.get(key).is_some()), [true, false]);
    run(&name, "DROP TRIGGER {env}_slow; DROP TABLE {env}_log").await;
}
