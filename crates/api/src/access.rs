//! Users, projects, members, tokens and sessions on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who is calling, and where they stand.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MeView {
    /// The user.
    pub user: UserView,
    /// The project that bare paths mean for this credential.
    pub project: Option<String>,
    /// Projects that the caller is a member of (all, for the platform's administrator).
    pub projects: Vec<ProjectView>,
    /// To be sent as `x-csrf-token` with every changing call of a browser session; absent for tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf_token: Option<String>,
}

/// A person or a service.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// `usr_…`
    pub id: String,
    /// The name to sign in with.
    pub name: String,
    /// The name to show.
    pub display_name: String,
    /// Whether this is a platform administrator.
    pub is_admin: bool,
    /// Whether sign-in is refused.
    pub is_disabled: bool,
    /// Milliseconds since 1970.
    pub created_at: i64,
}

/// A new user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewUser {
    /// The name to sign in with: lower-case letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// The name to show; the sign-in name when absent.
    pub display_name: Option<String>,
    /// At least 10 characters; when absent one is made and shown once.
    pub password: Option<String>,
    /// Whether this is a platform administrator.
    #[serde(default)]
    pub is_admin: bool,
}

/// A user as created, with the password when it was made by the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewUserView {
    /// The user.
    pub user: UserView,
    /// Shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// A new password.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PasswordChange {
    /// The present password; not needed from an administrator for another user.
    pub current: Option<String>,
    /// The new one, at least 10 characters.
    pub new: String,
}

/// Sign-in with a password.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignIn {
    /// User name.
    pub name: String,
    /// Password.
    pub password: String,
}

/// Sign-in with the code of a one-time link.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignInWithCode {
    /// The code.
    pub code: String,
}

/// A one-time sign-in link for the caller.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignInLink {
    /// Path and query, to be put after the server's address.
    pub path: String,
    /// Milliseconds since 1970.
    pub expires_at: i64,
}

/// An organisation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OrganisationView {
    /// `org_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// The title to show.
    pub title: String,
}

/// A new organisation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewOrganisation {
    /// Its name.
    pub name: String,
    /// The title to show; the name when absent.
    pub title: Option<String>,
}

/// A project.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProjectView {
    /// `prj_…`
    pub id: String,
    /// Its name, unique on the platform.
    pub name: String,
    /// The title to show.
    pub title: String,
    /// The organisation's name.
    pub organisation: String,
    /// The caller's role: `viewer annotator developer maintainer owner`.
    pub role: Option<String>,
    /// Milliseconds since 1970.
    pub created_at: i64,
}

/// A new project; the caller becomes its owner.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewProject {
    /// Its name.
    pub name: String,
    /// The title to show; the name when absent.
    pub title: Option<String>,
    /// The organisation's name; `default` when absent.
    pub organisation: Option<String>,
}

/// A member of a project.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MemberView {
    /// User id.
    pub user_id: String,
    /// User name.
    pub name: String,
    /// The name to show.
    pub display_name: String,
    /// `viewer annotator developer maintainer owner`
    pub role: String,
    /// Milliseconds since 1970.
    pub since: i64,
}

/// The role to give.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RoleChange {
    /// `viewer annotator developer maintainer owner`
    pub role: String,
}

/// A token, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// `tok_…`
    pub id: String,
    /// What it is for.
    pub name: String,
    /// The project it is bound to; `null` for all of its user's projects.
    pub project: Option<String>,
    /// `read infer write admin`
    pub scopes: Vec<String>,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970; `null` never expires.
    pub expires_at: Option<i64>,
    /// Milliseconds since 1970, to the minute.
    pub last_used_at: Option<i64>,
}

/// A token to make.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// The project to bind it to.
    pub project: Option<String>,
    /// `read infer write admin`; at least one.
    pub scopes: Vec<String>,
    /// Days until it expires, 1 to 366; 90 when absent.
    pub days: Option<u32>,
}

/// A token as made: the only time its secret is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewTokenView {
    /// The token.
    pub token: TokenView,
    /// Shown this once.
    pub secret: String,
}

/// A secret of a project, without its value.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecretView {
    /// Its name: letters, digits and `_`.
    pub name: String,
    /// When its value was last set, in milliseconds since 1970.
    pub updated_at: i64,
    /// Who set it.
    pub updated_by: Option<String>,
}

/// The value to keep.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct SecretChange {
    /// 8 bytes to 64 KiB of text, and not digits alone. It is never shown again.
    pub value: String,
}

impl std::fmt::Debug for SecretChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretChange(***)")
    }
}
