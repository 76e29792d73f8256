//! Artifacts: virtual paths below a run, a job or a model, pointing at bytes by hash.

use crate::{
    Actor, Dialect, Store,
    events::Change,
    search::by_bytes,
    sql::{self, Columns, Result, Val, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    events::{EventAction, Noun},
    ids::{JobId, LoggedModelId, ProjectId, RunId},
};
use serde_json::json;
use sqlx::{AnyConnection, any::AnyRow};
use std::fmt;

type Told<T> = std::result::Result<T, Problem>;

/// Whose artifact it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArtifactOwner {
    /// A run.
    Run(RunId),
    /// A job.
    Job(JobId),
    /// A logged model.
    LoggedModel(LoggedModelId),
}

impl fmt::Display for ArtifactOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(it) => it.fmt(f),
            Self::Job(it) => it.fmt(f),
            Self::LoggedModel(it) => it.fmt(f),
        }
    }
}

/// An artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRow {
    /// Below its owner.
    pub path: String,
    /// BLAKE3 of its bytes.
    pub hash: String,
    /// Bytes.
    pub size: u64,
    /// As the writer said.
    pub media_type: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
}

/// An artifact to keep. The caller has checked the path and stored the bytes.
#[derive(Debug, Clone)]
pub struct NewArtifact {
    /// Below its owner.
    pub path: String,
    /// BLAKE3 of its bytes.
    pub hash: String,
    /// Bytes.
    pub size: u64,
    /// As the writer said.
    pub media_type: Option<String>,
}

/// What lies directly below a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactEntry {
    /// Its name in the folder.
    pub name: String,
    /// Bytes; `None` for a folder.
    pub size: Option<u64>,
}

/// The most artifacts of an owner, or entries of a folder, that are listed.
pub(crate) const LIST_MAX: usize = 100_000;
/// Rows read together while a folder is listed.
const BATCH: usize = 1000;

fn too_many(what: &str) -> Problem {
    Problem::invalid(format!("{what} has more than {LIST_MAX}, which is more than one list takes"))
        .hint("list folder by folder with `mlflow artifacts list`, or put less into one folder")
}

/// `a-b` comes before `a/`, but after `a`.
fn by_name(mut entries: Vec<ArtifactEntry>) -> Vec<ArtifactEntry> {
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    entries
}

fn artifact(row: &AnyRow) -> Result<ArtifactRow> {
    Ok(ArtifactRow {
        path: row.text("path")?,
        hash: row.text("hash")?,
        size: row.size("size")?,
        media_type: row.opt_text("media_type")?,
        created_at: row.time("created_at")?,
    })
}

/// The noun of an owner, and its name when it is there.
async fn owner_name(
    conn: &mut AnyConnection,
    project: ProjectId,
    owner: ArtifactOwner,
) -> Result<(Noun, Option<String>)> {
    let (noun, sql) = match owner {
        ArtifactOwner::Run(_) => (Noun::Runs, "SELECT name FROM runs WHERE project_id = $1 AND id = $2"),
        ArtifactOwner::Job(_) => (Noun::Jobs, "SELECT name FROM jobs WHERE project_id = $1 AND id = $2"),
        ArtifactOwner::LoggedModel(_) => {
            (Noun::Runs, "SELECT name FROM logged_models WHERE project_id = $1 AND id = $2")
        }
    };
    let row = sql::row(conn, sql, vals![project, owner.to_string()]).await?;
    Ok((noun, row.map(|it| it.text("name")).transpose()?))
}

async fn note_blob(conn: &mut AnyConnection, project: ProjectId, hash: &str, size: u64, now: Timestamp) -> Result<()> {
    let sql = "INSERT INTO blobs (project_id, hash, size, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (project_id, hash) DO NOTHING";
    sql::exec(conn, sql, vals![project, hash, size, now]).await?;
    Ok(())
}

/// Refuses a path that is a folder already, or that lies below a file: no client could fetch both.
async fn only_one_kind(
    conn: &mut AnyConnection,
    dialect: Dialect,
    project: ProjectId,
    owner: ArtifactOwner,
    path: &str,
) -> Told<()> {
    let shown = |it: &str| it.chars().take(200).collect::<String>();
    let first = vals![project, owner.to_string()];
    let above = path.match_indices('/').map(|it| Val::from(&path[..it.0])).collect();
    let files = sql::rows_in(conn, first.clone(), above, |list| {
        format!("SELECT path FROM artifacts WHERE project_id = $1 AND owner = $2 AND path IN ({list})")
    });
    if let Some(file) = files.await?.first() {
        let text = format!("`{}` is a file, so nothing can lie below it", shown(&file.text("path")?));
        return Err(Problem::invalid(text).hint("choose another name, or delete the file first"));
    }
    let bytes = by_bytes(dialect);
    let sql = format!(
        "SELECT path FROM artifacts WHERE project_id = $1 AND owner = $2 AND path{bytes} > $3 AND path{bytes} < $4 LIMIT 1"
    );
    // `0` is the character after the slash.
    let below = [first, vals![format!("{path}/"), format!("{path}0")]].concat();
    if sql::rows_of(conn, sql, below).await?.is_empty() {
        return Ok(());
    }
    Err(Problem::invalid(format!("`{}` is a folder, so it cannot be a file", shown(path)))
        .hint("choose another name, or delete the folder first"))
}

impl Store {
    /// Points a path at bytes; a path written again points at the new bytes. A measurement of its owner, so no
    /// event of its own.
    ///
    /// # Errors
    /// `Invalid` when the path is a folder, or lies below a file.
    pub async fn put_artifact(
        &self,
        project: ProjectId,
        owner: ArtifactOwner,
        new: NewArtifact,
        _actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.measure().await?;
        only_one_kind(&mut tx, self.dialect, project, owner, &new.path).await?;
        note_blob(&mut tx, project, &new.hash, new.size, now).await?;
        let sql = "INSERT INTO artifacts (project_id, owner, path, hash, size, media_type, created_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (project_id, owner, path) \
            DO UPDATE SET hash = excluded.hash, size = excluded.size, media_type = excluded.media_type, created_at = excluded.created_at";
        let values = vals![project, owner.to_string(), new.path, new.hash, new.size, new.media_type, now];
        sql::exec(&mut tx, sql, values).await?;
        Ok(tx.commit().await.map_err(crate::StoreError::from)?)
    }

    /// All artifacts of an owner, by path.
    ///
    /// # Errors
    /// `Invalid` above 100,000: a list that ends early looks whole.
    pub async fn list_artifacts(&self, project: ProjectId, owner: ArtifactOwner) -> Told<Vec<ArtifactRow>> {
        let sql = "SELECT * FROM artifacts WHERE project_id = $1 AND owner = $2 ORDER BY path LIMIT $3";
        let values = vals![project, owner.to_string(), LIST_MAX as u64 + 1];
        let rows = sql::rows(&mut *self.read().await?, sql, values).await?;
        if rows.len() > LIST_MAX {
            return Err(too_many("the list of artifacts"));
        }
        Ok(rows.iter().map(artifact).collect::<Result<_>>()?)
    }

    /// All artifacts of the logged models of a run, newest model first, of each by path: the model, its name, the file.
    ///
    /// # Errors
    /// `Invalid` above 100,000.
    pub async fn artifacts_of_logged_models(
        &self,
        project: ProjectId,
        run: RunId,
    ) -> Told<Vec<(LoggedModelId, String, ArtifactRow)>> {
        let sql = "SELECT a.*, m.id AS model, m.name AS model_name FROM logged_models m \
            CROSS JOIN artifacts a WHERE a.project_id = m.project_id AND a.owner = m.id \
            AND m.run_id = $1 AND m.project_id = $2 AND m.deleted_at IS NULL \
            ORDER BY m.created_at DESC, m.id DESC, a.path LIMIT $3";
        let rows = sql::rows(&mut *self.read().await?, sql, vals![run, project, LIST_MAX as u64 + 1]).await?;
        if rows.len() > LIST_MAX {
            return Err(too_many("the list of artifacts"));
        }
        let each = |it: &AnyRow| Ok((it.parse("model", "a logged model id")?, it.text("model_name")?, artifact(it)?));
        Ok(rows.iter().map(each).collect::<Result<_>>()?)
    }

    /// What lies directly below a folder of an owner, by name; the empty path is its root. What lies deeper is passed
    /// over, however much it is.
    ///
    /// # Errors
    /// `Invalid` above 100,000.
    pub async fn list_folder(&self, project: ProjectId, owner: ArtifactOwner, below: &str) -> Told<Vec<ArtifactEntry>> {
        let start = if below.is_empty() { String::new() } else { format!("{below}/") };
        let by_bytes = by_bytes(self.dialect);
        let sql = format!(
            "SELECT path, size FROM artifacts WHERE project_id = $1 AND owner = $2 AND path{by_bytes} > $3 \
             ORDER BY path{by_bytes} LIMIT $4"
        );
        let mut conn = self.read().await?;
        let mut entries: Vec<ArtifactEntry> = vec![];
        let mut last = start.clone();
        loop {
            let values = vals![project, owner.to_string(), &last, BATCH as u64];
            let rows = sql::rows_of(&mut conn, sql.clone(), values).await?;
            for row in &rows {
                let path = row.text("path")?;
                let Some(rest) = path.strip_prefix(&start) else { return Ok(by_name(entries)) };
                let (name, size) = match rest.split_once('/') {
                    Some((name, _)) => (name, None),
                    None => (rest, Some(row.size("size")?)),
                };
                // The next folder or file follows everything that begins with this folder's name and a slash.
                last = if size.is_none() { format!("{start}{name}/\u{10ffff}") } else { path.clone() };
                if entries.last().is_none_or(|it| it.name != name || it.size.is_some() != size.is_some()) {
                    entries.push(ArtifactEntry { name: name.to_owned(), size });
                }
            }
            if entries.len() > LIST_MAX {
                return Err(too_many("the folder"));
            }
            if rows.len() < BATCH {
                return Ok(by_name(entries));
            }
        }
    }

    /// The artifacts whose path ends with `ending` in any case, at or below a path of an owner, by path.
    ///
    /// # Errors
    /// `Invalid` above 100,000.
    pub async fn artifacts_ending(
        &self,
        project: ProjectId,
        owner: ArtifactOwner,
        below: &str,
        ending: &str,
    ) -> Told<Vec<ArtifactRow>> {
        let (small, bytes) = (sql::small_letters(self.dialect, "path"), by_bytes(self.dialect));
        let pattern = sql::ending_with(&ending.to_ascii_lowercase());
        let mut values = vals![project, owner.to_string(), pattern];
        let found = |range: &str| {
            format!(
                "SELECT * FROM artifacts WHERE project_id = $1 AND owner = $2 AND {small} LIKE $3 ESCAPE '\\' {range}"
            )
        };
        let parts = if below.is_empty() {
            found("")
        } else {
            values.extend(vals![below, format!("{below}/"), format!("{below}0")]);
            let range = format!("AND path{bytes} > $5 AND path{bytes} < $6");
            format!("{} UNION ALL {}", found("AND path = $4"), found(&range))
        };
        values.push(Val::from(LIST_MAX as u64 + 1));
        let sql = format!("{parts} ORDER BY path LIMIT ${}", values.len());
        let rows = sql::rows_of(&mut *self.read().await?, sql, values).await?;
        if rows.len() > LIST_MAX {
            return Err(Problem::invalid(format!("more than {LIST_MAX} artifacts end with `{ending}`"))
                .hint("name the folder or the file that is meant"));
        }
        Ok(rows.iter().map(artifact).collect::<Result<_>>()?)
    }

    /// One artifact by path.
    pub async fn find_artifact(
        &self,
        project: ProjectId,
        owner: ArtifactOwner,
        path: &str,
    ) -> Told<Option<ArtifactRow>> {
        let sql = "SELECT * FROM artifacts WHERE project_id = $1 AND owner = $2 AND path = $3";
        let row = sql::row(&mut *self.read().await?, sql, vals![project, owner.to_string(), path]).await?;
        Ok(row.as_ref().map(artifact).transpose()?)
    }

    /// Forgets a path and everything below it, or with an empty path all of an owner; how many artifacts that were.
    pub async fn delete_artifacts(
        &self,
        project: ProjectId,
        owner: ArtifactOwner,
        path: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<u64> {
        let mut tx = self.change().await?;
        let mut values = vals![project, owner.to_string()];
        let gone = if path.is_empty() {
            sql::exec(&mut tx, "DELETE FROM artifacts WHERE project_id = $1 AND owner = $2", values).await?
        } else {
            let (project, owner) = (values.remove(0), values.remove(0));
            let one = "DELETE FROM artifacts WHERE project_id = $1 AND owner = $2 AND path = $3";
            let itself = sql::exec(&mut tx, one, vec![project.clone(), owner.clone(), Val::from(path)]).await?;
            // What lies below begins with the path and a slash, and `0` is the character after the slash.
            let sql = match self.dialect {
                Dialect::Sqlite => {
                    "DELETE FROM artifacts WHERE project_id = $1 AND owner = $2 AND path > $3 AND path < $4"
                }
                Dialect::Postgres => {
                    "DELETE FROM artifacts WHERE project_id = $1 AND owner = $2 AND path COLLATE \"C\" > $3 \
                     AND path COLLATE \"C\" < $4"
                }
            };
            let below = vec![project, owner, Val::from(format!("{path}/")), Val::from(format!("{path}0"))];
            itself + sql::exec(&mut tx, sql, below).await?
        };
        if gone == 0 {
            return Ok(0);
        }
        let (noun, name) = owner_name(&mut tx, project, owner).await?;
        let mut change = Change::new(project, EventAction::ArtifactDeleted, owner);
        (change.noun, change.name) = (noun, name);
        tx.event(actor, now, change.detail(json!({"path": path, "count": gone}))).await?;
        tx.commit().await?;
        Ok(gone)
    }

    /// Remembers that a project has bytes of that hash.
    pub async fn note_upload(
        &self,
        project: ProjectId,
        hash: &str,
        size: u64,
        _actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.measure().await?;
        note_blob(&mut tx, project, hash, size, now).await?;
        Ok(tx.commit().await.map_err(crate::StoreError::from)?)
    }

    /// Whether a project has bytes of that hash. Knowing a hash is no right to the bytes.
    pub async fn project_has_blob(&self, project: ProjectId, hash: &str) -> Told<bool> {
        Ok(self.blob_size_in_project(project, hash).await?.is_some())
    }

    /// The size of bytes that a project has.
    pub async fn blob_size_in_project(&self, project: ProjectId, hash: &str) -> Told<Option<u64>> {
        let sql = "SELECT size FROM blobs WHERE project_id = $1 AND hash = $2";
        let row = sql::row(&mut *self.read().await?, sql, vals![project, hash]).await?;
        Ok(row.map(|it| it.size("size")).transpose()?)
    }
}
