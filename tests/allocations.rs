//! What a request costs that does not use its session. A test binary of its own: the crate that
//! counts replaces the allocator of the whole process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "tests stop at the first surprise"
)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use allocation_counter::{AllocationInfo, measure};
use http::{Request, Response};
use tower::layer::util::Identity;
use tower::{Layer, Service};
use web_session::{MemoryDriver, SessionLayer};

const ID: &str = "00112233445566778899aabbccddeeff";

/// Answers at once, and does nothing else.
#[derive(Clone)]
struct Page;

impl Service<Request<()>> for Page {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

/// One of the three things that are in the request before, as an axum router puts there by default. The
/// map that holds them is full then, and grows.
#[derive(Clone)]
struct FromTheServer<const N: usize>;

fn request(cookies: &[&str]) -> Request<()> {
    let mut request = Request::new(());
    for cookie in cookies {
        request.headers_mut().append("cookie", cookie.parse().unwrap());
    }
    request.extensions_mut().insert(FromTheServer::<1>);
    request.extensions_mut().insert(FromTheServer::<2>);
    request.extensions_mut().insert(FromTheServer::<3>);
    request
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// What one request costs in a service that has served before, without the request itself.
fn cost<S>(mut service: S, cookies: &[&str]) -> AllocationInfo
where
    S: Service<Request<()>, Response = Response<()>, Error = Infallible>,
{
    block_on(async {
        service.call(request(cookies)).await.unwrap();
        let mut request = Some(request(cookies));
        measure(|| {
            let mut future = std::pin::pin!(service.call(request.take().unwrap()));
            let polled = future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()));
            assert!(matches!(polled, Poll::Ready(Ok(_))));
        })
    })
}

// P1
#[test]
fn an_untouched_request_allocates_three_times_at_most() {
    let cookie = format!("theme=dark; sessionID={ID}; lang=en");
    for cookies in [&[][..], &[&*cookie]] {
        let without = cost(Identity::new().layer(Page), cookies);
        let with = cost(SessionLayer::new(MemoryDriver::new()).layer(Page), cookies);
        let more = with.count_total - without.count_total;
        assert!(more <= 3, "{more} allocations more: {with:?} and {without:?}");
        // What was allocated is given back with the request.
        assert_eq!(with.count_current, without.count_current);
        assert_eq!(with.bytes_current, without.bytes_current);
    }
}

/// Answers with a future of four kilobytes.
#[derive(Clone)]
struct Heavy;

impl Service<Request<()>> for Heavy {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = HeavyFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> HeavyFuture {
        HeavyFuture([7; 4_096])
    }
}

struct HeavyFuture([u8; 4_096]);

impl Future for HeavyFuture {
    type Output = Result<Response<()>, Infallible>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(self.0.iter().all(|byte| *byte == 7));
        Poll::Ready(Ok(Response::new(())))
    }
}

// P1
#[test]
fn the_future_of_an_untouched_request_is_in_no_box() {
    let cost = cost(SessionLayer::new(MemoryDriver::new()).layer(Heavy), &[]);
    assert!(cost.bytes_total < 4_096, "{cost:?}");
}
