//! The states of the tables, and what makes, completes and removes them.

use super::*;
use crate::driver::EnvironmentState::{Absent, Complete, Defective, Incomplete};
use crate::driver::{DriverErrorKind, EnvironmentState, OnMissing};

const ALL: [&str; 5] = [
    "web_session_sessions",
    "web_session_items",
    "web_session_version",
    "web_session_sessions_expires",
    "web_session_sessions_principal",
];

async fn state(driver: &SqliteDriver) -> EnvironmentState {
    driver.environment().await.unwrap()
}

// M8, M9, M10
#[tokio::test]
async fn an_environment_is_made_once_and_removed_whole() {
    let driver = SqliteDriver::connect("sqlite::memory:").await.unwrap();
    assert_eq!(state(&driver).await, Absent);
    driver.create_environment().await.unwrap();
    assert_eq!(state(&driver).await, Complete);
    let error = driver.create_environment().await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::EnvironmentExists);
    driver.remove_environment(OnMissing::Error).await.unwrap();
    assert_eq!(state(&driver).await, Absent);
    let error = driver.remove_environment(OnMissing::Error).await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::EnvironmentMissing);
    driver.remove_environment(OnMissing::Ignore).await.unwrap();
}

// M9: what is missing is made again, and the rest keeps its data.
#[tokio::test]
async fn each_structure_that_is_missing_is_named_and_made_again() {
    let drops: [(&str, &[&str]); 5] = [
        ("DROP TABLE web_session_items", &ALL[1..2]),
        ("DROP TABLE web_session_version", &ALL[2..3]),
        ("DELETE FROM web_session_version", &ALL[2..3]),
        ("DROP INDEX web_session_sessions_expires", &ALL[3..4]),
        ("DROP INDEX web_session_sessions_principal", &ALL[4..5]),
    ];
    for (drop, missing) in drops {
        let driver = memory().await;
        created(&driver, 1).await;
        execute(driver.0.writer.pool(), drop).await;
        let names = missing.iter().map(|name| name.to_string()).collect();
        assert_eq!(state(&driver).await, Incomplete(names), "{drop}");

        let error = driver.create_environment().await.unwrap_err();
        assert_eq!(error.kind(), DriverErrorKind::EnvironmentExists);
        let error = driver.remove_environment(OnMissing::Error).await.unwrap_err();
        assert_eq!(error.kind(), DriverErrorKind::EnvironmentMissing);
        assert!(error.to_string().contains(missing[0]), "{error}");
        assert!(matches!(state(&driver).await, Incomplete(_)), "{drop}");

        driver.ensure_environment().await.unwrap();
        assert_eq!(state(&driver).await, Complete, "{drop}");
        assert_eq!(loaded(&driver, 1).await.len(), 1, "{drop}");
    }
}

#[tokio::test]
async fn the_table_of_sessions_is_missed_together_with_its_indexes() {
    let driver = memory().await;
    execute(driver.0.writer.pool(), "DROP TABLE web_session_sessions").await;
    let names = [ALL[0], ALL[3], ALL[4]].map(str::to_owned).to_vec();
    assert_eq!(state(&driver).await, Incomplete(names));
    driver.ensure_environment().await.unwrap();
    created(&driver, 1).await;
}

// M8, D4: never misread.
#[tokio::test]
async fn a_structure_that_is_not_what_is_needed_is_a_defect() {
    let defects = [
        ("ALTER TABLE web_session_sessions DROP COLUMN note", "note"),
        ("ALTER TABLE web_session_items RENAME COLUMN value TO v", "value"),
        (
            "DROP TABLE web_session_items; CREATE TABLE web_session_items (uid BLOB,
             application TEXT, item_key TEXT, value TEXT, PRIMARY KEY (uid, application, item_key))",
            "item_key",
        ),
        (
            "DROP TABLE web_session_items; CREATE TABLE web_session_items (uid BLOB,
             application TEXT, item_key BLOB, value TEXT)",
            "primary key",
        ),
        (
            "DROP TABLE web_session_version; CREATE VIEW web_session_version AS SELECT 1 version",
            "not a table",
        ),
        (
            "DROP INDEX web_session_sessions_expires;
             CREATE INDEX web_session_sessions_expires ON web_session_items (value)",
            "not an index of",
        ),
        ("UPDATE web_session_version SET version = 2", "newer version"),
        ("UPDATE web_session_version SET version = 0", "unknown"),
        ("INSERT INTO web_session_version VALUES (2)", "more than one"),
    ];
    for (statements, text) in defects {
        let driver = memory().await;
        execute(driver.0.writer.pool(), statements).await;
        let Defective(defect) = state(&driver).await else {
            panic!("{statements}");
        };
        assert!(defect.contains(text), "{defect:?} lacks {text:?}");
        let error = driver.ensure_environment().await.unwrap_err();
        assert_eq!(error.kind(), DriverErrorKind::EnvironmentDefective);
        let error = driver.create_environment().await.unwrap_err();
        assert_eq!(error.kind(), DriverErrorKind::EnvironmentExists);
    }
}

#[tokio::test]
async fn a_column_of_the_administrators_own_is_no_defect() {
    let driver = memory().await;
    execute(driver.0.writer.pool(), "ALTER TABLE web_session_sessions ADD COLUMN mine TEXT").await;
    assert_eq!(state(&driver).await, Complete);
    created(&driver, 1).await;
}

// M4: `Recreate` removes what is there, whatever it is, and makes all anew.
#[tokio::test]
async fn a_defective_or_incomplete_environment_can_be_removed_and_made_anew() {
    for statements in [
        "DROP TABLE web_session_items",
        "DROP TABLE web_session_sessions",
        "UPDATE web_session_version SET version = 2",
        "ALTER TABLE web_session_sessions DROP COLUMN note",
    ] {
        let driver = memory().await;
        created(&driver, 1).await;
        execute(driver.0.writer.pool(), statements).await;
        driver.remove_environment(OnMissing::Ignore).await.unwrap();
        assert_eq!(state(&driver).await, Absent, "{statements}");
        driver.create_environment().await.unwrap();
        assert!(loaded(&driver, 1).await.is_empty());
    }
}

#[tokio::test]
async fn environments_share_a_file_and_know_nothing_of_each_other() {
    let folder = Folder::new();
    let one = folder.driver().await;
    let two = SqliteDriver::builder(&folder.url()).environment("web").connect().await.unwrap();
    assert_eq!(state(&two).await, Absent);
    two.create_environment().await.unwrap();
    created(&one, 1).await;
    assert!(loaded(&two, 1).await.is_empty());
    two.remove_environment(OnMissing::Error).await.unwrap();
    assert_eq!(state(&one).await, Complete);
}

// M9: safe when several processes start at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_open_a_new_file_and_make_its_environment_at_once() {
    for _ in 0..5 {
        let folder = Folder::new();
        let start = || {
            let url = folder.url();
            tokio::spawn(async move {
                let driver = SqliteDriver::connect(&url).await?;
                driver.ensure_environment().await?;
                driver.environment().await
            })
        };
        let starts: Vec<_> = (0..10).map(|_| start()).collect();
        for start in starts {
            assert_eq!(start.await.unwrap().unwrap(), Complete);
        }
    }
}
