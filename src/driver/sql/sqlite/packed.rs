//! All rows of an answer in one: SQLite hands over a row at a time to another thread, and that is what
//! a short row costs most.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use uuid::Uuid;

use crate::driver::sql::{Failure, Row};
use crate::id::SessionKey;

/// Hands over the rows that stand in a JSON text, as [`Many`](crate::driver::sql::Many) writes them.
pub(super) fn unpack(
    text: Option<&str>,
    take: &mut dyn FnMut(&dyn Row) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut rows = Rows { take, refused: None };
    let mut json = serde_json::Deserializer::from_str(text.unwrap_or("[]"));
    let read = json.deserialize_seq(&mut rows).and_then(|()| json.end());
    match (rows.refused, read) {
        (Some(failure), _) => Err(failure),
        (None, Err(_)) => Err(Failure::corrupt("an answer is not what was asked for")),
        (None, Ok(())) => Ok(()),
    }
}

/// Takes the rows one by one, as they are read.
struct Rows<'t> {
    take: &'t mut dyn FnMut(&dyn Row) -> Result<(), Failure>,
    /// What `take` says of the row at which the reading ended.
    refused: Option<Failure>,
}

impl<'de> Visitor<'de> for &mut Rows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        // One for all of them.
        let mut row = PackedRow(Vec::new());
        while rows.next_element_seed(&mut row)?.is_some() {
            if let Err(failure) = (self.take)(&row) {
                self.refused = Some(failure);
                return Err(A::Error::custom("a row is refused"));
            }
        }
        Ok(())
    }
}

struct PackedRow<'a>(Vec<Cell<'a>>);

impl<'de> DeserializeSeed<'de> for &mut PackedRow<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut PackedRow<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut cells: A) -> Result<(), A::Error> {
        self.0.clear();
        while let Some(cell) = cells.next_element()? {
            self.0.push(cell);
        }
        Ok(())
    }
}

enum Cell<'a> {
    Null,
    Integer(i64),
    Text(Cow<'a, str>),
}

impl PackedRow<'_> {
    fn hexadecimal<const N: usize>(&self, at: usize) -> Result<Option<[u8; N]>, Failure> {
        let Some(text) = self.text(at)? else { return Ok(None) };
        let mut bytes = [0; N];
        match base16ct::upper::decode(text, &mut bytes) {
            Ok(decoded) if decoded.len() == N => Ok(Some(bytes)),
            _ => Err(Failure::corrupt("a session's key or reference has another length")),
        }
    }
}

impl Row for PackedRow<'_> {
    fn uid(&self, at: usize) -> Result<Uuid, Failure> {
        let uid = self.hexadecimal(at)?.ok_or(Failure::corrupt("a reference is missing"))?;
        Ok(Uuid::from_bytes(uid))
    }

    fn key(&self, at: usize) -> Result<Option<SessionKey>, Failure> {
        Ok(self.hexadecimal(at)?.map(SessionKey::from_bytes))
    }

    fn bytes(&self, at: usize) -> Result<Option<&[u8]>, Failure> {
        Ok(self.text(at)?.map(str::as_bytes))
    }

    fn integer(&self, at: usize) -> Result<Option<i64>, Failure> {
        match self.0.get(at) {
            Some(Cell::Null) => Ok(None),
            Some(Cell::Integer(number)) => Ok(Some(*number)),
            _ => Err(Failure::corrupt("a number is of another kind")),
        }
    }

    fn text(&self, at: usize) -> Result<Option<&str>, Failure> {
        match self.0.get(at) {
            Some(Cell::Null) => Ok(None),
            Some(Cell::Text(text)) => Ok(Some(text)),
            _ => Err(Failure::corrupt("a text is of another kind")),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Cell<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyCell;

        impl<'de> Visitor<'de> for AnyCell {
            type Value = Cell<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("null, an integer or a text")
            }

            fn visit_unit<E>(self) -> Result<Cell<'de>, E> {
                Ok(Cell::Null)
            }

            fn visit_i64<E>(self, number: i64) -> Result<Cell<'de>, E> {
                Ok(Cell::Integer(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Cell<'de>, E> {
                i64::try_from(number).map(Cell::Integer).map_err(E::custom)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cell<'de>, E> {
                Ok(Cell::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Cell<'de>, E> {
                Ok(Cell::Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_any(AnyCell)
    }
}
