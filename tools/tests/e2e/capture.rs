//! What really was on the wire, as tshark saw it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bench::media::g711::Law;
use bench::media::tone;

use crate::gateway::Place;
use crate::lines::Lines;

pub struct Capture {
    child: Child,
    file: PathBuf,
}

pub struct Datagram {
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
    /// Differentiated services code point (RFC 2474).
    pub dscp: u8,
    pub payload: Vec<u8>,
}

impl Capture {
    /// Captures every UDP datagram among the addresses of `place`.
    pub fn start(place: &Place) -> Self {
        let file = place.file("wire.pcapng");
        let [a, b, c, _] = place.gateway.octets();
        let network = format!("udp and net {a}.{b}.{c}.0/24");
        // Not tshark itself, which loads every dissector before it begins.
        let mut child = Command::new("dumpcap")
            .args(["-i", place.interface(), "-f", &network, "-w"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("dumpcap is missing: apt-get install tshark");
        // "Capturing on" comes before the socket is open; this line comes after.
        Lines::of(child.stderr.take().unwrap()).wait("File: ");
        Self { child, file }
    }

    /// Ends the capture and reads it.
    pub fn finish(mut self) -> Vec<Datagram> {
        // dumpcap writes in blocks; one more look at the ring before it is told to end.
        std::thread::sleep(std::time::Duration::from_millis(500));
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().unwrap();
        let fields =
            ["ip.src", "udp.srcport", "ip.dst", "udp.dstport", "ip.dsfield.dscp", "udp.payload"];
        let output = Command::new("tshark")
            .arg("-r")
            .arg(&self.file)
            .args(["-T", "fields"])
            .args(fields.iter().flat_map(|field| ["-e", field]))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter_map(datagram).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn datagram(line: &str) -> Option<Datagram> {
    let mut fields = line.split('\t');
    let mut end = || Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?));
    let (source, destination) = (end()?, end()?);
    let dscp = fields.next()?.parse().ok()?;
    let hex = fields.next()?;
    let payload = (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16));
    Some(Datagram { source, destination, dscp, payload: payload.collect::<Result<_, _>>().ok()? })
}

/// Whether a datagram is plain RTP with one of the tones in its payload.
pub fn is_plain_tone(payload: &[u8], hz: u32) -> bool {
    payload.len() >= 12 + 80
        && payload[0] >> 6 == 2
        && tone::carries(hz, Law::A, &payload[12..12 + 80])
}
