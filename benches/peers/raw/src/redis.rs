//! Redis, one connection for all tasks: `HGETALL` and `HSET`. A batch is a pipeline.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Client, Pipeline, Script, cmd, pipe};
use uuid::Uuid;

use super::{Batches, Record, Storage, check, data, table};
use crate::support::Failure;

const PREFIX: &str = concat!(table!(), ":");

/// Writes an item of each session that is live.
const WRITE: &str = "local done = 0
    for at = 1, #KEYS do
        local expires = redis.call('HGET', KEYS[at], 'expires')
        if expires and tonumber(expires) > tonumber(ARGV[1]) then
            redis.call('HSET', KEYS[at], 'data', ARGV[at + 1])
            done = done + 1
        end
    end
    return done";

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
        command.arg(PREFIX.to_owned() + &id).arg("data").arg(data(1));
        Ok(command.exec_async(&mut self.0.clone()).await?)
    }
}

impl Batches for Redis {
    const MOST: usize = 32;
    const READING: usize = 4;
    const WRITING: usize = 4;

    async fn read_batch(&self, ids: Vec<String>) -> Result<Vec<Record>, Failure> {
        let mut commands: Pipeline = pipe();
        for id in &ids {
            commands.cmd("HGETALL").arg(PREFIX.to_owned() + id);
        }
        let all: Vec<Vec<String>> = commands.query_async(&mut self.0.clone()).await?;
        let data = all.into_iter().filter_map(|fields| fields.into_iter().nth(1));
        let records: Vec<Record> = ids.into_iter().zip(data).collect();
        check(records.len(), commands.len())?;
        Ok(records)
    }

    async fn write_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        let mut commands = pipe();
        for (id, data) in records {
            commands.cmd("HSET").arg(PREFIX.to_owned() + &id).arg("data").arg(data);
        }
        Ok(commands.exec_async(&mut self.0.clone()).await?)
    }

    async fn new_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        self.write_batch(records).await
    }
}

/// Sessions: they expire, have references, and are written only while they are live, which takes a script.
pub struct Sessions(pub Arc<Redis>);

impl Batches for Sessions {
    const MOST: usize = 32;
    const READING: usize = 4;
    const WRITING: usize = 4;

    async fn read_batch(&self, ids: Vec<String>) -> Result<Vec<Record>, Failure> {
        let mut commands = pipe();
        for id in &ids {
            commands.cmd("HMGET").arg(PREFIX.to_owned() + id).arg("data").arg("expires");
        }
        let all: Vec<(String, u64)> = commands.query_async(&mut self.0.0.clone()).await?;
        let live = ids.iter().cloned().zip(all).filter(|(_, (_, expires))| *expires > 0);
        let records: Vec<Record> = live.map(|(id, (data, _))| (id, data)).collect();
        check(records.len(), ids.len())?;
        Ok(records)
    }

    async fn write_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        let script = Script::new(WRITE);
        let mut script = script.prepare_invoke();
        script.arg(0);
        for (id, data) in &records {
            script.key(PREFIX.to_owned() + id).arg(data);
        }
        let done: usize = script.invoke_async(&mut self.0.0.clone()).await?;
        check(done, records.len())
    }

    async fn new_batch(&self, records: Vec<Record>) -> Result<(), Failure> {
        let mut commands = pipe();
        for (id, data) in records {
            let key = PREFIX.to_owned() + &id;
            let reference = format!("{PREFIX}{}", Uuid::now_v7());
            commands.cmd("SET").arg(reference).arg(&key).arg("PX").arg(1_800_000);
            commands
                .cmd("HSET")
                .arg(&key)
                .arg("data")
                .arg(data)
                .arg("expires")
                .arg(4_000_000_000_u64);
            commands.cmd("PEXPIRE").arg(&key).arg(1_800_000);
        }
        Ok(commands.exec_async(&mut self.0.0.clone()).await?)
    }
}
