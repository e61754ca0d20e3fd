//! Ids, keys and values stay inside.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use web_session::driver::*;
use web_session::{
    CookieConfig, Driver, MemoryDriver, OnWarning, SessionError, SessionId, SessionLayer,
    SessionManager, SessionRef, SessionTarget,
};

use crate::logs::Logs;
use crate::visitor::*;
use crate::wrappers::{Around, Call, Conflicting, Counting, Failing, wrap};

const KEY: &str = "key-Zu4aeSh9";
const VALUE: &str = "value-Ohng5ieP";
const PRESENTED: &str = "5ec2e75ec2e75ec2e75ec2e75ec2e75e";
const OTHER: &str = "theme=5ec2e7-of-another-cookie";

/// All that no text may hold: what the tests use, and the ids that they are given.
struct Secrets(Vec<String>);

impl Secrets {
    fn new() -> Self {
        Self([KEY, VALUE, PRESENTED, OTHER].map(str::to_owned).to_vec())
    }

    fn add(&mut self, id: &str) {
        self.0.push(id.to_owned());
        let key = id.parse::<SessionId>().unwrap().key();
        let hex = |upper: bool| -> String {
            let byte = |byte: &u8| match upper {
                true => format!("{byte:02X}"),
                false => format!("{byte:02x}"),
            };
            key.as_bytes().iter().map(byte).collect()
        };
        self.0.extend([hex(false), hex(true), format!("{:?}", key.as_bytes())]);
        let bytes: Vec<u8> =
            (0..16).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()).collect();
        self.0.extend([format!("{bytes:?}"), id.to_uppercase()]);
    }

    fn search(&self, what: &str, text: &str) {
        for secret in &self.0 {
            assert!(!text.contains(secret), "{what} shows {secret}: {}", around(text, secret));
        }
    }
}

fn around<'a>(text: &'a str, secret: &str) -> &'a str {
    let at = text.find(secret).unwrap_or(0);
    let from = text[..at].rfind('\n').unwrap_or(0);
    &text[from..text.len().min(at + secret.len() + 40)]
}

/// All that a handler can do to a session, with the secrets as arguments.
async fn everything(
    layer: &SessionLayer,
    session: &SessionManager,
    way: usize,
) -> Result<(), SessionError> {
    let shop = session.app::<Shop>();
    match way {
        0 => drop(session.load().await?),
        1 => drop(shop.get::<String>(KEY).await?),
        2 => drop(shop.get::<i64>(KEY).await?),
        3 => shop.set(KEY, VALUE)?,
        4 => shop.delete(KEY).await?,
        5 => drop(shop.update(KEY, |_: Option<String>| VALUE.to_owned()).await?),
        6 => drop(shop.update(KEY, |n: Option<i64>| n.unwrap_or(0)).await?),
        7 => drop(shop.items::<i64>().await?),
        8 => shop.set(&KEY.repeat(30), VALUE)?,
        9 => shop.set(KEY, &VALUE.repeat(100_000))?,
        10 => shop.set(KEY, &std::collections::BTreeMap::from([((1, 2), VALUE)]))?,
        11 => drop(session.store("shop")?.remove::<String>(KEY).await?),
        12 => drop(session.store("not a name")?),
        13 => session.end().await?,
        14 => session.destroy(PRESENTED, OnWarning::Ignore).await?,
        15 => session.destroy(SessionTarget::Current, OnWarning::Stop).await?,
        16 => drop(session.load_id(PRESENTED).await?),
        17 => drop(session.valid(PRESENTED).await?),
        18 => drop(session.create().await?),
        19 => {
            shop.set(KEY, VALUE)?;
            session.commit().await?;
            session.create().await?;
        }
        20 => {
            let later = std::time::SystemTime::now() + Duration::from_secs(60);
            session.set_expire(later, SessionTarget::Current).await?;
            session.set_cookie()?;
        }
        _ => {
            // Another request ends the session meanwhile.
            session.load().await?;
            shop.set(KEY, VALUE)?;
            let id = session.session_id().ok_or(SessionError::NotLoaded)?;
            layer.manager().destroy(id, OnWarning::Ignore).await?;
        }
    }
    Ok(())
}

/// A varied run through one layer, with late changes that nobody commits.
async fn run(layer: &SessionLayer, secrets: &mut Secrets) {
    for way in 0..22 {
        for status in [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR] {
            let mut cookies = vec![format!("sessionID={PRESENTED}; {OTHER}"), OTHER.to_owned()];
            let session = layer.manager();
            if session.create().await.is_ok() {
                let id = session.session_id().unwrap().expose().to_string();
                session.app::<Shop>().set(KEY, VALUE).unwrap();
                // A failing driver may keep the session without items.
                drop(session.commit().await);
                secrets.add(&id);
                cookies.push(format!("sessionID={id}"));
                cookies.push(format!("sessionID={id}; sessionID={PRESENTED}"));
            }
            for cookie in &cookies {
                let mut kept = None;
                let answer = send(layer, request_with(&[cookie]), |session: SessionManager| {
                    kept = Some(session.clone());
                    async move {
                        everything(layer, &session, way).await?;
                        secrets_hidden_in(&session);
                        Ok::<_, SessionError>(status)
                    }
                })
                .await;
                if let Some(id) = answer.new_id() {
                    secrets.add(&id);
                }
                let mut visible = answer.headers.clone();
                visible.remove("set-cookie");
                secrets.search("a response", &format!("{} {visible:?}", answer.body));
                secrets.search("the Debug form of headers", &format!("{:?}", answer.headers));
                kept.unwrap().app::<Shop>().set(KEY, VALUE).unwrap();
            }
        }
    }
}

fn secrets_hidden_in(session: &SessionManager) {
    let mut secrets = Secrets::new();
    if let Some(id) = session.session_id() {
        secrets.add(&id.expose());
    }
    let shop = session.app::<Shop>();
    let shown = format!(
        "{session:?} {session:#?} {shop:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        *shop,
        session.session_id(),
        session.session_id().map(|id| (id.expose(), id.key())),
        session.session_id().map(SessionTarget::from),
        session.response_headers(),
        (session.seed(), session.sent_headers(), session.error()),
    );
    secrets.search("a Debug form", &shown);
}

on_each_driver! {
    // E1, E2, SECURITY 26
    async fn no_log_line_span_or_response_shows_an_id_a_key_or_a_value(storage) {
        let logs = Logs::of_all_threads();
        let mut secrets = Secrets::new();
        let conflicting = Conflicting::new(storage.driver.clone(), usize::MAX);
        run(&layer(storage.driver.clone()).await, &mut secrets).await;
        run(&layer(conflicting).await, &mut secrets).await;
        for calls in [
            vec![Call::Load],
            vec![Call::Commit],
            vec![Call::ReplaceItem, Call::Destroy],
            vec![Call::Create, Call::Inspect, Call::Commit],
        ] {
            let failing = Failing::new(storage.driver.clone());
            failing.fail(calls);
            run(&layer(failing).await, &mut secrets).await;
        }
        tracing::error!("the run is over");
        let text = logs.text();
        for expected in [
            "pulled-the-plug",
            "a request failed because of its session",
            "session changes were dropped",
            "the session was ended meanwhile",
            "the run is over",
        ] {
            assert!(text.contains(expected), "the run does not log {expected:?}");
        }
        assert!(secrets.0.len() > 500);
        secrets.search("a log line", &text);
    }
}

// E2
#[tokio::test]
async fn the_debug_forms_of_layers_and_drivers_show_nothing() {
    let memory = MemoryDriver::new();
    let layer = builder(Counting::new(memory.clone()))
        .seed("seed-of-the-application")
        .cookie(CookieConfig::default())
        .build()
        .await
        .unwrap();
    let manager = layer.manager();
    let id = manager.create().await.unwrap();
    manager.app::<Shop>().set(KEY, VALUE).unwrap();
    manager.commit().await.unwrap();
    let mut secrets = Secrets::new();
    secrets.add(&id.expose());
    secrets.0.push("seed-of-the-application".to_owned());

    let service = tower::Layer::layer(&layer, ());
    let builder = builder(memory.clone()).seed("seed-of-the-application");
    let items: Items = [(KEY.into(), VALUE.into())].into_iter().collect();
    let shown = [
        format!("{layer:?} {service:?} {builder:?} {memory:?} {manager:?}"),
        format!("{items:?}"),
        format!("{:?} {:?}", manager.session_ref(), layer.spawn_cleanup(Duration::from_secs(60))),
        format!("{:?}", OTHER.parse::<SessionId>()),
        format!("{:?}", SessionTarget::from(VALUE)),
    ];
    for shown in shown {
        secrets.search("a Debug form", &shown);
    }
}

/// Writes down the Debug form of all that passes to a driver and back.
#[derive(Debug, Clone)]
struct Spy {
    inner: Arc<dyn Driver>,
    seen: Arc<Mutex<String>>,
}

impl Around for Spy {
    fn around<T: fmt::Debug + Send + 'static>(
        &self,
        _call: Call,
        next: impl FnOnce(&dyn Driver) -> DriverFuture<T> + Send + 'static,
    ) -> DriverFuture<T> {
        let (answer, seen) = (next(&*self.inner), self.seen.clone());
        DriverFuture::new(async move {
            let shown = format!("{answer:?}");
            let answer = answer.await;
            seen.lock().unwrap().push_str(&format!("{shown} {answer:?} {answer:#?}\n"));
            answer
        })
    }

    fn passing(&self, argument: &dyn fmt::Debug) {
        self.seen.lock().unwrap().push_str(&format!("{argument:?} {argument:#?}\n"));
    }
}

wrap!(Spy);

// E2, D3: what passes to a driver may be logged by it.
#[tokio::test]
async fn the_debug_forms_of_driver_calls_and_answers_show_nothing() {
    let seen = Arc::default();
    let conflicting = Conflicting::new(MemoryDriver::new(), usize::MAX);
    for inner in [Arc::new(MemoryDriver::new()) as Arc<dyn Driver>, Arc::new(conflicting)] {
        let mut secrets = Secrets::new();
        let spy = Spy { inner, seen: Arc::clone(&seen) };
        run(&layer(spy).await, &mut secrets).await;
        let text = std::mem::take(&mut *seen.lock().unwrap());
        for expected in ["Load {", "Commit {", "ReplaceItem {", "Destroy {", "Found {", "Done("] {
            assert!(text.contains(expected), "the run has no {expected:?}");
        }
        secrets.search("the Debug form of a driver's call", &text);
        // What is shown is of use: one session can be told from another.
        assert!(text.contains("SessionKey(") && text.contains("SessionRef("));
    }
}
