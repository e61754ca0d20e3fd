//! Items: keys byte by byte, values to the letter, `empty`, and compare and set.

use std::sync::Arc;

use super::list_cases;
use super::setup::*;
use crate::driver::{Driver, Locator, ReplaceOutcome, Target};

list_cases! {
    "S8" keys_are_compared_byte_by_byte,
    "S8" keys_may_hold_anything_up_to_255_bytes,
    "S1" values_come_back_to_the_letter,
    "S3" empty_removes_what_is_there_at_the_commit,
    "S3" empty_comes_before_the_changes_of_its_commit,
    "S3" empty_leaves_other_applications_and_sessions_alone,
    "S4" an_item_is_replaced_if_it_is_what_the_caller_saw,
    "S4" an_item_that_has_changed_is_not_replaced,
    "S4" stored_texts_are_compared_byte_by_byte,
    "S4 S5" nothing_is_replaced_in_a_session_that_has_ended,
}

/// Keys that are easily taken for one another.
const SIMILAR: [&str; 12] =
    ["a", "A", "a ", " a", "á", "a\u{301}", "ａ", "a\0", "a\0b", "%", "_", "a%"];

async fn keys_are_compared_byte_by_byte(driver: &dyn Driver) {
    let record = create(driver).await;
    for (n, key) in SIMILAR.iter().enumerate() {
        done(driver, write(&record, &[(key, Some(&n.to_string()))])).await;
    }
    let items = items_of(driver, &record, shop()).await;
    assert_eq!(items.len(), SIMILAR.len());
    for (n, key) in SIMILAR.iter().enumerate() {
        assert_eq!(items.get(key).map(|text| &**text), Some(&*n.to_string()), "{key:?}");
    }
    done(driver, write(&record, &[("A", None), ("a\0", None)])).await;
    let items = items_of(driver, &record, shop()).await;
    assert_eq!(items.len(), SIMILAR.len() - 2);
    assert!(items.get("a").is_some() && items.get("a\0b").is_some());
}

async fn keys_may_hold_anything_up_to_255_bytes(driver: &dyn Driver) {
    let long = "x".repeat(255);
    let other = format!("{}y", "x".repeat(254));
    let emoji = "🦀".repeat(63);
    let keys =
        ["'", "\"", "\\", ";--", "\n", "\t", "\u{1}", "🦀", "\u{fffd}", &long, &other, &emoji];
    let record = create(driver).await;
    let texts: Vec<_> = keys.iter().map(|key| (*key, Some("true"))).collect();
    done(driver, write(&record, &texts)).await;
    let mut expected = keys.map(|key| (key.to_owned(), "true".to_owned()));
    expected.sort();
    assert_eq!(shop_items(driver, &record).await, expected, "in the order of their bytes");
}

async fn values_come_back_to_the_letter(driver: &dyn Driver) {
    let long = format!("\"{}\"", "v".repeat((1 << 20) - 2));
    let values = [
        "null",
        "1.0",
        "1e2",
        "{\"b\":1, \"a\":2, \"b\":3}",
        " [ ] ",
        "\"\\u0000\"",
        "\"'; -- \\\"🦀\"",
        "12345678901234567890123",
        &long,
    ];
    let record = create(driver).await;
    for value in values {
        done(driver, write(&record, &[("a", Some(value))])).await;
        let items = items_of(driver, &record, shop()).await;
        assert!(items.get("a").is_some_and(|text| **text == *value), "{:.40}", value);
    }
}

async fn empty_removes_what_is_there_at_the_commit(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    done(driver, write(&record, &[("added by another request", Some("2"))])).await;
    done(driver, commit(seen(&record), vec![emptied(&[])])).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[]));
}

async fn empty_comes_before_the_changes_of_its_commit(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1")), ("b", Some("2"))]).await;
    let write = commit(seen(&record), vec![emptied(&[("b", Some("3")), ("c", None)])]);
    done(driver, write).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[("b", "3")]));
}

async fn empty_leaves_other_applications_and_sessions_alone(driver: &dyn Driver) {
    let record = fresh_record();
    let items = [("a", Some("1"))];
    let both = vec![changes(&items), changes_of(app("forum"), &items)];
    done(driver, commit(Target::New(record.clone()), both)).await;
    let other = create_with(driver, &items).await;
    done(driver, commit(seen(&record), vec![emptied(&[])])).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[]));
    assert_eq!(texts(&items_of(driver, &record, app("forum")).await), pairs(&[("a", "1")]));
    assert_eq!(shop_items(driver, &other).await, pairs(&[("a", "1")]));
}

async fn an_item_is_replaced_if_it_is_what_the_caller_saw(driver: &dyn Driver) {
    let record = create_with(driver, &[("b", Some("9"))]).await;
    for (expected, value) in [(None, "1"), (Some("1"), "2"), (Some("2"), "2")] {
        let outcome = driver.replace_item(replace(&record, "a", expected, value)).await.unwrap();
        assert_eq!(outcome, ReplaceOutcome::Done, "{expected:?} → {value}");
        assert_eq!(shop_items(driver, &record).await, pairs(&[("a", value), ("b", "9")]));
    }
    assert_eq!(stored(driver, &record).await, Some(record), "the record is as it was");
}

async fn an_item_that_has_changed_is_not_replaced(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    for (key, expected, current) in
        [("a", None, Some("1")), ("a", Some("2"), Some("1")), ("b", Some("1"), None)]
    {
        let outcome = driver.replace_item(replace(&record, key, expected, "3")).await.unwrap();
        let current = ReplaceOutcome::Conflict(current.map(Arc::from));
        assert_eq!(outcome, current, "{key} {expected:?}");
    }
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1")]));
}

async fn stored_texts_are_compared_byte_by_byte(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1.0"))]).await;
    for similar in ["1", "1.00", " 1.0", "1.0 "] {
        let outcome = driver.replace_item(replace(&record, "a", Some(similar), "2")).await.unwrap();
        assert_eq!(outcome, ReplaceOutcome::Conflict(Some("1.0".into())), "{similar:?}");
    }
    let record = create_with(driver, &[("a", Some("\"B\""))]).await;
    let outcome = driver.replace_item(replace(&record, "a", Some("\"b\""), "2")).await.unwrap();
    assert_eq!(outcome, ReplaceOutcome::Conflict(Some("\"B\"".into())));
}

async fn nothing_is_replaced_in_a_session_that_has_ended(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let mut late = replace(&record, "a", Some("1"), "2");
    late.now = at(LIFE);
    assert_eq!(driver.replace_item(late).await.unwrap(), ReplaceOutcome::Gone);
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1")]));
    destroy(driver, vec![Locator::Key(record.key)]).await;
    for expected in [Some("1"), None] {
        let outcome = driver.replace_item(replace(&record, "a", expected, "2")).await.unwrap();
        assert_eq!(outcome, ReplaceOutcome::Gone);
    }
    assert_eq!(stored(driver, &record).await, None);
}
