//! Session ids: what they are made of, and which of them give a request a session.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http::header::COOKIE;
use http::{HeaderValue, Request};
use sha2::{Digest, Sha256};
use web_session::driver::*;
use web_session::{
    Clock, Driver, LoadError, ManualClock, MemoryDriver, OnWarning, OsRandom, RandomError,
    RandomSource, SessionError, SessionId, SessionKey, SessionLayer, SessionManager, SessionRef,
    SessionTarget,
};

use crate::rig::{n, read, session};
use crate::visitor::{Shop, items, items_of, request_of, send, session_with};
use crate::wrappers::{Around, Call, wrap};

const UNKNOWN: &str = "00112233445566778899aabbccddeeff";

fn current(session: &SessionManager) -> String {
    session.session_id().unwrap().expose().to_string()
}

once! {
    // A5 7.2.3
    async fn a_large_sample_of_ids_is_unique_and_no_bit_is_biased(rig: Rig) {
        const SESSIONS: u32 = 7_000;
        let layer = rig.layer().await;
        let mut ids = Vec::new();
        for _ in 0..SESSIONS {
            let session = layer.manager();
            session.create().await.unwrap();
            ids.push(current(&session));
            session.rotate().await.unwrap();
            session.commit().await.unwrap();
            ids.push(current(&session));
            let session = layer.manager();
            session.app::<Shop>().set("n", &1).unwrap();
            session.commit().await.unwrap();
            ids.push(current(&session));
        }
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 3 * SESSIONS as usize);

        let ids: Vec<_> = ids.iter().map(|id| u128::from_str_radix(id, 16).unwrap()).collect();
        // What two ids in a row have in common is left to chance as well.
        let changes: Vec<_> = ids.windows(2).map(|pair| pair[0] ^ pair[1]).collect();
        for sample in [ids, changes] {
            for bit in 0..128 {
                let count = sample.iter().filter(|id| (**id >> bit) & 1 == 1).count();
                // Seven standard deviations (of 72.5).
                assert!(count.abs_diff(sample.len() / 2) < 507, "bit {bit} was set {count} times");
            }
        }
    }

    // SM content, N 5.1
    async fn an_id_holds_no_user_no_time_and_no_counter(_rig: Rig) {
        let mut seen = HashSet::new();
        for (time, user, before) in
            [(0, "ada", 0), (2_000_000_000, "ada", 0), (0, "grace", 0), (0, "ada", 100)]
        {
            let random = Chosen::default();
            let layer = SessionLayer::builder(MemoryDriver::new())
                .clock(ManualClock::new(std::time::UNIX_EPOCH + Duration::from_secs(time)))
                .random(random.clone())
                .build()
                .await
                .unwrap();
            for _ in 0..before {
                session(&layer).await;
            }
            let session = layer.manager();
            let mut ids = Vec::new();
            for byte in [7, 8, 9] {
                random.choose(byte);
                session.login(user).await.unwrap();
                session.set_note("a note").unwrap();
                session.commit().await.unwrap();
                ids.push(current(&session));
            }
            seen.insert(ids);
        }
        assert_eq!(seen.len(), 1, "the same random bytes give the same ids: {seen:?}");
        let ids: HashSet<_> = seen.iter().flatten().collect();
        assert_eq!(ids.len(), 3);
    }
}

on_every_storage! {
    // SM strict
    async fn a_well_formed_unknown_id_is_never_adopted_on_any_path(rig: Rig) {
        let layer = rig.layer().await;
        let ended = session(&layer).await;
        layer.manager().destroy(&*ended, OnWarning::Ignore).await.unwrap();
        let mut created = 0;
        for presented in [UNKNOWN, &ended] {
            for path in PATHS {
                let case = format!("{path}, {presented}");
                let answer = send(&layer, request_of(presented), async |session| {
                    take(&session, path, presented).await?;
                    let shown = session.session_id();
                    assert_ne!(shown, presented.parse().ok(), "{case}");
                    Ok::<_, SessionError>(())
                });
                let answer = answer.await;
                assert_eq!(answer.status, 200, "{case}");
                let wants_one = ["write", "update", "create", "log in"];
                let fresh = answer.new_id();
                let wanted = wants_one.iter().any(|step| path.ends_with(step));
                assert_eq!(fresh.is_some(), wanted, "{case}");
                created += u64::from(wanted);
                if let Some(fresh) = fresh {
                    assert_ne!(fresh, presented, "{case}");
                    let stored = n(&layer, &fresh).await;
                    let writes = path.ends_with("write") || path.ends_with("update");
                    assert_eq!(stored, writes.then_some(2), "{case}");
                }
                let key = presented.parse::<SessionId>().unwrap().key();
                let record = rig.driver.inspect(Inspect::new(Locator::Key(key))).await.unwrap();
                assert!(record.is_none(), "{case}");
                assert_eq!(send(&layer, request_of(presented), read).await.body, "None", "{case}");
            }
        }
        assert_eq!(crate::visitor::remove_all(&layer).await, created);
    }

    // SM strict
    async fn an_id_of_another_environment_is_unknown(rig: Rig) {
        let layer = rig.layer().await;
        let other = rig.builder_on(rig.other_environment().await).build().await.unwrap();
        let foreign = session(&other).await;
        assert_eq!(send(&layer, request_of(&foreign), read).await.body, "None");
        let write = send(&layer, request_of(&foreign), async |session| {
            session.app::<Shop>().set("n", &2)
        });
        assert_ne!(write.await.new_id().unwrap(), foreign);
        let logout = send(&layer, request_of(&foreign), async |session| session.end().await);
        assert_eq!(logout.await.status, 200);
        assert_eq!(n(&other, &foreign).await, Some(1));
    }

    // CVE-2015-3982
    async fn what_is_no_id_never_reaches_the_driver(rig: Rig) {
        let layer = rig.layer().await;
        let id = session(&layer).await;
        rig.calls();
        rig.events();
        for text in malformed(&id) {
            let case: String = text.chars().take(80).collect();
            // A header holds no control characters.
            if let Ok(cookie) = HeaderValue::from_bytes(format!("sessionID={text}").as_bytes()) {
                let mut request = Request::new(Body::empty());
                request.headers_mut().insert(COOKIE, cookie);
                let answer = send(&layer, request, async |session| {
                    assert!(!session.load().await?);
                    assert_eq!(session.error(), Some(LoadError::Malformed));
                    assert_eq!(read(session.clone()).await, "None");
                    assert!(!session.exists(SessionTarget::Current).await?);
                    assert_eq!(session.rotate().await, Err(SessionError::NotLoaded));
                    session.end().await
                });
                assert_eq!(answer.await.status, 200, "{case:?}");
            }
            let session = layer.manager();
            assert_eq!(session.load_id(&text).await, Ok(false), "{case:?}");
            assert_eq!(session.error(), Some(LoadError::Malformed), "{case:?}");
            assert_eq!(session.exists(&*text).await, Ok(false), "{case:?}");
            let none = Err(SessionError::NoSuchSession);
            assert_eq!(session.valid(&*text).await, none, "{case:?}");
            let none = Err(SessionError::NoSuchSession);
            assert_eq!(session.destroy(&*text, OnWarning::Ignore).await, none, "{case:?}");
            let later = rig.clock.now() + Duration::from_secs(60);
            assert_eq!(session.set_expire(later, &*text).await, none, "{case:?}");
        }
        assert_eq!(rig.calls(), 0);
        assert_eq!(rig.events(), [], "only well-formed ids are told of");
        assert_eq!(n(&layer, &id).await, Some(1));
    }

    // SM
    async fn an_id_in_the_query_the_path_or_the_body_is_ignored(rig: Rig) {
        let layer = rig.layer().await;
        let id = session(&layer).await;
        rig.calls();
        let pair = format!("sessionID={id}");
        let request = Request::post(format!("/{id}/{pair};{pair}?{pair}&id={id}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", format!("Bearer {id}"))
            .header("sessionID", &id)
            .header("set-cookie", &pair)
            .body(Body::from(pair))
            .unwrap();
        let answer = send(&layer, request, async |session| {
            assert!(!session.load().await?);
            assert_eq!(session.error(), Some(LoadError::NoCookie));
            assert_eq!(rig.calls(), 0);
            session.app::<Shop>().set("n", &2)
        });
        let fresh = answer.await.new_id().unwrap();
        assert_ne!(fresh, id);
        assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
    }

    // CVE-2019-16782
    async fn the_storage_compares_whole_digests_and_never_sees_an_id(rig: Rig) {
        let watching = Watching::new(rig.driver.clone());
        let layer = rig.builder_on(watching.clone()).build().await.unwrap();
        let id = session_with(&layer, &[("n", 1)]).await;
        let digest = SessionKey::from_bytes(Sha256::digest(&id).into());
        assert_eq!(n(&layer, &id).await, Some(1));
        assert_eq!(*watching.loads.lock().unwrap(), [Locator::Key(digest)]);
        let answer = send(&layer, request_of(&id), async |session| {
            session.app::<Shop>().update("n", |_: Option<i64>| 2).await?;
            session.rotate().await
        });
        let new = answer.await.new_id().unwrap();
        let logout = send(&layer, request_of(&new), async |session| session.end().await);
        assert_eq!(logout.await.status, 200);
        {
            let seen = watching.seen.lock().unwrap();
            for id in [&id, &new] {
                let bytes = u128::from_str_radix(id, 16).unwrap().to_be_bytes();
                for form in [id.clone(), id.to_uppercase(), format!("{bytes:?}")] {
                    assert!(!seen.iter().any(|argument| argument.contains(&form)), "{seen:?}");
                }
            }
        }
        // However much of an id is right, it opens nothing.
        let id = session(&layer).await;
        for at in 0..id.len() {
            let digit = if &id[at..=at] == "0" { "1" } else { "0" };
            let close = format!("{}{digit}{}", &id[..at], &id[at + 1..]);
            assert_eq!(n(&layer, &close).await, None, "the digit at {at} is another");
        }
    }
}

/// What a request may do under an id that is not known; the last step decides whether it needs a session.
const PATHS: [&str; 20] = [
    "read",
    "load",
    "load by id",
    "rotate",
    "clear",
    "remove",
    "set the end",
    "destroy",
    "write",
    "read, write",
    "clear, write",
    "rotate, write",
    "destroy, write",
    "log out, write",
    "load by id, write",
    "set the end, write",
    "update",
    "create",
    "read, log in",
    "load by id, rotate, update",
];

async fn take(session: &SessionManager, path: &str, id: &str) -> Result<(), SessionError> {
    let shop = session.app::<Shop>();
    for step in path.split(", ") {
        match step {
            "read" => assert_eq!(shop.keys().await?, [""; 0]),
            "load" => assert!(!session.load().await?),
            "load by id" => assert!(!session.load_id(id).await?),
            "rotate" => assert_eq!(session.rotate().await, Err(SessionError::NotLoaded)),
            "clear" => shop.empty(),
            "remove" => assert_eq!(shop.remove::<i64>("n").await?, None),
            "set the end" => {
                let later = std::time::UNIX_EPOCH + Duration::from_secs(2_100_000_000);
                for target in [SessionTarget::Current, id.into()] {
                    let set = session.set_expire(later, target).await;
                    assert_eq!(set, Err(SessionError::NoSuchSession));
                }
                assert_eq!(session.set_cookie(), Err(SessionError::NotLoaded));
            }
            "destroy" => {
                for target in [SessionTarget::Current, id.into()] {
                    let destroyed = session.destroy(target, OnWarning::Ignore).await;
                    assert_eq!(destroyed, Err(SessionError::NoSuchSession));
                }
            }
            "log out" => session.end().await?,
            "write" => shop.set("n", &2)?,
            "update" => drop(shop.update("n", |n: Option<i64>| n.unwrap_or(1) + 1).await?),
            "create" => drop(session.create().await?),
            "log in" => session.login("ada").await?,
            other => panic!("there is no step {other:?}"),
        }
    }
    Ok(())
}

/// Texts that look more or less like this id, and others.
fn malformed(id: &str) -> Vec<String> {
    let mut texts: Vec<_> = [
        "",
        " ",
        "../../../../../../../etc/passwd0",
        "' OR ''='",
        "{session}",
        "%30%31",
        "\0",
        "*",
        "gggggggggggggggggggggggggggggggg",
        "00000000-0000-7000-8000-000000000000",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend([
        id[1..].to_owned(),
        format!("{id}0"),
        id.to_uppercase(),
        format!("\"{id}\""),
        format!("{id}\0"),
        format!("{}\0", &id[1..]),
        format!("{id}\u{a0}"),
        format!("\r\n{id}"),
        format!("{id}={id}"),
        format!("{}é", &id[2..]),
        id.replace(|c: char| c.is_ascii_digit(), "٠"),
        id.chars().map(|c| char::from_u32(c as u32 + 0xfee0).unwrap()).collect(),
        id.repeat(2_000),
        "a".repeat(1 << 20),
    ]);
    texts
}

/// Gives bytes that a test chooses for the next id, and else those of the operating system.
#[derive(Debug, Clone, Default)]
struct Chosen(Arc<Mutex<Option<u8>>>);

impl Chosen {
    fn choose(&self, byte: u8) {
        *self.0.lock().unwrap() = Some(byte);
    }
}

impl RandomSource for Chosen {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        // References are drawn with ten bytes; only ids are chosen.
        if bytes.len() != 32 {
            return OsRandom.fill(bytes);
        }
        match self.0.lock().unwrap().take() {
            Some(byte) => {
                bytes.fill(byte);
                Ok(())
            }
            None => OsRandom.fill(bytes),
        }
    }
}

/// Writes down what the driver is asked.
#[derive(Debug, Clone)]
struct Watching {
    inner: Arc<dyn Driver>,
    seen: Arc<Mutex<Vec<String>>>,
    /// The sessions of the loads by id.
    loads: Arc<Mutex<Vec<Locator>>>,
}

impl Watching {
    fn new(inner: impl Driver) -> Self {
        Self { inner: Arc::new(inner), seen: Arc::default(), loads: Arc::default() }
    }
}

impl Around for Watching {
    fn around<T: fmt::Debug + Send + 'static>(
        &self,
        _call: Call,
        next: impl FnOnce(&dyn Driver) -> DriverFuture<T> + Send + 'static,
    ) -> DriverFuture<T> {
        next(&*self.inner)
    }

    fn passing(&self, argument: &dyn fmt::Debug) {
        self.seen.lock().unwrap().push(format!("{argument:?}"));
    }

    fn loading(&self, load: &Load) {
        let by_id = load.sessions.iter().filter(|session| matches!(session, Locator::Key(_)));
        self.loads.lock().unwrap().extend(by_id);
    }
}

wrap!(Watching);
