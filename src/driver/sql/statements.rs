//! The SQL that all databases share. Arguments stand in the order of their `?`.

use super::{Statement, Structure, Template};

/// The statements of one environment.
pub(super) struct Statements {
    pub(super) begin: Statement,
    pub(super) commit: Statement,
    pub(super) rollback: Statement,
    pub(super) load: Statement,
    pub(super) by_uid: Statement,
    pub(super) by_key: Statement,
    pub(super) lock_by_uid: Statement,
    pub(super) lock_by_key: Statement,
    pub(super) lock_presented: Statement,
    pub(super) lock_named: Statement,
    pub(super) lock_principals: Statement,
    pub(super) lock_logins: Statement,
    pub(super) others: Statement,
    pub(super) list: Statement,
    pub(super) item: Statement,
    pub(super) totals: Statement,
    pub(super) insert: Statement,
    pub(super) update: Statement,
    pub(super) taken: Statement,
    pub(super) set_item: Statement,
    pub(super) delete_item: Statement,
    pub(super) empty_application: Statement,
    pub(super) delete: Statement,
    pub(super) delete_expired: Statement,
    pub(super) version: Statement,
    pub(super) environment: EnvironmentStatements,
}

/// What each database says in its own words about the structures.
pub(super) struct EnvironmentStatements {
    /// One row a column of a table, and one an index: name, kind, table, column, type, and place in
    /// the primary key.
    pub(super) survey: Statement,
    /// In the order of creation.
    pub(super) structures: Vec<Structure>,
    /// In an order that no reference hinders.
    pub(super) drops: Vec<Statement>,
    /// Waits until no other process changes the structures; answers 1 if that has come.
    pub(super) lock: Option<Statement>,
    /// Lets the next one, unless the end of the transaction does.
    pub(super) unlock: Option<Statement>,
}

/// The statements around a transaction, and the one whose form differs most.
pub(super) struct OwnWords {
    pub(super) begin: String,
    pub(super) delete_expired: &'static str,
    pub(super) environment: EnvironmentStatements,
}

impl Statements {
    pub(super) fn new(template: &Template<'_>, own: OwnWords) -> Self {
        let fill = |text: &str| template.fill(text);
        Self {
            begin: fill(&own.begin),
            commit: fill("COMMIT"),
            rollback: fill("ROLLBACK"),
            // One row an item. A text that is too long is not sent, only its length.
            load: fill(
                r#"SELECT {record}, i.item_key, CAST(octet_length(i.value) AS {integer}),
                    CASE WHEN octet_length(i.value) <= ? THEN i.value END
                FROM {sessions} s LEFT JOIN {items} i ON i.uid = s.uid AND i.application = ?
                WHERE s."key" IN (?, ?, ?, ?) OR s.previous_key IN (?, ?, ?, ?)
                    OR s.uid IN (?, ?, ?, ?)"#,
            ),
            by_uid: fill("SELECT {record} FROM {sessions} s WHERE s.uid = ?"),
            by_key: fill(r#"SELECT {record} FROM {sessions} s WHERE s."key" = ?"#),
            lock_by_uid: fill("SELECT {record} FROM {sessions} s WHERE s.uid = ?{lock}"),
            lock_by_key: fill(r#"SELECT {record} FROM {sessions} s WHERE s."key" = ?{lock}"#),
            lock_presented: fill(
                r#"SELECT {record} FROM {sessions} s
                WHERE s."key" = ? OR s.previous_key = ?{lock}"#,
            ),
            // In one order everywhere, so that two calls do not wait for each other.
            lock_named: fill(
                r#"SELECT s.uid FROM {sessions} s
                WHERE s."key" IN (?, ?, ?, ?) OR s.uid IN (?, ?, ?, ?) ORDER BY s.uid{lock}"#,
            ),
            lock_principals: fill(
                "SELECT {record} FROM {sessions} s WHERE s.principal = ? ORDER BY s.uid{lock}",
            ),
            // The one row of the environment stands for all logins whose number is limited.
            lock_logins: fill("SELECT s.version FROM {version} s{lock}"),
            others: fill(
                "SELECT CAST(count(*) AS {integer}) FROM {sessions} s
                WHERE s.principal = ? AND s.expires > ? AND s.uid <> ?",
            ),
            list: fill(
                "SELECT {record} FROM {sessions} s
                WHERE s.principal = ? AND s.expires > ? ORDER BY s.created, s.uid",
            ),
            item: fill(
                "SELECT CAST(octet_length(value) AS {integer}),
                    CASE WHEN octet_length(value) <= ? THEN value END
                FROM {items} WHERE uid = ? AND application = ? AND item_key = ?",
            ),
            totals: fill(
                "SELECT CAST(count(*) AS {integer}),
                    CAST(coalesce(sum(octet_length(item_key) + octet_length(value)), 0)
                        AS {integer}),
                    CAST(coalesce(max(octet_length(value)), 0) AS {integer})
                FROM {items} WHERE uid = ? AND application = ?",
            ),
            insert: fill(
                r#"INSERT INTO {sessions} (uid, "key", previous_key, rotated, expires, ends,
                    created, last_used, cookie_lifetime, principal, note)
                SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?{dual} WHERE NOT EXISTS
                    (SELECT 1 FROM {sessions} t WHERE t."key" = ? OR t.previous_key = ?)"#,
            ),
            update: fill(
                r#"UPDATE {sessions} SET "key" = ?, previous_key = ?, rotated = ?,
                    expires = ?, ends = ?, created = ?, last_used = ?, cookie_lifetime = ?,
                    principal = ?, note = ?
                WHERE uid = ?"#,
            ),
            taken: fill(
                r#"SELECT 1 FROM {sessions} s WHERE s."key" = ? OR s.previous_key = ? LIMIT 1"#,
            ),
            set_item: fill(
                "INSERT INTO {items} (uid, application, item_key, value)
                VALUES (?, ?, ?, ?) {or_replace}",
            ),
            delete_item: fill(
                "DELETE FROM {items} WHERE uid = ? AND application = ? AND item_key = ?",
            ),
            empty_application: fill("DELETE FROM {items} WHERE uid = ? AND application = ?"),
            delete: fill("DELETE FROM {sessions} WHERE uid = ?"),
            delete_expired: fill(own.delete_expired),
            version: fill("SELECT version FROM {version}"),
            environment: own.environment,
        }
    }
}

impl EnvironmentStatements {
    /// What makes all of the structures.
    pub(super) fn create_statements(&self) -> Vec<String> {
        let statements = self.structures.iter().flat_map(|structure| &structure.create);
        statements.map(|statement| statement.as_str().to_owned()).collect()
    }
}
