//! SQLite, in a file.

use std::path::PathBuf;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, QueryBuilder, Sqlite as Database};
use tempfile::TempDir;
use web_session::{Application, Driver, SqliteDriver};

use crate::load::{self, Batch, Storage};
use crate::support::subject::KEY;
use crate::web_session_subject::Bench;

/// The rows of one statement.
const ROWS: usize = 1_000;

pub struct Sqlite(TempDir);

impl Sqlite {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("sessions.db")
    }

    /// A connection that gives up all safety for speed, and has room for the indexes.
    async fn loader(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new()
            .filename(self.file())
            .journal_mode(SqliteJournalMode::Off)
            .synchronous(SqliteSynchronous::Off)
            .pragma("cache_size", "-2000000");
        options.disable_statement_logging().connect().await.unwrap()
    }
}

impl Storage for Sqlite {
    const NAME: &'static str = "SQLite";

    type Driver = SqliteDriver;
    type Connection = SqliteConnection;

    async fn create(&self) {
        let driver = self.open().await;
        driver.create_environment().await.unwrap();
        self.close(driver).await;
    }

    async fn load(&self, batch: Batch) {
        let mut connection = self.loader().await;
        let mut transaction = connection.begin().await.unwrap();
        let numbers: Vec<u64> = (batch.first..batch.end).collect();
        for numbers in numbers.chunks(ROWS) {
            let mut insert = QueryBuilder::<Database>::new(
                r#"INSERT INTO web_session_sessions
                (uid, "key", expires, ends, created, last_used) "#,
            );
            insert.push_values(numbers, |mut row, &number| {
                let created = batch.created(number);
                let expires = batch.expires(number).cast_signed();
                row.push_bind(load::reference(created, number).to_vec())
                    .push_bind(load::key(number).as_bytes().to_vec())
                    .push_bind(expires)
                    .push_bind(expires)
                    .push_bind(created.cast_signed())
                    .push_bind(created.cast_signed());
            });
            insert.build().execute(&mut *transaction).await.unwrap();
        }
        let items = "INSERT INTO web_session_items
            SELECT uid, ?, CAST(? AS BLOB), '1' FROM web_session_sessions WHERE created >= ?";
        let first = batch.created(batch.first).cast_signed();
        sqlx::query(items)
            .bind(Bench::NAME)
            .bind(KEY)
            .bind(first)
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        connection.close().await.unwrap();
    }

    async fn bytes(&self) -> u64 {
        std::fs::metadata(self.file()).unwrap().len()
    }

    async fn open(&self) -> SqliteDriver {
        SqliteDriver::connect(&format!("sqlite://{}", self.file().display())).await.unwrap()
    }

    async fn connect(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.file());
        let options = options.pragma("cache_size", "-32768").pragma("temp_store", "MEMORY");
        options.disable_statement_logging().connect().await.unwrap()
    }

    async fn read(connection: &mut SqliteConnection, keys: Vec<Vec<u8>>) -> i64 {
        let select = r#"SELECT count(i.value), sum(s.expires) FROM web_session_sessions s
            LEFT JOIN web_session_items i ON i.uid = s.uid AND i.application = "#;
        let mut select = QueryBuilder::<Database>::new(select);
        select.push_bind(Bench::NAME).push(r#" WHERE s."key" IN ("#);
        let mut list = select.separated(", ");
        for key in keys {
            list.push_bind(key);
        }
        select.push(")");
        let (items, _): (i64, i64) = select.build_query_as().fetch_one(connection).await.unwrap();
        items
    }

    async fn close(&self, driver: SqliteDriver) {
        driver.close().await;
    }

    async fn clear(&self) {
        std::fs::remove_file(self.file()).unwrap();
    }

    async fn remove(self) {
        self.0.close().unwrap();
    }
}
