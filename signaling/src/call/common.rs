//! What every state of a call needs.

use std::time::Instant;

use abi::FlowId;
use sdp::Policy;
use sip::endpoint::{ClientId, DialogId, Hop, ServerId};

use super::ending::Ending;
use super::negotiate::Agreed;
use super::{Desk, State};
use crate::cdr::{Record, Way};
use crate::media::{Pair, Token};
use crate::trunk::TrunkId;

/// The two sides of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Party {
    Caller,
    Callee,
}

impl Party {
    pub fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// One side: its trunk, what may be negotiated on it, its dialog once there is one.
pub struct Leg {
    pub trunk: TrunkId,
    pub policy: Policy,
    pub hop: Hop,
    pub dialog: Option<DialogId>,
}

/// A call, apart from where it is.
pub struct Common {
    pub token: Token,
    pub caller: Leg,
    pub callee: Leg,
    pub cdr: Record,
    /// The number that the callee's trunk is asked for, after the route's rewriting.
    pub called: String,
    /// How long the callee may ring.
    pub ring_limit: std::time::Duration,
    pub rtp_timeout: std::time::Duration,
    pub deadline: Option<Instant>,
    /// The direction that fell silent last, and how many packets it had accepted by then.
    pub silent: Option<(FlowId, Option<u64>)>,
    pub servers: Vec<ServerId>,
    pub clients: Vec<ClientId>,
    pub dialogs: Vec<DialogId>,
    flows: Flows,
}

/// The call's flows and how far they are closed.
struct Flows {
    pair: Pair,
    released: bool,
    forward: Option<Way>,
    backward: Option<Way>,
}

impl Common {
    pub fn new(
        token: Token,
        caller: Leg,
        callee: Leg,
        pair: Pair,
        cdr: Record,
        called: String,
    ) -> Self {
        Self {
            token,
            caller,
            callee,
            cdr,
            called,
            ring_limit: std::time::Duration::MAX,
            rtp_timeout: std::time::Duration::ZERO,
            deadline: None,
            silent: None,
            servers: Vec::new(),
            clients: Vec::new(),
            dialogs: Vec::new(),
            flows: Flows { pair, released: false, forward: None, backward: None },
        }
    }

    /// The call's name in logs and in its CDR.
    pub fn id(&self) -> &str {
        &self.cdr.id
    }

    /// Identifies our session descriptions of this call (RFC 8866 §5.2).
    pub fn origin(&self) -> u64 {
        self.token
    }

    pub fn leg(&self, party: Party) -> &Leg {
        match party {
            Party::Caller => &self.caller,
            Party::Callee => &self.callee,
        }
    }

    pub fn is_forward(&self, flow: FlowId) -> bool {
        flow == self.flows.pair.forward
    }

    /// Whether this notice says that both flows are armed with the connection `wanted`: commands
    /// are carried out in order, and the backward flow's is the last of a connection.
    pub fn is_armed(&self, flow: FlowId, serial: u64, wanted: u64) -> bool {
        serial == wanted && !self.is_forward(flow)
    }

    pub fn pair(&self) -> &Pair {
        &self.flows.pair
    }

    /// Lets media pass between what both sides agreed to; the serial names this in the data plane's
    /// notices.
    pub fn connect(&mut self, desk: &mut Desk<'_>, near: &Agreed, far: &Agreed) -> u64 {
        self.cdr.suites(near.suite.map(sdp::Suite::name), far.suite.map(sdp::Suite::name));
        let pair = self.flows.pair;
        match desk.media.connect(&pair, &near.side, &far.side, self.rtp_timeout) {
            Ok(serial) => serial,
            Err(error) => {
                tracing::error!(call = self.id(), %error, "media not connected; the call ends");
                desk.stop_soon(self.token, "the data plane takes no commands");
                0
            }
        }
    }

    /// Gives the ports back; the final counts come later.
    pub fn release(&mut self, desk: &mut Desk<'_>) {
        if !self.flows.released {
            self.flows.released = true;
            desk.media.release(&self.flows.pair);
        }
    }

    pub fn is_released(&self) -> bool {
        self.flows.released
    }

    pub fn closed(&mut self, flow: FlowId, packets: u64, bytes: u64) {
        let way = Some(Way { packets, bytes });
        if self.is_forward(flow) {
            self.flows.forward = way;
        } else {
            self.flows.backward = way;
        }
    }

    /// Notes that a direction fell silent; true when the other one did before and still is.
    pub fn both_silent(&mut self, desk: &Desk<'_>, flow: FlowId) -> bool {
        let both = self.silent.is_some_and(|(other, packets)| {
            other != flow && desk.media.packets(self.pair(), other) == packets
        });
        self.silent = Some((flow, desk.media.packets(self.pair(), flow)));
        both
    }

    pub fn flows_closed(&self) -> bool {
        self.flows.forward.is_some() && self.flows.backward.is_some()
    }

    /// The data plane does not tell any more; the CDR goes without counts.
    pub fn forget_flows(&mut self) {
        self.flows.forward.get_or_insert_default();
        self.flows.backward.get_or_insert_default();
    }

    /// Notes in the CDR why there will be no conversation.
    pub fn note_failure(&mut self, code: u16, reason: &str) {
        self.cdr.fail(code, reason);
    }

    /// The attempt is over and both sides were told; flows are closed.
    pub fn failed(&mut self, desk: &mut Desk<'_>, code: u16, reason: &str) -> State {
        self.note_failure(code, reason);
        self.cdr.end(desk.wall);
        let mut byes = Vec::new();
        if let Some(dialog) = self.callee.dialog {
            byes.extend(desk.bye(self, dialog));
        }
        Ending::start(byes, self, desk)
    }

    /// One side hung up: tells the other.
    pub fn hang_up(&mut self, desk: &mut Desk<'_>, whom: Party, who: Party, reason: &str) -> State {
        let ended_by = match who {
            Party::Caller => "caller",
            Party::Callee => "callee",
        };
        self.cdr.hang_up(ended_by, reason);
        self.cdr.end(desk.wall);
        let dialog = self.leg(whom).dialog;
        let byes = dialog.and_then(|d| desk.bye(self, d)).into_iter().collect();
        Ending::start(byes, self, desk)
    }

    /// The gateway ends the call on both sides.
    pub fn hang_up_both(&mut self, desk: &mut Desk<'_>, code: u16, reason: &str) -> State {
        self.cdr.hang_up("gateway", reason);
        self.cdr.end(desk.wall);
        self.cdr.code(code);
        let mut byes = Vec::new();
        for party in [Party::Caller, Party::Callee] {
            if let Some(dialog) = self.leg(party).dialog {
                byes.extend(desk.bye(self, dialog));
            }
        }
        Ending::start(byes, self, desk)
    }

    /// Writes the CDR: called exactly once, when nothing is left.
    pub fn finish(&mut self, desk: &mut Desk<'_>) {
        let forward = self.flows.forward.unwrap_or_default();
        let backward = self.flows.backward.unwrap_or_default();
        self.cdr.media(forward, backward);
        desk.write(&mut self.cdr);
    }
}
