//! Statements about many rows at once.

use std::iter::repeat_n;

use uuid::Uuid;

use super::{Statement, Template, Value};
use crate::driver::{DriverError, DriverErrorKind};
use crate::id::{SessionKey, SessionRef};

/// Values of one kind, for as many rows.
#[derive(Clone, Debug)]
pub(super) enum List<'a> {
    Uids(Vec<Option<Uuid>>),
    Bytes(Vec<Option<&'a [u8]>>),
    Integers(Vec<Option<i64>>),
    Texts(Vec<Option<&'a str>>),
}

impl<'a> List<'a> {
    pub(super) fn uids<'s>(sessions: impl IntoIterator<Item = &'s SessionRef>) -> Self {
        Self::Uids(sessions.into_iter().map(|session| Some(*session.as_uuid())).collect())
    }

    pub(super) fn keys(keys: impl IntoIterator<Item = &'a SessionKey>) -> Self {
        Self::Bytes(keys.into_iter().map(|key| Some(&key.as_bytes()[..])).collect())
    }

    /// A list with one value.
    pub(super) fn of(value: Value<'a>) -> Self {
        match value {
            Value::Uid(uid) => Self::Uids(vec![uid]),
            Value::Bytes(bytes) => Self::Bytes(vec![bytes]),
            Value::Integer(number) => Self::Integers(vec![number]),
            Value::Text(text) => Self::Texts(vec![text]),
        }
    }

    /// Adds a value of the same kind.
    pub(super) fn push(&mut self, value: Value<'a>) {
        match (self, value) {
            (Self::Uids(list), Value::Uid(uid)) => list.push(uid),
            (Self::Bytes(list), Value::Bytes(bytes)) => list.push(bytes),
            (Self::Integers(list), Value::Integer(number)) => list.push(number),
            (Self::Texts(list), Value::Text(text)) => list.push(text),
            // The columns of a table are of one kind each.
            _ => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        match self {
            Self::Uids(list) => list.len(),
            Self::Bytes(list) => list.len(),
            Self::Integers(list) => list.len(),
            Self::Texts(list) => list.len(),
        }
    }

    /// The value at a place; behind the end the last one, or null if there is none.
    fn get(&self, at: usize) -> Value<'_> {
        fn at_or_last<T: Copy>(list: &[Option<T>], at: usize) -> Option<T> {
            list.get(at).or(list.last()).copied().flatten()
        }
        match self {
            Self::Uids(list) => Value::Uid(at_or_last(list, at)),
            Self::Bytes(list) => Value::Bytes(at_or_last(list, at)),
            Self::Integers(list) => Value::Integer(at_or_last(list, at)),
            Self::Texts(list) => Value::Text(at_or_last(list, at)),
        }
    }
}

/// What stands for one mark of a template.
#[derive(Clone, Copy)]
pub(super) enum Argument<'a> {
    /// `?`: one value.
    One(Value<'a>),
    /// `{in}`: a list.
    In(&'a List<'a>),
    /// `{rows}`: a list for each column.
    Rows(&'a [List<'a>]),
}

impl Argument<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::In(list) => list.len(),
            Self::Rows(columns) => columns.first().map_or(0, List::len),
        }
    }
}

/// How a database takes many rows.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(dead_code, reason = "each database takes them in one way")
)]
pub(super) enum Lists {
    /// As arrays, for which one text does.
    Arrays,
    /// As placeholders. There is a text for some numbers of rows; a list is filled up with its last value once
    /// more, and rows with the shortest of them, and that changes nothing, as each row has a key of its own.
    Placeholders,
    /// Likewise, and it answers all rows as one JSON text.
    Packed,
}

/// The numbers of rows for which there are texts, where a text has a placeholder for each.
const SIZES: [usize; 16] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, MOST_ROWS];

/// How many rows the text for so many rows has, where lists are filled up.
pub(super) fn filled_up(rows: usize) -> usize {
    SIZES.into_iter().find(|size| rows <= *size).unwrap_or(rows)
}

/// How many statements a connection keeps prepared: more than there are texts.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
pub(super) const KEPT_PREPARED: usize = 256;

/// How many rows a statement has at most.
pub(super) const MOST_ROWS: usize = 256;

/// A column of an answer about many rows.
#[derive(Clone, Copy)]
pub(super) enum Column {
    /// A reference or a key.
    Fixed,
    /// UTF-8 that is kept as bytes.
    Bytes,
    Number,
    Text,
}

impl Column {
    /// The columns of a record.
    pub(super) const RECORD: [Self; 11] = {
        use Column::{Fixed, Number, Text};
        [Fixed, Fixed, Fixed, Number, Number, Number, Number, Number, Number, Text, Text]
    };

    /// How SQLite writes it into JSON.
    fn packed(self, name: &str) -> String {
        match self {
            // `hex` makes an empty text of null.
            Self::Fixed => format!("nullif(hex({name}), '')"),
            Self::Bytes => format!("CAST({name} AS TEXT)"),
            Self::Number | Self::Text => name.to_owned(),
        }
    }
}

/// A statement about many rows.
pub(super) struct Many {
    /// By their numbers of rows, the smallest first.
    texts: Vec<(usize, Statement)>,
}

impl Many {
    /// Fills a template with the marks `{in}` behind a column, and `{rows}` in place of the rows of an
    /// `INSERT`, whose columns have these types; `{size}` is for how many rows the text is. Where placeholders can be
    /// numbered, and the rows are the first arguments, `{in_rows}` is what their first column has.
    pub(super) fn new(template: &Template<'_>, text: &str, types: &[&str]) -> Self {
        Self::with(template, text, &[types])
    }

    /// Likewise, with `{rows}` for several tables.
    pub(super) fn with(template: &Template<'_>, text: &str, tables: &[&[&str]]) -> Self {
        let fill = |text: &str, size: usize, list: &str, rows: &dyn Fn(&[&str]) -> String| {
            let text = text.replace("{in}", list).replace("{size}", &size.to_string());
            let replace = |text: String, types: &&[&str]| text.replacen("{rows}", &rows(types), 1);
            template.fill(&tables.iter().fold(text, replace))
        };
        let texts = match template.dialect.lists {
            Lists::Arrays => {
                let rows = |types: &[&str]| {
                    let arrays: Vec<_> = types.iter().map(|of| format!("?::{of}[]")).collect();
                    format!("SELECT * FROM unnest({})", arrays.join(", "))
                };
                vec![(MOST_ROWS, fill(text, MOST_ROWS, "= ANY(?)", &rows))]
            }
            Lists::Placeholders | Lists::Packed => {
                let columns = tables.first().map_or(0, |types| types.len());
                let of_size = |size| {
                    let list = format!("IN ({})", vec!["?"; size].join(", "));
                    let firsts: Vec<_> =
                        (0..size).map(|row| format!("${}", row * columns + 1)).collect();
                    let text = text.replace("{in_rows}", &format!("IN ({})", firsts.join(", ")));
                    let rows = |types: &[&str]| {
                        let row = format!("({})", vec!["?"; types.len()].join(", "));
                        format!("VALUES {}", vec![row.as_str(); size].join(", "))
                    };
                    (size, fill(&text, size, &list, &rows))
                };
                SIZES.map(of_size).into()
            }
        };
        Self { texts }
    }

    /// Likewise for a statement that answers these columns.
    pub(super) fn select(template: &Template<'_>, columns: &[Column], text: &str) -> Self {
        if template.dialect.lists != Lists::Packed {
            return Self::new(template, text, &[]);
        }
        Self::new(template, &Self::packed(columns, text), &[])
    }

    /// A statement that answers all rows as one JSON text.
    pub(super) fn packed(columns: &[Column], text: &str) -> String {
        let names: Vec<_> = (0..columns.len()).map(|at| format!("c{at}")).collect();
        let cells: Vec<_> =
            columns.iter().zip(&names).map(|(column, name)| column.packed(name)).collect();
        let (names, cells) = (names.join(", "), cells.join(", "));
        format!(
            "WITH answer ({names}) AS ({text}) SELECT json_group_array(json_array({cells})) FROM answer"
        )
    }

    /// The text for these arguments, and for how many rows it is.
    pub(super) fn fitting(
        &self,
        arguments: &[Argument<'_>],
    ) -> Result<(&Statement, usize), DriverError> {
        let rows = arguments.iter().map(Argument::rows).max().unwrap_or_default();
        let fits = self.texts.iter().find(|(size, _)| rows <= *size);
        fits.map(|(size, text)| (text, *size)).ok_or_else(|| {
            DriverError::new(DriverErrorKind::Other, "too many rows for one statement")
        })
    }

    /// All of its texts.
    #[cfg(all(test, feature = "sqlite"))]
    pub(super) fn texts(&self) -> impl Iterator<Item = &Statement> {
        self.texts.iter().map(|(_, text)| text)
    }

    /// How many of so many rows go into one statement that must not be filled up.
    pub(super) fn exactly(&self, rows: usize) -> usize {
        match self.texts.as_slice() {
            [_] => rows.min(MOST_ROWS),
            texts => {
                let fits = texts.iter().rev().find(|(size, _)| *size <= rows);
                fits.map_or(rows, |(size, _)| *size)
            }
        }
    }
}

/// The values of arguments one by one, as many rows of each list.
pub(super) fn one_by_one<'a>(arguments: &[Argument<'a>], rows: usize) -> Vec<Value<'a>> {
    let mut values = Vec::with_capacity(arguments.len() * rows);
    for argument in arguments {
        match argument {
            Argument::One(value) => values.push(*value),
            Argument::In(list) => values.extend((0..rows).map(|at| list.get(at))),
            Argument::Rows(columns) => {
                let given = argument.rows();
                let bytes = |at: &usize| {
                    columns.iter().map(|column| column.get(*at).bytes()).sum::<usize>()
                };
                let fillers = rows.saturating_sub(given);
                let shortest = match fillers {
                    0 => 0,
                    _ => (0..given).min_by_key(bytes).unwrap_or_default(),
                };
                for at in (0..given).chain(repeat_n(shortest, fillers)) {
                    values.extend(columns.iter().map(|column| column.get(at)));
                }
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_filled_up_with_its_last_value_and_rows_with_the_shortest() {
        let (numbers, none) = (List::Integers(vec![Some(1), Some(2)]), List::Bytes(Vec::new()));
        let rows = [List::Integers(vec![Some(3)]), List::Texts(vec![Some("x")])];
        let arguments =
            [Argument::One(Value::Integer(Some(0))), Argument::In(&numbers), Argument::In(&none)];
        let mut arguments = arguments.to_vec();
        arguments.push(Argument::Rows(&rows));
        let values: Vec<_> = one_by_one(&arguments, 3).iter().map(shown).collect();
        assert_eq!(values.join(" "), "0 1 2 2 - - - 3 x 3 x 3 x");
        let rows = [
            List::Integers(vec![Some(1), Some(2), Some(3)]),
            List::Texts(vec![Some("long"), Some("x"), Some("longer")]),
        ];
        let values: Vec<_> = one_by_one(&[Argument::Rows(&rows)], 5).iter().map(shown).collect();
        assert_eq!(values.join(" "), "1 long 2 x 3 longer 2 x 2 x");
    }

    fn shown(value: &Value<'_>) -> String {
        match value {
            Value::Integer(Some(number)) => number.to_string(),
            Value::Text(Some(text)) => (*text).to_owned(),
            _ => "-".to_owned(),
        }
    }
}
