//! What the user agents, the operator, the data plane and fate do, and when.

use std::time::Duration;

use abi::Reason;
use bytes::Bytes;
use jiff::SignedDuration;
use sip::endpoint::{ClientId, DialogId, Hop, ServerId, Transport};
use sip::wire::{HeaderName, Method, Request};

use super::world::{CARRIER, PBX, STRANGER, World, plan};
use crate::call::tests::peer::message;
use crate::call::tests::plane::Plane;
use crate::net::Inbound;
use crate::trunk::Origin;

/// Something that is done at a moment.
pub enum Deed {
    Place(usize),
    Cancel(usize, ClientId),
    /// The caller has waited for longer than any call rings.
    GiveUp(usize, ClientId),
    Answer(usize, ServerId, u16, Option<String>),
    Ask(usize, DialogId, Method),
    HangUp(usize, DialogId),
    /// Somebody else of that side takes the call that rings there.
    PickUp(usize, DialogId),
    /// Somebody else of that side takes the dialog's place.
    Replace(usize, DialogId),
    /// The other side is to be transferred: to a number, or to the other side of another dialog.
    Transfer(usize, DialogId, bool),
    Drop,
    Stall(u64),
    JumpWall(i64),
    KillPlane,
    RaisePlane,
    PausePlane(bool),
    DeafenPlane(bool),
    Refuse(Option<Reason>, Option<Reason>),
    LoseFlow,
    /// No media comes any more.
    Silence,
    Edit,
    EndOne,
    EndAll,
    Knock,
    Mend,
}

/// Calls of one world.
const CALLS_MAX: u64 = 5;
/// Milliseconds within which everything begins.
const BUSY_MS: u64 = 12_000;
/// How long a caller waits for an answer.
const GIVE_UP_MS: u64 = 45_000;
/// When the network mends and the last ones hang up.
const MEND_MS: u64 = 60_000;
const LAST_MS: u64 = 150_000;

impl World {
    pub fn after(&mut self, ms: u64, deed: Deed) {
        self.planned += 1;
        let at = self.now + Duration::from_millis(ms);
        self.deeds.insert((at, self.planned), deed);
    }

    fn within(&mut self, ms: u64, deed: Deed) -> u64 {
        let at = self.dice.below(ms);
        self.after(at, deed);
        at
    }

    /// Everything that does not depend on what others do.
    pub fn plan_all(&mut self) {
        for _ in 0..=self.dice.below(CALLS_MAX) {
            let who = self.dice.below(2) as usize;
            self.within(BUSY_MS, Deed::Place(who));
        }
        self.within(BUSY_MS, Deed::Knock);
        for _ in 0..self.faults.drops {
            self.within(BUSY_MS * 3, Deed::Drop);
        }
        for _ in 0..self.faults.stalls {
            let stall = 1_000 + self.dice.below(19_000);
            self.within(BUSY_MS * 2, Deed::Stall(stall));
        }
        for _ in 0..self.faults.wall_jumps {
            let seconds = self.dice.below(7_200) as i64 - 3_600;
            self.within(BUSY_MS * 2, Deed::JumpWall(seconds));
        }
        for _ in 0..self.faults.plane_deaths {
            let died = self.within(BUSY_MS * 2, Deed::KillPlane);
            let away = self.dice.below(5_000);
            self.after(died + away, Deed::RaisePlane);
        }
        if self.faults.bad_plane {
            self.plan_plane();
        }
        if self.faults.operator {
            self.within(BUSY_MS, Deed::Edit);
            self.within(BUSY_MS * 2, Deed::EndOne);
            if self.dice.below(4) == 0 {
                self.within(BUSY_MS * 2, Deed::EndAll);
            }
        }
        self.after(MEND_MS, Deed::Mend);
        // Who has no call any more sends no media, and the data plane says so: again and again,
        // since a direction that speaks in between counts anew.
        for round in 1..4 {
            self.after(LAST_MS + round * 10_000, Deed::Silence);
        }
    }

    fn plan_plane(&mut self) {
        let paused = self.within(BUSY_MS, Deed::PausePlane(true));
        let pause = self.dice.below(4_000);
        self.after(paused + pause, Deed::PausePlane(false));
        let refused = match self.dice.below(4) {
            0 => (Some(Reason::NoPorts), None),
            1 => (None, Some(Reason::BadCommand)),
            2 => (None, Some(Reason::NoSuchFlow)),
            _ => (None, None),
        };
        let at = self.within(BUSY_MS, Deed::Refuse(refused.0, refused.1));
        self.after(at + 1_500, Deed::Refuse(None, None));
        let deaf = self.within(BUSY_MS * 2, Deed::DeafenPlane(true));
        self.after(deaf + 1_000, Deed::DeafenPlane(false));
        self.within(BUSY_MS * 2, Deed::LoseFlow);
        self.within(BUSY_MS * 2, Deed::Silence);
    }

    /// Does what is due, and decides what becomes of what is new.
    pub fn follow_deeds(&mut self) -> bool {
        let mut any = false;
        while let Some(entry) = self.deeds.first_entry().filter(|e| e.key().0 <= self.now) {
            any = true;
            let deed = entry.remove();
            self.follow(deed);
        }
        for who in [CARRIER, PBX] {
            while let Some((id, request)) = self.peers[who].invites.pop_front() {
                any = true;
                if self.is_scripted {
                    self.accept(who, id, &request);
                    continue;
                }
                self.plan_answer(who, id, &request);
            }
            let live: Vec<_> = self.peers[who].live.iter().copied().collect();
            for dialog in live {
                if !self.is_scripted && self.seen.insert((who, dialog)) {
                    self.plan_dialog(who, dialog);
                }
            }
        }
        any
    }

    fn accept(&mut self, who: usize, id: ServerId, request: &Request) {
        let offers = !request.body.is_empty();
        let body = offers.then(|| self.peers[who].accept(&request.body));
        let talks = self.peers[who].dialog;
        let dialog = self.peers[who].answer(self.now, id, 200, body);
        self.peers[who].dialog = dialog.or(talks);
    }

    fn follow(&mut self, deed: Deed) {
        let now = self.now;
        match deed {
            Deed::Place(who) => self.place(who),
            Deed::Cancel(who, client) => {
                let _over_already = self.peers[who].endpoint.cancel(now, client);
            }
            Deed::GiveUp(who, client) => {
                let waits = self.peers[who].endpoint.cancel(now, client).is_ok();
                if waits && self.is_perfect {
                    self.problems.push(format!("a caller of {who} waits for ever"));
                }
            }
            Deed::Answer(who, id, status, body) => {
                let early = self.peers[who].answer(now, id, status, body);
                if let Some(early) = early.filter(|_| status < 200 && self.dice.below(8) == 0) {
                    self.within(3_000, Deed::PickUp(who, early));
                }
            }
            Deed::PickUp(who, dialog) => self.replace(who, dialog),
            Deed::Ask(who, dialog, method) => self.ask(who, dialog, method),
            Deed::HangUp(who, dialog) => {
                if self.peers[who].live.contains(&dialog) {
                    self.peers[who].hang_up(now, dialog);
                }
            }
            Deed::Replace(who, dialog) => self.replace(who, dialog),
            Deed::Transfer(who, dialog, attends) => self.transfer(who, dialog, attends),
            Deed::Drop => self.drop_connection(PBX),
            Deed::Stall(ms) => self.asleep_until = Some(now + Duration::from_millis(ms)),
            Deed::JumpWall(seconds) => {
                self.wall_shift += SignedDuration::from_secs(seconds);
            }
            Deed::KillPlane => self.kill_plane(),
            Deed::RaisePlane => self.raise_plane(),
            Deed::Mend => self.faults.mend(),
            Deed::Knock => self.knock(),
            Deed::Edit => {
                let (_, edited) = plan("ring_limit = 10", self.refer);
                self.plan.publish(edited);
            }
            Deed::EndOne => self.end_one(),
            Deed::EndAll => {
                let at = self.moment();
                for shard in &mut self.shards {
                    shard.stop_calls(at, "the gateway is stopping");
                }
            }
            deed => self.follow_plane(deed),
        }
    }

    fn follow_plane(&mut self, deed: Deed) {
        if let Deed::LoseFlow = deed {
            return self.lose_flow();
        }
        for plane in &mut self.planes {
            match &deed {
                Deed::PausePlane(is_paused) => plane.stopped = *is_paused,
                Deed::DeafenPlane(is_deaf) => plane.deaf = *is_deaf,
                Deed::Refuse(open, update) => {
                    plane.refuse_open = *open;
                    plane.refuse_update = *update;
                }
                Deed::Silence => {
                    for flow in plane.all_flows() {
                        plane.fall_silent(flow);
                    }
                }
                _ => {}
            }
        }
    }

    fn lose_flow(&mut self) {
        let of = |(number, plane): (usize, &Plane)| {
            plane.all_flows().into_iter().map(move |flow| (number, flow)).collect::<Vec<_>>()
        };
        let flows: Vec<_> = self.planes.iter().enumerate().flat_map(of).collect();
        if self.planes.is_empty() {
            return;
        }
        let chosen = self.dice.below(flows.len() as u64) as usize;
        if let Some((number, flow)) = flows.get(chosen) {
            self.planes[*number].vanish(*flow);
        }
    }

    fn place(&mut self, who: usize) {
        let now = self.now;
        let offer = match self.dice.below(12) {
            0 => None,
            1 => Some(String::from("v=0\r\nnonsense\r\n")),
            _ => Some(self.peers[who].offer()),
        };
        let invite = self.peers[who].invite("+4930222", offer);
        let client = self.peers[who].call(now, invite);
        self.placed.push((who, client));
        self.after(GIVE_UP_MS, Deed::GiveUp(who, client));
        if self.dice.below(3) == 0 {
            self.within(9_000, Deed::Cancel(who, client));
        }
    }

    fn plan_answer(&mut self, who: usize, id: ServerId, request: &Request) {
        if request.method != Method::Invite {
            return self.after(0, Deed::Answer(who, id, 200, None));
        }
        let peer = &self.peers[who];
        let usual = match request.body.is_empty() {
            true => peer.offer(),
            false => peer.accept(&request.body),
        };
        let mut first = self.dice.below(1_500);
        match self.dice.below(4) {
            0 => self.after(first, Deed::Answer(who, id, 180, None)),
            1 => self.after(first, Deed::Answer(who, id, 183, Some(usual.clone()))),
            // At once: races with what the data plane does.
            2 => first = 0,
            _ => {}
        }
        let then = first + self.dice.below(6_000) * u64::from(first > 0);
        let (status, body) = match self.dice.below(12) {
            0 => (486, None),
            1 => (302, None),
            2 => (200, None),
            3 => (200, Some(String::from("v=0\r\nnonsense\r\n"))),
            4 => (503, None),
            // Rings until somebody gives up.
            5 => return self.after(100_000, Deed::Answer(who, id, 480, None)),
            _ => (200, Some(usual)),
        };
        self.after(then, Deed::Answer(who, id, status, body));
    }

    /// What becomes of a call that is up.
    fn plan_dialog(&mut self, who: usize, dialog: DialogId) {
        for method in [Method::Invite, Method::Update, Method::Options, Method::Info] {
            if self.dice.below(4) == 0 {
                self.within(12_000, Deed::Ask(who, dialog, method));
            }
        }
        // Who hangs up in a perfect world is known beforehand.
        if !self.is_perfect {
            self.plan_moves(who, dialog);
        }
        if self.dice.below(3) > 0 {
            self.within(25_000, Deed::HangUp(who, dialog));
        }
        // In a perfect world the other side's BYE came, or one of the two hung up.
        let passed = (self.now - self.start).as_millis() as u64;
        let last = if self.is_perfect { MEND_MS } else { LAST_MS };
        let is_caller = self.peers[who].responses.iter().any(|(client, response)| {
            response.status.is_success() && self.placed.contains(&(who, *client))
        });
        if !self.is_perfect || is_caller {
            self.after(last.saturating_sub(passed), Deed::HangUp(who, dialog));
        }
    }

    fn plan_moves(&mut self, who: usize, dialog: DialogId) {
        match self.dice.below(8) {
            0 => drop(self.within(12_000, Deed::Replace(who, dialog))),
            1 => drop(self.within(12_000, Deed::Transfer(who, dialog, false))),
            2 => {
                let at = self.within(12_000, Deed::Transfer(who, dialog, false));
                let soon = self.dice.below(2_000);
                self.after(at + soon, Deed::HangUp(who, dialog));
            }
            3..=5 => drop(self.within(12_000, Deed::Transfer(who, dialog, true))),
            _ => {}
        }
    }

    fn replace(&mut self, who: usize, dialog: DialogId) {
        let Some(replaces) = self.peers[who].endpoint.replaces_of(dialog) else { return };
        let offer = (self.dice.below(6) > 0).then(|| self.peers[who].offer());
        let mut invite = self.peers[who].invite("+4930222", offer);
        invite.headers.push(HeaderName::Replaces, replaces.to_string());
        let client = self.peers[who].call(self.now, invite);
        self.placed.push((who, client));
        self.after(GIVE_UP_MS, Deed::GiveUp(who, client));
        if self.dice.below(4) == 0 {
            self.within(2_000, Deed::Cancel(who, client));
        }
        self.tally.moves += 1;
    }

    fn transfer(&mut self, who: usize, dialog: DialogId, attends: bool) {
        let peer = &mut self.peers[who];
        let other = peer.live.iter().copied().find(|other| attends && *other != dialog);
        let named = other.and_then(|other| peer.endpoint.replaces_of(other));
        let escaped =
            |text: String| text.replace('@', "%40").replace(';', "%3B").replace('=', "%3D");
        let to = match named {
            Some(named) => {
                format!("<sip:192.0.2.1?Replaces={}>", escaped(named.to_string()))
            }
            None => String::from("<sip:+4930333@192.0.2.1>"),
        };
        let extra = vec![(HeaderName::ReferTo, Bytes::from(to))];
        let sent = peer.endpoint.request_in_dialog(self.now, dialog, Method::Refer, extra, None);
        self.tally.moves += u64::from(sent.is_ok());
    }

    fn ask(&mut self, who: usize, dialog: DialogId, method: Method) {
        let peer = &mut self.peers[who];
        let offer = (method == Method::Invite).then(|| peer.offer());
        let body = offer.map(|offer| ("application/sdp", Bytes::from(offer)));
        let invites = method == Method::Invite;
        let sent = peer.endpoint.request_in_dialog(self.now, dialog, method, vec![], body);
        // Its answer may go down with a connection.
        if let (Ok(client), true) = (sent, invites) {
            self.after(GIVE_UP_MS, Deed::GiveUp(who, client));
        }
    }

    fn end_one(&mut self) {
        let first = self.calls().into_iter().map(|call| call.record.id).min();
        let (Some(first), at) = (first, self.moment()) else { return };
        for shard in &mut self.shards {
            let view = shard.plan.view();
            let mut desk = shard.world.desk(at, &view);
            shard.calls.hang_up(&mut desk, &first);
        }
    }

    /// Somebody who belongs to no trunk asks for a call; `World::send` sees to it that nothing
    /// is sent there.
    fn knock(&mut self) {
        let mut invite = self.peers[CARRIER].invite("+4930222", None);
        let via = format!("SIP/2.0/UDP {STRANGER};branch=z9hG4bKstranger");
        invite.headers.push(HeaderName::Via, via);
        invite.headers.push(HeaderName::CSeq, "1 INVITE");
        invite.headers.push(HeaderName::MaxForwards, "70");
        invite.headers.push(HeaderName::Contact, format!("<sip:me@{STRANGER}>"));
        let (remote, local) = (STRANGER.parse().unwrap(), "192.0.2.1:5060".parse().unwrap());
        let transport = Transport::Udp;
        let hop = Hop { transport, remote, connection: 1 << 63, tag: 0 };
        let origin = Origin { transport, local, source: remote, peer: None, opened_for: None };
        let message = message(&invite.to_bytes());
        self.tell_shard(Inbound::Message { hop, origin, message });
    }
}
