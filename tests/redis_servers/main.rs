//! What is special to Redis and Redis Cluster. What every driver has to do is in the conformance suite.
//! Each test runs on a real server, in an environment of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, unreachable_pub)]

mod cleanup;
mod cluster;
mod principals;
#[path = "../support/servers.rs"]
mod servers;
mod times;

use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::Arguments;
use redis::Value;
use redis::aio::MultiplexedConnection;
use servers::{REDIS, REDIS_CLUSTER, Server};
use web_session::driver::DriverErrorKind::{
    Configuration, EnvironmentDefective, EnvironmentMissing, Timeout, Unavailable,
};
use web_session::driver::{
    ApplicationChanges, ApplicationName, Cleanup, Commit, CommitOutcome, Create, CreateOutcome,
    EnvironmentState, Found, Inspect, List, Load, Locator, SessionRecord, Target,
};
use web_session::{
    ConnectError, Driver, OnMissing, RedisDriver, SessionKey, SessionRef, Timestamp,
};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const LIFE: i64 = 60_000;

/// Held by the tests to which it matters what scripts the server knows.
static SCRIPTS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + millis)
}

/// An environment that is removed at the end of a test.
struct Environment {
    driver: RedisDriver,
    name: String,
}

/// Places of the parts of a record.
const EXPIRES: usize = 2;
const CREATED: usize = 4;

impl Environment {
    async fn new(server: &Server) -> Self {
        let name = servers::environment();
        let driver = builder(server).environment(&name).connect().await.unwrap();
        driver.ensure_environment().await.unwrap();
        Self { driver, name }
    }

    fn key(&self, n: u8) -> String {
        format!("{}:{{{}}}", self.name, format!("{n:02x}").repeat(32))
    }

    /// Puts a text in the place of a part of a session's record.
    async fn damage(&self, n: u8, part: usize, text: &str) {
        let record = run(&["HGET", &self.key(n), "rec"]).await;
        let record: String = redis::from_redis_value(record).unwrap();
        let mut parts: Vec<_> = record.split(' ').collect();
        parts[part] = text;
        run(&["HSET", &self.key(n), "rec", &parts.join(" ")]).await;
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        let driver = self.driver.clone();
        tokio::task::block_in_place(|| {
            let removing = driver.remove_environment(OnMissing::Ignore);
            tokio::runtime::Handle::current().block_on(removing).unwrap();
        });
    }
}

fn builder(server: &Server) -> web_session::RedisDriverBuilder {
    RedisDriver::builder(&server.url())
}

/// Another client of the one server.
async fn client() -> MultiplexedConnection {
    let client = redis::Client::open(REDIS.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn run(command: &[&str]) -> Value {
    let mut all = redis::cmd(command[0]);
    command[1..].iter().for_each(|argument| {
        all.arg(argument);
    });
    all.query_async(&mut client().await).await.unwrap()
}

async fn number(command: &[&str]) -> i64 {
    redis::from_redis_value(run(command).await).unwrap()
}

fn key(n: u8) -> SessionKey {
    SessionKey::from_bytes([n; 32])
}

fn record(n: u8) -> SessionRecord {
    let session = SessionRef::from_uuid(uuid::Uuid::from_bytes([n; 16]));
    SessionRecord::new(session, key(n), NOW, at(LIFE))
}

async fn created(driver: &dyn Driver, n: u8) -> SessionRecord {
    let record = record(n);
    let outcome = driver.create(Create::new(record.clone())).await.unwrap();
    assert_eq!(outcome, CreateOutcome::Done);
    record
}

async fn loaded(driver: &dyn Driver, n: u8) -> Vec<Found> {
    driver.load(Load::new(vec![Locator::Key(key(n))], NOW)).await.unwrap()
}

/// A commit that gives a session a fresh key.
fn rotation(record: &SessionRecord, n: u8) -> Commit {
    let target = Target::Seen { session: record.session, key: record.key };
    let mut commit = Commit::new(target, NOW);
    commit.session.key = Some(key(n));
    commit
}

// M1, E2
async fn a_wrong_url_is_an_error_that_says_which_part_is_wrong(server: &Server) {
    let name = servers::environment();
    run(&["ACL", "SETUSER", &name, "on", ">right", "~*", "+@all"]).await;
    let real = url::Url::parse(&server.url()).unwrap();
    let address = format!("{}:{}", real.host_str().unwrap(), real.port().unwrap_or(6379));
    let cluster = format!("redis-cluster://{address}");
    for (url, kind, text) in [
        (format!("redis://{name}:s3cret@{address}"), Configuration, "password"),
        (format!("redis://{name}:right@{address}/99999"), Configuration, "database"),
        ("redis://ada:s3cret@127.0.0.1:1".to_owned(), Unavailable, "port"),
        ("redis://ada:s3cret@nosuchhost.invalid".to_owned(), Unavailable, "host"),
        (format!("rediss://ada:s3cret@{address}"), Timeout, "TLS"),
        (cluster, Configuration, "no cluster"),
    ] {
        match web_session::connect(&url).await.unwrap_err() {
            ConnectError::Driver(error) => {
                let shown = format!("{error} {error:?}");
                assert_eq!(error.kind(), kind, "{url}: {shown}");
                assert!(shown.contains(text), "{url}: {shown} lacks {text:?}");
                assert!(!shown.contains("s3cret"), "{shown}");
            }
            other => panic!("{url}: {other}"),
        }
    }
    assert!(!format!("{:?}", RedisDriver::builder("redis://a:s3cret@h")).contains("s3cret"));
    run(&["ACL", "DELUSER", &name]).await;
}

async fn a_user_needs_the_keys_of_the_environment_and_the_named_commands(server: &Server) {
    let name = servers::environment();
    let keys = format!("~{name}:*");
    let mut rules = vec!["ACL", "SETUSER", &name, "on", ">right", &keys];
    rules.extend([
        "+eval",
        "+evalsha",
        "+get",
        "+set",
        "+hget",
        "+hgetall",
        "+hset",
        "+hdel",
        "+del",
        "+unlink",
        "+exists",
        "+pexpire",
        "+pttl",
        "+zadd",
        "+zcard",
        "+zrandmember",
        "+zrange",
        "+zrem",
        "+zscan",
        "+zscore",
        "+time",
        "+scan",
        "+ping",
        "+select",
    ]);
    run(&rules).await;
    let mut url = url::Url::parse(&server.url()).unwrap();
    url.set_username(&name).unwrap();
    url.set_password(Some("right")).unwrap();
    url.set_path("/1");
    let user = RedisDriver::builder(url.as_str()).environment(&name).connect().await.unwrap();
    user.ensure_environment().await.unwrap();
    let mut login = record(1);
    login.principal = Some("ada".to_owned());
    user.create(Create::new(login.clone())).await.unwrap();
    user.commit(rotation(&login, 2)).await.unwrap();
    let mut capped = Commit::new(Target::New(record(3)), NOW);
    capped.session.principal = Some(login.principal.clone());
    capped.max_sessions = Some(1);
    assert_eq!(user.commit(capped.clone()).await.unwrap(), CommitOutcome::TooMany);
    capped.max_sessions = Some(30);
    capped.target = Target::New(SessionRecord::new(record(3).session, key(2), NOW, at(LIFE)));
    assert_eq!(user.commit(capped.clone()).await.unwrap(), CommitOutcome::Collision);
    for n in 10..30 {
        capped.target = Target::New(record(n));
        user.commit(capped.clone()).await.unwrap();
    }
    let mut switch = Commit::new(Target::Existing(Locator::Ref(login.session)), NOW);
    switch.session.principal = Some(Some("bob".to_owned()));
    switch.session.ends = Some(at(2 * LIFE));
    user.commit(switch).await.unwrap();
    assert_eq!(user.list(List::new("ada".to_owned(), NOW)).await.unwrap().len(), 20);
    assert_eq!(user.list(List::new("bob".to_owned(), NOW)).await.unwrap().len(), 1);
    assert_eq!(user.cleanup(Cleanup::new(NOW, at(LIFE + 1), 100)).await.unwrap(), 21);
    user.remove_environment(OnMissing::Error).await.unwrap();
    let other = RedisDriver::builder(url.as_str()).environment("other").connect().await;
    let error = other.unwrap_err();
    assert_eq!(error.kind(), Configuration, "{error}");
    assert!(error.to_string().contains("ACL"), "{error}");
    run(&["ACL", "DELUSER", &name]).await;
}

async fn two_environments_in_one_database_do_not_see_each_other(server: &Server) {
    let one = Environment::new(server).await;
    // The name of the one begins with that of the other.
    let name = format!("{}_b", one.name);
    let driver = builder(server).environment(&name).connect().await.unwrap();
    assert_eq!(driver.environment().await.unwrap(), EnvironmentState::Absent);
    let two = Environment { driver, name };
    two.driver.ensure_environment().await.unwrap();
    let record = created(&one.driver, 1).await;
    assert!(loaded(&two.driver, 1).await.is_empty());
    created(&two.driver, 2).await;
    one.driver.cleanup(Cleanup::new(NOW, at(LIFE + 1), 10)).await.unwrap();
    assert_eq!(loaded(&two.driver, 2).await.len(), 1);
    created(&one.driver, 1).await;
    two.driver.remove_environment(OnMissing::Error).await.unwrap();
    assert_eq!(one.driver.environment().await.unwrap(), EnvironmentState::Complete);
    assert_eq!(loaded(&one.driver, 1).await[0].session, record);
}

// E3
async fn no_time_is_too_long_or_too_short_to_be_set(server: &Server) {
    for time in [Duration::ZERO, Duration::MAX] {
        let name = servers::environment();
        let builder = builder(server).environment(name).garbage_after(time).call_timeout(time);
        if time == Duration::ZERO {
            // What a millisecond is enough for is the machine's affair.
            let _ = builder.connect().await;
            continue;
        }
        let driver = builder.connect().await.unwrap();
        driver.ensure_environment().await.unwrap();
        created(&driver, 1).await;
        driver.remove_environment(OnMissing::Error).await.unwrap();
    }
}

// D4: never misread.
async fn another_version_is_refused(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    let version = format!("{}:version", environment.name);
    for (value, text) in [("2", "newer version"), ("0", "unknown"), ("x", "not a number")] {
        run(&["SET", &version, value]).await;
        match driver.environment().await.unwrap() {
            EnvironmentState::Defective(defect) => assert!(defect.contains(text), "{defect}"),
            other => panic!("{other:?}"),
        }
        let error = driver.ensure_environment().await.unwrap_err();
        assert_eq!(error.kind(), EnvironmentDefective);
        let error = driver.create(Create::new(record(1))).await.unwrap_err();
        assert_eq!(error.kind(), EnvironmentDefective);
        assert!(web_session::SessionLayer::builder(driver.clone()).build().await.is_err());
    }
}

// D6: a removal that was cut short is gone on with, and till then nothing is there.
async fn a_removal_that_was_cut_short_is_carried_through(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    let record = created(driver, 1).await;
    run(&["SET", &format!("{}:version", environment.name), "removing"]).await;
    assert_eq!(driver.environment().await.unwrap(), EnvironmentState::Absent);
    let error = driver.create(Create::new(self::record(2))).await.unwrap_err();
    assert_eq!(error.kind(), EnvironmentMissing);
    driver.ensure_environment().await.unwrap();
    let left = driver.inspect(Inspect::new(Locator::Ref(record.session))).await.unwrap();
    assert_eq!(left, None);
    assert!(loaded(driver, 1).await.is_empty());
    // Who asks for it once more is not told that there was nothing to remove.
    created(driver, 1).await;
    run(&["SET", &format!("{}:version", environment.name), "removing"]).await;
    driver.remove_environment(OnMissing::Error).await.unwrap();
    assert_eq!(number(&["EXISTS", &environment.key(1)]).await, 0);
    let error = driver.remove_environment(OnMissing::Error).await.unwrap_err();
    assert_eq!(error.kind(), EnvironmentMissing);
}

// P2, D5: a session that is there costs one round trip to load and one to commit to. What others have put into it is
// not sent to whoever does not want it.
async fn a_load_is_one_command_and_a_commit_one_script(server: &Server) {
    let _scripts = SCRIPTS.lock().await;
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    let record = created(driver, 1).await;
    let target = Target::Seen { session: record.session, key: record.key };
    // The server knows the scripts from here on.
    driver.commit(Commit::new(target.clone(), NOW)).await.unwrap();
    loaded(driver, 1).await;
    driver.inspect(Inspect::new(Locator::Key(key(1)))).await.unwrap();
    let url = url::Url::parse(&server.url()).unwrap();
    let mut monitor = std::process::Command::new("redis-cli")
        .args(["-h", url.host_str().unwrap(), "-p", &url.port().unwrap_or(6379).to_string()])
        .arg("MONITOR")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "OK");
    // What was sent for this environment since it was last asked; what a script does itself is not sent.
    let end = format!("the end of {}", environment.name);
    let mut sent = async || {
        run(&["ECHO", &end]).await;
        let lines = lines.by_ref().map(Result::unwrap).take_while(|line| !line.contains(&end));
        let ours = |line: &String| line.contains(&environment.name) && !line.contains(" lua]");
        lines.filter(ours).collect::<Vec<_>>()
    };
    created(driver, 2).await;
    sent().await;
    // Nobody has told this process yet that it is small.
    loaded(driver, 2).await;
    let first = sent().await;
    loaded(driver, 2).await;
    let again = sent().await;
    driver.commit(Commit::new(target, NOW)).await.unwrap();
    let commit = sent().await;
    run(&["HSET", &environment.key(2), "i:theirs:much", &"x".repeat(16 << 10)]).await;
    loaded(driver, 2).await;
    let grown = sent().await;
    loaded(driver, 2).await;
    let large = sent().await;
    let record = created(driver, 3).await;
    loaded(driver, 3).await;
    let target = Target::Seen { session: record.session, key: record.key };
    let mut changes = ApplicationChanges::new(ApplicationName::new("theirs").unwrap());
    changes.items.push(("much".into(), Some("x".repeat(16 << 10).into())));
    let mut commit_much = Commit::new(target, NOW);
    commit_much.changes.push(changes);
    driver.commit(commit_much).await.unwrap();
    sent().await;
    loaded(driver, 3).await;
    let own = sent().await;
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    for (sent, commands) in [
        (first, &["EVALSHA"][..]),
        (again, &["HGETALL"]),
        (commit, &["EVALSHA"]),
        (grown, &["HSET", "HGETALL"]),
        (large, &["EVALSHA", "EVALSHA"]),
        (own, &["EVALSHA", "EVALSHA"]),
    ] {
        assert_eq!(sent.len(), commands.len(), "{sent:#?}");
        assert!(
            sent.iter().zip(commands).all(|(sent, command)| sent.contains(command)),
            "{sent:#?}"
        );
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    macro_rules! trials {
        ($server:ident, $group:literal: $($name:path),* $(,)?) => {
            $(trials.push(servers::trial(
                format!("{}::{}", $group, stringify!($name)),
                &$server,
                || {
                    let runtime = tokio::runtime::Builder::new_multi_thread()
                        .worker_threads(2)
                        .enable_all()
                        .build()
                        .unwrap();
                    runtime.block_on($name(&$server));
                },
            ));)*
        };
    }
    trials! { REDIS, "redis":
        a_wrong_url_is_an_error_that_says_which_part_is_wrong,
        a_user_needs_the_keys_of_the_environment_and_the_named_commands,
        two_environments_in_one_database_do_not_see_each_other,
        no_time_is_too_long_or_too_short_to_be_set,
        another_version_is_refused,
        a_removal_that_was_cut_short_is_carried_through,
        cleanup::what_is_not_a_session_is_an_error_and_not_no_session,
        cleanup::a_call_outside_of_a_runtime_is_an_error,
        cleanup::of_many_calls_at_once_each_gets_its_own_answer,
        cleanup::what_is_wrong_with_one_commit_is_nothing_to_another,
        cleanup::what_is_no_session_keeps_no_other_from_being_cleaned_up,
        cleanup::a_damaged_session_keeps_no_other_of_its_principal_alive,
        cleanup::a_cleanup_may_take_longer_than_a_call,
        principals::sessions_that_redis_has_forgotten_leave_the_index,
        principals::a_session_that_is_anothers_leaves_the_index,
        principals::a_dropped_login_does_not_count,
        times::an_end_that_is_moved_during_a_rotation_is_that_of_the_fresh_id,
        times::redis_forgets_a_session_an_hour_after_its_end_and_not_before,
        times::a_rotation_that_was_cut_short_changes_nothing,
        times::of_two_rotations_at_once_one_is_done,
        cleanup::a_cleanup_in_batches_leaves_none_behind,
        a_load_is_one_command_and_a_commit_one_script,
    }
    trials! { REDIS_CLUSTER, "redis_cluster":
        two_environments_in_one_database_do_not_see_each_other,
        times::of_two_rotations_at_once_one_is_done,
        cleanup::a_cleanup_in_batches_leaves_none_behind,
        principals::a_dropped_login_does_not_count,
        cluster::a_cluster_spreads_sessions_over_all_of_its_nodes,
        cluster::a_slot_that_moves_to_another_node_is_followed,
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
