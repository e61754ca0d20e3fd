//! Handles of one request at work at the same time: what one of them does while a call of another
//! is under way.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::SystemTime;

use tokio::task::JoinHandle;
use web_session::{MemoryDriver, SessionError, SessionLayer, SessionManager, SessionTarget, Store};

use crate::gate::Gate;
use crate::visitor::*;
use crate::wrappers::{Call, Failing};

fn one_more(n: Option<i64>) -> i64 {
    n.unwrap_or(0) + 1
}

async fn gated() -> (SessionLayer, Gate) {
    let gate = Gate::new(MemoryDriver::new());
    (layer(gate.clone()).await, gate)
}

/// A request that has loaded the session.
async fn loaded(layer: &SessionLayer, id: &str) -> SessionManager {
    let session = layer.manager();
    assert!(session.load_id(id).await.unwrap());
    session
}

/// Begins an update of the item `n`, and comes back when the storage has it and the request does
/// not know.
async fn begin_update(gate: &Gate, shop: &Store<Shop>) -> JoinHandle<Result<i64, SessionError>> {
    gate.hold(Call::ReplaceItem);
    let shop = shop.clone();
    let update = tokio::spawn(async move { shop.update("n", one_more).await });
    gate.arrival().await;
    update
}

/// Begins to read an application that has not been read.
async fn begin_read(
    gate: &Gate,
    session: &SessionManager,
) -> JoinHandle<Result<usize, SessionError>> {
    gate.hold(Call::Load);
    let blog = session.app::<Blog>();
    let read = tokio::spawn(async move { blog.len().await });
    gate.arrival().await;
    read
}

// S2, S4
#[tokio::test]
async fn a_set_during_an_update_comes_after_it() {
    let (layer, gate) = gated().await;
    let id = session_with(&layer, &[("n", 1)]).await;
    let session = loaded(&layer, &id).await;
    let shop = session.app::<Shop>();
    let update = begin_update(&gate, &shop).await;
    shop.set("n", &100).unwrap();
    gate.open();
    assert_eq!(update.await.unwrap(), Ok(2));
    assert_eq!(shop.get("n").await, Ok(Some(100)));
    assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 2)])));
    session.commit().await.unwrap();
    assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 100)])));
}

// S3, S4
#[tokio::test]
async fn an_empty_during_an_update_comes_after_it() {
    let (layer, gate) = gated().await;
    let id = session_with(&layer, &[("m", 1), ("n", 1)]).await;
    let session = loaded(&layer, &id).await;
    let shop = session.app::<Shop>();
    let update = begin_update(&gate, &shop).await;
    shop.empty();
    gate.open();
    assert_eq!(update.await.unwrap(), Ok(2));
    assert_eq!(shop.items::<i64>().await, Ok(items(&[])));
    session.commit().await.unwrap();
    assert_eq!(items_of(&layer, &id).await, Some(items(&[])));
}

// S4: updates of one session take turns, and only those.
#[tokio::test]
async fn an_update_that_is_never_polled_again_holds_up_no_other_visitor() {
    let (layer, gate) = gated().await;
    let id = session_with(&layer, &[("n", 1)]).await;
    let shop = loaded(&layer, &id).await.app::<Shop>();
    gate.hold(Call::ReplaceItem);
    let mut suspended = pin!(shop.update("n", one_more));
    let first = std::future::poll_fn(|cx| Poll::Ready(suspended.as_mut().poll(cx))).await;
    assert!(first.is_pending());
    gate.arrival().await;
    for n in 0..200 {
        let other = session_with(&layer, &[]).await;
        let other = loaded(&layer, &other).await.app::<Shop>();
        // A fresh turn of the runtime, which makes tasks wait that do much in one.
        tokio::task::yield_now().await;
        let update = give_up_after(0, other.update("n", one_more)).await;
        assert_eq!(update, Some(Ok(1)), "visitor {n}");
    }
    gate.open();
    assert_eq!(suspended.await, Ok(2));
}

// L6
#[tokio::test]
async fn a_rollback_during_a_read_drops_what_a_failed_commit_has_left() {
    let failing = Failing::new(MemoryDriver::new());
    let gate = Gate::new(failing.clone());
    let layer = layer(gate.clone()).await;
    let id = session_with(&layer, &[("n", 1)]).await;
    let session = loaded(&layer, &id).await;
    session.app::<Shop>().set("n", &2).unwrap();
    failing.fail([Call::Commit]);
    session.commit().await.unwrap_err();
    failing.mend();

    let read = begin_read(&gate, &session).await;
    session.rollback();
    gate.open();
    assert_eq!(read.await.unwrap(), Ok(0));
    session.commit().await.unwrap();
    assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
}

// L6, M17
#[tokio::test]
async fn a_rollback_during_a_read_drops_a_new_end_of_the_session() {
    let (layer, gate) = gated().await;
    let id = session_with(&layer, &[("n", 1)]).await;
    let session = loaded(&layer, &id).await;
    session.set_expire(SystemTime::UNIX_EPOCH, SessionTarget::Current).await.unwrap();
    let read = begin_read(&gate, &session).await;
    session.rollback();
    gate.open();
    assert_eq!(read.await.unwrap(), Ok(0));
    session.commit().await.unwrap();
    assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
}

// S2: two threads, because a reader on one is never overtaken between two of its steps.
#[tokio::test]
async fn a_read_beside_loads_finds_what_is_stored() {
    const READS: usize = 20_000;
    let (layer, _) = gated().await;
    let id = session_with(&layer, &[("n", 1)]).await;
    let session = loaded(&layer, &id).await;
    let shop = session.app::<Shop>();
    let over = Arc::new(AtomicBool::new(false));
    let loader = std::thread::spawn({
        let over = over.clone();
        move || {
            block_on(async {
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(session.load_id(&id).await, Ok(true));
                }
            });
        }
    });
    let mut wrong = 0;
    for _ in 0..READS {
        wrong += usize::from(shop.get::<i64>("n").await != Ok(Some(1)));
    }
    over.store(true, Ordering::SeqCst);
    loader.join().unwrap();
    assert_eq!(wrong, 0, "of {READS} reads");
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

// S7: the removal has nothing to remove, and what was set meanwhile creates a session.
#[tokio::test]
async fn a_set_during_a_commit_of_removals_waits_for_the_next() {
    let (layer, gate) = gated().await;
    let answer = send(&layer, request_of(&"0".repeat(32)), async |session| {
        let shop = session.app::<Shop>();
        shop.empty();
        gate.hold(Call::Commit);
        let commit = tokio::spawn({
            let session = session.clone();
            async move { session.commit().await }
        });
        gate.arrival().await;
        shop.set("n", &1)?;
        gate.open();
        assert_eq!(commit.await.unwrap(), Ok(()));
        assert_eq!(remove_all(&layer).await, 0);
        Ok::<_, SessionError>(())
    })
    .await;
    assert_eq!(answer.status, 200);
    let id = answer.new_id().unwrap();
    assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
}

// S1: a type may use the session to decode itself, which is done without a lock.
#[test]
fn items_may_use_the_session_that_they_are_read_from() {
    use std::cell::RefCell;
    use std::sync::mpsc;
    use std::time::Duration;

    use serde::{Deserialize, Deserializer};

    thread_local!(static SESSION: RefCell<Option<SessionManager>> = const { RefCell::new(None) });

    #[derive(Debug)]
    struct Curious;

    impl<'de> Deserialize<'de> for Curious {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            SESSION
                .with_borrow(|session| assert!(session.as_ref().unwrap().session_id().is_some()));
            i64::deserialize(deserializer).map(|_| Self)
        }
    }

    // On a thread of its own, so that a lock that is never released is a failure and no standstill.
    let (to_test, from_reader) = mpsc::channel();
    std::thread::spawn(move || {
        block_on(async {
            let layer = layer(MemoryDriver::new()).await;
            let id = session_with(&layer, &[("m", 1), ("n", 1)]).await;
            let session = loaded(&layer, &id).await;
            SESSION.set(Some(session.clone()));
            let shop = session.app::<Shop>();
            let read = [
                shop.items::<Curious>().await.unwrap().len(),
                shop.values::<Curious>().await.unwrap().len(),
                shop.get::<Curious>("n").await.unwrap().iter().len(),
                shop.remove::<Curious>("n").await.unwrap().iter().len(),
            ];
            SESSION.set(None);
            to_test.send(read).unwrap();
        });
    });
    assert_eq!(from_reader.recv_timeout(Duration::from_secs(10)), Ok([2, 2, 1, 1]));
}
