//! Which sessions expire when.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::id::SessionRef;
use crate::sync::Mutex;

/// Sessions in the order of their expiry, so that a cleanup does not walk over all of them.
pub(super) struct ExpiryIndex([Mutex<BTreeSet<(Timestamp, SessionRef)>>; Self::SHARDS]);

impl Default for ExpiryIndex {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl ExpiryIndex {
    /// Enough that creations on many cores rarely meet.
    pub(super) const SHARDS: usize = 16;

    #[expect(clippy::indexing_slicing, reason = "the remainder is below the length")]
    fn shard(&self, session: SessionRef) -> &Mutex<BTreeSet<(Timestamp, SessionRef)>> {
        // The low bits of a UUIDv7 are random.
        &self.0[(session.as_uuid().as_u128() % Self::SHARDS as u128) as usize]
    }

    pub(super) fn insert(&self, expires: Timestamp, session: SessionRef) {
        self.shard(session).lock().insert((expires, session));
    }

    pub(super) fn remove(&self, expires: Timestamp, session: SessionRef) {
        self.shard(session).lock().remove(&(expires, session));
    }

    /// The session that expires soonest, and when. The shards are looked at one after the other.
    pub(super) fn soonest(&self) -> Option<(Timestamp, SessionRef)> {
        self.0.iter().filter_map(|shard| shard.lock().first().copied()).min()
    }

    pub(super) fn range(
        &self,
        shard: usize,
        from: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Vec<SessionRef> {
        let lowest = SessionRef::from_uuid(uuid::Uuid::nil());
        let Some(shard) = self.0.get(shard) else {
            return Vec::new();
        };
        if from >= until {
            return Vec::new();
        }
        let shard = shard.lock();
        shard
            .range((from, lowest)..(until, lowest))
            .take(limit)
            .map(|(_, session)| *session)
            .collect()
    }
}
