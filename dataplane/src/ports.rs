//! Leases of RTP/RTCP port pairs on each media network, from one worker's sub-range.
//!
//! Each network has one queue of pairs, oldest first, each with the time from which it may be
//! leased. Pairs enter at the back only and always with the same delay, so the front is the first
//! to become free and one look at it decides.
//!
//! ```text
//! front                                            back
//! 10004 (now)  10006 (now)  10000 (in 3 s)  10002 (in 5 s)
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::limits::{COOL_DOWN_NS, LEASE_TRIES};
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
    /// Every pair is leased, cooling down or held by another program.
    PortsExhausted,
    /// The process or the system has no descriptor (or socket memory) left.
    DescriptorsExhausted,
}

/// The port pairs of one worker.
pub struct Ports {
    networks: Vec<Network>,
}

struct Network {
    address: IpAddr,
    queue: VecDeque<Pair>,
}

#[derive(Clone, Copy)]
struct Pair {
    even: u16,
    free_at_ns: u64,
}

impl Ports {
    pub fn new(networks: &[IpAddr], pairs: PortPairs) -> Ports {
        let queue = |_: &IpAddr| pairs.iter().map(|even| Pair { even, free_at_ns: 0 }).collect();
        let networks = networks
            .iter()
            .map(|address| Network { address: *address, queue: queue(address) })
            .collect();
        Ports { networks }
    }

    /// Leases the oldest free pair of which `open` can open both ports; pairs that other programs
    /// hold go to the back of the queue.
    ///
    /// # Errors
    /// [`LeaseError`]; nothing stays open and no pair is lost then.
    pub fn lease<S>(
        &mut self,
        network: usize,
        now_ns: u64,
        mut open: impl FnMut(SocketAddr) -> io::Result<S>,
    ) -> Result<(Lease, S, S), LeaseError> {
        let place = self.networks.get_mut(network).ok_or(LeaseError::UnknownNetwork)?;
        for _ in 0..LEASE_TRIES {
            let pair = place.take(now_ns).ok_or(LeaseError::PortsExhausted)?;
            let rtp = SocketAddr::new(place.address, pair.even);
            let rtcp = SocketAddr::new(place.address, pair.even | 1);
            let opened = open(rtp).and_then(|first| Ok((first, open(rtcp)?)));
            match opened {
                Ok((first, second)) => return Ok((Lease { network, rtp, rtcp }, first, second)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    place.rest(pair.even, now_ns);
                }
                Err(error) => {
                    place.queue.push_front(pair);
                    return Err(reason(&error));
                }
            }
        }
        Err(LeaseError::PortsExhausted)
    }

    /// Takes a pair back; it rests for [`COOL_DOWN_NS`].
    pub fn give_back(&mut self, lease: Lease, now_ns: u64) {
        if let Some(place) = self.networks.get_mut(lease.network) {
            place.rest(lease.rtp.port(), now_ns);
        }
    }
}

impl Network {
    fn take(&mut self, now_ns: u64) -> Option<Pair> {
        self.queue.pop_front_if(|pair| pair.free_at_ns <= now_ns)
    }

    /// The queue was built with room for every pair and holds each at most once: no allocation.
    fn rest(&mut self, even: u16, now_ns: u64) {
        self.queue.push_back(Pair { even, free_at_ns: now_ns.saturating_add(COOL_DOWN_NS) });
    }
}

fn reason(error: &io::Error) -> LeaseError {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::PermissionDenied => {
            LeaseError::PortsExhausted
        }
        _ => LeaseError::DescriptorsExhausted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(count: u16) -> Ports {
        Ports::new(&[IpAddr::from([127, 0, 0, 1])], PortPairs { first_even: 10_000, count })
    }

    fn any(_: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    fn even(ports: &mut Ports, now_ns: u64) -> Result<u16, LeaseError> {
        ports.lease(0, now_ns, any).map(|(lease, (), ())| lease.rtp.port())
    }

    #[test]
    fn a_pair_is_even_and_the_odd_port_above() {
        let (lease, (), ()) = ports(4).lease(0, 0, any).unwrap();
        assert_eq!((lease.rtp.port(), lease.rtcp.port()), (10_000, 10_001));
    }

    #[test]
    fn exhaustion_recovers_after_the_cool_down_oldest_first() {
        let mut ports = ports(2);
        let (a, ..) = ports.lease(0, 0, any).unwrap();
        let (b, ..) = ports.lease(0, 0, any).unwrap();
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
        let (lease, ..) = ports.lease(0, 0, held).unwrap();
        assert_eq!(lease.rtp.port(), 10_004, "a half-held pair is no pair");
        assert_eq!(even(&mut ports, 0), Err(LeaseError::PortsExhausted));
        assert_eq!(even(&mut ports, COOL_DOWN_NS), Ok(10_000));
    }

    #[test]
    fn no_pair_is_lost_when_descriptors_run_out() {
        let mut ports = ports(1);
        let empty = |_: SocketAddr| -> io::Result<()> { Err(io::Error::from_raw_os_error(24)) };
        assert_eq!(ports.lease(0, 0, empty).unwrap_err(), LeaseError::DescriptorsExhausted);
        assert_eq!(even(&mut ports, 0), Ok(10_000));
    }

    #[test]
    fn networks_are_apart() {
        let networks = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let mut ports = Ports::new(&networks, PortPairs { first_even: 10_000, count: 1 });
        assert!(ports.lease(0, 0, any).is_ok());
        let (lease, ..) = ports.lease(1, 0, any).unwrap();
        assert_eq!(lease.rtp.to_string(), "127.0.0.2:10000");
        assert_eq!(ports.lease(2, 0, any).unwrap_err(), LeaseError::UnknownNetwork);
    }
}
