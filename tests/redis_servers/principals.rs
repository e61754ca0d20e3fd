//! The index of a principal's sessions.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use web_session::driver::{Commit, CommitOutcome, Create, Inspect, List, Locator, Target};
use web_session::{Driver, RedisDriver};

use crate::servers::Server;
use crate::{Environment, NOW, number, record, run};

async fn listed(driver: &RedisDriver, principal: &str) -> usize {
    driver.list(List::new(principal.to_owned(), NOW)).await.unwrap().len()
}

/// A login into a new session, beside so many others.
fn login(n: u8, principal: &str, most: u32) -> Commit {
    let mut login = Commit::new(Target::New(record(n)), NOW);
    login.session.principal = Some(Some(principal.to_owned()));
    login.max_sessions = Some(most);
    login
}

/// The name of the only index in an environment.
async fn index(environment: &Environment) -> String {
    let pattern = format!("{}:p:*", environment.name);
    let found = run(&["SCAN", "0", "MATCH", &pattern, "COUNT", "1000000"]).await;
    let (_, mut keys): (u64, Vec<String>) = redis::from_redis_value(found).unwrap();
    assert_eq!(keys.len(), 1);
    keys.pop().unwrap()
}

/// Adds sessions to an index that Redis has forgotten long ago.
async fn forgotten(index: &str, sessions: u32) {
    let mut add = vec!["ZADD".to_owned(), index.to_owned()];
    add.extend((0..sessions).flat_map(|n| ["1".to_owned(), format!("{n:032x}")]));
    run(&add.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

// T3
pub async fn sessions_that_redis_has_forgotten_leave_the_index(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    let mut first = record(0);
    first.principal = Some("ada".to_owned());
    driver.create(Create::new(first)).await.unwrap();
    let index = index(&environment).await;
    forgotten(&index, 300).await;
    for n in 1..61 {
        let mut login = record(n);
        login.principal = Some("ada".to_owned());
        driver.create(Create::new(login)).await.unwrap();
    }
    let left = number(&["ZCARD", &index]).await;
    assert!((61..121).contains(&left), "{left} of 361 are left after 60 logins");
    // Whoever lists them looks at all.
    forgotten(&index, 1_000).await;
    assert_eq!(listed(driver, "ada").await, 61);
    assert_eq!(number(&["ZCARD", &index]).await, 61);
    // And whoever has to count them.
    forgotten(&index, 1_000).await;
    let outcome = driver.commit(login(100, "ada", 62)).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Done(_)), "{outcome:?}");
    assert_eq!(number(&["ZCARD", &index]).await, 62);
    assert_eq!(driver.commit(login(101, "ada", 62)).await.unwrap(), CommitOutcome::TooMany);
}

// T3
pub async fn a_session_that_is_anothers_leaves_the_index(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    driver.commit(login(1, "ada", 1)).await.unwrap();
    let index = index(&environment).await;
    let uid = "01".repeat(16);
    run(&["HSET", &environment.key(1), "pri", "bob"]).await;
    assert_eq!(listed(driver, "ada").await, 0);
    assert_eq!(number(&["ZCARD", &index]).await, 1, "its commit may be under way");
    run(&["ZADD", &index, "1", &uid]).await;
    assert_eq!(listed(driver, "ada").await, 0);
    assert_eq!(number(&["ZCARD", &index]).await, 0);
}

// D6: what was reserved for a login that nobody waits for any more is free again, or used.
pub async fn a_dropped_login_does_not_count(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    for round in 0_u8..60 {
        let principal = format!("p{round}");
        let mut dropped = login(2 * round + 1, &principal, 1);
        let session = record(2 * round + 1);
        driver.create(Create::new(session.clone())).await.unwrap();
        dropped.target = Target::Seen { session: session.session, key: session.key };
        let call = driver.commit(dropped);
        let _ = timeout(Duration::from_micros(100 * u64::from(round)), call).await;
        let begun = Instant::now();
        loop {
            let kept = driver.inspect(Inspect::new(Locator::Ref(session.session))).await.unwrap();
            if kept.unwrap().principal.is_some() {
                break;
            }
            match driver.commit(login(2 * round + 2, &principal, 1)).await.unwrap() {
                CommitOutcome::Done(_) => break,
                outcome => assert_eq!(outcome, CommitOutcome::TooMany),
            }
            assert!(begun.elapsed() < Duration::from_secs(3), "round {round}: nobody is logged in");
            sleep(Duration::from_millis(10)).await;
        }
    }
}
