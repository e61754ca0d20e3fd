//! Any configuration of a layer: JSON text of a cookie if it begins with `{`, else values.
//!
//! It is refused with an error, or the cookies that are sent under it are one valid header each,
//! which another reader takes apart into what was configured.

#![no_main]

mod support;

use std::time::Duration;

use cookie::Cookie;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use support::{builder, run};
use web_session::{BuildError, CookieConfig, MaxAge, MemoryDriver, SameSite, SessionError};

const LONGEST_LIFE: u64 = 400 * 24 * 60 * 60;

#[derive(Debug, Arbitrary)]
struct Values<'a> {
    name: Option<&'a str>,
    path: Option<&'a str>,
    domain: Option<&'a str>,
    comment: Option<&'a str>,
    max_age: Life,
    same_site: u8,
    secure: bool,
    http_only: bool,
    partitioned: bool,
    expire: Option<Duration>,
    own_expire: Option<Duration>,
    cleanup_probability: Option<f64>,
    seed: &'a [u8],
}

#[derive(Debug, Arbitrary)]
enum Life {
    Session,
    Browser,
    Seconds(u64),
}

impl Values<'_> {
    fn cookie(&self) -> CookieConfig {
        let mut cookie = CookieConfig::default();
        cookie = self.name.into_iter().fold(cookie, |cookie, name| cookie.with_name(name));
        cookie = self.path.into_iter().fold(cookie, |cookie, path| cookie.with_path(path));
        cookie = self.domain.into_iter().fold(cookie, |cookie, domain| cookie.with_domain(domain));
        cookie = self.comment.into_iter().fold(cookie, |cookie, text| cookie.with_comment(text));
        cookie = cookie.with_max_age(match self.max_age {
            Life::Session => MaxAge::Session,
            Life::Browser => MaxAge::Browser,
            Life::Seconds(seconds) => MaxAge::Seconds(seconds),
        });
        cookie = cookie.with_same_site(match self.same_site % 3 {
            0 => SameSite::Strict,
            1 => SameSite::Lax,
            _ => SameSite::None,
        });
        if !self.secure {
            cookie = cookie.without_secure();
        }
        if !self.http_only {
            cookie = cookie.without_http_only();
        }
        if self.partitioned { cookie.with_partitioned() } else { cookie }
    }
}

fuzz_target!(|data: &[u8]| {
    if data.starts_with(b"{") {
        if let Ok(cookie) = serde_json::from_slice(data) {
            run(check(&Values { secure: true, ..plain() }, cookie));
        }
    } else if let Ok(values) = Values::arbitrary_take_rest(Unstructured::new(data)) {
        run(check(&values, values.cookie()));
    }
});

/// What the text of a cookie does not say.
fn plain() -> Values<'static> {
    Values {
        name: None,
        path: None,
        domain: None,
        comment: None,
        max_age: Life::Session,
        same_site: 0,
        secure: true,
        http_only: true,
        partitioned: false,
        expire: None,
        own_expire: None,
        cleanup_probability: None,
        seed: b"",
    }
}

async fn check(values: &Values<'_>, cookie: CookieConfig) {
    let written = serde_json::to_string(&cookie).expect("a configuration can be written");
    assert_eq!(serde_json::from_str::<CookieConfig>(&written).expect("and read"), cookie);

    let mut layer = builder(MemoryDriver::new()).cookie(cookie.clone()).seed(values.seed);
    if let Some(expire) = values.expire {
        layer = layer.expire(expire);
    }
    if let Some(probability) = values.cleanup_probability {
        layer = layer.cleanup_probability(probability);
    }
    let layer = match layer.build().await {
        Ok(layer) => layer,
        Err(BuildError::Config(error)) => {
            assert!(!error.to_string().is_empty());
            return;
        }
        Err(other) => panic!("memory does not fail: {other}"),
    };

    let session = layer.manager();
    let life = values.own_expire.unwrap_or(session.expire());
    let id = match session.create_for(life).await {
        Ok(id) => id,
        Err(SessionError::ExpireTooShort) => return,
        Err(other) => panic!("memory does not fail: {other}"),
    };
    let exposed = id.expose();
    let [(_, set)] = &*session.response_headers() else { panic!("one cookie is set") };
    let max_age = match cookie.max_age() {
        MaxAge::Session => Some(life.as_secs().min(LONGEST_LIFE)),
        MaxAge::Seconds(seconds) => Some(seconds),
        MaxAge::Browser => None,
    };
    is_as_configured(set, &cookie, exposed.as_str(), max_age);
    is_as_configured(&session.delete_cookie_string(), &cookie, "", Some(0));

    let sent_back = format!("{}={}", cookie.name(), exposed.as_str());
    let sent_back = HeaderValue::from_str(&sent_back).expect("what was set can be sent back");
    let headers = HeaderMap::from_iter([(COOKIE, sent_back)]);
    assert_eq!(session.cookie_session_id(&headers), Some(id));
}

fn is_as_configured(value: &HeaderValue, config: &CookieConfig, id: &str, max_age: Option<u64>) {
    assert!(value.is_sensitive());
    let text = value.to_str().expect("visible ASCII");
    let read = Cookie::parse(text).expect("a cookie");
    assert_eq!(read.name_value(), (config.name(), id));
    assert_eq!(read.path(), Some(config.path()));
    // A user agent ignores one dot at the start.
    let domain = config.domain().map(|domain| domain.strip_prefix('.').unwrap_or(domain));
    assert_eq!(read.domain(), domain);
    assert_eq!(read.secure().unwrap_or(false), config.is_secure());
    assert_eq!(read.http_only().unwrap_or(false), config.is_http_only());
    assert_eq!(read.partitioned().unwrap_or(false), config.is_partitioned());
    let same_site = match config.same_site() {
        SameSite::Strict => cookie::SameSite::Strict,
        SameSite::Lax => cookie::SameSite::Lax,
        SameSite::None => cookie::SameSite::None,
    };
    assert_eq!(read.same_site(), Some(same_site));
    let seconds = read.max_age().map(|age| age.whole_seconds().unsigned_abs());
    assert_eq!(seconds, max_age);

    // What a user agent would drop, and no attribute but those that were meant.
    let mut attributes: Vec<_> = text.split("; ").skip(1).collect();
    for attribute in &attributes {
        let (_, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        assert!(value.len() <= 1024 + "\"\"".len(), "an attribute is too long");
        assert!(value.trim() == value, "a user agent would cut white space off");
    }
    attributes.retain(|attribute| !attribute.starts_with("Expires="));
    let expected = 2
        + usize::from(config.domain().is_some())
        + usize::from(config.comment().is_some())
        + usize::from(config.is_secure())
        + usize::from(config.is_http_only())
        + usize::from(config.is_partitioned())
        + usize::from(max_age.is_some());
    assert_eq!(attributes.len(), expected);
    let name = config.name().to_ascii_lowercase();
    assert!(!name.starts_with("__secure-") || config.is_secure());
    assert!(
        !name.starts_with("__host-")
            || (config.is_secure() && config.path() == "/" && config.domain().is_none())
    );
    assert!(config.same_site() != SameSite::None || config.is_secure());
}
