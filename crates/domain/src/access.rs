//! Who may do what: roles in a project, scopes of a token, and the one rule that joins them.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// What a route needs from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// See things of the project.
    Read,
    /// Call its endpoints.
    Infer,
    /// Label and review items.
    Label,
    /// Import, submit, log, register.
    Write,
    /// Create endpoints, move aliases, delete, see the project's audit.
    Manage,
    /// Change members and the project itself.
    Own,
}

/// What a member is in a project; each role may all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything in the project.
    Viewer,
    /// Also labels and calls endpoints.
    Annotator,
    /// Also imports data, runs jobs, logs runs, registers models.
    Developer,
    /// Also deploys, deletes and reads the audit log.
    Maintainer,
    /// Also manages members.
    Owner,
}

impl Role {
    /// All roles, weakest first.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Annotator, Self::Developer, Self::Maintainer, Self::Owner];

    /// The word used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Annotator => "annotator",
            Self::Developer => "developer",
            Self::Maintainer => "maintainer",
            Self::Owner => "owner",
        }
    }

    /// Whether this role carries `permission`.
    pub fn has(self, permission: Permission) -> bool {
        let least = match permission {
            Permission::Read => Self::Viewer,
            Permission::Infer | Permission::Label => Self::Annotator,
            Permission::Write => Self::Developer,
            Permission::Manage => Self::Maintainer,
            Permission::Own => Self::Owner,
        };
        self >= least
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is not on the list it should be on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not one of {expected}")]
pub struct UnknownWord {
    word: String,
    expected: String,
}

fn find_word<T: Copy>(word: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, UnknownWord> {
    all.iter().copied().find(|it| name(*it) == word).ok_or_else(|| UnknownWord {
        word: word.chars().take(40).collect(),
        expected: all.iter().map(|it| name(*it)).collect::<Vec<_>>().join(", "),
    })
}

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        find_word(word, &Self::ALL, Self::as_str)
    }
}

/// What a token may be used for, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look only.
    Read,
    /// Call endpoints only: the key for an application.
    Infer,
    /// Everything a developer does.
    Write,
    /// Everything its user may do.
    Admin,
    /// What a job needs for itself: the routes that are marked for jobs, and there what belongs to the job. Only the
    /// platform makes such tokens.
    Job,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 5] = [Self::Read, Self::Infer, Self::Write, Self::Admin, Self::Job];

    /// The word used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Infer => "infer",
            Self::Write => "write",
            Self::Admin => "admin",
            Self::Job => "job",
        }
    }

    fn covers(self, permission: Permission) -> bool {
        match self {
            Self::Read => permission == Permission::Read,
            Self::Infer => permission == Permission::Infer,
            Self::Write => permission <= Permission::Write,
            Self::Job => matches!(permission, Permission::Read | Permission::Write),
            Self::Admin => true,
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        find_word(word, &Self::ALL, Self::as_str)
    }
}

/// A set of scopes, written `read,infer` in the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(pub BTreeSet<Scope>);

impl Scopes {
    /// The scope that limits nothing.
    pub fn all() -> Self {
        Self([Scope::Admin].into())
    }

    /// Whether any scope of the set covers `permission`.
    pub fn cover(&self, permission: Permission) -> bool {
        self.0.iter().any(|it| it.covers(permission))
    }

    /// Whether the set is that of a job's token, whatever else is in it.
    pub fn is_job(&self) -> bool {
        self.0.contains(&Scope::Job)
    }

    /// Whether the set limits nothing.
    pub fn is_all(&self) -> bool {
        self.0.contains(&Scope::Admin) && !self.is_job()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Scopes {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        text.split(',').filter(|it| !it.is_empty()).map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// What the caller is in the project that a request names.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    /// Membership; `None` for somebody who is not a member.
    pub role: Option<Role>,
    /// The platform's administrator stands as owner everywhere.
    pub is_platform_admin: bool,
    /// What the credential is limited to.
    pub scopes: &'a Scopes,
    /// Whether the credential is bound to another project than the one asked for.
    pub is_bound_elsewhere: bool,
}

/// The answer to "may this caller do that".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No, and the caller may know that the project exists.
    Forbid,
    /// No, and the caller may not learn that the project exists.
    Hide,
}

/// The one rule of access inside a project.
pub fn decide(standing: &Standing<'_>, needed: Permission) -> Decision {
    if standing.is_bound_elsewhere {
        return Decision::Hide;
    }
    let role = if standing.is_platform_admin { Some(Role::Owner) } else { standing.role };
    match role {
        None => Decision::Hide,
        Some(role) if role.has(needed) && standing.scopes.cover(needed) => Decision::Allow,
        Some(_) => Decision::Forbid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(role: Option<Role>, scopes: &str, needed: Permission, expected: Decision) {
        let parsed = scopes.parse().expect("scopes");
        let standing = Standing { role, is_platform_admin: false, scopes: &parsed, is_bound_elsewhere: false };
        assert_eq!(decide(&standing, needed), expected, "{role:?} with {scopes} asks {needed:?}");
    }

    #[test]
    fn a_stranger_learns_nothing() {
        check(None, "admin", Permission::Read, Decision::Hide);
    }

    #[test]
    fn a_scope_narrows_and_never_widens() {
        check(Some(Role::Owner), "read", Permission::Write, Decision::Forbid);
        check(Some(Role::Owner), "infer", Permission::Read, Decision::Forbid);
        check(Some(Role::Owner), "infer", Permission::Infer, Decision::Allow);
        check(Some(Role::Viewer), "admin", Permission::Write, Decision::Forbid);
        check(Some(Role::Developer), "write", Permission::Write, Decision::Allow);
        check(Some(Role::Owner), "write", Permission::Manage, Decision::Forbid);
        check(Some(Role::Owner), "", Permission::Read, Decision::Forbid);
        check(Some(Role::Owner), "job", Permission::Manage, Decision::Forbid);
        check(Some(Role::Owner), "job", Permission::Infer, Decision::Forbid);
        check(Some(Role::Viewer), "job", Permission::Write, Decision::Forbid);
        check(Some(Role::Developer), "job", Permission::Write, Decision::Allow);
        assert!(!"admin,job".parse::<Scopes>().expect("scopes").is_all());
    }

    #[test]
    fn an_administrators_bound_token_stays_in_its_project() {
        let scopes = Scopes::all();
        let standing = Standing { role: None, is_platform_admin: true, scopes: &scopes, is_bound_elsewhere: true };
        assert_eq!(decide(&standing, Permission::Read), Decision::Hide);
    }

    #[test]
    fn roles_only_grow() {
        let all = [
            Permission::Read,
            Permission::Infer,
            Permission::Label,
            Permission::Write,
            Permission::Manage,
            Permission::Own,
        ];
        for pair in Role::ALL.windows(2) {
            assert!(all.iter().all(|it| !pair[0].has(*it) || pair[1].has(*it)));
        }
    }
}
