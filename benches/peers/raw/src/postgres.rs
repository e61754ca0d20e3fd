//! PostgreSQL: one by one with the defaults of sqlx's pool, in batches with connections of their own.

use std::str::FromStr;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, PgPool, query, query_as, raw_sql};
use uuid::Uuid;

use super::kept::Kept;
use super::{Batches, EXPIRES, Record, Storage, check, data, table};
use crate::support::Failure;

const DROPS: &str = "drop table if exists raw_bench, raw_bench_items, raw_bench_sessions";

/// The tables and indexes of this crate.
const SESSIONS: &str = "create table raw_bench_sessions (uid uuid not null primary key,
        key bytea not null unique, previous_key bytea unique, rotated bigint, expires bigint not null,
        ends bigint not null, created bigint not null, last_used bigint not null,
        cookie_lifetime bigint, principal text, note text);
    create index raw_bench_expires on raw_bench_sessions (expires);
    create index raw_bench_principal on raw_bench_sessions (principal) where principal is not null;
    create table raw_bench_items (uid uuid not null
        references raw_bench_sessions (uid) on delete cascade, application text not null,
        item_key bytea not null, value text not null, primary key (uid, application, item_key))";

pub struct Postgres {
    pool: PgPool,
    kept: Kept<PgConnection>,
}

impl Postgres {
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        let options = PgConnectOptions::from_str(url)?.disable_statement_logging();
        let pool = PgPool::connect_with(options.clone()).await?;
        // What is asked for is found by an index, whatever there is of it.
        let settings =
            [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("jit", "off")];
        let (options, mut kept) = (options.options(settings), Vec::new());
        for _ in 0..4 {
            kept.push(options.connect().await?);
        }
        Ok(Self { pool, kept: Kept::new(kept) })
    }

    pub async fn make(&self) -> Result<(), Failure> {
        let create = concat!(
            "create table ",
            table!(),
            " (id text primary key, data text not null, expires bigint not null)"
        );
        query(create).execute(&self.pool).await?;
        raw_sql(SESSIONS).execute(&self.pool).await?;
        Ok(())
    }
}

impl Storage for Postgres {
    async fn clear(&self) -> Result<(), Failure> {
        raw_sql(DROPS).execute(&self.pool).await?;
        Ok(())
    }

    async fn read(&self, id: String) -> Result<(), Failure> {
        let select = concat!("select data from ", table!(), " where id = $1 and expires > $2");
        let rows = query(select).bind(id).bind(0_i64).fetch_all(&self.pool).await?;
        check(rows.len(), 1)
    }

    async fn write(&self, id: String) -> Result<(), Failure> {
        let upsert = concat!(
            "insert into ",
            table!(),
            " (id, data, expires) values ($1, $2, $3)
            on conflict (id) do update set data = excluded.data, expires = excluded.expires"
        );
        query(upsert).bind(id).bind(data(1)).bind(EXPIRES).execute(&self.pool).await?;
        Ok(())
    }
}

impl Batches for Postgres {
    async fn read_batch(&self, ids: Vec<String>) -> Result<Vec<Record>, Failure> {
        let select = concat!(
            "select id, data from ",
            table!(),
            " where id in (select unnest($1)) and expires > $2"
        );
        let records: Vec<Record> =
            query_as(select).bind(&ids).bind(0_i64).fetch_all(&mut *self.kept.one().await).await?;
        check(records.len(), ids.len())?;
        Ok(records)
    }

    async fn write_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        let upsert = concat!(
            "insert into ",
            table!(),
            " (id, data, expires) select id, data, $3
            from unnest($1::text[], $2::text[]) as records (id, data)
            on conflict (id) do update set data = excluded.data, expires = excluded.expires"
        );
        let (ids, data): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        query(upsert)
            .bind(ids)
            .bind(data)
            .bind(EXPIRES)
            .execute(&mut *self.kept.one().await)
            .await?;
        Ok(())
    }

    async fn new_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        self.write_batch(records).await
    }
}

/// Sessions in the tables of this crate.
pub struct Sessions(pub Arc<Postgres>);

impl Batches for Sessions {
    async fn read_batch(&self, ids: Vec<String>) -> Result<Vec<Record>, Failure> {
        let select = "select convert_from(s.key, 'UTF8'), i.value from raw_bench_sessions s
            join raw_bench_items i on i.uid = s.uid and i.application = 'bench'
            where s.key in (select unnest($1)) and s.expires > $2";
        let keys: Vec<_> = ids.iter().map(|id| id.as_bytes()).collect();
        let records: Vec<Record> = query_as(select)
            .bind(&keys)
            .bind(0_i64)
            .fetch_all(&mut *self.0.kept.one().await)
            .await?;
        check(records.len(), ids.len())?;
        Ok(records)
    }

    async fn write_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        let upsert = "insert into raw_bench_items
            select s.uid, 'bench', 'count', n.value from unnest($1::bytea[], $2::text[]) n (key, value)
            join raw_bench_sessions s on s.key = n.key where s.expires > $3
            on conflict (uid, application, item_key) do update set value = excluded.value";
        let keys: Vec<_> = records.iter().map(|(id, _)| id.as_bytes()).collect();
        let values: Vec<_> = records.iter().map(|(_, data)| &**data).collect();
        let upsert = query(upsert).bind(keys).bind(values).bind(0_i64);
        check(
            upsert.execute(&mut *self.0.kept.one().await).await?.rows_affected() as usize,
            records.len(),
        )
    }

    async fn new_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        let insert = "with n as (select * from unnest($1::uuid[], $2::bytea[], $3::text[])
                as n (uid, key, value)),
            created as (insert into raw_bench_sessions
                select uid, key, null, null, $4, $4, $4, $4, null, null, null from n)
            insert into raw_bench_items select uid, 'bench', 'count', value from n";
        let uids: Vec<_> = records.iter().map(|_| Uuid::now_v7()).collect();
        let keys: Vec<_> = records.iter().map(|(id, _)| id.as_bytes()).collect();
        let values: Vec<_> = records.iter().map(|(_, data)| &**data).collect();
        query(insert)
            .bind(uids)
            .bind(keys)
            .bind(values)
            .bind(EXPIRES)
            .execute(&mut *self.0.kept.one().await)
            .await?;
        Ok(())
    }
}
