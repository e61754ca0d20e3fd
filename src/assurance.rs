//! The lifetimes that the assurance levels of NIST SP 800-63B-4 ask for.

use std::time::Duration;

/// How long a session may live, by the assurance level at which its visitor was authenticated: the
/// greatest times of NIST SP 800-63B-4, sections 2.1.3, 2.2.3 and 2.3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AssuranceLevel {
    /// Authenticator assurance level 1: 30 days, however often the session is used.
    Aal1,
    /// Authenticator assurance level 2: 24 hours, and one hour without use.
    Aal2,
    /// Authenticator assurance level 3: 12 hours, and 15 minutes without use.
    Aal3,
}

impl AssuranceLevel {
    /// How long a session may live.
    pub const fn expire(self) -> Duration {
        const HOUR: u64 = 60 * 60;
        Duration::from_secs(match self {
            Self::Aal1 => 30 * 24 * HOUR,
            Self::Aal2 => 24 * HOUR,
            Self::Aal3 => 12 * HOUR,
        })
    }

    /// How long it may live without being used, if that is limited.
    pub const fn idle_timeout(self) -> Option<Duration> {
        match self {
            Self::Aal1 => None,
            Self::Aal2 => Some(Duration::from_secs(60 * 60)),
            Self::Aal3 => Some(Duration::from_secs(15 * 60)),
        }
    }
}
