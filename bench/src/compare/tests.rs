use super::*;
use crate::account::{Accounting, Usage};
use crate::device::Launch;
use crate::load::verify::{Counts, Delay};

fn identity(name: &str) -> Identity {
    Identity { name: name.into(), version: "1".into(), tuning: String::new() }
}

fn run(kind: Kind, busy_ms: u64, delivered: u64, foreign_ms: u64) -> Run {
    Run {
        device: identity(kind.name()),
        workload: Workload::Relay,
        calls: 2,
        flows: 4,
        sent: 1_000,
        lost: 1_000 - delivered,
        ring_full: 0,
        counts: Counts { delivered, ..Counts::default() },
        delay: Delay { p99: busy_ms as f64, ..Delay::default() },
        delay_curve: Vec::new(),
        accounting: Accounting::Core,
        usage: Usage {
            wall_ns: 1_000_000_000,
            busy_ns: busy_ms * 1_000_000,
            foreign_ns: foreign_ms * 1_000_000,
            ..Usage::default()
        },
        pps: 1_000.0,
        skipped: 0,
        sink_dropped: 0,
        load_share: 0.1,
        replaced: 0,
        device_drops: Vec::new(),
    }
}

fn order() -> Order {
    Order {
        workload: Workload::Relay,
        calls: 2,
        pps: 1_000,
        seconds: 1,
        warmup: std::time::Duration::ZERO,
        ptime: 20,
        churn: 1,
        wait_quiet: std::time::Duration::ZERO,
        launch: Launch {
            workers: 1,
            calls: 2,
            backend: "uring".into(),
            trunkline: "t".into(),
            rtpengine: "r".into(),
        },
    }
}

#[test]
fn medians_of_odd_even_and_no_values() {
    let spread = Spread::of([3.0, 1.0, 2.0]);
    assert_eq!((spread.median, spread.least, spread.most), (2.0, 1.0, 3.0));
    assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
    assert_eq!(Spread::of([7.0]).median, 7.0);
    assert_eq!(Spread::of([]), Spread { median: 0.0, least: 0.0, most: 0.0 });
}

#[test]
fn sides_alternate_and_ratios_are_peer_by_ours() {
    let mut played = Vec::new();
    let pair = alternate(&order(), Kind::Rtpengine, 3, &mut |kind, _, round| {
        played.push(kind);
        let busy = if kind == Kind::Ours { 3 + u64::from(round) } else { 10 + u64::from(round) };
        Ok(run(kind, busy, 1_000, 0))
    })
    .unwrap();
    use Kind::{Ours, Rtpengine};
    assert_eq!(played, [Ours, Rtpengine, Rtpengine, Ours, Ours, Rtpengine]);
    assert_eq!(Pair::cost(&pair.ours).median, 4_000.0);
    let ratio = pair.ratio();
    assert_eq!(ratio.median, 11.0 / 4.0);
    assert_eq!((ratio.least, ratio.most), (10.0 / 5.0, 12.0 / 3.0));
    assert!(pair.flaws().is_empty() && pair.repeated.is_empty());
    assert_eq!(identities(std::slice::from_ref(&pair)).len(), 2);
    let row = serde_json::to_value(Results { results: vec![pair.row()] }).unwrap();
    let expected = serde_json::json!({"results": [{
        "workload": "relay", "calls": 2, "ours_cpu_ns_per_packet": 4_000.0, "peer": "rtpengine",
        "peer_cpu_ns_per_packet": 11_000.0, "ratio": 2.75, "loss_ours": 0.0, "loss_peer": 0.0,
        "added_delay_us_p99": 4.0,
    }]});
    assert_eq!(row, expected);
}

#[test]
fn disturbed_runs_are_repeated_and_the_last_is_kept_and_marked() {
    let mut plays = 0;
    let pair = alternate(&order(), Kind::Rtpengine, 1, &mut |kind, _, _| {
        plays += 1;
        let foreign = if kind == Kind::Ours && plays < 3 { 500 } else { 0 };
        Ok(run(kind, 5, 1_000, foreign))
    })
    .unwrap();
    assert_eq!((plays, pair.repeated.len(), pair.flaws().len()), (4, 2, 0));
    let pair =
        alternate(&order(), Kind::Rtpengine, 1, &mut |kind, _, _| Ok(run(kind, 5, 1_000, 500)))
            .unwrap();
    assert_eq!((pair.ours.len(), pair.repeated.len(), pair.flaws().len()), (1, 4, 2));
}

#[test]
fn a_flaw_of_the_bench_is_not_a_loss_of_the_device() {
    let lossy = run(Kind::Ours, 5, 990, 0);
    assert!((lossy.loss() - 0.01).abs() < 1e-12);
    assert_eq!(lossy.flaw(), None, "loss is a result, not a flaw");
    let mut beside = run(Kind::Ours, 5, 1_000, 500);
    assert!(beside.flaw().unwrap().contains("other programs"));
    beside.accounting = Accounting::Threads;
    beside.usage.process_ns = 1_500_000;
    beside.usage.receivers_ns = 500_000;
    assert_eq!((beside.flaw(), beside.ns_per_packet()), (None, 2_000.0));
    let mut sink = run(Kind::Ours, 5, 1_000, 0);
    sink.sink_dropped = 1;
    assert!(sink.flaw().unwrap().contains("sink"));
    let mut held = run(Kind::Ours, 5, 1_000, 0);
    held.skipped = 11;
    assert!(held.flaw().unwrap().contains("held up"));
    let mut spoilt = run(Kind::Ours, 5, 1_000, 0);
    spoilt.counts.corrupted = 1;
    assert!(spoilt.flaw().unwrap().contains("1 corrupted"));
}
