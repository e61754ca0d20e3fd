//! The service that a [`SessionLayer`](super::SessionLayer) wraps around another.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::{CommitFailure, ResponseFuture};
use crate::manager::SessionManager;
use crate::settings::Settings;

/// A service with sessions; made by [`SessionLayer`](super::SessionLayer).
#[derive(Debug, Clone)]
pub struct SessionService<S, F> {
    inner: S,
    settings: Arc<Settings>,
    on_failure: F,
}

impl<S, F> SessionService<S, F> {
    pub(super) fn new(inner: S, settings: Arc<Settings>, on_failure: F) -> Self {
        Self { inner, settings, on_failure }
    }
}

impl<S, F, B, C> Service<Request<B>> for SessionService<S, F>
where
    S: Service<Request<B>, Response = Response<C>>,
    F: CommitFailure<C> + Clone,
{
    type Response = Response<C>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, F, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let manager = SessionManager::for_request(&self.settings, request.headers());
        if let Some(outer) = request.extensions_mut().insert(manager.clone()) {
            manager.set_outer(outer);
        }
        ResponseFuture::new(self.inner.call(request), manager, self.on_failure.clone())
    }
}
