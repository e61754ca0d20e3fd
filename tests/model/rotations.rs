//! Fresh ids, beside the other requests of the same visitor.

use web_session::SessionError;

use super::rig::{Shop, World, both, choose, explore, items};

// S3, T2
#[test]
fn a_rotation_beside_a_write_loses_neither() {
    explore(|| async {
        let world = World::new().await;
        let visitor = world.visitor().await;
        let rotates = visitor.send(|session| async move {
            session.app::<Shop>().set("rotated", &1)?;
            session.rotate().await
        });
        let writes = visitor.send(|session| async move {
            if choose(2) == 0 {
                session.load().await?;
            }
            session.app::<Shop>().set("written", &1)
        });
        let (rotates, writes) = both(rotates, writes).await;
        assert!(rotates.is_ok() && rotates.cookie.is_some(), "{rotates:?}");
        assert!(writes.is_ok() || writes.is_conflict(), "{writes:?}");
        assert_eq!(writes.cookie, None);
        let items = visitor.items().await.unwrap();
        assert_eq!(items.get("rotated"), Some(&1));
        assert_eq!(items.contains_key("written"), writes.is_ok());
        assert_eq!((world.rotations(), world.storage.len()), (1, 1));
    });
}

// T2
#[test]
fn of_two_rotations_under_one_id_one_is_done() {
    explore(|| async {
        let world = World::new().await;
        let visitor = world.visitor().await;
        let old = visitor.cookie();
        let rotates = |key: &'static str| {
            visitor.send(move |session| async move {
                session.app::<Shop>().set(key, &1)?;
                session.rotate().await
            })
        };
        let (one, other) = both(rotates("one"), rotates("other")).await;
        let items = visitor.items().await.unwrap();
        assert_ne!(visitor.cookie(), old);
        for (answer, key) in [(&one, "one"), (&other, "other")] {
            assert_eq!(items.contains_key(key), answer.is_ok(), "{answer:?}");
            assert_eq!(answer.cookie.is_some(), answer.is_ok());
        }
        let done = usize::from(one.is_ok()) + usize::from(other.is_ok());
        assert!(done >= 1);
        assert_eq!((world.rotations(), world.storage.len()), (done, 1));
    });
}

// S5, T2, M14
#[test]
fn a_logout_beside_a_rotation_ends_the_session_or_says_that_it_did_not() {
    explore(|| async {
        let world = World::new().await;
        let visitor = world.visitor().await;
        let rotates = visitor.send(|session| async move { session.rotate().await });
        let ends = visitor.send(|session| async move {
            if choose(2) == 0 {
                session.load().await?;
            }
            session.end().await
        });
        let (rotates, ends) = both(rotates, ends).await;
        let left = visitor.items().await;
        assert_eq!(left.is_none(), ends.is_ok(), "{ends:?}");
        assert_eq!(ends.is_ok(), ends.cookie.as_deref() == Some(""), "{ends:?}");
        assert!(rotates.is_ok() || ends.is_ok());
        assert_eq!(world.rotations(), usize::from(rotates.cookie.is_some_and(|id| !id.is_empty())));
        assert_eq!(world.ends(), usize::from(ends.is_ok()));
        if ends.is_ok() {
            world.assert_empty().await;
        }
    });
}

// S5
#[test]
fn nothing_comes_back_after_a_logout() {
    explore(|| async {
        let world = World::new().await;
        let visitor = world.visitor().await;
        let writes = visitor.send(|session| async move {
            if !session.load().await? {
                return Err(SessionError::NotLoaded);
            }
            let shop = session.app::<Shop>();
            match choose(3) {
                0 => shop.set("late", &1),
                1 => shop.update("n", |n: Option<i64>| n.unwrap() + 1).await.map(drop),
                _ => session.rotate().await,
            }
        });
        let ends = visitor.send(|session| async move { session.end().await });
        let (_, ends) = both(writes, ends).await;
        let gone = visitor.items().await.is_none();
        assert_eq!(gone, ends.is_ok(), "{ends:?}");
        assert_eq!(world.ends(), usize::from(gone));
    });
}

// S2, S3: each sees what was acknowledged before it began.
#[test]
fn requests_one_after_another_see_each_others_writes_beside_rotations() {
    explore(|| async {
        let world = World::new().await;
        let visitor = world.visitor().await;
        let counts = {
            let visitor = visitor.clone();
            async move {
                let mut done = 0;
                for _ in 0..2 {
                    let answer = visitor.send(move |session| async move {
                        let n = items(&session).await.get("n").copied();
                        if let Some(n) = n {
                            assert_eq!(n, done);
                        }
                        session.app::<Shop>().set("n", &(done + 1))
                    });
                    done += i64::from(answer.await.is_ok());
                }
                done
            }
        };
        let rotates = visitor.send(|session| async move { session.rotate().await });
        let (done, rotates) = both(counts, rotates).await;
        assert!(rotates.is_ok());
        assert_eq!(visitor.items().await.unwrap()["n"], done);
    });
}
