//! Plain calls that wait at the same moment: commands go in one pipeline, and of scripts one runs as many calls
//! as wait, each by itself.
//!
//! What goes wrong with one call is no answer for that one, which then goes the complete way.

use std::fmt::Display;
use std::future::Future;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::{Cmd, ErrorKind, Pipeline, ServerErrorKind, Value};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::answer::corrupt;
use super::keys::{Home, prefix};
use super::link::{Effect, may_be_sent_again};
use super::scripts::Script;
use super::storage::Storage;
use crate::driver::lane::{AtDeadline, Lane, Lone, Place, Reply, Run, Work};
use crate::driver::{ApplicationName, DriverError};

/// How many calls go together at most. Other clients of the server wait meanwhile.
const MOST_CALLS: usize = 32;

/// How many batches of one kind are on their way at the same moment, so that the server works on one while
/// the answers of another are read.
const BATCHES_AT_ONCE: usize = 4;

/// A call that may go with others of its kind.
pub(super) trait Call: Sized + Send + Sync + 'static {
    /// What all calls of a batch have in common.
    type Kind: PartialEq + Send;

    fn kind(&self) -> Self::Kind;

    /// Sends calls of one kind, and answers each.
    fn send(
        storage: &Storage,
        calls: &[&Self],
    ) -> impl Future<Output = Result<Vec<Value>, DriverError>> + Send;
}

/// Reads all fields and values of what lies here.
pub(super) struct ReadWhole(pub(super) Home);

/// What a script does for one call: with some keys, and with arguments behind them. In a box, as calls that wait are
/// moved around.
pub(super) struct RunScript(Box<Invocation>);

struct Invocation {
    script: &'static Script,
    keys: usize,
    /// All keys and arguments, one behind the other: many small texts would cost more.
    texts: Vec<u8>,
    /// Where each ends.
    ends: SmallVec<[usize; 16]>,
}

impl RunScript {
    pub(super) fn new(script: &'static Script) -> Self {
        // Room for what a call with one small item has.
        let texts = Vec::with_capacity(256);
        Self(Box::new(Invocation { script, keys: 0, texts, ends: SmallVec::new() }))
    }

    /// Adds a key; all keys come before the arguments.
    pub(super) fn key(self, key: &str) -> Self {
        debug_assert_eq!(self.0.keys, self.0.ends.len());
        let mut run = self.argument(key.as_bytes());
        run.0.keys += 1;
        run
    }

    pub(super) fn argument(mut self, argument: &[u8]) -> Self {
        self.0.texts.extend_from_slice(argument);
        self.end()
    }

    pub(super) fn number(mut self, number: impl Display) -> Self {
        // Writing to a vector cannot fail.
        let _ = write!(self.0.texts, "{number}");
        self.end()
    }

    /// The field of an item.
    pub(super) fn field(mut self, application: &ApplicationName, key: &str) -> Self {
        let _ = write!(self.0.texts, "{}{key}", prefix(application));
        self.end()
    }

    fn end(mut self) -> Self {
        self.0.ends.push(self.0.texts.len());
        self
    }

    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.texts().take(self.0.keys)
    }

    fn arguments(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.texts().skip(self.0.keys)
    }

    fn texts(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.0.ends.iter().map(move |&end| {
            let text = self.0.texts.get(start..end).unwrap_or_default();
            start = end;
            text
        })
    }
}

/// A call that waits, and where its answer goes.
pub(super) struct Waiting<C> {
    call: C,
    reply: Reply<Result<Value, DriverError>>,
}

/// The calls that wait: those of one lane go one beside those of another.
pub(super) struct Lanes {
    whole: Arc<Lane<Waiting<ReadWhole>>>,
    reads: Arc<Lane<Waiting<RunScript>>>,
    writes: Arc<Lane<Waiting<RunScript>>>,
    /// Whether keys are known to lie on several servers, so that a script reaches those of one call only.
    keys_are_spread: AtomicBool,
}

impl Lanes {
    pub(super) fn new(keys_are_spread: bool) -> Self {
        Self {
            whole: Arc::new(Lane::new(BATCHES_AT_ONCE, Lone::WithCaller)),
            reads: Arc::new(Lane::new(BATCHES_AT_ONCE, Lone::WithCaller)),
            writes: Arc::new(Lane::new(BATCHES_AT_ONCE, Lone::WithCaller)),
            keys_are_spread: keys_are_spread.into(),
        }
    }
}

/// The kind of a batch, and how many calls it has.
pub(super) struct Group<K> {
    kind: Option<K>,
    calls: usize,
}

impl<K> Default for Group<K> {
    fn default() -> Self {
        Self { kind: None, calls: 0 }
    }
}

impl<C: Call> Work for Waiting<C> {
    type Group = Group<C::Kind>;

    fn place(&self, group: &mut Self::Group) -> Place {
        let kind = self.call.kind();
        if group.kind.as_ref().is_some_and(|theirs| *theirs != kind) {
            return Place::Waits;
        }
        group.kind = Some(kind);
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

    pub(super) fn read_whole(
        self: &Arc<Self>,
        read: ReadWhole,
        deadline: Instant,
    ) -> impl Future<Output = Result<Value, DriverError>> {
        self.call_plain(&self.lanes.whole, read, deadline)
    }

    pub(super) fn run_plain(
        self: &Arc<Self>,
        run: RunScript,
        deadline: Instant,
    ) -> impl Future<Output = Result<Value, DriverError>> {
        let lane = if run.0.script.writes() { &self.lanes.writes } else { &self.lanes.reads };
        self.call_plain(lane, run, deadline)
    }

    /// Runs a plain call, with others where one server holds all keys. Nothing is answered where it could not
    /// be run.
    async fn call_plain<C: Call>(
        self: &Arc<Self>,
        lane: &Arc<Lane<Waiting<C>>>,
        call: C,
        deadline: Instant,
    ) -> Result<Value, DriverError> {
        if self.keys_are_spread() {
            let mut answers = self.by(deadline, Box::pin(C::send(self, &[&call]))).await?;
            return Ok(answers.pop().unwrap_or(Value::Nil));
        }
        let waiting = |reply| Waiting { call, reply };
        let answer = lane.call(self, deadline, AtDeadline::Leave, waiting).await;
        answer.unwrap_or_else(|why| Err(DriverError::unanswered(why, || self.timed_out())))
    }
}

impl Call for ReadWhole {
    type Kind = ();

    fn kind(&self) {}

    async fn send(storage: &Storage, reads: &[&Self]) -> Result<Vec<Value>, DriverError> {
        let homes = reads.iter().map(|Self(home)| home.as_str()).collect();
        let mut unseen = storage.small.forget_unless_seen(homes);
        let answers = if let [Self(home)] = reads {
            let key = storage.keys.session(home);
            let answer = storage.link.read_once(redis::cmd("HGETALL").arg(key)).await;
            answer.map(|answer| vec![answer])
        } else {
            let mut commands = Pipeline::with_capacity(reads.len());
            for Self(home) in reads {
                commands.cmd("HGETALL").arg(storage.keys.session(home));
            }
            storage.link.read_all_once(&commands).await
        };
        match answers {
            Ok(answers) if answers.len() == reads.len() => {
                unseen.see(&answers);
                Ok(answers)
            }
            Ok(_) => Err(corrupt()),
            Err(error) if may_be_sent_again(&error, Effect::Repeatable) => {
                Ok(vec![Value::Nil; reads.len()])
            }
            Err(error) => Err(storage.error(error)),
        }
    }
}

impl Call for RunScript {
    /// The script.
    type Kind = &'static str;

    fn kind(&self) -> Self::Kind {
        self.0.script.digest()
    }

    async fn send(storage: &Storage, calls: &[&Self]) -> Result<Vec<Value>, DriverError> {
        let Some(Self(first)) = calls.first() else {
            return Ok(Vec::new());
        };
        let (script, keys) = (first.script, first.keys);
        debug_assert!(calls.iter().all(|call| call.0.keys == keys));
        let add_input = |command: &mut Cmd| {
            for key in calls.iter().flat_map(|call| call.keys()) {
                command.arg(key);
            }
            command.arg(keys);
            for call in calls {
                let arguments = call.arguments();
                command.arg(arguments.len());
                for argument in arguments {
                    command.arg(argument);
                }
            }
        };
        let error = match storage.link.run_once(script, calls.len() * keys, add_input).await {
            Ok(Value::Array(answers)) if answers.len() == calls.len() => return Ok(answers),
            Ok(_) => return Err(corrupt()),
            Err(error) => error,
        };
        use ServerErrorKind::{CrossSlot, ResponseError};
        let is = |kind| error.kind() == ErrorKind::Server(kind);
        if is(CrossSlot) {
            // What looks like one server is a proxy in front of several.
            storage.lanes.keys_are_spread.store(true, Ordering::Relaxed);
        }
        let is_refused = is(CrossSlot) || (is(ResponseError) && calls.len() > 1);
        if is_refused || may_be_sent_again(&error, script.effect()) {
            // Each goes the complete way, as long as its caller waits.
            return Ok(vec![Value::Nil; calls.len()]);
        }
        Err(storage.error(error))
    }
}

impl<C: Call> Run<Waiting<C>> for Storage {
    async fn run(self: Arc<Self>, batch: Vec<Waiting<C>>) {
        let calls: Vec<_> = batch.iter().map(|waiting| &waiting.call).collect();
        let answers = self.in_time(C::send(&self, &calls)).await;
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
