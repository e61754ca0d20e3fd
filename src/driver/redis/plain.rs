//! The quick way of calls that find what they expect, in one command or one short script each.
//!
//! Whatever is anything else - a session that has ended, one with much in it - is left to the complete
//! scripts, so all that is decided about it is decided in one place.

use std::sync::Arc;

use redis::Value;
use tokio::time::Instant;

use super::answer::{Hash, corrupt, hash, record};
use super::keys::{home, prefix, prefix_len, uid};
use super::scripts::{PLAIN_COMMIT, PLAIN_CREATE, PLAIN_LOAD};
use super::storage::{LONGEST, Storage, VERSION};
use super::together::{ReadWhole, RunScript};
use crate::clock::Timestamp;
use crate::driver::{Commit, DriverError, Found, Load, Locator, SessionRecord, Target};

/// How many bytes of fields and values a session has at most that is handled here: it is read as a whole,
/// with the items of all applications.
pub(super) const MOST_BYTES: usize = 16 << 10;

/// How many arguments one command takes at most; a script can pass on some thousands.
const MOST_ARGUMENTS: usize = 1_000;

impl Storage {
    /// Loads one session by its key, as a whole. `None` if the complete way has to.
    pub(super) async fn load_plain(
        self: &Arc<Self>,
        load: &Load,
        deadline: Instant,
    ) -> Result<Option<Vec<Found>>, DriverError> {
        let [Locator::Key(key)] = load.sessions.as_slice() else {
            return Ok(None);
        };
        let wanted = load.application.as_ref().map(prefix);
        let mut lies_at = home(key);
        // An alias leads to a session, never to another alias.
        for _ in 0..2 {
            // A cluster sends scripts to primaries, and plain reads perhaps to others.
            let may_be_whole = !self.keys_are_spread();
            let is_small = may_be_whole && self.small.has(&lies_at);
            let answer = if is_small {
                self.read_whole(ReadWhole(lies_at.clone()), deadline).await?
            } else {
                let run = RunScript::new(&PLAIN_LOAD).key(&self.keys.session(&lies_at));
                self.run_plain(run.number(MOST_BYTES), deadline).await?
            };
            // If it cannot be read, the complete way says what is wrong.
            let Ok(found) = hash(&answer, wanted.as_deref()) else {
                return Ok(None);
            };
            if may_be_whole && !is_small && !matches!(found, Hash::Nothing) {
                self.small.add(lies_at.clone());
            }
            match found {
                Hash::Nothing => return Ok(Some(Vec::new())),
                Hash::Alias(home) => lies_at = home,
                Hash::Session(record, items) => {
                    if record.key != *key && record.previous_key != Some(*key) {
                        return Ok(None);
                    }
                    load.limits.check_items(&items)?;
                    return Ok(Some(vec![Found::new(record, items)]));
                }
            }
        }
        Ok(None)
    }

    /// Stores and removes items of a session, and answers its record. `None` if the complete way has to
    /// decide; nothing is changed then.
    pub(super) async fn commit_plain(
        self: &Arc<Self>,
        commit: &Commit,
        deadline: Instant,
    ) -> Result<Option<SessionRecord>, DriverError> {
        let (mut lies_at, uid, key) = match &commit.target {
            Target::Seen { session, key } => (home(key), uid(session), String::new()),
            Target::Presented { key, .. } => (home(key), String::new(), home(key)),
            Target::New(_) | Target::Existing(_) => return Ok(None),
        };
        let changes = &commit.changes;
        if !commit.session.is_empty() || changes.iter().any(|changes| changes.empty) {
            return Ok(None);
        }
        let (mut stored, mut removed, mut bytes) = (0, 0, 0);
        for changes in changes {
            let prefix = prefix_len(&changes.application);
            for (key, value) in &changes.items {
                bytes += prefix + key.len() + value.as_ref().map_or(0, |value| value.len());
                *(if value.is_some() { &mut stored } else { &mut removed }) += 1;
            }
        }
        // If all of the session is within each limit, so is each of its applications.
        let limits = &commit.limits;
        let most_bytes = MOST_BYTES.min(limits.value_bytes).min(limits.application_bytes);
        let (Some(most_bytes), Some(most_items)) =
            (most_bytes.checked_sub(bytes), limits.items.checked_sub(stored))
        else {
            return Ok(None);
        };
        if 2 * stored + removed > MOST_ARGUMENTS {
            return Ok(None);
        }
        let run_at = |lies_at: &str| {
            let mut run = RunScript::new(&PLAIN_COMMIT)
                .key(&self.keys.session(lies_at))
                .argument(uid.as_bytes())
                .argument(key.as_bytes())
                .number(commit.now.as_millis())
                .number(most_bytes)
                .number(most_items)
                .number(stored);
            for is_stored in [true, false] {
                for changes in changes {
                    let items = changes.items.iter();
                    for (key, value) in items.filter(|(_, value)| value.is_some() == is_stored) {
                        run = run.field(&changes.application, key);
                        if let Some(value) = value {
                            run = run.argument(value.as_bytes());
                        }
                    }
                }
            }
            run
        };
        // An alias leads to a session, never to another alias.
        for _ in 0..2 {
            match self.run_plain(run_at(&lies_at), deadline).await? {
                Value::BulkString(home) => {
                    lies_at = String::from_utf8(home).map_err(|_| corrupt())?;
                }
                Value::Nil => return Ok(None),
                answer => return record(answer).map(Some),
            }
        }
        Ok(None)
    }

    /// Stores a session of nobody on a server that holds all keys. `false` if the complete way has to decide;
    /// nothing is changed then.
    pub(super) async fn create_plain(
        self: &Arc<Self>,
        record: &SessionRecord,
        now: Timestamp,
        pairs: &[(Vec<u8>, Vec<u8>)],
        deadline: Instant,
    ) -> Result<bool, DriverError> {
        let is_plain = record.principal.is_none() && record.previous_key.is_none();
        let bytes: usize = pairs.iter().map(|(field, value)| field.len() + value.len()).sum();
        if self.keys_are_spread()
            || !is_plain
            || 2 * pairs.len() > MOST_ARGUMENTS
            || bytes > MOST_BYTES
        {
            return Ok(false);
        }
        let lies_at = home(&record.key);
        let left = record.ends.as_millis().saturating_sub(now.as_millis()).max(0);
        let garbage_time = left.saturating_add(self.garbage_millis()).min(LONGEST);
        let mut run = RunScript::new(&PLAIN_CREATE)
            .key(&self.keys.session(&lies_at))
            .key(&self.keys.reference(&uid(&record.session)))
            .key(&self.keys.version())
            .number(VERSION)
            .argument(lies_at.as_bytes())
            .number(self.ttl(record.ends, now))
            .number(garbage_time);
        for (field, value) in pairs {
            run = run.argument(field).argument(value);
        }
        Ok(self.run_plain(run, deadline).await? == Value::Int(1))
    }
}
