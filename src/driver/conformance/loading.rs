//! What a load answers, and what a session's record keeps.

use super::list_cases;
use super::setup::*;
use crate::clock::Timestamp;
use crate::driver::{CommitOutcome, Create, CreateOutcome, Driver, Locator, SessionRecord, Target};

list_cases! {
    "D1" an_unknown_session_is_left_out,
    "D1 D3" a_session_is_found_by_its_key_and_by_its_reference,
    "D1" several_sessions_are_loaded_at_once_and_each_is_answered_once,
    "D1 M18" an_expired_session_is_answered_too,
    "S2" only_the_wanted_application_is_loaded,
    "D4" a_record_keeps_every_field,
    "D4" times_keep_their_milliseconds_at_every_distance,
    "D1 M12" a_taken_key_or_reference_is_a_collision_that_changes_nothing,
    "D1 M19" inspect_sees_live_and_expired_sessions_and_no_others,
    "D1 M14" destroy_removes_what_exists_and_answers_it,
    "D1 M14" a_destroyed_session_leaves_no_items_behind,
}

async fn an_unknown_session_is_left_out(driver: &dyn Driver) {
    let unknown = fresh_record();
    let locators = vec![Locator::Key(unknown.key), Locator::Ref(unknown.session)];
    assert!(load(driver, locators).await.is_empty());
}

async fn a_session_is_found_by_its_key_and_by_its_reference(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    create(driver).await;
    for locator in [Locator::Key(record.key), Locator::Ref(record.session)] {
        let found = load(driver, vec![locator]).await;
        assert_eq!(found.len(), 1, "{locator:?}");
        assert_eq!(found[0].session, record, "{locator:?}");
        assert_eq!(texts(&found[0].items), pairs(&[("a", "1")]), "{locator:?}");
    }
}

async fn several_sessions_are_loaded_at_once_and_each_is_answered_once(driver: &dyn Driver) {
    let one = create_with(driver, &[("a", Some("1"))]).await;
    let two = create_with(driver, &[("a", Some("2")), ("b", Some("3"))]).await;
    let three = create(driver).await;
    let keys = [one.key, fresh_key(), two.key, three.key].map(Locator::Key);
    let mut found = load(driver, keys.to_vec()).await;
    found.sort_by_key(|found| {
        [one.session, two.session, three.session]
            .iter()
            .position(|session| *session == found.session.session)
    });
    let items: Vec<_> = found.iter().map(|found| texts(&found.items)).collect();
    assert_eq!(items, [pairs(&[("a", "1")]), pairs(&[("a", "2"), ("b", "3")]), pairs(&[])]);

    let twice = vec![Locator::Key(one.key), Locator::Ref(one.session), Locator::Key(one.key)];
    assert_eq!(load(driver, twice).await.len(), 1, "one session under three locators");
}

async fn an_expired_session_is_answered_too(driver: &dyn Driver) {
    let record = create(driver).await;
    let mut later = load_of(vec![Locator::Key(record.key)], None);
    later.now = at(LIFE * 2);
    let found = driver.load(later).await.unwrap();
    assert_eq!(found.len(), 1, "the caller judges expiry");
    assert_eq!(found[0].session.expires, record.expires);
}

async fn only_the_wanted_application_is_loaded(driver: &dyn Driver) {
    let record = fresh_record();
    let applications = vec![
        changes(&[("a", Some("1"))]),
        changes_of(app("Shop"), &[("a", Some("2"))]),
        changes_of(app("shop."), &[("a", Some("3"))]),
    ];
    done(driver, commit(Target::New(record.clone()), applications)).await;
    for (name, value) in [("shop", "1"), ("Shop", "2"), ("shop.", "3")] {
        let items = items_of(driver, &record, app(name)).await;
        assert_eq!(texts(&items), pairs(&[("a", value)]), "{name}");
    }
    assert!(items_of(driver, &record, app("forum")).await.is_empty());
    let none = driver.load(load_of(vec![Locator::Key(record.key)], None)).await.unwrap();
    assert!(none[0].items.is_empty(), "none was wanted");
}

async fn a_record_keeps_every_field(driver: &dyn Driver) {
    let mut record = fresh_record();
    record.cookie_lifetime = Some(1_234_567);
    record.principal = Some("Ádám O'Brien \"%_\\ 🦀".to_owned());
    record.note = Some(String::new());
    record.expires = at(10);
    record.last_used = at(-20);
    record.created = at(-30);
    store(driver, &record).await;
    assert_eq!(stored(driver, &record).await, Some(record.clone()));
    assert_eq!(load_key(driver, record.key).await.map(|found| found.session), Some(record.clone()));

    let mut clear = commit(Target::Existing(Locator::Key(record.key)), Vec::new());
    clear.session.cookie_lifetime = Some(None);
    clear.session.principal = Some(None);
    clear.session.note = Some(Some("phone".to_owned()));
    clear.session.last_used = Some(at(5));
    let answered = done(driver, clear).await;
    record.cookie_lifetime = None;
    record.principal = None;
    record.note = Some("phone".to_owned());
    record.last_used = at(5);
    assert_eq!(answered, record, "the answer is the record as it is now");
    assert_eq!(stored(driver, &record).await, Some(record));
}

async fn times_keep_their_milliseconds_at_every_distance(driver: &dyn Driver) {
    for millis in [i64::MIN, -1, 0, 1, 2_147_483_647_999, 253_402_300_800_001, i64::MAX] {
        let mut record = fresh_record();
        let time = Timestamp::from_millis(millis);
        (record.created, record.last_used) = (time, time);
        (record.expires, record.ends) = (time, time);
        store(driver, &record).await;
        assert_eq!(stored(driver, &record).await, Some(record), "{millis} ms");
    }
}

async fn a_taken_key_or_reference_is_a_collision_that_changes_nothing(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    let rotated = done(driver, rotate(&record, fresh_key())).await;
    let taken = |change: fn(&mut SessionRecord, &SessionRecord)| {
        let mut new = fresh_record();
        change(&mut new, &rotated);
        new
    };
    let collisions = [
        taken(|new, old| new.key = old.key),
        taken(|new, old| new.session = old.session),
        taken(|new, old| new.key = old.previous_key.unwrap()),
    ];
    for collision in collisions {
        let create = Create { session: collision.clone() };
        assert_eq!(driver.create(create).await.unwrap(), CreateOutcome::Collision);
        let new = Target::New(collision.clone());
        let write = commit(new, vec![emptied(&[("b", Some("2"))])]);
        refused(driver, write, CommitOutcome::Collision).await;
        let blind = presented(fresh_key(), Some(&collision));
        let write = commit(blind, vec![emptied(&[("b", Some("2"))])]);
        refused(driver, write, CommitOutcome::Collision).await;
        assert_eq!(stored(driver, &record).await, Some(rotated.clone()));
        assert_eq!(shop_items(driver, &record).await, pairs(&[("a", "1")]));
        if collision.session != rotated.session {
            assert_eq!(stored(driver, &collision).await, None);
        }
    }
}

async fn inspect_sees_live_and_expired_sessions_and_no_others(driver: &dyn Driver) {
    let mut expired = fresh_record();
    (expired.expires, expired.ends) = (at(-LIFE), at(-LIFE));
    store(driver, &expired).await;
    let live = create(driver).await;
    for record in [live, expired] {
        let by_key = inspect(driver, Locator::Key(record.key)).await;
        assert_eq!(by_key.as_ref(), Some(&record));
        assert_eq!(stored(driver, &record).await.as_ref(), Some(&record));
    }
    assert_eq!(inspect(driver, Locator::Key(fresh_key())).await, None);
    assert_eq!(stored(driver, &fresh_record()).await, None);
}

async fn destroy_removes_what_exists_and_answers_it(driver: &dyn Driver) {
    let (one, two, three) = (create(driver).await, create(driver).await, create(driver).await);
    let mut expired = fresh_record();
    expired.expires = at(-LIFE);
    store(driver, &expired).await;
    let named = vec![
        Locator::Key(one.key),
        Locator::Ref(one.session),
        Locator::Key(fresh_key()),
        Locator::Ref(two.session),
        Locator::Key(expired.key),
    ];
    let mut ended = destroy(driver, named.clone()).await;
    ended.sort();
    let mut expected = vec![one.session, two.session, expired.session];
    expected.sort();
    assert_eq!(ended, expected, "each that existed, once");
    for gone in [&one, &two, &expired] {
        assert!(load(driver, vec![Locator::Key(gone.key)]).await.is_empty());
        assert_eq!(stored(driver, gone).await, None);
    }
    assert_eq!(stored(driver, &three).await, Some(three));
    assert!(destroy(driver, named).await.is_empty(), "a second time there is nothing left");
    assert!(destroy(driver, Vec::new()).await.is_empty());
}

async fn a_destroyed_session_leaves_no_items_behind(driver: &dyn Driver) {
    let record = create_with(driver, &[("a", Some("1"))]).await;
    destroy(driver, vec![Locator::Ref(record.session)]).await;
    store(driver, &record).await;
    assert_eq!(shop_items(driver, &record).await, pairs(&[]));
}
