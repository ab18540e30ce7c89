use super::super::sample::{Media, Used};
use super::*;

fn worker(at_ns: u64, counters: &[(&str, u64)], delays: [u64; 3]) -> Worker {
    let bounds = [Some(7), Some(15), None];
    let histogram =
        |counts: [u64; 3]| Histogram { buckets: bounds.into_iter().zip(counts).collect() };
    let histograms =
        [(DELAY, histogram(delays)), (PER_WAKEUP, histogram([at_ns / 40_000_000, 0, 0]))];
    Worker {
        id: 0,
        state: "running".into(),
        core: Some(2),
        flows: 4,
        flows_max: 64,
        at_ns,
        counters: counters.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        histograms: histograms.into_iter().map(|(name, one)| (name.to_owned(), one)).collect(),
    }
}

fn sample(workers: Vec<Worker>) -> Sample {
    let way = |mos| Some(Way { packets: 100, lost: 3, jitter_ms: Some(1.25), mos });
    let media = Media { worker: 0, from_caller: way(Some(2.1)), from_callee: way(None) };
    let call = Call {
        id: "0123456789abcdef".into(),
        state: "talking".into(),
        from_trunk: Some("provider".into()),
        to_trunk: None,
        media: Some(media),
    };
    let trunk = Trunk {
        name: "provider".into(),
        status: Some("OK".into()),
        calls: Used { inbound: 2, outbound: 1 },
        max_concurrent_calls: Some(30),
    };
    Sample { workers, trunks: vec![trunk], worst: vec![call], calls: 3 }
}

const SECOND_NS: u64 = 1_000_000_000;

fn before() -> Worker {
    let counters = [
        ("wakeups", 100),
        ("rx_packets", 1_000),
        ("drop_off_path", 0),
        ("sleep_ns", 5),
        ("busy_ns", 0),
    ];
    worker(SECOND_NS, &counters, [100, 0, 5])
}

fn now() -> Worker {
    let counters = [
        ("wakeups", 300),
        ("rx_packets", 1_400),
        ("drop_off_path", 40),
        ("drop_replay", 0),
        ("sleep_ns", 3 * SECOND_NS / 2 + 5),
        ("gather_ns", SECOND_NS / 5),
        ("busy_ns", SECOND_NS / 10),
    ];
    worker(3 * SECOND_NS, &counters, [190, 10, 5])
}

fn standby() -> Worker {
    let fields = Worker { id: 1, state: "standby".into(), core: None, flows: 0, ..before() };
    Worker { counters: BTreeMap::new(), ..fields }
}

/// A worker that worked for two seconds, and one that is new.
pub fn view() -> View {
    View::between(&sample(vec![before()]), &sample(vec![now(), standby()]))
}

#[test]
fn rates_and_shares_are_those_of_the_interval() {
    let view = view();
    let rates = view.workers[0].rates.unwrap();
    assert_eq!((rates.packets_per_second, rates.drops_per_second), (200.0, 20.0));
    assert_eq!(rates.packets_per_wakeup, Some(8.0), "400 packets, 50 wake-ups that brought any");
    assert_eq!((rates.sleep, rates.gather, rates.spin, rates.busy), (0.75, 0.1, 0.0, 0.05));
    let delay = view.workers[0].delay_us;
    assert_eq!(delay, Percentiles { count: 100, p50: Some(7), p99: Some(15), p999: Some(15) });
    assert_eq!(view.workers[1].rates, None, "there is nothing to compare it with");
    let drop = Drop { reason: "off path".into(), per_second: 20.0, total: 40 };
    assert_eq!(view.drops, [drop], "what never happened is not shown");
    assert_eq!((view.calls, view.worst[0].from_caller.mos), (3, Some(2.1)));
}

#[test]
fn a_worker_that_stands_still_or_was_started_anew_has_no_rates() {
    let still = View::between(&sample(vec![before()]), &sample(vec![before()]));
    assert_eq!(still.workers[0].rates, None);
    let anew = Worker { at_ns: 4 * SECOND_NS, ..before() };
    let anew = Worker { counters: [("wakeups".to_owned(), 3)].into(), ..anew };
    let view = View::between(&sample(vec![now()]), &sample(vec![anew]));
    assert_eq!(view.workers[0].rates, None);
    assert_eq!(view.workers[0].delay_us, Percentiles::default());
}

#[test]
fn an_unknown_most_is_no_percentile() {
    assert_eq!(percentiles(&[(Some(1), 1), (None, 99)]).p99, None);
    assert_eq!(percentiles(&[]), Percentiles::default());
}
