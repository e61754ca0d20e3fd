//! Fresh ids (T2): the old one is dead at once, nothing is lost, and nobody is left with the wrong cookie.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use tokio::sync::Barrier;
use tower::{Layer, ServiceExt, service_fn};
use web_session::driver::{Inspect, Locator};
use web_session::{
    Driver, LoadError, OnWarning, RandomError, RandomSource, SessionError, SessionEvent, SessionId,
    SessionLayer, SessionManager, SessionTarget,
};

use crate::rig::{n, read, reference, session};
use crate::visitor::{
    Answer, Shop, give_up_after, items, items_of, request_of, send, session_with,
};
use crate::wrappers::{Call, Failing, Suspending};

async fn rotate(layer: &SessionLayer, id: &str) -> Answer {
    send(layer, request_of(id), async |session| session.rotate().await).await
}

/// A visitor's session after a rotation: the old and the new id.
async fn rotated(layer: &SessionLayer) -> (String, String) {
    let old = session(layer).await;
    let new = rotate(layer, &old).await.new_id().unwrap();
    (old, new)
}

/// Which of two ids opens a session: exactly one has to.
async fn the_valid_one<'a>(layer: &SessionLayer, old: &'a str, new: Option<&'a str>) -> &'a str {
    let mut valid = Vec::new();
    for id in [Some(old), new].into_iter().flatten() {
        if layer.manager().load_id(id).await.unwrap() {
            valid.push(id);
        }
    }
    assert_eq!(valid.len(), 1, "exactly one id is valid");
    valid[0]
}

on_every_storage! {
    // A5 7.2.4, 6b 8.4
    async fn after_a_rotation_the_old_id_is_dead_at_once_and_the_data_is_kept(rig: Rig) {
        let layer = rig.layer().await;
        let old = session_with(&layer, &[("n", 1), ("m", 2)]).await;
        let before = reference(&layer, &old).await;
        rig.driver.take();
        let answer = rotate(&layer, &old).await;
        assert_eq!(rig.driver.take(), [(Call::Load, 1), (Call::Commit, 1)]);
        assert_eq!(answer.status, 200);
        let new = answer.new_id().unwrap();
        assert!(!layer.manager().load_id(&old).await.unwrap());
        assert!(!layer.manager().exists(old.as_str()).await.unwrap());
        assert_eq!(items_of(&layer, &new).await, Some(items(&[("m", 2), ("n", 1)])));
        assert_eq!(reference(&layer, &new).await, before, "a reference is for a whole life");
        assert_eq!(crate::visitor::remove_all(&layer).await, 1, "there is one session");
    }

    // A5 7.2.4
    async fn a_rotated_id_shares_nothing_with_the_old_one(rig: Rig) {
        let layer = rig.layer().await;
        let mut seen = vec![session(&layer).await];
        for _ in 0..20 {
            let new = rotate(&layer, seen.last().unwrap()).await.new_id().unwrap();
            let equal = |old: &String| old.bytes().zip(new.bytes()).filter(|(a, b)| a == b).count();
            // Of 32 digits that were drawn anew two agree on average.
            assert!(seen.iter().all(|old| equal(old) < 14), "{new} {seen:?}");
            seen.push(new);
        }
    }

    // SM renew
    async fn changes_of_the_same_request_are_in_the_rotated_session(rig: Rig) {
        let layer = rig.layer().await;
        let old = session(&layer).await;
        let answer = send(&layer, request_of(&old), async |session| {
            session.app::<Shop>().set("m", &5).unwrap();
            session.rotate().await.unwrap();
            session.app::<Shop>().delete("n").await
        });
        let new = answer.await.new_id().unwrap();
        assert_eq!(items_of(&layer, &new).await, Some(items(&[("m", 5)])));
    }

    // SM renew
    async fn requests_in_flight_under_the_old_id_still_commit_to_the_session(rig: Rig) {
        let layer = rig.layer().await;
        let old = session(&layer).await;
        let (loaded, done) = (Arc::new(Barrier::new(11)), Arc::new(Barrier::new(11)));
        let slow = |at: i64| {
            let (layer, old, loaded, done) = (layer.clone(), old.clone(), loaded.clone(), done.clone());
            tokio::spawn(async move {
                send(&layer, request_of(&old), async move |session| {
                    assert!(session.load().await.unwrap());
                    loaded.wait().await;
                    done.wait().await;
                    session.app::<Shop>().set(&format!("slow-{at}"), &at)
                })
                .await
            })
        };
        let requests: Vec<_> = (0..10).map(slow).collect();
        loaded.wait().await;
        let new = rotate(&layer, &old).await.new_id().unwrap();
        done.wait().await;
        for request in requests {
            let answer = request.await.unwrap();
            assert_eq!(answer.status, 200);
            assert!(answer.session_cookies().is_empty(), "the new cookie is not overwritten");
        }
        let items = items_of(&layer, &new).await.unwrap();
        assert_eq!(items.len(), 11, "{items:?}");
        assert_eq!(crate::visitor::remove_all(&layer).await, 1, "no second session");
    }

    // SM renew
    async fn what_a_request_under_the_old_id_sets_does_not_send_its_cookie(rig: Rig) {
        let layer = rig.layer().await;
        let old = session(&layer).await;
        let late = rig.clock.clone();
        let slow = send(&layer, request_of(&old), async |session| {
            session.load().await.unwrap();
            rotate(&layer, &old).await;
            let end = web_session::Clock::now(&late) + Duration::from_secs(600);
            session.set_expire(end, SessionTarget::Current).await.unwrap();
            session.commit().await.unwrap();
            assert_eq!(session.set_cookie(), Err(SessionError::Rotated));
            assert_eq!(session.rotate().await, Err(SessionError::Rotated));
        });
        let slow = slow.await;
        assert_eq!((slow.status, slow.session_cookies()), (StatusCode::OK, vec![]));
    }

    // SM renew
    async fn a_request_with_the_old_id_just_after_sees_nothing_and_writes_nothing(rig: Rig) {
        let layer = rig.layer().await;
        let (old, new) = rotated(&layer).await;
        let refused = [
            send(&layer, request_of(&old), async |session| {
                assert_eq!(read(session.clone()).await, "None");
                assert_eq!(session.error(), Some(LoadError::Rotated));
                session.app::<Shop>().set("n", &2)
            })
            .await,
            send(&layer, request_of(&old), async |session| session.app::<Shop>().set("n", &2)).await,
            send(&layer, request_of(&old), async |session| {
                session.app::<Shop>().update("n", |n: Option<i64>| n.unwrap_or(0) + 1).await
                    .map(|_| ())
            })
            .await,
            send(&layer, request_of(&old), async |session| {
                session.load().await.unwrap();
                session.create().await.map(|_| ())
            })
            .await,
            send(&layer, request_of(&old), async |session| session.login("ada").await).await,
            send(&layer, request_of(&old), async |session| session.end_all().await.map(|_| ())).await,
            send(&layer, request_of(&old), async |session| session.rotate().await).await,
            send(&layer, request_of(&old), async |session| session.end().await).await,
        ];
        for (at, answer) in refused.iter().enumerate() {
            assert_eq!(answer.status, 409, "{at}");
            assert!(answer.session_cookies().is_empty(), "{at}: the new cookie is not overwritten");
        }
        assert_eq!(n(&layer, &new).await, Some(1));
        assert_eq!(crate::visitor::remove_all(&layer).await, 1, "no second session");
    }

    // T2
    async fn an_id_is_known_as_retired_for_a_minute(rig: Rig) {
        let layer = rig.layer().await;
        let (old, new) = rotated(&layer).await;
        let write = async |session: SessionManager| session.app::<Shop>().set("n", &2);
        rig.clock.advance(Duration::from_millis(59_999));
        assert_eq!(send(&layer, request_of(&old), write).await.status, 409);
        rig.clock.advance(Duration::from_millis(1));
        let fresh = send(&layer, request_of(&old), write).await;
        assert_eq!(fresh.status, 200);
        assert!(![&old, &new].contains(&&fresh.new_id().unwrap()));
        assert_eq!(n(&layer, &new).await, Some(1));
    }

    // T2
    async fn within_the_grace_an_old_id_still_works_and_sends_no_cookie(rig: Rig) {
        let grace = Duration::from_secs(10);
        let layer = rig.builder().rotation_grace(grace).build().await.unwrap();
        let (old, new) = rotated(&layer).await;
        rig.clock.advance(grace - Duration::from_millis(1));
        for (at, answer) in [
            send(&layer, request_of(&old), async |session| {
                assert_eq!(read(session.clone()).await, "Some(1)");
                session.app::<Shop>().set("m", &2)
            })
            .await,
            send(&layer, request_of(&old), async |session| session.app::<Shop>().set("n", &3)).await,
        ]
        .iter()
        .enumerate()
        {
            assert_eq!(answer.status, 200, "{at}");
            assert!(answer.session_cookies().is_empty(), "{at}");
        }
        assert_eq!(items_of(&layer, &new).await, Some(items(&[("m", 2), ("n", 3)])));
        let both = format!("sessionID={old}; sessionID={new}");
        let both = send(&layer, crate::visitor::request_with(&[&both]), read).await;
        assert_eq!(both.body, "Some(3)", "they are one session");
        rig.clock.advance(Duration::from_millis(1));
        assert_eq!(send(&layer, request_of(&old), read).await.body, "None");
        let write = send(&layer, request_of(&old), async |session| session.app::<Shop>().set("n", &4));
        assert_eq!(write.await.status, 409);
    }

    // SM renew
    async fn a_rotation_and_then_a_5xx_or_a_panic_loses_nothing(rig: Rig) {
        let layer = rig.layer().await;
        let old = session(&layer).await;
        let failed = send(&layer, request_of(&old), async |session| {
            session.app::<Shop>().set("n", &2).unwrap();
            session.rotate().await.unwrap();
            StatusCode::BAD_GATEWAY
        });
        let failed = failed.await;
        assert_eq!((failed.status.as_u16(), failed.session_cookies()), (502, vec![]));
        let panicking = send(&layer, request_of(&old), async |session| -> StatusCode {
            session.rotate().await.unwrap();
            panic!("a handler's mistake")
        });
        let caught = futures_util::FutureExt::catch_unwind(AssertUnwindSafe(panicking)).await;
        assert!(caught.is_err());
        assert_eq!(n(&layer, &old).await, Some(1));
        assert_eq!(crate::visitor::remove_all(&layer).await, 1);
    }

    // SM renew
    async fn a_rotation_that_the_storage_refuses_leaves_the_old_id_valid(rig: Rig) {
        let failing = Failing::new(rig.driver.clone());
        let layer = rig.builder_on(failing.clone()).build().await.unwrap();
        let old = session(&layer).await;
        failing.fail([Call::Commit]);
        let failed = rotate(&layer, &old).await;
        assert_eq!((failed.status.as_u16(), failed.session_cookies()), (503, vec![]));
        failing.mend();
        assert_eq!(n(&layer, &old).await, Some(1));
        let new = rotate(&layer, &old).await.new_id().unwrap();
        assert_eq!(n(&layer, &new).await, Some(1));
    }

    // SM renew, D6
    async fn a_request_that_is_cancelled_leaves_exactly_one_id_valid(rig: Rig) {
        let layer = rig.builder_on(Suspending::new(rig.driver.clone())).build().await.unwrap();
        let plain = rig.layer().await;
        for polls in 0..14 {
            let old = session(&plain).await;
            let service = layer.layer(service_fn(async |request: Request<Body>| {
                let session = request.extensions().get::<SessionManager>().unwrap().clone();
                session.app::<Shop>().set("n", &2).unwrap();
                session.rotate().await.unwrap();
                Ok::<_, Infallible>(http::Response::new(Body::empty()))
            }));
            let before = reference(&plain, &old).await;
            let answer = give_up_after(polls, service.oneshot(request_of(&old))).await;
            crate::visitor::settled(&plain).await;
            let inspect = Inspect::new(Locator::Ref(before));
            let record = rig.driver.inspect(inspect).await.unwrap().expect("the session is there");
            let old_key = old.parse::<SessionId>().unwrap().key();
            let cookie = match answer {
                Some(Ok(response)) => crate::visitor::answer(response).await.new_id(),
                _ => None,
            };
            match cookie {
                Some(new) => assert_eq!(the_valid_one(&plain, &old, Some(&new)).await, new),
                None if record.key == old_key => assert_eq!(n(&plain, &old).await, Some(1)),
                None => {
                    assert_eq!(record.previous_key, Some(old_key));
                    assert!(!plain.manager().load_id(&old).await.unwrap());
                }
            }
        }
    }

    // T2, D6
    async fn a_rotation_that_was_given_up_and_tried_again_is_one_rotation(rig: Rig) {
        let layer = rig.builder_on(Suspending::new(rig.driver.clone())).build().await.unwrap();
        let plain = rig.layer().await;
        for polls in 0..8 {
            let old = session(&plain).await;
            rig.events();
            let answer = send(&layer, request_of(&old), async |session| {
                session.load().await.unwrap();
                session.app::<Shop>().set("n", &2).unwrap();
                session.rotate().await.unwrap();
                let _ = give_up_after(polls, session.commit()).await;
                crate::visitor::settled(&plain).await;
                session.app::<Shop>().set("m", &3)
            });
            let answer = answer.await;
            assert_eq!(answer.status, 200, "{polls}");
            let new = answer.new_id().expect("the visitor gets the new cookie");
            assert_eq!(the_valid_one(&plain, &old, Some(&new)).await, new);
            assert_eq!(items_of(&plain, &new).await, Some(items(&[("m", 3), ("n", 2)])));
            let rotated = |event: &SessionEvent| matches!(event, SessionEvent::Rotated { .. });
            assert_eq!(rig.events().into_iter().filter(rotated).count(), 1, "{polls}");
        }
    }

    // T2, D6
    async fn a_rotation_that_was_given_up_and_rolled_back_leaves_a_cookie_that_works(rig: Rig) {
        let layer = rig.builder_on(Suspending::new(rig.driver.clone())).build().await.unwrap();
        let plain = rig.layer().await;
        for polls in 0..8 {
            let old = session(&plain).await;
            let answer = send(&layer, request_of(&old), async |session| {
                session.load().await.unwrap();
                session.app::<Shop>().set("n", &2).unwrap();
                session.rotate().await.unwrap();
                let _ = give_up_after(polls, session.commit()).await;
                crate::visitor::settled(&plain).await;
                session.rollback();
            });
            let answer = answer.await;
            assert_eq!(answer.status, 200, "{polls}");
            let cookie = answer.new_id().unwrap_or_else(|| old.clone());
            assert!(n(&plain, &cookie).await.is_some(), "{polls}");
        }
    }

    // A5 7.4.1
    async fn a_logout_within_the_grace_ends_the_session(rig: Rig) {
        let grace = Duration::from_secs(10);
        let layer = rig.builder().rotation_grace(grace).build().await.unwrap();
        for way in 0..4 {
            let (old, new) = rotated(&layer).await;
            let ending = send(&layer, request_of(&old), async |session| match way {
                0 => session.end().await,
                1 => session.destroy(SessionTarget::Current, OnWarning::Ignore).await,
                2 => session.destroy(old.as_str(), OnWarning::Ignore).await,
                _ => {
                    session.load().await?;
                    session.end().await
                }
            });
            let ending = ending.await;
            assert_eq!((ending.status, ending.removes_cookie()), (StatusCode::OK, true), "{way}");
            assert!(!layer.manager().exists(new.as_str()).await.unwrap(), "{way}");
        }
    }

    // A5 7.4.1
    async fn a_session_that_another_request_rotates_is_destroyed_by_the_id_it_was_loaded_with(rig: Rig) {
        let layer = rig.layer().await;
        let old = session(&layer).await;
        let ending = send(&layer, request_of(&old), async |session| {
            session.load().await.unwrap();
            rotate(&layer, &old).await;
            session.destroy(session.session_id().unwrap(), OnWarning::Ignore).await
        });
        assert_eq!(ending.await.status, 200);
        assert_eq!(crate::visitor::remove_all(&layer).await, 0);
        let (old, new) = rotated(&layer).await;
        let late = send(&layer, request_of(&old), async |session| {
            session.destroy(old.as_str(), OnWarning::Ignore).await
        });
        let late = late.await;
        assert_eq!((late.status.as_u16(), late.session_cookies()), (409, vec![]));
        assert_eq!(n(&layer, &new).await, Some(1));
    }

    // M11
    async fn a_session_that_a_request_has_rotated_can_be_loaded_again(rig: Rig) {
        let layer = rig.layer().await;
        let old = session(&layer).await;
        let answer = send(&layer, request_of(&old), async |session| {
            session.login("ada").await.unwrap();
            session.commit().await.unwrap();
            assert!(session.load().await.unwrap());
            assert_eq!(session.principal().await.unwrap().as_deref(), Some("ada"));
            session.app::<Shop>().set("n", &2)
        });
        let answer = answer.await;
        assert_eq!(answer.status, 200);
        assert_eq!(n(&layer, &answer.new_id().unwrap()).await, Some(2));
    }

    // M21
    async fn a_session_that_is_handed_over_and_rotated_comes_with_its_new_cookie(rig: Rig) {
        let layer = rig.layer().await;
        let token = session(&layer).await;
        let answer = send(&layer, request_of(""), async |session| {
            assert!(session.load_id(&token).await.unwrap());
            session.set_cookie().unwrap();
            session.login("ada").await
        });
        let new = answer.await.new_id().unwrap();
        assert_eq!(the_valid_one(&layer, &token, Some(&new)).await, new);
    }

    // SM renew
    async fn a_cookie_that_waits_is_withdrawn_when_its_id_turns_out_to_be_retired(rig: Rig) {
        let layer = rig.builder().idle_timeout(Duration::from_secs(60)).build().await.unwrap();
        for way in 0..3 {
            let old = session(&layer).await;
            let slow = send(&layer, request_of(&old), async |session| {
                session.load().await.unwrap();
                session.set_cookie().unwrap();
                rig.clock.advance(Duration::from_secs(10));
                if way == 2 {
                    session.rotate().await.unwrap();
                }
                rotate(&layer, &old).await;
                if way == 1 {
                    session.app::<Shop>().set("n", &2).unwrap();
                }
            });
            let slow = slow.await;
            assert_eq!(slow.status.as_u16(), if way == 2 { 409 } else { 200 });
            assert!(slow.session_cookies().is_empty() || way == 0, "{way}");
        }
        let (old, _) = rotated(&layer).await;
        send(&layer, request_of(&old), async |session| {
            session.load().await.unwrap();
            assert_eq!(session.delete_cookie(), Err(SessionError::Rotated));
        })
        .await;
    }

    // T2
    async fn after_a_rollback_of_a_rotation_that_came_second_writes_go_on(rig: Rig) {
        let layer = rig.layer().await;
        let old = session(&layer).await;
        let slow = send(&layer, request_of(&old), async |session| {
            session.rotate().await.unwrap();
            let new = rotate(&layer, &old).await.new_id().unwrap();
            assert_eq!(session.commit().await, Err(SessionError::Rotated));
            session.rollback();
            session.app::<Shop>().set("n", &2).unwrap();
            new
        });
        let slow = slow.await;
        assert_eq!((slow.status, slow.session_cookies()), (StatusCode::OK, vec![]));
        assert_eq!(n(&layer, &slow.body).await, Some(2));
    }

    // T2, D6
    async fn a_rotation_whose_answer_got_lost_before_a_5xx_leaves_a_cookie_that_works(rig: Rig) {
        let layer = rig.builder_on(Suspending::new(rig.driver.clone())).build().await.unwrap();
        let plain = rig.layer().await;
        for polls in 0..8 {
            let old = session(&plain).await;
            let answer = send(&layer, request_of(&old), async |session| {
                session.load().await.unwrap();
                session.rotate().await.unwrap();
                let _ = give_up_after(polls, session.commit()).await;
                crate::visitor::settled(&plain).await;
                StatusCode::SERVICE_UNAVAILABLE
            });
            let answer = answer.await;
            assert_eq!(answer.status, 503, "{polls}");
            let cookie = answer.new_id().unwrap_or_else(|| old.clone());
            assert_eq!(n(&plain, &cookie).await, Some(1), "{polls}");
        }
    }

    // T2, M14
    async fn a_rotation_that_was_given_up_does_not_outlive_its_session(rig: Rig) {
        let layer = rig.builder_on(Suspending::new(rig.driver.clone())).build().await.unwrap();
        let plain = rig.layer().await;
        for polls in 0..8 {
            let (old, other) = (session(&plain).await, session(&plain).await);
            let answer = send(&layer, request_of(&old), async |session| {
                session.rotate().await.unwrap();
                let _ = give_up_after(polls, session.commit()).await;
                crate::visitor::settled(&plain).await;
                session.end().await.unwrap();
                session.load_id(&other).await.map(|loaded| assert!(loaded))
            });
            assert_eq!(answer.await.status, 200, "{polls}");
            assert_eq!(n(&plain, &other).await, Some(1), "{polls}");
        }
    }

    // T2
    async fn of_two_rotations_at_once_one_is_refused(rig: Rig) {
        let layer = rig.layer().await;
        let old = session(&layer).await;
        let both = Barrier::new(2);
        let one = || {
            send(&layer, request_of(&old), async |session: SessionManager| {
                session.rotate().await.unwrap();
                both.wait().await;
            })
        };
        let (one, two) = tokio::join!(one(), one());
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        let new: Vec<_> = [&one, &two].iter().filter_map(|answer| answer.new_id()).collect();
        assert_eq!(new.len(), 1);
        assert_eq!(n(&layer, &new[0]).await, Some(1));
    }

    // M12
    async fn a_fresh_id_that_is_taken_is_drawn_again(rig: Rig) {
        let layer = rig.builder().random(Repeating::new(3, 1)).build().await.unwrap();
        let old = session(&layer).await;
        let new = rotate(&layer, &old).await.new_id().unwrap();
        assert_eq!(the_valid_one(&layer, &old, Some(&new)).await, new);
        let layer = rig.builder().random(Repeating::new(usize::MAX, 100)).build().await.unwrap();
        let old = session(&layer).await;
        let answer = rotate(&layer, &old).await;
        assert_eq!((answer.status.as_u16(), answer.new_id()), (500, None));
        assert_eq!(n(&layer, &old).await, Some(1));
    }

    // SM strict
    async fn a_rotation_without_a_session_is_an_error_and_adopts_nothing(rig: Rig) {
        let layer = rig.layer().await;
        let unknown = "00112233445566778899aabbccddeeff";
        let answer = send(&layer, request_of(unknown), async |session| {
            assert_eq!(session.rotate().await, Err(SessionError::NotLoaded));
        });
        assert_eq!(answer.await.session_cookies(), [""; 0]);
        assert_eq!(crate::visitor::remove_all(&layer).await, 0);
    }

    // T2, D6: another instance sees the same.
    async fn a_second_instance_knows_the_retired_id(rig: Rig) {
        let layer = rig.layer().await;
        let second = rig.builder_on(rig.second_driver().await).build().await.unwrap();
        let (old, new) = rotated(&layer).await;
        let write = async |session: SessionManager| session.app::<Shop>().set("n", &2);
        assert_eq!(send(&second, request_of(&old), write).await.status, 409);
        assert_eq!(send(&second, request_of(&new), write).await.status, 200);
        assert_eq!(n(&layer, &new).await, Some(2));
        // A clock that is behind does not make an old id work.
        let behind = web_session::ManualClock::new(
            web_session::Clock::now(&rig.clock) - Duration::from_secs(60),
        );
        let behind = rig.builder_on(rig.second_driver().await).clock(behind).build().await.unwrap();
        assert_eq!(send(&behind, request_of(&old), read).await.body, "None");
    }
}

/// A random source whose first draws are all the same.
#[derive(Debug)]
struct Repeating(std::sync::Mutex<(usize, u8)>);

impl Repeating {
    fn new(times: usize, first: u8) -> Self {
        Self(std::sync::Mutex::new((times, first)))
    }
}

impl RandomSource for Repeating {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        let mut state = self.0.lock().unwrap();
        // References are drawn with ten bytes; only ids repeat.
        if bytes.len() != 32 {
            return web_session::OsRandom.fill(bytes);
        }
        match state.0.checked_sub(1) {
            Some(left) => state.0 = left,
            None => state.1 = state.1.wrapping_add(1),
        }
        bytes.fill(state.1);
        Ok(())
    }
}
