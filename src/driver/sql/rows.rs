//! Reading what is stored, without trusting it.

use std::iter;
use std::sync::Arc;

use uuid::Uuid;

use super::Failure;
use crate::driver::{DriverError, DriverErrorKind, Items, Limits};
use crate::id::{SessionKey, SessionRef};

/// How many sessions one statement looks up.
pub(super) const FETCHED_AT_ONCE: usize = 4;

/// One to four values for a fixed number of placeholders.
pub(super) type FourOf<T> = [Option<T>; FETCHED_AT_ONCE];

pub(super) fn decode_key(bytes: &[u8]) -> Result<SessionKey, Failure> {
    <[u8; 32]>::try_from(bytes)
        .map(SessionKey::from_bytes)
        .map_err(|_| Failure::corrupt("a session's key has not 32 bytes"))
}

pub(super) fn decode_ref(bytes: &[u8]) -> Result<SessionRef, Failure> {
    Uuid::from_slice(bytes)
        .map(SessionRef::from_uuid)
        .map_err(|_| Failure::corrupt("a session's uid has not 16 bytes"))
}

/// Reads items that the database put together as `[[key, text], …]`.
pub(super) fn decode_items(json: &str) -> Result<Items, Failure> {
    let items: Vec<(Arc<str>, Arc<str>)> = serde_json::from_str::<Vec<(String, String)>>(json)
        .map_err(|_| Failure::corrupt("the items of a session are not pairs of texts"))?
        .into_iter()
        .map(|(key, text)| (key.into(), text.into()))
        .collect();
    Ok(items.into_iter().collect())
}

/// [`Limits::check`] for items of which only the totals are known: how many, the bytes of all keys
/// and texts, and the longest text.
pub(super) fn check_totals(
    limits: &Limits,
    (count, bytes, longest): (i64, i64, i64),
) -> Result<(), DriverError> {
    let size = |n: i64| usize::try_from(n).unwrap_or(usize::MAX);
    let (count, bytes, longest) = (size(count), size(bytes), size(longest));
    limits.check([(bytes.saturating_sub(longest), longest)])?;
    if count > limits.items {
        limits.check(iter::repeat_n((0, 0), count))?;
    }
    Ok(())
}

/// The first four of what a call names, and an error if there are more.
pub(super) fn four<T: Copy>(values: &[T]) -> Result<FourOf<T>, DriverError> {
    if values.len() > FETCHED_AT_ONCE {
        return Err(DriverError::new(DriverErrorKind::Other, "a call names at most four sessions"));
    }
    Ok(std::array::from_fn(|at| values.get(at).copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // S8
    #[test]
    fn totals_are_refused_exactly_where_the_items_themselves_would_be() {
        let mut limits = Limits::default();
        (limits.items, limits.value_bytes, limits.application_bytes) = (3, 10, 20);
        let cases: [&[(usize, usize)]; 7] = [
            &[],
            &[(1, 10)],
            &[(1, 11)],
            &[(1, 1); 3],
            &[(1, 1); 4],
            &[(2, 8), (2, 8)],
            &[(2, 8), (2, 9)],
        ];
        for items in cases {
            let totals = (
                items.len() as i64,
                items.iter().map(|(key, text)| (key + text) as i64).sum(),
                items.iter().map(|(_, text)| *text as i64).max().unwrap_or(0),
            );
            let expected = limits.check(items.iter().copied());
            assert_eq!(check_totals(&limits, totals), expected, "{items:?}");
        }
    }

    #[test]
    fn a_fifth_session_is_an_error_and_not_left_out() {
        assert_eq!(four(&[1, 2]).unwrap(), [Some(1), Some(2), None, None]);
        assert!(four(&[1, 2, 3, 4, 5]).is_err());
    }

    #[test]
    fn lengths_are_checked() {
        assert!(decode_key(&[0; 31]).is_err());
        assert!(decode_key(&[0; 32]).is_ok());
        assert!(decode_ref(&[0; 17]).is_err());
        assert!(decode_ref(&[0; 16]).is_ok());
    }
}
