//! The names of what an environment keeps in Redis.
//!
//! | key | holds |
//! |---|---|
//! | `<environment>:{<key>}` | a session: a hash with the record, whose parts are in one field, and all items. After a rotation, under the new key, its alias: a hash with nothing but `home`, the key where the session lies |
//! | `<environment>:r:<uid>` | the key where the session lies that has this reference |
//! | `<environment>:p:<digest>` | the references of a principal's sessions: a sorted set, each with the time by which the commit that added it is over |
//! | `<environment>:version` | the version of this layout |
//! | `<environment>:lock` | who changes the environment at the moment |
//!
//! A session is the truth; what points to it is checked when it is followed, and means nothing if the
//! session does not say the same. So a call that is cut short between two of them does no harm.

use sha2::{Digest, Sha256};

use crate::driver::ApplicationName;
use crate::driver::name::EnvironmentName;
use crate::id::{SessionKey, SessionRef};

/// Where a session or an alias lies: the hexadecimal text of a key.
pub(super) type Home = String;

/// Makes the names.
#[derive(Debug, Clone)]
pub(super) struct Keys(pub(super) EnvironmentName);

impl Keys {
    /// The braces make a cluster choose the slot by what is between them.
    pub(super) fn session(&self, home: &str) -> String {
        [self.0.as_str(), ":{", home, "}"].concat()
    }

    pub(super) fn reference(&self, uid: &str) -> String {
        format!("{}:r:{uid}", self.0)
    }

    pub(super) fn principal(&self, principal: &str) -> String {
        format!("{}:p:{}", self.0, hex(&Sha256::digest(principal)))
    }

    pub(super) fn version(&self) -> String {
        format!("{}:version", self.0)
    }

    pub(super) fn lock(&self) -> String {
        format!("{}:lock", self.0)
    }

    /// What matches the names of all sessions and aliases, and of nothing else.
    pub(super) fn sessions_pattern(&self) -> String {
        format!("{}:{{*", self.0)
    }

    /// What matches all names of the environment.
    pub(super) fn pattern(&self) -> String {
        format!("{}:*", self.0)
    }
}

pub(super) fn home(key: &SessionKey) -> Home {
    hex(key.as_bytes())
}

pub(super) fn uid(session: &SessionRef) -> String {
    session.as_uuid().simple().to_string()
}

/// What the fields of an application's items begin with.
pub(super) fn prefix(application: &ApplicationName) -> String {
    format!("i:{application}:")
}

/// The length of a [`prefix`], in bytes.
pub(super) fn prefix_len(application: &ApplicationName) -> usize {
    "i::".len() + application.as_str().len()
}

fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}
