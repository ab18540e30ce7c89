//! The keeper against a real kernel: a wire between two namespaces (root only).

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::*;
use crate::io::Endpoint;
use crate::io::frame::Mac;
use crate::io::stage::{FAR, NEAR, Stage};

fn pair(from: &str, to: &str) -> Pair {
    let ip = |text: &str| Endpoint::from(std::net::SocketAddr::new(text.parse().unwrap(), 0)).ip;
    Pair { from: ip(from), to: ip(to) }
}

struct Rig {
    stage: Stage,
    _keeper: Keeper,
    hops: Hops,
    hint: HopHint,
}

/// Runs `test` on the near side of a wire.
fn on_a_wire(test: impl FnOnce(&mut Rig) + Send) {
    let Some(stage) = Stage::build() else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stage.enter_near();
            let (keeper, mut views) = Keeper::start(1).unwrap();
            let hops = views.remove(0);
            test(&mut Rig { stage, _keeper: keeper, hops, hint: HopHint::default() });
        });
    });
}

impl Rig {
    fn find(&mut self, pair: Pair) -> Option<Hop> {
        self.hops.take_answers();
        let found = self.hops.find(&mut self.hint, pair, 1);
        self.hops.ask();
        found
    }

    /// Until what is found fits.
    fn until(&mut self, pair: Pair, fits: impl Fn(Option<Hop>) -> bool) -> Option<Hop> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.find(pair);
            if fits(found) {
                return found;
            }
            assert!(Instant::now() < deadline, "{pair:?}: {found:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Has the kernel look for the neighbour, as a packet that goes its way does.
    fn send(&self, from: &str, to: &str) {
        let from: std::net::IpAddr = from.parse().unwrap();
        let to: std::net::IpAddr = to.parse().unwrap();
        UdpSocket::bind((from, 0)).unwrap().send_to(b"x", (to, 9)).unwrap();
    }

    fn mac_of_far(&self) -> Mac {
        self.stage.at_far(|| mac_of("far"))
    }
}

fn mac_of(link: &str) -> Mac {
    let out = std::process::Command::new("ip").args(["-o", "link", "show", link]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let mac = text.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let octets: Vec<u8> = mac.split(':').map(|o| u8::from_str_radix(o, 16).unwrap()).collect();
    Mac(octets.try_into().unwrap())
}

#[test]
fn a_neighbour_is_found_once_the_kernel_knows_it_in_either_family() {
    on_a_wire(|rig| {
        for (from, to) in NEAR.into_iter().zip(FAR) {
            let pair = pair(from, to);
            assert_eq!(rig.find(pair), None, "the first packet goes by the kernel's way");
            rig.send(from, to);
            let hop = rig.until(pair, |hop| hop.is_some()).unwrap();
            assert_eq!(hop.target, rig.mac_of_far());
            assert_eq!((hop.source, hop.vlan, hop.mtu), (mac_of("near"), None, 1500));
        }
    });
}

#[test]
fn gateways_path_limits_and_policy_rules_count_as_they_do_for_a_socket() {
    on_a_wire(|rig| {
        rig.stage.near("route add 192.0.2.0/24 via 10.99.0.2 mtu 1400");
        rig.stage.near("neigh replace 10.99.0.2 lladdr 02:00:00:00:00:02 dev near");
        rig.stage.near("neigh replace 10.99.0.3 lladdr 02:00:00:00:00:03 dev near");
        rig.stage.near("address add 10.99.0.9/24 dev near");
        rig.stage.near("rule add from 10.99.0.9 table 77");
        rig.stage.near("route add 192.0.2.0/24 via 10.99.0.3 table 77");
        let hop = rig.until(pair(NEAR[0], "192.0.2.5"), |hop| hop.is_some()).unwrap();
        assert_eq!((hop.target, hop.mtu), (Mac([2, 0, 0, 0, 0, 2]), 1400));
        let hop = rig.until(pair("10.99.0.9", "192.0.2.5"), |hop| hop.is_some()).unwrap();
        assert_eq!((hop.target, hop.mtu), (Mac([2, 0, 0, 0, 0, 3]), 1500));
        rig.stage.near("rule del from 10.99.0.9 table 77");
        let second = Some(Mac([2, 0, 0, 0, 0, 2]));
        rig.until(pair("10.99.0.9", "192.0.2.5"), |hop| hop.map(|hop| hop.target) == second);
    });
}

#[test]
fn changes_are_followed_a_moved_neighbour_a_cut_wire_a_new_limit() {
    on_a_wire(|rig| {
        let pair = pair(NEAR[0], FAR[0]);
        for last in [1, 2, 3] {
            let mac = Mac([2, 0, 0, 0, 9, last]);
            rig.stage
                .near(&format!("neigh replace {} lladdr 02:00:00:00:09:0{last} dev near", FAR[0]));
            rig.until(pair, |hop| hop.is_some_and(|hop| hop.target == mac));
        }
        rig.stage.near("link set near mtu 1300");
        rig.until(pair, |hop| hop.is_some_and(|hop| hop.mtu == 1300));
        rig.stage.near("link set near address 02:00:00:00:08:01");
        let mac = Mac([2, 0, 0, 0, 8, 1]);
        rig.until(pair, |hop| hop.is_none_or(|hop| hop.source == mac));
        rig.stage.near("link set near down");
        rig.until(pair, |hop| hop.is_none());
        rig.stage.near("link set near up");
        rig.send(NEAR[0], FAR[0]);
        rig.until(pair, |hop| hop.is_some());
        rig.stage.far("link set far down");
        rig.until(pair, |hop| hop.is_none());
    });
}

#[test]
fn ourselves_nowhere_and_no_ethernet_are_the_kernels_business() {
    on_a_wire(|rig| {
        rig.stage.near("route add blackhole 203.0.113.0/24");
        rig.stage.near(&format!("neigh replace {} lladdr 02:00:00:00:09:01 dev near", FAR[0]));
        for to in ["127.0.0.1", NEAR[0], "203.0.113.5", "198.51.100.1", "10.99.0.255", "224.0.0.5"]
        {
            for _ in 0..3 {
                assert_eq!(rig.find(pair(NEAR[0], to)), None, "{to}");
            }
        }
        // Asked in order: once this one is answered, so are those before it.
        rig.until(pair(NEAR[0], FAR[0]), |hop| hop.is_some());
        for to in ["127.0.0.1", NEAR[0], "203.0.113.5", "198.51.100.1", "10.99.0.255", "224.0.0.5"]
        {
            assert_eq!(rig.find(pair(NEAR[0], to)), None, "{to}");
        }
    });
}

#[test]
fn one_packet_in_a_while_goes_by_the_kernels_way() {
    on_a_wire(|rig| {
        let pair = pair(NEAR[0], FAR[0]);
        rig.send(NEAR[0], FAR[0]);
        rig.until(pair, |hop| hop.is_some());
        let soon = crate::clock::now_ns() + HOP_USE_NS;
        let mut found = |now_ns| rig.hops.find(&mut rig.hint, pair, now_ns).is_some();
        assert!(!found(soon), "for the kernel to confirm the neighbour");
        assert!(found(soon + 1) && found(soon + HOP_USE_NS - 1));
        assert!(!found(soon + HOP_USE_NS));
    });
}

#[test]
fn a_doubted_hop_is_asked_for_again() {
    on_a_wire(|rig| {
        let pair = pair(NEAR[0], FAR[0]);
        rig.send(NEAR[0], FAR[0]);
        rig.until(pair, |hop| hop.is_some());
        rig.hops.doubt(pair);
        assert_eq!(rig.hops.find(&mut rig.hint, pair, 1), None);
        rig.until(pair, |hop| hop.is_some());
    });
}

#[test]
fn more_destinations_than_there_is_room_for_go_by_the_kernels_way_until_others_are_forgotten() {
    on_a_wire(|rig| {
        let to = |n: u32| Pair { from: 1, to: u128::from(n) + 10 };
        let mut hint = HopHint::default();
        for n in 0..HOPS_MAX as u32 {
            rig.hops.find(&mut hint, to(n), 1);
        }
        assert!(rig.hops.vacant.is_empty());
        let reserved = rig.hops.index.capacity();
        let late = pair(NEAR[0], FAR[0]);
        rig.stage.near(&format!("neigh replace {} lladdr 02:00:00:00:09:01 dev near", FAR[0]));
        for _ in 0..3 {
            assert_eq!(rig.find(late), None);
            assert!(!rig.hops.index.contains_key(&late), "no room");
        }
        // The others fall out of use.
        let deadline = Instant::now() + Duration::from_secs(20);
        while rig.hops.vacant.len() < HOPS_MAX {
            (0..HOP_FORGET_STEPS).for_each(|_| rig.hops.keep_house());
            rig.hops.ask();
            assert!(Instant::now() < deadline);
        }
        rig.until(late, |hop| hop.is_some());
        // Room that was given up may be counted less until it is swept; growth would double it.
        assert!(rig.hops.index.capacity() <= reserved, "nothing was allocated");
    });
}
