//! An SQLite environment that lacks a table, or is not what this version needs.

use sqlx::{Connection, SqliteConnection};
use web_session::driver::DriverErrorKind;
use web_session::{AutoCreate, BuildError, OnMissing, SessionId};

use crate::environment::{build, kind};
use crate::rig::{Rig, rig};
use crate::support::sqlite;

/// An environment with a session, changed behind the driver's back.
async fn after(change: &'static str) -> (Rig, SessionId) {
    let rig = rig(sqlite().await).await;
    let id = rig.session().await;
    let mut connection = SqliteConnection::connect(&rig.storage.url).await.unwrap();
    // Dropping a table deletes its rows first, and their items with them.
    for statement in ["PRAGMA foreign_keys = OFF", change] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    (rig, id)
}

async fn count(rig: &Rig, query: &'static str) -> i64 {
    let mut connection = SqliteConnection::connect(&rig.storage.url).await.unwrap();
    sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
}

const DROP_ITEMS: &str = r#"DROP TABLE "web_session_items""#;
const DROP_SESSIONS: &str = r#"DROP TABLE "web_session_sessions""#;
const COUNT_ITEMS: &str = r#"SELECT count(*) FROM "web_session_items""#;

// M8
#[tokio::test]
async fn without_a_table_it_is_not_complete() {
    for table in [DROP_ITEMS, DROP_SESSIONS] {
        let (rig, _) = after(table).await;
        assert_eq!(rig.manager().complete_session_environment().await, Ok(false), "{table}");
    }
}

// M9, M10
#[tokio::test]
async fn without_a_table_it_is_neither_created_nor_removed_unless_told_so() {
    let (rig, id) = after(DROP_ITEMS).await;
    let manager = rig.manager();
    let created = kind(manager.create_session_environment().await);
    assert_eq!(created, Some(DriverErrorKind::EnvironmentExists));
    let removed = kind(manager.remove_session_environment(OnMissing::Error).await);
    assert_eq!(removed, Some(DriverErrorKind::EnvironmentMissing));
    assert_eq!(manager.exists(id).await, Ok(true));
    manager.remove_session_environment(OnMissing::Ignore).await.unwrap();
    manager.create_session_environment().await.unwrap();
    assert_eq!(manager.exists(id).await, Ok(false));
}

// M4
#[tokio::test]
async fn missing_keeps_what_is_in_the_other_table() {
    let (rig, id) = after(DROP_ITEMS).await;
    build(&rig, AutoCreate::Missing).await.unwrap();
    assert!(rig.loads(id).await);
    assert_eq!(rig.n(id).await, None);

    let (rig, id) = after(DROP_SESSIONS).await;
    build(&rig, AutoCreate::Missing).await.unwrap();
    assert_eq!(rig.manager().exists(id).await, Ok(false));
    assert_eq!(count(&rig, COUNT_ITEMS).await, 1);
}

// M4
#[tokio::test]
async fn recreate_loses_what_is_in_the_other_table() {
    let (rig, id) = after(DROP_ITEMS).await;
    build(&rig, AutoCreate::Recreate).await.unwrap();
    assert_eq!(rig.manager().exists(id).await, Ok(false));

    let (rig, _) = after(DROP_SESSIONS).await;
    build(&rig, AutoCreate::Recreate).await.unwrap();
    assert_eq!(count(&rig, COUNT_ITEMS).await, 0);
}

// M4
#[tokio::test]
async fn never_leaves_an_incomplete_environment_as_it_is() {
    let (rig, id) = after(DROP_ITEMS).await;
    build(&rig, AutoCreate::Never).await.unwrap();
    assert_eq!(rig.manager().complete_session_environment().await, Ok(false));
    assert_eq!(rig.manager().exists(id).await, Ok(true));
}

const RENAME_COLUMN: &str = r#"ALTER TABLE "web_session_items" RENAME COLUMN "value" TO "text""#;

// M4, M8
#[tokio::test]
async fn a_column_that_is_missing_makes_it_defective_and_nothing_is_removed() {
    let (rig, id) = after(RENAME_COLUMN).await;
    assert_eq!(rig.manager().complete_session_environment().await, Ok(false));
    for auto_create in [AutoCreate::Never, AutoCreate::Missing, AutoCreate::Recreate] {
        match build(&rig, auto_create).await.unwrap_err() {
            BuildError::Environment(error) => {
                assert_eq!(error.kind(), DriverErrorKind::EnvironmentDefective);
            }
            other => panic!("{other}"),
        }
        assert_eq!(rig.manager().exists(id).await, Ok(true), "{auto_create:?}");
        assert_eq!(count(&rig, COUNT_ITEMS).await, 1, "{auto_create:?}");
    }
}
