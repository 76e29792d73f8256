//! Why a command could not be started, in words that help: the system's own say only that something is not there.

use kaogong_domain::command_words::{has_windows_first_line, shell_remark, windows_lines};
use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The bytes of a script that are looked at: the kernel reads no more of its first line.
const FIRST_BYTES: u64 = 256;
/// What the system says to a file that is no program.
const EXEC_FORMAT: i32 = 8;

/// The sentence about a command that the system refused to start.
pub(super) fn words(command: &[String], work_dir: &Path, error: &io::Error) -> String {
    let program = command.first().map(String::as_str).unwrap_or_default();
    let why = why(program, work_dir, error).or_else(|| shell_remark(command));
    let why = why.or_else(|| not_in_path(program, work_dir, error)).map(|it| format!("; {it}")).unwrap_or_default();
    format!("cannot start `{program}`: {error}{why}")
}

/// What the file itself tells, where the program is one in the working folder or has a path.
fn why(program: &str, work_dir: &Path, error: &io::Error) -> Option<String> {
    let path: PathBuf = if program.contains('/') { work_dir.join(program) } else { return None };
    let facts = path.metadata().ok()?;
    if facts.is_dir() {
        return Some("it is a folder".to_owned());
    }
    let first = first_bytes(&path);
    if error.kind() == ErrorKind::NotFound {
        if has_windows_first_line(&first) {
            return Some(windows_lines(program));
        }
        let line = first.strip_prefix(b"#!")?.split(|it| *it == b'\n').next()?;
        let interpreter = String::from_utf8_lossy(line).trim().chars().take(120).collect::<String>();
        return Some(format!("its first line asks for `{interpreter}`, which is not on this machine"));
    }
    if error.raw_os_error() == Some(EXEC_FORMAT) {
        return Some(format!(
            "it is no program of this machine and its first line names none; use command = [\"sh\", \"{program}\"] or begin it with `#!`"
        ));
    }
    let is_executable = facts.permissions().mode() & 0o111 != 0;
    (error.kind() == ErrorKind::PermissionDenied && !is_executable).then(|| {
        format!("it may not be executed: `chmod +x {program}` before submitting, or command = [\"sh\", \"{program}\"]")
    })
}

fn first_bytes(path: &Path) -> Vec<u8> {
    let mut first = vec![];
    // What cannot be read tells nothing, and the system's own words stay.
    let _ = File::open(path).and_then(|it| it.take(FIRST_BYTES).read_to_end(&mut first));
    first
}

fn not_in_path(program: &str, work_dir: &Path, error: &io::Error) -> Option<String> {
    if error.kind() != ErrorKind::NotFound {
        return None;
    }
    if !program.contains('/') && work_dir.join(program).is_file() {
        return Some(format!("a file of the working folder is started with its path: `./{program}`"));
    }
    Some(if program.contains('/') {
        "there is no such file below the working folder".to_owned()
    } else {
        "no folder of PATH has a program of that name".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command};

    /// What the system says to a command in a folder, in our words.
    fn said(dir: &Path, command: &[&str]) -> String {
        let error = Command::new(command[0]).args(&command[1..]).current_dir(dir).spawn().expect_err("it cannot start");
        let command: Vec<String> = command.iter().map(|it| (*it).to_owned()).collect();
        words(&command, dir, &error)
    }

    fn script(dir: &Path, name: &str, text: &str, mode: u32) {
        fs::write(dir.join(name), text).expect("a file");
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).expect("a mode");
    }

    #[test]
    fn each_way_not_to_start_has_its_word() {
        let dir = tempfile::tempdir().expect("a folder");
        script(dir.path(), "train.sh", "#!/bin/sh\r\necho\r\n", 0o755);
        script(dir.path(), "other.sh", "#!/opt/nowhere/python\n", 0o755);
        script(dir.path(), "plain.sh", "#!/bin/sh\n", 0o644);
        fs::create_dir(dir.path().join("folder")).expect("a folder");
        for (command, part) in [
            (&["./train.sh"][..], "Windows line ends (CRLF)"),
            (&["./other.sh"], "`/opt/nowhere/python`, which is not on this machine"),
            (&["./plain.sh"], "chmod +x ./plain.sh"),
            (&["./folder"], "it is a folder"),
            (&["./absent"], "no such file below the working folder"),
            (&["train.sh"], "`./train.sh`"),
            (&["no-such-program-here"], "no folder of PATH"),
            (&["echo a && echo b"], "[\"sh\", \"-c\", \"echo a && echo b\"]"),
        ] {
            let text = said(dir.path(), command);
            assert!(text.starts_with("cannot start `") && text.contains(part), "{command:?}: {text}");
        }
    }
}
