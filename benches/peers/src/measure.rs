//! The runs of a table.

use std::collections::BTreeMap;
use std::error::Error;

use crate::options::{Options, Role, Storage, StorageName, Subject};
use crate::program::Running;
use crate::protocol::{Figures, Plan, Workload};

/// What was measured with one storage and one number of tasks.
pub struct Table {
    pub storage: StorageName,
    pub tasks: usize,
    pub workloads: Vec<Workload>,
    pub rows: Vec<Row>,
}

pub struct Row {
    pub subject: Subject,
    /// The medians of the rounds.
    pub cells: BTreeMap<Workload, Figures>,
}

/// How many times longer than planned a run may be if a number of requests is to be reached.
const PATIENCE: f64 = 3.0;

pub fn table(options: &Options, storage: &Storage, tasks: usize) -> Result<Table, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    // A session that is not touched costs the same on every storage and with any number of tasks.
    let with_untouched = tasks == 64 || !options.tasks.contains(&64);
    let mut workloads: Vec<_> = options.workloads().collect();
    workloads.retain(|&workload| workload != Workload::Untouched || with_untouched);
    let mut programs = Vec::new();
    for subject in &storage.subjects {
        // One by one is a batch of one.
        let is_same = tasks == 1 && subject.variant == "batched";
        let has_cells = workloads.iter().any(|&column| subject.role.workload(column).is_some());
        if has_cells && !is_same {
            let url = storage.url_for(subject, directory.path());
            programs.push((subject, Running::start(subject.program, url, subject.variant)?));
        }
    }
    let mut table = Table {
        storage: storage.name,
        tasks,
        workloads,
        rows: programs.iter().map(|(subject, _)| Row::new(subject)).collect(),
    };
    for &workload in &table.workloads {
        eprintln!("{}, {tasks} at a time: {}", storage.name.title(), workload.name());
        let cells = cells(options, tasks, workload, &mut programs)?;
        for (row, rounds) in table.rows.iter_mut().zip(cells) {
            row.cells.extend(median(rounds).map(|figures| (workload, figures)));
        }
    }
    for (_, program) in &mut programs {
        program.clear()?;
    }
    Ok(table)
}

/// The figures of one workload: of each program, those of each round.
fn cells(
    options: &Options,
    tasks: usize,
    workload: Workload,
    programs: &mut [(&Subject, Running)],
) -> Result<Vec<Vec<Figures>>, Box<dyn Error>> {
    let mut plan = Plan {
        workload,
        tasks,
        sessions: Plan::sessions_for(tasks),
        seconds: options.seconds,
        requests: None,
    };
    let mut cells = vec![Vec::new(); programs.len()];
    for round in 0..options.rounds {
        for ((subject, program), figures) in programs.iter_mut().zip(&mut cells) {
            let Some(workload) = subject.role.workload(workload) else { continue };
            // What nothing is compared with is measured once.
            if round > 0 && matches!(subject.role, Role::Limit | Role::Shown) {
                continue;
            }
            // New sessions of one run are not to burden the next.
            if round == 0 || workload == Workload::New {
                program.open()?;
            }
            // With many sessions every program gets the same number of requests: what a peer does
            // in twice the time of a run.
            if tasks > 64 && plan.requests.is_none() && subject.role == Role::Peer {
                let rate = program.run(&plan)?.requests_per_second;
                plan.requests = Some((rate * 2.0 * options.seconds) as u64);
                plan.seconds *= PATIENCE;
                if workload == Workload::New {
                    program.open()?;
                }
            }
            figures.push(program.run(&Plan { workload, ..plan.clone() })?);
        }
    }
    Ok(cells)
}

impl Role {
    /// What is run in the column of a workload; nothing if the row has no such cell.
    fn workload(self, column: Workload) -> Option<Workload> {
        match self {
            Self::Without(workload) => (column == Workload::Untouched).then_some(workload),
            Self::Limit => (column != Workload::Untouched).then_some(column),
            _ => Some(column),
        }
    }
}

impl Row {
    fn new(subject: &Subject) -> Self {
        Self { subject: subject.clone(), cells: BTreeMap::new() }
    }
}

/// The middle one of each figure.
fn median(rounds: Vec<Figures>) -> Option<Figures> {
    let middle = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(figure).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    Some(Figures {
        requests: middle(|figures| figures.requests as f64)? as u64,
        requests_per_second: middle(|figures| figures.requests_per_second)?,
        p50: middle(|figures| figures.p50)?,
        p99: middle(|figures| figures.p99)?,
    })
}
