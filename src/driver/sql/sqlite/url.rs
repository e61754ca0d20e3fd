//! Reads the URL of a database.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::sqlite::SqliteConnectOptions;

use crate::driver::{DriverError, DriverErrorKind};

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// In the memory of this process.
    Memory,
    /// In a file.
    File(PathBuf, Mode),
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It must exist, and is not written.
    ReadOnly,
    /// It must exist.
    Existing,
    /// It is made if it does not exist.
    Create,
}

const MEMORY: &str = ":memory:";

impl Location {
    /// The name for messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Memory => Path::new(MEMORY),
            Self::File(path, _) => path,
        }
    }

    /// Reads `sqlite:PATH`, `sqlite://PATH`, each with an optional `?mode=…`.
    pub(super) fn parse(url: &str) -> Result<Self, DriverError> {
        let rest = match url.split_once(':') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sqlite") => rest,
            _ => return Err(wrong("the URL does not start with `sqlite:`")),
        };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let path = match path {
            "" | MEMORY => PathBuf::from(path),
            path => decode(path)?,
        };
        let mut mode = None;
        for parameter in parameters.split('&').filter(|text| !text.is_empty()) {
            mode = Some(match parameter {
                "mode=memory" => return Ok(Self::Memory),
                "mode=ro" => Mode::ReadOnly,
                "mode=rw" => Mode::Existing,
                "mode=rwc" => Mode::Create,
                _ => {
                    return Err(wrong(
                        "the only parameter is `mode`, which is `ro`, `rw`, `rwc` or `memory`",
                    ));
                }
            });
        }
        if path == Path::new(MEMORY) {
            return match mode {
                None => Ok(Self::Memory),
                Some(_) => Err(wrong("a database in memory has no other `mode`")),
            };
        }
        if path == Path::new("") {
            return Err(wrong(
                "the URL names no file; write `sqlite://sessions.db`, or `sqlite::memory:`",
            ));
        }
        // SQLite would read it as a URL of its own kind, with settings that do not fit.
        if path.to_string_lossy().starts_with("file:") {
            return Err(wrong("the name of the file must not start with `file:`"));
        }
        Ok(Self::File(path, mode.unwrap_or(Mode::Create)))
    }
}

/// Resolves `%3F` and the like.
fn decode(path: &str) -> Result<PathBuf, DriverError> {
    let options = SqliteConnectOptions::from_str(&format!("sqlite:{path}"));
    let options = options.map_err(|_| wrong("the name of the file is not UTF-8"))?;
    Ok(options.get_filename().to_owned())
}

fn wrong(message: &'static str) -> DriverError {
    DriverError::new(DriverErrorKind::Configuration, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_or_the_memory() {
        let file = |path: &str, mode| Location::File(path.into(), mode);
        for (url, location) in [
            ("sqlite:a.db", file("a.db", Mode::Create)),
            ("sqlite://a.db", file("a.db", Mode::Create)),
            ("SQLite://a.db", file("a.db", Mode::Create)),
            ("sqlite:///dir/a.db", file("/dir/a.db", Mode::Create)),
            ("sqlite://a%3Fb.db?mode=rwc", file("a?b.db", Mode::Create)),
            ("sqlite://a.db?mode=rw", file("a.db", Mode::Existing)),
            ("sqlite://a.db?mode=ro", file("a.db", Mode::ReadOnly)),
            ("sqlite://a.db?mode=memory", Location::Memory),
            ("sqlite::memory:", Location::Memory),
            ("sqlite://:memory:", Location::Memory),
            ("sqlite://%3Amemory:", Location::Memory),
            ("sqlite://?mode=memory", Location::Memory),
        ] {
            assert_eq!(Location::parse(url).unwrap(), location, "{url}");
        }
    }

    // E3
    #[test]
    fn a_url_that_would_not_do_what_it_seems_to_is_refused() {
        for url in [
            "",
            "a.db",
            "postgres://a",
            "sqlite:",
            "sqlite://",
            "sqlite://a.db?cache=shared",
            "sqlite://a.db?mode=x",
            "sqlite::memory:?mode=ro",
            "sqlite:file:a.db",
            "sqlite:%66ile:a.db",
            "sqlite:%ff",
        ] {
            let error = Location::parse(url).unwrap_err();
            assert_eq!(error.kind(), DriverErrorKind::Configuration, "{url}");
        }
    }
}
