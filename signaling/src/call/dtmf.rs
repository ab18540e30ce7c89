//! Digits between legs that say them in different ways.
//!
//! ```text
//!  telephone events ─┐                              ┌─► telephone events, tones (DIAL)
//!  tones             ├─► data plane ──┐       ┌─────┤
//!                    │                ├─► say ┤
//!  INFO ─────────────┴────────────────┘       └─────► INFO
//! ```
//! Where both legs say them alike they pass as they are and nobody looks at them. A digit is told
//! once (the data plane takes care of repetitions) and heard in the trunk's one way, so that a peer
//! that says it in two ways does not say it twice. Digits are PINs and card numbers: none is logged.

use std::collections::VecDeque;

use abi::{Codec, Format, TelephoneEvent};
use bytes::Bytes;
use sdp::Events;
use sip::endpoint::{ClientId, ServerId};
use sip::wire::{HeaderName, Headers, Request, StatusCode};

use super::common::Leg;
use super::{Common, Desk, Party};
use crate::trunk::digits::{DigitRules, DtmfMode};

/// One digit: its event code (RFC 4733 §3.2) and how long it was pressed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Press {
    pub digit: u8,
    pub ms: u16,
}

/// Digits that go to one side by INFO, one after the other: requests may overtake each other.
#[derive(Default)]
pub struct Outbox {
    waiting: VecDeque<Press>,
    client: Option<ClientId>,
}

/// What the data plane does about the digits of one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conversion {
    pub reports_events: bool,
    pub detects_tones: bool,
    /// What is dialled is said as telephone events.
    pub says_events: bool,
}

/// Decides which telephone events are negotiated on both legs of a call. They end at us unless both
/// trunks have nothing else.
pub fn settle(near: &mut Leg, far: &mut Leg) {
    let alike = near.digits.are_events() && far.digits.are_events();
    for leg in [near, far] {
        leg.policy.events = match leg.digits.mode.has_events() {
            false => Events::None,
            true if alike => Events::Pass,
            true => Events::Own,
        };
    }
}

type Both = (TelephoneEvent, TelephoneEvent);

/// How digits pass from a leg where they `come` as it says to one where they `go` so.
pub fn conversion(
    come: &DigitRules,
    received: Option<Both>,
    voice: Option<Format>,
    go: &DigitRules,
    taken: Option<Both>,
) -> Conversion {
    let g711 = voice.is_some_and(|voice| matches!(voice.codec, Codec::Pcma | Codec::Pcmu));
    let as_events = come.mode.has_events() && received.is_some();
    let as_tones = match come.mode {
        DtmfMode::Inband => true,
        DtmfMode::Auto => !as_events,
        _ => false,
    };
    let by_info = go.sends().is_info();
    let says_events = !by_info && go.sends() != DtmfMode::Inband && taken.is_some();
    let says_tones = !by_info && !says_events;
    Conversion {
        reports_events: as_events && !says_events,
        detects_tones: as_tones && !says_tones && g711,
        says_events,
    }
}

/// Says a digit that came from one side to the other.
pub fn say(common: &mut Common, desk: &mut Desk<'_>, from: Party, press: Press) {
    let to = from.other();
    if !common.leg(to).digits.sends().is_info() {
        let pair = *common.pair();
        if let Err(error) = desk.media.dial(&pair, from == Party::Caller, press.digit, press.ms) {
            tracing::warn!(call = common.id(), %error, "a digit is lost");
        }
        return;
    }
    let outbox = common.presses_of(to);
    if outbox.waiting.len() < WAITING_MAX {
        outbox.waiting.push_back(press);
        next(common, desk, to);
    } else if common.cdr.note(TOO_FAST) {
        tracing::warn!(call = common.id(), "{TOO_FAST}");
    }
}

/// A request of ours ended; true when it was one of these. A peer that does not want digits by INFO
/// gets no more of those that wait.
pub fn ended(
    common: &mut Common,
    desk: &mut Desk<'_>,
    client: ClientId,
    status: Option<StatusCode>,
) -> bool {
    for party in [Party::Caller, Party::Callee] {
        if common.presses_of(party).client != Some(client) {
            continue;
        }
        if status.is_some_and(StatusCode::is_provisional) {
            return true;
        }
        desk.disown_client(common, client);
        let outbox = common.presses_of(party);
        outbox.client = None;
        if !status.is_some_and(StatusCode::is_success) {
            outbox.waiting.clear();
            if common.cdr.note(UNWANTED) {
                tracing::warn!(call = common.id(), "{UNWANTED}");
            }
        }
        next(common, desk, party);
        return true;
    }
    false
}

/// An INFO of a side.
pub fn informed(
    common: &mut Common,
    desk: &mut Desk<'_>,
    party: Party,
    transaction: ServerId,
    request: &Request,
) {
    if request.body.is_empty() {
        desk.answer(transaction, StatusCode::OK, Vec::new(), None);
        return;
    }
    let Some(press) = read(&request.headers, &request.body) else {
        let accept = (HeaderName::Accept, Bytes::from_static(BOTH.as_bytes()));
        desk.answer(transaction, StatusCode::UNSUPPORTED_MEDIA_TYPE, vec![accept], None);
        return;
    };
    desk.answer(transaction, StatusCode::OK, Vec::new(), None);
    if common.leg(party).digits.mode.is_info() {
        say(common, desk, party, press);
    } else if common.cdr.note(UNHEARD) {
        tracing::warn!(call = common.id(), "{UNHEARD}");
    }
}

fn next(common: &mut Common, desk: &mut Desk<'_>, to: Party) {
    let short = common.leg(to).digits.sends() == DtmfMode::ShortInfo;
    let outbox = common.presses_of(to);
    if outbox.client.is_some() {
        return;
    }
    let Some(press) = outbox.waiting.pop_front() else { return };
    let (kind, body) = write(press, short);
    let client = desk.info(common, to, kind, body);
    common.presses_of(to).client = client;
}

/// A digit as a body: `application/dtmf-relay` has a line for the duration, `application/dtmf` is
/// the digit alone.
fn write(press: Press, short: bool) -> (&'static str, Bytes) {
    let digit = char::from(DIGITS.get(usize::from(press.digit)).copied().unwrap_or(b'0'));
    match short {
        true => (SHORT, Bytes::from(digit.to_string())),
        false => (RELAY, Bytes::from(format!("Signal={digit}\r\nDuration={}\r\n", press.ms))),
    }
}

/// The digit in the body of an INFO; none where it holds another thing, such as a hook flash.
pub fn read(headers: &Headers, body: &[u8]) -> Option<Press> {
    let kind = headers.content_type()?;
    let end = kind.iter().position(|b| *b == b';').unwrap_or(kind.len());
    let kind = kind.get(..end)?.trim_ascii();
    let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= BODY_MAX)?;
    if kind.eq_ignore_ascii_case(SHORT.as_bytes()) {
        return Some(Press { digit: code(text.trim())?, ms: DIGIT_MS });
    }
    if !kind.eq_ignore_ascii_case(RELAY.as_bytes()) {
        return None;
    }
    let value = |name: &str| {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let mut named = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    };
    let ms = value("Duration").and_then(|ms| ms.parse().ok()).unwrap_or(DIGIT_MS);
    let ms = u16::clamp(ms, abi::DIGIT_MS_MIN, abi::DIGIT_MS_MAX);
    Some(Press { digit: code(value("Signal")?)?, ms })
}

/// `0` to `9`, `*`, `#`, `A` to `D`; some peers write the event's number for the last six.
fn code(text: &str) -> Option<u8> {
    if let [digit] = text.as_bytes() {
        let at = DIGITS.iter().position(|known| known.eq_ignore_ascii_case(digit))?;
        return u8::try_from(at).ok();
    }
    text.parse().ok().filter(|code| (10..=15).contains(code))
}

/// By event code.
const DIGITS: &[u8; 16] = b"0123456789*#ABCD";
const RELAY: &str = "application/dtmf-relay";
const SHORT: &str = "application/dtmf";
const BOTH: &str = "application/dtmf-relay, application/dtmf";
/// Where nobody says how long.
const DIGIT_MS: u16 = 160;
/// A digit is short; what is longer is something else.
const BODY_MAX: usize = 256;
/// Digits that may wait for the answer to one before them: a card number and more.
pub const WAITING_MAX: usize = 32;

const TOO_FAST: &str = "digits came faster than the other side takes them by INFO; some are lost";
const UNWANTED: &str = "the other side refuses digits by INFO; set its trunk's send_media";
const UNHEARD: &str = "digits came by INFO and were not heard; set the trunk's dtmf_mode to info";

#[cfg(test)]
mod tests;
