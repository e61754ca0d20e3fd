//! The login example in a real browser: Chromium, driven over WebDriver.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, unreachable_pub)]

#[path = "support/example.rs"]
mod example;
#[path = "faults/private.rs"]
mod private;
#[path = "support/servers.rs"]
mod servers;

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use cookie::{Cookie, SameSite};
use example::Server;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use libtest_mimic::{Arguments, Trial};
use private::{command, free_port, missing};
use serde_json::json;
use tempfile::TempDir;

/// The cookie of the example.
const COOKIE: &str = "__Host-session";

/// Starts browsers. It ends with all of them when it is dropped.
struct Driver {
    process: Child,
    port: u16,
    /// The home of all that the browsers write outside their profiles.
    _home: TempDir,
}

impl Driver {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = free_port();
        let process = command("chromedriver", None)
            .arg(format!("--port={port}"))
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let driver = Self { process, port, _home: home };
        let begun = Instant::now();
        // It takes connections before it serves them.
        while !driver.ask("/status").is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200")) {
            assert!(begun.elapsed() < Duration::from_secs(60), "chromedriver does not answer");
            sleep(Duration::from_millis(10));
        }
        driver
    }

    /// What it answers first.
    fn ask(&self, path: &str) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = vec![0; 1_000];
        let length = stream.read(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // With its browsers, which killing it would leave behind.
        let _ = self.ask("/shutdown");
        let begun = Instant::now();
        while self.process.try_wait().unwrap().is_none() && begun.elapsed().as_secs() < 10 {
            sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The example and the browsers that visit it.
struct Site {
    // The fields are dropped in this order.
    driver: Driver,
    server: Server,
    folder: TempDir,
}

impl Site {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start("login", "memory:");
        Self { driver: Driver::start(), server, folder }
    }

    fn url(&self) -> String {
        let (_, port) = self.server.address.rsplit_once(':').unwrap();
        format!("http://localhost:{port}/")
    }

    /// A folder for a browser's profile.
    fn profile(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A browser with a new profile, and the site open in it.
    async fn visit(&self, name: &str) -> Browser {
        self.open(&self.profile(name), &[]).await
    }

    async fn open(&self, profile: &Path, more: &[&str]) -> Browser {
        let profile = format!("--user-data-dir={}", profile.display());
        let mut arguments = vec![
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &profile,
        ];
        arguments.extend(more);
        let capabilities = json!({ "goog:chromeOptions": { "args": arguments } });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let client = builder.connect(&format!("http://127.0.0.1:{}", self.driver.port)).await;
        let browser = Browser { client: client.unwrap(), url: self.url() };
        browser.go_home().await;
        browser
    }
}

struct Browser {
    client: Client,
    url: String,
}

impl Browser {
    async fn go_home(&self) {
        self.client.goto(&self.url).await.unwrap();
    }

    /// Presses a button, and waits for the page that follows.
    async fn press(&self, button: &str) {
        let button = format!("//button[.='{button}']");
        self.client.execute("window.isLeft = true", Vec::new()).await.unwrap();
        self.client.find(Locator::XPath(&button)).await.unwrap().click().await.unwrap();
        self.wait_until("return !window.isLeft && document.readyState == 'complete'").await;
    }

    async fn wait_until(&self, script: &str) {
        let begun = Instant::now();
        // Between two pages a script may fail.
        while !self.client.execute(script, Vec::new()).await.is_ok_and(|is_so| is_so == true) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no page follows");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn fill_in(&self, field: &str, text: &str) {
        let field = format!("input[name={field}]");
        self.client.find(Locator::Css(&field)).await.unwrap().send_keys(text).await.unwrap();
    }

    async fn log_in(&self, name: &str, password: &str) {
        self.fill_in("name", name).await;
        self.fill_in("password", password).await;
        self.press("log in").await;
    }

    async fn remember(&self) {
        self.client
            .find(Locator::Css("input[name=remember]"))
            .await
            .unwrap()
            .click()
            .await
            .unwrap();
    }

    async fn texts(&self, selector: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for element in self.client.find_all(Locator::Css(selector)).await.unwrap() {
            texts.push(element.text().await.unwrap());
        }
        texts
    }

    /// Who is logged in, as the page says.
    async fn name(&self) -> Option<String> {
        self.texts("h1").await.pop()
    }

    async fn name_at_home(&self) -> Option<String> {
        self.go_home().await;
        self.name().await
    }

    async fn page(&self) -> String {
        self.texts("body").await.concat()
    }

    async fn cart(&self) -> String {
        self.texts("b").await.concat()
    }

    /// The sessions that the page lists.
    async fn sessions(&self) -> Vec<String> {
        self.texts("li").await
    }

    async fn cookie(&self) -> Option<Cookie<'static>> {
        let cookies = self.client.get_all_cookies().await.unwrap();
        assert!(cookies.len() <= 1, "there is no other cookie: {cookies:?}");
        cookies.into_iter().find(|cookie| cookie.name() == COOKIE)
    }

    async fn take_cookie(&self) -> String {
        self.cookie().await.expect("a session cookie").value().to_owned()
    }

    /// Presents a cookie that was taken before; who does it belong to?
    async fn replay(&self, value: &str) -> Option<String> {
        self.client.delete_all_cookies().await.unwrap();
        let set = format!("document.cookie = '{COOKIE}={value}; Path=/; Secure'");
        self.client.execute(&set, Vec::new()).await.unwrap();
        assert_eq!(self.take_cookie().await, value);
        self.name_at_home().await
    }

    /// Ends the browser as its user does, so that it keeps what it has to keep.
    async fn close(self) {
        self.client.close().await.unwrap();
    }
}

// T2, T3, SECURITY 9
async fn a_login_keeps_the_cart_under_a_fresh_id() {
    let site = Site::start();
    let ada = site.visit("ada").await;
    assert!(ada.cookie().await.is_none(), "who only reads has no session");
    ada.press("add one").await;
    ada.press("add one").await;
    let before = ada.take_cookie().await;

    ada.log_in("ada", "cobol").await;
    assert!(ada.page().await.contains("Wrong name or password."));
    assert_eq!((ada.name().await, ada.take_cookie().await), (None, before.clone()));

    ada.log_in("ada", "analytical").await;
    assert_eq!(ada.name().await.as_deref(), Some("ada"));
    assert_eq!(ada.cart().await, "2");
    let after = ada.take_cookie().await;
    assert_ne!(before, after);

    let thief = site.visit("thief").await;
    assert_eq!(thief.replay(&after).await.as_deref(), Some("ada"), "a live cookie is the visitor");
    assert_eq!(thief.replay(&before).await, None);
    assert_eq!(thief.cart().await, "0");
    let mut forged = after;
    forged.replace_range(0..1, if forged.starts_with('A') { "B" } else { "A" });
    assert_eq!(thief.replay(&forged).await, None);
}

// C1, C4, SECURITY 20
async fn the_browser_keeps_the_cookie_from_scripts_and_other_sites() {
    let site = Site::start();
    let ada = site.visit("ada").await;
    ada.log_in("ada", "analytical").await;
    let cookie = ada.cookie().await.unwrap();
    assert_eq!(cookie.secure(), Some(true));
    assert_eq!(cookie.http_only(), Some(true));
    assert_eq!(cookie.same_site(), Some(SameSite::Lax));
    assert_eq!(cookie.path(), Some("/"));
    assert_eq!(cookie.domain(), Some("localhost"), "this host alone, without a dot");
    let seen = ada.client.execute("return document.cookie", Vec::new()).await.unwrap();
    assert_eq!(seen, "");

    // What a page of another site posts comes without the cookie.
    let form = format!(
        "<form method=post action={}logout><button name=which value=all>win</button></form>",
        site.url()
    );
    ada.client.goto(&format!("data:text/html,{form}")).await.unwrap();
    ada.press("win").await;
    assert_eq!(ada.page().await, "Please log in.");
    assert_eq!(ada.name_at_home().await.as_deref(), Some("ada"));
}

// T3, SECURITY 16, 19
async fn logging_out_everywhere_logs_out_the_other_browser() {
    let site = Site::start();
    let desk = site.visit("desk").await;
    let tablet = "--user-agent=<i>Ada's</i> tablet";
    let tablet = site.open(&site.profile("tablet"), &[tablet]).await;
    desk.log_in("ada", "analytical").await;
    tablet.log_in("ada", "analytical").await;
    desk.go_home().await;
    for browser in [&desk, &tablet] {
        let sessions = browser.sessions().await;
        assert_eq!(sessions.len(), 2);
        assert!(sessions[0].contains("Chrome/"), "{sessions:?}");
        assert!(sessions[1].starts_with("<i>Ada's</i> tablet, for 0 min, last used 0 min ago"));
        let is_current = sessions.iter().map(|session| session.ends_with("(this one)"));
        assert_eq!(is_current.filter(|is| *is).count(), 1);
    }

    let taken = [desk.take_cookie().await, tablet.take_cookie().await];
    desk.press("log out everywhere").await;
    assert_eq!(desk.name().await, None);
    assert!(desk.cookie().await.is_none());
    assert_eq!(tablet.name_at_home().await, None);
    for cookie in taken {
        assert_eq!(desk.replay(&cookie).await, None);
    }
}

// T3, SECURITY 19
async fn one_session_or_all_others_can_be_ended() {
    let site = Site::start();
    let [desk, tablet] = [site.visit("desk").await, site.visit("tablet").await];
    for end in ["log out that one", "log out all others"] {
        for browser in [&desk, &tablet] {
            browser.go_home().await;
            if browser.name().await.is_none() {
                browser.log_in("ada", "analytical").await;
            }
        }
        desk.go_home().await;
        assert_eq!(desk.sessions().await.len(), 2);
        desk.press(end).await;
        assert_eq!(desk.name().await.as_deref(), Some("ada"));
        assert_eq!(desk.sessions().await.len(), 1);
        assert_eq!(tablet.name_at_home().await, None, "{end}");
    }
}

async fn the_cart_of_one_user_is_not_for_the_next() {
    let site = Site::start();
    let browser = site.visit("shared").await;
    browser.press("add one").await;
    browser.log_in("ada", "analytical").await;
    assert_eq!(browser.cart().await, "1");
    // From a page that was open before the login.
    let log_in = "const form = new URLSearchParams({ name: 'grace', password: 'cobol' });
        return fetch('/login', { method: 'POST', body: form }).then(answer => answer.ok)";
    assert_eq!(browser.client.execute(log_in, Vec::new()).await.unwrap(), true);
    assert_eq!(browser.name_at_home().await.as_deref(), Some("grace"));
    assert_eq!(browser.cart().await, "0");
    browser.press("log out").await;
    assert_eq!((browser.name().await, browser.cart().await), (None, "0".to_owned()));
}

// M3, T1
async fn remember_me_outlives_the_browser_and_nothing_else_does() {
    let site = Site::start();
    let profile = site.profile("ada");
    let browser = site.open(&profile, &[]).await;
    browser.log_in("ada", "analytical").await;
    assert_eq!(browser.cookie().await.unwrap().expires_datetime(), None);
    browser.close().await;

    let browser = site.open(&profile, &[]).await;
    assert_eq!(browser.name().await, None, "the cookie has gone with the browser");
    browser.remember().await;
    browser.log_in("ada", "analytical").await;
    let expires = browser.cookie().await.unwrap().expires_datetime().expect("a persistent cookie");
    let left = SystemTime::from(expires).duration_since(SystemTime::now()).unwrap();
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    assert!(left <= month && left > month - Duration::from_secs(60), "{left:?}");
    let taken = browser.take_cookie().await;
    browser.close().await;

    let browser = site.open(&profile, &[]).await;
    assert_eq!(browser.name().await.as_deref(), Some("ada"));
    assert_eq!(browser.take_cookie().await, taken);
    browser.press("log out").await;
    browser.close().await;
    assert_eq!(site.open(&profile, &[]).await.name().await, None);
}

// A5 7.4.1, SECURITY 16
async fn the_back_button_shows_nothing_private_after_the_logout() {
    let site = Site::start();
    let ada = site.visit("ada").await;
    ada.log_in("ada", "analytical").await;
    let private = format!("{}?private", site.url());
    ada.client.goto(&private).await.unwrap();
    assert_eq!(ada.name().await.as_deref(), Some("ada"));
    let taken = ada.take_cookie().await;
    ada.press("log out").await;
    assert_eq!(ada.name().await, None);
    ada.client.back().await.unwrap();
    assert_eq!(ada.client.current_url().await.unwrap().as_str(), private);
    assert_eq!(ada.name().await, None);
    assert!(ada.sessions().await.is_empty());
    assert_eq!(ada.replay(&taken).await, None);
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let problem = missing(&["chromium", "chromedriver"]);
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$(trial(stringify!($name), problem.as_deref(), $name)),*]
        };
    }
    let trials = trials![
        a_login_keeps_the_cart_under_a_fresh_id,
        the_browser_keeps_the_cookie_from_scripts_and_other_sites,
        logging_out_everywhere_logs_out_the_other_browser,
        one_session_or_all_others_can_be_ended,
        the_cart_of_one_user_is_not_for_the_next,
        remember_me_outlives_the_browser_and_nothing_else_does,
        the_back_button_shows_nothing_private_after_the_logout,
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial<Fut>(
    name: &str,
    problem: Option<&str>,
    test: impl FnOnce() -> Fut + Send + 'static,
) -> Trial
where
    Fut: Future<Output = ()>,
{
    servers::trial_unless(problem, name.to_owned(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(test());
    })
}
