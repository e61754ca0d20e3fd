//! A driver that remembers under which keys sessions were looked for.

use std::sync::{Arc, Mutex};

use web_session::driver::{
    Cleanup, Commit, CommitOutcome, Create, CreateOutcome, Destroy, DriverFuture, EndWhere,
    EnvironmentState, Found, Inspect, List, Load, Locator, ReplaceItem, ReplaceOutcome,
    SessionRecord, Target,
};
use web_session::{Driver, MemoryDriver, OnMissing, SessionKey, SessionRef};

/// [`MemoryDriver`], watched. Clones watch the same one.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    driver: MemoryDriver,
    keys: Arc<Mutex<Vec<SessionKey>>>,
}

impl Recorder {
    /// The keys that were looked for since the last call.
    pub fn take_keys(&self) -> Vec<SessionKey> {
        std::mem::take(&mut self.keys.lock().expect("nobody panics while it is locked"))
    }

    fn record<'a>(&self, locators: impl IntoIterator<Item = &'a Locator>) {
        let keys = locators.into_iter().filter_map(|locator| match locator {
            Locator::Key(key) => Some(*key),
            Locator::Ref(_) => None,
        });
        self.keys.lock().expect("nobody panics while it is locked").extend(keys);
    }
}

impl Driver for Recorder {
    fn load(&self, load: Load) -> DriverFuture<Vec<Found>> {
        self.record(&load.sessions);
        self.driver.load(load)
    }

    fn create(&self, create: Create) -> DriverFuture<CreateOutcome> {
        self.driver.create(create)
    }

    fn commit(&self, commit: Commit) -> DriverFuture<CommitOutcome> {
        match &commit.target {
            Target::Seen { key, .. } | Target::Presented { key, .. } => {
                self.record(&[Locator::Key(*key)]);
            }
            Target::Existing(locator) => self.record([locator]),
            Target::New(_) => {}
        }
        self.driver.commit(commit)
    }

    fn replace_item(&self, replace: ReplaceItem) -> DriverFuture<ReplaceOutcome> {
        self.driver.replace_item(replace)
    }

    fn destroy(&self, destroy: Destroy) -> DriverFuture<Vec<SessionRef>> {
        self.record(&destroy.sessions);
        self.driver.destroy(destroy)
    }

    fn inspect(&self, inspect: Inspect) -> DriverFuture<Option<SessionRecord>> {
        self.record([&inspect.session]);
        self.driver.inspect(inspect)
    }

    fn list(&self, list: List) -> DriverFuture<Vec<SessionRecord>> {
        self.driver.list(list)
    }

    fn end_where(&self, end: EndWhere) -> DriverFuture<Vec<SessionRef>> {
        self.driver.end_where(end)
    }

    fn cleanup(&self, cleanup: Cleanup) -> DriverFuture<u64> {
        self.driver.cleanup(cleanup)
    }

    fn environment(&self) -> DriverFuture<EnvironmentState> {
        self.driver.environment()
    }

    fn create_environment(&self) -> DriverFuture<()> {
        self.driver.create_environment()
    }

    fn ensure_environment(&self) -> DriverFuture<()> {
        self.driver.ensure_environment()
    }

    fn remove_environment(&self, missing: OnMissing) -> DriverFuture<()> {
        self.driver.remove_environment(missing)
    }
}
