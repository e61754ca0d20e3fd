//! What the clones of a driver share, and the small steps that calls are made of.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::{Cmd, RedisError, Value, from_redis_value};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, unexpected};
use super::cleanup::Progress;
use super::error::redact;
use super::keys::{Home, Keys, home, uid};
use super::link::{Effect, Link};
use super::scripts::{END, LOAD, Script};
use super::small::Small;
use super::together::Lanes;
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
    pub(super) lanes: Lanes,
    pub(super) small: Small,
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
        self.call_in_steps(|storage| async move { storage.in_time(call(storage.clone())).await })
    }

    /// Runs a call that bounds the time of each of its steps itself.
    pub(super) fn call_in_steps<T, F>(
        self: &Arc<Self>,
        call: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> DriverFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DriverError>> + Send + 'static,
    {
        let storage = self.clone();
        DriverFuture::new(async move {
            expect_runtime()?;
            call(storage).await
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
        self.call_in_steps(|storage| async move {
            let task = async move { storage.in_time(call(storage.clone())).await };
            tokio::spawn(task).await.unwrap_or_else(|_| {
                Err(DriverError::new(DriverErrorKind::Other, "the task of the call was stopped"))
            })
        })
    }

    /// Gives up what takes longer than a call may.
    pub(super) fn in_time<T>(
        &self,
        step: impl Future<Output = Result<T, DriverError>>,
    ) -> impl Future<Output = Result<T, DriverError>> {
        self.by(self.deadline(), step)
    }

    /// When a call that begins now has taken too long.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.call_timeout
    }

    /// Gives up what is not done by then.
    pub(super) fn by<T>(
        &self,
        deadline: Instant,
        step: impl Future<Output = Result<T, DriverError>>,
    ) -> impl Future<Output = Result<T, DriverError>> {
        timeout_at(deadline, step).map(|answer| answer.unwrap_or_else(|_| Err(self.timed_out())))
    }

    pub(super) fn timed_out(&self) -> DriverError {
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
            self.forgive(answer.map_err(|error| self.error(error)));
        }
    }

    /// What became of something that makes no difference to any answer.
    pub(super) fn forgive<T>(&self, answer: Result<T, DriverError>) {
        if let Err(error) = answer {
            tracing::debug!(%error, "an index entry could not be removed");
        }
    }

    pub(super) async fn run(
        &self,
        script: &Script,
        key: &str,
        arguments: &[impl AsRef<[u8]> + Sync],
    ) -> Result<Answer, DriverError> {
        let answer = self.link.run(script, &[key], arguments).await;
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
            let answer = self.run(script, &self.keys.session(&place.home), &all).await;
            if script.writes() {
                // Perhaps it has become large.
                self.small.forget(&place.home);
            }
            match answer? {
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

    /// How long Redis keeps what leads to a session that ends then, in milliseconds: not shorter than the
    /// session itself, which is written later in the call.
    pub(super) fn ttl(&self, ends: Timestamp, now: Timestamp) -> i64 {
        let left = ends.as_millis().saturating_sub(now.as_millis()).max(0);
        let call = millis(self.call_timeout);
        left.saturating_add(self.garbage_millis()).saturating_add(call).min(LONGEST)
    }

    pub(super) fn garbage_millis(&self) -> i64 {
        millis(self.garbage_after)
    }
}

pub(super) fn expect_runtime() -> Result<(), DriverError> {
    let no_runtime = |_| DriverError::new(DriverErrorKind::Other, "there is no tokio runtime");
    Handle::try_current().map(drop).map_err(no_runtime)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(LONGEST).min(LONGEST)
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
