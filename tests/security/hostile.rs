//! What another program has stored, or damaged: an error within bounds, no panic, and the storage goes on.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use web_session::driver::{
    ApplicationChanges, Commit, CommitOutcome, DriverErrorKind, Limits, Locator, Target,
};
use web_session::{ApplicationName, Driver, SessionError, SessionId, SessionManager};

use crate::admin::{Admin, Damage};
use crate::rig::{Rig, n, read, session};
use crate::visitor::{Shop, request_of, send};

/// Stores a text under the key `planted` of the shop, past the library's own checks.
async fn plant(rig: &Rig, id: &str, text: &str) {
    let key = id.parse::<SessionId>().unwrap().key();
    let mut changes = ApplicationChanges::new(ApplicationName::new("shop").unwrap());
    changes.items.push(("planted".into(), Some(text.into())));
    let target = Target::Existing(Locator::Key(key));
    let mut commit = Commit::new(target, SystemTime::UNIX_EPOCH.into());
    commit.changes.push(changes);
    let bytes = text.len() + 1_000;
    commit.limits =
        Limits::default().with_value_bytes(bytes).with_application_bytes(2 * bytes).with_items(9);
    let outcome = rig.driver.commit(commit).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Done(_)));
}

/// Reads what was planted in one of the ways there are, as the wrong type.
async fn read_planted(session: &SessionManager, way: usize) -> Result<(), SessionError> {
    let shop = session.app::<Shop>();
    match way {
        0 => shop.get::<i64>("planted").await.map(drop),
        1 => shop.get::<Vec<Vec<Vec<bool>>>>("planted").await.map(drop),
        2 => shop.items::<i64>().await.map(drop),
        3 => shop.values::<i64>().await.map(drop),
        4 => shop.update("planted", |n: Option<i64>| n.unwrap_or(0)).await.map(drop),
        _ => shop.remove::<i64>("planted").await.map(drop),
    }
}

/// What no visitor has to wait for.
const SOON: Duration = Duration::from_secs(10);

on_every_storage! {
    // CVE-2025-24813
    async fn a_stored_text_of_any_kind_is_an_error_where_it_is_read_and_nowhere_else(rig: Rig) {
        let layer = rig.layer().await;
        let id = session(&layer).await;
        let nested = |open: &str, close: &str| open.repeat(100_000) + "0" + &close.repeat(100_000);
        let texts = [
            ("no JSON", "{garbage".to_owned()),
            ("nothing", String::new()),
            ("two values", "1 2".to_owned()),
            ("deep arrays", nested("[", "]")),
            ("deep objects", nested("{\"a\":", "}")),
            ("deep arrays without an end", "[".repeat(500_000)),
            ("a long number", "9".repeat(500_000)),
            ("a large exponent", "1e999999999999".to_owned()),
            ("a small exponent", "1e-999999999999".to_owned()),
            ("half a surrogate", r#""\ud800""#.to_owned()),
            ("a long text", format!("\"{}\"", "x".repeat(1_000_000))),
            ("the same key again and again", format!("{{{}\"a\":1}}", "\"a\":1,".repeat(100_000))),
        ];
        for (what, text) in texts {
            plant(&rig, &id, &text).await;
            for way in 0..6 {
                let (begun, mut failed) = (Instant::now(), None);
                let answer = send(&layer, request_of(&id), |session: SessionManager| {
                    let failed = &mut failed;
                    async move {
                        let outcome = read_planted(&session, way).await;
                        *failed = outcome.clone().err();
                        outcome
                    }
                })
                .await;
                let error = failed.unwrap_or_else(|| panic!("{what} was read in way {way}"));
                assert!(matches!(error, SessionError::Decode(_)), "{what}: {error}");
                assert!(error.to_string().len() < 200 && begun.elapsed() < SOON, "{what}: {error}");
                assert_eq!((answer.status.as_u16(), &*answer.body), (500, "Something went wrong."));
                assert_eq!(answer.new_id(), None, "{what}");
            }
            // A type that takes anything: an error too, or a value.
            let any = send(&layer, request_of(&id), async |session| {
                session.app::<Shop>().get::<Value>("planted").await.map(drop)
            });
            assert!(any.await.status.as_u16() <= 500, "{what}");
            assert_eq!(n(&layer, &id).await, Some(1), "{what}: the other items are what they were");
        }
        let anew = send(&layer, request_of(&id), async |session| {
            session.app::<Shop>().set("planted", &2)
        });
        assert_eq!(anew.await.status, 200);
        assert_eq!(send(&layer, request_of(&id), read).await.body, "Some(1)");
    }

    // CVE-2025-24813
    async fn a_value_beyond_the_limits_is_refused_and_can_be_replaced(rig: Rig) {
        let layer = rig.layer().await;
        let (id, other) = (session(&layer).await, session(&layer).await);
        plant(&rig, &id, &format!("\"{}\"", "x".repeat(12 << 20))).await;
        for way in 0..6 {
            let mut failed = None;
            send(&layer, request_of(&id), async |session| {
                failed = read_planted(&session, way).await.err();
            })
            .await;
            let Some(SessionError::TooLarge(error)) = failed else { panic!("{way}: {failed:?}") };
            assert_eq!(error.kind(), DriverErrorKind::TooLarge);
        }
        assert_eq!(n(&layer, &other).await, Some(1));
        let anew = send(&layer, request_of(&id), async |session| {
            session.app::<Shop>().set("planted", &2)
        });
        assert_eq!(anew.await.status, 200);
        assert_eq!(n(&layer, &id).await, Some(1));
    }

    // CVE-2025-24813
    async fn a_damaged_session_is_read_or_an_error_and_never_taken_for_none(rig: Rig) {
        let layer = rig.layer().await;
        let mut admin = Admin::of(&rig.url).await;
        let sound = session(&layer).await;
        for (damage, expected) in DAMAGES {
            let id = session(&layer).await;
            let key = id.parse::<SessionId>().unwrap().key();
            if !admin.damage(&rig.environment, &key, *damage).await {
                continue;
            }
            let seen = send(&layer, request_of(&id), read_result).await;
            let outcome = match seen.status.as_u16() {
                200 if seen.body == "Some(1)" => Outcome::Read,
                503 => Outcome::Refused,
                _ => panic!("{damage:?}: {seen:?}"),
            };
            assert_eq!((outcome, seen.new_id()), (*expected, None), "{damage:?}");
            // A new id and a new cookie, with the times as they are.
            let rotated = send(&layer, request_of(&id), async |session| session.rotate().await);
            let status = rotated.await.status.as_u16();
            assert!(status == 200 || outcome == Outcome::Refused && status == 503, "{damage:?}");
            assert_eq!(n(&layer, &sound).await, Some(1), "{damage:?}: another session is sound");
        }
        layer.manager().cleanup().await.unwrap();
        assert_eq!(n(&layer, &sound).await, Some(1));
    }
}

async fn read_result(session: SessionManager) -> Result<String, SessionError> {
    let n: Option<i64> = session.app::<Shop>().get("n").await?;
    Ok(format!("{n:?}"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Read,
    Refused,
}

/// What is done to a session: a column, or a field, and what it becomes. Where a storage has no such value
/// nothing is done.
const DAMAGES: &[(Damage, Outcome)] = &[
    (Damage::Number("expires", i64::MAX), Outcome::Read),
    (Damage::Number("ends", i64::MAX), Outcome::Read),
    (Damage::Number("created", i64::MIN), Outcome::Read),
    (Damage::Number("created", i64::MAX), Outcome::Read),
    (Damage::Number("last_used", i64::MIN), Outcome::Read),
    (Damage::Number("rotated", i64::MAX), Outcome::Read),
    (Damage::Number("cookie_lifetime", i64::MIN), Outcome::Read),
    (Damage::Number("cookie_lifetime", i64::MAX), Outcome::Read),
    (Damage::NoNumber("ends"), Outcome::Refused),
    (Damage::NoNumber("last_used"), Outcome::Refused),
    (Damage::ShortKey, Outcome::Refused),
    (Damage::ItemKeyIsNoText, Outcome::Refused),
];
