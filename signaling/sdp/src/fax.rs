//! Fax by T.38 over UDPTL (ITU-T T.38 annex D): an `m=image` line that stands where the audio line of
//! the call stood (RFC 3264 §8.3.3).
//!
//! ```text
//! m=image 4820 udptl t38              what a fax machine's gateway offers when it hears a fax,
//! a=T38FaxVersion:0                   inside of a call that began as audio
//! a=T38FaxRateManagement:transferredTCF
//! ```
//! What the datagrams hold is between the two machines: their parameters pass from leg to leg as they
//! were said, addresses and ports are ours. UDPTL has no encryption.

use std::net::SocketAddr;

use sdp_types::{Attribute, Media};

use crate::description::MediaLine;
use crate::limits::FAX_VALUE_BYTES_MAX;
use crate::write::{bare_media, check_ports, render};
use crate::{Codec, Description, Local, Policy, Reject};

/// What one peer said about fax: all that crosses from one leg to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fax {
    /// Where the peer wants datagrams.
    pub address: SocketAddr,
    /// Parameters, spelled and ordered as in [`ATTRIBUTES`]; some have no value.
    pub parameters: Vec<(&'static str, Option<String>)>,
    /// Position of the media line in the description, from 0.
    pub index: usize,
}

impl Description {
    /// There is a fax line that is not refused by port 0.
    pub fn has_fax(&self) -> bool {
        self.media().iter().any(MediaLine::is_live_fax)
    }

    /// There is an audio line that is not refused by port 0.
    pub fn has_audio(&self) -> bool {
        self.media().iter().any(MediaLine::is_live_audio)
    }
}

impl Policy {
    /// Whether fax may pass.
    ///
    /// # Errors
    /// [`Reject::FaxInClear`] where media must be encrypted, [`Reject::NoCommonFormat`] where T38 is
    /// not allowed.
    pub fn check_fax(&self) -> Result<(), Reject> {
        if self.security.encrypts() {
            return Err(Reject::FaxInClear);
        }
        if self.permits_codec(Codec::T38) {
            return Ok(());
        }
        Err(Reject::NoCommonFormat {
            offered: vec![Codec::T38.name().to_owned()],
            allowed: self.names(),
        })
    }
}

/// Reads the fax line of a peer's offer.
///
/// # Errors
/// [`Reject`] when there is none, the policy lets no fax pass, or the line has no usable address.
pub fn read_fax_offer(d: &Description, p: &Policy) -> Result<Fax, Reject> {
    let mut lines = d.media().iter().enumerate();
    let (index, line) = lines.find(|(_, line)| line.is_live_fax()).ok_or(Reject::FaxRefused)?;
    p.check_fax()?;
    read_line(index, line)
}

/// Reads a peer's answer to the fax that we offered (`ours`).
///
/// # Errors
/// [`Reject`] when it has other lines than the offer, or refuses the fax line.
pub fn read_fax_answer(d: &Description, ours: &Description) -> Result<Fax, Reject> {
    let (wanted, found) = (ours.media_lines(), d.media_lines());
    if wanted != found {
        return Err(Reject::MediaLines { wanted, found });
    }
    let mut lines = ours.media().iter().zip(d.media()).enumerate();
    let accepted = lines.find(|(_, (offer, answer))| offer.is_live_fax() && answer.is_live_fax());
    let (index, (_, line)) = accepted.ok_or(Reject::FaxRefused)?;
    read_line(index, line)
}

/// Writes an offer of fax alone, with the parameters of the other leg (`source`).
///
/// # Errors
/// [`Reject`] when the policy lets no fax pass, or we have no port.
pub fn write_fax_offer(source: &Fax, p: &Policy, local: &Local<'_>) -> Result<Vec<u8>, Reject> {
    p.check_fax()?;
    check_ports(local)?;
    Ok(render(local, vec![media("image", "udptl", "t38", source, local)]))
}

/// Writes the answer to a peer's `offer`, of which `chosen` was read, from what the other leg accepted
/// (`far`). All other lines are refused.
///
/// # Errors
/// [`Reject`] when the policy lets no fax pass, or we have no port.
pub fn write_fax_answer(
    offer: &Description,
    chosen: &Fax,
    far: &Fax,
    p: &Policy,
    local: &Local<'_>,
) -> Result<Vec<u8>, Reject> {
    p.check_fax()?;
    check_ports(local)?;
    let is_there = offer.media().get(chosen.index).is_some_and(MediaLine::is_live_fax);
    if !is_there {
        return Err(Reject::Misuse("the chosen fax line is not in the offer"));
    }
    let lines = offer.media().iter().enumerate().map(|(index, line)| {
        if index == chosen.index {
            let format = line.fax_format().unwrap_or("t38");
            return media(&line.kind, &line.proto, format, far, local);
        }
        // RFC 3264 §6: same kind and protocol, port 0, at least one format.
        bare_media(&line.kind, 0, &line.proto, line.formats_text.clone())
    });
    Ok(render(local, lines.collect()))
}

impl MediaLine {
    /// A line of T.38 over UDPTL that is not refused by port 0.
    pub(crate) fn is_live_fax(&self) -> bool {
        self.kind.eq_ignore_ascii_case("image")
            && self.proto.eq_ignore_ascii_case("udptl")
            && self.port != 0
            && self.fax_format().is_some()
    }

    /// `t38`, as the peer wrote it.
    fn fax_format(&self) -> Option<&str> {
        self.formats_text.split(' ').find(|word| word.eq_ignore_ascii_case("t38"))
    }
}

fn read_line(index: usize, line: &MediaLine) -> Result<Fax, Reject> {
    let address = SocketAddr::new(line.address()?, line.port);
    let said = ATTRIBUTES.into_iter().filter_map(|name| Some((name, line.first(name)?)));
    let usable = said.filter(|(_, value)| value.is_none_or(is_parameter));
    let parameters = usable.map(|(name, value)| (name, value.map(str::to_owned))).collect();
    Ok(Fax { address, parameters, index })
}

/// Numbers and words such as `transferredTCF`: nothing that could name a place.
fn is_parameter(value: &str) -> bool {
    (1..=FAX_VALUE_BYTES_MAX).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn media(kind: &str, proto: &str, format: &str, said: &Fax, local: &Local<'_>) -> Media {
    let mut media = bare_media(kind, local.rtp_port, proto, format.to_owned());
    for (name, value) in &said.parameters {
        media.add_attribute(match value {
            Some(value) => Attribute::with_value(*name, value),
            None => Attribute::new(*name),
        });
    }
    media
}

/// The parameters of fax (ITU-T T.38 D.2.3), with two that implementations add; the vendor's name
/// stays where it is.
pub(crate) const ATTRIBUTES: [&str; 13] = [
    "T38FaxVersion",
    "T38MaxBitRate",
    "T38FaxFillBitRemoval",
    "T38FaxTranscodingMMR",
    "T38FaxTranscodingJBIG",
    "T38FaxRateManagement",
    "T38FaxMaxBuffer",
    "T38FaxMaxDatagram",
    "T38FaxMaxIFP",
    "T38FaxUdpEC",
    "T38FaxUdpECDepth",
    "T38FaxUdpFECMaxSpan",
    "T38ModemType",
];
