//! One run: a device is started, calls are opened, packets flow, clocks are read, all is verified.
//!
//! ```text
//! start device, open calls | warm up | window: busy time of device's cores | stragglers | end
//!                                    ^ ordinal n0                         ^ ordinal n1
//! ```
//! The device is new in each run, so that runs do not depend on each other.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::account::{self, Accounting, Executor, Sample, Usage, Watch};
use crate::device::{self, CallOpen, CallPlan, Device, Identity, Kind, Launch};
use crate::fault::Fault;
use crate::load::drive::{Driven, Load, MOVED, Shared};
use crate::load::packet::Shape;
use crate::load::script::{Flow, Script};
use crate::load::verify::{Counts, Delay, Verifier};
use crate::load::wire::{Ring, Sender};
use crate::stage::Stage;
use crate::workload::{Way, Workload};

/// What one run is asked to do.
#[derive(Clone, Debug)]
pub struct Order {
    pub workload: Workload,
    pub calls: u32,
    /// Packets per second through the device, all flows together.
    pub pps: u32,
    pub seconds: u32,
    pub warmup: Duration,
    /// Milliseconds of voice in a packet.
    pub ptime: u32,
    /// Calls that are replaced each second (`churn`).
    pub churn: u32,
    /// How long a run may wait for the device's cores to be idle.
    pub wait_quiet: Duration,
    pub launch: Launch,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub device: Identity,
    pub workload: Workload,
    pub calls: u32,
    pub flows: usize,
    /// Packets handed to the wire within the window.
    pub sent: u64,
    pub lost: u64,
    /// Of `lost`: the device's receive ring was full.
    pub ring_full: u64,
    pub counts: Counts,
    pub delay: Delay,
    #[serde(skip)]
    pub delay_curve: Vec<(f64, f64)>,
    pub accounting: Accounting,
    pub usage: Usage,
    pub pps: f64,
    /// Packets left out because the load itself was held up.
    pub skipped: u64,
    /// Frames that the sink could not take: these are not the device's loss.
    pub sink_dropped: u64,
    /// Share of the load core that the load thread took.
    pub load_share: f64,
    /// Calls replaced during the window.
    pub replaced: u64,
    /// What the device says it dropped over the whole run, by its own counters.
    pub device_drops: Vec<(String, u64)>,
}

impl Run {
    /// CPU nanoseconds for one packet that came through, by the run's accounting.
    pub fn ns_per_packet(&self) -> f64 {
        let charged = match self.accounting {
            Accounting::Core => self.usage.busy_ns,
            Accounting::Threads => self.usage.process_ns + self.usage.receivers_ns,
        };
        charged as f64 / self.counts.delivered.max(1) as f64
    }

    /// Share of packets that did not come through, 0 to 1.
    pub fn loss(&self) -> f64 {
        self.lost as f64 / self.sent.max(1) as f64
    }

    /// Why the figure should not be used; `None` when all is well.
    pub fn flaw(&self) -> Option<String> {
        let wrong = self.counts;
        let faults = wrong.corrupted + wrong.unauthentic + wrong.misdelivered + wrong.duplicates;
        if faults > 0 {
            return Some(format!(
                "{} corrupted, {} unauthentic, {} misdelivered, {} twice",
                wrong.corrupted, wrong.unauthentic, wrong.misdelivered, wrong.duplicates
            ));
        }
        if self.sink_dropped > 0 {
            return Some(format!("the sink itself dropped {} frames", self.sink_dropped));
        }
        if self.skipped as f64 > SKIPPED_SHARE * self.sent as f64 {
            return Some(format!("the load was held up for {} packets", self.skipped));
        }
        (self.accounting == Accounting::Core && self.usage.disturbed()).then(|| {
            let share = self.usage.foreign_ns + self.usage.steal_ns;
            let percent = share as f64 * 100.0 / self.usage.wall_ns.max(1) as f64;
            format!("other programs took {percent:.1} % of the device's core")
        })
    }
}

/// Runs `order` against a device.
///
/// # Errors
/// The device did not start, refused a call, or died; the wire failed; the bench was interrupted.
pub fn run(
    stage: &Stage,
    kind: Kind,
    order: &Order,
    stop: &AtomicBool,
    say: &dyn Fn(&str),
) -> Result<Run, Fault> {
    say("waiting for quiet");
    account::wait_quiet(&stage.plan.device_cores, order.wait_quiet, stop)?;
    say("starting");
    // Two legs of two ports each.
    crate::stage::allow_files(u64::from(order.calls) * 4 + 200)?;
    stage.await_free_ports()?;
    let mut device = device::start(kind, &order.launch, stage)?;
    say("opening calls");
    let mut calls = Vec::new();
    for index in 0..order.calls {
        if stop.load(Ordering::Relaxed) {
            return Err(Fault::interrupted());
        }
        let plan = CallPlan::of(order.workload, index)?;
        calls.push((device.open(&plan)?, plan));
    }
    say("preparing packets");
    let flows = flows_of(order.workload, &calls);
    let fixed_source = order.workload != Workload::Churn;
    let mut take = Take::prepare(order, &flows, stage.macs(), fixed_source)?;
    take.accounting = stage.plan.accounting;
    let watch = Watch {
        cores: stage.plan.device_cores.iter().take(order.launch.workers).copied().collect(),
        device: device.executor(),
        receivers: account::receivers(&stage.device.interface, &stage.plan.device_cores),
    };
    let mut churn = Churn { device: &mut *device, calls: &mut calls, order, next: 0, replaced: 0 };
    let (driven, usage) = take
        .play(stage, Some(&watch), stop, say, |shared, elapsed| churn.advance(shared, elapsed))?;
    let replaced = churn.replaced;
    // The device publishes its counters every 100 ms; the stragglers' time was longer.
    let identity = device.identity();
    Ok(take.result(order, identity, device.drops(), driven, usage, replaced))
}

/// The load without a device: frames are written as a device would send them and go straight to the
/// sink. What this loses or delays is the bench's own.
///
/// # Errors
/// As [`run`].
pub fn run_looped(
    stage: &Stage,
    order: &Order,
    stop: &AtomicBool,
    say: &dyn Fn(&str),
) -> Result<Run, Fault> {
    let calls: Result<Vec<_>, Fault> = (0..order.calls)
        .map(|index| {
            let plan = CallPlan::of(order.workload, index)?;
            let leg = |plan: &device::LegPlan| device::LegOpen {
                device: plan.far,
                key: plan.key.clone(),
            };
            Ok((CallOpen { a: leg(&plan.a), b: leg(&plan.b) }, plan))
        })
        .collect();
    let mut flows = flows_of(order.workload, &calls?);
    for flow in &mut flows {
        // Sent as if it came from the device, protected with what the receiver expects.
        (flow.from, flow.to) = (flow.arrives_from, flow.arrives_at);
        flow.sends.clone_from(&flow.receives);
    }
    let mut take = Take::prepare(order, &flows, stage.macs_back(), true)?;
    take.looped = true;
    let (driven, _) = take.play(stage, None, stop, say, |_, _| Ok(()))?;
    let identity = Identity {
        name: "no device".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        tuning: "generator looped onto the sink".into(),
    };
    Ok(take.result(order, identity, Vec::new(), driven, Usage::default(), 0))
}

/// The directions that carry packets, in the order of the script.
pub fn flows_of(workload: Workload, calls: &[(CallOpen, CallPlan)]) -> Vec<Flow> {
    let flow = |way: Way, (open, plan): &(CallOpen, CallPlan)| {
        let (from, to) = match way {
            Way::AToB => ((&open.a, &plan.a), (&open.b, &plan.b)),
            Way::BToA => ((&open.b, &plan.b), (&open.a, &plan.a)),
        };
        Flow {
            from: from.1.far,
            to: from.0.device,
            arrives_at: to.1.far,
            arrives_from: to.0.device,
            sends: from.1.key.clone(),
            receives: to.0.key.clone(),
        }
    };
    calls.iter().flat_map(|call| workload.ways().iter().map(move |way| flow(*way, call))).collect()
}

/// Everything of a run that exists before the first packet.
struct Take {
    script: Script,
    verifier: Verifier,
    shared: Shared,
    window: std::ops::Range<usize>,
    pps: u32,
    looped: bool,
    accounting: Accounting,
}

impl Take {
    fn prepare(
        order: &Order,
        flows: &[Flow],
        macs: (crate::load::frame::Mac, crate::load::frame::Mac),
        fixed_source: bool,
    ) -> Result<Take, Fault> {
        let shape =
            Shape { voice: order.ptime as usize * 8, events: order.workload == Workload::Dtmf };
        let warm = (order.warmup.as_secs_f64() * f64::from(order.pps)) as usize;
        let window = warm..warm + order.seconds as usize * order.pps as usize;
        // A little more than the window, so that its last packets do not see the load cease.
        let packets = window.end + order.pps as usize / 10;
        if packets / flows.len().max(1) > NUMBERS_MAX {
            return Err(Fault::new(
                "a flow would send more packets than its sequence numbers can tell apart",
                "raise --calls or lower --pps or --seconds",
            ));
        }
        let script = Script::prepare(flows, shape, macs, packets)?;
        let verifier = Verifier::new(flows, shape, packets, window.clone(), fixed_source)?;
        let ports = flows.iter().map(|flow| AtomicU32::new(flow.to.port().into())).collect();
        let shared = Shared { next: AtomicU64::new(0), stop: AtomicBool::new(false), ports };
        Ok(Take {
            accounting: Accounting::Core,
            script,
            verifier,
            shared,
            window,
            pps: order.pps,
            looped: false,
        })
    }

    /// Sends it all; samples the clocks at both ends of the window.
    fn play(
        &mut self,
        stage: &Stage,
        watch: Option<&Watch>,
        stop: &AtomicBool,
        say: &dyn Fn(&str),
        mut meanwhile: impl FnMut(&Shared, Duration) -> Result<(), Fault>,
    ) -> Result<(Driven, Usage), Fault> {
        let Take { script, verifier, shared, window, pps, looped, .. } = self;
        let shared = &*shared;
        let core = stage.plan.load_core;
        let (from, index) = match *looped {
            true => (&stage.device, stage.device.index),
            false => (&stage.load, stage.feed()),
        };
        let sender = from.inside(core, || Sender::open(index))?;
        let sender = sender.map_err(Fault::io("open the generator's wire"))?;
        let index = stage.load.index;
        let ring = stage.load.inside(core, || Ring::open(index))?;
        let ring = ring.map_err(Fault::io("open the sink's ring"))?;
        let load =
            Load { sender, ring, script, verifier, window: window.clone(), pps: *pps, shared };
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                crate::stage::pin(core)?;
                load.run().map_err(Fault::io("the wire"))
            });
            // Whatever ends this closure must end the thread too.
            let guard = StopOnDrop(&shared.stop);
            let idle = Watch {
                cores: stage.plan.device_cores.clone(),
                device: Executor::Process(std::process::id()),
                receivers: Vec::new(),
            };
            let watch = watch.unwrap_or(&idle);
            let mut wait_for = |n: usize, measured: bool| {
                let start = std::time::Instant::now();
                while (shared.next.load(Ordering::Relaxed) as usize) < n {
                    if stop.load(Ordering::Relaxed) {
                        return Err(Fault::interrupted());
                    }
                    if thread.is_finished() {
                        return Err(Fault::new("the load thread ended early", ""));
                    }
                    if measured {
                        meanwhile(shared, start.elapsed())?;
                    }
                    std::thread::sleep(LOOK);
                }
                Ok(())
            };
            say("warming up");
            wait_for(window.start, false)?;
            let before = Sample::take(watch).map_err(Fault::io("read the CPU clocks"))?;
            say("measuring");
            wait_for(window.end, true)?;
            let after = Sample::take(watch).map_err(Fault::io("read the CPU clocks"))?;
            let joined = thread.join();
            drop(guard);
            let driven = joined.map_err(|_| Fault::new("the load thread panicked", ""))??;
            Ok((driven, after.since(&before)))
        })
    }

    fn result(
        &self,
        order: &Order,
        device: Identity,
        device_drops: Vec<(String, u64)>,
        driven: Driven,
        usage: Usage,
        replaced: u64,
    ) -> Run {
        let counts = self.verifier.counts();
        Run {
            device,
            workload: order.workload,
            calls: order.calls,
            flows: self.shared.ports.len(),
            sent: driven.sent,
            lost: driven.sent.saturating_sub(counts.delivered),
            ring_full: driven.refused,
            counts,
            delay: self.verifier.delay(),
            delay_curve: self.verifier.delay_curve(&QUANTILES),
            accounting: self.accounting,
            usage,
            pps: driven.sent as f64 / f64::from(order.seconds.max(1)),
            skipped: driven.skipped,
            sink_dropped: driven.sink_dropped,
            load_share: driven.cpu_ns as f64 / driven.wall_ns.max(1) as f64,
            replaced,
            device_drops,
        }
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls that close and open while others talk.
struct Churn<'a> {
    device: &'a mut dyn Device,
    calls: &'a mut [(CallOpen, CallPlan)],
    order: &'a Order,
    next: usize,
    replaced: u64,
}

impl Churn<'_> {
    /// Replaces as many calls as are due after `elapsed`.
    fn advance(&mut self, shared: &Shared, elapsed: Duration) -> Result<(), Fault> {
        if self.order.workload != Workload::Churn {
            return Ok(());
        }
        let due = (elapsed.as_secs_f64() * f64::from(self.order.churn)) as u64;
        while self.replaced < due {
            self.replace(shared)?;
        }
        Ok(())
    }

    /// The call falls silent, its last packets pass, it closes, opens anew and talks again.
    fn replace(&mut self, shared: &Shared) -> Result<(), Fault> {
        let ways = self.order.workload.ways().len();
        let count = self.calls.len().max(1);
        let Some((open, plan)) = self.calls.get_mut(self.next % count) else { return Ok(()) };
        let first = self.next % count * ways;
        let ports = shared.ports.get(first..first + ways).unwrap_or_default();
        ports.iter().for_each(|port| port.store(0, Ordering::Relaxed));
        std::thread::sleep(SILENCE);
        self.device.close(plan.index)?;
        *open = self.device.open(plan)?;
        for (way, port) in self.order.workload.ways().iter().zip(ports) {
            let device = if *way == Way::AToB { open.a.device } else { open.b.device };
            port.store(u32::from(device.port()) | MOVED, Ordering::Relaxed);
        }
        self.next += 1;
        self.replaced += 1;
        Ok(())
    }
}

/// How often the run looks at the load's progress.
const LOOK: Duration = Duration::from_millis(1);
/// Between the last packet of a call and its close: more than any packet is under way.
const SILENCE: Duration = Duration::from_millis(8);
/// Sequence numbers of a flow in one run stay far from coming round twice.
const NUMBERS_MAX: usize = 1 << 20;
/// A load that leaves out more than this share of its packets is not the load that was asked for.
const SKIPPED_SHARE: f64 = 0.01;
/// Where the delay curve of a report has its points.
const QUANTILES: [f64; 12] =
    [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999];
