//! `kaogong login`, `logout` and `open`.

use crate::{
    ask,
    context::Context,
    exit::usage,
    output::note,
    profile::{self, Profile},
};
use kaogong_api::access::NewToken;
use kaogong_client::{Client, Session};
use kaogong_domain::{ErrorKind, Problem, Secret};
use serde_json::json;
use std::io::{IsTerminal, Read};

/// Arguments of `kaogong login`.
#[derive(Debug, clap::Args)]
pub struct LoginArgs {
    /// The server's address.
    pub address: Option<String>,
    /// The user's name; asked for when absent.
    #[arg(long)]
    pub name: Option<String>,
    /// Read the password from standard input instead of asking for it.
    #[arg(long, requires = "name")]
    pub password_stdin: bool,
    /// The code of a one-time sign-in link.
    #[arg(long, conflicts_with_all = ["name", "password_stdin"])]
    pub code: Option<String>,
    /// Days until the profile's token expires.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub days: u32,
    /// Print `export` lines of the present profile for MLflow, Hugging Face and Open Inference clients.
    #[arg(long, conflicts_with_all = ["address", "name", "code"])]
    pub print_env: bool,
}

/// Arguments of `kaogong logout`.
#[derive(Debug, clap::Args)]
pub struct LogoutArgs {}

/// Arguments of `kaogong open`.
#[derive(Debug, clap::Args)]
pub struct OpenArgs {}

/// Signs in and keeps a profile.
pub async fn login(context: &Context, args: LoginArgs) -> Result<(), Problem> {
    if args.print_env {
        return print_env(context);
    }
    let is_asked = args.code.is_none() && !args.password_stdin;
    if !is_asked {
        return sign_in(context, &args).await;
    }
    if !ask::is_possible() {
        return Err(usage("there is no terminal to ask for the password")
            .hint("kaogong login URL --name NAME --password-stdin < FILE, or kaogong login URL --code CODE"));
    }
    ask::interruptible(sign_in(context, &args)).await
}

async fn sign_in(context: &Context, args: &LoginArgs) -> Result<(), Problem> {
    let client = context.stranger(args.address.as_deref())?;
    let session = match &args.code {
        Some(code) => client.sign_in_with_code(code.rsplit("code=").next().unwrap_or(code)).await?,
        None => {
            let name = match &args.name {
                Some(name) => name.clone(),
                None => ask::line(&format!("Name at {}: ", client.address())).await?,
            };
            let password = match args.password_stdin {
                true => read_password()?,
                false => ask::secret(&format!("Password of {name}: ")).await?,
            };
            client.sign_in(&name, password.expose()).await?
        }
    };
    let kept = keep_profile(context, &client, &session, args.days).await;
    let signed_out = client.sign_out(&session).await;
    let (path, profile) = kept?;
    if signed_out.is_err() {
        note("the session used for signing in could not be ended; it expires by itself");
    }
    let me = &session.me.user;
    let value = json!({ "user": me.name, "url": profile.url, "project": profile.project, "profile": path });
    context.out.done(&value, &format!("signed in to {} as {}; profile in {}", profile.url, me.name, path.display()))
}

async fn keep_profile(
    context: &Context,
    client: &Client,
    session: &Session,
    days: u32,
) -> Result<(std::path::PathBuf, Profile), Problem> {
    let token =
        NewToken { name: "kaogong command line".into(), project: None, scopes: vec!["admin".into()], days: Some(days) };
    let token = client.new_token_in_session(session, &token).await?;
    let projects = &session.me.projects;
    let is_there = |name: &str| projects.iter().any(|it| it.name == name);
    let first = projects.first().map(|it| it.name.as_str());
    let project = if is_there(client.project()) { client.project() } else { first.unwrap_or(client.project()) };
    let profile =
        Profile { url: client.address().to_owned(), token: Secret::new(token.secret), project: project.to_owned() };
    let path = context.profile_path()?;
    profile::write(&path, &profile)?;
    Ok((path, profile))
}

fn read_password() -> Result<Secret, Problem> {
    if std::io::stdin().is_terminal() {
        return Err(usage("--password-stdin reads the password from a file or another program, not from the terminal")
            .hint("leave it out to be asked, or add < FILE"));
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(4096).read_to_string(&mut text);
    read.map_err(|it| usage(format!("the password cannot be read: {it}")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(usage("the password on standard input is empty"));
    }
    Ok(Secret::new(text))
}

fn print_env(context: &Context) -> Result<(), Problem> {
    let client = context.client()?;
    let pairs = environment(&client)?;
    if context.out.format == crate::output::Format::Json {
        let object: serde_json::Map<_, _> =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        return context.out.json(&object);
    }
    let lines: String = pairs.iter().map(|(name, value)| format!("export {name}={}\n", shell_quote(value))).collect();
    context.out.text(&lines)
}

/// The variables that other programs find the project by.
fn environment(client: &Client) -> Result<Vec<(&'static str, String)>, Problem> {
    let token = client.token().ok_or_else(|| {
        usage("there is no token to print").hint(format!("sign in first: kaogong login {}", client.address()))
    })?;
    let token = token.expose().to_owned();
    let base = format!("{}/p/{}", client.address(), client.project());
    Ok(vec![
        ("KAOGONG_URL", client.address().to_owned()),
        ("KAOGONG_TOKEN", token.clone()),
        ("KAOGONG_PROJECT", client.project().to_owned()),
        ("MLFLOW_TRACKING_URI", base.clone()),
        ("MLFLOW_TRACKING_TOKEN", token.clone()),
        ("HF_ENDPOINT", base.clone()),
        ("HF_TOKEN", token.clone()),
        ("OIP_URL", base),
        ("OIP_TOKEN", token),
    ])
}

/// A text as one word of a POSIX shell.
pub fn shell_quote(text: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_./:@%+=,".contains(it);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Forgets the profile.
pub async fn logout(context: &Context, _args: LogoutArgs) -> Result<(), Problem> {
    let path = context.profile_path()?;
    let Some(profile) = context.profile()? else {
        return context.out.done(&json!({ "removed": false }), "there is no profile");
    };
    let client = context.client()?;
    let deleted = match client.token().is_some_and(|it| *it == profile.token) {
        true => delete_own_token(&client).await,
        false => Ok(false),
    };
    profile::remove(&path)?;
    let (is_deleted, rest) = match deleted {
        Ok(true) => (true, ""),
        Ok(false) => (false, "; its token was not deleted on the server"),
        Err(_) => (false, "; the server could not be asked to delete its token, which expires by itself"),
    };
    context
        .out
        .done(&json!({ "removed": true, "token_deleted": is_deleted }), &format!("removed {}{rest}", path.display()))
}

/// The server marks no token as "this one"; only when exactly one carries the command line's name is it
/// certain which to delete.
async fn delete_own_token(client: &Client) -> Result<bool, Problem> {
    let tokens = client.tokens().await?;
    let own: Vec<_> = tokens.items.iter().filter(|it| it.name == "kaogong command line").collect();
    let [token] = own.as_slice() else { return Ok(false) };
    match client.delete_token(&token.id).await {
        Err(problem) if matches!(problem.kind, ErrorKind::NotFound | ErrorKind::Unauthenticated) => Ok(true),
        other => other.map(|()| true),
    }
}

/// Prints a link that signs a browser in once.
pub async fn open(context: &Context, _args: OpenArgs) -> Result<(), Problem> {
    let client = context.client()?;
    let link = client.sign_in_link().await?;
    let url = format!("{}{}", client.address(), link.path);
    match context.out.format {
        crate::output::Format::Json => context.out.json(&json!({ "url": url, "expires_at": link.expires_at })),
        crate::output::Format::Table => context.out.text(&format!("{url}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_hold_together() {
        assert_eq!(shell_quote("http://127.0.0.1:7300/p/x"), "http://127.0.0.1:7300/p/x");
        assert_eq!(shell_quote("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell_quote(""), "''");
    }
}
