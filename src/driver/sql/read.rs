//! The calls that read.

use super::environment::{lock, survey, unlock};
use super::rows::{Loading, NAMED_AT_ONCE, named, record};
use super::{Connection, Failure, Read, Statements, Value};
use crate::driver::{
    ApplicationName, DriverError, DriverErrorKind, EnvironmentState, Found, Inspect, List, Load,
    Locator, SessionRecord,
};

/// [`Driver::environment`](crate::Driver::environment).
pub(super) struct ReadEnvironment;

impl Read for Load {
    type Answer = Vec<Found>;

    async fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> Result<Vec<Found>, Failure> {
        if self.sessions.len() > NAMED_AT_ONCE {
            return Err(too_many().into());
        }
        let (keys, references) = named(&self.sessions);
        let application = self.application.as_ref().map(ApplicationName::as_str);
        let mut values = vec![Value::from(self.limits.value_bytes), Value::Text(application)];
        for part in [keys, keys, references] {
            values.extend(part);
        }
        let mut found: Vec<Loading> = Vec::with_capacity(1);
        db.fetch(&sql.load, &values, |row| {
            let session = super::rows::session(row)?;
            let known = found.iter().position(|found| found.record.session == session);
            let at = match known {
                Some(at) => at,
                None => {
                    found.push(Loading::new(record(row)?));
                    found.len() - 1
                }
            };
            match found.get_mut(at) {
                Some(loading) => loading.take(row, &self.limits).map(drop),
                None => Ok(()),
            }
        })
        .await?;
        let found = found.into_iter().map(Loading::finish);
        Ok(found.map(|(session, items)| Found::new(session, items)).collect())
    }
}

impl Read for Inspect {
    type Answer = Option<SessionRecord>;

    async fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> Result<Option<SessionRecord>, Failure> {
        match &self.session {
            Locator::Key(key) => db.fetch_optional(&sql.by_key, &[key.into()], record).await,
            Locator::Ref(session) => {
                db.fetch_optional(&sql.by_uid, &[session.into()], record).await
            }
        }
    }
}

impl Read for List {
    type Answer = Vec<SessionRecord>;

    async fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> Result<Vec<SessionRecord>, Failure> {
        let values = [Value::Text(Some(&self.principal)), self.now.as_millis().into()];
        db.fetch_all(&sql.list, &values, record).await
    }
}

impl Read for ReadEnvironment {
    type Answer = EnvironmentState;

    async fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> Result<EnvironmentState, Failure> {
        // Where a change of the structures is not one step, it is not looked at half-way.
        lock(db, sql).await?;
        let survey = survey(db, sql).await;
        unlock(db, sql).await?;
        Ok(survey?.state(&sql.environment.structures))
    }
}

fn too_many() -> DriverError {
    DriverError::new(DriverErrorKind::Other, "a load names at most four sessions")
}
