//! A storm of calls on one session, of which each has to fit to what the others were answered.
//!
//! Calls begin and end at ticks of a clock that only counts, so of two calls either one ended before
//! the other began, or they overlapped and may have happened in either order. What is read has to be
//! explained by some order that keeps to that.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::task::JoinSet;

use super::list_cases;
use super::setup::*;
use crate::driver::{
    Cleanup, Commit, CommitOutcome, Destroy, Driver, DriverFuture, Items, Locator, ReplaceOutcome,
    SessionRecord, Target,
};

list_cases! {
    "S3 S4 S6" a_storm_of_writes_leaves_what_was_acknowledged_and_nothing_else,
    "S5 S6" nothing_in_a_storm_comes_back_after_its_session_was_destroyed,
    "S5 M17" a_storm_of_expiries_revivals_and_cleanups_ends_as_it_was_answered,
}

/// How many calls run at the same time.
const AT_ONCE: usize = 64;

/// How many calls there are in a round.
const CALLS: u64 = 400;

const ROUNDS: u64 = 4;

const KEYS: u64 = 6;

async fn a_storm_of_writes_leaves_what_was_acknowledged_and_nothing_else(driver: &dyn Driver) {
    for round in 0..ROUNDS {
        let storm = Storm::blow(driver, round, |dice| match dice.draw(20) {
            0..8 => Call::Set(dice.draw(KEYS)),
            8..11 => Call::Delete(dice.draw(KEYS)),
            11 => Call::Empty,
            12..16 => Call::Count,
            _ => Call::Load,
        });
        let storm = storm.await;
        storm.check_reads();
        storm.check_count();
        assert!(storm.refused().next().is_none(), "nothing has ended the session");
        assert!(storm.left.is_some(), "nothing has ended the session");
    }
}

async fn nothing_in_a_storm_comes_back_after_its_session_was_destroyed(driver: &dyn Driver) {
    for round in 0..ROUNDS {
        let mut calls = 0;
        let storm = Storm::blow(driver, 100 + round, |dice| {
            calls += 1;
            match dice.draw(20) {
                0 if calls > CALLS / 3 => Call::Destroy,
                0..12 => Call::Set(dice.draw(KEYS)),
                12 => Call::Empty,
                13..16 => Call::Count,
                _ => Call::Load,
            }
        });
        let storm = storm.await;
        storm.check_reads();
        storm.check_count();
        storm.check_end();
        assert!(storm.left.is_none(), "a session that was destroyed is gone");
    }
}

async fn a_storm_of_expiries_revivals_and_cleanups_ends_as_it_was_answered(driver: &dyn Driver) {
    for round in 0..ROUNDS {
        let mut calls = 0;
        let storm = Storm::blow(driver, 200 + round, |dice| {
            calls += 1;
            // Long enough for what was called before to have ended, so that it is known what holds.
            let revives = calls / (2 * AT_ONCE as u64) % 2 == 1;
            match dice.draw(40) {
                0..6 if revives => Call::Revive,
                0..6 => Call::Expire,
                6 if calls > CALLS / 2 => Call::Cleanup,
                6..28 => Call::Set(dice.draw(KEYS)),
                28..34 => Call::Count,
                _ => Call::Load,
            }
        });
        let storm = storm.await;
        storm.check_reads();
        storm.check_count();
        storm.check_end();
        storm.check_expiry();
    }
}

/// What a call wants. A value that is stored is the number of its call, so no two are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Call {
    Set(u64),
    Delete(u64),
    Empty,
    /// Replaces the counter of another application by the next number.
    Count,
    Load,
    Destroy,
    /// Ends the session by expiry.
    Expire,
    /// Gives a session a new end, expired or not.
    Revive,
    Cleanup,
}

/// What a call was answered.
#[derive(Debug, Clone)]
enum Answer {
    /// It was done, or it has ended the session.
    Done,
    /// There was no such session, or no live one.
    Gone,
    /// The counter was this and not what the call expected.
    Conflict(Option<Arc<str>>),
    /// The record and the items.
    Found(Items),
}

/// A call that was answered.
#[derive(Debug)]
struct Event {
    number: u64,
    call: Call,
    /// What it expected the counter to be.
    expected: Option<String>,
    time: Range<u64>,
    answer: Answer,
}

impl Event {
    fn is_done(&self) -> bool {
        matches!(self.answer, Answer::Done)
    }

    fn is_before(&self, other: &Self) -> bool {
        self.time.end < other.time.start
    }

    /// Whether it is done and writes or removes this item of the shop.
    fn changes(&self, key: u64) -> bool {
        let is_about_it = match self.call {
            Call::Set(set) | Call::Delete(set) => set == key,
            Call::Empty => true,
            _ => false,
        };
        is_about_it && self.is_done()
    }
}

/// All calls on one session, and what is left of it.
struct Storm {
    events: Vec<Event>,
    left: Option<(SessionRecord, Items)>,
    counter: Option<String>,
}

impl Storm {
    /// Makes the calls that `next` draws.
    async fn blow(driver: &dyn Driver, seed: u64, mut next: impl FnMut(&mut Dice) -> Call) -> Self {
        let record = create(driver).await;
        let clock = Arc::new(AtomicU64::new(0));
        let mut dice = Dice(seed);
        let mut running = JoinSet::new();
        let mut events: Vec<Event> = Vec::new();
        let mut counter: Option<String> = None;
        let mut number = 0;
        while number < CALLS || !running.is_empty() {
            while number < CALLS && running.len() < AT_ONCE {
                number += 1;
                let (call, expected) = (next(&mut dice), counter.clone());
                let begin = clock.fetch_add(1, SeqCst);
                let answer = make(driver, &record, call, number, expected.as_deref());
                let clock = clock.clone();
                running.spawn(async move {
                    let answer = answer.await.unwrap();
                    let time = begin..clock.fetch_add(1, SeqCst);
                    Event { number, call, expected, time, answer }
                });
            }
            let event = running.join_next().await.unwrap().unwrap();
            match (&event.call, &event.answer) {
                (Call::Count, Answer::Done) => counter = Some(event.number.to_string()),
                (Call::Count, Answer::Conflict(now)) => {
                    counter = now.as_ref().map(ToString::to_string);
                }
                _ => {}
            }
            events.push(event);
        }
        let mut left = load(driver, vec![Locator::Ref(record.session)]).await;
        let left = left.pop().map(|found| (found.session, found.items));
        let mut counter = None;
        if left.is_some() {
            let items = items_of(driver, &record, app("counter")).await;
            counter = items.get("n").map(ToString::to_string);
        }
        // A cleanup of the next round must not find what this one has left.
        destroy(driver, vec![Locator::Ref(record.session)]).await;
        Self { events, left, counter }
    }

    fn done(&self, call: impl Fn(&Call) -> bool) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| call(&event.call) && event.is_done())
    }

    /// The commits and counts that found no live session.
    fn refused(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| {
            matches!(event.answer, Answer::Gone)
                && matches!(event.call, Call::Set(_) | Call::Delete(_) | Call::Empty | Call::Count)
        })
    }

    /// The call that has ended the session for good.
    fn end(&self) -> Option<&Event> {
        let mut ends = self.done(|call| matches!(call, Call::Destroy | Call::Cleanup));
        let end = ends.next();
        assert!(ends.next().is_none(), "a session ends once");
        end
    }

    /// What was read, and what is left, is what was acknowledged.
    fn check_reads(&self) {
        for event in &self.events {
            if let Answer::Found(items) = &event.answer {
                self.check_items(items, Some(event));
            }
        }
        if let Some((_, items)) = &self.left {
            self.check_items(items, None);
        }
    }

    /// Whether items can be what was read by `reader`, or after all calls.
    fn check_items(&self, items: &Items, reader: Option<&Event>) {
        let had_ended = |event: &Event| reader.is_none_or(|reader| event.is_before(reader));
        let had_begun = |event: &Event| reader.is_none_or(|reader| !reader.is_before(event));
        for key in 0..KEYS {
            let changes: Vec<_> = self.events.iter().filter(|event| event.changes(key)).collect();
            // It may have been the last when it was read: no other is known to have come later.
            let may_be_last = |event: &Event| {
                had_begun(event)
                    && !changes.iter().any(|later| event.is_before(later) && had_ended(later))
            };
            match items.get(&key.to_string()) {
                Some(value) => {
                    let writer = changes.iter().find(|event| {
                        event.call == Call::Set(key) && *event.number.to_string() == **value
                    });
                    let Some(writer) = writer else {
                        panic!("{value} under the key {key} was never acknowledged");
                    };
                    assert!(may_be_last(writer), "{writer:?} was read by {reader:?} or is left");
                }
                None => {
                    let none_yet = !changes.iter().any(|event| had_ended(event));
                    let removed = changes
                        .iter()
                        .any(|event| event.call != Call::Set(key) && may_be_last(event));
                    assert!(none_yet || removed, "key {key} got lost: {reader:?}");
                }
            }
        }
        assert!(items.len() <= KEYS as usize, "no other key is there");
    }

    /// Each count that was done has replaced what another had left, and no two the same.
    fn check_count(&self) {
        let done: Vec<_> = self.done(|call| *call == Call::Count).collect();
        let values: HashSet<_> = done.iter().map(|event| Some(event.number.to_string())).collect();
        let mut replaced = HashSet::new();
        for event in &done {
            assert!(replaced.insert(&event.expected), "{event:?} has replaced what was replaced");
            assert!(event.expected.is_none() || values.contains(&event.expected), "{event:?}");
        }
        if self.left.is_some() {
            assert!(self.counter.is_none() || values.contains(&self.counter), "{:?}", self.counter);
            assert!(!replaced.contains(&self.counter), "{:?} was replaced", self.counter);
            assert_eq!(self.counter.is_none(), done.is_empty());
        }
    }

    /// Nothing is done or found after the session has ended, and it has ended if it is gone.
    fn check_end(&self) {
        let Some(end) = self.end() else {
            assert!(self.left.is_some(), "nobody has ended the session, and it is gone");
            return;
        };
        assert!(self.left.is_none(), "{end:?} has ended the session, and it is back");
        for late in self.events.iter().filter(|event| end.is_before(event)) {
            let has_found = match late.answer {
                Answer::Done | Answer::Found(..) | Answer::Conflict(_) => true,
                Answer::Gone => false,
            };
            assert!(!has_found, "{late:?} began after {end:?}");
        }
    }

    /// A write is done if the session was live all the time, and refused if it was expired all the time.
    fn check_expiry(&self) {
        let expiries: Vec<_> = self.done(|call| *call == Call::Expire).collect();
        let revivals: Vec<_> = self.done(|call| *call == Call::Revive).collect();
        for write in self.done(|call| matches!(call, Call::Set(_) | Call::Count)) {
            let expired = expiries.iter().find(|expiry| {
                expiry.is_before(write)
                    && revivals
                        .iter()
                        .all(|revival| revival.is_before(expiry) || write.is_before(revival))
            });
            assert!(expired.is_none(), "{write:?} was done after {expired:?}");
        }
        let end = self.end();
        for write in self.refused() {
            let cause = expiries.iter().copied().chain(end).any(|cause| !write.is_before(cause));
            assert!(cause, "{write:?} was refused without a cause");
        }
    }
}

/// Makes a call; nothing of it has to happen before its future is polled.
fn make(
    driver: &dyn Driver,
    record: &SessionRecord,
    call: Call,
    number: u64,
    expected: Option<&str>,
) -> DriverFuture<Answer> {
    let value = number.to_string();
    let commit_of = |mut write: Commit, expires: Option<i64>| {
        if let Some(expires) = expires {
            write.session = set_expires(at(expires));
        }
        let commit = driver.commit(write);
        DriverFuture::new(async move {
            Ok(match commit.await? {
                CommitOutcome::Done(_) => Answer::Done,
                CommitOutcome::Gone => Answer::Gone,
                other => panic!("the commit was answered {other:?}"),
            })
        })
    };
    let ended = |has_ended: bool| if has_ended { Answer::Done } else { Answer::Gone };
    match call {
        Call::Set(key) => {
            commit_of(write(record, &[(key.to_string().as_str(), Some(&value))]), None)
        }
        Call::Delete(key) => commit_of(write(record, &[(key.to_string().as_str(), None)]), None),
        Call::Empty => commit_of(commit(seen(record), vec![emptied(&[])]), None),
        Call::Expire => commit_of(commit(seen(record), Vec::new()), Some(-1)),
        Call::Revive => {
            let target = Target::Existing(Locator::Ref(record.session));
            commit_of(commit(target, Vec::new()), Some(LIFE))
        }
        Call::Count => {
            let mut count = replace(record, "n", expected, &value);
            count.application = app("counter");
            let replaced = driver.replace_item(count);
            DriverFuture::new(async move {
                Ok(match replaced.await? {
                    ReplaceOutcome::Done => Answer::Done,
                    ReplaceOutcome::Gone => Answer::Gone,
                    ReplaceOutcome::Conflict(now) => Answer::Conflict(now),
                })
            })
        }
        Call::Load => {
            let found = driver.load(load_of(vec![Locator::Key(record.key)], Some(shop())));
            DriverFuture::new(async move {
                Ok(match found.await?.pop() {
                    Some(found) => Answer::Found(found.items),
                    None => Answer::Gone,
                })
            })
        }
        Call::Destroy => {
            let sessions = vec![Locator::Ref(record.session)];
            let end = driver.destroy(Destroy { sessions });
            DriverFuture::new(async move { Ok(ended(!end.await?.is_empty())) })
        }
        Call::Cleanup => {
            let cleanup = driver.cleanup(Cleanup { from: at(-1), until: NOW, limit: 10 });
            DriverFuture::new(async move { Ok(ended(cleanup.await? > 0)) })
        }
    }
}

/// Draws numbers that are the same in every run, by SplitMix64.
struct Dice(u64);

impl Dice {
    fn draw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.0;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (drawn ^ (drawn >> 31)) % below
    }
}
