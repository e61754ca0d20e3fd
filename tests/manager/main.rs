//! The manager, row by row (M1 to M23), and the basics of the store, through the public API.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod applications;
mod cleanup;
mod cleanup_by_chance;
mod configuration;
mod cookie_deletion;
mod cookie_queue;
mod cookies;
mod creating;
mod ending;
mod environment;
mod expiry;
#[cfg(feature = "sqlite")]
mod incomplete_environment;
mod loading;
mod members;
mod probe;
mod rig;
mod store_basics;
mod store_limits;
mod store_model;
mod validity;
