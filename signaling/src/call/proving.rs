//! Our trunks challenge us: with the INVITE, and with anything inside of a dialog (RFC 3261 §22).
//!
//! What is derived from a password leaves only toward the trunk that it is of: the challenge must
//! come from one of the trunk's own addresses, and of its `auth_realm` where that is set. A dialog's
//! requests go where its peer's Contact says, which may be anybody's address.

use std::collections::HashMap;

use bytes::Bytes;
use sip::digest::client::{Asked, Challenge};
use sip::endpoint::{ClientId, DialogId, Hop};
use sip::wire::{HeaderName, Request, Response};

use super::{Common, Desk};
use crate::trunk::{Trunk, TrunkId};

/// What is remembered of challenges.
#[derive(Default)]
pub struct Proofs {
    /// The last challenge of each trunk: the next INVITE answers it before it is asked.
    known: HashMap<TrunkId, Challenge>,
    /// Requests that were sent again, by what they are now: what the call knows them as, and how
    /// often they were.
    again: HashMap<ClientId, (ClientId, u8)>,
    /// The other way round.
    newest: HashMap<ClientId, ClientId>,
}

impl Proofs {
    /// What the call knows a request as.
    pub fn first(&self, client: ClientId) -> ClientId {
        self.again.get(&client).map_or(client, |(first, _)| *first)
    }

    /// What a request that the call knows is now.
    pub fn newest(&self, client: ClientId) -> ClientId {
        self.newest.get(&client).copied().unwrap_or(client)
    }

    /// Forgets a request that the call knows, and gives what it is now.
    pub fn forget(&mut self, client: ClientId) -> Option<ClientId> {
        let newest = self.newest.remove(&client)?;
        self.again.remove(&newest);
        Some(newest)
    }

    /// Trunks that are gone leave nothing behind.
    pub fn retain(&mut self, is_known: impl Fn(TrunkId) -> bool) {
        self.known.retain(|trunk, _| is_known(*trunk));
    }

    fn tries(&self, client: ClientId) -> u8 {
        self.again.get(&client).map_or(0, |(_, tries)| *tries)
    }

    fn reissued(&mut self, old: ClientId, new: ClientId) {
        let (first, tries) = self.again.remove(&old).unwrap_or((old, 0));
        self.again.insert(new, (first, tries.saturating_add(1)));
        self.newest.insert(first, new);
    }
}

impl Desk<'_> {
    /// Answers a 401 or 407 of a trunk, which came on `hop`, with the trunk's credentials when it has
    /// any. `None`: nothing was sent.
    pub fn prove(
        &mut self,
        common: &mut Common,
        trunk: TrunkId,
        client: ClientId,
        hop: Hop,
        response: &Response,
    ) -> Option<ClientId> {
        let again = self.prove_again(common.id(), trunk, client, hop, response)?;
        self.own_client(common, again);
        Some(again)
    }

    /// The same of a request that is no call's; `name` is what the log calls it.
    pub fn prove_again(
        &mut self,
        name: &str,
        trunk: TrunkId,
        client: ClientId,
        hop: Hop,
        response: &Response,
    ) -> Option<ClientId> {
        let trunk = self.trunks.get(trunk)?;
        if !self.trunks.is_of(trunk.id, hop.remote.ip()) {
            tracing::warn!(
                call = name,
                trunk = trunk.name,
                source = %hop.remote.ip(),
                "a challenge from an address that is not the trunk's is not answered"
            );
            return None;
        }
        let mut random = [0_u8; 16];
        (self.entropy)(&mut random);
        let cnonce: String = random.iter().map(|b| format!("{b:02x}")).collect();
        let own = |realm: &str| trunk.allows_realm(realm);
        let mut challenge = Challenge::strongest(&response.headers, &cnonce, &own)?;
        let proof = proof(&mut challenge, trunk, self.endpoint.refused_request(client)?)?;
        let again = self.endpoint.reissue(self.now, client, vec![proof]).ok()?;
        self.index.proofs.known.insert(trunk.id, challenge);
        Some(again)
    }

    /// The same for a request inside of a dialog; the call knows it by its first number all along.
    pub fn prove_inside(
        &mut self,
        common: &mut Common,
        dialog: DialogId,
        client: ClientId,
        hop: Hop,
        response: &Response,
    ) -> bool {
        let challenged = matches!(response.status.code(), 401 | 407);
        if !challenged || self.index.proofs.tries(client) >= TRIES {
            return false;
        }
        let party = self.index.dialogs.get(&dialog).map(|(_, party)| *party);
        let Some(trunk) = party.map(|party| common.leg(party).trunk) else { return false };
        let again = self.prove(common, trunk, client, hop, response);
        if let Some(again) = again {
            self.index.proofs.reissued(client, again);
        }
        again.is_some()
    }

    /// Lets a new INVITE answer the last challenge of its trunk, if there was one.
    pub fn prove_beforehand(&mut self, trunk: TrunkId, request: &mut Request) {
        let known = self.index.proofs.known.get_mut(&trunk).filter(|known| known.is_reusable());
        let (Some(known), Some(trunk)) = (known, self.trunks.get(trunk)) else { return };
        if let Some((name, value)) = proof(known, trunk, request) {
            request.headers.push(name, value);
        }
    }
}

fn proof(
    challenge: &mut Challenge,
    trunk: &Trunk,
    request: &Request,
) -> Option<(HeaderName, Bytes)> {
    let uri = request.uri.to_string();
    let asked = Asked { method: &request.method, uri: &uri, body: &request.body };
    Some(challenge.answer(&asked, &trunk.credentials()?))
}

/// How often one request proves itself: its nonce may have grown stale meanwhile, and a peer that
/// challenges without end gets no more (CVE-2020-28242).
const TRIES: u8 = 2;
