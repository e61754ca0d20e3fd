//! Removing expired sessions before Redis does by itself.

use futures_util::future::join_all;
use redis::{Value, from_redis_value};

use super::answer::{corrupt, record_of};
use super::keys::Home;
use super::link::{Effect, Node};
use super::storage::{Place, Storage};
use crate::clock::Timestamp;
use crate::driver::{Cleanup, DriverError, DriverErrorKind};

/// How many keys one step looks at, about.
const STEP: usize = 200;

/// How far the batches of one cleanup have come, so that the next batch need not begin at the first key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    from: Timestamp,
    until: Timestamp,
    /// Which of the nodes, and the cursor there.
    node: usize,
    cursor: u64,
}

/// What a step has come upon.
#[derive(Default)]
struct Step {
    removed: u64,
    /// How many keys hold something that is no session.
    damaged: u64,
}

impl Storage {
    /// Takes as long as there are keys; each step is bounded in time, and the next call goes on behind the
    /// last one that was taken.
    pub(super) async fn cleanup(&self, cleanup: Cleanup) -> Result<u64, DriverError> {
        self.in_time(self.expect_environment()).await?;
        let limit = u64::from(cleanup.limit);
        let start = Progress { from: cleanup.from, until: cleanup.until, node: 0, cursor: 0 };
        let known = self.cleanup.lock().take();
        let known = known.filter(|known| (known.from, known.until) == (start.from, start.until));
        let mut removed = 0;
        if let Some(known) = known {
            removed = self.clean(known, limit).await?;
        }
        // What lies before the place where this batch began may have come to be in the range since.
        if removed < limit {
            removed += self.clean(start, limit - removed).await?;
        }
        Ok(removed)
    }

    /// Removes sessions from there on, until there are `limit` or all nodes were seen.
    async fn clean(&self, mut at: Progress, limit: u64) -> Result<u64, DriverError> {
        let pattern = self.keys.sessions_pattern();
        let nodes = async { self.link.nodes().await.map_err(|error| self.error(error)) };
        let nodes = self.in_time(nodes).await?;
        let mut all = Step::default();
        'walk: for (index, node) in nodes.iter().enumerate().skip(at.node) {
            if index != at.node {
                (at.node, at.cursor) = (index, 0);
            }
            loop {
                *self.cleanup.lock() = Some(at);
                let (next, keys) = self.in_time(self.scan(node, at.cursor, &pattern)).await?;
                let step = self.in_time(self.clean_step(&keys, at, limit - all.removed)).await?;
                all.removed += step.removed;
                all.damaged += step.damaged;
                if all.removed >= limit {
                    break 'walk;
                }
                at.cursor = next;
                if next == 0 {
                    break;
                }
            }
        }
        if all.removed < limit {
            *self.cleanup.lock() = None;
        }
        if all.damaged > 0 {
            tracing::warn!(damaged = all.damaged, "keys that hold no session were left alone");
        }
        Ok(all.removed)
    }

    /// Removes those of some sessions that are in the range, `limit` at most.
    async fn clean_step(
        &self,
        keys: &[String],
        range: Progress,
        limit: u64,
    ) -> Result<Step, DriverError> {
        let mut step = Step::default();
        let mut expired = Vec::new();
        let expiries = join_all(keys.iter().map(|key| self.expiry(key))).await;
        for (expiry, key) in expiries.into_iter().zip(keys) {
            match sound(expiry)? {
                None => step.damaged += 1,
                Some(Some(time)) if (range.from..range.until).contains(&time) => {
                    expired.extend(home_of(key));
                }
                Some(_) => {}
            }
        }
        let condition = [b"range".to_vec(), millis(range.from), millis(range.until)];
        let mut expired = expired.into_iter();
        // No more at once than may still be removed; the rest of a step is for the next batch.
        while step.removed < limit {
            let room = usize::try_from(limit - step.removed).unwrap_or(usize::MAX);
            let batch: Vec<_> = expired.by_ref().take(room).collect();
            if batch.is_empty() {
                break;
            }
            let ends = batch.into_iter().map(|home| {
                let place = Place { home, key: String::new(), uid: String::new() };
                self.end(place, &condition)
            });
            for ended in join_all(ends).await {
                match sound(ended)? {
                    None => step.damaged += 1,
                    Some(ended) => step.removed += u64::from(ended.is_some()),
                }
            }
        }
        Ok(step)
    }

    /// When a session expires; `None` for an alias.
    async fn expiry(&self, key: &str) -> Result<Option<Timestamp>, DriverError> {
        let mut get = redis::cmd("HGET");
        let record = self.send(get.arg(key).arg("rec"), Effect::Repeatable).await?;
        let record: Option<String> = from_redis_value(record).map_err(|_| corrupt())?;
        record.map(|parts| Ok(record_of(&parts, None, None)?.expires)).transpose()
    }

    /// One step of a walk over the keys of a node: the next cursor, 0 at the end, and some keys.
    pub(super) async fn scan(
        &self,
        node: &Node,
        cursor: u64,
        pattern: &str,
    ) -> Result<(u64, Vec<String>), DriverError> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(STEP);
        let answer: Result<Value, _> = self.link.send_to(node, &scan).await;
        let answer = answer.map_err(|error| self.error(error))?;
        from_redis_value(answer).map_err(|error| self.error(error.into()))
    }
}

/// `None` for what is no session.
fn sound<T>(answer: Result<T, DriverError>) -> Result<Option<T>, DriverError> {
    match answer {
        Err(error) if error.kind() == DriverErrorKind::Corrupt => Ok(None),
        answer => answer.map(Some),
    }
}

/// What is between the braces of a session's key.
fn home_of(key: &str) -> Option<Home> {
    Some(key.split_once('{')?.1.strip_suffix('}')?.to_owned())
}

fn millis(time: Timestamp) -> Vec<u8> {
    time.as_millis().to_string().into_bytes()
}
