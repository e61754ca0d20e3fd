//! The names of applications.

use web_session::{Application, ApplicationName, InvalidApplication, SessionError};

use crate::rig::rig;
use crate::support::memory;

const ALLOWED: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

struct Shop;

impl Application for Shop {
    const NAME: &'static str = "shop";
}

struct Everything;

impl Application for Everything {
    const NAME: &'static str = ALLOWED;
}

on_each_driver! {
    // M13
    async fn a_name_has_1_to_255_characters(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        for length in [1, 2, 254, 255] {
            let name = "a".repeat(length);
            manager.store(&name).unwrap().set("length", &length).unwrap();
        }
        manager.commit().await.unwrap();
        let again = rig.loaded(manager.session_id().unwrap()).await;
        for length in [1, 2, 254, 255] {
            let store = again.store(&"a".repeat(length)).unwrap();
            assert_eq!(store.get("length").await, Ok(Some(length)));
        }
        for length in [0, 256, 10_000] {
            let error = manager.store(&"a".repeat(length)).unwrap_err();
            assert_eq!(error, SessionError::InvalidApplication(InvalidApplication), "{length}");
        }
    }

    // M13
    async fn each_allowed_character_is_a_name_of_its_own(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        for name in ALLOWED.chars() {
            manager.store(&name.to_string()).unwrap().set("name", &name).unwrap();
        }
        manager.commit().await.unwrap();
        let again = rig.loaded(manager.session_id().unwrap()).await;
        for name in ALLOWED.chars() {
            let store = again.store(&name.to_string()).unwrap();
            assert_eq!(store.items().await, Ok(vec![("name".to_owned(), name)]));
        }
    }

    // M13
    async fn a_name_of_either_time_is_the_same_application(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        manager.app::<Shop>().set("n", &1).unwrap();
        manager.app::<Everything>().set("n", &2).unwrap();
        assert_eq!(manager.store("shop").unwrap().get("n").await, Ok(Some(1)));
        manager.commit().await.unwrap();
        let again = rig.loaded(manager.session_id().unwrap()).await;
        assert_eq!(again.store("shop").unwrap().get("n").await, Ok(Some(1)));
        assert_eq!(again.store(ALLOWED).unwrap().get("n").await, Ok(Some(2)));
        assert_eq!(again.app::<Shop>().get("n").await, Ok(Some(1)));
    }

    // M13
    async fn applications_never_see_each_others_items(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        let [shop, forum] = ["shop", "forum"].map(|name| manager.store(name).unwrap());
        shop.set("n", &1).unwrap();
        forum.set("n", &2).unwrap();
        shop.set("only", &true).unwrap();
        manager.commit().await.unwrap();
        forum.empty();
        manager.commit().await.unwrap();
        let again = rig.loaded(manager.session_id().unwrap()).await;
        assert_eq!(again.store("forum").unwrap().is_empty().await, Ok(true));
        let keys = again.store("shop").unwrap().keys().await.unwrap();
        assert_eq!(keys, ["n", "only"]);
    }
}

// M13
#[tokio::test]
async fn no_other_character_is_allowed_at_any_place() {
    let manager = rig(memory()).await.manager();
    let ascii = (0..128_u8).map(char::from);
    let others = ['ä', 'ß', 'е', 'ａ', '٣', '\u{200b}', '😀', '\u{10ffff}'];
    for character in ascii.chain(others) {
        for name in [
            format!("{character}"),
            format!("{character}shop"),
            format!("sh{character}op"),
            format!("shop{character}"),
        ] {
            let allowed = ALLOWED.contains(character);
            assert_eq!(manager.store(&name).is_ok(), allowed, "{name:?}");
            assert_eq!(ApplicationName::new(name.clone()).is_ok(), allowed, "{name:?}");
        }
    }
}

// M13
#[tokio::test]
async fn a_store_knows_its_name() {
    let manager = rig(memory()).await.manager();
    assert_eq!(manager.store("shop.v-2_0").unwrap().app(), "shop.v-2_0");
    assert_eq!(manager.app::<Everything>().app(), ALLOWED);
}
