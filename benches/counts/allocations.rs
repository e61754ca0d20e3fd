//! Heap allocations a request, from the call of the router until the response is dropped, with
//! sessions in memory. `nothing` has a layer that does nothing in the place of the sessions. With an
//! SQL database the number depends on which of two threads is the faster one, so it is not counted.

use allocation_counter::measure;
use axum::Router;
use axum::body::Body;
use futures_util::FutureExt;
use http::Request;
use tower::layer::util::Identity;
use web_session::MemoryDriver;

use crate::Section;
use crate::web_session_subject::pages;
use crate::workload::{self, Site};

/// The usual number of so many requests counts: now and then a map grows.
const REQUESTS: usize = 101;

pub fn count() -> Section {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let site = runtime.block_on(Site::new(MemoryDriver::new(), 200));
    let nothing = pages().layer(Identity::new());
    let untouched = |visitor| site.request("untouched", visitor);
    let mut rows = vec![("nothing", usual(&nothing, untouched))];
    for workload in workload::ALL {
        rows.push((workload, usual(&site.router, |visitor| site.request(workload, visitor))));
    }
    ("allocations".to_owned(), rows)
}

fn usual(router: &Router, request: impl Fn(usize) -> Request<Body>) -> u64 {
    let cost = |visitor| {
        let (router, request) = (router.clone(), request(visitor));
        let answer = || drop(workload::answer(router, request).now_or_never().unwrap());
        measure(answer).count_total
    };
    let mut costs: Vec<_> = (0..REQUESTS).map(cost).collect();
    costs.sort_unstable();
    costs[REQUESTS / 2]
}
