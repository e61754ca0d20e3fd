//! Tasks that outlive their request: its response leaves while a call of theirs is under way.

use http::StatusCode;
use web_session::{MemoryDriver, SessionError, SessionLayer, SessionManager};

use crate::gate::Gate;
use crate::visitor::*;
use crate::wrappers::Call;

/// How a request ends while a task of it still waits for the storage.
#[derive(Debug, Clone, Copy)]
enum End {
    Response(StatusCode),
    Cancelled,
}

const ENDS: [End; 3] = [
    End::Response(StatusCode::OK),
    End::Response(StatusCode::INTERNAL_SERVER_ERROR),
    End::Cancelled,
];

/// A storage without sessions, whose answers can be held back.
async fn gated() -> (SessionLayer, Gate) {
    let gate = Gate::new(MemoryDriver::new());
    (layer(gate.clone()).await, gate)
}

/// A visitor without a cookie sends a request whose handler leaves `work` to a task. The request
/// ends when the storage has done the held call, and the task hears of that afterwards.
async fn overtaken<F, Fut>(
    layer: &SessionLayer,
    gate: &Gate,
    held: Call,
    end: End,
    work: F,
) -> Fut::Output
where
    F: FnOnce(SessionManager) -> Fut,
    Fut: Future<Output: Send> + Send + 'static,
{
    gate.hold(held);
    let mut task = None;
    let request = send(layer, request_with(&[]), async |session| {
        task = Some(tokio::spawn(work(session)));
        gate.arrival().await;
        match end {
            End::Response(status) => status,
            End::Cancelled => std::future::pending().await,
        }
    });
    match end {
        End::Response(status) => {
            let answer = request.await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.session_cookies(), [""; 0]);
        }
        End::Cancelled => assert!(give_up_after(1, request).await.is_none()),
    }
    gate.open();
    task.unwrap().await.unwrap()
}

// M12, L6: nobody would ever have its id.
#[tokio::test]
async fn a_session_whose_cookie_has_missed_the_response_is_removed() {
    let (layer, gate) = gated().await;
    for end in ENDS {
        let created = overtaken(&layer, &gate, Call::Create, end, |session| async move {
            let created = session.create().await.map(|_| ());
            assert_eq!((session.session_id(), session.created()), (None, false));
            created
        })
        .await;
        assert_eq!(created, Err(SessionError::ResponseStarted), "{end:?}");
        assert_eq!(remove_all(&layer).await, 0, "{end:?}");
    }
}

// S4, L6
#[tokio::test]
async fn a_session_that_an_update_creates_too_late_is_removed() {
    let (layer, gate) = gated().await;
    for end in ENDS {
        let updated = overtaken(&layer, &gate, Call::Commit, end, |session| async move {
            let shop = session.app::<Shop>();
            let updated = shop.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).await;
            assert_eq!((session.session_id(), session.created()), (None, false));
            assert_eq!(shop.get::<i64>("n").await, Ok(None));
            updated
        })
        .await;
        assert_eq!(updated, Err(SessionError::ResponseStarted), "{end:?}");
        assert_eq!(remove_all(&layer).await, 0, "{end:?}");
    }
}

// S7, L6: a response that would commit itself waits for the commit that is under way.
#[tokio::test]
async fn a_session_that_a_commit_creates_too_late_is_removed() {
    let (layer, gate) = gated().await;
    for end in [End::Response(StatusCode::INTERNAL_SERVER_ERROR), End::Cancelled] {
        let committed = overtaken(&layer, &gate, Call::Commit, end, |session| async move {
            session.app::<Shop>().set("n", &1).unwrap();
            let committed = session.commit().await;
            assert_eq!((session.session_id(), session.created()), (None, false));
            session.rollback();
            committed
        })
        .await;
        assert_eq!(committed, Err(SessionError::ResponseStarted), "{end:?}");
        assert_eq!(remove_all(&layer).await, 0, "{end:?}");
    }
}

// L4, L6
#[tokio::test]
async fn a_response_that_commits_waits_for_a_commit_that_is_under_way() {
    let (layer, gate) = gated().await;
    let mut task = None;
    let answer = send(&layer, request_with(&[]), async |session| {
        gate.hold(Call::Commit);
        session.app::<Shop>().set("n", &1).unwrap();
        task = Some(tokio::spawn(async move { session.commit().await }));
        gate.arrival().await;
        gate.open();
    })
    .await;
    assert_eq!(task.unwrap().await.unwrap(), Ok(()));
    let id = answer.new_id().unwrap();
    assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 1)])));
    assert_eq!(remove_all(&layer).await, 1);
}

// S2, L6: an error response drops what nobody has committed, and this was.
#[tokio::test]
async fn a_task_sees_what_its_commit_has_stored_in_spite_of_a_5xx() {
    let (layer, gate) = gated().await;
    let id = session_with(&layer, &[("n", 1)]).await;
    let mut task = None;
    let answer = send(&layer, request_of(&id), async |session| {
        let shop = session.app::<Shop>();
        assert_eq!(shop.get::<i64>("n").await, Ok(Some(1)));
        shop.set("n", &2).unwrap();
        gate.hold(Call::Commit);
        task = Some(tokio::spawn(async move {
            session.commit().await.unwrap();
            session.app::<Shop>().get::<i64>("n").await
        }));
        gate.arrival().await;
        StatusCode::INTERNAL_SERVER_ERROR
    })
    .await;
    assert_eq!(answer.status, 500);
    gate.open();
    assert_eq!(task.unwrap().await.unwrap(), Ok(Some(2)));
    assert_eq!(items_of(&layer, &id).await, Some(items(&[("n", 2)])));
}
