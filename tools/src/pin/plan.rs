//! Which worker goes on which processor, and why.
//!
//! ```text
//! best first:  isolated  >  first thread of its core  >  NIC's node  >  fast core  >  low number
//! never:       the core of processor 0, as long as there is another core
//! last:        a core that signaling needs, as long as one can be left
//! ```
//! A whole core on the far node is worth more than the second thread of a near one: two threads
//! share what a relay is short of, the far node costs some reads.

use std::collections::BTreeSet;

use serde::Serialize;

use super::cpus::Cpus;
use super::topology::{Cpu, Kind, Topology};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub workers: usize,
    /// Where the operator wants them, in the order of the workers; empty: wherever is best.
    pub cores: Vec<usize>,
    /// The interface that media comes by; else the one that [`media_interface`] finds.
    pub interface: Option<String>,
}

/// The answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub placements: Vec<Placement>,
    /// Processors for signaling.
    pub signaling: Cpus,
    /// Left to the kernel: interrupts of other devices, timers, the rest of the system.
    pub kernel: Cpus,
    /// Siblings of workers' cores that stay empty.
    pub quiet: Cpus,
    pub interface: Option<String>,
    /// What holds for the whole plan.
    pub reasons: Vec<String>,
    /// What the operator should know or do about it.
    pub notes: Vec<String>,
}

/// One worker's place.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Placement {
    pub worker: usize,
    pub cpu: usize,
    pub reasons: Vec<String>,
}

/// Why there is no plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error(
        "{asked} workers do not fit: {why}, so at most {most} have a processor of their own; ask \
         for {most} or fewer, or give the service more processors"
    )]
    TooMany { asked: usize, most: usize, why: String },
    #[error(
        "[media] cores names {core}, which this service may not use; choose among {allowed}, or \
         widen its cpuset"
    )]
    NoSuchCore { core: usize, allowed: Cpus },
    #[error("there is no interface \"{name}\"; this host has {}", known.join(", "))]
    NoInterface { name: String, known: Vec<String> },
}

impl Plan {
    /// Plans for a host.
    ///
    /// # Errors
    /// [`PlanError`] when the request does not fit the host.
    pub fn make(topology: &Topology, request: &Request) -> Result<Plan, PlanError> {
        let interface = match &request.interface {
            Some(name) if topology.interface(name).is_none() => {
                let known = topology.interfaces.iter().map(|one| one.name.clone()).collect();
                return Err(PlanError::NoInterface { name: name.clone(), known });
            }
            Some(name) => Some(name.clone()),
            None => None,
        };
        let allowed = &topology.confinement.allowed;
        let kernel = kernel(topology, allowed);
        let node = interface.as_ref().and_then(|name| topology.interface(name)?.node);
        let taken = if request.cores.is_empty() {
            best(topology, request.workers, &kernel, node)?
        } else {
            named_ones(topology, &request.cores)?
        };
        let workers: Cpus = taken.iter().map(|cpu| cpu.id).collect();
        let of_workers = topology.cores_of(&workers);
        let signaling = signaling(topology, allowed, &of_workers, &workers, &kernel);
        let quiet = of_workers.and(allowed).without(&workers).without(&signaling).without(&kernel);
        let place = |(worker, cpu): (usize, &&Cpu)| Placement {
            worker,
            cpu: cpu.id,
            reasons: reasons(topology, cpu, node, &workers, &kernel),
        };
        let placements = taken.iter().enumerate().map(place).collect();
        let mut plan = Plan {
            placements,
            signaling,
            kernel,
            quiet,
            interface,
            reasons: Vec::new(),
            notes: Vec::new(),
        };
        plan.reasons = plan.overall(topology);
        plan.notes = plan.remarks(topology);
        Ok(plan)
    }

    /// The workers' processors, in the order of the workers.
    pub fn cpus(&self) -> Vec<usize> {
        self.placements.iter().map(|placement| placement.cpu).collect()
    }

    /// The same as a set.
    pub fn workers(&self) -> Cpus {
        self.cpus().into_iter().collect()
    }

    /// The processor of the worker that serves a queue: queues are dealt out in turn.
    pub fn worker_of(&self, queue: usize) -> Option<Cpus> {
        let place = self.placements.get(queue % self.placements.len().max(1))?;
        Some([place.cpu].into_iter().collect())
    }

    /// What `[media]` of the configuration has to say.
    pub fn configuration(&self) -> String {
        let cores: Vec<String> = self.cpus().iter().map(usize::to_string).collect();
        format!("[media]\nworkers = {}\ncores = [{}]\n", cores.len(), cores.join(", "))
    }

    fn overall(&self, topology: &Topology) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.kernel.and(&self.workers()).is_empty() {
            reasons.push(format!(
                "{} left to the kernel: timers, interrupts of other devices and whatever else runs",
                named(&self.kernel)
            ));
        }
        let apart = self.signaling.and(&topology.cores_of(&self.workers())).is_empty();
        let also =
            if self.signaling == self.kernel { ", which it shares with the kernel" } else { "" };
        if apart {
            reasons.push(format!(
                "signaling on {}{also}: a burst of calls takes no time from a relaying core",
                self.signaling
            ));
        }
        if !self.quiet.is_empty() {
            reasons.push(format!(
                "{} stay empty: they are second threads of workers' cores, and what runs there \
                 slows the worker",
                self.quiet
            ));
        }
        reasons
    }

    fn remarks(&self, topology: &Topology) -> Vec<String> {
        let mut notes = Vec::new();
        let workers = self.workers();
        let (isolated, confinement) = (&topology.isolated, &topology.confinement);
        let outside = workers.without(&confinement.affinity);
        if !outside.is_empty() {
            notes.push(format!(
                "{outside} are outside the affinity that services start with here: the unit needs \
                 CPUAffinity={}, which pin apply --permanent writes",
                confinement.affinity.or(&workers)
            ));
        }
        if !workers.and(&self.kernel).is_empty() {
            notes.push(
                "a worker shares its processor with everything else; give the service \
                        another one for steady delays"
                    .to_owned(),
            );
        }
        if isolated.is_empty() && topology.cpus.len() > 2 {
            notes.push(format!(
                "nothing is isolated: kernel parameters isolcpus=managed_irq,domain,{workers} \
                 nohz_full={workers} keep other tasks and the tick away from workers"
            ));
        }
        if let Some(quota) = confinement.quota.filter(|quota| *quota < workers.len() as f64 + 1.0) {
            notes.push(format!(
                "the control group allows {quota} processors of time: workers stand still when it \
                 is used up; raise CPUQuota above {}",
                workers.len() + 1
            ));
        }
        if topology.irqbalance {
            notes.push(format!(
                "irqbalance runs and moves interrupts again: stop it, or put \
                 IRQBALANCE_BANNED_CPULIST={} into /etc/default/irqbalance",
                topology.cores_of(&workers)
            ));
        }
        notes.extend(self.queue_note(topology));
        notes
    }

    fn queue_note(&self, topology: &Topology) -> Option<String> {
        let Some(name) = &self.interface else {
            return Some(
                "no interface is known to carry media: name it by --interface, or give \
                         the configuration whose addresses it has by --config"
                    .to_owned(),
            );
        };
        let interface = topology.interface(name)?;
        let (queues, workers) = (interface.receive.len(), self.placements.len());
        let most = interface.queues_max.unwrap_or(queues).max(queues);
        (most < workers).then(|| {
            format!(
                "{name} can have {most} of {workers} receive queues: so few cores take all packets in; \
                 RPS spreads what follows, a NIC with more queues would spread all"
            )
        })
    }
}

/// The interface that has one of these addresses, else the only one of hardware that is up.
pub fn media_interface(topology: &Topology, addresses: &[std::net::IpAddr]) -> Option<String> {
    let carries = topology
        .interfaces
        .iter()
        .find(|one| one.addresses.iter().any(|address| addresses.contains(address)));
    let mut real = topology.interfaces.iter().filter(|one| one.driver.is_some() && one.is_up);
    let only = real.next().filter(|_| real.next().is_none());
    carries.or(only).map(|one| one.name.clone())
}

/// The core of the lowest processor with all its threads; that processor alone where there is no
/// other core.
fn kernel(topology: &Topology, allowed: &Cpus) -> Cpus {
    let first: Cpus = allowed.first().into_iter().collect();
    let core = topology.cores_of(&first).and(allowed);
    if core.len() < allowed.len() { core } else { first }
}

fn best<'a>(
    topology: &'a Topology,
    workers: usize,
    kernel: &Cpus,
    node: Option<usize>,
) -> Result<Vec<&'a Cpu>, PlanError> {
    let allowed = &topology.confinement.allowed;
    let ranked = ranked(topology, &allowed.without(kernel), node);
    let candidates = if ranked.is_empty() { ranked_all(topology, allowed) } else { ranked };
    if workers > candidates.len() {
        let why = format!("of {} processors, {} left to the kernel", allowed.len(), named(kernel));
        return Err(PlanError::TooMany { asked: workers, most: candidates.len(), why });
    }
    Ok(candidates.into_iter().take(workers).collect())
}

fn named_ones<'a>(topology: &'a Topology, cores: &[usize]) -> Result<Vec<&'a Cpu>, PlanError> {
    let allowed = &topology.confinement.allowed;
    let find = |core: &usize| {
        let known = topology.cpu(*core).filter(|cpu| allowed.contains(cpu.id));
        known.ok_or_else(|| PlanError::NoSuchCore { core: *core, allowed: allowed.clone() })
    };
    cores.iter().map(find).collect()
}

fn ranked<'a>(topology: &'a Topology, among: &Cpus, node: Option<usize>) -> Vec<&'a Cpu> {
    let mut cpus = ranked_all(topology, among);
    let far = |cpu: &Cpu| node.is_some_and(|node| node != cpu.node);
    cpus.sort_by_key(|cpu| {
        (!topology.isolated.contains(cpu.id), cpu.thread(), far(cpu), cpu.kind, cpu.id)
    });
    cpus
}

fn ranked_all<'a>(topology: &'a Topology, among: &Cpus) -> Vec<&'a Cpu> {
    topology.cpus.iter().filter(|cpu| among.contains(cpu.id)).collect()
}

/// What is left: whole cores without workers; else the kernel's; else siblings of workers.
fn signaling(
    topology: &Topology,
    allowed: &Cpus,
    of_workers: &Cpus,
    workers: &Cpus,
    kernel: &Cpus,
) -> Cpus {
    let free = allowed.without(of_workers).without(&topology.isolated).without(kernel);
    let choices = [free, kernel.without(workers), allowed.without(workers), allowed.clone()];
    choices.into_iter().find(|choice| !choice.is_empty()).unwrap_or_default()
}

fn reasons(
    topology: &Topology,
    cpu: &Cpu,
    node: Option<usize>,
    workers: &Cpus,
    kernel: &Cpus,
) -> Vec<String> {
    let mut reasons = Vec::new();
    if topology.isolated.contains(cpu.id) {
        let tick = topology.nohz_full.contains(cpu.id);
        let tick = if tick { ", without a tick (nohz_full)" } else { "" };
        reasons.push(format!("isolated from the scheduler{tick}"));
    }
    match (node, topology.nodes.len()) {
        (_, ..2) => {}
        (None, _) => reasons.push(format!("node {}; the NIC's node is not known", cpu.node)),
        (Some(node), _) if node == cpu.node => reasons.push(format!("node {node}, the NIC's")),
        (Some(node), _) => {
            reasons.push(format!("node {}: no better core is left on node {node}", cpu.node));
        }
    }
    let shared = cpu.threads.and(workers).len() > 1;
    reasons.push(match (cpu.threads.len(), cpu.thread()) {
        (..2, _) => "a core of its own".to_owned(),
        (_, 0) if shared => "first thread of a core that two workers share".to_owned(),
        (_, 0) => format!("a whole core ({} stays empty)", cpu.threads.without(workers)),
        _ if shared => "second thread of a worker's core: no whole core is left".to_owned(),
        _ => "second thread of its core: no whole core is left".to_owned(),
    });
    let kinds: BTreeSet<Kind> = topology.cpus.iter().map(|cpu| cpu.kind).collect();
    if kinds.len() > 1 {
        let kind = match cpu.kind {
            Kind::Performance => "a fast core",
            Kind::Efficient => "a small core: no fast one is left",
        };
        reasons.push(kind.to_owned());
    }
    if kernel.contains(cpu.id) {
        reasons.push("shared with the kernel: there is no other".to_owned());
    }
    reasons
}

fn named(cpus: &Cpus) -> String {
    if cpus.len() == 1 { format!("CPU {cpus} is") } else { format!("CPUs {cpus} are") }
}
