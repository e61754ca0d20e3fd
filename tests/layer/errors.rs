//! What errors tell to a visitor, and to an operator.

use axum::body::to_bytes;
use axum::response::IntoResponse;
use http::StatusCode;
use web_session::driver::{DriverError, DriverErrorKind};
use web_session::{
    ApplicationName, JsonError, MemoryDriver, OnWarning, RandomError, RandomSource, SessionError,
    SessionManager, SessionTarget, SessionWarning,
};

use crate::logs::Logs;
use crate::visitor::*;
use crate::wrappers::{Call, Failing};

/// One error of every kind, each with as much to tell as it can have.
async fn errors() -> Vec<SessionError> {
    let session = layer(MemoryDriver::new()).await.manager();
    let shop = session.app::<Shop>();
    shop.set("key-of-a-visitor", &"value-of-a-visitor").unwrap();
    let decode = shop.get::<i64>("key-of-a-visitor").await.unwrap_err();
    let unencodable: std::collections::BTreeMap<(u8, u8), &str> =
        [((1, 2), "value-of-a-visitor")].into();
    let encode = shop.set("key-of-a-visitor", &unencodable).unwrap_err();
    let driver = |kind| SessionError::from(DriverError::new(kind, "pulled-the-plug"));
    vec![
        SessionWarning::DestroyAffectsAllApplications.into(),
        SessionWarning::CleanupRemovesLiveSessions.into(),
        SessionError::Driver(Failing::error()),
        driver(DriverErrorKind::Timeout),
        driver(DriverErrorKind::Corrupt),
        driver(DriverErrorKind::TooLarge),
        RandomError.into(),
        ApplicationName::new("not a name").unwrap_err().into(),
        SessionError::InvalidKey(0),
        encode,
        decode,
        SessionError::NoSuchItem,
        SessionError::NoSuchSession,
        SessionError::NotLoaded,
        SessionError::AlreadyLoaded,
        SessionError::UncommittedChanges,
        SessionError::Ended,
        SessionError::Rotated,
        SessionError::NoFreeId,
        SessionError::Contended,
        SessionError::ResponseStarted,
        SessionError::ReversedRange,
        SessionError::MissingLayer,
    ]
}

// E1
#[tokio::test]
async fn an_error_as_a_response_says_nothing_about_the_inside() {
    for error in errors().await {
        let status = error.status();
        let shown = format!("{error:?}");
        let response = error.clone().into_response();
        assert_eq!(response.status(), status, "{shown}");
        assert!(!response.headers().contains_key("set-cookie"));
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = std::str::from_utf8(&body).unwrap();
        let expected = match (&error, status) {
            (SessionError::MissingLayer, _) => "SessionLayer",
            (_, StatusCode::SERVICE_UNAVAILABLE) => "not available at the moment",
            (_, StatusCode::CONFLICT) => "The session has changed.",
            (_, StatusCode::INTERNAL_SERVER_ERROR) => "Something went wrong.",
            _ => panic!("{shown} is answered by {status}"),
        };
        assert!(body.contains(expected), "{shown}: {body}");
        if error != SessionError::MissingLayer {
            assert!(body.len() < 80, "{shown}: {body}");
            assert!(!body.contains(&error.to_string()), "{shown}: {body}");
        }
    }
}

// E1, L7
#[tokio::test]
async fn errors_have_the_status_of_their_kind() {
    for error in errors().await {
        let expected = match error {
            SessionError::Driver(_) | SessionError::Contended => 503,
            SessionError::Ended | SessionError::Rotated => 409,
            _ => 500,
        };
        assert_eq!(error.status().as_u16(), expected, "{error:?}");
    }
}

// E1
#[tokio::test]
async fn an_error_tells_its_operator_what_happened_without_quoting_the_visitor() {
    for error in errors().await {
        let mut shown = format!("{error} {error:?}");
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            shown.push_str(&format!(" {inner} {inner:?}"));
            source = inner.source();
        }
        for secret in ["key-of-a-visitor", "value-of-a-visitor"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    let plugged = SessionError::Driver(Failing::error()).to_string();
    assert!(plugged.contains("pulled-the-plug") && plugged.contains("plug-7"), "{plugged}");
    let place = |error: JsonError| (error.line(), error.column());
    match &errors().await[10] {
        SessionError::Decode(error) => assert_eq!(place(*error), (1, 20)),
        other => panic!("{other:?}"),
    }
}

// E1
#[tokio::test]
async fn an_error_that_answers_a_request_is_in_the_log() {
    let (logs, _guard) = Logs::of_this_thread();
    let failing = Failing::new(MemoryDriver::new());
    let layer = layer(failing.clone()).await;
    failing.fail([Call::Load, Call::Commit]);
    let read =
        send(&layer, request_of(&"0".repeat(32)), async |session| session.load().await.map(|_| ()));
    assert_eq!(read.await.status, 503);
    assert_eq!(logs.text().matches("pulled-the-plug").count(), 1);
    let write = send(&layer, request_with(&[]), async |session| session.app::<Shop>().set("n", &1));
    assert_eq!(write.await.status, 503);
    assert_eq!(logs.text().matches("pulled-the-plug").count(), 2);
}

#[derive(Debug)]
struct NoRandomness;

impl RandomSource for NoRandomness {
    fn fill(&self, _bytes: &mut [u8]) -> Result<(), RandomError> {
        Err(RandomError)
    }
}

// E3, M5
#[tokio::test]
async fn without_randomness_no_session_is_made() {
    let driver = MemoryDriver::new();
    let layer = builder(driver.clone()).random(NoRandomness).build().await.unwrap();
    let write = send(&layer, request_with(&[]), async |session| session.app::<Shop>().set("n", &1));
    let answer = write.await;
    assert_eq!((answer.status.as_u16(), answer.new_id()), (500, None));
    let create =
        send(&layer, request_with(&[]), async |session| session.create().await.map(|_| ()));
    let answer = create.await;
    assert_eq!((answer.status.as_u16(), answer.new_id()), (500, None));
    assert!(driver.is_empty());
}

/// Always the same bytes, so that a second session's id is taken.
#[derive(Debug)]
struct Repeating;

impl RandomSource for Repeating {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        bytes.fill(7);
        Ok(())
    }
}

on_each_driver! {
    // M12, E3
    async fn an_id_that_is_taken_is_never_given_twice(storage) {
        let layer = builder(storage.driver.clone()).random(Repeating).build().await.unwrap();
        let id = session_with(&layer, &[("n", 1)]).await;
        for way in 0..3 {
            let answer = send(&layer, request_with(&[]), async |session| match way {
                0 => session.create().await.map(|_| ()),
                1 => session.app::<Shop>().set("n", &2),
                _ => session.app::<Shop>().update("n", |_: Option<i64>| 3).await.map(|_| ()),
            })
            .await;
            assert!(answer.status.is_server_error(), "{way}");
            assert_eq!(answer.new_id(), None);
            assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])), "{way}");
        }
    }

    // E3: nothing that a handler can ask for, in any order, makes the layer panic.
    async fn no_order_of_calls_panics(storage) {
        let layer = layer(storage.driver.clone()).await;
        let calls = 13_usize;
        for first in 0..calls {
            for second in 0..calls {
                let id = session_with(&layer, &[("n", 1)]).await;
                for request in [request_of(&id), request_with(&["sessionID=x"])] {
                    let answer = send(&layer, request, async |session| {
                        for call in [first, second, first] {
                            one_call(&session, call).await;
                        }
                    })
                    .await;
                    let status = answer.status.as_u16();
                    assert!([200, 409].contains(&status), "{first} {second}: {status}");
                }
            }
        }
    }
}

async fn one_call(session: &SessionManager, call: usize) {
    let shop = session.app::<Shop>();
    // The errors are not the point.
    match call {
        0 => drop(session.load().await),
        1 => drop(session.create().await),
        2 => drop(session.end().await),
        3 => drop(session.destroy(SessionTarget::Current, OnWarning::Ignore).await),
        4 => drop(session.commit().await),
        5 => session.rollback(),
        6 => drop(shop.set("n", &1)),
        7 => drop(shop.delete("n").await),
        8 => shop.empty(),
        9 => drop(shop.update("n", |n: Option<i64>| n.unwrap_or(0)).await),
        10 => {
            let past = std::time::SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(9);
            drop(session.set_expire(past, SessionTarget::Current).await);
        }
        11 => drop(session.load_id("x").await),
        _ => {
            drop(session.set_cookie());
            drop(session.take_response_headers());
            drop(session.delete_cookie());
        }
    }
}
