//! Which session a request has.

use axum::body::Body;
use http::{HeaderValue, Request};
use web_session::{LoadError, OnWarning, SessionError};

use crate::visitor::*;
use crate::wrappers::{Call, Counting};

const UNKNOWN: &str = "00112233445566778899aabbccddeeff";

/// What a request sees of its session: whether it is loaded, why not, and the value of `n`.
async fn seen(
    layer: &web_session::SessionLayer,
    request: Request<Body>,
) -> (bool, Option<LoadError>, Option<i64>) {
    let mut seen = None;
    send(layer, request, async |session| {
        let loaded = session.load().await?;
        let value = session.app::<Shop>().get("n").await?;
        seen = Some((loaded, session.error(), value));
        Ok::<_, SessionError>(())
    })
    .await;
    seen.unwrap()
}

on_each_driver! {
    // L1
    async fn a_session_is_found_in_split_and_crowded_cookie_headers(storage) {
        let layer = layer(storage.driver.clone()).await;
        let id = session_with(&layer, &[("n", 7)]).await;
        let own = format!("sessionID={id}");
        for cookies in [
            vec![own.clone()],
            vec![format!("a=b; {own}; c=d")],
            vec![format!("sessionid=x; xsessionID={UNKNOWN}; {own}")],
            vec!["a=b".to_owned(), own.clone(), "c=d".to_owned()],
            vec!["sessionID=rubbish".to_owned(), own.clone()],
            vec![format!("sessionID={UNKNOWN}; {own}")],
            vec![own.clone(), own.clone(), format!("{own}; {own}")],
            vec![format!("{own};;; =; ;")],
        ] {
            let cookies: Vec<_> = cookies.iter().map(String::as_str).collect();
            let found = seen(&layer, request_with(&cookies)).await;
            assert_eq!(found, (true, None, Some(7)), "{cookies:?}");
        }
        let mut beside_bytes = request_of(&id);
        let bytes = HeaderValue::from_bytes(b"a=\xff\xfe\x80; b").unwrap();
        beside_bytes.headers_mut().append("cookie", bytes);
        assert_eq!(seen(&layer, beside_bytes).await, (true, None, Some(7)));
    }

    // L1
    async fn of_two_live_sessions_none_is_used(storage) {
        let layer = layer(storage.driver.clone()).await;
        let one = session_with(&layer, &[("n", 1)]).await;
        let two = session_with(&layer, &[("n", 2)]).await;
        let both = format!("sessionID={one}; sessionID={two}");
        let found = seen(&layer, request_with(&[&both])).await;
        assert_eq!(found, (false, Some(LoadError::Ambiguous), None));

        for reads_first in [true, false] {
            let answer = send(&layer, request_with(&[&both]), async |session| {
                if reads_first {
                    session.load().await?;
                }
                session.app::<Shop>().set("n", &3)
            })
            .await;
            let fresh = answer.new_id().unwrap();
            assert!(fresh != one && fresh != two);
            assert_eq!(items_of(&layer, &fresh).await, Some(items(&[("n", 3)])));
        }
        assert_eq!(items_of(&layer, &one).await, Some(items(&[("n", 1)])));
        assert_eq!(items_of(&layer, &two).await, Some(items(&[("n", 2)])));
    }

    // L1
    async fn four_distinct_ids_at_most_go_into_the_one_load(storage) {
        let counting = Counting::new(storage.driver.clone());
        let layer = layer(counting.clone()).await;
        let id = session_with(&layer, &[("n", 7)]).await;
        let others: Vec<_> = (0..9).map(|n| format!("sessionID={n:032x}")).collect();
        let cookies = |before: usize| {
            let mut cookies = others[..before].to_vec();
            cookies.extend([cookies[0].clone(), format!("sessionID={id}")]);
            cookies.extend_from_slice(&others[before..]);
            cookies.join("; ")
        };
        counting.take();
        let found = seen(&layer, request_with(&[&cookies(3)])).await;
        assert_eq!(found, (true, None, Some(7)));
        // `load` and the items of the application.
        assert_eq!(counting.take(), [(Call::Load, 2)]);
        assert_eq!(counting.widest_load(), 4);
        let found = seen(&layer, request_with(&[&cookies(4)])).await;
        assert_eq!(found, (false, Some(LoadError::NotFound), None));
        assert_eq!(counting.take(), [(Call::Load, 1)]);
        assert_eq!(counting.widest_load(), 4);
    }

    // L1
    async fn a_logout_ends_every_session_that_was_presented(storage) {
        let layer = layer(storage.driver.clone()).await;
        for ends in ["end", "destroy", "load and end"] {
            let one = session_with(&layer, &[("n", 1)]).await;
            let two = session_with(&layer, &[("n", 2)]).await;
            let bystander = session_with(&layer, &[("n", 3)]).await;
            let cookies = [&*format!("sessionID={one}"), &format!("a=b; sessionID={two}")];
            let answer = send(&layer, request_with(&cookies), async |session| match ends {
                "end" => session.end().await,
                "destroy" => {
                    let target = web_session::SessionTarget::Current;
                    session.destroy(target, OnWarning::Ignore).await
                }
                _ => {
                    session.load().await?;
                    session.end().await
                }
            })
            .await;
            assert_eq!(answer.status, 200, "{ends}");
            assert!(answer.removes_cookie(), "{ends}");
            assert_eq!(items_of(&layer, &one).await, None, "{ends}");
            assert_eq!(items_of(&layer, &two).await, None, "{ends}");
            assert!(items_of(&layer, &bystander).await.is_some(), "{ends}");
        }
    }

    // L1, SECURITY 7
    async fn malformed_ids_never_reach_the_driver(storage) {
        let counting = Counting::new(storage.driver.clone());
        let layer = layer(counting.clone()).await;
        let id = session_with(&layer, &[("n", 7)]).await;
        let long = "a".repeat(60_000);
        let values: Vec<Vec<u8>> = [
            "", "x", "../../../../etc/passwd", "'; DROP TABLE web_sessions; --", "%00", "null",
            &id[1..], &format!("{id}0"), &id.to_uppercase(), &format!("\"{id}\""),
            &format!("{id}, {id}"), &format!("{id}\t{id}"), &format!("{id}="), &long,
            &format!("{}-{}", &id[..15], &id[16..]), "gggggggggggggggggggggggggggggggg",
        ]
        .iter()
        .map(|value| value.as_bytes().to_vec())
        .chain([
            [&id.as_bytes()[..31], b"\xe9"].concat(),
            "٠١٢٣٤٥٦٧٨٩٠١٢٣٤٥".as_bytes().to_vec(),
        ])
        .collect();
        counting.take();
        for value in values {
            let cookie = [b"sessionID=", &*value].concat();
            let mut request = request_with(&[]);
            let cookie = HeaderValue::from_bytes(&cookie).unwrap();
            request.headers_mut().append("cookie", cookie);
            let answer = send(&layer, request, async |session| {
                assert!(!session.load().await?);
                assert_eq!(session.error(), Some(LoadError::Malformed));
                assert_eq!(session.app::<Shop>().get::<i64>("n").await?, None);
                assert!(!session.exists(web_session::SessionTarget::Current).await?);
                session.end().await
            })
            .await;
            assert_eq!(answer.status, 200, "{value:?}");
            assert!(answer.removes_cookie(), "{value:?}");
        }
        assert_eq!(counting.take(), []);
    }

    // L1, SECURITY 8
    async fn an_id_outside_the_cookie_header_is_ignored(storage) {
        let counting = Counting::new(storage.driver.clone());
        let layer = layer(counting.clone()).await;
        let id = session_with(&layer, &[("n", 7)]).await;
        counting.take();
        let request = Request::post(format!("/sessionID={id};sessionID={id}?sessionID={id}"))
            .header("set-cookie", format!("sessionID={id}"))
            .header("cookie2", format!("sessionID={id}"))
            .header("x-cookie", format!("sessionID={id}"))
            .header("authorization", format!("Bearer {id}"))
            .header("sessionID", &id)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(format!("sessionID={id}")))
            .unwrap();
        let found = seen(&layer, request).await;
        assert_eq!(found, (false, Some(LoadError::NoCookie), None));
        assert_eq!(counting.take(), []);
    }

    // L1
    async fn an_id_under_another_cookie_name_is_ignored(storage) {
        let config = web_session::CookieConfig::default().with_name("__Host-other");
        let other = builder(storage.driver.clone()).cookie(config).build().await.unwrap();
        let id = session_with(&other, &[("n", 7)]).await;
        let found = seen(&other, request_of(&id)).await;
        assert_eq!(found, (false, Some(LoadError::NoCookie), None));
        let found = seen(&other, request_with(&[&format!("__Host-other={id}")])).await;
        assert_eq!(found, (true, None, Some(7)));
    }
}
