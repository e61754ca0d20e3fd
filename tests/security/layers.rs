//! Several layers (L10): a short session for the administration inside a long one for the site.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use http::{Request, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use web_session::{
    CookieConfig, Driver, LoadError, OnWarning, SessionError, SessionLayer, SessionManager, Store,
};

use crate::cookies::attributes;
use crate::rig::{Rig, n, read, session};
use crate::visitor::{Answer, Shop, answer, request_with};
use crate::wrappers::{Call, Counting, Failing};

const LONG: Duration = Duration::from_secs(86_400);
const SHORT: Duration = Duration::from_secs(900);

async fn layer(rig: &Rig, driver: impl Driver, name: &str) -> SessionLayer {
    let cookie = CookieConfig::default().with_name(name);
    let (cookie, expire) = match name {
        "admin" => (cookie.with_path("/admin"), SHORT),
        _ => (cookie, LONG),
    };
    rig.builder_on(driver).cookie(cookie).expire(expire).build().await.unwrap()
}

/// The two layers, the drivers of both, and a request's way through them.
struct Site {
    site: SessionLayer,
    admin: SessionLayer,
    site_driver: Failing,
    admin_driver: Failing,
    counting: Counting,
}

impl Site {
    async fn new(rig: &Rig) -> Self {
        let counting = Counting::new(rig.other_environment().await);
        let [site_driver, admin_driver] =
            [Failing::new(rig.driver.clone()), Failing::new(counting.clone())];
        let site = layer(rig, site_driver.clone(), "site").await;
        let admin = layer(rig, admin_driver.clone(), "admin").await;
        Self { site, admin, site_driver, admin_driver, counting }
    }

    /// Sends a request with these cookies through both layers; the handler gets the inner manager and the
    /// outer one.
    async fn send<F, Fut, R>(&self, cookies: &[(&str, &str)], handler: F) -> Answer
    where
        F: FnOnce(SessionManager, SessionManager) -> Fut,
        Fut: Future<Output = R>,
        R: IntoResponse,
    {
        let cookies: Vec<_> = cookies.iter().map(|(name, id)| format!("{name}={id}")).collect();
        let mut handler = Some(handler);
        let inside = service_fn(|request: Request<Body>| {
            let admin = request.extensions().get::<SessionManager>().unwrap().clone();
            let site = admin.outer("site").unwrap();
            let response = handler.take().unwrap()(admin, site);
            async { Ok::<_, Infallible>(response.await.into_response()) }
        });
        let service = self.site.layer(self.admin.layer(inside));
        let Ok(response) = service.oneshot(request_with(&[&cookies.join("; ")])).await;
        answer(response).await
    }

    /// A visitor with a session of each, both with the number 1: the ids.
    async fn visitor(&self) -> (String, String) {
        (session(&self.admin).await, session(&self.site).await)
    }
}

/// The session cookie of this name; none of them twice.
fn cookie<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let cookies = answer.all("set-cookie").into_iter();
    let cookies: Vec<_> =
        cookies.filter(|cookie| cookie.starts_with(&format!("{name}="))).collect();
    assert!(cookies.len() <= 1, "{cookies:?}");
    cookies.first().copied()
}

fn id(answer: &Answer, name: &str) -> Option<String> {
    let (_, rest) = cookie(answer, name)?.split_once('=')?;
    rest.split(';').next().filter(|id| !id.is_empty()).map(str::to_owned)
}

fn set(session: &SessionManager, n: i64) -> Result<(), SessionError> {
    session.app::<Shop>().set("n", &n)
}

on_every_storage! {
    // L10
    async fn both_sessions_are_reachable_each_with_all_of_its_own(rig: Rig) {
        let layers = Site::new(&rig).await;
        rig.calls();
        layers.counting.take();
        let answer = layers.send(&[], async |admin, site| {
            set(&admin, 1)?;
            set(&site, 2)
        });
        let answer = answer.await;
        assert_eq!(answer.status, 200);
        assert_eq!((layers.counting.take(), rig.driver.take()), (
            vec![(Call::Commit, 1)],
            vec![(Call::Commit, 1)],
        ));
        let [admin, site] = ["admin", "site"].map(|name| attributes(cookie(&answer, name).unwrap()));
        assert_eq!((&*admin["path"], &*admin["max-age"]), ("/admin", "900"));
        assert_eq!((&*site["path"], &*site["max-age"]), ("/", "86400"));
        let (admin, site) = (id(&answer, "admin").unwrap(), id(&answer, "site").unwrap());
        assert_eq!((n(&layers.admin, &admin).await, n(&layers.site, &site).await), (Some(1), Some(2)));
        assert_eq!((n(&layers.admin, &site).await, n(&layers.site, &admin).await), (None, None));

        let both = [("admin", &*admin), ("site", &*site)];
        let answer = layers.send(&both, async |admin, site| {
            format!("{} {}", read(admin).await, read(site).await)
        });
        assert_eq!(answer.await.body, "Some(1) Some(2)");
        // Neither cookie counts for the other.
        let swapped = [("admin", &*site), ("site", &*admin)];
        let answer = layers.send(&swapped, async |admin, site| {
            format!("{} {}", read(admin).await, read(site).await)
        });
        assert_eq!(answer.await.body, "None None");
    }

    // L10, A5 7.3.2
    async fn the_short_session_ends_and_the_long_one_goes_on(rig: Rig) {
        let layers = Site::new(&rig).await;
        let (admin, site) = layers.visitor().await;
        let both = [("admin", &*admin), ("site", &*site)];
        rig.clock.advance(SHORT);
        let answer = layers.send(&both, async |admin, site| {
            let seen = format!("{} {}", read(admin.clone()).await, read(site.clone()).await);
            assert_eq!((admin.error(), site.error()), (Some(LoadError::Expired), None));
            seen
        });
        assert_eq!(answer.await.body, "None Some(1)");
        rig.clock.advance(LONG - SHORT);
        assert_eq!(n(&layers.site, &site).await, None);
    }

    // L10, A5 7.4.1
    async fn a_logout_or_a_rotation_of_one_leaves_the_other(rig: Rig) {
        let layers = Site::new(&rig).await;
        let (admin, site) = layers.visitor().await;
        let both = [("admin", &*admin), ("site", &*site)];
        let rotated = layers.send(&both, async |admin, _| admin.login("ada").await).await;
        let admin = id(&rotated, "admin").unwrap();
        assert_eq!(cookie(&rotated, "site"), None);
        let both = [("admin", &*admin), ("site", &*site)];
        let rotated = layers.send(&both, async |admin, site| {
            admin.rotate().await?;
            site.rotate().await
        });
        let rotated = rotated.await;
        let (admin, site) = (id(&rotated, "admin").unwrap(), id(&rotated, "site").unwrap());
        let both = [("admin", &*admin), ("site", &*site)];
        let logout = layers.send(&both, async |admin, _| admin.end().await).await;
        assert!(cookie(&logout, "admin").unwrap().starts_with("admin=;"));
        assert_eq!(cookie(&logout, "site"), None);
        assert_eq!((n(&layers.admin, &admin).await, n(&layers.site, &site).await), (None, Some(1)));
    }

    // L7, L10
    async fn when_the_inner_one_cannot_be_stored_its_status_decides_about_the_outer(rig: Rig) {
        let layers = Site::new(&rig).await;
        let (admin, site) = layers.visitor().await;
        let both = [("admin", &*admin), ("site", &*site)];
        let change = async |admin: SessionManager, site: SessionManager| {
            set(&admin, 2)?;
            set(&site, 2)
        };
        // 503: as for any 5xx, the outer one's changes are dropped.
        layers.admin_driver.fail([Call::Commit]);
        for cookies in [&both[..], &[]] {
            let answer = layers.send(cookies, change).await;
            assert_eq!((answer.status.as_u16(), answer.all("set-cookie")), (503, vec![]));
        }
        layers.admin_driver.mend();
        assert_eq!((n(&layers.admin, &admin).await, n(&layers.site, &site).await), (Some(1), Some(1)));
        // 409: they last.
        let answer = layers.send(&both, async |inner, outer| {
            inner.load().await?;
            layers.admin.manager().destroy(&*admin, OnWarning::Ignore).await?;
            change(inner, outer).await
        });
        assert_eq!(answer.await.status, 409);
        assert_eq!((n(&layers.admin, &admin).await, n(&layers.site, &site).await), (None, Some(2)));
    }

    // L4, L7, L10
    async fn when_the_outer_one_cannot_be_stored_the_cookie_of_the_inner_one_is_sent(rig: Rig) {
        let layers = Site::new(&rig).await;
        let site_fails = |status: u16| {
            if status == 503 {
                layers.site_driver.fail([Call::Commit]);
            }
        };
        for status in [503, 409] {
            for way in ["rotate", "log in", "log out", "create"] {
                let (admin, site) = layers.visitor().await;
                let both = [("admin", &*admin), ("site", &*site)];
                let both = if way == "create" { &both[1..] } else { &both };
                let answer = layers.send(both, async |inner, outer| {
                    outer.load().await?;
                    if status == 409 {
                        layers.site.manager().destroy(&*site, OnWarning::Ignore).await?;
                    }
                    site_fails(status);
                    set(&outer, 2)?;
                    match way {
                        "rotate" => inner.rotate().await,
                        "log in" => inner.login("ada").await,
                        "log out" => inner.end().await,
                        _ => set(&inner, 1),
                    }
                });
                let answer = answer.await;
                layers.site_driver.mend();
                assert_eq!(answer.status, status, "{way}");
                assert_eq!(cookie(&answer, "site"), None, "{way}");
                assert_eq!(answer.all("cache-control"), ["no-store"], "{way}");
                assert!(cookie(&answer, "admin").is_some(), "{status}, {way}: {answer:?}");
                match id(&answer, "admin") {
                    Some(new) => assert_eq!(n(&layers.admin, &new).await, Some(1), "{way}"),
                    None => assert_eq!(way, "log out"),
                }
            }
        }
    }

    // L6, L10
    async fn a_5xx_drops_the_changes_of_both(rig: Rig) {
        let layers = Site::new(&rig).await;
        let (admin, site) = layers.visitor().await;
        let both = [("admin", &*admin), ("site", &*site)];
        let answer = layers.send(&both, async |admin, site| {
            set(&admin, 2).unwrap();
            set(&site, 2).unwrap();
            StatusCode::BAD_GATEWAY
        });
        assert_eq!(answer.await.status, 502);
        assert_eq!((n(&layers.admin, &admin).await, n(&layers.site, &site).await), (Some(1), Some(1)));
    }
}

async fn call(app: &Router, path: &str) -> Answer {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let Ok(response) = app.clone().oneshot(request).await;
    answer(response).await
}

/// The ways of handlers to their session: by the extractors, and by the extension.
fn handlers() -> Router {
    Router::new()
        .route("/manager", get(async |session: SessionManager| session.load().await.map(drop)))
        .route("/store", get(async |shop: Store<Shop>| shop.set("n", &1)))
        .route("/extension/{deed}", get(by_extension))
        .route("/nothing", get(async || "page"))
}

async fn by_extension(
    Path(deed): Path<String>,
    Extension(session): Extension<SessionManager>,
) -> Result<(), SessionError> {
    match &*deed {
        "load" => session.load().await.map(drop),
        "read" => session.app::<Shop>().keys().await.map(drop),
        "write" => set(&session, 1),
        "update" => session.app::<Shop>().update("n", |_: Option<i64>| 1).await.map(drop),
        "create" => session.create().await.map(drop),
        "login" => session.login("ada").await,
        "logout" => session.end().await,
        "delete-cookie" => session.delete_cookie(),
        other => panic!("there is no {other:?}"),
    }
}

const PATHS: [&str; 10] = [
    "/manager",
    "/store",
    "/extension/load",
    "/extension/read",
    "/extension/write",
    "/extension/update",
    "/extension/create",
    "/extension/login",
    "/extension/logout",
    "/extension/delete-cookie",
];

once! {
    // L10
    async fn the_same_cookie_name_twice_is_a_500_that_says_so(rig: Rig) {
        let [one, same, between] = [
            layer(&rig, rig.driver.clone(), "site").await,
            layer(&rig, rig.other_environment().await, "site").await,
            layer(&rig, rig.other_environment().await, "admin").await,
        ];
        let says_so = |error: &SessionError| (error.status(), error.to_string()).into_response();
        let failing = one.clone().on_commit_failure(says_so);
        let inner = same.clone().on_commit_failure(says_so);
        let stacks = [
            handlers().layer(inner.clone()).layer(failing.clone()),
            handlers().layer(inner.clone()).layer(between.clone()).layer(failing.clone()),
            handlers().layer(between.clone().on_commit_failure(says_so)).layer(inner).layer(failing),
        ];
        rig.calls();
        for (at, app) in stacks.iter().enumerate() {
            for path in PATHS {
                let answer = call(app, path).await;
                let case = format!("{at}, {path}: {answer:?}");
                assert_eq!(answer.status, 500, "{case}");
                for part in ["same name", "with_name"] {
                    assert!(answer.body.contains(part), "{case}");
                }
                assert_eq!(answer.all("set-cookie"), [""; 0], "{case}");
            }
            let untouched = call(app, "/nothing").await;
            assert_eq!((untouched.status.as_u16(), &*untouched.body), (200, "page"));
        }
        assert_eq!(rig.calls(), 0);
        for path in PATHS {
            let app = handlers().layer(between.clone()).layer(one.clone());
            assert_eq!(call(&app, path).await.status, 200, "{path}: with names of their own");
        }
    }

    // L10
    async fn only_layers_around_are_found_and_by_their_cookies_names(rig: Rig) {
        let layers = Site::new(&rig).await;
        let answer = layers.send(&[], async |admin, site| {
            for unknown in ["admin", "Site", "", "shop"] {
                assert!(admin.outer(unknown).is_none(), "{unknown:?}");
            }
            assert!(site.outer("site").is_none());
            assert!(site.outer("admin").is_none(), "that one is inside");
            set(&admin.outer("site").unwrap(), 1).unwrap();
            assert_eq!(read(site).await, "Some(1)", "it is the same request's");
        });
        assert_eq!(answer.await.status, 200);
        assert!(layers.admin.manager().outer("site").is_none());
    }

    // L10
    async fn of_three_layers_each_is_reachable_from_the_inside(rig: Rig) {
        let [outermost, middle, inner] = [
            layer(&rig, rig.driver.clone(), "site").await,
            layer(&rig, rig.other_environment().await, "shop").await,
            layer(&rig, rig.other_environment().await, "admin").await,
        ];
        let app = Router::new()
            .route("/", get(async |admin: SessionManager| {
                set(&admin, 1)?;
                set(&admin.outer("shop").unwrap(), 2)?;
                set(&admin.outer("site").unwrap(), 3)?;
                set(&admin.outer("shop").unwrap().outer("site").unwrap(), 4)
            }))
            .layer(inner.clone())
            .layer(middle.clone())
            .layer(outermost.clone());
        let answer = call(&app, "/").await;
        for (name, layer, stored) in [("admin", inner, 1), ("shop", middle, 2), ("site", outermost, 4)] {
            assert_eq!(n(&layer, &id(&answer, name).unwrap()).await, Some(stored), "{name}");
        }
    }
}
