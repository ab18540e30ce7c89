//! How we behave toward a trunk: what its peers want beside what they can.

use std::time::Duration;

use super::hold::HoldStyle;
use super::refer::ReferPolicy;
use crate::media::Place;

/// Fields of a trunk that say so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manner {
    /// How often its way is kept open (`keepalive`); `None` when off.
    pub keepalive: Option<Duration>,
    /// How long media toward it may be silent before a packet keeps its way open (RFC 6263); `None`
    /// when off.
    pub rtp_keepalive: Option<Duration>,
    /// Differentiated services code point of SIP to it (RFC 2474); `None`: class selector 3.
    pub signalling_dscp: Option<u8>,
    /// Where its media is.
    pub media_place: Place,
    /// It is made an offer of ours where the caller made none (`offer_mode`).
    pub forces_offer: bool,
    /// How it is told that the other side holds.
    pub hold_style: HoldStyle,
    /// Its SUBSCRIBEs are relayed (`create_subscriptions`).
    pub subscriptions: bool,
    /// UPDATE (RFC 3311) is sent to it and taken from it.
    pub update: bool,
    /// What becomes of its REFER (RFC 3515).
    pub refer: ReferPolicy,
}
