//! A side of a running call asks for a transfer (REFER, RFC 3515, RFC 5589), as its trunk's `refer`
//! allows.
//!
//! ```text
//!  reject   603
//!  pass     REFER to the other side, its answer and its NOTIFYs back, numbers and status alone
//!  local    202 ── NOTIFY 100 ── another call is made (`table/refers.rs`) ── NOTIFY 180, ...
//!                        │ answered: the other side goes over to it (`joining.rs`)
//!                        ▼
//!                   NOTIFY 200, BYE
//! ```
//! Only the peer of an established dialog is heard, and its trunk answers for what is called: routed
//! as a call of that trunk, under its caps, with a record of its own. One transfer runs in a call.

use std::time::{Duration, Instant};

use sip::endpoint::{ClientId, ServerId};
use sip::wire::{HeaderName, Method, NameAddr, Replaces, Request, StatusCode, Uri};

use super::{Common, Desk, Happening, Party, headers};
use crate::media::Token;
use crate::trunk::refer::ReferPolicy;

/// Whom the other side is to be connected to.
pub struct Wish {
    pub number: String,
    /// The REFER says who sends it: the call that comes of it does too, in our words (RFC 3892).
    pub is_signed: bool,
    /// The dialog of the transferor's that is to be taken over (RFC 5589 §7).
    pub replaces: Option<Replaces>,
}

/// A wish on its way to where calls are made.
pub struct Referred {
    /// The call, and the side that asked.
    pub from: Token,
    pub party: Party,
    pub wish: Wish,
}

/// A transfer that runs.
pub struct Referral {
    /// Who asked.
    pub party: Party,
    /// Tells its REFER from those before (RFC 3515 §2.4.6).
    id: Option<u32>,
    way: Way,
    /// Who asked has hung up; the other side waits for what comes.
    pub has_left: bool,
    /// When it is over, whatever came of it.
    pub until: Instant,
}

enum Way {
    /// The other side was asked; whoever asked us waits.
    Asked { client: ClientId, transaction: ServerId },
    /// The other side does it.
    Passed,
    /// We do it by this call, once it is there.
    Local(Option<Token>),
}

impl Referral {
    /// Takes a REFER; `None` when nothing comes of it.
    pub fn start(
        common: &mut Common,
        desk: &mut Desk<'_>,
        party: Party,
        transaction: ServerId,
        request: &Request,
    ) -> Option<Self> {
        let policy = common.leg(party).refer;
        let read = match policy {
            ReferPolicy::Reject => Err((StatusCode::DECLINE, "the trunk's refer is reject")),
            ReferPolicy::Pass | ReferPolicy::Local => read(request),
        };
        let begun = read.and_then(|wish| {
            let leg = common.leg_mut(party);
            leg.referrals = leg.referrals.saturating_add(1);
            let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
            let id = (leg.referrals > 1).then_some(number);
            let way = match policy {
                ReferPolicy::Pass => pass(common, desk, party, transaction, &wish)?,
                _ => Way::Local(None),
            };
            Ok((wish, way, id))
        });
        match begun {
            Ok((wish, way, id)) => {
                let until = desk.now.checked_add(REFERRAL_LIMIT)?;
                let this = Self { party, id, way, has_left: false, until };
                if let Way::Local(_) = this.way {
                    desk.answer(transaction, StatusCode::ACCEPTED, Vec::new(), None);
                    this.tell(common, desk, StatusCode::TRYING, false);
                    let from = common.token;
                    desk.index.referred.push(Referred { from, party, wish });
                }
                tracing::info!(call = common.id(), ?policy, "a transfer was asked for");
                Some(this)
            }
            Err((status, reason)) => {
                desk.refuse(transaction, status, reason);
                None
            }
        }
    }

    /// The call that is made of it.
    pub fn is_done_by(&mut self, call: Token) {
        if let Way::Local(made) = &mut self.way {
            *made = Some(call);
        }
    }

    /// Whether that call is still to be made.
    pub fn awaits_call(&self) -> bool {
        matches!(self.way, Way::Local(None))
    }

    /// Whether we do it, so that who asked may hang up.
    pub fn is_local(&self) -> bool {
        matches!(self.way, Way::Local(_))
    }

    /// The request of ours that it waits for.
    pub fn client(&self) -> Option<ClientId> {
        match self.way {
            Way::Asked { client, .. } => Some(client),
            _ => None,
        }
    }

    /// The other side answered the REFER, or never did; false when that was the end of it.
    pub fn answered(&mut self, desk: &mut Desk<'_>, status: StatusCode) -> bool {
        let Way::Asked { transaction, .. } = self.way else { return true };
        if status.is_provisional() {
            return true;
        }
        // Its challenges and redirections are between it and us.
        let passed = match headers::status_toward_caller(status) {
            passed if passed.is_success() => StatusCode::ACCEPTED,
            passed => passed,
        };
        desk.answer(transaction, passed, Vec::new(), None);
        self.way = Way::Passed;
        passed.is_success()
    }

    /// A NOTIFY of the other side; false when it was the last one.
    pub fn notified(
        &mut self,
        common: &mut Common,
        desk: &mut Desk<'_>,
        transaction: ServerId,
        request: &Request,
    ) -> bool {
        let event = request.headers.event().ok().flatten();
        if event.is_none_or(|event| event.package != "refer") {
            desk.answer(transaction, StatusCode::BAD_EVENT, Vec::new(), None);
            return true;
        }
        let state = request.headers.subscription_state().ok().flatten();
        let (Some(state), Some(status)) = (state, status_of(&request.body)) else {
            desk.answer(transaction, StatusCode::BAD_REQUEST, Vec::new(), None);
            return true;
        };
        desk.answer(transaction, StatusCode::OK, Vec::new(), None);
        let is_last = state.is_terminated() || status.is_final();
        // The other side may have been quicker to tell than to answer.
        if let Way::Asked { transaction, .. } = self.way {
            desk.answer(transaction, StatusCode::ACCEPTED, Vec::new(), None);
            self.way = Way::Passed;
        }
        self.tell(common, desk, status, is_last);
        !is_last
    }

    /// Tells who asked, unless it has hung up.
    pub fn tell(
        &self,
        common: &mut Common,
        desk: &mut Desk<'_>,
        status: StatusCode,
        is_last: bool,
    ) {
        let left = self.until.saturating_duration_since(desk.now).as_secs();
        let expires_s = Some(left).filter(|_| !is_last);
        desk.notify(common, self.party, self.id, status, expires_s);
    }

    /// The call ends, and the transfer with it.
    pub fn abandon(self, desk: &mut Desk<'_>) {
        match self.way {
            Way::Asked { transaction, .. } => {
                desk.answer(transaction, StatusCode::REQUEST_TERMINATED, Vec::new(), None);
            }
            Way::Local(Some(made)) => desk.tell_call(made, Happening::Cancelled),
            Way::Local(None) | Way::Passed => {}
        }
    }
}

/// Asks the other side to do it. Who it is to call is written as its trunk writes it, at our place in
/// the world: nothing of the transferor's reaches it.
fn pass(
    common: &mut Common,
    desk: &mut Desk<'_>,
    party: Party,
    transaction: ServerId,
    wish: &Wish,
) -> Result<Way, (StatusCode, &'static str)> {
    if wish.replaces.is_some() {
        let reason = "it names a dialog, which the other side does not know";
        return Err((StatusCode::DECLINE, reason));
    }
    let other = party.other();
    let trunks = [party, other].map(|party| desk.trunks.get(common.leg(party).trunk));
    let [Some(from), Some(to)] = trunks else {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "a trunk is gone"));
    };
    let number = to.numbering.called_out(&from.numbering.called_in(&wish.number));
    let uri = headers::callee_uri(to, &number).map_err(|why| (why.status, why.reason))?;
    let client = desk.refer(common, other, NameAddr::new(uri).to_string());
    let gone = (StatusCode::SERVICE_UNAVAILABLE, "the other side cannot be asked");
    client.map(|client| Way::Asked { client, transaction }).ok_or(gone)
}

/// Whom a REFER names.
fn read(request: &Request) -> Result<Wish, (StatusCode, &'static str)> {
    let Ok(Some(target)) = request.headers.refer_to() else {
        return Err((StatusCode::BAD_REQUEST, "Refer-To is missing, not one, or cannot be read"));
    };
    let Ok(referrer) = request.headers.referred_by() else {
        return Err((
            StatusCode::BAD_REQUEST,
            "Referred-By cannot be read, or there is more than one",
        ));
    };
    let is_signed = referrer.is_some();
    let demanded = request.headers.list(&HeaderName::Require).unwrap_or_default();
    if !demanded.is_empty() {
        return Err((StatusCode::BAD_EXTENSION, "it requires an extension"));
    }
    let uri = target.uri.as_sip();
    let method = uri.and_then(|uri| uri.params.get("method"));
    if method.is_some_and(|method| !method.eq_ignore_ascii_case(Method::Invite.as_str().as_bytes()))
    {
        return Err((StatusCode::DECLINE, "Refer-To asks for something else than a call"));
    }
    let replaces =
        match uri.and_then(|uri| uri.header("Replaces")).map(|text| Replaces::parse(&text)) {
            Some(Err(_)) => return Err((StatusCode::BAD_REQUEST, "Replaces cannot be read")),
            Some(Ok(replaces)) => Some(replaces),
            None => None,
        };
    match (headers::called_number(&target.uri), &target.uri) {
        (Some(number), _) => Ok(Wish { number, is_signed, replaces }),
        // Who names a dialog need name no number.
        (None, Uri::Sip(_)) if replaces.is_some() => {
            Ok(Wish { number: String::new(), is_signed, replaces })
        }
        (None, Uri::Other(_)) => {
            Err((StatusCode::UNSUPPORTED_URI_SCHEME, "Refer-To is no telephone number"))
        }
        (None, _) => Err((StatusCode::ADDRESS_INCOMPLETE, "Refer-To names nobody")),
    }
}

/// The status in the first line of a fragment (RFC 3420). Nothing else of it is looked at, and nothing
/// else is passed on.
pub fn status_of(fragment: &[u8]) -> Option<StatusCode> {
    let line = fragment.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let mut words = line.split(|byte| *byte == b' ');
    let version = words.next()?;
    let code = std::str::from_utf8(words.next()?).ok()?;
    let is_status = version.eq_ignore_ascii_case(b"SIP/2.0") && code.len() == 3;
    is_status.then(|| StatusCode::new(code.parse().ok()?)).flatten()
}

/// How long a transfer may take: as long as a call may ring where its route does not say.
pub const REFERRAL_LIMIT: Duration = Duration::from_secs(180);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_fragment_only_a_whole_status_line_counts() {
        for (fragment, expected) in [
            ("SIP/2.0 200 OK", Some(200)),
            ("SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 192.0.2.1\r\n", Some(180)),
            ("sip/2.0 503", Some(503)),
            ("SIP/2.0 99 Low", None),
            ("SIP/2.0 700 High", None),
            ("SIP/2.0 +20 OK", None),
            ("SIP/2.0  200 OK", None),
            ("SIP/3.0 200 OK", None),
            ("INVITE sip:a@b SIP/2.0", None),
            ("\r\nSIP/2.0 200 OK", None),
            ("", None),
        ] {
            let status = status_of(fragment.as_bytes()).map(StatusCode::code);
            assert_eq!(status, expected, "{fragment}");
        }
        let whole = b"SIP/2.0 200 OK\r\n";
        for end in 0..whole.len() {
            for byte in 0..=u8::MAX {
                let mut damaged = whole[..end].to_vec();
                damaged.push(byte);
                let _no_panic = status_of(&damaged);
            }
        }
    }
}
