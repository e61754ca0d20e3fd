//! The items of one application in one session.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::ser::{self, Serialize};
use smallvec::SmallVec;

use crate::driver::{ApplicationName, Items};
use crate::error::SessionError;
use crate::manager::SessionManager;

/// The longest key, in bytes of UTF-8.
const MAX_KEY: usize = 255;

/// The items of one application in the session of one request. Other applications of the session
/// have the same id and cookie and never see each other's items.
///
/// Keys are any UTF-8 of 1 to 255 bytes, compared byte by byte. Values are any [`serde`] type, kept
/// as JSON text of up to 1 MiB; an application holds up to 1 024 items and 4 MiB in a session (see
/// [`limits`](crate::SessionLayerBuilder::limits)).
///
/// A request sees its own changes at once; others see them after the commit. The first read of an
/// application fetches all of its items, and later reads of the request see the same state.
/// Requests that write to different keys never undo each other's writes; on one key the last commit
/// wins, and [`update`](Self::update) is for values that depend on what was there.
///
/// # Errors
///
/// All methods that read fail with [`SessionError::Driver`] when the storage does, with
/// [`SessionError::TooLarge`] when more is stored than the limits allow, and with
/// [`SessionError::Ended`] when the session was ended after this request had seen it. Methods with a
/// key fail with [`SessionError::InvalidKey`] when it is empty or too long.
#[derive(Clone)]
pub struct SessionStore {
    manager: SessionManager,
    application: ApplicationName,
}

impl SessionStore {
    pub(crate) fn new(manager: SessionManager, application: ApplicationName) -> Self {
        Self { manager, application }
    }

    /// The name of the application.
    pub fn app(&self) -> &str {
        self.application.as_str()
    }

    /// The manager of the session.
    pub fn manager(&self) -> &SessionManager {
        &self.manager
    }

    /// The value under `key`, `None` if there is none. Without a session there is none.
    ///
    /// # Errors
    ///
    /// [`SessionError::Decode`] when the stored value is of another type, and as for all methods
    /// that read.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SessionError> {
        self.text(key).await?.as_deref().map(decode).transpose()
    }

    /// Stores `value` under `key` at the commit, and creates a session if there is none.
    ///
    /// The value is kept as `serde_json` writes it: `None`, and a number that is not finite, become
    /// `null`, which only an `Option` reads back.
    ///
    /// # Errors
    ///
    /// [`SessionError::Encode`] when the value cannot be JSON or is nested more than 127 levels deep,
    /// which could not be read back, [`SessionError::TooLarge`] when it or
    /// the application would exceed a limit, [`SessionError::InvalidKey`]. Nothing is changed then.
    pub fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), SessionError> {
        let key = check_key(key)?;
        let value = encode(value)?;
        let limits = &self.manager.settings().limits;
        self.manager
            .write(&self.application, |application| application.set(key.into(), value, limits))
    }

    /// Removes the item under `key` at the commit.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoSuchItem`] when there is none ([`remove`](Self::remove) does not mind), and
    /// as for all methods that read.
    pub async fn delete(&self, key: &str) -> Result<(), SessionError> {
        match self.take_text(key).await? {
            Some(_) => Ok(()),
            None => Err(SessionError::NoSuchItem),
        }
    }

    /// Removes the item under `key` at the commit and returns its value, `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`SessionError::Decode`] when the stored value is of another type, and the item stays then;
    /// and as for all methods that read.
    pub async fn remove<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SessionError> {
        let value = self.get(key).await?;
        if value.is_some() {
            self.take_text(key).await?;
        }
        Ok(value)
    }

    /// Removes all items of this application at the commit: those that it has then, also if another
    /// request has added them meanwhile. Other applications keep theirs.
    pub fn empty(&self) {
        self.manager.write(&self.application, |application| application.empty());
    }

    /// Replaces the value under `key` by what `f` makes of it, atomically and at once, and returns
    /// the new value. Concurrent updates are all counted, on every driver and across processes.
    ///
    /// It starts from this request's own uncommitted value, if there is one, and is a commit of its
    /// own: an error response does not undo it, and other changes of the request still wait. Without
    /// a session it creates one. `f` may run several times, and has to be quick: it holds up the
    /// other updates of the session.
    ///
    /// ```
    /// # use web_session::{MemoryDriver, SessionLayer, SessionError};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let session = SessionLayer::new(MemoryDriver::new()).manager();
    /// let shop = session.store("shop")?;
    /// shop.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1).await?;
    /// let visits = shop.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1).await?;
    /// assert_eq!(visits, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SessionError::Contended`] when the item changed during each of 100 attempts, those of
    /// [`get`](Self::get), [`set`](Self::set) and [`commit`](SessionManager::commit).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the value was replaced or it was not; without a session, one may
    /// have been stored whose id nobody knows, until a cleanup removes it. A future that is kept and
    /// not polled holds up the other updates of its session.
    pub async fn update<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        mut f: impl FnMut(Option<T>) -> T + Send,
    ) -> Result<T, SessionError> {
        let key: Arc<str> = check_key(key)?.into();
        let mut updated = None;
        let make = |text: Option<&str>| {
            let value = f(text.map(decode).transpose()?);
            let text = encode(&value)?;
            updated = Some(value);
            Ok(text)
        };
        self.manager.update_text(&self.application, key, make).await?;
        updated.ok_or(SessionError::Contended)
    }

    /// Whether there is an item under `key`.
    ///
    /// # Errors
    ///
    /// As for all methods that read.
    pub async fn has_key(&self, key: &str) -> Result<bool, SessionError> {
        Ok(self.text(key).await?.is_some())
    }

    /// All keys, in the order of their bytes.
    ///
    /// # Errors
    ///
    /// As for all methods that read.
    pub async fn keys(&self) -> Result<Vec<String>, SessionError> {
        Ok(self.texts().await?.iter().map(|(key, _)| (**key).to_owned()).collect())
    }

    /// All items, in the order of the keys' bytes.
    ///
    /// # Errors
    ///
    /// [`SessionError::Decode`] when one of them is of another type, and as for all methods that
    /// read.
    pub async fn items<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>, SessionError> {
        let texts = self.texts().await?;
        texts.iter().map(|(key, text)| Ok(((**key).to_owned(), decode(text)?))).collect()
    }

    /// All values, in the order of the keys' bytes.
    ///
    /// # Errors
    ///
    /// As [`items`](Self::items).
    pub async fn values<T: DeserializeOwned>(&self) -> Result<Vec<T>, SessionError> {
        self.texts().await?.iter().map(|(_, text)| decode(text)).collect()
    }

    /// How many items there are.
    ///
    /// # Errors
    ///
    /// As for all methods that read.
    pub async fn len(&self) -> Result<usize, SessionError> {
        Ok(self.texts().await?.len())
    }

    /// Whether there is no item.
    ///
    /// # Errors
    ///
    /// As for all methods that read.
    pub async fn is_empty(&self) -> Result<bool, SessionError> {
        Ok(self.texts().await?.is_empty())
    }

    async fn text(&self, key: &str) -> Result<Option<Arc<str>>, SessionError> {
        let key = check_key(key)?;
        self.manager.read(&self.application, |application| application.get(key).cloned()).await
    }

    async fn take_text(&self, key: &str) -> Result<Option<Arc<str>>, SessionError> {
        let key = check_key(key)?;
        self.manager
            .read(&self.application, |application| {
                let text = application.get(key).cloned();
                if text.is_some() {
                    application.remove(key);
                }
                text
            })
            .await
    }

    /// All items as text. They are decoded without a lock: a type may use the session for that.
    async fn texts(&self) -> Result<Items, SessionError> {
        self.manager.read(&self.application, |application| application.view()).await
    }
}

impl fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStore").field("app", &self.application).finish_non_exhaustive()
    }
}

fn check_key(key: &str) -> Result<&str, SessionError> {
    if (1..=MAX_KEY).contains(&key.len()) {
        Ok(key)
    } else {
        Err(SessionError::InvalidKey(key.len()))
    }
}

fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Arc<str>, SessionError> {
    /// How many levels of arrays and objects `serde_json` reads. It writes any number.
    const READABLE_DEPTH: usize = 127;
    let refused = |error: serde_json::Error| SessionError::Encode(error.into());
    let mut text = SmallVec::<[u8; 128]>::new();
    serde_json::to_writer(&mut text, value).map_err(refused)?;
    let text = str::from_utf8(&text).map_err(|error| refused(ser::Error::custom(error)))?;
    let opening = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if opening > READABLE_DEPTH {
        serde_json::from_str::<serde_json::Value>(text).map_err(refused)?;
    }
    Ok(text.into())
}

fn decode<T: DeserializeOwned>(text: impl AsRef<str>) -> Result<T, SessionError> {
    serde_json::from_str(text.as_ref()).map_err(|error| SessionError::Decode(error.into()))
}

/// An application whose name is known when the program is compiled.
///
/// The name has 1 to 255 characters from `a-z A-Z 0-9 - _ .`, or the program does not compile:
///
/// ```
/// # use web_session::{Application, MemoryDriver, SessionLayer};
/// struct Shop;
/// impl Application for Shop {
///     const NAME: &'static str = "shop";
/// }
/// # let session = SessionLayer::new(MemoryDriver::new()).manager();
/// assert_eq!(session.app::<Shop>().app(), "shop");
/// ```
///
/// ```compile_fail
/// # use web_session::{Application, MemoryDriver, SessionLayer};
/// struct Shop;
/// impl Application for Shop {
///     const NAME: &'static str = "my shop";
/// }
/// # let session = SessionLayer::new(MemoryDriver::new()).manager();
/// session.app::<Shop>();
/// ```
pub trait Application: 'static {
    /// The name.
    const NAME: &'static str;
}

/// The store of the application `A`: a [`SessionStore`], and an axum extractor.
pub struct Store<A> {
    store: SessionStore,
    application: PhantomData<fn() -> A>,
}

impl<A: Application> Store<A> {
    pub(crate) fn new(manager: SessionManager) -> Self {
        let name = const { ApplicationName::from_static(A::NAME) };
        Self { store: SessionStore::new(manager, name), application: PhantomData }
    }
}

impl<A> Deref for Store<A> {
    type Target = SessionStore;

    fn deref(&self) -> &SessionStore {
        &self.store
    }
}

impl<A> Clone for Store<A> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), application: PhantomData }
    }
}

impl<A> fmt::Debug for Store<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}
