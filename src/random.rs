//! The source of randomness, and how a session id is drawn from it.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::error::SessionError;
use crate::id::{SessionId, SessionRef};

/// Where random bytes come from. Only tests have a reason to replace it: whatever answers here
/// decides how hard an id is to guess.
pub trait RandomSource: fmt::Debug + Send + Sync + 'static {
    /// Fills `bytes` with randomness.
    ///
    /// # Errors
    ///
    /// [`RandomError`] when there is none to be had; nothing in this crate goes on without.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

impl<R: RandomSource + ?Sized> RandomSource for Arc<R> {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        (**self).fill(bytes)
    }
}

/// The operating system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the random source gave no bytes")]
pub struct RandomError;

/// The operating system's generator: the default.
///
/// Each thread asks it for a block of bytes, enough for a dozen sessions, as each call takes about as
/// long as all else that is done for a new session in memory. No byte is handed out twice, and none
/// that was drawn before a `fork` after it.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl RandomSource for OsRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        BLOCK.with_borrow_mut(|block| block.take(bytes))
    }
}

thread_local! {
    static BLOCK: RefCell<Block> = const { RefCell::new(Block::EMPTY) };
}

/// Bytes of the operating system that were not handed out yet.
struct Block {
    bytes: [u8; Self::LEN],
    /// How many of them are left, at the end.
    left: usize,
    /// The process that has asked for them: a child has a copy of its parent's memory.
    process: u32,
}

impl Block {
    /// An id and a reference take 32 and 10.
    const LEN: usize = 12 * (32 + 10);
    /// Fewer bytes are no secret, and not worth the system call that asks which process this is. In a
    /// child an id is drawn before a reference.
    const SECRET: usize = 16;
    const EMPTY: Self = Self { bytes: [0; Self::LEN], left: 0, process: 0 };

    fn take(&mut self, wanted: &mut [u8]) -> Result<(), RandomError> {
        if wanted.len() >= Self::SECRET {
            let process = std::process::id();
            if self.process != process {
                (self.left, self.process) = (0, process);
            }
        }
        if self.left < wanted.len() {
            if wanted.len() > Self::LEN {
                return from_os(wanted);
            }
            self.left = 0;
            from_os(&mut self.bytes)?;
            self.left = Self::LEN;
        }
        let start = Self::LEN - self.left;
        let unused = self.bytes.get_mut(start..).unwrap_or_default();
        let (taken, _) = unused.split_at_mut_checked(wanted.len()).ok_or(RandomError)?;
        wanted.copy_from_slice(taken);
        // What is in use is not kept in a second place.
        taken.fill(0);
        self.left -= wanted.len();
        Ok(())
    }
}

fn from_os(bytes: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(bytes).map_err(|_| RandomError)
}

/// The seed of a layer: extra bytes that go into each session id. Its text is in no `Debug`
/// output; [`expose`](Seed::expose) shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed(Vec<u8>);

impl Seed {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes of the seed.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Default for Seed {
    /// The default of `web.session`.
    fn default() -> Self {
        Self(b"PythonWeb".to_vec())
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// A fresh id: the first 16 bytes of SHA-256 over 32 random bytes and the length-prefixed seed.
///
/// The seed is hashed together with the randomness, so that it can only add to it.
pub(crate) fn session_id(random: &dyn RandomSource, seed: &Seed) -> Result<SessionId, RandomError> {
    let mut bytes = [0; 32];
    random.fill(&mut bytes)?;
    let seed = seed.expose();
    let hash: [u8; 32] = Sha256::new()
        .chain_update(bytes)
        .chain_update((seed.len() as u64).to_be_bytes())
        .chain_update(seed)
        .finalize()
        .into();
    let mut id = [0; 16];
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    Ok(SessionId::from_bytes(id))
}

/// A fresh reference: a UUIDv7 of `now` (RFC 9562, section 5.7).
pub(crate) fn session_ref(
    random: &dyn RandomSource,
    now: Timestamp,
) -> Result<SessionRef, SessionError> {
    let mut bytes = [0; 10];
    random.fill(&mut bytes)?;
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid();
    Ok(SessionRef::from_uuid(uuid))
}

/// Whether an event of this probability happens now.
pub(crate) fn chance(random: &dyn RandomSource, probability: f64) -> Result<bool, RandomError> {
    if probability <= 0.0 {
        return Ok(false);
    }
    if probability >= 1.0 {
        return Ok(true);
    }
    let mut bytes = [0; 4];
    random.fill(&mut bytes)?;
    Ok(f64::from(u32::from_le_bytes(bytes)) < probability * (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[derive(Debug)]
    struct Fixed(u8);

    impl RandomSource for Fixed {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    // M5
    #[test]
    fn two_seeds_and_the_same_random_source_give_different_ids() {
        let id = |seed: &[u8]| session_id(&Fixed(7), &Seed::new(seed.to_vec())).unwrap();
        assert_ne!(id(b"one"), id(b"two"));
        assert_ne!(id(b""), id(b"\0"));
        assert_eq!(id(b"one"), id(b"one"));
    }

    // M5: the documented formula, computed by another implementation.
    #[test]
    fn an_id_is_the_beginning_of_a_known_hash() {
        let id = session_id(&Fixed(0), &Seed::default()).unwrap();
        assert_eq!(id.expose().as_str(), "789d384a9f9617b0320a685ec4fe75c6");
    }

    // M5
    #[test]
    fn no_byte_is_handed_out_twice_and_none_stays_in_the_block() {
        let mut block = Block::EMPTY;
        let mut seen = HashSet::new();
        for n in 0..1_000 {
            let mut bytes = vec![0; if n % 50 == 49 { 3 * Block::LEN } else { 8 + n % 40 }];
            block.take(&mut bytes).unwrap();
            for part in bytes.as_chunks::<8>().0 {
                assert!(seen.insert(*part), "{n}");
            }
            assert!(block.bytes[..Block::LEN - block.left].iter().all(|byte| *byte == 0));
        }
    }

    // M5
    #[test]
    fn a_child_process_uses_nothing_that_its_parent_has_drawn() {
        let mut parent = Block::EMPTY;
        parent.take(&mut [0; 32]).unwrap();
        let mut child = Block { process: parent.process.wrapping_add(1), ..parent };
        let left_by_parent = parent.bytes;
        let (mut one, mut other) = ([0; 32], [0; 32]);
        child.take(&mut one).unwrap();
        parent.take(&mut other).unwrap();
        assert_ne!(one, other);
        assert!(!left_by_parent.windows(32).any(|window| window == one));
    }

    // M5
    #[test]
    fn one_seed_never_repeats_an_id() {
        let seed = Seed::default();
        let ids: HashSet<_> =
            (0..20_000).map(|_| session_id(&OsRandom, &seed).unwrap().to_bytes()).collect();
        assert_eq!(ids.len(), 20_000);
    }

    #[test]
    fn each_bit_of_an_id_is_unbiased() {
        const SAMPLE: u32 = 20_000;
        let mut ones = [0_u32; 128];
        for _ in 0..SAMPLE {
            let id =
                u128::from_be_bytes(session_id(&OsRandom, &Seed::default()).unwrap().to_bytes());
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += u32::from((id >> bit) & 1 == 1);
            }
        }
        // Seven standard deviations (of 70.7): a fair generator fails here once in a few billion runs.
        for (bit, count) in ones.into_iter().enumerate() {
            assert!(count.abs_diff(SAMPLE / 2) < 495, "bit {bit} was set {count} times");
        }
    }
}
