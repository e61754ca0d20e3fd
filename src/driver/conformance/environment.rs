//! The structures that a driver needs.

use super::list_cases;
use super::setup::*;
use crate::driver::{
    Cleanup, Create, Destroy, Driver, DriverErrorKind, EndWhere, EnvironmentState, Inspect, List,
    Locator, OnMissing, Target,
};

list_cases! {
    "M8" an_environment_that_was_made_is_complete,
    "M9" an_environment_that_exists_is_not_made_again,
    "M9" ensuring_an_environment_loses_nothing,
    "M9" many_may_ensure_an_environment_at_once,
    "M10" a_removed_environment_is_absent_and_can_be_made_again,
    "M10" an_absent_environment_is_removed_only_if_that_is_ignored,
    "M11" without_an_environment_every_call_is_an_error,
}

async fn state(driver: &dyn Driver) -> EnvironmentState {
    driver.environment().await.unwrap()
}

async fn an_environment_that_was_made_is_complete(driver: &dyn Driver) {
    assert_eq!(state(driver).await, EnvironmentState::Complete);
}

async fn an_environment_that_exists_is_not_made_again(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let error = driver.create_environment().await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::EnvironmentExists);
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1")]));
}

async fn ensuring_an_environment_loses_nothing(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    for _ in 0..2 {
        driver.ensure_environment().await.unwrap();
    }
    assert_eq!(state(driver).await, EnvironmentState::Complete);
    assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1")]));
}

async fn many_may_ensure_an_environment_at_once(driver: &dyn Driver) {
    driver.remove_environment(OnMissing::Error).await.unwrap();
    at_once((0..16).map(|_| driver.ensure_environment()).collect()).await;
    assert_eq!(state(driver).await, EnvironmentState::Complete);
    create(driver).await;
}

async fn a_removed_environment_is_absent_and_can_be_made_again(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    driver.remove_environment(OnMissing::Error).await.unwrap();
    assert_eq!(state(driver).await, EnvironmentState::Absent);
    driver.create_environment().await.unwrap();
    assert_eq!(state(driver).await, EnvironmentState::Complete);
    assert!(load_key(driver, record.key).await.is_none(), "it is empty");
    store(driver, &record).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[]));
}

async fn an_absent_environment_is_removed_only_if_that_is_ignored(driver: &dyn Driver) {
    driver.remove_environment(OnMissing::Ignore).await.unwrap();
    let error = driver.remove_environment(OnMissing::Error).await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::EnvironmentMissing);
    driver.remove_environment(OnMissing::Ignore).await.unwrap();
    assert_eq!(state(driver).await, EnvironmentState::Absent);
}

async fn without_an_environment_every_call_is_an_error(driver: &dyn Driver) {
    let record = create(driver).await;
    driver.remove_environment(OnMissing::Error).await.unwrap();
    let session = Locator::Key(record.key);
    let principal = "ada".to_owned();
    let errors = [
        driver.load(load_of(vec![session], Some(shop()))).await.err(),
        driver.create(Create { session: record.clone() }).await.err(),
        driver.commit(write(&record, &[("a", Some("1"))])).await.err(),
        driver.commit(commit(Target::New(record.clone()), Vec::new())).await.err(),
        driver.replace_item(replace(&record, "a", None, "1")).await.err(),
        driver.destroy(Destroy { sessions: vec![session] }).await.err(),
        driver.inspect(Inspect { session }).await.err(),
        driver.list(List { principal: principal.clone(), now: NOW }).await.err(),
        driver.end_where(EndWhere::new(principal)).await.err(),
        driver.cleanup(Cleanup { from: at(0), until: at(1), limit: 1 }).await.err(),
    ];
    for (call, error) in errors.into_iter().enumerate() {
        let kind = error.map(|error| error.kind());
        assert_eq!(kind, Some(DriverErrorKind::EnvironmentMissing), "call {call}");
    }
    assert_eq!(state(driver).await, EnvironmentState::Absent, "no call has made it");
}
