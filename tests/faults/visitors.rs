//! An application, the visitors who use it while something fails, and what they have seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::{get, post};
use http::header::{COOKIE, SET_COOKIE};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use web_session::{
    AutoCreate, Clock, CookieConfig, Driver, SessionError, SessionLayer, SessionManager,
};

use crate::private::Private;

/// How long a driver call may take in these tests.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// Within which a request has to be answered: it makes two calls, and the machine is busy.
pub const BOUND: Duration = Duration::from_millis(3_500);

/// A driver with a short time-out and few connections.
pub async fn driver(url: &str, connections: u32) -> Arc<dyn Driver> {
    match url.split(':').next().unwrap() {
        "sqlite" => {
            let builder = web_session::SqliteDriver::builder(url).busy_timeout(CALL_TIMEOUT);
            Arc::new(builder.connect().await.unwrap())
        }
        "postgres" => {
            let builder = web_session::PostgresDriver::builder(url).call_timeout(CALL_TIMEOUT);
            Arc::new(builder.max_connections(connections).connect().await.unwrap())
        }
        "mysql" => {
            let builder = web_session::MySqlDriver::builder(url).call_timeout(CALL_TIMEOUT);
            Arc::new(builder.max_connections(connections).connect().await.unwrap())
        }
        _ => {
            let builder = web_session::RedisDriver::builder(url).call_timeout(CALL_TIMEOUT);
            Arc::new(builder.connect().await.unwrap())
        }
    }
}

/// An application that runs in this process.
#[derive(Clone)]
pub struct Application {
    pub driver: Arc<dyn Driver>,
    pub layer: SessionLayer,
    router: Router,
}

impl Application {
    pub async fn start(server: &Private) -> Self {
        Self::with(driver(&server.url(), 8).await, None::<web_session::SystemClock>).await
    }

    pub async fn with(driver: Arc<dyn Driver>, clock: Option<impl Clock>) -> Self {
        let mut builder = SessionLayer::builder(driver.clone())
            .auto_create(AutoCreate::Missing)
            .cleanup_probability(0.0)
            .expire(Duration::from_secs(3_600))
            .cookie(CookieConfig::default().without_secure());
        if let Some(clock) = clock {
            builder = builder.clock(clock);
        }
        let layer = builder.build().await.unwrap();
        let router = Router::new()
            .route("/set/{n}", post(set))
            .route("/get/{n}", get(read))
            .route("/count", post(count))
            .route("/fill", post(fill))
            .route("/rotate", post(async |session: SessionManager| session.rotate().await))
            .layer(layer.clone());
        Self { driver, layer, router }
    }
}

/// How many keys the numbers have: an application holds about a thousand items.
const KEYS: u32 = 200;

/// The key of a number, which later ones share.
pub fn key(n: u32) -> String {
    format!("k{}", n % KEYS)
}

/// Stores the number in two applications and under its key: all of it or nothing.
async fn set(session: SessionManager, Path(n): Path<u32>) -> Result<(), SessionError> {
    let (shop, forum) = (session.store("shop")?, session.store("forum")?);
    shop.set(&key(n), &n)?;
    shop.set("last", &n)?;
    forum.set("last", &n)
}

async fn read(session: SessionManager, Path(n): Path<u32>) -> Result<String, SessionError> {
    let (shop, forum) = (session.store("shop")?, session.store("forum")?);
    let (own, one) = (shop.get::<u32>(&key(n)).await?, shop.get::<u32>("last").await?);
    let other = forum.get::<u32>("last").await?;
    Ok(format!("{own:?} {one:?} {other:?}"))
}

async fn count(session: SessionManager) -> Result<String, SessionError> {
    let shop = session.store("shop")?;
    Ok(shop.update("count", |n: Option<u32>| n.unwrap_or(0) + 1).await?.to_string())
}

/// Stores something that no storage can make smaller, and no page of its has room for.
async fn fill(session: SessionManager) -> Result<(), SessionError> {
    let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(16 << 10).collect();
    session.store("shop")?.set("filling", &text)
}

/// What a request was answered, and how long that took.
#[derive(Debug)]
pub struct Seen {
    pub status: StatusCode,
    pub set_cookie: Option<String>,
    pub body: String,
    pub took: Duration,
}

/// Somebody with a session.
#[derive(Clone)]
pub struct Visitor {
    application: Application,
    pub cookie: Option<String>,
}

impl Visitor {
    /// Comes in, and gets a session.
    pub async fn new(application: &Application) -> Self {
        let mut visitor = Self::stranger(application);
        let seen = visitor.send("POST", "/set/0").await;
        assert_eq!(seen.status, StatusCode::OK);
        let cookie = seen.set_cookie.unwrap();
        visitor.cookie = cookie.split(';').next().map(str::to_owned);
        visitor
    }

    /// Somebody without a session.
    pub fn stranger(application: &Application) -> Self {
        Self { application: application.clone(), cookie: None }
    }

    /// The same visitor at another application.
    pub fn at(&self, application: &Application) -> Self {
        Self { application: application.clone(), cookie: self.cookie.clone() }
    }

    pub async fn send(&self, method: &str, path: &str) -> Seen {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        let request = request.body(Body::empty()).unwrap();
        let begun = Instant::now();
        let response = self.application.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let set_cookie = headers.get(SET_COOKIE).map(|value| value.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Seen { status, set_cookie, body, took: begun.elapsed() }
    }

    pub async fn set(&self, n: u32) -> Seen {
        self.send("POST", &format!("/set/{n}")).await
    }

    /// Gets a fresh id.
    pub async fn rotate(&mut self) {
        let seen = self.send("POST", "/rotate").await;
        assert_eq!(seen.status, StatusCode::OK, "{seen:?}");
        self.cookie = seen.set_cookie.unwrap().split(';').next().map(str::to_owned);
    }

    /// The number under the key of this one, and the last one in each application.
    pub async fn get(&self, n: u32) -> [Option<u32>; 3] {
        let seen = self.send("GET", &format!("/get/{n}")).await;
        assert_eq!(seen.status, StatusCode::OK, "{seen:?}");
        let mut numbers = seen.body.split(' ').map(|text| {
            text.strip_prefix("Some(").and_then(|text| text.strip_suffix(')')?.parse().ok())
        });
        [(); 3].map(|()| numbers.next().unwrap())
    }
}

/// Visitors who send requests all the time.
pub struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<History>>,
}

/// What one visitor was answered.
pub struct History {
    pub visitor: Visitor,
    /// By key: the number that was acknowledged last and when, and later ones that may be there as well.
    acknowledged: BTreeMap<String, (Vec<u32>, Instant)>,
    /// The last count, how many counts were acknowledged, and how many were not.
    counted: u32,
    counts: u32,
    counts_refused: u32,
    pub refused: u32,
    pub longest: Duration,
    /// When each request began that was answered with 200.
    pub successes: Vec<Instant>,
    pub failures: Vec<Instant>,
}

impl Load {
    pub async fn start(application: &Application, visitors: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for _ in 0..visitors {
            let visitor = Visitor::new(application).await;
            tasks.push(tokio::spawn(History::of(visitor, stop.clone())));
        }
        Self { stop, tasks }
    }

    /// Lets the visitors go, and hands over what they have seen.
    pub async fn stop(self) -> Histories {
        self.stop.store(true, SeqCst);
        let mut all = Vec::new();
        for task in self.tasks {
            let history = tokio::time::timeout(Duration::from_secs(20), task).await;
            all.push(history.expect("no request hangs").expect("no request panics"));
        }
        Histories { all }
    }
}

impl History {
    /// Sends requests until it is told to stop. Each is answered with 200 or 503, in time, and nobody
    /// takes the cookie away.
    async fn of(visitor: Visitor, stop: Arc<AtomicBool>) -> Self {
        let mut history = Self {
            visitor,
            acknowledged: BTreeMap::new(),
            counted: 0,
            counts: 0,
            counts_refused: 0,
            refused: 0,
            longest: Duration::ZERO,
            successes: Vec::new(),
            failures: Vec::new(),
        };
        for n in 1.. {
            if stop.load(SeqCst) {
                break;
            }
            let begun = Instant::now();
            let counts = n % 4 == 0;
            let seen = match counts {
                true => history.visitor.send("POST", "/count").await,
                false => history.visitor.set(n).await,
            };
            assert!(
                matches!(seen.status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE),
                "{seen:?}"
            );
            assert_eq!(seen.set_cookie, None, "{seen:?}");
            assert!(seen.took < BOUND, "{seen:?}");
            history.longest = history.longest.max(seen.took);
            if seen.status == StatusCode::OK {
                history.successes.push(begun);
                if counts {
                    let count = seen.body.parse().unwrap();
                    assert!(count > history.counted, "nobody begins anew");
                    history.counted = count;
                    history.counts += 1;
                } else {
                    history.acknowledged.insert(key(n), (vec![n], Instant::now()));
                }
            } else {
                history.refused += 1;
                history.counts_refused += u32::from(counts);
                history.failures.push(begun);
                if let Some((numbers, _)) = history.acknowledged.get_mut(&key(n)) {
                    numbers.push(n);
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        history
    }
}

/// What all visitors were answered.
pub struct Histories {
    pub all: Vec<History>,
}

impl Histories {
    pub fn refused(&self) -> u32 {
        self.all.iter().map(|history| history.refused).sum()
    }

    pub fn longest(&self) -> Duration {
        self.all.iter().map(|history| history.longest).max().unwrap()
    }

    /// What the visitors saw, for the table.
    pub fn seen(&self) -> String {
        let requests: usize =
            self.all.iter().map(|history| history.successes.len() + history.failures.len()).sum();
        format!(
            "{} of {requests} requests 503, the longest after {:.1} s",
            self.refused(),
            self.longest().as_secs_f64()
        )
    }

    /// How long after `moment` every visitor had been answered with 200 again.
    pub fn worked_again(&self, moment: Instant) -> Duration {
        let first = |history: &History| {
            let after = history.successes.iter().find(|success| **success >= moment);
            after.expect("every visitor goes on").duration_since(moment)
        };
        self.all.iter().map(first).max().unwrap()
    }

    /// Checks that every request is there whole or not at all, that none was done twice, and answers
    /// which acknowledged ones are not there.
    pub async fn lost(&self) -> Vec<Instant> {
        let mut lost = Vec::new();
        for history in &self.all {
            let count = history.visitor.send("POST", "/count").await;
            let count: u32 = count.body.parse().unwrap_or_else(|_| panic!("{count:?}"));
            let most = history.counts + history.counts_refused + 1;
            assert!(count <= most, "a request was counted twice: {count} is more than {most}");
            for (numbers, when) in history.acknowledged.values() {
                let [own, one, other] = history.visitor.get(numbers[0]).await;
                assert_eq!(one, other, "half of a request is there");
                if !own.is_some_and(|own| numbers.contains(&own)) {
                    lost.push(*when);
                }
            }
        }
        lost
    }
}
