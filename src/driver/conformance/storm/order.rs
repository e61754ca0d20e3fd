//! In which orders calls may have happened, found out without comparing each with each other.

use std::ops::Range;

use super::calls::Event;

/// When all is over.
pub(super) const AFTER_ALL: Range<u64> = u64::MAX..u64::MAX;

/// The changes of one thing, which each replace what was there.
pub(super) struct Changes {
    /// When each began, in order, and when the first of it and those behind it had ended.
    begun: Vec<(u64, u64)>,
}

impl Changes {
    pub(super) fn new<'a>(changes: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut begun: Vec<_> =
            changes.into_iter().map(|change| (change.time.start, change.time.end)).collect();
        begun.sort_unstable();
        let mut first = u64::MAX;
        for (_, end) in begun.iter_mut().rev() {
            first = first.min(*end);
            *end = first;
        }
        Self { begun }
    }

    /// Whether what was there at first may be there still when it is read.
    pub(super) fn may_be_none_yet(&self, reader: &Range<u64>) -> bool {
        self.begun.first().is_none_or(|(_, end)| *end >= reader.start)
    }

    /// Whether a change may be the last when it is read: no other is known to have come in between.
    pub(super) fn may_be_last(&self, change: &Range<u64>, reader: &Range<u64>) -> bool {
        change.start <= reader.end && self.replaced(change) >= reader.start
    }

    /// When a change had certainly been replaced by another.
    fn replaced(&self, change: &Range<u64>) -> u64 {
        let later = self.begun.partition_point(|(begin, _)| *begin <= change.end);
        self.begun.get(later).map_or(u64::MAX, |(_, end)| *end)
    }
}

/// Those of the changes of a thing that have the same effect.
pub(super) struct Alike {
    /// When each began, in order, and when it and those in front of it had all been replaced.
    begun: Vec<(u64, u64)>,
}

impl Alike {
    pub(super) fn new<'a>(all: &Changes, some: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut begun: Vec<_> = some
            .into_iter()
            .map(|change| (change.time.start, all.replaced(&change.time)))
            .collect();
        begun.sort_unstable();
        let mut last = 0;
        for (_, replaced) in &mut begun {
            last = last.max(*replaced);
            *replaced = last;
        }
        Self { begun }
    }

    /// Whether one of them may be the last when it is read.
    pub(super) fn may_be_last(&self, reader: &Range<u64>) -> bool {
        let later = self.begun.partition_point(|(begin, _)| *begin <= reader.end);
        later.checked_sub(1).is_some_and(|last| self.begun[last].1 >= reader.start)
    }
}
