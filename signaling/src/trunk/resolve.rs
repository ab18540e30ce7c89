//! Host names of trunks: resolved at the start and again and again, away from the loop.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::Host;
use super::table::Addresses;
use crate::plan::LivePlan;

/// Keeps the addresses of all trunks' names and publishes a new table when they change.
///
/// An address that disappears from a name stays a valid source for [`RETIRED_VALID`], because
/// peers keep calling from it. A name that cannot be looked up keeps its last addresses.
pub struct Resolver {
    live: LivePlan,
    lookup: Lookup,
    names: HashMap<String, Known>,
}

/// Looks a name up; an argument so that tests need no network.
pub type Lookup = fn(&str) -> io::Result<Vec<IpAddr>>;

#[derive(Default)]
struct Known {
    current: Vec<IpAddr>,
    retired: Vec<(IpAddr, Instant)>,
    failing: bool,
}

impl Resolver {
    /// A resolver for the names in `live`, by the system's own look-up.
    pub fn new(live: LivePlan) -> Self {
        Self::with_lookup(live, system_lookup)
    }

    /// The same with another look-up.
    pub fn with_lookup(live: LivePlan, lookup: Lookup) -> Self {
        Self { live, lookup, names: HashMap::new() }
    }

    /// Whether any trunk has a name to resolve.
    pub fn is_needed(&self) -> bool {
        !self.wanted().is_empty()
    }

    /// Looks every name up once and publishes the result if it differs. Blocks for as long as the
    /// look-ups take; several run at a time.
    pub fn refresh(&mut self, now: Instant) {
        let wanted = self.wanted();
        let answers = look_up_all(&wanted, self.lookup);
        let before = self.addresses();
        self.names.retain(|name, _| wanted.contains(name));
        for (name, answer) in answers {
            self.names.entry(name.clone()).or_default().take(&name, answer, now);
        }
        let after = self.addresses();
        if before != after {
            self.live.resolve(after);
        }
    }

    fn wanted(&self) -> BTreeSet<String> {
        let table = self.live.table();
        let hosts = table.iter().filter(|trunk| trunk.enabled).flat_map(|trunk| {
            let proxy = trunk.outbound_proxy.as_ref().map(|proxy| &proxy.host);
            std::iter::once(&trunk.host).chain(proxy)
        });
        hosts
            .filter_map(|host| match host {
                Host::Name(name) => Some(name.clone()),
                Host::Address(_) => None,
            })
            .collect()
    }

    fn addresses(&self) -> HashMap<String, Addresses> {
        let plain = |known: &Known| Addresses {
            current: known.current.clone(),
            retired: known.retired.iter().map(|(address, _)| *address).collect(),
        };
        self.names.iter().map(|(name, known)| (name.clone(), plain(known))).collect()
    }
}

impl Known {
    fn take(&mut self, name: &str, answer: io::Result<Vec<IpAddr>>, now: Instant) {
        self.retired.retain(|(_, since)| now.duration_since(*since) < RETIRED_VALID);
        let problem = match answer {
            Ok(addresses) if !addresses.is_empty() => {
                let gone = self.current.iter().filter(|old| !addresses.contains(old));
                self.retired.extend(gone.map(|address| (*address, now)));
                self.retired.retain(|(address, _)| !addresses.contains(address));
                self.current = addresses;
                self.failing = false;
                return;
            }
            Ok(_) => String::from("the name has no address"),
            Err(cause) => cause.to_string(),
        };
        if !self.failing {
            self.failing = true;
            tracing::warn!(
                name,
                problem,
                kept = self.current.len(),
                "a trunk's host name does not resolve; check the name and the DNS servers"
            );
        }
    }
}

fn look_up_all(names: &BTreeSet<String>, lookup: Lookup) -> Vec<(String, io::Result<Vec<IpAddr>>)> {
    let names: Vec<&String> = names.iter().collect();
    let mut answers = Vec::with_capacity(names.len());
    for batch in names.chunks(LOOKUPS_AT_ONCE) {
        std::thread::scope(|scope| {
            let running: Vec<_> =
                batch.iter().map(|name| (*name, scope.spawn(move || lookup(name)))).collect();
            for (name, thread) in running {
                let broken = |_| Err(io::Error::other("the look-up broke off"));
                answers.push((name.clone(), thread.join().unwrap_or_else(broken)));
            }
        });
    }
    answers
}

fn system_lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for socket in (name, 0).to_socket_addrs()? {
        let address = socket.ip().to_canonical();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// How long an address that left a name is still accepted as a source.
pub const RETIRED_VALID: Duration = Duration::from_secs(600);
/// Time between look-ups. The system's look-up tells no TTL; this is within 30 s and 1 h.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// Look-ups that run at a time.
pub const LOOKUPS_AT_ONCE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::trunk::{Called, Origin, attribute};
    use sip::endpoint::Transport;
    use std::path::Path;

    const TEXT: &str = r#"
        [sip]
        udp = ["192.0.2.1:5060"]
        [[trunk]]
        name = "carrier"
        host = "sip.carrier.example"
    "#;

    fn live() -> LivePlan {
        LivePlan::new(config::parse(TEXT, Path::new(".")).unwrap().plan())
    }

    fn from(source: &str) -> Origin {
        Origin {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            source: source.parse().unwrap(),
            peer: None,
            opened_for: None,
        }
    }

    #[test]
    fn names_become_targets_and_sources() {
        let live = live();
        let caller = from("198.51.100.7:5060");
        assert!(attribute(&live.table(), &caller, Called::default()).is_err());
        let mut resolver = Resolver::with_lookup(live.clone(), |name| {
            assert_eq!(name, "sip.carrier.example");
            Ok(vec!["198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap()])
        });
        assert!(resolver.is_needed());
        resolver.refresh(Instant::now());
        let table = live.table();
        let id = table.by_name("carrier").unwrap().id;
        assert_eq!(attribute(&table, &caller, Called::default()), Ok(id));
        assert_eq!(attribute(&table, &from("[2001:db8::7]:9"), Called::default()), Ok(id));
        let targets: Vec<String> = table.targets(id).iter().map(ToString::to_string).collect();
        assert_eq!(targets, ["198.51.100.7:5060", "[2001:db8::7]:5060"]);
        assert_eq!(table.hop(id).unwrap().tag, id.tag());
    }

    #[test]
    fn a_retired_address_stays_a_source_for_a_while() {
        let live = live();
        let start = Instant::now();
        let mut resolver =
            Resolver::with_lookup(live.clone(), |_| Ok(vec!["198.51.100.7".parse().unwrap()]));
        resolver.refresh(start);
        resolver.lookup = |_| Ok(vec!["198.51.100.8".parse().unwrap()]);
        resolver.refresh(start);
        let old = from("198.51.100.7:5060");
        assert!(attribute(&live.table(), &old, Called::default()).is_ok());
        let id = live.table().by_name("carrier").unwrap().id;
        assert_eq!(live.table().targets(id), ["198.51.100.8:5060".parse().unwrap()]);
        resolver.refresh(start + RETIRED_VALID);
        assert!(attribute(&live.table(), &old, Called::default()).is_err());
    }

    #[test]
    fn a_failing_name_keeps_its_addresses() {
        let live = live();
        let start = Instant::now();
        let mut resolver =
            Resolver::with_lookup(live.clone(), |_| Ok(vec!["198.51.100.7".parse().unwrap()]));
        resolver.refresh(start);
        resolver.lookup = |_| Err(io::Error::other("no answer"));
        resolver.refresh(start + RETIRED_VALID * 2);
        resolver.lookup = |_| Ok(Vec::new());
        resolver.refresh(start + RETIRED_VALID * 3);
        let caller = from("198.51.100.7:5060");
        assert!(attribute(&live.table(), &caller, Called::default()).is_ok());
    }
}
