//! Recordings, encoded once for every codec in which we speak.
//!
//! ```text
//! WAV (16 bit, mono, 8 or 16 kHz) -> samples -> 8 kHz  -> PCMU, PCMA
//!                                       |    -> 16 kHz -> G.722
//! ```
//! A crate of its own because both processes need it: the data plane for its prompts, signaling for the
//! greetings that are uploaded. Pure: bytes in, octets out.
#![forbid(unsafe_code)]

mod encode;
pub mod g711;
mod resample;
mod wav;

use std::sync::Arc;

pub use encode::encode;
use g711::Law;
pub use wav::{Samples, WavFault, read};

/// A codec that we can speak. Each has 8 octets per millisecond and an RTP clock of 8000 Hz: G.722 by
/// an old mistake (RFC 3551 §4.5.2). So a packet of any length is a slice, and saying it costs a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    Pcmu,
    Pcma,
    G722,
}

impl Codec {
    pub const ALL: [Codec; 3] = [Codec::Pcmu, Codec::Pcma, Codec::G722];

    /// Static payload type (RFC 3551 §6).
    pub const fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
            Codec::G722 => 9,
        }
    }

    /// The companding law, where tones can be said and heard.
    pub const fn law(self) -> Option<Law> {
        match self {
            Codec::Pcmu => Some(Law::Mu),
            Codec::Pcma => Some(Law::A),
            Codec::G722 => None,
        }
    }
}

/// The octets of a recording in the order of [`Codec::ALL`], all of the same length: whole packets of
/// 10 ms, then [`TAIL`] octets of silence.
pub type Octets = [Arc<[u8]>; 3];

/// Octets of every codec here.
pub const OCTETS_PER_MS: usize = 8;
/// Silence behind each recording, so that its last packet is as long as the others: 60 ms.
pub const TAIL: usize = 480;
