//! `valid` and `exists`.

use std::sync::atomic::Ordering::SeqCst;

use web_session::{OnWarning, SessionError, SessionTarget};

use crate::probe::no_answer;
use crate::rig::{DAY, HOUR, MILLISECOND, UNKNOWN, rig};

const CURRENT: SessionTarget = SessionTarget::Current;

on_each_driver! {
    // M18, M19
    async fn a_session_is_valid_until_its_end_and_exists_beyond(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let targets = rig.names(id).await;
        for (advance, valid) in [(DAY - MILLISECOND, true), (MILLISECOND, false), (DAY, false)] {
            rig.clock.advance(advance);
            for target in targets {
                assert_eq!(rig.manager().valid(target).await, Ok(valid), "{target:?}");
                assert_eq!(rig.manager().exists(target).await, Ok(true), "{target:?}");
            }
            rig.visit_with(id, async |session| {
                assert_eq!(session.valid(CURRENT).await, Ok(valid));
                assert_eq!(session.exists(CURRENT).await, Ok(true));
            }).await;
        }
    }

    // M18, M19
    async fn a_session_that_does_not_exist_is_neither_valid_nor_expired(storage) {
        let rig = rig(storage).await;
        let gone = rig.session().await;
        let reference = rig.loaded(gone).await.session_ref().unwrap();
        let manager = rig.manager();
        manager.destroy(gone, OnWarning::Ignore).await.unwrap();
        for target in [
            CURRENT,
            gone.into(),
            UNKNOWN.into(),
            "no id".into(),
            reference.into(),
        ] {
            let valid = manager.valid(target).await;
            assert_eq!(valid, Err(SessionError::NoSuchSession), "{target:?}");
            assert_eq!(manager.exists(target).await, Ok(false), "{target:?}");
        }
    }

    // M18, M19
    async fn what_is_no_id_never_reaches_the_driver(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        for target in [CURRENT, "no id".into(), (&UNKNOWN[1..]).into()] {
            assert_eq!(manager.exists(target).await, Ok(false));
            assert_eq!(manager.valid(target).await, Err(SessionError::NoSuchSession));
        }
        assert_eq!(rig.driver.calls(), [""; 0]);
    }

    // M18
    async fn valid_shows_an_uncommitted_set_expire_of_the_session(storage) {
        let rig = rig(storage).await;
        let [id, other] = [rig.session().await, rig.session().await];
        rig.visit_with(id, async |session| {
            session.set_expire(rig.now(), CURRENT).await.unwrap();
            assert_eq!(session.valid(CURRENT).await, Ok(false));
            assert_eq!(session.valid(id).await, Ok(false));
            assert_eq!(session.valid(other).await, Ok(true));
            assert_eq!(rig.manager().valid(id).await, Ok(true));
            session.set_expire(rig.now() + HOUR, CURRENT).await.unwrap();
            assert_eq!(session.valid(CURRENT).await, Ok(true));
        }).await;
    }

    // M18, M19
    async fn the_session_that_was_just_created_is_the_current_one(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        manager.create().await.unwrap();
        assert_eq!(manager.valid(CURRENT).await, Ok(true));
        assert_eq!(manager.exists(CURRENT).await, Ok(true));
    }

    // M18, M19
    async fn another_request_may_have_ended_the_current_session(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let manager = rig.loaded(id).await;
        rig.manager().destroy(id, OnWarning::Ignore).await.unwrap();
        assert_eq!(manager.valid(CURRENT).await, Err(SessionError::NoSuchSession));
        assert_eq!(manager.exists(CURRENT).await, Ok(false));
    }

    // M18, M19
    async fn a_storage_failure_is_an_error_and_not_an_answer(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        rig.driver.broken.store(true, SeqCst);
        let failure = Err(SessionError::Driver(no_answer()));
        rig.visit_with(id, async |session| {
            for target in [CURRENT, id.into()] {
                assert_eq!(session.valid(target).await, failure);
                assert_eq!(session.exists(target).await, failure);
            }
        }).await;
    }

    // M18, M19
    async fn neither_loads_nor_changes_a_session(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let manager = rig.manager();
        rig.driver.calls();
        assert_eq!(manager.valid(id).await, Ok(true));
        assert_eq!(manager.exists(id).await, Ok(true));
        assert_eq!(rig.driver.calls(), ["inspect", "inspect"]);
        assert_eq!(manager.session_id(), None);
    }
}
