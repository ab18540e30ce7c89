//! What the data plane is told of a call: one configuration for each way, made of what both sides
//! agreed to.
//!
//! A side is sent what it numbers itself (RFC 3264 §5.1, §6.1): its own payload types, at the
//! address that it named, under our key for it. It sends under the numbers of our description for
//! it, which are those of its own offer where it made one, and else those of the other side's. So
//! numbers are changed on the way only where an answer, or a later offer of the other side, has
//! others.

use std::time::Duration;

use abi::{Codec, FlowId, Format, Keepalive, PayloadMap, TelephoneEvent, Update};

use super::negotiate::{Agreed, Unusable};
use super::{dtmf, fax};
use crate::trunk::Trunk;
use crate::trunk::digits::DigitRules;

/// When a way without media is reported. None is never.
#[derive(Clone, Copy, Default, Debug)]
pub struct Timeouts {
    /// For a way that should carry media.
    pub rtp: Option<Duration>,
    /// For a way on hold.
    pub hold: Option<Duration>,
}

impl Timeouts {
    /// Of a call between two trunks: the shorter one of both counts.
    pub fn between(a: &Trunk, b: &Trunk) -> Self {
        let shorter = |a: Option<Duration>, b: Option<Duration>| a.into_iter().chain(b).min();
        Self {
            rtp: shorter(a.rtp_timeout, b.rtp_timeout),
            hold: shorter(a.hold_timeout, b.hold_timeout),
        }
    }

    /// Of a way, in milliseconds; 0 is never.
    pub(super) fn of(&self, is_held: bool) -> u32 {
        let timeout = if is_held { self.hold } else { self.rtp };
        timeout.map_or(0, |timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX))
    }
}

/// What is sent to a side while there is nothing else for it: of a payload type that neither
/// description names (RFC 6263 §4.6).
pub fn keepalive(pause: Option<Duration>, to: &Agreed) -> Option<Keepalive> {
    let interval_ms = u32::try_from(pause?.as_millis()).ok()?;
    let named = to.audio.formats.iter().chain(&to.said.formats);
    let is_free = |number: &u8| named.clone().all(|format| format.payload_type != *number);
    let payload_type = DYNAMIC_TYPES.rev().find(is_free)?;
    Some(Keepalive { interval_ms, payload_type })
}

/// From caller to callee, and back.
///
/// # Errors
/// [`Unusable::Renumbered`] when the answer numbers more formats anew than a flow can change,
/// [`Unusable::Declined`] when one has audio and the other fax.
pub fn ways(
    [near, far]: [&Agreed; 2],
    [caller, callee]: [&DigitRules; 2],
    timeouts: Timeouts,
) -> Result<[Update; 2], Unusable> {
    match (&near.fax, &far.fax) {
        (None, None) => {}
        (Some(_), Some(_)) => return Ok(fax::ways([near, far], timeouts)),
        _ => return Err(Unusable::Declined),
    }
    let way = |from: &Agreed, come: &DigitRules, to: &Agreed, go: &DigitRules| {
        let (audio, other) = (&from.audio, &to.audio);
        let is_held = !(audio.direction.sends() && other.direction.receives());
        let formats = Formats::of(from, to);
        let received = formats.voice(Side::From, audio.ptime);
        let (events_received, events_sent) = (events(from), events(to));
        let conversion = dtmf::conversion(come, events_received, received, go, events_sent);
        let payloads = formats.map().ok_or(Unusable::Renumbered)?;
        Ok::<_, Unusable>(Update {
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
            received,
            sent: formats.voice(Side::To, other.ptime),
            report_digits: conversion.reports_events,
            detect_tones: conversion.detects_tones,
            events_received: events_received.map(|(sent, _)| sent),
            events_sent: events_sent.map(|(_, taken)| taken).filter(|_| conversion.says_events),
            payloads,
            learning: from.place.learning,
            ..Update::new(0, FlowId::NONE)
        })
    };
    Ok([way(near, caller, far, callee)?, way(far, callee, near, caller)?])
}

/// The telephone events (RFC 4733) of a leg: as its peer sends them and as it takes them; those of
/// the preferred codec's clock, else any.
pub fn events(leg: &Agreed) -> Option<(TelephoneEvent, TelephoneEvent)> {
    let clock = leg.audio.formats.iter().find(|f| !f.is_companion()).map(|f| f.clock);
    let mut taken: Vec<_> = leg.audio.formats.iter().filter(|f| f.is_event()).collect();
    taken.sort_by_key(|format| Some(format.clock) != clock);
    let event = |format: &sdp::Format| {
        let (payload_type, rate_hz) = (format.payload_type, format.clock);
        let rate = (1..=abi::format::RATE_HZ_MAX).contains(&rate_hz);
        rate.then_some(TelephoneEvent { payload_type, rate_hz })
    };
    taken.into_iter().find_map(|taken| {
        let sent = taken.find_in(&leg.said.formats)?;
        Some((event(sent)?, event(taken)?))
    })
}

/// The formats that pass one way.
struct Formats<'a> {
    /// Each as it is sent and as the receiver numbers it; the preferred one first.
    pairs: Vec<(&'a sdp::Format, &'a sdp::Format)>,
    /// Other numbers under which they may come: many peers send in those of their own answer. They
    /// are understood where they mean nothing else.
    also: Vec<(u8, u8)>,
}

/// Whose number of a format.
#[derive(Clone, Copy)]
enum Side {
    From,
    To,
}

impl<'a> Formats<'a> {
    fn of(from: &'a Agreed, to: &'a Agreed) -> Self {
        // Who answers has the last word on the order.
        let pairs: Vec<_> = match to.offered && !from.offered {
            true => {
                let agreed = to.audio.agreed(&from.audio).into_iter();
                let sent = |own: &sdp::Format| own.find_in(&from.said.formats);
                agreed.filter_map(|(theirs, own)| Some((sent(own)?, theirs))).collect()
            }
            false => {
                let sent = to.audio.formats.iter();
                let sent = sent.filter_map(|own| Some((own.find_in(&from.said.formats)?, own)));
                let mut once: Vec<(&sdp::Format, &sdp::Format)> = Vec::new();
                for pair in sent {
                    if once.iter().all(|(known, _)| known.payload_type != pair.0.payload_type) {
                        once.push(pair);
                    }
                }
                once
            }
        };
        let told = |number: u8| pairs.iter().any(|(sent, _)| sent.payload_type == number);
        let own = from.audio.formats.iter().filter(|own| !told(own.payload_type));
        let also = own.filter_map(|own| {
            let means = |(sent, _): &&(&sdp::Format, &sdp::Format)| own.is_same_as(sent);
            let (_, theirs) = pairs.iter().find(means)?;
            Some((own.payload_type, theirs.payload_type))
        });
        Self { also: also.collect(), pairs }
    }

    /// The preferred codec as a side numbers it.
    fn voice(&self, side: Side, ptime: Option<u32>) -> Option<Format> {
        let format = side.of(self.pairs.iter().find(|(sent, _)| !sent.is_companion())?);
        let ptime = ptime.unwrap_or(PTIME_MS_DEFAULT).min(u32::from(abi::format::PTIME_MS_MAX));
        let codec = known(format.codec()?)?;
        let (payload_type, rate_hz) = (format.payload_type, format.clock);
        let rate = (1..=abi::format::RATE_HZ_MAX).contains(&rate_hz);
        rate.then_some(Format { codec, payload_type, rate_hz, ptime_ms: u8::try_from(ptime).ok()? })
    }

    /// What changes on the way.
    fn map(&self) -> Option<PayloadMap> {
        let pairs = self.pairs.iter().map(|(sent, own)| (sent.payload_type, own.payload_type));
        PayloadMap::new(pairs.chain(self.also.iter().copied()))
    }
}

impl Side {
    fn of<'a>(self, (sent, own): &(&'a sdp::Format, &'a sdp::Format)) -> &'a sdp::Format {
        match self {
            Self::From => sent,
            Self::To => own,
        }
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

/// What numbers descriptions may give to formats (RFC 3551 §3).
const DYNAMIC_TYPES: std::ops::RangeInclusive<u8> = 96..=127;
/// Packet time where nobody says any (RFC 3551 §4.2).
const PTIME_MS_DEFAULT: u32 = 20;
