//! Connections that are taken, cut or stuck.

use std::time::{Duration, Instant};

use tokio::time::sleep;

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
    let again = seconds(free.elapsed());
    let seen = format!("503 after {}", seconds(took));
    report("the pool is exhausted", kind, seen, "nothing", again);
}

pub async fn connections_are_cut(kind: Kind) {
    let server = Private::start(kind);
    let application = Application::start(&server).await;
    let load = Load::start(&application, 8).await;
    let mut cuts = 0;
    let begun = Instant::now();
    while begun.elapsed() < 3 * SECOND {
        tokio::task::block_in_place(|| cut(&server));
        cuts += 1;
        sleep(Duration::from_millis(50)).await;
    }
    let last = Instant::now();
    sleep(2 * SECOND).await;
    let seen = load.stop().await;
    let lost = seen.lost().await;
    assert!(lost.is_empty(), "{} acknowledged requests are lost", lost.len());
    let again = seconds(seen.worked_again(last));
    let what = format!("all connections are cut, {cuts} times");
    report(&what, kind, seen.seen(), "nothing", again);
}

/// Cuts all connections but the one that does it.
fn cut(server: &Private) {
    match server.kind {
        Kind::Postgres => {
            server.sql(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
            );
        }
        Kind::MariaDb => {
            let ids = server.sql(
                "SELECT id FROM information_schema.processlist
                WHERE user = 'root' AND id <> connection_id()",
            );
            for id in ids.lines() {
                // It may be gone by itself.
                let _ = server.try_sql(&format!("KILL {id}"));
            }
        }
        _ => {
            for port in server.ports() {
                redis_cli(port, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            }
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
    let again = seconds(seen.worked_again(free));
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
