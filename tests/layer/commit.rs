//! Which changes last.

use std::convert::Infallible;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use web_session::{MemoryDriver, SessionError, SessionManager, SessionTarget};

use crate::logs::Logs;
use crate::visitor::*;

const LATE: &str = "session changes were dropped";

on_each_driver! {
    // L6
    async fn all_but_a_5xx_makes_changes_last(storage) {
        let layer = layer(storage.driver.clone()).await;
        for (status, lasts) in [
            (200, true), (201, true), (204, true), (303, true), (304, true), (400, true),
            (404, true), (422, true), (499, true), (500, false), (503, false), (599, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let id = session_with(&layer, &[("n", 1)]).await;
            send(&layer, request_of(&id), async |session| {
                session.app::<Shop>().set("n", &2)?;
                Ok::<_, SessionError>(status)
            })
            .await;
            let expected = if lasts { 2 } else { 1 };
            assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", expected)])), "{status}");
        }
    }

    // L6
    async fn the_status_rule_can_be_replaced(storage) {
        let layer = builder(storage.driver.clone())
            .commit_on(|status| status.is_success() || status == 500)
            .build()
            .await
            .unwrap();
        for (status, lasts) in [(200, true), (500, true), (303, false), (404, false), (503, false)] {
            let status = StatusCode::from_u16(status).unwrap();
            let id = session_with(&layer, &[("n", 1)]).await;
            send(&layer, request_of(&id), async |session| {
                session.app::<Shop>().set("n", &2)?;
                Ok::<_, SessionError>(status)
            })
            .await;
            let expected = if lasts { 2 } else { 1 };
            assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", expected)])), "{status}");
        }
    }

    // L6
    async fn changes_are_dropped_when_the_inner_service_fails(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        let mut kept = None;
        let service = layer.layer(service_fn(|request: Request<Body>| {
            let session = request.extensions().get::<SessionManager>().unwrap().clone();
            session.app::<Shop>().set("n", &2).unwrap();
            kept = Some(session);
            async { Err::<Response<Body>, _>("the inner service failed") }
        }));
        assert_eq!(service.oneshot(request_of(&id)).await.unwrap_err(), "the inner service failed");
        // Not even whoever still has the manager can make them last.
        kept.unwrap().commit().await.unwrap();
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
    }

    // L6
    async fn changes_are_dropped_when_the_handler_panics(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        let (to_test, from_handler) = std::sync::mpsc::channel();
        let request = tokio::spawn({
            let (layer, id) = (layer.clone(), id.clone());
            async move {
                send(&layer, request_of(&id), |session: SessionManager| async move {
                    session.app::<Shop>().set("n", &2).unwrap();
                    session.app::<Shop>().get::<i64>("n").await.unwrap();
                    to_test.send(session).unwrap();
                    if id.len() == 32 {
                        panic!("the handler panicked");
                    }
                })
                .await
            }
        });
        assert!(request.await.unwrap_err().is_panic());
        from_handler.recv().unwrap().commit().await.unwrap();
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
    }

    // L6
    async fn changes_are_dropped_when_the_request_is_cancelled(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        let mut kept = None;
        let request = send(&layer, request_of(&id), |session: SessionManager| {
            session.app::<Shop>().set("n", &2).unwrap();
            kept = Some(session);
            std::future::pending::<()>()
        });
        assert!(give_up_after(0, request).await.is_none());
        let session = kept.unwrap();
        session.commit().await.unwrap();
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
        // The request is over for what comes later, too: no cookie can be sent.
        assert_eq!(session.delete_cookie(), Err(SessionError::ResponseStarted));
    }

    // L6
    async fn what_was_done_at_once_is_not_undone(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 1), ("m", 1)]).await;
        let doomed = session_with(&layer, &[]).await;
        let answer = send(&layer, request_of(&id), async |session| {
            let shop = session.app::<Shop>();
            shop.update("n", |n: Option<i64>| n.unwrap() + 1).await?;
            shop.set("m", &2)?;
            session.destroy(&*doomed, web_session::OnWarning::Ignore).await?;
            Ok::<_, SessionError>(StatusCode::INTERNAL_SERVER_ERROR)
        })
        .await;
        assert_eq!(answer.status, 500);
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("m", 1), ("n", 2)])));
        assert_eq!(items_of(&layer, &doomed).await, None);
    }

    // L6
    async fn an_explicit_commit_lasts_in_spite_of_a_5xx(storage) {
        let layer = layer(storage.driver.clone()).await;
        let answer = send(&layer, request_with(&[]), async |session| {
            session.app::<Shop>().set("n", &2)?;
            session.commit().await?;
            session.app::<Shop>().set("n", &3)?;
            session.app::<Shop>().set("m", &3)?;
            Ok::<_, SessionError>(StatusCode::INTERNAL_SERVER_ERROR)
        })
        .await;
        let id = answer.new_id().expect("the session was stored, so its cookie is sent");
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 2)])));
    }

    // L6
    async fn a_rollback_drops_what_is_uncommitted(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 1), ("m", 1)]).await;
        let answer = send(&layer, request_of(&id), async |session| {
            let shop = session.app::<Shop>();
            shop.set("n", &2)?;
            shop.delete("m").await?;
            session.set_expire(std::time::SystemTime::UNIX_EPOCH, SessionTarget::Current).await?;
            session.rollback();
            assert_eq!(shop.get::<i64>("n").await?, Some(1));
            assert_eq!(shop.get::<i64>("m").await?, Some(1));
            shop.set("k", &9)
        })
        .await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            items_of(&layer, &id).await,
            Some(items(&[("k", 9), ("m", 1), ("n", 1)]))
        );
    }

    // L6
    async fn late_changes_last_with_a_commit_of_their_own(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        let mut kept = None;
        send(&layer, request_of(&id), |session| {
            kept = Some(session.clone());
            async move { session.app::<Shop>().set("n", &2) }
        })
        .await;
        let session = kept.unwrap();
        session.app::<Shop>().set("n", &3).unwrap();
        session.app::<Shop>().set("m", &3).unwrap();
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 2)])));
        session.commit().await.unwrap();
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("m", 3), ("n", 3)])));
    }

    // L6
    async fn a_late_write_cannot_create_a_session(storage) {
        let layer = layer(storage.driver.clone()).await;
        for (request, reads_first) in [
            (request_with(&[]), false),
            (request_of(&"0".repeat(32)), false),
            (request_of(&"0".repeat(32)), true),
        ] {
            let mut kept = None;
            send(&layer, request, |session| {
                kept = Some(session.clone());
                async move {
                    if reads_first {
                        session.load().await.unwrap();
                    }
                }
            })
            .await;
            let session = kept.unwrap();
            session.app::<Shop>().set("n", &1).unwrap();
            assert_eq!(session.commit().await, Err(SessionError::ResponseStarted));
            assert_eq!(session.create().await, Err(SessionError::ResponseStarted));
            let shop = session.app::<Shop>();
            let updated = shop.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).await;
            assert_eq!(updated, Err(SessionError::ResponseStarted));
            session.rollback();
            assert_eq!(session.commit().await, Ok(()));
        }
        assert_eq!(remove_all(&layer).await, 0);
    }
}

// L6
#[tokio::test]
async fn clones_share_one_state() {
    let layer = layer(MemoryDriver::new()).await;
    let answer = send(&layer, request_with(&[]), async |session| {
        let other = session.clone();
        session.app::<Shop>().set("n", &1)?;
        assert_eq!(other.app::<Shop>().get::<i64>("n").await?, Some(1));
        let id = other.create().await?;
        assert_eq!(session.session_id(), Some(id));
        assert!(session.created());
        drop(session);
        other.app::<Shop>().set("m", &2)?;
        Ok::<_, SessionError>(id.expose().to_string())
    })
    .await;
    let stored = items_of(&layer, &answer.body).await;
    assert_eq!(stored, Some(items(&[("m", 2), ("n", 1)])));
}

// L6
#[tokio::test]
async fn dropping_late_changes_is_warned_of() {
    let layer = layer(MemoryDriver::new()).await;
    let id = session_with(&layer, &[("n", 1)]).await;
    for (committed, warns) in [(false, true), (true, false)] {
        let (logs, _guard) = Logs::of_this_thread();
        let mut kept = None;
        send(&layer, request_of(&id), |session| {
            kept = Some(session.clone());
            async move { session.app::<Shop>().set("n", &2) }
        })
        .await;
        let session = kept.unwrap();
        let clone = session.clone();
        session.app::<Shop>().set("n", &3).unwrap();
        if committed {
            session.commit().await.unwrap();
        }
        drop(session);
        assert!(!logs.text().contains(LATE), "one handle is left");
        drop(clone);
        assert_eq!(logs.text().contains(LATE), warns);
    }
}

// L6
#[tokio::test]
async fn what_a_request_drops_by_rule_is_not_warned_of() {
    let layer = layer(MemoryDriver::new()).await;
    let (logs, _guard) = Logs::of_this_thread();
    send(&layer, request_with(&[]), async |session| {
        session.app::<Shop>().set("n", &2)?;
        Ok::<_, SessionError>(StatusCode::INTERNAL_SERVER_ERROR)
    })
    .await;
    let cancelled = send(&layer, request_with(&[]), async |session| {
        session.app::<Shop>().set("n", &2).unwrap();
        std::future::pending::<()>().await;
    });
    assert!(give_up_after(0, cancelled).await.is_none());
    assert!(!logs.text().contains(LATE), "{}", logs.text());
}

// L6, L9: a service inside that answers panics with a 500, as `tower_http::catch_panic` does.
#[tokio::test]
async fn a_caught_panic_drops_the_changes_like_any_500() {
    let layer = layer(MemoryDriver::new()).await;
    let id = session_with(&layer, &[("n", 1)]).await;
    let service = layer.layer(service_fn(async |request: Request<Body>| {
        let session = request.extensions().get::<SessionManager>().unwrap().clone();
        let handler = tokio::spawn(async move {
            session.app::<Shop>().set("n", &2).unwrap();
            if session.session_id().is_none() {
                panic!("the handler panicked");
            }
        });
        let mut response = Response::new(Body::empty());
        if handler.await.is_err() {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        Ok::<_, Infallible>(response)
    }));
    let Ok(response) = service.oneshot(request_of(&id)).await;
    assert_eq!(response.status(), 500);
    assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
}
