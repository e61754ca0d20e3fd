//! Examples as a user starts them: each a process of its own.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Where `cargo test` puts the examples. `cargo test --test examples` alone does not build them.
fn path_of(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples").join(name)
}

/// A running example. It is killed when it is dropped.
pub struct Server {
    process: Child,
    pub address: String,
}

impl Server {
    pub fn start(name: &str, database_url: &str) -> Self {
        let mut process = Command::new(path_of(name))
            .env("ADDR", "127.0.0.1:0")
            .env("DATABASE_URL", database_url)
            .env("SESSION_KEY", "a key of which only this test knows")
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo builds the examples before it runs the tests");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next().expect("a line with the address").unwrap();
        let address = line.strip_prefix("listening on http://").expect(&line).to_owned();
        Self { process, address }
    }

    /// Stops it as Ctrl-C does.
    pub fn interrupt(mut self) -> ExitStatus {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.process.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
