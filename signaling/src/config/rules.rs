//! Rules that look at several fields or several trunks: the save-time rules of the trunk
//! specification that a single field cannot break. Rules about one trunk's own fields (account for
//! registering, secure if and only if TLS and encryption, something to trust) stand where those
//! fields are read.

use sdp::Codec;
use sip::endpoint::Transport;

use super::error::Findings;
use super::sections::Sip;
use super::trunk::Parsed;
use crate::group::Group;
use crate::trunk::{Cidr, Host, SecureRtp, Trunk};

/// Checks every trunk by itself and against the ones before it.
pub(super) fn check(trunks: &[Parsed], sip: &Sip, findings: &mut Findings) {
    for (index, parsed) in trunks.iter().enumerate() {
        let before = trunks.iter().take(index);
        check_one(parsed, before.map(|other| &*other.trunk), sip, findings);
    }
}

/// Checks a trunk by itself and against others.
pub(super) fn check_one<'t>(
    parsed: &Parsed,
    others: impl Iterator<Item = &'t Trunk>,
    sip: &Sip,
    findings: &mut Findings,
) {
    listener(parsed, sip, findings);
    port(parsed, findings);
    fax(parsed, findings);
    acl_width(parsed, findings);
    for other in others.filter(|other| other.id != parsed.trunk.id) {
        same_name(other, parsed, findings);
        same_number(other, parsed, findings);
        same_callers(other, parsed, findings);
    }
}

/// Routes name trunks and groups alike.
pub(super) fn check_names(trunks: &[Parsed], groups: &[Group], findings: &mut Findings) {
    for parsed in trunks {
        if groups.iter().any(|group| group.name == parsed.trunk.name) {
            let problem = "a failover group has this name";
            let remedy = "give trunks and groups different names: routes name either";
            field_error(parsed, "name", findings, problem, remedy);
        }
    }
}

/// Reports an error about a field of a trunk.
fn field_error(
    parsed: &Parsed,
    key: &str,
    findings: &mut Findings,
    problem: impl Into<String>,
    remedy: impl Into<String>,
) {
    let what = format!("trunk \"{}\"", parsed.trunk.name);
    findings.field_error(&what, key, parsed.place(key), problem, remedy);
}

/// A trunk's peer must be able to reach us on the trunk's transport.
fn listener(parsed: &Parsed, sip: &Sip, findings: &mut Findings) {
    let (key, listeners) = match parsed.trunk.transport {
        Transport::Udp => ("udp", &sip.udp),
        Transport::Tcp => ("tcp", &sip.tcp),
        Transport::Tls => ("tls", &sip.tls),
    };
    if parsed.trunk.enabled && listeners.is_empty() {
        let problem = format!("there is no {key} listener");
        let remedy = format!("add [sip] {key} = [\"address:port\"]");
        field_error(parsed, "transport", findings, problem, remedy);
    }
}

/// Rule 9: the plain port with TLS is unusual.
fn port(parsed: &Parsed, findings: &mut Findings) {
    if parsed.trunk.transport == Transport::Tls && parsed.trunk.port == Some(5060) {
        let what = format!("trunk \"{}\"", parsed.trunk.name);
        let problem = "5060 with TLS is unusual; TLS peers listen on 5061";
        let place = parsed.place("port");
        findings.field_warning(&what, "port", place, problem, "leave the port empty, or 5061");
    }
}

/// T.38 has no encryption.
fn fax(parsed: &Parsed, findings: &mut Findings) {
    let trunk = &parsed.trunk;
    if trunk.secure_rtp == SecureRtp::Required && trunk.allow.contains(&Codec::T38) {
        let what = format!("trunk \"{}\"", trunk.name);
        let problem = "T38 does not pass: fax has no encryption and this trunk must encrypt";
        let remedy = "remove T38; faxes go as G.711 audio then";
        findings.field_warning(&what, "allow", parsed.place("allow"), problem, remedy);
    }
}

/// Rule 10 and the width limits of `source_acl`.
fn acl_width(parsed: &Parsed, findings: &mut Findings) {
    let named = parsed.trunk.requires_certificate();
    for network in &parsed.trunk.source_acl {
        let (least, confirm) = match network.is_ipv6() {
            false => (ACL_PREFIX_MIN_V4, ACL_PREFIX_NAMED_V4),
            true => (ACL_PREFIX_MIN_V6, ACL_PREFIX_NAMED_V6),
        };
        // The whole Internet, told apart by certificate alone, is a documented deployment.
        let everyone = network.prefix() == 0;
        if network.prefix() < least && !(everyone && named) {
            let problem = format!("{network} is wider than /{least}");
            let remedy = match everyone {
                true => "list the peer's networks, or use TLS with tls_peer_names",
                false => "list the peer's networks",
            };
            field_error(parsed, "source_acl", findings, problem, remedy);
        } else if network.prefix() < confirm && !named {
            let problem = format!("{network} is wider than /{confirm} without TLS names");
            let remedy = "list narrower networks, or use TLS with tls_peer_names";
            field_error(parsed, "source_acl", findings, problem, remedy);
        }
    }
}

fn same_name(other: &Trunk, parsed: &Parsed, findings: &mut Findings) {
    if other.name == parsed.trunk.name {
        let problem = format!("trunk number {} has this name", other.id);
        field_error(parsed, "name", findings, problem, "give each trunk its own name");
    }
}

/// Rule 8. Members of one failover group stand for each other, with the same numbers too.
fn same_number(other: &Trunk, parsed: &Parsed, findings: &mut Findings) {
    let group = |trunk: &Trunk| trunk.failover_group.map(|membership| membership.group);
    if group(other).is_some() && group(other) == group(&parsed.trunk) {
        return;
    }
    for number in &parsed.trunk.numbers {
        if let Some(taken) = other.numbers.iter().find(|taken| taken.overlaps(number)) {
            let problem = format!("{number} overlaps {taken} of trunk \"{}\"", other.name);
            let remedy = "let each number belong to one trunk, or to one failover group's";
            field_error(parsed, "virtual_phone_number", findings, problem, remedy);
        }
    }
}

/// Rule 4: no two trunks may match one caller equally well.
fn same_callers(other: &Trunk, parsed: &Parsed, findings: &mut Findings) {
    let (a, b) = (other, &*parsed.trunk);
    let told_apart = !(a.enabled && b.enabled)
        || a.transport != b.transport
        || a.register
        || b.register
        || (a.transport == Transport::Udp && a.next_hop().1 != b.next_hop().1)
        || disjoint_certificates(a, b)
        || (!a.numbers.is_empty() && !b.numbers.is_empty());
    if told_apart {
        return;
    }
    let Some(shared) = shared_source(a, b) else { return };
    let key = if parsed.trunk.source_acl.is_empty() { "host" } else { "source_acl" };
    field_error(
        parsed,
        key,
        findings,
        format!("trunk \"{}\" also takes calls from {shared} on this transport", a.name),
        "give the trunks different sources, ports, tls_peer_names or virtual phone numbers: a \
         call must belong to exactly one",
    );
}

fn disjoint_certificates(a: &Trunk, b: &Trunk) -> bool {
    let (Some(a), Some(b)) = (&a.tls, &b.tls) else { return false };
    let named = !a.peer_names.is_empty() && !b.peer_names.is_empty();
    let different_names = named && !a.peer_names.iter().any(|name| b.peer_names.contains(name));
    let different_pins = a.pin.is_some() && b.pin.is_some() && a.pin != b.pin;
    different_names || different_pins
}

/// A source that both trunks claim with the same prefix length. Different lengths are told apart
/// by the longer one.
fn shared_source(a: &Trunk, b: &Trunk) -> Option<String> {
    let hosts = |trunk: &Trunk| -> Vec<Host> {
        let proxy = trunk.outbound_proxy.iter().map(|proxy| proxy.host.clone());
        std::iter::once(trunk.host.clone()).chain(proxy).collect()
    };
    let networks = |trunk: &Trunk| -> Vec<Cidr> {
        let literal = hosts(trunk).into_iter().filter_map(|host| match host {
            Host::Address(address) => Some(Cidr::host(address)),
            Host::Name(_) => None,
        });
        literal.chain(trunk.source_acl.iter().copied()).collect()
    };
    let (ours, theirs) = (hosts(a), hosts(b));
    let same_host = ours.iter().find(|host| theirs.contains(host)).map(Host::to_string);
    let theirs = networks(b);
    let same_network = networks(a).into_iter().find(|network| theirs.contains(network));
    same_host.or(same_network.map(|network| network.to_string()))
}

/// Widest IPv4 network of a `source_acl`.
pub const ACL_PREFIX_MIN_V4: u8 = 8;
/// Widest IPv4 network that is accepted on the address alone.
pub const ACL_PREFIX_NAMED_V4: u8 = 16;
/// Widest IPv6 network of a `source_acl`: a registry's allocation to a provider is /32.
pub const ACL_PREFIX_MIN_V6: u8 = 24;
/// Widest IPv6 network that is accepted on the address alone.
pub const ACL_PREFIX_NAMED_V6: u8 = 32;
