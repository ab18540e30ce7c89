//! Stored input through every way into the data plane: datagrams through the relay, commands, prompts,
//! and what latches and continuity go through; as it is, and damaged by a seeded hand.
//!
//! The datagrams are those of `rtp/tests/corpus`; the rest lies in `tests/corpus`, by what it is:
//! `*.command` (512 octets, one command), `*.wav`, `*.steps` (records of 8 octets, see [`Step`]).
//! `cargo test --release -p dataplane --test corpus -- --ignored write_the_corpus` writes what [`made`]
//! says. What broke something is added by hand as one more file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use abi::{
    Close, Codec, Command, Counter, Dial, Family, FlowId, Format, Key, Learning as Permission,
    Open, PayloadMap, Play, PromptName, Stop, Suite, TelephoneEvent, Update,
};
use dataplane::Lease;
use dataplane::admit::{Egress, Ingress};
use dataplane::continuity::{Continuity, Header, Talker};
use dataplane::flow::{Flow, Gate};
use dataplane::flows::Flows;
use dataplane::io::{Arrival, Batch, BufferId, Buffers, Endpoint, Port, SocketId};
use dataplane::latch::{Approach, Confirmed, Latch, Learning, Network};
use dataplane::prompt::Prompts;
use dataplane::relay::relay;
use dataplane::tally::Tally;
use rtp::srtp::MasterKey;

fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn stored(directory: &Path, extension: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    let all: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(all.iter().map(Vec::len).sum::<usize>() < 60_000, "the corpus stays small");
    all
}

fn datagrams() -> Vec<Vec<u8>> {
    stored(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rtp/tests/corpus"), "bin")
}

/// Seeded disorder (splitmix64).
struct Noise(u64);

impl Noise {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.word() >> 33) as usize % end
    }

    /// One of `all` with one to four injuries; `keep_len`: none of them changes its length.
    fn damage(&mut self, all: &[Vec<u8>], keep_len: bool) -> Vec<u8> {
        let mut bytes = all[self.below(all.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let kinds = if keep_len { 3 } else { 6 };
            match self.below(kinds) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                2 => {
                    // What stands at this place in another one.
                    let other = &all[self.below(all.len())];
                    for (to, from) in bytes.iter_mut().zip(other).skip(at).take(8) {
                        *to = *from;
                    }
                }
                3 => bytes.truncate(at),
                4 => bytes.insert(at, self.word() as u8),
                5 => bytes.extend(self.word().to_le_bytes()),
                _ => {}
            }
        }
        bytes
    }
}

const FAR: &str = "192.0.2.1:4000";
const FAR_RTCP: &str = "192.0.2.1:4001";

fn endpoint(text: &str) -> Endpoint {
    text.parse::<SocketAddr>().unwrap().into()
}

fn id(index: u32) -> FlowId {
    FlowId { index, generation: 1 }
}

/// How the flow under test receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Plain,
    /// The key of the corpus' first suite.
    Secure,
    Udptl,
}

/// One flow with everything on, its peer, and a way through the relay.
struct Bench {
    side: Side,
    batch: Batch,
    buffers: Buffers,
    flows: Flows,
    tally: Tally,
    now_ns: u64,
}

impl Bench {
    fn new(side: Side) -> Bench {
        let mut flows = Flows::new(2);
        for index in 0..2 {
            let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
            let lease = Lease { network: 0, rtp: local(9000), rtcp: local(9001) };
            let mut flow = Flow::new(id(index), [0; 16], lease, 0);
            flow.gate = Gate::Relaying;
            flow.peer = id(1 - index);
            flow.mux_in = true;
            flow.udptl = side == Side::Udptl;
            let signalled = |at| Latch::new(Some(endpoint(at)), Learning::Off, false, 0);
            (flow.source_rtp, flow.source_rtcp) = (signalled(FAR), signalled(FAR_RTCP));
            flow.aim.state(Some(endpoint(FAR)), Some(endpoint(FAR_RTCP)));
            flow.payloads = PayloadMap::new([(101, 96), (0, 8)]).unwrap();
            flow.hearing.state(&listening(id(index)));
            flows.insert(flow);
        }
        if side == Side::Secure {
            let suite = rtp::srtp::Suite::ALL[0];
            let master = MasterKey::new(suite, &[0xe1; 16], &[0x0e; 14]).unwrap();
            let flow = flows.get_mut(id(0)).unwrap();
            (flow.ingress, flow.egress) = (Ingress::new(Some(&master)), Egress::new(Some(&master)));
        }
        let (batch, buffers, tally) = (Batch::new(), Buffers::new(1), Tally::new());
        Bench { side, batch, buffers, flows, tally, now_ns: 1 }
    }

    /// Body: any datagram on either port gets one verdict, and ends as one departure or one discard.
    /// Whether it departs.
    fn relays(&mut self, port: Port, datagram: &[u8]) -> bool {
        self.now_ns += 20_000_000;
        let before = self.verdicts();
        let room = self.buffers.body(BufferId(0)).unwrap();
        let len = datagram.len().min(room.len());
        room[..len].copy_from_slice(&datagram[..len]);
        let source = if port == Port::Rtp { FAR } else { FAR_RTCP };
        self.batch.arrivals.push(Arrival {
            socket: SocketId { flow: id(0), port },
            source: endpoint(source),
            buffer: BufferId(0),
            len,
            truncated: len < datagram.len(),
            age_ns: None,
        });
        let Bench { batch, buffers, flows, tally, now_ns, .. } = self;
        relay(batch, buffers, flows, tally, *now_ns);
        for event in batch.notices.drain(..) {
            event.decode().unwrap();
        }
        assert_eq!(self.verdicts(), before + 1, "{:?} {datagram:02x?}", self.side);
        let (sent, dropped) = (self.batch.departures.len(), self.batch.discards.len());
        assert_eq!((sent + dropped, self.batch.arrivals.len()), (1, 0));
        self.batch.departures.clear();
        self.batch.discards.clear();
        sent == 1
    }

    fn verdicts(&self) -> u64 {
        Counter::ALL.iter().take(abi::counter::VERDICTS).map(|count| self.tally.get(*count)).sum()
    }
}

fn listening(flow: FlowId) -> Update {
    Update {
        report_digits: true,
        detect_tones: true,
        events_received: Some(TelephoneEvent { payload_type: 101, rate_hz: 8000 }),
        received: Some(Format { codec: Codec::Pcma, payload_type: 8, rate_hz: 8000, ptime_ms: 20 }),
        ..Update::new(1, flow)
    }
}

#[test]
fn stored_datagrams_get_one_verdict_on_each_port_of_each_flow() {
    let stored = datagrams();
    assert!(stored.len() >= 100);
    for side in [Side::Plain, Side::Secure, Side::Udptl] {
        let mut passed = 0;
        for datagram in &stored {
            for port in [Port::Rtp, Port::Rtcp] {
                let mut bench = Bench::new(side);
                passed += u32::from(bench.relays(port, datagram));
                for len in 0..datagram.len() {
                    bench.relays(port, &datagram[..len]);
                }
            }
        }
        assert!(passed > 0, "{side:?}: something real passes");
    }
}

#[test]
fn thirty_thousand_damaged_datagrams_get_one_verdict_and_none_is_taken_for_authentic() {
    let stored = datagrams();
    let mut noise = Noise(1);
    for side in [Side::Plain, Side::Secure, Side::Udptl] {
        let mut bench = Bench::new(side);
        for _ in 0..30_000 {
            let damaged = noise.damage(&stored, false);
            let port = if noise.below(2) == 0 { Port::Rtp } else { Port::Rtcp };
            let passed = bench.relays(port, &damaged);
            let intact = || stored.contains(&damaged);
            assert!(side != Side::Secure || !passed || intact(), "{damaged:02x?}");
        }
    }
}

/// Body: what decodes means exactly its octets.
fn command(bytes: &[u8]) -> bool {
    let Ok(command) = bytemuck::try_pod_read_unaligned::<Command>(bytes) else { return false };
    let Ok(request) = command.decode() else { return false };
    assert!(Command::from(&request) == command);
    assert!(request.flow().some().is_some());
    true
}

#[test]
fn stored_and_damaged_commands_mean_their_octets_or_nothing() {
    let stored = stored(&own(), "command");
    assert!(stored.len() >= 8 && stored.iter().all(|bytes| command(bytes)));
    let mut noise = Noise(2);
    let understood = (0..40_000).filter(|_| command(&noise.damage(&stored, true))).count();
    assert!((100..39_900).contains(&understood), "{understood}: damage reaches both ends");
}

#[test]
fn stored_and_damaged_prompts_load_or_are_refused_in_words() {
    let stored = stored(&own(), "wav");
    let directory = std::env::temp_dir().join(format!("trunkline-damaged-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let mut noise = Noise(3);
    let mut loaded = 0;
    for round in 0..2_000 {
        let bytes = match stored.get(round) {
            Some(whole) => whole.clone(),
            None => noise.damage(&stored, false),
        };
        std::fs::write(directory.join("a.wav"), &bytes).unwrap();
        match Prompts::load(&directory) {
            Ok(prompts) => {
                loaded += 1;
                let longest = 1 + bytes.len() as u32 / 16;
                assert!(prompts.names().all(|(name, ms)| name == "a" && ms <= longest + 10));
            }
            Err(error) => assert!(error.to_string().contains("a.wav"), "{error}"),
        }
    }
    std::fs::remove_dir_all(&directory).unwrap();
    assert!((50..1_950).contains(&loaded), "{loaded}: damage reaches both ends");
}

/// Eight octets of a stored sequence.
///
/// ```text
/// | what | who | number, big endian | value, big endian | milliseconds before, big endian |
/// ```
struct Step {
    what: u8,
    who: u8,
    number: u16,
    value: u16,
    after_ms: u16,
}

fn steps(bytes: &[u8]) -> impl Iterator<Item = Step> {
    bytes.as_chunks::<8>().0.iter().map(|[what, who, a, b, c, d, e, f]| Step {
        what: *what,
        who: *who,
        number: u16::from_be_bytes([*a, *b]),
        value: u16::from_be_bytes([*c, *d]),
        after_ms: u16::from_be_bytes([*e, *f]),
    })
}

/// Body: one SSRC leaves, our own packets always, each a number after the last of all.
fn continuity(bytes: &[u8]) {
    let mut continuity = Continuity::new();
    let mut now_ns = 1;
    let mut first: Option<Header> = None;
    let mut highest = 0_u16;
    for step in steps(bytes) {
        now_ns += u64::from(step.after_ms) * 1_000_000;
        let talker = if step.what & 1 == 0 { Talker::Far } else { Talker::Own };
        let header = Header {
            ssrc: u32::from(step.who),
            seq: step.number,
            timestamp: u32::from(step.value) << 8,
            marker: step.what & 2 != 0,
        };
        let rate_hz = if step.what & 4 == 0 { 8000 } else { 0 };
        let out = continuity.follow(talker, header, rate_hz, now_ns);
        assert!(out.is_ok() || talker == Talker::Far, "ours are never refused");
        let Ok(out) = out else { continue };
        let ssrc = first.get_or_insert(out).ssrc;
        assert_eq!(out.ssrc, ssrc);
        let ahead = out.seq.wrapping_sub(highest).cast_signed();
        if first == Some(out) && continuity.translation().is_none() {
            highest = out.seq;
        } else if talker == Talker::Own {
            assert!(ahead > 0, "ours takes a new number");
        }
        highest = if ahead > 0 { out.seq } else { highest };
        if let Some(translation) = continuity.translation() {
            assert_eq!(translation.to_ssrc.0, ssrc);
        }
    }
}

/// Body: without learning nothing moves a latch; with a network nothing outside it is believed but the
/// signalled address itself.
fn latch(bytes: &[u8]) {
    let at =
        |step: &Step| Endpoint { ip: 0xffff_0a00_0000 + u128::from(step.who), port: step.value };
    let network = Network { ip: 0xffff_0a00_0000, prefix: 124 };
    let permitted = |what: u8| match what >> 4 & 3 {
        0 => Learning::Off,
        1 => Learning::Learn { window_ns: 5_000_000_000, within: None },
        _ => Learning::Learn { window_ns: 5_000_000_000, within: Some(network) },
    };
    let (mut learning, mut signalled) = (Learning::Off, None);
    let mut latch = Latch::new(signalled, learning, false, 0);
    let mut now_ns = 1;
    for step in steps(bytes) {
        now_ns += u64::from(step.after_ms) * 1_000_000;
        match step.what & 3 {
            0 => {
                (learning, signalled) = (permitted(step.what), Some(at(&step)));
                latch.restate(signalled, learning, step.what & 4 != 0, now_ns);
            }
            1 => {
                let stated = Some(at(&step));
                latch.accompany(&Latch::new(stated, Learning::Off, false, 0), now_ns);
            }
            _ => {
                let source = at(&step);
                let approach = latch.check(source, now_ns);
                if matches!(approach, Approach::Expected | Approach::Candidate) {
                    let before = latch.source();
                    let confirmed = latch.confirm(source, step.number.into(), now_ns);
                    if confirmed == Confirmed::Learned {
                        assert_eq!(latch.source(), Some(source));
                    } else {
                        assert_eq!(latch.source(), before, "nothing else moves it");
                    }
                }
            }
        }
        match learning {
            Learning::Off => assert!(latch.source() == signalled && latch.learned().is_none()),
            Learning::Learn { within, .. } => {
                let learned = latch.learned().filter(|learned| Some(*learned) != signalled);
                assert!(learned.is_none_or(|at| within.is_none_or(|inside| inside.contains(at))));
            }
        }
    }
}

#[test]
fn stored_and_damaged_sequences_keep_the_promises_of_latch_and_continuity() {
    let stored = stored(&own(), "steps");
    assert!(stored.len() >= 8);
    let mut noise = Noise(4);
    for round in 0..30_000 {
        let bytes = match stored.get(round) {
            Some(whole) => whole.clone(),
            None => noise.damage(&stored, false),
        };
        continuity(&bytes);
        latch(&bytes);
    }
}

#[test]
fn what_is_stored_is_what_the_list_makes() {
    for (name, bytes) in made() {
        assert!(std::fs::read(own().join(&name)).unwrap() == bytes, "{name}");
    }
}

#[test]
#[ignore = "writes the stored input; see the module comment"]
fn write_the_corpus() {
    std::fs::create_dir_all(own()).unwrap();
    for (name, bytes) in made() {
        std::fs::write(own().join(name), bytes).unwrap();
    }
}

fn made() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (name, command) in commands() {
        all.push((format!("{name}.command"), bytemuck::bytes_of(&command).to_vec()));
    }
    for (name, rate_hz, samples) in [("narrow", 8000, 800), ("wide", 16_000, 800), ("one", 8000, 1)]
    {
        all.push((format!("{name}.wav"), wav(rate_hz, samples)));
    }
    for (name, sequence) in sequences() {
        let record = |(what, who, number, value, after_ms): &(u8, u8, u16, u16, u16)| {
            let words = [number, value, after_ms].map(|word| word.to_be_bytes());
            [&[*what, *who][..], words.as_flattened()].concat()
        };
        all.push((format!("{name}.steps"), sequence.iter().flat_map(record).collect()));
    }
    all
}

fn commands() -> Vec<(&'static str, Command)> {
    let (token, flow) = (7, FlowId { index: 3, generation: 2 });
    let at = |text: &str| text.parse().ok();
    let plain = Update {
        peer: Some(FlowId { index: 4, generation: 2 }),
        relay: true,
        timeout_ms: 30_000,
        source_rtp: at("192.0.2.1:4000"),
        source_rtcp: at("192.0.2.1:4001"),
        destination_rtp: at("[2001:db8::1]:5000"),
        destination_rtcp: at("[2001:db8::1]:5001"),
        ..Update::new(token, flow)
    };
    let key =
        Key::new(Suite::AesCm128HmacSha1_80, &[1; 16], &[2; 14]).and_then(|key| key.with_mki(1, 1));
    let secure = Update {
        unprotect: key,
        protect: Key::new(Suite::AeadAes256Gcm, &[3; 32], &[4; 12]),
        rtcp_mux_in: true,
        rtcp_mux_out: true,
        ..plain.clone()
    };
    let rich = Update {
        await_destination: true,
        destination_rtp: None,
        destination_rtcp: None,
        sent: listening(flow).received,
        events_sent: listening(flow).events_received,
        payloads: PayloadMap::new([(101, 96), (0, 8)]).unwrap(),
        learning: Some(Permission { window_ms: 5000, within: Some(([192, 0, 2, 0].into(), 24)) }),
        ..listening(flow)
    };
    let open = Open {
        token,
        flow,
        call: [9; 16],
        network: 1,
        family: Family::V6,
        rtcp_mux_in: true,
        dscp: None,
    };
    let prompt = PromptName::new("busy-de.2").unwrap();
    vec![
        ("open", Command::open(&open)),
        ("update_plain", Command::update(&plain)),
        ("update_fax", Command::update(&Update { udptl: true, ..plain })),
        ("update_secure", Command::update(&secure)),
        ("update_rich", Command::update(&Update { token, ..rich })),
        ("close", Command::close(&Close { token, flow })),
        ("play", Command::play(&Play { token, flow, prompt, looped: true })),
        ("stop", Command::stop(&Stop { token, flow })),
        ("dial", Command::dial(&Dial { token, flow, digit: 11, duration_ms: 100 })),
    ]
}

fn wav(rate_hz: u32, samples: i16) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate_hz,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    (0..samples).for_each(|n| writer.write_sample(n.wrapping_mul(997)).unwrap());
    writer.finalize().unwrap();
    file.into_inner()
}

/// Kind, SSRC or host, number, timestamp or port, milliseconds since the one before.
type Sequence = Vec<(u8, u8, u16, u16, u16)>;

fn sequences() -> Vec<(&'static str, Sequence)> {
    let run = |what: u8, who: u8, from: u16, count: u16| {
        (0..count).map(move |n| (what, who, from.wrapping_add(n), n * 2, 20))
    };
    let (far, own) = (0, 1);
    let mut jumbled: Sequence = run(far, 7, 100, 40).collect();
    (0..38).step_by(3).for_each(|n| jumbled.swap(n, n + 2));
    vec![
        ("rollover", run(far, 7, 65_520, 40).collect()),
        ("reordered", jumbled),
        ("repeated", run(far, 7, 9, 20).flat_map(|step| [step, step]).collect()),
        ("restarted", run(far, 7, 60_000, 20).chain(run(far, 7, 100, 20)).collect()),
        ("transferred", run(far, 7, 100, 20).chain(run(far, 8, 40_000, 20)).collect()),
        (
            "two_at_once",
            run(far, 7, 5, 20).zip(run(far, 8, 9, 20)).flat_map(|(a, b)| [a, b]).collect(),
        ),
        (
            "prompt_between",
            run(far, 7, 100, 10).chain(run(own, 1, 5, 10)).chain(run(far, 7, 120, 10)).collect(),
        ),
        ("gap_of_a_minute", run(far, 7, 1, 5).chain(run(far, 7, 3_100, 5)).collect()),
        (
            "latch_learned_then_sprayed",
            [(0x10, 3, 0, 4000, 0), (2, 4, 7, 4000, 10)]
                .into_iter()
                .chain((0..20).map(|n| (2, n as u8, 9, 4000 + n, 5)))
                .collect(),
        ),
        (
            "latch_moved_by_signaling",
            vec![
                (0x20, 3, 0, 4000, 0),
                (2, 5, 7, 4100, 10),
                (0x20, 9, 0, 4000, 10),
                (2, 5, 7, 4100, 10),
                (2, 200, 7, 4100, 2000),
                (2, 9, 7, 4000, 10),
                (2, 6, 7, 4000, 4000),
            ],
        ),
        (
            "latch_of_reports",
            vec![(0x14, 3, 0, 4000, 0), (1, 4, 0, 0, 1), (2, 4, 7, 4001, 1), (2, 5, 7, 4001, 4000)],
        ),
    ]
}
