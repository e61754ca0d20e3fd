//! SQLite with a write-ahead log and `synchronous=NORMAL`, and otherwise as this crate sets it: four connections that
//! read, one that writes.

use std::str::FromStr;
use std::sync::Arc;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqliteConnection, query, query_as, raw_sql};
use uuid::Uuid;

use super::kept::Kept;
use super::{Batches, EXPIRES, Record, Storage, check, data, table};
use crate::support::Failure;

const DROPS: &str = "drop table if exists raw_bench;
    drop table if exists raw_bench_items; drop table if exists raw_bench_sessions";

/// The tables and indexes of this crate.
const SESSIONS: &str = "create table raw_bench_sessions (uid blob not null primary key,
        key blob not null unique, previous_key blob unique, rotated integer, expires integer not null,
        ends integer not null, created integer not null, last_used integer not null,
        cookie_lifetime integer, principal text, note text) strict, without rowid;
    create index raw_bench_expires on raw_bench_sessions (expires);
    create index raw_bench_principal on raw_bench_sessions (principal) where principal is not null;
    create table raw_bench_items (uid blob not null
        references raw_bench_sessions (uid) on delete cascade, application text not null,
        item_key blob not null, value text not null, primary key (uid, application, item_key))
        strict, without rowid";

pub struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
    kept_writer: Kept<SqliteConnection>,
    kept_readers: Kept<SqliteConnection>,
}

impl Sqlite {
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .pragma("cache_size", "-32768")
            .pragma("temp_store", "MEMORY")
            .pragma("wal_autocheckpoint", "4000")
            .disable_statement_logging();
        let pool = |connections| SqlitePoolOptions::new().max_connections(connections);
        let writer = pool(1).connect_with(options.clone()).await?;
        let readers = pool(4).connect_with(options.clone()).await?;
        let kept_writer = Kept::new(vec![options.connect().await?]);
        let mut kept = Vec::new();
        for _ in 0..4 {
            kept.push(options.connect().await?);
        }
        Ok(Self { writer, readers, kept_writer, kept_readers: Kept::new(kept) })
    }

    pub async fn make(&self) -> Result<(), Failure> {
        let create = concat!(
            "create table ",
            table!(),
            " (id text primary key, data text not null, expires integer not null) without rowid"
        );
        query(create).execute(&self.writer).await?;
        raw_sql(SESSIONS).execute(&self.writer).await?;
        Ok(())
    }
}

impl Storage for Sqlite {
    async fn clear(&self) -> Result<(), Failure> {
        raw_sql(DROPS).execute(&self.writer).await?;
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
        query(upsert).bind(id).bind(data(1)).bind(EXPIRES).execute(&self.writer).await?;
        Ok(())
    }
}

impl Batches for Sqlite {
    /// Each row costs: all of them come as one.
    async fn read_batch(&self, ids: Vec<String>) -> Result<Vec<Record>, Failure> {
        let select = concat!(
            "select json_group_array(json_array(id, data)) from ",
            table!(),
            " where id in (select value from json_each(?)) and expires > ?"
        );
        let list = serde_json::to_string(&ids)?;
        let (records,): (String,) = query_as(select)
            .bind(list)
            .bind(0_i64)
            .fetch_one(&mut *self.kept_readers.one().await)
            .await?;
        let records: Vec<Record> = serde_json::from_str(&records)?;
        check(records.len(), ids.len())?;
        Ok(records)
    }

    async fn write_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        let upsert = concat!(
            "insert into ",
            table!(),
            " (id, data, expires) select value ->> 0, value ->> 1, ?2 from json_each(?1) where true
            on conflict (id) do update set data = excluded.data, expires = excluded.expires"
        );
        let list = serde_json::to_string(&records)?;
        query(upsert).bind(list).bind(EXPIRES).execute(&mut *self.kept_writer.one().await).await?;
        Ok(())
    }

    async fn new_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        self.write_batch(records).await
    }
}

/// Sessions in the tables of this crate.
pub struct Sessions(pub Arc<Sqlite>);

impl Batches for Sessions {
    async fn read_batch(&self, ids: Vec<String>) -> Result<Vec<Record>, Failure> {
        let select = "select json_group_array(json_array(cast(s.key as text), i.value))
            from raw_bench_sessions s
            join raw_bench_items i on i.uid = s.uid and i.application = 'bench'
            where s.key in (select cast(value as blob) from json_each(?)) and s.expires > ?";
        let list = serde_json::to_string(&ids)?;
        let (records,): (String,) = query_as(select)
            .bind(list)
            .bind(0_i64)
            .fetch_one(&mut *self.0.kept_readers.one().await)
            .await?;
        let records: Vec<Record> = serde_json::from_str(&records)?;
        check(records.len(), ids.len())?;
        Ok(records)
    }

    async fn write_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        let upsert = "insert into raw_bench_items
            select s.uid, 'bench', cast('count' as blob), n.value ->> 1
            from json_each(?) n join raw_bench_sessions s on s.key = cast(n.value ->> 0 as blob)
            where s.expires > ?
            on conflict (uid, application, item_key) do update set value = excluded.value";
        let list = serde_json::to_string(&records)?;
        let done = query(upsert)
            .bind(list)
            .bind(0_i64)
            .execute(&mut *self.0.kept_writer.one().await)
            .await?;
        check(done.rows_affected() as usize, records.len())
    }

    async fn new_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        let insert = "begin immediate;
            insert into raw_bench_sessions
                select unhex(value ->> 0), cast(value ->> 1 as blob), null, null, ?, ?, ?, ?, null,
                    null, null from json_each(?);
            insert into raw_bench_items
                select unhex(value ->> 0), 'bench', cast('count' as blob), value ->> 2
                from json_each(?);
            commit";
        let uid = |(key, data)| (Uuid::now_v7().simple().to_string(), key, data);
        let records: Vec<(String, String, String)> = records.into_iter().map(uid).collect();
        let list = serde_json::to_string(&records)?;
        let mut insert = query(insert);
        for _ in 0..4 {
            insert = insert.bind(EXPIRES);
        }
        insert.bind(&list).bind(&list).execute(&mut *self.0.kept_writer.one().await).await?;
        Ok(())
    }
}
