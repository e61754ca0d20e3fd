//! Slots and nodes.

use web_session::Driver;
use web_session::driver::{Cleanup, Commit, CommitOutcome, Target};

use crate::servers::Server;
use crate::{Environment, LIFE, NOW, at, created, loaded};

pub async fn a_cluster_spreads_sessions_over_all_of_its_nodes(server: &Server) {
    let environment = Environment::new(server).await;
    for n in 0..60 {
        created(&environment.driver, n).await;
    }
    let mut nodes = Vec::new();
    for (_, address) in primaries(server) {
        let client = redis::Client::open(format!("redis://{address}")).unwrap();
        let mut node = client.get_multiplexed_async_connection().await.unwrap();
        let mut scan = redis::cmd("SCAN");
        scan.arg(0).arg("MATCH").arg(format!("{}:{{*", environment.name));
        scan.arg("COUNT").arg(1_000_000);
        let (_, keys): (u64, Vec<String>) = scan.query_async(&mut node).await.unwrap();
        nodes.push(keys.len());
    }
    assert_eq!(nodes.len(), 3, "three primaries");
    assert_eq!(nodes.iter().sum::<usize>(), 60);
    assert!(nodes.iter().all(|keys| *keys > 5), "{nodes:?}");
    assert_eq!(environment.driver.cleanup(Cleanup::new(NOW, at(LIFE + 1), 100)).await.unwrap(), 60);
}

// A session is found while its slot moves, and after it has moved.
pub async fn a_slot_that_moves_to_another_node_is_followed(server: &Server) {
    let environment = Environment::new(server).await;
    let driver = &environment.driver;
    // No other test has a session in this slot.
    let n = 200;
    let key = environment.key(n);
    let primaries = primaries(server);
    let slot = at_node(&primaries[0].1, &["CLUSTER", "KEYSLOT", &key]);
    for (_, address) in &primaries {
        // As a run that was stopped may have left it.
        at_node(address, &["CLUSTER", "SETSLOT", &slot, "STABLE"]);
    }
    let record = created(driver, n).await;
    let holds = |address: &str| !at_node(address, &["GET", &key]).starts_with("MOVED");
    let (from, to): (Vec<_>, Vec<_>) = primaries.iter().partition(|(_, at)| holds(at));
    let ((from_id, from), (to_id, to)) = (from[0], to[0]);
    let works = async || {
        let target = Target::Seen { session: record.session, key: record.key };
        let outcome = driver.commit(Commit::new(target, NOW)).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Done(_)), "{outcome:?}");
        assert_eq!(loaded(driver, n).await.len(), 1);
    };
    at_node(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", from_id]);
    at_node(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", to_id]);
    works().await;
    let (host, port) = to.rsplit_once(':').unwrap();
    assert_eq!(at_node(from, &["MIGRATE", host, port, &key, "0", "5000"]), "OK");
    works().await;
    for (_, address) in &primaries {
        at_node(address, &["CLUSTER", "SETSLOT", &slot, "NODE", to_id]);
    }
    works().await;
}

/// What a node of the cluster answers.
fn at_node(address: &str, command: &[&str]) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    let mut client = std::process::Command::new("redis-cli");
    let answer = client.args(["-h", host, "-p", port]).args(command).output().unwrap().stdout;
    String::from_utf8(answer).unwrap().trim().to_owned()
}

/// The ids and the addresses of the nodes that hold slots.
fn primaries(server: &Server) -> Vec<(String, String)> {
    let url = url::Url::parse(&server.url()).unwrap();
    let mut command = std::process::Command::new("redis-cli");
    command.args(["-h", url.host_str().unwrap(), "-p", &url.port().unwrap().to_string()]);
    let nodes = command.args(["CLUSTER", "NODES"]).output().unwrap().stdout;
    let nodes = String::from_utf8(nodes).unwrap();
    let fields = nodes.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let primaries = fields.filter(|fields| fields[2].contains("master"));
    let named = primaries.map(|fields| {
        let address = fields[1].split('@').next().unwrap();
        (fields[0].to_owned(), address.to_owned())
    });
    named.collect()
}
