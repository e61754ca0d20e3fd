//! What a call needs of a connection: values to bind, statements to run, rows to read.

use std::future::Future;

use uuid::Uuid;

use super::{Failure, Statement};
use crate::driver::ApplicationName;
use crate::id::{SessionKey, SessionRef};

/// The value of one placeholder.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Uid(Option<Uuid>),
    Bytes(Option<&'a [u8]>),
    Integer(Option<i64>),
    Text(Option<&'a str>),
}

impl From<&SessionRef> for Value<'_> {
    fn from(session: &SessionRef) -> Self {
        Self::Uid(Some(*session.as_uuid()))
    }
}

impl<'a> From<&'a SessionKey> for Value<'a> {
    fn from(key: &'a SessionKey) -> Self {
        Self::Bytes(Some(key.as_bytes()))
    }
}

impl<'a> From<&'a ApplicationName> for Value<'a> {
    fn from(application: &'a ApplicationName) -> Self {
        Self::Text(Some(application.as_str()))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(Some(number))
    }
}

impl From<usize> for Value<'_> {
    /// A limit. What no storage can hold is no limit.
    fn from(size: usize) -> Self {
        Self::Integer(Some(i64::try_from(size).unwrap_or(i64::MAX)))
    }
}

/// A connection of one of the databases.
pub(super) trait Connection: Send {
    type Row: Row;

    /// Runs a statement and answers how many rows it has changed.
    fn execute(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Runs a statement and hands over its rows one by one. An error of `row` ends the reading.
    fn fetch(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
        row: impl FnMut(&Self::Row) -> Result<(), Failure> + Send,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Runs statements without values in one round trip, unprepared.
    fn script(
        &mut self,
        statements: &Statement,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The first row of a statement that has at most one.
    fn fetch_optional<T: Send>(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
        read: impl Fn(&Self::Row) -> Result<T, Failure> + Send + Sync,
    ) -> impl Future<Output = Result<Option<T>, Failure>> + Send {
        async move {
            let mut first = None;
            self.fetch(statement, values, |row| {
                if first.is_none() {
                    first = Some(read(row)?);
                }
                Ok(())
            })
            .await?;
            Ok(first)
        }
    }

    /// The rows of a statement that has few.
    fn fetch_all<T: Send>(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
        read: impl Fn(&Self::Row) -> Result<T, Failure> + Send + Sync,
    ) -> impl Future<Output = Result<Vec<T>, Failure>> + Send {
        async move {
            let mut all = Vec::new();
            self.fetch(statement, values, |row| {
                all.push(read(row)?);
                Ok(())
            })
            .await?;
            Ok(all)
        }
    }
}

/// A row of an answer, its columns by their places.
pub(super) trait Row {
    fn uid(&self, at: usize) -> Result<Uuid, Failure>;
    fn bytes(&self, at: usize) -> Result<Option<&[u8]>, Failure>;
    fn integer(&self, at: usize) -> Result<Option<i64>, Failure>;
    fn text(&self, at: usize) -> Result<Option<&str>, Failure>;

    /// A number that is never null.
    fn number(&self, at: usize) -> Result<i64, Failure> {
        self.integer(at)?.ok_or(Failure::corrupt("a number is missing"))
    }
}

/// Implements [`Connection`] and [`Row`] by those of sqlx.
macro_rules! connection_of_sqlx {
    ($connection:ty, $row:ty) => {
        impl $crate::driver::sql::Connection for $connection {
            type Row = $row;

            async fn execute(
                &mut self,
                statement: &$crate::driver::sql::Statement,
                values: &[$crate::driver::sql::Value<'_>],
            ) -> Result<u64, $crate::driver::sql::Failure> {
                let query = $crate::driver::sql::connection::bind!(statement, values);
                Ok(query.execute(&mut *self).await?.rows_affected())
            }

            async fn fetch(
                &mut self,
                statement: &$crate::driver::sql::Statement,
                values: &[$crate::driver::sql::Value<'_>],
                mut row: impl FnMut(&$row) -> Result<(), $crate::driver::sql::Failure> + Send,
            ) -> Result<(), $crate::driver::sql::Failure> {
                let query = $crate::driver::sql::connection::bind!(statement, values);
                let mut rows = query.fetch(&mut *self);
                while let Some(next) = futures_util::TryStreamExt::try_next(&mut rows).await? {
                    row(&next)?;
                }
                Ok(())
            }

            async fn script(
                &mut self,
                statements: &$crate::driver::sql::Statement,
            ) -> Result<(), sqlx::Error> {
                sqlx::raw_sql(statements).execute(&mut *self).await.map(drop)
            }
        }

        impl $crate::driver::sql::Row for $row {
            fn uid(&self, at: usize) -> Result<uuid::Uuid, $crate::driver::sql::Failure> {
                Ok(sqlx::Row::try_get(self, at)?)
            }

            fn bytes(&self, at: usize) -> Result<Option<&[u8]>, $crate::driver::sql::Failure> {
                Ok(sqlx::Row::try_get(self, at)?)
            }

            fn integer(&self, at: usize) -> Result<Option<i64>, $crate::driver::sql::Failure> {
                Ok(sqlx::Row::try_get(self, at)?)
            }

            fn text(&self, at: usize) -> Result<Option<&str>, $crate::driver::sql::Failure> {
                Ok(sqlx::Row::try_get(self, at)?)
            }
        }
    };
}

macro_rules! bind {
    ($statement:ident, $values:ident) => {{
        let mut query = sqlx::query($statement);
        for value in $values {
            query = match *value {
                $crate::driver::sql::Value::Uid(uid) => query.bind(uid),
                $crate::driver::sql::Value::Bytes(bytes) => query.bind(bytes),
                $crate::driver::sql::Value::Integer(number) => query.bind(number),
                $crate::driver::sql::Value::Text(text) => query.bind(text),
            };
        }
        query
    }};
}

pub(super) use {bind, connection_of_sqlx};
