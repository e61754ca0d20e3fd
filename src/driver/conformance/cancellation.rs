//! Calls whose futures are dropped half-way.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use super::list_cases;
use super::setup::*;
use crate::driver::{
    Cleanup, Create, Destroy, Driver, DriverFuture, Locator, OnMissing, SessionRecord, Target,
};

list_cases! {
    "D6" a_dropped_commit_is_whole_or_nothing,
    "D6" a_dropped_creation_is_whole_or_nothing,
    "D6" a_dropped_replacement_is_whole_or_nothing,
    "D6" a_dropped_end_is_whole_or_nothing,
    "D6" a_dropped_cleanup_leaves_whole_sessions,
    "D6" dropped_reads_change_nothing,
    "D6" a_dropped_removal_of_the_environment_leaves_it_whole_or_none,
}

/// How often a call is polled before it is dropped, at most. A call that is ready before that was
/// not dropped half-way, and ends the case.
const POLLS: usize = 200;

/// Polls a call `polls` times, letting other tasks run in between, and drops it. Whether it was
/// ready.
async fn dropped_after<T>(mut call: DriverFuture<T>, polls: usize) -> bool {
    for _ in 0..polls {
        let ready = poll_fn(|cx| Poll::Ready(Pin::new(&mut call).poll(cx).is_ready())).await;
        if ready {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// Waits until what a dropped call left running has ended, as far as that can be seen from outside:
/// a driver that goes on by itself does so in the order of its calls.
async fn settle(driver: &dyn Driver) {
    let record = create(driver).await;
    destroy(driver, vec![Locator::Ref(record.session)]).await;
}

async fn a_dropped_commit_is_whole_or_nothing(driver: &dyn Driver) {
    let both = [("a", Some("1")), ("b", Some("1"))];
    for polls in 0..POLLS {
        let record = create_with(driver, &[("old", Some("0"))]).await;
        let mut write =
            commit(seen(&record), vec![emptied(&both), changes_of(app("forum"), &both)]);
        write.session = set_expires(at(LIFE * 2));
        let ready = dropped_after(driver.commit(write), polls).await;
        settle(driver).await;
        let shop = shop_items(driver, &record).await;
        let forum = texts(&items_of(driver, &record, app("forum")).await);
        let expires = stored(driver, &record).await.map(|record| record.expires);
        if shop == pairs(&[("old", "0")]) {
            assert!(!ready, "what was answered is there");
            assert_eq!((forum, expires), (pairs(&[]), Some(at(LIFE))), "after {polls} polls");
        } else {
            let after = pairs(&[("a", "1"), ("b", "1")]);
            assert_eq!((&shop, &forum), (&after, &after), "after {polls} polls");
            assert_eq!(expires, Some(at(LIFE * 2)), "after {polls} polls");
        }
        done(driver, super::setup::write(&record, &[("next", Some("2"))])).await;
        if ready {
            break;
        }
    }
}

async fn a_dropped_creation_is_whole_or_nothing(driver: &dyn Driver) {
    for polls in 0..POLLS {
        let (bare, full) = (fresh_record(), fresh_record());
        let ready = dropped_after(driver.create(Create { session: bare.clone() }), polls).await;
        let items =
            vec![changes(&[("a", Some("1"))]), changes_of(app("forum"), &[("b", Some("2"))])];
        let write = commit(Target::New(full.clone()), items);
        let ready = dropped_after(driver.commit(write), polls).await && ready;
        settle(driver).await;
        if let Some(found) = load_key(driver, full.key).await {
            assert_eq!(texts(&found.items), pairs(&[("a", "1")]), "after {polls} polls");
            assert_eq!(items_of(driver, &full, app("forum")).await.len(), 1);
        }
        for record in [bare, full] {
            let exists = stored(driver, &record).await;
            assert!(exists.is_none_or(|exists| exists == record), "after {polls} polls");
        }
        if ready {
            break;
        }
    }
}

async fn a_dropped_replacement_is_whole_or_nothing(driver: &dyn Driver) {
    let record = create(driver).await;
    let mut current: Option<String> = None;
    for polls in 0..POLLS {
        let next = polls.to_string();
        let call = driver.replace_item(replace(&record, "a", current.as_deref(), &next));
        let ready = dropped_after(call, polls).await;
        settle(driver).await;
        let stored = shop_items(driver, &record).await.pop().map(|(_, value)| value);
        assert!(stored == current || stored.as_ref() == Some(&next), "after {polls} polls");
        assert!(!ready || stored == Some(next), "what was answered is there");
        current = stored;
        if ready {
            break;
        }
    }
}

async fn a_dropped_end_is_whole_or_nothing(driver: &dyn Driver) {
    for polls in 0..POLLS {
        let records = [(); 2].map(|()| create_with(driver, &[("a", Some("1"))]));
        let [one, two] = records;
        let records = [one.await, two.await];
        let sessions = records.iter().map(|record| Locator::Key(record.key)).collect();
        let ready = dropped_after(driver.destroy(Destroy { sessions }), polls).await;
        let mut left = 1;
        // A call that ends its sessions one by one goes on by itself.
        for _ in 0..POLLS {
            settle(driver).await;
            left = 0;
            for record in &records {
                if let Some(found) = load_key(driver, record.key).await {
                    assert_eq!(texts(&found.items), pairs(&[("a", "1")]), "after {polls} polls");
                    left += 1;
                } else {
                    assert_eq!(stored(driver, record).await, None, "after {polls} polls");
                }
            }
            if left != 1 {
                break;
            }
        }
        assert!(left == 0 || (left == 2 && !ready), "after {polls} polls {left} of 2 are left");
        if ready {
            break;
        }
    }
}

async fn a_dropped_cleanup_leaves_whole_sessions(driver: &dyn Driver) {
    for polls in 0..POLLS {
        let mut records: Vec<SessionRecord> = Vec::new();
        for _ in 0..3 {
            records.push(create_with(driver, &[("a", Some("1"))]).await);
        }
        let cleanup = Cleanup { from: NOW, until: at(LIFE + 1), limit: 1_000 };
        let ready = dropped_after(driver.cleanup(cleanup), polls).await;
        settle(driver).await;
        for record in &records {
            if let Some(found) = load_key(driver, record.key).await {
                assert!(!ready);
                assert_eq!(texts(&found.items), pairs(&[("a", "1")]), "after {polls} polls");
            }
        }
        if ready {
            break;
        }
    }
}

async fn dropped_reads_change_nothing(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    for polls in 0..POLLS {
        let load = load_of(vec![Locator::Key(record.key)], Some(shop()));
        let ready = dropped_after(driver.load(load), polls).await;
        assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1")]));
        if ready {
            break;
        }
    }
}

async fn a_dropped_removal_of_the_environment_leaves_it_whole_or_none(driver: &dyn Driver) {
    use crate::driver::EnvironmentState::{Absent, Complete};
    for polls in 0..POLLS {
        let ready = dropped_after(driver.remove_environment(OnMissing::Ignore), polls).await;
        // The next change of the environment waits for what was left running.
        let again = driver.ensure_environment().await;
        assert!(again.is_ok(), "after {polls} polls");
        let state = driver.environment().await.unwrap();
        assert!(state == Complete || state == Absent, "after {polls} polls: {state:?}");
        driver.ensure_environment().await.unwrap();
        if ready {
            break;
        }
    }
    // A removal that was left running may end only now, and each of them once.
    for _ in 0..POLLS {
        if driver.environment().await.unwrap() == Complete {
            return;
        }
        driver.ensure_environment().await.unwrap();
    }
    panic!("the environment cannot be made again");
}
