//! `kaogong access secrets`: values that jobs are given and nobody is shown.

use crate::{ask, context::Context, exit::usage, output::words};
use clap::Subcommand;
use kaogong_domain::{
    Problem, Secret,
    variables::{SECRET_BYTES, check_secret_name, check_secret_value},
};
use serde_json::json;
use std::io::Read;

/// Verbs of `kaogong access secrets`.
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// List the names of the project's secrets.
    #[command(after_help = "Examples:\n  kaogong access secrets list")]
    List,
    /// Set a secret, or replace its value; needs a maintainer.
    ///
    /// Asks for the value at a terminal, else reads standard input. It is never shown again. A job file gives it to the
    /// command as a variable: `HF_TOKEN = { secret = "HF_TOKEN" }` below `[env]`.
    #[command(
        after_help = "Examples:\n  kaogong access secrets set HF_TOKEN\n  kaogong access secrets set SSH_KEY < id_ed25519"
    )]
    Set {
        /// Letters, digits and `_`.
        name: String,
    },
    /// Delete a secret; needs a maintainer.
    #[command(after_help = "Examples:\n  kaogong access secrets delete HF_TOKEN")]
    Delete {
        /// Its name.
        name: String,
    },
}

/// Carries a verb out.
pub async fn run(context: &Context, command: SecretsCommand) -> Result<(), Problem> {
    let client = context.client()?;
    match command {
        SecretsCommand::List => context.out.page(&client.secrets().await?, &["NAME", "SET", "BY"], |it| {
            vec![it.name.clone(), words::time(it.updated_at), words::or_dash(it.updated_by.as_deref())]
        }),
        SecretsCommand::Set { name } => {
            check_secret_name(&name)?;
            let value = match ask::is_possible() {
                true => ask::interruptible(ask::secret(&format!("Value of {name}: "))).await?,
                false => read(std::io::stdin().lock())?,
            };
            check_secret_value(value.expose())?;
            let set = client.set_secret(&name, value.expose()).await?;
            context.out.done(&set, &format!("set {name} in {}", client.project()))
        }
        SecretsCommand::Delete { name } => {
            client.delete_secret(&name).await?;
            context.out.done(&json!({ "deleted": name }), &format!("deleted {name}"))
        }
    }
}

/// A value from a file, as it is but for the end of its last line.
fn read(input: impl Read) -> Result<Secret, Problem> {
    let mut text = String::new();
    let most = *SECRET_BYTES.end() as u64 + 2;
    let read = input.take(most + 1).read_to_string(&mut text);
    read.map_err(|it| usage(format!("standard input cannot be read as text: {it}")))?;
    let text = text.strip_suffix('\n').map(|it| it.strip_suffix('\r').unwrap_or(it)).unwrap_or(&text);
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_the_last_line_is_taken_off() {
        let value = |text: &str| read(text.as_bytes()).expect("a value").expose().to_owned();
        assert_eq!(value("word\n"), "word");
        assert_eq!(value("word\r\n"), "word");
        assert_eq!(value(" two\nlines\n\n"), " two\nlines\n");
        assert_eq!(value("word"), "word");
    }
}
