//! Picks a driver by the scheme of a URL.

use std::sync::Arc;

use super::{Driver, DriverError, MemoryDriver};

/// Opens the storage that `url` names.
///
/// | URL | storage | cargo feature |
/// |---|---|---|
/// | `memory:` | [`MemoryDriver`] | always there |
/// | `sqlite://sessions.db`, `sqlite:///var/lib/app/sessions.db` | a file, relative or absolute, made if it does not exist | `sqlite` |
/// | `sqlite::memory:` | an SQLite database in memory | `sqlite` |
/// | `postgres://user:password@host:5432/database` | PostgreSQL | `postgres` |
/// | `redis://user:password@host:6379/0`, `rediss://…` over TLS | Redis | `redis` |
/// | `redis-cluster://host:7001?node=host:7002`, `rediss-cluster://…` | Redis Cluster | `redis` |
/// | `mysql://user:password@host:3306/database`, `mariadb://…` | MariaDB or MySQL | `mysql` |
///
/// The tables are not made here: see [`AutoCreate`](crate::AutoCreate).
///
/// # Errors
///
/// [`ConnectError`] names the scheme that is unknown, the cargo feature that is off, or the file
/// or server
/// that cannot be opened and why.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), web_session::ConnectError> {
/// let driver = web_session::connect("memory:").await?;
/// let error = web_session::connect("mongodb://localhost").await.unwrap_err();
/// assert!(error.to_string().contains("mongodb"));
/// # Ok(())
/// # }
/// ```
pub async fn connect(url: &str) -> Result<Arc<dyn Driver>, ConnectError> {
    let (scheme, rest) = url.split_once(':').ok_or(ConnectError::NoScheme)?;
    // RFC 3986, section 3.1. What is no scheme may hold a password, so it is not repeated.
    let in_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(in_scheme) {
        return Err(ConnectError::NoScheme);
    }
    match scheme.to_ascii_lowercase().as_str() {
        "memory" if rest.trim_matches('/').is_empty() => Ok(Arc::new(MemoryDriver::new())),
        "memory" => Err(ConnectError::MemoryWithPath),
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Arc::new(super::SqliteDriver::connect(url).await?)),
        #[cfg(not(feature = "sqlite"))]
        "sqlite" => Err(ConnectError::FeatureOff { scheme: "sqlite", feature: "sqlite" }),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Arc::new(super::PostgresDriver::connect(url).await?)),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => {
            Err(ConnectError::FeatureOff { scheme: "postgres", feature: "postgres" })
        }
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => Ok(Arc::new(super::MySqlDriver::connect(url).await?)),
        #[cfg(not(feature = "mysql"))]
        "mysql" | "mariadb" => Err(ConnectError::FeatureOff { scheme: "mysql", feature: "mysql" }),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis-cluster" | "rediss-cluster" => {
            Ok(Arc::new(super::RedisDriver::connect(url).await?))
        }
        #[cfg(not(feature = "redis"))]
        "redis" | "rediss" | "redis-cluster" | "rediss-cluster" => {
            Err(ConnectError::FeatureOff { scheme: "redis", feature: "redis" })
        }
        _ => Err(ConnectError::UnknownScheme(scheme.to_owned())),
    }
}

/// A URL that [`connect`] cannot open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The text is no URL.
    #[error("no scheme: write the storage's URL, such as `sqlite://sessions.db` or `memory:`")]
    NoScheme,
    /// No driver has this scheme.
    #[error(
        "unknown scheme `{0}:`: known are `memory:`, `sqlite:`, `postgres:`, `mysql:`, `redis:`"
    )]
    UnknownScheme(String),
    /// The driver for this scheme is not compiled in.
    #[error(
        "`{scheme}:` needs the cargo feature `{feature}` of `web-session`, which is not compiled in"
    )]
    FeatureOff {
        /// The scheme of the URL.
        scheme: &'static str,
        /// The feature to turn on.
        feature: &'static str,
    },
    /// `memory:` is followed by something.
    #[error("`memory:` takes nothing after the colon")]
    MemoryWithPath,
    /// The storage cannot be opened.
    #[error(transparent)]
    Driver(#[from] DriverError),
}
