//! `[media]`: what the data plane works with.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::dscp;
use super::network::Network;
use super::section::Section;
use super::sections::Sip;

/// The section's values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Media {
    /// Addresses that media ports are opened on, of either family; the first is the usual one. At
    /// least one.
    pub addresses: Vec<IpAddr>,
    /// Addresses to write in session descriptions instead: at most one of each family.
    pub advertise: Vec<IpAddr>,
    /// More networks, each with ports of its own.
    pub networks: Vec<Network>,
    /// Ports for RTP and RTCP, on every address.
    pub ports: RangeInclusive<u16>,
    /// Worker threads.
    pub workers: u16,
    /// Worker threads beside them that stand by: they have no calls until an operator adds them.
    pub standby_workers: u16,
    /// Cores that workers are pinned to, one each; empty pins none.
    pub cores: Vec<usize>,
    /// How long a wake-up may wait for more packets, in microseconds.
    pub gather_us: u32,
    /// How long a worker polls before it sleeps, in microseconds.
    pub spin_us: u32,
    /// Flows per worker, two for each call.
    pub flows: u32,
    /// How packets of these addresses are received and sent.
    pub backend: MediaBackend,
    /// Interfaces that `xdp` takes frames from; empty: those of the addresses.
    pub interfaces: Vec<String>,
    /// Whether `xdp` lets the kernel relay plain RTP by itself.
    pub xdp_tx: bool,
    /// Differentiated services code point of media packets (RFC 2474).
    pub dscp: u8,
    /// Directory of the announcements.
    pub prompts: Option<PathBuf>,
    /// User that the data plane becomes when it is started as root.
    pub user: Option<String>,
}

/// How the data plane receives and sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MediaBackend {
    /// What the host allows, the fastest first.
    Auto,
    /// One socket per worker and frames of our own.
    Packet,
    /// The same, with frames straight from the driver.
    Xdp,
    /// io_uring.
    Uring,
    /// recvmmsg and sendmmsg.
    Mmsg,
}

/// As they are written, in the order of [`MediaBackend`].
const BACKENDS: [&str; 5] = ["auto", "packet", "uring", "mmsg", "xdp"];

pub(super) fn read(mut section: Section<'_, '_>, sip: &Sip) -> Media {
    let addresses = addresses(&mut section, sip);
    let advertise = advertise(&mut section, &addresses);
    let ports = ports(&mut section);
    let (workers, cores) = workers(&mut section, sip.shards as u64);
    let mut number = |key, range| {
        let found = section.integer(key, range).map(|n| n.value);
        found.and_then(|n| u32::try_from(n).ok())
    };
    let standby_given = number("standby_workers", 0..WORKERS_MAX);
    let gather_us = number("gather_us", 0..GATHER_US_MAX + 1);
    let spin_us = number("spin_us", 0..SPIN_US_MAX + 1);
    let flows = number("flows", 2..FLOWS_MAX + 1);
    if let Some(more) = standby_given.map(u64::from).filter(|more| more + workers > WORKERS_MAX) {
        let problem = format!("{workers} workers and {more} that stand by");
        let remedy = format!("keep them at {WORKERS_MAX} together");
        section.error("standby_workers", problem, remedy);
    }
    let backend = backend(&mut section).unwrap_or(MediaBackend::Auto);
    let named = section.strings("interfaces").unwrap_or_default();
    let interfaces: Vec<String> = named.into_iter().map(|name| name.value).collect();
    let xdp_tx = xdp_tx(&mut section, backend);
    let dscp = dscp::code_point(&mut section, "dscp").unwrap_or(DSCP_DEFAULT);
    let prompts = section.path("prompts");
    let user = section.string("user").map(|text| text.value);
    if user.as_deref().is_some_and(|name| name.is_empty() || name == "root") {
        let remedy = "name a user without privileges, or remove the field";
        section.error("user", "the data plane needs a user other than root", remedy);
    }
    section.finish();
    Media {
        flows: flows.unwrap_or_else(|| flows_of(&ports, &addresses, workers)),
        addresses,
        advertise,
        networks: Vec::new(),
        ports,
        workers: u16::try_from(workers).unwrap_or(u16::MAX),
        cores,
        standby_workers: standby_workers(standby_given, workers),
        gather_us: gather_us.unwrap_or(GATHER_US_DEFAULT),
        spin_us: spin_us.unwrap_or(0),
        backend,
        interfaces,
        xdp_tx,
        dscp,
        prompts,
        user,
    }
}

impl MediaBackend {
    /// Whether workers can serve one network so and another so: frames and the one socket for what
    /// comes otherwise are parts of the same.
    pub(super) fn goes_with(self, other: Self) -> bool {
        let takes_frames = |backend| matches!(backend, Self::Auto | Self::Packet | Self::Xdp);
        self == other || takes_frames(self) && takes_frames(other)
    }
}

impl Media {
    /// What the workers must be able to do for all networks.
    pub fn workers_backend(&self) -> MediaBackend {
        let any_xdp = self.takes_xdp().contains(&true);
        if any_xdp { MediaBackend::Xdp } else { self.backend }
    }

    /// Whether packets of each network are taken by `xdp`, that of `[media]` first.
    pub fn takes_xdp(&self) -> Vec<bool> {
        let more = self.networks.iter().map(|network| network.backend);
        let all = std::iter::once(self.backend).chain(more);
        all.map(|backend| backend == MediaBackend::Xdp).collect()
    }

    /// The addresses of each network, that of `[media]` first.
    pub fn by_network(&self) -> Vec<Vec<IpAddr>> {
        let more = self.networks.iter().map(|network| network.addresses.clone());
        std::iter::once(self.addresses.clone()).chain(more).collect()
    }

    /// All addresses.
    pub fn local(&self) -> impl Iterator<Item = IpAddr> {
        let more = self.networks.iter().flat_map(|network| &network.addresses);
        self.addresses.iter().chain(more).copied()
    }

    /// Addresses for which session descriptions tell another one, with that.
    pub fn told(&self) -> Vec<(IpAddr, IpAddr)> {
        let own = std::iter::once((&self.addresses, &self.advertise));
        let more = self.networks.iter().map(|network| (&network.addresses, &network.advertise));
        let of_network = |(addresses, told): (&Vec<IpAddr>, &Vec<IpAddr>)| -> Vec<_> {
            let stands_for = |told: &IpAddr| {
                let same_family = |ip: &&IpAddr| ip.is_ipv4() == told.is_ipv4();
                addresses.iter().find(same_family).map(|address| (*address, *told))
            };
            told.iter().filter_map(stands_for).collect()
        };
        own.chain(more).flat_map(of_network).collect()
    }
}

/// Reports interfaces named where no network takes frames from any.
pub(super) fn check_interfaces(mut section: Section<'_, '_>, media: &Media) {
    if !media.interfaces.is_empty() && media.workers_backend() != MediaBackend::Xdp {
        let problem = "only the backend \"xdp\" takes frames from interfaces";
        let remedy = "set backend = \"xdp\" here or in a [[network]], or remove the field";
        section.error("interfaces", problem, remedy);
    }
}

/// The backend that a section names.
pub(super) fn backend(section: &mut Section<'_, '_>) -> Option<MediaBackend> {
    Some(match section.word("backend", &BACKENDS)?.value {
        1 => MediaBackend::Packet,
        2 => MediaBackend::Uring,
        3 => MediaBackend::Mmsg,
        4 => MediaBackend::Xdp,
        _ => MediaBackend::Auto,
    })
}

/// Whether the kernel may relay by itself on a network.
pub(super) fn xdp_tx(section: &mut Section<'_, '_>, backend: MediaBackend) -> bool {
    let wanted = section.boolean("xdp_tx").is_some_and(|given| given.value);
    if wanted && backend != MediaBackend::Xdp {
        let problem = "only the backend \"xdp\" has the kernel relay by itself";
        section.error("xdp_tx", problem, "set backend = \"xdp\" for it, or remove the field");
    }
    wanted
}

/// The addresses given, else those of the SIP listeners: the first of each family.
fn addresses(section: &mut Section<'_, '_>, sip: &Sip) -> Vec<IpAddr> {
    let given = section.addresses("address");
    if let Some(given) = given {
        check_addresses(section, "address", &given);
        if given.len() > ADDRESSES_MAX {
            let problem = format!("{} addresses", given.len());
            section.error("address", problem, format!("keep at most {ADDRESSES_MAX}"));
        }
        return given;
    }
    let listeners = sip.udp.iter().chain(&sip.tls).chain(&sip.tcp);
    let mut concrete: Vec<IpAddr> = Vec::new();
    for ip in listeners.map(SocketAddr::ip).filter(|ip| !ip.is_unspecified()) {
        if !concrete.iter().any(|taken| taken.is_ipv4() == ip.is_ipv4()) {
            concrete.push(ip);
        }
    }
    if concrete.is_empty() {
        let remedy = "write address = \"...\", the address that media is sent from";
        section.error("address", "missing, and no SIP listener has an address to take", remedy);
    }
    concrete
}

/// At most one address of each family, standing for the one media address of that family: behind
/// it, two addresses with the same ports could not be told apart.
pub(super) fn advertise(section: &mut Section<'_, '_>, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let given = section.addresses("advertise").unwrap_or_default();
    check_addresses(section, "advertise", &given);
    for (is_ipv4, family) in [(true, "IPv4"), (false, "IPv6")] {
        let of_family = |all: &[IpAddr]| all.iter().filter(|ip| ip.is_ipv4() == is_ipv4).count();
        let problem = match (of_family(&given), of_family(addresses)) {
            (0, _) | (1, 1) => continue,
            (1, 0) if addresses.is_empty() => continue,
            (1, 0) => format!("there is an {family} address here, but none in address"),
            (1, several) => format!("one {family} address cannot stand for {several} of address"),
            (several, _) => format!("{several} {family} addresses"),
        };
        let remedy = "give one for each family of which address has exactly one";
        section.error("advertise", problem, remedy);
    }
    given
}

pub(super) fn check_addresses(section: &mut Section<'_, '_>, key: &'static str, given: &[IpAddr]) {
    for (index, ip) in given.iter().enumerate() {
        let problem = match ip {
            _ if ip.is_unspecified() || ip.is_multicast() => {
                format!("{ip} cannot stand in a session description")
            }
            IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => format!("{ip} is an IPv4 address"),
            IpAddr::V6(six) if six.is_unicast_link_local() => {
                format!("{ip} is valid on one link only")
            }
            _ if given.iter().take(index).any(|earlier| earlier == ip) => {
                format!("{ip} is listed twice")
            }
            _ => continue,
        };
        let remedy = "name addresses that peers can send to, each once: \"192.0.2.1\" or \
                      [\"192.0.2.1\", \"2001:db8::1\"]";
        section.error(key, problem, remedy);
    }
}

/// Number of workers, and their cores. Each shard of signaling has workers of its own.
fn workers(section: &mut Section<'_, '_>, shards: u64) -> (u64, Vec<usize>) {
    let cores: Vec<usize> = section
        .integers("cores", 0..CORES_MAX)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|core| usize::try_from(core).ok())
        .collect();
    let workers = section.integer("workers", 1..WORKERS_MAX + 1).map(|n| n.value);
    if let (Some(workers), false) = (workers, cores.is_empty())
        && workers != cores.len() as u64
    {
        let problem = format!("{workers} workers, but {} cores", cores.len());
        section.error("workers", problem, "list one core per worker, or remove one of the fields");
    }
    let usual = if cores.is_empty() { shards } else { cores.len() as u64 };
    let workers = workers.unwrap_or(usual);
    if workers < shards {
        let problem = format!("{workers} is fewer than the {shards} shards");
        let remedy = format!("give each shard one: workers = {shards}, or lower [sip] shards");
        section.error("workers", problem, remedy);
    }
    (workers, cores)
}

/// As given, else one: an idle thread and some memory, so that a worker can be added without a
/// restart.
fn standby_workers(given: Option<u32>, workers: u64) -> u16 {
    let room = WORKERS_MAX.saturating_sub(workers);
    let wanted = given.map_or(STANDBY_DEFAULT.min(room), u64::from);
    u16::try_from(wanted).unwrap_or(u16::MAX)
}

/// As many flows per worker as its share of the ports can serve: each takes one for RTP and one for
/// RTCP. Calls whose legs share a family use the ports of that one.
fn flows_of(ports: &RangeInclusive<u16>, addresses: &[IpAddr], workers: u64) -> u32 {
    let four = addresses.iter().filter(|ip| ip.is_ipv4()).count();
    let places = four.max(addresses.len() - four).max(1);
    let pairs = ports.len() / 2 * places;
    let each = pairs / usize::try_from(workers.max(1)).unwrap_or(usize::MAX);
    u32::try_from(each).unwrap_or(FLOWS_DEFAULT_MAX).clamp(2, FLOWS_DEFAULT_MAX)
}

fn ports(section: &mut Section<'_, '_>) -> RangeInclusive<u16> {
    let Some(text) = section.string("ports") else { return PORTS_DEFAULT };
    let bounds = text.value.split_once('-').and_then(|(first, last)| {
        let (first, last) = (first.trim().parse::<u16>().ok()?, last.trim().parse().ok()?);
        (first >= 1024 && last > first).then_some(first..=last)
    });
    bounds.unwrap_or_else(|| {
        let problem = format!("\"{}\" is no range of ports", text.value);
        section.error("ports", problem, "write \"30000-39999\": 1024 or more, lower one first");
        PORTS_DEFAULT
    })
}

/// Worker threads at most, those that stand by included, as in the data plane.
pub const WORKERS_MAX: u64 = 64;
/// Workers that stand by, unless the file says otherwise.
pub const STANDBY_DEFAULT: u64 = 1;
/// Core numbers stay below this.
pub const CORES_MAX: u64 = 1024;
/// Media addresses at most, as in the data plane.
pub const ADDRESSES_MAX: usize = 16;
/// Longest gathering, in microseconds, as in the data plane.
pub const GATHER_US_MAX: u64 = 1_000;
/// Gathering unless the file says otherwise.
pub const GATHER_US_DEFAULT: u32 = 200;
/// Longest polling, in microseconds, as in the data plane.
pub const SPIN_US_MAX: u64 = 20_000;
/// Flows per worker at most, as in the data plane.
pub const FLOWS_MAX: u64 = 65_536;
/// Expedited forwarding, which RFC 4594 §4.1 asks for voice.
pub const DSCP_DEFAULT: u8 = 46;
/// Flows per worker unless the file says otherwise, at most: 8,192 calls.
pub const FLOWS_DEFAULT_MAX: u32 = 16_384;
/// Media ports unless the file says otherwise.
pub const PORTS_DEFAULT: RangeInclusive<u16> = 30_000..=39_999;
