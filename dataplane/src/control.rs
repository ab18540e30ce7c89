//! Commands become flows. Each command states what should be, so repeating one changes nothing and
//! repeats the answer; each is answered by exactly one event.
//!
//! What a guest cannot bring about, whatever it writes: a plain packet from a flow that was keyed
//! (a key may be replaced, never removed), a second use of a key stream by naming a key again
//! (see `keys.rs`), a packet from the port of a closed flow (generations).

use std::io;
use std::net::SocketAddr;

use abi::{Command, Counter, Event, FlowId, Key, Open, Reason, Request, Update};
use rtp::srtp::{MasterKey, Suite};

use crate::admit::{Egress, Ingress};
use crate::flow::{Flow, Flows, Gate, Silence, SlotError};
use crate::io::{Endpoint, Port, SocketId, socket};
use crate::limits::UNSENT_MAX;
use crate::ports::LeaseError;
use crate::worker::Worker;

impl Worker {
    /// Carries out one command and answers it.
    ///
    /// # Errors
    /// Only those of a broken ring; whatever is wrong with a command is answered with REFUSED.
    pub(crate) fn execute(&mut self, command: &Command, now_ns: u64) -> io::Result<()> {
        self.tally.add(Counter::Commands, 1);
        let answer = match command.decode() {
            Err(_) => {
                self.tally.add(Counter::CommandFaults, 1);
                Event::refused(command.token, command.flow, Reason::BadCommand)
            }
            Ok(Request::Open(open)) => self.open(&open, now_ns)?,
            Ok(Request::Update(update)) => self.update(update, now_ns),
            Ok(request @ (Request::Play(_) | Request::Stop(_) | Request::Dial(_))) => {
                Event::refused(request.token(), request.flow(), Reason::NoFormat)
            }
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
        let network = open.network as usize;
        let (lease, rtp, rtcp) = match self.ports.lease(network, now_ns, socket::open) {
            Ok(leased) => leased,
            Err(LeaseError::UnknownNetwork) => return Ok(Err(Reason::BadCommand)),
            Err(LeaseError::PortsExhausted) => return Ok(Err(Reason::NoPorts)),
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
        match configure(&mut self.flows, update, now_ns) {
            Ok(()) => {
                if let Some(flow) = self.flows.get_mut(id) {
                    self.host.flows.publish(id.index, &flow.snapshot());
                }
                Event::updated(token, id)
            }
            Err(Reason::NoSuchFlow) => Event::refused(token, id, self.absence(id)),
            Err(reason) => Event::refused(token, id, reason),
        }
    }

    /// Closes a flow: its sockets, its contexts and keys, its place in the table. `None` when there
    /// is no such flow.
    fn close(&mut self, id: FlowId, token: u64, now_ns: u64) -> io::Result<Option<Event>> {
        let used = |flow: &Flow| (flow.closed_event(token), flow.lease);
        let Some((event, lease)) = self.flows.remove(id, used) else { return Ok(None) };
        for socket in sockets(id) {
            self.io.close(socket)?;
        }
        self.ports.give_back(lease, now_ns);
        self.host.flows.clear(id.index);
        Ok(Some(event))
    }

    /// Sends an event, or keeps it until the guest has made room.
    pub(crate) fn emit(&mut self, event: &Event) {
        if self.unsent.is_empty() && self.host.events.push(event).is_ok() {
            self.tally.add(Counter::Events, 1);
            self.events_waiting = true;
        } else if self.unsent.len() < UNSENT_MAX {
            self.unsent.push_back(*event);
        } else {
            self.tally.add(Counter::EventsLost, 1);
        }
    }

    fn absence(&self, id: FlowId) -> Reason {
        if self.flows.is_stale(id) { Reason::Stale } else { Reason::NoSuchFlow }
    }
}

fn sockets(flow: FlowId) -> [SocketId; 2] {
    [SocketId { flow, port: Port::Rtp }, SocketId { flow, port: Port::Rtcp }]
}

/// Gives a flow the configuration of `update`, whole or not at all.
fn configure(flows: &mut Flows, update: Update, now_ns: u64) -> Result<(), Reason> {
    let peer = update.peer.unwrap_or(FlowId::NONE);
    let peer_local = flows.get_mut(peer).map(|peer| peer.lease.rtp);
    let flow = flows.get_mut(update.flow).ok_or(Reason::NoSuchFlow)?;
    check_families(flow.lease.rtp, [update.source_rtp, update.source_rtcp])?;
    if let Some(local) = peer_local {
        check_families(local, [update.destination_rtp, update.destination_rtcp])?;
    }
    let unprotect = update.unprotect.as_ref().map(master_key).transpose()?;
    let protect = update.protect.as_ref().map(master_key).transpose()?;
    let permitted =
        flow.ingress_keys.permit(unprotect.as_ref()) && flow.egress_keys.permit(protect.as_ref());
    if !permitted {
        return Err(Reason::BadCommand);
    }
    flow.ingress_keys.change(unprotect, &mut flow.ingress, |key| Ingress::new(Some(key)));
    flow.egress_keys.change(protect, &mut flow.egress, |key| Egress::new(Some(key)));
    flow.peer = peer;
    flow.mux_in = update.rtcp_mux_in;
    flow.mux_out = update.rtcp_mux_out;
    flow.source_rtp = update.source_rtp.map(Endpoint::from);
    flow.source_rtcp = update.source_rtcp.map(Endpoint::from);
    flow.destination_rtp = update.destination_rtp.map(Endpoint::from);
    flow.destination_rtcp = update.destination_rtcp.map(Endpoint::from);
    let before = flow.gate;
    flow.gate = match (update.relay, flow.destination_rtp, update.peer) {
        (true, ..) => Gate::Relaying,
        (false, Some(_), Some(_)) => Gate::Held,
        (false, ..) => Gate::NotReady,
    };
    let timeout_ns = u64::from(update.timeout_ms) * 1_000_000;
    if flow.silence.timeout_ns != timeout_ns || flow.gate != before {
        flow.silence = Silence { timeout_ns, since_ns: now_ns, reported: false };
    }
    Ok(())
}

fn check_families(local: SocketAddr, remotes: [Option<SocketAddr>; 2]) -> Result<(), Reason> {
    let alike = remotes.iter().flatten().all(|remote| remote.is_ipv4() == local.is_ipv4());
    if alike { Ok(()) } else { Err(Reason::BadCommand) }
}

fn master_key(key: &Key) -> Result<MasterKey, Reason> {
    if key.mki().is_some() {
        return Err(Reason::BadCommand);
    }
    let suite = match key.suite() {
        abi::Suite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        abi::Suite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        abi::Suite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        abi::Suite::AeadAes256Gcm => Suite::AeadAes256Gcm,
        abi::Suite::AesCm256HmacSha1_80 | abi::Suite::AesCm256HmacSha1_32 => {
            return Err(Reason::BadCommand);
        }
    };
    MasterKey::new(suite, key.key(), key.salt()).map_err(|_| Reason::BadCommand)
}
