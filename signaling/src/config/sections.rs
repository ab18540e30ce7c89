//! The tables that occur once: `[sip]`, `[run]`, `[cdr]`, `[log]`; `[media]` is in `media.rs`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::RUN_DIRECTORY_DEFAULT;
use super::section::Section;
use crate::trunk::Host;

/// `[sip]`: where we listen and who we are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sip {
    /// UDP listeners.
    pub udp: Vec<SocketAddr>,
    /// TCP listeners.
    pub tcp: Vec<SocketAddr>,
    /// TLS listeners.
    pub tls: Vec<SocketAddr>,
    /// Our certificate chain, PEM. Present when there is a TLS listener.
    pub tls_certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Authorities for trunks that name none, PEM.
    pub tls_ca: Option<PathBuf>,
    /// Host to write in Via and Contact instead of the listener's address.
    pub advertise: Option<Host>,
    /// Threads among which calls are divided, at most [`SHARDS_MAX`].
    pub shards: usize,
    /// SUBSCRIBEs are relayed of trunks whose `create_subscriptions` is DEFAULT.
    pub subscriptions: bool,
}

/// Shards that make sense: beyond them the one thread that reads for all is what is slow.
pub const SHARDS_MAX: usize = 16;

impl Sip {
    /// The host that stands for this gateway in From and Contact: the advertised one, else the
    /// first listener's address. IPv6 in brackets.
    pub fn host(&self) -> String {
        let listeners = self.udp.iter().chain(&self.tls).chain(&self.tcp).map(SocketAddr::ip);
        let concrete = listeners.clone().find(|ip| !ip.is_unspecified());
        match (&self.advertise, concrete) {
            (Some(host), _) => host.to_string(),
            (None, Some(ip)) => Host::Address(ip).to_string(),
            (None, None) => String::from("localhost"),
        }
    }
}

/// `[dns]`: who is asked for names.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Dns {
    /// Servers; without any, those of the system (`/etc/resolv.conf`).
    pub servers: Vec<SocketAddr>,
}

/// `[run]`: files of the running process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Runtime directory: sockets, and the CDR file unless it is named.
    pub directory: PathBuf,
    /// How long flows that a lost signalling process left behind go on before they are released.
    pub orphan_grace: Duration,
}

/// `[cdr]`: the record of attempts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cdr {
    /// File that gets one JSON line per attempt.
    pub file: PathBuf,
    /// Write caller and called number masked.
    pub mask: bool,
}

/// `[store]`: where trunks, groups and routes are kept that change while the gateway runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Store {
    /// The database file.
    pub file: PathBuf,
    /// The file of the keys under which secrets are sealed.
    pub key_file: PathBuf,
}

/// `[http]`: the API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Http {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// Certificate and key, PEM; without them it talks plainly.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// `[log]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

pub(super) fn sip(mut section: Section<'_, '_>) -> Sip {
    let udp = section.sockets("udp");
    let tcp = section.sockets("tcp");
    let tls = section.sockets("tls");
    for (key, listeners) in [("udp", &udp), ("tcp", &tcp), ("tls", &tls)] {
        if listeners.len() > LISTENERS_MAX {
            let problem = format!("{} listeners", listeners.len());
            section.error(key, problem, format!("keep at most {LISTENERS_MAX}"));
        }
    }
    if udp.is_empty() && tcp.is_empty() && tls.is_empty() {
        let remedy = "write [sip] udp = [\"0.0.0.0:5060\"], or tcp, or tls";
        section.error("udp", "no SIP listener is configured", remedy);
    }
    for socket in &tls {
        if tcp.contains(socket) {
            let remedy = "give TLS its own port, usually 5061";
            section.error("tls", format!("{socket} is also a tcp listener"), remedy);
        }
    }
    let tls_certificate = section.path("tls_certificate");
    let tls_key = section.path("tls_key");
    let tls_ca = section.path("tls_ca");
    for (key, other, missing) in [
        ("tls_certificate", "tls_key", tls_certificate.is_none() && tls_key.is_some()),
        ("tls_key", "tls_certificate", tls_key.is_none() && tls_certificate.is_some()),
    ] {
        if missing {
            section.error(key, format!("missing although {other} is set"), format!("set {key}"));
        }
    }
    if !tls.is_empty() && tls_certificate.is_none() && tls_key.is_none() {
        let remedy = "set tls_certificate and tls_key to PEM files";
        section.error("tls", "a TLS listener needs a certificate", remedy);
    }
    let advertise = section.string("advertise").and_then(|text| {
        let host = Host::parse(&text.value);
        if host.is_none() {
            let problem = format!("\"{}\" is neither an address nor a host name", text.value);
            section.error("advertise", problem, "write the host without a port");
        }
        host
    });
    let shards = section.integer("shards", 1..SHARDS_MAX as u64 + 1).map_or(1, |n| n.value);
    let shards = usize::try_from(shards).unwrap_or(1);
    let subscriptions = section.word("subscriptions", &["DENY", "ALLOW"]);
    let subscriptions = subscriptions.is_some_and(|word| word.value == 1);
    section.finish();
    Sip { udp, tcp, tls, tls_certificate, tls_key, tls_ca, advertise, shards, subscriptions }
}

pub(super) fn dns(mut section: Section<'_, '_>) -> Dns {
    let servers = section.sockets("servers");
    if servers.len() > DNS_SERVERS_MAX {
        let problem = format!("{} servers", servers.len());
        section.error("servers", problem, format!("keep at most {DNS_SERVERS_MAX}"));
    }
    section.finish();
    Dns { servers }
}

pub(super) fn run(mut section: Section<'_, '_>) -> Run {
    let directory = section.path("directory");
    let grace = section.integer("orphan_grace", 0..ORPHAN_GRACE_SECONDS_MAX + 1);
    section.finish();
    Run {
        directory: directory.unwrap_or_else(|| PathBuf::from(RUN_DIRECTORY_DEFAULT)),
        orphan_grace: grace.map_or(ORPHAN_GRACE_DEFAULT, |grace| Duration::from_secs(grace.value)),
    }
}

pub(super) fn cdr(mut section: Section<'_, '_>, run: &Run) -> Cdr {
    let file = section.path("file").unwrap_or_else(|| run.directory.join("cdr.jsonl"));
    let mask = section.boolean("mask").is_some_and(|flag| flag.value);
    section.finish();
    Cdr { file, mask }
}

/// `None` without `[store]`: then the file alone says what there is.
pub(super) fn store(mut section: Section<'_, '_>) -> Option<Store> {
    let is_there = section.is_there();
    let url = section.string("url").map(|text| text.value);
    let key_file = section.path("key_file");
    let file = match url.as_deref().map(|url| (url, url.strip_prefix("sqlite:"))) {
        Some((_, Some(path))) if !path.is_empty() => section.beside(path),
        Some((url, _)) if url.starts_with("postgres") => {
            section.unsupported("url", url, "\"sqlite:FILE\"");
            PathBuf::new()
        }
        Some((url, _)) => {
            let remedy = "write url = \"sqlite:/var/lib/trunkline/trunkline.db\"";
            section.error("url", format!("\"{url}\" is no store"), remedy);
            PathBuf::new()
        }
        None if is_there => {
            let remedy = "write url = \"sqlite:/var/lib/trunkline/trunkline.db\"";
            section.error("url", "the store has no url", remedy);
            PathBuf::new()
        }
        None => PathBuf::new(),
    };
    section.finish();
    let key_file = key_file.unwrap_or_else(|| file.with_extension("key"));
    is_there.then_some(Store { file, key_file })
}

/// The API is there when there is a store; on loopback unless the file says otherwise.
pub(super) fn http(mut section: Section<'_, '_>, store: Option<&Store>) -> Option<Http> {
    let is_there = section.is_there();
    let mut listen = section.sockets("listen");
    if is_there && store.is_none() {
        let remedy = "add [store] url = \"sqlite:/var/lib/trunkline/trunkline.db\"";
        section.error("listen", "the API needs a store for its tokens", remedy);
    }
    if listen.len() > LISTENERS_MAX {
        let problem = format!("{} listeners", listen.len());
        section.error("listen", problem, format!("keep at most {LISTENERS_MAX}"));
    }
    let (certificate, key) = (section.path("tls_certificate"), section.path("tls_key"));
    if certificate.is_some() != key.is_some() {
        let remedy = "set tls_certificate and tls_key, or neither";
        section.error("tls_key", "a certificate needs its key, and a key its certificate", remedy);
    }
    let tls = certificate.zip(key);
    let plain = listen.iter().filter(|socket| tls.is_none() && !socket.ip().is_loopback());
    for socket in plain {
        let text = format!("{socket} is reached from outside, and tokens travel unencrypted");
        section.warn("listen", text, "set tls_certificate and tls_key, or listen on loopback");
    }
    section.finish();
    if listen.is_empty() {
        listen.push(HTTP_DEFAULT);
    }
    store.map(|_| Http { listen, tls })
}

pub(super) fn log(mut section: Section<'_, '_>) -> Log {
    let level = section.word("level", &LEVELS).and_then(|word| LEVELS.get(word.value));
    let format = section.word("format", &["text", "json"]).map(|word| word.value);
    section.finish();
    Log {
        level: (*level.unwrap_or(&"info")).to_owned(),
        format: if format == Some(1) { LogFormat::Json } else { LogFormat::Text },
    }
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Where the API listens when the file does not say.
pub const HTTP_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// DNS servers: more are never asked before patience ends.
pub const DNS_SERVERS_MAX: usize = 8;
/// Listeners per transport.
pub const LISTENERS_MAX: usize = 16;
/// Longest grace of orphaned flows, in seconds.
pub const ORPHAN_GRACE_SECONDS_MAX: u64 = 86_400;
/// Grace of orphaned flows unless the file says otherwise: longer than most calls.
pub const ORPHAN_GRACE_DEFAULT: Duration = Duration::from_secs(3_600);
