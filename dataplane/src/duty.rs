//! What a worker as a whole is to do: where it runs, whether it takes flows.
//!
//! ```text
//!              SERVE                 DRAIN                last flow closed
//!   standby ----------> running ----------------> draining ----------------> standby
//!                          ^                          |
//!                          '----------- SERVE --------'
//! ```
//! A worker that drains refuses new flows and carries those that it has to their end: a flow is its
//! sockets, its replay windows and its rollover counters, and none of them has to be copied at the
//! moment when it matters if it is not copied at all. Its free ports go to the others meanwhile.
//!
//! A worker pins itself, between two rounds: the kernel moves the thread, and what arrives meanwhile
//! waits in the sockets. Memory stays on the NUMA node where it was first touched.

use abi::{Duty, Event, FlowId, Order, Reason, WorkerState};
use core_affinity::CoreId;

use crate::flows::Flows;
use crate::worker::Worker;

impl Worker {
    /// Carries out an order and answers it. Saying it again changes nothing.
    pub(crate) fn obey(&mut self, order: Order) -> Event {
        let done = match order.duty {
            Duty::Pin { core } => self.pin_to(core),
            Duty::Drain => self.drain(),
            Duty::Serve { core } => {
                core.map_or(Ok(()), |core| self.pin_to(core)).map(|()| self.serve())
            }
        };
        match done {
            Ok(()) => Event::updated(order.token, FlowId::NONE),
            Err(reason) => Event::refused(order.token, FlowId::NONE, reason),
        }
    }

    /// Whether new flows are taken.
    pub(crate) fn is_serving(&self) -> bool {
        self.state == WorkerState::Running
    }

    /// To be called with each housekeeping step: takes its share of the ports, and stands by when
    /// the last flow of a drained worker is closed.
    pub(crate) fn settle(&mut self, now_ns: u64) {
        let share = if self.is_serving() { self.commons.share() } else { 0 };
        self.ports.settle(&self.commons, share, now_ns);
        if self.state == WorkerState::Draining && self.flows.open_count() == 0 {
            self.enter(WorkerState::Standby);
        }
    }

    pub(crate) fn enter(&mut self, state: WorkerState) {
        self.state = state;
        self.host.set_state(state);
    }

    fn pin_to(&mut self, core: u32) -> Result<(), Reason> {
        if !pin(core as usize) {
            return Err(Reason::NoCore);
        }
        self.host.set_core(Some(core));
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Reason> {
        if !self.is_serving() {
            return Ok(());
        }
        if !self.commons.leave() {
            return Err(Reason::LastWorker);
        }
        self.enter(WorkerState::Draining);
        Ok(())
    }

    fn serve(&mut self) {
        if self.is_serving() {
            return;
        }
        self.make_room();
        self.commons.join();
        self.enter(WorkerState::Running);
    }

    /// A worker that stood by since the start has no memory for flows yet.
    fn make_room(&mut self) {
        if self.flows.capacity() < self.flows_max {
            self.flows = Flows::new(self.flows_max);
        }
    }
}

/// Has this thread run on one core; whether the kernel agreed. A thread may always ask for itself.
pub(crate) fn pin(core: usize) -> bool {
    core < abi::CORES_MAX as usize && core_affinity::set_for_current(CoreId { id: core })
}

#[cfg(test)]
mod tests;
