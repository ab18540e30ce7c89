//! What all workers share of AF_XDP: the interfaces, each with its program and its map of sockets.
//! Made at start, with privileges, and gone with the process, however that ends.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use tracing::warn;

use super::program::{self, Decision, Ours};
use super::sentry::Sentry;
use super::shortcut::Table;
use super::warden::{Charge, Warden};
use super::way_back::{Deaf, WayBack, deafness};
use super::xsk::{self, Queue, Xsk};
use crate::io::bpf::{Link as Attachment, Map, MapKind, MapSpec, Program, ProgramKind, XdpMode};
use crate::io::frame::Mac;
use crate::io::neighbour::{Driver, Kernel, Link};
use crate::limits::{QUEUES_MAX, WORKERS_MAX};

/// The interfaces under XDP.
pub struct Plane {
    wires: Vec<Wire>,
    workers: u32,
    table: Option<Arc<Table>>,
    _sentry: Sentry,
}

/// One interface.
pub struct Wire {
    pub name: String,
    pub ifindex: u32,
    pub queues: u32,
    /// The address that frames to us bear.
    pub mac: Mac,
    /// Our addresses behind it.
    addresses: Vec<Ours>,
    /// Identifier of our program, as the kernel tells it.
    pub program: Option<u32>,
    /// Whether the kernel may relay by itself; `None` when it is not asked to.
    pub way_back: Option<Arc<WayBack>>,
    /// Whether it takes what the program of another interface sends its way.
    takes_redirected: bool,
    sockets: Map,
    code: Program,
    /// Detaches the program when it goes.
    _attachment: Attachment,
}

/// Why media cannot use XDP.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    #[error("media.interfaces names {0}, which does not exist; see `ip link` for those that do")]
    NoSuchInterface(String),
    #[error(
        "no media address is on an Ethernet interface, where XDP could run; set media.backend to \
         another than \"xdp\", or media.address to an address of a network interface"
    )]
    NoInterface,
    #[error(
        "{name} cannot run XDP natively ({cause}): {remedy}. The generic mode is slower than \
         sockets and therefore not used"
    )]
    NotNative { name: String, cause: io::Error, remedy: &'static str },
    #[error("{name}: {what}: {cause}")]
    Refused { name: String, what: &'static str, cause: io::Error },
}

impl Plane {
    /// Attaches a program to each interface that has one of our addresses, or to those `named` only.
    /// `addresses` are ours with their numbers, `ports` says which of their ports are
    /// open, `workers` is how many share the queues, `table` what is relayed without a worker.
    ///
    /// # Errors
    /// [`XdpError`]; nothing stays attached then.
    pub fn lay(
        addresses: Vec<(IpAddr, u32)>,
        named: &[String],
        workers: u32,
        ports: &Map,
        table: Option<Table>,
    ) -> Result<Plane, XdpError> {
        let table = table.map(Arc::new);
        let wires = sites(addresses, named)?
            .into_iter()
            .map(|site| Wire::raise(site, ports, table.as_deref()))
            .collect::<Result<Vec<Wire>, _>>()?;
        let warden = split_off(&wires);
        let sentry = Sentry::start(&wires, table.as_ref(), warden).map_err(|cause| {
            XdpError::Refused { name: "xdp-sentry".to_owned(), what: "its thread", cause }
        })?;
        Ok(Plane { wires, workers, table, _sentry: sentry })
    }

    /// What flows of which packets may be relayed without a worker.
    pub fn table(&self) -> Option<&Arc<Table>> {
        self.table.as_ref()
    }

    /// The way out by interface `ifindex` for untagged packets for our address of that number, when the
    /// kernel may send them so.
    pub fn way_out(&self, number: usize, ifindex: u32) -> Option<&Arc<WayBack>> {
        let is = |ours: &Ours| ours.number as usize == number && ours.vlan.is_none();
        let inward = self.wires.iter().find(|wire| wire.addresses.iter().any(is))?;
        let outward = self.wires.iter().find(|wire| wire.ifindex == ifindex)?;
        let passes = inward.ifindex == ifindex || outward.takes_redirected;
        outward.way_back.as_ref().filter(|way| passes && way.is_open())
    }

    pub fn wires(&self) -> &[Wire] {
        &self.wires
    }

    /// Its name, for messages.
    pub fn name_of(&self, ifindex: u32) -> &str {
        let wire = self.wires.iter().find(|wire| wire.ifindex == ifindex);
        wire.map_or("?", |wire| wire.name.as_str())
    }

    /// The queues that `worker` serves: they are dealt out in turn.
    pub fn queues_of(&self, worker: u32) -> Vec<Queue> {
        let of = |wire: &Wire| {
            let (ifindex, workers) = (wire.ifindex, self.workers.max(1) as usize);
            (worker..wire.queues).step_by(workers).map(move |index| Queue { ifindex, index })
        };
        self.wires.iter().flat_map(of).collect()
    }

    /// Has the program of its interface steer what is for `worker` to its socket.
    ///
    /// # Errors
    /// The kernel's.
    pub fn enter(&self, worker: u32, socket: &Xsk) -> io::Result<()> {
        let Queue { ifindex, index } = socket.queue;
        let wire = self.wires.iter().find(|wire| wire.ifindex == ifindex);
        let Some(wire) = wire else { return Err(io::ErrorKind::NotFound.into()) };
        wire.sockets.put_socket(program::place(worker, index), socket.as_fd())
    }
}

/// Who attaches the programs again when someone detaches them; without, a restart does.
fn split_off(wires: &[Wire]) -> Option<Warden> {
    let charges: Vec<Charge<'_>> = wires.iter().map(|wire| (&wire.code, wire.ifindex)).collect();
    Warden::split_off(&charges).unwrap_or_else(|cause| {
        warn!(
            "no process can be split off that would attach XDP programs again ({cause}); one that \
             someone detaches stays away until the next start"
        );
        None
    })
}

/// The interfaces of [`Plane::lay`] on which the kernel must not relay by itself, each with the reason.
pub fn deaf_ends(addresses: &[IpAddr], named: &[String]) -> Vec<(String, Deaf)> {
    let Ok(mut kernel) = Kernel::open() else { return Vec::new() };
    let sites = sites(numbered(addresses), named).unwrap_or_default();
    let deaf = |site: Site| Some((site.link.name().to_owned(), deafness(&mut kernel, &site.link)?));
    sites.into_iter().filter_map(deaf).collect()
}

/// The interfaces of [`Plane::lay`], each with what its driver can do where the kernel tells.
///
/// # Errors
/// That a driver has no XDP, or none of the interfaces exists.
pub fn drivers(
    addresses: &[IpAddr],
    named: &[String],
) -> Result<Vec<(String, Option<Driver>)>, XdpError> {
    let drivers = sites(numbered(addresses), named)?.into_iter().map(|Site { link, .. }| {
        let (name, driver) = (link.name().to_owned(), Driver::of(link.ifindex));
        if driver.is_some_and(|driver| !driver.runs_programs()) {
            let cause = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
            return Err(not_native(&name, cause));
        }
        Ok((name, driver))
    });
    drivers.collect()
}

/// An interface that is to be under XDP, and our addresses behind it, each with its VLAN.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Site {
    link: Link,
    addresses: Vec<Ours>,
}

/// For those who do not look at numbers.
fn numbered(addresses: &[IpAddr]) -> Vec<(IpAddr, u32)> {
    addresses.iter().copied().zip(0..).collect()
}

/// Which interfaces carry our addresses. One below a VLAN carries those of the VLAN.
fn sites(addresses: Vec<(IpAddr, u32)>, named: &[String]) -> Result<Vec<Site>, XdpError> {
    let refused = |cause| XdpError::Refused { name: "rtnetlink".to_owned(), what: "ask", cause };
    let mut kernel = Kernel::open().map_err(refused)?;
    let mut wanted = Vec::with_capacity(named.len());
    for name in named {
        let link = kernel.link_named(name);
        wanted.push(link.ok_or_else(|| XdpError::NoSuchInterface(name.clone()))?.ifindex);
    }
    let mut sites: Vec<Site> = Vec::new();
    let ours = kernel.addresses();
    for (ip, number) in addresses {
        let Some((_, ifindex)) = ours.iter().find(|(ours, _)| *ours == ip) else { continue };
        let Some(upper) = kernel.link(*ifindex) else { continue };
        let (link, vlan) = match upper.vlan {
            Some((identifier, below)) => match kernel.link(below) {
                Some(below) => (below, Some(identifier)),
                None => continue,
            },
            None => (upper, None),
        };
        if !link.ethernet || !(wanted.is_empty() || wanted.contains(&link.ifindex)) {
            continue;
        }
        let ours = Ours { ip, vlan, number };
        match sites.iter_mut().find(|site| site.link.ifindex == link.ifindex) {
            Some(site) => site.addresses.push(ours),
            None => sites.push(Site { link, addresses: vec![ours] }),
        }
    }
    if sites.is_empty() { Err(XdpError::NoInterface) } else { Ok(sites) }
}

impl Wire {
    fn raise(site: Site, ports: &Map, table: Option<&Table>) -> Result<Wire, XdpError> {
        let Site { link, addresses } = site;
        let (ifindex, name) = (link.ifindex, link.name().to_owned());
        let refused = |what| {
            let name = name.clone();
            move |cause| XdpError::Refused { name, what, cause }
        };
        let queues = xsk::count_queues(ifindex).map_err(refused("its queues"))?;
        let spec = MapSpec {
            kind: MapKind::Xskmap,
            key: 4,
            value: 4,
            entries: WORKERS_MAX as u32 * QUEUES_MAX,
            mapped: false,
            name: "tl_xsks",
        };
        let sockets = Map::create(spec).map_err(refused("the map of sockets"))?;
        let mac = link.address.0;
        let shortcuts = table.map(Table::shortcuts);
        let decision = Decision { mac, addresses: &addresses, ports, sockets: &sockets, shortcuts };
        let code = program::assemble(&decision)
            .map_err(|error| refused("its program")(io::Error::other(error)))?;
        let code = Program::load(ProgramKind::Xdp, &code, "tl_media")
            .map_err(|error| refused("its program")(error.into()))?;
        let attachment = Attachment::xdp(&code, ifindex, XdpMode::Native)
            .map_err(|cause| not_native(&name, cause))?;
        let mut kernel = Kernel::open().map_err(refused("rtnetlink"))?;
        let program = kernel.link(ifindex).and_then(|link| link.xdp);
        let way_back = table.map(|table| Arc::new(WayBack::new(table.entries())));
        if let (Some(way_back), Some(_)) = (&way_back, deafness(&mut kernel, &link)) {
            way_back.close();
        }
        Ok(Wire {
            name,
            ifindex,
            queues,
            mac: link.address,
            addresses,
            program,
            way_back,
            takes_redirected: Driver::of(ifindex).is_some_and(Driver::takes_redirected),
            sockets,
            code,
            _attachment: attachment,
        })
    }
}

fn not_native(name: &str, cause: io::Error) -> XdpError {
    let remedy = match cause.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "its driver has no XDP; use media.backend = \"packet\"",
        Some(libc::EBUSY | libc::EEXIST) => {
            "another XDP program is there; remove it (`ip link set dev IF xdp off`)"
        }
        Some(libc::EINVAL | libc::ERANGE) => {
            "its MTU or offloads forbid it; lower the MTU to 3,498 at most, on a veth pair at both \
             ends, and turn LRO off (`ethtool -K IF lro off`)"
        }
        Some(libc::EPERM) => "that needs root, or CAP_NET_ADMIN and CAP_BPF",
        _ => "see the kernel's log (dmesg)",
    };
    XdpError::NotNative { name: name.to_owned(), cause, remedy }
}
