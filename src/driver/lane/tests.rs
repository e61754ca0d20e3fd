//! Calls that wait for each other, on a runner that notes its batches.

mod rig;

use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use super::*;
use rig::{Answer, Rig, others_go_on, poll_all, poll_once, soon};

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
    let rig = Rig::wide();
    let first = rig.begun(AtDeadline::Wait).await;
    let second = rig.call_begun(1, AtDeadline::Wait).await;
    let mut waiting = [rig.call(11), rig.call(12)];
    poll_all(&mut waiting).await;
    others_go_on().await;
    assert_eq!(rig.batches(), [[0], [1]], "a third would be one too many");
    rig.runner.end.notify_one();
    assert_eq!(first.await, Ok(0));
    for (call, number) in waiting.into_iter().zip([11, 12]) {
        assert_eq!(call.await, Ok(number), "the other one still runs");
    }
    rig.runner.end.notify_one();
    assert_eq!(second.await, Ok(1));
    assert_eq!(rig.batches(), [vec![0], vec![1], vec![11, 12]]);
    rig.becomes_idle().await;
}

// P2
#[tokio::test]
async fn a_batch_begins_beside_another_when_enough_calls_wait() {
    let rig = Rig::wide();
    let first = rig.begun(AtDeadline::Wait).await;
    let mut waiting = [31, 0, 32, 33, 34, 0].map(|number| rig.call(number));
    poll_all(&mut waiting[..2]).await;
    others_go_on().await;
    assert_eq!(rig.batches(), [[0]], "one call is too few, and the other one cannot go yet");
    poll_all(&mut waiting[2..]).await;
    others_go_on().await;
    assert_eq!(rig.batches(), [vec![0], vec![31, 32, 33]], "one is too few again");
    assert!(rig.lane.state.lock().waiting.iter().is_sorted_by_key(|(ticket, _)| *ticket));
    for _ in 0..2 {
        rig.runner.end.notify_one();
        rig.runner.begun.notified().await;
    }
    rig.runner.end.notify_one();
    assert_eq!(first.await, Ok(0));
    for (call, number) in waiting.into_iter().zip([31, 0, 32, 33, 34, 0]) {
        assert_eq!(call.await, Ok(number));
    }
    assert_eq!(rig.batches(), [vec![0], vec![31, 32, 33], vec![0], vec![34], vec![0]]);
    rig.becomes_idle().await;
    assert_eq!(rig.lane.room.available_permits(), 100);
}

// P2
#[tokio::test]
async fn what_does_not_go_with_it_makes_no_batch_large_enough() {
    let rig = Rig::wide();
    let first = rig.begun(AtDeadline::Wait).await;
    let mut waiting = [31, 21, 32].map(|number| rig.call(number));
    poll_all(&mut waiting[..2]).await;
    others_go_on().await;
    assert_eq!(rig.batches(), [[0]]);
    poll_once(&mut waiting[2]).await;
    for (call, number) in waiting.into_iter().zip([31, 21, 32]) {
        assert_eq!(call.await, Ok(number));
    }
    assert_eq!(rig.batches(), [vec![0], vec![31, 32], vec![21]]);
    rig.runner.end.notify_one();
    assert_eq!(first.await, Ok(0));
    rig.becomes_idle().await;
}

// P2
#[tokio::test(start_paused = true)]
async fn what_was_too_few_beside_a_batch_does_not_count_when_it_has_ended_or_fewer_wait() {
    let rig = Rig::wide();
    let begins_with = async |call: &mut Answer| {
        let drainers = || rig.lane.state.lock().drainers;
        let before = drainers();
        poll_once(call).await;
        drainers() > before
    };
    let first = rig.begun(AtDeadline::Wait).await;
    let mut waiting = [71, 31].map(|number| rig.call(number));
    poll_all(&mut waiting).await;
    others_go_on().await;
    assert_eq!(rig.batches(), [[0]]);
    rig.runner.end.notify_one();
    assert_eq!(first.await, Ok(0));
    let mut third = rig.call(32);
    assert!(begins_with(&mut third).await, "two go together, and the batch has ended");
    for (call, number) in waiting.into_iter().chain([third]).zip([71, 31, 32]) {
        assert_eq!(call.await, Ok(number));
    }
    rig.becomes_idle().await;
    for is_dropped in [false, true] {
        let first = rig.begun(AtDeadline::Wait).await;
        let by = Instant::now() + Duration::from_millis(20);
        let mut one = rig.call_by(72, by, AtDeadline::Wait);
        let mut other = rig.call(33);
        poll_all([&mut one, &mut other]).await;
        others_go_on().await;
        match is_dropped {
            true => drop(one),
            false => assert_eq!(one.await, Err(Unanswered::NotBegun)),
        }
        let mut second = rig.call(34);
        assert!(
            begins_with(&mut second).await,
            "two go together, and the first does not wait any more"
        );
        assert_eq!((other.await, second.await), (Ok(33), Ok(34)));
        rig.runner.end.notify_one();
        assert_eq!(first.await, Ok(0));
        rig.becomes_idle().await;
    }
}

// P2
#[tokio::test]
async fn a_call_waits_for_the_end_of_the_batch_that_is_in_its_way() {
    let rig = Rig::wide();
    let first = rig.begun(AtDeadline::Wait).await;
    let mut waiting = [rig.call(0), rig.call(5)];
    poll_all(&mut waiting).await;
    assert_eq!(rig.call(11).await, Ok(11), "nobody is in its way");
    assert_eq!(rig.batches(), [[0], [11]]);
    rig.runner.end.notify_one();
    assert_eq!(first.await, Ok(0));
    rig.runner.begun.notified().await;
    rig.runner.end.notify_one();
    for (call, number) in waiting.into_iter().zip([0, 5]) {
        assert_eq!(call.await, Ok(number));
    }
    assert_eq!(rig.batches(), [vec![0], vec![11], vec![0, 5]], "nobody goes in front of who waits");
    rig.becomes_idle().await;
    assert!(rig.lane.state.lock().running.is_empty());
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

#[tokio::test]
async fn a_call_lets_others_go_on_first_unless_many_before_it_have_found_nobody() {
    let rig = Rig::new(100);
    let both = || async {
        let mut first = rig.call(11);
        poll_once(&mut first).await;
        // What runs the first call is there already, and this task comes behind it.
        let second = tokio::spawn(rig.call(12));
        assert_eq!((first.await, second.await.unwrap()), (Ok(11), Ok(12)));
    };
    let mut expected = vec![vec![11, 12]];
    both().await;
    for (singles, pair) in [
        (QUIET - 1, vec![vec![11, 12]]),
        (QUIET, vec![vec![11], vec![12]]),
        // The second of them has found the first.
        (0, vec![vec![11, 12]]),
    ] {
        for _ in 0..singles {
            rig.call(13).await.unwrap();
            expected.push(vec![13]);
        }
        both().await;
        expected.extend(pair);
    }
    assert_eq!(rig.batches(), expected);
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
    let mut dropped = rig.call(15);
    poll_once(&mut dropped).await;
    drop(dropped);
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

// P2
#[tokio::test]
async fn a_lone_call_runs_with_its_caller_and_nobody_waits_for_it() {
    let rig = Rig::with_caller();
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
    let rig = Rig::with_caller();
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

// P2
#[tokio::test]
async fn whoever_waits_for_a_lone_call_looks_for_its_answer_for_some_time() {
    let (for_long, for_a_moment) = (Duration::from_secs(60), Duration::from_nanos(1));
    for rig in [|| Rig::new(100), Rig::with_caller] {
        for (time, looks) in [(Duration::ZERO, false), (for_a_moment, false), (for_long, true)] {
            let rig = rig().awake_for(time);
            for _ in 0..QUIET {
                assert_eq!(rig.call(11).await, Ok(11));
                rig.becomes_idle().await;
            }
            let polls = rig.polls_of(0).await;
            assert_eq!(polls >= 9, looks, "{time:?}: {polls}");
            // With company there is more to do.
            let mut other = rig.call(0);
            poll_once(&mut other).await;
            let polls = rig.polls_of(1).await;
            assert!(polls < 9, "{time:?}: {polls}");
        }
    }
}

// P2: who looks for an answer is woken by it too, as its thread may have something else to do.
#[tokio::test]
async fn whoever_looks_for_an_answer_is_woken_by_it() {
    struct Woken(AtomicU32);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    for rig in [|| Rig::new(100), Rig::with_caller] {
        let rig = rig().awake_for(Duration::from_secs(60));
        for _ in 0..QUIET {
            assert_eq!(rig.call(11).await, Ok(11));
            rig.becomes_idle().await;
        }
        let (woken, mut call) = (Arc::new(Woken(AtomicU32::new(0))), rig.call(0));
        let polled = call.as_mut().poll(&mut Context::from_waker(&woken.clone().into()));
        assert!(polled.is_pending());
        others_go_on().await;
        let before = woken.0.load(Ordering::SeqCst);
        rig.runner.end.notify_waiters();
        others_go_on().await;
        assert_eq!(woken.0.load(Ordering::SeqCst), before + 1);
        assert_eq!(call.await, Ok(0));
    }
}

#[tokio::test]
async fn a_lone_call_that_panics_is_answered_and_does_not_stop_later_ones() {
    let rig = Rig::with_caller();
    assert_eq!(rig.call(66).await, Err(Unanswered::Stopped));
    assert_eq!(rig.call(11).await, Ok(11));
}

// P2
#[tokio::test(start_paused = true)]
async fn a_lone_call_is_bounded_where_that_is_wanted() {
    let rig = Rig::with_caller();
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
    let rig = Rig::wide();
    let (old, new) = (runtime(), runtime());
    let mut stopped = old.block_on(rig.begun(AtDeadline::Wait));
    let running = new.block_on(rig.call_begun(1, AtDeadline::Wait));
    let mut waiting = [rig.call(11), rig.call(0)];
    new.block_on(poll_all(&mut waiting));
    drop(old);
    new.block_on(async {
        assert_eq!(stopped.as_mut().await, Err(Unanswered::Stopped));
        rig.runner.end.notify_one();
        assert_eq!(running.await, Ok(1));
        rig.runner.end.notify_one();
        for (call, number) in waiting.into_iter().zip([11, 0]) {
            assert_eq!(call.await, Ok(number));
        }
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
