//! The calls that write, each as it runs inside its transaction.

use std::sync::Arc;

use super::Outcome::{Keep, Undo};
use super::rows::{NAMED_AT_ONCE, named, record, record_values, session as session_of, size};
use super::{Connection, Failure, Outcome, Row, Statements, Value, Write};
use crate::clock::Timestamp;
use crate::driver::{
    ApplicationChanges, ApplicationName, Cleanup, Commit, CommitOutcome, Destroy, DriverError,
    DriverErrorKind, EndWhere, Limits, Locator, ReplaceItem, ReplaceOutcome, SessionRecord, Target,
};
use crate::id::{SessionKey, SessionRef};

impl Write for Commit {
    type Answer = CommitOutcome;

    async fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> Result<Outcome<CommitOutcome>, Failure> {
        if self.capped().is_some() {
            db.fetch_optional(&sql.lock_logins, &[], |_| Ok(())).await?;
        }
        let found = match &self.target {
            Target::New(record) => return self.create(db, sql, record).await,
            Target::Existing(locator) => current(db, sql, locator).await?,
            Target::Seen { session, key } => {
                let found = current(db, sql, &Locator::Ref(*session)).await?;
                let live = found.filter(|record| record.is_live(self.now));
                if self.session.key.is_some() && live.as_ref().is_some_and(|live| live.key != *key)
                {
                    return Ok(Undo(CommitOutcome::Rotated));
                }
                live
            }
            Target::Presented { key, retired_after, otherwise } => {
                match presented(db, sql, key, *retired_after, self.now).await? {
                    Presented::Live(record) => Some(*record),
                    Presented::Rotated => return Ok(Undo(CommitOutcome::Rotated)),
                    Presented::None => match otherwise {
                        Some(record) => return self.create(db, sql, record).await,
                        None => None,
                    },
                }
            }
        };
        match found {
            Some(record) => self.apply(db, sql, record).await,
            None => Ok(Undo(CommitOutcome::Gone)),
        }
    }
}

impl Commit {
    async fn create<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
        record: &SessionRecord,
    ) -> Result<Outcome<CommitOutcome>, Failure> {
        let mut record = record.clone();
        self.session.apply_to_created(&mut record);
        if self.counts_too_many(db, sql, record.session).await? {
            return Ok(Undo(CommitOutcome::TooMany));
        }
        if !insert(db, sql, &record).await? {
            return Ok(Undo(CommitOutcome::Collision));
        }
        self.store_items(db, sql, record.session).await?;
        Ok(Keep(CommitOutcome::Done(record)))
    }

    async fn apply<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
        mut record: SessionRecord,
    ) -> Result<Outcome<CommitOutcome>, Failure> {
        if self.counts_too_many(db, sql, record.session).await? {
            return Ok(Undo(CommitOutcome::TooMany));
        }
        self.store_items(db, sql, record.session).await?;
        if let Some(key) = self.session.key {
            let key = Value::from(&key);
            if db.fetch_optional(&sql.taken, &[key, key], |_| Ok(())).await?.is_some() {
                return Ok(Undo(CommitOutcome::Collision));
            }
        }
        if !self.session.is_empty() {
            self.session.apply(&mut record, self.now);
            let [uid, columns @ ..] = record_values(&record);
            let values: Vec<_> = columns.into_iter().chain([uid]).collect();
            if db.execute(&sql.update, &values).await? == 0 {
                return Err(vanished().into());
            }
        }
        Ok(Keep(CommitOutcome::Done(record)))
    }

    /// Whether the principal has as many other sessions as it may have.
    async fn counts_too_many<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
        session: SessionRef,
    ) -> Result<bool, Failure> {
        let Some((principal, most)) = self.capped() else {
            return Ok(false);
        };
        let values =
            [Value::Text(Some(principal)), self.now.as_millis().into(), Value::from(&session)];
        let others = db.fetch_optional(&sql.others, &values, |row: &C::Row| row.number(0)).await?;
        Ok(others.unwrap_or_default() > i64::from(most))
    }

    async fn store_items<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
        session: SessionRef,
    ) -> Result<(), Failure> {
        for changes in &self.changes {
            store(db, sql, session, changes).await?;
            if changes.stores() {
                check(db, sql, session, &changes.application, &self.limits).await?;
            }
        }
        Ok(())
    }
}

impl Write for ReplaceItem {
    type Answer = ReplaceOutcome;

    async fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> Result<Outcome<ReplaceOutcome>, Failure> {
        let found = current(db, sql, &Locator::Ref(self.session)).await?;
        if !found.is_some_and(|record| record.is_live(self.now)) {
            return Ok(Undo(ReplaceOutcome::Gone));
        }
        let stored = self.stored(db, sql).await?;
        if stored != self.expected {
            return Ok(Undo(ReplaceOutcome::Conflict(stored)));
        }
        let (uid, application) = (Value::from(&self.session), Value::from(&self.application));
        set_item(db, sql, uid, application, &self.key, &self.value).await?;
        check(db, sql, self.session, &self.application, &self.limits).await?;
        Ok(Keep(ReplaceOutcome::Done))
    }
}

impl ReplaceItem {
    /// The longest text that is looked at.
    pub(super) fn longest(&self) -> usize {
        let expected = self.expected.as_ref().map_or(0, |expected| expected.len());
        expected.max(self.limits.value_bytes)
    }

    /// The item as it is, which may be compared and handed out if it is within the limits.
    async fn stored<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> Result<Option<Arc<str>>, Failure> {
        let values = [
            Value::from(self.longest()),
            Value::from(&self.session),
            Value::from(&self.application),
            Value::Bytes(Some(self.key.as_bytes())),
        ];
        let read = |row: &C::Row| Ok((size(row.number(0)?), row.text(1)?.map(Arc::from)));
        match db.fetch_optional(&sql.item, &values, read).await? {
            None => Ok(None),
            Some((_, Some(text))) => Ok(Some(text)),
            Some((length, None)) => {
                self.limits.check([(self.key.len(), length)])?;
                Err(Failure::corrupt("an item has no value"))
            }
        }
    }
}

impl Write for Destroy {
    type Answer = Vec<SessionRef>;

    async fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> Result<Outcome<Vec<SessionRef>>, Failure> {
        let mut ended = Vec::new();
        for sessions in self.sessions.chunks(NAMED_AT_ONCE) {
            let (keys, references) = named(sessions);
            let values: Vec<_> = keys.into_iter().chain(references).collect();
            let found = db.fetch_all(&sql.lock_named, &values, session_of).await?;
            delete(db, sql, &found).await?;
            ended.extend(found);
        }
        Ok(Keep(ended))
    }
}

impl Write for EndWhere {
    type Answer = Vec<SessionRef>;

    async fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> Result<Outcome<Vec<SessionRef>>, Failure> {
        let principal = [Value::Text(Some(&self.principal))];
        let theirs = db.fetch_all(&sql.lock_principals, &principal, record).await?;
        let chosen = self.choose(theirs);
        delete(db, sql, &chosen).await?;
        Ok(Keep(chosen))
    }
}

impl Write for Cleanup {
    type Answer = u64;

    async fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> Result<Outcome<u64>, Failure> {
        let values = [
            self.from.as_millis().into(),
            self.until.as_millis().into(),
            i64::from(self.limit).into(),
        ];
        Ok(Keep(db.execute(&sql.delete_expired, &values).await?))
    }
}

/// Stores a session, unless its key or reference is taken.
async fn insert<C: Connection>(
    db: &mut C,
    sql: &Statements,
    record: &SessionRecord,
) -> Result<bool, Failure> {
    let key = Value::from(&record.key);
    let values: Vec<_> = record_values(record).into_iter().chain([key, key]).collect();
    match db.execute(&sql.insert, &values).await {
        Ok(inserted) => Ok(inserted == 1),
        Err(failure) if failure.is_taken() => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// The session that a locator names as its current key or reference, which others may not change
/// before the end of the transaction.
async fn current<C: Connection>(
    db: &mut C,
    sql: &Statements,
    locator: &Locator,
) -> Result<Option<SessionRecord>, Failure> {
    match locator {
        Locator::Key(key) => db.fetch_optional(&sql.lock_by_key, &[key.into()], record).await,
        Locator::Ref(session) => {
            db.fetch_optional(&sql.lock_by_uid, &[session.into()], record).await
        }
    }
}

enum Presented {
    Live(Box<SessionRecord>),
    Rotated,
    None,
}

/// What the key that a visitor presented stands for.
async fn presented<C: Connection>(
    db: &mut C,
    sql: &Statements,
    key: &SessionKey,
    retired_after: Timestamp,
    now: Timestamp,
) -> Result<Presented, Failure> {
    let asked = Value::from(key);
    let found = db.fetch_optional(&sql.lock_presented, &[asked, asked], record).await?;
    Ok(match found.filter(|record| record.is_live(now)) {
        Some(record) if record.key == *key => Presented::Live(Box::new(record)),
        Some(record) if record.rotated.is_some_and(|at| at > retired_after) => Presented::Rotated,
        _ => Presented::None,
    })
}

async fn store<C: Connection>(
    db: &mut C,
    sql: &Statements,
    session: SessionRef,
    changes: &ApplicationChanges,
) -> Result<(), Failure> {
    let (uid, application) = (Value::from(&session), Value::from(&changes.application));
    if changes.empty {
        db.execute(&sql.empty_application, &[uid, application]).await?;
    }
    for (key, value) in &changes.items {
        match value {
            Some(value) => set_item(db, sql, uid, application, key, value).await?,
            None => {
                let key = Value::Bytes(Some(key.as_bytes()));
                db.execute(&sql.delete_item, &[uid, application, key]).await?;
            }
        }
    }
    Ok(())
}

async fn set_item<C: Connection>(
    db: &mut C,
    sql: &Statements,
    uid: Value<'_>,
    application: Value<'_>,
    key: &str,
    value: &str,
) -> Result<(), Failure> {
    let values = [uid, application, Value::Bytes(Some(key.as_bytes())), Value::Text(Some(value))];
    // A row that is replaced counts as one or as two.
    match db.execute(&sql.set_item, &values).await? {
        0 => Err(vanished().into()),
        _ => Ok(()),
    }
}

/// Checks what an application holds against the limits.
async fn check<C: Connection>(
    db: &mut C,
    sql: &Statements,
    session: SessionRef,
    application: &ApplicationName,
    limits: &Limits,
) -> Result<(), Failure> {
    let values = [Value::from(&session), Value::from(application)];
    let read = |row: &C::Row| Ok((row.number(0)?, row.number(1)?, row.number(2)?));
    let totals = db.fetch_optional(&sql.totals, &values, read).await?;
    let (count, bytes, longest) = totals.unwrap_or_default();
    Ok(limits.check_totals(count, bytes, longest)?)
}

/// Removes sessions that are locked, with their items.
async fn delete<C: Connection>(
    db: &mut C,
    sql: &Statements,
    sessions: &[SessionRef],
) -> Result<(), Failure> {
    for session in sessions {
        db.execute(&sql.delete, &[session.into()]).await?;
    }
    Ok(())
}

/// A row was not written, for which only a change of the tables from outside can be the cause.
fn vanished() -> DriverError {
    DriverError::new(DriverErrorKind::Other, "a row could not be written")
}
