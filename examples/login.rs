//! Logins: a fresh id at each, the list of one's sessions, and the ways to end them.
//!
//! `cargo run --example login --features signed` listens on `ADDR` (default `127.0.0.1:3000`): log in at
//! <http://localhost:3000> as `ada`, `analytical`, or as `grace`, `cobol`. Sessions are in `DATABASE_URL`
//! (default `sqlite://login.db`), cookies signed with `SESSION_KEY`; `openssl rand -hex 32` prints one.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::{env, error::Error, time::Duration};

use axum::Router;
use axum::extract::{Form, RawQuery};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{get, post};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use tokio::net::TcpListener;
use web_session::{
    Application, AssuranceLevel, AutoCreate, CookieConfig, MaxAge, OsRandom, RandomSource,
    SessionError, SessionInfo, SessionLayer, SessionManager, SessionRef, Store,
};

struct Shop;

impl Application for Shop {
    const NAME: &'static str = "shop";
}

/// The application's own affair: a real one keeps salted and slow hashes, and limits the attempts.
fn is_password_of(name: &str, password: &str) -> bool {
    [("ada", "analytical"), ("grace", "cobol")].contains(&(name, password))
}

#[derive(Deserialize)]
struct LogIn {
    name: String,
    password: String,
    remember: Option<String>,
}

type Answer<T = Redirect> = Result<T, SessionError>;

async fn log_in(session: SessionManager, headers: HeaderMap, Form(form): Form<LogIn>) -> Answer {
    if !is_password_of(&form.name, &form.password) {
        return Ok(Redirect::to("/?wrong"));
    }
    // A login keeps what the session holds. What another user has left there is not for this one.
    if session.principal().await?.is_some_and(|other| other != form.name) {
        session.end().await?;
    }
    session.login(form.name).await?;
    let device = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    session.set_note(device.map(|device| device.get(..200).unwrap_or(device)))?;
    session.set_cookie_lifetime(form.remember.map_or(MaxAge::Browser, |_| MaxAge::Session))?;
    Ok(Redirect::to("/"))
}

#[derive(Deserialize)]
#[serde(tag = "which", rename_all = "lowercase")]
enum LogOut {
    This,
    One { session: SessionRef },
    Others,
    All,
}

async fn log_out(session: SessionManager, Form(which): Form<LogOut>) -> Answer {
    match which {
        LogOut::This => session.end().await?,
        LogOut::One { session: one } => session.end_one(one).await?,
        LogOut::Others => drop(session.end_others().await?),
        LogOut::All => drop(session.end_all().await?),
    }
    Ok(Redirect::to("/"))
}

async fn add(shop: Store<Shop>) -> Answer {
    shop.update("cart", |items: Option<u64>| items.unwrap_or(0) + 1).await?;
    Ok(Redirect::to("/"))
}

async fn home(session: SessionManager, query: RawQuery) -> Answer<impl IntoResponse> {
    let cart = session.app::<Shop>().get::<u64>("cart").await?.unwrap_or(0);
    let visitor = match session.principal().await? {
        Some(name) => account(&name, &session.sessions().await?),
        None => html! { form method="post" action="/login" {
            input name="name"; input name="password" type="password";
            @if query.0.is_some() { "Wrong name or password. " }
            label { input name="remember" type="checkbox"; "remember me" } button { "log in" }
        } },
    };
    let page = html! { (DOCTYPE) html lang="en" { title { "Logins" } body {
        form method="post" action="/cart" { "In your cart: " b { (cart) } button { "add one" } }
        (visitor)
    } } };
    // Else the back button would show the page after the logout.
    Ok(([(header::CACHE_CONTROL, "no-store")], page))
}

fn account(name: &str, sessions: &[SessionInfo]) -> Markup {
    let minutes = |time: std::time::SystemTime| time.elapsed().unwrap_or_default().as_secs() / 60;
    html! {
        h1 { (name) } form method="post" action="/logout" {
            button name="which" value="this" { "log out" }
            button name="which" value="others" { "log out all others" }
            button name="which" value="all" { "log out everywhere" }
        }
        ul { @for one in sessions { li { form method="post" action="/logout" {
            input type="hidden" name="session" value=(one.session);
            (one.note.as_deref().unwrap_or_default()) ", for " (minutes(one.created))
            " min, last used " (minutes(one.last_used)) " min ago "
            @if one.is_current { "(this one)" }
            @else { button name="which" value="one" { "log out that one" } }
        } } } }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let mut key = variable("SESSION_KEY", "").into_bytes();
    if key.is_empty() {
        eprintln!("without SESSION_KEY no cookie outlives this process");
        key.resize(32, 0);
        OsRandom.fill(&mut key)?;
    }
    let driver = web_session::connect(&variable("DATABASE_URL", "sqlite://login.db")).await?;
    let sessions = SessionLayer::builder(driver)
        .auto_create(AutoCreate::Missing)
        .assurance_level(AssuranceLevel::Aal1) // 30 days at the most,
        .idle_timeout(Duration::from_secs(7 * 24 * 60 * 60)) // and a week without use.
        // `Secure`, which browsers accept from localhost as over HTTPS, and `SameSite=Lax`: what a
        // page of another site posts comes without the cookie.
        .cookie(CookieConfig::default().with_name("__Host-session").with_max_age(MaxAge::Browser))
        .signed([key])
        .build()
        .await
        .inspect_err(|error| eprintln!("login: {error}"))?;
    let app = Router::new()
        .route("/", get(home))
        .route("/cart", post(add))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(sessions);
    let listener = TcpListener::bind(variable("ADDR", "127.0.0.1:3000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
