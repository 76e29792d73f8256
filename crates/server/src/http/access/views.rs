//! Rows of users, projects, members and tokens on the wire.

use kaogong_api::access::{MemberView, ProjectView, TokenView, UserView};
use kaogong_domain::{access::Role, ids::ProjectId, names::Name};
use kaogong_store::{MemberRow, ProjectRow, TokenRow, UserRow};
use std::collections::BTreeMap;

pub(super) fn user_view(it: &UserRow) -> UserView {
    UserView {
        id: it.id.to_string(),
        name: it.name.to_string(),
        display_name: it.display_name.clone(),
        is_admin: it.is_admin,
        is_disabled: it.disabled_at.is_some(),
        created_at: it.created_at.as_ms(),
    }
}

pub(super) fn project_view(it: &ProjectRow, role: Option<Role>) -> ProjectView {
    ProjectView {
        id: it.id.to_string(),
        name: it.name.to_string(),
        title: it.title.clone(),
        organisation: it.organisation.to_string(),
        role: role.map(|it| it.as_str().to_owned()),
        created_at: it.created_at.as_ms(),
    }
}

pub(super) fn member_view(it: &MemberRow) -> MemberView {
    MemberView {
        user_id: it.user_id.to_string(),
        name: it.name.to_string(),
        display_name: it.display_name.clone(),
        role: it.role.as_str().to_owned(),
        since: it.since.as_ms(),
    }
}

pub(super) fn token_view(it: &TokenRow, projects: &BTreeMap<ProjectId, Name>) -> TokenView {
    let project = it.project_id.and_then(|id| projects.get(&id));
    TokenView {
        id: it.id.to_string(),
        name: it.name.clone(),
        project: project.map(ToString::to_string),
        scopes: it.scopes.0.iter().map(|it| it.as_str().to_owned()).collect(),
        created_at: it.created_at.as_ms(),
        expires_at: it.expires_at.map(|it| it.as_ms()),
        last_used_at: it.last_used_at.map(|it| it.as_ms()),
    }
}
