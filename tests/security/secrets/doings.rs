//! All that an application can do with sessions, with secrets as arguments, and every error that it can
//! get.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use web_session::driver::{ApplicationChanges, Commit, Locator, Target};
use web_session::{
    ApplicationName, Driver, MaxAge, OnWarning, SessionError, SessionId, SessionLayer,
    SessionManager, SessionRef, SessionTarget,
};

use super::known::{Secrets, Shown};
use crate::visitor::{Answer, Shop, request_with, send};

pub const KEY: &str = "key-Zu4aeSh9";
pub const VALUE: &str = "value-Ohng5ieP";
pub const PRINCIPAL: &str = "principal-ieGh6aoX";
pub const NOTE: &str = "note-Eiw3ohKe";
pub const SEED: &str = "seed-eCh4quai";
pub const SIGNING_KEY: &str = "signing-key-Uoph2Iech9oopahj3Thaejo5";
/// Under this key lies a text that is no JSON.
const BROKEN: &str = "key-broken-Dae6quaz";
/// Under this key lies a number.
const COUNT: &str = "key-count-Ia7ohgei";
/// An id that nobody has.
const PRESENTED: &str = "5ec2e75ec2e75ec2e75ec2e75ec2e75e";
const OTHER_COOKIE: &str = "5ec2e7-of-another-cookie";

/// A run, what it must not show, and what was shown.
#[derive(Debug, Default)]
pub struct Run {
    pub secrets: Secrets,
    /// The ids among them, as they are written.
    pub ids: BTreeSet<String>,
    pub shown: Shown,
    /// The cases of [`SessionError`] that came up.
    pub errors: BTreeSet<String>,
}

/// The requests that are made of each way to use a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breadth {
    /// With the cookie of a session alone.
    Narrow,
    /// With other cookies, and with a response whose changes are dropped.
    Wide,
}

impl Run {
    pub fn new() -> Self {
        let mut run = Self::default();
        for (what, text) in [
            ("the key of an item", KEY),
            ("the key of an item", BROKEN),
            ("the key of an item", COUNT),
            ("a value", VALUE),
            ("a principal", PRINCIPAL),
            ("a note", NOTE),
            ("the seed", SEED),
            ("a signing key", SIGNING_KEY),
            ("another cookie", OTHER_COOKIE),
        ] {
            run.secrets.text(what, text);
        }
        run.id(PRESENTED);
        run
    }

    fn id(&mut self, id: &str) {
        self.secrets.id_and_digest(id);
        self.ids.insert(id.to_owned());
    }

    /// Notes a cookie's value, which is an id, or one behind its signature.
    fn cookie(&mut self, value: &str) {
        self.id(&value[value.len() - 32..]);
        self.secrets.text("the value of a cookie", value);
    }

    /// A session that has everything; its id and its cookie.
    pub async fn session(
        &mut self,
        layer: &SessionLayer,
        driver: &dyn Driver,
    ) -> (SessionId, String) {
        let session = layer.manager();
        let id = session.create().await.unwrap();
        let shop = session.app::<Shop>();
        shop.set(KEY, VALUE).unwrap();
        session.set_note(NOTE).unwrap();
        session.commit().await.unwrap();
        let cookie = session.set_cookie_string(None).unwrap();
        let (cookie, _) = cookie.to_str().unwrap().split_once(';').unwrap();
        self.cookie(cookie.split_once('=').unwrap().1);
        let mut broken = ApplicationChanges::new(ApplicationName::new("shop").unwrap());
        broken.items.push((BROKEN.into(), Some(format!("{{{VALUE}").into())));
        let target = Target::Existing(Locator::Key(id.key()));
        let mut commit = Commit::new(target, SystemTime::now().into());
        commit.changes.push(broken);
        commit.session.principal = Some(Some(PRINCIPAL.to_owned()));
        driver.commit(commit).await.unwrap();
        (id, cookie.to_owned())
    }

    /// Goes through one layer in every way; sessions come from `healthy`, which has the same storage.
    pub async fn visit(
        &mut self,
        layer: &SessionLayer,
        healthy: &SessionLayer,
        driver: &dyn Driver,
        breadth: Breadth,
    ) {
        self.shown.debug(&layer);
        for way in 0..WAYS {
            let (_, own) = self.session(healthy, driver).await;
            self.request(layer, way, &own, StatusCode::OK).await;
            if breadth == Breadth::Narrow {
                continue;
            }
            let (_, second) = self.session(healthy, driver).await;
            let (_, dropped) = self.session(healthy, driver).await;
            for (cookie, status) in [
                (format!("{dropped}; theme={OTHER_COOKIE}"), StatusCode::INTERNAL_SERVER_ERROR),
                (format!("{second}; {own}; {dropped}"), StatusCode::OK),
                (format!("sessionID={PRESENTED}; theme={OTHER_COOKIE}"), StatusCode::OK),
                (format!("theme={OTHER_COOKIE}"), StatusCode::OK),
            ] {
                self.request(layer, way, &cookie, status).await;
            }
        }
    }

    async fn request(
        &mut self,
        layer: &SessionLayer,
        way: usize,
        cookie: &str,
        status: StatusCode,
    ) {
        let (mut kept, mut failed, ids) = (None, None, Mutex::default());
        let (shown, others) = (&self.shown, &ids);
        let answer = send(layer, request_with(&[cookie]), |session: SessionManager| {
            kept = Some(session.clone());
            let failed = &mut failed;
            async move {
                let done = use_session(layer, &session, way, shown, others).await;
                show(shown, &session);
                if let Err(error) = &done {
                    *failed = Some(error.clone());
                }
                done.map(|()| status)
            }
        })
        .await;
        self.answer(&answer);
        for id in ids.into_inner().unwrap() {
            self.id(&id.expose());
        }
        // What comes too late; and the last handle is dropped with changes.
        let kept = kept.unwrap();
        let late = [kept.create().await.err(), kept.delete_cookie().err()];
        kept.app::<Shop>().set(KEY, VALUE).unwrap();
        for error in late.into_iter().flatten().chain(failed) {
            self.error(&error);
        }
    }

    fn answer(&mut self, answer: &Answer) {
        for cookie in answer.session_cookies() {
            let (value, _) = cookie["sessionID=".len()..].split_once(';').unwrap();
            if !value.is_empty() {
                self.cookie(value);
            }
        }
        let mut visible = answer.headers.clone();
        visible.remove("set-cookie");
        for (name, value) in &visible {
            self.shown.text(&format!("{name}: {}", value.to_str().unwrap()));
        }
        self.shown.debug(&answer.headers);
        self.shown.text(&answer.body);
    }

    pub fn error(&mut self, error: &SessionError) {
        let shown = format!("{error:?}");
        let name = shown.split(|c: char| !c.is_alphanumeric()).next().unwrap();
        self.errors.insert(name.to_owned());
        self.shown.error(error);
        use axum::response::IntoResponse;
        self.shown.debug(&error.clone().into_response());
    }
}

/// Shows all that a handler can show of a session.
fn show(shown: &Shown, session: &SessionManager) {
    let shop = session.app::<Shop>();
    let id = session.session_id();
    shown.debug(&(session, &shop, &*shop, id, session.session_ref()));
    shown.debug(&id.map(|id| (id.expose(), id.key(), SessionTarget::from(id))));
    shown.debug(&(session.seed(), session.cookie(), session.error(), session.expire_time()));
    shown.debug(&(session.response_headers(), session.sent_headers()));
    shown.debug(&(session.set_cookie_string(MaxAge::Browser), session.delete_cookie_string()));
}

const WAYS: usize = 51;

async fn use_session(
    layer: &SessionLayer,
    session: &SessionManager,
    way: usize,
    shown: &Shown,
    ids: &Mutex<Vec<SessionId>>,
) -> Result<(), SessionError> {
    let shop = session.app::<Shop>();
    let later = SystemTime::now() + Duration::from_secs(60);
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
        10 => shop.set(KEY, &BTreeMap::from([((1, 2), VALUE)]))?,
        11 => drop(session.store("shop")?.remove::<String>(KEY).await?),
        12 => drop(session.store(VALUE.repeat(20).as_str())?),
        13 => session.end().await?,
        14 => session.destroy(PRESENTED, OnWarning::Ignore).await?,
        15 => session.destroy(SessionTarget::Current, OnWarning::Stop).await?,
        16 => drop(session.load_id(PRESENTED).await?),
        17 => drop(session.valid(PRESENTED).await?),
        18 => drop(session.create().await?),
        19 => {
            session.load().await?;
            session.create().await?;
        }
        20 => {
            session.set_expire(later, SessionTarget::Current).await?;
            session.set_cookie()?;
        }
        21 => {
            // Another request ends the session meanwhile.
            session.load().await?;
            shop.set(KEY, VALUE)?;
            let id = session.session_id().ok_or(SessionError::NotLoaded)?;
            layer.manager().destroy(id, OnWarning::Ignore).await?;
            session.commit().await?;
        }
        22 => drop(shop.get::<String>(BROKEN).await?),
        23 => {
            shop.delete(KEY).await?;
            shop.delete(KEY).await?;
        }
        24 => {
            shown.debug(&(shop.has_key(KEY).await?, shop.len().await?, shop.is_empty().await?));
            assert!(shop.keys().await?.len() < 3);
            drop(shop.values::<String>().await?);
        }
        25 => {
            shop.empty();
            shop.set(KEY, VALUE)?;
            session.rollback();
            shop.empty();
            session.commit().await?;
        }
        26 => session.rotate().await?,
        27 => {
            session.load().await?;
            let other = layer.manager();
            other.load_id(&session.session_id().ok_or(SessionError::NotLoaded)?.expose()).await?;
            other.rotate().await?;
            other.commit().await?;
            ids.lock().unwrap().extend(other.session_id());
            session.rotate().await?;
            session.commit().await?;
        }
        28 => session.login(PRINCIPAL).await?,
        29 => session.login(PRINCIPAL.repeat(20)).await?,
        30 => {
            session.login(PRINCIPAL).await?;
            session.set_note(NOTE)?;
            session.commit().await?;
            shown.debug(&session.sessions().await?);
            assert_eq!(session.principal().await?.as_deref(), Some(PRINCIPAL));
        }
        31 => {
            session.load().await?;
            session.set_note(NOTE.repeat(100).as_str())?;
        }
        32 => shown.debug(&session.sessions_of(PRINCIPAL).await?),
        33 => shown.debug(&session.sessions().await?),
        34 => {
            let listed = session.sessions().await?;
            session.end_one(listed.first().ok_or(SessionError::NoSuchSession)?.session).await?;
        }
        35 => {
            let nobodys = SessionRef::from_uuid(uuid::Uuid::nil());
            session.end_one(nobodys).await?;
        }
        36 => shown.debug(&session.end_others().await?),
        37 => shown.debug(&session.end_all().await?),
        38 => shown.debug(&session.end_sessions_of(PRINCIPAL).await?),
        39 => {
            session.load().await?;
            session.set_cookie_lifetime(MaxAge::Seconds(60))?;
            session.commit().await?;
            session.set_cookie_lifetime(MaxAge::Seconds(u64::from(u32::MAX)))?;
        }
        40 => {
            session.load().await?;
            shop.set(KEY, VALUE)?;
            session.load().await?;
        }
        41 => drop(session.create_for(Duration::ZERO).await?),
        42 => drop(session.cleanup_between(later.., OnWarning::Stop).await?),
        43 => drop(
            session
                .cleanup_between(..later + Duration::from_secs(1 << 40), OnWarning::Stop)
                .await?,
        ),
        44 => drop(session.cleanup().await?),
        45 => session.set_expire(later, PRESENTED).await?,
        46 => {
            shown.debug(&session.exists(PRESENTED).await?);
            session.complete_session_environment().await?;
            session.ensure_session_environment().await?;
            session.create_session_environment().await?;
        }
        47 => {
            session.delete_cookie()?;
            shown.debug(&session.take_response_headers());
        }
        48 => {
            let cleanup = layer.spawn_cleanup(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(20)).await;
            shown.debug(&(&cleanup, cleanup.report()));
            cleanup.stop().await;
        }
        49 => drop(shop.update(COUNT, |n: Option<i64>| n.unwrap_or(0) + 1).await?),
        _ => shown.debug(&session.outer(KEY)),
    }
    Ok(())
}
