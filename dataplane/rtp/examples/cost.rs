//! Cost of the transforms on this machine: `cargo run --release -p rtp --example cost`.
//!
//! Prints the best of several rounds, in nanoseconds for one packet of 20 ms of G.711 (172 octets).
//! Figures of one run compare with each other; figures of two machines do not.

use rtp::srtp::{MasterKey, Protect, Suite, Unprotect};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "context: Protect {} octets, Unprotect {} octets, for {} SSRCs",
        size_of::<Protect>(),
        size_of::<Unprotect>(),
        rtp::srtp::SSRC_MAX,
    );
    println!("{:<22} {:>12} {:>12} {:>12}", "ns per packet", "protect", "unprotect", "context new");
    for suite in Suite::ALL {
        let mut best = [f64::INFINITY; 3];
        for _ in 0..ROUNDS {
            for (best, cost) in best.iter_mut().zip(round(suite)?) {
                *best = best.min(cost);
            }
        }
        let [protect, unprotect, new] = best;
        println!("{:<22} {protect:>12.0} {unprotect:>12.0} {new:>12.0}", format!("{suite:?}"));
    }
    Ok(())
}

/// Nanoseconds to protect and to unprotect one packet, and to make one context.
fn round(suite: Suite) -> Result<[f64; 3], Box<dyn std::error::Error>> {
    let (key, salt) = (vec![7; suite.key_len()], vec![9; suite.salt_len()]);
    let master = MasterKey::new(suite, &key, &salt)?;
    let mut protect = Protect::new(&master);
    let mut packets = vec![[0x5a; PACKET + Suite::OVERHEAD_MAX]; PACKETS];
    for (seq, packet) in packets.iter_mut().enumerate() {
        let [hi, lo] = u16::try_from(seq)?.to_be_bytes();
        packet[..12].copy_from_slice(&[0x80, 0, hi, lo, 0, 0, 0, 0, 1, 2, 3, 4]);
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
    Ok([protected, unprotected, made].map(|time| time.as_nanos() as f64 / PACKETS as f64))
}

const PACKET: usize = 172;
const PACKETS: usize = 1024;
const ROUNDS: usize = 400;
