//! The items of one application in one session, and the changes that a commit makes to them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::sorted::SortedList;
use super::{DriverError, DriverErrorKind};

/// The name of an application: 1 to 255 characters from `a-z A-Z 0-9 - _ .`
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApplicationName(Cow<'static, str>);

impl ApplicationName {
    /// The longest name, in characters.
    pub const MAX_LEN: usize = 255;

    /// A name that is known only at run time.
    ///
    /// # Errors
    ///
    /// [`InvalidApplication`] unless it has 1 to 255 characters from `a-z A-Z 0-9 - _ .`
    pub fn new(name: impl Into<Cow<'static, str>>) -> Result<Self, InvalidApplication> {
        let name = name.into();
        if is_application_name(&name) { Ok(Self(name)) } else { Err(InvalidApplication) }
    }

    /// The name, checked when the program is compiled if it is called in a `const`.
    ///
    /// # Panics
    ///
    /// In a `const`, where it is an error of the compiler, as [`new`](Self::new) does with an
    /// error. Only this crate calls it elsewhere, and never.
    #[expect(
        clippy::panic,
        reason = "called in `const` blocks only, where a panic stops the build"
    )]
    pub(crate) const fn from_static(name: &'static str) -> Self {
        if !is_application_name(name) {
            panic!("an application name has 1 to 255 characters from a-z A-Z 0-9 - _ .");
        }
        Self(Cow::Borrowed(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[expect(clippy::indexing_slicing, reason = "the index is checked; iterators are not const")]
const fn is_application_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.') {
            return false;
        }
        at += 1;
    }
    0 < at && at <= ApplicationName::MAX_LEN
}

impl fmt::Display for ApplicationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ApplicationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The name of an application is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an application name has 1 to 255 characters from `a-z A-Z 0-9 - _ .`")]
pub struct InvalidApplication;

/// The items of one application in one session: JSON texts by key, in the order of the keys'
/// bytes. A clone is cheap and shares the items until one side changes them.
#[derive(Clone, Default)]
pub struct Items(Option<Arc<SortedList<Arc<str>>>>);

impl Items {
    /// No items.
    pub fn new() -> Self {
        Self::default()
    }

    fn as_slice(&self) -> &[(Arc<str>, Arc<str>)] {
        self.0.as_ref().map_or(&[], |list| list.as_slice())
    }

    fn list_mut(&mut self) -> &mut SortedList<Arc<str>> {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// The text under `key`.
    pub fn get(&self, key: &str) -> Option<&Arc<str>> {
        self.0.as_ref()?.get(key)
    }

    /// All items, in the order of the keys' bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Arc<str>)> + '_ {
        self.as_slice().iter().map(|(key, value)| (key, value))
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Stores `value` under `key`.
    pub fn insert(&mut self, key: Arc<str>, value: Arc<str>) {
        self.list_mut().insert(key, value);
    }

    /// Removes the item under `key`.
    pub fn remove(&mut self, key: &str) {
        if self.get(key).is_some() {
            self.list_mut().remove(key);
        }
    }

    /// Stores (`Some`) and removes (`None`) items.
    pub(crate) fn apply(&mut self, changes: &[(Arc<str>, Option<Arc<str>>)]) {
        match changes {
            [] => {}
            [(key, Some(value))] => self.insert(key.clone(), value.clone()),
            [(key, None)] => self.remove(key),
            _ => {
                let items = self.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
                // What comes later counts.
                let all = SortedList::new(items.chain(changes.iter().cloned()).collect());
                let left = all.into_entries().into_iter();
                *self = left.filter_map(|(key, value)| Some((key, value?))).collect();
            }
        }
    }
}

impl PartialEq for Items {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Items {}

impl FromIterator<(Arc<str>, Arc<str>)> for Items {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(items: I) -> Self {
        let list = SortedList::new(items.into_iter().collect());
        Self((!list.is_empty()).then(|| Arc::new(list)))
    }
}

impl fmt::Debug for Items {
    /// Shows how many there are: keys and values belong to the visitor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Items({} items)", self.len())
    }
}

/// What a commit does to the items of one application: first [`empty`](Self::empty), then
/// [`items`](Self::items).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApplicationChanges {
    /// The application.
    pub application: ApplicationName,
    /// Whether to remove all of its items first, as they are at the commit.
    pub empty: bool,
    /// The items to store (`Some`) and to remove (`None`, which is no error if there is none),
    /// each key once, in the order of the keys' bytes.
    pub items: Vec<(Arc<str>, Option<Arc<str>>)>,
}

impl ApplicationChanges {
    /// No changes yet.
    pub fn new(application: ApplicationName) -> Self {
        Self { application, empty: false, items: Vec::new() }
    }

    /// Whether an item is stored, so that the limits have to be checked.
    pub fn stores(&self) -> bool {
        self.items.iter().any(|(_, value)| value.is_some())
    }

    /// Changes `items`.
    pub fn apply(&self, items: &mut Items) {
        if self.empty {
            *items = Items::new();
        }
        items.apply(&self.items);
    }
}

impl fmt::Debug for ApplicationChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationChanges")
            .field("application", &self.application)
            .field("empty", &self.empty)
            .field("items", &self.items.len())
            .finish()
    }
}

/// How much one application may hold in one session. Sizes are in bytes of UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest JSON text of one value. Default: 1 MiB.
    pub value_bytes: usize,
    /// How many items. Default: 1 024.
    pub items: usize,
    /// All keys and JSON texts together. Default: 4 MiB.
    pub application_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { value_bytes: 1 << 20, items: 1_024, application_bytes: 4 << 20 }
    }
}

impl Limits {
    /// The longest JSON text of one value, in bytes.
    #[must_use]
    pub fn with_value_bytes(mut self, bytes: usize) -> Self {
        self.value_bytes = bytes;
        self
    }

    /// How many items an application may hold.
    #[must_use]
    pub fn with_items(mut self, items: usize) -> Self {
        self.items = items;
        self
    }

    /// How much all keys and JSON texts of an application may be together, in bytes.
    #[must_use]
    pub fn with_application_bytes(mut self, bytes: usize) -> Self {
        self.application_bytes = bytes;
        self
    }

    /// Checks the items of one application, given as the sizes of key and text in bytes.
    ///
    /// # Errors
    ///
    /// [`DriverErrorKind::TooLarge`] at the first item that exceeds a limit.
    pub fn check(
        &self,
        items: impl IntoIterator<Item = (usize, usize)>,
    ) -> Result<(), DriverError> {
        let too_large = |message: String| Err(DriverError::new(DriverErrorKind::TooLarge, message));
        let (mut count, mut bytes) = (0_usize, 0_usize);
        for (key, value) in items {
            count += 1;
            bytes = bytes.saturating_add(key).saturating_add(value);
            if value > self.value_bytes {
                return too_large(format!("a value is longer than {} bytes", self.value_bytes));
            }
            if count > self.items {
                return too_large(format!("an application has more than {} items", self.items));
            }
            if bytes > self.application_bytes {
                return too_large(format!(
                    "an application holds more than {} bytes",
                    self.application_bytes
                ));
            }
        }
        Ok(())
    }

    /// [`check`](Self::check) for items in memory.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn check_items(&self, items: &Items) -> Result<(), DriverError> {
        self.check(items.iter().map(|(key, value)| (key.len(), value.len())))
    }

    /// [`check`](Self::check) for items of which only the totals are known: how many, the bytes of
    /// all keys and texts, and the longest text.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "redis"))]
    pub(crate) fn check_totals(
        &self,
        count: i64,
        bytes: i64,
        longest: i64,
    ) -> Result<(), DriverError> {
        let size = |n: i64| usize::try_from(n).unwrap_or(usize::MAX);
        let (count, bytes, longest) = (size(count), size(bytes), size(longest));
        self.check([(bytes.saturating_sub(longest), longest)])?;
        if count > self.items {
            self.check(std::iter::repeat_n((0, 0), count))?;
        }
        Ok(())
    }
}

#[cfg(all(
    test,
    any(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "redis")
))]
mod tests {
    use super::*;

    // S8
    #[test]
    fn totals_are_refused_exactly_where_the_items_themselves_would_be() {
        let mut limits = Limits::default();
        (limits.items, limits.value_bytes, limits.application_bytes) = (3, 10, 20);
        let cases: [&[(usize, usize)]; 7] = [
            &[],
            &[(1, 10)],
            &[(1, 11)],
            &[(1, 1); 3],
            &[(1, 1); 4],
            &[(2, 8), (2, 8)],
            &[(2, 8), (2, 9)],
        ];
        for items in cases {
            let bytes = items.iter().map(|(key, text)| (key + text) as i64).sum();
            let longest = items.iter().map(|(_, text)| *text as i64).max().unwrap_or(0);
            let expected = limits.check(items.iter().copied());
            assert_eq!(
                limits.check_totals(items.len() as i64, bytes, longest),
                expected,
                "{items:?}"
            );
        }
    }
}
