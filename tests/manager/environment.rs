//! The structures that a driver needs.

use std::sync::atomic::Ordering::SeqCst;

use web_session::driver::{DriverErrorKind, EnvironmentState};
use web_session::{AutoCreate, BuildError, OnMissing, SessionError};

use crate::probe::no_answer;
use crate::rig::{Rig, UNKNOWN, cookie, given_id, request, rig};

pub fn kind(outcome: Result<(), SessionError>) -> Option<DriverErrorKind> {
    match outcome {
        Ok(()) => None,
        Err(SessionError::Driver(error)) => Some(error.kind()),
        Err(other) => panic!("{other}"),
    }
}

pub async fn build(rig: &Rig, auto_create: AutoCreate) -> Result<(), BuildError> {
    rig.driver.calls();
    rig.builder().auto_create(auto_create).build().await.map(drop)
}

on_each_driver! {
    // M8
    async fn a_complete_environment_is_known_as_such(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        assert_eq!(manager.complete_session_environment().await, Ok(true));
        manager.remove_session_environment(OnMissing::Error).await.unwrap();
        assert_eq!(manager.complete_session_environment().await, Ok(false));
    }

    // M8
    async fn an_environment_that_is_only_in_part_there_or_usable_is_not_complete(storage) {
        let rig = rig(storage).await;
        for state in [
            EnvironmentState::Incomplete(vec!["items".to_owned()]),
            EnvironmentState::Defective("a column is missing".to_owned()),
            EnvironmentState::Absent,
        ] {
            *rig.driver.environment.lock() = Some(state);
            assert_eq!(rig.manager().complete_session_environment().await, Ok(false));
        }
    }

    // M8
    async fn a_storage_that_cannot_tell_is_an_error_and_not_an_incomplete_environment(storage) {
        let rig = rig(storage).await;
        rig.driver.silent.store(true, SeqCst);
        let complete = rig.manager().complete_session_environment().await;
        assert_eq!(complete, Err(SessionError::Driver(no_answer())));
    }

    // M9
    async fn an_environment_is_created_once(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let manager = rig.manager();
        let again = kind(manager.create_session_environment().await);
        assert_eq!(again, Some(DriverErrorKind::EnvironmentExists));
        assert_eq!(rig.n(id).await, Some(1));
        manager.remove_session_environment(OnMissing::Error).await.unwrap();
        manager.create_session_environment().await.unwrap();
        assert_eq!(manager.complete_session_environment().await, Ok(true));
        assert!(!rig.loads(id).await);
        let id = rig.session().await;
        assert_eq!(rig.n(id).await, Some(1));
    }

    // M9
    async fn ensuring_an_environment_makes_it_and_loses_nothing(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        manager.remove_session_environment(OnMissing::Error).await.unwrap();
        manager.ensure_session_environment().await.unwrap();
        let id = rig.session().await;
        manager.ensure_session_environment().await.unwrap();
        assert_eq!(rig.n(id).await, Some(1));
    }

    // M9
    async fn an_environment_can_be_ensured_by_several_at_once(storage) {
        let rig = rig(storage).await;
        rig.manager().remove_session_environment(OnMissing::Error).await.unwrap();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let manager = rig.manager();
                tokio::spawn(async move { manager.ensure_session_environment().await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let id = rig.session().await;
        assert_eq!(rig.n(id).await, Some(1));
    }

    // M10
    async fn removing_an_environment_removes_its_sessions(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let manager = rig.manager();
        manager.remove_session_environment(OnMissing::Error).await.unwrap();
        manager.ensure_session_environment().await.unwrap();
        assert_eq!(rig.manager().exists(id).await, Ok(false));
    }

    // M10
    async fn removing_what_is_missing_is_an_error_unless_that_is_ignored(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        manager.remove_session_environment(OnMissing::Error).await.unwrap();
        let again = kind(manager.remove_session_environment(OnMissing::Error).await);
        assert_eq!(again, Some(DriverErrorKind::EnvironmentMissing));
        manager.remove_session_environment(OnMissing::Ignore).await.unwrap();
        assert_eq!(manager.complete_session_environment().await, Ok(false));
    }

    // M8, M11
    async fn without_an_environment_nothing_looks_like_a_missing_session(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        manager.remove_session_environment(OnMissing::Error).await.unwrap();
        let missing = Some(DriverErrorKind::EnvironmentMissing);
        assert_eq!(kind(manager.load_id(UNKNOWN).await.map(drop)), missing);
        assert_eq!(kind(manager.exists(UNKNOWN).await.map(drop)), missing);
        assert_eq!(kind(manager.create().await.map(drop)), missing);
        assert_eq!(kind(manager.cleanup().await.map(drop)), missing);
    }

    // M4
    async fn by_default_building_only_looks_at_the_storage(storage) {
        let rig = rig(storage).await;
        rig.manager().remove_session_environment(OnMissing::Error).await.unwrap();
        rig.driver.calls();
        drop(rig.builder().build().await.unwrap());
        assert_eq!(rig.driver.calls(), ["environment"], "what is missing is no error");
        rig.driver.broken.store(true, SeqCst);
        build(&rig, AutoCreate::Never).await.unwrap();
        assert_eq!(rig.driver.calls(), ["environment"], "nor is a storage that is not there yet");
    }

    // M4
    async fn what_is_missing_is_made_when_the_layer_is_built(storage) {
        let rig = rig(storage).await;
        for auto_create in [AutoCreate::Missing, AutoCreate::Recreate] {
            rig.manager().remove_session_environment(OnMissing::Ignore).await.unwrap();
            build(&rig, auto_create).await.unwrap();
            let id = rig.session().await;
            assert_eq!(rig.n(id).await, Some(1), "{auto_create:?}");
        }
    }

    // M4
    async fn a_complete_environment_is_left_alone(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        for auto_create in [AutoCreate::Missing, AutoCreate::Recreate] {
            build(&rig, auto_create).await.unwrap();
            assert!(!rig.driver.calls().contains(&"remove_environment"));
            assert_eq!(rig.n(id).await, Some(1), "{auto_create:?}");
        }
    }

    // M4
    async fn recreate_begins_anew_when_a_structure_is_missing(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let incomplete = EnvironmentState::Incomplete(vec!["items".to_owned()]);
        *rig.driver.environment.lock() = Some(incomplete);
        build(&rig, AutoCreate::Recreate).await.unwrap();
        assert_eq!(rig.manager().exists(id).await, Ok(false));
        assert_eq!(rig.manager().complete_session_environment().await, Ok(true));
    }

    // M4
    async fn recreate_does_nothing_when_the_storage_did_not_answer(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        rig.driver.silent.store(true, SeqCst);
        let outcome = build(&rig, AutoCreate::Recreate).await;
        assert_eq!(outcome, Err(BuildError::Environment(no_answer())));
        assert_eq!(rig.driver.calls(), ["environment"]);
        assert_eq!(rig.n(id).await, Some(1));
    }

    // M4
    async fn recreate_removes_nothing_of_an_environment_that_is_defective(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let defective = EnvironmentState::Defective("a column is missing".to_owned());
        *rig.driver.environment.lock() = Some(defective);
        // The probe only says so; a driver whose environment is defective refuses here.
        let _ = build(&rig, AutoCreate::Recreate).await;
        assert!(!rig.driver.calls().contains(&"remove_environment"));
        assert_eq!(rig.n(id).await, Some(1));
    }

    // M4
    async fn a_failure_to_make_what_is_missing_is_an_error_of_build(storage) {
        let rig = rig(storage).await;
        rig.driver.broken.store(true, SeqCst);
        for auto_create in [AutoCreate::Missing, AutoCreate::Recreate] {
            let outcome = build(&rig, auto_create).await;
            assert_eq!(outcome, Err(BuildError::Environment(no_answer())), "{auto_create:?}");
        }
    }

    // M4
    async fn no_request_changes_the_environment(storage) {
        let rig = rig(storage).await;
        let sessions = rig
            .builder()
            .auto_create(AutoCreate::Recreate)
            .cleanup_probability(1.0)
            .build()
            .await
            .unwrap();
        let created = request(&sessions, &[], async |session| {
            session.store("shop").unwrap().set("n", &1).unwrap();
        }).await;
        let id = given_id(&created);
        rig.manager().remove_session_environment(OnMissing::Error).await.unwrap();
        rig.driver.calls();
        let response = request(&sessions, &[&cookie(id)], async |session| {
            let shop = session.store("shop").unwrap();
            assert!(session.load().await.is_err());
            assert!(session.create().await.is_err());
            assert!(session.end().await.is_err());
            assert!(shop.update("n", |n: Option<u64>| n.unwrap_or(0) + 1).await.is_err());
            shop.set("n", &2).unwrap();
        }).await;
        assert_eq!(response.status(), 503);
        for call in rig.driver.calls() {
            assert!(!call.contains("environment"), "{call}");
        }
        assert_eq!(rig.manager().complete_session_environment().await, Ok(false));
    }
}
