//! Digits: heard and said, as events (RFC 4733) and as tones (ITU-T Q.23, Q.24).
//!
//! ```text
//!            heard by                   said by
//! events     events::EventDetector      events::EventSender
//! tones      tones::ToneDetector        sender::ToneSender      (on G.711 octets)
//! ```
//! A digit is told once, when it has ended, with its duration, whatever was lost or repeated on the
//! way. Everything here is a pure state machine: time is an argument, and nothing is allocated.

pub mod digit;
pub mod events;
pub mod sender;
pub mod tones;

pub use digit::{Digit, DigitCode};
pub use events::{EventDetector, EventPacket, EventSender};
pub use sender::ToneSender;
pub use tones::ToneDetector;
