//! Interrupts: who they belong to and which processors take them.

use serde::Serialize;

use super::cpus::Cpus;
use super::host::{Host, last_number};

/// One numbered interrupt.
#[derive(Clone, Debug, Serialize)]
pub struct Interrupt {
    pub number: u32,
    /// What the driver calls it: `eth0-TxRx-3`.
    pub name: String,
    /// Since the start, over all processors.
    pub count: u64,
    /// Processors that it may go to.
    pub affinity: Cpus,
    /// Spread by the kernel itself, which lets nobody move it.
    pub managed: bool,
}

/// Those of `/proc/interrupts` that have a number; timers and the like have none.
pub fn read(host: &Host) -> Vec<Interrupt> {
    let table = host.read("/proc/interrupts").unwrap_or_default();
    let columns = table.lines().next().map_or(0, |head| head.split_ascii_whitespace().count());
    table.lines().skip(1).filter_map(|line| interrupt(host, line, columns)).collect()
}

fn interrupt(host: &Host, line: &str, columns: usize) -> Option<Interrupt> {
    let (number, rest) = line.split_once(':')?;
    let number: u32 = number.trim().parse().ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let count = fields.iter().take(columns).flat_map(|field| field.parse::<u64>()).sum();
    let path = affinity_path(number);
    let affinity = host.read(&path);
    Some(Interrupt {
        number,
        name: (*fields.last()?).to_owned(),
        count,
        affinity: affinity.and_then(|list| Cpus::from_list(&list)).unwrap_or_default(),
        managed: host.is_read_only(&path),
    })
}

/// Where the processors of an interrupt are read and written.
pub fn affinity_path(number: u32) -> String {
    format!("/proc/irq/{number}/smp_affinity_list")
}

/// Whether a process named irqbalance runs.
pub fn is_balanced(host: &Host) -> bool {
    let is_pid = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    let names = host.list("/proc").into_iter().filter(is_pid);
    names
        .into_iter()
        .any(|pid| host.read(&format!("/proc/{pid}/comm")).as_deref() == Some("irqbalance"))
}

/// The queue that an interrupt of an interface serves, by the usual ways of drivers to name it:
/// `eth0-TxRx-3`, `mlx5_comp3@pci:0000:81:00.0`, `ens5-Tx-Rx-3`, `virtio2-input.3`. `None` for those
/// that serve none (`mlx5_async0`, `virtio2-config`, `eth0`).
pub fn queue_of(name: &str) -> Option<usize> {
    let name = name.split('@').next().unwrap_or(name);
    let lower = name.to_ascii_lowercase();
    let serves = ["rx", "tx", "comp", "input", "output", "queue", "-q"];
    let not = ["async", "config", "event", "control", "mgmt", "admin", "aq"];
    let is_queue = serves.iter().any(|word| lower.contains(word))
        && !not.iter().any(|word| lower.contains(word));
    is_queue.then(|| last_number(name)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_of_queues_are_known_by_their_names() {
        for (name, queue) in [
            ("eth0-TxRx-3", Some(3)),
            ("i40e-ens1f0-TxRx-12", Some(12)),
            ("ice-ens801f0-TxRx-0", Some(0)),
            ("mlx5_comp7@pci:0000:81:00.0", Some(7)),
            ("mlx5_async0@pci:0000:81:00.0", None),
            ("ens5-Tx-Rx-1", Some(1)),
            ("ena-mgmnt@pci:0000:00:05.0", None),
            ("virtio2-input.0", Some(0)),
            ("virtio2-output.0", Some(0)),
            ("virtio2-config", None),
            ("virtio2-control", None),
            ("eth0", None),
            ("", None),
        ] {
            assert_eq!(queue_of(name), queue, "{name}");
        }
    }
}
