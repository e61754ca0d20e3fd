//! Atomic updates of one item.

use http::StatusCode;
use web_session::{MemoryDriver, SessionError, SessionManager};

use crate::visitor::*;
use crate::wrappers::{Conflicting, Suspending};

const TIMES: i64 = 100;

fn one_more(n: Option<i64>) -> i64 {
    n.unwrap_or(0) + 1
}

on_each_driver! {
    // S4
    async fn a_hundred_increments_at_once_count_to_a_hundred(storage) {
        for spread in [1, 2] {
            let second = second_driver(&storage).await;
            let layers = [layer(storage.driver.clone()).await, layer(second).await];
            let id = session_with(&layers[0], &[]).await;
            let requests: Vec<_> = (0..TIMES as usize)
                .map(|n| {
                    let (layer, id) = (layers[n % spread].clone(), id.clone());
                    tokio::spawn(async move {
                        send(&layer, request_of(&id), |session: SessionManager| async move {
                            let shop = session.app::<Shop>();
                            shop.update("n", one_more).await.map(|n| n.to_string())
                        })
                        .await
                    })
                })
                .collect();
            let mut seen = Vec::new();
            for request in requests {
                let answer = request.await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.body);
                seen.push(answer.body.parse::<i64>().unwrap());
            }
            seen.sort_unstable();
            assert_eq!(seen, (1..=TIMES).collect::<Vec<_>>());
            assert_eq!(items_of(&layers[0], &id).await, Some(items(&[("n", TIMES)])));
        }
    }

    // S4: through two layers whose calls overlap, so that the storage itself has to decide.
    async fn increments_whose_calls_interleave_are_all_counted(storage) {
        let suspended = || Suspending::new(storage.driver.clone());
        let layers = [layer(suspended()).await, layer(suspended()).await];
        let id = session_with(&layers[0], &[]).await;
        let increment = async |layer| {
            for _ in 0..20 {
                let answer = send(layer, request_of(&id), async |session| {
                    session.app::<Shop>().update("n", one_more).await.map(|_| ())
                })
                .await;
                assert_eq!(answer.status, 200);
            }
        };
        tokio::join!(increment(&layers[0]), increment(&layers[1]));
        assert_eq!(items_of(&layers[0], &id).await, Some(items(&[("n", 40)])));
    }

    // S4
    async fn an_update_starts_from_the_requests_own_uncommitted_value(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("set", 1), ("removed", 1), ("stored", 1)]).await;
        let answer = send(&layer, request_of(&id), async |session| {
            let shop = session.app::<Shop>();
            shop.set("set", &10)?;
            shop.delete("removed").await?;
            assert_eq!(shop.update("set", one_more).await?, 11);
            assert_eq!(shop.update("removed", one_more).await?, 1);
            assert_eq!(shop.update("stored", one_more).await?, 2);
            assert_eq!(shop.get::<i64>("set").await?, Some(11));
            // Stored at once, and nothing of it is left to commit.
            assert_eq!(
                items_of(&layer, &id).await,
                Some(items(&[("removed", 1), ("set", 11), ("stored", 2)]))
            );
            send(&layer, request_of(&id), async |other| other.app::<Shop>().set("set", &50)).await;
            Ok::<_, SessionError>(())
        })
        .await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            items_of(&layer, &id).await,
            Some(items(&[("removed", 1), ("set", 50), ("stored", 2)]))
        );
    }

    // S4
    async fn an_update_after_an_uncommitted_empty_outlives_it(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 5), ("m", 5)]).await;
        send(&layer, request_of(&id), async |session| {
            let shop = session.app::<Shop>();
            shop.empty();
            assert_eq!(shop.update("n", one_more).await?, 1);
            assert_eq!(shop.items::<i64>().await?, items(&[("n", 1)]));
            Ok::<_, SessionError>(())
        })
        .await;
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
    }

    // S4, L6
    async fn an_update_outlives_a_5xx_and_other_changes_do_not(storage) {
        let layer = layer(storage.driver.clone()).await;
        for has_session in [true, false] {
            let id = session_with(&layer, &[]).await;
            let request = if has_session { request_of(&id) } else { request_with(&[]) };
            let answer = send(&layer, request, async |session| {
                session.app::<Shop>().set("m", &1)?;
                session.app::<Shop>().update("n", one_more).await?;
                Ok::<_, SessionError>(StatusCode::BAD_GATEWAY)
            })
            .await;
            assert_eq!(answer.status, 502);
            assert_eq!(answer.new_id().is_some(), !has_session);
            let id = answer.new_id().unwrap_or(id);
            assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
        }
    }

    // S4
    async fn after_a_conflict_the_closure_starts_from_the_rivals_value(storage) {
        let conflicting = Conflicting::new(storage.driver.clone(), 3);
        let layer = layer(conflicting.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        let answer = send(&layer, request_of(&id), async |session| {
            let mut starts = Vec::new();
            let shop = session.app::<Shop>();
            let n = shop
                .update("n", |n: Option<i64>| {
                    starts.push(n);
                    one_more(n)
                })
                .await?;
            assert_eq!(starts, [Some(1), Some(1_000), Some(1_001), Some(1_002)]);
            Ok::<_, SessionError>(n.to_string())
        })
        .await;
        assert_eq!(answer.body, "1003");
        assert_eq!(conflicting.replacements(), 4);
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1_003)])));
    }

    // S4
    async fn an_update_gives_up_after_exactly_a_hundred_attempts(storage) {
        for (conflicts, result) in [(99, Ok(1_099)), (100, Err(SessionError::Contended))] {
            let conflicting = Conflicting::new(storage.driver.clone(), conflicts);
            let layer = layer(conflicting.clone()).await;
            let id = session_with(&layer, &[("n", 1)]).await;
            let mut runs = 0;
            let answer = send(&layer, request_of(&id), async |session| {
                let shop = session.app::<Shop>();
                let updated = shop
                    .update("n", |n| {
                        runs += 1;
                        one_more(n)
                    })
                    .await;
                assert_eq!(updated, result);
                updated.map(|n| n.to_string())
            })
            .await;
            assert_eq!((runs, conflicting.replacements()), (100, 100));
            assert_eq!(answer.status, if result.is_ok() { 200 } else { 503 });
        }
    }

    // S4, S5
    async fn an_update_never_brings_back_an_ended_session(storage) {
        let layer = layer(storage.driver.clone()).await;
        for reads_first in [true, false] {
            let id = session_with(&layer, &[("n", 1)]).await;
            let answer = send(&layer, request_of(&id), async |session| {
                if reads_first {
                    session.app::<Shop>().len().await?;
                } else {
                    session.load().await?;
                }
                send(&layer, request_of(&id), async |other| other.end().await).await;
                session.app::<Shop>().update("n", one_more).await.map(|_| ())
            })
            .await;
            assert_eq!((answer.status.as_u16(), answer.new_id()), (409, None));
        }
        assert_eq!(remove_all(&layer).await, 0);
    }

    // S4, S7
    async fn an_update_without_a_session_creates_one(storage) {
        let layer = layer(storage.driver.clone()).await;
        let unknown = "0".repeat(32);
        for request in [request_with(&[]), request_of(&unknown)] {
            let answer = send(&layer, request, async |session| {
                let shop = session.app::<Shop>();
                shop.update("n", one_more).await?;
                assert!(session.created());
                shop.update("n", one_more).await.map(|_| ())
            })
            .await;
            let id = answer.new_id().unwrap();
            assert_ne!(id, unknown);
            assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 2)])));
        }
        assert_eq!(remove_all(&layer).await, 2);
    }
}

// S4
#[tokio::test]
async fn an_update_of_a_value_of_another_type_changes_nothing() {
    let layer = layer(MemoryDriver::new()).await;
    let id = session_with(&layer, &[("n", 1)]).await;
    let answer = send(&layer, request_of(&id), async |session| {
        let shop = session.app::<Shop>();
        let updated = shop.update("n", |_: Option<String>| "text".to_owned()).await;
        assert!(matches!(updated, Err(SessionError::Decode(_))), "{updated:?}");
        shop.update("n", one_more).await.map(|n| n.to_string())
    })
    .await;
    assert_eq!(answer.body, "2");
}
