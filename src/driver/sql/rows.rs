//! Reading what is stored, without trusting it, and binding what is to be stored.

use std::iter;
use std::sync::Arc;

use super::{Failure, Row, Value};
use crate::clock::Timestamp;
use crate::driver::{Items, Limits, Locator, SessionRecord};
use crate::id::{SessionKey, SessionRef};

/// How many sessions one statement looks up.
pub(super) const NAMED_AT_ONCE: usize = 4;

/// The place of the time at which a session expires: no session is without it.
pub(super) const EXPIRES: usize = 4;

/// The place of an item's key behind the columns of a record; its length and its text follow.
const ITEM: usize = 11;

/// Reads the columns of a record.
pub(super) fn record(row: &(impl Row + ?Sized)) -> Result<SessionRecord, Failure> {
    let time = |at| row.number(at).map(Timestamp::from_millis);
    let text = |at| Ok::<_, Failure>(row.text(at)?.map(str::to_owned));
    let mut record = SessionRecord::new(
        session(row)?,
        row.key(1)?.ok_or(Failure::corrupt("a session has no key"))?,
        time(6)?,
        time(5)?,
    );
    record.previous_key = row.key(2)?;
    record.rotated = row.integer(3)?.map(Timestamp::from_millis);
    record.expires = time(EXPIRES)?;
    record.last_used = time(7)?;
    record.cookie_lifetime = row.integer(8)?;
    record.principal = text(9)?;
    record.note = text(10)?;
    Ok(record)
}

/// Reads the reference of a session, which is the first column.
pub(super) fn session(row: &(impl Row + ?Sized)) -> Result<SessionRef, Failure> {
    Ok(SessionRef::from_uuid(row.uid(0)?))
}

/// The columns of a record to bind, in the order in which they are read.
pub(super) fn record_values(record: &SessionRecord) -> [Value<'_>; ITEM] {
    let previous_key = record.previous_key.as_ref().map(SessionKey::as_bytes);
    [
        Value::from(&record.session),
        Value::from(&record.key),
        Value::Bytes(previous_key.map(<[u8; 32]>::as_slice)),
        Value::Integer(record.rotated.map(Timestamp::as_millis)),
        Value::from(record.expires.as_millis()),
        Value::from(record.ends.as_millis()),
        Value::from(record.created.as_millis()),
        Value::from(record.last_used.as_millis()),
        Value::Integer(record.cookie_lifetime),
        Value::Text(record.principal.as_deref()),
        Value::Text(record.note.as_deref()),
    ]
}

/// The items of one session as they come in, checked against the limits on the way.
pub(super) struct Loading {
    pub(super) record: SessionRecord,
    items: Items,
    bytes: usize,
}

impl Loading {
    pub(super) fn new(record: SessionRecord) -> Self {
        Self { record, items: Items::new(), bytes: 0 }
    }

    /// Takes the item that stands behind the record, if there is one, and answers how many bytes it has.
    pub(super) fn take(
        &mut self,
        row: &(impl Row + ?Sized),
        limits: &Limits,
    ) -> Result<usize, Failure> {
        let Some(key) = row.bytes(ITEM)? else {
            return Ok(0);
        };
        let length = size(row.number(ITEM + 1)?);
        // The longest item is looked at on its own, the others together.
        limits.check([(key.len().saturating_add(self.bytes), length)])?;
        if self.items.len() >= limits.items {
            limits.check(iter::repeat_n((0, 0), self.items.len() + 1))?;
        }
        let bytes = key.len().saturating_add(length);
        self.bytes = self.bytes.saturating_add(bytes);
        let key = str::from_utf8(key).map_err(|_| Failure::corrupt("a key is not UTF-8"))?;
        let text = row.text(ITEM + 2)?.ok_or(Failure::corrupt("an item has no value"))?;
        self.items.insert(key.into(), Arc::from(text));
        Ok(bytes)
    }

    pub(super) fn finish(self) -> (SessionRecord, Items) {
        (self.record, self.items)
    }
}

/// A size that a database has counted.
pub(super) fn size(n: i64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// The keys and the references among at most four locators, for as many placeholders.
pub(super) fn named(
    sessions: &[Locator],
) -> ([Value<'_>; NAMED_AT_ONCE], [Value<'_>; NAMED_AT_ONCE]) {
    let keys = std::array::from_fn(|at| match sessions.get(at) {
        Some(Locator::Key(key)) => Value::from(key),
        _ => Value::Bytes(None),
    });
    let references = std::array::from_fn(|at| match sessions.get(at) {
        Some(Locator::Ref(session)) => Value::from(session),
        _ => Value::Uid(None),
    });
    (keys, references)
}
