//! A site, and what its visitors do.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;

use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response, StatusCode};
use tokio::runtime::{Builder, Runtime};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, service_fn};
use web_session::{SessionError, SessionLayer, SessionManager};

/// What a request does with its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Load,
    Read,
    /// Empties the store without having looked into it.
    Clear,
    /// Looks for the item to remove.
    Remove,
    /// Writes, and takes it back.
    Undo,
    End,
    Set,
    Update,
    Create,
}

impl Action {
    /// Those that only read.
    pub const READING: &[Self] = &[Self::Load, Self::Read];

    /// Those that take away what is not there.
    pub const REMOVING: &[Self] = &[Self::Clear, Self::Remove, Self::Undo, Self::End];

    /// Those that want a session.
    pub const STORING: &[Self] = &[Self::Set, Self::Update, Self::Create];

    async fn run(self, session: &SessionManager) -> Result<(), SessionError> {
        let shop = session.store("shop")?;
        match self {
            Self::Load => drop(session.load().await?),
            Self::Read => drop(shop.get::<u64>("item").await?),
            Self::Clear => shop.empty(),
            Self::Remove => drop(shop.remove::<u64>("item").await?),
            Self::Undo => {
                shop.set("item", &1)?;
                shop.empty();
            }
            Self::End => session.end().await?,
            Self::Set => shop.set("item", &1)?,
            Self::Update => drop(shop.update("item", |n: Option<u64>| n.unwrap_or(0) + 1).await?),
            Self::Create => drop(session.create().await?),
        }
        Ok(())
    }
}

pub type Site = BoxCloneSyncService<Request<Action>, Response<()>, Infallible>;

pub fn site(layer: &SessionLayer) -> Site {
    let handler = service_fn(async |request: Request<Action>| {
        let session = request.extensions().get::<SessionManager>().unwrap().clone();
        let done = request.into_body().run(&session).await;
        let mut response = Response::new(());
        if let Err(error) = done {
            *response.status_mut() = error.status();
        }
        Ok(response)
    });
    BoxCloneSyncService::new(layer.layer(handler))
}

/// What a visitor sees: the status, and the id that a cookie brings.
pub type Seen = (StatusCode, Option<String>);

pub async fn send(site: &mut Site, id: Option<&str>, action: Action) -> Seen {
    let mut request = Request::new(action);
    if let Some(id) = id {
        request.headers_mut().insert(COOKIE, format!("sessionID={id}").parse().unwrap());
    }
    let response = site.call(request).await.unwrap();
    let cookie = response.headers().get(SET_COOKIE).map(|value| value.to_str().unwrap());
    let id = cookie.map(|cookie| {
        let value = cookie.strip_prefix("sessionID=").unwrap();
        value.split(';').next().unwrap().to_owned()
    });
    (response.status(), id.filter(|id| !id.is_empty()))
}

/// Who floods a site.
#[derive(Clone, Copy)]
pub enum Crowd {
    WithoutCookie,
    WithMadeUpIds,
}

impl Crowd {
    pub const ALL: [Self; 2] = [Self::WithoutCookie, Self::WithMadeUpIds];

    /// What the `n`th of them presents: each another, well-formed id, or none.
    pub fn id(self, n: u32) -> Option<String> {
        match self {
            Self::WithoutCookie => None,
            Self::WithMadeUpIds => {
                // Odd, so that no two products are the same.
                const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
                Some(format!("{:032x}", FACTOR.wrapping_mul(u128::from(n) + 1)))
            }
        }
    }
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WithoutCookie => "without_a_cookie",
            Self::WithMadeUpIds => "with_made_up_ids",
        })
    }
}

/// A runtime that does everything on this thread, where the heap is counted.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
