//! What a store offers, and which types it keeps.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use web_session::SessionError;

use crate::rig::{given_id, rig, set_cookies};
use crate::support::memory;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Cart {
    owner: Option<String>,
    lines: Vec<Line>,
    discounts: BTreeMap<u32, f64>,
    note: (),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Line {
    Gift,
    Book(String, u8),
    Record { title: String, minutes: i16 },
}

fn cart() -> Cart {
    Cart {
        owner: Some("Ada \"Countess\" \\ Lovelace\n\u{0}😀".to_owned()),
        lines: vec![
            Line::Gift,
            Line::Book("Möbius".to_owned(), 255),
            Line::Record { title: String::new(), minutes: -1 },
        ],
        discounts: BTreeMap::from([(0, 0.1), (u32::MAX, f64::MIN_POSITIVE)]),
        note: (),
    }
}

on_each_driver! {
    // S1
    async fn every_finite_float_is_read_back_exactly(storage) {
        let floats = [0.1 + 0.2, 2.034_028_236_692_093_8e26, f64::MAX, f64::EPSILON, 5e-324, -0.0];
        let rig = rig(storage).await;
        let response = rig.visit(async |session| {
            session.store("shop").unwrap().set("floats", &floats).unwrap();
        }).await;
        let again = rig.loaded(given_id(&response)).await.store("shop").unwrap();
        let read: [f64; 6] = again.get("floats").await.unwrap().unwrap();
        assert_eq!(read.map(f64::to_bits), floats.map(f64::to_bits));
    }

    // S1
    async fn any_serde_type_is_read_back_by_another_request(storage) {
        let rig = rig(storage).await;
        let response = rig.visit(async |session| {
            let shop = session.store("shop").unwrap();
            shop.set("cart", &cart()).unwrap();
            shop.set("text", "a str").unwrap();
            shop.set("empty", "").unwrap();
            shop.set("slice", &[1, 2, 3][..]).unwrap();
            shop.set("small", &i64::MIN).unwrap();
            shop.set("large", &u64::MAX).unwrap();
            shop.set("float", &-1.0e300).unwrap();
            shop.set("unit", &()).unwrap();
            shop.set("none", &None::<u8>).unwrap();
            shop.set("tuple", &(true, 'ß', [0_u8; 3])).unwrap();
        }).await;
        let again = rig.loaded(given_id(&response)).await.store("shop").unwrap();
        assert_eq!(again.get("cart").await, Ok(Some(cart())));
        assert_eq!(again.get("text").await, Ok(Some("a str".to_owned())));
        assert_eq!(again.get("empty").await, Ok(Some(String::new())));
        assert_eq!(again.get("slice").await, Ok(Some(vec![1, 2, 3])));
        assert_eq!(again.get("small").await, Ok(Some(i64::MIN)));
        assert_eq!(again.get("large").await, Ok(Some(u64::MAX)));
        assert_eq!(again.get("float").await, Ok(Some(-1.0e300)));
        assert_eq!(again.get("unit").await, Ok(Some(())));
        assert_eq!(again.get("none").await, Ok(Some(None::<u8>)));
        assert_eq!(again.has_key("none").await, Ok(true));
        assert_eq!(again.get("tuple").await, Ok(Some((true, 'ß', [0_u8; 3]))));
        assert_eq!(again.get::<u8>("nothing").await, Ok(None));
    }

    // S1
    async fn values_are_kept_as_json_that_can_be_read(storage) {
        let rig = rig(storage).await;
        rig.visit(async |session| {
            let shop = session.store("shop").unwrap();
            shop.set("name", "Möbius").unwrap();
            shop.set("line", &Line::Book("Euclid".to_owned(), 2)).unwrap();
        }).await;
        let stored: Vec<_> = rig.driver.items();
        assert_eq!(stored, [
            ("line".to_owned(), r#"{"Book":["Euclid",2]}"#.to_owned()),
            ("name".to_owned(), r#""Möbius""#.to_owned()),
        ]);
    }

    // S1, E1
    async fn a_value_of_another_type_is_an_error_that_does_not_quote_it(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        let shop = manager.store("shop").unwrap();
        shop.set("name", "Ada Lovelace").unwrap();
        manager.commit().await.unwrap();
        for shop in [shop, rig.loaded(manager.session_id().unwrap()).await.store("shop").unwrap()] {
            let errors = [
                shop.get::<u64>("name").await.map(drop),
                shop.remove::<u64>("name").await.map(drop),
                shop.items::<u64>().await.map(drop),
                shop.values::<u64>().await.map(drop),
                shop.update("name", |n: Option<u64>| n.unwrap_or(0)).await.map(drop),
            ];
            for error in errors {
                let error = error.unwrap_err();
                assert!(matches!(error, SessionError::Decode(_)), "{error:?}");
                let texts = format!("{error} {error:?}");
                assert!(!texts.contains("Ada") && !texts.contains("name"), "{texts}");
            }
            assert_eq!(shop.get("name").await, Ok(Some("Ada Lovelace".to_owned())));
        }
    }

    // S1
    async fn keys_values_and_items_are_in_the_order_of_the_keys_bytes(storage) {
        let rig = rig(storage).await;
        // U+FFFD stands before U+10000 in UTF-8, and after it in UTF-16.
        let keys = [
            "\u{0}", " ", "10", "9", "Z", "a", "a\u{0}", "a ", "aa", "z", "ä", "\u{fffd}",
            "\u{10000}",
        ];
        let manager = rig.manager();
        let shop = manager.store("shop").unwrap();
        for (n, key) in keys.iter().enumerate().rev() {
            shop.set(key, &n).unwrap();
        }
        let numbers: Vec<usize> = (0..keys.len()).collect();
        let check = async |shop: &web_session::SessionStore| {
            assert_eq!(shop.keys().await.unwrap(), keys);
            assert_eq!(shop.values::<usize>().await.unwrap(), numbers);
            let items = shop.items::<usize>().await.unwrap();
            let items: Vec<_> = items.iter().map(|(key, n)| (key.as_str(), *n)).collect();
            assert_eq!(items, keys.into_iter().zip(0..).collect::<Vec<_>>());
            assert_eq!(shop.len().await, Ok(keys.len()));
        };
        check(&shop).await;
        manager.commit().await.unwrap();
        check(&shop).await;
        check(&rig.loaded(manager.session_id().unwrap()).await.store("shop").unwrap()).await;
    }

    // S1, S8
    async fn keys_are_compared_byte_by_byte(storage) {
        let rig = rig(storage).await;
        // Two spellings of one letter, two cases, with and without a space or a zero at the end.
        let keys = ["\u{e9}", "e\u{301}", "key", "Key", "KEY", "key ", "key\u{0}", "%", "_"];
        let manager = rig.manager();
        let shop = manager.store("shop").unwrap();
        for key in keys {
            shop.set(key, key).unwrap();
        }
        manager.commit().await.unwrap();
        let again = rig.loaded(manager.session_id().unwrap()).await;
        let shop = again.store("shop").unwrap();
        assert_eq!(shop.len().await, Ok(keys.len()));
        for key in keys {
            assert_eq!(shop.remove(key).await, Ok(Some(key.to_owned())));
        }
        assert_eq!(shop.is_empty().await, Ok(true));
    }

    // S1
    async fn deleting_what_is_absent_is_an_error_and_removing_it_is_none(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        for manager in [rig.manager(), rig.loaded(id).await] {
            let shop = manager.store("shop").unwrap();
            assert_eq!(shop.delete("absent").await, Err(SessionError::NoSuchItem));
            assert_eq!(shop.remove::<u64>("absent").await, Ok(None));
            manager.commit().await.unwrap();
        }
        let manager = rig.loaded(id).await;
        let shop = manager.store("shop").unwrap();
        shop.delete("n").await.unwrap();
        assert_eq!(shop.delete("n").await, Err(SessionError::NoSuchItem));
        assert_eq!(rig.n(id).await, Some(1));
        manager.commit().await.unwrap();
        assert_eq!(rig.n(id).await, None);
    }

    // S1, S2
    async fn a_request_sees_its_own_changes_before_others_do(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let manager = rig.loaded(id).await;
        let shop = manager.store("shop").unwrap();
        shop.set("n", &2).unwrap();
        shop.set("m", &3).unwrap();
        assert_eq!(shop.keys().await.unwrap(), ["m", "n"]);
        assert_eq!(shop.get("n").await, Ok(Some(2)));
        assert_eq!(shop.remove("m").await, Ok(Some(3)));
        assert_eq!(shop.has_key("m").await, Ok(false));
        assert_eq!(rig.n(id).await, Some(1));
        shop.empty();
        assert_eq!(shop.is_empty().await, Ok(true));
        assert_eq!(shop.get::<u64>("n").await, Ok(None));
        manager.rollback();
        assert_eq!(shop.get("n").await, Ok(Some(1)));
    }

    // S1, S7
    async fn changes_that_cancel_out_create_nothing(storage) {
        let rig = rig(storage).await;
        let response = rig.visit(async |session| {
            let shop = session.store("shop").unwrap();
            shop.set("n", &1).unwrap();
            shop.delete("n").await.unwrap();
            shop.set("n", &1).unwrap();
            shop.empty();
            assert_eq!(shop.is_empty().await, Ok(true));
        }).await;
        assert_eq!(response.status(), 200);
        assert_eq!(set_cookies(&response), [""; 0]);
        assert_eq!(rig.driver.calls(), [""; 0]);
    }
}

// S1, E1
#[tokio::test]
async fn a_value_that_is_no_json_is_an_error_and_changes_nothing() {
    let rig = rig(memory()).await;
    let manager = rig.manager();
    let shop = manager.store("shop").unwrap();
    shop.set("map", &1).unwrap();
    let map = HashMap::from([(vec![1, 2], "secret")]);
    let error = shop.set("map", &map).unwrap_err();
    assert!(matches!(error, SessionError::Encode(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"));
    assert_eq!(shop.get("map").await, Ok(Some(1)));
}
