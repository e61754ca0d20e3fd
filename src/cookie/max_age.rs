//! How long the cookie is kept, and how that is written into a configuration and beside a session.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// The greatest lifetime of a cookie: 400 days, in seconds. User agents cut what is longer (RFC 6265bis, section 5).
pub(super) const MAX_LIFETIME_SECONDS: u64 = 400 * 24 * 60 * 60;

/// How long the user agent keeps the cookie.
///
/// In a configuration it is written as `"session"`, a number of seconds, or `"browser"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MaxAge {
    /// Until the session's own end.
    #[default]
    Session,
    /// So many seconds, at most 400 days. 0: the cookie expires at once.
    Seconds(u64),
    /// Until the browser is closed.
    Browser,
}

impl MaxAge {
    const STORED_BROWSER: i64 = -1;
    const STORED_SESSION: i64 = -2;

    /// Whether user agents would cut it.
    pub(crate) fn is_too_long(self) -> bool {
        matches!(self, Self::Seconds(seconds) if seconds > MAX_LIFETIME_SECONDS)
    }

    /// As it is kept with a session: milliseconds, or a negative number for the other forms.
    pub(crate) fn to_stored(self) -> i64 {
        match self {
            Self::Session => Self::STORED_SESSION,
            Self::Seconds(seconds) => {
                i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
            }
            Self::Browser => Self::STORED_BROWSER,
        }
    }

    pub(crate) fn from_stored(stored: i64) -> Self {
        match u64::try_from(stored) {
            Ok(millis) => Self::Seconds(millis / 1_000),
            Err(_) if stored == Self::STORED_BROWSER => Self::Browser,
            Err(_) => Self::Session,
        }
    }
}

impl Serialize for MaxAge {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Session => serializer.serialize_str("session"),
            Self::Seconds(seconds) => serializer.serialize_u64(*seconds),
            Self::Browser => serializer.serialize_str("browser"),
        }
    }
}

impl<'de> Deserialize<'de> for MaxAge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MaxAgeVisitor)
    }
}

struct MaxAgeVisitor;

impl Visitor<'_> for MaxAgeVisitor {
    type Value = MaxAge;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"session\", a number of seconds from 0, or \"browser\"")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<MaxAge, E> {
        Ok(MaxAge::Seconds(seconds))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<MaxAge, E> {
        u64::try_from(seconds)
            .map(MaxAge::Seconds)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<MaxAge, E> {
        match text {
            "session" => Ok(MaxAge::Session),
            "browser" => Ok(MaxAge::Browser),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }
}
