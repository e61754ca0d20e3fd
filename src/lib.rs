//! Server-side sessions for `tower` services and `axum` routers.
//!
//! A [`SessionLayer`] gives each request a [`SessionManager`]: the handle of the visitor's session,
//! which is looked up when it is first used. What the visitor's session remembers lies in stores,
//! one for each application of the site. Changes are committed after the handler has answered.
//!
//! ```
//! use axum::{Router, routing::{get, post}};
//! use web_session::{Application, AutoCreate, SessionError, SessionLayer, SessionManager, Store};
//!
//! struct Shop;
//!
//! impl Application for Shop {
//!     const NAME: &'static str = "shop";
//! }
//!
//! async fn visit(shop: Store<Shop>) -> Result<String, SessionError> {
//!     let visits = shop.update("visits", |n: Option<u64>| n.unwrap_or(0) + 1).await?;
//!     let name: Option<String> = shop.get("name").await?;
//!     Ok(format!("visit {visits} of {}", name.as_deref().unwrap_or("a stranger")))
//! }
//!
//! async fn rename(shop: Store<Shop>, name: String) -> Result<(), SessionError> {
//!     shop.set("name", &name)
//! }
//!
//! async fn logout(session: SessionManager) -> Result<(), SessionError> {
//!     session.end().await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sessions = SessionLayer::builder(web_session::connect("memory:").await?)
//!     .auto_create(AutoCreate::Missing)
//!     .build()
//!     .await?; // all of the configuration is checked here
//! let app: Router = Router::new()
//!     .route("/", get(visit))
//!     .route("/name", post(rename))
//!     .route("/logout", post(logout))
//!     .layer(sessions);
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! | for | see |
//! |---|---|
//! | adding sessions to a service | [`SessionLayer`], [`SessionLayerBuilder`], [`connect`] |
//! | reading and writing what a session holds | [`SessionStore`], [`Store`] |
//! | loading, creating, expiring and ending sessions | [`SessionManager`] |
//! | logins and logouts | [`login`](SessionManager::login), [`principal`](SessionManager::principal), [`end`](SessionManager::end), [`end_all`](SessionManager::end_all) |
//! | the sessions of one user | [`sessions`](SessionManager::sessions), [`SessionInfo`], [`set_note`](SessionManager::set_note), [`end_one`](SessionManager::end_one), [`end_others`](SessionManager::end_others), [`max_sessions`](SessionLayerBuilder::max_sessions) |
//! | fresh ids | [`rotate`](SessionManager::rotate) |
//! | how long sessions live | [`expire`](SessionLayerBuilder::expire), [`idle_timeout`](SessionLayerBuilder::idle_timeout), [`AssuranceLevel`], [`set_expire`](SessionManager::set_expire) |
//! | what the cookie looks like | [`CookieConfig`], [`set_cookie_lifetime`](SessionManager::set_cookie_lifetime), `signed` (feature `signed`) |
//! | several layers around one handler | [`outer`](SessionManager::outer) |
//! | learning what happens to sessions | [`Listener`], [`SessionEvent`] |
//! | removing expired sessions | [`cleanup_probability`](SessionLayerBuilder::cleanup_probability), [`spawn_cleanup`](SessionLayer::spawn_cleanup), [`SessionManager::cleanup`] |
//! | what can go wrong | [`SessionError`], [`LoadError`], [`BuildError`], [`ConnectError`] |
//! | where sessions live, and drivers of your own | [`driver`], [`MemoryDriver`], `SqliteDriver`, `PostgresDriver`, `MySqlDriver`, `RedisDriver` |
//! | tests without sleeping | [`ManualClock`] |
//!
//! # Cargo features
//!
//! | feature | default | gives |
//! |---|---|---|
//! | `sqlite` | yes | `SqliteDriver`, and `sqlite:` URLs |
//! | `postgres` | no | `PostgresDriver`, and `postgres:` URLs |
//! | `mysql` | no | `MySqlDriver`, and `mysql:` and `mariadb:` URLs |
//! | `redis` | no | `RedisDriver`, and `redis:`, `rediss:`, `redis-cluster:` and `rediss-cluster:` URLs |
//! | `axum` | yes | [`SessionManager`] and [`Store`] as extractors, [`SessionError`] as a response |
//! | `signed` | no | [`signed`](SessionLayerBuilder::signed): signatures of session cookies |
//! | `conformance` | no | `driver::conformance`, the suite that every driver is held to |
//!
//! # Names in other crates
//!
//! | here | in `tower-sessions` |
//! |---|---|
//! | session, [`SessionManager`] (the request's handle) | `Session` |
//! | [`SessionLayer`] | `SessionManagerLayer` |
//! | [`Driver`] (one storage medium) | `SessionStore`, a *store* |
//! | [`SessionStore`] (the items of one application) | the key/value methods of `Session` |
//! | commit | `save` |
//! | [`rotate`](SessionManager::rotate), at the commit | `cycle_id` |
//! | [`end`](SessionManager::end) | `flush` |
//! | [`expire`](SessionLayerBuilder::expire) and [`idle_timeout`](SessionLayerBuilder::idle_timeout) | `Expiry` |
//! | [`cleanup`](SessionManager::cleanup), [`spawn_cleanup`](SessionLayer::spawn_cleanup) | `delete_expired`, `continuously_delete_expired` |
//!
//! # What lasts when
//!
//! Changes of items wait for the commit that the layer does when the handler has answered, unless
//! with a 5xx; [`update`](SessionStore::update), [`create`](SessionManager::create),
//! [`end`](SessionManager::end) and [`destroy`](SessionManager::destroy) are done at once. A commit
//! is applied all or none. If it cannot be done, the visitor gets a 503 or a 409 instead of the
//! handler's response.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod assurance;
mod cleanup;
mod clock;
mod cookie;
pub mod driver;
mod error;
mod events;
#[cfg(feature = "axum")]
mod extract;
mod id;
mod layer;
mod manager;
mod random;
mod settings;
mod store;
mod sync;

pub use self::cookie::{CookieConfig, MaxAge, SameSite};
pub use assurance::AssuranceLevel;
pub use cleanup::{CleanupHandle, CleanupReport};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use driver::{
    ApplicationName, ConnectError, Driver, InvalidApplication, Limits, MemoryDriver,
    MemoryDriverBuilder, OnMissing, WhenFull, connect,
};
#[cfg(feature = "mysql")]
#[cfg_attr(docsrs, doc(cfg(feature = "mysql")))]
pub use driver::{MySqlDriver, MySqlDriverBuilder};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use driver::{PostgresDriver, PostgresDriverBuilder};
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use driver::{RedisDriver, RedisDriverBuilder};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use driver::{SqliteDriver, SqliteDriverBuilder};
pub use error::{
    BuildError, ConfigError, JsonError, LoadError, OnWarning, SessionError, SessionWarning,
};
pub use events::{EndReason, Listener, SessionEvent};
pub use id::{ExposedId, MalformedId, SessionId, SessionKey, SessionRef};
pub use layer::{
    AutoCreate, CommitFailure, EmptyResponse, ResponseFn, ResponseFuture, SessionLayer,
    SessionLayerBuilder, SessionService,
};
pub use manager::{SessionInfo, SessionManager, SessionTarget};
pub use random::{OsRandom, RandomError, RandomSource, Seed};
pub use settings::{CacheControl, OnTooMany, Vary};
pub use store::{Application, SessionStore, Store};

#[cfg(all(doctest, feature = "axum", feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(test, shuttle))]
extern crate self as web_session;
#[cfg(all(test, shuttle))]
#[path = "../tests/model/main.rs"]
mod model;
