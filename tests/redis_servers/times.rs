//! How long Redis keeps what belongs to a session, and what leads to it.

use web_session::Driver;
use web_session::driver::{Commit, CommitOutcome, Create, Destroy, Inspect, Locator, Target};

use crate::servers::Server;
use crate::{
    Environment, LIFE, NOW, at, builder, created, key, loaded, number, record, rotation, run,
};

// D5, M19: Redis forgets nothing before its time.
pub async fn redis_forgets_a_session_an_hour_after_its_end_and_not_before(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    let mut record = record(1);
    record.principal = Some("ada".to_owned());
    driver.create(Create::new(record.clone())).await.unwrap();
    let hour = 3_600_000;
    let around = |ttl: i64, expected: i64| {
        assert!(
            (expected - 5_000..=expected + 5_000).contains(&ttl),
            "{ttl} is not about {expected}"
        );
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

// T2, M17: what leads to a session is there as long as the session.
pub async fn an_end_that_is_moved_during_a_rotation_is_that_of_the_fresh_id(server: &Server) {
    const DAY: i64 = 86_400_000;
    let environment = Environment::new(server).await;
    let other = builder(server).environment(&environment.name).connect().await.unwrap();
    let set_end = |session, ends| {
        let mut later = Commit::new(Target::Existing(Locator::Ref(session)), NOW);
        (later.session.expires, later.session.ends) = (Some(at(ends)), Some(at(ends)));
        later
    };
    for round in 0..60 {
        let (old, fresh) = (round * 2 + 1, round * 2 + 2);
        let record = created(&environment.driver, old).await;
        let calls = [
            environment.driver.commit(rotation(&record, fresh)),
            other.commit(set_end(record.session, 30 * DAY)),
            environment.driver.commit(set_end(record.session, 2 * DAY)),
        ];
        for call in calls.map(tokio::spawn) {
            let outcome = call.await.unwrap().unwrap();
            assert!(matches!(outcome, CommitOutcome::Done(_)), "{outcome:?}");
        }
        let reference = format!("{}:r:{}", environment.name, format!("{old:02x}").repeat(16));
        let session = number(&["PTTL", &environment.key(old)]).await;
        for pointer in [environment.key(fresh), reference] {
            let left = number(&["PTTL", &pointer]).await;
            assert!(
                left >= session,
                "round {round}: {pointer} {left} ms, the session {session} ms"
            );
        }
        assert_eq!(loaded(&other, fresh).await.len(), 1);
    }
}

// T2: an id that was prepared and never came to be leads nowhere.
pub async fn a_rotation_that_was_cut_short_changes_nothing(server: &Server) {
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
pub async fn of_two_rotations_at_once_one_is_done(server: &Server) {
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
