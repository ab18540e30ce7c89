//! Which worker runs on which core with which ports: data, made once from the configuration.
//!
//! ```text
//! ports 10000..=10015, two workers      worker 0: core 1, pairs 10000 .. 10006
//!                                       worker 1: core 2, pairs 10008 .. 10014
//! ```
//! A worker owns its sub-range on every media network, so leasing needs no lock (`commons.rs` says
//! how ports change hands when workers begin and cease to take flows). Sub-ranges hold
//! whole RTP/RTCP pairs: an even port and the odd one above it (RFC 3550 §11).

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::config::Config;
use crate::error::StartError;
use crate::io::Dscp;
use crate::limits::{
    ADDRESSES_MAX, DSCP_MAX, FLOWS_MAX, GATHER_US_MAX, NETWORKS_MAX, PORT_MIN, SPIN_US_MAX,
    WORKERS_MAX,
};

/// Index of a worker, in the order of the handover.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct WorkerId(pub u32);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.0)
    }
}

/// The port pairs of one worker: `first_even`, `first_even + 2`, … (`count` of them).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortPairs {
    pub first_even: u16,
    pub count: u16,
}

impl PortPairs {
    /// The even port of each pair, lowest first.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        (0..self.count).map(move |pair| self.first_even.saturating_add(pair.saturating_mul(2)))
    }
}

/// One worker's place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    pub worker: WorkerId,
    /// `None` when the process may not choose cores at all; the scheduler places the worker then.
    pub core: Option<usize>,
    pub pairs: PortPairs,
    /// It has everything but ports and flows, and waits to be told to serve.
    pub standby: bool,
}

/// The whole plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    pub networks: Vec<Vec<IpAddr>>,
    pub placements: Vec<Placement>,
    pub flows_per_worker: u32,
    pub gather_us: u32,
    pub spin_us: u32,
    pub dscp: Dscp,
    /// Interfaces to take frames from; empty: those of the addresses.
    pub interfaces: Vec<String>,
    /// Networks that are under XDP, as [`Config::takes_xdp`] has them.
    pub takes_xdp: Vec<bool>,
    /// Networks between which the kernel may relay by itself.
    pub xdp_tx: Vec<bool>,
}

impl Topology {
    /// Plans `config` on the cores this process may use (`allowed`, empty when unknown).
    ///
    /// # Errors
    /// [`StartError::Configuration`] when a number is outside its limit or the port range is too
    /// small, [`StartError::NoSuchCore`] when a named core is not among `allowed`.
    pub fn plan(config: &Config, allowed: &[usize]) -> Result<Topology, StartError> {
        check_numbers(config)?;
        let mut cores = choose_cores(config, allowed)?;
        let shares = split_ports(&config.ports, config.workers)?;
        if !config.cores.is_empty() {
            // Those that stand by get what is left.
            let left = |core: &&usize| **core != 0 && !config.cores.contains(core);
            cores.truncate(config.workers);
            cores.extend(allowed.iter().filter(left));
        }
        let none = PortPairs { first_even: *config.ports.start(), count: 0 };
        let shares = shares.into_iter().map(|pairs| (pairs, false));
        let placements = shares
            .chain(std::iter::repeat_n((none, true), config.standby))
            .enumerate()
            .map(|(index, (pairs, standby))| Placement {
                worker: WorkerId(index as u32),
                core: cores.get(index % cores.len().max(1)).copied(),
                pairs,
                standby,
            })
            .collect();
        Ok(Topology {
            networks: config.networks.clone(),
            placements,
            flows_per_worker: config.flows_per_worker,
            gather_us: config.gather_us,
            spin_us: config.spin_us,
            dscp: Dscp::new(config.dscp).unwrap_or(Dscp::EF),
            interfaces: config.interfaces.clone(),
            takes_xdp: config.takes_xdp.clone(),
            xdp_tx: config.xdp_tx.clone(),
        })
    }

    /// Addresses whose packets XDP takes from the driver, where it is chosen.
    pub fn under_xdp(&self) -> Vec<IpAddr> {
        let takes = |index: usize| self.takes_xdp.get(index).copied().unwrap_or(true);
        let networks = self.networks.iter().enumerate().filter(|(index, _)| takes(*index));
        networks.flat_map(|(_, addresses)| addresses).copied().collect()
    }

    /// Workers that take flows from the start.
    pub fn serving(&self) -> impl Iterator<Item = &Placement> {
        self.placements.iter().filter(|placement| !placement.standby)
    }

    /// Pairs of ports that each address has, of all workers.
    pub fn pairs(&self) -> usize {
        self.placements.iter().map(|placement| usize::from(placement.pairs.count)).sum()
    }

    /// Media sockets that are open when every worker that serves from the start carries all the flows
    /// it may.
    pub fn sockets_max(&self) -> u64 {
        2 * u64::from(self.flows_per_worker) * self.serving().count() as u64
    }

    /// The same with those that stand by. All together have no more ports than without them.
    pub fn sockets_ever(&self) -> u64 {
        let all = 2 * u64::from(self.flows_per_worker) * self.placements.len() as u64;
        let addresses: usize = self.networks.iter().map(Vec::len).sum();
        all.min(self.sockets_max().max(2 * (self.pairs() * addresses) as u64))
    }

    /// Media ports that one network has, on all its addresses; of the smallest one.
    pub fn ports_min(&self) -> u64 {
        let pairs: u64 = self.placements.iter().map(|p| u64::from(p.pairs.count)).sum();
        let addresses = self.networks.iter().map(Vec::len).min().unwrap_or(0);
        2 * pairs * addresses as u64
    }
}

fn check_numbers(config: &Config) -> Result<(), StartError> {
    in_range("media.workers", config.workers as u64, 1, WORKERS_MAX as u64)?;
    let all = config.workers.saturating_add(config.standby) as u64;
    in_range("media.workers and media.standby_workers", all, 1, WORKERS_MAX as u64)?;
    in_range("media.flows_per_worker", config.flows_per_worker.into(), 2, FLOWS_MAX.into())?;
    in_range("media.gather_us", config.gather_us.into(), 0, GATHER_US_MAX.into())?;
    in_range("media.spin_us", config.spin_us.into(), 0, SPIN_US_MAX.into())?;
    in_range("media.dscp", config.dscp.into(), 0, DSCP_MAX.into())?;
    in_range("media networks (count)", config.networks.len() as u64, 1, NETWORKS_MAX as u64)?;
    for network in &config.networks {
        in_range("media.address (count)", network.len() as u64, 1, ADDRESSES_MAX as u64)?;
    }
    in_range("media.ports (first)", (*config.ports.start()).into(), PORT_MIN.into(), 65534)
}

fn in_range(name: &'static str, value: u64, least: u64, most: u64) -> Result<(), StartError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(StartError::Configuration {
        name,
        what: format!("{value} is outside {least} to {most}"),
        remedy: format!("set {name} to a value from {least} to {most}"),
    })
}

/// The named cores, or every allowed one except core 0, which takes the interrupts and the rest of
/// the system, where there is another.
fn choose_cores(config: &Config, allowed: &[usize]) -> Result<Vec<usize>, StartError> {
    for core in &config.cores {
        if !allowed.is_empty() && !allowed.contains(core) {
            return Err(StartError::NoSuchCore { core: *core, allowed: allowed.to_vec() });
        }
    }
    if !config.cores.is_empty() {
        return Ok(config.cores.clone());
    }
    let others: Vec<usize> = allowed.iter().copied().filter(|core| *core != 0).collect();
    Ok(if others.is_empty() { allowed.to_vec() } else { others })
}

fn split_ports(ports: &RangeInclusive<u16>, workers: usize) -> Result<Vec<PortPairs>, StartError> {
    let first_even = u32::from(*ports.start()).next_multiple_of(2);
    let end = u32::from(*ports.end()) + 1;
    let pairs = end.saturating_sub(first_even) / 2;
    let workers = workers as u32;
    if pairs < workers {
        return Err(StartError::Configuration {
            name: "media.ports",
            what: format!(
                "{} to {} holds {pairs} RTP/RTCP port pairs for {workers} workers",
                ports.start(),
                ports.end()
            ),
            remedy: "widen media.ports: each call needs two pairs, one per leg".to_owned(),
        });
    }
    let share = pairs / workers;
    let mut left_over = pairs % workers;
    let mut next = first_even;
    let shares = (0..workers).map(|_| {
        let count = share + u32::from(left_over > 0);
        left_over = left_over.saturating_sub(1);
        let first = next;
        next += 2 * count;
        PortPairs { first_even: first as u16, count: count as u16 }
    });
    Ok(shares.collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::tests::config;

    #[test]
    fn sub_ranges_cover_every_pair_once() {
        for (first, last, workers) in
            [(10_000, 10_015, 2), (10_001, 10_100, 3), (1024, 65535, 7), (40_000, 40_003, 2)]
        {
            let mut config = config();
            config.ports = first..=last;
            config.workers = workers;
            let plan = Topology::plan(&config, &[0, 1]).unwrap();
            let all: Vec<u16> = plan.placements.iter().flat_map(|p| p.pairs.iter()).collect();
            let unique: BTreeSet<u16> = all.iter().copied().collect();
            assert_eq!(unique.len(), all.len(), "a pair has two owners");
            assert!(all.iter().all(|even| even % 2 == 0 && *even >= first && *even < last));
            let expected = (u32::from(last) + 1 - u32::from(first).next_multiple_of(2)) / 2;
            assert_eq!(all.len() as u32, expected);
        }
    }

    #[test]
    fn core_zero_is_left_to_the_system_when_another_exists() {
        let mut config = config();
        config.workers = 3;
        let cores = |allowed: &[usize]| -> Vec<Option<usize>> {
            let plan = Topology::plan(&config, allowed).unwrap();
            plan.placements.iter().map(|p| p.core).collect()
        };
        assert_eq!(cores(&[0, 1, 2]), [Some(1), Some(2), Some(1)]);
        assert_eq!(cores(&[0]), [Some(0); 3]);
        assert_eq!(cores(&[]), [None; 3]);
    }

    #[test]
    fn who_stands_by_has_no_ports_and_a_core_that_is_left() {
        let mut config = config();
        (config.workers, config.standby) = (2, 2);
        let plan = |config: &Config| Topology::plan(config, &[0, 1, 2, 3]).unwrap();
        let cores =
            |plan: &Topology| -> Vec<_> { plan.placements.iter().map(|p| p.core).collect() };
        let planned = plan(&config);
        assert_eq!(cores(&planned), [Some(1), Some(2), Some(3), Some(1)]);
        let standby: Vec<bool> = planned.placements.iter().map(|p| p.standby).collect();
        assert_eq!(standby, [false, false, true, true]);
        let counts: Vec<u16> = planned.placements.iter().map(|p| p.pairs.count).collect();
        assert_eq!(counts, [250, 250, 0, 0]);
        assert_eq!((planned.serving().count(), planned.pairs()), (2, 500));
        assert_eq!((planned.sockets_max(), planned.sockets_ever()), (256, 512));
        config.flows_per_worker = 4096;
        let planned = plan(&config);
        assert_eq!(planned.sockets_ever(), planned.sockets_max(), "no more ports than before");
        config.cores = vec![3, 2];
        assert_eq!(cores(&plan(&config)), [Some(3), Some(2), Some(1), Some(3)]);
    }

    #[test]
    fn named_cores_must_exist() {
        let mut config = config();
        config.cores = vec![1, 9];
        let refused = Topology::plan(&config, &[0, 1]).unwrap_err();
        assert!(matches!(refused, StartError::NoSuchCore { core: 9, .. }));
        let text = refused.to_string();
        assert!(text.contains("core 9") && text.contains("0, 1"), "{text}");
    }

    #[test]
    fn numbers_outside_their_limits_are_refused_by_name() {
        type Spoil = fn(&mut Config);
        let table: [(&str, Spoil); 12] = [
            ("media.workers", |c| c.workers = 0),
            ("media.workers", |c| c.workers = WORKERS_MAX + 1),
            ("media.standby_workers", |c| c.standby = WORKERS_MAX),
            ("media.flows_per_worker", |c| c.flows_per_worker = FLOWS_MAX + 1),
            ("media.gather_us", |c| c.gather_us = GATHER_US_MAX + 1),
            ("media.spin_us", |c| c.spin_us = SPIN_US_MAX + 1),
            ("media.dscp", |c| c.dscp = DSCP_MAX + 1),
            ("media networks", |c| c.networks.clear()),
            ("media.address", |c| c.networks = vec![vec![]]),
            ("media.address", |c| {
                c.networks = vec![vec![[127, 0, 0, 1].into(); ADDRESSES_MAX + 1]]
            }),
            ("media.ports", |c| c.ports = 80..=90),
            ("media.ports", |c| c.ports = 10_000..=10_000),
        ];
        for (name, spoil) in table {
            let mut config = config();
            spoil(&mut config);
            let text = Topology::plan(&config, &[0, 1]).unwrap_err().to_string();
            assert!(text.contains(name), "{text}");
        }
    }
}
