//! Sessions in PostgreSQL.

mod builder;
mod error;
mod statements;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use builder::PostgresDriverBuilder;
use sqlx::PgPool;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgRow};

use super::url::{Scheme, shown};
use super::{
    DEFAULT_CALL_TIMEOUT, EnvironmentName, Report, Server, Source, Storage, connection_of_sqlx,
    sql_driver,
};
use crate::driver::DriverError;

/// Keeps sessions in PostgreSQL, which several machines may share. PostgreSQL 15 is what it is tested
/// with, and 12 the oldest that knows all of the settings it uses.
///
/// ```no_run
/// use std::time::Duration;
/// use web_session::PostgresDriver;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let driver = PostgresDriver::builder("postgres://app:secret@db.example.com/shop?sslmode=verify-full")
///     .environment("shop")
///     .schema("sessions")
///     .call_timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// driver.close().await;
/// # Ok(())
/// # }
/// ```
///
/// Clones share the connections.
///
/// # URLs
///
/// `postgres://user:password@host:5432/database`, with the parameters of
/// [`PgConnectOptions`](sqlx::postgres::PgConnectOptions). Reserved characters in a part are written as
/// `%40` and the like; a URL with an `@` behind the host is refused. The port is 5432 if none is given, the
/// database that of the user's name. Without `sslmode` the connection is encrypted if the server offers it, and the server's
/// certificate is not checked; `sslmode=verify-full` checks it.
///
/// # Permissions
///
/// To make the tables the user needs `CREATE` on the schema. Once they exist, `USAGE` on the schema
/// and `SELECT, INSERT, UPDATE, DELETE` on the tables are enough, also for
/// [`AutoCreate::Missing`](crate::AutoCreate::Missing), which then changes nothing.
/// [`create_statements`](PostgresDriverBuilder::create_statements) prints what would be run.
///
/// With `TEMPORARY` on the database, which everybody has unless it was revoked, and the language `plpgsql`, writes
/// can be quicker: a driver that opens its own connections makes functions in `pg_temp`. The server removes them when
/// that connection ends; until then their owner cannot be dropped.
///
/// # Time
///
/// A call takes at most [`call_timeout`](PostgresDriverBuilder::call_timeout), whatever the server
/// does, and then fails; the layer answers 503. A connection whose statement failed or did not end in time
/// is closed and not used again. A connection that the server has closed is replaced, so a restart of the
/// server needs none of the application. A transaction that lost a deadlock is run again within the
/// time; one whose connection was lost is not, since it may have been committed.
///
/// # Connection poolers
///
/// No call depends on the connection that the call before it had: each is one statement or one
/// transaction, and what it sets it sets for the transaction (`SET LOCAL`). Statements are prepared by name, so
/// a pooler in transaction mode has to keep track of them: PgBouncer does from 1.21 on, with
/// `max_prepared_statements` above 0. A driver that opens its own connections gives them a
/// `statement_timeout` in the start-up parameter `options`, and sqlx sends `extra_float_digits`:
/// PgBouncer needs `ignore_startup_parameters = extra_float_digits, options`. This is what the documentation
/// of PgBouncer says: the driver was not tested with it, nor with another pooler.
///
/// Two of the driver's own connections only write, one if there are three, and have from their start, in `options`,
/// what a transaction would set, and functions of their own, `pg_temp.web_session_store_…`: to create sessions, or
/// to store items of one application in sessions that are not changed otherwise, is one trip to the server then, if
/// the connection has answered within the last second. Where a session is not live, is locked by others or would hold
/// more than its limits allow, it is two for those that go with it, and a transaction for that one; the last is an error
/// in the server's log. All other writes are transactions, and so are these where the URL or `PGOPTIONS` has `options`,
/// a pooler leaves them out, there are at most two connections, or the functions cannot be made.
///
/// # Durability
///
/// What was answered as done is as durable as the server's `synchronous_commit` makes it: by default it
/// survives a crash of the server. Keys and values are plain text in the tables. Session ids are not in
/// them.
///
/// # Cancel safety
///
/// A call runs on a task of its own from its first poll on. If its future is dropped before the
/// transaction's `COMMIT` was sent, the transaction is rolled back. Sessions may be created, and items stored, by one
/// statement without a transaction around it: what was sent is done then, also if the call was told that it took too
/// long.
#[derive(Clone)]
pub struct PostgresDriver(Arc<Storage<Postgres>>);

impl PostgresDriver {
    /// Uses a pool that the application has, with the default settings. Its own time-outs should not be
    /// longer than the driver's 5 seconds; see [`builder_for`](Self::builder_for) for other settings.
    pub fn new(pool: PgPool) -> Self {
        let name = EnvironmentName::default();
        let statements = statements::statements(&name, None, DEFAULT_CALL_TIMEOUT);
        Self(Arc::new(Storage::new(pool, statements)))
    }

    /// Connects with the default settings.
    ///
    /// # Errors
    ///
    /// As [`PostgresDriverBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self, DriverError> {
        Self::builder(url).connect().await
    }

    /// Settings for a driver that are not the defaults.
    pub fn builder(url: &str) -> PostgresDriverBuilder {
        PostgresDriverBuilder::new(Source::Url(url.to_owned()))
    }

    /// Settings for a driver that uses a pool of the application's.
    pub fn builder_for(pool: PgPool) -> PostgresDriverBuilder {
        PostgresDriverBuilder::new(Source::Pool(pool))
    }

    /// Waits for the running calls and closes the connections, of all clones and of a pool of the
    /// application's. Later calls fail with
    /// [`DriverErrorKind::Unavailable`](crate::driver::DriverErrorKind::Unavailable).
    pub async fn close(&self) {
        self.0.close().await;
    }
}

impl fmt::Debug for PostgresDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresDriver").field("place", &self.0.place).finish_non_exhaustive()
    }
}

/// What is special to PostgreSQL.
struct Postgres;

impl Server for Postgres {
    type Database = sqlx::Postgres;

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

    fn place(options: &PgConnectOptions) -> String {
        let database = shown(options.get_database().unwrap_or(options.get_username()));
        match options.get_socket() {
            Some(socket) => format!("postgres:{}/{database}", socket.display()),
            None => format!("postgres://{}:{}/{database}", options.get_host(), options.get_port()),
        }
    }

    /// What calls that read need, which have no transaction.
    fn bound(options: PgConnectOptions, call_timeout: Duration) -> PgConnectOptions {
        match options.get_options() {
            Some(_) => options,
            None => options
                .options([("statement_timeout", statements::millis(call_timeout))])
                .options([statements::PLANS]),
        }
    }

    /// As a transaction sets it else: plans do not walk over tables, and nothing is compiled.
    fn for_writes(options: PgConnectOptions, call_timeout: Duration) -> Option<PgConnectOptions> {
        let none_yet = options.get_options().is_none();
        none_yet.then(|| {
            options.options(statements::settings(call_timeout)).options([statements::ISOLATION])
        })
    }

    fn report(error: &dyn DatabaseError) -> Report {
        error::report(error)
    }

    fn is_conflict(error: &dyn DatabaseError) -> bool {
        error::is_conflict(error)
    }

    fn is_goodbye(error: &dyn DatabaseError) -> bool {
        error::is_goodbye(error)
    }

    fn was_not_run(error: &dyn DatabaseError) -> bool {
        error::was_not_run(error)
    }
}

connection_of_sqlx!(sqlx::PgConnection, PgRow, arrays);
sql_driver!(PostgresDriver);
