//! Calls that wait for their turn, and are run together: what the drivers for SQL databases and for Redis
//! have in common.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use crate::sync::Mutex;

/// Runs calls in batches: what waits when the batch before has ended goes together, as far as it fits
/// together. A call that finds nobody goes at once; nothing waits for more to come.
///
/// A call has its place here and not in its caller's future: a caller that is not polled any more holds
/// up nobody. A task runs one batch after the other; it begins when a call finds that there could be one more,
/// and ends when no call is left.
pub(super) struct Lane<W> {
    state: Mutex<State<W>>,
    /// How many batches run at the same time at most.
    width: usize,
    lone: Lone,
    /// Places of calls that wait.
    room: Semaphore,
}

struct State<W> {
    /// In the order of their first polls.
    waiting: VecDeque<(Ticket, W)>,
    tickets: Ticket,
    /// How many [`Drainer`]s there are.
    drainers: usize,
    /// Whether a lone call runs in its caller's future.
    has_lone: bool,
    /// Whether the latest batch was one call, so that the next one will find nobody to go with either.
    is_quiet: bool,
}

/// The number of a call: later ones are higher.
type Ticket = u64;

/// How many calls wait at most. One more waits for a place, as long as it may wait at all.
const ROOM: usize = 4_096;

/// A call that waits.
pub(super) trait Work: Send + 'static {
    /// What a batch has taken, as far as it decides on what may be taken with it.
    type Group: Default + Send;

    /// Whether nobody waits for its answer any more, so that it need not begin.
    fn is_given_up(&self) -> bool;

    /// Where it stands towards a batch. One that joins is noted in the group.
    fn place(&self, group: &mut Self::Group) -> Place;
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
            tickets: 0,
            drainers: 0,
            has_lone: false,
            is_quiet: true,
        };
        Self { state: Mutex::new(state), width, lone, room: Semaphore::new(places) }
    }

    /// Takes a place and waits for the answer.
    ///
    /// A call whose future is dropped before it began is skipped. A call that has begun runs to its end.
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
            Err(_) => {
                let place = timeout_at(deadline, self.room.acquire()).await;
                // Nobody closes it.
                place.map_err(|_| Unanswered::NotBegun)?.map_err(|_| Unanswered::Stopped)?
            }
        };
        // Given back by whoever takes the call out of the queue.
        place.forget();
        let (reply, mut answer) = oneshot::channel();
        let ticket = match self.push(&runtime, runner, work(reply)) {
            Pushed::Waits(ticket) => ticket,
            Pushed::Runs(mut lone) => {
                match (timeout_at(deadline, &mut lone).await, at_deadline) {
                    (Ok(()), _) => {}
                    (Err(_), AtDeadline::Wait) => lone.await,
                    (Err(_), AtDeadline::Leave) => return Err(Unanswered::Running),
                }
                return answer.await.map_err(|_| Unanswered::Stopped);
            }
        };
        match timeout_at(deadline, &mut answer).await {
            Ok(answer) => return answer.map_err(|_| Unanswered::Stopped),
            Err(_) if self.withdraw(ticket) => return Err(Unanswered::NotBegun),
            Err(_) => {}
        }
        match at_deadline {
            AtDeadline::Wait => answer.await.map_err(|_| Unanswered::Stopped),
            AtDeadline::Leave => Err(Unanswered::Running),
        }
    }

    fn push<R: Run<W>>(self: &Arc<Self>, runtime: &Handle, runner: &Arc<R>, work: W) -> Pushed {
        let mut state = self.state.lock();
        let finds_nobody = state.drainers == 0 && !state.has_lone;
        if self.lone == Lone::WithCaller && finds_nobody && state.is_quiet {
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
        state.tickets += 1;
        let ticket = state.tickets;
        state.waiting.push_back((ticket, work));
        if state.drainers == self.width {
            return Pushed::Waits(ticket);
        }
        state.drainers += 1;
        // A runtime that is being shut down drops the task at once, and that takes the lock.
        drop(state);
        let drainer = Drainer { lane: self.clone(), ended: false };
        runtime.spawn(drainer.drain(runner.clone()));
        Pushed::Waits(ticket)
    }

    /// Takes a call back. Whether it had not begun.
    fn withdraw(&self, ticket: Ticket) -> bool {
        let mut state = self.state.lock();
        let found = state.waiting.binary_search_by_key(&ticket, |(ticket, _)| *ticket);
        let withdrawn = found.ok().and_then(|at| state.waiting.remove(at));
        drop(state);
        if withdrawn.is_some() {
            self.room.add_permits(1);
        }
        withdrawn.is_some()
    }

    /// Takes what goes together. Nothing if no call waits, and then the task that asked has ended.
    fn next(&self) -> Vec<W> {
        let (mut batch, mut later, mut given_up) = (Vec::new(), Vec::new(), Vec::new());
        let mut group = W::Group::default();
        let mut state = self.state.lock();
        while let Some((ticket, work)) = state.waiting.pop_front() {
            if work.is_given_up() {
                given_up.push(work);
                continue;
            }
            match work.place(&mut group) {
                Place::Joins => batch.push(work),
                Place::Waits => later.push((ticket, work)),
                Place::Ends => {
                    later.push((ticket, work));
                    break;
                }
            }
        }
        for waits in later.into_iter().rev() {
            state.waiting.push_front(waits);
        }
        state.drainers -= usize::from(batch.is_empty());
        state.is_quiet = batch.len() < 2;
        drop(state);
        self.room.add_permits(batch.len() + given_up.len());
        batch
    }

    /// Whether no call waits, and then the task that asked has ended.
    fn is_done(&self) -> bool {
        let mut state = self.state.lock();
        let is_done = state.waiting.is_empty();
        state.drainers -= usize::from(is_done);
        is_done
    }
}

/// What becomes of a call at first.
enum Pushed {
    Waits(Ticket),
    Runs(RunsOn),
}

/// Says that the lone call is over.
struct LoneOver<W>(Arc<Lane<W>>);

impl<W> Drop for LoneOver<W> {
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

struct Drainer<W> {
    lane: Arc<Lane<W>>,
    ended: bool,
}

impl<W: Work> Drainer<W> {
    async fn drain<R: Run<W>>(mut self, runner: Arc<R>) {
        loop {
            // Whoever can go on does so first: what they call next goes with those who wait.
            yield_now().await;
            let batch = self.lane.next();
            if batch.is_empty() {
                self.ended = true;
                return;
            }
            // The end of a batch that panics is not the end of the lane.
            let _ = AssertUnwindSafe(runner.clone().run(batch)).catch_unwind().await;
            // At once, as its runtime may stop when the last answer is there.
            if self.lane.is_done() {
                self.ended = true;
                return;
            }
        }
    }
}

impl<W> Drop for Drainer<W> {
    /// If the runtime is shut down, those who wait for nobody else are told, and the next call starts anew.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut state = self.lane.state.lock();
        state.drainers -= 1;
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
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::Poll;
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::Notify;
    use tokio::task::yield_now;

    use super::*;

    /// A call with a number. Those of equal tens go together, at most three, and of equal numbers one.
    struct Numbered {
        number: u32,
        reply: Reply<u32>,
    }

    impl Work for Numbered {
        type Group = Vec<u32>;

        fn is_given_up(&self) -> bool {
            self.reply.is_closed()
        }

        fn place(&self, group: &mut Vec<u32>) -> Place {
            if group.len() == 3 {
                return Place::Ends;
            }
            let differs = group.first().is_some_and(|first| first / 10 != self.number / 10);
            if differs || group.contains(&self.number) {
                return Place::Waits;
            }
            group.push(self.number);
            Place::Joins
        }
    }

    /// Notes the batches; the call 0 ends when it is told to, and the call 66 panics.
    #[derive(Default)]
    struct Runner {
        batches: Mutex<Vec<Vec<u32>>>,
        begun: Notify,
        end: Notify,
    }

    impl Run<Numbered> for Runner {
        async fn run(self: Arc<Self>, batch: Vec<Numbered>) {
            let numbers: Vec<_> = batch.iter().map(|call| call.number).collect();
            self.batches.lock().push(numbers.clone());
            if numbers.contains(&0) {
                self.begun.notify_one();
                self.end.notified().await;
            }
            assert!(!numbers.contains(&66), "as the test wants it");
            yield_now().await;
            for Numbered { number, reply } in batch {
                let _ = reply.send(number);
            }
        }
    }

    type Answer = Pin<Box<dyn Future<Output = Result<u32, Unanswered>> + Send>>;

    struct Rig {
        lane: Arc<Lane<Numbered>>,
        runner: Arc<Runner>,
    }

    impl Rig {
        fn new(places: usize) -> Self {
            Self {
                lane: Arc::new(Lane::with_room(1, Lone::OnTask, places)),
                runner: Arc::default(),
            }
        }

        fn call_by(&self, number: u32, deadline: Instant, at_deadline: AtDeadline) -> Answer {
            let (lane, runner) = (self.lane.clone(), self.runner.clone());
            Box::pin(async move {
                let work = |reply| Numbered { number, reply };
                lane.call(&runner, deadline, at_deadline, work).await
            })
        }

        fn call(&self, number: u32) -> Answer {
            self.call_by(number, soon(), AtDeadline::Wait)
        }

        /// The call 0, which has begun.
        async fn begun(&self, at_deadline: AtDeadline) -> Answer {
            let mut first = self.call_by(0, soon(), at_deadline);
            poll_once(&mut first).await;
            self.runner.begun.notified().await;
            first
        }

        fn batches(&self) -> Vec<Vec<u32>> {
            self.runner.batches.lock().clone()
        }

        async fn becomes_idle(&self) {
            while self.lane.state.lock().drainers > 0 {
                yield_now().await;
            }
            assert!(self.lane.state.lock().waiting.is_empty());
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    async fn poll_once(call: &mut Answer) {
        poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
    }

    async fn poll_all(calls: &mut [Answer]) {
        for call in calls {
            poll_once(call).await;
        }
    }

    // P2
    #[tokio::test]
    async fn what_waits_goes_together_as_far_as_it_fits_together() {
        let rig = Rig::new(100);
        let first = rig.begun(AtDeadline::Wait).await;
        let mut calls: Vec<_> = [11, 21, 12, 11, 22, 13, 14, 23].map(|n| rig.call(n)).into();
        poll_all(&mut calls).await;
        rig.runner.end.notify_one();
        assert_eq!(first.await, Ok(0));
        for (call, number) in calls.into_iter().zip([11, 21, 12, 11, 22, 13, 14, 23]) {
            assert_eq!(call.await, Ok(number));
        }
        assert_eq!(rig.batches(), [vec![0], vec![11, 12, 13], vec![21, 22, 23], vec![11, 14]]);
        rig.becomes_idle().await;
        assert_eq!(rig.lane.room.available_permits(), 100);
    }

    // P2
    #[tokio::test]
    async fn as_many_batches_run_at_the_same_time_as_may() {
        let rig =
            Rig { lane: Arc::new(Lane::with_room(2, Lone::OnTask, 100)), runner: Arc::default() };
        let first = rig.begun(AtDeadline::Wait).await;
        let second = rig.begun(AtDeadline::Wait).await;
        let mut waiting = [rig.call(11), rig.call(12)];
        poll_all(&mut waiting).await;
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(rig.batches(), [[0], [0]], "a third would be one too many");
        rig.runner.end.notify_one();
        assert_eq!(first.await, Ok(0));
        for (call, number) in waiting.into_iter().zip([11, 12]) {
            assert_eq!(call.await, Ok(number), "the other one still runs");
        }
        rig.runner.end.notify_one();
        assert_eq!(second.await, Ok(0));
        assert_eq!(rig.batches(), [vec![0], vec![0], vec![11, 12]]);
        rig.becomes_idle().await;
    }

    // P2
    #[tokio::test]
    async fn who_was_answered_goes_with_those_who_wait() {
        let rig = Rig::new(100);
        let first = rig.begun(AtDeadline::Wait).await;
        let (mut waiting, again) = (rig.call(11), rig.call(12));
        poll_once(&mut waiting).await;
        let task = tokio::spawn(async move {
            assert_eq!(first.await, Ok(0));
            again.await
        });
        yield_now().await;
        rig.runner.end.notify_one();
        assert_eq!(task.await.unwrap(), Ok(12));
        assert_eq!(waiting.await, Ok(11));
        assert_eq!(rig.batches(), [vec![0], vec![11, 12]]);
    }

    // D6
    #[tokio::test]
    async fn a_call_that_is_dropped_before_it_began_is_skipped_and_one_that_nobody_polls_is_not() {
        let rig = Rig::new(100);
        let first = rig.begun(AtDeadline::Wait).await;
        let mut calls: Vec<_> = (11..=15).map(|number| rig.call(number)).collect();
        let never_polled = rig.call(16);
        poll_all(&mut calls).await;
        drop((first, calls.remove(1)));
        let mut calls = calls.into_iter();
        let not_polled_again = calls.next().unwrap();
        rig.runner.end.notify_one();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(rig.batches(), [vec![0], vec![11, 13, 14], vec![15]]);
        assert_eq!(not_polled_again.await, Ok(11));
        assert_eq!(never_polled.await, Ok(16));
        rig.becomes_idle().await;
        assert_eq!(rig.lane.room.available_permits(), 100);
    }

    #[tokio::test]
    async fn a_call_that_panics_is_answered_and_does_not_stop_later_ones() {
        let rig = Rig::new(100);
        let first = rig.begun(AtDeadline::Wait).await;
        let mut calls = vec![rig.call(66), rig.call(11)];
        poll_all(&mut calls).await;
        rig.runner.end.notify_one();
        assert_eq!(first.await, Ok(0));
        assert_eq!(calls.pop().unwrap().await, Ok(11));
        assert_eq!(calls.pop().unwrap().await, Err(Unanswered::Stopped));
    }

    // P2
    #[tokio::test(start_paused = true)]
    async fn waiting_for_ones_turn_is_bounded_and_running_only_where_that_is_wanted() {
        let rig = Rig::new(100);
        let first = rig.begun(AtDeadline::Wait).await;
        assert_eq!(rig.call(11).await, Err(Unanswered::NotBegun));
        rig.runner.end.notify_one();
        assert_eq!(first.await, Ok(0), "it has run for longer than a call waits");
        let first = rig.begun(AtDeadline::Leave).await;
        assert_eq!(first.await, Err(Unanswered::Running));
        rig.runner.end.notify_one();
        assert_eq!(rig.call(12).await, Ok(12));
        assert_eq!(rig.batches(), [[0], [0], [12]], "what was given up is never begun");
    }

    // P2
    #[tokio::test(start_paused = true)]
    async fn where_there_is_no_room_a_call_waits_for_it_within_its_time() {
        let rig = Rig::new(2);
        let first = rig.begun(AtDeadline::Wait).await;
        let mut calls = vec![rig.call(11), rig.call(12), rig.call(13)];
        poll_all(&mut calls).await;
        assert_eq!(rig.lane.state.lock().waiting.len(), 2);
        assert_eq!(rig.call(14).await, Err(Unanswered::NotBegun));
        rig.runner.end.notify_one();
        assert_eq!(first.await, Ok(0));
        // Their time was over as well.
        assert_eq!(calls.pop().unwrap().await, Err(Unanswered::NotBegun));
        rig.becomes_idle().await;
        let mut calls =
            vec![rig.begun(AtDeadline::Wait).await, rig.call(21), rig.call(22), rig.call(23)];
        poll_all(&mut calls).await;
        rig.runner.end.notify_one();
        for (call, number) in calls.into_iter().zip([0, 21, 22, 23]) {
            assert_eq!(call.await, Ok(number));
        }
        rig.becomes_idle().await;
        assert_eq!(rig.lane.room.available_permits(), 2);
    }

    /// A lane where a lone call runs with its caller.
    fn with_caller() -> Rig {
        Rig { lane: Arc::new(Lane::with_room(1, Lone::WithCaller, 100)), runner: Arc::default() }
    }

    // P2
    #[tokio::test]
    async fn a_lone_call_runs_with_its_caller_and_nobody_waits_for_it() {
        let rig = with_caller();
        let mut lone = rig.call(0);
        poll_once(&mut lone).await;
        assert_eq!(rig.batches(), [[0]], "it has begun within its first poll");
        let mut others = [rig.call(11), rig.call(12)];
        poll_all(&mut others).await;
        for (call, number) in others.into_iter().zip([11, 12]) {
            assert_eq!(call.await, Ok(number));
        }
        rig.runner.end.notify_one();
        assert_eq!(lone.await, Ok(0));
        assert_eq!(rig.batches(), [vec![0], vec![11, 12]]);
        rig.becomes_idle().await;
        // After calls that went together the next one is likely to find company.
        let mut first = rig.call(21);
        poll_once(&mut first).await;
        assert_eq!(rig.batches().len(), 2);
        assert_eq!(first.await, Ok(21));
        rig.becomes_idle().await;
        let mut lone = rig.call(31);
        poll_once(&mut lone).await;
        assert_eq!(rig.batches().len(), 4);
        assert_eq!(lone.await, Ok(31));
        assert_eq!(rig.lane.room.available_permits(), 100);
    }

    // D6
    #[tokio::test]
    async fn a_lone_call_goes_on_without_its_caller() {
        let rig = with_caller();
        let mut lone = rig.begun(AtDeadline::Wait).await;
        poll_once(&mut lone).await;
        drop(lone);
        assert!(rig.lane.state.lock().has_lone);
        rig.runner.end.notify_one();
        while rig.lane.state.lock().has_lone {
            yield_now().await;
        }
        let mut next = rig.call(11);
        poll_once(&mut next).await;
        assert_eq!(rig.batches(), [[0], [11]]);
        assert_eq!(next.await, Ok(11));
    }

    #[tokio::test]
    async fn a_lone_call_that_panics_is_answered_and_does_not_stop_later_ones() {
        let rig = with_caller();
        assert_eq!(rig.call(66).await, Err(Unanswered::Stopped));
        assert_eq!(rig.call(11).await, Ok(11));
    }

    // P2
    #[tokio::test(start_paused = true)]
    async fn a_lone_call_is_bounded_where_that_is_wanted() {
        let rig = with_caller();
        let lone = rig.begun(AtDeadline::Leave).await;
        assert_eq!(lone.await, Err(Unanswered::Running));
        assert!(rig.lane.state.lock().has_lone, "it runs on");
        rig.runner.end.notify_one();
        while rig.lane.state.lock().has_lone {
            yield_now().await;
        }
        let mut lone = rig.call_by(0, soon(), AtDeadline::Wait);
        poll_once(&mut lone).await;
        let end = async {
            tokio::time::sleep(Duration::from_secs(90)).await;
            rig.runner.end.notify_one();
        };
        assert_eq!(tokio::join!(lone, end).0, Ok(0), "it has run for longer than a call waits");
    }

    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
    }

    #[test]
    fn after_its_runtime_was_shut_down_a_lane_works_on_another() {
        let (rig, old, new) = (Rig::new(100), runtime(), runtime());
        let running = old.block_on(rig.begun(AtDeadline::Wait));
        let mut waiting = rig.call(11);
        new.block_on(poll_once(&mut waiting));
        drop(old);
        new.block_on(async {
            assert_eq!(running.await, Err(Unanswered::Stopped));
            assert_eq!(waiting.await, Err(Unanswered::Stopped));
            assert_eq!(rig.call(12).await, Ok(12));
        });
        assert_eq!(rig.batches(), [[0], [12]]);
        assert_eq!(rig.lane.room.available_permits(), 100);
    }

    // P2
    #[test]
    fn what_one_runtime_leaves_behind_another_runs() {
        let rig =
            Rig { lane: Arc::new(Lane::with_room(2, Lone::OnTask, 100)), runner: Arc::default() };
        let (old, new) = (runtime(), runtime());
        let mut stopped = old.block_on(rig.begun(AtDeadline::Wait));
        let running = new.block_on(rig.begun(AtDeadline::Wait));
        let mut waiting = rig.call(11);
        new.block_on(poll_once(&mut waiting));
        drop(old);
        new.block_on(async {
            assert_eq!(stopped.as_mut().await, Err(Unanswered::Stopped));
            rig.runner.end.notify_one();
            assert_eq!(running.await, Ok(0));
            assert_eq!(waiting.await, Ok(11));
            rig.becomes_idle().await;
        });
    }

    #[test]
    fn without_a_runtime_a_call_fails_and_the_lane_goes_on() {
        let (rig, old) = (Rig::new(100), runtime());
        let handle = old.handle().clone();
        old.shutdown_background();
        assert_eq!(handle.block_on(rig.call(11)), Err(Unanswered::Stopped));
        assert_eq!(rig.lane.state.lock().drainers, 0);
        let mut outside = rig.call(12);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(outside.as_mut().poll(&mut cx), Poll::Ready(Err(Unanswered::NoRuntime)));
        assert_eq!(runtime().block_on(rig.call(13)), Ok(13));
    }
}
