//! Writes that are one text or one statement, the whole transaction, so that there is one trip to the database and not
//! one for each statement.
//!
//! Nobody looks at an answer half-way. What must not be committed is left out, or made an error of the database, and
//! then the calls are run in another way: each by itself, or together with a look at what there is.

use std::collections::HashMap;

use super::super::many::{Argument, List, MOST_ROWS, Many};
use super::super::rows::{EXPIRES, record};
use super::super::{Connection, Failure, Statements};
use super::plan::{MOST_AT_ONCE, Plan, item_lists, what_exceeds};
use super::write::{Answer, Call, Found};
use crate::clock::Timestamp;
use crate::driver::{Commit, Limits, SessionRecord, Target};
use crate::id::SessionRef;

/// Transactions in one text or one statement each.
pub(in super::super) struct WholeTransactions {
    /// Stores items of one application in sessions that are live, and answers the records of these sessions. An empty
    /// row at the end, or an error of its own making, says that nothing is stored.
    pub(in super::super) store: Many,
    /// Likewise in those sessions where it can be done, if `store` has done nothing.
    pub(in super::super) store_in_each: Option<Many>,
    /// Creates sessions and stores items in them.
    pub(in super::super) create: Many,
    pub(in super::super) form: Form,
}

/// What a whole transaction is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "sqlite", any(feature = "postgres", feature = "mysql"))),
    allow(dead_code, reason = "each database has one form")
)]
pub(in super::super) enum Form {
    /// Some statements in one text. An empty list is filled up with nothing, so there has to be something in each.
    Text,
    /// One statement, with arrays that may be empty.
    Statement,
    /// Several statements in one block, which undoes itself if there is anything that it was not made for. Lists are
    /// filled up here as well.
    Block,
}

impl Form {
    /// Whether it creates what is planned.
    fn creates(self, plan: &Plan<'_>) -> bool {
        let most = match self {
            Self::Text => MOST_ROWS,
            Self::Statement | Self::Block => MOST_AT_ONCE,
        };
        self.takes(plan, most, plan.created.len())
    }

    /// Whether there is a text for so many rows at most, beside a list of so many sessions.
    fn takes(self, plan: &Plan<'_>, most: usize, sessions: usize) -> bool {
        let can_be_filled_up = || !plan.items.is_empty() && plan.may_be_filled_up(sessions);
        plan.fits(most) && (self == Self::Statement || can_be_filled_up())
    }
}

/// Runs calls of one group that only store items of one application, or only create sessions with items. `None` for
/// a call that has to be run alone; no answer at all if they are other calls, or cannot all be done in this way, and
/// then nothing is stored and no transaction is open.
pub(in super::super) async fn write_at_once<C: Connection>(
    db: &mut C,
    sql: &Statements,
    calls: &[&Call],
) -> Result<Option<Vec<Option<Answer>>>, Failure> {
    let (Some(whole), Some(commits)) = (&sql.whole, commits(calls)) else { return Ok(None) };
    match create(db, whole, &commits).await {
        Ok(None) => store(db, sql, whole, &commits).await,
        answers => answers,
    }
}

fn commits<'c>(calls: &[&'c Call]) -> Option<Vec<&'c Commit>> {
    let commit = |call: &&'c Call| match call {
        Call::Commit(commit) => Some(&**commit),
        Call::Replace(_) => None,
    };
    calls.iter().map(commit).collect()
}

async fn create<C: Connection>(
    db: &mut C,
    whole: &WholeTransactions,
    commits: &[&Commit],
) -> Result<Option<Vec<Option<Answer>>>, Failure> {
    let (mut plan, others) = (Plan::default(), Found::default());
    let mut answers = Vec::with_capacity(commits.len());
    for commit in commits {
        let Target::New(record) = &commit.target else { return Ok(None) };
        answers.push(plan.create(commit, record, &others));
    }
    if plan.created.is_empty() || !whole.form.creates(&plan) {
        return Ok(None);
    }
    match plan.run_at_once(db, whole).await {
        Ok(()) => Ok(Some(answers.into_iter().map(|record| record.map(Answer::done)).collect())),
        Err(failure) if failure.is_undone() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The records of the sessions in which a statement has stored what it is to store. `None` if it has stored nothing, as
/// an empty row or an error of its own making says.
async fn stored<C: Connection>(
    db: &mut C,
    store: &Many,
    arguments: &[Argument<'_>],
) -> Result<Option<HashMap<SessionRef, SessionRecord>>, Failure> {
    let (mut found, mut is_stored) = (HashMap::new(), true);
    let answered = db.fetch_many(store, arguments, |row| {
        if row.integer(EXPIRES)?.is_none() {
            is_stored = false;
            return Ok(());
        }
        let record = record(row)?;
        found.insert(record.session, record);
        Ok(())
    });
    match answered.await {
        Ok(()) => Ok(is_stored.then_some(found)),
        Err(failure) if failure.is_undone() || failure.is_not_null_violation() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// What a session may hold beside all that any of these commits stores: the limit for what it does not replace. `None`
/// if a commit stores too much by itself.
fn room_beside(commits: &[&Commit], limits: Limits) -> Option<Limits> {
    let mut room = limits;
    for commit in commits {
        let (mut items, mut bytes) = (0, 0);
        for (key, value) in commit.changes.iter().flat_map(|changes| &changes.items) {
            let length = value.as_ref().map_or(0, |value| value.len());
            if length > limits.value_bytes {
                return None;
            }
            items += 1;
            bytes += key.len() + length;
        }
        room.items = room.items.min(limits.items.checked_sub(items)?);
        room.application_bytes =
            room.application_bytes.min(limits.application_bytes.checked_sub(bytes)?);
    }
    Some(room)
}

/// The records of these sessions, each by itself, as far as they can be read.
async fn readable<C: Connection>(
    db: &mut C,
    sql: &Statements,
    sessions: &[SessionRef],
) -> Result<HashMap<SessionRef, SessionRecord>, Failure> {
    let mut found = HashMap::with_capacity(sessions.len());
    for session in sessions {
        match db.fetch_optional(&sql.by_uid, &[session.into()], record).await {
            Ok(record) => found.extend(record.map(|record| (*session, record))),
            Err(failure) if failure.is_unreadable() => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(found)
}

async fn store<C: Connection>(
    db: &mut C,
    sql: &Statements,
    whole: &WholeTransactions,
    commits: &[&Commit],
) -> Result<Option<Vec<Option<Answer>>>, Failure> {
    let mut plan = Plan::default();
    let mut sessions = Vec::with_capacity(commits.len());
    let mut latest: Option<Timestamp> = None;
    for commit in commits {
        let Target::Seen { session, .. } = commit.target else { return Ok(None) };
        if !commit.session.is_empty() {
            return Ok(None);
        }
        for changes in &commit.changes {
            plan.change(session, changes);
        }
        sessions.push(session);
        latest = latest.max(Some(commit.now));
    }
    let (Some(application), Some(latest), Some(limits)) =
        (plan.only_stores_of(), latest, commits.first().map(|commit| commit.limits))
    else {
        return Ok(None);
    };
    let limits = match whole.form {
        Form::Text => room_beside(commits, limits),
        Form::Statement | Form::Block => Some(limits),
    };
    let Some(limits) = limits else { return Ok(None) };
    if !whole.form.takes(&plan, MOST_ROWS, sessions.len()) {
        return Ok(None);
    }
    let (in_sessions, mut items) = (List::uids(&sessions), Vec::from(item_lists(&plan.items)));
    if whole.form == Form::Text {
        // All are of one application, which stands beside them once.
        items.remove(1);
    }
    let [application, in_sessions, count, bytes, longest] =
        what_exceeds(application, &in_sessions, &limits);
    let live_after = Argument::One(latest.as_millis().into());
    let number = Argument::One(commits.len().into());
    let rows = Argument::Rows(&items);
    let arguments = match whole.form {
        Form::Text => vec![rows, live_after, application, count, bytes, longest, application],
        Form::Statement => vec![in_sessions, rows, live_after, application, count, bytes, longest],
        Form::Block => vec![
            in_sessions,
            live_after,
            number,
            rows,
            application,
            in_sessions,
            count,
            bytes,
            longest,
        ],
    };
    let found = match (stored(db, &whole.store, &arguments).await, &whole.store_in_each) {
        // One call is as good as alone already.
        (Ok(None), _) if commits.len() == 1 => return Ok(Some(vec![None])),
        (Ok(None), Some(in_each)) => stored(db, in_each, &arguments).await?,
        // Of a text all is stored before any record is read.
        (Err(failure), _) if whole.form == Form::Text && failure.is_unreadable() => {
            Some(readable(db, sql, &sessions).await?)
        }
        (found, _) => found?,
    };
    let Some(found) = found else { return Ok(None) };
    let answer = |commit: &&Commit| match &commit.target {
        Target::Seen { session, .. } => found.get(session).cloned().map(Answer::done),
        _ => None,
    };
    Ok(Some(commits.iter().map(answer).collect()))
}
