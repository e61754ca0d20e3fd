//! Servers of one's own, which a test may kill: on free ports, with their data in a temporary folder.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::net::TcpListener;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The storages that faults happen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    MariaDb,
    Redis,
    RedisCluster,
}

impl Kind {
    pub const ALL: [Self; 5] =
        [Self::Sqlite, Self::Postgres, Self::MariaDb, Self::Redis, Self::RedisCluster];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
            Self::Redis => "Redis",
            Self::RedisCluster => "Redis Cluster",
        }
    }

    /// Why it cannot be started here.
    pub fn problem(self) -> Option<String> {
        let programs: &[&str] = match self {
            Self::Sqlite => &[],
            Self::Postgres => &["initdb", "postgres", "psql"],
            Self::MariaDb => &["mariadb-install-db", "mariadbd", "mariadb"],
            Self::Redis | Self::RedisCluster => &["redis-server", "redis-cli"],
        };
        missing(programs)
    }
}

/// Which of these programs is not there.
pub fn missing(programs: &[&str]) -> Option<String> {
    let missing = programs.iter().find(|program| find(program).is_none())?;
    Some(format!("{missing} is not installed"))
}

/// A program, also where Debian hides it.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.map(|version| version.unwrap().path().join("bin")));
    }
    folders.into_iter().map(|folder| folder.join(program)).find(|path| path.exists())
}

pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// A program that runs as `user` where this one is root: the servers do not like to be.
pub fn command(program: &str, user: Option<&str>) -> Command {
    let program = find(program).unwrap();
    match user.filter(|_| is_root()) {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", user, "--init-groups", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// A port that nobody has and that no other test of this process gets. It is none of those that the
/// system itself gives to listeners and clients (from 32 768 on Linux, unless set otherwise): one of
/// these could be gone before the server is there, or while it is down.
pub fn free_port() -> u16 {
    const PORTS: Range<u16> = 12_000..22_000;
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time rarely begin at the same port.
    let first = process::id() % 100 * 100;
    loop {
        let given = GIVEN.fetch_add(1, Relaxed);
        let port = PORTS.start + (u16::try_from(first).unwrap() + given) % PORTS.len() as u16;
        // The nodes of a cluster use one more, ten thousand above.
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

/// Waits until something is so, for a minute at the most.
fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it did not come to be");
        sleep(Duration::from_millis(20));
    }
}

/// One process of a server.
struct Process {
    port: u16,
    folder: PathBuf,
    child: Option<Child>,
}

impl Process {
    fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }
}

/// A storage with whatever it needs.
pub struct Private {
    pub kind: Kind,
    processes: Vec<Process>,
    /// Settings beyond the usual ones.
    arguments: Vec<String>,
    folder: PathBuf,
    /// Removed with everything in it.
    _temporary: TempDir,
}

impl Private {
    pub fn start(kind: Kind) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        Self::start_in(kind, folder, temporary)
    }

    /// With its data in a folder, such as one on a disk of its own.
    pub fn start_in(kind: Kind, folder: PathBuf, temporary: TempDir) -> Self {
        // The users that the servers run as have to get through.
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let count = match kind {
            Kind::Sqlite => 0,
            Kind::RedisCluster => 6,
            _ => 1,
        };
        let processes = (0..count)
            .map(|number| {
                let folder = folder.join(format!("data{number}"));
                fs::create_dir(&folder).unwrap();
                Process { port: free_port(), folder, child: None }
            })
            .collect();
        let arguments = Vec::new();
        let mut server = Self { kind, processes, arguments, folder, _temporary: temporary };
        server.initialise();
        server.start_again();
        server.prepare();
        server
    }

    fn user(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Postgres => Some("postgres"),
            Kind::MariaDb => Some("mysql"),
            _ => None,
        }
    }

    fn initialise(&self) {
        for process in &self.processes {
            if let Some(user) = self.user().filter(|_| is_root()) {
                let folder = &process.folder;
                assert!(Command::new("chown").arg(user).arg(folder).status().unwrap().success());
            }
            let folder = process.folder.to_str().unwrap();
            let mut command = match self.kind {
                Kind::Postgres => {
                    let mut command = command("initdb", self.user());
                    command.args(["-D", folder, "-U", "postgres", "--auth=trust", "-E", "UTF8"]);
                    command.args(["--no-sync", "--wal-segsize=1"]);
                    command
                }
                Kind::MariaDb => {
                    let mut command = command("mariadb-install-db", self.user());
                    command.arg("--no-defaults").arg(format!("--datadir={folder}"));
                    command.arg(format!("--tmpdir={folder}"));
                    command.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
                    command.arg("--innodb-log-file-size=8M");
                    command
                }
                _ => continue,
            };
            let done = command.output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
    }

    /// Starts the processes that do not run, and waits until they answer.
    pub fn start_again(&mut self) {
        for number in 0..self.processes.len() {
            self.start_process(number);
        }
        for number in 0..self.processes.len() {
            let begun = Instant::now();
            while !self.answers(number) {
                assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", self.log(number));
                let child = self.processes[number].child.as_mut().unwrap();
                if child.try_wait().unwrap().is_some() {
                    // It has given up, for example because its disk is full.
                    self.processes[number].child = None;
                    self.start_process(number);
                }
                sleep(Duration::from_millis(20));
            }
        }
    }

    /// Starts the server anew with other settings.
    pub fn start_with(&mut self, arguments: Vec<String>) {
        self.kill();
        self.arguments = arguments;
        self.start_again();
    }

    fn start_process(&mut self, number: usize) {
        let (kind, user, arguments) = (self.kind, self.user(), self.arguments.clone());
        let process = &mut self.processes[number];
        if process.child.is_some() {
            return;
        }
        let port = process.port.to_string();
        let folder = process.folder.to_str().unwrap();
        let mut command = match kind {
            Kind::Sqlite => return,
            Kind::Postgres => {
                let mut command = command("postgres", user);
                command.args(["-D", folder, "-h", "127.0.0.1", "-p", &port, "-k", ""]);
                command
            }
            Kind::MariaDb => {
                let mut command = command("mariadbd", user);
                command.arg("--no-defaults").arg(format!("--datadir={folder}"));
                command.arg(format!("--tmpdir={folder}")).arg(format!("--port={port}"));
                command.arg(format!("--socket={folder}/socket")).arg("--bind-address=127.0.0.1");
                command.args(["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=256M"]);
                command
            }
            Kind::Redis | Kind::RedisCluster => {
                let mut command = command("redis-server", user);
                command.args(["--port", &port, "--bind", "127.0.0.1", "--dir", folder]);
                command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]);
                if kind == Kind::RedisCluster {
                    command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"]);
                }
                command
            }
        };
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("log{number}")))
            .unwrap();
        command.args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        process.child = Some(command.spawn().unwrap());
    }

    fn log(&self, number: usize) -> String {
        fs::read_to_string(self.folder.join(format!("log{number}"))).unwrap_or_default()
    }

    fn answers(&self, number: usize) -> bool {
        let port = self.processes[number].port;
        let output = match self.kind {
            Kind::Sqlite => return true,
            Kind::Postgres => self.try_psql("postgres", "SELECT 1"),
            Kind::MariaDb => self.try_mariadb("", "SELECT 1"),
            Kind::Redis | Kind::RedisCluster => return redis_cli(port, &["PING"]) == "PONG",
        };
        output.is_some()
    }

    /// What a server needs once.
    fn prepare(&self) {
        match self.kind {
            Kind::Sqlite | Kind::Redis => {}
            Kind::Postgres => {
                self.try_psql("postgres", "CREATE DATABASE test").unwrap();
            }
            Kind::MariaDb => {
                self.try_mariadb("", "CREATE DATABASE test").unwrap();
            }
            Kind::RedisCluster => {
                let mut command = Command::new("redis-cli");
                command.args(["--cluster", "create"]);
                command.args(self.ports().map(|port| format!("127.0.0.1:{port}")));
                command.args(["--cluster-replicas", "1", "--cluster-yes"]);
                let done = command.output().unwrap();
                assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
                self.wait_for_cluster();
            }
        }
    }

    pub fn wait_for_cluster(&self) {
        for port in self.ports() {
            wait_until(|| redis_cli(port, &["CLUSTER", "INFO"]).contains("cluster_state:ok"));
        }
        // The replicas follow their primaries.
        for port in self.ports() {
            wait_until(|| {
                let info = redis_cli(port, &["INFO", "replication"]);
                info.contains("role:master") || info.contains("master_link_status:up")
            });
        }
    }

    /// Waits until all nodes but the first agree that the cluster is whole.
    pub fn wait_for_the_others(&self) {
        for port in self.ports().skip(1) {
            wait_until(|| redis_cli(port, &["CLUSTER", "INFO"]).contains("cluster_state:ok"));
        }
    }

    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.processes.iter().map(|process| process.port)
    }

    pub fn url(&self) -> String {
        let mut ports = self.ports();
        let port = ports.next().unwrap_or_default();
        match self.kind {
            Kind::Sqlite => format!("sqlite://{}", self.file().display()),
            Kind::Postgres => format!("postgres://postgres@127.0.0.1:{port}/test"),
            Kind::MariaDb => format!("mysql://root@127.0.0.1:{port}/test"),
            Kind::Redis => format!("redis://127.0.0.1:{port}"),
            Kind::RedisCluster => {
                let others = ports.map(|port| format!("node=127.0.0.1:{port}"));
                let others: Vec<_> = others.collect();
                format!("redis-cluster://127.0.0.1:{port}?{}", others.join("&"))
            }
        }
    }

    /// The file of SQLite.
    pub fn file(&self) -> PathBuf {
        self.folder.join("sessions.db")
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn signal(&self, name: &str) {
        self.processes.iter().for_each(|process| process.signal(name));
    }

    /// Kills all processes, as a power failure of the machine does to them.
    pub fn kill(&mut self) {
        for number in 0..self.processes.len() {
            self.kill_process(number);
        }
    }

    pub fn kill_process(&mut self, number: usize) {
        let process = &mut self.processes[number];
        if let Some(mut child) = process.child.take() {
            if self.kind == Kind::Postgres {
                // Its children would wait until they notice.
                let id = child.id().to_string();
                let _ = Command::new("pkill").args(["-KILL", "-P", &id]).status();
            }
            let _ = child.kill();
            child.wait().unwrap();
        }
        while self.answers(number) {
            sleep(Duration::from_millis(5));
        }
    }

    /// Runs SQL with the server's own client.
    pub fn sql(&self, text: &str) -> String {
        self.try_sql(text).unwrap_or_else(|| panic!("{text}"))
    }

    /// `None` if the server refuses it.
    pub fn try_sql(&self, text: &str) -> Option<String> {
        match self.kind {
            Kind::Postgres => self.try_psql("test", text),
            Kind::MariaDb => self.try_mariadb("test", text),
            kind => panic!("{kind:?} knows no SQL"),
        }
    }

    /// A client that runs SQL and holds what it has locked until it is dropped.
    pub fn hold(&self, text: &str) -> Held {
        let mut command = match self.kind {
            Kind::Postgres => self.psql("test"),
            Kind::MariaDb => self.mariadb("test"),
            kind => panic!("{kind:?} knows no SQL"),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, text.as_bytes()).unwrap();
        let marker = if self.kind == Kind::Postgres { "\\echo held\n" } else { "SELECT 'held';\n" };
        std::io::Write::write_all(&mut stdin, marker.as_bytes()).unwrap();
        std::io::Write::flush(&mut stdin).unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut lines = std::io::BufRead::lines(lines);
        while lines.next().unwrap().unwrap() != "held" {}
        Held { child, stdin: Some(stdin) }
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new("psql");
        let port = self.processes[0].port.to_string();
        psql.args(["-qtA", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", database]);
        psql.args(["-v", "ON_ERROR_STOP=1"]);
        psql
    }

    fn try_psql(&self, database: &str, text: &str) -> Option<String> {
        output(self.psql(database).args(["-c", text]))
    }

    fn mariadb(&self, database: &str) -> Command {
        let mut mariadb = Command::new("mariadb");
        let port = self.processes[0].port.to_string();
        mariadb.args(["-N", "--unbuffered", "-h", "127.0.0.1", "-P", &port, "-u", "root"]);
        if !database.is_empty() {
            mariadb.arg(database);
        }
        mariadb
    }

    fn try_mariadb(&self, database: &str, text: &str) -> Option<String> {
        output(self.mariadb(database).args(["-e", text]))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        for process in &mut self.processes {
            if let Some(mut child) = process.child.take() {
                let id = child.id().to_string();
                let _ = Command::new("pkill").args(["-KILL", "-P", &id]).status();
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// A client that holds a lock.
pub struct Held {
    child: Child,
    stdin: Option<process::ChildStdin>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

fn output(command: &mut Command) -> Option<String> {
    let done = command.stdin(Stdio::null()).output().unwrap();
    done.status.success().then(|| String::from_utf8(done.stdout).unwrap().trim().to_owned())
}

/// What the client of Redis prints.
pub fn redis_cli(port: u16, arguments: &[&str]) -> String {
    let port = port.to_string();
    let mut command = Command::new("redis-cli");
    output(command.args(["-p", &port]).args(arguments)).unwrap_or_default()
}
