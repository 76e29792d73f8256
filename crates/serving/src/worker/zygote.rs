//! The process that workers are copied from: one thread, the engines' libraries open, no model.

use super::{
    child::{self, Engines},
    control::{Ask, Ending, Line, News},
    raw::{self, Forked},
};
use kaogong_domain::Problem;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, getpid, kill_process, pidfd_open, setrlimit, waitpid,
    },
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

/// A worker as the zygote knows it.
struct Running {
    id: u64,
    pid: Pid,
    /// Readable when it has ended.
    ended: OwnedFd,
}

/// Starts and watches workers for the server at the other end of standard input, until that end is closed. Returns in the
/// zygote alone; a worker ends inside.
///
/// # Errors
/// When standard input is no line to a server, or this process has more than one thread.
pub fn run(engines: Engines) -> Result<(), Problem> {
    let failed = |it: io::Error| Problem::unavailable(format!("workers for models cannot be started: {it}"));
    let server = take_stdin().map_err(failed)?;
    let own = getpid();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|it| failed(it.into()))?;
    let mut running: Vec<Running> = vec![];
    loop {
        wait(&server, &running).map_err(failed)?;
        let ended = reap(&mut running);
        for (id, how) in ended {
            server.send(&News::Ended { id, how }, None).map_err(failed)?;
        }
        if !is_readable(&server).map_err(failed)? {
            continue;
        }
        match server.receive::<Ask>().map_err(failed)? {
            // The server is gone. Workers end with their parent.
            None => return Ok(()),
            Some((Ask::Kill { id }, _)) => {
                if let Some(it) = running.iter().find(|it| it.id == id) {
                    // One that has ended and was not waited for yet keeps its number, so this meets no other process.
                    let _ = kill_process(it.pid, Signal::KILL);
                }
            }
            Some((Ask::Start { id, space_bytes }, line)) => {
                let news = match (line, raw::fork()) {
                    (None, _) => News::Ended { id, how: Ending::NotStarted("no line came with it".into()) },
                    (Some(line), Ok(Forked::Child)) => {
                        // Nothing of the zygote's stays open in a worker: the server sees the end of a line by its being closed.
                        drop((server, running));
                        child::run(line.into(), engines, space_bytes, own)
                    }
                    (Some(_), Ok(Forked::Parent(pid))) => match pidfd_open(pid, PidfdFlags::empty()) {
                        Ok(ended) => {
                            running.push(Running { id, pid, ended });
                            News::Started { id, pid: pid.as_raw_nonzero().get() }
                        }
                        Err(it) => {
                            let _ = kill_process(pid, Signal::KILL);
                            let _ = waitpid(Some(pid), WaitOptions::empty());
                            News::Ended { id, how: Ending::NotStarted(it.to_string()) }
                        }
                    },
                    (Some(_), Err(it)) => News::Ended { id, how: Ending::NotStarted(it.to_string()) },
                };
                server.send(&news, None).map_err(failed)?;
            }
        }
    }
}

fn take_stdin() -> io::Result<Line> {
    let line = io::stdin().as_fd().try_clone_to_owned()?;
    raw::empty_stdin()?;
    Ok(line.into())
}

/// Waits until the server says something or a worker has ended.
fn wait(server: &Line, running: &[Running]) -> io::Result<()> {
    let all = std::iter::once(server.as_fd()).chain(running.iter().map(|it| it.ended.as_fd()));
    let mut all: Vec<PollFd<'_>> = all.map(|it| PollFd::from_borrowed_fd(it, PollFlags::IN)).collect();
    match poll(&mut all, None) {
        Err(Errno::INTR) => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

fn is_readable(line: &Line) -> io::Result<bool> {
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let fd = line.as_fd();
    let mut one = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    match poll(&mut one, Some(&now)) {
        Err(Errno::INTR) => Ok(false),
        other => Ok(other? > 0),
    }
}

/// Takes out the workers that have ended.
fn reap(running: &mut Vec<Running>) -> Vec<(u64, Ending)> {
    let mut ended = vec![];
    running.retain(|it| {
        let how = match waitpid(Some(it.pid), WaitOptions::NOHANG) {
            Ok(None) | Err(Errno::INTR) => return true,
            Ok(Some((_, status))) => match status.terminating_signal() {
                Some(signal) => Ending::Signal(signal),
                None => Ending::Exit(status.exit_status().unwrap_or(-1)),
            },
            Err(it) => Ending::NotStarted(it.to_string()),
        };
        ended.push((it.id, how));
        false
    });
    ended
}
