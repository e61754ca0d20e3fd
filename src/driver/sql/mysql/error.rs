//! What the error numbers of MySQL and MariaDB mean:
//! <https://mariadb.com/kb/en/mariadb-error-code-reference/>.

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;

use crate::driver::DriverErrorKind;
use crate::driver::sql::Report;

/// What may be said of an error.
pub(super) fn report(error: &dyn DatabaseError) -> Report {
    use DriverErrorKind::{
        Configuration, Corrupt, EnvironmentDefective, EnvironmentMissing, Full, Other, ReadOnly,
        Timeout, TooLarge, Unavailable,
    };
    let number = number(error);
    let mut report = match number {
        1146 | 1932 => Report::new(
            EnvironmentMissing,
            "a table is missing; call `ensure_session_environment`, or build the layer with \
             `AutoCreate::Missing`",
        ),
        1054 | 1364 => Report::new(EnvironmentDefective, "a table has not the columns it needs"),
        1045 | 1698 | 1251 => {
            Report::new(Configuration, "the user or the password in the URL is refused")
        }
        1049 => Report::new(Configuration, "the database in the URL does not exist"),
        1046 => Report::new(Configuration, "the URL names no database"),
        1044 | 1142 | 1143 | 1227 => Report::new(Configuration, "the user lacks a permission"),
        1290 | 1792 | 1836 => Report::new(ReadOnly, "the server or the transaction is read-only"),
        3 | 28 | 1021 | 1114 => Report::new(Full, "no room is left"),
        1040 | 1203 | 1226 => Report::new(Unavailable, "the server has no connection left"),
        1205 | 1969 | 3024 | 1317 => {
            Report::new(Timeout, "a lock was not free in time, or the server stopped the statement")
        }
        1053 | 1077 | 1079 | 1927 | 2006 | 2013 | 4031 => {
            Report::new(Unavailable, "the server has ended the connection")
        }
        1153 => Report::new(TooLarge, "the statement is larger than `max_allowed_packet`"),
        1034 | 1194 | 1712 | 1877 => Report::new(Corrupt, "a table is damaged"),
        _ => Report::new(Other, "the server refused the call"),
    };
    report.code = (number != 0).then(|| number.to_string());
    report
}

/// A deadlock, or a row that has changed since it was read.
pub(super) fn is_conflict(error: &dyn DatabaseError) -> bool {
    matches!(number(error), 1213 | 1020)
}

/// The server goes down, or has ended a connection that was idle for too long.
pub(super) fn is_goodbye(error: &dyn DatabaseError) -> bool {
    matches!(number(error), 1053 | 1077 | 1079 | 1927 | 2006 | 2013 | 4031)
}

fn number(error: &dyn DatabaseError) -> u16 {
    error.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number)
}
