//! The name of an environment, which prefixes its tables or keys.

use std::fmt;
use std::sync::Arc;

use crate::driver::{DriverError, DriverErrorKind};

/// A checked name: `[a-z][a-z0-9_]{0,31}`. Statements quote it all the same.
#[derive(Debug, Clone)]
pub(super) struct EnvironmentName(Arc<str>);

impl EnvironmentName {
    /// The name if none is given.
    pub(super) const DEFAULT: &str = "web_session";
    const MAX_LEN: usize = 32;

    pub(super) fn new(name: &str) -> Result<Self, DriverError> {
        let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
        let goes_on = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if starts && name.len() <= Self::MAX_LEN && name.bytes().all(goes_on) {
            return Ok(Self(name.into()));
        }
        Err(DriverError::new(
            DriverErrorKind::Configuration,
            format!(
                "{name:?} is no name for an environment: it has 1 to {} characters from `a-z 0-9 _` \
                 and starts with a letter",
                Self::MAX_LEN
            ),
        ))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for EnvironmentName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl fmt::Display for EnvironmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // D4
    #[test]
    fn a_name_is_a_short_lower_case_identifier() {
        let longest = "a".repeat(32);
        for name in ["a", "web_session", "a1_", &longest] {
            assert_eq!(EnvironmentName::new(name).unwrap().as_str(), name);
        }
        let too_long = "a".repeat(33);
        for name in ["", "1a", "_a", "A", "aB", "a-b", "a b", "a\"b", "ä", "a;", &too_long] {
            let error = EnvironmentName::new(name).unwrap_err();
            assert_eq!(error.kind(), DriverErrorKind::Configuration, "{name:?}");
        }
    }
}
