//! Secrets at rest: AES-256-GCM under a key that is not in the database.
//!
//! ```text
//!   sealed = key number (4 bytes, big endian) | nonce (12) | ciphertext | tag (16)
//!   associated data = "trunkline/1" | kind | id | field
//! ```
//! The associated data ties a sealed value to its place: a value moved to another trunk does not
//! open. Nonces are random; at 96 bits, 2^32 seals under one key stay far from a repetition
//! (NIST SP 800-38D §8.3), and a rotation starts anew.

use std::collections::BTreeMap;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::{Zeroize, Zeroizing};

use crate::secret::Secret;

/// Bytes of a key.
pub const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const NUMBER_LEN: usize = 4;

/// A key as it stands in the key file.
pub type RawKey = Secret<[u8; KEY_LEN]>;

/// Sealing keys by number; the highest number seals, all of them open.
#[derive(Clone)]
pub struct Keys(BTreeMap<u32, RawKey>);

/// Where a sealed value belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// The object's kind.
    pub kind: &'a str,
    /// Its id.
    pub id: u32,
    /// The field.
    pub field: &'a str,
}

/// Why a sealed value does not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// The key with this number is not in the key file.
    #[error("it was sealed under key {0}, which the key file does not hold")]
    NoKey(u32),
    /// The bytes are not what was sealed at this place under this key.
    #[error("it is not what was sealed here")]
    Forged,
    /// The kernel gives no random bytes.
    #[error("the kernel gives no random bytes")]
    Entropy,
}

impl Keys {
    /// A set of keys; `None` when there is none.
    pub fn new(keys: BTreeMap<u32, RawKey>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// A new random key.
    ///
    /// # Errors
    /// [`SealError::Entropy`]
    pub fn draw() -> Result<RawKey, SealError> {
        let mut key = [0; KEY_LEN];
        getrandom::fill(&mut key).map_err(|_| SealError::Entropy)?;
        let kept = Secret::new(key);
        key.zeroize();
        Ok(kept)
    }

    /// These keys and a new one, which seals from now on.
    ///
    /// # Errors
    /// [`SealError::Entropy`]
    pub fn with_new(&self) -> Result<Self, SealError> {
        let mut keys = self.0.clone();
        keys.insert(self.active() + 1, Self::draw()?);
        Ok(Self(keys))
    }

    /// Only the key that seals.
    pub fn only_active(&self) -> Self {
        Self(
            self.0
                .last_key_value()
                .map(|(number, key)| (*number, key.clone()))
                .into_iter()
                .collect(),
        )
    }

    /// The number of the key that seals.
    pub fn active(&self) -> u32 {
        self.0.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// All keys with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &RawKey)> {
        self.0.iter().map(|(number, key)| (*number, key))
    }

    /// Seals `secret` for `place`.
    ///
    /// # Errors
    /// [`SealError::Entropy`]
    pub fn seal(&self, place: Place<'_>, secret: &str) -> Result<Vec<u8>, SealError> {
        let (number, key) = self.0.last_key_value().ok_or(SealError::NoKey(0))?;
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Entropy)?;
        let mut text = Zeroizing::new(secret.as_bytes().to_vec());
        let tag = Aes256Gcm::new(key.expose().into())
            .encrypt_inout_detached(
                &Nonce::from(nonce),
                &place.associated(),
                text.as_mut_slice().into(),
            )
            .map_err(|_| SealError::Forged)?;
        let mut sealed = Vec::with_capacity(NUMBER_LEN + NONCE_LEN + text.len() + TAG_LEN);
        sealed.extend(number.to_be_bytes());
        sealed.extend(nonce);
        sealed.extend(text.iter());
        sealed.extend(tag);
        Ok(sealed)
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// [`SealError`]
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Secret<String>, SealError> {
        let (number, rest) = sealed.split_first_chunk().ok_or(SealError::Forged)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Forged)?;
        let (text, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(SealError::Forged)?;
        let number = u32::from_be_bytes(*number);
        let key = self.0.get(&number).ok_or(SealError::NoKey(number))?;
        let mut text = Zeroizing::new(text.to_vec());
        Aes256Gcm::new(key.expose().into())
            .decrypt_inout_detached(
                &Nonce::from(*nonce),
                &place.associated(),
                text.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| SealError::Forged)?;
        let text = std::str::from_utf8(&text).map_err(|_| SealError::Forged)?;
        Ok(Secret::new(text.to_owned()))
    }
}

impl Place<'_> {
    fn associated(&self) -> Vec<u8> {
        format!("trunkline/1|{}|{}|{}", self.kind, self.id, self.field).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { kind: "trunk", id: 7, field: "password" };

    fn keys() -> Keys {
        Keys::new([(1, Keys::draw().unwrap())].into()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_only_at_its_place_and_unchanged() {
        let keys = keys();
        let sealed = keys.seal(PLACE, "canary").unwrap();
        assert_eq!(keys.open(PLACE, &sealed).unwrap().expose(), "canary");
        assert!(!sealed.windows(6).any(|part| part == b"canary"));
        for other in [Place { id: 8, ..PLACE }, Place { field: "inbound_password", ..PLACE }] {
            assert_eq!(keys.open(other, &sealed).unwrap_err(), SealError::Forged);
        }
        for at in NUMBER_LEN..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(keys.open(PLACE, &altered).unwrap_err(), SealError::Forged, "byte {at}");
        }
        for length in 0..sealed.len() {
            assert!(keys.open(PLACE, &sealed[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens_until_it_is_dropped() {
        let old = keys();
        let sealed = old.seal(PLACE, "a").unwrap();
        let both = old.with_new().unwrap();
        assert_eq!(both.open(PLACE, &sealed).unwrap().expose(), "a");
        let again = both.seal(PLACE, "a").unwrap();
        let new = both.only_active();
        assert_eq!(new.open(PLACE, &again).unwrap().expose(), "a");
        assert_eq!(new.open(PLACE, &sealed).unwrap_err(), SealError::NoKey(1));
    }

    #[test]
    fn two_seals_of_one_secret_differ() {
        let keys = keys();
        assert_ne!(keys.seal(PLACE, "a").unwrap(), keys.seal(PLACE, "a").unwrap());
    }
}
