//! axum_session in memory and with its sqlx pools, set up as its README does it.
//!
//! The variant `no cache` sets the life of sessions in the memory of the process to nothing, with which
//! its documentation says that each request loads from the database. SQLite has a write-ahead log and
//! `synchronous=NORMAL`, as for everyone here.

#[path = "../../../support/mod.rs"]
mod support;

use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use axum_session::{
    DatabasePool, Session, SessionConfig, SessionLayer, SessionNullPool, SessionStore,
};
use axum_session_sqlx::{SessionPgPool, SessionSqlitePool};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};
use sqlx::{PgPool, query};
use support::Failure;
use support::child::{Measured, serve};
use support::protocol::{Figures, Plan};
use support::subject::{KEY, Subject, untouched};

/// The table that is made in a database, and removed afterwards.
const TABLE: &str = "axum_session_bench";
const REMOVE: &str = "drop table if exists axum_session_bench";

/// What removes everything afterwards.
enum Storage {
    Nothing,
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

struct AxumSession {
    subject: Subject,
    storage: Storage,
}

impl Measured for AxumSession {
    async fn open(url: &str, variant: &str) -> Result<Self, Failure> {
        let mut config = SessionConfig::default().with_table_name(TABLE);
        if variant == "no cache" {
            config = config.with_memory_lifetime(Duration::ZERO.try_into()?);
        }
        let (router, storage) = match url.split(':').next().unwrap_or_default() {
            "memory" => {
                let store = SessionStore::<SessionNullPool>::new(None, config).await?;
                (router(store), Storage::Nothing)
            }
            "sqlite" => {
                let options = SqliteConnectOptions::from_str(url)?
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Normal);
                let pool = SqlitePool::connect_with(options).await?;
                let storage = Storage::Sqlite(pool.clone());
                storage.clear().await?;
                let pool = SessionSqlitePool::from(pool);
                (router(SessionStore::new(Some(pool), config).await?), storage)
            }
            "postgres" => {
                let pool = PgPool::connect(url).await?;
                let storage = Storage::Postgres(pool.clone());
                storage.clear().await?;
                let pool = SessionPgPool::from(pool);
                (router(SessionStore::new(Some(pool), config).await?), storage)
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
                query(REMOVE).execute(pool).await?;
            }
            Self::Postgres(pool) => {
                query(REMOVE).execute(pool).await?;
            }
        }
        Ok(())
    }
}

async fn read<P>(session: Session<P>) -> String
where
    P: DatabasePool + Clone + Debug + Sync + Send + 'static,
{
    session.get::<u64>(KEY).unwrap_or(0).to_string()
}

async fn write<P>(session: Session<P>) -> String
where
    P: DatabasePool + Clone + Debug + Sync + Send + 'static,
{
    let count = session.get::<u64>(KEY).unwrap_or(0) + 1;
    session.set(KEY, count);
    count.to_string()
}

async fn new<P>(session: Session<P>) -> &'static str
where
    P: DatabasePool + Clone + Debug + Sync + Send + 'static,
{
    session.set(KEY, 1_u64);
    "new"
}

fn router<P>(store: SessionStore<P>) -> Router
where
    P: DatabasePool + Clone + Debug + Sync + Send + 'static,
{
    Router::new()
        .route("/untouched", get(untouched))
        .route("/read", get(read::<P>))
        .route("/write", get(write::<P>))
        .route("/new", get(new::<P>))
        .layer(SessionLayer::new(store))
}

fn main() {
    serve::<AxumSession>();
}
