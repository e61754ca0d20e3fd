//! What SQLite says in its own words.

use crate::driver::sql::{
    Column, Dialect, EnvironmentName, EnvironmentStatements, INSERT_VERSION, Kind, OwnWords,
    Statements, Structure, Template,
};

/// Opening a file reads nothing of it, this does. Answers the encoding of its texts, and whether
/// the connection minds foreign keys.
pub(super) const PROBE: &str = "SELECT encoding, foreign_keys
    FROM pragma_encoding, pragma_foreign_keys, (SELECT count(*) FROM sqlite_schema)";

const SQLITE: Dialect = Dialect {
    quote: '"',
    numbered: false,
    integer: "INTEGER",
    principal: "s.principal",
    // A transaction that writes is the only one from its first statement on.
    lock: "",
    dual: "",
    or_replace: "ON CONFLICT (uid, application, item_key) DO UPDATE SET value = excluded.value",
};

pub(super) fn statements(environment: &EnvironmentName) -> Statements {
    let template = Template { dialect: &SQLITE, environment, schema: None };
    let fill = |text: &str| template.fill(text);
    let own = OwnWords {
        begin: "BEGIN IMMEDIATE".to_owned(),
        delete_expired: "DELETE FROM {sessions} WHERE uid IN
            (SELECT uid FROM {sessions} WHERE expires >= ? AND expires < ?
            ORDER BY expires LIMIT ?)",
        environment: EnvironmentStatements {
            survey: fill(
                "SELECT m.name, m.type, m.tbl_name, c.name, c.type, c.pk
                FROM sqlite_schema m LEFT JOIN pragma_table_info(m.name) c ON m.type = 'table'
                WHERE m.name IN ('{env}_sessions', '{env}_items', '{env}_version',
                    '{env}_sessions_expires', '{env}_sessions_principal')",
            ),
            structures: structures(&template),
            drops: ["items", "sessions", "version"]
                .map(|table| fill(&format!("DROP TABLE IF EXISTS {{{table}}}")))
                .to_vec(),
            lock: None,
            unlock: None,
        },
    };
    Statements::new(&template, own)
}

const SESSIONS: &[Column] = &[
    Column::new("uid", "BLOB", 1),
    Column::new("key", "BLOB", 0),
    Column::new("previous_key", "BLOB", 0),
    Column::new("rotated", "INTEGER", 0),
    Column::new("expires", "INTEGER", 0),
    Column::new("ends", "INTEGER", 0),
    Column::new("created", "INTEGER", 0),
    Column::new("last_used", "INTEGER", 0),
    Column::new("cookie_lifetime", "INTEGER", 0),
    Column::new("principal", "TEXT", 0),
    Column::new("note", "TEXT", 0),
];

const ITEMS: &[Column] = &[
    Column::new("uid", "BLOB", 1),
    Column::new("application", "TEXT", 2),
    Column::new("item_key", "BLOB", 3),
    Column::new("value", "TEXT", 0),
];

const VERSION: &[Column] = &[Column::new("version", "INTEGER", 0)];

/// The sessions lie in the order of their uids, which begin with the time of creation, so that new
/// ones are appended and no separate index of the uid is needed.
fn structures(template: &Template<'_>) -> Vec<Structure> {
    let structure = |suffix, kind, create: &[&str]| Structure::new(template, suffix, kind, create);
    let sessions = || Kind::Index(format!("{}_sessions", template.environment));
    vec![
        structure(
            "sessions",
            Kind::Table(SESSIONS),
            &[r#"CREATE TABLE {sessions} (
                uid BLOB NOT NULL PRIMARY KEY,
                key BLOB NOT NULL UNIQUE,
                previous_key BLOB UNIQUE,
                rotated INTEGER,
                expires INTEGER NOT NULL,
                ends INTEGER NOT NULL,
                created INTEGER NOT NULL,
                last_used INTEGER NOT NULL,
                cookie_lifetime INTEGER,
                principal TEXT,
                note TEXT
            ) STRICT, WITHOUT ROWID"#],
        ),
        structure(
            "items",
            Kind::Table(ITEMS),
            &[r#"CREATE TABLE {items} (
                uid BLOB NOT NULL REFERENCES {sessions} (uid) ON DELETE CASCADE,
                application TEXT NOT NULL,
                item_key BLOB NOT NULL,
                value TEXT NOT NULL,
                PRIMARY KEY (uid, application, item_key)
            ) STRICT, WITHOUT ROWID"#],
        ),
        structure(
            "version",
            Kind::Table(VERSION),
            &[
                "CREATE TABLE IF NOT EXISTS {version} (version INTEGER NOT NULL) STRICT",
                INSERT_VERSION,
            ],
        ),
        structure(
            "sessions_expires",
            sessions(),
            &[r#"CREATE INDEX "{env}_sessions_expires" ON {sessions} (expires)"#],
        ),
        structure(
            "sessions_principal",
            sessions(),
            &[r#"CREATE INDEX "{env}_sessions_principal" ON {sessions} (principal)
                WHERE principal IS NOT NULL"#],
        ),
    ]
}
