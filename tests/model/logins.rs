//! Logins of one principal at the same time, with a cap on its sessions.

use std::num::NonZeroU32;

use web_session::{OnTooMany, SessionLayerBuilder};

use super::rig::{Answer, Shop, Visitor, World, both, explore};

fn one_session(builder: SessionLayerBuilder, on_too_many: OnTooMany) -> SessionLayerBuilder {
    builder.max_sessions(NonZeroU32::MIN, on_too_many)
}

fn log_in(visitor: &Visitor) -> impl Future<Output = Answer> + Send + use<> {
    visitor.send(|session| async move {
        session.app::<Shop>().set("logged in", &1)?;
        session.login("ada").await
    })
}

async fn assert_one_is_in(world: &World, visitors: [(&Visitor, &Answer); 2]) {
    let mut logged_in = 0;
    for (visitor, answer) in visitors {
        let items = visitor.items().await;
        let is_in = items.is_some_and(|items| items.contains_key("logged in"));
        assert!(!is_in || answer.is_ok(), "{answer:?}");
        logged_in += usize::from(is_in);
    }
    assert_eq!(logged_in, 1);
    assert_eq!(world.manager().sessions_of("ada").await.unwrap().len(), 1);
}

// T3
#[test]
fn of_two_logins_one_is_refused() {
    explore(|| async {
        let world = World::with(|builder| one_session(builder, OnTooMany::Refuse)).await;
        let (new, known) = (world.stranger(), world.visitor().await);
        let (one, other) = both(log_in(&new), log_in(&known)).await;
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        assert_one_is_in(&world, [(&new, &one), (&known, &other)]).await;
        // Who was refused goes on as before.
        assert_eq!(known.items().await.unwrap().contains_key("logged in"), other.is_ok());
        assert_eq!(world.storage.len(), if one.is_ok() { 2 } else { 1 });
        assert_eq!((world.creations(), world.ends()), (usize::from(one.is_ok()), 0));
    });
}

// T3, T5
#[test]
fn of_two_logins_the_older_is_evicted() {
    explore(|| async {
        let world = World::with(|builder| one_session(builder, OnTooMany::EvictOldest)).await;
        let (new, known) = (world.stranger(), world.visitor().await);
        let (one, other) = both(log_in(&new), log_in(&known)).await;
        assert_one_is_in(&world, [(&new, &one), (&known, &other)]).await;
        assert_eq!((world.creations(), world.rotations(), world.ends()), (1, 1, 1));
        assert_eq!(world.storage.len(), 1);
    });
}

// T3
#[test]
fn a_login_beside_a_logout_of_all_is_not_left_over_in_part() {
    explore(|| async {
        let world = World::new().await;
        let (new, known) = (world.stranger(), world.visitor().await);
        assert!(log_in(&known).await.is_ok());
        let (one, other) = both(
            log_in(&new),
            known.send(|session| async move { session.end_all().await.map(drop) }),
        )
        .await;
        assert!(one.is_ok() && other.is_ok());
        assert_eq!(known.items().await, None);
        let left = usize::from(new.items().await.is_some());
        assert_eq!(world.storage.len(), left);
        assert_eq!(world.manager().sessions_of("ada").await.unwrap().len(), left);
        assert_eq!(world.ends(), 2 - left);
    });
}
