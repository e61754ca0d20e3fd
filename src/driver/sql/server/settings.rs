//! What is set of a driver for a server, and how its connections are opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::{ConnectOptions, Pool};
use tokio::time::timeout;

use super::super::url::{at_least_one, try_connect, try_pool};
use super::super::{
    Connection, EnvironmentName, Failure, IfUnsound, Lane, Leases, Lone, PoolOf, Row, SetUp,
    Statements, lane_of_loads,
};
use super::{DEFAULT_CALL_TIMEOUT, Options, Server, Storage};
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
        let bounded = |most, options| {
            let pool = PoolOptions::new()
                .max_connections(most)
                .acquire_timeout(limit)
                // A connection that has gone stale is found out by `BEGIN`, and replaced.
                .test_before_acquire(false);
            S::bound(options, pool, limit)
        };
        let pool = |most, options| {
            let (options, pool) = bounded(most, options);
            pool.connect_lazy_with(options)
        };
        let all = pool(most, options.clone());
        let options = all.connect_options();
        try_connect(&*options, &S::place(&options), S::SCHEME.server, limit, S::report).await?;
        if let (Some(for_writes), Some(set_up)) = (for_writes, &statements.set_up) {
            let (options_for_writes, pool_for_writes) = bounded(1, for_writes);
            let prepare = set_up.prepare.clone();
            let pool_for_writes = pool_for_writes.after_connect(move |connection, _| {
                let prepare = prepare.clone();
                Box::pin(async move {
                    // Whether it could be done is asked before it is used.
                    let _ = connection.script(&prepare).await;
                    Ok(())
                })
            });
            let pool_for_writes = pool_for_writes.connect_lazy_with(options_for_writes);
            let writer = Leases::new(pool_for_writes, PoolOf::Driver, IfUnsound::Close);
            if self.is_set_up(&writer, set_up).await? {
                let others = pool(most - 1, (*options).clone());
                return Ok(self.storage_in(others, PoolOf::Driver, Some(writer), statements));
            }
        }
        Ok(self.storage_in(all, PoolOf::Driver, None, statements))
    }

    /// Whether a connection has what each transaction would set: a pooler may not pass it on.
    async fn is_set_up(
        &self,
        writer: &Arc<Leases<S::Database>>,
        set_up: &SetUp,
    ) -> Result<bool, DriverError> {
        let asks = async {
            let mut lease = writer.lease().await?;
            let is_done = lease.fetch_optional(&set_up.is_done, &[], |row| row.number(0)).await?;
            lease.done();
            Ok(is_done.is_some())
        };
        let asked = timeout(self.call_timeout, asks).await;
        asked
            .unwrap_or(Err(Failure::Sqlx(sqlx::Error::PoolTimedOut)))
            .map_err(|failure| failure.redact(&S::place(&writer.connect_options()), S::report))
    }

    /// `writer` is for a connection that has what each transaction would set.
    pub(super) fn storage_in(
        &self,
        pool: Pool<S::Database>,
        pool_of: PoolOf,
        writer: Option<Arc<Leases<S::Database>>>,
        mut statements: Statements,
    ) -> Storage<S> {
        if writer.is_none() {
            (statements.set_up, statements.whole) = (None, None);
        }
        let leases = Leases::new(pool, pool_of, IfUnsound::Close);
        Storage {
            place: S::place(&leases.connect_options()),
            statements,
            call_timeout: self.call_timeout,
            loads: lane_of_loads(leases.most(), Lone::OnTask),
            writes: Arc::new(Lane::new(1, Lone::OnTask)),
            writer: writer.unwrap_or_else(|| leases.clone()),
            leases,
        }
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
