//! The calls of a storm.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::driver::conformance::setup::*;
use crate::driver::{
    Cleanup, Commit, CommitOutcome, Destroy, Driver, DriverFuture, Items, Locator, ReplaceOutcome,
    SessionRecord, Target,
};
use crate::id::SessionKey;

/// What a call wants. A value that is stored is the number of its call, so no two are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Call {
    Set(u64),
    Delete(u64),
    Empty,
    /// Replaces the counter of another application by the next number.
    Count,
    /// Gives the session a fresh key, if it has the one that is known.
    Rotate,
    /// Finds it by the key that is known.
    Load,
    Destroy,
    /// Ends the session by expiry.
    Expire,
    /// Gives a session a new end, expired or not.
    Revive,
    /// Removes what has expired until then: only at 0 that can be the session.
    Cleanup(i64),
}

/// What a call was answered.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// It was done, or it has ended the session.
    Done,
    /// There was no such session, or no live one.
    Gone,
    /// The counter was this and not what the call expected.
    Conflict(Option<Arc<str>>),
    /// The session had another key than the call expected.
    Rotated,
    /// The items.
    Found(Items),
}

/// A call that was answered.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) number: u64,
    pub(super) call: Call,
    /// The number of the call whose counter or key this one started from.
    pub(super) expected: Option<u64>,
    pub(super) time: Range<u64>,
    pub(super) answer: Answer,
}

impl Event {
    pub(super) fn is_done(&self) -> bool {
        matches!(self.answer, Answer::Done)
    }

    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.time.end < other.time.start
    }

    /// Whether it is done and writes or removes this item of the shop.
    pub(super) fn changes(&self, key: u64) -> bool {
        let is_about_it = match self.call {
            Call::Set(set) | Call::Delete(set) => set == key,
            Call::Empty => true,
            _ => false,
        };
        is_about_it && self.is_done()
    }
}

/// The numbers of the calls whose counter and whose key the session is known to have got last.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) counter: Option<u64>,
    pub(super) key: Option<u64>,
}

impl Known {
    /// What a call starts from.
    pub(super) fn of(&self, call: Call) -> Option<u64> {
        match call {
            Call::Count => self.counter,
            Call::Rotate | Call::Load => self.key,
            _ => None,
        }
    }

    pub(super) fn learn(&mut self, event: &Event) {
        match (&event.call, &event.answer) {
            (Call::Count, Answer::Done) => self.counter = Some(event.number),
            (Call::Count, Answer::Conflict(now)) => {
                self.counter = now.as_ref().map(|text| text.parse().unwrap());
            }
            (Call::Rotate, Answer::Done) => self.key = Some(event.number),
            _ => {}
        }
    }
}

impl Call {
    /// Makes it; nothing of it has to happen before its future is polled.
    pub(super) fn make(
        self,
        driver: &dyn Driver,
        record: &SessionRecord,
        keys: &HashMap<Option<u64>, SessionKey>,
        number: u64,
        known: &Known,
    ) -> DriverFuture<Answer> {
        let mut record = record.clone();
        record.key = keys[&known.key];
        let value = number.to_string();
        match self {
            Self::Set(key) => {
                let key = key.to_string();
                answer(driver, write(&record, &[(key.as_str(), Some(&value))]))
            }
            Self::Delete(key) => {
                answer(driver, write(&record, &[(key.to_string().as_str(), None)]))
            }
            Self::Empty => answer(driver, commit(seen(&record), vec![emptied(&[])])),
            Self::Rotate => answer(driver, rotate(&record, keys[&Some(number)])),
            Self::Expire => {
                let mut expiry = commit(seen(&record), Vec::new());
                expiry.session = set_expires(at(-1));
                answer(driver, expiry)
            }
            Self::Revive => {
                let target = Target::Existing(Locator::Ref(record.session));
                let mut revival = commit(target, Vec::new());
                revival.session = set_expires(at(LIFE));
                answer(driver, revival)
            }
            Self::Count => {
                let expected = known.counter.map(|counter| counter.to_string());
                let mut count = replace(&record, "n", expected.as_deref(), &value);
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
            Self::Load => {
                let found = driver.load(load_of(vec![Locator::Key(record.key)], Some(shop())));
                DriverFuture::new(async move {
                    let Some(found) = found.await?.pop() else {
                        return Ok(Answer::Gone);
                    };
                    let keys = [Some(found.session.key), found.session.previous_key];
                    assert_eq!(found.session.session, record.session);
                    assert!(
                        keys.contains(&Some(record.key)),
                        "it has the key that it was found by"
                    );
                    Ok(Answer::Found(found.items))
                })
            }
            Self::Destroy => {
                let sessions = vec![Locator::Ref(record.session)];
                let end = driver.destroy(Destroy { sessions });
                DriverFuture::new(async move { Ok(ended(!end.await?.is_empty())) })
            }
            Self::Cleanup(until) => {
                let cleanup = Cleanup { from: at(-LIFE), until: at(until), limit: 10 };
                let cleanup = driver.cleanup(cleanup);
                DriverFuture::new(async move { Ok(ended(cleanup.await? > 0)) })
            }
        }
    }
}

fn answer(driver: &dyn Driver, commit: Commit) -> DriverFuture<Answer> {
    let commit = driver.commit(commit);
    DriverFuture::new(async move {
        Ok(match commit.await? {
            CommitOutcome::Done(_) => Answer::Done,
            CommitOutcome::Gone => Answer::Gone,
            CommitOutcome::Rotated => Answer::Rotated,
            other => panic!("the commit was answered {other:?}"),
        })
    })
}

fn ended(has_ended: bool) -> Answer {
    if has_ended { Answer::Done } else { Answer::Gone }
}

/// Draws numbers that are the same in every run, by SplitMix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn draw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.0;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (drawn ^ (drawn >> 31)) % below
    }
}
