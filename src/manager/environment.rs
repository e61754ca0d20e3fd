//! The structures that the storage needs: asking for them, making and removing them.

use super::SessionManager;
use crate::driver::{EnvironmentState, OnMissing};
use crate::error::SessionError;

impl SessionManager {
    /// Whether all structures exist, with the columns that this version needs.
    ///
    /// # Errors
    ///
    /// A failure of the storage; it is never answered as `false`.
    pub async fn complete_session_environment(&self) -> Result<bool, SessionError> {
        Ok(self.settings().driver.environment().await? == EnvironmentState::Complete)
    }

    /// Makes all structures.
    ///
    /// # Errors
    ///
    /// [`SessionError::Driver`] of the kind
    /// [`EnvironmentExists`](crate::driver::DriverErrorKind::EnvironmentExists) when any exists;
    /// nothing is changed then.
    pub async fn create_session_environment(&self) -> Result<(), SessionError> {
        Ok(self.settings().driver.create_environment().await?)
    }

    /// Makes the structures that are missing, and loses nothing. Several processes may do so at
    /// once.
    ///
    /// # Errors
    ///
    /// [`SessionError::Driver`] of the kind
    /// [`EnvironmentDefective`](crate::driver::DriverErrorKind::EnvironmentDefective) when a
    /// structure exists and is not what this version needs, and a failure of the storage.
    pub async fn ensure_session_environment(&self) -> Result<(), SessionError> {
        Ok(self.settings().driver.ensure_environment().await?)
    }

    /// Removes all structures **with every session in them**.
    ///
    /// # Errors
    ///
    /// [`SessionError::Driver`] of the kind
    /// [`EnvironmentMissing`](crate::driver::DriverErrorKind::EnvironmentMissing) when one is
    /// missing, unless that is ignored; nothing is changed then.
    pub async fn remove_session_environment(
        &self,
        on_missing: OnMissing,
    ) -> Result<(), SessionError> {
        Ok(self.settings().driver.remove_environment(on_missing).await?)
    }
}
