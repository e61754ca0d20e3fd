//! The queue of `Set-Cookie` pairs: what waits, what was sent, what the application took over.

use std::sync::atomic::Ordering::SeqCst;

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use web_session::{SessionError, SessionManager};

use crate::rig::{
    attribute, cookie, given_id, is_removal, removes_cookie, rig, set_cookie, set_cookies,
};
use crate::support::memory;

on_each_driver! {
    // M20
    async fn sending_moves_the_queue_into_the_headers_and_to_what_was_sent(storage) {
        let rig = rig(storage).await;
        let manager = rig.manager();
        let mut headers = HeaderMap::new();
        manager.send_cookie_headers(&mut headers);
        assert!(headers.is_empty());

        let id = manager.create().await.unwrap();
        let queued = manager.response_headers();
        assert_eq!(queued.len(), 1);
        assert!(queued[0].1.is_sensitive());
        assert!(queued[0].1.to_str().unwrap().starts_with(&cookie(id)));
        assert_eq!(manager.sent_headers(), []);

        headers.append(SET_COOKIE, HeaderValue::from_static("theme=dark"));
        manager.send_cookie_headers(&mut headers);
        manager.send_cookie_headers(&mut headers);
        let sent: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(sent, ["theme=dark", queued[0].1.to_str().unwrap()]);
        assert_eq!(manager.response_headers(), []);
        assert_eq!(manager.sent_headers(), queued);
    }

    // M20, L4
    async fn the_layer_sends_the_queue_whatever_the_response(storage) {
        let rig = rig(storage).await;
        for status in [200, 304, 404, 500, 503] {
            let mut kept = None;
            let response = rig.visit(async |session| {
                session.create().await.unwrap();
                kept = Some(session);
                StatusCode::from_u16(status).unwrap()
            }).await;
            let session = kept.unwrap();
            assert_eq!(Some(given_id(&response)), session.session_id(), "{status}");
            assert_eq!(session.response_headers(), []);
            let sent = &session.sent_headers()[0];
            assert_eq!(sent.1.to_str().unwrap(), set_cookie(&response));
            assert!(response.headers()[SET_COOKIE].is_sensitive());
        }
    }

    // M20, L7
    async fn the_queue_is_sent_when_the_commit_fails(storage) {
        let rig = rig(storage).await;
        let response = rig.visit(async |session| {
            session.create().await.unwrap();
            session.store("shop").unwrap().set("n", &1).unwrap();
            rig.driver.broken.store(true, SeqCst);
            with_own_cookie()
        }).await;
        rig.driver.broken.store(false, SeqCst);
        assert_eq!(response.status(), 503);
        assert_eq!(rig.n(given_id(&response)).await, None);
    }

    // M20, L4
    async fn a_session_that_was_not_stored_gets_no_cookie(storage) {
        let rig = rig(storage).await;
        for status in [200, 500] {
            rig.driver.broken.store(status == 200, SeqCst);
            let response = rig.visit(async |session| {
                session.store("shop").unwrap().set("n", &1).unwrap();
                StatusCode::from_u16(status).unwrap()
            }).await;
            assert!(response.status().is_server_error());
            assert_eq!(set_cookies(&response), [""; 0]);
        }
    }

    // M20
    async fn a_handler_that_sends_the_queue_itself_is_not_repeated(storage) {
        let rig = rig(storage).await;
        let response = rig.visit(async |session| {
            session.create().await.unwrap();
            let mut response = with_own_cookie();
            session.send_cookie_headers(response.headers_mut());
            response
        }).await;
        assert_eq!(set_cookies(&response).len(), 2);
    }

    // M21
    async fn set_cookie_queues_the_cookie_of_the_session_again(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            assert!(session.load().await.unwrap());
            assert_eq!(session.response_headers(), []);
            session.set_cookie().unwrap();
            let string = session.set_cookie_string(None).unwrap();
            assert_eq!(session.response_headers(), [(SET_COOKIE, string)]);
        }).await;
        assert_eq!(given_id(&response), id);
    }

    // M21, L6
    async fn after_the_response_no_cookie_can_be_queued(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let mut kept = None;
        rig.visit_with(id, async |session| {
            assert!(session.load().await.unwrap());
            kept = Some(session);
        }).await;
        let session = kept.unwrap();
        assert_eq!(session.set_cookie(), Err(SessionError::ResponseStarted));
        assert_eq!(session.response_headers(), []);
    }

    // M23
    async fn what_the_application_took_over_the_layer_does_not_send(storage) {
        let rig = rig(storage).await;
        let mut taken = Vec::new();
        let response = rig.visit(async |session| {
            session.create().await.unwrap();
            let queued = session.response_headers();
            assert_eq!(session.response_headers(), queued);
            taken = session.take_response_headers();
            assert_eq!(taken, queued);
            assert_eq!(session.response_headers(), []);
            assert_eq!(session.take_response_headers(), []);
            assert_eq!(session.sent_headers(), []);
            with_own_cookie()
        }).await;
        assert_eq!(set_cookies(&response), ["theme=dark"]);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].0, SET_COOKIE);
    }

    // M23
    async fn what_is_queued_after_the_taking_is_sent(storage) {
        let rig = rig(storage).await;
        let response = rig.visit(async |session| {
            session.create().await.unwrap();
            drop(session.take_response_headers());
            session.end().await.unwrap();
        }).await;
        assert!(removes_cookie(&response));
    }

    // M20, L4
    async fn of_several_session_cookies_only_the_last_is_sent(storage) {
        let rig = rig(storage).await;
        let mut last = None;
        let response = rig.visit(async |session| {
            session.create().await.unwrap();
            session.end().await.unwrap();
            assert!(is_removal(queued(&session).to_str().unwrap()));
            last = Some(session.create().await.unwrap());
            with_own_cookie()
        }).await;
        let [own, sessions] = set_cookies(&response).try_into().unwrap();
        assert_eq!(own, "theme=dark");
        assert!(sessions.starts_with(&cookie(last.unwrap())));
        assert_eq!(attribute(sessions, "Max-Age"), Some("86400"));
        assert!(rig.loads(last.unwrap()).await);
    }

    // M20, L4
    async fn a_session_that_the_commit_creates_wins_over_the_end_of_the_one_before(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        let response = rig.visit_with(id, async |session| {
            session.set_cookie().unwrap_err();
            session.end().await.unwrap();
            session.store("shop").unwrap().set("n", &2).unwrap();
        }).await;
        assert_eq!(rig.n(given_id(&response)).await, Some(2));
    }
}

fn with_own_cookie() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().append(SET_COOKIE, HeaderValue::from_static("theme=dark"));
    response
}

fn queued(session: &SessionManager) -> HeaderValue {
    match &*session.response_headers() {
        [(_, value)] => value.clone(),
        others => panic!("{} cookies wait", others.len()),
    }
}

// M20, M23
#[tokio::test]
async fn outside_a_request_the_queue_is_sent_by_whoever_uses_the_manager() {
    let rig = rig(memory()).await;
    let manager = rig.manager();
    manager.store("shop").unwrap().set("n", &1).unwrap();
    assert_eq!(manager.response_headers(), []);
    manager.commit().await.unwrap();
    let id = manager.session_id().unwrap();
    assert!(queued(&manager).to_str().unwrap().starts_with(&cookie(id)));
    manager.end().await.unwrap();
    assert!(is_removal(queued(&manager).to_str().unwrap()));
}
