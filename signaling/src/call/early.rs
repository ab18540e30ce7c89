//! A side describes its media anew before the call is answered: an UPDATE in its early dialog
//! (RFC 3311 §5.2). That needs an offer that is answered, on that leg, beyond doubt: by an answer that
//! was acknowledged by PRACK, or by one that the callee gave us.
//!
//! The other side is not asked: it cannot be while its own INVITE runs. What it does goes on, and what
//! turned (hold) is kept by the data plane. The session timer is that of the INVITE's answer, which
//! comes later.

use sip::endpoint::ServerId;
use sip::wire::{Request, StatusCode};

use super::asker::Asker;
use super::negotiate::{self, Agreed, Unusable};
use super::{Common, Desk, Party, headers, renegotiate};

/// Answers an UPDATE of `party`; what the party agreed to if that is news. `legs` is what stands on
/// both sides, with media.
pub fn update(
    common: &mut Common,
    desk: &mut Desk<'_>,
    party: Party,
    transaction: ServerId,
    request: &Request,
    legs: Option<[&Agreed; 2]>,
) -> Option<Agreed> {
    let asker = Asker::of(common, desk, party, transaction, request)?;
    let Some(body) = headers::sdp_of(&request.headers, &request.body) else {
        let _the_invite_sets_timers = asker.accept(common, desk, None);
        return None;
    };
    let Some(legs) = legs.filter(|_| is_settled(common, desk, party)) else {
        // The INVITE's offer has no answer yet (RFC 3311 §5.2).
        let pause = headers::retry_after(desk);
        desk.answer(transaction, StatusCode::SERVER_INTERNAL_ERROR, vec![pause], None);
        return None;
    };
    match agree(common, desk, party, body, legs) {
        Ok(agreed) => {
            let _the_invite_sets_timers = asker.accept(common, desk, Some(agreed.body.clone()));
            Some(agreed)
        }
        Err(reject) => {
            let _nothing_goes_on = asker.reject(common, desk, &reject);
            None
        }
    }
}

/// Whether the answer to the first offer of that leg is known to both.
fn is_settled(common: &Common, desk: &Desk<'_>, party: Party) -> bool {
    match party {
        _ if common.is_bypassed => false,
        Party::Caller => common.caller.acknowledged.covers(true),
        // Which of several phones is heard then is nobody's to say.
        Party::Callee => {
            let is_callee = |(_, party): &(_, Party)| *party == Party::Callee;
            let dialogs = common.dialogs.iter().filter_map(|one| desk.index.dialogs.get(one));
            dialogs.filter(|one| is_callee(one)).count() == 1
        }
    }
}

/// Media changes at once, as early media begins.
fn agree(
    common: &mut Common,
    desk: &mut Desk<'_>,
    party: Party,
    body: &[u8],
    [near, far]: [&Agreed; 2],
) -> Result<Agreed, Unusable> {
    let leg = common.leg(party);
    let (offer, chosen) = negotiate::read(body, &leg.policy)?;
    let other = match party {
        Party::Caller => far,
        Party::Callee => near,
    };
    let agreed = renegotiate::answer(&offer, &chosen, &other.audio, leg, None, desk.entropy)?;
    match party {
        Party::Caller => common.connect(desk, &agreed, far)?,
        Party::Callee => common.connect(desk, near, &agreed)?,
    };
    Ok(agreed)
}
