//! A shop and a forum in one process share a session and its cookie. Neither sees the other's keys,
//! and each can empty its own store without touching the other's.
//!
//! ```console
//! $ cargo run --example two_applications
//! $ curl -c jar -b jar -X POST http://127.0.0.1:3000/shop/tea
//! the shop keeps: tea
//! $ curl -c jar -b jar -X POST http://127.0.0.1:3000/forum/hello
//! the forum keeps: hello
//! $ curl -c jar -b jar -X POST http://127.0.0.1:3000/shop/empty
//! the shop keeps: nothing
//! $ curl -c jar -b jar http://127.0.0.1:3000/forum
//! the forum keeps: hello
//! ```
//!
//! It listens on `ADDR` (default `127.0.0.1:3000`). Sessions live in memory, until it stops.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::env;
use std::error::Error;

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use web_session::{
    Application, CookieConfig, MemoryDriver, SessionError, SessionLayer, SessionStore, Store,
};

struct Shop;

impl Application for Shop {
    const NAME: &'static str = "shop";
}

struct Forum;

impl Application for Forum {
    const NAME: &'static str = "forum";
}

/// The pages of one application: what it keeps, adding to it, emptying it.
fn pages<A: Application>() -> Router {
    Router::new()
        .route("/", get(show::<A>))
        .route("/empty", post(empty::<A>))
        .route("/{item}", post(add::<A>))
}

async fn show<A: Application>(store: Store<A>) -> Result<String, SessionError> {
    describe(&store).await
}

async fn add<A: Application>(
    store: Store<A>,
    Path(item): Path<String>,
) -> Result<String, SessionError> {
    store.set(&item, &true)?;
    describe(&store).await
}

async fn empty<A: Application>(store: Store<A>) -> Result<String, SessionError> {
    store.empty();
    describe(&store).await
}

async fn describe(store: &SessionStore) -> Result<String, SessionError> {
    let keys = store.keys().await?;
    let kept = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
    Ok(format!("the {} keeps: {kept}\n", store.app()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sessions = SessionLayer::builder(MemoryDriver::new())
        // Plain HTTP on the own machine. A site served over HTTPS leaves this line out.
        .cookie(CookieConfig::default().without_secure())
        .build()
        .await?;
    let app = Router::new()
        .nest("/shop", pages::<Shop>())
        .nest("/forum", pages::<Forum>())
        .layer(sessions);

    let address = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let interrupted = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, app).with_graceful_shutdown(interrupted).await?;
    Ok(())
}
