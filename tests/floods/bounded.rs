//! Floods of requests that want a session each, and a memory driver with a bound.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use allocation_counter::measure;
use libtest_mimic::Trial;
use web_session::driver::DriverErrorKind;
use web_session::{ManualClock, MemoryDriver, SessionError, SessionLayer, WhenFull};

use crate::visitors::{Action, Crowd, Site, block_on, runtime, send, site};

/// How many sessions there may be.
const MOST: usize = 1_000;
/// How many requests want one.
const FLOOD: u32 = 20_000;
const DAY: Duration = Duration::from_secs(86_400);
const TICK: Duration = Duration::from_millis(1);

pub fn tests() -> Vec<Trial> {
    crate::tests![
        a_flood_of_new_sessions_is_refused_and_takes_no_session_away,
        a_flood_of_new_sessions_evicts_those_that_expire_soonest,
        a_session_that_ends_makes_room_for_one,
        a_full_storage_of_expired_sessions_takes_new_ones,
        a_session_that_is_touched_is_not_the_next_to_go,
        a_request_whose_session_is_evicted_stores_nothing,
        no_session_at_all_is_a_configuration_error,
    ]
}

/// A bounded driver, a layer on it whose sessions live for a day, and its clock. Nothing is cleaned up.
struct Rig {
    driver: MemoryDriver,
    layer: SessionLayer,
    site: Site,
    clock: ManualClock,
}

impl Rig {
    /// A driver with a policy; `None` is the default one.
    async fn new(most: usize, when_full: Option<WhenFull>) -> Self {
        let mut builder = MemoryDriver::builder().max_sessions(most);
        if let Some(when_full) = when_full {
            builder = builder.when_full(when_full);
        }
        let driver = builder.build().unwrap();
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + 20_000 * DAY);
        let layer = SessionLayer::builder(driver.clone())
            .cleanup_probability(0.0)
            .expire(DAY)
            .clock(clock.clone());
        let layer = layer.build().await.unwrap();
        Self { site: site(&layer), driver, layer, clock }
    }

    /// Stores an item as a visitor without a cookie, and returns the id that came with the answer.
    async fn newcomer(&mut self) -> Option<String> {
        send(&mut self.site, None, Action::Set).await.1
    }

    async fn newcomers(&mut self, n: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..n {
            ids.push(self.newcomer().await.unwrap());
        }
        ids
    }

    /// How many of these sessions are live and have their item.
    async fn whole(&self, ids: &[String]) -> usize {
        let mut whole = 0;
        for id in ids {
            let session = self.layer.manager();
            let loaded = session.load_id(id).await.unwrap();
            let item = session.store("shop").unwrap().get::<u64>("item").await.unwrap();
            assert_eq!(loaded, item.is_some());
            whole += usize::from(loaded);
        }
        whole
    }
}

/// The `n`th request of a flood in which each visitor and each way to get a session has a part.
fn one_of_all(n: u32) -> (Option<String>, Action) {
    let crowd = Crowd::ALL[n as usize % Crowd::ALL.len()];
    (crowd.id(n), Action::STORING[n as usize / Crowd::ALL.len() % Action::STORING.len()])
}

// SECURITY 31
fn a_flood_of_new_sessions_is_refused_and_takes_no_session_away() {
    let mut rig = block_on(Rig::new(MOST, None));
    let runtime = runtime();
    let residents = runtime.block_on(rig.newcomers(MOST - 100));
    let mut flood = |numbers: Range<u32>| {
        let mut let_in = 0;
        runtime.block_on(async {
            for n in numbers {
                let (id, action) = one_of_all(n);
                let (status, id) = send(&mut rig.site, id.as_deref(), action).await;
                assert_eq!(status.as_u16(), if id.is_some() { 200 } else { 503 }, "{action:?}");
                assert!(rig.driver.len() <= MOST);
                let_in += u32::from(id.is_some());
            }
        });
        let_in
    };
    assert_eq!(flood(0..1_000), 100);
    let heap = measure(|| assert_eq!(flood(1_000..1_000 + FLOOD), 0));
    assert!(heap.bytes_current < 4_096, "{heap:?}");
    assert!(heap.bytes_max < 65_536, "{heap:?}");
    assert_eq!(rig.driver.len(), MOST);
    runtime.block_on(async {
        assert_eq!(rig.whole(&residents).await, residents.len());
        for action in [Action::Set, Action::Update, Action::Remove] {
            let seen = send(&mut rig.site, Some(&residents[0]), action).await;
            assert_eq!(seen.0.as_u16(), 200, "who has a session uses it: {action:?}");
        }
        let refused = rig.layer.manager().create().await.unwrap_err();
        let kind = DriverErrorKind::Full;
        assert!(matches!(&refused, SessionError::Driver(error) if error.kind() == kind));
    });
}

// SECURITY 31
fn a_flood_of_new_sessions_evicts_those_that_expire_soonest() {
    let mut rig = block_on(Rig::new(MOST, Some(WhenFull::EvictSoonestToExpire)));
    let runtime = runtime();
    let residents = runtime.block_on(async {
        let mut residents = Vec::new();
        for _ in 0..100 {
            let session = rig.layer.manager();
            let id = session.create_for(2 * DAY).await.unwrap();
            session.store("shop").unwrap().set("item", &1).unwrap();
            session.commit().await.unwrap();
            residents.push(id.expose().as_str().to_owned());
        }
        residents
    });
    let early = runtime.block_on(rig.newcomers(10));
    let mut flood = |numbers: Range<u32>| {
        runtime.block_on(async {
            for n in numbers {
                rig.clock.advance(TICK);
                let (id, action) = one_of_all(n);
                let (status, id) = send(&mut rig.site, id.as_deref(), action).await;
                assert!(status.as_u16() == 200 && id.is_some(), "{status} {action:?}");
                assert!(rig.driver.len() <= MOST);
            }
        });
    };
    flood(0..FLOOD);
    let heap = measure(|| flood(FLOOD..2 * FLOOD));
    // The hash tables grow at their own times: what counts is that 20 000 sessions would be megabytes.
    assert!(heap.bytes_current < 262_144 && heap.bytes_max < 262_144, "{heap:?}");
    runtime.block_on(async {
        assert_eq!(rig.driver.len(), MOST);
        assert_eq!(rig.whole(&residents).await, residents.len());
        assert_eq!(rig.whole(&early).await, 0);
        let mut last = Vec::new();
        for _ in 0..MOST - residents.len() + 1 {
            rig.clock.advance(TICK);
            last.push(rig.newcomer().await.unwrap());
        }
        // All sessions but the residents are these; of these the first had to go.
        assert_eq!(rig.whole(&last[..1]).await, 0);
        assert_eq!(rig.whole(&last[1..]).await, last.len() - 1);
        assert_eq!(rig.whole(&residents).await, residents.len());
    });
}

fn a_session_that_ends_makes_room_for_one() {
    block_on(async {
        let mut rig = Rig::new(10, Some(WhenFull::Refuse)).await;
        let ids = rig.newcomers(10).await;
        for id in &ids[..3] {
            assert_eq!(rig.newcomer().await, None);
            send(&mut rig.site, Some(id), Action::End).await;
            assert_eq!(rig.driver.len(), 9);
            assert!(rig.newcomer().await.is_some());
        }
        assert_eq!(rig.newcomer().await, None);
        assert_eq!(rig.whole(&ids).await, 7);
    });
}

fn a_full_storage_of_expired_sessions_takes_new_ones() {
    for when_full in [WhenFull::Refuse, WhenFull::EvictSoonestToExpire] {
        block_on(async {
            let mut rig = Rig::new(10, Some(when_full)).await;
            let first = rig.newcomers(5).await;
            rig.clock.advance(TICK);
            let second = rig.newcomers(5).await;
            rig.clock.advance(DAY - 2 * TICK);
            assert_eq!(rig.whole(&first).await, 5);
            if when_full == WhenFull::Refuse {
                assert_eq!(rig.newcomer().await, None, "none is expired yet");
            }
            rig.clock.advance(TICK);
            assert_eq!(rig.driver.len(), 10, "nothing but a new session removes them");
            let fresh = rig.newcomers(5).await;
            assert_eq!(rig.driver.len(), 10);
            assert_eq!((rig.whole(&second).await, rig.whole(&fresh).await), (5, 5));
            if when_full == WhenFull::Refuse {
                assert_eq!(rig.newcomer().await, None, "none is expired any more");
                assert_eq!(rig.whole(&second).await, 5);
            }
        });
    }
}

fn a_session_that_is_touched_is_not_the_next_to_go() {
    block_on(async {
        let mut rig = Rig::new(3, Some(WhenFull::EvictSoonestToExpire)).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            rig.clock.advance(TICK);
            ids.push(rig.newcomer().await.unwrap());
        }
        let session = rig.layer.manager();
        let later = SystemTime::UNIX_EPOCH + 20_002 * DAY;
        session.set_expire(later, ids[0].as_str()).await.unwrap();
        rig.newcomers(1).await;
        assert_eq!(rig.whole(&ids[1..2]).await, 0);
        assert_eq!(rig.whole(&ids).await, 2);
    });
}

// S5
fn a_request_whose_session_is_evicted_stores_nothing() {
    block_on(async {
        let mut rig = Rig::new(2, Some(WhenFull::EvictSoonestToExpire)).await;
        let id = rig.newcomer().await.unwrap();
        let session = rig.layer.manager();
        assert!(session.load_id(&id).await.unwrap());
        rig.clock.advance(TICK);
        rig.newcomers(2).await;
        session.store("shop").unwrap().set("item", &2).unwrap();
        assert_eq!(session.commit().await.unwrap_err(), SessionError::Ended);
        assert_eq!(rig.whole(&[id]).await, 0);
        assert_eq!(rig.driver.len(), 2);
    });
}

// E3
fn no_session_at_all_is_a_configuration_error() {
    let error = MemoryDriver::builder().max_sessions(0).build().unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::Configuration);
    assert!(error.to_string().contains("max_sessions"), "{error}");
}
