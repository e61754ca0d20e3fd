//! The SQL that all databases share. Arguments stand in the order of their `?`.

use super::many::Column;
use super::{Form, Lists, Many, Statement, Structure, Template, WholeTransactions};

/// The columns of a session, in the order in which they are bound.
pub(super) const COLUMNS: &str = r#"uid, "key", previous_key, rotated, expires, ends, created, last_used,
    cookie_lifetime, principal, note"#;

/// The statements of one environment.
pub(super) struct Statements {
    /// What a connection of the driver's own pool is told first.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        allow(dead_code, reason = "a file has no such settings")
    )]
    pub(super) at_connect: Option<Statement>,
    pub(super) begin: Statement,
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        allow(dead_code, reason = "a file has no such settings")
    )]
    pub(super) set_up: Option<SetUp>,
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
    pub(super) load_by_keys: Many,
    pub(super) load_many: Many,
    pub(super) lock_by_uids: Many,
    pub(super) lock_many: Many,
    pub(super) items_named: Many,
    pub(super) insert_many: Many,
    /// Finds sessions by the keys that they had before, where `insert_many` does not look for them itself.
    pub(super) retired: Option<Many>,
    pub(super) empty_many: Many,
    pub(super) delete_items: Many,
    pub(super) set_items: Many,
    /// `set_items` and `exceeding` at once, for the items of one application.
    pub(super) set_and_check: Option<Many>,
    pub(super) exceeding: Many,
    /// Where a transaction can be one trip to the database.
    pub(super) whole: Option<WholeTransactions>,
    pub(super) version: Statement,
    pub(super) environment: EnvironmentStatements,
}

/// What a connection that only writes has from its start, so that a whole transaction can be one trip.
#[cfg_attr(
    not(any(feature = "postgres", feature = "mysql")),
    allow(dead_code, reason = "a file has no such settings")
)]
#[derive(Clone)]
pub(super) struct SetUp {
    /// Answers 1 if the server can have it, and was told so.
    pub(super) is_told: Statement,
    /// Makes what lasts as long as the connection.
    pub(super) prepare: Statement,
    /// Begins a transaction that sets nothing of that.
    pub(super) begin: Statement,
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

/// The statements around a transaction, and those whose form differs most.
pub(super) struct OwnWords {
    pub(super) at_connect: Option<String>,
    pub(super) begin: String,
    pub(super) set_up: Option<SetUp>,
    /// Stores items of one application in sessions that are live, and answers their records, where that is one
    /// statement: in all of them, or nothing, which is said by an empty row or the error [`UNDONE`]; and in those where
    /// it can be done. Their arguments: the sessions, the columns of the items, the time after which a session ends,
    /// the application, and the limits.
    pub(super) store_at_once: Option<[String; 2]>,
    pub(super) delete_expired: &'static str,
    /// How types are called where rows come as arrays: of a uid, a key, a number and a text.
    pub(super) array_types: [&'static str; 4],
    pub(super) environment: EnvironmentStatements,
}

impl Statements {
    pub(super) fn new(template: &Template<'_>, own: OwnWords) -> Self {
        let fill = |text: &str| template.fill(text);
        let many = |text: &str| Many::new(template, text, &[]);
        let select = |columns: &[Column], text: &str| Many::select(template, columns, text);
        let lists = template.dialect.lists;
        let [uid, key, number, text] = own.array_types;
        let record_and_item =
            [&Column::RECORD[..], &[Column::Bytes, Column::Number, Column::Text]].concat();
        let load = |which: &str| {
            let text = format!(
                "SELECT {{record}}, i.item_key, CAST(octet_length(i.value) AS {{integer}}),
                    CASE WHEN octet_length(i.value) <= ? THEN i.value END
                FROM {{sessions}} s LEFT JOIN {{items}} i ON i.uid = s.uid AND i.application = ?
                WHERE {which}"
            );
            select(&record_and_item, &text)
        };
        // While a table is small PostgreSQL walks over it, and there an array is compared with row after row.
        let by_keys = match lists {
            Lists::Arrays => format!(r#"s."key" IN (SELECT unnest(?::{key}[]))"#),
            Lists::Placeholders | Lists::Packed => r#"s."key" {in}"#.to_owned(),
        };
        let record_types =
            [uid, key, key, number, number, number, number, number, number, text, text];
        let inserts_select = lists != Lists::Placeholders;
        let insert = if inserts_select {
            format!(
                r#"INSERT INTO {{sessions}} ({COLUMNS}) WITH n ({COLUMNS}) AS ({{rows}})
                SELECT * FROM n WHERE (SELECT 1 FROM {{sessions}} t
                    WHERE t.previous_key = n."key" LIMIT 1) IS NULL"#
            )
        } else {
            format!("INSERT INTO {{sessions}} ({COLUMNS}) {{rows}}")
        };
        // A key that another session had before is made none, which no table takes.
        let new_record = r#"uid, CASE WHEN (SELECT 1 FROM {sessions} t
            WHERE t.previous_key = n."key" LIMIT 1) IS NULL THEN "key" END,
            previous_key, rotated, expires, ends, created, last_used, cookie_lifetime, principal, note"#;
        let create_at_once = format!(
            "WITH made AS (INSERT INTO {{sessions}} ({COLUMNS})
                SELECT {new_record} FROM ({{rows}}) n ({COLUMNS}))
            INSERT INTO {{items}} (uid, application, item_key, value) {{rows}}"
        );
        let item_types = [uid, text, key, text];
        let set_items =
            "INSERT INTO {items} (uid, application, item_key, value) {rows} {or_replace}";
        let exceeds = exceeds(["?"; 3]);
        let exceeding = format!(
            "SELECT 1 FROM {{items}} WHERE application = ? AND uid {{in}} GROUP BY uid HAVING {exceeds}"
        );
        let set_and_check = format!(
            "WITH written AS (
                INSERT INTO {{items}} (uid, application, item_key, value) {{rows}} {{or_replace}}
                RETURNING uid, item_key, value),
            kept AS (SELECT i.uid, i.item_key, i.value FROM {{items}} i
                WHERE i.application = ? AND i.uid {{in}}
                    AND (i.uid, i.item_key) NOT IN (SELECT uid, item_key FROM written))
            SELECT 1::bigint FROM (SELECT * FROM written UNION ALL SELECT * FROM kept) items
            GROUP BY uid HAVING {exceeds}"
        );
        let lock_by_uids = "SELECT {record} FROM {sessions} s WHERE s.uid {in}{skip_locked}";
        let in_one_text = || {
            let begin = &own.begin;
            let records = Many::packed(
                &Column::RECORD,
                "SELECT {record} FROM {sessions} s WHERE s.uid {in_rows}",
            );
            // One statement is a transaction, and each more costs. A session that is not live, or would hold too much, is
            // made none, which no table takes. That a record cannot be read is found out later, so nothing is stored where
            // that can be seen here.
            let store = format!(
                r#"INSERT INTO {{items}} (uid, application, item_key, value)
                    WITH n (uid, item_key, value) AS ({{rows}})
                    SELECT CASE WHEN EXISTS (SELECT 1 FROM {{sessions}} s
                            WHERE s.uid = n.uid AND s.expires > ? AND length(s."key") = 32
                                AND coalesce(length(s.previous_key), 32) = 32)
                        AND NOT EXISTS (SELECT count(*) FROM {{items}} i
                            WHERE i.uid = n.uid AND i.application = ? AND i.item_key <> n.item_key
                            HAVING {exceeds})
                        THEN uid END, ?, item_key, value
                    FROM n WHERE TRUE {{or_replace}};
                {records}"#
            );
            // A list that is filled up has one row several times.
            let create = format!(
                "{begin}; INSERT INTO {{sessions}} ({COLUMNS}) WITH n ({COLUMNS}) AS ({{rows}})
                SELECT DISTINCT {new_record} FROM n;
                {set_items}; COMMIT"
            );
            WholeTransactions {
                store: Many::new(template, &store, &[uid, key, text]),
                store_in_each: None,
                create: Many::with(template, &create, &[&record_types, &item_types]),
                form: Form::Text,
            }
        };
        let retired = "SELECT 1 FROM {sessions} s WHERE s.previous_key {in}";
        let in_one_block = || {
            let some_are_not_live = undo_if("FOUND_ROWS() <> ?");
            let some_exceed = undo_if(&format!("EXISTS ({exceeding})"));
            // Rows that are filled up are one row several times: it is inserted once, and there is a warning for each
            // other time, and no other warning.
            let some_are_not_new =
                undo_if("ROW_COUNT() <> ? OR ROW_COUNT() + @@warning_count <> {size}");
            let some_were_retired = undo_if(&format!("EXISTS ({retired})"));
            let store = format!(
                "SELECT {{record}} FROM {{sessions}} s
                    WHERE s.uid {{in}} AND s.expires > ?{{skip_locked}};
                {some_are_not_live}; {set_items}; {some_exceed}"
            );
            let create = format!(
                "INSERT IGNORE INTO {{sessions}} ({COLUMNS}) {{rows}};
                {some_are_not_new}; {some_were_retired}; {set_items}"
            );
            let [store, create] = [store, create].map(|statements| block(&own.begin, &statements));
            WholeTransactions {
                store: Many::new(template, &store, &item_types),
                store_in_each: None,
                create: Many::with(template, &create, &[&record_types, &item_types]),
                form: Form::Block,
            }
        };
        let in_one_statement = |[store, in_each]: &[String; 2]| WholeTransactions {
            store: many(store),
            store_in_each: Some(many(in_each)),
            create: Many::with(template, &create_at_once, &[&record_types, &item_types]),
            form: Form::Statement,
        };
        Self {
            whole: match lists {
                Lists::Arrays => own.store_at_once.as_ref().map(in_one_statement),
                Lists::Packed => Some(in_one_text()),
                Lists::Placeholders => Some(in_one_block()),
            },
            load_by_keys: load(&by_keys),
            load_many: load("s.previous_key {in} OR s.uid {in}"),
            lock_by_uids: select(&Column::RECORD, lock_by_uids),
            lock_many: select(
                &Column::RECORD,
                r#"SELECT {record} FROM {sessions} s
                WHERE s.uid {in} OR s."key" {in} OR s.previous_key {in}{skip_locked}"#,
            ),
            items_named: select(
                &[Column::Fixed, Column::Number, Column::Text],
                "SELECT uid, CAST(octet_length(value) AS {integer}),
                    CASE WHEN octet_length(value) <= ? THEN value END
                FROM {items} WHERE application = ? AND item_key = ? AND uid {in}",
            ),
            insert_many: Many::new(template, &insert, &record_types),
            retired: (!inserts_select).then(|| select(&[Column::Number], retired)),
            empty_many: many("DELETE FROM {items} WHERE application = ? AND uid {in}"),
            delete_items: many(
                "DELETE FROM {items} WHERE application = ? AND item_key = ? AND uid {in}",
            ),
            set_items: Many::new(template, set_items, &item_types),
            set_and_check: match lists {
                Lists::Arrays => Some(Many::new(template, &set_and_check, &item_types)),
                // Two statements in one text.
                Lists::Packed => {
                    let check = Many::packed(&[Column::Number], &exceeding);
                    Some(Many::new(template, &format!("{set_items}; {check}"), &item_types))
                }
                Lists::Placeholders => None,
            },
            exceeding: select(&[Column::Number], &exceeding),
            at_connect: own.at_connect.as_deref().map(fill),
            begin: fill(&own.begin),
            set_up: own.set_up,
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
            insert: fill(&format!(
                r#"INSERT INTO {{sessions}} ({COLUMNS})
                SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?{{dual}} WHERE NOT EXISTS
                    (SELECT 1 FROM {{sessions}} t WHERE t."key" = ? OR t.previous_key = ?)"#
            )),
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

/// A transaction that is one statement, in the words of MariaDB. An error undoes what it has done.
pub(super) fn block(begin: &str, statements: &str) -> String {
    format!(
        "BEGIN NOT ATOMIC
        DECLARE wrong BOOLEAN;
        DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
        {begin}; {statements}; COMMIT; END"
    )
}

/// Undoes a block if something is wrong, which is asked by a `SELECT`: nothing else reads without locks.
pub(super) fn undo_if(wrong: &str) -> String {
    format!("SELECT {wrong} INTO wrong; IF wrong THEN SIGNAL SQLSTATE '{UNDONE}'; END IF")
}

/// The SQLSTATE with which a block, or a function, says that it has undone itself: that of conditions which users
/// define.
pub(super) const UNDONE: &str = "45000";

/// Whether the items of a session are more than these: their number, the bytes of all, the bytes of the longest value.
pub(super) fn exceeds([items, bytes, longest]: [&str; 3]) -> String {
    format!(
        "count(*) > {items} OR sum(octet_length(item_key) + octet_length(value)) > {bytes}
            OR max(octet_length(value)) > {longest}"
    )
}

impl EnvironmentStatements {
    /// What makes all of the structures.
    pub(super) fn create_statements(&self) -> Vec<String> {
        let statements = self.structures.iter().flat_map(|structure| &structure.create);
        statements.map(|statement| statement.as_str().to_owned()).collect()
    }
}
