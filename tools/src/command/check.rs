//! `trunkline check`: what on this host, or in the configuration, would stop the gateway.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::ExitCode;

use dataplane::Level;
use serde::Serialize;
use signaling::config::{self, Config};

use crate::failure::{Failure, NEGATIVE};
use crate::pin::Host;

mod certificates;
mod conntrack;
mod host;
mod names;
mod ports;

/// Look at the host, the configuration, the ports and the certificates before starting
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trunkline check                          the host alone
  trunkline check --config gateway.toml    the host and one installation
  trunkline check --config gateway.toml --json")]
pub struct Arguments {
    /// Configuration file (TOML); without it only the host is looked at
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    name: String,
    level: &'static str,
    what: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

impl Finding {
    fn ok(name: &str, what: impl Into<String>) -> Self {
        Self { name: name.into(), level: OK, what: what.into(), remedy: String::new() }
    }

    fn warn(name: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), level: WARN, what: what.into(), remedy: remedy.into() }
    }

    fn fail(name: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), level: FAIL, what: what.into(), remedy: remedy.into() }
    }
}

const OK: &str = "ok";
const WARN: &str = "warn";
const FAIL: &str = "fail";

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut findings: Vec<Finding> = dataplane::probe().into_iter().map(Finding::from).collect();
    findings.extend(host::findings(&Host::live(), host::system_call_ns()));
    if let Some(file) = &arguments.config {
        match config::load(file) {
            Ok(config) => {
                findings.push(hardening(config.media.user.as_deref()));
                installation(&config, &mut findings);
            }
            Err(errors) => findings.push(Finding::fail(
                "configuration",
                errors.to_string(),
                "correct the file; nothing starts before",
            )),
        }
    } else {
        findings.push(hardening(None));
    }
    let failed = findings.iter().filter(|f| f.level == FAIL).count();
    if arguments.json {
        println!("{}", serde_json::json!({ "findings": findings, "failed": failed }));
    } else {
        for finding in &findings {
            println!("{:<5} {:<18} {}", finding.level, finding.name, finding.what);
            if !finding.remedy.is_empty() {
                println!("{:<24} remedy: {}", "", finding.remedy);
            }
        }
        println!("{} findings, {failed} that stop the gateway", findings.len());
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(NEGATIVE) })
}

impl From<dataplane::Finding> for Finding {
    fn from(found: dataplane::Finding) -> Self {
        let level = match found.level {
            Level::Ok => OK,
            Level::Warn => WARN,
            Level::Fail => FAIL,
        };
        Self { name: found.name.into(), level, what: found.what, remedy: found.remedy }
    }
}

fn installation(config: &Config, findings: &mut Vec<Finding>) {
    let counts = format!("{} trunks, {} routes", config.trunks.len(), config.routes.iter().count());
    findings.push(Finding::ok("configuration", counts));
    for warning in &config.warnings {
        findings.push(Finding {
            name: "configuration".into(),
            level: WARN,
            what: warning.clone(),
            remedy: String::new(),
        });
    }
    let sip = &config.sip;
    let udp = sip.udp.iter().map(|at| ("udp", *at, UdpSocket::bind(at).err()));
    let stream_ends =
        sip.tcp.iter().map(|at| ("tcp", at)).chain(sip.tls.iter().map(|at| ("tls", at)));
    let http = config.http.iter().flat_map(|http| &http.listen).map(|at| ("http", at));
    let stream_ends = stream_ends.chain(http);
    let tcp = stream_ends.map(|(name, at)| (name, *at, TcpListener::bind(at).err()));
    findings.extend(udp.chain(tcp).map(|(name, at, error)| listener(name, at, error)));
    let media = media(config);
    // Where no call has a socket of its own, the data plane says so itself.
    let told = media.iter().any(|finding| finding.what.starts_with("the kernel gives ports"));
    findings.extend(media);
    let host = Host::live();
    findings.extend(ports::findings(&host, &config.media.ports, told));
    findings.push(conntrack::finding(&host, &config.media.ports));
    findings.extend(loadable(config));
    findings.extend(certificates::findings(config));
    findings.extend(names::findings(config));
}

fn listener(name: &str, at: SocketAddr, error: Option<std::io::Error>) -> Finding {
    match error {
        None => Finding::ok(name, format!("{at} can be listened on")),
        Some(error) => {
            let text = signaling::net::explain(&error, None);
            let (what, remedy) = text.split_once("; ").unwrap_or((&text, ""));
            Finding::fail(name, format!("{at}: {what}"), remedy)
        }
    }
}

fn media(config: &Config) -> Vec<Finding> {
    match dataplane::check(&super::dataplane::plan(config)) {
        Ok(warnings) => {
            let addresses: Vec<String> = config.media.local().map(|ip| ip.to_string()).collect();
            let ports = &config.media.ports;
            let what = format!("{} ports {ports:?}", addresses.join(", "));
            let ok = Finding::ok("media", what);
            std::iter::once(ok).chain(warnings.into_iter().map(Finding::from)).collect()
        }
        Err(error) => {
            let text = error.to_string();
            let (what, remedy) = text.split_once("; ").unwrap_or((&text, ""));
            vec![Finding::fail("media", what, remedy)]
        }
    }
}

fn hardening(user: Option<&str>) -> Finding {
    match dataplane::Hardening::forecast(user) {
        Ok(found) => found.into(),
        Err(error) => Finding::fail("hardening", error.to_string(), ""),
    }
}

/// Whether the listeners could start with what they are given.
fn loadable(config: &Config) -> Option<Finding> {
    if config.sip.tls.is_empty() {
        return None;
    }
    Some(match signaling::net::check_certificates(config) {
        Ok(()) => Finding::ok("certificates", "readable, matching their keys, not expired"),
        Err(error) => {
            let text = error.to_string();
            let (what, remedy) = text.split_once("; ").unwrap_or((&text, ""));
            Finding::fail("certificates", what, remedy)
        }
    })
}
