//! The structures of an environment: making, checking and removing them.

use std::borrow::Cow;

use super::Outcome::{self, Keep};
use super::{Connection, Failure, Row, Statement, Statements, Template, Write};
use crate::driver::{DriverError, DriverErrorKind, EnvironmentState, OnMissing};

/// The suffix of the table that keeps the version.
const VERSION: &str = "_version";

/// The version of the tables, kept in `<environment>_version`. An older one is migrated, a newer
/// one refused.
const SCHEMA_VERSION: i64 = 1;

/// Records [`SCHEMA_VERSION`], once.
pub(super) const INSERT_VERSION: &str = "INSERT INTO {version} (version)
    SELECT 1{dual} WHERE NOT EXISTS (SELECT 1 FROM {version} v)";

/// A call that changes the structures.
pub(super) enum ChangeEnvironment {
    /// [`Driver::create_environment`](crate::Driver::create_environment).
    Create,
    /// [`Driver::ensure_environment`](crate::Driver::ensure_environment).
    Ensure,
    /// [`Driver::remove_environment`](crate::Driver::remove_environment).
    Remove(OnMissing),
}

/// A table or an index that a driver needs.
pub(super) struct Structure {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) create: Vec<Statement>,
}

impl Structure {
    /// A structure whose name ends with `suffix`, made by these templates.
    pub(super) fn new(template: &Template<'_>, suffix: &str, kind: Kind, create: &[&str]) -> Self {
        Self {
            name: format!("{}_{suffix}", template.environment),
            kind,
            create: create.iter().map(|text| template.fill(text)).collect(),
        }
    }
}

/// What a structure is.
pub(super) enum Kind {
    /// A table with these columns.
    Table(Vec<Column>),
    /// An index of the table of this name.
    Index(String),
}

/// A column that a table needs.
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Its type, as the database reports it.
    pub(super) of: &'static str,
    /// Its place in the primary key, from 1, or 0 if it is not part of it; `None` if either will do.
    pub(super) key: Option<i64>,
}

impl Column {
    pub(super) fn new(name: &'static str, of: &'static str, key: Option<i64>) -> Self {
        Self { name, of, key }
    }
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

    /// Notes the versions that are kept, one a row, in the structure at `place`.
    fn set_versions(&mut self, place: usize, versions: &[i64]) {
        let defect = match versions {
            [SCHEMA_VERSION] => return,
            // Made half-way, where a table cannot be made and filled in one step.
            [] => return self.missing.push(place),
            [version] if *version > SCHEMA_VERSION => format!(
                "its version is {version}, made by a newer version of this crate; \
                 this one knows {SCHEMA_VERSION}"
            ),
            [version] => format!("its version {version} is unknown"),
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
                    Some((.., key)) if column.key.is_some_and(|wanted| wanted != *key) => {
                        Some(format!("{name} has another primary key"))
                    }
                    Some(_) => None,
                }
            }),
        }
    }
}

impl Write for ChangeEnvironment {
    type Answer = ();

    async fn run<C: Connection>(
        &self,
        db: &mut C,
        sql: &Statements,
    ) -> Result<Outcome<()>, Failure> {
        lock(db, sql).await?;
        let changed = match self {
            Self::Create => create(db, sql).await,
            Self::Ensure => ensure(db, sql).await,
            Self::Remove(missing) => remove(db, sql, *missing).await,
        };
        unlock(db, sql).await?;
        changed.map(Keep)
    }
}

async fn create<C: Connection>(db: &mut C, sql: &Statements) -> Result<(), Failure> {
    let survey = survey(db, sql).await?;
    if survey.existing > 0 {
        return Err(refuse(
            DriverErrorKind::EnvironmentExists,
            "nothing was changed; `ensure_session_environment` makes what is missing",
        ));
    }
    complete(db, sql, &survey).await
}

async fn ensure<C: Connection>(db: &mut C, sql: &Statements) -> Result<(), Failure> {
    let survey = survey(db, sql).await?;
    match survey.defect {
        Some(defect) => Err(refuse(DriverErrorKind::EnvironmentDefective, defect)),
        None => complete(db, sql, &survey).await,
    }
}

async fn remove<C: Connection>(
    db: &mut C,
    sql: &Statements,
    missing: OnMissing,
) -> Result<(), Failure> {
    let survey = survey(db, sql).await?;
    if missing == OnMissing::Error && !survey.missing.is_empty() {
        let missing = survey.missing_names(&sql.environment.structures).join(", ");
        return Err(refuse(
            DriverErrorKind::EnvironmentMissing,
            format!("nothing was removed, as these do not exist: {missing}"),
        ));
    }
    for drop in &sql.environment.drops {
        db.execute(drop, &[]).await?;
    }
    Ok(())
}

/// Makes the structures that are missing.
async fn complete<C: Connection>(
    db: &mut C,
    sql: &Statements,
    survey: &Survey,
) -> Result<(), Failure> {
    let structures = &sql.environment.structures;
    let missing = survey.missing.iter().filter_map(|at| structures.get(*at));
    for statement in missing.flat_map(|structure| &structure.create) {
        db.execute(statement, &[]).await?;
    }
    Ok(())
}

/// Waits until no other process changes the structures.
pub(super) async fn lock<C: Connection>(db: &mut C, sql: &Statements) -> Result<(), Failure> {
    let Some(lock) = &sql.environment.lock else {
        return Ok(());
    };
    match db.fetch_optional(lock, &[], |row| row.integer(0)).await? {
        Some(Some(1)) => Ok(()),
        _ => Err(refuse(
            DriverErrorKind::Timeout,
            "another process was changing the environment for too long",
        )),
    }
}

pub(super) async fn unlock<C: Connection>(db: &mut C, sql: &Statements) -> Result<(), Failure> {
    if let Some(unlock) = &sql.environment.unlock {
        db.fetch_optional(unlock, &[], |_| Ok(())).await?;
    }
    Ok(())
}

pub(super) async fn survey<C: Connection>(db: &mut C, sql: &Statements) -> Result<Survey, Failure> {
    let text = |row: &C::Row, at| Ok::<_, Failure>(row.text(at)?.unwrap_or_default().to_owned());
    let mut found: Vec<Found> = Vec::new();
    db.fetch(&sql.environment.survey, &[], |row| {
        let name = text(row, 0)?;
        if found.last().is_none_or(|last| last.name != name) {
            let (kind, table) = (text(row, 1)?, text(row, 2)?);
            found.push(Found { name, kind, table, columns: Vec::new() });
        }
        if let (Some(last), Some(column)) = (found.last_mut(), row.text(3)?) {
            last.columns.push((column.to_owned(), text(row, 4)?, row.number(5)?));
        }
        Ok(())
    })
    .await?;
    let structures = &sql.environment.structures;
    let mut survey = Survey::new(structures, &found);
    let place = structures.iter().position(|structure| structure.name.ends_with(VERSION));
    if let Some(place) = place.filter(|place| !survey.missing.contains(place))
        && survey.defect.is_none()
    {
        let versions = db.fetch_all(&sql.version, &[], |row| row.number(0)).await?;
        survey.set_versions(place, &versions);
    }
    Ok(survey)
}

fn refuse(kind: DriverErrorKind, message: impl Into<Cow<'static, str>>) -> Failure {
    DriverError::new(kind, message).into()
}
