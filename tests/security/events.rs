//! What happens to sessions is told once (T5): to a listener, and to `tracing` with a digest in place of an id.

use std::num::NonZeroU32;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::Barrier;
use web_session::SessionEvent::{CleanedUp, Created, Ended, Rotated, Unknown};
use web_session::{
    EndReason, OnTooMany, OnWarning, SessionError, SessionEvent, SessionId, SessionKey,
    SessionLayer, SessionManager, SessionRef, SessionTarget,
};

use crate::logs::Logs;
use crate::rig::{Rig, logged_in, login, n, read, reference, session};
use crate::visitor::{Answer, Shop, request_of, request_with, send};
use crate::wrappers::{Call, Failing};

pub const MADE_UP: &str = "00112233445566778899aabbccddeeff";
const EXPIRE: Duration = Duration::from_secs(86_400);
const TICK: Duration = Duration::from_millis(1);

pub fn key(id: &str) -> SessionKey {
    id.parse::<SessionId>().unwrap().key()
}

/// The session that a visitor got by an event.
pub fn made(event: &SessionEvent) -> Option<SessionRef> {
    match event {
        Created { session } | Rotated { session } => Some(*session),
        _ => None,
    }
}

pub fn evicted(event: &SessionEvent) -> Option<SessionRef> {
    match event {
        Ended { session, reason: EndReason::Evicted } => Some(*session),
        _ => None,
    }
}

pub fn ended(sessions: &[SessionRef], reason: EndReason) -> Vec<SessionEvent> {
    sessions.iter().map(|session| Ended { session: *session, reason }).collect()
}

/// Of a session that was not there before: its creation, and the answer that sends its cookie.
async fn created(rig: &Rig, layer: &SessionLayer, answer: &Answer) -> SessionEvent {
    rig.events();
    Created { session: reference(layer, &answer.new_id().unwrap()).await }
}

/// What handlers do to a session.
pub const WAYS: [&str; 12] = [
    "load",
    "get",
    "set",
    "set, commit, get",
    "empty",
    "update",
    "rotate",
    "login",
    "sessions",
    "end",
    "end twice",
    "destroy",
];

pub async fn act(session: SessionManager, way: &str) -> Result<(), SessionError> {
    let shop = session.app::<Shop>();
    match way {
        "load" => {
            session.load().await?;
            session.load().await.map(drop)
        }
        "get" => shop.get::<i64>("n").await.map(drop),
        "set" => shop.set("n", &2),
        "set, commit, get" => {
            shop.set("n", &2)?;
            session.commit().await?;
            shop.get::<i64>("n").await.map(drop)
        }
        "empty" => {
            shop.empty();
            Ok(())
        }
        "update" => shop.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).await.map(drop),
        "rotate" => session.rotate().await,
        "login" => session.login("ada").await,
        "sessions" => session.sessions().await.map(drop),
        "end" => session.end().await,
        "end twice" => {
            session.end().await?;
            session.end().await
        }
        "destroy" => session.destroy(SessionTarget::Current, OnWarning::Ignore).await,
        way => unreachable!("{way}"),
    }
}

/// What a request with these cookies is told to have happened, apart from creations.
pub async fn told(rig: &Rig, layer: &SessionLayer, cookies: &str, way: &str) -> Vec<SessionEvent> {
    rig.events();
    send(layer, request_with(&[cookies]), async |session| act(session, way).await).await;
    let mut events = rig.events();
    events.retain(|event| !matches!(event, Created { .. }));
    events
}

on_every_storage! {
    // SM logging
    async fn what_happens_in_the_life_of_a_session_is_told_once(rig: Rig) {
        let layer = rig.layer().await;
        let id = session(&layer).await;
        let session = reference(&layer, &id).await;
        assert_eq!(rig.events(), [Created { session }]);
        for way in ["load", "get", "set", "set, commit, get", "empty", "update"] {
            assert_eq!(told(&rig, &layer, &format!("sessionID={id}"), way).await, [], "{way}");
        }
        let answer = send(&layer, request_of(&id), async |session| session.rotate().await).await;
        assert_eq!(rig.events(), [Rotated { session }]);
        let id = login(&layer, &answer.new_id().unwrap(), "ada").await.new_id().unwrap();
        assert_eq!(rig.events(), [Rotated { session }]);
        send(&layer, request_of(&id), async |session| session.end().await).await;
        assert_eq!(rig.events(), ended(&[session], EndReason::Logout));
    }

    // SM logging
    async fn each_way_to_create_a_session_is_told(rig: Rig) {
        let layer = rig.layer().await;
        for way in ["set", "set, commit, get", "update", "login"] {
            let answer = send(&layer, request_of(""), async |session| act(session, way).await).await;
            let events = rig.events();
            assert_eq!(events, [created(&rig, &layer, &answer).await], "{way}");
        }
        // It is done at once, whatever becomes of the request.
        let answer = send(&layer, request_of(""), async |session| {
            session.create().await.unwrap();
            StatusCode::BAD_GATEWAY
        });
        let (answer, events) = (answer.await, rig.events());
        assert_eq!(events, [created(&rig, &layer, &answer).await]);
    }

    // SM logging
    async fn what_does_not_happen_is_not_told(rig: Rig) {
        let failing = Failing::new(rig.driver.clone());
        let layer = rig.builder_on(failing.clone());
        let layer = layer.max_sessions(NonZeroU32::MIN, OnTooMany::Refuse).build().await.unwrap();
        let id = session(&layer).await;
        logged_in(&layer, "ada").await;
        rig.events();
        for presented in ["", &id] {
            for way in ["set", "login", "rotate"] {
                let dropped = send(&layer, request_of(presented), async |session| {
                    let _ = act(session, way).await;
                    StatusCode::BAD_GATEWAY
                });
                assert_eq!(dropped.await.status, 502);
            }
            assert_eq!(login(&layer, presented, "ada").await.status, 409);
            failing.fail([Call::Commit, Call::ReplaceItem]);
            for way in ["set", "update", "login"] {
                act_unless_it_fails(&layer, presented, way).await;
            }
            failing.mend();
        }
        failing.fail([Call::Destroy]);
        act_unless_it_fails(&layer, &id, "end").await;
        failing.mend();
        assert_eq!(rig.events(), []);
        assert_eq!(n(&layer, &id).await, Some(1));
    }

    // SM logging
    async fn the_end_of_a_session_is_told_with_its_reason(rig: Rig) {
        let layer = rig.layer().await;
        for (way, reason) in [
            ("end", EndReason::Logout),
            ("end twice", EndReason::Logout),
            ("destroy", EndReason::Destroyed),
        ] {
            let id = session(&layer).await;
            let session = reference(&layer, &id).await;
            let cookie = format!("sessionID={id}");
            assert_eq!(told(&rig, &layer, &cookie, way).await, ended(&[session], reason), "{way}");
        }
        let id = session(&layer).await;
        let other = reference(&layer, &id).await;
        rig.events();
        let admin = layer.manager();
        admin.destroy(id.as_str(), OnWarning::Ignore).await.unwrap();
        assert_eq!(rig.events(), ended(&[other], EndReason::Destroyed));
        let none = Err(SessionError::NoSuchSession);
        assert_eq!(admin.destroy(id.as_str(), OnWarning::Ignore).await, none);
        assert_eq!(admin.destroy(other, OnWarning::Ignore).await, none);
        assert_eq!(rig.events(), []);
    }

    // SM logging
    async fn of_two_requests_at_once_that_end_a_session_one_does(rig: Rig) {
        let second = rig.builder_on(rig.second_driver().await).build().await.unwrap();
        let layers = [rig.layer().await, second];
        for loads in [false, true] {
            let id = session(&layers[0]).await;
            let session = reference(&layers[0], &id).await;
            rig.events();
            let both = Barrier::new(2);
            let end = |layer| send(layer, request_of(&id), async |session: SessionManager| {
                if loads {
                    session.load().await.unwrap();
                }
                both.wait().await;
                session.end().await
            });
            let (one, two) = tokio::join!(end(&layers[0]), end(&layers[1]));
            assert!(one.removes_cookie() && two.removes_cookie());
            let (ends, others): (Vec<_>, Vec<_>) =
                rig.events().into_iter().partition(|event| matches!(event, Ended { .. }));
            assert_eq!(ends, ended(&[session], EndReason::Logout));
            // Who has not seen it alive presents an id that names no session.
            assert_eq!(others, [Unknown { key: key(&id) }][usize::from(loads)..]);
        }
    }

    // SM logging
    async fn the_ends_of_a_principals_sessions_are_told_once_each(rig: Rig) {
        let layer = rig.builder().max_sessions(NonZeroU32::new(3).unwrap(), OnTooMany::EvictOldest);
        let layer = layer.build().await.unwrap();
        let mut ids = Vec::new();
        let mut references = Vec::new();
        for _ in 0..4 {
            rig.clock.advance(TICK);
            ids.push(logged_in(&layer, "ada").await);
            references.push(reference(&layer, ids.last().unwrap()).await);
        }
        let created = |session: &SessionRef| Created { session: *session };
        let mut expected: Vec<_> = references.iter().map(created).collect();
        expected.extend(ended(&references[..1], EndReason::Evicted));
        assert_eq!(rig.events(), expected);

        let ends = async |id: &str, way: u8, one: SessionRef| {
            send(&layer, request_of(id), async |session| match way {
                0 => session.end_one(one).await,
                1 => session.end_others().await.map(drop),
                _ => session.end_all().await.map(drop),
            })
            .await;
            let mut events = rig.events();
            events.sort_by_key(|event| match event {
                Ended { session, .. } => Some(*session),
                _ => None,
            });
            events
        };
        let reason = EndReason::EndedForPrincipal;
        assert_eq!(ends(&ids[3], 0, references[1]).await, ended(&references[1..2], reason));
        assert_eq!(ends(&ids[3], 1, references[1]).await, ended(&references[2..3], reason));
        rig.clock.advance(TICK);
        let more = logged_in(&layer, "ada").await;
        let last = [references[3], reference(&layer, &more).await];
        rig.events();
        assert_eq!(ends(&ids[3], 2, references[1]).await, ended(&last, reason), "and nothing else");
        let id = logged_in(&layer, "ada").await;
        let last = reference(&layer, &id).await;
        rig.events();
        assert_eq!(layer.manager().end_sessions_of("ada").await, Ok(1));
        assert_eq!(rig.events(), ended(&[last], reason));
    }

    // T4, T5
    async fn cleanups_report_how_many_they_removed(rig: Rig) {
        let layer = rig.builder().cleanup_probability(1.0).build().await.unwrap();
        let expire = async |count: usize| {
            let quiet = rig.layer().await;
            for _ in 0..count {
                session(&quiet).await;
            }
            rig.clock.advance(EXPIRE + TICK);
            rig.events();
        };
        expire(3).await;
        assert_eq!(layer.manager().cleanup().await, Ok(3));
        assert_eq!(rig.events(), [CleanedUp { removed: 3 }]);
        assert_eq!(layer.manager().cleanup().await, Ok(0));
        assert_eq!(rig.events(), [CleanedUp { removed: 0 }]);

        expire(2).await;
        send(&layer, request_of(MADE_UP), read).await;
        let expected = [CleanedUp { removed: 2 }, Unknown { key: key(MADE_UP) }];
        let mut events = events_when(&rig, 2).await;
        events.sort_by_key(|event| *event != expected[0]);
        assert_eq!(events, expected, "by chance");

        expire(4).await;
        let schedule = layer.spawn_cleanup(Duration::from_secs(3_600));
        assert_eq!(events_when(&rig, 1).await, [CleanedUp { removed: 4 }]);
        schedule.stop().await;
    }

    // T5
    async fn a_listener_that_panics_does_not_break_the_request(rig: Rig) {
        let (logs, _guard) = Logs::of_this_thread();
        let layer = rig.builder().max_sessions(NonZeroU32::MIN, OnTooMany::EvictOldest);
        let layer = layer.listener(|_| panic!("a listener's mistake")).build().await.unwrap();
        let mut id = String::new();
        for way in ["update", "rotate", "login", "login"] {
            rig.clock.advance(TICK);
            let answer = send(&layer, request_of(&id), async |session| act(session, way).await);
            let answer = answer.await;
            assert_eq!(answer.status, 200, "{way}");
            id = answer.new_id().unwrap();
            assert_eq!(n(&layer, &id).await, Some(1), "{way}");
        }
        logged_in(&layer, "ada").await;
        assert_eq!(n(&layer, &id).await, None, "the eviction was done");
        assert_eq!(send(&layer, request_of(MADE_UP), read).await.body, "None");
        rig.clock.advance(EXPIRE + TICK);
        assert_eq!(layer.manager().cleanup().await, Ok(1));
        let text = logs.text();
        assert_eq!(text.matches("the listener of session events panicked").count(), 8);
        assert!(!text.contains(&id) && !text.contains(MADE_UP));
    }

    // SM logging, CVE-2023-20866
    async fn the_log_has_each_event_with_a_digest_and_without_an_id(rig: Rig) {
        let (logs, _guard) = Logs::of_this_thread();
        let layer = rig.layer().await;
        let mut ids = vec![MADE_UP.to_owned()];
        for way in ["update", "login", "rotate"] {
            let id = if way == "update" { "" } else { ids.last().unwrap() };
            let answer = send(&layer, request_of(id), async |session| act(session, way).await);
            ids.push(answer.await.new_id().unwrap());
        }
        let [made_up, _, retired, last] = &ids[..] else { panic!("{ids:?}") };
        let session = reference(&layer, last).await;
        let other = crate::rig::session(&layer).await;
        for cookies in [
            format!("sessionID={made_up}"),
            format!("sessionID={retired}"),
            format!("sessionID={last}; sessionID={other}"),
        ] {
            send(&layer, request_with(&[&cookies]), read).await;
        }
        send(&layer, request_of(last), async |session| session.end().await).await;
        rig.clock.advance(EXPIRE + TICK);
        send(&layer, request_of(&other), read).await;
        layer.manager().cleanup().await.unwrap();

        let text = logs.text();
        let told = |what: &str| {
            let lines = text.lines().filter(|line| line.contains("web_session::events"));
            lines.filter(|line| line.contains(what)).count()
        };
        let by_session = format!("session={session}");
        let by_key = |id: &str| {
            let [a, b, c, d, ..] = *key(id).as_bytes();
            format!("key=SessionKey({a:02x}{b:02x}{c:02x}{d:02x}..)")
        };
        for (expected, times) in [
            (format!("a session was created {by_session}"), 1),
            (format!("a session was given a fresh id {by_session}"), 2),
            (format!("a session was ended {by_session} reason=Logout"), 1),
            (format!("an unknown id was presented {}", by_key(made_up)), 1),
            (format!("an id was presented that was replaced {}", by_key(retired)), 1),
            (format!("none is used {}", by_key(last)), 1),
            (format!("an expired id was presented {}", by_key(&other)), 1),
            ("expired sessions were cleaned up removed=1".to_owned(), 1),
        ] {
            assert_eq!(told(&expected), times, "{expected}\n{text}");
        }
        for id in ids.iter().chain([&other]) {
            assert!(!text.contains(id.as_str()), "{text}");
        }
    }
}

async fn act_unless_it_fails(layer: &SessionLayer, id: &str, way: &str) {
    let answer = send(layer, request_of(id), async |session| act(session, way).await).await;
    assert_eq!((answer.status.as_u16(), answer.session_cookies()), (503, vec![]), "{way}");
}

/// What happened, as soon as it is so much.
async fn events_when(rig: &Rig, count: usize) -> Vec<SessionEvent> {
    let mut events = Vec::new();
    let waiting = async {
        while events.len() < count {
            events.extend(rig.events());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
    events
}
