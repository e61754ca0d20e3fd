//! Ids that are none, or several (T5): one event a request, whatever its handler does.

use std::time::Duration;

use web_session::SessionEvent::{Ambiguous, Expired, Retired, Unknown};
use web_session::{EndReason, LoadError, OnWarning, SessionError, SessionEvent};

use crate::events::{MADE_UP, WAYS, ended, key, told};
use crate::rig::{read, reference, session};
use crate::visitor::{request_of, send};

const EXPIRE: Duration = Duration::from_secs(86_400);

on_every_storage! {
    // SM, SM logging
    async fn an_unknown_id_is_told_once_a_request_whatever_the_handler_does(rig: Rig) {
        let layer = rig.layer().await;
        let ended = session(&layer).await;
        layer.manager().destroy(ended.as_str(), OnWarning::Ignore).await.unwrap();
        for id in [MADE_UP, &ended] {
            for way in WAYS {
                let events = told(&rig, &layer, &format!("sessionID={id}"), way).await;
                assert_eq!(events, [Unknown { key: key(id) }], "{way}");
            }
            send(&layer, request_of(id), async |_| ()).await;
            assert_eq!(rig.events(), [], "a handler that does not ask");
        }
        let several = format!("sessionID={MADE_UP}; sessionID={ended}");
        for way in WAYS {
            let events = told(&rig, &layer, &several, way).await;
            assert_eq!(events, [Unknown { key: key(MADE_UP) }], "{way}");
        }
    }

    // SM logging
    async fn an_expired_id_is_told_once_a_request(rig: Rig) {
        let layer = rig.layer().await;
        for way in WAYS {
            let id = session(&layer).await;
            let session = reference(&layer, &id).await;
            rig.clock.advance(EXPIRE);
            let events = told(&rig, &layer, &format!("sessionID={id}"), way).await;
            let key = key(&id);
            let expected = match way {
                // The storage is not asked what the id names, only to write.
                "set" | "set, commit, get" | "empty" => vec![Unknown { key }],
                // What has expired is removed all the same.
                "end" | "end twice" => ended(&[session], EndReason::Logout),
                "destroy" => ended(&[session], EndReason::Destroyed),
                _ => vec![Expired { key }],
            };
            assert_eq!(events, expected, "{way}");
        }
    }

    // SM logging
    async fn a_retired_id_is_told_once_a_request(rig: Rig) {
        let layer = rig.layer().await;
        let old = session(&layer).await;
        send(&layer, request_of(&old), async |session| session.rotate().await).await;
        for way in WAYS {
            let events = told(&rig, &layer, &format!("sessionID={old}"), way).await;
            assert_eq!(events, [Retired { key: key(&old) }], "{way}");
        }
        rig.clock.advance(Duration::from_secs(60));
        let events = told(&rig, &layer, &format!("sessionID={old}"), "load").await;
        assert_eq!(events, [Unknown { key: key(&old) }]);
    }

    // SM logging, 6b 4.2
    async fn ambiguous_ids_are_told_once_a_request(rig: Rig) {
        let layer = rig.layer().await;
        for way in WAYS {
            let [one, two] = [session(&layer).await, session(&layer).await];
            let both = [reference(&layer, &one).await, reference(&layer, &two).await];
            let cookies = format!("sessionID={one}; sessionID={two}; sessionID={MADE_UP}");
            let mut events = told(&rig, &layer, &cookies, way).await;
            let reason = match way {
                "end" | "end twice" => EndReason::Logout,
                "destroy" => EndReason::Destroyed,
                _ => {
                    assert_eq!(events, [Ambiguous { key: key(&one) }], "{way}");
                    continue;
                }
            };
            events.sort_by_key(|event| *event != ended(&both[..1], reason)[0]);
            assert_eq!(events, ended(&both, reason), "each is ended");
        }
    }

    // SM logging
    async fn without_an_id_there_is_nothing_to_tell(rig: Rig) {
        let layer = rig.layer().await;
        let signed = rig.builder().signed([[7; 32]]).build().await.unwrap();
        let id = session(&layer).await;
        let malformed = MADE_UP.to_uppercase();
        for way in WAYS {
            for cookies in ["theme=dark", "sessionID=", &format!("sessionID={malformed}")] {
                assert_eq!(told(&rig, &layer, cookies, way).await, [], "{way} {cookies}");
            }
            for forged in [id.clone(), format!("{}{id}", "A".repeat(44))] {
                let cookies = format!("sessionID={forged}");
                assert_eq!(told(&rig, &signed, &cookies, way).await, [], "{way}");
            }
        }
    }

    // SM logging
    async fn what_the_visitor_has_not_presented_is_not_told(rig: Rig) {
        let layer = rig.layer().await;
        let id = session(&layer).await;
        rig.events();
        let admin = layer.manager();
        assert_eq!(admin.load_id(MADE_UP).await, Ok(false));
        assert_eq!(admin.exists(MADE_UP).await, Ok(false));
        assert_eq!(admin.valid(MADE_UP).await, Err(SessionError::NoSuchSession));
        assert_eq!(admin.end_sessions_of("ada").await, Ok(0));
        let answer = send(&layer, request_of(&id), async |session| {
            assert_eq!(session.load_id(MADE_UP).await, Ok(false));
            read(session).await
        });
        answer.await;
        assert_eq!(rig.events(), []);
        // A session that this request has created or seen alive, and that others have ended since.
        for presented in ["", &id] {
            let answer = send(&layer, request_of(presented), async |session| {
                if !session.load().await.unwrap() {
                    session.create().await.unwrap();
                }
                let id = session.session_id().unwrap();
                layer.manager().destroy(id, OnWarning::Ignore).await.unwrap();
                assert_eq!(session.load().await, Ok(false));
                assert_eq!(session.error(), Some(LoadError::NotFound));
            });
            answer.await;
        }
        let others = rig.events();
        let unknown = |event: &SessionEvent| matches!(event, Unknown { .. });
        assert!(!others.iter().any(unknown), "{others:?}");
    }
}
