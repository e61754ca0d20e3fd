//! Connections of a pool, and those that stay here for the next call.
//!
//! A pool asks the database whether a connection is sound before it takes it back: one trip more for each call.
//! Connections of a pool that nobody else uses are kept here instead, as long as they are used.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::sync::Mutex;

/// After this time the pool sees whether a connection is too old, and after as long without a call it has all back.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// A connection that has answered within this time is most likely still there.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const FRESH_FOR: Duration = Duration::from_secs(1);

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
    state: Mutex<State<D>>,
}

struct State<D: Database> {
    /// The latest that was used last.
    kept: Vec<Kept<D>>,
    /// How many calls want one: what a call gives back goes to the pool then, which has those who wait.
    wanted: usize,
    /// Whether a task looks for connections that nobody uses.
    is_watched: bool,
}

struct Kept<D: Database> {
    connection: PoolConnection<D>,
    /// Since when it is out of the pool.
    since: Instant,
    /// When a call was done with it, or it came out of the pool.
    used: Instant,
    /// Whether it is known that no transaction is open on it between two calls. In the pool somebody may have left one
    /// open.
    #[cfg(feature = "sqlite")]
    has_no_transaction: bool,
}

impl<D: Database> Leases<D> {
    pub(super) fn new(pool: Pool<D>, pool_of: PoolOf, if_unsound: IfUnsound) -> Arc<Self> {
        let state = State { kept: Vec::new(), wanted: 0, is_watched: false };
        Arc::new(Self { pool, pool_of, if_unsound, state: Mutex::new(state) })
    }

    /// A connection, for which the pool waits as long as it waits.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease<'_, D>, sqlx::Error> {
        let kept = self.state.lock().kept.pop();
        let kept = match kept {
            Some(kept) => kept,
            None => self.acquire().await?,
        };
        Ok(Lease { of: self, kept: Some(kept) })
    }

    async fn acquire(&self) -> Result<Kept<D>, sqlx::Error> {
        let _wanted = Wanted::new(&self.state);
        // One may have been kept before it was known that it is wanted.
        let kept = self.state.lock().kept.pop();
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let connection = self.pool.acquire().await?;
        let now = Instant::now();
        Ok(Kept {
            connection,
            since: now,
            used: now,
            #[cfg(feature = "sqlite")]
            has_no_transaction: false,
        })
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
        let kept = mem::take(&mut self.state.lock().kept);
        drop(kept);
    }

    /// Gives the pool those that nobody has used for some time. Whether none is left.
    fn give_back_unused(&self) -> bool {
        let mut state = self.state.lock();
        let is_unused = |kept: &mut Kept<D>| kept.used.elapsed() >= KEPT_FOR;
        let unused: Vec<_> = state.kept.extract_if(.., is_unused).collect();
        let none_is_left = state.kept.is_empty();
        state.is_watched = !none_is_left;
        drop(state);
        drop(unused);
        none_is_left
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

    fn take_back(self: &Arc<Self>, mut used: Kept<D>) {
        let now = Instant::now();
        used.used = now;
        let may_stay = self.pool_of == PoolOf::Driver && now.duration_since(used.since) < KEPT_FOR;
        let (true, Ok(runtime)) = (may_stay, Handle::try_current()) else { return };
        let mut state = self.state.lock();
        if state.wanted > 0 || self.pool.is_closed() {
            return;
        }
        state.kept.push(used);
        // A file is no worse for a connection that stays open.
        let watches = self.if_unsound == IfUnsound::Close && !state.is_watched;
        state.is_watched |= watches;
        drop(state);
        if watches {
            runtime.spawn(watch(Watched(Arc::downgrade(self))));
        }
    }
}

/// Gives connections back that nobody uses, until there are none or the driver is gone.
async fn watch<D: Database>(watched: Watched<D>) {
    loop {
        sleep(KEPT_FOR).await;
        let Some(leases) = watched.0.upgrade() else { return };
        if leases.give_back_unused() {
            return;
        }
    }
}

/// Says that nobody watches any more, also if the runtime is shut down.
struct Watched<D: Database>(Weak<Leases<D>>);

impl<D: Database> Drop for Watched<D> {
    fn drop(&mut self) {
        if let Some(leases) = self.0.upgrade() {
            leases.state.lock().is_watched = false;
        }
    }
}

type Options<D> = <<D as Database>::Connection as sqlx::Connection>::Options;

impl<D: Database> Drop for Leases<D> {
    /// Closes those that are kept. There may be no runtime any more on which they could go back.
    fn drop(&mut self) {
        for kept in self.state.get_mut().kept.drain(..) {
            drop(kept.connection.detach());
        }
    }
}

/// Counts a call that wants a connection of the pool, until it has one or gives up.
struct Wanted<'a, D: Database>(&'a Mutex<State<D>>);

impl<'a, D: Database> Wanted<'a, D> {
    fn new(state: &'a Mutex<State<D>>) -> Self {
        state.lock().wanted += 1;
        Self(state)
    }
}

impl<D: Database> Drop for Wanted<'_, D> {
    fn drop(&mut self) {
        self.0.lock().wanted -= 1;
    }
}

/// A connection that a call has, which is unsound until the call is [`done`](Self::done) with it.
pub(super) struct Lease<'a, D: Database> {
    of: &'a Arc<Leases<D>>,
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

    /// Whether it has answered a short time ago, and after another one was last found lost.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(super) fn is_fresh(&self, other_lost: Option<Instant>) -> bool {
        let has_answered = |kept: &Kept<D>| kept.used > kept.since && Some(kept.used) > other_lost;
        self.kept.as_ref().is_some_and(|kept| has_answered(kept) && kept.used.elapsed() < FRESH_FOR)
    }

    /// Whether it is known that no transaction is open.
    #[cfg(feature = "sqlite")]
    pub(super) fn has_no_transaction(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.has_no_transaction)
    }

    /// Notes that no transaction is open, which is so after each call that was [`done`](Self::done) with it.
    #[cfg(feature = "sqlite")]
    pub(super) fn note_that_no_transaction_is_open(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.has_no_transaction = true;
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
    use tokio::time::{advance, pause, resume, timeout};

    use super::*;

    fn rig(pool_of: PoolOf, if_unsound: IfUnsound) -> Arc<Leases<Sqlite>> {
        let one = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false);
        Leases::new(one.connect_lazy("sqlite::memory:").unwrap(), pool_of, if_unsound)
    }

    fn kept(leases: &Leases<Sqlite>) -> usize {
        leases.state.lock().kept.len()
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

    // P2
    #[tokio::test]
    async fn after_a_minute_without_a_call_the_pool_of_a_server_has_them_all() {
        for (if_unsound, rounds, left) in [(IfUnsound::Close, 2, 0), (IfUnsound::GiveBack, 1, 1)] {
            let leases = rig(PoolOf::Driver, if_unsound);
            for _ in 0..rounds {
                leases.lease().await.unwrap().done();
                pause();
                let watches = if_unsound == IfUnsound::Close;
                assert_eq!(leases.state.lock().is_watched, watches);
                // The watcher begins to wait, looks, looks again, and has ended.
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                    advance(KEPT_FOR).await;
                }
                tokio::task::yield_now().await;
                assert_eq!((kept(&leases), leases.state.lock().is_watched), (left, false));
                resume();
                if left == 0 {
                    becomes_idle(&leases.pool).await;
                }
            }
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
