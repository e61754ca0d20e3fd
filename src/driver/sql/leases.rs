//! Connections of a pool, and those that stay here for the next call.
//!
//! A pool asks the database whether a connection is sound before it takes it back: one trip more for each call.
//! Connections of a pool that nobody else uses are kept here instead, for a minute each.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool};
use tokio::time::Instant;

use crate::sync::Mutex;

/// How long a connection stays here, after which the pool sees whether it is too old.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Whose connections a pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PoolOf {
    /// The driver's, which nobody else uses.
    Driver,
    /// The application's, to which each goes back at once.
    Application,
}

/// What becomes of a connection whose call does not end well, or is dropped half-way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "sqlite", any(feature = "postgres", feature = "mysql"))),
    allow(dead_code, reason = "a server's is closed, and SQLite's is the database perhaps")
)]
pub(super) enum IfUnsound {
    /// It is closed: a transaction may be open, or an answer on its way.
    Close,
    /// It goes to the pool, which finds out what it is worth.
    GiveBack,
}

/// The connections of a driver.
pub(super) struct Leases<D: Database> {
    pool: Pool<D>,
    pool_of: PoolOf,
    if_unsound: IfUnsound,
    /// The latest that was used last.
    kept: Mutex<Vec<Kept<D>>>,
    /// How many calls want one: what a call gives back goes to the pool then, which has those who wait.
    wanted: AtomicUsize,
}

struct Kept<D: Database> {
    connection: PoolConnection<D>,
    /// Since when it is out of the pool.
    since: Instant,
}

impl<D: Database> Leases<D> {
    pub(super) fn new(pool: Pool<D>, pool_of: PoolOf, if_unsound: IfUnsound) -> Self {
        Self {
            pool,
            pool_of,
            if_unsound,
            kept: Mutex::new(Vec::new()),
            wanted: AtomicUsize::new(0),
        }
    }

    /// A connection, for which the pool waits as long as it waits.
    pub(super) async fn lease(&self) -> Result<Lease<'_, D>, sqlx::Error> {
        // Before the look at those that are kept: whoever keeps one later finds out that it is wanted.
        let _wanted = Wanted::new(&self.wanted);
        let kept = self.kept.lock().pop();
        let kept = match kept {
            Some(kept) => kept,
            None => Kept { connection: self.pool.acquire().await?, since: Instant::now() },
        };
        Ok(Lease { of: self, kept: Some(kept) })
    }

    /// Closes all connections, after the calls that have them.
    pub(super) async fn close(&self) {
        // From here on none is kept any more.
        let closing = self.pool.close();
        self.give_back();
        closing.await;
    }

    /// Gives the pool those that are kept.
    fn give_back(&self) {
        let kept = std::mem::take(&mut *self.kept.lock());
        drop(kept);
    }

    /// The options of a connection that the pool would open.
    pub(super) fn connect_options(&self) -> Arc<Options<D>> {
        self.pool.connect_options()
    }

    /// How many connections there are at most.
    pub(super) fn most(&self) -> u32 {
        self.pool.options().get_max_connections()
    }

    /// The pool, which has all connections that no call has.
    #[cfg(all(test, feature = "sqlite"))]
    pub(super) fn pool(&self) -> &Pool<D> {
        self.give_back();
        &self.pool
    }

    fn take_back(&self, used: Kept<D>) {
        if self.pool_of == PoolOf::Driver && used.since.elapsed() < KEPT_FOR {
            let mut kept = self.kept.lock();
            if self.wanted.load(Ordering::SeqCst) == 0 && !self.pool.is_closed() {
                kept.push(used);
                return;
            }
        }
        drop(used);
    }
}

type Options<D> = <<D as Database>::Connection as sqlx::Connection>::Options;

impl<D: Database> Drop for Leases<D> {
    /// Closes those that are kept. There may be no runtime any more on which they could go back.
    fn drop(&mut self) {
        for kept in self.kept.get_mut().drain(..) {
            drop(kept.connection.detach());
        }
    }
}

/// Counts a call that wants a connection, until it has one or gives up.
struct Wanted<'a>(&'a AtomicUsize);

impl<'a> Wanted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection that a call has, which is unsound until the call is [`done`](Self::done) with it.
pub(super) struct Lease<'a, D: Database> {
    of: &'a Leases<D>,
    /// `None` when the lease has ended.
    kept: Option<Kept<D>>,
}

impl<D: Database> Lease<'_, D> {
    /// Says that the last statement has ended well.
    pub(super) fn done(mut self) {
        if let Some(used) = self.kept.take() {
            self.of.take_back(used);
        }
    }

    /// Closes the connection.
    #[cfg(feature = "sqlite")]
    pub(super) fn close(mut self) {
        if let Some(mut used) = self.kept.take() {
            used.connection.close_on_drop();
        }
    }
}

impl<D: Database> Drop for Lease<'_, D> {
    fn drop(&mut self) {
        if let (Some(unsound), IfUnsound::Close) = (&mut self.kept, self.of.if_unsound) {
            unsound.connection.close_on_drop();
        }
    }
}

impl<D: Database> Deref for Lease<'_, D> {
    type Target = D::Connection;

    #[expect(clippy::expect_used, reason = "it is taken when the lease has ended")]
    fn deref(&self) -> &D::Connection {
        &self.kept.as_ref().expect("a lease that has not ended").connection
    }
}

impl<D: Database> DerefMut for Lease<'_, D> {
    #[expect(clippy::expect_used, reason = "it is taken when the lease has ended")]
    fn deref_mut(&mut self) -> &mut D::Connection {
        &mut self.kept.as_mut().expect("a lease that has not ended").connection
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::time::Duration;

    use sqlx::sqlite::SqlitePoolOptions;
    use sqlx::{Sqlite, SqlitePool};
    use tokio::runtime::Runtime;
    use tokio::time::{advance, pause, timeout};

    use super::*;

    fn rig(pool_of: PoolOf, if_unsound: IfUnsound) -> Leases<Sqlite> {
        let one = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false);
        Leases::new(one.connect_lazy("sqlite::memory:").unwrap(), pool_of, if_unsound)
    }

    fn kept(leases: &Leases<Sqlite>) -> usize {
        leases.kept.lock().len()
    }

    async fn becomes_idle(pool: &SqlitePool) {
        while pool.num_idle() == 0 {
            tokio::task::yield_now().await;
        }
    }

    // P2
    #[tokio::test]
    async fn what_a_call_is_done_with_stays_here_unless_the_pool_is_the_applications() {
        let leases = rig(PoolOf::Driver, IfUnsound::Close);
        leases.lease().await.unwrap().done();
        assert_eq!((kept(&leases), leases.pool.num_idle()), (1, 0));
        let again = leases.lease().await.unwrap();
        assert_eq!((kept(&leases), leases.pool.size()), (0, 1));
        again.done();
        becomes_idle(leases.pool()).await;

        let leases = rig(PoolOf::Application, IfUnsound::Close);
        leases.lease().await.unwrap().done();
        assert_eq!(kept(&leases), 0);
        becomes_idle(&leases.pool).await;
    }

    // P2
    #[tokio::test]
    async fn who_waits_gets_what_another_is_done_with() {
        let leases = rig(PoolOf::Driver, IfUnsound::Close);
        let first = leases.lease().await.unwrap();
        let second = async { timeout(Duration::from_secs(10), leases.lease()).await };
        let done = async {
            tokio::task::yield_now().await;
            first.done();
        };
        let (second, ()) = tokio::join!(second, done);
        second.unwrap().unwrap().done();
        // Who has given up waits no more.
        let first = leases.lease().await.unwrap();
        assert!(timeout(Duration::from_millis(1), leases.lease()).await.is_err());
        first.done();
        assert_eq!(kept(&leases), 1);
    }

    // P2
    #[tokio::test]
    async fn after_a_minute_the_pool_has_a_look_at_a_connection() {
        let leases = rig(PoolOf::Driver, IfUnsound::Close);
        leases.lease().await.unwrap().done();
        pause();
        for (seconds, stays) in [(59, 1), (2, 0)] {
            let lease = leases.lease().await.unwrap();
            advance(Duration::from_secs(seconds)).await;
            lease.done();
            assert_eq!(kept(&leases), stays);
        }
    }

    // D6
    #[tokio::test]
    async fn what_a_call_is_not_done_with_is_closed_or_seen_by_the_pool() {
        for if_unsound in [IfUnsound::Close, IfUnsound::GiveBack] {
            let leases = rig(PoolOf::Driver, if_unsound);
            let mut lease = leases.lease().await.unwrap();
            sqlx::raw_sql("CREATE TABLE t (x)").execute(&mut *lease).await.unwrap();
            drop(lease);
            assert_eq!(kept(&leases), 0);
            let mut lease = leases.lease().await.unwrap();
            let is_the_same = sqlx::raw_sql("SELECT x FROM t").execute(&mut *lease).await.is_ok();
            assert_eq!(is_the_same, if_unsound == IfUnsound::GiveBack);
        }
    }

    #[tokio::test]
    async fn closing_waits_for_calls_and_keeps_nothing() {
        let leases = rig(PoolOf::Driver, IfUnsound::Close);
        leases.lease().await.unwrap().done();
        leases.close().await;
        assert_eq!((kept(&leases), leases.pool.size()), (0, 0));
        assert!(matches!(leases.lease().await, Err(sqlx::Error::PoolClosed)));

        let leases = rig(PoolOf::Driver, IfUnsound::Close);
        let lease = leases.lease().await.unwrap();
        let done = async {
            tokio::task::yield_now().await;
            lease.done();
        };
        tokio::join!(leases.close(), done);
        assert_eq!((kept(&leases), leases.pool.size()), (0, 0));
    }

    #[test]
    fn a_driver_may_be_dropped_without_a_runtime() {
        let runtime = Runtime::new().unwrap();
        let leases = runtime.block_on(async {
            let leases = rig(PoolOf::Driver, IfUnsound::Close);
            leases.lease().await.unwrap().done();
            leases
        });
        drop(runtime);
        assert_eq!(kept(&leases), 1);
        drop(leases);
    }
}
