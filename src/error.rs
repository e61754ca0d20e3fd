//! What can go wrong: [`SessionError`] and its parts. No text in here holds an id, a key or a value.

use std::fmt;

use http::StatusCode;

use crate::driver::{DriverError, DriverErrorKind, InvalidApplication};
use crate::random::RandomError;

/// Why an operation on a session failed.
///
/// As an axum response it is [`status`](Self::status) with a body that tells a visitor nothing
/// about the inside, except that [`MissingLayer`](Self::MissingLayer) and
/// [`SameCookieName`](Self::SameCookieName) tell the developer what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The operation is possible and rarely wanted; the call says how to do it all the same.
    #[error(transparent)]
    Warning(#[from] SessionWarning),
    /// The storage failed. Never taken for "there is no session".
    #[error(transparent)]
    Driver(DriverError),
    /// The random source failed.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The name of an application is not allowed.
    #[error(transparent)]
    InvalidApplication(#[from] InvalidApplication),
    /// The key of an item is not allowed.
    #[error("a key has 1 to 255 bytes of UTF-8, this one has {0}")]
    InvalidKey(usize),
    /// The value cannot be turned into JSON.
    #[error("the value cannot be stored as JSON: {0}")]
    Encode(JsonError),
    /// What is stored under the key is not of the wanted type.
    #[error("the stored JSON is not of the wanted type: {0}")]
    Decode(JsonError),
    /// A value, or an application in a session, would be or is larger than its limit.
    #[error("{0}")]
    TooLarge(DriverError),
    /// There is no item to delete.
    #[error("there is no item under this key; `remove` does not mind")]
    NoSuchItem,
    /// There is no such session.
    #[error("there is no such session")]
    NoSuchSession,
    /// The operation needs a session that is loaded or created.
    #[error("no session is loaded; call `load` or `create` first")]
    NotLoaded,
    /// `create` was called while a session is loaded.
    #[error("a session is loaded already; `create` makes one only where there is none")]
    AlreadyLoaded,
    /// A session was to be created that would be over when it begins.
    #[error("the session would live less than a millisecond")]
    ExpireTooShort,
    /// `load` was called while there are changes that would be lost.
    #[error("there are uncommitted changes; call `commit` or `rollback` first")]
    UncommittedChanges,
    /// The session was ended after this request had seen it: nothing was stored.
    #[error("the session was ended meanwhile; nothing was stored")]
    Ended,
    /// The session's id was replaced by a fresh one: nothing was stored.
    #[error("the session id was replaced meanwhile; nothing was stored")]
    Rotated,
    /// The principal has as many sessions as it may have: nothing was stored.
    #[error("the principal has as many sessions as it may have; nothing was stored")]
    TooManySessions,
    /// The operation is about the sessions of who is logged in, and nobody is.
    #[error("nobody is logged in")]
    NotLoggedIn,
    /// The name of a principal is not allowed.
    #[error("a principal's name has 1 to 255 bytes of UTF-8 and no NUL")]
    InvalidPrincipal,
    /// A note is not allowed.
    #[error("a note has at most 1024 bytes of UTF-8 and no NUL")]
    InvalidNote,
    /// A cookie was to live longer than user agents accept.
    #[error("user agents keep no cookie longer than 400 days")]
    CookieLifetime,
    /// A hundred ids in a row were taken.
    #[error("no free session id was found in {} attempts", crate::manager::MAX_ATTEMPTS)]
    NoFreeId,
    /// The item changed a hundred times while it was being updated.
    #[error("the item kept changing during {} attempts to update it", crate::manager::MAX_ATTEMPTS)]
    Contended,
    /// A cookie would have to be sent, and the response has left already.
    #[error("the response has started, so no cookie can be sent; create the session before")]
    ResponseStarted,
    /// The bounds of a cleanup are reversed.
    #[error("the earliest expiry to remove is later than the latest")]
    ReversedRange,
    /// The request did not pass through a layer.
    #[error("{MISSING_LAYER}")]
    MissingLayer,
    /// The request passed through two layers with the same cookie.
    #[error("{SAME_COOKIE_NAME}")]
    SameCookieName,
}

const MISSING_LAYER: &str = "no session: is `web_session::SessionLayer` missing on this route? \
    Add it with `Router::layer`, after the routes that use sessions";

const SAME_COOKIE_NAME: &str = "two of the session layers around this route have cookies of the same \
    name: give one of them another with `CookieConfig::with_name`";

impl SessionError {
    /// The status that describes this error to a visitor.
    ///
    /// 503 (Service Unavailable) when the storage failed or an item was contended, 409 (Conflict)
    /// when the session was ended or its id replaced meanwhile and when a principal has too many
    /// sessions, 403 (Forbidden) when nobody is logged in, 500 (Internal Server Error) for all else.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Driver(_) | Self::Contended => StatusCode::SERVICE_UNAVAILABLE,
            Self::Ended | Self::Rotated | Self::TooManySessions => StatusCode::CONFLICT,
            Self::NotLoggedIn => StatusCode::FORBIDDEN,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Writes the error to the log: what needs an operator as an error, what two requests of one
    /// visitor can do to each other for those who look for it.
    pub(crate) fn log(&self) {
        if self.status().is_server_error() {
            tracing::error!(error = %self, "a request failed because of its session");
        } else {
            tracing::debug!(error = %self, "a request failed because of its session");
        }
    }

    /// What a visitor may read.
    #[cfg_attr(not(feature = "axum"), expect(dead_code, reason = "the text of axum responses"))]
    pub(crate) fn body_text(&self) -> &'static str {
        match (self, self.status()) {
            (Self::MissingLayer, _) => MISSING_LAYER,
            (Self::SameCookieName, _) => SAME_COOKIE_NAME,
            (Self::TooManySessions, _) => {
                "You are logged in as often as is allowed. Please log out elsewhere first."
            }
            (Self::NotLoggedIn, _) => "Please log in.",
            (_, StatusCode::SERVICE_UNAVAILABLE) => {
                "The service is not available at the moment. Please try again."
            }
            (_, StatusCode::CONFLICT) => "The session has changed. Please try again.",
            _ => "Something went wrong.",
        }
    }
}

impl From<DriverError> for SessionError {
    fn from(error: DriverError) -> Self {
        match error.kind() {
            DriverErrorKind::TooLarge => Self::TooLarge(error),
            _ => Self::Driver(error),
        }
    }
}

/// An operation that is possible and rarely wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionWarning {
    /// `destroy` takes the session away from all applications that share it.
    #[error(
        "destroying a session removes the data of every application that shares it; to clear one \
         application use `SessionStore::empty`, to log a visitor out use `end` or \
         `set_expire` with the current time, or pass `OnWarning::Ignore`"
    )]
    DestroyAffectsAllApplications,
    /// `cleanup` was asked to remove sessions that are still live.
    #[error(
        "cleaning up beyond the current time removes live sessions; choose an earlier bound, or \
         pass `OnWarning::Ignore`"
    )]
    CleanupRemovesLiveSessions,
}

/// Whether a [`SessionWarning`] stops an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnWarning {
    /// It is returned as an error, and nothing is done.
    #[default]
    Stop,
    /// It is ignored.
    Ignore,
}

impl OnWarning {
    pub(crate) fn raise(self, warning: SessionWarning) -> Result<(), SessionError> {
        match self {
            Self::Stop => Err(warning.into()),
            Self::Ignore => Ok(()),
        }
    }
}

/// Why a session was not loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The request has no cookie of the session's name.
    #[error("the request has no session cookie")]
    NoCookie,
    /// What was presented is not a session id.
    #[error("the session cookie is malformed")]
    Malformed,
    /// More than one live session was presented, so none is used.
    #[error("the request has the cookies of more than one live session")]
    Ambiguous,
    /// No session has this id.
    #[error("there is no session with this id")]
    NotFound,
    /// The session has expired.
    #[error("the session has expired")]
    Expired,
    /// The id was replaced by a fresh one a short time ago.
    #[error("the session id was replaced")]
    Rotated,
}

/// What remains of an error of `serde_json`: its own text may quote the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonError {
    category: &'static str,
    line: usize,
    column: usize,
}

impl JsonError {
    /// The line of the JSON text, from 1; 0 if the error has no place.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column of the JSON text, from 1; 0 if the error has no place.
    pub fn column(&self) -> usize {
        self.column
    }
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        use serde_json::error::Category;
        let category = match error.classify() {
            Category::Io => "it could not be written",
            Category::Syntax => "it is not JSON",
            Category::Data => "its shape is another",
            Category::Eof => "it ends early",
        };
        Self { category, line: error.line(), column: error.column() }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.category)?;
        if self.line > 0 {
            write!(f, ", at line {} column {}", self.line, self.column)?;
        }
        Ok(())
    }
}

impl std::error::Error for JsonError {}

/// A configuration that [`build`](crate::SessionLayerBuilder::build) refuses.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A new session would be over when it begins.
    #[error("`expire` is below one millisecond")]
    Expire,
    /// A session would be over as soon as it is used.
    #[error("`idle_timeout` is below one millisecond")]
    IdleTimeout,
    /// An id would work for longer than it is known.
    #[error("`rotation_grace` is longer than `retired_for`")]
    RotationGrace,
    /// Cookies were to be signed without a key.
    #[error("`signed` needs at least one key")]
    NoSigningKey,
    /// A key is too short to sign with.
    #[error("a signing key has {length} bytes; it needs at least {least}, from a random source")]
    SigningKey {
        /// Its length in bytes.
        length: usize,
        /// The shortest, in bytes.
        least: usize,
    },
    /// The probability of a cleanup is not one.
    #[error("`cleanup_probability` is {0}; it has to be from 0 to 1")]
    CleanupProbability(f64),
    /// The cookie's name is empty or has a character that is not allowed.
    #[error("the cookie's name has to be a token: letters, digits and !#$%&'*+-.^_`|~")]
    CookieName,
    /// The cookie's path does not start with a slash.
    #[error("the cookie's path has to start with `/`")]
    CookiePath,
    /// An attribute of the cookie has a character that is not allowed.
    #[error("the cookie's {0} has a character that is not allowed there")]
    CookieCharacters(&'static str),
    /// A part of the cookie is longer than user agents accept.
    #[error("the cookie's {what} is longer than {limit} bytes, so user agents would not keep it")]
    CookieTooLong {
        /// The part.
        what: &'static str,
        /// Its limit in bytes.
        limit: usize,
    },
    /// The cookie would live longer than user agents accept.
    #[error(
        "the cookie would live {0} seconds, and user agents keep none longer than 400 days \
         (34560000 seconds); lower `max-age`, or `expire` where the cookie follows it"
    )]
    CookieLifetime(u64),
    /// An attribute of the cookie needs another.
    #[error("{0} needs `Secure`, or user agents would not keep the cookie")]
    NeedsSecure(&'static str),
    /// The cookie's name promises what its attributes do not keep.
    #[error("a name with the prefix __Host- needs `Secure`, the path `/` and no domain")]
    HostPrefix,
}

/// Why [`build`](crate::SessionLayerBuilder::build) gave no layer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// [`AutoCreate`](crate::AutoCreate) could not do its work.
    #[error("the session environment could not be prepared: {0}")]
    Environment(#[from] DriverError),
}
