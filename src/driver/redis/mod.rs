//! Sessions in Redis and in Redis Cluster.

mod answer;
mod builder;
mod cleanup;
mod commit;
mod environment;
mod error;
mod keys;
mod link;
mod plain;
mod principals;
mod scripts;
mod session;
mod small;
mod storage;
mod together;
mod url;

use std::fmt;
use std::sync::Arc;

pub use builder::RedisDriverBuilder;
use storage::{Storage, expect_runtime};

use super::{
    Cleanup, Commit, CommitOutcome, Create, CreateOutcome, Destroy, Driver, DriverError,
    DriverFuture, EndWhere, EnvironmentState, Found, Inspect, List, Load, OnMissing, ReplaceItem,
    ReplaceOutcome, SessionRecord,
};
use crate::id::SessionRef;

/// Keeps sessions in Redis or in a Redis Cluster, which several machines may share. It needs
/// Redis 7.0 or later, and is tested with 7.0.
///
/// ```no_run
/// use std::time::Duration;
/// use web_session::RedisDriver;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let driver = RedisDriver::builder("rediss://app:secret@redis.example.com")
///     .environment("shop")
///     .call_timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// Clones share one multiplexed connection, which is made again when it is lost.
///
/// # URLs
///
/// | URL | storage |
/// |---|---|
/// | `redis://host:6379/0` | a server and the number of a database, 0 if none is given |
/// | `redis://user:password@host` | with an ACL user; `redis://:password@host` for the user `default` |
/// | `redis-cluster://host:7001?node=host:7002&node=host:7003` | a cluster, by some nodes; the others are found |
/// | `rediss://…`, `rediss-cluster://…` | the same over TLS; certificates are checked against the system's |
///
/// TLS uses the process's default provider of `rustls`; if there is none, `ring` becomes it.
///
/// # What is stored
///
/// A session is one hash with its record and all items, so that one script reads or writes it
/// atomically, and in a cluster it lies in one slot, sessions being spread over all. What leads to it
/// from other slots (a fresh id after a rotation, its reference, its principal) is written before, and
/// means nothing unless the session agrees; so nothing is lost between two steps.
///
/// A session of up to 16 KiB is read whole, with the items of all applications, which is quicker than to
/// choose; of a larger one no more than what is wanted is sent, except once where another process has made
/// it large. A load, a commit of items, and on a single server a new session take one round trip each; two
/// with a session that is larger or that there is not, and under an id that a rotation gave. On a single
/// server up to 32 calls that wait at the same moment share a round trip: one script runs them, each by
/// itself; sessions that this driver has lately found to be small (32 768 at most) are read by commands in
/// one pipeline. A lone call goes at once. What a `redis:` URL names has to be one server, or a proxy that
/// refuses a script whose keys lie on several; `redis-cluster:` is for a cluster.
///
/// The times of a session are compared with the clock of the application. Redis' own expiry collects
/// what is left over, [`garbage_after`](RedisDriverBuilder::garbage_after) the end of a session; so
/// cleaning up is not needed, and requests do not start it by chance. An explicit cleanup walks over all
/// keys with `SCAN`, in small steps, and leaves alone what is no session.
///
/// The index of a principal is checked where it is used: a login looks at some of its sessions, and takes
/// out those that have gone.
///
/// Each session is ended by itself. If a call ends several and one of them fails, the others are ended
/// nevertheless and the answer is the error; the same call again tries the rest.
///
/// Times beyond the year 287 000 are compared to the nearest.
///
/// # Settings of the server
///
/// `maxmemory-policy` has to be `noeviction`, the default: any other loses sessions when the memory
/// is full, and a warning in the log says so. With `noeviction` writes then fail, and nothing is lost.
///
/// # Durability
///
/// Redis answers before its data is on a disk. With `appendonly yes` and `appendfsync everysec` a crash
/// of the server takes at most the last second with it, or two while the disk is slow, without
/// `appendonly` all since the last snapshot. A replica gets writes after they were answered: when it takes
/// over, the last ones may be missing, among them a logout.
///
/// # Time
///
/// A call takes at most [`call_timeout`](RedisDriverBuilder::call_timeout), whatever the server does, and
/// then fails; the layer answers 503. A call that writes and whose connection was lost is not repeated, since it may
/// have been done. While a replica takes over calls wait for it, up to their time.
///
/// A cleanup takes as long as there are keys, and only each of its steps as long as a call. Removing the
/// environment has the time of one call: if there are too many keys for that, it fails with
/// [`Timeout`](super::DriverErrorKind::Timeout), from then on the environment is absent, and removing or
/// making it again goes on with the removal.
///
/// # Permissions
///
/// An ACL user needs the keys `<environment>:*` and the commands `EVAL`, `EVALSHA`, `GET`, `SET`, `HGET`,
/// `HGETALL`, `HSET`, `HDEL`, `DEL`, `UNLINK`, `EXISTS`, `PEXPIRE`, `PTTL`, `ZADD`, `ZCARD`, `ZRANDMEMBER`,
/// `ZRANGE`, `ZREM`, `ZSCAN`, `ZSCORE`, `TIME`, `SCAN`, `PING`, for a database other than 0 `SELECT`, and in a
/// cluster `CLUSTER SLOTS`. `INFO` is used if it is allowed.
///
/// # Cancel safety
///
/// What was sent is done, and what was not sent is not. A call that has to write in several places to be
/// done goes on by itself.
#[derive(Clone)]
pub struct RedisDriver(Arc<Storage>);

impl RedisDriver {
    /// Connects with the default settings.
    ///
    /// # Errors
    ///
    /// As [`RedisDriverBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self, DriverError> {
        Self::builder(url).connect().await
    }

    /// Settings for a driver that are not the defaults.
    pub fn builder(url: &str) -> RedisDriverBuilder {
        RedisDriverBuilder::new(url)
    }
}

impl fmt::Debug for RedisDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDriver")
            .field("place", &self.0.place)
            .field("environment", &self.0.keys.0.as_str())
            .finish_non_exhaustive()
    }
}

impl Driver for RedisDriver {
    fn load(&self, load: Load) -> DriverFuture<Vec<Found>> {
        let storage = self.0.clone();
        DriverFuture::new(async move {
            expect_runtime()?;
            storage.load(&load).await
        })
    }

    fn create(&self, create: Create) -> DriverFuture<CreateOutcome> {
        let reserves = create.session.principal.is_some();
        if reserves {
            return self.0.call_to_its_end(|storage| async move { storage.create(&create).await });
        }
        let storage = self.0.clone();
        DriverFuture::new(async move {
            expect_runtime()?;
            storage.create(&create).await
        })
    }

    fn commit(&self, commit: Commit) -> DriverFuture<CommitOutcome> {
        let reserves = commit::reserves(&commit);
        if reserves {
            return self.0.call_to_its_end(|storage| async move { storage.commit(&commit).await });
        }
        // In a box of its own, so that neither block is large.
        let (storage, commit) = (self.0.clone(), Box::new(commit));
        DriverFuture::new(async move {
            expect_runtime()?;
            storage.commit(&commit).await
        })
    }

    fn replace_item(&self, replace: ReplaceItem) -> DriverFuture<ReplaceOutcome> {
        self.0.call(|storage| async move { storage.replace_item(replace).await })
    }

    fn destroy(&self, destroy: Destroy) -> DriverFuture<Vec<SessionRef>> {
        self.0.call_to_its_end(|storage| async move { storage.destroy(destroy).await })
    }

    fn inspect(&self, inspect: Inspect) -> DriverFuture<Option<SessionRecord>> {
        self.0.call(|storage| async move { storage.inspect_one(inspect).await })
    }

    fn list(&self, list: List) -> DriverFuture<Vec<SessionRecord>> {
        self.0.call(|storage| async move { storage.list(list).await })
    }

    fn end_where(&self, end: EndWhere) -> DriverFuture<Vec<SessionRef>> {
        self.0.call_to_its_end(|storage| async move { storage.end_where(end).await })
    }

    fn cleanup(&self, cleanup: Cleanup) -> DriverFuture<u64> {
        self.0.call_in_steps(move |storage| async move { storage.cleanup(cleanup).await })
    }

    fn removes_expired(&self) -> bool {
        true
    }

    fn environment(&self) -> DriverFuture<EnvironmentState> {
        self.0.call(|storage| async move { storage.environment().await })
    }

    fn create_environment(&self) -> DriverFuture<()> {
        self.0.call_to_its_end(Storage::create_environment)
    }

    fn ensure_environment(&self) -> DriverFuture<()> {
        self.0.call_to_its_end(Storage::ensure_environment)
    }

    fn remove_environment(&self, missing: OnMissing) -> DriverFuture<()> {
        self.0.call_to_its_end(move |storage| storage.remove_environment(missing))
    }
}
