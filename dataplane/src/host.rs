//! The process around the workers: starts them, hands their regions to signaling, stops them.
//!
//! The main thread has no part in media. Signaling may come, die and come back; between two guests
//! every worker makes its region true again, and media flows on throughout.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use abi::handover::{HandoverError, Link, Listener, Offer};
use abi::{Host, Shape};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing::{info, warn};

use crate::commons::Commons;
use crate::config::Config;
use crate::duty::pin;
use crate::environment::{self, Finding, Prepared, backend_failed, backend_name, backend_refused};
use crate::error::StartError;
use crate::harden::Hardening;
use crate::io::{Backend, Foundation, Part};
use crate::limits::{COMMAND_SLOTS, EVENT_SLOTS};
use crate::ports::Ports;
use crate::pulse::Pulse;
use crate::stop::Stop;
use crate::topology::{Placement, WorkerId};
use crate::worker::{Parts, Signal, Worker};

/// Runs the data plane until `stop` is triggered, with the rights that the process has.
///
/// # Errors
/// [`StartError`]: why it did not start, or which worker failed.
pub fn run(config: Config, stop: Stop) -> Result<(), StartError> {
    run_as(&config, &stop, None, Pulse::none())
}

/// As [`run`], but gives up all rights that a running data plane does not need. The process can do
/// nothing else afterwards: the socket's file stays too, and the next start replaces it. `pulse`
/// tells whoever watches how the workers fare.
///
/// # Errors
/// As [`run`], and [`StartError::Hardening`].
pub fn run_hardened(
    config: Config,
    stop: Stop,
    hardening: Hardening,
    pulse: Pulse,
) -> Result<(), StartError> {
    run_as(&config, &stop, Some(hardening), pulse)
}

fn run_as(
    config: &Config,
    stop: &Stop,
    hardening: Option<Hardening>,
    mut pulse: Pulse,
) -> Result<(), StartError> {
    let prepared = environment::prepare(config)?;
    for Finding { what, remedy, .. } in &prepared.warnings {
        warn!("{what}; {remedy}");
    }
    info!("{}", prepared.because);
    let listener = Listener::bind(&config.socket, config.allowed_uid)
        .map_err(|error| socket_error(config, &error))?;
    let crew = Crew::start(&prepared)?;
    let hardened = hardening.map(Hardening::finish).transpose();
    let served = hardened.and_then(|report| {
        match report {
            Some(report) if report.missing.is_empty() => info!("{report}"),
            Some(report) => warn!("{report}"),
            None => {}
        }
        info!(
            socket = %config.socket.display(),
            workers = prepared.topology.serving().count(),
            standby = prepared.topology.placements.iter().filter(|one| one.standby).count(),
            ports = ?config.ports,
            backend = backend_name(prepared.backend),
            "media workers run"
        );
        pulse.ready();
        crew.serve(&listener, stop, &mut pulse)
    });
    let stopped = crew.stop();
    // A worker's own account of its end says more than that it ended.
    stopped.and(served)
}

/// Whether a data plane with this configuration could start now: addresses, ports, cores, limits.
/// Holds nothing afterwards.
///
/// # Errors
/// What [`run`] would say.
pub fn check(config: &Config) -> Result<Vec<Finding>, StartError> {
    let Prepared { notes, warnings, .. } = environment::prepare(config)?;
    Ok(notes.into_iter().chain(warnings).collect())
}

/// All workers, seen from the main thread.
struct Crew {
    members: Vec<Member>,
    /// Rings when a worker's thread ends, for whatever reason.
    ended: OwnedFd,
}

struct Member {
    worker: WorkerId,
    thread: JoinHandle<Result<(), StartError>>,
    signal: Arc<Signal>,
    region: OwnedFd,
    /// How often the worker's heart has beaten.
    beats: Arc<AtomicU64>,
    event_bell: OwnedFd,
    restored: Receiver<()>,
}

impl Crew {
    fn start(prepared: &Prepared) -> Result<Crew, StartError> {
        let ended = abi::doorbell::create().map_err(|error| lacking(WorkerId(0), &error))?;
        let mut crew = Crew { members: Vec::new(), ended };
        let topology = &prepared.topology;
        let places = topology.networks.iter().map(Vec::len).sum();
        let serving = topology.serving().count() as u32;
        let commons = Arc::new(Commons::new(places, topology.pairs(), serving));
        let mut foundation = Foundation::lay(prepared.backend, &prepared.topology)
            .map_err(|error| backend_refused(prepared.backend, error))?;
        for placement in &prepared.topology.placements {
            let started = match foundation.next_part() {
                Some(part) => {
                    let commons = Arc::clone(&commons);
                    Member::start(placement, prepared, part, commons, &crew.ended)
                }
                None => Err(lacking(placement.worker, &Errno::CANCELED.into())),
            };
            match started {
                Ok(member) => crew.members.push(member),
                Err(error) => {
                    let _ = crew.stop();
                    return Err(error);
                }
            }
        }
        Ok(crew)
    }

    /// Hands regions out until told to stop or a worker ends.
    fn serve(&self, listener: &Listener, stop: &Stop, pulse: &mut Pulse) -> Result<(), StartError> {
        let offers: Vec<Offer<'_>> = self.members.iter().map(Member::offer).collect();
        let mut link: Option<Link> = None;
        loop {
            let now = Instant::now();
            pulse.beat(now, self.members.iter().map(Member::beats));
            let fds = [
                Some(stop.as_fd()),
                Some(self.ended.as_fd()),
                Some(listener.as_fd()),
                link.as_ref().map(Link::as_fd),
            ];
            let ready = wait_any(fds, pulse.timeout(now));
            if stop.is_triggered() {
                info!("media workers stop");
                return Ok(());
            }
            let [_, ended, knock, _] = ready;
            if ended {
                return Ok(());
            }
            if link.as_ref().is_some_and(Link::has_ended) {
                info!(pid = link.as_ref().map(Link::pid), "signaling has gone; media flows on");
                link = None;
                self.restore();
            }
            if knock && let Some(next) = admit(listener, &offers)? {
                link = Some(next);
            }
        }
    }

    /// Has every worker make its region true again, and waits until they have.
    fn restore(&self) {
        for member in &self.members {
            member.signal.restore.store(true, Ordering::Release);
            member.signal.wake();
        }
        for member in &self.members {
            if member.restored.recv_timeout(RESTORE_PATIENCE).is_err() {
                warn!(worker = member.worker.0, "worker did not restore its region in time");
            }
        }
    }

    fn stop(self) -> Result<(), StartError> {
        for member in &self.members {
            member.signal.stop.store(true, Ordering::Release);
            member.signal.wake();
        }
        let mut outcome = Ok(());
        for member in self.members {
            let ended = member.thread.join().unwrap_or_else(|_| {
                Err(StartError::Worker {
                    worker: member.worker,
                    what: "its thread panicked; the message is above".to_owned(),
                    remedy: "this is a defect: restart the dataplane and report it",
                })
            });
            outcome = outcome.and(ended);
        }
        outcome
    }
}

impl Member {
    /// Starts a worker and waits until its ring is ready.
    fn start(
        placement: &Placement,
        prepared: &Prepared,
        part: Part,
        commons: Arc<Commons>,
        ended: &OwnedFd,
    ) -> Result<Member, StartError> {
        let worker = placement.worker;
        let topology = &prepared.topology;
        let lacks = |error: std::io::Error| lacking(worker, &error);
        let shape = Shape {
            flows: topology.flows_per_worker,
            commands: COMMAND_SLOTS,
            events: EVENT_SLOTS,
        };
        let host = Host::create(worker.0, shape).map_err(|error| StartError::Worker {
            worker,
            what: error.to_string(),
            remedy: "lower media.flows_per_worker or free memory",
        })?;
        if !host.locked() {
            warn!(worker = worker.0, "region is not locked into memory; raise LimitMEMLOCK");
        }
        let (region, beats) = (host.fd().try_clone_to_owned().map_err(lacks)?, host.beats());
        let command_bell = abi::doorbell::create().map_err(lacks)?;
        let event_bell = abi::doorbell::create().map_err(lacks)?;
        let bells = [&command_bell, &event_bell, ended].map(OwnedFd::try_clone);
        let [ring_command_bell, ring_event_bell, ended] = bells;
        let (restored_by, restored) = sync_channel(1);
        let signal = Arc::new(Signal {
            stop: AtomicBool::new(false),
            restore: AtomicBool::new(false),
            restored: restored_by,
            bell: command_bell,
        });
        let parts = Parts {
            host,
            ports: Ports::new(&topology.networks, placement.pairs, commons.pairs()),
            commons,
            standby: placement.standby,
            signal: Arc::clone(&signal),
            flows: topology.flows_per_worker,
            gather_us: topology.gather_us,
            spin_us: topology.spin_us,
            dscp: topology.dscp,
            prompts: Arc::clone(&prepared.prompts),
        };
        let bells = (ring_command_bell.map_err(lacks)?, ring_event_bell.map_err(lacks)?);
        let thread = Thread {
            worker,
            core: placement.core,
            part,
            parts,
            bells,
            _farewell: Farewell(ended.map_err(lacks)?),
        };
        let (ready, is_ready) = sync_channel(1);
        let thread = Builder::new()
            .name(format!("media-{}", worker.0))
            .spawn(move || thread.work(&ready))
            .map_err(lacks)?;
        if is_ready.recv().is_err() {
            let ended = thread.join().unwrap_or(Ok(()));
            return Err(ended.err().unwrap_or_else(|| lacking(worker, &Errno::CANCELED.into())));
        }
        Ok(Member { worker, thread, signal, region, beats, event_bell, restored })
    }

    fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    fn offer(&self) -> Offer<'_> {
        Offer {
            region: self.region.as_fd(),
            command_bell: self.signal.bell.as_fd(),
            event_bell: self.event_bell.as_fd(),
        }
    }
}

/// What moves into a worker's thread.
struct Thread {
    worker: WorkerId,
    core: Option<usize>,
    part: Part,
    parts: Parts,
    /// Command bell, event bell.
    bells: (OwnedFd, OwnedFd),
    _farewell: Farewell,
}

impl Thread {
    fn work(self, ready: &SyncSender<()>) -> Result<(), StartError> {
        let pinned = self.core.filter(|id| pin(*id));
        if let (Some(id), None) = (self.core, pinned) {
            warn!(worker = self.worker.0, core = id, "cannot pin; the scheduler places the worker");
        }
        let mut parts = self.parts;
        parts.host.set_core(pinned.and_then(|core| u32::try_from(core).ok()));
        let (command_bell, event_bell) = self.bells;
        // A ring belongs to the thread that makes it.
        let io = Backend::new(self.part, parts.flows, command_bell, event_bell)
            .map_err(|error| backend_failed(error, self.worker))?;
        if !io.gathers() && parts.gather_us > 0 {
            warn!(worker = self.worker.0, "kernel is older than 6.12: workers do not gather");
        }
        let worker = Worker::new(parts, io);
        let _ = ready.send(());
        worker.run().map_err(|error| StartError::Worker {
            worker: self.worker,
            what: format!("its ring failed: {error}"),
            remedy: "restart the dataplane; if it repeats, report it with the kernel's version",
        })
    }
}

/// Tells the main thread that a worker's thread ends, panics included.
struct Farewell(OwnedFd);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = abi::doorbell::ring(&self.0);
    }
}

fn admit(listener: &Listener, offers: &[Offer<'_>]) -> Result<Option<Link>, StartError> {
    match listener.accept(offers) {
        Ok(link) => {
            info!(pid = link.pid(), "signaling attached");
            Ok(Some(link))
        }
        Err(error @ HandoverError::Socket(_)) => {
            Err(StartError::Socket { path: listener.path().to_owned(), what: error.to_string() })
        }
        Err(error) => {
            warn!("{error}");
            Ok(None)
        }
    }
}

/// Which of the descriptors are ready; waits until one is, or for `limit`.
fn wait_any<const N: usize>(
    fds: [Option<BorrowedFd<'_>>; N],
    limit: Option<Timespec>,
) -> [bool; N] {
    let flags = PollFlags::IN | PollFlags::RDHUP;
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, flags)).collect();
    while poll(&mut polled, limit.as_ref()) == Err(Errno::INTR) {}
    let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
    fds.map(|fd| fd.is_some() && ready.next().unwrap_or(false))
}

fn socket_error(config: &Config, error: &HandoverError) -> StartError {
    StartError::Socket { path: config.socket.clone(), what: error.to_string() }
}

fn lacking(worker: WorkerId, error: &std::io::Error) -> StartError {
    StartError::Worker {
        worker,
        what: format!("cannot start its thread: {error}"),
        remedy: "raise the limits of open files and processes, or lower media.workers",
    }
}

/// A worker answers within one round; only a stuck host takes longer.
const RESTORE_PATIENCE: Duration = Duration::from_secs(2);
