//! What names a session: the secret [`SessionId`], the [`SessionKey`] that drivers store in its
//! place, and the public [`SessionRef`].

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The secret in the visitor's cookie: 16 random bytes, written as 32 lower-case hexadecimal
/// characters.
///
/// Whoever knows it is the visitor. It has no `Display` and its `Debug` output hides it;
/// [`expose`](SessionId::expose) shows it.
#[derive(Clone, Copy)]
pub struct SessionId([u8; 16]);

/// The length of an id's text.
pub(crate) const ID_TEXT_LEN: usize = 32;

impl SessionId {
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[cfg(test)]
    pub(crate) const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    pub(crate) fn from_text(text: &[u8]) -> Result<Self, MalformedId> {
        if text.len() != ID_TEXT_LEN {
            return Err(MalformedId);
        }
        let mut bytes = [0; 16];
        base16ct::lower::decode(text, &mut bytes).map_err(|_| MalformedId)?;
        Ok(Self(bytes))
    }

    /// The id's text, as it stands in the cookie.
    pub fn expose(&self) -> ExposedId {
        let mut text = [0; ID_TEXT_LEN];
        // A buffer of twice the length always fits, so this cannot fail.
        let _ = base16ct::lower::encode(&self.0, &mut text);
        ExposedId(text)
    }

    /// What drivers store in place of this id.
    pub fn key(&self) -> SessionKey {
        SessionKey(Sha256::digest(self.expose().as_bytes()).into())
    }
}

impl PartialEq for SessionId {
    /// Takes the same time wherever the ids differ.
    fn eq(&self, other: &Self) -> bool {
        u128::from_ne_bytes(self.0) ^ u128::from_ne_bytes(other.0) == 0
    }
}

impl Eq for SessionId {}

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl FromStr for SessionId {
    type Err = MalformedId;

    /// Accepts exactly 32 characters from `0-9a-f`.
    fn from_str(text: &str) -> Result<Self, MalformedId> {
        Self::from_text(text.as_bytes())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// An id with its key, so that a request computes it once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownId {
    id: SessionId,
    key: SessionKey,
}

impl KnownId {
    pub(crate) const fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) const fn key(&self) -> SessionKey {
        self.key
    }
}

impl From<SessionId> for KnownId {
    fn from(id: SessionId) -> Self {
        Self { id, key: id.key() }
    }
}

/// The text is not a session id: exactly 32 characters from `0-9a-f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session id is exactly 32 lower-case hexadecimal characters")]
pub struct MalformedId;

/// The text of a session id, without an allocation. A secret: see [`SessionId::expose`].
#[derive(Clone, Copy)]
pub struct ExposedId([u8; ID_TEXT_LEN]);

impl ExposedId {
    /// The text.
    pub fn as_str(&self) -> &str {
        // Hexadecimal digits are ASCII, so the default is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::ops::Deref for ExposedId {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for ExposedId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for ExposedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExposedId(..)")
    }
}

/// The SHA-256 of a session id's text: all that a driver ever sees of it.
///
/// An id cannot be computed from it. Its `Debug` output shows the first four bytes, enough to find
/// related lines in a log and of no use to anyone else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// The key with these bytes, as read back from a storage.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "SessionKey({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// The public name of a session: a UUIDv7 that stays the same when the id is rotated.
///
/// It opens nothing: no cookie is accepted for it. Its first 48 bits are the time of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionRef(Uuid);

impl SessionRef {
    /// The reference with this UUID, as read back from a storage.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID to store.
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for SessionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SessionRef {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00112233445566778899aabbccddeeff";

    // L1
    #[test]
    fn exactly_32_lower_case_hexadecimal_characters_are_an_id() {
        assert_eq!(TEXT.parse::<SessionId>().unwrap().expose().as_str(), TEXT);
        let upper = TEXT.to_uppercase();
        let long = format!("{TEXT}0");
        let spaced = format!(" {TEXT}");
        for text in ["", &TEXT[1..], &long, &upper, &spaced, "../../../../../../../etc/passwd0"] {
            assert_eq!(text.parse::<SessionId>(), Err(MalformedId), "{text:?}");
        }
    }

    // D3: the digest of `printf 00112233445566778899aabbccddeeff | sha256sum`.
    #[test]
    fn a_key_is_the_sha_256_of_the_text() {
        let key = TEXT.parse::<SessionId>().unwrap().key();
        assert_eq!(
            hex_text(key.as_bytes()),
            "5947d7c33d783f94b3b4c1a96ebc8991ed28f1b069b71e03376cba8caa98a720"
        );
    }

    // E2
    #[test]
    fn debug_output_hides_the_id() {
        let id: SessionId = TEXT.parse().unwrap();
        let shown = format!("{id:?} {:?} {:?}", id.expose(), id.key());
        assert!(!shown.contains("001122"), "{shown}");
        assert!(!shown.contains(&hex_text(id.key().as_bytes())[..16]), "{shown}");
    }

    fn hex_text(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
