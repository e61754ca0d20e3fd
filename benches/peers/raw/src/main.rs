//! What the storages do without sessions: the same small record, by hand. For memory, which has no statements,
//! that is done in the handlers of a router; for the others there is no router.
//!
//! The variant `single` has a statement (or, with Redis, a command) for each record, from as many
//! tasks as the plan says. The variant `batched` has one task and puts as many records into each
//! statement as there would be tasks; the latency is that of the whole batch. A read is a select, a
//! write an upsert of a record that is there, `new` an upsert of one that is not. Each write is
//! committed by itself.

#[path = "../../../support/mod.rs"]
mod support;

mod memory;
mod mysql;
mod postgres;
mod redis;
mod sqlite;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::Failure;
use support::child::{Measured, serve};
use support::load::{self, Operation};
use support::protocol::{Figures, Plan, Workload};
use support::subject::Subject;

/// The table, or the start of the keys, that is made and removed afterwards.
macro_rules! table {
    () => {
        "raw_bench"
    };
}
use table;

/// What a record holds: about what a session with one integer is as JSON.
const DATA: &str = r#"{"bench":{"count":1}}"#;
/// A day in the far future, in seconds.
const EXPIRES: i64 = 4_000_000_000;

/// The statements of a storage. Records have numbers.
trait Storage: Send + Sync {
    /// Removes the table or the keys.
    async fn clear(&self) -> Result<(), Failure>;
    fn read(&self, id: String) -> impl Future<Output = Result<(), Failure>> + Send;
    fn write(&self, id: String) -> impl Future<Output = Result<(), Failure>> + Send;
    fn read_batch(&self, ids: Vec<String>) -> impl Future<Output = Result<(), Failure>> + Send;
    fn write_batch(&self, ids: Vec<String>) -> impl Future<Output = Result<(), Failure>> + Send;
}

struct Batches<S> {
    storage: Arc<S>,
    workload: Workload,
    /// Records in a statement; none for one without batches.
    size: Option<usize>,
    sessions: usize,
    /// The number of the next new record.
    next: AtomicUsize,
}

impl<S: Storage + 'static> Operation for Batches<S> {
    async fn call(&self, session: usize) -> Result<u64, Failure> {
        let size = self.size.unwrap_or(1);
        let id = |number: usize| match self.workload {
            Workload::New => name(self.next.fetch_add(1, Ordering::Relaxed)),
            _ => name((session + number) % self.sessions),
        };
        let is_read = self.workload == Workload::Read;
        match self.size {
            None if is_read => self.storage.read(id(0)).await?,
            None => self.storage.write(id(0)).await?,
            Some(_) if is_read => self.storage.read_batch((0..size).map(id).collect()).await?,
            // In the order of their keys, as statements beside each other should have them.
            Some(_) => {
                let mut ids: Vec<_> = (0..size).map(id).collect();
                ids.sort_unstable();
                self.storage.write_batch(ids).await?;
            }
        }
        Ok(size as u64)
    }
}

/// A key as long as a session's, and as evenly spread.
fn name(number: usize) -> String {
    format!("{:032x}", (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

enum Raw {
    Memory(Box<Subject>),
    Sqlite(Arc<sqlite::Sqlite>),
    Postgres(Arc<postgres::Postgres>),
    MySql(Arc<mysql::MySql>),
    Redis(Arc<redis::Redis>),
}

struct Variant {
    raw: Raw,
    is_batched: bool,
}

impl Measured for Variant {
    async fn open(url: &str, variant: &str) -> Result<Self, Failure> {
        let raw = match url.split(':').next().unwrap_or_default() {
            "memory" => Raw::Memory(Box::new(memory::subject())),
            "sqlite" => Raw::Sqlite(Arc::new(sqlite::Sqlite::connect(url).await?)),
            "postgres" => Raw::Postgres(Arc::new(postgres::Postgres::connect(url).await?)),
            "mysql" => Raw::MySql(Arc::new(mysql::MySql::connect(url).await?)),
            "redis" => Raw::Redis(Arc::new(redis::Redis::connect(url).await?)),
            scheme => return Err(format!("`{scheme}:` is not measured").into()),
        };
        let mut opened = Self { raw, is_batched: variant == "batched" };
        opened.clear().await?;
        match &opened.raw {
            Raw::Sqlite(storage) => storage.make().await?,
            Raw::Postgres(storage) => storage.make().await?,
            Raw::MySql(storage) => storage.make().await?,
            Raw::Redis(_) | Raw::Memory(_) => {}
        }
        Ok(opened)
    }

    async fn run(&mut self, plan: &Plan) -> Result<Figures, Failure> {
        match &mut self.raw {
            Raw::Memory(subject) => subject.run(plan).await,
            Raw::Sqlite(storage) => run(storage, self.is_batched, plan).await,
            Raw::Postgres(storage) => run(storage, self.is_batched, plan).await,
            Raw::MySql(storage) => run(storage, self.is_batched, plan).await,
            Raw::Redis(storage) => run(storage, self.is_batched, plan).await,
        }
    }

    async fn clear(&mut self) -> Result<(), Failure> {
        match &self.raw {
            Raw::Memory(_) => Ok(()),
            Raw::Sqlite(storage) => storage.clear().await,
            Raw::Postgres(storage) => storage.clear().await,
            Raw::MySql(storage) => storage.clear().await,
            Raw::Redis(storage) => storage.clear().await,
        }
    }
}

async fn run<S>(storage: &Arc<S>, is_batched: bool, plan: &Plan) -> Result<Figures, Failure>
where
    S: Storage + 'static,
{
    let all: Vec<_> = (0..plan.sessions).map(name).collect();
    for ids in all.chunks(200) {
        storage.write_batch(ids.to_vec()).await?;
    }
    let operation = Arc::new(Batches {
        storage: storage.clone(),
        workload: plan.workload,
        size: is_batched.then_some(plan.tasks),
        sessions: plan.sessions,
        next: AtomicUsize::new(plan.sessions),
    });
    let tasks = if is_batched { 1 } else { plan.tasks };
    load::run(&operation, &Plan { tasks, ..plan.clone() }).await
}

/// So many rows have to come back.
fn check(rows: usize, expected: usize) -> Result<(), Failure> {
    if rows == expected {
        return Ok(());
    }
    Err(format!("{rows} records were found, not {expected}").into())
}

fn main() {
    serve::<Variant>();
}
