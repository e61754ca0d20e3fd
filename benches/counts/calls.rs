//! What a call of the driver asks the allocator for before anything is sent, in bytes: itself, with all that it may
//! have to keep while it waits. What has less than a kilobyte is had more quickly, as most allocators keep such blocks
//! ready in each thread.

use std::sync::Arc;

use allocation_counter::measure;
use uuid::Uuid;
use web_session::driver::{Commit, Load, Locator, SessionRecord, Target};
use web_session::{Driver, SessionKey, SessionRef, Timestamp};

pub fn bytes(driver: &Arc<dyn Driver>) -> Vec<(&'static str, u64)> {
    let (session, key) = (SessionRef::from_uuid(Uuid::nil()), SessionKey::from_bytes([0; 32]));
    let now = Timestamp::from_millis(0);
    let load = Load::new(vec![Locator::Key(key)], now);
    let commit = Commit::new(Target::Seen { session, key }, now);
    let create = Commit::new(Target::New(SessionRecord::new(session, key, now, now)), now);
    vec![
        ("load", measure(|| drop(driver.load(load))).bytes_total),
        ("commit", measure(|| drop(driver.commit(commit))).bytes_total),
        ("create", measure(|| drop(driver.commit(create))).bytes_total),
    ]
}
