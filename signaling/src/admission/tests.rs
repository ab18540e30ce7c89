use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config;

fn trunk(fields: &str) -> Trunk {
    let text = format!(
        "[sip]\nudp = [\"192.0.2.1:5060\"]\n[[trunk]]\nname = \"t\"\nhost = \"198.51.100.7\"\n\
         {fields}"
    );
    let config = config::parse(&text, Path::new(".")).unwrap_or_else(|errors| panic!("{errors}"));
    Trunk::clone(&config.trunks[0])
}

fn ways(count: usize) -> impl Iterator<Item = Bound> {
    (0..count).map(|i| if i % 3 == 0 { Bound::In } else { Bound::Out })
}

#[test]
fn the_cap_counts_both_directions_and_is_exact() {
    let (now, trunk) = (Instant::now(), trunk("max_concurrent_calls = 30\n"));
    let mut admission = Admission::default();
    let taken: Vec<_> = ways(100).map(|bound| admission.take(now, &trunk, bound, false)).collect();
    assert_eq!(taken.iter().filter(|slot| slot.is_ok()).count(), 30);
    assert!(taken.iter().skip(30).all(|slot| slot.as_ref().is_err_and(|e| *e == Full::Calls(30))));
    assert_eq!(admission.used(trunk.id), Used { inbound: 10, outbound: 20 });
    assert_eq!(admission.free(&trunk, Bound::In), Some(0));
    drop(taken);
    assert_eq!(admission.used(trunk.id).all(), 0);
    assert_eq!(admission.free(&trunk, Bound::Out), Some(30));
}

/// Four shards take and give back at the same time: never is there one call too many, and what the
/// trunk has room for is given.
#[test]
fn caps_are_exact_for_all_shards_together() {
    const SHARDS: usize = 4;
    let trunk = trunk("max_concurrent_calls = 30\n");
    let loads = Loads::from([(trunk.id, Arc::default())]);
    let (now, ready) = (Instant::now(), std::sync::Barrier::new(SHARDS));
    for round in 0..50 {
        let taken: usize = std::thread::scope(|scope| {
            let shards: Vec<_> = (0..SHARDS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut admission = Admission::default();
                        admission.share(&loads);
                        ready.wait();
                        let slots: Vec<_> = ways(25)
                            .filter_map(|bound| admission.take(now, &trunk, bound, false).ok())
                            .collect();
                        assert!(admission.used(trunk.id).all() <= 30);
                        ready.wait();
                        slots.len()
                    })
                })
                .collect();
            shards.into_iter().map(|shard| shard.join().unwrap()).sum()
        });
        assert_eq!(taken, 30, "round {round}");
        assert_eq!(loads[&trunk.id].used(), Used::default());
    }
}

#[test]
fn the_pace_is_exact_for_all_shards_together() {
    let trunk = trunk("max_cps = 10\n");
    let (now, loads) = (Instant::now(), Loads::from([(trunk.id, Arc::default())]));
    let granted: usize = std::thread::scope(|scope| {
        let shards: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut admission = Admission::default();
                    admission.share(&loads);
                    let mut taken = 0;
                    for _ in 0..100 {
                        taken += usize::from(admission.take(now, &trunk, Bound::In, false).is_ok());
                    }
                    taken
                })
            })
            .collect();
        shards.into_iter().map(|shard| shard.join().unwrap()).sum()
    });
    assert_eq!(granted, 20, "the burst, once");
}

#[test]
fn each_direction_has_its_own_cap() {
    let trunk = trunk("max_inbound_calls = 2\nmax_outbound_calls = 3\nmax_concurrent_calls = 4\n");
    let (now, mut admission) = (Instant::now(), Admission::default());
    let mut slots = Vec::new();
    for _ in 0..2 {
        slots.push(admission.take(now, &trunk, Bound::In, false).unwrap());
    }
    let refused = admission.take(now, &trunk, Bound::In, false).unwrap_err();
    assert_eq!(refused, Full::Direction(Bound::In, 2));
    assert_eq!(refused.to_string(), "max_inbound_calls = 2 calls");
    for _ in 0..2 {
        slots.push(admission.take(now, &trunk, Bound::Out, false).unwrap());
    }
    assert_eq!(admission.take(now, &trunk, Bound::Out, false).unwrap_err(), Full::Calls(4));
    drop(slots.remove(0));
    slots.push(admission.take(now, &trunk, Bound::Out, false).unwrap());
    let refused = admission.check(now, &trunk, Bound::Out).unwrap_err();
    assert_eq!(refused, Full::Calls(4));
    drop(slots.remove(0));
    assert_eq!(
        admission.check(now, &trunk, Bound::Out).unwrap_err(),
        Full::Direction(Bound::Out, 3)
    );
}

#[test]
fn an_emergency_call_passes_every_limit_and_counts() {
    let trunk = trunk("max_concurrent_calls = 1\nmax_cps = 1\n");
    let (now, mut admission) = (Instant::now(), Admission::default());
    let slots: Vec<Slot> =
        (0..5).map(|_| admission.take(now, &trunk, Bound::Out, true).unwrap()).collect();
    assert_eq!(admission.used(trunk.id).all(), 5);
    assert!(admission.take(now, &trunk, Bound::Out, false).is_err());
    drop(slots);
    // The bucket was spent below its bottom and fills again with time.
    assert_eq!(admission.take(now, &trunk, Bound::Out, false).unwrap_err(), Full::Pace(1));
    let later = now + Duration::from_secs(4);
    assert!(admission.take(later, &trunk, Bound::Out, false).is_ok());
}

#[test]
fn the_pace_allows_a_burst_of_twice_and_then_the_rate() {
    let trunk = trunk("max_cps = 10\n");
    let (start, mut admission) = (Instant::now(), Admission::default());
    let mut take = |at: Duration, bound| admission.take(start + at, &trunk, bound, false);
    let burst = (0..100).filter(|_| take(Duration::ZERO, Bound::In).is_ok()).count();
    assert_eq!(burst, 20);
    // The other direction has its own pace.
    assert!(take(Duration::ZERO, Bound::Out).is_ok());
    // Ten a second from then on, however often it is tried.
    let granted = (1..=5_000u64)
        .filter(|millis| take(Duration::from_millis(*millis), Bound::In).is_ok())
        .count();
    assert_eq!(granted, 50);
    // Silence fills the bucket again, not more.
    let later = Duration::from_secs(1_000);
    assert_eq!((0..100).filter(|_| take(later, Bound::In).is_ok()).count(), 20);
}

#[test]
fn a_refused_call_spends_nothing() {
    let trunk = trunk("max_concurrent_calls = 1\nmax_cps = 1\n");
    let (now, mut admission) = (Instant::now(), Admission::default());
    let slot = admission.take(now, &trunk, Bound::In, false).unwrap();
    for _ in 0..50 {
        assert_eq!(admission.take(now, &trunk, Bound::In, false).unwrap_err(), Full::Calls(1));
    }
    drop(slot);
    assert!(admission.take(now, &trunk, Bound::In, false).is_ok());
}

#[test]
fn ninety_percent_is_told_once_and_again_after_eighty() {
    let trunk = trunk("max_concurrent_calls = 20\n");
    let (now, mut admission) = (Instant::now(), Admission::default());
    let mut slots: Vec<Slot> =
        (0..17).map(|_| admission.take(now, &trunk, Bound::In, false).unwrap()).collect();
    assert_eq!(admission.alert(), None);
    slots.push(admission.take(now, &trunk, Bound::In, false).unwrap());
    assert_eq!(admission.alert(), Some(Alert { trunk: trunk.id, used: 18, max: 20 }));
    for _ in 0..5 {
        slots.pop();
        slots.push(admission.take(now, &trunk, Bound::Out, false).unwrap());
    }
    assert_eq!(admission.alert(), None, "it was told");
    slots.truncate(10);
    while slots.len() < 18 {
        slots.push(admission.take(now, &trunk, Bound::Out, false).unwrap());
    }
    assert!(admission.alert().is_some() && admission.alert().is_none());
}

#[test]
fn a_trunk_that_is_gone_is_kept_until_its_calls_are() {
    let trunk = trunk("");
    let (now, mut admission) = (Instant::now(), Admission::default());
    let slot = admission.take(now, &trunk, Bound::In, false).unwrap();
    admission.retain(|_| false);
    assert_eq!(admission.used(trunk.id).inbound, 1);
    drop(slot);
    admission.retain(|_| false);
    assert!(admission.trunks.is_empty());
}
