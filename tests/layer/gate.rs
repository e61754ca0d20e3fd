//! A driver that holds an answer back, so that a test decides what happens meanwhile.

use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use web_session::driver::*;
use web_session::{Driver, SessionRef};

use crate::wrappers::{Around, Call, wrap};

wrap!(Gate);

/// Lets all calls through but those that it is told to hold: the driver inside does its work, and
/// the answer waits. Clones are one gate.
#[derive(Debug, Clone)]
pub struct Gate {
    inner: Arc<dyn Driver>,
    held: Arc<Mutex<Option<Call>>>,
    arrived: Arc<Semaphore>,
    opened: Arc<Semaphore>,
}

impl Gate {
    pub fn new(inner: impl Driver) -> Self {
        let closed = || Arc::new(Semaphore::new(0));
        Self { inner: Arc::new(inner), held: Arc::default(), arrived: closed(), opened: closed() }
    }

    /// Holds the answer of the next such call.
    pub fn hold(&self, call: Call) {
        *self.held.lock().unwrap() = Some(call);
    }

    /// Waits until there is an answer that is held.
    pub async fn arrival(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }

    /// Lets the held answer through.
    pub fn open(&self) {
        self.opened.add_permits(1);
    }
}

impl Around for Gate {
    fn around<T: fmt::Debug + Send + 'static>(
        &self,
        call: Call,
        next: impl FnOnce(&dyn Driver) -> DriverFuture<T> + Send + 'static,
    ) -> DriverFuture<T> {
        let held = self.held.lock().unwrap().take_if(|held| *held == call);
        let answer = next(&*self.inner);
        if held.is_none() {
            return answer;
        }
        let (arrived, opened) = (self.arrived.clone(), self.opened.clone());
        DriverFuture::new(async move {
            let answer = answer.await;
            arrived.add_permits(1);
            opened.acquire().await.unwrap().forget();
            answer
        })
    }
}
