//! Commands become flows. Each command states what should be, so repeating one changes nothing and
//! repeats the answer; each is answered by exactly one event.
//!
//! What a guest cannot bring about, whatever it writes: a plain packet from a flow that was keyed
//! (a key may be replaced, never removed), a second use of a key stream by naming a key again to the
//! same flow (see `keys.rs`), a packet from the port of a closed flow (generations). That no two flows
//! get one key, at once or one after the other, is for the guest to see to: it draws the keys.

pub(crate) mod configure;
mod say;

use std::io;

use abi::{Command, Counter, Event, FlowId, Open, Reason, Request, Update};

use crate::flow::Flow;
use crate::flows::SlotError;
use crate::io::{Dscp, Port, SocketId};
use crate::ports::LeaseError;
use crate::worker::Worker;

impl Worker {
    /// Carries out one command and answers it.
    ///
    /// # Errors
    /// Only those of a broken ring; whatever is wrong with a command is answered with REFUSED.
    pub(crate) fn execute(&mut self, command: &Command, now_ns: u64) -> io::Result<()> {
        self.tally.add(Counter::Commands, 1);
        self.withdraw(command.flow);
        let answer = match command.decode() {
            Err(_) => {
                self.tally.add(Counter::CommandFaults, 1);
                Event::refused(command.token, command.flow, Reason::BadCommand)
            }
            Ok(Request::Open(open)) => self.open(&open, now_ns)?,
            Ok(Request::Update(update)) => self.update(update, now_ns),
            Ok(Request::Play(play)) => self.play(&play, now_ns),
            Ok(Request::Say(say)) => self.say(&say, now_ns),
            Ok(Request::Stop(stop)) => self.stop_talking(stop),
            Ok(Request::Dial(dial)) => self.dial(&dial, now_ns),
            Ok(Request::Order(order)) => self.obey(order),
            Ok(Request::Close(close)) => match self.close(close.flow, close.token, now_ns)? {
                Some(closed) => closed,
                None => Event::refused(close.token, close.flow, self.absence(close.flow)),
            },
        };
        self.emit(&answer);
        Ok(())
    }

    fn open(&mut self, open: &Open, now_ns: u64) -> io::Result<Event> {
        let opened = match self.flows.vacancy(open.flow) {
            Ok(()) => self.open_vacant(open, now_ns)?,
            Err(SlotError::Occupied(older)) => {
                // The guest has moved on without closing: it lost its memory.
                if let Some(closed) = self.close(older, 0, now_ns)? {
                    self.emit(&closed);
                }
                self.open_vacant(open, now_ns)?
            }
            // Who never served has no slots.
            Err(SlotError::Beyond) if !self.is_serving() => Err(Reason::Draining),
            Err(SlotError::Beyond) => Err(Reason::Capacity),
            Err(SlotError::Stale) => match self.flows.get_mut(open.flow) {
                Some(flow) => Ok(flow.opened_event(open.token)),
                None => Err(Reason::Stale),
            },
        };
        Ok(opened.unwrap_or_else(|reason| {
            self.tally.add(Counter::OpensRefused, 1);
            Event::refused(open.token, open.flow, reason)
        }))
    }

    fn open_vacant(&mut self, open: &Open, now_ns: u64) -> io::Result<Result<Event, Reason>> {
        if !self.is_serving() {
            return Ok(Err(Reason::Draining));
        }
        let network = open.network as usize;
        let dscp = open.dscp.and_then(Dscp::new).unwrap_or(self.dscp);
        let bind = |address| self.io.bind(address, dscp);
        let (lease, rtp, rtcp) = match self.ports.lease(network, open.family, now_ns, bind) {
            Ok(leased) => leased,
            Err(LeaseError::UnknownNetwork) => return Ok(Err(Reason::BadCommand)),
            Err(LeaseError::PortsExhausted | LeaseError::FamilyAbsent) => {
                return Ok(Err(Reason::NoPorts));
            }
            Err(LeaseError::DescriptorsExhausted) => return Ok(Err(Reason::NoDescriptors)),
        };
        let [rtp_id, rtcp_id] = sockets(open.flow);
        let opened = self.io.open(rtp_id, rtp).and_then(|()| self.io.open(rtcp_id, rtcp));
        if opened.is_err() {
            self.io.close(rtp_id)?;
            self.io.close(rtcp_id)?;
            self.ports.give_back(lease, now_ns);
            return Ok(Err(Reason::NoDescriptors));
        }
        let mut flow = Flow::new(open.flow, open.call, lease, now_ns);
        flow.opened_mux = open.rtcp_mux_in;
        flow.mux_in = open.rtcp_mux_in;
        self.host.flows.publish(open.flow.index, &flow.snapshot());
        let event = flow.opened_event(open.token);
        self.flows.insert(flow);
        Ok(Ok(event))
    }

    fn update(&mut self, update: Update, now_ns: u64) -> Event {
        let (token, id) = (update.token, update.flow);
        let before = self.flows.get_mut(id).map(|flow| flow.formats).unwrap_or_default();
        match configure::configure(&mut self.flows, update, now_ns) {
            Ok(()) => {
                self.publish_way(id);
                self.follow_formats(id, before);
                Event::updated(token, id)
            }
            Err(Reason::NoSuchFlow) => Event::refused(token, id, self.absence(id)),
            Err(reason) => Event::refused(token, id, reason),
        }
    }

    /// Closes a flow: its sockets, its contexts and keys, its place in the table. `None` when there
    /// is no such flow.
    fn close(&mut self, id: FlowId, token: u64, now_ns: u64) -> io::Result<Option<Event>> {
        self.withdraw(id);
        let used = |flow: &Flow| (flow.closed_event(token), flow.lease);
        let Some((event, lease)) = self.flows.remove(id, used) else { return Ok(None) };
        self.pacer.remove(id);
        for socket in sockets(id) {
            self.io.close(socket)?;
        }
        self.ports.give_back(lease, now_ns);
        self.host.flows.clear(id.index);
        Ok(Some(event))
    }

    /// Sends an event if there is room for it; whether there was.
    pub(crate) fn try_emit(&mut self, event: &Event) -> bool {
        let sent = self.unsent.is_empty() && self.host.events.push(event).is_ok();
        if sent {
            self.tally.add(Counter::Events, 1);
            self.events_waiting = true;
        }
        sent
    }

    /// Sends an event that answers no command; without room for it, it is lost and counted.
    pub(crate) fn tell(&mut self, event: &Event) {
        if !self.try_emit(event) {
            self.tally.add(Counter::EventsLost, 1);
        }
    }

    /// Sends an event, or keeps it until the guest has made room.
    pub(crate) fn emit(&mut self, event: &Event) {
        if self.try_emit(event) {
            return;
        }
        if self.unsent.len() < self.unsent.capacity() {
            self.unsent.push_back(*event);
        } else {
            self.tally.add(Counter::EventsLost, 1);
        }
    }

    pub(crate) fn absence(&self, id: FlowId) -> Reason {
        if self.flows.is_stale(id) { Reason::Stale } else { Reason::NoSuchFlow }
    }
}

fn sockets(flow: FlowId) -> [SocketId; 2] {
    [SocketId { flow, port: Port::Rtp }, SocketId { flow, port: Port::Rtcp }]
}
