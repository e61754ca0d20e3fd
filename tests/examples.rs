//! The examples as a user starts them: a process, spoken to over HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(unreachable_pub, missing_docs)]

#[path = "support/example.rs"]
mod example;
#[path = "support/servers.rs"]
mod servers;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use example::Server;
use http::header::{COOKIE, SET_COOKIE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use libtest_mimic::{Arguments, Trial};
use tokio::net::TcpStream;

impl Server {
    async fn get(&self, visitor: &mut Visitor) -> String {
        self.send(Method::GET, "/", visitor).await
    }

    async fn send(&self, method: Method, path: &str, visitor: &mut Visitor) -> String {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some(cookie) = &visitor.0 {
            request = request.header(COOKIE, cookie);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        if let Some(cookie) = response.headers().get(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            // A whole day, or nothing, and not a second less for the time that the creation took.
            assert!(
                ["Max-Age=86400", "Max-Age=0"].iter().any(|age| cookie.contains(age)),
                "{cookie}"
            );
            visitor.0 = if cookie.contains("Max-Age=0") {
                None
            } else {
                cookie.split(';').next().map(str::to_owned)
            };
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        drop(sender);
        connection.await.unwrap().unwrap();
        String::from_utf8(body.to_vec()).unwrap().trim_end().to_owned()
    }
}

/// The cookie jar of one browser.
#[derive(Clone, Default)]
struct Visitor(Option<String>);

impl Visitor {
    fn id(&self) -> &str {
        self.0.as_deref().and_then(|cookie| cookie.split_once('=')).expect("a session cookie").1
    }
}

struct Database {
    directory: tempfile::TempDir,
}

impl Database {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("sessions.db")
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.file().display())
    }

    /// Every byte that SQLite keeps, the write-ahead log included.
    fn bytes(&self) -> Vec<u8> {
        let files: BTreeSet<_> =
            self.directory.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.contains(&self.file()));
        files.iter().flat_map(|file: &PathBuf| std::fs::read(Path::new(file)).unwrap()).collect()
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

async fn the_counter_counts_for_each_visitor_and_across_restarts(url: String) {
    let server = Server::start("counter", &url);
    let (mut ada, mut bob) = (Visitor::default(), Visitor::default());
    for visit in 1..=3 {
        assert_eq!(server.get(&mut ada).await, format!("visit {visit}"));
    }
    assert!(server.interrupt().success(), "Ctrl-C stops it cleanly");

    let server = Server::start("counter", &url);
    assert_eq!(server.get(&mut ada).await, "visit 4");
    assert_eq!(server.get(&mut bob).await, "visit 1");

    let old = ada.clone();
    assert_eq!(server.send(Method::POST, "/logout", &mut ada).await, "goodbye");
    assert_eq!(ada.0, None, "the cookie is removed");
    assert_eq!(server.get(&mut old.clone()).await, "visit 1", "a logout is final");
}

// L1, S7, D3
async fn a_made_up_id_is_not_adopted_and_no_id_reaches_the_file() {
    let database = Database::new();
    let server = Server::start("counter", &database.url());
    let made_up = "00112233445566778899aabbccddeeff";
    let mut visitor = Visitor(Some(format!("sessionID={made_up}")));
    assert_eq!(server.get(&mut visitor).await, "visit 1");
    let id = visitor.id().to_owned();
    assert_ne!(id, made_up);
    assert_eq!(id.len(), 32);

    let bytes = database.bytes();
    let raw = u128::from_str_radix(&id, 16).unwrap().to_be_bytes();
    assert!(contains(&bytes, b"visits"), "the session is there");
    assert!(!contains(&bytes, id.as_bytes()) && !contains(&bytes, &raw), "and its id is not");
}

// S4
async fn parallel_requests_of_one_visitor_to_two_processes_are_all_counted(url: String) {
    let servers = [(); 2].map(|()| Server::start("counter", &url));
    let mut visitor = Visitor::default();
    assert_eq!(servers[0].get(&mut visitor).await, "visit 1");
    let servers = std::sync::Arc::new(servers);
    let requests: Vec<_> = (0..200)
        .map(|n| {
            let (servers, mut visitor) = (servers.clone(), visitor.clone());
            tokio::spawn(async move { servers[n % 2].get(&mut visitor).await })
        })
        .collect();
    let mut answers = BTreeSet::new();
    for request in requests {
        answers.insert(request.await.unwrap());
    }
    assert_eq!(answers.len(), 200, "no count is given twice");
    assert_eq!(servers[1].get(&mut visitor).await, "visit 202");
}

async fn a_shop_and_a_forum_share_a_session_and_not_their_keys() {
    let server = Server::start("two_applications", "memory:");
    let visitor = &mut Visitor::default();
    assert_eq!(server.send(Method::POST, "/shop/tea", visitor).await, "the shop keeps: tea");
    let id = visitor.id().to_owned();
    assert_eq!(server.send(Method::POST, "/forum/hello", visitor).await, "the forum keeps: hello");
    assert_eq!(visitor.id(), id, "one session for both");
    assert_eq!(server.send(Method::GET, "/shop", visitor).await, "the shop keeps: tea");
    assert_eq!(server.send(Method::POST, "/shop/empty", visitor).await, "the shop keeps: nothing");
    assert_eq!(server.send(Method::GET, "/shop", visitor).await, "the shop keeps: nothing");
    assert_eq!(server.send(Method::GET, "/forum", visitor).await, "the forum keeps: hello");
}

fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(test);
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    macro_rules! trials {
        ($($name:ident),*) => {
            for storage in servers::shared() {
                $(
                    let (url, directory) = storage.place();
                    trials.push(storage.trial(stringify!($name), move || {
                        run($name(url));
                        drop(directory);
                    }));
                )*
            }
        };
    }
    trials!(
        the_counter_counts_for_each_visitor_and_across_restarts,
        parallel_requests_of_one_visitor_to_two_processes_are_all_counted
    );
    macro_rules! once {
        ($($name:ident),*) => {
            $(trials.push(Trial::test(stringify!($name), || {
                run($name());
                Ok(())
            }));)*
        };
    }
    once!(
        a_made_up_id_is_not_adopted_and_no_id_reaches_the_file,
        a_shop_and_a_forum_share_a_session_and_not_their_keys
    );
    libtest_mimic::run(&arguments, trials).exit_code()
}
