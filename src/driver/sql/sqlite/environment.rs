//! Making, checking and removing the tables.

use std::borrow::Cow;

use sqlx::{Row, SqliteConnection};

use super::statements::Statements;
use super::storage::Outcome::{self, Keep};
use super::storage::{Storage, Write};
use crate::driver::sql::{Failure, Found, Survey};
use crate::driver::{DriverError, DriverErrorKind, EnvironmentState, OnMissing};

/// [`Driver::create_environment`](crate::Driver::create_environment).
pub(super) struct CreateEnvironment;

/// [`Driver::ensure_environment`](crate::Driver::ensure_environment).
pub(super) struct EnsureEnvironment;

/// [`Driver::remove_environment`](crate::Driver::remove_environment).
pub(super) struct RemoveEnvironment(pub(super) OnMissing);

pub(super) async fn state(storage: &Storage) -> Result<EnvironmentState, Failure> {
    let mut db = storage.reader().await?;
    let survey = survey(&mut db, &storage.statements).await?;
    Ok(survey.state(&storage.statements.structures))
}

impl Write for CreateEnvironment {
    type Answer = ();

    async fn run(
        &self,
        db: &mut SqliteConnection,
        sql: &Statements,
    ) -> Result<Outcome<()>, Failure> {
        let survey = survey(db, sql).await?;
        if survey.existing > 0 {
            return Err(refuse(
                DriverErrorKind::EnvironmentExists,
                "nothing was changed; `ensure_session_environment` makes what is missing",
            ));
        }
        create(db, sql, &survey).await
    }
}

impl Write for EnsureEnvironment {
    type Answer = ();

    async fn run(
        &self,
        db: &mut SqliteConnection,
        sql: &Statements,
    ) -> Result<Outcome<()>, Failure> {
        let survey = survey(db, sql).await?;
        match survey.defect {
            Some(defect) => Err(refuse(DriverErrorKind::EnvironmentDefective, defect)),
            None => create(db, sql, &survey).await,
        }
    }
}

impl Write for RemoveEnvironment {
    type Answer = ();

    async fn run(
        &self,
        db: &mut SqliteConnection,
        sql: &Statements,
    ) -> Result<Outcome<()>, Failure> {
        let survey = survey(db, sql).await?;
        if self.0 == OnMissing::Error && !survey.missing.is_empty() {
            let missing = survey.missing_names(&sql.structures).join(", ");
            return Err(refuse(
                DriverErrorKind::EnvironmentMissing,
                format!("nothing was removed, as these do not exist: {missing}"),
            ));
        }
        for drop in &sql.drops {
            sqlx::query(drop).execute(&mut *db).await?;
        }
        Ok(Keep(()))
    }
}

/// Makes the structures that are missing.
async fn create(
    db: &mut SqliteConnection,
    sql: &Statements,
    survey: &Survey,
) -> Result<Outcome<()>, Failure> {
    let missing = survey.missing.iter().filter_map(|at| sql.structures.get(*at));
    for statement in missing.flat_map(|structure| &structure.create) {
        sqlx::query(statement).execute(&mut *db).await?;
    }
    Ok(Keep(()))
}

async fn survey(db: &mut SqliteConnection, sql: &Statements) -> Result<Survey, Failure> {
    let mut found: Vec<Found> = Vec::new();
    for row in sqlx::query(&sql.survey).fetch_all(&mut *db).await? {
        let name: String = row.try_get(0)?;
        if found.last().is_none_or(|last| last.name != name) {
            found.push(Found {
                name,
                kind: row.try_get(1)?,
                table: row.try_get(2)?,
                columns: Vec::new(),
            });
        }
        if let (Some(last), Some(column)) = (found.last_mut(), row.try_get(3)?) {
            last.columns.push((column, row.try_get(4)?, row.try_get(5)?));
        }
    }
    let mut survey = Survey::new(&sql.structures, &found);
    if survey.defect.is_none() && found.iter().any(|found| found.name.ends_with("_version")) {
        let rows = sqlx::query(&sql.version).fetch_all(db).await?;
        let versions = rows.iter().map(|row| row.try_get(0));
        survey.set_versions(&versions.collect::<Result<Vec<i64>, _>>()?);
    }
    Ok(survey)
}

fn refuse(kind: DriverErrorKind, message: impl Into<Cow<'static, str>>) -> Failure {
    DriverError::new(kind, message).into()
}
