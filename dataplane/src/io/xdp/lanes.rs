//! The AF_XDP sockets of one worker: what its backend receives frames by, and sends them.
//!
//! Every buffer is in one place at any time: free or spare with the backend, in the batch, or with one
//! of the lanes ([`Lanes::held`]); what the kernel has is counted, never forgotten.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use tracing::{info, warn};

use super::plane::{Plane, XdpError};
use super::program::{self, STAMP, STAMP_MARK};
use super::xsk::{Frame, Queue, Xsk};
use crate::io::{Arrival, Batch, BufferId, Buffers, Endpoint, SocketId, frame};
use crate::limits::{BATCH_MAX, BUFFER_SIZE, LANES_MAX};

/// What the start prepared for one worker.
pub struct Lane {
    pub worker: u32,
    pub plane: Arc<Plane>,
}

/// The sockets; none for a worker without XDP. To be dropped before the buffers.
#[derive(Default)]
pub struct Lanes {
    xsks: Vec<Xsk>,
    /// The programs stay attached while anybody has them.
    plane: Option<Arc<Plane>>,
}

/// How a frame was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// Its buffer comes back when it has left.
    Queued,
    /// No room, even after what has left was taken away.
    Full,
    /// No lane leads to the interface, or it is down.
    NoLane,
}

impl Lanes {
    /// Opens the sockets over `buffers`, and offers `free` ones for what comes.
    ///
    /// # Errors
    /// What the kernel refused, with the queue.
    pub fn open(lane: Lane, buffers: &Buffers, free: &mut Vec<BufferId>) -> io::Result<Lanes> {
        let Lane { worker, plane } = lane;
        let queues = plane.queues_of(worker);
        if queues.len() > LANES_MAX {
            let what = format!(
                "{} queues for each worker are more than {LANES_MAX}: set more media.workers, or \
                 fewer queues (ethtool -L IF combined N)",
                queues.len()
            );
            let cause = io::Error::other(what);
            let name = "media.workers".to_owned();
            return Err(io::Error::other(XdpError::Refused { name, what: "queues", cause }));
        }
        if queues.is_empty() {
            warn!(
                worker,
                "no queue is left for this worker: its packets come by sockets, for more CPU time; \
                 lower media.workers, or raise the queues (ethtool -L IF combined N)"
            );
        }
        let mut xsks = Xsk::open_all(&queues, buffers).map_err(|(queue, cause)| {
            let Queue { ifindex, index } = queue;
            let name = plane.name_of(ifindex);
            let name = format!("queue {index} of {name}");
            io::Error::other(XdpError::Refused { name, what: "its AF_XDP socket", cause })
        })?;
        for xsk in &mut xsks {
            xsk.fill(free);
            plane.enter(worker, xsk)?;
            let (name, queue) = (plane.name_of(xsk.queue.ifindex), xsk.queue.index);
            info!(worker, queue, "takes frames of {name}, {}", xsk.mode.name());
        }
        Ok(Lanes { xsks, plane: Some(plane) })
    }

    pub fn is_empty(&self) -> bool {
        self.xsks.is_empty()
    }

    /// What all workers share, with XDP.
    pub fn plane(&self) -> Option<&Plane> {
        self.plane.as_deref()
    }

    /// What to watch for frames.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.xsks.iter().map(Xsk::as_fd)
    }

    /// Whether frames wait.
    pub fn have_frames(&mut self) -> bool {
        self.xsks.iter_mut().any(Xsk::has_frame)
    }

    /// Turns frames into arrivals, until there are none or the batch is full; returns how many were
    /// damaged or for a port that is closed. `place` says whose a local address and port is.
    pub fn take_frames(
        &mut self,
        batch: &mut Batch,
        buffers: &mut Buffers,
        now_ns: u64,
        place: impl Fn(Endpoint) -> Option<SocketId>,
    ) -> u64 {
        let mut faults = 0;
        for xsk in &mut self.xsks {
            while batch.arrivals.len() < BATCH_MAX && batch.discards.len() < BATCH_MAX {
                let Some(frame) = xsk.next_frame() else { break };
                match arrive(frame, buffers, now_ns, &place) {
                    Some(arrival) => batch.arrivals.push(arrival),
                    None => {
                        faults += 1;
                        batch.discards.push(frame.buffer);
                    }
                }
            }
            xsk.release();
        }
        faults
    }

    /// Queues a frame: the octets `start..end` of a buffer.
    pub fn send(
        &mut self,
        ifindex: u32,
        buffer: BufferId,
        (start, end): (usize, usize),
        give_back: impl FnMut(BufferId),
    ) -> Taken {
        let Some(xsk) = self.xsks.iter_mut().find(|xsk| xsk.queue.ifindex == ifindex) else {
            return Taken::NoLane;
        };
        let frame = Frame { buffer, at: start, len: end.saturating_sub(start) };
        if xsk.is_mute() {
            return Taken::NoLane;
        }
        if xsk.send(frame) {
            return Taken::Queued;
        }
        // What has left makes room.
        xsk.kick();
        xsk.reap(give_back);
        if xsk.send(frame) { Taken::Queued } else { Taken::Full }
    }

    /// Has the kernel take what was queued.
    pub fn kick(&mut self) {
        for xsk in &mut self.xsks {
            xsk.kick();
        }
    }

    /// Takes back the buffers of frames that have left.
    pub fn reap(&mut self, mut give_back: impl FnMut(BufferId)) {
        for xsk in &mut self.xsks {
            xsk.reap(&mut give_back);
        }
    }

    /// Offers free buffers for what comes.
    pub fn fill(&mut self, free: &mut Vec<BufferId>) {
        for xsk in &mut self.xsks {
            xsk.fill(free);
        }
    }

    /// Tries interfaces again that were down. To be called with each housekeeping step.
    pub fn retry(&mut self) {
        for xsk in &mut self.xsks {
            xsk.retry();
        }
    }

    /// Buffers that the kernel has.
    pub fn held(&self) -> usize {
        self.xsks.iter().map(|xsk| xsk.held() as usize).sum()
    }
}

/// A frame as an arrival; `None` when it is damaged or its port is closed.
fn arrive(
    frame: Frame,
    buffers: &mut Buffers,
    now_ns: u64,
    place: impl Fn(Endpoint) -> Option<SocketId>,
) -> Option<Arrival> {
    let Frame { buffer, at, len } = frame;
    let whole = buffers.whole(buffer)?;
    let octets = whole.get(at..at + len)?;
    let parsed = frame::parse(octets)?;
    if !frame::is_intact(octets, &parsed) {
        return None;
    }
    let socket = place(parsed.to)?;
    let age_ns = if program::is_stamped(parsed.to.port) {
        stamp(whole, at).and_then(|stamp_ns| now_ns.checked_sub(stamp_ns))
    } else {
        None
    };
    let start = at + parsed.payload.start;
    buffers.begin_at(buffer, start as u16);
    let (source, len) = (parsed.from, parsed.payload.len());
    Some(Arrival { socket, source, buffer, len, truncated: false, age_ns })
}

/// Takes the stamp in front of the frame at `at`.
fn stamp(whole: &mut [u8; BUFFER_SIZE], at: usize) -> Option<u64> {
    let place = whole.get_mut(at.checked_sub(STAMP)?..at)?;
    let (time_ns, mark) = place.split_first_chunk_mut::<8>()?;
    let marked = mark == STAMP_MARK.to_ne_bytes();
    // Not to be found again in front of a later frame.
    mark.fill(0);
    marked.then_some(u64::from_ne_bytes(*time_ns))
}
