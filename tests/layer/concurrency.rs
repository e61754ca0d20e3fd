//! Requests of one visitor at the same time. A request inside another request's handler has the
//! order that the test wants, without waiting.

use std::sync::Arc;

use tokio::sync::Barrier;
use web_session::{SessionError, SessionLayer, SessionManager};

use crate::support::Storage;
use crate::visitor::*;

const VISITORS: usize = 40;

/// Two layers with drivers of their own on one storage.
async fn two_layers(storage: &Storage) -> [SessionLayer; 2] {
    let second = second_driver(storage).await;
    [layer(storage.driver.clone()).await, layer(second).await]
}

on_each_driver! {
    // S1, S2
    async fn a_request_sees_its_own_changes_and_others_see_them_after_the_commit(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("kept", 1), ("gone", 1), ("changed", 1)]).await;
        let answer = send(&layer, request_of(&id), async |session| {
            let shop = session.app::<Shop>();
            shop.set("changed", &2)?;
            shop.set("new", &3)?;
            assert_eq!(shop.remove::<i64>("gone").await?, Some(1));
            assert_eq!(shop.remove::<i64>("never").await?, None);
            assert_eq!(shop.delete("gone").await, Err(SessionError::NoSuchItem));
            let seen = items(&[("changed", 2), ("kept", 1), ("new", 3)]);
            assert_eq!(shop.items::<i64>().await?, seen);
            assert_eq!(shop.keys().await?, ["changed", "kept", "new"]);
            assert_eq!(shop.values::<i64>().await?, [2, 1, 3]);
            assert_eq!((shop.len().await?, shop.is_empty().await?), (3, false));
            assert_eq!((shop.has_key("new").await?, shop.has_key("gone").await?), (true, false));
            assert_eq!((shop.app(), session.app::<Blog>().len().await?), ("shop", 0));

            let before = items(&[("changed", 1), ("gone", 1), ("kept", 1)]);
            assert_eq!(items_of(&layer, &id).await, Some(before));
            Ok::<_, SessionError>(())
        })
        .await;
        assert_eq!(answer.status, 200);
        let after = items(&[("changed", 2), ("kept", 1), ("new", 3)]);
        assert_eq!(items_of(&layer, &id).await, Some(after));
    }

    // S2
    async fn a_request_reads_one_state_however_often_it_reads(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        send(&layer, request_of(&id), async |session| {
            let shop = session.app::<Shop>();
            assert_eq!(shop.get::<i64>("n").await.unwrap(), Some(1));
            send(&layer, request_of(&id), async |other| other.app::<Shop>().set("n", &2)).await;
            assert_eq!(shop.get::<i64>("n").await.unwrap(), Some(1));
        })
        .await;
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 2)])));
    }

    // S3
    async fn writes_from_stale_snapshots_to_different_keys_all_survive(storage) {
        for layers in [[0, 0], [0, 1]] {
            let both = two_layers(&storage).await;
            let [one, two] = layers.map(|n| &both[n]);
            let id = session_with(one, &[("kept", 1), ("removed", 1), ("b", 1)]).await;
            let read = async |session: &SessionManager| session.app::<Shop>().len().await.unwrap();
            send(one, request_of(&id), async |session| {
                assert_eq!(read(&session).await, 3);
                send(two, request_of(&id), async |other| {
                    assert_eq!(read(&other).await, 3);
                    other.app::<Shop>().set("b", &2)?;
                    other.app::<Shop>().delete("removed").await
                })
                .await;
                session.app::<Shop>().set("a", &1)?;
                session.app::<Blog>().set("c", &1)
            })
            .await;
            let after = items(&[("a", 1), ("b", 2), ("kept", 1)]);
            assert_eq!(items_of(one, &id).await, Some(after.clone()));
            assert_eq!(items_of(two, &id).await, Some(after));
        }
    }

    // S3
    async fn on_one_key_the_last_commit_wins(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        send(&layer, request_of(&id), async |session| {
            session.app::<Shop>().set("n", &2)?;
            send(&layer, request_of(&id), async |other| other.app::<Shop>().set("n", &3)).await;
            Ok::<_, SessionError>(())
        })
        .await;
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 2)])));
    }

    // S3
    async fn empty_means_the_items_at_the_commit_of_this_application(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        send(&layer, request_of(&id), async |session| {
            session.app::<Blog>().set("post", &1).unwrap();
        })
        .await;
        send(&layer, request_of(&id), async |session| {
            session.app::<Shop>().empty();
            session.app::<Shop>().set("after", &1)?;
            send(&layer, request_of(&id), async |other| other.app::<Shop>().set("m", &1)).await;
            Ok::<_, SessionError>(())
        })
        .await;
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("after", 1)])));
        let manager = layer.manager();
        manager.load_id(&id).await.unwrap();
        assert_eq!(manager.app::<Blog>().get::<i64>("post").await.unwrap(), Some(1));
    }

    // S3
    async fn many_requests_that_read_before_any_writes_lose_nothing(storage) {
        let layers = two_layers(&storage).await;
        let id = session_with(&layers[0], &[("first", -1)]).await;
        let all_have_read = Arc::new(Barrier::new(VISITORS));
        let requests: Vec<_> = (0..VISITORS)
            .map(|n| {
                let (layer, id) = (layers[n % 2].clone(), id.clone());
                let all_have_read = all_have_read.clone();
                tokio::spawn(async move {
                    let request = request_of(&id);
                    let answer = send(&layer, request, |session: SessionManager| async move {
                        let shop = session.app::<Shop>();
                        assert_eq!(shop.keys().await?, ["first"]);
                        all_have_read.wait().await;
                        shop.set(&format!("key-{n:02}"), &n)
                    });
                    answer.await.status
                })
            })
            .collect();
        for request in requests {
            assert_eq!(request.await.unwrap(), 200);
        }
        let mut expected = vec![("first".to_owned(), -1)];
        expected.extend((0..VISITORS).map(|n| (format!("key-{n:02}"), n as i64)));
        expected.sort();
        assert_eq!(items_of(&layers[1], &id).await, Some(expected));
    }

    // S3, S7
    async fn visitors_never_meet_in_one_session(storage) {
        let layers = two_layers(&storage).await;
        let requests: Vec<_> = (0..VISITORS)
            .map(|n| {
                let layer = layers[n % 2].clone();
                tokio::spawn(async move {
                    let first = send(&layer, request_with(&[]), |session: SessionManager| async move {
                        session.app::<Shop>().set("who", &n)
                    });
                    let id = first.await.new_id().unwrap();
                    assert_eq!(items_of(&layer, &id).await, Some(items(&[("who", n as i64)])));
                    id
                })
            })
            .collect();
        let mut ids = std::collections::BTreeSet::new();
        for request in requests {
            ids.insert(request.await.unwrap());
        }
        assert_eq!(ids.len(), VISITORS);
        assert_eq!(remove_all(&layers[0]).await, VISITORS as u64);
    }

    // S1, S8
    async fn keys_are_any_utf_8_compared_by_bytes_and_values_any_json(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[]).await;
        let longest = "é".repeat(127) + "x";
        let keys = ["\0", " ", " x", "A", "a", "a ", "e\u{301}", "é", "日本", "🦀", &*longest];
        let answer = send(&layer, request_of(&id), async |session| {
            for (n, key) in keys.iter().enumerate() {
                session.app::<Shop>().set(key, &(n, "\0\u{2028}\"'\\", Some(0.1 + 0.2), ()))?;
            }
            for wrong in ["".to_owned(), longest.clone() + "x"] {
                let refused = Err(SessionError::InvalidKey(wrong.len()));
                assert_eq!(session.app::<Shop>().set(&wrong, &1), refused);
                let got = session.app::<Shop>().get::<i64>(&wrong).await;
                assert_eq!(got, Err(SessionError::InvalidKey(wrong.len())));
            }
            Ok::<_, SessionError>(())
        })
        .await;
        assert_eq!(answer.status, 200);
        send(&layer, request_of(&id), async |session| {
            type Value = (usize, String, Option<f64>, ());
            let shop = session.app::<Shop>();
            let mut sorted = keys.to_vec();
            sorted.sort();
            assert_eq!(shop.keys().await.unwrap(), sorted);
            for (n, key) in keys.iter().enumerate() {
                let value = shop.get::<Value>(key).await.unwrap();
                assert_eq!(value, Some((n, "\0\u{2028}\"'\\".to_owned(), Some(0.1 + 0.2), ())));
            }
        })
        .await;
    }
}
