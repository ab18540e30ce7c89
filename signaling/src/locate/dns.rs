//! Questions to the DNS, by hickory. Answers are kept by nobody here: the keeper knows the TTLs.
//!
//! DNSSEC is off (RUSTSEC-2026-0118). Each question has a random port and number of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};

use super::search::Known;
use super::{Answer, Families, Found, Kind, Place, Question, Record, Step, Trouble, step};

/// A way to ask. Clones share it.
#[derive(Clone)]
pub struct Dns(Option<Arc<TokioResolver>>);

/// What an observer of a search is told of each question: the question, its answer, how long that
/// took.
pub type Observer<'o> = &'o mut (dyn FnMut(&Question, &Answer, Duration) + Send);

impl Dns {
    /// Asks these servers, or without any those of the system. Without a usable system
    /// configuration names get [`Trouble::Timeout`].
    pub fn new(servers: &[SocketAddr]) -> Self {
        let system = || hickory_resolver::system_conf::read_system_conf().ok();
        let mut options = options();
        let config = match (servers, servers.is_empty().then(system).flatten()) {
            ([], Some((config, theirs))) => {
                options.ndots = theirs.ndots;
                config
            }
            _ => configured(servers),
        };
        Self::build(config, options)
    }

    /// The same with a shorter patience, for tests.
    #[cfg(test)]
    pub(crate) fn with_patience(servers: &[SocketAddr], timeout: Duration) -> Self {
        let mut options = options();
        (options.timeout, options.attempts) = (timeout, 1);
        Self::build(configured(servers), options)
    }

    fn build(config: ResolverConfig, options: ResolverOpts) -> Self {
        let provider = TokioRuntimeProvider::default();
        let builder = Resolver::builder_with_config(config, provider).with_options(options);
        let built = builder.build().inspect_err(|cause| {
            tracing::warn!(%cause, "names cannot be looked up; check [dns] servers");
        });
        Self(built.ok().map(Arc::new))
    }

    /// Locates a place: as many rounds as it takes, the questions of one round at once.
    pub async fn locate(&self, place: &Place, families: Families, observer: Observer<'_>) -> Found {
        let mut known = Known::new();
        for _ in 0..ROUNDS_MAX {
            let questions = match step(place, families, &known) {
                Step::Found(found) => return found,
                Step::Ask(questions) => questions,
            };
            let mut asked = tokio::task::JoinSet::new();
            for question in questions {
                let dns = self.clone();
                asked.spawn(async move {
                    let start = Instant::now();
                    let answer = dns.ask(&question).await;
                    (question, answer, start.elapsed())
                });
            }
            while let Some(done) = asked.join_next().await {
                let Ok((question, answer, took)) = done else { continue };
                observer(&question, &answer, took);
                known.insert(question, answer);
            }
        }
        let ttl = super::search::TTL_MIN;
        Found { servers: Vec::new(), ttl, trouble: Some(Trouble::ServerFailure) }
    }

    /// Asks one question.
    pub async fn ask(&self, question: &Question) -> Answer {
        let Ok(mut name) = Name::from_ascii(&question.name) else {
            return Answer::Failed(Trouble::BadName);
        };
        // A name with a dot is whole; one without may be completed by the system's search list.
        let addresses = matches!(question.kind, Kind::A | Kind::Aaaa);
        if question.name.contains('.') || !addresses {
            name.set_fqdn(true);
        }
        let kind = match question.kind {
            Kind::Naptr => RecordType::NAPTR,
            Kind::Srv => RecordType::SRV,
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
        };
        let Some(resolver) = &self.0 else { return Answer::Failed(Trouble::Timeout) };
        let lookup = match resolver.lookup(name, kind).await {
            Ok(lookup) => lookup,
            Err(error) => return refusal(&error),
        };
        let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
        let records: Vec<Record> =
            lookup.answers().iter().filter_map(|record| read(&record.data)).collect();
        match records.is_empty() {
            true => Answer::Nothing(false, None),
            false => Answer::Records(records, Duration::from_secs(ttl.into())),
        }
    }
}

fn configured(servers: &[SocketAddr]) -> ResolverConfig {
    let one = |server: &SocketAddr| {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = server.port();
        }
        NameServerConfig::new(server.ip(), true, connections)
    };
    ResolverConfig::from_name_servers(servers.iter().map(one).collect())
}

fn options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = TIMEOUT;
    options.attempts = ATTEMPTS;
    options.cache_size = 0;
    options.edns0 = true;
    options.use_hosts_file = ResolveHosts::Always;
    options
}

fn read(data: &RData) -> Option<Record> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match data {
        RData::A(address) => Some(Record::Address(address.0.into())),
        RData::AAAA(address) => {
            Some(Record::Address(std::net::IpAddr::from(address.0).to_canonical()))
        }
        RData::SRV(srv) => Some(Record::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: plain(&srv.target),
        }),
        RData::NAPTR(rule) => Some(Record::Naptr {
            order: rule.order,
            preference: rule.preference,
            flags: text(&rule.flags).to_ascii_lowercase(),
            service: text(&rule.services).to_ascii_uppercase(),
            replacement: plain(&rule.replacement),
        }),
        _ => None,
    }
}

/// Lower case, without trailing dot; the root is empty.
fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn refusal(error: &NetError) -> Answer {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let ttl = none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
            Answer::Nothing(error.is_nx_domain(), ttl)
        }
        NetError::Dns(_) | NetError::Proto(_) => Answer::Failed(Trouble::ServerFailure),
        _ => Answer::Failed(Trouble::Timeout),
    }
}

/// How long one server has for one answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Times that each is asked again.
const ATTEMPTS: usize = 2;
/// NAPTR, SRV, addresses, and one to spare.
const ROUNDS_MAX: usize = 4;

#[cfg(test)]
mod tests;
