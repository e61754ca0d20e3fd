//! How often a request calls the driver.

use std::future::Future;

use axum::body::Body;
use http::Request;
use web_session::{OnWarning, SessionError, SessionLayer, SessionManager, SessionTarget};

use crate::support::Storage;
use crate::visitor::*;
use crate::wrappers::{Call, Counting};

struct Counted {
    counting: Counting,
    layer: SessionLayer,
    id: String,
    expired: String,
}

impl Counted {
    async fn new(storage: &Storage) -> Self {
        let counting = Counting::new(storage.driver.clone());
        let (layer, clock) = layer_with_clock(counting.clone()).await;
        let expired = {
            let session = layer.manager();
            session.create_for(std::time::Duration::from_secs(1)).await.unwrap()
        };
        clock.advance(std::time::Duration::from_secs(1));
        let id = session_with(&layer, &[("n", 7)]).await;
        counting.take();
        Self { counting, layer, id, expired: expired.expose().to_string() }
    }

    /// The calls of one request.
    async fn calls<F, Fut, T>(&self, request: Request<Body>, handler: F) -> Vec<(Call, usize)>
    where
        F: FnOnce(SessionManager) -> Fut,
        Fut: Future<Output = Result<T, SessionError>>,
    {
        let answer =
            send(&self.layer, request, async |session| handler(session).await.map(|_| ())).await;
        assert_eq!(answer.status, 200);
        self.counting.take()
    }
}

on_each_driver! {
    // L2, L5
    async fn an_untouched_request_costs_nothing_and_says_nothing(storage) {
        let counted = Counted::new(&storage).await;
        for request in [request_of(&counted.id), request_with(&[])] {
            let answer = send(&counted.layer, request, async |_| "page").await;
            assert_eq!((answer.status.as_u16(), &*answer.body), (200, "page"));
            for header in ["set-cookie", "vary", "cache-control"] {
                assert!(!answer.headers.contains_key(header), "{header}");
            }
        }
        assert_eq!(counted.counting.take(), []);
    }

    // L5
    async fn getters_cost_nothing(storage) {
        let counted = Counted::new(&storage).await;
        let calls = counted.calls(request_of(&counted.id), async |session| {
            let _ = (session.session_id(), session.error(), session.expire_time());
            let _ = (session.created(), session.response_headers(), session.sent_headers());
            session.store("shop").map(drop)
        });
        assert_eq!(calls.await, []);
    }

    // L5
    async fn the_first_read_fetches_session_and_application_together(storage) {
        let counted = Counted::new(&storage).await;
        let calls = counted.calls(request_of(&counted.id), async |session| {
            let shop = session.app::<Shop>();
            assert_eq!(shop.get::<i64>("n").await?, Some(7));
            assert_eq!((shop.len().await?, shop.has_key("m").await?), (1, false));
            session.clone().app::<Shop>().keys().await
        });
        assert_eq!(calls.await, [(Call::Load, 1)]);
    }

    // L5
    async fn simultaneous_first_reads_share_one_call(storage) {
        let suspending = crate::wrappers::Suspending::new(storage.driver.clone());
        let counting = Counting::new(suspending);
        let layer = layer(counting.clone()).await;
        let id = session_with(&layer, &[("n", 7)]).await;
        counting.take();
        let answer = send(&layer, request_of(&id), async |session| {
            let (one, two) = (session.app::<Shop>(), session.clone().app::<Shop>());
            let (one, two) = tokio::join!(one.get::<i64>("n"), two.get::<i64>("n"));
            assert_eq!((one?, two?), (Some(7), Some(7)));
            Ok::<_, SessionError>(())
        })
        .await;
        assert_eq!(answer.status, 200);
        assert_eq!(counting.take(), [(Call::Load, 1)]);
    }

    // L5
    async fn a_second_application_is_one_more(storage) {
        let counted = Counted::new(&storage).await;
        let calls = counted.calls(request_of(&counted.id), async |session| {
            session.app::<Shop>().len().await?;
            session.app::<Blog>().len().await?;
            session.app::<Blog>().keys().await
        });
        assert_eq!(calls.await, [(Call::Load, 2)]);
    }

    // L5
    async fn without_a_session_reads_are_free_after_the_first(storage) {
        let counted = Counted::new(&storage).await;
        for request in [request_of(&counted.expired), request_of(&"0".repeat(32))] {
            let calls = counted.calls(request, async |session| {
                session.app::<Shop>().len().await?;
                session.app::<Blog>().len().await
            });
            assert_eq!(calls.await, [(Call::Load, 1)]);
        }
        let calls = counted.calls(request_with(&[]), async |session| {
            session.app::<Shop>().len().await
        });
        assert_eq!(calls.await, []);
    }

    // L5
    async fn a_blind_write_is_one_commit_whatever_the_cookie(storage) {
        let counted = Counted::new(&storage).await;
        for request in [
            request_of(&counted.id),
            request_of(&counted.expired),
            request_of(&"0".repeat(32)),
            request_of("rubbish"),
            request_with(&[]),
        ] {
            let shown = format!("{:?}", request.headers());
            let calls = counted.calls(request, async |session| {
                session.app::<Shop>().set("n", &1)?;
                session.app::<Blog>().set("n", &2)
            });
            assert_eq!(calls.await, [(Call::Commit, 1)], "{shown}");
        }
    }

    // L5
    async fn a_read_and_writes_are_one_load_and_one_commit(storage) {
        let counted = Counted::new(&storage).await;
        for request in [request_of(&counted.id), request_of(&counted.expired)] {
            let calls = counted.calls(request, async |session| {
                let n = session.app::<Shop>().get::<i64>("n").await?;
                session.app::<Shop>().set("n", &n.unwrap_or(0))?;
                session.app::<Blog>().set("n", &2)
            });
            assert_eq!(calls.await, [(Call::Load, 1), (Call::Commit, 1)]);
        }
    }

    // L5
    async fn explicit_calls_add_their_own(storage) {
        let counted = Counted::new(&storage).await;
        let id = || request_of(&counted.id);

        let calls = counted.calls(id(), async |session| session.load().await);
        assert_eq!(calls.await, [(Call::Load, 1)]);

        let calls = counted.calls(request_with(&[]), async |session| session.create().await);
        assert_eq!(calls.await, [(Call::Create, 1)]);

        let calls = counted.calls(id(), async |session| {
            session.app::<Shop>().update("n", |n: Option<i64>| n.unwrap_or(0) + 1).await
        });
        assert_eq!(calls.await, [(Call::Load, 1), (Call::ReplaceItem, 1)]);

        let calls = counted.calls(request_with(&[]), async |session| {
            session.app::<Shop>().update("n", |n: Option<i64>| n.unwrap_or(0) + 1).await
        });
        assert_eq!(calls.await, [(Call::Commit, 1)]);

        let calls = counted.calls(id(), async |session| {
            session.app::<Shop>().set("n", &1)?;
            session.commit().await?;
            session.commit().await
        });
        assert_eq!(calls.await, [(Call::Commit, 1)]);

        let calls = counted.calls(id(), async |session| {
            session.app::<Shop>().set("n", &1)?;
            session.commit().await?;
            session.app::<Shop>().set("n", &2)
        });
        assert_eq!(calls.await, [(Call::Commit, 2)]);

        let calls = counted.calls(id(), async |session| {
            session.destroy(SessionTarget::Current, OnWarning::Ignore).await
        });
        assert_eq!(calls.await, [(Call::Destroy, 1)]);
    }

    // L5, S7
    async fn a_rollback_and_changes_that_cancel_out_cost_nothing(storage) {
        let counted = Counted::new(&storage).await;
        let calls = counted.calls(request_of(&counted.id), async |session| {
            session.app::<Shop>().set("n", &1)?;
            session.rollback();
            Ok(())
        });
        assert_eq!(calls.await, []);
        let calls = counted.calls(request_with(&[]), async |session| {
            session.app::<Shop>().set("n", &1)?;
            session.app::<Shop>().delete("n").await
        });
        assert_eq!(calls.await, []);
    }
}
