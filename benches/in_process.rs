//! The time of one request, in memory and on SQLite, with criterion's statistics.
//!
//! ```console
//! $ cargo bench --all-features --bench in_process
//! ```

#![allow(clippy::expect_used, reason = "a program that measures may end with a panic")]

mod support;
#[path = "support/web_session.rs"]
mod web_session_subject;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use support::protocol::Workload;
use support::subject::Subject;

fn requests(criterion: &mut Criterion) {
    let runtime = support::runtime();
    let directory = tempfile::tempdir().expect("a directory for the file of SQLite");
    let sqlite = format!("sqlite://{}", directory.path().join("sessions.db").display());
    for (storage, url) in [("memory", "memory:"), ("sqlite", &sqlite)] {
        let mut group = criterion.benchmark_group(storage);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
        for workload in [Workload::Untouched, Workload::Read, Workload::Write, Workload::New] {
            let opened = async {
                let driver = web_session_subject::driver(url).await?;
                let mut subject = Subject::new(web_session_subject::router(driver).await?);
                subject.sender(workload, 200).await
            };
            let sender = runtime.block_on(opened).expect("the storage can be used");
            let mut session = 0;
            group.bench_function(workload.name(), |bencher| {
                bencher.to_async(&runtime).iter(|| {
                    session = (session + 1) % 200;
                    let request = sender.send(session);
                    async { request.await.expect("the request succeeds") }
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, requests);
criterion_main!(benches);
