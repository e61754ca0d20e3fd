//! How many sessions there may be.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::builder::{DEFAULT_MAX_SESSIONS, WhenFull};
use crate::clock::Timestamp;

/// One place for each session.
pub(super) struct Room {
    places: usize,
    taken: AtomicUsize,
    when_full: WhenFull,
}

impl Default for Room {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_SESSIONS, WhenFull::default())
    }
}

impl Room {
    pub(super) fn new(places: usize, when_full: WhenFull) -> Self {
        Self { places, taken: AtomicUsize::new(0), when_full }
    }

    /// Takes a place; `false` if there is none.
    pub(super) fn take(&self) -> bool {
        let one_more = |taken| (taken < self.places).then(|| taken + 1);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok()
    }

    pub(super) fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether a session that expires then may be removed for the sake of another.
    pub(super) fn may_evict(&self, expires: Timestamp, now: Timestamp) -> bool {
        expires <= now || self.when_full == WhenFull::EvictSoonestToExpire
    }
}
