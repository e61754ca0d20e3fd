//! How many bytes the future of a driver's call has, with all that it may have to keep while it waits: what the
//! allocator is asked for when the call is made, before it is polled, but for the commit itself, which is a block
//! of its own. What is asked for later is not among them. Blocks of less than a kilobyte are had more quickly, as
//! each thread has some of them ready.

use std::sync::Arc;

use allocation_counter::measure;
use uuid::Uuid;
use web_session::driver::{Commit, Load, Locator, SessionRecord, Target};
use web_session::{Driver, SessionKey, SessionRef, Timestamp};

/// What the title of such a section ends with.
pub const TITLE: &str = "bytes-of-calls";

pub fn bytes(driver: &Arc<dyn Driver>) -> Vec<(&'static str, u64)> {
    let (session, key) = (SessionRef::from_uuid(Uuid::nil()), SessionKey::from_bytes([0; 32]));
    let now = Timestamp::from_millis(0);
    let load = Load::new(vec![Locator::Key(key)], now);
    let commit = Commit::new(Target::Seen { session, key }, now);
    let new = Commit::new(Target::New(SessionRecord::new(session, key, now, now)), now);
    let future_of =
        |commit| measure(|| drop(driver.commit(commit))).bytes_total - size_of::<Commit>() as u64;
    vec![
        ("load", measure(|| drop(driver.load(load))).bytes_total),
        ("commit", future_of(commit)),
        ("new", future_of(new)),
    ]
}
