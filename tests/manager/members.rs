//! What `web.session` has as read-only member variables.

use std::time::Duration;

use web_session::{CookieConfig, LoadError, SessionManager};

use crate::rig::{DAY, HOUR, UNKNOWN, cookie, request, rig, rig_with};
use crate::support::memory;

fn assert_no_session(manager: &SessionManager) {
    assert_eq!(manager.session_id(), None);
    assert_eq!(manager.session_ref(), None);
    assert_eq!(manager.expire_time(), None);
    assert!(!manager.created());
}

on_each_driver! {
    // M7
    async fn members_are_none_before_a_session_is_created(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        assert_no_session(&manager);
        assert_eq!(manager.error(), None);
        let id = manager.create().await.unwrap();
        assert_eq!(manager.session_id(), Some(id));
        assert!(manager.session_ref().is_some());
        assert_eq!(manager.expire_time(), Some(rig.now() + DAY));
        assert!(manager.created());
        assert_eq!(manager.error(), None);
    }

    // M7
    async fn members_are_none_before_a_session_is_loaded(storage) {
        let rig = rig(storage).await;
        let id = rig.session_for(HOUR).await;
        let reference = rig.loaded(id).await.session_ref();
        let ends = rig.now() + HOUR;
        rig.visit_with(id, async |session| {
            assert_no_session(&session);
            assert!(session.load().await.unwrap());
            assert_eq!(session.session_id(), Some(id));
            assert_eq!(session.session_ref(), reference);
            assert_eq!(session.expire_time(), Some(ends));
            assert!(!session.created());
            assert_eq!(session.error(), None);
        }).await;
    }

    // M7
    async fn members_are_none_after_a_session_was_not_loaded(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        assert!(!manager.load_id(UNKNOWN).await.unwrap());
        assert_no_session(&manager);
        assert_eq!(manager.error(), Some(LoadError::NotFound));
    }

    // M7
    async fn only_the_request_that_created_the_session_says_so(storage) {
        let rig = rig(storage).await;
        let other = rig.session().await;
        let manager = rig.manager();
        let own = manager.create().await.unwrap();
        assert!(manager.load_id(&own.expose()).await.unwrap());
        assert!(manager.created());
        assert!(manager.load_id(&other.expose()).await.unwrap());
        assert!(!manager.created());

        let manager = rig.manager();
        manager.create().await.unwrap();
        assert!(!manager.load_id(UNKNOWN).await.unwrap());
        assert!(!manager.created());

        let manager = rig.manager();
        manager.create().await.unwrap();
        manager.end().await.unwrap();
        assert!(!manager.created());
    }

    // M7
    async fn a_session_that_the_commit_creates_is_seen_as_created(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        manager.store("shop").unwrap().set("n", &1).unwrap();
        assert_no_session(&manager);
        manager.commit().await.unwrap();
        assert!(manager.created() && manager.session_id().is_some());
    }

    // M7
    async fn clones_are_handles_of_one_request(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        let other = manager.clone();
        let id = other.create().await.unwrap();
        assert_eq!(manager.session_id(), Some(id));
        assert_eq!(manager.response_headers(), other.response_headers());
    }
}

// M7
#[tokio::test]
async fn the_configuration_can_be_read_back() {
    let defaults = rig(memory()).await.manager();
    assert_eq!(defaults.expire(), DAY);
    assert_eq!(defaults.seed().expose(), b"PythonWeb");
    assert_eq!(defaults.cookie(), &CookieConfig::default());

    let own_cookie = CookieConfig::default().with_name("id").with_path("/shop");
    let rig = rig_with(memory(), |builder| {
        builder
            .expire(Duration::from_secs(60))
            .seed("salt")
            .cookie(own_cookie.clone())
            .cleanup_probability(0.25)
    })
    .await;
    request(&rig.sessions, &[], async |session| {
        assert_eq!(session.expire(), Duration::from_secs(60));
        assert_eq!(session.seed().expose(), b"salt");
        assert_eq!(session.cookie(), &own_cookie);
        assert_eq!(session.cleanup_probability(), 0.25);
    })
    .await;
    assert_eq!(rig.driver.calls(), [""; 0]);
}

// M6, M7
#[tokio::test]
async fn the_default_probability_of_a_cleanup_is_a_twentieth() {
    let sessions = web_session::SessionLayer::new(web_session::MemoryDriver::new());
    assert_eq!(sessions.manager().cleanup_probability(), 0.05);
}

// M7, E2
#[tokio::test]
async fn only_expose_shows_the_seed_and_the_id() {
    let rig = rig_with(memory(), |builder| builder.seed("salt of the shop")).await;
    let manager = rig.manager();
    let id = manager.create().await.unwrap();
    let store = manager.store("shop").unwrap();
    store.set("name", &"Ada").unwrap();
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        manager,
        store,
        manager.seed(),
        id,
        id.expose(),
        manager.response_headers(),
        rig.sessions,
        rig.builder().seed("salt of the shop"),
        manager.error(),
    );
    let exposed = id.expose();
    let bytes = format!("{:?}", b"salt of the shop");
    for secret in ["salt", &bytes, exposed.as_str(), &exposed.as_str()[..8], "Ada"] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
    assert_eq!(manager.seed().expose(), b"salt of the shop");
    assert_eq!(cookie(id), format!("sessionID={}", exposed.as_str()));
}
