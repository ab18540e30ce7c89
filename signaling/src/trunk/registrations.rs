//! The registrations of all trunks, driven over one endpoint.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::endpoint::{ClientId, Endpoint, Event, Hop, Transport};
use sip::wire::{Response, StatusCode};

use super::registration::{
    Entropy, Register, Registration, START_SPREAD, START_SPREAD_EACH, Standing, Status, Way,
};
use super::{Trunk, TrunkId, TrunkTable};
use crate::homes::Homes;
use crate::locate::Memory;

/// Sends what is due and takes the answers.
#[derive(Debug, Default)]
pub struct Registrations {
    all: HashMap<Number, One>,
    of_trunk: HashMap<TrunkId, Number>,
    waiting: HashMap<ClientId, Number>,
    last: u64,
    /// Answers come to the shard that their Call-ID is at home on: it must be the first.
    homes: Homes,
    /// The nearest deadline of all; `None` inside when it has to be found anew.
    soonest: Option<Option<Instant>>,
}

/// A registration's number: a trunk that is edited may say farewell with one while it begins
/// another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Number(u64);

#[derive(Debug)]
struct One {
    registration: Registration,
    trunk: Arc<Trunk>,
    /// Where the last REGISTER went; a farewell goes there even when the trunk is gone.
    transport: Transport,
}

/// What registrations work with.
pub struct Around<'a> {
    /// This moment.
    pub now: Instant,
    /// Sends and receives.
    pub endpoint: &'a mut Endpoint,
    /// The trunks and their addresses.
    pub trunks: &'a TrunkTable,
    /// Which addresses failed lately.
    pub memory: &'a mut Memory,
    /// Our Contact URI toward a hop, without user and token.
    pub contact: &'a dyn Fn(&Hop) -> String,
    /// Random bytes.
    pub entropy: Entropy<'a>,
}

impl Registrations {
    /// The registrations of the table's enabled trunks that register, spread over up to
    /// [`START_SPREAD`].
    pub fn new(trunks: &TrunkTable, now: Instant, entropy: Entropy<'_>) -> Self {
        Self::at_home(trunks, now, entropy, Homes::default())
    }

    /// The same of the first of several shards.
    pub fn at_home(trunks: &TrunkTable, now: Instant, entropy: Entropy<'_>, homes: Homes) -> Self {
        let mut registrations = Self { homes, ..Self::default() };
        let new: Vec<_> = trunks.shared().filter(|trunk| registers(trunk)).cloned().collect();
        registrations.begin(&new, now, entropy);
        registrations
    }

    /// When [`Registrations::tend`] has something to do.
    pub fn due(&mut self) -> Option<Instant> {
        let all = &self.all;
        let find = || all.values().filter_map(|one| one.registration.due()).min();
        *self.soonest.get_or_insert_with(find)
    }

    /// Whether no REGISTER waits for its answer.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How a trunk's registration stands; `None` for trunks that do not register.
    pub fn status(&self, trunk: TrunkId) -> Option<&Status> {
        self.of(trunk).map(|one| one.registration.status())
    }

    /// The Route that the trunk's registrar wants in requests outside of dialogs, after that of the
    /// outbound proxy (RFC 3608 §6.1).
    pub fn route_set(&self, trunk: TrunkId) -> &[Bytes] {
        self.of(trunk).map_or(&[], |one| one.registration.service_route())
    }

    /// Follows a change of the trunks: new ones register, those that are gone, disabled or have
    /// another account say farewell, edited ones that were refused try again.
    pub fn follow(&mut self, around: &mut Around<'_>) {
        self.soonest = None;
        let trunks = around.trunks;
        let old: Vec<(TrunkId, Number)> = self.of_trunk.iter().map(|(t, n)| (*t, *n)).collect();
        for (id, number) in old {
            let Some(one) = self.all.get_mut(&number) else { continue };
            let new = trunks.shared().find(|trunk| trunk.id == id && registers(trunk));
            let same = new
                .as_ref()
                .filter(|trunk| trunk.transport == one.transport && one.registration.is_of(trunk));
            match same {
                Some(trunk) if Arc::ptr_eq(trunk, &one.trunk) || **trunk == one.trunk => {}
                Some(trunk) => {
                    one.trunk = Arc::clone(trunk);
                    one.registration.retry(around.now);
                }
                None => {
                    self.of_trunk.remove(&id);
                    self.farewell(number, around);
                }
            }
        }
        let new = trunks.shared().filter(|trunk| registers(trunk));
        let new = new.filter(|trunk| !self.of_trunk.contains_key(&trunk.id));
        let new: Vec<_> = new.cloned().collect();
        self.begin(&new, around.now, around.entropy);
    }

    /// Sends every REGISTER that is due.
    pub fn tend(&mut self, around: &mut Around<'_>) {
        if self.due().is_none_or(|at| at > around.now) {
            return;
        }
        self.soonest = None;
        let now = around.now;
        for (number, one) in &mut self.all {
            if one.registration.due().is_none_or(|at| at > now) {
                continue;
            }
            let targets = around.memory.order(around.trunks.targets(one.trunk.id), now);
            let (contact, route) =
                (contact_of(around.contact, &one.trunk), one.trunk.proxy_route());
            let way = Way { targets: &targets, contact: &contact, route: route.as_deref() };
            let Some(register) = one.registration.poll(now, &way, around.entropy) else { continue };
            let hop = hop(&one.trunk, register.remote);
            match around.endpoint.request(now, hop, register.request) {
                Ok(client) => {
                    self.waiting.insert(client, *number);
                }
                // The endpoint is full: as if nobody had answered.
                Err(_) => one.registration.failed(now, &targets, around.entropy),
            }
        }
    }

    /// Takes an event if it is about a REGISTER; gives it back otherwise.
    pub fn take(&mut self, around: &mut Around<'_>, event: Event) -> Option<Event> {
        let client = match &event {
            Event::Response { transaction, .. } | Event::Failed { transaction, .. } => *transaction,
            _ => return Some(event),
        };
        let Some(number) = self.waiting.get(&client).copied() else { return Some(event) };
        let provisional = matches!(
            &event,
            Event::Response { response, .. } if response.status.is_provisional()
        );
        if provisional {
            return None;
        }
        self.soonest = None;
        self.waiting.remove(&client);
        let one = self.all.get_mut(&number)?;
        let before = one.registration.status().standing;
        let targets = around.memory.order(around.trunks.targets(one.trunk.id), around.now);
        let mut answer = None;
        match event {
            Event::Response { hop, response, .. } => {
                answer = Some(response.status);
                remember(around, &hop, &response);
                let (now, connection) = (around.now, hop.connection);
                let entropy = &mut *around.entropy;
                let again =
                    one.registration.answered(now, &response, connection, &targets, entropy);
                match again.map(|extra| around.endpoint.reissue(now, client, extra)) {
                    Some(Ok(again)) => {
                        self.waiting.insert(again, number);
                    }
                    Some(Err(_)) => one.registration.failed(now, &targets, around.entropy),
                    None => {}
                }
            }
            _ => {
                if let Some(target) = one.registration.target() {
                    around.memory.failed(target, around.now, None);
                }
                one.registration.failed(around.now, &targets, around.entropy);
            }
        }
        log(one, before, answer);
        let (trunk, over) = (one.trunk.id, one.registration.is_over());
        if self.of_trunk.get(&trunk) == Some(&number) {
            around.memory.set_service_route(trunk, one.registration.service_route());
        }
        if over {
            self.all.remove(&number);
        }
        None
    }

    /// A connection is gone: who registered by it registers again.
    pub fn flow_lost(&mut self, now: Instant, hop: Hop, entropy: Entropy<'_>) {
        let trunk = TrunkId::from_tag(hop.tag).filter(|_| hop.transport.is_reliable());
        let number = trunk.and_then(|trunk| self.of_trunk.get(&trunk));
        if let Some(one) = number.and_then(|number| self.all.get_mut(number)) {
            one.registration.flow_lost(now, hop.connection, entropy);
            self.soonest = None;
        }
    }

    /// Removes all registrations at their registrars. Nothing is sent afterwards but one answer each
    /// to a challenge, so give [`Registrations::take`] the events that still come.
    pub fn stop(&mut self, around: &mut Around<'_>) {
        self.soonest = None;
        for (_, number) in std::mem::take(&mut self.of_trunk) {
            self.farewell(number, around);
        }
    }

    fn of(&self, trunk: TrunkId) -> Option<&One> {
        self.all.get(self.of_trunk.get(&trunk)?)
    }

    fn begin(&mut self, trunks: &[Arc<Trunk>], now: Instant, entropy: Entropy<'_>) {
        let count = u32::try_from(trunks.len()).unwrap_or(u32::MAX);
        // A single trunk is somebody's edit: it registers at once.
        let spread = match count {
            0 | 1 => Duration::ZERO,
            many => START_SPREAD_EACH.saturating_mul(many).min(START_SPREAD),
        };
        for trunk in trunks {
            let registration = Registration::new(trunk, now, spread, entropy);
            let Some(mut registration) = registration else { continue };
            let homes = self.homes;
            registration.choose_call_id(entropy, &|call_id| homes.of(call_id) == 0);
            self.last += 1;
            let number = Number(self.last);
            let (transport, id) = (trunk.transport, trunk.id);
            self.all.insert(number, One { registration, trunk: Arc::clone(trunk), transport });
            self.of_trunk.insert(id, number);
        }
        self.soonest = None;
    }

    fn farewell(&mut self, number: Number, around: &mut Around<'_>) {
        let Some(one) = self.all.get_mut(&number) else { return };
        around.memory.set_service_route(one.trunk.id, &[]);
        // What is still on its way belongs to nobody any more.
        self.waiting.retain(|_, waiting| *waiting != number);
        let (trunk, route) = (Arc::clone(&one.trunk), one.trunk.proxy_route());
        let contact = contact_of(around.contact, &trunk);
        let way = Way { targets: &[], contact: &contact, route: route.as_deref() };
        let sent = one.registration.stop(&way).and_then(|Register { request, remote }| {
            around.endpoint.request(around.now, hop(&trunk, remote), request).ok()
        });
        match sent {
            Some(client) => {
                self.waiting.insert(client, number);
            }
            None => {
                self.all.remove(&number);
            }
        }
    }
}

fn registers(trunk: &Trunk) -> bool {
    trunk.enabled && trunk.register
}

fn hop(trunk: &Trunk, remote: SocketAddr) -> Hop {
    Hop { transport: trunk.transport, remote, connection: 0, tag: trunk.id.tag() }
}

fn contact_of<'a>(
    contact: &'a dyn Fn(&Hop) -> String,
    trunk: &'a Trunk,
) -> impl Fn(SocketAddr) -> String + 'a {
    move |remote| contact(&hop(trunk, remote))
}

/// What an answer says about the address that it came from.
fn remember(around: &mut Around<'_>, hop: &Hop, response: &Response) {
    if response.status == StatusCode::SERVICE_UNAVAILABLE {
        let wait = response.headers.retry_after().ok().flatten();
        let wait = wait.map(|seconds| Duration::from_secs(seconds.into()));
        around.memory.failed(hop.remote, around.now, wait);
    } else {
        around.memory.worked(hop.remote);
    }
}

/// One line when the standing changes, none for each renewal.
fn log(one: &One, before: Standing, answer: Option<StatusCode>) {
    let status = one.registration.status();
    let same = std::mem::discriminant(&before) == std::mem::discriminant(&status.standing);
    if same || one.registration.is_over() {
        return;
    }
    let name = one.registration.name();
    let code = answer.map_or(0, StatusCode::code);
    match status.standing {
        Standing::Registered(_) => tracing::info!(trunk = name, "registered"),
        Standing::Registering => {}
        _ => tracing::warn!(trunk = name, code, reason = status.reason, "not registered"),
    }
}

#[cfg(test)]
mod tests;
