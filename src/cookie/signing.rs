//! Signatures of session cookies: HMAC-SHA256 of the id, by the `cookie` crate.

use std::borrow::Cow;
use std::fmt;

#[cfg(feature = "signed")]
use cookie::{Cookie, CookieJar, Key};

#[cfg(feature = "signed")]
use crate::error::ConfigError;
use crate::id::ID_TEXT_LEN;

/// The shortest key, in bytes.
#[cfg(feature = "signed")]
const MIN_KEY: usize = 32;

/// The length of a signature in front of an id, in characters.
#[cfg(feature = "signed")]
const SIGNATURE_LEN: usize = 44;

/// The keys of a layer; without any, cookies are not signed.
#[derive(Clone, Default)]
pub(crate) struct Signer {
    #[cfg(feature = "signed")]
    keys: Vec<Key>,
}

#[cfg(feature = "signed")]
impl Signer {
    /// The first key signs, all verify.
    pub(crate) fn new<K: AsRef<[u8]>>(
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Self, ConfigError> {
        let derive = |key: K| match key.as_ref() {
            key if key.len() < MIN_KEY => {
                Err(ConfigError::SigningKey { length: key.len(), least: MIN_KEY })
            }
            key => Ok(Key::derive_from(key)),
        };
        let keys: Vec<_> = keys.into_iter().map(derive).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(ConfigError::NoSigningKey) } else { Ok(Self { keys }) }
    }

    /// The value of the cookie `name` that stands for this text.
    pub(crate) fn seal<'a>(&self, name: &str, text: &'a str) -> Cow<'a, str> {
        let Some(key) = self.keys.first() else {
            return text.into();
        };
        let mut jar = CookieJar::new();
        jar.signed_mut(key).add(Cookie::new(name.to_owned(), text.to_owned()));
        jar.get(name).map(|cookie| cookie.value().to_owned()).unwrap_or_default().into()
    }

    /// The text that this value of the cookie `name` stands for, if one of the keys has signed it.
    pub(crate) fn open<'a>(&self, name: &str, value: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if self.keys.is_empty() {
            return Some(value.into());
        }
        let value = str::from_utf8(value).ok()?;
        let jar = CookieJar::new();
        let verify = |key| jar.signed(key).verify(Cookie::new(name.to_owned(), value.to_owned()));
        let verified = self.keys.iter().find_map(verify)?;
        Some(verified.value().as_bytes().to_owned().into())
    }
}

#[cfg(not(feature = "signed"))]
#[expect(clippy::unused_self, reason = "the shape of the other one")]
impl Signer {
    pub(crate) fn seal<'a>(&self, _: &str, text: &'a str) -> Cow<'a, str> {
        text.into()
    }

    pub(crate) fn open<'a>(&self, _: &str, value: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        Some(value.into())
    }
}

impl Signer {
    /// Whether cookies are signed.
    #[cfg_attr(not(feature = "signed"), expect(clippy::unused_self, reason = "as the others"))]
    pub(crate) fn signs(&self) -> bool {
        #[cfg(feature = "signed")]
        return !self.keys.is_empty();
        #[cfg(not(feature = "signed"))]
        false
    }

    /// The length of a value, in bytes.
    pub(crate) fn value_len(&self) -> usize {
        #[cfg(feature = "signed")]
        if !self.keys.is_empty() {
            return SIGNATURE_LEN + ID_TEXT_LEN;
        }
        ID_TEXT_LEN
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(..)")
    }
}

#[cfg(all(test, feature = "signed"))]
mod tests {
    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn signer(keys: &[u8]) -> Signer {
        Signer::new(keys.iter().map(|key| [*key; 32])).unwrap()
    }

    fn open(signer: &Signer, value: &str) -> Option<String> {
        signer.open("id", value.as_bytes()).map(|text| String::from_utf8_lossy(&text).into_owned())
    }

    // C4
    #[test]
    fn the_first_key_signs_and_all_verify() {
        let (old, both, new) = (signer(&[1]), signer(&[2, 1]), signer(&[2]));
        let sealed = old.seal("id", ID);
        assert_eq!(sealed.len(), both.value_len());
        assert_eq!(open(&both, &sealed).as_deref(), Some(ID));
        assert_eq!(open(&new, &sealed), None);
        assert_eq!(open(&new, &both.seal("id", ID)).as_deref(), Some(ID));
        assert_eq!(open(&old, &both.seal("id", ID)), None);
    }

    // C4
    #[test]
    fn whatever_is_changed_in_a_value_it_does_not_pass() {
        let signer = signer(&[1]);
        let sealed = signer.seal("id", ID);
        for at in 0..sealed.len() {
            assert_eq!(open(&signer, &sealed[..at]), None, "cut at {at}");
            assert_eq!(open(&signer, &sealed[at + 1..]), None, "begun at {}", at + 1);
            let mut other = sealed.as_bytes().to_vec();
            other[at] = if other[at] == b'0' { b'1' } else { b'0' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(open(&signer, &other), None, "changed at {at}");
        }
        for value in ["", ID, "ä", &"ä".repeat(40)] {
            assert_eq!(open(&signer, value), None, "{value}");
        }
    }

    // C4
    #[test]
    fn a_key_that_is_too_short_and_none_at_all_are_errors() {
        assert_eq!(Signer::new([[1; 32]; 0]).err(), Some(ConfigError::NoSigningKey));
        let short = Signer::new([vec![1; 32], vec![1; 31]]).err();
        assert_eq!(short, Some(ConfigError::SigningKey { length: 31, least: 32 }));
    }
}
