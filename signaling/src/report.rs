//! Trunks and the gateway as lists and metrics show them: how a trunk stands, what it carries, what
//! became of its attempts.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use crate::admission::Used;
use crate::cdr;
use crate::net;
use crate::plan::View;
use crate::shard::{Moment, Shard};
use crate::trunk::registration::Standing as Registered;
use crate::trunk::{Standing, Trunk, TrunkId, tally};

/// One trunk now.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct TrunkReport {
    pub id: TrunkId,
    pub name: String,
    /// `status`, `reason`, `code`, `since`; absent in the first second of a trunk.
    #[serde(flatten)]
    pub standing: Option<Standing>,
    /// Whether it is registered; `None` where it does not register.
    pub registered: Option<bool>,
    /// Until the registration ends unless it is renewed.
    pub registration_seconds_left: Option<u64>,
    /// Calls now.
    pub calls: Used,
    pub max_concurrent_calls: Option<u32>,
    pub targets: Vec<TargetReport>,
    /// Days until the certificate that we show to it expires; `None` without TLS.
    pub certificate_days_left: Option<i64>,
    /// What a device on the path does to our messages.
    pub rewritten: Option<String>,
    /// Attempts from the trunk; `None` before the first.
    pub inbound: Option<tally::Report>,
    /// Attempts to the trunk.
    pub outbound: Option<tally::Report>,
}

/// One address of a trunk.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct TargetReport {
    pub address: SocketAddr,
    /// `None` until it was heard, or found silent.
    pub up: Option<bool>,
    /// How long its last answer to the probe took.
    pub rtt_ms: Option<u64>,
    pub code: Option<u16>,
}

/// The gateway now.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct GatewayReport {
    /// Live calls, those that are ending included.
    pub calls: usize,
    pub transactions: usize,
    pub dialogs: usize,
    /// Whether the data plane is there.
    pub attached: bool,
    /// Whether no new calls are taken.
    pub closing: bool,
    /// Requests that belonged to no trunk since the start, by reason.
    pub turned_away: BTreeMap<&'static str, u64>,
    pub edge: net::Counts,
    /// When our certificates end.
    pub certificates: Vec<net::Expiry>,
    pub cdrs: cdr::Counts,
}

/// Reports on the gateway itself.
pub fn gateway(shard: &Shard) -> GatewayReport {
    let world = &shard.world;
    let endpoint = world.endpoint.counts();
    GatewayReport {
        calls: shard.calls.len(),
        transactions: endpoint.transactions,
        dialogs: endpoint.dialogs,
        attached: shard.attached,
        closing: world.health.is_closing(),
        turned_away: shard.gate.unknown().counts().collect(),
        edge: shard.net.net().counts(),
        certificates: shard.net.net().expiries(),
        cdrs: world.cdrs.counts(),
    }
}

/// Reports on the trunks `which`, or on all.
pub fn trunks(
    shard: &Shard,
    view: &View,
    at: Moment,
    which: Option<&[TrunkId]>,
) -> Vec<TrunkReport> {
    let one = |trunk: &Trunk| trunk_report(shard, trunk, at);
    match which {
        None => view.table.iter().map(one).collect(),
        Some(ids) => ids.iter().filter_map(|id| view.table.get(*id)).map(one).collect(),
    }
}

fn trunk_report(shard: &Shard, trunk: &Trunk, at: Moment) -> TrunkReport {
    let Moment { now, wall } = at;
    let world = &shard.world;
    let registration = shard.registrations.status(trunk.id);
    let until = registration.and_then(|status| match status.standing {
        Registered::Registered(until) => until.checked_duration_since(now),
        _ => None,
    });
    let targets = world.health.targets(trunk.id).iter().map(|target| TargetReport {
        address: target.address(),
        up: target.is_known().then_some(!target.is_down()),
        rtt_ms: target.rtt().map(|rtt| u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX)),
        code: target.code(),
    });
    let [inbound, outbound] = match world.tallies.report(trunk.id, wall) {
        Some(both) => both.map(Some),
        None => [None, None],
    };
    TrunkReport {
        id: trunk.id,
        name: trunk.name.clone(),
        standing: world.health.standing(trunk.id).cloned(),
        registered: registration.map(|status| status.is_registered(now)),
        registration_seconds_left: until.map(|left| left.as_secs()),
        calls: world.admission.used(trunk.id),
        max_concurrent_calls: trunk.max_concurrent_calls,
        targets: targets.collect(),
        certificate_days_left: shard.net.net().certificate_days_left(trunk),
        rewritten: world.health.rewritten(trunk.id).map(str::to_owned),
        inbound,
        outbound,
    }
}
