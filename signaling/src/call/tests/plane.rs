//! A data plane without media: it takes commands from the real shared memory and answers them as
//! told. The test pumps it, so that it acts at known moments.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use abi::handover::{Link, Listener, Offer};
use abi::{
    Command, Counter, Dial, Event, Family, FlowId, FlowSnapshot, FlowTally, Host, Open, Play,
    Reason, Request, Shape, Update, doorbell,
};

use crate::media::Media;

pub const SHAPE: Shape = Shape { flows: 1_024, commands: 1_024, events: 2_048 };

pub struct Plane {
    host: Host,
    _link: Link,
    _bells: [OwnedFd; 2],
    flows: HashMap<u32, Flow>,
    /// The latest generation of each slot that ever was open.
    latest: HashMap<u32, u32>,
    waiting: VecDeque<Command>,
    next_port: u16,
    /// Commands stay in the ring.
    pub stopped: bool,
    pub refuse_open: Option<Reason>,
    pub refuse_update: Option<Reason>,
    /// Every configuration that was asked for.
    pub updates: Vec<Update>,
    pub refuse_dial: Option<Reason>,
    pub refuse_play: Option<Reason>,
    /// Every prompt that was to be said.
    pub plays: Vec<Play>,
    /// Every digit that was dialled.
    pub dials: Vec<Dial>,
    /// Every lease that was asked for.
    pub opens: Vec<Open>,
    /// The event ring is full: nothing is told.
    pub deaf: bool,
}

struct Flow {
    id: FlowId,
    rtp: SocketAddr,
    packets: u64,
}

impl Plane {
    /// A data plane and the guest that is attached to it.
    pub fn attach(directory: &Path, shape: Shape, now: Instant) -> (Self, Media) {
        let host = Host::create(0, shape).unwrap();
        let bells = [doorbell::create().unwrap(), doorbell::create().unwrap()];
        let socket = directory.join("plane.sock");
        let listener = Listener::bind(&socket, rustix::process::geteuid().as_raw()).unwrap();
        let offer = Offer {
            region: host.fd(),
            command_bell: bells[0].as_fd(),
            event_bell: bells[1].as_fd(),
        };
        let (link, attached) = std::thread::scope(|scope| {
            let accepted = scope.spawn(|| listener.accept(&[offer]).unwrap());
            let attached = Media::attach(&socket, now, Duration::ZERO, 1).unwrap().remove(0);
            (accepted.join().unwrap(), attached)
        });
        let (media, _) = attached;
        let plane = Self {
            host,
            _link: link,
            _bells: bells,
            flows: HashMap::new(),
            latest: HashMap::new(),
            waiting: VecDeque::new(),
            next_port: 20_000,
            stopped: false,
            refuse_open: None,
            refuse_update: None,
            updates: Vec::new(),
            refuse_dial: None,
            refuse_play: None,
            plays: Vec::new(),
            dials: Vec::new(),
            opens: Vec::new(),
            deaf: false,
        };
        (plane, media)
    }

    /// Carries out what waits; true when there was anything.
    pub fn pump(&mut self) -> bool {
        if self.stopped {
            return false;
        }
        let mut any = false;
        while let Some(command) = self.waiting.pop_front().or_else(|| self.host.commands.pop()) {
            any = true;
            let answer = match command.decode().expect("commands are valid") {
                Request::Open(open) => self.open(&open),
                Request::Update(update) => self.update(update),
                Request::Close(close) => self.close(close.token, close.flow),
                Request::Dial(dial) => self.dial(dial),
                Request::Play(play) => self.play(play),
                other => Event::updated(other.token(), other.flow()),
            };
            self.tell(&answer);
        }
        any
    }

    /// Tells signaling, or loses what there is to tell.
    pub fn tell(&mut self, event: &Event) {
        if self.deaf {
            self.host.counters.add(Counter::EventsLost, 1);
        } else {
            self.host.events.push(event).expect("room for an event");
        }
    }

    fn play(&mut self, play: Play) -> Event {
        self.plays.push(play);
        match self.refuse_play {
            Some(reason) => Event::refused(play.token, play.flow, reason),
            None => Event::updated(play.token, play.flow),
        }
    }

    fn dial(&mut self, dial: Dial) -> Event {
        self.dials.push(dial);
        match self.refuse_dial {
            Some(reason) => Event::refused(dial.token, dial.flow, reason),
            None => Event::updated(dial.token, dial.flow),
        }
    }

    fn open(&mut self, open: &Open) -> Event {
        self.opens.push(*open);
        if let Some(reason) = self.refuse_open {
            return Event::refused(open.token, open.flow, reason);
        }
        let latest = self.latest.insert(open.flow.index, open.flow.generation).unwrap_or(0);
        assert!(open.flow.generation > latest, "generations are never used twice");
        self.next_port = if self.next_port > 50_000 { 20_000 } else { self.next_port + 2 };
        let address: IpAddr = match open.family {
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
            Family::V4 | Family::Any => Ipv4Addr::new(192, 0, 2, 1).into(),
        };
        let rtp = SocketAddr::from((address, self.next_port));
        let rtcp = SocketAddr::from((address, self.next_port + 1));
        let flow = Flow { id: open.flow, rtp, packets: 0 };
        let taken = self.flows.insert(open.flow.index, flow);
        assert!(taken.is_none(), "a slot is opened only after its last flow was closed");
        let snapshot = FlowSnapshot::opened(open.flow, open.call, 1);
        self.host.flows.publish(open.flow.index, &snapshot);
        Event::opened(open.token, open.flow, rtp, rtcp)
    }

    fn update(&mut self, update: Update) -> Event {
        let (token, id) = (update.token, update.flow);
        let refusal = self.refuse_update.or(self.absence(id));
        if refusal == Some(Reason::NoSuchFlow) {
            self.forget(id);
        }
        self.updates.push(update);
        match refusal {
            Some(reason) => Event::refused(token, id, reason),
            None => Event::updated(token, id),
        }
    }

    fn close(&mut self, token: u64, id: FlowId) -> Event {
        if let Some(reason) = self.absence(id) {
            return Event::refused(token, id, reason);
        }
        let packets = self.flows.remove(&id.index).map_or(0, |flow| flow.packets);
        self.host.flows.clear(id.index);
        Event::closed(token, id, packets, packets * 160, 1)
    }

    fn absence(&self, id: FlowId) -> Option<Reason> {
        if self.flows.get(&id.index).is_some_and(|flow| flow.id == id) {
            return None;
        }
        let newer = self.latest.get(&id.index).is_some_and(|latest| *latest > id.generation);
        Some(if newer { Reason::Stale } else { Reason::NoSuchFlow })
    }

    /// Flows that hold ports.
    pub fn open_flows(&self) -> usize {
        self.flows.len()
    }

    /// Their names, in order.
    pub fn all_flows(&self) -> Vec<FlowId> {
        let mut ids: Vec<_> = self.flows.values().map(|flow| flow.id).collect();
        ids.sort_by_key(|id| id.index);
        ids
    }

    /// The flow whose RTP port this is.
    pub fn flow_at(&self, port: u16) -> FlowId {
        let found = self.flows.values().find(|flow| flow.rtp.port() == port);
        found.expect("a flow has this port").id
    }

    /// Media arrived on a flow.
    pub fn receive(&mut self, id: FlowId, packets: u64) {
        let flow = self.flows.get_mut(&id.index).expect("the flow is open");
        flow.packets += packets;
        self.host.flows.set(id.index, FlowTally::PacketsIn, flow.packets);
    }

    /// Nothing arrived on a flow for its time-out.
    pub fn fall_silent(&mut self, id: FlowId) {
        let packets = self.flows[&id.index].packets;
        self.tell(&Event::timeout(id, packets, packets * 160, 1));
    }

    /// A flow ends that nobody asked to close.
    pub fn vanish(&mut self, id: FlowId) {
        self.forget(id);
        self.tell(&Event::closed(0, id, 7, 1_120, 1));
    }

    fn forget(&mut self, id: FlowId) {
        if self.absence(id).is_none() {
            self.flows.remove(&id.index);
            self.host.flows.clear(id.index);
        }
    }

    /// The last configuration of a flow.
    pub fn configured(&self, id: FlowId) -> Option<&Update> {
        self.updates.iter().rev().find(|update| update.flow == id)
    }
}
