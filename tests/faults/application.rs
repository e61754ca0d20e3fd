//! The application's process is killed: this program starts itself again to be it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use web_session::driver::{ApplicationName, Load, Locator};
use web_session::{SessionId, SessionRef, Timestamp};

use crate::private::{Kind, Private};
use crate::report;
use crate::visitors::{Application, Visitor, driver};

/// Set in the child: what it does, the URL, the cookie and a number.
pub const CHILD: &str = "WEB_SESSION_TEST_FAULT_CHILD";

const KILLS: u32 = 100;

/// A rotation is longer than a commit, so that a kill meets it more often.
const KILLS_OF_ROTATIONS: u32 = 40;

/// Starts an application with this task, and kills it after its first request and some time. What it said
/// of its requests.
async fn killed(kind: Kind, task: [&str; 4], kill: u32) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, task.join("\n"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = vec![lines.next().unwrap().unwrap()];
    // The kill comes at another moment of a request each time.
    tokio::time::sleep(Duration::from_micros(u64::from(kill) * 150)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it was killed; the last line may be cut.
    said.extend(lines.map_while(Result::ok).filter(|line| line.ends_with('.')));
    // A server goes on with what it has been sent.
    let is_server = matches!(kind, Kind::Postgres | Kind::MariaDb);
    tokio::time::sleep(Duration::from_millis(if is_server { 50 } else { 5 })).await;
    said.iter_mut().for_each(|line| line.truncate(line.len() - 1));
    said
}

/// Runs a task until it is killed: says what it has done, each time with a full stop.
pub async fn child(task: &str) {
    let mut task = task.lines();
    let mut next = || task.next().unwrap();
    let (does, url, cookie, first) = (next(), next(), next(), next());
    let driver = driver(url, 2).await;
    let application = Application::with(driver, None::<web_session::SystemClock>).await;
    let mut visitor = Visitor::stranger(&application);
    visitor.cookie = Some(cookie.to_owned());
    for n in first.parse::<u32>().unwrap().. {
        match does {
            "set" => {
                let seen = visitor.set(n).await;
                assert_eq!(seen.status, 200, "{seen:?}");
                println!("{n}.");
            }
            _ => {
                visitor.rotate().await;
                println!("{}.", visitor.cookie.as_ref().unwrap());
            }
        }
        std::io::stdout().flush().unwrap();
    }
}

pub async fn the_application_is_killed_a_hundred_times(kind: Kind) {
    let server = Private::start(kind);
    let application = Application::start(&server).await;
    let visitor = Visitor::new(&application).await;
    let mut requests = 0;
    let mut unanswered = 0;
    for kill in 0..KILLS {
        let first = kill * 1_000 + 1;
        let (url, cookie) = (server.url(), visitor.cookie.clone().unwrap());
        let said = killed(kind, ["set", &url, &cookie, &first.to_string()], kill).await;
        let acknowledged: u32 = said.last().unwrap().parse().unwrap();
        requests += acknowledged + 1 - first;
        for n in first..=acknowledged {
            let [own, ..] = visitor.get(n).await;
            assert_eq!(own, Some(n), "an acknowledged request is lost");
        }
        let [next, shop, forum] = visitor.get(acknowledged + 1).await;
        assert_eq!(shop, forum, "half of a request is there");
        match next.filter(|next| *next == acknowledged + 1) {
            Some(next) => {
                assert_eq!(shop, Some(next), "half of a request is there");
                unanswered += 1;
            }
            None => assert_eq!(shop, Some(acknowledged), "half of a request is there"),
        }
    }
    let seen = format!("{requests} acknowledged requests around {KILLS} kills");
    let lost = format!("nothing ({unanswered} were done and not answered)");
    report("the application is killed amid commits", kind, seen, lost, "when it was started");
}

/// A rotation takes several steps on a storage that cannot do it in one.
pub async fn the_application_is_killed_amid_rotations(kind: Kind) {
    let server = Private::start(kind);
    let application = Application::start(&server).await;
    let mut visitor = Visitor::new(&application).await;
    let (mut rotations, mut unanswered) = (0, 0);
    for kill in 0..KILLS_OF_ROTATIONS {
        let (url, cookie) = (server.url(), visitor.cookie.clone().unwrap());
        let session = reference(&application, &cookie).await.unwrap();
        let said = killed(kind, ["rotate", &url, &cookie, "0"], 2 * kill).await;
        rotations += said.len();
        let (last, earlier) = said.split_last().unwrap();
        for old in earlier.iter().chain([&cookie]) {
            assert_eq!(reference(&application, old).await, None, "an old id is still valid");
        }
        let mut load = Load::new(vec![Locator::Ref(session)], Timestamp::from_millis(0));
        load.application = Some(ApplicationName::new("shop").unwrap());
        let found = application.driver.load(load).await.unwrap().pop().expect("it is there");
        assert_eq!(found.items.len(), 2, "its items are there");
        if found.session.key == id(last).key() {
            assert_eq!(reference(&application, last).await, Some(session));
            visitor.cookie = Some(last.clone());
        } else {
            // One more was done, and its answer never came.
            assert_eq!(found.session.previous_key, Some(id(last).key()));
            assert_eq!(reference(&application, last).await, None);
            visitor = Visitor::new(&application).await;
            unanswered += 1;
        }
    }
    let seen = format!("{rotations} acknowledged rotations around {KILLS_OF_ROTATIONS} kills");
    let lost = format!("no session; {unanswered} new ids were never answered");
    report("the application is killed amid rotations", kind, seen, lost, "when it was started");
}

fn id(cookie: &str) -> SessionId {
    cookie.split_once('=').unwrap().1.parse().unwrap()
}

/// The session that a cookie opens.
async fn reference(application: &Application, cookie: &str) -> Option<SessionRef> {
    let session = application.layer.manager();
    session.load_id(&id(cookie).expose()).await.unwrap();
    session.session_ref()
}
