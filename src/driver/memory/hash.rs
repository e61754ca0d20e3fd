//! What the maps keep of a session's key and of its reference.

use std::hash::{BuildHasherDefault, Hasher};

use crate::id::{SessionKey, SessionRef};

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A key or a reference, shortened. Of two that are the same only one names a session: the other is
/// refused as taken, and whoever finds a session compares the whole.
///
/// Both are random, so a hash with a secret is not needed. A visitor can choose which ids to present, and
/// know their digests; but only digests of drawn ids stand in the maps, so none can be crowded together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Short(u64);

/// All of the bytes count, as keys of tests and tools may count up in any of them.
pub(super) fn mixed(bytes: &[u8]) -> u64 {
    let mix = |short: u64, word: &[u8; 8]| {
        (short.rotate_left(26) ^ u64::from_le_bytes(*word)).wrapping_mul(SPREAD)
    };
    bytes.as_chunks().0.iter().fold(0, mix)
}

impl From<SessionKey> for Short {
    fn from(key: SessionKey) -> Self {
        Self(mixed(key.as_bytes()))
    }
}

impl From<SessionRef> for Short {
    fn from(session: SessionRef) -> Self {
        Self(mixed(session.as_uuid().as_bytes()))
    }
}

/// For maps by [`Short`], which is a hash already.
pub(super) type AsItIs = BuildHasherDefault<Taken>;

#[derive(Default)]
pub(super) struct Taken(u64);

impl Hasher for Taken {
    fn write(&mut self, _: &[u8]) {
        // Only numbers are hashed.
    }

    fn write_u64(&mut self, short: u64) {
        self.0 = short;
    }

    fn finish(&self) -> u64 {
        // Each bit of it counts for the place in a map, which the low bits and the highest choose.
        (self.0 ^ (self.0 >> 32)).wrapping_mul(SPREAD).rotate_left(32)
    }
}
