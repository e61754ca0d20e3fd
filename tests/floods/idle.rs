//! Floods of requests that have nothing to store.

use std::ops::Range;

use allocation_counter::measure;
use http::StatusCode;
use libtest_mimic::Trial;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use web_session::{MemoryDriver, OnMissing, SessionLayer};

use crate::contents::contents;
use crate::servers::{Place, environment, open, shared};
use crate::visitors::{Action, Crowd, Seen, Site, runtime, send, site};

/// How many requests of a kind.
const IN_MEMORY: u32 = 200_000;
const ON_SERVERS: u32 = 2_000;

pub fn in_memory() -> Vec<Trial> {
    let trial = |(crowd, actions): (Crowd, &'static [Action])| {
        let what = if actions == Action::READING { "read" } else { "remove" };
        let name = format!("memory::a_flood_{crowd}_of_requests_that_only_{what}_costs_nothing");
        Trial::test(name, move || {
            costs_nothing(crowd, actions);
            Ok(())
        })
    };
    kinds().into_iter().map(trial).collect()
}

/// Every kind of flood.
fn kinds() -> [(Crowd, &'static [Action]); 4] {
    [
        (Crowd::WithoutCookie, Action::READING),
        (Crowd::WithoutCookie, Action::REMOVING),
        (Crowd::WithMadeUpIds, Action::READING),
        (Crowd::WithMadeUpIds, Action::REMOVING),
    ]
}

/// The `n`th request of a flood in which the actions take turns.
async fn idle_request(site: &mut Site, n: u32, crowd: Crowd, actions: &[Action]) -> Seen {
    let action = actions[n as usize % actions.len()];
    send(site, crowd.id(n).as_deref(), action).await
}

// SECURITY 4, 5, 31; S7
fn costs_nothing(crowd: Crowd, actions: &[Action]) {
    let driver = MemoryDriver::new();
    let mut site = site(&SessionLayer::new(driver.clone()));
    let runtime = runtime();
    let mut flood = |numbers: Range<u32>| {
        runtime.block_on(async {
            for n in numbers {
                let seen = idle_request(&mut site, n, crowd, actions).await;
                assert_eq!(seen, (StatusCode::OK, None));
            }
        });
    };
    flood(0..1_000);
    let heap = measure(|| flood(1_000..1_000 + IN_MEMORY));
    assert!(driver.is_empty(), "{driver:?}");
    // A background cleanup, which may have been under way at the beginning, has its part in it.
    assert!(heap.bytes_current < 4_096, "left over: {heap:?}");
    assert!(heap.bytes_max < 65_536, "in between: {heap:?}");
}

pub fn on_servers() -> Vec<Trial> {
    let trial = |storage: &Place| {
        let (url, place) = storage.place();
        storage.trial("a_flood_of_requests_that_store_nothing_leaves_nothing", move || {
            leaves_nothing(&url);
            drop(place);
        })
    };
    shared().iter().map(trial).collect()
}

// SECURITY 4, 5, 31; S7
fn leaves_nothing(url: &str) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let environment = environment();
        let driver = open(url, &environment).await;
        driver.ensure_environment().await.unwrap();
        let layer = SessionLayer::new(driver.clone());
        let before = contents(url, &environment).await;
        let session = layer.manager();
        session.create().await.unwrap();
        assert_ne!(contents(url, &environment).await, before, "a session would be seen");
        session.end().await.unwrap();
        assert_eq!(contents(url, &environment).await, before);

        let site = site(&layer);
        let mut visitors = JoinSet::new();
        const AT_ONCE: u32 = 50;
        for first in 0..AT_ONCE {
            let mut site = site.clone();
            visitors.spawn(async move {
                for n in (first..ON_SERVERS).step_by(AT_ONCE as usize) {
                    for (crowd, actions) in kinds() {
                        let seen = idle_request(&mut site, n, crowd, actions).await;
                        assert_eq!(seen, (StatusCode::OK, None));
                    }
                }
            });
        }
        visitors.join_all().await;
        assert_eq!(contents(url, &environment).await, before);
        driver.remove_environment(OnMissing::Error).await.unwrap();
    });
}
