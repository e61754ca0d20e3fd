//! Settings of a driver.

use std::sync::Arc;
use std::time::Duration;

use sqlx::MySqlPool;

use super::statements::statements;
use super::{MySql, MySqlDriver};
use crate::driver::DriverError;
use crate::driver::sql::{EnvironmentName, Settings, Source, Statements, url};

/// Settings of a [`MySqlDriver`]; see [`MySqlDriver::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing is opened before `connect` is awaited"]
pub struct MySqlDriverBuilder {
    settings: Settings<MySql>,
}

impl MySqlDriverBuilder {
    pub(super) fn new(source: Source<MySqlPool>) -> Self {
        Self { settings: Settings::new(source) }
    }

    /// The name of the environment, which prefixes its tables: 1 to 32 characters from
    /// `a-z 0-9 _`, of which the first is a letter. Default: `web_session`.
    ///
    /// Environments of different names share a database and know nothing of each other.
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.settings.environment = name.into();
        self
    }

    /// How many connections there are at most, at least one, opened when they are needed. Default: 10. Of three one
    /// is kept for writes, of four or more two, if those can be one trip (see [`MySqlDriver`]). A pool of the
    /// application's keeps its own number.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// How long a call may take, from asking for a connection to the last answer, before it fails
    /// with [`DriverErrorKind::Timeout`](crate::driver::DriverErrorKind::Timeout). Default: 5 seconds;
    /// at least a millisecond, at most 24 days.
    ///
    /// The connections of the driver's own pool are told as well, in whole seconds: that is how long a
    /// statement waits for a lock (`innodb_lock_wait_timeout`, `lock_wait_timeout`). Those that only write are told how
    /// long a statement may take, too (`max_statement_time`).
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.settings.call_timeout = url::bounded(timeout);
        self
    }

    /// Opens the database with one connection, which is closed again if the pool is the driver's own, and then with
    /// those that only write, which are closed again if the server cannot do that in one trip. The tables are not made
    /// here.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::Configuration`](crate::driver::DriverErrorKind::Configuration) for a part
    /// of the URL, a name or a number that is not allowed, and for a user, a password or a database that
    /// the server refuses; [`Unavailable`](crate::driver::DriverErrorKind::Unavailable) when nothing
    /// answers at the host and port, [`Timeout`](crate::driver::DriverErrorKind::Timeout) when it
    /// does not answer in time. No text has the password in it.
    pub async fn connect(self) -> Result<MySqlDriver, DriverError> {
        Ok(MySqlDriver(Arc::new(self.settings.open(self.statements()?).await?)))
    }

    /// The statements that [`create_environment`](crate::Driver::create_environment) runs, in
    /// their order, for those who make tables by hand.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::Configuration`](crate::driver::DriverErrorKind::Configuration) for a name
    /// that is not allowed.
    pub fn create_statements(&self) -> Result<Vec<String>, DriverError> {
        Ok(self.statements()?.environment.create_statements())
    }

    pub(super) fn statements(&self) -> Result<Statements, DriverError> {
        let environment = EnvironmentName::new(&self.settings.environment)?;
        Ok(statements(&environment, self.settings.call_timeout))
    }
}
