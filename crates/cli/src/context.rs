//! What a command works with: the client and the output, made from arguments, environment and profile.

use crate::{
    args::Global,
    output::{Output, note},
    profile::{self, Profile},
};
use kaogong_client::{Client, Patience, Settings};
use kaogong_domain::{Problem, Secret};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Where a server is when nothing says otherwise.
pub const URL_USUAL: &str = "http://127.0.0.1:7300";
/// The project when nothing says otherwise.
pub const PROJECT_USUAL: &str = "default";

/// What a command works with.
pub struct Context {
    /// Where results go.
    pub out: Output,
    global: Global,
}

impl Context {
    /// The context of one call of the program.
    pub fn new(global: Global) -> Self {
        Self { out: Output { format: global.output }, global }
    }

    /// Where the profile is.
    pub fn profile_path(&self) -> Result<PathBuf, Problem> {
        profile::path(self.global.home.as_deref())
    }

    /// The profile that is stored, if any.
    pub fn profile(&self) -> Result<Option<Profile>, Problem> {
        match self.profile_path() {
            Ok(path) => profile::read(&path),
            // Without a home there is no profile; arguments may still say everything.
            Err(_) if self.global.home.is_none() => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// A client as arguments, environment and profile say, in this order.
    pub fn client(&self) -> Result<Client, Problem> {
        let (url, token, project) = self.settings()?;
        client(&url, token, &project)
    }

    /// A client without a credential, for signing in.
    pub fn stranger(&self, url: Option<&str>) -> Result<Client, Problem> {
        let Some(url) = url else {
            let (known, _, project) = self.settings()?;
            return client(&known, None, &project);
        };
        // Signing in writes the profile anew, so one that cannot be read must not be in the way.
        let old = self.profile().ok().flatten().filter(|it| same_server(&it.url, url));
        let project = self.global.project.clone().or(old.map(|it| it.project));
        client(url, None, project.as_deref().unwrap_or(PROJECT_USUAL))
    }

    /// The project, when it was written in the command itself.
    pub fn written_project(&self) -> Option<&str> {
        self.global.project.as_deref().filter(|_| self.global.is_project_written)
    }

    fn settings(&self) -> Result<(String, Option<Secret>, String), Problem> {
        let given = &self.global;
        let complete = given.url.is_some() && given.token.is_some() && given.project.is_some();
        let profile = if complete { None } else { self.profile()? };
        let url = given.url.clone().or_else(|| profile.as_ref().map(|it| it.url.clone()));
        let url = url.unwrap_or_else(|| URL_USUAL.to_owned());
        // The profile's token is for the profile's server: another address must not get it.
        let own = profile.as_ref().filter(|it| same_server(&it.url, &url));
        let token = given.token.clone().map(Secret::new).or_else(|| own.map(|it| it.token.clone()));
        let project = given.project.clone().or_else(|| own.map(|it| it.project.clone()));
        Ok((url, token, project.unwrap_or_else(|| PROJECT_USUAL.to_owned())))
    }
}

fn same_server(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn client(url: &str, token: Option<Secret>, project: &str) -> Result<Client, Problem> {
    Client::new(Settings {
        url: url.to_owned(),
        token,
        project: project.to_owned(),
        patience: patience(std::env::var("KAOGONG_PATIENCE_S").ok().as_deref())?,
        agent: format!("cli/{}", env!("CARGO_PKG_VERSION")),
        on_wait: Some(Arc::new(|address, why| note(&format!("waiting for {address}: {why}")))),
    })
}

/// `KAOGONG_PATIENCE_S`: seconds to wait for a server that does not answer, at most a day.
fn patience(text: Option<&str>) -> Result<Patience, Problem> {
    let Some(text) = text.filter(|it| !it.is_empty()) else { return Ok(Patience::default()) };
    let seconds = text.parse::<f64>().ok().filter(|it| (0.0..=86_400.0).contains(it));
    let seconds = seconds.ok_or_else(|| {
        crate::exit::usage(format!("KAOGONG_PATIENCE_S is `{text}`, not a number of seconds up to 86400"))
    })?;
    Ok(Patience::always(Duration::from_secs_f64(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn global(home: &std::path::Path) -> Global {
        Global {
            output: Format::Table,
            project: None,
            url: None,
            token: None,
            home: Some(home.to_owned()),
            is_project_written: false,
        }
    }

    #[test]
    fn a_profiles_token_goes_to_its_own_server_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let kept = Profile { url: "http://a:1".into(), token: Secret::new("t"), project: "vision".into() };
        profile::write(&dir.path().join(profile::FILE_NAME), &kept).expect("written");
        let own = Context::new(global(dir.path())).settings().expect("settings");
        assert_eq!((own.0.as_str(), own.1.is_some(), own.2.as_str()), ("http://a:1", true, "vision"));
        let same = Context::new(Global { url: Some("http://a:1/".into()), ..global(dir.path()) });
        assert!(same.settings().expect("settings").1.is_some());
        let other = Context::new(Global { url: Some("http://b:1".into()), ..global(dir.path()) });
        let other = other.settings().expect("settings");
        assert!(other.1.is_none() && other.2 == "default");
    }

    #[test]
    fn a_profile_that_cannot_be_read_does_not_hinder_signing_in() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join(profile::FILE_NAME), "damaged").expect("a file");
        let context = Context::new(global(dir.path()));
        let url = context.settings().map(|it| it.0);
        assert!(url.is_err(), "other commands say what is wrong with it");
        // Another test may have installed it; that is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let stranger = context.stranger(Some("http://a:1")).expect("a client");
        assert_eq!((stranger.address(), stranger.project()), ("http://a:1", "default"));
    }

    #[test]
    fn patience_is_read_or_refused() {
        assert_eq!(patience(Some("1.5")).ok(), Some(Patience::always(Duration::from_millis(1500))));
        assert!(patience(Some("-1")).is_err() && patience(Some("soon")).is_err());
    }
}
