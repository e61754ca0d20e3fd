//! What the scripts answer, read without trusting it.

use std::sync::Arc;

use redis::{Value, from_redis_value};
use uuid::Uuid;

use super::keys::Home;
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
            _ => return Err(corrupt()),
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

/// Reads the fields of a record, in the order of `FIELDS` in `session.lua`.
fn record(value: Value) -> Result<SessionRecord, DriverError> {
    let Value::Array(fields) = value else {
        return Err(corrupt());
    };
    let mut fields = fields.into_iter().map(|field| match field {
        Value::Nil => Ok(None),
        field => text(field).map(Some),
    });
    let mut field = || fields.next().unwrap_or(Ok(None));
    let (uid, key, previous_key) = (field()?, field()?, field()?);
    let (rotated, expires, ends) = (number(field()?)?, number(field()?)?, number(field()?)?);
    let (created, last_used) = (number(field()?)?, number(field()?)?);
    let time = |millis: Option<i64>| millis.map(Timestamp::from_millis).ok_or_else(corrupt);
    let uid = Uuid::parse_str(&uid.ok_or_else(corrupt)?).map_err(|_| corrupt())?;
    let mut record = SessionRecord::new(
        SessionRef::from_uuid(uid),
        decode_key(&key.ok_or_else(corrupt)?)?,
        time(created)?,
        time(ends)?,
    );
    record.previous_key = previous_key.as_deref().map(decode_key).transpose()?;
    record.rotated = rotated.map(Timestamp::from_millis);
    record.expires = time(expires)?;
    record.last_used = time(last_used)?;
    record.cookie_lifetime = number(field()?)?;
    record.principal = field()?;
    record.note = field()?;
    Ok(record)
}

fn number(text: Option<String>) -> Result<Option<i64>, DriverError> {
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
