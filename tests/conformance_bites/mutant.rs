//! The memory driver, wrapped so that one thing can be wrong with it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use uuid::Uuid;
use web_session::driver::{
    ApplicationChanges, ApplicationName, Cleanup, Commit, CommitOutcome, Create, CreateOutcome,
    Destroy, Driver, DriverError, DriverFuture, EndWhere, EnvironmentState, Found, Inspect, Limits,
    List, Load, Locator, OnMissing, ReplaceItem, ReplaceOutcome, SessionChange, SessionRecord,
    Target,
};
use web_session::{MemoryDriver, SessionKey, SessionRef, Timestamp};

type Call<A, T> = fn(&Mutant, A) -> DriverFuture<T>;

/// A right driver until a field is replaced: the first ones change what is in an argument, the last
/// ones make the call.
#[derive(Debug, Clone)]
pub(crate) struct Mutant {
    pub(crate) inner: MemoryDriver,
    known: Arc<Mutex<HashMap<SessionRef, SessionRecord>>>,
    chances: Arc<AtomicU64>,
    pub(crate) application: fn(&mut ApplicationName),
    pub(crate) key: fn(&mut Arc<str>),
    pub(crate) value: fn(&mut Arc<str>),
    pub(crate) limits: fn(&mut Limits),
    pub(crate) record: fn(&mut SessionRecord),
    pub(crate) change: fn(&mut SessionChange),
    pub(crate) changes: fn(&mut ApplicationChanges),
    pub(crate) target: fn(&Mutant, &mut Target),
    pub(crate) load: Call<Load, Vec<Found>>,
    pub(crate) create: Call<Create, CreateOutcome>,
    pub(crate) commit: Call<Commit, CommitOutcome>,
    pub(crate) replace: Call<ReplaceItem, ReplaceOutcome>,
    pub(crate) destroy: Call<Destroy, Vec<SessionRef>>,
    pub(crate) inspect: Call<Inspect, Option<SessionRecord>>,
    pub(crate) list: Call<List, Vec<SessionRecord>>,
    pub(crate) end_where: Call<EndWhere, Vec<SessionRef>>,
    pub(crate) cleanup: Call<Cleanup, u64>,
    pub(crate) create_environment: Call<(), ()>,
    pub(crate) ensure_environment: Call<(), ()>,
    pub(crate) remove_environment: Call<OnMissing, ()>,
}

impl Default for Mutant {
    fn default() -> Self {
        Self {
            inner: MemoryDriver::new(),
            known: Arc::default(),
            chances: Arc::default(),
            application: |_| {},
            key: |_| {},
            value: |_| {},
            limits: |_| {},
            record: |_| {},
            change: |_| {},
            changes: |_| {},
            target: |_, _| {},
            load: |mutant, load| mutant.inner.load(load),
            create: |mutant, create| mutant.inner.create(create),
            commit: |mutant, commit| DriverFuture::ready(mutant.write(commit)),
            replace: |mutant, replace| mutant.inner.replace_item(replace),
            destroy: |mutant, destroy| mutant.inner.destroy(destroy),
            inspect: |mutant, inspect| mutant.inner.inspect(inspect),
            list: |mutant, list| mutant.inner.list(list),
            end_where: |mutant, end| mutant.inner.end_where(end),
            cleanup: |mutant, cleanup| mutant.inner.cleanup(cleanup),
            create_environment: |mutant, ()| mutant.inner.create_environment(),
            ensure_environment: |mutant, ()| mutant.inner.ensure_environment(),
            remove_environment: |mutant, missing| mutant.inner.remove_environment(missing),
        }
    }
}

impl Mutant {
    /// Commits, and remembers the record.
    pub(crate) fn write(&self, commit: Commit) -> Result<CommitOutcome, DriverError> {
        let outcome = ready(self.inner.commit(commit))?;
        if let CommitOutcome::Done(record) = &outcome {
            self.known.lock().unwrap().insert(record.session, record.clone());
        }
        Ok(outcome)
    }

    /// Whether it is time for a rare mistake: once in twenty chances.
    pub(crate) fn slips(&self) -> bool {
        self.chances.fetch_add(1, SeqCst) % 20 == 19
    }

    /// A record that was created or written, for which `which` holds.
    pub(crate) fn known(&self, which: impl Fn(&SessionRecord) -> bool) -> Option<SessionRecord> {
        self.known.lock().unwrap().values().find(|record| which(record)).cloned()
    }

    /// Whether there has been such a session.
    pub(crate) fn known_to_be(&self, session: SessionRef) -> bool {
        self.known.lock().unwrap().contains_key(&session)
    }

    /// Gives a principal a session that nobody has asked for.
    pub(crate) fn haunt(&self, principal: &str, now: Timestamp) {
        let session = SessionRef::from_uuid(Uuid::from_u128(1));
        let key = SessionKey::from_bytes([1; 32]);
        let mut record = SessionRecord::new(session, key, now, Timestamp::MAX);
        record.principal = Some(principal.to_owned());
        // It is there once, that is enough.
        let _ = ready(self.inner.create(Create::new(record)));
    }

    /// Makes a reference of a key that a session had before its last rotation.
    pub(crate) fn follow_retired(&self, locator: &mut Locator) {
        if let Locator::Key(key) = *locator
            && let Some(record) = self.known(|record| record.previous_key == Some(key))
        {
            *locator = Locator::Ref(record.session);
        }
    }
}

/// The answer of the memory driver, which is always there at once.
pub(crate) fn ready<T>(future: DriverFuture<T>) -> Result<T, DriverError> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the memory driver made its caller wait"),
    }
}

impl Driver for Mutant {
    fn load(&self, mut load: Load) -> DriverFuture<Vec<Found>> {
        (self.limits)(&mut load.limits);
        load.application.as_mut().into_iter().for_each(self.application);
        (self.load)(self, load)
    }

    fn create(&self, mut create: Create) -> DriverFuture<CreateOutcome> {
        (self.record)(&mut create.session);
        self.known.lock().unwrap().insert(create.session.session, create.session.clone());
        (self.create)(self, create)
    }

    fn commit(&self, mut commit: Commit) -> DriverFuture<CommitOutcome> {
        (self.limits)(&mut commit.limits);
        (self.change)(&mut commit.session);
        (self.target)(self, &mut commit.target);
        match &mut commit.target {
            Target::New(record) => (self.record)(record),
            Target::Presented { otherwise, .. } => otherwise.iter_mut().for_each(self.record),
            Target::Seen { .. } | Target::Existing(_) => {}
        }
        for change in &mut commit.changes {
            (self.application)(&mut change.application);
            (self.changes)(change);
            for (key, value) in &mut change.items {
                (self.key)(key);
                value.iter_mut().for_each(self.value);
            }
        }
        (self.commit)(self, commit)
    }

    fn replace_item(&self, mut replace: ReplaceItem) -> DriverFuture<ReplaceOutcome> {
        (self.limits)(&mut replace.limits);
        (self.application)(&mut replace.application);
        (self.key)(&mut replace.key);
        (self.value)(&mut replace.value);
        (self.replace)(self, replace)
    }

    fn destroy(&self, destroy: Destroy) -> DriverFuture<Vec<SessionRef>> {
        (self.destroy)(self, destroy)
    }

    fn inspect(&self, inspect: Inspect) -> DriverFuture<Option<SessionRecord>> {
        (self.inspect)(self, inspect)
    }

    fn list(&self, list: List) -> DriverFuture<Vec<SessionRecord>> {
        (self.list)(self, list)
    }

    fn end_where(&self, end: EndWhere) -> DriverFuture<Vec<SessionRef>> {
        (self.end_where)(self, end)
    }

    fn cleanup(&self, cleanup: Cleanup) -> DriverFuture<u64> {
        (self.cleanup)(self, cleanup)
    }

    fn environment(&self) -> DriverFuture<EnvironmentState> {
        self.inner.environment()
    }

    fn create_environment(&self) -> DriverFuture<()> {
        (self.create_environment)(self, ())
    }

    fn ensure_environment(&self) -> DriverFuture<()> {
        (self.ensure_environment)(self, ())
    }

    fn remove_environment(&self, missing: OnMissing) -> DriverFuture<()> {
        (self.remove_environment)(self, missing)
    }
}
