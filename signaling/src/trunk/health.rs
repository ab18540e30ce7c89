//! The health of all trunks: OPTIONS probes, what calls prove by the way, and the status that follows.
//!
//! Sans-IO like the rest: time and randomness are arguments, requests go to the endpoint, news wait to
//! be told. Every address of a trunk is probed by itself (`health/target.rs`); a trunk's status is one
//! verdict over all it is known by (`status.rs`), given anew when something stirred and every second.

mod target;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sip::endpoint::{Cause, ClientId, Endpoint, Event, Hop};
use sip::wire::{HeaderName, Method, Request, Uri};

use super::alg::Echo;
use super::registration::Entropy;
use super::status::{self, Facts, Standing, StatusNews, UNANSWERED_MAX};
use super::{Registrations, Trunk, TrunkId, TrunkTable};
use crate::admission::Admission;
use crate::ties::Hint;

pub use target::{Fault, Target};

/// What is known of every trunk.
#[derive(Default, Debug)]
pub struct Health {
    trunks: HashMap<TrunkId, Watch>,
    waiting: HashMap<ClientId, (TrunkId, SocketAddr)>,
    due: BTreeSet<(Instant, TrunkId)>,
    stirred: BTreeSet<TrunkId>,
    sweep_at: Option<Instant>,
    news: VecDeque<StatusNews>,
    /// The whole gateway takes no new calls.
    closing: bool,
    /// Where another shard judges: what it is to be told.
    hints: Option<Vec<Hint>>,
    /// Whose verdict the other shards were not told yet.
    untold: BTreeSet<TrunkId>,
}

/// One trunk.
#[derive(Default, Debug)]
struct Watch {
    targets: Vec<Target>,
    /// Where its entry stands in `due`.
    due: Option<Instant>,
    interval: Duration,
    draining: bool,
    /// INVITEs in a row that nobody answered, and the last of them.
    unanswered: u32,
    unanswered_at: Option<Instant>,
    standing: Option<Standing>,
    /// What a device on the path does to our messages.
    rewritten: Option<String>,
}

/// What probes and verdicts need of the world.
pub struct Around<'a> {
    pub now: Instant,
    pub wall: Timestamp,
    pub trunks: &'a TrunkTable,
    pub registrations: &'a Registrations,
    pub admission: &'a Admission,
    /// Our Contact URI toward a hop.
    pub contact: &'a dyn Fn(&Hop) -> String,
    /// Our host in From.
    pub host: &'a str,
}

impl Health {
    /// Of a shard that neither probes nor judges: it knows what the one that does says.
    pub fn told() -> Self {
        Self { hints: Some(Vec::new()), ..Self::default() }
    }

    /// Takes over what the shard that judges says.
    pub fn hear(&mut self, trunk: TrunkId, standing: Standing) {
        self.trunks.entry(trunk).or_default().standing = Some(standing);
    }

    /// What that shard is to be told.
    pub fn hints(&mut self) -> Vec<Hint> {
        self.hints.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Verdicts that the other shards were not told yet.
    pub fn untold(&mut self) -> Vec<(TrunkId, Standing)> {
        let trunks = std::mem::take(&mut self.untold);
        trunks.into_iter().filter_map(|id| Some((id, self.standing(id)?.clone()))).collect()
    }

    /// Forgets trunks that are gone.
    pub fn retain(&mut self, is_known: impl Fn(TrunkId) -> bool) {
        self.trunks.retain(|id, _| is_known(*id));
    }

    /// When [`Health::tend`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        let first = self.due.first().map(|(at, _)| *at);
        [first, self.sweep_at].into_iter().flatten().min()
    }

    /// Sends the probes that are due, gives up on those that were not answered, and judges.
    pub fn tend(&mut self, around: &Around<'_>, endpoint: &mut Endpoint, entropy: Entropy<'_>) {
        if self.hints.is_some() {
            return;
        }
        let now = around.now;
        if self.sweep_at.is_none_or(|at| at <= now) {
            self.sweep_at = Some(now + SWEEP_INTERVAL);
            self.follow(around, entropy);
            self.stirred.extend(around.trunks.iter().map(|trunk| trunk.id));
        }
        while let Some((at, id)) = self.due.first().copied() {
            if at > now {
                break;
            }
            self.due.pop_first();
            let Some(watch) = self.trunks.get_mut(&id) else { continue };
            watch.due = None;
            if let Some(trunk) = around.trunks.get(id) {
                watch.probe(around, trunk, endpoint, &mut self.waiting);
                self.stirred.insert(id);
            }
            self.schedule(id);
        }
        for id in std::mem::take(&mut self.stirred) {
            self.judge(around, id);
        }
    }

    /// Takes an event if it is about a probe; gives it back otherwise.
    pub fn take(&mut self, now: Instant, trunks: &TrunkTable, event: Event) -> Option<Event> {
        let client = match &event {
            Event::Response { transaction, .. } | Event::Failed { transaction, .. } => *transaction,
            _ => return Some(event),
        };
        let Some((id, address)) = self.waiting.get(&client).copied() else { return Some(event) };
        if matches!(&event, Event::Response { response, .. } if response.status.is_provisional()) {
            return None;
        }
        self.waiting.remove(&client);
        let trunk = trunks.get(id)?;
        let watch = self.trunks.get_mut(&id)?;
        let interval = watch.interval;
        let target = watch.targets.iter_mut().find(|target| target.address() == address)?;
        let turn = match event {
            Event::Response { response, .. } => {
                let code = response.status.code();
                target.answered(now, code, is_good(trunk, code), interval)
            }
            Event::Failed { cause: Cause::Transport, .. } => target.broke(now, None, interval),
            // It was given up long before.
            _ => None,
        };
        if turn == Some(target::Turn::Up) {
            watch.unanswered = 0;
        }
        self.stirred.insert(id);
        self.schedule(id);
        None
    }

    /// No connection to that hop could be had.
    pub fn fault(&mut self, now: Instant, hop: Hop, fault: Fault) {
        let Some(id) = TrunkId::from_tag(hop.tag) else { return };
        let Some(watch) = self.trunks.get_mut(&id) else { return };
        let interval = watch.interval;
        for target in watch.targets.iter_mut().filter(|target| target.address() == hop.remote) {
            let _told_by_the_verdict = target.broke(now, Some(fault.clone()), interval);
        }
        self.stirred.insert(id);
        self.schedule(id);
    }

    /// The trunk's peer answered a call: it is there, whatever probes say.
    pub fn answered(&mut self, trunk: TrunkId) {
        if let Some(hints) = &mut self.hints {
            return hints.push(Hint::Answered(trunk));
        }
        let Some(watch) = self.trunks.get_mut(&trunk) else { return };
        watch.unanswered = 0;
        for target in &mut watch.targets {
            let _told_by_the_verdict = target.proved();
        }
        self.stirred.insert(trunk);
    }

    /// An INVITE to the trunk got no answer at all. The third in a row counts as its end at once; the
    /// probe, or time where there is none, brings it back.
    pub fn unanswered(&mut self, now: Instant, trunk: TrunkId) {
        if let Some(hints) = &mut self.hints {
            return hints.push(Hint::Unanswered(trunk, now));
        }
        let Some(watch) = self.trunks.get_mut(&trunk) else { return };
        watch.unanswered = watch.unanswered.saturating_add(1);
        watch.unanswered_at = Some(now);
        if watch.unanswered >= UNANSWERED_MAX {
            watch.targets.iter_mut().for_each(|target| target.suspect(now));
        } else {
            watch.targets.iter_mut().for_each(|target| target.doubt(now));
        }
        self.stirred.insert(trunk);
        self.schedule(trunk);
    }

    /// Whether a call to the trunk has a chance.
    pub fn is_usable(&self, trunk: TrunkId) -> bool {
        self.standing(trunk).is_none_or(|standing| standing.verdict.status.is_usable())
    }

    /// How it stands; `None` before the first verdict.
    pub fn standing(&self, trunk: TrunkId) -> Option<&Standing> {
        self.trunks.get(&trunk)?.standing.as_ref()
    }

    /// What an answer says of the path; `true` when that is news.
    pub fn echoed(&mut self, trunk: TrunkId, echo: Echo) -> bool {
        let Some(watch) = self.trunks.get_mut(&trunk) else { return false };
        let is_news = watch.rewritten != echo.0 && echo.0.is_some();
        watch.rewritten = echo.0;
        is_news
    }

    /// What a device on the path does to our messages; `None` when there is none.
    pub fn rewritten(&self, trunk: TrunkId) -> Option<&str> {
        self.trunks.get(&trunk)?.rewritten.as_deref()
    }

    /// How long its addresses take to answer, with the addresses.
    pub fn targets(&self, trunk: TrunkId) -> &[Target] {
        self.trunks.get(&trunk).map_or(&[], |watch| &watch.targets)
    }

    /// From now on the trunk takes no new calls, or takes them again.
    pub fn drain(&mut self, trunk: TrunkId, draining: bool) {
        self.trunks.entry(trunk).or_default().draining = draining;
        self.stirred.insert(trunk);
    }

    /// From now on the gateway takes no new calls.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Whether the gateway takes no new calls.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether new calls of the trunk are refused, and its OPTIONS answered with 503.
    pub fn is_draining(&self, trunk: TrunkId) -> bool {
        self.closing || self.trunks.get(&trunk).is_some_and(|watch| watch.draining)
    }

    /// The next change that nobody was told yet.
    pub fn poll(&mut self) -> Option<StatusNews> {
        self.news.pop_front()
    }

    /// Trunks and addresses as they are now: new ones are probed within a spread that grows with their
    /// number, so that a start is no storm.
    fn follow(&mut self, around: &Around<'_>, entropy: Entropy<'_>) {
        self.trunks.retain(|id, _| around.trunks.get(*id).is_some());
        self.due.retain(|(_, id)| around.trunks.get(*id).is_some());
        let fresh = around.trunks.iter().filter(|trunk| !self.trunks.contains_key(&trunk.id));
        let fresh = u32::try_from(fresh.count()).unwrap_or(u32::MAX);
        let spread = SPREAD_EACH.saturating_mul(fresh).min(SPREAD_MAX);
        for trunk in around.trunks.iter() {
            let watch = self.trunks.entry(trunk.id).or_default();
            let addresses = around.trunks.targets(trunk.id);
            let known = watch.targets.iter().map(Target::address);
            let interval = trunk.send_keep_alive.as_ref().map(|probe| probe.interval);
            let same = known.eq(addresses.iter().copied());
            if same && watch.interval == interval.unwrap_or_default() {
                continue;
            }
            watch.interval = interval.unwrap_or_default();
            let mut before = std::mem::take(&mut watch.targets);
            for address in addresses {
                let kept = before.iter().position(|target| target.address() == *address);
                watch.targets.push(match kept {
                    Some(place) => before.swap_remove(place),
                    None => {
                        let wait = spread.mul_f64(super::registration::fraction(entropy));
                        Target::new(*address, around.now + wait)
                    }
                });
            }
            self.schedule(trunk.id);
        }
    }

    /// Puts the trunk where the nearest of its targets is due; without a probe nowhere.
    fn schedule(&mut self, id: TrunkId) {
        let Some(watch) = self.trunks.get_mut(&id) else { return };
        let probed = !watch.interval.is_zero();
        let next = watch.targets.iter().map(Target::due).min().filter(|_| probed);
        if next == watch.due {
            return;
        }
        if let Some(old) = watch.due.take() {
            self.due.remove(&(old, id));
        }
        watch.due = next;
        self.due.extend(next.map(|at| (at, id)));
    }

    fn judge(&mut self, around: &Around<'_>, id: TrunkId) {
        let (Some(trunk), Some(watch)) = (around.trunks.get(id), self.trunks.get_mut(&id)) else {
            return;
        };
        watch.forgive(around.now);
        let verdict = status::judge(&Facts {
            trunk,
            draining: watch.draining || self.closing,
            registration: around.registrations.status(id),
            targets: &watch.targets,
            unanswered: watch.unanswered,
            used: around.admission.used(id).all(),
        });
        let was = watch.standing.as_ref().map(|standing| standing.verdict.status);
        let since = match &watch.standing {
            Some(standing) if was == Some(verdict.status) => standing.since,
            _ => around.wall,
        };
        let standing = Standing { verdict, since };
        if was != Some(standing.verdict.status) {
            let name = trunk.name.clone();
            self.news.push_back(StatusNews { trunk: id, name, was, standing: standing.clone() });
        }
        if watch.standing.as_ref() != Some(&standing) {
            self.untold.insert(id);
        }
        watch.standing = Some(standing);
    }
}

impl Watch {
    fn probe(
        &mut self,
        around: &Around<'_>,
        trunk: &Trunk,
        endpoint: &mut Endpoint,
        waiting: &mut HashMap<ClientId, (TrunkId, SocketAddr)>,
    ) {
        let now = around.now;
        for target in &mut self.targets {
            let _told_by_the_verdict = target.tend(now, self.interval);
            let Some(hop) = around.trunks.hop(trunk.id).filter(|_| target.is_due(now)) else {
                continue;
            };
            let hop = Hop { remote: target.address(), ..hop };
            // A disabled trunk is left in peace.
            let request = trunk.enabled.then(|| options(trunk, around, &hop)).flatten();
            target.asked(now);
            let sent = request.and_then(|request| endpoint.request(now, hop, request).ok());
            match sent {
                Some(client) => {
                    waiting.insert(client, (trunk.id, target.address()));
                }
                // Nothing was learnt of the peer: another time.
                None => target.skip(now, self.interval),
            }
        }
    }

    /// Without a probe, time alone brings a suspect back: one call may try.
    fn forgive(&mut self, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= SUSPECT_PENALTY;
        if self.interval.is_zero() && self.unanswered_at.is_some_and(is_old) {
            self.unanswered = self.unanswered.min(UNANSWERED_MAX - 1);
            self.unanswered_at = None;
            self.targets.iter_mut().for_each(Target::forget);
        }
    }
}

/// Whether the status of an answer says that the peer serves.
fn is_good(trunk: &Trunk, code: u16) -> bool {
    let Some(probe) = &trunk.send_keep_alive else { return true };
    let refused = matches!(code, 408 | 503) || probe.failing.contains(&code);
    !refused && (!probe.only_2xx || (200..300).contains(&code))
}

/// An OPTIONS to the trunk's peer (RFC 3261 §11.1), the same way as calls.
fn options(trunk: &Trunk, around: &Around<'_>, hop: &Hop) -> Option<Request> {
    let uri = trunk.domain_uri("");
    let mut request = Request::new(Method::Options, Uri::parse(uri.as_bytes()).ok()?);
    let headers = &mut request.headers;
    if let Some(route) = trunk.proxy_route() {
        headers.push(HeaderName::Route, route);
    }
    for route in around.registrations.route_set(trunk.id) {
        headers.push(HeaderName::Route, route.clone());
    }
    let user = trunk.from_user.as_ref().or(trunk.username.as_ref());
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let host = trunk.from_domain.as_deref().unwrap_or(around.host);
    headers.push(HeaderName::From, format!("<sip:{user}{host}>"));
    headers.push(HeaderName::To, format!("<{uri}>"));
    headers.push(HeaderName::Contact, format!("<{}>", (around.contact)(hop)));
    headers.push(HeaderName::Accept, "application/sdp");
    Some(request)
}

/// Verdicts are given at least so often.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// What each new trunk adds to the time over which first probes are spread.
pub const SPREAD_EACH: Duration = Duration::from_millis(100);
/// Longest such time.
pub const SPREAD_MAX: Duration = Duration::from_secs(60);
/// A trunk without a probe that did not answer calls is tried again after this.
pub const SUSPECT_PENALTY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
