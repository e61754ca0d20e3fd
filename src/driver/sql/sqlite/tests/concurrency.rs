//! Writers that meet, and callers that go away.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use super::*;
use crate::driver::{CommitOutcome, DriverErrorKind, ReplaceItem, ReplaceOutcome};

// S3: on every driver, across processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_drivers_on_one_file_lose_no_write_and_never_find_it_locked() {
    let folder = Folder::new();
    let drivers = [folder.driver().await, folder.driver().await];
    created(&drivers[0], 1).await;
    let commits: Vec<_> = (0..400)
        .map(|n| {
            let driver = drivers[n % 2].clone();
            tokio::spawn(async move {
                let key = format!("k{n}");
                driver.commit(commit(seen(1), set(&[(&key, "1")]))).await
            })
        })
        .collect();
    for commit in commits {
        assert!(matches!(commit.await.unwrap(), Ok(CommitOutcome::Done(_))));
    }
    assert_eq!(items(&drivers[0], 1).await.len(), 400);
}

// S4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_increments_by_two_drivers_count_to_a_hundred() {
    let folder = Folder::new();
    let drivers = [folder.driver().await, folder.driver().await];
    created(&drivers[0], 1).await;
    let increments: Vec<_> =
        (0..100).map(|n| tokio::spawn(increment(drivers[n % 2].clone()))).collect();
    for increment in increments {
        increment.await.unwrap();
    }
    assert_eq!(items(&drivers[0], 1).await.get("n").map(|text| &**text), Some("100"));
}

async fn increment(driver: SqliteDriver) {
    let mut expected: Option<Arc<str>> = None;
    loop {
        let before: u32 = expected.as_deref().map_or(0, |text| text.parse().unwrap());
        let replace = ReplaceItem {
            session: reference(1),
            application: SHOP,
            key: "n".into(),
            expected,
            value: (before + 1).to_string().into(),
            limits: Limits::default(),
            now: NOW,
        };
        match driver.replace_item(replace).await.unwrap() {
            ReplaceOutcome::Done => return,
            ReplaceOutcome::Conflict(current) => expected = current,
            ReplaceOutcome::Gone => panic!("the session is gone"),
        }
    }
}

// D6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_caller_goes_away_is_applied_whole_or_not_at_all() {
    let folder = Folder::new();
    for driver in [folder.driver().await, memory().await] {
        created(&driver, 1).await;
        for polls in 0..12 {
            let empty = driver.commit(commit(seen(1), emptied())).await.unwrap();
            assert!(matches!(empty, CommitOutcome::Done(_)));
            let texts: Vec<_> = (0..20).map(|n| format!("k{n}")).collect();
            let pairs: Vec<_> = texts.iter().map(|key| (key.as_str(), "1")).collect();
            let mut future = driver.commit(commit(seen(1), set(&pairs)));
            for _ in 0..polls {
                if poll_once(&mut future).await {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(future);
            // A write that follows waits for the one that was dropped, so the answer is final.
            driver.commit(commit(seen(1), set(&[("last", "1")]))).await.unwrap();
            let stored = items(&driver, 1).await.len();
            assert!(stored == 1 || stored == 21, "{stored} items after {polls} polls");
        }
    }
}

// D6
#[tokio::test]
async fn a_call_that_is_not_polled_any_more_holds_up_no_writer() {
    let folder = Folder::new();
    for driver in [folder.driver().await, memory().await] {
        let mut kept: Vec<_> =
            (1..=3).map(|n| driver.create(Create { session: session(n) })).collect();
        for create in &mut kept {
            assert!(!poll_once(create).await);
        }
        created(&driver, 4).await;
        for n in 1..=4 {
            assert_eq!(loaded(&driver, n).await.len(), 1, "those in front were run");
        }
        for create in kept {
            assert_eq!(create.await.unwrap(), CreateOutcome::Done);
        }
    }
}

// D6
#[test]
fn after_its_runtime_was_shut_down_a_driver_writes_on_another() {
    let folder = Folder::new();
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (old, new) = (runtime(), runtime());
    let driver = old.block_on(folder.driver());
    let mut creates: Vec<_> =
        (1..=20).map(|n| driver.create(Create { session: session(n) })).collect();
    old.block_on(async {
        for create in &mut creates {
            poll_once(create).await;
        }
    });
    drop(old);
    new.block_on(async {
        for (create, n) in creates.into_iter().zip(1..) {
            let answer = create.await;
            let stored = loaded(&driver, n).await.len();
            assert!(answer.is_err() || stored == 1, "{answer:?}, {stored} stored");
        }
        created(&driver, 21).await;
        driver.close().await;
    });
}

fn emptied() -> Vec<ApplicationChanges> {
    let mut changes = ApplicationChanges::new(SHOP);
    changes.empty = true;
    vec![changes]
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_ready())).await
}

// D6
#[tokio::test]
async fn a_load_whose_caller_goes_away_leaves_the_connection_usable() {
    let folder = Folder::new();
    for driver in [folder.driver().await, memory().await] {
        created(&driver, 1).await;
        for _ in 0..20 {
            let mut future = driver.load(load(vec![Locator::Key(key(1))]));
            poll_once(&mut future).await;
        }
        assert_eq!(loaded(&driver, 1).await.len(), 1);
    }
}

// D6
#[tokio::test]
async fn a_load_that_is_not_polled_any_more_holds_up_nobody() {
    let folder = Folder::new();
    let driver = folder.driver().await;
    created(&driver, 1).await;
    let mut kept = driver.load(load(vec![Locator::Key(key(1))]));
    poll_once(&mut kept).await;
    for _ in 0..20 {
        assert_eq!(loaded(&driver, 1).await.len(), 1);
        driver.commit(commit(seen(1), set(&[("a", "1")]))).await.unwrap();
    }
    assert_eq!(kept.await.unwrap().len(), 1);
    driver.close().await;
}

// P2, S6: of writes at the same moment each is judged by itself.
#[tokio::test]
async fn what_is_wrong_with_one_write_is_no_matter_to_those_that_go_with_it() {
    let driver = memory().await;
    for n in 1..=5 {
        created(&driver, n).await;
    }
    let of = |n| commit(seen(n), set(&[("a", "1")]));
    let (mut late, mut narrow) = (of(2), of(4));
    late.now = Timestamp::from_millis(2_000);
    narrow.changes = set(&[("a", "1"), ("b", "123")]);
    narrow.limits.value_bytes = 2;
    let mut calls: Vec<_> = [of(1), late, of(3), of(9), of(5), narrow].into();
    // All have the same limits, or they would not go together.
    let limits = calls.last().unwrap().limits;
    calls.iter_mut().for_each(|commit| commit.limits = limits);
    let first = driver.commit(of(1));
    let answers = futures_util::future::join_all(calls.into_iter().map(|one| driver.commit(one)));
    let (first, answers) = futures_util::future::join(first, answers).await;
    assert!(matches!(first, Ok(CommitOutcome::Done(_))));
    let shown = answers.iter().map(|answer| match answer {
        Ok(CommitOutcome::Done(_)) => "done",
        Ok(CommitOutcome::Gone) => "gone",
        Err(error) if error.kind() == DriverErrorKind::TooLarge => "too large",
        _ => "something else",
    });
    let shown = shown.collect::<Vec<_>>();
    assert_eq!(shown, ["done", "gone", "done", "gone", "done", "too large"]);
    for (n, stored) in [(1, 1), (2, 0), (3, 1), (4, 0), (5, 1)] {
        assert_eq!(items(&driver, n).await.len(), stored, "{n}");
    }
}

// D6
#[tokio::test]
async fn a_transaction_that_was_left_open_is_rolled_back_by_the_next_call() {
    let folder = Folder::new();
    for driver in [folder.driver().await, memory().await] {
        execute(driver.0.writer.pool(), "BEGIN IMMEDIATE; DELETE FROM web_session_version").await;
        created(&driver, 1).await;
        let state = driver.environment().await.unwrap();
        assert_eq!(state, crate::driver::EnvironmentState::Complete);

        execute(driver.0.writer.pool(), "BEGIN IMMEDIATE").await;
        // In memory that is the same connection.
        loaded(&driver, 1).await;
        driver.commit(commit(seen(1), set(&[("n", "1")]))).await.unwrap();
        let rolled_back = sqlx::query("ROLLBACK").execute(driver.0.writer.pool()).await;
        assert!(rolled_back.is_err(), "it was no part of that transaction");
        assert_eq!(items(&driver, 1).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_memory_serves_fifty_tasks_at_once() {
    let driver = memory().await;
    let tasks: Vec<_> = (1..=50)
        .map(|n| {
            let driver = driver.clone();
            tokio::spawn(async move {
                created(&driver, n).await;
                driver.commit(commit(seen(n), set(&[("n", "1")]))).await.unwrap();
                items(&driver, n).await.len()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 1);
    }
    let other = memory().await;
    assert!(loaded(&other, 1).await.is_empty());
}
