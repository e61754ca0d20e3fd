//! The time source, and the millisecond time stamp that drivers store.
//!
//! Nothing in this crate reads the system's time except [`SystemClock`]: a [`ManualClock`] in its
//! place lets a test see an expiry without sleeping.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Where the current time comes from. Replace it with
/// [`clock`](crate::SessionLayerBuilder::clock).
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> SystemTime;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }
}

/// The system's clock: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still until a test moves it. Clones show the same time.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use web_session::{Clock, ManualClock};
///
/// let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(60));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows `now`, cut to milliseconds.
    pub fn new(now: SystemTime) -> Self {
        Self(Arc::new(AtomicI64::new(Timestamp::from(now).as_millis())))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, now: SystemTime) {
        self.0.store(Timestamp::from(now).as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst)).into()
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z, as drivers store them.
///
/// All times are cut to this unit before a driver sees them, so that a boundary is the same
/// instant on every storage. Arithmetic saturates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// The earliest time stamp there is.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time stamp there is.
    pub const MAX: Self = Self(i64::MAX);

    /// The time stamp `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This time plus `duration`.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This time minus `duration`.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(millis(after)),
            // Cut towards the past, as for times after the epoch.
            Err(before) => {
                let before = before.duration();
                let cut = i64::from(before.subsec_nanos() % 1_000_000 != 0);
                Self(millis(before).saturating_neg().saturating_sub(cut))
            }
        }
    }
}

impl From<Timestamp> for SystemTime {
    /// Saturates at what the platform can represent.
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_millis(time.0.unsigned_abs());
        // The widest distance that every platform of the standard library can represent after
        // the epoch; before it, Windows ends in the year 1601.
        const FAR: Duration = Duration::from_secs(900_000_000_000);
        if time.0 >= 0 {
            UNIX_EPOCH.checked_add(distance).unwrap_or(UNIX_EPOCH + FAR)
        } else {
            UNIX_EPOCH.checked_sub(distance).unwrap_or(UNIX_EPOCH)
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_way_through_a_time_stamp_cut_to_milliseconds() {
        for (nanos, millis) in [(0_i64, 0_i64), (1_999_999, 1), (-1, -1), (-1_000_000, -1)] {
            let distance = Duration::from_nanos(nanos.unsigned_abs());
            let time = if nanos < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
            assert_eq!(Timestamp::from(time), Timestamp::from_millis(millis), "{nanos} ns");
        }
    }

    #[test]
    fn extremes_saturate_and_never_panic() {
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.saturating_sub(Duration::MAX), Timestamp::MIN);
        assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
        let _ = SystemTime::from(Timestamp::MAX);
        let _ = SystemTime::from(Timestamp::MIN);
    }
}
