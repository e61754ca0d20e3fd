//! When a session comes into being, and under which id.

use std::time::Duration;

use http::StatusCode;
use web_session::{Clock, LoadError, OnWarning, SessionError, SessionManager, SessionTarget};

use crate::visitor::*;
use crate::wrappers::{Call, Failing};

const UNKNOWN: &str = "00112233445566778899aabbccddeeff";

on_each_driver! {
    // S7, SECURITY 5
    async fn reading_never_creates_a_record(storage) {
        let layer = layer(storage.driver.clone()).await;
        for cookies in [vec![], vec![format!("sessionID={UNKNOWN}")]] {
            let cookies: Vec<_> = cookies.iter().map(String::as_str).collect();
            let answer = send(&layer, request_with(&cookies), async |session| {
                let shop = session.app::<Shop>();
                assert!(!session.load().await?);
                assert_eq!(shop.get::<i64>("n").await?, None);
                assert_eq!(shop.keys().await?, [""; 0]);
                assert_eq!(shop.remove::<i64>("n").await?, None);
                assert_eq!(shop.delete("n").await, Err(SessionError::NoSuchItem));
                assert!(!session.exists(SessionTarget::Current).await?);
                let valid = session.valid(SessionTarget::Current).await;
                assert_eq!(valid, Err(SessionError::NoSuchSession));
                Ok::<_, SessionError>(())
            })
            .await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.session_cookies(), [""; 0]);
        }
        assert_eq!(remove_all(&layer).await, 0);
    }

    // S7
    async fn changes_that_cancel_out_create_nothing(storage) {
        let layer = layer(storage.driver.clone()).await;
        for way in 0..7 {
            for cookies in [vec![], vec!["sessionID=00112233445566778899aabbccddeeff"]] {
                let answer = send(&layer, request_with(&cookies), async |session| {
                    let shop = session.app::<Shop>();
                    match way {
                        0 => {
                            shop.set("n", &1)?;
                            shop.delete("n").await?;
                        }
                        1 => {
                            shop.set("n", &1)?;
                            assert_eq!(shop.remove::<i64>("n").await?, Some(1));
                        }
                        2 => {
                            shop.set("n", &1)?;
                            shop.empty();
                        }
                        3 => {
                            shop.set("n", &1)?;
                            session.app::<Blog>().set("n", &1)?;
                            session.app::<Blog>().empty();
                            shop.set("n", &2)?;
                            shop.delete("n").await?;
                        }
                        4 => shop.empty(),
                        5 => {
                            shop.set("n", &1)?;
                            session.rollback();
                        }
                        _ => {
                            shop.set("n", &1)?;
                            session.end().await?;
                        }
                    }
                    Ok::<_, SessionError>(())
                })
                .await;
                assert_eq!((answer.status.as_u16(), answer.new_id()), (200, None), "{way}");
            }
        }
        assert_eq!(remove_all(&layer).await, 0);
    }

    // S7, L7
    async fn changes_that_cancel_out_after_a_failed_commit_create_nothing(storage) {
        let failing = Failing::new(storage.driver.clone());
        let layer = layer(failing.clone()).await;
        let answer = send(&layer, request_with(&[]), async |session| {
            let shop = session.app::<Shop>();
            shop.set("n", &1)?;
            failing.fail([Call::Commit]);
            session.commit().await.unwrap_err();
            failing.mend();
            assert_eq!(shop.remove::<i64>("n").await?, Some(1));
            Ok::<_, SessionError>(())
        })
        .await;
        assert_eq!((answer.status.as_u16(), answer.session_cookies()), (200, vec![]));
        assert_eq!(remove_all(&layer).await, 0);
    }

    // S7: removals beside a write do not keep the write from creating.
    async fn what_is_left_of_the_changes_creates_a_session(storage) {
        let layer = layer(storage.driver.clone()).await;
        let answer = send(&layer, request_with(&[]), async |session| {
            let shop = session.app::<Shop>();
            shop.set("gone", &1)?;
            shop.empty();
            shop.set("n", &1)?;
            session.app::<Blog>().empty();
            Ok::<_, SessionError>(())
        })
        .await;
        let stored = items_of(&layer, &answer.new_id().unwrap()).await;
        assert_eq!(stored, Some(items(&[("n", 1)])));
    }

    // S7, SECURITY 4
    async fn an_unknown_id_is_never_adopted(storage) {
        let (layer, clock) = layer_with_clock(storage.driver.clone()).await;
        let expired = session_with(&layer, &[("n", 1), ("old", 1)]).await;
        clock.advance(layer.manager().expire());
        for presented in [UNKNOWN, &expired] {
            for way in 0..8 {
                let answer = send(&layer, request_of(presented), async |session| {
                    let shop = session.app::<Shop>();
                    match way {
                        0 => {}
                        1 => drop(shop.get::<i64>("n").await?),
                        2 => drop(session.load().await?),
                        3 => shop.empty(),
                        4 => session.end().await?,
                        5 => {
                            let destroyed = session.destroy(presented, OnWarning::Ignore).await;
                            assert!(matches!(destroyed, Ok(()) | Err(SessionError::NoSuchSession)));
                        }
                        6 => {
                            session.create().await?;
                        }
                        _ => drop(session.load_id(presented).await?),
                    }
                    shop.set("n", &2)
                })
                .await;
                assert_eq!(answer.status, 200, "{way}");
                let fresh = answer.new_id().unwrap_or_else(|| panic!("way {way}: {answer:?}"));
                assert_ne!(fresh, presented, "{way}");
                assert_eq!(items_of(&layer, &fresh).await, Some(items(&[("n", 2)])), "{way}");
                assert_eq!(items_of(&layer, presented).await, None, "{way}");
            }
        }
        assert!(!layer.manager().exists(UNKNOWN).await.unwrap());
    }

    // S7, M11
    async fn why_there_was_no_session_is_known_after_a_blind_write(storage) {
        let layer = layer(storage.driver.clone()).await;
        let mut kept = None;
        send(&layer, request_of(UNKNOWN), |session: SessionManager| {
            kept = Some(session.clone());
            async move { session.app::<Shop>().set("n", &2) }
        })
        .await;
        let session = kept.unwrap();
        assert!(session.created());
        assert_eq!(session.error(), Some(LoadError::NotFound));
    }

    // S7, L7
    async fn a_failing_commit_leaves_no_record(storage) {
        let failing = Failing::new(storage.driver.clone());
        let layer = layer(failing.clone()).await;
        let mut limits = web_session::Limits::default();
        limits.application_bytes = 8;
        let narrow = builder(storage.driver.clone()).limits(limits).build().await.unwrap();
        failing.fail([Call::Commit]);
        for cookies in [vec![], vec!["sessionID=00112233445566778899aabbccddeeff"]] {
            let answer = send(&layer, request_with(&cookies), async |session| {
                session.app::<Shop>().set("n", &2)
            })
            .await;
            assert_eq!((answer.status.as_u16(), answer.new_id()), (503, None));
            let answer = send(&narrow, request_with(&cookies), async |session| {
                session.app::<Shop>().set("n", &"more than eight bytes")
            })
            .await;
            assert_eq!((answer.status.as_u16(), answer.new_id()), (500, None));
            let answer = send(&layer, request_with(&cookies), async |session| {
                session.app::<Shop>().set("n", &2)?;
                Ok::<_, SessionError>(StatusCode::BAD_GATEWAY)
            })
            .await;
            assert_eq!((answer.status.as_u16(), answer.new_id()), (502, None));
        }
        failing.mend();
        assert_eq!(remove_all(&layer).await, 0);
    }

    // M12, L4
    async fn create_stores_at_once_and_later_writes_go_to_it(storage) {
        let layer = layer(storage.driver.clone()).await;
        let answer = send(&layer, request_with(&[]), async |session| {
            session.app::<Shop>().set("before", &1)?;
            let id = session.create_for(Duration::from_secs(60)).await?.expose().to_string();
            assert!(session.created());
            assert_eq!(session.create().await, Err(SessionError::AlreadyLoaded));
            assert_eq!(items_of(&layer, &id).await, Some(Vec::new()));
            session.app::<Shop>().set("after", &2)?;
            Ok::<_, SessionError>(id)
        })
        .await;
        assert_eq!(answer.new_id(), Some(answer.body.clone()));
        assert!(answer.session_cookies()[0].contains("Max-Age=60")
            || answer.session_cookies()[0].contains("Max-Age=59"));
        let stored = items_of(&layer, &answer.body).await;
        assert_eq!(stored, Some(items(&[("after", 2), ("before", 1)])));
        assert_eq!(remove_all(&layer).await, 1);
    }
    // M11, M12
    async fn a_load_after_create_keeps_the_session(storage) {
        let layer = layer(storage.driver.clone()).await;
        let session = layer.manager();
        let id = session.create().await.unwrap();
        assert_eq!(session.load().await, Ok(true));
        assert_eq!((session.session_id(), session.error()), (Some(id), None));
        assert!(session.created());
    }

    // M11, S4: a middleware counts, and the handler behind it loads.
    async fn a_load_after_an_implicit_creation_keeps_the_session(storage) {
        let layer = layer(storage.driver.clone()).await;
        for request in [request_with(&[]), request_of(UNKNOWN)] {
            let answer = send(&layer, request, async |session| {
                let shop = session.app::<Shop>();
                shop.update("visits", |n: Option<i64>| n.unwrap_or(0) + 1).await?;
                assert!(session.load().await?);
                shop.set("after", &1)
            })
            .await;
            let stored = items_of(&layer, &answer.new_id().unwrap()).await;
            assert_eq!(stored, Some(items(&[("after", 1), ("visits", 1)])));
        }
        assert_eq!(remove_all(&layer).await, 2);
    }

    // M12, M17
    async fn a_new_end_of_another_session_keeps_the_created_one(storage) {
        let (layer, clock) = layer_with_clock(storage.driver.clone()).await;
        let old = layer.manager().create_for(Duration::from_secs(1)).await.unwrap();
        let other = session_with(&layer, &[("n", 1)]).await;
        clock.advance(Duration::from_secs(2));
        let answer = send(&layer, request_of(&old.expose()), async |session| {
            assert!(!session.load().await?);
            assert_eq!(session.error(), Some(LoadError::Expired));
            let id = session.create().await?;
            session.set_expire(clock.now() + Duration::from_secs(9), &*other).await?;
            assert_eq!(session.session_id(), Some(id));
            session.app::<Shop>().set("m", &1)?;
            Ok::<_, SessionError>(id.expose().to_string())
        })
        .await;
        assert_eq!(answer.new_id(), Some(answer.body.clone()));
        assert_eq!(items_of(&layer, &answer.body).await, Some(items(&[("m", 1)])));
    }
}
