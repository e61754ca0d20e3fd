//! The suite that every driver is held to.
//!
//! It is one list of [`cases`], each an async function over `&dyn Driver` that panics with a message
//! when the driver breaks the contract of [`Driver`]. A case wants a driver with an empty
//! environment of its own, and a tokio runtime. Nothing sleeps: times are arguments. One case goes on
//! for two seconds, the others for as long as their calls take.
//!
//! ```
//! use web_session::MemoryDriver;
//! use web_session::driver::conformance;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! for case in conformance::cases() {
//!     let driver = MemoryDriver::new();
//!     case.run(&driver).await;
//!     assert!(!case.rows().is_empty(), "{} names what it proves", case.name());
//! }
//! # }
//! ```
//!
//! `tests/conformance.rs` of this crate shows how to give each case a line of its own in the output
//! of `cargo test`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a case fails by a panic, as a test does"
)]

mod cancellation;
mod commits;
mod concurrency;
mod environment;
mod items;
mod lifetime;
mod limits;
mod loading;
mod principals;
mod rotation;
mod setup;
mod storm;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::Driver;

type Run = for<'a> fn(&'a dyn Driver) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    rows: &'static str,
    run: Run,
}

impl Case {
    /// What the driver does if it passes, as a name: `a_destroyed_session_is_not_written_to`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The promises that the case proves, by their ids in the design: `S5 D1`.
    pub fn rows(&self) -> &'static str {
        self.rows
    }

    /// Runs the case on a driver whose environment exists and is empty.
    ///
    /// # Panics
    ///
    /// When the driver breaks the contract.
    pub async fn run(&self, driver: &dyn Driver) {
        (self.run)(driver).await;
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({})", self.name)
    }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    [
        loading::CASES,
        commits::CASES,
        items::CASES,
        limits::CASES,
        lifetime::CASES,
        rotation::CASES,
        principals::CASES,
        concurrency::CASES,
        storm::CASES,
        cancellation::CASES,
        environment::CASES,
    ]
    .concat()
}

/// Lists the functions of a module as cases, each behind the rows that it proves.
macro_rules! list_cases {
    ($($rows:literal $name:ident,)+) => {
        pub(super) const CASES: &[super::Case] = &[$(super::Case {
            name: stringify!($name),
            rows: $rows,
            run: |driver| Box::pin($name(driver)),
        }),+];
    };
}
use list_cases;
