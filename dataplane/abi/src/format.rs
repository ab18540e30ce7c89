//! What the RTP of a flow carries: codecs, payload types, telephone events.
//!
//! The data plane relays without knowing any of this. It needs it for what it says and hears
//! itself: announcements, digits, clock rates of dynamic payload types, the quality estimate.

use bytemuck::{Pod, Zeroable};

/// A codec that a trunk may negotiate, by its media type's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    Pcmu,
    Pcma,
    G722,
    G729,
    Gsm,
    Ilbc,
    Amr,
    AmrWb,
    Opus,
}

impl Codec {
    /// Every codec, in the order of their codes from 1.
    pub const ALL: [Self; 9] = [
        Self::Pcmu,
        Self::Pcma,
        Self::G722,
        Self::G729,
        Self::Gsm,
        Self::Ilbc,
        Self::Amr,
        Self::AmrWb,
        Self::Opus,
    ];

    const fn code(self) -> u8 {
        match self {
            Self::Pcmu => 1,
            Self::Pcma => 2,
            Self::G722 => 3,
            Self::G729 => 4,
            Self::Gsm => 5,
            Self::Ilbc => 6,
            Self::Amr => 7,
            Self::AmrWb => 8,
            Self::Opus => 9,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.code() == code)
    }
}

/// The audio of one side: codec, payload type (0 to 127), RTP clock rate in Hz (1 to
/// [`RATE_HZ_MAX`]) and packet time in milliseconds (1 to [`PTIME_MS_MAX`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    pub codec: Codec,
    pub payload_type: u8,
    pub rate_hz: u32,
    pub ptime_ms: u8,
}

/// The telephone events of one side (RFC 4733): payload type and clock rate in Hz.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TelephoneEvent {
    pub payload_type: u8,
    pub rate_hz: u32,
}

/// Payload types that become others on the way through: at most [`PAYLOADS_MAX`] pairs (from, to).
/// Unnamed types pass as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PayloadMap([[u8; 2]; PAYLOADS_MAX]);

impl PayloadMap {
    /// Every payload type passes as it is.
    pub const IDENTITY: Self = Self([[0; 2]; PAYLOADS_MAX]);

    /// `None` when there are too many pairs, a type above 127, or two pairs for one type. Pairs of
    /// a type with itself say nothing and take no place.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (u8, u8)>) -> Option<Self> {
        let mut map = Self::IDENTITY;
        let mut places = map.0.iter_mut();
        let mut seen = 0_u128;
        for (from, to) in pairs {
            if from > PAYLOAD_TYPE_MAX || to > PAYLOAD_TYPE_MAX || seen >> from & 1 == 1 {
                return None;
            }
            seen |= 1 << from;
            if from != to {
                *places.next()? = [from | SET, to | SET];
            }
        }
        Some(map)
    }

    /// The pairs, in the order given.
    pub fn pairs(&self) -> impl Iterator<Item = (u8, u8)> + '_ {
        self.0.iter().filter(|pair| **pair != [0; 2]).map(|[from, to]| (from & !SET, to & !SET))
    }

    /// What `payload_type` becomes.
    #[must_use]
    pub fn apply(&self, payload_type: u8) -> u8 {
        let place = self.0.iter().find(|[from, _]| *from == payload_type | SET);
        place.map_or(payload_type, |[_, to]| to & !SET)
    }

    /// Whether every payload type passes as it is.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        *self == Self::IDENTITY
    }

    pub(crate) fn octets(&self) -> [[u8; 2]; PAYLOADS_MAX] {
        self.0
    }

    pub(crate) fn decode(octets: [[u8; 2]; PAYLOADS_MAX]) -> Result<Self, BadFormat> {
        let used = octets.iter().filter(|pair| **pair != [0; 2]);
        if used.clone().any(|[from, to]| from & SET == 0 || to & SET == 0) {
            return Err(BadFormat);
        }
        let map = Self::new(used.map(|[from, to]| (from & !SET, to & !SET))).ok_or(BadFormat)?;
        // One form per map: no gaps, no pairs that say nothing.
        if map.0 == octets { Ok(map) } else { Err(BadFormat) }
    }
}

/// The shared form of a [`Format`] or a [`TelephoneEvent`], or of none (all zero).
#[repr(C)]
#[derive(Pod, Zeroable, Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct FormatSlot {
    pub rate_hz: u32,
    /// With the top bit set, so that type 0 (PCMU) is not "none".
    pub payload_type: u8,
    /// 0 for telephone events.
    pub codec: u8,
    pub ptime_ms: u8,
    pub pad: u8,
}

impl FormatSlot {
    /// Nothing is known.
    pub const NONE: Self = Self { rate_hz: 0, payload_type: 0, codec: 0, ptime_ms: 0, pad: 0 };

    pub(crate) fn format(self) -> Result<Option<Format>, BadFormat> {
        if self == Self::NONE {
            return Ok(None);
        }
        let (payload_type, rate_hz) = self.common()?;
        let codec = Codec::from_code(self.codec).ok_or(BadFormat)?;
        if self.ptime_ms == 0 || self.ptime_ms > PTIME_MS_MAX {
            return Err(BadFormat);
        }
        Ok(Some(Format { codec, payload_type, rate_hz, ptime_ms: self.ptime_ms }))
    }

    pub(crate) fn event(self) -> Result<Option<TelephoneEvent>, BadFormat> {
        if self == Self::NONE {
            return Ok(None);
        }
        let (payload_type, rate_hz) = self.common()?;
        if self.codec != 0 || self.ptime_ms != 0 {
            return Err(BadFormat);
        }
        Ok(Some(TelephoneEvent { payload_type, rate_hz }))
    }

    fn common(self) -> Result<(u8, u32), BadFormat> {
        let rate_fits = (1..=RATE_HZ_MAX).contains(&self.rate_hz);
        if self.payload_type & SET == 0 || self.pad != 0 || !rate_fits {
            return Err(BadFormat);
        }
        Ok((self.payload_type & !SET, self.rate_hz))
    }
}

impl From<Option<Format>> for FormatSlot {
    fn from(format: Option<Format>) -> Self {
        format.map_or(Self::NONE, |format| Self {
            rate_hz: format.rate_hz,
            payload_type: format.payload_type | SET,
            codec: format.codec.code(),
            ptime_ms: format.ptime_ms,
            pad: 0,
        })
    }
}

impl From<Option<TelephoneEvent>> for FormatSlot {
    fn from(event: Option<TelephoneEvent>) -> Self {
        event.map_or(Self::NONE, |event| Self {
            rate_hz: event.rate_hz,
            payload_type: event.payload_type | SET,
            ..Self::NONE
        })
    }
}

/// The octets describe no format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadFormat;

/// Pairs of a [`PayloadMap`]: more than any audio offer needs.
pub const PAYLOADS_MAX: usize = 8;
/// RTP clock rates end at 96 kHz for audio (RFC 3551 §4.2, RFC 7587 §4.1).
pub const RATE_HZ_MAX: u32 = 96_000;
/// Longest packet time in milliseconds (Opus: 120 ms, RFC 7587 §7).
pub const PTIME_MS_MAX: u8 = 120;
const PAYLOAD_TYPE_MAX: u8 = 127;
const SET: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_changes_what_it_names_and_nothing_else() {
        let map = PayloadMap::new([(101, 96), (0, 0), (8, 0)]).unwrap();
        assert_eq!([101, 8, 0, 127].map(|from| map.apply(from)), [96, 0, 0, 127]);
        assert_eq!(map.pairs().collect::<Vec<_>>(), [(101, 96), (8, 0)]);
        assert_eq!(PayloadMap::decode(map.octets()), Ok(map));
        assert!(PayloadMap::IDENTITY.is_identity() && !map.is_identity());
    }

    #[test]
    fn maps_that_contradict_themselves_or_are_too_long_are_refused() {
        assert_eq!(PayloadMap::new([(101, 96), (101, 97)]), None);
        assert_eq!(PayloadMap::new([(128, 96)]), None);
        assert_eq!(PayloadMap::new([(96, 128)]), None);
        let most = PAYLOADS_MAX as u8;
        assert!(PayloadMap::new((0..most).map(|from| (from, 100))).is_some());
        assert_eq!(PayloadMap::new((0..=most).map(|from| (from, 100))), None);
    }

    #[test]
    fn every_octet_of_a_slot_is_understood_exactly_or_refused() {
        let format = Format { codec: Codec::G722, payload_type: 9, rate_hz: 8000, ptime_ms: 20 };
        let event = TelephoneEvent { payload_type: 101, rate_hz: 8000 };
        for slot in [FormatSlot::from(Some(format)), FormatSlot::from(Some(event))] {
            for place in 0..size_of::<FormatSlot>() {
                for value in 0..=255 {
                    let mut changed = slot;
                    bytemuck::bytes_of_mut(&mut changed)[place] = value;
                    if let Ok(format) = changed.format() {
                        assert_eq!(FormatSlot::from(format), changed);
                    }
                    if let Ok(event) = changed.event() {
                        assert_eq!(FormatSlot::from(event), changed);
                    }
                }
            }
        }
        for codec in Codec::ALL {
            let format = Format { codec, ..format };
            assert_eq!(FormatSlot::from(Some(format)).format(), Ok(Some(format)));
        }
    }
}
