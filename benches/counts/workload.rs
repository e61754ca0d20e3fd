//! The requests: an axum router is called as a function, with sessions that hold one number. What a
//! request does stands in `support`.

use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use tower::ServiceExt;
use web_session::{AutoCreate, Driver, ExposedId, SessionLayer, SessionLayerBuilder};

use crate::support::subject::KEY;
use crate::web_session_subject::{Bench, pages};

pub const ALL: [&str; 4] = ["untouched", "read", "write", "new"];

/// Sessions as a site has them, but for the cleanup that requests start by chance.
pub fn layer(driver: impl Driver) -> SessionLayerBuilder {
    SessionLayer::builder(driver).auto_create(AutoCreate::Missing).cleanup_probability(0.0)
}

/// Something that is in the request before, as axum with its default features puts there. The first
/// extension of a request is an allocation.
#[derive(Clone)]
struct FromTheServer;

pub fn request(workload: &str, id: Option<&ExposedId>) -> Request<Body> {
    let mut request = Request::get(format!("/{workload}")).extension(FromTheServer);
    if let Some(id) = id {
        request = request.header("cookie", format!("sessionID={}", id.as_str()));
    }
    request.body(Body::empty()).unwrap()
}

pub async fn answer(router: Router, request: Request<Body>) -> Response<Body> {
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response
}

/// A router with sessions.
pub struct Site {
    pub router: Router,
    ids: Vec<ExposedId>,
}

impl Site {
    pub async fn new(driver: impl Driver, sessions: usize) -> Self {
        let layer = layer(driver).build().await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..sessions {
            let manager = layer.manager();
            ids.push(manager.create().await.unwrap().expose());
            manager.app::<Bench>().set(KEY, &1).unwrap();
            manager.commit().await.unwrap();
        }
        Self { router: pages().layer(layer), ids }
    }

    /// A request of a visitor, who has a session unless the workload is about that.
    pub fn request(&self, workload: &str, visitor: usize) -> Request<Body> {
        let id = &self.ids[visitor % self.ids.len()];
        request(workload, (workload != "new").then_some(id))
    }

    pub async fn serve(&self, workload: &str, visitor: usize) {
        answer(self.router.clone(), self.request(workload, visitor)).await;
    }
}
