//! Counts the visits of each visitor.
//!
//! ```console
//! $ cargo run --example counter
//! $ curl -c jar -b jar http://127.0.0.1:3000/
//! visit 1
//! $ curl -c jar -b jar http://127.0.0.1:3000/
//! visit 2
//! $ curl -c jar -b jar -X POST http://127.0.0.1:3000/logout
//! ```
//!
//! It listens on `ADDR` (default `127.0.0.1:3000`) and keeps the sessions in `DATABASE_URL` (default
//! `sqlite://sessions.db`), which it makes if it is not there.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::env;
use std::error::Error;
use std::process::ExitCode;

use axum::Router;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use web_session::{
    Application, AutoCreate, CookieConfig, SessionError, SessionLayer, SessionManager, Store,
};

struct Counter;

impl Application for Counter {
    const NAME: &'static str = "counter";
}

async fn visit(counter: Store<Counter>) -> Result<String, SessionError> {
    let visits = counter.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1).await?;
    Ok(format!("visit {visits}\n"))
}

async fn logout(session: SessionManager) -> Result<&'static str, SessionError> {
    session.end().await?;
    Ok("goodbye\n")
}

async fn run() -> Result<(), Box<dyn Error>> {
    let address = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let url = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite://sessions.db".to_owned());

    let sessions = SessionLayer::builder(web_session::connect(&url).await?)
        .auto_create(AutoCreate::Missing)
        // Plain HTTP on the own machine. A site served over HTTPS leaves this line out.
        .cookie(CookieConfig::default().without_secure())
        .build()
        .await?;
    let app = Router::new().route("/", get(visit)).route("/logout", post(logout)).layer(sessions);

    let listener = TcpListener::bind(&address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;
    Ok(())
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("Ctrl-C cannot be caught: {error}");
        std::future::pending::<()>().await;
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("counter: {error}");
            ExitCode::FAILURE
        }
    }
}
