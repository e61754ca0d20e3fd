//! Which sessions are known to be small, so that nobody has to look at their size before they are read.
//!
//! It is a hint: one that has grown is read as a whole once more, and is forgotten then.

use std::collections::HashSet;

use parking_lot::Mutex;
use redis::Value;

use super::keys::Home;
use super::plain::MOST_BYTES;

/// Where sessions, and aliases of sessions, lie that had [`MOST_BYTES`] at most when they were last read.
#[derive(Default)]
pub(super) struct Small(Mutex<HashSet<Home>>);

impl Small {
    /// How many are kept in mind: some four megabytes. Beyond, it begins anew.
    const MOST: usize = 1 << 15;

    pub(super) fn has(&self, home: &str) -> bool {
        self.0.lock().contains(home)
    }

    pub(super) fn add(&self, home: Home) {
        let mut homes = self.0.lock();
        if homes.len() == Self::MOST {
            homes.clear();
        }
        homes.insert(home);
    }

    pub(super) fn forget(&self, home: &str) {
        self.0.lock().remove(home);
    }

    /// Forgets these when it is dropped, except for those that are seen to be small still.
    pub(super) fn forget_unless_seen<'a>(&'a self, homes: Vec<&'a str>) -> Unseen<'a> {
        Unseen { small: self, homes }
    }
}

/// What is being read. If there is no answer, perhaps it has become too large to be sent in time.
pub(super) struct Unseen<'a> {
    small: &'a Small,
    homes: Vec<&'a str>,
}

impl Unseen<'_> {
    /// Looks at the answers, as many as there are homes.
    pub(super) fn see(&mut self, answers: &[Value]) {
        let mut answers = answers.iter();
        self.homes.retain(|_| !answers.next().is_some_and(is_small));
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        self.homes.iter().for_each(|home| self.small.forget(home));
    }
}

/// Whether a hash that was read as a whole has few bytes.
fn is_small(answer: &Value) -> bool {
    let length = |value: &Value| match value {
        Value::BulkString(text) => text.len(),
        _ => 0,
    };
    let pairs = answer.as_map_iter().into_iter().flatten();
    pairs.map(|(field, value)| length(field) + length(value)).sum::<usize>() <= MOST_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    // P2
    #[test]
    fn what_is_not_seen_to_be_small_is_forgotten() {
        let hash = |bytes| {
            let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
            Value::Array(vec![text("field"), text(&"x".repeat(bytes - "field".len()))])
        };
        let small = Small::default();
        let homes = ["one", "two", "three"];
        let known = || homes.map(|home| small.has(home));
        let add = || homes.iter().for_each(|home| small.add((*home).to_owned()));
        assert_eq!(known(), [false; 3]);
        add();
        let mut unseen = small.forget_unless_seen(homes.to_vec());
        unseen.see(&[hash(MOST_BYTES), hash(MOST_BYTES + 1)]);
        assert_eq!(known(), [true; 3]);
        drop(unseen);
        assert_eq!(known(), [true, false, false]);
        add();
        drop(small.forget_unless_seen(homes.to_vec()));
        assert_eq!(known(), [false; 3]);
    }

    #[test]
    fn no_more_are_kept_in_mind_than_that() {
        let small = Small::default();
        for number in 0..=Small::MOST {
            small.add(number.to_string());
        }
        assert_eq!(small.0.lock().len(), 1);
    }
}
