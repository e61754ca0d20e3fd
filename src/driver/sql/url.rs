//! Reads the URL of a server and makes the first connection to it, with errors that say what is
//! wrong with which part of the URL.

use std::future::Future;
use std::io::ErrorKind;
use std::str::FromStr;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::{ConnectOptions, Connection, Database, Pool};
use tokio::time::timeout;

use super::{Failure, Report};
use crate::driver::url::{parse, unknown_parameter, wrong};
use crate::driver::{DriverError, DriverErrorKind};

/// What a URL of one kind of server may look like.
pub(super) struct Scheme {
    /// The names before the colon; the first is the usual one.
    pub(super) names: &'static [&'static str],
    /// What the server is called.
    pub(super) server: &'static str,
    /// Whether there is no default for the database.
    pub(super) needs_database: bool,
    /// The parameters behind the `?`.
    pub(super) parameters: &'static [&'static str],
}

impl Scheme {
    /// Reads a URL, all parts of which must be understood.
    pub(super) fn parse<O: FromStr<Err = sqlx::Error>>(&self, url: &str) -> Result<O, DriverError> {
        let name = self.names.first().copied().unwrap_or_default();
        let parsed = parse(url)?;
        if !self.names.contains(&parsed.scheme()) {
            return Err(wrong(format!("the scheme of the URL is not `{name}`")));
        }
        if parsed.host_str().is_none_or(str::is_empty)
            && !parsed.query_pairs().any(|(key, _)| matches!(&*key, "host" | "hostaddr" | "socket"))
        {
            return Err(wrong(format!("the URL names no host: write `{name}://host/database`")));
        }
        if self.needs_database && parsed.path().trim_matches('/').is_empty() {
            return Err(wrong(format!(
                "the URL names no database: write `{name}://host/database`"
            )));
        }
        for (key, _) in parsed.query_pairs() {
            let known = key.split('[').next().unwrap_or_default();
            if !self.parameters.contains(&known) {
                let unknown = unknown_parameter(&key);
                return Err(wrong(format!("{unknown}; known are {}", self.parameters.join(", "))));
            }
        }
        O::from_str(url).map_err(|_| {
            wrong(
                "a part of the URL is not understood: is each `%` followed by two hexadecimal \
                   digits, and has each parameter an allowed value?",
            )
        })
    }
}

/// Makes one connection and closes it.
pub(super) async fn try_connect<O: ConnectOptions<Connection: Sized>>(
    options: &O,
    place: &str,
    server: &str,
    limit: Duration,
    report: impl FnOnce(&dyn DatabaseError) -> Report,
) -> Result<(), DriverError> {
    let connected = bounded_by(limit, options.connect()).await;
    let connection = connected.map_err(|error| explain(error, place, server, report))?;
    // What it has to say when it is closed is of no interest.
    let _ = bounded_by(limit, connection.close()).await;
    Ok(())
}

/// Takes one connection from a pool and gives it back.
pub(super) async fn try_pool<D: Database>(
    pool: &Pool<D>,
    place: &str,
    server: &str,
    limit: Duration,
    report: impl FnOnce(&dyn DatabaseError) -> Report,
) -> Result<(), DriverError> {
    let acquired = bounded_by(limit, pool.acquire()).await;
    acquired.map(drop).map_err(|error| explain(error, place, server, report))
}

async fn bounded_by<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(limit, call).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

const NOT_ENCRYPTED: &str = "no encrypted connection could be made: does the server speak TLS, and is \
    its certificate trusted?";

/// Why the first connection could not be made.
fn explain(
    error: sqlx::Error,
    place: &str,
    server: &str,
    report: impl FnOnce(&dyn DatabaseError) -> Report,
) -> DriverError {
    let unavailable =
        |text: String| DriverError::new(DriverErrorKind::Unavailable, format!("{place}: {text}"));
    match error {
        sqlx::Error::Io(error) => unavailable(match error.kind() {
            ErrorKind::ConnectionRefused => "nothing listens at this host and port".to_owned(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                format!("the server hung up: is it {server}?")
            }
            ErrorKind::InvalidData => NOT_ENCRYPTED.to_owned(),
            kind if error.raw_os_error().is_some() => format!("the connection failed: {kind}"),
            _ => "the host cannot be found".to_owned(),
        }),
        sqlx::Error::Tls(_) => unavailable(NOT_ENCRYPTED.to_owned()),
        sqlx::Error::Protocol(_) => unavailable(format!("what answers there is not {server}")),
        sqlx::Error::PoolTimedOut => {
            DriverError::new(DriverErrorKind::Timeout, format!("{place}: no answer in time"))
        }
        error => Failure::from(error).redact(place, report),
    }
}

/// The name of a database, as messages show it. In a pool of the application's one with an `@` may be what
/// an unescaped `/` has made of a password.
pub(super) fn shown(database: &str) -> &str {
    if database.contains('@') { "…" } else { database }
}

/// A time-out that the servers can count: at least a millisecond, at most 24 days.
pub(super) fn bounded(timeout: Duration) -> Duration {
    timeout.clamp(Duration::from_millis(1), Duration::from_millis(i32::MAX as u64))
}

/// A number of connections.
pub(super) fn at_least_one(connections: u32) -> Result<u32, DriverError> {
    match connections {
        0 => Err(wrong("at least one connection is needed")),
        connections => Ok(connections),
    }
}
