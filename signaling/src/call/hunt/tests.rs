use super::*;
use crate::config;
use crate::group::Groups;
use crate::locate::{Located, Server};
use crate::trunk::TrunkTable;

/// A group of two trunks; the first one's name stands for eight addresses.
struct Plan {
    table: TrunkTable,
    groups: Groups,
    start: Instant,
}

const FIRST: TrunkId = TrunkId(1);
const SECOND: TrunkId = TrunkId(2);

impl Plan {
    fn new(group: &str, first: &str) -> Self {
        let text = format!(
            "[sip]\nudp = [\"192.0.2.1:5060\"]\n[[group]]\nname = \"g\"\n{group}\n\
             [[trunk]]\nname = \"first\"\nhost = \"many.example\"\nfailover_group = \"g\"\n{first}\n\
             [[trunk]]\nname = \"second\"\nhost = \"192.0.2.99\"\nfailover_group = \"g\"\n"
        );
        let config = config::parse(&text, std::path::Path::new("."));
        let plan = config.unwrap_or_else(|errors| panic!("{errors}")).plan();
        let place = plan.trunks[0].places().remove(0);
        let port = place.port_or_default();
        let addresses = (1..9).map(|n| std::net::SocketAddr::from(([192, 0, 2, n], port)));
        let name = String::from("many.example");
        let server = Server { group: 0, weight: 0, name, addresses: addresses.collect() };
        let located = Located { servers: vec![server], retired: Vec::new() };
        let names = std::collections::HashMap::from([(place, located)]);
        let table = TrunkTable::new(plan.trunks).resolved(&std::sync::Arc::new(names));
        Self { table, groups: plan.groups, start: Instant::now() }
    }

    fn hunt(&self) -> Hunt {
        let group = self.groups.iter().next().unwrap();
        let members = [FIRST, SECOND].map(|id| (self.table.get(id).unwrap(), self.addresses(id)));
        self.begun(Hunt::through(group, members))
    }

    fn alone(&self, id: TrunkId) -> Hunt {
        self.begun(Hunt::alone(self.table.get(id).unwrap(), self.addresses(id)))
    }

    fn addresses(&self, id: TrunkId) -> Vec<SocketAddr> {
        self.table.targets(id).to_vec()
    }

    fn begun(&self, mut hunt: Hunt) -> Hunt {
        hunt.begin(self.start, String::from("1"), Duration::from_secs(180), false);
        hunt
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }
}

fn answered(code: u16) -> Fault {
    Fault::Answered(StatusCode::new(code).unwrap())
}

#[test]
fn a_hunt_sends_so_many_invites_and_no_more() {
    let plan = Plan::new("", "");
    let mut hunt = plan.hunt();
    let mut asked = Vec::new();
    while let Some(target) = hunt.next(plan.start) {
        assert!(hunt.moves_on(&target, Fault::Unreachable));
        asked.push(target.hop.remote.to_string());
    }
    assert_eq!(asked.len(), ATTEMPTS_MAX, "{asked:?}");
    assert_eq!((asked[0].as_str(), asked[5].as_str()), ("192.0.2.1:5060", "192.0.2.6:5060"));
    assert!(!hunt.is_over(), "the limit ended it, not the list");
    // Who had no room was not asked.
    let mut hunt = plan.hunt();
    for _ in 0..4 {
        let target = hunt.next(plan.start).unwrap();
        hunt.was_not_asked();
        assert_eq!(target.trunk, FIRST);
    }
    let rest = std::iter::from_fn(|| hunt.next(plan.start)).count();
    assert_eq!(rest, 5, "four more addresses, and the second trunk");
}

#[test]
fn a_hunt_has_its_time_until_somebody_rings() {
    let plan = Plan::new("", "");
    let limit = HUNT_LIMIT.as_secs();
    let mut hunt = plan.hunt();
    assert!(hunt.next(plan.at(0)).is_some() && hunt.next(plan.at(limit - 1)).is_some());
    assert!(hunt.next(plan.at(limit)).is_none());
    let mut hunt = plan.hunt();
    assert!(hunt.next(plan.at(limit)).is_some(), "one is asked in any case");
    hunt.rang(false);
    assert!(hunt.next(plan.at(limit + 60)).is_some(), "somebody rang: the time stands still");
}

#[test]
fn faults_move_on_to_the_next_address_or_the_next_trunk() {
    for (fault, moves, next) in [
        (Fault::Unreachable, true, Some(FIRST)),
        (answered(503), true, Some(FIRST)),
        (answered(408), true, Some(SECOND)),
        (answered(500), true, Some(SECOND)),
        (Fault::Unfit, true, Some(SECOND)),
        (answered(486), false, Some(FIRST)),
        (answered(488), false, Some(FIRST)),
        (answered(302), false, Some(FIRST)),
    ] {
        let plan = Plan::new("", "");
        let mut hunt = plan.hunt();
        let target = hunt.next(plan.start).unwrap();
        assert_eq!(hunt.moves_on(&target, fault), moves, "{fault:?}");
        assert_eq!(hunt.next(plan.start).map(|target| target.trunk), next, "{fault:?}");
    }
    // 503 that the operator took from the list moves nothing.
    let plan = Plan::new("failover_codes = [500]", "");
    let mut hunt = plan.hunt();
    let target = hunt.next(plan.start).unwrap();
    assert!(!hunt.moves_on(&target, answered(503)) && hunt.moves_on(&target, answered(500)));
}

#[test]
fn early_media_ends_a_hunt_unless_the_group_says_otherwise() {
    for (group, media, moves) in
        [("", false, true), ("", true, false), ("hunt_after_ringing = true", true, true)]
    {
        let plan = Plan::new(group, "");
        let mut hunt = plan.hunt();
        let target = hunt.next(plan.start).unwrap();
        hunt.rang(media);
        hunt.rang(false);
        assert_eq!(hunt.moves_on(&target, Fault::Unreachable), moves, "{group} {media}");
    }
}

#[test]
fn an_attempt_has_the_time_of_what_was_heard() {
    let secs = Duration::from_secs;
    let plan = Plan::new("reach_timer = 4\nprogress_timer = 10", "");
    let mut hunt = plan.hunt();
    let target = hunt.next(plan.start).unwrap();
    let limit = |hunt: &Hunt, target: &Target, heard| {
        let (at, limit) = hunt.limit(target, plan.start, heard);
        ((at - plan.start).as_secs(), limit)
    };
    assert_eq!(limit(&hunt, &target, Heard::Nothing), (4, Limit::Reach(secs(4))));
    assert_eq!(limit(&hunt, &target, Heard::Trying), (10, Limit::Progress(secs(10))));
    assert_eq!(limit(&hunt, &target, Heard::Ringing), (180, Limit::Ring));
    // The last of a group: silence still counts, 100 keeps the call for the hunt's time.
    hunt.leave(FIRST);
    let last = hunt.next(plan.start).unwrap();
    assert_eq!(limit(&hunt, &last, Heard::Nothing), (4, Limit::Reach(secs(4))));
    assert_eq!(limit(&hunt, &last, Heard::Trying), (30, Limit::Hunt));
    hunt.rang(false);
    assert_eq!(limit(&hunt, &last, Heard::Trying), (180, Limit::Ring));

    let mut lone = plan.alone(SECOND);
    let target = lone.next(plan.start).unwrap();
    assert_eq!(limit(&lone, &target, Heard::Nothing), (180, Limit::Ring), "Timer B ends it");
    assert_eq!(limit(&lone, &target, Heard::Trying), (180, Limit::Ring));
    let mut addresses = plan.alone(FIRST);
    let target = addresses.next(plan.start).unwrap();
    assert_eq!(limit(&addresses, &target, Heard::Nothing), (3, Limit::Reach(secs(3))));
    assert_eq!(limit(&addresses, &target, Heard::Trying), (12, Limit::Progress(secs(12))));

    let plan = Plan::new("", "reach_timer = 20\nprogress_timer = 60");
    let mut hunt = plan.hunt();
    let target = hunt.next(plan.start).unwrap();
    assert_eq!(limit(&hunt, &target, Heard::Nothing), (20, Limit::Reach(secs(20))));
    assert_eq!(limit(&hunt, &target, Heard::Trying), (30, Limit::Hunt), "the hunt is shorter");
}
