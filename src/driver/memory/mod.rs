//! Sessions in the memory of this process.

mod builder;
mod expiry;
mod hash;
mod room;
mod session;
mod storage;

use std::fmt;
use std::sync::Arc;

pub use builder::{MemoryDriverBuilder, WhenFull};
use session::State;
use storage::Storage;

use super::{
    Cleanup, Commit, CommitOutcome, Create, CreateOutcome, Destroy, Driver, DriverError,
    DriverErrorKind, DriverFuture, EndWhere, EnvironmentState, Found, Inspect, List, Load,
    OnMissing, ReplaceItem, ReplaceOutcome, SessionRecord,
};
use crate::id::SessionRef;

/// Keeps sessions in the memory of this process: for tests, tools, and applications of one process
/// that may forget.
///
/// **It forgets everything when the process ends**, and other processes do not see it. Clones share
/// the sessions. Expired sessions stay until a cleanup removes them, as on every driver, or a new
/// session needs their place.
///
/// There are at most a million sessions, unless [`max_sessions`](MemoryDriverBuilder::max_sessions) says
/// otherwise; one more is refused, so that a flood of new sessions takes neither all memory nor the
/// sessions of others. [`WhenFull`] has the alternative.
///
/// ```
/// use web_session::{MemoryDriver, SessionLayer, WhenFull};
///
/// # fn main() -> Result<(), web_session::driver::DriverError> {
/// let driver = MemoryDriver::builder()
///     .max_sessions(10_000)
///     .when_full(WhenFull::EvictSoonestToExpire)
///     .build()?;
/// let layer = SessionLayer::new(driver);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryDriver(Arc<Storage>);

impl MemoryDriver {
    /// An empty storage, with its environment and the default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Settings for an empty storage.
    pub fn builder() -> MemoryDriverBuilder {
        MemoryDriverBuilder::new()
    }

    /// How many sessions there are, expired ones included. Calls that are under way while they are
    /// counted are counted or not, one by one.
    pub fn len(&self) -> usize {
        self.0.by_ref.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.0.by_ref.is_empty()
    }
}

impl fmt::Debug for MemoryDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDriver").field("sessions", &self.len()).finish()
    }
}

impl Driver for MemoryDriver {
    fn load(&self, load: Load) -> DriverFuture<Vec<Found>> {
        let answer = self.0.check().and_then(|_| {
            let mut found: Vec<Found> = Vec::with_capacity(1);
            for locator in &load.sessions {
                let Some(session) = self.0.candidate(locator) else {
                    continue;
                };
                let state = session.0.lock();
                let known = found.iter().any(|other| other.session.session == state.session);
                if state.ended || known || !state.answers_to(locator) {
                    continue;
                }
                let items = load.application.as_ref().map(|application| state.items(application));
                let items = items.unwrap_or_default();
                load.limits.check_items(&items)?;
                found.push(Found::new(state.record(), items));
            }
            Ok(found)
        });
        DriverFuture::ready(answer)
    }

    fn create(&self, create: Create) -> DriverFuture<CreateOutcome> {
        let now = create.session.created;
        let state = State::new(create.session);
        let insert = |generation| self.0.insert(state, generation, now);
        DriverFuture::ready(self.0.check().and_then(insert))
    }

    fn commit(&self, commit: Commit) -> DriverFuture<CommitOutcome> {
        DriverFuture::ready(self.0.commit(&commit))
    }

    fn replace_item(&self, replace: ReplaceItem) -> DriverFuture<ReplaceOutcome> {
        DriverFuture::ready(self.0.replace(&replace))
    }

    fn destroy(&self, destroy: Destroy) -> DriverFuture<Vec<SessionRef>> {
        let end = |locator| self.0.with_current(locator, |state| self.0.end(state));
        let ended = || destroy.sessions.iter().filter_map(end).collect();
        DriverFuture::ready(self.0.check().map(|_| ended()))
    }

    fn inspect(&self, inspect: Inspect) -> DriverFuture<Option<SessionRecord>> {
        let record = || self.0.with_current(&inspect.session, |state| state.record());
        DriverFuture::ready(self.0.check().map(|_| record()))
    }

    fn list(&self, list: List) -> DriverFuture<Vec<SessionRecord>> {
        let answer = self.0.check().map(|_| {
            let mut records = self.0.of_principal(&list.principal);
            records.retain(|record| record.is_live(list.now));
            records
        });
        DriverFuture::ready(answer)
    }

    fn end_where(&self, end: EndWhere) -> DriverFuture<Vec<SessionRef>> {
        let answer = self.0.check().map(|_| {
            let chosen = end.choose(self.0.of_principal(&end.principal));
            self.0.end_all(chosen, |state| state.principal() == Some(end.principal.as_str()))
        });
        DriverFuture::ready(answer)
    }

    fn cleanup(&self, cleanup: Cleanup) -> DriverFuture<u64> {
        DriverFuture::ready(self.0.check().map(|_| self.0.cleanup(cleanup)))
    }

    fn environment(&self) -> DriverFuture<EnvironmentState> {
        DriverFuture::ready(Ok(match self.0.check() {
            Ok(_) => EnvironmentState::Complete,
            Err(_) => EnvironmentState::Absent,
        }))
    }

    fn create_environment(&self) -> DriverFuture<()> {
        DriverFuture::ready(if self.0.make() {
            Ok(())
        } else {
            Err(DriverError::new(
                DriverErrorKind::EnvironmentExists,
                "the memory driver has its environment",
            ))
        })
    }

    fn ensure_environment(&self) -> DriverFuture<()> {
        self.0.make();
        DriverFuture::ready(Ok(()))
    }

    fn remove_environment(&self, missing: OnMissing) -> DriverFuture<()> {
        let removed = self.0.remove();
        DriverFuture::ready(if missing == OnMissing::Error { removed } else { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use uuid::Uuid;

    use super::*;
    use crate::clock::Timestamp;
    use crate::driver::{CommitOutcome, Limits, Locator, SessionChange, Target};
    use crate::id::SessionKey;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn session(n: u128) -> SessionRecord {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&n.to_le_bytes());
        let reference = SessionRef::from_uuid(Uuid::from_u128(n));
        SessionRecord::new(reference, SessionKey::from_bytes(key), NOW, Timestamp::MAX)
    }

    /// Stores a session in one of the two ways. Whether it was stored.
    fn stored(driver: &MemoryDriver, n: u128) -> bool {
        if n.is_multiple_of(2) {
            let mut create = driver.create(Create { session: session(n) });
            return matches!(answer(&mut create), Ok(CreateOutcome::Done));
        }
        let mut commit = driver.commit(Commit {
            target: Target::New(session(n)),
            changes: Vec::new(),
            session: SessionChange::default(),
            max_sessions: None,
            limits: Limits::default(),
            now: NOW,
        });
        matches!(answer(&mut commit), Ok(CommitOutcome::Done(_)))
    }

    /// The answers of this driver are ready at once.
    fn answer<T>(call: &mut DriverFuture<T>) -> Result<T, DriverError> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(call).poll(&mut context) {
            std::task::Poll::Ready(answer) => answer,
            std::task::Poll::Pending => panic!("not ready"),
        }
    }

    /// A key that the maps keep as the other one.
    fn like(key: SessionKey) -> SessionKey {
        let [.., c, d] = key.as_bytes().as_chunks::<8>().0 else { panic!("32 bytes") };
        let (c, d) = (u64::from_le_bytes(*c), u64::from_le_bytes(*d));
        // With another third word the fourth one has to make up for it.
        let mut bytes = *key.as_bytes();
        bytes[16..24].copy_from_slice(&(c ^ 1).to_le_bytes());
        let state = |third: u64| {
            let mut words = [0; 24];
            words.copy_from_slice(&key.as_bytes()[..24]);
            words[16..].copy_from_slice(&third.to_le_bytes());
            hash::mixed(&words).rotate_left(26)
        };
        bytes[24..].copy_from_slice(&(d ^ state(c) ^ state(c ^ 1)).to_le_bytes());
        SessionKey::from_bytes(bytes)
    }

    // S1
    #[test]
    fn keys_that_look_alike_in_the_maps_name_one_session() {
        let driver = MemoryDriver::new();
        let theirs = session(2);
        let mut other = session(4);
        other.key = like(theirs.key);
        assert_ne!(other.key, theirs.key);
        let create = |session| answer(&mut driver.create(Create { session })).unwrap();
        assert_eq!(create(theirs.clone()), CreateOutcome::Done);
        assert_eq!(create(other.clone()), CreateOutcome::Collision);
        let at = |key| vec![Locator::Key(key)];
        let load = |key| answer(&mut driver.load(Load::new(at(key), NOW))).unwrap().len();
        assert_eq!((load(theirs.key), load(other.key)), (1, 0));
        let destroy = |key| answer(&mut driver.destroy(Destroy::new(at(key)))).unwrap();
        assert!(destroy(other.key).is_empty());
        let mut commit = Commit::new(Target::Existing(Locator::Key(other.key)), NOW);
        assert_eq!(answer(&mut driver.commit(commit.clone())).unwrap(), CommitOutcome::Gone);
        commit.target = Target::Presented { key: other.key, retired_after: NOW, otherwise: None };
        assert_eq!(answer(&mut driver.commit(commit)).unwrap(), CommitOutcome::Gone);
        assert_eq!(destroy(theirs.key), [theirs.session]);
    }

    // M10
    #[test]
    fn no_session_outlives_its_environment() {
        for _ in 0..500 {
            let driver = MemoryDriver::new();
            let start = Barrier::new(2);
            thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    (0..200).all(|n| stored(&driver, n))
                });
                start.wait();
                thread::yield_now();
                answer(&mut driver.remove_environment(OnMissing::Error)).unwrap();
            });
            answer(&mut driver.create_environment()).unwrap();
            assert!(driver.is_empty(), "{driver:?}");
        }
    }

    // M10
    #[test]
    fn a_removal_takes_no_session_of_the_next_environment() {
        for round in 0..200 {
            let driver = MemoryDriver::new();
            assert!((1_000..1_500).all(|n| stored(&driver, n)));
            thread::scope(|scope| {
                scope.spawn(|| answer(&mut driver.remove_environment(OnMissing::Error)));
                while answer(&mut driver.create_environment()).is_err() {}
                assert!((0..20).all(|n| stored(&driver, n)));
            });
            assert_eq!(driver.len(), 20, "{round}");
        }
    }
}
