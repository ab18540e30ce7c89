//! Five seconds of audio of our own, and what comes back of it. A test brings its own socket, keys
//! and packets: it works without the data plane and takes nothing from it.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rtp::packet::RtpPacket;
use rtp::srtp::{MasterKey, Mki, Protect, Suite, Unprotect};
use sdp::{Audio, Key};
use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout_at};

use super::Kit;
use super::limits::{PACKET, PORTS_TRIED, TAIL};
use super::line::Line;

/// The socket of a test call.
pub(super) struct Ports {
    socket: UdpSocket,
    /// Kept, so that nobody else answers there.
    _rtcp: UdpSocket,
    pub(super) advertise: IpAddr,
    pub(super) rtp: u16,
    pub(super) rtcp: u16,
}

/// What came back.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Heard {
    pub(super) sent: u64,
    pub(super) received: u64,
    /// With the payload of one that we sent.
    pub(super) echoed: u64,
    /// Sequence numbers that never came.
    pub(super) lost: u64,
    /// SRTP packets that the key does not open.
    pub(super) refused: u64,
    /// Interarrival jitter at the end (RFC 3550 §6.4.1).
    pub(super) jitter: Duration,
    /// The peer hung up meanwhile.
    pub(super) ended: bool,
}

impl Ports {
    /// A pair of ports of the media range on the address that leads to the peer.
    pub(super) async fn open(kit: &Kit, network: u32, remote: SocketAddr) -> Result<Self, String> {
        let (address, advertise) = kit.media_address(network, remote)?;
        let (first, last) = (*kit.media.ports.start(), *kit.media.ports.end());
        let pairs = (first.div_ceil(2)..=last / 2).rev().map(|half| half * 2);
        for even in pairs.filter(|even| *even >= first && *even < last).take(PORTS_TRIED) {
            let both = (
                UdpSocket::bind((address, even)).await,
                UdpSocket::bind((address, even + 1)).await,
            );
            if let (Ok(socket), Ok(rtcp)) = both {
                let (rtp, rtcp_port) = (even, even + 1);
                return Ok(Self { socket, _rtcp: rtcp, advertise, rtp, rtcp: rtcp_port });
            }
        }
        Err(format!("the last {PORTS_TRIED} pairs of the media ports on {address} are taken"))
    }
}

/// Sends and receives for as long as the kit says; an error names what is wrong on this host.
pub(super) async fn talk(
    kit: &Kit,
    line: &mut Line,
    audio: &Audio,
    key: Option<&Key>,
    ports: Ports,
) -> Result<Heard, String> {
    let mut voice = Voice::new(kit, audio, key)?;
    let end = Instant::now() + kit.patience.talk;
    let (mut next, mut buffer) = (Instant::now(), vec![0; 2_048]);
    let mut ear = Ear::default();
    let mut held = Box::pin(line.hold(end + TAIL));
    let (mut ended, mut quiet) = (false, false);
    loop {
        let now = Instant::now();
        if now >= end || ended {
            break;
        }
        tokio::select! {
            () = sleep_until(next.into()) => {
                let packet = voice.say();
                let _lost_on_the_way = ports.socket.send_to(&packet, audio.rtp).await;
                next += PACKET;
            }
            got = ports.socket.recv_from(&mut buffer) => {
                if let Ok((length, _)) = got {
                    ear.hear(&mut voice, buffer.get_mut(..length).unwrap_or_default());
                }
            }
            // The signalling may break off; audio tells by itself.
            hung_up = &mut held, if !quiet => (ended, quiet) = (hung_up, true),
        }
    }
    while let Ok(Ok((length, _))) =
        timeout_at((end + TAIL).into(), ports.socket.recv_from(&mut buffer)).await
    {
        ear.hear(&mut voice, buffer.get_mut(..length).unwrap_or_default());
        if ear.heard.received >= voice.sent {
            break;
        }
    }
    drop(held);
    Ok(Heard { sent: voice.sent, ended, ..ear.conclude() })
}

/// What we say: a payload that is different in each packet, so that an echo is known as ours.
struct Voice {
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    step: u32,
    size: usize,
    said: HashSet<Vec<u8>>,
    sent: u64,
    protect: Option<Protect>,
    unprotect: Option<Unprotect>,
}

impl Voice {
    fn new(kit: &Kit, audio: &Audio, key: Option<&Key>) -> Result<Self, String> {
        let format = audio.formats.iter().find(|format| !format.is_companion());
        let format = format.ok_or("the answer names no codec")?;
        let theirs = audio.cryptos.first();
        let (protect, unprotect) = match (key, theirs) {
            (Some(ours), Some(theirs)) => {
                let mut open = master(&theirs.key)?;
                if let Some(mki) = &theirs.mki {
                    let mki = Mki::new(mki.value, mki.length).ok_or("the answer's MKI")?;
                    open = open.with_mki(mki);
                }
                (Some(Protect::new(&master(ours)?)), Some(Unprotect::new(&open)))
            }
            (None, None) => (None, None),
            _ => return Err(String::from("one side has a key and the other none")),
        };
        let word = |bound| kit.below(bound);
        Ok(Self {
            payload_type: format.payload_type,
            ssrc: word(u32::MAX),
            sequence: u16::try_from(word(0x7fff)).unwrap_or(0),
            timestamp: word(u32::MAX),
            step: format.clock / 50,
            size: 160,
            said: HashSet::new(),
            sent: 0,
            protect,
            unprotect,
        })
    }

    /// The next packet.
    fn say(&mut self) -> Vec<u8> {
        let mut packet = vec![0x80, self.payload_type];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        let payload: Vec<u8> = (0..self.size).map(|at| self.octet(at)).collect();
        packet.extend_from_slice(&payload);
        self.said.insert(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.step);
        self.sent += 1;
        let Some(protect) = &mut self.protect else { return packet };
        let length = packet.len();
        packet.resize(length + Suite::OVERHEAD_MAX, 0);
        let length = protect.rtp(&mut packet, length).unwrap_or(0);
        packet.truncate(length);
        packet
    }

    /// A soft tone in G.711 with the packet's number in its first octets.
    fn octet(&self, at: usize) -> u8 {
        match at {
            0..4 => self.sequence.to_be_bytes().get(at % 2).copied().unwrap_or(0) | 0x80,
            _ if at % 16 < 8 => 0xd0,
            _ => 0x50,
        }
    }
}

/// What we hear.
#[derive(Default)]
struct Ear {
    heard: Heard,
    first: Option<(u16, Instant, u32)>,
    highest: u16,
    transit: Option<i64>,
    jitter: f64,
}

impl Ear {
    fn hear(&mut self, voice: &mut Voice, datagram: &mut [u8]) {
        if rtp::demux::classify(datagram) != rtp::demux::Class::Rtp {
            return;
        }
        let opened = match &mut voice.unprotect {
            None => Some(&*datagram),
            Some(unprotect) => match unprotect.rtp(datagram) {
                Ok(authentic) => {
                    let length = authentic.len();
                    datagram.get(..length)
                }
                Err(_) => None,
            },
        };
        let Some(opened) = opened else {
            self.heard.refused += 1;
            return;
        };
        let Ok(packet) = RtpPacket::parse(opened) else { return };
        self.count(packet.seq().0, packet.timestamp());
        if voice.said.contains(packet.payload()) {
            self.heard.echoed += 1;
        }
    }

    fn count(&mut self, sequence: u16, timestamp: u32) {
        let now = Instant::now();
        self.heard.received += 1;
        let (_, start, base) = *self.first.get_or_insert_with(|| {
            self.highest = sequence;
            (sequence, now, timestamp)
        });
        if (sequence.wrapping_sub(self.highest) as i16) > 0 {
            self.highest = sequence;
        }
        // RFC 3550 §6.4.1 with a clock of 8000 Hz, which G.711 and G.722 have.
        let arrival = i64::try_from(now.duration_since(start).as_micros() / 125).unwrap_or(0);
        let transit = arrival - i64::from(timestamp.wrapping_sub(base) as i32);
        if let Some(before) = self.transit.replace(transit) {
            self.jitter += ((transit - before).abs() as f64 - self.jitter) / 16.0;
        }
    }

    fn conclude(mut self) -> Heard {
        if let Some((first, ..)) = self.first {
            let expected = u64::from(self.highest.wrapping_sub(first)) + 1;
            self.heard.lost = expected.saturating_sub(self.heard.received);
        }
        self.heard.jitter = Duration::from_secs_f64(self.jitter / 8_000.0);
        self.heard
    }
}

fn master(key: &Key) -> Result<MasterKey, String> {
    let suite = match key.suite() {
        sdp::Suite::AeadAes256Gcm => Suite::AeadAes256Gcm,
        sdp::Suite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        sdp::Suite::AesCm256HmacSha1_80 => Suite::AesCm256HmacSha1_80,
        sdp::Suite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        sdp::Suite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        sdp::Suite::AesCm256HmacSha1_32 => Suite::AesCm256HmacSha1_32,
    };
    MasterKey::new(suite, key.key(), key.salt()).map_err(|error| error.to_string())
}
