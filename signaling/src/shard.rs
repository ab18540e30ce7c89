//! One shard: its calls, their transactions and their flows. It does what is due at one moment and
//! has no clock and no socket: time is an argument, the network an [`Edge`]. `driver.rs` runs it on
//! the real ones, `sim/` on virtual ones.
//!
//! ```text
//!   edge ──► attribution ──► endpoint ──► calls ──► media ──► data plane
//!    ▲                          │           │
//!    └────── transmit ◄─────────┘           └──► CDR
//! ```
//! A request passes attribution before anything is allocated for it.

mod passing;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use sip::endpoint::{Endpoint, Event, Hop, Input, Output, Welcome};
use sip::wire::{Message, Method, Request, Response};

use crate::Entropy;
use crate::admission::{Admission, Sources};
use crate::call::{Calls, Desk, Index, Settings, headers, urgent};
use crate::cdr::Writer;
use crate::drain::Drains;
use crate::feed::{Feed, News};
use crate::gate::Gate;
use crate::locate::Memory;
use crate::media::Media;
use crate::net::{Inbound, Outlet};
use crate::plan::{Reader, View};
use crate::post::Post;
use crate::subscription::Subscriptions;
use crate::ties::{Hint, Ties, Word};
use crate::trunk::health::Around;
use crate::trunk::nat::force_rport;
use crate::trunk::tally::Tallies;
use crate::trunk::{Health, Origin, Registrations, TrunkId, alg, registrations};

/// A moment, by both clocks: the one that never jumps and the one that people read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    pub now: Instant,
    pub wall: Timestamp,
}

impl Moment {
    /// This one.
    pub fn read() -> Self {
        Self { now: Instant::now(), wall: Timestamp::now() }
    }
}

/// The way out to peers. Nothing of it blocks.
pub trait Edge {
    /// Sends one message; that it could not be sent comes back as [`Inbound::Failed`].
    fn send(&self, hop: Hop, bytes: Bytes);
    /// Closes a connection after what is queued on it.
    fn close(&self, connection: u64);
    /// Our Contact on that hop, with the token of a trunk that registers.
    fn contact(&self, hop: &Hop) -> String;
    /// The same without a token.
    fn plain_contact(&self, hop: &Hop) -> String;
    /// Our `host:port` in Via toward that hop, where answers are to be held against it.
    fn sent_by(&self, _: &Hop) -> Option<String> {
        None
    }
}

/// What calls work with.
pub struct World {
    pub endpoint: Endpoint,
    pub media: Media,
    pub settings: Settings,
    pub cdrs: Writer,
    pub entropy: Entropy,
    pub index: Index,
    pub memory: Memory,
    pub admission: Admission,
    pub health: Health,
    pub tallies: Tallies,
    pub feed: Feed,
}

/// One shard.
pub struct Shard<E = Outlet> {
    pub world: World,
    pub calls: Calls,
    pub subscriptions: Subscriptions,
    pub net: E,
    pub plan: Reader,
    /// The plan that registrations follow.
    pub generation: u64,
    pub gate: Gate,
    /// How fast each address asks for calls.
    pub sources: Sources,
    /// So much waits that new calls are refused: what runs comes first.
    pub crowded: bool,
    pub registrations: Registrations,
    pub drains: Drains,
    /// To the other shards.
    pub ties: Ties,
    /// There is a data plane.
    pub attached: bool,
    /// When the endpoint wants to be woken.
    pub due: Option<Instant>,
}

impl World {
    /// Counts together with the other shards what a plan has them count.
    fn share(&mut self, view: &View) {
        self.admission.share(&view.counts.loads);
        self.index.hunts.share(&view.counts.turns);
    }

    pub fn desk<'a>(&'a mut self, at: Moment, view: &'a View) -> Desk<'a> {
        Desk {
            now: at.now,
            wall: at.wall,
            endpoint: &mut self.endpoint,
            media: &mut self.media,
            trunks: &view.table,
            routes: &view.plan.routes,
            groups: &view.plan.groups,
            settings: &self.settings,
            cdrs: &self.cdrs,
            entropy: &mut *self.entropy,
            index: &mut self.index,
            memory: &mut self.memory,
            admission: &mut self.admission,
            health: &mut self.health,
            tallies: &mut self.tallies,
            feed: &self.feed,
        }
    }

    /// What registrations work with.
    fn around<'a>(
        &'a mut self,
        now: Instant,
        view: &'a View,
        contact: &'a dyn Fn(&Hop) -> String,
    ) -> registrations::Around<'a> {
        registrations::Around {
            now,
            endpoint: &mut self.endpoint,
            trunks: &view.table,
            memory: &mut self.memory,
            contact,
            entropy: &mut *self.entropy,
        }
    }
}

impl<E: Edge> Shard<E> {
    /// One that has a data plane and counts with those that have the same plan. `registrations` are
    /// the first shard's alone.
    pub fn new(
        mut world: World,
        net: E,
        mut plan: Reader,
        post: Post,
        ties: Ties,
        now: Instant,
    ) -> Self {
        let view = plan.view();
        let homes = post.homes();
        let registrations = match ties.is_first() {
            true => Registrations::at_home(&view.table, now, &mut *world.entropy, homes),
            false => Registrations::default(),
        };
        let mut shard = Self {
            world,
            calls: Calls::tied(post),
            subscriptions: Subscriptions::default(),
            net,
            generation: view.generation,
            plan,
            gate: Gate::default(),
            sources: Sources::default(),
            crowded: false,
            registrations,
            drains: Drains::default(),
            ties,
            attached: true,
            due: None,
        };
        if !shard.ties.is_first() {
            shard.world.health = Health::told();
        }
        shard.world.share(&view);
        shard
    }

    /// When [`Shard::tend`] is due if nothing else happens.
    pub fn next(&mut self, now: Instant) -> Option<Instant> {
        let deadlines = [
            self.due,
            self.calls.due(&self.world.index),
            self.world.media.due(now),
            self.registrations.due(),
            self.subscriptions.due(),
            self.world.health.due(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Everything that time or the data plane made due.
    pub fn tend(&mut self, at: Moment) {
        let now = at.now;
        let view = self.newest(at);
        self.hear(at);
        while let Some(notice) = self.world.media.poll() {
            self.calls.notice(&mut self.world.desk(at, &view), notice);
        }
        self.calls.tend(&mut self.world.desk(at, &view));
        self.subscriptions.tend(&mut self.world.desk(at, &view));
        self.world.media.tend(now);
        let net = &self.net;
        let contact = |hop: &Hop| net.plain_contact(hop);
        self.registrations.tend(&mut self.world.around(now, &view, &contact));
        self.look_after(at, &view);
        self.world.endpoint.handle_input(now, Input::Timer);
        self.drain(at, &view);
        self.speak();
    }

    /// The plan as it is now. What lives beside calls has taken it over.
    fn newest(&mut self, at: Moment) -> Arc<View> {
        let view = self.plan.view();
        if view.generation != self.generation {
            self.follow(at, &view);
        }
        view
    }

    /// Takes what other shards told.
    fn hear(&mut self, at: Moment) {
        for word in self.ties.words() {
            match word {
                Word::Standing(trunk, standing) => self.world.health.hear(trunk, standing),
                Word::ServiceRoute(trunk, route) => {
                    self.world.memory.set_service_route(trunk, &route);
                }
            }
        }
        for hint in self.ties.hints() {
            match hint {
                Hint::Answered(trunk) => self.world.health.answered(trunk),
                Hint::Unanswered(trunk, then) => {
                    self.world.health.unanswered(then.min(at.now), trunk);
                }
            }
        }
    }

    /// Tells other shards what they have to know.
    fn speak(&mut self) {
        let World { health, memory, .. } = &mut self.world;
        for hint in health.hints() {
            self.ties.hint(hint);
        }
        for (trunk, standing) in health.untold() {
            self.ties.say(&Word::Standing(trunk, standing));
        }
        for (trunk, route) in memory.untold() {
            self.ties.say(&Word::ServiceRoute(trunk, route));
        }
    }

    /// A new plan: what lives beside calls takes it over. Calls keep what they were set up with.
    /// Only those of a trunk that is gone end: nothing of them could be told from a stranger's.
    fn follow(&mut self, at: Moment, view: &View) {
        self.generation = view.generation;
        let is_known = |trunk: TrunkId| view.table.get(trunk).is_some();
        self.world.share(view);
        self.world.admission.retain(is_known);
        self.world.health.retain(is_known);
        self.world.tallies.retain(is_known);
        self.world.index.proofs.retain(is_known);
        let mut desk = self.world.desk(at, view);
        self.calls.stop_those(&mut desk, "the trunk was deleted", |trunk| !is_known(trunk));
        self.subscriptions.retain(&mut desk);
        if !self.ties.is_first() {
            return;
        }
        let net = &self.net;
        let contact = |hop: &Hop| net.plain_contact(hop);
        self.registrations.follow(&mut self.world.around(at.now, view, &contact));
        tracing::info!(trunks = view.plan.trunks.len(), generation = view.generation, "new plan");
    }

    /// Probes, statuses, trunks that are being emptied; what is new of them is told.
    fn look_after(&mut self, at: Moment, view: &View) {
        let net = &self.net;
        let World { endpoint, entropy, health, admission, settings, feed, .. } = &mut self.world;
        let around = Around {
            now: at.now,
            wall: at.wall,
            trunks: &view.table,
            registrations: &self.registrations,
            admission,
            contact: &|hop: &Hop| net.contact(hop),
            host: &settings.host,
        };
        health.tend(&around, endpoint, &mut **entropy);
        while let Some(news) = health.poll() {
            feed.status(news);
        }
        while let Some(alert) = admission.alert() {
            feed.nearly_full(&view.table, alert);
        }
        for trunk in self.drains.tend(at.now, |trunk| self.calls.on_trunk(trunk)) {
            let mut desk = self.world.desk(at, view);
            self.calls.stop_those(&mut desk, "the trunk is being emptied", |one| one == trunk);
        }
    }

    /// Takes what the edge tells.
    pub fn receive(&mut self, at: Moment, inbound: Inbound) {
        let now = at.now;
        let view = self.newest(at);
        match inbound {
            Inbound::Message { hop, origin, message } => {
                if let Some(message) = self.pass_on(hop, &origin, message) {
                    self.message(at, &view, hop, &origin, message, 0);
                }
            }
            Inbound::Sought { hop, origin, message, turns } => {
                self.message(at, &view, hop, &origin, message, turns);
            }
            Inbound::Letter(letter) => self.calls.read(&mut self.world.desk(at, &view), *letter),
            Inbound::Malformed { hop, origin, error, raw } => {
                tracing::debug!(source = %origin.source, %error, "malformed message");
                if let Some(refusal) = self.gate.refusal(&view.table, &origin, &raw, &error) {
                    self.net.send(hop, refusal);
                }
            }
            Inbound::Failed { hop } => {
                self.world.endpoint.handle_input(now, Input::Failed { hop });
            }
            Inbound::Undialled { hop, fault } => self.world.health.fault(now, hop, fault),
            Inbound::Closed { hop } => {
                self.world.endpoint.handle_input(now, Input::Failed { hop });
                self.registrations.flow_lost(now, hop, &mut *self.world.entropy);
            }
        }
        self.drain(at, &view);
    }

    /// Responses need no gate of their own: the endpoint takes them only from where the request
    /// went. They too carry the tag of the trunk that their source belongs to. `turns` shards had
    /// it before.
    fn message(
        &mut self,
        at: Moment,
        view: &View,
        mut hop: Hop,
        origin: &Origin,
        mut message: Message,
        turns: usize,
    ) {
        if let Message::Request(request) = &mut message {
            let dialog = self.world.endpoint.dialog_tag(request).and_then(TrunkId::from_tag);
            match self.gate.pass(at.wall, &view.table, &self.net, (hop, origin), request, dialog) {
                Ok(id) => {
                    hop.tag = id.tag();
                    if let Some(trunk) = view.table.get(id) {
                        force_rport(trunk, hop, request);
                    }
                }
                Err(caller) => {
                    if let Some(caller) = caller {
                        self.world.feed.tell(|| News::UnknownCaller(caller));
                    }
                    return;
                }
            }
        }
        let Some(message) = self.pass_round(hop, origin, message, turns) else { return };
        if let Some(invite) = new_call(&message) {
            let too_fast = self.sources.is_too_fast(at.now, origin.source.ip());
            let endpoint = &mut self.world.endpoint;
            endpoint.welcome(match TrunkId::from_tag(hop.tag) {
                Some(from) if self.crowded || too_fast || endpoint.is_full() => {
                    urgent::welcome(view, from, invite, at.wall)
                }
                _ => Welcome::Open,
            });
        }
        self.world.endpoint.handle_input(at.now, Input::Message { hop, message });
    }

    fn drain(&mut self, at: Moment, view: &View) {
        self.due = loop {
            match self.world.endpoint.poll_output() {
                Output::Transmit { hop, bytes } => self.net.send(hop, bytes),
                Output::Event(event) => self.event(at, view, event),
                Output::Timeout(at) => break Some(at),
                Output::Idle => break None,
            }
        };
    }

    fn event(&mut self, at: Moment, view: &View, event: Event) {
        if let Event::Response { hop, response, .. } = &event
            && let Ok(via) = response.headers.via()
        {
            self.world.memory.restraint.heard(hop.remote, at.now, &via);
            self.look_at_echo(view, hop, response);
        }
        let net = &self.net;
        let contact = |hop: &Hop| net.plain_contact(hop);
        let mut around = self.world.around(at.now, view, &contact);
        let Some(event) = self.registrations.take(&mut around, event) else { return };
        let Some(event) = self.world.health.take(at.now, &view.table, event) else { return };
        let mut desk = self.world.desk(at, view);
        let Some(event) = self.subscriptions.take(&mut desk, event) else { return };
        match event {
            Event::Request { transaction, hop, request } if request.method == Method::Invite => {
                let Some(trunk) = TrunkId::from_tag(hop.tag) else {
                    return desk.endpoint.drop_server(transaction);
                };
                self.calls.invite(&mut desk, trunk, hop, transaction, request);
            }
            Event::Request { transaction, hop, request } if request.method == Method::Subscribe => {
                let Some(trunk) = TrunkId::from_tag(hop.tag) else {
                    return desk.endpoint.drop_server(transaction);
                };
                let from = (trunk, hop);
                self.subscriptions.ask(&mut desk, &mut self.calls, from, transaction, &request);
            }
            Event::Request { transaction, hop, request } => {
                headers::answer_outside(&mut desk, transaction, hop, &request);
            }
            event => self.calls.sip(&mut desk, event),
        }
    }

    /// An answer may show that a device on the path rewrites SIP.
    fn look_at_echo(&mut self, view: &View, hop: &Hop, response: &Response) {
        let trunk = TrunkId::from_tag(hop.tag).and_then(|id| view.table.get(id));
        let (Some(trunk), Some(sent_by)) = (trunk, self.net.sent_by(hop)) else { return };
        let Some(echo) = alg::rewritten(trunk, hop, &sent_by, response) else { return };
        if let (true, Some(text)) = (self.world.health.echoed(trunk.id, echo.clone()), echo.0) {
            self.world.feed.rewritten(trunk, &text);
        }
    }

    /// Every call ends.
    pub fn stop_calls(&mut self, at: Moment, reason: &'static str) {
        let view = self.plan.view();
        self.calls.stop_all(&mut self.world.desk(at, &view), reason);
        self.drain(at, &view);
    }

    /// Trunks that register are told to forget us, subscribers to come back.
    pub fn unregister(&mut self, at: Moment) {
        let view = self.plan.view();
        self.subscriptions.stop(&mut self.world.desk(at, &view));
        let net = &self.net;
        let contact = |hop: &Hop| net.plain_contact(hop);
        self.registrations.stop(&mut self.world.around(at.now, &view, &contact));
    }

    /// Writes the CDRs of calls that are left to themselves.
    pub fn close_records(&mut self, at: Moment, reason: &str) {
        let view = self.plan.view();
        self.calls.close_records(&mut self.world.desk(at, &view), reason);
    }

    /// The data plane died: every call ends, none of its flows is asked about.
    pub fn lose_media(&mut self, at: Moment) {
        tracing::error!(calls = self.calls.len(), "the data plane is gone; its calls end");
        self.attached = false;
        self.world.media.abandon_orders();
        self.world.media = Media::detached();
        self.calls.forget_flows();
        self.stop_calls(at, "the data plane is gone");
    }
}

/// An INVITE outside of dialogs, repetitions included.
fn new_call(message: &Message) -> Option<&Request> {
    let Message::Request(request) = message else { return None };
    let is_outside = || request.headers.to().is_ok_and(|to| to.tag().is_none());
    (request.method == Method::Invite && is_outside()).then_some(request)
}
