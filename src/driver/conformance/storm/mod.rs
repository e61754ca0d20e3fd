//! Storms of calls on one session, of which each has to fit to what the others were answered.
//!
//! Calls begin and end at ticks of a clock that only counts, so of two calls either one ended before
//! the other began, or they overlapped and may have happened in either order. What is read has to be
//! explained by some order that keeps to that.

mod calls;
mod checks;
mod order;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use self::calls::{Call, Dice, Event, Known};
use super::list_cases;
use super::setup::*;
use crate::driver::{Driver, Items, Locator, SessionRecord};
use crate::id::SessionKey;

list_cases! {
    "S3 S4 S6" a_storm_of_writes_leaves_what_was_acknowledged_and_nothing_else,
    "S5 S6" nothing_in_a_storm_comes_back_after_its_session_was_destroyed,
    "S5 M17" a_storm_of_expiries_revivals_and_cleanups_ends_as_it_was_answered,
    "S3 S4 S5 S6 T2 M17" a_storm_of_all_calls_for_some_time_fits_to_what_each_was_answered,
}

/// How many calls run at the same time.
const AT_ONCE: usize = 64;

/// How many calls there are in a round.
const CALLS: u64 = 400;

const ROUNDS: u64 = 4;

const KEYS: u64 = 6;

/// How long the storm of all calls lasts.
const TIME: Duration = Duration::from_secs(2);

async fn a_storm_of_writes_leaves_what_was_acknowledged_and_nothing_else(driver: &dyn Driver) {
    for round in 0..ROUNDS {
        let storm = Storm::blow(driver, round, |dice, number| {
            (number <= CALLS).then(|| match dice.draw(20) {
                0..8 => Call::Set(dice.draw(KEYS)),
                8..11 => Call::Delete(dice.draw(KEYS)),
                11 => Call::Empty,
                12..16 => Call::Count,
                _ => Call::Load,
            })
        });
        let storm = storm.await;
        storm.check();
        assert!(storm.left.is_some(), "nothing has ended the session");
    }
}

async fn nothing_in_a_storm_comes_back_after_its_session_was_destroyed(driver: &dyn Driver) {
    for round in 0..ROUNDS {
        let storm = Storm::blow(driver, 100 + round, |dice, number| {
            (number <= CALLS).then(|| match dice.draw(20) {
                0 if number > CALLS / 3 => Call::Destroy,
                0..12 => Call::Set(dice.draw(KEYS)),
                12 => Call::Empty,
                13..16 => Call::Count,
                _ => Call::Load,
            })
        });
        let storm = storm.await;
        storm.check();
        assert!(storm.left.is_none(), "a session that was destroyed is gone");
    }
}

async fn a_storm_of_expiries_revivals_and_cleanups_ends_as_it_was_answered(driver: &dyn Driver) {
    for round in 0..ROUNDS {
        let storm = Storm::blow(driver, 200 + round, |dice, number| {
            let revives = phase(number) % 2 == 1;
            (number <= CALLS).then(|| match dice.draw(40) {
                0..6 if revives => Call::Revive,
                0..6 => Call::Expire,
                6 if number > CALLS / 2 => Call::Cleanup(0),
                6..28 => Call::Set(dice.draw(KEYS)),
                28..34 => Call::Count,
                _ => Call::Load,
            })
        });
        storm.await.check();
    }
}

async fn a_storm_of_all_calls_for_some_time_fits_to_what_each_was_answered(driver: &dyn Driver) {
    let begun = Instant::now();
    let storm = Storm::blow(driver, 300, |dice, number| {
        let elapsed = begun.elapsed();
        let expires = phase(number) % 4 == 3;
        let may_end = elapsed > TIME * 3 / 4;
        (elapsed < TIME).then(|| match dice.draw(64) {
            0 if may_end => Call::Destroy,
            1 if may_end => Call::Cleanup(0),
            0..2 => Call::Cleanup(-1),
            2..8 if expires => Call::Expire,
            2..8 => Call::Revive,
            8 => Call::Empty,
            9..13 => Call::Delete(dice.draw(KEYS)),
            13..18 => Call::Rotate,
            18..26 => Call::Count,
            26..44 => Call::Load,
            _ => Call::Set(dice.draw(KEYS)),
        })
    });
    storm.await.check();
}

/// Which part of a storm the call of this number belongs to: long enough for what was called in the one
/// before to have ended, so that it is known what holds.
fn phase(number: u64) -> u64 {
    number / (2 * AT_ONCE as u64)
}

/// All calls on one session, and what is left of it.
struct Storm {
    events: Vec<Event>,
    /// The keys of the session, by the number of the rotation that gave it, and its first one.
    keys: HashMap<Option<u64>, SessionKey>,
    left: Option<(SessionRecord, Items)>,
    counter: Option<u64>,
}

impl Storm {
    /// Makes the calls that `next` draws, until it draws none.
    async fn blow(
        driver: &dyn Driver,
        seed: u64,
        mut next: impl FnMut(&mut Dice, u64) -> Option<Call>,
    ) -> Self {
        let record = create(driver).await;
        let clock = Arc::new(AtomicU64::new(0));
        let mut dice = Dice(seed);
        let mut running = JoinSet::new();
        let mut events: Vec<Event> = Vec::new();
        let mut known = Known::default();
        let mut keys = HashMap::from([(None, record.key)]);
        let mut number = 0;
        let mut blows = true;
        while blows || !running.is_empty() {
            while blows && running.len() < AT_ONCE {
                number += 1;
                let Some(call) = next(&mut dice, number) else {
                    blows = false;
                    break;
                };
                let expected = known.of(call);
                if call == Call::Rotate {
                    keys.insert(Some(number), fresh_key());
                }
                let begin = clock.fetch_add(1, SeqCst);
                let answer = call.make(driver, &record, &keys, number, &known);
                let clock = clock.clone();
                running.spawn(async move {
                    let answer = answer.await.unwrap();
                    let time = begin..clock.fetch_add(1, SeqCst);
                    Event { number, call, expected, time, answer }
                });
            }
            if let Some(event) = running.join_next().await {
                let event = event.unwrap();
                known.learn(&event);
                events.push(event);
            }
        }
        let mut left = load(driver, vec![Locator::Ref(record.session)]).await;
        let left = left.pop().map(|found| (found.session, found.items));
        let mut counter = None;
        if left.is_some() {
            let items = items_of(driver, &record, app("counter")).await;
            counter = items.get("n").map(|text| text.parse().unwrap());
            assert!(load_key(driver, keys[&known.key]).await.is_some(), "its key finds it");
        }
        // A cleanup of the next round must not find what this one has left.
        destroy(driver, vec![Locator::Ref(record.session)]).await;
        Self { events, keys, left, counter }
    }
}
