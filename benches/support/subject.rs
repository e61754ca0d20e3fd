//! Requests to a router with sessions.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri};
use axum::routing::get;
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt};

use super::Failure;
use super::load::{self, Operation};
use super::protocol::{Figures, Plan, Workload};

/// The key of the integer that each session holds.
pub const KEY: &str = "count";

/// The path of requests that bring no cookie.
const NEW: &str = "/new";

/// What twenty requests of [`Workload::Mixed`] ask for.
const MIXED: [&str; 20] = [
    "/read", "/read", "/read", "/write", "/read", "/read", "/read", "/write", "/read", NEW,
    "/read", "/write", "/read", "/read", "/read", "/write", "/read", "/read", "/read", "/write",
];

/// The handler that ignores the session.
pub async fn untouched() -> &'static str {
    "untouched"
}

/// A router and the sessions that were made with it.
pub struct Subject {
    router: Router,
    cookies: Vec<HeaderValue>,
}

impl Subject {
    /// The router answers `/untouched`, `/read` (with the integer), `/write` (with the new integer)
    /// and `/new` (after it has stored the integer 1).
    pub fn new(router: Router) -> Self {
        Self { router, cookies: Vec::new() }
    }

    /// Makes the sessions that are missing, and measures.
    pub async fn run(&mut self, plan: &Plan) -> Result<Figures, Failure> {
        let sender = Arc::new(self.sender(plan.workload, plan.sessions).await?);
        let is_counted = plan.workload == Workload::Write && plan.tasks == 1;
        let before = if is_counted { self.sum().await? } else { 0 };
        let figures = load::run(&sender, plan).await?;
        if is_counted {
            let counted = self.sum().await? - before;
            // Those that warmed it up were counted as well.
            if counted < figures.requests {
                let requests = figures.requests;
                return Err(format!("{requests} writes one by one made {counted} steps").into());
            }
        }
        Ok(figures)
    }

    /// What sends the requests of a workload, with the cookies of so many sessions.
    pub async fn sender(&mut self, workload: Workload, number: usize) -> Result<Sender, Failure> {
        if workload != Workload::New {
            self.make_sessions(number).await?;
        }
        let router = match workload {
            Workload::Bare => without_layer(),
            Workload::NoOp => without_layer().layer(NoOpLayer),
            _ => self.router.clone(),
        };
        let paths: &[&str] = match workload {
            Workload::Bare | Workload::NoOp | Workload::Untouched => &["/untouched"],
            Workload::Read => &["/read"],
            Workload::Write => &["/write"],
            Workload::New => &[NEW],
            Workload::Mixed => &MIXED,
        };
        Ok(Sender::to(router, paths, self.cookies.clone()))
    }

    async fn make_sessions(&mut self, number: usize) -> Result<(), Failure> {
        while self.cookies.len() < number {
            let mut tasks = JoinSet::new();
            for _ in 0..(number - self.cookies.len()).min(64) {
                let sender = Sender::to(self.router.clone(), &[NEW], Vec::new());
                tasks.spawn(async move { cookie_of(&sender.send(0).await?) });
            }
            while let Some(made) = tasks.join_next().await {
                self.cookies.push(made??);
            }
        }
        Ok(())
    }

    /// The sum of the integers of all sessions.
    async fn sum(&self) -> Result<u64, Failure> {
        let sender = Sender::to(self.router.clone(), &["/read"], self.cookies.clone());
        let mut sum = 0;
        for session in 0..self.cookies.len() {
            let body = to_bytes(sender.send(session).await?.into_body(), 100).await?;
            sum += str::from_utf8(&body)?.parse::<u64>()?;
        }
        Ok(sum)
    }
}

/// Sends the requests of a workload.
pub struct Sender {
    router: Router,
    /// One after the other is asked for, and then again from the first.
    paths: Vec<Uri>,
    sent: AtomicUsize,
    cookies: Vec<HeaderValue>,
}

impl Sender {
    fn to(router: Router, paths: &[&'static str], cookies: Vec<HeaderValue>) -> Self {
        let paths = paths.iter().map(|path| Uri::from_static(path)).collect();
        Self { router, paths, sent: AtomicUsize::new(0), cookies }
    }

    /// Sends one, with the cookie of that session, and gives the response if it is as it has to be.
    pub async fn send(&self, session: usize) -> Result<Response<Body>, Failure> {
        let path = match self.paths.as_slice() {
            [path] => path,
            paths => {
                let next = self.sent.fetch_add(1, Ordering::Relaxed) % paths.len();
                paths.get(next).ok_or("a workload asks for something")?
            }
        };
        let is_new = path.path() == NEW;
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.clone();
        if let Some(cookie) = self.cookies.get(session).filter(|_| !is_new) {
            request.headers_mut().insert(COOKIE, cookie.clone());
        }
        let response = self.router.clone().oneshot(request).await?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            let body = to_bytes(response.into_body(), 10_000).await?;
            let body = String::from_utf8_lossy(&body);
            return Err(format!("{path} was answered with {status}: {body}").into());
        }
        if is_new && !response.headers().contains_key(SET_COOKIE) {
            return Err("a new session came without a cookie".into());
        }
        Ok(response)
    }
}

impl Operation for Sender {
    async fn call(&self, session: usize) -> Result<u64, Failure> {
        self.send(session).await?;
        Ok(1)
    }
}

/// What a browser would send after this response.
fn cookie_of(response: &Response<Body>) -> Result<HeaderValue, Failure> {
    let mut pairs = Vec::new();
    for cookie in response.headers().get_all(SET_COOKIE) {
        pairs.extend(cookie.to_str()?.split(';').next());
    }
    if pairs.is_empty() {
        return Err("a new session came without a cookie".into());
    }
    Ok(HeaderValue::from_str(&pairs.join("; "))?)
}

/// A router with as many routes.
fn without_layer() -> Router {
    ["/untouched", "/read", "/write", NEW]
        .iter()
        .fold(Router::new(), |router, path| router.route(path, get(untouched)))
}

/// A layer that does nothing.
#[derive(Clone)]
struct NoOpLayer;

impl<S> Layer<S> for NoOpLayer {
    type Service = NoOp<S>;

    fn layer(&self, inner: S) -> NoOp<S> {
        NoOp(inner)
    }
}

#[derive(Clone)]
struct NoOp<S>(S);

impl<S: Service<Request<Body>, Error = Infallible>> Service<Request<Body>> for NoOp<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.0.call(request)
    }
}
