//! What a case works with: an empty environment of one storage, a clock that it moves, and what happened.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use web_session::{
    Driver, ManualClock, OnMissing, SessionEvent, SessionLayer, SessionLayerBuilder,
    SessionManager, SessionRef,
};

use crate::servers;
use crate::visitor::{Answer, Shop, request_of, send};
use crate::wrappers::Counting;

pub type Case = (&'static str, fn(Rig) -> Pin<Box<dyn Future<Output = ()>>>);

/// Makes a list of functions that take a [`Rig`].
macro_rules! cases {
    ($list:ident: $($(#[$meta:meta])* async fn $name:ident($rig:ident: Rig) $body:block)*) => {
        $($(#[$meta])* async fn $name($rig: $crate::rig::Rig) $body)*

        pub const $list: &[$crate::rig::Case] =
            &[$((stringify!($name), |rig| Box::pin($name(rig)))),*];
    };
}

/// Makes `CASES`.
macro_rules! on_every_storage {
    ($($cases:tt)*) => { cases! { CASES: $($cases)* } };
}

/// Makes `ONCE`, of cases that no storage makes a difference to: they run in memory.
macro_rules! once {
    ($($cases:tt)*) => { cases! { ONCE: $($cases)* } };
}

#[derive(Clone)]
pub struct Rig {
    pub url: String,
    pub environment: String,
    /// Counts the calls of all layers.
    pub driver: Counting,
    pub clock: ManualClock,
    events: Arc<Mutex<Vec<SessionEvent>>>,
    /// Of other environments, which go when the case is over.
    others: Arc<Mutex<Vec<Arc<dyn Driver>>>>,
}

impl Rig {
    /// All defaults, but for the clock and without a cleanup by chance.
    pub fn builder(&self) -> SessionLayerBuilder {
        self.builder_on(self.driver.clone())
    }

    pub fn builder_on(&self, driver: impl Driver) -> SessionLayerBuilder {
        let events = self.events.clone();
        SessionLayer::builder(driver)
            .cleanup_probability(0.0)
            .clock(self.clock.clone())
            .listener(move |event| events.lock().unwrap().push(event))
    }

    pub async fn layer(&self) -> SessionLayer {
        self.builder().build().await.unwrap()
    }

    /// A driver as another process would have it. Sessions in memory belong to one process.
    pub async fn second_driver(&self) -> Arc<dyn Driver> {
        if self.url == "memory:" {
            Arc::new(self.driver.clone())
        } else {
            servers::open(&self.url, &self.environment).await
        }
    }

    /// A driver for another environment of the same storage.
    pub async fn other_environment(&self) -> Arc<dyn Driver> {
        let driver = servers::open(&self.url, &servers::environment()).await;
        driver.ensure_environment().await.unwrap();
        self.others.lock().unwrap().push(driver.clone());
        driver
    }

    /// What happened since this was last asked.
    pub fn events(&self) -> Vec<SessionEvent> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    /// How many driver calls were made since this was last asked.
    pub fn calls(&self) -> usize {
        self.driver.take().into_iter().map(|(_, count)| count).sum()
    }
}

/// A session with the number 1 in the shop; its id.
pub async fn session(layer: &SessionLayer) -> String {
    crate::visitor::session_with(layer, &[("n", 1)]).await
}

/// What another request finds in the shop under the key `n`; `None` if there is no session.
pub async fn n(layer: &SessionLayer, id: &str) -> Option<i64> {
    let session = layer.manager();
    let loads = session.load_id(id).await.unwrap();
    if loads { session.app::<Shop>().get("n").await.unwrap() } else { None }
}

/// What names the session of a visitor.
pub async fn reference(layer: &SessionLayer, id: &str) -> SessionRef {
    let session = layer.manager();
    assert!(session.load_id(id).await.unwrap());
    session.session_ref().unwrap()
}

/// What names the sessions of a principal, from the oldest.
pub async fn references_of(layer: &SessionLayer, principal: &str) -> Vec<SessionRef> {
    let listed = layer.manager().sessions_of(principal).await.unwrap();
    listed.iter().map(|info| info.session).collect()
}

pub async fn is_live(layer: &SessionLayer, id: &str) -> bool {
    layer.manager().load_id(id).await.unwrap()
}

/// A visitor without a session logs in; the id of the session.
pub async fn logged_in(layer: &SessionLayer, principal: &str) -> String {
    let answer = login(layer, "", principal).await;
    assert_eq!(answer.status, 200);
    answer.new_id().expect("a login sends a cookie")
}

/// The visitor who has this id logs in.
pub async fn login(layer: &SessionLayer, id: &str, principal: &str) -> Answer {
    send(layer, request_of(id), async |session| session.login(principal).await).await
}

/// A handler that reads the shop; whether there is a session.
pub async fn read(session: SessionManager) -> String {
    let n: Option<i64> = session.app::<Shop>().get("n").await.unwrap();
    format!("{n:?}")
}

pub fn run(
    url: String,
    directory: Option<TempDir>,
    case: fn(Rig) -> Pin<Box<dyn Future<Output = ()>>>,
) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let environment = servers::environment();
    let driver = runtime.block_on(servers::open(&url, &environment));
    runtime.block_on(driver.ensure_environment()).unwrap();
    let rig = Rig {
        url,
        environment,
        driver: Counting::new(driver.clone()),
        clock: ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)),
        events: Arc::default(),
        others: Arc::default(),
    };
    let others = rig.others.clone();
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(case(rig))));
    let others = std::mem::take(&mut *others.lock().unwrap());
    for driver in others.iter().chain([&driver]) {
        runtime.block_on(driver.remove_environment(OnMissing::Ignore)).unwrap();
    }
    drop((driver, others, directory));
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}
