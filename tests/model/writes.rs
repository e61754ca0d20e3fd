//! The lane of an SQL database's writes, on a runtime of tokio that goes one step at a time.

#[path = "../../src/driver/lane.rs"]
mod lane;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::rig::{both, choose, explore, give_up_after};
use lane::{AtDeadline, Lane, Lone, Place, Reply, Run, Unanswered, Work};

/// The numbers of the calls, when they begin and when they end.
#[derive(Default)]
struct Log(Mutex<Vec<u32>>);

/// A call with a number. Odd ones go together.
struct Numbered(u32, Reply<u32>);

impl Work for Numbered {
    type Group = Option<u32>;

    fn place(&self, first: &mut Option<u32>) -> Place {
        match *first {
            None => *first = Some(self.0),
            Some(first) if first % 2 == 1 && self.0 % 2 == 1 => {}
            Some(_) => return Place::Ends,
        }
        Place::Joins
    }
}

impl Run<Numbered> for Log {
    async fn run(self: Arc<Self>, batch: Vec<Numbered>) {
        let numbers: Vec<_> = batch.iter().map(|call| call.0).collect();
        self.0.lock().unwrap().extend(&numbers);
        yield_now().await;
        self.0.lock().unwrap().extend(&numbers);
        for Numbered(number, reply) in batch {
            let _ = reply.send(number);
        }
    }
}

// P2, D6
#[test]
fn writes_run_whole_and_one_batch_after_another_whoever_gives_up() {
    explore(|| async {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .event_interval(1)
            .build()
            .unwrap();
        // For all tasks of the model: they share one thread.
        let handle = runtime.handle().clone();
        let entered = handle.enter();
        let soon = Instant::now() + Duration::from_secs(60);
        let over = Arc::new(AtomicBool::new(false));
        let steps = shuttle::thread::spawn({
            let over = over.clone();
            move || {
                while !over.load(Ordering::SeqCst) {
                    runtime.block_on(yield_now());
                    shuttle::thread::yield_now();
                }
            }
        });

        // No time passes here that is not the explorer's.
        let lane = Lane::new(1, Lone::OnTask).awake_for(Duration::ZERO);
        let (lane, log) = (Arc::new(lane), Arc::new(Log::default()));
        let run = |number, deadline| {
            let (lane, log) = (lane.clone(), log.clone());
            async move {
                let work = |reply| Numbered(number, reply);
                lane.call(&log, deadline, AtDeadline::Wait, work).await
            }
        };
        let begun = |number| log.0.lock().unwrap().contains(&number);
        let stays = both(run(1, soon), run(2, soon));
        let is_late = run(3, Instant::now());
        let gives_up = give_up_after(choose(3), run(5, soon));
        let (stay, (late, given_up)) = both(stays, both(is_late, gives_up)).await;
        assert_eq!(stay, (Ok(1), Ok(2)));
        match late {
            Ok(number) => assert_eq!(number, 3),
            Err(error) => assert_eq!((error, begun(3)), (Unanswered::NotBegun, false)),
        }
        assert!(given_up.is_none_or(|answer| answer == Ok(5)));
        // After all of them, and in a lane that was empty perhaps.
        assert_eq!(run(7, soon).await, Ok(7));

        let log = log.0.lock().unwrap().clone();
        let mut rest = log.as_slice();
        while let Some(first) = rest.first() {
            // A batch ends with what it began with, before another begins.
            let length = rest.iter().skip(1).position(|number| number == first).unwrap() + 1;
            let (batch, others) = rest.split_at(2 * length);
            assert_eq!(batch[..length], batch[length..], "{log:?}");
            rest = others;
        }
        let mut numbers = log.clone();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len() * 2, log.len(), "a call has run twice: {log:?}");
        over.store(true, Ordering::SeqCst);
        steps.join().unwrap();
        drop(entered);
    });
}
