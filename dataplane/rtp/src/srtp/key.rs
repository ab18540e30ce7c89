//! Suites and master keys.

use core::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A protection profile as SDP's `a=crypto` names it (RFC 4568 §6.2, RFC 6188 §4, RFC 7714 §14.1).
/// Each encrypts and authenticates both SRTP and SRTCP: the session parameters `UNENCRYPTED_SRTP`,
/// `UNENCRYPTED_SRTCP` and `UNAUTHENTICATED_SRTP` (RFC 4568 §6.3) cannot be said in this type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`.
    AesCm128HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`: the short tag is for RTP alone.
    AesCm128HmacSha1_32,
    /// `AES_256_CM_HMAC_SHA1_80`.
    AesCm256HmacSha1_80,
    /// `AES_256_CM_HMAC_SHA1_32`: the short tag is for RTP alone.
    AesCm256HmacSha1_32,
    /// `AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`.
    AeadAes256Gcm,
}

impl Suite {
    /// All suites, in the order of this enum.
    pub const ALL: [Self; 6] = [
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
        Self::AesCm256HmacSha1_80,
        Self::AesCm256HmacSha1_32,
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
    ];

    /// Most octets that any suite adds to a packet: a GCM tag, the SRTCP index word and an MKI. A
    /// buffer with this much room after a packet never yields `NoRoom`.
    pub const OVERHEAD_MAX: usize = 16 + ESRTCP_WORD + MKI_MAX;

    /// Octets of the master key.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AesCm256HmacSha1_80 | Self::AesCm256HmacSha1_32 | Self::AeadAes256Gcm => 32,
        }
    }

    /// Octets of the master salt.
    #[must_use]
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            _ => 14,
        }
    }

    /// Octets of the authentication tag of an SRTP packet.
    #[must_use]
    pub const fn rtp_tag_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm256HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 | Self::AesCm256HmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Octets of the authentication tag of an SRTCP packet: 80 bits for the `_32` suite too
    /// (RFC 4568 §6.2.2, RFC 6188 §4), and the 4-octet index word is not counted here.
    #[must_use]
    pub const fn rtcp_tag_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            _ => 10,
        }
    }
}

/// A master key identifier: a number of 1 to 4 octets that is sent in each packet and says which
/// master key protects it (RFC 3711 §3.1, RFC 4568 §6.1). It is neither secret nor authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mki {
    /// Big endian, the number's lowest octet at `len - 1`, zeros behind it.
    octets: [u8; MKI_MAX],
    len: u8,
}

impl Mki {
    /// A key without an identifier: adds nothing to a packet, and any packet has it.
    pub(super) const NONE: Self = Self { octets: [0; MKI_MAX], len: 0 };

    /// `value` written in `len` octets, big endian. `None` when `len` is not 1 to 4 or `value` does
    /// not fit. RFC 4568 §6.1 allows up to 128 octets; nobody offers them.
    #[must_use]
    pub const fn new(value: u32, len: u8) -> Option<Self> {
        if len == 0 || len as usize > MKI_MAX {
            return None;
        }
        let unused = 32 - 8 * len as u32;
        if value.leading_zeros() < unused {
            return None;
        }
        Some(Self { octets: (value << unused).to_be_bytes(), len })
    }

    /// The number.
    #[must_use]
    pub fn value(&self) -> u32 {
        self.octets().iter().fold(0, |value, octet| (value << 8) | u32::from(*octet))
    }

    /// Octets that it takes in a packet, 1 to 4.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an identifier has octets")]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// As it stands in a packet.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.len()).unwrap_or_default()
    }
}

/// A master key and its salt for one suite and one direction. It is wiped when dropped, compares in
/// constant time, and has neither `Debug` nor `Clone` by intent.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    suite: Suite,
    #[zeroize(skip)]
    mki: Mki,
    key: [u8; KEY_MAX],
    salt: [u8; SALT_MAX],
}

impl MasterKey {
    /// Copies `key` and `salt`; wiping the originals stays with the caller.
    ///
    /// # Errors
    /// [`KeyError`] when a length is not the suite's; it tells lengths and no octet of the key.
    pub fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        let (key_room, salt_room) = ([0; KEY_MAX], [0; SALT_MAX]);
        let mut master = Self { suite, mki: Mki::NONE, key: key_room, salt: salt_room };
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

    /// The same key with an identifier: what is protected with it carries `mki`, and nothing else
    /// is unprotected with it.
    #[must_use]
    pub fn with_mki(mut self, mki: Mki) -> Self {
        self.mki = mki;
        self
    }

    /// The key's identifier.
    #[must_use]
    pub fn mki(&self) -> Option<Mki> {
        (self.mki != Mki::NONE).then_some(self.mki)
    }

    /// Whether key and salt are those of `other`, in constant time, whatever suite and MKI are. A
    /// sender that goes from one to the other must keep its indices (`Protect::rekey`): suites that
    /// differ in their tag alone have one key stream.
    #[must_use]
    pub fn shares_secret(&self, other: &Self) -> bool {
        (self.key.ct_eq(&other.key) & self.salt.ct_eq(&other.salt)).into()
    }

    /// The suite that the key is for.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The identifier as it goes into packets, [`Mki::NONE`] without one.
    pub(super) fn mki_or_none(&self) -> Mki {
        self.mki
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
    /// Constant time in key and salt; suite and MKI are no secret.
    fn eq(&self, other: &Self) -> bool {
        let same = self.shares_secret(other);
        self.suite == other.suite && self.mki == other.mki && same
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
/// Octets of the longest MKI that we speak: what implementations of SDES offer, as a `u32`.
const MKI_MAX: usize = 4;
const KEY_MAX: usize = 32;
const SALT_MAX: usize = 14;
