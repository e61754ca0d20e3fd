//! One session, in little memory.

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::driver::{
    ApplicationChanges, ApplicationName, DriverError, Items, Limits, Locator, SessionRecord,
};
use crate::id::{SessionKey, SessionRef};
use crate::sync::Mutex;

/// Applications and what is in them, which is one of them most often.
pub(super) type Applications = SmallVec<[(ApplicationName, Items); 1]>;

pub(super) struct Session(pub(super) Mutex<State>);

pub(super) struct State {
    pub(super) session: SessionRef,
    pub(super) key: SessionKey,
    pub(super) expires: Timestamp,
    /// What a session that was created and filled does not have yet.
    more: Option<Box<More>>,
    application: Option<(ApplicationName, Items)>,
    /// Set when the session is removed: whoever still holds it must not write to it.
    pub(super) ended: bool,
}

#[derive(Default)]
struct More {
    /// Unless it is the time in the reference.
    created: Option<Timestamp>,
    previous_key: Option<SessionKey>,
    rotated: Option<Timestamp>,
    /// Unless it is when the session expires.
    ends: Option<Timestamp>,
    /// Unless it is when the session was created.
    last_used: Option<Timestamp>,
    cookie_lifetime: Option<i64>,
    principal: Option<String>,
    note: Option<String>,
    applications: Vec<(ApplicationName, Items)>,
}

impl State {
    pub(super) fn new(record: SessionRecord) -> Self {
        let SessionRecord { session, key, expires, .. } = record;
        let (more, application) = (None, None);
        let mut state = Self { session, key, expires, more, application, ended: false };
        state.set_record(record);
        state
    }

    pub(super) fn record(&self) -> SessionRecord {
        let created = time_in(self.session);
        let mut record = SessionRecord::new(self.session, self.key, created, self.expires);
        if let Some(more) = &self.more {
            record.created = more.created.unwrap_or(created);
            record.previous_key = more.previous_key;
            record.rotated = more.rotated;
            record.ends = more.ends.unwrap_or(self.expires);
            record.last_used = more.last_used.unwrap_or(record.created);
            record.cookie_lifetime = more.cookie_lifetime;
            record.principal.clone_from(&more.principal);
            record.note.clone_from(&more.note);
        }
        record
    }

    pub(super) fn set_record(&mut self, record: SessionRecord) {
        let SessionRecord {
            session,
            key,
            previous_key,
            rotated,
            expires,
            ends,
            created,
            last_used,
            cookie_lifetime,
            principal,
            note,
        } = record;
        (self.session, self.key, self.expires) = (session, key, expires);
        let applications = self.more.take().map(|more| more.applications).unwrap_or_default();
        let more = More {
            created: (created != time_in(session)).then_some(created),
            previous_key,
            rotated,
            ends: (ends != expires).then_some(ends),
            last_used: (last_used != created).then_some(last_used),
            cookie_lifetime,
            principal,
            note,
            applications,
        };
        self.more = more.is_needed().then(|| Box::new(more));
    }

    pub(super) fn previous_key(&self) -> Option<SessionKey> {
        self.more.as_ref()?.previous_key
    }

    pub(super) fn rotated(&self) -> Option<Timestamp> {
        self.more.as_ref()?.rotated
    }

    pub(super) fn principal(&self) -> Option<&str> {
        self.more.as_ref()?.principal.as_deref()
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.expires > now
    }

    /// Whether a locator names this session, by its current key or its reference.
    pub(super) fn is_current(&self, locator: &Locator) -> bool {
        match locator {
            Locator::Key(key) => self.key == *key,
            Locator::Ref(session) => self.session == *session,
        }
    }

    /// Whether a locator names this session, also by its previous key.
    pub(super) fn answers_to(&self, locator: &Locator) -> bool {
        let previous = self.previous_key().map(Locator::Key);
        self.is_current(locator) || previous.as_ref() == Some(locator)
    }

    fn applications(&self) -> impl Iterator<Item = &(ApplicationName, Items)> {
        let others = self.more.iter().flat_map(|more| &more.applications);
        self.application.iter().chain(others)
    }

    pub(super) fn items(&self, application: &ApplicationName) -> Items {
        let theirs = self.applications().find(|(name, _)| name == application);
        theirs.map(|(_, items)| items.clone()).unwrap_or_default()
    }

    /// The applications as they would be after the changes.
    pub(super) fn changed(
        &self,
        changes: &[ApplicationChanges],
        limits: &Limits,
    ) -> Result<Applications, DriverError> {
        changes
            .iter()
            .map(|change| {
                let mut items = self.items(&change.application);
                change.apply(&mut items);
                if change.stores() {
                    limits.check_items(&items)?;
                }
                Ok((change.application.clone(), items))
            })
            .collect()
    }

    pub(super) fn put(&mut self, changed: Applications) {
        for (application, items) in changed {
            // Without a first one there is no other.
            if self.application.as_ref().is_none_or(|(name, _)| *name == application) {
                self.application = Some((application, items));
                continue;
            }
            let others = &mut self.more.get_or_insert_default().applications;
            match others.iter_mut().find(|(name, _)| *name == application) {
                Some((_, known)) => *known = items,
                None => others.push((application, items)),
            }
        }
        self.application.take_if(|(_, items)| items.is_empty());
        if let Some(more) = &mut self.more {
            more.applications.retain(|(_, items)| !items.is_empty());
            if self.application.is_none() {
                self.application = more.applications.pop();
            }
        }
        self.more.take_if(|more| !more.is_needed());
    }
}

/// When a reference was drawn: in the first 48 bits of a UUIDv7.
fn time_in(session: SessionRef) -> Timestamp {
    Timestamp::from_millis((session.as_uuid().as_u128() >> 80) as i64)
}

impl More {
    fn is_needed(&self) -> bool {
        self.created.is_some()
            || self.previous_key.is_some()
            || self.rotated.is_some()
            || self.ends.is_some()
            || self.last_used.is_some()
            || self.cookie_lifetime.is_some()
            || self.principal.is_some()
            || self.note.is_some()
            || !self.applications.is_empty()
    }
}
