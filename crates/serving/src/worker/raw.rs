//! The things that Rust has no safe words for: shared memory, fork, giving a standard stream away, and the C library's
//! heap.
#![allow(unsafe_code, reason = "memory that two processes share cannot be a Rust reference, and std does not fork")]

use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    process::Pid,
};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64},
};

/// A part of a file in memory, shared with another process that may write to it at any time.
///
/// The file must be sealed against shrinking: touching a page that is no longer in the file ends the process.
pub(super) struct Map {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to the mapping and not to a thread; it is only ever copied from and to, or used as atomics.
unsafe impl Send for Map {}
// SAFETY: as above; the only methods that take `&self` copy bytes or give atomics.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `length` bytes from `offset`, which is a multiple of the page size. `length` is not 0 and the file has them.
    pub(super) fn new(file: impl AsFd, offset: u64, length: usize) -> io::Result<Self> {
        // SAFETY: without an address the system chooses one that nothing else uses; nothing but this value knows it.
        let start = unsafe {
            let rights = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), length, rights, MapFlags::SHARED, file, offset)?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// The word at the beginning. A mapping has at least one page.
    pub(super) fn word(&self) -> &AtomicU32 {
        // SAFETY: the mapping begins at a page, so it is aligned; it lives as long as `self`; any bits are a number, and
        // both processes use atomic operations on it.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().cast()) }
    }

    /// The number after it.
    pub(super) fn number(&self) -> &AtomicU64 {
        // SAFETY: as for `word`, eight bytes further.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(8).cast()) }
    }

    /// Copies bytes in; `false` when they do not fit, and nothing was copied.
    #[must_use]
    pub(super) fn write(&self, at: usize, from: &[u8]) -> bool {
        if at.checked_add(from.len()).is_none_or(|end| end > self.length) {
            return false;
        }
        // SAFETY: the range lies in the mapping, as was just checked; `from` is a Rust slice and so no part of it. That the other
        // process may write there meanwhile can spoil the bytes, which nobody relies on, and nothing else.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.start.as_ptr().add(at), from.len()) };
        true
    }

    /// A copy of bytes, which nobody changes any more; `None` when they are not all in the mapping.
    pub(super) fn read(&self, at: usize, length: usize) -> Option<Vec<u8>> {
        if at.checked_add(length).is_none_or(|end| end > self.length) {
            return None;
        }
        let mut copy = Vec::with_capacity(length);
        // SAFETY: the range lies in the mapping, and the fresh memory has the capacity and is no part of it. Every byte is
        // written before the length says so. What another process writes meanwhile ends up in the copy or does not.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start.as_ptr().add(at), copy.as_mut_ptr(), length);
            copy.set_len(length);
        }
        Some(copy)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: these are the address and the length of the mapping that this value owns, and every reference into it
        // borrows this value. It cannot fail for a mapping that exists.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Which side of a fork this is.
pub(super) enum Forked {
    Parent(Pid),
    Child,
}

/// Copies this process.
///
/// # Errors
/// When the system has no memory or allows no more processes, and when this process has more than one thread: locks
/// that another thread holds would stay held in the copy for ever.
pub(super) fn fork() -> io::Result<Forked> {
    let threads = threads()?;
    if threads != 1 {
        return Err(io::Error::other(format!("a process with {threads} threads is not forked")));
    }
    // SAFETY: this process has one thread, as was just seen, so the copy is whole and may go on as this one does.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        number => Pid::from_raw(number).map_or_else(|| Err(io::Error::last_os_error()), |it| Ok(Forked::Parent(it))),
    }
}

/// The threads of this process.
pub(super) fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Puts nothing in the place of standard input.
pub(super) fn empty_stdin() -> io::Result<()> {
    let nothing = File::open("/dev/null")?;
    // SAFETY: both are open descriptors of this process; std locks nothing across them, and nothing reads standard input.
    match unsafe { libc::dup2(nothing.as_raw_fd(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets faults end this process at once. Rust's own handler, which looks for a stack that is too small, would take the first
/// one that comes from outside for nothing.
pub(super) fn leave_faults_alone() {
    for number in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the default action is no code of this process.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// Lets this process keep so much free memory at the end of a heap, instead of giving it back after each run and taking
/// it again, page by page, for the next.
pub(super) fn keep_some_memory(bytes: usize) {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    // SAFETY: it takes two numbers. Other C libraries than GNU's have no such word, and it is not asked for there.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, bytes);
        libc::mallopt(libc::M_MMAP_THRESHOLD, bytes);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}

/// Gives freed memory of all heaps back to the system. The C library keeps it otherwise, for each thread that had some.
/// Takes milliseconds: call it off the async threads.
pub fn give_back_memory() {
    // SAFETY: it takes a number, and touches nothing that is in use. Other C libraries than GNU's have no such word.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Ends this process at once: no destructors of foreign libraries, which may wait for threads that compute.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: it takes a number and does not return.
    unsafe { libc::_exit(code) }
}
