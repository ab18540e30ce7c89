//! The ways packets come and go, behind one name.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use super::mmsg::Mmsg;
use super::packet::{self, Packet};
use super::uring::Uring;
use super::xdp::{Passage, Plan};
use super::{Batch, BufferId, Buffers, Dscp, Received, SocketId, Wait, socket};

/// Which backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackendKind {
    /// io_uring: one enter per round.
    Uring,
    /// One socket for all ports of a worker, and frames of our own.
    Packet,
    /// The same, with frames taken out of the driver.
    Xdp,
    /// epoll, recvmmsg and sendmmsg: for hosts that forbid io_uring.
    Mmsg,
}

/// What one worker's backend is made of, made before its thread is.
pub enum Part {
    Uring,
    /// For `Packet` and `Xdp`.
    Packet(Box<packet::Share>),
    Mmsg,
}

/// A port that a lease has found free.
pub enum Bound {
    /// By having it.
    Socket(UdpSocket),
    /// By asking who has it: this backend needs no socket for it.
    Port(SocketAddr, Dscp),
}

/// The backend of one worker. It must be made and used on that worker's thread.
pub enum Backend {
    Uring(Uring),
    Packet(Packet),
    Mmsg(Mmsg),
}

impl Backend {
    /// Makes a backend with room for `flows` flows. `command_bell` wakes the worker, `event_bell` is
    /// what [`Backend::ring_bell`] rings.
    ///
    /// # Errors
    /// What the kernel refused; `environment::diagnose` knows what to tell the operator.
    pub fn new(
        part: Part,
        flows: u32,
        command_bell: OwnedFd,
        event_bell: OwnedFd,
    ) -> io::Result<Backend> {
        Ok(match part {
            Part::Uring => Backend::Uring(Uring::new(flows, command_bell, event_bell)?),
            Part::Packet(share) => {
                Backend::Packet(Packet::new(*share, flows, command_bell, event_bell)?)
            }
            Part::Mmsg => Backend::Mmsg(Mmsg::new(flows, command_bell, event_bell)?),
        })
    }

    /// The packet memory, for the relay.
    pub fn buffers(&mut self) -> &mut Buffers {
        match self {
            Backend::Uring(ring) => ring.buffers(),
            Backend::Packet(packet) => packet.buffers(),
            Backend::Mmsg(mmsg) => mmsg.buffers(),
        }
    }

    /// Whether flows may be relayed without a worker.
    pub fn has_shortcuts(&self) -> bool {
        match self {
            Backend::Packet(packet) => packet.has_shortcuts(),
            Backend::Uring(_) | Backend::Mmsg(_) => false,
        }
    }

    /// How the kernel would relay a flow; `None` when it may or can not.
    pub fn plan(&mut self, passage: &Passage) -> Option<Plan> {
        match self {
            Backend::Packet(packet) => packet.plan(passage),
            Backend::Uring(_) | Backend::Mmsg(_) => None,
        }
    }

    /// A buffer for a packet of our own, or `None` when all are on their way. It comes back as every
    /// buffer does: as a departure's or among the discards.
    pub fn take_buffer(&mut self) -> Option<BufferId> {
        match self {
            Backend::Uring(ring) => ring.take_buffer(),
            Backend::Packet(packet) => packet.take_buffer(),
            Backend::Mmsg(mmsg) => mmsg.take_buffer(),
        }
    }

    /// Whether [`Backend::take_buffer`] has one.
    pub fn has_buffer(&self) -> bool {
        match self {
            Backend::Uring(ring) => ring.has_buffer(),
            Backend::Packet(packet) => packet.has_buffer(),
            Backend::Mmsg(mmsg) => mmsg.has_buffer(),
        }
    }

    /// Whether it can gather; without, each packet may be its own wake-up.
    pub fn gathers(&self) -> bool {
        match self {
            Backend::Uring(ring) => ring.gathers(),
            Backend::Packet(packet) => packet.gathers(),
            Backend::Mmsg(_) => true,
        }
    }

    /// Takes a port, without receiving from it yet.
    ///
    /// # Errors
    /// "In use" when another has it, "not available" when it is not ours to take, else that no
    /// descriptor or memory is left.
    pub fn bind(&self, address: SocketAddr, dscp: Dscp) -> io::Result<Bound> {
        match self {
            Backend::Uring(_) | Backend::Mmsg(_) => socket::open(address, dscp).map(Bound::Socket),
            Backend::Packet(packet) => packet.check(address).map(|()| Bound::Port(address, dscp)),
        }
    }

    /// Starts receiving at a port that this backend has bound.
    ///
    /// # Errors
    /// When the kernel has no room for it; the port is then free again.
    pub fn open(&mut self, id: SocketId, bound: Bound) -> io::Result<()> {
        match (self, bound) {
            (Backend::Uring(ring), Bound::Socket(socket)) => ring.open(id, socket),
            (Backend::Mmsg(mmsg), Bound::Socket(socket)) => mmsg.open(id, socket),
            (Backend::Packet(packet), Bound::Port(address, dscp)) => packet.open(id, address, dscp),
            (_, Bound::Socket(_) | Bound::Port(..)) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Stops receiving and closes the socket. Packets that wait in it are gone. An id of another life
    /// of the flow closes nothing.
    ///
    /// # Errors
    /// Those that mean a broken backend, here and below.
    pub fn close(&mut self, id: SocketId) -> io::Result<()> {
        match self {
            Backend::Uring(ring) => ring.close(id),
            Backend::Packet(packet) => {
                packet.close(id);
                Ok(())
            }
            Backend::Mmsg(mmsg) => {
                mmsg.close(id);
                Ok(())
            }
        }
    }

    /// Waits, and fills `batch` with what came.
    ///
    /// # Errors
    /// As [`Backend::close`]. Interruption and time-out are none.
    pub fn receive(&mut self, batch: &mut Batch, wait: Wait) -> io::Result<Received> {
        match self {
            Backend::Uring(ring) => ring.receive(batch, wait),
            Backend::Packet(packet) => packet.receive(batch, wait),
            Backend::Mmsg(mmsg) => mmsg.receive(batch, wait),
        }
    }

    /// Takes the departures to be sent, by the next receive call at the latest, and the discards'
    /// buffers back.
    ///
    /// # Errors
    /// As [`Backend::close`].
    pub fn transmit(&mut self, batch: &mut Batch) -> io::Result<()> {
        match self {
            Backend::Uring(ring) => ring.transmit(batch),
            Backend::Packet(packet) => {
                packet.transmit(batch);
                Ok(())
            }
            Backend::Mmsg(mmsg) => {
                mmsg.transmit(batch);
                Ok(())
            }
        }
    }

    /// Wakes the guest, who cannot make us wait.
    ///
    /// # Errors
    /// As [`Backend::close`].
    pub fn ring_bell(&mut self) -> io::Result<()> {
        match self {
            Backend::Uring(ring) => ring.ring_bell(),
            Backend::Packet(packet) => packet.ring_bell(),
            Backend::Mmsg(mmsg) => {
                mmsg.ring_bell();
                Ok(())
            }
        }
    }

    /// Takes back the rings of the command bell.
    pub fn silence_bell(&self) {
        match self {
            Backend::Uring(ring) => ring.silence_bell(),
            Backend::Packet(packet) => packet.silence_bell(),
            Backend::Mmsg(mmsg) => mmsg.silence_bell(),
        }
    }

    /// Starts again the receives that failed too often. To be called with each housekeeping step.
    ///
    /// # Errors
    /// As [`Backend::close`].
    pub fn retry_faulted(&mut self) -> io::Result<()> {
        match self {
            Backend::Uring(ring) => ring.retry_faulted(),
            Backend::Packet(packet) => {
                packet.retry_faulted();
                Ok(())
            }
            Backend::Mmsg(mmsg) => {
                mmsg.retry_faulted();
                Ok(())
            }
        }
    }
}
