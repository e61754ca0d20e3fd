//! What is special to Redis and Redis Cluster. What every driver has to do is in the conformance suite.
//! Each test runs on a real server, in an environment of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, unreachable_pub)]

#[path = "support/servers.rs"]
mod servers;

use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::Arguments;
use redis::Value;
use redis::aio::MultiplexedConnection;
use servers::{REDIS, REDIS_CLUSTER, Server};
use web_session::driver::DriverErrorKind::{
    Configuration, Corrupt, EnvironmentDefective, EnvironmentMissing, Timeout, Unavailable,
};
use web_session::driver::{
    Cleanup, Commit, CommitOutcome, Create, CreateOutcome, Destroy, EnvironmentState, Found,
    Inspect, List, Load, Locator, SessionRecord, Target,
};
use web_session::{
    ConnectError, Driver, OnMissing, RedisDriver, SessionKey, SessionRef, Timestamp,
};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const LIFE: i64 = 60_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + millis)
}

/// An environment that is removed at the end of a test.
struct Environment {
    driver: RedisDriver,
    name: String,
}

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
        "+eval", "+evalsha", "+get", "+set", "+hget", "+hgetall", "+hset", "+hdel", "+del",
        "+unlink", "+exists", "+pexpire", "+pttl", "+zadd", "+zrange", "+zrem", "+zscore", "+time",
        "+scan", "+ping",
    ]);
    run(&rules).await;
    let mut url = url::Url::parse(&server.url()).unwrap();
    url.set_username(&name).unwrap();
    url.set_password(Some("right")).unwrap();
    let user = RedisDriver::builder(url.as_str()).environment(&name).connect().await.unwrap();
    user.ensure_environment().await.unwrap();
    let mut login = record(1);
    login.principal = Some("ada".to_owned());
    user.create(Create::new(login.clone())).await.unwrap();
    user.commit(rotation(&login, 2)).await.unwrap();
    assert_eq!(user.list(List::new("ada".to_owned(), NOW)).await.unwrap().len(), 1);
    assert_eq!(user.cleanup(Cleanup::new(NOW, at(LIFE + 1), 10)).await.unwrap(), 1);
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
}

async fn what_is_not_a_session_is_an_error_and_not_no_session(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    created(driver, 1).await;
    for (n, command) in [
        (2, vec!["SET", "KEY", "text"]),
        (1, vec!["HSET", "KEY", "exp", "soon"]),
        (1, vec!["HSET", "KEY", "exp", "1", "uid", "nobody"]),
    ] {
        let key = environment.key(n);
        let command: Vec<_> =
            command.iter().map(|word| if *word == "KEY" { key.as_str() } else { word }).collect();
        run(&command).await;
        let load = Load::new(vec![Locator::Key(self::key(n))], NOW);
        let error = driver.load(load).await.unwrap_err();
        assert_eq!(error.kind(), Corrupt, "{command:?}: {error}");
    }
}

// D5, M19: Redis forgets nothing before its time.
async fn redis_forgets_a_session_an_hour_after_its_end_and_not_before(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    let mut record = record(1);
    record.principal = Some("ada".to_owned());
    driver.create(Create::new(record.clone())).await.unwrap();
    let hour = 3_600_000;
    let around = |ttl: i64, expected: i64| {
        assert!((expected - 5_000..=expected).contains(&ttl), "{ttl} is not about {expected}");
    };
    let home = environment.key(1);
    let reference = format!("{}:r:{}", environment.name, "01".repeat(16));
    around(number(&["PTTL", &home]).await, LIFE + hour);
    around(number(&["PTTL", &reference]).await, LIFE + hour);
    // An expired session is known; a later end is kept to by all that belongs to it, its alias too.
    let mut rotate = rotation(&record, 2);
    rotate.session.expires = Some(at(-1));
    driver.commit(rotate).await.unwrap();
    let expired = driver.inspect(Inspect::new(Locator::Key(key(2)))).await.unwrap().unwrap();
    assert_eq!(expired.expires, at(-1));
    let mut later = Commit::new(Target::Existing(Locator::Ref(record.session)), NOW);
    (later.session.expires, later.session.ends) = (Some(at(9 * LIFE)), Some(at(9 * LIFE)));
    driver.commit(later).await.unwrap();
    let pattern = format!("{}:p:*", environment.name);
    let found: (i64, Vec<String>) =
        redis::from_redis_value(run(&["SCAN", "0", "MATCH", &pattern, "COUNT", "100000"]).await)
            .unwrap();
    assert_eq!(found.1.len(), 1);
    for key in [home, environment.key(2), reference, found.1[0].clone()] {
        around(number(&["PTTL", &key]).await, 9 * LIFE + hour);
    }
}

// T2: an id that was prepared and never came to be leads nowhere.
async fn a_rotation_that_was_cut_short_changes_nothing(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    let record = created(driver, 1).await;
    run(&["HSET", &environment.key(2), "home", &"01".repeat(32)]).await;
    assert!(loaded(driver, 2).await.is_empty(), "the new id is not valid yet");
    assert_eq!(loaded(driver, 1).await.len(), 1, "the old one still is");
    // The same id may be tried again.
    let rotated = driver.commit(rotation(&record, 2)).await.unwrap();
    let CommitOutcome::Done(rotated) = rotated else { panic!("{rotated:?}") };
    assert_eq!(loaded(driver, 2).await[0].session, rotated);
    // What is left of an alias keeps nobody from having its id.
    let ended = driver.destroy(Destroy::new(vec![Locator::Key(key(2))])).await.unwrap();
    assert_eq!(ended, [record.session]);
    run(&["HSET", &environment.key(3), "home", &"01".repeat(32)]).await;
    created(driver, 3).await;
}

// T2
async fn of_two_rotations_at_once_one_is_done(server: &Server) {
    let environment = Environment::new(server).await;
    let other = builder(server).environment(&environment.name).connect().await.unwrap();
    for round in 0..20 {
        let record = created(&environment.driver, round * 3 + 1).await;
        let drivers: [&dyn Driver; 2] = [&environment.driver, &other];
        let rotations = [round * 3 + 2, round * 3 + 3].map(|n| rotation(&record, n));
        let calls: Vec<_> = drivers
            .iter()
            .zip(rotations)
            .map(|(driver, rotation)| tokio::spawn(driver.commit(rotation)))
            .collect();
        let mut done = Vec::new();
        for call in calls {
            match call.await.unwrap().unwrap() {
                CommitOutcome::Done(record) => done.push(record),
                outcome => assert_eq!(outcome, CommitOutcome::Rotated),
            }
        }
        assert_eq!(done.len(), 1);
        for n in [round * 3 + 2, round * 3 + 3] {
            assert_eq!(loaded(&other, n).await.len(), usize::from(key(n) == done[0].key));
        }
    }
}

// M16
async fn a_cleanup_in_batches_leaves_none_behind(server: &Server) {
    const SESSIONS: usize = 3_000;
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    for chunk in 0..SESSIONS / 100 {
        let calls = (0..100).map(|n| {
            let number = (chunk * 100 + n) as u128 + 1;
            let mut bytes = [0; 32];
            bytes[..16].copy_from_slice(&number.to_be_bytes());
            let mut session = record(1);
            session.session = SessionRef::from_uuid(uuid::Uuid::from_u128(number));
            session.key = SessionKey::from_bytes(bytes);
            driver.create(Create::new(session))
        });
        for created in futures_util::future::join_all(calls).await {
            created.unwrap();
        }
    }
    let live = record(250);
    let mut late = live.clone();
    late.expires = at(2 * LIFE);
    late.ends = at(2 * LIFE);
    driver.create(Create::new(late)).await.unwrap();
    let mut removed = Vec::new();
    loop {
        let batch = driver.cleanup(Cleanup::new(NOW, at(LIFE + 1), 700)).await.unwrap();
        removed.push(batch);
        if batch < 700 {
            break;
        }
    }
    assert_eq!(removed, [700, 700, 700, 700, 200]);
    assert_eq!(loaded(driver, 250).await.len(), 1);
    let left = driver.cleanup(Cleanup::new(NOW, at(LIFE + 1), 700)).await.unwrap();
    assert_eq!(left, 0);
}

// P2, D5: a session that is there costs one round trip to load and one to commit to.
async fn a_load_and_a_commit_are_one_script_each(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    let record = created(driver, 1).await;
    let target = Target::Seen { session: record.session, key: record.key };
    driver.commit(Commit::new(target.clone(), NOW)).await.unwrap();
    let url = url::Url::parse(&server.url()).unwrap();
    let mut monitor = std::process::Command::new("redis-cli")
        .args(["-h", url.host_str().unwrap(), "-p", &url.port().unwrap_or(6379).to_string()])
        .arg("MONITOR")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "OK");
    // What is sent for this environment until the marker; what a script does itself is not sent.
    let mut sent = |marker: &str| {
        let lines = lines.by_ref().map(Result::unwrap).take_while(|line| !line.contains(marker));
        let ours = |line: &String| line.contains(&environment.name) && !line.contains(" lua]");
        lines.filter(ours).collect::<Vec<_>>()
    };
    loaded(driver, 1).await;
    run(&["ECHO", &format!("{}-loaded", environment.name)]).await;
    let load = sent("-loaded");
    driver.commit(Commit::new(target, NOW)).await.unwrap();
    run(&["ECHO", &format!("{}-committed", environment.name)]).await;
    let commit = sent("-committed");
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    for sent in [load, commit] {
        assert_eq!(sent.len(), 1, "{sent:#?}");
        assert!(sent[0].contains("EVALSHA"), "{sent:#?}");
    }
}

async fn a_cluster_spreads_sessions_over_all_of_its_nodes(server: &Server) {
    let environment = Environment::new(server).await;
    for n in 0..60 {
        created(&environment.driver, n).await;
    }
    let mut nodes = Vec::new();
    for (_, address) in primaries(server) {
        let client = redis::Client::open(format!("redis://{address}")).unwrap();
        let mut node = client.get_multiplexed_async_connection().await.unwrap();
        let mut scan = redis::cmd("SCAN");
        scan.arg(0).arg("MATCH").arg(format!("{}:{{*", environment.name));
        scan.arg("COUNT").arg(1_000_000);
        let (_, keys): (u64, Vec<String>) = scan.query_async(&mut node).await.unwrap();
        nodes.push(keys.len());
    }
    assert_eq!(nodes.len(), 3, "three primaries");
    assert_eq!(nodes.iter().sum::<usize>(), 60);
    assert!(nodes.iter().all(|keys| *keys > 5), "{nodes:?}");
    assert_eq!(environment.driver.cleanup(Cleanup::new(NOW, at(LIFE + 1), 100)).await.unwrap(), 60);
}

// A session is found while its slot moves, and after it has moved.
async fn a_slot_that_moves_to_another_node_is_followed(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    // No other test has a session in this slot.
    let n = 200;
    let key = environment.key(n);
    let primaries = primaries(server);
    let slot = at_node(&primaries[0].1, &["CLUSTER", "KEYSLOT", &key]);
    for (_, address) in &primaries {
        // As a run that was stopped may have left it.
        at_node(address, &["CLUSTER", "SETSLOT", &slot, "STABLE"]);
    }
    let record = created(driver, n).await;
    let holds = |address: &str| !at_node(address, &["GET", &key]).starts_with("MOVED");
    let (from, to): (Vec<_>, Vec<_>) = primaries.iter().partition(|(_, at)| holds(at));
    let ((from_id, from), (to_id, to)) = (from[0], to[0]);
    let works = async || {
        let target = Target::Seen { session: record.session, key: record.key };
        let outcome = driver.commit(Commit::new(target, NOW)).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Done(_)), "{outcome:?}");
        assert_eq!(loaded(driver, n).await.len(), 1);
    };
    at_node(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", from_id]);
    at_node(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", to_id]);
    works().await;
    let (host, port) = to.rsplit_once(':').unwrap();
    assert_eq!(at_node(from, &["MIGRATE", host, port, &key, "0", "5000"]), "OK");
    works().await;
    for (_, address) in &primaries {
        at_node(address, &["CLUSTER", "SETSLOT", &slot, "NODE", to_id]);
    }
    works().await;
}

/// What a node of the cluster answers.
fn at_node(address: &str, command: &[&str]) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    let mut client = std::process::Command::new("redis-cli");
    let answer = client.args(["-h", host, "-p", port]).args(command).output().unwrap().stdout;
    String::from_utf8(answer).unwrap().trim().to_owned()
}

/// The ids and the addresses of the nodes that hold slots.
fn primaries(server: &Server) -> Vec<(String, String)> {
    let url = url::Url::parse(&server.url()).unwrap();
    let mut command = std::process::Command::new("redis-cli");
    command.args(["-h", url.host_str().unwrap(), "-p", &url.port().unwrap().to_string()]);
    let nodes = command.args(["CLUSTER", "NODES"]).output().unwrap().stdout;
    let nodes = String::from_utf8(nodes).unwrap();
    let fields = nodes.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let primaries = fields.filter(|fields| fields[2].contains("master"));
    let named = primaries.map(|fields| {
        let address = fields[1].split('@').next().unwrap();
        (fields[0].to_owned(), address.to_owned())
    });
    named.collect()
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    macro_rules! trials {
        ($server:ident, $group:literal: $($name:ident),* $(,)?) => {
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
        what_is_not_a_session_is_an_error_and_not_no_session,
        redis_forgets_a_session_an_hour_after_its_end_and_not_before,
        a_rotation_that_was_cut_short_changes_nothing,
        of_two_rotations_at_once_one_is_done,
        a_cleanup_in_batches_leaves_none_behind,
        a_load_and_a_commit_are_one_script_each,
    }
    trials! { REDIS_CLUSTER, "redis_cluster":
        two_environments_in_one_database_do_not_see_each_other,
        of_two_rotations_at_once_one_is_done,
        a_cleanup_in_batches_leaves_none_behind,
        a_cluster_spreads_sessions_over_all_of_its_nodes,
        a_slot_that_moves_to_another_node_is_followed,
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
