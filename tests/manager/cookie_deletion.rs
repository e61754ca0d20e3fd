//! `delete_cookie`.

use web_session::{CookieConfig, SameSite, SessionError};

use crate::rig::{attribute, cookie, removes_cookie, request, rig, rig_with, set_cookie};
use crate::support::memory;

fn configurations() -> Vec<CookieConfig> {
    let config = CookieConfig::default;
    vec![
        config(),
        config().with_name("__Host-id").with_partitioned(),
        config().with_path("/shop").with_domain("example.com"),
        config().with_same_site(SameSite::None).with_comment("cart"),
        config().with_same_site(SameSite::Strict).without_secure().without_http_only(),
    ]
}

/// Everything of a `Set-Cookie` value but its pair, `Max-Age` and `Expires`.
fn flags(cookie: &str) -> Vec<&str> {
    let flags = cookie.split("; ").skip(1);
    flags.filter(|flag| !flag.starts_with("Max-Age=") && !flag.starts_with("Expires=")).collect()
}

// M22
#[tokio::test]
async fn a_removal_repeats_name_path_domain_and_flags_of_the_cookie() {
    for config in configurations() {
        let rig = rig_with(memory(), |builder| builder.cookie(config.clone())).await;
        let manager = rig.manager();
        manager.create().await.unwrap();
        let set = manager.set_cookie_string(None).unwrap();
        let removal = manager.delete_cookie_string();
        assert!(removal.is_sensitive());
        let [set, removal] = [&set, &removal].map(|value| value.to_str().unwrap());
        assert!(removal.starts_with(&format!("{}=; ", config.name())), "{removal}");
        assert_eq!(flags(removal), flags(set));
        assert_eq!(attribute(removal, "Path"), Some(config.path()));
        assert_eq!(attribute(removal, "Domain"), config.domain());
        assert_eq!(attribute(removal, "Partitioned").is_some(), config.is_partitioned());
        assert_eq!(attribute(removal, "Max-Age"), Some("0"));
        assert_eq!(attribute(removal, "Expires"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    }
}

// M22
#[tokio::test]
async fn every_way_to_remove_the_cookie_sends_the_same() {
    for config in configurations() {
        let rig = rig_with(memory(), |builder| builder.cookie(config.clone())).await;
        let removal = rig.manager().delete_cookie_string();
        for way in 0..3 {
            let id = rig.session().await;
            let cookie = cookie(id).replace("sessionID", config.name());
            let response = request(&rig.sessions, &[&cookie], async |session| {
                assert!(session.load().await.unwrap());
                match way {
                    0 => session.delete_cookie().unwrap(),
                    1 => session.end().await.unwrap(),
                    _ => session.set_expire(rig.now(), id).await.unwrap(),
                }
            })
            .await;
            assert_eq!(set_cookie(&response), removal.to_str().unwrap(), "{way}");
        }
    }
}

on_each_driver! {
    // M22
    async fn removing_the_cookie_keeps_the_session(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        rig.driver.calls();
        let response = rig.visit_with(id, async |session| session.delete_cookie().unwrap()).await;
        assert!(removes_cookie(&response));
        assert_eq!(rig.driver.calls(), [""; 0]);
        assert_eq!(rig.n(id).await, Some(1));
    }
}

// M22
#[tokio::test]
async fn a_cookie_can_be_removed_without_a_session_and_not_after_the_response() {
    let rig = rig(memory()).await;
    let mut kept = None;
    let response = rig
        .visit(async |session| {
            session.delete_cookie().unwrap();
            kept = Some(session);
        })
        .await;
    assert!(removes_cookie(&response));
    let late = kept.unwrap();
    assert_eq!(late.delete_cookie(), Err(SessionError::ResponseStarted));
    assert_eq!(late.response_headers(), []);
}
