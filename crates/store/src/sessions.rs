//! API tokens, browser sessions, one-time links, and the memory of wrong passwords.

use crate::{
    Actor, Store, UserRow,
    access::user_name,
    events::Change,
    sql::{self, Columns, Result, vals},
};
use kaogong_domain::{
    ErrorKind, Problem, Timestamp,
    access::Scopes,
    events::EventAction,
    ids::{AttemptId, JobId, ProjectId, SessionId, TokenId, UserId},
};
use serde_json::json;
use sqlx::{AnyConnection, any::AnyRow};

type Told<T> = std::result::Result<T, Problem>;

/// Living tokens of one user, besides those of jobs.
const TOKENS_MAX: i64 = 1_000;
/// Wrong passwords are remembered for a day.
const WRONG_PASSWORDS_KEPT_MS: i64 = 24 * 3600 * 1000;
/// No more of them than this; then the oldest are forgotten early.
const WRONG_PASSWORDS_MAX: u32 = 20_000;
/// Within this time a name that nobody has is told of once for an address.
const QUIET_MS: i64 = 3600 * 1000;
/// After so many wrong passwords within that time, names that nobody has are not told of at all.
const LOUD_MAX: i64 = 1_000;
/// Characters of a name that are remembered.
const NAME_CHARS_MAX: usize = 64;

/// An API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its id.
    pub id: TokenId,
    /// Whose it is.
    pub user_id: UserId,
    /// The project it is bound to.
    pub project_id: Option<ProjectId>,
    /// What it is for.
    pub name: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// The job that carries it.
    pub job_id: Option<JobId>,
    /// The attempt that carries it.
    pub attempt_id: Option<AttemptId>,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// Since when.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// The secrets that its attempt was given, encrypted.
    pub sealed_secrets: Option<String>,
}

/// A token to make.
#[derive(Debug, Clone)]
pub struct NewTokenRow {
    /// Whose it is.
    pub user_id: UserId,
    /// The project it is bound to.
    pub project_id: Option<ProjectId>,
    /// What it is for.
    pub name: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// Hash of its secret.
    pub hash: String,
    /// The job that carries it.
    pub job_id: Option<JobId>,
    /// The attempt that carries it.
    pub attempt_id: Option<AttemptId>,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// The secrets that its attempt was given, encrypted.
    pub sealed_secrets: Option<String>,
}

/// A signed-in browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// What the browser sends back with changing calls.
    pub csrf: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// A session to make.
#[derive(Debug, Clone)]
pub struct NewSessionRow {
    /// Whose it is.
    pub user_id: UserId,
    /// Hash of the cookie.
    pub hash: String,
    /// What the browser sends back with changing calls.
    pub csrf: String,
    /// Until when.
    pub expires_at: Timestamp,
    /// From where.
    pub address: String,
    /// With which browser.
    pub user_agent: String,
}

fn token(row: &AnyRow) -> Result<TokenRow> {
    Ok(TokenRow {
        id: row.parse("id", "a token id")?,
        user_id: row.parse("user_id", "a user id")?,
        project_id: row.opt_parse("project_id", "a project id")?,
        name: row.text("name")?,
        scopes: row.parse("scopes", "a list of scopes")?,
        job_id: row.opt_parse("job_id", "a job id")?,
        attempt_id: row.opt_parse("attempt_id", "an attempt id")?,
        expires_at: row.opt_time("expires_at")?,
        created_at: row.time("created_at")?,
        last_used_at: row.opt_time("last_used_at")?,
        sealed_secrets: row.opt_text("sealed_secrets")?,
    })
}

impl Store {
    /// A new token.
    pub async fn create_token(&self, new: NewTokenRow, actor: &Actor, now: Timestamp) -> Told<TokenRow> {
        let mut tx = self.change().await?;
        if new.job_id.is_none() {
            let sql = "SELECT COUNT(*) FROM (SELECT 1 FROM tokens WHERE user_id = $1 AND revoked_at IS NULL AND job_id IS NULL \
                AND (expires_at IS NULL OR expires_at > $2) LIMIT $3) AS own";
            if sql::number(&mut tx, sql, vals![new.user_id, now, TOKENS_MAX]).await? >= TOKENS_MAX {
                let text = format!("a user has at most {TOKENS_MAX} tokens");
                return Err(Problem::new(ErrorKind::TooMany, text).hint("revoke some first"));
            }
        }
        let id = TokenId::generate(now);
        let sql = "INSERT INTO tokens (id, user_id, project_id, name, scopes, hash, job_id, attempt_id, expires_at, created_at, \
            sealed_secrets) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let scopes = new.scopes.to_string();
        let values = vals![
            id,
            new.user_id,
            new.project_id,
            &new.name,
            &scopes,
            new.hash,
            new.job_id,
            new.attempt_id,
            new.expires_at,
            now,
            new.sealed_secrets.clone()
        ];
        sql::exec(&mut tx, sql, values).await?;
        let change = Change::new(new.project_id, EventAction::TokenCreated, id).name(&new.name);
        tx.event(actor, now, change.detail(json!({"scopes": scopes}))).await?;
        tx.commit().await?;
        Ok(TokenRow {
            id,
            user_id: new.user_id,
            project_id: new.project_id,
            name: new.name,
            scopes: new.scopes,
            job_id: new.job_id,
            attempt_id: new.attempt_id,
            expires_at: new.expires_at,
            created_at: now,
            last_used_at: None,
            sealed_secrets: new.sealed_secrets,
        })
    }

    /// The living token of a secret's hash, with its user when that one is not disabled.
    pub async fn find_token(&self, hash: &str, now: Timestamp) -> Told<Option<(TokenRow, UserRow)>> {
        let sql =
            "SELECT * FROM tokens WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
        let row = sql::row(&mut *self.read().await?, sql, vals![hash, now]).await?;
        let Some(found) = row.as_ref().map(token).transpose()? else { return Ok(None) };
        let owner = self.find_user(found.user_id).await?.filter(|it| it.disabled_at.is_none());
        Ok(owner.map(|it| (found, it)))
    }

    /// Whether a token of that hash existed but may not be used any more.
    pub async fn is_dead_token(&self, hash: &str) -> Told<bool> {
        let sql = "SELECT COUNT(*) FROM tokens WHERE hash = $1";
        Ok(sql::number(&mut *self.read().await?, sql, vals![hash]).await? > 0)
    }

    /// Notes that a token was used. No event: this is no change of state.
    pub async fn touch_token(&self, id: TokenId, now: Timestamp) -> Told<()> {
        let mut tx = self.measure().await.map_err(Problem::from)?;
        sql::exec(&mut tx, "UPDATE tokens SET last_used_at = $2 WHERE id = $1", vals![id, now]).await?;
        Ok(tx.commit().await.map_err(crate::StoreError::from)?)
    }

    /// A user's own living tokens, newest first; those of jobs are left out.
    pub async fn list_tokens(&self, user: UserId, now: Timestamp) -> Told<Vec<TokenRow>> {
        let sql = "SELECT * FROM tokens WHERE user_id = $1 AND revoked_at IS NULL AND job_id IS NULL \
            AND (expires_at IS NULL OR expires_at > $2) ORDER BY created_at DESC";
        let rows = sql::rows(&mut *self.read().await?, sql, vals![user, now]).await?;
        Ok(rows.iter().map(token).collect::<Result<_>>()?)
    }

    /// Ends a user's own token. `NotFound` when it is not theirs.
    pub async fn revoke_token(&self, user: UserId, id: TokenId, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        let sql =
            "UPDATE tokens SET revoked_at = $3 WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL RETURNING name";
        let row = sql::row(&mut tx, sql, vals![id, user, now]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("you have no token {id}")))?;
        tx.event(actor, now, Change::new(None, EventAction::TokenRevoked, id).name(row.text("name")?)).await?;
        Ok(tx.commit().await?)
    }

    /// Ends the tokens of an attempt that is over.
    pub async fn revoke_attempt_tokens(&self, attempt: AttemptId, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "UPDATE tokens SET revoked_at = $2, sealed_secrets = NULL WHERE attempt_id = $1 AND revoked_at IS NULL \
            RETURNING id, name";
        for row in sql::rows(&mut tx, sql, vals![attempt, now]).await? {
            let change = Change::new(None, EventAction::TokenRevoked, row.text("id")?).name(row.text("name")?);
            tx.event(actor, now, change.detail(json!({"attempt": attempt.to_string()}))).await?;
        }
        Ok(tx.commit().await?)
    }

    /// A new session.
    pub async fn create_session(&self, new: NewSessionRow, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        let id = SessionId::generate(now);
        sql::exec(&mut tx, "DELETE FROM sessions WHERE expires_at < $1", vals![now]).await?;
        let sql = "INSERT INTO sessions (id, user_id, hash, csrf, created_at, expires_at, address, user_agent) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let values = vals![id, new.user_id, new.hash, new.csrf, now, new.expires_at, new.address, new.user_agent];
        sql::exec(&mut tx, sql, values).await?;
        let name = user_name(&mut tx, new.user_id).await?;
        tx.event(actor, now, Change::new(None, EventAction::SessionOpened, id).name(name)).await?;
        Ok(tx.commit().await?)
    }

    /// The living session of a cookie's hash, with its user when that one is not disabled.
    pub async fn find_session(&self, hash: &str, now: Timestamp) -> Told<Option<(SessionRow, UserRow)>> {
        let sql = "SELECT * FROM sessions WHERE hash = $1 AND expires_at > $2";
        let Some(row) = sql::row(&mut *self.read().await?, sql, vals![hash, now]).await? else { return Ok(None) };
        let session = SessionRow {
            id: row.parse("id", "a session id")?,
            user_id: row.parse("user_id", "a user id")?,
            csrf: row.text("csrf")?,
            expires_at: row.time("expires_at")?,
        };
        let owner = self.find_user(session.user_id).await?.filter(|it| it.disabled_at.is_none());
        Ok(owner.map(|it| (session, it)))
    }

    /// Ends a session.
    pub async fn delete_session(&self, hash: &str, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "DELETE FROM sessions WHERE hash = $1 RETURNING id, user_id";
        let Some(row) = sql::row(&mut tx, sql, vals![hash]).await? else { return Ok(()) };
        let name = user_name(&mut tx, row.parse("user_id", "a user id")?).await?;
        tx.event(actor, now, Change::new(None, EventAction::SessionClosed, row.text("id")?).name(name)).await?;
        Ok(tx.commit().await?)
    }

    /// A new one-time link.
    pub async fn create_sign_in_link(
        &self,
        hash: &str,
        user: UserId,
        expires_at: Timestamp,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.change().await?;
        sql::exec(&mut tx, "DELETE FROM sign_in_links WHERE expires_at < $1", vals![now]).await?;
        let sql = "INSERT INTO sign_in_links (hash, user_id, expires_at) VALUES ($1, $2, $3)";
        sql::exec(&mut tx, sql, vals![hash, user, expires_at]).await?;
        let name = user_name(&mut tx, user).await?;
        tx.event(actor, now, Change::new(None, EventAction::SignInLinkCreated, user).name(name)).await?;
        Ok(tx.commit().await?)
    }

    /// Takes a one-time link; the second taker gets nothing.
    pub async fn consume_sign_in_link(&self, hash: &str, now: Timestamp) -> Told<Option<UserRow>> {
        let mut tx = self.change().await?;
        let sql = "UPDATE sign_in_links SET used_at = $2 WHERE hash = $1 AND used_at IS NULL AND expires_at > $2 RETURNING user_id";
        let Some(row) = sql::row(&mut tx, sql, vals![hash, now]).await? else { return Ok(None) };
        let user: UserId = row.parse("user_id", "a user id")?;
        let name = user_name(&mut tx, user).await?;
        let change = Change::new(None, EventAction::SignInLinkUsed, user).name(name);
        tx.event(&Actor::user(user, None), now, change).await?;
        tx.commit().await?;
        self.find_user(user).await
    }

    /// How often a wrong password was given for a name from an address since a moment.
    pub async fn count_wrong_passwords(&self, name: &str, address: &str, since: Timestamp) -> Told<u64> {
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        let sql = "SELECT COUNT(*) FROM wrong_passwords WHERE name = $1 AND address = $2 AND at > $3";
        let count = sql::number(&mut *self.read().await?, sql, vals![name, address, since]).await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// How often a wrong password was given from an address since a moment, for whatever names.
    pub async fn count_wrong_passwords_of_address(&self, address: &str, since: Timestamp) -> Told<u64> {
        let sql = "SELECT COUNT(*) FROM wrong_passwords WHERE address = $1 AND at > $2";
        let count = sql::number(&mut *self.read().await?, sql, vals![address, since]).await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Remembers a wrong password. For a user that is there an event tells of each; a name that nobody has may be
    /// anything, a password too: it is not written down, and told of once an hour for an address.
    pub async fn note_wrong_password(&self, name: &str, address: &str, now: Timestamp) -> Told<()> {
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        let mut conn = self.read().await?;
        let is_known = sql::number(&mut conn, "SELECT COUNT(*) FROM users WHERE name = $1", vals![&name]).await? > 0;
        let is_loud = is_known || is_first_in_a_while(&mut conn, address, now).await?;
        drop(conn);
        if !is_loud {
            let mut tx = self.measure().await?;
            remember(&mut tx, &name, address, now).await?;
            return Ok(tx.commit().await.map_err(crate::StoreError::from)?);
        }
        let mut tx = self.change().await?;
        remember(&mut tx, &name, address, now).await?;
        let actor = Actor { address: Some(address.to_owned()), ..Actor::system() };
        let change = if is_known {
            Change::new(None, EventAction::SignInRefused, &name).name(&name)
        } else {
            Change::new(None, EventAction::SignInRefused, "").detail(json!({"name": "of no user"}))
        };
        tx.event(&actor, now, change).await?;
        Ok(tx.commit().await?)
    }
}

/// Whether an address gave no wrong password for a while, and not too many others did.
async fn is_first_in_a_while(conn: &mut AnyConnection, address: &str, now: Timestamp) -> Result<bool> {
    let since = now.plus_ms(-QUIET_MS);
    let sql = "SELECT COUNT(*) FROM wrong_passwords WHERE address = $1 AND at > $2";
    if sql::number(conn, sql, vals![address, since]).await? > 0 {
        return Ok(false);
    }
    let sql = "SELECT COUNT(*) FROM (SELECT 1 FROM wrong_passwords WHERE at > $1 LIMIT $2) AS recent";
    Ok(sql::number(conn, sql, vals![since, LOUD_MAX]).await? < LOUD_MAX)
}

async fn remember(conn: &mut AnyConnection, name: &str, address: &str, now: Timestamp) -> Result<()> {
    let oldest = now.plus_ms(-WRONG_PASSWORDS_KEPT_MS);
    let sql = "DELETE FROM wrong_passwords WHERE at < $1 \
        OR at < (SELECT at FROM wrong_passwords ORDER BY at DESC LIMIT 1 OFFSET $2)";
    sql::exec(conn, sql, vals![oldest, WRONG_PASSWORDS_MAX]).await?;
    let sql = "INSERT INTO wrong_passwords (name, address, at) VALUES ($1, $2, $3)";
    sql::exec(conn, sql, vals![name, address, now]).await?;
    Ok(())
}
