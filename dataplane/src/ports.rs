//! Leases of RTP/RTCP port pairs on each media network, from one worker's sub-range.
//!
//! A network has one or more addresses of either family, and each address one queue of pairs, oldest
//! first, each with the time from which it may be leased. Pairs enter at the back and always with the
//! same delay (those that come from other workers where they belong), so the front is the first to
//! become free and one look at it decides.
//!
//! ```text
//! front                                            back
//! 10004 (now)  10006 (now)  10000 (in 3 s)  10002 (in 5 s)
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use abi::Family;

use crate::commons::{Commons, Pair};
use crate::limits::{ADDRESSES_MAX, COMMONS_STEP, COOL_DOWN_NS, LEASE_TRIES};
use crate::topology::PortPairs;

/// A leased pair: RTP on `even`, RTCP on the odd port above it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    pub network: usize,
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
}

/// Why no pair could be leased.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseError {
    /// The network index is not configured.
    UnknownNetwork,
    /// The network has no address of this family.
    FamilyAbsent,
    /// Every pair is leased, cooling down or held by another program, or the address has left the
    /// host.
    PortsExhausted,
    /// The process or the system has no descriptor (or socket memory) left.
    DescriptorsExhausted,
}

/// The port pairs of one worker.
pub struct Ports {
    networks: Vec<Vec<Place>>,
}

/// One address.
struct Place {
    address: IpAddr,
    queue: VecDeque<Pair>,
    leased: usize,
}

impl Ports {
    /// Every pair of `pairs` on each address of each network, and room for `most` pairs on each, all
    /// workers' together.
    pub fn new(networks: &[Vec<IpAddr>], pairs: PortPairs, most: usize) -> Ports {
        let place = |address: &IpAddr| {
            let mut queue = VecDeque::with_capacity(most.max(pairs.count.into()));
            queue.extend(pairs.iter().map(|even| Pair { even, free_at_ns: 0 }));
            Place { address: *address, queue, leased: 0 }
        };
        let network = |addresses: &Vec<IpAddr>| addresses.iter().map(place).collect();
        Ports { networks: networks.iter().map(network).collect() }
    }

    /// Leases a pair on that address of `family` which has the most free ones; [`Family::Any`] is the
    /// family of the network's first address. It is the oldest free pair of which `open` can open
    /// both ports; pairs that other programs hold go to the back of the queue.
    ///
    /// # Errors
    /// [`LeaseError`]; nothing stays open and no pair is lost then.
    pub fn lease<S>(
        &mut self,
        network: usize,
        family: Family,
        now_ns: u64,
        mut open: impl FnMut(SocketAddr) -> io::Result<S>,
    ) -> Result<(Lease, S, S), LeaseError> {
        let places = self.networks.get_mut(network).ok_or(LeaseError::UnknownNetwork)?;
        let first = places.first().ok_or(LeaseError::UnknownNetwork)?.address;
        let family = if family == Family::Any { Family::of(first) } else { family };
        if !places.iter().any(|place| Family::of(place.address) == family) {
            return Err(LeaseError::FamilyAbsent);
        }
        // Addresses that turned out to be no longer this host's.
        let mut gone = 0_u32;
        for _ in 0..LEASE_TRIES {
            let (index, place) =
                best(places, family, gone, now_ns).ok_or(LeaseError::PortsExhausted)?;
            let pair = place.take(now_ns).ok_or(LeaseError::PortsExhausted)?;
            let rtp = SocketAddr::new(place.address, pair.even);
            let rtcp = SocketAddr::new(place.address, pair.even | 1);
            let opened = open(rtp).and_then(|first| Ok((first, open(rtcp)?)));
            let error = match opened {
                Ok((first, second)) => {
                    place.leased += 1;
                    return Ok((Lease { network, rtp, rtcp }, first, second));
                }
                Err(error) => error,
            };
            match error.kind() {
                io::ErrorKind::AddrInUse => place.rest(pair.even, now_ns),
                io::ErrorKind::AddrNotAvailable | io::ErrorKind::PermissionDenied => {
                    place.queue.push_front(pair);
                    gone |= 1 << index;
                }
                _ => {
                    place.queue.push_front(pair);
                    return Err(LeaseError::DescriptorsExhausted);
                }
            }
        }
        Err(LeaseError::PortsExhausted)
    }

    /// Takes a pair back; it rests for [`COOL_DOWN_NS`].
    pub fn give_back(&mut self, lease: Lease, now_ns: u64) {
        let places = self.networks.get_mut(lease.network).into_iter().flatten();
        for place in places.filter(|place| place.address == lease.rtp.ip()) {
            place.leased = place.leased.saturating_sub(1);
            place.rest(lease.rtp.port(), now_ns);
        }
    }

    /// Takes a step toward having `share` pairs of each address: what is too much goes to the
    /// commons, what is missing is taken from there, at most [`COMMONS_STEP`] pairs an address.
    pub fn settle(&mut self, commons: &Commons, share: usize, now_ns: u64) {
        for (number, place) in self.networks.iter_mut().flatten().enumerate() {
            let Some(common) = commons.of(number) else { continue };
            let owned = place.owned();
            for _ in 0..owned.saturating_sub(share).min(COMMONS_STEP) {
                let Some(pair) = place.queue.pop_front() else { break };
                if let Err(pair) = common.push(pair) {
                    place.queue.push_front(pair);
                    break;
                }
            }
            for _ in 0..share.saturating_sub(owned).min(COMMONS_STEP) {
                let Some(pair) = common.pop() else { break };
                place.admit(pair, now_ns);
            }
        }
    }

    /// Pairs of this worker on all addresses, leased or not.
    pub fn owned(&self) -> usize {
        self.networks.iter().flatten().map(Place::owned).sum()
    }
}

/// The address of `family` with the most free pairs, the first of equals. `gone` has a bit for each
/// that is out of the question.
fn best(
    places: &mut [Place],
    family: Family,
    gone: u32,
    now_ns: u64,
) -> Option<(usize, &mut Place)> {
    let fitting = |index: usize, place: &Place| {
        Family::of(place.address) == family && gone & (1 << index) == 0
    };
    let candidates = places.iter_mut().enumerate().filter(|(index, place)| fitting(*index, place));
    candidates.rev().max_by_key(|(_, place)| place.free(now_ns))
}

impl Place {
    fn owned(&self) -> usize {
        self.leased + self.queue.len()
    }

    /// Takes another worker's pair. One that has rested goes to the front, where such pairs are.
    fn admit(&mut self, pair: Pair, now_ns: u64) {
        if pair.free_at_ns <= now_ns {
            self.queue.push_front(Pair { free_at_ns: 0, ..pair });
        } else {
            let at = self.queue.partition_point(|other| other.free_at_ns <= pair.free_at_ns);
            self.queue.insert(at, pair);
        }
    }

    fn free(&self, now_ns: u64) -> usize {
        self.queue.partition_point(|pair| pair.free_at_ns <= now_ns)
    }

    fn take(&mut self, now_ns: u64) -> Option<Pair> {
        self.queue.pop_front_if(|pair| pair.free_at_ns <= now_ns)
    }

    /// The queue was built with room for every pair and holds each at most once: no allocation.
    fn rest(&mut self, even: u16, now_ns: u64) {
        self.queue.push_back(Pair { even, free_at_ns: now_ns.saturating_add(COOL_DOWN_NS) });
    }
}

const _: () = assert!(ADDRESSES_MAX <= u32::BITS as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(count: u16) -> Ports {
        Ports::new(&[addresses(&["127.0.0.1"])], PortPairs { first_even: 10_000, count }, 0)
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn any(_: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    fn even(ports: &mut Ports, now_ns: u64) -> Result<u16, LeaseError> {
        ports.lease(0, Family::Any, now_ns, any).map(|(lease, (), ())| lease.rtp.port())
    }

    #[test]
    fn a_pair_is_even_and_the_odd_port_above() {
        let (lease, (), ()) = ports(4).lease(0, Family::Any, 0, any).unwrap();
        assert_eq!((lease.rtp.port(), lease.rtcp.port()), (10_000, 10_001));
    }

    #[test]
    fn exhaustion_recovers_after_the_cool_down_oldest_first() {
        let mut ports = ports(2);
        let (a, ..) = ports.lease(0, Family::Any, 0, any).unwrap();
        let (b, ..) = ports.lease(0, Family::Any, 0, any).unwrap();
        assert_eq!(even(&mut ports, 0), Err(LeaseError::PortsExhausted));
        ports.give_back(b, 100);
        ports.give_back(a, 200);
        assert_eq!(even(&mut ports, COOL_DOWN_NS + 99), Err(LeaseError::PortsExhausted));
        assert_eq!(even(&mut ports, COOL_DOWN_NS + 200), Ok(b.rtp.port()));
        assert_eq!(even(&mut ports, COOL_DOWN_NS + 200), Ok(a.rtp.port()));
    }

    #[test]
    fn pairs_held_by_others_are_skipped_and_tried_again_later() {
        let mut ports = ports(3);
        let held = |address: SocketAddr| match address.port() {
            10_000 | 10_003 => Err(io::ErrorKind::AddrInUse.into()),
            _ => Ok(()),
        };
        let (lease, ..) = ports.lease(0, Family::Any, 0, held).unwrap();
        assert_eq!(lease.rtp.port(), 10_004, "a half-held pair is no pair");
        assert_eq!(even(&mut ports, 0), Err(LeaseError::PortsExhausted));
        assert_eq!(even(&mut ports, COOL_DOWN_NS), Ok(10_000));
    }

    #[test]
    fn no_pair_is_lost_when_descriptors_run_out() {
        let mut ports = ports(1);
        let empty = |_: SocketAddr| -> io::Result<()> { Err(io::Error::from_raw_os_error(24)) };
        assert_eq!(
            ports.lease(0, Family::Any, 0, empty).unwrap_err(),
            LeaseError::DescriptorsExhausted
        );
        assert_eq!(even(&mut ports, 0), Ok(10_000));
    }

    #[test]
    fn networks_are_apart() {
        let networks = [addresses(&["127.0.0.1"]), addresses(&["127.0.0.2"])];
        let mut ports = Ports::new(&networks, PortPairs { first_even: 10_000, count: 1 }, 0);
        assert!(ports.lease(0, Family::Any, 0, any).is_ok());
        let (lease, ..) = ports.lease(1, Family::Any, 0, any).unwrap();
        assert_eq!(lease.rtp.to_string(), "127.0.0.2:10000");
        let unknown = ports.lease(2, Family::Any, 0, any).unwrap_err();
        assert_eq!(unknown, LeaseError::UnknownNetwork);
    }

    #[test]
    fn each_family_has_its_addresses_and_the_first_is_the_usual_one() {
        let network = addresses(&["2001:db8::1", "192.0.2.1"]);
        let mut ports = Ports::new(&[network], PortPairs { first_even: 10_000, count: 1 }, 0);
        let mut at = |family| ports.lease(0, family, 0, any).map(|(lease, ..)| lease.rtp.ip());
        assert_eq!(at(Family::V4), Ok("192.0.2.1".parse().unwrap()));
        assert_eq!(at(Family::V4), Err(LeaseError::PortsExhausted), "not on the other family");
        assert_eq!(at(Family::Any), Ok("2001:db8::1".parse().unwrap()));
        assert_eq!(at(Family::V6), Err(LeaseError::PortsExhausted));
        let absent = self::ports(1).lease(0, Family::V6, 0, any).unwrap_err();
        assert_eq!(absent, LeaseError::FamilyAbsent);
    }

    #[test]
    fn addresses_of_one_family_share_the_load_and_the_cool_down() {
        let network = addresses(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        let mut ports = Ports::new(&[network], PortPairs { first_even: 10_000, count: 2 }, 0);
        let mut leases = Vec::new();
        while let Ok((lease, ..)) = ports.lease(0, Family::V4, 0, any) {
            leases.push(lease);
        }
        let taken: Vec<String> = leases.iter().map(|lease| lease.rtp.to_string()).collect();
        assert_eq!(
            taken,
            ["192.0.2.1:10000", "192.0.2.2:10000", "192.0.2.1:10002", "192.0.2.2:10002"]
        );
        ports.give_back(leases[3], 0);
        let resting = ports.lease(0, Family::V4, COOL_DOWN_NS - 1, any).unwrap_err();
        assert_eq!(resting, LeaseError::PortsExhausted);
        let (again, ..) = ports.lease(0, Family::V4, COOL_DOWN_NS, any).unwrap();
        assert_eq!(again, leases[3]);
    }

    #[test]
    fn an_address_that_left_the_host_is_passed_over() {
        let network = addresses(&["192.0.2.1", "192.0.2.2"]);
        let mut ports = Ports::new(&[network], PortPairs { first_even: 10_000, count: 2 }, 0);
        let left = |address: SocketAddr| match address.ip().to_string().as_str() {
            "192.0.2.1" => Err(io::ErrorKind::AddrNotAvailable.into()),
            _ => Ok(()),
        };
        for even in [10_000, 10_002] {
            let (lease, ..) = ports.lease(0, Family::V4, 0, left).unwrap();
            assert_eq!(lease.rtp.to_string(), format!("192.0.2.2:{even}"));
        }
        assert_eq!(ports.lease(0, Family::V4, 0, left).unwrap_err(), LeaseError::PortsExhausted);
        let (lease, ..) = ports.lease(0, Family::V4, 0, any).unwrap();
        assert_eq!(lease.rtp.to_string(), "192.0.2.1:10000", "no pair was lost");
    }

    /// Pairs that are free now, by leasing them all.
    fn free(ports: &mut Ports, now_ns: u64) -> Vec<u16> {
        std::iter::from_fn(|| even(ports, now_ns).ok()).collect()
    }

    #[test]
    fn pairs_move_to_whoever_has_too_few_and_rest_on_their_way() {
        let commons = Commons::new(1, 8, 1);
        let pairs = |count| PortPairs { first_even: 10_000, count };
        let network = || vec![addresses(&["127.0.0.1"])];
        let (mut one, mut two) =
            (Ports::new(&network(), pairs(8), 8), Ports::new(&network(), pairs(0), 8));
        let (kept, ..) = one.lease(0, Family::Any, 0, any).unwrap();
        let (ended, ..) = one.lease(0, Family::Any, 0, any).unwrap();
        one.give_back(ended, 0);
        one.settle(&commons, commons.share(), 0);
        two.settle(&commons, 0, 0);
        assert_eq!((one.owned(), two.owned()), (8, 0), "one alone keeps all");
        commons.join();
        one.settle(&commons, commons.share(), 0);
        two.settle(&commons, commons.share(), 0);
        assert_eq!((one.owned(), two.owned()), (4, 4));
        // The first one leaves: what it has leased stays with it, and what rests goes on resting.
        assert!(commons.leave());
        for _ in 0..2 {
            one.settle(&commons, 0, 1);
            two.settle(&commons, commons.share(), 1);
        }
        assert_eq!((one.owned(), two.owned()), (1, 7));
        let now = free(&mut two, 1);
        assert_eq!(now.len(), 6, "{now:?}");
        assert!(!now.contains(&ended.rtp.port()) && !now.contains(&kept.rtp.port()));
        assert_eq!(free(&mut two, COOL_DOWN_NS), [ended.rtp.port()]);
        one.give_back(kept, COOL_DOWN_NS);
        one.settle(&commons, 0, COOL_DOWN_NS);
        two.settle(&commons, commons.share(), COOL_DOWN_NS);
        assert_eq!((one.owned(), two.owned()), (0, 8));
        assert!(free(&mut two, COOL_DOWN_NS).is_empty(), "it still rests");
        assert_eq!(free(&mut two, 2 * COOL_DOWN_NS), [kept.rtp.port()]);
    }

    #[test]
    fn a_step_moves_no_more_than_its_limit() {
        let most = 2 * COMMONS_STEP + 8;
        let commons = Commons::new(1, most, 1);
        let pairs = |count| PortPairs { first_even: 10_000, count };
        let network = || vec![addresses(&["127.0.0.1"])];
        let mut one = Ports::new(&network(), pairs(most as u16), most);
        let mut two = Ports::new(&network(), pairs(0), most);
        one.settle(&commons, 0, 0);
        assert_eq!(one.owned(), most - COMMONS_STEP);
        two.settle(&commons, most, 0);
        assert_eq!(two.owned(), COMMONS_STEP);
        for _ in 0..3 {
            one.settle(&commons, 0, 0);
            two.settle(&commons, most, 0);
        }
        assert_eq!((one.owned(), two.owned()), (0, most), "none is lost");
    }
}
