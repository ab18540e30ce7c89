//! Devices under test. Each is one file: how it is started, told of calls, and described.
//!
//! ```text
//!   far end A  <-->  leg A | device | leg B  <-->  far end B
//! ```
//! A [`CallPlan`] says where the far ends are and what they protect with; the device answers with
//! its own addresses and keys in a [`CallOpen`].

pub mod bencode;
pub mod mirror;
pub mod ours;
pub mod rtpengine;

use std::net::SocketAddrV4;
use std::path::PathBuf;

use bench::media::SrtpKey;
use serde::{Deserialize, Serialize};

use crate::account::Executor;
use crate::fault::Fault;
use crate::stage::{FAR_A, FAR_B, Stage};
use crate::workload::Workload;
use mirror::{Damage, Mirror};
use ours::Ours;
use rtpengine::Rtpengine;

/// One leg as the far end sees it.
#[derive(Clone)]
pub struct LegPlan {
    pub far: SocketAddrV4,
    /// What the far end sends with; `None` is plain RTP, and then the device answers plain too.
    pub key: Option<SrtpKey>,
}

/// A call to be opened.
#[derive(Clone)]
pub struct CallPlan {
    pub index: u32,
    pub a: LegPlan,
    pub b: LegPlan,
}

/// One leg as the device opened it.
#[derive(Clone)]
pub struct LegOpen {
    /// Where the far end sends to, and what it receives from.
    pub device: SocketAddrV4,
    /// What the device protects with.
    pub key: Option<SrtpKey>,
}

/// A call that is open.
#[derive(Clone)]
pub struct CallOpen {
    pub a: LegOpen,
    pub b: LegOpen,
}

/// Who is measured, for every table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    pub name: String,
    pub version: String,
    /// Settings that bear on the figures.
    pub tuning: String,
}

/// Something that relays media.
pub trait Device {
    fn identity(&self) -> Identity;
    /// Whose CPU time is its own.
    fn executor(&self) -> Executor;
    fn open(&mut self, call: &CallPlan) -> Result<CallOpen, Fault>;
    fn close(&mut self, call: u32) -> Result<(), Fault>;
    /// Packets that it says it dropped, by reason.
    fn drops(&self) -> Vec<(String, u64)> {
        Vec::new()
    }
}

/// Which device to start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ours,
    Rtpengine,
    /// The bench's own bare relay, with a fault or without: what shows that the bench sees faults.
    Mirror(Damage),
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ours => "trunkline",
            Kind::Rtpengine => "rtpengine",
            Kind::Mirror(_) => "mirror",
        }
    }
}

/// What a device is started with.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Threads that relay.
    pub workers: usize,
    /// Calls that may be open at a time.
    pub calls: u32,
    /// Our media backend, as `[media] backend` names it.
    pub backend: String,
    pub trunkline: PathBuf,
    pub rtpengine: PathBuf,
}

/// Starts a device on the stage.
///
/// # Errors
/// What is missing, or what the device said when it did not start.
pub fn start(kind: Kind, launch: &Launch, stage: &Stage) -> Result<Box<dyn Device>, Fault> {
    Ok(match kind {
        Kind::Ours => Box::new(Ours::start(launch, stage)?),
        Kind::Rtpengine => Box::new(Rtpengine::start(launch, stage)?),
        Kind::Mirror(damage) => Box::new(Mirror::start(damage, stage)?),
    })
}

impl CallPlan {
    /// Call `index` of a workload, with fresh keys where it has any.
    ///
    /// # Errors
    /// The kernel gave no random numbers.
    pub fn of(workload: Workload, index: u32) -> Result<CallPlan, Fault> {
        let (a, b) = workload.suites();
        let leg = |host, suite: Option<_>| {
            let key = suite.map(SrtpKey::fresh).transpose();
            let key = key.map_err(|error| Fault::new(format!("random numbers: {error}"), ""))?;
            let port = FAR_PORT_FIRST + 2 * index as u16;
            Ok::<_, Fault>(LegPlan { far: SocketAddrV4::new(host, port), key })
        };
        Ok(CallPlan { index, a: leg(FAR_A, a)?, b: leg(FAR_B, b)? })
    }
}

/// Ports of the far ends: even ones from here.
const FAR_PORT_FIRST: u16 = 10_000;
/// Calls at a time: as many as there are even ports above [`FAR_PORT_FIRST`], and as both devices
/// have port pairs for (20,000 to 65,535 at two legs of two ports).
pub const CALLS_MAX: u32 = 11_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_their_own_ports_and_keys() {
        let first = CallPlan::of(Workload::BothSecure, 0).unwrap();
        let last = CallPlan::of(Workload::BothSecure, CALLS_MAX - 1).unwrap();
        assert_eq!(first.a.far.to_string(), "10.77.1.1:10000");
        assert_eq!(first.b.far.to_string(), "10.77.2.1:10000");
        assert_eq!(last.a.far.port(), 31_998);
        let inline = |leg: &LegPlan| leg.key.as_ref().unwrap().inline().to_string();
        assert_ne!(inline(&first.a), inline(&first.b));
        assert!(CallPlan::of(Workload::Relay, 1).unwrap().b.key.is_none());
    }
}
