//! Calls that run one after the other.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::sync::Mutex;

/// Runs calls in the order of their first polls, each on a task of its own and none before the one
/// in front of it has ended.
///
/// A call has its place in the queue and not in its caller's future: a caller that is not polled any
/// more holds up nobody. One task empties the queue; it begins when a call finds none, and ends when
/// no call is left.
#[derive(Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Whether there is a [`Drainer`].
    draining: bool,
}

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a call has no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Its turn did not come in time. It was not begun and never will be.
    TimedOut,
    /// It panicked, or its runtime was shut down.
    Stopped,
}

impl Queue {
    /// Takes a place in the queue and waits for the answer.
    ///
    /// A call whose future is dropped, or whose turn has not come at the `deadline`, before it began
    /// is skipped. A call that has begun runs to its end.
    pub(super) async fn run<T: Send + 'static>(
        self: Arc<Self>,
        deadline: Instant,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let (begin, mut begun) = oneshot::channel();
        let (give, answer) = oneshot::channel();
        self.push(Box::pin(async move {
            // Either this is sent or the other end was closed before, never both.
            if begin.send(()).is_ok() {
                let _ = give.send(call.await);
            }
        }))?;
        match timeout_at(deadline, &mut begun).await {
            Ok(begun) => begun.map_err(|_| Unanswered::Stopped)?,
            Err(_) => {
                begun.close();
                begun.try_recv().map_err(|_| Unanswered::TimedOut)?;
            }
        }
        answer.await.map_err(|_| Unanswered::Stopped)
    }

    fn push(self: &Arc<Self>, job: Job) -> Result<(), Unanswered> {
        let runtime = Handle::try_current().map_err(|_| Unanswered::Stopped)?;
        let mut state = self.0.lock();
        state.waiting.push_back(job);
        if mem::replace(&mut state.draining, true) {
            return Ok(());
        }
        // A runtime that is being shut down drops the task at once, and that takes the lock.
        drop(state);
        runtime.spawn(Drainer { queue: self.clone(), ended: false }.drain());
        Ok(())
    }
}

struct Drainer {
    queue: Arc<Queue>,
    ended: bool,
}

impl Drainer {
    async fn drain(mut self) {
        while let Some(job) = self.next() {
            // On a task of its own, so that its panic is not the end of the queue.
            let _ = tokio::spawn(job).await;
        }
    }

    fn next(&mut self) -> Option<Job> {
        let mut state = self.queue.0.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.draining = false;
            self.ended = true;
        }
        next
    }
}

impl Drop for Drainer {
    /// If the runtime is shut down, those who wait are told, and the next call starts anew.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut state = self.queue.0.lock();
        state.draining = false;
        let dropped = mem::take(&mut state.waiting);
        drop(state);
        drop(dropped);
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::future::{pending, poll_fn};
    use std::task::Poll;
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::Notify;
    use tokio::task::yield_now;

    use super::*;

    type Log = Arc<Mutex<Vec<u32>>>;
    type Run = Pin<Box<dyn Future<Output = Result<u32, Unanswered>> + Send>>;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// A call that notes its number twice, and lets other tasks run in between.
    fn noting(queue: &Arc<Queue>, log: &Log, n: u32) -> Run {
        let log = log.clone();
        Box::pin(queue.clone().run(soon(), async move {
            log.lock().push(n);
            yield_now().await;
            log.lock().push(n);
            n
        }))
    }

    /// A call that has begun and ends when it is told to.
    async fn begun(queue: &Arc<Queue>) -> (Run, Arc<Notify>) {
        let (begin, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begins, ends) = (begin.clone(), end.clone());
        let mut run: Run = Box::pin(queue.clone().run(soon(), async move {
            begins.notify_one();
            ends.notified().await;
            0
        }));
        poll_once(&mut run).await;
        begin.notified().await;
        (run, end)
    }

    async fn poll_once(run: &mut Run) {
        poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_ready())).await;
    }

    fn is_idle(queue: &Queue) -> bool {
        let state = queue.0.lock();
        !state.draining && state.waiting.is_empty()
    }

    // D6
    #[tokio::test]
    async fn calls_run_in_the_order_of_their_first_polls_without_those_that_were_dropped() {
        let (queue, log) = (Arc::new(Queue::default()), Log::default());
        let (first, end) = begun(&queue).await;
        let mut runs: Vec<Run> = (1..=9).map(|n| noting(&queue, &log, n)).collect();
        let mut never_polled = noting(&queue, &log, 10);
        for run in runs.iter_mut().rev() {
            poll_once(run).await;
        }
        // 2, 5 and 8 go before their turn; 7 is polled by nobody, and 0 has begun.
        for index in [7, 4, 1] {
            drop(runs.remove(index));
        }
        let seven = runs.remove(4);
        drop(first);
        end.notify_one();
        for run in runs {
            run.await.unwrap();
        }
        assert_eq!(*log.lock(), [9, 9, 7, 7, 6, 6, 4, 4, 3, 3, 1, 1]);
        assert_eq!(seven.await, Ok(7));
        poll_once(&mut never_polled).await;
        assert_eq!(never_polled.await, Ok(10));
        while !is_idle(&queue) {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_call_that_panics_is_answered_and_does_not_stop_later_ones() {
        let (queue, log) = (Arc::new(Queue::default()), Log::default());
        let (first, end) = begun(&queue).await;
        let mut panics: Run =
            Box::pin(queue.clone().run(soon(), async { panic!("as the test wants it") }));
        let mut after = noting(&queue, &log, 1);
        poll_once(&mut panics).await;
        poll_once(&mut after).await;
        end.notify_one();
        assert_eq!(first.await, Ok(0));
        assert_eq!(after.await, Ok(1));
        assert_eq!(panics.await, Err(Unanswered::Stopped));
    }

    // P2
    #[tokio::test(start_paused = true)]
    async fn waiting_for_ones_turn_is_bounded_and_running_is_not() {
        let (queue, log) = (Arc::new(Queue::default()), Log::default());
        let (first, end) = begun(&queue).await;
        assert_eq!(noting(&queue, &log, 1).await, Err(Unanswered::TimedOut));
        end.notify_one();
        assert_eq!(first.await, Ok(0), "it has run for longer than a call waits");
        assert_eq!(noting(&queue, &log, 2).await, Ok(2));
        assert_eq!(*log.lock(), [2, 2], "what was given up is never begun");
    }

    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
    }

    #[test]
    fn after_its_runtime_was_shut_down_a_queue_works_on_another() {
        let (queue, log) = (Arc::new(Queue::default()), Log::default());
        let (old, new) = (runtime(), runtime());
        let (running, _end) = old.block_on(begun(&queue));
        let mut waiting = noting(&queue, &log, 1);
        new.block_on(poll_once(&mut waiting));
        drop(old);
        new.block_on(async {
            assert_eq!(running.await, Err(Unanswered::Stopped));
            assert_eq!(waiting.await, Err(Unanswered::Stopped));
            assert_eq!(noting(&queue, &log, 2).await, Ok(2));
        });
        assert_eq!(*log.lock(), [2, 2]);
    }

    #[test]
    fn without_a_runtime_a_call_fails_and_the_queue_goes_on() {
        let (queue, log) = (Arc::new(Queue::default()), Log::default());
        let runtime = runtime();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let shut_down = handle.block_on(queue.clone().run(soon(), pending::<u32>()));
        assert_eq!(shut_down, Err(Unanswered::Stopped));
        assert!(is_idle(&queue));
        assert_eq!(self::runtime().block_on(noting(&queue, &log, 1)), Ok(1));
    }
}
