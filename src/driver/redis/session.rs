//! The calls on sessions.

use std::future::Future;

use futures_util::future::try_join_all;

use super::answer::{Answer, unexpected};
use super::keys::{home, prefix, uid};
use super::link::Effect;
use super::scripts::{ALIAS, COMMIT, CREATE, LOAD, REPLACE};
use super::storage::{LONGEST, Place, Storage, limits, remove, unlink};
use crate::clock::Timestamp;
use crate::driver::{
    Commit, CommitOutcome, Create, CreateOutcome, Destroy, DriverError, EndWhere, Found, Inspect,
    List, Load, Locator, ReplaceItem, ReplaceOutcome, SessionChange, SessionRecord, Target,
};
use crate::id::{SessionKey, SessionRef};

/// Whether a session could be stored.
enum Stored {
    Done,
    /// Its key or reference is taken.
    Taken,
    /// Its principal has as many others as it may have.
    TooMany,
}

impl Storage {
    pub(super) async fn load(&self, load: Load) -> Result<Vec<Found>, DriverError> {
        let wanted = load.application.as_ref().map(prefix).unwrap_or_default();
        let mut arguments = vec![wanted.into_bytes()];
        arguments.extend(limits(&load.limits));
        let one = |locator| self.load_one(locator, &load, &arguments);
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

    pub(super) async fn create(&self, create: Create) -> Result<CreateOutcome, DriverError> {
        let record = &create.session;
        Ok(match self.store(record, record.created, Vec::new(), None).await? {
            Stored::Done => CreateOutcome::Done,
            Stored::Taken | Stored::TooMany => CreateOutcome::Collision,
        })
    }

    pub(super) async fn commit(&self, commit: Commit) -> Result<CommitOutcome, DriverError> {
        let place = match &commit.target {
            Target::New(record) => return self.commit_new(record, &commit).await,
            Target::Existing(locator) => self.place(locator).await?,
            Target::Seen { session, key } => {
                let key = home(key);
                Some(Place { home: key.clone(), key, uid: uid(session) })
            }
            Target::Presented { key, .. } => self.place(&Locator::Key(*key)).await?,
        };
        if let Some(place) = place {
            match self.commit_existing(place, &commit).await? {
                Some(outcome) => return Ok(outcome),
                None => self.expect_environment().await?,
            }
        } else {
            self.expect_environment().await?;
        }
        match &commit.target {
            Target::Presented { otherwise: Some(record), .. } => {
                self.commit_new(record, &commit).await
            }
            _ => Ok(CommitOutcome::Gone),
        }
    }

    async fn commit_new(
        &self,
        record: &SessionRecord,
        commit: &Commit,
    ) -> Result<CommitOutcome, DriverError> {
        let mut record = record.clone();
        commit.session.apply_to_created(&mut record);
        let mut items = Vec::new();
        for changes in &commit.changes {
            let prefix = prefix(&changes.application);
            let stored =
                changes.items.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
            commit.limits.check(stored.clone().map(|(key, value)| (key.len(), value.len())))?;
            items.extend(stored.map(|(key, value)| {
                (format!("{prefix}{key}").into_bytes(), value.as_bytes().to_vec())
            }));
        }
        let most = commit.capped().map(|(_, most)| most);
        Ok(match self.store(&record, commit.now, items, most).await? {
            Stored::Done => CommitOutcome::Done(record),
            Stored::Taken => CommitOutcome::Collision,
            Stored::TooMany => CommitOutcome::TooMany,
        })
    }

    /// Stores a session, unless its key or reference is taken or its principal has more than `most`
    /// others. What points to it comes first.
    async fn store(
        &self,
        record: &SessionRecord,
        now: Timestamp,
        items: Vec<(Vec<u8>, Vec<u8>)>,
        most: Option<u32>,
    ) -> Result<Stored, DriverError> {
        self.expect_environment().await?;
        let (key, uid) = (home(&record.key), uid(&record.session));
        let ttl = self.ttl(record.ends, now);
        if !self.refer(&uid, &key, ttl).await? {
            return Ok(Stored::Taken);
        }
        if let Some(principal) = &record.principal
            && !self.add_to_principal(principal, &uid, ttl, most, now).await?
        {
            self.tidy(vec![unlink(&self.keys.reference(&uid))]).await;
            return Ok(Stored::TooMany);
        }
        let mut pairs = fields(record);
        pairs.extend(items);
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
                Answer::Done => return Ok(Stored::Done),
                Answer::Elsewhere(home) if self.remove_dead_alias(&record.key, &home).await? => {}
                Answer::Elsewhere(_) | Answer::Taken => break,
                _ => return Err(unexpected()),
            }
        }
        if self.uid_at(&key).await?.as_deref() != Some(&uid) {
            self.tidy(vec![unlink(&self.keys.reference(&uid))]).await;
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
        get.arg(self.keys.session(home)).arg("uid");
        let uid = self.send(&get, Effect::Repeatable).await?;
        redis::from_redis_value(uid).map_err(|error| self.error(error.into()))
    }

    /// Removes the alias under `key`, unless the session at `home` still answers to it.
    async fn remove_dead_alias(&self, key: &SessionKey, at: &str) -> Result<bool, DriverError> {
        let mut place = Place { home: at.to_owned(), key: home(key), uid: String::new() };
        if self.inspect_at(&mut place).await?.is_some() {
            return Ok(false);
        }
        self.tidy(vec![unlink(&self.keys.session(&home(key)))]).await;
        Ok(true)
    }

    /// Commits to a session that exists; `None` if it does not, or not any more.
    async fn commit_existing(
        &self,
        mut place: Place,
        commit: &Commit,
    ) -> Result<Option<CommitOutcome>, DriverError> {
        let change = &commit.session;
        if change.key.is_some()
            || change.ends.is_some()
            || matches!(change.principal, Some(Some(_)))
        {
            // What points to the session is made first, and means nothing until the session agrees.
            let Some(record) = self.inspect_at(&mut place).await? else {
                return Ok(None);
            };
            if let Target::Seen { key, .. } = &commit.target
                && change.key.is_some()
                && record.key != *key
                && record.is_live(commit.now)
            {
                return Ok(Some(CommitOutcome::Rotated));
            }
            match self.prepare(&place, &record, commit).await? {
                Stored::Done => {}
                Stored::Taken => return Ok(Some(CommitOutcome::Collision)),
                Stored::TooMany => return Ok(Some(CommitOutcome::TooMany)),
            }
        }
        let answer = self.run_on(&COMMIT, &mut place, &arguments(self, commit)).await;
        if let (Some(key), false) = (change.key, matches!(answer, Ok(Answer::Record(_)) | Err(_))) {
            self.tidy(vec![unlink(&self.keys.session(&home(&key)))]).await;
        }
        match answer? {
            Answer::Record(record) => Ok(Some(CommitOutcome::Done(record))),
            Answer::None => Ok(None),
            Answer::Rotated => Ok(Some(CommitOutcome::Rotated)),
            Answer::Totals(count, bytes, longest) => {
                commit.limits.check_totals(count, bytes, longest)?;
                Err(unexpected())
            }
            _ => Err(unexpected()),
        }
    }

    /// Makes what will point to a session once the commit is done.
    async fn prepare(
        &self,
        place: &Place,
        record: &SessionRecord,
        commit: &Commit,
    ) -> Result<Stored, DriverError> {
        let change = &commit.session;
        let uid = uid(&record.session);
        let ends = change.ends.map_or(record.ends, |ends| ends.max(record.ends));
        let ttl = self.ttl(ends, commit.now);
        if let Some(key) = &change.key
            && !self.alias(key, &place.home, ttl).await?
        {
            return Ok(Stored::Taken);
        }
        if change.ends.is_some() {
            let aliases = [Some(record.key), record.previous_key].into_iter().flatten();
            let aliases = aliases.map(|key| home(&key)).filter(|alias| *alias != place.home);
            let mut kept: Vec<_> = aliases.map(|alias| self.keys.session(&alias)).collect();
            kept.push(self.keys.reference(&uid));
            for key in kept {
                let mut expire = redis::cmd("PEXPIRE");
                self.send(expire.arg(key).arg(ttl), Effect::Repeatable).await?;
            }
        }
        let principal = change.principal.as_ref().unwrap_or(&record.principal);
        let most = commit.capped().map(|(_, most)| most);
        if let Some(principal) = principal
            && !self.add_to_principal(principal, &uid, ttl, most, commit.now).await?
        {
            let aliases = change.key.iter().map(|key| unlink(&self.keys.session(&home(key))));
            self.tidy(aliases.collect()).await;
            return Ok(Stored::TooMany);
        }
        Ok(Stored::Done)
    }

    /// Lets a new key lead to the session. `false` if it is taken.
    async fn alias(&self, key: &SessionKey, leads_to: &str, ttl: i64) -> Result<bool, DriverError> {
        let alias = self.keys.session(&home(key));
        for _ in 0..2 {
            match self.run(&ALIAS, &alias, &[leads_to, &ttl.to_string()]).await? {
                Answer::Done => return Ok(true),
                Answer::Elsewhere(home) if self.remove_dead_alias(key, &home).await? => {}
                Answer::Elsewhere(_) | Answer::Taken => break,
                _ => return Err(unexpected()),
            }
        }
        Ok(false)
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
        let no_condition = [Vec::new()];
        let ends = places.map(|place| self.end(place, &no_condition));
        let ended: Vec<_> = self.all(ends).await?;
        if ended.is_empty() {
            self.expect_environment().await?;
        }
        Ok(ended)
    }

    pub(super) async fn list(&self, list: List) -> Result<Vec<SessionRecord>, DriverError> {
        self.expect_environment().await?;
        let places = self.places_of_principal(&list.principal).await?.into_iter();
        let found = places.map(|mut place| async move { self.inspect_at(&mut place).await });
        let mut records: Vec<_> = try_join_all(found).await?.into_iter().flatten().collect();
        // What is in the index of a principal may be about to come, or may have gone.
        records.retain(|record| record.principal.as_ref() == Some(&list.principal));
        records.retain(|record| record.is_live(list.now));
        records.sort_by_key(|record| (record.created, record.session));
        Ok(records)
    }

    pub(super) async fn end_where(&self, end: EndWhere) -> Result<Vec<SessionRef>, DriverError> {
        self.expect_environment().await?;
        let mut places = self.places_of_principal(&end.principal).await?;
        let records = places.iter_mut().map(|place| self.inspect_at(place));
        let mut records: Vec<_> = try_join_all(records).await?.into_iter().flatten().collect();
        records.retain(|record| record.principal.as_ref() == Some(&end.principal));
        let chosen: Vec<_> = end.choose(records).iter().map(uid).collect();
        places.retain(|place| chosen.contains(&place.uid));
        let condition = [b"principal".to_vec(), end.principal.clone().into_bytes()];
        let ends = places.into_iter().map(|place| self.end(place, &condition));
        self.all(ends).await
    }

    /// Where the sessions lie that are said to be a principal's.
    async fn places_of_principal(&self, principal: &str) -> Result<Vec<Place>, DriverError> {
        let set = self.keys.principal(principal);
        let members =
            self.send(redis::cmd("ZRANGE").arg(&set).arg(0).arg(-1), Effect::Repeatable).await?;
        let members: Vec<String> =
            redis::from_redis_value(members).map_err(|error| self.error(error.into()))?;
        let places = try_join_all(members.iter().map(|uid| self.place_of(uid))).await?;
        // A reference is made before its session and removed after it.
        let gone = members.iter().zip(&places).filter(|(_, place)| place.is_none());
        self.tidy(gone.map(|(uid, _)| remove(&set, uid)).collect()).await;
        Ok(places.into_iter().flatten().collect())
    }

    /// Awaits what ends sessions, all of it, even if some fail.
    async fn all(
        &self,
        ends: impl Iterator<Item = impl Future<Output = Result<Option<SessionRef>, DriverError>>>,
    ) -> Result<Vec<SessionRef>, DriverError> {
        let ended = futures_util::future::join_all(ends).await;
        ended.into_iter().filter_map(Result::transpose).collect()
    }
}

fn decimal(time: Timestamp) -> Vec<u8> {
    time.as_millis().to_string().into_bytes()
}

fn flag(is: bool) -> Vec<u8> {
    if is { b"1".to_vec() } else { b"0".to_vec() }
}

/// The fields of a record that it has.
fn fields(record: &SessionRecord) -> Vec<(Vec<u8>, Vec<u8>)> {
    let fields = [
        ("uid", Some(uid(&record.session))),
        ("key", Some(home(&record.key))),
        ("prev", record.previous_key.as_ref().map(home)),
        ("rot", record.rotated.map(|time| time.as_millis().to_string())),
        ("exp", Some(record.expires.as_millis().to_string())),
        ("end", Some(record.ends.as_millis().to_string())),
        ("crt", Some(record.created.as_millis().to_string())),
        ("use", Some(record.last_used.as_millis().to_string())),
        ("cl", record.cookie_lifetime.map(|millis| millis.to_string())),
        ("pri", record.principal.clone()),
        ("note", record.note.clone()),
    ];
    let pair = |(field, value): (&str, Option<String>)| {
        value.map(|value| (field.as_bytes().to_vec(), value.into_bytes()))
    };
    fields.into_iter().filter_map(pair).collect()
}

/// The arguments of `commit.lua`, behind the key and the uid.
fn arguments(storage: &Storage, commit: &Commit) -> Vec<Vec<u8>> {
    let (target, retired_after) = match &commit.target {
        Target::Seen { .. } => ("seen", Timestamp::MIN),
        Target::Presented { retired_after, .. } => ("presented", *retired_after),
        Target::Existing(_) | Target::New(_) => ("existing", Timestamp::MIN),
    };
    let mut all = vec![
        target.as_bytes().to_vec(),
        decimal(commit.now),
        decimal(retired_after),
        commit.session.key.as_ref().map(home).unwrap_or_default().into_bytes(),
        storage.garbage_millis().to_string().into_bytes(),
        LONGEST.to_string().into_bytes(),
        commit
            .session
            .idle
            .map(|idle| idle.as_millis().to_string())
            .unwrap_or_default()
            .into_bytes(),
    ];
    all.extend(limits(&commit.limits));
    let fields = changed_fields(&commit.session);
    all.push(fields.len().to_string().into_bytes());
    for (field, value) in fields {
        all.push(field.as_bytes().to_vec());
        all.push(flag(value.is_some()));
        all.push(value.unwrap_or_default().into_bytes());
    }
    all.push(commit.changes.len().to_string().into_bytes());
    for changes in &commit.changes {
        all.push(prefix(&changes.application).into_bytes());
        all.push(flag(changes.empty));
        all.push(flag(changes.stores()));
        all.push(changes.items.len().to_string().into_bytes());
        for (key, value) in &changes.items {
            all.push(key.as_bytes().to_vec());
            all.push(flag(value.is_some()));
            all.push(value.as_deref().unwrap_or_default().as_bytes().to_vec());
        }
    }
    all
}

/// The fields that a commit changes, apart from the key and what an idle timeout does; `None` removes one.
fn changed_fields(change: &SessionChange) -> Vec<(&'static str, Option<String>)> {
    let SessionChange { expires, ends, last_used, cookie_lifetime, principal, note, .. } = change;
    let time = |time: &Option<Timestamp>| time.map(|time| Some(time.as_millis().to_string()));
    let fields = [
        ("exp", time(expires)),
        ("end", time(ends)),
        ("use", time(last_used)),
        ("cl", cookie_lifetime.map(|lifetime| lifetime.map(|millis| millis.to_string()))),
        ("pri", principal.clone()),
        ("note", note.clone()),
    ];
    fields.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
}
