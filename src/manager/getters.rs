//! What `web.session` has as member variables.

use std::time::{Duration, SystemTime};

use super::SessionManager;
use super::state::Current;
use crate::cookie::CookieConfig;
use crate::error::LoadError;
use crate::id::{SessionId, SessionRef};
use crate::random::Seed;

impl SessionManager {
    /// The id of the session, `None` before it is loaded or created.
    pub fn session_id(&self) -> Option<SessionId> {
        match self.state().current {
            Current::Loaded { id, .. } => Some(id.id()),
            _ => None,
        }
    }

    /// The public reference of the session, `None` before it is loaded or created.
    pub fn session_ref(&self) -> Option<SessionRef> {
        self.loaded_ref()
    }

    /// How long a new session may live, unless it is created with a time of its own.
    pub fn expire(&self) -> Duration {
        self.settings().expire
    }

    /// When the session expires if it is not used again, `None` before it is loaded or created. Shows an
    /// uncommitted [`set_expire`](Self::set_expire).
    pub fn expire_time(&self) -> Option<SystemTime> {
        let state = self.state();
        match &state.current {
            Current::Loaded { record, .. } => {
                let mut record = record.clone();
                state.change().apply_to_created(&mut record);
                Some(record.expires.into())
            }
            _ => None,
        }
    }

    /// Whether this request created the session.
    pub fn created(&self) -> bool {
        self.state().created
    }

    /// Why the session was not loaded, `None` before that is known and if it was.
    pub fn error(&self) -> Option<LoadError> {
        self.state().error
    }

    /// The configuration of the cookie.
    pub fn cookie(&self) -> &CookieConfig {
        &self.settings().cookie
    }

    /// The seed of the session ids.
    pub fn seed(&self) -> &Seed {
        &self.settings().seed
    }

    /// How likely this request was to start a cleanup, from 0 to 1.
    pub fn cleanup_probability(&self) -> f64 {
        self.settings().cleanup_probability
    }
}
