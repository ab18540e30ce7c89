//! A transfer comes to its end: sides of running calls go over into this one, each asked by a
//! re-INVITE to send its media to the ports of this call, with fresh keys.
//!
//! ```text
//!  the callee answered ──┐
//!  (blind transfer)      ├─► Away: its call is asked for it ─► Here ─► Asked ─► Agreed ─┐
//!  two ports leased ─────┘                                                              ▼ of both
//!  (attended transfer)                        both are acknowledged ◄─ the data plane is told
//! ```
//! The call that gives a side ends; whoever asked for the transfer is told so there.

use std::time::Duration;

use sdp::{Audio, Direction};
use sip::endpoint::{ClientId, DialogId};
use sip::wire::{Method, Response, StatusCode};

use super::common::Leg;
use super::negotiate::{self, Agreed, Offered, Ports, Unusable};
use super::talking::Talking;
use super::ways::Timeouts;
use super::{Common, Desk, Happening, Party, State, changing, dtmf, headers, timers};
use crate::media::Token;

pub struct Joining {
    ports: [Option<Ports>; 2],
    /// Of caller and callee.
    seats: [Seat; 2],
    /// How often something was in the way.
    tries: u8,
    serial: Option<u64>,
}

/// How far a side is.
pub enum Seat {
    /// In that call, as this side of it.
    Away {
        from: Token,
        party: Party,
    },
    /// Here, and not asked yet.
    Here,
    Asked {
        client: ClientId,
        ours: Offered,
    },
    /// `dialog` waits for our ACK.
    Agreed {
        agreed: Box<Agreed>,
        dialog: Option<DialogId>,
    },
}

impl Joining {
    /// Waits for the sides that are away, and first for ports where there are none.
    pub fn start(
        ports: [Option<Ports>; 2],
        seats: [Seat; 2],
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> State {
        let this = Self { ports, seats, tries: 0, serial: None };
        match this.ports {
            [Some(_), Some(_)] => this.want(common, desk),
            _ => desk.set_deadline(common, desk.settings.lease_limit),
        }
        State::Joining(Box::new(this))
    }

    pub fn on(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        happening: Happening,
    ) -> State {
        match happening {
            Happening::Opened { flow, rtp, rtcp } => {
                self.opened(common.is_forward(flow), (rtp, rtcp), common, desk);
                State::Joining(self)
            }
            Happening::Guest { from, leg } => self.come(from, *leg, common, desk),
            Happening::Unavailable { from } if self.waits_for(from) => {
                self.again(common, desk, StatusCode::REQUEST_PENDING)
            }
            Happening::Response { client, dialog, response, .. } => {
                self.answered(common, desk, client, dialog, &response)
            }
            Happening::Failed { client, .. } if self.asked(client).is_some() => {
                self.fail(common, desk, StatusCode::REQUEST_TIMEOUT, "a side did not answer")
            }
            Happening::Connected { flow, serial }
                if self.serial.is_some_and(|wanted| common.is_armed(flow, serial, wanted)) =>
            {
                self.finish(common, desk)
            }
            Happening::Deadline
                if self.serial.is_some() || self.ports.iter().any(Option::is_none) =>
            {
                let reason = "the data plane did not answer";
                self.fail(common, desk, StatusCode::SERVICE_UNAVAILABLE, reason)
            }
            Happening::Deadline => {
                self.want(common, desk);
                self.ask(common, desk)
            }
            Happening::Request { party, transaction, request } if request.method == Method::Bye => {
                headers::answer_bye(desk, transaction);
                common.leg_mut(party).dialog = None;
                let reason = "a side hung up during the transfer";
                self.fail(common, desk, StatusCode::TEMPORARILY_UNAVAILABLE, reason)
            }
            Happening::Request { transaction, request, .. } => {
                headers::answer_in_dialog(desk, transaction, &request);
                State::Joining(self)
            }
            Happening::Cancelled => {
                let reason = "a side hung up during the transfer";
                self.fail(common, desk, StatusCode::REQUEST_TERMINATED, reason)
            }
            Happening::Refused { reason } => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                self.fail(common, desk, status, &reason.to_string())
            }
            Happening::Stop { reason } => {
                self.fail(common, desk, StatusCode::SERVICE_UNAVAILABLE, reason)
            }
            _ => State::Joining(self),
        }
    }

    fn seat(&mut self, party: Party) -> &mut Seat {
        let [caller, callee] = &mut self.seats;
        match party {
            Party::Caller => caller,
            Party::Callee => callee,
        }
    }

    fn opened(
        &mut self,
        is_caller: bool,
        (rtp, rtcp): (std::net::SocketAddr, std::net::SocketAddr),
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) {
        let leg = if is_caller { &common.caller } else { &common.callee };
        let ports = negotiate::ports(leg.external, &desk.settings.told, rtp, rtcp);
        let [caller, callee] = &mut self.ports;
        *(if is_caller { caller } else { callee }) = Some(ports);
        if self.ports.iter().all(Option::is_some) {
            self.want(common, desk);
        }
    }

    /// Asks the calls for their sides.
    fn want(&self, common: &mut Common, desk: &mut Desk<'_>) {
        desk.set_deadline(common, JOIN_LIMIT);
        for seat in &self.seats {
            if let Seat::Away { from, party } = seat {
                let (by, id) = (common.token, common.id().to_owned());
                desk.tell_call(*from, Happening::Wanted { by, id, party: *party });
            }
        }
    }

    fn waits_for(&self, call: Token) -> bool {
        self.seats.iter().any(|seat| matches!(seat, Seat::Away { from, .. } if *from == call))
    }

    /// A side comes over.
    fn come(
        mut self: Box<Self>,
        from: Token,
        leg: Leg,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> State {
        let away = |party: &Party| {
            let [caller, callee] = &self.seats;
            let seat = if *party == Party::Caller { caller } else { callee };
            matches!(seat, Seat::Away { from: call, .. } if *call == from)
        };
        let Some(party) = [Party::Caller, Party::Callee].into_iter().find(away) else {
            return State::Joining(self);
        };
        if common.sponsor.is_some_and(|(call, _)| call == from) {
            common.sponsor = None;
        }
        if let Some(dialog) = leg.dialog {
            desk.own_dialog(common, dialog, party);
        }
        *common.leg_mut(party) = leg;
        *self.seat(party) = Seat::Here;
        self.ask(common, desk)
    }

    /// Asks the next side that is here, when both are; connects them when both have agreed.
    fn ask(mut self: Box<Self>, common: &mut Common, desk: &mut Desk<'_>) -> State {
        let is_busy = |seat: &Seat| matches!(seat, Seat::Away { .. } | Seat::Asked { .. });
        if self.seats.iter().any(is_busy) || self.serial.is_some() {
            return State::Joining(self);
        }
        dtmf::settle(&mut common.caller, &mut common.callee);
        let trunks = [&common.caller, &common.callee].map(|leg| desk.trunks.get(leg.trunk));
        if let [Some(caller), Some(callee)] = trunks {
            common.timeouts = Timeouts::between(caller, callee);
        }
        let [caller, callee] = &self.seats;
        let party = match (caller, callee) {
            (Seat::Here, _) => Party::Caller,
            (_, Seat::Here) => Party::Callee,
            _ => return self.connect(common, desk),
        };
        match self.offer(party, common, desk) {
            Ok(ours) => match desk.reinvite(common, party, Vec::new(), ours.body.clone()) {
                Some(client) => {
                    desk.clear_deadline(common);
                    *self.seat(party) = Seat::Asked { client, ours };
                    State::Joining(self)
                }
                // An INVITE runs there.
                None => self.again(common, desk, StatusCode::REQUEST_PENDING),
            },
            Err(reject) => self.fail(common, desk, reject.status(), &reject.to_string()),
        }
    }

    /// Our offer to a side that comes over: what the other one has.
    fn offer(
        &self,
        party: Party,
        common: &Common,
        desk: &mut Desk<'_>,
    ) -> Result<Offered, Unusable> {
        let ([caller, callee], [caller_ports, callee_ports]) = (&self.seats, self.ports);
        let (other, ports) = match party {
            Party::Caller => (callee, caller_ports),
            Party::Callee => (caller, callee_ports),
        };
        let far = match other {
            Seat::Agreed { agreed, .. } => Some(&agreed.audio),
            _ => common.leg(party.other()).standing.as_ref().map(|standing| &standing.audio),
        };
        let far = far.map(|far| Audio { direction: Direction::SendRecv, ..far.clone() });
        let leg = common.leg(party);
        let standing = leg.standing.as_ref().ok_or(Unusable::NoOffer)?;
        let ports = ports.ok_or(Unusable::NoOffer)?;
        negotiate::offer_elsewhere(&leg.policy, far.as_ref(), ports, standing, desk.entropy)
    }

    fn asked(&self, client: ClientId) -> Option<Party> {
        let is_meant =
            |seat: &Seat| matches!(seat, Seat::Asked { client: own, .. } if *own == client);
        let [caller, callee] = &self.seats;
        match (is_meant(caller), is_meant(callee)) {
            (true, _) => Some(Party::Caller),
            (_, true) => Some(Party::Callee),
            _ => None,
        }
    }

    fn answered(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        client: ClientId,
        dialog: Option<DialogId>,
        response: &Response,
    ) -> State {
        let Some(party) = self.asked(client).filter(|_| response.status.is_final()) else {
            return State::Joining(self);
        };
        desk.disown_client(common, client);
        let Seat::Asked { ours, .. } = std::mem::replace(self.seat(party), Seat::Here) else {
            return State::Joining(self);
        };
        if response.status == StatusCode::REQUEST_PENDING {
            return self.again(common, desk, response.status);
        }
        if !response.status.is_success() {
            let reason = "a side refused to send its media elsewhere";
            return self.fail(common, desk, response.status, reason);
        }
        let body = headers::sdp_of(&response.headers, &response.body).ok_or(Unusable::NoAnswer);
        match body.and_then(|body| negotiate::accept(&ours, body, common.leg(party))) {
            Ok(agreed) => {
                let rules = desk.trunks.get(common.leg(party).trunk).map(|trunk| trunk.timer);
                let timer = timers::accepted(&response.headers, &rules.unwrap_or_default());
                common.leg_mut(party).timer = timer;
                *self.seat(party) = Seat::Agreed { agreed: Box::new(agreed), dialog };
                self.ask(common, desk)
            }
            Err(reject) => {
                if let Some(dialog) = dialog {
                    desk.ack(dialog, None);
                }
                self.fail(common, desk, reject.status(), &reject.to_string())
            }
        }
    }

    /// Something was in the way: tries once more, after a pause.
    fn again(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        status: StatusCode,
    ) -> State {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return self.fail(common, desk, status, "a side was busy for too long");
        }
        let pause = changing::pause(Party::Caller, desk.entropy);
        desk.set_deadline(common, pause);
        State::Joining(self)
    }

    /// Both have agreed.
    fn connect(mut self: Box<Self>, common: &mut Common, desk: &mut Desk<'_>) -> State {
        let [Seat::Agreed { agreed: near, .. }, Seat::Agreed { agreed: far, .. }] = &self.seats
        else {
            return State::Joining(self);
        };
        match common.connect(desk, near, far) {
            Ok(serial) => {
                self.serial = Some(serial);
                desk.set_deadline(common, desk.settings.lease_limit);
                State::Joining(self)
            }
            Err(reject) => self.fail(common, desk, reject.status(), &reject.to_string()),
        }
    }

    fn finish(mut self: Box<Self>, common: &mut Common, desk: &mut Desk<'_>) -> State {
        desk.clear_deadline(common);
        self.acknowledge(desk);
        common.cdr.answer(desk.wall);
        desk.cdrs.note(&common.cdr);
        Talking::start(common, desk)
    }

    fn acknowledge(&mut self, desk: &mut Desk<'_>) {
        for seat in &mut self.seats {
            if let Seat::Agreed { dialog, .. } = seat
                && let Some(dialog) = dialog.take()
            {
                desk.ack(dialog, None);
            }
        }
    }

    /// Whoever is here is sent away, and the calls that were asked are told.
    fn fail(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        status: StatusCode,
        reason: &str,
    ) -> State {
        self.acknowledge(desk);
        for seat in &self.seats {
            match seat {
                Seat::Away { from, .. } => desk.tell_call(*from, Happening::Progress { status }),
                Seat::Asked { client, .. } => desk.cancel(*client),
                Seat::Here | Seat::Agreed { .. } => {}
            }
        }
        common.sponsor = None;
        common.cdr.fail(status.code(), reason);
        common.hang_up_both(desk, status.code(), reason)
    }
}

/// How long a call may take to give a side away.
const JOIN_LIMIT: Duration = Duration::from_secs(1);
/// Pauses of up to two seconds.
const TRIES_MAX: u8 = 8;
