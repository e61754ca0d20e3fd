//! Signed cookies (C4): what is not signed by one of the keys is no session, and costs no driver call.

use std::fmt::Debug;

use axum::body::Body;
use http::{Request, Response};
use tower::{Layer, service_fn};
use web_session::{
    BuildError, ConfigError, CookieConfig, LoadError, OnWarning, SessionError, SessionLayer,
    SessionManager, SessionTarget,
};

use crate::rig::{Rig, n, read, session};
use crate::visitor::{Answer, Shop, items, items_of, request_of, request_with, send, session_with};

const ONE: &str = "iG5ohnoo6leePh3ahw4aiNgeengae1Oo";
const TWO: &str = "Quoh7eequaeb0iePh8Eewoh3aep4Ohth";
const SIGNATURE: usize = 44;

async fn signed(rig: &Rig, keys: &[&str]) -> SessionLayer {
    rig.builder().signed(keys).build().await.unwrap()
}

/// The value of the session cookie, with a signature, and the id in it.
fn given(answer: &Answer) -> (String, String) {
    let value = answer.new_id().unwrap_or_else(|| panic!("{answer:?}"));
    assert_eq!(value.len(), SIGNATURE + 32, "{value}");
    let id = value[SIGNATURE..].to_owned();
    (value, id)
}

async fn write(layer: &SessionLayer, request: Request<Body>) -> Answer {
    let answer = send(layer, request, async |session| session.app::<Shop>().set("n", &1)).await;
    assert_eq!(answer.status, 200);
    answer
}

/// A new visitor's cookie.
async fn visit(layer: &SessionLayer) -> (String, String) {
    given(&write(layer, request_with(&[])).await)
}

/// Checks that a value of the cookie is no session for any call, and that nothing is looked up for it.
async fn assert_refused(rig: &Rig, layer: &SessionLayer, value: &str) {
    rig.calls();
    let answer = send(layer, request_of(value), async |session| {
        assert!(!session.load().await?);
        assert_eq!(session.error(), Some(LoadError::Malformed), "{value}");
        assert_eq!(read(session.clone()).await, "None");
        assert!(!session.exists(SessionTarget::Current).await?);
        assert_eq!(session.rotate().await, Err(SessionError::NotLoaded));
        let destroyed = session.destroy(SessionTarget::Current, OnWarning::Ignore).await;
        assert_eq!(destroyed, Err(SessionError::NoSuchSession));
        let headers = request_of(value).into_parts().0.headers;
        assert_eq!(session.cookie_session_id(&headers), None);
        session.end().await
    });
    assert_eq!(answer.await.status, 200, "{value}");
    assert_eq!(rig.calls(), 0, "{value}");
}

on_every_storage! {
    // C4
    async fn a_signed_cookie_names_its_session(rig: Rig) {
        let layer = signed(&rig, &[ONE]).await;
        let (value, id) = visit(&layer).await;
        assert_eq!(n(&layer, &id).await, Some(1));
        rig.calls();
        assert_eq!(send(&layer, request_of(&value), read).await.body, "Some(1)");
        assert_eq!(rig.calls(), 1);
    }

    // C4
    async fn keys_are_replaced_without_logging_anybody_out(rig: Rig) {
        let [old, both, new] =
            [signed(&rig, &[ONE]).await, signed(&rig, &[TWO, ONE]).await, signed(&rig, &[TWO]).await];
        let (with_old, id) = visit(&old).await;
        assert_eq!(send(&both, request_of(&with_old), read).await.body, "Some(1)");
        // The first key signs.
        let again = send(&both, request_of(&with_old), async |session| {
            session.load().await?;
            session.set_cookie()
        });
        let (with_new, same) = given(&again.await);
        assert_eq!(same, id);
        assert_ne!(with_new, with_old);
        for layer in [&both, &new] {
            assert_eq!(send(layer, request_of(&with_new), read).await.body, "Some(1)");
        }
        // Each layer refuses what its keys have not signed.
        assert_refused(&rig, &new, &with_old).await;
        assert_refused(&rig, &old, &with_new).await;
        assert_eq!(n(&new, &id).await, Some(1));
    }

    // CVE-2026-39324
    async fn whatever_is_changed_in_a_cookie_it_is_no_session(rig: Rig) {
        let layer = signed(&rig, &[ONE]).await;
        let (value, id) = visit(&layer).await;
        let (other, other_id) = visit(&layer).await;
        let mut tampered = Vec::new();
        for at in 0..value.len() {
            tampered.extend([value[..at].to_owned(), value[at + 1..].to_owned()]);
            let mut bytes = value.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            tampered.push(String::from_utf8(bytes).unwrap());
        }
        // The same bytes in another spelling of base64 are not the same signature.
        let last = SIGNATURE - 2;
        let digits = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/', '-', '_', '=']);
        let spelled = digits.map(|digit| format!("{}{digit}{}", &value[..last], &value[last + 1..]));
        tampered.extend(spelled.filter(|spelled| *spelled != value));
        let (signature, other_signature) = (&value[..SIGNATURE], &other[..SIGNATURE]);
        tampered.extend([
            format!("{signature}{other_id}"),
            format!("{other_signature}{id}"),
            format!("{id}{signature}"),
            format!("{signature}{signature}{id}"),
            format!("{signature} {id}"),
            format!("{signature}.{id}"),
            format!("{}{id}", "A".repeat(SIGNATURE)),
            format!("{}={id}", "A".repeat(SIGNATURE - 1)),
            format!("{signature}{}", id.to_uppercase()),
            format!("\"{value}\""),
            value.to_lowercase(),
            value.replace(['=', '+', '/'], "%3D"),
            value.repeat(50),
        ]);
        for value in tampered {
            assert_refused(&rig, &layer, &value).await;
        }
        for (id, value) in [(id, value), (other_id, other)] {
            assert_eq!(n(&layer, &id).await, Some(1));
            assert_eq!(send(&layer, request_of(&value), read).await.body, "Some(1)");
        }
    }

    // C4
    async fn an_id_without_a_signature_is_refused_where_cookies_are_signed(rig: Rig) {
        let layer = signed(&rig, &[ONE]).await;
        let plain = rig.layer().await;
        let (value, id) = visit(&layer).await;
        assert_refused(&rig, &layer, &id).await;
        let before = session(&plain).await;
        assert_refused(&rig, &layer, &before).await;
        // And the other way round.
        assert_refused(&rig, &plain, &value).await;
        assert_eq!(n(&layer, &id).await, Some(1));
    }

    // CVE-2026-39324
    async fn a_write_under_a_cookie_that_is_refused_begins_a_session_of_its_own(rig: Rig) {
        let layer = signed(&rig, &[ONE]).await;
        let id = session_with(&layer, &[("n", 7)]).await;
        let (fresh_value, fresh) = given(&write(&layer, request_of(&id)).await);
        assert_ne!(fresh, id);
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 7)])));
        assert_eq!(send(&layer, request_of(&fresh_value), read).await.body, "Some(1)");
        // Beside one that is signed it is passed over.
        let both = format!("sessionID={id}; sessionID={fresh_value}");
        assert_eq!(send(&layer, request_with(&[&both]), read).await.body, "Some(1)");
        let logout = send(&layer, request_with(&[&both]), async |session| session.end().await);
        assert!(logout.await.removes_cookie());
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 7)])), "not this visitor's");
        assert_eq!(n(&layer, &fresh).await, None);
    }

    // C4, T2
    async fn rotations_and_logins_send_signed_cookies(rig: Rig) {
        let layer = signed(&rig, &[TWO, ONE]).await;
        let (mut value, mut id) = visit(&layer).await;
        for way in ["rotate", "log in", "set the cookie lifetime", "rotate and commit"] {
            let answer = send(&layer, request_of(&value), async |session| match way {
                "rotate" => session.rotate().await,
                "log in" => session.login("ada").await,
                "rotate and commit" => {
                    session.rotate().await?;
                    session.commit().await
                }
                _ => {
                    session.load().await?;
                    session.set_cookie_lifetime(web_session::MaxAge::Seconds(60))
                }
            });
            let (new_value, new_id) = given(&answer.await);
            assert_eq!(new_id == id, way == "set the cookie lifetime", "{way}");
            assert_eq!(send(&layer, request_of(&new_value), read).await.body, "Some(1)", "{way}");
            (value, id) = (new_value, new_id);
        }
        let by_login = send(&layer, request_with(&[]), async |session| session.login("ada").await);
        let (value, _) = given(&by_login.await);
        let created = send(&layer, request_with(&[]), async |session| session.create().await.map(|_| ()));
        given(&created.await);
        let logout = send(&layer, request_of(&value), async |session| session.end().await).await;
        assert!(logout.removes_cookie());
        assert_eq!(send(&layer, request_of(&value), read).await.body, "None");
    }
}

once! {
    // C4
    async fn a_key_that_is_too_short_and_none_at_all_are_errors_of_build(rig: Rig) {
        let short = |length| BuildError::Config(ConfigError::SigningKey { length, least: 32 });
        let none: [&str; 0] = [];
        let error = rig.builder().signed(none).build().await.unwrap_err();
        assert_eq!(error, BuildError::Config(ConfigError::NoSigningKey));
        for (keys, length) in [(vec![""], 0), (vec![&ONE[1..]], 31), (vec![ONE, TWO, "x"], 1)] {
            let error = rig.builder().signed(keys).build().await.unwrap_err();
            assert_eq!(error, short(length));
            assert!(!format!("{error} {error:?}").contains(&ONE[1..]));
        }
        // A later call does not make it good unless its own keys are.
        let error = rig.builder().signed([ONE]).signed(["x"]).build().await.unwrap_err();
        assert_eq!(error, short(1));
        assert!(rig.builder().signed([[7_u8; 32]]).build().await.is_ok());
    }

    // C2, C4
    async fn the_signature_counts_towards_the_length_of_the_cookie(rig: Rig) {
        for (length, fits) in [(4096 - 32 - SIGNATURE, true), (4096 - 31 - SIGNATURE, false)] {
            let cookie = CookieConfig::default().with_name("n".repeat(length));
            let built = rig.builder().cookie(cookie).signed([ONE]).build().await;
            assert_eq!(built.is_ok(), fits, "{length}");
        }
    }

    // CVE-2023-20866
    async fn no_debug_output_shows_a_key(rig: Rig) {
        let keys = [ONE, TWO];
        let mut shown = format!("{:?}", rig.builder().signed(keys));
        let layer = signed(&rig, &keys).await;
        let service = layer.layer(service_fn(async |request: Request<Body>| {
            let session = request.extensions().get::<SessionManager>().unwrap();
            session.app::<Shop>().set("n", &1).unwrap();
            Ok::<_, std::convert::Infallible>(Response::new(format!("{session:?}")))
        }));
        show(&mut shown, &layer);
        show(&mut shown, &layer.manager());
        show(&mut shown, &layer.manager().cookie());
        let response = tower::ServiceExt::oneshot(service, request_with(&[])).await.unwrap();
        show(&mut shown, &response);
        assert!(shown.contains("Signer(..)"), "{shown}");
        for key in keys {
            let derived = cookie::Key::derive_from(key.as_bytes());
            for bytes in [key.as_bytes(), derived.signing(), derived.encryption()] {
                let list = format!("{bytes:?}");
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let text = String::from_utf8_lossy(bytes);
                for form in [&list[1..list.len() - 1], &hex, &text] {
                    assert!(!shown.contains(form), "{shown}");
                }
            }
        }
    }
}

fn show(shown: &mut String, what: &dyn Debug) {
    *shown += &format!("{what:?} {what:#?}");
}
