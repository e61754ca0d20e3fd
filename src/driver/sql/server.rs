//! What is special to a server, and how a call uses a connection to one: on a task of its own, within a bounded
//! time.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::future::{join, join_all};
use sqlx::error::DatabaseError;
use sqlx::{Database, Pool};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};

use super::url::Scheme;
use super::{
    Answer, AtDeadline, Call, Connection, Failure, Lane, Lease, Leases, Loading, Outcome, PoolOf,
    Read, Report, Run, SetUp, Statements, Together, Write, Writing, load_shared, write_at_once,
    write_shared,
};
use crate::driver::{DriverError, DriverErrorKind, DriverFuture, Found, Load};
use crate::sync::Mutex;

mod settings;

pub(super) use settings::{Settings, Source};

/// How long a call may take, unless told otherwise.
pub(super) const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The options of a connection to one kind of server.
pub(super) type Options<S> =
    <<<S as Server>::Database as Database>::Connection as sqlx::Connection>::Options;

/// What is special to one kind of server.
pub(super) trait Server: Send + Sync + 'static {
    type Database: Database<Connection: Connection>;

    /// What its URLs look like.
    const SCHEME: Scheme;

    /// Where the database is, without user and password.
    fn place(options: &Options<Self>) -> String;

    /// Bounds what the server does for the connections of a driver's own pool, as far as options can.
    fn bound(options: Options<Self>, call_timeout: Duration) -> Options<Self>;

    /// The options of a connection that only writes in batches, where a whole transaction can be one trip.
    fn for_writes(options: Options<Self>, call_timeout: Duration) -> Option<Options<Self>>;

    /// What may be said of an error of the server.
    fn report(error: &dyn DatabaseError) -> Report;

    /// Whether a transaction was rolled back because others were in its way, so that it may be run
    /// again.
    fn is_conflict(error: &dyn DatabaseError) -> bool;

    /// Whether the server, or a pooler, has ended the connection. What became of a statement is not known.
    fn is_goodbye(error: &dyn DatabaseError) -> bool;

    /// Whether the server has ended the connection instead of running the statement.
    fn was_not_run(error: &dyn DatabaseError) -> bool;
}

/// What the clones of a driver share.
pub(super) struct Storage<S: Server> {
    /// For messages: where the database is, without user and password.
    pub(super) place: String,
    statements: Statements,
    /// How long a call may take, from asking for a connection to the last answer.
    call_timeout: Duration,
    leases: Arc<Leases<S::Database>>,
    writers: Writers<S::Database>,
    loads: Arc<Lane<Loading>>,
    writes: Arc<Lane<Writing>>,
}

/// The connections of the writes in batches, which run as many batches at the same time.
pub(super) struct Writers<D: Database> {
    pub(super) first: Writer<D>,
    /// While one batch waits for the disk or is taken up, the server works on the other.
    pub(super) second: Option<Writer<D>>,
    /// Held by the batch that has the first. There are two at most, so the other one has the second to itself.
    first_is_taken: tokio::sync::Mutex<()>,
    /// When a connection of one was last found lost, and that of the other may be as well.
    lost: Mutex<Option<Instant>>,
}

impl<D: Database> Writers<D> {
    pub(super) fn new(first: Writer<D>, second: Option<Writer<D>>) -> Self {
        Self {
            first,
            second,
            first_is_taken: tokio::sync::Mutex::default(),
            lost: Mutex::default(),
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Writer<D>> {
        [Some(&self.first), self.second.as_ref()].into_iter().flatten()
    }
}

/// A connection of the writes in batches.
pub(super) struct Writer<D: Database> {
    leases: Arc<Leases<D>>,
    /// Whether a whole transaction can be one trip on the latest that was opened.
    is_set_up: Arc<AtomicBool>,
}

impl<S: Server> Storage<S> {
    /// In a pool of the application's, with the default settings.
    pub(super) fn new(pool: Pool<S::Database>, statements: Statements) -> Self {
        let settings = Settings::new(Source::Pool(pool.clone()));
        settings.storage_in(pool, PoolOf::Application, None, statements)
    }

    /// Waits for the running calls and closes all connections.
    pub(super) async fn close(&self) {
        let writers = self.writers.all().map(|writer| writer.leases.close());
        join(self.leases.close(), join_all(writers)).await;
    }

    pub(super) fn read<R: Read>(self: &Arc<Self>, call: R) -> DriverFuture<R::Answer> {
        let storage = self.clone();
        self.run(move |_, deadline| async move {
            storage.repeat(|| storage.reading(&call, deadline)).await
        })
    }

    pub(super) fn write<W: Write>(self: &Arc<Self>, call: W) -> DriverFuture<W::Answer> {
        let storage = self.clone();
        self.run(move |caller, deadline| async move {
            let is_given_up = || caller.strong_count() == 0;
            storage.repeat(|| storage.writing(&call, &is_given_up, deadline)).await
        })
    }

    /// Runs a call on a task of its own, so that no connection is left in the middle of a statement
    /// when the caller goes away.
    fn run<T, F>(
        self: &Arc<Self>,
        call: impl FnOnce(Weak<()>, Instant) -> F + Send + 'static,
    ) -> DriverFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let storage = self.clone();
        DriverFuture::new(async move {
            let stopped =
                |_| DriverError::new(DriverErrorKind::Other, "the task of the call was stopped");
            let no_runtime =
                |_| DriverError::new(DriverErrorKind::Other, "there is no tokio runtime");
            let caller = Arc::new(());
            let deadline = Instant::now() + storage.call_timeout;
            let call = call(Arc::downgrade(&caller), deadline);
            let bounded = timeout_at(deadline, call);
            let task = Handle::try_current().map_err(no_runtime)?.spawn(bounded);
            match task.await.map_err(stopped)? {
                Ok(answer) => answer.map_err(|failure| storage.error(failure)),
                Err(_) => Err(storage.timed_out()),
            }
        })
    }

    /// Runs an attempt until it is answered or fails for good; the deadline ends it at the latest.
    async fn repeat<T, F>(&self, attempt: impl Fn() -> F + Send + Sync) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        self.repeat_while(Self::is_worth_another, attempt).await
    }

    async fn repeat_while<T, F>(
        &self,
        is_worth_another: fn(&Failure) -> bool,
        attempt: impl Fn() -> F + Send + Sync,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(2))
            .with_max_delay(Duration::from_millis(100))
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            match attempt().await {
                Err(failure) if is_worth_another(&failure) => {
                    sleep(pauses.next().unwrap_or_default()).await;
                }
                answer => return answer,
            }
        }
    }

    /// Nothing was done, and another attempt may succeed. A connection that was lost later is not
    /// worth one: what became of the commit is not known.
    fn is_worth_another(failure: &Failure) -> bool {
        match failure {
            Failure::Sqlx(sqlx::Error::Database(error)) => S::is_conflict(&**error),
            failure => Self::was_not_begun(failure),
        }
    }

    fn was_not_begun(failure: &Failure) -> bool {
        matches!(failure, Failure::NotBegun(error) if Self::is_lost(error))
    }

    fn is_lost(error: &sqlx::Error) -> bool {
        match error {
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
            sqlx::Error::Database(error) => S::is_goodbye(&**error),
            _ => false,
        }
    }

    async fn reading<R: Read>(&self, call: &R, deadline: Instant) -> Result<R::Answer, Failure> {
        let mut lease = lease(&self.leases, deadline).await?;
        let answer = call.run(&mut *lease, &self.statements).await;
        match answer {
            Err(Failure::Sqlx(error)) if Self::is_lost(&error) => Err(Failure::NotBegun(error)),
            // Rows of the answer may still be on their way.
            Err(failure) => Err(failure),
            Ok(answer) => {
                lease.done();
                Ok(answer)
            }
        }
    }

    async fn writing<W: Write>(
        &self,
        call: &W,
        is_given_up: &(impl Fn() -> bool + Sync),
        deadline: Instant,
    ) -> Result<W::Answer, Failure> {
        let mut lease = lease(&self.leases, deadline).await?;
        if is_given_up() {
            lease.done();
            return Err(Failure::given_up());
        }
        let (db, sql) = (&mut *lease, &self.statements);
        db.script(&sql.begin).await.map_err(Failure::NotBegun)?;
        let answer = match call.run(db, sql).await {
            // Whoever gave up sees the state from before: a later call may have been made since.
            Ok(Outcome::Keep(_)) if is_given_up() => Err(Failure::given_up()),
            Ok(Outcome::Keep(answer)) => {
                db.script(&sql.commit).await?;
                lease.done();
                return Ok(answer);
            }
            Ok(Outcome::Undo(answer)) => Ok(answer),
            Err(Failure::Driver(error)) => Err(error.into()),
            Err(failure) => return Err(failure),
        };
        db.script(&sql.rollback).await?;
        lease.done();
        answer
    }

    /// Loads in one statement. `None` for one that has to be run alone.
    async fn loading(
        &self,
        loads: &[&Load],
        deadline: Instant,
    ) -> Result<Vec<Option<Vec<Found>>>, Failure> {
        let mut lease = lease(&self.leases, deadline).await?;
        match load_shared(&mut *lease, &self.statements, loads).await {
            Err(Failure::Sqlx(error)) if Self::is_lost(&error) => Err(Failure::NotBegun(error)),
            Err(failure) => Err(failure),
            Ok(found) => {
                lease.done();
                Ok(found)
            }
        }
    }

    /// Writes in one transaction, which is rolled back if a caller has given up by its end. `None` for a call
    /// that has to be run alone, and no answer at all if all have to.
    async fn writing_together(
        &self,
        calls: &[&Call],
        is_given_up: impl Fn() -> bool + Send + Sync,
        deadline: Instant,
    ) -> Result<Vec<Option<Answer>>, Failure> {
        let Writers { first, second, first_is_taken, lost } = &self.writers;
        let turn = first_is_taken.try_lock();
        let writer = second.as_ref().filter(|_| turn.is_err()).unwrap_or(first);
        let mut lease = lease(&writer.leases, deadline).await?;
        // What has gone stale is found out by `BEGIN`: nobody knows what became of a statement without one. Nor
        // of one that the server ends after its caller has left.
        let is_early = deadline - Instant::now() > self.call_timeout / 2;
        let goes_at_once = is_early && lease.is_fresh(*lost.lock());
        let (db, sql, set_up) = (&mut *lease, &self.statements, self.set_up(writer));
        if goes_at_once && set_up.is_some() {
            if is_given_up() {
                lease.done();
                return Ok(Vec::new());
            }
            match write_at_once(db, sql, calls).await {
                Ok(None) => {}
                Ok(Some(answers)) => {
                    lease.done();
                    return Ok(answers);
                }
                Err(Failure::Sqlx(sqlx::Error::Database(error))) if S::was_not_run(&*error) => {
                    return Err(Failure::NotBegun(sqlx::Error::Database(error)));
                }
                Err(failure) => {
                    if failure.is_taken() {
                        lease.done();
                    }
                    return if Self::is_refused(&failure) { Ok(Vec::new()) } else { Err(failure) };
                }
            }
        }
        let begin = set_up.map_or(&sql.begin, |set_up| &set_up.begin);
        db.script(begin).await.map_err(Failure::NotBegun)?;
        match write_shared(db, sql, calls).await {
            Ok(Some(answers)) if !is_given_up() => {
                db.script(&sql.commit).await?;
                lease.done();
                Ok(answers)
            }
            Ok(_) | Err(Failure::Driver(_)) => {
                db.script(&sql.rollback).await?;
                lease.done();
                Ok(Vec::new())
            }
            Err(failure) => Err(failure),
        }
    }

    /// What a writer has from its start, if it has.
    fn set_up(&self, writer: &Writer<S::Database>) -> Option<&SetUp> {
        let is_set_up = writer.is_set_up.load(Ordering::Relaxed);
        self.statements.set_up.as_ref().filter(|_| is_set_up)
    }

    /// Whether the server has refused what calls asked for together, so that each may be tried alone.
    fn is_refused(failure: &Failure) -> bool {
        let is_conflict = matches!(failure, Failure::Sqlx(sqlx::Error::Database(error))
            if S::is_conflict(&**error));
        is_conflict || failure.is_refused(S::report)
    }

    /// Runs a load by itself.
    fn load_alone(self: &Arc<Self>, loading: Loading) {
        let Loading { call: load, deadline, reply } = loading;
        let storage = self.clone();
        tokio::spawn(async move {
            let found = storage.repeat(|| storage.reading(&load, deadline));
            let found = timeout_at(deadline, found).await;
            let _ = reply.send(storage.in_time(found));
        });
    }

    /// Runs a write by itself.
    fn write_alone(self: &Arc<Self>, writing: Writing) {
        let Writing { call, deadline, reply } = writing;
        let storage = self.clone();
        tokio::spawn(async move {
            let is_given_up = || reply.is_closed();
            let answer = storage.repeat(|| storage.writing(&call, &is_given_up, deadline));
            let answer = timeout_at(deadline, answer).await;
            let _ = reply.send(storage.in_time(answer));
        });
    }

    fn in_time<T>(
        &self,
        answer: Result<Result<T, Failure>, tokio::time::error::Elapsed>,
    ) -> Result<T, DriverError> {
        match answer {
            Ok(answer) => answer.map_err(|failure| self.error(failure)),
            Err(_) => Err(self.timed_out()),
        }
    }

    pub(super) fn error(&self, failure: Failure) -> DriverError {
        failure.redact(&self.place, S::report)
    }
}

async fn lease<D: Database>(
    leases: &Arc<Leases<D>>,
    deadline: Instant,
) -> Result<Lease<'_, D>, Failure> {
    let lease = timeout_at(deadline, leases.lease()).await;
    Ok(lease.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
}

impl<S: Server> Run<Loading> for Storage<S> {
    async fn run(self: Arc<Self>, batch: Vec<Loading>) {
        let deadline = Instant::now() + self.call_timeout;
        let loads: Vec<_> = batch.iter().map(|loading| &loading.call).collect();
        let found = timeout_at(deadline, self.repeat(|| self.loading(&loads, deadline))).await;
        let found = match found {
            Ok(Err(failure)) if Self::is_refused(&failure) => Ok(Vec::new()),
            found => self.in_time(found),
        };
        for loading in Loading::answer_all(batch, found) {
            self.load_alone(loading);
        }
    }
}

impl<S: Server> Run<Writing> for Storage<S> {
    async fn run(self: Arc<Self>, batch: Vec<Writing>) {
        let deadline = Instant::now() + self.call_timeout;
        let calls: Vec<_> = batch.iter().map(|writing| &writing.call).collect();
        let is_given_up = || batch.iter().any(|writing| writing.reply.is_closed());
        let attempt = || async {
            let answers = self.writing_together(&calls, is_given_up, deadline).await;
            if let Err(Failure::Sqlx(error) | Failure::NotBegun(error)) = &answers
                && Self::is_lost(error)
            {
                *self.writers.lost.lock() = Some(Instant::now());
            }
            answers
        };
        let answers =
            match timeout_at(deadline, self.repeat_while(Self::was_not_begun, attempt)).await {
                Ok(Err(failure)) if Self::is_refused(&failure) => Ok(Vec::new()),
                answers => self.in_time(answers),
            };
        for writing in Writing::answer_all(batch, answers) {
            self.write_alone(writing);
        }
    }
}

impl<S: Server> Together for Storage<S> {
    type Turn = Writing;

    fn loads(&self) -> &Arc<Lane<Loading>> {
        &self.loads
    }

    fn writes(&self) -> &Arc<Lane<Writing>> {
        &self.writes
    }

    fn patience(&self) -> (Duration, AtDeadline) {
        (self.call_timeout, AtDeadline::Leave)
    }

    fn timed_out(&self) -> DriverError {
        DriverError::new(
            DriverErrorKind::Timeout,
            format!("{}: no answer within {:?}", self.place, self.call_timeout),
        )
    }
}
