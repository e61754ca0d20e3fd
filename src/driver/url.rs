//! Reads the URL of a server without ever repeating a password, wherever in the URL it has got to.

use std::borrow::Cow;

use url::Url;

use super::{DriverError, DriverErrorKind};

/// Reads a URL. What is wrong is told by the kind of the error; a text that is no URL is not repeated.
pub(super) fn parse(text: &str) -> Result<Url, DriverError> {
    let url =
        Url::parse(text).map_err(|error| wrong(format!("the URL is not understood: {error}")))?;
    // A `/`, `?` or `#` in the password ends the part with user and host, so that the rest of the password
    // is taken for a path or a parameter.
    let behind_the_host = [Some(url.path()), url.query(), url.fragment()];
    if behind_the_host.into_iter().flatten().any(|part| part.contains('@')) {
        return Err(wrong(
            "an `@` stands behind the host in the URL: in a user or a password write `/` as %2F, \
             `?` as %3F, `#` as %23 and `@` as %40, and so an `@` that belongs elsewhere",
        ));
    }
    Ok(url)
}

/// What a parameter that is not known is called in a message.
pub(super) fn unknown_parameter(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '-');
    match name.chars().all(is_plain) {
        true => format!("the URL has the unknown parameter `{name}`"),
        false => "the URL has an unknown parameter".to_owned(),
    }
}

pub(super) fn wrong(message: impl Into<Cow<'static, str>>) -> DriverError {
    DriverError::new(DriverErrorKind::Configuration, message)
}
