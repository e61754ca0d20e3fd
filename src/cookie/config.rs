//! What the session cookie looks like, and the rules that its attributes have to follow.
//!
//! The rules are those of RFC 6265bis (draft-ietf-httpbis-rfc6265bis): cookie name prefixes
//! (section 4.1.3), the sizes that user agents accept and the greatest lifetime (section 5).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::max_age::{MAX_LIFETIME_SECONDS, MaxAge};
use crate::error::ConfigError;

/// The greatest size of name and value together, in bytes. User agents drop what is larger.
const MAX_PAIR: usize = 4096;

/// The greatest size of an attribute's value, in bytes. User agents ignore what is larger.
const MAX_ATTRIBUTE: usize = 1024;

/// The session cookie: its name and attributes.
///
/// The default is `sessionID=…; HttpOnly; SameSite=Lax; Secure; Path=/` with a `Max-Age` up to the
/// session's own end. It is checked when the layer is built.
///
/// ```
/// use web_session::{CookieConfig, MaxAge, SameSite};
///
/// let cookie = CookieConfig::default()
///     .with_name("__Host-session")
///     .with_same_site(SameSite::Strict)
///     .with_max_age(MaxAge::Browser);
/// assert_eq!(cookie.path(), "/");
/// ```
///
/// It can be read from a configuration file; what is not given has its default, and an unknown key
/// is an error:
///
/// ```
/// use web_session::{CookieConfig, MaxAge};
///
/// let cookie: CookieConfig = serde_json::from_str(r#"{"path": "/shop", "max-age": 600}"#)?;
/// assert_eq!(cookie.max_age(), MaxAge::Seconds(600));
/// assert!(serde_json::from_str::<CookieConfig>(r#"{"maxage": 600}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CookieConfig {
    name: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    max_age: MaxAge,
    secure: bool,
    http_only: bool,
    same_site: SameSite,
    partitioned: bool,
}

impl Default for CookieConfig {
    fn default() -> Self {
        Self {
            name: "sessionID".to_owned(),
            path: "/".to_owned(),
            domain: None,
            comment: None,
            max_age: MaxAge::Session,
            secure: true,
            http_only: true,
            same_site: SameSite::Lax,
            partitioned: false,
        }
    }
}

impl CookieConfig {
    /// The name. Default: `sessionID`. With the prefix `__Host-` a user agent lets no other host
    /// and no insecure page set the cookie.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The path below which the cookie is sent. Default: `/`, the whole site.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The domain whose hosts get the cookie. Default: none, only the host that set it. With a
    /// domain every one of its hosts can read and overwrite the cookie.
    #[must_use]
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// A comment for people who look at their cookies. Default: none. User agents ignore it.
    #[must_use]
    pub fn with_comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// How long the user agent keeps the cookie. Default: [`MaxAge::Session`].
    #[must_use]
    pub fn with_max_age(mut self, max_age: MaxAge) -> Self {
        self.max_age = max_age;
        self
    }

    /// Which requests from other sites carry the cookie. Default: [`SameSite::Lax`].
    #[must_use]
    pub fn with_same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Sends the cookie over plain HTTP too. Default: only over HTTPS (and to `localhost`, as most
    /// user agents have it). Without `Secure` everyone on the network path can take the session.
    #[must_use]
    pub fn without_secure(mut self) -> Self {
        self.secure = false;
        self
    }

    /// Lets scripts of the page read the cookie. Default: they cannot. Without `HttpOnly` any script
    /// that gets into a page can take the session.
    #[must_use]
    pub fn without_http_only(mut self) -> Self {
        self.http_only = false;
        self
    }

    /// Keeps a cookie of its own for each top-level site that embeds this one (CHIPS). Default: off.
    #[must_use]
    pub fn with_partitioned(mut self) -> Self {
        self.partitioned = true;
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The domain; an empty one is none.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref().filter(|domain| !domain.is_empty())
    }

    /// The comment.
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// How long the user agent keeps the cookie.
    pub fn max_age(&self) -> MaxAge {
        self.max_age
    }

    /// Which requests from other sites carry the cookie.
    pub fn same_site(&self) -> SameSite {
        self.same_site
    }

    /// Whether it is sent over HTTPS only.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether it is hidden from scripts.
    pub fn is_http_only(&self) -> bool {
        self.http_only
    }

    /// Whether each embedding site has its own.
    pub fn is_partitioned(&self) -> bool {
        self.partitioned
    }

    /// Checks every rule that a user agent would enforce by dropping the cookie, for sessions that live
    /// as long as `expire` and values of this length.
    pub(crate) fn check(&self, expire: Duration, value_len: usize) -> Result<(), ConfigError> {
        self.check_text(value_len)?;
        self.check_prefix()?;
        if self.same_site == SameSite::None && !self.secure {
            return Err(ConfigError::NeedsSecure("SameSite=None"));
        }
        if self.partitioned && !self.secure {
            return Err(ConfigError::NeedsSecure("Partitioned"));
        }
        let lifetime = match self.max_age {
            MaxAge::Session => expire.as_secs(),
            MaxAge::Seconds(seconds) => seconds,
            MaxAge::Browser => 0,
        };
        if lifetime > MAX_LIFETIME_SECONDS {
            return Err(ConfigError::CookieLifetime(lifetime));
        }
        Ok(())
    }

    fn check_text(&self, value_len: usize) -> Result<(), ConfigError> {
        let name_ok = !self.name.is_empty() && self.name.bytes().all(is_token_byte);
        if !name_ok {
            return Err(ConfigError::CookieName);
        }
        if self.name.len() + value_len > MAX_PAIR {
            return Err(ConfigError::CookieTooLong { what: "name and value", limit: MAX_PAIR });
        }
        let attributes = [
            ("path", Some(self.path.as_str())),
            ("domain", self.domain()),
            ("comment", self.comment()),
        ];
        for (what, value) in attributes {
            let Some(value) = value else { continue };
            if value.len() > MAX_ATTRIBUTE {
                return Err(ConfigError::CookieTooLong { what, limit: MAX_ATTRIBUTE });
            }
            if !value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';') {
                return Err(ConfigError::CookieCharacters(what));
            }
        }
        if !self.path.starts_with('/') {
            return Err(ConfigError::CookiePath);
        }
        // A user agent would cut it off, and take the cookie for that of another path.
        if self.path.ends_with(' ') {
            return Err(ConfigError::CookieCharacters("path"));
        }
        if self.domain().is_some_and(|domain| !is_host(domain)) {
            return Err(ConfigError::CookieCharacters("domain"));
        }
        if self.comment().is_some_and(|comment| comment.contains(['"', '\\'])) {
            return Err(ConfigError::CookieCharacters("comment"));
        }
        Ok(())
    }

    fn check_prefix(&self) -> Result<(), ConfigError> {
        let has_prefix = |prefix: &str| {
            self.name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if has_prefix("__Secure-") && !self.secure {
            return Err(ConfigError::NeedsSecure("a name with the prefix __Secure-"));
        }
        if has_prefix("__Host-") && (!self.secure || self.path != "/" || self.domain().is_some()) {
            return Err(ConfigError::HostPrefix);
        }
        Ok(())
    }
}

/// Whether it has the form of a host's name, with or without a dot before it. Of a dot alone a user
/// agent would make a cookie without a domain.
fn is_host(domain: &str) -> bool {
    let in_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let mut labels = domain.strip_prefix('.').unwrap_or(domain).split('.');
    labels.all(|label| !label.is_empty() && label.bytes().all(in_label))
}

/// The characters of a `token` (RFC 9110, section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Which requests from other sites carry the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// None.
    Strict,
    /// Following a link, and no others.
    #[default]
    Lax,
    /// All. The application has to defend itself against cross-site request forgery.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn check(cookie: &CookieConfig) -> Result<(), ConfigError> {
        cookie.check(DAY, 32)
    }

    // C2
    #[test]
    fn a_prefix_is_checked_whatever_its_case() {
        for name in ["__Host-id", "__host-id", "__HOST-id"] {
            let cookie = CookieConfig::default().with_name(name);
            assert_eq!(check(&cookie), Ok(()));
            assert_eq!(check(&cookie.clone().without_secure()), Err(ConfigError::HostPrefix));
            assert_eq!(check(&cookie.clone().with_path("/a")), Err(ConfigError::HostPrefix));
            let with_domain = cookie.with_domain("example.com");
            assert_eq!(check(&with_domain), Err(ConfigError::HostPrefix));
        }
        for name in ["__Secure-id", "__secure-id"] {
            let cookie = CookieConfig::default().with_name(name);
            assert_eq!(check(&cookie.clone().with_path("/a")), Ok(()));
            assert!(matches!(check(&cookie.without_secure()), Err(ConfigError::NeedsSecure(_))));
        }
    }

    // C2
    #[test]
    fn same_site_none_and_partitioned_need_secure() {
        let plain = CookieConfig::default().without_secure();
        assert_eq!(check(&plain), Ok(()));
        let none = plain.clone().with_same_site(SameSite::None);
        assert_eq!(check(&none), Err(ConfigError::NeedsSecure("SameSite=None")));
        let partitioned = plain.with_partitioned();
        assert_eq!(check(&partitioned), Err(ConfigError::NeedsSecure("Partitioned")));
    }

    // C2
    #[test]
    fn what_would_break_the_header_is_refused() {
        let cookie = CookieConfig::default;
        for text in ["a\r\nb", "a\nb", "a;b", "a\0b", "ä"] {
            assert_eq!(check(&cookie().with_name(text)), Err(ConfigError::CookieName), "{text:?}");
            let path = cookie().with_path(format!("/{text}"));
            assert_eq!(check(&path), Err(ConfigError::CookieCharacters("path")), "{text:?}");
            let domain = cookie().with_domain(text);
            assert_eq!(check(&domain), Err(ConfigError::CookieCharacters("domain")), "{text:?}");
            let comment = cookie().with_comment(text);
            assert_eq!(check(&comment), Err(ConfigError::CookieCharacters("comment")), "{text:?}");
        }
        for name in ["", "a b", "a=b", "a,b", "\"a\""] {
            assert_eq!(check(&cookie().with_name(name)), Err(ConfigError::CookieName), "{name:?}");
        }
        assert_eq!(check(&cookie().with_path("shop")), Err(ConfigError::CookiePath));
        assert_eq!(check(&cookie().with_path("")), Err(ConfigError::CookiePath));
        for path in ["/ ", "/shop "] {
            let path = cookie().with_path(path);
            assert_eq!(check(&path), Err(ConfigError::CookieCharacters("path")));
        }
        assert_eq!(check(&cookie().with_path("/my shop")), Ok(()));
        for domain in [".", "..", "..example.com", "example..com", "example.com.", "a_b"] {
            let domain = cookie().with_domain(domain);
            assert_eq!(check(&domain), Err(ConfigError::CookieCharacters("domain")), "{domain:?}");
        }
        for domain in ["localhost", "example.com", ".example.com", ""] {
            assert_eq!(check(&cookie().with_domain(domain)), Ok(()), "{domain:?}");
        }
        for comment in ["say \"hi\"", "back\\slash"] {
            let comment = cookie().with_comment(comment);
            assert_eq!(check(&comment), Err(ConfigError::CookieCharacters("comment")));
        }
    }

    // C2
    #[test]
    fn sizes_and_lifetimes_are_bounded_at_the_boundary() {
        let cookie = CookieConfig::default;
        let name = |length| cookie().with_name("n".repeat(length));
        assert_eq!(check(&name(4096 - 32)), Ok(()));
        assert!(matches!(check(&name(4097 - 32)), Err(ConfigError::CookieTooLong { .. })));
        assert!(cookie().with_name("n".repeat(4096 - 32)).check(DAY, 33).is_err());
        let path = |length: usize| cookie().with_path(format!("/{}", "p".repeat(length - 1)));
        assert_eq!(check(&path(1024)), Ok(()));
        assert!(matches!(check(&path(1025)), Err(ConfigError::CookieTooLong { .. })));
        let max_age = |seconds| cookie().with_max_age(MaxAge::Seconds(seconds));
        assert_eq!(check(&max_age(34_560_000)), Ok(()));
        assert_eq!(check(&max_age(34_560_001)), Err(ConfigError::CookieLifetime(34_560_001)));
        let lives = |cookie: CookieConfig, days| cookie.check(days * DAY, 32);
        assert_eq!(lives(cookie(), 400), Ok(()));
        assert_eq!(lives(cookie(), 401), Err(ConfigError::CookieLifetime(401 * 86_400)));
        assert_eq!(lives(cookie().with_max_age(MaxAge::Browser), 401), Ok(()));
    }

    // T1
    #[test]
    fn the_three_forms_of_max_age_are_kept_with_a_session() {
        for max_age in [
            MaxAge::Session,
            MaxAge::Browser,
            MaxAge::Seconds(0),
            MaxAge::Seconds(MAX_LIFETIME_SECONDS),
        ] {
            assert_eq!(MaxAge::from_stored(max_age.to_stored()), max_age);
        }
    }

    // M3
    #[test]
    fn the_three_forms_of_max_age_survive_a_configuration_file() {
        for (text, max_age) in [
            (r#""session""#, MaxAge::Session),
            ("0", MaxAge::Seconds(0)),
            ("86400", MaxAge::Seconds(86_400)),
            (r#""browser""#, MaxAge::Browser),
        ] {
            assert_eq!(serde_json::from_str::<MaxAge>(text).unwrap(), max_age);
            assert_eq!(serde_json::to_string(&max_age).unwrap(), text);
        }
        for text in ["-1", "1.5", r#""forever""#, "null", "true", "[]"] {
            let error = serde_json::from_str::<MaxAge>(text).unwrap_err().to_string();
            assert!(error.contains("\"session\", a number of seconds"), "{text}: {error}");
        }
    }

    // M3
    #[test]
    fn an_unknown_key_of_a_configuration_is_an_error_that_names_it() {
        let error = serde_json::from_str::<CookieConfig>(r#"{"maxage": 1}"#).unwrap_err();
        assert!(error.to_string().contains("maxage"), "{error}");
        let whole = CookieConfig::default().with_comment("why").with_domain("example.com");
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<CookieConfig>(&text).unwrap(), whole);
    }
}
