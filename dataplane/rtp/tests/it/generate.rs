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

/// A valid RTCP compound: a receiver report with random blocks, then up to three other packets.
pub fn rtcp(rng: &mut Rng, ssrc: u32) -> Vec<u8> {
    let blocks = rng.below(4);
    let mut compound = vec![0x80 | blocks as u8, 201, 0, (1 + 6 * blocks) as u8];
    compound.extend(ssrc.to_be_bytes());
    compound.extend(rng.bytes(24 * blocks));
    for _ in 0..rng.below(4) {
        let words = 2 + rng.below(20);
        let packet_type = [204, 205, 206, 207, 212][rng.below(5)];
        compound.extend([0x80 | rng.below(32) as u8, packet_type, 0, words as u8]);
        compound.extend(ssrc.to_be_bytes());
        compound.extend(rng.bytes(4 * (words - 1)));
    }
    compound
}
