//! One worker: a pinned thread, its ring, its flows. The loop is [`Worker::round`].
//!
//! ```text
//! receive (submit, sleep, gather) -> relay -> transmit (queue) -> commands -> housekeeping
//! ```
//! It blocks nowhere but in receive, allocates nothing per packet, logs nothing per packet, and
//! answers bad input with a count. Packets come first; commands are executed a few at a time.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use abi::{Counter, Event, FlowTally, Host, WorkerState};
use zeroize::Zeroize;

use crate::clock;
use crate::flow::Flows;
use crate::io::{Backend, Batch, Wait};
use crate::limits::{COMMANDS_PER_ROUND, HOUSEKEEPING_NS, SWEEP_FLOWS, UNSENT_MAX};
use crate::ports::Ports;
use crate::relay;
use crate::tally::Tally;

/// The state of one worker thread.
pub struct Worker {
    pub(crate) host: Host,
    pub(crate) io: Backend,
    pub(crate) flows: Flows,
    pub(crate) ports: Ports,
    pub(crate) tally: Tally,
    /// Events that found the ring full. No command is begun before they have left, so they are at
    /// most the answers to one.
    pub(crate) unsent: VecDeque<Event>,
    /// Events were queued since the guest's bell rang last.
    pub(crate) events_waiting: bool,
    batch: Batch,
    signal: Arc<Signal>,
    gather_us: u32,
    commands_waiting: bool,
    next_step_ns: u64,
    sweep_from: u32,
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
    pub signal: Arc<Signal>,
    pub flows: u32,
    pub gather_us: u32,
}

impl Worker {
    pub fn new(parts: Parts, io: Backend) -> Worker {
        Worker {
            host: parts.host,
            io,
            flows: Flows::new(parts.flows),
            ports: parts.ports,
            tally: Tally::new(),
            unsent: VecDeque::with_capacity(UNSENT_MAX),
            events_waiting: false,
            batch: Batch::new(),
            signal: parts.signal,
            gather_us: parts.gather_us,
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
        self.host.set_state(WorkerState::Running);
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
        let now_ns = clock::now_ns();
        self.tally.add(Counter::Wakeups, 1);
        self.tally.add(Counter::BuffersExhausted, received.buffers_exhausted);

        relay::book_failures(&mut self.batch, &mut self.flows, &mut self.tally);
        let Worker { batch, io, flows, tally, .. } = self;
        relay::relay(batch, io.buffers(), flows, tally, now_ns);
        self.io.transmit(&mut self.batch)?;

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

    fn wait(&self, now_ns: u64) -> Wait {
        let timeout_ns = self.next_step_ns.saturating_sub(now_ns);
        Wait {
            timeout_ns: if self.commands_waiting { 0 } else { timeout_ns },
            gather_us: self.gather_us,
        }
    }

    fn take_commands(&mut self, now_ns: u64) -> io::Result<()> {
        self.commands_waiting = true;
        for _ in 0..COMMANDS_PER_ROUND {
            // A guest that does not read its events is not served until it does; the next
            // housekeeping step looks again.
            let command = if self.flush_events() { self.host.commands.pop() } else { None };
            let Some(mut command) = command else {
                self.commands_waiting = false;
                break;
            };
            let executed = self.execute(&command, now_ns);
            command.zeroize();
            executed?;
        }
        let open = u64::from(self.flows.open_count());
        self.tally.set(Counter::FlowsOpen, open);
        self.tally.set(Counter::PortsOpen, 2 * open);
        Ok(())
    }

    /// One housekeeping step. Many flows are visited in slices, one per step, so that a full sweep
    /// takes the period and no step takes long.
    fn keep_house(&mut self, now_ns: u64) -> io::Result<()> {
        if self.signal.restore.swap(false, Ordering::AcqRel) {
            self.host.restore();
            self.unsent.clear();
            let _ = self.signal.restored.try_send(());
        }
        self.sweep(now_ns);
        self.tally.set(Counter::BusyNs, clock::thread_cpu_ns());
        self.tally.publish(&self.host.counters);
        self.host.heartbeat(now_ns);
        self.io.retry_faulted()?;
        // A guest that forgets to ring, or a bell that it broke, delays its commands, no more.
        self.take_commands(now_ns)?;
        let steps = self.flows.high_water().div_ceil(SWEEP_FLOWS).max(1);
        self.next_step_ns = now_ns + HOUSEKEEPING_NS / u64::from(steps);
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

    fn sweep(&mut self, now_ns: u64) {
        let mut reported = 0;
        for flow in self.flows.sweep(self.sweep_from, SWEEP_FLOWS) {
            publish(&mut self.host.flows, flow);
            // A report that finds the ring full is made by the next sweep.
            if flow.is_silent(now_ns) && self.host.events.push(&flow.timeout_event()).is_ok() {
                flow.silence.reported = true;
                reported += 1;
            }
        }
        self.tally.add(Counter::Events, reported);
        self.tally.add(Counter::MediaTimeouts, reported);
        self.events_waiting |= reported > 0;
        self.sweep_from += SWEEP_FLOWS;
        if self.sweep_from >= self.flows.high_water() {
            self.sweep_from = 0;
        }
    }
}

fn publish(table: &mut abi::FlowWriter, flow: &crate::flow::Flow) {
    let (counts, quality) = (&flow.counts, &flow.quality);
    let tallies = [
        (FlowTally::LastPacketNs, counts.last_packet_ns),
        (FlowTally::PacketsIn, counts.packets_in),
        (FlowTally::BytesIn, counts.bytes_in),
        (FlowTally::PacketsOut, counts.packets_out),
        (FlowTally::BytesOut, counts.bytes_out),
        (FlowTally::Lost, quality.lost()),
        (FlowTally::Duplicates, quality.duplicates()),
        (FlowTally::Reordered, quality.reordered()),
        (FlowTally::Jitter, quality.jitter()),
        (FlowTally::AuthFailures, counts.auth_failures),
        (FlowTally::Replays, counts.replays),
        (FlowTally::OffPath, counts.off_path),
    ];
    for (tally, value) in tallies {
        table.set(flow.id.index, tally, value);
    }
}
