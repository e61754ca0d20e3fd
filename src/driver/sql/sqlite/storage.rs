//! The connections to one database, and how a call uses them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqlitePool};
use tokio::time::{Instant, timeout_at};

use super::error::{is_plain_error, report};
use super::statements::statements;
use crate::driver::sql::{
    Connection, EnvironmentName, Failure, Outcome, Queue, Read, Statements, Unanswered, Write,
};
use crate::driver::{DriverError, DriverErrorKind, DriverFuture};

/// How long a call waits, unless told otherwise.
pub(super) const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What the clones of a driver share.
pub(super) struct SqliteStorage {
    /// For messages: the file as it stands in the URL, or `:memory:`.
    pub(super) file: PathBuf,
    pub(super) environment: EnvironmentName,
    pub(super) statements: Statements,
    /// The calls that write, so that those of this process wait for each other and not for a lock.
    pub(super) queue: Arc<Queue>,
    /// How long a call waits for its turn and a connection, at most.
    pub(super) patience: Duration,
    /// One connection.
    pub(super) writer: SqlitePool,
    /// The writer itself for a database in memory, which no other connection sees.
    pub(super) readers: SqlitePool,
}

impl SqliteStorage {
    /// A storage in a pool of the application's, with the default settings.
    pub(super) fn new(pool: SqlitePool) -> Self {
        Self::with(pool, EnvironmentName::default(), DEFAULT_BUSY_TIMEOUT)
    }

    /// A storage in a pool that is used for everything.
    pub(super) fn with(pool: SqlitePool, environment: EnvironmentName, patience: Duration) -> Self {
        Self {
            file: pool.connect_options().get_filename().to_owned(),
            statements: statements(&environment),
            environment,
            queue: Arc::new(Queue::default()),
            patience,
            writer: pool.clone(),
            readers: pool,
        }
    }

    /// Runs a call that reads inside the caller's future: one statement at a time, whose future may
    /// be dropped.
    pub(super) fn read<R: Read>(self: &Arc<Self>, call: R) -> DriverFuture<R::Answer> {
        let storage = self.clone();
        DriverFuture::new(async move {
            let answer = match storage.readers.acquire().await {
                Ok(mut connection) => call.run(&mut *connection, &storage.statements).await,
                Err(error) => Err(error.into()),
            };
            answer.map_err(|failure| storage.error(failure))
        })
    }

    /// Runs a call that writes when its turn has come, on a task of its own, so that it ends even if
    /// nobody waits for it: a call that is given up has either not begun, or is over before any later
    /// one begins.
    pub(super) fn write<W: Write>(self: &Arc<Self>, call: W) -> DriverFuture<W::Answer> {
        let storage = self.clone();
        DriverFuture::new(async move {
            let deadline = Instant::now() + storage.patience;
            let begun = storage.clone();
            let run = async move {
                let answer = match begun.writer_by(deadline).await {
                    Ok(connection) => begun.transaction(connection, &call).await,
                    Err(failure) => Err(failure),
                };
                answer.map_err(|failure| begun.error(failure))
            };
            match storage.queue.clone().run(deadline, run).await {
                Ok(answer) => answer,
                Err(Unanswered::TimedOut) => Err(storage.error(sqlx::Error::PoolTimedOut.into())),
                Err(Unanswered::Stopped) => Err(DriverError::new(
                    DriverErrorKind::Other,
                    "the task of the call was stopped",
                )),
            }
        })
    }

    /// The connection that writes. A database in memory may be read on it.
    async fn writer_by(&self, deadline: Instant) -> Result<PoolConnection<Sqlite>, Failure> {
        let acquired = timeout_at(deadline, self.writer.acquire()).await;
        Ok(acquired.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
    }

    async fn transaction<W: Write>(
        &self,
        mut connection: PoolConnection<Sqlite>,
        call: &W,
    ) -> Result<W::Answer, Failure> {
        let sql = &self.statements;
        begin(&mut connection, sql).await?;
        let outcome = call.run(&mut *connection, sql).await;
        let answer = match outcome {
            Ok(Outcome::Keep(answer)) => match connection.script(&sql.commit).await {
                Ok(()) => return Ok(answer),
                Err(error) => Err(error.into()),
            },
            Ok(Outcome::Undo(answer)) => Ok(answer),
            Err(failure) => Err(failure),
        };
        rollback(&mut connection, sql).await;
        answer
    }

    /// The error for the caller, which names the file.
    pub(super) fn error(&self, failure: Failure) -> DriverError {
        let place = self.file.to_string_lossy();
        failure.redact(&place, |error| report(error, &self.file))
    }
}

/// Takes the write lock at once: a transaction that read first could not wait for it.
async fn begin(
    connection: &mut PoolConnection<Sqlite>,
    sql: &Statements,
) -> Result<(), sqlx::Error> {
    let begun = connection.script(&sql.begin).await;
    if begun.as_ref().is_err_and(is_plain_error) {
        // Another is open, left behind by a task that was stopped and has not answered.
        rollback(connection, sql).await;
        return connection.script(&sql.begin).await;
    }
    begun
}

/// Ends the transaction. A connection on which that fails is closed, not used again.
async fn rollback(connection: &mut PoolConnection<Sqlite>, sql: &Statements) {
    let rolled_back = connection.script(&sql.rollback).await;
    // A plain error says that SQLite has rolled back already, as it does when the disk is full.
    if rolled_back.is_err_and(|error| !is_plain_error(&error)) {
        connection.close_on_drop();
    }
}
