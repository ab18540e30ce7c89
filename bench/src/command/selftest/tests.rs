//! The positive controls without a wire: packets of a run pass the mirror's spoiler, by a clock of
//! their own, and each judge must see its fault, and must not see it where there is none.

use super::*;
use crate::account::{Accounting, Usage};
use crate::device::mirror::Spoiler;
use crate::device::{CallPlan, Identity};
use crate::load::packet::Shape;
use crate::load::script::Script;
use crate::load::verify::Verifier;
use crate::measure::flows_of;

const CALLS: u32 = 50;
const PACKETS: usize = 50_500;
const SHAPE: Shape = Shape { voice: 160, events: false };
/// Between two packets, and what a packet takes without any fault.
const GAP_NS: u64 = 50_000;
const WAY_NS: u64 = 80_000;

/// What a run through the spoiler would report.
fn spoilt_by(damage: Damage) -> Run {
    let macs = ([1; 6], [2; 6]);
    let mut spoiler = Spoiler::new(damage, macs);
    let plans = (0..CALLS).map(|index| CallPlan::of(Workload::Relay, index).unwrap());
    let calls: Vec<_> = plans.map(|plan| (spoiler.open(&plan), plan)).collect();
    let flows = flows_of(Workload::Relay, &calls);
    let script = Script::prepare(&flows, SHAPE, macs, PACKETS).unwrap();
    let mut verifier = Verifier::new(&flows, SHAPE, PACKETS, 0..PACKETS, true).unwrap();
    let sent_at = |n: usize| if n < PACKETS { GAP_NS * (n as u64 + 1) } else { 0 };
    for n in 0..PACKETS {
        spoiler.relay(script.frame(n).unwrap(), |hold, frame| {
            let at = sent_at(n) + WAY_NS + hold.as_nanos() as u64;
            verifier.take(&frame, at, sent_at);
        });
    }
    let counts = verifier.counts();
    Run {
        device: Identity { name: "spoiler".into(), version: "1".into(), tuning: String::new() },
        workload: Workload::Relay,
        calls: CALLS,
        flows: flows.len(),
        sent: PACKETS as u64,
        lost: PACKETS as u64 - counts.delivered,
        ring_full: 0,
        counts,
        delay: verifier.delay(),
        delay_curve: Vec::new(),
        accounting: Accounting::Core,
        usage: Usage::default(),
        pps: 20_000.0,
        skipped: 0,
        sink_dropped: 0,
        load_share: 0.0,
        replaced: 0,
        device_drops: Vec::new(),
    }
}

#[test]
fn each_injected_fault_is_reported_as_such_and_no_other() {
    let bare = spoilt_by(Damage::None);
    assert_eq!((bare.lost, bare.counts.delivered), (0, PACKETS as u64));
    for (damage, judge) in CONTROLS {
        let run = spoilt_by(damage);
        let finding = judge(&run, bare.delay.p50);
        assert!(finding.is_ok(), "{damage:?}: {finding:?}");
        if damage != Damage::None {
            let blind = judge(&bare, bare.delay.p50);
            assert!(blind.is_err(), "{damage:?} is reported where there is none: {blind:?}");
            assert!(judge_none(&run, 0.0).is_err() || damage == Damage::Delay, "{damage:?}");
        }
    }
}

#[test]
fn one_percent_lost_five_milliseconds_and_a_changed_octet_are_what_is_reported() {
    let lost = spoilt_by(Damage::Loss);
    assert_eq!((lost.lost, lost.counts.corrupted), (PACKETS as u64 / 101, 0));
    let (bare, late) = (spoilt_by(Damage::None), spoilt_by(Damage::Delay));
    let added = late.delay.p50 - bare.delay.p50;
    assert!((4_990.0..5_010.0).contains(&added), "{added} us");
    assert_eq!(late.lost, 0, "late is not lost");
    let changed = spoilt_by(Damage::Corruption);
    assert!(changed.counts.corrupted > 0 && changed.counts.misdelivered == 0, "{changed:?}");
    assert!(changed.flaw().unwrap().contains("corrupted"), "such a run is no result");
}

#[test]
fn a_loop_that_loses_a_packet_fails() {
    let mut run = spoilt_by(Damage::None);
    assert!(judge_loop(&run).is_ok());
    run.lost = 1;
    assert!(judge_loop(&run).is_err());
}
