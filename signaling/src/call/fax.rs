//! Fax (T.38 over UDPTL) in the place of a running call's audio, and back to audio.
//!
//! ```text
//!  re-INVITE m=image ──► both trunks let fax pass? ── no ──► 488, the audio goes on
//!                                │ yes
//!                                └──► Asked (our re-INVITE, m=image) ── 2xx ──► Arming ──► 200
//!                                                  │ refused ──► 488, the audio goes on
//! ```
//! While fax stands, a leg keeps what was last agreed of its audio: the way back is an offer of audio by
//! either side, which the other one is asked for too.

use abi::{FlowId, Update};
use sdp::{Description, Fax, Reject};

use super::asker::Asker;
use super::changing::{Change, Chosen, Outcome, arm};
use super::common::Leg;
use super::negotiate::{self, Agreed, Offered, Ports, Said, Unusable};
use super::ways::Timeouts;
use super::{Common, Desk, Party};

/// Whether a description of `party` is about fax. Where it has audio too, what stands goes on.
pub fn is_meant(description: &Description, common: &Common, party: Party) -> bool {
    description.has_fax() && (stands(common, party).is_some() || !description.has_audio())
}

/// The fax that a side agreed to.
pub fn stands(common: &Common, party: Party) -> Option<&Fax> {
    common.leg(party).standing.as_ref()?.fax.as_ref()
}

/// A side offers fax. When one of both trunks lets none pass, the CDR says so.
pub fn described(
    common: &mut Common,
    desk: &mut Desk<'_>,
    asker: Asker,
    description: Description,
) -> Outcome {
    let (party, other) = (asker.party, asker.party.other());
    let far = common.leg(other).policy.check_fax();
    let chosen = sdp::read_fax_offer(&description, &common.leg(party).policy);
    let chosen = match far.and(chosen) {
        Ok(chosen) => chosen,
        Err(reject) => {
            note_refusal(common, &reject);
            return asker.reject(common, desk, &reject.into());
        }
    };
    let (near, far) = (stands(common, party), stands(common, other));
    let is_new = near.is_none_or(|near| near.parameters != chosen.parameters)
        || common.is_bypassed && near.is_none_or(|near| near.address != chosen.address);
    if let Some(far) = far.filter(|_| !is_new) {
        return match answer(&description, &chosen, far, common, party) {
            Ok(near) => arm(common, desk, asker, near, None, None),
            Err(reject) => asker.reject(common, desk, &reject),
        };
    }
    let ours = match offer(common, other, &chosen) {
        Ok(ours) => ours,
        Err(reject) => return asker.reject(common, desk, &reject),
    };
    match desk.reinvite(common, other, Vec::new(), ours.body.clone()) {
        Some(client) => {
            let chosen = Chosen::Fax(chosen);
            Outcome::Goes(Change::Asked { asker, offer: description, chosen, client, ours })
        }
        None => asker.wait(common, desk),
    }
}

/// Our offer of fax to a side, with what the other one's peer said.
///
/// # Errors
/// [`Unusable`] when the side's trunk lets no fax pass.
pub fn offer(common: &Common, party: Party, said: &Fax) -> Result<Offered, Unusable> {
    let leg = common.leg(party);
    let standing = leg.standing.as_ref().ok_or(Unusable::NoOffer)?;
    let ports = told(common, said).unwrap_or(standing.said.ports);
    let write = |version| {
        let ours = Said { version, ports, ..standing.said.clone() };
        negotiate::offer_fax(&leg.policy, said, ours, &standing.body)
    };
    let offered = write(standing.said.version)?;
    match offered.body == standing.body {
        true => Ok(offered),
        false => write(standing.said.version + 1),
    }
}

/// Our answer to a side's offer of fax, given what the other side agreed to.
///
/// # Errors
/// [`Unusable`] when the side's trunk lets no fax pass.
pub fn answer(
    offer: &Description,
    chosen: &Fax,
    far: &Fax,
    common: &Common,
    party: Party,
) -> Result<Agreed, Unusable> {
    let leg: &Leg = common.leg(party);
    let standing = leg.standing.as_ref().ok_or(Unusable::NoOffer)?;
    let ports = told(common, far).unwrap_or(standing.said.ports);
    let mut said = Said { ports, ..standing.said.clone() };
    let write = |said: &Said| {
        let local = negotiate::local(said);
        sdp::write_fax_answer(offer, chosen, far, &leg.policy, &local)
    };
    let mut body = write(&said)?;
    if body != standing.body {
        said.version += 1;
        body = write(&said)?;
    }
    negotiate::agreed_fax(chosen.clone(), true, said, body.into(), leg)
}

/// What the data plane is told: datagrams pass unread.
pub fn ways([near, far]: [&Agreed; 2], timeouts: Timeouts) -> [Update; 2] {
    let way = |from: &Agreed, to: &Agreed| Update {
        timeout_ms: timeouts.of(false),
        relay: to.place.rtp.is_some() || to.place.is_awaited,
        source_rtp: from.place.rtp,
        destination_rtp: to.place.rtp,
        await_destination: to.place.is_awaited,
        udptl: true,
        learning: from.place.learning,
        ..Update::new(0, FlowId::NONE)
    };
    [way(near, far), way(far, near)]
}

/// Where the peer of a side is told to send, when media goes from peer to peer.
fn told(common: &Common, other: &Fax) -> Option<Ports> {
    let (address, port) = (other.address.ip(), other.address.port());
    common.is_bypassed.then_some(Ports { address, rtp: port, rtcp: port })
}

fn note_refusal(common: &mut Common, reject: &Reject) {
    let note = match reject {
        Reject::FaxInClear => {
            "fax (T.38) was refused: it has no encryption and a trunk must encrypt"
        }
        _ => "fax (T.38) was refused: T38 is not in a trunk's allow list",
    };
    common.cdr.note(note);
}

/// Says in the CDR that the call carried fax.
pub const FAXED: &str = "fax (T.38) passed";
