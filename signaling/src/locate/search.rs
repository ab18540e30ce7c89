//! RFC 3263 §4 as a pure function: from the records known so far to the next questions, or to the
//! servers. The caller asks, adds the answers and calls again; four rounds at most.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sip::endpoint::Transport;

use super::{Families, Located, Place, Server};
use crate::trunk::Host;

/// One question to the DNS. Names are lower case without trailing dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Question {
    /// The name asked for.
    pub name: String,
    /// What is asked about it.
    pub kind: Kind,
}

/// Record types that locating needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Which services a domain has (RFC 3403).
    Naptr,
    /// Which servers a service has (RFC 2782).
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Kind {
    /// As zone files write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Naptr => "NAPTR",
            Self::Srv => "SRV",
            Self::A => "A",
            Self::Aaaa => "AAAA",
        }
    }
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// A rule; only terminal ones with flag `s` mean something here (RFC 3263 §4.1).
    Naptr {
        /// Rules of the lowest matching order count.
        order: u16,
        /// Within an order, lower first.
        preference: u16,
        /// Lower case.
        flags: String,
        /// Upper case: `SIP+D2U`, `SIP+D2T`, `SIPS+D2T`.
        service: String,
        /// The name of the SRV records.
        replacement: String,
    },
    /// A server.
    Srv {
        /// Lower first.
        priority: u16,
        /// Share within the priority.
        weight: u16,
        /// Its port.
        port: u16,
        /// Its name; empty says that the service is not offered (RFC 2782).
        target: String,
    },
    /// An address.
    Address(IpAddr),
}

/// What a question brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Records, valid for this long.
    Records(Vec<Record>, Duration),
    /// There are none: the name does not exist (`true`) or has no such record. For how long that
    /// holds, if the zone said so.
    Nothing(bool, Option<Duration>),
    /// Nobody knows.
    Failed(Trouble),
}

/// Why a place cannot be located.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Trouble {
    /// No such name.
    NoSuchName,
    /// The name has no address of a family that we use.
    NoAddress,
    /// The domain says that it does not offer the service (SRV target `.`).
    NotOffered,
    /// No server answered.
    Timeout,
    /// A server answered with a failure.
    ServerFailure,
    /// The name cannot be asked for.
    BadName,
}

impl Trouble {
    /// For operators.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchName => "the name does not exist",
            Self::NoAddress => "the name has no address that a listener can reach",
            Self::NotOffered => "the domain says that it does not offer this service",
            Self::Timeout => "no DNS server answers",
            Self::ServerFailure => "the DNS server fails to answer",
            Self::BadName => "this is no name that can be asked for",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoSuchName => "correct host or outbound_proxy",
            Self::NoAddress => {
                "add an address record, or a listener of the other address family in [sip]"
            }
            Self::NotOffered => "choose another transport, or ask the peer for its SRV records",
            Self::Timeout | Self::ServerFailure => {
                "check [dns] servers or /etc/resolv.conf, and the way to these servers"
            }
            Self::BadName => "write a host name of letters, digits and hyphens",
        }
    }
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Ask these, all at once.
    Ask(Vec<Question>),
    /// Done.
    Found(Found),
}

/// The end of a search.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// In no particular order within a group; empty when there is trouble.
    pub servers: Vec<Server>,
    /// How long this holds, [`TTL_MIN`] to [`TTL_MAX`].
    pub ttl: Duration,
    /// Why there is no server; or, with servers, that a question on the way stayed open, so that
    /// what was known before is as good.
    pub trouble: Option<Trouble>,
}

/// Everything known so far.
pub type Known = BTreeMap<Question, Answer>;

/// The next step for a place.
pub fn step(place: &Place, families: Families, known: &Known) -> Step {
    let name = match &place.host {
        Host::Address(address) => {
            let address = SocketAddr::new(*address, place.port_or_default());
            let servers = Located::literal(address).servers;
            return Step::Found(Found { servers, ttl: TTL_MAX, trouble: None });
        }
        Host::Name(name) => name,
    };
    let mut search = Search { place, families, known, ttl: TTL_MAX, open: None };
    if place.port.is_some() {
        return search.addresses(vec![direct(name, place)]);
    }
    let services = match search.services(name) {
        Ok(services) => services,
        Err(questions) => return Step::Ask(questions),
    };
    match search.candidates(&services) {
        Ok(Some(candidates)) if candidates.is_empty() => search.failed(Trouble::NotOffered),
        Ok(Some(candidates)) => search.addresses(candidates),
        Ok(None) => search.addresses(vec![direct(name, place)]),
        Err(questions) => Step::Ask(questions),
    }
}

/// A server whose addresses are still to be asked for.
struct Candidate {
    group: u16,
    weight: u16,
    name: String,
    port: u16,
}

fn direct(name: &str, place: &Place) -> Candidate {
    Candidate { group: 0, weight: 0, name: name.to_owned(), port: place.port_or_default() }
}

struct Search<'a> {
    place: &'a Place,
    families: Families,
    known: &'a Known,
    ttl: Duration,
    /// A question that nobody answered.
    open: Option<Trouble>,
}

impl Search<'_> {
    /// The records of an answered question, `None` for an open one.
    fn read(&mut self, name: &str, kind: Kind) -> Option<Vec<Record>> {
        let question = Question { name: name.to_owned(), kind };
        match self.known.get(&question)? {
            Answer::Records(records, ttl) => {
                self.ttl = self.ttl.min(*ttl);
                Some(records.clone())
            }
            Answer::Nothing(_, ttl) => {
                self.ttl = self.ttl.min(ttl.unwrap_or(TTL_NOTHING));
                Some(Vec::new())
            }
            Answer::Failed(trouble) => {
                self.ttl = TTL_MIN;
                self.open = self.open.or(Some(*trouble));
                Some(Vec::new())
            }
        }
    }

    /// Names of SRV records, best first: what NAPTR says about our transport, else the usual name.
    /// A NAPTR question that fails counts as none: forwarders that drop it are common, and SRV
    /// says the same.
    fn services(&mut self, name: &str) -> Result<Vec<String>, Vec<Question>> {
        let Some(records) = self.read(name, Kind::Naptr) else {
            return Err(vec![Question { name: name.to_owned(), kind: Kind::Naptr }]);
        };
        let (wanted, prefix) = match self.place.transport {
            Transport::Udp => ("SIP+D2U", "_sip._udp."),
            Transport::Tcp => ("SIP+D2T", "_sip._tcp."),
            Transport::Tls => ("SIPS+D2T", "_sips._tcp."),
        };
        let mut rules: Vec<(u16, u16, String)> = Vec::new();
        for record in records {
            if let Record::Naptr { order, preference, flags, service, replacement } = record
                && service == wanted
                && flags == "s"
                && !replacement.is_empty()
            {
                rules.push((order, preference, replacement));
            }
        }
        rules.sort();
        let lowest = rules.first().map(|rule| rule.0);
        let rules = rules.into_iter().filter(|rule| Some(rule.0) == lowest);
        let mut names: Vec<String> = rules.map(|rule| rule.2).take(SERVICES_MAX).collect();
        names.dedup();
        match names.is_empty() {
            true => Ok(vec![format!("{prefix}{name}")]),
            false => Ok(names),
        }
    }

    /// Servers of these services; `None` when there are no SRV records at all, an empty list when
    /// the domain says that there is no such service.
    fn candidates(&mut self, services: &[String]) -> Result<Option<Vec<Candidate>>, Vec<Question>> {
        let mut found: Vec<(usize, u16, Candidate)> = Vec::new();
        let (mut questions, mut any) = (Vec::new(), false);
        for (rank, service) in services.iter().enumerate() {
            let Some(records) = self.read(service, Kind::Srv) else {
                questions.push(Question { name: service.clone(), kind: Kind::Srv });
                continue;
            };
            any |= !records.is_empty();
            for record in records {
                if let Record::Srv { priority, weight, port, target } = record
                    && !target.is_empty()
                {
                    let candidate = Candidate { group: 0, weight, name: target, port };
                    found.push((rank, priority, candidate));
                }
            }
        }
        if !questions.is_empty() {
            return Err(questions);
        }
        if !any {
            return Ok(None);
        }
        found.sort_by_key(|(rank, priority, _)| (*rank, *priority));
        found.truncate(SERVERS_MAX);
        let (mut group, mut last) = (0, None);
        let candidates = found.into_iter().map(|(rank, priority, candidate)| {
            if last.is_some_and(|last| last != (rank, priority)) {
                group += 1;
            }
            last = Some((rank, priority));
            Candidate { group, ..candidate }
        });
        Ok(Some(candidates.collect()))
    }

    /// The end: addresses of the candidates.
    fn addresses(&mut self, candidates: Vec<Candidate>) -> Step {
        let kinds = [(self.families.v4, Kind::A), (self.families.v6, Kind::Aaaa)];
        let (mut questions, mut servers, mut missing) = (Vec::new(), Vec::new(), true);
        for candidate in candidates {
            let mut addresses = Vec::new();
            // An address in place of a name is against RFC 2782, common, and clear.
            if let Ok(address) = candidate.name.parse::<IpAddr>() {
                addresses.push(SocketAddr::new(address, candidate.port));
            } else {
                for (_, kind) in kinds.iter().filter(|(used, _)| *used) {
                    missing &= self.says_missing(&candidate.name, *kind);
                    let Some(records) = self.read(&candidate.name, *kind) else {
                        questions.push(Question { name: candidate.name.clone(), kind: *kind });
                        continue;
                    };
                    let found = records.into_iter().filter_map(|record| match record {
                        Record::Address(ip) => Some(SocketAddr::new(ip, candidate.port)),
                        _ => None,
                    });
                    addresses.extend(found.take(ADDRESSES_MAX));
                }
            }
            if !addresses.is_empty() {
                let Candidate { group, weight, name, .. } = candidate;
                servers.push(Server { group, weight, name, addresses });
            }
        }
        if !questions.is_empty() {
            questions.sort();
            questions.dedup();
            return Step::Ask(questions);
        }
        if servers.is_empty() {
            let absent = if missing { Trouble::NoSuchName } else { Trouble::NoAddress };
            return self.failed(self.open.unwrap_or(absent));
        }
        Step::Found(Found { servers, ttl: held(self.ttl), trouble: self.open })
    }

    fn says_missing(&self, name: &str, kind: Kind) -> bool {
        let question = Question { name: name.to_owned(), kind };
        matches!(self.known.get(&question), Some(Answer::Nothing(true, _)))
    }

    fn failed(&self, trouble: Trouble) -> Step {
        Step::Found(Found { servers: Vec::new(), ttl: held(self.ttl), trouble: Some(trouble) })
    }
}

fn held(ttl: Duration) -> Duration {
    ttl.clamp(TTL_MIN, TTL_MAX)
}

/// Questions are repeated at the earliest after this.
pub const TTL_MIN: Duration = Duration::from_secs(30);
/// Questions are repeated at the latest after this.
pub const TTL_MAX: Duration = Duration::from_secs(3_600);
/// How long the absence of records holds when the zone does not say.
pub const TTL_NOTHING: Duration = Duration::from_secs(300);
/// SRV names that NAPTR may lead to.
pub const SERVICES_MAX: usize = 4;
/// Servers of one place.
pub const SERVERS_MAX: usize = 32;
/// Addresses of one server and family.
pub const ADDRESSES_MAX: usize = 8;

#[cfg(test)]
mod tests;
