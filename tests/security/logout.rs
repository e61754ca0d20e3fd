//! Logouts and ends: they are final, for replayed ids and for requests that are still under way.

use std::time::Duration;

use tokio::sync::Barrier;
use web_session::{
    Clock, CookieConfig, LoadError, MaxAge, OnWarning, SameSite, SessionError, SessionLayer,
    SessionManager, SessionTarget,
};

use crate::cookies::attributes;
use crate::rig::{Rig, n, read, session};
use crate::visitor::{Shop, request_of, request_with, send};
use crate::wrappers::Call;

const IDLE: Duration = Duration::from_secs(600);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// This layer, and one as another process would have it.
async fn two_instances(rig: &Rig) -> [SessionLayer; 2] {
    let second = rig.builder_on(rig.second_driver().await);
    [
        rig.builder().idle_timeout(IDLE).build().await.unwrap(),
        second.idle_timeout(IDLE).build().await.unwrap(),
    ]
}

/// Checks that an id opens nothing, whatever a request with it does.
async fn assert_dead(layers: &[SessionLayer; 2], id: &str, case: &str) {
    for layer in layers {
        let replay = send(layer, request_of(id), async |session| {
            assert!(!session.load().await?);
            let gone = [Some(LoadError::NotFound), Some(LoadError::Expired)];
            assert!(gone.contains(&session.error()), "{case}");
            Ok::<_, SessionError>(read(session).await)
        });
        assert_eq!(replay.await.body, "None", "{case}");
        assert_eq!(n(layer, id).await, None, "{case}");
        let write = send(layer, request_of(id), async |session| session.app::<Shop>().set("n", &2));
        let write = write.await;
        assert_eq!(write.status, 200, "{case}");
        assert_ne!(write.new_id().as_deref(), Some(id), "{case}");
        assert_eq!(n(layer, id).await, None, "{case}");
    }
    crate::visitor::remove_all(&layers[0]).await;
}

/// What a request that is under way does to the session that it has seen.
const SLOW: [&str; 11] = [
    "set",
    "remove",
    "clear",
    "update",
    "rotate",
    "log in",
    "touch",
    "set the end",
    "note",
    "cookie lifetime",
    "commit, set",
];

async fn act(rig: &Rig, session: &SessionManager, what: &str) -> Result<(), SessionError> {
    let shop = session.app::<Shop>();
    match what {
        "set" | "commit, set" => shop.set("n", &2),
        "remove" => shop.delete("n").await,
        "clear" => {
            shop.empty();
            Ok(())
        }
        "update" => shop.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).await.map(|_| ()),
        "rotate" => session.rotate().await,
        "log in" => session.login("ada").await,
        "touch" => {
            rig.clock.advance(IDLE / 10);
            Ok(())
        }
        "set the end" => session.set_expire(rig.clock.now() + YEAR, SessionTarget::Current).await,
        "note" => session.set_note("a phone"),
        "cookie lifetime" => session.set_cookie_lifetime(MaxAge::Seconds(60)),
        other => panic!("nothing is called {other:?}"),
    }
}

/// Sees the session as a request does before it does what it has to do.
async fn see(session: &SessionManager, what: &str) {
    assert_eq!(session.app::<Shop>().get("n").await, Ok(Some(1)));
    if what == "commit, set" {
        session.app::<Shop>().set("m", &1).unwrap();
        session.commit().await.unwrap();
    }
}

on_every_storage! {
    // A5 7.4.1
    async fn a_replay_after_a_logout_fails_here_and_in_another_process(rig: Rig) {
        let layers = two_instances(&rig).await;
        for way in ["end", "destroy", "destroy by id", "expire"] {
            let id = session(&layers[0]).await;
            for layer in &layers {
                assert_eq!(n(layer, &id).await, Some(1));
            }
            let logout = send(&layers[0], request_of(&id), async |session| match way {
                "end" => session.end().await,
                "destroy" => session.destroy(SessionTarget::Current, OnWarning::Ignore).await,
                "destroy by id" => session.destroy(&*id, OnWarning::Ignore).await,
                _ => session.set_expire(rig.clock.now(), SessionTarget::Current).await,
            });
            let logout = logout.await;
            assert_eq!(logout.status, 200, "{way}");
            assert!(logout.removes_cookie(), "{way}");
            assert_dead(&layers, &id, way).await;
        }
    }

    // SM idle
    async fn a_replay_after_the_end_fails_whatever_max_age_said(rig: Rig) {
        let kept = MaxAge::Seconds(400 * 86_400);
        for (max_age, own) in [
            (MaxAge::Session, None),
            (MaxAge::Browser, None),
            (kept, None),
            (MaxAge::Session, Some(kept)),
        ] {
            for (expire, idle) in [(IDLE, YEAR), (YEAR, IDLE)] {
                let case = format!("{max_age:?}, {own:?}, {expire:?}");
                let layer = rig
                    .builder()
                    .expire(expire)
                    .idle_timeout(idle)
                    .cookie(CookieConfig::default().with_max_age(max_age));
                let layer = layer.build().await.unwrap();
                let answer = send(&layer, request_with(&[]), async |session| {
                    session.create().await?;
                    if let Some(own) = own {
                        session.set_cookie_lifetime(own)?;
                    }
                    session.app::<Shop>().set("n", &1)
                });
                let answer = answer.await;
                let id = answer.new_id().unwrap();
                let sent = answer.session_cookies()[0].contains("Max-Age=34560000");
                assert_eq!(sent, max_age == kept || own == Some(kept), "{case}");
                rig.clock.advance(IDLE - Duration::from_millis(1));
                assert_eq!(n(&layer, &id).await, Some(1), "{case}");
                rig.clock.advance(Duration::from_millis(1));
                assert_dead(&[layer.clone(), layer], &id, &case).await;
            }
        }
    }

    // A5 7.4.1, CVE-2025-46336
    async fn a_slow_request_that_ends_after_the_logout_does_not_revive_the_session(rig: Rig) {
        let layers = two_instances(&rig).await;
        for what in SLOW {
            for logs_out in &layers {
                let id = session(&layers[0]).await;
                let answer = send(&layers[0], request_of(&id), async |session| {
                    see(&session, what).await;
                    let logout = send(logs_out, request_of(&id), async |other| other.end().await);
                    assert!(logout.await.removes_cookie());
                    rig.driver.take();
                    act(&rig, &session, what).await
                });
                let answer = answer.await;
                let expected = if what == "touch" { 200 } else { 409 };
                assert_eq!(answer.status, expected, "{what}");
                assert!(answer.session_cookies().is_empty(), "{what}: {answer:?}");
                let call = if what == "update" { Call::ReplaceItem } else { Call::Commit };
                assert_eq!(rig.driver.take(), [(call, 1)], "{what}: the storage was asked");
                for layer in &layers {
                    assert!(!layer.manager().exists(&*id).await.unwrap(), "{what}");
                }
                assert_eq!(crate::visitor::remove_all(&layers[0]).await, 0, "{what}");
            }
        }
    }

    // A5 7.4.1
    async fn a_logout_at_the_same_time_is_as_final(rig: Rig) {
        let layers = two_instances(&rig).await;
        for what in SLOW {
            for _ in 0..3 {
                let id = session(&layers[0]).await;
                let seen = Barrier::new(2);
                let slow = send(&layers[0], request_of(&id), async |session| {
                    see(&session, what).await;
                    seen.wait().await;
                    act(&rig, &session, what).await
                });
                let logout = send(&layers[1], request_of(&id), async |session| {
                    seen.wait().await;
                    session.end().await
                });
                let (slow, logout) = tokio::join!(slow, logout);
                if logout.status == 200 {
                    let left = crate::visitor::remove_all(&layers[0]).await;
                    assert_eq!(left, 0, "{what}: {slow:?}");
                } else {
                    // The session was given another id first, and nobody was told that it is over.
                    assert!(["rotate", "log in"].contains(&what), "{what}");
                    assert_eq!((logout.status.as_u16(), slow.status.as_u16()), (409, 200));
                    assert!(logout.session_cookies().is_empty());
                    assert_eq!(n(&layers[1], &slow.new_id().unwrap()).await, Some(1));
                    crate::visitor::remove_all(&layers[0]).await;
                }
            }
        }
    }
}

once! {
    // 6b 5.7
    async fn the_removal_repeats_all_that_makes_the_cookie_the_same(rig: Rig) {
        for case in 0..64_u8 {
            let on = |bit: u8| case & (1 << bit) != 0;
            let mut config = CookieConfig::default();
            if on(0) {
                config = config.with_path("/shop");
            }
            if on(1) {
                config = config.with_domain("example.com");
            }
            if on(2) && !on(3) {
                config = config.without_secure();
            }
            if on(3) {
                config = config.with_partitioned().with_same_site(SameSite::None);
            }
            if on(4) {
                config = config.without_http_only();
            }
            if on(5) {
                config = config.with_comment("keeps your cart").with_max_age(MaxAge::Browser);
            }
            let layer = rig.builder().cookie(config.clone()).build().await.unwrap();
            let set = send(&layer, request_with(&[]), async |session| {
                session.app::<Shop>().set("n", &1)
            });
            let set = set.await;
            let logout = send(&layer, request_of(&set.new_id().unwrap()), async |session| {
                session.end().await
            });
            let logout = logout.await;
            assert!(logout.removes_cookie());
            let mut set = attributes(set.session_cookies()[0]);
            let mut removal = attributes(logout.session_cookies()[0]);
            assert_eq!(removal.remove("max-age").as_deref(), Some("0"));
            assert!(removal.remove("expires").is_some());
            set.remove("max-age");
            assert_eq!(removal, set, "{config:?}");
            assert_eq!(set.contains_key("partitioned"), on(3));
            assert_eq!(set.contains_key("secure"), !on(2) || on(3));
            assert_eq!(set.contains_key("domain"), on(1));
            assert_eq!(set["path"], config.path());
        }
    }
}
