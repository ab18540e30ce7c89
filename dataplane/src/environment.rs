//! What the host must offer: checked before the workers start, and by `trunkline check`.
//!
//! Each check has two readers: [`probe`] lists findings without side effects, [`crate::run`]
//! refuses to start with the [`StartError`] of the first that fails.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::error::StartError;
use crate::io::{BackendKind, Dscp, socket, uring};
use crate::limits::{BUFFER_SIZE, BUFFERS, DESCRIPTORS_OTHER, DESCRIPTORS_PACKET};
use crate::prompt::Prompts;
use crate::topology::{Topology, WorkerId};
pub use backends::{failed as backend_failed, name as backend_name, refused as backend_refused};

mod backends;

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Short and stable, for scripts.
    pub name: &'static str,
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to do about it; empty when all is well.
    pub remedy: String,
}

/// How a finding bears on running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Ok,
    /// Runs, but worse than it could.
    Warn,
    /// Does not run.
    Fail,
}

impl Finding {
    fn ok(name: &'static str, what: String) -> Finding {
        Finding { name, level: Level::Ok, what, remedy: String::new() }
    }

    fn warn(name: &'static str, what: String, remedy: &str) -> Finding {
        Finding { name, level: Level::Warn, what, remedy: remedy.to_owned() }
    }
}

/// Looks at everything that the data plane needs of this host, whatever its configuration.
pub fn probe() -> Vec<Finding> {
    let mut findings = backend_findings();
    findings.push(cores_finding());
    findings.push(descriptors_finding());
    findings.push(memlock_finding());
    findings
}

/// What the workers are started with.
pub struct Prepared {
    pub topology: Topology,
    pub backend: BackendKind,
    /// Why this backend, for the log.
    pub because: String,
    pub prompts: Arc<Prompts>,
    /// What is not as it should be, and prevents nothing.
    pub warnings: Vec<Finding>,
    /// What is as it should be, and worth to be known.
    pub notes: Vec<Finding>,
}

/// Plans the workers and checks the host for them.
///
/// # Errors
/// The [`StartError`] that starting would end with.
pub fn prepare(config: &Config) -> Result<Prepared, StartError> {
    let topology = Topology::plan(config, &allowed_cores())?;
    let chosen = backends::choose(config.backend)?;
    let backend = chosen.kind;
    check_descriptors(&topology, backend)?;
    check_ports(&topology)?;
    let prompts = match &config.prompts {
        Some(directory) => Prompts::load(directory)?,
        None => Prompts::default(),
    };
    let reserved = backends::reserved_ports(backend, &topology);
    let warnings = chosen.second_best.into_iter().chain(port_headroom(&topology)).chain(reserved);
    let warnings = warnings.chain(backends::deaf_ends(backend, &topology)).collect();
    let notes = backends::drivers(backend, &topology)?;
    let because = chosen.because;
    Ok(Prepared { topology, backend, because, prompts: Arc::new(prompts), warnings, notes })
}

fn backend_findings() -> Vec<Finding> {
    let mut findings = backends::findings();
    if let Ok(gathers) = uring::probe() {
        findings.push(gather_finding(&kernel_release(), gathers));
    }
    findings
}

fn gather_finding(kernel: &str, gathers: bool) -> Finding {
    if gathers {
        return Finding::ok("kernel", format!("Linux {kernel} can gather packets per wake-up"));
    }
    Finding::warn(
        "kernel",
        format!("Linux {kernel} cannot gather: each packet may wake a worker"),
        "upgrade to Linux 6.12 or later to save CPU at high rates",
    )
}

fn cores_finding() -> Finding {
    let cores = allowed_cores();
    if cores.len() > 1 {
        return Finding::ok("cores", format!("{} cores may be used", cores.len()));
    }
    Finding::warn(
        "cores",
        "one core may be used: workers share it with everything else".to_owned(),
        "give the service at least two cores (CPUAffinity, cpuset)",
    )
}

fn descriptors_finding() -> Finding {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let flows = hard.saturating_sub(DESCRIPTORS_OTHER) / 2;
    let what = format!("{hard} open files allow {flows} flows per worker");
    if hard >= DESCRIPTORS_COMFORTABLE {
        return Finding::ok("nofile", what);
    }
    Finding::warn("nofile", what, "raise LimitNOFILE in the service unit or `ulimit -Hn`")
}

fn memlock_finding() -> Finding {
    let limit = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
    if limit >= MEMLOCK_COMFORTABLE {
        return Finding::ok("memlock", "regions can be locked into memory".to_owned());
    }
    Finding::warn(
        "memlock",
        format!("only {} KiB can be locked: keys in command slots may reach swap", limit >> 10),
        "set LimitMEMLOCK=64M or more in the service unit, or turn swap off",
    )
}

/// What a failure to set up a ring means to the operator.
pub fn diagnose(error: io::Error, worker: WorkerId) -> StartError {
    let too_old = |lacks| StartError::KernelTooOld { found: kernel_release(), lacks };
    match (error.raw_os_error(), ring_sysctl()) {
        (Some(libc::EPERM), sysctl @ 1..) => StartError::RingDisabled { sysctl },
        (Some(libc::EPERM | libc::EACCES), 0) => StartError::RingFiltered { cause: error },
        // A kernel that has the sysctl has io_uring: the call itself is filtered.
        (Some(libc::ENOSYS), _) if has_ring_sysctl() => StartError::RingFiltered { cause: error },
        (Some(libc::ENOSYS), _) => too_old("io_uring"),
        (Some(libc::EINVAL), _) => too_old("deferred task work of io_uring"),
        (Some(libc::EMFILE), _) => {
            let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            StartError::TooFewDescriptors { limit, needed: limit.saturating_mul(2) }
        }
        _ => StartError::NoMemory { worker, cause: error },
    }
}

/// Raises the soft limit of open files to the hard one and checks that it suffices: for a socket
/// per port of all workers, or for the file table of one ring, which holds the sockets and may not
/// be larger than the limit either, or for the few sockets of each worker. A full lease opens two
/// sockets more for a moment.
///
/// # Errors
/// [`StartError::TooFewDescriptors`].
fn check_descriptors(topology: &Topology, backend: BackendKind) -> Result<(), StartError> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // When it fails, the check below says what is missing.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let sockets = match backend {
        BackendKind::Mmsg => topology.sockets_ever(),
        BackendKind::Uring => u64::from(topology.flows_per_worker) * 2,
        BackendKind::Packet | BackendKind::Xdp => {
            let addresses = topology.networks.iter().flatten().count() as u64;
            topology.placements.len() as u64 * DESCRIPTORS_PACKET + addresses
        }
    };
    let needed = sockets + DESCRIPTORS_OTHER;
    if limit < needed { Err(StartError::TooFewDescriptors { limit, needed }) } else { Ok(()) }
}

/// Flows beyond the ports are never opened; the commands for them are refused.
fn port_headroom(topology: &Topology) -> Option<Finding> {
    let (sockets, ports) = (topology.sockets_max(), topology.ports_min());
    let what = format!(
        "media.flows makes room for {} calls, media.ports for {}: calls beyond are refused",
        sockets / 4,
        ports / 4
    );
    let remedy = "widen media.ports, add an address to media.address, or lower media.flows";
    (sockets > ports).then(|| Finding::warn("ports", what, remedy))
}

/// Checks that each media address is one of ours and that each worker can have ports on it. A port
/// here and there in other hands is usual and skipped later.
///
/// # Errors
/// [`StartError::AddressNotLocal`], [`StartError::PortsOccupied`].
fn check_ports(topology: &Topology) -> Result<(), StartError> {
    for address in topology.networks.iter().flatten() {
        socket::open(SocketAddr::new(*address, 0), Dscp::EF)
            .map_err(|cause| StartError::AddressNotLocal { address: *address, cause })?;
        for placement in topology.serving() {
            let free = |even: &u16| is_free(*address, *even) && is_free(*address, *even | 1);
            if !placement.pairs.iter().any(|even| free(&even)) {
                let first = placement.pairs.first_even;
                let last = placement.pairs.iter().last().unwrap_or(first) | 1;
                return Err(StartError::PortsOccupied { address: *address, first, last });
            }
        }
    }
    Ok(())
}

fn is_free(address: IpAddr, port: u16) -> bool {
    socket::open(SocketAddr::new(address, port), Dscp::EF).is_ok()
}

/// The cores that this process may use, in order.
fn allowed_cores() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores.into_iter().map(|core| core.id).collect()
}

fn kernel_release() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if release.is_empty() { "(unknown)".to_owned() } else { release.trim().to_owned() }
}

/// 0: allowed to all, 1: to a group, 2: to nobody.
fn ring_sysctl() -> u32 {
    let value = fs::read_to_string(RING_SYSCTL).unwrap_or_default();
    value.trim().parse().unwrap_or(0)
}

fn has_ring_sysctl() -> bool {
    fs::exists(RING_SYSCTL).unwrap_or(false)
}

const RING_SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";
/// Two sockets for each of 4,096 flows, and the rest.
const DESCRIPTORS_COMFORTABLE: u64 = 2 * 4_096 + DESCRIPTORS_OTHER;
/// The packet buffers of a worker and a region of ordinary size.
const MEMLOCK_COMFORTABLE: u64 = BUFFERS as u64 * BUFFER_SIZE as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    #[test]
    fn every_refusal_of_the_ring_names_cause_and_remedy() {
        let table: [(i32, &[&str]); 4] = [
            (libc::EPERM, &["seccomp"]),
            (libc::EINVAL, &["kernel", "upgrade"]),
            (libc::ENOMEM, &["memory", "lower media.workers"]),
            (libc::EMFILE, &["open files", "LimitNOFILE"]),
        ];
        for (errno, words) in table {
            let text = diagnose(io::Error::from_raw_os_error(errno), WorkerId(0)).to_string();
            assert!(words.iter().all(|word| text.contains(word)), "{errno}: {text}");
        }
        let disabled = StartError::RingDisabled { sysctl: 2 }.to_string();
        assert!(disabled.contains("sysctl -w kernel.io_uring_disabled=0"), "{disabled}");
    }

    #[test]
    fn a_foreign_address_is_refused_by_name() {
        let mut config = config();
        config.networks = vec![vec!["192.0.2.1".parse().unwrap()]];
        let topology = Topology::plan(&config, &[]).unwrap();
        let text = check_ports(&topology).unwrap_err().to_string();
        assert!(text.contains("192.0.2.1") && text.contains("media.advertise"), "{text}");
    }

    #[test]
    fn occupied_ports_are_refused_only_when_none_is_left() {
        let address = IpAddr::from([127, 0, 0, 77]);
        let mut config = config();
        config.networks = vec![vec![address]];
        config.ports = 18_000..=18_003;
        let topology = Topology::plan(&config, &[]).unwrap();
        let _one = socket::open(SocketAddr::new(address, 18_001), Dscp::EF).unwrap();
        check_ports(&topology).unwrap();
        let _other = socket::open(SocketAddr::new(address, 18_002), Dscp::EF).unwrap();
        let text = check_ports(&topology).unwrap_err().to_string();
        assert!(text.contains("18000 to 18003") && text.contains("ss -lunp"), "{text}");
    }

    #[test]
    fn too_few_descriptors_are_told_with_the_number_needed() {
        let mut config = config();
        config.workers = 3;
        let mut topology = Topology::plan(&config, &[]).unwrap();
        check_descriptors(&topology, BackendKind::Mmsg).unwrap();
        topology.flows_per_worker = u32::MAX;
        for (backend, sockets) in
            [(BackendKind::Uring, u64::from(u32::MAX) * 2), (BackendKind::Mmsg, 0x5_ffff_fffa)]
        {
            let text = check_descriptors(&topology, backend).unwrap_err().to_string();
            assert!(text.contains(&format!("LimitNOFILE={}", sockets + 64)), "{text}");
        }
        // Where no port has a descriptor, any number of flows will do.
        check_descriptors(&topology, BackendKind::Packet).unwrap();
    }

    #[test]
    fn room_for_more_calls_than_ports_is_told() {
        let mut config = config();
        config.ports = 10_000..=10_063;
        config.flows_per_worker = 32;
        let plan = |config: &Config| Topology::plan(config, &[]).unwrap();
        assert_eq!(port_headroom(&plan(&config)), None);
        config.workers = 2;
        let told = port_headroom(&plan(&config)).unwrap();
        assert!(told.what.contains("for 32 calls") && told.what.contains("for 16"), "{told:?}");
        config.networks = vec![vec![[127, 0, 0, 1].into(), [127, 0, 0, 2].into()]];
        assert_eq!(port_headroom(&plan(&config)), None, "each address has the ports");
    }

    #[test]
    fn the_probe_finds_a_usable_ring_here() {
        let findings = probe();
        for name in ["io_uring", "kernel", "cores", "nofile", "memlock"] {
            let finding = findings.iter().find(|finding| finding.name == name).unwrap();
            assert_eq!(finding.remedy.is_empty(), finding.level == Level::Ok, "{finding:?}");
            assert_ne!(finding.level, Level::Fail, "{finding:?}");
        }
    }
}
