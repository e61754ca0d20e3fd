//! What has to hold of all calls of a storm together.

use std::collections::HashMap;
use std::ops::Range;

use super::calls::{Answer, Call, Event};
use super::order::{AFTER_ALL, Alike, Changes};
use super::{KEYS, Storm};
use crate::driver::Items;

impl Storm {
    /// Each call fits to what the others were answered, and so does what is left.
    pub(super) fn check(&self) {
        self.check_reads();
        self.check_counter();
        self.check_key();
        self.check_end();
        self.check_life();
    }

    fn done(&self, call: impl Fn(&Call) -> bool) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| call(&event.call) && event.is_done())
    }

    /// What was read, and what is left, is what was acknowledged.
    fn check_reads(&self) {
        let items = KeptItems::new(&self.events);
        for event in &self.events {
            if let Answer::Found(found) = &event.answer {
                items.check(found, &event.time);
            }
        }
        if let Some((_, left)) = &self.left {
            items.check(left, &AFTER_ALL);
        }
    }

    fn check_counter(&self) {
        let counts = self.chain(Call::Count);
        if self.left.is_some() {
            assert_eq!(self.counter, last(&counts), "the counter is what the last count has left");
        }
        let numbers: HashMap<_, _> = counts.values().map(|count| (count.number, count)).collect();
        for event in &self.events {
            if let Answer::Conflict(now) = &event.answer {
                let told = now.as_ref().and_then(|now| numbers.get(&now.parse().unwrap()));
                let may_be_told = told.is_some_and(|count| !event.is_before(count));
                let other = counts.get(&event.expected);
                let may_be_replaced = other.is_some_and(|other| !event.is_before(other));
                assert!(may_be_told && may_be_replaced, "{event:?} was told what was not there");
            }
        }
    }

    fn check_key(&self) {
        let rotations = self.chain(Call::Rotate);
        if let Some((record, _)) = &self.left {
            assert_eq!(record.key, self.keys[&last(&rotations)], "the key is the last one given");
        }
        for event in self.events.iter().filter(|event| matches!(event.answer, Answer::Rotated)) {
            let next = rotations.get(&event.expected);
            assert_eq!(event.call, Call::Rotate, "only who rotates is told that another has");
            assert!(next.is_some_and(|next| !event.is_before(next)), "{event:?} was the first");
        }
        // Only a key that was replaced twice may find nothing while the session is there.
        let end = self.end();
        for event in self.events.iter().filter(|event| event.call == Call::Load) {
            if matches!(event.answer, Answer::Gone) {
                let next = rotations.get(&event.expected);
                let second = next.and_then(|next| rotations.get(&Some(next.number)));
                let mut causes = second.into_iter().copied().chain(end);
                assert!(causes.any(|cause| !event.is_before(cause)), "{event:?} found nothing");
            }
        }
    }

    /// The calls of a kind that were done, by what each has replaced: never what another had, and always
    /// what one of them had left.
    fn chain(&self, call: Call) -> HashMap<Option<u64>, &Event> {
        let mut chain = HashMap::new();
        for event in self.done(|other| *other == call) {
            let other = chain.insert(event.expected, event);
            assert!(other.is_none(), "{event:?} has replaced what {other:?} had");
        }
        let mut at = None;
        let mut length = 0;
        while let Some(next) = chain.get(&at) {
            at = Some(next.number);
            length += 1;
        }
        assert_eq!(length, chain.len(), "each {call:?} has replaced what another had left");
        chain
    }

    /// The call that has ended the session for good.
    fn end(&self) -> Option<&Event> {
        let mut ends = self.done(|call| matches!(call, Call::Destroy | Call::Cleanup(_)));
        let end = ends.next();
        assert!(ends.next().is_none(), "a session ends once");
        end
    }

    /// Nothing is done or found after the session has ended, and it has ended if it is gone.
    fn check_end(&self) {
        let Some(end) = self.end() else {
            assert!(self.left.is_some(), "nobody has ended the session, and it is gone");
            return;
        };
        assert!(end.call != Call::Cleanup(-1), "{end:?} has removed what had not expired so early");
        assert!(self.left.is_none(), "{end:?} has ended the session, and it is back");
        for late in self.events.iter().filter(|event| end.is_before(event)) {
            assert!(matches!(late.answer, Answer::Gone), "{late:?} began after {end:?}");
        }
    }

    /// A call that needs a live session is done only if it may have been live, and finds none only if it may
    /// have expired or ended. The same holds of one that needs an expired session or any.
    fn check_life(&self) {
        let end = self.end();
        let changes = Changes::new(self.done(|call| matches!(call, Call::Expire | Call::Revive)));
        let expiries = Alike::new(&changes, self.done(|call| *call == Call::Expire));
        let revivals = Alike::new(&changes, self.done(|call| *call == Call::Revive));
        for event in &self.events {
            let time = &event.time;
            let may_be_live = || changes.may_be_none_yet(time) || revivals.may_be_last(time);
            let may_be_expired = || expiries.may_be_last(time);
            let may_have_ended = end.is_some_and(|end| !event.is_before(end));
            match (&event.call, &event.answer) {
                (Call::Load | Call::Cleanup(-1), _) => {}
                (Call::Cleanup(_), Answer::Done) => {
                    assert!(may_be_expired(), "{event:?} has removed a live session");
                }
                (Call::Cleanup(_), _) => {}
                (Call::Revive | Call::Destroy, Answer::Gone) => {
                    assert!(may_have_ended, "{event:?} found nothing");
                }
                (Call::Revive | Call::Destroy, _) => {}
                (_, Answer::Gone) => {
                    assert!(may_have_ended || may_be_expired(), "{event:?} found no live session");
                }
                (_, _) => assert!(may_be_live(), "{event:?} was done after an expiry"),
            }
        }
    }
}

/// The number of the call at the end of a chain.
fn last(chain: &HashMap<Option<u64>, &Event>) -> Option<u64> {
    let mut at = None;
    while let Some(next) = chain.get(&at) {
        at = Some(next.number);
    }
    at
}

/// What was done to the items of the shop.
struct KeptItems<'a> {
    /// By the key: all changes, and those that have removed it.
    keys: Vec<(Changes, Alike)>,
    /// The calls that have stored something, by their number.
    writers: HashMap<u64, &'a Event>,
}

impl<'a> KeptItems<'a> {
    fn new(events: &'a [Event]) -> Self {
        let keys = (0..KEYS).map(|key| {
            let of_key = || events.iter().filter(move |event| event.changes(key));
            let changes = Changes::new(of_key());
            let removals = of_key().filter(|event| event.call != Call::Set(key));
            let removals = Alike::new(&changes, removals);
            (changes, removals)
        });
        let writers = events.iter().filter(|event| event.is_done());
        Self { keys: keys.collect(), writers: writers.map(|event| (event.number, event)).collect() }
    }

    /// Whether items can be what was read then.
    fn check(&self, items: &Items, reader: &Range<u64>) {
        for (key, (changes, removals)) in (0..KEYS).zip(&self.keys) {
            match items.get(&key.to_string()) {
                Some(value) => {
                    let writer = self.writers.get(&value.parse().unwrap());
                    let Some(writer) = writer.filter(|event| event.call == Call::Set(key)) else {
                        panic!("{value} under the key {key} was never acknowledged");
                    };
                    let may_be_there = changes.may_be_last(&writer.time, reader);
                    assert!(may_be_there, "{writer:?} was read at {reader:?} or is left");
                }
                None => {
                    let may_be_gone =
                        changes.may_be_none_yet(reader) || removals.may_be_last(reader);
                    assert!(may_be_gone, "key {key} got lost: {reader:?}");
                }
            }
        }
        assert!(items.len() <= KEYS as usize, "no other key is there");
    }
}
