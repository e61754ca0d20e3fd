//! [`SessionManager`], the handle that a request works with.
//!
//! `state.rs` and `application.rs` hold what the request knows and has changed, and never wait;
//! `commit.rs` makes changes last; `lifecycle.rs`, `ending.rs` and `environment.rs` are the calls of
//! `web.session` by theme, `login.rs` and `principal.rs` what goes beyond it.

mod application;
mod commit;
mod ending;
mod environment;
mod lifecycle;
mod login;
mod principal;
mod state;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

use application::Application;
pub use lifecycle::SessionTarget;
pub use principal::SessionInfo;
use state::{Current, Phase, State};

use crate::cookie::header::Presented;
use crate::cookie::{CookieConfig, MaxAge};
use crate::driver::{ApplicationName, DriverFuture, Load, Locator};
use crate::error::{LoadError, SessionError};
use crate::events::SessionEvent;
use crate::id::{SessionId, SessionRef};
use crate::random::Seed;
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
    /// The request's manager of the layer around this one.
    outer: Option<SessionManager>,
    state: Mutex<State>,
    /// Held while the driver works for this request, so that its calls do not overlap: two first
    /// reads share one load, and a commit is over before the next one begins.
    turn: tokio::sync::Mutex<()>,
}

/// The `Cookie` headers of a request, kept as they are until the session is used. HTTP/1.1 sends
/// one, for which nothing is allocated.
#[derive(Default)]
struct Cookies {
    first: Option<HeaderValue>,
    others: Vec<HeaderValue>,
}

impl Cookies {
    fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(COOKIE).iter().cloned();
        Self { first: values.next(), others: values.collect() }
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
    pub(crate) fn for_request(
        settings: &Arc<Settings>,
        headers: &HeaderMap,
        outer: Option<Self>,
    ) -> Self {
        Self::new(settings.clone(), Cookies::of(headers), outer, Phase::Open)
    }

    pub(crate) fn detached(settings: &Arc<Settings>) -> Self {
        Self::new(settings.clone(), Cookies::default(), None, Phase::Detached)
    }

    fn new(settings: Arc<Settings>, cookies: Cookies, outer: Option<Self>, phase: Phase) -> Self {
        let state = Mutex::new(State::new(phase));
        let turn = tokio::sync::Mutex::new(());
        Self { request: Arc::new(Request { settings, cookies, outer, state, turn }) }
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
        std::iter::successors(self.request.outer.as_ref(), |manager| manager.request.outer.as_ref())
    }

    /// Fails if two of the layers around the handler have the same cookie: they would overwrite each
    /// other's.
    pub(crate) fn check_names(&self) -> Result<(), SessionError> {
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
        Ok(self.request.turn.lock().await)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.request.state.lock()
    }

    /// The ids that the request presented. From here on its answer depends on them.
    fn presented(&self) -> Presented {
        self.state().consulted = true;
        let Cookies { first, others } = &self.request.cookies;
        self.settings().read_cookies(first.iter().chain(others))
    }

    /// Calls the driver for this request; the first call may start an automatic cleanup.
    fn call<T>(&self, call: impl FnOnce(&Settings) -> DriverFuture<T>) -> DriverFuture<T> {
        let settings = self.settings();
        let drawn = std::mem::replace(&mut self.state().cleanup_drawn, true);
        if !drawn {
            settings.cleanup.draw(settings);
        }
        call(settings)
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
        if self.state().is_fetched(name) {
            return Ok(());
        }
        let Some(session) = self.loaded_ref() else {
            return self.look_up(&self.presented(), Some(name), true).await;
        };
        let now = self.settings().now();
        let found = self.call(|settings| {
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
        let now = self.settings().now();
        let found = self.call(|settings| {
            settings.driver.load(Load {
                sessions: presented.ids.iter().map(|id| Locator::Key(id.key())).collect(),
                application: application.cloned(),
                limits: settings.limits,
                now,
            })
        });
        let found = found.await?;
        let judged = state::judge(presented, found, now, self.settings().retired(now));
        if let (Err(reason), true, Some(id)) = (&judged, visitors, presented.ids.first()) {
            self.tell(*reason, id);
        }
        self.state().resolve(judged, application, visitors);
        Ok(())
    }

    /// Tells the listener that the visitor presented an id that is none, once a request, and not of one
    /// that this request has seen alive or ended itself.
    fn tell(&self, reason: LoadError, id: &SessionId) {
        let key = id.key();
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
        match &self.state().current {
            Current::Loaded { record, .. } => Some(record.session),
            _ => None,
        }
    }

    // What `web.session` has as member variables

    /// The id of the session, `None` before it is loaded or created.
    pub fn session_id(&self) -> Option<SessionId> {
        match self.state().current {
            Current::Loaded { id, .. } => Some(id),
            _ => None,
        }
    }

    /// The public reference of the session, `None` before it is loaded or created.
    pub fn session_ref(&self) -> Option<SessionRef> {
        self.loaded_ref()
    }

    /// How long a new session may live, unless it is created with a time of its own.
    pub fn expire(&self) -> Duration {
        self.settings().expire
    }

    /// When the session expires if it is not used again, `None` before it is loaded or created. Shows an
    /// uncommitted [`set_expire`](Self::set_expire).
    pub fn expire_time(&self) -> Option<SystemTime> {
        let state = self.state();
        match &state.current {
            Current::Loaded { record, .. } => {
                let mut record = record.clone();
                state.change().apply_to_created(&mut record);
                Some(record.expires.into())
            }
            _ => None,
        }
    }

    /// Whether this request created the session.
    pub fn created(&self) -> bool {
        self.state().created
    }

    /// Why the session was not loaded, `None` before that is known and if it was.
    pub fn error(&self) -> Option<LoadError> {
        self.state().error
    }

    /// The configuration of the cookie.
    pub fn cookie(&self) -> &CookieConfig {
        &self.settings().cookie
    }

    /// The seed of the session ids.
    pub fn seed(&self) -> &Seed {
        &self.settings().seed
    }

    /// How likely this request was to start a cleanup, from 0 to 1.
    pub fn cleanup_probability(&self) -> f64 {
        self.settings().cleanup_probability
    }

    // Cookies

    /// The id in the session cookie of `headers`, if there is exactly one that is well-formed.
    /// Whether a session has it is not looked up.
    pub fn cookie_session_id(&self, headers: &HeaderMap) -> Option<SessionId> {
        match *self.settings().presented(headers).ids {
            [id] => Some(id),
            _ => None,
        }
    }

    /// The `Set-Cookie` pairs that the layer is going to send.
    pub fn response_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.state().queue.waiting()
    }

    /// Takes the queued pairs over: the layer no longer sends them, whoever took them has to.
    #[must_use = "what is taken is not sent by the layer"]
    pub fn take_response_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.state().queue.take()
    }

    /// The pairs that were sent.
    pub fn sent_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.state().queue.sent()
    }

    /// Appends the queued pairs to `headers`, beside what is there, and in place of what was taken or
    /// sent before. The layer does so on each response; outside a request it is up to the caller.
    pub fn send_cookie_headers(&self, headers: &mut HeaderMap) {
        self.state().queue.send(headers);
    }

    /// Queues the cookie of the session again, with the configured max-age.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotLoaded`] without a session, [`SessionError::ResponseStarted`] after the
    /// response.
    pub fn set_cookie(&self) -> Result<(), SessionError> {
        let value = self.set_cookie_string(None)?;
        self.queue(value)?;
        if let Current::Loaded { visitors, .. } = &mut self.state().current {
            // From here on, whoever had it before.
            *visitors = true;
        }
        Ok(())
    }

    /// The `Set-Cookie` value for the session, with `max_age`, else the session's
    /// [own](Self::set_cookie_lifetime) or the configured one.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotLoaded`] without a session, [`SessionError::Rotated`] under an id that is
    /// retired.
    pub fn set_cookie_string(
        &self,
        max_age: impl Into<Option<MaxAge>>,
    ) -> Result<HeaderValue, SessionError> {
        let settings = self.settings();
        match &self.state().current {
            Current::Loaded { id, record, .. } if record.key != id.key() => {
                Err(SessionError::Rotated)
            }
            Current::Loaded { id, record, .. } => {
                Ok(settings.set_cookie(id, record, max_age.into(), settings.now()))
            }
            _ => Err(SessionError::NotLoaded),
        }
    }

    /// Queues a cookie that makes the user agent forget the session's. The session itself stays:
    /// see [`end`](Self::end).
    ///
    /// # Errors
    ///
    /// [`SessionError::ResponseStarted`] after the response, [`SessionError::Rotated`] when the presented id
    /// is known to be retired.
    pub fn delete_cookie(&self) -> Result<(), SessionError> {
        self.queue(self.delete_cookie_string())
    }

    /// The `Set-Cookie` value that makes the user agent forget the session's cookie: the same name,
    /// path, domain and flags, `Max-Age=0` and an `Expires` in the past.
    pub fn delete_cookie_string(&self) -> HeaderValue {
        self.settings().cookie.removal()
    }

    fn queue(&self, value: HeaderValue) -> Result<(), SessionError> {
        self.check_names()?;
        let mut state = self.state();
        if state.phase == Phase::ResponseStarted {
            return Err(SessionError::ResponseStarted);
        }
        if state.error == Some(LoadError::Rotated) {
            // It would replace the cookie that the visitor has just been given.
            return Err(SessionError::Rotated);
        }
        state.queue.push(value);
        Ok(())
    }

    // For the layer

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
                self.touch().await;
                Ok(())
            }
            (false, _) => Ok(()),
        };
        if let Err(error) = self.settle_rotation().await {
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
        let for_outer = self.request.outer.as_ref().and_then(|_| state.queue.last_sent().cloned());
        Sent { cookie: state.queue.has_left(), consulted: state.consulted, for_outer }
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
