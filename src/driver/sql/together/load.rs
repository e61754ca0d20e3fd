//! Loads that share a statement.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::super::many::{Argument, List, MOST_ROWS};
use super::super::rows::{self, NAMED_AT_ONCE, record, session};
use super::super::{Connection, Failure, Statements, Value};
use super::{MOST_BYTES, Waiting};
use crate::driver::lane::{Place, Work};
use crate::driver::{ApplicationName, Found, Limits, Load, Locator};
use crate::id::{SessionKey, SessionRef};

/// A load that waits.
pub(in super::super) type Loading = Waiting<Load, Vec<Found>>;

/// Whether a load names as many sessions as one may.
pub(in super::super) fn may_share(load: &Load) -> bool {
    (1..=NAMED_AT_ONCE).contains(&load.sessions.len())
}

/// What all loads of a batch have in common.
#[derive(Default)]
pub(in super::super) struct LoadGroup {
    asks_for: Option<(Option<ApplicationName>, Limits)>,
    sessions: usize,
}

impl Work for Loading {
    type Group = LoadGroup;

    fn place(&self, group: &mut LoadGroup) -> Place {
        let Load { sessions, application, limits, .. } = &self.call;
        let is_first = group.asks_for.is_none();
        let (theirs, bounds) = group.asks_for.get_or_insert_with(|| (application.clone(), *limits));
        if theirs != application || bounds != limits {
            return Place::Waits;
        }
        if !is_first && group.sessions + sessions.len() > MOST_ROWS {
            return Place::Ends;
        }
        group.sessions += sessions.len();
        Place::Joins
    }
}

/// Runs loads of one group. `None` for one that has to be run alone.
pub(in super::super) async fn load<C: Connection>(
    db: &mut C,
    sql: &Statements,
    loads: &[&Load],
) -> Result<Vec<Option<Vec<Found>>>, Failure> {
    let Some(Load { application, limits, .. }) = loads.first() else {
        return Ok(Vec::new());
    };
    let (mut keys, mut references) = (Vec::new(), Vec::new());
    for locator in loads.iter().flat_map(|load| &load.sessions) {
        match locator {
            Locator::Key(key) => keys.push(key),
            Locator::Ref(reference) => references.push(reference),
        }
    }
    keys.sort_unstable();
    keys.dedup();
    references.sort_unstable();
    references.dedup();
    let application = Value::Text(application.as_ref().map(ApplicationName::as_str));
    let [longest, application] =
        [Argument::One(limits.value_bytes.into()), Argument::One(application)];
    let mut sessions = Sessions::new(*limits, keys.len() + references.len());
    if !keys.is_empty() {
        let by_keys = [longest, application, Argument::In(&List::keys(keys.iter().copied()))];
        db.fetch_many(&sql.load_by_keys, &by_keys, |row| sessions.take(row)).await?;
    }
    // A key that is no session's may be one that was replaced; few are.
    keys.retain(|key| !sessions.by_key.contains_key(key));
    references.retain(|session| !sessions.by_reference.contains_key(session));
    if !keys.is_empty() || !references.is_empty() {
        let (keys, references) = (List::keys(keys), List::uids(references));
        let arguments = [longest, application, Argument::In(&keys), Argument::In(&references)];
        db.fetch_many(&sql.load_many, &arguments, |row| sessions.take(row)).await?;
    }
    let sessions = sessions.finish();
    Ok(loads.iter().map(|load| sessions.of(load)).collect())
}

/// What was read for a batch.
struct Sessions<T = Option<rows::Loading>> {
    limits: Limits,
    bytes: usize,
    /// `None` where something is wrong with a session's items.
    all: Vec<T>,
    by_reference: HashMap<SessionRef, usize>,
    /// By current and by previous key.
    by_key: HashMap<SessionKey, usize>,
}

impl Sessions {
    /// With room for so many.
    fn new(limits: Limits, number: usize) -> Self {
        Self {
            limits,
            bytes: 0,
            all: Vec::with_capacity(number),
            by_reference: HashMap::with_capacity(number),
            by_key: HashMap::with_capacity(number),
        }
    }

    fn take(&mut self, row: &dyn super::super::Row) -> Result<(), Failure> {
        let at = match self.by_reference.entry(session(row)?) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let (record, at) = (record(row)?, self.all.len());
                vacant.insert(at);
                for key in [Some(record.key), record.previous_key].into_iter().flatten() {
                    self.by_key.insert(key, at);
                }
                self.all.push(Some(rows::Loading::new(record)));
                at
            }
        };
        let Some(loading) = self.all.get_mut(at) else { return Ok(()) };
        if let Some(session) = loading {
            match session.take(row, &self.limits) {
                Ok(bytes) if self.bytes + bytes <= MOST_BYTES => self.bytes += bytes,
                _ => *loading = None,
            }
        }
        Ok(())
    }

    fn finish(self) -> Sessions<Option<Found>> {
        let found = |loading: rows::Loading| {
            let (session, items) = loading.finish();
            Found::new(session, items)
        };
        Sessions {
            limits: self.limits,
            bytes: self.bytes,
            all: self.all.into_iter().map(|loading| loading.map(found)).collect(),
            by_reference: self.by_reference,
            by_key: self.by_key,
        }
    }
}

impl Sessions<Option<Found>> {
    /// What a load has found, each session once. `None` if one of them has to be read by itself.
    fn of(&self, load: &Load) -> Option<Vec<Found>> {
        let mut places = Vec::with_capacity(1);
        for locator in &load.sessions {
            let place = match locator {
                Locator::Key(key) => self.by_key.get(key),
                Locator::Ref(reference) => self.by_reference.get(reference),
            };
            if let Some(place) = place.filter(|place| !places.contains(*place)) {
                places.push(*place);
            }
        }
        places.into_iter().map(|at| self.all.get(at).cloned().flatten()).collect()
    }
}
