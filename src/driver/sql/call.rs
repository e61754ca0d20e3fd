//! A call as it runs on a connection, the same for every database.

use std::future::Future;

use super::{Connection, Failure, Statements};

/// A call that reads.
pub(super) trait Read: Send + Sync + 'static {
    /// What the call answers.
    type Answer: Send + 'static;

    /// Runs outside any transaction: one statement sees one state of the storage.
    fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;
}

/// A call that writes, in a transaction of its own.
pub(super) trait Write: Send + Sync + 'static {
    /// What the call answers.
    type Answer: Send + 'static;

    /// Runs inside the transaction, which an error rolls back.
    fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> impl Future<Output = Result<Outcome<Self::Answer>, Failure>> + Send;
}

/// What becomes of a transaction.
pub(super) enum Outcome<T> {
    /// It is committed.
    Keep(T),
    /// It is rolled back: nothing is stored.
    Undo(T),
}

impl<T> Outcome<T> {
    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Keep(answer) => Outcome::Keep(f(answer)),
            Self::Undo(answer) => Outcome::Undo(f(answer)),
        }
    }
}
