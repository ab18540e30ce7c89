//! What the host is made of: sockets, NUMA nodes, cores and their threads, caches, interfaces with
//! their queues and interrupts, and which of its processors a service may use.

use serde::Serialize;

use super::confinement::{self, Confinement};
use super::cpus::Cpus;
use super::host::Host;
use super::interfaces::{self, Interface};
use super::interrupts::{self, Interrupt};

/// The whole host.
#[derive(Debug, Serialize)]
pub struct Topology {
    pub model: String,
    /// Processors that are switched on, in order.
    pub cpus: Vec<Cpu>,
    pub nodes: Vec<Node>,
    /// Left alone by the scheduler (`isolcpus`).
    pub isolated: Cpus,
    /// Without a tick while one thread runs (`nohz_full`).
    pub nohz_full: Cpus,
    pub confinement: Confinement,
    pub interfaces: Vec<Interface>,
    pub interrupts: Vec<Interrupt>,
    /// A running irqbalance moves interrupts again.
    pub irqbalance: bool,
}

/// One logical processor.
#[derive(Clone, Debug, Serialize)]
pub struct Cpu {
    pub id: usize,
    pub socket: usize,
    pub node: usize,
    /// The threads of its core, itself included, in order.
    pub threads: Cpus,
    pub kind: Kind,
    pub caches: Vec<Cache>,
    /// Who decides its frequency, where somebody does.
    pub governor: Option<String>,
}

/// Processors of one machine may differ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// All alike, or one of the fast ones.
    Performance,
    /// One of the small ones of a hybrid processor.
    Efficient,
}

/// A cache and who shares it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Cache {
    pub level: u8,
    /// `Data`, `Instruction` or `Unified`.
    pub holds: String,
    /// As the kernel writes it: `32768K`.
    pub size: String,
    pub shared_by: Cpus,
}

/// A NUMA node.
#[derive(Debug, Serialize)]
pub struct Node {
    pub id: usize,
    pub cpus: Cpus,
    pub memory_mib: u64,
    /// Distances to each node, in their order; 10 is the own one.
    pub distances: Vec<u64>,
}

impl Topology {
    /// Reads the host.
    ///
    /// # Errors
    /// What is missing, when there is no list of processors.
    pub fn read(host: &Host) -> Result<Topology, String> {
        let online = list(host, &format!("{CPUS}/online")).ok_or(
            "/sys/devices/system/cpu/online cannot be read; mount sysfs, or name a directory with \
             a recorded /sys and /proc by --root",
        )?;
        if online.is_empty() {
            return Err("/sys/devices/system/cpu/online names no processor".to_owned());
        }
        let nodes = nodes(host, &online);
        let efficient = efficient(host, &online);
        let cpus = online.iter().map(|id| cpu(host, id, &nodes, &efficient, &online)).collect();
        let isolated = list(host, &format!("{CPUS}/isolated")).unwrap_or_default();
        let interrupts = interrupts::read(host);
        Ok(Topology {
            model: model(host),
            cpus,
            nodes,
            confinement: confinement::read(host, &online, &isolated),
            isolated,
            // Without any, the kernel writes "(null)".
            nohz_full: list(host, &format!("{CPUS}/nohz_full")).unwrap_or_default(),
            interfaces: interfaces::read(host, &interrupts),
            interrupts,
            irqbalance: interrupts::is_balanced(host),
        })
    }

    pub fn cpu(&self, id: usize) -> Option<&Cpu> {
        self.cpus.iter().find(|cpu| cpu.id == id)
    }

    pub fn online(&self) -> Cpus {
        self.cpus.iter().map(|cpu| cpu.id).collect()
    }

    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|one| one.name == name)
    }

    /// The threads of the cores of these processors.
    pub fn cores_of(&self, cpus: &Cpus) -> Cpus {
        let threads = cpus.iter().filter_map(|id| self.cpu(id)).map(|cpu| &cpu.threads);
        threads.fold(Cpus::default(), |all, threads| all.or(threads))
    }

    /// Physical cores among these processors.
    pub fn cores_among(&self, cpus: &Cpus) -> usize {
        let first = |cpu: &Cpu| cpu.threads.and(cpus).first() == Some(cpu.id);
        cpus.iter().filter_map(|id| self.cpu(id)).filter(|cpu| first(cpu)).count()
    }
}

impl Cpu {
    /// 0 for the first thread of its core, 1 for its sibling.
    pub fn thread(&self) -> usize {
        self.threads.iter().position(|id| id == self.id).unwrap_or(0)
    }

    /// The cache of the last level that others share.
    pub fn last_cache(&self) -> Option<&Cache> {
        self.caches.iter().filter(|cache| cache.level >= 3).max_by_key(|cache| cache.level)
    }
}

fn list(host: &Host, path: &str) -> Option<Cpus> {
    Cpus::from_list(&host.read(path)?)
}

fn model(host: &Host) -> String {
    let text = host.read("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    line.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}

fn nodes(host: &Host, online: &Cpus) -> Vec<Node> {
    let read = |id: usize| {
        let at = format!("{NODES}/node{id}");
        let memory = host.read(&format!("{at}/meminfo")).unwrap_or_default();
        let total = memory.lines().find(|line| line.contains("MemTotal:"));
        let kib = total.and_then(|line| line.split_ascii_whitespace().rev().nth(1)?.parse().ok());
        let distances = host.read(&format!("{at}/distance")).unwrap_or_default();
        Node {
            id,
            cpus: list(host, &format!("{at}/cpulist")).unwrap_or_default().and(online),
            memory_mib: kib.unwrap_or(0_u64) / 1024,
            distances: distances.split_ascii_whitespace().flat_map(str::parse).collect(),
        }
    };
    let found = list(host, &format!("{NODES}/online")).unwrap_or_default();
    if found.is_empty() {
        // A kernel without NUMA: one node of everything.
        return vec![Node { id: 0, cpus: online.clone(), memory_mib: 0, distances: vec![10] }];
    }
    found.iter().map(read).collect()
}

/// The small processors of a hybrid one. Intel lists them; elsewhere the kernel rates each
/// (`cpu_capacity`), and small is what has less than three quarters of the best.
fn efficient(host: &Host, online: &Cpus) -> Cpus {
    if let Some(listed) = list(host, "/sys/devices/cpu_atom/cpus") {
        return listed;
    }
    let capacity = |id| host.read(&format!("{CPUS}/cpu{id}/cpu_capacity"))?.parse::<u64>().ok();
    let rated: Vec<(usize, u64)> =
        online.iter().filter_map(|id| Some((id, capacity(id)?))).collect();
    let best = rated.iter().map(|(_, capacity)| *capacity).max().unwrap_or(0);
    rated.into_iter().filter(|(_, capacity)| capacity * 4 < best * 3).map(|(id, _)| id).collect()
}

fn cpu(host: &Host, id: usize, nodes: &[Node], efficient: &Cpus, online: &Cpus) -> Cpu {
    let at = format!("{CPUS}/cpu{id}");
    let socket = host.read(&format!("{at}/topology/physical_package_id"));
    let threads = list(host, &format!("{at}/topology/core_cpus_list"))
        .or_else(|| list(host, &format!("{at}/topology/thread_siblings_list")))
        .unwrap_or_default()
        .and(online);
    let caches = host.list(&format!("{at}/cache"));
    let caches = caches.iter().filter(|name| name.starts_with("index"));
    Cpu {
        id,
        // A guest without a table of packages reads -1.
        socket: socket.and_then(|text| text.parse().ok()).unwrap_or(0),
        node: nodes.iter().find(|node| node.cpus.contains(id)).map_or(0, |node| node.id),
        threads: if threads.contains(id) { threads } else { [id].into_iter().collect() },
        kind: if efficient.contains(id) { Kind::Efficient } else { Kind::Performance },
        caches: caches.filter_map(|name| cache(host, &format!("{at}/cache/{name}"))).collect(),
        governor: host.read(&format!("{at}/cpufreq/scaling_governor")),
    }
}

fn cache(host: &Host, at: &str) -> Option<Cache> {
    Some(Cache {
        level: host.read(&format!("{at}/level"))?.parse().ok()?,
        holds: host.read(&format!("{at}/type")).unwrap_or_default(),
        size: host.read(&format!("{at}/size")).unwrap_or_default(),
        shared_by: list(host, &format!("{at}/shared_cpu_list"))?,
    })
}

const CPUS: &str = "/sys/devices/system/cpu";
const NODES: &str = "/sys/devices/system/node";
