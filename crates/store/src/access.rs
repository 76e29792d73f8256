//! Organisations, projects, users and members.

use crate::{
    Actor, Store,
    events::Change,
    sql::{self, Columns, Result, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    access::Role,
    events::EventAction,
    ids::{ExperimentId, OrgId, ProjectId, UserId},
    names::Name,
};
use serde_json::json;
use sqlx::{AnyConnection, any::AnyRow};
use std::collections::BTreeMap;

type Told<T> = std::result::Result<T, Problem>;

/// Users, projects or members in one list.
const LIST_MAX: usize = 10_000;

/// A person or a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// Its id.
    pub id: UserId,
    /// The name to sign in with.
    pub name: Name,
    /// The name to show.
    pub display_name: String,
    /// In PHC form; `None` cannot sign in with a password.
    pub password_hash: Option<String>,
    /// Whether this is a platform administrator.
    pub is_admin: bool,
    /// When it was disabled.
    pub disabled_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A user to make.
#[derive(Debug, Clone)]
pub struct NewUserRow {
    /// The name to sign in with.
    pub name: Name,
    /// The name to show.
    pub display_name: String,
    /// In PHC form.
    pub password_hash: Option<String>,
    /// Whether this is a platform administrator.
    pub is_admin: bool,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganisationRow {
    /// Its id.
    pub id: OrgId,
    /// Its name.
    pub name: Name,
    /// The title to show.
    pub title: String,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRow {
    /// Its id.
    pub id: ProjectId,
    /// Its name, unique on the platform.
    pub name: Name,
    /// The title to show.
    pub title: String,
    /// The organisation's name.
    pub organisation: Name,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A member of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// The user.
    pub user_id: UserId,
    /// Its name.
    pub name: Name,
    /// The name to show.
    pub display_name: String,
    /// What it is there.
    pub role: Role,
    /// Since when.
    pub since: Timestamp,
}

fn user(row: &AnyRow) -> Result<UserRow> {
    Ok(UserRow {
        id: row.parse("id", "a user id")?,
        name: row.parse("name", "a name")?,
        display_name: row.text("display_name")?,
        password_hash: row.opt_text("password_hash")?,
        is_admin: row.truth("is_admin")?,
        disabled_at: row.opt_time("disabled_at")?,
        created_at: row.time("created_at")?,
    })
}

fn project(row: &AnyRow) -> Result<ProjectRow> {
    Ok(ProjectRow {
        id: row.parse("id", "a project id")?,
        name: row.parse("name", "a name")?,
        title: row.text("title")?,
        organisation: row.parse("organisation", "a name")?,
        created_at: row.time("created_at")?,
    })
}

fn member(row: &AnyRow) -> Result<MemberRow> {
    Ok(MemberRow {
        user_id: row.parse("user_id", "a user id")?,
        name: row.parse("name", "a name")?,
        display_name: row.text("display_name")?,
        role: row.parse("role", "a role")?,
        since: row.time("since")?,
    })
}

/// The name of a user, for the event log.
pub(crate) async fn user_name(conn: &mut AnyConnection, id: UserId) -> Result<String> {
    let row = sql::row(conn, "SELECT name FROM users WHERE id = $1", vals![id]).await?;
    row.ok_or_else(|| Problem::not_found(format!("there is no user {id}")))?.text("name")
}

async fn has_users(conn: &mut AnyConnection) -> Result<bool> {
    Ok(sql::row(conn, "SELECT id FROM users LIMIT 1", vec![]).await?.is_some())
}

/// Ends everything that a user could come in with, but for tokens.
async fn end_ways_in(conn: &mut AnyConnection, id: UserId) -> Result<()> {
    sql::exec(conn, "DELETE FROM sessions WHERE user_id = $1", vals![id]).await?;
    sql::exec(conn, "DELETE FROM sign_in_links WHERE user_id = $1", vals![id]).await?;
    Ok(())
}

fn plain_name(text: &str) -> Result<Name> {
    Ok(text.parse().map_err(|it: kaogong_domain::names::BadName| Problem::invalid(it.to_string()))?)
}

impl Store {
    /// Makes the organisation `default`, the project `default` and the administrator `admin`, when there is no
    /// user yet. `None` when there is.
    pub async fn first_start(&self, password_hash: &str, now: Timestamp) -> Told<Option<UserRow>> {
        if has_users(&mut *self.read().await?).await? {
            return Ok(None);
        }
        let actor = Actor::system();
        let default = plain_name("default")?;
        let admin = NewUserRow {
            name: plain_name("admin")?,
            display_name: "Administrator".to_owned(),
            password_hash: Some(password_hash.to_owned()),
            is_admin: true,
        };
        let mut tx = self.change().await?;
        if has_users(&mut tx).await? {
            return Ok(None);
        }
        let org = insert_organisation(&mut tx, &default, "Default", &actor, now).await?;
        let user = insert_user(&mut tx, admin, &actor, now).await?;
        insert_project(&mut tx, &org, &default, "Default", user.id, &actor, now).await?;
        tx.commit().await?;
        Ok(Some(user))
    }

    /// A new user. `Conflict` when the name is taken.
    pub async fn create_user(&self, new: NewUserRow, actor: &Actor, now: Timestamp) -> Told<UserRow> {
        let mut tx = self.change().await?;
        if sql::number(&mut tx, "SELECT COUNT(*) FROM users WHERE name = $1", vals![&new.name]).await? > 0 {
            return Err(Problem::conflict(format!("there is a user `{}` already", new.name)));
        }
        let made = insert_user(&mut tx, new, actor, now).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// All users, by name.
    pub async fn list_users(&self) -> Told<Vec<UserRow>> {
        let sql = "SELECT * FROM users ORDER BY name LIMIT $1";
        let rows = sql::whole(&mut *self.read().await?, sql, vec![], ("users", LIST_MAX)).await?;
        Ok(rows.iter().map(user).collect::<Result<_>>()?)
    }

    /// A user by id.
    pub async fn find_user(&self, id: UserId) -> Told<Option<UserRow>> {
        let row = sql::row(&mut *self.read().await?, "SELECT * FROM users WHERE id = $1", vals![id]).await?;
        Ok(row.as_ref().map(user).transpose()?)
    }

    /// A user by name.
    pub async fn find_user_by_name(&self, name: &Name) -> Told<Option<UserRow>> {
        let row = sql::row(&mut *self.read().await?, "SELECT * FROM users WHERE name = $1", vals![name]).await?;
        Ok(row.as_ref().map(user).transpose()?)
    }

    /// Names of some users, by id.
    pub async fn user_names(&self, ids: &[UserId]) -> Told<BTreeMap<UserId, Name>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vec![], sql::ids(ids), |list| {
            format!("SELECT id, name FROM users WHERE id IN ({list})")
        });
        let named = |row: &AnyRow| -> Result<_> { Ok((row.parse("id", "a user id")?, row.parse("name", "a name")?)) };
        Ok(rows.await?.iter().map(named).collect::<Result<_>>()?)
    }

    /// Names of some projects, by id.
    pub async fn project_names(&self, ids: &[ProjectId]) -> Told<BTreeMap<ProjectId, Name>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vec![], sql::ids(ids), |list| {
            format!("SELECT id, name FROM projects WHERE id IN ({list})")
        });
        let named =
            |row: &AnyRow| -> Result<_> { Ok((row.parse("id", "a project id")?, row.parse("name", "a name")?)) };
        Ok(rows.await?.iter().map(named).collect::<Result<_>>()?)
    }

    /// The oldest administrator that is not disabled.
    pub async fn first_admin(&self) -> Told<Option<UserRow>> {
        let sql = "SELECT * FROM users WHERE is_admin = 1 AND disabled_at IS NULL ORDER BY created_at LIMIT 1";
        let row = sql::row(&mut *self.read().await?, sql, vec![]).await?;
        Ok(row.as_ref().map(user).transpose()?)
    }

    /// Refuses a user from now on: sessions end, tokens are revoked, sign-in links are void.
    pub async fn disable_user(&self, id: UserId, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "UPDATE users SET disabled_at = $2 WHERE id = $1 AND disabled_at IS NULL RETURNING name";
        let Some(row) = sql::row(&mut tx, sql, vals![id, now]).await? else { return Ok(()) };
        end_ways_in(&mut tx, id).await?;
        let sql = "UPDATE tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL";
        sql::exec(&mut tx, sql, vals![id, now]).await?;
        tx.event(actor, now, Change::new(None, EventAction::UserDisabled, id).name(row.text("name")?)).await?;
        Ok(tx.commit().await?)
    }

    /// Replaces a password; sessions of the user end and sign-in links are void.
    pub async fn set_password(&self, id: UserId, hash: String, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        let name = user_name(&mut tx, id).await?;
        sql::exec(&mut tx, "UPDATE users SET password_hash = $2 WHERE id = $1", vals![id, hash]).await?;
        end_ways_in(&mut tx, id).await?;
        tx.event(actor, now, Change::new(None, EventAction::UserPasswordChanged, id).name(name)).await?;
        Ok(tx.commit().await?)
    }

    /// A new organisation. `Conflict` when the name is taken.
    pub async fn create_organisation(
        &self,
        name: &Name,
        title: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<OrganisationRow> {
        let mut tx = self.change().await?;
        if sql::number(&mut tx, "SELECT COUNT(*) FROM organisations WHERE name = $1", vals![name]).await? > 0 {
            return Err(Problem::conflict(format!("there is an organisation `{name}` already")));
        }
        let made = insert_organisation(&mut tx, name, title, actor, now).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// All organisations, by name.
    pub async fn list_organisations(&self) -> Told<Vec<OrganisationRow>> {
        let sql = "SELECT * FROM organisations ORDER BY name LIMIT $1";
        let rows = sql::whole(&mut *self.read().await?, sql, vec![], ("organisations", LIST_MAX)).await?;
        let organisation = |row: &AnyRow| -> Result<OrganisationRow> {
            Ok(OrganisationRow {
                id: row.parse("id", "an organisation id")?,
                name: row.parse("name", "a name")?,
                title: row.text("title")?,
            })
        };
        Ok(rows.iter().map(organisation).collect::<Result<_>>()?)
    }

    /// A new project with its default experiment; `owner` becomes its owner. `Conflict` when the name is taken.
    pub async fn create_project(
        &self,
        organisation: &Name,
        name: &Name,
        title: &str,
        owner: UserId,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<ProjectRow> {
        let mut tx = self.change().await?;
        let found = sql::row(&mut tx, "SELECT id FROM organisations WHERE name = $1", vals![organisation]).await?;
        let found = found.ok_or_else(|| Problem::not_found(format!("there is no organisation `{organisation}`")))?;
        let org = OrganisationRow {
            id: found.parse("id", "an organisation id")?,
            name: organisation.clone(),
            title: String::new(),
        };
        if sql::number(&mut tx, "SELECT COUNT(*) FROM projects WHERE name = $1", vals![name]).await? > 0 {
            return Err(Problem::conflict(format!("there is a project `{name}` already")));
        }
        let made = insert_project(&mut tx, &org, name, title, owner, actor, now).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// All live projects, by name.
    pub async fn list_projects(&self) -> Told<Vec<ProjectRow>> {
        let sql = "SELECT p.*, o.name AS organisation FROM projects p JOIN organisations o ON o.id = p.org_id \
            WHERE p.deleted_at IS NULL ORDER BY p.name LIMIT $1";
        let rows = sql::whole(&mut *self.read().await?, sql, vec![], ("projects", LIST_MAX)).await?;
        Ok(rows.iter().map(project).collect::<Result<_>>()?)
    }

    /// The projects that a user is a member of, by name.
    pub async fn list_projects_of(&self, user: UserId) -> Told<Vec<(ProjectRow, Role)>> {
        let sql = "SELECT p.*, o.name AS organisation, m.role AS role FROM members m JOIN projects p ON p.id = m.project_id \
            JOIN organisations o ON o.id = p.org_id WHERE m.user_id = $1 AND p.deleted_at IS NULL ORDER BY p.name LIMIT $2";
        let rows = sql::whole(&mut *self.read().await?, sql, vals![user], ("projects", LIST_MAX)).await?;
        let with_role = |row: &AnyRow| -> Result<_> { Ok((project(row)?, row.parse("role", "a role")?)) };
        Ok(rows.iter().map(with_role).collect::<Result<_>>()?)
    }

    /// A project by id. `NotFound` when it is gone.
    pub async fn project(&self, id: ProjectId) -> Told<ProjectRow> {
        let sql = "SELECT p.*, o.name AS organisation FROM projects p JOIN organisations o ON o.id = p.org_id WHERE p.id = $1";
        let row = sql::row(&mut *self.read().await?, sql, vals![id]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no project {id}")))?;
        Ok(project(&row)?)
    }

    /// A live project by name, and what the user is in it.
    pub async fn find_project(&self, name: &Name, user: UserId) -> Told<Option<(ProjectRow, Option<Role>)>> {
        let sql = "SELECT p.*, o.name AS organisation, m.role AS role FROM projects p JOIN organisations o ON o.id = p.org_id \
            LEFT JOIN members m ON m.project_id = p.id AND m.user_id = $2 WHERE p.name = $1 AND p.deleted_at IS NULL";
        let row = sql::row(&mut *self.read().await?, sql, vals![name, user]).await?;
        let with_role = |row: &AnyRow| -> Result<_> { Ok((project(row)?, row.opt_parse("role", "a role")?)) };
        Ok(row.as_ref().map(with_role).transpose()?)
    }

    /// The members of a project, by name.
    pub async fn list_members(&self, project: ProjectId) -> Told<Vec<MemberRow>> {
        let sql = "SELECT m.*, u.name AS name, u.display_name AS display_name FROM members m JOIN users u ON u.id = m.user_id \
            WHERE m.project_id = $1 ORDER BY u.name LIMIT $2";
        let rows = sql::whole(&mut *self.read().await?, sql, vals![project], ("members", LIST_MAX)).await?;
        Ok(rows.iter().map(member).collect::<Result<_>>()?)
    }

    /// Gives a user a role. `Conflict` when that would leave the project without an owner.
    pub async fn set_member(
        &self,
        project: ProjectId,
        user: UserId,
        role: Role,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<MemberRow> {
        let mut tx = self.change().await?;
        let name = user_name(&mut tx, user).await?;
        let sql = "SELECT COUNT(*) FROM projects WHERE id = $1 AND deleted_at IS NULL";
        if sql::number(&mut tx, sql, vals![project]).await? == 0 {
            return Err(Problem::not_found(format!("there is no project {project}")));
        }
        if role != Role::Owner {
            keep_an_owner(&mut tx, project, user).await?;
        }
        let sql = "INSERT INTO members (project_id, user_id, role, since) VALUES ($1, $2, $3, $4) \
            ON CONFLICT (project_id, user_id) DO UPDATE SET role = excluded.role";
        sql::exec(&mut tx, sql, vals![project, user, role.as_str(), now]).await?;
        let change = Change::new(project, EventAction::MemberSet, user).name(name);
        let change = change.detail(json!({"role": role.as_str()}));
        tx.event(actor, now, change).await?;
        let sql = "SELECT m.*, u.name AS name, u.display_name AS display_name FROM members m JOIN users u ON u.id = m.user_id \
            WHERE m.project_id = $1 AND m.user_id = $2";
        let row = sql::row(&mut tx, sql, vals![project, user]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no user {user}")))?;
        let made = member(&row)?;
        tx.commit().await?;
        Ok(made)
    }

    /// Takes a user out of a project. `Conflict` when that would leave it without an owner.
    pub async fn remove_member(&self, project: ProjectId, user: UserId, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        keep_an_owner(&mut tx, project, user).await?;
        let sql = "DELETE FROM members WHERE project_id = $1 AND user_id = $2";
        if sql::exec(&mut tx, sql, vals![project, user]).await? == 0 {
            return Err(Problem::not_found("that user is not a member of this project"));
        }
        let name = user_name(&mut tx, user).await?;
        tx.event(actor, now, Change::new(project, EventAction::MemberRemoved, user).name(name)).await?;
        Ok(tx.commit().await?)
    }
}

async fn keep_an_owner(tx: &mut crate::open::Tx<'_>, project: ProjectId, leaving: UserId) -> Result<()> {
    let is_owner = "SELECT COUNT(*) FROM members WHERE project_id = $1 AND user_id = $2 AND role = 'owner'";
    let other = "SELECT user_id FROM members WHERE project_id = $1 AND user_id <> $2 AND role = 'owner' LIMIT 1";
    if sql::number(tx, is_owner, vals![project, leaving]).await? > 0
        && sql::row(tx, other, vals![project, leaving]).await?.is_none()
    {
        return Err(Problem::conflict("this is the project's last owner")
            .hint("make somebody else an owner first")
            .into());
    }
    Ok(())
}

async fn insert_organisation(
    tx: &mut crate::open::Tx<'_>,
    name: &Name,
    title: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<OrganisationRow> {
    let row = OrganisationRow { id: OrgId::generate(now), name: name.clone(), title: title.to_owned() };
    let sql = "INSERT INTO organisations (id, name, title, created_at) VALUES ($1, $2, $3, $4)";
    sql::exec(tx, sql, vals![row.id, name, title, now]).await?;
    tx.event(actor, now, Change::new(None, EventAction::OrganisationCreated, row.id).name(name)).await?;
    Ok(row)
}

async fn insert_user(tx: &mut crate::open::Tx<'_>, new: NewUserRow, actor: &Actor, now: Timestamp) -> Result<UserRow> {
    let id = UserId::generate(now);
    let sql = "INSERT INTO users (id, name, display_name, password_hash, is_admin, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    let values = vals![id, &new.name, &new.display_name, new.password_hash.clone(), new.is_admin, now];
    sql::exec(tx, sql, values).await?;
    let change =
        Change::new(None, EventAction::UserCreated, id).name(&new.name).detail(json!({"is_admin": new.is_admin}));
    tx.event(actor, now, change).await?;
    let NewUserRow { name, display_name, password_hash, is_admin } = new;
    Ok(UserRow { id, name, display_name, password_hash, is_admin, disabled_at: None, created_at: now })
}

async fn insert_project(
    tx: &mut crate::open::Tx<'_>,
    org: &OrganisationRow,
    name: &Name,
    title: &str,
    owner: UserId,
    actor: &Actor,
    now: Timestamp,
) -> Result<ProjectRow> {
    let id = ProjectId::generate(now);
    let sql = "INSERT INTO projects (id, org_id, name, title, created_at) VALUES ($1, $2, $3, $4, $5)";
    sql::exec(tx, sql, vals![id, org.id, name, title, now]).await?;
    let sql = "INSERT INTO members (project_id, user_id, role, since) VALUES ($1, $2, 'owner', $3)";
    sql::exec(tx, sql, vals![id, owner, now]).await?;
    let sql = "INSERT INTO experiments (id, project_id, name, is_default, lifecycle, created_at, updated_at) \
        VALUES ($1, $2, 'Default', 1, 'active', $3, $3)";
    sql::exec(tx, sql, vals![ExperimentId::generate(now), id, now]).await?;
    tx.count(id, "experiments", 1);
    tx.event(actor, now, Change::new(id, EventAction::ProjectCreated, id).name(name)).await?;
    Ok(ProjectRow { id, name: name.clone(), title: title.to_owned(), organisation: org.name.clone(), created_at: now })
}
