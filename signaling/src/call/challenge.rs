//! `incoming_call_policy = challenge`: the caller's trunk proves each INVITE by digest, beyond the
//! address or certificate that it already belongs to us by (RFC 3261 §22.2).

use bytes::Bytes;
use sip::digest::Credentials;
use sip::digest::server::{Peer, Refusal, Subject, Verifier, covers};
use sip::endpoint::Hop;
use sip::wire::{HeaderName, Request};

use super::Desk;

/// What an INVITE proves.
pub enum Proof {
    /// It knows the password.
    Given,
    /// Nothing was answered yet, or too late: these challenges are to be answered.
    Wanted(Vec<(HeaderName, Bytes)>),
    /// What it answered is wrong.
    Wrong(Refusal),
}

/// Challenges of one shard. Its secret is drawn with the first one.
#[derive(Default)]
pub struct Challenges(Option<Verifier>);

impl Challenges {
    /// Looks at what `request`, which came by `hop`, proves; by MD5 only where its trunk says so.
    pub fn examine(
        &mut self,
        desk: &mut Desk<'_>,
        hop: Hop,
        request: &Request,
        credentials: &Credentials,
        md5: bool,
    ) -> Proof {
        let verifier = self.0.get_or_insert_with(|| {
            let mut secret = [0; 32];
            (desk.entropy)(&mut secret);
            Verifier::new(secret)
        });
        let now_s = u64::try_from(desk.wall.as_second()).unwrap_or_default();
        // Datagrams of one peer may come from any of its ports, connections from a new one each.
        let source = format!("{} {}", hop.transport.as_str(), hop.remote.ip().to_canonical());
        let peer = Peer { source: &source, md5 };
        let realm = &desk.settings.host;
        let mut outcome = Refusal::Malformed;
        let mut answers = request.headers.all(&HeaderName::Authorization).peekable();
        let is_answered = answers.peek().is_some();
        let subject = Subject { method: &request.method, body: &request.body };
        for value in answers {
            // An answer for another number is one that was made for another call.
            let verdict = match covers(value, &request.uri) {
                true => verifier.verify(now_s, subject, value, credentials, peer),
                false => Err(Refusal::WrongCredentials),
            };
            match verdict {
                Ok(()) => return Proof::Given,
                Err(refusal) => outcome = refusal,
            }
        }
        let may_try = matches!(outcome, Refusal::Stale | Refusal::Replayed | Refusal::ForeignNonce);
        if is_answered && !may_try {
            return Proof::Wrong(outcome);
        }
        let challenges = verifier.challenge(now_s, realm, peer, outcome.is_stale());
        let named = challenges.into_iter().map(|value| (HeaderName::WwwAuthenticate, value));
        Proof::Wanted(named.collect())
    }
}
