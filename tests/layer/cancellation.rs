//! Requests that are given up half-way: at every point at which their future can be dropped.

use web_session::{SessionError, SessionLayer, SessionManager, SessionTarget};

use crate::visitor::*;
use crate::wrappers::Suspending;

/// More points than any of these requests has.
const MANY: usize = 400;

/// Writes the same number under two keys and into a second application.
fn write_everywhere(session: &SessionManager, n: i64) -> Result<(), SessionError> {
    session.app::<Shop>().set("a", &n)?;
    session.app::<Shop>().set("b", &n)?;
    session.app::<Blog>().set("c", &n)
}

/// The number that a visitor's session holds everywhere; fails if it is not the same.
async fn one_number(layer: &SessionLayer, id: &str) -> Option<i64> {
    let session = layer.manager();
    if !session.load_id(id).await.unwrap() {
        return None;
    }
    let a = session.app::<Shop>().get::<i64>("a").await.unwrap();
    let b = session.app::<Shop>().get::<i64>("b").await.unwrap();
    let c = session.app::<Blog>().get::<i64>("c").await.unwrap();
    assert_eq!((a, b), (b, c), "a commit was stored in part");
    a
}

/// The visitor's next request, which finds no lock held.
async fn next_request_works(layer: &SessionLayer, id: &str, n: i64) {
    let next = send(layer, request_of(id), async |session| {
        session.app::<Shop>().len().await?;
        write_everywhere(&session, n)?;
        session.app::<Shop>().update("updated", |_: Option<i64>| n).await.map(|_| ())
    });
    assert_eq!(next.await.status, 200);
    assert_eq!(one_number(layer, id).await, Some(n));
}

on_each_driver! {
    // D6, L6
    async fn a_dropped_request_is_stored_whole_or_not_at_all(storage) {
        let layer = layer(Suspending::new(storage.driver.clone())).await;
        let id = session_with(&layer, &[]).await;
        next_request_works(&layer, &id, -1).await;
        let (mut dropped, mut before, mut after) = (0, -1, 0);
        for times in 0..MANY {
            let n = times as i64;
            let request = send(&layer, request_of(&id), async |session| {
                session.app::<Shop>().len().await?;
                write_everywhere(&session, n)
            });
            let answer = give_up_after(times, request).await;
            settled(&layer).await;
            if let Some(answer) = answer {
                assert_eq!(answer.status, 200);
                assert_eq!(one_number(&layer, &id).await, Some(n));
                break;
            }
            dropped += 1;
            let found = one_number(&layer, &id).await.unwrap();
            assert!(found == before || found == n, "{found} is neither {before} nor {n}");
            after += usize::from(found == n);
            before = 10_000 + n;
            next_request_works(&layer, &id, before).await;
        }
        // The load and the commit are suspended four times each; the last two drops come after
        // the driver has worked.
        assert!(!is_exact(&storage) || (8..MANY - 1).contains(&dropped), "{dropped}");
        assert!((1..dropped).contains(&after), "{after} of {dropped}");
    }

    // D6, S7
    async fn a_dropped_first_request_leaves_a_whole_session_or_none(storage) {
        let layer = layer(Suspending::new(storage.driver.clone())).await;
        let mut outcomes = std::collections::BTreeSet::new();
        for times in 0..MANY {
            let mut kept = None;
            let request = send(&layer, request_with(&[]), |session: SessionManager| {
                kept = Some(session.clone());
                async move { write_everywhere(&session, 1) }
            });
            let answer = give_up_after(times, request).await;
            settled(&layer).await;
            let session = kept.unwrap();
            if let Some(answer) = answer {
                let id = answer.new_id().unwrap();
                assert_eq!(one_number(&layer, &id).await, Some(1));
                assert_eq!(remove_all(&layer).await, 1);
                assert_outcomes(&storage, outcomes, &[0, 1]);
                return;
            }
            // Nobody was told the id, so nobody can tell what is in it; nothing is sent later.
            assert_eq!(session.create().await, Err(SessionError::ResponseStarted));
            outcomes.insert(remove_all(&layer).await);
        }
        panic!("the request never ended");
    }

    // D6, L6
    async fn a_dropped_logout_leaves_the_whole_session_or_none(storage) {
        let layer = layer(Suspending::new(storage.driver.clone())).await;
        let mut outcomes = std::collections::BTreeSet::new();
        for times in 0..MANY {
            let id = session_with(&layer, &[]).await;
            next_request_works(&layer, &id, 5).await;
            let logout = async || send(&layer, request_of(&id), async |session| session.end().await).await;
            let answer = give_up_after(times, logout()).await;
            settled(&layer).await;
            let found = one_number(&layer, &id).await;
            if let Some(answer) = answer {
                assert!(answer.removes_cookie());
                assert_eq!(found, None);
                assert_outcomes(&storage, outcomes, &[None, Some(5)]);
                return;
            }
            outcomes.insert(found);
            assert!(logout().await.removes_cookie());
            assert_eq!(one_number(&layer, &id).await, None);
        }
        panic!("the request never ended");
    }

    // D6, L6, S4
    async fn a_dropped_update_counts_once_or_not_at_all(storage) {
        let layer = layer(Suspending::new(storage.driver.clone())).await;
        let id = session_with(&layer, &[("n", 0)]).await;
        let increment = async || {
            send(&layer, request_of(&id), async |session| {
                let shop = session.app::<Shop>();
                shop.update("n", |n: Option<i64>| n.unwrap() + 1).await.map(|n| n.to_string())
            })
            .await
        };
        let (mut count, mut counted) = (0, 0);
        for times in 0..MANY {
            let answer = give_up_after(times, increment()).await;
            settled(&layer).await;
            let found = items_of(&layer, &id).await.unwrap()[0].1;
            if answer.is_some() {
                assert_eq!(found, count + 1);
                assert!(!is_exact(&storage) || (8..MANY - 1).contains(&times), "{times}");
                assert!(!is_exact(&storage) || (1..times).contains(&counted), "{counted}");
                return;
            }
            assert!((count..=count + 1).contains(&found), "{found} after {count}");
            counted += usize::from(found > count);
            // Neither the item nor the visitor is locked.
            assert_eq!(increment().await.body, (found + 1).to_string());
            count = found + 1;
        }
        panic!("the request never ended");
    }

    // D6, M17
    async fn a_dropped_new_end_and_its_items_are_stored_together(storage) {
        let (layer, clock) = layer_with_clock(Suspending::new(storage.driver.clone())).await;
        let mut outcomes = std::collections::BTreeSet::new();
        for times in 0..MANY {
            let id = session_with(&layer, &[("n", 1)]).await;
            let request = send(&layer, request_of(&id), async |session| {
                let now = web_session::Clock::now(&clock);
                session.set_expire(now, SessionTarget::Current).await?;
                session.app::<Shop>().set("n", &2)
            });
            let ended = give_up_after(times, request).await.is_some();
            settled(&layer).await;
            let is_live = items_of(&layer, &id).await.is_some();
            let later = web_session::Clock::now(&clock) + std::time::Duration::from_secs(9);
            layer.manager().set_expire(later, &*id).await.unwrap();
            let n = items_of(&layer, &id).await.unwrap()[0].1;
            assert_eq!(n, if is_live { 1 } else { 2 });
            if ended {
                assert!(!is_live);
                assert_outcomes(&storage, outcomes, &[false, true]);
                return;
            }
            outcomes.insert(is_live);
        }
        panic!("the request never ended");
    }
}
