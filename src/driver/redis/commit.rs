//! Commits: one script on the session, before which what is to lead to it from other slots is made.

use std::sync::Arc;

use futures_util::future::join;

use super::answer::{Answer, unexpected};
use super::keys::{home, prefix, uid};
use super::link::Effect;
use super::principals::Joined;
use super::scripts::{ALIAS, CHECK, COMMIT};
use super::session::{Stored, decimal, flag};
use super::storage::{LONGEST, Place, Storage, limits, unlink};
use crate::clock::Timestamp;
use crate::driver::{
    Commit, CommitOutcome, DriverError, Locator, SessionChange, SessionRecord, Target,
};
use crate::id::SessionKey;

/// What leads to a session if its commit is done, and means nothing before.
#[derive(Default)]
struct Prepared {
    /// The shape of the record that it was made for, as in `target.lua`; empty if nothing had to be.
    shape: String,
    /// The name of the alias under a fresh key.
    alias: Option<String>,
    joined: Option<Joined>,
    /// The principal whose session it was till now, its uid and its score there.
    left: Option<(String, String, String)>,
}

enum Preparation {
    Made(Prepared),
    /// The commit cannot be done; `None` if there is no session.
    Refused(Option<CommitOutcome>),
}

/// Whether a commit reserves a place among the sessions of a principal, so that it must not be given up
/// before it is known whether the place is needed.
pub(super) fn reserves(commit: &Commit) -> bool {
    let is_made_theirs = |record: &SessionRecord| record.principal.is_some();
    commit.session.principal.is_some()
        || match &commit.target {
            Target::New(record) => is_made_theirs(record),
            Target::Presented { otherwise, .. } => otherwise.as_ref().is_some_and(is_made_theirs),
            Target::Seen { .. } | Target::Existing(_) => false,
        }
}

fn leads_elsewhere(change: &SessionChange) -> bool {
    change.key.is_some() || change.ends.is_some() || change.principal.is_some()
}

impl Storage {
    pub(super) async fn commit(
        self: &Arc<Self>,
        commit: &Commit,
    ) -> Result<CommitOutcome, DriverError> {
        if let Target::New(record) = &commit.target {
            return self.commit_new(record, commit).await;
        }
        let deadline = self.deadline();
        if let Some(record) = self.commit_plain(commit, deadline).await? {
            return Ok(CommitOutcome::Done(record));
        }
        // In a box of its own, as few calls get to it: that of a plain commit is smaller.
        self.by(deadline, Box::pin(self.commit_completely(commit))).await
    }

    async fn commit_completely(
        self: &Arc<Self>,
        commit: &Commit,
    ) -> Result<CommitOutcome, DriverError> {
        let place = match &commit.target {
            Target::New(_) => None,
            Target::Existing(locator) => self.place(locator).await?,
            Target::Seen { session, key } => {
                let key = home(key);
                Some(Place { home: key.clone(), key, uid: uid(session) })
            }
            Target::Presented { key, .. } => self.place(&Locator::Key(*key)).await?,
        };
        if let Some(place) = place
            && let Some(outcome) = self.commit_existing(place, commit).await?
        {
            return Ok(outcome);
        }
        self.expect_environment().await?;
        match &commit.target {
            Target::Presented { otherwise: Some(record), .. } => {
                self.commit_new(record, commit).await
            }
            _ => Ok(CommitOutcome::Gone),
        }
    }

    async fn commit_new(
        self: &Arc<Self>,
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

    /// Commits to a session that exists; `None` if it does not, or not any more.
    async fn commit_existing(
        &self,
        mut place: Place,
        commit: &Commit,
    ) -> Result<Option<CommitOutcome>, DriverError> {
        loop {
            let prepared = match self.prepare(&mut place, commit).await? {
                Preparation::Made(prepared) => prepared,
                Preparation::Refused(outcome) => return Ok(outcome),
            };
            let arguments = arguments(self, commit, &prepared.shape);
            let tidying = async {
                if let Some(joined) = &prepared.joined {
                    self.tidy_others(joined).await;
                }
            };
            // Without an answer it may have been done.
            let (answer, ()) = join(self.run_on(&COMMIT, &mut place, &arguments), tidying).await;
            let answer = answer?;
            if let Answer::Record(record) = answer {
                if let Some((principal, uid, score)) = &prepared.left {
                    self.undo(principal, uid, score, "").await;
                }
                return Ok(Some(CommitOutcome::Done(record)));
            }
            self.take_back(&prepared).await;
            return match answer {
                Answer::Changed => continue,
                Answer::None => Ok(None),
                Answer::Rotated => Ok(Some(CommitOutcome::Rotated)),
                Answer::Totals(count, bytes, longest) => {
                    commit.limits.check_totals(count, bytes, longest)?;
                    Err(unexpected())
                }
                _ => Err(unexpected()),
            };
        }
    }

    /// Makes what will lead to a session once the commit is done. The commit is done only if the record
    /// is the one for which this was made.
    async fn prepare(
        &self,
        place: &mut Place,
        commit: &Commit,
    ) -> Result<Preparation, DriverError> {
        let change = &commit.session;
        if !leads_elsewhere(change) {
            return Ok(Preparation::Made(Prepared::default()));
        }
        let record = match self.run_on(&CHECK, place, &asked_for(commit)).await? {
            Answer::Record(record) => record,
            Answer::None => return Ok(Preparation::Refused(None)),
            Answer::Rotated => return Ok(Preparation::Refused(Some(CommitOutcome::Rotated))),
            _ => return Err(unexpected()),
        };
        let mut prepared = Prepared { shape: shape(&record), ..Prepared::default() };
        let ends = change.ends.map_or(record.ends, |ends| ends.max(record.ends));
        let ttl = self.ttl(ends, commit.now);
        if let Some(key) = &change.key {
            if !self.alias(key, &place.home, ttl).await? {
                return Ok(Preparation::Refused(Some(CommitOutcome::Collision)));
            }
            prepared.alias = Some(self.keys.session(&home(key)));
        }
        if change.ends.is_some() {
            self.keep_pointers(&place.home, &record, ttl).await?;
        }
        let principal = change.principal.as_ref().unwrap_or(&record.principal).as_deref();
        if let Some(before) = record.principal.as_deref().filter(|old| Some(*old) != principal) {
            let uid = uid(&record.session);
            let score = self.score(before, &uid).await?;
            prepared.left = score.map(|score| (before.to_owned(), uid, score));
        }
        if let Some(principal) = principal
            && (change.principal.is_some() || change.ends.is_some())
        {
            let most = commit.capped().map(|(_, most)| most);
            let joined = self.join(principal, record.session, ttl, most, commit.now).await?;
            if joined.is_none() {
                self.take_back(&prepared).await;
                return Ok(Preparation::Refused(Some(CommitOutcome::TooMany)));
            }
            prepared.joined = joined;
        }
        Ok(Preparation::Made(prepared))
    }

    /// Removes what was made for a commit that is not done.
    async fn take_back(&self, prepared: &Prepared) {
        self.tidy(prepared.alias.iter().map(|alias| unlink(alias)).collect()).await;
        if let Some(joined) = &prepared.joined {
            self.leave(joined).await;
        }
    }

    /// Keeps what leads to a session for so long, at least.
    async fn keep_pointers(
        &self,
        lies_at: &str,
        record: &SessionRecord,
        ttl: i64,
    ) -> Result<(), DriverError> {
        let aliases = [Some(record.key), record.previous_key].into_iter().flatten();
        let aliases = aliases.map(|key| home(&key)).filter(|alias| alias != lies_at);
        let mut kept: Vec<_> = aliases.map(|alias| self.keys.session(&alias)).collect();
        kept.push(self.keys.reference(&uid(&record.session)));
        for key in kept {
            let mut expire = redis::cmd("PEXPIRE");
            expire.arg(key).arg(ttl).arg("GT");
            self.send(&expire, Effect::Repeatable).await?;
        }
        Ok(())
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
}

/// All of a record that other keys have to agree with, as in `target.lua`.
fn shape(record: &SessionRecord) -> String {
    let principal = record.principal.iter().map(|principal| format!(" {principal}"));
    format!("{} {}{}", home(&record.key), record.ends.as_millis(), principal.collect::<String>())
}

/// The arguments of `target.lua`, behind the key and the uid.
fn asked_for(commit: &Commit) -> Vec<Vec<u8>> {
    let (target, retired_after) = match &commit.target {
        Target::Seen { .. } => ("seen", Timestamp::MIN),
        Target::Presented { retired_after, .. } => ("presented", *retired_after),
        Target::Existing(_) | Target::New(_) => ("existing", Timestamp::MIN),
    };
    vec![
        target.as_bytes().to_vec(),
        decimal(commit.now),
        decimal(retired_after),
        commit.session.key.as_ref().map(home).unwrap_or_default().into_bytes(),
    ]
}

/// The arguments of `commit.lua`, behind the key and the uid.
fn arguments(storage: &Storage, commit: &Commit, shape: &str) -> Vec<Vec<u8>> {
    let idle = commit.session.idle.map(|idle| idle.as_millis().to_string());
    let mut all = asked_for(commit);
    all.extend([
        shape.as_bytes().to_vec(),
        storage.garbage_millis().to_string().into_bytes(),
        LONGEST.to_string().into_bytes(),
        idle.unwrap_or_default().into_bytes(),
    ]);
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
