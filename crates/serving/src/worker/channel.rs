//! One channel between a thread of the server and a thread of a worker: a page with whose turn it is, and an area that
//! holds the request, then the answer in its place.

use super::{
    raw::Map,
    wire::{MESSAGE_BYTES_MAX, Malformed, ToldProblem, head_of},
};
use crate::tensor::Tensor;
use bytes::Bytes;
use kaogong_domain::Problem;
use rustix::{
    fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fstat, ftruncate, memfd_create},
    io::Errno,
    thread::futex,
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// The page with the turn and the length. The area comes after it.
const PAGE: usize = 4096;
/// The area at first; pages that nobody touches take no memory.
const AREA_BYTES: usize = 64 << 10;
/// What an area keeps after a large message; the rest is given back.
const KEPT_BYTES: usize = 1 << 20;
/// Who waits looks up at least this often: a wake-up that was lost with the other side costs no more.
const LOOK: Duration = Duration::from_millis(100);

/// Whose turn it is. Anything else in that word is a broken channel.
mod turn {
    /// Nothing is asked.
    pub(super) const IDLE: u32 = 0;
    /// The area holds tensors for the worker.
    pub(super) const REQUEST: u32 = 1;
    /// The area holds tensors for the server.
    pub(super) const ANSWER: u32 = 2;
    /// The area holds a problem, as JSON.
    pub(super) const PROBLEM: u32 = 3;
    /// The other side is gone.
    pub(super) const GONE: u32 = 4;
}

/// The page, which outlives a growing area and may be used from other threads.
pub(super) struct Page(Map);

impl Page {
    fn turn(&self) -> u32 {
        self.0.word().load(Ordering::Acquire)
    }

    fn set(&self, turn: u32) {
        self.0.word().store(turn, Ordering::Release);
        let _ = futex::wake(self.0.word(), futex::Flags::empty(), 1);
    }

    /// Tells who waits that nobody will answer.
    pub(super) fn end(&self) {
        self.set(turn::GONE);
    }

    /// Waits while it is this turn, for a time at most.
    fn wait_while(&self, turn: u32, time: Duration) {
        let time = futex::Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        // Whatever it says, the word is looked at again.
        let _ = futex::wait(self.0.word(), futex::Flags::empty(), turn, Some(&time));
    }
}

/// What both sides have of a channel.
struct Side {
    file: OwnedFd,
    page: Arc<Page>,
    area: Map,
}

impl Side {
    fn new(file: OwnedFd) -> io::Result<Self> {
        let page = Arc::new(Page(Map::new(&file, 0, PAGE)?));
        let area = Map::new(&file, PAGE as u64, AREA_BYTES)?;
        Ok(Self { file, page, area })
    }

    /// Makes the file at least so long that a message fits, and the area too.
    fn fit(&mut self, length: usize) -> io::Result<()> {
        if length <= self.area.length() {
            return Ok(());
        }
        if length > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let length = length.next_power_of_two().min(MESSAGE_BYTES_MAX);
        if self.file_area()? < length {
            // Only grows: the other side may have made it longer in between, and the file is sealed against less.
            match ftruncate(&self.file, (PAGE + length) as u64) {
                Err(Errno::PERM) if self.file_area()? >= length => {}
                other => other?,
            }
        }
        self.area = Map::new(&self.file, PAGE as u64, length)?;
        Ok(())
    }

    /// How long an area the file has.
    fn file_area(&self) -> io::Result<usize> {
        let size = usize::try_from(fstat(&self.file)?.st_size).unwrap_or(0);
        Ok(size.saturating_sub(PAGE))
    }

    /// A copy of the message that the other side says is there.
    fn take(&mut self) -> Result<Bytes, Malformed> {
        let length = usize::try_from(self.page.0.number().load(Ordering::Acquire)).unwrap_or(usize::MAX);
        if length > MESSAGE_BYTES_MAX {
            return Err(Malformed("a message longer than any may be"));
        }
        if length > self.area.length() {
            let fit = length.next_power_of_two().min(MESSAGE_BYTES_MAX);
            // What is mapped must be in the file; that it stays there is sealed.
            if self.file_area().unwrap_or(0) < fit {
                return Err(Malformed("a message longer than the memory that it lies in"));
            }
            self.area =
                Map::new(&self.file, PAGE as u64, fit).map_err(|_| Malformed("a message that cannot be mapped"))?;
        }
        self.area.read(0, length).map(Bytes::from).ok_or(Malformed("a message that is not there"))
    }

    /// Puts a message into the area and gives the turn.
    fn give(&mut self, parts: &[&[u8]], turn: u32) -> io::Result<()> {
        let length = parts.iter().fold(0usize, |sum, it| sum.saturating_add(it.len()));
        self.fit(length)?;
        let mut at = 0;
        for part in parts {
            if !self.area.write(at, part) {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            at += part.len();
        }
        self.page.0.number().store(length as u64, Ordering::Release);
        self.page.set(turn);
        Ok(())
    }

    fn give_tensors(&mut self, tensors: &[Tensor], turn: u32) -> io::Result<()> {
        let head = head_of(tensors).map_err(io::Error::other)?;
        if let [one] = tensors {
            return self.give(&[&head, &one.data], turn);
        }
        let parts: Vec<&[u8]> = std::iter::once(&head[..]).chain(tensors.iter().map(|it| &it.data[..])).collect();
        self.give(&parts, turn)
    }
}

/// What came of a call.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The bytes of tensors, not looked at yet.
    Answer(Bytes),
    /// What the engine said.
    Problem(Problem),
    /// The worker is gone.
    Gone,
    /// The time is over, and the worker still computes.
    Overdue,
    /// The worker wrote what no worker writes.
    Broken(Malformed),
}

/// The server's side.
pub(super) struct Caller(Side);

impl Caller {
    /// A new channel.
    pub(super) fn new() -> io::Result<Self> {
        let file = memfd_create("kaogong-tensors", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, (PAGE + AREA_BYTES) as u64)?;
        // Memory that is mapped here must never leave the file, whatever the worker does with it.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::SEAL)?;
        Side::new(file).map(Self)
    }

    /// What the worker gets of it.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }

    /// What ends waiting for this channel.
    pub(super) fn page(&self) -> Arc<Page> {
        self.0.page.clone()
    }

    /// Asks, and waits for the answer until a moment. Blocks.
    ///
    /// # Errors
    /// When the request cannot be put into shared memory; the worker has not seen it.
    pub(super) fn call(&mut self, inputs: &[Tensor], until: Instant) -> io::Result<Outcome> {
        self.0.give_tensors(inputs, turn::REQUEST)?;
        Ok(self.wait(until))
    }

    /// Waits for the answer to what was asked before.
    pub(super) fn wait(&mut self, until: Instant) -> Outcome {
        let page = self.0.page.clone();
        let mut now = Instant::now();
        while page.turn() == turn::REQUEST && now < until {
            page.wait_while(turn::REQUEST, LOOK.min(until - now));
            now = Instant::now();
        }
        let outcome = match page.turn() {
            turn::ANSWER => self.0.take().map_or_else(Outcome::Broken, Outcome::Answer),
            turn::PROBLEM => match self.0.take() {
                Ok(text) => match serde_json::from_slice::<ToldProblem>(&text) {
                    Ok(told) => Outcome::Problem(told.into()),
                    Err(_) => Outcome::Broken(Malformed("a problem that cannot be read")),
                },
                Err(it) => Outcome::Broken(it),
            },
            turn::REQUEST => Outcome::Overdue,
            turn::GONE => Outcome::Gone,
            _ => Outcome::Broken(Malformed("a turn that is nobody's")),
        };
        if self.0.area.length() > KEPT_BYTES {
            self.give_back();
        }
        outcome
    }

    /// Gives the memory of a large message back.
    fn give_back(&mut self) {
        let rest = (self.0.area.length() - KEPT_BYTES) as u64;
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let given = fallocate(&self.0.file, how, (PAGE + KEPT_BYTES) as u64, rest);
        let area = Map::new(&self.0.file, PAGE as u64, KEPT_BYTES);
        if let (Ok(()), Ok(area)) = (given, area) {
            self.0.area = area;
        }
    }
}

/// The worker's side.
pub(super) struct Callee(Side);

impl Callee {
    /// The channel that came from the server.
    pub(super) fn new(file: OwnedFd) -> io::Result<Self> {
        Side::new(file).map(Self)
    }

    /// Waits for the next request. `None` when there will be none.
    pub(super) fn next(&mut self) -> Option<Result<Bytes, Malformed>> {
        loop {
            match self.0.page.turn() {
                turn::REQUEST => return Some(self.0.take()),
                turn::GONE => return None,
                // The server ends this process when it goes; there is nothing to look up for.
                other => self.0.page.wait_while(other, Duration::from_secs(3600)),
            }
        }
    }

    /// Answers with tensors, or with a problem.
    pub(super) fn answer(&mut self, outcome: &Result<Vec<Tensor>, Problem>) {
        let given = match outcome {
            Ok(tensors) => self.0.give_tensors(tensors, turn::ANSWER).map_err(|it| too_large(tensors, &it)),
            Err(problem) => Err(ToldProblem::from(problem)),
        };
        if let Err(told) = given {
            let text = serde_json::to_vec(&told).unwrap_or_default();
            if self.0.give(&[&text], turn::PROBLEM).is_err() {
                self.0.page.end();
            }
        }
        if self.0.area.length() > KEPT_BYTES
            && let Ok(area) = Map::new(&self.0.file, PAGE as u64, KEPT_BYTES)
        {
            self.0.area = area;
        }
    }
}

fn too_large(tensors: &[Tensor], error: &io::Error) -> ToldProblem {
    let length = tensors.iter().fold(0usize, |sum, it| sum.saturating_add(it.data.len()));
    let (mib, most) = (length >> 20, MESSAGE_BYTES_MAX >> 20);
    let problem = if length > MESSAGE_BYTES_MAX {
        Problem::invalid(format!("the model gives {mib} MiB for this call, at most {most} MiB are answered"))
            .hint("send fewer rows at once")
    } else {
        Problem::unavailable(format!("{mib} MiB of answer cannot be given to the server: {error}"))
    };
    ToldProblem::from(&problem)
}

/// Nothing asks before the first request.
const _: () = assert!(turn::IDLE == 0, "a fresh page is zeros");

#[cfg(test)]
mod tests;
