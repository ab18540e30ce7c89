use std::net::{IpAddr, SocketAddr};

use crate::description::{MediaLine, unicast};
use crate::limits::PTIME_MS_MAX;
use crate::policy::names;
use crate::text::quotable;
use crate::{Audio, Crypto, CryptoError, Description, Direction, Format, Policy, Reject};

/// Reads a peer's offer: the first audio line whose profile, formats, keys and address all fit.
///
/// With several audio lines and none that fits, the reason is that of the first whose profile fits.
pub fn read_offer(d: &Description, p: &Policy) -> Result<Audio, Reject> {
    let mut reason = None;
    for (index, line) in d.media().iter().enumerate().filter(|(_, line)| line.is_live_audio()) {
        match read_offered_line(d, index, line, p) {
            Ok(audio) => return Ok(audio),
            Err(reject) if matches!(reason, None | Some(Reject::Profile { .. })) => {
                reason = Some(reject);
            }
            Err(_) => {}
        }
    }
    Err(reason.unwrap_or_else(|| no_audio(d)))
}

/// Reads a peer's answer to the offer that we wrote (`ours`).
///
/// The answer must have as many media lines as the offer, the profile of the policy, and under a
/// tag and suite that we offered a key that is not ours. Formats that we did not offer are left
/// out.
pub fn read_answer(d: &Description, ours: &Description, p: &Policy) -> Result<Audio, Reject> {
    let (wanted, found) = (ours.media_lines(), d.media_lines());
    if wanted != found {
        return Err(Reject::MediaLines { wanted, found });
    }
    if !ours.media().iter().any(MediaLine::is_live_audio) {
        return Err(no_audio(ours));
    }
    let lines = ours.media().iter().zip(d.media()).enumerate();
    let mut accepted = lines.filter(|(_, (o, a))| o.is_live_audio() && a.is_live_audio());
    let (index, (offered, line)) = accepted.next().ok_or(Reject::Refused)?;
    check_profile(line, p)?;
    let said = line.formats();
    let sent = offered.formats();
    let common: Vec<Format> =
        said.iter().filter(|format| format.find_in(&sent).is_some()).cloned().collect();
    let formats = p
        .filter(&common)
        .map_err(|_| Reject::NoCommonFormat { offered: names(&said), allowed: names(&sent) })?;
    let cryptos = answered_crypto(line, offered, p)?;
    let mut audio = read_line(d, index, line, formats, offered.has("rtcp-mux") && p.rtcp_mux)?;
    audio.direction = audio.direction.and(ours.direction(offered).reversed());
    audio.secure = p.security.encrypts();
    audio.cryptos = cryptos;
    Ok(audio)
}

fn read_offered_line(
    d: &Description,
    index: usize,
    line: &MediaLine,
    p: &Policy,
) -> Result<Audio, Reject> {
    let potential = line.potential(p.security.profile());
    if potential.is_none() {
        check_profile(line, p)?;
    }
    let formats = p.select(&line.formats())?;
    let cryptos = match (p.security.encrypts(), potential) {
        (true, Some(potential)) => usable_cryptos(&potential.cryptos, p)?,
        (true, None) => usable_cryptos(&line.cryptos, p)?,
        (false, _) => Vec::new(),
    };
    let mut audio = read_line(d, index, line, formats, p.rtcp_mux)?;
    audio.secure = p.security.encrypts();
    audio.cryptos = cryptos;
    Ok(audio)
}

fn check_profile(line: &MediaLine, p: &Policy) -> Result<(), Reject> {
    if line.profile() == p.security.profile() {
        return Ok(());
    }
    Err(Reject::Profile { said: quotable(&line.proto), wanted: p.security.proto() })
}

/// What offer and answer have in common; keys are left to the caller.
fn read_line(
    d: &Description,
    index: usize,
    line: &MediaLine,
    formats: Vec<Format>,
    mux_allowed: bool,
) -> Result<Audio, Reject> {
    let address = line.address()?;
    let rtp = SocketAddr::new(address, line.port);
    let rtcp_mux = mux_allowed && line.has("rtcp-mux") && formats.iter().all(Format::can_multiplex);
    let rtcp = if rtcp_mux { rtp } else { rtcp_address(line, address)? };
    let said = d.direction(line);
    // RFC 3264 §8.4: to this address nothing is sent, whatever the attribute says.
    let direction = if address.is_unspecified() { said.and(Direction::SendOnly) } else { said };
    Ok(Audio {
        rtp,
        rtcp,
        rtcp_mux,
        direction,
        formats,
        ptime: milliseconds(line, "ptime"),
        maxptime: milliseconds(line, "maxptime"),
        secure: false,
        cryptos: Vec::new(),
        index,
    })
}

/// `a=rtcp` (RFC 3605 §2.1), else the next port. An attribute that names no port or no unicast
/// address counts as absent.
fn rtcp_address(line: &MediaLine, address: IpAddr) -> Result<SocketAddr, Reject> {
    if let Some(said) = line.value("rtcp").and_then(|value| parse_rtcp(value, address)) {
        return Ok(said);
    }
    let port = line.port.checked_add(1).ok_or(Reject::Port { port: line.port })?;
    Ok(SocketAddr::new(address, port))
}

/// `53020` or `53020 IN IP4 126.16.64.4`.
fn parse_rtcp(value: &str, address: IpAddr) -> Option<SocketAddr> {
    let mut words = value.split([' ', '\t']).filter(|word| !word.is_empty());
    let port = words.next()?.parse().ok().filter(|&port: &u16| port > 0)?;
    let address = match (words.next(), words.next(), words.next(), words.next()) {
        (None, ..) => address,
        (Some(_), Some(_), Some(own), None) => unicast(own).ok()?,
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

fn milliseconds(line: &MediaLine, attribute: &str) -> Option<u32> {
    let value = line.value(attribute)?.trim().parse().ok();
    value.filter(|ms| (1..=PTIME_MS_MAX).contains(ms))
}

/// Lines that the policy can use, in the peer's order of preference (RFC 4568 §5.1.2).
fn usable_cryptos(
    lines: &[Result<Crypto, CryptoError>],
    p: &Policy,
) -> Result<Vec<Crypto>, Reject> {
    let wanted = p.security.suites();
    let mut usable: Vec<Crypto> = Vec::new();
    let mut skipped = Vec::new();
    for crypto in lines {
        match crypto {
            Err(error) => skipped.push(error.clone()),
            Ok(crypto) if !p.security.accepts(crypto.suite) => {
                skipped.push(CryptoError::NotAllowed(crypto.suite));
            }
            Ok(crypto) if usable.iter().any(|earlier| earlier.tag == crypto.tag) => {
                skipped.push(CryptoError::RepeatedTag);
            }
            Ok(crypto) => usable.push(crypto.clone()),
        }
    }
    if !usable.is_empty() {
        return Ok(usable);
    }
    Err(Reject::NoCrypto { wanted: wanted.to_vec(), skipped })
}

/// The one line of an answer (RFC 4568 §5.1.3): tag and suite of one that we offered.
fn answered_crypto(
    line: &MediaLine,
    offered: &MediaLine,
    p: &Policy,
) -> Result<Vec<Crypto>, Reject> {
    if !p.security.encrypts() {
        return Ok(Vec::new());
    }
    let usable = usable_cryptos(&line.cryptos, p)?;
    let ours = || offered.cryptos.iter().flatten();
    let matches = |answer: &Crypto| ours().any(|o| o.tag == answer.tag && o.suite == answer.suite);
    let foreign = usable.first().map(|first| (first.tag, first.suite));
    let Some(chosen) = usable.into_iter().find(matches) else {
        let none =
            || Reject::NoCrypto { wanted: p.security.suites().to_vec(), skipped: Vec::new() };
        let (tag, suite) = foreign.ok_or_else(none)?;
        return Err(Reject::ForeignCrypto { tag, suite });
    };
    if ours().any(|own| own.key.shares_secret(&chosen.key)) {
        return Err(Reject::EchoedKey);
    }
    Ok(vec![chosen])
}

fn no_audio(d: &Description) -> Reject {
    let name = |line: &MediaLine| quotable(&format!("{} {}", line.kind, line.proto));
    Reject::NoAudio { offered: d.media().iter().map(name).collect() }
}
