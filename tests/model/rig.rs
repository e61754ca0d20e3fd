//! A storage, layers over it, visitors, and the schedules under which they meet.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response, StatusCode};
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};
use tower::{Layer, ServiceExt, service_fn};
use web_session::{
    Application, ManualClock, MemoryDriver, OnWarning, RandomError, RandomSource, SessionError,
    SessionEvent, SessionLayer, SessionLayerBuilder, SessionManager,
};

use super::wrappers::Suspending;

/// Runs a case under many schedules: at random, and with few preemptions at places drawn beforehand.
pub fn explore<Fut: Future<Output = ()> + 'static>(case: fn() -> Fut) {
    let schedules = std::env::var("WEB_SESSION_SCHEDULES");
    let schedules = schedules.map_or(200, |schedules| schedules.parse().unwrap());
    let run = move || shuttle::future::block_on(case());
    Runner::new(RandomScheduler::new(schedules), config()).run(run);
    Runner::new(PctScheduler::new(3, schedules), config()).run(run);
}

fn config() -> Config {
    let mut config = Config::new();
    // Unoptimised futures are large.
    config.stack_size = 1 << 20;
    config
}

/// A number below `bound`, chosen with the schedule.
pub fn choose(bound: usize) -> usize {
    shuttle::rand::thread_rng().gen_range(0..bound)
}

/// Runs two futures as tasks.
pub async fn both<A: Send + 'static, B: Send + 'static>(
    one: impl Future<Output = A> + Send + 'static,
    other: impl Future<Output = B> + Send + 'static,
) -> (A, B) {
    let (one, other) = (shuttle::future::spawn(one), shuttle::future::spawn(other));
    (one.await.unwrap(), other.await.unwrap())
}

/// Drops a future that is pending for more than so many times. `None` if it was.
pub async fn give_up_after<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut pending = 0;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if pending == times => Poll::Ready(None),
        Poll::Pending => {
            pending += 1;
            Poll::Pending
        }
    })
    .await
}

pub struct Shop;

impl Application for Shop {
    const NAME: &'static str = "shop";
}

pub const START: SystemTime = SystemTime::UNIX_EPOCH;
pub const HOUR: Duration = Duration::from_secs(3_600);

pub type Items = BTreeMap<String, i64>;

/// One storage, and a layer whose calls to it take several steps.
#[derive(Clone)]
pub struct World {
    pub layer: SessionLayer,
    pub clock: ManualClock,
    pub storage: MemoryDriver,
    /// A layer whose calls take one step, for what comes before and after a case.
    quiet: SessionLayer,
    events: Arc<Mutex<Vec<SessionEvent>>>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub async fn with(configure: fn(SessionLayerBuilder) -> SessionLayerBuilder) -> Self {
        let storage = MemoryDriver::new();
        let clock = ManualClock::new(START + 10 * HOUR);
        let random = Arc::new(Counting::default());
        let events: Arc<Mutex<Vec<SessionEvent>>> = Arc::default();
        let told = events.clone();
        let builder = |builder: SessionLayerBuilder| {
            let builder = builder.clock(clock.clone()).random(random.clone());
            configure(builder.cleanup_probability(0.0))
        };
        let quiet = builder(SessionLayer::builder(storage.clone())).build().await.unwrap();
        let layer = builder(SessionLayer::builder(Suspending::new(storage.clone())))
            .listener(move |event| told.lock().unwrap().push(event))
            .build()
            .await
            .unwrap();
        Self { layer, clock, storage, quiet, events }
    }

    /// A visitor without a session.
    pub fn stranger(&self) -> Visitor {
        Visitor { world: self.clone(), cookie: Arc::default(), ids: Arc::default() }
    }

    /// A visitor whose session has one item.
    pub async fn visitor(&self) -> Visitor {
        let session = self.quiet.manager();
        let id = session.create().await.unwrap().expose().to_string();
        session.app::<Shop>().set("n", &0).unwrap();
        session.commit().await.unwrap();
        let visitor = self.stranger();
        visitor.take(&id);
        visitor
    }

    /// What a session with this id holds, `None` if there is none.
    pub async fn items_of(&self, id: &str) -> Option<Items> {
        let session = self.quiet.manager();
        let found = session.load_id(id).await.unwrap();
        if found { Some(items(&session).await) } else { None }
    }

    /// A manager that is no visitor's.
    pub fn manager(&self) -> SessionManager {
        self.quiet.manager()
    }

    /// How many of the events were like this.
    pub fn told(&self, is_like: impl Fn(&SessionEvent) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|event| is_like(event)).count()
    }

    pub fn rotations(&self) -> usize {
        self.told(|event| matches!(event, SessionEvent::Rotated { .. }))
    }

    pub fn creations(&self) -> usize {
        self.told(|event| matches!(event, SessionEvent::Created { .. }))
    }

    /// How many sessions were ended; each only once.
    pub fn ends(&self) -> usize {
        let events = self.events.lock().unwrap();
        let ended = events.iter().filter_map(|event| match event {
            SessionEvent::Ended { session, .. } => Some(*session),
            _ => None,
        });
        let mut ended: Vec<_> = ended.collect();
        let told = ended.len();
        ended.sort_unstable();
        ended.dedup();
        assert_eq!(ended.len(), told, "{events:?}");
        told
    }

    /// Asserts that the storage is empty, in all of its indexes.
    pub async fn assert_empty(&self) {
        assert_eq!(self.storage.len(), 0);
        assert_eq!(self.remove_all().await, 0);
    }

    /// Removes all sessions by their expiry, and answers how many there were.
    pub async fn remove_all(&self) -> u64 {
        let never = START + 1_000_000 * HOUR;
        self.manager().cleanup_between(..never, OnWarning::Ignore).await.unwrap()
    }
}

/// What a request sees of the shop.
pub async fn items(session: &SessionManager) -> Items {
    session.app::<Shop>().items::<i64>().await.unwrap().into_iter().collect()
}

/// A user agent: it sends the cookie that it had last.
#[derive(Clone)]
pub struct Visitor {
    pub world: World,
    cookie: Arc<Mutex<Option<String>>>,
    /// All ids that it was ever given.
    ids: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// The session cookie that it sets: an id, or the empty text.
    pub cookie: Option<String>,
}

impl Answer {
    pub fn is_ok(&self) -> bool {
        self.status == StatusCode::OK
    }

    pub fn is_conflict(&self) -> bool {
        self.status == StatusCode::CONFLICT
    }
}

impl Visitor {
    fn take(&self, id: &str) {
        *self.cookie.lock().unwrap() = Some(id.to_owned()).filter(|id| !id.is_empty());
        if !id.is_empty() {
            self.ids.lock().unwrap().push(id.to_owned());
        }
    }

    pub fn cookie(&self) -> Option<String> {
        self.cookie.lock().unwrap().clone()
    }

    /// A request through the layer.
    pub fn send<H, Fut>(&self, handler: H) -> impl Future<Output = Answer> + Send + use<H, Fut>
    where
        H: FnOnce(SessionManager) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), SessionError>> + Send + 'static,
    {
        let visitor = self.clone();
        async move {
            let mut request = Request::new(());
            if let Some(id) = visitor.cookie() {
                let cookie = format!("sessionID={id}").parse().unwrap();
                request.headers_mut().insert(COOKIE, cookie);
            }
            let mut handler = Some(handler);
            let service = service_fn(move |request: Request<()>| {
                let session = request.extensions().get::<SessionManager>().unwrap().clone();
                let answer = handler.take().unwrap()(session);
                async move {
                    let mut response = Response::new(());
                    if answer.await.is_err() {
                        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            let service = visitor.world.layer.layer(service);
            let Ok(response) = service.oneshot(request).await;
            let answer = answer(&response);
            if let Some(id) = &answer.cookie {
                visitor.take(id);
            }
            answer
        }
    }

    /// The items of the session, if there is one: at most one of the ids that this visitor was ever given
    /// is valid, and it is the one that it has.
    pub async fn items(&self) -> Option<Items> {
        let ids = self.ids.lock().unwrap().clone();
        let mut valid = Vec::new();
        for id in ids {
            if let Some(items) = self.world.items_of(&id).await {
                valid.push((id, items));
            }
        }
        assert!(valid.len() <= 1, "several ids are valid");
        let (id, items) = valid.pop()?;
        assert_eq!(self.cookie(), Some(id), "the visitor has another cookie");
        Some(items)
    }
}

fn answer(response: &Response<()>) -> Answer {
    let cookies = response.headers().get_all(SET_COOKIE).iter();
    let values: Vec<_> = cookies
        .filter_map(|cookie| cookie.to_str().unwrap().strip_prefix("sessionID="))
        .map(|cookie| cookie.split(';').next().unwrap().to_owned())
        .collect();
    assert!(values.len() <= 1, "several cookies");
    Answer { status: response.status(), cookie: values.into_iter().next() }
}

/// Never gives the same twice, and the same under the same schedule.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl RandomSource for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        let number = self.0.fetch_add(1, Ordering::SeqCst).to_le_bytes();
        for (byte, number) in bytes.iter_mut().zip(number.iter().cycle()) {
            *byte = *number;
        }
        Ok(())
    }
}
