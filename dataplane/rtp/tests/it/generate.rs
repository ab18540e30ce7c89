//! Seeded packets: the same seed gives the same packets on every machine.

/// xorshift64*: enough disorder for tests, and no dependency.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.word() >> 33) as usize % end
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.word() as u8).collect()
    }
}

/// A valid RTP packet with any header: CSRCs, extension, padding and payload of random size.
pub fn rtp(rng: &mut Rng, ssrc: u32, seq: u16) -> Vec<u8> {
    let csrcs = if rng.one_in(2) { rng.below(16) } else { 0 };
    let (extended, padded) = (rng.one_in(3), rng.one_in(8));
    let first = 0x80 | u8::from(padded) << 5 | u8::from(extended) << 4 | csrcs as u8;
    let mut packet = vec![first, rng.word() as u8];
    packet.extend(seq.to_be_bytes());
    packet.extend(rng.bytes(4));
    packet.extend(ssrc.to_be_bytes());
    packet.extend(rng.bytes(4 * csrcs));
    if extended {
        let words = rng.below(6);
        packet.extend([0xbe, 0xde, 0, words as u8]);
        packet.extend(rng.bytes(4 * words));
    }
    let payload = match rng.below(4) {
        0 => 160,
        1 => rng.below(40),
        _ => rng.below(1100),
    };
    packet.extend(rng.bytes(payload));
    if padded {
        let count = 1 + rng.below(7);
        packet.extend(vec![0; count - 1]);
        packet.push(count as u8);
    }
    packet
}

/// A valid RTCP compound: a report with random blocks, then up to three other packets.
pub fn rtcp(rng: &mut Rng, ssrc: u32) -> Vec<u8> {
    let blocks = rng.below(4);
    let (packet_type, info) = if rng.one_in(2) { (200, 20) } else { (201, 0) };
    let body = [ssrc.to_be_bytes().to_vec(), rng.bytes(info + 24 * blocks)].concat();
    let mut compound = rtcp_packet(blocks, packet_type, &body);
    for _ in 0..rng.below(4) {
        let ssrc = ssrc.to_be_bytes();
        let packet = match rng.below(4) {
            0 => rtcp_packet(1, 202, &[&ssrc, &b"\x01\x03a@b\x06\x01t"[..], &[0; 4]].concat()),
            1 => rtcp_packet(1, 203, &[&ssrc, &b"\x05adieu\0\0"[..]].concat()),
            2 => {
                let blocks = (0..rng.below(4)).flat_map(|_| xr_block(rng)).collect();
                rtcp_packet(0, 207, &[ssrc.to_vec(), blocks].concat())
            }
            _ => {
                let (count, packet_type) = (rng.below(32), [204, 205, 206, 212][rng.below(4)]);
                let words = 1 + rng.below(20);
                rtcp_packet(count, packet_type, &[&ssrc[..], &rng.bytes(4 * words)].concat())
            }
        };
        compound.extend(packet);
    }
    compound
}

/// An extended report block of RFC 3611 §4, or one that is unknown.
fn xr_block(rng: &mut Rng) -> Vec<u8> {
    let block_type = 1 + rng.below(8);
    let words = [4, 4, 5, 2, 6, 9, 8, rng.below(5)][block_type - 1];
    [vec![block_type as u8, rng.word() as u8, 0, words as u8], rng.bytes(4 * words)].concat()
}

fn rtcp_packet(count: usize, packet_type: u8, body: &[u8]) -> Vec<u8> {
    let words = (body.len() / 4) as u8;
    [&[0x80 | count as u8, packet_type, 0, words], body].concat()
}
