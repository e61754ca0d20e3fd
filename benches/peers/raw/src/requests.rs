//! Requests to a router whose handlers use a storage by hand: a request that finds no other goes straight to it,
//! and what many ask for while a statement runs goes into the next one together. There is no layer, and nothing
//! that a session has beside its integer; of two writes to one record at the same time one may be lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, oneshot};
use tokio::task::yield_now;

use super::memory::{HandOver, draw, id, set_cookie};
use super::{Batches, Record, data};
use crate::support::Failure;
use crate::support::subject::{Subject, untouched};

/// What a batch does.
#[derive(Clone, Copy)]
enum Does {
    Read,
    Write,
    Create,
}

/// A record as it is written, or one to be read whose data is empty, and where the answer goes.
type Call = (Record, oneshot::Sender<String>);

struct Calls<S> {
    storage: Arc<S>,
    /// How many requests there are.
    running: AtomicUsize,
    reads: UnboundedSender<Call>,
    writes: UnboundedSender<Call>,
    creations: UnboundedSender<Call>,
}

/// A router over a storage.
pub fn subject<S: Batches + 'static>(storage: Arc<S>) -> Subject {
    let lane = |does, width| {
        let (sender, receiver) = unbounded_channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..width {
            let (storage, receiver) = (storage.clone(), receiver.clone());
            tokio::spawn(async move {
                if let Err(failure) = answer(&*storage, does, &receiver).await {
                    eprintln!("{failure}");
                }
            });
        }
        sender
    };
    let calls = Calls {
        running: AtomicUsize::new(0),
        reads: lane(Does::Read, S::READING),
        writes: lane(Does::Write, S::WRITING),
        creations: lane(Does::Create, S::WRITING),
        storage,
    };
    let router = Router::new()
        .route("/untouched", get(untouched).layer(HandOver(())))
        .route("/read", get(read::<S>))
        .route("/write", get(write::<S>))
        .route("/new", get(new::<S>))
        .with_state(Arc::new(calls));
    Subject::new(router)
}

/// Answers calls until nobody can make one any more. If the storage fails, nobody gets an answer.
async fn answer<S: Batches>(
    storage: &S,
    does: Does,
    calls: &Mutex<UnboundedReceiver<Call>>,
) -> Result<(), Failure> {
    loop {
        let mut waiting = Vec::with_capacity(S::MOST);
        let mut receiver = calls.lock().await;
        let Some(first) = receiver.recv().await else {
            return Ok(());
        };
        waiting.push(first);
        // Whoever can ask now goes along.
        yield_now().await;
        while waiting.len() < S::MOST
            && let Ok(next) = receiver.try_recv()
        {
            waiting.push(next);
        }
        drop(receiver);
        // Each record once, in the order of the keys, as statements beside each other should have them.
        let records: HashMap<_, _> = waiting.iter().map(|(record, _)| record.clone()).collect();
        let mut records: Vec<_> = records.into_iter().collect();
        records.sort_unstable();
        let read: HashMap<_, _> = run(storage, does, records).await?.into_iter().collect();
        for ((id, _), reply) in waiting {
            let data = read.get(&id).cloned();
            let _ = reply.send(data.unwrap_or_default());
        }
    }
}

/// Runs a batch, and gives what was read.
async fn run<S: Batches>(
    storage: &S,
    does: Does,
    records: Vec<Record>,
) -> Result<Vec<Record>, Failure> {
    match does {
        Does::Read => storage.read_batch(records.into_iter().map(|(id, _)| id).collect()).await,
        Does::Write => storage.write_batch(records).await.map(|()| Vec::new()),
        Does::Create => storage.new_batch(records).await.map(|()| Vec::new()),
    }
}

impl<S: Batches> Calls<S> {
    /// Goes straight to the storage if no other request is there, and gives what was read.
    async fn call(&self, does: Does, id: u128, data: String) -> Result<String, StatusCode> {
        let failed = StatusCode::INTERNAL_SERVER_ERROR;
        let record = (format!("{id:032x}"), data);
        if self.running.load(Ordering::Relaxed) == 1 {
            let read = run(&*self.storage, does, vec![record]).await.map_err(|_| failed)?;
            return Ok(read.into_iter().next().unwrap_or_default().1);
        }
        let lane = match does {
            Does::Read => &self.reads,
            Does::Write => &self.writes,
            Does::Create => &self.creations,
        };
        let (reply, answer) = oneshot::channel();
        lane.send((record, reply)).map_err(|_| failed)?;
        answer.await.map_err(|_| failed)
    }

    async fn read(&self, id: u128) -> Result<u64, StatusCode> {
        let text = self.call(Does::Read, id, String::new()).await?;
        let record: Option<HashMap<&str, HashMap<&str, u64>>> = serde_json::from_str(&text).ok();
        let count = || record?.get("bench")?.get("count").copied();
        count().ok_or(StatusCode::NOT_FOUND)
    }

    /// Counts a request as long as it lives.
    fn enter(&self) -> Entered<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        Entered(&self.running)
    }
}

struct Entered<'a>(&'a AtomicUsize);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn read<S: Batches>(
    State(calls): State<Arc<Calls<S>>>,
    request: Request,
) -> Result<String, StatusCode> {
    let _entered = calls.enter();
    let id = id(request.headers()).ok_or(StatusCode::NOT_FOUND)?;
    Ok(calls.read(id).await?.to_string())
}

async fn write<S: Batches>(
    State(calls): State<Arc<Calls<S>>>,
    request: Request,
) -> Result<String, StatusCode> {
    let _entered = calls.enter();
    let id = id(request.headers()).ok_or(StatusCode::NOT_FOUND)?;
    let count = calls.read(id).await? + 1;
    calls.call(Does::Write, id, data(count)).await?;
    Ok(count.to_string())
}

async fn new<S: Batches>(
    State(calls): State<Arc<Calls<S>>>,
) -> Result<([(HeaderName, String); 1], &'static str), StatusCode> {
    let _entered = calls.enter();
    let id = draw()?;
    calls.call(Does::Create, id, data(1)).await?;
    Ok(([(SET_COOKIE, set_cookie(id))], "1"))
}
