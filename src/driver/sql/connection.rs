//! What a call needs of a connection: values to bind, statements to run, rows to read.

use std::future::Future;

use uuid::Uuid;

use super::many::{Argument, Many, one_by_one};
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

impl Value<'_> {
    /// How many bytes there are of what has no fixed length.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Bytes(Some(bytes)) => bytes.len(),
            Self::Text(Some(text)) => text.len(),
            _ => 0,
        }
    }
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

    /// [`execute`](Self::execute) for many rows.
    fn execute_many(
        &mut self,
        many: &Many,
        arguments: &[Argument<'_>],
    ) -> impl Future<Output = Result<u64, Failure>> + Send {
        async move {
            let (statement, rows) = many.fitting(arguments)?;
            self.execute(statement, &one_by_one(arguments, rows)).await
        }
    }

    /// [`fetch`](Self::fetch) for many rows.
    fn fetch_many(
        &mut self,
        many: &Many,
        arguments: &[Argument<'_>],
        mut row: impl FnMut(&dyn Row) -> Result<(), Failure> + Send,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        async move {
            let (statement, rows) = many.fitting(arguments)?;
            let values = one_by_one(arguments, rows);
            self.fetch(statement, &values, |answer| Self::unpack(answer, &mut row)).await
        }
    }

    /// Whether a statement about many rows answers none.
    fn finds_none(
        &mut self,
        many: &Many,
        arguments: &[Argument<'_>],
    ) -> impl Future<Output = Result<bool, Failure>> + Send {
        async move {
            let mut none = true;
            self.fetch_many(many, arguments, |_| {
                none = false;
                Ok(())
            })
            .await?;
            Ok(none)
        }
    }

    /// Hands over what a row of an answer about many rows consists of.
    fn unpack(
        answer: &Self::Row,
        row: &mut dyn FnMut(&dyn Row) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        row(answer)
    }

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

    fn key(&self, at: usize) -> Result<Option<SessionKey>, Failure> {
        let key = |bytes| <[u8; 32]>::try_from(bytes).map(SessionKey::from_bytes);
        let wrong = |_| Failure::corrupt("a session's key has not 32 bytes");
        self.bytes(at)?.map(key).transpose().map_err(wrong)
    }

    /// A number that is never null.
    fn number(&self, at: usize) -> Result<i64, Failure> {
        self.integer(at)?.ok_or(Failure::corrupt("a number is missing"))
    }
}

/// Implements [`Connection`] and [`Row`] by those of sqlx; with the word `arrays` for a database that takes
/// many rows as such, with a function where it answers many rows as one.
macro_rules! connection_of_sqlx {
    ($connection:ty, $row:ty $(, $arrays:ident)? $(; $unpack:path)?) => {
        impl $crate::driver::sql::Connection for $connection {
            type Row = $row;

            async fn execute(
                &mut self,
                statement: &$crate::driver::sql::Statement,
                values: &[$crate::driver::sql::Value<'_>],
            ) -> Result<u64, $crate::driver::sql::Failure> {
                let query = $crate::driver::sql::connection::bind!($connection, statement, values);
                Ok(query.execute(&mut *self).await?.rows_affected())
            }

            $($crate::driver::sql::connection::with_arrays!($connection, $arrays);)?

            $(
                fn unpack(
                    answer: &$row,
                    row: &mut dyn FnMut(
                        &dyn $crate::driver::sql::Row,
                    ) -> Result<(), $crate::driver::sql::Failure>,
                ) -> Result<(), $crate::driver::sql::Failure> {
                    $unpack($crate::driver::sql::Row::text(answer, 0)?, row)
                }
            )?

            async fn fetch(
                &mut self,
                statement: &$crate::driver::sql::Statement,
                values: &[$crate::driver::sql::Value<'_>],
                mut row: impl FnMut(&$row) -> Result<(), $crate::driver::sql::Failure> + Send,
            ) -> Result<(), $crate::driver::sql::Failure> {
                let query = $crate::driver::sql::connection::bind!($connection, statement, values);
                $crate::driver::sql::connection::hand_over!(query.fetch(&mut *self), row)
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
    ($connection:ty, $statement:ident, $values:ident) => {{
        let mut arguments = $crate::driver::sql::connection::arguments_of!($connection);
        sqlx::Arguments::reserve(&mut arguments, $values.len(), 0);
        for value in $values {
            $crate::driver::sql::connection::bind_value!(arguments, value);
        }
        sqlx::query_with($statement, arguments)
    }};
}

macro_rules! arguments_of {
    ($connection:ty) => {
        <<$connection as sqlx::Connection>::Database as sqlx::Database>::Arguments::default()
    };
}

macro_rules! bind_value {
    ($arguments:ident, $value:ident) => {
        match *$value {
            $crate::driver::sql::Value::Uid(uid) => sqlx::Arguments::add(&mut $arguments, uid),
            $crate::driver::sql::Value::Bytes(bytes) => {
                sqlx::Arguments::add(&mut $arguments, bytes)
            }
            $crate::driver::sql::Value::Integer(number) => {
                sqlx::Arguments::add(&mut $arguments, number)
            }
            $crate::driver::sql::Value::Text(text) => sqlx::Arguments::add(&mut $arguments, text),
        }
        .map_err(sqlx::Error::Encode)?
    };
}

macro_rules! hand_over {
    ($rows:expr, $row:ident) => {{
        let mut rows = $rows;
        while let Some(next) = futures_util::TryStreamExt::try_next(&mut rows).await? {
            $row(&next)?;
        }
        Ok(())
    }};
}

#[cfg(feature = "postgres")]
macro_rules! with_arrays {
    ($connection:ty, arrays) => {
        async fn execute_many(
            &mut self,
            many: &$crate::driver::sql::Many,
            arguments: &[$crate::driver::sql::Argument<'_>],
        ) -> Result<u64, $crate::driver::sql::Failure> {
            let query = $crate::driver::sql::connection::bind_arrays!($connection, many, arguments);
            Ok(query.execute(&mut *self).await?.rows_affected())
        }

        async fn fetch_many(
            &mut self,
            many: &$crate::driver::sql::Many,
            arguments: &[$crate::driver::sql::Argument<'_>],
            mut row: impl FnMut(
                &dyn $crate::driver::sql::Row,
            ) -> Result<(), $crate::driver::sql::Failure>
            + Send,
        ) -> Result<(), $crate::driver::sql::Failure> {
            let query = $crate::driver::sql::connection::bind_arrays!($connection, many, arguments);
            $crate::driver::sql::connection::hand_over!(query.fetch(&mut *self), row)
        }
    };
}

#[cfg(feature = "postgres")]
macro_rules! bind_arrays {
    ($connection:ty, $many:ident, $arguments:ident) => {{
        use $crate::driver::sql::{Argument, List};
        let (statement, _) = $many.fitting($arguments)?;
        let mut bound = $crate::driver::sql::connection::arguments_of!($connection);
        for argument in $arguments {
            let lists = match argument {
                Argument::One(value) => {
                    $crate::driver::sql::connection::bind_value!(bound, value);
                    continue;
                }
                Argument::In(list) => std::slice::from_ref(*list),
                Argument::Rows(columns) => columns,
            };
            for list in lists {
                match list {
                    List::Uids(list) => sqlx::Arguments::add(&mut bound, list.as_slice()),
                    List::Bytes(list) => sqlx::Arguments::add(&mut bound, list.as_slice()),
                    List::Integers(list) => sqlx::Arguments::add(&mut bound, list.as_slice()),
                    List::Texts(list) => sqlx::Arguments::add(&mut bound, list.as_slice()),
                }
                .map_err(sqlx::Error::Encode)?;
            }
        }
        sqlx::query_with(statement, bound)
    }};
}

pub(super) use {arguments_of, bind, bind_value, connection_of_sqlx, hand_over};
#[cfg(feature = "postgres")]
pub(super) use {bind_arrays, with_arrays};
