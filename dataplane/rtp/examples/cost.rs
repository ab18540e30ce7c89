//! Cost of the transforms on this machine: `cargo run --release -p rtp --example cost`.
//!
//! Prints the best of several rounds, in nanoseconds for one packet of 20 ms of G.711 (172 octets):
//! once with one context that stays in the cache, once with thousands that are visited in random
//! order, one packet each, as a relay visits them. Figures of one run compare with each other;
//! figures of two machines do not.

use rtp::srtp::{MasterKey, Protect, Suite, Unprotect};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "context: Protect {} octets, Unprotect {} octets, for {} SSRCs",
        size_of::<Protect>(),
        size_of::<Unprotect>(),
        rtp::srtp::SSRC_MAX,
    );
    let many = format!("{CONTEXTS} contexts:");
    println!("{:<20} {:>11} {:>11} {:>11} {many:>15}", "", "", "", "");
    print!("{:<20} {:>11} {:>11} {:>11}", "ns per packet", "protect", "unprotect", "new");
    println!(" {:>15} {:>11}", "protect", "unprotect");
    for suite in Suite::ALL {
        let mut best = [f64::INFINITY; 5];
        for _ in 0..ROUNDS {
            for (best, cost) in best.iter_mut().zip(one(suite)?) {
                *best = best.min(cost);
            }
        }
        for (best, cost) in best.iter_mut().skip(3).zip(many_in_random_order(suite)?) {
            *best = cost;
        }
        let [protect, unprotect, new, many_protect, many_unprotect] = best;
        print!("{:<20} {protect:>11.0} {unprotect:>11.0} {new:>11.0}", format!("{suite:?}"));
        println!(" {many_protect:>15.0} {many_unprotect:>11.0}");
    }
    Ok(())
}

/// Nanoseconds to protect and to unprotect one packet, and to make one context.
fn one(suite: Suite) -> Result<[f64; 3], Box<dyn std::error::Error>> {
    let master = master(suite)?;
    let mut protect = Protect::new(&master);
    let mut packets = vec![packet(0); PACKETS];
    for (seq, place) in packets.iter_mut().enumerate() {
        *place = packet(u16::try_from(seq)?);
    }

    let start = Instant::now();
    let mut end = 0;
    for packet in &mut packets {
        end = protect.rtp(packet, PACKET)?;
    }
    let protected = start.elapsed();

    let mut unprotect = Unprotect::new(&master);
    let start = Instant::now();
    for packet in &mut packets {
        unprotect.rtp(packet.get_mut(..end).ok_or("packet grew past its buffer")?)?;
    }
    let unprotected = start.elapsed();

    let start = Instant::now();
    for _ in 0..PACKETS {
        std::hint::black_box(Protect::new(std::hint::black_box(&master)));
    }
    let made = start.elapsed();
    Ok([protected, unprotected, made].map(|time| ns_each(time, PACKETS)))
}

/// Nanoseconds to protect and to unprotect a packet when its context was last used a whole round
/// ago. All contexts have one key, so that one protected packet serves them all and only the
/// contexts are far away.
fn many_in_random_order(suite: Suite) -> Result<[f64; 2], Box<dyn std::error::Error>> {
    let master = master(suite)?;
    let mut senders: Vec<_> = (0..CONTEXTS).map(|_| Protect::new(&master)).collect();
    let mut receivers: Vec<_> = (0..CONTEXTS).map(|_| Unprotect::new(&master)).collect();
    let mut order: Vec<_> = (0..CONTEXTS).collect();
    let mut state = 1u64;
    let mut best = [f64::INFINITY; 2];
    for seq in 0..RANDOM_ROUNDS {
        for at in (1..CONTEXTS).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            order.swap(at, (state >> 33) as usize % (at + 1));
        }
        let plain = packet(seq);
        let mut buffer = plain;
        let mut end = 0;
        let start = Instant::now();
        for at in &order {
            buffer = plain;
            end = senders.get_mut(*at).ok_or("no such sender")?.rtp(&mut buffer, PACKET)?;
        }
        let protected = start.elapsed();

        let sent = buffer;
        let start = Instant::now();
        for at in &order {
            buffer = sent;
            let packet = buffer.get_mut(..end).ok_or("packet grew past its buffer")?;
            receivers.get_mut(*at).ok_or("no such receiver")?.rtp(packet)?;
        }
        let unprotected = start.elapsed();
        for (best, time) in best.iter_mut().zip([protected, unprotected]) {
            *best = best.min(ns_each(time, CONTEXTS));
        }
    }
    Ok(best)
}

fn master(suite: Suite) -> Result<MasterKey, rtp::srtp::KeyError> {
    MasterKey::new(suite, &vec![7; suite.key_len()], &vec![9; suite.salt_len()])
}

fn packet(seq: u16) -> [u8; PACKET + Suite::OVERHEAD_MAX] {
    let mut packet = [0x5a; PACKET + Suite::OVERHEAD_MAX];
    let [hi, lo] = seq.to_be_bytes();
    packet[..12].copy_from_slice(&[0x80, 0, hi, lo, 0, 0, 0, 0, 1, 2, 3, 4]);
    packet
}

fn ns_each(time: Duration, count: usize) -> f64 {
    time.as_nanos() as f64 / count as f64
}

const PACKET: usize = 172;
const PACKETS: usize = 1024;
const ROUNDS: usize = 400;
const CONTEXTS: usize = 4096;
const RANDOM_ROUNDS: u16 = 100;
