//! What the SQL drivers share: names, statement texts, the queue of the calls that write, reading
//! rows, redacting errors.
//!
//! Each database has a folder of its own with the same files: `builder`, `storage` (connections
//! and transactions), `statements` (all of its SQL), `environment`, `read`, `write`, `error`.

mod environment;
mod error;
mod name;
mod queue;
mod rows;
pub(super) mod sqlite;
mod statement;

use environment::{Column, Found, Kind, Structure, Survey};
use error::{Failure, Report};
use name::EnvironmentName;
use queue::{Queue, Unanswered};
use rows::{check_totals, decode_items, decode_key, decode_ref, four};
use statement::Statement;

/// The version of the tables, kept in `<environment>_version`. An older one is migrated, a newer
/// one refused.
const SCHEMA_VERSION: i64 = 1;
