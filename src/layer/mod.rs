//! [`SessionLayer`]: gives each request its [`SessionManager`].

mod builder;
mod future;
mod service;

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tower_layer::Layer;

pub use builder::{AutoCreate, SessionLayerBuilder};
pub use future::ResponseFuture;
pub use service::SessionService;

use crate::cleanup::{self, CleanupHandle};
use crate::driver::Driver;
use crate::error::SessionError;
use crate::manager::SessionManager;
use crate::settings::Settings;

/// Gives each request of the service inside a [`SessionManager`], commits the changes after its
/// response, and sends the session cookie.
///
/// A request whose handler does not use the session costs no driver call and gets no cookie. After
/// a handler that did:
///
/// - a response with any status but 5xx makes its changes last; on a 5xx, when the handler panics
///   and when the request is cancelled, they are dropped;
/// - if they cannot be stored, the response is replaced by 503 (the storage failed) or 409 (the
///   session was ended meanwhile), without the handler's headers and body;
/// - cookies are appended to the response, whatever its status, and caches are told to keep it
///   apart: `Vary: Cookie`, and `Cache-Control: no-store` with a session cookie.
///
/// ```
/// use axum::{Router, routing::get};
/// use web_session::{MemoryDriver, SessionLayer, SessionManager};
///
/// let app: Router = Router::new()
///     .route("/", get(async |session: SessionManager| format!("{:?}", session.load().await)))
///     .layer(SessionLayer::new(MemoryDriver::new()));
/// ```
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is added to a service"]
pub struct SessionLayer<F = EmptyResponse> {
    settings: Arc<Settings>,
    on_failure: F,
}

impl SessionLayer {
    /// A layer with all defaults. The storage's environment has to exist already.
    pub fn new(driver: impl Driver) -> Self {
        Self { settings: Arc::new(Settings::new(Arc::new(driver))), on_failure: EmptyResponse }
    }

    /// Configures a layer.
    pub fn builder(driver: impl Driver) -> SessionLayerBuilder {
        SessionLayerBuilder::new(Arc::new(driver))
    }
}

impl<F> SessionLayer<F> {
    /// Makes the response for a request whose changes could not be stored. Default: the status of
    /// the error and an empty body.
    pub fn on_commit_failure<C, G>(self, f: G) -> SessionLayer<ResponseFn<G>>
    where
        G: Fn(&SessionError) -> Response<C>,
    {
        SessionLayer { settings: self.settings, on_failure: ResponseFn(f) }
    }

    /// A manager outside any request, for jobs, tools and tests. It has no cookie: load a session
    /// with [`load_id`](SessionManager::load_id) or create one. Its changes last with
    /// [`commit`](SessionManager::commit).
    pub fn manager(&self) -> SessionManager {
        SessionManager::detached(&self.settings)
    }

    /// Removes expired sessions now and every `period` (at least one second), on a task of its own,
    /// until the handle is dropped. While it runs no request starts a cleanup.
    ///
    /// A failure is logged and followed by another attempt, after one second at first, then at
    /// growing distances up to `period`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn_cleanup(&self, period: Duration) -> CleanupHandle {
        cleanup::spawn(self.settings.clone(), period)
    }
}

impl<S, F: Clone> Layer<S> for SessionLayer<F> {
    type Service = SessionService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService::new(inner, self.settings.clone(), self.on_failure.clone())
    }
}

/// Makes the response for a request whose changes could not be stored.
pub trait CommitFailure<C> {
    /// The response, without the handler's headers and body.
    fn response(&self, error: &SessionError) -> Response<C>;
}

/// The default [`CommitFailure`]: the status of the error and an empty body.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyResponse;

impl<C: Default> CommitFailure<C> for EmptyResponse {
    fn response(&self, error: &SessionError) -> Response<C> {
        let mut response = Response::new(C::default());
        *response.status_mut() = error.status();
        response
    }
}

/// A [`CommitFailure`] that is a function, from
/// [`on_commit_failure`](SessionLayer::on_commit_failure).
#[derive(Debug, Clone, Copy)]
pub struct ResponseFn<G>(G);

impl<C, G: Fn(&SessionError) -> Response<C>> CommitFailure<C> for ResponseFn<G> {
    fn response(&self, error: &SessionError) -> Response<C> {
        (self.0)(error)
    }
}
