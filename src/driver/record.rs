//! What a driver stores of a session besides its items.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{SessionKey, SessionRef};

/// The record of a session: everything but its items.
///
/// It serialises, so that a driver for documents or files can store it whole; fields that come in
/// later versions will have defaults.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionRecord {
    /// The session's reference: drawn at random, never used again, the same for its whole life.
    pub session: SessionRef,
    /// The digest of its id. No two sessions share one.
    pub key: SessionKey,
    /// The digest of the id before the last rotation.
    #[serde(default)]
    pub previous_key: Option<SessionKey>,
    /// When the id was last rotated.
    #[serde(default)]
    pub rotated: Option<Timestamp>,
    /// The first moment at which it is no longer live.
    pub expires: Timestamp,
    /// Its absolute end; `expires` is never later.
    pub ends: Timestamp,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last used, as far as that was recorded.
    pub last_used: Timestamp,
    /// The lifetime of its cookie in milliseconds, if it has one of its own: from 0; -1 is until the
    /// browser closes, -2 until the session's own end.
    #[serde(default)]
    pub cookie_lifetime: Option<i64>,
    /// Who is logged in.
    #[serde(default)]
    pub principal: Option<String>,
    /// What the application noted, such as the name of the device.
    #[serde(default)]
    pub note: Option<String>,
}

impl SessionRecord {
    /// A session that is created at `created` and ends at `ends`.
    pub fn new(session: SessionRef, key: SessionKey, created: Timestamp, ends: Timestamp) -> Self {
        Self {
            session,
            key,
            previous_key: None,
            rotated: None,
            expires: ends,
            ends,
            created,
            last_used: created,
            cookie_lifetime: None,
            principal: None,
            note: None,
        }
    }

    /// Whether the session is live at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires > now
    }

    /// When its present id was drawn: at the last rotation, as a login does one, else at its creation.
    pub fn id_drawn(&self) -> Timestamp {
        self.rotated.unwrap_or(self.created)
    }

    /// How long the session has to live at `now`, until its absolute end.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        self.ends.since(now)
    }
}

impl fmt::Debug for SessionRecord {
    /// Shows whether there are a principal and a note, and not what they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRecord")
            .field("session", &self.session)
            .field("key", &self.key)
            .field("previous_key", &self.previous_key)
            .field("rotated", &self.rotated)
            .field("expires", &self.expires)
            .field("ends", &self.ends)
            .field("created", &self.created)
            .field("last_used", &self.last_used)
            .field("cookie_lifetime", &self.cookie_lifetime)
            .field("principal", &hidden(&self.principal))
            .field("note", &hidden(&self.note))
            .finish()
    }
}

/// Whether there is a text, for an output that must not show it: who a visitor is belongs in no log.
pub(crate) fn hidden(text: &Option<String>) -> Option<&'static str> {
    text.as_ref().map(|_| "hidden")
}

/// What a commit changes in a session's record. `None` leaves a field as it is.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionChange {
    /// A fresh key; the one before becomes `previous_key`, and `rotated` the time of the commit. No
    /// effect on a session that the commit creates.
    pub key: Option<SessionKey>,
    /// A new `expires`.
    pub expires: Option<Timestamp>,
    /// A new `ends`.
    pub ends: Option<Timestamp>,
    /// A new `last_used`.
    pub last_used: Option<Timestamp>,
    /// An idle timeout: `expires` becomes so long after `last_used`, at most `ends`, both as they are
    /// after the other changes.
    pub idle: Option<Duration>,
    /// A new `cookie_lifetime`.
    pub cookie_lifetime: Option<Option<i64>>,
    /// A new `principal`.
    pub principal: Option<Option<String>>,
    /// A new `note`.
    pub note: Option<Option<String>>,
}

impl SessionChange {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds changes that come after these.
    pub(crate) fn follow(&mut self, later: Self) {
        let Self { key, expires, ends, last_used, idle, cookie_lifetime, principal, note } = later;
        self.key = key.or(self.key);
        self.expires = expires.or(self.expires);
        self.ends = ends.or(self.ends);
        self.last_used = last_used.or(self.last_used);
        self.idle = idle.or(self.idle);
        self.cookie_lifetime = cookie_lifetime.or(self.cookie_lifetime);
        self.principal = principal.or(self.principal.take());
        self.note = note.or(self.note.take());
    }

    /// Changes the record of a session that exists, at the time `now`.
    pub fn apply(&self, record: &mut SessionRecord, now: Timestamp) {
        if let Some(key) = self.key {
            record.previous_key = Some(record.key);
            record.key = key;
            record.rotated = Some(now);
        }
        self.apply_to_created(record);
    }

    /// Changes the record of a session that the same commit creates: its key is fresh already, so
    /// [`key`](Self::key) has no effect.
    pub fn apply_to_created(&self, record: &mut SessionRecord) {
        let Self { key: _, expires, ends, last_used, idle, cookie_lifetime, principal, note } =
            self;
        set(&mut record.expires, expires);
        set(&mut record.ends, ends);
        set(&mut record.last_used, last_used);
        if let Some(idle) = idle {
            record.expires = record.ends.min(record.last_used.saturating_add(*idle));
        }
        set(&mut record.cookie_lifetime, cookie_lifetime);
        set(&mut record.principal, principal);
        set(&mut record.note, note);
    }
}

impl fmt::Debug for SessionChange {
    /// Shows whether there are a principal and a note, and not what they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionChange")
            .field("key", &self.key)
            .field("expires", &self.expires)
            .field("ends", &self.ends)
            .field("last_used", &self.last_used)
            .field("idle", &self.idle)
            .field("cookie_lifetime", &self.cookie_lifetime)
            .field("principal", &self.principal.as_ref().map(hidden))
            .field("note", &self.note.as_ref().map(hidden))
            .finish()
    }
}

fn set<T: Clone>(field: &mut T, change: &Option<T>) {
    if let Some(value) = change {
        field.clone_from(value);
    }
}
