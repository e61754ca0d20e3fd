//! Settings of a driver, and opening its database.

use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, MySqlPool};

use super::statements::statements;
use super::{MySql, MySqlDriver};
use crate::driver::DriverError;
use crate::driver::sql::server::{DEFAULT_CALL_TIMEOUT, DEFAULT_MAX_CONNECTIONS};
use crate::driver::sql::url::{self, Scheme};
use crate::driver::sql::{EnvironmentName, Source, Statements, Storage};

/// What a URL may look like.
const SCHEME: Scheme = Scheme {
    names: &["mysql", "mariadb"],
    server: "MariaDB or MySQL",
    needs_database: true,
    parameters: &[
        "sslmode",
        "ssl-mode",
        "sslca",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "charset",
        "collation",
        "statement-cache-capacity",
        "socket",
        "timezone",
        "time-zone",
    ],
};

/// Settings of a [`MySqlDriver`]; see [`MySqlDriver::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `connect` is awaited"]
pub struct MySqlDriverBuilder {
    source: Source<MySqlPool>,
    environment: String,
    max_connections: u32,
    call_timeout: Duration,
}

impl MySqlDriverBuilder {
    pub(super) fn new(source: Source<MySqlPool>) -> Self {
        Self {
            source,
            environment: EnvironmentName::DEFAULT.to_owned(),
            max_connections: DEFAULT_MAX_CONNECTIONS,
            call_timeout: DEFAULT_CALL_TIMEOUT,
        }
    }

    /// The name of the environment, which prefixes its tables: 1 to 32 characters from
    /// `a-z 0-9 _`, of which the first is a letter. Default: `web_session`.
    ///
    /// Environments of different names share a database and know nothing of each other.
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.environment = name.into();
        self
    }

    /// How many connections there are at most, at least one, opened when they are needed. Default: 10.
    /// A pool of the application's keeps its own number.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections;
        self
    }

    /// How long a call may take, from asking for a connection to the last answer, before it fails
    /// with [`DriverErrorKind::Timeout`](crate::driver::DriverErrorKind::Timeout). Default: 5 seconds;
    /// at least a millisecond, at most 24 days.
    ///
    /// The connections of the driver's own pool are told as well, in whole seconds: that is how long a
    /// statement waits for a lock (`innodb_lock_wait_timeout`, `lock_wait_timeout`).
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = url::bounded(timeout);
        self
    }

    /// Opens the database with one connection, which is closed again if the pool is the driver's own.
    /// The tables are not made here.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::Configuration`](crate::driver::DriverErrorKind::Configuration) for a part
    /// of the URL, a name or a number that is not allowed, and for a user, a password or a database that
    /// the server refuses; [`Unavailable`](crate::driver::DriverErrorKind::Unavailable) when nothing
    /// answers at the host and port, [`Timeout`](crate::driver::DriverErrorKind::Timeout) when it
    /// does not answer in time. No text has the password in it.
    pub async fn connect(self) -> Result<MySqlDriver, DriverError> {
        let statements = self.statements()?;
        let (pool, place) = match self.source {
            Source::Pool(pool) => {
                let place = place(&pool.connect_options());
                url::try_pool(
                    &pool,
                    &place,
                    SCHEME.server,
                    self.call_timeout,
                    super::error::report,
                )
                .await?;
                (pool, place)
            }
            Source::Url(url) => {
                let options: MySqlConnectOptions = SCHEME.parse(&url)?;
                let options = options.disable_statement_logging();
                let place = place(&options);
                url::try_connect(
                    &options,
                    &place,
                    SCHEME.server,
                    self.call_timeout,
                    super::error::report,
                )
                .await?;
                let wait = seconds(self.call_timeout);
                let settings = format!(
                    "SET SESSION innodb_lock_wait_timeout = {wait}, lock_wait_timeout = {wait}"
                );
                let pool = MySqlPoolOptions::new()
                    .max_connections(url::at_least_one(self.max_connections)?)
                    .acquire_timeout(self.call_timeout)
                    // A connection that has gone stale is found out by `BEGIN`, and replaced.
                    .test_before_acquire(false)
                    .after_connect(move |connection, _| {
                        let settings = AssertSqlSafe(settings.clone());
                        Box::pin(async move { connection.execute(settings).await.map(drop) })
                    });
                (pool.connect_lazy_with(options), place)
            }
        };
        let storage = Storage { place, statements, call_timeout: self.call_timeout, pool };
        Ok(MySqlDriver(Arc::new(storage)))
    }

    /// The statements that [`create_environment`](crate::Driver::create_environment) runs, in
    /// their order, for those who make tables by hand.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::Configuration`](crate::driver::DriverErrorKind::Configuration) for a name
    /// that is not allowed.
    pub fn create_statements(&self) -> Result<Vec<String>, DriverError> {
        Ok(self.statements()?.environment.create_statements())
    }

    fn statements(&self) -> Result<Statements, DriverError> {
        let environment = EnvironmentName::new(&self.environment)?;
        Ok(statements(&environment, seconds(self.call_timeout)))
    }
}

/// A driver in a pool of the application's, with the default settings.
pub(super) fn driver_for(pool: MySqlPool) -> MySqlDriver {
    let place = place(&pool.connect_options());
    let statements = statements(&EnvironmentName::default(), seconds(DEFAULT_CALL_TIMEOUT));
    let call_timeout = DEFAULT_CALL_TIMEOUT;
    MySqlDriver(Arc::new(Storage::<MySql> { place, statements, call_timeout, pool }))
}

/// Where the database is, without user and password.
fn place(options: &MySqlConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    match options.get_socket() {
        Some(socket) => format!("mysql:{}/{database}", socket.display()),
        None => format!("mysql://{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

/// A time as the server counts it: whole seconds, at least one.
fn seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)
}
