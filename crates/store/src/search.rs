//! Searching runs: a parsed filter becomes the conditions and the order of a statement.

use crate::{
    Dialect,
    sql::{self, Val, places},
};
use kaogong_domain::{
    Problem, Timestamp,
    ids::{ExperimentId, ProjectId, RunId},
};

type Told<T> = std::result::Result<T, Problem>;

/// Texts in one list, experiments in one search. SQLite takes at most 32,766 values in a statement.
const LIST_MAX: usize = 10_000;
/// Bytes of a LIKE pattern. SQLite takes at most 50,000, and escaping makes up to three of one.
const PATTERN_BYTES_MAX: usize = 8_000;
/// Characters of a parameter or a tag that an index holds.
const INDEXED_CHARS: usize = 100;

/// Active or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Lifecycle {
    /// There.
    #[default]
    Active,
    /// Hidden, and can be restored.
    Deleted,
}

impl Lifecycle {
    /// The word in the store and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deleted => "deleted",
        }
    }

    /// The lifecycle of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Active, Self::Deleted].into_iter().find(|it| it.as_str() == word)
    }
}

/// What a condition looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The newest value of a metric.
    Metric(String),
    /// A parameter.
    Param(String),
    /// A tag.
    Tag(String),
    /// `run_id`.
    Id,
    /// `run_name`.
    Name,
    /// `status`.
    Status,
    /// `user_id`.
    User,
    /// `start_time`, in milliseconds.
    StartTime,
    /// `end_time`, in milliseconds.
    EndTime,
}

/// How a condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `LIKE`, letters as they are.
    Like,
    /// `ILIKE`, letters of any case.
    ILike,
    /// `IN (…)`
    In,
    /// `NOT IN (…)`
    NotIn,
}

/// What a condition compares with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// Texts.
    List(Vec<String>),
}

/// One condition; all of a search must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFilter {
    /// What it looks at.
    pub field: Field,
    /// How it compares.
    pub comparator: Comparator,
    /// With what.
    pub operand: Operand,
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Small first.
    Ascending,
    /// Large first.
    Descending,
}

/// One key of an order. Runs without the value come last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOrder {
    /// By what.
    pub field: Field,
    /// Which end first.
    pub direction: Direction,
}

/// A search for runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunSearch {
    /// In these experiments; `None` for all of the project.
    pub experiments: Option<Vec<ExperimentId>>,
    /// Only active or only deleted ones; `None` for both.
    pub lifecycle: Option<Lifecycle>,
    /// All must hold.
    pub filters: Vec<RunFilter>,
    /// Then newest first.
    pub order: Vec<RunOrder>,
    /// Only what follows this run, by its start and its id; not with an order.
    pub after: Option<(Timestamp, RunId)>,
    /// Runs to pass over.
    pub offset: u64,
    /// Runs wanted.
    pub limit: u32,
}

/// The sign of a plain comparison; `None` for patterns and lists.
pub(crate) fn sign_of(comparator: Comparator) -> Option<&'static str> {
    Some(match comparator {
        Comparator::Equal => "=",
        Comparator::NotEqual => "<>",
        Comparator::Less => "<",
        Comparator::LessOrEqual => "<=",
        Comparator::Greater => ">",
        Comparator::GreaterOrEqual => ">=",
        Comparator::Like | Comparator::ILike | Comparator::In | Comparator::NotIn => return None,
    })
}

/// The text of a statement under construction, and its values.
pub(crate) struct Builder<'a> {
    pub dialect: Dialect,
    pub values: Vec<Val>,
    /// A condition on a metric, a parameter or a tag that few runs fulfil: those runs are looked up by value.
    pub few: Option<&'a RunFilter>,
    /// The one experiment that is searched, if it is one.
    pub experiment: Option<ExperimentId>,
}

impl Builder<'_> {
    /// Values, as `name`, that fulfil a condition and that an index finds: their table and the conditions. `None` where
    /// none does. Newest values of a metric are found in the one experiment that is searched, equal parameters and tags
    /// anywhere; of these the index holds how they begin.
    pub(crate) fn values(&mut self, name: &str, filter: &RunFilter) -> Told<Option<(&'static str, String)>> {
        let within = |this: &mut Self| {
            let experiment = this.experiment?;
            Some(format!("{name}.experiment_id = {} AND ", this.bind(experiment)))
        };
        match (&filter.field, &filter.operand, filter.comparator) {
            // What is unequal to a number may be NaN, which the index of values does not hold.
            (Field::Metric(_), _, Comparator::NotEqual) => Ok(None),
            (Field::Metric(key), ..) => {
                let Some(within) = within(self) else { return Ok(None) };
                let key = self.bind(key);
                let compared = self.compare(&format!("{name}.value"), filter)?;
                let text = format!("{within}{name}.key = {key} AND {name}.is_nan = 0 AND {compared}");
                Ok(Some(("latest_metrics", text)))
            }
            (Field::Param(key) | Field::Tag(key), Operand::Text(text), Comparator::Equal) => {
                let table = if matches!(filter.field, Field::Param(_)) { "params" } else { "tags" };
                let within = within(self).unwrap_or_default();
                let start: String = text.chars().take(INDEXED_CHARS).collect();
                let (key, start) = (self.bind(key), self.bind(start));
                let compared = self.compare(&format!("{name}.value"), filter)?;
                let text = format!(
                    "{within}{name}.key = {key} AND substr({name}.value, 1, {INDEXED_CHARS}) = {start} AND {compared}"
                );
                Ok(Some((table, text)))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn bind(&mut self, value: impl Into<Val>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    fn list(&mut self, values: impl IntoIterator<Item = Val>) -> String {
        let before = self.values.len();
        self.values.extend(values);
        places(before + 1, self.values.len() - before)
    }

    /// `column` compared as the condition says.
    fn compare(&mut self, column: &str, filter: &RunFilter) -> Told<String> {
        let Some(sign) = sign_of(filter.comparator) else {
            return match filter.comparator {
                Comparator::Like | Comparator::ILike => self.like(column, filter),
                _ => self.among(column, filter),
            };
        };
        let place = match &filter.operand {
            Operand::Text(it) if !is_number(&filter.field) => self.bind(it),
            Operand::Number(_) if !is_number(&filter.field) => {
                return Err(Problem::invalid("this is compared with a text").hint("put it in quotes"));
            }
            Operand::Text(_) => {
                return Err(Problem::invalid("this is compared with a number").hint("leave the quotes out"));
            }
            Operand::Number(it) if is_time(&filter.field) => self.bind(*it as i64),
            Operand::Number(it) => self.bind(*it),
            Operand::List(_) => return Err(Problem::invalid("a list can only follow IN")),
        };
        let order = if matches!(sign, "=" | "<>") || is_number(&filter.field) { "" } else { by_bytes(self.dialect) };
        Ok(format!("{column}{order} {sign} {place}"))
    }

    fn among(&mut self, column: &str, filter: &RunFilter) -> Told<String> {
        let Operand::List(list) = &filter.operand else {
            return Err(Problem::invalid("IN needs a list of texts in parentheses"));
        };
        if is_number(&filter.field) {
            return Err(Problem::invalid("IN compares texts, and this is a number"));
        }
        if list.len() > LIST_MAX {
            return Err(Problem::invalid(format!("the list after IN has more than {LIST_MAX} texts")));
        }
        if list.is_empty() {
            return Ok(if filter.comparator == Comparator::In { "1 = 0" } else { "1 = 1" }.to_owned());
        }
        let not = if filter.comparator == Comparator::NotIn { "NOT " } else { "" };
        let places = self.list(list.iter().map(Val::from));
        Ok(format!("{column} {not}IN ({places})"))
    }

    /// `LIKE` minds the case of letters and `ILIKE` does not mind that of A to Z, on both databases; in neither is
    /// there an escape character. SQLite's own LIKE minds no case, its GLOB does.
    fn like(&mut self, column: &str, filter: &RunFilter) -> Told<String> {
        let Operand::Text(pattern) = &filter.operand else { return Err(Problem::invalid("LIKE needs a text")) };
        if is_number(&filter.field) {
            return Err(Problem::invalid("LIKE compares texts, and this is a number"));
        }
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(Problem::invalid(format!("a LIKE pattern has more than {PATTERN_BYTES_MAX} bytes")));
        }
        Ok(match (self.dialect, filter.comparator) {
            (Dialect::Sqlite, Comparator::ILike) => format!("{column} LIKE {}", self.bind(pattern)),
            (Dialect::Sqlite, _) => format!("{column} GLOB {}", self.bind(glob(pattern))),
            (Dialect::Postgres, Comparator::ILike) => {
                let small = sql::small_letters(self.dialect, column);
                format!("{small} LIKE {} ESCAPE ''", self.bind(pattern.to_ascii_lowercase()))
            }
            (Dialect::Postgres, _) => format!("{column} LIKE {} ESCAPE ''", self.bind(pattern)),
        })
    }

    fn filter(&mut self, filter: &RunFilter) -> Told<String> {
        let value = |table: &str, key: &str, this: &mut Self, extra: &str| -> Told<String> {
            let place = this.bind(key);
            let compared = this.compare("x.value", filter)?;
            Ok(format!(
                "EXISTS (SELECT 1 FROM {table} x WHERE x.run_id = r.id AND x.key = {place}{extra} AND {compared})"
            ))
        };
        match &filter.field {
            // The statement begins with those that fulfil it.
            _ if self.few == Some(filter) => Ok("1 = 1".to_owned()),
            // NaN is a value: no number is equal to it, and none compares with it in another way.
            Field::Metric(key) if filter.comparator == Comparator::NotEqual => {
                let place = self.bind(key);
                let compared = self.compare("x.value", filter)?;
                Ok(format!(
                    "EXISTS (SELECT 1 FROM latest_metrics x WHERE x.run_id = r.id AND x.key = {place} \
                     AND (x.is_nan = 1 OR {compared}))"
                ))
            }
            Field::Metric(key) => value("latest_metrics", key, self, " AND x.is_nan = 0"),
            Field::Param(key) => value("params", key, self, ""),
            Field::Tag(key) => value("tags", key, self, ""),
            plain => self.compare(column_of(plain), filter),
        }
    }

    pub(crate) fn order(&mut self, order: &RunOrder) -> String {
        let expression = match &order.field {
            Field::Metric(key) => {
                let place = self.bind(key);
                let of = format!("FROM latest_metrics x WHERE x.run_id = r.id AND x.key = {place}");
                // Numbers, then NaN, then the runs without the metric, in both directions.
                format!("COALESCE((SELECT x.is_nan {of}), 2), (SELECT x.value {of} AND x.is_nan = 0)")
            }
            Field::Param(key) => {
                format!("(SELECT x.value FROM params x WHERE x.run_id = r.id AND x.key = {})", self.bind(key))
            }
            Field::Tag(key) => {
                format!("(SELECT x.value FROM tags x WHERE x.run_id = r.id AND x.key = {})", self.bind(key))
            }
            plain => column_of(plain).to_owned(),
        };
        let direction = if order.direction == Direction::Ascending { "ASC" } else { "DESC" };
        let order_of_text = if is_number(&order.field) { "" } else { by_bytes(self.dialect) };
        format!("{expression}{order_of_text} {direction} NULLS LAST")
    }

    pub(crate) fn condition(&mut self, project: ProjectId, search: &RunSearch) -> Told<String> {
        let mut parts = vec![format!("r.project_id = {}", self.bind(project))];
        match search.experiments.as_deref() {
            Some([one]) => parts.push(format!("r.experiment_id = {}", self.bind(*one))),
            None => {}
            Some([]) => parts.push("1 = 0".to_owned()),
            Some(some) if some.len() > LIST_MAX => {
                let text = format!("a search looks at {LIST_MAX} experiments at most");
                return Err(Problem::invalid(text).hint("search them in several calls"));
            }
            Some(some) => {
                let list = self.list(some.iter().map(|it| Val::from(*it)));
                parts.push(format!("r.experiment_id IN ({list})"));
            }
        }
        if let Some(lifecycle) = search.lifecycle {
            parts.push(format!("r.lifecycle = {}", self.bind(lifecycle.as_str())));
        }
        if let Some((at, id)) = search.after {
            parts.push(format!("(r.started_at, r.id) < ({}, {})", self.bind(at), self.bind(id)));
        }
        for filter in &search.filters {
            parts.push(self.filter(filter)?);
        }
        Ok(parts.join(" AND "))
    }
}

/// Texts are ordered by their bytes whatever language the database was made for.
pub(crate) fn by_bytes(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "",
        Dialect::Postgres => " COLLATE \"C\"",
    }
}

/// A LIKE pattern as a GLOB pattern.
fn glob(pattern: &str) -> String {
    let mut text = String::with_capacity(pattern.len());
    for letter in pattern.chars() {
        match letter {
            '%' => text.push('*'),
            '_' => text.push('?'),
            '*' | '?' | '[' => text.extend(['[', letter, ']']),
            plain => text.push(plain),
        }
    }
    text
}

fn is_number(field: &Field) -> bool {
    matches!(field, Field::Metric(_)) || is_time(field)
}

fn is_time(field: &Field) -> bool {
    matches!(field, Field::StartTime | Field::EndTime)
}

fn column_of(field: &Field) -> &'static str {
    match field {
        Field::Name => "r.name",
        Field::Status => "r.status",
        Field::User => "r.user_name",
        Field::StartTime => "r.started_at",
        Field::EndTime => "r.ended_at",
        Field::Id | Field::Metric(_) | Field::Param(_) | Field::Tag(_) => "r.id",
    }
}
