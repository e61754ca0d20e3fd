//! Drivers around another driver that see, or change, all that passes.

use std::fmt;
use std::sync::{Arc, Mutex};

use web_session::driver::*;
use web_session::{SessionKey, SessionRef};

use super::known::{Secrets, Shown};
use crate::wrappers::{Around, Call, wrap};

/// Writes down the `Debug` form of all that passes to a driver and back.
#[derive(Debug, Clone)]
pub struct Spy {
    pub inner: Arc<dyn Driver>,
    pub shown: Shown,
}

impl Around for Spy {
    fn around<T: fmt::Debug + Send + 'static>(
        &self,
        _call: Call,
        next: impl FnOnce(&dyn Driver) -> DriverFuture<T> + Send + 'static,
    ) -> DriverFuture<T> {
        let (answer, shown) = (next(&*self.inner), self.shown.clone());
        DriverFuture::new(async move {
            shown.debug(&answer);
            let answer = answer.await;
            shown.debug(&answer);
            if let Err(error) = &answer {
                shown.error(error);
            }
            answer
        })
    }

    fn passing(&self, argument: &dyn fmt::Debug) {
        self.shown.debug(&argument);
    }
}

wrap!(Spy);

/// What every key of an item begins with, and every text, principal and note behind a [`Marking`].
pub const MARK: &str = "mark-Quoh5eiG";

/// Puts a mark before all that visitors and applications store, and takes it off again, so that it can be
/// found wherever it gets to. Notes the digests of all ids.
#[derive(Debug, Clone)]
pub struct Marking {
    pub inner: Arc<dyn Driver>,
    pub secrets: Arc<Mutex<Secrets>>,
}

fn mark(text: &str) -> Arc<str> {
    format!("{MARK}{text}").into()
}

fn unmark(text: &str) -> Arc<str> {
    text.strip_prefix(MARK).expect("nothing is stored without its mark").into()
}

/// Changes the principal and the note.
fn personal(record: &mut SessionRecord, change: fn(&str) -> Arc<str>) {
    for text in [&mut record.principal, &mut record.note] {
        *text = text.as_deref().map(|text| change(text).to_string());
    }
}

/// So much more as the marks of these items are long.
fn widened(mut limits: Limits) -> Limits {
    limits.value_bytes += MARK.len();
    limits
}

impl Marking {
    fn note(&self, key: &SessionKey) {
        self.secrets.lock().unwrap().digest(key);
    }

    fn locators<'a>(&self, locators: impl IntoIterator<Item = &'a Locator>) {
        for locator in locators {
            if let Locator::Key(key) = locator {
                self.note(key);
            }
        }
    }

    fn then<T: Send + 'static>(
        &self,
        answer: DriverFuture<T>,
        change: impl FnOnce(T) -> T + Send + 'static,
    ) -> DriverFuture<T> {
        DriverFuture::new(async move { answer.await.map(change) })
    }

    fn record(&self, record: &mut SessionRecord) {
        self.note(&record.key);
        personal(record, mark);
    }
}

impl Driver for Marking {
    fn load(&self, mut load: Load) -> DriverFuture<Vec<Found>> {
        self.locators(&load.sessions);
        load.limits = widened(load.limits);
        self.then(self.inner.load(load), |mut all| {
            for found in &mut all {
                personal(&mut found.session, unmark);
                let items = found.items.iter();
                found.items = items.map(|(key, value)| (unmark(key), unmark(value))).collect();
            }
            all
        })
    }

    fn create(&self, mut create: Create) -> DriverFuture<CreateOutcome> {
        self.record(&mut create.session);
        self.inner.create(create)
    }

    fn commit(&self, mut commit: Commit) -> DriverFuture<CommitOutcome> {
        match &mut commit.target {
            Target::Seen { key, .. } => self.note(key),
            Target::Presented { key, otherwise, .. } => {
                self.note(key);
                otherwise.iter_mut().for_each(|record| self.record(record));
            }
            Target::New(record) => self.record(record),
            Target::Existing(locator) => self.locators([&*locator]),
        }
        for application in &mut commit.changes {
            for (key, value) in &mut application.items {
                (*key, *value) = (mark(key), value.as_deref().map(mark));
            }
        }
        let change = &mut commit.session;
        change.key.iter().for_each(|key| self.note(key));
        for text in [&mut change.principal, &mut change.note].into_iter().flatten().flatten() {
            *text = mark(text).to_string();
        }
        commit.limits = widened(commit.limits);
        self.then(self.inner.commit(commit), |mut outcome| {
            if let CommitOutcome::Done(record) = &mut outcome {
                personal(record, unmark);
            }
            outcome
        })
    }

    fn replace_item(&self, mut replace: ReplaceItem) -> DriverFuture<ReplaceOutcome> {
        replace.key = mark(&replace.key);
        replace.value = mark(&replace.value);
        replace.expected = replace.expected.as_deref().map(mark);
        replace.limits = widened(replace.limits);
        self.then(self.inner.replace_item(replace), |outcome| match outcome {
            ReplaceOutcome::Conflict(Some(text)) => ReplaceOutcome::Conflict(Some(unmark(&text))),
            outcome => outcome,
        })
    }

    fn destroy(&self, destroy: Destroy) -> DriverFuture<Vec<SessionRef>> {
        self.locators(&destroy.sessions);
        self.inner.destroy(destroy)
    }

    fn inspect(&self, inspect: Inspect) -> DriverFuture<Option<SessionRecord>> {
        self.locators([&inspect.session]);
        self.then(self.inner.inspect(inspect), |mut record| {
            record.iter_mut().for_each(|record| personal(record, unmark));
            record
        })
    }

    fn list(&self, mut list: List) -> DriverFuture<Vec<SessionRecord>> {
        list.principal = mark(&list.principal).to_string();
        self.then(self.inner.list(list), |mut records| {
            records.iter_mut().for_each(|record| personal(record, unmark));
            records
        })
    }

    fn end_where(&self, mut end: EndWhere) -> DriverFuture<Vec<SessionRef>> {
        end.principal = mark(&end.principal).to_string();
        self.inner.end_where(end)
    }

    fn cleanup(&self, cleanup: Cleanup) -> DriverFuture<u64> {
        self.inner.cleanup(cleanup)
    }

    fn environment(&self) -> DriverFuture<EnvironmentState> {
        self.inner.environment()
    }

    fn create_environment(&self) -> DriverFuture<()> {
        self.inner.create_environment()
    }

    fn ensure_environment(&self) -> DriverFuture<()> {
        self.inner.ensure_environment()
    }

    fn remove_environment(&self, missing: OnMissing) -> DriverFuture<()> {
        self.inner.remove_environment(missing)
    }
}
