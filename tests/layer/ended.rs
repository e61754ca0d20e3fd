//! Sessions that end while a request works on them.

use std::time::Duration;

use web_session::{
    Clock, Limits, ManualClock, OnWarning, SessionError, SessionLayer, SessionManager,
    SessionTarget,
};

use crate::visitor::*;

/// How a session ends while a slow request still works on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Logout,
    Destroy,
    DestroyById,
    SetExpireInARequest,
    SetExpireFromOutside,
    Expiry,
    ExpiryAndCleanup,
}

const ENDINGS: [Ending; 7] = [
    Ending::Logout,
    Ending::Destroy,
    Ending::DestroyById,
    Ending::SetExpireInARequest,
    Ending::SetExpireFromOutside,
    Ending::Expiry,
    Ending::ExpiryAndCleanup,
];

impl Ending {
    async fn happen(self, layer: &SessionLayer, clock: &ManualClock, id: &str) {
        let current = SessionTarget::Current;
        match self {
            Self::Logout => {
                let logout = send(layer, request_of(id), async |other| other.end().await);
                assert!(logout.await.removes_cookie());
            }
            Self::Destroy => {
                let destroy = send(layer, request_of(id), async |other| {
                    other.destroy(current, OnWarning::Ignore).await
                });
                assert_eq!(destroy.await.status, 200);
            }
            Self::DestroyById => {
                let manager = layer.manager();
                manager.destroy(id, OnWarning::Ignore).await.unwrap();
            }
            Self::SetExpireInARequest => {
                let expire = send(layer, request_of(id), async |other| {
                    other.set_expire(clock.now(), current).await
                });
                assert!(expire.await.removes_cookie());
            }
            Self::SetExpireFromOutside => {
                layer.manager().set_expire(clock.now(), id).await.unwrap();
            }
            Self::Expiry => clock.advance(layer.manager().expire()),
            Self::ExpiryAndCleanup => {
                // A cleanup leaves what expires at the very moment.
                clock.advance(layer.manager().expire() + Duration::from_millis(1));
                assert!(layer.manager().cleanup().await.unwrap() >= 1);
            }
        }
    }

    fn keeps_the_record(self) -> bool {
        matches!(self, Self::SetExpireInARequest | Self::SetExpireFromOutside | Self::Expiry)
    }
}

/// How the slow request has seen its session, and what it writes.
async fn see(session: &SessionManager, way: usize) -> Result<(), SessionError> {
    match way {
        0 => drop(session.load().await?),
        1 => drop(session.app::<Shop>().get::<i64>("n").await?),
        _ => {
            session.app::<Shop>().set("n", &100)?;
            session.commit().await?;
        }
    }
    Ok(())
}

async fn write(session: &SessionManager, way: usize) -> Result<(), SessionError> {
    let shop = session.app::<Shop>();
    match way {
        0 => shop.set("n", &2),
        1 => shop.remove::<i64>("n").await.map(|_| ()),
        2 => {
            shop.empty();
            session.app::<Blog>().set("m", &3)
        }
        _ => {
            let later = std::time::SystemTime::now() + Duration::from_secs(500_000_000);
            session.set_expire(later, SessionTarget::Current).await
        }
    }
}

on_each_driver! {
    // S5, SECURITY 17
    async fn a_slow_request_never_revives_a_session(storage) {
        let (layer, clock) = layer_with_clock(storage.driver.clone()).await;
        for ending in ENDINGS {
            for (seen, written) in (0..3).flat_map(|seen| (0..4).map(move |way| (seen, way))) {
                let case = format!("{ending:?}, seen {seen}, written {written}");
                let id = session_with(&layer, &[("n", 1)]).await;
                let answer = send(&layer, request_of(&id), async |session| {
                    see(&session, seen).await?;
                    if written == 1 {
                        // Known before the end, so that there is something to remove.
                        session.app::<Shop>().len().await?;
                    }
                    ending.happen(&layer, &clock, &id).await;
                    write(&session, written).await?;
                    Ok::<_, SessionError>("stored")
                })
                .await;
                assert_eq!((answer.status.as_u16(), answer.new_id()), (409, None), "{case}");
                assert_eq!(items_of(&layer, &id).await, None, "{case}");
                let exists = layer.manager().exists(&*id).await.unwrap();
                assert_eq!(exists, ending.keeps_the_record(), "{case}");
                if exists {
                    // Made loadable again, the session is as it was at its end.
                    let later = clock.now() + Duration::from_secs(1);
                    layer.manager().set_expire(later, &*id).await.unwrap();
                    let before = if seen == 2 { 100 } else { 1 };
                    let stored = items_of(&layer, &id).await;
                    assert_eq!(stored, Some(items(&[("n", before)])), "{case}");
                }
                remove_all(&layer).await;
            }
        }
    }

    // S5
    async fn reading_more_of_an_ended_session_is_a_conflict(storage) {
        let (layer, clock) = layer_with_clock(storage.driver.clone()).await;
        for ending in ENDINGS {
            let id = session_with(&layer, &[("n", 1)]).await;
            let answer = send(&layer, request_of(&id), async |session| {
                session.load().await?;
                ending.happen(&layer, &clock, &id).await;
                session.app::<Shop>().get::<i64>("n").await.map(|_| ())
            })
            .await;
            assert_eq!(answer.status, 409, "{ending:?}");
        }
    }

    // S5, S7: the request has not seen the session, so it is no conflict but "no session".
    async fn a_blind_write_under_the_cookie_of_an_ended_session_starts_anew(storage) {
        let (layer, clock) = layer_with_clock(storage.driver.clone()).await;
        for ending in ENDINGS {
            let id = session_with(&layer, &[("n", 1), ("old", 1)]).await;
            let answer = send(&layer, request_of(&id), async |session| {
                session.app::<Shop>().set("n", &2)?;
                ending.happen(&layer, &clock, &id).await;
                Ok::<_, SessionError>(())
            })
            .await;
            assert_eq!(answer.status, 200, "{ending:?}");
            let fresh = answer.new_id().unwrap();
            assert_ne!(fresh, id);
            assert_eq!(items_of(&layer, &fresh).await, Some(items(&[("n", 2)])));
            assert_eq!(items_of(&layer, &id).await, None);
        }
    }

    // SECURITY 16, SECURITY 15
    async fn a_replayed_id_finds_nothing(storage) {
        let (layer, clock) = layer_with_clock(storage.driver.clone()).await;
        for ending in ENDINGS {
            let id = session_with(&layer, &[("n", 1)]).await;
            ending.happen(&layer, &clock, &id).await;
            let answer = send(&layer, request_of(&id), async |session| {
                assert!(!session.load().await?);
                session.app::<Shop>().items::<i64>().await.map(|items| items.len().to_string())
            })
            .await;
            assert_eq!((answer.status.as_u16(), &*answer.body), (200, "0"), "{ending:?}");
        }
    }

    // S6
    async fn a_commit_over_two_applications_is_stored_whole_or_not_at_all(storage) {
        let mut limits = Limits::default();
        limits.items = 3;
        let layer = builder(storage.driver.clone()).limits(limits).build().await.unwrap();
        let id = session_with(&layer, &[("a", 1), ("b", 2), ("c", 3)]).await;
        for order in [false, true] {
            let answer = send(&layer, request_of(&id), async |session| {
                // Without a read the request cannot know that the fourth item is one too many.
                let write = |shop: bool| match shop {
                    true => session.app::<Shop>().set("d", &4),
                    false => session.app::<Blog>().set("post", &1),
                };
                write(order)?;
                write(!order)?;
                Ok::<_, SessionError>(())
            })
            .await;
            assert_eq!(answer.status, 500);
            let before = items(&[("a", 1), ("b", 2), ("c", 3)]);
            assert_eq!(items_of(&layer, &id).await, Some(before));
            let other = layer.manager();
            other.load_id(&id).await.unwrap();
            assert_eq!(other.app::<Blog>().len().await.unwrap(), 0, "Shop first: {order}");
        }
        // One that fits, for comparison.
        let answer = send(&layer, request_of(&id), async |session| {
            session.app::<Shop>().remove::<i64>("a").await?;
            session.app::<Shop>().set("d", &4)?;
            session.app::<Blog>().set("post", &1)
        })
        .await;
        assert_eq!(answer.status, 200);
        let after = items(&[("b", 2), ("c", 3), ("d", 4)]);
        assert_eq!(items_of(&layer, &id).await, Some(after));
    }
}
