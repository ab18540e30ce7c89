//! The endpoint: transactions, dialogs and the UA core rules of RFC 3261 in one sans-IO object.
//!
//! ```text
//!   datagrams, framed messages        calls of the user
//!            |                              |
//!      handle_input          request  respond  ack  cancel ...
//!            |                              |
//!            v                              v
//!   [ key ] -> [ client | server ] -> [ dialogs ]     one `Schedule` holds every deadline
//!            |                              |
//!            +------> queue <---------------+
//!                       |
//!                  poll_output: Transmit | Event | Timeout | Idle
//! ```
//!
//! Mutate once, then drain `poll_output` until it says `Timeout` or `Idle`. Time comes in as an
//! argument, identifiers come from `Config::seed`: the same inputs give the same outputs.
//!
//! Every table is bounded. What starts something new stops at `transactions_max` and `dialogs_max`;
//! requests inside a dialog have an eighth more, because a gateway that cannot take a BYE any more
//! never leaves its overload, and so have emergency calls ([`Welcome`]).

mod build;
mod carry;
mod client;
mod config;
mod dialogs;
mod event;
mod hop;
mod key;
mod lanes;
mod mint;
mod misuse;
mod named;
mod prack;
mod reliable;
mod schedule;
mod server;
mod subscribe;
#[cfg(test)]
mod tests;
mod uac;
mod uas;
mod welcome;
mod widen;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::transaction::{Actions, Timers};
use crate::wire::{Message, Request};

pub use carry::Carried;
pub use config::{Config, Counts, PerHop, Stays};
pub use event::{Cause, ClientId, DialogId, Event, Input, Output, ServerId};
pub use hop::{Hop, Transport};
pub use misuse::Misuse;
pub use named::Named;
pub use welcome::Welcome;
pub use widen::UDP_REQUEST_BYTES_MAX;

use client::{Client, Step};
use dialogs::Dialogs;
use key::{Key, Keyed, Table};
use lanes::Lanes;
use mint::Mint;
use schedule::{Alarm, Owner, Schedule};
use server::Server;
use widen::Widen;

/// A SIP user agent core without I/O.
pub struct Endpoint {
    config: Config,
    mint: Mint,
    last_id: u64,
    /// Each on the heap by itself: a table has up to half of its places to spare.
    clients: Table<ClientId, Box<Client>>,
    /// By branch; true for the CANCEL, which has the branch of its INVITE (RFC 3261 §17.1.3).
    client_keys: Table<(Bytes, bool), ClientId>,
    servers: Table<ServerId, Box<Server>>,
    server_keys: Table<Key, ServerId>,
    /// Requests outside of dialogs whatever way they came from their trunk (RFC 3261 §8.2.2.2).
    merged: Table<Key, ServerId>,
    /// SUBSCRIBEs of ours without an answer, by Call-ID and our tag.
    subscribing: Table<Key, ClientId>,
    dialogs: Dialogs,
    schedule: Schedule,
    lanes: Lanes,
    queue: VecDeque<Output>,
    /// Reused by each step.
    actions: Actions,
    widen: Widen,
    welcome: Welcome,
}

impl Endpoint {
    /// Timers are held between 1 ms and 60 s: below, retransmissions never pause.
    pub fn new(mut config: Config) -> Self {
        let mint = Mint::new(config.seed);
        let keyed = Keyed(mint.table_key());
        config.timers = held(config.timers);
        Endpoint {
            mint,
            last_id: 0,
            clients: Table::with_hasher(keyed.clone()),
            client_keys: Table::with_hasher(keyed.clone()),
            servers: Table::with_hasher(keyed.clone()),
            server_keys: Table::with_hasher(keyed.clone()),
            merged: Table::with_hasher(keyed.clone()),
            subscribing: Table::with_hasher(keyed.clone()),
            dialogs: Dialogs::new(config.dialogs_max, &keyed),
            schedule: Schedule::default(),
            lanes: Lanes::default(),
            queue: VecDeque::new(),
            actions: Actions::new(),
            widen: Widen::default(),
            welcome: Welcome::default(),
            config,
        }
    }

    /// Takes what the outside reports.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Message { hop, message: Message::Request(request) } => {
                self.on_request(now, hop, request);
            }
            Input::Message { hop, message: Message::Response(response) } => {
                self.on_response(now, hop, response);
            }
            Input::Failed { hop } => self.on_failed(now, hop),
            Input::Timer => {
                while let Some((owner, alarm)) = self.schedule.due(now) {
                    self.on_alarm(now, owner, alarm);
                }
            }
        }
    }

    /// The next thing to do. Call until it says `Timeout` or `Idle`.
    pub fn poll_output(&mut self) -> Output {
        self.queue.pop_front().unwrap_or_else(|| match self.schedule.next() {
            Some(at) => Output::Timeout(at),
            None => Output::Idle,
        })
    }

    /// Forgets a dialog: after its BYE, or to give up. Repetitions of our unacknowledged 2xx end.
    pub fn close(&mut self, dialog: DialogId) {
        if let Some(mut entry) = self.dialogs.remove(dialog) {
            self.schedule.disarm_all(&mut entry.armed);
        }
    }

    pub fn counts(&self) -> Counts {
        Counts {
            transactions: self.clients.len() + self.servers.len(),
            dialogs: self.dialogs.len(),
        }
    }

    /// Where the next request of the dialog goes.
    pub fn dialog_hop(&self, dialog: DialogId) -> Option<Hop> {
        self.dialogs.get(dialog).map(|entry| entry.next_hop(&self.config.stays))
    }

    /// From now on Call-IDs and tags of ours are drawn until `fits` takes one: one in sixteen should
    /// do.
    pub fn choose_names(&mut self, fits: impl Fn(&[u8]) -> bool + Send + 'static) {
        self.mint.choose(Box::new(fits));
    }

    pub fn dialog_call_id(&self, dialog: DialogId) -> Option<Bytes> {
        self.dialogs.get(dialog).map(|entry| entry.dialog.call_id().clone())
    }

    /// The tag of the hop of the dialog that a request of the peer names by Call-ID, To-tag and
    /// From-tag; None without To-tag or without such a dialog. Requests and ACKs inside of the
    /// dialog must come with this tag: the endpoint refuses any other with 481, so a caller that
    /// tells trunks apart verifies the source against it.
    pub fn dialog_tag(&self, request: &Request) -> Option<u32> {
        let headers = &request.headers;
        let (from, to) = (headers.from().ok()?, headers.to().ok()?);
        let remote = from.tag().map_or(&[][..], |tag| tag);
        let dialog = self.dialogs.find(&headers.call_id().ok()?, to.tag()?, remote)?;
        self.dialogs.get(dialog).map(|entry| entry.hop.tag)
    }

    fn on_failed(&mut self, now: Instant, hop: Hop) {
        for owner in self.lanes.concerned(hop) {
            match owner {
                Owner::Client(id) if self.narrowed(now, ClientId(id)) => {}
                Owner::Client(id) => {
                    self.step_client(now, ClientId(id), Step::TransportFailed, &mut None);
                }
                // A datagram that could not leave is like one that got lost: were its transaction
                // ended (RFC 3261 §17.2.1), the next repetition would be a new request, and a new
                // call.
                Owner::Server(id) if hop.transport.is_reliable() => {
                    self.step_server(now, ServerId(id), server::Step::TransportFailed, None);
                }
                Owner::Server(_) | Owner::Dialog(_) => {}
            }
        }
    }

    fn on_alarm(&mut self, now: Instant, owner: Owner, alarm: Alarm) {
        match owner {
            Owner::Client(id) => self.client_alarm(now, ClientId(id), alarm),
            Owner::Server(id) => self.server_alarm(now, ServerId(id), alarm),
            Owner::Dialog(id) => self.dialog_alarm(now, DialogId(id), alarm),
        }
    }

    fn transmit(&mut self, hop: Hop, bytes: Bytes) {
        self.queue.push_back(Output::Transmit { hop, bytes });
    }

    fn emit(&mut self, event: Event) {
        self.queue.push_back(Output::Event(event));
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Whether another transaction fits; what belongs to a dialog may use the reserve.
    fn has_room(&self, in_dialog: bool) -> bool {
        let max = self.config.transactions_max;
        let limit = if in_dialog { max.saturating_add(reserve(max)) } else { max };
        self.counts().transactions < limit
    }
}

/// Places beyond a limit: of transactions for requests inside of dialogs, of both for urgent calls.
fn reserve(limit: usize) -> usize {
    (limit / 8).max(1)
}

fn held(timers: Timers) -> Timers {
    let hold = |time: Duration| time.clamp(Duration::from_millis(1), Duration::from_secs(60));
    Timers { t1: hold(timers.t1), t2: hold(timers.t2), t4: hold(timers.t4) }
}

/// Seconds after which a refused peer may try again.
const RETRY_AFTER_S: &str = "5";
