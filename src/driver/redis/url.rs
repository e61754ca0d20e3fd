//! Reads the URL of a server or of a cluster.

use redis::{ConnectionInfo, IntoConnectionInfo};
use url::Url;

use crate::driver::DriverError;
use crate::driver::url::{parse, unknown_parameter, wrong};

/// Where the storage is, as redis-rs takes it.
#[derive(Debug)]
pub(super) struct Location {
    /// One server, or some nodes of a cluster.
    pub(super) nodes: Vec<ConnectionInfo>,
    pub(super) is_cluster: bool,
    pub(super) is_encrypted: bool,
    /// For messages: without user and password.
    pub(super) place: String,
}

impl Location {
    /// Reads `redis:`, `rediss:`, `redis-cluster:` and `rediss-cluster:`.
    pub(super) fn parse(text: &str) -> Result<Self, DriverError> {
        let url = parse(text)?;
        let (is_cluster, is_encrypted) = match url.scheme() {
            "redis" => (false, false),
            "rediss" => (false, true),
            "redis-cluster" => (true, false),
            "rediss-cluster" => (true, true),
            _ => {
                return Err(wrong(
                    "the scheme of the URL is not `redis`, `rediss`, `redis-cluster` or `rediss-cluster`",
                ));
            }
        };
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong(format!("the URL names no host: write `{}://host`", url.scheme())));
        }
        if url.fragment().is_some() {
            return Err(wrong("nothing may follow a `#` in the URL"));
        }
        let database = url.path().trim_matches('/');
        if !database.is_empty() && database.parse::<u32>().is_err() {
            return Err(wrong("the database in the URL is not a number"));
        }
        if is_cluster && !matches!(database, "" | "0") {
            return Err(wrong("a cluster has only the database 0"));
        }
        let mut nodes = vec![url.clone()];
        for (key, value) in url.query_pairs() {
            if !is_cluster || key != "node" {
                let unknown = unknown_parameter(&key);
                return Err(wrong(format!(
                    "{unknown}; a cluster's knows `node=host:port`, and a server's none"
                )));
            }
            nodes.push(with_address(&url, &value)?);
        }
        let addresses: Vec<_> = nodes.iter().map(address).collect();
        let scheme = if is_encrypted { "rediss" } else { "redis" };
        let place = format!("{}://{}/{database}", url.scheme(), addresses.join(","));
        let nodes = nodes.into_iter().map(|node| info(node, scheme));
        let nodes = nodes.collect::<Result<_, _>>()?;
        Ok(Self { nodes, is_cluster, is_encrypted, place })
    }
}

/// The URL with another host and port.
fn with_address(url: &Url, address: &str) -> Result<Url, DriverError> {
    let unclear = || wrong("a `node` in the URL is not `host:port`");
    let other = Url::parse(&format!("{}://{address}", url.scheme())).map_err(|_| unclear())?;
    let is_address = other.username().is_empty() && matches!(other.path(), "" | "/");
    let (Some(host), Some(port), true) = (other.host_str(), other.port(), is_address) else {
        return Err(unclear());
    };
    let mut url = url.clone();
    url.set_host(Some(host)).map_err(|_| unclear())?;
    url.set_port(Some(port)).map_err(|()| unclear())?;
    Ok(url)
}

fn address(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(6379))
}

fn info(mut url: Url, scheme: &str) -> Result<ConnectionInfo, DriverError> {
    url.set_query(None);
    let unclear = || wrong("the user, the password or the host in the URL is not understood");
    url.set_scheme(scheme).map_err(|()| unclear())?;
    url.as_str().into_connection_info().map_err(|_| unclear())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::DriverErrorKind;

    #[test]
    fn a_url_names_a_server_or_nodes_of_a_cluster() {
        for (url, place, nodes) in [
            ("redis://localhost", "redis://localhost:6379/", 1),
            ("rediss://ada:s3cret@db.example:7000/2", "rediss://db.example:7000/2", 1),
            ("redis://[::1]:7000", "redis://[::1]:7000/", 1),
            ("redis-cluster://:s3cret@a:1?node=b:2&node=c:3", "redis-cluster://a:1,b:2,c:3/", 3),
            ("redis://ada:%2F%3F%23%40s3cret@db.example", "redis://db.example:6379/", 1),
        ] {
            let location = Location::parse(url).unwrap();
            assert_eq!((location.place.as_str(), location.nodes.len()), (place, nodes));
            assert!(location.nodes.iter().all(|node| {
                node.redis_settings().password().is_some() == url.contains("s3cret")
            }));
        }
    }

    // M1, E3
    #[test]
    fn a_url_that_would_not_do_what_it_seems_to_is_refused() {
        for (url, text) in [
            ("postgres://localhost", "scheme"),
            ("redis:", "host"),
            ("redis:///1", "host"),
            ("redis://localhost:99999", "port"),
            ("redis://localhost/one", "database"),
            ("redis-cluster://localhost/1", "database 0"),
            ("redis://ada:s3cret@localhost?node=other:1", "node"),
            ("redis-cluster://ada:s3cret@localhost?nodes=other:1", "nodes"),
            ("redis-cluster://localhost?node=other", "host:port"),
            ("rediss://localhost#insecure", "#"),
            ("redis://ada:/s3cret@localhost", "%2F"),
            ("redis://ada:12?s3cret@localhost", "%3F"),
            ("redis://ada:#s3cret@localhost/0", "%23"),
            ("redis-cluster://ada:12?s3cret&node=a:1@localhost", "%40"),
            ("redis://localhost?s3cret=1", "unknown parameter"),
        ] {
            let error = Location::parse(url).unwrap_err();
            assert_eq!(error.kind(), DriverErrorKind::Configuration, "{url}");
            assert!(error.to_string().contains(text), "{url}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
