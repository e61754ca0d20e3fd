//! What PostgreSQL says in its own words.

use std::time::Duration;

use crate::driver::sql::{
    Column, Dialect, EnvironmentName, EnvironmentStatements, INSERT_VERSION, Kind, OwnWords,
    Statements, Structure, Template,
};

const POSTGRES: Dialect = Dialect {
    quote: '"',
    numbered: true,
    integer: "BIGINT",
    principal: "s.principal",
    lock: " FOR UPDATE",
    dual: "",
    or_replace: "ON CONFLICT (uid, application, item_key) DO UPDATE SET value = excluded.value",
};

/// `call_timeout` is the server's bound for each statement of a transaction, and for its pauses.
pub(super) fn statements(
    environment: &EnvironmentName,
    schema: Option<&str>,
    call_timeout: Duration,
) -> Statements {
    let template = Template { dialect: &POSTGRES, environment, schema };
    let fill = |text: &str| template.fill(text);
    let millis = call_timeout.as_millis().clamp(1, i32::MAX as u128);
    // A schema's name is compared as a text, so it is quoted as one.
    let in_schema = match schema {
        Some(schema) => format!("n.nspname = '{}'", schema.replace('\'', "''")),
        None => "pg_table_is_visible(c.oid)".to_owned(),
    };
    let own = OwnWords {
        // `SET LOCAL` ends with the transaction, so nothing of it stays behind in a pooler.
        begin: format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED;
            SET LOCAL statement_timeout = {millis};
            SET LOCAL idle_in_transaction_session_timeout = {millis}"
        ),
        delete_expired: "DELETE FROM {sessions} WHERE uid = ANY(ARRAY(
            SELECT s.uid FROM {sessions} s WHERE s.expires >= ? AND s.expires < ?
            ORDER BY s.expires LIMIT ? FOR UPDATE SKIP LOCKED))",
        environment: EnvironmentStatements {
            survey: fill(&format!(
                "SELECT c.relname::text,
                    CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table'
                        WHEN 'i' THEN 'index' ELSE 'other' END,
                    t.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
                    (coalesce(array_position(k.indkey::int2[], a.attnum), -1) + 1)::bigint
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                LEFT JOIN pg_index i ON i.indexrelid = c.oid
                LEFT JOIN pg_class t ON t.oid = i.indrelid
                LEFT JOIN pg_index k ON k.indrelid = c.oid AND k.indisprimary
                LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
                    AND NOT a.attisdropped AND c.relkind <> 'i'
                WHERE {in_schema} AND c.relname IN ('{{env}}_sessions', '{{env}}_items',
                    '{{env}}_version', '{{env}}_sessions_expires', '{{env}}_sessions_principal')
                ORDER BY c.oid, a.attnum"
            )),
            structures: structures(&template),
            drops: vec![fill("DROP TABLE IF EXISTS {items}, {sessions}, {version}")],
            // Ends with the transaction. The number is drawn from the name.
            lock: Some(fill(
                "SELECT 1::bigint FROM (SELECT
                pg_advisory_xact_lock(hashtextextended('web-session {env}', 0))) l",
            )),
            unlock: None,
        },
    };
    Statements::new(&template, own)
}

const SESSIONS: &[Column] = &[
    Column::new("uid", "uuid", 1),
    Column::new("key", "bytea", 0),
    Column::new("previous_key", "bytea", 0),
    Column::new("rotated", "bigint", 0),
    Column::new("expires", "bigint", 0),
    Column::new("ends", "bigint", 0),
    Column::new("created", "bigint", 0),
    Column::new("last_used", "bigint", 0),
    Column::new("cookie_lifetime", "bigint", 0),
    Column::new("principal", "text", 0),
    Column::new("note", "text", 0),
];

const ITEMS: &[Column] = &[
    Column::new("uid", "uuid", 1),
    Column::new("application", "text", 2),
    Column::new("item_key", "bytea", 3),
    Column::new("value", "text", 0),
];

const VERSION: &[Column] = &[Column::new("version", "bigint", 0)];

/// A principal may be longer than a B-tree holds, so its index is a hash.
fn structures(template: &Template<'_>) -> Vec<Structure> {
    let structure = |suffix, kind, create: &[&str]| Structure::new(template, suffix, kind, create);
    let sessions = || Kind::Index(format!("{}_sessions", template.environment));
    vec![
        structure(
            "sessions",
            Kind::Table(SESSIONS),
            &[r#"CREATE TABLE {sessions} (
                uid UUID NOT NULL PRIMARY KEY,
                "key" BYTEA NOT NULL UNIQUE,
                previous_key BYTEA UNIQUE,
                rotated BIGINT,
                expires BIGINT NOT NULL,
                ends BIGINT NOT NULL,
                created BIGINT NOT NULL,
                last_used BIGINT NOT NULL,
                cookie_lifetime BIGINT,
                principal TEXT,
                note TEXT
            )"#],
        ),
        structure(
            "items",
            Kind::Table(ITEMS),
            &[r#"CREATE TABLE {items} (
                uid UUID NOT NULL REFERENCES {sessions} (uid) ON DELETE CASCADE,
                application TEXT COLLATE "C" NOT NULL,
                item_key BYTEA NOT NULL,
                value TEXT NOT NULL,
                PRIMARY KEY (uid, application, item_key)
            )"#],
        ),
        structure(
            "version",
            Kind::Table(VERSION),
            &["CREATE TABLE IF NOT EXISTS {version} (version BIGINT NOT NULL)", INSERT_VERSION],
        ),
        structure(
            "sessions_expires",
            sessions(),
            &[r#"CREATE INDEX "{env}_sessions_expires" ON {sessions} (expires)"#],
        ),
        structure(
            "sessions_principal",
            sessions(),
            &[r#"CREATE INDEX "{env}_sessions_principal" ON {sessions} USING hash (principal)"#],
        ),
    ]
}
