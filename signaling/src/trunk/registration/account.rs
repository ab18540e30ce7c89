//! Who registers: the addresses, the secret and the Contact of one trunk's REGISTER.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use sip::digest::Credentials;
use sip::digest::client::{Asked, Challenge};
use sip::wire::{HeaderName, Method, Request, Response, Uri};

use super::{Entropy, hex};
use crate::secret::Secret;
use crate::trunk::attribution::TOKEN_PARAMETER;
use crate::trunk::{Trunk, TrunkId};

/// What every REGISTER of a trunk says.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) trunk: TrunkId,
    pub(super) name: String,
    /// Request-URI: the registrar's domain.
    registrar: String,
    /// To and From.
    address: String,
    call_id: String,
    credentials: Credentials,
    /// The one realm whose challenges are answered, where the trunk says so.
    realm: Option<String>,
    /// The registrar's last challenge: later REGISTERs answer it before they are asked.
    challenge: Option<Challenge>,
    /// To tell an edit of the password.
    password: Secret<String>,
    token: String,
    contact_user: String,
    /// The same after a restart, so that a registrar that knows RFC 5626 replaces the old binding.
    instance: String,
}

/// What changes from one REGISTER to the next.
pub(super) struct Round {
    pub(super) cseq: u32,
    pub(super) expires: u32,
    /// Asks for RFC 5626: on connections, unless the registrar's edge refused it.
    pub(super) outbound: bool,
}

impl Account {
    /// `None` for a trunk without an account or without a token.
    pub(super) fn new(trunk: &Trunk, entropy: Entropy<'_>) -> Option<Self> {
        let token = trunk.registration_token.as_ref().filter(|_| trunk.register)?;
        let username = trunk.username.as_ref()?;
        let number = trunk.numbers.first().map(|number| number.to_string());
        let mut id = [0; 16];
        entropy(&mut id);
        let port = trunk.port.map(|port| format!(":{port}")).unwrap_or_default();
        Some(Self {
            trunk: trunk.id,
            name: trunk.name.clone(),
            registrar: format!("sip:{}{port}", trunk.host),
            address: format!("<sip:{username}@{}>", trunk.host),
            call_id: hex(&id),
            credentials: trunk.credentials()?,
            realm: trunk.auth_realm.clone(),
            challenge: None,
            password: trunk.password.clone()?,
            token: token.expose().clone(),
            contact_user: number.unwrap_or_else(|| username.clone()),
            instance: instance(trunk.id, &format!("{username}@{}{port}", trunk.host)),
        })
    }

    /// Draws the Call-ID anew until it fits.
    pub(super) fn choose_call_id(&mut self, entropy: Entropy<'_>, fits: &dyn Fn(&[u8]) -> bool) {
        while !fits(self.call_id.as_bytes()) {
            let mut id = [0; 16];
            entropy(&mut id);
            self.call_id = hex(&id);
        }
    }

    /// The answer to a challenge: the strongest that the list holds.
    pub(super) fn answer(
        &mut self,
        response: &Response,
        entropy: Entropy<'_>,
    ) -> Option<(HeaderName, Bytes)> {
        let mut random = [0; 16];
        entropy(&mut random);
        let own = |realm: &str| self.realm.as_ref().is_none_or(|own| own == realm);
        self.challenge = Challenge::strongest(&response.headers, &hex(&random), &own);
        self.proof()
    }

    /// The next answer to the challenge that is known.
    fn proof(&mut self) -> Option<(HeaderName, Bytes)> {
        let asked = Asked { method: &Method::Register, uri: &self.registrar, body: &[] };
        let challenge = self.challenge.as_mut()?;
        let proof = challenge.answer(&asked, &self.credentials);
        self.challenge.take_if(|challenge| !challenge.is_reusable());
        Some(proof)
    }

    /// The registrar accepted: it may name the nonce of the next REGISTER.
    pub(super) fn accepted(&mut self, response: &Response) {
        if let Some(challenge) = &mut self.challenge {
            challenge.renew(&response.headers);
        }
    }

    /// The registrar wants to hear nothing of the account: nor of its last nonce.
    pub(super) fn forget_challenge(&mut self) {
        self.challenge = None;
    }

    /// A REGISTER. `route` is the outbound proxy's, `contact` our URI without user and token.
    pub(super) fn request(
        &mut self,
        round: &Round,
        route: Option<&str>,
        contact: &str,
    ) -> Option<Request> {
        let uri = Uri::parse(self.registrar.as_bytes()).ok()?;
        let mut request = Request::new(Method::Register, uri);
        let headers = &mut request.headers;
        if let Some(route) = route {
            headers.push(HeaderName::Route, route.to_owned());
        }
        headers.push(HeaderName::From, self.address.clone());
        headers.push(HeaderName::To, self.address.clone());
        headers.push(HeaderName::CallId, self.call_id.clone());
        headers.push(HeaderName::CSeq, format!("{} REGISTER", round.cseq));
        headers.push(HeaderName::Contact, self.contact(contact, round.outbound)?);
        headers.push(HeaderName::Expires, round.expires.to_string());
        headers.push(HeaderName::Supported, supported(round.outbound));
        if let Some((name, value)) = self.proof() {
            request.headers.push(name, value);
        }
        Some(request)
    }

    /// The fields of a REGISTER without RFC 5626, for one that met 439 (RFC 5626 §6).
    pub(super) fn without_outbound(&self, contact: &str) -> Option<Vec<(HeaderName, Bytes)>> {
        let contact = self.contact(contact, false)?;
        let supported = supported(false);
        Some(vec![(HeaderName::Contact, contact.into()), (HeaderName::Supported, supported.into())])
    }

    /// What the registrar granted our Contact, which it may list among others.
    pub(super) fn granted(&self, response: &Response) -> Option<u32> {
        let contacts = response.headers.contacts().unwrap_or_default();
        let ours = contacts.iter().find(|contact| {
            let parameters = contact.uri.as_sip().map(|uri| &uri.params);
            let token = parameters.and_then(|parameters| parameters.get(TOKEN_PARAMETER));
            token.is_some_and(|token| token.as_ref() == self.token.as_bytes())
        });
        let only = contacts.first().filter(|_| contacts.len() == 1);
        let value = ours.or(only).and_then(|contact| contact.params.get("expires"));
        let value = value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        value.or_else(|| response.headers.expires().ok().flatten())
    }

    /// Whether both would send the same, identifiers of the run aside.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let parts = |account: &Self| {
            let Self { registrar, address, token, contact_user, .. } = account;
            [registrar, address, token, contact_user].map(String::clone)
        };
        let secrets = |account: &Self| (account.password.clone(), account.realm.clone());
        parts(self) == parts(other) && secrets(self) == secrets(other)
    }

    fn contact(&self, contact: &str, outbound: bool) -> Option<String> {
        let (scheme, rest) = contact.split_once(':')?;
        let (user, token) = (&self.contact_user, &self.token);
        let flow = match outbound {
            true => format!(";reg-id=1;+sip.instance=\"<{}>\"", self.instance),
            false => String::new(),
        };
        Some(format!("<{scheme}:{user}@{rest};{TOKEN_PARAMETER}={token}>{flow}"))
    }
}

/// Path vectors are welcome: the registrar then finds us behind its edges (RFC 3327 §5.1).
fn supported(outbound: bool) -> &'static str {
    if outbound { "path, outbound" } else { "path" }
}

/// A UUID made of the account's name (RFC 9562 §5.8), the same in every run.
fn instance(trunk: TrunkId, account: &str) -> String {
    let digest = Sha256::new()
        .chain_update(b"trunkline registration")
        .chain_update(trunk.0.to_be_bytes())
        .chain_update(account)
        .finalize();
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    let text = hex(&bytes);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!(
        "urn:uuid:{}-{}-8{}-a{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}
