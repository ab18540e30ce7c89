//! `trunkline demo`: the main job on one machine, with nothing configured.
//!
//! Starts the gateway as `up` does, an insecure provider and a secure PBX as SIP and media peers
//! that share no protocol code with it, and lets them call each other through it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use bench::{Plan, Progress, Report};
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::{Failure, NEGATIVE};
use crate::supervisor::{Process, Supervisor};
use crate::worker_cpu::WorkerCpu;

/// How long the gateway may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Media ports of the demonstration: below the range from which the kernel hands out ports.
const PORTS: &str = "20000-29999";

/// Place real calls both ways through a gateway on this machine, with audio, and judge them
#[derive(clap::Args)]
#[command(after_help = "Example:\n  trunkline demo --calls 50 --seconds 10 --json")]
pub struct Arguments {
    /// Calls to place, half of them insecure to secure, half the other way
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=500))]
    calls: u32,
    /// Seconds of audio in each call
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Print one JSON object as the last line of standard output
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let stage = Stage::new()?;
    let (gateway, stop) = supervise(&stage)?;
    let outcome = play(arguments, &stage, &gateway);
    let _supervisor_gone = stop.send(());
    let ended = gateway.thread.join();
    let (report, cpu_ns) = outcome?;
    let cdrs = fs::read_to_string(stage.directory.join("cdr.jsonl")).unwrap_or_default();
    let verdict = Verdict::of(&report, cpu_ns, cdrs.lines().count());
    if matches!(ended, Ok(Err(_)) | Err(_)) {
        return Err(Failure::host("the gateway did not run to its end (see above)"));
    }
    verdict.print(&report);
    if arguments.json {
        println!("{}", verdict.json(&report));
    }
    Ok(if verdict.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NEGATIVE) })
}

/// Files and addresses of one demonstration; removed when it is over.
struct Stage {
    directory: PathBuf,
    config: PathBuf,
    gateway_udp: SocketAddr,
    gateway_tls: SocketAddr,
    provider: SocketAddr,
    pbx: SocketAddr,
}

impl Stage {
    fn new() -> Result<Self, Failure> {
        let name = format!("trunkline-demo-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let failed = |e| Failure::host(format!("{}: {e}", directory.display()));
        // Private, and never a directory that somebody else has prepared.
        fs::DirBuilder::new().mode(0o700).create(&directory).map_err(failed)?;
        let host = [Ipv4Addr::LOCALHOST.into()];
        bench::certs::write(&directory, &host, &host).map_err(Failure::host)?;
        let stage = Self {
            config: directory.join("gateway.toml"),
            gateway_udp: free_udp()?,
            gateway_tls: free_tcp()?,
            provider: free_udp()?,
            pbx: free_tcp()?,
            directory,
        };
        fs::write(&stage.config, stage.configuration())
            .map_err(|e| Failure::host(format!("{}: {e}", stage.config.display())))?;
        Ok(stage)
    }

    fn configuration(&self) -> String {
        let Self { directory, gateway_udp, gateway_tls, provider, pbx, .. } = self;
        format!(
            r#"[sip]
udp = ["{gateway_udp}"]
tls = ["{gateway_tls}"]
tls_certificate = "gateway.pem"
tls_key = "gateway.key"
tls_ca = "ca.pem"

[media]
address = "127.0.0.1"
ports = "{PORTS}"
flows = 1200

[run]
directory = "{}"

[log]
level = "warn"

[[trunk]]
name = "provider"
host = "{}"
port = {}
transport = "UDP"
send_keep_alive = false

[[trunk]]
name = "pbx"
host = "{}"
port = {}
transport = "TLS"
secure = true
encryption = true
secure_rtp = "required"
tls_peer_names = ["127.0.0.1"]
send_keep_alive = false

[[route]]
name = "provider to pbx"
direction = "inbound"
from_trunk = "provider"
destination = "pbx"

[[route]]
name = "pbx to provider"
direction = "outbound"
from_trunk = "pbx"
destination = "provider"
"#,
            directory.display(),
            provider.ip(),
            provider.port(),
            pbx.ip(),
            pbx.port(),
        )
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.directory);
    }
}

fn free_udp() -> Result<SocketAddr, Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::host)?;
    socket.local_addr().map_err(Failure::host)
}

fn free_tcp() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::host)?;
    listener.local_addr().map_err(Failure::host)
}

/// The gateway under its supervisor, on a thread.
struct Running {
    thread: std::thread::JoinHandle<Result<(), Failure>>,
    pid: u32,
}

fn supervise(stage: &Stage) -> Result<(Running, Sender<()>), Failure> {
    let supervisor = Supervisor::start(&stage.config)?;
    let pid = supervisor.pid(Process::Dataplane).unwrap_or_default();
    let (stop, stopped) = channel();
    let directory = stage.directory.clone();
    // Both processes follow this one; what they leave on disk is keys for nobody.
    crate::fate::on_stop(move |_| {
        let _left_behind = fs::remove_dir_all(directory);
        std::process::exit(130);
    })
    .map_err(Failure::host)?;
    let thread = std::thread::spawn(move || supervisor.run(&stopped));
    Ok((Running { thread, pid }, stop))
}

/// Lets the peers call each other; returns their report and the workers' CPU time, nanoseconds.
fn play(arguments: &Arguments, stage: &Stage, gateway: &Running) -> Result<(Report, u64), Failure> {
    wait_for(stage.gateway_tls, gateway)?;
    let before = WorkerCpu::read(gateway.pid);
    let plan = Plan {
        gateway_udp: stage.gateway_udp,
        gateway_tls: stage.gateway_tls,
        provider: stage.provider,
        pbx: stage.pbx,
        certificates: stage.directory.clone(),
        calls: arguments.calls,
        seconds: arguments.seconds,
        ..Plan::default()
    };
    let bar = progress_bar(arguments.json);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::host)?;
    let report = runtime
        .block_on(bench::run(plan, |progress| show(&bar, arguments.calls, &progress)))
        .map_err(Failure::host)?;
    bar.finish_and_clear();
    let after = WorkerCpu::read(gateway.pid);
    Ok((report, after.ns_since(&before)))
}

fn wait_for(address: SocketAddr, gateway: &Running) -> Result<(), Failure> {
    let limit = Instant::now() + START_LIMIT;
    while Instant::now() < limit && !gateway.thread.is_finished() {
        if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Failure::host("the gateway does not listen; its messages are above"))
}

fn progress_bar(hidden: bool) -> ProgressBar {
    if hidden {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, calls: u32, progress: &Progress) {
    bar.tick();
    bar.set_message(format!(
        "{} of {calls} calls placed, {} answered, {} live, {} ended; {} packets sent, {} received",
        progress.placed,
        progress.answered,
        progress.live,
        progress.ended,
        progress.sent,
        progress.received
    ));
}

/// Whether the demonstration showed what it claims, and in how far not.
struct Verdict {
    faults: Vec<String>,
    cpu_ns_per_packet: u64,
}

impl Verdict {
    fn of(report: &Report, cpu_ns: u64, cdrs: usize) -> Self {
        let calls = u64::from(report.calls);
        let mut faults = Vec::new();
        let mut demand = |name: &str, found: u64, wanted: u64| {
            if found != wanted {
                faults.push(format!("{name}: {found} instead of {wanted}"));
            }
        };
        demand("calls answered", report.answered.into(), calls);
        demand("calls ended cleanly", report.ended_cleanly.into(), calls);
        demand("packets received", report.rtp_received(), report.rtp_sent());
        demand("duplicate packets", report.duplicates(), 0);
        demand("packets with damaged audio", report.corrupted(), 0);
        demand("packets in the wrong call", report.misdelivered(), 0);
        demand("plain RTP packets on the secure side", report.plain_rtp_on_secure, 0);
        demand("SRTP packets that failed authentication", report.srtp_auth_failures, 0);
        demand("call detail records", u64::try_from(cdrs).unwrap_or(u64::MAX), calls);
        if report.rtp_received() == 0 {
            faults.push("no audio at all".into());
        }
        faults.extend(report.failed.iter().map(|f| format!("call {}: {}", f.call, f.cause)));
        faults.extend(report.signalling_faults.iter().cloned());
        if faults.is_empty() && !report.passed() {
            faults.push("a tone was not heard".into());
        }
        let cpu_ns_per_packet = cpu_ns.checked_div(report.rtp_received()).unwrap_or(0);
        Self { faults, cpu_ns_per_packet }
    }

    fn print(&self, report: &Report) {
        let Report { calls, answered, ended_cleanly, added_delay, .. } = report;
        let (there, back) = (&report.insecure_to_secure, &report.secure_to_insecure);
        let suites: Vec<String> =
            report.suites.iter().map(|(suite, calls)| format!("{suite} ({calls})")).collect();
        println!(
            "calls                  {calls} placed, {answered} answered, {ended_cleanly} ended"
        );
        println!("RTP insecure to secure {} sent, {} received", there.rtp_sent, there.rtp_received);
        println!("RTP secure to insecure {} sent, {} received", back.rtp_sent, back.rtp_received);
        println!("lost, reordered        {}, {}", report.lost(), report.reordered());
        println!("plain RTP on secure    {}", report.plain_rtp_on_secure);
        println!("SRTP suites            {}", suites.join(", "));
        println!(
            "added delay            p50 {:.0} us, p99 {:.0} us",
            added_delay.p50_us, added_delay.p99_us
        );
        println!("CPU per packet         {} ns of the worker threads", self.cpu_ns_per_packet);
        for fault in &self.faults {
            println!("FAILED                 {fault}");
        }
        if self.faults.is_empty() {
            println!("every call, every packet and every secrecy check held");
        }
    }

    fn json(&self, report: &Report) -> serde_json::Value {
        serde_json::json!({
            "calls": report.calls,
            "answered": report.answered,
            "ended_cleanly": report.ended_cleanly,
            "failed": report.failed.len(),
            "rtp_sent": report.rtp_sent(),
            "rtp_received": report.rtp_received(),
            "lost": report.lost(),
            "plain_rtp_on_secure": report.plain_rtp_on_secure,
            "added_delay_us_p50": report.added_delay.p50_us,
            "added_delay_us_p99": report.added_delay.p99_us,
            "cpu_ns_per_packet": self.cpu_ns_per_packet,
            "faults": self.faults,
        })
    }
}
