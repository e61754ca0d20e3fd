//! PostgreSQL, with the defaults of sqlx's pool.

use sqlx::{PgPool, query};

use super::{DATA, EXPIRES, Storage, check, table};
use crate::support::Failure;

pub struct Postgres(PgPool);

impl Postgres {
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        let pool = PgPool::connect(url).await?;
        Ok(Self(pool))
    }

    pub async fn make(&self) -> Result<(), Failure> {
        let create = concat!(
            "create table ",
            table!(),
            " (id text primary key, data text not null, expires bigint not null)"
        );
        query(create).execute(&self.0).await?;
        Ok(())
    }
}

impl Storage for Postgres {
    async fn clear(&self) -> Result<(), Failure> {
        query(concat!("drop table if exists ", table!())).execute(&self.0).await?;
        Ok(())
    }

    async fn read(&self, id: String) -> Result<(), Failure> {
        let select = concat!("select data from ", table!(), " where id = $1 and expires > $2");
        let rows = query(select).bind(id).bind(0_i64).fetch_all(&self.0).await?;
        check(rows.len(), 1)
    }

    async fn write(&self, id: String) -> Result<(), Failure> {
        let upsert = concat!(
            "insert into ",
            table!(),
            " (id, data, expires) values ($1, $2, $3)
            on conflict (id) do update set data = excluded.data, expires = excluded.expires"
        );
        query(upsert).bind(id).bind(DATA).bind(EXPIRES).execute(&self.0).await?;
        Ok(())
    }

    async fn read_batch(&self, ids: Vec<String>) -> Result<(), Failure> {
        let select =
            concat!("select id, data from ", table!(), " where id = any($1) and expires > $2");
        let rows = query(select).bind(&ids).bind(0_i64).fetch_all(&self.0).await?;
        check(rows.len(), ids.len())
    }

    async fn write_batch(&self, ids: Vec<String>) -> Result<(), Failure> {
        let upsert = concat!(
            "insert into ",
            table!(),
            " (id, data, expires) select id, $2, $3 from unnest($1::text[]) as ids (id)
            on conflict (id) do update set data = excluded.data, expires = excluded.expires"
        );
        query(upsert).bind(ids).bind(DATA).bind(EXPIRES).execute(&self.0).await?;
        Ok(())
    }
}
