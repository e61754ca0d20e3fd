//! What the integration tests share.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::ops::Deref;
use std::sync::Arc;

use web_session::{Driver, MemoryDriver, connect};

/// A driver with an empty environment, and what has to stay alive as long as it does.
pub struct Storage {
    pub driver: Arc<dyn Driver>,
    pub url: String,
    _directory: Option<tempfile::TempDir>,
}

impl Deref for Storage {
    type Target = Arc<dyn Driver>;

    fn deref(&self) -> &Arc<dyn Driver> {
        &self.driver
    }
}

pub fn memory() -> Storage {
    let driver = Arc::new(MemoryDriver::new());
    Storage { driver, url: "memory:".to_owned(), _directory: None }
}

pub async fn sqlite() -> Storage {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("sessions.db").display());
    let driver = connect(&url).await.unwrap();
    driver.ensure_environment().await.unwrap();
    Storage { driver, url, _directory: Some(directory) }
}

/// Makes a test on memory and one on SQLite of each function, named `<function>::<driver>`.
#[macro_export]
macro_rules! on_each_driver {
    ($($(#[$meta:meta])* async fn $name:ident($storage:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(#[$meta])*
            async fn case($storage: $crate::support::Storage) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn memory() {
                case($crate::support::memory()).await;
            }

            #[cfg(feature = "sqlite")]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                case($crate::support::sqlite().await).await;
            }
        }
    )*};
}
