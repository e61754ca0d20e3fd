//! The suite fails for drivers that are wrong: each known mistake, made on purpose.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod mistakes;
mod mutant;

use std::panic;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinError;
use tokio::time::timeout;
use web_session::driver::conformance::{Case, cases};

use mistakes::{MISTAKES, RARE_MISTAKES};
use mutant::Mutant;

const CASE_THREAD: &str = "conformance case";

/// A runtime whose panics are not printed: nearly all of them are wanted.
fn quiet_runtime() -> Runtime {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if thread::current().name() != Some(CASE_THREAD) {
                print(panic);
            }
        }));
    });
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(CASE_THREAD)
        .enable_all()
        .build()
        .unwrap()
}

/// The first case that fails for drivers with this mistake, and how.
fn first_failure(make_mistake: fn(&mut Mutant)) -> Option<String> {
    first_failure_of(cases(), make_mistake)
}

/// The first of these cases.
fn first_failure_of(cases: Vec<Case>, make_mistake: fn(&mut Mutant)) -> Option<String> {
    let runtime = quiet_runtime();
    let failure = cases.into_iter().find_map(|case| {
        let mut driver = Mutant::default();
        make_mistake(&mut driver);
        let driver = Arc::new(driver);
        let run = runtime.spawn(async move { case.run(&*driver).await });
        // A wrong driver can make a case wait for ever.
        let failure = match runtime.block_on(async { timeout(Duration::from_secs(20), run).await })
        {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => message(error),
            Err(_) => "it did not end".to_owned(),
        };
        Some(format!("{}: {failure}", case.name()))
    });
    runtime.shutdown_background();
    failure
}

fn message(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "it was cancelled".to_owned();
    };
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(message), _) => message.clone(),
        (None, Some(message)) => (*message).to_owned(),
        (None, None) => "it panicked".to_owned(),
    }
}

// D1
#[test]
fn the_wrapper_without_a_mistake_passes() {
    assert_eq!(first_failure(|_| {}), None);
}

// D1
#[test]
fn each_mistake_fails_a_case() {
    let passed: Vec<_> = MISTAKES
        .iter()
        .filter(|(_, make_mistake)| first_failure(*make_mistake).is_none())
        .map(|(mistake, _)| mistake)
        .collect();
    assert!(passed.is_empty(), "the suite does not notice: {passed:#?}");
}

// S3, S4, S5, S6
#[test]
fn each_rare_mistake_fails_in_the_storm() {
    let mut storms = cases();
    storms.retain(|case| case.name().contains("storm"));
    assert_eq!(storms.len(), 4);
    let passed: Vec<_> = RARE_MISTAKES
        .iter()
        .filter(|(_, make_mistake)| first_failure_of(storms.clone(), *make_mistake).is_none())
        .map(|(mistake, _)| mistake)
        .collect();
    assert!(passed.is_empty(), "the storm does not notice: {passed:#?}");
}
