//! Calls of the driver a request. They are the same with every driver.

use std::sync::Arc;

use web_session::MemoryDriver;

use crate::Section;
use crate::probe::Probe;
use crate::workload::{self, Site};

pub fn count() -> Section {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rows = runtime.block_on(async {
        let probe = Arc::new(Probe::new(Arc::new(MemoryDriver::new())));
        let site = Site::new(probe.clone(), 1).await;
        let mut rows = Vec::new();
        for workload in workload::ALL {
            probe.calls();
            site.serve(workload, 0).await;
            rows.push((workload, probe.calls().len() as u64));
        }
        rows
    });
    ("driver-calls".to_owned(), rows)
}
