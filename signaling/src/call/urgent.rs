//! Whether a call is one of an emergency route: such a one is never turned away because there is much
//! to do. Asked only when there is, because it costs what finding a route costs.

use jiff::Timestamp;
use sip::endpoint::Welcome;
use sip::wire::Request;

use super::headers;
use super::identity::Caller;
use crate::plan::View;
use crate::route::{Query, entry};
use crate::trunk::TrunkId;

/// What becomes of a new INVITE of the trunk when others are refused.
pub fn welcome(view: &View, from: TrunkId, invite: &Request, wall: Timestamp) -> Welcome {
    match is_urgent(view, from, invite, wall) {
        Some(true) => Welcome::Urgent,
        _ => Welcome::Shed,
    }
}

/// `None` when the INVITE would be refused for what it is.
fn is_urgent(view: &View, from: TrunkId, invite: &Request, wall: Timestamp) -> Option<bool> {
    let caller = view.table.get(from)?;
    let written = headers::called_number(&invite.uri)?;
    let called = caller.numbering.called_in(&written);
    entry::admit(caller, &written, &called).ok()?;
    let mut who = Caller::of(invite, &caller.identity);
    who.read_by(&caller.numbering);
    let number = who.number();
    let query = Query { from, called: &called, caller: &number, at: wall };
    Some(view.plan.routes.is_emergency(&query))
}
