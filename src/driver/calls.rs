//! The arguments and answers of a driver's methods.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

#[cfg(doc)]
use super::Driver;
use super::{ApplicationChanges, ApplicationName, Items, Limits, SessionChange, SessionRecord};
use crate::clock::Timestamp;
use crate::id::{SessionKey, SessionRef};

/// The argument of [`Driver::load`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Load {
    /// One to four sessions.
    pub sessions: Vec<Locator>,
    /// The application whose items are wanted, if any.
    pub application: Option<ApplicationName>,
    /// The bounds of what may be answered.
    pub limits: Limits,
    /// The time of the call.
    pub now: Timestamp,
}

impl Load {
    /// Loads sessions without items, with the default limits.
    pub fn new(sessions: Vec<Locator>, now: Timestamp) -> Self {
        Self { sessions, application: None, limits: Limits::default(), now }
    }
}

/// One answer of [`Driver::load`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Found {
    /// The session's record.
    pub session: SessionRecord,
    /// The items of the application that was asked for; empty if none was.
    pub items: Items,
}

impl Found {
    /// A found session with the items of the application that was asked for.
    pub fn new(session: SessionRecord, items: Items) -> Self {
        Self { session, items }
    }
}

/// What names one session in the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Locator {
    /// The digest of its id.
    Key(SessionKey),
    /// Its reference.
    Ref(SessionRef),
}

/// The argument of [`Driver::create`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Create {
    /// The session to store.
    pub session: SessionRecord,
}

impl Create {
    /// Stores this session.
    pub fn new(session: SessionRecord) -> Self {
        Self { session }
    }
}

/// The answers of [`Driver::create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreateOutcome {
    /// It is stored.
    Done,
    /// Its key or reference is taken, be it as a `previous_key`; nothing is stored.
    Collision,
}

/// The argument of [`Driver::commit`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Commit {
    /// The session to write to.
    pub target: Target,
    /// What to do with its items, at most one entry an application.
    pub changes: Vec<ApplicationChanges>,
    /// What to do with its record, after the items.
    pub session: SessionChange,
    /// How many live sessions the principal that [`session`](Self::session) sets may have, this one
    /// included. If others are as many, the answer is [`CommitOutcome::TooMany`]. Of commits at the
    /// same time no more succeed than that.
    pub max_sessions: Option<u32>,
    /// The bounds of an application's items.
    pub limits: Limits,
    /// The time of the call. A session is live when its `expires` is later.
    pub now: Timestamp,
}

impl Commit {
    /// Changes nothing yet, with the default limits.
    pub fn new(target: Target, now: Timestamp) -> Self {
        Self {
            target,
            changes: Vec::new(),
            session: SessionChange::default(),
            max_sessions: None,
            limits: Limits::default(),
            now,
        }
    }

    /// Whether the principal that it sets has as many live sessions beside `session` as
    /// [`max_sessions`](Self::max_sessions) allows at most, given all of the principal's.
    pub fn is_one_too_many(&self, theirs: &[SessionRecord], session: SessionRef) -> bool {
        let is_other =
            |record: &&SessionRecord| record.session != session && record.is_live(self.now);
        let others = theirs.iter().filter(is_other).count();
        self.capped().is_some_and(|(_, most)| others > most as usize)
    }

    /// The principal whose sessions are counted, and how many others there may be before this one.
    pub(crate) fn capped(&self) -> Option<(&str, u32)> {
        match (&self.session.principal, self.max_sessions) {
            (Some(Some(principal)), Some(max)) => Some((principal, max.saturating_sub(1))),
            _ => None,
        }
    }
}

/// The session that a commit writes to.
#[derive(Debug, Clone)]
pub enum Target {
    /// The live session that this request has seen under `key`. If it is gone or expired the answer
    /// is [`CommitOutcome::Gone`]. A commit that sets a new key is [`CommitOutcome::Rotated`] if
    /// the session's key is no longer `key`.
    Seen {
        /// The session.
        session: SessionRef,
        /// The key under which it was seen, current or retired.
        key: SessionKey,
    },
    /// The session that the visitor presented and that nobody has looked up.
    ///
    /// If one has `key` and is live: that one. If `key` is the `previous_key` of a live session,
    /// rotated later than `retired_after`, the answer is [`CommitOutcome::Rotated`]. Else
    /// `otherwise` is created, or the answer is [`CommitOutcome::Gone`].
    Presented {
        /// The digest of the presented id.
        key: SessionKey,
        /// How long ids are remembered as retired.
        retired_after: Timestamp,
        /// The session to create if there is none.
        otherwise: Option<SessionRecord>,
    },
    /// A session to create.
    New(SessionRecord),
    /// A session, expired or not.
    Existing(Locator),
}

/// The answers of [`Driver::commit`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitOutcome {
    /// All changes are stored; the record as it is now.
    Done(SessionRecord),
    /// The session has ended; nothing is stored.
    Gone,
    /// The id was replaced by a fresh one meanwhile; nothing is stored.
    Rotated,
    /// A new key or reference is taken; nothing is stored. The caller draws another.
    Collision,
    /// The principal has as many other sessions as [`Commit::max_sessions`]; nothing is stored.
    TooMany,
}

/// The argument of [`Driver::replace_item`].
#[derive(Clone)]
#[non_exhaustive]
pub struct ReplaceItem {
    /// The session, which must be live.
    pub session: SessionRef,
    /// The application.
    pub application: ApplicationName,
    /// The item's key.
    pub key: Arc<str>,
    /// The stored text that the caller saw, `None` if there was no item.
    pub expected: Option<Arc<str>>,
    /// The text to store.
    pub value: Arc<str>,
    /// The bounds of the application's items.
    pub limits: Limits,
    /// The time of the call.
    pub now: Timestamp,
}

impl ReplaceItem {
    /// Stores an item where there is none, with the default limits.
    pub fn new(
        session: SessionRef,
        application: ApplicationName,
        key: Arc<str>,
        value: Arc<str>,
        now: Timestamp,
    ) -> Self {
        let limits = Limits::default();
        Self { session, application, key, expected: None, value, limits, now }
    }
}

impl fmt::Debug for ReplaceItem {
    /// Leaves the key and the texts out: they belong to the visitor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplaceItem")
            .field("session", &self.session)
            .field("application", &self.application)
            .field("limits", &self.limits)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// The answers of [`Driver::replace_item`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplaceOutcome {
    /// It is stored.
    Done,
    /// The item is not what the caller saw, but this; nothing is stored.
    Conflict(Option<Arc<str>>),
    /// The session has ended; nothing is stored.
    Gone,
}

impl fmt::Debug for ReplaceOutcome {
    /// Leaves the text out: it belongs to the visitor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "Done",
            Self::Conflict(Some(_)) => "Conflict(Some(..))",
            Self::Conflict(None) => "Conflict(None)",
            Self::Gone => "Gone",
        })
    }
}

/// The argument of [`Driver::destroy`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Destroy {
    /// The sessions to remove.
    pub sessions: Vec<Locator>,
}

impl Destroy {
    /// Removes these sessions.
    pub fn new(sessions: Vec<Locator>) -> Self {
        Self { sessions }
    }
}

/// The argument of [`Driver::inspect`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Inspect {
    /// The session.
    pub session: Locator,
}

impl Inspect {
    /// Asks for this session.
    pub fn new(session: Locator) -> Self {
        Self { session }
    }
}

/// The argument of [`Driver::list`].
#[derive(Clone)]
#[non_exhaustive]
pub struct List {
    /// Whose sessions.
    pub principal: String,
    /// The time of the call.
    pub now: Timestamp,
}

impl List {
    /// Asks for the sessions of this principal.
    pub fn new(principal: String, now: Timestamp) -> Self {
        Self { principal, now }
    }
}

impl fmt::Debug for List {
    /// Leaves the principal out: who a visitor is belongs in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("now", &self.now).finish_non_exhaustive()
    }
}

/// The argument of [`Driver::end_where`].
#[derive(Clone)]
#[non_exhaustive]
pub struct EndWhere {
    /// Whose sessions.
    pub principal: String,
    /// The one that stays, if any.
    pub except: Option<SessionRef>,
    /// The only one that is removed, if it is the principal's; all are if this is not given.
    pub only: Option<SessionRef>,
    /// How many of the newest stay, if any.
    pub keep: Option<Keep>,
}

impl fmt::Debug for EndWhere {
    /// Leaves the principal out: who a visitor is belongs in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndWhere")
            .field("except", &self.except)
            .field("only", &self.only)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

/// Which sessions [`Driver::end_where`] leaves to a principal that has many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keep {
    /// How many of those that are live, by the times at which their ids were drawn
    /// ([`SessionRecord::id_drawn`]) and then by their references.
    pub newest: u32,
    /// The time of the call. Expired sessions stay for a cleanup.
    pub now: Timestamp,
}

impl Keep {
    /// Keeps the newest of those that are live at `now`.
    pub fn new(newest: u32, now: Timestamp) -> Self {
        Self { newest, now }
    }
}

impl EndWhere {
    /// Removes all sessions of this principal.
    pub fn new(principal: String) -> Self {
        Self { principal, except: None, only: None, keep: None }
    }

    /// Which of the principal's sessions are removed, in the order of their references.
    pub fn choose(&self, mut theirs: Vec<SessionRecord>) -> Vec<SessionRef> {
        if let Some(Keep { newest, now }) = self.keep {
            theirs.retain(|record| record.is_live(now));
            theirs.sort_by_key(|record| Reverse((record.id_drawn(), record.session)));
            theirs.drain(..theirs.len().min(newest as usize));
        }
        let mut chosen: Vec<_> = theirs.iter().map(|record| record.session).collect();
        chosen.retain(|session| Some(*session) != self.except);
        chosen.retain(|session| self.only.is_none_or(|only| only == *session));
        chosen.sort_unstable();
        chosen
    }
}

/// The argument of [`Driver::cleanup`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Cleanup {
    /// The earliest expiry to remove.
    pub from: Timestamp,
    /// The first expiry to keep.
    pub until: Timestamp,
    /// How many at most.
    pub limit: u32,
}

impl Cleanup {
    /// Removes at most `limit` sessions with an expiry in this range.
    pub fn new(from: Timestamp, until: Timestamp, limit: u32) -> Self {
        Self { from, until, limit }
    }
}

/// The answers of [`Driver::environment`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvironmentState {
    /// All structures exist and are what this version needs.
    Complete,
    /// Some structures do not exist: their names. The others are sound.
    Incomplete(Vec<String>),
    /// No structure exists.
    Absent,
    /// A structure exists and is not what this version needs: what is wrong.
    Defective(String),
}

/// What [`Driver::remove_environment`] does when a structure is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// Refuse, and change nothing.
    Error,
    /// Remove what is there.
    Ignore,
}
