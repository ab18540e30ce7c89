//! A worker without its thread, in virtual time: what it says, keeps and tells.

use std::sync::mpsc::sync_channel;

use abi::{
    Codec, Command, Dial, FlowId, Format, Guest, Learning, Notice, Play, PromptName, Shape, Stop,
    TelephoneEvent, Update,
};

use super::*;
use crate::flow::tests::{flow, id};
use crate::io::{Arrival, Part, Port, SocketId};
use crate::limits::SEND_BUFFERS;
use crate::topology::PortPairs;

const MS: u64 = 1_000_000;
const EVENTS: TelephoneEvent = TelephoneEvent { payload_type: 101, rate_hz: 8000 };

struct Rig {
    worker: Worker,
    guest: Guest,
    now_ns: u64,
}

impl Rig {
    /// As many flows, two and two of which are peers; the ring holds `events`.
    fn new(flows: u32, events: u32) -> Rig {
        let bell = || abi::doorbell::create().unwrap();
        let host = Host::create(0, Shape { flows, commands: 2, events }).unwrap();
        let guest = Guest::attach(host.fd().try_clone_to_owned().unwrap()).unwrap();
        let signal = Signal {
            stop: AtomicBool::new(false),
            restore: AtomicBool::new(false),
            restored: sync_channel(1).0,
            bell: bell(),
        };
        let parts = Parts {
            host,
            ports: Ports::new(&[], PortPairs { first_even: 20_000, count: 0 }, 0),
            commons: Arc::new(Commons::new(0, 0, 1)),
            standby: false,
            signal: Arc::new(signal),
            flows,
            gather_us: 0,
            spin_us: 0,
            dscp: Dscp::EF,
            prompts: Arc::new(Prompts::of("busy", &[0x55; 8000])),
        };
        let io = Backend::new(Part::Mmsg, flows, bell(), bell()).unwrap();
        let mut rig = Rig { worker: Worker::new(parts, io), guest, now_ns: 1000 * MS };
        rig.worker.next_step_ns = u64::MAX;
        (0..flows).for_each(|index| rig.worker.flows.insert(flow(id(index, 1))));
        for index in 0..flows {
            rig.update(|_| (), index);
        }
        while !rig.notices().is_empty() {}
        rig
    }

    fn update(&mut self, change: impl Fn(&mut Update), index: u32) {
        let at = |index: u32, port| format!("192.0.2.{}:{port}", index % 2 + 1).parse().ok();
        let mut update = Update {
            peer: Some(id(index ^ 1, 1)),
            relay: true,
            source_rtp: at(index, 4000),
            source_rtcp: at(index, 4001),
            destination_rtp: at(index ^ 1, 4000),
            destination_rtcp: at(index ^ 1, 4001),
            sent: Some(format(Codec::Pcma, 100)),
            events_sent: Some(EVENTS),
            ..Update::new(3, id(index, 1))
        };
        change(&mut update);
        self.execute(&Command::update(&update));
    }

    fn execute(&mut self, command: &Command) {
        self.worker.execute(command, self.now_ns).unwrap();
    }

    fn dial(&mut self, index: u32) {
        let dial = Dial { token: 5, flow: id(index, 1), digit: 1, duration_ms: 40 };
        self.execute(&Command::dial(&dial));
    }

    fn play(&mut self, index: u32) {
        let prompt = PromptName::new("busy").unwrap();
        self.execute(&Command::play(&Play { token: 7, flow: id(index, 1), prompt, looped: true }));
    }

    /// The payload types that are said now. None of it leaves; the buffers come back.
    fn said(&mut self) -> Vec<u8> {
        self.worker.talk(self.now_ns);
        let Worker { batch, io, .. } = &mut self.worker;
        let mut said = Vec::new();
        for departure in batch.departures.drain(..) {
            said.push(io.buffers().body(departure.buffer).unwrap()[1] & 0x7f);
            batch.discards.push(departure.buffer);
        }
        io.transmit(batch).unwrap();
        said
    }

    fn notices(&mut self) -> Vec<Notice> {
        self.worker.flush_events();
        std::iter::from_fn(|| self.guest.events.pop())
            .map(|event| event.decode().unwrap())
            .collect()
    }
}

fn format(codec: Codec, payload_type: u8) -> Format {
    Format { codec, payload_type, rate_hz: 8000, ptime_ms: 20 }
}

#[test]
fn who_finds_no_buffer_is_said_in_the_next_round() {
    let flows = u32::from(SEND_BUFFERS) + 8;
    let mut rig = Rig::new(flows, 4096);
    (0..flows).for_each(|index| rig.dial(index));
    assert_eq!(rig.said().len(), usize::from(SEND_BUFFERS));
    assert_eq!(rig.worker.wait(rig.now_ns).timeout_ns, 0, "the rest is still due");
    assert_eq!(rig.said().len(), 8);
    assert!(rig.worker.wait(rig.now_ns).timeout_ns > 0);
    assert_eq!(rig.worker.tally.get(Counter::DropSendFailed), 0);
}

#[test]
fn what_is_said_has_the_negotiated_types_and_ends_with_them() {
    let mut rig = Rig::new(2, 64);
    rig.play(0);
    assert_eq!(rig.said(), [100]);
    rig.update(|_| (), 0);
    rig.now_ns += 20 * MS;
    assert_eq!(rig.said(), [100], "nothing has changed");
    rig.notices();
    rig.update(|update| update.sent = Some(format(Codec::Pcmu, 0)), 0);
    let stopped = Notice::Played { token: 7, flow: id(0, 1), complete: false };
    assert_eq!(rig.notices(), [stopped, Notice::Updated { token: 3, flow: id(0, 1) }]);
    rig.now_ns += 20 * MS;
    assert!(rig.said().is_empty());
    rig.update(|update| update.events_sent = None, 0);
    rig.dial(0);
    rig.now_ns += 20 * MS;
    assert_eq!(rig.said(), [100; 2], "a tone");
}

#[test]
fn a_stopped_prompt_says_nothing_outside_of_its_turn() {
    let mut rig = Rig::new(2, 64);
    rig.play(0);
    rig.dial(0);
    rig.execute(&Command::stop(&Stop { token: 9, flow: id(0, 1) }));
    assert!(rig.worker.batch.departures.is_empty(), "it would lie there until the next wake-up");
    assert_eq!(rig.said(), [101], "the digit goes on");
}

#[test]
fn a_learned_source_is_in_the_table_at_once() {
    let mut rig = Rig::new(2, 64);
    let learning = Some(Learning { window_ms: 5000, within: None });
    rig.update(|update| update.learning = learning, 0);
    let Worker { batch, io, flows, tally, .. } = &mut rig.worker;
    let packet = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
    let buffer = io.take_buffer().unwrap();
    io.buffers().body(buffer).unwrap()[..12].copy_from_slice(&packet);
    let socket = SocketId { flow: id(0, 1), port: Port::Rtp };
    let remote: std::net::SocketAddr = "203.0.113.7:9000".parse().unwrap();
    let (source, len) = (remote.into(), packet.len());
    batch.arrivals.push(Arrival { socket, source, buffer, len, truncated: false, age_ns: None });
    relay::relay(batch, io.buffers(), flows, tally, rig.now_ns);
    rig.worker.pass_notices();
    assert_eq!(rig.guest.flows.snapshot(0).unwrap().source.socket_addr(), Some(remote));
    assert_eq!(rig.guest.flows.snapshot(1).unwrap().destination.socket_addr(), Some(remote));
}

/// A guest that reads nothing is served no command, but what it asked for before ends meanwhile.
#[test]
fn no_end_is_lost_while_the_guest_reads_nothing() {
    let flows = 32;
    let mut rig = Rig::new(flows, 2);
    for index in 0..flows {
        rig.dial(index);
        rig.play(index);
        rig.notices();
    }
    while rig.worker.try_emit(&Event::updated(0, FlowId::NONE)) {}
    let reserved = rig.worker.unsent.capacity();
    for index in 0..flows {
        let flow = rig.worker.flows.get_mut(id(index, 1)).unwrap();
        let stopped = flow.voice.as_mut().unwrap().stop().unwrap();
        rig.worker.say_finished(id(index, 1), stopped);
    }
    while rig.worker.pacer.next_due_ns().is_some() {
        rig.said();
        rig.now_ns += 5 * MS;
    }
    assert_eq!(rig.worker.unsent.capacity(), reserved, "nothing was allocated");
    let (mut played, mut dialled) = (0, 0);
    while let notices = rig.notices()
        && !notices.is_empty()
    {
        for notice in notices {
            played += u32::from(matches!(notice, Notice::Played { .. }));
            dialled += u32::from(matches!(notice, Notice::Dialled { .. }));
        }
    }
    assert_eq!((played, dialled), (flows, flows));
    assert_eq!(rig.worker.tally.get(Counter::EventsLost), 0);
}

/// As many steps as the open flows take, however high their slots are.
#[test]
fn a_sweep_visits_open_flows_only() {
    let mut rig = Rig::new(3 * SWEEP_FLOWS, 4096);
    let kept = SWEEP_FLOWS + 2;
    (0..3 * SWEEP_FLOWS - kept).for_each(|index| {
        rig.worker.flows.remove(id(index, 1), |_| ());
    });
    for expected in [3 * SWEEP_FLOWS - 2, 0] {
        rig.worker.keep_house(rig.now_ns).unwrap();
        assert_eq!(rig.worker.sweep_from, expected);
        assert_eq!(rig.worker.next_step_ns, rig.now_ns + HOUSEKEEPING_NS);
    }
}

#[test]
fn a_sweep_over_many_flows_takes_no_longer_than_its_limit() {
    let steps = 20;
    let mut rig = Rig::new(steps * SWEEP_FLOWS, 4096);
    let begun_ns = rig.now_ns;
    for _ in 0..steps {
        rig.worker.keep_house(rig.now_ns).unwrap();
        rig.now_ns = rig.worker.next_step_ns;
    }
    assert_eq!(rig.worker.sweep_from, 0, "all were visited");
    assert_eq!(rig.now_ns - begun_ns, SWEEP_NS);
}
