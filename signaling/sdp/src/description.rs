//! A description is read in two steps. First our own pass over the lines, which keeps only those
//! that offer/answer needs: so that no nonsense in a line that nobody reads can fail a call, and
//! that neither keys nor the far side's topology are copied anywhere. Then `sdp-types` gives the
//! kept lines their structure.

use std::net::IpAddr;

use sdp_types::{Attribute, Connection, Media, ParserError, Session};
use thiserror::Error;

use crate::fax::ATTRIBUTES;
use crate::limits::{BYTES_MAX, CAPABILITIES_MAX, CRYPTO_LINES_MAX, FORMATS_MAX, MEDIA_LINES_MAX};
use crate::potential::{Capabilities, Potential};
use crate::profile::Profile;
use crate::text::quotable;
use crate::{Crypto, CryptoError, Direction, Format, Reject};

/// A parsed session description (RFC 4566), an offer or an answer.
#[derive(Clone, Debug)]
pub struct Description {
    origin: Option<String>,
    direction: Direction,
    media: Vec<MediaLine>,
}

impl Description {
    /// Parses the body of a SIP message. Accepts line ends of LF alone, blanks at line ends, lines
    /// in an order that RFC 4566 §5 forbids, and a missing `o=`, `s=` or `t=`.
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        if body.len() > BYTES_MAX {
            return Err(SdpError::TooLong { bytes: body.len() });
        }
        let kept = Kept::of(body)?;
        let model = Session::parse(kept.text.as_bytes()).map_err(syntax)?;
        let Session { connection, attributes, medias, .. } = model;
        let mut media: Vec<_> =
            medias.into_iter().map(|m| MediaLine::new(m, connection.as_ref())).collect();
        for (number, line) in media.iter_mut().enumerate() {
            line.potential = kept.capabilities.potential(number);
        }
        for (line, crypto) in kept.cryptos {
            if let Some(line) = media.get_mut(line) {
                line.cryptos.push(crypto);
            }
        }
        let direction = direction(&attributes).unwrap_or(Direction::SendRecv);
        Ok(Self { origin: kept.origin, direction, media })
    }

    /// Number of `m=` lines; an answer must have as many (RFC 3264 §6).
    pub fn media_lines(&self) -> usize {
        self.media.len()
    }

    /// Both have the same `o=` line, so the peer says that nothing changed (RFC 3264 §8).
    pub fn is_same_version(&self, other: &Self) -> bool {
        self.origin.is_some() && self.origin == other.origin
    }

    pub(crate) fn media(&self) -> &[MediaLine] {
        &self.media
    }

    /// Media-level attributes override those of the session (RFC 4566 §5.13).
    pub(crate) fn direction(&self, line: &MediaLine) -> Direction {
        direction(&line.attributes).unwrap_or(self.direction)
    }
}

/// One `m=` line with what belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct MediaLine {
    pub kind: String,
    pub port: u16,
    pub proto: String,
    /// The formats as the peer wrote them.
    pub formats_text: String,
    pub cryptos: Vec<Result<Crypto, CryptoError>>,
    /// A secure configuration that the line may have instead (RFC 5939).
    pub potential: Option<Potential>,
    connection: Option<Connection>,
    attributes: Vec<Attribute>,
}

impl MediaLine {
    fn new(media: Media, common: Option<&Connection>) -> Self {
        Self {
            kind: media.media,
            port: media.port,
            proto: media.proto,
            formats_text: media.fmt,
            cryptos: Vec::new(),
            potential: None,
            connection: media.connections.into_iter().next().or_else(|| common.cloned()),
            attributes: media.attributes,
        }
    }

    /// An audio line that is not refused by port 0.
    pub fn is_live_audio(&self) -> bool {
        self.kind.eq_ignore_ascii_case("audio") && self.port != 0
    }

    pub fn profile(&self) -> Profile {
        Profile::of(&self.proto)
    }

    /// The configuration that it may have instead of its own, where `wanted` is not its own.
    pub fn potential(&self, wanted: Profile) -> Option<&Potential> {
        let is_other = self.profile() == Profile::Plain && wanted == Profile::Secure;
        self.potential.as_ref().filter(|_| is_other)
    }

    pub fn has(&self, attribute: &str) -> bool {
        self.values(attribute).next().is_some()
    }

    pub fn value(&self, attribute: &str) -> Option<&str> {
        self.values(attribute).next().flatten()
    }

    /// The first attribute of this name, with its value if it has one.
    pub fn first(&self, attribute: &str) -> Option<Option<&str>> {
        self.values(attribute).next()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = Option<&str>> {
        let named = move |a: &&Attribute| a.attribute.eq_ignore_ascii_case(name);
        self.attributes.iter().filter(named).map(|a| a.value.as_deref())
    }

    /// The formats of an RTP line in the peer's order, each once, with what `a=rtpmap` and `a=fmtp`
    /// say. A dynamic payload type that nothing explains is left out.
    pub fn formats(&self) -> Vec<Format> {
        let mut formats: Vec<(u8, Option<Format>)> = Vec::new();
        for number in self.formats_text.split(' ').filter_map(|word| word.parse::<u8>().ok()) {
            if usize::from(number) < FORMATS_MAX && formats.iter().all(|(n, _)| *n != number) {
                formats.push((number, None));
            }
        }
        for mapped in self.values("rtpmap").flatten().filter_map(Format::parse_rtpmap) {
            let wanted = formats.iter_mut().find(|(n, _)| *n == mapped.payload_type);
            if let Some((_, slot @ None)) = wanted {
                *slot = Some(mapped);
            }
        }
        for (number, slot) in &mut formats {
            *slot = slot.take().or_else(|| Format::static_type(*number));
        }
        for (number, fmtp) in self.values("fmtp").flatten().filter_map(Format::parse_fmtp) {
            let wanted = formats.iter_mut().find(|(n, _)| *n == number);
            if let Some((_, Some(format @ Format { fmtp: None, .. }))) = wanted {
                format.fmtp = Some(fmtp.to_owned());
            }
        }
        formats.into_iter().filter_map(|(_, format)| format).collect()
    }

    /// Where the peer wants media: the address of its own `c=` line or of the session's.
    pub fn address(&self) -> Result<IpAddr, Reject> {
        let connection = self.connection.as_ref().ok_or(Reject::NoConnection)?;
        unicast(&connection.connection_address)
    }
}

/// An IP address that media may be sent to, or the unspecified one. A suffix for multicast
/// (RFC 4566 §5.7) is ignored.
pub(crate) fn unicast(text: &str) -> Result<IpAddr, Reject> {
    let text = text.split('/').next().unwrap_or_default();
    let address: IpAddr =
        text.parse().map_err(|_| Reject::NotAnAddress { given: quotable(text) })?;
    let address = address.to_canonical();
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_multicast() || is_broadcast {
        return Err(Reject::Multicast { address });
    }
    Ok(address)
}

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes.iter().find_map(|attribute| Direction::parse(&attribute.attribute))
}

/// The lines of a body that are worth reading.
struct Kept {
    /// One line per line of the body, empty where it is left out: line numbers stay true.
    text: String,
    origin: Option<String>,
    /// With the position of the media line that each belongs to.
    cryptos: Vec<(usize, Result<Crypto, CryptoError>)>,
    capabilities: Capabilities,
}

impl Kept {
    fn of(body: &[u8]) -> Result<Self, SdpError> {
        let text = String::with_capacity(body.len());
        let capabilities = Capabilities::default();
        let mut kept = Self { text, origin: None, cryptos: Vec::new(), capabilities };
        let mut media_lines = 0_usize;
        for line in body.split(|&b| b == b'\n') {
            let line = line.trim_ascii_end();
            match line {
                [b'm', b'=', media @ ..] => {
                    media_lines += 1;
                    too_many("m= lines", media_lines, MEDIA_LINES_MAX)?;
                    kept.media(media)?;
                }
                [b'a', b'=', attribute @ ..] => kept.attribute(attribute, media_lines)?,
                [b'o', b'=', origin @ ..] => {
                    kept.origin.get_or_insert_with(|| String::from_utf8_lossy(origin).into_owned());
                }
                [b'v' | b'c', b'=', ..] => kept.text.push_str(&String::from_utf8_lossy(line)),
                // Read by nobody: s= i= u= e= p= b= t= r= z= k= and letters yet to be invented.
                [b'a'..=b'z', b'=', ..] | [] => {}
                _ => kept.text.push_str("not a line of a session description"),
            }
            kept.text.push('\n');
        }
        Ok(kept)
    }

    /// Blanks are made single. A refused line without formats, which some peers send, gets one.
    fn media(&mut self, media: &[u8]) -> Result<(), SdpError> {
        let media = String::from_utf8_lossy(media);
        let mut words = 0_usize;
        let mut refused = false;
        self.text.push_str("m=");
        for word in media.split([' ', '\t']).filter(|word| !word.is_empty()) {
            if words > 0 {
                self.text.push(' ');
            }
            refused |= words == 1 && word == "0";
            words += 1;
            self.text.push_str(word);
        }
        if words == 3 && refused {
            self.text.push_str(" 0");
        }
        too_many("formats in an m= line", words.saturating_sub(3), FORMATS_MAX)
    }

    fn attribute(&mut self, attribute: &[u8], media_lines: usize) -> Result<(), SdpError> {
        let colon = attribute.iter().position(|&b| b == b':');
        let (name, value) = match colon.and_then(|at| attribute.split_at_checked(at)) {
            Some((name, [_, value @ ..])) => (name, value),
            _ => (attribute, &[][..]),
        };
        let mut read = READ.iter().chain(&ATTRIBUTES);
        if read.any(|read| name.eq_ignore_ascii_case(read.as_bytes())) {
            self.text.push_str("a=");
            self.text.push_str(&String::from_utf8_lossy(attribute));
        } else if name.eq_ignore_ascii_case(b"crypto")
            && let Some(line) = media_lines.checked_sub(1)
        {
            too_many("a=crypto lines", self.cryptos.len() + 1, CRYPTO_LINES_MAX)?;
            let value = std::str::from_utf8(value).map_err(|_| CryptoError::Encoding);
            self.cryptos.push((line, value.and_then(Crypto::parse)));
        }
        let limit = CAPABILITIES_MAX;
        let taken = self.capabilities.take(media_lines, name, value);
        taken.map_err(|_| SdpError::TooMany { what: "capabilities", limit })
    }
}

fn too_many(what: &'static str, count: usize, limit: usize) -> Result<(), SdpError> {
    if count > limit { Err(SdpError::TooMany { what, limit }) } else { Ok(()) }
}

fn syntax(error: ParserError) -> SdpError {
    SdpError::Syntax { reason: quotable(&error.to_string()) }
}

/// Attributes that are read as text, beside those of fax; `crypto` has its own way.
const READ: [&str; 10] = [
    "rtpmap", "fmtp", "ptime", "maxptime", "rtcp", "rtcp-mux", "sendrecv", "sendonly", "recvonly",
    "inactive",
];

/// Why a body is not a session description that we read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SdpError {
    #[error("the session description has {bytes} bytes, the limit is {BYTES_MAX}; shorten it")]
    TooLong { bytes: usize },
    #[error("the session description has more than {limit} {what}; offer fewer")]
    TooMany { what: &'static str, limit: usize },
    #[error("the body is not a session description: {reason}; send what RFC 4566 defines")]
    Syntax { reason: String },
}

impl SdpError {
    /// The SIP status that refuses such a body.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLong { .. } => 413,
            Self::TooMany { .. } => 488,
            Self::Syntax { .. } => 400,
        }
    }
}
