//! The first start: an administrator with a random password, shown once, and a profile so that the next command
//! just works. Later starts keep the profile true.

use super::{now, profile_of};
use crate::profile::{self, Profile};
use kaogong_domain::{Problem, Secret, access::Scopes};
use kaogong_server::{
    App,
    access::{
        credentials::{TOKEN_PREFIX, hash_secret, make_secret},
        passwords,
    },
};
use kaogong_store::{Actor, NewTokenRow};
use std::path::Path;

const DAY_MS: i64 = 24 * 3600 * 1000;
/// The local administrator's token lives this long; each start makes a new one when less than a month is left.
const TOKEN_DAYS: i64 = 366;
const TOKEN_DAYS_LEFT_MIN: i64 = 30;

/// Makes the administrator when there is nobody yet, and the local profile.
pub async fn welcome(app: &App, folder: &Path, url: &str) -> Result<(), Problem> {
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
    let local = local_profile(app, &mine, url).await?;
    profile::write(&mine, &local)?;
    keep_own_profile(&local)
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

async fn local_profile(app: &App, path: &Path, url: &str) -> Result<Profile, Problem> {
    let old = profile::read(path).ok().flatten();
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
    };
    app.store.create_token(row, &Actor::system(), now()).await?;
    Ok(Profile { url: url.to_owned(), token: secret, project: "default".to_owned() })
}

/// The user's own profile is made when there is none, and kept true when it is this server's.
fn keep_own_profile(local: &Profile) -> Result<(), Problem> {
    let home = std::env::var_os("KAOGONG_HOME").map(std::path::PathBuf::from);
    let Ok(path) = profile::path(home.as_deref()) else { return Ok(()) };
    let is_ours = match profile::read(&path) {
        Ok(None) => true,
        Ok(Some(own)) => own.token == local.token,
        Err(_) => false,
    };
    if is_ours && let Err(problem) = profile::write(&path, local) {
        // A server without a home folder serves all the same.
        tracing::warn!("the user's own profile was not written: {problem}");
    }
    Ok(())
}
