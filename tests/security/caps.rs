//! How many sessions a principal may have (T3): one after another and at once, by two instances.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use web_session::{OnTooMany, SessionError, SessionLayer, SessionLayerBuilder};

use crate::events::{evicted, made};
use crate::rig::{Rig, is_live, logged_in, login, n, reference, references_of, session};
use crate::visitor::{Answer, Shop, items, items_of, remove_all, request_of, send};
use crate::wrappers::{Call, Failing};

const TICK: Duration = Duration::from_millis(1);

fn refused(answer: &Answer) -> bool {
    answer.status == 409 && answer.session_cookies().is_empty()
}

on_every_storage! {
    // T3: who has one session more than allowed loses the one whose id is the oldest.
    async fn a_login_beyond_the_cap_ends_the_oldest(rig: Rig) {
        let two = NonZeroU32::new(2).unwrap();
        let layer = rig.builder().max_sessions(two, OnTooMany::EvictOldest).build().await.unwrap();
        let bobs = logged_in(&layer, "bob").await;
        let mut ids = Vec::new();
        for live in [[true, false, false], [true, true, false], [false, true, true]] {
            rig.clock.advance(TICK);
            ids.push(logged_in(&layer, "ada").await);
            for (id, live) in ids.iter().zip(live) {
                assert_eq!(is_live(&layer, id).await, live);
            }
        }
        // Who logs in again in a session of its own takes no place.
        rig.clock.advance(TICK);
        let again = login(&layer, &ids[1], "ada").await.new_id().unwrap();
        assert!(is_live(&layer, &again).await && is_live(&layer, &ids[2]).await);
        rig.clock.advance(TICK);
        let last = logged_in(&layer, "ada").await;
        assert!(is_live(&layer, &again).await && is_live(&layer, &last).await);
        assert!(!is_live(&layer, &ids[2]).await, "its login is the longest ago");
        // So does a rotation.
        rig.clock.advance(TICK);
        let rotated = send(&layer, request_of(&again), async |session| session.rotate().await);
        let rotated = rotated.await.new_id().unwrap();
        rig.clock.advance(TICK);
        logged_in(&layer, "ada").await;
        assert!(is_live(&layer, &rotated).await && !is_live(&layer, &last).await);
        assert!(is_live(&layer, &bobs).await);
        assert_eq!(remove_all(&layer).await, 3);
    }

    // T3
    async fn an_eviction_that_fails_is_made_up_for_by_the_next_login(rig: Rig) {
        let failing = Failing::new(rig.driver.clone());
        let builder = rig.builder_on(failing.clone());
        let builder = builder.max_sessions(NonZeroU32::MIN, OnTooMany::EvictOldest);
        let layer = builder.build().await.unwrap();
        failing.fail([Call::EndWhere]);
        for _ in 0..3 {
            rig.clock.advance(TICK);
            let id = logged_in(&layer, "ada").await;
            assert!(is_live(&layer, &id).await, "the login is done");
        }
        failing.mend();
        rig.clock.advance(TICK);
        let id = logged_in(&layer, "ada").await;
        assert_eq!(references_of(&layer, "ada").await, [reference(&layer, &id).await]);
    }

    // T3
    async fn a_login_beyond_the_cap_is_refused_and_changes_nothing(rig: Rig) {
        let layer = rig.builder().max_sessions(NonZeroU32::MIN, OnTooMany::Refuse);
        let layer = layer.build().await.unwrap();
        let only = logged_in(&layer, "ada").await;
        let only = login(&layer, &only, "ada").await.new_id().expect("its own takes no place");
        assert!(refused(&login(&layer, "", "ada").await));
        let [cart, bobs] = [session(&layer).await, logged_in(&layer, "bob").await];
        for id in [&cart, &bobs] {
            let answer = send(&layer, request_of(id), async |session| {
                session.app::<Shop>().set("m", &2).unwrap();
                session.login("ada").await
            });
            let answer = answer.await;
            assert!(refused(&answer), "{answer:?}");
            assert_eq!(answer.body, "");
            assert!(is_live(&layer, id).await, "the id from before is valid");
        }
        assert_eq!(items_of(&layer, &cart).await, Some(items(&[("n", 1)])));
        assert_eq!(references_of(&layer, "bob").await, [reference(&layer, &bobs).await]);
        assert_eq!(references_of(&layer, "ada").await, [reference(&layer, &only).await]);
        // A handler that wants to say so itself.
        let answer = send(&layer, request_of(&cart), async |session| {
            session.login("ada").await.unwrap();
            assert_eq!(session.commit().await, Err(SessionError::TooManySessions));
            session.rollback();
            assert_eq!(session.principal().await, Ok(None));
            session.app::<Shop>().set("n", &3)
        });
        let answer = answer.await;
        assert_eq!((answer.status.as_u16(), answer.session_cookies()), (200, vec![]));
        assert_eq!(n(&layer, &cart).await, Some(3));
        send(&layer, request_of(&only), async |session| session.end().await).await;
        assert_eq!(login(&layer, &cart, "ada").await.status, 200);
        assert_eq!(remove_all(&layer).await, 2);
    }

    // T3: by two instances, half of the visitors with a session from before.
    async fn of_64_logins_at_once_the_cap_are_left_by_evictions(rig: Rig) {
        let logins = Logins::at_once(&rig, 4, OnTooMany::EvictOldest).await;
        let layer = rig.layer().await;
        let left = references_of(&layer, "ada").await;
        // All logged in at the same time, so that their references decide which are the newest.
        let events = rig.events();
        let mut all: Vec<_> = events.iter().filter_map(made).collect();
        assert_eq!(all.len(), 64);
        all.sort_unstable();
        let mut newest = left.clone();
        newest.sort_unstable();
        assert_eq!(newest, all[60..], "of those none was evicted");
        let mut evicted: Vec<_> = events.iter().filter_map(evicted).collect();
        evicted.sort_unstable();
        assert_eq!(evicted, all[..60], "each of the others once");
        let mut live = 0;
        for (old, answer) in &logins.0 {
            match answer.new_id() {
                // Who has got in may have been evicted at once.
                Some(new) => {
                    assert_eq!(answer.status, 200);
                    live += usize::from(is_live(&layer, &new).await);
                }
                None => assert!(answer.status == 409 && answer.removes_cookie(), "{answer:?}"),
            }
            if let Some(old) = old {
                assert!(!is_live(&layer, old).await);
            }
        }
        assert_eq!(live, 4, "the ids of those that are left were sent");
        assert_eq!(remove_all(&layer).await, 4);
    }

    // T3
    async fn of_64_logins_at_once_the_cap_are_let_in(rig: Rig) {
        let logins = Logins::at_once(&rig, 4, OnTooMany::Refuse).await;
        let layer = rig.layer().await;
        let mut let_in = Vec::new();
        let mut records = 0;
        for (old, answer) in &logins.0 {
            if answer.status == 200 {
                let_in.push(reference(&layer, &answer.new_id().unwrap()).await);
                records += 1;
                continue;
            }
            assert!(refused(answer), "{answer:?}");
            if let Some(old) = old {
                assert_eq!(n(&layer, old).await, Some(1), "it stays as it was");
                records += 1;
            }
        }
        assert_eq!(let_in.len(), 4);
        let_in.sort_unstable();
        let mut listed = references_of(&layer, "ada").await;
        listed.sort_unstable();
        assert_eq!(listed, let_in);
        let made = rig.events().iter().filter_map(made).count();
        assert_eq!(made, 4);
        assert_eq!(remove_all(&layer).await, records);
    }
}

/// What became of logins at once: each with the id from before, if there was one.
struct Logins(Vec<(Option<String>, Answer)>);

impl Logins {
    /// 64 logins of one principal who may have `most` sessions, by two instances.
    async fn at_once(rig: &Rig, most: u32, on_too_many: OnTooMany) -> Self {
        let most = NonZeroU32::new(most).unwrap();
        let capped = |builder: SessionLayerBuilder| builder.max_sessions(most, on_too_many).build();
        let layers = [
            capped(rig.builder()).await.unwrap(),
            capped(rig.builder_on(rig.second_driver().await)).await.unwrap(),
        ];
        let mut visitors = Vec::new();
        for at in 0..64 {
            let old = if at % 4 < 2 { Some(session(&layers[0]).await) } else { None };
            visitors.push((layers[at % 2].clone(), old));
        }
        rig.events();
        let start = Arc::new(Barrier::new(visitors.len()));
        let login = |(layer, old): (SessionLayer, Option<String>)| {
            let start = start.clone();
            tokio::spawn(async move {
                let presented = old.clone().unwrap_or_default();
                let answer = send(&layer, request_of(&presented), async move |session| {
                    session.login("ada").await?;
                    start.wait().await;
                    Ok::<_, SessionError>(())
                });
                (old, answer.await)
            })
        };
        let tasks: Vec<_> = visitors.into_iter().map(login).collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        Self(answers)
    }
}
