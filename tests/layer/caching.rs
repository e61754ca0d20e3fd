//! What caches are told.

use axum::response::IntoResponse;
use http::StatusCode;
use http::header::{CACHE_CONTROL, VARY};
use web_session::{CacheControl, MemoryDriver, SessionError, SessionLayer, SessionManager, Vary};

use crate::logs::Logs;
use crate::visitor::*;
use crate::wrappers::{Call, Failing};

/// What a handler does with the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Nothing,
    Reads,
    CreatesByWriting,
}

async fn respond_with(
    layer: &SessionLayer,
    does: Does,
    headers: &[(http::HeaderName, &str)],
) -> Answer {
    send(layer, request_with(&[]), async |session: SessionManager| {
        match does {
            Does::Nothing => {}
            Does::Reads => {
                session.load().await?;
            }
            Does::CreatesByWriting => session.app::<Shop>().set("n", &1)?,
        }
        let mut response = "page".into_response();
        for (name, value) in headers {
            response.headers_mut().append(name, value.parse().unwrap());
        }
        Ok::<_, SessionError>(response)
    })
    .await
}

// L8, SECURITY 25
#[tokio::test]
async fn a_response_that_depends_on_the_session_varies_by_cookie_once() {
    let layer = layer(MemoryDriver::new()).await;
    let cases: [(&[&str], &str); 12] = [
        (&[], "Cookie"),
        (&["Accept"], "Accept, Cookie"),
        (&["Accept", "Accept-Language, x-a"], "Accept, Accept-Language, x-a, Cookie"),
        (&["cookie"], "cookie"),
        (&["Accept, COOKIE ,x"], "Accept, COOKIE ,x"),
        (&["Accept", "Cookie"], "Accept, Cookie"),
        (&["Cookie", "Accept"], "Cookie, Accept"),
        (&["*"], "*"),
        (&["Accept, *"], "Accept, *"),
        (&["Cookie2"], "Cookie2, Cookie"),
        (&["Set-Cookie"], "Set-Cookie, Cookie"),
        (&[""], ", Cookie"),
    ];
    for (own, expected) in cases {
        let own: Vec<_> = own.iter().map(|value| (VARY, *value)).collect();
        for does in [Does::Reads, Does::CreatesByWriting] {
            let answer = respond_with(&layer, does, &own).await;
            assert_eq!(answer.all("vary"), [expected], "{does:?}");
        }
        let answer = respond_with(&layer, Does::Nothing, &own).await;
        assert_eq!(answer.all("vary").len(), own.len());
    }
}

// L8
#[tokio::test]
async fn every_way_to_read_the_session_makes_the_response_vary() {
    let layer = layer(MemoryDriver::new()).await;
    let id = session_with(&layer, &[("n", 1)]).await;
    for way in 0..8 {
        let answer = send(&layer, request_of(&id), async |session: SessionManager| {
            let current = web_session::SessionTarget::Current;
            let shop = session.app::<Shop>();
            match way {
                0 => drop(shop.get::<i64>("n").await?),
                1 => drop(shop.is_empty().await?),
                2 => drop(session.valid(current).await?),
                3 => drop(session.exists(current).await?),
                4 => drop(shop.update("n", |n: Option<i64>| n.unwrap_or(0)).await?),
                5 => drop(shop.remove::<i64>("m").await?),
                6 => shop.set("n", &1)?,
                _ => drop(session.load().await?),
            }
            Ok::<_, SessionError>(())
        })
        .await;
        assert_eq!((answer.status.as_u16(), answer.all("vary")), (200, vec!["Cookie"]), "{way}");
    }
}

// L8, SECURITY 25
#[tokio::test]
async fn a_response_with_a_session_cookie_is_kept_out_of_caches() {
    let layer = layer(MemoryDriver::new()).await;
    let cases: [(&[&str], &[&str], bool); 10] = [
        (&[], &["no-store"], false),
        (&["no-store"], &["no-store"], false),
        (&["private"], &["private"], false),
        (&["Private, max-age=60"], &["Private, max-age=60"], false),
        (&["max-age=60, NO-STORE"], &["max-age=60, NO-STORE"], false),
        (&["max-age=60", "private"], &["max-age=60", "private"], false),
        (&["public, max-age=3600"], &["no-store"], true),
        (&["max-age=60", "public"], &["no-store"], true),
        (&["no-cache"], &["no-store"], true),
        (&["x-private, no-storey"], &["no-store"], true),
    ];
    for (own, expected, warns) in cases {
        let (logs, _guard) = Logs::of_this_thread();
        let headers: Vec<_> = own.iter().map(|value| (CACHE_CONTROL, *value)).collect();
        let answer = respond_with(&layer, Does::CreatesByWriting, &headers).await;
        assert_eq!(answer.session_cookies().len(), 1);
        assert_eq!(answer.all("cache-control"), expected, "{own:?}");
        let warned = logs.text().contains("its Cache-Control was replaced by no-store");
        assert_eq!(warned, warns, "{own:?}");

        // Without a session cookie the handler has the last word.
        for does in [Does::Nothing, Does::Reads] {
            let answer = respond_with(&layer, does, &headers).await;
            assert_eq!(answer.all("cache-control"), own, "{does:?}");
        }
    }
}

// L8
#[tokio::test]
async fn the_removal_of_a_cookie_is_kept_out_of_caches_too() {
    let layer = layer(MemoryDriver::new()).await;
    let id = session_with(&layer, &[]).await;
    let answer = send(&layer, request_of(&id), |session| async move { session.end().await }).await;
    assert!(answer.removes_cookie());
    assert_eq!(answer.all("cache-control"), ["no-store"]);
    assert_eq!(answer.all("vary"), ["Cookie"]);
}

// L8, M20, M23
#[tokio::test]
async fn a_response_whose_handler_sends_the_cookie_itself_is_kept_out_of_caches_too() {
    let layer = layer(MemoryDriver::new()).await;
    for takes_over in [false, true] {
        let answer = send(&layer, request_with(&[]), async |session| {
            session.create().await?;
            let mut response = [(CACHE_CONTROL, "public, max-age=600")].into_response();
            if takes_over {
                response.headers_mut().extend(session.take_response_headers());
            } else {
                session.send_cookie_headers(response.headers_mut());
            }
            Ok::<_, SessionError>(response)
        })
        .await;
        assert!(answer.new_id().is_some());
        assert_eq!(answer.all("cache-control"), ["no-store"], "{takes_over}");
    }
}

// L8
#[tokio::test]
async fn error_responses_are_guarded_too() {
    let layer = layer(MemoryDriver::new()).await;
    let answer = send(&layer, request_with(&[]), async |session| {
        session.create().await?;
        Ok::<_, SessionError>(([(CACHE_CONTROL, "public")], StatusCode::INTERNAL_SERVER_ERROR))
    })
    .await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.all("cache-control"), ["no-store"]);

    let failing = Failing::new(MemoryDriver::new());
    let layer = builder(failing.clone()).build().await.unwrap();
    failing.fail([Call::Commit]);
    let answer = send(&layer, request_with(&[]), async |session| {
        session.load().await?;
        session.create().await?;
        session.app::<Shop>().set("n", &1)?;
        Ok::<_, SessionError>([(CACHE_CONTROL, "public"), (VARY, "Accept")])
    })
    .await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.all("cache-control"), ["no-store"]);
    assert_eq!(answer.all("vary"), ["Cookie"]);
}

// L8
#[tokio::test]
async fn both_headers_can_be_turned_off() {
    let driver = MemoryDriver::new();
    let no_vary = builder(driver.clone()).vary(Vary::Unchanged).build().await.unwrap();
    let answer = respond_with(&no_vary, Does::CreatesByWriting, &[]).await;
    assert_eq!(answer.all("vary"), [""; 0]);
    assert_eq!(answer.all("cache-control"), ["no-store"]);

    let cacheable = builder(driver).cache_control(CacheControl::Unchanged).build().await.unwrap();
    let own = [(CACHE_CONTROL, "public")];
    let answer = respond_with(&cacheable, Does::CreatesByWriting, &own).await;
    assert_eq!(answer.all("vary"), ["Cookie"]);
    assert_eq!(answer.all("cache-control"), ["public"]);
}
