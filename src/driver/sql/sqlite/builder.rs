//! Settings of a driver, and opening its database.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Row, Sqlite, SqlitePool};
use tokio::time::{Instant, sleep};

use super::SqliteDriver;
use super::error::is_busy;
use super::statements::{PROBE, statements};
use super::storage::{DEFAULT_BUSY_TIMEOUT, SqliteStorage, leases};
use super::url::{Location, Mode};
use crate::driver::sql::{EnvironmentName, Failure, KEPT_PREPARED, Leases, PoolOf};
use crate::driver::{DriverError, DriverErrorKind};

/// Settings of a [`SqliteDriver`]; see [`SqliteDriver::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `connect` is awaited"]
pub struct SqliteDriverBuilder {
    source: Source,
    environment: String,
    readers: u32,
    busy_timeout: Duration,
}

/// Where the connections come from.
#[derive(Debug, Clone)]
enum Source {
    Url(String),
    Pool(SqlitePool),
}

/// How many rows may wait between SQLite and a caller: each may be as large as an application.
const ROWS_AHEAD: usize = 4;

/// How much of the file a connection keeps in memory at most, as SQLite writes it: 32 MiB. 200
/// sessions amid a million are read a quarter more often than with the default of 2 MiB (benches/growth).
const CACHE: &str = "-32768";

/// How many pages the log has before they are brought into the file: 4 000 of 4 KiB. A page that was written several
/// times is brought there once; of new sessions each writes to a page of its own in the index of keys.
const CHECKPOINT: &str = "4000";

/// How long to wait before trying again to open a file that another process opens.
const PAUSE: Duration = Duration::from_millis(10);

impl SqliteDriverBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self::from_source(Source::Url(url.to_owned()))
    }

    pub(super) fn for_pool(pool: SqlitePool) -> Self {
        Self::from_source(Source::Pool(pool))
    }

    fn from_source(source: Source) -> Self {
        Self {
            source,
            environment: EnvironmentName::DEFAULT.to_owned(),
            readers: 4,
            busy_timeout: DEFAULT_BUSY_TIMEOUT,
        }
    }

    /// The name of the environment, which prefixes its tables: 1 to 32 characters from
    /// `a-z 0-9 _`, of which the first is a letter. Default: `web_session`.
    ///
    /// Environments of different names share a file and know nothing of each other. A name cannot
    /// be `sqlite` or start with `sqlite_`: such tables belong to SQLite.
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.environment = name.into();
        self
    }

    /// How many connections read at the same time, at least one, opened when they are needed.
    /// Default: 4. A database in memory has a single connection for everything, and a pool of the
    /// application's its own number.
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers;
        self
    }

    /// How long a call waits for its turn and a connection, and then for the lock if another process
    /// is writing, before it fails with [`DriverErrorKind::Timeout`]. Default: 5 seconds; at most 24 days.
    ///
    /// Opening a connection is part of the wait, so less than a second is rarely wise.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        // The most that SQLite can count, in milliseconds.
        const MOST: Duration = Duration::from_millis(i32::MAX as u64);
        self.busy_timeout = timeout.min(MOST);
        self
    }

    /// Opens the database and looks into it. The tables are not made here.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::Configuration`] for a URL, a name or a number that is not allowed, or a
    /// database whose texts are not in UTF-8. Else what keeps the file from being used, with its
    /// name: [`Unavailable`](DriverErrorKind::Unavailable) when it cannot be opened,
    /// [`Corrupt`](DriverErrorKind::Corrupt) when it is damaged or no database,
    /// [`ReadOnly`](DriverErrorKind::ReadOnly) when it cannot be written and `mode=ro` is not in
    /// the URL, [`Timeout`](DriverErrorKind::Timeout) when it stays locked.
    pub async fn connect(self) -> Result<SqliteDriver, DriverError> {
        let environment = self.environment_name()?;
        let storage = match &self.source {
            Source::Pool(pool) => {
                let leases = leases(pool.clone(), PoolOf::Application);
                SqliteStorage::with(leases.clone(), leases, environment, self.busy_timeout)
            }
            Source::Url(url) => {
                if self.readers == 0 {
                    return Err(wrong("at least one connection has to read"));
                }
                let location = Location::parse(url)?;
                let (writer, readers) = self.pools(&location);
                let mut storage =
                    SqliteStorage::with(writer, readers, environment, self.busy_timeout);
                storage.file = location.path().to_owned();
                storage
            }
        };
        let deadline = Instant::now() + self.busy_timeout;
        loop {
            match probe(&storage.writer).await {
                Ok(()) => return Ok(SqliteDriver(Arc::new(storage))),
                Err(failure) => {
                    let error = storage.error(failure);
                    // Two processes that turn a new file into WAL mode at once do not wait for
                    // each other: SQLite fails one of them without regard to the time-out.
                    if !is_busy(error.code()) || Instant::now() >= deadline {
                        return Err(error);
                    }
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// The statements that [`create_environment`](crate::Driver::create_environment) runs, in
    /// their order, for those who make tables by hand.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::Configuration`] for a name that is not allowed.
    pub fn create_statements(&self) -> Result<Vec<String>, DriverError> {
        Ok(statements(&self.environment_name()?).environment.create_statements())
    }

    fn environment_name(&self) -> Result<EnvironmentName, DriverError> {
        let environment = EnvironmentName::new(&self.environment)?;
        if environment.as_str() == "sqlite" || environment.as_str().starts_with("sqlite_") {
            return Err(wrong("tables that start with `sqlite_` belong to SQLite"));
        }
        Ok(environment)
    }

    /// The pool of the writer and that of the readers. Nothing is opened yet.
    fn pools(&self, location: &Location) -> (Arc<Leases<Sqlite>>, Arc<Leases<Sqlite>>) {
        let pool = |connections, options| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(self.busy_timeout)
                // A connection to a file does not age, and one to the memory is the database.
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                .connect_lazy_with(options)
        };
        let options = SqliteConnectOptions::new()
            .filename(location.path())
            .foreign_keys(true)
            .busy_timeout(self.busy_timeout)
            .row_buffer_size(ROWS_AHEAD)
            .pragma("cache_size", CACHE)
            // What a statement has changed so far would be noted in a file, for the case that it fails.
            .pragma("temp_store", "MEMORY")
            .pragma("wal_autocheckpoint", CHECKPOINT)
            .statement_cache_capacity(KEPT_PREPARED)
            .disable_statement_logging();
        let (path_options, mode) = match location {
            Location::Memory => {
                let only = pool(1, options.in_memory(true));
                let leases = leases(only, PoolOf::Driver);
                return (leases.clone(), leases);
            }
            Location::File(_, mode) => (options, *mode),
        };
        let writer = match mode {
            Mode::ReadOnly => path_options.clone().read_only(true),
            Mode::Existing | Mode::Create => path_options
                .clone()
                .create_if_missing(mode == Mode::Create)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal),
        };
        let reader = path_options.read_only(mode == Mode::ReadOnly).pragma("query_only", "ON");
        let of_driver = |pool| leases(pool, PoolOf::Driver);
        (of_driver(pool(1, writer)), of_driver(pool(self.readers, reader)))
    }
}

/// Reads from the database, which is the first moment at which SQLite looks into the file.
async fn probe(writer: &Arc<Leases<Sqlite>>) -> Result<(), Failure> {
    let mut lease = writer.lease().await?;
    let row = sqlx::query(PROBE).fetch_one(&mut *lease).await?;
    lease.done();
    match (row.try_get(0)?, row.try_get(1)?) {
        ("UTF-8", true) => Ok(()),
        ("UTF-8", false) => {
            Err(wrong("the connections of the pool have foreign keys turned off").into())
        }
        _ => Err(wrong("the texts of the database are in UTF-16, and have to be in UTF-8").into()),
    }
}

fn wrong(message: &'static str) -> DriverError {
    DriverError::new(DriverErrorKind::Configuration, message)
}
