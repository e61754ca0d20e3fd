//! The calls that read.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::statements::Statements;
use super::storage::Storage;
use crate::clock::Timestamp;
use crate::driver::sql::{Failure, check_totals, decode_items, decode_key, decode_ref, four};
use crate::driver::{
    ApplicationName, DriverError, DriverErrorKind, Found, Inspect, Limits, List, Load, Locator,
    SessionRecord,
};
use crate::id::SessionRef;

/// The place of the items behind a record.
const ITEMS: usize = 11;

pub(super) async fn load(storage: &Storage, load: &Load) -> Result<Vec<Found>, Failure> {
    let locators = four(&load.sessions)?;
    let bound = |limit: usize| i64::try_from(limit).unwrap_or(i64::MAX);
    let mut query = sqlx::query(&storage.statements.load);
    for locator in &locators {
        query = query.bind(match locator {
            Some(Locator::Key(key)) => Some(key.as_bytes().as_slice()),
            _ => None,
        });
    }
    for locator in &locators {
        query = query.bind(match locator {
            Some(Locator::Ref(session)) => Some(session.as_uuid().as_bytes().as_slice()),
            _ => None,
        });
    }
    let query = query
        .bind(load.application.as_ref().map(ApplicationName::as_str))
        .bind(bound(load.limits.items))
        .bind(bound(load.limits.application_bytes))
        .bind(bound(load.limits.value_bytes));
    let mut db = storage.reader().await?;
    let mut found = Vec::with_capacity(1);
    for row in query.fetch_all(&mut *db).await? {
        let record = record(&row)?;
        let items = match row.try_get(ITEMS)? {
            Some(items) => decode_items(items)?,
            None => {
                let limits = &load.limits;
                let Some(application) = &load.application else {
                    return Err(too_large().into());
                };
                check(&mut db, &storage.statements, record.session, application, limits).await?;
                // It has shrunk since, and was too large when it was asked for.
                return Err(too_large().into());
            }
        };
        found.push(Found::new(record, items));
    }
    Ok(found)
}

pub(super) async fn inspect(
    storage: &Storage,
    inspect: &Inspect,
) -> Result<Option<SessionRecord>, Failure> {
    let mut db = storage.reader().await?;
    current(&mut db, &storage.statements, &inspect.session).await
}

pub(super) async fn list(storage: &Storage, list: &List) -> Result<Vec<SessionRecord>, Failure> {
    let mut db = storage.reader().await?;
    let query =
        sqlx::query(&storage.statements.list).bind(&list.principal).bind(list.now.as_millis());
    let rows = query.fetch_all(&mut *db).await?;
    rows.iter().map(record).collect()
}

/// The session that a locator names as its current key or reference.
pub(super) async fn current(
    db: &mut SqliteConnection,
    sql: &Statements,
    locator: &Locator,
) -> Result<Option<SessionRecord>, Failure> {
    let query = match locator {
        Locator::Key(key) => sqlx::query(&sql.by_key).bind(key.as_bytes().as_slice()),
        Locator::Ref(session) => {
            sqlx::query(&sql.by_uid).bind(session.as_uuid().as_bytes().as_slice())
        }
    };
    query.fetch_optional(db).await?.as_ref().map(record).transpose()
}

/// Checks what an application holds against the limits.
pub(super) async fn check(
    db: &mut SqliteConnection,
    sql: &Statements,
    session: SessionRef,
    application: &ApplicationName,
    limits: &Limits,
) -> Result<(), Failure> {
    let query = sqlx::query(&sql.totals)
        .bind(session.as_uuid().as_bytes().as_slice())
        .bind(application.as_str());
    let row = query.fetch_one(db).await?;
    let totals = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(check_totals(limits, totals)?)
}

/// Reads the columns of a record.
pub(super) fn record(row: &SqliteRow) -> Result<SessionRecord, Failure> {
    let time = |at: usize| row.try_get(at).map(Timestamp::from_millis);
    let mut record = SessionRecord::new(
        decode_ref(row.try_get(0)?)?,
        decode_key(row.try_get(1)?)?,
        time(6)?,
        time(5)?,
    );
    record.previous_key = row.try_get::<Option<_>, _>(2)?.map(decode_key).transpose()?;
    record.rotated = row.try_get::<Option<_>, _>(3)?.map(Timestamp::from_millis);
    record.expires = time(4)?;
    record.last_used = time(7)?;
    record.cookie_lifetime = row.try_get(8)?;
    record.principal = row.try_get(9)?;
    record.note = row.try_get(10)?;
    Ok(record)
}

fn too_large() -> DriverError {
    DriverError::new(DriverErrorKind::TooLarge, "an application holds more than is allowed")
}
