//! The queue of an SQL database's writes, on a runtime of tokio that goes one step at a time.

#[path = "../../src/driver/sql/queue.rs"]
mod queue;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::rig::{both, choose, explore, give_up_after};
use queue::{Queue, Unanswered};

type Log = Arc<Mutex<Vec<u32>>>;

/// A call that notes its number when it begins and when it ends.
async fn noting(log: Log, number: u32) -> u32 {
    log.lock().unwrap().push(number);
    yield_now().await;
    log.lock().unwrap().push(number);
    number
}

fn begun(log: &Log, number: u32) -> bool {
    log.lock().unwrap().contains(&number)
}

// P2, D6
#[test]
fn writes_run_whole_and_one_after_another_whoever_gives_up() {
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

        let (queue, log) = (Arc::new(Queue::default()), Log::default());
        let run = |number, deadline| queue.clone().run(deadline, noting(log.clone(), number));
        let stays = both(run(1, soon), run(2, soon));
        let is_late = run(3, Instant::now());
        let gives_up = give_up_after(choose(3), run(4, soon));
        let (stay, (late, given_up)) = both(stays, both(is_late, gives_up)).await;
        assert_eq!(stay, (Ok(1), Ok(2)));
        match late {
            Ok(number) => assert_eq!(number, 3),
            Err(error) => assert_eq!((error, begun(&log, 3)), (Unanswered::TimedOut, false)),
        }
        assert!(given_up.is_none_or(|answer| answer == Ok(4)));
        // After all of them, and in a queue that was empty perhaps.
        assert_eq!(run(5, soon).await, Ok(5));

        let log = log.lock().unwrap();
        let (pairs, rest) = log.as_chunks::<2>();
        assert!(pairs.iter().all(|[begins, ends]| begins == ends) && rest.is_empty(), "{log:?}");
        let mut numbers: Vec<_> = pairs.iter().map(|[number, _]| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), pairs.len(), "a call has run twice: {log:?}");
        over.store(true, Ordering::SeqCst);
        steps.join().unwrap();
        drop(entered);
    });
}
