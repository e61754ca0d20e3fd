//! A lane of calls with numbers, and what runs them.

use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::Notify;

use super::super::*;

/// A call with a number. Those of equal tens go together, at most three, and of equal numbers one; from 30 on at least
/// two, if another batch runs, and from 70 on three. Where one waits for a batch that runs, those of equal tens wait
/// behind it.
pub(super) struct Numbered {
    number: u32,
    reply: Reply<u32>,
}

impl Numbered {
    fn tens(&self) -> u32 {
        self.number / 10
    }
}

#[derive(Default)]
pub(super) struct Numbers {
    joined: Vec<u32>,
    /// The tens of those that wait.
    passed: Vec<u32>,
}

impl Work for Numbered {
    type Group = Numbers;

    fn place(&self, group: &mut Numbers) -> Place {
        if group.joined.len() == 3 {
            return Place::Ends;
        }
        let differs = group.joined.first().is_some_and(|first| first / 10 != self.tens());
        if differs || group.joined.contains(&self.number) || group.passed.contains(&self.tens()) {
            return Place::Waits;
        }
        group.joined.push(self.number);
        Place::Joins
    }

    fn note_held_up(&self, group: &mut Numbers) {
        group.passed.push(self.tens());
    }

    fn waits_for(&self, running: &Numbers) -> bool {
        running.joined.contains(&self.number)
    }

    fn quorum(&self) -> usize {
        match self.number {
            ..30 => 1,
            30..70 => 2,
            70.. => 3,
        }
    }
}

/// Notes the batches; those of the calls 0 and 1 end when they are told to, and the call 66 panics.
#[derive(Default)]
pub(super) struct Runner {
    pub(super) batches: Mutex<Vec<Vec<u32>>>,
    pub(super) begun: Notify,
    pub(super) end: Notify,
}

impl Run<Numbered> for Runner {
    async fn run(self: Arc<Self>, batch: Vec<Numbered>) {
        let numbers: Vec<_> = batch.iter().map(|call| call.number).collect();
        self.batches.lock().push(numbers.clone());
        if numbers.iter().any(|number| *number < 2) {
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

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<u32, Unanswered>> + Send>>;

pub(super) struct Rig {
    pub(super) lane: Arc<Lane<Numbered>>,
    pub(super) runner: Arc<Runner>,
}

impl Rig {
    pub(super) fn new(places: usize) -> Self {
        Self { lane: Arc::new(Lane::with_room(1, Lone::OnTask, places)), runner: Arc::default() }
    }

    /// With two batches at a time.
    pub(super) fn wide() -> Self {
        Self { lane: Arc::new(Lane::with_room(2, Lone::OnTask, 100)), runner: Arc::default() }
    }

    /// Where a lone call runs with its caller.
    pub(super) fn with_caller() -> Self {
        Self { lane: Arc::new(Lane::with_room(1, Lone::WithCaller, 100)), runner: Arc::default() }
    }

    /// Where whoever waits for a lone call looks for its answer for so long.
    pub(super) fn awake_for(self, time: Duration) -> Self {
        let lane = Arc::into_inner(self.lane).map(|lane| Arc::new(lane.awake_for(time)));
        Self { lane: lane.unwrap(), runner: self.runner }
    }

    /// How often one of the calls 0 and 1 is polled that goes on until others have gone on for a while.
    pub(super) async fn polls_of(&self, number: u32) -> u32 {
        let (mut call, mut polls, runner) = (self.call(number), 0, self.runner.clone());
        tokio::spawn(async move {
            // The second time if it had to wait for another.
            for _ in 0..2 {
                others_go_on().await;
                runner.end.notify_waiters();
            }
        });
        let answer = poll_fn(|context| {
            polls += 1;
            call.as_mut().poll(context)
        });
        assert_eq!(answer.await, Ok(number));
        self.becomes_idle().await;
        polls
    }

    pub(super) fn call_by(
        &self,
        number: u32,
        deadline: Instant,
        at_deadline: AtDeadline,
    ) -> Answer {
        let (lane, runner) = (self.lane.clone(), self.runner.clone());
        Box::pin(async move {
            let work = |reply| Numbered { number, reply };
            lane.call(&runner, deadline, at_deadline, work).await
        })
    }

    pub(super) fn call(&self, number: u32) -> Answer {
        self.call_by(number, soon(), AtDeadline::Wait)
    }

    /// The call 0, which has begun.
    pub(super) async fn begun(&self, at_deadline: AtDeadline) -> Answer {
        self.call_begun(0, at_deadline).await
    }

    pub(super) async fn call_begun(&self, number: u32, at_deadline: AtDeadline) -> Answer {
        let mut first = self.call_by(number, soon(), at_deadline);
        poll_once(&mut first).await;
        self.runner.begun.notified().await;
        first
    }

    pub(super) fn batches(&self) -> Vec<Vec<u32>> {
        self.runner.batches.lock().clone()
    }

    pub(super) async fn becomes_idle(&self) {
        while self.lane.state.lock().drainers > 0 {
            yield_now().await;
        }
        assert!(self.lane.state.lock().waiting.is_empty());
    }
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub(super) async fn poll_once(call: &mut Answer) {
    poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
}

/// Lets what has something to do go on.
pub(super) async fn others_go_on() {
    for _ in 0..10 {
        yield_now().await;
    }
}

pub(super) async fn poll_all(calls: impl IntoIterator<Item = &mut Answer>) {
    for call in calls {
        poll_once(call).await;
    }
}
