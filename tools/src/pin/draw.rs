//! A host and a plan as text.
//!
//! ```text
//! socket 0, node 0, 128 GiB
//!   L3 32 MiB   0+64 K   1+65     2+66 S
//! ```
//! A cell is a core: its threads, then what they are for.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::cpus::Cpus;
use super::interfaces::Interface;
use super::plan::Plan;
use super::topology::{Cpu, Kind, Topology};
use crate::grid::Grid;

/// Cells of a line.
const CELLS: usize = 8;

/// The host, and who is where once there is a plan.
pub fn host(topology: &Topology, plan: Option<&Plan>) -> String {
    let mut out = String::new();
    let (cpus, cores) = (topology.cpus.len(), topology.cores_among(&topology.online()));
    let _ = writeln!(out, "{}: {cores} cores, {cpus} processors", topology.model);
    for node in &topology.nodes {
        let sockets: Cpus =
            node.cpus.iter().filter_map(|id| Some(topology.cpu(id)?.socket)).collect();
        let memory = match node.memory_mib {
            0 => String::new(),
            mib => format!(", {}", size(mib)),
        };
        let _ = writeln!(out, "\nsocket {sockets}, node {}{memory}", node.id);
        for group in groups(topology, &node.cpus) {
            out.push_str(&cores_of(topology, &group, plan));
        }
    }
    out.push('\n');
    out.push_str(&caches(topology));
    out.push_str(&marks(topology, plan));
    out.push_str(&confinement(topology));
    if !topology.interfaces.is_empty() {
        let _ = write!(out, "\n{}", interfaces(topology));
    }
    out
}

/// The plan alone.
pub fn plan(plan: &Plan) -> String {
    let mut out = String::new();
    let mut grid = Grid::new(&["worker", "cpu", "why"]);
    for place in &plan.placements {
        let cells = [place.worker.to_string(), place.cpu.to_string(), place.reasons.join("; ")];
        grid.row(cells.to_vec());
    }
    out.push_str(&grid.text());
    for reason in &plan.reasons {
        let _ = writeln!(out, "- {reason}");
    }
    for note in &plan.notes {
        let _ = writeln!(out, "! {note}");
    }
    let _ = write!(out, "\nin the configuration:\n\n{}", plan.configuration());
    out
}

fn size(mib: u64) -> String {
    if mib >= 10 * 1024 { format!("{} GiB", mib / 1024) } else { format!("{mib} MiB") }
}

/// `32768K` as people write it.
fn bytes(size: &str) -> String {
    let kib = size.strip_suffix('K').and_then(|kib| kib.parse::<u64>().ok());
    match kib {
        Some(kib) if kib >= 1024 && kib % 1024 == 0 => format!("{} MiB", kib / 1024),
        Some(kib) if kib >= 1024 => format!("{:.1} MiB", kib as f64 / 1024.0),
        Some(kib) => format!("{kib} KiB"),
        None => size.to_owned(),
    }
}

/// The processors of a node by the cache that they share.
fn groups(topology: &Topology, cpus: &Cpus) -> Vec<(String, Cpus)> {
    let mut groups: Vec<(String, Cpus)> = Vec::new();
    for cpu in cpus.iter().filter_map(|id| topology.cpu(id)) {
        let (label, shared) = match cpu.last_cache() {
            Some(cache) => {
                (format!("L{} {}", cache.level, bytes(&cache.size)), cache.shared_by.and(cpus))
            }
            None => (String::from("no L3"), cpus.clone()),
        };
        if !groups.iter().any(|(known, set)| *known == label && *set == shared) {
            groups.push((label, shared));
        }
    }
    groups
}

fn cores_of(topology: &Topology, (label, cpus): &(String, Cpus), plan: Option<&Plan>) -> String {
    let firsts = cpus.iter().filter_map(|id| topology.cpu(id));
    let firsts = firsts.filter(|cpu| cpu.threads.and(cpus).first() == Some(cpu.id));
    let cells: Vec<String> = firsts.map(|cpu| cell(topology, cpu, plan)).collect();
    let width = cells.iter().map(String::len).max().unwrap_or(0);
    let mut out = String::new();
    for (at, line) in cells.chunks(CELLS).enumerate() {
        let head = if at == 0 { label.as_str() } else { "" };
        let padded: Vec<String> = line.iter().map(|cell| format!("{cell:<width$}")).collect();
        let _ = writeln!(out, "  {head:<12}  {}", padded.join("   ").trim_end());
    }
    out
}

fn cell(topology: &Topology, cpu: &Cpu, plan: Option<&Plan>) -> String {
    let threads: Vec<String> = cpu.threads.iter().map(|id| id.to_string()).collect();
    let mut roles: Vec<String> = Vec::new();
    for role in cpu.threads.iter().filter_map(|id| role(id, plan?)) {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    roles.push(traits(topology, cpu));
    format!("{} {}", threads.join("+"), roles.join(" ")).trim_end().to_owned()
}

/// What the plan has a processor do.
fn role(id: usize, plan: &Plan) -> Option<String> {
    if let Some(place) = plan.placements.iter().find(|place| place.cpu == id) {
        return Some(format!("W{}", place.worker));
    }
    let roles = [(&plan.kernel, "K"), (&plan.signaling, "S")];
    roles.into_iter().find(|(cpus, _)| cpus.contains(id)).map(|(_, role)| role.to_owned())
}

/// What holds for any thread of a core.
fn traits(topology: &Topology, cpu: &Cpu) -> String {
    let any = |set: &Cpus| !cpu.threads.and(set).is_empty();
    let allowed = &topology.confinement.allowed;
    [
        (!cpu.threads.without(allowed).is_empty(), 'x'),
        (any(&topology.isolated), 'i'),
        (any(&topology.nohz_full), 't'),
        (cpu.kind == Kind::Efficient, 'e'),
    ]
    .into_iter()
    .filter_map(|(has, mark)| has.then_some(mark))
    .collect()
}

fn marks(topology: &Topology, plan: Option<&Plan>) -> String {
    let mut marks = Vec::new();
    if plan.is_some() {
        marks.extend(["Wn worker n", "K kernel", "S signaling"]);
    }
    let efficient = topology.cpus.iter().any(|cpu| cpu.kind == Kind::Efficient);
    for (shown, text) in [
        (topology.confinement.allowed.len() < topology.cpus.len(), "x not allowed here"),
        (!topology.isolated.is_empty(), "i isolated"),
        (!topology.nohz_full.is_empty(), "t no tick"),
        (efficient, "e small core"),
    ] {
        marks.extend(shown.then_some(text));
    }
    let text = if marks.is_empty() { String::new() } else { format!("; {}", marks.join(", ")) };
    format!("each cell a core with its threads{text}\n")
}

fn caches(topology: &Topology) -> String {
    let own = |cpu: &Cpu| -> Vec<String> {
        let near = cpu.caches.iter().filter(|cache| cache.level < 3);
        near.map(|cache| {
            let of = match cache.holds.as_str() {
                "Data" => "d",
                "Instruction" => "i",
                _ => "",
            };
            let shared = cache.shared_by.without(&cpu.threads).is_empty();
            let shared = if shared { "" } else { " shared" };
            format!("L{}{of} {}{shared}", cache.level, bytes(&cache.size))
        })
        .collect()
    };
    let kinds: BTreeSet<Vec<String>> = topology.cpus.iter().map(own).collect();
    let mut out = String::new();
    for kind in kinds.iter().filter(|kind| !kind.is_empty()) {
        let _ = writeln!(out, "each core: {}", kind.join(", "));
    }
    let governors: BTreeSet<&String> =
        topology.cpus.iter().filter_map(|cpu| cpu.governor.as_ref()).collect();
    if !governors.is_empty() {
        let names: Vec<&str> = governors.into_iter().map(String::as_str).collect();
        let _ = writeln!(out, "frequency governor: {}", names.join(", "));
    }
    out
}

fn confinement(topology: &Topology) -> String {
    let confinement = &topology.confinement;
    let mut out = String::new();
    if let Some(source) = &confinement.cpuset {
        let _ = writeln!(out, "allowed here: {}, by {source}", confinement.allowed);
    }
    if let Some(quota) = confinement.quota {
        let _ = writeln!(out, "processor time: {quota} processors, by the control group's quota");
    }
    if topology.irqbalance {
        out.push_str("irqbalance runs\n");
    }
    out
}

fn interfaces(topology: &Topology) -> String {
    let heads = ["interface", "driver", "node", "Mbit/s", "queues", "interrupts", "RPS", "XPS"];
    let mut grid = Grid::new(&heads);
    for one in &topology.interfaces {
        let dash = || "-".to_owned();
        grid.row(vec![
            if one.is_up { one.name.clone() } else { format!("{} (down)", one.name) },
            one.driver.clone().unwrap_or_else(|| "none (virtual)".to_owned()),
            one.node.map_or_else(dash, |node| node.to_string()),
            one.speed.map_or_else(dash, |speed| speed.to_string()),
            queues(one),
            interrupts(topology, one),
            steering(&one.receive),
            steering(&one.send),
        ]);
    }
    grid.text()
}

fn queues(one: &Interface) -> String {
    let most = one.queues_max.map_or_else(String::new, |most| format!(" of {most}"));
    format!("{} rx{most}, {} tx", one.receive.len(), one.send.len())
}

fn interrupts(topology: &Topology, one: &Interface) -> String {
    let numbers: Cpus = one.interrupts.iter().map(|(number, _)| *number as usize).collect();
    let mine = topology.interrupts.iter().filter(|irq| numbers.contains(irq.number as usize));
    let targets = mine.fold(Cpus::default(), |all, irq| all.or(&irq.affinity));
    if numbers.is_empty() { "-".to_owned() } else { format!("{numbers} on CPU {targets}") }
}

fn steering(queues: &[super::interfaces::Queue]) -> String {
    let all = queues.iter().fold(Cpus::default(), |all, queue| all.or(&queue.steering));
    if all.is_empty() { "off".to_owned() } else { all.to_string() }
}
