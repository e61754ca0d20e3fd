//! The connection to a server or to a cluster, and how a command is sent over it.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use redis::aio::{ConnectionLike, ConnectionManager};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{
    MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo, SingleNodeRoutingInfo,
};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::time::{Instant, sleep};

use super::error::was_not_begun;
use super::scripts::Script;

/// A connection, and how long a command is tried.
pub(super) struct Link {
    connection: Connection,
    patience: Duration,
}

/// A multiplexed connection: clones share it, and commands are answered in the order in which they
/// were sent.
#[derive(Clone)]
pub(super) enum Connection {
    Server(ConnectionManager),
    Cluster(ClusterConnection),
}

/// Whether a command may be run twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It changes nothing, or the same again.
    Repeatable,
    /// If it is not known whether it has run, it has failed.
    Once,
}

/// One of the servers that hold a part of the keys.
pub(super) enum Node {
    Only,
    Primary { host: String, port: u16 },
}

impl Link {
    pub(super) fn new(connection: Connection, call_timeout: Duration) -> Self {
        // Shorter than a call may take, so that there is time to tell what the matter was.
        Self { connection, patience: call_timeout * 3 / 4 }
    }

    /// Sends a command until it is answered, or has failed for too long; whoever calls bounds the time.
    pub(super) async fn send(&self, command: &Cmd, effect: Effect) -> RedisResult<Value> {
        self.send_for(self.patience, command, effect).await
    }

    /// Sends a command that changes nothing, and leaves it to the caller to try again.
    pub(super) async fn read_once(&self, command: &Cmd) -> RedisResult<Value> {
        self.send_for(Duration::ZERO, command, Effect::Repeatable).await
    }

    /// Sends commands that change nothing together, to a server that has all their keys, and leaves it to the
    /// caller to try again. Answers of single commands may be errors.
    pub(super) async fn read_all_once(&self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        match self.connection.clone() {
            Connection::Server(mut server) => {
                server.req_packed_commands(commands, 0, commands.len()).await
            }
            Connection::Cluster(mut cluster) => {
                cluster.req_packed_commands(commands, 0, commands.len()).await
            }
        }
    }

    async fn send_for(
        &self,
        patience: Duration,
        command: &Cmd,
        effect: Effect,
    ) -> RedisResult<Value> {
        let mut pauses = pauses();
        let deadline = Instant::now() + patience;
        loop {
            match self.connection.send(command).await {
                Err(error) if may_be_sent_again(&error, effect) && Instant::now() < deadline => {
                    sleep(pauses.next().unwrap_or_default()).await;
                }
                answer => return answer,
            }
        }
    }

    /// Runs a script on keys, and sends its text if the server does not know it yet.
    pub(super) async fn run(
        &self,
        script: &Script,
        keys: &[impl AsRef<[u8]> + Sync],
        arguments: &[impl AsRef<[u8]> + Sync],
    ) -> RedisResult<Value> {
        let add_input = |command: &mut Cmd| {
            for key in keys {
                command.arg(key.as_ref());
            }
            for argument in arguments {
                command.arg(argument.as_ref());
            }
        };
        self.run_for(self.patience, script, keys.len(), add_input).await
    }

    /// [`run`](Self::run) that leaves it to the caller to try again, and to add so many keys and the arguments.
    pub(super) async fn run_once(
        &self,
        script: &Script,
        keys: usize,
        add_input: impl Fn(&mut Cmd) + Send + Sync,
    ) -> RedisResult<Value> {
        self.run_for(Duration::ZERO, script, keys, add_input).await
    }

    async fn run_for(
        &self,
        patience: Duration,
        script: &Script,
        keys: usize,
        add_input: impl Fn(&mut Cmd) + Send + Sync,
    ) -> RedisResult<Value> {
        let command = |name, script| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(keys);
            add_input(&mut command);
            command
        };
        let mut sent = command("EVALSHA", script.digest());
        match self.send_for(patience, &sent, script.effect()).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                // In its place, so that whoever waits holds one.
                sent = command("EVAL", script.text());
                self.send_for(patience, &sent, script.effect()).await
            }
            answer => answer,
        }
    }

    /// Whether keys may lie on different servers, so that a script has to do with one of them.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.connection, Connection::Cluster(_))
    }

    /// The servers that hold the keys.
    pub(super) async fn nodes(&self) -> RedisResult<Vec<Node>> {
        let Connection::Cluster(cluster) = &self.connection else {
            return Ok(vec![Node::Only]);
        };
        let all = RoutingInfo::MultiNode((
            MultipleNodeRoutingInfo::AllMasters,
            Some(ResponsePolicy::Special),
        ));
        let answer = cluster.clone().route_command(redis::cmd("PING"), all).await?;
        let Value::Map(answers) = answer else {
            return Err(RedisError::from((ErrorKind::Client, "the nodes are not named")));
        };
        let address = |name: Value| {
            let name: String = redis::from_redis_value(name)?;
            let address = name.rsplit_once(':').and_then(|(host, port)| {
                Some(Node::Primary { host: host.to_owned(), port: port.parse().ok()? })
            });
            address.ok_or_else(|| RedisError::from((ErrorKind::Client, "a node has no address")))
        };
        answers.into_iter().map(|(name, _)| address(name)).collect()
    }

    /// Sends a command that changes nothing to one of the [`nodes`](Self::nodes).
    pub(super) async fn send_to(&self, node: &Node, command: &Cmd) -> RedisResult<Value> {
        match (&self.connection, node) {
            (Connection::Cluster(cluster), Node::Primary { host, port }) => {
                let route = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
                let route = RoutingInfo::SingleNode(route);
                cluster.clone().route_command(command.clone(), route).await
            }
            _ => self.send(command, Effect::Repeatable).await,
        }
        .and_then(Value::extract_error)
    }
}

impl Connection {
    async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self.clone() {
            Self::Server(mut server) => server.req_packed_command(command).await,
            Self::Cluster(mut cluster) => match cluster.req_packed_command(command).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::Ask) => {
                    ask(cluster, command, &error).await
                }
                answer => answer,
            },
        };
        answer.and_then(Value::extract_error)
    }
}

/// Follows the key of a command to the node that its slot is moving to.
async fn ask(
    mut cluster: ClusterConnection,
    command: &Cmd,
    error: &RedisError,
) -> RedisResult<Value> {
    let Some((host, port)) = error.redirect_node().and_then(|(node, _)| node.rsplit_once(':'))
    else {
        return Err(error.clone());
    };
    let route = SingleNodeRoutingInfo::ByAddress {
        host: host.to_owned(),
        port: port.parse().map_err(|_| error.clone())?,
    };
    let mut both = Pipeline::with_capacity(2);
    both.cmd("ASKING").add_command(command.clone());
    let answers = cluster.route_pipeline(both, 1, 1, route).await?;
    answers.into_iter().next().ok_or_else(|| error.clone())
}

pub(super) fn may_be_sent_again(error: &RedisError, effect: Effect) -> bool {
    was_not_begun(error)
        || (effect == Effect::Repeatable && (error.is_connection_dropped() || error.is_timeout()))
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(5))
        .with_max_delay(Duration::from_millis(200))
        .with_jitter()
        .without_max_times()
        .build()
}
