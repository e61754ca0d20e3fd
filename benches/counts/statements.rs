//! Statements a request, of a lone one and of 64 at once: for the SQL databases what sqlx logs, which
//! is one line for each text that it sends, `BEGIN` and `COMMIT` included; for Redis the commands that
//! name a key of the environment, those of a pipeline one by one: loads at once are as many commands in few trips.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::BoxStream;
use redis::aio::MultiplexedConnection;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tempfile::TempDir;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use web_session::{Driver, MySqlDriver, OnMissing, PostgresDriver, RedisDriver, SqliteDriver};

use crate::servers::{MARIADB, POSTGRES, REDIS, Server, environment};
use crate::workload::{self, Site};
use crate::{Counted, Section, calls};

const AT_ONCE: usize = 64;

/// A lone request is served so often, and so many at once, of which the lowest number counts.
const REPEATS: usize = 5;

/// The lines that sqlx has logged.
#[derive(Clone, Default)]
struct Logged(Arc<AtomicU64>);

impl<S: Subscriber> Layer<S> for Logged {
    fn on_event(&self, _event: &Event<'_>, _context: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One storage, and what counts its statements.
struct Storage {
    driver: Arc<dyn Driver>,
    meter: Meter,
    /// Where its file is.
    folder: Option<TempDir>,
}

/// What counts the statements of one storage.
enum Meter {
    Sqlx(Logged),
    Redis {
        asking: MultiplexedConnection,
        commands: BoxStream<'static, String>,
        environment: String,
    },
}

impl Meter {
    /// The statements since the last time this was asked.
    async fn read(&mut self) -> u64 {
        match self {
            Self::Sqlx(logged) => {
                // SQLite's thread may give its answer before it has logged.
                tokio::time::sleep(Duration::from_millis(100)).await;
                logged.0.swap(0, Ordering::SeqCst)
            }
            Self::Redis { asking, commands, environment } => {
                let end = "the end of this count";
                redis::cmd("ECHO").arg(end).exec_async(asking).await.unwrap();
                let mut count = 0;
                loop {
                    let command = commands.next().await.expect("Redis tells its commands");
                    if command.contains(end) {
                        return count;
                    }
                    // What a script does inside the server is no command that was sent.
                    let is_sent = !command.contains(" lua] ");
                    count += u64::from(is_sent && command.contains(&*environment));
                }
            }
        }
    }
}

pub fn count() -> Vec<Counted> {
    let logged = Logged::default();
    let only_sqlx = Targets::new().with_target("sqlx::query", LevelFilter::TRACE);
    tracing_subscriber::registry().with(logged.clone().with_filter(only_sqlx)).init();
    // One thread: all requests have asked for what they want before the first answer is seen.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut counted = Vec::new();
        let statements = "statements";
        counted.extend(sections("sqlite", statements, None, sqlite(&logged)).await);
        counted.extend(sections("postgres", statements, Some(&POSTGRES), postgres(&logged)).await);
        counted.extend(sections("mariadb", statements, Some(&MARIADB), mariadb(&logged)).await);
        counted.extend(sections("redis", "commands", Some(&REDIS), redis()).await);
        counted
    })
}

async fn sections(
    storage: &str,
    sent: &str,
    server: Option<&'static Server>,
    open: impl Future<Output = Storage>,
) -> [Counted; 3] {
    let titles = [sent, &format!("{sent}-64-at-once"), calls::TITLE];
    let titles = titles.map(|title| format!("{storage}-{title}"));
    let problem = match server {
        // It looks for the server with a runtime of its own.
        Some(server) => tokio::task::spawn_blocking(|| server.problem()).await.unwrap(),
        None => None,
    };
    if let Some(problem) = problem {
        return titles.map(|title| Err((title, problem.to_owned())));
    }
    let Storage { driver, mut meter, folder } = open.await;
    let site = Site::new(driver.clone(), AT_ONCE).await;
    let [lone, at_once, bytes] = titles;
    let bytes = (bytes, calls::bytes(&driver));
    let mut lone: Section = (lone, Vec::new());
    let mut at_once: Section = (at_once, Vec::new());
    for workload in workload::ALL {
        // The first prepares statements.
        all_at_once(&site, workload).await;
        meter.read().await;
        for visitor in 0..REPEATS {
            site.serve(workload, visitor).await;
        }
        lone.1.push((workload, meter.read().await.div_ceil(REPEATS as u64)));
        let mut lowest = u64::MAX;
        for _ in 0..REPEATS {
            all_at_once(&site, workload).await;
            lowest = lowest.min(meter.read().await);
        }
        at_once.1.push((workload, lowest));
    }
    driver.remove_environment(OnMissing::Ignore).await.unwrap();
    drop(folder);
    [Ok(lone), Ok(at_once), Ok(bytes)]
}

async fn all_at_once(site: &Site, workload: &str) {
    join_all((0..AT_ONCE).map(|visitor| site.serve(workload, visitor))).await;
}

// A pool that a driver makes itself logs no statements, so each gets one with the same settings, and with
// one connection: a second is opened only if the first has not come back in time, and says something as well.

async fn sqlite(logged: &Logged) -> Storage {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("sessions.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false);
    let driver = SqliteDriver::new(pool.connect_with(options).await.unwrap());
    let meter = Meter::Sqlx(logged.clone());
    Storage { driver: Arc::new(driver), meter, folder: Some(folder) }
}

async fn postgres(logged: &Logged) -> Storage {
    let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
    let pool = pool.connect(&POSTGRES.url()).await.unwrap();
    let driver = PostgresDriver::builder_for(pool).environment(environment());
    let driver = Arc::new(driver.connect().await.unwrap());
    Storage { driver, meter: Meter::Sqlx(logged.clone()), folder: None }
}

async fn mariadb(logged: &Logged) -> Storage {
    let pool = MySqlPoolOptions::new().max_connections(1).test_before_acquire(false);
    let pool = pool.connect(&MARIADB.url()).await.unwrap();
    let driver = MySqlDriver::builder_for(pool).environment(environment());
    let driver = Arc::new(driver.connect().await.unwrap());
    Storage { driver, meter: Meter::Sqlx(logged.clone()), folder: None }
}

async fn redis() -> Storage {
    let environment = environment();
    let driver = RedisDriver::builder(&REDIS.url()).environment(&environment);
    let driver = driver.connect().await.unwrap();
    let client = redis::Client::open(REDIS.url()).unwrap();
    let asking = client.get_multiplexed_async_connection().await.unwrap();
    let commands = client.get_async_monitor().await.unwrap().into_on_message().boxed();
    let meter = Meter::Redis { asking, commands, environment };
    Storage { driver: Arc::new(driver), meter, folder: None }
}
