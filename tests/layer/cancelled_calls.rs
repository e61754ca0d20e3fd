//! Calls that a handler gives up half-way (a time-out, a `select!`), and goes on after.

use web_session::{SessionError, SessionLayer};

use crate::visitor::*;
use crate::wrappers::Suspending;

const MANY: usize = 400;

async fn suspending(storage: &crate::support::Storage) -> SessionLayer {
    layer(Suspending::new(storage.driver.clone())).await
}

on_each_driver! {
    // D6, L6: the changes of a dropped commit stay uncommitted, and the layer stores them.
    async fn after_a_dropped_commit_the_layer_commits(storage) {
        let layer = suspending(&storage).await;
        for times in 0..MANY {
            let id = session_with(&layer, &[("a", 0), ("b", 0), ("c", 0)]).await;
            let mut ended = false;
            let answer = send(&layer, request_of(&id), async |session| {
                let shop = session.app::<Shop>();
                shop.set("a", &1)?;
                shop.delete("b").await?;
                ended = give_up_after(times, session.commit()).await.is_some();
                // Own changes stay visible, and later ones come on top.
                assert_eq!(shop.items::<i64>().await?, items(&[("a", 1), ("c", 0)]));
                shop.set("c", &2)?;
                assert_eq!(shop.get::<i64>("c").await?, Some(2));
                Ok::<_, SessionError>(())
            })
            .await;
            settled(&layer).await;
            assert_eq!(answer.status, 200);
            let stored = items_of(&layer, &id).await;
            assert_eq!(stored, Some(items(&[("a", 1), ("c", 2)])), "{times}");
            if ended {
                assert!(times >= 4);
                return;
            }
        }
        panic!("the commit never ended");
    }

    // D6, L6
    async fn after_a_dropped_commit_a_rollback_leaves_all_or_none(storage) {
        let layer = suspending(&storage).await;
        let mut outcomes = std::collections::BTreeSet::new();
        for times in 0..MANY {
            let id = session_with(&layer, &[("a", 0), ("b", 0)]).await;
            let mut ended = false;
            let answer = send(&layer, request_of(&id), async |session| {
                let shop = session.app::<Shop>();
                shop.set("a", &1)?;
                shop.set("b", &1)?;
                ended = give_up_after(times, session.commit()).await.is_some();
                session.rollback();
                Ok::<_, SessionError>(())
            })
            .await;
            settled(&layer).await;
            assert_eq!(answer.status, 200);
            let stored = items_of(&layer, &id).await.unwrap();
            assert_eq!(stored[0].1, stored[1].1);
            outcomes.insert(stored[0].1);
            if ended {
                assert_eq!(stored[0].1, 1);
                assert_outcomes(&storage, outcomes, &[0, 1]);
                return;
            }
        }
        panic!("the commit never ended");
    }

    // D6: with no session a dropped commit may have created one that nobody knows; the request
    // itself goes on with exactly one.
    async fn after_a_dropped_implicit_creation_the_visitor_gets_one_whole_session(storage) {
        let layer = suspending(&storage).await;
        for times in 0..MANY {
            let mut ended = false;
            let answer = send(&layer, request_with(&[]), async |session| {
                session.app::<Shop>().set("a", &1)?;
                ended = give_up_after(times, session.commit()).await.is_some();
                session.app::<Shop>().set("b", &2)
            })
            .await;
            settled(&layer).await;
            assert_eq!(answer.status, 200);
            let stored = items_of(&layer, &answer.new_id().unwrap()).await;
            assert_eq!(stored, Some(items(&[("a", 1), ("b", 2)])));
            assert!(remove_all(&layer).await <= 2);
            if ended {
                assert!(times >= 4);
                return;
            }
        }
        panic!("the commit never ended");
    }

    // D6, M12
    async fn after_a_dropped_create_the_request_can_create(storage) {
        let layer = suspending(&storage).await;
        for times in 0..MANY {
            let mut ended = false;
            let answer = send(&layer, request_with(&[]), async |session| {
                ended = give_up_after(times, session.create()).await.is_some();
                let id = match session.session_id() {
                    Some(id) => {
                        assert!(ended, "a dropped call has loaded a session");
                        id
                    }
                    None => session.create().await?,
                };
                session.app::<Shop>().set("n", &1)?;
                Ok::<_, SessionError>(id.expose().to_string())
            })
            .await;
            settled(&layer).await;
            assert_eq!(answer.new_id(), Some(answer.body.clone()));
            assert_eq!(items_of(&layer, &answer.body).await, Some(items(&[("n", 1)])));
            if ended {
                assert!(times >= 4);
                return;
            }
        }
        panic!("the call never ended");
    }

    // D6, M14
    async fn after_a_dropped_end_the_session_is_whole_or_gone(storage) {
        let layer = suspending(&storage).await;
        let mut outcomes = std::collections::BTreeSet::new();
        for (times, loads) in (0..MANY).flat_map(|times| [(times, false), (times, true)]) {
            let id = session_with(&layer, &[("n", 1)]).await;
            let mut ended = false;
            let answer = send(&layer, request_of(&id), async |session| {
                if loads {
                    session.load().await?;
                }
                ended = give_up_after(times, session.end()).await.is_some();
                Ok::<_, SessionError>(())
            })
            .await;
            settled(&layer).await;
            assert_eq!(answer.status, 200);
            let stored = items_of(&layer, &id).await;
            assert!(stored.is_none() || stored == Some(items(&[("n", 1)])));
            assert_eq!(answer.removes_cookie(), ended);
            outcomes.insert(stored.is_none());
            // A second attempt succeeds whether or not the first has.
            let again = send(&layer, request_of(&id), async |session| session.end().await).await;
            assert!(again.removes_cookie());
            assert_eq!(items_of(&layer, &id).await, None);
            if ended && loads {
                assert_outcomes(&storage, outcomes, &[false, true]);
                return;
            }
        }
        panic!("the call never ended");
    }

    // D6, S5: whoever goes on writing after a dropped logout never revives the session.
    async fn a_write_after_a_dropped_end_revives_nothing(storage) {
        let layer = suspending(&storage).await;
        for times in 0..MANY {
            let id = session_with(&layer, &[("n", 1)]).await;
            let mut ended = false;
            let answer = send(&layer, request_of(&id), async |session| {
                session.load().await?;
                ended = give_up_after(times, session.end()).await.is_some();
                session.app::<Shop>().set("n", &2)
            })
            .await;
            settled(&layer).await;
            match (items_of(&layer, &id).await, answer.status.as_u16()) {
                // The logout had not begun.
                (Some(stored), 200) => assert_eq!(stored, items(&[("n", 2)])),
                // It had finished, unknown to the request.
                (None, 409) => {}
                // It was known to have finished, so the write began a session of its own.
                (None, 200) => assert!(ended && answer.new_id().unwrap() != id),
                (stored, status) => panic!("{stored:?} {status} after {times}"),
            }
            if ended {
                return;
            }
        }
        panic!("the call never ended");
    }

    // D6, S4
    async fn after_a_dropped_update_the_item_is_free(storage) {
        let layer = suspending(&storage).await;
        let id = session_with(&layer, &[("n", 0)]).await;
        let one_more = |n: Option<i64>| n.unwrap() + 1;
        let mut count = 0;
        for times in 0..MANY {
            let mut ended = false;
            let answer = send(&layer, request_of(&id), async |session| {
                let shop = session.app::<Shop>();
                ended = give_up_after(times, shop.update("n", one_more)).await.is_some();
                let n = shop.update("n", one_more).await?;
                assert_eq!(shop.get::<i64>("n").await?, Some(n));
                Ok::<_, SessionError>(())
            })
            .await;
            settled(&layer).await;
            assert_eq!(answer.status, 200);
            let found = items_of(&layer, &id).await.unwrap()[0].1;
            let expected = if ended { count + 2..=count + 2 } else { count + 1..=count + 2 };
            assert!(expected.contains(&found), "{found} after {count}");
            count = found;
            if ended {
                assert!(times >= 8);
                return;
            }
        }
        panic!("the call never ended");
    }

    // D6, S2
    async fn after_a_dropped_read_the_request_can_read(storage) {
        let layer = suspending(&storage).await;
        let id = session_with(&layer, &[("n", 7)]).await;
        for times in 0..MANY {
            let mut ended = false;
            let answer = send(&layer, request_of(&id), async |session| {
                let shop = session.app::<Shop>();
                ended = give_up_after(times, shop.get::<i64>("n")).await.is_some();
                assert_eq!(shop.get::<i64>("n").await?, Some(7));
                shop.set("n", &7)
            })
            .await;
            settled(&layer).await;
            assert_eq!(answer.status, 200);
            if ended {
                assert!(times >= 4);
                return;
            }
        }
        panic!("the call never ended");
    }

    // D6, S3: what is done later comes later.
    async fn a_commit_that_was_given_up_never_overwrites_a_later_one(storage) {
        let layer = layer(storage.driver.clone()).await;
        // On a task of its own, so that the runtime may run the driver's youngest task first.
        let rounds = tokio::spawn(async move {
            for round in 0..200 {
                let id = session_with(&layer, &[("n", 0)]).await;
                let request = send(&layer, request_of(&id), async |session| {
                    session.app::<Shop>().set("n", &1)?;
                    give_up_after(round % 4, session.commit()).await;
                    session.app::<Shop>().set("n", &2)?;
                    session.commit().await
                });
                assert_eq!(request.await.status, 200);
                settled(&layer).await;
                assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 2)])), "{round}");
            }
        });
        rounds.await.unwrap();
    }
}
