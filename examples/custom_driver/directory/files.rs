//! The files of the sessions, read and written under the driver's lock.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use web_session::driver::{
    ApplicationName, Commit, CommitOutcome, DriverError, DriverErrorKind, EnvironmentState, Items,
    Locator, SessionRecord, Target,
};
use web_session::{SessionKey, SessionRef};

/// A session's file.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) record: SessionRecord,
    /// JSON texts by application and key, as texts: they come back byte for byte.
    applications: BTreeMap<String, BTreeMap<String, String>>,
    /// The record as it is in the file, if there is one.
    #[serde(skip)]
    pub(super) was: Option<SessionRecord>,
}

impl Stored {
    pub(super) fn new(record: SessionRecord) -> Self {
        Self { record, applications: BTreeMap::new(), was: None }
    }

    pub(super) fn items(&self, application: &ApplicationName) -> Items {
        let items = self.applications.get(application.as_str()).into_iter().flatten();
        items.map(|(key, value)| (Arc::from(&**key), Arc::from(&**value))).collect()
    }

    pub(super) fn set_items(&mut self, application: &ApplicationName, items: &Items) {
        let items = items.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        self.applications.insert(application.to_string(), items);
    }

    pub(super) fn change(&mut self, commit: &Commit) -> Result<(), DriverError> {
        for change in &commit.changes {
            let mut items = self.items(&change.application);
            change.apply(&mut items);
            if change.stores() {
                commit.limits.check_items(&items)?;
            }
            self.set_items(&change.application, &items);
        }
        match self.was {
            Some(_) => commit.session.apply(&mut self.record, commit.now),
            None => commit.session.apply_to_created(&mut self.record),
        }
        Ok(())
    }
}

/// The keys under which a record is found.
pub(super) fn keys(record: &SessionRecord) -> Vec<SessionKey> {
    [Some(record.key), record.previous_key].into_iter().flatten().collect()
}

/// The directories of the environment.
const STRUCTURES: [&str; 2] = ["sessions", "keys"];

/// The path of everything.
#[derive(Debug, Clone)]
pub(super) struct Files(Arc<Path>);

impl Files {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path.into())
    }

    fn session_path(&self, session: SessionRef) -> PathBuf {
        self.0.join(format!("sessions/{session}.json"))
    }

    fn key_path(&self, key: &SessionKey) -> PathBuf {
        let digest: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.join("keys").join(digest)
    }

    pub(super) fn by_ref(&self, session: SessionRef) -> Result<Option<Stored>, DriverError> {
        let Some(text) = unless_missing(fs::read(self.session_path(session)))? else {
            return Ok(None);
        };
        let mut stored: Stored = serde_json::from_slice(&text).map_err(|_| corrupt())?;
        stored.was = Some(stored.record.clone());
        Ok(Some(stored))
    }

    /// The session that has the key, or had it before its last rotation.
    pub(super) fn by_key(&self, key: &SessionKey) -> Result<Option<Stored>, DriverError> {
        let Some(hint) = unless_missing(fs::read_to_string(self.key_path(key)))? else {
            return Ok(None);
        };
        let stored = self.by_ref(hint.parse().map_err(|_| corrupt())?)?;
        Ok(stored.filter(|stored| keys(&stored.record).contains(key)))
    }

    pub(super) fn find(&self, locator: &Locator) -> Result<Option<Stored>, DriverError> {
        match locator {
            Locator::Key(key) => self.by_key(key),
            Locator::Ref(session) => self.by_ref(*session),
        }
    }

    /// As [`find`](Self::find), where a key from before a rotation names nothing.
    pub(super) fn current(&self, locator: &Locator) -> Result<Option<Stored>, DriverError> {
        let is_current = |stored: &Stored| match locator {
            Locator::Key(key) => stored.record.key == *key,
            Locator::Ref(_) => true,
        };
        Ok(self.find(locator)?.filter(is_current))
    }

    /// All records, the oldest first.
    pub(super) fn records(&self) -> Result<Vec<SessionRecord>, DriverError> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.0.join("sessions")).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            let session = name.and_then(|name| name.parse().ok()).ok_or_else(corrupt)?;
            records.extend(self.by_ref(session)?.map(|stored| stored.record));
        }
        records.sort_by_key(|record| (record.created, record.session));
        Ok(records)
    }

    /// The session that a commit writes to, as it is now, or why there is none.
    pub(super) fn target(
        &self,
        commit: &Commit,
    ) -> Result<Result<Stored, CommitOutcome>, DriverError> {
        let is_live = |stored: &Stored| stored.record.is_live(commit.now);
        let stored = match &commit.target {
            Target::New(record) => Some(Stored::new(record.clone())),
            Target::Existing(locator) => self.current(locator)?,
            Target::Seen { session, key } => {
                let stored = self.by_ref(*session)?.filter(is_live);
                match stored {
                    Some(stored) if commit.session.key.is_some() && stored.record.key != *key => {
                        return Ok(Err(CommitOutcome::Rotated));
                    }
                    stored => stored,
                }
            }
            Target::Presented { key, retired_after, otherwise } => {
                match self.by_key(key)?.filter(is_live) {
                    Some(stored) if stored.record.key == *key => Some(stored),
                    Some(stored) if stored.record.rotated.is_some_and(|at| at > *retired_after) => {
                        return Ok(Err(CommitOutcome::Rotated));
                    }
                    _ => otherwise.clone().map(Stored::new),
                }
            }
        };
        Ok(stored.ok_or(CommitOutcome::Gone))
    }

    /// Writes a session, unless one of the claimed keys or a new session's reference is taken.
    pub(super) fn put(&self, stored: &Stored, claimed: &[SessionKey]) -> Result<bool, DriverError> {
        let Stored { record, was, .. } = stored;
        for key in claimed {
            if self.by_key(key)?.is_some() {
                return Ok(false);
            }
        }
        if was.is_none() && self.by_ref(record.session)?.is_some() {
            return Ok(false);
        }
        // A hint is there before it holds, and goes after it has ceased to.
        let before = was.as_ref().map(keys).unwrap_or_default();
        let after = keys(record);
        for key in after.iter().filter(|key| !before.contains(key)) {
            self.replace(&self.key_path(key), record.session.to_string().as_bytes())?;
        }
        let text = serde_json::to_vec(stored).map_err(|_| corrupt())?;
        self.replace(&self.session_path(record.session), &text)?;
        for key in before.iter().filter(|key| !after.contains(key)) {
            unless_missing(fs::remove_file(self.key_path(key)))?;
        }
        Ok(true)
    }

    /// Replaces a file, all or nothing.
    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), DriverError> {
        let unfinished = self.0.join("unfinished");
        let mut file = File::create(&unfinished).map_err(failed)?;
        file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(unfinished, path).map_err(failed)
    }

    pub(super) fn remove(&self, record: &SessionRecord) -> Result<SessionRef, DriverError> {
        fs::remove_file(self.session_path(record.session)).map_err(failed)?;
        for key in keys(record) {
            unless_missing(fs::remove_file(self.key_path(&key)))?;
        }
        Ok(record.session)
    }

    /// The directories that do not exist.
    pub(super) fn missing(&self) -> Result<Vec<String>, DriverError> {
        let mut missing = Vec::new();
        for name in STRUCTURES {
            if unless_missing(fs::metadata(self.0.join(name)))?.is_none() {
                missing.push(name.to_owned());
            }
        }
        Ok(missing)
    }

    pub(super) fn state(&self) -> Result<EnvironmentState, DriverError> {
        let missing = self.missing()?;
        let mut present = STRUCTURES.iter().filter(|name| !missing.iter().any(|one| one == *name));
        Ok(match present.find(|name| !self.0.join(name).is_dir()) {
            Some(name) => EnvironmentState::Defective(format!("`{name}` is not a directory")),
            None if missing.is_empty() => EnvironmentState::Complete,
            None if missing.len() == STRUCTURES.len() => EnvironmentState::Absent,
            None => EnvironmentState::Incomplete(missing),
        })
    }

    /// Makes the directories that are missing.
    pub(super) fn make(&self) -> Result<(), DriverError> {
        STRUCTURES.iter().try_for_each(|name| fs::create_dir_all(self.0.join(name))).map_err(failed)
    }

    /// Removes the directories with everything in them, and what is in their place.
    pub(super) fn remove_all(&self) -> Result<(), DriverError> {
        for path in STRUCTURES.map(|name| self.0.join(name)) {
            let removed =
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            unless_missing(removed)?;
        }
        Ok(())
    }
}

/// `None` if the file does not exist. Any other failure is an error.
fn unless_missing<T>(answer: io::Result<T>) -> Result<Option<T>, DriverError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: io::Error) -> DriverError {
    let (kind, message) = match error.kind() {
        io::ErrorKind::InvalidData => return corrupt(),
        io::ErrorKind::ReadOnlyFilesystem => (DriverErrorKind::ReadOnly, "cannot write the file"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (DriverErrorKind::Full, "cannot write the file")
        }
        _ => (DriverErrorKind::Unavailable, "cannot use the file"),
    };
    let failure = DriverError::new(kind, message);
    match error.raw_os_error() {
        Some(code) => failure.with_code(code.to_string()),
        None => failure,
    }
}

fn corrupt() -> DriverError {
    DriverError::new(DriverErrorKind::Corrupt, "a file is not what this driver writes")
}
