//! Who is asked first: one pure function.

use std::cmp::Reverse;

use super::{Membership, Strategy, Usable};
use crate::trunk::TrunkId;

/// A member as the hunt meets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Which trunk.
    pub trunk: TrunkId,
    /// Its priority and weight.
    pub membership: Membership,
    /// Whether it can take a call.
    pub usable: Usable,
    /// It said 503 a short while ago.
    pub is_penalised: bool,
}

/// Members in the order in which they are asked, and those that are not.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Order {
    /// First one first.
    pub asked: Vec<TrunkId>,
    /// Why others are not asked.
    pub skipped: Vec<Skipped>,
}

/// A member that is not asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// Which trunk.
    pub trunk: TrunkId,
    /// Why.
    pub why: &'static str,
}

/// Orders the members of a group.
///
/// Lower priorities come first; inside one the `strategy` decides. `turn` counts the group's calls,
/// `random(n)` draws from `0..n`. A penalised member comes after all others; a full one is skipped,
/// and one that is down, except by an `is_emergency` call: that passes the full as if they were not
/// full, and asks those that are down at the end. One that is closed is never asked.
pub fn order(
    strategy: Strategy,
    candidates: &[Candidate],
    is_emergency: bool,
    turn: u64,
    random: &mut dyn FnMut(u64) -> u64,
) -> Order {
    let mut order = Order::default();
    let mut ranks: [Vec<Candidate>; 3] = Default::default();
    let [fresh, penalised, down] = &mut ranks;
    for candidate in candidates {
        match candidate.usable {
            Usable::Full if !is_emergency => order.skip(candidate, FULL),
            Usable::Down(why) if !is_emergency => order.skip(candidate, why),
            Usable::Closed(why) => order.skip(candidate, why),
            Usable::Down(_) => down.push(*candidate),
            _ if candidate.is_penalised => penalised.push(*candidate),
            _ => fresh.push(*candidate),
        }
    }
    for mut rank in ranks {
        rank.sort_by_key(|c| (c.membership.priority, c.trunk));
        for equals in rank.chunk_by_mut(|a, b| a.membership.priority == b.membership.priority) {
            arrange(strategy, equals, turn, random);
            order.asked.extend(equals.iter().map(|candidate| candidate.trunk));
        }
    }
    order
}

impl Order {
    fn skip(&mut self, candidate: &Candidate, why: &'static str) {
        self.skipped.push(Skipped { trunk: candidate.trunk, why });
    }
}

/// Orders members of one priority, given by id.
fn arrange(
    strategy: Strategy,
    equals: &mut [Candidate],
    turn: u64,
    random: &mut dyn FnMut(u64) -> u64,
) {
    match strategy {
        Strategy::Priority => equals.sort_by_key(|c| (Reverse(c.membership.weight), c.trunk)),
        Strategy::Weighted => draw(equals, random),
        Strategy::RoundRobin => {
            let count = u64::try_from(equals.len()).unwrap_or(u64::MAX).max(1);
            equals.rotate_left(usize::try_from(turn % count).unwrap_or_default());
        }
        Strategy::LeastLoaded => equals.sort_by_key(|c| {
            let (free, used) = match c.usable {
                Usable::Free { free, used } => (free, used),
                Usable::Full | Usable::Down(_) | Usable::Closed(_) => (0, u32::MAX),
            };
            (Reverse(free), used, Reverse(c.membership.weight), c.trunk)
        }),
    }
}

/// RFC 2782, "Weight": those of weight 0 stand first, a number from 0 to the sum of all weights is
/// drawn, and the first whose running sum is not less is next; then again with the rest.
fn draw(equals: &mut [Candidate], random: &mut dyn FnMut(u64) -> u64) {
    equals.sort_by_key(|c| (c.membership.weight != 0, c.trunk));
    let mut rest = equals;
    while rest.len() > 1 {
        let sum: u64 = rest.iter().map(|c| u64::from(c.membership.weight)).sum();
        let drawn = random(sum + 1);
        let mut running = 0;
        let found = rest.iter().position(|c| {
            running += u64::from(c.membership.weight);
            running >= drawn
        });
        // The chosen one comes to the front; the rest keep their order.
        if let Some(chosen) = rest.get_mut(..=found.unwrap_or_default()) {
            chosen.rotate_right(1);
        }
        rest = rest.get_mut(1..).unwrap_or_default();
    }
}

const FULL: &str = "its cap of calls is reached";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::group::GroupId;

    const FREE: Usable = Usable::Free { free: u32::MAX, used: 0 };
    const DOWN: Usable = Usable::Down("unreachable");

    fn member(id: u32, priority: u16, weight: u16, usable: Usable) -> Candidate {
        Candidate {
            trunk: TrunkId(id),
            membership: Membership { group: GroupId(0), priority, weight },
            usable,
            is_penalised: false,
        }
    }

    fn penalised(candidate: Candidate) -> Candidate {
        Candidate { is_penalised: true, ..candidate }
    }

    fn load(free: u32, used: u32) -> Usable {
        Usable::Free { free, used }
    }

    fn asked(strategy: Strategy, candidates: &[Candidate], turn: u64) -> Vec<u32> {
        let order = order(strategy, candidates, false, turn, &mut |_| panic!("no chance here"));
        order.asked.iter().map(|trunk| trunk.0).collect()
    }

    #[test]
    fn priority_is_always_the_same() {
        let members = [
            member(1, 20, 0, FREE),
            member(2, 10, 5, FREE),
            member(3, 10, 50, FREE),
            member(4, 0, 0, FREE),
            member(5, 10, 5, FREE),
        ];
        for turn in 0..5 {
            assert_eq!(asked(Strategy::Priority, &members, turn), [4, 3, 2, 5, 1]);
        }
    }

    #[test]
    fn round_robin_rotates_inside_a_priority() {
        let members = [
            member(1, 0, 0, FREE),
            member(2, 0, 0, FREE),
            member(3, 0, 0, FREE),
            member(8, 1, 0, FREE),
            member(9, 1, 0, FREE),
        ];
        let orders: Vec<_> =
            (0..4).map(|turn| asked(Strategy::RoundRobin, &members, turn)).collect();
        assert_eq!(orders[0], [1, 2, 3, 8, 9]);
        assert_eq!(orders[1], [2, 3, 1, 9, 8]);
        assert_eq!(orders[2], [3, 1, 2, 8, 9]);
        assert_eq!(orders[3], [1, 2, 3, 9, 8]);
    }

    #[test]
    fn least_loaded_asks_the_one_with_most_room() {
        let members = [
            member(1, 0, 0, load(3, 7)),
            member(2, 0, 0, load(9, 1)),
            member(3, 0, 0, load(u32::MAX, 400)),
            member(4, 0, 0, load(u32::MAX, 3)),
            member(5, 0, 9, load(3, 7)),
            member(6, 1, 0, load(u32::MAX, 0)),
        ];
        assert_eq!(asked(Strategy::LeastLoaded, &members, 7), [4, 3, 2, 5, 1, 6]);
    }

    #[test]
    fn who_cannot_is_skipped_with_the_reason() {
        let members = [
            member(1, 0, 0, Usable::Full),
            member(2, 0, 0, DOWN),
            member(3, 1, 0, FREE),
            penalised(member(4, 0, 0, FREE)),
        ];
        for strategy in [Strategy::Priority, Strategy::RoundRobin, Strategy::LeastLoaded] {
            let order = order(strategy, &members, false, 0, &mut |_| 0);
            assert_eq!(order.asked, [TrunkId(3), TrunkId(4)], "the penalised one comes last");
            let whys: Vec<_> = order.skipped.iter().map(|s| (s.trunk.0, s.why)).collect();
            assert_eq!(whys, [(1, FULL), (2, "unreachable")]);
        }
    }

    #[test]
    fn an_emergency_call_asks_everybody_that_may_be_asked() {
        let members = [
            member(1, 0, 0, DOWN),
            member(2, 1, 0, Usable::Full),
            member(3, 2, 0, FREE),
            penalised(member(4, 0, 0, FREE)),
            member(5, 0, 0, Usable::Closed("it is disabled")),
        ];
        for strategy in Strategy::ALL {
            let order = order(strategy, &members, true, 0, &mut |_| 0);
            assert_eq!(order.asked.iter().map(|t| t.0).collect::<Vec<_>>(), [2, 3, 4, 1]);
            assert_eq!(order.skipped, [Skipped { trunk: TrunkId(5), why: "it is disabled" }]);
        }
    }

    #[test]
    fn nobody_is_an_empty_order() {
        for strategy in Strategy::ALL {
            assert_eq!(order(strategy, &[], true, 9, &mut |_| 0), Order::default());
        }
    }

    /// The numbers that the RFC's procedure would draw, and whom it then chooses.
    #[test]
    fn weights_follow_rfc_2782() {
        let members = [member(1, 0, 10, FREE), member(2, 0, 0, FREE), member(3, 0, 20, FREE)];
        // In the order 2 (0), 1 (0+10), 3 (10+20).
        for (draws, want) in [
            ([0, 0], [2, 1, 3]),
            ([0, 10], [2, 1, 3]),
            ([0, 11], [2, 3, 1]),
            ([1, 0], [1, 2, 3]),
            ([10, 1], [1, 3, 2]),
            ([11, 0], [3, 2, 1]),
            ([30, 1], [3, 1, 2]),
            ([30, 10], [3, 1, 2]),
        ] {
            let mut next = draws.into_iter();
            let order = order(Strategy::Weighted, &members, false, 0, &mut |below| {
                let drawn = next.next().expect("two draws order three");
                assert!(drawn < below);
                drawn
            });
            let ids: Vec<_> = order.asked.iter().map(|t| t.0).collect();
            assert_eq!(ids, want, "{draws:?}");
        }
    }

    #[test]
    fn weights_are_shares_in_the_long_run() {
        let members = [
            member(1, 0, 10, FREE),
            member(2, 0, 30, FREE),
            member(3, 0, 60, FREE),
            member(4, 1, 65_535, FREE),
        ];
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            (seed >> 33) % below
        };
        let mut first: BTreeMap<u32, u32> = BTreeMap::new();
        for _ in 0..100_000 {
            let order = order(Strategy::Weighted, &members, false, 0, &mut random);
            *first.entry(order.asked[0].0).or_default() += 1;
            assert_eq!(order.asked.len(), 4);
            assert_eq!(order.asked[3], TrunkId(4), "a later priority is never first");
        }
        for (id, share) in [(1, 10_000_u32), (2, 30_000), (3, 60_000)] {
            assert!(first[&id].abs_diff(share) < 1_200, "{first:?}");
        }
    }

    /// Every member once, lower priorities before higher ones: whatever the inputs.
    #[test]
    fn an_order_is_a_permutation_by_priority() {
        let mut seed = 7_u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..20_000 {
            let count = next(9);
            let members: Vec<_> = (0..count)
                .map(|id| {
                    let usable = match next(5) {
                        0 => Usable::Full,
                        1 => DOWN,
                        2 => Usable::Closed("draining"),
                        _ => load(next(3) as u32, next(3) as u32),
                    };
                    let weight = [0, 1, 65_535][next(3) as usize];
                    let candidate = member(id as u32, next(3) as u16, weight, usable);
                    Candidate { is_penalised: next(5) == 0, ..candidate }
                })
                .collect();
            let strategy = Strategy::ALL[next(4) as usize];
            let (turn, emergency) = (next(1_000), next(2) == 0);
            let order = order(strategy, &members, emergency, turn, &mut next);
            let mut all: Vec<_> = order.asked.clone();
            all.extend(order.skipped.iter().map(|skipped| skipped.trunk));
            all.sort();
            assert_eq!(all, members.iter().map(|m| m.trunk).collect::<Vec<_>>());
            let rank = |trunk: &TrunkId| {
                let member = members.iter().find(|m| m.trunk == *trunk).unwrap();
                let down = matches!(member.usable, Usable::Down(_));
                (down, !down && member.is_penalised, member.membership.priority)
            };
            assert!(order.asked.is_sorted_by_key(rank), "{order:?}");
        }
    }
}
