//! Sessions in MariaDB and MySQL.

mod builder;
mod error;
mod statements;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use builder::MySqlDriverBuilder;
use sqlx::MySqlPool;
use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlConnectOptions, MySqlRow};

use super::url::{Scheme, shown};
use super::{
    DEFAULT_CALL_TIMEOUT, EnvironmentName, KEPT_PREPARED, Report, Server, Source, Storage,
    connection_of_sqlx, sql_driver,
};
use crate::driver::DriverError;

/// Keeps sessions in MariaDB or MySQL, which several machines may share.
///
/// MariaDB 10.11 is what it is tested with. What MySQL 8 does not understand is used only where the server has
/// understood it, and MySQL was not tested.
///
/// ```no_run
/// use std::time::Duration;
/// use web_session::MySqlDriver;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let driver = MySqlDriver::builder("mysql://app:secret@db.example.com/shop?ssl-mode=VERIFY_IDENTITY")
///     .environment("shop")
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
/// `mysql://user:password@host:3306/database` or `mariadb://…`, with the parameters of
/// [`MySqlConnectOptions`](sqlx::mysql::MySqlConnectOptions). Reserved characters in a part are written
/// as `%40` and the like; a URL with an `@` behind the host is refused. The port is 3306 if none is given.
/// Without `ssl-mode` the connection is encrypted if the server offers it, and the server's certificate is
/// not checked; `ssl-mode=VERIFY_IDENTITY` checks it.
///
/// # Permissions
///
/// To make the tables the user needs `CREATE`, `INDEX` and `REFERENCES` on the database. Once they
/// exist, `SELECT, INSERT, UPDATE, DELETE` on the tables are enough, also for
/// [`AutoCreate::Missing`](crate::AutoCreate::Missing), which then changes nothing.
/// [`create_statements`](MySqlDriverBuilder::create_statements) prints what would be run.
///
/// # Settings of the server
///
/// Tables are InnoDB's. Transactions are `READ COMMITTED`, for which a server with a binary log needs
/// `binlog_format` `ROW` or `MIXED`, which are the defaults. `max_allowed_packet` has to be larger than the
/// longest value, and than 2 MiB.
///
/// # Time
///
/// A call takes at most [`call_timeout`](MySqlDriverBuilder::call_timeout), whatever the server does,
/// and then fails; the layer answers 503. A connection whose statement failed or did not end in time is
/// closed and not used again. A connection that the server has closed is replaced, so a restart of the
/// server needs none of the application. A transaction that lost a deadlock is run again within the time;
/// one whose connection was lost is not, since it may have been committed. That can be so with a write in one trip (see
/// below) whose connection the server has closed within the second before.
///
/// # Connection poolers
///
/// No call depends on the connection that the call before it had, but for how long a statement may take, and wait for a
/// lock: each is one statement or one transaction. Statements are prepared, which a pooler in transaction mode has to
/// support. The driver was not tested with one.
///
/// Where the server can prepare a block of statements (`BEGIN NOT ATOMIC`: MariaDB [from 10.6.2
/// on](https://mariadb.com/kb/en/prepare-statement/), not MySQL), two of the driver's own connections only write, one
/// if there are three. To create sessions with items, or to store items of one application in sessions that are not
/// changed otherwise, is one trip to the server there, if the connection has answered within the last second, and
/// half of the call's time is left. All other writes are transactions of several trips, and so are these in a pool of
/// the application's, with at most two connections, or in Oracle's `sql_mode`.
///
/// # Durability
///
/// What was answered as done is as durable as the server's `innodb_flush_log_at_trx_commit` makes it: by
/// default it survives a crash of the server. Keys and values are plain text in the tables. Session ids
/// are not in them.
///
/// # Cancel safety
///
/// A call runs on a task of its own from its first poll on. If its future is dropped before the
/// transaction's `COMMIT` was sent, the transaction is rolled back. A block is sent as a whole, and is done or undone as
/// a whole then, also if the call was told that it took too long: within half of a `call_timeout` more.
#[derive(Clone)]
pub struct MySqlDriver(Arc<Storage<MySql>>);

impl MySqlDriver {
    /// Uses a pool that the application has, with the default settings. Its own time-outs should not be
    /// longer than the driver's 5 seconds; see [`builder_for`](Self::builder_for) for other settings.
    pub fn new(pool: MySqlPool) -> Self {
        let name = EnvironmentName::default();
        let statements = statements::statements(&name, DEFAULT_CALL_TIMEOUT);
        Self(Arc::new(Storage::new(pool, statements)))
    }

    /// Connects with the default settings.
    ///
    /// # Errors
    ///
    /// As [`MySqlDriverBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self, DriverError> {
        Self::builder(url).connect().await
    }

    /// Settings for a driver that are not the defaults.
    pub fn builder(url: &str) -> MySqlDriverBuilder {
        MySqlDriverBuilder::new(Source::Url(url.to_owned()))
    }

    /// Settings for a driver that uses a pool of the application's. With a `statement_cache_capacity` of 256
    /// its connections keep all statements of the driver prepared.
    pub fn builder_for(pool: MySqlPool) -> MySqlDriverBuilder {
        MySqlDriverBuilder::new(Source::Pool(pool))
    }

    /// Waits for the running calls and closes the connections, of all clones and of a pool of the
    /// application's. Later calls fail with
    /// [`DriverErrorKind::Unavailable`](crate::driver::DriverErrorKind::Unavailable).
    pub async fn close(&self) {
        self.0.close().await;
    }
}

impl fmt::Debug for MySqlDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlDriver").field("place", &self.0.place).finish_non_exhaustive()
    }
}

/// What is special to MariaDB and MySQL.
struct MySql;

impl Server for MySql {
    type Database = sqlx::MySql;

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

    fn place(options: &MySqlConnectOptions) -> String {
        let database = shown(options.get_database().unwrap_or_default());
        match options.get_socket() {
            Some(socket) => format!("mysql:{}/{database}", socket.display()),
            None => format!("mysql://{}:{}/{database}", options.get_host(), options.get_port()),
        }
    }

    fn bound(options: MySqlConnectOptions, _: Duration) -> MySqlConnectOptions {
        options.statement_cache_capacity(KEPT_PREPARED)
    }

    fn for_writes(options: MySqlConnectOptions, _: Duration) -> Option<MySqlConnectOptions> {
        Some(options)
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

    fn was_not_run(_: &dyn DatabaseError) -> bool {
        false
    }
}

/// A time as the server counts it: whole seconds, at least one.
fn seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)
}

connection_of_sqlx!(sqlx::MySqlConnection, MySqlRow);
sql_driver!(MySqlDriver);
