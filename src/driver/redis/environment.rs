//! Making, checking and removing an environment: its version, and all keys with its name.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::time::sleep;
use uuid::Uuid;

use super::answer::{Answer, unexpected};
use super::link::Effect;
use super::scripts::SWAP;
use super::storage::{REMOVING, Storage, VERSION, defect, unlink};
use crate::driver::{DriverError, DriverErrorKind, EnvironmentState, OnMissing};

/// How long to wait before asking again whether the lock is free.
const PAUSE: Duration = Duration::from_millis(10);

/// The right to change the environment, until the time of a call has passed.
struct Lock {
    owner: String,
}

impl Storage {
    pub(super) async fn environment(&self) -> Result<EnvironmentState, DriverError> {
        Ok(match self.version().await?.as_deref() {
            // What is being removed is there no more.
            None | Some(REMOVING) => EnvironmentState::Absent,
            Some(version) if version == VERSION.to_string() => EnvironmentState::Complete,
            Some(other) => EnvironmentState::Defective(defect(other)),
        })
    }

    pub(super) async fn create_environment(self: Arc<Self>) -> Result<(), DriverError> {
        let lock = self.lock_environment().await?;
        let created = match self.version().await?.as_deref() {
            None | Some(REMOVING) => self.make().await,
            Some(_) => Err(DriverError::new(
                DriverErrorKind::EnvironmentExists,
                "nothing was changed; `ensure_session_environment` makes what is missing",
            )),
        };
        self.unlock_environment(&lock).await;
        created
    }

    pub(super) async fn ensure_environment(self: Arc<Self>) -> Result<(), DriverError> {
        match self.environment().await? {
            EnvironmentState::Complete => return Ok(()),
            EnvironmentState::Defective(defect) => {
                return Err(DriverError::new(DriverErrorKind::EnvironmentDefective, defect));
            }
            EnvironmentState::Absent | EnvironmentState::Incomplete(_) => {}
        }
        match self.clone().create_environment().await {
            Err(error) if error.kind() == DriverErrorKind::EnvironmentExists => Ok(()),
            made => made,
        }
    }

    pub(super) async fn remove_environment(
        self: Arc<Self>,
        missing: OnMissing,
    ) -> Result<(), DriverError> {
        let lock = self.lock_environment().await?;
        let removed = match self.version().await {
            Ok(None) if missing == OnMissing::Error => Err(DriverError::new(
                DriverErrorKind::EnvironmentMissing,
                "nothing was removed, as the version does not exist",
            )),
            // What another call has begun to remove is removed by this one.
            Ok(_) => self.clear(&lock).await,
            Err(error) => Err(error),
        };
        self.unlock_environment(&lock).await;
        removed
    }

    /// Writes the version. What a removal has left behind is removed first.
    async fn make(&self) -> Result<(), DriverError> {
        if self.version().await?.is_some() {
            self.remove_keys().await?;
        }
        let mut set = redis::cmd("SET");
        set.arg(self.keys.version()).arg(VERSION);
        self.send(&set, Effect::Repeatable).await.map(drop)
    }

    /// Removes everything. From its first step on the environment is absent; if it does not come to
    /// the last, whoever makes the environment again goes on with it.
    async fn clear(&self, lock: &Lock) -> Result<(), DriverError> {
        let mut set = redis::cmd("SET");
        set.arg(self.keys.version()).arg(REMOVING);
        self.send(&set, Effect::Repeatable).await?;
        self.remove_keys().await?;
        // Another may have taken over, if this took longer than the lock holds.
        if self.swap(&self.keys.lock(), &lock.owner, &lock.owner, self.lock_millis()).await? {
            self.send(&unlink(&self.keys.version()), Effect::Repeatable).await?;
        }
        Ok(())
    }

    /// Removes all keys of the environment but its version and its lock.
    async fn remove_keys(&self) -> Result<(), DriverError> {
        let (version, lock) = (self.keys.version(), self.keys.lock());
        let nodes = self.link.nodes().await.map_err(|error| self.error(error))?;
        for node in &nodes {
            let mut cursor = 0;
            loop {
                let (next, keys) = self.scan(node, cursor, &self.keys.pattern()).await?;
                let ours = keys.iter().filter(|key| **key != version && **key != lock);
                let removals =
                    ours.map(|key| async { self.send(&unlink(key), Effect::Repeatable).await });
                futures_util::future::try_join_all(removals).await?;
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn lock_environment(&self) -> Result<Lock, DriverError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| {
            DriverError::new(DriverErrorKind::Other, "the system gives no random bytes")
        })?;
        let owner = Uuid::from_bytes(random).simple().to_string();
        let mut set = redis::cmd("SET");
        set.arg(self.keys.lock()).arg(&owner).arg("NX").arg("PX").arg(self.lock_millis());
        while self.send(&set, Effect::Once).await? == Value::Nil {
            sleep(PAUSE).await;
        }
        Ok(Lock { owner })
    }

    async fn unlock_environment(&self, lock: &Lock) {
        // A lock that is kept ends by itself.
        let _ = self.swap(&self.keys.lock(), &lock.owner, "", String::new()).await;
    }

    fn lock_millis(&self) -> String {
        self.call_timeout.as_millis().max(1).to_string()
    }

    /// Replaces a value if it is the one that is expected.
    async fn swap(
        &self,
        key: &str,
        expected: &str,
        value: &str,
        ttl: String,
    ) -> Result<bool, DriverError> {
        match self.run(&SWAP, key, &[expected, value, &ttl]).await? {
            Answer::Done => Ok(true),
            Answer::None => Ok(false),
            _ => Err(unexpected()),
        }
    }
}
