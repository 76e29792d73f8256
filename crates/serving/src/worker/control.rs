//! The slow line beside the channels: what to load, which channels there are, which run is to stop. JSON in frames with
//! their length before them; a frame may carry one file descriptor.

use super::wire::ToldProblem;
use crate::tensor::{DataType, TensorSpec};
use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

/// The longest frame: names of tensors, and the texts that a model's maker put into its file.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// What the server asks of the zygote.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Fork a worker, which gets the descriptor as its line to the server.
    Start {
        /// The server's number for it.
        id: u64,
        /// The memory that it may take.
        space_bytes: u64,
    },
    /// End a worker.
    Kill {
        /// Its number.
        id: u64,
    },
}

/// What the zygote says of its own accord.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum News {
    /// A worker runs.
    Started {
        /// Its number.
        id: u64,
        /// Its process.
        pid: i32,
    },
    /// A worker ended, or could not be started.
    Ended {
        /// Its number.
        id: u64,
        /// How.
        how: Ending,
    },
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ending {
    /// It left by itself.
    Exit(i32),
    /// A signal ended it.
    Signal(i32),
    /// The process that starts workers is gone, and all workers with it.
    Orphaned,
    /// It was never there.
    NotStarted(String),
}

/// What the server asks of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Read a model. Answered.
    Load {
        /// The engine's word.
        engine: String,
        /// The file.
        path: PathBuf,
        /// Sessions wanted side by side.
        threads: usize,
    },
    /// Run a session on the channel whose memory comes with this. Answered.
    Open {
        /// Its number in this worker.
        channel: u64,
    },
    /// End the run on a channel. Not answered.
    Stop {
        /// The channel.
        channel: u64,
    },
    /// The channel is done with. Not answered.
    Close {
        /// The channel.
        channel: u64,
    },
}

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The model is in memory.
    Loaded(Box<About>),
    /// The session runs.
    Opened,
    /// What the engine said.
    Failed(ToldProblem),
}

/// What a worker says about a model that it has loaded.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub inputs: Vec<ToldSpec>,
    pub outputs: Vec<ToldSpec>,
    pub metadata: BTreeMap<String, String>,
    pub is_steady: bool,
    pub is_row_wise: bool,
    pub session_bytes: u64,
}

/// A tensor's name, type and shape.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ToldSpec(String, String, Vec<i64>);

impl From<&TensorSpec> for ToldSpec {
    fn from(it: &TensorSpec) -> Self {
        Self(it.name.clone(), it.datatype.as_str().to_owned(), it.shape.clone())
    }
}

impl ToldSpec {
    /// `None` for a type that there is not.
    pub(super) fn read(&self) -> Option<TensorSpec> {
        let datatype = DataType::parse(&self.1)?;
        Some(TensorSpec { name: self.0.clone(), datatype, shape: self.2.clone() })
    }
}

/// One end of a line.
pub(super) struct Line(OwnedFd);

impl From<OwnedFd> for Line {
    fn from(it: OwnedFd) -> Self {
        Self(it)
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Line {
    /// Both ends. Neither is inherited by programs that this process starts.
    pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
    }

    /// Gives up reading and writing after a time each.
    pub(super) fn limit(&self, time: Duration) -> io::Result<()> {
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, Some(time))?;
        Ok(sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Send, Some(time))?)
    }

    /// Sends a frame, with a descriptor when there is one.
    pub(super) fn send(&self, what: &impl Serialize, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = serde_json::to_vec(what)?;
        let length = u32::try_from(text.len()).ok().filter(|it| *it as usize <= FRAME_BYTES_MAX);
        let length = length.ok_or(io::ErrorKind::FileTooLarge)?.to_le_bytes();
        let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // The descriptor travels with the first byte, once.
        let head = [IoSlice::new(&length)];
        let sent = retry_on_intr(|| sendmsg(&self.0, &head, &mut control, SendFlags::NOSIGNAL))?;
        self.send_rest(&length[sent..])?;
        self.send_rest(&text)
    }

    fn send_rest(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = retry_on_intr(|| rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL))?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// The next frame and its descriptor; `None` when the other end is closed.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut length = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut head = [IoSliceMut::new(&mut length)];
        let got = loop {
            match recvmsg(&self.0, &mut head, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                other => break other?.bytes,
            }
        };
        if got == 0 {
            return Ok(None);
        }
        let mut file = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                file = files.into_iter().next();
            }
        }
        self.fill(&mut length[got..])?;
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut text = vec![0; length];
        self.fill(&mut text)?;
        Ok(Some((serde_json::from_slice(&text)?, file)))
    }

    fn fill(&self, mut to: &mut [u8]) -> io::Result<()> {
        while !to.is_empty() {
            let (got, _) = retry_on_intr(|| rustix::net::recv(&self.0, &mut *to, RecvFlags::empty()))?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            to = &mut to[got..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Line, Line) {
        let (a, b) = Line::pair().expect("a pair");
        (a.into(), b.into())
    }

    #[test]
    fn frames_and_descriptors_arrive_in_order() {
        let (a, b) = pair();
        let file = std::fs::File::open("/dev/null").expect("a file");
        a.send(&Order::Open { channel: 7 }, Some(file.as_fd())).expect("sent");
        a.send(&Order::Stop { channel: 8 }, None).expect("sent");
        drop(a);
        let (first, file) = b.receive::<Order>().expect("a frame").expect("open");
        assert!(matches!(first, Order::Open { channel: 7 }) && file.is_some());
        let (second, file) = b.receive::<Order>().expect("a frame").expect("open");
        assert!(matches!(second, Order::Stop { channel: 8 }) && file.is_none());
        assert!(b.receive::<Order>().expect("an end").is_none());
    }

    #[test]
    fn frames_that_lie_are_errors() {
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\x02\0\0\0{}", b"\x05\0\0\0{}", b"\x01\0"] {
            let (a, b) = pair();
            a.send_rest(bytes).expect("sent");
            drop(a);
            assert!(b.receive::<Reply>().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn one_that_says_nothing_is_given_up() {
        let (_a, b) = pair();
        b.limit(Duration::from_millis(10)).expect("a limit");
        let error = b.receive::<Reply>().expect_err("silence");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
