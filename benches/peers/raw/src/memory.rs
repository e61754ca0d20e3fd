//! A map in memory, by hand in the handlers: without a layer, expiry, limits or anything that a session has
//! beside its integer. What is left is what every session costs: a cookie is read, a text found and decoded,
//! and for a new one an id is drawn and sent.
//!
//! A handler that ignores its session has a layer before it, which cannot know that: it reads the id and hands
//! it over.

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::get;
use dashmap::DashMap;
use tower::{Layer, Service};

use crate::support::subject::{Subject, untouched};

/// The texts of the integers, by id.
type Sessions = Arc<DashMap<u128, Box<str>>>;

pub fn subject() -> Subject {
    let router = Router::new()
        .route("/untouched", get(untouched).layer(HandOver(())))
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/new", get(new))
        .with_state(Sessions::default());
    Subject::new(router)
}

pub fn id(headers: &HeaderMap) -> Option<u128> {
    let cookie = headers.get(COOKIE)?.to_str().ok()?;
    u128::from_str_radix(cookie.strip_prefix("id=")?, 16).ok()
}

fn decode(text: &str) -> Option<u64> {
    serde_json::from_str(text).ok()
}

async fn read(State(sessions): State<Sessions>, request: Request) -> Result<String, StatusCode> {
    let text = || decode(&sessions.get(&id(request.headers())?)?);
    text().map(|count| count.to_string()).ok_or(StatusCode::NOT_FOUND)
}

async fn write(State(sessions): State<Sessions>, request: Request) -> Result<String, StatusCode> {
    let text = || {
        let mut text = sessions.get_mut(&id(request.headers())?)?;
        let count = decode(&text)? + 1;
        *text = serde_json::to_string(&count).ok()?.into();
        Some(count.to_string())
    };
    text().ok_or(StatusCode::NOT_FOUND)
}

async fn new(
    State(sessions): State<Sessions>,
) -> Result<([(HeaderName, String); 1], &'static str), StatusCode> {
    let id = draw()?;
    sessions.insert(id, "1".into());
    Ok(([(SET_COOKIE, set_cookie(id))], "1"))
}

/// An id that nobody can guess.
pub fn draw() -> Result<u128, StatusCode> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(u128::from_ne_bytes(id))
}

pub fn set_cookie(id: u128) -> String {
    format!("id={id:032x}; HttpOnly; SameSite=Lax; Secure; Path=/")
}

/// A layer that reads the id of each request and puts it into the extensions, in an allocation of its own.
#[derive(Clone)]
pub struct HandOver<S>(pub S);

impl<S> Layer<S> for HandOver<()> {
    type Service = HandOver<S>;

    fn layer(&self, inner: S) -> HandOver<S> {
        HandOver(inner)
    }
}

impl<S: Service<Request>> Service<Request> for HandOver<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> S::Future {
        if let Some(id) = id(request.headers()) {
            request.extensions_mut().insert(Arc::new(id));
        }
        self.0.call(request)
    }
}
