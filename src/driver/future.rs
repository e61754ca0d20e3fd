//! The future that a driver's methods return.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::DriverError;

/// The future of a driver's answer: ready at once, or boxed. It borrows nothing.
///
/// Dropping it before it is ready leaves the storage as if the call had not begun or as if it had
/// finished.
#[must_use = "a driver may do nothing until its future is awaited"]
pub struct DriverFuture<T>(Inner<T>);

type Answer<T> = Result<T, DriverError>;

enum Inner<T> {
    Ready(Option<Answer<T>>),
    Boxed(Pin<Box<dyn Future<Output = Answer<T>> + Send>>),
}

impl<T> DriverFuture<T> {
    /// An answer that is there already. No allocation.
    pub fn ready(answer: Result<T, DriverError>) -> Self {
        Self(Inner::Ready(Some(answer)))
    }

    /// An answer that has to be waited for.
    pub fn new(future: impl Future<Output = Result<T, DriverError>> + Send + 'static) -> Self {
        Self(Inner::Boxed(Box::pin(future)))
    }
}

// The answer of a ready future is moved out, never pinned.
impl<T> Unpin for DriverFuture<T> {}

impl<T> Future for DriverFuture<T> {
    type Output = Result<T, DriverError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Ready(answer) => match answer.take() {
                Some(answer) => Poll::Ready(answer),
                None => Poll::Pending,
            },
            Inner::Boxed(future) => future.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for DriverFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverFuture").finish_non_exhaustive()
    }
}
