//! What the workers of a process share in one backend, made before them with the privileges of the
//! start, and what each gets of it.

use std::io;

use super::packet;
use super::{BackendKind, Part};
use crate::topology::Topology;

/// The parts that are still to be handed out, one for each worker.
pub struct Foundation {
    parts: Vec<Part>,
}

impl Foundation {
    /// Makes what the workers of `topology` need of a backend.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn lay(kind: BackendKind, topology: &Topology) -> io::Result<Foundation> {
        let workers = topology.placements.len();
        let parts = match kind {
            BackendKind::Uring => (0..workers).map(|_| Part::Uring).collect(),
            BackendKind::Mmsg => (0..workers).map(|_| Part::Mmsg).collect(),
            BackendKind::Packet => {
                let shares = packet::lay(topology)?;
                shares.into_iter().map(|share| Part::Packet(Box::new(share))).collect()
            }
            BackendKind::Xdp => {
                let shares = packet::lay_with_lanes(topology)?;
                shares.into_iter().map(|share| Part::Packet(Box::new(share))).collect()
            }
        };
        Ok(Foundation { parts })
    }

    /// The next worker's part, in the order of their placements.
    pub fn next_part(&mut self) -> Option<Part> {
        if self.parts.is_empty() { None } else { Some(self.parts.remove(0)) }
    }
}
