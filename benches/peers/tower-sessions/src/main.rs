//! tower-sessions with its stores, set up as their examples do it.
//!
//! Two things differ from the examples: sessions are kept for a day, so that none expires while it is
//! measured, and SQLite has a write-ahead log and `synchronous=NORMAL`, as for everyone here.

#[path = "../../../support/mod.rs"]
mod support;

use std::fmt::Display;
use std::str::FromStr;

use axum::Router;
use axum::http::StatusCode;
use support::Failure;
use support::child::{Measured, serve};
use support::protocol::{Figures, Plan};
use support::subject::Subject;
use time::Duration;
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{ClientLike, Config, Pool};
use tower_sessions_redis_store::fred::types::{ClusterHash, CustomCommand};
use tower_sessions_sqlx_store::sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous,
};
use tower_sessions_sqlx_store::sqlx::{self, MySqlPool, PgPool};
use tower_sessions_sqlx_store::{MySqlStore, PostgresStore, SqliteStore};

/// The schema that is made in a database, and removed afterwards.
const SCHEMA: &str = "tower_sessions_bench";

/// What removes everything afterwards.
enum Storage {
    Nothing,
    Sqlite(SqlitePool),
    Postgres(PgPool),
    MySql(MySqlPool),
    Redis(Pool),
}

struct TowerSessions {
    subject: Subject,
    storage: Storage,
}

impl Measured for TowerSessions {
    async fn open(url: &str, variant: &str) -> Result<Self, Failure> {
        let (router, storage) = match url.split(':').next().unwrap_or_default() {
            "memory" if variant == "newest" => {
                (newest::router(tower_sessions_newest::MemoryStore::default()), Storage::Nothing)
            }
            "memory" => (current::router(tower_sessions::MemoryStore::default()), Storage::Nothing),
            "sqlite" => {
                let options = SqliteConnectOptions::from_str(url)?
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Normal);
                let pool = SqlitePool::connect_with(options).await?;
                let storage = Storage::Sqlite(pool.clone());
                storage.clear().await?;
                let store = SqliteStore::new(pool);
                store.migrate().await?;
                (current::router(store), storage)
            }
            "postgres" => {
                let pool = PgPool::connect(url).await?;
                let storage = Storage::Postgres(pool.clone());
                storage.clear().await?;
                let store = PostgresStore::new(pool).with_schema_name(SCHEMA)?;
                store.migrate().await?;
                (current::router(store), storage)
            }
            "mysql" => {
                let pool = MySqlPool::connect(url).await?;
                let storage = Storage::MySql(pool.clone());
                storage.clear().await?;
                let store = MySqlStore::new(pool).with_schema_name(SCHEMA)?;
                store.migrate().await?;
                (current::router(store), storage)
            }
            "redis" => {
                let pool = Pool::new(Config::from_url(url)?, None, None, None, 6)?;
                pool.connect();
                pool.wait_for_connect().await?;
                let storage = Storage::Redis(pool.clone());
                storage.clear().await?;
                (current::router(RedisStore::new(pool)), storage)
            }
            scheme => return Err(format!("`{scheme}:` is not measured").into()),
        };
        Ok(Self { subject: Subject::new(router), storage })
    }

    async fn run(&mut self, plan: &Plan) -> Result<Figures, Failure> {
        self.subject.run(plan).await
    }

    async fn clear(&mut self) -> Result<(), Failure> {
        self.storage.clear().await
    }
}

impl Storage {
    async fn clear(&self) -> Result<(), Failure> {
        match self {
            Self::Nothing => {}
            Self::Sqlite(pool) => {
                sqlx::query("drop table if exists tower_sessions").execute(pool).await?;
            }
            Self::Postgres(pool) => {
                let statement = format!("drop schema if exists {SCHEMA} cascade");
                sqlx::query(&statement).execute(pool).await?;
            }
            Self::MySql(pool) => {
                let statement = format!("drop database if exists {SCHEMA}");
                sqlx::query(&statement).execute(pool).await?;
            }
            // The keys of the store have no prefix: the whole of the numbered database is its own.
            Self::Redis(pool) => {
                let command = CustomCommand::new_static("FLUSHDB", ClusterHash::FirstKey, false);
                let _: String = pool.next().custom(command, Vec::<String>::new()).await?;
            }
        }
        Ok(())
    }
}

fn failed(error: impl Display) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// The same handlers for two versions, whose sessions are different types.
macro_rules! version {
    ($module:ident, $tower_sessions:ident) => {
        mod $module {
            use axum::routing::get;
            use $tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore};

            use super::*;
            use crate::support::subject::{KEY, untouched};

            type Answer<T> = Result<T, (StatusCode, String)>;

            async fn read(session: Session) -> Answer<String> {
                let count = session.get::<u64>(KEY).await.map_err(failed)?;
                Ok(count.unwrap_or(0).to_string())
            }

            async fn write(session: Session) -> Answer<String> {
                let count = session.get::<u64>(KEY).await.map_err(failed)?.unwrap_or(0) + 1;
                session.insert(KEY, count).await.map_err(failed)?;
                Ok(count.to_string())
            }

            async fn new(session: Session) -> Answer<&'static str> {
                session.insert(KEY, 1_u64).await.map_err(failed)?;
                Ok("new")
            }

            pub fn router<S: SessionStore + Clone>(store: S) -> Router {
                let layer = SessionManagerLayer::new(store)
                    .with_secure(false)
                    .with_expiry(Expiry::OnInactivity(Duration::days(1)));
                Router::new()
                    .route("/untouched", get(untouched))
                    .route("/read", get(read))
                    .route("/write", get(write))
                    .route("/new", get(new))
                    .layer(layer)
            }
        }
    };
}

version!(current, tower_sessions);
version!(newest, tower_sessions_newest);

fn main() {
    serve::<TowerSessions>();
}
