//! The programs that are measured: built by cargo, run as processes.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::options::Program;
use crate::protocol::{Answer, Figures, Order, Plan};

/// Builds what is measured, in the profile and the directory that this program was built in.
pub fn build_all() -> Result<(), Box<dyn Error>> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = directory()?.parent().ok_or("this program is not where cargo puts it")?.to_owned();
    for package in [packages, &packages.join("tower-sessions")] {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        // What `cargo run` says of this package would have others built anew each time.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        let status = command
            .args(["build", "--release", "--locked", "--workspace", "--manifest-path"])
            .arg(package.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status()?;
        if !status.success() {
            return Err(format!("{} could not be built", package.display()).into());
        }
    }
    Ok(())
}

fn directory() -> Result<PathBuf, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    Ok(program.parent().ok_or("this program is in no directory")?.to_owned())
}

/// A program that was started. It ends when its input does, which is when this is dropped.
pub struct Running {
    name: &'static str,
    child: Child,
    answers: BufReader<ChildStdout>,
    open: Order,
}

impl Running {
    pub fn start(program: Program, url: String, variant: &str) -> Result<Self, Box<dyn Error>> {
        let name = match program {
            Program::WebSession => "peer-web-session",
            Program::TowerSessions => "peer-tower-sessions",
            Program::AxumSession => "peer-axum-session",
            Program::Raw => "peer-raw",
        };
        let mut child = Command::new(directory()?.join(name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the output of a program is piped")?;
        let open = Order::Open { url, variant: variant.to_owned() };
        Ok(Self { name, child, answers: BufReader::new(output), open })
    }

    /// Makes the storage anew.
    pub fn open(&mut self) -> Result<(), Box<dyn Error>> {
        let open = self.open.clone();
        self.ask(&open).map(drop)
    }

    pub fn run(&mut self, plan: &Plan) -> Result<Figures, Box<dyn Error>> {
        let figures = self.ask(&Order::Run(plan.clone()))?;
        Ok(figures.ok_or("a run was answered without figures")?)
    }

    pub fn clear(&mut self) -> Result<(), Box<dyn Error>> {
        self.ask(&Order::Clear).map(drop)
    }

    fn ask(&mut self, order: &Order) -> Result<Option<Figures>, Box<dyn Error>> {
        let name = self.name;
        let input = self.child.stdin.as_mut().ok_or("the input of a program is piped")?;
        writeln!(input, "{}", serde_json::to_string(order)?)?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err(format!("{name} has ended instead of answering {order:?}").into());
        }
        match serde_json::from_str(&answer)? {
            Answer::Done => Ok(None),
            Answer::Figures(figures) => Ok(Some(figures)),
            Answer::Failed(why) => Err(format!("{name} failed at {order:?}: {why}").into()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
