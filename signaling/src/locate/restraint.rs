//! Peers that are overloaded and say so (RFC 7339): they ask for a part of our new calls to stay away,
//! and exactly that part does. What they say ends with its validity, so that a peer that says no more
//! gets everything again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip::wire::Via;

/// What overloaded peers ask for.
#[derive(Debug, Default)]
pub struct Restraint {
    peers: HashMap<SocketAddr, Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Part of new calls that stays away, of a hundred.
    percent: u32,
    until: Instant,
    sequence: Sequence,
    /// Parts of a call, of a hundred, that should have stayed away and did not yet.
    owed: u32,
}

/// `oc-seq`: seconds and their fraction in 100,000ths (RFC 7339 §4.4).
type Sequence = Option<(u64, u32)>;

impl Restraint {
    /// Takes what a response says in the Via that we put into its request (RFC 7339 §4). What is not
    /// understood is not there.
    pub fn heard(&mut self, address: SocketAddr, now: Instant, via: &Via) {
        let text = |name: &str| {
            let value = via.params.get(name).filter(|value| !value.is_empty())?;
            std::str::from_utf8(value).ok()
        };
        let Some(percent) = text("oc").and_then(|text| text.parse::<u32>().ok()) else { return };
        let algorithm = text("oc-algo").map(|text| text.trim_matches('"'));
        if percent > 100 || algorithm.is_some_and(|name| !name.eq_ignore_ascii_case("loss")) {
            return;
        }
        let sequence = text("oc-seq").and_then(sequence);
        let before = self.peers.get(&address);
        if before.is_some_and(|before| sequence.is_some() && sequence < before.sequence) {
            return;
        }
        let validity = match text("oc-validity") {
            None => VALIDITY,
            Some(text) => match text.parse() {
                Ok(ms) => Duration::from_millis(ms).min(VALIDITY_MAX),
                Err(_) => return,
            },
        };
        if percent == 0 || validity.is_zero() {
            self.peers.remove(&address);
            return;
        }
        let owed = before.map_or(0, |before| before.owed);
        if before.is_none() && self.peers.len() >= PEERS_MAX {
            self.peers.retain(|_, asked| asked.until > now);
            if self.peers.len() >= PEERS_MAX {
                return;
            }
        }
        self.peers.insert(address, Asked { percent, until: now + validity, sequence, owed });
    }

    /// Whether the next new call to the address stays away.
    pub fn sheds(&mut self, address: SocketAddr, now: Instant) -> bool {
        let Some(asked) = self.peers.get_mut(&address) else { return false };
        if asked.until <= now {
            self.peers.remove(&address);
            return false;
        }
        asked.owed += asked.percent;
        let stays_away = asked.owed >= 100;
        asked.owed -= if stays_away { 100 } else { 0 };
        stays_away
    }
}

fn sequence(text: &str) -> Option<(u64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = fraction.get(..FRACTION_DIGITS.min(fraction.len()))?;
    let padded = format!("{digits:0<FRACTION_DIGITS$}");
    Some((seconds.parse().ok()?, padded.parse().ok()?))
}

/// How long a restraint holds that does not say (RFC 7339 §4.3).
pub const VALIDITY: Duration = Duration::from_millis(500);
/// The longest that is believed.
pub const VALIDITY_MAX: Duration = Duration::from_secs(600);
/// Peers whose restraint is remembered; beyond it the newest says nothing.
pub const PEERS_MAX: usize = 4_096;
/// Digits of a fraction in `oc-seq`.
const FRACTION_DIGITS: usize = 5;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const PEER: ([u8; 4], u16) = ([192, 0, 2, 1], 5060);

    fn via(parameters: &str) -> Via {
        let text = format!("SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx{parameters}");
        Via::parse(&Bytes::from(text)).unwrap()
    }

    fn shed_of(restraint: &mut Restraint, calls: usize, now: Instant) -> usize {
        (0..calls).filter(|_| restraint.sheds(PEER.into(), now)).count()
    }

    #[test]
    fn exactly_the_part_stays_away_that_was_asked_for() {
        let now = Instant::now();
        for percent in [0, 1, 20, 33, 50, 99, 100] {
            let mut restraint = Restraint::default();
            let said = format!(";oc={percent};oc-algo=\"loss\";oc-validity=1000;oc-seq=1.5");
            restraint.heard(PEER.into(), now, &via(&said));
            assert_eq!(shed_of(&mut restraint, 1_000, now), percent * 10, "{percent} %");
            assert!(!restraint.sheds(([192, 0, 2, 2], 5060).into(), now), "another peer");
            let later = now + Duration::from_millis(1_000);
            assert_eq!(shed_of(&mut restraint, 100, later), 0, "it ends by itself");
        }
    }

    #[test]
    fn what_is_not_understood_or_older_says_nothing() {
        let now = Instant::now();
        let mut restraint = Restraint::default();
        for said in [
            "",
            ";oc",
            ";oc=x",
            ";oc=-1",
            ";oc=101",
            ";oc=4294967296",
            ";oc=50;oc-algo=\"rate\"",
            ";oc=50;oc-validity=x",
            ";oc=50;oc-validity=0",
        ] {
            restraint.heard(PEER.into(), now, &via(said));
            assert_eq!(shed_of(&mut restraint, 10, now), 0, "{said}");
        }
        restraint.heard(PEER.into(), now, &via(";oc=100;oc-seq=7.2"));
        restraint.heard(PEER.into(), now, &via(";oc=0;oc-seq=7.19"));
        restraint.heard(PEER.into(), now, &via(";oc=10;oc-seq=6.9"));
        assert_eq!(shed_of(&mut restraint, 10, now), 10, "7.19 and 6.9 came before 7.2");
        assert_eq!(shed_of(&mut restraint, 10, now + VALIDITY), 0);
        restraint.heard(PEER.into(), now, &via(";oc=100;oc-seq=8"));
        restraint.heard(PEER.into(), now, &via(";oc=0;oc-seq=8.1"));
        assert_eq!(shed_of(&mut restraint, 10, now), 0, "taken back");
    }

    #[test]
    fn peers_that_are_remembered_are_limited() {
        let (now, mut restraint) = (Instant::now(), Restraint::default());
        let peer = |n: usize| SocketAddr::from(([10, 0, 0, 1], u16::try_from(n).unwrap()));
        for n in 0..=PEERS_MAX {
            restraint.heard(peer(n), now, &via(";oc=100"));
        }
        assert!(restraint.sheds(peer(0), now) && !restraint.sheds(peer(PEERS_MAX), now));
        // Those that are over make room.
        restraint.heard(peer(PEERS_MAX), now + VALIDITY, &via(";oc=100"));
        assert!(restraint.sheds(peer(PEERS_MAX), now + VALIDITY));
    }
}
