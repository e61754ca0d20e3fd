//! SQLite with a write-ahead log and `synchronous=NORMAL`: four connections that read, one that writes.

use std::str::FromStr;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{query, query_as};

use super::{DATA, EXPIRES, Storage, check, table};
use crate::support::Failure;

pub struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Sqlite {
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let pool = |connections| SqlitePoolOptions::new().max_connections(connections);
        let writer = pool(1).connect_with(options.clone()).await?;
        let readers = pool(4).connect_with(options).await?;
        Ok(Self { writer, readers })
    }

    pub async fn make(&self) -> Result<(), Failure> {
        let create = concat!(
            "create table ",
            table!(),
            " (id text primary key, data text not null, expires integer not null) without rowid"
        );
        query(create).execute(&self.writer).await?;
        Ok(())
    }
}

impl Storage for Sqlite {
    async fn clear(&self) -> Result<(), Failure> {
        query(concat!("drop table if exists ", table!())).execute(&self.writer).await?;
        Ok(())
    }

    async fn read(&self, id: String) -> Result<(), Failure> {
        let select = concat!("select data from ", table!(), " where id = ? and expires > ?");
        let rows = query(select).bind(id).bind(0_i64).fetch_all(&self.readers).await?;
        check(rows.len(), 1)
    }

    async fn write(&self, id: String) -> Result<(), Failure> {
        let upsert = concat!(
            "insert into ",
            table!(),
            " (id, data, expires) values (?, ?, ?)
            on conflict (id) do update set data = excluded.data, expires = excluded.expires"
        );
        query(upsert).bind(id).bind(DATA).bind(EXPIRES).execute(&self.writer).await?;
        Ok(())
    }

    /// Each row costs: all of them come as one.
    async fn read_batch(&self, ids: Vec<String>) -> Result<(), Failure> {
        let select = concat!(
            "select count(*), json_group_array(json_array(id, data)) from ",
            table!(),
            " where id in (select value from json_each(?)) and expires > ?"
        );
        let list = serde_json::to_string(&ids)?;
        let (count, _data): (i64, String) =
            query_as(select).bind(list).bind(0_i64).fetch_one(&self.readers).await?;
        check(count as usize, ids.len())
    }

    async fn write_batch(&self, ids: Vec<String>) -> Result<(), Failure> {
        let upsert = concat!(
            "insert into ",
            table!(),
            " (id, data, expires) select value, ?2, ?3 from json_each(?1) where true
            on conflict (id) do update set data = excluded.data, expires = excluded.expires"
        );
        let list = serde_json::to_string(&ids)?;
        query(upsert).bind(list).bind(DATA).bind(EXPIRES).execute(&self.writer).await?;
        Ok(())
    }
}
