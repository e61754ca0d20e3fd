//! Commits that cannot be done.

use std::time::Duration;

use axum::body::Body;
use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use web_session::{MemoryDriver, SessionError, SessionLayer, SessionManager};

use crate::visitor::*;
use crate::wrappers::{Call, Failing};

on_each_driver! {
    // L7
    async fn a_storage_failure_is_a_503_without_anything_of_the_handlers(storage) {
        let failing = Failing::new(storage.driver.clone());
        let layer = layer(failing.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        failing.fail([Call::Commit]);
        for request in [request_of(&id), request_with(&[])] {
            let answer = send(&layer, request, async |session| {
                session.app::<Shop>().set("n", &2)?;
                let headers = [
                    (LOCATION, "/paid"),
                    (CONTENT_TYPE, "text/plain"),
                    (SET_COOKIE, "receipt=1"),
                ];
                Ok::<_, SessionError>((http::StatusCode::CREATED, headers, "paid"))
            })
            .await;
            assert_eq!((answer.status.as_u16(), &*answer.body), (503, ""));
            let names: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
            assert_eq!(names, ["vary"]);
        }
        failing.mend();
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
        assert_eq!(remove_all(&layer).await, 1);
    }

    // L7, S5
    async fn a_session_that_ended_meanwhile_is_a_409_and_the_queue_is_kept(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        let answer = send(&layer, request_of(&id), async |session| {
            session.load().await?;
            session.set_cookie()?;
            session.app::<Shop>().set("n", &2)?;
            send(&layer, request_of(&id), async |other| other.end().await).await;
            Ok::<_, SessionError>(([(SET_COOKIE, "receipt=1")], "paid"))
        })
        .await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (409, ""));
        assert_eq!(answer.all("set-cookie").len(), 1);
        assert_eq!(answer.new_id(), Some(id));
        assert_eq!(remove_all(&layer).await, 0);
    }

    // L7: after an explicit commit that failed, the layer's own does not look like success.
    async fn a_failed_commit_that_the_handler_ignores_fails_again(storage) {
        let failing = Failing::new(storage.driver.clone());
        let layer = layer(failing.clone()).await;
        failing.fail([Call::Commit]);
        let answer = send(&layer, request_with(&[]), async |session| {
            session.app::<Shop>().set("n", &2)?;
            assert_eq!(session.commit().await, Err(SessionError::Driver(Failing::error())));
            Ok::<_, SessionError>("paid")
        })
        .await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (503, ""));

        let answer = send(&layer, request_with(&[]), async |session| {
            session.app::<Shop>().set("n", &2)?;
            assert!(session.commit().await.is_err());
            session.rollback();
            Ok::<_, SessionError>("not paid")
        })
        .await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, "not paid"));

        let answer = send(&layer, request_with(&[]), async |session| {
            session.app::<Shop>().set("n", &2)?;
            assert!(session.commit().await.is_err());
            failing.mend();
            Ok::<_, SessionError>("paid")
        })
        .await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, "paid"));
        let id = answer.new_id().unwrap();
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 2)])));
    }

    // L7, E1: a load that fails is never "there is no session".
    async fn a_read_that_fails_is_an_error_and_not_an_empty_session(storage) {
        let failing = Failing::new(storage.driver.clone());
        let layer = layer(failing.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        failing.fail([Call::Load]);
        let answer = send(&layer, request_of(&id), async |session| {
            let failed = Err(SessionError::Driver(Failing::error()));
            assert_eq!(session.load().await, failed);
            assert_eq!(session.error(), None);
            session.app::<Shop>().get::<i64>("n").await.map(|_| ())
        })
        .await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.session_cookies(), [""; 0]);

        // What failed can be tried again in the same request.
        let answer = send(&layer, request_of(&id), async |session| {
            assert!(session.load().await.is_err());
            failing.mend();
            session.app::<Shop>().get::<i64>("n").await.map(|n| n.unwrap().to_string())
        })
        .await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, "1"));
    }

    // L7: a logout that failed leaves the cookie, so that it can be tried again.
    async fn a_logout_that_fails_is_not_announced(storage) {
        let failing = Failing::new(storage.driver.clone());
        let layer = layer(failing.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        failing.fail([Call::Destroy]);
        let answer = send(&layer, request_of(&id), async |session| session.end().await).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.session_cookies(), [""; 0]);
        failing.mend();
        let answer = send(&layer, request_of(&id), async |session| session.end().await).await;
        assert!(answer.removes_cookie());
        assert_eq!(items_of(&layer, &id).await, None);
    }
}

/// A body without a `Default`.
#[derive(Debug, PartialEq)]
struct Page(String);

// L7, L9
#[tokio::test]
async fn the_failure_response_can_be_the_applications_own() {
    let failing = Failing::new(MemoryDriver::new());
    let (layer, clock) = layer_with_clock(failing.clone()).await;
    let id = session_with(&layer, &[("n", 1)]).await;
    let stage = "staging".to_owned();
    let layer = layer.on_commit_failure(move |error: &SessionError| {
        Response::builder()
            .status(error.status())
            .header("retry-after", "3")
            .body(Page(format!("sorry from {stage}: {}", error.status())))
            .unwrap()
    });
    let serve = |ends: bool| {
        let clock = clock.clone();
        layer.layer(service_fn(move |request: Request<Body>| {
            let clock = clock.clone();
            async move {
                let session = request.extensions().get::<SessionManager>().unwrap();
                session.load().await?;
                session.set_cookie()?;
                session.app::<Shop>().set("n", &2)?;
                if ends {
                    clock.advance(Duration::from_secs(100_000));
                }
                Ok::<_, SessionError>(Response::new(Page("paid".to_owned())))
            }
        }))
    };
    failing.fail([Call::Commit]);
    let response = serve(false).oneshot(request_of(&id)).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "3");
    assert!(response.headers().contains_key(SET_COOKIE), "the queue is kept");
    assert_eq!(response.body().0, "sorry from staging: 503 Service Unavailable");

    failing.mend();
    let response = serve(true).oneshot(request_of(&id)).await.unwrap();
    assert_eq!(response.body().0, "sorry from staging: 409 Conflict");
}

// L7, S8
#[tokio::test]
async fn a_commit_beyond_the_limits_is_a_500() {
    let mut limits = web_session::Limits::default();
    limits.items = 1;
    let layer = SessionLayer::builder(MemoryDriver::new()).limits(limits).build().await.unwrap();
    let id = session_with(&layer, &[("n", 1)]).await;
    let answer = send(&layer, request_of(&id), async |session| {
        session.app::<Shop>().set("m", &2)?;
        Ok::<_, SessionError>("paid")
    })
    .await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (500, ""));
    assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
}
