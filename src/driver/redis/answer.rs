//! What Redis answers, read without trusting it.

use std::sync::Arc;

use redis::{Value, from_redis_value};
use uuid::Uuid;

use super::keys::{Home, home, uid};
use crate::clock::Timestamp;
use crate::driver::{DriverError, DriverErrorKind, Items, SessionRecord};
use crate::id::{SessionKey, SessionRef};

/// An answer of a script, by its first word.
#[derive(Debug)]
pub(super) enum Answer {
    None,
    Elsewhere(Home),
    Found(SessionRecord, Items),
    /// A record: `done` or `ended`.
    Record(SessionRecord),
    Done,
    Taken,
    Rotated,
    /// The record is not the one for which other keys were prepared.
    Changed,
    /// A session was added to those of a principal, of which there are some others.
    Added(Membership, Vec<Member>),
    /// A principal has as many sessions as it may have, these.
    Full(Vec<Member>),
    Conflict(Option<Arc<str>>),
    /// There is or would be too much: how many items, all bytes, the longest text.
    Totals(i64, i64, i64),
}

/// A session in the index of a principal: its uid, its score, and 1 while its commit may be under way.
pub(super) type Member = (String, String, i64);

/// The score with which a session was added to the index of a principal, and the one that it had before,
/// empty if it was not there.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) score: String,
    pub(super) before: String,
}

impl Answer {
    pub(super) fn read(value: Value) -> Result<Self, DriverError> {
        let Value::Array(parts) = value else {
            return Err(corrupt());
        };
        let mut parts = parts.into_iter();
        let word = text(next(&mut parts)?)?;
        Ok(match word.as_str() {
            "none" => Self::None,
            "elsewhere" => Self::Elsewhere(text(next(&mut parts)?)?),
            "found" => Self::Found(record(next(&mut parts)?)?, items(next(&mut parts)?)?),
            "done" | "ended" => match parts.next() {
                Some(value) => Self::Record(record(value)?),
                None => Self::Done,
            },
            "taken" => Self::Taken,
            "rotated" => Self::Rotated,
            "changed" => Self::Changed,
            "added" => {
                let (score, before) = (text(next(&mut parts)?)?, text(next(&mut parts)?)?);
                Self::Added(Membership { score, before }, members(next(&mut parts)?)?)
            }
            "full" => Self::Full(members(next(&mut parts)?)?),
            "conflict" => Self::Conflict(match next(&mut parts)? {
                Value::Nil => None,
                value => Some(text(value)?.into()),
            }),
            "totals" => {
                let mut number = || from_redis_value(next(&mut parts)?).map_err(|_| corrupt());
                Self::Totals(number()?, number()?, number()?)
            }
            "corrupt" => return Err(corrupt()),
            _ => return Err(unexpected()),
        })
    }
}

/// An answer that no script gives to this call.
pub(super) fn unexpected() -> DriverError {
    DriverError::new(DriverErrorKind::Other, "a script gave an answer that it does not have")
}

pub(super) fn corrupt() -> DriverError {
    DriverError::new(DriverErrorKind::Corrupt, "a session is not what was stored")
}

fn next(parts: &mut impl Iterator<Item = Value>) -> Result<Value, DriverError> {
    parts.next().ok_or_else(corrupt)
}

fn text(value: Value) -> Result<String, DriverError> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| corrupt()),
        Value::SimpleString(text) => Ok(text),
        _ => Err(corrupt()),
    }
}

/// The fields of a record: its parts in one, as [`pack`] writes them, and what may hold any text.
const FIELDS: [&str; 3] = ["rec", "pri", "note"];

/// The parts of a record in one text. `PARTS` in `session.lua` has them in the same order.
pub(super) fn pack(record: &SessionRecord) -> String {
    let millis = |time: Timestamp| Some(time.as_millis());
    let numbers = [
        millis(record.expires),
        millis(record.ends),
        millis(record.created),
        millis(record.last_used),
    ];
    let mut text = format!("{} {}", uid(&record.session), home(&record.key));
    let mut push = |part: Option<String>| {
        text.push(' ');
        text.push_str(part.as_deref().unwrap_or("-"));
    };
    let number = |number: Option<i64>| number.map(|number| number.to_string());
    for time in numbers {
        push(number(time));
    }
    push(record.previous_key.as_ref().map(home));
    push(number(record.rotated.and_then(millis)));
    push(number(record.cookie_lifetime));
    text
}

/// What lies at a key.
pub(super) enum Hash {
    Nothing,
    Alias(Home),
    /// With the items of one application.
    Session(SessionRecord, Items),
}

/// Reads all fields and values of a hash: of items those whose fields begin with the prefix.
pub(super) fn hash(answer: &Value, prefix: Option<&str>) -> Result<Hash, DriverError> {
    let mut values = [None; FIELDS.len()];
    let (mut alias, mut items, mut is_empty) = (None, Vec::new(), true);
    for pair in answer.as_map_iter().ok_or_else(corrupt)? {
        is_empty = false;
        let (Value::BulkString(field), Value::BulkString(value)) = pair else {
            return Err(corrupt());
        };
        let read = |text| str::from_utf8(text).map_err(|_| corrupt());
        let place = FIELDS.iter().zip(&mut values).find(|(name, _)| name.as_bytes() == field);
        if let Some((_, place)) = place {
            *place = Some(read(value)?);
        } else if field == b"home" {
            alias = Some(read(value)?);
        } else if let Some(key) = prefix.and_then(|prefix| field.strip_prefix(prefix.as_bytes())) {
            items.push((Arc::from(read(key)?), Arc::from(read(value)?)));
        }
    }
    match (values, alias) {
        ([Some(parts), principal, note], _) => {
            let record = record_of(parts, principal, note)?;
            Ok(Hash::Session(record, items.into_iter().collect()))
        }
        (_, Some(home)) => Ok(Hash::Alias(home.to_owned())),
        _ if is_empty => Ok(Hash::Nothing),
        _ => Err(corrupt()),
    }
}

pub(super) fn record(value: Value) -> Result<SessionRecord, DriverError> {
    let Value::Array(fields) = value else {
        return Err(corrupt());
    };
    let text = |field| match field {
        Value::Nil => Ok(None),
        field => text(field).map(Some),
    };
    let fields: Vec<_> = fields.into_iter().map(text).collect::<Result<_, _>>()?;
    let [Some(parts), principal, note] = fields.as_slice() else {
        return Err(corrupt());
    };
    record_of(parts, principal.as_deref(), note.as_deref())
}

/// Reads a record from its [`FIELDS`].
pub(super) fn record_of(
    parts: &str,
    principal: Option<&str>,
    note: Option<&str>,
) -> Result<SessionRecord, DriverError> {
    let mut parts = parts.split(' ').map(|part| (part != "-").then_some(part));
    let mut part = || parts.next().ok_or_else(corrupt);
    let (uid, key) = (part()?.ok_or_else(corrupt)?, part()?.ok_or_else(corrupt)?);
    let mut time = || part().and_then(number)?.map(Timestamp::from_millis).ok_or_else(corrupt);
    let (expires, ends, created, last_used) = (time()?, time()?, time()?, time()?);
    let uid = Uuid::parse_str(uid).map_err(|_| corrupt())?;
    let session = SessionRef::from_uuid(uid);
    let mut record = SessionRecord::new(session, decode_key(key)?, created, ends);
    record.expires = expires;
    record.last_used = last_used;
    record.previous_key = part()?.map(decode_key).transpose()?;
    record.rotated = number(part()?)?.map(Timestamp::from_millis);
    record.cookie_lifetime = number(part()?)?;
    if parts.next().is_some() {
        return Err(corrupt());
    }
    record.principal = principal.map(str::to_owned);
    record.note = note.map(str::to_owned);
    Ok(record)
}

fn number(text: Option<&str>) -> Result<Option<i64>, DriverError> {
    text.map(|text| text.parse().map_err(|_| corrupt())).transpose()
}

fn members(value: Value) -> Result<Vec<Member>, DriverError> {
    from_redis_value(value).map_err(|_| corrupt())
}

fn decode_key(text: &str) -> Result<SessionKey, DriverError> {
    let mut bytes = [0; 32];
    match base16ct::lower::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == 32 => Ok(SessionKey::from_bytes(bytes)),
        _ => Err(corrupt()),
    }
}

fn items(value: Value) -> Result<Items, DriverError> {
    let Value::Array(parts) = value else {
        return Err(corrupt());
    };
    let mut parts = parts.into_iter();
    let mut items = Vec::with_capacity(parts.len() / 2);
    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
        items.push((text(key)?.into(), text(value)?.into()));
    }
    Ok(items.into_iter().collect())
}
