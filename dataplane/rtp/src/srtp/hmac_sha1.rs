//! HMAC-SHA1 with its two hashed pads kept, so that no key is hashed per packet (RFC 2104 §4).

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// A keyed mid-state; it is wiped when dropped.
pub(super) struct HmacSha1(Hmac<Sha1>);

impl HmacSha1 {
    pub(super) fn new(key: &[u8; 20]) -> Self {
        let mut block = [0; 64];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte = *key;
        }
        let keyed = Hmac::new(&block.into());
        zeroize::Zeroize::zeroize(&mut block);
        Self(keyed)
    }

    /// The full tag over `message` followed by `trailer`.
    pub(super) fn tag(&self, message: &[u8], trailer: [u8; 4]) -> [u8; 20] {
        let mut mac = self.0.clone();
        mac.update(message);
        mac.update(&trailer);
        mac.finalize().into_bytes().into()
    }
}
