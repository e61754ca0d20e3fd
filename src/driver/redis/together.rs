//! Plain calls that wait at the same moment, and are run by one script.
//!
//! A script runs as many calls as wait, each by itself: what goes wrong with one is answered by nothing
//! for that one.

use std::fmt::Display;
use std::io::Write;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::{ErrorKind, ServerErrorKind, Value};
use tokio::time::Instant;

use super::answer::corrupt;
use super::keys::prefix;
use super::link::may_be_sent_again;
use super::scripts::Script;
use super::storage::Storage;
use crate::driver::lane::{AtDeadline, Lane, Lone, Place, Reply, Run, Work};
use crate::driver::{ApplicationName, DriverError};

/// How many calls one script runs at most. Other clients of the server wait meanwhile.
const MOST_CALLS: usize = 32;

/// How many scripts of one kind are on their way at the same moment, so that the server works on one while
/// the answers of another are read.
const SCRIPTS_AT_ONCE: usize = 4;

/// What a script does for one call: on these keys, with these arguments.
pub(super) struct Call {
    pub(super) script: &'static Script,
    pub(super) keys: Vec<String>,
    pub(super) arguments: Arguments,
}

/// The arguments of a script for one call, in one text: many small ones would cost more.
#[derive(Default)]
pub(super) struct Arguments {
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Arguments {
    pub(super) fn push(&mut self, argument: &[u8]) {
        self.text.extend_from_slice(argument);
        self.ends.push(self.text.len());
    }

    pub(super) fn push_number(&mut self, number: impl Display) {
        // Writing to a vector cannot fail.
        let _ = write!(self.text, "{number}");
        self.ends.push(self.text.len());
    }

    /// The field of an item.
    pub(super) fn push_field(&mut self, application: &ApplicationName, key: &str) {
        let _ = write!(self.text, "{}{key}", prefix(application));
        self.ends.push(self.text.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = iter::once(0).chain(self.ends.iter().copied());
        let ranges = starts.zip(&self.ends).map(|(start, &end)| start..end);
        ranges.map(|range| self.text.get(range).unwrap_or_default())
    }
}

/// A call that waits, and where its answer goes.
pub(super) struct Waiting {
    call: Call,
    reply: Reply<Result<Value, DriverError>>,
}

/// The calls that wait: those that read and those that write go one beside the other.
pub(super) struct Lanes {
    reads: Arc<Lane<Waiting>>,
    writes: Arc<Lane<Waiting>>,
    /// Whether keys are known to lie on several servers, so that a script reaches those of one call only.
    keys_are_spread: AtomicBool,
}

impl Lanes {
    pub(super) fn new(keys_are_spread: bool) -> Self {
        Self {
            reads: Arc::new(Lane::new(SCRIPTS_AT_ONCE, Lone::WithCaller)),
            writes: Arc::new(Lane::new(SCRIPTS_AT_ONCE, Lone::WithCaller)),
            keys_are_spread: keys_are_spread.into(),
        }
    }
}

/// The script that a batch runs, and how many calls.
#[derive(Default)]
pub(super) struct Group {
    script: Option<&'static Script>,
    calls: usize,
}

impl Work for Waiting {
    type Group = Group;

    fn is_given_up(&self) -> bool {
        self.reply.is_closed()
    }

    fn place(&self, group: &mut Group) -> Place {
        if !std::ptr::eq(*group.script.get_or_insert(self.call.script), self.call.script) {
            return Place::Waits;
        }
        if group.calls == MOST_CALLS {
            return Place::Ends;
        }
        group.calls += 1;
        Place::Joins
    }
}

impl Storage {
    /// Whether keys are known to lie on several servers.
    pub(super) fn keys_are_spread(&self) -> bool {
        self.lanes.keys_are_spread.load(Ordering::Relaxed)
    }

    /// Runs a plain call, with others where one server holds all keys. Nothing is answered where the script
    /// could not run.
    pub(super) async fn run_plain(
        self: &Arc<Self>,
        call: Call,
        deadline: Instant,
    ) -> Result<Value, DriverError> {
        if self.keys_are_spread() {
            let mut answers = self.by(deadline, Box::pin(self.run_calls(&[&call]))).await?;
            return Ok(answers.pop().unwrap_or(Value::Nil));
        }
        let lane = if call.script.writes() { &self.lanes.writes } else { &self.lanes.reads };
        let waiting = |reply| Waiting { call, reply };
        let answer = lane.call(self, deadline, AtDeadline::Leave, waiting).await;
        answer.unwrap_or_else(|why| Err(DriverError::unanswered(why, || self.timed_out())))
    }

    /// Runs calls of one script.
    async fn run_calls(&self, calls: &[&Call]) -> Result<Vec<Value>, DriverError> {
        let Some(Call { script, keys, .. }) = calls.first() else {
            return Ok(Vec::new());
        };
        let count = |call: &&Call| call.arguments.ends.len().to_string();
        let counts: Vec<_> = calls.iter().map(count).collect();
        let keys_each = keys.len().to_string();
        let mut arguments = vec![keys_each.as_bytes()];
        for (call, count) in calls.iter().zip(&counts) {
            arguments.push(count.as_bytes());
            arguments.extend(call.arguments.iter());
        }
        let keys: Vec<_> = calls.iter().flat_map(|call| &call.keys).collect();
        let error = match self.link.run_once(script, &keys, &arguments).await {
            Ok(Value::Array(answers)) if answers.len() == calls.len() => return Ok(answers),
            Ok(_) => return Err(corrupt()),
            Err(error) => error,
        };
        use ServerErrorKind::{CrossSlot, ResponseError};
        let is = |kind| error.kind() == ErrorKind::Server(kind);
        if is(CrossSlot) {
            // What looks like one server is a proxy in front of several.
            self.lanes.keys_are_spread.store(true, Ordering::Relaxed);
        }
        let is_refused = is(CrossSlot) || (is(ResponseError) && calls.len() > 1);
        if is_refused || may_be_sent_again(&error, script.effect()) {
            // Each goes the complete way, as long as its caller waits.
            return Ok(vec![Value::Nil; calls.len()]);
        }
        Err(self.error(error))
    }
}

impl Run<Waiting> for Storage {
    async fn run(self: Arc<Self>, batch: Vec<Waiting>) {
        let calls: Vec<_> = batch.iter().map(|waiting| &waiting.call).collect();
        let answers = self.in_time(self.run_calls(&calls)).await;
        // Whoever does not wait any more has no use for it.
        match answers {
            Ok(answers) => {
                for (waiting, answer) in batch.into_iter().zip(answers) {
                    let _ = waiting.reply.send(Ok(answer));
                }
            }
            Err(error) => {
                for waiting in batch {
                    let _ = waiting.reply.send(Err(error.clone()));
                }
            }
        }
    }
}
