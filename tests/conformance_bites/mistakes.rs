//! Mistakes that drivers have made, or could.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::yield_now;
use uuid::Uuid;
use web_session::driver::{
    ApplicationName, Cleanup, CommitOutcome, CreateOutcome, Destroy, Driver, DriverError,
    DriverErrorKind, DriverFuture, List, Locator, OnMissing, ReplaceOutcome, SessionChange,
    SessionRecord, Target,
};
use web_session::{SessionRef, Timestamp};

use super::mutant::{Mutant, ready};

/// What a driver does wrong, and how to make it do so.
pub(crate) type Mistake = (&'static str, fn(&mut Mutant));

/// All of them.
pub(crate) const MISTAKES: &[Mistake] = &[
    ("load hides expired sessions", |mutant| {
        mutant.load = |mutant, load| {
            let mut found = ready(mutant.inner.load(load.clone()));
            found.iter_mut().for_each(|found| found.retain(|one| one.session.is_live(load.now)));
            DriverFuture::ready(found)
        };
    }),
    ("load ignores previous keys", |mutant| {
        mutant.load = |mutant, load| {
            let mut found = ready(mutant.inner.load(load.clone()));
            let retired = |record: &SessionRecord| {
                !load.sessions.contains(&Locator::Key(record.key))
                    && !load.sessions.contains(&Locator::Ref(record.session))
            };
            found.iter_mut().for_each(|found| found.retain(|one| !retired(&one.session)));
            DriverFuture::ready(found)
        };
    }),
    ("load answers a session twice", |mutant| {
        mutant.load = |mutant, load| {
            let found = load.sessions.iter().map(|locator| {
                let mut one = load.clone();
                one.sessions = vec![*locator];
                ready(mutant.inner.load(one))
            });
            DriverFuture::ready(found.collect::<Result<Vec<_>, _>>().map(|found| found.concat()))
        };
    }),
    ("load takes a missing environment for no session", |mutant| {
        mutant.load =
            |mutant, load| DriverFuture::ready(unless_absent(ready(mutant.inner.load(load))));
    }),
    ("inspect takes a missing environment for no session", |mutant| {
        mutant.inspect = |mutant, inspect| {
            DriverFuture::ready(unless_absent(ready(mutant.inner.inspect(inspect))))
        };
    }),
    ("inspect finds by previous keys", |mutant| {
        mutant.inspect = |mutant, mut inspect| {
            mutant.follow_retired(&mut inspect.session);
            mutant.inner.inspect(inspect)
        };
    }),
    ("a colliding creation is answered with Done", |mutant| {
        mutant.create = |mutant, create| {
            let outcome = ready(mutant.inner.create(create));
            DriverFuture::ready(outcome.map(|_| CreateOutcome::Done))
        };
    }),
    ("a colliding commit is answered with Done", |mutant| {
        mutant.commit = |mutant, commit| {
            let outcome = mutant.write(commit.clone());
            DriverFuture::ready(outcome.map(|outcome| match (outcome, commit.target) {
                (CommitOutcome::Collision, Target::New(record)) => CommitOutcome::Done(record),
                (outcome, _) => outcome,
            }))
        };
    }),
    ("a commit brings back a session that has ended", |mutant| {
        mutant.commit = |mutant, mut commit| {
            let outcome = mutant.write(commit.clone());
            if let (Ok(CommitOutcome::Gone), Target::Seen { session, key }) =
                (&outcome, &commit.target)
            {
                let ends = commit.now.saturating_add(Duration::from_secs(60));
                let record = SessionRecord::new(*session, *key, commit.now, ends);
                commit.target = Target::New(record);
                return DriverFuture::ready(mutant.write(commit));
            }
            DriverFuture::ready(outcome)
        };
    }),
    ("a commit writes to an expired session", |mutant| {
        mutant.target = |_, target| {
            if let Target::Seen { session, .. } = target {
                *target = Target::Existing(Locator::Ref(*session));
            }
        };
    }),
    ("a commit waits between the items and the record", |mutant| {
        mutant.commit = |mutant, mut commit| {
            let mutant = mutant.clone();
            DriverFuture::new(async move {
                let mut rest = commit.clone();
                commit.session = SessionChange::default();
                let outcome = mutant.write(commit)?;
                let CommitOutcome::Done(record) = &outcome else {
                    return Ok(outcome);
                };
                yield_now().await;
                rest.changes.clear();
                rest.target = Target::Existing(Locator::Ref(record.session));
                mutant.write(rest)
            })
        };
    }),
    ("a commit waits between two applications", |mutant| {
        mutant.commit = |mutant, mut commit| {
            let mutant = mutant.clone();
            DriverFuture::new(async move {
                let mut rest = commit.clone();
                let half = commit.changes.len() / 2;
                rest.changes = commit.changes.split_off(half);
                let outcome = mutant.write(commit)?;
                let CommitOutcome::Done(record) = &outcome else {
                    return Ok(outcome);
                };
                yield_now().await;
                rest.session = SessionChange::default();
                rest.target = Target::Existing(Locator::Ref(record.session));
                mutant.write(rest)
            })
        };
    }),
    ("a commit stores the record and not the items", |mutant| {
        mutant.commit = |mutant, mut commit| {
            commit.changes.clear();
            DriverFuture::ready(mutant.write(commit))
        };
    }),
    ("a commit stores the items and not the record", |mutant| {
        mutant.change = |change| *change = SessionChange::default();
    }),
    ("a commit saves an application as a whole", |m| m.changes = |changes| changes.empty = true),
    ("items are not removed", |mutant| {
        mutant.changes = |changes| changes.items.retain(|(_, value)| value.is_some());
    }),
    ("applications are not emptied", |m| m.changes = |changes| changes.empty = false),
    ("applications share their items", |mutant| {
        mutant.application = |name| *name = ApplicationName::new("all").unwrap();
    }),
    ("names of applications are lowercased", |mutant| {
        mutant.application =
            |name| *name = ApplicationName::new(name.as_str().to_lowercase()).unwrap();
    }),
    ("keys are lowercased", |m| m.key = |key| *key = key.to_lowercase().into()),
    ("keys are cut to 32 bytes", |mutant| {
        mutant.key = |key| *key = key[..key.floor_char_boundary(32)].into();
    }),
    ("spaces at the end of a key are lost", |m| m.key = |key| *key = key.trim_end().into()),
    ("spaces around a value are lost", |m| m.value = |value| *value = value.trim().into()),
    ("limits are ignored", |mutant| {
        mutant.limits = |limits| {
            limits.value_bytes = usize::MAX;
            limits.items = usize::MAX;
            limits.application_bytes = usize::MAX;
        };
    }),
    ("times are stored in seconds", |mutant| {
        mutant.record = |record| {
            record.expires = seconds(record.expires);
            record.ends = seconds(record.ends);
            record.created = seconds(record.created);
            record.last_used = seconds(record.last_used);
        };
        mutant.change = |change| change.expires = change.expires.map(seconds);
    }),
    ("a rotation keeps the key", |m| m.change = |change| change.key = None),
    ("a rotation forgets the key before it", |mutant| {
        mutant.commit = |mutant, commit| {
            let outcome = mutant.write(commit);
            DriverFuture::ready(outcome.map(|outcome| match outcome {
                CommitOutcome::Done(mut record) => {
                    record.previous_key = None;
                    CommitOutcome::Done(record)
                }
                outcome => outcome,
            }))
        };
        mutant.load = |mutant, load| {
            let mut found = ready(mutant.inner.load(load));
            found.iter_mut().flatten().for_each(|found| found.session.previous_key = None);
            DriverFuture::ready(found)
        };
    }),
    ("a key can be rotated twice", |mutant| {
        mutant.target = |mutant, target| {
            if let Target::Seen { session, key } = target
                && let Some(record) = mutant.known(|record| record.session == *session)
            {
                *key = record.key;
            }
        };
    }),
    ("a retired key is forgotten at once", |mutant| {
        mutant.target = |_, target| {
            if let Target::Presented { retired_after, .. } = target {
                *retired_after = Timestamp::MAX;
            }
        };
    }),
    ("a retired key is remembered for ever", |mutant| {
        mutant.target = |_, target| {
            if let Target::Presented { retired_after, .. } = target {
                *retired_after = Timestamp::MIN;
            }
        };
    }),
    ("a presented expired session is written to", |mutant| {
        mutant.target = |mutant, target| {
            if let Target::Presented { key, .. } = *target
                && let Some(record) = mutant.known(|record| record.key == key)
            {
                *target = Target::Existing(Locator::Ref(record.session));
            }
        };
    }),
    ("an item is replaced whatever it is", |mutant| {
        mutant.replace = |mutant, mut replace| {
            DriverFuture::ready(loop {
                match ready(mutant.inner.replace_item(replace.clone())) {
                    Ok(ReplaceOutcome::Conflict(stored)) => replace.expected = stored,
                    outcome => break outcome,
                }
            })
        };
    }),
    ("an item is compared, and replaced later", |mutant| {
        mutant.replace = |mutant, mut replace| {
            let mut compare = replace.clone();
            compare.value = replace.expected.clone().unwrap_or(compare.value);
            let compared = ready(mutant.inner.replace_item(compare));
            let inner = mutant.inner.clone();
            DriverFuture::new(async move {
                if !matches!(compared, Ok(ReplaceOutcome::Done)) {
                    return compared;
                }
                yield_now().await;
                loop {
                    match inner.replace_item(replace.clone()).await? {
                        ReplaceOutcome::Conflict(stored) => replace.expected = stored,
                        outcome => return Ok(outcome),
                    }
                }
            })
        };
    }),
    ("an item of an expired session is replaced", |mutant| {
        mutant.replace = |mutant, mut replace| {
            replace.now = Timestamp::MIN;
            mutant.inner.replace_item(replace)
        };
    }),
    ("destroy answers and keeps", |mutant| {
        mutant.destroy = |mutant, destroy| {
            let named = |locator: &Locator| {
                mutant.known(|record| match locator {
                    Locator::Key(key) => record.key == *key,
                    Locator::Ref(session) => record.session == *session,
                })
            };
            let ended: BTreeSet<_> =
                destroy.sessions.iter().filter_map(named).map(|record| record.session).collect();
            DriverFuture::ready(Ok(ended.into_iter().collect()))
        };
    }),
    ("destroy waits between two sessions", |mutant| {
        mutant.destroy = |mutant, mut destroy| {
            let inner = mutant.inner.clone();
            DriverFuture::new(async move {
                let mut rest = destroy.clone();
                rest.sessions = destroy.sessions.split_off(destroy.sessions.len().min(1));
                let mut ended = inner.destroy(destroy).await?;
                yield_now().await;
                ended.extend(inner.destroy(rest).await?);
                Ok(ended)
            })
        };
    }),
    ("destroy finds by previous keys", |mutant| {
        mutant.destroy = |mutant, mut destroy| {
            destroy.sessions.iter_mut().for_each(|locator| mutant.follow_retired(locator));
            mutant.inner.destroy(destroy)
        };
    }),
    ("cleanup includes its end", |mutant| {
        mutant.cleanup = |mutant, mut cleanup| {
            cleanup.until = next(cleanup.until);
            mutant.inner.cleanup(cleanup)
        };
    }),
    ("cleanup excludes its beginning", |mutant| {
        mutant.cleanup = |mutant, mut cleanup| {
            cleanup.from = next(cleanup.from);
            mutant.inner.cleanup(cleanup)
        };
    }),
    ("cleanup ignores its limit", |mutant| {
        mutant.cleanup = |mutant, mut cleanup| {
            cleanup.limit = u32::MAX;
            mutant.inner.cleanup(cleanup)
        };
    }),
    ("cleanup answers nothing", |mutant| {
        mutant.cleanup =
            |mutant, cleanup| DriverFuture::ready(ready(mutant.inner.cleanup(cleanup)).map(|_| 0));
    }),
    ("list includes expired sessions", |mutant| {
        mutant.list = |mutant, mut list| {
            list.now = Timestamp::MIN;
            mutant.inner.list(list)
        };
    }),
    ("list begins with the newest", |mutant| {
        mutant.list = |mutant, list| {
            let mut records = ready(mutant.inner.list(list));
            records.iter_mut().for_each(|records| records.reverse());
            DriverFuture::ready(records)
        };
    }),
    ("principals are lowercased", |mutant| {
        mutant.record = |record| record.principal = lowercased(&record.principal);
        mutant.change = |change| {
            change.principal = change.principal.as_ref().map(lowercased);
        };
    }),
    ("a principal is not removed", |mutant| {
        mutant.change = |change| change.principal = change.principal.take().filter(Option::is_some);
    }),
    ("end_where ends nothing without an exception", |mutant| {
        mutant.end_where = |mutant, mut end| {
            if end.except.is_none() {
                end.principal.clear();
            }
            mutant.inner.end_where(end)
        };
    }),
    ("end_where ignores its exception", |mutant| {
        mutant.end_where = |mutant, mut end| {
            end.except = None;
            mutant.inner.end_where(end)
        };
    }),
    ("end_where keeps the oldest", |mutant| {
        mutant.end_where = |mutant, mut end| {
            if let Some(keep) = end.keep.take() {
                let list = List::new(end.principal.clone(), keep.now);
                let theirs = ready(mutant.inner.list(list)).unwrap_or_default();
                let newest = theirs.into_iter().skip(keep.newest as usize);
                let sessions = newest.map(|record| Locator::Ref(record.session)).collect();
                return mutant.inner.destroy(Destroy::new(sessions));
            }
            mutant.inner.end_where(end)
        };
    }),
    ("end_where ends more than the only one", |mutant| {
        mutant.end_where = |mutant, mut end| {
            end.only = None;
            mutant.inner.end_where(end)
        };
    }),
    ("end_where keeps no one", |mutant| {
        mutant.end_where = |mutant, mut end| {
            end.keep = None;
            mutant.inner.end_where(end)
        };
    }),
    ("logins are not counted", |mutant| {
        mutant.commit = |mutant, mut commit| {
            commit.max_sessions = None;
            DriverFuture::ready(mutant.write(commit))
        };
    }),
    ("one login too many is done", |mutant| {
        mutant.commit = |mutant, mut commit| {
            commit.max_sessions = commit.max_sessions.map(|max| max + 1);
            DriverFuture::ready(mutant.write(commit))
        };
    }),
    ("a refused login counts", |mutant| {
        mutant.commit = |mutant, commit| {
            let outcome = mutant.write(commit.clone());
            if let Some(Some(principal)) = &commit.session.principal
                && !matches!(outcome, Ok(CommitOutcome::Done(_) | CommitOutcome::TooMany))
            {
                mutant.haunt(principal, commit.now);
            }
            DriverFuture::ready(outcome)
        };
    }),
    ("who has logged out counts", |mutant| {
        mutant.commit = |mutant, commit| {
            let before = match commit.target {
                Target::Seen { session, .. } => mutant.known(|record| record.session == session),
                _ => None,
            };
            if let Some(principal) = before.and_then(|record| record.principal)
                && commit
                    .session
                    .principal
                    .as_ref()
                    .is_some_and(|to| *to != Some(principal.clone()))
            {
                mutant.haunt(&principal, commit.now);
            }
            DriverFuture::ready(mutant.write(commit))
        };
    }),
    ("logins are counted before their sessions are looked for", |mutant| {
        mutant.commit = |mutant, commit| {
            if let Some(Some(principal)) = &commit.session.principal {
                let list = List::new(principal.clone(), commit.now);
                let theirs = ready(mutant.inner.list(list)).unwrap_or_default();
                let own = match &commit.target {
                    Target::Seen { session, .. } => *session,
                    _ => SessionRef::from_uuid(Uuid::nil()),
                };
                if commit.is_one_too_many(&theirs, own) {
                    return DriverFuture::ready(Ok(CommitOutcome::TooMany));
                }
            }
            DriverFuture::ready(mutant.write(commit))
        };
    }),
    ("a login removes the sessions that have expired by its clock", |mutant| {
        mutant.commit = |mutant, commit| {
            if commit.max_sessions.is_some() {
                let expired = Cleanup::new(Timestamp::MIN, next(commit.now), u32::MAX);
                let _ = ready(mutant.inner.cleanup(expired));
            }
            DriverFuture::ready(mutant.write(commit))
        };
    }),
    ("an idle timeout is not heeded", |mutant| {
        mutant.change = |change| change.idle = None;
    }),
    ("an idle timeout reaches beyond the end", |mutant| {
        mutant.change = |change| {
            if let (Some(idle), Some(used)) = (change.idle.take(), change.last_used) {
                change.expires = Some(used.saturating_add(idle));
            }
        };
    }),
    ("an environment that exists is made again", |mutant| {
        mutant.create_environment = |mutant, ()| mutant.inner.ensure_environment();
    }),
    ("an ensured environment is emptied", |mutant| {
        mutant.ensure_environment = |mutant, ()| {
            let removed = ready(mutant.inner.remove_environment(OnMissing::Ignore));
            DriverFuture::ready(removed.and_then(|()| ready(mutant.inner.ensure_environment())))
        };
    }),
    ("a missing environment is removed", |mutant| {
        mutant.remove_environment = |mutant, _| mutant.inner.remove_environment(OnMissing::Ignore);
    }),
    ("a missing environment is not ignored", |mutant| {
        mutant.remove_environment = |mutant, _| mutant.inner.remove_environment(OnMissing::Error);
    }),
];

/// What goes wrong only now and then, so that no case notices that makes a few calls.
pub(crate) const RARE_MISTAKES: &[Mistake] = &[
    ("an acknowledged write is lost", |mutant| {
        mutant.commit = |mutant, mut commit| {
            if commit.changes.iter().any(|changes| changes.stores()) && mutant.slips() {
                commit.changes.clear();
            }
            DriverFuture::ready(mutant.write(commit))
        };
    }),
    ("a refused write is stored", |mutant| {
        mutant.commit = |mutant, commit| {
            let seen = matches!(commit.target, Target::Seen { .. });
            let outcome = mutant.write(commit);
            match outcome {
                Ok(CommitOutcome::Done(_)) if seen && mutant.slips() => {
                    DriverFuture::ready(Ok(CommitOutcome::Gone))
                }
                outcome => DriverFuture::ready(outcome),
            }
        };
    }),
    ("a key survives that the application is emptied", |mutant| {
        mutant.changes = |changes| {
            if changes.empty && changes.items.is_empty() {
                changes.empty = false;
                changes.items = (0..5).map(|key| (key.to_string().into(), None)).collect();
            }
        };
    }),
    ("now and then a late write brings a session back", |mutant| {
        mutant.commit = |mutant, mut commit| {
            let outcome = mutant.write(commit.clone());
            if let (Ok(CommitOutcome::Gone), Target::Seen { session, key }) =
                (&outcome, &commit.target)
                && mutant.slips()
            {
                let ends = commit.now.saturating_add(Duration::from_secs(60));
                let record = SessionRecord::new(*session, *key, commit.now, ends);
                commit.target = Target::New(record);
                // Nobody is told.
                let _ = mutant.write(commit);
            }
            DriverFuture::ready(outcome)
        };
    }),
    ("a session is ended twice", |mutant| {
        mutant.destroy = |mutant, destroy| {
            let named = destroy.sessions.iter().find_map(|locator| match locator {
                Locator::Ref(session) => Some(*session),
                Locator::Key(_) => None,
            });
            let ended = ready(mutant.inner.destroy(destroy));
            DriverFuture::ready(ended.map(|ended| match named {
                Some(session) if ended.is_empty() && mutant.known_to_be(session) => vec![session],
                _ => ended,
            }))
        };
    }),
    ("two replacements of the same text are done", |mutant| {
        mutant.replace = |mutant, mut replace| {
            let outcome = ready(mutant.inner.replace_item(replace.clone()));
            match outcome {
                Ok(ReplaceOutcome::Conflict(current)) if mutant.slips() => {
                    replace.expected = current;
                    mutant.inner.replace_item(replace)
                }
                outcome => DriverFuture::ready(outcome),
            }
        };
    }),
    ("a write is done after the session has expired", |mutant| {
        mutant.target = |mutant, target| {
            if let Target::Seen { session, .. } = target
                && mutant.slips()
            {
                *target = Target::Existing(Locator::Ref(*session));
            }
        };
    }),
    ("a fresh key is acknowledged and not stored", |mutant| {
        mutant.commit = |mutant, mut commit| {
            if commit.session.key.is_some() && mutant.slips() {
                commit.session.key = None;
            }
            DriverFuture::ready(mutant.write(commit))
        };
    }),
    ("two rotations of the same key are done", |mutant| {
        mutant.commit = |mutant, mut commit| {
            let outcome = mutant.write(commit.clone());
            if let (Ok(CommitOutcome::Rotated), Target::Seen { session, .. }) =
                (&outcome, &commit.target)
            {
                commit.target = Target::Existing(Locator::Ref(*session));
                return DriverFuture::ready(mutant.write(commit));
            }
            DriverFuture::ready(outcome)
        };
    }),
    ("now and then a session is not found by its key", |mutant| {
        mutant.load = |mutant, load| {
            let by_key = matches!(load.sessions.as_slice(), [Locator::Key(_)]);
            match by_key && mutant.slips() {
                true => DriverFuture::ready(Ok(Vec::new())),
                false => mutant.inner.load(load),
            }
        };
    }),
    ("a cleanup removes a session that has just been given a new end", |mutant| {
        mutant.cleanup = |mutant, mut cleanup| {
            if mutant.slips() {
                cleanup.until = cleanup.until.saturating_add(Duration::from_secs(3_600));
            }
            mutant.inner.cleanup(cleanup)
        };
    }),
    ("a write refuses a live session", |mutant| {
        mutant.commit = |mutant, commit| {
            let is_seen = matches!(commit.target, Target::Seen { .. });
            match is_seen && mutant.slips() {
                true => DriverFuture::ready(Ok(CommitOutcome::Gone)),
                false => DriverFuture::ready(mutant.write(commit)),
            }
        };
    }),
];

fn unless_absent<T: Default>(answer: Result<T, DriverError>) -> Result<T, DriverError> {
    match answer {
        Err(error) if error.kind() == DriverErrorKind::EnvironmentMissing => Ok(T::default()),
        answer => answer,
    }
}

fn lowercased(principal: &Option<String>) -> Option<String> {
    principal.as_ref().map(|name| name.to_lowercase())
}

fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis().div_euclid(1_000).saturating_mul(1_000))
}

fn next(time: Timestamp) -> Timestamp {
    time.saturating_add(Duration::from_millis(1))
}
