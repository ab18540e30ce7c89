//! The guest's side of the data plane: leases flows, connects them, releases them.
//!
//! ```text
//!            caller                                             callee
//!              │  ▲                                              │  ▲
//!      forward ▼  │ backward sends                backward       ▼  │ forward sends
//!            [ports of forward] ── one worker ── [ports of backward]
//! ```
//! A call holds a [`Pair`] of flows on one worker: `forward` receives from the caller and sends to
//! the callee, `backward` the other way. Each sends from the ports on which the other receives
//! (symmetric RTP, RFC 4961). This module chooses the flow's slot and generation; the data plane
//! owns the ports. Flows found at attach belong to calls of a signalling process that died: they go
//! on, and are released after a grace time.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use abi::handover;
use abi::{
    AttachError, Close, Command, Counter, Dial, Event, Family, FlowId, FlowSnapshot, Guest, Open,
    Play, PromptName, Reason, Say, Update, WorkerState,
};
use zeroize::Zeroize;

use crate::trunk::tones::Recording;

mod shelf;
mod workers;
pub use workers::{HistogramReport, OrderError, Ordered, WorkerReport};

/// Commands that may wait for room in one worker's ring: only releases wait, never keys.
const BACKLOG_MAX: usize = 65_536;

/// How often owners are compared with the flow table: a lost slot is no more than a lost slot.
const AUDIT_PAUSE: Duration = Duration::from_secs(30);
/// The same when an event was lost, and between two looks.
const AUDIT_SOON: Duration = Duration::from_secs(1);

/// Which call a flow belongs to; chosen by the caller of this module, never [`ORPHAN`].
pub type Token = u64;
/// The token of commands that a call does not wait for; serials begin above it.
const ASIDE: u64 = 0;
/// The owner of a flow whose call is not known.
const ORPHAN: Token = 0;

/// The two flows of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    worker: usize,
    /// Receives from the caller.
    pub forward: FlowId,
    /// Receives from the callee.
    pub backward: FlowId,
}

/// What the data plane told.
#[derive(Debug)]
pub enum Notice {
    /// A flow holds its ports.
    Opened { token: Token, flow: FlowId, rtp: SocketAddr, rtcp: SocketAddr },
    /// A flow does from now on what [`Media::connect`] with this serial said.
    Connected { token: Token, flow: FlowId, serial: u64 },
    /// A command was refused; the text is for operators.
    Refused { token: Token, flow: FlowId, reason: Reason },
    /// A flow is gone; these are its final counts.
    Closed { token: Token, flow: FlowId, packets: u64, bytes: u64 },
    /// No media arrived on a flow for its timeout.
    Silent { token: Token, flow: FlowId },
    /// What else there is: digits, prompts, where media comes from, one-way audio.
    Told { token: Token, notice: abi::Notice },
}

/// Why media cannot be had for a call.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MediaError {
    #[error(
        "every flow slot of every worker that takes calls is in use; raise [media] flows, or \
             see trunkline workers"
    )]
    NoSlots,
    #[error("the worker's command ring is full; the data plane is overloaded or stopped")]
    RingFull,
    #[error("too many recordings are heard at this moment; use fewer different greetings")]
    ShelfFull,
}

/// All workers of the data plane.
pub struct Media {
    workers: Vec<Worker>,
    owners: HashMap<(usize, FlowId), Owner>,
    orphans: Vec<(usize, FlowId)>,
    orphans_due: Option<Instant>,
    last_serial: u64,
    audit: Audit,
    /// Ends of flows that the data plane could not tell.
    missed: VecDeque<Notice>,
    orders: workers::Orders,
}

/// Whom a flow belongs to.
#[derive(Clone, Copy)]
struct Owner {
    token: Token,
    /// It is being closed.
    is_released: bool,
}

impl Owner {
    fn new(token: Token) -> Self {
        Self { token, is_released: false }
    }
}

/// An event that finds its ring full is lost, and with it the end of a flow. So owners are compared
/// with the flow table from time to time, and soon after a loss. What is gone at two looks in a row
/// (all events were taken in between) has ended unseen.
#[derive(Default)]
struct Audit {
    due: Option<Instant>,
    lost: u64,
    gone: HashSet<(usize, FlowId)>,
}

struct Worker {
    guest: Guest,
    bell: OwnedFd,
    /// Next generation of each slot.
    generations: Vec<u32>,
    /// The lowest is taken first: the data plane looks at all slots up to the highest in use.
    free: BTreeSet<u32>,
    backlog: VecDeque<Command>,
    /// It was told to drain and has not answered.
    leaves: bool,
    /// It was told to serve and has not answered.
    called: bool,
    /// Recordings that it can say.
    shelf: shelf::Shelf,
}

/// What ports are leased for: one side of a call.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Side {
    /// The side's address family, and so that of our ports.
    pub family: Family,
    pub place: Place,
}

/// Where a trunk's media is, and how it is marked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Place {
    /// Number of the network: 0 for that of `[media]`, then those of `[[network]]`.
    pub network: u32,
    /// Code point of what we send to it; `None`: as `[media] dscp` says.
    pub dscp: Option<u8>,
}

/// What the media watcher waits on: one event doorbell a worker, and the link's end.
pub struct Bells {
    pub workers: Vec<OwnedFd>,
    /// The same link, once a worker; attached as long as one of them is open.
    pub links: Vec<OwnedFd>,
}

impl Media {
    /// Attaches to the data plane behind the handover socket; flows that it already carries are
    /// kept for `grace` and then released. Each of `shards` gets workers of its own, in turn, and is
    /// the only one that writes into their rings: none where there are fewer workers
    /// ([`Media::has_workers`]).
    ///
    /// # Errors
    /// [`AttachError`] names the socket, the cause and the remedy.
    pub fn attach(
        socket: &Path,
        now: Instant,
        grace: Duration,
        shards: usize,
    ) -> Result<Vec<(Self, Bells)>, AttachError> {
        let workers = handover::connect(socket)?;
        let none = || (Self::detached(), Bells { workers: Vec::new(), links: Vec::new() });
        let mut parts: Vec<_> = (0..shards.max(1)).map(|_| none()).collect();
        for (number, worker) in workers.into_iter().enumerate() {
            let duplicate = |cause| AttachError::Kernel("a descriptor", cause);
            let Some((media, bells)) = parts.get_mut(number % shards.max(1)) else { continue };
            bells.links.push(worker.link().try_clone_to_owned().map_err(duplicate)?);
            bells.workers.push(worker.event_bell);
            media.adopt(worker.guest, worker.command_bell);
        }
        for (media, _) in parts.iter_mut().filter(|(media, _)| !media.orphans.is_empty()) {
            let flows = media.orphans.len();
            tracing::warn!(flows, "found flows without a call; media goes on");
            media.orphans_due = now.checked_add(grace);
        }
        Ok(parts)
    }

    /// Whether there is anybody who could carry a call: who stands by is not asked.
    pub fn has_workers(&self) -> bool {
        let stands_by = |worker: &Worker| worker.guest.state() == Some(WorkerState::Standby);
        self.workers.iter().any(|worker| !stands_by(worker))
    }

    fn adopt(&mut self, guest: Guest, bell: OwnedFd) {
        let index = self.workers.len();
        let mut worker = Worker {
            bell,
            generations: Vec::new(),
            free: BTreeSet::new(),
            backlog: VecDeque::new(),
            guest,
            leaves: false,
            called: false,
            shelf: shelf::Shelf::default(),
        };
        for slot in 0..worker.guest.flows.capacity() {
            let found = worker.guest.flows.snapshot(slot);
            let last = worker.guest.flows.generation(slot);
            worker.generations.push(last.wrapping_add(1).max(1));
            match found {
                Some(flow) => {
                    self.owners.insert((index, flow.id), Owner::new(ORPHAN));
                    self.orphans.push((index, flow.id));
                }
                None => {
                    worker.free.insert(slot);
                }
            }
        }
        self.workers.push(worker);
    }

    /// Asks for the ports of a call's two flows, each for the side that it receives from (caller,
    /// callee); [`Notice::Opened`] tells each.
    ///
    /// # Errors
    /// [`MediaError`] when no worker has room; nothing is leased then.
    pub fn lease(
        &mut self,
        token: Token,
        call: [u8; 16],
        sides: [Side; 2],
    ) -> Result<Pair, MediaError> {
        let (index, worker) = self
            .workers
            .iter_mut()
            .enumerate()
            .filter(|(_, w)| w.takes_flows())
            .max_by_key(|(_, w)| w.free.len())
            .ok_or(MediaError::NoSlots)?;
        if worker.free.len() < 2 {
            return Err(MediaError::NoSlots);
        }
        let forward = worker.take_slot().ok_or(MediaError::NoSlots)?;
        let backward = worker.take_slot().ok_or(MediaError::NoSlots)?;
        let pair = Pair { worker: index, forward, backward };
        // Both before the first command: what is released must have an owner to become free again.
        self.owners.extend([forward, backward].map(|flow| ((index, flow), Owner::new(token))));
        for (flow, side) in [forward, backward].into_iter().zip(sides) {
            let Side { family, place: Place { network, dscp } } = side;
            let open = Open { token, flow, call, network, family, rtcp_mux_in: false, dscp };
            if let Err(full) = worker.push(&Command::open(&open)) {
                self.release(&pair);
                return Err(full);
            }
        }
        Ok(pair)
    }

    /// Tells both flows of a call what to do from now on: from the caller, from the callee. Names
    /// and peers of the flows are filled in here. Returns the serial that both flows'
    /// [`Notice::Connected`] will carry.
    ///
    /// # Errors
    /// [`MediaError::RingFull`]; what was connected before stays.
    pub fn connect(&mut self, pair: &Pair, ways: [Update; 2]) -> Result<u64, MediaError> {
        self.last_serial += 1;
        let serial = self.last_serial;
        let worker = self.workers.get_mut(pair.worker).ok_or(MediaError::NoSlots)?;
        let names = [(pair.forward, pair.backward), (pair.backward, pair.forward)];
        for ((flow, peer), way) in names.into_iter().zip(ways) {
            let update = Update { token: serial, flow, peer: Some(peer), ..way };
            let mut command = Command::update(&update);
            let pushed = worker.push(&command);
            command.zeroize();
            pushed?;
        }
        Ok(serial)
    }

    /// Says a digit to the callee (`forward`) or to the caller, after those said before. That it was
    /// refused is told as [`Notice::Told`]: a digit is no reason to end a call.
    ///
    /// # Errors
    /// [`MediaError::RingFull`]; the digit is lost then.
    pub fn dial(
        &mut self,
        pair: &Pair,
        forward: bool,
        digit: u8,
        duration_ms: u16,
    ) -> Result<(), MediaError> {
        let flow = if forward { pair.forward } else { pair.backward };
        let worker = self.workers.get_mut(pair.worker).ok_or(MediaError::NoSlots)?;
        worker.push(&Command::dial(&Dial { token: ASIDE, flow, digit, duration_ms }))
    }

    /// Says a prompt to the callee (`forward`) or to the caller; [`Notice::Told`] tells its end, or
    /// that it cannot be said.
    ///
    /// # Errors
    /// [`MediaError::RingFull`]; nothing is said then.
    pub fn play(
        &mut self,
        pair: &Pair,
        forward: bool,
        prompt: PromptName,
    ) -> Result<(), MediaError> {
        let flow = if forward { pair.forward } else { pair.backward };
        let worker = self.workers.get_mut(pair.worker).ok_or(MediaError::NoSlots)?;
        worker.push(&Command::play(&Play { token: ASIDE, flow, prompt, looped: false }))
    }

    /// Says a recording to the caller, as a prompt.
    ///
    /// # Errors
    /// [`MediaError::ShelfFull`], [`MediaError::RingFull`]; nothing is said then.
    pub fn say(
        &mut self,
        pair: &Pair,
        recording: &Recording,
        now: Instant,
    ) -> Result<(), MediaError> {
        let worker = self.workers.get_mut(pair.worker).ok_or(MediaError::NoSlots)?;
        let at = worker.shelf.place(&mut worker.guest.shelf, recording, now);
        let at = at.ok_or(MediaError::ShelfFull)?;
        let say = Say { token: ASIDE, flow: pair.backward, at, octets: recording.each() };
        worker.push(&Command::say(&say))
    }

    /// Gives a call's flows back; [`Notice::Closed`] brings their final counts.
    pub fn release(&mut self, pair: &Pair) {
        for flow in [pair.forward, pair.backward] {
            self.release_flow(pair.worker, flow);
        }
    }

    fn release_flow(&mut self, index: usize, flow: FlowId) {
        let owner = self.owners.get_mut(&(index, flow)).map(|owner| {
            owner.is_released = true;
            owner.token
        });
        let token = owner.unwrap_or(ORPHAN);
        let Some(worker) = self.workers.get_mut(index) else { return };
        let close = Command::close(&Close { token, flow });
        if worker.push(&close).is_err() && worker.backlog.len() < BACKLOG_MAX {
            worker.backlog.push_back(close);
        }
    }

    /// Retries releases that found a full ring, releases orphans when their grace is over, and looks
    /// for flows whose end was not told. To be called when [`Media::poll`] has nothing more.
    pub fn tend(&mut self, now: Instant) {
        for worker in &mut self.workers {
            while let Some(command) = worker.backlog.pop_front() {
                if worker.push(&command).is_err() {
                    worker.backlog.push_front(command);
                    break;
                }
            }
        }
        if self.orphans_due.is_some_and(|due| due <= now) {
            self.orphans_due = None;
            let orphans = std::mem::take(&mut self.orphans);
            tracing::warn!(flows = orphans.len(), "releasing flows that no call claimed");
            for (worker, flow) in orphans {
                self.release_flow(worker, flow);
            }
        }
        self.audit(now);
    }

    fn audit(&mut self, now: Instant) {
        let counts = self.workers.iter().map(|w| w.guest.counters.get(Counter::EventsLost));
        let lost: u64 = counts.fold(0, u64::wrapping_add);
        let soon = now.checked_add(AUDIT_SOON);
        if lost != self.audit.lost {
            self.audit.lost = lost;
            self.audit.due = self.audit.due.min(soon).or(soon);
        }
        if self.owners.is_empty() {
            self.audit.due = None;
            return;
        }
        let due = *self.audit.due.get_or_insert(now.checked_add(AUDIT_PAUSE).unwrap_or(now));
        if due > now {
            return;
        }
        let gone = self.owners.iter().filter(|(key, owner)| self.is_gone(key, owner));
        let (ended, fresh): (HashSet<_>, HashSet<_>) =
            gone.map(|(key, _)| *key).partition(|key| self.audit.gone.contains(key));
        // In one order, so that what happened can be played again.
        let mut ended: Vec<_> = ended.into_iter().collect();
        ended.sort_by_key(|(index, flow): &(usize, FlowId)| (*index, flow.index));
        for (index, flow) in &ended {
            tracing::warn!(%flow, "a flow ended and the event of it was lost");
            let closed = self.closed(*index, *flow, 0, 0);
            self.missed.extend(closed);
        }
        self.audit.gone = fresh;
        self.audit.due =
            if self.audit.gone.is_empty() { now.checked_add(AUDIT_PAUSE) } else { soon };
    }

    /// A flow that was opened and is no more. One whose OPEN still waits is not in the table yet;
    /// if its CLOSE waits behind that, the slot may be used again: commands keep their order.
    fn is_gone(&self, (index, flow): &(usize, FlowId), owner: &Owner) -> bool {
        self.workers.get(*index).is_some_and(|worker| {
            let flows = &worker.guest.flows;
            let was_open = flows.generation(flow.index) == flow.generation;
            let closing = owner.is_released && worker.backlog.is_empty();
            flows.snapshot(flow.index).is_none() && (was_open || closing)
        })
    }

    /// When [`Media::tend`] has work, if ever.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        if !self.missed.is_empty() {
            return Some(now);
        }
        if self.workers.iter().any(|w| !w.backlog.is_empty()) {
            return now.checked_add(Duration::from_millis(10));
        }
        self.orphans_due.into_iter().chain(self.audit.due).min()
    }

    /// The next notice of any worker.
    pub fn poll(&mut self) -> Option<Notice> {
        if let Some(missed) = self.missed.pop_front() {
            return Some(missed);
        }
        for index in 0..self.workers.len() {
            while let Some(event) = self.workers.get_mut(index)?.guest.events.pop() {
                if let Some(notice) = self.notice(index, &event) {
                    return Some(notice);
                }
            }
        }
        None
    }

    fn notice(&mut self, index: usize, event: &Event) -> Option<Notice> {
        let owner = |flow| self.owners.get(&(index, flow)).map(|owner| owner.token);
        let notice = event.decode().ok()?;
        match notice {
            abi::Notice::Updated { token, flow: FlowId::NONE } => {
                self.ordered(token, Ok(()));
                None
            }
            abi::Notice::Refused { token, flow: FlowId::NONE, reason } => {
                self.ordered(token, Err(reason));
                None
            }
            abi::Notice::Opened { flow, local_rtp, local_rtcp, .. } => {
                Some(Notice::Opened { token: owner(flow)?, flow, rtp: local_rtp, rtcp: local_rtcp })
            }
            // A flow that the data plane does not know is as good as closed.
            abi::Notice::Refused { flow, reason: Reason::NoSuchFlow, .. } => {
                self.closed(index, flow, 0, 0)
            }
            abi::Notice::Refused { flow, token: ASIDE, .. } => {
                Some(Notice::Told { token: owner(flow)?, notice })
            }
            abi::Notice::Refused { flow, reason, .. } => {
                Some(Notice::Refused { token: owner(flow)?, flow, reason })
            }
            abi::Notice::Closed { flow, packets, bytes, .. } => {
                self.closed(index, flow, packets, bytes)
            }
            abi::Notice::Timeout { flow, .. } => Some(Notice::Silent { token: owner(flow)?, flow }),
            abi::Notice::Played { flow, .. }
            | abi::Notice::Dialled { flow, .. }
            | abi::Notice::Digit { flow, .. }
            | abi::Notice::Learned { flow, .. }
            | abi::Notice::OneWay { flow, .. } => {
                Some(Notice::Told { token: owner(flow)?, notice })
            }
            abi::Notice::Updated { token: serial, flow } => {
                Some(Notice::Connected { token: owner(flow)?, flow, serial })
            }
        }
    }

    fn closed(&mut self, index: usize, flow: FlowId, packets: u64, bytes: u64) -> Option<Notice> {
        let Owner { token, .. } = self.owners.remove(&(index, flow))?;
        self.workers.get_mut(index)?.free.insert(flow.index);
        Some(Notice::Closed { token, flow, packets, bytes })
    }

    /// Packets that a flow of `pair` has accepted; `None` when the flow is gone.
    pub fn packets(&self, pair: &Pair, flow: FlowId) -> Option<u64> {
        self.snapshot(pair, flow).map(|found| found.packets_in)
    }

    /// A flow of `pair` as the data plane shows it; `None` when it is gone.
    pub fn snapshot(&self, pair: &Pair, flow: FlowId) -> Option<FlowSnapshot> {
        let found = self.workers.get(pair.worker)?.guest.flows.snapshot(flow.index)?;
        (found.id == flow).then_some(found)
    }

    /// Number of the worker that carries a call.
    pub fn worker(&self, pair: &Pair) -> Option<u32> {
        self.workers.get(pair.worker).map(|worker| worker.guest.worker())
    }

    /// Flows that can be leased now.
    #[cfg(test)]
    pub fn free_slots(&self) -> usize {
        self.workers.iter().map(|worker| worker.free.len()).sum()
    }

    /// Flows that can be leased when none is.
    #[cfg(test)]
    pub fn slots(&self) -> usize {
        self.workers.iter().map(|worker| worker.generations.len()).sum()
    }

    /// No data plane: nothing can be leased.
    pub fn detached() -> Self {
        Self {
            workers: Vec::new(),
            owners: HashMap::new(),
            orphans: Vec::new(),
            orphans_due: None,
            last_serial: 0,
            audit: Audit::default(),
            missed: VecDeque::new(),
            orders: workers::Orders::new(),
        }
    }
}

impl Worker {
    fn push(&mut self, command: &Command) -> Result<(), MediaError> {
        self.guest.commands.push(command).map_err(|_| MediaError::RingFull)?;
        // The counter of an eventfd overflows after 2^64 rings only; a failed ring is no loss
        // because the worker looks at its command ring on every housekeeping tick too.
        let _rung = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        Ok(())
    }

    fn take_slot(&mut self) -> Option<FlowId> {
        let index = self.free.pop_first()?;
        let next = self.generations.get_mut(usize::try_from(index).ok()?)?;
        let generation = *next;
        *next = next.wrapping_add(1).max(1);
        Some(FlowId { index, generation })
    }
}
