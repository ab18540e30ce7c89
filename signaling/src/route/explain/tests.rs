use std::time::Duration;

use super::*;
use crate::config;
use crate::plan::Plan;

const TEXT: &str = r#"
[sip]
udp = ["192.0.2.1:5060"]

[[group]]
name = "carriers"

[[trunk]]
name = "pbx"
host = "192.0.2.10"
number_format_in = "national"
country_code = "49"

[[trunk]]
name = "cheap"
host = "192.0.2.20"
failover_group = "carriers"
priority = 1
number_format_out = "e164_bare"

[[trunk]]
name = "dear"
host = "192.0.2.30"
failover_group = "carriers"
priority = 2

[[trunk]]
name = "away"
host = "carrier.example"
failover_group = "carriers"
priority = 0

[[trunk]]
name = "one way"
host = "192.0.2.40"
direction = "outbound"

[[route]]
name = "off"
enabled = false
destination = "cheap"

[[route]]
name = "in"
from_trunk = "cheap"
destination = "pbx"

[[route]]
name = "help"
called = "112"
destination = "carriers"
emergency = true

[[route]]
name = "vip"
caller = "200"
destination = "dear"

[[route]]
name = "at night"
schedule = "Europe/Berlin; 22:00-06:00"
destination = "dear"

[[route]]
name = "out"
called = "/^\\+49/"
strip = 3
prepend = "+49"
destination = "carriers"
"#;

const PBX: TrunkId = TrunkId(1);
const CHEAP: TrunkId = TrunkId(2);

struct Gateway {
    plan: Plan,
    table: TrunkTable,
    memory: Memory,
    now: Instant,
}

impl Gateway {
    fn new() -> Self {
        Self::with(TEXT)
    }

    fn with(text: &str) -> Self {
        let config = config::parse(text, std::path::Path::new("."));
        let plan = config.unwrap_or_else(|errors| panic!("{errors}")).plan();
        let table = TrunkTable::new(plan.trunks.clone());
        Self { plan, table, memory: Memory::default(), now: Instant::now() }
    }

    fn explain(&self, from: TrunkId, called: &str, usable: &dyn Fn(TrunkId) -> Usable) -> String {
        let world = World {
            routes: &self.plan.routes,
            groups: &self.plan.groups,
            trunks: &self.table,
            memory: &self.memory,
            usable,
            now: self.now,
        };
        // A Friday, 14:46 in Berlin.
        let at = "2026-11-27T13:46:00Z".parse().unwrap();
        explain(&world, &Query { from, called, caller: "100", at }).to_string()
    }
}

fn free(_: TrunkId) -> Usable {
    Usable::Free { free: u32::MAX, used: 3 }
}

#[test]
fn a_decision_is_told_step_by_step() {
    let gateway = Gateway::new();
    insta::assert_snapshot!(gateway.explain(PBX, "030123456", &free), @"
    call from trunk pbx to 030123456, caller 100
    called 030123456 is read as +4930123456
    route off does not: it is disabled
    route in does not: it takes calls of cheap only
    route help does not: called +4930123456 does not fit 112
    route vip does not: caller 100 does not fit 200
    route at night does not: closed at Fri 2026-11-27 14:46, by Europe/Berlin; 22:00-06:00
    route out takes it: called /^\\+49/ and caller * fit
    it goes to group carriers (priority: lower ones first, then the heavier)
    1. trunk cheap is asked for 4930123456 (priority 1, weight 100, 3 calls, no cap)
    2. trunk dear is asked for +4930123456 (priority 2, weight 100, 3 calls, no cap)
    trunk away is not asked: priority 0, weight 100, its host has no address; check the DNS
    placed by route out to cheap, then dear
    ");
}

#[test]
fn an_emergency_call_is_told_to_pass_caps() {
    let gateway = Gateway::new();
    let full = |id| if id == CHEAP { Usable::Full } else { free(id) };
    let told = gateway.explain(PBX, "112", &full);
    assert!(told.contains("route help takes it"), "{told}");
    assert!(told.contains("1. trunk cheap is asked for 112"), "{told}");
    assert!(told.ends_with("placed by route help to cheap, then dear, emergency: passes caps"));
}

#[test]
fn what_is_full_or_penalised_is_said() {
    let mut gateway = Gateway::new();
    let full = |id| if id == CHEAP { Usable::Full } else { Usable::Free { free: 2, used: 5 } };
    let told = gateway.explain(PBX, "030123456", &full);
    assert!(told.contains("trunk cheap is not asked: priority 1, weight 100, its cap"), "{told}");
    assert!(told.contains("1. trunk dear is asked") && told.contains("5 calls, room for 2 more"));
    gateway.memory.penalise(CHEAP, gateway.now, Some(Duration::from_secs(9)));
    let told = gateway.explain(PBX, "030123456", &free);
    assert!(told.contains("2. trunk cheap is asked"), "{told}");
    assert!(told.contains("asked last after its 503"));
    let told = gateway.explain(PBX, "030123456", &|_| Usable::Down("it does not answer"));
    assert!(told.ends_with("refused with 503: no trunk of group \"carriers\" can take the call"));
}

#[test]
fn a_refusal_is_told_with_its_code() {
    let gateway = Gateway::new();
    for (from, called, want) in [
        (PBX, "0033123456789", "refused with 404: no enabled route matches"),
        (TrunkId(5), "1", "refused with 403: the trunk's direction is outbound"),
        (TrunkId(77), "1", "refused with 403: the trunk is gone"),
    ] {
        let told = gateway.explain(from, called, &free);
        assert!(told.lines().last().unwrap().starts_with(want), "{told}");
    }
    let told = gateway.explain(CHEAP, "5", &|_| Usable::Full);
    assert!(
        told.ends_with("refused with 503: trunk \"pbx\": its cap of calls is reached"),
        "{told}"
    );
    let told = gateway.explain(CHEAP, "5", &free);
    assert!(told.ends_with("placed by route in to pbx"), "{told}");
}

/// What is explained is what happens: the same function decides.
#[test]
fn an_explanation_names_the_route_that_a_call_takes() {
    let gateway = Gateway::new();
    for called in ["030123456", "112", "0033123456789", "0", "", "+49", "\u{1f4de}"] {
        let trunk = gateway.table.get(PBX).unwrap();
        let read = trunk.numbering.called_in(called);
        let at = "2026-11-27T23:30:00Z".parse().unwrap();
        let query = Query { from: PBX, called: &read, caller: "100", at };
        let decision = gateway.plan.routes.decide(&query).ok().map(|decision| decision.route);
        let world = World {
            routes: &gateway.plan.routes,
            groups: &gateway.plan.groups,
            trunks: &gateway.table,
            memory: &gateway.memory,
            usable: &free,
            now: gateway.now,
        };
        let explained = explain(&world, &Query { called, ..query });
        let took = explained.steps.iter().find_map(|step| match step {
            Step::Route { route, takes: true, .. } => Some(route.clone()),
            _ => None,
        });
        assert_eq!(took, decision, "{called}");
        let json = serde_json::to_value(&explained).unwrap();
        assert_eq!(json["steps"][0]["step"], "call");
        assert!(json["outcome"]["outcome"].is_string());
    }
}

#[test]
fn weighted_and_turning_groups_take_no_turn_here() {
    for strategy in ["weighted", "round_robin", "least_loaded"] {
        let lines = format!("name = \"carriers\"\nstrategy = \"{strategy}\"");
        let mut gateway = Gateway::with(&TEXT.replace("name = \"carriers\"", &lines));
        let first = gateway.explain(PBX, "030123456", &free);
        assert!(first.contains(&format!("({strategy}: ")), "{first}");
        assert_eq!(first, gateway.explain(PBX, "030123456", &free));
        gateway.memory.take_turn(crate::group::GroupId(1));
        assert!(gateway.explain(PBX, "030123456", &free).contains("placed by route out"));
    }
}
