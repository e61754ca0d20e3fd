//! Makes a request's changes last.

use std::sync::Arc;

use smallvec::smallvec;

use super::application::BeforeUpdate;
use super::state::{Current, Handover, Phase, State};
use super::{MAX_ATTEMPTS, SessionManager};
use crate::clock::Timestamp;
use crate::cookie::header::Presented;
use crate::driver::{
    ApplicationChanges, ApplicationName, Commit, CommitOutcome, DriverFuture, Inspect, Locator,
    ReplaceItem, ReplaceOutcome, SessionRecord, Target,
};
use crate::error::{LoadError, SessionError};
use crate::events::SessionEvent;
use crate::id::{KnownId, SessionId, SessionRef};

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
    /// [`SessionError::Rotated`] when the presented id was replaced, or another request rotated the
    /// session that this one rotates, [`SessionError::TooManySessions`] when a login is refused,
    /// [`SessionError::ResponseStarted`] when a session would have to be created after the
    /// response, and what the storage gives. Nothing is stored then, and the changes stay
    /// uncommitted, so that the layer's commit fails too; [`rollback`](Self::rollback) drops them. A
    /// login that other logins have evicted in the meantime is [`SessionError::Ended`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the changes were stored or they were not, all or none. They stay
    /// uncommitted, and the next commit stores them again: an `empty` then also removes what others
    /// have stored since. If a session had to be created, one may have been stored whose id nobody
    /// knows, and the next commit creates another; a cleanup removes the first when it has expired.
    pub async fn commit(&self) -> Result<(), SessionError> {
        let _turn = self.turn().await?;
        self.commit_in_turn().await
    }

    /// Commits. The caller holds the turn.
    pub(super) async fn commit_in_turn(&self) -> Result<(), SessionError> {
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

    /// Drops the uncommitted changes. Those of a commit that is under way are out of reach, and so is a
    /// [`rotate`](Self::rotate) whose commit was given up: it may have been done, and is carried through.
    pub fn rollback(&self) {
        self.state().roll_back();
    }

    /// Notes that the visitor's session is used, if it is time for that. The caller holds the turn.
    pub(super) async fn touch(&self) {
        let now = self.settings().now();
        let Some((session, id)) = self.touched() else { return };
        let touched = self.call(|settings| {
            let mut commit = Commit::new(Target::Seen { session, key: id.key() }, now);
            settings.touch(&mut commit.session, now);
            settings.driver.commit(commit)
        });
        match touched.await {
            Ok(CommitOutcome::Done(record)) => {
                let mut state = self.state();
                if let Current::Loaded { record: known, .. } = &mut state.current {
                    *known = record;
                }
                state.withdraw_if_retired();
            }
            // The session has ended meanwhile, which makes no difference to who has only read.
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the use of a session could not be noted"),
        }
    }

    /// Whether the use of the visitor's session has to be noted.
    pub(crate) fn has_touch_due(&self) -> bool {
        self.touched().is_some()
    }

    fn touched(&self) -> Option<(SessionRef, KnownId)> {
        let settings = self.settings();
        settings.idle_timeout?;
        match &self.state().current {
            Current::Loaded { id, record, visitors: true } => {
                settings.is_touch_due(record, settings.now()).then_some((record.session, *id))
            }
            _ => None,
        }
    }

    /// Commits once; `false` if it has to be done again: a fresh id was taken, or more is known now.
    async fn try_commit(&self) -> Result<bool, SessionError> {
        let presented = self.only_presented().await?;
        let _committing = Committing(self);
        let Some((answer, sent)) = self.send_commit(presented)? else {
            return Ok(true);
        };
        let outcome = answer.await?;
        if !matches!(outcome, CommitOutcome::Done(_) | CommitOutcome::Rotated) {
            self.state().next_id = None;
        }
        let SentCommit { created, next, creates, logs_in, sends_cookie } = sent;
        match outcome {
            CommitOutcome::Done(record) => {
                let login = logs_in.then(|| Box::new(record.clone()));
                let session = record.session;
                match (created, next) {
                    (Some(id), _) if id.key() == record.key => {
                        if !self.done_created(id, record, presented) {
                            return Err(Box::pin(self.remove_created(session)).await);
                        }
                    }
                    (_, Some(id)) => self.done_rotated(id, record),
                    _ => self.done(record, presented, sends_cookie),
                }
                if let Some(login) = login {
                    Box::pin(self.evict(&login)).await?;
                }
                Ok(true)
            }
            CommitOutcome::Collision => Ok(false),
            CommitOutcome::Rotated => Box::pin(self.was_rotated(presented)).await.map(|()| false),
            CommitOutcome::TooMany => Err(SessionError::TooManySessions),
            CommitOutcome::Gone => self.gone(presented, creates).map(|()| true),
        }
    }

    /// Hands the changes over to the driver; `None` if there is nothing to do.
    fn send_commit(
        &self,
        presented: Option<KnownId>,
    ) -> Result<Option<(DriverFuture<CommitOutcome>, SentCommit)>, SessionError> {
        let settings = self.settings();
        let now = settings.now();
        let Handover { items, mut fields, rotates } = self.state().send();
        let logs_in = matches!(fields.principal, Some(Some(_)));
        let creates = logs_in || items.iter().any(ApplicationChanges::stores);
        let Some((target, created)) = self.target(presented, creates, now)? else {
            self.state().drop_sent();
            return Ok(None);
        };
        let next = if rotates { Some(self.next_id()?) } else { None };
        fields.key = next.map(|id| id.key());
        let sends_cookie = fields.ends.is_some() || fields.cookie_lifetime.is_some();
        if logs_in {
            fields.last_used = Some(now);
        }
        if logs_in || matches!(target, Target::Presented { .. }) || self.has_touch_due() {
            settings.touch(&mut fields, now);
        }
        let answer = self.call_at(now, |settings| {
            let mut commit = Commit::new(target, now);
            (commit.changes, commit.session) = (items, fields);
            commit.max_sessions = settings.most_before_refusal().filter(|_| logs_in);
            commit.limits = settings.limits;
            settings.driver.commit(commit)
        });
        Ok(Some((answer, SentCommit { created, next, creates, logs_in, sends_cookie })))
    }

    /// The id that the session is going to have. It is the same until it is known whether the storage has
    /// it: an attempt whose answer was lost may have been done.
    fn next_id(&self) -> Result<KnownId, SessionError> {
        let mut state = self.state();
        if state.phase == Phase::ResponseStarted {
            return Err(SessionError::ResponseStarted);
        }
        let next = match state.next_id {
            Some(next) => next,
            None => self.settings().draw_id()?,
        };
        state.next_id = Some(next);
        Ok(next)
    }

    /// Where to commit, and the id of the session that would be created; `None` if there is nothing
    /// to do.
    fn target(
        &self,
        presented: Option<KnownId>,
        creates: bool,
        now: Timestamp,
    ) -> Result<Option<(Target, Option<KnownId>)>, SessionError> {
        let phase = {
            let state = self.state();
            if let Current::Loaded { id, record, .. } = &state.current {
                let target = Target::Seen { session: record.session, key: id.key() };
                return Ok(Some((target, None)));
            }
            state.phase
        };
        if presented.is_none() {
            if !creates {
                // What was removed is not there, and neither is the session.
                return Ok(None);
            }
            self.may_create()?;
        }
        let settings = self.settings();
        let fresh = if creates && phase != Phase::ResponseStarted {
            Some(settings.draw(now, settings.expire)?)
        } else {
            None
        };
        let (fresh, otherwise) = fresh.unzip();
        let target = match (presented, otherwise) {
            (Some(id), otherwise) => Target::Presented {
                key: id.key(),
                retired_after: settings.retired(now).known_after,
                otherwise,
            },
            (None, Some(record)) => Target::New(record),
            (None, None) => return Err(SessionError::ResponseStarted),
        };
        Ok(Some((target, fresh)))
    }

    /// The presented id, if there is one that has not been looked up. Of several it has to be
    /// known first which is live, and without any there is no session.
    async fn only_presented(&self) -> Result<Option<KnownId>, SessionError> {
        if !matches!(self.state().current, Current::Unknown) {
            return Ok(None);
        }
        let presented = self.presented();
        if let [id] = *presented.ids {
            return Ok(Some(id.into()));
        }
        Box::pin(self.look_up(&presented, None, true)).await?;
        Ok(None)
    }

    /// `false` if the session has to be removed again.
    fn done_created(&self, id: KnownId, record: SessionRecord, presented: Option<KnownId>) -> bool {
        if let Some(presented) = presented {
            // It named nothing, or a session would have been found.
            self.state().error = Some(LoadError::NotFound);
            self.tell(LoadError::NotFound, presented.key());
        }
        let taken = self.take_created(id, record);
        if taken {
            self.state().committed();
        }
        taken
    }

    fn done_rotated(&self, id: KnownId, record: SessionRecord) {
        let session = record.session;
        {
            let mut state = self.state();
            let visitors = state.is_visitors();
            state.committed();
            state.current = Current::Loaded { id, record, visitors };
            self.resend_cookie(&mut state);
        }
        self.settings().raise(SessionEvent::Rotated { session });
    }

    fn done(&self, record: SessionRecord, presented: Option<KnownId>, sends_cookie: bool) {
        let mut state = self.state();
        state.committed();
        let (id, visitors) = match (&state.current, presented) {
            (Current::Loaded { id, visitors, .. }, _) => (*id, *visitors),
            (_, Some(id)) => (id, true),
            _ => return,
        };
        state.judged |= visitors;
        state.current = Current::Loaded { id, record, visitors };
        state.withdraw_if_retired();
        if sends_cookie {
            self.resend_cookie(&mut state);
        }
    }

    /// Queues the visitor's cookie as the session is now.
    fn resend_cookie(&self, state: &mut State) {
        let settings = self.settings();
        let now = settings.now();
        let Current::Loaded { id, record, visitors: true } = &state.current else { return };
        // The cookie of a retired id would replace the one that the visitor has been given since.
        if record.key != id.key() || state.phase == Phase::ResponseStarted {
            return;
        }
        let cookie = if record.ends > now {
            settings.set_cookie(id, record, None, now)
        } else {
            settings.cookie.removal()
        };
        state.queue.push(cookie);
    }

    /// The id under which this request knows the session was replaced. Fails, unless the commit may be
    /// tried again: an earlier attempt of this request has replaced it, or it still works.
    async fn was_rotated(&self, presented: Option<KnownId>) -> Result<(), SessionError> {
        let may_try_again = match presented {
            Some(id) => {
                let presented = Presented { ids: smallvec![id.id()], any: true };
                self.look_up(&presented, None, true).await?;
                self.is_loaded()
            }
            None => self.settle_rotation().await?,
        };
        if may_try_again {
            return Ok(());
        }
        self.state().queue.withdraw();
        Err(SessionError::Rotated)
    }

    /// Learns whether a rotation was done whose answer got lost, and takes the fresh id then. Whether it
    /// was. The caller holds the turn.
    pub(super) async fn settle_rotation(&self) -> Result<bool, SessionError> {
        let next = self.state().next_id;
        let (Some(next), Some(session)) = (next, self.loaded_ref()) else {
            return Ok(false);
        };
        let inspect = Inspect { session: Locator::Ref(session) };
        let record = self.call(|settings| settings.driver.inspect(inspect)).await?;
        let Some(record) = record.filter(|record| record.key == next.key()) else {
            self.state().next_id = None;
            return Ok(false);
        };
        {
            let mut state = self.state();
            let visitors = state.is_visitors();
            state.has_rotated(next, record, visitors);
            self.resend_cookie(&mut state);
        }
        self.settings().raise(SessionEvent::Rotated { session });
        Ok(true)
    }

    /// The storage has no live session for the commit.
    fn gone(&self, presented: Option<KnownId>, creates: bool) -> Result<(), SessionError> {
        if self.is_loaded() {
            return Err(SessionError::Ended);
        }
        if let Some(presented) = presented {
            self.tell(LoadError::NotFound, presented.key());
        }
        let mut state = self.state();
        // A presented id that names nothing. Removals have nothing to remove.
        state.no_session(Some(LoadError::NotFound));
        if creates {
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
        let _turn = self.turn().await?;
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
            let mut commit = Commit::new(Target::New(record), now);
            (commit.changes, commit.limits) = (vec![changes], settings.limits);
            settings.driver.commit(commit)
        });
        match outcome.await? {
            CommitOutcome::Done(record) => {
                let session = record.session;
                if !self.take_created(id, record) {
                    return Err(self.remove_created(session).await);
                }
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

/// What is known of a commit that the driver works on.
struct SentCommit {
    /// The id of the session that it creates, if there is none.
    created: Option<KnownId>,
    /// The id that takes the place of the session's.
    next: Option<KnownId>,
    /// Whether there has to be a session afterwards.
    creates: bool,
    logs_in: bool,
    sends_cookie: bool,
}

/// Marks a commit as over, however it ends.
struct Committing<'a>(&'a SessionManager);

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.0.state().committing = false;
    }
}
