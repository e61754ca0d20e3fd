//! `destroy` and `end`.

use std::sync::atomic::Ordering::SeqCst;

use http::StatusCode;
use web_session::{OnWarning, SessionError, SessionRef, SessionTarget, SessionWarning};

use crate::probe::no_answer;
use crate::rig::{DAY, UNKNOWN, cookie, removes_cookie, request, rig, set_cookies};

const IGNORE: OnWarning = OnWarning::Ignore;

on_each_driver! {
    // M14
    async fn destroying_warns_and_does_nothing_unless_that_is_ignored(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            for target in [SessionTarget::Current, id.into(), SessionTarget::Malformed] {
                rig.driver.calls();
                let error = session.destroy(target, OnWarning::Stop).await.unwrap_err();
                let warning = SessionWarning::DestroyAffectsAllApplications;
                assert_eq!(error, SessionError::Warning(warning));
                for alternative in ["`SessionStore::empty`", "`end`", "`set_expire`"] {
                    assert!(error.to_string().contains(alternative), "{error}");
                }
                assert_eq!(rig.driver.calls(), [""; 0]);
            }
        }).await;
        assert_eq!(set_cookies(&response), [""; 0]);
        assert_eq!(rig.n(id).await, Some(1));
    }

    // M14
    async fn destroying_the_current_session_removes_the_data_of_all_applications(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            session.store("forum").unwrap().set("n", &2).unwrap();
            session.commit().await.unwrap();
            session.destroy(SessionTarget::Current, IGNORE).await.unwrap();
            assert_eq!(session.session_id(), None);
            assert_eq!(session.expire_time(), None);
            for application in ["shop", "forum"] {
                assert_eq!(session.store(application).unwrap().len().await, Ok(0));
            }
            assert_eq!(rig.manager().exists(id).await, Ok(false));
        }).await;
        assert!(removes_cookie(&response));
    }

    // M14
    async fn destroying_the_current_session_by_a_name_of_it_removes_the_cookie(storage) {
        let rig = rig(storage).await;
        for load_first in [true, false] {
            for name in 0..3 {
                let id = rig.session().await;
                let target = rig.names(id).await[name];
                let response = rig.visit_with(id, async |session| {
                    if load_first {
                        assert!(session.load().await.unwrap());
                    }
                    session.destroy(target, IGNORE).await.unwrap();
                    assert_eq!(session.session_id(), None);
                }).await;
                assert!(removes_cookie(&response), "{target:?} {load_first}");
                assert_eq!(rig.manager().exists(id).await, Ok(false));
            }
        }
    }

    // M14
    async fn destroying_another_session_leaves_the_current_one_and_its_cookie(storage) {
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
                    session.destroy(target, IGNORE).await.unwrap();
                    assert_eq!(session.store("shop").unwrap().get("n").await, Ok(Some(1)));
                }).await;
                assert_eq!(set_cookies(&response), [""; 0], "{target:?} {load_first}");
                assert_eq!(rig.manager().exists(id).await, Ok(false));
            }
        }
        assert_eq!(rig.n(own).await, Some(1));
    }

    // M14
    async fn destroying_the_session_of_the_cookie_leaves_one_that_was_loaded_by_its_id(storage) {
        let rig = rig(storage).await;
        let [own, other] = [rig.session().await, rig.session().await];
        rig.visit_with(own, async |session| {
            assert!(session.load_id(&other.expose()).await.unwrap());
            session.destroy(own, IGNORE).await.unwrap();
        }).await;
        assert_eq!(rig.manager().exists(own).await, Ok(false));
        assert_eq!(rig.n(other).await, Some(1));
    }

    // M14
    async fn destroying_a_session_that_does_not_exist_is_an_error(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let reference: SessionRef = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
        let manager = rig.manager();
        manager.destroy(id, IGNORE).await.unwrap();
        for target in [
            SessionTarget::Current,
            id.into(),
            UNKNOWN.into(),
            "no id".into(),
            reference.into(),
        ] {
            let outcome = manager.destroy(target, IGNORE).await;
            assert_eq!(outcome, Err(SessionError::NoSuchSession), "{target:?}");
        }
    }

    // M14
    async fn an_expired_session_can_be_destroyed(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        rig.clock.advance(DAY);
        let response = rig.visit_with(id, async |session| {
            session.destroy(SessionTarget::Current, IGNORE).await.unwrap();
        }).await;
        assert!(removes_cookie(&response));
        assert_eq!(rig.manager().exists(id).await, Ok(false));
    }

    // M14, L4, L6
    async fn an_error_response_does_not_undo_it_and_removes_the_cookie(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            session.end().await.unwrap();
            StatusCode::INTERNAL_SERVER_ERROR
        }).await;
        assert!(removes_cookie(&response));
        assert_eq!(rig.manager().exists(id).await, Ok(false));
    }

    // M14, L7
    async fn a_storage_failure_keeps_session_and_cookie(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            assert!(session.load().await.unwrap());
            rig.driver.broken.store(true, SeqCst);
            let failure = Err(SessionError::Driver(no_answer()));
            assert_eq!(session.end().await, failure);
            assert_eq!(session.destroy(SessionTarget::Current, IGNORE).await, failure);
            rig.driver.broken.store(false, SeqCst);
            assert_eq!(session.session_id(), Some(id));
        }).await;
        assert_eq!(set_cookies(&response), [""; 0]);
        assert_eq!(rig.n(id).await, Some(1));
    }

    // M14, S5
    async fn a_write_of_another_request_does_not_bring_it_back(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            let shop = session.store("shop").unwrap();
            assert_eq!(shop.get("n").await, Ok(Some(1)));
            rig.visit_with(id, async |other| other.end().await.unwrap()).await;
            assert_eq!(shop.get("n").await, Ok(Some(1)));
            shop.set("n", &2).unwrap();
        }).await;
        assert_eq!(response.status(), 409);
        assert_eq!(set_cookies(&response), [""; 0]);
        assert_eq!(rig.manager().exists(id).await, Ok(false));
    }

    // M14
    async fn ending_drops_uncommitted_changes(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            session.store("shop").unwrap().set("n", &2).unwrap();
            session.end().await.unwrap();
        }).await;
        assert!(removes_cookie(&response));
        assert_eq!(rig.driver.calls().last(), Some(&"destroy"));
    }

    // M14
    async fn what_is_written_after_the_end_goes_to_a_new_session(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            session.end().await.unwrap();
            session.store("shop").unwrap().set("n", &2).unwrap();
        }).await;
        let fresh = crate::rig::given_id(&response);
        assert_ne!(fresh, id);
        assert_eq!(rig.n(fresh).await, Some(2));
        assert_eq!(rig.manager().exists(id).await, Ok(false));
    }

    // M14
    async fn ending_without_session_and_cookie_does_nothing(storage) {
        let rig = rig(storage).await;
        for cookies in [vec![], vec!["other=1"]] {
            let response = request(&rig.sessions, &cookies, async |session| {
                session.end().await.unwrap();
                session.end().await.unwrap();
            }).await;
            assert_eq!(set_cookies(&response), [""; 0]);
        }
        rig.manager().end().await.unwrap();
        assert_eq!(rig.driver.calls(), [""; 0]);
    }

    // M14
    async fn ending_removes_a_cookie_that_names_no_session(storage) {
        let rig = rig(storage).await;
        // What ends nothing is looked up: the cookie of an id that was just replaced is not removed.
        for (text, calls) in [("no id", 0), (UNKNOWN, 2)] {
            rig.driver.calls();
            let cookie = format!("sessionID={text}");
            let response = request(&rig.sessions, &[&cookie], async |session| {
                session.end().await.unwrap();
            }).await;
            assert!(removes_cookie(&response), "{text}");
            assert_eq!(rig.driver.calls().len(), calls, "{text}");
        }
    }

    // M14, L1
    async fn every_presented_session_is_ended(storage) {
        let rig = rig(storage).await;
        for with_destroy in [true, false] {
            let ids = [rig.session().await, rig.session().await, rig.session().await];
            let [one, other, third] = ids.map(cookie);
            let cookies = [format!("{one}; {other}"), third];
            let response = request(&rig.sessions, &[&cookies[0], &cookies[1]], async |session| {
                if with_destroy {
                    session.destroy(SessionTarget::Current, IGNORE).await.unwrap();
                } else {
                    session.end().await.unwrap();
                }
            }).await;
            assert!(removes_cookie(&response));
            for id in ids {
                assert_eq!(rig.manager().exists(id).await, Ok(false), "{with_destroy}");
            }
        }
    }

    // M14
    async fn ending_twice_is_no_error(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        for _ in 0..2 {
            let response = rig.visit_with(id, async |session| session.end().await.unwrap()).await;
            assert!(removes_cookie(&response));
        }
    }
}
