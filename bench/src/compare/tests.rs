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

fn contender(kind: Kind, name: &str) -> Contender {
    Contender { kind, name: name.into() }
}

fn plan(contenders: Vec<Contender>, rounds: u32) -> Plan {
    Plan { orders: vec![order()], contenders, rounds }
}

fn beside_rtpengine(rounds: u32) -> Plan {
    let ours = contender(Kind::Ours, "packet");
    plan(vec![ours, contender(Kind::Rtpengine, "rtpengine")], rounds)
}

#[test]
fn sides_alternate_and_ratios_are_peer_by_ours() {
    let (mut book, mut played) = (Book::default(), Vec::new());
    let missing = book.fill(&beside_rtpengine(3), &mut |_| Ok(true), &mut |contender, _, round| {
        let kind = contender.kind;
        played.push(kind);
        let busy = if kind == Kind::Ours { 3 + u64::from(round) } else { 10 + u64::from(round) };
        Ok(run(kind, busy, 1_000, 0))
    });
    assert_eq!(missing.unwrap(), 0);
    use Kind::{Ours, Rtpengine};
    assert_eq!(played, [Ours, Rtpengine, Rtpengine, Ours, Ours, Rtpengine]);
    let pairs = book.pairs();
    let pair = &pairs[0];
    assert_eq!(Pair::cost(&pair.ours).median, 4_000.0);
    let ratio = pair.ratio();
    assert_eq!(ratio.median, 11.0 / 4.0);
    assert_eq!((ratio.least, ratio.most), (10.0 / 5.0, 12.0 / 3.0));
    assert!(pair.flaws().is_empty() && pair.repeated.is_empty());
    assert_eq!(identities(&pairs).len(), 2);
    let row = serde_json::to_value(Results { results: vec![pair.row()] }).unwrap();
    let expected = serde_json::json!({"results": [{
        "workload": "relay", "calls": 2, "backend": "packet", "ours_cpu_ns_per_packet": 4_000.0,
        "peer": "rtpengine", "peer_cpu_ns_per_packet": 11_000.0, "ratio": 2.75, "loss_ours": 0.0,
        "loss_peer": 0.0, "added_delay_us_p99": 4.0,
    }]});
    assert_eq!(row, expected);
}

#[test]
fn several_backends_and_numbers_of_calls_share_one_book() {
    let names = [(Kind::Ours, "uring"), (Kind::Ours, "packet"), (Kind::Rtpengine, "rtpengine")];
    let contenders = names.map(|(kind, name)| contender(kind, name)).to_vec();
    let orders = [100, 4_000].map(|calls| Order { calls, ..order() }).to_vec();
    let plan = Plan { orders, contenders, rounds: 2 };
    let mut book = Book::default();
    let mut play = |contender: &Contender, order: &Order, _: u32| {
        let by_name = if contender.name == "uring" { 6 } else { 3 };
        Ok(run(contender.kind, by_name + u64::from(order.calls) / 1_000, 1_000, 0))
    };
    // In pieces: two runs, then nothing, then the rest.
    let mut left = 2;
    let mut text = String::new();
    let mut go_on = |book: &Book| {
        text = serde_json::to_string(book).unwrap();
        left -= 1;
        Ok(left >= 0)
    };
    assert_eq!(book.fill(&plan, &mut go_on, &mut play).unwrap(), 10);
    let mut book: Book = serde_json::from_str(&text).unwrap();
    assert_eq!(
        book.fill(&plan, &mut |_| Ok(false), &mut play).unwrap(),
        10,
        "what was read counts"
    );
    assert_eq!(book.fill(&plan, &mut |_| Ok(true), &mut play).unwrap(), 0);
    let pairs = book.pairs();
    let costs: Vec<_> = pairs
        .iter()
        .map(|pair| (pair.backend.as_str(), pair.calls, Pair::cost(&pair.ours).median))
        .collect();
    let expected = [
        ("uring", 100, 6_000.0),
        ("packet", 100, 3_000.0),
        ("uring", 4_000, 10_000.0),
        ("packet", 4_000, 7_000.0),
    ];
    assert_eq!(costs, expected);
    assert!(pairs.iter().all(|pair| pair.ours.len() == 2 && pair.peer.len() == 2));
}

#[test]
fn ours_alone_has_no_ratio() {
    let mut book = Book::default();
    let plan = plan(vec![contender(Kind::Ours, "xdp")], 1);
    book.fill(&plan, &mut |_| Ok(true), &mut |_, _, _| Ok(run(Kind::Ours, 3, 1_000, 0))).unwrap();
    let row = book.pairs()[0].row();
    assert_eq!((row.backend.as_str(), row.ratio, row.peer.as_str()), ("xdp", 0.0, ""));
}

#[test]
fn disturbed_runs_are_repeated_and_the_last_is_kept_and_marked() {
    let (mut plays, mut book) = (0, Book::default());
    book.fill(&beside_rtpengine(1), &mut |_| Ok(true), &mut |contender, _, _| {
        plays += 1;
        let foreign = if contender.kind == Kind::Ours && plays < 3 { 500 } else { 0 };
        Ok(run(contender.kind, 5, 1_000, foreign))
    })
    .unwrap();
    let pair = &book.pairs()[0];
    assert_eq!((plays, pair.repeated.len(), pair.flaws().len()), (4, 2, 0));
    let mut book = Book::default();
    book.fill(&beside_rtpengine(1), &mut |_| Ok(true), &mut |contender, _, _| {
        Ok(run(contender.kind, 5, 1_000, 500))
    })
    .unwrap();
    let pair = &book.pairs()[0];
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
