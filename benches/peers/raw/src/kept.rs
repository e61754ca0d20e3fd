//! Connections that are kept: sqlx's pool asks each for a sign of life before its use and after it.

use tokio::sync::{Mutex, MutexGuard};

pub struct Kept<C>(Vec<Mutex<C>>);

impl<C> Kept<C> {
    pub fn new(connections: Vec<C>) -> Self {
        Self(connections.into_iter().map(Mutex::new).collect())
    }

    /// One that nobody uses, if there is one.
    pub async fn one(&self) -> MutexGuard<'_, C> {
        match self.0.iter().find_map(|connection| connection.try_lock().ok()) {
            Some(free) => free,
            None => self.0[0].lock().await,
        }
    }
}
