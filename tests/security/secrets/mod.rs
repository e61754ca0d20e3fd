//! Ids, keys, values, principals, notes, keys of signatures and passwords stay inside (E1, E2, D3).

mod doings;
mod known;
mod wrappers;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use web_session::driver::{Items, conformance};
use web_session::{
    BuildError, CookieConfig, Driver, OnMissing, OnTooMany, RandomError, RandomSource, SessionId,
    SessionLayer, SessionLayerBuilder, SessionManager, SessionTarget,
};

use crate::admin::Admin;
use crate::logs::Logs;
use crate::rig::Rig;
use crate::servers;
use crate::visitor::{self, Shop, request_with, send};
use crate::wrappers::{Call, Conflicting, Failing};
use doings::{Breadth, KEY, NOTE, PRINCIPAL, Run, SEED, SIGNING_KEY, VALUE};
use known::{Secrets, Shown};
use wrappers::{MARK, Marking, Spy};

const PASSWORD: &str = "password-Ub2aiCh6";

#[derive(Debug)]
struct NoRandomness;

impl RandomSource for NoRandomness {
    fn fill(&self, _bytes: &mut [u8]) -> Result<(), RandomError> {
        Err(RandomError)
    }
}

#[derive(Debug)]
struct AlwaysTheSame;

impl RandomSource for AlwaysTheSame {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        bytes.fill(7);
        Ok(())
    }
}

fn builder(driver: impl Driver, shown: &Shown) -> SessionLayerBuilder {
    let events = shown.clone();
    visitor::builder(driver)
        .seed(SEED)
        .idle_timeout(Duration::from_millis(50))
        .listener(move |event| events.debug(&event))
}

async fn built(builder: SessionLayerBuilder) -> SessionLayer {
    builder.build().await.unwrap()
}

/// Uses a storage in every way, and has every error.
async fn use_everything(run: &mut Run, driver: Arc<dyn Driver>) {
    let shown = run.shown.clone();
    let spy = Spy { inner: driver.clone(), shown: shown.clone() };
    let healthy = visitor::layer(driver.clone()).await;
    let signed_healthy = built(visitor::builder(driver.clone()).signed([SIGNING_KEY])).await;
    let plain = built(builder(spy.clone(), &shown)).await;
    run.visit(&plain, &healthy, &driver, Breadth::Wide).await;
    let keys = [SIGNING_KEY, "another-key-of-32-bytes-at-least"];
    let signed = built(builder(spy.clone(), &shown).signed(keys)).await;
    run.visit(&signed, &signed_healthy, &driver, Breadth::Wide).await;

    let mut narrow = vec![
        built(builder(Conflicting::new(spy.clone(), usize::MAX), &shown)).await,
        built(builder(spy.clone(), &shown).random(NoRandomness)).await,
        built(builder(spy.clone(), &shown).random(AlwaysTheSame)).await,
    ];
    for on_too_many in [OnTooMany::Refuse, OnTooMany::EvictOldest] {
        let capped = builder(spy.clone(), &shown).max_sessions(NonZeroU32::MIN, on_too_many);
        narrow.push(built(capped).await);
    }
    for calls in [
        vec![Call::Load],
        vec![Call::Commit, Call::List],
        vec![Call::ReplaceItem, Call::Destroy, Call::EndWhere, Call::Cleanup, Call::Environment],
        vec![Call::Create, Call::Inspect, Call::Commit],
    ] {
        let failing = Failing::new(spy.clone());
        narrow.push(built(builder(failing.clone(), &shown)).await);
        failing.fail(calls);
    }
    for layer in &narrow {
        run.visit(layer, &healthy, &driver, Breadth::Narrow).await;
    }
    errors_of_routes(run, &plain).await;
}

/// A layer that is missing, and one that is there twice.
async fn errors_of_routes(run: &mut Run, layer: &SessionLayer) {
    use axum::extract::FromRequestParts;
    let (mut parts, _) = request_with(&[]).into_parts();
    let missing = SessionManager::from_request_parts(&mut parts, &()).await.unwrap_err();
    run.error(&missing);
    let same = send(layer, request_with(&[]), async |session: SessionManager| {
        let mut request = request_with(&[]);
        request.extensions_mut().insert(session);
        let mut same = None;
        let inner = send(layer, request, |session: SessionManager| {
            let (mut parts, _) = request_with(&[]).into_parts();
            parts.extensions.insert(session);
            let same = &mut same;
            async move {
                *same = SessionManager::from_request_parts(&mut parts, &()).await.err();
            }
        });
        inner.await;
        run.error(&same.unwrap());
    });
    same.await;
}

/// Configurations that are refused, with secrets in all their parts.
async fn errors_of_configuration(shown: &Shown, driver: &Arc<dyn Driver>) {
    let bad = format!("{VALUE}\n;");
    let cookie = CookieConfig::default;
    let mut refused: Vec<(SessionLayerBuilder, &str)> = [
        cookie().with_name(bad.as_str()),
        cookie().with_path(bad.as_str()),
        cookie().with_domain(bad.as_str()),
        cookie().with_comment(bad.as_str()),
    ]
    .into_iter()
    .map(|cookie| (visitor::builder(driver.clone()).cookie(cookie), "a cookie"))
    .collect();
    let short = &SIGNING_KEY[..31];
    refused.push((visitor::builder(driver.clone()).signed([short]), "a short key"));
    refused.push((visitor::builder(driver.clone()).signed([""; 0]), "no key"));
    for (builder, what) in refused {
        let error: BuildError = builder.build().await.expect_err(what);
        shown.error(&error);
    }
    let items: Items = [(KEY.into(), VALUE.into())].into_iter().collect();
    shown.debug(&items);
    let layer = visitor::layer(driver.clone()).await;
    shown.debug(&(tower::Layer::layer(&layer, ()), layer.manager()));
    shown.debug(&(SessionTarget::from(VALUE), VALUE.parse::<SessionId>()));
    shown.debug(&builder(driver.clone(), shown).signed([SIGNING_KEY]));
    shown.error(&web_session::connect(&format!("{VALUE} {PASSWORD}")).await.unwrap_err());
}

/// The same URL with this user and password, where there are users.
fn url_as(url: &str, user: &str, password: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) if scheme != "sqlite" => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{user}:{password}@{host}")
        }
        _ => url.to_owned(),
    }
}

/// A driver on a pool of the application's, which logs every statement where the driver's own would not.
async fn open_aloud(url: &str, environment: &str) -> Arc<dyn Driver> {
    match url.split(':').next().unwrap() {
        "sqlite" => {
            let pool = sqlx::SqlitePool::connect(url).await.unwrap();
            let builder = web_session::SqliteDriver::builder_for(pool);
            Arc::new(builder.environment(environment).connect().await.unwrap())
        }
        #[cfg(feature = "postgres")]
        "postgres" => {
            let pool = sqlx::PgPool::connect(url).await.unwrap();
            let builder = web_session::PostgresDriver::builder_for(pool);
            Arc::new(builder.environment(environment).connect().await.unwrap())
        }
        #[cfg(feature = "mysql")]
        "mysql" => {
            let pool = sqlx::MySqlPool::connect(url).await.unwrap();
            let builder = web_session::MySqlDriver::builder_for(pool);
            Arc::new(builder.environment(environment).connect().await.unwrap())
        }
        _ => servers::open(url, environment).await,
    }
}

/// The forms of drivers that have a password, and the errors of those who cannot connect.
async fn errors_of_connections(shown: &Shown, url: &str, user: &str) {
    let scheme = url.split(':').next().unwrap();
    if !url.contains('@') {
        return;
    }
    match scheme {
        #[cfg(feature = "postgres")]
        "postgres" => shown.debug(&web_session::PostgresDriver::builder(url)),
        #[cfg(feature = "mysql")]
        "mysql" => shown.debug(&web_session::MySqlDriver::builder(url)),
        #[cfg(feature = "redis")]
        "redis" | "redis-cluster" => shown.debug(&web_session::RedisDriver::builder(url)),
        _ => {}
    }
    // A server may trust whoever is on its machine.
    let wrong = format!("{PASSWORD}wrong");
    if let Err(error) = web_session::connect(&url_as(url, user, &wrong)).await {
        shown.error(&error);
    }
    let join = if url.contains('?') { '&' } else { '?' };
    for (url, what) in [
        (format!("{scheme}://{user}:{PASSWORD}@127.0.0.1:1/test"), "nobody listens"),
        (format!("{scheme}://{user}:{PASSWORD}@/test"), "no host"),
        (format!("{url}{join}unknown=1"), "an unknown parameter"),
        (format!("{scheme}://{user}:{PASSWORD}@127.0.0.1:port/test"), "no port"),
    ] {
        shown.error(&web_session::connect(&url).await.expect_err(what));
    }
}

/// The whole suite for drivers, each case in an environment of its own. What a case stores is marked; those
/// about sizes could not do with it.
async fn conformance(run: &mut Run, url: &str) {
    let secrets = Arc::new(Mutex::new(Secrets::default()));
    secrets.lock().unwrap().text("what a case of the suite has stored", MARK);
    for case in conformance::cases() {
        let driver = servers::open(url, &servers::environment()).await;
        driver.ensure_environment().await.unwrap();
        let spy = Arc::new(Spy { inner: driver.clone(), shown: run.shown.clone() });
        if case.rows().contains("S8") {
            case.run(&*spy).await;
        } else {
            case.run(&Marking { inner: spy, secrets: secrets.clone() }).await;
        }
        driver.remove_environment(OnMissing::Ignore).await.unwrap();
    }
    run.secrets.extend(secrets.lock().unwrap().clone());
}

async fn is_silent(rig: &Rig, driver: Arc<dyn Driver>, url: &str, user: &str) {
    let logs = Logs::of_all_threads();
    let mut run = Run::new();
    run.secrets.text("a password", PASSWORD);
    run.shown.debug(&driver);
    errors_of_connections(&run.shown, url, user).await;
    errors_of_configuration(&run.shown, &driver).await;
    use_everything(&mut run, driver.clone()).await;
    for error in EVERY_ERROR {
        assert!(run.errors.contains(*error), "nothing has raised {error}: {:?}", run.errors);
    }
    let shown = run.shown.take();
    for expected in
        ["Load {", "ReplaceItem {", "EndWhere {", "Found {", "Done(", "SessionInfo {", "Ended {"]
    {
        assert!(shown.contains(expected), "the run has no {expected:?}");
    }
    run.secrets.assert_hidden("a form or a response", &shown);

    conformance(&mut run, url).await;
    run.secrets.assert_hidden("the Debug form of a driver's call", &run.shown.take());
    let text = logs.text();
    for expected in [
        "pulled-the-plug",
        "session changes were dropped",
        "a request failed because of its session",
        "the session was ended meanwhile",
        "an unknown id was presented",
    ] {
        assert!(text.contains(expected), "the run does not log {expected:?}");
    }
    if url.starts_with("postgres") || url.starts_with("mysql") || url.starts_with("sqlite") {
        assert!(text.contains(&format!("{}_items", rig.environment)), "sqlx logs its statements");
    }
    assert!(run.ids.len() > 500 && run.secrets.len() > 10_000);
    run.secrets.assert_hidden("a log line", &text);
}

const EVERY_ERROR: &[&str] = &[
    "Warning",
    "Driver",
    "Random",
    "InvalidApplication",
    "InvalidKey",
    "Encode",
    "Decode",
    "TooLarge",
    "NoSuchItem",
    "NoSuchSession",
    "NotLoaded",
    "AlreadyLoaded",
    "ExpireTooShort",
    "UncommittedChanges",
    "Ended",
    "Rotated",
    "TooManySessions",
    "NotLoggedIn",
    "InvalidPrincipal",
    "InvalidNote",
    "CookieLifetime",
    "NoFreeId",
    "Contended",
    "ResponseStarted",
    "ReversedRange",
    "MissingLayer",
    "SameCookieName",
];

on_every_storage! {
    // E1, E2, A5 16.2.5, CVE-2023-20866
    async fn nothing_that_is_logged_or_shown_has_an_id_a_key_a_value_or_a_password_in_it(rig: Rig) {
        let mut admin = Admin::of(&rig.url).await;
        let user = format!("{}_user", rig.environment);
        admin.add_user(&user, PASSWORD).await;
        let url = url_as(&rig.url, &user, PASSWORD);
        let outcome = AssertUnwindSafe(async {
            let driver = match rig.url.as_str() {
                "memory:" => Arc::new(rig.driver.clone()) as Arc<dyn Driver>,
                _ => open_aloud(&url, &rig.environment).await,
            };
            is_silent(&rig, driver, &url, &user).await;
        });
        let outcome = outcome.catch_unwind().await;
        admin.drop_user(&user).await;
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }

    // D3, CVE-2019-16782
    async fn a_dump_of_the_storage_holds_no_usable_id(rig: Rig) {
        let mut admin = Admin::of(&rig.url).await;
        let driver: Arc<dyn Driver> = Arc::new(rig.driver.clone());
        let mut run = Run::new();
        use_everything(&mut run, driver.clone()).await;
        let layer = visitor::layer(driver.clone()).await;
        let (id, _) = run.session(&layer, &driver).await;
        let Some(dump) = admin.dump(&rig.environment).await else {
            // Nothing of it leaves the process, and the driver is given no id: its calls are in the
            // case above.
            return;
        };
        let mut ids = Secrets::default();
        run.ids.iter().for_each(|id| ids.id(id));
        ids.text("a signing key", SIGNING_KEY);
        ids.text("the seed", SEED);
        assert_eq!(ids.find(&dump), None);

        // The search finds what is there, and an id if it is there.
        let mut stored = Secrets::default();
        stored.digest(&id.key());
        assert!(stored.find(&dump).is_some(), "the digest of an id");
        for (what, text) in [("key", KEY), ("value", VALUE), ("principal", PRINCIPAL), ("note", NOTE)] {
            let mut stored = Secrets::default();
            stored.text(what, text);
            assert!(stored.find(&dump).is_some(), "the {what}");
        }
        let session = layer.manager();
        session.load_id(&id.expose()).await.unwrap();
        session.app::<Shop>().set("careless", id.expose().as_str()).unwrap();
        session.commit().await.unwrap();
        assert!(ids.find(&admin.dump(&rig.environment).await.unwrap()).is_some());
    }
}
