//! Offer and answer of a leg that talks already: what stands is kept where nobody changed it.
//!
//! Our key and its suite stay, so that packets go on under one key stream (RFC 4568 §7.1.4); the
//! numbers of formats stay (RFC 3264 §8.3.2); the version of our description moves only when its
//! text does (RFC 3264 §8).

use sdp::{Audio, Description, Direction, Format, Policy, Security};

use super::common::Leg;
use super::negotiate::{self, Agreed, Entropy, Offered, Ports, Said, Unusable};

/// Our answer to a new offer of a leg's peer, given what the other leg agreed to. It names `told` as
/// where media goes, else the ports that stand.
///
/// # Errors
/// [`Unusable`] when the offer leaves nothing that the other leg agreed to.
pub fn answer(
    offer: &Description,
    chosen: &Audio,
    far: &Audio,
    leg: &Leg,
    told: Option<Ports>,
    entropy: Entropy<'_>,
) -> Result<Agreed, Unusable> {
    let standing = leg.standing.as_ref().ok_or(Unusable::NoOffer)?;
    let mut chosen = chosen.clone();
    let own = standing.said.keys.first();
    // The suite that stands goes first if the peer still offers it.
    if let Some(own) = own
        && let Some(at) = chosen.cryptos.iter().position(|crypto| crypto.suite == own.suite())
    {
        chosen.cryptos.swap(0, at);
    }
    let suite = chosen.cryptos.first().map(|crypto| crypto.suite);
    let kept = own.filter(|own| Some(own.suite()) == suite).cloned();
    let keys = match (kept, suite) {
        (Some(kept), _) => vec![kept],
        (None, Some(suite)) => vec![negotiate::fresh(suite, entropy)?],
        (None, None) => Vec::new(),
    };
    let ports = told.unwrap_or(standing.said.ports);
    let mut said = Said { keys, ports, ..standing.said.clone() };
    let write = |said: &Said| {
        let local = negotiate::local(said);
        sdp::write_answer(offer, &chosen, far, &leg.policy, &local)
    };
    let mut body = write(&said)?;
    if body != standing.body {
        said.version += 1;
        body = write(&said)?;
    }
    said.formats = negotiate::formats_of(&body, &leg.policy)?;
    negotiate::agreed(chosen, true, said, body.into(), leg)
}

/// Our new offer to a leg's peer: what stands, in another direction (a hold as its trunk writes it), with the formats that the other
/// leg's peer (`far`) has now. A format that both legs know keeps its number. It names `told` as where
/// media goes, else the ports that stand.
///
/// # Errors
/// [`Unusable`] when nothing may be offered.
pub fn offer(
    leg: &Leg,
    far: Option<&Audio>,
    direction: Direction,
    told: Option<Ports>,
) -> Result<Offered, Unusable> {
    let standing = leg.standing.as_ref().ok_or(Unusable::NoOffer)?;
    let formats = match far {
        Some(far) => renumbered(&far.formats, &standing.said.formats),
        None => standing.said.formats.clone(),
    };
    let direction = leg.hold_style.writes(direction);
    let source = Audio { formats, direction, ..standing.audio.clone() };
    let policy = pinned(leg);
    let last = Some(&standing.body[..]);
    let write = |said: Said| negotiate::write_offer(&policy, Some(&source), said, last);
    let ports = told.unwrap_or(standing.said.ports);
    let said = Said { ports, ..standing.said.clone() };
    let offered = write(said.clone())?;
    if offered.body == standing.body {
        return Ok(offered);
    }
    write(Said { version: said.version + 1, ..said })
}

/// The formats of `theirs`, each under the number that it has in `known`; new ones under their own
/// unless that is taken.
fn renumbered(theirs: &[Format], known: &[Format]) -> Vec<Format> {
    let mut kept: Vec<Format> = Vec::with_capacity(theirs.len());
    for format in theirs {
        let number = format.find_in(known).map_or(format.payload_type, |own| own.payload_type);
        let taken = |other: &Format| other.payload_type == number && !other.is_same_as(format);
        if !known.iter().any(taken) && kept.iter().all(|other| other.payload_type != number) {
            kept.push(Format { payload_type: number, ..format.clone() });
        }
    }
    kept
}

/// The leg's policy with the one suite that stands.
pub fn pinned(leg: &Leg) -> Policy {
    let suite = leg.standing.as_ref().and_then(|standing| standing.suite);
    let security = match (suite, &leg.policy.security) {
        (Some(suite), Security::BestEffort { .. }) => {
            Security::BestEffort { suites: vec![suite], unoffered: Vec::new() }
        }
        (Some(suite), _) => Security::secure(vec![suite]),
        (None, security) => security.clone(),
    };
    Policy { security, ..leg.policy.clone() }
}
