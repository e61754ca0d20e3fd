//! Loading, creating, expiring and ending sessions.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use smallvec::{SmallVec, smallvec};

use super::state::{Current, Phase};
use super::{MAX_ATTEMPTS, SessionManager};
use crate::cookie::header::Presented;
use crate::driver::{
    Commit, CommitOutcome, Create, CreateOutcome, Destroy, Inspect, Locator, SessionRecord, Target,
};
use crate::error::{LoadError, SessionError};
use crate::events::SessionEvent;
use crate::id::{KnownId, SessionId, SessionRef};
use crate::settings::MIN_EXPIRE;

/// Which session an operation is about. Made from an id, the text of one, or a [`SessionRef`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionTarget {
    /// The one that is loaded or created, else the one that the request's cookie names.
    Current,
    /// The one with this id.
    Id(SessionId),
    /// The one with this reference.
    Ref(SessionRef),
    /// A text that is no id, so no session has it.
    Malformed,
}

impl From<SessionId> for SessionTarget {
    fn from(id: SessionId) -> Self {
        Self::Id(id)
    }
}

impl From<&SessionId> for SessionTarget {
    fn from(id: &SessionId) -> Self {
        Self::Id(*id)
    }
}

impl From<SessionRef> for SessionTarget {
    fn from(session: SessionRef) -> Self {
        Self::Ref(session)
    }
}

impl From<&str> for SessionTarget {
    fn from(text: &str) -> Self {
        text.parse().map_or(Self::Malformed, Self::Id)
    }
}

impl SessionManager {
    /// Loads the session that the request's cookie names. Without it the first access to a store
    /// does so; call it to learn whether there is a session, and from [`error`](Self::error) why
    /// not. Called again, it forgets what was read, so that later reads see the present state. A
    /// session that this request has created, or given a fresh id, is loaded again itself.
    ///
    /// # Errors
    ///
    /// A failure of the storage, which is never answered as `false`;
    /// [`SessionError::UncommittedChanges`] when changes of the loaded session would be lost.
    pub async fn load(&self) -> Result<bool, SessionError> {
        let _turn = self.turn().await?;
        // Changes under a cookie that has not been looked up belong to the session it names.
        let unresolved = matches!(self.state().current, Current::Unknown);
        if !unresolved {
            self.refuse_changes()?;
        }
        let presented = self.presented();
        let own = match &self.state().current {
            // The visitor has no cookie for it yet, or is about to get a new one.
            Current::Loaded { id, visitors: true, .. } if !presented.ids.contains(&id.id()) => {
                Some(id.id())
            }
            _ => None,
        };
        let presented = match own {
            Some(id) => Cow::Owned(Presented { ids: smallvec![id], any: true }),
            None => presented,
        };
        self.look_up(&presented, None, true).await?;
        Ok(self.is_loaded())
    }

    /// Loads the session with this id in place of the one that the cookie names, for tools and
    /// administrators' pages. The visitor's cookie stays as it is, whatever becomes of that session;
    /// only [`set_cookie`](Self::set_cookie) hands it over. If no session has the id, the request has none:
    /// what it writes goes to a new one.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); any uncommitted change is one too many.
    pub async fn load_id(&self, id: &str) -> Result<bool, SessionError> {
        let _turn = self.turn().await?;
        self.refuse_changes()?;
        let ids: SmallVec<[SessionId; 1]> = id.parse().into_iter().collect();
        let visitors = self.presented().ids.iter().any(|id| ids.contains(id));
        self.look_up(&Presented { ids, any: true }, None, visitors).await?;
        Ok(self.is_loaded())
    }

    pub(super) fn is_loaded(&self) -> bool {
        matches!(self.state().current, Current::Loaded { .. })
    }

    fn refuse_changes(&self) -> Result<(), SessionError> {
        if self.has_changes() { Err(SessionError::UncommittedChanges) } else { Ok(()) }
    }

    /// Creates a session and queues its cookie. It is stored at once, whatever becomes of the
    /// request, and lives as long as [`expire`](Self::expire) says. Changes that wait for a commit
    /// go to it.
    ///
    /// Writing to a store creates one by itself, and only if the request succeeds.
    ///
    /// # Errors
    ///
    /// [`SessionError::AlreadyLoaded`] when a session is loaded, [`SessionError::NoFreeId`] when
    /// 100 ids in a row were taken, [`SessionError::ResponseStarted`] when the cookie can no longer
    /// be sent, and a failure of the storage.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a session may have been stored whose id nobody knows; a cleanup
    /// removes it when it has expired.
    pub async fn create(&self) -> Result<SessionId, SessionError> {
        self.create_for(self.expire()).await
    }

    /// [`create`](Self::create) with a lifetime of its own.
    ///
    /// # Errors
    ///
    /// [`SessionError::ExpireTooShort`] below a millisecond, and as [`create`](Self::create).
    pub async fn create_for(&self, expire: Duration) -> Result<SessionId, SessionError> {
        let _turn = self.turn().await?;
        if self.is_loaded() {
            return Err(SessionError::AlreadyLoaded);
        }
        if expire < MIN_EXPIRE {
            return Err(SessionError::ExpireTooShort);
        }
        self.may_create()?;
        let settings = self.settings();
        for _ in 0..MAX_ATTEMPTS {
            let (id, record) = settings.draw(settings.now(), expire)?;
            let (session, created) = (record.session, record.clone());
            let outcome = self.call(|settings| settings.driver.create(Create { session: created }));
            if outcome.await? == CreateOutcome::Done {
                if !self.take_created(id, record) {
                    return Err(self.remove_created(session).await);
                }
                return Ok(id.id());
            }
        }
        Err(SessionError::NoFreeId)
    }

    /// Whether a new session's cookie could be sent.
    pub(super) fn may_create(&self) -> Result<(), SessionError> {
        let state = self.state();
        if state.error == Some(LoadError::Rotated) {
            // Its cookie would replace the one that the visitor has just been given.
            return Err(SessionError::Rotated);
        }
        match state.phase {
            Phase::ResponseStarted => Err(SessionError::ResponseStarted),
            Phase::Open | Phase::Detached => Ok(()),
        }
    }

    /// Takes a session that this request has just created, and queues its cookie; `false` if the
    /// response has left meanwhile. Nobody would ever have its id then, so it has to be
    /// [removed](Self::remove_created) again.
    pub(super) fn take_created(&self, id: KnownId, record: SessionRecord) -> bool {
        let session = record.session;
        let settings = self.settings();
        {
            let mut state = self.state();
            if state.phase == Phase::ResponseStarted {
                return false;
            }
            // Its whole life, and not what the creation has left of it.
            state.queue.push(settings.set_cookie(&id, &record, None, record.created));
            state.created(id, record);
        }
        settings.raise(SessionEvent::Created { session });
        true
    }

    /// Removes a session whose cookie can no longer be sent, and answers why it has to.
    pub(super) async fn remove_created(&self, session: SessionRef) -> SessionError {
        let destroy = Destroy::new(vec![Locator::Ref(session)]);
        match self.call(|settings| settings.driver.destroy(destroy)).await {
            Ok(_) => SessionError::ResponseStarted,
            Err(error) => error.into(),
        }
    }

    /// Sets when a session ends, an absolute time. A time that has come already makes it end now;
    /// a later one makes an expired session loadable again. It counts as a use: an
    /// [idle timeout](crate::SessionLayerBuilder::idle_timeout) begins anew.
    ///
    /// For the loaded session, and for the one that a [`login`](Self::login) is going to create, it is
    /// part of the commit, applied last, and the visitor's cookie is sent again with the new max-age; for
    /// another it is done at once.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoSuchSession`], and a failure of the storage.
    pub async fn set_expire(
        &self,
        time: SystemTime,
        target: impl Into<SessionTarget>,
    ) -> Result<(), SessionError> {
        let _turn = self.turn().await?;
        let target = target.into();
        self.look_up_for(target).await?;
        let settings = self.settings();
        let now = settings.now();
        let change = settings.end_at(time, now);
        let logs_in = target == SessionTarget::Current && self.state().logs_in();
        if logs_in || self.is_the_loaded(target) {
            self.state().set_change(change);
            return Ok(());
        }
        let locator = self.locate(target).ok_or(SessionError::NoSuchSession)?;
        let mut commit = Commit::new(Target::Existing(locator), now);
        commit.session = change;
        let outcome = self.call(|settings| settings.driver.commit(commit));
        match outcome.await? {
            CommitOutcome::Done(_) => {
                if self.is_presented(target) {
                    self.state().look_again();
                }
                Ok(())
            }
            _ => Err(SessionError::NoSuchSession),
        }
    }

    /// Whether a session is live; `false` if it has expired. Shows an uncommitted
    /// [`set_expire`](Self::set_expire).
    ///
    /// # Errors
    ///
    /// [`SessionError::NoSuchSession`], and a failure of the storage.
    pub async fn valid(&self, target: impl Into<SessionTarget>) -> Result<bool, SessionError> {
        let _turn = self.turn().await?;
        let target = target.into();
        let mut record = self.inspect(target).await?.ok_or(SessionError::NoSuchSession)?;
        let now = self.settings().now();
        if self.session_ref() == Some(record.session) {
            self.state().change().apply(&mut record, now);
        }
        Ok(record.is_live(now))
    }

    /// Whether a session exists, expired or not.
    ///
    /// # Errors
    ///
    /// A failure of the storage.
    pub async fn exists(&self, target: impl Into<SessionTarget>) -> Result<bool, SessionError> {
        let _turn = self.turn().await?;
        Ok(self.inspect(target.into()).await?.is_some())
    }

    /// Whether a target is what the visitor's cookie names.
    pub(super) fn is_presented(&self, target: SessionTarget) -> bool {
        match target {
            SessionTarget::Current => true,
            SessionTarget::Id(id) => self.presented().ids.contains(&id),
            SessionTarget::Ref(_) | SessionTarget::Malformed => false,
        }
    }

    /// Whether a target is the session that this request has loaded or created.
    pub(super) fn is_the_loaded(&self, target: SessionTarget) -> bool {
        match target {
            SessionTarget::Current => self.is_loaded(),
            SessionTarget::Id(id) => self.session_id() == Some(id),
            SessionTarget::Ref(session) => self.session_ref() == Some(session),
            SessionTarget::Malformed => false,
        }
    }

    async fn inspect(&self, target: SessionTarget) -> Result<Option<SessionRecord>, SessionError> {
        if target == SessionTarget::Current {
            self.look_up_for(target).await?;
        }
        let Some(session) = self.locate(target) else {
            return Ok(None);
        };
        Ok(self.call(|settings| settings.driver.inspect(Inspect { session })).await?)
    }

    /// Looks up the presented ids, unless that was done, if the target may be one of theirs.
    pub(super) async fn look_up_for(&self, target: SessionTarget) -> Result<(), SessionError> {
        if !matches!(self.state().current, Current::Unknown) {
            return Ok(());
        }
        let presented = self.presented();
        let concerned = match target {
            SessionTarget::Current => true,
            SessionTarget::Id(id) => presented.ids.contains(&id),
            SessionTarget::Ref(_) => !presented.ids.is_empty(),
            SessionTarget::Malformed => false,
        };
        if concerned {
            self.look_up(&presented, None, true).await?;
        }
        Ok(())
    }

    /// What names a target in the storage, if anything can.
    pub(super) fn locate(&self, target: SessionTarget) -> Option<Locator> {
        match target {
            SessionTarget::Current => {
                self.loaded_ref().map(Locator::Ref).or_else(|| match *self.presented().ids {
                    [id] => Some(Locator::Key(id.key())),
                    _ => None,
                })
            }
            SessionTarget::Id(id) => Some(Locator::Key(id.key())),
            SessionTarget::Ref(session) => Some(Locator::Ref(session)),
            SessionTarget::Malformed => None,
        }
    }
}
