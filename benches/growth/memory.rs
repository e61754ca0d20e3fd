//! The memory that a session takes in the memory driver, with one number under one key: what the
//! driver asked the allocator for, without the allocator's own overhead.

use allocation_counter::measure;
use futures_util::FutureExt;
use web_session::MemoryDriver;

use crate::support::subject::KEY;
use crate::web_session_subject::Bench;
use crate::workload::layer;

pub fn report(sessions: u64) {
    let most = usize::try_from(sessions).unwrap();
    let driver = MemoryDriver::builder().max_sessions(most).build().unwrap();
    let layer = layer(driver.clone()).build().now_or_never().unwrap().unwrap();
    let cost = measure(|| {
        for _ in 0..sessions {
            let manager = layer.manager();
            manager.create().now_or_never().unwrap().unwrap();
            manager.app::<Bench>().set(KEY, &1_u64).unwrap();
            manager.commit().now_or_never().unwrap().unwrap();
        }
    });
    let bytes = cost.bytes_current.cast_unsigned() / sessions;
    // The key and the text of the value.
    let data = KEY.len() as u64 + 1;
    println!("memory, {sessions} sessions: {} bytes each over the {data} of data", bytes - data);
}
