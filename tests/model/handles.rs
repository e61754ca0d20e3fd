//! Handles of one request, used by several tasks at once.

use web_session::{SessionError, SessionManager};

use super::rig::{Items, Shop, World, both, choose, explore, give_up_after, items};

/// What the tasks of a request have done, as far as they were told.
#[derive(Debug, Default, Clone, Copy)]
struct Done {
    counted: i64,
    /// Updates that were given up: done or not.
    perhaps: i64,
    rotated: bool,
    /// Whether a commit was given up: done or not, unless its changes are committed again.
    gave_up: bool,
    rolled_back: bool,
}

impl Done {
    fn and(self, other: Self) -> Self {
        Self {
            counted: self.counted + other.counted,
            perhaps: self.perhaps + other.perhaps,
            rotated: self.rotated || other.rotated,
            gave_up: self.gave_up || other.gave_up,
            rolled_back: self.rolled_back || other.rolled_back,
        }
    }
}

async fn count(session: &SessionManager) -> Result<i64, SessionError> {
    session.app::<Shop>().update("n", |n: Option<i64>| n.unwrap() + 1).await
}

/// Does three things that are chosen with the schedule.
async fn work(session: SessionManager, key: &'static str) -> Result<Done, SessionError> {
    let shop = session.app::<Shop>();
    let mut done = Done::default();
    for step in 0..3 {
        match choose(9) {
            0 => session.commit().await?,
            1 => done.counted += i64::from(count(&session).await? > 0),
            2 => {
                session.rollback();
                done.rolled_back = true;
            }
            3 => {
                session.rotate().await?;
                done.rotated = true;
            }
            4 => assert!(items(&session).await.contains_key("n")),
            5 => shop.set(key, &step)?,
            6 => {
                let committed = give_up_after(choose(7), session.commit()).await.transpose()?;
                done.gave_up |= committed.is_none();
            }
            7 => match give_up_after(choose(7), count(&session)).await {
                Some(counted) => done.counted += i64::from(counted? > 0),
                None => done.perhaps += 1,
            },
            _ => drop(shop.remove::<i64>(key).await?),
        }
    }
    Ok(done)
}

// S2, S4, S6, T2, T5, L6
#[test]
fn whatever_its_tasks_do_a_request_knows_what_is_stored() {
    explore(|| async {
        let world = World::new().await;
        let visitor = world.visitor().await;
        let old = visitor.cookie();
        let (tell, told) = shuttle::sync::mpsc::channel::<(Done, Items)>();
        let answer = visitor.send(|session| async move {
            let others = both(work(session.clone(), "a"), work(session.clone(), "b"));
            let (one, others) = both(work(session.clone(), "c"), others).await;
            let done = one?.and(others.0?).and(others.1?);
            tell.send((done, items(&session).await)).unwrap();
            Ok(())
        });
        let answer = answer.await;
        assert!(answer.is_ok(), "{answer:?}");
        let (done, mut seen) = told.recv().unwrap();
        let mut stored = visitor.items().await.unwrap();
        let (n, seen_n) = (stored.remove("n").unwrap(), seen.remove("n").unwrap());
        if !(done.gave_up && done.rolled_back) {
            assert_eq!(stored, seen);
        }
        assert!((done.counted..=done.counted + done.perhaps).contains(&n), "{n} of {done:?}");
        // It does not know of an update that was given up and done all the same.
        assert!((done.counted..=n).contains(&seen_n), "{seen_n} of {done:?}");
        assert_eq!(answer.cookie.is_some(), visitor.cookie() != old);
        assert_eq!(answer.cookie.is_some(), world.rotations() > 0);
        assert!(done.rotated || answer.cookie.is_none());
        assert_eq!((world.storage.len(), world.creations(), world.ends()), (1, 0, 0));
    });
}

// S2
#[test]
fn a_commit_that_has_succeeded_has_stored_what_was_set_before_it() {
    explore(|| async {
        let visitor = World::new().await.visitor().await;
        let world = visitor.world.clone();
        let answer = visitor.send(move |session| async move {
            let saves = |key: &'static str| {
                let (session, world) = (session.clone(), world.clone());
                async move {
                    session.app::<Shop>().set(key, &1)?;
                    session.commit().await?;
                    let id = session.session_id().unwrap().expose().to_string();
                    assert!(world.items_of(&id).await.unwrap().contains_key(key));
                    Ok::<_, SessionError>(())
                }
            };
            let (one, other) = both(saves("one"), saves("other")).await;
            one.and(other)
        });
        assert!(answer.await.is_ok());
    });
}

// S2, L6
#[test]
fn a_rollback_beside_a_commit_drops_all_of_its_changes_or_none() {
    explore(|| async {
        let visitor = World::new().await.visitor().await;
        let (tell, told) = shuttle::sync::mpsc::channel::<Items>();
        let answer = visitor.send(move |session| async move {
            items(&session).await;
            let saves = session.clone();
            let saves = async move {
                let shop = saves.app::<Shop>();
                shop.set("n", &1)?;
                shop.set("m", &1)?;
                saves.commit().await
            };
            let drops = session.clone();
            let (saved, ()) = both(saves, async move { drops.rollback() }).await;
            session.commit().await?;
            tell.send(items(&session).await).unwrap();
            saved
        });
        assert!(answer.await.is_ok());
        let stored = visitor.items().await.unwrap();
        assert_eq!(told.recv().unwrap(), stored);
        // Between the two changes it drops the first.
        assert!(stored["n"] == 0 || stored.contains_key("m"), "{stored:?}");
    });
}

// S2, S4
#[test]
fn a_change_beside_an_update_comes_before_it_or_after_it() {
    explore(|| async {
        let visitor = World::new().await.visitor().await;
        let (tell, told) = shuttle::sync::mpsc::channel::<Items>();
        let answer = visitor.send(move |session| async move {
            let shop = session.app::<Shop>();
            let counts = session.clone();
            let counts = async move { count(&counts).await };
            let (counted, set) = both(counts, async move { shop.set("n", &10) }).await;
            set?;
            let seen = items(&session).await;
            let expected = if counted? == 1 { 10 } else { 11 };
            assert_eq!(seen["n"], expected);
            tell.send(seen).unwrap();
            Ok(())
        });
        assert!(answer.await.is_ok());
        assert_eq!(told.recv().unwrap(), visitor.items().await.unwrap());
    });
}

// L6, T2: the response may leave while a task of the request still works.
#[test]
fn a_task_that_outlives_its_request_leaves_no_session_that_nobody_knows() {
    explore(|| async {
        let world = World::new().await;
        let visitor = world.stranger();
        let (tell, told) = shuttle::sync::mpsc::channel();
        let request = visitor.send(move |session| async move {
            let task = shuttle::future::spawn(async move {
                session.app::<Shop>().set("late", &1).unwrap();
                session.commit().await
            });
            tell.send(task).unwrap();
            Ok(())
        });
        let answer = request.await;
        let late = told.recv().unwrap().await.unwrap();
        assert!(answer.is_ok(), "{answer:?}");
        match late {
            Ok(()) => assert!(answer.cookie.is_some() || world.storage.is_empty()),
            Err(error) => {
                assert_eq!(error, SessionError::ResponseStarted);
                world.assert_empty().await;
            }
        }
        assert_eq!(visitor.items().await.is_some(), answer.cookie.is_some());
        assert_eq!(world.creations(), world.storage.len());
    });
}

// T2, L6
#[test]
fn a_rotation_of_a_task_that_outlives_its_request_leaves_the_visitor_the_valid_id() {
    explore(|| async {
        let world = World::new().await;
        let visitor = world.visitor().await;
        let (tell, told) = shuttle::sync::mpsc::channel();
        let request = visitor.send(move |session| async move {
            let writes = session.clone();
            let task = shuttle::future::spawn(async move {
                session.rotate().await?;
                session.commit().await
            });
            tell.send(task).unwrap();
            if choose(2) == 0 {
                writes.app::<Shop>().set("n", &1)?;
            }
            // A failure of the handler does not undo what a task commits.
            if choose(2) == 0 { Ok(()) } else { Err(SessionError::NotLoaded) }
        });
        let answer = request.await;
        let late = told.recv().unwrap().await.unwrap();
        assert!(late.is_ok() || late == Err(SessionError::ResponseStarted), "{late:?}");
        assert!(visitor.items().await.is_some());
        assert_eq!(world.rotations(), usize::from(answer.cookie.is_some()));
    });
}
