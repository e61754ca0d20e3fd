//! What the session cookie looks like, and where its id is read.

use std::time::Duration;

use web_session::{CookieConfig, MaxAge, SameSite, SessionError, SessionTarget};

use crate::rig::{
    HOUR, SECOND, UNKNOWN, attribute, cookie, given_id, headers, request, rig, rig_with,
    set_cookie, set_cookies,
};
use crate::support::memory;

const OTHER: &str = "ffeeddccbbaa99887766554433221100";

/// The cookie that a visitor is given by a layer with this configuration, by each way to create a
/// session.
async fn given(config: CookieConfig, expire: Duration) -> [String; 3] {
    let rig = rig_with(memory(), |builder| builder.cookie(config).expire(expire)).await;
    let explicit = rig.visit(async |session| {
        session.create().await.unwrap();
    });
    let implicit = rig.visit(async |session| {
        session.store("shop").unwrap().set("n", &1).unwrap();
    });
    let updating = rig.visit(async |session| {
        let shop = session.store("shop").unwrap();
        shop.update("n", |_: Option<u64>| 1).await.unwrap();
    });
    [explicit.await, implicit.await, updating.await]
        .map(|response| set_cookie(&response).to_owned())
}

// M3
#[tokio::test]
async fn max_age_has_three_forms_on_the_wire() {
    for (max_age, sent) in [
        (None, Some("5400")),
        (Some(MaxAge::Session), Some("5400")),
        (Some(MaxAge::Seconds(0)), Some("0")),
        (Some(MaxAge::Seconds(600)), Some("600")),
        (Some(MaxAge::Browser), None),
    ] {
        let config = match max_age {
            Some(max_age) => CookieConfig::default().with_max_age(max_age),
            None => CookieConfig::default(),
        };
        for cookie in given(config, Duration::from_millis(5_400_999)).await {
            assert_eq!(attribute(&cookie, "Max-Age"), sent, "{max_age:?}: {cookie}");
            assert_eq!(attribute(&cookie, "Expires"), None, "{max_age:?}: {cookie}");
        }
    }
}

// M3
#[tokio::test]
async fn max_age_is_read_from_a_configuration() {
    for (text, sent) in [
        (r#"{}"#, Some("3600")),
        (r#"{"max-age": "session"}"#, Some("3600")),
        (r#"{"max-age": 0}"#, Some("0")),
        (r#"{"max-age": 600}"#, Some("600")),
        (r#"{"max-age": "browser"}"#, None),
    ] {
        let config = serde_json::from_str(text).unwrap();
        for cookie in given(config, HOUR).await {
            assert_eq!(attribute(&cookie, "Max-Age"), sent, "{text}: {cookie}");
        }
    }
    for text in [r#"{"maxage": 1}"#, r#"{"max_age": 1}"#, r#"{"max-age": "never"}"#] {
        assert!(serde_json::from_str::<CookieConfig>(text).is_err(), "{text}");
    }
}

// M3, C1
#[tokio::test]
async fn the_default_cookie_is_for_the_whole_website_and_no_domain() {
    for cookie in given(CookieConfig::default(), HOUR).await {
        let (id, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(id.len(), "sessionID=".len() + 32);
        assert_eq!(attributes, "HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=3600");
    }
}

// M3, C3
#[tokio::test]
async fn path_domain_and_comment_are_sent_when_they_are_set() {
    let config = CookieConfig::default()
        .with_name("id")
        .with_path("/shop")
        .with_domain("example.com")
        .with_comment("keeps your cart")
        .with_same_site(SameSite::Strict)
        .without_http_only();
    for cookie in given(config, HOUR).await {
        assert!(cookie.starts_with("id="), "{cookie}");
        for (name, value) in [
            ("Path", Some("/shop")),
            ("Domain", Some("example.com")),
            ("Comment", Some("\"keeps your cart\"")),
            ("SameSite", Some("Strict")),
            ("Secure", Some("")),
            ("HttpOnly", None),
            ("Version", None),
        ] {
            assert_eq!(attribute(&cookie, name), value, "{name}: {cookie}");
        }
    }
}

// M3, M21
#[tokio::test]
async fn a_cookie_that_is_sent_again_lives_for_what_is_left_of_the_session() {
    let rig = rig(memory()).await;
    let id = rig.session().await;
    rig.clock.advance(HOUR + SECOND / 2);
    let response = rig
        .visit_with(id, async |session| {
            assert!(session.load().await.unwrap());
            session.set_cookie().unwrap();
        })
        .await;
    assert_eq!(given_id(&response), id);
    assert_eq!(attribute(set_cookie(&response), "Max-Age"), Some("82799"));
}

// M15
#[tokio::test]
async fn the_id_is_read_from_the_cookie_of_the_name() {
    let manager = rig(memory()).await.manager();
    let id = UNKNOWN.parse().unwrap();
    let cookie = cookie(id);
    for cookies in [
        vec![cookie.clone()],
        vec![format!("a=1; {cookie}; b=2")],
        vec![format!("{cookie};a=1")],
        vec!["a=1".to_owned(), cookie.clone(), "b=2".to_owned()],
        vec![cookie.clone(), cookie.clone()],
        vec!["sessionID=no id".to_owned(), cookie.clone()],
    ] {
        let cookies: Vec<_> = cookies.iter().map(String::as_str).collect();
        assert_eq!(manager.cookie_session_id(&headers(&cookies)), Some(id), "{cookies:?}");
    }
}

// M15
#[tokio::test]
async fn without_exactly_one_id_there_is_none() {
    let manager = rig(memory()).await.manager();
    let ambiguous = format!("sessionID={UNKNOWN}; sessionID={OTHER}");
    let [one, other] = [UNKNOWN, OTHER].map(|id| format!("sessionID={id}"));
    for cookies in [
        vec![],
        vec!["a=1"],
        vec![ambiguous.as_str()],
        vec![one.as_str(), other.as_str()],
        vec!["sessionID="],
        vec!["sessionID=00112233445566778899aabbccddeefg"],
        vec!["sessionID=00112233445566778899AABBCCDDEEFF"],
        vec!["sessionid=00112233445566778899aabbccddeeff"],
        vec!["xsessionID=00112233445566778899aabbccddeeff"],
    ] {
        assert_eq!(manager.cookie_session_id(&headers(&cookies)), None, "{cookies:?}");
    }
}

// M15
#[tokio::test]
async fn the_id_is_read_under_the_configured_name_and_not_looked_up() {
    let config = CookieConfig::default().with_name("__Host-id");
    let rig = rig_with(memory(), |builder| builder.cookie(config)).await;
    let both = format!("sessionID={OTHER}; __Host-id={UNKNOWN}");
    let id = rig.manager().cookie_session_id(&headers(&[&both]));
    assert_eq!(id, Some(UNKNOWN.parse().unwrap()));
    assert_eq!(rig.driver.calls(), [""; 0]);
}

on_each_driver! {
    // M15, L1
    async fn split_cookie_headers_name_one_session(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        request(&rig.sessions, &["a=1", &cookie(id), "b=2"], async |session| {
            assert!(session.load().await.unwrap());
            assert_eq!(session.session_id(), Some(id));
        }).await;
    }
}

// M21
#[tokio::test]
async fn a_cookie_string_has_the_flags_of_the_cookie_and_the_given_max_age() {
    let config = CookieConfig::default().with_path("/shop").with_comment("cart");
    let rig = rig_with(memory(), |builder| builder.cookie(config).expire(HOUR)).await;
    let manager = rig.manager();
    let id = manager.create().await.unwrap();
    let sent = manager.response_headers()[0].1.clone();
    let string = |max_age: Option<MaxAge>| {
        let value = manager.set_cookie_string(max_age).unwrap();
        assert!(value.is_sensitive());
        value.to_str().unwrap().to_owned()
    };
    assert_eq!(string(None), sent.to_str().unwrap());
    let configured = string(None);
    assert!(configured.starts_with(&cookie(id)));
    assert_eq!(string(Some(MaxAge::Session)), configured);
    assert_eq!(string(Some(MaxAge::Seconds(5))), configured.replace("=3600", "=5"));
    assert_eq!(string(Some(MaxAge::Seconds(0))), configured.replace("=3600", "=0"));
    assert_eq!(string(Some(MaxAge::Browser)), configured.replace("; Max-Age=3600", ""));
    // Asking for a string queues nothing.
    assert_eq!(manager.response_headers().len(), 1);
}

// M21
#[tokio::test]
async fn without_a_session_there_is_no_cookie_to_set() {
    let rig = rig(memory()).await;
    let id = rig.session().await;
    let response = rig
        .visit_with(id, async |session| {
            assert_eq!(session.set_cookie(), Err(SessionError::NotLoaded));
            assert_eq!(session.set_cookie_string(None), Err(SessionError::NotLoaded));
            assert_eq!(session.valid(SessionTarget::Current).await, Ok(true));
            session.set_cookie().unwrap();
        })
        .await;
    assert_eq!(set_cookies(&response).len(), 1);
}
