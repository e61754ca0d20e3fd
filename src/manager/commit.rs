//! Makes a request's changes last.

use std::sync::Arc;

use super::application::BeforeUpdate;
use super::state::{Current, Phase};
use super::{MAX_ATTEMPTS, SessionManager};
use crate::driver::{
    ApplicationChanges, ApplicationName, Commit, CommitOutcome, ReplaceItem, ReplaceOutcome,
    SessionChange, SessionRecord, Target,
};
use crate::error::{LoadError, SessionError};
use crate::id::SessionId;

impl SessionManager {
    /// Makes the uncommitted changes last now, all or none: for streaming responses, WebSockets and
    /// jobs, and before something that must not happen without them. The layer does it by itself
    /// after the handler.
    ///
    /// If there are items to store and no session, one is created and its cookie is queued.
    ///
    /// # Errors
    ///
    /// [`SessionError::Ended`] when the session was ended after this request had seen it,
    /// [`SessionError::Rotated`] when the presented id was replaced,
    /// [`SessionError::ResponseStarted`] when a session would have to be created after the
    /// response, and what the storage gives. Nothing is stored then, and the changes stay
    /// uncommitted, so that the layer's commit fails too; [`rollback`](Self::rollback) drops them.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the changes were stored or they were not, all or none. They stay
    /// uncommitted, and the next commit stores them again: an `empty` then also removes what others
    /// have stored since. If a session had to be created, one may have been stored whose id nobody
    /// knows, and the next commit creates another; a cleanup removes the first when it has expired.
    pub async fn commit(&self) -> Result<(), SessionError> {
        let _turn = self.request.turn.lock().await;
        if !self.has_changes() {
            return Ok(());
        }
        for _ in 0..MAX_ATTEMPTS {
            if self.try_commit().await? {
                return Ok(());
            }
        }
        Err(SessionError::NoFreeId)
    }

    /// Drops the uncommitted changes. Those of a commit that is under way are out of reach.
    pub fn rollback(&self) {
        self.state().roll_back();
    }

    /// Commits once; `false` if a fresh id was taken.
    async fn try_commit(&self) -> Result<bool, SessionError> {
        let presented = self.only_presented().await?;
        let settings = self.settings();
        let now = settings.now();
        let (changes, session) = self.state().send();
        let _committing = Committing(self);
        let stores = changes.iter().any(ApplicationChanges::stores);
        let Some((target, fresh)) = self.target(presented, stores)? else {
            self.state().drop_sent();
            return Ok(true);
        };
        let moved = session.ends.is_some();
        let outcome = self.call(|settings| {
            let limits = settings.limits;
            settings.driver.commit(Commit {
                target,
                changes,
                session,
                max_sessions: None,
                limits,
                now,
            })
        });
        match outcome.await? {
            CommitOutcome::Done(record) => self.done(record, fresh, presented, moved).await?,
            CommitOutcome::Collision => return Ok(false),
            CommitOutcome::Rotated => return Err(SessionError::Rotated),
            CommitOutcome::TooMany => return Err(SessionError::TooManySessions),
            CommitOutcome::Gone => self.gone(stores)?,
        }
        Ok(true)
    }

    /// Where to commit, and the id of the session that would be created; `None` if there is nothing
    /// to do.
    fn target(
        &self,
        presented: Option<SessionId>,
        stores: bool,
    ) -> Result<Option<(Target, Option<SessionId>)>, SessionError> {
        let phase = {
            let state = self.state();
            if let Current::Loaded { id, record, .. } = &state.current {
                let target = Target::Seen { session: record.session, key: id.key() };
                return Ok(Some((target, None)));
            }
            state.phase
        };
        if presented.is_none() {
            if !stores {
                // What was removed is not there, and neither is the session.
                return Ok(None);
            }
            self.may_create()?;
        }
        let settings = self.settings();
        let now = settings.now();
        let fresh = if stores && phase != Phase::ResponseStarted {
            Some(settings.draw(now, settings.expire)?)
        } else {
            None
        };
        let (fresh, otherwise) = fresh.unzip();
        let target = match (presented, otherwise) {
            (Some(id), otherwise) => Target::Presented {
                key: id.key(),
                retired_after: settings.retired_after(now),
                otherwise,
            },
            (None, Some(record)) => Target::New(record),
            (None, None) => return Err(SessionError::ResponseStarted),
        };
        Ok(Some((target, fresh)))
    }

    /// The presented id, if there is one that has not been looked up. Of several it has to be
    /// known first which is live, and without any there is no session.
    async fn only_presented(&self) -> Result<Option<SessionId>, SessionError> {
        if !matches!(self.state().current, Current::Unknown) {
            return Ok(None);
        }
        let presented = self.presented();
        if let [id] = *presented.ids {
            return Ok(Some(id));
        }
        self.look_up(&presented, None, true).await?;
        Ok(None)
    }

    async fn done(
        &self,
        record: SessionRecord,
        fresh: Option<SessionId>,
        presented: Option<SessionId>,
        moved: bool,
    ) -> Result<(), SessionError> {
        if let Some(id) = fresh.filter(|id| id.key() == record.key) {
            let unresolved = matches!(self.state().current, Current::Unknown);
            self.take_created(id, record).await?;
            let mut state = self.state();
            if unresolved {
                state.error = Some(LoadError::NotFound);
            }
            state.committed();
            return Ok(());
        }
        let settings = self.settings();
        let mut state = self.state();
        let seen = match &state.current {
            Current::Loaded { id, visitors, .. } => Some((*id, *visitors)),
            _ => presented.map(|id| (id, true)),
        };
        state.committed();
        let Some((id, visitors)) = seen else { return Ok(()) };
        if moved && visitors && state.phase != Phase::ResponseStarted {
            let now = settings.now();
            state.queue.push(if record.is_live(now) {
                settings.cookie.set(&id, settings.cookie.max_age(), record.remaining(now))
            } else {
                settings.cookie.removal()
            });
        }
        state.current = Current::Loaded { id, record, visitors };
        Ok(())
    }

    /// The storage has no live session for the commit.
    fn gone(&self, stores: bool) -> Result<(), SessionError> {
        let mut state = self.state();
        if let Current::Loaded { .. } = state.current {
            return Err(SessionError::Ended);
        }
        // A presented id that names nothing. Removals have nothing to remove.
        state.no_session(Some(LoadError::NotFound));
        if stores {
            return Err(SessionError::ResponseStarted);
        }
        state.drop_sent();
        Ok(())
    }

    /// Replaces one item at once: `f` makes the new text from the one that is there.
    pub(crate) async fn update_text(
        &self,
        application: &ApplicationName,
        key: Arc<str>,
        mut f: impl FnMut(Option<&str>) -> Result<Arc<str>, SessionError>,
    ) -> Result<(), SessionError> {
        let _turn = self.request.turn.lock().await;
        let _turn_of_session = match self.likely_id() {
            Some(id) => Some(self.settings().updates.take(id).await),
            None => None,
        };
        self.fetch(application).await?;
        for _ in 0..MAX_ATTEMPTS {
            let before = self.state().application(application).before_update(&key);
            let value = f(before.text.as_deref())?;
            if self.try_update(application, &key, value, before).await? {
                return Ok(());
            }
        }
        Err(SessionError::Contended)
    }

    /// The id by which this request's session is known to others, as far as that is known here.
    fn likely_id(&self) -> Option<SessionId> {
        self.session_id().or_else(|| self.presented().ids.first().copied())
    }

    /// Replaces an item if it is in the storage what it was before; `false` if it is something else.
    async fn try_update(
        &self,
        application: &ApplicationName,
        key: &Arc<str>,
        value: Arc<str>,
        before: BeforeUpdate,
    ) -> Result<bool, SessionError> {
        let now = self.settings().now();
        let Some(session) = self.loaded_ref() else {
            return self.create_with_item(application, key, value, &before).await;
        };
        let outcome = self.call(|settings| {
            settings.driver.replace_item(ReplaceItem {
                session,
                application: application.clone(),
                key: key.clone(),
                expected: before.stored.clone(),
                value: value.clone(),
                limits: settings.limits,
                now,
            })
        });
        match outcome.await? {
            ReplaceOutcome::Done => {
                self.state().application(application).updated(key, &value, &before);
                Ok(true)
            }
            ReplaceOutcome::Conflict(current) => {
                let mut state = self.state();
                let stored = state.application(application).stored.get_or_insert_default();
                match current {
                    Some(current) => stored.insert(key.clone(), current),
                    None => stored.remove(key),
                }
                Ok(false)
            }
            ReplaceOutcome::Gone => Err(SessionError::Ended),
        }
    }

    /// Creates a session that has one item; `false` if the fresh id was taken.
    async fn create_with_item(
        &self,
        application: &ApplicationName,
        key: &Arc<str>,
        value: Arc<str>,
        before: &BeforeUpdate,
    ) -> Result<bool, SessionError> {
        let settings = self.settings();
        let now = settings.now();
        self.may_create()?;
        let (id, record) = settings.draw(now, settings.expire)?;
        let mut changes = ApplicationChanges::new(application.clone());
        changes.items.push((key.clone(), Some(value.clone())));
        let outcome = self.call(|settings| {
            settings.driver.commit(Commit {
                target: Target::New(record),
                changes: vec![changes],
                session: SessionChange::default(),
                max_sessions: None,
                limits: settings.limits,
                now,
            })
        });
        match outcome.await? {
            CommitOutcome::Done(record) => {
                self.take_created(id, record).await?;
                self.state().application(application).updated(key, &value, before);
                Ok(true)
            }
            CommitOutcome::Collision => Ok(false),
            CommitOutcome::Gone => Err(SessionError::Ended),
            CommitOutcome::Rotated => Err(SessionError::Rotated),
            CommitOutcome::TooMany => Err(SessionError::TooManySessions),
        }
    }
}

/// Marks a commit as under way until it is over, however it ends.
struct Committing<'a>(&'a SessionManager);

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.0.state().committing = false;
    }
}
