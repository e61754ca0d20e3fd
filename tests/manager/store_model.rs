//! Random operations of two requests on two applications of one session, against a model: what is
//! stored, what each request saw when it first read an application, and what it has changed since.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use web_session::{SessionError, SessionId, SessionLayer, SessionManager, SessionStore};

use crate::support::{Storage, memory};

const APPLICATIONS: [&str; 2] = ["shop", "forum"];
const KEYS: [&str; 4] = ["a", "b", "ä", "\u{10000}"];

type Map = BTreeMap<&'static str, u32>;

#[derive(Debug, Clone)]
enum Op {
    Set(&'static str, u32),
    Delete(&'static str),
    Remove(&'static str),
    Empty,
    Update(&'static str),
    Get(&'static str),
    HasKey(&'static str),
    Len,
    Keys,
    Items,
    Commit,
    Rollback,
}

/// What one request does with one application.
#[derive(Debug, Clone)]
struct Step {
    request: usize,
    application: usize,
    op: Op,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || prop::sample::select(&KEYS[..]);
    let op = prop_oneof![
        4 => (key(), any::<u32>()).prop_map(|(key, value)| Op::Set(key, value / 2)),
        2 => key().prop_map(Op::Delete),
        2 => key().prop_map(Op::Remove),
        1 => Just(Op::Empty),
        3 => key().prop_map(Op::Update),
        2 => key().prop_map(Op::Get),
        1 => key().prop_map(Op::HasKey),
        1 => Just(Op::Len),
        1 => Just(Op::Keys),
        1 => Just(Op::Items),
        4 => Just(Op::Commit),
        1 => Just(Op::Rollback),
    ];
    let step = (0..2_usize, 0..2_usize, op).prop_map(|(request, application, op)| Step {
        request,
        application,
        op,
    });
    vec(step, 1..40)
}

/// What a request knows of one application and has changed in it.
#[derive(Debug, Default, Clone)]
struct View {
    /// Whether the request has done anything with the application.
    touched: bool,
    snapshot: Option<Map>,
    empty: bool,
    changes: BTreeMap<&'static str, Option<u32>>,
}

impl View {
    fn changed(&self, mut map: Map) -> Map {
        if self.empty {
            map.clear();
        }
        for (key, value) in &self.changes {
            match value {
                Some(value) => map.insert(key, *value),
                None => map.remove(key),
            };
        }
        map
    }

    /// What the request sees; the first time it looks, it looks at what is stored.
    fn read(&mut self, stored: &Map) -> Map {
        let snapshot = self.snapshot.get_or_insert_with(|| stored.clone()).clone();
        self.changed(snapshot)
    }

    fn own(&self, key: &str) -> Option<Option<u32>> {
        match self.changes.get(key) {
            Some(value) => Some(*value),
            None => self.empty.then_some(None),
        }
    }

    fn commit(&mut self, stored: &mut Map) {
        *stored = self.changed(std::mem::take(stored));
        if self.empty || self.snapshot.is_some() {
            let snapshot = self.snapshot.take().unwrap_or_default();
            self.snapshot = Some(self.changed(snapshot));
        }
        self.roll_back();
    }

    fn roll_back(&mut self) {
        self.empty = false;
        self.changes.clear();
    }

    fn set_at_once(&mut self, key: &'static str, value: u32) {
        self.snapshot.get_or_insert_default().insert(key, value);
        self.changes.remove(key);
        if self.empty {
            self.changes.insert(key, Some(value));
        }
    }
}

#[derive(Debug, Default)]
struct Model {
    /// Whether there is a session.
    session: bool,
    stored: [Map; 2],
    requests: [[View; 2]; 2],
}

impl Model {
    /// A session that a request creates holds nothing but what that request puts into it.
    fn create(&mut self, request: usize) {
        if !self.session {
            self.session = true;
            for view in self.requests[request].iter_mut().filter(|view| view.touched) {
                view.snapshot = Some(Map::new());
            }
        }
    }

    fn commit(&mut self, request: usize) {
        let views = &mut self.requests[request];
        if !self.session && !views.iter().any(|view| view.changes.values().any(Option::is_some)) {
            // There is nothing that a session would be needed for.
            views.iter_mut().for_each(View::roll_back);
            return;
        }
        self.create(request);
        let views = &mut self.requests[request];
        for (view, stored) in views.iter_mut().zip(&mut self.stored) {
            view.commit(stored);
        }
    }
}

fn updated(old: Option<u32>) -> u32 {
    old.unwrap_or(0) + 1
}

/// Does a step on both sides and compares what they answer.
async fn step(model: &mut Model, store: &SessionStore, step: &Step) {
    let Step { request, application, ref op } = *step;
    if !matches!(op, Op::Commit | Op::Rollback) {
        model.requests[request][application].touched = true;
    }
    if let Op::Update(_) = op {
        model.create(request);
    }
    let view = &mut model.requests[request][application];
    let stored = &mut model.stored[application];
    match *op {
        Op::Set(key, value) => {
            view.changes.insert(key, Some(value));
            store.set(key, &value).unwrap();
        }
        Op::Delete(key) => {
            let expected = if view.read(stored).contains_key(key) {
                view.changes.insert(key, None);
                Ok(())
            } else {
                Err(SessionError::NoSuchItem)
            };
            assert_eq!(store.delete(key).await, expected);
        }
        Op::Remove(key) => {
            let expected = view.read(stored).remove(key);
            if expected.is_some() {
                view.changes.insert(key, None);
            }
            assert_eq!(store.remove(key).await, Ok(expected));
        }
        Op::Empty => {
            view.empty = true;
            view.changes.clear();
            store.empty();
        }
        Op::Update(key) => {
            view.read(stored);
            let old = view.own(key).unwrap_or_else(|| stored.get(key).copied());
            let expected = updated(old);
            stored.insert(key, expected);
            view.set_at_once(key, expected);
            assert_eq!(store.update(key, updated).await, Ok(expected));
        }
        Op::Get(key) => {
            let expected = view.read(stored).remove(key);
            assert_eq!(store.get(key).await, Ok(expected));
        }
        Op::HasKey(key) => {
            let expected = view.read(stored).contains_key(key);
            assert_eq!(store.has_key(key).await, Ok(expected));
        }
        Op::Len => {
            let expected = view.read(stored);
            assert_eq!(store.len().await, Ok(expected.len()));
            assert_eq!(store.is_empty().await, Ok(expected.is_empty()));
        }
        Op::Keys => {
            let expected: Vec<_> = view.read(stored).into_keys().collect();
            assert_eq!(store.keys().await.unwrap(), expected);
        }
        Op::Items => {
            let expected = owned(&view.read(stored));
            assert_eq!(store.items().await, Ok(expected.clone()));
            let values = expected.into_iter().map(|(_, value)| value).collect();
            assert_eq!(store.values::<u32>().await, Ok::<Vec<u32>, _>(values));
        }
        Op::Commit => {
            model.commit(request);
            store.manager().commit().await.unwrap();
        }
        Op::Rollback => {
            model.requests[request].iter_mut().for_each(View::roll_back);
            store.manager().rollback();
        }
    }
}

fn owned(map: &Map) -> Vec<(String, u32)> {
    map.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect()
}

/// Does the steps. With `existing` both requests start with a session; else the first starts
/// without one, and the second waits until there is one.
async fn run(sessions: &SessionLayer, existing: bool, steps: &[Step]) {
    let mut model = Model { session: existing, ..Model::default() };
    let first = sessions.manager();
    let mut second = None;
    if existing {
        let id = sessions.manager().create().await.unwrap();
        assert!(first.load_id(&id.expose()).await.unwrap());
        second = Some(load(sessions, id).await);
    }
    for each in steps {
        if second.is_none()
            && let Some(id) = first.session_id()
        {
            second = Some(load(sessions, id).await);
        }
        assert_eq!(first.session_id().is_some(), model.session);
        let manager = match (each.request, &second) {
            (0, _) => &first,
            (_, Some(second)) => second,
            (_, None) => continue,
        };
        let store = manager.store(APPLICATIONS[each.application]).unwrap();
        step(&mut model, &store, each).await;
    }
    for manager in [Some(&first), second.as_ref()].into_iter().flatten() {
        manager.rollback();
    }
    if let Some(id) = first.session_id() {
        let fresh = load(sessions, id).await;
        for (name, stored) in APPLICATIONS.iter().zip(&model.stored) {
            assert_eq!(fresh.store(name).unwrap().items().await, Ok(owned(stored)));
        }
    }
}

async fn load(sessions: &SessionLayer, id: SessionId) -> SessionManager {
    let manager = sessions.manager();
    assert!(manager.load_id(&id.expose()).await.unwrap());
    manager
}

fn agrees_with_the_model(storage: impl Future<Output = Storage>, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let storage = runtime.block_on(storage);
    let sessions = runtime
        .block_on(SessionLayer::builder(storage.driver.clone()).cleanup_probability(0.0).build())
        .unwrap();
    let config = ProptestConfig { cases, source_file: Some(file!()), ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&(any::<bool>(), steps()), |(existing, steps)| {
            runtime.block_on(run(&sessions, existing, &steps));
            Ok(())
        })
        .unwrap();
}

// S1, S2, S3, S4, S7
#[test]
fn random_operations_agree_with_a_model_on_memory() {
    agrees_with_the_model(async { memory() }, 2_000);
}

// S1, S2, S3, S4, S7
#[cfg(feature = "sqlite")]
#[test]
fn random_operations_agree_with_a_model_on_sqlite() {
    agrees_with_the_model(crate::support::sqlite(), 100);
}
