//! The maps, and the calls on them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use dashmap::DashMap;
use dashmap::Entry;
use smallvec::{SmallVec, smallvec};

use super::expiry::ExpiryIndex;
use super::hash::{AsItIs, Short};
use super::room::Room;
use super::session::{Session, State};
use crate::clock::Timestamp;
use crate::driver::{
    Cleanup, Commit, CommitOutcome, CreateOutcome, DriverError, DriverErrorKind, Locator,
    ReplaceItem, ReplaceOutcome, SessionRecord, Target,
};
use crate::id::{SessionKey, SessionRef};
use crate::sync::{Mutex, MutexGuard};

/// A session's state is behind its own lock, which is taken before those of the maps and of the
/// expiry index and never while one of them is held.
#[derive(Default)]
pub(super) struct Storage {
    /// By current and by previous key.
    by_key: DashMap<Short, Arc<Session>, AsItIs>,
    pub(super) by_ref: DashMap<Short, Arc<Session>, AsItIs>,
    expiry: ExpiryIndex,
    by_principal: DashMap<String, BTreeSet<SessionRef>>,
    /// Held by a commit that may be one session too many for a principal, from counting the others
    /// to its end. Taken before the locks of sessions.
    logins: Mutex<()>,
    /// How often the environment was removed and made: it exists while this is even. A session that
    /// was published while this changed may have been overlooked by the removal.
    generation: AtomicU64,
    /// Held while the environment changes, so that a removal takes nothing that came after it. Taken
    /// before the locks of sessions and never while one of them is held.
    changing: Mutex<()>,
    /// A session has a place from before it is published until it is in no map any more.
    room: Room,
}

impl Storage {
    pub(super) fn new(room: Room) -> Self {
        Self { room, ..Self::default() }
    }

    /// The generation of the environment, if there is one.
    pub(super) fn check(&self) -> Result<u64, DriverError> {
        let generation = self.generation.load(Ordering::SeqCst);
        if generation.is_multiple_of(2) { Ok(generation) } else { Err(missing()) }
    }

    /// Makes the environment, unless it exists. Whether it did not.
    pub(super) fn make(&self) -> bool {
        let _changing = self.changing.lock();
        let absent = self.check().is_err();
        if absent {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
        absent
    }

    /// Removes the environment with its sessions.
    pub(super) fn remove(&self) -> Result<(), DriverError> {
        let _changing = self.changing.lock();
        self.check()?;
        // Before the walk: a session that is published too late for it sees this.
        self.generation.fetch_add(1, Ordering::SeqCst);
        let sessions: Vec<_> = self.by_ref.iter().map(|entry| entry.value().clone()).collect();
        for session in sessions {
            let mut state = session.0.lock();
            if !state.ended {
                self.end(&mut state);
            }
        }
        Ok(())
    }

    /// The only session that a locator may name, by its current or its previous key; the caller has to ask
    /// whether it [answers](State::answers_to) to it.
    pub(super) fn candidate(&self, locator: &Locator) -> Option<Arc<Session>> {
        let found = match locator {
            Locator::Key(key) => self.by_key.get(&(*key).into()),
            Locator::Ref(session) => self.by_ref.get(&(*session).into()),
        };
        found.map(|session| session.clone())
    }

    /// The session that a locator names as its current key or reference, locked.
    pub(super) fn with_current<T>(
        &self,
        locator: &Locator,
        f: impl FnOnce(&mut MutexGuard<'_, State>) -> T,
    ) -> Option<T> {
        let session = self.candidate(locator)?;
        let mut state = session.0.lock();
        (state.is_current(locator) && !state.ended).then(|| f(&mut state))
    }

    /// Takes a place for one more session, if need be that of the session that expires soonest. Called
    /// while no session is locked.
    fn take_place(&self, now: Timestamp) -> Result<(), DriverError> {
        while !self.room.take() {
            let Some((expires, session)) = self.expiry.soonest() else {
                // The places are taken by sessions that others are about to publish.
                thread::yield_now();
                continue;
            };
            if !self.room.may_evict(expires, now) {
                return Err(full());
            }
            self.end_all([session], |state| state.expires == expires);
        }
        Ok(())
    }

    /// Publishes a session, unless there is no room, a key or the reference is taken, or the
    /// environment is not the one of [`check`](Self::check) any more.
    pub(super) fn insert(
        &self,
        state: State,
        generation: u64,
        now: Timestamp,
    ) -> Result<CreateOutcome, DriverError> {
        self.take_place(now)?;
        let session = Arc::new(Session(Mutex::new(state)));
        // Locked until it stands in all maps, or in none.
        let mut state = session.0.lock();
        let State { session: reference, key, expires, .. } = *state;
        let mut claimed = SmallVec::<[SessionKey; 2]>::new();
        for key in [Some(key), state.previous_key()].into_iter().flatten() {
            if self.claim(key, &session) {
                claimed.push(key);
            } else {
                state.ended = true;
            }
        }
        if !state.ended {
            match self.by_ref.entry(reference.into()) {
                Entry::Occupied(_) => state.ended = true,
                Entry::Vacant(vacant) => drop(vacant.insert(session.clone())),
            }
        }
        if state.ended {
            for key in claimed {
                self.by_key.remove(&key.into());
            }
            self.room.give_back();
            return Ok(CreateOutcome::Collision);
        }
        self.expiry.insert(expires, reference);
        self.list_under(state.principal(), reference);
        if self.generation.load(Ordering::SeqCst) != generation {
            self.end(&mut state);
            return Err(missing());
        }
        Ok(CreateOutcome::Done)
    }

    /// Lets a key name a session, unless it is taken.
    fn claim(&self, key: SessionKey, session: &Arc<Session>) -> bool {
        match self.by_key.entry(key.into()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(session.clone());
                true
            }
        }
    }

    fn list_under(&self, principal: Option<&str>, session: SessionRef) {
        if let Some(principal) = principal {
            self.by_principal.entry(principal.to_owned()).or_default().insert(session);
        }
    }

    fn unlist(&self, principal: Option<&str>, session: SessionRef) {
        let Some(principal) = principal else { return };
        if let Entry::Occupied(mut theirs) = self.by_principal.entry(principal.to_owned()) {
            theirs.get_mut().remove(&session);
            if theirs.get().is_empty() {
                theirs.remove();
            }
        }
    }

    fn create(
        &self,
        mut record: SessionRecord,
        commit: &Commit,
        generation: u64,
        theirs: &[SessionRecord],
    ) -> Result<CommitOutcome, DriverError> {
        if commit.is_one_too_many(theirs, record.session) {
            return Ok(CommitOutcome::TooMany);
        }
        commit.session.apply_to_created(&mut record);
        let mut state = State::new(record.clone());
        let changed = state.changed(&commit.changes, &commit.limits)?;
        state.put(changed);
        Ok(match self.insert(state, generation, commit.now)? {
            CreateOutcome::Done => CommitOutcome::Done(record),
            CreateOutcome::Collision => CommitOutcome::Collision,
        })
    }

    /// Applies a commit to a session that is locked and known to be the right one.
    fn apply(
        &self,
        session: &Arc<Session>,
        state: &mut State,
        commit: &Commit,
        theirs: &[SessionRecord],
    ) -> Result<CommitOutcome, DriverError> {
        if commit.is_one_too_many(theirs, state.session) {
            return Ok(CommitOutcome::TooMany);
        }
        let changed = state.changed(&commit.changes, &commit.limits)?;
        if commit.session.is_empty() {
            state.put(changed);
            return Ok(CommitOutcome::Done(state.record()));
        }
        let mut record = state.record();
        commit.session.apply(&mut record, commit.now);
        if let Some(key) = commit.session.key {
            if !self.claim(key, session) {
                return Ok(CommitOutcome::Collision);
            }
            if let Some(forgotten) = state.previous_key() {
                self.by_key.remove(&forgotten.into());
            }
        }
        if record.expires != state.expires {
            self.expiry.remove(state.expires, record.session);
            self.expiry.insert(record.expires, record.session);
        }
        if record.principal.as_deref() != state.principal() {
            self.unlist(state.principal(), record.session);
            self.list_under(record.principal.as_deref(), record.session);
        }
        state.put(changed);
        state.set_record(record.clone());
        Ok(CommitOutcome::Done(record))
    }

    pub(super) fn commit(&self, commit: &Commit) -> Result<CommitOutcome, DriverError> {
        let generation = self.check()?;
        let now = commit.now;
        let capped = commit.capped().map(|(principal, _)| (self.logins.lock(), principal));
        let theirs = match &capped {
            Some((_, principal)) => self.of_principal(principal),
            None => Vec::new(),
        };
        match &commit.target {
            Target::New(record) => self.create(record.clone(), commit, generation, &theirs),
            Target::Seen { session: reference, key } => {
                let Some(session) = self.candidate(&Locator::Ref(*reference)) else {
                    return Ok(CommitOutcome::Gone);
                };
                let mut state = session.0.lock();
                if state.ended || state.session != *reference || !state.is_live(now) {
                    return Ok(CommitOutcome::Gone);
                }
                if commit.session.key.is_some() && state.key != *key {
                    return Ok(CommitOutcome::Rotated);
                }
                self.apply(&session, &mut state, commit, &theirs)
            }
            Target::Existing(locator) => {
                let Some(session) = self.candidate(locator) else {
                    return Ok(CommitOutcome::Gone);
                };
                let mut state = session.0.lock();
                if state.ended || !state.is_current(locator) {
                    return Ok(CommitOutcome::Gone);
                }
                self.apply(&session, &mut state, commit, &theirs)
            }
            Target::Presented { key, retired_after, otherwise } => {
                if let Some(session) = self.candidate(&Locator::Key(*key)) {
                    let mut state = session.0.lock();
                    let live = !state.ended && state.is_live(now);
                    if live && state.key == *key {
                        return self.apply(&session, &mut state, commit, &theirs);
                    }
                    let was_theirs = live && state.previous_key() == Some(*key);
                    if was_theirs && state.rotated().is_some_and(|at| at > *retired_after) {
                        return Ok(CommitOutcome::Rotated);
                    }
                }
                match otherwise {
                    Some(record) => self.create(record.clone(), commit, generation, &theirs),
                    None => Ok(CommitOutcome::Gone),
                }
            }
        }
    }

    pub(super) fn replace(&self, replace: &ReplaceItem) -> Result<ReplaceOutcome, DriverError> {
        self.check()?;
        let Some(session) = self.candidate(&Locator::Ref(replace.session)) else {
            return Ok(ReplaceOutcome::Gone);
        };
        let mut state = session.0.lock();
        let is_the_one = state.session == replace.session;
        if state.ended || !is_the_one || !state.is_live(replace.now) {
            return Ok(ReplaceOutcome::Gone);
        }
        let mut items = state.items(&replace.application);
        let stored = items.get(&replace.key);
        replace.limits.check(stored.map(|stored| (replace.key.len(), stored.len())))?;
        if stored != replace.expected.as_ref() {
            return Ok(ReplaceOutcome::Conflict(stored.cloned()));
        }
        items.insert(replace.key.clone(), replace.value.clone());
        replace.limits.check_items(&items)?;
        state.put(smallvec![(replace.application.clone(), items)]);
        Ok(ReplaceOutcome::Done)
    }

    /// Removes a session that is locked.
    pub(super) fn end(&self, state: &mut State) -> SessionRef {
        state.ended = true;
        // First, so that whoever looks for a place finds none that is about to be free.
        self.expiry.remove(state.expires, state.session);
        for key in [Some(state.key), state.previous_key()].into_iter().flatten() {
            self.by_key.remove(&key.into());
        }
        self.by_ref.remove(&state.session.into());
        self.unlist(state.principal(), state.session);
        self.room.give_back();
        state.session
    }

    /// Removes the sessions for which `ends` holds, of those that `references` names.
    pub(super) fn end_all(
        &self,
        references: impl IntoIterator<Item = SessionRef>,
        ends: impl Fn(&State) -> bool,
    ) -> Vec<SessionRef> {
        let end = |reference| {
            self.with_current(&Locator::Ref(reference), |state| {
                ends(state).then(|| self.end(state))
            })
            .flatten()
        };
        references.into_iter().filter_map(end).collect()
    }

    /// The records of a principal's sessions, the oldest first.
    pub(super) fn of_principal(&self, principal: &str) -> Vec<SessionRecord> {
        // Sessions are locked one by one after the lock of the index was let go.
        let theirs = self.by_principal.get(principal).map(|theirs| theirs.clone());
        let record = |reference| {
            self.with_current(&Locator::Ref(reference), |state| state.record())
                .filter(|record| record.principal.as_deref() == Some(principal))
        };
        let mut records: Vec<_> =
            theirs.unwrap_or_default().into_iter().filter_map(record).collect();
        records.sort_by_key(|record| (record.created, record.session));
        records
    }

    pub(super) fn cleanup(&self, cleanup: Cleanup) -> u64 {
        let Cleanup { from, until, limit } = cleanup;
        let mut left = limit as usize;
        for shard in 0..ExpiryIndex::SHARDS {
            while left > 0 {
                let expired = self.expiry.range(shard, from, until, left);
                if expired.is_empty() {
                    break;
                }
                let ended =
                    self.end_all(expired, |state| from <= state.expires && state.expires < until);
                left = left.saturating_sub(ended.len());
            }
        }
        u64::from(limit) - left as u64
    }
}

fn missing() -> DriverError {
    DriverError::new(
        DriverErrorKind::EnvironmentMissing,
        "the environment of the memory driver was removed",
    )
}

fn full() -> DriverError {
    DriverError::new(
        DriverErrorKind::Full,
        "the memory driver has as many sessions as it may, and none of them has expired",
    )
}
