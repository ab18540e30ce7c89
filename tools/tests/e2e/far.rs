//! A far end of our own making with libsrtp inside (`peers/far.py`): for what well-behaved peers cannot
//! do, and for counting to the packet what arrives.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bench::media::g711::Law;
use serde_json::{Value, json};

use crate::gateway::Place;
use crate::lines::Lines;

pub struct Far {
    child: Child,
    events: Lines,
    record: PathBuf,
    pub journal: PathBuf,
    uri: String,
}

/// What a far end counted; names as in `peers/media.py`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
pub struct Tally {
    pub datagrams: u64,
    pub distinct: u64,
    pub repeated: u64,
    pub refused: u64,
    pub marked: u64,
    pub reports: u64,
}

/// Who a far end is.
#[derive(Clone, Copy)]
pub enum Role<'a> {
    /// The insecure provider at its usual ports.
    Provider,
    /// The same at its address of IPv6, where the gateway has to listen too.
    ProviderV6,
    /// The PBX over UDP, for a gateway without any secure trunk.
    PlainPbx,
    /// The PBX over TLS, with the one suite that it offers and accepts.
    SecurePbx(&'a str),
    /// The same at its address of IPv6.
    SecurePbxV6(&'a str),
}

pub const PROVIDER_HZ: u32 = crate::sipp::TONE_HZ;
pub const PBX_HZ: u32 = crate::pbx::TONE_HZ;

impl Far {
    pub fn start(place: &Place, role: Role<'_>, extra: &[&str]) -> Self {
        let (name, address): (_, IpAddr) = match role {
            Role::Provider => ("provider", place.provider.into()),
            Role::ProviderV6 => ("provider6", place.six.provider.into()),
            Role::PlainPbx | Role::SecurePbx(_) => ("pbx", place.pbx.into()),
            Role::SecurePbxV6(_) => ("pbx6", place.six.pbx.into()),
        };
        let (port, media_port, hz) = match role {
            Role::Provider | Role::ProviderV6 => (5070, crate::sipp::MEDIA_PORT, PROVIDER_HZ),
            _ => (crate::pbx::PORT, crate::pbx::MEDIA_PORT, PBX_HZ),
        };
        let gateway = match address {
            IpAddr::V4(_) => place.gateway.to_string(),
            IpAddr::V6(_) => format!("[{}]", place.six.gateway),
        };
        let (record, journal) =
            (place.file(&format!("{name}.al")), place.file(&format!("{name}.sent")));
        let mut command = peer("far.py");
        command
            .args(["--address", &address.to_string(), "--port", &port.to_string()])
            .args(["--media-port", &media_port.to_string(), "--tone", &hz.to_string()])
            .arg("--record")
            .arg(&record)
            .arg("--journal")
            .arg(&journal)
            .args(extra);
        let (uri_port, transport) = match role {
            Role::SecurePbx(suite) | Role::SecurePbxV6(suite) => {
                command.args(["--transport", "tls", "--suite", suite]);
                for (option, file) in
                    [("--certificate", "pbx.pem"), ("--key", "pbx.key"), ("--ca", "ca.pem")]
                {
                    command.arg(option).arg(place.file(file));
                }
                (5061, ";transport=tls")
            }
            Role::Provider | Role::ProviderV6 | Role::PlainPbx => {
                command.args(["--transport", "udp"]);
                (5060, "")
            }
        };
        let (child, events) = spawn(command);
        let uri = format!("{gateway}:{uri_port}{transport}");
        let mut this = Self { child, events, record, journal, uri };
        this.wait("ready");
        this
    }

    pub fn tell(&mut self, command: &Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    /// Waits for an event and returns it.
    pub fn wait(&mut self, event: &str) -> Value {
        let line = self.events.wait(&format!("{{\"event\": \"{event}\""));
        serde_json::from_str(&line).unwrap()
    }

    pub fn call(&mut self, number: &str) {
        let uri = format!("sip:{number}@{}", self.uri);
        self.tell(&json!({"do": "call", "uri": uri}));
    }

    /// Its session description, as the answer to an offer or as an offer.
    pub fn describe(&mut self, offer: Option<&str>) -> String {
        self.tell(&json!({"do": "describe", "offer": offer}));
        self.wait("description")["sdp"].as_str().unwrap().to_owned()
    }

    /// Takes the other side's description, without any SIP.
    pub fn agree(&mut self, sdp: &str) {
        self.tell(&json!({"do": "agree", "sdp": sdp}));
        self.wait("answered");
    }

    /// Hangs up; the other side is told.
    pub fn hang_up(&mut self, other: &mut Far) {
        self.tell(&json!({"do": "hangup"}));
        self.wait("disconnected");
        other.wait("disconnected");
    }

    /// Sends `packets` and as many sender reports as asked for; does not wait for their arrival.
    pub fn talk(&mut self, packets: u32, every_ms: u32, reports: u32) {
        let talk =
            json!({"do": "talk", "packets": packets, "every_ms": every_ms, "reports": reports});
        self.tell(&talk);
    }

    /// Carries out one attack of `peers/abuse.py` and returns what it sent.
    pub fn abuse(&mut self, how: &str) -> Value {
        self.tell(&json!({"do": "abuse", "how": how}));
        self.wait("abused")
    }

    /// Waits until it has counted that much.
    pub fn reach(&mut self, counts: &Value) -> Tally {
        self.tell(&json!({"do": "await", "counts": counts}));
        serde_json::from_value(self.wait("reached")).unwrap()
    }

    pub fn tally(&mut self) -> Tally {
        self.tell(&json!({"do": "flush"}));
        serde_json::from_value(self.wait("flushed")).unwrap()
    }

    /// What it heard so far as linear samples at 8 kHz.
    pub fn heard(&mut self) -> Vec<i16> {
        self.tally();
        let octets = fs::read(&self.record).unwrap();
        octets.into_iter().map(|octet| Law::A.decode(octet)).collect()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A program of `tests/peers`.
pub fn peer(script: &str) -> Command {
    let python = std::env::var("TRUNKLINE_VENV")
        .map_or_else(|_| "python3".into(), |venv| format!("{venv}/bin/python"));
    let mut command = Command::new(python);
    command.arg(format!("{}/tests/peers/{script}", env!("CARGO_MANIFEST_DIR")));
    command
}

/// Starts a peer that reads commands and writes events; what it complains about is in the test's output.
pub fn spawn(mut command: Command) -> (Child, Lines) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the peer starts");
    let events = Lines::of(child.stdout.take().unwrap());
    (child, events)
}
