//! The sessions of one principal.

use super::list_cases;
use super::setup::*;
use crate::clock::Timestamp;
use crate::driver::{Driver, EndWhere, List, SessionRecord};
use crate::id::SessionRef;

list_cases! {
    "T3" a_principals_live_sessions_are_listed_from_the_oldest,
    "T3" principals_are_compared_byte_by_byte,
    "T3" a_principal_set_by_a_commit_is_listed,
    "T3" all_sessions_of_a_principal_are_ended_but_one,
}

async fn store_of(driver: &dyn Driver, principal: &str, created: Timestamp) -> SessionRecord {
    let mut record = fresh_record();
    record.principal = Some(principal.to_owned());
    record.created = created;
    store(driver, &record).await;
    record
}

async fn list(driver: &dyn Driver, principal: &str, now: Timestamp) -> Vec<SessionRecord> {
    driver.list(List { principal: principal.to_owned(), now }).await.unwrap()
}

async fn end(driver: &dyn Driver, principal: &str, except: Option<SessionRef>) -> Vec<SessionRef> {
    let mut ended =
        driver.end_where(EndWhere { principal: principal.to_owned(), except }).await.unwrap();
    ended.sort();
    ended
}

async fn a_principals_live_sessions_are_listed_from_the_oldest(driver: &dyn Driver) {
    let young = store_of(driver, "ada", at(-1)).await;
    let old = store_of(driver, "ada", at(-9)).await;
    let middle = store_of(driver, "ada", at(-5)).await;
    store_of(driver, "bob", at(-3)).await;
    create(driver).await;
    let all = list(driver, "ada", at(LIFE - 1)).await;
    assert_eq!(all, [old, middle, young]);
    assert!(list(driver, "ada", at(LIFE)).await.is_empty(), "expired ones are not listed");
    assert!(list(driver, "eve", NOW).await.is_empty());
}

async fn principals_are_compared_byte_by_byte(driver: &dyn Driver) {
    for principal in ["ada", "Ada", "ada ", "ád", "a%", ""] {
        let record = store_of(driver, principal, NOW).await;
        assert_eq!(list(driver, principal, NOW).await, [record], "{principal:?}");
    }
}

async fn a_principal_set_by_a_commit_is_listed(driver: &dyn Driver) {
    let record = create(driver).await;
    for principal in [Some("ada"), Some("bob"), None] {
        let mut login = write(&record, &[]);
        login.session.principal = Some(principal.map(str::to_owned));
        let answered = done(driver, login).await;
        for name in ["ada", "bob"] {
            let listed = list(driver, name, NOW).await;
            assert_eq!(listed.first(), (principal == Some(name)).then_some(&answered));
        }
    }
}

async fn all_sessions_of_a_principal_are_ended_but_one(driver: &dyn Driver) {
    let (one, two) = (store_of(driver, "ada", NOW).await, store_of(driver, "ada", NOW).await);
    let mut expired = fresh_record();
    (expired.principal, expired.expires) = (Some("ada".to_owned()), at(-1));
    store(driver, &expired).await;
    let (bob, nobody) = (store_of(driver, "bob", NOW).await, create(driver).await);

    let mut others = vec![two.session, expired.session];
    others.sort();
    assert_eq!(end(driver, "ada", Some(one.session)).await, others);
    assert_eq!(list(driver, "ada", NOW).await, std::slice::from_ref(&one));
    assert_eq!(end(driver, "ada", Some(bob.session)).await, [one.session]);
    let again = store_of(driver, "ada", NOW).await;
    assert_eq!(end(driver, "ada", None).await, [again.session]);
    assert!(end(driver, "ada", None).await.is_empty());
    for left in [bob, nobody] {
        assert_eq!(stored(driver, &left).await, Some(left));
    }
}
