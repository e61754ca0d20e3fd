//! Sessions in SQLite.

mod builder;
mod error;
mod packed;
mod statements;
mod storage;
#[cfg(test)]
mod tests;
mod url;

use std::fmt;
use std::sync::Arc;

pub use builder::SqliteDriverBuilder;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteRow;
use storage::SqliteStorage;

use super::{connection_of_sqlx, sql_driver};
use crate::driver::DriverError;

/// Keeps sessions in an SQLite file, which several processes of one machine may share, or in an
/// SQLite database in memory.
///
/// ```
/// use std::time::Duration;
/// use web_session::SqliteDriver;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let driver = SqliteDriver::builder("sqlite::memory:")
///     .environment("shop")
///     .busy_timeout(Duration::from_secs(2))
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
/// | URL | database |
/// |---|---|
/// | `sqlite://sessions.db` | a file in the current folder |
/// | `sqlite:///var/lib/app/sessions.db` | a file by its full path |
/// | `sqlite::memory:`, `sqlite://:memory:` | in memory; it ends with the last clone of the driver, and no other driver sees it |
///
/// A `?`, `#` or `%` in a file's name is written `%3F`, `%23`, `%25`. A file that does not exist is
/// made, unless the URL ends with a `mode`: `?mode=ro` opens an existing file without ever writing,
/// `?mode=rw` an existing file, `?mode=rwc` makes it as well, `?mode=memory` uses the memory.
///
/// # Durability
///
/// A file is put into [WAL mode](https://www.sqlite.org/wal.html), with `synchronous=NORMAL`: what
/// was committed survives a crash of the process; a power loss or a crash of the operating system
/// may take the last commits with it, and leaves the file sound. At most they are those that are in the log only,
/// which is brought into the file when it has 4 000 pages, 16 MiB with pages of 4 KiB. Beside `sessions.db` there are
/// `sessions.db-wal` and `sessions.db-shm` while it is open, which belong to it. The file must not
/// lie on a network file system.
///
/// Keys and values are plain text in the file, which is made with the permissions that the process
/// gives new files. Session ids are not in it.
///
/// # Concurrency
///
/// Readers never wait for the writer. A driver has one connection that writes, so writers of one
/// process queue up and none finds the database locked; writers of different processes wait for
/// each other up to [`busy_timeout`](SqliteDriverBuilder::busy_timeout).
///
/// Calls that wait at the same moment go together, loads in one statement and commits in one
/// transaction, each with an answer of its own; a lone call waits for no other. Whoever waits for a lone call looks for
/// its answer for up to 100 µs, and lets other tasks go on in between, before the thread may sleep.
///
/// SQLite counts what memory it uses, under a lock that all connections share. Built without that, by
/// `LIBSQLITE3_FLAGS=-DSQLITE_DEFAULT_MEMSTATUS=0` in the environment of `cargo build`, 64 requests at a time wrote an
/// eighth more; it is among the [options that SQLite recommends](https://sqlite.org/compile.html).
///
/// A connection that the driver has opened stays open. It keeps up to 32 MiB of the file in memory, and there is also
/// what SQLite would put into temporary files.
///
/// # Cancel safety
///
/// A call that writes has its place in the queue once it was polled, and runs on a task of its own
/// when its turn has come. If its future is dropped before that, it is skipped; dropping it later does
/// not stop it, and it is applied all or none, before any call to the session that was polled after it. A future that
/// is kept and not polled any more holds up no call that writes to a file.
///
/// Items are stored by one statement, and the session is read by the next: if the latter fails, with a session or a disk
/// that cannot be read or a lock in a pool without a write-ahead log, the call fails although they are stored.
#[derive(Clone)]
pub struct SqliteDriver(Arc<SqliteStorage>);

impl SqliteDriver {
    /// Uses a pool that the application has, with the default settings; see
    /// [`builder_for`](Self::builder_for) for what is expected of it.
    pub fn new(pool: SqlitePool) -> Self {
        Self(Arc::new(SqliteStorage::new(pool)))
    }

    /// Opens a database with the default settings.
    ///
    /// # Errors
    ///
    /// As [`SqliteDriverBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self, DriverError> {
        Self::builder(url).connect().await
    }

    /// Settings for a driver that are not the defaults.
    pub fn builder(url: &str) -> SqliteDriverBuilder {
        SqliteDriverBuilder::new(url)
    }

    /// Settings for a driver that uses a pool of the application's.
    ///
    /// Its connections need foreign keys, which sqlx turns on unless told otherwise, and texts in
    /// UTF-8. The rest (the journal, `synchronous`, how many connections there are) is the pool's; with
    /// a `statement_cache_capacity` of 256 they keep all statements of the driver prepared, and with
    /// `temp_store=MEMORY` commits that go together need no temporary file.
    /// The calls of the driver that write wait for each other; the application's own transactions on
    /// the pool wait for them, and they for those, as the connections' `busy_timeout` says. Commits that go together
    /// are one command more than with the driver's own connections: a `ROLLBACK` of what may have been left open.
    pub fn builder_for(pool: SqlitePool) -> SqliteDriverBuilder {
        SqliteDriverBuilder::for_pool(pool)
    }

    /// Waits for the running calls and closes the connections, of all clones, which moves what is in
    /// the `-wal` file into the file itself. Later calls fail with
    /// [`DriverErrorKind::Unavailable`](crate::driver::DriverErrorKind::Unavailable).
    ///
    /// A load whose future is kept and not polled may have a connection: drop it first.
    ///
    /// A driver that is dropped closes them too, without anyone waiting for it.
    pub async fn close(&self) {
        // Last the one that may write: the last connection to a file empties its log.
        self.0.readers.close().await;
        self.0.writer.close().await;
    }
}

impl fmt::Debug for SqliteDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteDriver")
            .field("file", &self.0.file)
            .field("environment", &self.0.environment.as_str())
            .finish_non_exhaustive()
    }
}

connection_of_sqlx!(sqlx::SqliteConnection, SqliteRow; packed::unpack);
sql_driver!(SqliteDriver);
