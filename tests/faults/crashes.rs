//! Servers that crash, hang, or are replaced.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::private::{Kind, Private};
use crate::visitors::{Application, Load};
use crate::{report, seconds};

const SECOND: Duration = Duration::from_secs(1);

/// What Redis may lose with `appendfsync everysec`: it waits for a slow disk before it writes on, for up to
/// two seconds.
const EVERYSEC: Duration = Duration::from_secs(2);

pub async fn the_server_crashes_and_comes_back(kind: Kind) {
    let mut server = Private::start(kind);
    let application = Application::start(&server).await;
    let load = Load::start(&application, 8).await;
    sleep(2 * SECOND).await;
    let killed = Instant::now();
    tokio::task::block_in_place(|| server.kill());
    let dead = Instant::now();
    sleep(SECOND).await;
    tokio::task::block_in_place(|| {
        server.start_again();
        if kind == Kind::RedisCluster {
            server.wait_for_cluster();
        }
    });
    let back = Instant::now();
    sleep(2 * SECOND).await;
    let seen = load.stop().await;
    assert!(seen.refused() > 0, "the fault was not noticed");
    if kind == Kind::RedisCluster {
        // Its nodes may find each other missing once more.
        tokio::task::block_in_place(|| server.wait_for_cluster());
    }
    let lost = seen.lost().await;
    let is_redis = matches!(kind, Kind::Redis | Kind::RedisCluster);
    let late = |when: &Instant| is_redis && *when + EVERYSEC > killed && *when < dead;
    assert!(lost.iter().all(late), "{} acknowledged requests are lost", lost.len());
    let what = match is_redis {
        true => format!("{} acknowledged requests of the last two seconds", lost.len()),
        false => "nothing".to_owned(),
    };
    let again = format!("{} after it was back", seconds(seen.worked_again(back)));
    report("the server is killed and started again", kind, seen.seen(), what, again);
}

pub async fn the_server_hangs_for_a_while(kind: Kind) {
    let server = Private::start(kind);
    let application = Application::start(&server).await;
    let load = Load::start(&application, 8).await;
    sleep(SECOND).await;
    stop_all(&server, "-STOP");
    // A cluster would replace a primary that hangs for longer. A call hangs for a second.
    sleep(if kind == Kind::RedisCluster { SECOND * 5 / 4 } else { 3 * SECOND }).await;
    stop_all(&server, "-CONT");
    let back = Instant::now();
    sleep(2 * SECOND).await;
    let seen = load.stop().await;
    assert!(seen.refused() > 0, "the fault was not noticed");
    let lost = seen.lost().await;
    assert!(lost.is_empty(), "{} acknowledged requests are lost", lost.len());
    let again = format!("{} after it went on", seconds(seen.worked_again(back)));
    report("the server hangs for a while", kind, seen.seen(), "nothing", again);
}

/// Signals the server, and the processes that PostgreSQL has for its connections.
fn stop_all(server: &Private, signal: &str) {
    server.signal(signal);
    if server.kind == Kind::Postgres {
        let folder = server.folder().to_str().unwrap().to_owned();
        let postmaster =
            std::process::Command::new("pgrep").args(["-f", &folder]).output().unwrap();
        for id in String::from_utf8(postmaster.stdout).unwrap().lines() {
            let _ = std::process::Command::new("pkill").args([signal, "-P", id]).status();
        }
    }
}

pub async fn a_primary_is_killed_and_its_replica_takes_over(kind: Kind) {
    let mut server = Private::start(kind);
    let application = Application::start(&server).await;
    let load = Load::start(&application, 24).await;
    sleep(2 * SECOND).await;
    let killed = Instant::now();
    // The first three are the primaries.
    tokio::task::block_in_place(|| server.kill_process(0));
    let dead = Instant::now();
    // At first the others have not noticed, so the state is looked at only after a while.
    sleep(SECOND).await;
    tokio::task::block_in_place(|| server.wait_for_the_others());
    let replaced = Instant::now();
    sleep(3 * SECOND).await;
    let seen = load.stop().await;
    assert!(seen.refused() > 0, "the fault was not noticed");
    let lost = seen.lost().await;
    // What the replica had not got yet.
    let late = |when: &Instant| *when + SECOND > killed && *when < dead;
    assert!(lost.iter().all(late), "{} acknowledged requests are lost", lost.len());
    let what = format!("{} acknowledged requests, which the replica had not got", lost.len());
    let again = format!(
        "{} after the kill, {} after the cluster was whole",
        seconds(seen.worked_again(killed)),
        seconds(seen.worked_again(replaced))
    );
    report("a primary is killed, its replica takes over", kind, seen.seen(), what, again);
}
