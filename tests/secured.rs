//! Servers that want a password and TLS, started by the tests with certificates of their own.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, unreachable_pub)]

#[path = "faults/private.rs"]
mod private;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use private::{Kind, Private, free_port, is_root, redis_cli};
use tempfile::TempDir;
use web_session::driver::DriverErrorKind::{self, Configuration, Unavailable};
use web_session::{ConnectError, connect};

/// Certificates of an authority, for 127.0.0.1.
struct Certificates(TempDir);

impl Certificates {
    /// The key is for the user that the server runs as.
    fn new(user: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let names = folder.path().join("names");
        fs::write(&names, "subjectAltName = IP:127.0.0.1\n").unwrap();
        let certificates = Self(folder);
        let new = ["-newkey", "rsa:2048", "-nodes"];
        certificates.openssl(&[
            &["req", "-x509", "-days", "2", "-subj", "/CN=authority"],
            &new[..],
            &["-keyout", "ca.key", "-out", "ca.pem"],
        ]);
        certificates.openssl(&[
            &["req", "-subj", "/CN=server"],
            &new[..],
            &["-keyout", "server.key", "-out", "server.csr"],
        ]);
        certificates.openssl(&[
            &["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"],
            &["-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.pem"],
        ]);
        let key = certificates.path("server.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            assert!(Command::new("chown").arg(user).arg(key).status().unwrap().success());
        }
        certificates
    }

    fn openssl(&self, arguments: &[&[&str]]) {
        let mut openssl = Command::new("openssl");
        let done = openssl.args(arguments.concat()).current_dir(self.0.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// Whether sessions can be kept there.
async fn works(url: &str) {
    let driver = connect(url).await.unwrap_or_else(|error| panic!("{error}"));
    driver.ensure_environment().await.unwrap();
    let layer = web_session::SessionLayer::new(driver);
    layer.manager().create().await.unwrap();
}

/// An error of this kind with this word in its text, and without the password.
async fn is_refused(url: &str, kind: DriverErrorKind, text: &str) {
    match connect(url).await.unwrap_err() {
        ConnectError::Driver(error) => {
            let shown = format!("{error} {error:?}");
            assert_eq!(error.kind(), kind, "{shown}");
            assert!(shown.contains(text), "{shown} lacks {text:?}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        other => panic!("{other}"),
    }
}

async fn postgres() {
    let server = Private::start(Kind::Postgres);
    let (ours, others) = (Certificates::new("postgres"), Certificates::new("postgres"));
    let hba = server.sql("SHOW hba_file");
    for statement in [
        "ALTER USER postgres PASSWORD 's3cret'".to_owned(),
        format!("ALTER SYSTEM SET ssl_cert_file = '{}'", ours.text("server.pem")),
        format!("ALTER SYSTEM SET ssl_key_file = '{}'", ours.text("server.key")),
        "ALTER SYSTEM SET ssl = on".to_owned(),
    ] {
        server.sql(&statement);
    }
    fs::write(Path::new(&hba), "hostssl all all 127.0.0.1/32 scram-sha-256\n").unwrap();
    server.sql("SELECT pg_reload_conf()");
    let port = server.ports().next().unwrap();
    let url = |password: &str, parameters: &str| {
        format!("postgres://postgres:{password}@127.0.0.1:{port}/test?{parameters}")
    };
    let checked =
        |by: &Certificates| format!("sslmode=verify-full&sslrootcert={}", by.text("ca.pem"));
    works(&url("s3cret", &checked(&ours))).await;
    works(&url("s3cret", "")).await;
    is_refused(&url("s3cretwrong", &checked(&ours)), Configuration, "password").await;
    is_refused(&url("s3cret", "sslmode=disable"), Configuration, "refused").await;
    is_refused(&url("s3cret", &checked(&others)), Unavailable, "encrypted").await;
}

async fn mariadb() {
    let mut server = Private::start(Kind::MariaDb);
    let (ours, others) = (Certificates::new("mysql"), Certificates::new("mysql"));
    server.start_with(vec![
        format!("--ssl-ca={}", ours.text("ca.pem")),
        format!("--ssl-cert={}", ours.text("server.pem")),
        format!("--ssl-key={}", ours.text("server.key")),
    ]);
    server.sql("CREATE USER ada@'%' IDENTIFIED BY 's3cret' REQUIRE SSL");
    server.sql("GRANT ALL ON *.* TO ada@'%'");
    let port = server.ports().next().unwrap();
    let url = |password: &str, parameters: &str| {
        format!("mysql://ada:{password}@127.0.0.1:{port}/test?{parameters}")
    };
    let checked =
        |by: &Certificates| format!("ssl-mode=VERIFY_IDENTITY&ssl-ca={}", by.text("ca.pem"));
    works(&url("s3cret", &checked(&ours))).await;
    works(&url("s3cret", "")).await;
    is_refused(&url("s3cretwrong", &checked(&ours)), Configuration, "password").await;
    is_refused(&url("s3cret", "ssl-mode=DISABLED"), Configuration, "refused").await;
    is_refused(&url("s3cret", &checked(&others)), Unavailable, "encrypted").await;
}

/// The certificates of the system are those of the process, so it is another: the example.
async fn redis() {
    let mut server = Private::start(Kind::Redis);
    let (ours, others) = (Certificates::new("root"), Certificates::new("root"));
    let (port, plain) = (free_port(), server.ports().next().unwrap());
    let tls = [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", ours.text("server.pem")),
        ("--tls-key-file", ours.text("server.key")),
        ("--tls-ca-cert-file", ours.text("ca.pem")),
        ("--tls-auth-clients", "no".to_owned()),
    ];
    server.start_with(tls.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect());
    redis_cli(plain, &["ACL", "SETUSER", "ada", "on", ">s3cret", "~*", "+@all"]);
    let counter = |password: &str, roots: &Path| {
        let mut example = env::current_exe().unwrap();
        example.pop();
        example.pop();
        let mut process = Command::new(example.join("examples").join("counter"))
            .env("ADDR", "127.0.0.1:0")
            .env("DATABASE_URL", format!("rediss://ada:{password}@127.0.0.1:{port}"))
            .env("SSL_CERT_FILE", roots)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        process.kill().unwrap();
        let mut errors = String::new();
        process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        process.wait().unwrap();
        assert!(!errors.contains("s3cret"), "{errors}");
        (line, errors)
    };
    let (line, errors) = counter("s3cret", &ours.path("ca.pem"));
    assert!(line.starts_with("listening"), "{line} {errors}");
    let (line, errors) = counter("s3cretwrong", &ours.path("ca.pem"));
    assert!(line.is_empty() && errors.contains("password"), "{line} {errors}");
    let (line, errors) = counter("s3cret", &others.path("ca.pem"));
    assert!(line.is_empty() && errors.contains("certificate"), "{line} {errors}");
    is_refused(&format!("redis://ada:s3cretwrong@127.0.0.1:{plain}"), Configuration, "password")
        .await;
    works(&format!("redis://ada:s3cret@127.0.0.1:{plain}")).await;
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let required = env::var_os("WEB_SESSION_REQUIRE_SERVERS").is_some();
    macro_rules! trial {
        ($name:ident, $kind:expr) => {{
            let name = concat!(stringify!($name), "::a_password_and_tls_are_kept_to");
            match $kind.problem() {
                Some(problem) if required => Trial::test(name, || Err(Failed::from(problem))),
                Some(problem) => {
                    Trial::test(name, || Ok(())).with_kind(problem).with_ignored_flag(true)
                }
                None => Trial::test(name, || {
                    let runtime = tokio::runtime::Builder::new_multi_thread()
                        .worker_threads(2)
                        .enable_all()
                        .build();
                    runtime.unwrap().block_on($name());
                    Ok(())
                }),
            }
        }};
    }
    let trials = vec![
        trial!(postgres, Kind::Postgres),
        trial!(mariadb, Kind::MariaDb),
        trial!(redis, Kind::Redis),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
