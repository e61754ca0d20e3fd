//! What the library says to `tracing`.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, set_default};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Everything that was logged, spans included, as text.
#[derive(Debug, Clone, Default)]
pub struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    /// Collects what this thread logs until the guard is dropped.
    pub fn of_this_thread() -> (Self, DefaultGuard) {
        // While there is one subscriber alone, `tracing` has the thread that meets an event first
        // say for all threads whether anybody listens. With a second one it asks them.
        static SECOND: OnceLock<Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| Dispatch::new(Self::default().subscriber()));
        let logs = Self::default();
        let guard = set_default(logs.subscriber());
        (logs, guard)
    }

    /// Collects what all threads of this test binary log from the first call on, except those that
    /// collect for themselves; also what crates say that use `log`.
    pub fn of_all_threads() -> Self {
        static ALL: OnceLock<Logs> = OnceLock::new();
        let install = || {
            let logs = Self::default();
            logs.subscriber().init();
            logs
        };
        ALL.get_or_init(install).clone()
    }

    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + 'static {
        let logs = self.clone();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_writer(move || logs.clone())
            .finish()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
