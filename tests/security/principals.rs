//! Who is logged in, and where (T3): sessions are listed, ended from elsewhere, and kept few.

use std::time::Duration;

use http::StatusCode;
use web_session::{
    Clock, LoadError, OnWarning, SessionError, SessionInfo, SessionLayer, SessionManager,
};

use crate::rig::{is_live, logged_in, login, n, read, reference, references_of, session};
use crate::visitor::{Shop, items, items_of, remove_all, request_of, send, session_with};
use crate::wrappers::Call;

const TICK: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_secs(600);

/// Sends a request of the visitor who has this id, whose handler has to succeed.
async fn as_visitor<T: Send + 'static>(
    layer: &SessionLayer,
    id: &str,
    act: impl AsyncFnOnce(SessionManager) -> Result<T, SessionError>,
) -> T {
    let mut outcome = None;
    send(layer, request_of(id), async |session| outcome = Some(act(session).await)).await;
    outcome.unwrap().unwrap()
}

/// What an administrator sees of a principal's sessions.
async fn sessions_of(layer: &SessionLayer, principal: &str) -> Vec<SessionInfo> {
    layer.manager().sessions_of(principal).await.unwrap()
}

on_every_storage! {
    // A5 7.2.4
    async fn a_login_without_a_session_creates_one_with_what_the_handler_stored(rig: Rig) {
        let layer = rig.layer().await;
        let answer = send(&layer, request_of(""), async |session| {
            session.app::<Shop>().set("n", &1).unwrap();
            session.login("ada").await.unwrap();
            assert_eq!(session.principal().await.unwrap().as_deref(), Some("ada"));
            session.set_note("telephone")
        });
        let id = answer.await.new_id().unwrap();
        assert_eq!(n(&layer, &id).await, Some(1));
        let [listed] = &sessions_of(&layer, "ada").await[..] else { panic!("one is listed") };
        assert_eq!(listed.session, reference(&layer, &id).await);
        assert_eq!(listed.note.as_deref(), Some("telephone"));
        assert_eq!(remove_all(&layer).await, 1);
    }

    // A5 7.2.4, 6b 8.4
    async fn a_login_gives_a_fresh_id_and_keeps_the_data(rig: Rig) {
        let layer = rig.layer().await;
        let old = session_with(&layer, &[("n", 1), ("m", 2)]).await;
        let before = reference(&layer, &old).await;
        rig.driver.take();
        let new = login(&layer, &old, "ada").await.new_id().unwrap();
        assert_eq!(rig.driver.take(), [(Call::Load, 1), (Call::Commit, 1)]);
        assert!(!is_live(&layer, &old).await, "whoever knew the id from before is not logged in");
        assert_eq!(items_of(&layer, &new).await, Some(items(&[("m", 2), ("n", 1)])));
        assert_eq!(references_of(&layer, "ada").await, [before]);
        let again = login(&layer, &new, "ada").await.new_id().unwrap();
        assert!(!is_live(&layer, &new).await, "a second login too");
        assert_eq!(n(&layer, &again).await, Some(1));
        assert_eq!(remove_all(&layer).await, 1, "there is one session");
    }

    // A5 7.5.2
    async fn a_visitor_sees_where_else_it_is_logged_in(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).expire(3 * IDLE).build().await.unwrap();
        let start = rig.clock.now();
        let shop = session(&layer).await;
        let cart = reference(&layer, &shop).await;
        rig.clock.advance(TICK);
        let phone = logged_in(&layer, "ada").await;
        rig.clock.advance(TICK);
        let shop = login(&layer, &shop, "ada").await.new_id().unwrap();
        logged_in(&layer, "bob").await;
        session(&layer).await;
        rig.clock.advance(IDLE / 2);
        let used = rig.clock.now();
        let note = send(&layer, request_of(&phone), async |session| {
            session.load().await.unwrap();
            session.set_note("Téléphone \u{1F4F1}")
        });
        assert_eq!(note.await.status, 200);
        let seen = as_visitor(&layer, &shop, async |session| session.sessions().await).await;
        let [first, second] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!((first.session, first.is_current), (cart, true));
        assert_eq!((first.created, first.last_used), (start, start + 2 * TICK));
        assert_eq!((first.expires, first.note.clone()), (start + 2 * TICK + IDLE, None));
        assert_eq!((second.session, second.is_current), (reference(&layer, &phone).await, false));
        assert_eq!((second.created, second.last_used), (start + TICK, used));
        assert_eq!(second.expires, used + IDLE);
        assert_eq!(second.note.as_deref(), Some("Téléphone \u{1F4F1}"));
        rig.clock.advance(IDLE - TICK);
        assert_eq!(references_of(&layer, "ada").await, [first.session, second.session]);
        rig.clock.advance(TICK);
        assert_eq!(references_of(&layer, "ada").await, [], "what has expired is not listed");
    }

    // A5 7.5.2
    async fn a_visitor_ends_one_of_its_sessions_and_nobody_elses(rig: Rig) {
        let layer = rig.layer().await;
        let [own, other] = [logged_in(&layer, "ada").await, logged_in(&layer, "ada").await];
        let [bobs, nobodys] = [logged_in(&layer, "bob").await, session(&layer).await];
        for not_hers in [&bobs, &nobodys] {
            let not_hers = reference(&layer, not_hers).await;
            let answer = send(&layer, request_of(&own), async |session| {
                assert_eq!(session.end_one(not_hers).await, Err(SessionError::NoSuchSession));
            });
            assert_eq!(answer.await.session_cookies(), [""; 0]);
        }
        let slow = send(&layer, request_of(&other), async |session| {
            session.load().await.unwrap();
            let target = reference(&layer, &other).await;
            as_visitor(&layer, &own, async |session| session.end_one(target).await).await;
            let twice = send(&layer, request_of(&own), async |session| {
                assert_eq!(session.end_one(target).await, Err(SessionError::NoSuchSession));
            });
            twice.await;
            session.app::<Shop>().set("n", &2)
        });
        assert_eq!(slow.await.status, 409, "a request under way does not revive it");
        for (id, live) in [(&own, true), (&other, false), (&bobs, true), (&nobodys, true)] {
            assert_eq!(is_live(&layer, id).await, live);
        }
        let itself = reference(&layer, &own).await;
        let answer = send(&layer, request_of(&own), async |session| {
            session.end_one(itself).await.unwrap();
            assert_eq!(session.session_id(), None);
            read(session).await
        });
        let answer = answer.await;
        assert!(answer.removes_cookie());
        assert_eq!(answer.body, "None");
        assert!(!is_live(&layer, &own).await);
        assert_eq!(remove_all(&layer).await, 2);
    }

    // A5 7.4.3
    async fn a_visitor_ends_all_its_sessions_but_this(rig: Rig) {
        let layer = rig.layer().await;
        let bobs = logged_in(&layer, "bob").await;
        let mut others = Vec::new();
        for _ in 0..5 {
            others.push(logged_in(&layer, "ada").await);
        }
        let own = others.pop().unwrap();
        let answer = send(&layer, request_of(&own), async |session| {
            assert_eq!(session.end_others().await, Ok(4));
            assert_eq!(session.end_others().await, Ok(0));
        });
        assert!(answer.await.session_cookies().is_empty());
        for other in others {
            assert!(!is_live(&layer, &other).await);
        }
        assert!(is_live(&layer, &own).await && is_live(&layer, &bobs).await);
        // With the password that was changed, and before the login of this request is stored.
        let answer = send(&layer, request_of(""), async |session| {
            session.login("ada").await.unwrap();
            assert_eq!(session.end_others().await, Ok(1));
        });
        let new = answer.await.new_id().unwrap();
        assert_eq!(references_of(&layer, "ada").await, [reference(&layer, &new).await]);
    }

    // A5 7.4.1, 7.4.3
    async fn a_visitor_logs_out_everywhere(rig: Rig) {
        let layer = rig.layer().await;
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(logged_in(&layer, "ada").await);
        }
        let bobs = logged_in(&layer, "bob").await;
        let answer = send(&layer, request_of(&ids[2]), async |session| {
            session.app::<Shop>().set("n", &2).unwrap();
            assert_eq!(session.end_all().await, Ok(4));
            assert_eq!(session.session_id(), None);
        });
        let answer = answer.await;
        assert_eq!(answer.status, 200);
        assert!(answer.removes_cookie());
        for id in ids {
            assert!(!is_live(&layer, &id).await);
        }
        assert!(is_live(&layer, &bobs).await);
        assert_eq!(remove_all(&layer).await, 1, "of hers nothing is left in the storage");
        // Also with a login that is not stored yet.
        let [here, there] = [session(&layer).await, logged_in(&layer, "ada").await];
        let answer = send(&layer, request_of(&here), async |session| {
            session.login("ada").await.unwrap();
            assert_eq!(session.end_all().await, Ok(2));
        });
        assert!(answer.await.removes_cookie());
        assert!(!is_live(&layer, &here).await && !is_live(&layer, &there).await);
        assert_eq!(remove_all(&layer).await, 0);
    }

    // A5 7.4.2
    async fn an_administrator_ends_the_sessions_of_a_principal(rig: Rig) {
        let layer = rig.layer().await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(logged_in(&layer, "ada").await);
        }
        let [bobs, admins] = [logged_in(&layer, "bob").await, logged_in(&layer, "admin").await];
        let answer = send(&layer, request_of(&admins), async |session| {
            assert_eq!(session.sessions_of("ada").await.unwrap().len(), 3);
            assert_eq!(session.end_sessions_of("ada").await, Ok(3));
            assert_eq!(session.end_sessions_of("ada").await, Ok(0));
            assert_eq!(session.end_sessions_of("Bob").await, Ok(0));
        });
        assert!(answer.await.session_cookies().is_empty());
        for id in ids {
            assert!(!is_live(&layer, &id).await);
            assert_eq!(send(&layer, request_of(&id), read).await.body, "None");
        }
        assert!(is_live(&layer, &bobs).await && is_live(&layer, &admins).await);
        assert_eq!(remove_all(&layer).await, 2);
    }

    // T3
    async fn a_login_as_another_principal_moves_the_session(rig: Rig) {
        let layer = rig.layer().await;
        let [old, adas] = [logged_in(&layer, "ada").await, logged_in(&layer, "ada").await];
        let moved = reference(&layer, &old).await;
        let new = login(&layer, &old, "bob").await.new_id().unwrap();
        assert!(!is_live(&layer, &old).await);
        assert_eq!(references_of(&layer, "ada").await, [reference(&layer, &adas).await]);
        assert_eq!(references_of(&layer, "bob").await, [moved]);
        assert_eq!(layer.manager().end_sessions_of("ada").await, Ok(1));
        assert!(is_live(&layer, &new).await);
        as_visitor(&layer, &new, async |session| {
            assert_eq!(session.principal().await?.as_deref(), Some("bob"));
            session.end().await
        })
        .await;
        assert!(sessions_of(&layer, "bob").await.is_empty());
    }

    // L6
    async fn a_login_and_then_a_5xx_does_nothing(rig: Rig) {
        let layer = rig.layer().await;
        let old = session(&layer).await;
        rig.events();
        for id in ["", &old] {
            let answer = send(&layer, request_of(id), async |session| {
                session.login("ada").await.unwrap();
                session.set_note("telephone").unwrap();
                StatusCode::INTERNAL_SERVER_ERROR
            });
            assert_eq!(answer.await.session_cookies(), [""; 0]);
        }
        assert!(sessions_of(&layer, "ada").await.is_empty());
        assert_eq!(send(&layer, request_of(&old), read).await.body, "Some(1)");
        assert_eq!(rig.events(), []);
        assert_eq!(remove_all(&layer).await, 1);
    }

    // T3
    async fn principals_and_notes_have_limits_within_which_they_are_kept_as_they_are(rig: Rig) {
        let layer = rig.layer().await;
        for wrong in ["", "a\0b", &"a".repeat(256), &"é".repeat(128)] {
            let answer = send(&layer, request_of(""), async |session| {
                assert_eq!(session.login(wrong).await, Err(SessionError::InvalidPrincipal));
            });
            assert!(answer.await.session_cookies().is_empty());
        }
        let long = format!("{}z", "é".repeat(127));
        let principals = ["a", "A", "a ", " a", "%", "'; --", "\u{1F4F1}", &"a".repeat(255), &long];
        for (at, principal) in principals.iter().enumerate() {
            logged_in(&layer, principal).await;
            for (other, principal) in principals.iter().enumerate() {
                let listed = sessions_of(&layer, principal).await.len();
                assert_eq!(listed, usize::from(other <= at), "{principal:?}");
            }
        }
        let id = logged_in(&layer, "ada").await;
        as_visitor(&layer, &id, async |session| {
            assert_eq!(session.set_note("early"), Err(SessionError::NotLoaded));
            session.load().await?;
            for wrong in ["a\0b", &"a".repeat(1025), &"é".repeat(513)] {
                assert_eq!(session.set_note(wrong), Err(SessionError::InvalidNote));
            }
            Ok(())
        })
        .await;
        let long = "é".repeat(512);
        for note in [Some(long.as_str()), Some(""), Some("a\nb' \u{1F4F1} "), None] {
            let set = async |session: SessionManager| {
                session.load().await?;
                session.set_note(note)
            };
            as_visitor(&layer, &id, set).await;
            assert_eq!(sessions_of(&layer, "ada").await[0].note.as_deref(), note);
        }
    }

    // T3
    async fn who_is_not_logged_in_has_no_sessions_to_list_or_end(rig: Rig) {
        let layer = rig.layer().await;
        let [nobodys, adas] = [session(&layer).await, logged_in(&layer, "ada").await];
        let target = reference(&layer, &adas).await;
        for id in ["", "00112233445566778899aabbccddeeff", &nobodys] {
            for way in 0..4 {
                let answer = send(&layer, request_of(id), async |session| match way {
                    0 => session.sessions().await.map(drop),
                    1 => session.end_one(target).await,
                    2 => session.end_others().await.map(drop),
                    _ => session.end_all().await.map(drop),
                });
                let answer = answer.await;
                assert_eq!((answer.status.as_u16(), answer.body.as_str()), (403, "Please log in."));
                assert!(answer.session_cookies().is_empty());
            }
        }
        assert_eq!(remove_all(&layer).await, 2);
    }

    // T3
    async fn a_reference_lasts_for_the_whole_life_of_a_session_and_opens_nothing(rig: Rig) {
        let layer = rig.layer().await;
        let id = session(&layer).await;
        let before = reference(&layer, &id).await;
        let id = login(&layer, &id, "ada").await.new_id().unwrap();
        let rotated = send(&layer, request_of(&id), async |session| session.rotate().await).await;
        let id = rotated.new_id().unwrap();
        assert_eq!(reference(&layer, &id).await, before);
        assert_eq!(layer.manager().exists(before).await, Ok(true));
        rig.driver.take();
        let answer = send(&layer, request_of(&before.to_string()), async |session| {
            assert_eq!(session.load().await, Ok(false));
            assert_eq!(session.error(), Some(LoadError::Malformed));
        });
        answer.await;
        assert_eq!(rig.calls(), 0);
        // Without its dashes it looks like an id.
        let simple = before.to_string().replace('-', "");
        let answer = send(&layer, request_of(&simple), async |session| {
            assert_eq!(session.load().await, Ok(false));
            assert_eq!(session.error(), Some(LoadError::NotFound));
            assert_eq!(session.load_id(&simple).await, Ok(false));
            session.app::<Shop>().set("n", &2)
        });
        let new = answer.await.new_id().unwrap();
        assert!(![&simple, &id].contains(&&new));
        assert_eq!(n(&layer, &id).await, Some(1));
        layer.manager().destroy(before, OnWarning::Ignore).await.unwrap();
        assert!(!is_live(&layer, &id).await);
    }
}
