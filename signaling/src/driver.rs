//! The only loop of signaling: one thread that owns its calls, their transactions and their flows.
//!
//! ```text
//!   net ──► attribution ──► endpoint ──► calls ──► media ──► data plane
//!    ▲                          │           │                   │
//!    └────── transmit ◄─────────┘           └──► CDR            └──► bells
//! ```
//! A request passes attribution before anything is allocated for it. The loop waits for a message,
//! a doorbell of the data plane, the nearest deadline or the end, mutates once and drains.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, select};
use jiff::Timestamp;
use sip::endpoint::{Endpoint, Event, Hop, Input, Output};
use sip::wire::{Message, Method};

use crate::admission::Admission;
use crate::ask::{self, Ask};
use crate::call::{Calls, Desk, Index, Settings, headers};
use crate::cdr::Writer;
use crate::drain::Drains;
use crate::feed::{Feed, News};
use crate::gate::Gate;
use crate::locate::Memory;
use crate::media::{Bells, Media};
use crate::net::{Inbound, Net};
use crate::plan::{LivePlan, View};
use crate::trunk::health::Around;
use crate::trunk::nat::force_rport;
use crate::trunk::tally::Tallies;
use crate::trunk::{Health, Origin, Registrations, TrunkId, registrations};
use crate::watch::{Bell, watch};
use crate::{End, Entropy};

/// How often a lost data plane is looked for.
const ATTACH_PAUSE: Duration = Duration::from_millis(200);
/// How long calls may take to end when the gateway stops.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// The loop looks around at least this often.
const TICK: Duration = Duration::from_secs(1);
/// Messages taken in one turn before timers are looked at again.
const BURST: usize = 256;

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

/// How to find the data plane again.
pub struct Attachment {
    pub socket: PathBuf,
    pub orphan_grace: Duration,
}

/// One shard.
pub struct Shard {
    pub world: World,
    pub calls: Calls,
    pub net: Net,
    pub plan: LivePlan,
    /// The plan that registrations follow.
    pub generation: u64,
    pub gate: Gate,
    pub registrations: Registrations,
    pub drains: Drains,
    pub attachment: Attachment,
    pub attached: bool,
    pub due: Option<Instant>,
}

impl World {
    pub fn desk<'a>(&'a mut self, now: Instant, view: &'a View) -> Desk<'a> {
        Desk {
            now,
            wall: Timestamp::now(),
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
}

impl World {
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

impl Shard {
    /// Runs until told to end. Ending calls takes at most [`STOP_LIMIT`].
    pub fn run(
        mut self,
        inbox: &Receiver<Inbound>,
        asks: &Receiver<Ask>,
        mut bells: Receiver<Bell>,
        stopped: &Receiver<End>,
    ) {
        let mut stopped = stopped.clone();
        let published = self.plan.bell();
        let mut stopping: Option<Instant> = None;
        let mut attach_at = Instant::now();
        loop {
            let wait = self.wait(Instant::now(), stopping, attach_at);
            select! {
                recv(inbox) -> message => {
                    let Ok(message) = message else { return };
                    self.receive(message);
                    for message in inbox.try_iter().take(BURST) {
                        self.receive(message);
                    }
                }
                recv(asks) -> asked => {
                    // Who asks lives as long as the shard: `start` holds one of them.
                    let Ok(asked) = asked else { return };
                    ask::answer(&mut self, Instant::now(), asked);
                }
                recv(published) -> _plan => {}
                recv(bells) -> bell => match bell {
                    Ok(Bell::Events) => {}
                    Ok(Bell::Gone) | Err(_) => {
                        bells = crossbeam::channel::never();
                        self.lose_data_plane();
                    }
                },
                recv(stopped) -> end => match end {
                    Ok(End::EndCalls) if stopping.is_none() => {
                        tracing::info!(calls = self.calls.len(), "ending");
                        stopping = Instant::now().checked_add(STOP_LIMIT);
                        self.world.health.close();
                        self.unregister();
                        self.stop_calls("the gateway is stopping");
                    }
                    Ok(End::EndCalls) => {}
                    // Who asked for the end need not stay for it.
                    Err(_) if stopping.is_some() => stopped = crossbeam::channel::never(),
                    Ok(End::LeaveCalls) | Err(_) => {
                        tracing::info!(calls = self.calls.len(), "leaving calls to the data plane");
                        return self.close_records("signaling was stopped; media went on");
                    }
                },
                default(wait) => {}
            }
            let now = Instant::now();
            self.tend(now);
            if !self.attached && now >= attach_at {
                attach_at = now + ATTACH_PAUSE;
                if let Some(found) = self.attach(now) {
                    bells = found;
                }
            }
            let idle = self.calls.is_empty() && self.registrations.is_idle();
            if stopping.is_some_and(|limit| idle || now >= limit) {
                return self.close_records("the gateway stopped");
            }
        }
    }

    fn wait(&mut self, now: Instant, stopping: Option<Instant>, attach_at: Instant) -> Duration {
        let attach = (!self.attached).then_some(attach_at);
        let deadlines = [
            self.due,
            self.world.index.deadlines.first().map(|(at, _)| *at),
            self.world.media.due(now),
            self.registrations.due(),
            self.world.health.due(),
            stopping,
            attach,
        ];
        let nearest = deadlines.into_iter().flatten().min();
        nearest.map_or(TICK, |at| at.saturating_duration_since(now).min(TICK))
    }

    /// Everything that time or the data plane made due.
    fn tend(&mut self, now: Instant) {
        let view = self.plan.view();
        if view.generation != self.generation {
            self.follow(now, &view);
        }
        while let Some(notice) = self.world.media.poll() {
            self.calls.notice(&mut self.world.desk(now, &view), notice);
        }
        self.calls.tend(&mut self.world.desk(now, &view));
        self.world.media.tend(now);
        let names = self.net.names();
        let contact = |hop: &Hop| names.plain_contact(hop);
        self.registrations.tend(&mut self.world.around(now, &view, &contact));
        self.look_after(now, &view);
        self.world.endpoint.handle_input(now, Input::Timer);
        self.drain(now, &view);
    }

    /// A new plan: what lives beside calls takes it over. Calls keep what they were set up with.
    /// Only those of a trunk that is gone end: nothing of them could be told from a stranger's.
    fn follow(&mut self, now: Instant, view: &View) {
        self.generation = view.generation;
        let is_known = |trunk: TrunkId| view.table.get(trunk).is_some();
        self.world.admission.retain(is_known);
        self.world.tallies.retain(is_known);
        self.world.index.proofs.retain(is_known);
        let mut desk = self.world.desk(now, view);
        self.calls.stop_those(&mut desk, "the trunk was deleted", |trunk| !is_known(trunk));
        let names = self.net.names();
        let contact = |hop: &Hop| names.plain_contact(hop);
        self.registrations.follow(&mut self.world.around(now, view, &contact));
        tracing::info!(trunks = view.plan.trunks.len(), generation = view.generation, "new plan");
    }

    /// Probes, statuses, trunks that are being emptied; what is new of them is told.
    fn look_after(&mut self, now: Instant, view: &View) {
        let names = self.net.names();
        let World { endpoint, entropy, health, admission, settings, feed, .. } = &mut self.world;
        let around = Around {
            now,
            wall: Timestamp::now(),
            trunks: &view.table,
            registrations: &self.registrations,
            admission,
            contact: &|hop: &Hop| names.contact(hop),
            host: &settings.host,
        };
        health.tend(&around, endpoint, &mut **entropy);
        while let Some(news) = health.poll() {
            feed.status(news);
        }
        while let Some(alert) = admission.alert() {
            feed.nearly_full(&view.table, alert);
        }
        for trunk in self.drains.tend(now, |trunk| self.calls.on_trunk(trunk)) {
            let mut desk = self.world.desk(now, view);
            self.calls.stop_those(&mut desk, "the trunk is being emptied", |one| one == trunk);
        }
    }

    fn receive(&mut self, inbound: Inbound) {
        let now = Instant::now();
        let view = self.plan.view();
        match inbound {
            Inbound::Message { hop, origin, message } => {
                self.message(now, &view, hop, &origin, message);
            }
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
        self.drain(now, &view);
    }

    /// Responses need no gate of their own: the endpoint takes them only from where the request
    /// went. They too carry the tag of the trunk that their source belongs to.
    fn message(
        &mut self,
        now: Instant,
        view: &View,
        mut hop: Hop,
        origin: &Origin,
        mut message: Message,
    ) {
        if let Message::Request(request) = &mut message {
            let dialog = self.world.endpoint.dialog_tag(request).and_then(TrunkId::from_tag);
            match self.gate.pass(&view.table, &self.net, hop, origin, request, dialog) {
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
        self.world.endpoint.handle_input(now, Input::Message { hop, message });
    }

    fn drain(&mut self, now: Instant, view: &View) {
        self.due = loop {
            match self.world.endpoint.poll_output() {
                Output::Transmit { hop, bytes } => self.net.send(hop, bytes),
                Output::Event(event) => self.event(now, view, event),
                Output::Timeout(at) => break Some(at),
                Output::Idle => break None,
            }
        };
    }

    fn event(&mut self, now: Instant, view: &View, event: Event) {
        let names = self.net.names();
        let contact = |hop: &Hop| names.plain_contact(hop);
        let mut around = self.world.around(now, view, &contact);
        let Some(event) = self.registrations.take(&mut around, event) else { return };
        let Some(event) = self.world.health.take(now, &view.table, event) else { return };
        let mut desk = self.world.desk(now, view);
        match event {
            Event::Request { transaction, hop, request } if request.method == Method::Invite => {
                let Some(trunk) = TrunkId::from_tag(hop.tag) else {
                    return desk.endpoint.drop_server(transaction);
                };
                self.calls.invite(&mut desk, trunk, hop, transaction, request);
            }
            Event::Request { transaction, hop, request } => {
                headers::answer_outside(&mut desk, transaction, hop, &request);
            }
            event => self.calls.sip(&mut desk, event),
        }
    }

    fn stop_calls(&mut self, reason: &'static str) {
        let (now, view) = (Instant::now(), self.plan.view());
        self.calls.stop_all(&mut self.world.desk(now, &view), reason);
        self.drain(now, &view);
    }

    fn unregister(&mut self) {
        let (names, view) = (self.net.names(), self.plan.view());
        let contact = |hop: &Hop| names.plain_contact(hop);
        self.registrations.stop(&mut self.world.around(Instant::now(), &view, &contact));
    }

    fn close_records(&mut self, reason: &str) {
        let view = self.plan.view();
        self.calls.close_records(&mut self.world.desk(Instant::now(), &view), reason);
    }

    fn lose_data_plane(&mut self) {
        tracing::error!(calls = self.calls.len(), "the data plane is gone; its calls end");
        self.attached = false;
        self.world.media.abandon_orders();
        self.world.media = Media::detached();
        self.calls.forget_flows();
        self.stop_calls("the data plane is gone");
    }

    fn attach(&mut self, now: Instant) -> Option<Receiver<Bell>> {
        let attachment = &self.attachment;
        match Media::attach(&attachment.socket, now, attachment.orphan_grace) {
            Ok((media, bells)) => self.attached_to(media, bells),
            Err(error) => {
                tracing::debug!(%error, "data plane not there yet");
                None
            }
        }
    }

    fn attached_to(&mut self, media: Media, bells: Bells) -> Option<Receiver<Bell>> {
        match watch(bells) {
            Ok(receiver) => {
                tracing::info!("attached to the data plane again");
                self.world.media = media;
                self.attached = true;
                Some(receiver)
            }
            Err(error) => {
                tracing::error!(%error, "no thread for the data plane's doorbells");
                None
            }
        }
    }
}
