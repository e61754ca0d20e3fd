//! One session.

use crate::sync::Mutex;

use crate::driver::{
    ApplicationChanges, ApplicationName, DriverError, Items, Limits, SessionRecord,
};

pub(super) struct Session(pub(super) Mutex<State>);

pub(super) struct State {
    pub(super) record: SessionRecord,
    applications: Vec<(ApplicationName, Items)>,
    /// Set when the session is removed: whoever still holds it must not write to it.
    pub(super) ended: bool,
}

impl State {
    pub(super) fn new(record: SessionRecord) -> Self {
        Self { record, applications: Vec::new(), ended: false }
    }

    pub(super) fn items(&self, application: &ApplicationName) -> Items {
        self.applications
            .iter()
            .find(|(name, _)| name == application)
            .map(|(_, items)| items.clone())
            .unwrap_or_default()
    }

    /// The applications as they would be after the changes.
    pub(super) fn changed(
        &self,
        changes: &[ApplicationChanges],
        limits: &Limits,
    ) -> Result<Vec<(ApplicationName, Items)>, DriverError> {
        changes
            .iter()
            .map(|change| {
                let mut items = self.items(&change.application);
                change.apply(&mut items);
                if change.stores() {
                    limits.check_items(&items)?;
                }
                Ok((change.application.clone(), items))
            })
            .collect()
    }

    pub(super) fn put(&mut self, changed: Vec<(ApplicationName, Items)>) {
        for (application, items) in changed {
            self.applications.retain(|(name, _)| *name != application);
            if !items.is_empty() {
                self.applications.push((application, items));
            }
        }
    }
}
