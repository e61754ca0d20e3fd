//! Settings of a driver.

use std::sync::Arc;

use super::MemoryDriver;
use super::room::Room;
use super::storage::Storage;
use crate::driver::{DriverError, DriverErrorKind};

pub(super) const DEFAULT_MAX_SESSIONS: usize = 1_000_000;

/// Settings of a [`MemoryDriver`]; see [`MemoryDriver::builder`].
#[derive(Debug, Clone)]
#[must_use = "there is no driver before `build` is called"]
pub struct MemoryDriverBuilder {
    max_sessions: usize,
    when_full: WhenFull,
}

impl MemoryDriverBuilder {
    pub(super) fn new() -> Self {
        Self { max_sessions: DEFAULT_MAX_SESSIONS, when_full: WhenFull::default() }
    }

    /// How many sessions there may be, expired ones that nobody has removed included. There are never
    /// more, not for a moment. Default: 1 000 000; at least 1; `usize::MAX` is as good as no bound.
    ///
    /// The default is out of the way of a site that eleven new visitors find each second, all day, with
    /// sessions of a day, and keeps a flood to less than half a gigabyte: a session takes about 350 bytes
    /// over the items of one application, and 200 more as soon as it has anything else, such as an idle
    /// timeout, a principal or a second application. The bound is one of sessions and not of bytes. How
    /// much each of them may hold is said by the layer's [`limits`](crate::SessionLayerBuilder::limits);
    /// where visitors choose what is stored, the two have to fit the memory together.
    pub fn max_sessions(mut self, most: usize) -> Self {
        self.max_sessions = most;
        self
    }

    /// What becomes of a session that would be one too many. Default: [`WhenFull::Refuse`].
    pub fn when_full(mut self, policy: WhenFull) -> Self {
        self.when_full = policy;
        self
    }

    /// An empty storage, with its environment.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::Configuration`] when no session is allowed at all.
    pub fn build(self) -> Result<MemoryDriver, DriverError> {
        if self.max_sessions == 0 {
            return Err(DriverError::new(
                DriverErrorKind::Configuration,
                "`max_sessions` of the memory driver is at least 1",
            ));
        }
        let room = Room::new(self.max_sessions, self.when_full);
        Ok(MemoryDriver(Arc::new(Storage::new(room))))
    }
}

/// What a [`MemoryDriver`] does when a session is to be created and there are as many as there may be.
///
/// Either way an expired session is removed first, the one that expired longest ago, at the time of
/// the call: a storage that is full of expired sessions takes new ones without a cleanup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// The new session is refused with [`DriverErrorKind::Full`], and its visitor gets a 503. Who has a
    /// session keeps it, and can read, write and rotate it as ever.
    ///
    /// The default: those who flood a site with new sessions keep others from getting one until some
    /// expire, and take none away. With [`EvictSoonestToExpire`](Self::EvictSoonestToExpire) they would
    /// log everybody out.
    #[default]
    Refuse,
    /// The session that expires soonest is removed, logged in or not, and the new one takes its place.
    /// Its visitor's next request finds no session, and a request that is using it gets a 409 at its
    /// commit. Nothing tells the application.
    ///
    /// It is the soonest of all sessions that are there when the call looks for it; of those that are
    /// created or given another expiry at that same moment, some may be overlooked. A session that is
    /// given another expiry before it is removed stays, and the call looks again. With equal expiries the
    /// one that was created first goes, to the millisecond. A call never fails for want of room.
    EvictSoonestToExpire,
}
