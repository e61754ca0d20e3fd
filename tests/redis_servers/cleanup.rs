//! Removing expired sessions, among keys that hold something else.

use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use web_session::driver::DriverErrorKind::{Corrupt, Other};
use web_session::driver::{
    ApplicationChanges, ApplicationName, Cleanup, Commit, CommitOutcome, Create, CreateOutcome,
    EndWhere, Inspect, List, Load, Locator, Target,
};
use web_session::{Driver, RedisDriver, SessionKey, SessionRef};

use crate::servers::Server;
use crate::{
    CREATED, EXPIRES, Environment, LIFE, NOW, SCRIPTS, at, created, key, loaded, record, run,
};

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
    // Those that were loaded before are read in another way.
    for were_loaded in [false, true] {
        let environment = Environment::new(server).await;
        let driver = &environment.driver;
        for n in 1..=6 {
            created(driver, n).await;
            if were_loaded {
                assert_eq!(loaded(driver, n).await.len(), 1);
            }
        }
        run(&["SET", &environment.key(2), "text"]).await;
        environment.damage(3, EXPIRES, "soon").await;
        environment.damage(4, 0, "nobody").await;
        run(&["HSET", &environment.key(5), "rec", "1"]).await;
        // All at once: what is wrong with one is nothing to another.
        let load = |n| driver.load(Load::new(vec![Locator::Key(key(n))], NOW));
        let loaded = futures_util::future::join_all((1..=6).map(load)).await;
        for (n, loaded) in (1..).zip(loaded) {
            match loaded {
                Ok(found) => assert_eq!((n % 5, found[0].session.key), (1, key(n))),
                Err(error) => {
                    assert_eq!((n % 5 == 1, error.kind()), (false, Corrupt), "{n}: {error}")
                }
            }
        }
    }
}

pub async fn a_call_outside_of_a_runtime_is_an_error(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = environment.driver.clone();
    let answers = std::thread::spawn(move || {
        let session = record(1).session;
        let (load, target) = (Load::new(vec![Locator::Ref(session)], NOW), Locator::Ref(session));
        let (mut load, mut create) = (driver.load(load), driver.create(Create::new(record(1))));
        let mut commit = driver.commit(Commit::new(Target::Existing(target), NOW));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        [
            load.poll_unpin(&mut cx).map(|answer| answer.map(drop)),
            create.poll_unpin(&mut cx).map(|answer| answer.map(drop)),
            commit.poll_unpin(&mut cx).map(|answer| answer.map(drop)),
        ]
    });
    for answer in answers.join().expect("it does not panic") {
        let Poll::Ready(Err(error)) = answer else { panic!("{answer:?}") };
        assert_eq!(error.kind(), Other);
    }
}

// P2
pub async fn of_many_calls_at_once_each_gets_its_own_answer(server: &Server) {
    let _scripts = SCRIPTS.lock().await;
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    let session = |n: u8| driver.create(Create::new(record(n)));
    // Every third is created twice.
    let twice = (1..=150).chain((1..=150).filter(|n| n % 3 == 0));
    let created = futures_util::future::join_all(twice.map(session)).await;
    let done = created.iter().filter(|outcome| matches!(outcome, Ok(CreateOutcome::Done)));
    assert_eq!((done.count(), created.len()), (150, 200));
    // The server knows no script then.
    run(&["SCRIPT", "FLUSH"]).await;
    let calls = (1..=200).map(|n| async move {
        let target = Target::Presented { key: key(n), retired_after: NOW, otherwise: None };
        let (load, mut commit) =
            (driver.load(Load::new(vec![Locator::Key(key(n))], NOW)), Commit::new(target, NOW));
        let mut changes = ApplicationChanges::new(ApplicationName::new("shop").unwrap());
        changes.items.push(("number".into(), Some(n.to_string().into())));
        if n % 2 == 0 {
            changes.items.push(("missing".into(), None));
        }
        if n % 3 == 0 {
            changes.items.push(("empty".into(), Some("".into())));
        }
        commit.changes.push(changes);
        let commit = driver.commit(commit);
        let (found, outcome) = futures_util::future::join(load, commit).await;
        let found: Vec<_> = found.unwrap().into_iter().map(|found| found.session.key).collect();
        match outcome.unwrap() {
            CommitOutcome::Done(record) => assert_eq!((record.key, found), (key(n), vec![key(n)])),
            outcome => assert_eq!((outcome, n > 150, found), (CommitOutcome::Gone, true, vec![])),
        }
    });
    futures_util::future::join_all(calls).await;
    // Those that were loaded before are read in another way.
    let loads = (1..=150).map(|n| {
        let mut load = Load::new(vec![Locator::Key(key(n))], NOW);
        load.application = Some(ApplicationName::new("shop").unwrap());
        driver.load(load)
    });
    for (n, found) in (1..).zip(futures_util::future::join_all(loads).await) {
        let found = found.unwrap();
        assert_eq!(found[0].session.key, key(n));
        let item = |key| found[0].items.get(key).map(|text| &**text);
        assert_eq!(item("number"), Some(&*n.to_string()));
        assert_eq!((item("missing"), item("empty")), (None, (n % 3 == 0).then_some("")));
    }
}

// P2
pub async fn what_is_wrong_with_one_commit_is_nothing_to_another(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    for n in 1..=3 {
        created(driver, n).await;
    }
    environment.damage(2, EXPIRES, "soon").await;
    run(&["SET", &environment.key(4), "text"]).await;
    let commit = |n| {
        let target = Target::Presented { key: key(n), retired_after: NOW, otherwise: None };
        let mut commit = Commit::new(target, NOW);
        let mut changes = ApplicationChanges::new(ApplicationName::new("shop").unwrap());
        changes.items.push(("cart".into(), Some("1".into())));
        commit.changes.push(changes);
        driver.commit(commit)
    };
    let outcomes = futures_util::future::join_all((1..=5).map(commit)).await;
    for (n, outcome) in (1..).zip(outcomes) {
        match outcome {
            Ok(CommitOutcome::Done(_)) => assert!([1, 3].contains(&n), "{n}"),
            Ok(outcome) => assert_eq!((n, outcome), (5, CommitOutcome::Gone)),
            Err(error) => assert!([2, 4].contains(&n), "{n}: {error}"),
        }
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
    for (n, part) in [(3, EXPIRES), (4, CREATED)] {
        created(driver, n).await;
        environment.damage(n, part, "soon").await;
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
    environment.damage(2, EXPIRES, "soon").await;
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
        redis.call('HSET', ARGV[1] .. ':{' .. n .. '}', 'rec', ARGV[2])
    end";
    let live = format!("{} {} 9000000000 9000000000 1 1 - - -", "01".repeat(16), "01".repeat(32));
    run(&["EVAL", fill, "0", &environment.name, &live]).await;
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
