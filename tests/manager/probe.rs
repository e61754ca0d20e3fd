//! A driver that passes calls on to another, notes them, and lets a test change what is asked and
//! answered.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use web_session::driver::SessionRecord;
use web_session::driver::{
    Cleanup, Commit, CommitOutcome, Create, CreateOutcome, Destroy, DriverError, DriverErrorKind,
    DriverFuture, EndWhere, EnvironmentState, Found, Inspect, List, Load, ReplaceItem,
    ReplaceOutcome, Target,
};
use web_session::{Driver, OnMissing, SessionKey, SessionRef};

#[derive(Debug)]
pub struct Probe {
    inner: Arc<dyn Driver>,
    calls: Mutex<Vec<&'static str>>,
    cleanup_limits: Mutex<Vec<u32>>,
    items: Mutex<Vec<(String, String)>>,
    /// All calls fail.
    pub broken: AtomicBool,
    /// Asking for the environment fails.
    pub silent: AtomicBool,
    /// What the environment is said to be, in place of what it is.
    pub environment: Mutex<Option<EnvironmentState>>,
    /// How many of the next creations are answered as collisions.
    pub collisions: AtomicUsize,
    /// The storage is said to remove expired sessions by itself.
    pub removes_expired: AtomicBool,
    /// Cleanups never end.
    pub stuck_cleanup: AtomicBool,
    /// How long a cleanup takes beside what it takes.
    pub cleanup_takes: Mutex<Duration>,
    /// The key that the next commit gives to its session.
    pub rotate_to: Mutex<Option<SessionKey>>,
}

impl Probe {
    pub fn new(inner: Arc<dyn Driver>) -> Self {
        Self {
            inner,
            calls: Mutex::default(),
            cleanup_limits: Mutex::default(),
            items: Mutex::default(),
            broken: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            environment: Mutex::new(None),
            collisions: AtomicUsize::new(0),
            removes_expired: AtomicBool::new(false),
            stuck_cleanup: AtomicBool::new(false),
            cleanup_takes: Mutex::default(),
            rotate_to: Mutex::new(None),
        }
    }

    /// The names of the calls since the last time this was asked.
    pub fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls.lock())
    }

    /// How often a call was made since the calls were last asked for.
    pub fn count(&self, name: &str) -> usize {
        self.calls.lock().iter().filter(|call| **call == name).count()
    }

    /// The limit of each cleanup so far.
    pub fn cleanup_limits(&self) -> Vec<u32> {
        self.cleanup_limits.lock().clone()
    }

    /// The keys and texts that commits have stored so far.
    pub fn items(&self) -> Vec<(String, String)> {
        self.items.lock().clone()
    }

    fn pass<T: Send + 'static>(
        &self,
        name: &'static str,
        call: impl FnOnce(&dyn Driver) -> DriverFuture<T>,
    ) -> DriverFuture<T> {
        self.calls.lock().push(name);
        if self.broken.load(Ordering::SeqCst) {
            return DriverFuture::ready(Err(no_answer()));
        }
        call(&*self.inner)
    }

    fn collides(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.collisions.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
    }
}

/// The failure of a storage that cannot be reached.
pub fn no_answer() -> DriverError {
    DriverError::new(DriverErrorKind::Unavailable, "the test unplugged it")
}

fn may_create(target: &Target) -> Option<&SessionRecord> {
    match target {
        Target::New(record) => Some(record),
        Target::Presented { otherwise, .. } => otherwise.as_ref(),
        _ => None,
    }
}

impl Driver for Probe {
    fn load(&self, load: Load) -> DriverFuture<Vec<Found>> {
        self.pass("load", |inner| inner.load(load))
    }

    fn create(&self, create: Create) -> DriverFuture<CreateOutcome> {
        self.pass("create", |inner| {
            if self.collides() {
                return DriverFuture::ready(Ok(CreateOutcome::Collision));
            }
            inner.create(create)
        })
    }

    fn commit(&self, mut commit: Commit) -> DriverFuture<CommitOutcome> {
        if let Some(key) = self.rotate_to.lock().take() {
            commit.session.key = Some(key);
        }
        let stored = commit.changes.iter().flat_map(|changes| &changes.items);
        let stored =
            stored.filter_map(|(key, text)| Some((key.to_string(), text.as_ref()?.to_string())));
        self.items.lock().extend(stored);
        self.pass("commit", |inner| {
            if may_create(&commit.target).is_some() && self.collides() {
                return DriverFuture::ready(Ok(CommitOutcome::Collision));
            }
            inner.commit(commit)
        })
    }

    fn replace_item(&self, replace: ReplaceItem) -> DriverFuture<ReplaceOutcome> {
        self.pass("replace_item", |inner| inner.replace_item(replace))
    }

    fn destroy(&self, destroy: Destroy) -> DriverFuture<Vec<SessionRef>> {
        self.pass("destroy", |inner| inner.destroy(destroy))
    }

    fn inspect(&self, inspect: Inspect) -> DriverFuture<Option<SessionRecord>> {
        self.pass("inspect", |inner| inner.inspect(inspect))
    }

    fn list(&self, list: List) -> DriverFuture<Vec<SessionRecord>> {
        self.pass("list", |inner| inner.list(list))
    }

    fn end_where(&self, end: EndWhere) -> DriverFuture<Vec<SessionRef>> {
        self.pass("end_where", |inner| inner.end_where(end))
    }

    fn cleanup(&self, cleanup: Cleanup) -> DriverFuture<u64> {
        self.cleanup_limits.lock().push(cleanup.limit);
        self.pass("cleanup", |inner| {
            if self.stuck_cleanup.load(Ordering::SeqCst) {
                return DriverFuture::new(pending());
            }
            let (takes, answer) = (*self.cleanup_takes.lock(), inner.cleanup(cleanup));
            if takes.is_zero() {
                return answer;
            }
            DriverFuture::new(async move {
                tokio::time::sleep(takes).await;
                answer.await
            })
        })
    }

    fn removes_expired(&self) -> bool {
        self.removes_expired.load(Ordering::SeqCst)
    }

    fn environment(&self) -> DriverFuture<EnvironmentState> {
        self.pass("environment", |inner| {
            if self.silent.load(Ordering::SeqCst) {
                return DriverFuture::ready(Err(no_answer()));
            }
            match self.environment.lock().take() {
                Some(said) => DriverFuture::ready(Ok(said)),
                None => inner.environment(),
            }
        })
    }

    fn create_environment(&self) -> DriverFuture<()> {
        self.pass("create_environment", |inner| inner.create_environment())
    }

    fn ensure_environment(&self) -> DriverFuture<()> {
        self.pass("ensure_environment", |inner| inner.ensure_environment())
    }

    fn remove_environment(&self, missing: OnMissing) -> DriverFuture<()> {
        self.pass("remove_environment", |inner| inner.remove_environment(missing))
    }
}
