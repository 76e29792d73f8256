//! What looks wrong in the command of a job: words that only a shell would understand, and scripts with the line ends
//! of Windows.

/// Operators of a shell, as words of their own.
const OPERATORS: [&str; 13] = ["&&", "||", "|", ";", "&", ">", ">>", "<", "<<", "2>", "2>&1", "&>", "|&"];
/// Programs that are shells.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "fish"];

/// Why a command may not do what its author thinks; `None` when nothing looks like a shell's.
pub fn shell_remark(command: &[String]) -> Option<String> {
    let (first, rest) = command.split_first()?;
    let is_sentence = first.trim().contains(char::is_whitespace) && !first.contains('/');
    let has_operator = OPERATORS.iter().any(|it| *it != "&" && first.contains(it)) || first.contains('$');
    let found = if is_sentence || has_operator { Some(first.as_str()) } else { words_of_a_shell(rest) };
    let word: String = found?.chars().take(60).collect();
    Some(format!("there is no shell between, so that `{word}` is passed on as it stands; use {}", as_shell(command)))
}

fn words_of_a_shell(words: &[String]) -> Option<&str> {
    let mut is_program_text = false;
    for word in words {
        // What follows is a program: for a shell, for Python, for Perl.
        if is_program_text || matches!(word.as_str(), "-c" | "-e" | "-lc" | "-ec") {
            is_program_text = !is_program_text;
            continue;
        }
        if OPERATORS.contains(&word.as_str()) || has_variable(word) || has_pattern(word) || word.starts_with("~/") {
            return Some(word);
        }
        let is_sentence = word.contains(" && ") || word.contains(" | ") || word.contains(" > ") || word.contains("; ");
        if is_sentence {
            return Some(word);
        }
    }
    None
}

fn has_variable(word: &str) -> bool {
    let follows = |it: &str| it.starts_with(|it: char| it.is_ascii_alphabetic() || matches!(it, '_' | '{' | '('));
    word.match_indices('$').any(|(at, _)| follows(&word[at + 1..]))
}

fn has_pattern(word: &str) -> bool {
    !word.starts_with('-') && (word.contains("*.") || word.contains("/*")) && !word.contains(['(', '[', '\\', '^'])
}

/// The command as a shell would be given it.
fn as_shell(command: &[String]) -> String {
    let line = command.join(" ");
    if line.len() > 200 {
        return "command = [\"sh\", \"-c\", \"…\"]".to_owned();
    }
    let line = line.replace('\\', "\\\\").replace('"', "\\\"");
    format!("command = [\"sh\", \"-c\", \"{line}\"]")
}

/// Whether a script begins with `#!` and its first line ends as on Windows: the kernel then looks for a program whose
/// name ends with a carriage return.
pub fn has_windows_first_line(content: &[u8]) -> bool {
    let line = content.split(|it| *it == b'\n').next().unwrap_or_default();
    content.starts_with(b"#!") && line.len() < content.len() && line.ends_with(b"\r")
}

/// Whether a text has the line ends of Windows.
pub fn has_windows_lines(content: &[u8]) -> bool {
    content.windows(2).any(|it| it == b"\r\n")
}

/// The sentence about such a script.
pub fn windows_lines(name: &str) -> String {
    format!(
        "{name} has Windows line ends (CRLF), which shells and `#!` lines do not understand; convert it with `sed -i 's/\\r$//' {name}`"
    )
}

/// Whether the words of a command give `script` to a shell, or start it itself.
pub fn runs_as_script(command: &[String], script: &str) -> bool {
    let plain = |it: &str| it.strip_prefix("./").unwrap_or(it).to_owned();
    let is_shell = |it: &String| SHELLS.contains(&it.rsplit('/').next().unwrap_or_default());
    match command {
        [first, ..] if plain(first) == script => true,
        [first, rest @ ..] if is_shell(first) => {
            rest.iter().find(|it| !it.starts_with('-')).is_some_and(|it| plain(it) == script)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn what_only_a_shell_understands_is_named() {
        for (command, word) in [
            (vec!["a && b"], "a && b"),
            (vec!["python train.py"], "python train.py"),
            (vec!["echo", "a", "&&", "echo", "b"], "&&"),
            (vec!["cat", "log", "|", "wc"], "|"),
            (vec!["python", "train.py", ">", "out.txt"], ">"),
            (vec!["python", "train.py", "--epochs", "$EPOCHS"], "$EPOCHS"),
            (vec!["echo", "${HOME}/x"], "${HOME}/x"),
            (vec!["cat", "data/*.csv"], "data/*.csv"),
            (vec!["ls", "~/data"], "~/data"),
            (vec!["$PYTHON", "train.py"], "$PYTHON"),
        ] {
            let remark = shell_remark(&words(&command)).unwrap_or_else(|| panic!("{command:?}"));
            assert!(remark.contains(&format!("`{word}`")) && remark.contains("[\"sh\", \"-c\", \""), "{remark}");
        }
    }

    #[test]
    fn plain_commands_are_left_alone() {
        for command in [
            vec!["python", "train.py", "--name", "a b", "--lr=1e-3"],
            vec!["sh", "-c", "a && b | c > $HOME/x"],
            vec!["python", "-c", "print('$x'); print(1)"],
            vec!["grep", "a.*b", "file"],
            vec!["./my program/run", "x"],
            vec!["python", "train.py", "--price", "5$"],
            vec!["python", "train.py", "--include=*.png"],
        ] {
            assert_eq!(shell_remark(&words(&command)), None, "{command:?}");
        }
    }

    #[test]
    fn scripts_with_windows_lines_are_seen() {
        assert!(has_windows_first_line(b"#!/bin/sh\r\necho\r\n") && !has_windows_first_line(b"#!/bin/sh\necho\r\n"));
        assert!(!has_windows_first_line(b"#!/bin/sh\r") && !has_windows_first_line(b"echo\r\n"));
        assert!(has_windows_lines(b"a\r\n") && !has_windows_lines(b"a\nb\r"));
        for command in
            [&["./train.sh"][..], &["train.sh", "x"], &["sh", "-e", "train.sh"], &["/bin/bash", "./train.sh"]]
        {
            assert!(runs_as_script(&words(command), "train.sh"), "{command:?}");
        }
        assert!(!runs_as_script(&words(&["python", "train.sh"]), "train.sh"));
    }
}
