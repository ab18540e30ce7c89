use std::fmt;

use crate::Codec;
use crate::limits::FMTP_BYTES_MAX;
use crate::text::is_token;

/// One media format of an audio line: a payload type and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// 0 to 127.
    pub payload_type: u8,
    /// Encoding name: `PCMA`. Names that we know are spelled as they are registered.
    pub encoding: String,
    /// Clock rate in Hz. G722 has 8000 here although it samples at 16000 (RFC 3551 §4.5.2).
    pub clock: u32,
    /// `None` when `a=rtpmap` says nothing, which means one.
    pub channels: Option<u8>,
    /// Parameters of `a=fmtp`, without the payload type.
    pub fmtp: Option<String>,
}

impl Format {
    /// The codec, when it is one that a trunk can name.
    pub fn codec(&self) -> Option<Codec> {
        Codec::of_encoding(&self.encoding)
    }

    /// DTMF events (RFC 4733).
    pub fn is_event(&self) -> bool {
        self.encoding.eq_ignore_ascii_case(EVENT)
    }

    /// DTMF events (RFC 4733) and comfort noise (RFC 3389) travel beside a codec.
    pub fn is_companion(&self) -> bool {
        [EVENT, NOISE].iter().any(|name| self.encoding.eq_ignore_ascii_case(name))
    }

    /// Same encoding, clock rate and channels; payload type and parameters may differ.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.encoding.eq_ignore_ascii_case(&other.encoding)
            && self.clock == other.clock
            && self.channels.unwrap_or(1) == other.channels.unwrap_or(1)
    }

    /// The format of `list` that this one answers: the same payload type if it means the same, else
    /// the one with the same parameters, else the first of the same encoding.
    pub fn find_in<'a>(&self, list: &'a [Self]) -> Option<&'a Self> {
        let same = || list.iter().filter(|other| self.is_same_as(other));
        same()
            .find(|other| other.payload_type == self.payload_type)
            .or_else(|| same().find(|other| other.fmtp == self.fmtp))
            .or_else(|| same().next())
    }

    /// RFC 5761 §4: on a shared port payload types 64 to 95 look like RTCP.
    pub(crate) fn can_multiplex(&self) -> bool {
        !(64..=95).contains(&self.payload_type)
    }

    pub(crate) fn new(payload_type: u8, encoding: &str, clock: u32, channels: Option<u8>) -> Self {
        Self { payload_type, encoding: encoding.to_owned(), clock, channels, fmtp: None }
    }

    /// What a payload type means when no `a=rtpmap` says so (RFC 3551 §6).
    pub(crate) fn static_type(payload_type: u8) -> Option<Self> {
        let (_, encoding, clock, channels) =
            STATIC.iter().find(|(number, ..)| *number == payload_type)?;
        Some(Self::new(payload_type, encoding, *clock, *channels))
    }

    /// Reads the value of `a=rtpmap`: `96 opus/48000/2`.
    pub(crate) fn parse_rtpmap(value: &str) -> Option<Self> {
        let (payload_type, rest) = split_payload_type(value)?;
        let mut parts = rest.split('/');
        let encoding = parts.next().filter(|name| is_token(name))?;
        let clock = parts.next()?.parse().ok().filter(|&clock| clock > 0)?;
        let channels = match parts.next() {
            None => None,
            Some(count) => Some(count.parse().ok().filter(|&count: &u8| count > 0)?),
        };
        parts.next().is_none().then(|| Self::new(payload_type, spelled(encoding), clock, channels))
    }

    /// Reads the value of `a=fmtp`: `101 0-16`. Parameters that are not printable ASCII or too long
    /// are not passed on.
    pub(crate) fn parse_fmtp(value: &str) -> Option<(u8, &str)> {
        split_payload_type(value).filter(|(_, parameters)| {
            parameters.len() <= FMTP_BYTES_MAX
                && parameters.bytes().all(|b| matches!(b, b' '..=b'~'))
        })
    }
}

/// `PCMA/8000`, with channels where they are not one.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.encoding, self.clock)?;
        self.channels.map_or(Ok(()), |channels| write!(f, "/{channels}"))
    }
}

pub(crate) const EVENT: &str = "telephone-event";
const NOISE: &str = "CN";

fn split_payload_type(value: &str) -> Option<(u8, &str)> {
    let (number, rest) = value.trim_start().split_once([' ', '\t'])?;
    let rest = rest.trim();
    let number = number.parse().ok().filter(|&number: &u8| number < 128)?;
    (!rest.is_empty()).then_some((number, rest))
}

fn spelled(encoding: &str) -> &str {
    let companion = [EVENT, NOISE].into_iter().find(|name| name.eq_ignore_ascii_case(encoding));
    companion.or_else(|| Codec::of_encoding(encoding).map(Codec::encoding)).unwrap_or(encoding)
}

/// Audio payload types of RFC 3551 §6, table 4.
const STATIC: [(u8, &str, u32, Option<u8>); 18] = [
    (0, "PCMU", 8000, None),
    (3, "GSM", 8000, None),
    (4, "G723", 8000, None),
    (5, "DVI4", 8000, None),
    (6, "DVI4", 16000, None),
    (7, "LPC", 8000, None),
    (8, "PCMA", 8000, None),
    (9, "G722", 8000, None),
    (10, "L16", 44100, Some(2)),
    (11, "L16", 44100, None),
    (12, "QCELP", 8000, None),
    (13, "CN", 8000, None),
    (14, "MPA", 90000, None),
    (15, "G728", 8000, None),
    (16, "DVI4", 11025, None),
    (17, "DVI4", 22050, None),
    (18, "G729", 8000, None),
    // CN before it was registered as 13; old Cisco gateways still send it.
    (19, "CN", 8000, None),
];
