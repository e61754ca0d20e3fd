//! Settings of a driver, and opening its database.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};

use super::statements::statements;
use super::{Postgres, PostgresDriver};
use crate::driver::DriverError;
use crate::driver::sql::server::{DEFAULT_CALL_TIMEOUT, DEFAULT_MAX_CONNECTIONS};
use crate::driver::sql::url::{self, Scheme};
use crate::driver::sql::{EnvironmentName, Source, Statements, Storage};

/// What a URL may look like.
const SCHEME: Scheme = Scheme {
    names: &["postgres", "postgresql"],
    server: "PostgreSQL",
    needs_database: false,
    parameters: &[
        "sslmode",
        "ssl-mode",
        "sslrootcert",
        "ssl-root-cert",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "statement-cache-capacity",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "application_name",
        "options",
    ],
};

/// Settings of a [`PostgresDriver`]; see [`PostgresDriver::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `connect` is awaited"]
pub struct PostgresDriverBuilder {
    source: Source<PgPool>,
    environment: String,
    schema: Option<String>,
    max_connections: u32,
    call_timeout: Duration,
}

impl PostgresDriverBuilder {
    pub(super) fn new(source: Source<PgPool>) -> Self {
        Self {
            source,
            environment: EnvironmentName::DEFAULT.to_owned(),
            schema: None,
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

    /// The schema of the tables, which must exist. Default: none is named, so the connection's
    /// `search_path` decides, which usually leads to `public`.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = Some(name.into());
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
    /// The server is told as well: each statement of a transaction is bounded by it
    /// (`statement_timeout`), and so are its pauses (`idle_in_transaction_session_timeout`).
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
    pub async fn connect(self) -> Result<PostgresDriver, DriverError> {
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
                let options: PgConnectOptions = SCHEME.parse(&url)?;
                let mut options = options.disable_statement_logging();
                let millis = self.call_timeout.as_millis().to_string();
                if options.get_options().is_none() {
                    // The bound of the calls that read, which have no transaction.
                    options = options.options([("statement_timeout", millis)]);
                }
                let place = place(&options);
                url::try_connect(
                    &options,
                    &place,
                    SCHEME.server,
                    self.call_timeout,
                    super::error::report,
                )
                .await?;
                let pool = PgPoolOptions::new()
                    .max_connections(url::at_least_one(self.max_connections)?)
                    .acquire_timeout(self.call_timeout)
                    // A connection that has gone stale is found out by `BEGIN`, and replaced.
                    .test_before_acquire(false);
                (pool.connect_lazy_with(options), place)
            }
        };
        let storage = Storage { place, statements, call_timeout: self.call_timeout, pool };
        Ok(PostgresDriver(Arc::new(storage)))
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
        Ok(statements(&environment, self.schema.as_deref(), self.call_timeout))
    }
}

/// A driver in a pool of the application's, with the default settings.
pub(super) fn driver_for(pool: PgPool) -> PostgresDriver {
    let place = place(&pool.connect_options());
    let statements = statements(&EnvironmentName::default(), None, DEFAULT_CALL_TIMEOUT);
    let call_timeout = DEFAULT_CALL_TIMEOUT;
    PostgresDriver(Arc::new(Storage::<Postgres> { place, statements, call_timeout, pool }))
}

/// Where the database is, without user and password.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("postgres:{}/{database}", socket.display()),
        None => format!("postgres://{}:{}/{database}", options.get_host(), options.get_port()),
    }
}
