//! `create`: a new session, at once.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use http::StatusCode;
use web_session::{RandomError, RandomSource, SessionError};

use crate::probe::no_answer;
use crate::rig::{
    DAY, Fixed, HOUR, MILLISECOND, SECOND, UNKNOWN, attribute, given_id, request, rig, rig_with,
    set_cookie, set_cookies,
};

on_each_driver! {
    // M12
    async fn a_session_is_stored_at_once(storage) {
        let rig = rig(storage).await;
        let response = rig.visit(async |session| {
            let id = session.create().await.unwrap();
            assert!(session.created());
            assert_eq!(session.session_id(), Some(id));
            assert!(rig.loads(id).await);
        }).await;
        assert!(rig.loads(given_id(&response)).await);
    }

    // M12, L4, L6
    async fn an_error_response_neither_undoes_it_nor_loses_its_cookie(storage) {
        let rig = rig(storage).await;
        let response = rig.visit(async |session| {
            session.create().await.unwrap();
            session.store("shop").unwrap().set("n", &1).unwrap();
            StatusCode::INTERNAL_SERVER_ERROR
        }).await;
        assert_eq!(response.status(), 500);
        assert_eq!(rig.n(given_id(&response)).await, None);
    }

    // M12
    async fn each_session_has_its_own_id(storage) {
        let rig = rig(storage).await;
        let [one, other] = [rig.session().await, rig.session().await];
        assert_ne!(one, other);
        assert_ne!(rig.loaded(one).await.session_ref(), rig.loaded(other).await.session_ref());
    }

    // M12
    async fn a_session_may_be_given_a_lifetime_of_its_own(storage) {
        let rig = rig(storage).await;
        let response = rig.visit(async |session| {
            session.create_for(HOUR).await.unwrap();
            assert_eq!(session.expire_time(), Some(rig.now() + HOUR));
            assert_eq!(session.expire(), DAY);
        }).await;
        assert_eq!(attribute(set_cookie(&response), "Max-Age"), Some("3600"));
        let id = given_id(&response);
        rig.clock.advance(HOUR - MILLISECOND);
        assert!(rig.loads(id).await);
        rig.clock.advance(MILLISECOND);
        assert!(!rig.loads(id).await);
    }

    // M12, E3
    async fn the_longest_lifetime_there_is_does_not_overflow(storage) {
        let rig = rig(storage).await;
        let response = rig.visit(async |session| {
            session.create_for(Duration::MAX).await.unwrap();
        }).await;
        assert_eq!(attribute(set_cookie(&response), "Max-Age"), Some("34560000"));
        rig.clock.advance(10_000 * DAY);
        assert!(rig.loads(given_id(&response)).await);
    }

    // M12
    async fn creating_while_a_session_is_loaded_is_an_error(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        rig.visit_with(id, async |session| {
            assert!(session.load().await.unwrap());
            assert_eq!(session.create().await, Err(SessionError::AlreadyLoaded));
            assert_eq!(session.create_for(SECOND).await, Err(SessionError::AlreadyLoaded));
            assert_eq!(session.session_id(), Some(id));
        }).await;
        rig.visit(async |session| {
            session.create().await.unwrap();
            assert_eq!(session.create().await, Err(SessionError::AlreadyLoaded));
            session.end().await.unwrap();
            session.create().await.unwrap();
        }).await;
    }

    // M12, S7
    async fn an_id_that_was_not_given_out_is_never_adopted(storage) {
        let rig = rig(storage).await;
        let cookie = format!("sessionID={UNKNOWN}");
        let response = request(&rig.sessions, &[&cookie], async |session| {
            assert!(!session.load().await.unwrap());
            session.create().await.unwrap();
        }).await;
        assert_ne!(given_id(&response), UNKNOWN.parse().unwrap());
        assert!(!rig.manager().exists(UNKNOWN).await.unwrap());
    }

    // M12
    async fn changes_that_waited_for_a_session_go_to_it(storage) {
        let rig = rig(storage).await;
        let response = rig.visit(async |session| {
            session.store("shop").unwrap().set("n", &1).unwrap();
            session.create().await.unwrap();
        }).await;
        assert_eq!(rig.n(given_id(&response)).await, Some(1));
    }

    // M12
    async fn a_taken_id_is_drawn_again_up_to_a_hundred_times(storage) {
        let rig = rig(storage).await;
        for taken in [1, 99] {
            rig.driver.collisions.store(taken, SeqCst);
            rig.driver.calls();
            let id = rig.manager().create().await.unwrap();
            assert_eq!(rig.driver.calls().len(), taken + 1);
            assert!(rig.loads(id).await);
        }
    }

    // M12
    async fn the_hundredth_taken_id_is_an_error(storage) {
        let rig = rig(storage).await;
        rig.driver.collisions.store(usize::MAX, SeqCst);
        let response = rig.visit(async |session| {
            assert_eq!(session.create().await, Err(SessionError::NoFreeId));
            assert_eq!(session.session_id(), None);
            assert!(!session.created());
        }).await;
        assert_eq!(rig.driver.calls(), ["create"; 100]);
        assert_eq!(set_cookies(&response), [""; 0]);
    }

    // M12, L7
    async fn the_commit_draws_again_too(storage) {
        let rig = rig(storage).await;
        for (taken, status) in [(1, 200), (99, 200), (100, 500)] {
            rig.driver.collisions.store(taken, SeqCst);
            let response = rig.visit(async |session| {
                session.store("shop").unwrap().set("n", &1).unwrap();
            }).await;
            assert_eq!(response.status(), status, "{taken}");
            assert_eq!(rig.driver.collisions.load(SeqCst), 0);
            if status == 200 {
                assert_eq!(rig.n(given_id(&response)).await, Some(1));
            } else {
                assert_eq!(set_cookies(&response), [""; 0]);
            }
        }
    }

    // M12
    async fn an_update_draws_again_too(storage) {
        let rig = rig(storage).await;
        rig.driver.collisions.store(99, SeqCst);
        let manager = rig.manager();
        let shop = manager.store("shop").unwrap();
        assert_eq!(shop.update("n", |n: Option<u64>| n.unwrap_or(0) + 1).await, Ok(1));
        assert_eq!(rig.n(manager.session_id().unwrap()).await, Some(1));
    }

    // M12
    async fn a_generator_that_repeats_itself_never_takes_a_session_over(storage) {
        let rig = rig_with(storage, |builder| builder.random(Fixed(7))).await;
        let id = rig.session().await;
        assert_eq!(rig.manager().create().await, Err(SessionError::NoFreeId));
        let response = rig.visit(async |session| {
            session.store("shop").unwrap().set("n", &2).unwrap();
        }).await;
        assert_eq!(response.status(), 500);
        assert_eq!(rig.n(id).await, Some(1));
    }

    // M12
    async fn a_generator_that_moves_on_after_99_repetitions_is_waited_for(storage) {
        let rig = rig_with(storage, |builder| builder.random(Repeating::default())).await;
        let id = rig.session().await;
        let other = rig.manager().create().await.unwrap();
        assert_ne!(id, other);
        assert_eq!(rig.n(id).await, Some(1));
        assert_eq!(rig.n(other).await, None);
    }

    // M12
    async fn a_storage_failure_creates_nothing_and_queues_no_cookie(storage) {
        let rig = rig(storage).await;
        rig.driver.broken.store(true, SeqCst);
        let response = rig.visit(async |session| {
            assert_eq!(session.create().await, Err(SessionError::Driver(no_answer())));
            assert_eq!(session.session_id(), None);
            assert!(!session.created());
        }).await;
        assert_eq!(set_cookies(&response), [""; 0]);
    }

    // M12, L6
    async fn after_the_response_no_session_can_be_created(storage) {
        let rig = rig(storage).await;
        let mut kept = None;
        rig.visit(async |session| kept = Some(session)).await;
        let session = kept.unwrap();
        assert_eq!(session.create().await, Err(SessionError::ResponseStarted));
        assert_eq!(rig.driver.calls(), [""; 0]);
    }

    // M12
    async fn a_session_that_would_be_over_when_it_begins_is_not_created(storage) {
        let rig = rig(storage).await;
        let response = rig.visit(async |session| {
            for expire in [Duration::ZERO, Duration::from_micros(999)] {
                let created = session.create_for(expire).await;
                assert_eq!(created, Err(SessionError::ExpireTooShort), "{expire:?}");
            }
        }).await;
        assert_eq!(set_cookies(&response), [""; 0]);
    }
}

/// Gives the same bytes for the first hundred ids, then others.
#[derive(Debug, Default)]
struct Repeating(AtomicU32);

impl RandomSource for Repeating {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        // Two draws an id: the id's own, and that of its reference.
        let id = self.0.fetch_add(1, SeqCst) / 2;
        bytes.fill(u8::from(id >= 100));
        Ok(())
    }
}
