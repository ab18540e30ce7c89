//! The guest's end of the handover.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Zeroable;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{DESCRIPTORS, Greeting, PATIENCE, WORKERS_MAX, has_ended, kind, unix_socket};
use crate::layout::{LAYOUT_HASH, MAGIC, VERSION};
use crate::region::{AttachError, Guest};

/// One worker, as signaling sees it.
pub struct Worker {
    pub guest: Guest,
    /// Ring it after pushing commands.
    pub command_bell: OwnedFd,
    /// Rings when there are events.
    pub event_bell: OwnedFd,
    /// While any worker of one `connect` lives, signaling counts as attached.
    link: Arc<OwnedFd>,
}

impl Worker {
    /// The connection to the dataplane: polls as hung up when the dataplane has gone.
    #[must_use]
    pub fn link(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    /// Whether the dataplane has gone. Does not wait.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        has_ended(&self.link)
    }
}

/// Attaches to the dataplane that listens at `path`: all its workers, in order.
///
/// # Errors
/// [`AttachError`]; each text names the thing, the cause and the remedy.
pub fn connect(path: &Path) -> Result<Vec<Worker>, AttachError> {
    connect_within(path, PATIENCE)
}

pub(super) fn connect_within(path: &Path, wait: Duration) -> Result<Vec<Worker>, AttachError> {
    let failed = |errno| ConnectError::from_errno(path, errno);
    let (socket, addr) = unix_socket(path).map_err(failed)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(wait)).map_err(failed)?;
    rustix::net::connect(&socket, &addr).map_err(failed)?;
    let link = Arc::new(socket);
    let (hello, _) = receive(&link, path)?;
    check(&hello)?;
    match hello.kind {
        kind::HELLO if hello.worker <= WORKERS_MAX => {}
        kind::BUSY => return Err(ConnectError::Busy { pid: hello.id }.into()),
        kind::DENIED => return Err(denied(path, hello.id)),
        _ => return Err(ConnectError::Protocol { path: path.to_owned() }.into()),
    }
    (0..hello.worker).map(|index| receive_worker(&link, path, index)).collect()
}

fn receive_worker(link: &Arc<OwnedFd>, path: &Path, index: u32) -> Result<Worker, AttachError> {
    let (greeting, descriptors) = receive(link, path)?;
    check(&greeting)?;
    let protocol = || ConnectError::Protocol { path: path.to_owned() };
    let [Some(region), Some(command_bell), Some(event_bell)] = descriptors else {
        return Err(protocol().into());
    };
    if greeting.kind != kind::WORKER || greeting.worker != index {
        return Err(protocol().into());
    }
    Ok(Worker { guest: Guest::attach(region)?, command_bell, event_bell, link: link.clone() })
}

fn check(greeting: &Greeting) -> Result<(), AttachError> {
    if greeting.magic != MAGIC {
        return Err(AttachError::Magic { found: greeting.magic });
    }
    if greeting.version != VERSION {
        return Err(AttachError::Version { found: greeting.version });
    }
    if greeting.layout_hash != LAYOUT_HASH {
        return Err(AttachError::Layout { found: greeting.layout_hash });
    }
    Ok(())
}

type Descriptors = [Option<OwnedFd>; DESCRIPTORS];

fn receive(link: &OwnedFd, path: &Path) -> Result<(Greeting, Descriptors), ConnectError> {
    let mut greeting = Greeting::zeroed();
    let mut space = [core::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut bytes = [IoSliceMut::new(bytemuck::bytes_of_mut(&mut greeting))];
        match recvmsg(link, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received.map_err(|errno| ConnectError::from_errno(path, errno))?,
        }
    };
    if received.bytes == 0 {
        return Err(ConnectError::Ended { path: path.to_owned() });
    }
    if received.bytes != size_of::<Greeting>() {
        return Err(ConnectError::Protocol { path: path.to_owned() });
    }
    let mut arrived = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let mut descriptors = arrived.next().into_iter().flatten();
    Ok((greeting, std::array::from_fn(|_| descriptors.next())))
}

fn denied(path: &Path, allowed: u32) -> AttachError {
    let uid = rustix::process::geteuid().as_raw();
    ConnectError::Denied { path: path.to_owned(), uid, allowed }.into()
}

/// Why the dataplane could not be reached, or would not have us.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no dataplane at {path}: there is no such socket; is the dataplane running?")]
    Missing { path: PathBuf },
    #[error(
        "no dataplane at {path}: the socket is there but nobody listens on it; is the dataplane \
         running?"
    )]
    Dead { path: PathBuf },
    #[error("may not open {path}: permission denied; run signaling as the user that owns it")]
    Permission { path: PathBuf },
    #[error(
        "the dataplane at {path} refused user {uid}: only user {allowed} may attach; run signaling \
         as that user"
    )]
    Denied { path: PathBuf, uid: u32, allowed: u32 },
    #[error(
        "another signaling process (pid {pid}) is attached to this dataplane; stop that one first"
    )]
    Busy { pid: u32 },
    #[error("the dataplane at {path} ended the connection; see its log for the reason")]
    Ended { path: PathBuf },
    #[error("the dataplane at {path} does not answer; is it stopped or overloaded?")]
    Silent { path: PathBuf },
    #[error("what listens at {path} is not a dataplane of this build; check the path")]
    Protocol { path: PathBuf },
    #[error("cannot talk to the dataplane at {path}: {source}")]
    Socket { path: PathBuf, source: io::Error },
}

impl ConnectError {
    fn from_errno(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::Missing { path },
            Errno::CONNREFUSED => Self::Dead { path },
            Errno::ACCESS | Errno::PERM => Self::Permission { path },
            Errno::AGAIN => Self::Silent { path },
            Errno::PROTOTYPE | Errno::NOTSOCK => Self::Protocol { path },
            Errno::CONNRESET | Errno::PIPE => Self::Ended { path },
            errno => Self::Socket { path, source: errno.into() },
        }
    }
}
