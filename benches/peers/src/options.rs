//! What is measured.

use clap::{Parser, ValueEnum};

use crate::protocol::Workload;

/// Compares this crate with other session layers and with the bare storages, in alternating runs.
#[derive(Parser)]
pub struct Options {
    /// The storages.
    #[arg(long, value_delimiter = ',', default_value = "memory,sqlite,postgres,mysql,redis")]
    storages: Vec<StorageName>,
    /// How many tasks send requests at the same time. With 1 the latency is compared.
    #[arg(long, value_delimiter = ',', default_value = "64,512,1")]
    pub tasks: Vec<usize>,
    /// What the requests do.
    #[arg(long, value_delimiter = ',', default_value = "untouched,read,write,new")]
    workloads: Vec<WorkloadName>,
    /// How often each cell is measured; the table has the medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// How long each run takes, about. Shorter ones show how quickly a program begins.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// A database in which a schema and tables of their own are made and removed.
    #[arg(long, default_value = "postgres://postgres@127.0.0.1:5432/test?sslmode=disable")]
    postgres_url: String,
    /// A server in which a database and tables of their own are made and removed.
    #[arg(long, default_value = "mysql://root@127.0.0.1:3306/test?ssl-mode=disabled")]
    mysql_url: String,
    /// A server whose numbered databases 14 and 15 are for this: 15 is EMPTIED.
    #[arg(long, default_value = "redis://127.0.0.1:6379")]
    redis_url: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StorageName {
    Memory,
    Sqlite,
    Postgres,
    Mysql,
    Redis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WorkloadName {
    Untouched,
    Read,
    Write,
    New,
}

/// One that is measured, with its row in the table.
#[derive(Clone)]
pub struct Subject {
    pub label: &'static str,
    pub program: Program,
    pub variant: &'static str,
    pub role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    WebSession,
    TowerSessions,
    AxumSession,
    Raw,
}

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// This crate.
    Own,
    /// With which this crate is compared.
    Peer,
    /// Beside which the others are seen.
    Shown,
    /// What the storage can do.
    Limit,
    /// What requests can do whose handlers use the storage by hand, without sessions.
    ByHand,
    /// Likewise, with what this crate keeps of a session: that it expires, and lies in tables of its own.
    SessionsByHand,
    /// A router without sessions, which runs this workload and no other.
    Without(Workload),
}

#[derive(Clone)]
pub struct Storage {
    pub name: StorageName,
    url: String,
    pub subjects: Vec<Subject>,
}

const fn subject(
    label: &'static str,
    program: Program,
    variant: &'static str,
    role: Role,
) -> Subject {
    Subject { label, program, variant, role }
}

use Program::{AxumSession, Raw, TowerSessions, WebSession};

const BARE: Subject = subject("no layer", WebSession, "", Role::Without(Workload::Bare));
const NO_OP: Subject =
    subject("a layer that does nothing", WebSession, "", Role::Without(Workload::NoOp));
const OWN: Subject = subject("web-session", WebSession, "", Role::Own);
const TOWER: Subject = subject("tower-sessions 0.14", TowerSessions, "", Role::Peer);
const NEWEST: Subject = subject("tower-sessions 0.15", TowerSessions, "newest", Role::Peer);
const AXUM: Subject = subject("axum_session 0.22", AxumSession, "", Role::Peer);
const CACHE: Subject =
    subject("axum_session 0.22, its cache on (shown)", AxumSession, "", Role::Shown);
const NO_CACHE: Subject =
    subject("axum_session 0.22, no cache", AxumSession, "no cache", Role::Peer);
const MAP: Subject = subject("by hand in the handlers, a map", Raw, "by hand", Role::ByHand);
const BY_HAND: Subject = subject("by hand in the handlers, batched", Raw, "by hand", Role::ByHand);
const SESSIONS: Subject =
    subject("sessions by hand in the handlers, batched", Raw, "sessions", Role::SessionsByHand);
const SINGLE: Subject = subject("the storage, one by one", Raw, "single", Role::Limit);
const BATCHED: Subject = subject("the storage, batched", Raw, "batched", Role::Limit);

impl StorageName {
    pub fn title(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Redis => "Redis",
        }
    }
}

impl Options {
    pub fn storages(&self) -> Vec<Storage> {
        let make = |name: &StorageName| {
            let (url, subjects): (_, &[Subject]) = match name {
                StorageName::Memory => ("memory:", &[BARE, NO_OP, TOWER, OWN, NEWEST, AXUM, MAP]),
                StorageName::Sqlite => (
                    "sqlite:",
                    &[NO_OP, TOWER, OWN, NO_CACHE, BY_HAND, SESSIONS, CACHE, SINGLE, BATCHED],
                ),
                StorageName::Postgres => (
                    &*self.postgres_url,
                    &[NO_OP, TOWER, OWN, NO_CACHE, BY_HAND, SESSIONS, CACHE, SINGLE, BATCHED],
                ),
                StorageName::Mysql => {
                    (&*self.mysql_url, &[NO_OP, TOWER, OWN, BY_HAND, SESSIONS, SINGLE, BATCHED])
                }
                StorageName::Redis => {
                    (&*self.redis_url, &[NO_OP, TOWER, OWN, BY_HAND, SESSIONS, SINGLE, BATCHED])
                }
            };
            Storage { name: *name, url: url.to_owned(), subjects: subjects.to_vec() }
        };
        self.storages.iter().map(make).collect()
    }

    pub fn workloads(&self) -> impl Iterator<Item = Workload> {
        self.workloads.iter().map(|name| match name {
            WorkloadName::Untouched => Workload::Untouched,
            WorkloadName::Read => Workload::Read,
            WorkloadName::Write => Workload::Write,
            WorkloadName::New => Workload::New,
        })
    }
}

impl Storage {
    /// Memory and Redis have no batches, whose size the number of tasks would be.
    pub fn is_measured_with(&self, tasks: usize) -> bool {
        tasks <= 64 || !matches!(self.name, StorageName::Memory | StorageName::Redis)
    }

    /// Where a program keeps its sessions. No two share a file, or a number of Redis.
    pub fn url_for(&self, subject: &Subject, directory: &std::path::Path) -> String {
        match self.name {
            _ if matches!(subject.role, Role::Without(_)) => "memory:".to_owned(),
            StorageName::Sqlite => {
                let file =
                    format!("{:?}-{}.db", subject.program, subject.variant.replace(' ', "-"));
                format!("sqlite://{}", directory.join(file).display())
            }
            StorageName::Redis => {
                let number = if subject.program == TowerSessions { 15 } else { 14 };
                format!("{}/{number}", self.url.trim_end_matches('/'))
            }
            _ => self.url.clone(),
        }
    }
}
