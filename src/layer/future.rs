//! What happens between the handler's response and the one that is sent.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{CACHE_CONTROL, Entry, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Response};
use pin_project_lite::pin_project;

use super::CommitFailure;
use crate::error::SessionError;
use crate::manager::{Sent, SessionManager};
use crate::settings::{CacheControl, Vary};

type CommitFuture = Pin<Box<dyn Future<Output = Result<(), SessionError>> + Send>>;

pin_project! {
    /// The response of a [`SessionService`](super::SessionService).
    pub struct ResponseFuture<Fut, F, C> {
        #[pin]
        inner: Fut,
        // `None` when the response has been made.
        manager: Option<SessionManager>,
        on_failure: F,
        // The handler's response while its changes are committed.
        committing: Option<(CommitFuture, Response<C>)>,
    }

    impl<Fut, F, C> PinnedDrop for ResponseFuture<Fut, F, C> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(manager) = this.project().manager.take() {
                manager.abandon();
            }
        }
    }
}

impl<Fut, F, C> ResponseFuture<Fut, F, C> {
    pub(super) fn new(inner: Fut, manager: SessionManager, on_failure: F) -> Self {
        Self { inner, manager: Some(manager), on_failure, committing: None }
    }
}

impl<Fut, F, C, E> Future for ResponseFuture<Fut, F, C>
where
    Fut: Future<Output = Result<Response<C>, E>>,
    F: CommitFailure<C>,
{
    type Output = Result<Response<C>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(manager) = this.manager.as_mut() else {
            return Poll::Pending;
        };
        if this.committing.is_none() {
            let response = ready!(this.inner.poll(cx))?;
            if manager.is_untouched() {
                *this.manager = None;
                return Poll::Ready(Ok(response));
            }
            let commits = (manager.settings().commit_rule.0)(response.status());
            if manager.close(commits) {
                return Poll::Ready(Ok(respond(this.manager, response)));
            }
            let committed = manager.clone();
            let commit: CommitFuture = Box::pin(async move { committed.finish(commits).await });
            *this.committing = Some((commit, response));
        }
        let Some((commit, _)) = this.committing else {
            return Poll::Pending;
        };
        let outcome = ready!(commit.as_mut().poll(cx));
        let Some((_, mut response)) = this.committing.take() else {
            return Poll::Pending;
        };
        if let Err(error) = outcome {
            error.log();
            manager.abandon();
            let inner = response.extensions_mut().remove::<InnerCookies>();
            response = this.on_failure.response(&error);
            if let Some(inner) = inner {
                inner.pass_on(&mut response, manager.settings().cache_control);
            }
        }
        Poll::Ready(Ok(respond(this.manager, response)))
    }
}

/// The cookies of the layers inside. What they announce has been done, so they are sent also when a
/// layer around replaces the response.
#[derive(Clone, Default)]
struct InnerCookies(Vec<HeaderValue>);

impl InnerCookies {
    fn pass_on<C>(self, response: &mut Response<C>, cache_control: CacheControl) {
        let headers = response.headers_mut();
        headers.extend(self.0.iter().map(|cookie| (SET_COOKIE, cookie.clone())));
        if cache_control == CacheControl::NoStore {
            keep_out_of_caches(headers);
        }
        response.extensions_mut().insert(self);
    }
}

/// Sends the queued cookies with a response, and tells caches what they have to know.
fn respond<C>(manager: &mut Option<SessionManager>, mut response: Response<C>) -> Response<C> {
    let Some(manager) = manager.take() else {
        return response;
    };
    let settings = manager.settings();
    let headers = response.headers_mut();
    let Sent { cookie, consulted, for_outer } = manager.respond(headers);
    if consulted && settings.vary == Vary::Cookie {
        vary_by_cookie(headers);
    }
    if cookie && settings.cache_control == CacheControl::NoStore {
        keep_out_of_caches(headers);
    }
    if let Some(cookie) = for_outer {
        response.extensions_mut().get_or_insert_default::<InnerCookies>().0.push(cookie);
    }
    response
}

/// Adds `Cookie` to what the response varies by, in one header: some caches heed only one of several.
fn vary_by_cookie(headers: &mut HeaderMap) {
    let says_so = |name: &str| name == "*" || name.eq_ignore_ascii_case("cookie");
    if let Entry::Vacant(vacant) = headers.entry(VARY) {
        vacant.insert(HeaderValue::from_static("Cookie"));
        return;
    }
    let values = headers.get_all(VARY);
    let is_said = list_items(&values).any(says_so);
    let cookie = (!is_said).then_some("Cookie".as_bytes());
    let all: Vec<_> = values.iter().map(HeaderValue::as_bytes).chain(cookie).collect();
    if let (true, Ok(all)) = (all.len() > 1, HeaderValue::from_bytes(&all.join(&b", "[..]))) {
        headers.insert(VARY, all);
    } else if !is_said {
        headers.append(VARY, HeaderValue::from_static("Cookie"));
    }
}

fn keep_out_of_caches(headers: &mut HeaderMap) {
    let keeps_out = |directive: &str| {
        directive.eq_ignore_ascii_case("private") || directive.eq_ignore_ascii_case("no-store")
    };
    if list_items(headers.get_all(CACHE_CONTROL)).any(keeps_out) {
        return;
    }
    let no_store = HeaderValue::from_static("no-store");
    if headers.insert(CACHE_CONTROL, no_store).is_some() {
        tracing::warn!(
            "a response sets a session cookie, so its Cache-Control was replaced by no-store"
        );
    }
}

/// The items of a header whose value is a comma-separated list (RFC 9110, section 5.6.1).
fn list_items<'a>(
    values: impl IntoIterator<Item = &'a HeaderValue>,
) -> impl Iterator<Item = &'a str> {
    values
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
}

impl<Fut, F, C> fmt::Debug for ResponseFuture<Fut, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
