//! The configuration of a layer.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::{EmptyResponse, SessionLayer};
use crate::clock::Clock;
use crate::cookie::CookieConfig;
use crate::driver::{Driver, DriverError, DriverErrorKind, EnvironmentState, Limits, OnMissing};
use crate::error::BuildError;
use crate::random::{RandomSource, Seed};
use crate::settings::{CacheControl, CommitRule, Settings, Vary};

/// Configures a [`SessionLayer`]; [`build`](Self::build) checks all of it.
#[derive(Debug)]
#[must_use = "`build` makes the layer"]
pub struct SessionLayerBuilder {
    settings: Settings,
    auto_create: AutoCreate,
}

/// What [`build`](SessionLayerBuilder::build) does about the structures that the storage needs. No
/// request ever changes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AutoCreate {
    /// Nothing, but it refuses structures that another version of this crate has made, or that are
    /// otherwise not what this one needs. What is missing, or a storage that cannot be reached yet, is
    /// a warning in the log.
    #[default]
    Never,
    /// Makes those that are missing, and loses nothing.
    Missing,
    /// If one is missing, **removes all of them with every session** and makes them anew: for
    /// tests. If all exist nothing is done; if the storage cannot tell, that is an error.
    Recreate,
}

impl SessionLayerBuilder {
    pub(super) fn new(driver: Arc<dyn Driver>) -> Self {
        Self { settings: Settings::new(driver), auto_create: AutoCreate::default() }
    }

    /// How long a new session may live. Default: 24 hours; at least a millisecond; at most 400 days
    /// if the cookie's max-age follows it.
    pub fn expire(mut self, expire: Duration) -> Self {
        self.settings.expire = expire;
        self
    }

    /// The session cookie. Default: [`CookieConfig::default`].
    pub fn cookie(mut self, cookie: CookieConfig) -> Self {
        self.settings.cookie = cookie;
        self
    }

    /// What to do about the structures that the storage needs. Default: [`AutoCreate::Never`].
    pub fn auto_create(mut self, auto_create: AutoCreate) -> Self {
        self.auto_create = auto_create;
        self
    }

    /// Bytes that go into each session id, beside 32 bytes of the operating system's randomness: a
    /// seed can only add. Default: `PythonWeb`.
    pub fn seed(mut self, seed: impl Into<Vec<u8>>) -> Self {
        self.settings.seed = Seed::new(seed.into());
        self
    }

    /// How likely a request that uses the storage is to start a cleanup of expired sessions, from 0
    /// (never) to 1 (always). Default: 0.05.
    ///
    /// The request does not wait for it. One runs at a time, and below 1 at most one a minute;
    /// none while [`spawn_cleanup`](SessionLayer::spawn_cleanup) runs, and below 1 none where the storage
    /// removes expired sessions by itself, as Redis does.
    pub fn cleanup_probability(mut self, probability: f64) -> Self {
        self.settings.cleanup_probability = probability;
        self
    }

    /// How much one application may hold in one session. Default: [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Which responses make the changes of their request last, by their status. Default: all but
    /// 5xx.
    pub fn commit_on(mut self, rule: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.settings.commit_rule = CommitRule(Arc::new(rule));
        self
    }

    /// Whether a response that depends on the session says so to caches. Default:
    /// [`Vary::Cookie`]. Without it a shared cache may show one visitor's page to another.
    ///
    /// Layers that append a `Vary` header of their own, as for compression, belong inside this one:
    /// some caches, such as nginx 1.22, heed the last `Vary` header only.
    pub fn vary(mut self, vary: Vary) -> Self {
        self.settings.vary = vary;
        self
    }

    /// Whether a response that sets a session cookie is kept out of caches. Default:
    /// [`CacheControl::NoStore`]. Without it a shared cache may give one visitor's session to
    /// another.
    pub fn cache_control(mut self, cache_control: CacheControl) -> Self {
        self.settings.cache_control = cache_control;
        self
    }

    /// The time source. Default: the system's clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// The source of randomness. Default: the operating system's. Only tests have a reason to
    /// replace it: it decides how hard an id is to guess.
    pub fn random(mut self, random: impl RandomSource) -> Self {
        self.settings.random = Arc::new(random);
        self
    }

    /// Checks the configuration and prepares the storage as [`auto_create`](Self::auto_create)
    /// says.
    ///
    /// # Errors
    ///
    /// [`BuildError::Config`] names the setting that is wrong; [`BuildError::Environment`] says why
    /// the storage could not be prepared.
    pub async fn build(self) -> Result<SessionLayer, BuildError> {
        let Self { settings, auto_create } = self;
        settings.check()?;
        prepare(&*settings.driver, auto_create).await?;
        Ok(SessionLayer { settings: Arc::new(settings), on_failure: EmptyResponse })
    }
}

async fn prepare(driver: &dyn Driver, auto_create: AutoCreate) -> Result<(), DriverError> {
    match auto_create {
        AutoCreate::Never => return look(driver).await,
        AutoCreate::Missing => {}
        AutoCreate::Recreate => match driver.environment().await? {
            EnvironmentState::Absent | EnvironmentState::Incomplete(_) => {
                driver.remove_environment(OnMissing::Ignore).await?;
            }
            // Of a defective environment nothing is absent: `ensure` refuses it below.
            EnvironmentState::Complete | EnvironmentState::Defective(_) => {}
        },
    }
    driver.ensure_environment().await
}

/// Refuses structures that would be misread.
async fn look(driver: &dyn Driver) -> Result<(), DriverError> {
    match driver.environment().await {
        Ok(EnvironmentState::Complete) => {}
        Ok(EnvironmentState::Defective(defect)) => {
            return Err(DriverError::new(DriverErrorKind::EnvironmentDefective, defect));
        }
        Ok(EnvironmentState::Absent | EnvironmentState::Incomplete(_)) => tracing::warn!(
            "structures of the session environment are missing; `AutoCreate::Missing` makes them"
        ),
        Err(error) => tracing::warn!(%error, "the session environment could not be looked at"),
    }
    Ok(())
}
