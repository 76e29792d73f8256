//! Asking the person at the terminal: a line as it is typed, or a password that is not shown.

use crate::exit::usage;
use kaogong_domain::{Problem, Secret};
use std::{
    io::{self, BufRead, IsTerminal, Read, Write},
    process::{Command, Stdio},
};

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Whether there is somebody to ask.
pub fn is_possible() -> bool {
    io::stdin().is_terminal()
}

/// Does work that asks, until it is done or the person presses Ctrl-C.
///
/// The signal is taken instead of ending the program, because a terminal that hides what is typed must be set right
/// first: dropping the work does that.
///
/// # Errors
/// Those of the work, or that it was interrupted.
pub async fn interruptible<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    tokio::select! {
        done = work => done,
        Ok(()) = tokio::signal::ctrl_c() => Err(Problem::invalid("interrupted")),
    }
}

/// Asks for a line. The question goes to standard error, which keeps standard output for data.
///
/// # Errors
/// Bad usage when the input ends without an answer.
pub async fn line(question: &str) -> Result<String, Problem> {
    put(question);
    answer().await
}

/// Asks for a line that the terminal does not show.
///
/// # Errors
/// Bad usage when the input ends without an answer; `Unavailable` when the terminal cannot hide it.
pub async fn secret(question: &str) -> Result<Secret, Problem> {
    let _hidden = Hidden::begin()?;
    put(question);
    answer().await.map(Secret::new)
}

async fn answer() -> Result<String, Problem> {
    // A thread of its own waits for the person, so that an interruption is noticed meanwhile.
    let read = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut text).map(|_| text)
    });
    let text = read.await.map_err(|it| Problem::bug("waiting for an answer did not end", it))?;
    let text = text.map_err(|it| usage(format!("the answer cannot be read: {it}")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err(usage("the answer is empty")) } else { Ok(text.to_owned()) }
}

/// A terminal that hides what is typed; dropping this shows it again.
struct Hidden;

impl Hidden {
    fn begin() -> Result<Self, Problem> {
        match echo("-echo") {
            Ok(()) => Ok(Self),
            Err(it) => Err(Problem::unavailable(format!("the terminal cannot hide a password: {it}"))
                .hint("give the password with --password-stdin")),
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs no repair.
        let _ = echo("echo");
        // The end of the answer was hidden too.
        put("\n");
    }
}

/// Sets the terminal of standard input, through the system's own program for it.
fn echo(mode: &str) -> io::Result<()> {
    let done = Command::new("stty").arg(mode).stdin(Stdio::inherit()).stderr(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(io::Error::other(format!("stty ended with {done}"))) }
}

/// Writes to standard error. When even that cannot be written there is nobody to tell.
fn put(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
