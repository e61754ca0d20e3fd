//! `set_expire`.

use std::sync::atomic::Ordering::SeqCst;
use std::time::SystemTime;

use http::StatusCode;
use web_session::{LoadError, SessionError, SessionRef, SessionTarget};

use crate::probe::no_answer;
use crate::rig::{
    DAY, HOUR, MILLISECOND, SECOND, UNKNOWN, attribute, cookie, given_id, removes_cookie, request,
    rig, set_cookie, set_cookies,
};

const CURRENT: SessionTarget = SessionTarget::Current;

on_each_driver! {
    // M17
    async fn the_time_is_exact_to_the_millisecond(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        rig.manager().set_expire(rig.now() + 1_234 * MILLISECOND, id).await.unwrap();
        rig.clock.advance(1_233 * MILLISECOND);
        assert!(rig.loads(id).await);
        rig.clock.advance(MILLISECOND);
        assert!(!rig.loads(id).await);
    }

    // M17
    async fn an_expired_session_becomes_loadable_again_with_its_data(storage) {
        let rig = rig(storage).await;
        for name in 0..3 {
            let id = rig.session().await;
            let target = rig.names(id).await[name];
            rig.clock.advance(2 * DAY);
            assert!(!rig.loads(id).await);
            rig.manager().set_expire(rig.now() + HOUR, target).await.unwrap();
            assert_eq!(rig.n(id).await, Some(1), "{target:?}");
            rig.clock.advance(HOUR);
            assert!(!rig.loads(id).await);
        }
    }

    // M17
    async fn the_expired_session_of_the_cookie_becomes_loadable_again(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        rig.clock.advance(2 * DAY);
        rig.visit_with(id, async |session| {
            session.set_expire(rig.now() + HOUR, CURRENT).await.unwrap();
            assert_eq!(session.load().await, Ok(true));
        }).await;
        assert_eq!(rig.n(id).await, Some(1));
        rig.clock.advance(2 * DAY);
        rig.visit_with(id, async |session| {
            let shop = session.store("shop").unwrap();
            assert_eq!(shop.get::<u64>("n").await, Ok(None));
            session.set_expire(rig.now() + HOUR, CURRENT).await.unwrap();
            assert_eq!(session.error(), None);
            shop.set("n", &2).unwrap();
        }).await;
        assert_eq!(rig.n(id).await, Some(2), "what is written goes to it and not to a new one");
    }

    // M17
    async fn setting_the_current_time_logs_out_and_keeps_what_was_stored(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            session.store("shop").unwrap().set("n", &2).unwrap();
            session.set_expire(rig.now(), CURRENT).await.unwrap();
        }).await;
        assert_eq!(response.status(), 200);
        assert!(removes_cookie(&response));
        let manager = rig.manager();
        assert_eq!(manager.load_id(&id.expose()).await, Ok(false));
        assert_eq!(manager.error(), Some(LoadError::Expired));
        manager.set_expire(rig.now() + HOUR, id).await.unwrap();
        assert_eq!(rig.n(id).await, Some(2));
    }

    // M17, S5
    async fn whoever_has_loaded_it_keeps_reading_and_cannot_write(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            let shop = session.store("shop").unwrap();
            assert_eq!(shop.get("n").await, Ok(Some(1)));
            rig.visit_with(id, async |other| {
                other.set_expire(rig.now(), CURRENT).await.unwrap();
            }).await;
            assert_eq!(shop.get("n").await, Ok(Some(1)));
            shop.set("n", &2).unwrap();
            assert_eq!(session.commit().await, Err(SessionError::Ended));
            assert_eq!(session.load().await, Err(SessionError::UncommittedChanges));
        }).await;
        assert_eq!(response.status(), 409);
        rig.manager().set_expire(rig.now() + HOUR, id).await.unwrap();
        assert_eq!(rig.n(id).await, Some(1));
    }

    // M17
    async fn a_session_that_does_not_exist_is_an_error(storage) {
        let rig = rig(storage).await;
        let gone = rig.session().await;
        let reference: SessionRef = rig.loaded(gone).await.session_ref().unwrap();
        rig.manager().destroy(gone, web_session::OnWarning::Ignore).await.unwrap();
        for target in [
            CURRENT,
            gone.into(),
            UNKNOWN.into(),
            "no id".into(),
            reference.into(),
        ] {
            let outcome = rig.manager().set_expire(rig.now() + HOUR, target).await;
            assert_eq!(outcome, Err(SessionError::NoSuchSession), "{target:?}");
        }
        let unknown = format!("sessionID={UNKNOWN}");
        request(&rig.sessions, &[&unknown], async |session| {
            let outcome = session.set_expire(rig.now() + HOUR, CURRENT).await;
            assert_eq!(outcome, Err(SessionError::NoSuchSession));
        }).await;
        assert_eq!(rig.manager().exists(UNKNOWN).await, Ok(false));
    }

    // M17
    async fn the_current_sessions_waits_for_the_commit(storage) {
        let rig = rig(storage).await;
        for load_first in [true, false] {
            for name in 0..4 {
                let id = rig.session().await;
                let [by_id, by_text, by_ref] = rig.names(id).await;
                let target = [CURRENT, by_id, by_text, by_ref][name];
                let later = rig.now() + 2 * DAY;
                let response = rig.visit_with(id, async |session| {
                    if load_first {
                        assert!(session.load().await.unwrap());
                    }
                    session.set_expire(later, target).await.unwrap();
                    assert_eq!(session.expire_time(), Some(later), "{target:?} {load_first}");
                    let seen = rig.loaded(id).await.expire_time();
                    assert_eq!(seen, Some(rig.now() + DAY), "{target:?} {load_first}");
                }).await;
                assert_eq!(rig.loaded(id).await.expire_time(), Some(later));
                assert_eq!(attribute(set_cookie(&response), "Max-Age"), Some("172800"));
                assert_eq!(given_id(&response), id);
            }
        }
    }

    // M17, L6
    async fn the_current_sessions_is_dropped_by_an_error_response_and_a_rollback(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let before = Some(rig.now() + DAY);
        for status in [500, 503, 200] {
            let response = rig.visit_with(id, async |session| {
                session.set_expire(rig.now(), CURRENT).await.unwrap();
                if status == 200 {
                    session.rollback();
                    assert_eq!(session.expire_time(), before);
                }
                StatusCode::from_u16(status).unwrap()
            }).await;
            assert_eq!(set_cookies(&response), [""; 0], "{status}");
            assert_eq!(rig.loaded(id).await.expire_time(), before, "{status}");
        }
    }

    // M17
    async fn it_is_applied_after_the_items_whatever_the_order_of_the_calls(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            session.set_expire(rig.now(), CURRENT).await.unwrap();
            session.store("shop").unwrap().set("n", &2).unwrap();
        }).await;
        assert_eq!(response.status(), 200);
        rig.manager().set_expire(rig.now() + HOUR, id).await.unwrap();
        assert_eq!(rig.n(id).await, Some(2));
    }

    // M17
    async fn another_sessions_is_set_at_once(storage) {
        let rig = rig(storage).await;
        let own = rig.session().await;
        for load_first in [true, false] {
            for name in 0..3 {
                let id = rig.session().await;
                let target = rig.names(id).await[name];
                let response = rig.visit_with(own, async |session| {
                    if load_first {
                        assert!(session.load().await.unwrap());
                    }
                    session.set_expire(rig.now(), target).await.unwrap();
                    assert!(!rig.loads(id).await, "{target:?} {load_first}");
                    StatusCode::INTERNAL_SERVER_ERROR
                }).await;
                assert_eq!(set_cookies(&response), [""; 0]);
                assert!(!rig.loads(id).await);
            }
        }
        assert_eq!(rig.loaded(own).await.expire_time(), Some(rig.now() + DAY));
    }

    // M17
    async fn only_the_named_session_changes_when_several_are_presented(storage) {
        let rig = rig(storage).await;
        let [live, expired] = [rig.session().await, rig.session_for(SECOND).await];
        rig.clock.advance(SECOND);
        let both = format!("{}; {}", cookie(live), cookie(expired));
        let later = rig.now() + HOUR;
        request(&rig.sessions, &[&both], async |session| {
            assert!(session.load().await.unwrap());
            session.set_expire(later, expired).await.unwrap();
        }).await;
        assert_eq!(rig.loaded(expired).await.expire_time(), Some(later));
        assert_eq!(rig.loaded(live).await.expire_time(), Some(later - HOUR - SECOND + DAY));
    }

    // M17
    async fn the_session_of_the_cookie_is_another_once_one_is_loaded_by_its_id(storage) {
        let rig = rig(storage).await;
        let [own, other] = [rig.session().await, rig.session().await];
        rig.visit_with(own, async |session| {
            assert!(session.load_id(&other.expose()).await.unwrap());
            session.set_expire(rig.now(), own).await.unwrap();
        }).await;
        assert!(!rig.loads(own).await);
        assert!(rig.loads(other).await);
    }

    // M17
    async fn the_last_time_that_is_set_counts(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let later = rig.now() + HOUR;
        let response = rig.visit_with(id, async |session| {
            session.set_expire(rig.now(), CURRENT).await.unwrap();
            session.set_expire(later, CURRENT).await.unwrap();
        }).await;
        assert_eq!(attribute(set_cookie(&response), "Max-Age"), Some("3600"));
        assert_eq!(rig.loaded(id).await.expire_time(), Some(later));
    }

    // M17
    async fn the_beginning_and_the_end_of_time_are_times(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let manager = rig.manager();
        for past in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH - SECOND] {
            manager.set_expire(past, id).await.unwrap();
            assert_eq!(manager.valid(id).await, Ok(false));
        }
        manager.set_expire(rig.now() + 100_000 * DAY, id).await.unwrap();
        assert_eq!(rig.n(id).await, Some(1));
    }

    // M17
    async fn a_storage_failure_is_not_a_missing_session(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        rig.driver.broken.store(true, SeqCst);
        let outcome = rig.manager().set_expire(rig.now(), id).await;
        assert_eq!(outcome, Err(SessionError::Driver(no_answer())));
        let response = rig.visit_with(id, async |session| {
            rig.driver.broken.store(false, SeqCst);
            session.set_expire(rig.now(), CURRENT).await.unwrap();
            rig.driver.broken.store(true, SeqCst);
        }).await;
        assert_eq!(response.status(), 503);
        rig.driver.broken.store(false, SeqCst);
        assert!(rig.loads(id).await);
    }
}
