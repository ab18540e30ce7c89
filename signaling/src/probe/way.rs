//! The first stages: where the peer is, and whether a connection to it can be had.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use sip::endpoint::Transport;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::step::{Failure, Outcome};
use super::{Kit, tls};
use crate::locate::{Answer, Place, Question, Record, Trouble, draw};
use crate::net::TlsFault;
use crate::trunk::{Host, Trunk};

/// One address to try, and the name that its certificate has to carry.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) host: Host,
}

/// DNS: every next hop of the trunk, in the order in which calls would try them.
pub(super) async fn dns(kit: &Kit, trunk: &Trunk) -> (Outcome, Vec<Target>) {
    let (mut targets, mut facts, mut troubles) = (Vec::new(), Vec::new(), Vec::new());
    let mut asked = false;
    for place in trunk.next_hops() {
        let families = kit.reach.of(place.transport);
        asked |= matches!(place.host, Host::Name(_));
        let found = kit
            .dns
            .locate(&place, families, &mut |question, answer, took| {
                let name = format!("{} {}", question.kind.as_str(), question.name);
                facts.push((name, format!("{} ({} ms)", told(question, answer), took.as_millis())));
            })
            .await;
        troubles.extend(found.trouble.map(|trouble| (place.clone(), trouble)));
        let mut lot = |bound: u32| kit.below(bound);
        for address in draw(&found.servers, &mut lot) {
            targets.push(Target { address, host: place.host.clone() });
        }
    }
    targets.truncate(super::limits::TARGETS_MAX);
    let list: Vec<String> = targets.iter().map(|target| target.address.to_string()).collect();
    let outcome = match (targets.is_empty(), troubles.first()) {
        (true, trouble) => no_dns(trunk, trouble),
        (false, Some((place, trouble))) => Outcome::warn(
            Failure::NoDns,
            format!("{}: {}; {} addresses are left", place.host, trouble.as_str(), list.len()),
            trouble.remedy(),
        ),
        (false, None) if !asked => Outcome::skip("the host is an address; there is no name"),
        (false, None) => Outcome::pass(format!("{} addresses in order", list.len())),
    };
    (outcome.fact("targets", list.join(", ")).facts(facts), targets)
}

fn no_dns(trunk: &Trunk, trouble: Option<&(Place, Trouble)>) -> Outcome {
    let (host, trouble) = match trouble {
        Some((place, trouble)) => (&place.host, *trouble),
        None => (&trunk.host, Trouble::NoAddress),
    };
    let text = format!("{host}: {}", trouble.as_str());
    Outcome::fail(Failure::NoDns, text, trouble.remedy())
}

fn told(question: &Question, answer: &Answer) -> String {
    let record = |record: &Record| match record {
        Record::Address(address) => address.to_string(),
        Record::Srv { priority, weight, port, target } => {
            format!("{priority} {weight} {port} {target}")
        }
        Record::Naptr { order, preference, service, replacement, .. } => {
            format!("{order} {preference} {service} {replacement}")
        }
    };
    match answer {
        Answer::Records(records, ttl) => {
            let texts: Vec<String> = records.iter().map(record).collect();
            format!("{}, TTL {} s", texts.join("; "), ttl.as_secs())
        }
        Answer::Nothing(true, _) => format!("{} does not exist", question.name),
        Answer::Nothing(false, _) => String::from("none"),
        Answer::Failed(trouble) => trouble.as_str().to_owned(),
    }
}

/// What carries SIP to the peer.
pub(super) enum Carrier {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// TCP: the first target that accepts. UDP knows no connection: a socket and a way.
pub(super) async fn connect(
    kit: &Kit,
    trunk: &Trunk,
    targets: &[Target],
) -> (Outcome, Option<(Carrier, Target)>) {
    let mut facts = Vec::new();
    let mut worst = (Failure::Unreachable, String::from("there is no address to try"));
    for target in targets {
        let begun = Instant::now();
        match open(kit, trunk.transport, target.address).await {
            Ok(carrier) => {
                let took = begun.elapsed().as_millis();
                facts.push((target.address.to_string(), format!("open after {took} ms")));
                let outcome = opened(trunk.transport, target.address, facts);
                return (outcome, Some((carrier, target.clone())));
            }
            Err((failure, problem)) => {
                facts.push((target.address.to_string(), problem.clone()));
                worst = (failure, format!("{}: {problem}", target.address));
            }
        }
    }
    let (failure, problem) = worst;
    (Outcome::fail(failure, problem, remedy(failure)).facts(facts), None)
}

fn opened(transport: Transport, address: SocketAddr, facts: Vec<(String, String)>) -> Outcome {
    let failed = facts.len() - 1;
    let outcome = match transport {
        Transport::Udp => Outcome::skip("UDP has no connection; the answer to OPTIONS tells"),
        _ => Outcome::pass(format!("{address} accepts connections")),
    };
    let outcome = outcome.facts(facts);
    match failed {
        0 => outcome,
        _ => outcome.but(
            Failure::Unreachable,
            &format!("{failed} addresses before it do not"),
            "ask the peer about the addresses that failed; calls go to the next one",
        ),
    }
}

async fn open(
    kit: &Kit,
    transport: Transport,
    remote: SocketAddr,
) -> Result<Carrier, (Failure, String)> {
    let local = SocketAddr::new(kit.source(transport, remote), 0);
    if transport == Transport::Udp {
        let socket = UdpSocket::bind(local).await.map_err(|cause| fault(&cause))?;
        socket.connect(remote).await.map_err(|cause| fault(&cause))?;
        return Ok(Carrier::Udp(socket));
    }
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(|cause| fault(&cause))?;
    socket.bind(local).map_err(|cause| fault(&cause))?;
    match timeout(kit.patience.connect, socket.connect(remote)).await {
        Ok(Ok(socket)) => {
            let _slower = socket.set_nodelay(true);
            Ok(Carrier::Tcp(socket))
        }
        Ok(Err(cause)) => Err(fault(&cause)),
        Err(_) => Err((Failure::Timeout, String::from("the connection attempt is not answered"))),
    }
}

/// What a socket's error says about the peer.
pub(super) fn fault(cause: &io::Error) -> (Failure, String) {
    match cause.kind() {
        io::ErrorKind::ConnectionRefused => {
            (Failure::Refused, String::from("the host refuses the port"))
        }
        io::ErrorKind::TimedOut => {
            (Failure::Timeout, String::from("the connection attempt is not answered"))
        }
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::PermissionDenied => (Failure::Unreachable, cause.to_string()),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => {
            (Failure::Closed, String::from("the peer closed the connection"))
        }
        _ => (Failure::Local, cause.to_string()),
    }
}

/// What to do about a way that is closed.
pub(super) fn remedy(failure: Failure) -> &'static str {
    match failure {
        Failure::Refused => "check host, port and transport; the peer listens elsewhere, or not",
        Failure::Timeout => "check the address, and the firewalls on the way and at the peer",
        Failure::Unreachable => "check this host's routes and firewall",
        Failure::Closed => "ask the peer why it closes; often our address is not on its list",
        _ => "the text says what is wrong on this host",
    }
}

/// TLS: the handshake, and everything worth knowing about it.
pub(super) async fn secure(
    kit: &Kit,
    trunk: &Trunk,
    target: &Target,
    socket: TcpStream,
) -> (Outcome, Option<tls::Connection>) {
    let inspecting = tls::inspect(trunk, &target.host, kit.files(), socket);
    let Ok(seen) = timeout(kit.patience.connect, inspecting).await else {
        let text = "the handshake is not answered";
        let remedy = "check that the peer speaks TLS on this port";
        return (Outcome::fail(Failure::Timeout, text, remedy), None);
    };
    let mut outcome = match &seen.fault {
        Some((fault, text)) => {
            let (failure, remedy) = tls_failure(*fault);
            Outcome::fail(failure, text.clone(), remedy)
        }
        None => Outcome::pass(format!(
            "{} with {}",
            seen.version.as_deref().unwrap_or("TLS"),
            seen.suite.as_deref().unwrap_or("a suite of its own")
        )),
    };
    for (name, value) in [("version", &seen.version), ("suite", &seen.suite)] {
        if let Some(value) = value {
            outcome = outcome.fact(name, value);
        }
    }
    for (number, shown) in seen.chain.iter().enumerate() {
        let text = format!(
            "{}; issued by {}; names {}; until {} ({} days)",
            shown.subject,
            shown.issuer,
            shown.names.join(", "),
            shown.not_after,
            shown.days_left
        );
        outcome = outcome.fact(&format!("certificate {}", number + 1), text);
    }
    let client = match (seen.asked, seen.answered) {
        (false, _) => "not asked for",
        (true, true) => "asked for and shown",
        (true, false) => "asked for; we have none",
    };
    outcome = outcome.fact("client certificate", client);
    let soon = seen.chain.first().map(|leaf| leaf.days_left);
    if let Some(days) = soon.filter(|days| (0..crate::net::EXPIRY_WARNING_DAYS).contains(days)) {
        let text = format!("the peer's certificate expires in {days} days");
        outcome = outcome.but(Failure::Expired, &text, "tell the peer to renew it");
    }
    if seen.asked && !seen.answered && seen.fault.is_none() {
        outcome = outcome.but(
            Failure::ClientCertificateDemanded,
            "the peer asked for a certificate and got none",
            "set tls_client_cert and tls_client_key if the peer refuses calls",
        );
    }
    (outcome, seen.connection)
}

fn tls_failure(fault: TlsFault) -> (Failure, &'static str) {
    match fault {
        TlsFault::Version => {
            (Failure::TlsVersion, "the peer must allow TLS 1.2 or 1.3 with AES-GCM or ChaCha20")
        }
        TlsFault::UnknownAuthority => {
            (Failure::UnknownCa, "set tls_ca to the authority of the peer, or pin its certificate")
        }
        TlsFault::WrongName => {
            (Failure::NameMismatch, "set tls_peer_names to what the certificate names, or host")
        }
        TlsFault::Expired => (Failure::Expired, "the peer must renew its certificate"),
        TlsFault::NotYetValid => (Failure::NotYetValid, "check the clocks of both sides"),
        TlsFault::CertificateDemanded => (
            Failure::ClientCertificateDemanded,
            "set tls_client_cert and tls_client_key to a certificate that the peer trusts",
        ),
        TlsFault::Local => (Failure::Local, "correct the file that the text names"),
        TlsFault::Broken => (Failure::TlsBroken, "compare with the peer's log"),
    }
}

/// The address to send from: the listener's, since peers know us by it.
pub(super) fn listener_address(listeners: &[SocketAddr], remote: SocketAddr) -> IpAddr {
    let fitting =
        listeners.iter().map(SocketAddr::ip).filter(|ip| ip.is_ipv4() == remote.is_ipv4());
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let all: Vec<IpAddr> = fitting.collect();
    match all.as_slice() {
        [one] => *one,
        // Several: the kernel chooses the one that leads there.
        _ => any,
    }
}
