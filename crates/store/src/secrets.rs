//! Secrets of projects: names, and values that only the server can open.

use crate::{
    Actor, Store,
    events::Change,
    sql::{self, Columns, Result, vals},
};
use kaogong_domain::{
    ErrorKind, Problem, Timestamp,
    events::EventAction,
    ids::{AttemptId, ProjectId, UserId},
};
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

type Told<T> = std::result::Result<T, Problem>;

/// The most secrets of one project.
pub const SECRETS_MAX: u64 = 200;

/// A secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// Its name.
    pub name: String,
    /// When its value was last set.
    pub updated_at: Timestamp,
    /// Who set it.
    pub updated_by: Option<UserId>,
}

impl Store {
    /// Sets a secret, whether or not it is there. `sealed` is its value, encrypted.
    ///
    /// # Errors
    /// `TooMany` when the project has [`SECRETS_MAX`] others.
    pub async fn set_secret(
        &self,
        project: ProjectId,
        name: &str,
        sealed: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<SecretRow> {
        let mut tx = self.change().await?;
        let sql = "SELECT COUNT(*) FROM secrets WHERE project_id = $1 AND name <> $2";
        if u64::try_from(sql::number(&mut tx, sql, vals![project, name]).await?).unwrap_or(0) >= SECRETS_MAX {
            let text = format!("the project has {SECRETS_MAX} secrets already");
            return Err(Problem::new(ErrorKind::TooMany, text).hint("delete one first"));
        }
        let sql = "INSERT INTO secrets (project_id, name, sealed, updated_at, updated_by) VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (project_id, name) DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at, \
            updated_by = excluded.updated_by";
        sql::exec(&mut tx, sql, vals![project, name, sealed, now, actor.user]).await?;
        tx.event(actor, now, Change::new(project, EventAction::SecretSet, name).name(name)).await?;
        tx.commit().await?;
        Ok(SecretRow { name: name.to_owned(), updated_at: now, updated_by: actor.user })
    }

    /// Deletes a secret. `NotFound` when it is not there.
    pub async fn delete_secret(&self, project: ProjectId, name: &str, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "DELETE FROM secrets WHERE project_id = $1 AND name = $2 RETURNING name";
        let row = sql::row(&mut tx, sql, vals![project, name]).await?;
        row.ok_or_else(|| Problem::not_found(format!("the project has no secret `{name}`")))?;
        tx.event(actor, now, Change::new(project, EventAction::SecretDeleted, name).name(name)).await?;
        Ok(tx.commit().await?)
    }

    /// The secrets of a project by name; there are at most [`SECRETS_MAX`].
    pub async fn list_secrets(&self, project: ProjectId) -> Told<Vec<SecretRow>> {
        let sql = "SELECT name, updated_at, updated_by FROM secrets WHERE project_id = $1 ORDER BY name";
        let rows = sql::rows(&mut *self.read().await?, sql, vals![project]).await?;
        let secret = |row: &AnyRow| -> Result<SecretRow> {
            Ok(SecretRow {
                name: row.text("name")?,
                updated_at: row.time("updated_at")?,
                updated_by: row.opt_parse("updated_by", "a user id")?,
            })
        };
        Ok(rows.iter().map(secret).collect::<Result<_>>()?)
    }

    /// The encrypted values of all secrets of a project.
    pub async fn sealed_secrets(&self, project: ProjectId) -> Told<BTreeMap<String, String>> {
        let sql = "SELECT name, sealed FROM secrets WHERE project_id = $1";
        let rows = sql::rows(&mut *self.read().await?, sql, vals![project]).await?;
        Ok(rows.iter().map(|it| Ok((it.text("name")?, it.text("sealed")?))).collect::<Result<_>>()?)
    }

    /// What the tokens of an attempt remember of its secrets, encrypted. Nothing once they have been revoked.
    pub async fn sealed_secrets_of_attempt(&self, attempt: AttemptId) -> Told<Vec<String>> {
        let sql = "SELECT sealed_secrets FROM tokens WHERE attempt_id = $1 AND sealed_secrets IS NOT NULL";
        let rows = sql::rows(&mut *self.read().await?, sql, vals![attempt]).await?;
        Ok(rows.iter().map(|it| it.text("sealed_secrets")).collect::<Result<_>>()?)
    }
}
