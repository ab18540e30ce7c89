//! A run: the calls of a [`Plan`], their media, and the [`Report`].
//!
//! ```text
//!   caller's task ---> one thread: both user agents, every leg, the director
//!                      one thread for each peer's media
//! ```
//!
//! The director ([`director`]) knows all calls: it starts them at the ramp, sees both legs of each,
//! and tells one side of a call to hang up once both have sent and received everything. Nothing of
//! that passes through the gateway, which sees two unrelated peers.

mod director;
mod leg;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::thread;
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use self::leg::Side;
use crate::certs::Certificates;
use crate::media::{MediaEvent, Pump, Way};
use crate::peer::{Received, Ua, pbx, provider};
use crate::report::Report;

/// What to run against which gateway. Addresses must be IPv4, all reachable from this host.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Where the gateway takes SIP over UDP from the provider.
    pub gateway_udp: SocketAddr,
    /// Where the gateway takes SIP over TLS from the PBX.
    pub gateway_tls: SocketAddr,
    /// Where the provider listens: the gateway's target on the insecure trunk. Its media ports are
    /// free ports of the same address.
    pub provider: SocketAddr,
    /// Where the PBX listens: the gateway's target on the secure trunk.
    pub pbx: SocketAddr,
    /// A directory that [`certs::write`](crate::certs::write) filled.
    pub certificates: PathBuf,
    /// Even calls go from the provider to the PBX, odd ones the other way.
    pub calls: u32,
    /// Audio in each direction of each call, in seconds.
    pub seconds: u32,
    /// Calls per second.
    pub ramp: f64,
    /// Called number of call 0 at the PBX, digits only, at least 6; call `n` calls this plus `n`.
    pub pbx_number: u64,
    /// Called number of call 0 at the provider.
    pub provider_number: u64,
}

impl Default for Plan {
    /// Ten calls of five seconds at 20 calls/s, numbers of Italian shape, everybody on 127.0.0.1 at
    /// the usual ports (gateway 5060 and 5061, provider 5070, PBX 5071), certificates in the working
    /// directory.
    fn default() -> Plan {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Plan {
            gateway_udp: local(5060),
            gateway_tls: local(5061),
            provider: local(5070),
            pbx: local(5071),
            certificates: PathBuf::from("."),
            calls: 10,
            seconds: 5,
            ramp: 20.0,
            pbx_number: 390_200_000_001,
            provider_number: 390_600_000_001,
        }
    }
}

/// How far a run is. Calls count from their first INVITE; packets of both directions are summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    pub placed: u32,
    pub answered: u32,
    /// Answered and not yet ended.
    pub live: u32,
    /// Ended in whatever way.
    pub ended: u32,
    pub sent: u64,
    pub received: u64,
}

/// Why a run could not take place. What fails within a call is in the report instead.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("{address} cannot be listened on: {cause}; is another process using it?")]
    Listen { address: SocketAddr, cause: io::Error },
    #[error("{address} is an IPv6 address; the peers' SIP library cannot write those, use IPv4")]
    Ipv6 { address: SocketAddr },
    #[error("the plan is not usable: {0}")]
    Plan(&'static str),
    #[error("{} cannot be read: {cause}; write the certificates first", .path.display())]
    Certificates { path: PathBuf, cause: String },
    #[error("TLS cannot be set up with these certificates: {0}")]
    Tls(String),
    #[error("the operating system refused a thread, a runtime or an event queue: {0}")]
    System(#[from] io::Error),
    #[error("the run ended without a result")]
    Lost,
}

/// Runs `plan`; calls `progress` about ten times a second. Dropping the future abandons the calls.
pub async fn run(plan: Plan, mut progress: impl FnMut(Progress)) -> Result<Report, BenchError> {
    plan.check()?;
    let (steps, mut stepped) = unbounded_channel();
    let (result, report) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("peers".into()).spawn(move || {
        let local = LocalSet::new();
        let outcome = local.block_on(&runtime, between_provider_and_pbx(plan, steps));
        // Whoever has the report may listen on the peers' addresses again.
        drop((local, runtime));
        let _ = result.send(outcome);
    })?;
    while let Some(step) = stepped.recv().await {
        progress(step);
    }
    report.await.map_err(|_| BenchError::Lost)?
}

async fn between_provider_and_pbx(
    plan: Plan,
    progress: UnboundedSender<Progress>,
) -> Result<Report, BenchError> {
    let stage = Stage::new();
    let listen = |cause| BenchError::Listen { address: plan.provider, cause };
    let (ua, calls) = provider::start(plan.provider).await.map_err(listen)?;
    let number = plan.provider_number;
    let provider = stage.peer(Way::InsecureToSecure, ua, calls, plan.gateway_udp, number)?;
    let certificates = Certificates::in_directory(&plan.certificates);
    let (ua, calls) = pbx::start(plan.pbx, &certificates).await?;
    let number = plan.pbx_number;
    let pbx = stage.peer(Way::SecureToInsecure, ua, calls, plan.gateway_tls, number)?;
    director::direct(Load::of(&plan), [provider, pbx], stage.media, progress).await
}

impl Plan {
    fn check(&self) -> Result<(), BenchError> {
        let addresses = [self.gateway_udp, self.gateway_tls, self.provider, self.pbx];
        if let Some(address) = addresses.into_iter().find(SocketAddr::is_ipv6) {
            return Err(BenchError::Ipv6 { address });
        }
        if self.calls == 0 || self.seconds == 0 {
            return Err(BenchError::Plan("calls and seconds must be at least 1"));
        }
        if !self.ramp.is_finite() || self.ramp <= 0.0 {
            return Err(BenchError::Plan("the ramp must be a positive number of calls per second"));
        }
        if self.calls > CALLS_MAX {
            return Err(BenchError::Plan("more calls than numbers that can be told apart"));
        }
        if self.seconds > SECONDS_MAX {
            return Err(BenchError::Plan("calls are longer than a day"));
        }
        Ok(())
    }
}

/// The part of a plan that does not depend on who the peers are.
#[derive(Clone, Copy)]
struct Load {
    calls: u32,
    /// Packets per direction of a call.
    frames: u32,
    ramp: f64,
}

impl Load {
    fn of(plan: &Plan) -> Load {
        Load { calls: plan.calls, frames: plan.seconds * FRAMES_PER_SECOND, ramp: plan.ramp }
    }
}

/// One side of a run, and the calls that arrive there.
struct Peer {
    side: Side,
    calls: UnboundedReceiver<Received>,
}

/// What both peers of a run share.
struct Stage {
    epoch: Instant,
    events: UnboundedSender<MediaEvent>,
    media: UnboundedReceiver<MediaEvent>,
}

impl Stage {
    fn new() -> Stage {
        let (events, media) = unbounded_channel();
        Stage { epoch: Instant::now(), events, media }
    }

    fn peer(
        &self,
        sends: Way,
        ua: Rc<Ua>,
        calls: UnboundedReceiver<Received>,
        gateway: SocketAddr,
        number: u64,
    ) -> Result<Peer, BenchError> {
        let pump = Pump::start(sends, self.epoch, self.events.clone())?;
        let secure = ua.is_secure();
        Ok(Peer { side: Side { secure, ua, gateway, number, pump }, calls })
    }
}

const FRAMES_PER_SECOND: u32 = 50;
/// Called numbers are told apart by their last six digits, so that a gateway may add or strip a
/// country code.
const CALLS_MAX: u32 = 500_000;
const SECONDS_MAX: u32 = 86_400;

#[cfg(test)]
mod tests;
