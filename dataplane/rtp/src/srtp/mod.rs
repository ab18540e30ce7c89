//! SRTP and SRTCP in place (RFC 3711, RFC 4568 §6.2, RFC 6188, RFC 7714).
//!
//! ```text
//! MasterKey --kdf--> Transform (RTP keys) + Transform (RTCP keys)      expanded once per context
//!
//! Protect     header -> index estimate -> window.check -> encrypt, tag -> window.commit
//! Unprotect   header -> index estimate -> window.check -> verify, decrypt -> window.commit
//! ```
//!
//! Keys are shared by a context, indices and replay windows are kept per SSRC. An SSRC gets its
//! place only from a packet that was authenticated (or that we protected ourselves), so nobody
//! without the key can change any state. [`Protect`] and [`Unprotect`] are different types, and
//! only `Unprotect` makes an [`Authentic`] packet.
//!
//! What every RTP packet reads of a context lies inline and together: the first source's indices,
//! then the SRTP keys. SRTCP keys and further sources are boxed when the context is made; see
//! `context_sizes` in the tests for the octets.

mod aes_cm;
mod aes_gcm;
mod hmac_sha1;
pub mod index;
mod kdf;
mod key;
mod narrow;
mod protect;
pub mod replay;
mod ssrcs;
mod transform;
mod unprotect;

pub use key::{KeyError, MasterKey, Mki, Suite};
pub use protect::{Protect, ProtectError};
pub use unprotect::{Authentic, Unprotect, UnprotectError};

/// SSRCs that one context keeps state for; a packet of one more is refused as `SsrcLimit`. A leg
/// has one media source at a time, and a new master key starts a new context: eight leave room
/// for transfers and forks that keep the key, and bound what a peer with the key can make us hold.
pub const SSRC_MAX: usize = 8;

/// Longest packet in octets that is protected or unprotected, tag included: what a UDP length field
/// can say. It keeps AES-CM far below 2^16 blocks, where its block counter would run into
/// the next packet's key stream (RFC 3711 §4.1.1).
pub const PACKET_MAX: usize = 65_535;

#[cfg(test)]
mod tests;
