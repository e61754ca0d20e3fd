//! What the result codes of SQLite mean.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use sqlx::error::DatabaseError;

use crate::driver::DriverErrorKind;
use crate::driver::sql::Report;

const BUSY: i32 = 5;
const CONSTRAINT: i32 = 19;
const ERROR: i32 = 1;

/// What may be said of an error of SQLite: <https://www.sqlite.org/rescode.html>.
pub(super) fn report(error: &dyn DatabaseError, file: &Path) -> Report {
    use DriverErrorKind::{
        Corrupt, EnvironmentDefective, EnvironmentMissing, Full, Other, ReadOnly, Timeout,
        TooLarge, Unavailable,
    };
    let code = error.code();
    let mut report = match primary(code.as_deref()) {
        // The text is looked at and not kept.
        ERROR if error.message().starts_with("no such table") => Report::new(
            EnvironmentMissing,
            "a table is missing; call `ensure_session_environment`, or build the layer with \
             `AutoCreate::Missing`",
        ),
        ERROR if error.message().contains("column") => {
            Report::new(EnvironmentDefective, "a table has not the columns it needs")
        }
        3 | 23 => Report::new(Unavailable, "access is denied"),
        BUSY | 6 => Report::new(
            Timeout,
            "another connection held the lock for too long; is a long transaction open?",
        ),
        7 => Report::new(Other, "no memory is left"),
        8 => Report::new(
            ReadOnly,
            "the file cannot be written: its permissions, its folder's, or `mode=ro`",
        ),
        10 => Report::new(Unavailable, "the disk could not be read or written"),
        11 => Report::new(Corrupt, "the file is damaged"),
        13 => Report::new(Full, "no room is left, on the disk or by `max_page_count`"),
        14 => Report::new(Unavailable, cannot_open(file)),
        18 => Report::new(TooLarge, "a text is longer than SQLite can hold"),
        26 => Report::new(Corrupt, "the file is not an SQLite database"),
        _ => Report::new(Other, "SQLite refused the call"),
    };
    report.code = code.map(Into::into);
    report
}

/// Whether another connection was in the way, so that trying again may help.
pub(super) fn is_busy(code: Option<&str>) -> bool {
    primary(code) == BUSY
}

/// Whether it is the error of a `BEGIN` or `ROLLBACK` that does not fit the state of the connection.
pub(super) fn is_plain_error(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if primary(error.code().as_deref()) == ERROR)
}

/// Whether what was to be stored is refused.
pub(super) fn is_constraint(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if primary(error.code().as_deref()) == CONSTRAINT)
}

/// The low byte of an extended code tells the kind; 0, which is no error, for anything else.
fn primary(code: Option<&str>) -> i32 {
    code.and_then(|code| code.parse::<i32>().ok()).unwrap_or(0) & 0xff
}

/// Why a file cannot be opened, which SQLite does not say.
fn cannot_open(file: &Path) -> &'static str {
    match fs::metadata(file) {
        Ok(found) if found.is_dir() => return "it is a folder, not a file",
        Ok(_) => return "the file cannot be opened; are its permissions right, and its folder's?",
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return "no permission to enter its folder";
        }
        Err(_) => {}
    }
    match file.parent().map(fs::metadata) {
        Some(Ok(parent)) if parent.is_dir() => {
            "the file does not exist, and was not or could not be made; `mode=ro` and `mode=rw` \
             make none"
        }
        Some(_) if file.parent() != Some(Path::new("")) => "its folder does not exist",
        _ => "the file does not exist, and was not or could not be made",
    }
}
