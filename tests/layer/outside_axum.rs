//! The layer without axum: a hyper server on a socket.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tower::{Layer, Service, ServiceExt};
use web_session::{MemoryDriver, SessionError, SessionLayer, SessionManager};

use crate::visitor::*;

/// A body without a `Default`.
struct Page(Option<Bytes>);

impl Body for Page {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn page(text: impl Into<String>) -> Response<Page> {
    Response::new(Page(Some(Bytes::from(text.into()))))
}

/// What the application inside answers; not `Clone`, and it fails.
struct Application {
    served: usize,
}

impl Service<Request<Incoming>> for Application {
    type Response = Response<Page>;
    type Error = SessionError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Page>, SessionError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        self.served += 1;
        Box::pin(async move {
            let session = request.extensions().get::<SessionManager>().unwrap();
            let shop = session.app::<Shop>();
            match request.uri().path() {
                "/visit" => {
                    let n = shop.get::<i64>("visits").await?.unwrap_or(0) + 1;
                    shop.set("visits", &n)?;
                    Ok(page(format!("visit {n}")))
                }
                "/logout" => session.end().await.map(|()| page("bye")),
                "/conflict" => {
                    shop.set("visits", &100)?;
                    session.load().await?;
                    let other = session.session_id().unwrap();
                    let ignore = web_session::OnWarning::Ignore;
                    // As another request would: this one keeps its own view.
                    request
                        .extensions()
                        .get::<SessionLayer>()
                        .unwrap()
                        .manager()
                        .destroy(other, ignore)
                        .await?;
                    Ok(page("never seen"))
                }
                "/fail" => {
                    shop.set("visits", &100)?;
                    Err(SessionError::NotLoaded)
                }
                _ => Ok(page("untouched")),
            }
        })
    }
}

/// Serves one connection after the other on a local port, by the given version of HTTP.
async fn serve(sessions: SessionLayer, http2: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let layer = sessions.clone().on_commit_failure(|error: &SessionError| {
        let mut response = page("sorry");
        *response.status_mut() = error.status();
        response
    });
    tokio::spawn(async move {
        let service = Arc::new(Mutex::new(layer.layer(Application { served: 0 })));
        while let Ok((stream, _)) = listener.accept().await {
            let (service, sessions) = (service.clone(), sessions.clone());
            let answer = service_fn(move |mut request: Request<Incoming>| {
                let service = service.clone();
                request.extensions_mut().insert(sessions.clone());
                async move {
                    let response = service.lock().await.ready().await?.call(request);
                    response.await
                }
            });
            let stream = TokioIo::new(stream);
            tokio::spawn(async move {
                // A connection that fails is the client's to notice.
                if http2 {
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    drop(server.serve_connection(stream, answer).await);
                } else {
                    let server = hyper::server::conn::http1::Builder::new();
                    drop(server.serve_connection(stream, answer).await);
                }
            });
        }
    });
    address
}

/// A response of the server; `None` when the request failed.
async fn get(
    address: SocketAddr,
    http2: bool,
    path: &str,
    cookies: &[String],
) -> Option<(StatusCode, HeaderMap, String)> {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let uri = match http2 {
        true => format!("http://{address}{path}"),
        false => path.to_owned(),
    };
    let mut request = Request::get(uri).header("host", address.to_string());
    for cookie in cookies {
        request = request.header("cookie", cookie);
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = if http2 {
        let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
        let (mut client, connection) = client.await.unwrap();
        tokio::spawn(connection);
        client.send_request(request).await
    } else {
        let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        client.send_request(request).await
    };
    let (parts, body) = response.ok()?.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Some((parts.status, parts.headers, String::from_utf8(body.into()).unwrap()))
}

fn id_in(headers: &HeaderMap) -> String {
    let cookie = headers["set-cookie"].to_str().unwrap();
    cookie["sessionID=".len()..].split(';').next().unwrap().to_owned()
}

async fn a_visit_over_a_socket(http2: bool) {
    let layer = layer(MemoryDriver::new()).await;
    let address = serve(layer.clone(), http2).await;
    let get = async |path, cookies: &[String]| get(address, http2, path, cookies).await;

    let (status, headers, body) = get("/nothing", &[]).await.unwrap();
    assert_eq!((status.as_u16(), &*body), (200, "untouched"));
    assert!(!headers.contains_key("set-cookie") && !headers.contains_key("vary"));

    let (status, headers, body) = get("/visit", &[]).await.unwrap();
    assert_eq!((status.as_u16(), &*body), (200, "visit 1"));
    assert_eq!(
        (&headers["vary"], &headers["cache-control"]),
        (&http::HeaderValue::from_static("Cookie"), &http::HeaderValue::from_static("no-store"),)
    );
    let id = id_in(&headers);

    // HTTP/2 may send each cookie in a field of its own.
    let split = ["theme=dark".to_owned(), format!("sessionID={id}"), "lang=en".to_owned()];
    let (_, headers, body) = get("/visit", &split).await.unwrap();
    assert_eq!(body, "visit 2");
    assert!(!headers.contains_key("set-cookie"));

    // A failing service has no response, and its changes are dropped.
    assert!(get("/fail", &split).await.is_none_or(|(status, ..)| status.is_server_error()));
    let (_, _, body) = get("/visit", &[split.join("; ")]).await.unwrap();
    assert_eq!(body, "visit 3");

    let (status, headers, body) = get("/conflict", &split).await.unwrap();
    assert_eq!((status.as_u16(), &*body), (409, "sorry"));
    assert!(!headers.contains_key("set-cookie"));
    let (_, headers, body) = get("/visit", &split).await.unwrap();
    assert_eq!(body, "visit 1");
    assert_ne!(id_in(&headers), id);

    let (_, headers, body) = get("/logout", &split).await.unwrap();
    assert_eq!(body, "bye");
    assert!(headers["set-cookie"].to_str().unwrap().starts_with("sessionID=; "));
}

// L9, SECURITY 24
#[tokio::test]
async fn a_hyper_server_over_http_1_has_sessions() {
    a_visit_over_a_socket(false).await;
}

// L9, SECURITY 24
#[tokio::test]
async fn a_hyper_server_over_http_2_has_sessions() {
    a_visit_over_a_socket(true).await;
}

// L6: a visitor who closes the connection cancels the request.
#[tokio::test]
async fn a_connection_that_is_closed_drops_the_changes() {
    let layer = layer(MemoryDriver::new()).await;
    let id = session_with(&layer, &[("n", 1)]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (in_handler, handler_runs) = tokio::sync::oneshot::channel();
    let (when_dropped, handler_dropped) = tokio::sync::oneshot::channel();
    let service = layer.layer(tower::service_fn({
        let once = Arc::new(Mutex::new(Some((in_handler, when_dropped))));
        move |request: Request<Incoming>| {
            let once = once.clone();
            async move {
                let session = request.extensions().get::<SessionManager>().unwrap().clone();
                session.app::<Shop>().set("n", &2)?;
                let (in_handler, _when_dropped) = once.lock().await.take().unwrap();
                in_handler.send(session).unwrap();
                std::future::pending::<()>().await;
                Ok::<_, SessionError>(Response::new(http_body_util::Full::<Bytes>::default()))
            }
        }
    }));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(service);
        let server = hyper::server::conn::http1::Builder::new();
        drop(server.serve_connection(TokioIo::new(stream), service).await);
    });

    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("/").header("cookie", format!("sessionID={id}"));
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = tokio::spawn(async move { client.send_request(request).await });
    let session: SessionManager = handler_runs.await.unwrap();
    connection.abort();
    response.abort();
    let dropped: Result<(), _> = handler_dropped.await;
    assert!(dropped.is_err());
    session.commit().await.unwrap();
    assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
}
