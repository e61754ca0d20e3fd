//! The servers that tests need, and what becomes of a test whose server cannot be reached: it is
//! listed as ignored with the reason, or fails with it where servers are required.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::env;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;
use web_session::Driver;

/// Set where a server that cannot be reached is a failure.
const REQUIRED: &str = "WEB_SESSION_REQUIRE_SERVERS";

/// Whether what cannot be reached is a failure.
pub fn are_required() -> bool {
    env::var_os(REQUIRED).is_some()
}

/// A server, as tests find it.
pub struct Server {
    /// The environment variable with its URL.
    variable: &'static str,
    default: &'static str,
    /// Why it cannot be reached, found out once.
    problem: LazyLock<Option<String>>,
}

macro_rules! server {
    ($name:ident, $variable:literal, $default:literal) => {
        pub static $name: Server = Server {
            variable: $variable,
            default: $default,
            problem: LazyLock::new(|| $name.try_to_connect()),
        };
    };
}

server!(POSTGRES, "TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/test");
server!(MARIADB, "TEST_MYSQL_URL", "mysql://root@127.0.0.1:3306/test");
server!(REDIS, "TEST_REDIS_URL", "redis://127.0.0.1:6379");
server!(
    REDIS_CLUSTER,
    "TEST_REDIS_CLUSTER_URL",
    "redis-cluster://127.0.0.1:7001?node=127.0.0.1:7002&node=127.0.0.1:7003"
);

impl Server {
    pub fn url(&self) -> String {
        env::var(self.variable).unwrap_or_else(|_| self.default.to_owned())
    }

    /// Why it cannot be reached.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    fn try_to_connect(&self) -> Option<String> {
        let url = self.url();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let connecting = web_session::connect(&url);
            match tokio::time::timeout(Duration::from_secs(5), connecting).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(format!("{}: {error}", self.variable)),
                Err(_) => Some(format!("{}: no answer within 5 s", self.variable)),
            }
        })
    }
}

/// A test that needs a server.
pub fn trial(name: String, server: &'static Server, run: impl FnOnce() + Send + 'static) -> Trial {
    trial_unless(server.problem.as_deref(), name, run)
}

/// A test that cannot run where there is a problem. The reason why it is ignored stands in brackets
/// before its name.
pub fn trial_unless(
    problem: Option<&str>,
    name: String,
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    match problem.map(str::to_owned) {
        None => Trial::test(name, move || {
            run();
            Ok(())
        }),
        Some(problem) if are_required() => Trial::test(name, move || Err(Failed::from(problem))),
        Some(problem) => Trial::test(name, || Ok(())).with_kind(problem).with_ignored_flag(true),
    }
}

/// The name of an environment that nobody else uses.
pub fn environment() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A storage.
pub struct Place {
    pub name: &'static str,
    /// The server that it needs; none for memory and a file.
    pub server: Option<&'static Server>,
}

/// Every storage.
pub fn every() -> Vec<Place> {
    let mut all = vec![Place { name: "memory", server: None }];
    all.extend(shared());
    all
}

/// Every storage that several processes share.
pub fn shared() -> Vec<Place> {
    let all = [
        ("sqlite", None, cfg!(feature = "sqlite")),
        ("postgres", Some(&POSTGRES), cfg!(feature = "postgres")),
        ("mariadb", Some(&MARIADB), cfg!(feature = "mysql")),
        ("redis", Some(&REDIS), cfg!(feature = "redis")),
        ("redis_cluster", Some(&REDIS_CLUSTER), cfg!(feature = "redis")),
    ];
    let on = all.into_iter().filter(|(.., on)| *on);
    on.map(|(name, server, _)| Place { name, server }).collect()
}

impl Place {
    /// Its URL, and the directory that a file is in.
    pub fn place(&self) -> (String, Option<TempDir>) {
        match self.server {
            Some(server) => (server.url(), None),
            None if self.name == "memory" => ("memory:".to_owned(), None),
            None => {
                let directory = tempfile::tempdir().unwrap();
                let file = directory.path().join("sessions.db");
                (format!("sqlite://{}", file.display()), Some(directory))
            }
        }
    }

    pub fn trial(&self, test: &str, run: impl FnOnce() + Send + 'static) -> Trial {
        let name = format!("{}::{test}", self.name);
        match self.server {
            Some(server) => trial(name, server, run),
            None => Trial::test(name, move || {
                run();
                Ok(())
            }),
        }
    }
}

/// A driver for an environment of a storage.
#[allow(unused_variables, reason = "without any driver there is nothing to open")]
pub async fn open(url: &str, environment: &str) -> Arc<dyn Driver> {
    match url.split(':').next().unwrap() {
        "memory" => Arc::new(web_session::MemoryDriver::new()),
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            let builder = web_session::SqliteDriver::builder(url);
            Arc::new(builder.environment(environment).connect().await.unwrap())
        }
        #[cfg(feature = "postgres")]
        "postgres" => {
            let builder = web_session::PostgresDriver::builder(url);
            Arc::new(builder.environment(environment).connect().await.unwrap())
        }
        #[cfg(feature = "mysql")]
        "mysql" => {
            let builder = web_session::MySqlDriver::builder(url);
            Arc::new(builder.environment(environment).connect().await.unwrap())
        }
        #[cfg(feature = "redis")]
        "redis" | "redis-cluster" => {
            let builder = web_session::RedisDriver::builder(url);
            Arc::new(builder.environment(environment).connect().await.unwrap())
        }
        scheme => unreachable!("no driver is tested for `{scheme}:`"),
    }
}
