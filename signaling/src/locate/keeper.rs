//! When each place is asked for again, and which addresses are still accepted as sources. Pure:
//! time and answers come in.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Found, Located, Place, Trouble};
use crate::trunk::Host;

/// All places of the configuration with what they stand for.
#[derive(Debug, Default)]
pub struct Keeper {
    places: HashMap<Place, Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    located: Located,
    retired: Vec<(IpAddr, Instant)>,
    /// `None` while the question is out.
    due: Option<Instant>,
    trouble: Option<Trouble>,
}

impl Keeper {
    /// The places that are wanted from now on. New ones are due at once; what is not wanted any
    /// more is forgotten. Literal addresses need no keeping.
    pub fn follow(&mut self, wanted: &BTreeSet<Place>, now: Instant) {
        self.places.retain(|place, _| wanted.contains(place));
        for place in wanted.iter().filter(|place| matches!(place.host, Host::Name(_))) {
            let new = || Kept { due: Some(now), ..Kept::default() };
            self.places.entry(place.clone()).or_insert_with(new);
        }
    }

    /// At most `room` places to ask for now; each counts as asked until [`Keeper::take`].
    pub fn due(&mut self, now: Instant, room: usize) -> Vec<Place> {
        let due = self.places.iter_mut().filter(|(_, kept)| kept.due.is_some_and(|at| at <= now));
        let mut chosen: Vec<Place> = Vec::new();
        for (place, kept) in due.take(room) {
            kept.due = None;
            chosen.push(place.clone());
        }
        chosen
    }

    /// When there is something to do next: a question, or the end of a retired address.
    pub fn next(&self) -> Option<Instant> {
        let due = self.places.values().filter_map(|kept| kept.due);
        let retired = self.places.values().flat_map(|kept| &kept.retired);
        due.chain(retired.map(|(_, since)| *since + RETIRED_VALID)).min()
    }

    /// Takes the result of a search. `true` when what the place stands for has changed.
    ///
    /// An address that disappears stays a valid source for [`RETIRED_VALID`], because peers keep
    /// calling from it. A place that cannot be located keeps its servers.
    pub fn take(&mut self, place: &Place, found: Found, now: Instant) -> bool {
        let Some(kept) = self.places.get_mut(place) else { return false };
        kept.due = Some(now + found.ttl);
        let name = place.host.to_string();
        if let Some(trouble) = found.trouble
            && kept.trouble != Some(trouble)
        {
            let known = kept.located.servers.len();
            let (problem, remedy) = (trouble.as_str(), trouble.remedy());
            tracing::warn!(name, problem, remedy, known, "a trunk's host is not located");
        }
        kept.trouble = found.trouble;
        let keep = found.trouble.is_some() && !kept.located.servers.is_empty();
        if keep || found.servers == kept.located.servers {
            return false;
        }
        let gone: Vec<IpAddr> = kept.located.current().map(|address| address.ip()).collect();
        kept.located.servers = found.servers;
        let current: Vec<IpAddr> = kept.located.current().map(|address| address.ip()).collect();
        kept.retired.extend(gone.into_iter().map(|address| (address, now)));
        kept.retired.retain(|(address, _)| !current.contains(address));
        kept.retired.sort_by_key(|(address, since)| (*address, std::cmp::Reverse(*since)));
        kept.retired.dedup_by_key(|(address, _)| *address);
        kept.publish_retired();
        true
    }

    /// Forgets addresses that were retired long enough ago. `true` when there were any.
    pub fn expire(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for kept in self.places.values_mut() {
            let before = kept.retired.len();
            kept.retired.retain(|(_, since)| *since + RETIRED_VALID > now);
            if kept.retired.len() != before {
                kept.publish_retired();
                changed = true;
            }
        }
        changed
    }

    /// What every place stands for.
    pub fn located(&self) -> HashMap<Place, Located> {
        let all = self.places.iter();
        all.map(|(place, kept)| (place.clone(), kept.located.clone())).collect()
    }

    /// Why a place is not, or only partly, located.
    pub fn trouble(&self, place: &Place) -> Option<Trouble> {
        self.places.get(place)?.trouble
    }

    /// Whether there is anything to keep.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl Kept {
    fn publish_retired(&mut self) {
        self.located.retired = self.retired.iter().map(|(address, _)| *address).collect();
    }
}

/// How long an address that left a name is still accepted as a source.
pub const RETIRED_VALID: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use sip::endpoint::Transport;

    use super::super::Server;
    use super::*;

    fn place(name: &str) -> Place {
        Place { host: Host::Name(name.into()), port: None, transport: Transport::Udp }
    }

    fn found(lasts: &[u8], ttl: u64) -> Found {
        let addresses: Vec<SocketAddr> =
            lasts.iter().map(|last| SocketAddr::from(([192, 0, 2, *last], 5060))).collect();
        let server = Server { group: 0, weight: 0, name: "a".into(), addresses };
        Found { servers: vec![server], ttl: Duration::from_secs(ttl), trouble: None }
    }

    fn lost(trouble: Trouble) -> Found {
        let ttl = Duration::from_secs(30);
        Found { servers: Vec::new(), ttl, trouble: Some(trouble) }
    }

    struct Scene {
        keeper: Keeper,
        now: Instant,
        place: Place,
    }

    impl Scene {
        fn new() -> Self {
            let (mut keeper, now, place) = (Keeper::default(), Instant::now(), place("a.example"));
            keeper.follow(&BTreeSet::from([place.clone()]), now);
            assert_eq!(keeper.due(now, 9), std::slice::from_ref(&place));
            assert!(keeper.due(now, 9).is_empty(), "one question at a time");
            Self { keeper, now, place }
        }

        fn take(&mut self, found: Found) -> bool {
            self.keeper.take(&self.place, found, self.now)
        }

        fn lasts(&self) -> (Vec<u8>, Vec<u8>) {
            let located = &self.keeper.located()[&self.place];
            let last = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.octets()[3],
                IpAddr::V6(_) => 0,
            };
            let current = located.current().map(|address| last(address.ip())).collect();
            (current, located.retired.iter().map(|ip| last(*ip)).collect())
        }
    }

    #[test]
    fn a_place_is_asked_for_again_when_its_ttl_is_over() {
        let mut scene = Scene::new();
        assert_eq!(scene.keeper.next(), None);
        assert!(scene.take(found(&[1], 45)));
        let due = scene.now + Duration::from_secs(45);
        assert_eq!(scene.keeper.next(), Some(due));
        assert!(scene.keeper.due(due - Duration::from_millis(1), 9).is_empty());
        assert_eq!(scene.keeper.due(due, 9), std::slice::from_ref(&scene.place));
        assert!(!scene.take(found(&[1], 45)), "nothing new");
    }

    #[test]
    fn an_address_that_left_stays_a_source_for_ten_minutes() {
        let mut scene = Scene::new();
        scene.take(found(&[1, 2], 3_600));
        assert!(scene.take(found(&[2, 3], 3_600)));
        assert_eq!(scene.lasts(), (vec![2, 3], vec![1]));
        let end = scene.now + RETIRED_VALID;
        assert_eq!(scene.keeper.next(), Some(end));
        assert!(!scene.keeper.expire(end - Duration::from_millis(1)));
        assert_eq!(scene.lasts().1, [1]);
        assert!(scene.keeper.expire(end));
        assert_eq!(scene.lasts(), (vec![2, 3], vec![]));
    }

    #[test]
    fn an_address_that_comes_back_is_retired_no_longer() {
        let mut scene = Scene::new();
        scene.take(found(&[1], 30));
        scene.take(found(&[2], 30));
        scene.take(found(&[1], 30));
        assert_eq!(scene.lasts(), (vec![1], vec![2]));
        scene.now += Duration::from_secs(60);
        scene.take(found(&[2], 30));
        scene.take(found(&[3], 30));
        assert_eq!(scene.lasts(), (vec![3], vec![1, 2]), "once each, from the last time");
        assert!(!scene.keeper.expire(scene.now + RETIRED_VALID - Duration::from_millis(1)));
        assert!(scene.keeper.expire(scene.now + RETIRED_VALID));
    }

    #[test]
    fn trouble_keeps_what_is_known_and_is_told() {
        let mut scene = Scene::new();
        assert!(!scene.take(lost(Trouble::Timeout)), "nothing is known yet");
        assert_eq!(scene.keeper.trouble(&scene.place), Some(Trouble::Timeout));
        scene.take(found(&[1], 30));
        assert_eq!(scene.keeper.trouble(&scene.place), None);
        for trouble in [Trouble::Timeout, Trouble::NoSuchName, Trouble::ServerFailure] {
            assert!(!scene.take(lost(trouble)));
            assert_eq!(scene.lasts().0, [1]);
        }
        // Half an answer does not replace a whole one.
        let half = Found { trouble: Some(Trouble::Timeout), ..found(&[9], 30) };
        assert!(!scene.take(half));
        assert_eq!(scene.lasts().0, [1]);
        let due = scene.now + Duration::from_secs(30);
        assert_eq!(scene.keeper.due(due, 9).len(), 1, "it is asked for again soon");
    }

    #[test]
    fn places_come_and_go_with_the_configuration() {
        let mut scene = Scene::new();
        let literal = Place { host: Host::parse("192.0.2.1").unwrap(), ..scene.place.clone() };
        let other = place("b.example");
        scene.keeper.follow(&BTreeSet::from([other.clone(), literal]), scene.now);
        assert_eq!(scene.keeper.due(scene.now, 9), [other]);
        assert!(!scene.take(found(&[1], 30)), "an answer that comes too late is no news");
        scene.keeper.follow(&BTreeSet::new(), scene.now);
        assert!(scene.keeper.is_empty());
        assert_eq!(scene.keeper.next(), None);
    }
}
