//! Fresh ids, and logins: what to do when a visitor's rights change.

use super::SessionManager;
use super::lifecycle::SessionTarget;
use super::state::{Current, Phase};
use crate::cookie::MaxAge;
use crate::driver::SessionChange;
use crate::error::{LoadError, SessionError};

/// The longest name of a principal, in bytes of UTF-8.
const MAX_PRINCIPAL: usize = 255;

/// The longest note, in bytes of UTF-8.
const MAX_NOTE: usize = 1024;

impl SessionManager {
    /// Gives the session a fresh id, with the commit; all of its data stays. To be called whenever
    /// the visitor's rights change (OWASP ASVS 5.0, 7.2.4); [`login`](Self::login) does it by itself.
    ///
    /// The visitor's cookie is replaced with the response. If the request's changes are dropped,
    /// the old id stays valid. When the commit is done the old id is retired: for
    /// [`retired_for`](crate::SessionLayerBuilder::retired_for) a request with it finds no session
    /// ([`LoadError::Rotated`]), its writes are a 409, and it is sent no cookie that would replace the new
    /// one. A request that has loaded the session under the old id still commits to it.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotLoaded`] without a session, [`SessionError::ResponseStarted`] when the
    /// cookie can no longer be sent, [`SessionError::Rotated`] under an id that is retired, and a failure
    /// of the storage. If two requests rotate the same session at the same time, the commit of one of
    /// them is a [`SessionError::Rotated`].
    pub async fn rotate(&self) -> Result<(), SessionError> {
        let _turn = self.turn().await?;
        self.look_up_for(SessionTarget::Current).await?;
        if !self.is_loaded() {
            return Err(self.no_session_error());
        }
        self.may_rotate()?;
        self.state().rotate();
        Ok(())
    }

    fn may_rotate(&self) -> Result<(), SessionError> {
        let state = self.state();
        match &state.current {
            Current::Loaded { id, record, .. } if record.key != id.key() => {
                Err(SessionError::Rotated)
            }
            _ if state.phase == Phase::ResponseStarted => Err(SessionError::ResponseStarted),
            _ => Ok(()),
        }
    }

    /// Why there is no session for a call that needs one.
    fn no_session_error(&self) -> SessionError {
        match self.state().error {
            Some(LoadError::Rotated) => SessionError::Rotated,
            _ => SessionError::NotLoaded,
        }
    }

    /// Logs the visitor in as `principal`, with the commit: the session gets a fresh id, as
    /// [`rotate`](Self::rotate) gives it, or is created if there is none, and belongs to the principal
    /// from then on. What a visitor had before (a shopping cart) stays, and so does what another
    /// principal has left in the session: [`end`](Self::end) it first where that must not be seen. Its
    /// absolute end stays as well, until [`set_expire`](Self::set_expire) moves it.
    ///
    /// `principal` is whatever the application calls its users: 1 to 255 bytes of UTF-8 without NUL,
    /// compared byte by byte. [`end`](Self::end) is the logout.
    ///
    /// ```
    /// # use web_session::{MemoryDriver, SessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), web_session::SessionError> {
    /// # let session = SessionLayer::new(MemoryDriver::new()).manager();
    /// session.login("user-42").await?;
    /// session.set_note("Firefox on Linux")?;
    /// # session.commit().await?;
    /// assert_eq!(session.principal().await?.as_deref(), Some("user-42"));
    /// assert_eq!(session.sessions().await?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SessionError::InvalidPrincipal`], [`SessionError::Rotated`] under an id that is retired,
    /// [`SessionError::ResponseStarted`], and a failure of the storage. The commit fails with
    /// [`SessionError::TooManySessions`] where
    /// [`max_sessions`](crate::SessionLayerBuilder::max_sessions) refuses.
    pub async fn login(&self, principal: impl Into<String>) -> Result<(), SessionError> {
        let principal = principal.into();
        check_principal(&principal)?;
        let _turn = self.turn().await?;
        self.look_up_for(SessionTarget::Current).await?;
        if self.is_loaded() {
            self.may_rotate()?;
            self.state().rotate();
        } else {
            self.may_create()?;
        }
        let change = SessionChange { principal: Some(Some(principal)), ..SessionChange::default() };
        self.state().set_change(change);
        Ok(())
    }

    /// Who is logged in, `None` if nobody is. Shows an uncommitted [`login`](Self::login).
    ///
    /// # Errors
    ///
    /// A failure of the storage.
    pub async fn principal(&self) -> Result<Option<String>, SessionError> {
        let _turn = self.turn().await?;
        self.look_up_for(SessionTarget::Current).await?;
        Ok(self.known_principal())
    }

    pub(super) fn known_principal(&self) -> Option<String> {
        let state = self.state();
        if let Some(principal) = state.change().principal {
            return principal;
        }
        match &state.current {
            Current::Loaded { record, .. } => record.principal.clone(),
            _ => None,
        }
    }

    /// Notes something with the session for the [list](Self::sessions) of a principal's sessions, such
    /// as the name of the device, with the commit; `None` removes the note. At most 1024 bytes of UTF-8
    /// without NUL. Visitors may see it.
    ///
    /// # Errors
    ///
    /// [`SessionError::InvalidNote`]; [`SessionError::NotLoaded`] unless a session is loaded, or a
    /// [`login`](Self::login) is going to create one.
    pub fn set_note<'a>(&self, note: impl Into<Option<&'a str>>) -> Result<(), SessionError> {
        let note = note.into();
        if note.is_some_and(|note| note.len() > MAX_NOTE || note.contains('\0')) {
            return Err(SessionError::InvalidNote);
        }
        let note = Some(note.map(str::to_owned));
        self.change_record(SessionChange { note, ..SessionChange::default() })
    }

    /// How long the visitor's user agent keeps the cookie of this session, from now on: "remember me", or
    /// not. It is stored with the session at the commit, the cookie is sent again, and later cookies of
    /// the session follow it in place of the [configured](crate::CookieConfig::with_max_age) one.
    ///
    /// It does not prolong the session itself: see [`set_expire`](Self::set_expire).
    ///
    /// # Errors
    ///
    /// [`SessionError::CookieLifetime`] beyond 400 days; [`SessionError::NotLoaded`] as
    /// [`set_note`](Self::set_note).
    pub fn set_cookie_lifetime(&self, lifetime: MaxAge) -> Result<(), SessionError> {
        if lifetime.is_too_long() {
            return Err(SessionError::CookieLifetime);
        }
        let cookie_lifetime = Some(Some(lifetime.to_stored()));
        self.change_record(SessionChange { cookie_lifetime, ..SessionChange::default() })
    }

    fn change_record(&self, change: SessionChange) -> Result<(), SessionError> {
        let mut state = self.state();
        let loaded = matches!(state.current, Current::Loaded { .. });
        if !loaded && !state.logs_in() {
            return Err(SessionError::NotLoaded);
        }
        state.set_change(change);
        Ok(())
    }
}

fn check_principal(principal: &str) -> Result<(), SessionError> {
    if (1..=MAX_PRINCIPAL).contains(&principal.len()) && !principal.contains('\0') {
        Ok(())
    } else {
        Err(SessionError::InvalidPrincipal)
    }
}
