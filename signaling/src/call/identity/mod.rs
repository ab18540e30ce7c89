//! Who calls: what the caller's trunk said and may be believed, and what the callee's is told.
//!
//! ```text
//!  From, P-Asserted-Identity, Remote-Party-ID, Privacy ──► Caller ──► From, P-Asserted-Identity,
//!  Diversion, History-Info                                             Remote-Party-ID, Privacy,
//!                                                                      Diversion, History-Info
//! ```
//! Nothing is copied: each header is written anew, with numbers and names alone, at our host. Who
//! asks for privacy (RFC 3323) is shown to nobody but a trunk that is trusted with it (RFC 3325).

mod diversion;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use sip::wire::{HeaderName, Headers, Host, NameAddr, ParseError, Request, SipUri, Uri};

use crate::route::Numbering;
use crate::trunk::Trunk;
use crate::trunk::identity::{CallerIdPolicy, IdentityRules, SendRpid};

use diversion::Diversion;

/// Who calls, as far as the caller's trunk is believed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Caller {
    /// The number or user; none for a caller that does not say.
    user: Option<Bytes>,
    display: Option<Bytes>,
    /// The trunk vouches for it, and is believed.
    is_asserted: bool,
    /// The caller wants to stay unknown.
    is_private: bool,
    /// Latest first.
    diversions: Vec<Diversion>,
}

/// What the callee's trunk is told of the caller.
pub struct Shown {
    pub from: String,
    pub headers: Vec<(HeaderName, String)>,
}

/// Why a trunk cannot be told who calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unshowable {
    #[error(
        "the caller's number is not one of the trunk's, and its caller_id_policy denies others"
    )]
    Foreign,
    #[error("the host that From should show cannot be written")]
    Host,
}

impl From<ParseError> for Unshowable {
    fn from(_: ParseError) -> Self {
        Self::Host
    }
}

impl Caller {
    /// What a request says of who sends it, to one who believes its trunk as `rules` say. What
    /// cannot be read says nothing.
    pub fn of(request: &Request, rules: &IdentityRules) -> Self {
        let headers = &request.headers;
        let mut caller = Self::of_from(headers);
        caller.is_private |= asks_privacy(headers);
        if !rules.trust_inbound_identity {
            return caller;
        }
        let rpid = remote_party(headers);
        let restricts = |rpid: &NameAddr| rpid.params.get("privacy").is_some_and(restricted);
        caller.is_private |= rpid.as_ref().is_some_and(restricts);
        let asserted = headers.name_addrs(&HeaderName::PAssertedIdentity).unwrap_or_default();
        let named = asserted.into_iter().chain(rpid).find(|value| user_of(&value.uri).is_some());
        if let Some(named) = named {
            caller.user = user_of(&named.uri);
            caller.display = named.display.or(caller.display);
            caller.is_asserted = true;
        }
        caller.diversions = diversion::read(headers);
        caller
    }

    /// What a call keeps of it: the number, and whether it may be shown; no slice of a message.
    pub fn remembered(&self) -> Self {
        let user = self.user.as_deref().map(Bytes::copy_from_slice);
        Self { user, is_private: self.is_private, ..Self::default() }
    }

    /// Somebody who was called by this number, and is now to call.
    pub fn called(number: &str) -> Self {
        let user = Some(Bytes::copy_from_slice(number.as_bytes())).filter(|user| !user.is_empty());
        Self { user, ..Self::default() }
    }

    fn of_from(headers: &Headers) -> Self {
        let Ok(from) = headers.from() else { return Self::default() };
        if is_anonymous(&from.uri) {
            return Self { is_private: true, ..Self::default() };
        }
        Self { user: user_of(&from.uri), display: from.display, ..Self::default() }
    }

    /// For the CDR and for caller patterns of routes; empty for a caller that does not say.
    pub fn number(&self) -> String {
        self.user.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned()
    }

    /// Brings the number from its trunk's writing into ours.
    pub fn read_by(&mut self, numbering: &Numbering) {
        self.user = self.user.take().map(|user| rewritten(user, |text| numbering.caller_in(text)));
    }

    /// What `trunk` is told, by a gateway called `host`.
    ///
    /// # Errors
    /// [`Unshowable`] when the trunk's policy refuses this caller.
    pub fn toward(&self, trunk: &Trunk, host: &str, called: &Uri) -> Result<Shown, Unshowable> {
        let rules = &trunk.identity;
        let user = self.presented(trunk)?;
        let own = rules.caller_id_policy == CallerIdPolicy::Trunk || user != self.user;
        let user = user.map(|user| rewritten(user, |text| trunk.numbering.caller_out(text)));
        let display = self.display.clone().filter(|_| !own);
        let host = Host::parse(trunk.from_domain.as_deref().unwrap_or(host).as_bytes())?;
        let at = Place { host: &host, user_phone: rules.user_phone };
        let from = if self.is_private {
            String::from(ANONYMOUS)
        } else {
            let account = trunk.from_user.clone().map(Bytes::from);
            let user = account.or(user.clone()).unwrap_or(Bytes::from_static(b"anonymous"));
            at.address(user, display.clone()).to_string()
        };
        let mut headers = Vec::new();
        if let Some(user) = user.filter(|_| !self.is_private || rules.trust_identity) {
            self.assert(rules, &at.address(user, display), &mut headers);
        }
        let shows = |diversion: &&Diversion| !diversion.is_private || rules.trust_identity;
        let diversions: Vec<_> = self.diversions.iter().filter(shows).collect();
        diversion::write(&diversions, rules.diversion, &at, called, &mut headers);
        Ok(Shown { from, headers })
    }

    /// Who asked for a call by REFER, as `trunk` may be told (RFC 3892 §2.2): by the rules of
    /// P-Asserted-Identity, and not at all where it is told of nobody but in From.
    pub fn referring(&self, trunk: &Trunk, host: &str) -> Option<(HeaderName, String)> {
        let rules = &trunk.identity;
        if rules.send_rpid == SendRpid::No || self.is_private && !rules.trust_identity {
            return None;
        }
        let user = self.presented(trunk).ok()??;
        let user = rewritten(user, |text| trunk.numbering.caller_out(text));
        let host = Host::parse(trunk.from_domain.as_deref().unwrap_or(host).as_bytes()).ok()?;
        let at = Place { host: &host, user_phone: rules.user_phone };
        Some((HeaderName::ReferredBy, at.address(user, None).to_string()))
    }

    /// The number that the trunk is to be shown.
    fn presented(&self, trunk: &Trunk) -> Result<Option<Bytes>, Unshowable> {
        let own = || trunk.numbers.first().map(|number| Bytes::from(number.first()));
        let theirs = self.user.clone();
        match trunk.identity.caller_id_policy {
            CallerIdPolicy::Pass => Ok(theirs.or_else(own)),
            CallerIdPolicy::Trunk => Ok(own().or(theirs)),
            CallerIdPolicy::DenyForeign => {
                let text = theirs.as_deref().and_then(|user| std::str::from_utf8(user).ok());
                let written = text.map(|user| trunk.numbering.caller_out(user));
                let owns = |user: &str| trunk.owns_number(user);
                let is_own = text.is_some_and(owns) || written.as_deref().is_some_and(owns);
                if is_own { Ok(theirs) } else { Err(Unshowable::Foreign) }
            }
        }
    }

    fn assert(
        &self,
        rules: &IdentityRules,
        identity: &NameAddr,
        headers: &mut Vec<(HeaderName, String)>,
    ) {
        if rules.send_rpid.sends_pai() {
            headers.push((HeaderName::PAssertedIdentity, identity.to_string()));
            if self.is_private {
                headers.push((HeaderName::Privacy, String::from("id")));
            }
        }
        if rules.send_rpid.sends_rpid() {
            let screen = if self.is_asserted { "yes" } else { "no" };
            let privacy = if self.is_private { "full" } else { "off" };
            let mut identity = identity.clone();
            for (name, value) in [("party", "calling"), ("screen", screen), ("privacy", privacy)] {
                identity.params.set(name, Bytes::from_static(value.as_bytes()));
            }
            headers.push((HeaderName::RemotePartyId, identity.to_string()));
        }
    }
}

/// Where numbers are, as the callee's trunk is told.
pub(super) struct Place<'a> {
    host: &'a Host,
    user_phone: bool,
}

impl Place<'_> {
    fn uri(&self, user: Bytes) -> SipUri {
        let mut uri = SipUri::new(self.host.clone());
        if self.user_phone {
            mark_phone(&mut uri, &user);
        }
        uri.user = Some(user);
        uri
    }

    fn address(&self, user: Bytes, display: Option<Bytes>) -> NameAddr {
        NameAddr { display, ..NameAddr::new(Uri::Sip(self.uri(user))) }
    }
}

/// A number in another writing. What is no text stays as it is.
fn rewritten(user: Bytes, write: impl FnOnce(&str) -> String) -> Bytes {
    match std::str::from_utf8(&user) {
        Ok(text) => Bytes::from(write(text)),
        Err(_) => user,
    }
}

/// Says of a telephone number that it is one (RFC 3261 §19.1.1).
pub fn mark_phone(uri: &mut SipUri, user: &[u8]) {
    let digits = user.strip_prefix(b"+").unwrap_or(user);
    if digits.len() >= PHONE_DIGITS_MIN && digits.iter().all(u8::is_ascii_digit) {
        uri.params.set("user", Bytes::from_static(b"phone"));
    }
}

/// A number or user without password and without the parameters of a telephone number
/// (RFC 3261 §19.1.6).
pub fn user_of(uri: &Uri) -> Option<Bytes> {
    let user = match uri {
        Uri::Sip(uri) => uri.user.clone()?,
        Uri::Tel(uri) => uri.digits(),
        Uri::Other(_) => return None,
    };
    let end = user.iter().position(|b| matches!(b, b':' | b';')).unwrap_or(user.len());
    Some(user.slice(..end)).filter(|user| !user.is_empty())
}

/// RFC 3323 §4.1.1.3
fn is_anonymous(uri: &Uri) -> bool {
    let Uri::Sip(uri) = uri else { return false };
    let host = uri.host.equivalent(&Host::Name(Bytes::from_static(b"anonymous.invalid")));
    host || uri.user.as_ref().is_some_and(|user| user.eq_ignore_ascii_case(b"anonymous"))
}

/// Whether the sender asks that nobody be told who it is (RFC 3323 §4.2, RFC 3325 §9.3).
fn asks_privacy(headers: &Headers) -> bool {
    let values = headers.all(&HeaderName::Privacy);
    let words = values.flat_map(|value| value.split(|b| matches!(b, b';' | b',')));
    let mut words = words.map(<[u8]>::trim_ascii);
    words.any(|word| PRIVACY.iter().any(|asks| word.eq_ignore_ascii_case(asks)))
}

/// The Remote-Party-ID of who calls; one that speaks of another party is none.
fn remote_party(headers: &Headers) -> Option<NameAddr> {
    let values = headers.name_addrs(&HeaderName::RemotePartyId).ok()?;
    values.into_iter().find(|value| {
        value.params.get("party").is_none_or(|party| party.eq_ignore_ascii_case(b"calling"))
    })
}

fn restricted(privacy: &Bytes) -> bool {
    [&b"full"[..], b"name", b"uri"].iter().any(|asks| privacy.eq_ignore_ascii_case(asks))
}

/// RFC 3323 §4.1.1.3
const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";
/// Values of Privacy that ask to hide who calls. `session` asks for what each call has: media and
/// Contact of nobody but us. `critical` is met, because privacy never fails here.
const PRIVACY: [&[u8]; 3] = [b"id", b"user", b"header"];
/// Shorter users are extensions.
const PHONE_DIGITS_MIN: usize = 3;
