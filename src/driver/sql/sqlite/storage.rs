//! The connections to one database, and how a call uses them.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Sqlite, SqlitePool};
use tokio::time::{Instant, timeout_at};

use super::error::{is_constraint, is_plain_error, report};
use super::statements::statements;
use crate::driver::sql::{
    Answer, AtDeadline, Call, Connection, EnvironmentName, Failure, IfUnsound, Lane, Lease, Leases,
    Loading, Lone, Outcome, Place, PoolOf, Read, Reply, Run, Statements, Together, Work, Write,
    WriteGroup, Writing, lane_of_loads, load_shared, write_at_once, write_shared,
};
use crate::driver::{DriverError, DriverFuture, Found, Load};

/// How long a call waits, unless told otherwise.
pub(super) const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The thread of a connection answers most lone calls within this time.
const AWAKE_FOR: Duration = Duration::from_micros(100);

/// What the clones of a driver share.
pub(super) struct SqliteStorage {
    /// For messages: the file as it stands in the URL, or `:memory:`.
    pub(super) file: PathBuf,
    pub(super) environment: EnvironmentName,
    pub(super) statements: Statements,
    loads: Arc<Lane<Loading>>,
    /// The calls that write, so that those of this process wait for each other and not for a lock.
    writes: Arc<Lane<Turn>>,
    /// How long a call waits for its turn and a connection, at most.
    pub(super) patience: Duration,
    /// One connection.
    pub(super) writer: Arc<Leases<Sqlite>>,
    /// The writer itself for a database in memory, which no other connection sees.
    pub(super) readers: Arc<Leases<Sqlite>>,
}

impl SqliteStorage {
    /// A storage in a pool of the application's, with the default settings.
    pub(super) fn new(pool: SqlitePool) -> Self {
        let leases = leases(pool, PoolOf::Application);
        Self::with(leases.clone(), leases, EnvironmentName::default(), DEFAULT_BUSY_TIMEOUT)
    }

    pub(super) fn with(
        writer: Arc<Leases<Sqlite>>,
        readers: Arc<Leases<Sqlite>>,
        environment: EnvironmentName,
        patience: Duration,
    ) -> Self {
        Self {
            file: writer.connect_options().get_filename().to_owned(),
            statements: statements(&environment),
            environment,
            loads: Arc::new(lane_of_loads(readers.most(), Lone::WithCaller).awake_for(AWAKE_FOR)),
            writes: Arc::new(Lane::new(1, Lone::OnTask).awake_for(AWAKE_FOR)),
            patience,
            writer,
            readers,
        }
    }

    /// Runs a call that reads inside the caller's future: one statement at a time, whose future may
    /// be dropped.
    pub(super) fn read<R: Read>(self: &Arc<Self>, call: R) -> DriverFuture<R::Answer> {
        let storage = self.clone();
        DriverFuture::new(async move {
            storage.reading(&call).await.map_err(|failure| storage.error(failure))
        })
    }

    /// Runs a call that writes when its turn has come, on a task of its own, so that it ends even if
    /// nobody waits for it: a call that is given up has either not begun, or is over before any later
    /// one begins.
    pub(super) fn write<W: Write>(self: &Arc<Self>, call: W) -> DriverFuture<W::Answer> {
        let storage = self.clone();
        DriverFuture::new(async move {
            let deadline = Instant::now() + storage.patience;
            let waiting = |reply: Reply<_>| {
                let begun = storage.clone();
                let run = async move {
                    let _ = reply.send(begun.write_alone(&call, deadline).await);
                };
                Turn::Alone(Box::pin(run))
            };
            let answer = storage.writes.call(&storage, deadline, AtDeadline::Wait, waiting).await;
            answer.unwrap_or_else(|unanswered| Err(storage.no_answer(unanswered)))
        })
    }

    async fn write_alone<W: Write>(
        &self,
        call: &W,
        deadline: Instant,
    ) -> Result<W::Answer, DriverError> {
        let answer = match self.writer_by(deadline).await {
            Ok(connection) => self.transaction(connection, call).await,
            Err(failure) => Err(failure),
        };
        answer.map_err(|failure| self.error(failure))
    }

    /// Writes in one transaction. `None` for a call that has to be run alone, and no answer at all if all
    /// have to.
    async fn writing_together(
        &self,
        calls: &[&Call],
        deadline: Instant,
    ) -> Result<Vec<Option<Answer>>, Failure> {
        let (mut lease, sql) = (self.writer_by(deadline).await?, &self.statements);
        // Then it begins a transaction; else it is one statement.
        let only_creates = calls.iter().all(|call| call.creates());
        if !only_creates && !lease.has_no_transaction() {
            // What is stored would be a part of a transaction that somebody has left open.
            lease = without_transaction(lease, sql).await?;
        }
        match write_at_once(&mut *lease, sql, calls).await {
            Ok(Some(answers)) => {
                lease.note_that_no_transaction_is_open();
                lease.done();
                return Ok(answers);
            }
            Ok(None) => {}
            Err(failure) => {
                rollback(lease, sql).await;
                // What was stored must not be stored again: others may have written meanwhile.
                let is_refused = match &failure {
                    Failure::Sqlx(error) => {
                        is_constraint(error) || (only_creates && is_plain_error(error))
                    }
                    _ => false,
                };
                return if is_refused { Ok(Vec::new()) } else { Err(failure) };
            }
        }
        lease = begin(lease, sql).await?;
        let answers = write_shared(&mut *lease, sql, calls).await;
        if let Ok(Some(answers)) = answers {
            return commit(lease, sql).await.map(|()| answers);
        }
        rollback(lease, sql).await;
        // What SQLite has refused is tried call by call, and told to the one that it concerns.
        Ok(Vec::new())
    }

    async fn reading<R: Read>(&self, call: &R) -> Result<R::Answer, Failure> {
        let mut lease = self.readers.lease().await?;
        let answer = call.run(&mut *lease, &self.statements).await?;
        lease.done();
        Ok(answer)
    }

    async fn loading(&self, loads: &[&Load]) -> Result<Vec<Option<Vec<Found>>>, Failure> {
        let mut lease = self.readers.lease().await?;
        let found = load_shared(&mut *lease, &self.statements, loads).await?;
        lease.done();
        Ok(found)
    }

    /// The connection that writes. A database in memory may be read on it.
    async fn writer_by(&self, deadline: Instant) -> Result<Lease<'_, Sqlite>, Failure> {
        let lease = timeout_at(deadline, self.writer.lease()).await;
        Ok(lease.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
    }

    async fn transaction<W: Write>(
        &self,
        lease: Lease<'_, Sqlite>,
        call: &W,
    ) -> Result<W::Answer, Failure> {
        let sql = &self.statements;
        let mut lease = begin(lease, sql).await?;
        let answer = match call.run(&mut *lease, sql).await {
            Ok(Outcome::Keep(answer)) => return commit(lease, sql).await.map(|()| answer),
            Ok(Outcome::Undo(answer)) => Ok(answer),
            Err(failure) => Err(failure),
        };
        rollback(lease, sql).await;
        answer
    }

    /// The error for the caller, which names the file.
    pub(super) fn error(&self, failure: Failure) -> DriverError {
        let place = self.file.to_string_lossy();
        failure.redact(&place, |error| report(error, &self.file))
    }
}

/// Takes the write lock at once: a transaction that read first could not wait for it.
async fn begin<'a>(
    mut lease: Lease<'a, Sqlite>,
    sql: &Statements,
) -> Result<Lease<'a, Sqlite>, sqlx::Error> {
    match lease.script(&sql.begin).await {
        // Another is open, left behind by a task that was stopped and has not answered.
        Err(error) if is_plain_error(&error) => {
            lease = without_transaction(lease, sql).await?;
            lease.script(&sql.begin).await?;
        }
        begun => begun?,
    }
    Ok(lease)
}

async fn commit(mut lease: Lease<'_, Sqlite>, sql: &Statements) -> Result<(), Failure> {
    match lease.script(&sql.commit).await {
        Ok(()) => {
            lease.note_that_no_transaction_is_open();
            lease.done();
            Ok(())
        }
        Err(error) => {
            rollback(lease, sql).await;
            Err(error.into())
        }
    }
}

/// Ends the transaction. A connection on which that fails is closed, not used again.
async fn rollback(lease: Lease<'_, Sqlite>, sql: &Statements) {
    if let Ok(lease) = without_transaction(lease, sql).await {
        lease.done();
    }
}

/// Rolls back what is open. A connection on which that fails is closed.
async fn without_transaction<'a>(
    mut lease: Lease<'a, Sqlite>,
    sql: &Statements,
) -> Result<Lease<'a, Sqlite>, sqlx::Error> {
    match lease.script(&sql.rollback).await {
        // A plain error says that none is open: SQLite rolls back by itself when the disk is full.
        Err(error) if !is_plain_error(&error) => {
            lease.close();
            Err(error)
        }
        _ => {
            lease.note_that_no_transaction_is_open();
            Ok(lease)
        }
    }
}

/// The connections of a pool.
pub(super) fn leases(pool: SqlitePool, pool_of: PoolOf) -> Arc<Leases<Sqlite>> {
    // A connection that is closed may be the last one to a database in memory.
    Leases::new(pool, pool_of, IfUnsound::GiveBack)
}

impl Run<Loading> for SqliteStorage {
    async fn run(self: Arc<Self>, batch: Vec<Loading>) {
        let loads: Vec<_> = batch.iter().map(|loading| &loading.call).collect();
        // What SQLite has refused is tried load by load, and told to the one that it concerns.
        let found = self.loading(&loads).await.unwrap_or_default();
        for loading in Loading::answer_all(batch, Ok(found)) {
            let found = timeout_at(loading.deadline, self.read(loading.call)).await;
            let _ = loading.reply.send(found.unwrap_or_else(|_| Err(self.timed_out())));
        }
    }
}

/// What waits for its turn to write.
pub(super) enum Turn {
    Shared(Writing),
    /// It goes alone, after those in front and before those behind it.
    Alone(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl From<Writing> for Turn {
    fn from(writing: Writing) -> Self {
        Self::Shared(writing)
    }
}

impl Work for Turn {
    type Group = TurnGroup;

    fn place(&self, group: &mut TurnGroup) -> Place {
        match (&mut *group, self) {
            (TurnGroup::Alone, _) | (TurnGroup::Shared(_), Self::Alone(_)) => Place::Ends,
            (TurnGroup::Shared(shared), Self::Shared(writing)) => writing.place_among_all(shared),
            (TurnGroup::Empty, Self::Alone(_)) => {
                *group = TurnGroup::Alone;
                Place::Joins
            }
            (TurnGroup::Empty, Self::Shared(writing)) => {
                let mut shared = WriteGroup::default();
                let place = writing.place_among_all(&mut shared);
                *group = TurnGroup::Shared(shared);
                place
            }
        }
    }
}

/// What goes together.
#[derive(Default)]
pub(super) enum TurnGroup {
    #[default]
    Empty,
    Shared(WriteGroup),
    Alone,
}

impl Run<Turn> for SqliteStorage {
    async fn run(self: Arc<Self>, batch: Vec<Turn>) {
        let mut shared = Vec::with_capacity(batch.len());
        for turn in batch {
            match turn {
                Turn::Alone(run) => run.await,
                Turn::Shared(writing) => shared.push(writing),
            }
        }
        let calls: Vec<_> = shared.iter().map(|writing| &writing.call).collect();
        let Some(deadline) = shared.iter().map(|writing| writing.deadline).min() else { return };
        let answers = self.writing_together(&calls, deadline).await;
        let answers = answers.map_err(|failure| self.error(failure));
        for Writing { call, deadline, reply } in Writing::answer_all(shared, answers) {
            let _ = reply.send(self.write_alone(&call, deadline).await);
        }
    }
}

impl Together for SqliteStorage {
    type Turn = Turn;

    fn loads(&self) -> &Arc<Lane<Loading>> {
        &self.loads
    }

    fn writes(&self) -> &Arc<Lane<Turn>> {
        &self.writes
    }

    fn patience(&self) -> (Duration, AtDeadline) {
        (self.patience, AtDeadline::Wait)
    }

    fn timed_out(&self) -> DriverError {
        self.error(sqlx::Error::PoolTimedOut.into())
    }
}
