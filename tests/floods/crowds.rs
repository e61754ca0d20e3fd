//! Creations at the same moment, and a memory driver with a bound.

use std::ops::Range;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use uuid::Uuid;
use web_session::driver::{
    ApplicationChanges, ApplicationName, Cleanup, Commit, CommitOutcome, Create, CreateOutcome,
    Destroy, DriverErrorKind, Load, Locator, SessionRecord, Target,
};
use web_session::{Driver, MemoryDriver, OnMissing, SessionKey, SessionRef, Timestamp, WhenFull};

use crate::visitors::block_on;

const MOST: usize = 10;
const AT_ONCE: usize = 64;
const ROUNDS: usize = 50;
const NOW: Timestamp = Timestamp::from_millis(1_000);

pub fn tests() -> Vec<Trial> {
    crate::tests![
        of_simultaneous_creations_no_more_succeed_than_there_is_room_for,
        simultaneous_creations_evict_as_many_as_they_are_too_many,
        a_session_whose_expiry_was_moved_is_not_evicted_by_the_one_before,
        places_are_neither_lost_nor_made_while_sessions_come_and_go,
    ]
}

fn driver(when_full: WhenFull) -> MemoryDriver {
    MemoryDriver::builder().max_sessions(MOST).when_full(when_full).build().unwrap()
}

/// A session that expires later than those with a smaller number.
fn record(n: usize) -> SessionRecord {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&n.to_le_bytes());
    let session = SessionRef::from_uuid(Uuid::from_u128(n as u128 + 1));
    let end = NOW.saturating_add(Duration::from_millis(n as u64 + 1));
    SessionRecord::new(session, SessionKey::from_bytes(key), NOW, end)
}

/// Creates a session in one of the ways that there are. Whether there was room.
async fn created(driver: &MemoryDriver, n: usize) -> bool {
    let unknown = SessionKey::from_bytes([255; 32]);
    let target = match n % 3 {
        0 => {
            return match driver.create(Create::new(record(n))).await {
                Ok(outcome) => {
                    assert_eq!(outcome, CreateOutcome::Done);
                    true
                }
                Err(error) => {
                    assert_eq!(error.kind(), DriverErrorKind::Full);
                    false
                }
            };
        }
        1 => Target::New(record(n)),
        _ => Target::Presented {
            key: unknown,
            retired_after: Timestamp::EPOCH,
            otherwise: Some(record(n)),
        },
    };
    match driver.commit(Commit::new(target, NOW)).await {
        Ok(outcome) => {
            assert_eq!(outcome, CommitOutcome::Done(record(n)));
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), DriverErrorKind::Full);
            false
        }
    }
}

/// Creates the sessions of these numbers at once, each on a thread of its own. How many had room.
fn create_at_once(driver: &MemoryDriver, numbers: Range<usize>) -> usize {
    let start = Barrier::new(numbers.len());
    let start = &start;
    thread::scope(|scope| {
        let create = |n| {
            scope.spawn(move || {
                start.wait();
                block_on(created(driver, n))
            })
        };
        let threads: Vec<_> = numbers.map(create).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
    })
}

/// The numbers of the sessions that can be found.
fn found(driver: &MemoryDriver, numbers: Range<usize>) -> Vec<usize> {
    let is_there = |n: &usize| {
        let load = Load::new(vec![Locator::Key(record(*n).key)], NOW);
        !block_on(driver.load(load)).unwrap().is_empty()
    };
    numbers.filter(is_there).collect()
}

fn of_simultaneous_creations_no_more_succeed_than_there_is_room_for() {
    for _ in 0..ROUNDS {
        let driver = driver(WhenFull::Refuse);
        assert_eq!(create_at_once(&driver, 0..AT_ONCE), MOST);
        assert_eq!(found(&driver, 0..AT_ONCE).len(), MOST);
        assert_eq!(driver.len(), MOST);
    }
}

fn simultaneous_creations_evict_as_many_as_they_are_too_many() {
    for _ in 0..ROUNDS {
        let driver = driver(WhenFull::EvictSoonestToExpire);
        assert_eq!(create_at_once(&driver, 0..MOST), MOST, "there is room for all of these");
        assert_eq!(create_at_once(&driver, MOST..MOST + AT_ONCE), AT_ONCE);
        let left = found(&driver, 0..MOST + AT_ONCE);
        assert_eq!(left.len(), MOST);
        assert!(left[0] >= MOST, "those of before expire sooner: {left:?}");
        assert_eq!(driver.len(), MOST);
    }
}

/// Of the two that are there the one that would go first is moved behind the other, while a third comes.
fn a_session_whose_expiry_was_moved_is_not_evicted_by_the_one_before() {
    // Enough to write that the third can look for its place before it is done.
    let mut writes = ApplicationChanges::new(ApplicationName::new("shop").unwrap());
    let item = |n: u32| (n.to_string().into(), Some("1".into()));
    writes.items.extend((0..500).map(item));
    let drivers: Vec<_> = (0..300)
        .map(|_| {
            let builder = MemoryDriver::builder().max_sessions(2);
            let driver = builder.when_full(WhenFull::EvictSoonestToExpire).build().unwrap();
            assert!((0..2).all(|n| block_on(created(&driver, n))));
            driver
        })
        .collect();
    let start = Barrier::new(2);
    let moved: Vec<bool> = thread::scope(|scope| {
        scope.spawn(|| {
            for (round, driver) in drivers.iter().enumerate() {
                start.wait();
                // Each time a little later than the other.
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_micros(5) * round as u32 {}
                block_on(created(driver, 2));
            }
        });
        let touch = |driver: &MemoryDriver| {
            let mut touch = Commit::new(Target::Existing(Locator::Key(record(0).key)), NOW);
            touch.session.expires = Some(record(3).expires);
            touch.changes.push(writes.clone());
            start.wait();
            matches!(block_on(driver.commit(touch)), Ok(CommitOutcome::Done(_)))
        };
        drivers.iter().map(touch).collect()
    });
    for (driver, moved) in drivers.iter().zip(moved) {
        let left = if moved { [0, 2] } else { [1, 2] };
        assert_eq!(found(driver, 0..3), left, "moved in time: {moved}");
    }
}

/// Creations beside all that moves or ends sessions; after that there is room for exactly as many as ever.
fn places_are_neither_lost_nor_made_while_sessions_come_and_go() {
    for when_full in [WhenFull::Refuse, WhenFull::EvictSoonestToExpire] {
        let driver = driver(when_full);
        let (driver, over) = (&driver, &AtomicBool::new(false));
        const NUMBERS: usize = 40;
        thread::scope(|scope| {
            let makers: Vec<_> = (0..4)
                .map(|maker| {
                    scope.spawn(move || {
                        block_on(async {
                            for n in (0..20_000).map(|n| (n * 7 + maker) % NUMBERS) {
                                // A number is used again, so that there are collisions too.
                                let _ = driver.create(Create::new(record(n))).await;
                            }
                        });
                    })
                })
                .collect();
            scope.spawn(move || {
                block_on(async {
                    for n in (0..NUMBERS).cycle() {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        let session = Locator::Ref(record(n).session);
                        let mut touch = Commit::new(Target::Existing(session), NOW);
                        touch.session.expires = Some(record(n * 31 % 100).expires);
                        let _ = driver.commit(touch).await;
                        let other = Locator::Key(record(n * 3 % NUMBERS).key);
                        let _ = driver.destroy(Destroy::new(vec![other])).await;
                    }
                });
            });
            scope.spawn(move || {
                block_on(async {
                    while !over.load(Ordering::Relaxed) {
                        let all = Cleanup::new(Timestamp::MIN, Timestamp::MAX, 3);
                        let _ = driver.cleanup(all).await;
                        let _ = driver.remove_environment(OnMissing::Ignore).await;
                        driver.ensure_environment().await.unwrap();
                    }
                });
            });
            let made: Vec<_> = makers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            over.store(true, Ordering::Relaxed);
            made.into_iter().for_each(Result::unwrap);
        });
        let all = Cleanup::new(Timestamp::MIN, Timestamp::MAX, 1_000);
        block_on(driver.cleanup(all)).unwrap();
        assert!(driver.is_empty());
        let room = (0..MOST).filter(|n| block_on(created(driver, *n))).count();
        assert_eq!(room, MOST);
        assert_eq!(block_on(created(driver, MOST)), when_full != WhenFull::Refuse);
        assert_eq!(driver.len(), MOST);
    }
}
