//! How much a store takes, at the boundaries.

use serde_json::{Value, json};
use web_session::{Limits, SessionError, SessionStore};

use crate::rig::{Rig, cookie, request, rig, rig_with};
use crate::support::memory;

/// A text whose JSON has so many bytes.
fn json_of(bytes: usize) -> String {
    "x".repeat(bytes - 2)
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

async fn with_limits(storage: crate::support::Storage, change: impl FnOnce(&mut Limits)) -> Rig {
    rig_with(storage, |builder| builder.limits(limits(change))).await
}

fn too_large<T: std::fmt::Debug>(outcome: Result<T, SessionError>) {
    match outcome {
        Err(SessionError::TooLarge(_)) => {}
        other => panic!("{other:?}"),
    }
}

fn too_deep<T: std::fmt::Debug>(outcome: Result<T, SessionError>) {
    assert!(matches!(outcome, Err(SessionError::Encode(_))), "{outcome:?}");
}

fn nested(levels: usize, wrap: impl Fn(Value) -> Value) -> Value {
    (0..levels).fold(Value::Null, |inner, _| wrap(inner))
}

async fn add_one(store: &SessionStore, key: &str) -> Result<u64, SessionError> {
    store.update(key, |n: Option<u64>| n.unwrap_or(0) + 1).await
}

on_each_driver! {
    // S8
    async fn a_key_has_1_to_255_bytes(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        let shop = manager.store("shop").unwrap();
        let umlauts = format!("{}k", "ä".repeat(127));
        let keys = ["k".to_owned(), "k".repeat(255), umlauts, "😀".repeat(63)];
        for key in &keys {
            shop.set(key, &1).unwrap();
        }
        manager.commit().await.unwrap();
        let again = rig.loaded(manager.session_id().unwrap()).await;
        let shop = again.store("shop").unwrap();
        for key in &keys {
            assert_eq!(shop.get(key).await, Ok(Some(1)), "{key}");
            assert_eq!(add_one(&shop, key).await, Ok(2));
            assert_eq!(shop.remove(key).await, Ok(Some(2)));
        }
    }

    // S8
    async fn every_method_refuses_another_key(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let manager = rig.loaded(id).await;
        let shop = manager.store("shop").unwrap();
        rig.driver.calls();
        for (key, length) in [
            (String::new(), 0),
            ("k".repeat(256), 256),
            ("ä".repeat(128), 256),
            ("😀".repeat(64), 256),
        ] {
            let error = SessionError::InvalidKey(length);
            assert_eq!(shop.set(&key, &1), Err(error.clone()));
            assert_eq!(shop.get::<u8>(&key).await, Err(error.clone()));
            assert_eq!(shop.has_key(&key).await, Err(error.clone()));
            assert_eq!(shop.delete(&key).await, Err(error.clone()));
            assert_eq!(shop.remove::<u8>(&key).await, Err(error.clone()));
            assert_eq!(add_one(&shop, &key).await, Err(error));
        }
        manager.commit().await.unwrap();
        assert_eq!(rig.driver.calls(), [""; 0]);
    }

    // S8
    async fn a_value_has_its_limit_in_bytes_of_json(storage) {
        let rig = with_limits(storage, |limits| limits.value_bytes = 10).await;
        let manager = rig.manager();
        let shop = manager.store("shop").unwrap();
        shop.set("text", &json_of(10)).unwrap();
        too_large(shop.set("text", &json_of(11)));
        shop.set("umlauts", "ääää").unwrap();
        too_large(shop.set("umlauts", "ääääx"));
        too_large(shop.set("escaped", "\n\n\n\nx"));
        too_large(shop.update("text", |_: Option<String>| json_of(11)).await);
        manager.commit().await.unwrap();
        let again = rig.loaded(manager.session_id().unwrap()).await.store("shop").unwrap();
        assert_eq!(again.get("text").await, Ok(Some(json_of(10))));
        assert_eq!(again.keys().await.unwrap(), ["text", "umlauts"]);
        let longest = again.update("text", |_: Option<String>| "y".repeat(8)).await;
        assert_eq!(longest, Ok("yyyyyyyy".to_owned()));
    }

    // S1: what could be stored and never read is refused.
    async fn a_value_is_nested_at_most_127_levels_deep(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        let shop = manager.store("shop").unwrap();
        let arrays = |levels| nested(levels, |inner| json!([inner]));
        let objects = |levels| nested(levels, |inner| json!({ "inner": inner }));
        shop.set("arrays", &arrays(127)).unwrap();
        shop.set("objects", &objects(127)).unwrap();
        too_deep(shop.set("arrays", &arrays(128)));
        too_deep(shop.set("objects", &objects(128)));
        too_deep(shop.update("arrays", |_: Option<Value>| arrays(128)).await);
        // It is the depth that counts, and not how many there are.
        let wide = vec![arrays(1); 200];
        shop.set("wide", &wide).unwrap();
        manager.commit().await.unwrap();
        let again = rig.loaded(manager.session_id().unwrap()).await.store("shop").unwrap();
        assert_eq!(again.get("arrays").await, Ok(Some(arrays(127))));
        assert_eq!(again.get("objects").await, Ok(Some(objects(127))));
        assert_eq!(again.get("wide").await, Ok(Some(wide)));
        assert_eq!(again.values::<Value>().await.unwrap().len(), 3);
    }

    // S8
    async fn an_application_has_its_limit_of_items(storage) {
        let rig = with_limits(storage, |limits| limits.items = 3).await;
        let manager = rig.manager();
        let shop = manager.store("shop").unwrap();
        for key in ["a", "b", "c", "a"] {
            shop.set(key, &1).unwrap();
        }
        too_large(shop.set("d", &1));
        // Another application has its own.
        manager.store("forum").unwrap().set("d", &1).unwrap();
        manager.commit().await.unwrap();
        shop.delete("a").await.unwrap();
        shop.set("d", &1).unwrap();
        manager.commit().await.unwrap();
        too_large(add_one(&shop, "e").await);
        assert_eq!(add_one(&shop, "d").await, Ok(2));
        let again = rig.loaded(manager.session_id().unwrap()).await.store("shop").unwrap();
        assert_eq!(again.keys().await.unwrap(), ["b", "c", "d"]);
    }

    // S8
    async fn an_application_has_its_limit_of_bytes_of_keys_and_json(storage) {
        let rig = with_limits(storage, |limits| limits.application_bytes = 20).await;
        let manager = rig.manager();
        let shop = manager.store("shop").unwrap();
        shop.set("ten", &json_of(7)).unwrap();
        shop.set("ä", &json_of(8)).unwrap();
        too_large(shop.set("ä", &json_of(9)));
        too_large(shop.set("äx", &json_of(8)));
        too_large(shop.set("x", &0));
        manager.commit().await.unwrap();
        too_large(shop.update("ä", |_: Option<String>| json_of(9)).await);
        let exact = shop.update("ä", |_: Option<String>| "yyyyyy".to_owned()).await;
        assert_eq!(exact, Ok("yyyyyy".to_owned()));
        shop.empty();
        shop.set("ten", &json_of(17)).unwrap();
        manager.commit().await.unwrap();
        let again = rig.loaded(manager.session_id().unwrap()).await.store("shop").unwrap();
        assert_eq!(again.items().await, Ok(vec![("ten".to_owned(), json_of(17))]));
    }

    // S8, S6
    async fn a_commit_over_the_limit_stores_nothing(storage) {
        let rig = with_limits(storage, |limits| limits.items = 3).await;
        let manager = rig.manager();
        let shop = manager.store("shop").unwrap();
        for key in ["a", "b", "c"] {
            shop.set(key, &1).unwrap();
        }
        manager.commit().await.unwrap();
        let id = manager.session_id().unwrap();
        // This request has not read what is there, so only the commit can tell.
        let response = rig.visit_with(id, async |session| {
            let shop = session.store("shop").unwrap();
            shop.set("a", &2).unwrap();
            shop.set("d", &2).unwrap();
            session.store("forum").unwrap().set("a", &2).unwrap();
            too_large(session.commit().await);
        }).await;
        assert_eq!(response.status(), 500);
        let again = rig.loaded(id).await;
        assert_eq!(again.store("shop").unwrap().values().await, Ok(vec![1, 1, 1]));
        assert_eq!(again.store("forum").unwrap().is_empty().await, Ok(true));
    }

    // S8
    async fn what_is_larger_is_not_loaded(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        let shop = manager.store("shop").unwrap();
        for key in ["a", "b", "c"] {
            shop.set(key, &json_of(10)).unwrap();
        }
        manager.commit().await.unwrap();
        let id = manager.session_id().unwrap();
        let fits = limits(|limits| {
            (limits.items, limits.value_bytes, limits.application_bytes) = (3, 10, 33);
        });
        let smaller: [fn(&mut Limits); 3] = [
            |limits| limits.items = 2,
            |limits| limits.value_bytes = 9,
            |limits| limits.application_bytes = 32,
        ];
        let read = async |limits: Limits| {
            let sessions = rig.builder().limits(limits).build().await.unwrap();
            let mut outcome = None;
            request(&sessions, &[&cookie(id)], async |session| {
                let shop = session.store("shop").unwrap();
                outcome = Some(shop.len().await);
                // The record itself, and other applications, can be read all the same.
                assert_eq!(session.load().await, Ok(true));
                assert_eq!(session.store("forum").unwrap().len().await, Ok(0));
            }).await;
            outcome.unwrap()
        };
        assert_eq!(read(fits).await, Ok(3));
        for change in smaller {
            let mut limits = fits;
            change(&mut limits);
            too_large(read(limits).await);
        }
    }

    // S8
    async fn removing_is_possible_beyond_the_limit(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        let shop = manager.store("shop").unwrap();
        for key in ["a", "b", "c"] {
            shop.set(key, &1).unwrap();
        }
        manager.commit().await.unwrap();
        let id = manager.session_id().unwrap();
        let limits = limits(|limits| limits.items = 1);
        let sessions = rig.builder().limits(limits).build().await.unwrap();
        let response = request(&sessions, &[&cookie(id)], async |session| {
            session.store("shop").unwrap().empty();
        }).await;
        assert_eq!(response.status(), 200);
        assert_eq!(rig.loaded(id).await.store("shop").unwrap().len().await, Ok(0));
    }
}

// S8
#[tokio::test]
async fn the_default_limits_are_the_documented_ones() {
    let rig = rig(memory()).await;
    let manager = rig.manager();
    let shop = manager.store("shop").unwrap();
    shop.set("v", &json_of(1 << 20)).unwrap();
    too_large(shop.set("v", &json_of((1 << 20) + 1)));

    let many = manager.store("many").unwrap();
    for n in 0..1_024 {
        many.set(&n.to_string(), &n).unwrap();
    }
    too_large(many.set("1024", &1));
    many.set("1023", &0).unwrap();

    // Three values of a mebibyte, and a fourth that leaves room for the four keys of a byte.
    let large = manager.store("large").unwrap();
    for key in ["a", "b", "c"] {
        large.set(key, &json_of(1 << 20)).unwrap();
    }
    too_large(large.set("d", &json_of((1 << 20) - 3)));
    large.set("d", &json_of((1 << 20) - 4)).unwrap();
    manager.commit().await.unwrap();
    let again = rig.loaded(manager.session_id().unwrap()).await;
    assert_eq!(again.store("large").unwrap().len().await, Ok(4));
    assert_eq!(again.store("many").unwrap().len().await, Ok(1_024));
}
