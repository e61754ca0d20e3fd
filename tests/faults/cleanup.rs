//! A million expired sessions are removed while requests go on.

use std::time::Instant;

use crate::private::{Kind, Private};
use crate::visitors::{Application, Load};
use crate::{report, seconds};

const MILLION: u64 = 1_000_000;

pub async fn a_million_sessions_are_cleaned_up(kind: Kind) {
    let server = Private::start(kind);
    let application = Application::start(&server).await;
    insert(&server).await;
    let load = Load::start(&application, 4).await;
    let begun = Instant::now();
    let removed = application.layer.manager().cleanup().await.unwrap();
    let took = begun.elapsed();
    let seen = load.stop().await;
    assert_eq!(removed, MILLION);
    assert_eq!(seen.refused(), 0, "requests go on");
    assert!(seen.lost().await.is_empty());
    let saw = format!("{}; removed in {}", seen.seen(), seconds(took));
    report("a million expired sessions are cleaned up", kind, saw, "nothing", "all the time");
}

/// Expired sessions, every fourth with an item. Their uids follow each other, as those of real ones do.
async fn insert(server: &Private) {
    let sessions = "INSERT INTO web_session_sessions
        (uid, {key}, expires, ends, created, last_used)";
    let items = "INSERT INTO web_session_items (uid, application, item_key, value)
        SELECT uid, 'shop', {a}, '1' FROM web_session_sessions WHERE expires % 4 = 0";
    match server.kind {
        Kind::Postgres => {
            let select = "SELECT lpad(to_hex(n), 32, '0')::uuid, sha256(n::text::bytea), n, n, 1, 1
                FROM generate_series(1, 1000000) n";
            server.sql(&format!("{} {select}", sessions.replace("{key}", "key")));
            server.sql(&items.replace("{a}", "'a'::bytea"));
            server.sql("ANALYZE");
        }
        Kind::MariaDb => {
            let select =
                "SELECT unhex(lpad(hex(seq), 32, '0')), unhex(sha2(seq, 256)), seq, seq, 1, 1
                FROM seq_1_to_1000000";
            server.sql(&format!("{} {select}", sessions.replace("{key}", "`key`")));
            server.sql(&items.replace("{a}", "'a'"));
        }
        _ => {
            use sqlx::ConnectOptions;
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(server.file());
            let mut other = options.connect().await.unwrap();
            let select =
                "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 1000000)
                SELECT unhex(printf('%032x', n)), randomblob(32), n, n, 1, 1 FROM n";
            for sql in [
                format!("{} {select}", sessions.replace("{key}", "key")),
                items.replace("{a}", "x'61'"),
            ] {
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut other).await.unwrap();
            }
        }
    }
}
