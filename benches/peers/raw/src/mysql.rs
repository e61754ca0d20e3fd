//! MariaDB or MySQL: one by one with the defaults of sqlx's pool, in batches with connections of their own.

use std::str::FromStr;
use std::sync::Arc;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, MySqlConnection, MySqlPool, QueryBuilder, query};
use uuid::Uuid;

use super::kept::Kept;
use super::{Batches, EXPIRES, Record, Storage, check, data, table};
use crate::support::Failure;

const DROPS: &str = "drop table if exists raw_bench, raw_bench_items, raw_bench_sessions";

/// The tables and indexes of this crate.
const SESSIONS: [&str; 2] = [
    "create table raw_bench_sessions (uid binary(16) not null primary key,
        `key` binary(32) not null unique, previous_key binary(32) unique, rotated bigint,
        expires bigint not null, ends bigint not null, created bigint not null,
        last_used bigint not null, cookie_lifetime bigint, principal text, note longtext,
        index (expires), index (principal(190)))",
    "create table raw_bench_items (uid binary(16) not null,
        application varchar(255) character set ascii collate ascii_bin not null,
        item_key varbinary(255) not null, value longtext not null,
        primary key (uid, application, item_key),
        foreign key (uid) references raw_bench_sessions (uid) on delete cascade)",
];

/// How many sessions are written to by one statement at most: it compares each with each.
const WRITTEN_AT_ONCE: usize = 64;

pub struct MySql {
    pool: MySqlPool,
    kept: Kept<MySqlConnection>,
}

impl MySql {
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        let pool = MySqlPool::connect(url).await?;
        let options = MySqlConnectOptions::from_str(url)?.disable_statement_logging();
        // There is a statement for each number of records.
        let (options, mut kept) = (options.statement_cache_capacity(4_096), Vec::new());
        for _ in 0..4 {
            let mut connection = options.connect().await?;
            let isolation = "set session transaction isolation level read committed";
            connection.execute(isolation).await?;
            kept.push(connection);
        }
        Ok(Self { pool, kept: Kept::new(kept) })
    }

    pub async fn make(&self) -> Result<(), Failure> {
        let create = concat!(
            "create table ",
            table!(),
            " (id char(32) character set ascii primary key, data text not null,
            expires bigint not null)"
        );
        query(create).execute(&self.pool).await?;
        for create in SESSIONS {
            query(create).execute(&self.pool).await?;
        }
        Ok(())
    }
}

impl Storage for MySql {
    async fn clear(&self) -> Result<(), Failure> {
        query(DROPS).execute(&self.pool).await?;
        Ok(())
    }

    async fn read(&self, id: String) -> Result<(), Failure> {
        let select = concat!("select data from ", table!(), " where id = ? and expires > ?");
        let rows = query(select).bind(id).bind(0_i64).fetch_all(&self.pool).await?;
        check(rows.len(), 1)
    }

    async fn write(&self, id: String) -> Result<(), Failure> {
        self.write_batch(vec![(id, data(1))]).await
    }
}

impl Batches for MySql {
    async fn read_batch(&self, ids: Vec<String>) -> Result<Vec<Record>, Failure> {
        let mut select =
            QueryBuilder::new(concat!("select id, data from ", table!(), " where expires > "));
        select.push_bind(0_i64).push(" and id in (");
        push_list(&mut select, ids.iter());
        select.push(")");
        let records: Vec<Record> =
            select.build_query_as().fetch_all(&mut *self.kept.one().await).await?;
        check(records.len(), ids.len())?;
        Ok(records)
    }

    async fn write_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        let mut upsert =
            QueryBuilder::new(concat!("insert into ", table!(), " (id, data, expires) "));
        upsert.push_values(records, |mut row, (id, data)| {
            row.push_bind(id).push_bind(data).push_bind(EXPIRES);
        });
        upsert.push(" on duplicate key update data = values(data), expires = values(expires)");
        upsert.build().execute(&mut *self.kept.one().await).await?;
        Ok(())
    }

    async fn new_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        self.write_batch(records).await
    }
}

/// Sessions in the tables of this crate.
pub struct Sessions(pub Arc<MySql>);

impl Batches for Sessions {
    async fn read_batch(&self, ids: Vec<String>) -> Result<Vec<Record>, Failure> {
        let mut select = QueryBuilder::new(
            "select convert(s.`key` using utf8mb4), i.value from raw_bench_sessions s
            join raw_bench_items i on i.uid = s.uid and i.application = 'bench' where s.expires > ",
        );
        select.push_bind(0_i64).push(" and s.`key` in (");
        push_list(&mut select, ids.iter().map(|id| id.as_bytes()));
        select.push(")");
        let records: Vec<Record> =
            select.build_query_as().fetch_all(&mut *self.0.kept.one().await).await?;
        check(records.len(), ids.len())?;
        Ok(records)
    }

    async fn write_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        for records in records.chunks(WRITTEN_AT_ONCE) {
            self.write_some(records).await?;
        }
        Ok(())
    }

    async fn new_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        let new: Vec<_> = records.into_iter().map(|record| (Uuid::now_v7(), record)).collect();
        let mut connection = self.0.kept.one().await;
        let mut both = connection.begin().await?;
        let mut sessions = QueryBuilder::new("insert into raw_bench_sessions ");
        sessions.push_values(&new, |mut row, (uid, (id, _))| {
            row.push_bind(uid).push_bind(id.as_bytes()).push("null, null");
            for _ in 0..4 {
                row.push_bind(EXPIRES);
            }
            row.push("null, null, null");
        });
        sessions.build().execute(&mut *both).await?;
        let mut items = QueryBuilder::new("insert into raw_bench_items ");
        items.push_values(&new, |mut row, (uid, (_, data))| {
            row.push_bind(uid).push("'bench', 'count'").push_bind(data);
        });
        items.build().execute(&mut *both).await?;
        both.commit().await?;
        Ok(())
    }
}

impl Sessions {
    async fn write_some(&self, records: &[Record]) -> Result<(), Failure> {
        let (ids, data): (Vec<_>, Vec<_>) = records.iter().cloned().unzip();
        let mut upsert = QueryBuilder::new(
            "insert into raw_bench_items
            select s.uid, 'bench', 'count', elt(field(s.`key`, ",
        );
        push_list(&mut upsert, ids.iter().map(|id| id.as_bytes()));
        upsert.push("), ");
        push_list(&mut upsert, data.iter());
        upsert.push(") from raw_bench_sessions s where s.`key` in (");
        push_list(&mut upsert, ids.iter().map(|id| id.as_bytes()));
        upsert.push(") and s.expires > ").push_bind(0_i64);
        upsert.push(" on duplicate key update value = values(value)");
        let done =
            upsert.build().execute(&mut *self.0.kept.one().await).await?.rows_affected() as usize;
        // One that is changed counts twice: not each that is missing is seen.
        if done < ids.len() {
            return check(done, ids.len());
        }
        Ok(())
    }
}

fn push_list<'a, T>(query: &mut QueryBuilder<sqlx::MySql>, values: impl Iterator<Item = T>)
where
    T: sqlx::Encode<'a, sqlx::MySql> + sqlx::Type<sqlx::MySql>,
{
    let mut list = query.separated(", ");
    for value in values {
        list.push_bind(value);
    }
}
