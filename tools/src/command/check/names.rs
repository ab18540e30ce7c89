//! Where the trunks' hosts are, asked as the gateway asks: NAPTR, SRV, addresses (RFC 3263 §4).

use std::net::SocketAddr;
use std::time::Duration;

use signaling::config::Config;
use signaling::locate::resolver::Reach;
use signaling::locate::{Dns, Families, Found, Place};

use super::Finding;

/// One finding for each next hop of each enabled trunk; all are asked at once.
pub fn findings(config: &Config) -> Vec<Finding> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let remedy = "raise the limits of open files and processes";
            return vec![Finding::fail(
                "dns",
                format!("names cannot be asked for: {error}"),
                remedy,
            )];
        }
    };
    runtime.block_on(async {
        let (dns, reach) = (Dns::new(&config.dns.servers), reach(config));
        let mut asked = Vec::new();
        for trunk in config.trunks.iter().filter(|trunk| trunk.enabled) {
            for place in trunk.next_hops() {
                let (dns, families) = (dns.clone(), reach.of(place.transport));
                let name = format!("trunk {}", trunk.name);
                asked.push(tokio::spawn(async move { ask(&dns, name, &place, families).await }));
            }
        }
        let mut found = Vec::new();
        for one in asked {
            found.extend(one.await);
        }
        found
    })
}

/// Without a listener of a family, its addresses are of no use.
fn reach(config: &Config) -> Reach {
    let of = |listeners: &[SocketAddr]| Families::of(listeners.iter().copied());
    let sip = &config.sip;
    Reach { udp: of(&sip.udp), tcp: of(&sip.tcp), tls: of(&sip.tls) }
}

async fn ask(dns: &Dns, name: String, place: &Place, families: Families) -> Finding {
    let mut slowest = Duration::ZERO;
    let mut questions = 0;
    let found = dns
        .locate(place, families, &mut |_, _, took| {
            questions += 1;
            slowest = slowest.max(took);
        })
        .await;
    judge(&name, &place.host.to_string(), &found, questions, slowest)
}

fn judge(name: &str, host: &str, found: &Found, questions: usize, slowest: Duration) -> Finding {
    let addresses = found.servers.iter().flat_map(|server| &server.addresses);
    let shown: Vec<String> = addresses.take(SHOWN).map(ToString::to_string).collect();
    let took = match questions {
        0 => String::new(),
        _ => format!(" ({questions} questions, the slowest {} ms)", slowest.as_millis()),
    };
    match found.trouble {
        Some(trouble) if shown.is_empty() => {
            let what = format!("{host} has no address: {}{took}", trouble.as_str());
            Finding::warn(name, what, trouble.remedy())
        }
        _ if slowest > SLOW => {
            let what = format!("{host} is {}{took}", shown.join(", "));
            Finding::warn(name, what, "name nearer servers in [dns] servers: calls wait for them")
        }
        _ => Finding::ok(name, format!("{host} is {}{took}", shown.join(", "))),
    }
}

/// Addresses named in a finding.
const SHOWN: usize = 4;
/// A caller hears nothing meanwhile.
const SLOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use signaling::locate::{Server, Trouble};

    use super::super::{OK, WARN};
    use super::*;

    #[test]
    fn what_was_found_how_slowly_and_why_not_is_told() {
        let server = Server {
            group: 0,
            weight: 0,
            name: String::from("sbc.example.com"),
            addresses: vec!["192.0.2.7:5061".parse().unwrap()],
        };
        let found = |servers, trouble| Found { servers, ttl: Duration::ZERO, trouble };
        let good = found(vec![server], None);
        let fast = judge("trunk a", "a.example.com", &good, 3, Duration::from_millis(7));
        assert_eq!(fast.level, OK);
        assert_eq!(fast.what, "a.example.com is 192.0.2.7:5061 (3 questions, the slowest 7 ms)");
        let slow = judge("trunk a", "a.example.com", &good, 3, Duration::from_secs(2));
        assert_eq!(slow.level, WARN);
        let none = found(Vec::new(), Some(Trouble::Timeout));
        let none = judge("trunk a", "a.example.com", &none, 1, Duration::from_secs(4));
        assert_eq!(none.level, WARN);
        assert!(none.what.contains("no DNS server answers") && none.remedy.contains("[dns]"));
    }
}
