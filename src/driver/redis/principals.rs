//! The sessions of a principal: an index that is checked whenever it is followed.
//!
//! A session is added before the commit that makes it the principal's, and taken out when it is not, each
//! time with a score of its own; so what is decided about one adding has no effect on a later one.

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};

use redis::from_redis_value;

use super::answer::{Answer, Member, Membership, unexpected};
use super::keys::uid;
use super::link::Effect;
use super::scripts::{ADD, DROP, UNDO};
use super::storage::{Place, Storage};
use crate::clock::Timestamp;
use crate::driver::{DriverError, DriverErrorKind, EndWhere, List, SessionRecord};
use crate::id::SessionRef;

/// How many sessions one step looks at.
const STEP: usize = 200;

/// A session that is a principal's, and where it lies.
type Theirs = (Place, SessionRecord);

/// A session that was added to those of a principal before its commit.
pub(super) struct Joined {
    principal: String,
    uid: String,
    membership: Membership,
    /// Some of the others, to look at.
    some: Vec<Member>,
}

impl Storage {
    pub(super) async fn list(&self, list: List) -> Result<Vec<SessionRecord>, DriverError> {
        self.expect_environment().await?;
        let (theirs, damaged) = self.theirs(&list.principal).await?;
        if let Some(error) = damaged {
            return Err(error);
        }
        let mut records: Vec<_> = theirs.into_iter().map(|(_, record)| record).collect();
        records.retain(|record| record.is_live(list.now));
        records.sort_by_key(|record| (record.created, record.session));
        Ok(records)
    }

    /// Ends those that are sound even if another cannot be read.
    pub(super) async fn end_where(&self, end: EndWhere) -> Result<Vec<SessionRef>, DriverError> {
        self.expect_environment().await?;
        let (mut theirs, damaged) = self.theirs(&end.principal).await?;
        let chosen = end.choose(theirs.iter().map(|(_, record)| record.clone()).collect());
        theirs.retain(|(_, record)| chosen.binary_search(&record.session).is_ok());
        let condition = [b"principal".to_vec(), end.principal.clone().into_bytes()];
        let places = theirs.into_iter().map(|(place, _)| place);
        let ended = self.end_each(places.collect(), &condition).await?;
        damaged.map_or(Ok(ended), Err)
    }

    /// Ends sessions, all of them, even if some fail.
    pub(super) async fn end_each(
        &self,
        places: Vec<Place>,
        condition: &[Vec<u8>],
    ) -> Result<Vec<SessionRef>, DriverError> {
        let ends = places.into_iter().map(|place| self.end(place, condition));
        let ended: Vec<_> = stream::iter(ends).buffer_unordered(STEP).collect().await;
        ended.into_iter().filter_map(Result::transpose).collect()
    }

    /// The sessions of a principal, expired ones too, and why one of them cannot be read.
    async fn theirs(
        &self,
        principal: &str,
    ) -> Result<(Vec<Theirs>, Option<DriverError>), DriverError> {
        let set = self.keys.principal(principal);
        let (mut theirs, mut damaged, mut cursor) = (Vec::new(), None, 0_u64);
        loop {
            let mut scan = redis::cmd("ZSCAN");
            scan.arg(&set).arg(cursor).arg("COUNT").arg(STEP);
            let answer = self.send(&scan, Effect::Repeatable).await?;
            let (next, members): (u64, Vec<(String, String)>) =
                from_redis_value(answer).map_err(|error| self.error(error.into()))?;
            // A small set is answered as a whole, whatever its size.
            for members in members.chunks(STEP) {
                let mut gone = Vec::new();
                let found = self.look_at(principal, members.iter().map(|(uid, _)| uid)).await;
                for (found, (uid, score)) in found.into_iter().zip(members) {
                    match found {
                        Ok(Some(session)) => theirs.push(session),
                        Ok(None) => gone.push((uid, score)),
                        Err(error) if error.kind() == DriverErrorKind::Corrupt => {
                            damaged = Some(error);
                        }
                        Err(error) => return Err(error),
                    }
                }
                self.drop_from(&set, gone).await;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        // A walk may come by the same session twice.
        theirs.sort_by_key(|(_, record)| record.session);
        theirs.dedup_by_key(|(_, record)| record.session);
        Ok((theirs, damaged))
    }

    /// The sessions with these references, as far as they are the principal's.
    async fn look_at(
        &self,
        principal: &str,
        uids: impl Iterator<Item = &String>,
    ) -> Vec<Result<Option<Theirs>, DriverError>> {
        join_all(uids.map(|uid| async move {
            let Some(mut place) = self.place_of(uid).await? else {
                return Ok(None);
            };
            let record = self.inspect_at(&mut place).await?;
            let record = record.filter(|record| record.principal.as_deref() == Some(principal));
            Ok(record.map(|record| (place, record)))
        }))
        .await
    }

    /// Adds a session to those of its principal, before its commit. `None` if there are more than
    /// `most` others that are live or whose commits are under way.
    pub(super) async fn join(
        &self,
        principal: &str,
        session: SessionRef,
        ttl: i64,
        most: Option<u32>,
        now: Timestamp,
    ) -> Result<Option<Joined>, DriverError> {
        let set = self.keys.principal(principal);
        let most = most.map(|most| most as usize);
        let mut arguments = vec![
            uid(&session),
            ttl.to_string(),
            (2 * self.call_timeout).as_millis().to_string(),
            most.map(|most| most.to_string()).unwrap_or_default(),
        ];
        loop {
            let others = match self.run(&ADD, &set, &arguments).await? {
                Answer::Added(membership, some) => {
                    let principal = principal.to_owned();
                    return Ok(Some(Joined { principal, uid: uid(&session), membership, some }));
                }
                Answer::Full(others) => others,
                _ => return Err(unexpected()),
            };
            let found = self.look_at(principal, others.iter().map(|(uid, ..)| uid)).await;
            let (mut counted, mut gone) = (0, Vec::new());
            for (found, (uid, score, is_under_way)) in found.into_iter().zip(&others) {
                let counts = match found {
                    Ok(Some((_, record))) => record.is_live(now),
                    Ok(None) if *is_under_way == 1 => true,
                    Ok(None) => {
                        gone.push((uid, score));
                        false
                    }
                    // Nobody can use it.
                    Err(error) if error.kind() == DriverErrorKind::Corrupt => false,
                    Err(error) => return Err(error),
                };
                if counts {
                    counted += 1;
                } else {
                    arguments.extend([uid.clone(), score.clone()]);
                }
            }
            self.drop_from(&set, gone).await;
            if most.is_some_and(|most| counted > most) {
                return Ok(None);
            }
        }
    }

    /// Takes back that a session was added: its commit was not done.
    pub(super) async fn leave(&self, joined: &Joined) {
        let Membership { score, before } = &joined.membership;
        self.undo(&joined.principal, &joined.uid, score, before).await;
    }

    /// Takes out those of the others to which a session was added that are not the principal's.
    pub(super) async fn tidy_others(&self, joined: &Joined) {
        let uids = joined.some.iter().map(|(uid, ..)| uid);
        let found = self.look_at(&joined.principal, uids).await;
        let gone = joined.some.iter().zip(found).filter(|(_, found)| matches!(found, Ok(None)));
        let gone = gone.map(|((uid, score, _), _)| (uid, score)).collect();
        self.drop_from(&self.keys.principal(&joined.principal), gone).await;
    }

    /// The score with which a session is among those of a principal, if it is.
    pub(super) async fn score(
        &self,
        principal: &str,
        uid: &str,
    ) -> Result<Option<String>, DriverError> {
        let mut score = redis::cmd("ZSCORE");
        score.arg(self.keys.principal(principal)).arg(uid);
        let score = self.send(&score, Effect::Repeatable).await?;
        from_redis_value(score).map_err(|error| self.error(error.into()))
    }

    /// Gives a session the score that it had before, or takes it out, unless it was added again.
    pub(super) async fn undo(&self, principal: &str, uid: &str, score: &str, before: &str) {
        let set = self.keys.principal(principal);
        self.forgive(self.run(&UNDO, &set, &[uid, score, before]).await);
    }

    async fn drop_from(&self, set: &str, members: Vec<(&String, &String)>) {
        let drops = members.into_iter().map(|(uid, score)| async move {
            self.forgive(self.run(&DROP, set, &[uid, score]).await);
        });
        join_all(drops).await;
    }
}
