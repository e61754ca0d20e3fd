//! Sessions in SQLite.

mod builder;
mod environment;
mod error;
mod read;
mod statements;
mod storage;
#[cfg(test)]
mod tests;
mod url;
mod write;

use std::fmt;
use std::sync::Arc;

pub use builder::SqliteDriverBuilder;
use environment::{CreateEnvironment, EnsureEnvironment, RemoveEnvironment};
use storage::Storage;

use crate::driver::{
    Cleanup, Commit, CommitOutcome, Create, CreateOutcome, Destroy, Driver, DriverError,
    DriverFuture, EndWhere, EnvironmentState, Found, Inspect, List, Load, OnMissing, ReplaceItem,
    ReplaceOutcome, SessionRecord,
};
use crate::id::SessionRef;

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
/// may take the last commits with it, and leaves the file sound. Beside `sessions.db` there are
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
/// # Cancel safety
///
/// A call that writes has its place in the queue once it was polled, and runs on a task of its own
/// when its turn has come. If its future is dropped before that, it is skipped; dropping it later does
/// not stop it, and it is applied all or none, before any call that was polled after it. A future that
/// is kept and not polled any more holds up no call that writes to a file.
#[derive(Clone)]
pub struct SqliteDriver(Arc<Storage>);

impl SqliteDriver {
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

    /// Waits for the running calls and closes the connections, of all clones, which moves what is in
    /// the `-wal` file into the file itself. Later calls fail with
    /// [`DriverErrorKind::Unavailable`](crate::driver::DriverErrorKind::Unavailable).
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

/// Runs a call that reads, inside the caller's future.
macro_rules! read {
    ($driver:ident, $function:path $(, $argument:ident)?) => {{
        let storage = $driver.0.clone();
        DriverFuture::new(async move {
            let answer = $function(&storage $(, &$argument)?).await;
            answer.map_err(|failure| storage.error(failure))
        })
    }};
}

impl Driver for SqliteDriver {
    fn load(&self, load: Load) -> DriverFuture<Vec<Found>> {
        read!(self, read::load, load)
    }

    fn create(&self, create: Create) -> DriverFuture<CreateOutcome> {
        self.0.write(create)
    }

    fn commit(&self, commit: Commit) -> DriverFuture<CommitOutcome> {
        self.0.write(commit)
    }

    fn replace_item(&self, replace: ReplaceItem) -> DriverFuture<ReplaceOutcome> {
        self.0.write(replace)
    }

    fn destroy(&self, destroy: Destroy) -> DriverFuture<Vec<SessionRef>> {
        self.0.write(destroy)
    }

    fn inspect(&self, inspect: Inspect) -> DriverFuture<Option<SessionRecord>> {
        read!(self, read::inspect, inspect)
    }

    fn list(&self, list: List) -> DriverFuture<Vec<SessionRecord>> {
        read!(self, read::list, list)
    }

    fn end_where(&self, end: EndWhere) -> DriverFuture<Vec<SessionRef>> {
        self.0.write(end)
    }

    fn cleanup(&self, cleanup: Cleanup) -> DriverFuture<u64> {
        self.0.write(cleanup)
    }

    fn environment(&self) -> DriverFuture<EnvironmentState> {
        read!(self, environment::state)
    }

    fn create_environment(&self) -> DriverFuture<()> {
        self.0.write(CreateEnvironment)
    }

    fn ensure_environment(&self) -> DriverFuture<()> {
        self.0.write(EnsureEnvironment)
    }

    fn remove_environment(&self, missing: OnMissing) -> DriverFuture<()> {
        self.0.write(RemoveEnvironment(missing))
    }
}
