//! What is special to PostgreSQL.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row, Transaction};
use web_session::driver::DriverErrorKind::{Configuration, Timeout, TooLarge, Unavailable};
use web_session::driver::{
    Commit, CommitOutcome, Create, Destroy, EnvironmentState, List, Locator, OnMissing, Target,
};
use web_session::{Driver, PostgresDriver, PostgresDriverBuilder};

use crate::Test;
use crate::both::*;
use crate::servers::{POSTGRES, environment};

pub fn tests() -> Vec<Test> {
    crate::tests!(
        "postgres",
        &POSTGRES,
        [
            a_wrong_url_is_an_error_that_says_which_part_is_wrong,
            a_structure_that_is_not_what_is_needed_is_a_defect,
            what_is_missing_is_named_and_made_again,
            two_environments_in_one_database_do_not_see_each_other,
            the_tables_may_be_in_another_schema,
            a_schema_that_does_not_exist_is_an_error,
            a_user_that_may_not_make_tables_can_use_those_that_exist,
            tables_that_were_made_by_hand_are_complete,
            a_version_without_a_primary_key_as_it_was_made_before_is_complete,
            a_pool_of_the_applications_is_enough,
            connections_that_the_server_has_closed_are_replaced_and_nobody_notices,
            sessions_are_created_together_whatever_the_connections_are_told,
            as_many_batches_of_writes_run_as_there_are_connections_for_them,
            items_are_stored_together_by_what_the_sessions_hold_then,
            writes_need_no_functions_of_their_own,
            a_transaction_that_lost_a_deadlock_is_run_again,
            a_call_that_waits_for_a_lock_ends_in_time_and_on_the_server_too,
            every_statement_finds_its_rows_by_an_index,
            writes_walk_over_no_table_before_there_are_statistics,
            a_text_that_postgresql_cannot_keep_is_an_error,
        ]
    )
}

fn builder() -> PostgresDriverBuilder {
    PostgresDriver::builder(&POSTGRES.url())
}

async fn fresh() -> Environment<PostgresDriver> {
    let name = environment();
    let connect = || builder().environment(&name).connect();
    // What a connection has read is counted at the latest when it is closed.
    let making = connect().await.unwrap();
    making.ensure_environment().await.unwrap();
    making.close().await;
    Environment::new(connect().await.unwrap(), name.clone()).await
}

async fn admin() -> PgPool {
    PgPool::connect(&POSTGRES.url()).await.unwrap()
}

/// Runs statements, `{env}` being the name of the environment.
async fn run(environment: &str, statements: &str) {
    try_to_run(environment, statements).await.unwrap();
}

async fn try_to_run(environment: &str, statements: &str) -> Result<(), sqlx::Error> {
    let statements = statements.replace("{env}", environment);
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&admin().await).await.map(drop)
}

// M1, E2
async fn a_wrong_url_is_an_error_that_says_which_part_is_wrong() {
    let real = url::Url::parse(&POSTGRES.url()).unwrap();
    let (host, port) = (real.host_str().unwrap(), real.port().unwrap_or(5432));
    let with = |rest: &str| format!("postgres://postgres:s3cret@{rest}");
    are_refused(vec![
        (with(&format!("{host}:{port}/nosuchdatabase")), Configuration, "database"),
        (with(&format!("{host}:1/test")), Unavailable, "port"),
        (with("nosuchhost.invalid/test"), Unavailable, "host"),
        (with("/test"), Configuration, "host"),
        (with("localhost:99999/test"), Configuration, "port"),
        (with(&format!("{host}:{port}/test?sslmod=require")), Configuration, "sslmod"),
        (with(&format!("{host}:{port}/test?sslmode=s3cret")), Configuration, "parameter"),
        (format!("postgres://nosuchuser:s3cret@{host}:{port}/test"), Configuration, "user"),
        ("postgres://%ff:s3cret@localhost/test".to_owned(), Configuration, "%"),
        (format!("postgres://{host}:{port}/test?s3cret=1"), Configuration, "unknown parameter"),
    ])
    .await;
    are_refused(with_odd_passwords("postgres")).await;
    let pool = PgPool::connect_lazy("postgres://app:/s3cret@db.example/shop").unwrap();
    let driver = PostgresDriver::new(pool);
    assert!(!format!("{driver:?}").contains("s3cret"), "{driver:?}");
    let other = PostgresDriver::connect("mysql://ada:s3cret@localhost/test").await.unwrap_err();
    assert!(other.to_string().contains("scheme"), "{other}");
    assert!(
        !format!("{:?}", PostgresDriver::builder("postgres://ada:s3cret@h")).contains("s3cret")
    );
}

// M8, D4
async fn a_structure_that_is_not_what_is_needed_is_a_defect() {
    for (statements, defect) in [
        ("ALTER TABLE {env}_sessions DROP COLUMN note", "note"),
        ("ALTER TABLE {env}_items RENAME COLUMN value TO v", "value"),
        ("ALTER TABLE {env}_items ALTER COLUMN value TYPE varchar(10)", "value"),
        ("ALTER TABLE {env}_items ALTER COLUMN item_key TYPE text USING 'a'", "item_key"),
        ("ALTER TABLE {env}_items DROP CONSTRAINT {env}_items_pkey", "primary key"),
        ("DROP TABLE {env}_version; CREATE VIEW {env}_version AS SELECT 1 version", "not a table"),
        (
            "DROP INDEX {env}_sessions_expires;
             CREATE INDEX {env}_sessions_expires ON {env}_items (value)",
            "not an index of",
        ),
        ("UPDATE {env}_version SET version = 2", "newer version"),
        ("UPDATE {env}_version SET version = 0", "unknown"),
        ("INSERT INTO {env}_version VALUES (2)", "more than one"),
    ] {
        let environment = fresh().await;
        run(&environment.name, statements).await;
        if defect == "not a table" {
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
        ("DROP INDEX {env}_sessions_expires", &["sessions_expires"]),
        ("DROP INDEX {env}_sessions_principal", &["sessions_principal"]),
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

async fn the_tables_may_be_in_another_schema() {
    let name = environment();
    let schema = format!("{name} \"odd\" 'Schema'");
    let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
    run(&name, &format!("CREATE SCHEMA {quoted}")).await;
    let there = builder().environment(&name).schema(&schema).connect().await.unwrap();
    let here = builder().environment(&name).connect().await.unwrap();
    {
        let there = Environment::new(there, name.clone()).await;
        assert_eq!(state(&there.driver).await, EnvironmentState::Complete);
        assert_eq!(state(&here).await, EnvironmentState::Absent, "`public` has none of it");
        works(&there.driver, 1).await;
        // With the schema in the search path its name need not be given.
        let url = format!("{}?options=-c%20search_path%3D{}", POSTGRES.url(), "nosuchschema");
        let elsewhere = PostgresDriver::builder(&url).environment(&name).connect().await.unwrap();
        assert_eq!(state(&elsewhere).await, EnvironmentState::Absent);
    }
    run(&name, &format!("DROP SCHEMA {quoted}")).await;
}

async fn a_schema_that_does_not_exist_is_an_error() {
    let driver = builder().schema("nosuchschema").connect().await.unwrap();
    assert_eq!(state(&driver).await, EnvironmentState::Absent);
    let error = driver.ensure_environment().await.unwrap_err();
    assert_eq!(error.kind(), Configuration, "{error}");
    assert!(error.to_string().contains("schema"), "{error}");
}

async fn a_user_that_may_not_make_tables_can_use_those_that_exist() {
    let name = environment();
    run(
        &name,
        "CREATE ROLE {env} LOGIN;
         CREATE SCHEMA {env};
         GRANT USAGE ON SCHEMA {env} TO {env}",
    )
    .await;
    let mut url = url::Url::parse(&POSTGRES.url()).unwrap();
    url.set_username(&name).unwrap();
    let connect =
        || PostgresDriver::builder(url.as_str()).environment(&name).schema(&name).connect();
    let user = connect().await.unwrap();
    let error = user.ensure_environment().await.unwrap_err();
    assert_eq!(error.kind(), Configuration, "{error}");
    assert!(error.to_string().contains("permission"), "{error}");

    let owner = builder().environment(&name).schema(&name).connect().await.unwrap();
    let owner = Environment::new(owner, name.clone()).await;
    run(&name, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {env} TO {env}").await;
    user.ensure_environment().await.unwrap();
    assert_eq!(state(&user).await, EnvironmentState::Complete);
    works(&user, 1).await;
    user.close().await;
    drop(owner);
    run(&name, "DROP SCHEMA {env}").await;
    drop_role(&name).await;
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
    run(&environment.name, "ALTER TABLE {env}_version DROP CONSTRAINT {env}_version_pkey").await;
    environment.driver.ensure_environment().await.unwrap();
    assert_eq!(state(&environment.driver).await, EnvironmentState::Complete);
    works(&environment.driver, 1).await;
}

async fn a_pool_of_the_applications_is_enough() {
    let pool = admin().await;
    let driver = PostgresDriver::new(pool.clone());
    driver.ensure_environment().await.unwrap();
    driver.inspect(web_session::driver::Inspect::new(Locator::Key(record(9).key))).await.unwrap();
    let name = environment();
    let driver = PostgresDriver::builder_for(pool).environment(&name).connect().await.unwrap();
    let environment = Environment::new(driver, name).await;
    works(&environment.driver, 1).await;
}

async fn connections_that_the_server_has_closed_are_replaced_and_nobody_notices() {
    let name = environment();
    let url = format!("{}?application_name={name}", POSTGRES.url());
    let driver = PostgresDriver::builder(&url).environment(&name).connect().await.unwrap();
    let environment = Environment::new(driver, name).await;
    let driver = &environment.driver;
    for n in 0..5 {
        let calls: Vec<_> = (0..20).map(|call| created_at_once(driver, n * 20 + call)).collect();
        for call in calls {
            call.await.unwrap();
        }
        let killed = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
        )
        .bind(&environment.name)
        .fetch_all(&admin().await)
        .await
        .unwrap();
        assert!(!killed.is_empty());
    }
}

// P2, D6
async fn sessions_are_created_together_whatever_the_connections_are_told() {
    for told in ["nothing", "to be two", "something else", "by the application"] {
        let name = environment();
        let url = format!("{}?application_name={name}", POSTGRES.url());
        let own = format!("{url}&options=-c%20search_path%3Dpublic");
        let builder = match told {
            "to be two" => PostgresDriver::builder(&url).max_connections(2),
            "something else" => PostgresDriver::builder(&own),
            "by the application" => {
                PostgresDriver::builder_for(PgPool::connect(&url).await.unwrap())
            }
            _ => PostgresDriver::builder(&url),
        };
        let driver = builder.environment(&name).connect().await.unwrap();
        let environment = Environment::new(driver, name).await;
        let driver = &environment.driver;
        are_created_together(driver).await;
        let latest = "SELECT (count(*) > 0)::int::bigint FROM pg_stat_activity
            WHERE application_name = $1 AND (query LIKE 'WITH made%' OR query LIKE '%web_session_store_%')";
        let admin = admin().await;
        let needed_no_transaction = async || {
            let latest = sqlx::query_scalar(latest).bind(&environment.name);
            latest.fetch_one(&admin).await.unwrap()
        };
        let mut needed_none: [i64; 2] = [0; 2];
        for n in 101..120 {
            // If the machine is not too slow, the connection has answered just now.
            driver.commit(with_an_item(n)).await.unwrap();
            needed_none[0] = needed_none[0].max(needed_no_transaction().await);
            driver.commit(set(&record(n), "b", "1")).await.unwrap();
            needed_none[1] = needed_none[1].max(needed_no_transaction().await);
        }
        assert_eq!(needed_none, [i64::from(told == "nothing"); 2], "{told}");
        a_long_item_is_no_matter_to_others(driver, 130).await;
    }
}

// P2
async fn as_many_batches_of_writes_run_as_there_are_connections_for_them() {
    let name = environment();
    let url = format!("{}?application_name={name}", POSTGRES.url());
    let driver = PostgresDriver::builder(&url).environment(&name).connect().await.unwrap();
    let environment = Environment::new(driver, name).await;
    let (name, admin) = (&environment.name, admin().await);
    let lock = async || {
        let mut other = admin.begin().await.unwrap();
        let lock = format!("LOCK TABLE {name}_items IN SHARE MODE");
        sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *other).await.unwrap();
        other
    };
    let how_many_wait = async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND application_name = $1";
        sqlx::query_scalar(waiting).bind(name).fetch_one(&admin).await.unwrap()
    };
    let unlock = async |other: Transaction<'_, Postgres>| other.rollback().await.unwrap();
    writes_run_in_two_batches(&environment.driver, lock, how_many_wait, unlock).await;
}

// P2, S6: what others commit while a batch waits for its sessions counts, and is no matter to the other calls.
async fn items_are_stored_together_by_what_the_sessions_hold_then() {
    let environment = fresh().await;
    let (driver, name, admin) = (&environment.driver, &environment.name, admin().await);
    let store = |n: u8, key: &str| driver.commit(set_one_of_two(n, key));
    join_all((0..80).map(|n| created(driver, n))).await;
    // Whoever looks for a session has begun to look then, and waits before it is found.
    run(
        name,
        "ALTER TABLE {env}_items ADD stored_by int DEFAULT pg_backend_pid();
         ALTER TABLE {env}_sessions RENAME TO {env}_real;
         CREATE FUNCTION {env}_waits() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_advisory_lock_shared(hashtext('{env}'));
             PERFORM pg_advisory_unlock_shared(hashtext('{env}'));
             RETURN true; END $$;
         CREATE VIEW {env}_sessions AS SELECT * FROM {env}_real WHERE {env}_waits()",
    )
    .await;
    let meanwhile = [
        "UPDATE {env}_real SET expires = 0 WHERE uid = $1",
        "INSERT INTO {env}_items VALUES ($1, 'shop', 'c', '1')",
    ];
    for (kind, meanwhile) in meanwhile.map(|text| text.replace("{env}", name)).iter().enumerate() {
        let mut is_by_function = false;
        // If the machine is not too slow, the connection has answered just now.
        for from in [0, 10, 20, 30].map(|first| first + 40 * kind as u8) {
            for n in from..from + 10 {
                store(n, "a").await.unwrap();
            }
            let mut other = admin.begin().await.unwrap();
            let lock = "SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtext($1))) l";
            sqlx::query(lock).bind(name).execute(&mut *other).await.unwrap();
            let stored = tokio::spawn(join_all((from..from + 10).map(|n| store(n, "b"))));
            let query = waiting(&admin, &[name, "web_session_store_"]).await;
            is_by_function = query.contains("web_session_store_");
            let of_one = uuid::Uuid::from_bytes([from; 16]);
            let meanwhile = sqlx::query(AssertSqlSafe(meanwhile.clone())).bind(of_one);
            meanwhile.execute(&mut *other).await.unwrap();
            other.commit().await.unwrap();
            for (n, outcome) in (from..).zip(stored.await.unwrap()) {
                match (n == from, kind) {
                    (false, _) => assert!(matches!(outcome, Ok(CommitOutcome::Done(_))), "{n}"),
                    (true, 0) => assert!(matches!(outcome, Ok(CommitOutcome::Gone)), "{n}"),
                    (true, _) => assert_eq!(outcome.unwrap_err().kind(), TooLarge),
                }
                let items = &load(driver, &record(n)).await[0].items;
                let has = ["a", "b", "c"].map(|key| items.get(key).is_some());
                assert_eq!(has, [true, n > from, n == from && kind == 1], "{n}");
            }
            if is_by_function {
                // Those that are run alone have another connection.
                let together = format!(
                    "SELECT count(*) FROM {name}_items WHERE item_key = 'b' AND uid = ANY($1) AND stored_by IN
                        (SELECT stored_by FROM {name}_items WHERE item_key = 'a')"
                );
                let uids: Vec<_> =
                    (from..from + 10).map(|n| uuid::Uuid::from_bytes([n; 16])).collect();
                let together = sqlx::query_scalar(AssertSqlSafe(together)).bind(uids);
                assert_eq!(together.fetch_one(&admin).await.ok(), Some(9_i64));
                break;
            }
        }
        assert!(is_by_function);
    }
    run(
        name,
        "DROP VIEW {env}_sessions; DROP FUNCTION {env}_waits();
         ALTER TABLE {env}_real RENAME TO {env}_sessions; ALTER TABLE {env}_items DROP stored_by",
    )
    .await;
}

// P2: they may have been made for the connection before, and not for the next one.
async fn writes_need_no_functions_of_their_own() {
    let environment = fresh().await;
    let name = environment.name.clone();
    run(&name, "CREATE ROLE {env} LOGIN SUPERUSER").await;
    let mut url = url::Url::parse(&POSTGRES.url()).unwrap();
    url.set_username(&name).unwrap();
    let driver = PostgresDriver::builder(url.as_str()).environment(&name).connect().await.unwrap();
    let writes = async |n: u8| {
        let record = created(&driver, n).await;
        for value in ["1", "2"] {
            let done = driver.commit(set(&record, "a", value)).await;
            assert!(matches!(done.unwrap(), CommitOutcome::Done(_)));
        }
        let made = "SELECT count(DISTINCT p.pronamespace) FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
            WHERE r.rolname = $1";
        let row = sqlx::query(made).bind(&name).fetch_one(&admin().await).await.unwrap();
        row.get::<i64, _>(0)
    };
    assert_eq!(writes(1).await, 2, "two connections only write");
    // What makes functions fails, and nothing else.
    run(
        &name,
        "CREATE FUNCTION {env}_refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
             IF session_user = '{env}' THEN RAISE EXCEPTION 'no'; END IF; END $$;
         CREATE EVENT TRIGGER {env} ON ddl_command_start WHEN TAG IN ('CREATE FUNCTION')
             EXECUTE FUNCTION {env}_refuse();
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{env}'",
    )
    .await;
    let connections = async || {
        let pids = "SELECT pid FROM pg_stat_activity WHERE usename = $1 ORDER BY pid";
        let pids = sqlx::query_scalar::<_, i32>(pids).bind(&name);
        pids.fetch_all(&admin().await).await.unwrap()
    };
    while !connections().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(writes(2).await, 0);
    // Nothing fails, so that a connection would be closed, or a call run alone on another.
    let before = connections().await;
    for n in 3..6 {
        assert_eq!(writes(n).await, 0);
    }
    assert_eq!(connections().await, before);
    driver.close().await;
    run(&name, "DROP EVENT TRIGGER {env}").await;
    drop_role(&name).await;
    // Now nobody is about to call it any more.
    run(&name, "DROP FUNCTION {env}_refuse()").await;
}

/// What its connections had of their own is removed when they have ended, which takes a moment.
async fn drop_role(name: &str) {
    for _ in 0..500 {
        match try_to_run(name, "DROP ROLE {env}").await {
            Ok(()) => return,
            Err(error) => assert!(error.to_string().contains("depend on it"), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the role owns something still");
}

fn created_at_once(driver: &PostgresDriver, n: u8) -> tokio::task::JoinHandle<()> {
    let driver = driver.clone();
    tokio::spawn(async move { works(&driver, n).await })
}

// P2
async fn a_transaction_that_lost_a_deadlock_is_run_again() {
    let environment = fresh().await;
    let driver = &environment.driver;
    let (one, two) = (created(driver, 1).await, created(driver, 2).await);
    let admin = admin().await;
    let lock = |uid: [u8; 16]| {
        let text = format!("SELECT 1 FROM {}_sessions WHERE uid = $1 FOR UPDATE", environment.name);
        sqlx::query(AssertSqlSafe(text)).bind(uuid::Uuid::from_bytes(uid))
    };
    // The other side waits for longer before it looks for a deadlock, so the driver's finds it.
    let mut other = admin.begin().await.unwrap();
    sqlx::raw_sql("SET LOCAL deadlock_timeout = '60s'").execute(&mut *other).await.unwrap();
    lock([2; 16]).execute(&mut *other).await.unwrap();
    let sessions = vec![Locator::Ref(one.session), Locator::Ref(two.session)];
    let ending = tokio::spawn(driver.destroy(Destroy::new(sessions)));
    waiting(&admin, &[&environment.name]).await;
    lock([1; 16]).execute(&mut *other).await.unwrap();
    other.rollback().await.unwrap();
    assert_eq!(ending.await.unwrap().unwrap(), [one.session, two.session]);
}

/// Waits until a statement that has one of the words in it waits for a lock.
async fn waiting(admin: &PgPool, words: &[&str]) -> String {
    let text = "SELECT query FROM pg_stat_activity, unnest($1::text[]) word
        WHERE wait_event_type = 'Lock' AND position(word in query) > 0";
    loop {
        let query = sqlx::query_scalar(text).bind(words).fetch_optional(admin).await.unwrap();
        if let Some(query) = query {
            return query;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

// P2: the server does not go on with what nobody waits for.
async fn a_call_that_waits_for_a_lock_ends_in_time_and_on_the_server_too() {
    let name = environment();
    let driver = builder()
        .environment(&name)
        .call_timeout(Duration::from_millis(300))
        .max_connections(1)
        .connect()
        .await
        .unwrap();
    let environment = Environment::new(driver, name).await;
    let (driver, admin) = (&environment.driver, admin().await);
    let record = created(driver, 1).await;
    let mut other = admin.begin().await.unwrap();
    let lock = format!("LOCK TABLE {}_sessions IN ACCESS EXCLUSIVE MODE", environment.name);
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *other).await.unwrap();
    let begun = Instant::now();
    for _ in 0..3 {
        let error = driver.commit(set(&record, "a", "1")).await.unwrap_err();
        assert_eq!(error.kind(), Timeout, "{error}");
        let error = driver.list(List::new("ada".to_owned(), NOW)).await.unwrap_err();
        assert_eq!(error.kind(), Timeout, "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(6), "each call has its bound");
    let left = "SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND position($1 in query) > 0";
    let gone = async {
        loop {
            let row = sqlx::query(left).bind(&environment.name).fetch_one(&admin).await.unwrap();
            if row.get::<i64, _>(0) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("no backend waits any more");
    other.rollback().await.unwrap();
    let done = driver.commit(set(&record, "a", "2")).await.unwrap();
    assert!(matches!(done, CommitOutcome::Done(_)));
}

async fn every_statement_finds_its_rows_by_an_index() {
    let environment = fresh().await;
    let (driver, name) = (&environment.driver, &environment.name);
    run(
        name,
        "INSERT INTO {env}_sessions (uid, key, expires, ends, created, last_used, principal)
            SELECT gen_random_uuid(), sha256(n::text::bytea), 2000 + n, 3000, 1, 1, 'user-' || n
            FROM generate_series(1, 20000) n;
         INSERT INTO {env}_items SELECT uid, 'shop', 'k', '1' FROM {env}_sessions;
         ANALYZE {env}_sessions; ANALYZE {env}_items",
    )
    .await;
    let before = walks(name).await;
    let calls = builder().environment(name).connect().await.unwrap();
    for n in 1..=10 {
        works(&calls, n).await;
        calls.list(List::new("user-7".to_owned(), NOW)).await.unwrap();
        let principal = format!("user-{n}");
        calls.end_where(web_session::driver::EndWhere::new(principal)).await.unwrap();
        let until = web_session::Timestamp::from_millis(2_100);
        calls.cleanup(web_session::driver::Cleanup::new(NOW, until, 10)).await.unwrap();
        let presented =
            Target::Presented { key: record(200).key, retired_after: NOW, otherwise: None };
        calls.commit(Commit::new(presented, NOW)).await.unwrap();
    }
    calls.close().await;
    assert_eq!(walks(name).await, before);
    drop(driver.clone());
}

/// How often the tables of an environment were walked over.
async fn walks(environment: &str) -> i64 {
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let text = "SELECT sum(seq_scan)::bigint FROM pg_stat_user_tables
        WHERE relname = ANY(ARRAY[$1 || '_sessions', $1 || '_items'])";
    let row = sqlx::query(text).bind(environment).fetch_one(&admin().await).await.unwrap();
    row.get::<i64, _>(0)
}

// P1, "10 000 → 10 000 000 sessions": a plan may be older than most of the rows.
async fn writes_walk_over_no_table_before_there_are_statistics() {
    const ROWS: i64 = 400;
    let environment = fresh().await;
    let name = &environment.name;
    run(
        name,
        "INSERT INTO {env}_sessions (uid, key, expires, ends, created, last_used)
            SELECT gen_random_uuid(), sha256(n::text::bytea), 9000, 9000, 1, 1
            FROM generate_series(1, 400) n;
         INSERT INTO {env}_items SELECT uid, 'shop', 'k', '1' FROM {env}_sessions",
    )
    .await;
    let read = async || {
        let text = "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes
            WHERE relname = ANY(ARRAY[$1 || '_sessions', $1 || '_items'])";
        let row = sqlx::query(text).bind(name).fetch_one(&admin().await).await.unwrap();
        row.get::<i64, _>(0)
    };
    let before = (walks(name).await, read().await);
    let calls = builder().environment(name).connect().await.unwrap();
    // A plan is kept from the sixth time on.
    let records: Vec<_> = (1..=20).map(record).collect();
    for record in &records {
        calls.create(Create::new(record.clone())).await.unwrap();
        calls.commit(set(record, "a", "1")).await.unwrap();
    }
    for _ in 0..10 {
        let writes = records.iter().map(|record| tokio::spawn(calls.commit(set(record, "a", "2"))));
        for write in writes.collect::<Vec<_>>() {
            assert!(matches!(write.await.unwrap().unwrap(), CommitOutcome::Done(_)));
        }
    }
    calls.close().await;
    let after = (walks(name).await, read().await);
    assert_eq!(after.0, before.0);
    // A walk over an index is one as well.
    assert!(after.1 - before.1 < 10 * ROWS, "{} entries of indexes were read", after.1 - before.1);
}

async fn a_text_that_postgresql_cannot_keep_is_an_error() {
    let environment = fresh().await;
    let mut record = record(1);
    record.principal = Some("a\0".to_owned());
    let create = Create::new(record);
    let error = environment.driver.create(create).await.unwrap_err();
    assert!(error.to_string().contains("zero byte"), "{error}");
}
