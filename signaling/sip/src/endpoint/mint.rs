//! Identifiers: SHA-256 over the seed, a label and a counter. Unguessable to who does not know the
//! seed, never equal, and the same in every run with the same seed.

use bytes::Bytes;
use sha2::{Digest, Sha256};

pub(super) struct Mint {
    seed: [u8; 32],
    counter: u64,
    fits: Option<Fits>,
}

/// Whether a Call-ID or a tag may be ours.
type Fits = Box<dyn Fn(&[u8]) -> bool + Send>;

impl Mint {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Mint { seed, counter: 0, fits: None }
    }

    /// From now on Call-IDs and tags are drawn until one fits.
    pub(super) fn choose(&mut self, fits: Fits) {
        self.fits = Some(fits);
    }

    /// 128 bits behind the magic cookie (RFC 3261 §8.1.1.7).
    pub(super) fn branch(&mut self) -> Bytes {
        let mut text = String::from("z9hG4bK");
        self.next(b"branch", 16, &mut text);
        Bytes::from(text)
    }

    /// 64 bits; RFC 3261 §19.3 asks for 32.
    pub(super) fn tag(&mut self) -> Bytes {
        self.fitting(b"tag", 8)
    }

    /// 128 bits. No host part: it would tell peers our topology.
    pub(super) fn call_id(&mut self) -> Bytes {
        self.fitting(b"call-id", 16)
    }

    fn fitting(&mut self, label: &[u8], bytes: usize) -> Bytes {
        for _ in 1..DRAWS_MAX {
            let drawn = self.draw(label, bytes);
            if self.fits.as_ref().is_none_or(|fits| fits(&drawn)) {
                return drawn;
            }
        }
        self.draw(label, bytes)
    }

    fn draw(&mut self, label: &[u8], bytes: usize) -> Bytes {
        let mut text = String::new();
        self.next(label, bytes, &mut text);
        Bytes::from(text)
    }

    /// The To-tag of an answer that leaves no state: the same for each repetition of a request
    /// (RFC 3261 §8.2.7).
    pub(super) fn stateless_tag(&self, request_key: &[u8]) -> Bytes {
        let mut text = String::new();
        hex(&self.digest(b"stateless", request_key), 8, &mut text);
        Bytes::from(text)
    }

    /// A number below `bound`, spread evenly enough for Retry-After.
    pub(super) fn below(&mut self, bound: u8) -> u8 {
        self.counter += 1;
        let digest = self.digest(b"below", &self.counter.to_be_bytes());
        digest.first().copied().unwrap_or(0) % bound.max(1)
    }

    /// Key of the hash tables.
    pub(super) fn table_key(&self) -> [u8; 32] {
        self.digest(b"tables", &[])
    }

    fn next(&mut self, label: &[u8], bytes: usize, text: &mut String) {
        self.counter += 1;
        hex(&self.digest(label, &self.counter.to_be_bytes()), bytes, text);
    }

    fn digest(&self, label: &[u8], input: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.seed)
            .chain_update([label.len() as u8])
            .chain_update(label)
            .chain_update(input)
            .finalize()
            .into()
    }
}

/// Names that are drawn before one is taken that does not fit: if one in sixteen does, none of so
/// many does once in 10^28 times.
const DRAWS_MAX: usize = 1_024;

fn hex(digest: &[u8; 32], bytes: usize, text: &mut String) {
    text.reserve_exact(2 * bytes);
    for byte in digest.iter().take(bytes) {
        let halves = [byte >> 4, byte & 15];
        text.extend(halves.into_iter().filter_map(|half| char::from_digit(half.into(), 16)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_repeatable_distinct_and_depend_on_the_seed() {
        let (mut a, mut b, mut c) = (Mint::new([1; 32]), Mint::new([1; 32]), Mint::new([2; 32]));
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let ids = [a.branch(), a.tag(), a.call_id()];
            assert_eq!(ids, [b.branch(), b.tag(), b.call_id()]);
            assert_ne!(ids, [c.branch(), c.tag(), c.call_id()]);
            ids.into_iter().for_each(|id| assert!(seen.insert(id)));
        }
        a.choose(Box::new(|call_id| call_id.first() == Some(&b'7')));
        assert!((0..20).all(|_| a.call_id().starts_with(b"7") && a.tag().starts_with(b"7")));
        a.choose(Box::new(|_| false));
        assert_eq!(a.call_id().len(), 32, "an end is found all the same");
        assert!(a.branch().starts_with(b"z9hG4bK"));
        assert_eq!(a.branch().len(), 7 + 32);
        assert_eq!(a.stateless_tag(b"x"), b.stateless_tag(b"x"));
        assert_ne!(a.stateless_tag(b"x"), a.stateless_tag(b"y"));
    }
}
