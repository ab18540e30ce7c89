use std::collections::{HashMap, VecDeque};

use super::Talker::{Far, Own};
use super::*;

const MS: u64 = 1_000_000;
const SLOT: u64 = 20 * MS;

fn header(ssrc: u32, seq: u16, timestamp: u32) -> Header {
    Header { ssrc, seq, timestamp, marker: false }
}

/// The egress (seq, timestamp, marker) of a packet, `None` when it was refused.
fn follow(
    continuity: &mut Continuity,
    talker: Talker,
    (ssrc, seq, timestamp): (u32, u16, u32),
    slot: u64,
) -> Option<(u16, u32, bool)> {
    let header = header(ssrc, seq, timestamp);
    let out = continuity.follow(talker, header, 8_000, slot * SLOT).ok()?;
    assert_eq!(out.ssrc, continuity.ssrc);
    Some((out.seq, out.timestamp, out.marker))
}

type Packet = (Talker, (u32, u16, u32), u64);
type Row = (Packet, Option<(u16, u32, bool)>);

fn play(rows: &[Row]) -> Continuity {
    let mut continuity = Continuity::new();
    for (n, ((talker, packet, slot), expected)) in rows.iter().enumerate() {
        assert_eq!(follow(&mut continuity, *talker, *packet, *slot), *expected, "row {n}");
    }
    continuity
}

#[test]
fn an_announcement_between_two_words_leaves_no_hole() {
    let continuity = play(&[
        ((Far, (1, 73, 1000), 0), Some((73, 1000, false))),
        ((Far, (1, 74, 1160), 1), Some((74, 1160, false))),
        // Ours, with numbers of its own, one slot later.
        ((Own, (9, 0, 50_000), 2), Some((75, 1320, true))),
        ((Own, (9, 1, 50_160), 3), Some((76, 1480, false))),
        // A late packet of the far end, then its next: its clock is still right.
        ((Far, (1, 72, 840), 3), None),
        ((Far, (1, 77, 1640), 4), Some((77, 1640, true))),
        ((Far, (1, 79, 1960), 6), Some((79, 1960, false))),
        ((Far, (1, 78, 1800), 6), Some((78, 1800, false))),
        ((Far, (1, 76, 1480), 6), None),
    ]);
    let expected =
        Translation { from_ssrc: Ssrc(1), to_ssrc: Ssrc(1), seq_offset: 0, timestamp_offset: 0 };
    assert_eq!(continuity.translation(), Some(expected));
    assert!(continuity.translation().is_some());
}

#[test]
fn what_we_say_first_chooses_the_ssrc() {
    let mut continuity = play(&[
        ((Own, (9, 0, 0), 0), Some((0, 0, false))),
        ((Own, (9, 1, 160), 1), Some((1, 160, false))),
    ]);
    assert_eq!(continuity.translation(), None);
    let out = follow(&mut continuity, Far, (1, 500, 7), 5);
    assert_eq!(out, Some((2, 160 + 4 * 160, true)));
    let expected = Translation {
        from_ssrc: Ssrc(1),
        to_ssrc: Ssrc(9),
        seq_offset: 2u16.wrapping_sub(500),
        timestamp_offset: 793,
    };
    assert_eq!(continuity.translation(), Some(expected));
    // A sender report of the far end still means its own packets while we talk over it.
    follow(&mut continuity, Own, (9, 2, 960), 6);
    assert_eq!(continuity.translation(), Some(expected));
}

#[test]
fn our_own_packets_are_never_refused() {
    // A second voice starts again at 0, which would be a late packet if it came from a network.
    play(&[
        ((Own, (9, 0, 0), 0), Some((0, 0, false))),
        ((Own, (9, 1, 160), 1), Some((1, 160, false))),
        ((Own, (9, 0, 0), 2), Some((2, 320, true))),
        ((Own, (9, 0, 0), 3), Some((3, 480, true))),
        ((Far, (1, 5, 5), 4), Some((4, 640, true))),
        ((Own, (9, 0, 0), 5), Some((5, 800, true))),
    ]);
}

#[test]
fn a_clock_that_went_wrong_is_not_kept() {
    play(&[
        ((Far, (1, 10, 1000), 0), Some((10, 1000, false))),
        ((Own, (9, 0, 0), 1), Some((11, 1160, true))),
        // 50 slots later by our clock, and the far end's stood still meanwhile.
        ((Far, (1, 11, 1160), 51), Some((12, 1160 + 50 * 160, true))),
        // From then on it counts from there.
        ((Far, (1, 12, 1320), 52), Some((13, 1320 + 50 * 160, false))),
    ]);
}

#[test]
fn events_keep_their_timestamp_when_another_ssrc_talks_between() {
    let event = Some((12, 1320, true));
    play(&[
        ((Far, (1, 10, 1000), 0), Some((10, 1000, false))),
        ((Far, (1, 11, 1160), 1), Some((11, 1160, false))),
        ((Far, (2, 700, 80_000), 2), event),
        ((Far, (1, 12, 1320), 2), Some((13, 1321, true))),
        ((Far, (2, 701, 80_000), 3), Some((14, 1320, false))),
        ((Far, (1, 13, 1480), 3), Some((15, 1481, true))),
        ((Far, (2, 702, 80_000), 4), Some((16, 1320, false))),
        ((Far, (2, 703, 80_000), 4), Some((17, 1320, false))),
    ]);
}

#[test]
fn an_event_does_not_stop_the_clock() {
    // 2 s of one timestamp, then another talker: it starts where time is.
    let mut continuity = Continuity::new();
    for n in 0..100u16 {
        follow(&mut continuity, Far, (1, n, 1000), u64::from(n));
    }
    let out = follow(&mut continuity, Own, (9, 0, 0), 100);
    assert_eq!(out, Some((100, 1000 + 100 * 160, true)));
}

#[test]
fn nothing_is_numbered_before_number_0() {
    let (mut first, mut later) = (Continuity::new(), Continuity::new());
    for (seq, out) in [(10, Some(10)), (0, Some(0)), (65_530, None), (11, Some(11))] {
        let left = follow(&mut first, Far, (1, seq, 1600), 0).map(|(seq, ..)| seq);
        assert_eq!(left, out, "{seq}");
    }
    assert!(follow(&mut later, Far, (1, 1000, 0), 0).is_some());
    assert!(follow(&mut later, Far, (1, 950, 0), 0).is_some(), "reordered at the start");
}

/// Twenty minutes on hold, whose packets went nowhere, and then one whose number was used.
#[test]
fn numbers_that_come_around_during_a_hold_are_new_ones() {
    let mut continuity = play(&[((Far, (1, 500, 1000), 0), Some((500, 1000, false)))]);
    let slots = 65_536 - 50;
    let out = follow(&mut continuity, Far, (1, 450, 1000 + slots as u32 * 160), slots);
    assert_eq!(out.map(|(seq, ..)| seq), Some(501));
    let out = follow(&mut continuity, Far, (1, 451, 1160 + slots as u32 * 160), slots + 1);
    assert_eq!(out.map(|(seq, ..)| seq), Some(502));
}

#[test]
fn a_restarted_source_goes_on_and_a_stray_packet_is_left_behind() {
    play(&[
        ((Far, (1, 10, 1000), 0), Some((10, 1000, false))),
        // A jump over the range of losses: the numbers go on, the clock does.
        ((Far, (1, 40_000, 7), 1), Some((11, 1160, true))),
        ((Far, (1, 40_001, 167), 2), Some((12, 1320, false))),
        // What the old run still had under way, and a duplicate of its last.
        ((Far, (1, 9, 840), 2), None),
        ((Far, (1, 10, 1000), 2), None),
        ((Far, (1, 40_002, 327), 3), Some((13, 1480, false))),
        // Inside the range of losses it is a loss.
        ((Far, (1, 43_002, 480_327), 3003), Some((3013, 481_480, false))),
        // Behind by more than reordering: one such packet is dropped, two in a row are a restart.
        ((Far, (1, 42_000, 0), 3004), None),
        ((Far, (1, 42_100, 0), 3004), None),
        ((Far, (1, 43_003, 480_487), 3004), Some((3014, 481_640, false))),
        ((Far, (1, 42_200, 50), 3005), None),
        ((Far, (1, 42_201, 210), 3005), Some((3015, 481_800, true))),
        ((Far, (1, 42_202, 370), 3006), Some((3016, 481_960, false))),
    ]);
}

#[test]
fn a_burst_that_was_stuck_somewhere_makes_no_loss() {
    let mut continuity = Continuity::new();
    for n in 0..300u16 {
        follow(&mut continuity, Far, (1, n, u32::from(n) * 160), u64::from(n));
    }
    assert_eq!(follow(&mut continuity, Far, (1, 100, 16_000), 300), None);
    assert_eq!(follow(&mut continuity, Far, (1, 101, 16_160), 300).unwrap().0, 300);
    // Back to where it was: the next number, not a hole of 198.
    assert_eq!(follow(&mut continuity, Far, (1, 300, 48_000), 300).unwrap().0, 301);
}

#[test]
fn an_unknown_rate_counts_as_telephone_audio() {
    let mut continuity = Continuity::new();
    continuity.follow(Far, header(1, 1, 100), 0, 0).unwrap();
    let out = continuity.follow(Own, header(9, 0, 0), 0, 1000 * MS).unwrap();
    assert_eq!(out.timestamp, 8_100);
    let out = continuity.follow(Far, header(2, 0, 0), 48_000, 2000 * MS).unwrap();
    assert_eq!(out.timestamp, 56_100);
    // Changes within one instant still move.
    let out = continuity.follow(Own, header(9, 0, 0), 48_000, 2000 * MS).unwrap();
    assert_eq!(out.timestamp, 56_101);
}

#[test]
fn it_fits_where_it_is_touched() {
    assert!(size_of::<Numbering>() <= 20, "{}", size_of::<Numbering>());
    let hot = std::mem::offset_of!(Continuity, replaced);
    assert!((20..=64).contains(&hot), "{hot} octets before what only changes touch");
    assert!(size_of::<Continuity>() <= 128, "{}", size_of::<Continuity>());
}

/// Random numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// One run of one source, as the sender knows it.
type Run = (usize, u32);

/// A packet with what no receiver sees: which one it is.
#[derive(Clone, Copy, Debug)]
struct Sent {
    run: Run,
    /// Not wrapped.
    number: u64,
    talker: Talker,
    header: Header,
}

/// A source: sequence numbers and timestamps from just before their wrap, runs, events.
struct Source {
    talker: Talker,
    ssrc: u32,
    run: Run,
    number: u64,
    timestamp: u32,
    /// Packets that the event under way still repeats its timestamp for.
    event: u64,
}

impl Source {
    fn new(place: usize, talker: Talker, dice: &mut Dice) -> Source {
        Source {
            talker,
            ssrc: 100 + place as u32,
            run: (place, 0),
            number: (1 << 20) + 65_536 - dice.roll(200),
            timestamp: u32::MAX - dice.roll(60_000) as u32,
            event: 0,
        }
    }

    /// Time passes whether or not it talks.
    fn tick(&mut self, dice: &mut Dice, restarts: bool) {
        if self.event > 0 {
            self.event -= 1;
        } else {
            self.timestamp = self.timestamp.wrapping_add(160);
        }
        if dice.roll(60) == 0 {
            self.event = dice.roll(25);
        }
        if restarts && self.run.1 < 4 && dice.roll(150) == 0 {
            self.run.1 += 1;
            self.number += 8_000 + dice.roll(4_000);
            self.timestamp = dice.roll(1 << 32) as u32;
            self.event = 0;
        }
    }

    fn talk(&mut self) -> Sent {
        self.number += 1;
        let header = header(self.ssrc, self.number as u16, self.timestamp);
        Sent { run: self.run, number: self.number, talker: self.talker, header }
    }
}

/// A network of bounded malice: what it holds back comes within the range of reordering.
#[derive(Default)]
struct Network {
    late: Vec<(u64, Sent)>,
}

impl Network {
    fn carry(&mut self, sent: Sent, slot: u64, dice: &mut Dice, out: &mut VecDeque<Sent>) {
        let perfect = sent.talker == Own;
        match dice.roll(100) {
            0..5 if !perfect => {}
            5..10 if !perfect => self.late.push((slot + dice.roll(40), sent)),
            10..13 if !perfect => {
                self.late.push((slot + dice.roll(20), sent));
                out.push_back(sent);
            }
            _ => out.push_back(sent),
        }
    }

    fn release(&mut self, slot: u64, out: &mut VecDeque<Sent>) {
        self.late.retain(|(due, sent)| {
            if *due <= slot {
                out.push_back(*sent);
            }
            *due > slot
        });
    }
}

/// Checks each egress header against what it knows of the ingress.
#[derive(Default)]
struct Receiver {
    ssrc: Option<u32>,
    /// The highest egress number, not wrapped, and whose packet each number is.
    highest: u64,
    owners: HashMap<u64, (Run, u64)>,
    current: Option<Run>,
    /// Of each run: its highest packet that left, and that packet's timestamps in and out.
    heard: HashMap<Run, (u64, u32, u32)>,
    replaced: VecDeque<Run>,
    newest: (u32, u64),
    changes: u64,
    refused: u64,
}

impl Receiver {
    fn is_replaced(&self, run: Run) -> bool {
        self.replaced.contains(&run)
    }

    fn note(&mut self, sent: Sent, out: Result<Header, Superseded>, now_ns: u64) {
        let heard = self.heard.get(&sent.run).copied();
        let is_old = heard.is_some_and(|(highest, ..)| sent.number <= highest);
        let Ok(out) = out else {
            assert!(is_old && sent.talker == Far, "a new packet was refused: {sent:?}");
            self.refused += 1;
            return;
        };
        let is_change = self.current != Some(sent.run);
        let superseded = is_change && is_old && self.is_replaced(sent.run);
        assert!(!superseded, "a late packet of a replaced run left: {sent:?}");
        let Some(ssrc) = self.ssrc else {
            self.ssrc = Some(out.ssrc);
            self.highest = (1 << 32) + u64::from(out.seq);
            self.owners.insert(self.highest, (sent.run, sent.number));
            self.settle(sent, out, now_ns);
            return;
        };
        assert_eq!(out.ssrc, ssrc);
        let step = i64::from(out.seq.wrapping_sub(self.highest as u16).cast_signed());
        let number = self.highest.checked_add_signed(step).unwrap();
        let owner = *self.owners.entry(number).or_insert((sent.run, sent.number));
        assert_eq!(owner, (sent.run, sent.number), "one number, two packets");
        match heard.filter(|_| !is_change) {
            Some((highest, ..)) => {
                let ingress = sent.number.cast_signed() - highest.cast_signed();
                assert_eq!(step, ingress, "a gap that the source did not make");
                assert_eq!(out.marker, sent.header.marker);
            }
            None => self.check_change(sent, out, step, now_ns),
        }
        if step > 0 {
            self.highest = number;
            self.settle(sent, out, now_ns);
        }
    }

    fn check_change(&mut self, sent: Sent, out: Header, step: i64, now_ns: u64) {
        assert_eq!(step, 1, "a change takes the next number");
        self.changes += 1;
        let last = self.heard.get(&sent.run).filter(|_| self.is_replaced(sent.run));
        if let Some((_, _, last_out)) = last.filter(|last| last.1 == sent.header.timestamp) {
            assert_eq!(out.timestamp, *last_out, "an event goes on under its timestamp");
            return;
        }
        assert!(out.marker);
        let grown = i64::from(out.timestamp.wrapping_sub(self.newest.0).cast_signed());
        let elapsed = ((now_ns - self.newest.1) / MS * 8) as i64;
        let tolerance = i64::from(8 * CLOCK_TOLERANCE_MS) + 1;
        assert!(grown > 0, "time stands still: {sent:?}");
        assert!((grown - elapsed).abs() <= tolerance, "{grown} ticks in {elapsed}");
    }

    fn settle(&mut self, sent: Sent, out: Header, now_ns: u64) {
        if self.current != Some(sent.run) {
            self.replaced.retain(|run| *run != sent.run);
            self.replaced.extend(self.current);
            if self.replaced.len() > REMEMBERED {
                self.replaced.pop_front();
            }
            self.current = Some(sent.run);
        }
        self.heard.insert(sent.run, (sent.number, sent.header.timestamp, out.timestamp));
        let ahead = out.timestamp.wrapping_sub(self.newest.0).cast_signed() > 0;
        if ahead || self.newest.1 == 0 {
            self.newest = (out.timestamp, now_ns);
        }
    }
}

/// Plays 300 slots of `sources`, some of which talk in each phase.
fn simulate(seed: u64, far: usize, own: bool, restarts: bool) -> (Receiver, Continuity) {
    let mut dice = Dice(seed);
    let mut sources: Vec<Source> = (0..far).map(|n| Source::new(n, Far, &mut dice)).collect();
    if own {
        sources.push(Source::new(far, Own, &mut dice));
    }
    let (mut network, mut receiver) = (Network::default(), Receiver::default());
    let mut continuity = Continuity::new();
    let (mut talking, mut arrivals, mut now_ns) = (1, VecDeque::new(), 0);
    for slot in 1..300u64 {
        if slot % 8 == 0 && dice.roll(3) == 0 {
            talking = dice.roll(1 << sources.len());
        }
        for (n, source) in sources.iter_mut().enumerate() {
            source.tick(&mut dice, restarts);
            if (talking >> n) & 1 == 1 {
                network.carry(source.talk(), slot, &mut dice, &mut arrivals);
            }
        }
        network.release(slot, &mut arrivals);
        while let Some(sent) = arrivals.pop_front() {
            now_ns = now_ns.max(slot * SLOT + dice.roll(3) * MS);
            let out = continuity.follow(sent.talker, sent.header, 8_000, now_ns);
            if far == 1 && !own && !restarts {
                assert_eq!(out, Ok(sent.header), "seed {seed}");
            }
            receiver.note(sent, out, now_ns);
        }
    }
    (receiver, continuity)
}

#[test]
fn one_source_alone_passes_as_it_is() {
    for seed in 0..1_000 {
        let (receiver, continuity) = simulate(seed, 1, false, false);
        assert!(continuity.translation().is_none());
        assert_eq!((receiver.changes, receiver.refused), (0, 0));
    }
}

#[test]
fn whoever_talks_the_receiver_meets_one_source() {
    let (mut changes, mut refused) = (0, 0);
    for seed in 0..6_000u64 {
        let far = 1 + (seed % 3) as usize;
        let (own, restarts) = (seed / 3 % 2 == 0, seed / 6 % 2 == 0);
        let (receiver, _) = simulate(seed, far, own, restarts);
        changes += receiver.changes;
        refused += receiver.refused;
    }
    assert!(changes > 100_000 && refused > 10_000, "{changes} changes, {refused} refused");
}

proptest::proptest! {
    #[test]
    fn any_sequence_of_headers_is_harmless(
        packets in proptest::collection::vec(
            (0..2u8, 0..3u32, 0..u16::MAX, 0..u32::MAX, 0..200_000u32, 0..u64::MAX), 0..200)
    ) {
        let mut continuity = Continuity::new();
        for (talker, ssrc, seq, timestamp, rate_hz, now_ns) in packets {
            let talker = if talker == 0 { Far } else { Own };
            let out = continuity.follow(talker, header(ssrc, seq, timestamp), rate_hz, now_ns);
            assert!(talker == Far || out.is_ok());
            let _ = continuity.translation();
        }
    }
}
