//! Sessions in SQL databases. What they share stands here, once:
//!
//! - `statements`, `structures`, `read`, `write`, `environment`: the calls, and their SQL;
//! - `connection`, `call`: what a call needs of a database; `leases`: whose turn a connection is;
//! - `together`: calls that wait at the same moment, and share a statement or a transaction;
//! - `statement`, `many`, `rows`, `error`: texts, columns and errors;
//! - `server`: connections to a server, and the bounds of a call's time;
//! - `driver`: the methods of [`Driver`](crate::Driver), the same for all.
//!
//! Each database has a folder of its own with the same files: `builder` (settings and opening),
//! `statements` (what it says in its own words), `error` (what its codes mean), `storage` if it is
//! not a server, `tests`.

mod call;
mod connection;
mod driver;
mod environment;
mod error;
mod leases;
mod many;
#[cfg(feature = "mysql")]
pub(super) mod mysql;
#[cfg(feature = "postgres")]
pub(super) mod postgres;
mod read;
mod rows;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod server;
#[cfg(feature = "sqlite")]
pub(super) mod sqlite;
mod statement;
mod statements;
mod structures;
mod together;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod url;
mod write;

use super::lane::{AtDeadline, Lane, Lone, Run, Unanswered};
#[cfg(feature = "sqlite")]
use super::lane::{Place, Reply, Work};
use super::name::EnvironmentName;
use call::{Outcome, Read, Write};
use connection::{Connection, Row, Value, connection_of_sqlx};
use driver::sql_driver;
use environment::{ChangeEnvironment, Column, INSERT_VERSION, Kind, Structure};
use error::{Failure, Report};
use leases::{IfUnsound, Lease, Leases, PoolOf};
#[cfg(any(feature = "sqlite", feature = "mysql"))]
use many::KEPT_PREPARED;
#[cfg(feature = "postgres")]
use many::{Argument, List};
use many::{Lists, Many};
use read::ReadEnvironment;
#[cfg(any(feature = "postgres", feature = "mysql"))]
use server::{DEFAULT_CALL_TIMEOUT, Server, Settings, Source, Storage};
use statement::{Dialect, Statement, Template};
#[cfg(any(feature = "postgres", feature = "mysql"))]
use statements::SetUp;
#[cfg(feature = "postgres")]
use statements::{COLUMNS, UNDONE, exceeds};
use statements::{EnvironmentStatements, OwnWords, Statements};
#[cfg(feature = "mysql")]
use statements::{block, undo_if};
use structures::{Type, Types};
#[cfg(feature = "sqlite")]
use together::WriteGroup;
use together::{
    Answer, Call, Form, Loading, Together, WholeTransactions, Writing, lane_of_loads,
    load as load_shared, may_share, write as write_shared, write_at_once,
};
