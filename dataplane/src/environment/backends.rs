//! Which backend to take: what each needs of the host, what it brings, and why it is or is not the
//! choice.

use std::fs;
use std::io;

use super::{Finding, diagnose};
use crate::config::BackendChoice;
use crate::error::StartError;
use crate::io::neighbour::Driver;
use crate::io::xdp::XdpError;
use crate::io::{BackendKind, packet, uring, xdp};
use crate::topology::{Topology, WorkerId};

/// A backend, and why.
pub struct Chosen {
    pub kind: BackendKind,
    /// One line for the log.
    pub because: String,
    /// What a better one lacks, where the choice was ours and that is worth a warning.
    pub second_best: Option<Finding>,
}

/// What a backend lacks here.
struct Lack {
    what: String,
    remedy: String,
}

/// Takes the operator's choice, or the best that the host allows.
///
/// # Errors
/// What the operator's choice lacks.
pub fn choose(choice: BackendChoice) -> Result<Chosen, StartError> {
    let wanted = match choice {
        BackendChoice::Auto => return Ok(best()),
        BackendChoice::Uring => BackendKind::Uring,
        BackendChoice::Packet => BackendKind::Packet,
        BackendChoice::Xdp => BackendKind::Xdp,
        BackendChoice::Mmsg => BackendKind::Mmsg,
    };
    let because = || format!("media backend {}, as configured", name(wanted));
    match lack(wanted) {
        Ok(()) => Ok(Chosen { kind: wanted, because: because(), second_best: None }),
        Err(error) => Err(refused(wanted, error)),
    }
}

/// Of the backends, best first, the first that lacks nothing.
fn best() -> Chosen {
    let mut lacks = Vec::new();
    for kind in BEST_FIRST {
        match lack(kind) {
            Ok(()) => return chosen(kind, lacks),
            Err(error) => lacks.push((kind, described(kind, error))),
        }
    }
    chosen(BackendKind::Mmsg, lacks)
}

fn chosen(kind: BackendKind, lacks: Vec<(BackendKind, Lack)>) -> Chosen {
    let mut because = format!("media backend {}, the best that this host allows", name(kind));
    for (other, lack) in &lacks {
        because.push_str(&format!("; not {}: {}", name(*other), lack.what));
    }
    // Without privileges io_uring is as it should be; below it, something is amiss.
    let second_best = lacks.into_iter().find(|(other, _)| *other == BackendKind::Uring);
    let second_best = second_best.map(|(_, lack)| {
        let what = format!("{}; workers use epoll instead", lack.what);
        Finding::warn("io_uring", what, &lack.remedy)
    });
    Chosen { kind, because, second_best }
}

/// Each backend, what it brings and what it lacks here; for `trunkline check`.
pub fn findings() -> Vec<Finding> {
    let finding = |(kind, label, brings): (BackendKind, &'static str, &str)| match lack(kind) {
        Ok(()) => Finding::ok(label, format!("available: {brings}")),
        Err(error) => {
            let lack = described(kind, error);
            let (what, remedy) = (lack.what, &lack.remedy);
            match kind {
                BackendKind::Uring => {
                    Finding::warn(label, format!("{what}; workers use epoll instead"), remedy)
                }
                _ => Finding::warn(label, format!("{what}; it would bring: {brings}"), remedy),
            }
        }
    };
    let choice = Finding::ok("backend", format!("auto: {}", best().because));
    BRINGS.into_iter().map(finding).chain([choice]).collect()
}

/// What starting with a backend means when it fails after all.
pub fn refused(kind: BackendKind, error: io::Error) -> StartError {
    if kind == BackendKind::Uring {
        return diagnose(error, WorkerId(0));
    }
    if let Some(refusal) = refusal_of_xdp(&error) {
        return refusal;
    }
    let Lack { what, remedy } = described(kind, error);
    StartError::Backend { name: name(kind), what, remedy }
}

/// What it means that a worker could not make its backend.
pub fn failed(error: io::Error, worker: WorkerId) -> StartError {
    refusal_of_xdp(&error).unwrap_or_else(|| diagnose(error, worker))
}

fn refusal_of_xdp(error: &io::Error) -> Option<StartError> {
    let refusal = error.get_ref()?.downcast_ref::<XdpError>()?;
    let (what, remedy) = (refusal.to_string(), REMEDY_XDP.to_owned());
    Some(StartError::Backend { name: name(BackendKind::Xdp), what, remedy })
}

fn lack(kind: BackendKind) -> io::Result<()> {
    match kind {
        BackendKind::Uring => uring::probe().map(drop),
        // The ring is its event loop.
        BackendKind::Packet => uring::probe().and_then(|_| packet::probe()),
        // Whether a driver has it is seen when the program is attached.
        BackendKind::Xdp => {
            uring::probe().and_then(|_| packet::probe()).and_then(|()| xdp::probe())
        }
        BackendKind::Mmsg => Ok(()),
    }
}

fn described(kind: BackendKind, error: io::Error) -> Lack {
    let ring = kind == BackendKind::Uring || uring::probe().is_err();
    if ring {
        let text = diagnose(error, WorkerId(0)).to_string();
        let (what, remedy) = text.split_once("; ").unwrap_or((&text, ""));
        return Lack { what: what.to_owned(), remedy: remedy.to_owned() };
    }
    let remedy = if error.kind() == io::ErrorKind::PermissionDenied {
        "start as root, which is given up once the workers run (CAP_BPF, CAP_NET_ADMIN and \
         CAP_NET_RAW are needed until then), or set media.backend = \"uring\""
    } else {
        "use a kernel with sk_lookup programs (Linux 5.9, CONFIG_BPF_SYSCALL), or set \
         media.backend = \"uring\""
    };
    Lack { what: error.to_string(), remedy: remedy.to_owned() }
}

/// Ports of ours that the kernel may give to others, where nothing of ours holds them: programs that
/// ask for any port would get one that a call may use.
pub fn reserved_ports(kind: BackendKind, topology: &Topology) -> Option<Finding> {
    if !matches!(kind, BackendKind::Packet | BackendKind::Xdp) {
        return None;
    }
    let read = |file: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{file}")).ok();
    let (range, reserved) = (read("ip_local_port_range")?, read("ip_local_reserved_ports")?);
    let first = topology.placements.first()?.pairs.first_even;
    let last = topology.serving().last()?.pairs.iter().last()? | 1;
    let exposed = exposed(&range, &reserved, first, last)?;
    Some(Finding::warn(
        "ports",
        format!(
            "the kernel gives ports from {exposed} to programs that ask for any: media may take \
             their packets"
        ),
        &format!("sysctl -w net.ipv4.ip_local_reserved_ports={first}-{last}, and in sysctl.d"),
    ))
}

/// The interfaces that `xdp` would take frames from, with what their drivers can do.
///
/// # Errors
/// That one of them cannot.
pub fn drivers(kind: BackendKind, topology: &Topology) -> Result<Vec<Finding>, StartError> {
    if kind != BackendKind::Xdp {
        return Ok(Vec::new());
    }
    let drivers = xdp::drivers(&topology.under_xdp(), &topology.interfaces)
        .map_err(|error| refused(kind, io::Error::other(error)))?;
    let finding = |(name, driver): (String, Option<Driver>)| {
        let what = match driver {
            None => "what its driver can do is seen at the start (Linux 6.3 would tell)",
            Some(driver) if driver.has_zero_copy() => "its driver has XDP, without a copy",
            Some(_) => "its driver has XDP, with a copy of each frame",
        };
        Finding::ok("xdp", format!("{name}: {what}"))
    };
    Ok(drivers.into_iter().map(finding).collect())
}

/// Interfaces on which the kernel is asked to relay by itself, and would lose what it relays.
pub fn deaf_ends(kind: BackendKind, topology: &Topology) -> Vec<Finding> {
    if kind != BackendKind::Xdp || !topology.xdp_tx.contains(&true) {
        return Vec::new();
    }
    let finding = |(name, why): (String, _)| {
        Finding::warn(
            "xdp_tx",
            format!(
                "media.xdp_tx is not used on {name}: {why}, and would lose what the kernel relays"
            ),
            "put any XDP program on the other end first (`ip link set dev PEER xdp obj FILE`), or \
             set media.xdp_tx = false",
        )
    };
    xdp::deaf_ends(&topology.under_xdp(), &topology.interfaces).into_iter().map(finding).collect()
}

/// The first port from `first` to `last` that is in the local range and not reserved.
fn exposed(range: &str, reserved: &str, first: u16, last: u16) -> Option<u16> {
    let mut ends = range.split_ascii_whitespace().map(|port| port.parse::<u16>().ok());
    let (low, high) = (ends.next()??, ends.next()??);
    let spans: Vec<(u16, u16)> = reserved
        .trim()
        .split(',')
        .filter_map(|span| {
            let (from, to) = span.split_once('-').unwrap_or((span, span));
            Some((from.parse().ok()?, to.parse().ok()?))
        })
        .collect();
    (first.max(low)..=last.min(high))
        .find(|port| !spans.iter().any(|(from, to)| (from..=to).contains(&port)))
}

/// As the operator writes it.
pub const fn name(kind: BackendKind) -> &'static str {
    match kind {
        BackendKind::Uring => "uring",
        BackendKind::Packet => "packet",
        BackendKind::Xdp => "xdp",
        BackendKind::Mmsg => "mmsg",
    }
}

const REMEDY_XDP: &str = "media.backend = \"packet\" does without";

/// What `auto` takes, if it can.
const BEST_FIRST: [BackendKind; 2] = [BackendKind::Packet, BackendKind::Uring];

/// Backends in the same order, by the names of their findings.
const BRINGS: [(BackendKind, &str, &str); 4] = [
    (
        BackendKind::Xdp,
        "xdp",
        "backend \"xdp\", frames straight from drivers that have XDP, past the host's filters, for a \
         third of io_uring's CPU per packet; only where it is configured",
    ),
    (
        BackendKind::Packet,
        "packet",
        "backend \"packet\", one socket for all ports of a worker and frames past the socket layer, \
         for a third less CPU per packet than io_uring",
    ),
    (
        BackendKind::Uring,
        "io_uring",
        "backend \"uring\", one socket per port, no privilege; single issuer, deferred task work, \
         file table",
    ),
    (
        BackendKind::Mmsg,
        "mmsg",
        "backend \"mmsg\", epoll, recvmmsg and sendmmsg on any host, for somewhat more CPU",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_gives_to_others_is_told_unless_reserved() {
        let range = "32768\t60999\n";
        assert_eq!(exposed(range, "\n", 20_000, 29_999), None);
        assert_eq!(exposed(range, "\n", 20_000, 39_999), Some(32_768));
        assert_eq!(exposed(range, "20000-39999\n", 20_000, 39_999), None);
        assert_eq!(exposed(range, "32768-35000,35002\n", 20_000, 39_999), Some(35_001));
        assert_eq!(exposed(range, "20000-60000\n", 60_000, 65_535), Some(60_001));
        assert_eq!(exposed("", "", 1, 2), None);
        assert_eq!(exposed("x y", "z-,", 1, 2), None);
    }

    #[test]
    fn the_choice_is_explained_with_what_the_better_ones_lack() {
        let error = || io::Error::from_raw_os_error(libc::EPERM);
        let lacking = |kind| (kind, described(kind, error()));
        let packet = chosen(BackendKind::Packet, vec![]);
        assert!(packet.because.contains("packet") && packet.second_best.is_none());
        let uring = chosen(BackendKind::Uring, vec![lacking(BackendKind::Packet)]);
        assert!(uring.because.contains("not packet: "), "{}", uring.because);
        assert!(uring.second_best.is_none(), "io_uring needs no privilege: nothing is amiss");
        let both = vec![lacking(BackendKind::Packet), lacking(BackendKind::Uring)];
        let mmsg = chosen(BackendKind::Mmsg, both);
        assert!(mmsg.because.contains("not uring: "), "{}", mmsg.because);
        let finding = mmsg.second_best.unwrap();
        assert!(finding.what.contains("epoll") && finding.remedy.contains("seccomp"));
    }

    #[test]
    fn a_named_backend_that_cannot_be_is_refused_with_its_remedy() {
        let error = io::Error::new(io::ErrorKind::PermissionDenied, "cannot create a BPF map");
        let text = refused(BackendKind::Packet, error).to_string();
        for words in ["packet", "BPF map", "start as root", "CAP_NET_RAW", "media.backend"] {
            assert!(text.contains(words), "{text}");
        }
    }
}
