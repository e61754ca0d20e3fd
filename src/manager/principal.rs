//! The sessions of one principal: listing them, ending them, keeping their number down.

use std::fmt;
use std::time::SystemTime;

use super::SessionManager;
use super::lifecycle::SessionTarget;
use crate::driver::{EndWhere, Keep, List, SessionRecord, hidden};
use crate::error::{LoadError, SessionError};
use crate::events::EndReason;
use crate::id::SessionRef;
use crate::settings::{OnTooMany, SessionCap};

/// One of a principal's sessions.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its reference, which names it to [`end_one`](SessionManager::end_one). No secret.
    pub session: SessionRef,
    /// When it was created.
    pub created: SystemTime,
    /// When it was last used: at its login, and as its [idle
    /// timeout](crate::SessionLayerBuilder::idle_timeout) noted since, to a tenth of that.
    pub last_used: SystemTime,
    /// When it expires if it is not used.
    pub expires: SystemTime,
    /// What the application noted with [`set_note`](SessionManager::set_note).
    pub note: Option<String>,
    /// Whether it is the session of this request.
    pub is_current: bool,
}

impl fmt::Debug for SessionInfo {
    /// Shows whether there is a note, and not what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionInfo")
            .field("session", &self.session)
            .field("created", &self.created)
            .field("last_used", &self.last_used)
            .field("expires", &self.expires)
            .field("note", &hidden(&self.note))
            .field("is_current", &self.is_current)
            .finish()
    }
}

impl SessionManager {
    /// The live sessions of who is logged in here, the oldest first.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotLoggedIn`], and a failure of the storage.
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, SessionError> {
        let _turn = self.turn().await?;
        let principal = self.logged_in().await?;
        self.list(principal).await
    }

    /// The live sessions of a principal, the oldest first: for administrators.
    ///
    /// # Errors
    ///
    /// A failure of the storage.
    pub async fn sessions_of(&self, principal: &str) -> Result<Vec<SessionInfo>, SessionError> {
        let _turn = self.turn().await?;
        self.list(principal.to_owned()).await
    }

    /// Ends one session of who is logged in here at once. Another principal's session is none: that the
    /// reference came from the visitor does no harm.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoSuchSession`], [`SessionError::NotLoggedIn`], and a failure of the storage.
    pub async fn end_one(&self, session: SessionRef) -> Result<(), SessionError> {
        let _turn = self.turn().await?;
        let principal = self.logged_in().await?;
        let mut end = EndWhere::new(principal);
        end.only = Some(session);
        if self.end_where(end, EndReason::EndedForPrincipal).await?.is_empty() {
            return Err(SessionError::NoSuchSession);
        }
        if self.loaded_ref() == Some(session) {
            let visitors = self.state().is_visitors();
            self.forget_session(visitors);
        }
        Ok(())
    }

    /// Ends all sessions of who is logged in here but this one at once, and answers how many: after a
    /// change of the password (OWASP ASVS 5.0, 7.4.3).
    ///
    /// # Errors
    ///
    /// [`SessionError::NotLoggedIn`], and a failure of the storage.
    pub async fn end_others(&self) -> Result<usize, SessionError> {
        let _turn = self.turn().await?;
        let mut end = EndWhere::new(self.logged_in().await?);
        end.except = self.loaded_ref();
        Ok(self.end_where(end, EndReason::EndedForPrincipal).await?.len())
    }

    /// Ends all sessions of who is logged in here at once, this one too, as [`end`](Self::end) does, and
    /// answers how many: "log out everywhere".
    ///
    /// # Errors
    ///
    /// [`SessionError::NotLoggedIn`], and a failure of the storage.
    pub async fn end_all(&self) -> Result<usize, SessionError> {
        let _turn = self.turn().await?;
        let principal = self.logged_in().await?;
        let others = self.end_where(EndWhere::new(principal), EndReason::EndedForPrincipal).await?;
        // With the cookie; and this session, should its login not be committed.
        let own = self.destroy_current(EndReason::EndedForPrincipal).await?;
        Ok(others.len() + own.len())
    }

    /// Ends all sessions of a principal at once, and answers how many: for administrators, and when an
    /// account is disabled (OWASP ASVS 5.0, 7.4.2). Where one of them is the session of this request, use
    /// [`end_all`](Self::end_all).
    ///
    /// # Errors
    ///
    /// A failure of the storage.
    pub async fn end_sessions_of(&self, principal: &str) -> Result<usize, SessionError> {
        let _turn = self.turn().await?;
        let end = EndWhere::new(principal.to_owned());
        Ok(self.end_where(end, EndReason::EndedForPrincipal).await?.len())
    }

    /// Who is logged in. The caller holds the turn.
    async fn logged_in(&self) -> Result<String, SessionError> {
        self.look_up_for(SessionTarget::Current).await?;
        self.known_principal().ok_or_else(|| match self.error() {
            Some(LoadError::Rotated) => SessionError::Rotated,
            _ => SessionError::NotLoggedIn,
        })
    }

    async fn list(&self, principal: String) -> Result<Vec<SessionInfo>, SessionError> {
        let now = self.settings().now();
        let list = self.call(|settings| settings.driver.list(List { principal, now }));
        let current = self.loaded_ref();
        let info = |record: SessionRecord| SessionInfo {
            session: record.session,
            created: record.created.into(),
            last_used: record.last_used.into(),
            expires: record.expires.into(),
            note: record.note,
            is_current: Some(record.session) == current,
        };
        Ok(list.await?.into_iter().map(info).collect())
    }

    async fn end_where(
        &self,
        end: EndWhere,
        reason: EndReason,
    ) -> Result<Vec<SessionRef>, SessionError> {
        let ended = self.call(|settings| settings.driver.end_where(end)).await?;
        self.tell_ended(&ended, reason);
        Ok(ended)
    }

    /// After a login that is stored: ends the principal's oldest sessions, if there are too many now.
    pub(super) async fn evict(&self, record: &SessionRecord) -> Result<(), SessionError> {
        let settings = self.settings();
        let Some(SessionCap { most, on_too_many: OnTooMany::EvictOldest }) = settings.max_sessions
        else {
            return Ok(());
        };
        let Some(principal) = record.principal.clone() else {
            return Ok(());
        };
        let mut end = EndWhere::new(principal);
        end.keep = Some(Keep { newest: most.get(), now: settings.now() });
        match self.end_where(end, EndReason::Evicted).await {
            Ok(evicted) if evicted.contains(&record.session) => {
                let visitors = self.state().is_visitors();
                self.forget_session(visitors);
                Err(SessionError::Ended)
            }
            Ok(_) => Ok(()),
            Err(error) => {
                // The login itself is done; the next one catches up.
                tracing::warn!(%error, "a principal may have too many sessions");
                Ok(())
            }
        }
    }
}
