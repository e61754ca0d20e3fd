//! What it costs to have many sessions: the same requests amid ten thousand, a million and ten million
//! of them, in SQLite and PostgreSQL; the cleanup of the expired ones, alone and beside readers; and
//! the memory that a session takes in the memory driver.
//!
//! ```sh
//! cargo bench --all-features --bench growth -- --sizes 10000 --expired 10000 --seconds 1
//! cargo bench --all-features --bench growth    # ten million sessions: many minutes, 10 GB of disk
//! ```
//!
//! `load` is what a storage has to offer here, done by `sqlite` and `postgres`; sessions come into their
//! tables in bulk. `traffic` asks and measures. PostgreSQL gets a database `growth`, which is dropped;
//! the file of SQLite is made where `TMPDIR` says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::future_not_send,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    reason = "a bench stops at the first surprise, and prints"
)]

mod load;
mod memory;
mod postgres;
mod sqlite;
#[path = "../support/mod.rs"]
mod support;
mod traffic;
#[path = "../support/web_session.rs"]
mod web_session_subject;
#[path = "../counts/workload.rs"]
#[allow(dead_code, reason = "the other bench uses the rest")]
mod workload;

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use clap::{Parser, ValueEnum};
use load::{Batch, Storage};
use postgres::Postgres;
use sqlite::Sqlite;
use sqlx::Connection;
use support::load::Latencies;
use support::protocol::{Figures, Workload};
use traffic::{Site, print, print_head};
use web_session::OnWarning;

/// The sessions that requests meet again and again.
const HOT: u64 = 200;

/// How many sessions are looked up by one statement by hand.
const LOOKED_UP_AT_ONCE: usize = 64;

/// When short-lived sessions end, and a moment after that, at which all others live.
const SOON: Duration = Duration::from_secs(3_600);
const LATER: Duration = Duration::from_secs(2 * 3_600);

/// Measures what it costs to have many sessions.
#[derive(Parser)]
struct Options {
    /// How many sessions there are.
    #[arg(
        long, value_delimiter = ',', default_value = "10000,1000000,10000000",
        value_parser = clap::value_parser!(u64).range(HOT..)
    )]
    sizes: Vec<u64>,
    /// How many a cleanup beside readers removes.
    #[arg(long, default_value_t = 1_000_000)]
    expired: u64,
    /// How many the memory driver gets.
    #[arg(long, default_value_t = 1_000_000)]
    memory: u64,
    /// How long each kind of request is measured.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, value_delimiter = ',', default_value = "memory,sqlite,postgres")]
    storages: Vec<Kind>,
    /// The server, without a database.
    #[arg(long, default_value = "postgres://postgres@127.0.0.1:5432")]
    postgres: String,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Memory,
    Sqlite,
    Postgres,
}

fn main() {
    let options = Options::parse();
    let runtime = support::runtime();
    for storage in &options.storages {
        match storage {
            Kind::Memory => memory::report(options.memory),
            Kind::Sqlite => runtime.block_on(grow(Sqlite::new(), &options)),
            Kind::Postgres => runtime.block_on(async {
                grow(Postgres::new(&options.postgres).await, &options).await;
            }),
        }
    }
}

/// Measures one storage with each number of sessions.
async fn grow<S: Storage>(storage: S, options: &Options) {
    let mut all = BTreeMap::new();
    for &sessions in &options.sizes {
        let measured = amid(&storage, sessions, options).await;
        all.insert(sessions, measured);
    }
    let smallest = all.values().next().unwrap();
    for (sessions, measured) in all.iter().skip(1) {
        for (kind, rate) in measured {
            let cost = smallest[kind] / rate;
            println!("{}, {kind}: amid {sessions} sessions {cost:.2} × the cost", S::NAME);
        }
    }
    storage.remove().await;
}

/// Measures one storage with so many sessions, and answers the requests a second of each kind.
async fn amid<S: Storage>(storage: &S, sessions: u64, options: &Options) -> BTreeMap<String, f64> {
    let begin = Instant::now();
    storage.create().await;
    // A tenth is there to be cleaned up.
    storage.load(Batch::new(0, sessions, 10, SOON)).await;
    let bytes = storage.bytes().await / sessions;
    let took = begin.elapsed().as_secs_f64();
    println!("\n{}, {sessions} sessions, loaded in {took:.1} s: {bytes} bytes each", S::NAME);

    let driver = storage.open().await;
    let site = Site::new(driver.clone()).await;
    let mut rates = BTreeMap::new();
    print_head();
    // Without a workload it is read by hand.
    for workload in [Some(Workload::Read), None, Some(Workload::Write)] {
        for (name, step) in [("all", 1), ("200 hot", sessions / HOT)] {
            let measured = match workload {
                Some(workload) => site.rush(workload, sessions, step, options.seconds).await,
                None => by_hand(storage, sessions, step, options.seconds).await,
            };
            let by_hand = || format!("looked up, {LOOKED_UP_AT_ONCE} at once");
            let kind = workload.map_or_else(by_hand, |workload| workload.name().to_owned());
            let kind = format!("{kind}, {name}");
            print(&kind, &measured);
            rates.insert(kind, measured.requests_per_second);
        }
    }
    let (removed, took) = clean_up(&site).await;
    println!("  cleanup of {removed}: {took:.2} s, {:.0} a second", removed as f64 / took);
    storage.close(driver).await;

    storage.load(Batch::new(sessions, sessions + options.expired, 1, SOON)).await;
    let driver = storage.open().await;
    let site = Site::new(driver.clone()).await;
    let for_a_time = |seconds| tokio::time::sleep(Duration::from_secs_f64(seconds));
    // The first requests find the connections and caches cold.
    site.warm_up(sessions).await;
    site.pace(sessions, for_a_time(options.seconds / 5.0)).await;
    let (quiet, ()) = site.pace(sessions, for_a_time(options.seconds)).await;
    print("1000 reads/s, quiet", &quiet);
    let (beside, (removed, took)) = site.pace(sessions, clean_up(&site)).await;
    print("1000 reads/s, cleanup", &beside);
    let times = beside.p99 / quiet.p99;
    println!("  beside the cleanup of {removed} in {took:.2} s: p99 {times:.1} × of quiet");
    storage.close(driver).await;
    storage.clear().await;
    rates
}

/// Looks sessions and their items up by statements on one connection, and without a driver: about as many at once as a
/// batch has. The database answers sums, so that little but the looking up is measured; the times are those of a statement.
async fn by_hand<S: Storage>(storage: &S, sessions: u64, step: u64, seconds: f64) -> Figures {
    let (mut connection, mut took) = (storage.connect().await, Duration::ZERO);
    let mut latencies = Latencies::new().unwrap();
    while took.as_secs_f64() < seconds {
        let mut numbers = HashSet::new();
        while numbers.len() < LOOKED_UP_AT_ONCE {
            numbers.insert(fastrand::u64(..sessions / step) * step);
        }
        let keys = numbers.into_iter().map(|number| load::key(number).as_bytes().to_vec());
        let keys: Vec<_> = keys.collect();
        let begin = Instant::now();
        let items = S::read(&mut connection, keys).await;
        let elapsed = begin.elapsed();
        assert_eq!(items, LOOKED_UP_AT_ONCE as i64);
        latencies.add(LOOKED_UP_AT_ONCE as u64, elapsed);
        took += elapsed;
    }
    connection.close().await.unwrap();
    latencies.figures(took)
}

/// Removes the short-lived sessions: how many, and in how many seconds.
async fn clean_up(site: &Site) -> (u64, f64) {
    let begin = Instant::now();
    let until = SystemTime::now() + LATER;
    let removed = site.layer.manager().cleanup_between(..until, OnWarning::Ignore).await.unwrap();
    (removed, begin.elapsed().as_secs_f64())
}
