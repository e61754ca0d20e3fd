//! A storage as its administrator has it, past the driver.

#[cfg(any(feature = "postgres", feature = "mysql"))]
use sqlx::Row;
use sqlx::{AssertSqlSafe, ConnectOptions};
use web_session::SessionKey;

/// What another program does to a stored session.
#[derive(Debug, Clone, Copy)]
pub enum Damage {
    /// A number of the record becomes this.
    Number(&'static str, i64),
    /// A number of the record becomes a text.
    NoNumber(&'static str),
    /// The key before the last rotation has one byte.
    ShortKey,
    /// The keys of the items are no UTF-8.
    ItemKeyIsNoText,
}

/// What a storage is reached by.
pub enum Admin {
    /// There is nothing outside the process to look at.
    Memory,
    Sqlite(std::path::PathBuf),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgConnection),
    #[cfg(feature = "mysql")]
    MariaDb(sqlx::MySqlConnection),
    /// All nodes.
    #[cfg(feature = "redis")]
    Redis(Vec<redis::aio::MultiplexedConnection>),
}

impl Admin {
    pub async fn of(url: &str) -> Self {
        match url.split(':').next().unwrap() {
            "memory" => Self::Memory,
            "sqlite" => Self::Sqlite(url.strip_prefix("sqlite://").unwrap().into()),
            #[cfg(feature = "postgres")]
            "postgres" => Self::Postgres(quiet::<sqlx::postgres::PgConnectOptions>(url).await),
            #[cfg(feature = "mysql")]
            "mysql" => Self::MariaDb(quiet::<sqlx::mysql::MySqlConnectOptions>(url).await),
            #[cfg(feature = "redis")]
            "redis" => Self::Redis(vec![redis_node(url.to_owned()).await]),
            #[cfg(feature = "redis")]
            "redis-cluster" => {
                let first = url.replace("redis-cluster:", "redis:");
                let first = first.split('?').next().unwrap().to_owned();
                let mut node = redis_node(first.clone()).await;
                let known: String = redis_call(&mut node, &["CLUSTER", "NODES"]).await;
                let mut nodes = Vec::new();
                for line in known.lines() {
                    let address = line.split(' ').nth(1).unwrap();
                    let address = address.split('@').next().unwrap();
                    let (before, _) = first.rsplit_once(['@', '/']).unwrap();
                    let joint = &first[before.len()..=before.len()];
                    let mut node = redis_node(format!("{before}{joint}{address}")).await;
                    // A replica shows what it has only to those who ask for it.
                    let _: () = redis_call(&mut node, &["READONLY"]).await;
                    nodes.push(node);
                }
                Self::Redis(nodes)
            }
            scheme => unreachable!("no administrator is known for `{scheme}:`"),
        }
    }

    /// Makes a user with a password who may do everything, where there are users.
    pub async fn add_user(&mut self, name: &str, password: &str) {
        match self {
            Self::Memory | Self::Sqlite(_) => {}
            #[cfg(feature = "postgres")]
            Self::Postgres(db) => {
                let role = format!("CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'");
                sqlx::raw_sql(AssertSqlSafe(role)).execute(db).await.unwrap();
            }
            #[cfg(feature = "mysql")]
            Self::MariaDb(db) => {
                let user = format!(
                    "CREATE USER {name} IDENTIFIED BY '{password}'; GRANT ALL ON *.* TO {name}"
                );
                sqlx::raw_sql(AssertSqlSafe(user)).execute(db).await.unwrap();
            }
            #[cfg(feature = "redis")]
            Self::Redis(nodes) => {
                for node in nodes {
                    let password = format!(">{password}");
                    let user = ["ACL", "SETUSER", name, "on", &password, "~*", "&*", "+@all"];
                    let _: () = redis_call(node, &user).await;
                }
            }
        }
    }

    pub async fn drop_user(&mut self, name: &str) {
        match self {
            Self::Memory | Self::Sqlite(_) => {}
            #[cfg(feature = "postgres")]
            Self::Postgres(db) => {
                let drop = format!(
                    "REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}"
                );
                sqlx::raw_sql(AssertSqlSafe(drop)).execute(db).await.unwrap();
            }
            #[cfg(feature = "mysql")]
            Self::MariaDb(db) => {
                let drop = format!("DROP USER {name}");
                sqlx::raw_sql(AssertSqlSafe(drop)).execute(db).await.unwrap();
            }
            #[cfg(feature = "redis")]
            Self::Redis(nodes) => {
                for node in nodes {
                    let _: () = redis_call(node, &["ACL", "DELUSER", name]).await;
                }
            }
        }
    }

    /// Damages the session that has this key, unless the storage cannot have such a thing.
    pub async fn damage(&mut self, environment: &str, key: &SessionKey, damage: Damage) -> bool {
        let hex: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let sql = |quote: char, bytes: fn(&str) -> String| {
            let set = match damage {
                Damage::Number(column, number) => format!("{column} = {number}"),
                Damage::NoNumber(column) => format!("{column} = 'soon'"),
                Damage::ShortKey => format!("previous_key = {}", bytes("00")),
                Damage::ItemKeyIsNoText => {
                    return format!(
                        "UPDATE {environment}_items SET item_key = {} WHERE uid =
                        (SELECT uid FROM {environment}_sessions WHERE {quote}key{quote} = {})",
                        bytes("ff"),
                        bytes(&hex)
                    );
                }
            };
            let key = bytes(&hex);
            format!("UPDATE {environment}_sessions SET {set} WHERE {quote}key{quote} = {key}")
        };
        let in_x = |hex: &str| format!("x'{hex}'");
        match self {
            Self::Memory => return false,
            // Its tables are strict.
            Self::Sqlite(_) if matches!(damage, Damage::NoNumber(_)) => return false,
            Self::Sqlite(file) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
                let mut db = options.connect().await.unwrap();
                let sql = AssertSqlSafe(sql('"', in_x));
                sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(db) => {
                if matches!(damage, Damage::NoNumber(_)) {
                    return false;
                }
                let sql = AssertSqlSafe(sql('"', |hex| format!("'\\x{hex}'")));
                sqlx::raw_sql(sql).execute(db).await.unwrap();
            }
            #[cfg(feature = "mysql")]
            Self::MariaDb(db) => {
                // A short key is filled up to its length.
                if matches!(damage, Damage::NoNumber(_) | Damage::ShortKey) {
                    return false;
                }
                sqlx::raw_sql(AssertSqlSafe(sql('`', in_x))).execute(db).await.unwrap();
            }
            #[cfg(feature = "redis")]
            Self::Redis(nodes) => {
                // The place among the parts of the record, or a field of its own.
                let part = |column: &str| match column {
                    "expires" => 2,
                    "ends" => 3,
                    "created" => 4,
                    "last_used" => 5,
                    "rotated" => 7,
                    "cookie_lifetime" => 8,
                    column => panic!("{column} is no part"),
                };
                let (part, value) = match damage {
                    Damage::Number(column, number) => (Some(part(column)), number.to_string()),
                    Damage::NoNumber(column) => (Some(part(column)), "soon".to_owned()),
                    Damage::ShortKey => (Some(6), "00".to_owned()),
                    Damage::ItemKeyIsNoText => (None, "1".to_owned()),
                };
                let key = format!("{environment}:{{{hex}}}");
                let (mut field, mut text) = (b"i:shop:\xff".to_vec(), value.clone());
                if let Some(part) = part {
                    let mut record = None;
                    for node in &mut *nodes {
                        let get = redis::cmd("HGET").arg(&key).arg("rec").to_owned();
                        record =
                            record.or(get.query_async::<Option<String>>(node).await.ok().flatten());
                    }
                    let record = record.unwrap();
                    let mut parts: Vec<_> = record.split(' ').collect();
                    parts[part] = &value;
                    (field, text) = (b"rec".to_vec(), parts.join(" "));
                }
                let mut set = redis::cmd("HSET");
                set.arg(key).arg(field).arg(text);
                let mut done = false;
                for node in nodes {
                    // The others say where it is.
                    done |= set.query_async::<i64>(node).await.is_ok();
                }
                assert!(done);
            }
        }
        true
    }

    /// All that an environment holds, as it is stored; `None` where there is nothing outside the process.
    pub async fn dump(&mut self, environment: &str) -> Option<Vec<u8>> {
        let mut dump = Vec::new();
        match self {
            Self::Memory => return None,
            Self::Sqlite(file) => {
                for ending in ["", "-wal", "-shm", "-journal"] {
                    let mut file = file.clone().into_os_string();
                    file.push(ending);
                    dump.extend(std::fs::read(file).unwrap_or_default());
                }
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(db) => {
                let tables = sqlx::query("SELECT tablename FROM pg_tables WHERE tablename ^@ $1")
                    .bind(format!("{environment}_"));
                for table in tables.fetch_all(&mut *db).await.unwrap() {
                    let rows = format!("SELECT t::text FROM \"{}\" t", table.get::<String, _>(0));
                    for row in sqlx::query(AssertSqlSafe(rows)).fetch_all(&mut *db).await.unwrap() {
                        dump.extend(row.get::<String, _>(0).into_bytes());
                    }
                }
            }
            #[cfg(feature = "mysql")]
            Self::MariaDb(db) => {
                let columns = sqlx::query(
                    "SELECT table_name, column_name FROM information_schema.columns
                    WHERE table_schema = database() AND left(table_name, length(?)) = ?",
                )
                .bind(format!("{environment}_"))
                .bind(format!("{environment}_"));
                for column in columns.fetch_all(&mut *db).await.unwrap() {
                    let (table, name): (String, String) = (column.get(0), column.get(1));
                    let values = format!("SELECT CAST(`{name}` AS BINARY) FROM `{table}`");
                    for row in sqlx::query(AssertSqlSafe(values)).fetch_all(&mut *db).await.unwrap()
                    {
                        dump.extend(row.get::<Option<Vec<u8>>, _>(0).unwrap_or_default());
                    }
                }
            }
            #[cfg(feature = "redis")]
            Self::Redis(nodes) => {
                for node in nodes {
                    redis_dump(node, environment, &mut dump).await;
                }
            }
        }
        Some(dump)
    }
}

/// A connection whose statements are not logged, as they have a password in them.
#[cfg(any(feature = "postgres", feature = "mysql"))]
async fn quiet<O: ConnectOptions<Connection: Sized>>(url: &str) -> O::Connection {
    url.parse::<O>().unwrap().disable_statement_logging().connect().await.unwrap()
}

#[cfg(feature = "redis")]
async fn redis_node(url: String) -> redis::aio::MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

#[cfg(feature = "redis")]
async fn redis_call<T: redis::FromRedisValue>(
    node: &mut redis::aio::MultiplexedConnection,
    words: &[&str],
) -> T {
    redis::cmd(words[0]).arg(&words[1..]).query_async(node).await.unwrap()
}

/// Adds all keys of a node with all that is in them.
#[cfg(feature = "redis")]
async fn redis_dump(
    node: &mut redis::aio::MultiplexedConnection,
    environment: &str,
    dump: &mut Vec<u8>,
) {
    let (pattern, mut cursor) = (format!("{environment}:*"), "0".to_owned());
    loop {
        let scan = ["SCAN", &cursor, "MATCH", &pattern, "COUNT", "1000"];
        let (next, keys): (String, Vec<String>) = redis_call(node, &scan).await;
        for key in keys {
            let kind: String = redis_call(node, &["TYPE", &key]).await;
            let parts: Vec<Vec<u8>> = match kind.as_str() {
                "hash" => redis_call(node, &["HGETALL", &key]).await,
                "zset" => redis_call(node, &["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await,
                "string" => vec![redis_call(node, &["GET", &key]).await],
                "none" => Vec::new(),
                kind => panic!("{key} is a {kind}, which nobody dumps"),
            };
            dump.extend(key.into_bytes());
            dump.extend(parts.concat());
        }
        cursor = next;
        if cursor == "0" {
            return;
        }
    }
}
