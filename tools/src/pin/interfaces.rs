//! Network interfaces: where they are plugged in, their queues, and who serves these.

use std::net::IpAddr;

use serde::Serialize;

use super::cpus::Cpus;
use super::host::{Host, last_number};
use super::interrupts::{Interrupt, queue_of};

/// One interface.
#[derive(Debug, Serialize)]
pub struct Interface {
    pub name: String,
    /// `None` for one that no hardware is behind.
    pub driver: Option<String>,
    /// The NUMA node of its slot, where the firmware tells.
    pub node: Option<usize>,
    pub is_up: bool,
    /// Mbit/s, when the link is up and the driver knows.
    pub speed: Option<u64>,
    pub addresses: Vec<IpAddr>,
    pub receive: Vec<Queue>,
    pub send: Vec<Queue>,
    /// Receive queues that the hardware can have, where `ethtool` tells.
    pub queues_max: Option<usize>,
    /// Interrupts of its queues: number and queue.
    pub interrupts: Vec<(u32, usize)>,
}

/// One queue and the processors that the kernel gives its packets to: for receiving those of RPS,
/// for sending those of XPS.
#[derive(Debug, Serialize)]
pub struct Queue {
    pub index: usize,
    pub steering: Cpus,
}

pub fn read(host: &Host, interrupts: &[Interrupt]) -> Vec<Interface> {
    let addresses = addresses(host);
    let of = |name: &str| -> Vec<IpAddr> {
        addresses.iter().filter(|(owner, _)| owner == name).map(|(_, ip)| *ip).collect()
    };
    let names = host.list(NET).into_iter().filter(|name| name != "lo");
    names.map(|name| interface(host, interrupts, of(&name), name)).collect()
}

fn interface(
    host: &Host,
    interrupts: &[Interrupt],
    addresses: Vec<IpAddr>,
    name: String,
) -> Interface {
    let at = format!("{NET}/{name}");
    let number = |file: &str| host.read(&format!("{at}/{file}"))?.parse::<i64>().ok();
    let hardware = host.exists(&format!("{at}/device"));
    // A virtio device's own place tells nothing; that of the slot it sits in does.
    let node = number("device/numa_node").or_else(|| number("device/../numa_node"));
    Interface {
        driver: host.link(&format!("{at}/device/driver")).filter(|_| hardware),
        node: node.and_then(|node| usize::try_from(node).ok()).filter(|_| hardware),
        is_up: host.read(&format!("{at}/operstate")).is_some_and(|state| state != "down"),
        speed: number("speed").and_then(|speed| u64::try_from(speed).ok()),
        addresses,
        receive: queues(host, &at, "rx", "rps_cpus"),
        send: queues(host, &at, "tx", "xps_cpus"),
        queues_max: queue_counts(host, &name).map(|counts| counts.most),
        interrupts: own_interrupts(host, interrupts, &at, &name),
        name,
    }
}

fn queues(host: &Host, at: &str, way: &str, file: &str) -> Vec<Queue> {
    let names = host.list(&format!("{at}/queues"));
    let mine = names.iter().filter(|name| name.starts_with(way));
    mine.filter_map(|name| {
        let mask = host.read(&format!("{at}/queues/{name}/{file}")).unwrap_or_default();
        let steering = Cpus::from_mask(&mask).unwrap_or_default();
        Some(Queue { index: last_number(name)?, steering })
    })
    .collect()
}

/// By the list that the bus keeps for the device, or by names that begin as the interface's.
fn own_interrupts(
    host: &Host,
    interrupts: &[Interrupt],
    at: &str,
    name: &str,
) -> Vec<(u32, usize)> {
    let mut listed = host.list(&format!("{at}/device/msi_irqs"));
    listed.extend(host.list(&format!("{at}/device/../msi_irqs")));
    let mine = |one: &&Interrupt| {
        listed.contains(&one.number.to_string())
            || one.name.split(['-', '@']).any(|part| part == name)
    };
    let served = interrupts.iter().filter(mine);
    served.filter_map(|one| Some((one.number, queue_of(&one.name)?))).collect()
}

/// What `ethtool -l` says of the queues of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueCounts {
    /// The most that the hardware can have.
    pub most: usize,
    pub now: usize,
    /// Whether one queue does both ways; else the figures are those of receiving.
    pub combined: bool,
}

pub fn queue_counts(host: &Host, interface: &str) -> Option<QueueCounts> {
    parse_counts(&host.run("ethtool", &["-l", interface]).ok()?)
}

fn parse_counts(text: &str) -> Option<QueueCounts> {
    let of = |name: &str, combined: bool| {
        let (most, now) = most_and_now(text, name)?;
        (most > 0).then_some(QueueCounts { most, now, combined })
    };
    of("Combined:", true).or_else(|| of("RX:", false))
}

/// Frames that a receive ring has room for, as `ethtool -g` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingSizes {
    pub most: usize,
    pub now: usize,
}

pub fn ring_sizes(host: &Host, interface: &str) -> Option<RingSizes> {
    parse_sizes(&host.run("ethtool", &["-g", interface]).ok()?)
}

fn parse_sizes(text: &str) -> Option<RingSizes> {
    let (most, now) = most_and_now(text, "RX:")?;
    (most > 0).then_some(RingSizes { most, now })
}

/// A number of `ethtool`'s: at most, and now.
fn most_and_now(text: &str, name: &str) -> Option<(usize, usize)> {
    let (most, now) = text.split_once("Current hardware settings")?;
    let value = |part: &str| -> Option<usize> {
        let line = part.lines().find_map(|line| line.trim().strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some((value(most)?, value(now)?))
}

/// Which interface has which address, from `ip -json address`.
fn addresses(host: &Host) -> Vec<(String, IpAddr)> {
    let text = host.run("ip", &["-json", "address"]).unwrap_or_default();
    let found: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let mut all = Vec::new();
    for one in found.as_array().into_iter().flatten() {
        let name = one.get("ifname").and_then(|name| name.as_str()).unwrap_or_default();
        let infos = one.get("addr_info").and_then(|infos| infos.as_array());
        for info in infos.into_iter().flatten() {
            let local = info.get("local").and_then(|local| local.as_str());
            if let Some(ip) = local.and_then(|local| local.parse().ok()) {
                all.push((name.to_owned(), ip));
            }
        }
    }
    all
}

const NET: &str = "/sys/class/net";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_read_from_every_kind_of_ethtool_answer() {
        let text = |rx: &str, combined: &str| {
            format!(
                "Channel parameters for eth0:\nPre-set maximums:\nRX:\t\t{rx}\nTX:\t\tn/a\n\
                 Combined:\t{combined}\nCurrent hardware settings:\nRX:\t\t{rx}\n\
                 Combined:\t{combined}\n"
            )
        };
        let found = |most, combined| Some(QueueCounts { most, now: most, combined });
        assert_eq!(parse_counts(&text("n/a", "63")), found(63, true));
        assert_eq!(parse_counts(&text("2", "n/a")), found(2, false));
        assert_eq!(parse_counts(&text("2", "0")), found(2, false));
        for broken in ["", "netlink error", "Current hardware settings", &text("x", "-1")] {
            assert_eq!(parse_counts(broken), None, "{broken}");
        }
    }

    #[test]
    fn rings_are_read_from_what_ethtool_prints() {
        let text = "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t\t4096\nRX Mini:\t\tn/a\n\
                    RX Jumbo:\t\tn/a\nTX:\t\t\t4096\nTX push buff len:\tn/a\n\
                    Current hardware settings:\nRX:\t\t\t512\nRX Mini:\t\tn/a\nTX:\t\t\t256\n";
        assert_eq!(parse_sizes(text), Some(RingSizes { most: 4096, now: 512 }));
        let broken = [&text.replace("4096", "0"), &text.replace("512", "n/a"), "", "netlink error"];
        for broken in broken {
            assert_eq!(parse_sizes(broken), None, "{broken}");
        }
    }
}
