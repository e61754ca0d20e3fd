//! Storage: the [`Driver`] trait and the types that pass through it.
//!
//! A driver keeps records and items and answers conditional writes; it knows nothing of cookies,
//! requests or `serde`. It never sees a session id, only the id's [`SessionKey`](crate::SessionKey). The time of each
//! call is in its argument, so a driver has no clock of its own.
//!
//! To write one, implement [`Driver`] and hold it to the suite in `conformance` (cargo feature
//! `conformance`), as `examples/custom_driver` does.
//!
//! # What every driver promises
//!
//! - A commit is applied all or none, and so is every other call. Redis cannot end several sessions in
//!   one step: the docs of `RedisDriver` say what it does instead.
//! - A call whose future is dropped half-way leaves the storage as if it had not begun or as if it
//!   had finished.
//! - Writes to different keys of one session never undo each other.
//! - A write never brings back a session that was ended.
//! - A failure is an error, never the answer "there is no such session".

mod calls;
#[cfg(feature = "conformance")]
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
pub mod conformance;
mod connect;
mod error;
mod future;
mod items;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "redis"))]
mod lane;
mod memory;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "redis"))]
mod name;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod sorted;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "redis"))]
mod url;

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::{RedisDriver, RedisDriverBuilder};
pub use calls::{
    Cleanup, Commit, CommitOutcome, Create, CreateOutcome, Destroy, EndWhere, EnvironmentState,
    Found, Inspect, Keep, List, Load, Locator, OnMissing, ReplaceItem, ReplaceOutcome, Target,
};
pub use connect::{ConnectError, connect};
pub use error::{DriverError, DriverErrorKind};
pub use future::DriverFuture;
pub use items::{ApplicationChanges, ApplicationName, InvalidApplication, Items, Limits};
pub use memory::{MemoryDriver, MemoryDriverBuilder, WhenFull};
pub(crate) use record::hidden;
pub use record::{SessionChange, SessionRecord};
pub(crate) use sorted::SortedList;
#[cfg(feature = "mysql")]
#[cfg_attr(docsrs, doc(cfg(feature = "mysql")))]
pub use sql::mysql::{MySqlDriver, MySqlDriverBuilder};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use sql::postgres::{PostgresDriver, PostgresDriverBuilder};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sql::sqlite::{SqliteDriver, SqliteDriverBuilder};

use crate::id::SessionRef;

/// One storage medium. See the [module](self) for what every driver promises.
///
/// All methods return a [`DriverFuture`], which borrows nothing: a driver clones what it needs.
pub trait Driver: fmt::Debug + Send + Sync + 'static {
    /// The records that the locators name, expired or not, each with the items of the wanted
    /// application.
    ///
    /// A [`Locator::Key`] finds a record by its `key` and by its `previous_key`; the caller tells
    /// one from the other, and judges expiry. Each record is answered once, in no particular order.
    /// What does not exist is left out.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::TooLarge`] when the items exceed [`Load::limits`], without having
    /// gathered them in memory; [`DriverErrorKind::Corrupt`] when what is stored cannot be read.
    fn load(&self, load: Load) -> DriverFuture<Vec<Found>>;

    /// Stores a new session without items.
    fn create(&self, create: Create) -> DriverFuture<CreateOutcome>;

    /// Makes a request's changes last: all or, unless the answer is [`CommitOutcome::Done`], none.
    ///
    /// The order: the session of [`Commit::target`] is found or created, `changes` are applied,
    /// then `session`.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::TooLarge`] when an application with a `Set` would exceed
    /// [`Commit::limits`] afterwards.
    fn commit(&self, commit: Commit) -> DriverFuture<CommitOutcome>;

    /// Replaces one item if it still is what the caller saw, byte for byte.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::TooLarge`] as for [`commit`](Driver::commit), and when the stored text is
    /// longer than [`ReplaceItem::limits`] allow.
    fn replace_item(&self, replace: ReplaceItem) -> DriverFuture<ReplaceOutcome>;

    /// Removes the sessions with all of their items, expired ones too, and answers which of them
    /// existed. A key that is only a `previous_key` names none.
    fn destroy(&self, destroy: Destroy) -> DriverFuture<Vec<SessionRef>>;

    /// The record of one session, expired or not. A key that is only a `previous_key` names none.
    fn inspect(&self, inspect: Inspect) -> DriverFuture<Option<SessionRecord>>;

    /// The records of a principal's sessions that are not expired, the oldest first.
    fn list(&self, list: List) -> DriverFuture<Vec<SessionRecord>>;

    /// Removes a principal's sessions, all but [`EndWhere::except`] and [`EndWhere::keep`], and answers
    /// which existed.
    fn end_where(&self, end: EndWhere) -> DriverFuture<Vec<SessionRef>>;

    /// Removes sessions with `from` ≤ `expires` < `until` and their items, at most `limit`, and
    /// answers how many. Fewer than `limit` means that none is left.
    fn cleanup(&self, cleanup: Cleanup) -> DriverFuture<u64>;

    /// Whether the storage removes expired sessions by itself, sooner or later, so that requests need
    /// not start a [`cleanup`](Driver::cleanup) now and then. By default it does not.
    fn removes_expired(&self) -> bool {
        false
    }

    /// Which of the structures exist.
    ///
    /// # Errors
    ///
    /// Whatever keeps the driver from telling; "does not exist" is never a guess.
    fn environment(&self) -> DriverFuture<EnvironmentState>;

    /// Makes all structures.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::EnvironmentExists`] when any exists; nothing is changed then.
    fn create_environment(&self) -> DriverFuture<()>;

    /// Makes the structures that are missing and keeps the data of the others. Two processes may
    /// call it at once.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::EnvironmentDefective`] when a structure exists and is not what this
    /// version needs.
    fn ensure_environment(&self) -> DriverFuture<()>;

    /// Removes all structures with everything in them, defective ones too.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::EnvironmentMissing`] when one is missing and `missing` is
    /// [`OnMissing::Error`]; nothing is changed then.
    fn remove_environment(&self, missing: OnMissing) -> DriverFuture<()>;
}

macro_rules! forward_driver {
    ($pointer:ident) => {
        impl<D: Driver + ?Sized> Driver for $pointer<D> {
            fn load(&self, load: Load) -> DriverFuture<Vec<Found>> {
                (**self).load(load)
            }
            fn create(&self, create: Create) -> DriverFuture<CreateOutcome> {
                (**self).create(create)
            }
            fn commit(&self, commit: Commit) -> DriverFuture<CommitOutcome> {
                (**self).commit(commit)
            }
            fn replace_item(&self, replace: ReplaceItem) -> DriverFuture<ReplaceOutcome> {
                (**self).replace_item(replace)
            }
            fn destroy(&self, destroy: Destroy) -> DriverFuture<Vec<SessionRef>> {
                (**self).destroy(destroy)
            }
            fn inspect(&self, inspect: Inspect) -> DriverFuture<Option<SessionRecord>> {
                (**self).inspect(inspect)
            }
            fn list(&self, list: List) -> DriverFuture<Vec<SessionRecord>> {
                (**self).list(list)
            }
            fn end_where(&self, end: EndWhere) -> DriverFuture<Vec<SessionRef>> {
                (**self).end_where(end)
            }
            fn cleanup(&self, cleanup: Cleanup) -> DriverFuture<u64> {
                (**self).cleanup(cleanup)
            }
            fn removes_expired(&self) -> bool {
                (**self).removes_expired()
            }
            fn environment(&self) -> DriverFuture<EnvironmentState> {
                (**self).environment()
            }
            fn create_environment(&self) -> DriverFuture<()> {
                (**self).create_environment()
            }
            fn ensure_environment(&self) -> DriverFuture<()> {
                (**self).ensure_environment()
            }
            fn remove_environment(&self, missing: OnMissing) -> DriverFuture<()> {
                (**self).remove_environment(missing)
            }
        }
    };
}

forward_driver!(Arc);
forward_driver!(Box);
