//! The stage: where load and device meet, made for one invocation and taken down after it.
//!
//! ```text
//!   namespace LOAD                             namespace DEVICE
//!   generator and sink, core 0                 device under test, cores 1..
//!   veth "tlb-load"  ------ Ethernet ------    veth "tlb-dut" 10.77.0.1
//!   (no address: frames are written whole)     far ends 10.77.1.1 (A), 10.77.2.1 (B) as permanent
//!                                              neighbours at MACs that the load side does not
//!                                              own: its IP stack ignores what the sink reads
//! ```
//! Three faults of naive measurements are avoided here. TSO is off at both ends, because veth hands
//! packets to the receiver's NAPI only then, and otherwise runs the receiver's work on the sender's
//! core. The sink's NAPI is fired by a timer, because otherwise each packet that a device sends
//! pays for waking it. The device's NAPI is tied to its core (see [`Receive`]), and the stage
//! looks at the kernel's counters to see that it is.

mod card;
mod command;
mod host;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::thread::{CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_setaffinity};
use serde::Serialize;

use crate::account::Accounting;
use crate::fault::Fault;
use crate::load::frame::Mac;
use crate::load::wire::Sender;
use card::Card;
use command::{ip, quiet};
pub use command::{output, version_of};
pub use host::{Host, allow_files, scratch};

/// How the device's packets are received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Receive {
    /// NAPI in softirq on the device's core, fired by a 200 us timer: nearest to a NIC with
    /// rx-usecs 200
    Coal200,
    /// The same with 400 us: where a virtual machine pays dearly for each timer, half as many
    Coal400,
    /// NAPI in a kernel thread on the device's core, woken by each burst
    Threaded,
    /// The same, behind a card that coalesces for 200 us: its timer is not the device's
    Nic200,
    /// Leave the interfaces as they are (real NICs that are configured already)
    Asis,
}

impl Receive {
    /// Longest rest of a received packet before NAPI runs, where a timer decides.
    fn coalesce_ns(self) -> Option<u64> {
        match self {
            Receive::Coal200 => Some(200_000),
            Receive::Coal400 => Some(400_000),
            Receive::Threaded | Receive::Nic200 | Receive::Asis => None,
        }
    }

    /// The same where a card in front of the interface decides it.
    fn card_ns(self) -> Option<u64> {
        (self == Receive::Nic200).then_some(200_000)
    }

    /// Whether receive work is done by a thread of its own.
    pub fn is_threaded(self) -> bool {
        matches!(self, Receive::Threaded | Receive::Nic200)
    }
}

/// What the stage is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub receive: Receive,
    pub accounting: Accounting,
    pub load_core: usize,
    pub device_cores: Vec<usize>,
    /// Two real interfaces that a cable connects, load side first; a veth pair when absent.
    pub interfaces: Option<(String, String)>,
}

/// A stage that stands. Dropping it removes it.
pub struct Stage {
    pub plan: Plan,
    pub load: Side,
    pub device: Side,
    card: Option<Card>,
    owned: bool,
}

/// One end of the wire.
pub struct Side {
    pub namespace: String,
    pub interface: String,
    pub index: u32,
    pub mac: Mac,
}

impl Stage {
    /// Builds it; needs root.
    ///
    /// # Errors
    /// What is missing on the host and how to get it.
    pub fn build(plan: Plan) -> Result<Stage, Fault> {
        host::require(&plan)?;
        host::sweep_leftovers();
        let pid = std::process::id();
        let side = |role: &str, interface| Side::new(format!("{NAMESPACE}{role}-{pid}"), interface);
        let (load, device) = match &plan.interfaces {
            Some((load, device)) => (side("load", load), side("dut", device)),
            None => (side("load", "tlb-load"), side("dut", "tlb-dut")),
        };
        let owned = plan.interfaces.is_none();
        // From here on a failure takes down what was built: `stage` is dropped.
        let mut stage = Stage { plan, load, device, card: None, owned };
        stage.raise()?;
        stage.place_receive()?;
        Ok(stage)
    }

    fn raise(&mut self) -> Result<(), Fault> {
        let (load, device) = (&self.load, &self.device);
        for side in [load, device] {
            ip(&["netns", "add", &side.namespace])?;
            for key in ["all", "default"] {
                // Routers are not asked for on this wire: the first frame shall be ours.
                side.write(&format!("/proc/sys/net/ipv6/conf/{key}/disable_ipv6"), "1")?;
            }
        }
        if self.owned {
            let (l, d) = (&load.namespace, &device.namespace);
            ip(&[
                "link",
                "add",
                &load.interface,
                "netns",
                l,
                "type",
                "veth",
                "peer",
                "name",
                &device.interface,
                "netns",
                d,
            ])?;
        } else {
            for side in [load, device] {
                ip(&["link", "set", &side.interface, "netns", &side.namespace])?;
            }
        }
        for side in [load, device] {
            side.ip(&["link", "set", "lo", "up"])?;
            if self.plan.receive != Receive::Asis {
                side.prepare()?;
            }
        }
        self.set_coalescing()?;
        for side in [load, device] {
            side.ip(&["link", "set", &side.interface, "mtu", "1500", "up"])?;
        }
        for side in [&mut self.load, &mut self.device] {
            side.identify()?;
        }
        if let Some(ns) = self.plan.receive.card_ns() {
            self.card = Some(Card::insert(&self.load, self.plan.load_core, ns)?);
        }
        let device = &self.device;
        let address = format!("{DEVICE_ADDRESS}/16");
        device.ip(&["address", "add", &address, "dev", &device.interface])?;
        for (far, mac) in [(FAR_A, FAR_MAC_A), (FAR_B, FAR_MAC_B)] {
            let (far, mac) = (far.to_string(), text_of_mac(mac));
            let at = &device.interface;
            device.ip(&[
                "neigh",
                "replace",
                &far,
                "lladdr",
                &mac,
                "dev",
                at,
                "nud",
                "permanent",
            ])?;
        }
        Ok(())
    }

    /// Before the interfaces go up, so that the first poll already obeys the timers.
    fn set_coalescing(&self) -> Result<(), Fault> {
        if self.plan.receive == Receive::Asis {
            return Ok(());
        }
        self.load.coalesce(SINK_NS)?;
        self.plan.receive.coalesce_ns().map_or(Ok(()), |ns| self.device.coalesce(ns))
    }

    /// Ties the receive work of either side to its core.
    fn place_receive(&self) -> Result<(), Fault> {
        let core = self.device_core();
        match self.plan.receive {
            Receive::Asis => return Ok(()),
            Receive::Threaded | Receive::Nic200 => {
                let file = format!("/sys/class/net/{}/threaded", self.device.interface);
                self.device.write(&file, "1")?;
                let core = core.to_string();
                for pid in crate::account::receivers(&self.device.interface, &[]) {
                    let pid = pid.to_string();
                    quiet(Command::new("taskset").args(["-pc", &core, &pid]))?;
                    // Behind a card it goes before programs, as receive interrupts do.
                    let is_first =
                        self.card.is_some() || self.plan.accounting == Accounting::Threads;
                    if is_first {
                        quiet(Command::new("chrt").args(["-f", "-p", PRIORITY, &pid]))?;
                    }
                }
            }
            Receive::Coal200 | Receive::Coal400 => {}
        }
        // A timer-driven NAPI stays on the core of its first poll, which is the core that sends the
        // first packet.
        let by = if self.card.is_some() { self.plan.load_core } else { core };
        self.first_packet(&self.load, self.feed(), by)?;
        self.first_packet(&self.device, self.device.index, self.plan.load_core)?;
        self.prove_placement(core)
    }

    fn first_packet(&self, from: &Side, index: u32, core: usize) -> Result<(), Fault> {
        let frame = [0xff; 60];
        from.inside(core, move || {
            Sender::open(index).and_then(|mut sender| sender.send(&[&frame]))
        })?
        .map_err(Fault::io("first packet on the wire"))
        .map(drop)
    }

    /// Counts receive softirqs on both cores: each timer fires thousands of times a second.
    fn prove_placement(&self, core: usize) -> Result<(), Fault> {
        let Some(coalesce_ns) = self.plan.receive.coalesce_ns() else {
            return Ok(());
        };
        let before = host::receive_softirqs(core)?;
        std::thread::sleep(PROOF);
        let fired = host::receive_softirqs(core)?.saturating_sub(before);
        let expected = PROOF.as_nanos() as u64 / coalesce_ns;
        if fired >= expected / 2 {
            return Ok(());
        }
        Err(Fault::new(
            format!("core {core} ran {fired} receive softirqs, {expected} were expected"),
            "the device's NAPI is on another core; run again, or use --receive threaded",
        ))
    }

    /// The interface by which frames leave for the device.
    pub fn feed(&self) -> u32 {
        self.card.as_ref().map_or(self.load.index, |card| card.feed)
    }

    fn device_core(&self) -> usize {
        self.plan.device_cores.first().copied().unwrap_or(1)
    }

    /// A command that runs in the device's namespace on the device's cores and dies with the bench.
    pub fn device_command(&self, program: &PathBuf) -> Command {
        let cores: Vec<_> = self.plan.device_cores.iter().map(usize::to_string).collect();
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.device.namespace])
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args(["taskset", "-c", &cores.join(",")]);
        if self.plan.accounting == Accounting::Threads {
            command.args(["chrt", "-f", PRIORITY]);
        }
        command.arg(program);
        command
    }

    /// Waits until the ports of the device before are free: the kernel closes the sockets of a
    /// killed io_uring process in its own time.
    ///
    /// # Errors
    /// They are not.
    pub fn await_free_ports(&self) -> Result<(), Fault> {
        let deadline = Instant::now() + PORTS_PATIENCE;
        loop {
            let table = self.device.inside(self.plan.load_core, || {
                std::fs::read_to_string("/proc/thread-self/net/udp")
            })?;
            let table = table.map_err(Fault::io("read the device's sockets"))?;
            let bound = table.lines().skip(1).count();
            if bound == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Fault::new(format!("{bound} sockets of the last run stay open"), ""));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// MACs of a frame from the load side to the device.
    pub fn macs(&self) -> (Mac, Mac) {
        (FAR_MAC_A, self.device.mac)
    }

    /// MACs of a frame as the device would send it.
    pub fn macs_back(&self) -> (Mac, Mac) {
        (self.device.mac, FAR_MAC_B)
    }

    fn take_down(&self) {
        for side in [&self.load, &self.device] {
            if !self.owned {
                let _ = side.ip(&["link", "set", &side.interface, "netns", "1"]);
            }
        }
        for side in [&self.load, &self.device] {
            let _ = ip(&["netns", "del", &side.namespace]);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.take_down();
    }
}

impl Side {
    /// An interface that is still to be made, and asked who it is ([`Side::identify`]).
    fn new(namespace: String, interface: &str) -> Side {
        Side { namespace, interface: interface.to_owned(), index: 0, mac: [0; 6] }
    }

    /// Runs `work` in a thread of its own inside this namespace, on `core`.
    ///
    /// # Errors
    /// When the kernel does not let the thread in.
    pub fn inside<T: Send>(
        &self,
        core: usize,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, Fault> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter(core).map(|()| work()));
            thread.join().map_err(|_| Fault::new("a thread of the bench panicked", ""))?
        })
    }

    /// Moves the calling thread into this namespace and onto `core`, for good.
    ///
    /// # Errors
    /// The kernel's.
    pub fn enter(&self, core: usize) -> Result<(), Fault> {
        let path = format!("/run/netns/{}", self.namespace);
        let file = std::fs::File::open(&path).map_err(Fault::io(&path))?;
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&file),
            Some(LinkNameSpaceType::Network),
        )
        .map_err(|errno| Fault::io("enter the namespace")(errno.into()))?;
        pin(core)
    }

    fn ip(&self, arguments: &[&str]) -> Result<(), Fault> {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend_from_slice(arguments);
        ip(&all)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), Fault> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]).args(arguments);
        quiet(&mut command)
    }

    /// Writes a file of /proc or /sys as this namespace sees it.
    fn write(&self, file: &str, value: &str) -> Result<(), Fault> {
        self.run("sh", &["-c", &format!("echo {value} > {file}")])
    }

    /// Has what it sends handed to the receiver's NAPI, frame by frame.
    fn prepare(&self) -> Result<(), Fault> {
        let at = &self.interface;
        self.run("ethtool", &["-K", at, "tso", "off", "gso", "off", "gro", "on"])
    }

    /// Packets wait up to `ns` for the timer; no packet raises an interrupt.
    fn coalesce(&self, ns: u64) -> Result<(), Fault> {
        let at = format!("/sys/class/net/{}", self.interface);
        self.write(&format!("{at}/napi_defer_hard_irqs"), NEVER)?;
        self.write(&format!("{at}/gro_flush_timeout"), &ns.to_string())
    }

    fn identify(&mut self) -> Result<(), Fault> {
        let read = |name: &str| {
            let file = format!("/sys/class/net/{}/{name}", self.interface);
            let text = command::output(Command::new("ip").args([
                "netns",
                "exec",
                &self.namespace,
                "cat",
                &file,
            ]))?;
            Ok(text.trim().to_owned())
        };
        let unread = |text: &str| Fault::new(format!("{}: \"{text}\"", self.interface), "");
        let index: String = read("ifindex")?;
        let address: String = read("address")?;
        let parsed = (index.parse(), mac_of_text(&address));
        let (Ok(index), Some(mac)) = parsed else {
            return Err(unread(&format!("{index} {address}")));
        };
        (self.index, self.mac) = (index, mac);
        Ok(())
    }
}

/// Moves the calling thread onto `core`.
///
/// # Errors
/// When there is no such core.
pub fn pin(core: usize) -> Result<(), Fault> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| {
        Fault::new(format!("core {core}: {error}"), "name cores that this machine has")
    })
}

fn mac_of_text(text: &str) -> Option<Mac> {
    let mut octets = text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok());
    let mut next = || octets.next().flatten();
    let mac = [next()?, next()?, next()?, next()?, next()?, next()?];
    octets.next().is_none().then_some(mac)
}

fn text_of_mac(mac: Mac) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// The device, and the far ends of leg A and leg B.
pub const DEVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const FAR_A: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
pub const FAR_B: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 1);
/// Locally administered, and owned by no interface of the stage.
const FAR_MAC_A: Mac = [0x02, 0x7b, 0, 0, 0, 0x0a];
const FAR_MAC_B: Mac = [0x02, 0x7b, 0, 0, 0, 0x0b];
/// Every namespace of the bench begins so; the process id follows.
const NAMESPACE: &str = "tlb-";
/// The sink's wait this long at most; it is part of every delay that is reported.
pub const SINK_NS: u64 = 50_000;
/// napi_defer_hard_irqs: more empty polls than any run has.
const NEVER: &str = "2000000000";
/// Of the device with [`Accounting::Threads`]: above ordinary programs, below the load.
const PRIORITY: &str = "5";
/// Thousands of sockets close within a second.
const PORTS_PATIENCE: Duration = Duration::from_secs(20);
/// How long the placement of the receive work is watched.
const PROOF: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_survive_text() {
        assert_eq!(mac_of_text("02:7b:00:00:00:0a"), Some(FAR_MAC_A));
        assert_eq!(text_of_mac(FAR_MAC_B), "02:7b:00:00:00:0b");
        for bad in ["", "02:7b", "02:7b:00:00:00:0a:01", "02:7b:00:00:00:zz", "x"] {
            assert_eq!(mac_of_text(bad), None, "{bad}");
        }
    }
}
