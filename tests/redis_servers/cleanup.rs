//! Removing expired sessions, among keys that hold something else.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use web_session::driver::DriverErrorKind::Corrupt;
use web_session::driver::{Cleanup, Create, EndWhere, Inspect, List, Load, Locator};
use web_session::{Driver, RedisDriver, SessionKey, SessionRef};

use crate::servers::Server;
use crate::{Environment, LIFE, NOW, at, created, loaded, record, run};

// M16
pub async fn a_cleanup_in_batches_leaves_none_behind(server: &Server) {
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

pub async fn what_is_not_a_session_is_an_error_and_not_no_session(server: &Server) {
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
        let load = Load::new(vec![Locator::Key(crate::key(n))], NOW);
        let error = driver.load(load).await.unwrap_err();
        assert_eq!(error.kind(), Corrupt, "{command:?}: {error}");
    }
}

/// A session of a principal.
async fn theirs(environment: &Environment, n: u8) -> web_session::driver::SessionRecord {
    let mut theirs = record(n);
    theirs.principal = Some("ada".to_owned());
    environment.driver.create(Create::new(theirs.clone())).await.unwrap();
    theirs
}

// M16
pub async fn what_is_no_session_keeps_no_other_from_being_cleaned_up(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    created(driver, 1).await;
    run(&["SET", &environment.key(2), "text"]).await;
    for (n, field) in [(3, "exp"), (4, "crt")] {
        created(driver, n).await;
        run(&["HSET", &environment.key(n), field, "soon"]).await;
    }
    created(driver, 5).await;
    let mut removed = 0;
    for _ in 0..2 {
        removed += driver.cleanup(Cleanup::new(NOW, at(LIFE + 1), 100)).await.unwrap();
    }
    assert_eq!(removed, 2);
    for n in [1, 5] {
        assert!(loaded(driver, n).await.is_empty());
    }
}

// T3
pub async fn a_damaged_session_keeps_no_other_of_its_principal_alive(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    let sound = [theirs(&environment, 1).await, theirs(&environment, 3).await];
    theirs(&environment, 2).await;
    run(&["HSET", &environment.key(2), "exp", "soon"]).await;
    let ended = driver.end_where(EndWhere::new("ada".to_owned())).await;
    assert_eq!(ended.unwrap_err().kind(), Corrupt);
    for record in sound {
        let left = driver.inspect(Inspect::new(Locator::Ref(record.session))).await.unwrap();
        assert_eq!(left, None);
    }
    let listed = driver.list(List::new("ada".to_owned(), NOW)).await;
    assert_eq!(listed.unwrap_err().kind(), Corrupt, "a failure is never the answer `none`");
}

/// The address of a server that answers like that one, each time so much later.
async fn slowed(address: String, delay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&address).await.unwrap();
            let (mut asked, mut answered) = client.into_split();
            let (mut answers, mut asks) = server.into_split();
            tokio::spawn(async move { copy(&mut asked, &mut asks).await });
            tokio::spawn(async move {
                let mut answer = vec![0; 1 << 20];
                while let Ok(length @ 1..) = answers.read(&mut answer).await {
                    tokio::time::sleep(delay).await;
                    answered.write_all(&answer[..length]).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    slow
}

// M16: a cleanup takes as long as there are keys.
pub async fn a_cleanup_may_take_longer_than_a_call(server: &Server) {
    const CALL: Duration = Duration::from_secs(1);
    let environment = Environment::new(server).await;
    // Sessions that are live, as far as a cleanup looks at them.
    let fill = "for n = 1, 20000 do
        redis.call('HSET', ARGV[1] .. ':{' .. n .. '}', 'uid', n, 'exp', '9000000000')
    end";
    run(&["EVAL", fill, "0", &environment.name]).await;
    for n in 0..3 {
        created(&environment.driver, n).await;
    }
    let url = url::Url::parse(&server.url()).unwrap();
    let address = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(6379));
    let slow = format!("redis://{}", slowed(address, Duration::from_millis(60)).await);
    let builder = RedisDriver::builder(&slow).environment(&environment.name).call_timeout(CALL);
    let driver = builder.connect().await.unwrap();
    let begun = Instant::now();
    assert_eq!(driver.cleanup(Cleanup::new(NOW, at(LIFE + 1), 100)).await.unwrap(), 3);
    assert!(begun.elapsed() > CALL, "{:?} is no proof", begun.elapsed());
}
