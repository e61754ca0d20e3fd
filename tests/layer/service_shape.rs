//! The service is as good as the one inside.

use std::future::{Ready, ready};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use tower::{Layer, Service, ServiceExt, service_fn};
use web_session::{MemoryDriver, SessionError, SessionManager, SessionService};

use crate::visitor::*;

/// Neither `Clone` nor `Send`, with errors, bodies and requests that are no one else's.
#[derive(Debug)]
struct Particular {
    readiness: Vec<Poll<Result<(), Refused>>>,
    calls: Rc<std::cell::Cell<usize>>,
}

#[derive(Debug, PartialEq, Clone)]
struct Refused(&'static str);

#[derive(Debug, PartialEq)]
struct Pages(Vec<&'static str>);

impl Service<Request<Rc<str>>> for Particular {
    type Response = Response<Pages>;
    type Error = Refused;
    type Future = Ready<Result<Response<Pages>, Refused>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.readiness.pop().unwrap_or(Poll::Ready(Ok(())))
    }

    fn call(&mut self, request: Request<Rc<str>>) -> Self::Future {
        self.calls.set(self.calls.get() + 1);
        assert!(request.extensions().get::<SessionManager>().is_some());
        ready(match &**request.body() {
            "refuse" => Err(Refused("call")),
            _ => Ok(Response::new(Pages(vec!["page"]))),
        })
    }
}

// L9
#[tokio::test]
async fn the_inner_service_needs_no_clone_no_send_and_no_particular_error() {
    let layer = layer(MemoryDriver::new())
        .await
        .on_commit_failure(|_: &SessionError| Response::new(Pages(Vec::new())));
    let calls = Rc::default();
    let mut service = layer.layer(Particular { readiness: Vec::new(), calls: Rc::clone(&calls) });
    for (body, expected) in [
        ("serve", Ok(Pages(vec!["page"]))),
        ("refuse", Err(Refused("call"))),
        ("serve", Ok(Pages(vec!["page"]))),
    ] {
        let request = Request::new(Rc::from(body));
        let response = service.ready().await.unwrap().call(request).await;
        assert_eq!(response.map(Response::into_body), expected);
    }
    assert_eq!(calls.get(), 3);
}

// L9
#[tokio::test]
async fn back_pressure_is_passed_on() {
    let layer = layer(MemoryDriver::new())
        .await
        .on_commit_failure(|_: &SessionError| Response::new(Pages(Vec::new())));
    let calls = Rc::default();
    let mut service: SessionService<Particular, _> = layer.layer(Particular {
        readiness: vec![Poll::Ready(Err(Refused("full"))), Poll::Ready(Ok(())), Poll::Pending],
        calls: Rc::clone(&calls),
    });
    let mut poll_ready = || service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert_eq!(poll_ready(), Poll::Pending);
    assert_eq!(poll_ready(), Poll::Ready(Ok(())));
    assert_eq!(poll_ready(), Poll::Ready(Err(Refused("full"))));
    assert_eq!(calls.get(), 0);
}

// L9: the future of a service whose future may be sent can be sent, and clones are independent.
#[tokio::test]
async fn the_service_can_be_cloned_and_sent_where_the_inner_one_can() {
    let layer = layer(MemoryDriver::new()).await;
    let service = layer.layer(service_fn(async |request: Request<()>| {
        let session = request.extensions().get::<SessionManager>().unwrap();
        session.app::<Shop>().update("n", |n: Option<i64>| n.unwrap_or(0) + 1).await?;
        Ok::<_, SessionError>(Response::new(()))
    }));
    let requests: Vec<_> =
        (0..4).map(|_| tokio::spawn(service.clone().oneshot(Request::new(())))).collect();
    let mut ids = std::collections::BTreeSet::new();
    for request in requests {
        let response = request.await.unwrap().unwrap();
        ids.insert(response.headers()["set-cookie"].to_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 4);
}

// E3
#[tokio::test]
async fn a_response_future_that_is_polled_after_its_end_does_not_panic() {
    let layer = layer(MemoryDriver::new()).await;
    for writes in [false, true] {
        let mut service = layer.layer(service_fn(async |request: Request<()>| {
            let session = request.extensions().get::<SessionManager>().unwrap();
            if writes {
                session.app::<Shop>().set("n", &1).unwrap();
            }
            Ok::<_, SessionError>(Response::new(()))
        }));
        let mut future = Box::pin(service.call(Request::new(())));
        assert!((&mut future).await.is_ok());
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }
}
