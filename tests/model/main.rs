//! The concurrent core under a model checker, which chooses who goes on wherever a task waits: the real
//! managers and layers, on a memory driver whose calls take several steps.
//!
//! With `RUSTFLAGS='--cfg shuttle' cargo test --no-default-features --lib model::` the same cases run inside the
//! crate, and a task may also be overtaken wherever it takes a lock. `WEB_SESSION_SCHEDULES` is how many
//! schedules are tried for each case and kind of scheduler.
//!
//! A failure prints its schedule; [`shuttle::replay`] runs it again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests stop at the first surprise"
)]

#[path = "../layer/wrappers.rs"]
#[allow(dead_code, unused_imports, reason = "a part of it is used")]
mod wrappers;

mod cancelled;
mod handles;
mod logins;
mod rig;
mod rotations;
mod uses;
mod writes;

/// What a file of the crate that is a module of [`writes`] knows by this name.
#[cfg(not(shuttle))]
mod sync {
    pub use parking_lot::Mutex;
}
