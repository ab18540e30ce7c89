//! What every state of a call needs.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use abi::FlowId;
use sdp::Policy;
use sip::endpoint::{ClientId, DialogId, Hop, ServerId};
use sip::wire::{HeaderName, Headers};

use super::ending::Ending;
use super::hunt::{Hunt, Target};
use super::identity::Caller;
use super::negotiate::{Agreed, Unusable};
use super::ways::{self, Timeouts, ways};
use super::{Desk, State, dtmf, fax, timers};
use crate::admission::{Bound, Slot};
use crate::away::Trail;
use crate::cdr::{Record, Way};
use crate::feed::Step;
use crate::media::{MediaError, Pair, Place, Side, Token};
use crate::secret::Pii;
use crate::trunk::digits::{DigitRules, DtmfMode};
use crate::trunk::hold::HoldStyle;
use crate::trunk::refer::ReferPolicy;
use crate::trunk::reliable::Acknowledged;
use crate::trunk::{Host, Trunk, TrunkId, Vantage};

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

    /// As records name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
        }
    }
}

/// One side: its trunk, what may be negotiated on it, its dialog once there is one.
pub struct Leg {
    pub trunk: TrunkId,
    pub policy: Policy,
    pub digits: DigitRules,
    /// Its peer is made an offer even if the other side made none.
    pub forces_offer: bool,
    /// How its peer is told of a hold.
    pub hold_style: HoldStyle,
    /// Its trunk sends and takes UPDATE.
    pub takes_update: bool,
    /// What becomes of its peer's REFER.
    pub refer: ReferPolicy,
    /// How many its peer sent.
    pub referrals: u32,
    /// How long media toward it may be silent before its way is kept open.
    pub rtp_keepalive: Option<Duration>,
    /// Where its media is, and how it is marked.
    pub media_place: Place,
    /// What we call ourselves in session descriptions, where its trunk repairs addresses.
    pub external: Option<IpAddr>,
    pub hop: Hop,
    /// What is known of where its peer is.
    pub vantage: Vantage,
    pub dialog: Option<DialogId>,
    /// Of a dialog that is at home on another shard.
    pub trail: Option<Trail>,
    /// The call's place on the trunk; given back as soon as the call is over for its parties.
    pub slot: Option<Slot>,
    /// What media was last connected by.
    pub standing: Option<Agreed>,
    /// Its session timer, as agreed when the call was answered.
    pub timer: Option<timers::Agreed>,
    /// The peer takes UPDATE (RFC 3311).
    pub updates: bool,
    /// Which provisional responses of ours the caller acknowledges (RFC 3262).
    pub acknowledged: Acknowledged,
}

impl Leg {
    /// A side before anything was said on it.
    pub fn new(trunk: &Trunk, hop: Hop, slot: Option<Slot>) -> Self {
        Self {
            trunk: trunk.id,
            policy: trunk.policy(),
            digits: trunk.digits,
            forces_offer: trunk.manner.forces_offer,
            hold_style: trunk.manner.hold_style,
            takes_update: trunk.manner.update,
            refer: trunk.manner.refer,
            referrals: 0,
            rtp_keepalive: trunk.manner.rtp_keepalive,
            media_place: trunk.manner.media_place,
            external: match trunk.external_address {
                Some(Host::Address(address)) => Some(address),
                _ => None,
            },
            hop,
            vantage: Vantage::new(trunk, hop.remote.ip()),
            dialog: None,
            trail: None,
            slot,
            standing: None,
            timer: None,
            updates: false,
            acknowledged: Acknowledged::None,
        }
    }

    /// The same side without a peer: nobody is there, and nothing was agreed to.
    pub fn vacated(&self) -> Self {
        Self {
            policy: self.policy.clone(),
            dialog: None,
            trail: None,
            slot: None,
            standing: None,
            timer: None,
            acknowledged: Acknowledged::None,
            ..*self
        }
    }

    /// What the peer's INVITE or its 2xx says beside its media.
    pub fn agree(&mut self, headers: &Headers, timer: Option<Option<timers::Agreed>>) {
        self.timer = timer.flatten();
        self.updates = self.takes_update && headers.has_token(&HeaderName::Allow, "UPDATE");
    }
}

/// A call, and its side that is to come over.
pub type Sponsor = (Token, Party);

/// A call, apart from where it is.
pub struct Common {
    pub token: Token,
    pub caller: Leg,
    pub callee: Leg,
    pub cdr: Record,
    pub who: Caller,
    /// The call that waits for this one to come of its transfer.
    pub sponsor: Option<Sponsor>,
    /// Who asked for this call by REFER, and said so (RFC 3892).
    pub referrer: Option<Box<Caller>>,
    /// There is no callee, and nobody is asked: the caller is only told why.
    pub is_alone: bool,
    /// Media goes from peer to peer (`bypass.rs`).
    pub is_bypassed: bool,
    /// The number that the callee's trunk is asked for, after the route's rewriting.
    pub called: String,
    pub timeouts: Timeouts,
    pub deadline: Option<Instant>,
    silence: Silence,
    /// Digits on their way to caller and callee by INFO.
    pub presses: [dtmf::Outbox; 2],
    pub servers: Vec<ServerId>,
    pub clients: Vec<ClientId>,
    /// Branches that were given up and cancelled, each with the number of its attempt.
    left_behind: Vec<(ClientId, usize)>,
    pub dialogs: Vec<DialogId>,
    flows: Flows,
}

/// Ways without media: from the caller, from the callee.
#[derive(Default)]
struct Silence {
    /// Packets that a way had accepted when it fell silent.
    packets: [Option<u64>; 2],
    /// How long each may be silent; `None` is for ever.
    patience: [Option<Duration>; 2],
}

/// The call's flows and how far they are closed.
struct Flows {
    pair: Pair,
    /// How what leaves from the callee's ports is marked.
    callee_place: Place,
    released: bool,
    /// What had passed when the record began: from caller, from callee.
    before: [Way; 2],
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
        let callee_place = callee.media_place;
        Self {
            token,
            caller,
            callee,
            cdr,
            who: Caller::default(),
            sponsor: None,
            referrer: None,
            is_alone: false,
            is_bypassed: false,
            called,
            timeouts: Timeouts::default(),
            deadline: None,
            silence: Silence::default(),
            presses: Default::default(),
            servers: Vec::new(),
            clients: Vec::new(),
            left_behind: Vec::new(),
            dialogs: Vec::new(),
            flows: Flows {
                pair,
                callee_place,
                released: false,
                before: [Way::default(); 2],
                forward: None,
                backward: None,
            },
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

    /// The trunks of caller and callee.
    pub fn trunks(&self) -> [Option<TrunkId>; 2] {
        [Some(self.caller.trunk), Some(self.callee.trunk).filter(|_| !self.is_alone)]
    }

    /// The call is over: others may have its places.
    pub fn give_slots_back(&mut self) {
        (self.caller.slot, self.callee.slot) = (None, None);
    }

    pub fn leg(&self, party: Party) -> &Leg {
        match party {
            Party::Caller => &self.caller,
            Party::Callee => &self.callee,
        }
    }

    pub fn leg_mut(&mut self, party: Party) -> &mut Leg {
        match party {
            Party::Caller => &mut self.caller,
            Party::Callee => &mut self.callee,
        }
    }

    /// Makes `target` the callee's side, with a place on its trunk; that on the trunk before is given
    /// back.
    ///
    /// # Errors
    /// Why the trunk takes no call now; nothing was changed then.
    pub fn turn_to(
        &mut self,
        target: &Target,
        hunt: &Hunt,
        desk: &mut Desk<'_>,
    ) -> Result<(), String> {
        let gone = || String::from("the trunk is gone");
        let trunk = desk.trunks.get(target.trunk).ok_or_else(gone)?;
        let is_there = self.callee.trunk == trunk.id;
        let slot = match self.callee.slot.take_if(|_| is_there) {
            Some(slot) => slot,
            None => {
                let (now, is_emergency) = (desk.now, hunt.is_emergency);
                let taken = desk.admission.take(now, trunk, Bound::Out, is_emergency);
                taken.map_err(|full| full.to_string())?
            }
        };
        self.callee = Leg::new(trunk, target.hop, Some(slot));
        // Who comes over is asked when the callee has answered.
        self.callee.forces_offer |= self.sponsor.is_some();
        dtmf::settle(&mut self.caller, &mut self.callee);
        self.called = trunk.numbering.called_out(&hunt.called);
        if let Some(caller) = desk.trunks.get(self.caller.trunk) {
            self.timeouts = Timeouts::between(caller, trunk);
        }
        self.cdr.to_trunk(&trunk.name);
        Ok(())
    }

    /// A branch is given up; it may still be answered.
    pub fn leave_behind(&mut self, client: ClientId) {
        self.left_behind.push((client, self.cdr.attempts()));
    }

    /// The number of the attempt whose branch was left behind, from 1.
    pub fn attempt_left_behind(&self, client: ClientId) -> Option<usize> {
        let found = self.left_behind.iter().find(|(left, _)| *left == client);
        found.map(|(_, attempt)| *attempt)
    }

    /// Leases other ports, for these sides (caller, callee), and gives the old ones back.
    ///
    /// # Errors
    /// [`MediaError`]; the old ports stay then.
    pub fn lease_again(&mut self, sides: [Side; 2], desk: &mut Desk<'_>) -> Result<(), MediaError> {
        let callee_place = sides.get(1).map(|side| side.place).unwrap_or_default();
        let pair = desk.media.lease(self.token, self.cdr.key(), sides)?;
        self.flows.callee_place = callee_place;
        let old = std::mem::replace(&mut self.flows.pair, pair);
        desk.media.release(&old);
        Ok(())
    }

    /// Whether the callee's ports mark what they send as its trunk wants it.
    pub fn is_marked_right(&self) -> bool {
        self.flows.callee_place.dscp == self.callee.media_place.dscp
    }

    /// Whether the callee's ports are on the network of its trunk.
    pub fn is_on_its_network(&self) -> bool {
        self.flows.callee_place.network == self.callee.media_place.network
    }

    /// Whether a flow is one of the call's: not of ports that it gave back.
    pub fn owns(&self, flow: FlowId) -> bool {
        let Pair { forward, backward, .. } = self.flows.pair;
        flow == forward || flow == backward
    }

    /// Nothing passes any more between the caller and a callee whose attempt failed.
    pub fn hush(&self, desk: &mut Desk<'_>, near: &Agreed, far: &Agreed) {
        if self.is_bypassed {
            return;
        }
        let Ok(mut ways) = self.ways(near, far) else { return };
        ways.iter_mut().for_each(|way| way.relay = false);
        if let Err(error) = desk.media.connect(self.pair(), ways) {
            tracing::warn!(call = self.id(), %error, "early media of a failed attempt not ended");
        }
    }

    /// What the data plane is to do between what both sides agreed to.
    fn ways(&self, near: &Agreed, far: &Agreed) -> Result<[abi::Update; 2], Unusable> {
        let Self { caller, callee, .. } = self;
        let rules = [&caller.digits, &callee.digits];
        let mut ways = ways([near, far], rules, self.timeouts)?;
        for (way, (leg, agreed)) in ways.iter_mut().zip([(callee, far), (caller, near)]) {
            way.keepalive = ways::keepalive(leg.rtp_keepalive, agreed).filter(|_| !way.udptl);
        }
        Ok(ways)
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
    ///
    /// # Errors
    /// [`Unusable`] when the two sides' formats cannot be joined; nothing was changed then.
    pub fn connect(
        &mut self,
        desk: &mut Desk<'_>,
        near: &Agreed,
        far: &Agreed,
    ) -> Result<u64, Unusable> {
        if self.is_bypassed {
            self.caller.standing = Some(near.clone());
            self.callee.standing = Some(far.clone());
            return Ok(0);
        }
        let ways = self.ways(near, far)?;
        if near.fax.is_some() && self.cdr.note(fax::FAXED) {
            tracing::info!(call = self.id(), "the call's media is fax (T.38) now");
        }
        self.cdr.suites(near.suite.map(sdp::Suite::name), far.suite.map(sdp::Suite::name));
        self.note_media(near, far, &ways);
        let pair = self.flows.pair;
        self.caller.standing = Some(near.clone());
        self.callee.standing = Some(far.clone());
        match desk.media.connect(&pair, ways) {
            Ok(serial) => Ok(serial),
            Err(error) => {
                tracing::error!(call = self.id(), %error, "media not connected; the call ends");
                desk.stop_soon(self.token, "the data plane takes no commands");
                Ok(0)
            }
        }
    }

    /// What an operator should know of a call whose media is not all that it could be.
    fn note_media(&mut self, near: &Agreed, far: &Agreed, ways: &[abi::Update; 2]) {
        for (agreed, note) in [(near, LOST_CALLER), (far, LOST_CALLEE)] {
            if agreed.place.is_lost && self.cdr.note(note) {
                tracing::warn!(call = self.id(), "{note}");
            }
        }
        let legs = [(near, &self.caller), (far, &self.callee)];
        let lacks = |(agreed, leg): &(&Agreed, &Leg)| {
            leg.digits.mode == DtmfMode::Rfc2833 && ways::events(agreed).is_none()
        };
        if legs.iter().any(lacks) && self.cdr.note(NO_EVENTS) {
            tracing::debug!(call = self.id(), "{NO_EVENTS}");
        }
        let patience = |way: &abi::Update| {
            (way.timeout_ms > 0).then(|| Duration::from_millis(way.timeout_ms.into()))
        };
        self.silence.patience = ways.each_ref().map(patience);
    }

    /// Takes what the data plane tells of a flow besides commands that were carried out.
    pub fn told(&mut self, notice: &abi::Notice) {
        match notice {
            abi::Notice::Learned { flow, remote } => {
                let from_caller = self.is_forward(*flow);
                tracing::debug!(
                    call = self.id(),
                    from = if from_caller { "caller" } else { "callee" },
                    source = %Pii(remote.to_string()),
                    "learned where media comes from"
                );
                self.cdr.learned(from_caller, *remote);
            }
            // Before the answer one side rings and the other has nothing to say.
            abi::Notice::OneWay { flow, .. } if self.cdr.is_answered() => {
                let note = if self.is_forward(*flow) { ONE_WAY_CALLER } else { ONE_WAY_CALLEE };
                if self.cdr.note(note) {
                    tracing::warn!(call = self.id(), "{note}");
                }
            }
            abi::Notice::Refused { reason, .. } if self.cdr.note(UNSAID) => {
                tracing::warn!(call = self.id(), %reason, "{UNSAID}");
            }
            _ => {}
        }
    }

    /// Gives the ports back; the final counts come later.
    pub fn release(&mut self, desk: &mut Desk<'_>) {
        if !self.flows.released {
            self.flows.released = true;
            #[cfg(test)]
            if crate::sim::breaks(crate::sim::Bug::KeepsFlows) {
                return;
            }
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
        } else if self.owns(flow) {
            self.flows.backward = way;
        }
    }

    /// Notes that a direction fell silent.
    pub fn fell_silent(&mut self, desk: &Desk<'_>, flow: FlowId) {
        let packets = desk.media.packets(self.pair(), flow).unwrap_or_default();
        let [forward, backward] = &mut self.silence.packets;
        let way = if flow == self.flows.pair.forward { forward } else { backward };
        *way = Some(packets);
    }

    /// Whether both directions fell silent and neither has spoken since.
    pub fn is_silent(&self, desk: &Desk<'_>) -> bool {
        let pair = &self.flows.pair;
        let still = |flow: FlowId, packets: Option<u64>| {
            packets.is_some() && desk.media.packets(pair, flow) == packets
        };
        let [forward, backward] = self.silence.packets;
        still(pair.forward, forward) && still(pair.backward, backward)
    }

    /// How long both directions may be silent; `None` is for ever.
    pub fn patience(&self) -> Option<Duration> {
        let [forward, backward] = self.silence.patience;
        Some(forward?.max(backward?))
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
        if !self.cdr.is_answered() {
            self.cdr.fail(code, reason);
        } else if !self.cdr.is_hung_up() {
            // The caller was answered to be greeted.
            self.cdr.hang_up("gateway", reason);
            self.cdr.code(code);
        }
    }

    /// The caller hung up before anybody answered; it may have been answered to be greeted.
    pub fn caller_left(&mut self) {
        if self.caller.dialog.take().is_some() {
            self.cdr.hang_up("caller", "hung up by the caller");
        }
    }

    /// The attempt is over and both sides were told; flows are closed.
    pub fn failed(&mut self, desk: &mut Desk<'_>, code: u16, reason: &str) -> State {
        self.note_failure(code, reason);
        self.cdr.end(desk.wall);
        let mut byes = Vec::new();
        // The caller has a dialog when it was answered to be greeted.
        for dialog in [self.caller.dialog, self.callee.dialog].into_iter().flatten() {
            byes.extend(desk.bye(self, dialog));
        }
        Ending::start(byes, self, desk)
    }

    /// One side hung up: tells the other.
    pub fn hang_up(&mut self, desk: &mut Desk<'_>, whom: Party, who: Party, reason: &str) -> State {
        self.cdr.hang_up(who.name(), reason);
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
        let [from_caller, from_callee] = self.flows.before;
        self.cdr.media(forward.since(from_caller), backward.since(from_callee));
        desk.write(&mut self.cdr);
    }

    /// Writes the CDR of a call that goes on under another record.
    pub fn close_record(&mut self, desk: &mut Desk<'_>) {
        let pair = self.flows.pair;
        let way = |flow| {
            let found = desk.media.snapshot(&pair, flow);
            found.map(|flow| Way { packets: flow.packets_in, bytes: flow.bytes_in })
        };
        let now = [way(pair.forward), way(pair.backward)].map(Option::unwrap_or_default);
        let [forward, backward] = now;
        let [from_caller, from_callee] = std::mem::replace(&mut self.flows.before, now);
        self.cdr.media(forward.since(from_caller), backward.since(from_callee));
        desk.write(&mut self.cdr);
        desk.reached(Step::Ended, "talking", self);
    }

    /// The call goes on under this record.
    pub fn open_record(&mut self, desk: &mut Desk<'_>, record: Record) {
        self.cdr = record;
        desk.cdrs.note(&self.cdr);
        desk.reached(Step::Answered, "talking", self);
    }

    /// Digits on their way to a side by INFO.
    pub fn presses_of(&mut self, party: Party) -> &mut dtmf::Outbox {
        let [caller, callee] = &mut self.presses;
        match party {
            Party::Caller => caller,
            Party::Callee => callee,
        }
    }

    /// The callee is the caller from now on, and the other way round.
    pub fn turn_around(&mut self, desk: &mut Desk<'_>) {
        std::mem::swap(&mut self.caller, &mut self.callee);
        self.presses.reverse();
        self.silence.packets.reverse();
        self.silence.patience.reverse();
        let Flows { pair, callee_place, before, forward, backward, .. } = &mut self.flows;
        std::mem::swap(&mut pair.forward, &mut pair.backward);
        std::mem::swap(forward, backward);
        before.reverse();
        *callee_place = self.callee.media_place;
        for dialog in &self.dialogs {
            if let Some((_, party)) = desk.index.dialogs.get_mut(dialog) {
                *party = party.other();
            }
        }
    }
}

const LOST_CALLER: &str = "no media to the caller: it named a private address, and its trunk is on \
                           a public one; set the trunk's nat to COMEDIA or AUTO";
const LOST_CALLEE: &str = "no media to the callee: it named a private address, and its trunk is on \
                           a public one; set the trunk's nat to COMEDIA or AUTO";
const UNSAID: &str = "a digit or prompt could not be said in the codec of this call";
const NO_EVENTS: &str = "telephone-event was not negotiated: digits pass as audio only";
const ONE_WAY_CALLER: &str = "one-way audio: nothing from caller";
const ONE_WAY_CALLEE: &str = "one-way audio: nothing from callee";
