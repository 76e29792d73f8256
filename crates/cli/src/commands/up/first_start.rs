//! The first start: an administrator with a random password, shown once, and a profile so that the next command
//! just works. Later starts keep the profile true.

use super::{now, profile_of};
use crate::profile::{self, Profile};
use kaogong_control::Services;
use kaogong_domain::masks::TOKEN_PREFIX;
use kaogong_domain::{Problem, Secret, access::Scopes};
use kaogong_server::passwords;
use kaogong_store::{Actor, NewTokenRow};
use kaogong_store::{hash_secret, make_secret};
use std::path::Path;

const DAY_MS: i64 = 24 * 3600 * 1000;
/// The local administrator's token lives this long; each start makes a new one when less than a month is left.
const TOKEN_DAYS: i64 = 366;
const TOKEN_DAYS_LEFT_MIN: i64 = 30;

/// Makes the administrator when there is nobody yet, and the local profile.
/// `own` is where the user's profile lies, if there is a home for it.
pub async fn welcome(app: &Services, folder: &Path, url: &str, own: Option<&Path>) -> Result<(), Problem> {
    let password = make_secret("")?;
    let password =
        Secret::new(password.expose().chars().filter(char::is_ascii_alphanumeric).take(20).collect::<String>());
    let is_empty = app.store.list_users().await?.is_empty();
    if is_empty {
        let hash = passwords::hash(password.clone()).await?;
        if app.store.first_start(&hash, now()).await?.is_some() {
            show(&password, url);
        }
    }
    let mine = profile_of(folder);
    let old = profile::read(&mine).ok().flatten();
    let local = local_profile(app, old.clone(), url).await?;
    profile::write(&mine, &local)?;
    own.map_or(Ok(()), |path| keep_own_profile(path, &local, old.as_ref()))
}

/// The password is shown, never logged or stored.
#[expect(clippy::print_stderr, reason = "shown once to whoever started the server")]
fn show(password: &Secret, url: &str) {
    eprintln!();
    eprintln!("  Kaogong is new here. The administrator of this server:");
    eprintln!();
    eprintln!("      name      admin");
    eprintln!("      password  {}", password.expose());
    eprintln!("      address   {url}");
    eprintln!();
    eprintln!("  The password is shown this once. `kaogong open` prints a sign-in link at any time.");
    eprintln!();
}

async fn local_profile(app: &Services, old: Option<Profile>, url: &str) -> Result<Profile, Problem> {
    if let Some(old) = old {
        let hash = hash_secret(&old.token);
        let alive = app.store.find_token(&hash, now()).await?;
        let soon = now().plus_ms(TOKEN_DAYS_LEFT_MIN * DAY_MS);
        if alive.is_some_and(|(token, _)| token.expires_at.is_none_or(|it| it > soon)) {
            return Ok(Profile { url: url.to_owned(), ..old });
        }
    }
    let admin = app.store.first_admin().await?;
    let admin = admin.ok_or_else(|| Problem::conflict("every administrator of this server is disabled"))?;
    let secret = make_secret(TOKEN_PREFIX)?;
    let row = NewTokenRow {
        user_id: admin.id,
        project_id: None,
        name: "local administrator".to_owned(),
        scopes: Scopes::all(),
        hash: hash_secret(&secret),
        job_id: None,
        attempt_id: None,
        expires_at: Some(now().plus_ms(TOKEN_DAYS * DAY_MS)),
        sealed_secrets: None,
    };
    app.store.create_token(row, &Actor::system(), now()).await?;
    Ok(Profile { url: url.to_owned(), token: secret, project: "default".to_owned() })
}

/// The user's own profile is made when there is none, and kept true when it is this server's.
fn keep_own_profile(path: &Path, local: &Profile, old: Option<&Profile>) -> Result<(), Problem> {
    let Ok(own) = profile::read(path) else { return Ok(()) };
    if let Some(renewed) = renewed(own, local, old)
        && let Err(problem) = profile::write(path, &renewed)
    {
        // A server without a home folder serves all the same.
        tracing::warn!("the user's own profile was not written: {problem}");
    }
    Ok(())
}

/// What the user's own profile becomes; `None` when it is somebody else's affair.
fn renewed(own: Option<Profile>, local: &Profile, old: Option<&Profile>) -> Option<Profile> {
    let Some(own) = own else { return Some(local.clone()) };
    // After a renewal it still carries the token that the local profile had until now.
    let is_ours = own.token == local.token || old.is_some_and(|it| it.token == own.token);
    // The project is the user's own choice.
    is_ours.then(|| Profile { project: own.project, ..local.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_profile_follows_a_renewed_token_and_keeps_its_project() {
        let profile = |token: &str, project: &str| Profile {
            url: "http://127.0.0.1:7300".into(),
            token: Secret::new(token),
            project: project.into(),
        };
        let (old, local) = (profile("old", "default"), profile("new", "default"));
        assert_eq!(renewed(None, &local, None), Some(local.clone()));
        assert_eq!(renewed(Some(profile("old", "vision")), &local, Some(&old)), Some(profile("new", "vision")));
        assert_eq!(renewed(Some(profile("new", "vision")), &local, Some(&local)), Some(profile("new", "vision")));
        assert_eq!(renewed(Some(profile("elsewhere", "default")), &local, Some(&old)), None);
        assert_eq!(renewed(Some(profile("old", "default")), &local, None), None);
    }
}
