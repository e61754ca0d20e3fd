//! What is set of a driver for a server, and how its connections are opened.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::{ConnectOptions, Pool};
use tokio::time::timeout;

use super::super::url::{at_least_one, try_connect, try_pool};
use super::super::{
    Connection, EnvironmentName, Failure, IfUnsound, Lane, Leases, Lone, PoolOf, Row, SetUp,
    Statements, lane_of_loads,
};
use super::{DEFAULT_CALL_TIMEOUT, Options, Server, Storage, Writer, Writers};
use crate::driver::DriverError;

/// Where a driver's connections come from.
#[derive(Clone)]
pub(in super::super) enum Source<P> {
    /// The driver opens its own.
    Url(String),
    /// The application has them.
    Pool(P),
}

impl<P> fmt::Debug for Source<P> {
    /// Leaves the URL out: a password may be in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Url(_) => "Url(..)",
            Self::Pool(_) => "Pool(..)",
        })
    }
}

/// What the builders of all servers set.
pub(in super::super) struct Settings<S: Server> {
    source: Source<Pool<S::Database>>,
    pub(in super::super) environment: String,
    pub(in super::super) max_connections: u32,
    pub(in super::super) call_timeout: Duration,
}

impl<S: Server> Settings<S> {
    pub(in super::super) fn new(source: Source<Pool<S::Database>>) -> Self {
        Self {
            source,
            environment: EnvironmentName::DEFAULT.to_owned(),
            max_connections: 10,
            call_timeout: DEFAULT_CALL_TIMEOUT,
        }
    }

    /// Makes a first connection, which tells what is wrong with the URL.
    pub(in super::super) async fn open(
        &self,
        statements: Statements,
    ) -> Result<Storage<S>, DriverError> {
        let limit = self.call_timeout;
        let url = match &self.source {
            Source::Pool(pool) => {
                let place = S::place(&pool.connect_options());
                try_pool(pool, &place, S::SCHEME.server, limit, S::report).await?;
                return Ok(self.storage_in(pool.clone(), PoolOf::Application, None, statements));
            }
            Source::Url(url) => url,
        };
        let most = at_least_one(self.max_connections)?;
        let options = S::SCHEME.parse::<Options<S>>(url)?.disable_statement_logging();
        let for_writes = S::for_writes(options.clone(), limit).filter(|_| most > 2);
        let pool = |most, options, set_up: Option<(SetUp, Arc<AtomicBool>)>| {
            let at_connect = statements.at_connect.clone();
            PoolOptions::<S::Database>::new()
                .max_connections(most)
                .acquire_timeout(limit)
                // A connection that has gone stale is found out by `BEGIN`, and replaced.
                .test_before_acquire(false)
                .after_connect(move |connection, _| {
                    let (at_connect, set_up) = (at_connect.clone(), set_up.clone());
                    Box::pin(async move {
                        if let Some(at_connect) = &at_connect {
                            connection.script(at_connect).await?;
                        }
                        if let Some((set_up, told)) = &set_up {
                            told.store(set_up.is_done(connection).await, Ordering::Relaxed);
                        }
                        Ok(())
                    })
                })
                .connect_lazy_with(S::bound(options, limit))
        };
        let all = pool(most, options.clone(), None);
        let bounded = all.connect_options();
        try_connect(&*bounded, &S::place(&bounded), S::SCHEME.server, limit, S::report).await?;
        if let (Some(for_writes), Some(set_up)) = (for_writes, &statements.set_up) {
            let writer = || {
                let is_set_up = Arc::new(AtomicBool::new(false));
                let set_up = Some((set_up.clone(), is_set_up.clone()));
                let one = pool(1, for_writes.clone(), set_up);
                let leases = Leases::new(one, PoolOf::Driver, IfUnsound::Close);
                Writer { leases, is_set_up }
            };
            let writers = Writers::new(writer(), (most > 3).then(&writer));
            let mut are_set_up = true;
            for writer in writers.all() {
                are_set_up = are_set_up && self.opens(writer).await?;
            }
            if are_set_up {
                let others = pool(most - writers.all().count() as u32, options, None);
                let writers = Some(writers);
                return Ok(self.storage_in(others, PoolOf::Driver, writers, statements));
            }
        }
        Ok(self.storage_in(all, PoolOf::Driver, None, statements))
    }

    /// Opens a connection that only writes. Whether it is set up.
    async fn opens(&self, writer: &Writer<S::Database>) -> Result<bool, DriverError> {
        let leases = &writer.leases;
        let lease = timeout(self.call_timeout, leases.lease()).await;
        let lease = lease.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(|error| {
            Failure::Sqlx(error).redact(&S::place(&leases.connect_options()), S::report)
        })?;
        lease.done();
        Ok(writer.is_set_up.load(Ordering::Relaxed))
    }

    /// Without writers of their own, writes have a connection of the others.
    pub(super) fn storage_in(
        &self,
        pool: Pool<S::Database>,
        pool_of: PoolOf,
        writers: Option<Writers<S::Database>>,
        statements: Statements,
    ) -> Storage<S> {
        let leases = Leases::new(pool, pool_of, IfUnsound::Close);
        let of_others = || Writer { leases: leases.clone(), is_set_up: Arc::default() };
        let writers = writers.unwrap_or_else(|| Writers::new(of_others(), None));
        Storage {
            place: S::place(&leases.connect_options()),
            statements,
            call_timeout: self.call_timeout,
            loads: Arc::new(lane_of_loads(leases.most(), Lone::OnTask)),
            writes: Arc::new(Lane::new(writers.all().count(), Lone::OnTask)),
            writers,
            leases,
        }
    }
}

impl SetUp {
    /// Sets a new connection up, as far as it was told what it needs: a pooler may not pass that on, and then
    /// nothing may be left in its connections.
    async fn is_done<C: Connection>(&self, db: &mut C) -> bool {
        let told = db.fetch_optional(&self.is_told, &[], |row: &C::Row| row.number(0)).await;
        matches!(told, Ok(Some(_))) && db.script(&self.prepare).await.is_ok()
    }
}

impl<S: Server> Clone for Settings<S> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            environment: self.environment.clone(),
            max_connections: self.max_connections,
            call_timeout: self.call_timeout,
        }
    }
}

impl<S: Server> fmt::Debug for Settings<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("source", &self.source)
            .field("environment", &self.environment)
            .field("max_connections", &self.max_connections)
            .field("call_timeout", &self.call_timeout)
            .finish()
    }
}
