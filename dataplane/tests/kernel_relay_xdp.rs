//! Plain RTP that the kernel relays by itself (`XDP_TX`), as operators, callers and attackers meet it. Root
//! only, on a wire of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use abi::{Counter, Heard, Notice, Suite, TelephoneEvent, Update};
use dataplane::Config;
use dataplane::io::bpf::Link;
use rig::packet::{rtcp, rtp};
use rig::wire;
use rig::{Call, Far, Rig, await_that, config, drain, nothing_in, own_address, receive};

/// What both sides of these calls take for digits.
const EVENTS: TelephoneEvent = TelephoneEvent { payload_type: 101, rate_hz: 8000 };
/// After so much silence a flow is reported.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A rig whose kernel relays, and what its far side needs for that; `None` without root, where the rig
/// says so.
fn rig() -> Option<(Rig, Link)> {
    let pass = wire::with(|_| prepare("far"))?;
    let config = config(own_address(), 64, 20_000..=20_999);
    Some((Rig::launch(Config { xdp_tx: vec![true], ..config }, dataplane::run), pass))
}

/// Makes a far end take what the near driver sends it.
fn prepare(far: &str) -> Link {
    wire::on_wire(|wire| wire.stage.at_far(|| wire::take_what_the_driver_sends(far)))
}

/// A call with packets from A to B, numbered from 1.
struct Talk {
    call: Call,
    seq: u16,
}

impl Talk {
    fn begin(rig: &mut Rig) -> Talk {
        let call = Call::place(rig, 0, 1);
        call.join(rig);
        Talk { call, seq: 0 }
    }

    /// One packet, which arrives as it was, from where it should.
    fn say(&mut self) {
        self.seq += 1;
        let packet = rtp(self.seq);
        self.call.far_a.rtp.send_to(&packet, self.call.at_a.0).unwrap();
        assert_eq!(receive(&self.call.far_b.rtp), (packet, self.call.at_b.0), "{}", self.seq);
    }

    /// One packet of a telephone event (RFC 4733 §2.3) that began at `start`, which arrives as it was.
    fn press(&mut self, digit: u8, start: u32, duration: u16, end: bool) {
        self.seq += 1;
        let mut packet = rtp(self.seq);
        packet.truncate(12);
        packet[1] = EVENTS.payload_type;
        packet[4..8].copy_from_slice(&start.to_be_bytes());
        packet.extend([digit, if end { 0x8a } else { 0x0a }]);
        packet.extend(duration.to_be_bytes());
        self.call.far_a.rtp.send_to(&packet, self.call.at_a.0).unwrap();
        assert_eq!(receive(&self.call.far_b.rtp), (packet, self.call.at_b.0), "{}", self.seq);
    }

    /// Talks until the kernel relays.
    fn until_relayed(&mut self, rig: &Rig) {
        let before = rig.counter(Counter::KernelPackets);
        await_that("the kernel relays", || {
            (0..5).for_each(|_| self.say());
            rig.counter(Counter::KernelPackets) > before
        });
    }

    /// Sends a packet that is not to arrive, then has the worker look at one more, from another socket,
    /// that tells that the first was dealt with.
    fn attack(&mut self, rig: &Rig, from: &UdpSocket, packet: &[u8]) {
        let before = rig.counter(Counter::DropOffPath);
        from.send_to(packet, self.call.at_a.0).unwrap();
        rig.await_counter(Counter::DropOffPath, before + 1);
        assert!(nothing_in(&self.call.far_b.rtp));
    }
}

#[test]
fn the_kernel_relays_what_is_usual_and_the_books_know_every_packet() {
    let Some((mut rig, _pass)) = rig() else { return };
    let mut talk = Talk::begin(&mut rig);
    talk.until_relayed(&rig);
    await_that("the kernel relays hundreds", || {
        (0..50).for_each(|_| talk.say());
        rig.counter(Counter::KernelPackets) >= 600
    });
    let sent = u64::from(talk.seq);
    rig.await_counter(Counter::RelayedRtp, sent);
    rig.check_books();
    let flow = || rig.snapshot(talk.call.a).unwrap();
    await_that("the flow's figures", || flow().packets_in == sent);
    let flow = flow();
    assert_eq!((flow.packets_out, flow.bytes_in, flow.bytes_out), (sent, sent * 172, sent * 172));
    assert_eq!((flow.lost, flow.duplicates, flow.reordered, flow.off_path), (0, 0, 0, 0));
    assert_eq!(rig.counter(Counter::BuffersMissing), 0);
    // Reports pass beside it, and what has another type.
    talk.call.far_a.rtcp.send_to(&rtcp(1), talk.call.at_a.1).unwrap();
    assert_eq!(receive(&talk.call.far_b.rtcp).1, talk.call.at_b.1);
    let mut other = rtp(talk.seq + 1);
    other[1] = 101;
    talk.call.far_a.rtp.send_to(&other, talk.call.at_a.0).unwrap();
    assert_eq!(receive(&talk.call.far_b.rtp).0, other);
    talk.seq += 1;
    (0..50).for_each(|_| talk.say());
    let sent = u64::from(talk.seq);
    let all = (sent + 1, sent * 172 + rtcp(1).len() as u64);
    assert_eq!(rig.close(talk.call.a), all, "the last word counts them all");
    rig.check_books();
    // Nothing of a call that has ended is relayed.
    talk.call.far_a.rtp.send_to(&rtp(talk.seq + 1), talk.call.at_a.0).unwrap();
    talk.call.far_b.rtp.send_to(&rtp(1), talk.call.at_b.0).unwrap();
    rig.await_counter(Counter::DropNotReady, 1);
    assert!(nothing_in(&talk.call.far_b.rtp));
}

/// Digits between voice and amid it, as senders do who go on talking.
#[test]
fn telephone_events_reach_the_worker_while_the_kernel_relays_the_voice() {
    let Some((mut rig, _pass)) = rig() else { return };
    let call = Call::place(&mut rig, 0, 1);
    let listens = Update {
        events_received: Some(EVENTS),
        events_sent: Some(EVENTS),
        report_digits: true,
        ..call.update_a()
    };
    rig.update(listens);
    rig.update(call.update_b());
    let mut talk = Talk { call, seq: 0 };
    let (mut amid, mut digits) = (0, (0..16).cycle());
    let mut press = || {
        let digit = digits.next().unwrap();
        talk.until_relayed(&rig);
        let before = rig.counter(Counter::KernelPackets);
        let start = u32::from(talk.seq) * 160;
        for step in 1..=4 {
            talk.press(digit, start, step * 160, false);
            talk.say();
        }
        (0..3).for_each(|_| talk.press(digit, start, 800, true));
        let told =
            Notice::Digit { flow: talk.call.a, digit, duration_ms: 100, heard: Heard::Event };
        // That B is silent may be told as well.
        let silent = |notice: &Notice| matches!(notice, Notice::OneWay { .. });
        assert_eq!(std::iter::repeat_with(|| rig.event()).find(|told| !silent(told)), Some(told));
        talk.say();
        rig.await_counter(Counter::RelayedRtp, talk.seq.into());
        amid += rig.counter(Counter::KernelPackets) - before;
        amid
    };
    let mut pressed = 0;
    await_that("the kernel relays voice amid digits", || {
        pressed += 1;
        press() > 0 && pressed >= 12
    });
    let again = |notice: &Notice| matches!(notice, Notice::Digit { .. });
    assert!(!rig.unread().iter().any(again), "each digit once");
    rig.check_books();
    await_that("the flow's figures", || {
        rig.snapshot(talk.call.a).unwrap().packets_in == u64::from(talk.seq)
    });
    let flow = rig.snapshot(talk.call.a).unwrap();
    assert_eq!((flow.lost, flow.duplicates, flow.reordered, flow.off_path), (0, 0, 0, 0));
}

/// Sends the next packet, which may be lost.
fn try_to_say(talk: &mut Talk) {
    talk.seq += 1;
    talk.call.far_a.rtp.send_to(&rtp(talk.seq), talk.call.at_a.0).unwrap();
}

#[test]
fn when_the_far_end_takes_frames_no_more_the_worker_relays() {
    let Some((mut rig, pass)) = rig() else { return };
    let talk = Talk::begin(&mut rig);
    the_worker_takes_over(&rig, talk, pass);
}

fn the_worker_takes_over(rig: &Rig, mut talk: Talk, pass: Link) {
    talk.until_relayed(rig);
    drop(pass);
    let begun = Instant::now();
    let (mut last, mut row, mut lost) = (talk.seq, 0, 0);
    await_that("a hundred packets in a row", || {
        try_to_say(&mut talk);
        std::thread::sleep(Duration::from_millis(8));
        for packet in drain(&talk.call.far_b.rtp) {
            let number = u16::from_be_bytes([packet[2], packet[3]]);
            let missing = number - last - 1;
            row = if missing == 0 { row + 1 } else { 1 };
            lost += missing;
            last = number;
        }
        row > 100
    });
    eprintln!("{lost} packets lost, {:?} until all was well again and stayed so", begun.elapsed());
    assert!(lost > 0, "positive control: frames that nobody takes are lost");
    let relayed = rig.counter(Counter::KernelPackets);
    // With this one goes what was under way still.
    try_to_say(&mut talk);
    while receive(&talk.call.far_b.rtp).0 != rtp(talk.seq) {}
    (0..100).for_each(|_| talk.say());
    assert_eq!(rig.counter(Counter::KernelPackets), relayed, "not by the kernel");
}

/// From one interface to another, where both networks ask for it.
#[test]
fn between_two_interfaces_the_kernel_relays_both_ways() {
    if !wire::has_wire() {
        return;
    }
    let mut config = config(own_address(), 64, 20_000..=20_999);
    wire::add_network(&mut config);
    let (_pass, pass2) = (prepare("far"), prepare("far2"));
    let one = Config { xdp_tx: vec![true, false], ..config.clone() };
    let mut rig = Rig::launch(one, dataplane::run);
    let mut talk = Talk { call: wire::call_across(&mut rig), seq: 0 };
    let begun = Instant::now();
    while begun.elapsed().as_nanos() < 10 * u128::from(dataplane::limits::SWEEP_NS) {
        talk.say();
    }
    assert_eq!(rig.counter(Counter::KernelPackets), 0, "one network does not ask for it");
    drop(rig);
    let both = Config { xdp_tx: vec![true, true], ..config };
    let mut rig = Rig::launch(both, dataplane::run);
    let mut talk = Talk { call: wire::call_across(&mut rig), seq: 0 };
    talk.until_relayed(&rig);
    let Talk { call: Call { a, b, far_a, far_b, at_a, at_b }, seq } = talk;
    let back = Call { a: b, b: a, far_a: far_b, far_b: far_a, at_a: at_b, at_b: at_a };
    let mut talk = Talk { call: back, seq: 0 };
    talk.until_relayed(&rig);
    rig.await_counter(Counter::RelayedRtp, u64::from(seq) + u64::from(talk.seq));
    rig.check_books();
    let Call { a: b, b: a, far_a: far_b, far_b: far_a, at_a: at_b, at_b: at_a } = talk.call;
    let talk = Talk { call: Call { a, b, far_a, far_b, at_a, at_b }, seq };
    the_worker_takes_over(&rig, talk, pass2);
}

#[test]
fn where_the_far_end_would_not_take_frames_the_kernel_relays_none_and_the_check_says_so() {
    let Some(door) = wire::with(|wire| wire.stage.near_door()) else { return };
    let config = config(own_address(), 64, 20_000..=20_999);
    let config = Config { xdp_tx: vec![true], ..config };
    let mut ours = config.clone();
    ours.networks.iter_mut().flatten().for_each(|address| *address = rig::home(*address));
    let look = || {
        door.enter();
        dataplane::check(&ours).unwrap()
    };
    let found = std::thread::scope(|scope| scope.spawn(look).join()).unwrap();
    let finding = found.iter().find(|finding| finding.name == "xdp_tx").expect("a finding");
    assert!(finding.what.contains("near: the other end"), "{}", finding.what);
    let mut rig = Rig::launch(config, dataplane::run);
    let mut talk = Talk::begin(&mut rig);
    // For many sweeps, each of which would offer the flow.
    let begun = Instant::now();
    while begun.elapsed().as_nanos() < 10 * u128::from(dataplane::limits::SWEEP_NS) {
        talk.say();
    }
    assert_eq!(rig.counter(Counter::KernelPackets), 0);
}

#[test]
fn strangers_move_nothing_while_the_kernel_relays() {
    let Some((mut rig, _pass)) = rig() else { return };
    let call = Call::place(&mut rig, 0, 1);
    let learning = Some(abi::Learning { window_ms: 100, within: None });
    rig.update(Update { learning, ..call.update_a() });
    rig.update(call.update_b());
    let mut talk = Talk { call, seq: 0 };
    talk.until_relayed(&rig);
    let (stranger, neighbour) =
        (Far::new(own_address()), Far::new(talk.call.far_a.rtp_addr().ip()));
    // For longer than the source may be silent before a successor is believed.
    let begun = Instant::now();
    while begun.elapsed().as_nanos() < u128::from(2 * dataplane::limits::LATCH_SILENCE_NS) {
        (0..40).for_each(|_| talk.say());
        // The right SSRC and number, from elsewhere.
        for from in [&stranger.rtp, &neighbour.rtp] {
            talk.attack(&rig, from, &rtp(talk.seq + 1));
        }
    }
    let relayed = rig.counter(Counter::KernelPackets);
    talk.until_relayed(&rig);
    assert!(rig.counter(Counter::KernelPackets) > relayed, "by the kernel all the while");
    let flow = rig.snapshot(talk.call.a).unwrap();
    assert_eq!(flow.source, Some(talk.call.far_a.rtp_addr()).into());
}

#[test]
fn commands_take_effect_at_once_and_silence_is_told_when_it_is_there() {
    let Some((mut rig, _pass)) = rig() else { return };
    let mut talk = Talk::begin(&mut rig);
    let watched =
        |call: &Call| Update { timeout_ms: TIMEOUT.as_millis() as u32, ..call.update_a() };
    rig.update(watched(&talk.call));
    talk.until_relayed(&rig);
    let (begun, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    while begun.elapsed() < 3 * TIMEOUT {
        talk.say();
        longest = longest.max(std::mem::replace(&mut last, Instant::now()).elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    // On a machine that stood still the silence was real.
    let told = rig.counter(Counter::MediaTimeouts);
    assert!(told == 0 || longest > TIMEOUT / 2, "what the kernel relays is heard");
    // Held: the very next packet stops.
    rig.update(Update { relay: false, ..watched(&talk.call) });
    let before = rig.counter(Counter::DropDirection);
    talk.call.far_a.rtp.send_to(&rtp(talk.seq + 1), talk.call.at_a.0).unwrap();
    rig.await_counter(Counter::DropDirection, before + 1);
    assert!(nothing_in(&talk.call.far_b.rtp));
    // Sent elsewhere: the very next packet goes there.
    rig.update(watched(&talk.call));
    talk.seq += 1;
    talk.until_relayed(&rig);
    let elsewhere = Far::new(own_address());
    let moved = Some(elsewhere.rtp_addr());
    rig.update(Update { destination_rtp: moved, ..watched(&talk.call) });
    talk.call.far_a.rtp.send_to(&rtp(talk.seq + 1), talk.call.at_a.0).unwrap();
    assert_eq!(receive(&elsewhere.rtp), (rtp(talk.seq + 1), talk.call.at_b.0));
    assert!(nothing_in(&talk.call.far_b.rtp));
    // Silent: told.
    await_that("the silence is told", || rig.counter(Counter::MediaTimeouts) > told);
    // B never said a word, which may be told before.
    while !matches!(rig.event(), Notice::Timeout { .. }) {}
}

#[test]
fn what_is_encrypted_or_renumbered_stays_with_the_worker() {
    let Some((mut rig, _pass)) = rig() else { return };
    let secure = Call::place(&mut rig, 0, 1);
    secure.join_secure(&mut rig, Suite::AesCm128HmacSha1_80);
    let mut renumbered = Talk { call: Call::place(&mut rig, 2, 1), seq: 0 };
    renumbered.call.join(&mut rig);
    // A second source: its packets leave under the numbers of the first.
    let mut other = rtp(1);
    other[8] ^= 1;
    renumbered.say();
    renumbered.call.far_a.rtp.send_to(&other, renumbered.call.at_a.0).unwrap();
    assert_ne!(receive(&renumbered.call.far_b.rtp).0, other);
    let mut plain = Talk { call: Call::place(&mut rig, 4, 1), seq: 0 };
    plain.call.join(&mut rig);
    plain.until_relayed(&rig);
    rig.await_counter(Counter::RelayedRtp, 2 + u64::from(plain.seq));
    let begun = rig.counter(Counter::KernelPackets);
    for seq in 2..200_u16 {
        let mut other = rtp(seq);
        other[8] ^= 1;
        renumbered.call.far_a.rtp.send_to(&other, renumbered.call.at_a.0).unwrap();
        receive(&renumbered.call.far_b.rtp);
        secure.far_a.rtp.send_to(&rtp(seq), secure.at_a.0).unwrap();
        assert_eq!(receive(&secure.far_b.rtp).0.len(), 182, "a tag");
        std::thread::sleep(Duration::from_millis(5));
    }
    await_that("no packet is left", || drain(&plain.call.far_b.rtp).is_empty());
    assert_eq!(rig.counter(Counter::KernelPackets), begun, "the third call was silent");
    plain.until_relayed(&rig);
}
