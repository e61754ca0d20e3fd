//! Requests that no browser would send.

use http::HeaderValue;
use http::header::COOKIE;
use proptest::prelude::*;
use web_session::{MemoryDriver, SessionError};

use crate::visitor::*;
use crate::wrappers::Counting;

/// `Cookie` headers that are nearly right, and ones that are not right at all.
fn cookie_header() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        "(sessionID=[0-9a-f]{32}(; ?)?){0,7}",
        "[ -~]{0,60}",
        "(sessionID|session|a)=(\"[0-9a-f]{32}\"|[0-9a-fA-F]{30,34}|[ -~]{0,40});?",
        "[=; \",]{0,30}sessionID={0,3}[0-9a-f]{32}[=; \",]{0,30}",
    ];
    prop_oneof![
        text.prop_map(String::into_bytes),
        prop::collection::vec(prop_oneof![Just(b'\t'), 32_u8..=126, 128_u8..=255], 0..120),
    ]
}

proptest! {
    // E3, L1, SECURITY 4, SECURITY 7
    #[test]
    fn no_cookie_header_makes_the_layer_panic_or_adopt_an_id(
        headers in prop::collection::vec(cookie_header(), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let counting = Counting::new(MemoryDriver::new());
            let layer = layer(counting.clone()).await;
            let request = || {
                let mut request = request_with(&[]);
                for header in &headers {
                    if let Ok(value) = HeaderValue::from_bytes(header) {
                        request.headers_mut().append(COOKIE, value);
                    }
                }
                request
            };
            let read = send(&layer, request(), async |session| {
                assert!(!session.load().await?);
                session.app::<Shop>().len().await.map(|n| n.to_string())
            })
            .await;
            assert_eq!((read.status.as_u16(), &*read.body), (200, "0"));
            assert_eq!(read.new_id(), None);

            let write = send(&layer, request(), async |session| {
                session.app::<Shop>().set("n", &1)
            })
            .await;
            assert_eq!(write.status, 200);
            let id = write.new_id().unwrap();
            let presented = headers.concat();
            assert!(!presented.windows(32).any(|window| window == id.as_bytes()));

            let end = send(&layer, request(), async |session| {
                session.end().await?;
                session.app::<Shop>().set("n", &1)?;
                session.rollback();
                Ok::<_, SessionError>(())
            })
            .await;
            assert_eq!(end.status, 200);
            assert!(counting.widest_load() <= 4);
            assert_eq!(remove_all(&layer).await, 1);
        });
    }
}
