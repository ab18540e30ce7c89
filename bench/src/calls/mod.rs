//! SIP load: one peer places calls at a rate, another answers them, through a gateway or straight.
//!
//! ```text
//!   caller                gateway                callee
//!     | sent ---- INVITE ---->|---- INVITE ---- seen |     delay of the INVITE = seen - sent
//!     |                       |<----- 200 ------ said |     delay of the 200    = heard - said
//!     | heard <---- 200 ------|                      |
//! ```
//! A peer's times are taken before it hands a message to its transport, and when the kernel (UDP) or
//! the peer itself (TCP, TLS) received one. What the peers themselves add can be seen by letting the
//! caller call the callee straight.
//!
//! Calls are placed by the clock, whether earlier ones were answered or not: a gateway that falls
//! behind gets no fewer of them. [`Outcome::late_max_us`] says when the load itself fell behind; it
//! catches up at twice the rate then ([`Pace`]), because a burst of its own would be measured as delay
//! of the gateway.

mod ledger;
mod pace;
mod party;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep_until;

pub use self::ledger::Percentiles;
use self::ledger::{Ledger, Record};
use self::pace::Pace;
use self::party::{Callee, Caller};
use crate::peer::Dialog;
use crate::run::BenchError;

/// How a side signals; with TLS its media is SRTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    Udp,
    Tcp,
    Tls,
}

/// Who calls whom. All addresses are IPv4.
#[derive(Clone, Debug)]
pub struct Sides {
    pub caller: Wire,
    pub callee: Wire,
    /// Where the peers listen, and what they send from.
    pub caller_at: SocketAddr,
    pub callee_at: SocketAddr,
    /// Where the caller sends its INVITEs: the gateway's listener of its transport.
    pub target: SocketAddr,
    /// A directory that [`certs::write`](crate::certs::write) filled: both peers use the PBX's.
    pub certificates: PathBuf,
}

/// A number of calls at a rate.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Calls per second, evenly spaced.
    pub rate: f64,
    pub calls: u32,
    /// From the answer to the caller's BYE; `None` leaves the calls open for [`Peers::hang_up`].
    pub hold: Option<Duration>,
    /// How long the caller waits for an answer.
    pub patience: Duration,
}

/// What became of a [`Step`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// INVITEs sent (new calls).
    pub offered: u32,
    /// From the first INVITE to one interval after the last.
    pub seconds: f64,
    /// Answered with a usable description, and acknowledged.
    pub answered: u32,
    /// Of these, ended by a BYE that was answered; with calls left open, still open.
    pub clean: u32,
    /// Every other call, by cause.
    pub failures: BTreeMap<String, u32>,
    pub invite: Percentiles,
    pub answer: Percentiles,
    /// From the caller's INVITE to its 200.
    pub setup: Percentiles,
    /// Messages that the peers sent again because nothing came, and messages that came to them again.
    pub resent: u64,
    pub repeated: u64,
    /// The latest that a call was placed after its due time.
    pub late_max_us: f64,
}

impl Outcome {
    /// Calls per second that were really placed.
    pub fn offered_rate(&self) -> f64 {
        if self.seconds > 0.0 { f64::from(self.offered) / self.seconds } else { 0.0 }
    }

    /// Calls per second that came to a clean end.
    pub fn goodput(&self) -> f64 {
        if self.seconds > 0.0 { f64::from(self.clean) / self.seconds } else { 0.0 }
    }
}

/// Both peers, running on the thread that calls their methods.
pub struct Peers {
    runtime: tokio::runtime::Runtime,
    local: LocalSet,
    caller: Rc<Caller>,
    callee: Rc<Callee>,
    ledger: Rc<Ledger>,
    open: Vec<Dialog>,
    placed: u32,
}

impl Peers {
    /// Starts both.
    ///
    /// # Errors
    /// An address cannot be listened on, or the certificates cannot be used.
    pub fn start(sides: &Sides) -> Result<Peers, BenchError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = LocalSet::new();
        let ledger = Rc::new(Ledger::default());
        let (caller, callee) = local.block_on(&runtime, async {
            let callee = Callee::start(sides, ledger.clone()).await?;
            Ok::<_, BenchError>((Caller::start(sides).await?, callee))
        })?;
        Ok(Peers { runtime, local, caller, callee, ledger, open: Vec::new(), placed: 0 })
    }

    /// Places the calls of `step` and returns when each has ended, or is answered when they stay
    /// open. `stop` ends it early.
    pub fn play(&mut self, step: Step, stop: &AtomicBool) -> Outcome {
        let before = self.repetitions();
        self.ledger.begin(self.placed, step.calls);
        let (caller, first) = (&self.caller, self.placed);
        let (open, seconds) =
            self.local.block_on(&self.runtime, place_all(caller, &self.ledger, first, step, stop));
        self.open.extend(open);
        self.placed = self.placed.wrapping_add(step.calls);
        let mut outcome = self.ledger.outcome();
        let after = self.repetitions();
        outcome.seconds = seconds;
        (outcome.resent, outcome.repeated) = (after.0 - before.0, after.1 - before.1);
        outcome
    }

    /// Ends the calls that were left open, at `rate`; how many ended cleanly.
    pub fn hang_up(&mut self, rate: f64) -> u32 {
        let open = std::mem::take(&mut self.open);
        self.local.block_on(&self.runtime, async {
            let (start, mut byes) = (Instant::now(), JoinSet::new());
            for (n, dialog) in open.into_iter().enumerate() {
                sleep_until((start + Duration::from_secs_f64(n as f64 / rate)).into()).await;
                byes.spawn_local(dialog.bye());
            }
            let ended = byes.join_all().await;
            ended.iter().filter(|end| end.is_ok()).count() as u32
        })
    }

    /// What the peers could not read or serve.
    pub fn faults(&self) -> Vec<String> {
        let (caller, callee) = (self.caller.ua.faults(), self.callee.ua.faults());
        caller.into_iter().chain(callee).collect()
    }

    fn repetitions(&self) -> (u64, u64) {
        let (caller, callee) = (self.caller.ua.repetitions(), self.callee.ua.repetitions());
        (caller.0 + callee.0, caller.1 + callee.1)
    }
}

/// Gives the calls that are open, and how long the placing took.
async fn place_all(
    caller: &Rc<Caller>,
    ledger: &Rc<Ledger>,
    first: u32,
    step: Step,
    stop: &AtomicBool,
) -> (Vec<Dialog>, f64) {
    let (start, mut calls) = (Instant::now(), JoinSet::new());
    let (mut seconds, mut pace) = (0.0, Pace::new(start, step.rate));
    for n in 0..step.calls {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (due, at) = pace.next();
        if at > Instant::now() {
            sleep_until(at.into()).await;
        }
        pace.placed(Instant::now());
        let index = first.wrapping_add(n);
        ledger.note(index, |record: &mut Record| record.late = due.elapsed());
        calls.spawn_local(caller.clone().call(index, step, ledger.clone()));
        // Answers must be read even when the load is behind its clock.
        tokio::task::yield_now().await;
        seconds = start.elapsed().as_secs_f64() + 1.0 / step.rate;
    }
    (calls.join_all().await.into_iter().flatten().collect(), seconds)
}

#[cfg(test)]
mod tests;
