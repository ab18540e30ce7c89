//! Suites and master keys.

use core::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A protection profile as SDP's `a=crypto` names it (RFC 4568 §6.2, RFC 7714 §14.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`.
    AesCm128HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`: the short tag is for RTP alone.
    AesCm128HmacSha1_32,
    /// `AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`.
    AeadAes256Gcm,
}

impl Suite {
    /// All suites, in the order of this enum.
    pub const ALL: [Self; 4] = [
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
    ];

    /// Most octets that any suite adds to a packet: a GCM tag and the SRTCP index word. A buffer
    /// with this much room after a packet never yields `NoRoom`.
    pub const OVERHEAD_MAX: usize = 16 + ESRTCP_WORD;

    /// Octets of the master key.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Octets of the master salt.
    #[must_use]
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Octets of the authentication tag of an SRTP packet.
    #[must_use]
    pub const fn rtp_tag_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Octets of the authentication tag of an SRTCP packet: 80 bits for the `_32` suite too
    /// (RFC 4568 §6.2.2), and the 4-octet index word is not counted here.
    #[must_use]
    pub const fn rtcp_tag_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }
}

/// A master key and its salt for one suite and one direction. It is wiped when dropped, compares in
/// constant time, and has neither `Debug` nor `Clone` by intent.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    suite: Suite,
    key: [u8; KEY_MAX],
    salt: [u8; SALT_MAX],
}

impl MasterKey {
    /// Copies `key` and `salt`; wiping the originals stays with the caller.
    ///
    /// # Errors
    /// [`KeyError`] when a length is not the suite's; it tells lengths and no octet of the key.
    pub fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        let mut master = Self { suite, key: [0; KEY_MAX], salt: [0; SALT_MAX] };
        let (key_len, salt_len) = (suite.key_len(), suite.salt_len());
        match master.key.get_mut(..key_len) {
            Some(place) if key.len() == key_len => place.copy_from_slice(key),
            _ => return Err(KeyError::KeyLength { suite, expected: key_len, found: key.len() }),
        }
        match master.salt.get_mut(..salt_len) {
            Some(place) if salt.len() == salt_len => place.copy_from_slice(salt),
            _ => return Err(KeyError::SaltLength { suite, expected: salt_len, found: salt.len() }),
        }
        Ok(master)
    }

    /// The suite that the key is for.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The first 16 octets of the key.
    pub(super) fn key_128(&self) -> &[u8; 16] {
        let [half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = &self.key;
        half
    }

    /// All 32 octets; the last 16 are 0 in a suite with a 128-bit key.
    pub(super) fn key_256(&self) -> &[u8; KEY_MAX] {
        &self.key
    }

    /// The salt as the key derivation wants it: 112 bits, a shorter salt filled with zeros on the
    /// right (RFC 7714 §11).
    pub(super) fn salt_112(&self) -> &[u8; SALT_MAX] {
        &self.salt
    }
}

impl PartialEq for MasterKey {
    /// Constant time in key and salt; the suite is no secret.
    fn eq(&self, other: &Self) -> bool {
        let same = self.key.ct_eq(&other.key) & self.salt.ct_eq(&other.salt);
        self.suite == other.suite && bool::from(same)
    }
}

impl Eq for MasterKey {}

/// Why octets are no master key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// The key has the wrong length.
    KeyLength {
        /// The suite asked for.
        suite: Suite,
        /// Octets that the suite wants.
        expected: usize,
        /// Octets given.
        found: usize,
    },
    /// The salt has the wrong length.
    SaltLength {
        /// The suite asked for.
        suite: Suite,
        /// Octets that the suite wants.
        expected: usize,
        /// Octets given.
        found: usize,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, suite, expected, found) = match self {
            Self::KeyLength { suite, expected, found } => ("key", suite, expected, found),
            Self::SaltLength { suite, expected, found } => ("salt", suite, expected, found),
        };
        write!(
            f,
            "SRTP master {part} for {suite:?} has {found} octets instead of {expected}: \
             send {} octets, key then salt",
            suite.key_len() + suite.salt_len(),
        )
    }
}

impl core::error::Error for KeyError {}

/// The E flag and the 31-bit index at the end of an SRTCP packet (RFC 3711 §3.4).
pub(super) const ESRTCP_WORD: usize = 4;
const KEY_MAX: usize = 32;
const SALT_MAX: usize = 14;
