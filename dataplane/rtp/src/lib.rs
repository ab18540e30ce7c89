//! RTP, RTCP and SRTP: packet views and in-place transforms.
//!
//! A packet enters as bytes and is told apart by [`demux::classify`]. [`srtp::Unprotect`] turns
//! bytes into an [`srtp::Authentic`] packet, [`packet::RtpPacket`] and [`rtcp::RtcpCompound`] read
//! plain ones, [`srtp::Protect`] writes protected ones into the same buffer.
//!
//! The crate has no `std` outside its tests, and so no clock, socket or lock: a caller brings every
//! buffer, and every answer depends on the arguments and the context alone. `alloc` serves one
//! purpose: a new SRTP context puts what packets seldom need into boxes.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod demux;
pub mod packet;
pub mod rtcp;
pub mod srtp;
