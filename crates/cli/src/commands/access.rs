//! `kaogong access`: users, organisations, projects, members, tokens and secrets.

use super::secrets::{self, SecretsCommand};
use crate::{ask, context::Context, exit::usage, output::words};
use clap::Subcommand;
use kaogong_api::access::*;
use kaogong_client::Client;
use kaogong_domain::Problem;
use serde_json::json;
use std::io::Read;

/// Verbs of `kaogong access`.
#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Who this credential is.
    #[command(after_help = "Examples:\n  kaogong access whoami")]
    Whoami,
    /// People and services.
    #[command(subcommand, after_help = "Examples:\n  kaogong access users list")]
    Users(UsersCommand),
    /// Organisations.
    #[command(subcommand, after_help = "Examples:\n  kaogong access organisations list")]
    Organisations(OrganisationsCommand),
    /// Projects.
    #[command(subcommand, after_help = "Examples:\n  kaogong access projects list")]
    Projects(ProjectsCommand),
    /// Members of the project.
    #[command(subcommand, after_help = "Examples:\n  kaogong access members set mei --role developer --project vision")]
    Members(MembersCommand),
    /// Your own API tokens.
    #[command(subcommand, after_help = "Examples:\n  kaogong access tokens list")]
    Tokens(TokensCommand),
    /// Secrets of the project, for jobs.
    #[command(subcommand, after_help = "Examples:\n  kaogong access secrets set HF_TOKEN")]
    Secrets(SecretsCommand),
}

/// Verbs of `kaogong access users`.
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// List users; needs a platform administrator.
    #[command(after_help = "Examples:\n  kaogong access users list")]
    List,
    /// Create a user; needs a platform administrator.
    #[command(
        after_help = "Examples:\n  kaogong access users create mei --display-name \"Mei\"\n  kaogong access users create root2 --admin --password-stdin < password.txt"
    )]
    Create {
        /// The name to sign in with.
        name: String,
        /// The name to show.
        #[arg(long)]
        display_name: Option<String>,
        /// Make this a platform administrator.
        #[arg(long)]
        admin: bool,
        /// Read the password from standard input; without it one is made and shown once.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Refuse a user's sign-in from now on.
    #[command(after_help = "Examples:\n  kaogong access users disable mei")]
    Disable {
        /// User name or id.
        user: String,
    },
    /// Change a password; asks for it at a terminal, else reads standard input.
    ///
    /// Standard input holds the present and the new one on two lines for yourself, and the new one alone for others.
    #[command(
        after_help = "Examples:\n  kaogong access users password mei\n  kaogong access users password mei < passwords.txt"
    )]
    Password {
        /// User name or id.
        user: String,
    },
}

/// Verbs of `kaogong access organisations`.
#[derive(Debug, Subcommand)]
pub enum OrganisationsCommand {
    /// List organisations.
    #[command(after_help = "Examples:\n  kaogong access organisations list")]
    List,
    /// Create an organisation; needs a platform administrator.
    #[command(after_help = "Examples:\n  kaogong access organisations create hospital --title \"City hospital\"")]
    Create {
        /// Its name.
        name: String,
        /// The title to show.
        #[arg(long)]
        title: Option<String>,
    },
}

/// Verbs of `kaogong access projects`.
#[derive(Debug, Subcommand)]
pub enum ProjectsCommand {
    /// List your projects.
    #[command(after_help = "Examples:\n  kaogong access projects list")]
    List,
    /// Show a project.
    #[command(after_help = "Examples:\n  kaogong access projects show vision")]
    Show {
        /// Its name.
        name: String,
    },
    /// Create a project; needs a platform administrator.
    #[command(after_help = "Examples:\n  kaogong access projects create vision --organisation default")]
    Create {
        /// Its name.
        name: String,
        /// The title to show.
        #[arg(long)]
        title: Option<String>,
        /// The organisation.
        #[arg(long)]
        organisation: Option<String>,
    },
}

/// Verbs of `kaogong access members`.
#[derive(Debug, Subcommand)]
pub enum MembersCommand {
    /// List the project's members.
    #[command(after_help = "Examples:\n  kaogong access members list --project vision")]
    List,
    /// Give a user a role in the project; needs an owner.
    #[command(after_help = "Examples:\n  kaogong access members set mei --role developer")]
    Set {
        /// User name or id.
        user: String,
        /// What the user may do.
        #[arg(long, value_parser = ["viewer", "annotator", "developer", "maintainer", "owner"])]
        role: String,
    },
    /// Take a user out of the project; needs an owner.
    #[command(after_help = "Examples:\n  kaogong access members remove mei")]
    Remove {
        /// User name or id.
        user: String,
    },
}

/// Verbs of `kaogong access tokens`.
#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// List your tokens.
    #[command(after_help = "Examples:\n  kaogong access tokens list")]
    List,
    /// Create a token; its secret is shown once.
    #[command(after_help = "Examples:\n  kaogong access tokens create app --scope infer --bind vision --days 30")]
    Create {
        /// What it is for.
        name: String,
        /// What it may be used for; may be given several times.
        #[arg(long = "scope", required = true, value_parser = ["read", "infer", "write", "admin"])]
        scopes: Vec<String>,
        /// The project to bind it to, as --project does too; all of yours when neither is written.
        #[arg(long, value_name = "PROJECT")]
        bind: Option<String>,
        /// Days until it expires.
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
    },
    /// Delete a token.
    #[command(after_help = "Examples:\n  kaogong access tokens delete tok_01k")]
    Delete {
        /// Its id.
        id: String,
    },
}

/// Carries a verb out.
pub async fn run(context: &Context, command: AccessCommand) -> Result<(), Problem> {
    match command {
        AccessCommand::Whoami => whoami(context).await,
        AccessCommand::Users(it) => users(context, it).await,
        AccessCommand::Organisations(it) => organisations(context, it).await,
        AccessCommand::Projects(it) => projects(context, it).await,
        AccessCommand::Members(it) => members(context, it).await,
        AccessCommand::Tokens(it) => tokens(context, it).await,
        AccessCommand::Secrets(it) => secrets::run(context, it).await,
    }
}

async fn whoami(context: &Context) -> Result<(), Problem> {
    let client = context.client()?;
    let me = client.me().await?;
    let projects: Vec<String> = me
        .projects
        .iter()
        .map(|it| format!("{} ({})", it.name, it.role.as_deref().unwrap_or("administrator")))
        .collect();
    context.out.thing(
        &me,
        &[
            ("user", me.user.name.clone()),
            ("id", me.user.id.clone()),
            ("administrator", if me.user.is_admin { "yes" } else { "no" }.into()),
            ("server", client.address().to_owned()),
            ("project", client.project().to_owned()),
            ("projects", projects.join("\n")),
        ],
    )
}

async fn users(context: &Context, command: UsersCommand) -> Result<(), Problem> {
    let client = context.client()?;
    match command {
        UsersCommand::List => {
            context.out.page(&client.users().await?, &["NAME", "SHOWN AS", "ADMIN", "STATE", "CREATED", "ID"], |it| {
                let admin = if it.is_admin { "yes" } else { "no" };
                let state = if it.is_disabled { "disabled" } else { "active" };
                vec![
                    it.name.clone(),
                    it.display_name.clone(),
                    admin.into(),
                    state.into(),
                    words::time(it.created_at),
                    it.id.clone(),
                ]
            })
        }
        UsersCommand::Create { name, display_name, admin, password_stdin } => {
            let password = if password_stdin { Some(one_line(&standard_input()?)?) } else { None };
            let made = client.new_user(&NewUser { name, display_name, password, is_admin: admin }).await?;
            context.out.thing(
                &made,
                &[
                    ("user", made.user.name.clone()),
                    ("id", made.user.id.clone()),
                    ("password", made.password.clone().unwrap_or_default()),
                ],
            )
        }
        UsersCommand::Disable { user } => {
            client.disable_user(&user).await?;
            context.out.done(&json!({ "disabled": user }), &format!("{user} can no longer sign in"))
        }
        UsersCommand::Password { user } => {
            let change = match ask::is_possible() {
                true => ask::interruptible(ask_passwords(&client, &user)).await?,
                false => read_passwords(&standard_input()?)?,
            };
            client.change_password(&user, &change).await?;
            context.out.done(&json!({ "changed": user }), &format!("the password of {user} was changed"))
        }
    }
}

async fn ask_passwords(client: &Client, user: &str) -> Result<PasswordChange, Problem> {
    let me = client.me().await?.user;
    let current = match user == me.name || user == me.id {
        true => Some(ask::secret("Present password: ").await?.expose().to_owned()),
        false => None,
    };
    let new = ask::secret(&format!("New password of {user}: ")).await?;
    if ask::secret("The new one again: ").await? != new {
        return Err(usage("the new password was typed in two ways"));
    }
    Ok(PasswordChange { current, new: new.expose().to_owned() })
}

fn read_passwords(text: &str) -> Result<PasswordChange, Problem> {
    let lines: Vec<&str> = text.lines().filter(|it| !it.is_empty()).collect();
    match lines.as_slice() {
        [new] => Ok(PasswordChange { current: None, new: (*new).to_owned() }),
        [current, new] => Ok(PasswordChange { current: Some((*current).to_owned()), new: (*new).to_owned() }),
        _ => Err(usage("standard input must hold the new password, or the present and the new one on two lines")),
    }
}

fn standard_input() -> Result<String, Problem> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(16 << 10).read_to_string(&mut text);
    read.map_err(|it| usage(format!("standard input cannot be read: {it}")))?;
    Ok(text)
}

fn one_line(text: &str) -> Result<String, Problem> {
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains('\n') {
        Err(usage("standard input must hold one line, the password"))
    } else {
        Ok(line.to_owned())
    }
}

async fn organisations(context: &Context, command: OrganisationsCommand) -> Result<(), Problem> {
    let client = context.client()?;
    match command {
        OrganisationsCommand::List => {
            context.out.page(&client.organisations().await?, &["NAME", "TITLE", "ID"], |it| {
                vec![it.name.clone(), it.title.clone(), it.id.clone()]
            })
        }
        OrganisationsCommand::Create { name, title } => {
            let made = client.new_organisation(&NewOrganisation { name, title }).await?;
            context.out.done(&made, &format!("created organisation {}", made.name))
        }
    }
}

async fn projects(context: &Context, command: ProjectsCommand) -> Result<(), Problem> {
    let client = context.client()?;
    let show = |it: &ProjectView| {
        context.out.thing(
            it,
            &[
                ("project", it.name.clone()),
                ("title", it.title.clone()),
                ("organisation", it.organisation.clone()),
                ("role", it.role.clone().unwrap_or_default()),
                ("created", words::time(it.created_at)),
                ("id", it.id.clone()),
            ],
        )
    };
    match command {
        ProjectsCommand::List => {
            context.out.page(&client.projects().await?, &["NAME", "TITLE", "ORGANISATION", "ROLE", "CREATED"], |it| {
                vec![
                    it.name.clone(),
                    it.title.clone(),
                    it.organisation.clone(),
                    words::or_dash(it.role.as_deref()),
                    words::time(it.created_at),
                ]
            })
        }
        ProjectsCommand::Show { name } => show(&client.project_view(&name).await?),
        ProjectsCommand::Create { name, title, organisation } => {
            show(&client.new_project(&NewProject { name, title, organisation }).await?)
        }
    }
}

async fn members(context: &Context, command: MembersCommand) -> Result<(), Problem> {
    let client = context.client()?;
    match command {
        MembersCommand::List => {
            context.out.page(&client.members().await?, &["NAME", "SHOWN AS", "ROLE", "SINCE", "ID"], |it| {
                vec![
                    it.name.clone(),
                    it.display_name.clone(),
                    it.role.clone(),
                    words::time(it.since),
                    it.user_id.clone(),
                ]
            })
        }
        MembersCommand::Set { user, role } => {
            let member = client.set_member(&user, &role).await?;
            context.out.done(&member, &format!("{} is {} of {}", member.name, member.role, client.project()))
        }
        MembersCommand::Remove { user } => {
            client.remove_member(&user).await?;
            context
                .out
                .done(&json!({ "removed": user }), &format!("{user} is no longer a member of {}", client.project()))
        }
    }
}

async fn tokens(context: &Context, command: TokensCommand) -> Result<(), Problem> {
    let client = context.client()?;
    match command {
        TokensCommand::List => context.out.page(
            &client.tokens().await?,
            &["NAME", "SCOPES", "PROJECT", "EXPIRES", "LAST USED", "ID"],
            |it| {
                let project = it.project.clone().unwrap_or_else(|| "all".into());
                let used = words::time_or_dash(it.last_used_at);
                vec![
                    it.name.clone(),
                    it.scopes.join(","),
                    project,
                    words::time_or_dash(it.expires_at),
                    used,
                    it.id.clone(),
                ]
            },
        ),
        TokensCommand::Create { name, scopes, bind, days } => {
            // Whoever writes a project means it; one from the environment or profile is where other commands work.
            let project = bind.or_else(|| context.written_project().map(str::to_owned));
            let made = client.new_token(&NewToken { name, project, scopes, days: Some(days) }).await?;
            context.out.thing(
                &made,
                &[
                    ("token", made.secret.clone()),
                    ("id", made.token.id.clone()),
                    ("scopes", made.token.scopes.join(",")),
                    ("project", made.token.project.clone().unwrap_or_else(|| "all".into())),
                    ("expires", words::time_or_dash(made.token.expires_at)),
                ],
            )
        }
        TokensCommand::Delete { id } => {
            client.delete_token(&id).await?;
            context.out.done(&json!({ "deleted": id }), &format!("deleted {id}"))
        }
    }
}
