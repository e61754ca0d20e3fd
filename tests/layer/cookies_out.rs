//! The session cookie of the response.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::response::IntoResponse;
use http::StatusCode;
use http::header::SET_COOKIE;
use web_session::{
    CookieConfig, MaxAge, MemoryDriver, SameSite, SessionError, SessionLayer, SessionManager,
};

use crate::visitor::*;
use crate::wrappers::{Call, Failing};

async fn with_cookie(config: CookieConfig) -> SessionLayer {
    builder(MemoryDriver::new()).cookie(config).build().await.unwrap()
}

/// Creates a session through the layer; the one session cookie of the response.
async fn cookie_of(layer: &SessionLayer, name: &str) -> String {
    let answer =
        send(layer, request_with(&[]), async |session| session.app::<Shop>().set("n", &1)).await;
    let cookies = answer.all("set-cookie");
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert!(cookies[0].starts_with(&format!("{name}=")), "{cookies:?}");
    cookies[0].to_owned()
}

/// A cookie without its value, as a set of attributes, none of them twice.
fn attributes(cookie: &str) -> BTreeSet<String> {
    let attributes: Vec<_> = cookie.split("; ").skip(1).map(str::to_owned).collect();
    let names: BTreeSet<_> = attributes
        .iter()
        .map(|attribute| attribute.split('=').next().unwrap().to_ascii_lowercase())
        .collect();
    assert_eq!(names.len(), attributes.len(), "SECURITY 23: {cookie}");
    attributes.into_iter().collect()
}

fn set(attributes: &[&str]) -> BTreeSet<String> {
    attributes.iter().map(|text| (*text).to_owned()).collect()
}

// C1, M3, SECURITY 20
#[tokio::test]
async fn the_default_cookie_is_protected_and_lives_as_long_as_the_session() {
    let cookie = cookie_of(&with_cookie(CookieConfig::default()).await, "sessionID").await;
    let expected = ["HttpOnly", "Secure", "SameSite=Lax", "Path=/", "Max-Age=86400"];
    // The clock may have moved on by a millisecond, and a part of a second is cut.
    let late = ["HttpOnly", "Secure", "SameSite=Lax", "Path=/", "Max-Age=86399"];
    let attributes = attributes(&cookie);
    assert!([set(&expected), set(&late)].contains(&attributes), "{cookie}");
    let (_, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
    assert_eq!(value.len(), 32);
    assert!(value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
}

// C1, C3
#[tokio::test]
async fn a_configured_cookie_is_sent_as_configured() {
    let config = CookieConfig::default()
        .with_name("__Secure-shop")
        .with_path("/shop")
        .with_domain("example.com")
        .with_comment("keeps you logged in")
        .with_same_site(SameSite::None)
        .with_max_age(MaxAge::Seconds(60))
        .with_partitioned();
    let cookie = cookie_of(&with_cookie(config).await, "__Secure-shop").await;
    assert_eq!(
        attributes(&cookie),
        set(&[
            "HttpOnly",
            "Secure",
            "SameSite=None",
            "Partitioned",
            "Path=/shop",
            "Domain=example.com",
            "Max-Age=60",
            "Comment=\"keeps you logged in\"",
        ])
    );
    let bare = CookieConfig::default()
        .with_max_age(MaxAge::Browser)
        .with_same_site(SameSite::Strict)
        .without_secure()
        .without_http_only();
    let cookie = cookie_of(&with_cookie(bare).await, "sessionID").await;
    assert_eq!(attributes(&cookie), set(&["SameSite=Strict", "Path=/"]));
}

// C1, M22, SECURITY 18
#[tokio::test]
async fn the_removal_repeats_what_identifies_the_cookie() {
    let config = CookieConfig::default()
        .with_path("/shop")
        .with_domain("example.com")
        .with_max_age(MaxAge::Seconds(60))
        .with_partitioned();
    let layer = with_cookie(config).await;
    let sent = attributes(&cookie_of(&layer, "sessionID").await);
    let id = session_with(&layer, &[]).await;
    let logout = send(&layer, request_of(&id), |session| async move { session.end().await }).await;
    assert!(logout.removes_cookie());
    let removal = attributes(logout.session_cookies()[0]);
    let past = "Expires=Thu, 01 Jan 1970 00:00:00 GMT";
    let mut expected: BTreeSet<_> = sent.clone();
    assert!(expected.remove("Max-Age=60"));
    expected.extend(set(&["Max-Age=0", past]));
    assert_eq!(removal, expected);
}

// L4
#[tokio::test]
async fn the_session_cookie_stands_beside_the_applications_own() {
    let layer = layer(MemoryDriver::new()).await;
    let answer = send(&layer, request_with(&[]), async |session| {
        session.app::<Shop>().set("n", &1)?;
        let own = [(SET_COOKIE, "theme=dark"), (SET_COOKIE, "sessionID2=x")];
        let mut response = axum::response::AppendHeaders(own).into_response();
        response.headers_mut().append(SET_COOKIE, "lang=en; Path=/".parse().unwrap());
        Ok::<_, SessionError>(response)
    })
    .await;
    let cookies = answer.all("set-cookie");
    assert_eq!(&cookies[..3], ["theme=dark", "sessionID2=x", "lang=en; Path=/"]);
    assert_eq!(cookies.len(), 4);
    assert_eq!(answer.session_cookies().len(), 1);
}

// L4, SECURITY 23
#[tokio::test]
async fn of_several_pairs_the_last_wins() {
    let layer = layer(MemoryDriver::new()).await;
    let answer = send(&layer, request_with(&[]), async |session| {
        let first = session.create().await?;
        session.end().await?;
        let second = session.create().await?;
        session.set_cookie()?;
        assert_eq!(session.response_headers().len(), 1);
        assert_ne!(first.expose().as_str(), second.expose().as_str());
        Ok::<_, SessionError>(second.expose().to_string())
    })
    .await;
    assert_eq!(answer.new_id(), Some(answer.body.clone()));

    let answer = send(&layer, request_of(&answer.body), async |session| {
        session.load().await?;
        session.set_cookie()?;
        session.delete_cookie()
    })
    .await;
    assert_eq!(answer.session_cookies().len(), 1);
    assert!(answer.removes_cookie());
}

// L4
#[tokio::test]
async fn the_queue_is_sent_whatever_the_status() {
    let layer = layer(MemoryDriver::new()).await;
    for status in [200, 204, 302, 304, 400, 404, 409, 418, 500, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = send(&layer, request_with(&[]), async |session| {
            session.create().await?;
            Ok::<_, SessionError>(status)
        })
        .await;
        assert_eq!(answer.status, status);
        let id = answer.new_id().expect("a session that was created at once is announced");

        let answer = send(&layer, request_of(&id), async |session| {
            session.end().await?;
            Ok::<_, SessionError>(status)
        })
        .await;
        assert!(answer.removes_cookie(), "{status}");
        assert_eq!(items_of(&layer, &id).await, None, "{status}");

        let answer = send(&layer, request_with(&[]), async |session: SessionManager| {
            session.delete_cookie()?;
            Ok::<_, SessionError>(status)
        })
        .await;
        assert!(answer.removes_cookie(), "{status}");
    }
}

on_each_driver! {
    // L4
    async fn an_implicit_session_is_announced_only_after_its_commit(storage) {
        let failing = Failing::new(storage.driver.clone());
        let layer = layer(failing.clone()).await;
        failing.fail([Call::Commit]);
        let answer = send(&layer, request_with(&[]), async |session| {
            session.app::<Shop>().set("n", &1)?;
            assert_eq!(session.response_headers().len(), 0);
            Ok::<_, SessionError>("stored")
        })
        .await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.session_cookies(), [""; 0]);

        let answer = send(&layer, request_with(&[]), async |session| {
            session.app::<Shop>().set("n", &1)?;
            Ok::<_, SessionError>(StatusCode::INTERNAL_SERVER_ERROR)
        })
        .await;
        assert_eq!(answer.session_cookies(), [""; 0]);
        failing.mend();
        assert_eq!(remove_all(&layer).await, 0);
    }

    // L4
    async fn the_queue_outlives_a_commit_failure(storage) {
        let failing = Failing::new(storage.driver.clone());
        let layer = layer(failing.clone()).await;
        failing.fail([Call::Commit]);
        let answer = send(&layer, request_with(&[]), async |session| {
            session.create().await?;
            session.app::<Shop>().set("n", &1)
        })
        .await;
        assert_eq!(answer.status, 503);
        let id = answer.new_id().unwrap();
        assert_eq!(items_of(&layer, &id).await, Some(Vec::new()));
    }

    // L4, M17
    async fn a_new_end_of_the_session_sends_its_cookie_again_after_the_commit(storage) {
        let (layer, clock) = layer_with_clock(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 1)]).await;
        let until = |seconds| web_session::Clock::now(&clock) + Duration::from_secs(seconds);
        let answer = send(&layer, request_of(&id), async |session| {
            session.load().await?;
            session.set_expire(until(90), web_session::SessionTarget::Current).await?;
            assert_eq!(session.response_headers().len(), 0);
            Ok::<_, SessionError>(())
        })
        .await;
        assert_eq!(answer.new_id(), Some(id.clone()));
        assert!(answer.session_cookies()[0].ends_with("Max-Age=90"));

        let answer = send(&layer, request_of(&id), async |session| {
            session.load().await?;
            session.set_expire(until(0), web_session::SessionTarget::Current).await
        })
        .await;
        assert!(answer.removes_cookie());
        assert_eq!(items_of(&layer, &id).await, None);
    }
}

// L4, M23
#[tokio::test]
async fn pairs_that_were_taken_over_are_not_sent_by_the_layer() {
    let layer = layer(MemoryDriver::new()).await;
    let mut kept = None;
    let answer = send(&layer, request_with(&[]), |session| {
        kept = Some(session.clone());
        async move {
            session.create().await?;
            let pairs = session.take_response_headers();
            assert_eq!(pairs.len(), 1);
            assert_eq!(session.response_headers().len(), 0);
            Ok::<_, SessionError>(())
        }
    })
    .await;
    assert_eq!(answer.all("set-cookie"), [""; 0]);
    assert_eq!(kept.unwrap().sent_headers().len(), 0);
}

// E2, M20
#[tokio::test]
async fn queued_and_sent_pairs_are_marked_sensitive() {
    let layer = layer(MemoryDriver::new()).await;
    let mut kept = None;
    let answer = send(&layer, request_with(&[]), |session| {
        kept = Some(session.clone());
        async move {
            session.create().await?;
            assert!(session.response_headers().iter().all(|(_, value)| value.is_sensitive()));
            Ok::<_, SessionError>(())
        }
    })
    .await;
    assert!(answer.headers[SET_COOKIE].is_sensitive());
    let sent = kept.unwrap().sent_headers();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].1.is_sensitive());
    assert_eq!(sent[0].1, answer.headers[SET_COOKIE]);
}
