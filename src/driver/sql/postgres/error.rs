//! What the error codes of PostgreSQL mean:
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use sqlx::error::DatabaseError;

use crate::driver::DriverErrorKind;
use crate::driver::sql::Report;

/// What may be said of an error.
pub(super) fn report(error: &dyn DatabaseError) -> Report {
    use DriverErrorKind::{
        Configuration, Corrupt, EnvironmentDefective, EnvironmentMissing, Full, Other, ReadOnly,
        Timeout, TooLarge, Unavailable,
    };
    let code = error.code();
    let mut report = match code.as_deref().unwrap_or_default() {
        "42P01" => Report::new(
            EnvironmentMissing,
            "a table is missing; call `ensure_session_environment`, or build the layer with \
             `AutoCreate::Missing`",
        ),
        "42703" => Report::new(EnvironmentDefective, "a table has not the columns it needs"),
        "28P01" | "28000" => {
            Report::new(Configuration, "the user or the password in the URL is refused")
        }
        "3D000" => Report::new(Configuration, "the database in the URL does not exist"),
        "3F000" => Report::new(Configuration, "the schema does not exist"),
        "42501" => Report::new(Configuration, "the user lacks a permission"),
        "25006" => Report::new(ReadOnly, "the server or the transaction is read-only"),
        "53100" => Report::new(Full, "the server's disk is full"),
        "53300" => Report::new(Unavailable, "the server has no connection left"),
        "57014" | "25P03" | "25P04" | "55P03" => {
            Report::new(Timeout, "the server stopped the statement or the transaction")
        }
        "57P01" | "57P02" | "57P03" => Report::new(Unavailable, "the server is going up or down"),
        "22021" => Report::new(Other, "PostgreSQL keeps no text with a zero byte in it"),
        "54000" | "54023" => Report::new(TooLarge, "the statement is too large"),
        "XX001" | "XX002" => Report::new(Corrupt, "the server's files are damaged"),
        code => match code.get(..2) {
            Some("08") => Report::new(Unavailable, "the connection was lost"),
            Some("53") => Report::new(Unavailable, "the server lacks resources"),
            Some("58") => Report::new(Unavailable, "the server's system failed"),
            _ => Report::new(Other, "PostgreSQL refused the call"),
        },
    };
    report.code = code.map(Into::into);
    report
}

/// A deadlock, or a failure to serialise.
pub(super) fn is_conflict(error: &dyn DatabaseError) -> bool {
    matches!(error.code().as_deref(), Some("40P01" | "40001"))
}

/// The server goes down, or has ended a connection that it finds too old. It says so before the statement, or has
/// rolled it back: what was committed is answered before that.
pub(super) fn was_not_run(error: &dyn DatabaseError) -> bool {
    matches!(error.code().as_deref(), Some("57P01" | "57P03" | "57P05"))
}

/// The server goes down, or has ended a connection that it finds too old; or a pooler has lost it.
pub(super) fn is_goodbye(error: &dyn DatabaseError) -> bool {
    matches!(error.code().as_deref(), Some("57P01" | "57P02" | "57P03" | "57P05"))
        || error.code().is_some_and(|code| code.starts_with("08"))
}
