//! Several processes with one session: this program starts itself again as its own children.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(unreachable_pub, missing_docs)]

#[path = "support/servers.rs"]
mod servers;

use std::env;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;

use libtest_mimic::Arguments;
use servers::{Place, open, shared};
use tokio::runtime::{Builder, Runtime};
use web_session::driver::EnvironmentState;
use web_session::{Driver, OnMissing, SessionError, SessionLayer};

/// Set in a child: what it does, then the URL, the environment, the session's id and its own name.
const CHILD: &str = "WEB_SESSION_TEST_CHILD";

const WRITES: u32 = 60;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A child that waits for the word to begin.
struct Process {
    child: Child,
    words: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(role: &str, storage: &Storage, name: &str) -> Self {
        let task = [role, &storage.url, &storage.environment, &storage.id, name].join("\n");
        let mut child = Command::new(env::current_exe().unwrap())
            .env(CHILD, task)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let words = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Self { child, words, lines };
        assert_eq!(process.line(), "ready");
        process
    }

    fn begin(&mut self) {
        writeln!(self.words, "begin").unwrap();
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the child says something").unwrap()
    }

    /// What it says at its end.
    fn end(mut self) -> String {
        let said = self.line();
        assert!(self.child.wait().unwrap().success());
        said
    }
}

/// A session in an environment of its own.
struct Storage {
    url: String,
    environment: String,
    id: String,
    driver: Arc<dyn Driver>,
    layer: SessionLayer,
}

impl Storage {
    async fn new(url: &str) -> Self {
        let environment = servers::environment();
        let driver = open(url, &environment).await;
        driver.ensure_environment().await.unwrap();
        let layer = SessionLayer::new(driver.clone());
        let id = layer.manager().create().await.unwrap().expose().as_str().to_owned();
        Self { url: url.to_owned(), environment, id, driver, layer }
    }

    async fn get(&self, key: &str) -> Option<u32> {
        let manager = self.layer.manager();
        assert!(manager.load_id(&self.id).await.unwrap());
        manager.store("shop").unwrap().get(key).await.unwrap()
    }

    async fn remove(self) {
        self.driver.remove_environment(OnMissing::Ignore).await.unwrap();
    }
}

/// Starts children in these roles, lets them begin together, and tells what they say at their ends.
fn together(storage: &Storage, roles: &[(&str, &str)]) -> Vec<String> {
    let start = |(role, name): &(&str, &str)| Process::start(role, storage, name);
    let mut children: Vec<_> = roles.iter().map(start).collect();
    children.iter_mut().for_each(Process::begin);
    children.into_iter().map(Process::end).collect()
}

// S3
async fn writes_of_two_processes_to_different_keys_are_all_kept(url: String) {
    let storage = Storage::new(&url).await;
    together(&storage, &[("write", "one"), ("write", "two")]);
    for name in ["one", "two"] {
        for n in 0..WRITES {
            assert_eq!(storage.get(&format!("{name}-{n}")).await, Some(n), "{name}-{n}");
        }
    }
    storage.remove().await;
}

// S4
async fn updates_of_two_processes_are_all_counted(url: String) {
    let storage = Storage::new(&url).await;
    together(&storage, &[("update", "one"), ("update", "two")]);
    assert_eq!(storage.get("n").await, Some(2 * WRITES));
    storage.remove().await;
}

// S5
async fn what_one_process_has_ended_no_write_of_another_brings_back(url: String) {
    let storage = Storage::new(&url).await;
    let mut writer = Process::start("write until it is refused", &storage, "writer");
    writer.begin();
    assert_eq!(writer.line(), "written");
    together(&storage, &[("end", "ender")]);
    let refused = writer.end();
    assert_eq!(refused, "refused 3 times of 3");
    let manager = storage.layer.manager();
    assert!(!manager.load_id(&storage.id).await.unwrap(), "it stays ended");
    storage.remove().await;
}

// M9
async fn several_processes_may_make_the_environment_at_once(url: String) {
    let storage = Storage::new(&url).await;
    for _ in 0..3 {
        storage.driver.remove_environment(OnMissing::Error).await.unwrap();
        let said = together(&storage, &[("ensure", "a"), ("ensure", "b"), ("ensure", "c")]);
        assert_eq!(said, ["Complete"; 3]);
        let state = storage.driver.environment().await.unwrap();
        assert_eq!(state, EnvironmentState::Complete);
    }
    storage.remove().await;
}

/// What a child does.
async fn child(task: &str) {
    let mut task = task.lines();
    let mut next = || task.next().unwrap();
    let (role, url, environment, id, name) = (next(), next(), next(), next(), next());
    let driver = open(url, environment).await;
    let layer = SessionLayer::new(driver.clone());
    println!("ready");
    assert_eq!(stdin().lines().next().unwrap().unwrap(), "begin");
    // Each is a request of its own.
    let request = async || {
        let manager = layer.manager();
        let is_there = manager.load_id(id).await.unwrap();
        (manager, is_there)
    };
    match role {
        "write" => {
            for n in 0..WRITES {
                let (manager, is_there) = request().await;
                assert!(is_there);
                manager.store("shop").unwrap().set(&format!("{name}-{n}"), &n).unwrap();
                manager.commit().await.unwrap();
            }
            println!("done");
        }
        "update" => {
            for _ in 0..WRITES {
                let (manager, is_there) = request().await;
                assert!(is_there);
                let shop = manager.store("shop").unwrap();
                shop.update("n", |n: Option<u32>| n.unwrap_or(0) + 1).await.unwrap();
            }
            println!("done");
        }
        "end" => {
            let (manager, is_there) = request().await;
            assert!(is_there);
            manager.end().await.unwrap();
            println!("done");
        }
        "ensure" => {
            driver.ensure_environment().await.unwrap();
            println!("{:?}", driver.environment().await.unwrap());
        }
        "write until it is refused" => {
            // They have seen the session alive, and write at last.
            let mut late = Vec::new();
            for _ in 0..3 {
                late.push(request().await.0);
            }
            for n in 0_u32.. {
                let (manager, is_there) = request().await;
                if !is_there {
                    break;
                }
                manager.store("shop").unwrap().set("n", &n).unwrap();
                match manager.commit().await {
                    Ok(_) if n == 0 => println!("written"),
                    Ok(_) => {}
                    Err(SessionError::Ended) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            let mut refused = 0;
            for manager in &late {
                manager.store("shop").unwrap().set("late", &1).unwrap();
                refused += u32::from(manager.commit().await == Err(SessionError::Ended));
                manager.rollback();
            }
            println!("refused {refused} times of {}", late.len());
        }
        role => panic!("{role}"),
    }
}

fn main() -> ExitCode {
    if let Ok(task) = env::var(CHILD) {
        runtime().block_on(child(&task));
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            for storage in shared() {
                $(trials.push(trial(&storage, stringify!($name), |url| runtime().block_on($name(url))));)*
            }
        };
    }
    trials! {
        writes_of_two_processes_to_different_keys_are_all_kept,
        updates_of_two_processes_are_all_counted,
        what_one_process_has_ended_no_write_of_another_brings_back,
        several_processes_may_make_the_environment_at_once,
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(storage: &Place, name: &str, run: fn(String)) -> libtest_mimic::Trial {
    let (url, directory) = storage.place();
    storage.trial(name, move || {
        run(url);
        drop(directory);
    })
}
