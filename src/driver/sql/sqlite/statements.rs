//! All of the SQL for SQLite.

use crate::driver::sql::{Column, EnvironmentName, Kind, SCHEMA_VERSION, Statement, Structure};

pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
pub(super) const COMMIT: &str = "COMMIT";
pub(super) const ROLLBACK: &str = "ROLLBACK";

/// Opening a file reads nothing of it, this does. Answers the encoding of its texts.
pub(super) const PROBE: &str =
    "SELECT encoding FROM pragma_encoding, (SELECT count(*) FROM sqlite_schema)";

/// The columns of a record, in the order in which `read::record` takes them.
const RECORD: &str = "s.uid, s.key, s.previous_key, s.rotated, s.expires, s.ends, s.created, \
    s.last_used, s.cookie_lifetime, s.principal, s.note";

/// Statements of one environment. Numbers in the texts are the order of the arguments.
pub(super) struct Statements {
    pub(super) load: Statement,
    pub(super) by_uid: Statement,
    pub(super) by_key: Statement,
    pub(super) presented: Statement,
    pub(super) list: Statement,
    pub(super) item: Statement,
    pub(super) totals: Statement,
    pub(super) insert: Statement,
    pub(super) update: Statement,
    pub(super) taken: Statement,
    pub(super) set_item: Statement,
    pub(super) delete_item: Statement,
    pub(super) empty_application: Statement,
    pub(super) delete_by_uid: Statement,
    pub(super) delete_by_key: Statement,
    pub(super) delete_by_principal: Statement,
    pub(super) delete_expired: Statement,
    pub(super) survey: Statement,
    pub(super) version: Statement,
    /// In the order of creation.
    pub(super) structures: Vec<Structure>,
    /// In an order that no reference hinders.
    pub(super) drops: [Statement; 3],
}

impl Statements {
    pub(super) fn new(environment: &EnvironmentName) -> Self {
        let fill = |template: &str| Statement::new(template, environment, RECORD);
        Self {
            // Sizes are compared before a text is touched, so that a huge one is never read.
            load: fill(
                r#"SELECT {record}, CASE WHEN
                    (SELECT count(*) <= ?10
                        AND ifnull(sum(length(i.item_key) + octet_length(i.value)), 0) <= ?11
                        AND ifnull(max(octet_length(i.value)), 0) <= ?12
                    FROM "{env}_items" i WHERE i.uid = s.uid AND i.application = ?9)
                THEN
                    (SELECT json_group_array(json_array(CAST(i.item_key AS TEXT), i.value))
                    FROM "{env}_items" i WHERE i.uid = s.uid AND i.application = ?9)
                END
                FROM "{env}_sessions" s
                WHERE s.key IN (?1, ?2, ?3, ?4) OR s.previous_key IN (?1, ?2, ?3, ?4)
                    OR s.uid IN (?5, ?6, ?7, ?8)"#,
            ),
            by_uid: fill(r#"SELECT {record} FROM "{env}_sessions" s WHERE s.uid = ?1"#),
            by_key: fill(r#"SELECT {record} FROM "{env}_sessions" s WHERE s.key = ?1"#),
            presented: fill(
                r#"SELECT {record} FROM "{env}_sessions" s
                WHERE s.key = ?1 OR s.previous_key = ?1"#,
            ),
            list: fill(
                r#"SELECT {record} FROM "{env}_sessions" s
                WHERE s.principal = ?1 AND s.expires > ?2 ORDER BY s.created, s.uid"#,
            ),
            item: fill(
                r#"SELECT octet_length(value), CASE WHEN octet_length(value) <= ?4 THEN value END
                FROM "{env}_items" WHERE uid = ?1 AND application = ?2 AND item_key = ?3"#,
            ),
            totals: fill(
                r#"SELECT count(*), ifnull(sum(length(item_key) + octet_length(value)), 0),
                    ifnull(max(octet_length(value)), 0)
                FROM "{env}_items" WHERE uid = ?1 AND application = ?2"#,
            ),
            insert: fill(
                r#"INSERT INTO "{env}_sessions" (uid, key, previous_key, rotated, expires, ends,
                    created, last_used, cookie_lifetime, principal, note)
                SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 WHERE NOT EXISTS
                    (SELECT 1 FROM "{env}_sessions" WHERE key = ?2 OR previous_key = ?2)"#,
            ),
            update: fill(
                r#"UPDATE "{env}_sessions" SET key = ?2, previous_key = ?3, rotated = ?4,
                    expires = ?5, ends = ?6, created = ?7, last_used = ?8, cookie_lifetime = ?9,
                    principal = ?10, note = ?11
                WHERE uid = ?1"#,
            ),
            taken: fill(
                r#"SELECT 1 FROM "{env}_sessions" WHERE key = ?1 OR previous_key = ?1 LIMIT 1"#,
            ),
            set_item: fill(
                r#"INSERT INTO "{env}_items" (uid, application, item_key, value)
                VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (uid, application, item_key) DO UPDATE SET value = excluded.value"#,
            ),
            delete_item: fill(
                r#"DELETE FROM "{env}_items"
                WHERE uid = ?1 AND application = ?2 AND item_key = ?3"#,
            ),
            empty_application: fill(
                r#"DELETE FROM "{env}_items" WHERE uid = ?1 AND application = ?2"#,
            ),
            delete_by_uid: fill(r#"DELETE FROM "{env}_sessions" WHERE uid = ?1 RETURNING uid"#),
            delete_by_key: fill(r#"DELETE FROM "{env}_sessions" WHERE key = ?1 RETURNING uid"#),
            delete_by_principal: fill(
                r#"DELETE FROM "{env}_sessions"
                WHERE principal = ?1 AND uid IS NOT ?2 RETURNING uid"#,
            ),
            delete_expired: fill(
                r#"DELETE FROM "{env}_sessions" WHERE uid IN
                    (SELECT uid FROM "{env}_sessions" WHERE expires >= ?1 AND expires < ?2
                    ORDER BY expires LIMIT ?3)"#,
            ),
            survey: fill(
                r#"SELECT m.name, m.type, m.tbl_name, c.name, c.type, c.pk
                FROM sqlite_schema m LEFT JOIN pragma_table_info(m.name) c ON m.type = 'table'
                WHERE m.name IN ('{env}_sessions', '{env}_items', '{env}_version',
                    '{env}_sessions_expires', '{env}_sessions_principal')"#,
            ),
            version: fill(r#"SELECT version FROM "{env}_version""#),
            structures: structures(environment),
            drops: [
                fill(r#"DROP TABLE IF EXISTS "{env}_items""#),
                fill(r#"DROP TABLE IF EXISTS "{env}_sessions""#),
                fill(r#"DROP TABLE IF EXISTS "{env}_version""#),
            ],
        }
    }
}

const fn column(name: &'static str, of: &'static str, key: i64) -> Column {
    Column { name, of, key }
}

const SESSIONS: &[Column] = &[
    column("uid", "BLOB", 1),
    column("key", "BLOB", 0),
    column("previous_key", "BLOB", 0),
    column("rotated", "INTEGER", 0),
    column("expires", "INTEGER", 0),
    column("ends", "INTEGER", 0),
    column("created", "INTEGER", 0),
    column("last_used", "INTEGER", 0),
    column("cookie_lifetime", "INTEGER", 0),
    column("principal", "TEXT", 0),
    column("note", "TEXT", 0),
];

const ITEMS: &[Column] = &[
    column("uid", "BLOB", 1),
    column("application", "TEXT", 2),
    column("item_key", "BLOB", 3),
    column("value", "TEXT", 0),
];

const VERSION: &[Column] = &[column("version", "INTEGER", 0)];

/// The sessions lie in the order of their uids, which begin with the time of creation, so that new
/// ones are appended and no separate index of the uid is needed.
fn structures(environment: &EnvironmentName) -> Vec<Structure> {
    let structure = |suffix: &str, kind, create: &[&str]| Structure {
        name: format!("{environment}_{suffix}"),
        kind,
        create: create
            .iter()
            .map(|template| Statement::new(template, environment, RECORD))
            .collect(),
    };
    let version = format!(r#"INSERT INTO "{{env}}_version" VALUES ({SCHEMA_VERSION})"#);
    let sessions = || Kind::Index(format!("{environment}_sessions"));
    vec![
        structure(
            "sessions",
            Kind::Table(SESSIONS),
            &[r#"CREATE TABLE "{env}_sessions" (
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
            &[r#"CREATE TABLE "{env}_items" (
                uid BLOB NOT NULL REFERENCES "{env}_sessions" (uid) ON DELETE CASCADE,
                application TEXT NOT NULL,
                item_key BLOB NOT NULL,
                value TEXT NOT NULL,
                PRIMARY KEY (uid, application, item_key)
            ) STRICT, WITHOUT ROWID"#],
        ),
        structure(
            "version",
            Kind::Table(VERSION),
            &[r#"CREATE TABLE "{env}_version" (version INTEGER NOT NULL) STRICT"#, &version],
        ),
        structure(
            "sessions_expires",
            sessions(),
            &[r#"CREATE INDEX "{env}_sessions_expires" ON "{env}_sessions" (expires)"#],
        ),
        structure(
            "sessions_principal",
            sessions(),
            &[r#"CREATE INDEX "{env}_sessions_principal" ON "{env}_sessions" (principal)
                WHERE principal IS NOT NULL"#],
        ),
    ]
}
