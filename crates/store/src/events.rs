//! The event log: every change of state, chained by hash so that a changed or missing line shows.

use crate::{
    Store,
    counters::{self, ALL_PROJECTS},
    sql::{self, Columns, Result, Val, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    events::{EventAction, Noun},
    ids::{EventId, ProjectId, TokenId, UserId},
};
use sqlx::{AnyConnection, any::AnyRow};

/// Events read together while the chain is checked.
const VERIFY_BATCH: i64 = 1000;
/// Events in one page.
const PAGE_MAX: u32 = 10_000;

/// Who made a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A person, a job, or the system itself.
    pub kind: ActorKind,
    /// The user.
    pub user: Option<UserId>,
    /// The token.
    pub token: Option<TokenId>,
    /// Where the call came from.
    pub address: Option<String>,
}

/// What kind of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// The server's own loops.
    System,
    /// A person or a service.
    User,
    /// A job, with its own token.
    Job,
}

impl ActorKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Job => "job",
        }
    }
}

impl Actor {
    /// The server's own loops.
    pub fn system() -> Self {
        Self { kind: ActorKind::System, user: None, token: None, address: None }
    }

    /// A person.
    pub fn user(user: UserId, address: Option<String>) -> Self {
        Self { kind: ActorKind::User, user: Some(user), token: None, address }
    }
}

/// What changed.
pub(crate) struct Change {
    pub project: Option<ProjectId>,
    pub noun: Noun,
    pub action: EventAction,
    pub id: String,
    pub name: Option<String>,
    pub detail: serde_json::Value,
}

impl Change {
    pub(crate) fn new(project: impl Into<Option<ProjectId>>, action: EventAction, id: impl ToString) -> Self {
        Self {
            project: project.into(),
            noun: action.noun(),
            action,
            id: id.to_string(),
            name: None,
            detail: serde_json::json!({}),
        }
    }

    pub(crate) fn name(mut self, name: impl ToString) -> Self {
        self.name = Some(name.to_string());
        self
    }

    pub(crate) fn detail(mut self, detail: serde_json::Value) -> Self {
        self.detail = detail;
        self
    }
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Grows by one.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// In which project.
    pub project_id: Option<ProjectId>,
    /// By whom.
    pub user_id: Option<UserId>,
    /// `system`, `user` or `job`.
    pub actor_kind: String,
    /// From where.
    pub address: Option<String>,
    /// What: `job.cancelled`.
    pub action: String,
    /// The noun: `jobs`.
    pub noun: String,
    /// Id of the thing.
    pub object_id: String,
    /// Its name.
    pub object_name: Option<String>,
    /// More, as JSON.
    pub detail: String,
}

/// Which events are wanted. With `after` the oldest come first, else the newest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only of this project.
    pub project: Option<ProjectId>,
    /// Only of this noun.
    pub noun: Option<String>,
    /// Only before this number.
    pub before: Option<i64>,
    /// Only after this number.
    pub after: Option<i64>,
    /// How many.
    pub limit: u32,
}

struct Fields<'a> {
    seq: i64,
    at: i64,
    project: Option<String>,
    user: Option<String>,
    token: Option<String>,
    kind: &'a str,
    address: Option<String>,
    action: &'a str,
    noun: &'a str,
    id: &'a str,
    name: Option<String>,
    detail: &'a str,
}

impl Fields<'_> {
    /// Each field with its length before it, so that no two lines give the same bytes.
    fn hash(&self, prev: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut add = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        add(prev);
        add(&self.seq.to_string());
        add(&self.at.to_string());
        for field in [&self.project, &self.user, &self.token, &self.address, &self.name] {
            add(field.as_deref().unwrap_or("\0"));
        }
        for field in [self.kind, self.action, self.noun, self.id, self.detail] {
            add(field);
        }
        hasher.finalize().to_hex().to_string()
    }
}

pub(crate) async fn append(
    conn: &mut AnyConnection,
    seq: i64,
    prev: &str,
    actor: &Actor,
    now: Timestamp,
    change: Change,
) -> Result<String> {
    let detail = change.detail.to_string();
    let hash = Fields {
        seq,
        at: now.as_ms(),
        project: change.project.map(|it| it.to_string()),
        user: actor.user.map(|it| it.to_string()),
        token: actor.token.map(|it| it.to_string()),
        kind: actor.kind.as_str(),
        address: actor.address.clone(),
        action: change.action.as_str(),
        noun: change.noun.as_str(),
        id: &change.id,
        name: change.name.clone(),
        detail: &detail,
    }
    .hash(prev);
    let sql = "INSERT INTO events (seq, id, at, project_id, actor_kind, user_id, token_id, address, action, noun, \
        object_id, object_name, detail, prev_hash, hash) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
    let values = vals![
        seq,
        EventId::generate(now),
        now,
        change.project,
        actor.kind.as_str(),
        actor.user,
        actor.token,
        actor.address.clone(),
        change.action.as_str(),
        change.noun.as_str(),
        change.id,
        change.name,
        detail,
        prev,
        &hash
    ];
    sql::exec(conn, sql, values).await?;
    Ok(hash)
}

fn event(row: &AnyRow) -> Result<EventRow> {
    Ok(EventRow {
        seq: row.int("seq")?,
        at: row.time("at")?,
        project_id: row.opt_parse("project_id", "a project id")?,
        user_id: row.opt_parse("user_id", "a user id")?,
        actor_kind: row.text("actor_kind")?,
        address: row.opt_text("address")?,
        action: row.text("action")?,
        noun: row.text("noun")?,
        object_id: row.text("object_id")?,
        object_name: row.opt_text("object_name")?,
        detail: row.text("detail")?,
    })
}

fn conditions(filter: &EventFilter) -> (String, Vec<Val>) {
    let (mut parts, mut values) = (vec!["1 = 1".to_owned()], vec![]);
    let mut add = |text: &str, value: Val| {
        values.push(value);
        parts.push(format!("{text} ${}", values.len()));
    };
    if let Some(project) = filter.project {
        add("project_id =", Val::from(project));
    }
    if let Some(noun) = &filter.noun {
        add("noun =", Val::from(noun));
    }
    if let Some(before) = filter.before {
        add("seq <", Val::from(before));
    }
    if let Some(after) = filter.after {
        add("seq >", Val::from(after));
    }
    (parts.join(" AND "), values)
}

impl Store {
    /// Events, filtered.
    pub async fn list_events(&self, filter: &EventFilter) -> std::result::Result<Vec<EventRow>, Problem> {
        let (condition, mut values) = conditions(filter);
        let order = if filter.after.is_some() { "ASC" } else { "DESC" };
        values.push(Val::from(filter.limit.min(PAGE_MAX)));
        let sql = format!("SELECT * FROM events WHERE {condition} ORDER BY seq {order} LIMIT ${}", values.len());
        let rows = sql::rows_of(&mut *self.read().await?, sql, values).await?;
        Ok(rows.iter().map(event).collect::<Result<_>>()?)
    }

    /// How many events the project and noun of a filter have, on all pages.
    pub async fn count_events(&self, filter: &EventFilter) -> std::result::Result<u64, Problem> {
        let what = filter.noun.as_ref().map_or_else(|| "events".to_owned(), |it| format!("events.{it}"));
        let Some(project) = filter.project else {
            if filter.noun.is_none() {
                return Ok(u64::try_from(self.newest_event().await?).unwrap_or_default());
            }
            return Ok(counters::read(&mut *self.read().await?, ALL_PROJECTS, &what).await?);
        };
        Ok(counters::read(&mut *self.read().await?, &project.to_string(), &what).await?)
    }

    /// The number of the newest event; 0 when there is none.
    pub async fn newest_event(&self) -> std::result::Result<i64, Problem> {
        Ok(sql::number(&mut *self.read().await?, "SELECT seq FROM chain WHERE id = 1", vec![]).await?)
    }

    /// Walks the whole chain; how many events were checked.
    ///
    /// # Errors
    /// `Conflict` names the first event that does not fit.
    pub async fn verify_events(&self) -> std::result::Result<u64, Problem> {
        let mut conn = self.read().await?;
        // The end is read first: what others append meanwhile is not part of this walk.
        let end = sql::row(&mut conn, "SELECT seq, hash FROM chain WHERE id = 1", vec![]).await?;
        let end = end.ok_or_else(|| Problem::conflict("the event chain has no end"))?;
        let (newest, newest_hash) = (end.int("seq")?, end.text("hash")?);
        let (mut prev, mut expected) = (String::new(), 1i64);
        loop {
            let sql = "SELECT * FROM events WHERE seq >= $1 AND seq <= $2 ORDER BY seq LIMIT $3";
            let rows = sql::rows(&mut conn, sql, vals![expected, newest, VERIFY_BATCH]).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let stored = row.text("hash")?;
                if row.int("seq")? != expected || row.text("prev_hash")? != prev || hash_of(row, &prev)? != stored {
                    let text = format!("event {expected} is missing or was changed after it was written");
                    return Err(Problem::conflict(text)
                        .hint("restore the database from a backup and look for who can write to it"));
                }
                prev = stored;
                expected += 1;
            }
        }
        if newest != expected - 1 || newest_hash != prev {
            return Err(Problem::conflict("the newest events are missing"));
        }
        Ok(u64::try_from(expected - 1).unwrap_or_default())
    }
}

fn hash_of(row: &AnyRow, prev: &str) -> Result<String> {
    let (kind, action, noun) = (row.text("actor_kind")?, row.text("action")?, row.text("noun")?);
    let (id, detail) = (row.text("object_id")?, row.text("detail")?);
    let fields = Fields {
        seq: row.int("seq")?,
        at: row.int("at")?,
        project: row.opt_text("project_id")?,
        user: row.opt_text("user_id")?,
        token: row.opt_text("token_id")?,
        kind: &kind,
        address: row.opt_text("address")?,
        action: &action,
        noun: &noun,
        id: &id,
        name: row.opt_text("object_name")?,
        detail: &detail,
    };
    Ok(fields.hash(prev))
}
