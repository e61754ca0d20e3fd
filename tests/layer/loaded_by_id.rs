//! Sessions that a request loads by their id, such as another visitor's by an administrator: the
//! cookie goes on naming the visitor's own.

use std::time::{Duration, SystemTime};

use web_session::{MemoryDriver, SessionError, SessionLayer, SessionTarget};

use crate::visitor::*;

/// The ids of a visitor and of somebody else.
async fn two_sessions(layer: &SessionLayer) -> [String; 2] {
    [session_with(layer, &[("own", 1)]).await, session_with(layer, &[("other", 1)]).await]
}

// M11, M17
#[tokio::test]
async fn a_new_end_of_it_does_not_hand_it_to_the_visitor() {
    let layer = layer(MemoryDriver::new()).await;
    let [own, other] = two_sessions(&layer).await;
    for (end, lives) in
        [(SystemTime::now() + Duration::from_secs(60), true), (SystemTime::UNIX_EPOCH, false)]
    {
        let answer = send(&layer, request_of(&own), async |session| {
            assert!(session.load_id(&other).await?);
            session.set_expire(end, SessionTarget::Current).await
        })
        .await;
        assert_eq!((answer.status.as_u16(), answer.session_cookies()), (200, vec![]));
        assert_eq!(items_of(&layer, &other).await.is_some(), lives);
        assert_eq!(items_of(&layer, &own).await, Some(items(&[("own", 1)])));
    }
}

// M11, M14
#[tokio::test]
async fn its_end_is_not_that_of_the_visitors_own() {
    let layer = layer(MemoryDriver::new()).await;
    let [own, other] = two_sessions(&layer).await;
    let answer = send(&layer, request_of(&own), async |session| {
        assert!(session.load_id(&other).await?);
        session.end().await?;
        assert_eq!(session.session_id(), None);
        // From here on the request works with its own again.
        session.app::<Shop>().set("own", &2)
    })
    .await;
    assert_eq!((answer.status.as_u16(), answer.session_cookies()), (200, vec![]));
    assert_eq!(items_of(&layer, &other).await, None);
    assert_eq!(items_of(&layer, &own).await, Some(items(&[("own", 2)])));
}

// M11, M17: the visitor's own, by its id, is the visitor's own.
#[tokio::test]
async fn the_visitors_own_by_its_id_keeps_its_cookie() {
    let layer = layer(MemoryDriver::new()).await;
    let [own, _] = two_sessions(&layer).await;
    let answer = send(&layer, request_of(&own), async |session| {
        assert!(session.load_id(&own).await?);
        let later = SystemTime::now() + Duration::from_secs(60);
        session.set_expire(later, SessionTarget::Current).await
    })
    .await;
    assert_eq!(answer.new_id(), Some(own.clone()));
    let answer = send(&layer, request_of(&own), async |session| {
        assert!(session.load_id(&own).await?);
        session.end().await?;
        Ok::<_, SessionError>(())
    })
    .await;
    assert!(answer.removes_cookie());
    assert_eq!(items_of(&layer, &own).await, None);
}
