//! What MySQL and MariaDB say in their own words: what both of them understand.

use crate::driver::sql::{
    Column, Dialect, EnvironmentName, EnvironmentStatements, INSERT_VERSION, Kind, OwnWords,
    Statements, Structure, Template,
};

const MYSQL: Dialect = Dialect {
    quote: '`',
    numbered: false,
    integer: "SIGNED",
    // It is kept as bytes, which are compared as they are, and not as a collation likes it.
    principal: "CONVERT(s.principal USING utf8mb4)",
    lock: " FOR UPDATE",
    dual: " FROM DUAL",
    or_replace: "ON DUPLICATE KEY UPDATE value = VALUES(value)",
};

/// `lock_wait` is how long a change of the structures waits for another, in seconds.
pub(super) fn statements(environment: &EnvironmentName, lock_wait: u64) -> Statements {
    let template = Template { dialect: &MYSQL, environment, schema: None };
    let fill = |text: &str| template.fill(text);
    let own = OwnWords {
        begin: "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION".to_owned(),
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
            structures: structures(&template),
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

const SESSIONS: &[Column] = &[
    Column::new("uid", "binary(16)", 1),
    Column::new("key", "binary(32)", 0),
    Column::new("previous_key", "binary(32)", 0),
    Column::new("rotated", "bigint", 0),
    Column::new("expires", "bigint", 0),
    Column::new("ends", "bigint", 0),
    Column::new("created", "bigint", 0),
    Column::new("last_used", "bigint", 0),
    Column::new("cookie_lifetime", "bigint", 0),
    Column::new("principal", "longblob(4294967295)", 0),
    Column::new("note", "longtext utf8mb4_bin", 0),
];

const ITEMS: &[Column] = &[
    Column::new("uid", "binary(16)", 1),
    Column::new("application", "varchar(255) ascii_bin", 2),
    Column::new("item_key", "varbinary(255)", 3),
    Column::new("value", "longtext utf8mb4_bin", 0),
];

const VERSION: &[Column] = &[Column::new("version", "bigint", 0)];

/// Each statement is committed by itself, so one that is run a second time does no harm.
fn structures(template: &Template<'_>) -> Vec<Structure> {
    let structure = |suffix, kind, create: &[&str]| Structure::new(template, suffix, kind, create);
    let sessions = || Kind::Index(format!("{}_sessions", template.environment));
    vec![
        structure(
            "sessions",
            Kind::Table(SESSIONS),
            &[r#"CREATE TABLE IF NOT EXISTS {sessions} (
                uid BINARY(16) NOT NULL PRIMARY KEY,
                "key" BINARY(32) NOT NULL UNIQUE,
                previous_key BINARY(32) UNIQUE,
                rotated BIGINT,
                expires BIGINT NOT NULL,
                ends BIGINT NOT NULL,
                created BIGINT NOT NULL,
                last_used BIGINT NOT NULL,
                cookie_lifetime BIGINT,
                principal LONGBLOB,
                note LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
            ) ENGINE = InnoDB"#],
        ),
        structure(
            "items",
            Kind::Table(ITEMS),
            &[r#"CREATE TABLE IF NOT EXISTS {items} (
                uid BINARY(16) NOT NULL,
                application VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
                item_key VARBINARY(255) NOT NULL,
                value LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
                PRIMARY KEY (uid, application, item_key),
                FOREIGN KEY (uid) REFERENCES {sessions} (uid) ON DELETE CASCADE
            ) ENGINE = InnoDB"#],
        ),
        structure(
            "version",
            Kind::Table(VERSION),
            &[
                "CREATE TABLE IF NOT EXISTS {version} (version BIGINT NOT NULL) ENGINE = InnoDB",
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
            &[r#"CREATE INDEX "{env}_sessions_principal" ON {sessions} (principal(64))"#],
        ),
    ]
}
