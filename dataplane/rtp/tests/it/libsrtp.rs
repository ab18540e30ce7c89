//! The same packets through this crate and through libsrtp: octets and verdicts must agree.
//!
//! `libsrtp_peer.c` is compiled here with `cc` and spoken to over pipes. Each packet is protected
//! by both sides; each protected packet is then delivered to both receivers over one network that
//! delays, repeats and damages. Sequence numbers run, skip, fall back, repeat and leap, so that
//! replay windows and rollover counters of both sides are compared at their edges.

use crate::generate::{self, Rng};
use rtp::srtp::{MasterKey, Mki, Protect, ProtectError, Suite, Unprotect, UnprotectError};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Packets of each suite.
const PACKETS: usize = 100_000;
/// Small enough that all answers of a batch fit into a pipe, so that neither side waits for ever.
const BATCH: usize = 24;
const SOURCES: usize = 6;

#[test]
fn aes_cm_128_hmac_sha1_80_agrees_with_libsrtp() {
    with_and_without_mki(Suite::AesCm128HmacSha1_80, PACKETS);
}

#[test]
fn aes_cm_128_hmac_sha1_32_agrees_with_libsrtp() {
    with_and_without_mki(Suite::AesCm128HmacSha1_32, PACKETS);
}

#[test]
fn aes_cm_256_hmac_sha1_80_agrees_with_libsrtp() {
    with_and_without_mki(Suite::AesCm256HmacSha1_80, PACKETS);
}

#[test]
fn aes_cm_256_hmac_sha1_32_agrees_with_libsrtp() {
    with_and_without_mki(Suite::AesCm256HmacSha1_32, PACKETS);
}

#[test]
fn aead_aes_128_gcm_agrees_with_libsrtp() {
    with_and_without_mki(Suite::AeadAes128Gcm, PACKETS);
}

#[test]
fn aead_aes_256_gcm_agrees_with_libsrtp() {
    with_and_without_mki(Suite::AeadAes256Gcm, PACKETS);
}

/// `cargo test --release -p rtp -- --ignored ten_million`
#[test]
#[ignore = "takes minutes: run it by hand after a change of the transforms"]
fn ten_million_packets_agree_with_libsrtp() {
    for suite in Suite::ALL {
        with_and_without_mki(suite, 10_000_000 / Suite::ALL.len() + 1);
    }
}

/// The comparison itself can fail: another salt gives other octets, and so does another MKI.
#[test]
fn another_salt_or_mki_does_not_agree_with_libsrtp() {
    let suite = Suite::AesCm128HmacSha1_80;
    let mki = Mki::new(7, 2).unwrap();
    let mut peer = Peer::start("control", suite, Some(mki), &[1; 30]);
    let master = |mki, salt: &[u8]| MasterKey::new(suite, &[1; 16], salt).unwrap().with_mki(mki);
    let plain = generate::rtp(&mut Rng::new(1), 1, 1);
    let ours = |master| protect(&mut Protect::new(&master), false, &plain).unwrap();
    let octets = plain.clone();
    let theirs = peer.batch(&[Frame { operation: b'p', octets }]).remove(0);
    assert_eq!(theirs.status, OK);
    assert_eq!(theirs.octets, ours(master(mki, &[1; 14])));
    let other_salt = [[1; 13].as_slice(), &[2]].concat();
    assert_ne!(theirs.octets, ours(master(mki, &other_salt)));
    assert_ne!(theirs.octets, ours(master(Mki::new(8, 2).unwrap(), &[1; 14])));
}

/// Half of the packets without an MKI, half with one, whose length is another one for each suite.
fn with_and_without_mki(suite: Suite, packets: usize) {
    let number = number(suite);
    let len = 1 + number % 4;
    let mki = Mki::new(0x0102_0304 >> (32 - 8 * u32::from(len)), len);
    assert!(mki.is_some());
    differential(suite, None, packets / 2);
    differential(suite, mki, packets / 2);
}

/// The place of the suite in `Suite::ALL`, by which `libsrtp_peer.c` knows it.
fn number(suite: Suite) -> u8 {
    Suite::ALL.iter().position(|each| *each == suite).unwrap() as u8
}

fn differential(suite: Suite, mki: Option<Mki>, packets: usize) {
    let mut rng = Rng::new(0x5274_7000 + u64::from(number(suite)));
    let (key, salt) = (rng.bytes(suite.key_len()), rng.bytes(suite.salt_len()));
    let master = MasterKey::new(suite, &key, &salt).unwrap();
    let master = mki.into_iter().fold(master, MasterKey::with_mki);
    let name = format!("{}_{}_{packets}", number(suite), mki.is_some());
    // libsrtp 2 looks for the MKI of SRTCP where it would be behind the SRTP tag.
    let rtcp_mki_is_lost = mki.is_some() && suite.rtp_tag_len() != suite.rtcp_tag_len();
    let mut run = Run {
        peer: Peer::start(&name, suite, mki, &[key, salt].concat()),
        protect: Protect::new(&master),
        unprotect: Unprotect::new(&master),
        rtcp_mki_is_lost,
        sequences: Vec::new(),
        late: Vec::new(),
        seen: Seen::default(),
    };
    for ssrc in 0..SOURCES {
        // libsrtp's first SRTCP index is 1, ours 0 (RFC 3711 §3.4): one packet is skipped.
        let skipped = generate::rtcp(&mut rng, ssrc as u32);
        assert!(protect(&mut run.protect, true, &skipped).is_ok());
        run.sequences.push(rng.below(1 << 15) as u64);
    }
    for _ in 0..packets.div_ceil(BATCH) {
        let protected = run.protect_batch(&mut rng);
        run.deliver(&mut rng, protected);
    }
    run.seen.assert_all_cases_were_met(&name, packets);
}

struct Run {
    peer: Peer,
    protect: Protect,
    unprotect: Unprotect,
    rtcp_mki_is_lost: bool,
    /// The last index of each source.
    sequences: Vec<u64>,
    /// Packets that will be delivered (again) much later.
    late: Vec<(bool, Vec<u8>)>,
    seen: Seen,
}

/// How often each verdict was reached: a comparison that never meets a case proves nothing.
#[derive(Default, Debug)]
struct Seen {
    protected: usize,
    index_reused: usize,
    accepted: usize,
    replayed: usize,
    forged: usize,
    turns: u64,
}

impl Run {
    /// Protects a batch on both sides. Returns what was protected, and whether it is RTCP.
    fn protect_batch(&mut self, rng: &mut Rng) -> Vec<(bool, Vec<u8>)> {
        let plain: Vec<_> = (0..BATCH)
            .map(|_| {
                let source = rng.below(SOURCES);
                let is_rtcp = rng.one_in(8);
                let packet = if is_rtcp {
                    generate::rtcp(rng, source as u32)
                } else {
                    let seq = self.next_seq(rng, source);
                    generate::rtp(rng, source as u32, seq)
                };
                (is_rtcp, packet)
            })
            .collect();
        let frames: Vec<_> = plain
            .iter()
            .map(|(is_rtcp, octets)| Frame {
                operation: if *is_rtcp { b'c' } else { b'p' },
                octets: octets.clone(),
            })
            .collect();
        let answers = self.peer.batch(&frames);

        let mut protected = Vec::new();
        for ((is_rtcp, plain), theirs) in plain.into_iter().zip(answers) {
            match protect(&mut self.protect, is_rtcp, &plain) {
                Ok(ours) => {
                    assert_eq!(theirs.status, OK, "libsrtp refused what we protected: {plain:?}");
                    assert_eq!(theirs.octets, ours, "protected octets differ: {plain:?}");
                    self.seen.protected += 1;
                    protected.push((is_rtcp, ours));
                }
                Err(error) => {
                    assert_eq!(error, ProtectError::IndexReused);
                    assert!(
                        [REPLAY_FAIL, REPLAY_OLD].contains(&theirs.status),
                        "{}",
                        theirs.status
                    );
                    self.seen.index_reused += 1;
                }
            }
        }
        protected
    }

    /// Mostly the next one; sometimes a gap, a repetition, a late packet, a leap.
    fn next_seq(&mut self, rng: &mut Rng, source: usize) -> u16 {
        let last = &mut self.sequences[source];
        let before = *last;
        match rng.below(4000) {
            0 => return rng.word() as u16,
            1..=200 => return last.saturating_sub(rng.below(300) as u64) as u16,
            201..=400 => *last += rng.below(2000) as u64,
            _ => *last += 1,
        }
        self.seen.turns += (*last >> 16) - (before >> 16);
        *last as u16
    }

    /// Delivers to both receivers: late ones, disordered, repeated, damaged.
    fn deliver(&mut self, rng: &mut Rng, protected: Vec<(bool, Vec<u8>)>) {
        let mut network = Vec::new();
        for (is_rtcp, octets) in protected {
            if rng.one_in(30) {
                self.late.push((is_rtcp, octets));
                continue;
            }
            if rng.one_in(20) {
                let mut damaged = octets.clone();
                let at = rng.below(damaged.len());
                damaged[at] ^= 1 << rng.below(8);
                network.push((is_rtcp, damaged, true));
            }
            if rng.one_in(20) {
                self.late.push((is_rtcp, octets.clone()));
            }
            network.push((is_rtcp, octets, false));
        }
        if self.late.len() > 40 {
            let (is_rtcp, octets) = self.late.swap_remove(rng.below(40));
            network.push((is_rtcp, octets, false));
        }
        for at in 0..network.len() {
            let other = (at + rng.below(4)).min(network.len() - 1);
            network.swap(at, other);
        }

        let frames: Vec<_> = network
            .iter()
            .map(|(is_rtcp, octets, _)| Frame {
                operation: if *is_rtcp { b'v' } else { b'u' },
                octets: octets.clone(),
            })
            .collect();
        let answers = self.peer.batch(&frames);
        for ((is_rtcp, mut octets, damaged), theirs) in network.into_iter().zip(answers) {
            let taken = match is_rtcp {
                true => self.unprotect.rtcp(&mut octets),
                false => self.unprotect.rtp(&mut octets),
            };
            if is_rtcp && self.rtcp_mki_is_lost && theirs.status == BAD_MKI {
                self.seen.accepted += usize::from(taken.is_ok());
                continue;
            }
            match taken {
                Ok(ours) => {
                    assert!(!damaged, "a damaged packet was accepted");
                    assert_eq!(theirs.status, OK, "libsrtp refused what we accepted");
                    assert_eq!(theirs.octets, ours.bytes(), "plain octets differ");
                    self.seen.accepted += 1;
                }
                // Damage can make any refusal, and not the same one on both sides.
                Err(_) if damaged => {
                    assert_ne!(theirs.status, OK, "libsrtp accepted a damaged packet");
                    self.seen.forged += 1;
                }
                Err(UnprotectError::Replay) => {
                    assert!(
                        [REPLAY_FAIL, REPLAY_OLD].contains(&theirs.status),
                        "{}",
                        theirs.status
                    );
                    self.seen.replayed += 1;
                }
                Err(error) => {
                    assert_eq!(error, UnprotectError::Authentication);
                    assert_eq!(theirs.status, AUTH_FAIL);
                    self.seen.forged += 1;
                }
            }
        }
    }
}

impl Seen {
    fn assert_all_cases_were_met(&self, name: &str, packets: usize) {
        let Self { protected, index_reused, accepted, replayed, forged, turns } = *self;
        assert!(protected > packets * 8 / 10, "{name} {self:?}");
        assert!(accepted > packets * 7 / 10, "{name} {self:?}");
        let seldom = packets / 200;
        assert!(index_reused > seldom && replayed > 2 * seldom, "{name} {self:?}");
        assert!(forged > 2 * seldom, "{name} {self:?}");
        assert!(turns > 2 * SOURCES as u64, "{name} {self:?}");
    }
}

fn protect(protect: &mut Protect, is_rtcp: bool, plain: &[u8]) -> Result<Vec<u8>, ProtectError> {
    let mut buf = [plain, &[0; Suite::OVERHEAD_MAX]].concat();
    let end = match is_rtcp {
        true => protect.rtcp(&mut buf, plain.len())?,
        false => protect.rtp(&mut buf, plain.len())?,
    };
    buf.truncate(end);
    Ok(buf)
}

// srtp_err_status_t
const OK: u8 = 0;
const AUTH_FAIL: u8 = 7;
const REPLAY_FAIL: u8 = 9;
const REPLAY_OLD: u8 = 10;
const BAD_MKI: u8 = 25;

struct Frame {
    operation: u8,
    octets: Vec<u8>,
}

struct Answer {
    status: u8,
    octets: Vec<u8>,
}

/// The running C program.
struct Peer {
    process: Child,
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// `name` keeps the programs of tests that run at the same time apart.
    fn start(name: &str, suite: Suite, mki: Option<Mki>, key_and_salt: &[u8]) -> Self {
        let mut process = Command::new(build(name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the compiled libsrtp peer starts");
        let input = BufWriter::new(process.stdin.take().unwrap());
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut peer = Self { process, input, output };
        let mki = mki.map_or(Vec::new(), |mki| mki.octets().to_vec());
        let octets = [&[number(suite), mki.len() as u8], &mki[..], key_and_salt].concat();
        let started = peer.batch(&[Frame { operation: b'K', octets }]);
        assert_eq!(started[0].status, OK);
        peer
    }

    fn batch(&mut self, frames: &[Frame]) -> Vec<Answer> {
        for Frame { operation, octets } in frames {
            self.input.write_all(&[*operation]).unwrap();
            self.input.write_all(&u32::try_from(octets.len()).unwrap().to_be_bytes()).unwrap();
            self.input.write_all(octets).unwrap();
        }
        self.input.write_all(b"f\0\0\0\0").unwrap();
        self.input.flush().unwrap();
        frames.iter().map(|_| self.answer()).collect()
    }

    fn answer(&mut self) -> Answer {
        let mut head = [0; 5];
        self.output.read_exact(&mut head).expect("libsrtp peer answers; its reason is on stderr");
        let [status, len @ ..] = head;
        let mut octets = vec![0; u32::from_be_bytes(len) as usize];
        self.output.read_exact(&mut octets).unwrap();
        Answer { status, octets }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A failed test leaves it waiting for input; either way it must not outlive the test.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn build(name: &str) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/libsrtp_peer.c");
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("libsrtp_peer_{name}"));
    let compiled = Command::new("cc")
        .args(["-O2", "-Wall", "-Werror", "-o"])
        .arg(&program)
        .args([source, "-lsrtp2"])
        .output()
        .expect("no C compiler `cc`: install one (Debian: apt-get install gcc libsrtp2-dev)");
    assert!(
        compiled.status.success(),
        "libsrtp peer does not compile; install libsrtp 2 with its headers (Debian: apt-get \
         install libsrtp2-dev) and try again:\n{}",
        String::from_utf8_lossy(&compiled.stderr),
    );
    program
}
