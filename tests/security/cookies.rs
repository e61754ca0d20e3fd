//! The session cookie: its protections, the rules that a configuration is held to, one of it in a
//! response, and what of it is read.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use http::header::SET_COOKIE;
use web_session::{
    BuildError, Clock, ConfigError, CookieConfig, LoadError, MaxAge, OnWarning, SameSite,
    SessionError, SessionEvent, SessionLayer, SessionManager, SessionTarget,
};

use crate::rig::{Rig, n, read, session};
use crate::visitor::{Answer, Shop, request_of, request_with, send};

const DAY: u64 = 86_400;

/// The attributes of a `Set-Cookie` value in lower case, none of them twice.
pub fn attributes(cookie: &str) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    for part in cookie.split("; ").skip(1) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let before = attributes.insert(name.to_ascii_lowercase(), value.to_owned());
        assert_eq!(before, None, "an attribute twice: {cookie}");
    }
    attributes
}

async fn build(
    rig: &Rig,
    change: impl FnOnce(CookieConfig) -> CookieConfig,
) -> Result<SessionLayer, BuildError> {
    rig.builder().cookie(change(CookieConfig::default())).build().await
}

/// What a handler may do that concerns the cookie.
const DEEDS: [&str; 15] = [
    "read",
    "write",
    "clear",
    "update",
    "create",
    "commit",
    "rotate",
    "log in",
    "log out",
    "destroy",
    "set the end",
    "set the cookie",
    "delete the cookie",
    "cookie lifetime",
    "roll back",
];

/// Does it; what the session does not allow at that moment is passed over.
async fn act(rig: &Rig, session: &SessionManager, deed: &str) {
    let shop = session.app::<Shop>();
    let _ = match deed {
        "read" => shop.get::<i64>("n").await.map(|_| ()),
        "write" => shop.set("n", &2),
        "clear" => {
            shop.empty();
            Ok(())
        }
        "update" => shop.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).await.map(|_| ()),
        "create" => session.create().await.map(|_| ()),
        "commit" => session.commit().await,
        "rotate" => session.rotate().await,
        "log in" => session.login("ada").await,
        "log out" => session.end().await,
        "destroy" => session.destroy(SessionTarget::Current, OnWarning::Ignore).await,
        "set the end" => {
            let later = rig.clock.now() + Duration::from_secs(DAY);
            session.set_expire(later, SessionTarget::Current).await
        }
        "set the cookie" => session.set_cookie(),
        "delete the cookie" => session.delete_cookie(),
        "cookie lifetime" => session.set_cookie_lifetime(MaxAge::Seconds(60)),
        _ => {
            session.rollback();
            Ok(())
        }
    };
}

/// Checks that a response has at most one session cookie, without an attribute twice, and that a
/// visitor who had this id is not left with one that is none, if any session is there for them.
async fn assert_sound(layer: &SessionLayer, before: Option<&str>, answer: &Answer, case: &str) {
    let cookies = answer.session_cookies();
    assert!(cookies.len() <= 1, "{case}: {cookies:?}");
    for cookie in &cookies {
        attributes(cookie);
    }
    if let Some(new) = answer.new_id() {
        assert!(
            layer.manager().load_id(&new).await.unwrap(),
            "{case}: the new cookie opens nothing"
        );
    } else if let (Some(before), false) = (before, answer.removes_cookie()) {
        let own = layer.manager().load_id(before).await.unwrap();
        assert!(own, "{case}: the visitor's cookie opens nothing any more");
    }
}

once! {
    // A5 3.3
    async fn every_cookie_is_protected_by_default(rig: Rig) {
        let layer = rig.layer().await;
        for deeds in [
            &["write"][..], &["create"], &["update"], &["log in"], &["create", "rotate"],
            &["create", "set the end"], &["create", "set the cookie"], &["delete the cookie"],
            &["create", "log out"],
        ] {
            let answer = send(&layer, request_with(&[]), async |session| {
                for deed in deeds {
                    act(&rig, &session, deed).await;
                }
            });
            let answer = answer.await;
            let [cookie] = answer.session_cookies()[..] else { panic!("{deeds:?}: {answer:?}") };
            let mut attributes = attributes(cookie);
            let max_age = if answer.removes_cookie() { "0" } else { "86400" };
            assert_eq!(attributes.remove("max-age").as_deref(), Some(max_age), "{deeds:?}");
            attributes.remove("expires");
            let protected = [("httponly", ""), ("path", "/"), ("samesite", "Lax"), ("secure", "")];
            let protected = protected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(attributes, BTreeMap::from(protected), "{deeds:?}");
        }
    }

    // 6b 4.1.3, 5.4-5.7
    async fn a_cookie_that_user_agents_would_refuse_is_an_error_of_build(rig: Rig) {
        type Change = fn(CookieConfig) -> CookieConfig;
        let host = ConfigError::HostPrefix;
        let secure = |what| ConfigError::NeedsSecure(what);
        let long = |what, limit| ConfigError::CookieTooLong { what, limit };
        let bad = ConfigError::CookieCharacters;
        let refused: Vec<(Change, ConfigError)> = vec![
            (|c| c.with_name("__Host-id").without_secure(), host.clone()),
            (|c| c.with_name("__hOST-id").with_path("/shop"), host.clone()),
            (|c| c.with_name("__Host-id").with_domain("example.com"), host),
            (|c| c.with_name("__secure-id").without_secure(),
                secure("a name with the prefix __Secure-")),
            (|c| c.with_same_site(SameSite::None).without_secure(), secure("SameSite=None")),
            (|c| c.with_partitioned().without_secure(), secure("Partitioned")),
            (|c| c.with_name(""), ConfigError::CookieName),
            (|c| c.with_name("a b"), ConfigError::CookieName),
            (|c| c.with_name("a=b"), ConfigError::CookieName),
            (|c| c.with_name("a\r\nSet-Cookie: b"), ConfigError::CookieName),
            (|c| c.with_name("ä"), ConfigError::CookieName),
            (|c| c.with_name("n".repeat(4096 - 31)), long("name and value", 4096)),
            (|c| c.with_path("shop"), ConfigError::CookiePath),
            (|c| c.with_path("/a; Domain=evil.example"), bad("path")),
            (|c| c.with_path("/a\r\nb"), bad("path")),
            (|c| c.with_path(format!("/{}", "a".repeat(1024))), long("path", 1024)),
            (|c| c.with_domain("a; Path=/"), bad("domain")),
            (|c| c.with_domain("exa mple.com"), bad("domain")),
            (|c| c.with_domain("a".repeat(1025)), long("domain", 1024)),
            (|c| c.with_comment("a\" ; Domain=b"), bad("comment")),
            (|c| c.with_max_age(MaxAge::Seconds(400 * DAY + 1)),
                ConfigError::CookieLifetime(400 * DAY + 1)),
        ];
        for (change, error) in refused {
            let refused = build(&rig, change).await.unwrap_err();
            assert_eq!(refused, BuildError::Config(error));
        }
        let accepted: [Change; 5] = [
            |c| c.with_name("__Host-id"),
            |c| c.with_name("__Secure-id").with_path("/shop").with_domain("example.com"),
            |c| c.with_same_site(SameSite::None).with_partitioned(),
            |c| c.with_name("n".repeat(4096 - 32)),
            |c| c.with_max_age(MaxAge::Seconds(400 * DAY)),
        ];
        for change in accepted {
            assert!(build(&rig, change).await.is_ok());
        }
    }

    // 6b 5.5
    async fn no_cookie_lives_longer_than_400_days(rig: Rig) {
        let days = |days: u64| Duration::from_secs(days * DAY);
        let tick = Duration::from_secs(1);
        let too_long = rig.builder().expire(days(400) + tick).build().await.unwrap_err();
        assert_eq!(too_long, BuildError::Config(ConfigError::CookieLifetime(400 * DAY + 1)));
        // A session may live longer than its cookie.
        let browser = CookieConfig::default().with_max_age(MaxAge::Browser);
        assert!(rig.builder().expire(days(4_000)).cookie(browser).build().await.is_ok());

        let layer = rig.builder().expire(days(400)).build().await.unwrap();
        let answer = send(&layer, request_with(&[]), async |session| {
            session.create_for(days(4_000)).await?;
            let long = MaxAge::Seconds(400 * DAY + 1);
            assert_eq!(session.set_cookie_lifetime(long), Err(SessionError::CookieLifetime));
            let string = session.set_cookie_string(MaxAge::Seconds(u64::MAX))?;
            assert_eq!(attributes(string.to_str().unwrap())["max-age"], "34560000");
            session.set_expire(rig.clock.now() + days(4_000), SessionTarget::Current).await
        });
        assert_eq!(attributes(answer.await.session_cookies()[0])["max-age"], "34560000");
    }

    // 6b 5.5
    async fn max_age_and_expires_say_the_same(rig: Rig) {
        let layer = rig.layer().await;
        let id = session(&layer).await;
        let logout = send(&layer, request_of(&id), async |session| session.end().await).await;
        let removal = cookie::Cookie::parse(logout.session_cookies()[0]).unwrap();
        assert_eq!(removal.max_age(), Some(time::Duration::ZERO));
        let expires = removal.expires_datetime().expect("for user agents without Max-Age");
        assert!(expires <= time::OffsetDateTime::UNIX_EPOCH, "{expires}");
        // Where a cookie lives on only Max-Age says how long: no clock of a visitor matters to it.
        let given = send(&layer, request_with(&[]), async |session| {
            session.app::<Shop>().set("n", &1)
        });
        assert!(!attributes(given.await.session_cookies()[0]).contains_key("expires"));
    }

    // 6b 4.1.1
    async fn a_response_has_one_session_cookie_whatever_the_handler_did(rig: Rig) {
        let layer = rig.layer().await;
        for at in 0..DEEDS.len().pow(3) {
            let deeds = [0, 1, 2].map(|place| DEEDS[at / DEEDS.len().pow(place) % DEEDS.len()]);
            for had in [true, false] {
                let id = session(&layer).await;
                let request = if had { request_of(&id) } else { request_with(&[]) };
                let answer = send(&layer, request, async |session| {
                    for deed in deeds {
                        act(&rig, &session, deed).await;
                    }
                });
                let case = format!("{deeds:?}, {had}");
                assert_sound(&layer, had.then_some(&*id), &answer.await, &case).await;
            }
        }
    }

    // 6b 4.1.1
    async fn a_response_that_failed_has_one_session_cookie_too(rig: Rig) {
        let layer = rig.layer().await;
        for one in DEEDS {
            for other in DEEDS {
                let id = session(&layer).await;
                let answer = send(&layer, request_of(&id), async |session| {
                    act(&rig, &session, one).await;
                    act(&rig, &session, other).await;
                    StatusCode::INTERNAL_SERVER_ERROR
                });
                assert_sound(&layer, Some(&id), &answer.await, &format!("{one}, {other}")).await;
            }
        }
    }

    // 6b 4.1.1
    async fn a_cookie_that_the_handler_sent_itself_is_replaced_by_a_later_one(rig: Rig) {
        let layer = rig.layer().await;
        for takes in [true, false] {
            for later in [None, Some("rotate"), Some("log out"), Some("set the end")] {
                let answer = send(&layer, request_with(&[]), async |session| {
                    session.create().await.unwrap();
                    let mut response = http::Response::new(axum::body::Body::empty());
                    let headers = response.headers_mut();
                    headers.append(SET_COOKIE, "theme=dark".parse().unwrap());
                    if takes {
                        headers.extend(session.take_response_headers());
                    } else {
                        session.send_cookie_headers(headers);
                    }
                    headers.append(SET_COOKIE, "lang=en".parse().unwrap());
                    if let Some(later) = later {
                        act(&rig, &session, later).await;
                    }
                    response
                });
                let answer = answer.await;
                let case = format!("{takes}, {later:?}");
                assert_sound(&layer, None, &answer, &case).await;
                assert_eq!(answer.session_cookies().len(), 1, "{case}: {answer:?}");
                assert_eq!(answer.removes_cookie(), later == Some("log out"), "{case}");
                let others = answer.all("set-cookie").into_iter();
                let others: Vec<_> = others.filter(|cookie| !cookie.contains("sessionID")).collect();
                assert_eq!(others, ["theme=dark", "lang=en"], "{case}");
            }
        }
    }

    // 6b 4.2
    async fn a_session_is_found_in_split_cookie_headers(rig: Rig) {
        let layer = rig.layer().await;
        let id = session(&layer).await;
        let own = format!("sessionID={id}");
        for cookies in [
            vec!["a=b", &*own, "c=d"],
            vec![&*own, &*own],
            vec!["sessionID=", "sessionID=x", &*own],
            vec!["sessionID=00112233445566778899aabbccddeeff", &*own],
        ] {
            assert_eq!(send(&layer, request_with(&cookies), read).await.body, "Some(1)");
        }
    }

    // 6b 4.2
    async fn of_two_live_session_cookies_none_is_used_and_a_logout_ends_both(rig: Rig) {
        let layer = rig.layer().await;
        let [one, two] = [session(&layer).await, session(&layer).await];
        let [first, second] = [&one, &two].map(|id| format!("sessionID={id}"));
        let joined = format!("{first}; {second}");
        for cookies in [vec![&*joined], vec![&*first, &*second], vec![&*second, &*first]] {
            rig.events();
            let answer = send(&layer, request_with(&cookies), async |session| {
                assert!(!session.load().await?);
                assert_eq!(session.error(), Some(LoadError::Ambiguous));
                assert_eq!(read(session.clone()).await, "None");
                session.app::<Shop>().set("n", &2)
            });
            let fresh = answer.await.new_id().unwrap();
            assert!(![&one, &two].contains(&&fresh));
            let events = rig.events();
            assert!(matches!(events[0], SessionEvent::Ambiguous { .. }), "{events:?}");
            for id in [&one, &two] {
                assert_eq!(n(&layer, id).await, Some(1), "neither was written to");
            }
        }
        let logout = send(&layer, request_with(&[&joined]), async |session| session.end().await);
        assert!(logout.await.removes_cookie());
        for id in [&one, &two] {
            assert_eq!(n(&layer, id).await, None);
        }
    }
}
