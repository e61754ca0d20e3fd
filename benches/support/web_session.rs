//! This crate, as a subject.

#![allow(dead_code, unreachable_pub, reason = "a module of several programs")]

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use web_session::{
    Application, AutoCreate, Driver, MemoryDriver, MySqlDriver, OnMissing, PostgresDriver,
    RedisDriver, SessionError, SessionLayer, SqliteDriver, Store,
};

use crate::support::Failure;
use crate::support::subject::{KEY, untouched};

/// The environment that is made in the storage, and removed afterwards.
const ENVIRONMENT: &str = "web_session_bench";

/// The application whose items the handlers use.
pub struct Bench;

impl Application for Bench {
    const NAME: &'static str = "bench";
}

async fn read(bench: Store<Bench>) -> Result<String, SessionError> {
    Ok(count(&bench).await?.to_string())
}

async fn write(bench: Store<Bench>) -> Result<String, SessionError> {
    let count = count(&bench).await? + 1;
    bench.set(KEY, &count)?;
    Ok(count.to_string())
}

async fn count(bench: &Store<Bench>) -> Result<u64, SessionError> {
    Ok(bench.get(KEY).await?.expect("the session is there"))
}

async fn new(bench: Store<Bench>) -> Result<&'static str, SessionError> {
    bench.set(KEY, &1_u64)?;
    Ok("new")
}

/// The driver of a URL, for the environment of the measurements.
pub async fn driver(url: &str) -> Result<Arc<dyn Driver>, Failure> {
    let scheme = url.split(':').next().unwrap_or_default();
    Ok(match scheme {
        "memory" => Arc::new(MemoryDriver::builder().max_sessions(100_000_000).build()?),
        "sqlite" => Arc::new(SqliteDriver::builder(url).environment(ENVIRONMENT).connect().await?),
        "postgres" | "postgresql" => {
            Arc::new(PostgresDriver::builder(url).environment(ENVIRONMENT).connect().await?)
        }
        "mysql" | "mariadb" => {
            Arc::new(MySqlDriver::builder(url).environment(ENVIRONMENT).connect().await?)
        }
        "redis" | "rediss" | "redis-cluster" | "rediss-cluster" => {
            Arc::new(RedisDriver::builder(url).environment(ENVIRONMENT).connect().await?)
        }
        _ => return Err(format!("no driver has URLs that start with `{scheme}:`").into()),
    })
}

/// A router with sessions in the environment of that driver, which is made anew.
pub async fn router(driver: Arc<dyn Driver>) -> Result<Router, Failure> {
    clear(&driver).await?;
    let sessions = SessionLayer::builder(driver).auto_create(AutoCreate::Missing).build().await?;
    Ok(pages().layer(sessions))
}

/// A handler for each workload, without a layer.
pub fn pages() -> Router {
    Router::new()
        .route("/untouched", get(untouched))
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/new", get(new))
}

/// Removes what [`router`] made.
pub async fn clear(driver: &dyn Driver) -> Result<(), Failure> {
    driver.remove_environment(OnMissing::Ignore).await?;
    Ok(())
}
