//! A layer over a storage, with a clock that a test moves, and requests through it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use web_session::{
    Clock, ManualClock, RandomError, RandomSource, SessionId, SessionLayer, SessionLayerBuilder,
    SessionManager, SessionTarget,
};

use crate::probe::Probe;
use crate::support::Storage;

/// A well-formed id that no session has.
pub const UNKNOWN: &str = "00112233445566778899aabbccddeeff";

pub const MILLISECOND: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);
pub const HOUR: Duration = Duration::from_secs(3_600);
pub const DAY: Duration = Duration::from_secs(86_400);

pub struct Rig {
    pub sessions: SessionLayer,
    pub clock: ManualClock,
    pub driver: Arc<Probe>,
    /// What has to stay alive as long as the driver.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "memory needs nothing"))]
    pub storage: Storage,
}

/// A layer with all defaults, but for the clock and without a cleanup by chance.
pub async fn rig(storage: Storage) -> Rig {
    rig_with(storage, |builder| builder).await
}

pub async fn rig_with(
    storage: Storage,
    configure: impl FnOnce(SessionLayerBuilder) -> SessionLayerBuilder,
) -> Rig {
    let driver = Arc::new(Probe::new(storage.driver.clone()));
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000));
    let builder = builder(&driver, &clock);
    let sessions = configure(builder).build().await.unwrap();
    // What `build` has asked is not the test's.
    driver.calls();
    Rig { sessions, clock, driver, storage }
}

fn builder(driver: &Arc<Probe>, clock: &ManualClock) -> SessionLayerBuilder {
    SessionLayer::builder(driver.clone()).clock(clock.clone()).cleanup_probability(0.0)
}

impl Rig {
    pub fn manager(&self) -> SessionManager {
        self.sessions.manager()
    }

    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Another layer over the same storage, with the same clock.
    pub fn builder(&self) -> SessionLayerBuilder {
        builder(&self.driver, &self.clock)
    }

    /// A session whose application `shop` has the number 1 under the key `n`.
    pub async fn session(&self) -> SessionId {
        self.session_for(self.manager().expire()).await
    }

    /// The same, with a lifetime of its own.
    pub async fn session_for(&self, lifetime: Duration) -> SessionId {
        let manager = self.manager();
        let id = manager.create_for(lifetime).await.unwrap();
        manager.store("shop").unwrap().set("n", &1).unwrap();
        manager.commit().await.unwrap();
        id
    }

    /// The manager of another request that has loaded the session.
    pub async fn loaded(&self, id: SessionId) -> SessionManager {
        let manager = self.manager();
        assert!(manager.load_id(&id.expose()).await.unwrap(), "{:?}", manager.error());
        manager
    }

    /// Whether a new request can load the session.
    pub async fn loads(&self, id: SessionId) -> bool {
        self.manager().load_id(&id.expose()).await.unwrap()
    }

    /// All that names a live session: its id, the text of it, and its reference.
    pub async fn names(&self, id: SessionId) -> [SessionTarget; 3] {
        let reference = self.loaded(id).await.session_ref().unwrap();
        [id.into(), id.expose().as_str().into(), reference.into()]
    }

    /// What a new request finds under the key `n` of the application `shop`.
    pub async fn n(&self, id: SessionId) -> Option<u64> {
        self.loaded(id).await.store("shop").unwrap().get("n").await.unwrap()
    }

    /// A request without a cookie through the layer.
    pub async fn visit<A: Answer>(
        &self,
        handler: impl AsyncFnOnce(SessionManager) -> A,
    ) -> Response<()> {
        request(&self.sessions, &[], handler).await
    }

    /// A request with the cookie of a session.
    pub async fn visit_with<A: Answer>(
        &self,
        id: SessionId,
        handler: impl AsyncFnOnce(SessionManager) -> A,
    ) -> Response<()> {
        request(&self.sessions, &[&cookie(id)], handler).await
    }
}

/// What a handler of a test may answer.
pub trait Answer {
    fn response(self) -> Response<()>;
}

impl Answer for () {
    fn response(self) -> Response<()> {
        Response::new(())
    }
}

impl Answer for StatusCode {
    fn response(self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self;
        response
    }
}

impl Answer for Response<()> {
    fn response(self) -> Response<()> {
        self
    }
}

/// A request through a layer, with one `Cookie` header for each of `cookies`.
pub async fn request<A: Answer>(
    sessions: &SessionLayer,
    cookies: &[&str],
    handler: impl AsyncFnOnce(SessionManager) -> A,
) -> Response<()> {
    let mut handler = Some(handler);
    let service = service_fn(move |request: Request<()>| {
        let session = request.extensions().get::<SessionManager>().unwrap().clone();
        let handler = handler.take().unwrap();
        async move { Ok::<_, Infallible>(handler(session).await.response()) }
    });
    let mut request = Request::new(());
    *request.headers_mut() = headers(cookies);
    sessions.layer(service).oneshot(request).await.unwrap()
}

/// The headers of a request, with one `Cookie` header for each of `cookies`.
pub fn headers(cookies: &[&str]) -> HeaderMap {
    let values = cookies.iter().map(|text| (COOKIE, HeaderValue::from_str(text).unwrap()));
    values.collect()
}

/// What the visitor of a session sends.
pub fn cookie(id: SessionId) -> String {
    format!("sessionID={}", id.expose().as_str())
}

/// The `Set-Cookie` values of a response.
pub fn set_cookies(response: &Response<()>) -> Vec<&str> {
    let values = response.headers().get_all(SET_COOKIE);
    values.iter().map(|value| value.to_str().unwrap()).collect()
}

/// The only `Set-Cookie` value of a response.
pub fn set_cookie(response: &Response<()>) -> &str {
    match *set_cookies(response) {
        [only] => only,
        ref others => panic!("{} cookies are set", others.len()),
    }
}

/// The id that the only `Set-Cookie` value of a response gives to the visitor.
pub fn given_id(response: &Response<()>) -> SessionId {
    let (pair, _) = set_cookie(response).split_once(';').unwrap();
    pair.strip_prefix("sessionID=").unwrap().parse().unwrap()
}

/// Whether the only `Set-Cookie` value of a response removes the visitor's cookie.
pub fn removes_cookie(response: &Response<()>) -> bool {
    is_removal(set_cookie(response))
}

pub fn is_removal(cookie: &str) -> bool {
    cookie.starts_with("sessionID=;") && attribute(cookie, "Max-Age") == Some("0")
}

/// The value of an attribute, empty if it has none.
pub fn attribute<'a>(cookie: &'a str, name: &str) -> Option<&'a str> {
    cookie.split("; ").skip(1).find_map(|attribute| {
        let (found, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        (found == name).then_some(value)
    })
}

/// A random source whose bytes are all the same, so that each id is the same too.
#[derive(Debug)]
pub struct Fixed(pub u8);

impl RandomSource for Fixed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        bytes.fill(self.0);
        Ok(())
    }
}
