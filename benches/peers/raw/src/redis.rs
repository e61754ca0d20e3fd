//! Redis, one connection for all tasks: `HGETALL` and `HSET`. A batch is a pipeline.

use redis::aio::MultiplexedConnection;
use redis::{Client, Pipeline, cmd, pipe};

use super::{DATA, Storage, check, table};
use crate::support::Failure;

const PREFIX: &str = concat!(table!(), ":");

pub struct Redis(MultiplexedConnection);

impl Redis {
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        Ok(Self(Client::open(url)?.get_multiplexed_async_connection().await?))
    }
}

impl Storage for Redis {
    async fn clear(&self) -> Result<(), Failure> {
        let mut connection = self.0.clone();
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(format!("{PREFIX}*")).arg("COUNT").arg(1_000);
            let (next, keys): (String, Vec<String>) = scan.query_async(&mut connection).await?;
            if !keys.is_empty() {
                cmd("UNLINK").arg(keys).exec_async(&mut connection).await?;
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn read(&self, id: String) -> Result<(), Failure> {
        let mut command = cmd("HGETALL");
        command.arg(PREFIX.to_owned() + &id);
        let fields: Vec<String> = command.query_async(&mut self.0.clone()).await?;
        check(fields.len(), 2)
    }

    async fn write(&self, id: String) -> Result<(), Failure> {
        let mut command = cmd("HSET");
        command.arg(PREFIX.to_owned() + &id).arg("data").arg(DATA);
        Ok(command.exec_async(&mut self.0.clone()).await?)
    }

    async fn read_batch(&self, ids: Vec<String>) -> Result<(), Failure> {
        let mut commands: Pipeline = pipe();
        for id in &ids {
            commands.cmd("HGETALL").arg(PREFIX.to_owned() + id);
        }
        let all: Vec<Vec<String>> = commands.query_async(&mut self.0.clone()).await?;
        check(all.iter().filter(|fields| fields.len() == 2).count(), ids.len())
    }

    async fn write_batch(&self, ids: Vec<String>) -> Result<(), Failure> {
        let mut commands = pipe();
        for id in &ids {
            commands.cmd("HSET").arg(PREFIX.to_owned() + id).arg("data").arg(DATA);
        }
        Ok(commands.exec_async(&mut self.0.clone()).await?)
    }
}
