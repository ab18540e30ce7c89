//! What `bench calls` measures, one function each: the ramp to the knee, memory per live call, and
//! goodput above the knee.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bench::calls::{Outcome, Peers, Sides, Step};
use serde::Serialize;

use crate::account::{self, Executor, Sample, Watch};
use crate::fault::Fault;
use crate::gateway::{Gateway, Launch, Legs};
use crate::stage;

/// What all parts share.
pub struct Rig<'a> {
    pub launch: Launch,
    pub legs: Legs,
    /// Core of the peers.
    pub load_core: usize,
    pub hold: Duration,
    /// Length of a step.
    pub seconds: u32,
    pub stop: &'a AtomicBool,
    pub say: &'a dyn Fn(&str),
}

/// One rate for some seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Rung {
    /// Calls per second that were asked for.
    pub rate: f64,
    pub outcome: Outcome,
    /// CPU time for one offered call, nanoseconds, from the first INVITE to the last BYE: threads of
    /// the signalling process; everything that ran on its core; threads of the data plane.
    pub signaling_ns: f64,
    pub core_ns: f64,
    pub dataplane_ns: f64,
    /// Share of its core that the load took.
    pub load_share: f64,
    /// Share of the signalling process's core that other programs took.
    pub foreign_share: f64,
}

/// Memory of the signalling process.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    pub calls: u32,
    /// Octets before the first call, with all calls open, and after they ended.
    pub before: u64,
    pub with_calls: u64,
    pub after: u64,
}

impl Memory {
    /// Octets for one open call.
    pub fn per_call(&self) -> f64 {
        self.with_calls.saturating_sub(self.before) as f64 / f64::from(self.calls.max(1))
    }
}

impl Rung {
    /// Share of the calls that came to a clean end.
    pub fn success(&self) -> f64 {
        f64::from(self.outcome.clean) / f64::from(self.outcome.offered.max(1))
    }

    /// Calls per second that one core carries by the cost of one, were nothing else in the way.
    pub fn per_core(&self) -> f64 {
        if self.core_ns > 0.0 { 1e9 / self.core_ns } else { 0.0 }
    }

    /// Why the gateway did not carry this rate; `None` when it did.
    pub fn failing(&self) -> Option<String> {
        let Outcome { invite, answer, .. } = &self.outcome;
        if self.success() < SUCCESS_MIN {
            return Some(format!("{:.2} % of the calls failed", (1.0 - self.success()) * 100.0));
        }
        let p99 = invite.p99.max(answer.p99);
        (p99 > DELAY_MAX_US).then(|| format!("p99 of the added delay {:.1} ms", p99 / 1_000.0))
    }

    /// Whether the load, and not the gateway, may be what ended the ramp.
    pub fn load_bound(&self) -> bool {
        self.load_share > LOAD_FULL || self.outcome.late_max_us > LATE_MAX_US
    }
}

/// The last rate that the gateway carried.
pub fn knee(rungs: &[Rung]) -> Option<&Rung> {
    rungs.iter().take_while(|rung| rung.failing().is_none()).last()
}

impl Rig<'_> {
    /// The peers without a gateway, what their own part of every figure is.
    ///
    /// # Errors
    /// The peers did not start.
    pub fn straight(&self, rate: f64) -> Result<Rung, Fault> {
        (self.say)("straight");
        stage::pin(self.load_core)?;
        let gateway = Gateway::start(&self.launch, self.legs)?;
        let callee_at = gateway.sides.callee_at;
        let callee = gateway.sides.callee;
        let sides = Sides { caller: callee, target: callee_at, ..gateway.sides.clone() };
        let rung = self.rung(&gateway, &mut start(&sides)?, rate)?;
        // The gateway only lends its certificates: nothing of it is measured.
        Ok(Rung { signaling_ns: 0.0, core_ns: 0.0, dataplane_ns: 0.0, foreign_share: 0.0, ..rung })
    }

    /// Rising rates against one gateway, until one is too much for it.
    ///
    /// # Errors
    /// Gateway or peers did not start, or the gateway died.
    pub fn ramp(&self, rates: &[f64]) -> Result<Vec<Rung>, Fault> {
        let mut gateway = Gateway::start(&self.launch, self.legs)?;
        stage::pin(self.load_core)?;
        let mut peers = start(&gateway.sides)?;
        let mut rungs = Vec::new();
        for rate in rates {
            (self.say)(&format!("{rate:.0} calls/s"));
            let rung = self.rung(&gateway, &mut peers, *rate)?;
            self.check(&mut gateway, &peers)?;
            let failing = rung.failing().is_some();
            rungs.push(rung);
            if failing {
                break;
            }
        }
        Ok(rungs)
    }

    /// Opens `calls` on a fresh gateway at `rate` and looks at its memory.
    ///
    /// # Errors
    /// As [`Rig::ramp`]; fewer calls than asked for came up.
    pub fn memory(&self, calls: u32, rate: f64) -> Result<Memory, Fault> {
        (self.say)(&format!("{calls} calls open"));
        let mut gateway = Gateway::start(&self.launch, self.legs)?;
        stage::pin(self.load_core)?;
        let mut peers = start(&gateway.sides)?;
        let before = gateway.signaling_memory();
        let step = Step { rate, calls, hold: None, patience: PATIENCE };
        let outcome = peers.play(step, self.stop);
        let with_calls = gateway.signaling_memory();
        peers.hang_up(rate);
        self.check(&mut gateway, &peers)?;
        if outcome.clean < calls {
            let why = format!("{} of {calls} calls came up: {:?}", outcome.clean, outcome.failures);
            return Err(Fault::new(why, "lower --live"));
        }
        Ok(Memory { calls, before, with_calls, after: gateway.signaling_memory() })
    }

    /// Each multiple of `knee` against a fresh gateway, so that none suffers from the one before.
    ///
    /// # Errors
    /// As [`Rig::ramp`].
    pub fn overload(&self, knee: f64, multiples: &[u32]) -> Result<Vec<Rung>, Fault> {
        let mut rungs = Vec::new();
        for multiple in multiples {
            (self.say)(&format!("{multiple} times {knee:.0} calls/s"));
            let mut gateway = Gateway::start(&self.launch, self.legs)?;
            stage::pin(self.load_core)?;
            let mut peers = start(&gateway.sides)?;
            rungs.push(self.rung(&gateway, &mut peers, knee * f64::from(*multiple))?);
            self.check(&mut gateway, &peers)?;
        }
        Ok(rungs)
    }

    fn rung(&self, gateway: &Gateway, peers: &mut Peers, rate: f64) -> Result<Rung, Fault> {
        let signaling = gateway.signaling_pid();
        let watch = Watch {
            cores: vec![self.launch.core],
            device: Executor::Process(signaling),
            receivers: account::receivers("none", &[self.launch.core]),
        };
        let (dataplane, us) = (gateway.dataplane_pid(), std::process::id());
        let others = || (account::process_ns(dataplane), account::process_ns(us));
        let sample = || Sample::take(&watch).map_err(Fault::io("read the CPU clocks"));
        let calls = (rate * f64::from(self.seconds)).ceil() as u32;
        let step = Step { rate, calls, hold: Some(self.hold), patience: PATIENCE };
        let (start, before, first) = (Instant::now(), others(), sample()?);
        let outcome = peers.play(step, self.stop);
        let (usage, after) = (sample()?.since(&first), others());
        let wall = start.elapsed().as_nanos() as f64;
        let per_call = |ns: u64| ns as f64 / f64::from(outcome.offered.max(1));
        Ok(Rung {
            rate,
            signaling_ns: per_call(usage.process_ns),
            core_ns: per_call(usage.busy_ns),
            dataplane_ns: per_call(after.0.saturating_sub(before.0)),
            load_share: after.1.saturating_sub(before.1) as f64 / wall,
            foreign_share: usage.foreign_ns as f64 / usage.wall_ns.max(1) as f64,
            outcome,
        })
    }

    fn check(&self, gateway: &mut Gateway, peers: &Peers) -> Result<(), Fault> {
        if self.stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Fault::interrupted());
        }
        if !gateway.is_alive() {
            return Err(Fault::new("a process of the gateway died", "see its log; report it"));
        }
        match peers.faults().first() {
            None => Ok(()),
            Some(fault) => Err(Fault::new(
                format!("{} messages were unreadable, the first: {fault}", peers.faults().len()),
                "this is a defect of the gateway or of the bench",
            )),
        }
    }
}

fn start(sides: &Sides) -> Result<Peers, Fault> {
    Peers::start(sides).map_err(|error| Fault::new(error.to_string(), ""))
}

/// A rate is carried when so many calls end cleanly,
const SUCCESS_MIN: f64 = 0.999;
/// and 99 of 100 messages are handed on within 50 ms.
const DELAY_MAX_US: f64 = 50_000.0;
/// The load has no time left above this share of its core, or when a call was so late.
const LOAD_FULL: f64 = 0.95;
const LATE_MAX_US: f64 = 100_000.0;
/// People hang up, and upstream proxies try elsewhere.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(rate: f64, clean: u32, p99: f64) -> Rung {
        let mut outcome = Outcome { offered: 10_000, clean, ..Outcome::default() };
        outcome.answer.p99 = p99;
        Rung {
            rate,
            outcome,
            signaling_ns: 400_000.0,
            core_ns: 500_000.0,
            dataplane_ns: 0.0,
            load_share: 0.5,
            foreign_share: 0.0,
        }
    }

    #[test]
    fn the_knee_is_the_last_rate_before_the_first_that_fails() {
        let rungs = [
            rung(100.0, 10_000, 900.0),
            rung(200.0, 9_990, 900.0),
            rung(300.0, 9_989, 900.0),
            rung(400.0, 10_000, 900.0),
        ];
        assert_eq!(knee(&rungs).map(|rung| rung.rate), Some(200.0));
        assert!(rungs[2].failing().unwrap().contains("0.11 %"), "{:?}", rungs[2].failing());
        assert!(rung(1.0, 10_000, 50_001.0).failing().unwrap().contains("50.0 ms"));
        assert!(knee(&rungs[2..3]).is_none());
        assert_eq!(rungs[0].per_core(), 2_000.0);
    }

    #[test]
    fn a_load_that_is_late_or_full_is_told_apart() {
        assert!(!rung(1.0, 1, 0.0).load_bound());
        assert!(Rung { load_share: 0.96, ..rung(1.0, 1, 0.0) }.load_bound());
        let mut late = rung(1.0, 1, 0.0);
        late.outcome.late_max_us = 100_001.0;
        assert!(late.load_bound());
    }

    #[test]
    fn memory_is_told_for_one_call() {
        let memory = Memory { calls: 1_000, before: 5_000_000, with_calls: 15_000_000, after: 0 };
        assert_eq!(memory.per_call(), 10_000.0);
        assert_eq!(Memory { with_calls: 0, ..memory }.per_call(), 0.0);
    }
}
