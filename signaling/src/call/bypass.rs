//! `direct_media`: media goes from peer to peer, and our descriptions name the other peer's address.
//!
//! Only where nothing needs us in the middle; whatever does is noted in the CDR, and media is anchored
//! as it is otherwise. The ports of a call that is bypassed stay leased: the next callee of a hunt
//! may need them. Early media does not pass by us (a second callee could not take its place), so
//! callers hear their own ringing.

use std::net::SocketAddr;

use sdp::{Audio, Security};

use super::common::Leg;
use super::hunting::Hunting;
use super::negotiate::Ports;
use super::{Common, Desk};
use crate::trunk::nat::Nat;
use crate::trunk::tones::AudioTones;
use crate::trunk::{DirectMedia, Trunk};

/// Whether the call's media may pass by us.
///
/// # Errors
/// What needs us in the middle; `None` where nobody wants it otherwise.
pub fn decide(
    hunting: &Hunting,
    common: &Common,
    desk: &Desk<'_>,
) -> Result<(), Option<&'static str>> {
    let [caller, callee] = [common.caller.trunk, common.callee.trunk].map(|id| desk.trunks.get(id));
    let (Some(caller), Some(callee)) = (caller, callee) else { return Err(None) };
    match [caller, callee].map(|trunk| trunk.direct_media == DirectMedia::No) {
        [true, true] => return Err(None),
        [false, false] => {}
        _ => return Err(Some("media is anchored: only one of both trunks has direct_media")),
    }
    if hunting.near.is_some() {
        return Err(Some("media is anchored: the caller has an answer of ours already"));
    }
    for (trunk, leg) in [(caller, &common.caller), (callee, &common.callee)] {
        check(trunk, leg).map_err(Some)?;
    }
    if common.caller.digits != common.callee.digits {
        return Err(Some("media is anchored: digits are converted"));
    }
    let Some((_, audio)) = &hunting.asked.offer else {
        return Err(Some("media is anchored: the caller made no offer"));
    };
    let ip = audio.rtp.ip().to_canonical();
    if common.caller.vantage.place(audio.rtp, audio.rtcp).rtp.is_none()
        || ip.is_ipv4() != common.callee.hop.remote.ip().to_canonical().is_ipv4()
    {
        return Err(Some("media is anchored: the callee cannot reach the caller's address"));
    }
    if caller.direct_media == DirectMedia::NoNat && ip != common.caller.hop.remote.ip() {
        return Err(Some("media is anchored: the caller's media is not where it signals from"));
    }
    Ok(())
}

fn check(trunk: &Trunk, leg: &Leg) -> Result<(), &'static str> {
    if trunk.nat != Nat::No {
        return Err("media is anchored: a trunk has nat");
    }
    if trunk.audio_tones != AudioTones::None {
        return Err("media is anchored: a trunk has audio_tones");
    }
    if leg.policy.security != Security::Plain {
        return Err("media is anchored: a trunk has secure_rtp");
    }
    if leg.external.is_some() {
        return Err("media is anchored: a trunk has sip_alg");
    }
    // The other side may have no multiplexing, and would look for RTCP elsewhere.
    if leg.policy.rtcp_mux {
        return Err("media is anchored: a trunk has rtcp_mux");
    }
    Ok(())
}

/// Where a peer's media is, as the other one is told.
pub fn ports(audio: &Audio) -> Ports {
    Ports { address: audio.rtp.ip(), rtp: audio.rtp.port(), rtcp: audio.rtcp.port() }
}

/// What a side of a bypassed call is told of the other one's media; `None` where media is anchored.
pub fn told(common: &Common, other: &Audio) -> Option<Ports> {
    common.is_bypassed.then(|| ports(other))
}

/// Whether a side of a bypassed call moved its media.
pub fn has_moved(common: &Common, leg: &Leg, audio: &Audio) -> bool {
    let at = |audio: &Audio| -> [SocketAddr; 2] { [audio.rtp, audio.rtcp] };
    let before = leg.standing.as_ref().map(|standing| at(&standing.audio));
    common.is_bypassed && before != Some(at(audio))
}

/// Says in the CDR that media passed by us.
pub const BYPASSED: &str = "media goes from peer to peer (direct_media)";
