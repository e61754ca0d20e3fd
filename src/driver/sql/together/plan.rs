//! What the calls of a batch write, put together by statement.

use std::collections::{HashMap, HashSet};

use super::super::many::{Argument, List, MOST_ROWS, filled_up};
use super::super::rows::record_values;
use super::super::{Connection, Failure, Statements, Value};
use super::{Form, MOST_BYTES, WholeTransactions};
use crate::driver::{ApplicationChanges, ApplicationName, Limits, SessionRecord};
use crate::id::{SessionKey, SessionRef};

/// How many sessions and items go into one statement. 64 of each are 11 KiB; with 128, PostgreSQL took 50 ms for what
/// it does in 3 ms as two statements: sqlx 0.9.0 does not set `TCP_NODELAY`.
pub(super) const MOST_AT_ONCE: usize = MOST_ROWS / 4;

/// What a batch writes.
#[derive(Default)]
pub(super) struct Plan<'a> {
    /// The sessions that calls of the batch write to.
    pub(super) sessions: HashSet<SessionRef>,
    /// The keys that they give to sessions.
    pub(super) keys: HashSet<SessionKey>,
    pub(super) created: Vec<SessionRecord>,
    pub(super) changed: Vec<SessionRecord>,
    pub(super) items: Vec<Item<'a>>,
    emptied: HashMap<&'a ApplicationName, Vec<SessionRef>>,
    removed: HashMap<(&'a ApplicationName, &'a str), Vec<SessionRef>>,
    /// Where there may be more than before.
    grown: HashMap<&'a ApplicationName, Vec<SessionRef>>,
}

pub(super) type Item<'a> = (SessionRef, &'a ApplicationName, &'a str, &'a str);

impl<'a> Plan<'a> {
    /// Adds changes of a session that exists.
    pub(super) fn change(&mut self, session: SessionRef, changes: &'a ApplicationChanges) {
        let application = &changes.application;
        if changes.empty {
            self.emptied.entry(application).or_default().push(session);
        }
        for (key, value) in &changes.items {
            match value {
                Some(value) => self.items.push((session, application, key, value)),
                None => self.removed.entry((application, key)).or_default().push(session),
            }
        }
        if changes.stores() {
            self.grown.entry(application).or_default().push(session);
        }
    }

    /// Adds the first items of a session that the batch creates.
    pub(super) fn fill(&mut self, session: SessionRef, changes: &'a ApplicationChanges) {
        for (key, value) in &changes.items {
            if let Some(value) = value {
                self.items.push((session, &changes.application, key, value));
            }
        }
    }

    /// Adds an item of a session that exists.
    pub(super) fn store(
        &mut self,
        session: SessionRef,
        application: &'a ApplicationName,
        key: &'a str,
        value: &'a str,
    ) {
        self.items.push((session, application, key, value));
        self.grown.entry(application).or_default().push(session);
    }

    /// Writes all of it. Whether that could be done, and nothing exceeds the limits now.
    pub(super) async fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
        limits: &Limits,
    ) -> Result<bool, Failure> {
        let is_only_created = !self.created.is_empty()
            && self.changed.is_empty()
            && self.emptied.is_empty()
            && self.removed.is_empty()
            && self.grown.is_empty();
        if let Some(whole @ WholeTransactions { form: Form::Statement, .. }) = &sql.whole
            && is_only_created
            && self.fits(MOST_AT_ONCE)
        {
            return match self.run_at_once(db, whole).await {
                Ok(()) => Ok(true),
                Err(failure) if failure.is_taken() => Ok(false),
                Err(failure) => Err(failure),
            };
        }
        let mut created = self.created.as_slice();
        while !created.is_empty() {
            // A session that is inserted twice would be a collision.
            let (next, others) = created.split_at(sql.insert_many.exactly(created.len()));
            let rows = [Argument::Rows(&record_lists(next))];
            match db.execute_many(&sql.insert_many, &rows).await {
                Ok(inserted) if inserted == next.len() as u64 => created = others,
                Ok(_) => return Ok(false),
                Err(failure) if failure.is_taken() => return Ok(false),
                Err(failure) => return Err(failure),
            }
        }
        if let (Some(retired), false) = (&sql.retired, self.created.is_empty()) {
            let keys = List::keys(self.created.iter().map(|record| &record.key));
            if !db.finds_none(retired, &[Argument::In(&keys)]).await? {
                return Ok(false);
            }
        }
        for (application, sessions) in &self.emptied {
            let arguments =
                [Argument::One((*application).into()), Argument::In(&List::uids(sessions.iter()))];
            db.execute_many(&sql.empty_many, &arguments).await?;
        }
        for ((application, key), sessions) in &self.removed {
            let arguments = [
                Argument::One((*application).into()),
                Argument::One(Value::Bytes(Some(key.as_bytes()))),
                Argument::In(&List::uids(sessions.iter())),
            ];
            db.execute_many(&sql.delete_items, &arguments).await?;
        }
        for record in &self.changed {
            let [uid, columns @ ..] = record_values(record);
            let values: Vec<_> = columns.into_iter().chain([uid]).collect();
            db.execute(&sql.update, &values).await?;
        }
        let mut items = self.items.as_slice();
        let mut grown = self.grown.iter();
        if let (Some(set_and_check), Some((application, sessions)), None) =
            (&sql.set_and_check, grown.next(), grown.next())
            && portion(items) == items.len()
        {
            let (rows, sessions) = (item_lists(items), List::uids(sessions.iter()));
            let rows = [Argument::Rows(&rows)];
            let arguments: Vec<_> =
                rows.into_iter().chain(what_exceeds(application, &sessions, limits)).collect();
            return db.finds_none(set_and_check, &arguments).await;
        }
        while !items.is_empty() {
            let (next, others) = items.split_at(portion(items));
            db.execute_many(&sql.set_items, &[Argument::Rows(&item_lists(next))]).await?;
            items = others;
        }
        self.is_within(db, sql, limits).await
    }

    /// Creates the sessions with their items by one statement, or one text.
    pub(super) async fn run_at_once<C: Connection>(
        &self,
        db: &mut C,
        whole: &WholeTransactions,
    ) -> Result<(), Failure> {
        let (records, items) = (record_lists(&self.created), item_lists(&self.items));
        let (records, items) = (Argument::Rows(&records), Argument::Rows(&items));
        let number = Argument::One(self.created.len().into());
        let keys = List::keys(self.created.iter().map(|record| &record.key));
        let arguments = match whole.form {
            Form::Text | Form::Statement => vec![records, items],
            Form::Block => vec![records, number, Argument::In(&keys), items],
        };
        db.execute_many(&whole.create, &arguments).await.map(drop)
    }

    /// Whether a statement that takes so many rows takes the sessions that are created, and another the items.
    pub(super) fn fits(&self, most: usize) -> bool {
        self.created.len().max(self.items.len()) <= most && portion(&self.items) == self.items.len()
    }

    /// Whether a list of the items may be filled up to as many rows as a longer one has: what it is filled up with is
    /// sent as well.
    pub(super) fn may_be_filled_up(&self, rows: usize) -> bool {
        let shortest = self.items.iter().map(bytes_of).min().unwrap_or_default();
        let fillers = filled_up(rows.max(self.items.len())) - self.items.len();
        fillers * shortest <= MOST_BYTES / 2
    }

    async fn is_within<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
        limits: &Limits,
    ) -> Result<bool, Failure> {
        for (application, sessions) in &self.grown {
            let sessions = List::uids(sessions.iter());
            let arguments = what_exceeds(application, &sessions, limits);
            if !db.finds_none(&sql.exceeding, &arguments).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The application, if items of one application are stored in sessions that exist, and nothing else is written.
    pub(super) fn only_stores_of(&self) -> Option<&'a ApplicationName> {
        let mut grown = self.grown.keys();
        match (grown.next(), grown.next()) {
            (Some(application), None) if self.changes_items_alone() => Some(application),
            _ => None,
        }
    }

    fn changes_items_alone(&self) -> bool {
        self.created.is_empty()
            && self.changed.is_empty()
            && self.emptied.is_empty()
            && self.removed.is_empty()
    }
}

/// What asks for the sessions in which an application has more than the limits allow.
pub(super) fn what_exceeds<'a>(
    application: &'a ApplicationName,
    sessions: &'a List<'a>,
    limits: &Limits,
) -> [Argument<'a>; 5] {
    [
        Argument::One(application.into()),
        Argument::In(sessions),
        Argument::One(limits.items.into()),
        Argument::One(limits.application_bytes.into()),
        Argument::One(limits.value_bytes.into()),
    ]
}

fn bytes_of((_, _, key, value): &Item<'_>) -> usize {
    key.len() + value.len()
}

/// How many items the next statement takes: servers refuse packets that are very long.
fn portion(items: &[Item<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |item: &&Item<'_>| {
        let is_first = bytes == 0;
        bytes += bytes_of(item);
        is_first || bytes <= MOST_BYTES
    };
    items.iter().take(MOST_ROWS).take_while(fits).count()
}

pub(super) fn item_lists<'a>(items: &[Item<'a>]) -> [List<'a>; 4] {
    [
        List::uids(items.iter().map(|(session, ..)| session)),
        List::Texts(items.iter().map(|(_, application, ..)| Some(application.as_str())).collect()),
        List::Bytes(items.iter().map(|(_, _, key, _)| Some(key.as_bytes())).collect()),
        List::Texts(items.iter().map(|(.., value)| Some(*value)).collect()),
    ]
}

/// The columns of records, each as a list.
pub(super) fn record_lists(records: &[SessionRecord]) -> Vec<List<'_>> {
    let mut lists: Vec<List<'_>> = Vec::new();
    for record in records {
        let values = record_values(record);
        if lists.is_empty() {
            lists = values.iter().map(|value| List::of(*value)).collect();
        } else {
            lists.iter_mut().zip(values).for_each(|(list, value)| list.push(value));
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    // P2
    #[test]
    fn what_a_list_is_filled_up_with_is_at_most_half_of_what_a_batch_has() {
        let (session, shop) =
            (SessionRef::from_uuid(uuid::Uuid::nil()), ApplicationName::new("shop").unwrap());
        let text = "x".repeat(MOST_BYTES);
        for (rows, items, longest) in
            [(33, 16, MOST_BYTES / 64), (5, 2, MOST_BYTES / 8), (2, 1, MOST_BYTES / 2)]
        {
            let may_be_filled_up = |bytes: usize| {
                let mut plan = Plan::default();
                for _ in 0..items {
                    plan.items.push((session, &shop, "", &text[..bytes]));
                }
                plan.may_be_filled_up(rows)
            };
            assert!(may_be_filled_up(longest), "{rows}");
            assert!(!may_be_filled_up(longest + 1), "{rows}");
        }
    }
}
