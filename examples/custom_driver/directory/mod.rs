//! Sessions as JSON files in a directory.

mod files;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use files::{Files, Stored, keys};
use tokio::task::spawn_blocking;
use web_session::SessionRef;
use web_session::driver::{
    Cleanup, Commit, CommitOutcome, Create, CreateOutcome, Destroy, Driver, DriverError,
    DriverErrorKind, DriverFuture, EndWhere, EnvironmentState, Found, Inspect, List, Load,
    OnMissing, ReplaceItem, ReplaceOutcome, SessionRecord,
};

/// Keeps each session in one JSON file of a directory, for one process.
///
/// Every `Directory` with the same path shares a lock inside this process. **Other processes do not
/// see the lock: two that use one directory lose each other's writes.** Clones share everything.
///
/// The environment is two directories:
///
/// - `sessions/<reference>.json`: a session, its record and the items of all applications. The file
///   is replaced as a whole by a rename, which is the moment at which a write happens.
/// - `keys/<digest>`: the reference of the session that has, or had before its last rotation, this
///   key. It is a hint, believed only if the session's file says the same, so that a process that
///   is killed between two files leaves nothing wrong behind.
///
/// A call that concerns several sessions, such as a cleanup, is all or none for everyone but an
/// observer of a process that was killed in the middle of it. A load reads the session's whole file
/// before it compares sizes.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    files: Files,
    /// Calls get it in their order.
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl Directory {
    /// The sessions under `path`. Nothing is read or made yet.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        static LOCKS: LazyLock<Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>> =
            LazyLock::new(Mutex::default);
        let path = path.into();
        let path = std::path::absolute(&path).unwrap_or(path);
        let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = locks.entry(path.clone()).or_default().clone();
        Self { files: Files::new(path), lock }
    }

    /// Runs `work` on a thread that may block. Once it has begun it runs to its end, before any later call,
    /// even if the future is dropped.
    fn locked<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, DriverError> + Send + 'static,
    ) -> DriverFuture<T> {
        let Self { files, lock } = self.clone();
        DriverFuture::new(async move {
            let turn = lock.lock_owned().await;
            let work = spawn_blocking(move || {
                let _turn = turn;
                work(&files)
            });
            work.await.unwrap_or_else(|_| {
                Err(DriverError::new(DriverErrorKind::Other, "the call was not carried out"))
            })
        })
    }

    /// As [`locked`](Self::locked), where the environment has to exist.
    fn with_sessions<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, DriverError> + Send + 'static,
    ) -> DriverFuture<T> {
        self.locked(|files| match files.state()? {
            EnvironmentState::Complete => work(files),
            EnvironmentState::Defective(what) => Err(defective(what)),
            _ => Err(absent()),
        })
    }
}

impl Driver for Directory {
    fn load(&self, load: Load) -> DriverFuture<Vec<Found>> {
        self.with_sessions(move |files| {
            let mut found = Vec::new();
            let mut known = BTreeSet::new();
            for locator in &load.sessions {
                let Some(stored) = files.find(locator)? else {
                    continue;
                };
                if known.insert(stored.record.session) {
                    let items = load.application.as_ref().map(|name| stored.items(name));
                    let items = items.unwrap_or_default();
                    load.limits.check_items(&items)?;
                    found.push(Found::new(stored.record, items));
                }
            }
            Ok(found)
        })
    }

    fn create(&self, create: Create) -> DriverFuture<CreateOutcome> {
        self.with_sessions(move |files| {
            let claimed = keys(&create.session);
            let stored = Stored::new(create.session);
            Ok(match files.put(&stored, &claimed)? {
                true => CreateOutcome::Done,
                false => CreateOutcome::Collision,
            })
        })
    }

    fn commit(&self, commit: Commit) -> DriverFuture<CommitOutcome> {
        self.with_sessions(move |files| {
            let mut stored = match files.target(&commit)? {
                Ok(stored) => stored,
                Err(refusal) => return Ok(refusal),
            };
            let mut theirs = files.records()?;
            theirs.retain(|record| Some(&record.principal) == commit.session.principal.as_ref());
            if commit.is_one_too_many(&theirs, stored.record.session) {
                return Ok(CommitOutcome::TooMany);
            }
            stored.change(&commit)?;
            let claimed = match stored.was {
                None => keys(&stored.record),
                Some(_) => commit.session.key.into_iter().collect(),
            };
            Ok(match files.put(&stored, &claimed)? {
                true => CommitOutcome::Done(stored.record),
                false => CommitOutcome::Collision,
            })
        })
    }

    fn replace_item(&self, replace: ReplaceItem) -> DriverFuture<ReplaceOutcome> {
        self.with_sessions(move |files| {
            let stored = files.by_ref(replace.session)?;
            let Some(mut stored) = stored.filter(|stored| stored.record.is_live(replace.now))
            else {
                return Ok(ReplaceOutcome::Gone);
            };
            let mut items = stored.items(&replace.application);
            let present = items.get(&replace.key).cloned();
            let size = present.as_ref().map(|present| (replace.key.len(), present.len()));
            replace.limits.check(size)?;
            if present != replace.expected {
                return Ok(ReplaceOutcome::Conflict(present));
            }
            items.insert(replace.key, replace.value);
            replace.limits.check_items(&items)?;
            stored.set_items(&replace.application, &items);
            files.put(&stored, &[])?;
            Ok(ReplaceOutcome::Done)
        })
    }

    fn destroy(&self, destroy: Destroy) -> DriverFuture<Vec<SessionRef>> {
        self.with_sessions(move |files| {
            let mut ended = Vec::new();
            for locator in &destroy.sessions {
                if let Some(stored) = files.current(locator)? {
                    ended.push(files.remove(&stored.record)?);
                }
            }
            Ok(ended)
        })
    }

    fn inspect(&self, inspect: Inspect) -> DriverFuture<Option<SessionRecord>> {
        self.with_sessions(move |files| {
            Ok(files.current(&inspect.session)?.map(|stored| stored.record))
        })
    }

    fn list(&self, list: List) -> DriverFuture<Vec<SessionRecord>> {
        self.with_sessions(move |files| {
            let mut records = files.records()?;
            records.retain(|record| {
                record.principal.as_ref() == Some(&list.principal) && record.is_live(list.now)
            });
            Ok(records)
        })
    }

    fn end_where(&self, end: EndWhere) -> DriverFuture<Vec<SessionRef>> {
        self.with_sessions(move |files| {
            let mut records = files.records()?;
            records.retain(|record| record.principal.as_ref() == Some(&end.principal));
            let chosen = end.choose(records.clone());
            records.retain(|record| chosen.contains(&record.session));
            records.iter().map(|record| files.remove(record)).collect()
        })
    }

    fn cleanup(&self, cleanup: Cleanup) -> DriverFuture<u64> {
        self.with_sessions(move |files| {
            let Cleanup { from, until, limit, .. } = cleanup;
            let mut records = files.records()?;
            records.retain(|record| (from..until).contains(&record.expires));
            records.truncate(limit as usize);
            for record in &records {
                files.remove(record)?;
            }
            Ok(records.len() as u64)
        })
    }

    fn environment(&self) -> DriverFuture<EnvironmentState> {
        self.locked(Files::state)
    }

    fn create_environment(&self) -> DriverFuture<()> {
        self.locked(|files| {
            if files.state()? != EnvironmentState::Absent {
                let exists = "a directory of the sessions exists";
                return Err(DriverError::new(DriverErrorKind::EnvironmentExists, exists));
            }
            files.make()
        })
    }

    fn ensure_environment(&self) -> DriverFuture<()> {
        self.locked(|files| match files.state()? {
            EnvironmentState::Defective(what) => Err(defective(what)),
            _ => files.make(),
        })
    }

    fn remove_environment(&self, missing: OnMissing) -> DriverFuture<()> {
        self.locked(move |files| {
            if missing == OnMissing::Error && !files.missing()?.is_empty() {
                return Err(absent());
            }
            files.remove_all()
        })
    }
}

fn absent() -> DriverError {
    let what = "a directory of the sessions does not exist";
    DriverError::new(DriverErrorKind::EnvironmentMissing, what)
}

fn defective(what: String) -> DriverError {
    DriverError::new(DriverErrorKind::EnvironmentDefective, what)
}
