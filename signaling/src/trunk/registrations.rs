//! The registrations of all trunks, driven over one endpoint.

use std::collections::HashMap;
use std::time::Instant;

use sip::endpoint::{ClientId, Endpoint, Event, Hop};
use sip::wire::StatusCode;

use super::registration::{
    Ask, Entropy, Registration, START_SPREAD, START_SPREAD_EACH, Standing, Status,
};
use super::{TrunkId, TrunkTable};

/// Sends what is due and takes the answers.
#[derive(Debug, Default)]
pub struct Registrations {
    all: Vec<Registration>,
    waiting: HashMap<ClientId, TrunkId>,
}

impl Registrations {
    /// The registrations of the table's enabled trunks that register.
    pub fn new(trunks: &TrunkTable, now: Instant, entropy: Entropy<'_>) -> Self {
        let enabled = || trunks.iter().filter(|trunk| trunk.enabled && trunk.register);
        let count = u32::try_from(enabled().count()).unwrap_or(u32::MAX);
        let spread = START_SPREAD_EACH.saturating_mul(count).min(START_SPREAD);
        let one = |trunk| Registration::new(trunk, now, spread, entropy);
        let all = enabled().filter_map(one).collect();
        Self { all, waiting: HashMap::new() }
    }

    /// When [`Registrations::tend`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.all.iter().filter_map(Registration::due).min()
    }

    /// Whether no REGISTER waits for its answer.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How a trunk's registration stands; `None` for trunks that do not register.
    pub fn status(&self, trunk: TrunkId) -> Option<&Status> {
        self.all.iter().find(|one| one.trunk() == trunk).map(Registration::status)
    }

    /// Sends every REGISTER that is due. `contact` tells our Contact URI toward a hop, without
    /// user and token.
    pub fn tend(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        trunks: &TrunkTable,
        contact: &dyn Fn(&Hop) -> String,
        entropy: Entropy<'_>,
    ) {
        for one in &mut self.all {
            if one.due().is_none_or(|at| at > now) {
                continue;
            }
            let targets = trunks.targets(one.trunk());
            let sent = hop(trunks, one.trunk(), 0).and_then(|near| {
                let ask = one.poll(now, &contact(&near))?;
                let hop = hop(trunks, one.trunk(), ask.target).unwrap_or(near);
                endpoint.request(now, hop, ask.request).ok()
            });
            match sent {
                Some(client) => {
                    self.waiting.insert(client, one.trunk());
                }
                None => {
                    // No address, or the endpoint is full: as if nobody had answered.
                    let _unsent = one.poll(now, "sip:localhost");
                    one.failed(now, targets.len(), entropy);
                }
            }
        }
    }

    /// Takes an event if it is about a REGISTER; gives it back otherwise.
    pub fn take(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        trunks: &TrunkTable,
        entropy: Entropy<'_>,
        event: Event,
    ) -> Option<Event> {
        let client = match &event {
            Event::Response { transaction, .. } | Event::Failed { transaction, .. } => *transaction,
            _ => return Some(event),
        };
        let Some(trunk) = self.waiting.get(&client).copied() else { return Some(event) };
        let one = self.all.iter_mut().find(|one| one.trunk() == trunk)?;
        let targets = trunks.targets(trunk).len();
        match event {
            Event::Response { response, .. } if response.status.is_provisional() => return None,
            Event::Response { response, .. } => {
                if let Some(extra) = one.answered(now, &response, targets, entropy) {
                    match endpoint.reissue(now, client, extra) {
                        Ok(again) => {
                            self.waiting.insert(again, trunk);
                        }
                        Err(_) => one.failed(now, targets, entropy),
                    }
                }
                log(trunks, trunk, one.status(), response.status);
            }
            _ => one.failed(now, targets, entropy),
        }
        self.waiting.remove(&client);
        None
    }

    /// A connection is gone: who registered by it registers again.
    pub fn flow_lost(&mut self, now: Instant, hop: Hop, entropy: Entropy<'_>) {
        let trunk = TrunkId::from_tag(hop.tag).filter(|_| hop.transport.is_reliable());
        if let Some(one) = self.all.iter_mut().find(|one| Some(one.trunk()) == trunk) {
            one.flow_lost(now, entropy);
        }
    }

    /// Removes all registrations at their registrars. Nothing is sent afterwards but one answer each
    /// to a challenge, so give [`Registrations::take`] the events that still come.
    pub fn stop(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        trunks: &TrunkTable,
        contact: &dyn Fn(&Hop) -> String,
    ) {
        for one in &mut self.all {
            let Some(near) = hop(trunks, one.trunk(), 0) else { continue };
            let Some(Ask { request, target }) = one.stop(&contact(&near)) else { continue };
            let hop = hop(trunks, one.trunk(), target).unwrap_or(near);
            if let Ok(client) = endpoint.request(now, hop, request) {
                self.waiting.insert(client, one.trunk());
            }
        }
    }
}

fn hop(trunks: &TrunkTable, trunk: TrunkId, target: usize) -> Option<Hop> {
    let first = trunks.hop(trunk)?;
    let remote = trunks.targets(trunk).get(target).copied().unwrap_or(first.remote);
    Some(Hop { remote, ..first })
}

fn log(trunks: &TrunkTable, trunk: TrunkId, status: &Status, answer: StatusCode) {
    let name = trunks.get(trunk).map_or("", |trunk| trunk.name.as_str());
    let code = answer.code();
    match status.standing {
        Standing::Registered(_) => tracing::info!(trunk = name, "registered"),
        Standing::Registering => {}
        _ => tracing::warn!(trunk = name, code, reason = status.reason, "not registered"),
    }
}

#[cfg(test)]
mod tests;
