//! The tables and indexes, in the types of each database.

use super::{Column, INSERT_VERSION, Kind, Structure, Template};

/// A type: as a statement names it, and as the database reports it.
#[derive(Clone, Copy)]
pub(super) struct Type(pub(super) &'static str, pub(super) &'static str);

/// How a database calls what the columns hold.
pub(super) struct Types {
    /// 16 bytes, or a type for them.
    pub(super) uid: Type,
    /// 32 bytes.
    pub(super) key: Type,
    /// 64 bits with a sign.
    pub(super) number: Type,
    /// A text of any length, compared byte by byte.
    pub(super) principal: Type,
    /// A text of any length.
    pub(super) text: Type,
    /// 1 to 255 characters of ASCII, compared byte by byte.
    pub(super) application: Type,
    /// 1 to 255 bytes.
    pub(super) item_key: Type,
    /// What ends the statement of a table.
    pub(super) table: &'static str,
    /// What an index of the principal is on.
    pub(super) principal_index: &'static str,
}

impl Types {
    /// All structures, in the order of their creation. Each statement may be run a second time, for
    /// databases that cannot undo it.
    pub(super) fn structures(&self, template: &Template<'_>) -> Vec<Structure> {
        let Self { uid, key, number, principal, text, application, item_key, .. } = *self;
        let sessions = vec![
            Column::new("uid", uid.1, Some(1)),
            Column::new("key", key.1, Some(0)),
            Column::new("previous_key", key.1, Some(0)),
            Column::new("rotated", number.1, Some(0)),
            Column::new("expires", number.1, Some(0)),
            Column::new("ends", number.1, Some(0)),
            Column::new("created", number.1, Some(0)),
            Column::new("last_used", number.1, Some(0)),
            Column::new("cookie_lifetime", number.1, Some(0)),
            Column::new("principal", principal.1, Some(0)),
            Column::new("note", text.1, Some(0)),
        ];
        let items = vec![
            Column::new("uid", uid.1, Some(1)),
            Column::new("application", application.1, Some(2)),
            Column::new("item_key", item_key.1, Some(3)),
            Column::new("value", text.1, Some(0)),
        ];
        // Earlier ones have no primary key, and hold the same.
        let version = vec![Column::new("version", number.1, None)];
        let (uid, key, number, principal) = (uid.0, key.0, number.0, principal.0);
        let (text, application, item_key) = (text.0, application.0, item_key.0);
        let table = self.table;
        let index_of = || Kind::Index(format!("{}_sessions", template.environment));
        let structure =
            |suffix, kind, create: &[&str]| Structure::new(template, suffix, kind, create);
        vec![
            structure(
                "sessions",
                Kind::Table(sessions),
                &[&format!(
                    r#"CREATE TABLE IF NOT EXISTS {{sessions}} (
                        uid {uid} NOT NULL PRIMARY KEY,
                        "key" {key} NOT NULL UNIQUE,
                        previous_key {key} UNIQUE,
                        rotated {number},
                        expires {number} NOT NULL,
                        ends {number} NOT NULL,
                        created {number} NOT NULL,
                        last_used {number} NOT NULL,
                        cookie_lifetime {number},
                        principal {principal},
                        note {text}
                    ){table}"#
                )],
            ),
            structure(
                "items",
                Kind::Table(items),
                &[&format!(
                    "CREATE TABLE IF NOT EXISTS {{items}} (
                        uid {uid} NOT NULL,
                        application {application} NOT NULL,
                        item_key {item_key} NOT NULL,
                        value {text} NOT NULL,
                        PRIMARY KEY (uid, application, item_key),
                        FOREIGN KEY (uid) REFERENCES {{sessions}} (uid) ON DELETE CASCADE
                    ){table}"
                )],
            ),
            structure(
                "version",
                Kind::Table(version),
                &[
                    &format!(
                        "CREATE TABLE IF NOT EXISTS {{version}} \
                        (version {number} NOT NULL PRIMARY KEY){table}"
                    ),
                    INSERT_VERSION,
                ],
            ),
            structure(
                "sessions_expires",
                index_of(),
                &[r#"CREATE INDEX "{env}_sessions_expires" ON {sessions} (expires)"#],
            ),
            structure(
                "sessions_principal",
                index_of(),
                &[&format!(
                    r#"CREATE INDEX "{{env}}_sessions_principal" ON {{sessions}} {}"#,
                    self.principal_index
                )],
            ),
        ]
    }
}
