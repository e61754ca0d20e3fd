//! The cookies of a request: reading ids, and the queue of `Set-Cookie` pairs.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::SessionManager;
use super::state::{Current, Phase};
use crate::cookie::MaxAge;
use crate::error::{LoadError, SessionError};
use crate::id::SessionId;

impl SessionManager {
    /// The id in the session cookie of `headers`, if there is exactly one that is well-formed.
    /// Whether a session has it is not looked up.
    pub fn cookie_session_id(&self, headers: &HeaderMap) -> Option<SessionId> {
        match *self.settings().presented(headers).ids {
            [id] => Some(id),
            _ => None,
        }
    }

    /// The `Set-Cookie` pairs that the layer is going to send.
    pub fn response_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.state().queue.waiting()
    }

    /// Takes the queued pairs over: the layer no longer sends them, whoever took them has to.
    #[must_use = "what is taken is not sent by the layer"]
    pub fn take_response_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.state().queue.take()
    }

    /// The pairs that were sent.
    pub fn sent_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.state().queue.sent()
    }

    /// Appends the queued pairs to `headers`, beside what is there, and in place of what was taken or
    /// sent before. The layer does so on each response; outside a request it is up to the caller.
    pub fn send_cookie_headers(&self, headers: &mut HeaderMap) {
        self.state().queue.send(headers);
    }

    /// Queues the cookie of the session again, with the configured max-age.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotLoaded`] without a session, [`SessionError::ResponseStarted`] after the
    /// response.
    pub fn set_cookie(&self) -> Result<(), SessionError> {
        let value = self.set_cookie_string(None)?;
        self.queue(value)?;
        if let Current::Loaded { visitors, .. } = &mut self.state().current {
            // From here on, whoever had it before.
            *visitors = true;
        }
        Ok(())
    }

    /// The `Set-Cookie` value for the session, with `max_age`, else the session's
    /// [own](Self::set_cookie_lifetime) or the configured one.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotLoaded`] without a session, [`SessionError::Rotated`] under an id that is
    /// retired.
    pub fn set_cookie_string(
        &self,
        max_age: impl Into<Option<MaxAge>>,
    ) -> Result<HeaderValue, SessionError> {
        let settings = self.settings();
        match &self.state().current {
            Current::Loaded { id, record, .. } if record.key != id.key() => {
                Err(SessionError::Rotated)
            }
            Current::Loaded { id, record, .. } => {
                Ok(settings.set_cookie(id, record, max_age.into(), settings.now()))
            }
            _ => Err(SessionError::NotLoaded),
        }
    }

    /// Queues a cookie that makes the user agent forget the session's. The session itself stays:
    /// see [`end`](Self::end).
    ///
    /// # Errors
    ///
    /// [`SessionError::ResponseStarted`] after the response, [`SessionError::Rotated`] when the presented id
    /// is known to be retired.
    pub fn delete_cookie(&self) -> Result<(), SessionError> {
        self.queue(self.delete_cookie_string())
    }

    /// The `Set-Cookie` value that makes the user agent forget the session's cookie: the same name,
    /// path, domain and flags, `Max-Age=0` and an `Expires` in the past.
    pub fn delete_cookie_string(&self) -> HeaderValue {
        self.settings().cookie.removal()
    }

    fn queue(&self, value: HeaderValue) -> Result<(), SessionError> {
        self.check_names()?;
        let mut state = self.state();
        if state.phase == Phase::ResponseStarted {
            return Err(SessionError::ResponseStarted);
        }
        if state.error == Some(LoadError::Rotated) {
            // It would replace the cookie that the visitor has just been given.
            return Err(SessionError::Rotated);
        }
        state.queue.push(value);
        Ok(())
    }
}
