//! What an environment holds, asked without a driver.

use redis::cluster::ClusterClient;
use sqlx::{AssertSqlSafe, MySqlPool, PgPool, SqlitePool};
use url::Url;

/// The numbers of sessions and of items, or the names of all keys.
pub async fn contents(url: &str, environment: &str) -> Vec<String> {
    let counts = ["sessions", "items"]
        .map(|table| AssertSqlSafe(format!("SELECT count(*) FROM {environment}_{table}")));
    macro_rules! count {
        ($pool:ident) => {{
            let pool = $pool::connect(url).await.unwrap();
            let mut answers = Vec::new();
            for count in counts {
                let n: i64 = sqlx::query_scalar(count).fetch_one(&pool).await.unwrap();
                answers.push(n.to_string());
            }
            pool.close().await;
            answers
        }};
    }
    let all_keys = format!("{environment}:*");
    let all_keys = redis::cmd("KEYS").arg(all_keys).clone();
    match url.split(':').next().unwrap() {
        "sqlite" => count!(SqlitePool),
        "postgres" => count!(PgPool),
        "mysql" => count!(MySqlPool),
        "redis" => {
            let client = redis::Client::open(url).unwrap();
            let mut server = client.get_multiplexed_async_connection().await.unwrap();
            sorted(all_keys.query_async(&mut server).await.unwrap())
        }
        "redis-cluster" => {
            let mut node = Url::parse(&url.replacen("redis-cluster", "redis", 1)).unwrap();
            node.set_query(None);
            let client = ClusterClient::new(vec![node.as_str()]).unwrap();
            // Each primary is asked.
            let mut cluster = client.get_async_connection().await.unwrap();
            sorted(all_keys.query_async(&mut cluster).await.unwrap())
        }
        scheme => unreachable!("no driver is tested for `{scheme}:`"),
    }
}

fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort_unstable();
    keys
}
