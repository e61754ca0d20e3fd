//! Calls that run at the same time.

use super::list_cases;
use super::setup::*;
use crate::driver::{
    CommitOutcome, Create, CreateOutcome, Destroy, Driver, DriverError, DriverFuture, Locator,
    ReplaceOutcome, SessionRecord, Target,
};

list_cases! {
    "S3" writes_to_different_keys_from_the_same_state_are_both_kept,
    "S3" many_writes_to_different_keys_at_once_are_all_kept,
    "S3" on_one_key_the_last_commit_wins,
    "S3" writes_to_different_applications_at_once_are_all_kept,
    "S4" a_hundred_simultaneous_increments_count_to_a_hundred,
    "S4" of_simultaneous_replacements_of_one_text_one_is_done,
    "S5" no_write_is_kept_after_a_simultaneous_logout,
    "D1" of_simultaneous_creations_with_one_key_one_is_done,
    "S6" readers_see_a_commit_whole_or_not_at_all,
    "P2" calls_at_once_have_an_outcome_each,
    "P2" creations_at_once_are_all_done,
    "P2" creations_at_once_have_an_outcome_each,
    "P2" calls_that_are_dropped_take_no_others_with_them,
}

async fn writes_to_different_keys_from_the_same_state_are_both_kept(driver: &dyn Driver) {
    // Two requests have read the session; each then changes another key.
    let record = create_with(driver, &[("a", Some("1")), ("b", Some("1"))]).await;
    done(driver, write(&record, &[("a", Some("2"))])).await;
    done(driver, write(&record, &[("b", Some("2")), ("c", Some("2"))])).await;
    done(driver, write(&record, &[("c", None)])).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "2"), ("b", "2")]));
}

async fn many_writes_to_different_keys_at_once_are_all_kept(driver: &dyn Driver) {
    let record = create(driver).await;
    let keys: Vec<_> = (0..100).map(|n| format!("{n:03}")).collect();
    let write = |key: &String| driver.commit(write(&record, &[(key.as_str(), Some("1"))]));
    for outcome in at_once(keys.iter().map(write).collect()).await {
        assert_eq!(outcome, CommitOutcome::Done(record.clone()));
    }
    let stored: Vec<_> =
        shop_items(driver, &record).await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(stored, keys);
}

async fn on_one_key_the_last_commit_wins(driver: &dyn Driver) {
    let record = create(driver).await;
    for value in ["1", "2", "3", "2"] {
        done(driver, write(&record, &[("a", Some(value))])).await;
        assert_eq!(shop_items(driver, &record).await, pairs(&[("a", value)]));
    }
}

async fn writes_to_different_applications_at_once_are_all_kept(driver: &dyn Driver) {
    let record = create(driver).await;
    let names = ["shop", "forum", "wiki", "admin"];
    let write = |n: usize| {
        let (key, application) = ((n / names.len()).to_string(), app(names[n % names.len()]));
        let changes = changes_of(application, &[(key.as_str(), Some("1"))]);
        driver.commit(commit(seen(&record), vec![changes]))
    };
    at_once((0..40).map(write).collect()).await;
    for name in names {
        assert_eq!(items_of(driver, &record, app(name)).await.len(), 10, "{name}");
    }
}

async fn a_hundred_simultaneous_increments_count_to_a_hundred(driver: &dyn Driver) {
    let record = create(driver).await;
    // Each increment begins with what it last saw, and tries again from what it is told.
    let mut seen: Vec<Option<u32>> = vec![None; 100];
    while !seen.is_empty() {
        let increment = |old: &Option<u32>| {
            let (expected, value) = (old.map(|old| old.to_string()), old.unwrap_or(0) + 1);
            driver.replace_item(replace(&record, "n", expected.as_deref(), &value.to_string()))
        };
        let outcomes = at_once(seen.iter().map(increment).collect()).await;
        let before = seen.len();
        seen = outcomes
            .into_iter()
            .filter_map(|outcome| match outcome {
                ReplaceOutcome::Conflict(current) => {
                    Some(current.map(|text| text.parse().unwrap()))
                }
                ReplaceOutcome::Done => None,
                ReplaceOutcome::Gone => panic!("the session is live"),
            })
            .collect();
        assert!(seen.len() < before, "of any number of increments at least one is done");
    }
    assert_eq!(shop_items(driver, &record).await, pairs(&[("n", "100")]));
}

async fn of_simultaneous_replacements_of_one_text_one_is_done(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("0"))]).await;
    let replace =
        |n: u32| driver.replace_item(replace(&record, "a", Some("0"), &(n + 1).to_string()));
    let outcomes = at_once((0..32).map(replace).collect()).await;
    let done: Vec<_> = (0..32).filter(|n| outcomes[*n as usize] == ReplaceOutcome::Done).collect();
    assert_eq!(done.len(), 1);
    let value = (done[0] + 1).to_string();
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", &value)]));
}

async fn no_write_is_kept_after_a_simultaneous_logout(driver: &dyn Driver) {
    for round in 0..10 {
        let record = create_with(driver, &[("a", Some("1"))]).await;
        let logout = || {
            let end = driver.destroy(Destroy { sessions: vec![Locator::Key(record.key)] });
            DriverFuture::new(async move {
                assert_eq!(end.await?.len(), 1);
                Ok::<_, DriverError>(CommitOutcome::Gone)
            })
        };
        let calls = (0..20).map(|n| match n == round * 2 {
            true => logout(),
            false => driver.commit(write(&record, &[("a", Some("2")), ("b", Some("3"))])),
        });
        let calls: Vec<_> = calls.collect();
        at_once(calls).await;
        refused(driver, write(&record, &[("a", Some("4"))]), CommitOutcome::Gone).await;
        assert!(load_key(driver, record.key).await.is_none());
        assert_eq!(stored(driver, &record).await, None);
        store(driver, &record).await;
        assert_eq!(shop_items(driver, &record).await, pairs(&[]), "no item was left behind");
    }
}

async fn of_simultaneous_creations_with_one_key_one_is_done(driver: &dyn Driver) {
    let key = fresh_key();
    let records: Vec<_> = (0..16)
        .map(|_| {
            let mut record = fresh_record();
            record.key = key;
            record
        })
        .collect();
    let create = |record: &SessionRecord| driver.create(Create { session: record.clone() });
    let outcomes = at_once(records.iter().map(create).collect()).await;
    let mut left = 0;
    for (record, outcome) in records.iter().zip(outcomes) {
        let exists = stored(driver, record).await.is_some();
        assert_eq!(exists, outcome == CreateOutcome::Done);
        left += u32::from(exists);
    }
    assert_eq!(left, 1);
}

async fn readers_see_a_commit_whole_or_not_at_all(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("0")), ("b", Some("0"))]).await;
    for round in 1..=20 {
        let value = round.to_string();
        let value = Some(value.as_str());
        let writer = tokio::spawn(driver.commit(write(&record, &[("a", value), ("b", value)])));
        let reads =
            (0..8).map(|_| driver.load(load_of(vec![Locator::Key(record.key)], Some(shop()))));
        for found in at_once(reads.collect()).await {
            let items = &found[0].items;
            assert_eq!(items.get("a"), items.get("b"), "half of a commit was seen");
        }
        assert!(matches!(writer.await.unwrap().unwrap(), CommitOutcome::Done(_)));
    }
}

/// How many sessions are written to at once.
const MANY: usize = 30;

/// The length of a value that is too long, in bytes.
const LONG: usize = 1_000;

async fn calls_at_once_have_an_outcome_each(driver: &dyn Driver) {
    let mut records = Vec::new();
    for _ in 0..MANY {
        records.push(create_with(driver, &[("a", Some("1"))]).await);
    }
    let gone: Vec<_> = records.iter().skip(1).step_by(5).collect();
    destroy(driver, gone.iter().map(|record| Locator::Ref(record.session)).collect()).await;
    let write = |(n, record): (usize, &SessionRecord)| {
        let mut write = write(record, &[("a", Some("2")), ("b", Some("2"))]);
        match n % 5 {
            // Too long, and an id that another session has.
            2 => write.changes = vec![changes(&[("c", Some(&"1".repeat(LONG)))])],
            3 => write.session.key = records.first().map(|first| first.key),
            _ => {}
        }
        write.limits.value_bytes = LONG - 1;
        driver.commit(write)
    };
    let tasks: Vec<_> = records.iter().enumerate().map(write).map(tokio::spawn).collect();
    for (n, (task, record)) in tasks.into_iter().zip(&records).enumerate() {
        let outcome = task.await.unwrap();
        let (expected, items): (_, &[_]) = match n % 5 {
            1 => (CommitOutcome::Gone, &[]),
            2 => {
                assert!(outcome.is_err(), "{n}: {outcome:?}");
                assert_eq!(shop_items(driver, record).await, pairs(&[("a", "1")]), "{n}");
                continue;
            }
            3 => (CommitOutcome::Collision, &[("a", "1")]),
            _ => (CommitOutcome::Done(record.clone()), &[("a", "2"), ("b", "2")]),
        };
        assert_eq!(outcome.unwrap(), expected, "{n}");
        if n % 5 != 1 {
            assert_eq!(shop_items(driver, record).await, pairs(items), "{n}");
        }
    }
    let found =
        records.iter().map(|record| driver.load(load_of(vec![Locator::Key(record.key)], None)));
    for (n, found) in at_once(found.collect()).await.into_iter().enumerate() {
        let expected = (n % 5 != 1).then(|| records[n].clone());
        assert_eq!(found.into_iter().map(|found| found.session).next(), expected, "{n}");
    }
}

async fn creations_at_once_are_all_done(driver: &dyn Driver) {
    for number in [2, 5, 63, 65] {
        let records: Vec<_> = (0..number)
            .map(|n| {
                let mut record = fresh_record();
                record.principal = (n % 2 == 1).then(|| "ada".to_owned());
                record.note = (n % 3 == 1).then(|| format!("note {n}"));
                record.cookie_lifetime = (n % 5 == 1).then_some(60);
                record
            })
            .collect();
        let texts: Vec<_> = (0..3).map(|n| format!("k{n}")).collect();
        let items = |n: usize| texts.iter().take(n % 4).map(|key| (key.as_str(), key.as_str()));
        let create = |(n, record): (usize, &SessionRecord)| {
            let changed: Vec<_> = items(n).map(|(key, text)| (key, Some(text))).collect();
            let changes = if changed.is_empty() { Vec::new() } else { vec![changes(&changed)] };
            driver.commit(commit(Target::New(record.clone()), changes))
        };
        let outcomes = at_once(records.iter().enumerate().map(create).collect()).await;
        for (n, (outcome, record)) in outcomes.into_iter().zip(&records).enumerate() {
            assert_eq!(outcome, CommitOutcome::Done(record.clone()), "{n} of {number}");
            assert_eq!(stored(driver, record).await.as_ref(), Some(record), "{n} of {number}");
            let items: Vec<_> = items(n).collect();
            assert_eq!(shop_items(driver, record).await, pairs(&items), "{n} of {number}");
        }
    }
}

async fn creations_at_once_have_an_outcome_each(driver: &dyn Driver) {
    let before = create(driver).await;
    let before = done(driver, rotate(&before, fresh_key())).await;
    // Of seven: with two items, with none, with too much in it, and with something that another session has: its
    // key, the key that it had before, its reference, its key and no items of one's own.
    let records: Vec<_> = (0..70)
        .map(|n| {
            let mut record = fresh_record();
            match n % 7 {
                3 | 6 => record.key = before.key,
                4 => record.key = before.previous_key.unwrap(),
                5 => record.session = before.session,
                _ => {}
            }
            record
        })
        .collect();
    let create = |(n, record): (usize, &SessionRecord)| {
        let items = match n % 7 {
            1 | 6 => Vec::new(),
            2 => vec![changes(&[("a", Some(&"1".repeat(LONG)))])],
            _ => vec![changes(&[("a", Some("1")), ("b", Some("2"))])],
        };
        let mut create = commit(Target::New(record.clone()), items);
        create.limits.value_bytes = LONG - 1;
        driver.commit(create)
    };
    let tasks: Vec<_> = records.iter().enumerate().map(create).map(tokio::spawn).collect();
    for (n, (task, record)) in tasks.into_iter().zip(&records).enumerate() {
        let outcome = task.await.unwrap();
        let items: &[_] = match n % 7 {
            0 => &[("a", "1"), ("b", "2")],
            1 => &[],
            2 => {
                assert!(outcome.is_err(), "{n}: {outcome:?}");
                assert_eq!(stored(driver, record).await, None, "{n}");
                continue;
            }
            _ => {
                assert_eq!(outcome.unwrap(), CommitOutcome::Collision, "{n}");
                continue;
            }
        };
        assert_eq!(outcome.unwrap(), CommitOutcome::Done(record.clone()), "{n}");
        assert_eq!(stored(driver, record).await.as_ref(), Some(record), "{n}");
        assert_eq!(shop_items(driver, record).await, pairs(items), "{n}");
    }
    assert_eq!(stored(driver, &before).await.as_ref(), Some(&before));
    assert_eq!(shop_items(driver, &before).await, pairs(&[]));
    // And one of many, in each of the ways.
    for way in 0..3 {
        let mut records: Vec<_> = (0..20).map(|_| fresh_record()).collect();
        match way {
            0 => records[10].key = before.key,
            1 => records[10].key = before.previous_key.unwrap(),
            _ => records[10].session = before.session,
        }
        let create = |record: &SessionRecord| {
            let items = vec![changes(&[("a", Some("1"))])];
            driver.commit(commit(Target::New(record.clone()), items))
        };
        let outcomes = at_once(records.iter().map(create).collect()).await;
        for (n, (outcome, record)) in outcomes.into_iter().zip(&records).enumerate() {
            if n == 10 {
                assert_eq!(outcome, CommitOutcome::Collision, "{way}");
                continue;
            }
            assert_eq!(outcome, CommitOutcome::Done(record.clone()), "{n}, {way}");
            assert_eq!(shop_items(driver, record).await, pairs(&[("a", "1")]), "{n}, {way}");
        }
    }
    assert_eq!(shop_items(driver, &before).await, pairs(&[]));
}

async fn calls_that_are_dropped_take_no_others_with_them(driver: &dyn Driver) {
    let mut records = Vec::new();
    for _ in 0..MANY {
        records.push(create(driver).await);
    }
    for polls in 0..10 {
        let value = polls.to_string();
        let write = |record| driver.commit(write(record, &[("a", Some(value.as_str()))]));
        let tasks: Vec<_> = records.iter().map(write).map(tokio::spawn).collect();
        for _ in 0..polls {
            tokio::task::yield_now().await;
        }
        for (n, task) in tasks.into_iter().enumerate() {
            match n % 3 {
                0 => task.abort(),
                _ => {
                    let record = &records[n];
                    let outcome = task.await.unwrap().unwrap();
                    assert_eq!(outcome, CommitOutcome::Done(record.clone()));
                    assert_eq!(shop_items(driver, record).await, pairs(&[("a", &value)]));
                }
            }
        }
    }
}
