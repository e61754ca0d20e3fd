//! Storages whose contents are not what they should be, and clocks that are not what others say.

use std::time::{Duration, Instant, SystemTime};

use sqlx::ConnectOptions;
use web_session::ManualClock;

use crate::private::{Kind, Private, redis_cli};
use crate::visitors::{Application, Visitor, driver};
use crate::{report, seconds};

pub async fn an_item_is_no_json(kind: Kind) {
    let server = Private::start(kind);
    let application = Application::start(&server).await;
    let visitor = Visitor::new(&application).await;
    assert_eq!(visitor.set(1).await.status, 200);
    let sql = "UPDATE web_session_items SET value = '{garbage' WHERE value = '1'
        AND application = 'shop'";
    match kind {
        Kind::Redis | Kind::RedisCluster => {
            for port in server.ports() {
                for key in redis_cli(port, &["--scan", "--pattern", "web_session:{*"]).lines() {
                    for field in ["i:shop:k1", "i:shop:last"] {
                        redis_cli(port, &["HSET", key, field, "{garbage"]);
                    }
                }
            }
        }
        _ => change(&server, sql).await,
    }
    let seen = visitor.send("GET", "/get/1").await;
    assert_eq!(seen.status, 500, "{seen:?}");
    assert!(!seen.body.contains("garbage"), "{seen:?}");
    assert_eq!(seen.set_cookie, None);
    // The other items are what they were, and a new text under the key is as good as any.
    assert_eq!(visitor.send("POST", "/count").await.body, "1");
    assert_eq!(visitor.set(1).await.status, 200);
    assert_eq!(visitor.get(1).await, [Some(1); 3]);
    report("an item is no JSON", kind, "500 where it is read", "that item", "when it was set anew");
}

pub async fn the_tables_are_gone(kind: Kind) {
    let server = Private::start(kind);
    let application = Application::start(&server).await;
    let visitor = Visitor::new(&application).await;
    assert_eq!(visitor.set(1).await.status, 200);
    for statement in [
        "DROP TABLE web_session_items",
        "DROP TABLE web_session_version",
        "DROP TABLE web_session_sessions",
    ] {
        match kind {
            Kind::Redis | Kind::RedisCluster => {
                for port in server.ports() {
                    redis_cli(port, &["FLUSHALL"]);
                }
            }
            _ => change(&server, statement).await,
        }
        if statement.ends_with("version") {
            continue;
        }
        for request in [visitor.set(2).await, visitor.send("GET", "/get/1").await] {
            assert_eq!(request.status, 503, "{request:?}");
            assert_eq!(request.set_cookie, None, "{request:?}");
        }
        let stranger = Visitor::stranger(&application).set(1).await;
        assert_eq!((stranger.status.as_u16(), stranger.set_cookie), (503, None));
    }
    let made = Instant::now();
    application.driver.ensure_environment().await.unwrap();
    let other = Visitor::new(&application).await;
    assert_eq!(other.set(3).await.status, 200);
    assert_eq!(other.get(3).await, [Some(3); 3]);
    let again = format!("{} after they were made again", seconds(made.elapsed()));
    let lost = "what was in them";
    report("the tables, or all keys, are dropped", kind, "503", lost, again);
}

/// Runs SQL from outside.
async fn change(server: &Private, sql: &str) {
    if server.kind == Kind::Sqlite {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(server.file());
        let mut other = options.foreign_keys(false).connect().await.unwrap();
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
    } else {
        tokio::task::block_in_place(|| server.sql(sql));
    }
}

pub async fn two_clocks_differ_by_a_minute(kind: Kind) {
    const MINUTE: Duration = Duration::from_secs(60);
    let server = Private::start(kind);
    let now = SystemTime::now();
    let (slow, fast) = (ManualClock::new(now), ManualClock::new(now + MINUTE));
    let driver = driver(&server.url(), 4).await;
    let slow_instance = Application::with(driver.clone(), Some(slow.clone())).await;
    let fast_instance = Application::with(driver, Some(fast.clone())).await;
    let visitors = [Visitor::new(&slow_instance).await, Visitor::new(&fast_instance).await];
    for visitor in &visitors {
        for (n, instance) in [(1, &slow_instance), (2, &fast_instance), (3, &slow_instance)] {
            assert_eq!(visitor.at(instance).set(n).await.status, 200);
        }
        assert_eq!(visitor.at(&fast_instance).get(1).await, [Some(1), Some(3), Some(3)]);
    }
    // The one that the slow instance has made ends an hour after it, by the clock of whoever is asked.
    let hour = Duration::from_secs(3_600);
    for clock in [&slow, &fast] {
        clock.advance(hour - MINUTE - Duration::from_secs(1));
    }
    let visitor = &visitors[0];
    assert_eq!(visitor.at(&fast_instance).get(1).await[0], Some(1), "not more than a minute early");
    for clock in [&slow, &fast] {
        clock.advance(Duration::from_secs(2));
    }
    let early = visitor.at(&fast_instance).send("GET", "/get/1").await;
    assert_eq!(early.body, "None None None", "over for the instance that is ahead");
    assert_eq!(visitor.at(&slow_instance).get(1).await[0], Some(1), "and not for the other");
    slow.advance(MINUTE);
    let late = visitor.at(&slow_instance).send("GET", "/get/1").await;
    assert_eq!(late.body, "None None None");
    let seen = "sessions end a minute early or late";
    report("two clocks differ by a minute", kind, seen, "nothing", "all the time");
}
