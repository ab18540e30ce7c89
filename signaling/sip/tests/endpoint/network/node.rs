//! One user agent: places, answers, refuses, cancels, renegotiates and ends calls at random.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Add;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::endpoint::{ClientId, Config, DialogId, Endpoint, Event, Hop, ServerId, Transport};
use sip::wire::{HeaderName, Method, Request, StatusCode, Uri};

use super::world::{CALL_MAX, Dice};
use crate::solo::{config, hop};

/// What became of the calls that a node placed, and the 2xx it never saw acknowledged.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    pub placed: u32,
    pub answered: u32,
    pub refused: u32,
    pub cancelled: u32,
    pub failed: u32,
    pub missing_acks: u32,
}

impl Add for Tally {
    type Output = Tally;

    fn add(self, other: Tally) -> Tally {
        Tally {
            placed: self.placed + other.placed,
            answered: self.answered + other.answered,
            refused: self.refused + other.refused,
            cancelled: self.cancelled + other.cancelled,
            failed: self.failed + other.failed,
            missing_acks: self.missing_acks + other.missing_acks,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Plan {
    Call,
    Cancel(ClientId),
    Answer(ServerId, u16),
    Renegotiate(DialogId),
    HangUp(DialogId),
}

pub struct Node {
    pub endpoint: Endpoint,
    pub timeout: Option<Instant>,
    pub tally: Tally,
    number: usize,
    dice: Dice,
    plans: BTreeMap<(Instant, u64), Plan>,
    planned: u64,
    /// INVITEs that we sent and that have not ended; true once cancelled.
    calling: HashMap<ClientId, bool>,
    /// Our requests inside of dialogs that have not ended.
    asking: HashMap<ClientId, (DialogId, Method)>,
    /// Requests that we were told of.
    told: HashSet<(Bytes, Bytes, Bytes)>,
}

impl Node {
    pub fn new(number: usize, seed: u64) -> Self {
        let seeded = (seed as u8).wrapping_mul(2).wrapping_add(number as u8);
        let address = Self::hop_of(number).remote;
        let config = Config {
            via: Box::new(move |_| address.to_string()),
            contact: Box::new(move |_| format!("sip:node@{address}")),
            stays: Box::new(|_, _| false),
            ..config(seeded)
        };
        Node {
            endpoint: Endpoint::new(config),
            timeout: None,
            tally: Tally::default(),
            number,
            dice: Dice(seed * 2 + number as u64),
            plans: BTreeMap::new(),
            planned: 0,
            calling: HashMap::new(),
            asking: HashMap::new(),
            told: HashSet::new(),
        }
    }

    pub fn hop_of(number: usize) -> Hop {
        hop(Transport::Udp, ["192.0.2.1:5060", "192.0.2.2:5060"][number])
    }

    pub fn plan_call(&mut self, at: Instant) {
        self.plan(at, Plan::Call);
    }

    pub fn next_plan(&self) -> Option<Instant> {
        self.plans.first_key_value().map(|((at, _), _)| *at)
    }

    pub fn follow_plan(&mut self, now: Instant) {
        while let Some(entry) = self.plans.first_entry().filter(|e| e.key().0 <= now) {
            let plan = entry.remove();
            self.follow(now, plan);
        }
    }

    pub fn assert_all_ended(&self) {
        assert!(self.calling.is_empty(), "INVITEs without an end: {:?}", self.calling);
        assert!(self.asking.is_empty(), "requests without an end: {:?}", self.asking);
        let ended = self.tally.answered + self.tally.refused + self.tally.cancelled;
        assert_eq!(ended + self.tally.failed, self.tally.placed);
    }

    pub fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Request { transaction, request, .. } => {
                self.tell_once(&request);
                self.soon(now, 1000, Plan::Answer(transaction, 180));
                let last = [200, 200, 200, 486][self.dice.below(4) as usize];
                self.soon(now, 12_000, Plan::Answer(transaction, last));
            }
            Event::InDialog { transaction, dialog, request, .. } => {
                self.tell_once(&request);
                self.answer(now, transaction, 200);
                if request.method == Method::Bye {
                    self.endpoint.close(dialog);
                }
            }
            Event::Cancelled { transaction } => self.answer(now, transaction, 487),
            // The caller has its 504.
            Event::PrackMissing { .. } => {}
            Event::Ack { dialog, .. } => self.live(now, dialog),
            Event::AckMissing { dialog } => {
                self.tally.missing_acks += 1;
                self.hang_up(now, dialog);
            }
            Event::Response { transaction, dialog, response, .. } => {
                self.on_response(now, transaction, dialog, response.status);
            }
            Event::Failed { transaction, .. } => {
                if self.calling.remove(&transaction).is_some() {
                    self.tally.failed += 1;
                } else {
                    self.asked(now, transaction, None);
                }
            }
        }
    }

    fn on_response(
        &mut self,
        now: Instant,
        id: ClientId,
        dialog: Option<DialogId>,
        status: StatusCode,
    ) {
        if status.is_provisional() {
            return;
        }
        let Some(cancelled) = self.calling.remove(&id) else {
            return self.asked(now, id, Some(status));
        };
        let counter = match (status.is_success(), cancelled) {
            (true, _) => &mut self.tally.answered,
            (false, true) => &mut self.tally.cancelled,
            (false, false) => &mut self.tally.refused,
        };
        *counter += 1;
        if let Some(dialog) = dialog.filter(|_| status.is_success()) {
            self.endpoint.ack(now, dialog, None).expect("a new 2xx wants an ACK");
            if cancelled {
                self.hang_up(now, dialog);
            } else {
                self.live(now, dialog);
            }
        }
    }

    /// A request of ours inside of a dialog ended.
    fn asked(&mut self, now: Instant, id: ClientId, status: Option<StatusCode>) {
        let (dialog, method) = self.asking.remove(&id).expect("each request ends once");
        match method {
            Method::Bye => self.endpoint.close(dialog),
            _ if status.is_some_and(StatusCode::is_success) => {
                // The dialog may have been ended while the answer flew.
                let _ = self.endpoint.ack(now, dialog, None);
            }
            _ => {}
        }
    }

    fn follow(&mut self, now: Instant, plan: Plan) {
        match plan {
            Plan::Call => self.call(now),
            Plan::Cancel(id) => {
                if self.endpoint.cancel(now, id).is_ok() {
                    self.calling.insert(id, true);
                }
            }
            Plan::Answer(id, status) => self.answer(now, id, status),
            Plan::Renegotiate(dialog) => self.ask(now, dialog, Method::Invite),
            Plan::HangUp(dialog) => self.hang_up(now, dialog),
        }
    }

    fn call(&mut self, now: Instant) {
        let peer = Self::hop_of(1 - self.number);
        let uri = Uri::parse(format!("sip:{}", peer.remote).as_bytes()).unwrap();
        let mut request = Request::new(Method::Invite, uri);
        request.headers.push(HeaderName::From, "<sip:caller@example.com>");
        request.headers.push(HeaderName::To, "<sip:called@example.com>");
        let id = self.endpoint.request(now, peer, request).unwrap();
        self.calling.insert(id, false);
        self.tally.placed += 1;
        if self.dice.below(3) == 0 {
            self.soon(now, 8000, Plan::Cancel(id));
        }
    }

    fn answer(&mut self, now: Instant, id: ServerId, status: u16) {
        let status = StatusCode::new(status).unwrap();
        // Cancelled or answered in the meantime: the second answer is refused.
        if status.is_provisional() && self.dice.below(2) == 0 {
            let _ = self.endpoint.respond_reliably(now, id, status, vec![], None);
            return;
        }
        let _ = self.endpoint.respond(now, id, status, vec![], None);
    }

    /// The call is up: something happens to it, and it ends one way or another.
    fn live(&mut self, now: Instant, dialog: DialogId) {
        if self.dice.below(3) == 0 {
            self.soon(now, 20_000, Plan::Renegotiate(dialog));
        }
        if self.dice.below(2) == 0 {
            self.soon(now, 60_000, Plan::HangUp(dialog));
        }
        self.plan(now + CALL_MAX, Plan::HangUp(dialog));
    }

    fn hang_up(&mut self, now: Instant, dialog: DialogId) {
        let ending = self.asking.values().any(|asked| *asked == (dialog, Method::Bye));
        if !ending {
            self.ask(now, dialog, Method::Bye);
        }
    }

    fn ask(&mut self, now: Instant, dialog: DialogId, method: Method) {
        let sent = self.endpoint.request_in_dialog(now, dialog, method.clone(), vec![], None);
        if let Ok(id) = sent {
            self.asking.insert(id, (dialog, method));
        }
    }

    fn tell_once(&mut self, request: &Request) {
        let header = |name| request.headers.get(&name).unwrap().clone();
        let branch = request.headers.via().unwrap().branch().unwrap().clone();
        let identity = (branch, header(HeaderName::CallId), header(HeaderName::CSeq));
        assert!(self.told.insert(identity), "told twice: {request:?}");
    }

    fn soon(&mut self, now: Instant, within_ms: u64, plan: Plan) {
        let at = now + Duration::from_millis(self.dice.below(within_ms));
        self.plan(at, plan);
    }

    fn plan(&mut self, at: Instant, plan: Plan) {
        self.planned += 1;
        self.plans.insert((at, self.planned), plan);
    }
}
