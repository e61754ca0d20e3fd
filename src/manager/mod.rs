//! [`SessionManager`], the handle that a request works with.
//!
//! `state.rs` and `application.rs` hold what the request knows and has changed, and never wait;
//! `commit.rs` makes changes last; `lifecycle.rs`, `ending.rs`, `environment.rs`, `cookies.rs` and
//! `getters.rs` are the calls and member variables of `web.session` by theme, `login.rs` and
//! `principal.rs` what goes beyond it.

mod application;
mod commit;
mod cookies;
mod ending;
mod environment;
mod getters;
mod lifecycle;
mod login;
mod principal;
mod state;

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use application::Application;
pub use lifecycle::SessionTarget;
pub use principal::SessionInfo;
use state::{Phase, State};

use crate::clock::Timestamp;
use crate::cookie::header::Presented;
use crate::driver::{ApplicationName, DriverFuture, Load, Locator};
use crate::error::{LoadError, SessionError};
use crate::events::SessionEvent;
use crate::id::{KnownId, SessionKey, SessionRef};
use crate::settings::Settings;
use crate::store::{SessionStore, Store};
use crate::sync::{Mutex, MutexGuard};

/// How often a fresh id is drawn, and an item is updated, before the operation is given up.
pub(crate) const MAX_ATTEMPTS: usize = 100;

/// The handle that a request works with: loads, creates and ends its session, and gives access to
/// the stores of its applications.
///
/// The layer puts one into each request's extensions; with axum a handler takes it as an argument.
/// Clones are handles of the same request and share all that it knows. Nothing is looked up and no
/// cookie is sent unless it is used.
///
/// # What lasts when
///
/// Changes through a [`SessionStore`], [`login`](Self::login), [`rotate`](Self::rotate), notes, and
/// [`set_expire`](Self::set_expire) of the request's own session wait for the **commit**: the layer's,
/// after the handler has answered with anything but a 5xx, or an explicit [`commit`](Self::commit).
/// Everything else is done at once.
///
/// # Handles that are used at the same time
///
/// The calls of one request that reach the storage go one after another. A future of one that is
/// kept and not polled holds up the others, and the layer's commit with them. Changes that are made
/// while a commit or an update is under way come after it.
#[derive(Clone)]
pub struct SessionManager {
    request: Arc<Request>,
}

/// What the handles of one request share.
struct Request {
    settings: Arc<Settings>,
    cookies: Cookies,
    /// Whether the answer to this request depends on its session.
    consulted: AtomicBool,
    cleanup_drawn: AtomicBool,
    /// The request's manager of the layer around this one.
    outer: OnceLock<SessionManager>,
    state: Mutex<State>,
    /// Held while the driver works for this request, so that its calls do not overlap: two first
    /// reads share one load, and a commit is over before the next one begins.
    turn: tokio::sync::Mutex<()>,
}

/// The session cookies of a request.
enum Cookies {
    /// Read at once: that is quicker than to keep the headers, whose clones may allocate.
    Read(Presented),
    /// Signed ones: the headers are kept as they are until the session is used. HTTP/1.1 sends one.
    Signed(SmallVec<[HeaderValue; 1]>),
}

impl Cookies {
    fn of(headers: &HeaderMap, settings: &Settings) -> Self {
        let values = headers.get_all(COOKIE);
        if settings.signer.signs() {
            Self::Signed(values.iter().cloned().collect())
        } else {
            Self::Read(settings.read_cookies(values))
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.state.get_mut().has_changes() {
            tracing::warn!(
                "session changes were dropped: after the response, and outside a request, they \
                 need `commit`"
            );
        }
    }
}

impl SessionManager {
    pub(crate) fn for_request(settings: &Arc<Settings>, headers: &HeaderMap) -> Self {
        Self::new(settings.clone(), Cookies::of(headers, settings), Phase::Open)
    }

    /// Notes the manager of the layer around this one, before anything is done with this one.
    pub(crate) fn set_outer(&self, outer: Self) {
        // Called once.
        let _ = self.request.outer.set(outer);
    }

    pub(crate) fn detached(settings: &Arc<Settings>) -> Self {
        let cookies = Cookies::Read(Presented::default());
        Self::new(settings.clone(), cookies, Phase::Detached)
    }

    fn new(settings: Arc<Settings>, cookies: Cookies, phase: Phase) -> Self {
        Self {
            request: Arc::new(Request {
                settings,
                cookies,
                consulted: AtomicBool::new(false),
                cleanup_drawn: AtomicBool::new(false),
                outer: OnceLock::new(),
                state: Mutex::new(State::new(phase)),
                turn: tokio::sync::Mutex::new(()),
            }),
        }
    }

    /// The manager of a layer around the one that this manager is of, by the name of its cookie.
    ///
    /// Layers with different cookie names can be stacked, such as one with short sessions for the
    /// administration inside one with long ones for the whole site. A handler gets the manager of the
    /// innermost and reaches the others by this. If two layers around a handler have the same name, each
    /// call fails with [`SessionError::SameCookieName`].
    ///
    /// Give each layer an environment of its own: layers on the same one share their sessions, and the id
    /// of the one opens the other. Each layer commits by itself, the innermost first. Where its commit fails
    /// the layers around see the response that took the handler's place, and keep or drop their changes by
    /// its status.
    pub fn outer(&self, cookie_name: &str) -> Option<Self> {
        self.around().find(|manager| manager.cookie().name() == cookie_name).cloned()
    }

    /// The managers of the layers around, from the inside.
    fn around(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(self.request.outer.get(), |manager| manager.request.outer.get())
    }

    /// Fails if two of the layers around the handler have the same cookie: they would overwrite each
    /// other's.
    pub(crate) fn check_names(&self) -> Result<(), SessionError> {
        if self.request.outer.get().is_none() {
            return Ok(());
        }
        let is_around = |manager: &Self| manager.outer(manager.cookie().name()).is_some();
        match std::iter::once(self).chain(self.around()).any(is_around) {
            true => Err(SessionError::SameCookieName),
            false => Ok(()),
        }
    }

    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.request.settings
    }

    /// Waits until no other call of this request works.
    async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, SessionError> {
        self.check_names()?;
        // Most often nobody else has it, and there is no need for a future that could wait.
        match self.request.turn.try_lock() {
            Ok(turn) => Ok(turn),
            Err(_) => Ok(self.request.turn.lock().await),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.request.state.lock()
    }

    /// The ids that the request presented. From here on its answer depends on them.
    fn presented(&self) -> Cow<'_, Presented> {
        self.request.consulted.store(true, Ordering::Relaxed);
        match &self.request.cookies {
            Cookies::Read(presented) => Cow::Borrowed(presented),
            Cookies::Signed(headers) => Cow::Owned(self.settings().read_cookies(headers)),
        }
    }

    /// Calls the driver for this request; the first call may start an automatic cleanup.
    fn call<T>(&self, call: impl FnOnce(&Settings) -> DriverFuture<T>) -> DriverFuture<T> {
        self.draw_cleanup(|| self.settings().now());
        call(self.settings())
    }

    /// [`call`](Self::call) at a time that is known already.
    fn call_at<T>(
        &self,
        now: Timestamp,
        call: impl FnOnce(&Settings) -> DriverFuture<T>,
    ) -> DriverFuture<T> {
        self.draw_cleanup(|| now);
        call(self.settings())
    }

    fn draw_cleanup(&self, now: impl FnOnce() -> Timestamp) {
        if !self.request.cleanup_drawn.swap(true, Ordering::Relaxed) {
            self.settings().cleanup.draw(self.settings(), now());
        }
    }

    // The stores

    /// The store of an application whose name is known when the program is compiled.
    pub fn app<A: crate::Application>(&self) -> Store<A> {
        Store::new(self.clone())
    }

    /// The store of an application.
    ///
    /// # Errors
    ///
    /// [`SessionError::InvalidApplication`] unless the name has 1 to 255 characters from
    /// `a-z A-Z 0-9 - _ .`
    pub fn store(&self, application: &str) -> Result<SessionStore, SessionError> {
        let name = ApplicationName::new(application.to_owned())?;
        Ok(SessionStore::new(self.clone(), name))
    }

    /// Works on an application after its items have been fetched, if there is a session.
    pub(crate) async fn read<T>(
        &self,
        name: &ApplicationName,
        f: impl FnOnce(&mut Application) -> T,
    ) -> Result<T, SessionError> {
        loop {
            {
                let mut state = self.state();
                if state.is_fetched(name) {
                    return Ok(f(state.application(name)));
                }
            }
            let _turn = self.turn().await?;
            self.fetch(name).await?;
        }
    }

    /// Works on an application without waiting.
    pub(crate) fn write<T>(
        &self,
        name: &ApplicationName,
        f: impl FnOnce(&mut Application) -> T,
    ) -> T {
        f(self.state().application(name))
    }

    /// Fetches an application's items, and the session first if it has not been looked up. The
    /// caller holds the turn.
    async fn fetch(&self, name: &ApplicationName) -> Result<(), SessionError> {
        let loaded = {
            let mut state = self.state();
            if state.is_fetched(name) {
                return Ok(());
            }
            state.loaded_ref()
        };
        let Some(session) = loaded else {
            return self.look_up(&self.presented(), Some(name), true).await;
        };
        let now = self.settings().now();
        let found = self.call_at(now, |settings| {
            settings.driver.load(Load {
                sessions: vec![Locator::Ref(session)],
                application: Some(name.clone()),
                limits: settings.limits,
                now,
            })
        });
        match found.await?.pop() {
            Some(found) if found.session.is_live(now) => {
                self.state().application(name).stored = Some(found.items);
                Ok(())
            }
            _ => Err(SessionError::Ended),
        }
    }

    /// Looks up ids and takes the session that they name. The caller holds the turn, and says
    /// whether they are the visitor's.
    async fn look_up(
        &self,
        presented: &Presented,
        application: Option<&ApplicationName>,
        visitors: bool,
    ) -> Result<(), SessionError> {
        if presented.ids.is_empty() {
            self.state().no_session(Some(presented.reason()));
            return Ok(());
        }
        let ids: SmallVec<[KnownId; 1]> = presented.ids.iter().map(|id| (*id).into()).collect();
        let now = self.settings().now();
        let found = self
            .call_at(now, |settings| {
                settings.driver.load(Load {
                    sessions: ids.iter().map(|id| Locator::Key(id.key())).collect(),
                    application: application.cloned(),
                    limits: settings.limits,
                    now,
                })
            })
            .await?;
        let judged = state::judge(&ids, found, now, self.settings().retired(now));
        if let (Err(reason), true, Some(id)) = (&judged, visitors, ids.first()) {
            self.tell(*reason, id.key());
        }
        self.state().resolve(judged, application, visitors);
        Ok(())
    }

    /// Tells the listener that the visitor presented an id that is none, once a request, and not of one
    /// that this request has seen alive or ended itself.
    fn tell(&self, reason: LoadError, key: SessionKey) {
        let event = match reason {
            LoadError::NotFound => SessionEvent::Unknown { key },
            LoadError::Expired => SessionEvent::Expired { key },
            LoadError::Rotated => SessionEvent::Retired { key },
            LoadError::Ambiguous => SessionEvent::Ambiguous { key },
            LoadError::NoCookie | LoadError::Malformed => return,
        };
        let judged = std::mem::replace(&mut self.state().judged, true);
        if !judged {
            self.settings().raise(event);
        }
    }

    fn loaded_ref(&self) -> Option<SessionRef> {
        self.state().loaded_ref()
    }

    // For the layer

    /// Whether the request has not used its session and nobody is left who could: quicker than
    /// [`close`](Self::close), which is right without it.
    pub(crate) fn is_untouched(&mut self) -> bool {
        Arc::get_mut(&mut self.request).is_some_and(|request| {
            !*request.consulted.get_mut() && request.state.get_mut().is_untouched()
        })
    }

    /// Whether there are changes that a commit would make last.
    pub(crate) fn has_changes(&self) -> bool {
        self.state().has_changes()
    }

    /// Ends the request for its response, unless it has to [`finish`](Self::finish) first: there is something
    /// to store, or a commit is under way or was given up whose cookie the visitor needs. A session that it
    /// creates too late is removed again; a fresh id is not taken back.
    pub(crate) fn close(&self, commits: bool) -> bool {
        if commits && self.has_touch_due() {
            return false;
        }
        let mut state = self.state();
        let waits = commits && (state.has_changes() || state.committing);
        if waits || state.next_id.is_some() {
            return false;
        }
        state.abandon();
        true
    }

    /// Stores what a request leaves behind, if it `commits`: its changes, or that it has used the session.
    /// Then ends the request, before another of its commits can begin.
    pub(crate) async fn finish(&self, commits: bool) -> Result<(), SessionError> {
        let _turn = self.turn().await?;
        let outcome = match (commits, self.has_changes()) {
            (true, true) => self.commit_in_turn().await,
            (true, false) => {
                Box::pin(self.touch()).await;
                Ok(())
            }
            (false, _) => Ok(()),
        };
        // Few requests get to it, so its future is in a box of its own: that of a plain commit is smaller.
        if self.state().next_id.is_some()
            && let Err(error) = Box::pin(self.settle_rotation()).await
        {
            tracing::warn!(%error, "whether a session has a fresh id could not be learned");
        }
        if commits {
            self.state().phase = Phase::ResponseStarted;
        } else {
            self.abandon();
        }
        outcome
    }

    /// Ends the request: what is still uncommitted is dropped, and no cookie can be sent any more.
    pub(crate) fn abandon(&self) {
        self.state().abandon();
    }

    /// Ends the request with a response: sends the queue, and tells what caches have to know.
    pub(crate) fn respond(&self, headers: &mut HeaderMap) -> Sent {
        let mut state = self.state();
        state.phase = Phase::ResponseStarted;
        state.queue.send(headers);
        let for_outer = self.request.outer.get().and_then(|_| state.queue.last_sent().cloned());
        Sent {
            cookie: state.queue.has_left(),
            consulted: self.request.consulted.load(Ordering::Relaxed),
            for_outer,
        }
    }
}

/// What a response has to do with the session.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// Whether a session cookie is set, by the layer or by whoever took it over.
    pub(crate) cookie: bool,
    /// Whether the response depends on the session.
    pub(crate) consulted: bool,
    /// The cookie, where a layer around may replace the response.
    pub(crate) for_outer: Option<HeaderValue>,
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager")
            .field("session", &self.loaded_ref())
            .finish_non_exhaustive()
    }
}
