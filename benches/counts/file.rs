//! `benches/counts.toml`, and how what was counted compares with it.

use std::fs;
use std::process::ExitCode;

use toml::{Table, Value};

use crate::{Counted, calls, instructions, servers};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/counts.toml");

const HEAD: &str = "\
# What a request costs, by `cargo bench --all-features --bench counts`, which fails when a number has
# risen. `-- --update` writes this file anew. What is counted stands in benches/counts/*.rs.
# Instructions may rise by 2 %, as hashes and ids are random; another compiler or C library may move
# them by more. Bytes of calls may rise by a tenth: each compiler lays them out as it likes. All other
# numbers are exact.

";

/// How much a number may rise above the one in the file.
fn tolerance(title: &str, allowed: u64) -> u64 {
    match title {
        instructions::TITLE => allowed / 50,
        _ if title.ends_with(calls::TITLE) => allowed / 10,
        _ => 0,
    }
}

fn read() -> Table {
    fs::read_to_string(PATH).map(|text| text.parse().unwrap()).unwrap_or_default()
}

/// Prints each number beside the one in the file.
pub fn compare(counted: &[Counted]) -> ExitCode {
    let file = read();
    let (mut risen, mut fallen, mut left_out) = (0, 0, 0);
    for section in counted {
        let (title, rows) = match section {
            Ok(section) => section,
            Err((title, reason)) => {
                println!("{title}: not counted: {reason}");
                left_out += 1;
                continue;
            }
        };
        println!("{title}");
        for (row, number) in rows {
            let allowed =
                file.get(title).and_then(|rows| rows.get(row)).and_then(Value::as_integer);
            let verdict = match allowed.map(|allowed| u64::try_from(allowed).unwrap()) {
                None => {
                    risen += 1;
                    "  IS NOT IN THE FILE".to_owned()
                }
                Some(allowed) if *number > allowed + tolerance(title, allowed) => {
                    risen += 1;
                    format!("  HAS RISEN from {allowed}")
                }
                Some(allowed) if number + tolerance(title, allowed) < allowed => {
                    fallen += 1;
                    format!("  has fallen from {allowed}")
                }
                Some(_) => String::new(),
            };
            println!("  {row:<10}{number:>8}{verdict}");
        }
    }
    if fallen > 0 {
        println!("\n{fallen} of the numbers have fallen: keep that with `-- --update`");
    }
    if risen > 0 {
        println!("\n{risen} of the numbers have risen: if that is meant, `-- --update` says so");
    }
    let is_incomplete = left_out > 0 && servers::are_required();
    if risen > 0 || is_incomplete { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Writes what was counted; what was not stays as it is.
pub fn update(counted: &[Counted]) -> ExitCode {
    let mut old = read();
    let mut new = Table::new();
    for section in counted {
        match section {
            Ok((title, rows)) => {
                let row = |(row, number): &(&str, u64)| {
                    ((*row).to_owned(), Value::Integer(i64::try_from(*number).unwrap()))
                };
                let rows: Table = rows.iter().map(row).collect();
                new.insert(title.clone(), Value::Table(rows));
            }
            Err((title, reason)) => {
                println!("{title}: not counted: {reason}");
                new.extend(old.remove(title).map(|rows| (title.clone(), rows)));
            }
        }
    }
    fs::write(PATH, format!("{HEAD}{new}")).unwrap();
    println!("written: {PATH}");
    ExitCode::SUCCESS
}
