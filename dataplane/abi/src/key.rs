//! SRTP master keys on their way from signaling to a worker.
//!
//! Keys exist in command slots only. [`KeySlot`] is the shared form (raw, unchecked), [`Key`] the
//! validated one. Neither prints its bytes; [`Key`] wipes itself.

use std::fmt;

use bytemuck::{Pod, Zeroable};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// SRTP protection profile.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`, RFC 4568 §6.2.1.
    AesCm128HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`, RFC 4568 §6.2.2.
    AesCm128HmacSha1_32,
    /// `AES_256_CM_HMAC_SHA1_80`, RFC 6188 §4.
    AesCm256HmacSha1_80,
    /// `AES_256_CM_HMAC_SHA1_32`, RFC 6188 §4.
    AesCm256HmacSha1_32,
    /// `AEAD_AES_128_GCM`, RFC 7714 §14.2.
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`, RFC 7714 §14.2.
    AeadAes256Gcm,
}

impl Suite {
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
            Self::AesCm128HmacSha1_80
            | Self::AesCm128HmacSha1_32
            | Self::AesCm256HmacSha1_80
            | Self::AesCm256HmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    const fn code(self) -> u32 {
        match self {
            Self::AesCm128HmacSha1_80 => 1,
            Self::AesCm128HmacSha1_32 => 2,
            Self::AeadAes128Gcm => 3,
            Self::AeadAes256Gcm => 4,
            Self::AesCm256HmacSha1_80 => 5,
            Self::AesCm256HmacSha1_32 => 6,
        }
    }

    const fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::AesCm128HmacSha1_80),
            2 => Some(Self::AesCm128HmacSha1_32),
            3 => Some(Self::AeadAes128Gcm),
            4 => Some(Self::AeadAes256Gcm),
            5 => Some(Self::AesCm256HmacSha1_80),
            6 => Some(Self::AesCm256HmacSha1_32),
            _ => None,
        }
    }
}

/// A validated master key and salt of exactly the suite's lengths. Wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(KeySlot);

impl Key {
    /// `None` when a length is not the suite's.
    #[must_use]
    pub fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Option<Self> {
        if key.len() != suite.key_len() || salt.len() != suite.salt_len() {
            return None;
        }
        let mut slot = KeySlot { suite: suite.code(), ..KeySlot::NONE };
        slot.key.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        slot.salt.iter_mut().zip(salt).for_each(|(to, from)| *to = *from);
        Some(Self(slot))
    }

    /// The same key, named in each packet by a master key identifier of `len` octets (RFC 3711
    /// §3.1). `None` when the length is not 1 to [`MKI_MAX`] or the value does not fit it.
    #[must_use]
    pub fn with_mki(mut self, value: u32, len: u8) -> Option<Self> {
        let fits = (1..=MKI_MAX).contains(&len) && (len == MKI_MAX || value >> (8 * len) == 0);
        self.0.mki = value;
        self.0.mki_len = len;
        fits.then_some(self)
    }

    /// The master key identifier and its length in octets, if packets carry one.
    #[must_use]
    pub fn mki(&self) -> Option<(u32, u8)> {
        (self.0.mki_len > 0).then_some((self.0.mki, self.0.mki_len))
    }

    /// The protection profile.
    #[must_use]
    pub fn suite(&self) -> Suite {
        Suite::from_code(self.0.suite).unwrap_or(Suite::AesCm128HmacSha1_80)
    }

    /// The master key, [`Suite::key_len`] octets.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.0.key.get(..self.suite().key_len()).unwrap_or_default()
    }

    /// The master salt, [`Suite::salt_len`] octets.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        self.0.salt.get(..self.suite().salt_len()).unwrap_or_default()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, redacted)", self.suite())
    }
}

/// The shared form of a key, or of none. Unused octets are zero.
#[repr(C)]
#[derive(Pod, Zeroable, Copy, Clone)]
pub struct KeySlot {
    /// 0 none, 1 CM-128-80, 2 CM-128-32, 3 GCM-128, 4 GCM-256, 5 CM-256-80, 6 CM-256-32.
    pub suite: u32,
    /// Left-aligned master key.
    pub key: [u8; 32],
    /// Left-aligned master salt.
    pub salt: [u8; 14],
    /// Octets of the master key identifier; 0: packets carry none.
    pub mki_len: u8,
    /// Zero.
    pub pad: u8,
    /// The master key identifier as a number, sent in network order.
    pub mki: u32,
}

impl KeySlot {
    /// No key: the packets of this side are plain RTP.
    pub const NONE: Self =
        Self { suite: 0, key: [0; 32], salt: [0; 14], mki_len: 0, pad: 0, mki: 0 };

    /// Distinguishes "none" (`Ok(None)`) from an unknown suite or stray octets (`Err`).
    pub fn decode(&self) -> Result<Option<Key>, BadKey> {
        if *self == Self::NONE {
            return Ok(None);
        }
        let suite = Suite::from_code(self.suite).ok_or(BadKey)?;
        let (key, key_rest) = self.key.split_at_checked(suite.key_len()).ok_or(BadKey)?;
        let (salt, salt_rest) = self.salt.split_at_checked(suite.salt_len()).ok_or(BadKey)?;
        let stray = key_rest.iter().chain(salt_rest).chain([&self.pad]).any(|byte| *byte != 0);
        if stray {
            return Err(BadKey);
        }
        let bare = Key::new(suite, key, salt).ok_or(BadKey)?;
        match (self.mki_len, self.mki) {
            (0, 0) => Ok(Some(bare)),
            (len, value) => bare.with_mki(value, len).map(Some).ok_or(BadKey),
        }
    }
}

impl From<Option<&Key>> for KeySlot {
    fn from(key: Option<&Key>) -> Self {
        key.map_or(Self::NONE, |key| key.0)
    }
}

impl PartialEq for KeySlot {
    /// Takes the same time whatever the bytes are.
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (bytemuck::bytes_of(self), bytemuck::bytes_of(other));
        std::hint::black_box(a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b))) == 0
    }
}

impl Eq for KeySlot {}

impl Zeroize for KeySlot {
    fn zeroize(&mut self) {
        bytemuck::bytes_of_mut(self).zeroize();
    }
}

impl Default for KeySlot {
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Debug for KeySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySlot(suite {}, redacted)", self.suite)
    }
}

/// Longest master key identifier in octets. RFC 3711 §3.1 allows any length; trunks send one.
pub const MKI_MAX: u8 = 4;

/// The slot holds neither a key nor none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadKey;

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: [Suite; 6] = [
        Suite::AesCm128HmacSha1_80,
        Suite::AesCm128HmacSha1_32,
        Suite::AeadAes128Gcm,
        Suite::AeadAes256Gcm,
        Suite::AesCm256HmacSha1_80,
        Suite::AesCm256HmacSha1_32,
    ];

    fn sample(suite: Suite) -> Key {
        Key::new(suite, &[0xAA; 32][..suite.key_len()], &[0xBB; 14][..suite.salt_len()]).unwrap()
    }

    #[test]
    fn every_suite_survives_the_slot() {
        for suite in SUITES {
            let key = sample(suite);
            let back = KeySlot::from(Some(&key)).decode().unwrap().unwrap();
            assert_eq!(back, key);
            assert_eq!(back.suite(), suite);
            assert_eq!(back.key().len(), suite.key_len());
            assert_eq!(back.salt().len(), suite.salt_len());
        }
        assert_eq!(KeySlot::NONE.decode(), Ok(None));
    }

    #[test]
    fn a_master_key_identifier_survives_the_slot_when_it_fits_its_length() {
        for (value, len, fits) in [
            (0, 1, true),
            (255, 1, true),
            (256, 1, false),
            (u32::MAX, 4, true),
            (1, 0, false),
            (1, 5, false),
        ] {
            let key = sample(Suite::AesCm128HmacSha1_80).with_mki(value, len);
            assert_eq!(key.is_some(), fits, "{value} in {len}");
            if let Some(key) = key {
                let back = KeySlot::from(Some(&key)).decode().unwrap().unwrap();
                assert_eq!(back.mki(), Some((value, len)));
                assert_ne!(back, sample(Suite::AesCm128HmacSha1_80));
            }
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for suite in SUITES {
            for len in 0..40 {
                let key = [1; 40];
                let right = len == suite.key_len();
                let made = Key::new(suite, &key[..len], &key[..suite.salt_len()]);
                assert_eq!(made.is_some(), right, "{suite:?} key of {len}");
                let right = len == suite.salt_len();
                let made = Key::new(suite, &key[..suite.key_len()], &key[..len]);
                assert_eq!(made.is_some(), right, "{suite:?} salt of {len}");
            }
        }
    }

    #[test]
    fn stray_octets_and_unknown_suites_are_refused() {
        let good = KeySlot::from(Some(&sample(Suite::AeadAes128Gcm)));
        let mut stray_key = good;
        stray_key.key[16] = 1;
        let mut stray_salt = good;
        stray_salt.salt[12] = 1;
        let bad = [
            stray_key,
            stray_salt,
            KeySlot { pad: 1, ..good },
            KeySlot { mki: 1, ..good },
            KeySlot { mki_len: 5, ..good },
            KeySlot { mki_len: 1, mki: 256, ..good },
            KeySlot { suite: 0, ..good },
            KeySlot { suite: 7, ..good },
            KeySlot { suite: u32::MAX, ..KeySlot::NONE },
        ];
        for slot in bad {
            assert_eq!(slot.decode(), Err(BadKey), "{slot:?}");
        }
    }

    #[test]
    fn debug_prints_no_octet() {
        for suite in SUITES {
            let key = sample(suite);
            let text = format!("{key:?} {:?}", KeySlot::from(Some(&key)));
            for secret in ["170", "aa", "AA", "187", "bb", "BB"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
}
