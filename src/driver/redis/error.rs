//! Turns errors of redis-rs into errors without what was stored: their texts may quote arguments.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::driver::{DriverError, DriverErrorKind};

/// The error for the caller; `place` names the server.
pub(super) fn redact(error: &RedisError, place: &str) -> DriverError {
    let (kind, text) = meaning(error);
    let redacted = DriverError::new(kind, format!("{place}: {text}"));
    match error.code() {
        Some(code) => redacted.with_code(code),
        None => redacted,
    }
}

fn meaning(error: &RedisError) -> (DriverErrorKind, &'static str) {
    use DriverErrorKind::{Configuration, Corrupt, Full, Other, ReadOnly, Timeout, Unavailable};
    match error.code() {
        Some("OOM") => return (Full, "the server's `maxmemory` is reached"),
        Some("MISCONF") => return (Full, "the server cannot write to its disk"),
        Some("NOAUTH") => return (Configuration, "the server wants a password"),
        Some("WRONGPASS") => return (Configuration, WRONG_PASSWORD),
        Some("NOREPLICAS") => return (Unavailable, "too few replicas are there"),
        Some("WRONGTYPE") => return (Corrupt, "a key holds another type than was stored"),
        Some("BUSY") => return (Unavailable, "the server is busy with a script"),
        _ => {}
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => (Configuration, WRONG_PASSWORD),
        ErrorKind::InvalidClientConfig => (Configuration, "the URL is not understood"),
        ErrorKind::Io if error.is_timeout() => (Timeout, "no answer in time"),
        ErrorKind::Io if error.is_connection_refusal() => {
            (Unavailable, "nothing listens at this host and port")
        }
        // The text is looked at and not kept.
        ErrorKind::Io if error.to_string().contains("certificate") => (
            Unavailable,
            "no encrypted connection could be made: is the server's certificate trusted?",
        ),
        ErrorKind::Io if error.is_connection_dropped() => (Unavailable, "the connection was lost"),
        ErrorKind::Io => (Unavailable, "the connection failed: is the host right?"),
        ErrorKind::ClusterConnectionNotFound => (Unavailable, "no node of the cluster is reached"),
        ErrorKind::Parse => (Unavailable, "what answers there is not Redis"),
        ErrorKind::Server(server) => match server {
            ServerErrorKind::ReadOnly => (ReadOnly, "the server is a replica"),
            ServerErrorKind::BusyLoading => (Unavailable, "the server is reading its data"),
            ServerErrorKind::ClusterDown => (Unavailable, "the cluster is down"),
            ServerErrorKind::MasterDown => (Unavailable, "the primary is down"),
            ServerErrorKind::TryAgain | ServerErrorKind::Ask | ServerErrorKind::Moved => {
                (Unavailable, "the slot of the session is at another node")
            }
            ServerErrorKind::NoPerm => (Configuration, "the user's ACL forbids a command or a key"),
            ServerErrorKind::ResponseError
                if error.detail().is_some_and(|text| text.contains("user_script")) =>
            {
                (Corrupt, "a session is not what was stored")
            }
            ServerErrorKind::ResponseError
                if error.detail().is_some_and(|text| text.contains("DB index")) =>
            {
                (Configuration, "the database in the URL does not exist")
            }
            ServerErrorKind::ResponseError
                if error.detail().is_some_and(|text| text.contains("cluster support disabled")) =>
            {
                (Configuration, "the server is no cluster: write `redis:`")
            }
            _ => (Other, "Redis refused the call"),
        },
        _ => (Other, "the call failed"),
    }
}

const WRONG_PASSWORD: &str = "the user or the password in the URL is refused";

/// Whether the server has not begun the command, and may do so another time.
pub(super) fn was_not_begun(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    match error.kind() {
        ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | Moved | ReadOnly | TryAgain)
        | ErrorKind::ClusterConnectionNotFound => true,
        _ => error.is_connection_refusal(),
    }
}
