//! The calls that write, each as it runs inside its transaction.

use std::sync::Arc;

use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};
use sqlx::{Row, SqliteConnection};

use super::read::{check, current, record};
use super::statements::Statements;
use super::storage::Outcome::{Keep, Undo};
use super::storage::{Outcome, Write};
use crate::clock::Timestamp;
use crate::driver::sql::{Failure, decode_ref};
use crate::driver::{
    ApplicationChanges, Cleanup, Commit, CommitOutcome, Create, CreateOutcome, Destroy,
    DriverError, DriverErrorKind, EndWhere, Locator, ReplaceItem, ReplaceOutcome, SessionRecord,
    Target,
};
use crate::id::{SessionKey, SessionRef};

impl Write for Create {
    type Answer = CreateOutcome;

    async fn run(
        &self,
        db: &mut SqliteConnection,
        sql: &Statements,
    ) -> Result<Outcome<CreateOutcome>, Failure> {
        Ok(match insert(db, sql, &self.session).await? {
            true => Keep(CreateOutcome::Done),
            false => Undo(CreateOutcome::Collision),
        })
    }
}

impl Write for Commit {
    type Answer = CommitOutcome;

    async fn run(
        &self,
        db: &mut SqliteConnection,
        sql: &Statements,
    ) -> Result<Outcome<CommitOutcome>, Failure> {
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
    async fn create(
        &self,
        db: &mut SqliteConnection,
        sql: &Statements,
        record: &SessionRecord,
    ) -> Result<Outcome<CommitOutcome>, Failure> {
        let mut record = record.clone();
        self.session.apply_to_created(&mut record);
        if !insert(db, sql, &record).await? {
            return Ok(Undo(CommitOutcome::Collision));
        }
        self.store_items(db, sql, record.session).await?;
        Ok(Keep(CommitOutcome::Done(record)))
    }

    async fn apply(
        &self,
        db: &mut SqliteConnection,
        sql: &Statements,
        mut record: SessionRecord,
    ) -> Result<Outcome<CommitOutcome>, Failure> {
        self.store_items(db, sql, record.session).await?;
        if let Some(key) = self.session.key {
            let query = sqlx::query(&sql.taken).bind(key.as_bytes().as_slice());
            if query.fetch_optional(&mut *db).await?.is_some() {
                return Ok(Undo(CommitOutcome::Collision));
            }
        }
        if !self.session.is_empty() {
            self.session.apply(&mut record, self.now);
            let updated = bind(sqlx::query(&sql.update), &record).execute(db).await?;
            if updated.rows_affected() != 1 {
                return Err(vanished().into());
            }
        }
        Ok(Keep(CommitOutcome::Done(record)))
    }

    async fn store_items(
        &self,
        db: &mut SqliteConnection,
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

    async fn run(
        &self,
        db: &mut SqliteConnection,
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
        let uid = self.session.as_uuid().as_bytes().as_slice();
        let application = &self.application;
        set_item(db, sql, uid, application.as_str(), &self.key, &self.value).await?;
        check(db, sql, self.session, application, &self.limits).await?;
        Ok(Keep(ReplaceOutcome::Done))
    }
}

impl ReplaceItem {
    /// The item as it is, which may be compared and handed out if it is within the limits.
    async fn stored(
        &self,
        db: &mut SqliteConnection,
        sql: &Statements,
    ) -> Result<Option<Arc<str>>, Failure> {
        let longest = self.expected.as_ref().map_or(0, |expected| expected.len());
        let longest = longest.max(self.limits.value_bytes);
        let query = sqlx::query(&sql.item)
            .bind(self.session.as_uuid().as_bytes().as_slice())
            .bind(self.application.as_str())
            .bind(self.key.as_bytes())
            .bind(i64::try_from(longest).unwrap_or(i64::MAX));
        let Some(row) = query.fetch_optional(db).await? else {
            return Ok(None);
        };
        match row.try_get::<Option<&str>, _>(1)? {
            Some(value) => Ok(Some(value.into())),
            None => {
                let length: i64 = row.try_get(0)?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                self.limits.check([(self.key.len(), length)])?;
                Err(Failure::corrupt("an item has no value"))
            }
        }
    }
}

impl Write for Destroy {
    type Answer = Vec<SessionRef>;

    async fn run(
        &self,
        db: &mut SqliteConnection,
        sql: &Statements,
    ) -> Result<Outcome<Vec<SessionRef>>, Failure> {
        let mut ended = Vec::new();
        for locator in &self.sessions {
            let query = match locator {
                Locator::Key(key) => {
                    sqlx::query(&sql.delete_by_key).bind(key.as_bytes().as_slice())
                }
                Locator::Ref(session) => {
                    sqlx::query(&sql.delete_by_uid).bind(session.as_uuid().as_bytes().as_slice())
                }
            };
            ended.extend(returned(query, db).await?);
        }
        Ok(Keep(ended))
    }
}

impl Write for EndWhere {
    type Answer = Vec<SessionRef>;

    async fn run(
        &self,
        db: &mut SqliteConnection,
        sql: &Statements,
    ) -> Result<Outcome<Vec<SessionRef>>, Failure> {
        let except = self.except.as_ref().map(SessionRef::as_uuid);
        let query = sqlx::query(&sql.delete_by_principal)
            .bind(&self.principal)
            .bind(except.map(|uid| uid.as_bytes().as_slice()));
        Ok(Keep(returned(query, db).await?))
    }
}

impl Write for Cleanup {
    type Answer = u64;

    async fn run(
        &self,
        db: &mut SqliteConnection,
        sql: &Statements,
    ) -> Result<Outcome<u64>, Failure> {
        let query = sqlx::query(&sql.delete_expired)
            .bind(self.from.as_millis())
            .bind(self.until.as_millis())
            .bind(i64::from(self.limit));
        Ok(Keep(query.execute(db).await?.rows_affected()))
    }
}

type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Stores a session, unless its key or reference is taken.
async fn insert(
    db: &mut SqliteConnection,
    sql: &Statements,
    record: &SessionRecord,
) -> Result<bool, Failure> {
    let inserted = bind(sqlx::query(&sql.insert), record).execute(db).await;
    match inserted.map_err(Failure::from) {
        Ok(done) => Ok(done.rows_affected() == 1),
        Err(failure) if failure.is_unique_violation() => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Binds the columns of a record, in the order in which they are read.
fn bind<'q>(query: SqliteQuery<'q>, record: &'q SessionRecord) -> SqliteQuery<'q> {
    let previous_key = record.previous_key.as_ref().map(SessionKey::as_bytes);
    query
        .bind(record.session.as_uuid().as_bytes().as_slice())
        .bind(record.key.as_bytes().as_slice())
        .bind(previous_key.map(<[u8; 32]>::as_slice))
        .bind(record.rotated.map(Timestamp::as_millis))
        .bind(record.expires.as_millis())
        .bind(record.ends.as_millis())
        .bind(record.created.as_millis())
        .bind(record.last_used.as_millis())
        .bind(record.cookie_lifetime)
        .bind(record.principal.as_deref())
        .bind(record.note.as_deref())
}

enum Presented {
    Live(Box<SessionRecord>),
    Rotated,
    None,
}

/// What the key that a visitor presented stands for.
async fn presented(
    db: &mut SqliteConnection,
    sql: &Statements,
    key: &SessionKey,
    retired_after: Timestamp,
    now: Timestamp,
) -> Result<Presented, Failure> {
    let query = sqlx::query(&sql.presented).bind(key.as_bytes().as_slice());
    let found = query.fetch_optional(db).await?;
    let found = found.as_ref().map(record).transpose()?;
    Ok(match found.filter(|record| record.is_live(now)) {
        Some(record) if record.key == *key => Presented::Live(Box::new(record)),
        Some(record) if record.rotated.is_some_and(|at| at > retired_after) => Presented::Rotated,
        _ => Presented::None,
    })
}

async fn store(
    db: &mut SqliteConnection,
    sql: &Statements,
    session: SessionRef,
    changes: &ApplicationChanges,
) -> Result<(), Failure> {
    let uid = session.as_uuid().as_bytes().as_slice();
    let application = changes.application.as_str();
    if changes.empty {
        let query = sqlx::query(&sql.empty_application).bind(uid);
        query.bind(application).execute(&mut *db).await?;
    }
    for (key, value) in &changes.items {
        match value {
            Some(value) => set_item(db, sql, uid, application, key, value).await?,
            None => {
                let query = sqlx::query(&sql.delete_item).bind(uid).bind(application);
                query.bind(key.as_bytes()).execute(&mut *db).await?;
            }
        }
    }
    Ok(())
}

async fn set_item(
    db: &mut SqliteConnection,
    sql: &Statements,
    uid: &[u8],
    application: &str,
    key: &str,
    value: &Arc<str>,
) -> Result<(), Failure> {
    let query = sqlx::query(&sql.set_item).bind(uid).bind(application);
    let stored = query.bind(key.as_bytes()).bind(value.clone()).execute(db).await?;
    match stored.rows_affected() {
        1 => Ok(()),
        _ => Err(vanished().into()),
    }
}

/// The references of the sessions that a `DELETE … RETURNING uid` has removed.
async fn returned(
    query: SqliteQuery<'_>,
    db: &mut SqliteConnection,
) -> Result<Vec<SessionRef>, Failure> {
    let rows = query.fetch_all(db).await?;
    rows.iter().map(|row| decode_ref(row.try_get(0)?)).collect()
}

/// A row was not written, for which only a change of the tables from outside can be the cause.
fn vanished() -> DriverError {
    DriverError::new(DriverErrorKind::Other, "a row could not be written")
}
