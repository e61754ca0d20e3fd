//! What the targets share: a clock that stands still, and futures run to their end.

use std::cell::LazyCell;
use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::runtime::{Builder, Runtime};
use web_session::{Driver, ManualClock, SessionLayer, SessionLayerBuilder, Timestamp};

thread_local! {
    static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
        Builder::new_current_thread().enable_time().build().expect("a runtime")
    });
}

/// Runs a future to its end.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// The time of all that happens.
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)
}

/// [`now`] as drivers get it.
#[allow(dead_code, reason = "not every target needs it")]
pub fn timestamp() -> Timestamp {
    now().into()
}

/// A layer whose clock stands still and that does nothing by chance.
pub fn builder(driver: impl Driver) -> SessionLayerBuilder {
    SessionLayer::builder(driver).clock(ManualClock::new(now())).cleanup_probability(0.0)
}
