//! What all managers of one layer share: the driver and the configuration, checked.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::cleanup::AutomaticCleanup;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::cookie::header::{self, Presented};
use crate::cookie::signing::Signer;
use crate::cookie::{CookieConfig, MaxAge, Template};
use crate::driver::{Driver, Limits, SessionChange, SessionRecord};
use crate::error::{ConfigError, SessionError};
use crate::events::{Events, SessionEvent};
use crate::id::{KnownId, SessionId};
use crate::random::{self, OsRandom, RandomSource, Seed};
use crate::sync::Mutex;

/// The shortest life of a session: times are kept in milliseconds.
pub(crate) const MIN_EXPIRE: Duration = Duration::from_millis(1);

/// A use is noted when so many parts of the idle timeout have passed since the last that was, so that
/// most reads write nothing.
const TOUCHES_PER_IDLE_TIMEOUT: u32 = 10;

/// The driver and the configuration of one layer.
///
/// All requests read it and count its references: its alignment keeps the count out of the cache line of
/// what is read.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Settings {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn RandomSource>,
    pub(crate) seed: Seed,
    pub(crate) expire: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) retired_for: Duration,
    pub(crate) rotation_grace: Duration,
    pub(crate) max_sessions: Option<SessionCap>,
    pub(crate) cookie: CookieConfig,
    pub(crate) cookie_template: OnceLock<Template>,
    pub(crate) signer: Signer,
    pub(crate) events: Events,
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
            idle_timeout: None,
            retired_for: Duration::from_secs(60),
            rotation_grace: Duration::ZERO,
            max_sessions: None,
            cookie: CookieConfig::default(),
            cookie_template: OnceLock::new(),
            signer: Signer::default(),
            events: Events::default(),
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
        if self.idle_timeout.is_some_and(|idle| idle < MIN_EXPIRE) {
            return Err(ConfigError::IdleTimeout);
        }
        if self.rotation_grace > self.retired_for {
            return Err(ConfigError::RotationGrace);
        }
        self.cookie.check(self.expire, self.signer.value_len())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    pub(crate) fn raise(&self, event: SessionEvent) {
        self.events.raise(event);
    }

    /// Which of the ids that were replaced are known at `now`.
    pub(crate) fn retired(&self, now: Timestamp) -> Retired {
        let grace = self.rotation_grace;
        Retired {
            known_after: now.saturating_sub(self.retired_for),
            // Without a grace none, even if another machine's clock is ahead.
            works_after: (!grace.is_zero()).then(|| now.saturating_sub(grace)),
        }
    }

    /// The record of a session that does not exist yet, and its id.
    pub(crate) fn draw(
        &self,
        now: Timestamp,
        expire: Duration,
    ) -> Result<(KnownId, SessionRecord), SessionError> {
        let id = self.draw_id()?;
        let session = random::session_ref(&*self.random, now)?;
        let mut record = SessionRecord::new(session, id.key(), now, now.saturating_add(expire));
        if let Some(idle) = self.idle_timeout {
            record.expires = record.ends.min(now.saturating_add(idle));
        }
        Ok((id, record))
    }

    pub(crate) fn draw_id(&self) -> Result<KnownId, SessionError> {
        Ok(random::session_id(&*self.random, &self.seed)?.into())
    }

    /// How many sessions a principal may have, if a login beyond is refused.
    pub(crate) fn most_before_refusal(&self) -> Option<u32> {
        match self.max_sessions? {
            SessionCap { most, on_too_many: OnTooMany::Refuse } => Some(most.get()),
            SessionCap { on_too_many: OnTooMany::EvictOldest, .. } => None,
        }
    }

    /// Whether it is time to note that a session is used.
    pub(crate) fn is_touch_due(&self, record: &SessionRecord, now: Timestamp) -> bool {
        let used = now.since(record.last_used);
        self.idle_timeout.is_some_and(|idle| used >= idle / TOUCHES_PER_IDLE_TIMEOUT)
    }

    /// Notes that a session is used at `now`.
    pub(crate) fn touch(&self, change: &mut SessionChange, now: Timestamp) {
        if self.idle_timeout.is_some() {
            change.last_used = Some(now);
            change.idle = self.idle_timeout;
        }
    }

    /// Lets a session end at `time`, or sooner if it is not used.
    pub(crate) fn end_at(&self, time: SystemTime, now: Timestamp) -> SessionChange {
        let ends = Some(Timestamp::from(time));
        let mut change = SessionChange { expires: ends, ends, ..SessionChange::default() };
        self.touch(&mut change, now);
        change
    }

    /// The session cookies among the headers of a request.
    pub(crate) fn presented(&self, headers: &HeaderMap) -> Presented {
        self.read_cookies(headers.get_all(COOKIE))
    }

    pub(crate) fn read_cookies<'a>(
        &self,
        headers: impl IntoIterator<Item = &'a HeaderValue>,
    ) -> Presented {
        header::read(headers, self.cookie.name(), &self.signer)
    }

    /// The `Set-Cookie` value for a session: with `max_age`, else its own or the configured one.
    pub(crate) fn set_cookie(
        &self,
        id: &KnownId,
        record: &SessionRecord,
        max_age: Option<MaxAge>,
        now: Timestamp,
    ) -> HeaderValue {
        let own = || record.cookie_lifetime.map(MaxAge::from_stored);
        let max_age = max_age.or_else(own).unwrap_or(self.cookie.max_age());
        let exposed = id.id().expose();
        let value = self.signer.seal(self.cookie.name(), exposed.as_str());
        let template = self.cookie_template.get_or_init(|| self.cookie.template());
        template.set(&value, max_age, record.remaining(now))
    }
}

/// What becomes of ids that were replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retired {
    /// An id that was replaced later than this is known as retired.
    pub(crate) known_after: Timestamp,
    /// One that was replaced later than this still works, if any does.
    pub(crate) works_after: Option<Timestamp>,
}

impl Retired {
    /// Whether the id before the last rotation still works.
    pub(crate) fn works(self, record: &SessionRecord) -> bool {
        match (record.rotated, self.works_after) {
            (Some(rotated), Some(after)) => rotated > after,
            _ => false,
        }
    }
}

/// How many sessions a principal may have at the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionCap {
    pub(crate) most: NonZeroU32,
    pub(crate) on_too_many: OnTooMany,
}

/// What a login does when its principal has as many sessions as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTooMany {
    /// The session ends whose id is the oldest: from its login, or from a
    /// [rotation](crate::SessionManager::rotate) since.
    EvictOldest,
    /// The login fails with [`SessionError::TooManySessions`].
    Refuse,
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
