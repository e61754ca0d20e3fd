//! Writes that share a transaction.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::many::{Argument, List};
use super::super::rows::{record, session, size};
use super::super::{Connection, Failure, Outcome, Statements, Value, Write};
use super::Waiting;
use super::plan::Plan;
use crate::driver::{
    ApplicationName, Commit, CommitOutcome, CreateOutcome, DriverError, DriverErrorKind, Limits,
    Locator, ReplaceItem, ReplaceOutcome, SessionRecord, Target,
};
use crate::id::{SessionKey, SessionRef};

/// A write that may go with others.
pub(in super::super) enum Call {
    Commit(Box<Commit>),
    Replace(Box<ReplaceItem>),
}

/// What a write is answered.
#[derive(Debug)]
pub(in super::super) enum Answer {
    Commit(CommitOutcome),
    Replace(ReplaceOutcome),
}

/// A write that waits and may go with others.
pub(in super::super) type Writing = Waiting<Call, Answer>;

impl Call {
    pub(super) fn limits(&self) -> Limits {
        match self {
            Self::Commit(commit) => commit.limits,
            Self::Replace(replace) => replace.limits,
        }
    }
}

impl Answer {
    pub(super) fn done(record: SessionRecord) -> Self {
        Self::Commit(CommitOutcome::Done(record))
    }

    pub(in super::super) fn into_commit(self) -> Result<CommitOutcome, DriverError> {
        match self {
            Self::Commit(outcome) => Ok(outcome),
            Self::Replace(_) => Err(of_another()),
        }
    }

    pub(in super::super) fn into_create(self) -> Result<CreateOutcome, DriverError> {
        Ok(match self.into_commit()? {
            CommitOutcome::Done(_) => CreateOutcome::Done,
            _ => CreateOutcome::Collision,
        })
    }

    pub(in super::super) fn into_replace(self) -> Result<ReplaceOutcome, DriverError> {
        match self {
            Self::Replace(outcome) => Ok(outcome),
            Self::Commit(_) => Err(of_another()),
        }
    }
}

fn of_another() -> DriverError {
    DriverError::new(DriverErrorKind::Other, "the answer is that of another call")
}

impl Write for Call {
    type Answer = Answer;

    async fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> Result<Outcome<Answer>, Failure> {
        Ok(match self {
            Self::Commit(commit) => commit.run(db, sql).await?.map(Answer::Commit),
            Self::Replace(replace) => replace.run(db, sql).await?.map(Answer::Replace),
        })
    }
}

/// Runs calls of one group inside a transaction. `None` for one that has to be run alone; no answer at all if
/// that goes for each of them, and then the transaction is of no use.
pub(in super::super) async fn write<'a, C: Connection>(
    db: &mut C,
    sql: &Statements,
    calls: &[&'a Call],
) -> Result<Option<Vec<Option<Answer>>>, Failure> {
    let found = Found::find(db, sql, calls).await?;
    let stored = stored_items(db, sql, calls).await?;
    let mut plan = Plan::default();
    let add = |(at, call): (usize, &&'a Call)| plan.add(call, &found, stored.get(&at));
    let answers: Vec<_> = calls.iter().enumerate().map(add).collect();
    let limits = calls.first().map(|call| call.limits()).unwrap_or_default();
    let is_of_use = answers.iter().any(Option::is_some);
    Ok((is_of_use && plan.run(db, sql, &limits).await?).then_some(answers))
}

/// The sessions that a batch names, as they are. Others cannot change them before the end of the
/// transaction; what they are changing at the moment is left out.
#[derive(Default)]
pub(super) struct Found {
    sessions: HashMap<SessionRef, SessionRecord>,
    /// By current and by previous key.
    by_key: HashMap<SessionKey, SessionRef>,
}

impl Found {
    async fn find<C: Connection>(
        db: &mut C,
        sql: &Statements,
        calls: &[&Call],
    ) -> Result<Self, Failure> {
        let (mut references, mut keys) = (Vec::new(), Vec::new());
        for call in calls {
            match call {
                Call::Replace(replace) => references.push(&replace.session),
                Call::Commit(commit) => {
                    match &commit.target {
                        Target::Seen { session, .. } | Target::Existing(Locator::Ref(session)) => {
                            references.push(session)
                        }
                        Target::Presented { key, .. } | Target::Existing(Locator::Key(key)) => {
                            keys.push(key);
                        }
                        // Whether they are taken is known when it is inserted.
                        Target::New(_) => {}
                    }
                    keys.extend(&commit.session.key);
                }
            }
        }
        let mut found = Self {
            sessions: HashMap::with_capacity(references.len() + keys.len()),
            by_key: HashMap::with_capacity(references.len() + keys.len()),
        };
        let (references, keys) = (List::uids(references), List::keys(keys));
        let by_uids = [Argument::In(&references)];
        let arguments = [Argument::In(&references), Argument::In(&keys), Argument::In(&keys)];
        let (lock, arguments) = match (references.is_empty(), keys.is_empty()) {
            (true, true) => return Ok(found),
            (false, true) => (&sql.lock_by_uids, &by_uids[..]),
            (_, false) => (&sql.lock_many, &arguments[..]),
        };
        db.fetch_many(lock, arguments, |row| {
            let record = record(row)?;
            for key in [Some(record.key), record.previous_key].into_iter().flatten() {
                found.by_key.insert(key, record.session);
            }
            found.sessions.insert(record.session, record);
            Ok(())
        })
        .await?;
        Ok(found)
    }

    /// The live session that a commit wants to change, if there is one and nothing is special about it.
    fn target(&self, commit: &Commit) -> Option<&SessionRecord> {
        let by_current_key = |key: &SessionKey| {
            let session = self.by_key.get(key).and_then(|session| self.sessions.get(session));
            session.filter(|record| record.key == *key)
        };
        let is_live = |record: &&SessionRecord| record.is_live(commit.now);
        match &commit.target {
            Target::New(_) => None,
            Target::Seen { session, key } => {
                let rotates = commit.session.key.is_some();
                let seen = self.sessions.get(session).filter(is_live);
                seen.filter(|record| !rotates || record.key == *key)
            }
            Target::Presented { key, .. } => by_current_key(key).filter(is_live),
            Target::Existing(Locator::Key(key)) => by_current_key(key),
            Target::Existing(Locator::Ref(session)) => self.sessions.get(session),
        }
    }

    /// Whether a session has the key, or had it before, as far as it was looked for: the keys of new sessions were not.
    fn has(&self, key: &SessionKey) -> bool {
        self.by_key.contains_key(key)
    }
}

/// An item as it is stored: how long it is, and its text if that is not too long.
type Stored = (usize, Option<Arc<str>>);

/// What there is of the items that are to be replaced, by the places of the calls.
async fn stored_items<C: Connection>(
    db: &mut C,
    sql: &Statements,
    calls: &[&Call],
) -> Result<HashMap<usize, Stored>, Failure> {
    let mut named: HashMap<(&ApplicationName, &str), Vec<(usize, &ReplaceItem)>> = HashMap::new();
    for (at, call) in calls.iter().enumerate() {
        if let Call::Replace(replace) = call {
            named.entry((&replace.application, &replace.key)).or_default().push((at, replace));
        }
    }
    let mut stored = HashMap::new();
    for ((application, key), replaced) in named {
        let uids = replaced.iter().map(|(_, replace)| Some(*replace.session.as_uuid()));
        let uids = List::Uids(uids.collect());
        let longest = replaced.iter().map(|(_, replace)| replace.longest()).max();
        let arguments = [
            Argument::One(longest.unwrap_or_default().into()),
            Argument::One(application.into()),
            Argument::One(Value::Bytes(Some(key.as_bytes()))),
            Argument::In(&uids),
        ];
        let mut items: HashMap<SessionRef, Stored> = HashMap::new();
        db.fetch_many(&sql.items_named, &arguments, |row| {
            let text = row.text(2)?.map(Arc::from);
            items.insert(session(row)?, (size(row.number(1)?), text));
            Ok(())
        })
        .await?;
        for (at, replace) in replaced {
            stored.extend(items.remove(&replace.session).map(|item| (at, item)));
        }
    }
    Ok(stored)
}

impl<'a> Plan<'a> {
    /// Adds a call and gives its answer, unless it has to be run alone.
    fn add(&mut self, call: &'a Call, found: &Found, stored: Option<&Stored>) -> Option<Answer> {
        match call {
            Call::Commit(commit) => {
                let record = match &commit.target {
                    Target::New(record) => self.create(commit, record, found)?,
                    _ => self.apply(commit, found.target(commit)?, found)?,
                };
                Some(Answer::done(record))
            }
            Call::Replace(replace) => self.replace(replace, found, stored).map(Answer::Replace),
        }
    }

    /// Creates a session and answers its record.
    pub(super) fn create(
        &mut self,
        commit: &'a Commit,
        record: &SessionRecord,
        found: &Found,
    ) -> Option<SessionRecord> {
        let is_taken = found.has(&record.key) || found.sessions.contains_key(&record.session);
        if is_taken || record.previous_key.is_some() {
            return None;
        }
        for changes in &commit.changes {
            let size = |(key, value): &(Arc<str>, Option<Arc<str>>)| {
                value.as_ref().map(|value| (key.len(), value.len()))
            };
            commit.limits.check(changes.items.iter().filter_map(size)).ok()?;
        }
        if !self.sessions.insert(record.session) || !self.keys.insert(record.key) {
            return None;
        }
        for changes in &commit.changes {
            self.fill(record.session, changes);
        }
        let mut record = record.clone();
        commit.session.apply_to_created(&mut record);
        self.created.push(record.clone());
        Some(record)
    }

    /// Changes a session that exists and answers its record.
    fn apply(
        &mut self,
        commit: &'a Commit,
        record: &SessionRecord,
        found: &Found,
    ) -> Option<SessionRecord> {
        if let Some(key) = commit.session.key
            && (found.has(&key) || !self.keys.insert(key))
        {
            return None;
        }
        if !self.sessions.insert(record.session) {
            return None;
        }
        for changes in &commit.changes {
            self.change(record.session, changes);
        }
        let mut record = record.clone();
        if !commit.session.is_empty() {
            commit.session.apply(&mut record, commit.now);
            self.changed.push(record.clone());
        }
        Some(record)
    }

    /// Replaces an item that is what its caller has seen.
    fn replace(
        &mut self,
        replace: &'a ReplaceItem,
        found: &Found,
        stored: Option<&Stored>,
    ) -> Option<ReplaceOutcome> {
        let is_live = found.sessions.get(&replace.session)?.is_live(replace.now);
        if !is_live || !self.sessions.insert(replace.session) {
            return None;
        }
        let stored = match stored {
            // Too long to be looked at.
            Some((_, None)) => return None,
            Some((_, text)) => text.clone(),
            None => None,
        };
        if stored != replace.expected {
            return Some(ReplaceOutcome::Conflict(stored));
        }
        self.store(replace.session, &replace.application, &replace.key, &replace.value);
        Some(ReplaceOutcome::Done)
    }
}
