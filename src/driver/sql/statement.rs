//! Statement texts, filled once when a driver is made and shared by all calls.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::EnvironmentName;

/// The text of one statement. Sending it copies no text.
#[derive(Clone)]
pub(super) struct Statement(Arc<str>);

impl Statement {
    /// Puts the environment's name in the place of each `{env}`, and `record`, a list of columns,
    /// in the place of each `{record}`.
    pub(super) fn new(template: &str, environment: &EnvironmentName, record: &str) -> Self {
        let text = template.replace("{record}", record).replace("{env}", environment.as_str());
        Self(text.into())
    }
}

impl SqlSafeStr for &Statement {
    /// Safe: the templates are constants, and a name has nothing but `a-z 0-9 _`.
    fn into_sql_str(self) -> SqlStr {
        AssertSqlSafe(self.0.clone()).into_sql_str()
    }
}
