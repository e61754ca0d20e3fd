//! Removing expired sessions before Redis does by itself.

use futures_util::future::try_join_all;
use redis::{Value, from_redis_value};

use super::keys::Home;
use super::link::Node;
use super::storage::{Place, Storage};
use crate::clock::Timestamp;
use crate::driver::{Cleanup, DriverError};

/// How many keys one step looks at, about.
const STEP: usize = 1_000;

/// How far the batches of one cleanup have come, so that the next batch need not begin at the first key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    from: Timestamp,
    until: Timestamp,
    /// Which of the nodes, and the cursor there.
    node: usize,
    cursor: u64,
}

impl Storage {
    pub(super) async fn cleanup(&self, cleanup: Cleanup) -> Result<u64, DriverError> {
        self.expect_environment().await?;
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
        let nodes = self.link.nodes().await.map_err(|error| self.error(error))?;
        let condition = [b"range".to_vec(), millis(at.from), millis(at.until)].map(Vec::from);
        let mut removed = 0;
        for (index, node) in nodes.iter().enumerate().skip(at.node) {
            if index != at.node {
                (at.node, at.cursor) = (index, 0);
            }
            loop {
                let (next, keys) = self.scan(node, at.cursor, &pattern).await?;
                let mut keys = keys.into_iter();
                // No more at once than may still be removed; the rest of a step is for the next batch.
                while removed < limit {
                    let room = usize::try_from(limit - removed).unwrap_or(usize::MAX);
                    let batch: Vec<_> = keys.by_ref().take(room).collect();
                    if batch.is_empty() {
                        break;
                    }
                    let ends = batch.iter().filter_map(|key| home_of(key)).map(|home| {
                        let place = Place { home, key: String::new(), uid: String::new() };
                        self.end_here(place, &condition)
                    });
                    let ended = try_join_all(ends).await?;
                    removed += ended.into_iter().filter(|ended| *ended).count() as u64;
                }
                if removed >= limit {
                    *self.cleanup.lock() = Some(at);
                    return Ok(removed);
                }
                at.cursor = next;
                if next == 0 {
                    break;
                }
            }
        }
        Ok(removed)
    }

    /// Ends what lies at this place itself, if the condition holds.
    async fn end_here(&self, place: Place, condition: &[Vec<u8>]) -> Result<bool, DriverError> {
        Ok(self.end(place, condition).await?.is_some())
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

/// What is between the braces of a session's key.
fn home_of(key: &str) -> Option<Home> {
    Some(key.split_once('{')?.1.strip_suffix('}')?.to_owned())
}

fn millis(time: Timestamp) -> Vec<u8> {
    time.as_millis().to_string().into_bytes()
}
