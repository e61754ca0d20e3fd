//! The session cookie: its configuration, the reading of `Cookie` headers, the writing of
//! `Set-Cookie` values, and the queue of what has to be sent.

mod config;
pub(crate) mod header;
mod max_age;
pub(crate) mod signing;

use std::fmt::Write;
use std::time::Duration;

use cookie::Cookie;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

pub use config::{CookieConfig, SameSite};
use max_age::MAX_LIFETIME_SECONDS;
pub use max_age::MaxAge;

impl CookieConfig {
    /// What all `Set-Cookie` values that set the cookie have in common.
    pub(crate) fn template(&self) -> Template {
        let text = self.base("").to_string();
        // A name has no equals sign.
        let value_at = text.find('=').map_or(text.len(), |at| at + 1);
        let (before, after) = text.split_at(value_at);
        Template { before: before.into(), after: after.into(), comment: self.comment_attribute() }
    }

    /// The `Set-Cookie` value that removes the cookie. It has the name, path, domain and flags of
    /// the one it removes, or a user agent would take it for another (RFC 6265bis, section 5.7).
    pub(crate) fn removal(&self) -> HeaderValue {
        let mut cookie = self.base("");
        cookie.set_max_age(time::Duration::ZERO);
        cookie.set_expires(time::OffsetDateTime::UNIX_EPOCH);
        header(cookie.to_string() + &self.comment_attribute())
    }

    fn base<'a>(&'a self, value: &'a str) -> Cookie<'a> {
        let mut cookie = Cookie::new(self.name(), value);
        cookie.set_path(self.path());
        if let Some(domain) = self.domain() {
            cookie.set_domain(domain);
        }
        cookie.set_http_only(self.is_http_only());
        cookie.set_secure(self.is_secure());
        cookie.set_partitioned(self.is_partitioned());
        cookie.set_same_site(match self.same_site() {
            SameSite::Strict => cookie::SameSite::Strict,
            SameSite::Lax => cookie::SameSite::Lax,
            SameSite::None => cookie::SameSite::None,
        });
        cookie
    }

    /// Not an attribute that the `cookie` crate knows; `check` allows no quote in it.
    fn comment_attribute(&self) -> String {
        self.comment().map(|comment| format!("; Comment=\"{comment}\"")).unwrap_or_default()
    }
}

/// The parts of a `Set-Cookie` value that are the same for each session, written once a layer.
#[derive(Debug)]
pub(crate) struct Template {
    before: Box<str>,
    after: Box<str>,
    comment: String,
}

impl Template {
    /// The `Set-Cookie` value that gives the visitor `value`. `remaining` is the time to the
    /// session's end, for [`MaxAge::Session`].
    pub(crate) fn set(&self, value: &str, max_age: MaxAge, remaining: Duration) -> HeaderValue {
        const LONGEST_MAX_AGE: usize = "; Max-Age=34560000".len();
        let Self { before, after, comment } = self;
        let length = before.len() + value.len() + after.len() + LONGEST_MAX_AGE + comment.len();
        let mut text = String::with_capacity(length);
        text.extend([before, value, after]);
        let seconds = match max_age {
            // A user agent must not keep it longer than the server, so a part of a second is cut.
            MaxAge::Session => Some(remaining.as_secs()),
            MaxAge::Seconds(seconds) => Some(seconds),
            MaxAge::Browser => None,
        };
        if let Some(seconds) = seconds {
            // Writing to a string cannot fail.
            let _ = write!(text, "; Max-Age={}", seconds.min(MAX_LIFETIME_SECONDS));
        }
        text.push_str(comment);
        header(text)
    }
}

fn header(text: String) -> HeaderValue {
    // `check` has refused every character that a header cannot hold.
    let mut value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// The `Set-Cookie` pairs of one request. All are of one name, so a later one replaces an earlier.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Option<HeaderValue>,
    sent: SmallVec<[HeaderValue; 1]>,
    taken: Vec<HeaderValue>,
}

impl Queue {
    pub(crate) fn push(&mut self, value: HeaderValue) {
        self.waiting = Some(value);
    }

    /// Drops what waits.
    pub(crate) fn withdraw(&mut self) {
        self.waiting = None;
    }

    pub(crate) fn waiting(&self) -> Vec<(HeaderName, HeaderValue)> {
        pairs(&self.waiting)
    }

    pub(crate) fn sent(&self) -> Vec<(HeaderName, HeaderValue)> {
        pairs(&self.sent)
    }

    pub(crate) fn take(&mut self) -> Vec<(HeaderName, HeaderValue)> {
        self.taken.extend(self.waiting.clone());
        pairs(&self.waiting.take())
    }

    /// Appends what waits to `headers`.
    pub(crate) fn send(&mut self, headers: &mut HeaderMap) {
        if let Some(value) = self.waiting.take() {
            if self.has_left() {
                self.remove_earlier(headers);
            }
            headers.append(SET_COOKIE, value.clone());
            self.sent.push(value);
        }
    }

    /// Removes what has left the queue before: a response has one cookie of a name (RFC 6265bis,
    /// section 4.1.1).
    fn remove_earlier(&self, headers: &mut HeaderMap) {
        let has_left =
            |value: &&HeaderValue| self.sent.contains(value) || self.taken.contains(value);
        let others = headers.get_all(SET_COOKIE).iter().filter(|value| !has_left(value));
        let others: Vec<_> = others.cloned().collect();
        headers.remove(SET_COOKIE);
        headers.extend(others.into_iter().map(|value| (SET_COOKIE, value)));
    }

    /// Whether nothing was ever queued.
    pub(crate) fn is_unused(&self) -> bool {
        self.waiting.is_none() && !self.has_left()
    }

    /// Whether a cookie has left the queue, for whatever headers.
    pub(crate) fn has_left(&self) -> bool {
        !self.taken.is_empty() || !self.sent.is_empty()
    }

    pub(crate) fn last_sent(&self) -> Option<&HeaderValue> {
        self.sent.last()
    }
}

fn pairs<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> Vec<(HeaderName, HeaderValue)> {
    values.into_iter().map(|value| (SET_COOKIE, value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn set(config: &CookieConfig, max_age: MaxAge, remaining: Duration) -> String {
        let value = config.template().set(ID, max_age, remaining);
        assert!(value.is_sensitive(), "E2");
        value.to_str().unwrap().to_owned()
    }

    // C1, C3
    #[test]
    fn the_default_cookie_has_every_protection() {
        let cookie =
            set(&CookieConfig::default(), MaxAge::Session, Duration::from_millis(86_400_999));
        assert_eq!(
            cookie,
            format!("sessionID={ID}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=86400")
        );
    }

    // M3
    #[test]
    fn max_age_follows_its_three_forms() {
        let config = CookieConfig::default();
        let hour = Duration::from_secs(3_600);
        assert!(set(&config, MaxAge::Session, hour).ends_with("; Max-Age=3600"));
        assert!(set(&config, MaxAge::Seconds(5), hour).ends_with("; Max-Age=5"));
        assert!(set(&config, MaxAge::Seconds(0), hour).ends_with("; Max-Age=0"));
        assert!(!set(&config, MaxAge::Browser, hour).contains("Max-Age"));
        let years = Duration::from_secs(u64::MAX);
        assert!(set(&config, MaxAge::Session, years).ends_with("; Max-Age=34560000"));
    }

    // C3
    #[test]
    fn a_comment_is_sent_quoted_and_only_when_it_is_set() {
        let config = CookieConfig::default().with_comment("keeps you logged in");
        let cookie = set(&config, MaxAge::Browser, Duration::ZERO);
        assert!(cookie.ends_with("; Comment=\"keeps you logged in\""), "{cookie}");
        assert!(!cookie.contains("Version"));
    }

    // M22
    #[test]
    fn a_removal_repeats_all_that_identifies_the_cookie() {
        let config = CookieConfig::default()
            .with_name("__Secure-id")
            .with_path("/shop")
            .with_domain("example.com")
            .with_partitioned();
        let removal = config.removal().to_str().unwrap().to_owned();
        for part in [
            "__Secure-id=;",
            "; HttpOnly",
            "; SameSite=Lax",
            "; Partitioned",
            "; Secure",
            "; Path=/shop",
            "; Domain=example.com",
            "; Max-Age=0",
            "; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        ] {
            assert!(removal.contains(part), "{part} is not in {removal}");
        }
    }

    proptest! {
        // C1
        #[test]
        fn every_cookie_that_is_sent_is_read_back_by_another_reader(
            name in "[a-zA-Z][a-zA-Z0-9_.-]{0,20}",
            path in "/[a-z/]{0,20}",
            domain in prop::option::of("[a-z]{1,10}\\.[a-z]{2,5}"),
            seconds in 0..=MAX_LIFETIME_SECONDS,
            flags in prop::array::uniform3(any::<bool>()),
        ) {
            let [secure, http_only, partitioned] = flags;
            let partitioned = partitioned && secure;
            let mut config = CookieConfig::default().with_name(&name).with_path(&path);
            if let Some(domain) = &domain {
                config = config.with_domain(domain);
            }
            if !secure {
                config = config.without_secure();
            }
            if !http_only {
                config = config.without_http_only();
            }
            if partitioned {
                config = config.with_partitioned();
            }
            let text = set(&config, MaxAge::Seconds(seconds), Duration::ZERO);
            let read = Cookie::parse(text).unwrap();
            prop_assert_eq!(read.name_value(), (name.as_str(), ID));
            prop_assert_eq!(read.path(), Some(path.as_str()));
            prop_assert_eq!(read.domain(), domain.as_deref());
            prop_assert_eq!(read.secure().unwrap_or(false), secure);
            prop_assert_eq!(read.http_only().unwrap_or(false), http_only);
            prop_assert_eq!(read.partitioned().unwrap_or(false), partitioned);
            prop_assert_eq!(read.max_age().unwrap().whole_seconds(), seconds as i64);
        }
    }
}
