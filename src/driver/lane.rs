//! Calls that wait for their turn, and are run together: what the drivers for SQL databases and for Redis
//! have in common.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use crate::sync::Mutex;

/// Runs calls in batches: what waits when the batch before has ended goes together, as far as it fits
/// together. A call that finds nobody goes at once. Where several batches may run, a small one may wait for the end of
/// another; nothing else waits for more to come.
///
/// A call has its place here and not in its caller's future: a caller that is not polled any more holds
/// up nobody. A task runs one batch after the other; it begins when a call finds that there could be one more,
/// and ends when no call is left.
pub(super) struct Lane<W: Work> {
    state: Mutex<State<W>>,
    /// How many batches run at the same time at most.
    width: usize,
    lone: Lone,
    /// How long whoever waits for a lone call keeps looking for its answer.
    awake_for: Duration,
    /// Places of calls that wait.
    room: Semaphore,
}

struct State<W: Work> {
    /// In the order of their first polls.
    waiting: VecDeque<(Ticket, W)>,
    /// What the batches that run have taken.
    running: Vec<(Ticket, W::Group)>,
    /// With fewer calls that wait there are too few for a batch beside these: so many were missing when somebody last
    /// went through all of them. 0 again when a batch has ended, or a call has gone.
    too_few_below: usize,
    tickets: Ticket,
    /// How many [`Drainer`]s there are.
    drainers: usize,
    /// Whether a lone call runs in its caller's future.
    has_lone: bool,
    /// How many batches in a row have been one call, since a call last found another. A lane begins as after one.
    singles_in_a_row: u32,
}

/// The number of a call or of a batch: later ones are higher.
type Ticket = u64;

/// How many calls wait at most. One more waits for a place, as long as it may wait at all.
const ROOM: usize = 4_096;

/// After so many batches of one call in a row a call does not let others go on first: that takes the runtime longer
/// than a quick database takes to answer.
const QUIET: u32 = 8;

/// A call that waits.
pub(super) trait Work: Send + 'static {
    /// What a batch has taken, as far as it decides on what may be taken with it.
    type Group: Default + Send;

    /// Where it stands towards a batch. One that joins is noted in the group.
    fn place(&self, group: &mut Self::Group) -> Place;

    /// Notes that it waits for the end of a batch that runs, as far as calls behind it have to wait for it. Those that
    /// are passed over for another reason are noted where they are placed.
    fn note_held_up(&self, _group: &mut Self::Group) {}

    /// Whether it waits for the end of a batch that runs, as a call of that batch is in its way.
    fn waits_for(&self, _running: &Self::Group) -> bool {
        false
    }

    /// How many calls a batch has to have that begins beside another, with this one in front, unless no more go
    /// together.
    fn quorum(&self) -> usize {
        1
    }
}

/// Where a call stands towards a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It goes with it.
    Joins,
    /// It waits for a later one; calls behind it may go with this one.
    Waits,
    /// It waits for a later one, and so do all that are behind it.
    Ends,
}

/// What runs the batches.
pub(super) trait Run<W>: Send + Sync + 'static {
    /// Runs calls and answers each of them.
    fn run(self: Arc<Self>, batch: Vec<W>) -> impl Future<Output = ()> + Send;
}

/// Where the answer of a call goes.
pub(super) type Reply<T> = oneshot::Sender<T>;

/// Why a call has no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Its turn did not come in time. It was not begun and never will be.
    NotBegun,
    /// It has begun, and has no answer yet.
    Running,
    /// It panicked, or its runtime was shut down.
    Stopped,
    /// It is called outside of any runtime.
    NoRuntime,
}

/// Where a call runs that finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(dead_code, reason = "calls to Redis hold no connection")
)]
pub(super) enum Lone {
    /// On a task of its own, and later ones wait for it.
    OnTask,
    /// In its caller's future, which is quicker, and later ones do not wait for it: they cannot know whether it
    /// is polled. If its caller goes away it runs on on a task of its own.
    WithCaller,
}

/// What becomes of a call that has begun and has no answer at its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "sqlite", any(feature = "postgres", feature = "mysql", feature = "redis"))),
    allow(dead_code, reason = "a file is waited for, a server is not")
)]
pub(super) enum AtDeadline {
    /// Its caller waits for the answer nevertheless.
    Wait,
    /// Its caller is told so.
    Leave,
}

impl<W: Work> Lane<W> {
    /// A lane that runs so many batches at the same time, beside a lone call that runs with its caller.
    pub(super) fn new(width: usize, lone: Lone) -> Self {
        Self::with_room(width, lone, ROOM)
    }

    fn with_room(width: usize, lone: Lone, places: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            running: Vec::new(),
            too_few_below: 0,
            tickets: 0,
            drainers: 0,
            has_lone: false,
            singles_in_a_row: 1,
        };
        let (state, room) = (Mutex::new(state), Semaphore::new(places));
        Self { state, width, lone, awake_for: Duration::ZERO, room }
    }

    /// A lane whose lone calls are often answered within this time: whoever waits for one looks for its answer again
    /// and again, and lets others go on in between. A thread that has gone to sleep needs longer to be woken than a
    /// quick answer takes.
    #[cfg_attr(
        not(feature = "sqlite"),
        allow(dead_code, reason = "nothing but a thread of this process answers so soon")
    )]
    pub(super) fn awake_for(mut self, time: Duration) -> Self {
        self.awake_for = time;
        self
    }

    /// Takes a place and waits for the answer.
    ///
    /// A call whose future is dropped before it began never begins. A call that has begun runs to its end.
    pub(super) async fn call<T, R: Run<W>>(
        self: &Arc<Self>,
        runner: &Arc<R>,
        deadline: Instant,
        at_deadline: AtDeadline,
        work: impl FnOnce(Reply<T>) -> W,
    ) -> Result<T, Unanswered> {
        let runtime = Handle::try_current().map_err(|_| Unanswered::NoRuntime)?;
        let place = match self.room.try_acquire() {
            Ok(place) => place,
            // In a box of its own, as few calls get there: all others are smaller.
            Err(_) => Box::pin(self.wait_for_room(deadline)).await?,
        };
        // Given back by whoever takes the call out of the queue.
        place.forget();
        let (reply, mut answer) = oneshot::channel();
        let (ticket, is_lone) = match self.push(&runtime, runner, work(reply)) {
            Pushed::Waits(ticket) => (ticket, false),
            Pushed::Begins(ticket) => (ticket, true),
            Pushed::Runs(mut lone) => {
                if look_for(&mut lone, self.awake_for).await.is_none() {
                    match (timeout_at(deadline, &mut lone).await, at_deadline) {
                        (Ok(()), _) => {}
                        (Err(_), AtDeadline::Wait) => lone.await,
                        (Err(_), AtDeadline::Leave) => return Err(Unanswered::Running),
                    }
                }
                return answer.await.map_err(|_| Unanswered::Stopped);
            }
        };
        let queued = Queued { lane: self, ticket };
        if is_lone && let Some(answer) = look_for(&mut answer, self.awake_for).await {
            mem::forget(queued);
            return answer.map_err(|_| Unanswered::Stopped);
        }
        match timeout_at(deadline, &mut answer).await {
            Ok(answer) => {
                mem::forget(queued);
                return answer.map_err(|_| Unanswered::Stopped);
            }
            Err(_) => mem::forget(queued),
        }
        if self.withdraw(ticket) {
            return Err(Unanswered::NotBegun);
        }
        match at_deadline {
            AtDeadline::Wait => answer.await.map_err(|_| Unanswered::Stopped),
            AtDeadline::Leave => Err(Unanswered::Running),
        }
    }

    async fn wait_for_room(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Unanswered> {
        let place = timeout_at(deadline, self.room.acquire()).await;
        // Nobody closes it.
        place.map_err(|_| Unanswered::NotBegun)?.map_err(|_| Unanswered::Stopped)
    }

    fn push<R: Run<W>>(self: &Arc<Self>, runtime: &Handle, runner: &Arc<R>, work: W) -> Pushed {
        let mut state = self.state.lock();
        let finds_nobody = state.drainers == 0 && !state.has_lone;
        if self.lone == Lone::WithCaller && finds_nobody && state.singles_in_a_row > 0 {
            state.has_lone = true;
            drop(state);
            self.room.add_permits(1);
            let (over, runner) = (LoneOver(self.clone()), runner.clone());
            let run = async move {
                let _over = over;
                let _ = AssertUnwindSafe(runner.run(vec![work])).catch_unwind().await;
            };
            return Pushed::Runs(RunsOn { run: Some(Box::pin(run)), runtime: runtime.clone() });
        }
        if !finds_nobody {
            state.singles_in_a_row = 0;
        }
        let enough = work.quorum().max(state.too_few_below);
        let may_begin = state.drainers < self.width
            && (state.drainers == 0
                || (state.waiting.len() + 1 >= enough && !state.is_held_up(&work)));
        state.tickets += 1;
        let ticket = state.tickets;
        state.waiting.push_back((ticket, work));
        if !may_begin {
            return Pushed::Waits(ticket);
        }
        state.drainers += 1;
        let begins_at_once = state.singles_in_a_row >= QUIET;
        // A runtime that is being shut down drops the task at once, and that takes the lock.
        drop(state);
        let drainer = Drainer { lane: self.clone(), begins_at_once, runs: None, ended: false };
        runtime.spawn(drainer.drain(runner.clone()));
        if begins_at_once { Pushed::Begins(ticket) } else { Pushed::Waits(ticket) }
    }

    /// Takes a call back. Whether it had not begun.
    fn withdraw(&self, ticket: Ticket) -> bool {
        let mut state = self.state.lock();
        let found = state.waiting.binary_search_by_key(&ticket, |(ticket, _)| *ticket);
        let Some(withdrawn) = found.ok().and_then(|at| state.waiting.remove(at)) else {
            return false;
        };
        state.too_few_below = 0;
        drop(state);
        self.room.add_permits(1);
        drop(withdrawn);
        true
    }

    /// Takes what goes together, and the number of the batch. `None` if nothing does, or too few beside another batch,
    /// and then the task that asked has ended: whoever runs that one looks again.
    fn next(&self) -> Option<(Ticket, Vec<W>)> {
        let (mut batch, mut later) = (Vec::new(), Vec::new());
        let (mut group, mut is_full) = (W::Group::default(), false);
        let mut guard = self.state.lock();
        let state = &mut *guard;
        while let Some((ticket, work)) = state.waiting.pop_front() {
            if state.is_held_up(&work) {
                work.note_held_up(&mut group);
                later.push((ticket, work));
                continue;
            }
            match work.place(&mut group) {
                Place::Joins => batch.push((ticket, work)),
                Place::Waits => later.push((ticket, work)),
                Place::Ends => {
                    later.push((ticket, work));
                    is_full = true;
                    break;
                }
            }
        }
        let quorum = batch.first().map_or(1, |(_, first)| first.quorum());
        let missing = quorum.saturating_sub(batch.len());
        let too_few = missing > 0 && !is_full && !state.running.is_empty();
        if too_few {
            later.append(&mut batch);
            later.sort_unstable_by_key(|(ticket, _)| *ticket);
        }
        for waits in later.into_iter().rev() {
            state.waiting.push_front(waits);
        }
        if too_few {
            state.too_few_below = state.waiting.len() + missing;
        }
        match batch.len() {
            0 => state.drainers -= 1,
            1 => state.singles_in_a_row = state.singles_in_a_row.saturating_add(1),
            _ => state.singles_in_a_row = 0,
        }
        let number = (!batch.is_empty()).then(|| state.begin(group));
        drop(guard);
        self.room.add_permits(batch.len());
        Some((number?, batch.into_iter().map(|(_, work)| work).collect()))
    }

    /// Ends a batch. Whether no call waits, and then the task that asked has ended.
    fn ends(&self, batch: Ticket) -> bool {
        let mut state = self.state.lock();
        state.end(batch);
        let is_done = state.waiting.is_empty();
        state.drainers -= usize::from(is_done);
        is_done
    }
}

impl<W: Work> State<W> {
    fn begin(&mut self, group: W::Group) -> Ticket {
        self.tickets += 1;
        self.running.push((self.tickets, group));
        self.tickets
    }

    fn end(&mut self, batch: Ticket) {
        self.running.retain(|(number, _)| *number != batch);
        self.too_few_below = 0;
    }

    fn is_held_up(&self, work: &W) -> bool {
        self.running.iter().any(|(_, running)| work.waits_for(running))
    }
}

/// Takes a call back whose future is dropped while it waits.
struct Queued<'l, W: Work> {
    lane: &'l Lane<W>,
    ticket: Ticket,
}

impl<W: Work> Drop for Queued<'_, W> {
    fn drop(&mut self) {
        self.lane.withdraw(self.ticket);
    }
}

/// What becomes of a call at first.
enum Pushed {
    Waits(Ticket),
    /// It is on a task that begins at once, alone unless others come first.
    Begins(Ticket),
    Runs(RunsOn),
}

/// Looks for an answer for some time.
async fn look_for<F: Future + Unpin>(answer: &mut F, time: Duration) -> Option<F::Output> {
    if time.is_zero() {
        return None;
    }
    // Not the clock of tokio, which may stand still.
    let begun = std::time::Instant::now();
    loop {
        // With the waker of the caller: where this thread has something else to do, another takes the answer.
        let look = poll_fn(|context| Poll::Ready(Pin::new(&mut *answer).poll(context)));
        if let Poll::Ready(answer) = look.await {
            return Some(answer);
        }
        if begun.elapsed() >= time {
            return None;
        }
        yield_now().await;
    }
}

/// Says that the lone call is over.
struct LoneOver<W: Work>(Arc<Lane<W>>);

impl<W: Work> Drop for LoneOver<W> {
    fn drop(&mut self) {
        self.0.state.lock().has_lone = false;
    }
}

/// What runs with its caller, and without it if it goes away.
struct RunsOn {
    /// `None` when it has ended.
    run: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    runtime: Handle,
}

impl Future for RunsOn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(run) = &mut self.run {
            ready!(run.as_mut().poll(context));
            self.run = None;
        }
        Poll::Ready(())
    }
}

impl Drop for RunsOn {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            // Where the runtime is shut down it is dropped at once, and may look for the runtime.
            let _entered = self.runtime.enter();
            self.runtime.spawn(run);
        }
    }
}

struct Drainer<W: Work> {
    lane: Arc<Lane<W>>,
    /// Whether it does not let others go on before its first batch.
    begins_at_once: bool,
    /// The batch that it runs.
    runs: Option<Ticket>,
    ended: bool,
}

impl<W: Work> Drainer<W> {
    async fn drain<R: Run<W>>(mut self, runner: Arc<R>) {
        loop {
            // Whoever can go on does so first: what they call next goes with those who wait.
            if !mem::take(&mut self.begins_at_once) {
                yield_now().await;
            }
            let Some((number, batch)) = self.lane.next() else {
                self.ended = true;
                return;
            };
            self.runs = Some(number);
            // The end of a batch that panics is not the end of the lane.
            let _ = AssertUnwindSafe(runner.clone().run(batch)).catch_unwind().await;
            // At once, as its runtime may stop when the last answer is there.
            if self.lane.ends(number) {
                self.ended = true;
                return;
            }
        }
    }
}

impl<W: Work> Drop for Drainer<W> {
    /// If the runtime is shut down, those who wait for nobody else are told, and the next call starts anew.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut state = self.lane.state.lock();
        state.drainers -= 1;
        if let Some(batch) = self.runs {
            state.end(batch);
        }
        let dropped = match state.drainers {
            0 => mem::take(&mut state.waiting),
            _ => VecDeque::new(),
        };
        drop(state);
        self.lane.room.add_permits(dropped.len());
        drop(dropped);
    }
}

#[cfg(all(test, not(shuttle)))]
#[path = "lane/tests.rs"]
mod tests;
