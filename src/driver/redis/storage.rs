//! What the clones of a driver share, and the small steps that calls are made of.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use parking_lot::Mutex;
use redis::{Cmd, RedisError, Value, from_redis_value};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::answer::{Answer, Member, unexpected};
use super::cleanup::Progress;
use super::error::redact;
use super::keys::{Home, Keys, home, uid};
use super::link::{Effect, Link};
use super::scripts::{ADD, DROP, END, LOAD, Script};
use crate::clock::Timestamp;
use crate::driver::{DriverError, DriverErrorKind, DriverFuture, Limits, Locator, SessionRecord};
use crate::id::SessionRef;

/// The longest time after which Redis forgets a key: a hundred years, in milliseconds.
pub(super) const LONGEST: i64 = 100 * 366 * 86_400_000;

/// The version of the layout, kept in `<environment>:version`.
pub(super) const VERSION: i64 = 1;

/// What the version is while the environment is being removed.
pub(super) const REMOVING: &str = "removing";

pub(super) struct Storage {
    /// For messages: the server, without user and password.
    pub(super) place: String,
    pub(super) keys: Keys,
    pub(super) link: Link,
    pub(super) call_timeout: Duration,
    /// How long after its end Redis forgets a session.
    pub(super) garbage_after: Duration,
    pub(super) cleanup: Mutex<Option<Progress>>,
}

/// Where to look for a session, and what has to be found there. Empty is not known.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) home: Home,
    pub(super) key: String,
    pub(super) uid: String,
}

impl Storage {
    /// Bounds the time of a call.
    pub(super) fn call<T, F>(
        self: &Arc<Self>,
        call: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> DriverFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DriverError>> + Send + 'static,
    {
        let storage = self.clone();
        DriverFuture::new(async move {
            if Handle::try_current().is_err() {
                return Err(DriverError::new(DriverErrorKind::Other, "there is no tokio runtime"));
            }
            let limit = storage.call_timeout;
            match timeout(limit, call(storage.clone())).await {
                Ok(answer) => answer,
                Err(_) => Err(storage.timed_out()),
            }
        })
    }

    /// Runs a call of several writes on a task of its own, so that it ends even if nobody waits for it.
    pub(super) fn call_to_its_end<T, F>(
        self: &Arc<Self>,
        call: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> DriverFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DriverError>> + Send + 'static,
    {
        self.call(|storage| async move {
            let limit = storage.call_timeout;
            let timed_out = storage.timed_out();
            match tokio::spawn(timeout(limit, call(storage))).await {
                Ok(answer) => answer.unwrap_or(Err(timed_out)),
                Err(_) => Err(DriverError::new(
                    DriverErrorKind::Other,
                    "the task of the call was stopped",
                )),
            }
        })
    }

    fn timed_out(&self) -> DriverError {
        DriverError::new(
            DriverErrorKind::Timeout,
            format!("{}: no answer within {:?}", self.place, self.call_timeout),
        )
    }

    pub(super) fn error(&self, error: RedisError) -> DriverError {
        redact(&error, &self.place)
    }

    pub(super) async fn send(&self, command: &Cmd, effect: Effect) -> Result<Value, DriverError> {
        self.link.send(command, effect).await.map_err(|error| self.error(error))
    }

    /// Does what makes no difference to any answer: if it fails, something is left that means nothing.
    pub(super) async fn tidy(&self, commands: Vec<Cmd>) {
        let all = commands.iter().map(|command| self.link.send(command, Effect::Repeatable));
        for answer in join_all(all).await {
            if let Err(error) = answer {
                tracing::debug!(error = %self.error(error), "an index entry could not be removed");
            }
        }
    }

    pub(super) async fn run(
        &self,
        script: &Script,
        key: &str,
        arguments: &[impl AsRef<[u8]> + Sync],
    ) -> Result<Answer, DriverError> {
        let answer = self.link.run(script, key, arguments).await;
        Answer::read(answer.map_err(|error| self.error(error))?)
    }

    /// Fails unless the environment exists. A session that was found is proof enough, so only calls
    /// that find none or make one ask.
    pub(super) async fn expect_environment(&self) -> Result<(), DriverError> {
        match self.version().await?.as_deref() {
            Some(version) if version == VERSION.to_string() => Ok(()),
            None | Some(REMOVING) => Err(DriverError::new(
                DriverErrorKind::EnvironmentMissing,
                "the version is missing; call `ensure_session_environment`, or build the layer \
                 with `AutoCreate::Missing`",
            )),
            Some(other) => {
                Err(DriverError::new(DriverErrorKind::EnvironmentDefective, defect(other)))
            }
        }
    }

    pub(super) async fn version(&self) -> Result<Option<String>, DriverError> {
        self.get(&self.keys.version()).await
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<String>, DriverError> {
        let value = self.send(redis::cmd("GET").arg(key), Effect::Repeatable).await?;
        from_redis_value(value).map_err(|error| self.error(error.into()))
    }

    /// Where to begin to look.
    pub(super) async fn place(&self, locator: &Locator) -> Result<Option<Place>, DriverError> {
        match locator {
            Locator::Key(key) => {
                let home = home(key);
                Ok(Some(Place { key: home.clone(), home, uid: String::new() }))
            }
            Locator::Ref(session) => self.place_of(&uid(session)).await,
        }
    }

    pub(super) async fn place_of(&self, uid: &str) -> Result<Option<Place>, DriverError> {
        let home = self.get(&self.keys.reference(uid)).await?;
        Ok(home.map(|home| Place { home, key: String::new(), uid: uid.to_owned() }))
    }

    /// Runs a script where the session lies; `arguments` begin behind the key and the uid.
    pub(super) async fn run_on(
        &self,
        script: &Script,
        place: &mut Place,
        arguments: &[Vec<u8>],
    ) -> Result<Answer, DriverError> {
        let mut all = vec![place.key.clone().into_bytes(), place.uid.clone().into_bytes()];
        all.extend_from_slice(arguments);
        // An alias leads to a session, never to another alias.
        for _ in 0..2 {
            match self.run(script, &self.keys.session(&place.home), &all).await? {
                Answer::Elsewhere(home) => place.home = home,
                answer => return Ok(answer),
            }
        }
        Ok(Answer::None)
    }

    /// The record of a session and where it lies.
    pub(super) async fn inspect(
        &self,
        locator: &Locator,
    ) -> Result<Option<(Place, SessionRecord)>, DriverError> {
        let Some(mut place) = self.place(locator).await? else {
            return Ok(None);
        };
        Ok(self.inspect_at(&mut place).await?.map(|record| (place, record)))
    }

    pub(super) async fn inspect_at(
        &self,
        place: &mut Place,
    ) -> Result<Option<SessionRecord>, DriverError> {
        let mut arguments = vec![Vec::new()];
        arguments.extend(limits(&Limits::default()));
        match self.run_on(&LOAD, place, &arguments).await? {
            Answer::Found(record, _) => Ok(Some(record)),
            Answer::None => Ok(None),
            _ => Err(unexpected()),
        }
    }

    /// Ends a session, if the condition holds, and removes what points to it.
    pub(super) async fn end(
        &self,
        mut place: Place,
        condition: &[Vec<u8>],
    ) -> Result<Option<SessionRef>, DriverError> {
        match self.run_on(&END, &mut place, condition).await? {
            Answer::Record(record) => {
                self.forget(&place.home, &record).await;
                Ok(Some(record.session))
            }
            Answer::None => Ok(None),
            _ => Err(unexpected()),
        }
    }

    /// Removes what points to a session that has ended.
    async fn forget(&self, lay_at: &str, record: &SessionRecord) {
        let uid = uid(&record.session);
        let aliases = [Some(record.key), record.previous_key].into_iter().flatten();
        let aliases = aliases.map(|key| home(&key)).filter(|alias| alias != lay_at);
        let mut tidy: Vec<Cmd> = aliases.map(|alias| unlink(&self.keys.session(&alias))).collect();
        tidy.push(unlink(&self.keys.reference(&uid)));
        if let Some(principal) = &record.principal {
            tidy.push(remove(&self.keys.principal(principal), &uid));
        }
        self.tidy(tidy).await;
    }

    /// Adds a session to those of its principal. `false` if there are more than `most` others.
    pub(super) async fn add_to_principal(
        &self,
        principal: &str,
        uid: &str,
        ttl: i64,
        most: Option<u32>,
        now: Timestamp,
    ) -> Result<bool, DriverError> {
        let ttl = ttl.to_string();
        let most = most.map(|most| most.to_string()).unwrap_or_default();
        let set = self.keys.principal(principal);
        loop {
            let others = match self.run(&ADD, &set, &[uid, &ttl, &most]).await? {
                Answer::Done => return Ok(true),
                Answer::Full(others) => others,
                _ => return Err(unexpected()),
            };
            let dropped = others.iter().map(|other| self.drop_if_dead(principal, other, now));
            if !try_join_all(dropped).await?.contains(&true) {
                return Ok(false);
            }
        }
    }

    /// Takes a session out of those of a principal to which it does not belong. Whether it did not.
    async fn drop_if_dead(
        &self,
        principal: &str,
        (uid, added, age): &Member,
        now: Timestamp,
    ) -> Result<bool, DriverError> {
        let record = match self.place_of(uid).await? {
            Some(mut place) => self.inspect_at(&mut place).await?,
            None => None,
        };
        let dead = match record.filter(|record| record.principal.as_deref() == Some(principal)) {
            Some(record) => !record.is_live(now),
            // Its commit may be under way, for as long as a call may take.
            None => i128::from(*age) > 2 * self.call_timeout.as_millis() as i128,
        };
        if dead {
            self.run(&DROP, &self.keys.principal(principal), &[uid, added]).await?;
        }
        Ok(dead)
    }

    /// How long Redis keeps what belongs to a session that ends then, in milliseconds.
    pub(super) fn ttl(&self, ends: Timestamp, now: Timestamp) -> i64 {
        let left = ends.as_millis().saturating_sub(now.as_millis()).max(0);
        left.saturating_add(self.garbage_millis()).min(LONGEST)
    }

    pub(super) fn garbage_millis(&self) -> i64 {
        i64::try_from(self.garbage_after.as_millis()).unwrap_or(LONGEST).min(LONGEST)
    }
}

pub(super) fn unlink(key: &str) -> Cmd {
    let mut command = redis::cmd("UNLINK");
    command.arg(key);
    command
}

/// Takes a session out of those of a principal.
pub(super) fn remove(set: &str, uid: &str) -> Cmd {
    let mut command = redis::cmd("ZREM");
    command.arg(set).arg(uid);
    command
}

/// The limits as arguments: most items, most bytes, longest text.
pub(super) fn limits(limits: &Limits) -> [Vec<u8>; 3] {
    [limits.items, limits.application_bytes, limits.value_bytes]
        .map(|limit| limit.to_string().into_bytes())
}

/// What is wrong with a version that is not [`VERSION`].
pub(super) fn defect(version: &str) -> String {
    match version.parse::<i64>() {
        Ok(newer) if newer > VERSION => format!(
            "its version is {newer}, made by a newer version of this crate; this one knows {VERSION}"
        ),
        Ok(other) => format!("its version {other} is unknown"),
        Err(_) => "its version is not a number".to_owned(),
    }
}
