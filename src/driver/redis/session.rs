//! The calls on sessions.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::answer::{Answer, pack, unexpected};
use super::keys::{home, prefix, uid};
use super::link::Effect;
use super::scripts::{CREATE, LOAD, REPLACE};
use super::storage::{LONGEST, Place, Storage, limits, unlink};
use crate::clock::Timestamp;
use crate::driver::{
    Create, CreateOutcome, Destroy, DriverError, Found, Inspect, Load, Locator, ReplaceItem,
    ReplaceOutcome, SessionRecord,
};
use crate::id::{SessionKey, SessionRef};

/// Whether a session could be stored.
pub(super) enum Stored {
    Done,
    /// Its key or reference is taken.
    Taken,
    /// Its principal has as many others as it may have.
    TooMany,
}

impl Storage {
    pub(super) async fn load(self: &Arc<Self>, load: &Load) -> Result<Vec<Found>, DriverError> {
        let deadline = self.deadline();
        match self.load_plain(load, deadline).await? {
            Some(found) if !found.is_empty() => Ok(found),
            // In boxes of their own, as few calls get there: that of a plain load is smaller.
            Some(none) => {
                self.by(deadline, Box::pin(self.expect_environment())).await?;
                Ok(none)
            }
            None => self.by(deadline, Box::pin(self.load_completely(load))).await,
        }
    }

    async fn load_completely(&self, load: &Load) -> Result<Vec<Found>, DriverError> {
        let wanted = load.application.as_ref().map(prefix).unwrap_or_default();
        let mut arguments = vec![wanted.into_bytes()];
        arguments.extend(limits(&load.limits));
        let one = |locator| self.load_one(locator, load, &arguments);
        let all = try_join_all(load.sessions.iter().map(one)).await?;
        let mut found: Vec<Found> = Vec::with_capacity(all.len());
        for next in all.into_iter().flatten() {
            if found.iter().all(|known| known.session.session != next.session.session) {
                found.push(next);
            }
        }
        if found.is_empty() {
            self.expect_environment().await?;
        }
        Ok(found)
    }

    async fn load_one(
        &self,
        locator: &Locator,
        load: &Load,
        arguments: &[Vec<u8>],
    ) -> Result<Option<Found>, DriverError> {
        let Some(mut place) = self.place(locator).await? else {
            return Ok(None);
        };
        match self.run_on(&LOAD, &mut place, arguments).await? {
            Answer::Found(record, items) => Ok(Some(Found::new(record, items))),
            Answer::None => Ok(None),
            Answer::Totals(count, bytes, longest) => {
                load.limits.check_totals(count, bytes, longest)?;
                Err(unexpected())
            }
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn inspect_one(
        &self,
        inspect: Inspect,
    ) -> Result<Option<SessionRecord>, DriverError> {
        let found = self.inspect(&inspect.session).await?;
        // A key that is only a `previous_key` names none.
        let found = found.map(|(_, record)| record).filter(|record| match &inspect.session {
            Locator::Key(key) => record.key == *key,
            Locator::Ref(_) => true,
        });
        if found.is_none() {
            self.expect_environment().await?;
        }
        Ok(found)
    }

    pub(super) async fn create(
        self: &Arc<Self>,
        create: &Create,
    ) -> Result<CreateOutcome, DriverError> {
        let record = &create.session;
        Ok(match self.store(record, record.created, Vec::new(), None).await? {
            Stored::Done => CreateOutcome::Done,
            Stored::Taken | Stored::TooMany => CreateOutcome::Collision,
        })
    }

    /// Stores a session, unless its key or reference is taken or its principal has more than `most`
    /// others. What points to it comes first.
    pub(super) async fn store(
        self: &Arc<Self>,
        record: &SessionRecord,
        now: Timestamp,
        items: Vec<(Vec<u8>, Vec<u8>)>,
        most: Option<u32>,
    ) -> Result<Stored, DriverError> {
        let deadline = self.deadline();
        let mut pairs = fields(record);
        pairs.extend(items);
        if most.is_none() && self.create_plain(record, now, &pairs, deadline).await? {
            return Ok(Stored::Done);
        }
        // In a box of its own, as few calls get to it.
        self.by(deadline, Box::pin(self.store_completely(record, now, pairs, most))).await
    }

    async fn store_completely(
        &self,
        record: &SessionRecord,
        now: Timestamp,
        pairs: Vec<(Vec<u8>, Vec<u8>)>,
        most: Option<u32>,
    ) -> Result<Stored, DriverError> {
        self.expect_environment().await?;
        let (key, uid) = (home(&record.key), uid(&record.session));
        let ttl = self.ttl(record.ends, now);
        if !self.refer(&uid, &key, ttl).await? {
            return Ok(Stored::Taken);
        }
        let mut joined = None;
        if let Some(principal) = &record.principal {
            joined = self.join(principal, record.session, ttl, most, now).await?;
            if joined.is_none() {
                self.tidy(vec![unlink(&self.keys.reference(&uid))]).await;
                return Ok(Stored::TooMany);
            }
        }
        let mut arguments = vec![
            key.clone().into_bytes(),
            uid.clone().into_bytes(),
            decimal(now),
            self.garbage_millis().to_string().into_bytes(),
            LONGEST.to_string().into_bytes(),
            pairs.len().to_string().into_bytes(),
        ];
        arguments.extend(pairs.into_iter().flat_map(|(field, value)| [field, value]));
        for _ in 0..2 {
            match self.run(&CREATE, &self.keys.session(&key), &arguments).await? {
                Answer::Done => {
                    if let Some(joined) = &joined {
                        self.tidy_others(joined).await;
                    }
                    return Ok(Stored::Done);
                }
                Answer::Elsewhere(home) if self.remove_dead_alias(&record.key, &home).await? => {}
                Answer::Elsewhere(_) | Answer::Taken => break,
                _ => return Err(unexpected()),
            }
        }
        if self.uid_at(&key).await?.as_deref() != Some(&uid) {
            self.tidy(vec![unlink(&self.keys.reference(&uid))]).await;
        }
        if let Some(joined) = &joined {
            self.leave(joined).await;
        }
        Ok(Stored::Taken)
    }

    /// Notes where the session of a reference is going to lie. `false` if there is such a session.
    async fn refer(&self, uid: &str, key: &str, ttl: i64) -> Result<bool, DriverError> {
        let reference = self.keys.reference(uid);
        if let Some(home) = self.get(&reference).await?
            && self.uid_at(&home).await?.as_deref() == Some(uid)
        {
            return Ok(false);
        }
        let mut set = redis::cmd("SET");
        set.arg(&reference).arg(key).arg("PX").arg(ttl);
        self.send(&set, Effect::Repeatable).await?;
        Ok(true)
    }

    /// The reference of the session that lies there.
    async fn uid_at(&self, home: &str) -> Result<Option<String>, DriverError> {
        let mut get = redis::cmd("HGET");
        get.arg(self.keys.session(home)).arg("rec");
        let record = self.send(&get, Effect::Repeatable).await?;
        let record: Option<String> =
            redis::from_redis_value(record).map_err(|error| self.error(error.into()))?;
        Ok(record.and_then(|record| Some(record.split(' ').next()?.to_owned())))
    }

    /// Removes the alias under `key`, unless the session at `home` still answers to it.
    pub(super) async fn remove_dead_alias(
        &self,
        key: &SessionKey,
        at: &str,
    ) -> Result<bool, DriverError> {
        let mut place = Place { home: at.to_owned(), key: home(key), uid: String::new() };
        if self.inspect_at(&mut place).await?.is_some() {
            return Ok(false);
        }
        self.tidy(vec![unlink(&self.keys.session(&home(key)))]).await;
        Ok(true)
    }

    pub(super) async fn replace_item(
        &self,
        replace: ReplaceItem,
    ) -> Result<ReplaceOutcome, DriverError> {
        let Some(mut place) = self.place_of(&uid(&replace.session)).await? else {
            self.expect_environment().await?;
            return Ok(ReplaceOutcome::Gone);
        };
        let expected = replace.expected.as_deref();
        let longest = expected.map_or(0, str::len).max(replace.limits.value_bytes);
        let mut arguments = vec![
            decimal(replace.now),
            prefix(&replace.application).into_bytes(),
            replace.key.as_bytes().to_vec(),
            flag(expected.is_some()),
            expected.unwrap_or_default().as_bytes().to_vec(),
            replace.value.as_bytes().to_vec(),
            longest.to_string().into_bytes(),
        ];
        arguments.extend(limits(&replace.limits));
        match self.run_on(&REPLACE, &mut place, &arguments).await? {
            Answer::Done => Ok(ReplaceOutcome::Done),
            Answer::Conflict(current) => Ok(ReplaceOutcome::Conflict(current)),
            Answer::None => {
                self.expect_environment().await?;
                Ok(ReplaceOutcome::Gone)
            }
            Answer::Totals(count, bytes, longest) => {
                replace.limits.check_totals(count, bytes, longest)?;
                Err(unexpected())
            }
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn destroy(&self, destroy: Destroy) -> Result<Vec<SessionRef>, DriverError> {
        let places = try_join_all(destroy.sessions.iter().map(|locator| self.place(locator)));
        let places = places.await?.into_iter().flatten();
        let ended = self.end_each(places.collect(), &[Vec::new()]).await?;
        if ended.is_empty() {
            self.expect_environment().await?;
        }
        Ok(ended)
    }
}

pub(super) fn decimal(time: Timestamp) -> Vec<u8> {
    time.as_millis().to_string().into_bytes()
}

pub(super) fn flag(is: bool) -> Vec<u8> {
    if is { b"1".to_vec() } else { b"0".to_vec() }
}

/// The fields of a record that it has.
fn fields(record: &SessionRecord) -> Vec<(Vec<u8>, Vec<u8>)> {
    let fields = [
        ("rec", Some(pack(record))),
        ("pri", record.principal.clone()),
        ("note", record.note.clone()),
    ];
    let pair = |(field, value): (&str, Option<String>)| {
        value.map(|value| (field.as_bytes().to_vec(), value.into_bytes()))
    };
    fields.into_iter().filter_map(pair).collect()
}
