//! Each failure says which, where, and what to do.

use std::fs;
use std::time::Duration;

use super::*;
use crate::driver::{DriverError, DriverErrorKind, EnvironmentState, OnMissing};

async fn refused(url: &str) -> DriverError {
    SqliteDriver::connect(url).await.unwrap_err()
}

fn assert_says(error: &DriverError, kind: DriverErrorKind, texts: &[&str]) {
    let shown = error.to_string();
    assert_eq!(error.kind(), kind, "{shown}");
    for text in texts {
        assert!(shown.contains(text), "{shown:?} lacks {text:?}");
    }
}

#[tokio::test]
async fn a_file_in_a_folder_that_does_not_exist_names_both() {
    let folder = Folder::new();
    let path = folder.0.path().join("none/sessions.db");
    let error = refused(&format!("sqlite://{}", path.display())).await;
    let named = path.display().to_string();
    assert_says(&error, DriverErrorKind::Unavailable, &[&named, "folder does not exist"]);
    assert_eq!(error.code(), Some("14"));
}

#[tokio::test]
async fn a_folder_in_place_of_a_file_is_said() {
    let folder = Folder::new();
    let error = refused(&format!("sqlite://{}", folder.0.path().display())).await;
    assert_says(&error, DriverErrorKind::Unavailable, &["it is a folder"]);
}

#[tokio::test]
async fn a_file_is_made_only_if_the_mode_allows_it() {
    let folder = Folder::new();
    for mode in ["ro", "rw"] {
        let error = refused(&format!("{}?mode={mode}", folder.url())).await;
        assert_says(&error, DriverErrorKind::Unavailable, &["sessions.db", "does not exist"]);
        assert!(!folder.file().exists());
    }
    SqliteDriver::connect(&folder.url()).await.unwrap();
    assert!(folder.file().exists());
}

#[tokio::test]
async fn a_file_of_another_kind_is_no_database() {
    let folder = Folder::new();
    fs::write(folder.file(), "secret text, long enough to be taken for a header".repeat(90))
        .unwrap();
    for mode in ["ro", "rw", "rwc"] {
        let error = refused(&format!("{}?mode={mode}", folder.url())).await;
        assert_says(&error, DriverErrorKind::Corrupt, &["sessions.db", "not an SQLite database"]);
        assert_eq!(error.code(), Some("26"));
    }
}

#[tokio::test]
async fn a_damaged_file_is_said() {
    let folder = Folder::new();
    let driver = folder.driver().await;
    let large = "x".repeat(50_000);
    created(&driver, 1).await;
    driver.commit(commit(seen(1), set(&[("large", &large)]))).await.unwrap();
    driver.close().await;
    let mut bytes = fs::read(folder.file()).unwrap();
    bytes[4096..].fill(0xa5);
    fs::write(folder.file(), bytes).unwrap();
    let driver = SqliteDriver::connect(&folder.url()).await.unwrap();
    let error = driver.load(load(vec![Locator::Key(key(1))])).await.unwrap_err();
    assert_says(&error, DriverErrorKind::Corrupt, &["sessions.db", "damaged"]);
}

// E3
#[tokio::test]
async fn bad_settings_are_refused_when_connecting() {
    for name in ["", "Shop", "a-b", "sqlite", "sqlite_x"] {
        let builder = SqliteDriver::builder("sqlite::memory:").environment(name);
        let error = builder.connect().await.unwrap_err();
        assert_eq!(error.kind(), DriverErrorKind::Configuration, "{name}");
    }
    let builder = SqliteDriver::builder("sqlite::memory:").readers(0);
    let error = builder.connect().await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::Configuration);
    // A longer time-out than SQLite can count is cut, not a panic.
    let builder = SqliteDriver::builder("sqlite::memory:").busy_timeout(Duration::MAX);
    builder.connect().await.unwrap();
}

#[tokio::test]
async fn a_database_in_utf_16_is_refused() {
    let folder = Folder::new();
    let driver = SqliteDriver::connect(&folder.url()).await.unwrap();
    driver.close().await;
    fs::remove_file(folder.file()).unwrap();
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(folder.file()).create_if_missing(true);
    let other = SqlitePool::connect_with(options).await.unwrap();
    execute(&other, "PRAGMA encoding = 'UTF-16'; CREATE TABLE t (x)").await;
    other.close().await;
    assert_says(&refused(&folder.url()).await, DriverErrorKind::Configuration, &["UTF-16"]);
}

#[tokio::test]
async fn a_read_only_file_can_be_read_and_not_written() {
    let folder = Folder::new();
    let driver = folder.driver().await;
    created(&driver, 1).await;
    let reader = SqliteDriver::connect(&format!("{}?mode=ro", folder.url())).await.unwrap();
    assert_eq!(loaded(&reader, 1).await.len(), 1);
    assert_eq!(reader.environment().await.unwrap(), EnvironmentState::Complete);
    let error = reader.commit(commit(seen(1), set(&[("a", "1")]))).await.unwrap_err();
    assert_says(&error, DriverErrorKind::ReadOnly, &["sessions.db", "mode=ro"]);
    // Nothing is missing, so there is nothing to write.
    reader.ensure_environment().await.unwrap();
    let error = reader.remove_environment(OnMissing::Ignore).await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::ReadOnly);
}

#[tokio::test]
async fn a_missing_table_names_the_remedy() {
    let folder = Folder::new();
    let driver = SqliteDriver::connect(&folder.url()).await.unwrap();
    let texts = ["sessions.db", "ensure_session_environment", "AutoCreate::Missing"];
    let error = driver.load(load(vec![Locator::Key(key(1))])).await.unwrap_err();
    assert_says(&error, DriverErrorKind::EnvironmentMissing, &texts);
    let error = driver.commit(commit(seen(1), vec![])).await.unwrap_err();
    assert_says(&error, DriverErrorKind::EnvironmentMissing, &texts);
}

#[tokio::test]
async fn a_full_database_stores_nothing_and_goes_on_when_there_is_room() {
    let folder = Folder::new();
    for driver in [folder.driver().await, memory().await] {
        created(&driver, 1).await;
        driver.commit(commit(seen(1), set(&[("a", "1")]))).await.unwrap();
        execute(driver.0.writer.pool(), "PRAGMA max_page_count = 1").await;
        let large = "x".repeat(200_000);
        let both = [("a", "2"), ("large", large.as_str())];
        for _ in 0..3 {
            let error = driver.commit(commit(seen(1), set(&both))).await.unwrap_err();
            assert_says(&error, DriverErrorKind::Full, &["no room is left"]);
            assert_eq!(error.code(), Some("13"));
        }
        assert_eq!(items(&driver, 1).await.get("a").map(|text| &**text), Some("1"));
        execute(driver.0.writer.pool(), "PRAGMA max_page_count = 1000000").await;
        driver.commit(commit(seen(1), set(&both))).await.unwrap();
        assert_eq!(items(&driver, 1).await.len(), 2);
    }
}

#[tokio::test]
async fn a_lock_that_stays_is_a_time_out_that_names_the_file() {
    let folder = Folder::new();
    folder.driver().await.close().await;
    let patient = SqliteDriver::connect(&folder.url()).await.unwrap();
    let builder = SqliteDriver::builder(&folder.url()).busy_timeout(Duration::from_millis(50));
    let driver = builder.connect().await.unwrap();
    execute(patient.0.writer.pool(), "BEGIN IMMEDIATE").await;
    let create = Create { session: session(1) };
    let error = driver.create(create.clone()).await.unwrap_err();
    assert_says(&error, DriverErrorKind::Timeout, &["sessions.db", "lock"]);
    assert_eq!(error.code(), Some("5"));
    // Readers do not wait for the writer.
    assert!(loaded(&driver, 1).await.is_empty());
    execute(patient.0.writer.pool(), "ROLLBACK").await;
    assert_eq!(driver.create(create).await.unwrap(), CreateOutcome::Done);
}

#[tokio::test]
async fn waiting_for_the_connections_of_this_process_is_bounded_too() {
    let builder = SqliteDriver::builder("sqlite::memory:").busy_timeout(Duration::from_millis(50));
    let driver = builder.connect().await.unwrap();
    let held = driver.0.writer.pool().acquire().await.unwrap();
    let error = driver.ensure_environment().await.unwrap_err();
    assert_says(&error, DriverErrorKind::Timeout, &[":memory:", "no connection"]);
    drop(held);
    driver.ensure_environment().await.unwrap();
}

#[tokio::test]
async fn a_closed_driver_says_so() {
    let folder = Folder::new();
    let driver = folder.driver().await;
    created(&driver, 1).await;
    driver.close().await;
    assert!(!folder.0.path().join("sessions.db-wal").exists());
    for error in [
        driver.load(load(vec![Locator::Key(key(1))])).await.unwrap_err(),
        driver.commit(commit(seen(1), vec![])).await.unwrap_err(),
    ] {
        assert_says(&error, DriverErrorKind::Unavailable, &["closed"]);
    }
}

// E2
#[tokio::test]
async fn neither_an_error_nor_debug_output_holds_what_is_stored() {
    let driver = memory().await;
    created(&driver, 1).await;
    execute(
        driver.0.writer.pool(),
        "CREATE TRIGGER loud BEFORE INSERT ON web_session_items
         BEGIN SELECT RAISE(ABORT, 'the value of c0ffee'); END",
    )
    .await;
    let error = driver.commit(commit(seen(1), set(&[("k", "c0ffee")]))).await.unwrap_err();
    let shown = format!("{error} {error:?} {driver:?}");
    assert!(!shown.contains("c0ffee"), "{shown}");
    assert!(shown.contains("web_session") && shown.contains(":memory:"), "{shown}");
}
