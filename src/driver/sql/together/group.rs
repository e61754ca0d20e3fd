//! Which writes go together, which wait for those that run, and how many are worth a second batch.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::super::many::MOST_ROWS;
use super::MOST_BYTES;
use super::plan::MOST_AT_ONCE;
use super::write::{Call, Writing};
use crate::driver::lane::{Place, Work};
use crate::driver::{Limits, Locator, Target};
use crate::id::{SessionKey, SessionRef};

/// What a batch is going to write to.
#[derive(Default)]
pub(in super::super) struct WriteGroup {
    /// Those of its first call.
    limits: Option<Limits>,
    /// Whether that creates a session.
    creates: bool,
    sessions: HashSet<Named>,
    /// The sessions of calls that wait for a later batch, in front of which no other call to them goes. One that waits
    /// because it creates its session, or does not, is not among them: nobody writes to a session that is being made.
    passed: HashSet<Named>,
    calls: usize,
    rows: usize,
    bytes: usize,
}

/// What a call names its session by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Named {
    Uid(Uuid),
    Key(SessionKey),
}

/// So many new sessions make a batch worth its trip beside another.
const QUORUM_OF_CREATIONS: usize = 16;

/// Likewise of other writes: with fewer, the processors spend on two batches what is gained by them.
const QUORUM_OF_WRITES: usize = 64;

impl Work for Writing {
    type Group = WriteGroup;

    /// Sessions are created apart from other writes, and as many as fit into one statement with their items, as far as
    /// those of one call do.
    fn place(&self, group: &mut WriteGroup) -> Place {
        let creates = self.call.creates();
        if group.calls == 0 {
            group.creates = creates;
        } else if group.creates != creates {
            return Place::Waits;
        } else if creates {
            let items = group.rows - group.calls + self.call.size().0 - 1;
            if group.calls == MOST_AT_ONCE || items > MOST_AT_ONCE {
                return Place::Ends;
            }
        }
        self.place_among_all(group)
    }

    fn note_held_up(&self, group: &mut WriteGroup) {
        group.passed.extend(self.call.session());
    }

    fn waits_for(&self, running: &WriteGroup) -> bool {
        self.call.session().any(|name| running.sessions.contains(&name))
    }

    fn quorum(&self) -> usize {
        if self.call.creates() { QUORUM_OF_CREATIONS } else { QUORUM_OF_WRITES }
    }
}

impl Writing {
    /// Where it stands towards a batch that may create sessions and do anything else. Of calls to one session each
    /// waits for the batch after the one in front of it.
    pub(in super::super) fn place_among_all(&self, group: &mut WriteGroup) -> Place {
        let (limits, is_first) = (self.call.limits(), group.limits.is_none());
        let is_named = |name| group.sessions.contains(&name) || group.passed.contains(&name);
        if self.call.session().any(is_named) || *group.limits.get_or_insert(limits) != limits {
            self.note_held_up(group);
            return Place::Waits;
        }
        let (rows, bytes) = self.call.size();
        let (rows, bytes) = (group.rows + rows, group.bytes + bytes);
        if !is_first && (rows > MOST_ROWS || bytes > MOST_BYTES) {
            return Place::Ends;
        }
        group.sessions.extend(self.call.session());
        (group.rows, group.bytes) = (rows, bytes);
        group.calls += 1;
        Place::Joins
    }
}

impl Call {
    /// Whether it only creates a session.
    pub(in super::super) fn creates(&self) -> bool {
        matches!(self, Self::Commit(commit) if matches!(commit.target, Target::New(_)))
    }

    /// What it names its session by, which another call may do otherwise.
    fn session(&self) -> impl Iterator<Item = Named> {
        let uid = |session: &SessionRef| Some(Named::Uid(*session.as_uuid()));
        let key = |key: &SessionKey| Some(Named::Key(*key));
        let names = match self {
            Self::Replace(replace) => [uid(&replace.session), None],
            Self::Commit(commit) => match &commit.target {
                Target::New(record) => [uid(&record.session), None],
                Target::Seen { session, key: seen } => [uid(session), key(seen)],
                Target::Presented { key: presented, .. } => [None, key(presented)],
                Target::Existing(Locator::Key(of)) => [None, key(of)],
                Target::Existing(Locator::Ref(session)) => [uid(session), None],
            },
        };
        names.into_iter().flatten()
    }

    /// How many rows it writes, and how many bytes.
    fn size(&self) -> (usize, usize) {
        let text = |value: &Option<Arc<str>>| value.as_ref().map_or(0, |value| value.len());
        match self {
            Self::Replace(replace) => (1, replace.key.len() + replace.value.len()),
            Self::Commit(commit) => {
                let items = commit.changes.iter().flat_map(|changes| &changes.items);
                let keys = 1 + usize::from(commit.session.key.is_some());
                items.fold((keys, 0), |(rows, bytes), (key, value)| {
                    (rows + 1, bytes + key.len() + text(value))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;
    use crate::clock::Timestamp;
    use crate::driver::{ApplicationChanges, ApplicationName, Commit, SessionRecord};

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    /// Creates a session, or writes to it, with so many items.
    fn writing(n: u8, creates: bool, items: usize) -> Writing {
        let (session, key) =
            (SessionRef::from_uuid(Uuid::from_bytes([n; 16])), SessionKey::from_bytes([n; 32]));
        let new = || SessionRecord::new(session, key, NOW, Timestamp::from_millis(2_000));
        let target = if creates { Target::New(new()) } else { Target::Seen { session, key } };
        let mut changes = ApplicationChanges::new(ApplicationName::new("shop").unwrap());
        changes.items =
            (0..items).map(|item| (item.to_string().into(), Some("1".into()))).collect();
        let mut commit = Commit::new(target, NOW);
        commit.changes.push(changes);
        let call = Call::Commit(Box::new(commit));
        Writing { call, deadline: Instant::now(), reply: oneshot::channel().0 }
    }

    /// How many of such calls go together.
    fn together(creates: bool, items: usize) -> usize {
        let mut group = WriteGroup::default();
        let joins = |n: &u8| writing(*n, creates, items).place(&mut group) == Place::Joins;
        (0..=u8::MAX).take_while(joins).count()
    }

    // P2
    #[test]
    fn as_many_go_together_as_fit_into_a_statement() {
        let created =
            [0, 1, 2, 3, MOST_AT_ONCE, MOST_AT_ONCE + 1].map(|items| together(true, items));
        assert_eq!(created, [64, 64, 32, 21, 1, 1]);
        assert_eq!([1, 3, MOST_ROWS].map(|items| together(false, items)), [128, 64, 1]);
        assert_eq!([true, false].map(|creates| writing(1, creates, 1).quorum()), [16, 64]);
    }

    // P2
    #[test]
    fn of_calls_to_one_session_each_waits_for_the_one_before_it() {
        let mut group = WriteGroup::default();
        let placed = [1, 2, 1].map(|n| writing(n, false, 1).place(&mut group));
        assert_eq!(placed, [Place::Joins, Place::Joins, Place::Waits]);
        let mut presented = writing(2, false, 1);
        if let Call::Commit(commit) = &mut presented.call {
            let key = SessionKey::from_bytes([2; 32]);
            commit.target = Target::Presented { key, retired_after: NOW, otherwise: None };
        }
        assert_eq!(presented.place(&mut group), Place::Waits);
        assert_eq!([1, 3].map(|n| writing(n, false, 1).waits_for(&group)), [true, false]);
    }

    // P2
    #[test]
    fn nobody_waits_for_a_call_that_waits_itself_but_those_behind_it() {
        let mut group = WriteGroup::default();
        let other_limits = |n| {
            let mut writing = writing(n, false, 1);
            if let Call::Commit(commit) = &mut writing.call {
                commit.limits = Limits::default().with_items(2);
            }
            writing
        };
        let placed =
            [writing(1, false, 1), other_limits(2), writing(2, false, 1), writing(3, true, 1)]
                .map(|writing| writing.place(&mut group));
        assert_eq!(placed, [Place::Joins, Place::Waits, Place::Waits, Place::Waits]);
        assert_eq!(writing(4, false, MOST_ROWS).place(&mut group), Place::Ends);
        let waits = [1, 2, 3, 4].map(|n| writing(n, false, 1).waits_for(&group));
        assert_eq!(waits, [true, false, false, false]);
    }
}
