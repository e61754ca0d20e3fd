//! What the storages do without sessions: the same small record, by hand.
//!
//! The variant `single` has a statement (or, with Redis, a command) for each record, from as many
//! tasks as the plan says. The variant `batched` has one task and puts as many records into each
//! statement as there would be tasks; the latency is that of the whole batch. A read is a select, a
//! write an upsert of a record that is there, `new` an upsert of one that is not. Each write is
//! committed by itself.
//!
//! In the variant `by hand` the handlers of a router do that: with a map in memory, and elsewhere together with what
//! other requests ask for at the same moment. In the variant `sessions` they do it in the tables that this crate
//! has, with their indexes, and only while a session is live; in Redis that takes a script, and a session has a
//! reference beside it.

#[path = "../../../support/mod.rs"]
mod support;

mod kept;
mod memory;
mod mysql;
mod postgres;
mod redis;
mod requests;
mod sqlite;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use requests::subject;
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
fn data(count: u64) -> String {
    format!(r#"{{"bench":{{"count":{count}}}}}"#)
}

/// A record, by its name.
type Record = (String, String);

/// A day in the far future, in seconds.
const EXPIRES: i64 = 4_000_000_000;

/// Statements about many records at once.
trait Batches: Send + Sync {
    /// How many records are put into a statement at most.
    const MOST: usize = 512;
    /// How many statements that read run at the same time.
    const READING: usize = 2;
    /// How many run at the same time that write to what is there, and of those that write what is not.
    const WRITING: usize = 1;

    /// The records, all of which have to be there, in any order.
    fn read_batch(
        &self,
        ids: Vec<String>,
    ) -> impl Future<Output = Result<Vec<Record>, Failure>> + Send;
    /// Writes records that are there.
    fn write_batch(&self, records: Vec<Record>)
    -> impl Future<Output = Result<(), Failure>> + Send;
    /// Writes records that are not there.
    fn new_batch(&self, records: Vec<Record>) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The statements of a storage. Records have numbers.
trait Storage: Batches {
    /// Removes the table or the keys.
    async fn clear(&self) -> Result<(), Failure>;
    fn read(&self, id: String) -> impl Future<Output = Result<(), Failure>> + Send;
    fn write(&self, id: String) -> impl Future<Output = Result<(), Failure>> + Send;
}

struct Work<S> {
    storage: Arc<S>,
    workload: Workload,
    /// Records in a statement; none for one without batches.
    size: Option<usize>,
    sessions: usize,
    /// The number of the next new record.
    next: AtomicUsize,
}

impl<S: Storage + 'static> Operation for Work<S> {
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
            Some(_) if is_read => {
                self.storage.read_batch((0..size).map(id).collect()).await?;
            }
            // In the order of their keys, as statements beside each other should have them.
            Some(_) => {
                let mut records: Vec<_> = (0..size).map(id).map(|id| (id, data(1))).collect();
                records.sort_unstable();
                self.storage.write_batch(records).await?;
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
    Memory,
    Sqlite(Arc<sqlite::Sqlite>),
    Postgres(Arc<postgres::Postgres>),
    MySql(Arc<mysql::MySql>),
    Redis(Arc<redis::Redis>),
}

/// What is asked of a storage.
enum Way {
    Single,
    Batched,
    Requests(Subject),
}

struct Variant {
    raw: Raw,
    way: Way,
}

impl Measured for Variant {
    async fn open(url: &str, variant: &str) -> Result<Self, Failure> {
        let raw = match url.split(':').next().unwrap_or_default() {
            "memory" => Raw::Memory,
            "sqlite" => Raw::Sqlite(Arc::new(sqlite::Sqlite::connect(url).await?)),
            "postgres" => Raw::Postgres(Arc::new(postgres::Postgres::connect(url).await?)),
            "mysql" => Raw::MySql(Arc::new(mysql::MySql::connect(url).await?)),
            "redis" => Raw::Redis(Arc::new(redis::Redis::connect(url).await?)),
            scheme => return Err(format!("`{scheme}:` is not measured").into()),
        };
        let by_hand = match (variant, &raw) {
            ("single" | "batched", _) => None,
            ("by hand", Raw::Memory) => Some(memory::subject()),
            ("sessions", Raw::Sqlite(raw)) => Some(subject(sqlite::Sessions(raw.clone()).into())),
            ("sessions", Raw::Postgres(raw)) => {
                Some(subject(postgres::Sessions(raw.clone()).into()))
            }
            ("sessions", Raw::MySql(raw)) => Some(subject(mysql::Sessions(raw.clone()).into())),
            ("sessions", Raw::Redis(raw)) => Some(subject(redis::Sessions(raw.clone()).into())),
            ("by hand", Raw::Sqlite(raw)) => Some(subject(raw.clone())),
            ("by hand", Raw::Postgres(raw)) => Some(subject(raw.clone())),
            ("by hand", Raw::MySql(raw)) => Some(subject(raw.clone())),
            ("by hand", Raw::Redis(raw)) => Some(subject(raw.clone())),
            _ => return Err(format!("there is no variant `{variant}`").into()),
        };
        let way = match by_hand {
            Some(subject) => Way::Requests(subject),
            None if variant == "batched" => Way::Batched,
            None => Way::Single,
        };
        let mut opened = Self { raw, way };
        opened.clear().await?;
        match &opened.raw {
            Raw::Sqlite(storage) => storage.make().await?,
            Raw::Postgres(storage) => storage.make().await?,
            Raw::MySql(storage) => storage.make().await?,
            Raw::Redis(_) | Raw::Memory => {}
        }
        Ok(opened)
    }

    async fn run(&mut self, plan: &Plan) -> Result<Figures, Failure> {
        let is_batched = match &mut self.way {
            Way::Requests(subject) => return subject.run(plan).await,
            way => matches!(way, Way::Batched),
        };
        match &self.raw {
            Raw::Memory => Err("memory has no statements".into()),
            Raw::Sqlite(storage) => run(storage, is_batched, plan).await,
            Raw::Postgres(storage) => run(storage, is_batched, plan).await,
            Raw::MySql(storage) => run(storage, is_batched, plan).await,
            Raw::Redis(storage) => run(storage, is_batched, plan).await,
        }
    }

    async fn clear(&mut self) -> Result<(), Failure> {
        match &self.raw {
            Raw::Memory => Ok(()),
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
    let all: Vec<_> = (0..plan.sessions).map(|number| (name(number), data(1))).collect();
    for records in all.chunks(200) {
        storage.write_batch(records.to_vec()).await?;
    }
    let operation = Arc::new(Work {
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
