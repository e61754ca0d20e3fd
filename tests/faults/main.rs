//! Faults, with real servers that the tests start and kill: what a visitor sees meanwhile, what is lost,
//! and how long it takes until all works again. The run ends with a table of it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, unreachable_pub, missing_docs)]

mod application;
mod cleanup;
mod connections;
mod contents;
mod crashes;
mod disk;
mod private;
mod visitors;

use std::env;
use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use private::Kind;

/// Set where a server that cannot be started, or a disk that cannot be made, is a failure.
const REQUIRED: &str = "WEB_SESSION_REQUIRE_SERVERS";

/// The fault that wants a disk of its own, which not everybody may mount.
const DISK: &str = "the_disk_is_full";

/// What is to stand in the table: the fault, the storage, and what happened.
static TABLE: Mutex<Vec<(&str, Kind, String)>> = Mutex::new(Vec::new());

/// Notes what visitors saw, what was lost, and how long it took until all worked again.
fn report(
    fault: &'static str,
    kind: Kind,
    seen: impl Display,
    lost: impl Display,
    again: impl Display,
) {
    let cell = format!("{seen}; lost: {lost}; worked again {again}");
    TABLE.lock().unwrap().push((fault, kind, cell));
}

/// One line a fault, one column a storage.
fn print_table() {
    let table = TABLE.lock().unwrap();
    let mut faults: Vec<_> = table.iter().map(|(fault, ..)| *fault).collect();
    faults.dedup();
    let names = Kind::ALL.map(Kind::name);
    println!("| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for fault in faults {
        let cell = |kind| {
            let cell = table.iter().find(|(of, at, _)| (*of, *at) == (fault, kind));
            cell.map_or("–", |(.., cell)| cell)
        };
        println!("| {fault} | {} |", Kind::ALL.map(cell).join(" | "));
    }
}

/// A time for the table.
fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Something that happens to some storages.
struct Fault {
    name: &'static str,
    kinds: &'static [Kind],
    run: fn(Kind),
}

macro_rules! fault {
    ($module:ident :: $name:ident, $kinds:expr) => {
        Fault {
            name: stringify!($name),
            kinds: $kinds,
            run: |kind| {
                let begun = Instant::now();
                runtime().block_on($module::$name(kind));
                print!("{}, ", seconds(begun.elapsed()));
            },
        }
    };
}

const SQL: &[Kind] = &[Kind::Sqlite, Kind::Postgres, Kind::MariaDb];
const CLUSTERS_TOO: &[Kind] = &[Kind::Postgres, Kind::MariaDb, Kind::Redis, Kind::RedisCluster];
const ALL: &[Kind] = &Kind::ALL;

const FAULTS: &[Fault] = &[
    fault!(crashes::the_server_crashes_and_comes_back, CLUSTERS_TOO),
    fault!(crashes::the_server_hangs_for_a_while, CLUSTERS_TOO),
    fault!(crashes::a_primary_is_killed_and_its_replica_takes_over, &[Kind::RedisCluster]),
    fault!(application::the_application_is_killed_a_hundred_times, ALL),
    fault!(application::the_application_is_killed_amid_rotations, ALL),
    fault!(connections::the_pool_is_exhausted, &[Kind::Postgres, Kind::MariaDb]),
    fault!(connections::connections_are_cut, CLUSTERS_TOO),
    fault!(connections::an_answer_gets_lost, &[Kind::Postgres, Kind::MariaDb, Kind::Redis]),
    fault!(connections::a_statement_times_out, ALL),
    fault!(disk::the_disk_is_full, ALL),
    fault!(contents::an_item_is_no_json, ALL),
    fault!(contents::the_tables_are_gone, ALL),
    fault!(contents::two_clocks_differ_by_a_minute, ALL),
    fault!(cleanup::a_million_sessions_are_cleaned_up, SQL),
];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn main() -> ExitCode {
    if let Ok(task) = env::var(application::CHILD) {
        runtime().block_on(application::child(&task));
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // Each wants the machine for itself.
    arguments.test_threads.get_or_insert(1);
    let mut trials = Vec::new();
    for fault in FAULTS {
        for kind in fault.kinds {
            let name = format!("{}::{}", kind.name().replace(' ', "_").to_lowercase(), fault.name);
            let (run, kind) = (fault.run, *kind);
            let no_disk = || (fault.name == DISK).then(|| disk::problem(kind)).flatten();
            trials.push(match kind.problem().or_else(no_disk) {
                None => Trial::test(name, move || {
                    run(kind);
                    Ok(())
                }),
                Some(problem) if env::var_os(REQUIRED).is_some() => {
                    Trial::test(name, move || Err(Failed::from(problem)))
                }
                Some(problem) => {
                    Trial::test(name, || Ok(())).with_kind(problem).with_ignored_flag(true)
                }
            });
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    print_table();
    conclusion.exit_code()
}
