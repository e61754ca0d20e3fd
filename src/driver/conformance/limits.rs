//! How much an application may hold.

use super::list_cases;
use super::setup::*;
use crate::driver::{Driver, DriverErrorKind, Limits, Locator, ReplaceItem};

list_cases! {
    "S8" a_commit_keeps_to_the_number_of_items,
    "S8" a_commit_keeps_to_the_size_of_a_value,
    "S8" a_commit_keeps_to_the_size_of_an_application,
    "S8" items_that_are_already_there_count,
    "S8" what_is_replaced_counts_once,
    "S8" a_replaced_item_keeps_to_the_limits,
    "S8" a_load_refuses_what_is_larger,
    "S8" an_application_that_holds_too_much_can_be_cleared,
    "S8" each_application_has_limits_of_its_own,
}

fn limits(items: usize, value_bytes: usize, application_bytes: usize) -> Limits {
    Limits { items, value_bytes, application_bytes }
}

/// Commits items to a fresh session, and whether the driver took them.
async fn takes(driver: &dyn Driver, limits: Limits, items: &[(&str, Option<&str>)]) -> bool {
    let record = create(driver).await;
    let mut write = write(&record, items);
    write.limits = limits;
    let outcome = driver.commit(write).await;
    let stored = shop_items(driver, &record).await;
    match outcome {
        Ok(_) => {
            assert_eq!(stored.len(), items.len());
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), DriverErrorKind::TooLarge);
            assert!(stored.is_empty(), "nothing is stored");
            false
        }
    }
}

async fn a_commit_keeps_to_the_number_of_items(driver: &dyn Driver) {
    let two = limits(2, 10, 100);
    assert!(takes(driver, two, &[("a", Some("1")), ("b", Some("2"))]).await);
    assert!(!takes(driver, two, &[("a", Some("1")), ("b", Some("2")), ("c", Some("3"))]).await);
}

async fn a_commit_keeps_to_the_size_of_a_value(driver: &dyn Driver) {
    // Bytes, not characters: each of these quotes holds one letter of two bytes.
    let four = limits(10, 4, 100);
    assert!(takes(driver, four, &[("a", Some("\"ä\""))]).await);
    assert!(!takes(driver, four, &[("a", Some("\"ää\""))]).await);
}

async fn a_commit_keeps_to_the_size_of_an_application(driver: &dyn Driver) {
    let ten = limits(10, 10, 10);
    assert!(takes(driver, ten, &[("ää", Some("123")), ("b", Some("12"))]).await);
    assert!(!takes(driver, ten, &[("ää", Some("123")), ("b", Some("123"))]).await);
}

async fn items_that_are_already_there_count(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    for (key, fits) in [("b", true), ("c", false), ("b", true)] {
        let mut write = write(&record, &[(key, Some("2"))]);
        write.limits = limits(2, 10, 100);
        assert_eq!(driver.commit(write).await.is_ok(), fits, "{key}");
    }
    let mut emptied = commit(seen(&record), vec![emptied(&[("c", Some("3")), ("d", Some("4"))])]);
    emptied.limits = limits(2, 10, 100);
    done(driver, emptied).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[("c", "3"), ("d", "4")]));
}

async fn what_is_replaced_counts_once(driver: &dyn Driver) {
    let record = create(driver).await;
    let full = [("a", Some("1234")), ("b", Some("1234"))];
    for (items, fits) in
        [(&full[..], true), (&full, true), (&full[1..], true), (&[("b", Some("12345"))], false)]
    {
        let mut write = write(&record, items);
        write.limits = limits(2, 10, 10);
        assert_eq!(driver.commit(write).await.is_ok(), fits, "{items:?}");
    }
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1234"), ("b", "1234")]));
}

async fn a_replaced_item_keeps_to_the_limits(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let two = limits(2, 4, 7);
    let attempts = [
        (ReplaceItem { limits: two, ..replace(&record, "a", Some("1"), "12345") }, false),
        (ReplaceItem { limits: two, ..replace(&record, "a", Some("1"), "1234") }, true),
        (ReplaceItem { limits: two, ..replace(&record, "b", None, "12") }, false),
        (ReplaceItem { limits: two, ..replace(&record, "b", None, "1") }, true),
        (ReplaceItem { limits: two, ..replace(&record, "c", None, "") }, false),
    ];
    for (replace, fits) in attempts {
        let what = format!("{} → {}", replace.key, replace.value);
        let outcome = driver.replace_item(replace).await;
        assert_eq!(outcome.is_ok(), fits, "{what}");
        let kind = outcome.err().map(|error| error.kind());
        assert_eq!(kind, (!fits).then_some(DriverErrorKind::TooLarge), "{what}");
    }
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1234"), ("b", "1")]));
}

async fn a_load_refuses_what_is_larger(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("\"ä\"")), ("b", Some("2"))]).await;
    for (limits, fits) in [
        (limits(2, 4, 7), true),
        (limits(1, 4, 7), false),
        (limits(2, 3, 7), false),
        (limits(2, 4, 6), false),
    ] {
        let mut load = load_of(vec![Locator::Key(record.key)], Some(shop()));
        load.limits = limits;
        match driver.load(load).await {
            Ok(found) => assert!(fits && found[0].items.len() == 2, "{limits:?}"),
            Err(error) => {
                assert!(!fits, "{limits:?}");
                assert_eq!(error.kind(), DriverErrorKind::TooLarge, "{limits:?}");
            }
        }
    }
    let mut other = load_of(vec![Locator::Key(record.key)], Some(app("forum")));
    other.limits = limits(0, 0, 0);
    assert_eq!(driver.load(other).await.unwrap().len(), 1, "another application is not concerned");
}

async fn an_application_that_holds_too_much_can_be_cleared(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1")), ("b", Some("2"))]).await;
    let mut removal = write(&record, &[("a", None)]);
    removal.limits = limits(0, 0, 0);
    done(driver, removal).await;
    let mut clearance = commit(seen(&record), vec![emptied(&[])]);
    clearance.limits = limits(0, 0, 0);
    done(driver, clearance).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[]));
}

async fn each_application_has_limits_of_its_own(driver: &dyn Driver) {
    let record = create(driver).await;
    let items = [("a", Some("1"))];
    let both = vec![changes(&items), changes_of(app("forum"), &items)];
    let mut write = commit(seen(&record), both);
    write.limits = limits(1, 1, 2);
    done(driver, write).await;
}
