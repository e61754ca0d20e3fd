//! What SQLite says in its own words.

use crate::driver::sql::{
    Dialect, EnvironmentName, EnvironmentStatements, Lists, OwnWords, Statements, Template, Type,
    Types,
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
    skip_locked: "",
    lists: Lists::Packed,
    dual: "",
    or_replace: "ON CONFLICT (uid, application, item_key) DO UPDATE SET value = excluded.value",
};

pub(super) fn statements(environment: &EnvironmentName) -> Statements {
    let template = Template { dialect: &SQLITE, environment, schema: None };
    let fill = |text: &str| template.fill(text);
    let own = OwnWords {
        at_connect: None,
        begin: "BEGIN IMMEDIATE".to_owned(),
        set_up: None,
        store_at_once: None,
        array_types: [""; 4],
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
            structures: TYPES.structures(&template),
            drops: ["items", "sessions", "version"]
                .map(|table| fill(&format!("DROP TABLE IF EXISTS {{{table}}}")))
                .to_vec(),
            lock: None,
            unlock: None,
        },
    };
    Statements::new(&template, own)
}

/// The sessions lie in the order of their uids, which begin with the time of creation, so that new
/// ones are appended and no separate index of the uid is needed.
const TYPES: Types = Types {
    uid: BLOB,
    key: BLOB,
    number: Type("INTEGER", "INTEGER"),
    principal: TEXT,
    text: TEXT,
    application: TEXT,
    item_key: BLOB,
    table: " STRICT, WITHOUT ROWID",
    principal_index: "(principal) WHERE principal IS NOT NULL",
};

const BLOB: Type = Type("BLOB", "BLOB");
const TEXT: Type = Type("TEXT", "TEXT");
