use crate::format::EVENT;
use crate::profile::{AVP, Profile, SAVP};
use crate::{Codec, Format, Reject, Suite};

/// What a trunk permits in a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub security: Security,
    /// Codecs in order of preference. Empty permits any codec in the peer's order.
    pub allow: Vec<Codec>,
    /// Taken away after `allow` is applied.
    pub disallow: Vec<Codec>,
    /// Nothing but `allow`: with an empty `allow` no codec is left.
    pub disallow_all: bool,
    /// RTP and RTCP may share a port (RFC 5761).
    pub rtcp_mux: bool,
    /// Whether digits are telephone events (RFC 4733) here.
    pub events: Events,
}

/// Telephone events of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Events {
    /// They pass from leg to leg, where both peers have them.
    #[default]
    Pass,
    /// They end here: they are offered and accepted whatever the other leg has.
    Own,
    /// None: digits come and go otherwise.
    None,
}

/// Whether the media of a leg is encrypted. There is no value in between: a trunk that prefers
/// encryption tries one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// RTP/AVP only.
    Plain,
    /// RTP/SAVP only: `suites` are accepted, and offered in this order; `unoffered` are accepted
    /// when the peer offers them.
    Secure { suites: Vec<Suite>, unoffered: Vec<Suite> },
    /// Encrypted as with `Secure`, but on RTP/AVP lines that carry keys: how some peers that prefer
    /// encryption offer it to those who may not know it.
    BestEffort { suites: Vec<Suite>, unoffered: Vec<Suite> },
}

impl Security {
    /// RTP/SAVP with suites that are all offered, in this order.
    pub const fn secure(suites: Vec<Suite>) -> Self {
        Self::Secure { suites, unoffered: Vec::new() }
    }

    /// Both sides have keys.
    pub const fn encrypts(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    pub(crate) fn profile(&self) -> Profile {
        match self {
            Self::Plain | Self::BestEffort { .. } => Profile::Plain,
            Self::Secure { .. } => Profile::Secure,
        }
    }

    /// The protocol of our own offers.
    pub(crate) fn proto(&self) -> &'static str {
        match self {
            Self::Plain | Self::BestEffort { .. } => AVP,
            Self::Secure { .. } => SAVP,
        }
    }

    /// What we offer, in this order.
    pub fn suites(&self) -> &[Suite] {
        match self {
            Self::Plain => &[],
            Self::Secure { suites, .. } | Self::BestEffort { suites, .. } => suites,
        }
    }

    pub(crate) fn accepts(&self, suite: Suite) -> bool {
        match self {
            Self::Plain => false,
            Self::Secure { suites, unoffered } | Self::BestEffort { suites, unoffered } => {
                suites.contains(&suite) || unoffered.contains(&suite)
            }
        }
    }
}

impl Policy {
    /// The formats that we offer for a leg that has `formats`: with events of our own where they end
    /// here and the other leg has none.
    pub(crate) fn select_for_offer(&self, formats: &[Format]) -> Result<Vec<Format>, Reject> {
        let mut kept = self.select(formats)?;
        if self.events != Events::Own {
            return Ok(kept);
        }
        for (usual, clock) in EVENTS {
            let carried = kept.iter().any(|format| !format.is_companion() && format.clock == clock);
            let known = kept.iter().any(|format| format.is_event() && format.clock == clock);
            let taken = |number: u8| kept.iter().any(|format| format.payload_type == number);
            let number = std::iter::once(usual).chain(DYNAMIC).find(|number| !taken(*number));
            if let Some(number) = number.filter(|_| carried && !known) {
                kept.push(own_event(number, clock));
            }
        }
        Ok(kept)
    }

    /// The formats of an offer that may pass, in the order of `allow`, companions last.
    pub(crate) fn select(&self, formats: &[Format]) -> Result<Vec<Format>, Reject> {
        let mut kept = self.filter(formats)?;
        kept.sort_by_key(|format| (format.is_companion(), self.rank(format)));
        Ok(kept)
    }

    /// The formats that may pass, in the order given. A companion stays when a codec of its clock
    /// rate stays.
    pub(crate) fn filter(&self, formats: &[Format]) -> Result<Vec<Format>, Reject> {
        let carries = |format: &Format| !format.is_companion() && self.permits(format);
        let companies =
            |format: &Format| format.is_companion() && !(format.is_event() && self.has_no_events());
        let kept: Vec<_> = formats
            .iter()
            .filter(|format| {
                carries(format)
                    || companies(format)
                        && formats.iter().any(|codec| carries(codec) && codec.clock == format.clock)
            })
            .cloned()
            .collect();
        if kept.is_empty() {
            return Err(Reject::NoCommonFormat { offered: names(formats), allowed: self.names() });
        }
        Ok(kept)
    }

    /// All that the policy can name, for an offer that no other leg has shaped.
    pub(crate) fn formats(&self) -> Result<Vec<Format>, Reject> {
        let codecs = if self.allow.is_empty() { &Codec::ALL[..] } else { &self.allow };
        let mut formats: Vec<Format> = Vec::new();
        for &codec in codecs {
            let known = formats.iter().any(|format| format.codec() == Some(codec));
            formats.extend(own_format(codec).filter(|format| !known && self.permits(format)));
        }
        for (payload_type, clock) in EVENTS.into_iter().filter(|_| !self.has_no_events()) {
            if formats.iter().any(|format| format.clock == clock) {
                formats.push(own_event(payload_type, clock));
            }
        }
        if formats.is_empty() {
            return Err(Reject::NoCommonFormat { offered: Vec::new(), allowed: self.names() });
        }
        Ok(formats)
    }

    fn has_no_events(&self) -> bool {
        self.events == Events::None
    }

    fn permits(&self, format: &Format) -> bool {
        let Some(codec) = format.codec() else {
            return self.allow.is_empty() && !self.disallow_all;
        };
        self.permits_codec(codec)
    }

    pub(crate) fn permits_codec(&self, codec: Codec) -> bool {
        let allowed =
            if self.allow.is_empty() { !self.disallow_all } else { self.allow.contains(&codec) };
        allowed && !self.disallow.contains(&codec)
    }

    fn rank(&self, format: &Format) -> usize {
        let codec = format.codec();
        let place = self.allow.iter().position(|&allowed| Some(allowed) == codec);
        place.unwrap_or(usize::MAX)
    }

    /// What the policy allows, in words for a reason.
    pub(crate) fn names(&self) -> Vec<String> {
        if self.allow.is_empty() && !self.disallow_all {
            let removed = self.disallow.iter().map(|codec| format!("except {codec}"));
            return std::iter::once(String::from("any codec")).chain(removed).collect();
        }
        let left = self.allow.iter().filter(|codec| !self.disallow.contains(codec));
        left.map(|codec| codec.name().to_owned()).collect()
    }
}

pub(crate) fn names(formats: &[Format]) -> Vec<String> {
    formats.iter().map(|format| crate::text::quotable(&format.to_string())).collect()
}

/// How we offer a codec: static payload types where they exist, else fixed dynamic ones.
fn own_format(codec: Codec) -> Option<Format> {
    let dynamic = |payload_type, clock, channels, fmtp: Option<&str>| Format {
        fmtp: fmtp.map(str::to_owned),
        ..Format::new(payload_type, codec.encoding(), clock, channels)
    };
    match codec {
        Codec::Pcma => Format::static_type(8),
        Codec::Pcmu => Format::static_type(0),
        Codec::G722 => Format::static_type(9),
        Codec::G729 => Format::static_type(18),
        Codec::Gsm => Format::static_type(3),
        Codec::Opus => Some(dynamic(111, 48000, Some(2), Some("useinbandfec=1"))),
        Codec::Amr => Some(dynamic(96, 8000, None, Some("octet-align=1"))),
        Codec::AmrWb => Some(dynamic(97, 16000, None, Some("octet-align=1"))),
        Codec::Ilbc => Some(dynamic(98, 8000, None, Some("mode=30"))),
        Codec::T38 => None,
    }
}

fn own_event(payload_type: u8, clock: u32) -> Format {
    let event = Format::new(payload_type, EVENT, clock, None);
    Format { fmtp: Some(String::from("0-16")), ..event }
}

/// Dynamic payload types (RFC 3551 §6).
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;

/// Payload type and clock rate of the DTMF events that go with our own offers.
const EVENTS: [(u8, u32); 3] = [(101, 8000), (102, 16000), (103, 48000)];
