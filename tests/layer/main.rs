//! The layer as applications use it: through its public API, from the request to the response.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests stop at the first surprise"
)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod gate;
mod logs;
mod visitor;
mod wrappers;

mod caching;
mod calls;
mod cancellation;
mod cancelled_calls;
mod commit;
mod concurrency;
mod cookies_in;
mod cookies_out;
mod creation;
mod ended;
mod errors;
mod extractors;
mod failures;
mod interleavings;
mod loaded_by_id;
mod odd_requests;
mod outside_axum;
mod overtaken;
mod scheduled_cleanup;
mod service_shape;
mod update;
