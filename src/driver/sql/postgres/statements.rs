//! What PostgreSQL says in its own words.

use std::time::Duration;

use uuid::Uuid;

use crate::driver::sql::{
    COLUMNS, Dialect, EnvironmentName, EnvironmentStatements, Lists, OwnWords, SetUp, Statements,
    Template, Type, Types,
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
    let settings = settings(call_timeout);
    let each = |form: fn(&str, &str) -> String| -> Vec<String> {
        settings.iter().map(|(name, value)| form(name, value)).collect()
    };
    let set_local = each(|name, value| format!("SET LOCAL {name} = '{value}'")).join("; ");
    let pairs = each(|name, value| format!("('{name}', '{value}')"));
    let (number, pairs) = (pairs.len(), pairs.join(", "));
    // A schema's name is compared as a text, so it is quoted as one.
    let in_schema = match schema {
        Some(schema) => format!("n.nspname = '{}'", schema.replace('\'', "''")),
        None => "pg_table_is_visible(c.oid)".to_owned(),
    };
    // Without a name that nobody else has, writes are transactions of several statements.
    let store = unique_name().ok();
    let set_up = |store: &String| SetUp {
        prepare: fill(&store_function(store)),
        is_done: fill(&format!(
            "SELECT 1::bigint FROM pg_settings WHERE (name, setting) IN ({pairs})
            HAVING count(*) = {number} AND to_regproc('{store}') IS NOT NULL"
        )),
        begin: fill(BEGIN),
    };
    let own = OwnWords {
        // `SET LOCAL` ends with the transaction, so nothing of it stays behind in a pooler. Sessions and items are
        // found by an index: a plan that was made while the tables were small must not walk over large ones. The
        // table of the version has one row and is walked over; that looks so expensive then that it would be
        // compiled.
        begin: format!("{BEGIN}; {set_local}"),
        set_up: store.as_ref().map(set_up),
        store_at_once: store
            .map(|store| format!("SELECT {COLUMNS} FROM {store}(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")),
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

/// A function of one connection. No other driver has one of its name: with a pooler the next connection may be that of
/// another.
fn unique_name() -> Result<String, getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    Ok(format!("pg_temp.web_session_store_{}", Uuid::from_bytes(random).simple()))
}

/// Makes the function that stores items in one trip. Each of its statements sees what was committed before it: when the
/// sessions are locked, what they hold is what is checked. One statement would have seen it before it locked them.
fn store_function(name: &str) -> String {
    format!(
        r#"CREATE OR REPLACE FUNCTION {name}(
            sessions uuid[], uids uuid[], applications text[], item_keys bytea[], texts text[],
            live_after bigint, of_application text, grown uuid[],
            most_items bigint, most_bytes bigint, longest bigint)
        RETURNS TABLE (uid uuid, "key" bytea, previous_key bytea, rotated bigint, expires bigint, ends bigint,
            created bigint, last_used bigint, cookie_lifetime bigint, principal text, note text)
        LANGUAGE plpgsql AS $$
        #variable_conflict use_column
        DECLARE
            live uuid[];
            all_live boolean;
            exceeding uuid[];
        BEGIN
            -- In these words the index of `expires` does not serve, in which a small table would be walked over.
            live := ARRAY(SELECT s.uid FROM {{sessions}} s WHERE s.uid = ANY(sessions)
                AND (s.expires > live_after) IS TRUE
                AND octet_length(s."key") = 32 AND coalesce(octet_length(s.previous_key), 32) = 32
                {{skip_locked}});
            all_live := cardinality(live) = cardinality(sessions);
            INSERT INTO {{items}} (uid, application, item_key, value)
                SELECT * FROM unnest(uids, applications, item_keys, texts) n (uid, application, item_key, value)
                WHERE all_live OR n.uid = ANY(live)
                {{or_replace}};
            exceeding := ARRAY(SELECT i.uid FROM {{items}} i WHERE i.application = of_application AND i.uid = ANY(grown)
                GROUP BY i.uid HAVING count(*) > most_items
                    OR sum(octet_length(i.item_key) + octet_length(i.value)) > most_bytes
                    OR max(octet_length(i.value)) > longest);
            IF cardinality(exceeding) > 0 THEN
                RAISE EXCEPTION 'a session would hold more than it may';
            END IF;
            RETURN QUERY SELECT {{record}} FROM {{sessions}} s WHERE s.uid = ANY(live);
        END $$"#
    )
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// What a connection that only writes has from its start; `begin` sets the same for one transaction.
pub(super) fn settings(call_timeout: Duration) -> [(&'static str, String); 6] {
    let millis = call_timeout.as_millis().clamp(1, i32::MAX as u128).to_string();
    [
        ("default_transaction_isolation", "read committed".to_owned()),
        ("statement_timeout", millis.clone()),
        ("idle_in_transaction_session_timeout", millis),
        ("enable_seqscan", "off".to_owned()),
        ("jit", "off".to_owned()),
        (PLANS.0, PLANS.1.to_owned()),
    ]
}

/// One plan does for all arguments of a statement, which are keys: none is made anew for some of them.
pub(super) const PLANS: (&str, &str) = ("plan_cache_mode", "force_generic_plan");

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
