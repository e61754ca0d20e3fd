//! What all managers of one layer share: the driver and the configuration, checked.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;

use crate::cleanup::AutomaticCleanup;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::cookie::CookieConfig;
use crate::driver::{Driver, Limits, SessionRecord};
use crate::error::{ConfigError, SessionError};
use crate::id::SessionId;
use crate::random::{self, OsRandom, RandomSource, Seed};

/// The shortest life of a session: times are kept in milliseconds.
pub(crate) const MIN_EXPIRE: Duration = Duration::from_millis(1);

/// The driver and the configuration of one layer.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn RandomSource>,
    pub(crate) seed: Seed,
    pub(crate) expire: Duration,
    pub(crate) cookie: CookieConfig,
    pub(crate) cleanup_probability: f64,
    pub(crate) limits: Limits,
    pub(crate) commit_rule: CommitRule,
    pub(crate) vary: Vary,
    pub(crate) cache_control: CacheControl,
    pub(crate) cleanup: AutomaticCleanup,
    pub(crate) updates: UpdateTurns,
}

impl Settings {
    pub(crate) fn new(driver: Arc<dyn Driver>) -> Self {
        Self {
            driver,
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            seed: Seed::default(),
            expire: Duration::from_secs(24 * 60 * 60),
            cookie: CookieConfig::default(),
            cleanup_probability: 0.05,
            limits: Limits::default(),
            commit_rule: CommitRule::default(),
            vary: Vary::default(),
            cache_control: CacheControl::default(),
            cleanup: AutomaticCleanup::default(),
            updates: UpdateTurns::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.expire < MIN_EXPIRE {
            return Err(ConfigError::Expire);
        }
        if !(0.0..=1.0).contains(&self.cleanup_probability) {
            return Err(ConfigError::CleanupProbability(self.cleanup_probability));
        }
        self.cookie.check(self.expire)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    /// How long a retired id is known as such.
    pub(crate) fn retired_after(&self, now: Timestamp) -> Timestamp {
        const RETIRED_FOR: Duration = Duration::from_secs(60);
        now.saturating_sub(RETIRED_FOR)
    }

    /// The record of a session that does not exist yet, and its id.
    pub(crate) fn draw(
        &self,
        now: Timestamp,
        expire: Duration,
    ) -> Result<(SessionId, SessionRecord), SessionError> {
        let id = random::session_id(&*self.random, &self.seed)?;
        let session = random::session_ref(&*self.random, now)?;
        Ok((id, SessionRecord::new(session, id.key(), now, now.saturating_add(expire))))
    }
}

/// Which responses make the changes of their request last.
#[derive(Clone)]
pub(crate) struct CommitRule(pub(crate) Arc<dyn Fn(StatusCode) -> bool + Send + Sync>);

impl Default for CommitRule {
    fn default() -> Self {
        Self(Arc::new(|status| !status.is_server_error()))
    }
}

impl fmt::Debug for CommitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommitRule(..)")
    }
}

/// Whether responses that depend on the session say so to caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Vary {
    /// `Vary: Cookie` is appended when the session was read. A cache may still keep the page and
    /// show it to whoever sends the same cookies, also after a logout: a page that must not be kept
    /// has to say `Cache-Control: no-store` itself.
    #[default]
    Cookie,
    /// Nothing is added. A shared cache may then show one visitor's page to another, and answer in
    /// place of a handler that would have written to the session or ended it.
    Unchanged,
}

/// Whether responses that set a session cookie are kept out of caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CacheControl {
    /// `Cache-Control: no-store`, unless the handler itself said `private` or `no-store`.
    #[default]
    NoStore,
    /// Nothing is added. A shared cache may then give one visitor's session to another.
    Unchanged,
}

/// Lets the updates of one session in this process go one after another, so that they rarely meet
/// in the storage and none of them starves. Only other processes can make an update run twice.
#[derive(Default)]
pub(crate) struct UpdateTurns(Mutex<HashMap<SessionId, Arc<tokio::sync::Mutex<()>>>>);

impl UpdateTurns {
    /// Waits for the session's turn.
    pub(crate) async fn take(&self, session: SessionId) -> UpdateTurn<'_> {
        let turn = self.0.lock().entry(session).or_default().clone();
        let mut held = UpdateTurn { turns: self, session, guard: None, turn: Some(turn.clone()) };
        held.guard = Some(turn.lock_owned().await);
        held
    }
}

/// The turn of one session, waited for or held; forgotten when nobody else waits for it.
pub(crate) struct UpdateTurn<'a> {
    turns: &'a UpdateTurns,
    session: SessionId,
    guard: Option<tokio::sync::OwnedMutexGuard<()>>,
    turn: Option<Arc<tokio::sync::Mutex<()>>>,
}

impl Drop for UpdateTurn<'_> {
    fn drop(&mut self) {
        self.guard = None;
        // Let go under the lock of the map, so that of several the last one sees that it is.
        let mut turns = self.turns.0.lock();
        self.turn = None;
        if turns.get(&self.session).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.session);
        }
    }
}

impl fmt::Debug for UpdateTurns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpdateTurns(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn turns_are_forgotten_when_nobody_waits_for_them() {
        let turns = Arc::new(UpdateTurns::default());
        let session = SessionId::from_bytes([7; 16]);
        for _ in 0..5_000 {
            let take = || {
                let turns = turns.clone();
                tokio::spawn(async move { drop(turns.take(session).await) })
            };
            let [one, two, given_up] = [take(), take(), take()];
            given_up.abort();
            one.await.unwrap();
            two.await.unwrap();
            let _ = given_up.await;
            assert!(turns.0.lock().is_empty());
        }
    }
}
