//! The configuration of a layer.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::{EmptyResponse, SessionLayer};
use crate::assurance::AssuranceLevel;
use crate::clock::Clock;
use crate::cookie::CookieConfig;
use crate::cookie::signing::Signer;
use crate::driver::{Driver, DriverError, DriverErrorKind, EnvironmentState, Limits, OnMissing};
use crate::error::{BuildError, ConfigError};
use crate::events::{Events, Listener};
use crate::random::{RandomSource, Seed};
use crate::settings::{CacheControl, CommitRule, OnTooMany, SessionCap, Settings, Vary};

/// Configures a [`SessionLayer`]; [`build`](Self::build) checks all of it.
#[derive(Debug)]
#[must_use = "`build` makes the layer"]
pub struct SessionLayerBuilder {
    settings: Settings,
    auto_create: AutoCreate,
    signer: Result<Signer, ConfigError>,
}

/// What [`build`](SessionLayerBuilder::build) does about the structures that the storage needs. No
/// request ever changes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AutoCreate {
    /// Nothing, but it refuses structures that another version of this crate has made, or that are
    /// otherwise not what this one needs. What is missing, or a storage that cannot be reached yet, is
    /// a warning in the log, and the structures are not looked at again:
    /// [`complete_session_environment`](crate::SessionManager::complete_session_environment) tells later
    /// whether they are what is needed.
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
        Self {
            settings: Settings::new(driver),
            auto_create: AutoCreate::default(),
            signer: Ok(Signer::default()),
        }
    }

    /// How long a new session may live. Default: 24 hours; at least a millisecond; at most 400 days
    /// if the cookie's max-age follows it.
    pub fn expire(mut self, expire: Duration) -> Self {
        self.settings.expire = expire;
        self
    }

    /// How long a session may go unused; it ends then, or at its absolute end if that comes first
    /// (OWASP ASVS 5.0, 7.3.1). Default: no such limit; at least a millisecond.
    ///
    /// A use is a request that reads or writes the session, except one that is answered with a 5xx. So
    /// that most reads write nothing, it is noted when a tenth of this time has passed since the last
    /// that was: an unused session ends after nine tenths of it at the earliest. If that cannot be
    /// stored, a warning is logged, and the request goes on.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.idle_timeout = Some(timeout);
        self
    }

    /// The lifetimes of an assurance level of NIST SP 800-63B-4: [`expire`](Self::expire) and
    /// [`idle_timeout`](Self::idle_timeout) at once.
    pub fn assurance_level(mut self, level: AssuranceLevel) -> Self {
        self.settings.expire = level.expire();
        self.settings.idle_timeout = level.idle_timeout();
        self
    }

    /// How long an id that a [rotation](crate::SessionManager::rotate) has replaced is known as such, so
    /// that a slow parallel request under it cannot overwrite the new cookie. Default: 60 seconds. Later
    /// it is an id like any that nobody has.
    pub fn retired_for(mut self, time: Duration) -> Self {
        self.settings.retired_for = time;
        self
    }

    /// How long an id that was replaced still works, for sites whose pages send many requests at once.
    /// Default: not at all; at most [`retired_for`](Self::retired_for). Whoever has stolen the id from
    /// before a login is logged in as well while it works.
    pub fn rotation_grace(mut self, time: Duration) -> Self {
        self.settings.rotation_grace = time;
        self
    }

    /// How many sessions a principal may have at the same time, and what a
    /// [login](crate::SessionManager::login) does that is one too many. Default: any number. It holds
    /// for logins at the same time, in other processes too. An eviction that the storage fails to do, or
    /// whose request is cancelled, is made up for by the principal's next login.
    pub fn max_sessions(mut self, most: NonZeroU32, on_too_many: OnTooMany) -> Self {
        self.settings.max_sessions = Some(SessionCap { most, on_too_many });
        self
    }

    /// Who is told what happens to sessions. Default: nobody; `tracing` has it in any case.
    pub fn listener(mut self, listener: impl Listener) -> Self {
        self.settings.events = Events::to(listener);
        self
    }

    /// Signs the cookie with HMAC-SHA256: the first key signs, all of them verify, so that a key can be
    /// replaced without logging anybody out. Default: not signed. Each key has at least 32 bytes from a
    /// random source.
    ///
    /// An id is too long to be guessed in any case. With a signature a made-up one does not even cost a
    /// driver call. A cookie whose signature is wrong is no session ([`Malformed`](crate::LoadError::Malformed)).
    #[cfg(feature = "signed")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signed")))]
    pub fn signed<K: AsRef<[u8]>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.signer = Signer::new(keys);
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
    /// some caches heed only one of several, so this one puts all of them into one.
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
        let Self { mut settings, auto_create, signer } = self;
        settings.signer = signer?;
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
