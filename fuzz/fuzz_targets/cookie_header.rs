//! Any bytes as the `Cookie` headers of a request.
//!
//! The first byte chooses what the handler does; each line of the rest is one header. An id is found
//! only where a naive reading finds it, and nothing else ever reaches the driver.

#![no_main]

mod recorder;
mod support;

use std::convert::Infallible;
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use libfuzzer_sys::fuzz_target;
use recorder::Recorder;
use support::{builder, run, timestamp};
use tower::util::ServiceExt;
use tower::{Layer, service_fn};
use web_session::driver::{Create, SessionRecord};
use web_session::{
    Driver, LoadError, OnWarning, SessionError, SessionId, SessionManager, SessionRef,
    SessionTarget,
};

/// The ids of the two sessions that exist.
const LIVE: [&str; 2] = ["00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"];

/// What a request presents, by a reading that shares no code with the crate's: RFC 6265bis,
/// section 5.6, where white space is a space or a tab.
fn naive(headers: &HeaderMap) -> (bool, Vec<SessionId>) {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let trim = |mut bytes: Vec<u8>| {
        while bytes.last().is_some_and(blank) {
            bytes.pop();
        }
        bytes.into_iter().skip_while(blank).collect::<Vec<u8>>()
    };
    let (mut any, mut ids) = (false, Vec::new());
    for header in headers.get_all(COOKIE) {
        for pair in header.as_bytes().split(|byte| *byte == b';') {
            let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
            if trim(pair[..equals].to_vec()) != b"sessionID" {
                continue;
            }
            any = true;
            let value = trim(pair[equals + 1..].to_vec());
            let is_id =
                value.len() == 32 && value.iter().all(|byte| b"0123456789abcdef".contains(byte));
            if is_id {
                let text = String::from_utf8(value).expect("ASCII");
                ids.push(text.parse().expect("32 lower-case hexadecimal characters"));
            }
        }
    }
    let mut distinct: Vec<SessionId> = Vec::new();
    for id in ids {
        if !distinct.contains(&id) {
            distinct.push(id);
        }
    }
    distinct.truncate(4);
    (any, distinct)
}

async fn handle(action: u8, session: &SessionManager) -> Result<(), SessionError> {
    let store = session.store("shop")?;
    match action % 6 {
        0 => drop(session.load().await?),
        1 => store.set("n", &1)?,
        2 => drop(store.update("n", |n: Option<u64>| n.unwrap_or(0) + 1).await?),
        3 => session.end().await?,
        4 => match session.destroy(SessionTarget::Current, OnWarning::Ignore).await {
            Ok(_) | Err(SessionError::NoSuchSession | SessionError::NotLoaded) => {}
            Err(error) => return Err(error),
        },
        _ => {
            store.empty();
            store.get::<u64>("n").await?;
        }
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let Some((action, lines)) = data.split_first() else { return };
    let values = lines.split(|byte| *byte == b'\n').map(HeaderValue::from_bytes);
    let headers: HeaderMap = values.flatten().map(|value| (COOKIE, value)).collect();
    run(check(*action, headers));
});

async fn check(action: u8, headers: HeaderMap) {
    let driver = Recorder::default();
    let live = LIVE.map(|text| text.parse::<SessionId>().expect("an id"));
    for (n, id) in (1..).zip(live) {
        let uuid = format!("00000000-0000-7000-8000-00000000000{n}");
        let session: SessionRef = uuid.parse().expect("a UUID");
        let ends = timestamp().saturating_add(Duration::from_secs(60));
        let record = SessionRecord::new(session, id.key(), timestamp(), ends);
        driver.create(Create::new(record)).await.expect("memory does not fail");
    }
    let layer = builder(driver.clone()).build().await.expect("all defaults");
    let (any, ids) = naive(&headers);

    let only = match *ids {
        [id] => Some(id),
        _ => None,
    };
    assert_eq!(layer.manager().cookie_session_id(&headers), only);

    let mut request = Request::new(());
    *request.headers_mut() = headers;
    let service = service_fn(|request: Request<()>| async move {
        let session = request.extensions().get::<SessionManager>().expect("the layer's").clone();
        handle(action, &session).await.expect("memory does not fail");
        let mut response = Response::new(());
        response.extensions_mut().insert(session);
        Ok::<_, Infallible>(response)
    });
    let response = layer.layer(service).oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::OK);

    let fresh = response.extensions().get::<SessionManager>().and_then(SessionManager::session_id);
    for key in driver.take_keys() {
        let presented = ids.iter().chain(&fresh).any(|id| id.key() == key);
        assert!(presented, "a key that was not presented reached the driver");
    }
    if action % 6 == 0 {
        let session = response.extensions().get::<SessionManager>().expect("the handler's");
        let alive: Vec<_> = ids.iter().filter(|id| live.contains(id)).copied().collect();
        let expected = match *alive {
            [id] => (Some(id), None),
            [_, _, ..] => (None, Some(LoadError::Ambiguous)),
            [] if !ids.is_empty() => (None, Some(LoadError::NotFound)),
            [] if any => (None, Some(LoadError::Malformed)),
            [] => (None, Some(LoadError::NoCookie)),
        };
        assert_eq!((session.session_id(), session.error()), expected);
    }
}
