//! A caching proxy in front of the application: nginx, configured as carelessly as is usual, so that
//! it keeps whatever it is not told to leave alone. What reaches a visitor that was meant for another?

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, unreachable_pub)]

#[path = "faults/private.rs"]
mod private;
#[path = "support/servers.rs"]
mod servers;

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::HeaderMap;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use http::header::{CACHE_CONTROL, COOKIE, HOST, SET_COOKIE, VARY};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use libtest_mimic::{Arguments, Trial};
use private::{command, missing};
use tempfile::TempDir;
use web_session::{
    Application, CacheControl, MemoryDriver, SessionError, SessionLayer, SessionLayerBuilder,
    SessionManager, Store, Vary,
};

/// The socket of an nginx, in its folder: no other test can have it, as it could a port.
const LISTENS_AT: &str = "socket";

/// An nginx with an empty cache. It is killed when it is dropped.
struct Nginx {
    /// Without a master, so that there is one process to kill.
    process: Child,
    folder: TempDir,
}

impl Nginx {
    fn start(application: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listens_at = folder.path().join(LISTENS_AT).display().to_string();
        // By itself nginx keeps no response that sets a cookie.
        let configuration = format!(
            "daemon off;
            master_process off;
            pid pid;
            error_log log;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path body;
                proxy_temp_path proxy;
                fastcgi_temp_path fastcgi;
                uwsgi_temp_path uwsgi;
                scgi_temp_path scgi;
                proxy_cache_path cache keys_zone=pages:1m;
                server {{
                    listen unix:{listens_at};
                    location / {{
                        proxy_pass http://{application};
                        proxy_cache pages;
                        proxy_cache_valid 60s;
                        proxy_ignore_headers Set-Cookie;
                        add_header X-Cache-Status $upstream_cache_status always;
                    }}
                }}
            }}"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let mut nginx = command("nginx", None);
        nginx.arg("-p").arg(folder.path()).arg("-c").arg(file).args(["-e", "log"]);
        let process = nginx.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut nginx = Self { process, folder };
        nginx.wait();
        nginx
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        while UnixStream::connect(self.listens_at()).is_err() {
            let has_ended = self.process.try_wait().unwrap().is_some();
            assert!(!has_ended && begun.elapsed() < Duration::from_secs(60), "{:?}", self.log());
            sleep(Duration::from_millis(10));
        }
    }

    fn listens_at(&self) -> PathBuf {
        self.folder.path().join(LISTENS_AT)
    }

    fn log(&self) -> io::Result<String> {
        fs::read_to_string(self.folder.path().join("log"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Names;

impl Application for Names {
    const NAME: &'static str = "names";
}

/// Tells the handlers who asks, for them to write it into the page.
const VISITOR: &str = "visitor";

fn visitor(headers: &HeaderMap) -> &str {
    headers[VISITOR].to_str().unwrap()
}

async fn reads(names: Store<Names>) -> Result<String, SessionError> {
    let name = names.get::<String>("name").await?;
    Ok(name.unwrap_or_else(|| "nobody".to_owned()))
}

async fn writes(names: Store<Names>, headers: HeaderMap) -> Result<String, SessionError> {
    names.set("name", visitor(&headers))?;
    Ok(visitor(&headers).to_owned())
}

async fn ends(session: SessionManager, headers: HeaderMap) -> Result<String, SessionError> {
    session.end().await?;
    Ok(visitor(&headers).to_owned())
}

/// What handlers say about caches themselves, by the folder that their pages are in.
const SAY: [&str; 3] = ["nothing", "public", "vary"];

async fn say_public(mut response: Response) -> Response {
    let public = HeaderValue::from_static("public, max-age=60");
    response.headers_mut().insert(CACHE_CONTROL, public);
    response
}

async fn say_vary(response: Response) -> Response {
    let mut response = say_public(response).await;
    for name in ["Cookie", "Accept-Language"] {
        response.headers_mut().append(VARY, HeaderValue::from_static(name));
    }
    response
}

fn pages() -> Router {
    Router::new()
        .route("/the-same", get(async |headers: HeaderMap| visitor(&headers).to_owned()))
        .route("/reads", get(reads))
        .route("/writes", get(writes))
        .route("/ends", get(ends))
}

/// The application behind nginx.
struct Site {
    layer: SessionLayer,
    nginx: Nginx,
}

impl Site {
    async fn start(builder: SessionLayerBuilder) -> Self {
        let layer = builder.build().await.unwrap();
        let router = Router::new()
            .nest("/nothing", pages())
            .nest("/public", pages().layer(map_response(say_public)))
            .nest("/vary", pages().layer(map_response(say_vary)))
            .layer(layer.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { layer, nginx: Nginx::start(address) }
    }

    /// Somebody with a session that has the name.
    async fn known(&self, name: &'static str) -> Visitor {
        let session = self.layer.manager();
        let id = session.create().await.unwrap();
        session.app::<Names>().set("name", name).unwrap();
        session.commit().await.unwrap();
        Visitor { name, id: Some(id.expose().to_string()) }
    }

    /// The name in the session with this id; none if it has ended.
    async fn name_of(&self, id: &str) -> Option<String> {
        let session = self.layer.manager();
        if !session.load_id(id).await.unwrap() {
            return None;
        }
        session.app::<Names>().get("name").await.unwrap()
    }
}

/// A browser.
struct Visitor {
    name: &'static str,
    id: Option<String>,
}

/// Somebody without a session.
fn stranger(name: &'static str) -> Visitor {
    Visitor { name, id: None }
}

struct Answer {
    page: String,
    is_from_the_cache: bool,
}

impl Visitor {
    async fn get(&mut self, site: &Site, path: &str) -> Answer {
        let stream = tokio::net::UnixStream::connect(site.nginx.listens_at()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request =
            Request::builder().uri(path).header(HOST, "localhost").header(VISITOR, self.name);
        if let Some(id) = &self.id {
            request = request.header(COOKIE, format!("sessionID={id}"));
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await;
        let response = response.unwrap_or_else(|error| panic!("{error}: {:?}", site.nginx.log()));
        assert_eq!(response.status(), StatusCode::OK);
        if let Some(cookie) = response.headers().get(SET_COOKIE) {
            let (pair, _) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (_, id) = pair.split_once('=').unwrap();
            self.id = (!id.is_empty()).then(|| id.to_owned());
        }
        let status = response.headers()["x-cache-status"].clone();
        let page = response.into_body().collect().await.unwrap().to_bytes();
        drop(sender);
        connection.await.unwrap().unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
        Answer { page, is_from_the_cache: status == "HIT" }
    }
}

/// What a visitor got that was meant for another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Leak {
    /// What another's session holds.
    PageThatReads,
    /// What another has done, instead of doing it for this one.
    PageThatWrites,
    /// The same of a logout: the own session lives on.
    PageThatEnds,
    /// Another's session: both have it now.
    Cookie,
    /// The removal of another's cookie: the own is gone and its session lives on.
    Removal,
}

use Leak::{Cookie, PageThatEnds, PageThatReads, PageThatWrites, Removal};

/// Lets visitors with different sessions and with none open the same pages.
async fn leaks(site: &Site, folder: &str) -> BTreeSet<Leak> {
    let mut leaks = BTreeSet::new();

    let (mut ada, mut bob) = (site.known("ada").await, site.known("bob").await);
    let path = format!("/{folder}/reads");
    for _ in 0..2 {
        for visitor in [&mut ada, &mut bob, &mut stranger("carl"), &mut stranger("dora")] {
            let own = if visitor.id.is_some() { visitor.name } else { "nobody" };
            if visitor.get(site, &path).await.page != own {
                leaks.insert(PageThatReads);
            }
        }
    }

    let path = format!("/{folder}/writes");
    let (mut eve, mut fred) = (stranger("eve"), stranger("fred"));
    for visitor in [&mut eve, &mut ada, &mut fred, &mut bob] {
        if visitor.get(site, &path).await.page != visitor.name {
            leaks.insert(PageThatWrites);
        }
    }
    for visitor in [&eve, &fred] {
        let Some(id) = &visitor.id else { continue };
        if site.name_of(id).await.as_deref() != Some(visitor.name) {
            leaks.insert(Cookie);
        }
    }

    let path = format!("/{folder}/ends");
    for visitor in [&mut ada, &mut bob, &mut stranger("gina"), &mut site.known("hugo").await] {
        let id = visitor.id.clone();
        if visitor.get(site, &path).await.page != visitor.name {
            leaks.insert(PageThatEnds);
        }
        if let Some(id) = id
            && visitor.id.is_none()
            && site.name_of(&id).await.is_some()
        {
            leaks.insert(Removal);
        }
    }
    leaks
}

/// Whatever the handlers say, exactly this leaks.
async fn leaks_only(builder: SessionLayerBuilder, expected: impl IntoIterator<Item = Leak>) {
    let site = Site::start(builder).await;
    let expected = BTreeSet::from_iter(expected);
    for folder in SAY {
        assert_eq!(leaks(&site, folder).await, expected, "where handlers say {folder:?}");
    }
}

fn defaults() -> SessionLayerBuilder {
    SessionLayer::builder(MemoryDriver::new())
}

// L8, SECURITY 25
async fn no_visitor_receives_the_page_or_the_cookie_of_another() {
    leaks_only(defaults(), []).await;
}

// L8: what the headers are for.
async fn without_vary_a_visitor_receives_the_page_of_another() {
    let builder = defaults().vary(Vary::Unchanged);
    leaks_only(builder, [PageThatReads, PageThatWrites, PageThatEnds]).await;
}

// L8: strangers send the same cookies, none, so that `Vary: Cookie` does not keep them apart.
async fn without_no_store_a_stranger_receives_the_session_of_another() {
    let builder = defaults().cache_control(CacheControl::Unchanged);
    leaks_only(builder, [PageThatWrites, Cookie]).await;
}

// L8
async fn without_both_a_visitor_receives_all_that_is_another_s() {
    let builder = defaults().vary(Vary::Unchanged).cache_control(CacheControl::Unchanged);
    leaks_only(builder, [PageThatReads, PageThatWrites, PageThatEnds, Cookie, Removal]).await;
}

// L8
async fn a_page_without_the_session_comes_from_the_cache_for_all() {
    let site = Site::start(defaults()).await;
    let mut visitors = [site.known("ada").await, site.known("bob").await, stranger("carl")];
    for folder in SAY {
        let path = format!("/{folder}/the-same");
        for (number, visitor) in visitors.iter_mut().enumerate() {
            let answer = visitor.get(&site, &path).await;
            assert_eq!((answer.page.as_str(), answer.is_from_the_cache), ("ada", number > 0));
        }
    }
}

// L8
async fn a_page_that_reads_the_session_comes_from_the_cache_for_its_visitor() {
    let site = Site::start(defaults()).await;
    let mut visitors = [site.known("ada").await, site.known("bob").await];
    for folder in SAY {
        let path = format!("/{folder}/reads");
        for is_from_the_cache in [false, true] {
            for visitor in &mut visitors {
                let answer = visitor.get(&site, &path).await;
                assert_eq!(answer.page, visitor.name);
                assert_eq!(answer.is_from_the_cache, is_from_the_cache, "{path}");
            }
        }
    }
}

// L8: `Vary` keeps pages apart and out of no cache; only the handler can.
async fn a_page_that_may_be_kept_outlives_the_session_for_its_cookie_alone() {
    let site = Site::start(defaults()).await;
    for folder in SAY {
        let path = format!("/{folder}/reads");
        let mut ada = site.known("ada").await;
        assert_eq!(ada.get(&site, &path).await.page, "ada");
        let mut thief = Visitor { name: "thief", id: ada.id.clone() };
        ada.get(&site, &format!("/{folder}/ends")).await;
        assert_eq!(ada.get(&site, &path).await.page, "nobody");
        let kept = thief.get(&site, &path).await;
        assert_eq!((kept.page.as_str(), kept.is_from_the_cache), ("ada", true));
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let problem = missing(&["nginx"]);
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$(trial(stringify!($name), problem.as_deref(), $name)),*]
        };
    }
    let trials = trials![
        no_visitor_receives_the_page_or_the_cookie_of_another,
        without_vary_a_visitor_receives_the_page_of_another,
        without_no_store_a_stranger_receives_the_session_of_another,
        without_both_a_visitor_receives_all_that_is_another_s,
        a_page_without_the_session_comes_from_the_cache_for_all,
        a_page_that_reads_the_session_comes_from_the_cache_for_its_visitor,
        a_page_that_may_be_kept_outlives_the_session_for_its_cookie_alone,
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
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(test());
    })
}
