use std::io;
use std::net::IpAddr;

use sdp_types::{Attribute, Connection, Media, Origin, Session};
use zeroize::Zeroize;

use crate::description::MediaLine;
use crate::policy::{Events, names};
use crate::{Audio, Crypto, Description, Direction, Format, Key, Policy, Reject, Security};

/// Our own side of a leg. Nothing else of a description that we write says where anything is.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    /// Where we receive media of this leg; goes into `o=` and `c=`.
    pub address: IpAddr,
    pub rtp_port: u16,
    pub rtcp_port: u16,
    /// The same for all descriptions of one dialog (RFC 4566 §5.2).
    pub origin_id: u64,
    /// One more whenever the description changes (RFC 3264 §8).
    pub origin_version: u64,
    /// An offer takes one fresh key for each suite of the policy, an answer exactly one of the
    /// chosen suite. Not read when the policy is plain.
    pub keys: &'a [Key],
}

/// Writes an offer with one audio line. The formats are those of the other leg (`source`) that the
/// policy lets pass, under the same payload types; without a source all that the policy names.
pub fn write_offer(
    source: Option<&Audio>,
    p: &Policy,
    local: &Local<'_>,
) -> Result<Vec<u8>, Reject> {
    check_ports(local)?;
    let formats = match source {
        Some(audio) => p.select_for_offer(&audio.formats)?,
        None => p.formats()?,
    };
    let mut cryptos = Vec::new();
    for (tag, &suite) in (1..).zip(p.security.suites()) {
        let key = local.keys.iter().find(|key| key.suite() == suite);
        cryptos.push((tag, key.ok_or(Reject::Misuse("no key given for a suite of the policy"))?));
    }
    if p.security.encrypts() && cryptos.is_empty() {
        return Err(Reject::Misuse("the trunk is secure and names no SRTP suite; name one"));
    }
    let line = Line {
        kind: "audio",
        proto: p.security.proto(),
        formats: &formats,
        cryptos: &cryptos,
        ptime: source.and_then(|audio| audio.ptime),
        maxptime: source.and_then(|audio| audio.maxptime),
        rtcp: (Some(local.rtcp_port) != local.rtp_port.checked_add(1)).then_some(local.rtcp_port),
        rtcp_mux: p.rtcp_mux && formats.iter().all(Format::can_multiplex),
        direction: source.map_or(Direction::SendRecv, |audio| audio.direction),
    };
    Ok(render(local, vec![line.media(local)]))
}

/// Makes an offer of ours (`body`, with one media line) the successor of our `last` description: its line
/// stands where the live one stood, and all others are still there, refused (RFC 3264 §8: lines never
/// go away).
pub fn succeed(last: &Description, mut body: Vec<u8>) -> Vec<u8> {
    let lines = last.media();
    let live = lines.iter().position(|line| line.port != 0).unwrap_or_default();
    let start = body.windows(MEDIA.len()).position(|part| part == MEDIA).map(|at| at + 2);
    let (Some(start), true) = (start, lines.len() > 1) else { return body };
    let refused = |lines: &[MediaLine]| -> String {
        let line = |l: &MediaLine| format!("m={} 0 {} {}\r\n", l.kind, l.proto, l.formats_text);
        lines.iter().map(line).collect()
    };
    let (before, rest) = lines.split_at_checked(live).unwrap_or_default();
    let (before, after) = (refused(before), refused(rest.get(1..).unwrap_or_default()));
    let (head, line) = body.split_at_checked(start).unwrap_or_default();
    let parts = [head, before.as_bytes(), line, after.as_bytes()];
    let mut whole = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.into_iter().for_each(|part| whole.extend_from_slice(part));
    // It holds keys.
    body.zeroize();
    whole
}

/// Where the media line of a description of ours begins, behind the line before it.
const MEDIA: &[u8] = b"\r\nm=";

/// Writes the answer to a peer's `offer`, of which `chosen` was read, from what the other leg
/// accepted (`far`).
///
/// The audio line repeats the protocol, the payload types and the crypto tag of the offer, or those of
/// the configuration that the offer has as an alternative (RFC 5939); all other lines are refused. An
/// offer of RTP/SAVP is never answered with RTP/AVP.
pub fn write_answer(
    offer: &Description,
    chosen: &Audio,
    far: &Audio,
    p: &Policy,
    local: &Local<'_>,
) -> Result<Vec<u8>, Reject> {
    check_ports(local)?;
    let offered = offer.media().get(chosen.index).filter(|line| line.is_live_audio());
    let offered = offered.ok_or(Reject::Misuse("the chosen audio line is not in the offer"))?;
    let potential = offered.potential(p.security.profile());
    if offered.profile() != p.security.profile() && potential.is_none() {
        let said = crate::text::quotable(&offered.proto);
        return Err(Reject::Profile { said, wanted: p.security.proto() });
    }
    let formats = common_formats(chosen, far, p)?;
    let cryptos = answer_key(&p.security, chosen, local)?;
    let mux = chosen.rtcp_mux && p.rtcp_mux;
    let apart = Some(local.rtcp_port) != local.rtp_port.checked_add(1);
    let line = Line {
        kind: &offered.kind,
        proto: potential.map_or(&offered.proto, |potential| &potential.proto),
        formats: &formats,
        cryptos: cryptos.as_slice(),
        ptime: far.ptime,
        maxptime: far.maxptime,
        rtcp: (apart && !mux).then_some(local.rtcp_port),
        rtcp_mux: mux,
        direction: far.direction.and(chosen.direction.reversed()),
    };
    let lines = offer.media().iter().enumerate().map(|(index, other)| {
        if index == chosen.index {
            let mut media = line.media(local);
            // RFC 5939 §3.6.2: which configuration was taken.
            if let Some(potential) = potential {
                media.add_attribute(Attribute::with_value("acfg", &potential.chosen));
            }
            return media;
        }
        // RFC 3264 §6: same kind and protocol, port 0, at least one format.
        bare_media(&other.kind, 0, &other.proto, other.formats_text.clone())
    });
    Ok(render(local, lines.collect()))
}

/// What the far leg accepted, in its order, under the payload types of the offer; telephone events
/// that end on this leg need nobody's leave.
fn common_formats(chosen: &Audio, far: &Audio, p: &Policy) -> Result<Vec<Format>, Reject> {
    let agreed = chosen.agreed(far).into_iter();
    let mut formats: Vec<_> = agreed
        .map(|(offered, accepted)| Format { fmtp: accepted.fmtp.clone(), ..offered.clone() })
        .collect();
    if formats.iter().all(Format::is_companion) {
        let (offered, allowed) = (names(&chosen.formats), names(&far.formats));
        return Err(Reject::NoCommonFormat { offered, allowed });
    }
    if p.events == Events::Own {
        for event in chosen.formats.iter().filter(|format| format.is_event()) {
            let carried = formats.iter().any(|f| !f.is_companion() && f.clock == event.clock);
            let known = formats.iter().any(|f| f.payload_type == event.payload_type);
            if carried && !known {
                formats.push(event.clone());
            }
        }
    }
    Ok(formats)
}

/// The peer's tag with our key; nothing on a plain line.
fn answer_key<'a>(
    security: &Security,
    chosen: &Audio,
    local: &Local<'a>,
) -> Result<Option<(u32, &'a Key)>, Reject> {
    if !security.encrypts() {
        return Ok(None);
    }
    let theirs =
        chosen.cryptos.first().ok_or(Reject::Misuse("no crypto line was chosen from the offer"))?;
    let [key] = local.keys else {
        return Err(Reject::Misuse("an answer takes exactly one key"));
    };
    if key.suite() != theirs.suite {
        return Err(Reject::Misuse("the key is not of the suite chosen from the offer"));
    }
    if *key == theirs.key {
        return Err(Reject::Misuse("the key is the peer's own; make a fresh one"));
    }
    Ok(Some((theirs.tag, key)))
}

pub(crate) fn check_ports(local: &Local<'_>) -> Result<(), Reject> {
    if local.rtp_port == 0 || local.rtcp_port == 0 {
        return Err(Reject::Misuse("the local RTP or RTCP port is 0, which refuses the audio"));
    }
    if local.address.is_unspecified() || local.address.is_multicast() {
        return Err(Reject::Misuse("the local media address is not a unicast address"));
    }
    Ok(())
}

/// What our audio line says.
struct Line<'a> {
    kind: &'a str,
    proto: &'a str,
    formats: &'a [Format],
    cryptos: &'a [(u32, &'a Key)],
    ptime: Option<u32>,
    maxptime: Option<u32>,
    rtcp: Option<u16>,
    rtcp_mux: bool,
    direction: Direction,
}

impl Line<'_> {
    fn media(&self, local: &Local<'_>) -> Media {
        let numbers: Vec<_> = self.formats.iter().map(|f| f.payload_type.to_string()).collect();
        let mut media = bare_media(self.kind, local.rtp_port, self.proto, numbers.join(" "));
        for format in self.formats {
            let number = format.payload_type;
            media.add_attribute(Attribute::with_value("rtpmap", format!("{number} {format}")));
            if let Some(fmtp) = &format.fmtp {
                media.add_attribute(Attribute::with_value("fmtp", format!("{number} {fmtp}")));
            }
        }
        for &(tag, key) in self.cryptos {
            let mut value = Crypto::write(tag, key);
            let value = Some(std::mem::take(&mut *value));
            media.add_attribute(Attribute { attribute: CRYPTO.to_owned(), value });
        }
        for (name, value) in [("ptime", self.ptime), ("maxptime", self.maxptime)] {
            if let Some(ms) = value {
                media.add_attribute(Attribute::with_value(name, ms));
            }
        }
        if let Some(port) = self.rtcp {
            media.add_attribute(Attribute::with_value("rtcp", port));
        }
        if self.rtcp_mux {
            media.add_attribute(Attribute::new("rtcp-mux"));
        }
        media.add_attribute(Attribute::new(self.direction.name()));
        media
    }
}

pub(crate) fn bare_media(kind: &str, port: u16, proto: &str, fmt: String) -> Media {
    Media {
        media: kind.to_owned(),
        port,
        num_ports: None,
        proto: proto.to_owned(),
        fmt,
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    }
}

/// Writes the description in one piece of memory of the right size, so that no part of a key stays
/// behind in memory that a growing buffer gave back, and wipes the model.
pub(crate) fn render(local: &Local<'_>, medias: Vec<Media>) -> Vec<u8> {
    let origin = Origin::with_ip_addr(local.origin_id, local.origin_version, local.address);
    let mut model = Session::new(origin, "-");
    model.set_connection(Connection::from(local.address));
    model.add_medias(medias);
    let mut size = Size(0);
    let mut body = Vec::new();
    if model.write(&mut size).is_ok() {
        body.reserve_exact(size.0);
    }
    let written = model.write(&mut body);
    debug_assert!(written.is_ok(), "writing to memory cannot fail");
    for attribute in model.medias.iter_mut().flat_map(|media| &mut media.attributes) {
        if attribute.attribute == CRYPTO {
            attribute.value.zeroize();
        }
    }
    body
}

const CRYPTO: &str = "crypto";

/// Counts what would be written.
struct Size(usize);

impl io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
