//! Drivers around another driver, written against the public API alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use web_session::driver::*;
use web_session::{Driver, SessionRef};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Load,
    Create,
    Commit,
    ReplaceItem,
    Destroy,
    Inspect,
    List,
    EndWhere,
    Cleanup,
    Environment,
}

/// What a wrapper does around each call of the driver inside.
pub trait Around {
    fn around<T: fmt::Debug + Send + 'static>(
        &self,
        call: Call,
        next: impl FnOnce(&dyn Driver) -> DriverFuture<T> + Send + 'static,
    ) -> DriverFuture<T>;

    /// Sees the argument of each call.
    fn passing(&self, _argument: &dyn fmt::Debug) {}

    /// Sees the argument of each `load`.
    fn loading(&self, _load: &Load) {}

    /// Passes a `replace_item` on.
    fn replacing(&self, replace: ReplaceItem) -> DriverFuture<ReplaceOutcome> {
        self.around(Call::ReplaceItem, move |inner| inner.replace_item(replace))
    }
}

macro_rules! wrap {
    ($($wrapper:ty),*) => {$(
        impl Driver for $wrapper {
            fn load(&self, load: Load) -> DriverFuture<Vec<Found>> {
                self.passing(&load);
                self.loading(&load);
                self.around(Call::Load, move |inner| inner.load(load))
            }
            fn create(&self, create: Create) -> DriverFuture<CreateOutcome> {
                self.passing(&create);
                self.around(Call::Create, move |inner| inner.create(create))
            }
            fn commit(&self, commit: Commit) -> DriverFuture<CommitOutcome> {
                self.passing(&commit);
                self.around(Call::Commit, move |inner| inner.commit(commit))
            }
            fn replace_item(&self, replace: ReplaceItem) -> DriverFuture<ReplaceOutcome> {
                self.passing(&replace);
                self.replacing(replace)
            }
            fn destroy(&self, destroy: Destroy) -> DriverFuture<Vec<SessionRef>> {
                self.passing(&destroy);
                self.around(Call::Destroy, move |inner| inner.destroy(destroy))
            }
            fn inspect(&self, inspect: Inspect) -> DriverFuture<Option<SessionRecord>> {
                self.passing(&inspect);
                self.around(Call::Inspect, move |inner| inner.inspect(inspect))
            }
            fn list(&self, list: List) -> DriverFuture<Vec<SessionRecord>> {
                self.passing(&list);
                self.around(Call::List, move |inner| inner.list(list))
            }
            fn end_where(&self, end: EndWhere) -> DriverFuture<Vec<SessionRef>> {
                self.passing(&end);
                self.around(Call::EndWhere, move |inner| inner.end_where(end))
            }
            fn cleanup(&self, cleanup: Cleanup) -> DriverFuture<u64> {
                self.passing(&cleanup);
                self.around(Call::Cleanup, move |inner| inner.cleanup(cleanup))
            }
            fn environment(&self) -> DriverFuture<EnvironmentState> {
                self.around(Call::Environment, |inner| inner.environment())
            }
            fn create_environment(&self) -> DriverFuture<()> {
                self.around(Call::Environment, |inner| inner.create_environment())
            }
            fn ensure_environment(&self) -> DriverFuture<()> {
                self.around(Call::Environment, |inner| inner.ensure_environment())
            }
            fn remove_environment(&self, missing: OnMissing) -> DriverFuture<()> {
                self.around(Call::Environment, move |inner| inner.remove_environment(missing))
            }
        }
    )*};
}
pub(crate) use wrap;

wrap!(Counting, Suspending, Failing, Conflicting);

/// Counts the calls. Clones count together.
#[derive(Debug, Clone)]
pub struct Counting {
    inner: Arc<dyn Driver>,
    counts: Arc<Mutex<BTreeMap<Call, usize>>>,
    widest_load: Arc<AtomicUsize>,
}

impl Counting {
    pub fn new(inner: impl Driver) -> Self {
        Self { inner: Arc::new(inner), counts: Arc::default(), widest_load: Arc::default() }
    }

    /// The calls since the last look, by method.
    pub fn take(&self) -> Vec<(Call, usize)> {
        std::mem::take(&mut *self.counts.lock().unwrap()).into_iter().collect()
    }

    /// The greatest number of sessions that one load was asked for.
    pub fn widest_load(&self) -> usize {
        self.widest_load.load(Ordering::SeqCst)
    }
}

impl Around for Counting {
    fn around<T: fmt::Debug + Send + 'static>(
        &self,
        call: Call,
        next: impl FnOnce(&dyn Driver) -> DriverFuture<T> + Send + 'static,
    ) -> DriverFuture<T> {
        *self.counts.lock().unwrap().entry(call).or_default() += 1;
        next(&*self.inner)
    }

    fn loading(&self, load: &Load) {
        self.widest_load.fetch_max(load.sessions.len(), Ordering::SeqCst);
    }
}

/// Suspends twice before and twice after each call while it is told to, so that a future can be
/// dropped before the driver works, while it does, and before the answer arrives.
#[derive(Debug, Clone)]
pub struct Suspending {
    inner: Arc<dyn Driver>,
    times: Arc<AtomicUsize>,
}

impl Suspending {
    pub fn new(inner: impl Driver) -> Self {
        Self { inner: Arc::new(inner), times: Arc::new(AtomicUsize::new(2)) }
    }
}

impl Around for Suspending {
    fn around<T: fmt::Debug + Send + 'static>(
        &self,
        _call: Call,
        next: impl FnOnce(&dyn Driver) -> DriverFuture<T> + Send + 'static,
    ) -> DriverFuture<T> {
        let inner = self.inner.clone();
        let times = self.times.load(Ordering::SeqCst);
        DriverFuture::new(async move {
            for _ in 0..times {
                tokio::task::yield_now().await;
            }
            let answer = next(&*inner).await;
            for _ in 0..times {
                tokio::task::yield_now().await;
            }
            answer
        })
    }
}

/// Fails the calls that it is told to fail, before the driver inside sees them.
#[derive(Debug, Clone)]
pub struct Failing {
    inner: Arc<dyn Driver>,
    failing: Arc<Mutex<BTreeSet<Call>>>,
}

impl Failing {
    pub fn new(inner: impl Driver) -> Self {
        Self { inner: Arc::new(inner), failing: Arc::default() }
    }

    pub fn fail(&self, calls: impl IntoIterator<Item = Call>) {
        *self.failing.lock().unwrap() = calls.into_iter().collect();
    }

    pub fn mend(&self) {
        self.fail([]);
    }

    pub fn error() -> DriverError {
        DriverError::new(DriverErrorKind::Unavailable, "pulled-the-plug").with_code("plug-7")
    }
}

impl Around for Failing {
    fn around<T: fmt::Debug + Send + 'static>(
        &self,
        call: Call,
        next: impl FnOnce(&dyn Driver) -> DriverFuture<T> + Send + 'static,
    ) -> DriverFuture<T> {
        if self.failing.lock().unwrap().contains(&call) {
            return DriverFuture::ready(Err(Self::error()));
        }
        next(&*self.inner)
    }
}

/// Lets a rival write a number to the item before each of the first `conflicts` replacements: 1000,
/// then 1001 and so on.
#[derive(Debug, Clone)]
pub struct Conflicting {
    inner: Arc<dyn Driver>,
    conflicts: usize,
    replacements: Arc<AtomicUsize>,
}

impl Conflicting {
    pub fn new(inner: impl Driver, conflicts: usize) -> Self {
        Self { inner: Arc::new(inner), conflicts, replacements: Arc::default() }
    }

    /// How many replacements were asked for, without the rival's.
    pub fn replacements(&self) -> usize {
        self.replacements.load(Ordering::SeqCst)
    }
}

impl Around for Conflicting {
    fn around<T: fmt::Debug + Send + 'static>(
        &self,
        _call: Call,
        next: impl FnOnce(&dyn Driver) -> DriverFuture<T> + Send + 'static,
    ) -> DriverFuture<T> {
        next(&*self.inner)
    }

    fn replacing(&self, replace: ReplaceItem) -> DriverFuture<ReplaceOutcome> {
        let count = self.replacements.fetch_add(1, Ordering::SeqCst);
        if count >= self.conflicts {
            return self.inner.replace_item(replace);
        }
        let inner = self.inner.clone();
        DriverFuture::new(async move {
            let mut rival = replace.clone();
            rival.value = (1_000 + count).to_string().into();
            assert_eq!(inner.replace_item(rival).await?, ReplaceOutcome::Done);
            inner.replace_item(replace).await
        })
    }
}
