//! Whatever is called, the answers are those of the memory driver.

use std::fmt::Debug;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::runtime::Runtime;

use super::*;
use crate::driver::{
    Cleanup, Destroy, DriverError, DriverErrorKind, EndWhere, Inspect, Keep, List, MemoryDriver,
    ReplaceItem,
};

#[derive(Debug, Clone)]
enum Call {
    Create(SessionRecord),
    Commit(Box<Commit>),
    Replace(ReplaceItem),
    Destroy(Vec<Locator>),
    Load(Vec<Locator>),
    Inspect(Locator),
    List(String, Timestamp),
    EndWhere(EndWhere),
    Cleanup(Timestamp, Timestamp),
}

fn keys() -> impl Strategy<Value = SessionKey> {
    (0..6_u8).prop_map(key)
}

fn references() -> impl Strategy<Value = SessionRef> {
    (0..4_u8).prop_map(reference)
}

fn times() -> impl Strategy<Value = Timestamp> {
    (0..5_i64).prop_map(Timestamp::from_millis)
}

fn principals() -> impl Strategy<Value = String> {
    select(vec!["ada", "bob"]).prop_map(String::from)
}

fn texts() -> impl Strategy<Value = Arc<str>> {
    select(vec!["", "a", "\u{0}", "A", "é", "\"\\"]).prop_map(Arc::from)
}

fn locators() -> impl Strategy<Value = Locator> {
    prop_oneof![keys().prop_map(Locator::Key), references().prop_map(Locator::Ref)]
}

fn records() -> impl Strategy<Value = SessionRecord> {
    let owner = option::of(principals());
    (references(), keys(), times(), times(), owner).prop_map(|(uid, key, created, ends, owner)| {
        let mut record = SessionRecord::new(uid, key, created, ends);
        record.principal = owner;
        record
    })
}

fn changes() -> impl Strategy<Value = Vec<ApplicationChanges>> {
    let application = || (any::<bool>(), vec((texts(), option::of(texts())), 0..4));
    (application(), application()).prop_map(|(one, two)| {
        let names = ["shop", "blog"].map(|name| ApplicationName::new(name).unwrap());
        let entry = |(name, (empty, mut items)): (_, (bool, Vec<(Arc<str>, _)>))| {
            items.sort_by(|a, b| a.0.cmp(&b.0));
            items.dedup_by(|a, b| a.0 == b.0);
            let mut changes = ApplicationChanges::new(name);
            (changes.empty, changes.items) = (empty, items);
            changes
        };
        names.into_iter().zip([one, two]).map(entry).collect()
    })
}

fn session_changes() -> impl Strategy<Value = SessionChange> {
    let principal = option::of(option::of(principals()));
    let times = (option::of(times()), option::of(times()), option::of(0..5_u64));
    let all = (option::of(keys()), times, principal);
    all.prop_map(|(key, (expires, last_used, idle), principal)| {
        let idle = idle.map(Duration::from_millis);
        SessionChange { key, expires, last_used, idle, principal, ..SessionChange::default() }
    })
}

fn targets() -> impl Strategy<Value = Target> {
    prop_oneof![
        records().prop_map(Target::New),
        locators().prop_map(Target::Existing),
        (references(), keys()).prop_map(|(session, key)| Target::Seen { session, key }),
        (keys(), times(), option::of(records())).prop_map(|(key, retired_after, otherwise)| {
            Target::Presented { key, retired_after, otherwise }
        }),
    ]
}

/// So narrow that many calls exceed them, and the same for all, as in a program.
const LIMITS: Limits = Limits { value_bytes: 1, items: 2, application_bytes: 4 };

fn calls() -> impl Strategy<Value = Call> {
    let most = option::of(1..3_u32);
    let commit = (targets(), changes(), session_changes(), most, times()).prop_map(
        |(target, changes, session, max_sessions, now)| {
            Box::new(Commit { target, changes, session, max_sessions, limits: LIMITS, now })
        },
    );
    let keep = option::of((0..3_u32, times()).prop_map(|(newest, now)| Keep { newest, now }));
    let replace = (references(), texts(), option::of(texts()), texts(), times());
    let replace = replace.prop_map(|(session, key, expected, value, now)| ReplaceItem {
        session,
        application: SHOP,
        key,
        expected,
        value,
        limits: LIMITS,
        now,
    });
    prop_oneof![
        3 => records().prop_map(Call::Create),
        9 => commit.prop_map(Call::Commit),
        3 => replace.prop_map(Call::Replace),
        1 => vec(locators(), 0..3).prop_map(Call::Destroy),
        2 => vec(locators(), 0..5).prop_map(Call::Load),
        1 => locators().prop_map(Call::Inspect),
        1 => (principals(), times()).prop_map(|(who, now)| Call::List(who, now)),
        1 => (principals(), option::of(references()), option::of(references()), keep).prop_map(
            |(principal, except, only, keep)| {
                Call::EndWhere(EndWhere { principal, except, only, keep })
            },
        ),
        1 => (times(), times()).prop_map(|(from, until)| Call::Cleanup(from, until)),
    ]
}

/// The answer as text, without the order where none is promised and without texts of errors.
async fn answer(driver: &dyn Driver, call: Call) -> String {
    match call {
        Call::Create(session) => show(driver.create(Create { session }).await),
        Call::Commit(commit) => show(driver.commit(*commit).await),
        Call::Replace(replace) => show(driver.replace_item(replace).await),
        Call::Destroy(sessions) => show(sorted(driver.destroy(Destroy { sessions }).await)),
        Call::Load(sessions) => {
            let mut found = driver.load(load(sessions)).await.unwrap();
            found.sort_by_key(|found| found.session.session);
            show(Ok(found.into_iter().map(exposed).collect::<Vec<_>>()))
        }
        Call::Inspect(session) => show(driver.inspect(Inspect { session }).await),
        Call::List(principal, now) => show(driver.list(List { principal, now }).await),
        Call::EndWhere(end) => show(sorted(driver.end_where(end).await)),
        Call::Cleanup(from, until) => {
            let limit = 100;
            show(driver.cleanup(Cleanup { from, until, limit }).await)
        }
    }
}

fn exposed(found: Found) -> String {
    let items: Vec<_> = found.items.iter().collect();
    format!("{:?} {items:?}", found.session)
}

fn sorted(answer: Result<Vec<SessionRef>, DriverError>) -> Result<Vec<SessionRef>, DriverError> {
    answer.map(|mut sessions| {
        sessions.sort();
        sessions
    })
}

fn show<T: Debug>(answer: Result<T, DriverError>) -> String {
    format!("{:?}", answer.map_err(|error: DriverError| -> DriverErrorKind { error.kind() }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    // D1, S1–S8
    #[test]
    fn the_answers_are_those_of_the_memory_driver(calls in vec(calls(), 1..40)) {
        Runtime::new().unwrap().block_on(async {
            let model = MemoryDriver::new();
            let driver = memory().await;
            let all = || Call::Load((0..4).map(|n| Locator::Ref(reference(n))).collect());
            for call in calls {
                let shown = format!("{call:?}");
                let expected = answer(&model, call.clone()).await;
                let given = answer(&driver, call).await;
                let both_refuse = given == "Ok(Collision)" && expected == "Err(TooLarge)";
                prop_assert!(given == expected || both_refuse, "{shown}: {given}, not {expected}");
                let expected = answer(&model, all()).await;
                prop_assert_eq!(answer(&driver, all()).await, expected, "after {}", shown);
            }
            Ok(())
        })?;
    }
}
