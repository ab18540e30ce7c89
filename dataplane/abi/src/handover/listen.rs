//! The host's end of the handover.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, accept_with, bind, connect,
    listen, sendmsg,
};

use super::{DESCRIPTORS, Greeting, PATIENCE, WORKERS_MAX, has_ended, kind, unix_socket};

/// What one worker offers to the guest.
#[derive(Clone, Copy)]
pub struct Offer<'fd> {
    pub region: BorrowedFd<'fd>,
    pub command_bell: BorrowedFd<'fd>,
    pub event_bell: BorrowedFd<'fd>,
}

/// The dataplane's socket. Removes its file on drop.
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode of the socket file, so that a successor's file is not removed.
    file: (u64, u64),
    allowed_uid: u32,
    attached: Mutex<Weak<Attachment>>,
}

impl Listener {
    /// Listens at `path` for processes of user `allowed_uid`.
    ///
    /// A socket file that nobody listens on is replaced. The file can be opened by its owner only;
    /// if `allowed_uid` is another user, the file is given to that user where we may (else opened
    /// to all: the check of each peer's user is what protects it).
    ///
    /// # Errors
    /// [`HandoverError::Bind`] names path, cause and remedy; [`HandoverError::InUse`] when another
    /// dataplane listens there.
    pub fn bind(path: &Path, allowed_uid: u32) -> Result<Self, HandoverError> {
        let failed = |source: io::Error| HandoverError::Bind { path: path.to_owned(), source };
        remove_stale(path)?;
        let (socket, addr) = unix_socket(path).map_err(|errno| failed(errno.into()))?;
        bind(&socket, &addr).map_err(|errno| failed(errno.into()))?;
        open_to(path, allowed_uid).map_err(failed)?;
        listen(&socket, BACKLOG).map_err(|errno| failed(errno.into()))?;
        let meta = std::fs::symlink_metadata(path).map_err(failed)?;
        let file = (meta.dev(), meta.ino());
        let attached = Mutex::new(Weak::new());
        Ok(Self { socket, path: path.to_owned(), file, allowed_uid, attached })
    }

    /// Waits for a peer and hands it the regions; the guest is attached while the [`Link`] lives
    /// and its process keeps the connection. Ready when the listener polls readable.
    ///
    /// Call [`Host::restore`](crate::Host::restore) on every worker between the end of one guest
    /// and the next `accept`.
    ///
    /// # Errors
    /// [`HandoverError`]. All but `Socket` concern this peer only: report and accept again.
    pub fn accept(&self, workers: &[Offer<'_>]) -> Result<Link, HandoverError> {
        let socket = loop {
            match accept_with(&self.socket, SocketFlags::CLOEXEC) {
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                accepted => break accepted.map_err(|errno| HandoverError::Socket(errno.into()))?,
            }
        };
        let peer = socket_peercred(&socket).map_err(|errno| HandoverError::Peer(errno.into()))?;
        let pid = peer.pid.as_raw_nonzero().get().unsigned_abs();
        let uid = peer.uid.as_raw();
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))
            .map_err(|errno| HandoverError::Peer(errno.into()))?;
        if uid != self.allowed_uid {
            let _ = send(&socket, &Greeting::new(kind::DENIED, 0, self.allowed_uid), &[]);
            return Err(HandoverError::Denied { pid, uid, allowed: self.allowed_uid });
        }
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = attached.upgrade().filter(|first| !has_ended(&first.socket)) {
            let _ = send(&socket, &Greeting::new(kind::BUSY, 0, first.pid), &[]);
            return Err(HandoverError::Busy { pid, first: first.pid });
        }
        greet(&socket, workers).map_err(|errno| HandoverError::Peer(errno.into()))?;
        let link = Link(Arc::new(Attachment { socket, pid, uid }));
        *attached = Arc::downgrade(&link.0);
        Ok(link)
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.file);
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The attached guest, as the host sees it. Polls as hung up when the guest has gone; dropping it
/// lets the next guest in.
pub struct Link(Arc<Attachment>);

impl Link {
    /// Process id of the guest.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// User id of the guest.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.0.uid
    }

    /// Whether the guest has gone. Does not wait.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        has_ended(&self.0.socket)
    }

    /// Waits until the guest has gone.
    pub fn wait(&self) {
        let mut fds = [PollFd::new(&self.0.socket, PollFlags::RDHUP)];
        while poll(&mut fds, None) == Err(Errno::INTR) {}
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

struct Attachment {
    socket: OwnedFd,
    pid: u32,
    uid: u32,
}

/// Why a guest was not attached.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error(
        "cannot listen at {path}: {source}; check that its directory exists, that this user may \
         write there, and that the path is shorter than 108 bytes"
    )]
    Bind { path: PathBuf, source: io::Error },
    #[error("another dataplane listens at {path}; stop it first or choose another path")]
    InUse { path: PathBuf },
    #[error("{path} exists and is not a socket; remove it or choose another path")]
    NotASocket { path: PathBuf },
    #[error(
        "process {pid} of user {uid} was refused: only user {allowed} may attach; run signaling \
         as that user"
    )]
    Denied { pid: u32, uid: u32, allowed: u32 },
    #[error("process {pid} was refused: process {first} is attached; stop that one first")]
    Busy { pid: u32, first: u32 },
    #[error("the guest went away while it was being attached: {0}")]
    Peer(#[source] io::Error),
    #[error("cannot accept guests any more: {0}; restart the dataplane")]
    Socket(#[source] io::Error),
}

fn greet(socket: &OwnedFd, workers: &[Offer<'_>]) -> rustix::io::Result<()> {
    let count = u32::try_from(workers.len()).unwrap_or(u32::MAX);
    if count > WORKERS_MAX {
        return Err(Errno::TOOBIG);
    }
    let pid = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    send(socket, &Greeting::new(kind::HELLO, count, pid), &[])?;
    for (worker, offer) in (0..count).zip(workers) {
        let fds = [offer.region, offer.command_bell, offer.event_bell];
        send(socket, &Greeting::new(kind::WORKER, worker, pid), &fds)?;
    }
    Ok(())
}

fn send(socket: &OwnedFd, greeting: &Greeting, fds: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [core::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOBIG);
    }
    let bytes = [IoSlice::new(bytemuck::bytes_of(greeting))];
    sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL).map(|_| ())
}

/// Removes a socket file that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), HandoverError> {
    let failed = |source: io::Error| HandoverError::Bind { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(HandoverError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    let (probe, addr) = unix_socket(path).map_err(|errno| failed(errno.into()))?;
    match connect(&probe, &addr) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(failed),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) if errno != Errno::PROTOTYPE => Err(failed(errno.into())),
        Ok(()) | Err(_) => Err(HandoverError::InUse { path: path.to_owned() }),
    }
}

fn open_to(path: &Path, allowed_uid: u32) -> io::Result<()> {
    let open = |mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    // Once it is another user's, its mode is no longer ours to change.
    open(0o600)?;
    if rustix::process::geteuid().as_raw() == allowed_uid {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(allowed_uid), None).or_else(|_| open(0o666))
}

/// Guests that may wait to be refused while one is attached.
const BACKLOG: i32 = 16;
