//! The whole gateway as the device under test of `calls`: `trunkline dataplane` and
//! `trunkline signaling`, each pinned, on loopback addresses of their own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench::calls::{Sides, Wire};
use clap::ValueEnum;
use serde::Serialize;

use crate::fault::Fault;
use crate::stage::{pin, scratch};

/// Who signals how: caller's side, callee's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Legs {
    /// SIP over UDP and plain RTP on both sides
    Udp,
    /// SIP over TCP and plain RTP on both sides
    Tcp,
    /// SIP over TLS and SRTP on both sides
    Tls,
    /// From UDP and RTP to TLS and SRTP: an insecure trunk calls a secure one
    UdpToTls,
    /// From TLS and SRTP to UDP and RTP
    TlsToUdp,
}

impl Legs {
    pub fn name(self) -> &'static str {
        match self {
            Legs::Udp => "udp",
            Legs::Tcp => "tcp",
            Legs::Tls => "tls",
            Legs::UdpToTls => "udp-to-tls",
            Legs::TlsToUdp => "tls-to-udp",
        }
    }

    fn wires(self) -> (Wire, Wire) {
        match self {
            Legs::Udp => (Wire::Udp, Wire::Udp),
            Legs::Tcp => (Wire::Tcp, Wire::Tcp),
            Legs::Tls => (Wire::Tls, Wire::Tls),
            Legs::UdpToTls => (Wire::Udp, Wire::Tls),
            Legs::TlsToUdp => (Wire::Tls, Wire::Udp),
        }
    }
}

/// What the gateway is started with.
#[derive(Clone, Debug)]
pub struct Launch {
    pub trunkline: PathBuf,
    /// Core of the signalling process, and of the data plane's worker.
    pub core: usize,
    pub media_core: usize,
    pub backend: String,
    /// The data plane runs at once whenever it has something to do, as on a core of its own: it shares
    /// one with the peers, whose turns last milliseconds.
    pub comes_first: bool,
    /// `max_cps` of the caller's trunk.
    pub max_cps: Option<u32>,
}

/// Whether processes may be started so that they [`Launch::comes_first`].
pub fn may_come_first() -> bool {
    let tried = Command::new("chrt").args(FIRST).arg("true").stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// Before all that is not real-time (sched(7)).
const FIRST: [&str; 2] = ["--rr", "1"];

/// A gateway that runs. Dropping it ends it.
pub struct Gateway {
    dataplane: Child,
    signaling: Child,
    directory: PathBuf,
    pub sides: Sides,
}

impl Gateway {
    /// Starts both processes and waits until SIP is listened for.
    ///
    /// # Errors
    /// The binary is missing or a process ended; then its own words.
    pub fn start(launch: &Launch, legs: Legs) -> Result<Gateway, Fault> {
        if !launch.trunkline.is_file() {
            return Err(Fault::new(
                format!("{} is missing", launch.trunkline.display()),
                "build it: cargo build --release -p tools; or name it with --trunkline",
            ));
        }
        let directory = scratch("gateway");
        let _ = fs::remove_dir_all(&directory);
        let peers = [CALLER.into(), CALLEE.into()];
        bench::certs::write(&directory, &[Ipv4Addr::LOCALHOST.into()], &peers)
            .map_err(|error| Fault::new(error.to_string(), ""))?;
        let (caller, callee) = legs.wires();
        let listen = free_port(Ipv4Addr::LOCALHOST)?;
        let sides = Sides {
            caller,
            callee,
            caller_at: free_port(CALLER)?,
            callee_at: free_port(CALLEE)?,
            target: SocketAddr::new(listen.ip(), listener_port(listen.port(), caller)),
            certificates: directory.clone(),
        };
        let file = directory.join("gateway.toml");
        let text = configuration(launch, &sides, listen.port(), &directory);
        fs::write(&file, text).map_err(Fault::io(file.display()))?;
        let start = |what: &str| process(launch, what, &file, &directory);
        let dataplane = start("dataplane")?;
        // From here on a failure ends what was started.
        let mut gateway = Gateway { signaling: start("signaling")?, dataplane, directory, sides };
        gateway.await_listening(listen)?;
        Ok(gateway)
    }

    fn await_listening(&mut self, listen: SocketAddr) -> Result<(), Fault> {
        let at = SocketAddr::new(listen.ip(), listener_port(listen.port(), Wire::Tcp));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_err() {
            let ended = [&mut self.dataplane, &mut self.signaling]
                .into_iter()
                .any(|process| process.try_wait().ok().flatten().is_some());
            if ended || Instant::now() > deadline {
                let said = ["dataplane", "signaling"].map(|what| self.log(what)).join(" ");
                return Err(Fault::new(
                    format!("the gateway did not start: {said}"),
                    "run `trunkline check`; see whether its ports are free",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What a process wrote to its log.
    fn log(&self, what: &str) -> String {
        let text = fs::read_to_string(self.directory.join(what)).unwrap_or_default();
        text.trim().to_owned()
    }

    pub fn signaling_pid(&self) -> u32 {
        self.signaling.id()
    }

    pub fn dataplane_pid(&self) -> u32 {
        self.dataplane.id()
    }

    /// Memory that the signalling process holds of its own, octets: anonymous pages, without the
    /// program's text and the regions that it shares with the data plane.
    pub fn signaling_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.signaling.id());
        own_memory(&fs::read_to_string(path).unwrap_or_default()).unwrap_or(0)
    }

    /// Whether both processes still run.
    pub fn is_alive(&mut self) -> bool {
        [&mut self.dataplane, &mut self.signaling]
            .into_iter()
            .all(|process| matches!(process.try_wait(), Ok(None)))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for process in [&mut self.signaling, &mut self.dataplane] {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// RssAnon of /proc/PID/status, octets.
fn own_memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// Starts one process on its core: a child inherits the cores of the thread that starts it.
fn process(launch: &Launch, what: &str, file: &Path, directory: &Path) -> Result<Child, Fault> {
    let log = directory.join(what);
    let log = fs::File::create(&log).map_err(Fault::io(log.display()))?;
    let core = if what == "signaling" { launch.core } else { launch.media_core };
    let mut command = if what == "dataplane" && launch.comes_first {
        let mut first = Command::new("chrt");
        first.args(FIRST).arg(&launch.trunkline);
        first
    } else {
        Command::new(&launch.trunkline)
    };
    command.args([what, "--config"]).arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let started = std::thread::scope(|scope| {
        let start = || pin(core).map(|()| command.spawn());
        scope.spawn(start).join()
    });
    let started = started.map_err(|_| Fault::new("a thread that starts processes died", ""))?;
    started?.map_err(Fault::io(format!("start trunkline {what}")))
}

/// The gateway listens for UDP at the first port, for TCP at the same, for TLS at the next.
fn listener_port(first: u16, wire: Wire) -> u16 {
    match wire {
        Wire::Udp | Wire::Tcp => first,
        Wire::Tls => first + 1,
    }
}

/// A port that is free now for UDP's twin TCP, and the next one too.
fn free_port(address: Ipv4Addr) -> Result<SocketAddr, Fault> {
    for _ in 0..100 {
        let first = TcpListener::bind((address, 0)).map_err(Fault::io("find a free port"))?;
        let at = first.local_addr().map_err(Fault::io("find a free port"))?;
        let outside_media = !(MEDIA_PORTS.0..=MEDIA_PORTS.1).contains(&at.port());
        let next = at.port().checked_add(1).map(|port| TcpListener::bind((address, port)));
        if outside_media && matches!(next, Some(Ok(_))) {
            return Ok(at);
        }
    }
    Err(Fault::new(format!("no two free ports on {address}"), "end what occupies them"))
}

fn configuration(launch: &Launch, sides: &Sides, port: u16, directory: &Path) -> String {
    let (first, last) = MEDIA_PORTS;
    format!(
        "[sip]\nudp = [\"127.0.0.1:{port}\"]\ntcp = [\"127.0.0.1:{port}\"]\n\
         tls = [\"127.0.0.1:{}\"]\ntls_certificate = \"gateway.pem\"\ntls_key = \"gateway.key\"\n\
         tls_ca = \"ca.pem\"\n\n[media]\naddress = \"127.0.0.1\"\nports = \"{first}-{last}\"\n\
         flows = {FLOWS}\nworkers = 1\ncores = [{}]\nbackend = \"{}\"\n\n\
         [run]\ndirectory = \"{}\"\n\n[log]\nlevel = \"error\"\n\n{}{}\
         [[route]]\nname = \"all\"\ndirection = \"inbound\"\nfrom_trunk = \"caller\"\n\
         destination = \"callee\"\n",
        port + 1,
        launch.media_core,
        launch.backend,
        directory.display(),
        trunk("caller", sides.caller, sides.caller_at, launch.max_cps),
        trunk("callee", sides.callee, sides.callee_at, None),
    )
}

fn trunk(name: &str, wire: Wire, at: SocketAddr, max_cps: Option<u32>) -> String {
    let transport = match wire {
        Wire::Udp => "UDP",
        Wire::Tcp => "TCP",
        Wire::Tls => "TLS",
    };
    let secure = match wire {
        Wire::Tls => format!(
            "secure = true\nencryption = true\nsecure_rtp = \"required\"\n\
             tls_peer_names = [\"{}\"]\n",
            at.ip()
        ),
        Wire::Udp | Wire::Tcp => String::new(),
    };
    let cap = max_cps.map_or_else(String::new, |cap| format!("max_cps = {cap}\n"));
    format!(
        "[[trunk]]\nname = \"{name}\"\nhost = \"{}\"\nport = {}\ntransport = \"{transport}\"\n\
         send_keep_alive = false\nrtp_timeout = 0\n{secure}{cap}\n",
        at.ip(),
        at.port(),
    )
}

/// The peers' addresses: a trunk is known by where its requests come from.
const CALLER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const CALLEE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Room for 7,500 calls, below the ports that the kernel hands out by itself.
const MEDIA_PORTS: (u16, u16) = (2_000, 31_999);
const FLOWS: u32 = 15_000;
/// Only a gateway that fails makes the bench wait so long.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(legs: Legs) -> Sides {
        let (caller, callee) = legs.wires();
        let at = |text: &str| text.parse().unwrap();
        let (caller_at, callee_at) = (at("127.0.0.2:40000"), at("127.0.0.3:40002"));
        let target = at("127.0.0.1:50000");
        Sides { caller, callee, caller_at, callee_at, target, certificates: PathBuf::new() }
    }

    #[test]
    fn a_secure_side_is_a_secure_trunk_and_the_cap_is_the_callers() {
        let launch = Launch {
            trunkline: PathBuf::new(),
            core: 1,
            media_core: 0,
            backend: "auto".into(),
            comes_first: false,
            max_cps: Some(900),
        };
        let text = configuration(&launch, &sides(Legs::UdpToTls), 50_000, Path::new("/run/x"));
        let (caller, callee) = text.split_once("name = \"callee\"").unwrap();
        assert!(
            caller.contains("transport = \"UDP\"") && caller.contains("max_cps = 900"),
            "{text}"
        );
        assert!(callee.contains("secure_rtp = \"required\"") && !callee.contains("max_cps"));
        assert!(!caller.contains("secure_rtp") && text.contains("tls = [\"127.0.0.1:50001\"]"));
        let text = configuration(&launch, &sides(Legs::Tcp), 50_000, Path::new("/run/x"));
        assert!(!text.contains("secure = true") && text.contains("transport = \"TCP\""), "{text}");
    }

    #[test]
    fn memory_of_its_own_is_read_in_octets() {
        let status =
            "Name:\ttrunkline\nVmRSS:\t   20000 kB\nRssAnon:\t   10240 kB\nRssShmem:\t 3 kB\n";
        assert_eq!(own_memory(status), Some(10_485_760));
        for len in 0..status.len() {
            let _ = own_memory(&status[..len]);
        }
        assert_eq!(own_memory(""), None);
    }

    #[test]
    fn two_free_ports_are_found_outside_the_media_range() {
        let at = free_port(CALLER).unwrap();
        assert_eq!(at.ip(), CALLER);
        assert!(!(MEDIA_PORTS.0..=MEDIA_PORTS.1).contains(&at.port()), "{at}");
    }
}
