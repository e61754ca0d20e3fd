//! The application's process is killed: this program starts itself again to be it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::private::{Kind, Private};
use crate::report;
use crate::visitors::{Application, Visitor, driver};

/// Set in the child: the URL and the cookie.
pub const CHILD: &str = "WEB_SESSION_TEST_FAULT_CHILD";

const KILLS: u32 = 100;

pub async fn the_application_is_killed_a_hundred_times(kind: Kind) {
    let server = Private::start(kind);
    let application = Application::start(&server).await;
    let visitor = Visitor::new(&application).await;
    let mut requests = 0;
    let mut unanswered = 0;
    for kill in 0..KILLS {
        let first = kill * 1_000 + 1;
        let task = format!("{}\n{}\n{first}", server.url(), visitor.cookie.as_ref().unwrap());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(CHILD, task)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The kill comes at another moment of a request each time.
        let mut acknowledged: u32 = lines.next().unwrap().unwrap().parse().unwrap();
        tokio::time::sleep(Duration::from_micros(u64::from(kill) * 150)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it was killed.
        for line in lines.map_while(Result::ok) {
            if let Ok(n) = line.parse() {
                acknowledged = n;
            }
        }
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

/// Commits until it is killed.
pub async fn child(task: &str) {
    let mut task = task.lines();
    let mut next = || task.next().unwrap();
    let (url, cookie, first) = (next(), next(), next());
    let driver = driver(url, 2).await;
    let application = Application::with(driver, None::<web_session::SystemClock>).await;
    let mut visitor = Visitor::stranger(&application);
    visitor.cookie = Some(cookie.to_owned());
    for n in first.parse::<u32>().unwrap().. {
        let seen = visitor.set(n).await;
        assert_eq!(seen.status, 200, "{seen:?}");
        println!("{n}");
        std::io::stdout().flush().unwrap();
    }
}
