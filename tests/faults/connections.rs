//! Connections that are taken, cut or stuck.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;
use web_session::driver::{DriverErrorKind, ReplaceItem, ReplaceOutcome};
use web_session::{ApplicationName, Timestamp};

use crate::private::{Held, Kind, Private, redis_cli};
use crate::visitors::{Application, BOUND, Load, Visitor, driver};
use crate::{report, seconds};

const SECOND: Duration = Duration::from_secs(1);

pub async fn the_pool_is_exhausted(kind: Kind) {
    let server = Private::start(kind);
    let few = driver(&server.url(), 2).await;
    let application = Application::with(few, None::<web_session::SystemClock>).await;
    let stuck = Visitor::new(&application).await;
    let [one, two] = [Visitor::new(&application).await, Visitor::new(&application).await];
    // All rows that there are so far are locked, so three requests want to wait with two connections.
    let held = lock(&server, "SELECT 1 FROM web_session_sessions FOR UPDATE");
    let begun = Instant::now();
    let requests = [&stuck, &one, &two].map(|visitor| {
        let visitor = visitor.clone();
        tokio::spawn(async move { visitor.set(1).await })
    });
    for request in requests {
        let seen = request.await.unwrap();
        assert_eq!(seen.status, 503, "{seen:?}");
        assert_eq!(seen.set_cookie, None);
        assert!(seen.took < BOUND, "{seen:?}");
    }
    let took = begun.elapsed();
    tokio::task::block_in_place(|| drop(held));
    let free = Instant::now();
    for visitor in [&stuck, &one, &two] {
        let seen = visitor.set(2).await;
        assert_eq!(seen.status, 200, "{seen:?}");
        assert_eq!(visitor.get(1).await, [None, Some(2), Some(2)], "what was refused is not there");
    }
    let again = format!("{} after one was free", seconds(free.elapsed()));
    let seen = format!("503 after {}", seconds(took));
    report("the pool is exhausted", kind, seen, "nothing", again);
}

pub async fn connections_are_cut(kind: Kind) {
    let server = Private::start(kind);
    let application = Application::start(&server).await;
    let load = Load::start(&application, 8).await;
    let (mut cuts, mut connections) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < 3 * SECOND {
        connections += tokio::task::block_in_place(|| cut(&server));
        cuts += 1;
        sleep(Duration::from_millis(50)).await;
    }
    let last = Instant::now();
    sleep(2 * SECOND).await;
    let seen = load.stop().await;
    assert!(connections > 0, "no connection was cut");
    assert!(seen.refused() > 0, "the fault was not noticed");
    let lost = seen.lost().await;
    assert!(lost.is_empty(), "{} acknowledged requests are lost", lost.len());
    let again = format!("{} after the last cut", seconds(seen.worked_again(last)));
    let saw = format!("{cuts} cuts: {}", seen.seen());
    report("all connections are cut", kind, saw, "nothing", again);
}

/// Cuts all connections but the one that does it, and answers how many.
fn cut(server: &Private) -> usize {
    match server.kind {
        Kind::Postgres => {
            let cut = server.sql(
                "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
            );
            cut.parse().unwrap()
        }
        Kind::MariaDb => {
            let ids = server.sql(
                "SELECT id FROM information_schema.processlist
                WHERE user = 'root' AND id <> connection_id()",
            );
            // One may be gone by itself.
            ids.lines().filter_map(|id| server.try_sql(&format!("KILL {id}"))).count()
        }
        _ => {
            let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
            server.ports().map(|port| redis_cli(port, &kill).parse::<usize>().unwrap()).sum()
        }
    }
}

pub async fn a_statement_times_out(kind: Kind) {
    let server = Private::start(kind);
    let application = Application::start(&server).await;
    let load = Load::start(&application, 8).await;
    sleep(SECOND).await;
    tokio::task::block_in_place(|| stuck_for(&server, Duration::from_millis(2_500)));
    let free = Instant::now();
    sleep(2 * SECOND).await;
    let seen = load.stop().await;
    assert!(seen.refused() > 0, "the fault was not noticed");
    let lost = seen.lost().await;
    assert!(lost.is_empty(), "{} acknowledged requests are lost", lost.len());
    let again = format!("{} after it was free", seconds(seen.worked_again(free)));
    report("a statement waits for too long", kind, seen.seen(), "nothing", again);
}

/// Keeps the application's statements from going on.
fn stuck_for(server: &Private, time: Duration) {
    match server.kind {
        Kind::Sqlite => {
            let file = server.file();
            let wait = tokio::runtime::Handle::current();
            wait.block_on(async {
                use sqlx::ConnectOptions;
                let options = sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(file)
                    .busy_timeout(Duration::from_secs(10));
                let mut other = options.connect().await.unwrap();
                sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
                sleep(time).await;
                sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
            });
        }
        Kind::Postgres => {
            let held = lock(server, "LOCK TABLE web_session_sessions IN ACCESS EXCLUSIVE MODE");
            std::thread::sleep(time);
            drop(held);
        }
        Kind::MariaDb => {
            let held = server.hold("LOCK TABLES web_session_sessions WRITE;\n");
            std::thread::sleep(time);
            drop(held);
        }
        Kind::Redis | Kind::RedisCluster => {
            let millis = time.as_millis().to_string();
            for port in server.ports() {
                redis_cli(port, &["CLIENT", "PAUSE", &millis, "WRITE"]);
            }
            std::thread::sleep(time);
        }
    }
}

/// Holds a lock in a transaction.
fn lock(server: &Private, statement: &str) -> Held {
    server.hold(&format!("BEGIN;\n{statement};\n"))
}

/// The answer to a write is lost with its connection: nobody knows whether it was done, so it has
/// failed, and is not done a second time.
pub async fn an_answer_gets_lost(kind: Kind) {
    let server = Private::start(kind);
    let application = Application::start(&server).await;
    let port = server.ports().next().unwrap();
    // What the last message of the write has in it, and no other.
    let word: &[u8] = match kind {
        Kind::Postgres => b"COMMIT\0",
        Kind::MariaDb => b"\x03COMMIT",
        _ => b"i:shop:",
    };
    let proxy = Proxy::start(port, word);
    let url = server.url().replace(&port.to_string(), &proxy.port.to_string());
    let driver = driver(&url, 1).await;
    let manager = application.layer.manager();
    manager.create().await.unwrap();
    let session = manager.session_ref().unwrap();
    let now = Timestamp::from_millis(i64::try_from(now_millis()).unwrap());
    let shop = ApplicationName::new("shop").unwrap();
    let replace = |key: &str| ReplaceItem::new(session, shop.clone(), key.into(), "1".into(), now);
    // By then the connection is there, and the statements and scripts are known.
    assert_eq!(driver.replace_item(replace("m")).await.unwrap(), ReplaceOutcome::Done);
    let replace = replace("n");
    proxy.armed.store(true, SeqCst);
    let error = driver.replace_item(replace.clone()).await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::Unavailable, "{error}");
    assert!(!proxy.armed.load(SeqCst), "the answer was there, and got lost");
    let again = driver.replace_item(replace).await.unwrap();
    assert!(matches!(again, ReplaceOutcome::Conflict(Some(text)) if *text == *"1"), "it was done");
    let saw = "503, for what had been done";
    report("an answer gets lost with its connection", kind, saw, "nothing", "at the next request");
}

fn now_millis() -> u128 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()
}

/// Passes on what is sent to a server and what it answers, until it is armed and a word is sent: the
/// answer to that is kept back, and the connection closed.
struct Proxy {
    port: u16,
    armed: Arc<AtomicBool>,
}

impl Proxy {
    fn start(server: u16, word: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(AtomicBool::new(false));
        let is_armed = armed.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let is_armed = is_armed.clone();
                std::thread::spawn(move || pass(&client, &server, word, &is_armed));
            }
        });
        Self { port, armed }
    }
}

fn pass(client: &TcpStream, server: &TcpStream, word: &[u8], armed: &AtomicBool) {
    let (to_client, from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let keeps_back = Arc::new(AtomicBool::new(false));
    let kept_back = keeps_back.clone();
    std::thread::spawn(move || {
        relay(&from_server, &to_client, |_| !kept_back.load(SeqCst));
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
    relay(client, server, |bytes| {
        let is_the_word = bytes.windows(word.len()).any(|window| window == word);
        if is_the_word && armed.swap(false, SeqCst) {
            keeps_back.store(true, SeqCst);
        }
        true
    });
}

/// Passes bytes on as long as `goes_on` says so.
fn relay(mut from: &TcpStream, mut to: &TcpStream, goes_on: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 65_536];
    while let Ok(length) = from.read(&mut buffer) {
        let bytes = &buffer[..length];
        if length == 0 || !goes_on(bytes) || to.write_all(bytes).is_err() {
            return;
        }
    }
}
