//! SIPp as caller and callee on the insecure side (Debian `sip-tester`).

use std::f64::consts::TAU;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use bench::media::g711::Law;

use crate::gateway::Place;
use crate::lines::PATIENCE;

/// What SIPp plays, in hertz.
pub const TONE_HZ: u32 = 1000;
/// The first media port of a SIPp.
pub const MEDIA_PORT: u16 = 16_000;
/// Where a second SIPp at the same address listens, and its first media port.
pub const SECOND_PORT: u16 = 5072;
pub const SECOND_MEDIA_PORT: u16 = 16_100;

pub struct Sipp {
    child: Child,
    errors: PathBuf,
}

/// How a SIPp runs.
pub struct Run<'a> {
    pub scenario: &'a str,
    pub transport: &'a str,
    pub arguments: Vec<String>,
}

impl Sipp {
    /// Calls `number` through the gateway; each call talks for `talk_ms`.
    pub fn call(
        place: &Place,
        scenario: &str,
        transport: &str,
        number: &str,
        calls: u32,
        talk_ms: u32,
    ) -> Self {
        let arguments = vec![
            format!("{}:5060", place.gateway),
            "-s".into(),
            number.into(),
            "-m".into(),
            calls.to_string(),
            "-l".into(),
            calls.to_string(),
            "-r".into(),
            "5".into(),
            "-d".into(),
            talk_ms.to_string(),
        ];
        Self::run(place, Run { scenario, transport, arguments })
    }

    /// Answers `calls` calls.
    pub fn answer(place: &Place, transport: &str, calls: u32) -> Self {
        let arguments = vec!["-m".into(), calls.to_string()];
        Self::run(place, Run { scenario: "callee.xml", transport, arguments })
    }

    /// In the PBX's place, on a plain trunk: `calls` calls.
    pub fn pbx(place: &Place, scenario: &str, calls: usize) -> Self {
        let arguments = vec!["-m".into(), calls.to_string()];
        let run = Run { scenario, transport: "u1", arguments };
        Self::run_at(place, place.pbx, crate::pbx::PORT, run)
    }

    pub fn run(place: &Place, run: Run<'_>) -> Self {
        Self::run_at(place, place.provider, 5070, run)
    }

    /// Answers every request of this method with this status after so long, until it is dropped.
    pub fn answering(
        place: &Place,
        address: Ipv4Addr,
        method: &str,
        status: &str,
        pause_ms: u32,
    ) -> Self {
        let words =
            [("@METHOD@", method), ("@STATUS@", status), ("@PAUSE@", &pause_ms.to_string())];
        // A REGISTER that is repeated has the Call-ID of the one before.
        let arguments = ["-m", "1000", "-deadcall_wait", "0"].map(String::from).to_vec();
        let run = Run { scenario: "answering.xml", transport: "u1", arguments };
        Self::run_with(place, address, 5070, run, &words)
    }

    /// [`Sipp::run`] at another address and port.
    pub fn run_at(place: &Place, address: Ipv4Addr, port: u16, run: Run<'_>) -> Self {
        Self::run_with(place, address, port, run, &[])
    }

    /// [`Sipp::run_at`] with words of the scenario filled in.
    fn run_with(
        place: &Place,
        address: Ipv4Addr,
        port: u16,
        run: Run<'_>,
        words: &[(&str, &str)],
    ) -> Self {
        let tone = place.file("tone.al");
        // Written once: another SIPp of the place may just be reading it.
        if !tone.exists() {
            fs::write(&tone, tone_octets()).unwrap();
        }
        let mut template =
            include_str_of(run.scenario).replace("@TONE@", &tone.display().to_string());
        for (word, value) in words {
            template = template.replace(word, value);
        }
        let scenario = place.file(run.scenario);
        fs::write(&scenario, &template).unwrap();
        let errors = place.file(&format!("sipp-{}.err", run.scenario));
        let media = if port == SECOND_PORT { SECOND_MEDIA_PORT } else { MEDIA_PORT };
        let mut child = Command::new("sipp")
            .args(run.arguments)
            .args(["-sf", &scenario.display().to_string()])
            .args(["-i", &address.to_string(), "-mi", &address.to_string()])
            .args(["-p", &port.to_string(), "-t", run.transport, "-nostdin"])
            .args(["-mp", &media.to_string()])
            .args(["-trace_err", "-error_file", &errors.display().to_string()])
            .args(["-timeout", "60", "-timeout_error"])
            .current_dir(&place.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sipp is missing: apt-get install sip-tester");
        if waits_to_be_called(&template) {
            await_socket(&mut child, address, port, run.transport);
        }
        Self { child, errors }
    }

    /// Waits for its end; all its calls must have gone as its scenario says.
    pub fn succeed(&mut self) {
        let status = self.wait();
        assert!(
            status.success(),
            "SIPp: {status}\n{}",
            fs::read_to_string(&self.errors).unwrap_or_default()
        );
    }

    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE * 2;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("SIPp is stuck\n{}", fs::read_to_string(&self.errors).unwrap_or_default());
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Whether a scenario starts by receiving.
fn waits_to_be_called(scenario: &str) -> bool {
    match (scenario.find("<recv "), scenario.find("<send")) {
        (Some(first_recv), Some(first_send)) => first_recv < first_send,
        (first_recv, _) => first_recv.is_some(),
    }
}

/// Returns once the kernel lists a socket at this address, or the process has ended.
fn await_socket(child: &mut Child, address: Ipv4Addr, port: u16, transport: &str) {
    let table = if transport.starts_with('u') { "udp" } else { "tcp" };
    let here = format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.octets()));
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        let sockets = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
        if sockets.lines().any(|line| line.split_whitespace().nth(1) == Some(&here)) {
            return;
        }
        assert!(Instant::now() < until, "SIPp does not open {table} {address}:{port}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// One second of the tone in A-law.
fn tone_octets() -> Vec<u8> {
    (0..8000)
        .map(|n| {
            let sample = (f64::from(n) * f64::from(TONE_HZ) * TAU / 8000.0).sin() * 16_000.0;
            Law::A.encode(sample as i16)
        })
        .collect()
}

fn include_str_of(scenario: &str) -> String {
    let peers = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers");
    fs::read_to_string(format!("{peers}/{scenario}")).unwrap()
}
