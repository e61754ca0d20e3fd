//! Server-side sessions for `tower` services and `axum` routers: the storage.

#![allow(dead_code, unexpected_cfgs, reason = "the session manager uses what the storage has")]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod clock;
pub mod driver;
mod error;
mod id;
mod random;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use driver::{
    ApplicationName, ConnectError, Driver, InvalidApplication, Limits, MemoryDriver, OnMissing,
    connect,
};
#[cfg(feature = "sqlite")]
pub use driver::{SqliteDriver, SqliteDriverBuilder};
pub use error::{
    BuildError, ConfigError, JsonError, LoadError, OnWarning, SessionError, SessionWarning,
};
pub use id::{ExposedId, MalformedId, SessionId, SessionKey, SessionRef};
pub use random::{OsRandom, RandomError, RandomSource, Seed};

mod manager {
    pub(crate) const MAX_ATTEMPTS: usize = 100;
}
