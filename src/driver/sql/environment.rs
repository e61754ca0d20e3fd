//! The structures of an environment, and what is to be said of those that were found.

use super::{SCHEMA_VERSION, Statement};
use crate::driver::EnvironmentState;

/// A table or an index that a driver needs.
pub(super) struct Structure {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) create: Vec<Statement>,
}

/// What a structure is.
pub(super) enum Kind {
    /// A table with these columns.
    Table(&'static [Column]),
    /// An index of the table of this name.
    Index(String),
}

/// A column that a table needs.
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Its type, as the database reports it.
    pub(super) of: &'static str,
    /// Its place in the primary key, from 1; 0 if it is not part of it.
    pub(super) key: i64,
}

/// A structure that exists.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) name: String,
    /// `table`, `index` or another word of the database.
    pub(super) kind: String,
    /// The table that it belongs to.
    pub(super) table: String,
    /// Names, types, and places in the primary key.
    pub(super) columns: Vec<(String, String, i64)>,
}

/// What there is of an environment.
#[derive(Debug)]
pub(super) struct Survey {
    /// The structures that do not exist, by their place in the list.
    pub(super) missing: Vec<usize>,
    /// What is wrong with those that do.
    pub(super) defect: Option<String>,
    /// How many exist.
    pub(super) existing: usize,
}

impl Survey {
    pub(super) fn new(structures: &[Structure], found: &[Found]) -> Self {
        let mut survey = Self { missing: Vec::new(), defect: None, existing: 0 };
        for (at, structure) in structures.iter().enumerate() {
            match found.iter().find(|found| found.name == structure.name) {
                Some(found) => {
                    survey.existing += 1;
                    survey.defect = survey.defect.or_else(|| structure.defect(found));
                }
                None => survey.missing.push(at),
            }
        }
        survey
    }

    /// Notes the versions that are kept, one a row.
    pub(super) fn set_versions(&mut self, versions: &[i64]) {
        let defect = match versions {
            [SCHEMA_VERSION] => return,
            [version] if *version > SCHEMA_VERSION => format!(
                "its version is {version}, made by a newer version of this crate; \
                 this one knows {SCHEMA_VERSION}"
            ),
            [version] => format!("its version {version} is unknown"),
            [] => "its version is not recorded".to_owned(),
            _ => "more than one version is recorded".to_owned(),
        };
        self.defect.get_or_insert(defect);
    }

    pub(super) fn state(self, structures: &[Structure]) -> EnvironmentState {
        match self.defect {
            _ if self.existing == 0 => EnvironmentState::Absent,
            Some(defect) => EnvironmentState::Defective(defect),
            None if self.missing.is_empty() => EnvironmentState::Complete,
            None => EnvironmentState::Incomplete(self.missing_names(structures)),
        }
    }

    pub(super) fn missing_names(&self, structures: &[Structure]) -> Vec<String> {
        let missing = self.missing.iter().filter_map(|at| structures.get(*at));
        missing.map(|structure| structure.name.clone()).collect()
    }
}

impl Structure {
    fn defect(&self, found: &Found) -> Option<String> {
        let name = &self.name;
        match &self.kind {
            Kind::Table(_) if found.kind != "table" => Some(format!("{name} is not a table")),
            Kind::Index(_) if found.kind != "index" => Some(format!("{name} is not an index")),
            Kind::Index(table) if found.table != *table => {
                Some(format!("{name} is not an index of {table}"))
            }
            Kind::Index(_) => None,
            Kind::Table(columns) => columns.iter().find_map(|column| {
                let (wanted, column_type) = (column.name, column.of);
                match found.columns.iter().find(|(name, ..)| name == wanted) {
                    None => Some(format!("{name} has no column {wanted}")),
                    Some((_, other, _)) if !other.eq_ignore_ascii_case(column_type) => {
                        Some(format!("{name}.{wanted} is not of the type {column_type}"))
                    }
                    Some((.., key)) if *key != column.key => {
                        Some(format!("{name} has another primary key"))
                    }
                    Some(_) => None,
                }
            }),
        }
    }
}
