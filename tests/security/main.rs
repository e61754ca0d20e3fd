//! The security of sessions, each case on every storage: `postgres::rotation::the_old_id_is_dead_at_once`.
//! Where a storage makes no difference it runs once, in memory: `once::cookies::…`.
//!
//! A case names the demand that it proves, by its source: A5 is OWASP ASVS 5.0, SM the OWASP Session
//! Management Cheat Sheet, N is NIST SP 800-63B-4, 6b is RFC 6265bis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests stop at the first surprise"
)]

#[path = "../layer/logs.rs"]
mod logs;
#[path = "../support/servers.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;
#[path = "../layer/visitor.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod visitor;
#[path = "../layer/wrappers.rs"]
#[allow(dead_code, unused_imports, reason = "a part of it is used")]
mod wrappers;

#[macro_use]
mod rig;

#[cfg_attr(
    not(all(feature = "postgres", feature = "mysql", feature = "redis")),
    allow(unused_variables, reason = "without a server there is nothing to say to it")
)]
mod admin;
mod caps;
mod cookies;
mod events;
mod hostile;
mod ids;
mod layers;
mod lifetime;
mod logout;
mod presented_ids;
mod principals;
mod rotation;
mod secrets;
mod signed;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use rig::{Case, run};

fn cases() -> Vec<(&'static str, &'static [Case])> {
    vec![
        ("caps", caps::CASES),
        ("events", events::CASES),
        ("hostile", hostile::CASES),
        ("ids", ids::CASES),
        ("layers", layers::CASES),
        ("lifetime", lifetime::CASES),
        ("logout", logout::CASES),
        ("presented_ids", presented_ids::CASES),
        ("principals", principals::CASES),
        ("rotation", rotation::CASES),
        ("secrets", secrets::CASES),
        ("signed", signed::CASES),
    ]
}

fn cases_once() -> Vec<(&'static str, &'static [Case])> {
    vec![
        ("cookies", cookies::ONCE),
        ("ids", ids::ONCE),
        ("layers", layers::ONCE),
        ("logout", logout::ONCE),
        ("signed", signed::ONCE),
    ]
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (theme, cases) in cases() {
        for (name, case) in cases {
            for place in servers::every() {
                let (url, directory) = place.place();
                let test = format!("{theme}::{name}");
                trials.push(place.trial(&test, move || run(url, directory, *case)));
            }
        }
    }
    for (theme, cases) in cases_once() {
        for (name, case) in cases {
            trials.push(Trial::test(format!("once::{theme}::{name}"), move || {
                run("memory:".to_owned(), None, *case);
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
