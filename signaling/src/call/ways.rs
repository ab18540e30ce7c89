//! What the data plane is told of a call: one configuration for each way, made of what both sides
//! agreed to.
//!
//! A side is sent what it numbers itself (RFC 3264 §5.1, §6.1): its own payload types, at the
//! address that it named, under our key for it. Our offer to the side that answers repeats the
//! numbers of the side that offered. So both sides send in the offer's numbers, and only where the
//! answer has others are they changed on the way.

use std::time::Duration;

use abi::{Codec, FlowId, Format, PayloadMap, TelephoneEvent, Update};

use super::negotiate::{Agreed, Unusable};

/// When a way without media is reported. None is never.
#[derive(Clone, Copy, Default, Debug)]
pub struct Timeouts {
    /// For a way that should carry media.
    pub rtp: Option<Duration>,
    /// For a way on hold.
    pub hold: Option<Duration>,
}

impl Timeouts {
    /// Of a way, in milliseconds; 0 is never.
    fn of(&self, is_held: bool) -> u32 {
        let timeout = if is_held { self.hold } else { self.rtp };
        timeout.map_or(0, |timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX))
    }
}

/// From caller to callee, and back.
///
/// # Errors
/// [`Unusable::Renumbered`] when the answer numbers more formats anew than a flow can change.
pub fn ways(near: &Agreed, far: &Agreed, timeouts: Timeouts) -> Result<[Update; 2], Unusable> {
    let formats = Formats::of(near, far)?;
    let way = |from: &Agreed, to: &Agreed| {
        let (audio, other) = (&from.audio, &to.audio);
        let is_held = !(audio.direction.sends() && other.direction.receives());
        Update {
            timeout_ms: timeouts.of(is_held),
            rtcp_mux_in: audio.rtcp_mux,
            rtcp_mux_out: other.rtcp_mux,
            relay: !is_held && (to.place.rtp.is_some() || to.place.is_awaited),
            source_rtp: from.place.rtp,
            source_rtcp: from.place.rtcp,
            destination_rtp: to.place.rtp,
            destination_rtcp: to.place.rtcp,
            unprotect: from.receive.clone(),
            protect: to.send.clone(),
            await_destination: to.place.is_awaited,
            received: formats.voice(true, audio.ptime),
            sent: formats.voice(to.offered, other.ptime),
            events_received: formats.event(true),
            events_sent: formats.event(to.offered),
            payloads: formats.map(to.offered),
            learning: from.place.learning,
            ..Update::new(0, FlowId::NONE)
        }
    };
    Ok([way(near, far), way(far, near)])
}

/// Whether digits can pass as telephone events (RFC 4733).
pub fn has_events(way: &Update) -> bool {
    way.events_received.is_some()
}

/// The formats that both sides agreed to.
struct Formats {
    /// Each as the offer numbers it and as the answer does; the preferred one first.
    pairs: Vec<(sdp::Format, sdp::Format)>,
    to_answerer: PayloadMap,
    to_offerer: PayloadMap,
}

impl Formats {
    fn of(near: &Agreed, far: &Agreed) -> Result<Self, Unusable> {
        let (offer, answer) = if near.offered { (near, far) } else { (far, near) };
        let agreed = offer.audio.agreed(&answer.audio).into_iter();
        let pairs: Vec<_> = agreed.map(|(o, a)| (o.clone(), a.clone())).collect();
        let numbers = pairs.iter().map(|(o, a)| (o.payload_type, a.payload_type));
        let told = |number: u8| pairs.iter().any(|(o, _)| o.payload_type == number);
        // A peer should send in the offer's numbers, but many send in those of their own answer.
        // They are understood where they mean nothing else.
        let back = numbers.clone().filter(|(_, own)| !told(*own)).map(|(o, own)| (own, o));
        let to_answerer = PayloadMap::new(numbers.clone()).ok_or(Unusable::Renumbered)?;
        let to_offerer = PayloadMap::new(back).ok_or(Unusable::Renumbered)?;
        Ok(Self { pairs, to_answerer, to_offerer })
    }

    /// The preferred codec as a side numbers it.
    fn voice(&self, offered: bool, ptime: Option<u32>) -> Option<Format> {
        let (theirs, own) = self.pairs.iter().find(|(o, _)| !o.is_companion())?;
        let format = if offered { theirs } else { own };
        let ptime = ptime.unwrap_or(PTIME_MS_DEFAULT).min(u32::from(abi::format::PTIME_MS_MAX));
        let codec = known(format.codec()?)?;
        let (payload_type, rate_hz) = (format.payload_type, format.clock);
        let rate = (1..=abi::format::RATE_HZ_MAX).contains(&rate_hz);
        rate.then_some(Format { codec, payload_type, rate_hz, ptime_ms: u8::try_from(ptime).ok()? })
    }

    /// Digits beside the preferred codec: those of its clock rate, else any.
    fn event(&self, offered: bool) -> Option<TelephoneEvent> {
        let rate = self.pairs.iter().find(|(o, _)| !o.is_companion()).map(|(o, _)| o.clock);
        let events = || self.pairs.iter().filter(|(o, _)| o.is_event());
        let found = events().find(|(o, _)| Some(o.clock) == rate).or_else(|| events().next());
        let (theirs, own) = found?;
        let format = if offered { theirs } else { own };
        let (payload_type, rate_hz) = (format.payload_type, format.clock);
        let rate = (1..=abi::format::RATE_HZ_MAX).contains(&rate_hz);
        rate.then_some(TelephoneEvent { payload_type, rate_hz })
    }

    /// What changes on the way to a side.
    fn map(&self, offered: bool) -> PayloadMap {
        if offered { self.to_offerer } else { self.to_answerer }
    }
}

/// The codec as the data plane names it.
fn known(codec: sdp::Codec) -> Option<Codec> {
    Some(match codec {
        sdp::Codec::Pcmu => Codec::Pcmu,
        sdp::Codec::Pcma => Codec::Pcma,
        sdp::Codec::G722 => Codec::G722,
        sdp::Codec::G729 => Codec::G729,
        sdp::Codec::Gsm => Codec::Gsm,
        sdp::Codec::Ilbc => Codec::Ilbc,
        sdp::Codec::Amr => Codec::Amr,
        sdp::Codec::AmrWb => Codec::AmrWb,
        sdp::Codec::Opus => Codec::Opus,
        sdp::Codec::T38 => return None,
    })
}

/// Packet time where nobody says any (RFC 3551 §4.2).
const PTIME_MS_DEFAULT: u32 = 20;
