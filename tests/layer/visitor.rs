//! Layers, requests and visitors.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use axum::response::IntoResponse;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, Request, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use web_session::{
    Application, Driver, ManualClock, OnWarning, SessionLayer, SessionLayerBuilder, SessionManager,
};

use crate::support::Storage;

pub struct Shop;

impl Application for Shop {
    const NAME: &'static str = "shop";
}

pub struct Blog;

impl Application for Blog {
    const NAME: &'static str = "blog";
}

/// A builder whose layers never clean up by chance, so that each driver call has a known reason.
pub fn builder(driver: impl Driver) -> SessionLayerBuilder {
    SessionLayer::builder(driver).cleanup_probability(0.0)
}

pub async fn layer(driver: impl Driver) -> SessionLayer {
    builder(driver).build().await.unwrap()
}

pub async fn layer_with_clock(driver: impl Driver) -> (SessionLayer, ManualClock) {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let layer = builder(driver).clock(clock.clone()).build().await.unwrap();
    (layer, clock)
}

/// A second driver on the same storage, as another process would have it. Sessions in memory belong
/// to one process.
pub async fn second_driver(storage: &Storage) -> Arc<dyn Driver> {
    if storage.url.starts_with("memory") {
        storage.driver.clone()
    } else {
        web_session::connect(&storage.url).await.unwrap()
    }
}

/// A session with these items in the shop; its id.
pub async fn session_with(layer: &SessionLayer, items: &[(&str, i64)]) -> String {
    let session = layer.manager();
    let id = session.create().await.unwrap();
    for (key, value) in items {
        session.app::<Shop>().set(key, value).unwrap();
    }
    session.commit().await.unwrap();
    id.expose().to_string()
}

/// What another request finds in the shop; `None` if there is no live session.
pub async fn items_of(layer: &SessionLayer, id: &str) -> Option<Vec<(String, i64)>> {
    let session = layer.manager();
    if !session.load_id(id).await.unwrap() {
        return None;
    }
    Some(session.app::<Shop>().items().await.unwrap())
}

pub fn items(items: &[(&str, i64)]) -> Vec<(String, i64)> {
    items.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect()
}

/// Counts all records, expired ones too, by removing them.
pub async fn remove_all(layer: &SessionLayer) -> u64 {
    let never = SystemTime::now() + Duration::from_secs(100_000 * 86_400);
    let session = layer.manager();
    session.cleanup_between(..never, OnWarning::Ignore).await.unwrap()
}

/// A request with these `Cookie` headers.
pub fn request_with(cookies: &[&str]) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    for cookie in cookies {
        request.headers_mut().append(COOKIE, cookie.parse().unwrap());
    }
    request
}

/// A request of the visitor who has this id.
pub fn request_of(id: &str) -> Request<Body> {
    request_with(&[&format!("sessionID={id}")])
}

/// A response with its body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// The `Set-Cookie` values of the session.
    pub fn session_cookies(&self) -> Vec<&str> {
        self.headers
            .get_all(SET_COOKIE)
            .iter()
            .map(|value| value.to_str().unwrap())
            .filter(|value| value.starts_with("sessionID="))
            .collect()
    }

    /// The id that the response gives to the visitor.
    pub fn new_id(&self) -> Option<String> {
        let cookies = self.session_cookies();
        assert!(cookies.len() <= 1, "{cookies:?}");
        let (_, rest) = cookies.first()?.split_once('=')?;
        let (id, _) = rest.split_once(';')?;
        (!id.is_empty()).then(|| id.to_owned())
    }

    /// Whether the response removes the visitor's cookie.
    pub fn removes_cookie(&self) -> bool {
        self.session_cookies()
            .iter()
            .any(|cookie| cookie.starts_with("sessionID=;") && cookie.contains("Max-Age=0"))
    }

    /// All values of a header, each as it was sent.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }
}

/// Sends a request through the layer to a handler that gets its session.
pub async fn send<F, Fut, R>(layer: &SessionLayer, request: Request<Body>, handler: F) -> Answer
where
    F: FnOnce(SessionManager) -> Fut,
    Fut: Future<Output = R>,
    R: IntoResponse,
{
    let mut handler = Some(handler);
    let service = layer.layer(service_fn(|request: Request<Body>| {
        let session = request.extensions().get::<SessionManager>().unwrap();
        let response = handler.take().unwrap()(session.clone());
        async { Ok::<_, Infallible>(response.await.into_response()) }
    }));
    let Ok(response) = service.oneshot(request).await;
    answer(response).await
}

pub async fn answer(response: http::Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.into()).unwrap(),
    }
}

/// Drives a future until it has been pending more than `times` times, and drops it then.
pub async fn give_up_after<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut pending = 0;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if pending == times => Poll::Ready(None),
        Poll::Pending => {
            pending += 1;
            Poll::Pending
        }
    })
    .await
}

/// Waits until calls that were dropped have ended: a driver may go on with what it had begun, and
/// ends it before a later write begins.
pub async fn settled(layer: &SessionLayer) {
    layer.manager().cleanup().await.unwrap();
}

/// Whether a call needs the same number of polls each time, which a thread of SQLite's makes
/// different.
pub fn is_exact(storage: &Storage) -> bool {
    storage.url == "memory:"
}

/// Checks that calls that were dropped had no outcomes but these, and where it can be said that
/// they had each of them.
pub fn assert_outcomes<T: Ord + Debug>(storage: &Storage, seen: BTreeSet<T>, expected: &[T]) {
    let seen: Vec<_> = seen.into_iter().collect();
    if is_exact(storage) {
        assert_eq!(seen, expected);
    } else {
        assert!(seen.iter().all(|outcome| expected.contains(outcome)), "{seen:?}");
    }
}
