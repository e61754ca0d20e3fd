//! The tables, the ratios and the goals.

use crate::measure::{Row, Table};
use crate::options::{Role, StorageName};
use crate::protocol::{Figures, Workload};

/// One goal, and what was measured.
pub struct Verdict {
    place: String,
    workload: Workload,
    /// This crate over the better peer: of requests a second, or of the latency of lone requests.
    ratio: f64,
    goal: f64,
    holds: bool,
}

/// The goal of a cell as a ratio to the better peer; of the latency with a single task, of requests a
/// second otherwise. That of `untouched` is the ratio to a layer that does nothing.
fn goal(storage: StorageName, tasks: usize, workload: Workload) -> Option<f64> {
    if tasks == 1 {
        return match workload {
            Workload::Read => Some(1.0),
            Workload::Write | Workload::New => Some(1.1),
            _ => None,
        };
    }
    if workload == Workload::Untouched {
        return Some(0.88);
    }
    let [read, write, new] = match (storage, tasks) {
        (StorageName::Memory, _) => [5.0, 6.0, 5.0],
        (StorageName::Sqlite, ..=64) => [6.0, 9.0, 5.0],
        (StorageName::Sqlite, _) => [8.0, 14.0, 8.0],
        (StorageName::Postgres | StorageName::Mysql, ..=64) => [6.0, 5.0, 6.0],
        (StorageName::Postgres | StorageName::Mysql, _) => [10.0, 12.0, 9.0],
        (StorageName::Redis, _) => [1.6, 1.5, 1.5],
    };
    match workload {
        Workload::Read => Some(read),
        Workload::Write => Some(write),
        Workload::New => Some(new),
        _ => None,
    }
}

impl Table {
    fn own(&self, workload: Workload) -> Option<f64> {
        let own = self.rows.iter().find(|row| row.subject.role == Role::Own)?;
        Some(self.figure(own.cells.get(&workload)?))
    }

    /// What is compared: latency with a single task, or else requests a second.
    fn figure(&self, figures: &Figures) -> f64 {
        if self.tasks == 1 { figures.p50 } else { figures.requests_per_second }
    }

    /// The better figure of the rows with a role.
    fn best(&self, role: Role, workload: Workload) -> Option<f64> {
        let is_by_hand = |of| matches!(of, Role::ByHand | Role::SessionsByHand);
        let is = |of: Role| of == role || (role == Role::Limit && is_by_hand(of));
        let rows = self.rows.iter().filter(|row| is(row.subject.role));
        let figures = rows.filter_map(|row| Some(self.figure(row.cells.get(&workload)?)));
        figures.reduce(if self.tasks == 1 { f64::min } else { f64::max })
    }

    fn ratio_to(&self, role: Role, workload: Workload) -> Option<f64> {
        Some(self.own(workload)? / self.best(role, workload)?)
    }

    fn verdict(&self, workload: Workload) -> Option<Verdict> {
        let goal = goal(self.storage, self.tasks, workload)?;
        let ratio = match workload {
            Workload::Untouched => {
                let without = self.best(Role::Without(Workload::NoOp), Workload::Untouched)?;
                self.own(workload)? / without
            }
            _ => self.ratio_to(Role::Peer, workload)?,
        };
        let holds = if self.tasks == 1 { ratio <= goal } else { ratio >= goal };
        Some(Verdict { place: self.title(), workload, ratio, goal, holds })
    }

    fn title(&self) -> String {
        format!("{}, {} at a time", self.storage.title(), self.tasks)
    }

    fn line(&self, label: &str, cell: impl Fn(Workload) -> Option<String>) {
        let cells = self.workloads.iter().map(|&workload| cell(workload).unwrap_or_default());
        let cells: Vec<_> = cells.collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            println!("| {label} | {} |", cells.join(" | "));
        }
    }
}

pub fn print(table: &Table) {
    let unit = if table.tasks == 1 { "p50 (p99), µs" } else { "requests/s (p99, ms)" };
    println!();
    table.line(&format!("{}: {unit}", table.title()), |workload| Some(workload.name().to_owned()));
    println!("|---{}|", "|---".repeat(table.workloads.len()));
    for Row { subject, cells } in &table.rows {
        table.line(subject.label, |workload| {
            let figures = cells.get(&workload)?;
            Some(if table.tasks == 1 {
                format!("{:.1} ({:.1})", figures.p50, figures.p99)
            } else {
                format!("{:.0} ({:.2})", figures.requests_per_second, figures.p99 / 1_000.0)
            })
        });
    }
    table.line("**web-session : better peer**", |workload| {
        Some(format!("**{:.2}**", table.ratio_to(Role::Peer, workload)?))
    });
    let by_hand = [(Role::ByHand, "by hand"), (Role::SessionsByHand, "sessions by hand")];
    for (role, name) in by_hand {
        table.line(&format!("{name} : better peer"), |workload| {
            let ratio = table.best(role, workload)? / table.best(Role::Peer, workload)?;
            Some(format!("{ratio:.2}"))
        });
    }
    table.line("web-session : what the storage does", |workload| {
        Some(format!("{:.2}", table.ratio_to(Role::Limit, workload)?))
    });
    table.line("web-session : a layer that does nothing", |workload| {
        let ratio = table.ratio_to(Role::Without(Workload::NoOp), workload)?;
        Some(format!("{ratio:.2}"))
    });
    // The goal of `untouched` is a share of the layer that does nothing.
    table.line("goal", |workload| Some(table.verdict(workload)?.bound(table.tasks)));
    table.line("", |workload| Some(table.verdict(workload)?.word().to_owned()));
}

pub fn verdicts(table: &Table) -> Vec<Verdict> {
    table.workloads.iter().filter_map(|&workload| table.verdict(workload)).collect()
}

impl Verdict {
    fn bound(&self, tasks: usize) -> String {
        format!("{} {}", if tasks == 1 { "≤" } else { "≥" }, self.goal)
    }

    fn word(&self) -> &'static str {
        if self.holds { "holds" } else { "does not" }
    }
}

pub fn print_verdicts(verdicts: &[Verdict]) {
    let held = verdicts.iter().filter(|verdict| verdict.holds).count();
    println!("\nOf {} goals {held} hold. The others:\n", verdicts.len());
    for verdict in verdicts.iter().filter(|verdict| !verdict.holds) {
        let Verdict { place, workload, ratio, goal, .. } = verdict;
        println!("- {place}, {}: {ratio:.2}, the goal is {goal}", workload.name());
    }
}
