//! PJSIP as the secure phone system: TLS 1.2, mutual certificates, mandatory SRTP.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::gateway::Place;
use crate::lines::Lines;

/// What PJSIP plays, in hertz.
pub const TONE_HZ: u32 = 440;
pub const PORT: u16 = 5081;
pub const MEDIA_PORT: u16 = 17_000;

pub struct Pbx {
    child: Child,
    pub events: Lines,
    record: std::path::PathBuf,
}

impl Pbx {
    pub fn start(place: &Place, extra: &[&str]) -> Self {
        let python = std::env::var("TRUNKLINE_VENV")
            .map_or_else(|_| "python3".into(), |venv| format!("{venv}/bin/python"));
        let record = place.file("pbx.wav");
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/pbx.py"))
            .args(["--address", &place.pbx.to_string(), "--port", &PORT.to_string()])
            .args(["--media-port", &MEDIA_PORT.to_string(), "--tone", &TONE_HZ.to_string()])
            .arg("--certificate")
            .arg(place.file("pbx.pem"))
            .arg("--key")
            .arg(place.file("pbx.key"))
            .arg("--ca")
            .arg(place.file("ca.pem"))
            .arg("--record")
            .arg(&record)
            .args(extra)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut events = Lines::of(child.stdout.take().unwrap());
        events.wait("\"ready\"");
        Self { child, events, record }
    }

    pub fn call(&mut self, place: &Place, number: &str) {
        self.call_at(&format!("sip:{number}@{}:5061;transport=tls", place.gateway));
    }

    pub fn call_over_tcp(&mut self, place: &Place, number: &str) {
        self.call_at(&format!("sip:{number}@{}:5060;transport=tcp", place.gateway));
    }

    fn call_at(&mut self, uri: &str) {
        self.tell(&format!(r#"{{"do": "call", "uri": "{uri}"}}"#));
    }

    pub fn hang_up(&mut self) {
        self.tell(r#"{"do": "hangup"}"#);
    }

    /// Changes every call: `hold`, `resume` or `update`.
    pub fn change(&mut self, how: &str) {
        self.tell(&format!(r#"{{"do": "{how}"}}"#));
    }

    /// Transfers the other end of the first call: to a number, or to that of the second call.
    pub fn transfer(&mut self, place: &Place, number: Option<&str>) {
        self.tell(&match number {
            Some(number) => {
                let uri = format!("sip:{number}@{}:5061;transport=tls", place.gateway);
                format!(r#"{{"do": "transfer", "uri": "{uri}"}}"#)
            }
            None => String::from(r#"{"do": "attend"}"#),
        });
    }

    /// Dials digits in every call, as telephone events.
    pub fn dial(&mut self, digits: &str) {
        self.tell(&format!(r#"{{"do": "dial", "digits": "{digits}"}}"#));
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    /// Ends it, and returns what it heard: linear samples at 8 kHz.
    pub fn heard(mut self) -> Vec<i16> {
        self.tell(r#"{"do": "quit"}"#);
        self.child.wait().unwrap();
        let wav = fs::read(&self.record).unwrap_or_default();
        let (_, samples) = wav.split_at_checked(44).unwrap_or_default();
        samples.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
    }
}

impl Drop for Pbx {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
