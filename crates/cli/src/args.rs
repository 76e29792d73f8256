//! The command line: nouns, verbs and what holds for all of them.

use crate::{commands::*, idle, output::Format};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use std::{ffi::OsString, path::PathBuf};

/// AI infrastructure in one program: datasets, jobs, runs, models and endpoints.
#[derive(Debug, Parser)]
#[command(
    name = "kaogong",
    version,
    max_term_width = 110,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  kaogong up\n  kaogong quickstart ./pictures\n  kaogong datasets import ./pictures --name pictures\n  kaogong jobs list --output json\n\nExit codes: 0 done, 1 failed, 2 bad usage, 3 cannot reach the server."
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The noun.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// How data is written to standard output.
    #[arg(long, global = true, value_enum, default_value_t, env = "KAOGONG_OUTPUT", hide_env = true)]
    pub output: Format,
    /// The project; the profile's when absent.
    #[arg(long, global = true, env = "KAOGONG_PROJECT", value_name = "NAME")]
    pub project: Option<String>,
    /// The server's address; the profile's when absent, else http://127.0.0.1:7300.
    #[arg(long, global = true, env = "KAOGONG_URL", value_name = "URL")]
    pub url: Option<String>,
    /// The API token; the profile's when absent. The variable keeps it out of the process list.
    #[arg(long, global = true, env = "KAOGONG_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// The folder that holds profile.json; the user's configuration folder when absent.
    #[arg(long, global = true, env = "KAOGONG_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Whether the project was written in the command itself, and does not come from the environment.
    #[arg(skip)]
    pub is_project_written: bool,
}

impl Cli {
    /// Reads the program's arguments; ends the program when they are wrong or ask for help.
    pub fn read() -> Self {
        Self::try_read(std::env::args_os()).unwrap_or_else(|it| it.exit())
    }

    /// The program's commands with their options.
    pub fn parser() -> clap::Command {
        idle::hide(Self::command())
    }

    /// Reads arguments, the first of which is the program's name.
    ///
    /// # Errors
    /// What is wrong with them, or the help that they ask for.
    pub fn try_read(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let mut command = Self::parser();
        let matches = command.try_get_matches_from_mut(words)?;
        if let Some(idle) = idle::refuse(&matches) {
            return Err(idle);
        }
        let mut cli = Self::from_arg_matches(&matches).map_err(|it| it.format(&mut command))?;
        cli.global.is_project_written = matches.value_source("project") == Some(ValueSource::CommandLine);
        Ok(cli)
    }
}

/// The nouns.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server, the console and the local runner in one process.
    #[command(after_help = "Examples:\n  kaogong up\n  kaogong up --data-dir ./data --listen 127.0.0.1:7300")]
    Up(up::UpArgs),
    /// The whole loop on your own data: import, train two models, register the better one, serve and test it.
    #[command(
        after_help = "Examples:\n  kaogong quickstart ./pictures\n  kaogong quickstart breast-cancer.csv --target diagnosis\n  kaogong quickstart ./pictures --resume 01k…"
    )]
    Quickstart(quickstart::QuickstartArgs),
    /// Sign in and keep a profile, or print variables for other programs.
    #[command(
        after_help = "Examples:\n  kaogong login http://127.0.0.1:7300\n  kaogong login http://127.0.0.1:7300 --name admin --password-stdin < password.txt\n  kaogong login http://127.0.0.1:7300 --code CODE\n  eval \"$(kaogong login --print-env)\""
    )]
    Login(login::LoginArgs),
    /// Forget the profile, and delete its token on the server.
    #[command(after_help = "Examples:\n  kaogong logout")]
    Logout(login::LogoutArgs),
    /// Users, organisations, projects, members and tokens.
    #[command(
        subcommand,
        after_help = "Examples:\n  kaogong access whoami\n  kaogong access tokens create ci --scope write"
    )]
    Access(access::AccessCommand),
    /// Datasets: import, look at, export.
    #[command(
        subcommand,
        after_help = "Examples:\n  kaogong datasets import ./pictures --name pictures\n  kaogong datasets export pictures@1 ./copy"
    )]
    Datasets(datasets::DatasetsCommand),
    /// Jobs: submit, follow, cancel.
    #[command(
        subcommand,
        after_help = "Examples:\n  kaogong jobs submit -f train.toml --wait\n  kaogong jobs logs JOB -f"
    )]
    Jobs(jobs::JobsCommand),
    /// Tracked runs and experiments.
    #[command(
        subcommand,
        after_help = "Examples:\n  kaogong runs list --order \"metrics.accuracy DESC\"\n  kaogong runs compare RUN RUN"
    )]
    Runs(runs::RunsCommand),
    /// Registered models, versions and aliases.
    #[command(
        subcommand,
        after_help = "Examples:\n  kaogong models register digits model.onnx\n  kaogong models alias digits champion 2"
    )]
    Models(models::ModelsCommand),
    /// Endpoints that serve models.
    #[command(
        subcommand,
        after_help = "Examples:\n  kaogong endpoints create digits --model digits@1\n  kaogong endpoints predict digits picture.png"
    )]
    Endpoints(endpoints::EndpointsCommand),
    /// Print a link that signs a browser in once.
    #[command(after_help = "Examples:\n  kaogong open")]
    Open(login::OpenArgs),
    /// The log of changes, newest first.
    #[command(after_help = "Examples:\n  kaogong audit --noun models\n  kaogong audit --platform --output json")]
    Audit(audit::AuditArgs),
    /// Everything of a running server in one file: database, datasets, models, artifacts and logs.
    #[command(
        after_help = "Examples:\n  kaogong backup /backup/kaogong-2026-01-31.tar.zst\n  kaogong backup --verify /backup/kaogong-2026-01-31.tar.zst"
    )]
    Backup(backup::BackupArgs),
    /// Make a data folder from a backup, for a server that is started on it afterwards.
    #[command(
        after_help = "Examples:\n  kaogong restore /backup/kaogong-2026-01-31.tar.zst --data-dir /var/lib/kaogong"
    )]
    Restore(backup::RestoreArgs),
    /// Check this machine and say how to fix what is missing.
    #[command(after_help = "Examples:\n  kaogong doctor\n  kaogong doctor --data-dir ./data --listen 127.0.0.1:7300")]
    Doctor(doctor::DoctorArgs),
    /// Print the completion script for a shell.
    #[command(
        after_help = "Examples:\n  kaogong completion bash > /etc/bash_completion.d/kaogong\n  source <(kaogong completion zsh)"
    )]
    Completion(completion::CompletionArgs),
    /// Run one attempt of a job; started by the server.
    #[command(hide = true, after_help = "Examples:\n  kaogong supervise FOLDER")]
    Supervise(supervise::SuperviseArgs),
    /// Decode a Parquet file within bounds and write it as an Arrow stream; started by the server.
    #[command(hide = true, after_help = "Examples:\n  kaogong read-parquet --memory-bytes 268435456 table.parquet")]
    ReadParquet(read_parquet::ReadParquetArgs),
    /// Load a model in a process of its own and run it once; started by the server.
    #[command(hide = true, after_help = "Examples:\n  kaogong probe-model --engine tract model.onnx")]
    ProbeModel(probe::ProbeModelArgs),
    /// Open an ONNX Runtime library and say its version; started by the server.
    #[command(hide = true, after_help = "Examples:\n  kaogong probe-onnxruntime libonnxruntime.so")]
    ProbeOnnxruntime(probe::ProbeLibraryArgs),
    /// Start processes for models, each a copy of this one; started by the server.
    #[command(hide = true, after_help = "Examples:\n  kaogong engine-zygote --onnxruntime libonnxruntime.so")]
    EngineZygote(engine_zygote::EngineZygoteArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(command: &clap::Command, path: &str, check: &mut dyn FnMut(&str, &clap::Command)) {
        check(path, command);
        for sub in command.get_subcommands() {
            walk(sub, &format!("{path} {}", sub.get_name()), check);
        }
    }

    #[test]
    fn every_command_says_what_it_does_and_shows_an_example() {
        Cli::command().debug_assert();
        let mut seen = 0;
        walk(&Cli::command(), "kaogong", &mut |path, command| {
            seen += 1;
            assert!(command.get_about().is_some_and(|it| !it.to_string().is_empty()), "`{path}` has no about text");
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.starts_with("Examples:\n") && example.contains("kaogong"), "`{path}` has no example");
            for argument in command.get_arguments().filter(|it| !matches!(it.get_id().as_str(), "help" | "version")) {
                assert!(argument.get_help().is_some(), "`{path}` does not explain `{}`", argument.get_id());
            }
        });
        assert!(seen > 50, "only {seen} commands were walked");
    }

    #[test]
    fn examples_parse() {
        walk(&Cli::command(), "kaogong", &mut |path, command| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter(|it| it.starts_with("  kaogong ")) {
                let line = line.split(['|', '<', '>', '#']).next().unwrap_or_default();
                let words: Vec<String> = shell_words(line);
                let parsed = Cli::try_parse_from(&words);
                assert!(
                    parsed.is_ok(),
                    "example of `{path}` does not parse: {line}\n{}",
                    parsed.err().map(|it| it.to_string()).unwrap_or_default()
                );
            }
        });
    }

    /// Enough of a shell for the examples: spaces, and quotes of both kinds.
    fn shell_words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (vec![], String::new(), None);
        for it in line.chars() {
            match (quote, it) {
                (None, '\'' | '"') => quote = Some(it),
                (Some(open), it) if it == open => quote = None,
                (None, ' ') => {
                    if !word.is_empty() {
                        words.push(std::mem::take(&mut word));
                    }
                }
                (_, it) => word.push(it),
            }
        }
        if !word.is_empty() {
            words.push(word);
        }
        words
    }

    #[test]
    fn a_project_that_is_written_is_told_from_one_that_is_not() {
        let is_written = |line: &str| Cli::try_read(line.split(' ')).expect("arguments").global.is_project_written;
        assert!(is_written("kaogong access tokens create app --scope infer --project vision"));
        assert!(is_written("kaogong --project vision access tokens create app --scope infer"));
        assert!(!is_written("kaogong access tokens create app --scope infer"));
    }

    #[test]
    fn the_commands_of_scripts_parse() {
        for line in [
            "kaogong datasets import p --name n --format images --output json",
            "kaogong --output json datasets export n@1 out --format csv",
            "kaogong jobs submit -f job.toml --wait",
            "kaogong models register name model.onnx",
            "kaogong models register name --run run_1",
            "kaogong endpoints create e --model m@1 --engine onnxruntime",
            "kaogong endpoints test e --dataset d@1 --split test",
            "kaogong login --print-env --home dir",
            "kaogong login http://127.0.0.1:7300 --name admin",
            "kaogong audit --noun endpoints",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "kaogong endpoints create e",
            "kaogong models register name",
            "kaogong jobs submit",
            "kaogong audit --noun endpoint",
            "kaogong nonsense",
        ] {
            assert_eq!(Cli::try_parse_from(line.split(' ')).err().map(|it| it.exit_code()), Some(2), "{line}");
        }
    }
}
