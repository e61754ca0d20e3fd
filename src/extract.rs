//! Extractors and responses for axum.

use std::convert::Infallible;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use crate::error::SessionError;
use crate::manager::SessionManager;
use crate::store::{Application, Store};

impl<S: Sync> FromRequestParts<S> for SessionManager {
    type Rejection = SessionError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, SessionError> {
        let manager = parts.extensions.get::<Self>().ok_or(SessionError::MissingLayer)?;
        manager.check_names()?;
        Ok(manager.clone())
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for SessionManager {
    type Rejection = Infallible;

    /// `None` where the layer is missing.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

impl<S: Sync, A: Application> FromRequestParts<S> for Store<A> {
    type Rejection = SessionError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, SessionError> {
        let session = <SessionManager as FromRequestParts<S>>::from_request_parts(parts, state);
        Ok(session.await?.app())
    }
}

impl IntoResponse for SessionError {
    /// [`status`](SessionError::status), and a text that tells a visitor nothing about the inside.
    /// The error itself goes to the log.
    fn into_response(self) -> Response {
        self.log();
        (self.status(), self.body_text()).into_response()
    }
}
