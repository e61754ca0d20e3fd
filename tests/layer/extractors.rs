//! The session in axum handlers.

use axum::body::Body;
use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::Request;
use tower::ServiceExt;
use web_session::{MemoryDriver, SessionError, SessionLayer, SessionManager, Store};

use crate::visitor::*;

async fn visits(shop: Store<Shop>) -> Result<String, SessionError> {
    let n = shop.get::<u64>("visits").await?.unwrap_or(0) + 1;
    shop.set("visits", &n)?;
    Ok(format!("visit {n}"))
}

async fn call(app: &Router, request: Request<Body>) -> Answer {
    let Ok(response) = app.clone().oneshot(request).await;
    answer(response).await
}

fn get_with(path: &str, id: Option<&str>) -> Request<Body> {
    let mut request = id.map_or_else(|| request_with(&[]), request_of);
    *request.uri_mut() = path.parse().unwrap();
    request
}

// L3
#[tokio::test]
async fn handlers_take_the_manager_and_stores_as_arguments() {
    let app = Router::new()
        .route("/visit", get(visits))
        .route(
            "/both",
            get(async |session: SessionManager, shop: Store<Shop>| {
                shop.set("by-store", &1)?;
                session.app::<Shop>().get::<i64>("by-store").await.map(|seen| format!("{seen:?}"))
            }),
        )
        .route(
            "/extension",
            get(async |Extension(session): Extension<SessionManager>| {
                session.app::<Shop>().keys().await.map(|keys| keys.join(","))
            }),
        )
        .route(
            "/any/{application}",
            get(async |session: SessionManager, Path(name): Path<String>| {
                session.store(&name)?.len().await.map(|n| n.to_string())
            }),
        )
        .route("/logout", post(async |session: SessionManager| session.end().await))
        .layer(SessionLayer::new(MemoryDriver::new()));

    let first = call(&app, get_with("/visit", None)).await;
    assert_eq!((first.status.as_u16(), &*first.body), (200, "visit 1"));
    let id = first.new_id().unwrap();
    let second = call(&app, get_with("/visit", Some(&id))).await;
    assert_eq!(second.body, "visit 2");
    assert_eq!(second.session_cookies(), [""; 0]);

    // Handles of one request share its state.
    assert_eq!(call(&app, get_with("/both", Some(&id))).await.body, "Some(1)");
    assert_eq!(call(&app, get_with("/extension", Some(&id))).await.body, "by-store,visits");
    assert_eq!(call(&app, get_with("/any/shop", Some(&id))).await.body, "2");
    assert_eq!(call(&app, get_with("/any/blog", Some(&id))).await.body, "0");
    assert_eq!(call(&app, get_with("/any/a%20b", Some(&id))).await.status, 500);

    let mut logout = get_with("/logout", Some(&id));
    *logout.method_mut() = http::Method::POST;
    assert!(call(&app, logout).await.removes_cookie());
    assert_eq!(call(&app, get_with("/visit", Some(&id))).await.body, "visit 1");
}

// L3
#[tokio::test]
async fn a_missing_layer_is_an_error_that_names_it() {
    let app = Router::new()
        .route("/store", get(visits))
        .route("/manager", get(async |_: SessionManager| "never"));
    for path in ["/store", "/manager"] {
        let answer = call(&app, get_with(path, None)).await;
        assert_eq!(answer.status, 500, "{path}");
        assert!(answer.body.contains("SessionLayer"), "{path}: {}", answer.body);
    }
}

// L3
#[tokio::test]
async fn only_the_routes_inside_the_layer_have_sessions() {
    let app = Router::new()
        .route("/inside", get(visits))
        .layer(SessionLayer::new(MemoryDriver::new()))
        .route("/outside", get(visits));
    assert_eq!(call(&app, get_with("/inside", None)).await.status, 200);
    assert_eq!(call(&app, get_with("/outside", None)).await.status, 500);
}

// L3
#[tokio::test]
async fn a_route_that_is_not_found_is_answered_without_a_session() {
    let driver = MemoryDriver::new();
    let app = Router::new().route("/visit", get(visits)).layer(SessionLayer::new(driver.clone()));
    let answer = call(&app, get_with("/nowhere", None)).await;
    assert_eq!((answer.status.as_u16(), answer.headers.len()), (404, 0), "{answer:?}");
    assert!(driver.is_empty());
}

// L3
#[tokio::test]
async fn an_optional_manager_is_there_where_the_layer_is() {
    let optional = async |session: Option<SessionManager>| match session {
        Some(session) => session.app::<Shop>().len().await.map(|n| n.to_string()),
        None => Ok("no layer".to_owned()),
    };
    let app = Router::new()
        .route("/inside", get(optional))
        .layer(SessionLayer::new(MemoryDriver::new()))
        .route("/outside", get(optional));
    for (path, body) in [("/inside", "0"), ("/outside", "no layer")] {
        let answer = call(&app, get_with(path, None)).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, body), "{path}");
    }
}
