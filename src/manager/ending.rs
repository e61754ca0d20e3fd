//! Ending sessions, and removing those that have expired.

use std::borrow::Cow;
use std::ops::{Bound, RangeBounds};
use std::time::{Duration, SystemTime};

use super::SessionManager;
use super::lifecycle::SessionTarget;
use super::state::Phase;
use crate::cleanup;
use crate::clock::Timestamp;
use crate::driver::{Destroy, Locator};
use crate::error::{LoadError, OnWarning, SessionError, SessionWarning};
use crate::events::{EndReason, SessionEvent};
use crate::id::SessionRef;

impl SessionManager {
    /// Ends the request's session, if there is one: the everyday logout. All data of all
    /// applications is removed at once, and a cookie is queued that removes the visitor's. From
    /// then on nobody can load the session, and other requests that still have it cannot write.
    ///
    /// If several session cookies were presented, each of their sessions is ended. A session that
    /// was loaded with [`load_id`](Self::load_id) is ended alone, and the visitor's own is the one of
    /// the request again. Without a session and a cookie nothing happens. Uncommitted changes are
    /// dropped.
    ///
    /// # Errors
    ///
    /// A failure of the storage, and [`SessionError::Rotated`] under an id that a login or a
    /// [`rotate`](Self::rotate) of another request has just replaced. The cookie stays then, so that a
    /// second attempt can succeed.
    pub async fn end(&self) -> Result<(), SessionError> {
        let _turn = self.turn().await?;
        self.destroy_current(EndReason::Logout).await.map(|_| ())
    }

    /// Removes a session with the data of all applications at once; for the current one as
    /// [`end`](Self::end), which is the everyday logout.
    ///
    /// # Errors
    ///
    /// [`SessionWarning::DestroyAffectsAllApplications`] unless warnings are ignored,
    /// [`SessionError::NoSuchSession`], and a failure of the storage.
    pub async fn destroy(
        &self,
        target: impl Into<SessionTarget>,
        on_warning: OnWarning,
    ) -> Result<(), SessionError> {
        on_warning.raise(SessionWarning::DestroyAffectsAllApplications)?;
        let _turn = self.turn().await?;
        let target = target.into();
        if target != SessionTarget::Current {
            self.look_up_for(target).await?;
        }
        let ended = match target {
            SessionTarget::Current => self.destroy_current(EndReason::Destroyed).await?,
            named => match self.locate(named) {
                Some(session) => self.destroy_named(named, session).await?,
                None => Vec::new(),
            },
        };
        if ended.is_empty() { Err(SessionError::NoSuchSession) } else { Ok(()) }
    }

    /// Removes a session that was named, which may be the one of this request all the same.
    async fn destroy_named(
        &self,
        target: SessionTarget,
        session: Locator,
    ) -> Result<Vec<SessionRef>, SessionError> {
        let loaded = self.is_the_loaded(target);
        let presented = !self.is_loaded() && self.is_presented(target);
        let visitors = if loaded { self.state().is_visitors() } else { presented };
        // By its reference, which a rotation does not change.
        let session = self.loaded_ref().filter(|_| loaded).map_or(session, Locator::Ref);
        let ended = self.destroy_sessions(vec![session], EndReason::Destroyed).await?;
        if presented && ended.is_empty() && self.error() == Some(LoadError::Rotated) {
            return Err(SessionError::Rotated);
        }
        if loaded || presented {
            self.forget_session(visitors);
        }
        Ok(ended)
    }

    /// Notes that the session of this request was ended by it. The visitor's own is over, cookie
    /// and all; after another's the visitor's own is the session of the request again.
    pub(super) fn forget_session(&self, visitors: bool) {
        let mut state = self.state();
        state.next_id = None;
        state.roll_back();
        if !visitors {
            state.look_up_later();
            return;
        }
        state.no_session(None);
        state.judged = true;
        // After the response there is no one to tell, and the session is gone all the same.
        if state.phase != Phase::ResponseStarted {
            state.queue.push(self.delete_cookie_string());
        }
    }

    /// Ends the session of the request; the visitor's own under every id that was presented.
    pub(super) async fn destroy_current(
        &self,
        reason: EndReason,
    ) -> Result<Vec<SessionRef>, SessionError> {
        let visitors = self.state().is_visitors();
        let presented = if visitors { self.presented() } else { Cow::default() };
        let keys = presented.ids.iter().map(|id| Locator::Key(id.key()));
        let loaded = self.loaded_ref().map(Locator::Ref);
        let sessions: Vec<_> = loaded.into_iter().chain(keys).collect();
        if sessions.is_empty() && !presented.any {
            self.state().roll_back();
            return Ok(Vec::new());
        }
        let mut ended = match sessions.is_empty() {
            true => Vec::new(),
            false => self.destroy_sessions(sessions, reason).await?,
        };
        if ended.is_empty() && !presented.ids.is_empty() {
            self.look_up(&presented, None, visitors).await?;
            if self.error() == Some(LoadError::Rotated) {
                return Err(SessionError::Rotated);
            }
            // An id that was replaced and still works names its session all the same.
            if let Some(session) = self.loaded_ref() {
                ended = self.destroy_sessions(vec![Locator::Ref(session)], reason).await?;
            }
        }
        self.forget_session(visitors);
        Ok(ended)
    }

    pub(super) async fn destroy_sessions(
        &self,
        sessions: Vec<Locator>,
        reason: EndReason,
    ) -> Result<Vec<SessionRef>, SessionError> {
        let ended = self.call(|settings| settings.driver.destroy(Destroy { sessions })).await?;
        self.tell_ended(&ended, reason);
        Ok(ended)
    }

    pub(super) fn tell_ended(&self, ended: &[SessionRef], reason: EndReason) {
        for session in ended {
            self.settings().raise(SessionEvent::Ended { session: *session, reason });
        }
    }

    /// Removes the sessions that have expired since 1970, in bounded batches, and answers how many. After a batch that
    /// took a millisecond or more the storage has as long, up to 20 milliseconds, for requests; the runtime needs a
    /// timer for that.
    ///
    /// # Errors
    ///
    /// A failure of the storage.
    pub async fn cleanup(&self) -> Result<u64, SessionError> {
        self.cleanup_between(.., OnWarning::Stop).await
    }

    /// Removes the sessions whose expiry lies in a range, and answers how many. Without a lower
    /// bound it begins with 1970; without an upper one it ends before now.
    ///
    /// ```
    /// # use web_session::{MemoryDriver, OnWarning, SessionLayer};
    /// # use std::time::{Duration, SystemTime};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let session = SessionLayer::new(MemoryDriver::new()).manager();
    /// let last_week = SystemTime::now() - Duration::from_secs(7 * 86_400);
    /// let removed = session.cleanup_between(..last_week, OnWarning::Stop).await?;
    /// assert_eq!(removed, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SessionWarning::CleanupRemovesLiveSessions`] when the range ends later than now, unless
    /// warnings are ignored; [`SessionError::ReversedRange`] when it ends before it begins; and a
    /// failure of the storage.
    pub async fn cleanup_between(
        &self,
        expiry: impl RangeBounds<SystemTime>,
        on_warning: OnWarning,
    ) -> Result<u64, SessionError> {
        let now = self.settings().now();
        let tick = Duration::from_millis(1);
        let at = |bound: &SystemTime| Timestamp::from(*bound);
        let from = match expiry.start_bound() {
            Bound::Included(bound) => at(bound),
            Bound::Excluded(bound) => at(bound).saturating_add(tick),
            Bound::Unbounded => Timestamp::EPOCH,
        };
        let (latest, until) = match expiry.end_bound() {
            // What expires now has expired.
            Bound::Included(bound) => (at(bound), at(bound).saturating_add(tick)),
            Bound::Excluded(bound) => (at(bound), at(bound)),
            Bound::Unbounded => (now, now),
        };
        if from > until {
            return Err(SessionError::ReversedRange);
        }
        if latest > now {
            on_warning.raise(SessionWarning::CleanupRemovesLiveSessions)?;
        }
        let removed = cleanup::remove(&*self.settings().driver, from, until).await?;
        self.settings().raise(SessionEvent::CleanedUp { removed });
        Ok(removed)
    }
}
