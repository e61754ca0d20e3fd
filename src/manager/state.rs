//! What one request knows of its session and has changed in it. Nothing here waits.

use super::application::Application;
use crate::clock::Timestamp;
use crate::cookie::Queue;
use crate::cookie::header::Presented;
use crate::driver::{
    ApplicationChanges, ApplicationName, Found, Items, SessionChange, SessionRecord,
};
use crate::error::LoadError;
use crate::id::{SessionId, SessionKey};
use crate::settings::Retired;

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) current: Current,
    pub(super) error: Option<LoadError>,
    /// Whether the answer to this request depends on its session.
    pub(super) consulted: bool,
    pub(super) created: bool,
    pub(super) cleanup_drawn: bool,
    pub(super) queue: Queue,
    /// Whether a commit is under way, with the changes that were sent.
    pub(super) committing: bool,
    /// Changes of the session's record that a commit has taken and not confirmed.
    sent: RecordChange,
    /// Changes of the session's record since.
    change: RecordChange,
    /// The id that a commit has asked for in place of the session's, until it is known whether the
    /// storage has it.
    pub(super) next_id: Option<SessionId>,
    /// Whether what the cookie names, or does not name, was told to the listener.
    pub(super) told: bool,
    pub(super) applications: Vec<(ApplicationName, Application)>,
}

/// Changes of the session's record.
#[derive(Debug, Default)]
struct RecordChange {
    /// Whether it gets a fresh id.
    rotates: bool,
    fields: SessionChange,
}

impl RecordChange {
    fn is_empty(&self) -> bool {
        !self.rotates && self.fields.is_empty()
    }

    /// Adds changes that come after these.
    fn follow(&mut self, later: Self) {
        self.rotates |= later.rotates;
        self.fields.follow(later.fields);
    }
}

/// What a request hands over to a commit.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) items: Vec<ApplicationChanges>,
    pub(super) fields: SessionChange,
    pub(super) rotates: bool,
}

/// How far the request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Inside a request, before its response has left.
    Open,
    /// The response has left, or the request was given up: no cookie can be sent.
    ResponseStarted,
    /// Outside any request: whoever uses the manager sends the cookies.
    Detached,
}

/// The session of the request.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one a request, and a box would be one more allocation"
)]
pub(super) enum Current {
    /// The cookie has not been looked up.
    Unknown,
    /// There is none.
    None,
    /// It was live when this request saw it, or created by it.
    Loaded {
        id: SessionId,
        record: SessionRecord,
        /// Whether it is the visitor's: the one that the cookie names, or will.
        visitors: bool,
    },
}

impl State {
    pub(super) fn new(phase: Phase) -> Self {
        Self {
            phase,
            current: Current::Unknown,
            error: None,
            consulted: false,
            created: false,
            cleanup_drawn: false,
            queue: Queue::default(),
            committing: false,
            sent: RecordChange::default(),
            change: RecordChange::default(),
            next_id: None,
            told: false,
            applications: Vec::new(),
        }
    }

    pub(super) fn application(&mut self, name: &ApplicationName) -> &mut Application {
        let at = match self.applications.iter().position(|(other, _)| other == name) {
            Some(at) => at,
            None => {
                self.applications.push((name.clone(), Application::default()));
                self.applications.len() - 1
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        &mut self.applications[at].1
    }

    /// Whether the session of this request is the visitor's own, and not one that was loaded by its
    /// id; also before it is known.
    pub(super) fn is_visitors(&self) -> bool {
        !matches!(self.current, Current::Loaded { visitors: false, .. })
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.sent.is_empty()
            || !self.change.is_empty()
            || self.applications.iter().any(|(_, application)| application.is_changed())
    }

    /// The uncommitted changes of the session's record.
    pub(super) fn change(&self) -> SessionChange {
        let mut change = self.sent.fields.clone();
        change.follow(self.change.fields.clone());
        change
    }

    /// Changes the session's record with the next commit.
    pub(super) fn set_change(&mut self, change: SessionChange) {
        self.change.fields.follow(change);
    }

    /// Gives the session a fresh id with the next commit.
    pub(super) fn rotate(&mut self) {
        self.change.rotates = true;
    }

    /// Whether the next commit logs somebody in.
    pub(super) fn logs_in(&self) -> bool {
        matches!(self.change().principal, Some(Some(_)))
    }

    /// Whether nothing more can be learned of an application from the storage.
    pub(super) fn is_fetched(&mut self, name: &ApplicationName) -> bool {
        match self.current {
            Current::Unknown => false,
            Current::None => true,
            Current::Loaded { .. } => self.application(name).stored.is_some(),
        }
    }

    /// Drops the uncommitted changes. Those of a commit that is under way are out of reach.
    pub(super) fn roll_back(&mut self) {
        self.change = RecordChange::default();
        for (_, application) in &mut self.applications {
            application.roll_back();
        }
        if !self.committing {
            self.drop_sent();
        }
    }

    /// Drops the uncommitted changes for good: no cookie can be sent any more.
    pub(super) fn abandon(&mut self) {
        self.phase = Phase::ResponseStarted;
        self.next_id = None;
        self.roll_back();
    }

    /// Drops the changes that a commit has taken.
    pub(super) fn drop_sent(&mut self) {
        // A rotation that may have been done is carried through, or the visitor would have the old id.
        let rotates = self.next_id.is_some();
        self.sent = RecordChange { rotates, ..RecordChange::default() };
        for (_, application) in &mut self.applications {
            application.drop_sent();
        }
    }

    /// Takes the result of a lookup of the presented ids.
    pub(super) fn resolve(
        &mut self,
        judged: Result<(SessionId, Found), LoadError>,
        application: Option<&ApplicationName>,
        visitors: bool,
    ) {
        match judged {
            Ok((id, found)) => {
                self.error = None;
                self.created &= matches!(
                    &self.current,
                    Current::Loaded { record, .. } if record.session == found.session.session
                );
                self.current = Current::Loaded { id, record: found.session, visitors };
                self.forget_stored();
                if let Some(name) = application {
                    self.application(name).stored = Some(found.items);
                }
            }
            Err(error) => self.no_session(Some(error)),
        }
    }

    /// Notes that there is no session.
    pub(super) fn no_session(&mut self, error: Option<LoadError>) {
        self.current = Current::None;
        self.error = error;
        self.created = false;
        self.forget_stored();
    }

    /// Notes that a commit whose answer was lost has given the session the id that it asked for.
    pub(super) fn has_rotated(&mut self, id: SessionId, record: SessionRecord, visitors: bool) {
        self.current = Current::Loaded { id, record, visitors };
        self.sent.rotates = false;
        self.next_id = None;
    }

    /// Forgets that the presented ids named no session, if they did not because it had expired.
    pub(super) fn look_again(&mut self) {
        let none = matches!(self.current, Current::None);
        if none && self.error == Some(LoadError::Expired) {
            self.look_up_later();
        }
    }

    /// Forgets the session, so that the presented ids are looked up when one is needed.
    pub(super) fn look_up_later(&mut self) {
        self.no_session(None);
        self.current = Current::Unknown;
    }

    fn forget_stored(&mut self) {
        for (_, application) in &mut self.applications {
            application.stored = None;
        }
    }

    /// Notes that this request created a session. What its commit stored with it is added by
    /// [`committed`](Self::committed).
    pub(super) fn created(&mut self, id: SessionId, record: SessionRecord) {
        self.current = Current::Loaded { id, record, visitors: true };
        self.created = true;
        for (_, application) in &mut self.applications {
            application.stored = Some(Items::new());
        }
    }

    /// Hands the changes over to a commit. They stay visible, and stay uncommitted until
    /// [`committed`](Self::committed).
    pub(super) fn send(&mut self) -> Handover {
        self.committing = true;
        self.sent.follow(std::mem::take(&mut self.change));
        let items = self
            .applications
            .iter_mut()
            .filter(|(_, application)| application.is_changed())
            .map(|(name, application)| application.send(name.clone()))
            .collect();
        Handover { items, fields: self.sent.fields.clone(), rotates: self.sent.rotates }
    }

    /// Notes that what [`send`](Self::send) handed over is stored.
    pub(super) fn committed(&mut self) {
        self.sent = RecordChange::default();
        self.next_id = None;
        for (_, application) in &mut self.applications {
            application.committed();
        }
    }
}

/// Which of the presented ids is the session, given the records that the storage has for them.
pub(super) fn judge(
    presented: &Presented,
    found: Vec<Found>,
    now: Timestamp,
    retired: Retired,
) -> Result<(SessionId, Found), LoadError> {
    let keys: Vec<(SessionKey, &SessionId)> =
        presented.ids.iter().map(|id| (id.key(), id)).collect();
    let mut live = Vec::new();
    let (mut expired, mut rotated) = (false, false);
    for found in found {
        let record = &found.session;
        let current = keys.iter().find(|(key, _)| *key == record.key);
        match (current, record.is_live(now)) {
            (Some((_, id)), true) => live.push((**id, found)),
            (Some(_), false) => expired = true,
            (None, true) if retired.works(record) => {
                let previous = record.previous_key;
                let old = keys.iter().find(|(key, _)| Some(*key) == previous);
                live.extend(old.map(|(_, id)| (**id, found)));
            }
            (None, true) => rotated |= record.rotated.is_some_and(|at| at > retired.known_after),
            (None, false) => {}
        }
    }
    match (live.pop(), live.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(LoadError::Ambiguous),
        (None, _) if rotated => Err(LoadError::Rotated),
        (None, _) if expired => Err(LoadError::Expired),
        (None, _) => Err(LoadError::NotFound),
    }
}
