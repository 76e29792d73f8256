//! Options of all commands that one command has no use for: its help does not offer them, and it refuses them, because
//! whoever writes `kaogong up --url …` believes that it does something.

use clap::{Arg, ArgMatches, Command, error::ErrorKind, parser::ValueSource};

/// Names of the options that hold for all commands.
const PROJECT: &str = "project";
const URL: &str = "url";
const TOKEN: &str = "token";
const HOME: &str = "home";
const OUTPUT: &str = "output";

/// Commands, and what is idle there. What holds for a group holds for all in it.
const IDLE: &[(&[&str], &[&str])] = &[
    (&["up"], &[PROJECT, URL, TOKEN]),
    (&["backup"], &[PROJECT]),
    (&["restore"], &[PROJECT, URL, TOKEN, HOME]),
    (&["doctor"], &[PROJECT]),
    (&["logout"], &[PROJECT]),
    (&["open"], &[PROJECT]),
    (&["access", "whoami"], &[PROJECT]),
    (&["access", "users"], &[PROJECT]),
    (&["access", "organisations"], &[PROJECT]),
    (&["access", "projects"], &[PROJECT]),
    (&["completion"], &[PROJECT, URL, TOKEN, HOME, OUTPUT]),
    (&["engine-zygote"], &[PROJECT, URL, TOKEN, HOME, OUTPUT]),
    (&["supervise"], &[PROJECT, URL, TOKEN, HOME, OUTPUT]),
    (&["probe-model"], &[PROJECT, URL, TOKEN, HOME, OUTPUT]),
    (&["probe-onnxruntime"], &[PROJECT, URL, TOKEN, HOME, OUTPUT]),
];

/// Takes idle options out of the help of their commands.
pub fn hide(mut command: Command) -> Command {
    for (path, options) in IDLE {
        for option in *options {
            let Some(known) = command.get_arguments().find(|it| it.get_id() == *option).cloned() else { continue };
            command = inside(command, path, known.hide(true));
        }
    }
    command
}

/// Gives a command an argument of its own, which stands before the one that holds for all.
fn inside(command: Command, path: &[&str], argument: Arg) -> Command {
    match path.split_first() {
        None => command.arg(argument),
        Some((first, rest)) => command.mut_subcommand(*first, |it| inside(it, rest, argument)),
    }
}

/// What is wrong with options that were written and do nothing.
pub fn refuse(matches: &ArgMatches) -> Option<clap::Error> {
    let mut path = vec![];
    let mut at = matches;
    while let Some((name, below)) = at.subcommand() {
        path.push(name);
        at = below;
    }
    let written = |option: &&&str| at.value_source(option) == Some(ValueSource::CommandLine);
    let idle = of(&path);
    let option = idle.iter().find(written)?;
    let text = format!("`kaogong {}` has no use for --{option}: leave it out\n", path.join(" "));
    Some(clap::Error::raw(ErrorKind::UnknownArgument, text))
}

/// What is idle in a command.
pub fn of(path: &[&str]) -> Vec<&'static str> {
    IDLE.iter().filter(|it| path.starts_with(it.0)).flat_map(|it| it.1).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;

    fn walk(command: &Command, path: &mut Vec<String>, check: &mut dyn FnMut(&[&str], &Command)) {
        check(&path.iter().map(String::as_str).collect::<Vec<_>>(), command);
        for sub in command.get_subcommands() {
            path.push(sub.get_name().to_owned());
            walk(sub, path, check);
            path.pop();
        }
    }

    #[test]
    fn help_offers_exactly_what_a_command_has_a_use_for() {
        let mut command = Cli::parser();
        command.build();
        let mut seen = 0;
        walk(&command, &mut vec![], &mut |path, command| {
            let help = command.clone().render_help().to_string();
            for option in [PROJECT, URL, TOKEN, HOME, OUTPUT] {
                let is_offered = help.contains(&format!("--{option} <"));
                assert_eq!(is_offered, !of(path).contains(&option), "--{option} in the help of {path:?}:\n{help}");
                seen += usize::from(!is_offered);
            }
        });
        assert!(seen > 30, "only {seen} options are idle");
        for (path, _) in IDLE {
            let mut at = &command;
            for name in *path {
                at = at.find_subcommand(name).unwrap_or_else(|| panic!("{path:?} is no command"));
            }
        }
    }

    #[test]
    fn an_idle_option_is_refused_wherever_it_is_written_and_taken_from_the_environment() {
        for line in [
            "kaogong up --url http://h:1",
            "kaogong --token x up",
            "kaogong access users list --project vision",
            "kaogong access --project vision users list",
            "kaogong restore f --url http://h:1",
        ] {
            let refused = Cli::try_read(line.split(' ')).expect_err(line);
            assert!(refused.to_string().contains("has no use for --"), "{line}: {refused}");
            assert_eq!(refused.exit_code(), 2);
        }
        for line in [
            "kaogong up --home h",
            "kaogong backup f --url http://h:1 --token x",
            "kaogong access members list --project v",
        ] {
            assert!(Cli::try_read(line.split(' ')).is_ok(), "{line}");
        }
    }
}
