//! What one request knows of its session and has changed in it. Nothing here waits.

use super::application::Application;
use crate::clock::Timestamp;
use crate::cookie::Queue;
use crate::driver::{
    ApplicationChanges, ApplicationName, Found, Items, SessionChange, SessionRecord,
};
use crate::error::LoadError;
use crate::id::{KnownId, SessionRef};
use crate::settings::Retired;

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) current: Current,
    pub(super) error: Option<LoadError>,
    pub(super) created: bool,
    pub(super) queue: Queue,
    /// Whether a commit is under way, with the changes that were sent.
    pub(super) committing: bool,
    /// Changes of the session's record that a commit has taken and not confirmed. Boxed, as few requests
    /// have any.
    sent: Option<Box<RecordChange>>,
    /// Changes of the session's record since.
    change: Option<Box<RecordChange>>,
    /// The id that a commit has asked for in place of the session's, until it is known whether the
    /// storage has it.
    pub(super) next_id: Option<KnownId>,
    /// Whether it is known what the visitor's cookie named. If that was nothing, the listener was told.
    pub(super) judged: bool,
    pub(super) applications: Vec<(ApplicationName, Application)>,
}

/// Changes of the session's record, never none at all.
#[derive(Debug, Default)]
struct RecordChange {
    /// Whether it gets a fresh id.
    rotates: bool,
    fields: SessionChange,
}

impl RecordChange {
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
        id: KnownId,
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
            created: false,
            queue: Queue::default(),
            committing: false,
            sent: None,
            change: None,
            next_id: None,
            judged: false,
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

    /// Whether the session was not looked up and there is nothing to commit or to send.
    pub(super) fn is_untouched(&self) -> bool {
        matches!(self.current, Current::Unknown)
            && self.queue.is_unused()
            && self.next_id.is_none()
            && !self.has_changes()
    }

    pub(super) fn has_changes(&self) -> bool {
        self.sent.is_some()
            || self.change.is_some()
            || self.applications.iter().any(|(_, application)| application.is_changed())
    }

    /// The uncommitted changes of the session's record.
    pub(super) fn change(&self) -> SessionChange {
        let mut fields = SessionChange::default();
        for change in [&self.sent, &self.change].into_iter().flatten() {
            fields.follow(change.fields.clone());
        }
        fields
    }

    /// Changes the session's record with the next commit.
    pub(super) fn set_change(&mut self, change: SessionChange) {
        self.change.get_or_insert_default().fields.follow(change);
    }

    /// Gives the session a fresh id with the next commit.
    pub(super) fn rotate(&mut self) {
        self.change.get_or_insert_default().rotates = true;
    }

    /// Whether the next commit logs somebody in.
    pub(super) fn logs_in(&self) -> bool {
        let changes = [&self.change, &self.sent].into_iter().flatten();
        changes
            .map(|change| &change.fields.principal)
            .find_map(Option::as_ref)
            .is_some_and(Option::is_some)
    }

    pub(super) fn loaded_ref(&self) -> Option<SessionRef> {
        match &self.current {
            Current::Loaded { record, .. } => Some(record.session),
            _ => None,
        }
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
        self.change = None;
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
        let rotation = || Box::new(RecordChange { rotates: true, ..RecordChange::default() });
        self.sent = self.next_id.is_some().then(rotation);
        for (_, application) in &mut self.applications {
            application.drop_sent();
        }
    }

    /// Takes the result of a lookup of the presented ids.
    pub(super) fn resolve(
        &mut self,
        judged: Result<(KnownId, Found), LoadError>,
        application: Option<&ApplicationName>,
        visitors: bool,
    ) {
        match judged {
            Ok((id, found)) => {
                self.error = None;
                self.judged |= visitors;
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

    /// Drops the visitor's cookie that waits if its id has been replaced: another request has sent the new
    /// one.
    pub(super) fn withdraw_if_retired(&mut self) {
        let Current::Loaded { id, record, visitors: true } = &self.current else { return };
        if record.key != id.key() {
            self.queue.withdraw();
        }
    }

    /// Notes that a commit whose answer was lost has given the session the id that it asked for.
    pub(super) fn has_rotated(&mut self, id: KnownId, record: SessionRecord, visitors: bool) {
        self.current = Current::Loaded { id, record, visitors };
        if let Some(sent) = &mut self.sent {
            sent.rotates = false;
        }
        self.sent.take_if(|sent| sent.fields.is_empty());
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
    pub(super) fn created(&mut self, id: KnownId, record: SessionRecord) {
        self.current = Current::Loaded { id, record, visitors: true };
        self.created = true;
        self.judged = true;
        for (_, application) in &mut self.applications {
            application.stored = Some(Items::new());
        }
    }

    /// Hands the changes over to a commit. They stay visible, and stay uncommitted until
    /// [`committed`](Self::committed).
    pub(super) fn send(&mut self) -> Handover {
        self.committing = true;
        match (&mut self.sent, self.change.take()) {
            (Some(sent), Some(change)) => sent.follow(*change),
            (sent @ None, change) => *sent = change,
            (Some(_), None) => {}
        }
        let items = self
            .applications
            .iter_mut()
            .filter(|(_, application)| application.is_changed())
            .map(|(name, application)| application.send(name.clone()))
            .collect();
        let sent = self.sent.as_deref();
        Handover {
            items,
            fields: sent.map(|sent| sent.fields.clone()).unwrap_or_default(),
            rotates: sent.is_some_and(|sent| sent.rotates),
        }
    }

    /// Notes that what [`send`](Self::send) handed over is stored.
    pub(super) fn committed(&mut self) {
        self.sent = None;
        self.next_id = None;
        for (_, application) in &mut self.applications {
            application.committed();
        }
    }
}

/// Which of the presented ids is the session, given the records that the storage has for them.
pub(super) fn judge(
    presented: &[KnownId],
    mut found: Vec<Found>,
    now: Timestamp,
    retired: Retired,
) -> Result<(KnownId, Found), LoadError> {
    let (id, at) = choose(presented, &found, now, retired)?;
    Ok((id, found.swap_remove(at)))
}

/// The id that is the session, and the place of its record.
fn choose(
    presented: &[KnownId],
    found: &[Found],
    now: Timestamp,
    retired: Retired,
) -> Result<(KnownId, usize), LoadError> {
    let with_key = |key| presented.iter().find(|id| Some(id.key()) == key).copied();
    let mut live = None;
    let (mut several, mut expired, mut rotated) = (false, false, false);
    for (at, Found { session: record, .. }) in found.iter().enumerate() {
        let id = match (with_key(Some(record.key)), record.is_live(now)) {
            (Some(id), true) => Some(id),
            (None, true) if retired.works(record) => with_key(record.previous_key),
            (Some(_), false) => {
                expired = true;
                None
            }
            (None, true) => {
                rotated |= record.rotated.is_some_and(|at| at > retired.known_after);
                None
            }
            (None, false) => None,
        };
        if let Some(id) = id {
            several |= live.replace((id, at)).is_some();
        }
    }
    match live {
        Some(only) if !several => Ok(only),
        Some(_) => Err(LoadError::Ambiguous),
        None if rotated => Err(LoadError::Rotated),
        None if expired => Err(LoadError::Expired),
        None => Err(LoadError::NotFound),
    }
}
