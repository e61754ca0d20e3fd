//! Writes whose whole transaction is one text or one statement, so that there is one trip to the database and not one
//! for each statement.
//!
//! Nobody looks at an answer half-way. What must not be committed is made an error of the database, and then each
//! call is run by itself.

#[cfg(feature = "sqlite")]
use std::collections::HashMap;

use super::super::many::Many;
#[cfg(feature = "sqlite")]
use super::super::many::{Argument, List, MOST_ROWS};
#[cfg(feature = "sqlite")]
use super::super::rows::record;
use super::super::{Connection, Failure, Statements};
#[cfg(any(feature = "postgres", feature = "mysql"))]
use super::plan::MOST_AT_ONCE;
use super::plan::Plan;
#[cfg(feature = "sqlite")]
use super::plan::{item_lists, what_exceeds};
use super::write::{Answer, Call, Found};
#[cfg(feature = "sqlite")]
use crate::clock::Timestamp;
#[cfg(feature = "sqlite")]
use crate::driver::SessionRecord;
use crate::driver::{Commit, Target};
#[cfg(feature = "sqlite")]
use crate::id::SessionRef;

/// Transactions in one text each.
#[cfg(feature = "sqlite")]
pub(in super::super) struct WholeTransactions {
    /// Stores items of one application in sessions that are live, and answers the records of these sessions.
    pub(in super::super) store: Many,
    /// Creates sessions and stores items in them.
    pub(in super::super) create: Many,
}

/// Runs calls of one group that only store items of one application, or only create sessions with items. `None` for
/// a call that has to be run alone; no answer at all if they are other calls, and then nothing was begun.
#[cfg(feature = "sqlite")]
pub(in super::super) async fn write_at_once<C: Connection>(
    db: &mut C,
    sql: &Statements,
    calls: &[&Call],
) -> Result<Option<Vec<Option<Answer>>>, Failure> {
    let (Some(whole), Some(commits)) = (&sql.whole, commits(calls)) else { return Ok(None) };
    // An empty list would be filled up with nothing.
    let fits = |plan: &Plan<'_>| !plan.items.is_empty() && plan.fits(MOST_ROWS);
    if let Some(answers) = create(db, &whole.create, fits, &commits).await? {
        return Ok(Some(answers));
    }
    store(db, whole, &commits).await
}

/// Runs calls of one group that only create sessions, by a statement that needs no transaction around it.
/// Answers as [`write_at_once`] does.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(in super::super) async fn create_at_once<C: Connection>(
    db: &mut C,
    sql: &Statements,
    calls: &[&Call],
) -> Result<Option<Vec<Option<Answer>>>, Failure> {
    match (&sql.create_at_once, commits(calls)) {
        (Some(statement), Some(commits)) => {
            create(db, statement, |plan| plan.fits(MOST_AT_ONCE), &commits).await
        }
        _ => Ok(None),
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
    statement: &Many,
    fits: impl Fn(&Plan<'_>) -> bool,
    commits: &[&Commit],
) -> Result<Option<Vec<Option<Answer>>>, Failure> {
    let (mut plan, others) = (Plan::default(), Found::default());
    let mut answers = Vec::with_capacity(commits.len());
    for commit in commits {
        let Target::New(record) = &commit.target else { return Ok(None) };
        answers.push(plan.create(commit, record, &others));
    }
    if plan.created.is_empty() || !fits(&plan) {
        return Ok(None);
    }
    plan.run_at_once(db, statement).await?;
    Ok(Some(answers.into_iter().map(|record| record.map(Answer::done)).collect()))
}

#[cfg(feature = "sqlite")]
async fn store<C: Connection>(
    db: &mut C,
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
        (plan.only_stores_of(), latest, commits.first().map(|commit| &commit.limits))
    else {
        return Ok(None);
    };
    if !plan.fits(MOST_ROWS) {
        return Ok(None);
    }
    let (sessions, items) = (List::uids(&sessions), item_lists(&plan.items));
    let [application, in_sessions, count, bytes, longest] =
        what_exceeds(application, &sessions, limits);
    let live_after = Argument::One(latest.as_millis().into());
    let rows = Argument::Rows(&items);
    let arguments =
        [in_sessions, rows, live_after, application, in_sessions, count, bytes, longest];
    let mut found: HashMap<SessionRef, SessionRecord> = HashMap::new();
    db.fetch_many(&whole.store, &arguments, |row| {
        let record = record(row)?;
        found.insert(record.session, record);
        Ok(())
    })
    .await?;
    let stored = |commit: &&Commit| match &commit.target {
        Target::Seen { session, .. } => {
            found.get(session).filter(|record| record.is_live(latest)).cloned().map(Answer::done)
        }
        _ => None,
    };
    Ok(Some(commits.iter().map(stored).collect()))
}
