//! What happens to sessions, for whoever has to know: logs, metrics, alarms.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::id::{SessionKey, SessionRef};

/// What happened to a session, or to an id that was presented.
///
/// Each is told once: to `tracing` under the target `web_session::events`, and to the layer's
/// [`Listener`]. None holds an id. [`SessionKey`] is the digest of one, of which the log shows the first
/// four bytes, and [`SessionRef`] is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// A session was stored.
    Created {
        /// The session.
        session: SessionRef,
    },
    /// A session was given a fresh id.
    Rotated {
        /// The session.
        session: SessionRef,
    },
    /// A session was ended before its time, or after it and before a cleanup.
    Ended {
        /// The session.
        session: SessionRef,
        /// By what.
        reason: EndReason,
    },
    /// A visitor presented the id of a session that has expired and has not been cleaned up.
    Expired {
        /// The digest of the id.
        key: SessionKey,
    },
    /// A visitor presented an id that a rotation has replaced, a short time ago.
    Retired {
        /// The digest of the id.
        key: SessionKey,
    },
    /// A visitor presented an id that names no session: it was ended, cleaned up, or made up. A request
    /// that wrote without having read does not know an expired session from none, and tells this.
    Unknown {
        /// The digest of the id.
        key: SessionKey,
    },
    /// A visitor presented the ids of several live sessions, of which none was used.
    Ambiguous {
        /// The digest of the first of them.
        key: SessionKey,
    },
    /// Expired sessions were removed.
    CleanedUp {
        /// How many.
        removed: u64,
    },
}

/// What has ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// [`end`](crate::SessionManager::end).
    Logout,
    /// [`destroy`](crate::SessionManager::destroy).
    Destroyed,
    /// A call that ends sessions of a principal, such as
    /// [`end_others`](crate::SessionManager::end_others).
    EndedForPrincipal,
    /// A login that was one too many; see
    /// [`max_sessions`](crate::SessionLayerBuilder::max_sessions).
    Evicted,
}

/// Learns what happens to sessions. A closure is one.
///
/// It is called on the task of the request that causes the event, after the storage has answered, and
/// holds up that request: hand longer work to a task of your own. If it panics, that is logged, and the
/// request goes on.
pub trait Listener: Send + Sync + 'static {
    /// Takes note of an event.
    fn on_event(&self, event: SessionEvent);
}

impl<F: Fn(SessionEvent) + Send + Sync + 'static> Listener for F {
    fn on_event(&self, event: SessionEvent) {
        self(event);
    }
}

/// Where events go.
#[derive(Clone, Default)]
pub(crate) struct Events(Option<Arc<dyn Listener>>);

impl Events {
    pub(crate) fn to(listener: impl Listener) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn raise(&self, event: SessionEvent) {
        log(event);
        let Some(listener) = &self.0 else { return };
        // What has happened has happened: it must not look as if the request had failed.
        let told = catch_unwind(AssertUnwindSafe(|| listener.on_event(event)));
        if told.is_err() {
            tracing::error!(?event, "the listener of session events panicked");
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Listener(..)" } else { "None" })
    }
}

fn log(event: SessionEvent) {
    macro_rules! info {
        ($($part:tt)*) => { tracing::info!(target: "web_session::events", $($part)*) };
    }
    match event {
        SessionEvent::Created { session } => info!(%session, "a session was created"),
        SessionEvent::Rotated { session } => info!(%session, "a session was given a fresh id"),
        SessionEvent::Ended { session, reason } => {
            info!(%session, ?reason, "a session was ended");
        }
        SessionEvent::Expired { key } => info!(?key, "an expired id was presented"),
        SessionEvent::Retired { key } => info!(?key, "an id was presented that was replaced"),
        SessionEvent::Unknown { key } => info!(?key, "an unknown id was presented"),
        SessionEvent::Ambiguous { key } => {
            info!(?key, "the ids of several live sessions were presented; none is used");
        }
        SessionEvent::CleanedUp { removed } => {
            tracing::debug!(
                target: "web_session::events",
                removed,
                "expired sessions were cleaned up"
            );
        }
    }
}
