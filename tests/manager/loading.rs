//! `load` and the reasons why a session is not loaded.

use std::sync::atomic::Ordering::SeqCst;

use web_session::{LoadError, SessionError, SessionId};

use crate::probe::no_answer;
use crate::rig::{DAY, MILLISECOND, Rig, SECOND, UNKNOWN, cookie, request, rig, set_cookies};

/// What a request with these `Cookie` headers gets from `load`.
async fn load(rig: &Rig, cookies: &[&str]) -> (bool, Option<LoadError>, Option<SessionId>) {
    let mut outcome = None;
    request(&rig.sessions, cookies, async |session| {
        let loaded = session.load().await.unwrap();
        outcome = Some((loaded, session.error(), session.session_id()));
    })
    .await;
    outcome.unwrap()
}

fn not_loaded(reason: LoadError) -> (bool, Option<LoadError>, Option<SessionId>) {
    (false, Some(reason), None)
}

/// Gives the session the id `to`, as a rotation does.
async fn rotate(rig: &Rig, id: SessionId, to: SessionId) {
    let manager = rig.loaded(id).await;
    manager.store("shop").unwrap().set("rotated", &true).unwrap();
    *rig.driver.rotate_to.lock() = Some(to.key());
    manager.commit().await.unwrap();
}

on_each_driver! {
    // M11
    async fn the_session_of_the_cookie_is_loaded(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        assert_eq!(load(&rig, &[&cookie(id)]).await, (true, None, Some(id)));
    }

    // M11
    async fn without_a_cookie_nothing_is_loaded_and_no_driver_is_asked(storage) {
        let rig = rig(storage).await;
        assert_eq!(load(&rig, &[]).await, not_loaded(LoadError::NoCookie));
        assert_eq!(load(&rig, &["other=1"]).await, not_loaded(LoadError::NoCookie));
        assert!(!rig.manager().load().await.unwrap());
        assert_eq!(rig.driver.calls(), [""; 0]);
    }

    // M11
    async fn what_is_no_id_is_malformed_and_never_reaches_a_driver(storage) {
        let rig = rig(storage).await;
        for text in ["", "1", &UNKNOWN[1..], &UNKNOWN.to_uppercase(), "../../etc/passwd"] {
            let cookie = format!("sessionID={text}");
            assert_eq!(load(&rig, &[&cookie]).await, not_loaded(LoadError::Malformed), "{text:?}");
            let manager = rig.manager();
            assert!(!manager.load_id(text).await.unwrap());
            assert_eq!(manager.error(), Some(LoadError::Malformed), "{text:?}");
        }
        assert_eq!(rig.driver.calls(), [""; 0]);
    }

    // M11
    async fn an_id_that_no_session_has_is_not_found(storage) {
        let rig = rig(storage).await;
        rig.session().await;
        let cookie = format!("sessionID={UNKNOWN}");
        assert_eq!(load(&rig, &[&cookie]).await, not_loaded(LoadError::NotFound));
    }

    // M11
    async fn an_expired_session_is_told_from_one_that_does_not_exist(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        rig.clock.advance(DAY - MILLISECOND);
        assert_eq!(load(&rig, &[&cookie(id)]).await, (true, None, Some(id)));
        rig.clock.advance(MILLISECOND);
        assert_eq!(load(&rig, &[&cookie(id)]).await, not_loaded(LoadError::Expired));
    }

    // M11, L1
    async fn of_two_live_sessions_none_is_loaded(storage) {
        let rig = rig(storage).await;
        let [one, other] = [rig.session().await, rig.session_for(SECOND).await];
        let both = format!("{}; {}", cookie(one), cookie(other));
        let split = [cookie(one), cookie(other)];
        for cookies in [vec![both.as_str()], split.iter().map(String::as_str).collect()] {
            assert_eq!(load(&rig, &cookies).await, not_loaded(LoadError::Ambiguous));
        }
        rig.clock.advance(SECOND);
        assert_eq!(load(&rig, &[&both]).await, (true, None, Some(one)));
    }

    // M11, T2
    async fn a_replaced_id_is_known_as_such_for_a_minute(storage) {
        let rig = rig(storage).await;
        let [old, new] = [rig.session().await, UNKNOWN.parse().unwrap()];
        rotate(&rig, old, new).await;
        assert_eq!(rig.n(new).await, Some(1));
        assert_eq!(load(&rig, &[&cookie(new)]).await, (true, None, Some(new)));
        rig.clock.advance(60 * SECOND - MILLISECOND);
        assert_eq!(load(&rig, &[&cookie(old)]).await, not_loaded(LoadError::Rotated));
        rig.clock.advance(MILLISECOND);
        assert_eq!(load(&rig, &[&cookie(old)]).await, not_loaded(LoadError::NotFound));
    }

    // M11, M12, T2
    async fn under_a_replaced_id_nothing_is_stored_and_no_cookie_is_sent(storage) {
        let rig = rig(storage).await;
        let [old, new] = [rig.session().await, UNKNOWN.parse().unwrap()];
        rotate(&rig, old, new).await;
        let unread = rig.visit_with(old, async |session| {
            session.store("shop").unwrap().set("n", &2).unwrap();
        }).await;
        let read = rig.visit_with(old, async |session| {
            let shop = session.store("shop").unwrap();
            assert_eq!(shop.get::<u64>("n").await, Ok(None));
            assert_eq!(session.create().await, Err(SessionError::Rotated));
            shop.set("n", &2).unwrap();
        }).await;
        for response in [unread, read] {
            assert_eq!(response.status(), 409);
            assert_eq!(set_cookies(&response), [""; 0]);
        }
        assert_eq!(rig.n(new).await, Some(1));
    }

    // M11
    async fn a_storage_failure_is_an_error_and_never_a_missing_session(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        rig.driver.broken.store(true, SeqCst);
        rig.visit_with(id, async |session| {
            let failure = Err(SessionError::Driver(no_answer()));
            assert_eq!(session.load().await, failure);
            assert_eq!(session.error(), None);
            assert_eq!(session.load_id(&id.expose()).await, failure);
            rig.driver.broken.store(false, SeqCst);
            assert_eq!(session.load().await, Ok(true));
        }).await;
    }

    // M11
    async fn a_given_id_goes_before_the_cookie(storage) {
        let rig = rig(storage).await;
        let [one, other] = [rig.session().await, rig.session().await];
        let response = rig.visit_with(one, async |session| {
            assert_eq!(session.load_id(&other.expose()).await, Ok(true));
            assert_eq!(session.session_id(), Some(other));
            session.store("shop").unwrap().set("n", &2).unwrap();
        }).await;
        assert_eq!(set_cookies(&response), [""; 0]);
        assert_eq!((rig.n(one).await, rig.n(other).await), (Some(1), Some(2)));
    }

    // M11
    async fn the_reason_is_that_of_the_last_load(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let manager = rig.manager();
        assert_eq!(manager.load_id(UNKNOWN).await, Ok(false));
        assert_eq!(manager.error(), Some(LoadError::NotFound));
        assert_eq!(manager.load_id("no id").await, Ok(false));
        assert_eq!(manager.error(), Some(LoadError::Malformed));
        assert_eq!(manager.load_id(&id.expose()).await, Ok(true));
        assert_eq!(manager.error(), None);
        assert_eq!(manager.load().await, Ok(false));
        assert_eq!(manager.error(), Some(LoadError::NoCookie));
    }

    // M11
    async fn a_load_shows_another_session_afresh(storage) {
        let rig = rig(storage).await;
        let [one, other] = [rig.session().await, rig.session().await];
        let changed = rig.loaded(other).await;
        changed.store("shop").unwrap().set("n", &2).unwrap();
        changed.commit().await.unwrap();
        let manager = rig.loaded(one).await;
        let shop = manager.store("shop").unwrap();
        assert_eq!(shop.get("n").await, Ok(Some(1)));
        assert_eq!(manager.load_id(&other.expose()).await, Ok(true));
        assert_eq!(shop.get("n").await, Ok(Some(2)));
        assert_eq!(manager.load_id(UNKNOWN).await, Ok(false));
        assert_eq!(shop.get::<u64>("n").await, Ok(None));
    }

    // M11
    async fn loading_over_uncommitted_changes_is_an_error(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let refused = Err(SessionError::UncommittedChanges);
        rig.visit_with(id, async |session| {
            let shop = session.store("shop").unwrap();
            assert_eq!(shop.get("n").await, Ok(Some(1)));
            shop.set("n", &2).unwrap();
            assert_eq!(session.load().await, refused);
            assert_eq!(session.load_id(&id.expose()).await, refused);
            session.rollback();
            assert_eq!(session.load().await, Ok(true));
            session.set_expire(rig.now() + SECOND, id).await.unwrap();
            assert_eq!(session.load().await, refused);
            session.commit().await.unwrap();
            assert_eq!(session.load().await, Ok(true));
        }).await;
        assert_eq!(rig.n(id).await, Some(1));
    }

    // M11
    async fn changes_before_the_first_load_belong_to_the_session_of_the_cookie(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        rig.visit_with(id, async |session| {
            session.store("shop").unwrap().set("n", &2).unwrap();
            let elsewhere = session.load_id(UNKNOWN).await;
            assert_eq!(elsewhere, Err(SessionError::UncommittedChanges));
            assert_eq!(session.load().await, Ok(true));
        }).await;
        assert_eq!(rig.n(id).await, Some(2));
    }
}
