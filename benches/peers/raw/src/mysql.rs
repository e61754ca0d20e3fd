//! MariaDB or MySQL, with the defaults of sqlx's pool.

use sqlx::{MySqlPool, QueryBuilder, query};

use super::{DATA, EXPIRES, Storage, check, table};
use crate::support::Failure;

pub struct MySql(MySqlPool);

impl MySql {
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        let pool = MySqlPool::connect(url).await?;
        Ok(Self(pool))
    }

    pub async fn make(&self) -> Result<(), Failure> {
        let create = concat!(
            "create table ",
            table!(),
            " (id char(32) character set ascii primary key, data text not null,
            expires bigint not null)"
        );
        query(create).execute(&self.0).await?;
        Ok(())
    }
}

impl Storage for MySql {
    async fn clear(&self) -> Result<(), Failure> {
        query(concat!("drop table if exists ", table!())).execute(&self.0).await?;
        Ok(())
    }

    async fn read(&self, id: String) -> Result<(), Failure> {
        let select = concat!("select data from ", table!(), " where id = ? and expires > ?");
        let rows = query(select).bind(id).bind(0_i64).fetch_all(&self.0).await?;
        check(rows.len(), 1)
    }

    async fn write(&self, id: String) -> Result<(), Failure> {
        self.write_batch(vec![id]).await
    }

    async fn read_batch(&self, ids: Vec<String>) -> Result<(), Failure> {
        let mut select =
            QueryBuilder::new(concat!("select id, data from ", table!(), " where expires > "));
        select.push_bind(0_i64).push(" and id in (");
        let mut list = select.separated(", ");
        for id in &ids {
            list.push_bind(id);
        }
        list.push_unseparated(")");
        let rows = select.build().fetch_all(&self.0).await?;
        check(rows.len(), ids.len())
    }

    async fn write_batch(&self, ids: Vec<String>) -> Result<(), Failure> {
        let mut upsert =
            QueryBuilder::new(concat!("insert into ", table!(), " (id, data, expires) "));
        upsert.push_values(ids, |mut row, id| {
            row.push_bind(id).push_bind(DATA).push_bind(EXPIRES);
        });
        upsert.push(" on duplicate key update data = values(data), expires = values(expires)");
        upsert.build().execute(&self.0).await?;
        Ok(())
    }
}
