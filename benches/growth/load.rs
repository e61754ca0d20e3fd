//! What a storage has to offer here, and which sessions are put into it.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use web_session::{Driver, ExposedId, SessionId, SessionKey};

/// A storage whose tables can be filled without going through a driver.
pub trait Storage {
    const NAME: &'static str;

    type Driver: Driver + Clone;

    /// One that is used by hand.
    type Connection: sqlx::Connection;

    /// Makes the environment.
    fn create(&self) -> impl Future<Output = ()>;

    /// Adds sessions, while no driver is open.
    fn load(&self, batch: Batch) -> impl Future<Output = ()>;

    /// What sessions, items and indexes take in the storage.
    fn bytes(&self) -> impl Future<Output = u64>;

    fn open(&self) -> impl Future<Output = Self::Driver>;

    /// A connection that is set as those of the driver that read are.
    fn connect(&self) -> impl Future<Output = Self::Connection>;

    /// Reads sessions with these keys by one statement, and answers how many have their item.
    fn read(connection: &mut Self::Connection, keys: Vec<Vec<u8>>) -> impl Future<Output = i64>;

    fn close(&self, driver: Self::Driver) -> impl Future<Output = ()>;

    /// Removes the environment.
    fn clear(&self) -> impl Future<Output = ()>;

    /// Removes what is left.
    fn remove(self) -> impl Future<Output = ()>;
}

/// The sessions from one number up to another, each with one number under one key.
#[derive(Clone, Copy)]
pub struct Batch {
    pub first: u64,
    pub end: u64,
    /// Those whose number it divides live shortly.
    pub step: u64,
    /// When the first session of all was created, in milliseconds since the epoch, like all times; each
    /// other follows a millisecond after the one before.
    pub begin: u64,
    /// The ends of those that live shortly, and of the others.
    pub soon: u64,
    pub late: u64,
}

impl Batch {
    pub fn new(first: u64, end: u64, step: u64, soon: Duration) -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        let now = SystemTime::now();
        let millis = |time: SystemTime| {
            u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
        };
        let (begin, soon, late) = (millis(now - DAY), millis(now + soon), millis(now + 30 * DAY));
        Self { first, end, step, begin, soon, late }
    }

    pub fn created(&self, number: u64) -> u64 {
        self.begin + number
    }

    pub fn expires(&self, number: u64) -> u64 {
        if number.is_multiple_of(self.step) { self.soon } else { self.late }
    }
}

fn session_id(number: u64) -> SessionId {
    format!("{number:032x}").parse().unwrap()
}

/// The id of a session, as it stands in the cookie.
pub fn id(number: u64) -> ExposedId {
    session_id(number).expose()
}

/// What a storage knows a session by.
pub fn key(number: u64) -> SessionKey {
    session_id(number).key()
}

/// The reference of a session: as a UUIDv7 it begins with the time of creation.
pub fn reference(created: u64, number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&created.to_be_bytes()[2..]);
    bytes[6] = 0x70;
    bytes[8..].copy_from_slice(&(number | 1 << 63).to_be_bytes());
    bytes
}
