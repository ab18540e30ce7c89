//! RTP and RTCP packets as far ends would send them.

use rtp::srtp::{MasterKey, Protect, Suite, Unprotect};

pub const SSRC: u32 = 0x1234_5678;

/// A G.711 packet of 20 ms.
pub fn rtp(seq: u16) -> Vec<u8> {
    sized_rtp(seq, 160)
}

pub fn sized_rtp(seq: u16, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq) * 160).to_be_bytes());
    packet.extend(SSRC.to_be_bytes());
    packet.extend((0..payload).map(|n| n as u8 ^ seq as u8));
    packet
}

/// A sender report and the obligatory CNAME.
pub fn rtcp(count: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(SSRC.to_be_bytes());
    packet.extend([0; 12]);
    packet.extend(count.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend([0x81, 202, 0, 3]);
    packet.extend(SSRC.to_be_bytes());
    packet.extend([1, 4, b't', b'e', b's', b't', 0, 0]);
    packet
}

/// A far end's own contexts, made of the crate under no test here: an independent protect.
pub struct Peer {
    pub protect: Protect,
    pub unprotect: Unprotect,
}

/// The master key that `rig::key` hands to the data plane, in the far end's terms.
pub fn master(suite: abi::Suite, byte: u8) -> MasterKey {
    let key = super::key(suite, byte);
    MasterKey::new(suite_of(suite), key.key(), key.salt()).unwrap()
}

impl Peer {
    /// What the gateway protects with key 1 and unprotects with key 2.
    pub fn new(suite: abi::Suite) -> Peer {
        Peer {
            protect: Protect::new(&master(suite, 2)),
            unprotect: Unprotect::new(&master(suite, 1)),
        }
    }

    pub fn protect_rtp(&mut self, packet: &[u8]) -> Vec<u8> {
        let (mut buffer, len) = roomy(packet);
        let len = self.protect.rtp(&mut buffer, len).unwrap();
        buffer.truncate(len);
        buffer
    }

    pub fn protect_rtcp(&mut self, packet: &[u8]) -> Vec<u8> {
        let (mut buffer, len) = roomy(packet);
        let len = self.protect.rtcp(&mut buffer, len).unwrap();
        buffer.truncate(len);
        buffer
    }

    pub fn unprotect_rtp(&mut self, packet: &[u8]) -> Vec<u8> {
        self.unprotect.rtp(&mut packet.to_vec()).expect("authentic").bytes().to_vec()
    }

    pub fn unprotect_rtcp(&mut self, packet: &[u8]) -> Vec<u8> {
        self.unprotect.rtcp(&mut packet.to_vec()).expect("authentic").bytes().to_vec()
    }
}

fn roomy(packet: &[u8]) -> (Vec<u8>, usize) {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + Suite::OVERHEAD_MAX, 0);
    (buffer, packet.len())
}

fn suite_of(suite: abi::Suite) -> Suite {
    match suite {
        abi::Suite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        abi::Suite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        abi::Suite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        abi::Suite::AeadAes256Gcm => Suite::AeadAes256Gcm,
        abi::Suite::AesCm256HmacSha1_80 => Suite::AesCm256HmacSha1_80,
        abi::Suite::AesCm256HmacSha1_32 => Suite::AesCm256HmacSha1_32,
    }
}
