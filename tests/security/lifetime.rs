//! How long a session lives: while it is used, and at most until its absolute end (T1).

use std::num::NonZeroU32;
use std::time::Duration;

use web_session::{
    AssuranceLevel, Clock, MaxAge, OnTooMany, OnWarning, SessionError, SessionTarget,
};

use crate::rig::{n, read, session};
use crate::visitor::{Shop, request_of, send};
use crate::wrappers::Call;

const MINUTE: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(600);
const TICK: Duration = Duration::from_millis(1);

on_every_storage! {
    // A5 7.3.1, N 5.2
    async fn an_unused_session_expires_at_its_idle_timeout_and_not_a_tick_before(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).build().await.unwrap();
        let id = session(&layer).await;
        rig.clock.advance(IDLE - TICK);
        assert_eq!(n(&layer, &id).await, Some(1), "a tick before");
        rig.clock.advance(TICK);
        assert_eq!(n(&layer, &id).await, None, "at the tick");
        rig.clock.advance(TICK);
        assert_eq!(n(&layer, &id).await, None, "a tick after");
        assert_eq!(send(&layer, request_of(&id), read).await.body, "None");
    }

    // N 5.2
    async fn reading_extends_the_idle_time_by_its_whole_length(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).build().await.unwrap();
        let id = session(&layer).await;
        for _ in 0..5 {
            rig.clock.advance(IDLE - TICK);
            assert_eq!(send(&layer, request_of(&id), read).await.body, "Some(1)");
        }
        rig.clock.advance(IDLE - TICK);
        assert_eq!(n(&layer, &id).await, Some(1));
        rig.clock.advance(TICK);
        assert_eq!(n(&layer, &id).await, None);
    }

    // N 5.2
    async fn writing_without_having_read_extends_the_idle_time_too(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).build().await.unwrap();
        let id = session(&layer).await;
        rig.clock.advance(IDLE - TICK);
        let write = send(&layer, request_of(&id), async |session| session.app::<Shop>().set("n", &2));
        let write = write.await;
        assert_eq!((write.status.as_u16(), write.new_id()), (200, None));
        rig.clock.advance(IDLE - TICK);
        assert_eq!(n(&layer, &id).await, Some(2));
        rig.clock.advance(TICK);
        assert_eq!(n(&layer, &id).await, None);
    }

    // T1
    async fn a_thousand_reads_within_a_tenth_of_the_idle_time_write_once(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).build().await.unwrap();
        let id = session(&layer).await;
        rig.clock.advance(IDLE / 10);
        rig.driver.take();
        for _ in 0..1_000 {
            assert_eq!(send(&layer, request_of(&id), read).await.body, "Some(1)");
            rig.clock.advance(IDLE / 10 / 1_001);
        }
        assert_eq!(rig.driver.take(), [(Call::Load, 1_000), (Call::Commit, 1)]);
    }

    // T1
    async fn a_touch_is_due_after_a_tenth_of_the_idle_time_and_rides_with_a_commit(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).build().await.unwrap();
        let id = session(&layer).await;
        rig.clock.advance(IDLE / 10 - TICK);
        rig.driver.take();
        send(&layer, request_of(&id), read).await;
        assert_eq!(rig.driver.take(), [(Call::Load, 1)], "a tick before it is due");
        rig.clock.advance(TICK);
        let touch = send(&layer, request_of(&id), read).await;
        assert_eq!(rig.driver.take(), [(Call::Load, 1), (Call::Commit, 1)]);
        assert!(touch.session_cookies().is_empty(), "a touch sends no cookie");
        rig.clock.advance(IDLE / 10);
        send(&layer, request_of(&id), async |session| {
            let shop = session.app::<Shop>();
            let n: i64 = shop.get("n").await.unwrap().unwrap();
            shop.set("n", &(n + 1)).unwrap();
        })
        .await;
        assert_eq!(rig.driver.take(), [(Call::Load, 1), (Call::Commit, 1)]);
        rig.clock.advance(IDLE - TICK);
        assert_eq!(n(&layer, &id).await, Some(2));
    }

    // L2
    async fn a_request_that_does_not_use_the_session_does_not_extend_it(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).build().await.unwrap();
        let id = session(&layer).await;
        rig.clock.advance(IDLE - TICK);
        rig.driver.take();
        send(&layer, request_of(&id), async |_| ()).await;
        assert_eq!(rig.calls(), 0);
        // Neither does an administrator who looks at it.
        assert_eq!(n(&layer, &id).await, Some(1));
        rig.clock.advance(TICK);
        assert_eq!(n(&layer, &id).await, None);
    }

    // A5 7.3.2, N 5.2
    async fn the_absolute_end_comes_despite_constant_use_and_rotation(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).expire(3 * IDLE).build().await.unwrap();
        let mut id = session(&layer).await;
        for round in 0..6 {
            rig.clock.advance(IDLE / 2 - TICK);
            let used = send(&layer, request_of(&id), async |session| {
                assert!(session.load().await.unwrap(), "{round}");
                if round % 2 == 0 { session.rotate().await.unwrap() }
            });
            if let Some(new) = used.await.new_id() {
                id = new;
            }
        }
        rig.clock.advance(5 * TICK);
        assert_eq!(n(&layer, &id).await, Some(1), "a tick before");
        rig.clock.advance(TICK);
        assert_eq!(n(&layer, &id).await, None);
    }

    // T1
    async fn the_cookie_lives_until_the_absolute_end(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).expire(10 * IDLE).build().await.unwrap();
        let created = send(&layer, request_of(""), async |session| {
            session.app::<Shop>().set("n", &1)
        });
        let created = created.await;
        assert!(created.session_cookies()[0].contains("; Max-Age=6000"));
        rig.clock.advance(IDLE / 2);
        let id = created.new_id().unwrap();
        let rotated = send(&layer, request_of(&id), async |session| session.rotate().await).await;
        assert!(rotated.session_cookies()[0].contains("; Max-Age=5700"));
    }

    // T3
    async fn a_login_is_a_use_with_an_idle_timeout_and_without(rig: Rig) {
        for idle in [None, Some(IDLE)] {
            let builder = match idle {
                Some(idle) => rig.builder().idle_timeout(idle),
                None => rig.builder(),
            };
            let layer = builder.build().await.unwrap();
            let id = session(&layer).await;
            rig.clock.advance(TICK);
            let login = send(&layer, request_of(&id), async |session| session.login("ada").await);
            assert_eq!(login.await.status, 200);
            let listed = layer.manager().sessions_of("ada").await.unwrap();
            assert_eq!(listed.last().unwrap().last_used, rig.clock.now());
            assert_eq!(listed.last().unwrap().created, rig.clock.now() - TICK);
        }
    }

    // T1, M17
    async fn a_login_can_give_its_session_an_end_of_its_own(rig: Rig) {
        let layer = rig.layer().await;
        for cookie in [String::new(), session(&layer).await] {
            let end = rig.clock.now() + MINUTE;
            let login = send(&layer, request_of(&cookie), async |session| {
                session.login("ada").await.unwrap();
                session.set_expire(end, SessionTarget::Current).await
            });
            let login = login.await;
            assert_eq!(login.status, 200);
            assert!(login.session_cookies()[0].contains("; Max-Age=60"));
            rig.clock.advance(MINUTE - TICK);
            assert!(layer.manager().load_id(&login.new_id().unwrap()).await.unwrap());
            rig.clock.advance(TICK);
            assert!(!layer.manager().load_id(&login.new_id().unwrap()).await.unwrap());
        }
    }

    // T1
    async fn a_cookie_lifetime_is_stored_with_the_session(rig: Rig) {
        let layer = rig.builder().max_sessions(NonZeroU32::MIN, OnTooMany::EvictOldest);
        let layer = layer.build().await.unwrap();
        let login = send(&layer, request_of(""), async |session| {
            session.login("ada").await.unwrap();
            session.set_cookie_lifetime(MaxAge::Browser)
        });
        let login = login.await;
        assert!(!login.session_cookies()[0].contains("Max-Age"));
        let id = login.new_id().unwrap();
        let rotated = send(&layer, request_of(&id), async |session| session.rotate().await).await;
        assert!(!rotated.session_cookies()[0].contains("Max-Age"));
        let id = rotated.new_id().unwrap();
        let remembered = send(&layer, request_of(&id), async |session| {
            session.load().await.unwrap();
            session.set_cookie_lifetime(MaxAge::Session)
        });
        assert!(remembered.await.session_cookies()[0].contains("; Max-Age=86400"));
    }

    // T1, M17
    async fn an_end_that_is_set_begins_the_idle_time_anew(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).build().await.unwrap();
        let id = session(&layer).await;
        rig.clock.advance(IDLE);
        assert_eq!(n(&layer, &id).await, None);
        layer.manager().set_expire(rig.clock.now() + 2 * IDLE, id.as_str()).await.unwrap();
        rig.clock.advance(IDLE - TICK);
        assert_eq!(send(&layer, request_of(&id), read).await.body, "Some(1)");
        rig.clock.advance(IDLE - TICK);
        assert_eq!(n(&layer, &id).await, Some(1));
        rig.clock.advance(2 * TICK);
        assert_eq!(n(&layer, &id).await, None, "at the end that was set");
    }

    // T1, M17
    async fn the_end_of_the_loaded_session_is_bounded_by_its_use(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).build().await.unwrap();
        let id = session(&layer).await;
        let far = rig.clock.now() + 100 * IDLE;
        send(&layer, request_of(&id), async |session| {
            session.set_expire(far, SessionTarget::Current).await.unwrap();
            assert_eq!(session.expire_time(), Some(rig.clock.now() + IDLE));
        })
        .await;
        rig.clock.advance(IDLE);
        assert_eq!(n(&layer, &id).await, None);
    }

    // T1
    async fn idle_sessions_are_cleaned_up(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).build().await.unwrap();
        session(&layer).await;
        let used = session(&layer).await;
        rig.clock.advance(IDLE / 2);
        send(&layer, request_of(&used), read).await;
        rig.clock.advance(IDLE / 2 + TICK);
        assert_eq!(layer.manager().cleanup().await.unwrap(), 1);
        assert_eq!(n(&layer, &used).await, Some(1));
    }

    // N 2.1.3, 2.2.3, 2.3.3
    async fn the_assurance_levels_have_their_lifetimes(rig: Rig) {
        const HOUR: Duration = Duration::from_secs(3_600);
        let idle = |level: AssuranceLevel| level.idle_timeout();
        assert_eq!(AssuranceLevel::Aal1.expire(), 30 * 24 * HOUR);
        assert_eq!(AssuranceLevel::Aal2.expire(), 24 * HOUR);
        assert_eq!(AssuranceLevel::Aal3.expire(), 12 * HOUR);
        assert_eq!(idle(AssuranceLevel::Aal1), None);
        assert_eq!(idle(AssuranceLevel::Aal2), Some(HOUR));
        assert_eq!(idle(AssuranceLevel::Aal3), Some(HOUR / 4));
        let layer = rig.builder().assurance_level(AssuranceLevel::Aal3).build().await.unwrap();
        let id = session(&layer).await;
        for _ in 0..49 {
            rig.clock.advance(HOUR / 4 - 20 * TICK);
            send(&layer, request_of(&id), read).await;
        }
        assert_eq!(n(&layer, &id).await, None, "after twelve hours of use");
        let id = session(&layer).await;
        rig.clock.advance(HOUR / 4);
        assert_eq!(n(&layer, &id).await, None, "after a quarter of an hour without");
    }

    // T1, S5
    async fn a_touch_does_not_revive_a_session(rig: Rig) {
        let layer = rig.builder().idle_timeout(IDLE).build().await.unwrap();
        let id = session(&layer).await;
        rig.clock.advance(IDLE / 2);
        let slow = send(&layer, request_of(&id), async |session| {
            assert!(session.load().await.unwrap());
            let logout = layer.manager();
            logout.destroy(id.as_str(), OnWarning::Ignore).await.unwrap();
            Ok::<_, SessionError>(())
        });
        assert_eq!(slow.await.status, 200, "who has only read does not mind");
        assert!(!layer.manager().exists(id.as_str()).await.unwrap());
    }
}
