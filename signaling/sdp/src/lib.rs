//! Session descriptions of SIP calls: the offer/answer of RFC 3264 as pure functions, with the
//! SDES keys of RFC 4568.
//!
//! A gateway joins two legs that never see each other's description. So nothing is copied from one
//! to the other: what a peer says is read into an [`Audio`], which holds only the facts that media
//! needs, and what we say is written from an [`Audio`] and our own [`Local`] data.
//!
//! ```text
//!  leg A                                                       leg B
//!  offer --parse--> Description --read_offer--> Audio --write_offer--> our offer
//!                                                                          |
//!  our answer <--write_answer-- Audio <--read_answer-- Description <--parse-- answer
//! ```
//!
//! Every function is pure: bytes, policy and key material come in, bytes or a [`Reject`] go out.
//! A panic is a bug, never bad input.

#![forbid(unsafe_code)]

mod audio;
mod codec;
mod crypto;
mod description;
mod fax;
mod format;
pub mod fuzz;
mod key;
pub mod limits;
mod policy;
mod potential;
mod profile;
mod read;
mod reject;
mod suite;
mod text;
mod write;

pub use audio::{Audio, Direction};
pub use codec::Codec;
pub use crypto::{Crypto, CryptoError, Mki};
pub use description::{Description, SdpError};
pub use fax::{Fax, read_fax_answer, read_fax_offer, write_fax_answer, write_fax_offer};
pub use format::Format;
pub use key::{Key, KeyLengthError};
pub use policy::{Events, Policy, Security};
pub use read::{read_answer, read_offer};
pub use reject::Reject;
pub use suite::Suite;
pub use write::{Local, succeed, write_answer, write_offer};
