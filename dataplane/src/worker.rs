//! One worker: a pinned thread, its ring, its flows. The loop is [`Worker::round`].
//!
//! ```text
//! receive (submit, sleep, gather) -> relay -> transmit (queue) -> commands -> housekeeping
//! ```
//! It blocks nowhere but in receive, allocates nothing per packet, logs nothing per packet, and
//! answers bad input with a count. Packets come first; commands are executed a few at a time.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use abi::{Counter, Event, FlowId, Histogram, Host, WorkerState};
use zeroize::Zeroize;

use crate::clock;
use crate::commons::Commons;
use crate::flows::Flows;
use crate::gathering::Gathering;
use crate::io::{Backend, Batch, Dscp, Received, Wait};
use crate::limits::{
    ANSWERS_MAX, COMMANDS_PER_ROUND, ENDS_MAX, HOUSEKEEPING_NS, SWEEP_FLOWS, SWEEP_NS,
};
use crate::pacer::Pacer;
use crate::ports::Ports;
use crate::prompt::Prompts;
use crate::relay;
use crate::residue;
use crate::tally::Tally;

/// The state of one worker thread.
pub struct Worker {
    pub(crate) host: Host,
    pub(crate) io: Backend,
    pub(crate) flows: Flows,
    /// How many flows there may be, once it serves.
    pub(crate) flows_max: u32,
    pub(crate) ports: Ports,
    pub(crate) commons: Arc<Commons>,
    pub(crate) state: WorkerState,
    pub(crate) tally: Tally,
    /// Events that found the ring full. No command is begun before they have left, so they are at
    /// most the answers to one, and the ends of what flows are saying meanwhile. Reserved for that.
    pub(crate) unsent: VecDeque<Event>,
    /// Events were queued since the guest's bell rang last.
    pub(crate) events_waiting: bool,
    pub(crate) batch: Batch,
    pub(crate) pacer: Pacer,
    pub(crate) prompts: Arc<Prompts>,
    /// Where our own numbers begin, unknown to others.
    pub(crate) seed: u64,
    signal: Arc<Signal>,
    gathering: Gathering,
    spin_us: u32,
    pub(crate) dscp: Dscp,
    commands_waiting: bool,
    next_step_ns: u64,
    pub(crate) sweep_from: u32,
}

/// What the supervising thread tells a worker; `bell` (the command bell) wakes it up to look.
pub struct Signal {
    pub stop: AtomicBool,
    /// The guest has gone: make the region true again.
    pub restore: AtomicBool,
    /// Told when the region is restored.
    pub restored: SyncSender<()>,
    pub bell: OwnedFd,
}

impl Signal {
    /// Wakes the worker.
    pub fn wake(&self) {
        // A worker looks at its signal with every housekeeping step anyway.
        let _ = abi::doorbell::ring(&self.bell);
    }
}

/// What a worker is made of, apart from what its thread makes itself.
pub struct Parts {
    pub host: Host,
    pub ports: Ports,
    pub commons: Arc<Commons>,
    /// It takes no flows until it is told to.
    pub standby: bool,
    pub signal: Arc<Signal>,
    pub flows: u32,
    pub gather_us: u32,
    pub spin_us: u32,
    pub dscp: Dscp,
    pub prompts: Arc<Prompts>,
}

impl Worker {
    pub fn new(parts: Parts, io: Backend) -> Worker {
        let state = if parts.standby { WorkerState::Standby } else { WorkerState::Running };
        let mut host = parts.host;
        // Before any guest can see the region.
        host.set_state(state);
        Worker {
            host,
            io,
            // Its slots alone would be tens of megabytes.
            flows: Flows::new(if parts.standby { 0 } else { parts.flows }),
            flows_max: parts.flows,
            ports: parts.ports,
            commons: parts.commons,
            state,
            tally: Tally::new(),
            unsent: VecDeque::with_capacity(ANSWERS_MAX + ENDS_MAX * parts.flows as usize),
            events_waiting: false,
            batch: Batch::new(),
            pacer: Pacer::new(parts.flows),
            prompts: parts.prompts,
            seed: RandomState::new().hash_one(0),
            signal: parts.signal,
            gathering: Gathering::new(parts.gather_us),
            spin_us: parts.spin_us,
            dscp: parts.dscp,
            commands_waiting: false,
            next_step_ns: 0,
            sweep_from: 0,
        }
    }

    /// Works until told to stop.
    ///
    /// # Errors
    /// Those of a broken ring.
    pub fn run(mut self) -> io::Result<()> {
        let mut now_ns = clock::now_ns();
        let mut outcome = Ok(());
        while outcome.is_ok() && !self.signal.stop.load(Ordering::Acquire) {
            outcome = self.round(now_ns);
            now_ns = clock::now_ns();
        }
        self.tally.publish(&self.host.counters);
        self.host.set_state(WorkerState::Stopped);
        outcome
    }

    fn round(&mut self, before_ns: u64) -> io::Result<()> {
        let wait = self.wait(before_ns);
        let received = self.io.receive(&mut self.batch, wait)?;
        let now_ns = received.now_ns;
        self.account(&received);

        let Worker { batch, io, flows, tally, .. } = self;
        relay::book_failures(batch, flows, tally);
        relay::relay(batch, io.buffers(), flows, tally, now_ns);
        self.talk(now_ns);
        self.io.transmit(&mut self.batch)?;
        self.note_delays(now_ns);
        self.pass_notices();

        if received.bell {
            self.io.silence_bell();
        }
        if received.bell || self.commands_waiting {
            self.take_commands(now_ns)?;
        }
        if now_ns >= self.next_step_ns {
            self.keep_house(now_ns)?;
        }
        if std::mem::take(&mut self.events_waiting) {
            self.io.ring_bell()?;
        }
        Ok(())
    }

    /// Books where the time of a receive call went, and what it brought.
    fn account(&mut self, received: &Received) {
        let counts = [
            (Counter::Wakeups, 1),
            (Counter::BuffersExhausted, received.buffers_exhausted),
            (Counter::FrameFaults, received.frame_faults),
            (Counter::PassedPackets, received.passed),
            (Counter::SleepNs, received.sleep_ns),
            (Counter::GatherNs, received.gather_ns),
            (Counter::SpinNs, received.spin_ns),
        ];
        for (counter, count) in counts {
            self.tally.add(counter, count);
        }
        self.tally.set(Counter::BuffersMissing, received.buffers_missing);
        let packets = self.batch.arrivals.len();
        self.gathering.end(packets);
        if packets > 0 {
            self.host.histograms.note(Histogram::PacketsPerWakeup, packets as u64);
        }
    }

    /// The added delay of the packets whose receipt the kernel stamped.
    fn note_delays(&mut self, now_ns: u64) {
        if self.batch.ages_ns.is_empty() {
            return;
        }
        let since_ns = clock::now_ns().saturating_sub(now_ns);
        for age_ns in self.batch.ages_ns.drain(..) {
            self.host.histograms.note(Histogram::AddedDelayUs, (age_ns + since_ns) / 1000);
        }
    }

    /// Tells signaling what the packets of this round said.
    fn pass_notices(&mut self) {
        let mut notices = std::mem::take(&mut self.batch.notices);
        for event in notices.drain(..) {
            let counter = match event.kind {
                abi::event::kind::DIGIT => Counter::DigitsHeard,
                _ => {
                    self.publish_way(event.flow);
                    Counter::SourcesLearned
                }
            };
            self.tally.add(counter, 1);
            self.tell(&event);
        }
        self.batch.notices = notices;
    }

    /// Writes into the flow table where the packets of a flow come from, and where those of its peer
    /// go to.
    pub(crate) fn publish_way(&mut self, id: FlowId) {
        let peer = self.flows.get_mut(id).map_or(FlowId::NONE, |flow| flow.peer);
        for id in [id, peer] {
            if let Some(flow) = self.flows.get_mut(id) {
                self.host.flows.publish(id.index, &flow.snapshot());
            }
        }
    }

    fn wait(&self, now_ns: u64) -> Wait {
        let next_ns =
            self.pacer.next_due_ns().map_or(self.next_step_ns, |due| due.min(self.next_step_ns));
        let timeout_ns = next_ns.saturating_sub(now_ns);
        Wait {
            timeout_ns: if self.commands_waiting { 0 } else { timeout_ns },
            gather_us: self.gathering.us(),
            spin_us: self.spin_us,
        }
    }

    fn take_commands(&mut self, now_ns: u64) -> io::Result<()> {
        self.commands_waiting = true;
        for _ in 0..COMMANDS_PER_ROUND {
            if !residue::leave_none(|| self.take_command(now_ns))? {
                self.commands_waiting = false;
                break;
            }
        }
        let open = u64::from(self.flows.open_count());
        self.tally.set(Counter::FlowsOpen, open);
        self.tally.set(Counter::PortsOpen, 2 * open);
        Ok(())
    }

    /// Executes the next command; false when there is none.
    fn take_command(&mut self, now_ns: u64) -> io::Result<bool> {
        // A guest that does not read its events is not served until it does; the next housekeeping
        // step looks again.
        let command = if self.flush_events() { self.host.commands.pop() } else { None };
        let Some(mut command) = command else { return Ok(false) };
        let executed = self.execute(&command, now_ns);
        command.zeroize();
        executed.map(|()| true)
    }

    /// One housekeeping step. Many flows are visited in slices, one per step; the more slices, the
    /// sooner the next step, so that a full sweep takes at most [`SWEEP_NS`].
    pub(crate) fn keep_house(&mut self, now_ns: u64) -> io::Result<()> {
        if self.signal.restore.swap(false, Ordering::AcqRel) {
            self.host.restore();
            self.unsent.clear();
            let _ = self.signal.restored.try_send(());
        }
        self.sweep(now_ns);
        self.settle(now_ns);
        self.tally.set(Counter::PairsOwned, self.ports.owned() as u64);
        self.tally.set(Counter::BusyNs, clock::thread_cpu_ns());
        self.tally.publish(&self.host.counters);
        self.host.heartbeat(now_ns);
        self.io.retry_faulted()?;
        // A guest that forgets to ring, or a bell that it broke, delays its commands, no more.
        self.take_commands(now_ns)?;
        let steps = self.flows.open_count().div_ceil(SWEEP_FLOWS).max(1);
        self.next_step_ns = now_ns + HOUSEKEEPING_NS.min(SWEEP_NS / u64::from(steps));
        Ok(())
    }

    /// Sends what waits; true when nothing waits any more.
    fn flush_events(&mut self) -> bool {
        while let Some(event) = self.unsent.front() {
            if self.host.events.push(event).is_err() {
                return false;
            }
            self.unsent.pop_front();
            self.tally.add(Counter::Events, 1);
            self.events_waiting = true;
        }
        true
    }
}

#[cfg(test)]
mod tests;
