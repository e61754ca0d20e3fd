//! Calls that go together: loads in one statement, writes in one transaction.
//!
//! This is the way of calls that find what they expect. What is anything else - a session that has
//! ended or is locked by somebody else, an id that was replaced, too much to store, data that cannot be
//! read - is answered by nothing here: the call is run alone, as `read` and `write` do it, and gets its
//! answer there. So what is wrong with one call is no matter to the others.

mod at_once;
mod group;
mod load;
mod plan;
mod write;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{AtDeadline, Lane, Lone, Run, Unanswered};
use crate::driver::lane::{Reply, Work};
use crate::driver::{DriverError, DriverFuture, Found, Load};

pub(super) use at_once::{Form, WholeTransactions, write_at_once};
#[cfg(feature = "sqlite")]
pub(super) use group::WriteGroup;
pub(super) use load::{Loading, load, may_share};
pub(super) use write::{Answer, Call, Writing, write};

/// How many bytes of items the calls of a batch have at most, beside those of the first.
const MOST_BYTES: usize = 1 << 20;

/// How many batches of loads run at the same time, beside a lone load with its caller: while the database answers one,
/// what it has answered before is taken up.
const LOADS_AT_ONCE: u32 = 2;

/// The lane of loads for a pool of so many connections: a batch does not wait for that of another, nor for that of
/// a lone load whose caller does not poll it.
pub(super) fn lane_of_loads(connections: u32, lone: Lone) -> Lane<Loading> {
    let lone = if connections > LOADS_AT_ONCE { lone } else { Lone::OnTask };
    Lane::new(connections.clamp(1, LOADS_AT_ONCE) as usize, lone)
}

/// A call that may go with others, until when it waits, and where its answer goes.
pub(super) struct Waiting<C, T> {
    pub(super) call: C,
    pub(super) deadline: Instant,
    pub(super) reply: Reply<Result<T, DriverError>>,
}

impl<C, T> Waiting<C, T> {
    /// Gives each call its answer, and hands back those that have none.
    pub(super) fn answer_all(
        batch: Vec<Self>,
        answers: Result<Vec<Option<T>>, DriverError>,
    ) -> Vec<Self> {
        let mut answers = answers.map(Vec::into_iter);
        let mut left = Vec::new();
        for waiting in batch {
            // Whoever does not wait any more has no use for it.
            match &mut answers {
                Ok(answers) => match answers.next().flatten() {
                    Some(answer) => drop(waiting.reply.send(Ok(answer))),
                    None => left.push(waiting),
                },
                Err(error) => drop(waiting.reply.send(Err(error.clone()))),
            }
        }
        left
    }
}

/// What a driver's storage does for the calls that go together.
pub(super) trait Together: Run<Loading> + Run<Self::Turn> + Sized {
    /// What waits for its turn to write.
    type Turn: Work + From<Writing>;

    fn loads(&self) -> &Arc<Lane<Loading>>;

    fn writes(&self) -> &Arc<Lane<Self::Turn>>;

    /// How long a call may wait, and what becomes of one that runs by then.
    fn patience(&self) -> (Duration, AtDeadline);

    /// The error of a call that has waited for too long.
    fn timed_out(&self) -> DriverError;

    /// Runs a load that is not too large to share a statement.
    fn load_together(self: Arc<Self>, load: Load) -> DriverFuture<Vec<Found>> {
        DriverFuture::new(async move {
            let deadline = Instant::now() + self.patience().0;
            let waiting = |reply| Loading { call: load, deadline, reply };
            let found = self.loads().call(&self, deadline, AtDeadline::Leave, waiting).await;
            found.unwrap_or_else(|unanswered| Err(self.no_answer(unanswered)))
        })
    }

    /// Runs a write that may share a transaction, and reads its answer.
    fn write_together<T: 'static>(
        self: Arc<Self>,
        call: Call,
        read: fn(Answer) -> Result<T, DriverError>,
    ) -> DriverFuture<T> {
        DriverFuture::new(async move {
            let (patience, at_deadline) = self.patience();
            let deadline = Instant::now() + patience;
            let waiting = |reply| Writing { call, deadline, reply }.into();
            let answer = self.writes().call(&self, deadline, at_deadline, waiting).await;
            answer.unwrap_or_else(|unanswered| Err(self.no_answer(unanswered))).and_then(read)
        })
    }

    fn no_answer(&self, unanswered: Unanswered) -> DriverError {
        DriverError::unanswered(unanswered, || self.timed_out())
    }
}
