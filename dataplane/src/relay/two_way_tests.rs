//! Both directions of a call through the relay: what one of them learns, the other follows.

use abi::{
    Codec, Event, FlowId, Format, Heard, Key, Learning, Notice, PayloadMap, Suite, TelephoneEvent,
    Update,
};
use rtp::rtcp::{RtcpCompound, RtcpPacket};
use rtp::srtp::{MasterKey, Protect};

use super::*;
use crate::control::configure::configure;
use crate::flow::tests::{flow, id};
use crate::io::{BufferId, Endpoint};
use crate::limits::ONE_WAY_NS;

const A: &str = "192.0.2.1:4000";
const A_RTCP: &str = "192.0.2.1:4001";
const B: &str = "198.51.100.1:5000";
const B_RTCP: &str = "198.51.100.1:5001";
const STRANGER: &str = "203.0.113.9:6000";
const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];
const SECOND_NS: u64 = 1_000_000_000;

/// Flow 0 receives from A, flow 1 from B.
struct Call {
    batch: Batch,
    buffers: Buffers,
    flows: Flows,
    tally: Tally,
    now_ns: u64,
}

/// A packet that left: where to, from which port, its octets.
type Left = (String, Port, Vec<u8>);

impl Call {
    /// A call between two plain sides; `change` says what is special about it.
    fn with(change: impl Fn(&mut Update, &mut Update)) -> Call {
        let mut flows = Flows::new(2);
        flows.insert(flow(id(0, 1)));
        flows.insert(flow(id(1, 1)));
        let mut call = Call {
            batch: Batch::new(),
            buffers: Buffers::new(1),
            flows,
            tally: Tally::new(),
            now_ns: SECOND_NS,
        };
        call.update(change);
        call
    }

    fn update(&mut self, change: impl Fn(&mut Update, &mut Update)) {
        let mut forward = update(id(0, 1), id(1, 1), [A, A_RTCP], [B, B_RTCP]);
        let mut backward = update(id(1, 1), id(0, 1), [B, B_RTCP], [A, A_RTCP]);
        change(&mut forward, &mut backward);
        for update in [forward, backward] {
            configure(&mut self.flows, update, self.now_ns).unwrap();
        }
    }

    fn pass(&mut self, to: (u32, Port), from: &str, packet: &[u8]) -> Result<Left, Verdict> {
        let arrival = Arrival {
            socket: SocketId { flow: id(to.0, 1), port: to.1 },
            source: endpoint(from),
            buffer: BufferId(0),
            len: packet.len(),
            truncated: false,
            age_ns: None,
        };
        let body = self.buffers.body(BufferId(0)).unwrap();
        body[..packet.len()].copy_from_slice(packet);
        let before: Vec<u64> = Verdict::ALL.map(|v| self.tally.get(v.counter())).to_vec();
        self.batch.arrivals.push(arrival);
        relay(&mut self.batch, &mut self.buffers, &mut self.flows, &mut self.tally, self.now_ns);
        self.batch.discards.clear();
        let Some(departure) = self.batch.departures.pop() else {
            let ended = Verdict::ALL.into_iter().zip(before);
            let changed = ended.into_iter().find(|(v, b)| self.tally.get(v.counter()) != *b);
            return Err(changed.unwrap().0);
        };
        let sent = self.buffers.body(BufferId(0)).unwrap()[..departure.len].to_vec();
        Ok((departure.destination.socket_addr().to_string(), departure.socket.port, sent))
    }

    /// Media from A's side, its RTP number `seq`.
    fn media(&mut self, from: &str, seq: u16) -> Result<Left, Verdict> {
        self.pass((0, Port::Rtp), from, &rtp(7, seq))
    }

    /// Where B's next packet goes.
    fn reply(&mut self, seq: u16) -> Result<String, Verdict> {
        self.pass((1, Port::Rtp), B, &rtp(8, seq)).map(|(to, ..)| to)
    }

    fn notices(&mut self) -> Vec<Notice> {
        self.batch.notices.drain(..).map(|event: Event| event.decode().unwrap()).collect()
    }
}

fn update(flow: FlowId, peer: FlowId, from: [&str; 2], to: [&str; 2]) -> Update {
    let at = |text: &str| text.parse().ok();
    Update {
        peer: Some(peer),
        relay: true,
        source_rtp: at(from[0]),
        source_rtcp: at(from[1]),
        destination_rtp: at(to[0]),
        destination_rtcp: at(to[1]),
        ..Update::new(1, flow)
    }
}

fn endpoint(text: &str) -> Endpoint {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

fn rtp(ssrc: u32, seq: u16) -> Vec<u8> {
    payload(ssrc, seq, 0, &[0x55; 160])
}

fn payload(ssrc: u32, seq: u16, payload_type: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn learn(within: Option<&str>) -> Option<Learning> {
    let within = within.map(|ip| (ip.parse().unwrap(), 24));
    Some(Learning { window_ms: 5000, within })
}

#[test]
fn without_learning_a_stranger_moves_nothing() {
    let mut call = Call::with(|_, _| ());
    assert_eq!(call.media(STRANGER, 1), Err(Verdict::OffPath));
    assert_eq!(call.reply(1).unwrap(), A);
    assert!(call.media(A, 1).is_ok());
    assert!(call.notices().is_empty());
}

#[test]
fn a_learned_source_is_where_the_other_direction_goes() {
    let mut call = Call::with(|forward, _| forward.learning = learn(None));
    assert_eq!(call.reply(1).unwrap(), A, "before anything was heard");
    assert!(call.media("192.0.2.77:40000", 1).is_ok());
    assert_eq!(call.reply(2).unwrap(), "192.0.2.77:40000");
    let learned = Notice::Learned { flow: id(0, 1), remote: "192.0.2.77:40000".parse().unwrap() };
    assert_eq!(call.notices(), [learned]);
    // Locked: later strangers are off the path, and saying the same again changes nothing.
    call.now_ns += 10 * SECOND_NS;
    assert!(call.media("192.0.2.77:40000", 2).is_ok());
    assert_eq!(call.media(STRANGER, 3), Err(Verdict::OffPath));
    call.update(|forward, _| forward.learning = learn(None));
    assert_eq!(call.media(STRANGER, 3), Err(Verdict::OffPath));
    assert_eq!(call.reply(3).unwrap(), "192.0.2.77:40000");
}

/// A 183 with a description, 20 s of ringing, and the same description in the 200.
#[test]
fn the_window_opens_again_when_the_call_is_answered() {
    let mut call = Call::with(|forward, _| forward.learning = learn(None));
    call.now_ns += 20 * SECOND_NS;
    assert_eq!(call.media("192.0.2.77:40000", 1), Err(Verdict::OffPath));
    call.update(|forward, _| forward.learning = learn(None));
    call.now_ns += 5 * SECOND_NS - 1;
    assert!(call.media("192.0.2.77:40000", 2).is_ok());
    assert_eq!(call.reply(1).unwrap(), "192.0.2.77:40000");
    call.update(|forward, _| forward.learning = learn(None));
    assert_eq!(call.media(STRANGER, 3), Err(Verdict::OffPath), "not once it was heard");
}

#[test]
fn learning_stays_inside_the_network_that_it_is_limited_to() {
    let mut call = Call::with(|forward, _| forward.learning = learn(Some("192.0.2.0")));
    assert_eq!(call.media(STRANGER, 1), Err(Verdict::OffPath));
    assert!(call.media("192.0.2.200:9", 1).is_ok());
}

#[test]
fn a_private_destination_waits_until_the_far_side_was_heard() {
    let mut call = Call::with(|forward, backward| {
        forward.learning = learn(None);
        backward.await_destination = true;
        backward.destination_rtp = None;
        backward.destination_rtcp = None;
    });
    assert_eq!(call.reply(1), Err(Verdict::NotReady));
    assert!(call.media("192.0.2.5:1234", 1).is_ok());
    assert_eq!(call.reply(2).unwrap(), "192.0.2.5:1234");
}

#[test]
fn a_secure_side_is_learned_from_authentic_packets_only() {
    let key = || Key::new(Suite::AesCm128HmacSha1_80, &[7; 16], &[9; 14]);
    let mut call = Call::with(|forward, _| {
        forward.learning = learn(None);
        forward.unprotect = key();
    });
    assert_eq!(call.media(STRANGER, 1), Err(Verdict::Authentication));
    assert_eq!(call.reply(1).unwrap(), A);
    let master = MasterKey::new(rtp::srtp::Suite::AesCm128HmacSha1_80, &[7; 16], &[9; 14]).unwrap();
    let mut protected = rtp(7, 1);
    protected.resize(protected.len() + 32, 0);
    let len = Protect::new(&master).rtp(&mut protected, 172).unwrap();
    call.now_ns += 60 * SECOND_NS;
    assert!(call.pass((0, Port::Rtp), "192.0.2.5:1234", &protected[..len]).is_ok());
    assert_eq!(call.reply(2).unwrap(), "192.0.2.5:1234");
    // A copy of it from elsewhere is a replay, and moves nothing.
    assert!(call.pass((0, Port::Rtp), STRANGER, &protected[..len]).is_err());
    assert_eq!(call.reply(3).unwrap(), "192.0.2.5:1234");
}

#[test]
fn control_packets_are_learned_at_the_address_of_the_media() {
    let mut call = Call::with(|forward, _| forward.learning = learn(None));
    assert!(call.media("192.0.2.77:40000", 1).is_ok());
    assert_eq!(call.pass((0, Port::Rtcp), STRANGER, &REPORT), Err(Verdict::OffPath));
    assert!(call.pass((0, Port::Rtcp), "192.0.2.77:40009", &REPORT).is_ok());
    let (to, ..) = call.pass((1, Port::Rtcp), B_RTCP, &[0x80, 201, 0, 1, 0, 0, 0, 8]).unwrap();
    assert_eq!(to, "192.0.2.77:40009");
}

/// They come every five seconds or so, the first one half of that after the media.
#[test]
fn control_packets_have_longer_to_be_learned() {
    for (seconds, learned) in [(14, true), (15, false)] {
        let mut call = Call::with(|forward, _| forward.learning = learn(None));
        assert!(call.media("192.0.2.77:40000", 1).is_ok());
        call.now_ns += seconds * SECOND_NS;
        assert_eq!(call.pass((0, Port::Rtcp), "192.0.2.77:40009", &REPORT).is_ok(), learned);
    }
}

#[test]
fn a_held_direction_passes_control_packets_and_nothing_else() {
    let mut call = Call::with(|forward, _| forward.relay = false);
    assert_eq!(call.media(A, 1), Err(Verdict::Direction));
    assert!(call.pass((0, Port::Rtcp), A_RTCP, &REPORT).is_ok());
    assert!(call.reply(1).is_ok(), "the other direction goes on");
    let counts = call.flows.get_mut(id(0, 1)).unwrap().counts;
    assert_eq!((counts.packets_in, counts.packets_out), (2, 1), "a held packet shows life");
}

/// The far side has no address (`c=0.0.0.0`, or one that cannot be reached).
#[test]
fn a_direction_without_a_destination_is_watched_as_a_held_one() {
    let mut call = Call::with(|forward, _| {
        forward.relay = false;
        (forward.destination_rtp, forward.destination_rtcp) = (None, None);
        forward.timeout_ms = 10_000;
    });
    assert_eq!(call.media(A, 1), Err(Verdict::Direction));
    assert_eq!(call.pass((0, Port::Rtcp), A_RTCP, &REPORT), Err(Verdict::NotReady));
    let flow = call.flows.get_mut(id(0, 1)).unwrap();
    assert_eq!(flow.counts.packets_in, 2);
    assert!(!flow.is_silent(11 * SECOND_NS - 1) && flow.is_silent(11 * SECOND_NS));
}

#[test]
fn an_answer_begins_the_watch_for_one_way_audio_anew() {
    let mut call = Call::with(|_, _| ());
    call.now_ns += ONE_WAY_NS;
    let now_ns = call.now_ns;
    let flow = call.flows.get_mut(id(0, 1)).unwrap();
    assert!(flow.is_mute(now_ns), "silent while it rang");
    flow.silence.one_way_reported_ns = now_ns;
    call.now_ns += SECOND_NS;
    call.update(|_, _| ());
    let answered_ns = call.now_ns;
    let flow = call.flows.get_mut(id(0, 1)).unwrap();
    assert!(!flow.is_mute(answered_ns + ONE_WAY_NS - 1));
    assert!(flow.is_mute(answered_ns + ONE_WAY_NS), "silent after the answer is told again");
}

#[test]
fn payload_types_become_those_of_the_far_side() {
    let mut call = Call::with(|forward, backward| {
        forward.payloads = PayloadMap::new([(101, 96)]).unwrap();
        backward.payloads = PayloadMap::new([(96, 101)]).unwrap();
    });
    let (_, _, sent) = call.pass((0, Port::Rtp), A, &payload(7, 1, 101, &[5, 10, 0, 160])).unwrap();
    assert_eq!(sent, payload(7, 1, 96, &[5, 10, 0, 160]));
    let (_, _, sent) = call.pass((1, Port::Rtp), B, &payload(8, 1, 96, &[5, 10, 0, 160])).unwrap();
    assert_eq!(sent[1], 101);
    assert_eq!(call.media(A, 2).unwrap().2, rtp(7, 2), "others pass as they are");
}

#[test]
fn a_digit_is_told_once_and_passes() {
    let mut call = Call::with(|forward, _| {
        forward.report_digits = true;
        forward.events_received = Some(TelephoneEvent { payload_type: 101, rate_hz: 8000 });
        forward.events_sent = forward.events_received;
        forward.received =
            Some(Format { codec: Codec::Pcmu, payload_type: 0, rate_hz: 8000, ptime_ms: 20 });
    });
    for seq in 1..4 {
        let mut end = payload(7, seq, 101, &[5, 0x8A, 3, 0x20]);
        end[4..8].copy_from_slice(&[0, 0, 1, 0]);
        assert!(call.pass((0, Port::Rtp), A, &end).is_ok());
    }
    let heard = Heard::Event;
    assert_eq!(
        call.notices(),
        [Notice::Digit { flow: id(0, 1), digit: 5, duration_ms: 100, heard }]
    );
}

#[test]
fn a_new_source_continues_the_old_one_and_reports_follow() {
    let mut call = Call::with(|_, _| ());
    assert_eq!(call.media(A, 100).unwrap().2, rtp(7, 100));
    // The caller was transferred: another SSRC, other numbers.
    call.now_ns += 20_000_000;
    let (_, _, sent) = call.pass((0, Port::Rtp), A, &rtp(70, 9000)).unwrap();
    let seen = RtpPacket::parse(&sent).unwrap();
    assert_eq!((seen.ssrc().0, seen.seq().0, seen.marker()), (7, 101, true));
    assert_eq!(seen.timestamp(), 101 * 160);
    // Its sender report leaves under the SSRC that B knows, on B's time line.
    let mut report = vec![0x80, 200, 0, 6];
    report.extend(70_u32.to_be_bytes());
    report.extend([0, 0, 0, 1, 2, 3, 4, 5]);
    report.extend((9000_u32 * 160).to_be_bytes());
    report.extend([0; 8]);
    let (_, port, sent) = call.pass((0, Port::Rtcp), A_RTCP, &report).unwrap();
    let compound = RtcpCompound::parse(&sent).unwrap();
    let Some(RtcpPacket::SenderReport(out)) = compound.iter().next() else { panic!() };
    assert_eq!((out.ssrc.0, out.info.rtp_timestamp, port), (7, 101 * 160, Port::Rtcp));
    // B reports about SSRC 7; the new source reads about itself.
    let mut report = vec![0x81, 201, 0, 7];
    report.extend(8_u32.to_be_bytes());
    report.extend(7_u32.to_be_bytes());
    report.extend([0, 0, 0, 3]);
    report.extend(101_u32.to_be_bytes());
    report.extend([0, 0, 0, 40]);
    report.extend([0, 1, 2, 3]);
    report.extend([0, 0, 0x80, 0]);
    call.now_ns += 600_000_000;
    let (_, _, sent) = call.pass((1, Port::Rtcp), B_RTCP, &report).unwrap();
    let compound = RtcpCompound::parse(&sent).unwrap();
    let Some(RtcpPacket::ReceiverReport(out)) = compound.iter().next() else { panic!() };
    let block = out.blocks().next().unwrap();
    assert_eq!((block.ssrc.0, block.highest_seq), (70, 9000));
    // It answers our sender report 0.6 s after it passed, having kept it for 0.5 s.
    let far = &call.flows.get_mut(id(1, 1)).unwrap().far;
    assert_eq!((far.lost(), far.jitter()), (Some(3), Some(40)));
    assert!(far.rtt_us().is_some_and(|rtt| (99_000..101_000).contains(&rtt)), "{:?}", far.rtt_us());
}

/// Either direction may be configured first.
#[test]
fn a_leg_that_answers_with_our_key_is_refused() {
    let key = |byte| Key::new(Suite::AeadAes128Gcm, &[byte; 16], &[9; 12]);
    let state = |call: &mut Call, forward: bool, byte: u8| {
        let mut update = match forward {
            true => update(id(0, 1), id(1, 1), [A, A_RTCP], [B, B_RTCP]),
            false => update(id(1, 1), id(0, 1), [B, B_RTCP], [A, A_RTCP]),
        };
        *(if forward { &mut update.protect } else { &mut update.unprotect }) = key(byte);
        configure(&mut call.flows, update, 0)
    };
    for first in [true, false] {
        let mut call = Call::with(|_, _| ());
        assert_eq!(state(&mut call, first, 7), Ok(()));
        assert_eq!(state(&mut call, !first, 7), Err(abi::Reason::BadCommand));
        assert_eq!(state(&mut call, first, 8), Ok(()));
        assert_eq!(state(&mut call, !first, 7), Err(abi::Reason::BadCommand), "one of before");
        assert_eq!(state(&mut call, !first, 6), Ok(()));
    }
}

#[test]
fn fax_datagrams_pass_unread_between_plain_sides_only() {
    let mut call = Call::with(|forward, backward| {
        forward.udptl = true;
        backward.udptl = true;
    });
    let datagram = [0, 1, 2, 3, 4];
    let (to, _, sent) = call.pass((0, Port::Rtp), A, &datagram).unwrap();
    assert_eq!((to.as_str(), sent.as_slice()), (B, datagram.as_slice()));
    assert_eq!(call.pass((0, Port::Rtp), STRANGER, &datagram), Err(Verdict::OffPath));
    assert_eq!(call.tally.get(Verdict::RelayedUdptl.counter()), 1);
    // A side that was keyed never becomes one that passes what it cannot read.
    let key = || Key::new(Suite::AeadAes128Gcm, &[7; 16], &[9; 12]);
    let mut call = Call::with(|forward, _| forward.unprotect = key());
    let mut fax = update(id(0, 1), id(1, 1), [A, A_RTCP], [B, B_RTCP]);
    fax.udptl = true;
    assert!(configure(&mut call.flows, fax, 0).is_err());
}
