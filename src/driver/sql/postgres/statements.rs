//! What PostgreSQL says in its own words.

use std::time::Duration;

use crate::driver::sql::{
    Dialect, EnvironmentName, EnvironmentStatements, Lists, OwnWords, SetUp, Statements, Template,
    Type, Types,
};

const POSTGRES: Dialect = Dialect {
    quote: '"',
    numbered: true,
    integer: "BIGINT",
    principal: "s.principal",
    lock: " FOR UPDATE",
    skip_locked: " FOR UPDATE OF s SKIP LOCKED",
    lists: Lists::Arrays,
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
    let millis = millis(call_timeout);
    let settings = settings(call_timeout);
    let pairs: Vec<_> =
        settings.iter().map(|(name, value)| format!("('{name}', '{value}')")).collect();
    let (number, pairs) = (pairs.len(), pairs.join(", "));
    // A schema's name is compared as a text, so it is quoted as one.
    let in_schema = match schema {
        Some(schema) => format!("n.nspname = '{}'", schema.replace('\'', "''")),
        None => "pg_table_is_visible(c.oid)".to_owned(),
    };
    let own = OwnWords {
        // `SET LOCAL` ends with the transaction, so nothing of it stays behind in a pooler. Sessions and items are
        // found by an index: a plan that was made while the tables were small must not walk over large ones. The
        // table of the version has one row and is walked over; that looks so expensive then that it would be
        // compiled.
        begin: format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED;
            SET LOCAL statement_timeout = {millis};
            SET LOCAL idle_in_transaction_session_timeout = {millis};
            SET LOCAL enable_seqscan = off; SET LOCAL jit = off"
        ),
        set_up: Some(SetUp {
            is_done: fill(&format!(
                "SELECT 1::bigint FROM pg_settings WHERE (name, setting) IN ({pairs})
                HAVING count(*) = {number}"
            )),
            begin: fill("BEGIN ISOLATION LEVEL READ COMMITTED"),
        }),
        array_types: ["uuid", "bytea", "bigint", "text"],
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
            structures: TYPES.structures(&template),
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

/// What a connection that only writes has from its start; `begin` sets the same for one transaction.
pub(super) fn settings(call_timeout: Duration) -> [(&'static str, String); 5] {
    let millis = millis(call_timeout);
    [
        ("default_transaction_isolation", "read committed".to_owned()),
        ("statement_timeout", millis.to_string()),
        ("idle_in_transaction_session_timeout", millis.to_string()),
        ("enable_seqscan", "off".to_owned()),
        ("jit", "off".to_owned()),
    ]
}

fn millis(call_timeout: Duration) -> u128 {
    call_timeout.as_millis().clamp(1, i32::MAX as u128)
}

/// A principal may be longer than a B-tree holds, so its index is a hash.
const TYPES: Types = Types {
    uid: Type("UUID", "uuid"),
    key: BYTES,
    number: Type("BIGINT", "bigint"),
    principal: TEXT,
    text: TEXT,
    application: Type(r#"TEXT COLLATE "C""#, "text"),
    item_key: BYTES,
    table: "",
    principal_index: "USING hash (principal)",
};

const BYTES: Type = Type("BYTEA", "bytea");
const TEXT: Type = Type("TEXT", "text");
