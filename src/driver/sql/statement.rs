//! Statement texts, filled once when a driver is made and shared by all calls.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::EnvironmentName;
use super::many::Lists;

/// The text of one statement. Sending it copies no text.
#[derive(Clone)]
pub(super) struct Statement(Arc<str>);

impl Statement {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl SqlSafeStr for &Statement {
    /// Safe: a text comes from a [`Template`], which is made of constants and quoted names.
    fn into_sql_str(self) -> SqlStr {
        AssertSqlSafe(self.0.clone()).into_sql_str()
    }
}

/// What differs between the databases in the statements that they share.
pub(super) struct Dialect {
    /// The character around names; templates write `"`.
    pub(super) quote: char,
    /// Whether placeholders are `$1`, `$2`, …; templates write `?`.
    pub(super) numbered: bool,
    /// The type to cast a number to that is read as an `i64`.
    pub(super) integer: &'static str,
    /// The column of the principal as a text.
    pub(super) principal: &'static str,
    /// What ends a `SELECT` that keeps others from changing the rows it finds.
    pub(super) lock: &'static str,
    /// What stands before the `WHERE` of a `SELECT` from no table.
    pub(super) dual: &'static str,
    /// Likewise, and leaves out the rows that others are changing at the moment.
    pub(super) skip_locked: &'static str,
    /// How it takes many rows.
    pub(super) lists: Lists,
    /// What ends an `INSERT` of an item that may exist.
    pub(super) or_replace: &'static str,
}

/// The columns of a record, in the order in which `rows::record` reads them and `record_values`
/// binds them.
const RECORD: &str = r#"s.uid, s."key", s.previous_key, s.rotated, s.expires, s.ends, s.created,
    s.last_used, s.cookie_lifetime, {principal}, s.note"#;

/// Fills templates for one environment in one database.
pub(super) struct Template<'a> {
    pub(super) dialect: &'a Dialect,
    pub(super) environment: &'a EnvironmentName,
    /// The schema of the tables, if it is named.
    pub(super) schema: Option<&'a str>,
}

impl Template<'_> {
    /// Fills in what stands in braces: `{sessions}`, `{items}` and `{version}` are the tables, `{env}`
    /// is the environment's name, `{record}` a list of columns, the rest of the [`Dialect`].
    pub(super) fn fill(&self, template: &str) -> Statement {
        let Dialect {
            quote,
            numbered,
            integer,
            principal,
            lock,
            skip_locked,
            dual,
            or_replace,
            ..
        } = self.dialect;
        let mut text = template
            .replace("{record}", RECORD)
            .replace("{integer}", integer)
            .replace("{principal}", principal)
            .replace("{lock}", lock)
            .replace("{skip_locked}", skip_locked)
            .replace("{dual}", dual)
            .replace("{or_replace}", or_replace)
            .replace('"', quote.encode_utf8(&mut [0; 4]));
        if *numbered {
            text = number(&text);
        }
        for table in ["sessions", "items", "version"] {
            text = text.replace(&format!("{{{table}}}"), &self.table(table));
        }
        Statement(text.replace("{env}", self.environment.as_str()).into())
    }

    /// The quoted name of a table.
    fn table(&self, suffix: &str) -> String {
        let quote = self.dialect.quote;
        let table = format!("{quote}{}_{suffix}{quote}", self.environment);
        match self.schema {
            Some(schema) => {
                let schema = schema.replace(quote, &format!("{quote}{quote}"));
                format!("{quote}{schema}{quote}.{table}")
            }
            None => table,
        }
    }
}

/// Turns each `?` into `$1`, `$2` and so on.
fn number(text: &str) -> String {
    let mut parts = text.split('?');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.zip(1..).fold(first, |text, (part, n)| format!("{text}${n}{part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: Dialect = Dialect {
        quote: '`',
        numbered: true,
        integer: "NUMBER",
        principal: "s.principal",
        lock: " LOCKED",
        skip_locked: " LOCKED OR LEFT OUT",
        lists: Lists::Placeholders,
        dual: " FROM nothing",
        or_replace: "OR REPLACE",
    };

    #[test]
    fn a_template_is_filled_and_its_names_are_quoted() {
        let environment = EnvironmentName::new("web").unwrap();
        let mut template = Template { dialect: &OTHER, environment: &environment, schema: None };
        let filled = template.fill(r#"SELECT "key", ? FROM {sessions} WHERE a = ?{lock}"#);
        assert_eq!(filled.as_str(), "SELECT `key`, $1 FROM `web_sessions` WHERE a = $2 LOCKED");
        template.schema = Some("a`?{env}");
        assert_eq!(template.table("items"), "`a``?{env}`.`web_items`");
    }
}
