//! The load generator that everything is measured with, this crate and others alike.
//!
//! A [`Subject`] is an axum router with four routes (`/untouched`, `/read`, `/write`, `/new`) behind
//! the session layer that is measured. [`Subject::run`] calls it in process, through
//! `tower::ServiceExt::oneshot`, from a number of tasks on a runtime of two workers. Each request
//! carries the cookie of one of many sessions, which hold one integer under one key. Each response
//! is checked: the first that is not as it has to be ends the run with an error.
//!
//! - `protocol.rs`: the workloads, the plan of a run and its figures;
//! - `load.rs`: many tasks, the operations of a workload, requests a second and latencies;
//! - `subject.rs`: requests to a router;
//! - `web_session.rs`: the router with this crate's layer, a module of the programs that have it;
//! - `child.rs`: a program that does runs for another program, which compares.

#![allow(dead_code, unreachable_pub, reason = "each program uses a part of it")]

pub mod child;
pub mod load;
pub mod protocol;
pub mod subject;

/// What ends a measurement: a text for whoever started it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The runtime on which everything is measured.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads can be started")
}
