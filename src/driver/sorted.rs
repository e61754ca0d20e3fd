//! A small map: entries in the order of the bytes of their keys, next to each other in memory.
//!
//! A session has few items, and a copy of it is made for each commit: one piece of memory is cheaper
//! to make, to copy and to search than the nodes of a tree.

use std::sync::Arc;

use smallvec::SmallVec;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SortedList<V>(Entries<V>);

/// Most often there is one, which needs no memory of its own.
pub(crate) type Entries<V> = SmallVec<[(Arc<str>, V); 1]>;

impl<V> Default for SortedList<V> {
    fn default() -> Self {
        Self(Entries::new())
    }
}

impl<V> SortedList<V> {
    /// Takes entries in any order. Of several with one key the last counts.
    pub(crate) fn new(mut entries: Entries<V>) -> Self {
        if !entries.is_sorted_by(|(one, _), (next, _)| one < next) {
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            entries.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    std::mem::swap(later, earlier);
                }
                same
            });
        }
        Self(entries)
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| (**other).cmp(key))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        let at = self.find(key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    pub(crate) fn insert(&mut self, key: Arc<str>, value: V) {
        match self.find(&key) {
            Ok(at) => {
                if let Some(entry) = self.0.get_mut(at) {
                    entry.1 = value;
                }
            }
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        if let Ok(at) = self.find(key) {
            self.0.remove(at);
        }
    }

    pub(crate) fn as_slice(&self) -> &[(Arc<str>, V)] {
        &self.0
    }

    pub(crate) fn into_entries(self) -> Entries<V> {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_map_does_in_the_same_order(
            start in prop::collection::vec(("[a-c]{0,2}", 0..9), 0..12),
            steps in prop::collection::vec(("[a-c]{0,2}", prop::option::of(0..9)), 0..12),
        ) {
            let mut map: BTreeMap<Arc<str>, i32> = BTreeMap::new();
            map.extend(start.iter().map(|(key, value)| (key.as_str().into(), *value)));
            let start = start.into_iter().map(|(key, value)| (key.as_str().into(), value));
            let mut list = SortedList::new(start.collect());
            for (key, value) in steps {
                match value {
                    Some(value) => {
                        map.insert(key.as_str().into(), value);
                        list.insert(key.as_str().into(), value);
                    }
                    None => {
                        map.remove(key.as_str());
                        list.remove(&key);
                    }
                }
                prop_assert_eq!(list.get(&key), map.get(key.as_str()));
            }
            prop_assert_eq!(list.into_entries().into_vec(), map.into_iter().collect::<Vec<_>>());
        }
    }
}
