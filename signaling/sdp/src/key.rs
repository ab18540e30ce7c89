use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::Suite;

/// An SRTP master key and its master salt, of the length that its suite asks for.
///
/// The bytes live on the heap, so that moving a `Key` leaves no copy behind, and are wiped when it
/// is dropped. `Debug` shows the suite alone.
#[derive(Clone)]
pub struct Key {
    suite: Suite,
    bytes: Zeroizing<Box<[u8]>>,
}

impl Key {
    /// Takes the master key followed by the master salt: `key_len() + salt_len()` bytes.
    pub fn new(suite: Suite, bytes: &[u8]) -> Result<Self, KeyLengthError> {
        let wanted = suite.key_len() + suite.salt_len();
        if bytes.len() != wanted {
            return Err(KeyLengthError { suite, wanted, found: bytes.len() });
        }
        Ok(Self { suite, bytes: Zeroizing::new(Box::from(bytes)) })
    }

    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The master key, `suite.key_len()` bytes.
    pub fn key(&self) -> &[u8] {
        self.bytes.split_at_checked(self.suite.key_len()).map_or(&[], |(key, _)| key)
    }

    /// The master salt, `suite.salt_len()` bytes.
    pub fn salt(&self) -> &[u8] {
        self.bytes.split_at_checked(self.suite.key_len()).map_or(&[], |(_, salt)| salt)
    }

    /// Whether both hold the same key and salt, for whatever suites. The time taken does not depend
    /// on where two of one length differ.
    pub fn shares_secret(&self, other: &Self) -> bool {
        self.bytes.len() == other.bytes.len()
            && self.bytes.iter().zip(other.bytes.iter()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    }

    /// Key and salt in the order in which `inline:` carries them.
    pub(crate) fn material(&self) -> &[u8] {
        &self.bytes
    }
}

/// Tells whether a re-offer brought a new key. The time taken does not depend on where two keys
/// of the same suite differ.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.suite == other.suite && self.shares_secret(other)
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, redacted)", self.suite)
    }
}

/// The key material does not fit the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("key and salt for {suite} have {found} bytes, not {wanted}; give the length of the suite")]
pub struct KeyLengthError {
    pub suite: Suite,
    pub wanted: usize,
    pub found: usize,
}
