//! Writes whose whole transaction is one text, so that there is one trip to the database and not one for each
//! statement.
//!
//! A text cannot look at an answer half-way. What must not be committed is made an error of the database, and
//! then each call is run by itself.

use std::collections::HashMap;

use super::super::many::{Argument, List, Many};
use super::super::rows::record;
use super::super::{Connection, Failure, Statements};
use super::plan::{Plan, item_lists, record_lists, what_exceeds};
use super::write::{Answer, Call, Found};
use crate::clock::Timestamp;
use crate::driver::{Commit, SessionRecord, Target};
use crate::id::SessionRef;

/// Transactions in one text each.
pub(in super::super) struct WholeTransactions {
    /// Stores items of one application in sessions that are live, and answers the records of these sessions.
    pub(in super::super) store: Many,
    /// Creates sessions and stores items in them.
    pub(in super::super) create: Many,
}

/// Runs calls of one group that only store items of one application, or only create sessions with items. `None` for
/// a call that has to be run alone; no answer at all if they are other calls, and then nothing was begun.
pub(in super::super) async fn write_at_once<'c, C: Connection>(
    db: &mut C,
    sql: &Statements,
    calls: &[&'c Call],
) -> Result<Option<Vec<Option<Answer>>>, Failure> {
    let Some(whole) = &sql.whole else { return Ok(None) };
    let commit = |call: &&'c Call| match call {
        Call::Commit(commit) => Some(&**commit),
        Call::Replace(_) => None,
    };
    let Some(commits) = calls.iter().map(commit).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    if let Some(answers) = create(db, whole, &commits).await? {
        return Ok(Some(answers));
    }
    store(db, whole, &commits).await
}

async fn create<C: Connection>(
    db: &mut C,
    whole: &WholeTransactions,
    commits: &[&Commit],
) -> Result<Option<Vec<Option<Answer>>>, Failure> {
    let mut plan = Plan::default();
    let mut answers = Vec::with_capacity(commits.len());
    for commit in commits {
        let Target::New(record) = &commit.target else { return Ok(None) };
        answers.push(plan.create(commit, record, &Found::default()));
    }
    if plan.created.is_empty() || plan.items.is_empty() || !plan.fits_one_statement() {
        return Ok(None);
    }
    let (records, items) = (record_lists(&plan.created), item_lists(&plan.items));
    db.execute_many(&whole.create, &[Argument::Rows(&records), Argument::Rows(&items)]).await?;
    Ok(Some(answers.into_iter().map(|record| record.map(Answer::done)).collect()))
}

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
    if !plan.fits_one_statement() {
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
