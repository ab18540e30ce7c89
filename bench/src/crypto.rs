//! SRTP protect and unprotect of one 20 ms packet (172 octets), ours beside libsrtp.
//!
//! Both sides run the same rounds: 1,024 packets that take turns among the contexts, protected,
//! then unprotected. One context is the hot case; a thousand are a gateway's: each packet finds
//! its keys outside the first-level caches. libsrtp is a small C program, compiled when it is
//! asked for, so that the bench builds where libsrtp is missing.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bench::media::suite_name;
use rtp::srtp::{MasterKey, Protect, Suite, Unprotect};
use serde::Serialize;

use crate::compare::Spread;
use crate::fault::Fault;

/// One suite, one number of contexts. Nanoseconds per packet.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub suite: &'static str,
    pub contexts: u32,
    pub ours: Directions,
    pub libsrtp: Option<Directions>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Directions {
    pub protect: Spread,
    pub unprotect: Spread,
}

impl Directions {
    /// From one pair of figures for each round.
    fn of(rounds: &[(f64, f64)]) -> Directions {
        Directions {
            protect: Spread::of(rounds.iter().map(|round| round.0)),
            unprotect: Spread::of(rounds.iter().map(|round| round.1)),
        }
    }
}

/// Suites and their numbers in `libsrtp_cost.c`.
pub const SUITES: [(Suite, u8); 4] = [
    (Suite::AesCm128HmacSha1_80, 0),
    (Suite::AesCm128HmacSha1_32, 1),
    (Suite::AeadAes128Gcm, 2),
    (Suite::AeadAes256Gcm, 3),
];

/// Measures one suite on both sides, in alternating blocks of rounds.
///
/// # Errors
/// A transform refused a packet; libsrtp's program said something else than figures.
pub fn cost(
    suite: (Suite, u8),
    contexts: u32,
    blocks: u32,
    libsrtp: Option<&Libsrtp>,
) -> Result<Cost, Fault> {
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..blocks {
        ours.extend(our_rounds(suite.0, contexts as usize)?);
        if let Some(libsrtp) = libsrtp {
            theirs.extend(libsrtp.rounds(suite.1, contexts)?);
        }
    }
    Ok(Cost {
        suite: suite_name(suite.0),
        contexts,
        ours: Directions::of(&ours),
        libsrtp: libsrtp.map(|_| Directions::of(&theirs)),
    })
}

fn our_rounds(suite: Suite, contexts: usize) -> Result<Vec<(f64, f64)>, Fault> {
    let refused = |what: String| Fault::new(what, "this is a defect of the rtp crate");
    let mut sides = Vec::with_capacity(contexts);
    for index in 0..contexts {
        let octets: Vec<u8> = (0..64).map(|at| (index * 31 + at * 7 + 1) as u8).collect();
        let (key, rest) = octets.split_at(suite.key_len());
        let salt = rest.get(..suite.salt_len()).unwrap_or_default();
        let master = MasterKey::new(suite, key, salt).map_err(|e| refused(e.to_string()))?;
        sides.push((Protect::new(&master), Unprotect::new(&master)));
    }
    let mut packets = vec![[0_u8; ROOM]; PACKETS];
    let mut rounds = Vec::new();
    let mut ordinal = 0;
    for _ in 0..ROUNDS {
        for (at, packet) in packets.iter_mut().enumerate() {
            let [hi, lo] = (((ordinal + at) / contexts) as u16).to_be_bytes();
            packet.fill(0x5a);
            packet[..12].copy_from_slice(&[0x80, 0, hi, lo, 0, 0, 0, 0, 1, 2, 3, 4]);
        }
        let start = Instant::now();
        let mut end = PACKET;
        for (at, packet) in packets.iter_mut().enumerate() {
            let Some((protect, _)) = sides.get_mut((ordinal + at) % contexts) else { continue };
            end = protect.rtp(black_box(packet), PACKET).map_err(|e| refused(e.to_string()))?;
        }
        let protected = Instant::now();
        for (at, packet) in packets.iter_mut().enumerate() {
            let Some((_, unprotect)) = sides.get_mut((ordinal + at) % contexts) else { continue };
            let packet = packet.get_mut(..end).unwrap_or_default();
            unprotect.rtp(black_box(packet)).map_err(|e| refused(e.to_string()))?;
        }
        let per_packet = |span: std::time::Duration| span.as_nanos() as f64 / PACKETS as f64;
        rounds.push((per_packet(protected - start), per_packet(protected.elapsed())));
        ordinal += PACKETS;
    }
    Ok(rounds)
}

/// The compiled C program; removed with the value.
pub struct Libsrtp {
    program: PathBuf,
}

impl Libsrtp {
    /// Compiles it.
    ///
    /// # Errors
    /// No compiler, or no libsrtp: how to install them.
    pub fn build() -> Result<Libsrtp, Fault> {
        let program = crate::stage::scratch("libsrtp-cost");
        let source = program.with_extension("c");
        std::fs::write(&source, SOURCE).map_err(Fault::io(source.display()))?;
        let compiled = Command::new("cc")
            .args(["-O2", "-o"])
            .args([&program, &source])
            .arg("-lsrtp2")
            .output();
        let _ = std::fs::remove_file(&source);
        let remedy = "install them (Debian: apt-get install gcc libsrtp2-dev)";
        let compiled = compiled.map_err(|error| Fault::new(format!("cc: {error}"), remedy))?;
        if compiled.status.success() {
            return Ok(Libsrtp { program });
        }
        let said = String::from_utf8_lossy(&compiled.stderr);
        let first = said.lines().next().unwrap_or_default();
        Err(Fault::new(format!("the libsrtp program does not compile: {first}"), remedy))
    }

    fn rounds(&self, suite: u8, contexts: u32) -> Result<Vec<(f64, f64)>, Fault> {
        let arguments = [suite.to_string(), contexts.to_string(), ROUNDS.to_string()];
        let said = crate::stage::output(Command::new(&self.program).args(arguments))?;
        parse_rounds(&said).ok_or_else(|| Fault::new("libsrtp's program said no figures", ""))
    }

    /// Version by pkg-config, and the cryptographic library that it was built on: the figures are
    /// that library's as much as libsrtp's.
    pub fn version(&self) -> String {
        let version =
            crate::stage::version_of(Command::new("pkg-config").args(["--modversion", "libsrtp2"]));
        let linked = crate::stage::output(Command::new("ldd").arg(&self.program));
        format!("{version} on {}", backend(&linked.unwrap_or_default()))
    }
}

impl Drop for Libsrtp {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(Path::new(&self.program));
    }
}

/// The cryptographic library among those that a program is linked with, by the words of ldd.
fn backend(linked: &str) -> &'static str {
    let names = [("libnss3", "NSS"), ("libcrypto", "OpenSSL"), ("libmbedcrypto", "Mbed TLS")];
    let found = names.into_iter().find(|(library, _)| linked.contains(library));
    found.map_or("its own ciphers", |(_, name)| name)
}

/// Lines of two figures each.
fn parse_rounds(text: &str) -> Option<Vec<(f64, f64)>> {
    let rounds: Option<Vec<_>> = text
        .lines()
        .map(|line| {
            let (protect, unprotect) = line.split_once(' ')?;
            Some((protect.parse().ok()?, unprotect.trim().parse().ok()?))
        })
        .collect();
    rounds.filter(|rounds| !rounds.is_empty())
}

const SOURCE: &str = include_str!("crypto/libsrtp_cost.c");
const PACKET: usize = 172;
const ROOM: usize = 256;
const PACKETS: usize = 1024;
/// Rounds of one block, the same in both programs. Sequence numbers of one context go up to 61,440
/// and so wrap in neither.
const ROUNDS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_is_measured_hot_and_cold() {
        for suite in SUITES {
            for contexts in [1, 3] {
                let cost = cost(suite, contexts, 1, None).unwrap();
                assert!(cost.ours.protect.least > 0.0 && cost.ours.unprotect.least > 0.0);
                assert!(cost.libsrtp.is_none());
            }
        }
    }

    #[test]
    fn the_library_below_libsrtp_is_named() {
        let nss =
            "\tlibsrtp2.so.1 => /lib/libsrtp2.so.1 (0x1)\n\tlibnss3.so => /lib/libnss3.so (0x2)\n";
        assert_eq!(backend(nss), "NSS");
        assert_eq!(backend("libcrypto.so.3 => /lib/libcrypto.so.3"), "OpenSSL");
        assert_eq!(backend(""), "its own ciphers");
    }

    #[test]
    fn only_figures_are_figures() {
        assert_eq!(parse_rounds("12.5 13.0\n1 2\n"), Some(vec![(12.5, 13.0), (1.0, 2.0)]));
        for bad in ["", "x", "1", "1 2\nfail\n", "1 x"] {
            assert_eq!(parse_rounds(bad), None, "{bad}");
        }
    }
}
