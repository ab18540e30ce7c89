//! One worker's region: made by the [`Host`], mapped by the [`Guest`].
//!
//! The memfd is sealed against growing and shrinking before anybody else sees it, so that neither
//! side can make the other's access fault. Its pages are allocated at creation: running out of
//! memory is an error then, not a signal later. The mapping is left out of core dumps and locked
//! into memory where the limits allow it, for command slots carry keys.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytemuck::Zeroable;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::command::Command;
use crate::counter::{Counter, CounterReader, CounterWriter};
use crate::event::Event;
use crate::flow::{FlowReader, FlowWriter};
use crate::histogram::{HistogramReader, HistogramWriter};
use crate::layout::{CORE, HEARTBEAT, Header, LAYOUT_HASH, MAGIC, STATE, Sections, VERSION};
use crate::memory::{Words, sync::Ordering};
use crate::ring::{Consumer, Producer};
use crate::shelf::{ShelfReader, ShelfWriter};

/// How much a region holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Flows of the worker, 1 to [`Shape::FLOWS_MAX`]. 256 bytes each.
    pub flows: u32,
    /// Slots of the command ring, a power of two up to [`Shape::SLOTS_MAX`]. 256 bytes each.
    pub commands: u32,
    /// Slots of the event ring, a power of two up to [`Shape::SLOTS_MAX`]. 128 bytes each.
    pub events: u32,
}

impl Shape {
    /// More flows than one worker has ports: 65,536 ports on each of four networks.
    pub const FLOWS_MAX: u32 = 262_144;
    /// Slots of a ring: one command for each flow of a full port range at once.
    pub const SLOTS_MAX: u32 = 65_536;

    fn check(self) -> Result<Self, ShapeError> {
        if self.flows == 0 || self.flows > Self::FLOWS_MAX {
            return Err(ShapeError::Flows(self.flows));
        }
        for (name, slots) in [("command", self.commands), ("event", self.events)] {
            if !slots.is_power_of_two() || !(2..=Self::SLOTS_MAX).contains(&slots) {
                return Err(ShapeError::Slots(name, slots));
            }
        }
        Ok(self)
    }
}

impl Default for Shape {
    /// Room for 4,096 flows: 1.6 MB, and the shelf.
    fn default() -> Self {
        Self { flows: 4_096, commands: 1_024, events: 2_048 }
    }
}

/// A shape outside its limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShapeError {
    #[error("a region of {0} flows: it must have 1 to {max}", max = Shape::FLOWS_MAX)]
    Flows(u32),
    #[error("a {0} ring of {1} slots: it must be a power of two from 2 to {max}", max = Shape::SLOTS_MAX)]
    Slots(&'static str, u32),
}

/// What the worker behind a region is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkerState {
    Starting,
    Running,
    /// Takes no new flows; those that are open go on.
    Draining,
    Stopped,
    /// Has no flows and takes none until it is told to serve.
    Standby,
}

impl WorkerState {
    const fn code(self) -> u64 {
        match self {
            Self::Starting => 1,
            Self::Running => 2,
            Self::Draining => 3,
            Self::Stopped => 4,
            Self::Standby => 5,
        }
    }

    const fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::Starting),
            2 => Some(Self::Running),
            3 => Some(Self::Draining),
            4 => Some(Self::Stopped),
            5 => Some(Self::Standby),
            _ => None,
        }
    }
}

/// The dataplane's side. `Send`, not `Sync`: it moves into its worker's thread and stays there.
pub struct Host {
    pub commands: Consumer<Command>,
    pub events: Producer<Event>,
    pub flows: FlowWriter,
    pub counters: CounterWriter,
    pub histograms: HistogramWriter,
    pub shelf: ShelfReader,
    header: Words,
    /// The truth of which the header page is the shared copy.
    private: Header,
    fd: OwnedFd,
    /// Repairs of cursors that the guest overwrote.
    repairs: u64,
    /// Heartbeats, outside the region: for the host's own process, which believes no guest.
    beats: Arc<AtomicU64>,
}

impl Host {
    /// Makes the region of `worker`, in state `Starting`.
    ///
    /// # Errors
    /// [`RegionError`]: a shape outside its limits, or what the kernel refused.
    pub fn create(worker: u32, shape: Shape) -> Result<Self, RegionError> {
        let shape = shape.check()?;
        let sections = Sections::new(shape.flows, shape.commands, shape.events);
        let failed = |step, errno: Errno| RegionError::Kernel {
            worker,
            bytes: sections.bytes,
            step,
            source: errno.into(),
        };
        let fd =
            sealed_memfd(worker, sections.bytes).map_err(|(step, errno)| failed(step, errno))?;
        let words = Words::map(fd.as_fd(), sections.bytes).map_err(|e| failed("mmap", e))?;
        let host_pid = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
        let private = Header {
            magic: MAGIC,
            version: VERSION,
            worker,
            layout_hash: LAYOUT_HASH,
            size: sections.bytes as u64,
            flows: shape.flows,
            commands: shape.commands,
            events: shape.events,
            host_pid,
            state: WorkerState::Starting.code(),
            ..Header::zeroed()
        };
        let parts = Parts::of(&words, &sections).ok_or_else(|| failed("mmap", Errno::INVAL))?;
        let mut host = Self {
            commands: Consumer::new(parts.commands).ok_or_else(|| failed("ring", Errno::INVAL))?,
            events: Producer::new(parts.events).ok_or_else(|| failed("ring", Errno::INVAL))?,
            flows: FlowWriter::new(parts.flows),
            counters: CounterWriter::new(parts.counters),
            histograms: HistogramWriter::new(parts.histograms),
            shelf: ShelfReader::new(parts.shelf),
            header: parts.header,
            private,
            fd,
            repairs: 0,
            beats: Arc::default(),
        };
        host.write_header();
        Ok(host)
    }

    /// The memfd, to be handed to the guest.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Number of this worker.
    #[must_use]
    pub fn worker(&self) -> u32 {
        self.private.worker
    }

    /// How often the worker's heart has beaten: to be looked at from other threads, without the
    /// region, which the guest may write to.
    #[must_use]
    pub fn beats(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.beats)
    }

    /// Whether the kernel locked the region into memory. If not, keys in command slots could reach
    /// swap: raise the memlock limit.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.header.locked()
    }

    /// Tells the guest what the worker is doing.
    pub fn set_state(&mut self, state: WorkerState) {
        self.private.state = state.code();
        if let Some(word) = self.header.get(STATE) {
            word.store(self.private.state, Ordering::Release);
        }
    }

    /// Tells the guest which core the worker is pinned to; `None`: the scheduler places it.
    pub fn set_core(&mut self, core: Option<u32>) {
        self.private.core = core.map_or(0, |core| u64::from(core) + 1);
        if let Some(word) = self.header.get(CORE) {
            word.store(self.private.core, Ordering::Release);
        }
    }

    /// To be called some times per second, with CLOCK_MONOTONIC nanoseconds: shows the guest that
    /// the worker lives, repairs what a misbehaving guest overwrote of the header and of the own
    /// cursors, and exports the fault counters.
    pub fn heartbeat(&mut self, now_ns: u64) {
        if !self.header_is_intact() {
            self.counters.add(Counter::HeaderFaults, 1);
            self.write_header();
        }
        self.private.heartbeat_ns = now_ns;
        self.beats.fetch_add(1, Ordering::Relaxed);
        if let Some(word) = self.header.get(HEARTBEAT) {
            word.store(now_ns, Ordering::Release);
        }
        self.repairs += u64::from(self.commands.repair()) + u64::from(self.events.repair());
        let faults = self.commands.faults() + self.events.faults() + self.repairs;
        self.counters.set(Counter::CursorFaults, faults);
    }

    /// Writes header, counters, histograms, flow table and cursors again from the private copies, so that the
    /// next guest finds the truth whatever the last one did. To be called when a guest has gone.
    pub fn restore(&mut self) {
        self.write_header();
        self.counters.restore();
        self.histograms.restore();
        self.flows.restore();
        self.commands.repair();
        self.events.repair();
    }

    fn write_header(&mut self) {
        let words: &[u64] = bytemuck::cast_slice(std::slice::from_ref(&self.private));
        for (shared, word) in self.header.iter().zip(words) {
            shared.store(*word, Ordering::Release);
        }
    }

    fn header_is_intact(&self) -> bool {
        let words: &[u64] = bytemuck::cast_slice(std::slice::from_ref(&self.private));
        self.header.iter().zip(words).all(|(shared, word)| shared.load(Ordering::Relaxed) == *word)
    }
}

/// Signaling's side.
pub struct Guest {
    pub commands: Producer<Command>,
    pub events: Consumer<Event>,
    pub flows: FlowReader,
    pub counters: CounterReader,
    pub histograms: HistogramReader,
    pub shelf: ShelfWriter,
    header: Words,
    worker: u32,
    host_pid: u32,
}

impl Guest {
    /// Maps a region. Events that were meant for an earlier guest are dropped; commands that it had
    /// finished remain and are carried out.
    ///
    /// There must be no other guest of this region: `handover` sees to that.
    ///
    /// # Errors
    /// [`AttachError`] when it is not a sealed region of this very build.
    pub fn attach(fd: OwnedFd) -> Result<Self, AttachError> {
        let seals = rustix::fs::fcntl_get_seals(&fd).unwrap_or(SealFlags::empty());
        if !seals.contains(SEALS) {
            return Err(AttachError::Unsealed);
        }
        let size = rustix::fs::fstat(&fd).map_err(|e| AttachError::Kernel("fstat", e.into()))?;
        let size = usize::try_from(size.st_size).unwrap_or(0);
        if size < size_of::<Header>() {
            return Err(AttachError::Size { found: size as u64, expected: size_of::<Header>() });
        }
        let words = Words::map(fd.as_fd(), size)
            .map_err(|errno| AttachError::Kernel("mmap", errno.into()))?;
        let header = read_header(&words);
        let sections = check_header(&header, size)?;
        let wrong_size = AttachError::Size { found: size as u64, expected: sections.bytes };
        let Some(parts) = Parts::of(&words, &sections) else {
            return Err(wrong_size);
        };
        let (Some(commands), Some(events)) =
            (Producer::attach(parts.commands), Consumer::attach(parts.events))
        else {
            return Err(wrong_size);
        };
        Ok(Self {
            commands,
            events,
            flows: FlowReader::new(parts.flows),
            counters: CounterReader::new(parts.counters),
            histograms: HistogramReader::new(parts.histograms),
            shelf: ShelfWriter::new(parts.shelf),
            header: parts.header,
            worker: header.worker,
            host_pid: header.host_pid,
        })
    }

    /// What the worker says it is doing; `None` for nonsense.
    #[must_use]
    pub fn state(&self) -> Option<WorkerState> {
        WorkerState::from_code(self.header.get(STATE)?.load(Ordering::Acquire))
    }

    /// The core that the worker is pinned to; `None` when the scheduler places it.
    #[must_use]
    pub fn core(&self) -> Option<u32> {
        let word = self.header.get(CORE)?.load(Ordering::Acquire);
        u32::try_from(word.checked_sub(1)?).ok()
    }

    /// CLOCK_MONOTONIC nanoseconds of the worker's last heartbeat; 0 for none yet.
    #[must_use]
    pub fn heartbeat_ns(&self) -> u64 {
        self.header.get(HEARTBEAT).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Number of the worker.
    #[must_use]
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Process id of the dataplane.
    #[must_use]
    pub fn host_pid(&self) -> u32 {
        self.host_pid
    }
}

/// Why a region could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    #[error(transparent)]
    Shape(#[from] ShapeError),
    #[error(
        "cannot make the shared memory of worker {worker} ({bytes} bytes): {step}: {source}; \
         free memory, raise the process's memory limit or lower the number of flows per worker"
    )]
    Kernel { worker: u32, bytes: usize, step: &'static str, source: std::io::Error },
}

/// Why a region could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("this is not Trunkline's shared memory: magic {found:#018x}, expected {MAGIC:#018x}")]
    Magic { found: u64 },
    #[error(
        "the dataplane speaks version {found} of the shared memory, signaling speaks {VERSION}; \
         {SAME_BUILD}"
    )]
    Version { found: u32 },
    #[error(
        "the dataplane's shared memory has layout {found:#018x}, signaling's has \
         {LAYOUT_HASH:#018x}; {SAME_BUILD}"
    )]
    Layout { found: u64 },
    #[error("the shared memory has {found} bytes, expected {expected}; {SAME_BUILD}")]
    Size { found: u64, expected: usize },
    #[error("the shared memory's header makes no sense: {0}; restart the dataplane")]
    Shape(#[from] ShapeError),
    #[error(
        "the shared memory is not sealed against resizing, so it was not made by a dataplane; \
         check which process owns the dataplane's socket"
    )]
    Unsealed,
    #[error("cannot use the shared memory: {0}: {1}; raise the process's memory limit")]
    Kernel(&'static str, #[source] std::io::Error),
    #[error(transparent)]
    Handover(#[from] crate::handover::ConnectError),
}

const SAME_BUILD: &str =
    "both processes must be the same build; restart the one that was not upgraded";

const SEALS: SealFlags = SealFlags::GROW.union(SealFlags::SHRINK).union(SealFlags::SEAL);

struct Parts {
    header: Words,
    commands: Words,
    events: Words,
    counters: Words,
    histograms: Words,
    flows: Words,
    shelf: Words,
}

impl Parts {
    fn of(words: &Words, sections: &Sections) -> Option<Self> {
        Some(Self {
            header: words.part(sections.header.clone())?,
            commands: words.part(sections.commands.clone())?,
            events: words.part(sections.events.clone())?,
            counters: words.part(sections.counters.clone())?,
            histograms: words.part(sections.histograms.clone())?,
            flows: words.part(sections.flows.clone())?,
            shelf: words.part(sections.shelf.clone())?,
        })
    }
}

fn sealed_memfd(worker: u32, bytes: usize) -> Result<OwnedFd, (&'static str, Errno)> {
    let name = format!("trunkline-worker-{worker}");
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = match rustix::fs::memfd_create(&name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know NOEXEC_SEAL.
        Err(Errno::INVAL) => rustix::fs::memfd_create(&name, flags),
        made => made,
    }
    .map_err(|errno| ("memfd_create", errno))?;
    rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, bytes as u64)
        .map_err(|errno| ("fallocate", errno))?;
    rustix::fs::fcntl_add_seals(&fd, SEALS).map_err(|errno| ("fcntl_add_seals", errno))?;
    Ok(fd)
}

fn read_header(words: &Words) -> Header {
    let mut header = Header::zeroed();
    let copy: &mut [u64] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut header));
    for (word, shared) in copy.iter_mut().zip(words.iter()) {
        *word = shared.load(Ordering::Acquire);
    }
    header
}

fn check_header(header: &Header, size: usize) -> Result<Sections, AttachError> {
    if header.magic != MAGIC {
        return Err(AttachError::Magic { found: header.magic });
    }
    if header.version != VERSION {
        return Err(AttachError::Version { found: header.version });
    }
    if header.layout_hash != LAYOUT_HASH {
        return Err(AttachError::Layout { found: header.layout_hash });
    }
    let shape = Shape { flows: header.flows, commands: header.commands, events: header.events };
    let shape = shape.check()?;
    let sections = Sections::new(shape.flows, shape.commands, shape.events);
    for found in [header.size, size as u64] {
        if found != sections.bytes as u64 {
            return Err(AttachError::Size { found, expected: sections.bytes });
        }
    }
    Ok(sections)
}

#[cfg(test)]
mod tests;
