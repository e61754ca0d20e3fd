//! Calls and requests that are given up anywhere, beside others.

use super::rig::{Shop, World, both, choose, explore, give_up_after};

// D6, S3, S6
#[test]
fn a_commit_that_is_given_up_is_stored_whole_or_not_at_all() {
    explore(|| async {
        let visitor = World::new().await.visitor().await;
        let gives_up = visitor.send(|session| async move {
            let shop = session.app::<Shop>();
            shop.set("a", &1)?;
            shop.set("b", &1)?;
            give_up_after(choose(6), session.commit()).await.transpose()?;
            session.rollback();
            Ok(())
        });
        let writes = visitor.send(|session| async move { session.app::<Shop>().set("c", &1) });
        let (gives_up, writes) = both(gives_up, writes).await;
        assert!(gives_up.is_ok() && writes.is_ok());
        let items = visitor.items().await.unwrap();
        assert_eq!(items.contains_key("a"), items.contains_key("b"));
        assert!(items.contains_key("c"));
    });
}

// D6, T2, T5
#[test]
fn a_rotation_that_is_given_up_leaves_the_visitor_the_id_that_is_valid() {
    explore(|| async {
        let world = World::new().await;
        let visitor = world.visitor().await;
        let old = visitor.cookie();
        let rotates = visitor.send(|session| async move {
            session.app::<Shop>().set("a", &1)?;
            session.rotate().await?;
            let done = give_up_after(choose(6), session.commit()).await.transpose()?.is_some();
            if choose(2) == 0 {
                session.rollback();
                session.app::<Shop>().set("b", &1)?;
            }
            if done { Ok(()) } else { session.app::<Shop>().set("c", &1) }
        });
        let writes = visitor.send(|session| async move { session.app::<Shop>().set("d", &1) });
        let (rotates, writes) = both(rotates, writes).await;
        assert!(rotates.is_ok(), "{rotates:?}");
        assert!(writes.is_ok() || writes.is_conflict());
        let items = visitor.items().await.unwrap();
        assert_eq!(items.contains_key("d"), writes.is_ok());
        assert_eq!(world.rotations(), usize::from(visitor.cookie() != old));
        assert_eq!(world.storage.len(), 1);
    });
}

// D6, S7
#[test]
fn a_login_whose_commit_is_given_up_is_done_by_the_next() {
    explore(|| async {
        let world = World::new().await;
        let visitor = world.visitor().await;
        let logs_in = visitor.send(|session| async move {
            session.login("ada").await?;
            give_up_after(choose(6), session.commit()).await.transpose()?;
            session.app::<Shop>().set("c", &1)
        });
        let writes = visitor.send(|session| async move { session.app::<Shop>().set("d", &1) });
        let (logs_in, writes) = both(logs_in, writes).await;
        assert!(logs_in.is_ok(), "{logs_in:?}");
        let items = visitor.items().await.unwrap();
        assert!(items.contains_key("c"));
        assert_eq!(items.contains_key("d"), writes.is_ok());
        assert_eq!(world.manager().sessions_of("ada").await.unwrap().len(), 1);
        assert_eq!(world.storage.len(), 1);
    });
}

// D6, S5, M14
#[test]
fn a_logout_that_is_given_up_and_tried_again_is_done() {
    explore(|| async {
        let world = World::new().await;
        let visitor = world.visitor().await;
        let old = visitor.cookie().unwrap();
        let ends = visitor.send(|session| async move {
            if choose(2) == 0 {
                session.load().await?;
            }
            give_up_after(choose(6), session.end()).await.transpose()?;
            session.end().await
        });
        let writes = visitor.send(|session| async move { session.app::<Shop>().set("d", &1) });
        let (ends, writes) = both(ends, writes).await;
        assert!(ends.is_ok());
        assert_eq!(world.items_of(&old).await, None);
        // A write under a cookie that names nothing any more creates a session of its own.
        assert_eq!(world.storage.len(), usize::from(writes.cookie.is_some()));
    });
}

// L6, D6
#[test]
fn a_request_that_is_given_up_stores_all_of_its_changes_or_none_and_blocks_no_other() {
    explore(|| async {
        let visitor = World::new().await.visitor().await;
        let given_up = visitor.send(|session| async move {
            let shop = session.app::<Shop>();
            shop.update("n", |n: Option<i64>| n.unwrap() + 1).await?;
            shop.set("a", &1)?;
            shop.set("b", &1)
        });
        let counts = visitor.send(|session| async move {
            session.app::<Shop>().update("n", |n: Option<i64>| n.unwrap() + 1).await.map(drop)
        });
        let (given_up, counts) = both(give_up_after(choose(20), given_up), counts).await;
        assert!(counts.is_ok());
        let items = visitor.items().await.unwrap();
        assert_eq!(items.contains_key("a"), items.contains_key("b"));
        match given_up {
            Some(answer) => {
                assert!(answer.is_ok());
                assert_eq!((items["n"], items.contains_key("a")), (2, true));
            }
            None => assert!([1, 2].contains(&items["n"])),
        }
    });
}
