//! No room is left: on a small disk of the test's own, or in the memory of Redis.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::time::sleep;

use crate::private::{Kind, Private, redis_cli};
use crate::visitors::{Application, Load, Visitor};
use crate::{report, seconds};

/// Why no disk can be made here.
pub fn problem(kind: Kind) -> Option<String> {
    if matches!(kind, Kind::Redis | Kind::RedisCluster) {
        return None;
    }
    let disk = Disk::new(1);
    disk.is_none().then(|| "a tmpfs cannot be mounted, which takes root".to_owned())
}

/// A disk in memory, unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn new(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap().keep();
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let size = format!("size={mebibytes}m,mode=755");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).output();
        match mount {
            Ok(done) if done.status.success() => Some(Self(folder)),
            _ => {
                fs::remove_dir(&folder).unwrap();
                None
            }
        }
    }

    /// Leaves no room.
    fn fill(&self) {
        let of = format!("of={}", self.0.join("filling").display());
        let _ = Command::new("dd").args(["if=/dev/zero", &of, "bs=4k"]).output();
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filling")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

pub async fn the_disk_is_full(kind: Kind) {
    if matches!(kind, Kind::Redis | Kind::RedisCluster) {
        return the_memory_is_full(kind).await;
    }
    let size = match kind {
        Kind::Sqlite => 16,
        Kind::Postgres => 120,
        _ => 400,
    };
    let disk = Disk::new(size).unwrap();
    let folder = disk.0.join("server");
    fs::create_dir(&folder).unwrap();
    let mut server = Private::start_in(kind, folder, tempfile::tempdir().unwrap());
    let application = Application::start(&server).await;
    let load = Load::start(&application, 8).await;
    sleep(Duration::from_secs(1)).await;
    let full = Instant::now();
    tokio::task::block_in_place(|| disk.fill());
    let refused = use_up_what_is_left(&application).await;
    sleep(Duration::from_secs(3)).await;
    disk.make_room();
    // A server that has given up is started again, as its supervisor would.
    tokio::task::block_in_place(|| server.start_again());
    let room = Instant::now();
    sleep(Duration::from_secs(2)).await;
    let seen = load.stop().await;
    let lost = seen.lost().await;
    assert!(lost.is_empty(), "{} acknowledged requests are lost", lost.len());
    let again = format!("{} after there was room", seconds(seen.worked_again(room)));
    let failures = seen.all.iter().flat_map(|history| history.failures.iter().copied());
    let first = failures.fold(refused, Instant::min).duration_since(full);
    let refused = format!(", the first {} after the disk was full", seconds(first));
    report("no room is left", kind, seen.seen() + &refused, "nothing", again);
}

/// Adds sessions until one is refused, and answers when that was: a server has room of its own in which
/// visitors who have a session could go on for long.
async fn use_up_what_is_left(application: &Application) -> Instant {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        let sent = Instant::now();
        let seen = Visitor::stranger(application).send("POST", "/fill").await;
        match seen.status {
            StatusCode::OK => {}
            StatusCode::SERVICE_UNAVAILABLE => return sent,
            _ => panic!("{seen:?}"),
        }
    }
    panic!("the fault was not noticed");
}

async fn the_memory_is_full(kind: Kind) {
    let server = Private::start(kind);
    let application = Application::start(&server).await;
    let mut readers = Vec::new();
    for _ in 0..12 {
        readers.push(Visitor::new(&application).await);
    }
    let load = Load::start(&application, 8).await;
    sleep(Duration::from_secs(1)).await;
    let set = |limit: &str| {
        for port in server.ports() {
            redis_cli(port, &["CONFIG", "SET", "maxmemory", limit]);
        }
    };
    tokio::task::block_in_place(|| set("1mb"));
    sleep(Duration::from_secs(2)).await;
    for reader in &readers {
        assert_eq!(reader.get(0).await, [Some(0); 3], "what is there can be read");
    }
    tokio::task::block_in_place(|| set("0"));
    let room = Instant::now();
    sleep(Duration::from_secs(2)).await;
    let seen = load.stop().await;
    assert!(seen.refused() > 0, "the fault was not noticed");
    let lost = seen.lost().await;
    assert!(lost.is_empty(), "{} acknowledged requests are lost", lost.len());
    let again = format!("{} after there was room", seconds(seen.worked_again(room)));
    let saw = format!("`maxmemory`: {}, and reads went on", seen.seen());
    report("no room is left", kind, saw, "nothing", again);
}
