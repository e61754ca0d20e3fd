//! What MySQL and MariaDB say in their own words: what both of them understand, but for blocks of statements.

use std::time::Duration;

use super::seconds;
use crate::driver::sql::{
    Dialect, EnvironmentName, EnvironmentStatements, Lists, OwnWords, SetUp, Statements, Template,
    Type, Types, block, undo_if,
};

const MYSQL: Dialect = Dialect {
    quote: '`',
    numbered: false,
    integer: "SIGNED",
    // It is kept as bytes, which are compared as they are, and not as a collation likes it.
    principal: "CONVERT(s.principal USING utf8mb4)",
    lock: " FOR UPDATE",
    skip_locked: " FOR UPDATE SKIP LOCKED",
    lists: Lists::Placeholders,
    dual: " FROM DUAL",
    or_replace: "ON DUPLICATE KEY UPDATE value = VALUES(value)",
};

/// `call_timeout` is how long a statement waits for a lock, and a change of the structures for another.
pub(super) fn statements(environment: &EnvironmentName, call_timeout: Duration) -> Statements {
    let lock_wait = seconds(call_timeout);
    let template = Template { dialect: &MYSQL, environment, schema: None };
    let fill = |text: &str| template.fill(text);
    let own = OwnWords {
        at_connect: Some(format!(
            "SET SESSION innodb_lock_wait_timeout = {lock_wait}, lock_wait_timeout = {lock_wait}"
        )),
        begin: BEGIN.to_owned(),
        set_up: Some(SetUp {
            // An error in MySQL, in MariaDB before 10.6.2, and where it takes Oracle's words.
            is_told: fill(&block(
                BEGIN,
                &format!("SELECT CAST(1 AS SIGNED); {}", undo_if("FOUND_ROWS() <> 1")),
            )),
            prepare: fill(&format!(
                "SET SESSION max_statement_time = {}",
                call_timeout.as_secs_f64()
            )),
            begin: fill(BEGIN),
        }),
        store_at_once: None,
        array_types: [""; 4],
        delete_expired: "DELETE FROM {sessions} WHERE expires >= ? AND expires < ?
            ORDER BY expires LIMIT ?",
        environment: EnvironmentStatements {
            survey: fill(
                "SELECT t.table_name, IF(t.engine = 'InnoDB', 'table', 'other'), t.table_name,
                    c.column_name,
                    CONCAT(c.data_type,
                        IF(c.data_type LIKE '%text' OR c.character_maximum_length IS NULL, '',
                            CONCAT('(', c.character_maximum_length, ')')),
                        IF(c.collation_name IS NULL, '', CONCAT(' ', c.collation_name))),
                    CAST(coalesce(k.ordinal_position, 0) AS SIGNED)
                FROM information_schema.tables t
                JOIN information_schema.columns c
                    ON c.table_schema = t.table_schema AND c.table_name = t.table_name
                LEFT JOIN information_schema.key_column_usage k
                    ON k.table_schema = t.table_schema AND k.table_name = t.table_name
                        AND k.constraint_name = 'PRIMARY' AND k.column_name = c.column_name
                WHERE t.table_schema = database()
                    AND t.table_name IN ('{env}_sessions', '{env}_items', '{env}_version')
                UNION ALL
                SELECT DISTINCT s.index_name, 'index', s.table_name, NULL, NULL, NULL
                FROM information_schema.statistics s
                WHERE s.table_schema = database() AND s.table_name = '{env}_sessions'
                    AND s.index_name IN ('{env}_sessions_expires', '{env}_sessions_principal')
                ORDER BY 1",
            ),
            structures: TYPES.structures(&template),
            // One statement, which the server carries through even if nobody waits for it.
            drops: vec![fill("DROP TABLE IF EXISTS {items}, {sessions}, {version}")],
            lock: Some(fill(&format!(
                "SELECT CAST(GET_LOCK('web-session {{env}}', {lock_wait}) AS SIGNED)"
            ))),
            unlock: Some(fill("SELECT RELEASE_LOCK('web-session {env}')")),
        },
    };
    Statements::new(&template, own)
}

const BEGIN: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION";

/// Collations that compare byte by byte still ignore spaces at the end, so what must not lies in bytes.
const TYPES: Types = Types {
    uid: Type("BINARY(16)", "binary(16)"),
    key: Type("BINARY(32)", "binary(32)"),
    number: Type("BIGINT", "bigint"),
    principal: Type("LONGBLOB", "longblob(4294967295)"),
    text: Type("LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "longtext utf8mb4_bin"),
    application: Type(
        "VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin",
        "varchar(255) ascii_bin",
    ),
    item_key: Type("VARBINARY(255)", "varbinary(255)"),
    table: " ENGINE = InnoDB",
    principal_index: "(principal(64))",
};
