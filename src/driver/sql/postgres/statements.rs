//! What PostgreSQL says in its own words.

use std::time::Duration;

use uuid::Uuid;

use crate::driver::sql::{
    COLUMNS, Dialect, EnvironmentName, EnvironmentStatements, Lists, OwnWords, SetUp, Statements,
    Template, Type, Types, UNDONE, exceeds,
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
    let set_local = settings.iter().map(|(name, value)| format!("SET LOCAL {name} = '{value}'"));
    let set_local = set_local.collect::<Vec<_>>().join("; ");
    let told = settings.iter().map(|(name, value)| (*name, value.as_str())).chain([ISOLATION]);
    let told: Vec<_> = told.map(|(name, value)| format!("('{name}', '{value}')")).collect();
    let (number, told) = (told.len(), told.join(", "));
    // A schema's name is compared as a text, so it is quoted as one.
    let in_schema = match schema {
        Some(schema) => format!("n.nspname = '{}'", schema.replace('\'', "''")),
        None => "pg_table_is_visible(c.oid)".to_owned(),
    };
    // Without a name that nobody else has, writes are transactions of several statements.
    let store = unique_name().ok();
    let set_up = |store: &String| SetUp {
        is_told: fill(&format!(
            "SELECT 1::bigint FROM pg_settings WHERE (name, setting) IN ({told})
            HAVING count(*) = {number}"
        )),
        prepare: fill(&store_functions(store)),
        begin: fill(BEGIN),
    };
    let own = OwnWords {
        at_connect: None,
        // `SET LOCAL` ends with the transaction, so nothing of it stays behind in a pooler. Sessions and items are
        // found by an index: a plan that was made while the tables were small must not walk over large ones. The
        // table of the version has one row and is walked over; that looks so expensive then that it would be
        // compiled.
        begin: format!("{BEGIN}; {set_local}"),
        set_up: store.as_ref().map(set_up),
        store_at_once: store.map(|store| {
            [store.clone(), in_each_of(&store)].map(|function| {
                format!("SELECT {COLUMNS} FROM pg_temp.{function}(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            })
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

/// A function of one connection. No other driver has one of its name: with a pooler the next connection may be that of
/// another.
fn unique_name() -> Result<String, getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    Ok(format!("web_session_store_{}", Uuid::from_bytes(random).simple()))
}

/// Makes the functions that store items in one trip. Each of their statements sees what was committed before it: when
/// the sessions are locked, what they hold is what is checked. One statement would have seen it before it locked them.
fn store_functions(name: &str) -> String {
    let exceeds = exceeds(["p_items", "p_bytes", "p_longest"]);
    // In these words the index of `expires` does not serve, in which a small table would be walked over.
    let locked = r#"FROM {sessions} s WHERE s.uid = ANY(p_sessions)
        AND (s.expires > p_live_after) IS TRUE
        AND octet_length(s."key") = 32 AND coalesce(octet_length(s.previous_key), 32) = 32
        {skip_locked}"#;
    let function = |name: &str, body: &str| {
        format!(
            r#"CREATE FUNCTION pg_temp.{name}(
                p_sessions uuid[], p_uids uuid[], p_applications text[], p_keys bytea[], p_values text[],
                p_live_after bigint, p_application text, p_items bigint, p_bytes bigint, p_longest bigint)
            RETURNS TABLE (uid uuid, "key" bytea, previous_key bytea, rotated bigint, expires bigint, ends bigint,
                created bigint, last_used bigint, cookie_lifetime bigint, principal text, note text)
            LANGUAGE plpgsql AS ${name}$
            #variable_conflict use_column
            {body}
            ${name}$"#
        )
    };
    // In all of the sessions. If one is not live, or is locked by others, nothing is stored, and the last row that is
    // answered is empty; if one holds more than it may then, the error that is raised undoes it.
    let in_all = format!(
        "DECLARE
            p_live bigint;
        BEGIN
            RETURN QUERY SELECT {{record}} {locked};
            GET DIAGNOSTICS p_live = ROW_COUNT;
            IF p_live <> cardinality(p_sessions) THEN
                RETURN NEXT;
                RETURN;
            END IF;
            INSERT INTO {{items}} (uid, application, item_key, value)
                SELECT * FROM unnest(p_uids, p_applications, p_keys, p_values)
                {{or_replace}};
            IF EXISTS (SELECT 1 FROM {{items}} WHERE application = p_application AND uid = ANY(p_sessions)
                GROUP BY uid HAVING {exceeds})
            THEN
                RAISE EXCEPTION 'a session would hold more than it may' USING ERRCODE = '{UNDONE}';
            END IF;
        END"
    );
    // In those where it can be done, which takes longer: in none that is not live, is locked by others or would hold
    // more than it may.
    let in_each = format!(
        "DECLARE
            p_stored uuid[];
            p_exceeding uuid[];
        BEGIN
            p_stored := ARRAY(SELECT s.uid {locked});
            p_exceeding := ARRAY(SELECT uid FROM (
                    SELECT i.uid, i.item_key, i.value FROM {{items}} i
                    WHERE i.application = p_application AND i.uid = ANY(p_stored)
                        AND (i.uid, i.item_key) NOT IN (SELECT * FROM unnest(p_uids, p_keys))
                    UNION ALL SELECT * FROM unnest(p_uids, p_keys, p_values)
                ) held (uid, item_key, value) GROUP BY uid HAVING {exceeds});
            p_stored := ARRAY(SELECT unnest(p_stored) EXCEPT SELECT unnest(p_exceeding));
            INSERT INTO {{items}} (uid, application, item_key, value)
                SELECT * FROM unnest(p_uids, p_applications, p_keys, p_values) n (uid, application, item_key, value)
                WHERE n.uid = ANY(p_stored)
                {{or_replace}};
            RETURN QUERY SELECT {{record}} FROM {{sessions}} s WHERE s.uid = ANY(p_stored);
        END"
    );
    [function(name, &in_all), function(&in_each_of(name), &in_each)].join(";\n")
}

/// The name of the function that stores in each session where it can.
fn in_each_of(name: &str) -> String {
    format!("{name}_in_each")
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// [`BEGIN`] for a statement without it.
pub(super) const ISOLATION: (&str, &str) = ("default_transaction_isolation", "read committed");

/// What a connection that only writes has from its start; `begin` sets the same for one transaction.
pub(super) fn settings(call_timeout: Duration) -> [(&'static str, String); 5] {
    let millis = millis(call_timeout);
    [
        ("statement_timeout", millis.clone()),
        ("idle_in_transaction_session_timeout", millis),
        ("enable_seqscan", "off".to_owned()),
        ("jit", "off".to_owned()),
        (PLANS.0, PLANS.1.to_owned()),
    ]
}

/// A time as the server counts it.
pub(super) fn millis(time: Duration) -> String {
    time.as_millis().clamp(1, i32::MAX as u128).to_string()
}

/// One plan does for all arguments of a statement: what is looked for is found by an index, whatever it is.
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
