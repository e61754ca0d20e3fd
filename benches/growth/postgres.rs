//! PostgreSQL, in a database of its own.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use web_session::{Application, Driver, OnMissing, PostgresDriver};

use crate::load::{Batch, Storage};
use crate::support::subject::KEY;
use crate::web_session_subject::Bench;

const DATABASE: &str = "growth";

pub struct Postgres {
    /// The URL of the server, without a database.
    server: String,
}

impl Postgres {
    pub async fn new(server: &str) -> Self {
        let storage = Self { server: server.to_owned() };
        // One that was interrupted may have left its own.
        storage.drop_database().await;
        storage.run("postgres", &format!("CREATE DATABASE {DATABASE}")).await;
        storage
    }

    async fn drop_database(&self) {
        let drop = format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)");
        self.run("postgres", &drop).await;
    }

    fn options(&self, database: &str) -> PgConnectOptions {
        format!("{}/{database}", self.server).parse().unwrap()
    }

    async fn run(&self, database: &str, statement: &str) {
        let mut connection = self.options(database).connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

impl Storage for Postgres {
    const NAME: &'static str = "PostgreSQL";

    type Driver = PostgresDriver;
    type Connection = PgConnection;

    async fn create(&self) {
        let driver = self.open().await;
        driver.create_environment().await.unwrap();
        self.close(driver).await;
    }

    /// The server computes the same ids, keys and references as `load`.
    async fn load(&self, batch: Batch) {
        let Batch { first, end, step, begin, soon, late } = batch;
        let sessions = format!(
            "INSERT INTO web_session_sessions (uid, key, expires, ends, created, last_used)
            SELECT (lpad(to_hex(created), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid,
                sha256(convert_to(lpad(to_hex(n), 32, '0'), 'UTF8')),
                expires, expires, created, created
            FROM (SELECT n, {begin} + n AS created,
                    CASE WHEN n % {step} = 0 THEN {soon} ELSE {late} END AS expires
                FROM generate_series({first}::bigint, {end}::bigint - 1) n) t"
        );
        let items = format!(
            "INSERT INTO web_session_items
            SELECT uid, '{}', '{KEY}', '1' FROM web_session_sessions
            WHERE created >= {begin}::bigint + {first}",
            Bench::NAME
        );
        // Later the server would do so by itself, beside the requests.
        for statement in [&*sessions, &*items, "VACUUM ANALYZE", "CHECKPOINT"] {
            self.run(DATABASE, statement).await;
        }
    }

    async fn bytes(&self) -> u64 {
        let mut connection = self.options(DATABASE).connect().await.unwrap();
        let size = "SELECT pg_total_relation_size('web_session_sessions')
            + pg_total_relation_size('web_session_items')";
        let bytes: i64 = sqlx::query_scalar(size).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        bytes.cast_unsigned()
    }

    async fn open(&self) -> PostgresDriver {
        PostgresDriver::connect(&format!("{}/{DATABASE}", self.server)).await.unwrap()
    }

    async fn connect(&self) -> PgConnection {
        let options = self.options(DATABASE).options([("plan_cache_mode", "force_generic_plan")]);
        options.disable_statement_logging().connect().await.unwrap()
    }

    async fn read(connection: &mut PgConnection, keys: Vec<Vec<u8>>) -> i64 {
        let select = "SELECT count(i.value), sum(s.expires)::bigint
            FROM web_session_sessions s
            LEFT JOIN web_session_items i ON i.uid = s.uid AND i.application = $2
            WHERE s.key IN (SELECT unnest($1))";
        let read = sqlx::query_as(select).bind(keys).bind(Bench::NAME).fetch_one(connection);
        let (items, _): (i64, i64) = read.await.unwrap();
        items
    }

    async fn close(&self, driver: PostgresDriver) {
        driver.close().await;
    }

    async fn clear(&self) {
        let driver = self.open().await;
        driver.remove_environment(OnMissing::Error).await.unwrap();
        self.close(driver).await;
    }

    async fn remove(self) {
        self.drop_database().await;
    }
}
