//! HMAC-SHA1 with its two hashed pads kept, so that no key is hashed per packet (RFC 2104 §4).
//!
//! Two types do the same. [`Midstates`] is for SRTP: a packet is at hand as a whole, so only its
//! end is copied into a block, and 40 octets are all that the packet path reads of it.
//! [`Packaged`] is for SRTCP, a packet in some seconds: the package's own type, which buffers, and
//! which the tests hold the other one against.

use hmac::{Hmac, KeyInit, Mac};
use sha1::{Sha1, block_api::compress};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// HMAC-SHA1 under one key, which is wiped when dropped.
pub(super) trait HmacSha1 {
    fn new(key: &[u8; 20]) -> Self;

    /// The full tag over `message` followed by `trailer`.
    fn tag(&self, message: &[u8], trailer: [u8; 4]) -> [u8; 20];
}

/// The states of the inner and the outer hash after their pads.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Midstates {
    inner: State,
    outer: State,
}

/// The package's HMAC.
pub(super) struct Packaged(Hmac<Sha1>);

impl HmacSha1 for Midstates {
    fn new(key: &[u8; 20]) -> Self {
        let padded = |pad: u8| {
            let mut block = [pad; BLOCK];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= *key;
            }
            let mut state = START;
            compress(&mut state, &[block]);
            block.zeroize();
            state
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    fn tag(&self, message: &[u8], trailer: [u8; 4]) -> [u8; 20] {
        let (blocks, rest) = message.as_chunks();
        let mut state = self.inner;
        compress(&mut state, blocks);
        let [a, b, c, d] = trailer;
        let hashed = BLOCK + message.len() + trailer.len();
        finish(&mut state, rest, &[a, b, c, d, END], hashed);

        let inner = octets(state);
        let mut state = self.outer;
        finish(&mut state, &inner, &[END], BLOCK + inner.len());
        octets(state)
    }
}

impl HmacSha1 for Packaged {
    fn new(key: &[u8; 20]) -> Self {
        let mut block = [0; BLOCK];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte = *key;
        }
        let keyed = Hmac::new(&block.into());
        block.zeroize();
        Self(keyed)
    }

    fn tag(&self, message: &[u8], trailer: [u8; 4]) -> [u8; 20] {
        let mut mac = self.0.clone();
        mac.update(message);
        mac.update(&trailer);
        mac.finalize().into_bytes().into()
    }
}

/// Hashes the last octets of a message, less than a block, with `end` and the bit length behind
/// them (FIPS 180-4 §5.1.1). `hashed` are the octets of the whole message.
fn finish(state: &mut State, rest: &[u8], end: &[u8], hashed: usize) {
    let mut last = [[0; BLOCK]; 2];
    let filled = rest.len() + end.len();
    let flat = last.as_flattened_mut();
    write(flat, 0, rest);
    write(flat, rest.len(), end);
    let blocks = (filled + LENGTH).div_ceil(BLOCK);
    write(flat, BLOCK * blocks - LENGTH, &(8 * hashed as u64).to_be_bytes());
    compress(state, last.get(..blocks).unwrap_or_default());
}

/// The caller keeps `at` and the length inside of `place`.
fn write(place: &mut [u8], at: usize, octets: &[u8]) {
    if let Some(place) = place.get_mut(at..at + octets.len()) {
        place.copy_from_slice(octets);
    }
}

fn octets(state: State) -> [u8; 20] {
    let mut octets = [0; 20];
    for (place, word) in octets.as_chunks_mut().0.iter_mut().zip(state) {
        *place = word.to_be_bytes();
    }
    octets
}

type State = [u32; 5];

/// FIPS 180-4 §5.3.1.
const START: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
const BLOCK: usize = 64;
/// Octets of the bit length at the end.
const LENGTH: usize = 8;
/// The bit that ends a message.
const END: u8 = 0x80;

#[cfg(test)]
mod tests;
