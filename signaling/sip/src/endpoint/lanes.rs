//! Which transactions a broken connection or an unreachable peer concerns.
//!
//! Ordered, so that one failure costs its own transactions and not a walk over all: a peer that
//! opens and closes connections must not be able to buy a full scan with each.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::{Hop, Transport, schedule::Owner};

#[derive(Default, Debug)]
pub(super) struct Lanes(BTreeSet<(Lane, Owner)>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Lane {
    Connection(u64),
    Remote(Transport, SocketAddr, u32),
}

impl Lanes {
    pub(super) fn add(&mut self, hop: Hop, owner: Owner) {
        self.0.insert((lane(hop), owner));
    }

    pub(super) fn remove(&mut self, hop: Hop, owner: Owner) {
        self.0.remove(&(lane(hop), owner));
    }

    /// The transactions on the connection of `hop`, and those to its remote that have none.
    pub(super) fn concerned(&self, hop: Hop) -> Vec<Owner> {
        let mut owners = self.on(lane(hop));
        if hop.connection != 0 {
            owners.extend(self.on(lane(Hop { connection: 0, ..hop })));
        }
        owners
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn on(&self, lane: Lane) -> Vec<Owner> {
        let all = (lane, Owner::Client(0))..=(lane, Owner::Dialog(u64::MAX));
        self.0.range(all).map(|(_, owner)| *owner).collect()
    }
}

fn lane(hop: Hop) -> Lane {
    match hop.connection {
        0 => Lane::Remote(hop.transport, hop.remote, hop.tag),
        connection => Lane::Connection(connection),
    }
}
