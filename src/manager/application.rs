//! What one request knows of one application's items and has changed in them. Nothing here waits.

use std::sync::Arc;

use crate::driver::{ApplicationChanges, ApplicationName, Items, Limits, SortedList};
use crate::error::SessionError;

/// Text by key; `None` where the item is removed.
type Pending = SortedList<Option<Arc<str>>>;

/// What a request knows of one application's items, and has changed in them.
#[derive(Debug, Default)]
pub(crate) struct Application {
    /// The items as they were read, `None` before the first read.
    pub(super) stored: Option<Items>,
    /// Changes that a commit has taken and not confirmed: it is under way, it failed, or its future
    /// was dropped, and then the next commit takes them again.
    sent: Changes,
    /// Changes since.
    changes: Changes,
    /// How often it was emptied, to tell whether that happened during an update.
    empties: u64,
}

/// What an update begins with.
#[derive(Debug)]
pub(super) struct BeforeUpdate {
    /// The item as the request sees it.
    pub(super) text: Option<Arc<str>>,
    /// The item as it is stored, as far as that is known.
    pub(super) stored: Option<Arc<str>>,
    /// The request's own change of the item.
    own: Option<Option<Arc<str>>>,
    empties: u64,
}

#[derive(Debug, Default)]
struct Changes {
    empty: bool,
    items: Pending,
}

impl Changes {
    fn is_empty(&self) -> bool {
        !self.empty && self.items.is_empty()
    }

    /// Adds changes that were made after these.
    fn follow(&mut self, later: Self) {
        if later.empty || self.is_empty() {
            *self = later;
        } else {
            let items = std::mem::take(&mut self.items).into_entries().into_iter();
            self.items = Pending::new(items.chain(later.items.into_entries()).collect());
        }
    }

    fn to_commit(&self, application: ApplicationName) -> ApplicationChanges {
        let mut changes = ApplicationChanges::new(application);
        changes.empty = self.empty;
        changes.items = self.items.as_slice().to_vec();
        changes
    }

    fn apply(&self, items: &mut Items) {
        items.apply(self.items.as_slice());
    }

    /// What these changes say of an item: nothing, or its text, or that it is removed.
    fn get(&self, key: &str) -> Option<Option<&Arc<str>>> {
        match self.items.get(key) {
            Some(value) => Some(value.as_ref()),
            None => self.empty.then_some(None),
        }
    }
}

impl Application {
    /// Drops the changes that no commit has taken.
    pub(super) fn roll_back(&mut self) {
        self.changes = Changes::default();
    }

    /// Drops the changes that a commit has taken.
    pub(super) fn drop_sent(&mut self) {
        self.sent = Changes::default();
    }

    /// Hands all changes over to a commit.
    pub(super) fn send(&mut self, name: ApplicationName) -> ApplicationChanges {
        let later = std::mem::take(&mut self.changes);
        self.sent.follow(later);
        self.sent.to_commit(name)
    }

    /// Notes that what was handed over is stored.
    pub(super) fn committed(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        if sent.empty {
            self.stored = Some(Items::new());
        }
        if let Some(stored) = &mut self.stored {
            sent.apply(stored);
        }
    }

    pub(super) fn is_changed(&self) -> bool {
        !self.sent.is_empty() || !self.changes.is_empty()
    }

    /// What the request itself has made of an item without committing it, if anything.
    fn uncommitted(&self, key: &str) -> Option<Option<&Arc<str>>> {
        self.changes.get(key).or_else(|| self.sent.get(key))
    }

    /// The item as this request sees it.
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<str>> {
        match self.uncommitted(key) {
            Some(own) => own,
            None => self.stored.as_ref().and_then(|stored| stored.get(key)),
        }
    }

    /// All items as this request sees them.
    pub(crate) fn view(&self) -> Items {
        let mut view = match &self.stored {
            Some(stored) if !self.sent.empty && !self.changes.empty => stored.clone(),
            _ => Items::new(),
        };
        if !self.changes.empty {
            self.sent.apply(&mut view);
        }
        self.changes.apply(&mut view);
        view
    }

    pub(crate) fn set(
        &mut self,
        key: Arc<str>,
        value: Arc<str>,
        limits: &Limits,
    ) -> Result<(), SessionError> {
        let size = (key.len(), value.len());
        // All that is known, as if nothing replaced anything; only if that is too much does it matter
        // what is left.
        if limits.check(self.known_sizes().chain([size])).is_err() {
            let view = self.view();
            let others = view.iter().filter(|(other, _)| **other != key);
            let sizes = others.map(|(key, value)| (key.len(), value.len()));
            limits.check(sizes.chain([size]))?;
        }
        self.changes.items.insert(key, Some(value));
        Ok(())
    }

    /// The sizes of the items that were read and of the changes, in bytes of key and text.
    fn known_sizes(&self) -> impl Iterator<Item = (usize, usize)> {
        let stored = self.stored.iter().flat_map(Items::iter);
        let changes = [&self.sent, &self.changes].into_iter();
        let texts = changes.flat_map(|changes| changes.items.as_slice());
        let texts = texts.filter_map(|(key, text)| Some((key, text.as_ref()?)));
        stored.chain(texts).map(|(key, text)| (key.len(), text.len()))
    }

    /// Removes an item that this request sees. Also where nothing was stored under the key before:
    /// what another request stores there meanwhile is removed by the later commit.
    pub(crate) fn remove(&mut self, key: &str) {
        self.changes.items.insert(key.into(), None);
    }

    pub(crate) fn empty(&mut self) {
        self.changes = Changes { empty: true, items: Pending::default() };
        self.empties += 1;
    }

    pub(super) fn before_update(&self, key: &str) -> BeforeUpdate {
        BeforeUpdate {
            text: self.get(key).cloned(),
            stored: self.stored.as_ref().and_then(|stored| stored.get(key)).cloned(),
            own: self.own_item(key).map(|own| own.cloned()),
            empties: self.empties,
        }
    }

    fn own_item(&self, key: &str) -> Option<Option<&Arc<str>>> {
        let own = self.changes.items.get(key).or_else(|| self.sent.items.get(key));
        own.map(Option::as_ref)
    }

    /// Notes that an update has stored an item at once. It takes the place of the changes that it
    /// began with; those that were made meanwhile come after it.
    pub(super) fn updated(&mut self, key: &Arc<str>, value: &Arc<str>, before: &BeforeUpdate) {
        self.stored.get_or_insert_default().insert(key.clone(), value.clone());
        let same_item = match (self.own_item(key), &before.own) {
            (Some(Some(now)), Some(Some(then))) => Arc::ptr_eq(now, then),
            (Some(None), Some(None)) | (None, None) => true,
            _ => false,
        };
        if !same_item || self.empties != before.empties {
            return;
        }
        for changes in [&mut self.sent, &mut self.changes] {
            changes.items.remove(key);
        }
        if self.sent.empty || self.changes.empty {
            // An uncommitted `empty` came before it, and must not take it away.
            self.changes.items.insert(key.clone(), Some(value.clone()));
        }
    }
}
