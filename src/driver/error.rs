//! Why a driver could not answer, without what was stored.

use std::borrow::Cow;
use std::fmt;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "redis"))]
use super::lane::Unanswered;

/// A driver could not answer.
///
/// It holds what an operator needs (what kind, the storage's own code, where) and nothing of what
/// was stored: the texts of storage errors quote keys and values, so they are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverError {
    kind: DriverErrorKind,
    code: Option<String>,
    message: Cow<'static, str>,
}

impl DriverError {
    /// An error with a text for operators. The text must hold no id, key or value.
    pub fn new(kind: DriverErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, code: None, message: message.into() }
    }

    /// Adds the code that the storage gave.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> DriverErrorKind {
        self.kind
    }

    /// The code that the storage gave, such as `5` for `SQLITE_BUSY`.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "redis"))]
impl DriverError {
    /// Why a call has no answer that waited for its turn.
    pub(super) fn unanswered(why: Unanswered, timed_out: impl FnOnce() -> Self) -> Self {
        match why {
            Unanswered::NotBegun | Unanswered::Running => timed_out(),
            Unanswered::NoRuntime => Self::new(DriverErrorKind::Other, "there is no tokio runtime"),
            Unanswered::Stopped => {
                Self::new(DriverErrorKind::Other, "the task of the call was stopped")
            }
        }
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        match &self.code {
            Some(code) => write!(f, " (code {code})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for DriverError {}

/// The kinds of [`DriverError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DriverErrorKind {
    /// The storage cannot be reached or opened, or the connection was lost.
    Unavailable,
    /// It did not answer in time.
    Timeout,
    /// It can be read and not written.
    ReadOnly,
    /// It has no room left.
    Full,
    /// A structure of the environment does not exist.
    EnvironmentMissing,
    /// A structure of the environment exists already.
    EnvironmentExists,
    /// A structure of the environment is not what this version needs.
    EnvironmentDefective,
    /// What is stored cannot be read.
    Corrupt,
    /// The items of an application exceed the limits.
    TooLarge,
    /// The configuration is wrong.
    Configuration,
    /// Anything else.
    Other,
}

impl fmt::Display for DriverErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "the storage is not available",
            Self::Timeout => "the storage did not answer in time",
            Self::ReadOnly => "the storage is read-only",
            Self::Full => "the storage is full",
            Self::EnvironmentMissing => "the session environment is missing",
            Self::EnvironmentExists => "the session environment exists already",
            Self::EnvironmentDefective => "the session environment is not usable",
            Self::Corrupt => "the stored data cannot be read",
            Self::TooLarge => "the session holds too much",
            Self::Configuration => "the configuration is wrong",
            Self::Other => "the storage failed",
        })
    }
}
