//! Small tools for portable queries: values to bind, columns to read.

use crate::{Dialect, StoreError, watch};
use futures::TryStreamExt;
use kaogong_domain::{
    ErrorKind, Problem, Timestamp,
    ids::{Id, Kind},
    names::Name,
};
use serde::de::DeserializeOwned;
use sqlx::{
    Any, AnyConnection, Row, SqlSafeStr,
    any::{AnyArguments, AnyRow},
    query::Query,
};
use std::{future::Future, panic::Location, str::FromStr};

pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// A value to bind.
#[derive(Debug, Clone)]
pub(crate) enum Val {
    Text(Option<String>),
    Int(Option<i64>),
    Real(f64),
}

macro_rules! val_from {
    ($($from:ty => $it:ident $to:expr;)*) => {$(
        impl From<$from> for Val {
            fn from($it: $from) -> Self {
                $to
            }
        }
    )*};
}

val_from! {
    &str => it Self::Text(Some(it.to_owned()));
    String => it Self::Text(Some(it));
    &String => it Self::Text(Some(it.clone()));
    Option<String> => it Self::Text(it);
    Option<&str> => it Self::Text(it.map(str::to_owned));
    &Name => it Self::Text(Some(it.to_string()));
    i64 => it Self::Int(Some(it));
    i32 => it Self::Int(Some(i64::from(it)));
    u32 => it Self::Int(Some(i64::from(it)));
    u64 => it Self::Int(Some(i64::try_from(it).unwrap_or(i64::MAX)));
    bool => it Self::Int(Some(i64::from(it)));
    Option<i64> => it Self::Int(it);
    Option<i32> => it Self::Int(it.map(i64::from));
    Option<u64> => it Self::Int(it.map(|it| i64::try_from(it).unwrap_or(i64::MAX)));
    f64 => it Self::Real(it);
    Timestamp => it Self::Int(Some(it.as_ms()));
    Option<Timestamp> => it Self::Int(it.map(Timestamp::as_ms));
}

impl<K: Kind> From<Id<K>> for Val {
    fn from(it: Id<K>) -> Self {
        Self::Text(Some(it.to_string()))
    }
}

impl<K: Kind> From<Option<Id<K>>> for Val {
    fn from(it: Option<Id<K>>) -> Self {
        Self::Text(it.map(|it| it.to_string()))
    }
}

/// Values in the order of `$1, $2, …`.
macro_rules! vals {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::Val::from($value)),*] };
}
pub(crate) use vals;

fn bound<'q>(
    sql: sqlx::SqlStr,
    vals: Vec<Val>,
    at: &'static Location<'static>,
) -> Result<Query<'q, Any, AnyArguments>> {
    watch::note(sql.as_str(), &vals, at);
    let mut query = sqlx::query(sql);
    for val in vals {
        query = match val {
            // PostgreSQL cannot hold it and SQLite can: neither may.
            Val::Text(Some(it)) if it.contains('\0') => {
                return Err(Problem::invalid("a text holds the character U+0000, which cannot be stored").into());
            }
            Val::Text(it) => query.bind(it),
            Val::Int(it) => query.bind(it),
            Val::Real(it) => query.bind(it),
        };
    }
    Ok(query)
}

/// A pattern for `LIKE … ESCAPE '\'` that finds `text` as it stands.
pub(crate) fn containing(text: &str) -> String {
    format!("{}%", ending_with(text))
}

/// A pattern for `LIKE … ESCAPE '\'` that finds what ends with `text` as it stands.
pub(crate) fn ending_with(text: &str) -> String {
    format!("%{}", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"))
}

/// A text column with the letters A to Z made small and no others, on both databases: what PostgreSQL does to other
/// letters depends on how its server was set up, and SQLite leaves them alone. Compare it with a text that went
/// through `to_ascii_lowercase`.
pub(crate) fn small_letters(dialect: Dialect, column: &str) -> String {
    match dialect {
        Dialect::Sqlite => format!("LOWER({column})"),
        Dialect::Postgres => format!("LOWER({column} COLLATE \"C\")"),
    }
}

/// Tags or parameters that one thing can have.
const PAIRS_MAX: usize = 1000;

/// Refuses more tags or parameters than one thing can have.
pub(crate) fn check_pairs(owner: &str, what: &str, count: usize) -> std::result::Result<(), Problem> {
    if count <= PAIRS_MAX {
        return Ok(());
    }
    Err(Problem::invalid(format!("{owner} has at most {PAIRS_MAX} {what}")).hint("remove some first"))
}

/// Ids in one statement.
pub(crate) const IDS_AT_ONCE: usize = 500;
/// Rows written by one statement: SQLite takes at most 32,766 values, PostgreSQL 65,535.
const ROWS_AT_ONCE: usize = 400;
/// Up to so many rows a statement that writes them stays prepared.
const ROWS_USUAL: usize = 32;

/// Rows of a query for many ids, some hundred ids at a time. A condition on the project beside them is written
/// `project_id || '' = $1`: SQLite would else go through all of the project instead of looking up the ids. The values of `first` are bound before the ids; `sql`
/// is given the places of the ids, separated by commas.
#[track_caller]
pub(crate) fn rows_in(
    conn: &mut AnyConnection,
    first: Vec<Val>,
    ids: Vec<Val>,
    sql: impl Fn(&str) -> String + Send,
) -> impl Future<Output = Result<Vec<AnyRow>>> + Send {
    let at = Location::caller();
    async move {
        let mut all = vec![];
        for batch in ids.chunks(IDS_AT_ONCE) {
            let values = [first.as_slice(), batch].concat();
            let text = sql(&places(first.len() + 1, batch.len()));
            all.extend(bound(own_sql(text), values, at)?.persistent(false).fetch_all(&mut *conn).await?);
        }
        Ok(all)
    }
}

/// Ids as values.
pub(crate) fn ids<K: Kind>(ids: &[Id<K>]) -> Vec<Val> {
    ids.iter().map(|it| Val::from(*it)).collect()
}

/// Text that this crate wrote: constants, and constants joined by numbers of placeholders.
pub(crate) fn own_sql(text: impl Into<String>) -> sqlx::SqlStr {
    sqlx::AssertSqlSafe(text.into()).into_sql_str()
}

/// Runs a statement; how many rows it touched.
#[track_caller]
pub(crate) fn exec(
    conn: &mut AnyConnection,
    sql: &'static str,
    vals: Vec<Val>,
) -> impl Future<Output = Result<u64>> + Send {
    let at = Location::caller();
    async move { Ok(bound(sql.into_sql_str(), vals, at)?.execute(conn).await?.rows_affected()) }
}

/// Writes many rows of `columns` values each with one statement after the other: `sql` is given
/// `($1, $2), ($3, $4), …` for a batch of rows.
#[track_caller]
pub(crate) fn put_rows(
    conn: &mut AnyConnection,
    rows: Vec<Vec<Val>>,
    sql: impl Fn(&str) -> String + Send,
) -> impl Future<Output = Result<u64>> + Send {
    let at = Location::caller();
    async move {
        let mut touched = 0;
        for batch in rows.chunks(ROWS_AT_ONCE) {
            let columns = batch.first().map_or(0, Vec::len);
            let list: Vec<String> =
                (0..batch.len()).map(|it| format!("({})", places(it * columns + 1, columns))).collect();
            let query = bound(own_sql(sql(&list.join(", "))), batch.concat(), at)?;
            // A loop logs the same number of rows again and again: these texts are worth being kept prepared.
            let is_usual = batch.len() <= ROWS_USUAL || batch.len() == ROWS_AT_ONCE;
            touched += query.persistent(is_usual).execute(&mut *conn).await?.rows_affected();
        }
        Ok(touched)
    }
}

/// All rows of a query.
#[track_caller]
pub(crate) fn rows(
    conn: &mut AnyConnection,
    sql: &'static str,
    vals: Vec<Val>,
) -> impl Future<Output = Result<Vec<AnyRow>>> + Send {
    let at = Location::caller();
    async move { Ok(bound(sql.into_sql_str(), vals, at)?.fetch_all(conn).await?) }
}

/// All rows of a query whose text was put together here.
#[track_caller]
pub(crate) fn rows_of(
    conn: &mut AnyConnection,
    sql: String,
    vals: Vec<Val>,
) -> impl Future<Output = Result<Vec<AnyRow>>> + Send {
    let at = Location::caller();
    async move { Ok(bound(own_sql(sql), vals, at)?.persistent(false).fetch_all(conn).await?) }
}

/// Hands over the rows of a query one by one, so that no number of them fills the memory.
#[track_caller]
pub(crate) fn each(
    conn: &mut AnyConnection,
    sql: String,
    mut on_row: impl FnMut(&AnyRow) -> Result<()> + Send,
) -> impl Future<Output = Result<()>> + Send {
    let at = Location::caller();
    async move {
        let mut rows = bound(own_sql(sql), vec![], at)?.persistent(false).fetch(conn);
        while let Some(row) = rows.try_next().await? {
            on_row(&row)?;
        }
        Ok(())
    }
}

/// The first row of a query, if there is one.
#[track_caller]
pub(crate) fn row(
    conn: &mut AnyConnection,
    sql: &'static str,
    vals: Vec<Val>,
) -> impl Future<Output = Result<Option<AnyRow>>> + Send {
    let at = Location::caller();
    async move { Ok(bound(sql.into_sql_str(), vals, at)?.fetch_optional(conn).await?) }
}

/// The single number that a query returns.
#[track_caller]
pub(crate) fn number(
    conn: &mut AnyConnection,
    sql: &'static str,
    vals: Vec<Val>,
) -> impl Future<Output = Result<i64>> + Send {
    let at = Location::caller();
    async move {
        match bound(sql.into_sql_str(), vals, at)?.fetch_optional(conn).await? {
            Some(it) => Ok(it.try_get::<i64, _>(0)?),
            None => Ok(0),
        }
    }
}

/// All rows of a list that is sent as one: `sql` ends with the place of its limit, which is bound after `vals`.
///
/// # Errors
/// `TooMany` above `most`: a list that ends early looks whole.
#[track_caller]
pub(crate) fn whole(
    conn: &mut AnyConnection,
    sql: &'static str,
    mut vals: Vec<Val>,
    (what, most): (&'static str, usize),
) -> impl Future<Output = Result<Vec<AnyRow>>> + Send {
    let at = Location::caller();
    async move {
        vals.push(Val::from(most as u64 + 1));
        let found = bound(sql.into_sql_str(), vals, at)?.fetch_all(conn).await?;
        if found.len() > most {
            let text = format!("there are more than {most} {what}, which is more than one list takes");
            return Err(Problem::new(ErrorKind::TooMany, text).hint("delete some of them").into());
        }
        Ok(found)
    }
}

/// `$from, $from+1, …`
pub(crate) fn places(from: usize, count: usize) -> String {
    (from..from + count).map(|it| format!("${it}")).collect::<Vec<_>>().join(", ")
}

/// Typed columns of a row.
pub(crate) trait Columns {
    fn text(&self, column: &str) -> Result<String>;
    fn opt_text(&self, column: &str) -> Result<Option<String>>;
    fn int(&self, column: &str) -> Result<i64>;
    fn opt_int(&self, column: &str) -> Result<Option<i64>>;
    fn real(&self, column: &str) -> Result<f64>;

    fn parse<T: FromStr>(&self, column: &str, expected: &'static str) -> Result<T> {
        let text = self.text(column)?;
        text.parse().map_err(|_| StoreError::Corrupt { column: column.to_owned(), text: text.clone(), expected })
    }

    fn opt_parse<T: FromStr>(&self, column: &str, expected: &'static str) -> Result<Option<T>> {
        match self.opt_text(column)? {
            None => Ok(None),
            Some(_) => self.parse(column, expected).map(Some),
        }
    }

    fn word<T>(&self, column: &str, parse: fn(&str) -> Option<T>, expected: &'static str) -> Result<T> {
        let text = self.text(column)?;
        parse(&text).ok_or_else(|| StoreError::Corrupt { column: column.to_owned(), text: text.clone(), expected })
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|_| StoreError::Corrupt {
            column: column.to_owned(),
            text: text.chars().take(200).collect(),
            expected: "JSON of the right shape",
        })
    }

    fn time(&self, column: &str) -> Result<Timestamp> {
        self.int(column).map(Timestamp)
    }

    fn opt_time(&self, column: &str) -> Result<Option<Timestamp>> {
        Ok(self.opt_int(column)?.map(Timestamp))
    }

    fn size(&self, column: &str) -> Result<u64> {
        Ok(u64::try_from(self.int(column)?).unwrap_or_default())
    }

    fn small(&self, column: &str) -> Result<u32> {
        Ok(u32::try_from(self.int(column)?).unwrap_or_default())
    }

    fn truth(&self, column: &str) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }
}

impl Columns for AnyRow {
    fn text(&self, column: &str) -> Result<String> {
        Ok(self.try_get::<String, _>(column)?)
    }

    fn opt_text(&self, column: &str) -> Result<Option<String>> {
        Ok(self.try_get::<Option<String>, _>(column)?)
    }

    fn int(&self, column: &str) -> Result<i64> {
        Ok(self.try_get::<i64, _>(column)?)
    }

    fn opt_int(&self, column: &str) -> Result<Option<i64>> {
        Ok(self.try_get::<Option<i64>, _>(column)?)
    }

    fn real(&self, column: &str) -> Result<f64> {
        Ok(self.try_get::<f64, _>(column)?)
    }
}

/// A value as JSON text.
pub(crate) fn json_of<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|it| StoreError::Told(Problem::bug("a value cannot be written as JSON", it)))
}
