//! Turns errors of sqlx into errors without what was stored: their texts quote keys and values.

use std::borrow::Cow;

use sqlx::error::{DatabaseError, ErrorKind};

use super::statements::UNDONE;
use crate::driver::{DriverError, DriverErrorKind};

/// What went wrong inside a call, before it is known where.
#[derive(Debug)]
pub(super) enum Failure {
    /// In the database or on the way to it.
    Sqlx(sqlx::Error),
    /// Likewise, before the transaction was begun.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    NotBegun(sqlx::Error),
    /// Found out here.
    Driver(DriverError),
}

impl Failure {
    /// Nobody waits for the answer any more.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(super) fn given_up() -> Self {
        Self::Driver(DriverError::new(DriverErrorKind::Other, "the caller has given up"))
    }

    /// Stored data that this crate did not write.
    pub(super) fn corrupt(message: &'static str) -> Self {
        Self::Driver(DriverError::new(DriverErrorKind::Corrupt, message))
    }

    /// Whether a row was refused because another has the same key, or has had it: then its key is made none.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Sqlx(sqlx::Error::Database(error))
            if matches!(error.kind(), ErrorKind::UniqueViolation | ErrorKind::NotNullViolation))
    }

    /// Whether a block of statements, or a function, has undone itself.
    pub(super) fn is_undone(&self) -> bool {
        matches!(self, Self::Sqlx(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| code == UNDONE))
    }

    /// Whether a row was refused because something in it was made none.
    pub(super) fn is_not_null_violation(&self) -> bool {
        matches!(self, Self::Sqlx(sqlx::Error::Database(error))
            if matches!(error.kind(), ErrorKind::NotNullViolation))
    }

    /// Whether something that is stored cannot be read.
    pub(super) fn is_unreadable(&self) -> bool {
        match self {
            Self::Driver(error) => error.kind() == DriverErrorKind::Corrupt,
            Self::Sqlx(error) => {
                matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })
            }
            #[cfg(any(feature = "postgres", feature = "mysql"))]
            Self::NotBegun(_) => false,
        }
    }

    /// Whether it is what calls asked for together, so that each may be tried alone: that does not help
    /// against the lock of another process, a disk that fails or a lost connection.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(super) fn is_refused(&self, report: impl FnOnce(&dyn DatabaseError) -> Report) -> bool {
        use DriverErrorKind::{Timeout, Unavailable};
        match self {
            Self::Driver(_) => true,
            Self::Sqlx(sqlx::Error::Database(error)) => {
                !matches!(report(&**error).kind, Timeout | Unavailable)
            }
            _ => self.is_unreadable(),
        }
    }

    /// The error for the caller. `place` names the database, `report` reads its own codes.
    pub(super) fn redact(
        self,
        place: &str,
        report: impl FnOnce(&dyn DatabaseError) -> Report,
    ) -> DriverError {
        let error = match self {
            Self::Driver(error) => return error,
            Self::Sqlx(error) => error,
            #[cfg(any(feature = "postgres", feature = "mysql"))]
            Self::NotBegun(error) => error,
        };
        let report = match &error {
            sqlx::Error::Database(error) => report(&**error),
            error => general(error),
        };
        let error = DriverError::new(report.kind, format!("{place}: {}", report.message));
        match report.code {
            Some(code) => error.with_code(code),
            None => error,
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlx(error)
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

/// What may be said of an error.
pub(super) struct Report {
    pub(super) kind: DriverErrorKind,
    pub(super) message: Cow<'static, str>,
    pub(super) code: Option<String>,
}

impl Report {
    pub(super) fn new(kind: DriverErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), code: None }
    }
}

/// What may be said of an error that is not the database's own.
fn general(error: &sqlx::Error) -> Report {
    use DriverErrorKind::{Configuration, Corrupt, Other, Timeout, Unavailable};
    match error {
        sqlx::Error::PoolTimedOut => {
            Report::new(Timeout, "no connection was free, or could be made, in time")
        }
        sqlx::Error::PoolClosed => Report::new(Unavailable, "the driver was closed"),
        sqlx::Error::WorkerCrashed => Report::new(Unavailable, "the connection was lost"),
        sqlx::Error::Io(error) => {
            Report::new(Unavailable, format!("the connection failed: {}", error.kind()))
        }
        sqlx::Error::Tls(_) => Report::new(Unavailable, "no encrypted connection could be made"),
        sqlx::Error::Configuration(_) => Report::new(Configuration, "the URL is not understood"),
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            Report::new(Corrupt, "a stored value is not of the type of its column")
        }
        sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::TypeNotFound { .. } => {
            Report::new(Other, "the answer has not the columns that were asked for")
        }
        _ => Report::new(Other, "the call failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // E1, E2
    #[test]
    fn the_text_of_an_error_of_sqlx_does_not_get_out() {
        let secret = "c0ffee";
        for error in [
            sqlx::Error::Decode(secret.into()),
            sqlx::Error::Configuration(secret.into()),
            sqlx::Error::Protocol(secret.into()),
            sqlx::Error::Io(std::io::Error::other(secret)),
            sqlx::Error::ColumnDecode { index: secret.into(), source: secret.into() },
        ] {
            let shown = Failure::Sqlx(error).redact("here", |_| unreachable!());
            assert!(!format!("{shown} {shown:?}").contains(secret), "{shown}");
            assert!(shown.to_string().contains("here"), "{shown}");
        }
    }
}
