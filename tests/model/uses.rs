//! Uses that are noted, ends that are set, and updates, beside each other.

use web_session::{SessionError, SessionLayerBuilder, SessionManager, SessionTarget};

use super::rig::{Answer, HOUR, START, Shop, Visitor, World, both, explore, items};

fn idle(builder: SessionLayerBuilder) -> SessionLayerBuilder {
    builder.idle_timeout(HOUR)
}

/// A visitor whose next use is to be noted.
async fn visitor() -> Visitor {
    let visitor = World::with(idle).await.visitor().await;
    visitor.world.clock.advance(HOUR / 2);
    visitor
}

fn read(visitor: &Visitor) -> impl Future<Output = Answer> + Send + use<> {
    visitor.send(|session| async move {
        items(&session).await;
        Ok(())
    })
}

// S5, T1
#[test]
fn a_use_that_is_noted_beside_a_logout_brings_nothing_back() {
    explore(|| async {
        let visitor = visitor().await;
        let ends = visitor.send(|session| async move { session.end().await });
        let (read, ends) = both(read(&visitor), ends).await;
        assert!(read.is_ok() && ends.is_ok());
        assert_eq!(read.cookie, None);
        assert_eq!(visitor.items().await, None);
        assert_eq!(visitor.world.ends(), 1);
        visitor.world.assert_empty().await;
    });
}

// T1, M17
#[test]
fn a_use_that_is_noted_beside_a_new_end_does_not_undo_it() {
    explore(|| async {
        let visitor = visitor().await;
        let id = visitor.cookie().unwrap();
        let end = START + 10 * HOUR + HOUR / 2 + HOUR / 4;
        let sets = visitor.send(move |session| async move {
            session.set_expire(end, SessionTarget::Current).await
        });
        let (read, sets) = both(read(&visitor), sets).await;
        assert!(read.is_ok() && sets.is_ok());
        let session = visitor.world.manager();
        assert_eq!(session.load_id(&id).await, Ok(true));
        assert_eq!(session.expire_time(), Some(end));
    });
}

// T1, T2
#[test]
fn a_use_that_is_noted_beside_a_rotation_counts_for_the_session() {
    explore(|| async {
        let visitor = visitor().await;
        let rotates = visitor.send(|session| async move { session.rotate().await });
        let (read, rotates) = both(read(&visitor), rotates).await;
        assert!(read.is_ok() && rotates.is_ok());
        assert_eq!(read.cookie, None);
        assert!(visitor.items().await.is_some());
        let session = visitor.world.manager();
        assert_eq!(session.load_id(&visitor.cookie().unwrap()).await, Ok(true));
        assert_eq!(session.expire_time(), Some(START + 10 * HOUR + HOUR / 2 + HOUR));
    });
}

async fn count_to(session: SessionManager, times: usize) -> Result<(), SessionError> {
    for _ in 0..times {
        session.app::<Shop>().update("n", |n: Option<i64>| n.unwrap() + 1).await?;
    }
    Ok(())
}

// S4
#[test]
fn updates_of_two_requests_and_of_two_handles_are_all_counted() {
    explore(|| async {
        let visitor = World::new().await.visitor().await;
        let one = visitor.send(|session| count_to(session, 2));
        let other = visitor.send(|session| async move {
            let (one, other) = both(count_to(session.clone(), 1), count_to(session, 1)).await;
            one.and(other)
        });
        let (one, other) = both(one, other).await;
        assert!(one.is_ok() && other.is_ok());
        assert_eq!(visitor.items().await.unwrap()["n"], 4);
    });
}

// S3, S4
#[test]
fn an_update_beside_a_commit_of_the_same_item_is_over_or_overwritten() {
    explore(|| async {
        let visitor = World::new().await.visitor().await;
        let counts = visitor.send(|session| count_to(session, 1));
        let sets = visitor.send(|session| async move {
            session.app::<Shop>().set("n", &10)?;
            session.app::<Shop>().set("m", &10)
        });
        let (counts, sets) = both(counts, sets).await;
        assert!(counts.is_ok() && sets.is_ok());
        let items = visitor.items().await.unwrap();
        assert!([10, 11].contains(&items["n"]), "{items:?}");
        assert_eq!(items["m"], 10);
    });
}

// S7, T5
#[test]
fn two_first_writes_of_one_request_create_one_session() {
    explore(|| async {
        let visitor = World::new().await.stranger();
        let answer = visitor.send(|session| async move {
            let write = |key: &'static str| {
                let session = session.clone();
                async move {
                    session.app::<Shop>().set(key, &1)?;
                    session.commit().await
                }
            };
            let update = session.clone();
            let update = async move {
                update.app::<Shop>().update("n", |n: Option<i64>| n.unwrap_or(0) + 1).await
            };
            let (one, other) = both(write("one"), both(write("other"), update)).await;
            one.and(other.0).and(other.1.map(drop))
        });
        let answer = answer.await;
        assert!(answer.is_ok() && answer.cookie.is_some());
        let items = visitor.items().await.unwrap();
        assert_eq!(
            items.into_iter().collect::<Vec<_>>(),
            [("n".to_owned(), 1), ("one".to_owned(), 1), ("other".to_owned(), 1),]
        );
        assert_eq!((visitor.world.creations(), visitor.world.storage.len()), (1, 1));
    });
}
