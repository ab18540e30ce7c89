//! The hash algorithms of a challenge (RFC 7616 §3.3, RFC 8760 §2.1).

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};
use zeroize::Zeroizing;

/// Weakest first: the order is the client's order of choice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hash {
    Md5,
    Sha256,
    Sha512T256,
}

/// A hash, and whether the secret is bound to the nonces (`-sess`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Algorithm {
    pub hash: Hash,
    pub sess: bool,
}

impl Algorithm {
    pub const MD5: Self = Self { hash: Hash::Md5, sess: false };
    pub const SHA_256: Self = Self { hash: Hash::Sha256, sess: false };

    /// `None` for a name that is not spoken here; such a challenge must be passed over.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        ALL.iter().find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes())).map(|(_, a)| *a)
    }

    pub fn name(self) -> &'static str {
        ALL.iter().find(|(_, a)| *a == self).map_or("MD5", |(text, _)| text)
    }
}

impl Hash {
    /// The hash of the parts joined by colons, in lower-case hexadecimal.
    pub fn hex(self, parts: &[&[u8]]) -> Zeroizing<String> {
        match self {
            Self::Md5 => joined::<Md5>(parts),
            Self::Sha256 => joined::<Sha256>(parts),
            Self::Sha512T256 => joined::<Sha512_256>(parts),
        }
    }
}

fn joined<D: Digest>(parts: &[&[u8]]) -> Zeroizing<String> {
    let mut hash = D::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    Zeroizing::new(hex(&hash.finalize()))
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .filter_map(|d| char::from_digit(d.into(), 16))
        .collect()
}

const ALL: [(&str, Algorithm); 6] = [
    ("MD5", Algorithm::MD5),
    ("MD5-sess", Algorithm { hash: Hash::Md5, sess: true }),
    ("SHA-256", Algorithm::SHA_256),
    ("SHA-256-sess", Algorithm { hash: Hash::Sha256, sess: true }),
    ("SHA-512-256", Algorithm { hash: Hash::Sha512T256, sess: false }),
    ("SHA-512-256-sess", Algorithm { hash: Hash::Sha512T256, sess: true }),
];
