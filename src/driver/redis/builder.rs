//! Settings of a driver, and connecting it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClientBuilder;
use redis::io::tcp::TcpSettings;
use redis::{Client, RedisResult};
use tokio::time::timeout;

use super::RedisDriver;
use super::error::redact;
use super::keys::Keys;
use super::link::{Connection, Effect, Link};
use super::small::Small;
use super::storage::Storage;
use super::together::Lanes;
use super::url::Location;
use crate::driver::name::EnvironmentName;
use crate::driver::{DriverError, DriverErrorKind};

/// Settings of a [`RedisDriver`]; see [`RedisDriver::builder`].
#[derive(Clone)]
#[must_use = "nothing is opened before `connect` is awaited"]
pub struct RedisDriverBuilder {
    url: String,
    environment: String,
    call_timeout: Duration,
    garbage_after: Duration,
}

impl RedisDriverBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            environment: EnvironmentName::DEFAULT.to_owned(),
            call_timeout: Duration::from_secs(5),
            garbage_after: Duration::from_secs(3_600),
        }
    }

    /// The name of the environment, with which all of its keys begin: 1 to 32 characters from
    /// `a-z 0-9 _`, of which the first is a letter. Default: `web_session`.
    ///
    /// Environments of different names share a database and know nothing of each other.
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.environment = name.into();
        self
    }

    /// How long a call may take, connecting again included, before it fails with
    /// [`DriverErrorKind::Timeout`]; of a cleanup, each step. Default: 5 seconds; at least a millisecond, at most 24 days.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        const MOST: Duration = Duration::from_millis(i32::MAX as u64);
        self.call_timeout = timeout.clamp(Duration::from_millis(1), MOST);
        self
    }

    /// How long after its absolute end Redis forgets a session by itself. Until then an expired
    /// session is known, and can be given a new end. Default: 1 hour; at least 1 minute, at most 100
    /// years.
    pub fn garbage_after(mut self, time: Duration) -> Self {
        self.garbage_after = time.max(Duration::from_secs(60));
        self
    }

    /// Connects, and asks the server whether it is there. Nothing is stored.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::Configuration`] for a part of the URL or a name that is not allowed, and for
    /// a user, a password or a database that the server refuses;
    /// [`Unavailable`](DriverErrorKind::Unavailable) when nothing answers at the host and port,
    /// [`Timeout`](DriverErrorKind::Timeout) when it does not answer in time. No text has the
    /// password in it.
    pub async fn connect(self) -> Result<RedisDriver, DriverError> {
        let environment = EnvironmentName::new(&self.environment)?;
        let location = Location::parse(&self.url)?;
        if location.is_encrypted && rustls::crypto::CryptoProvider::get_default().is_none() {
            // If another has been faster, it is there as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let place = location.place.clone();
        let hint = if location.is_encrypted { ": does the server speak TLS?" } else { "" };
        let no_answer = || {
            DriverError::new(DriverErrorKind::Timeout, format!("{place}: no answer in time{hint}"))
        };
        let keys = Keys(environment);
        let opened = timeout(self.call_timeout, self.open(location, &keys)).await;
        let link = opened.map_err(|_| no_answer())?.map_err(|error| match error.is_timeout() {
            true => no_answer(),
            false => redact(&error, &place),
        })?;
        warn_of_eviction(&link, &place).await;
        Ok(RedisDriver(Arc::new(Storage {
            place,
            keys,
            lanes: Lanes::new(link.is_cluster()),
            small: Small::default(),
            link,
            call_timeout: self.call_timeout,
            garbage_after: self.garbage_after,
            cleanup: Mutex::new(None),
        })))
    }

    async fn open(&self, location: Location, keys: &Keys) -> RedisResult<Link> {
        // A peer that is gone without a word is given up, and another connection made.
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(self.call_timeout);
        let connection = if location.is_cluster {
            // Whether a command may be sent again is decided where it is known what it does.
            let client = ClusterClientBuilder::new(location.nodes)
                .retries(0)
                .connection_timeout(self.call_timeout)
                .response_timeout(self.call_timeout)
                .tcp_settings(tcp)
                .build()?;
            Connection::Cluster(client.get_async_connection().await?)
        } else {
            let node = location.nodes.into_iter().next();
            let node = node.map(|node| node.set_tcp_settings(tcp));
            let Some(node) = node else {
                return Err((redis::ErrorKind::InvalidClientConfig, "no server is named").into());
            };
            let config = ConnectionManagerConfig::new()
                .set_number_of_retries(0)
                .set_connection_timeout(Some(self.call_timeout))
                .set_response_timeout(Some(self.call_timeout));
            Connection::Server(
                ConnectionManager::new_with_config(Client::open(node)?, config).await?,
            )
        };
        let link = Link::new(connection, self.call_timeout);
        // A key of the environment, so that no permission is needed but those for the calls.
        link.send(redis::cmd("GET").arg(keys.version()), Effect::Once).await?;
        Ok(link)
    }
}

impl std::fmt::Debug for RedisDriverBuilder {
    /// Leaves the URL out: a password may be in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisDriverBuilder")
            .field("environment", &self.environment)
            .field("call_timeout", &self.call_timeout)
            .field("garbage_after", &self.garbage_after)
            .finish_non_exhaustive()
    }
}

/// A server that evicts keys when its memory is full loses sessions.
async fn warn_of_eviction(link: &Link, place: &str) {
    let mut info = redis::cmd("INFO");
    let Ok(nodes) = link.nodes().await else { return };
    for node in &nodes {
        let Ok(answer) = link.send_to(node, info.arg("memory")).await else { return };
        let Ok(text) = redis::from_redis_value::<String>(answer) else { return };
        let policy = text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
        if policy.is_some_and(|policy| policy.trim() != "noeviction") {
            tracing::warn!(
                place,
                "the server evicts keys when its memory is full: sessions get lost"
            );
        }
    }
}
