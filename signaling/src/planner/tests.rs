use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc::error::TryRecvError;

use super::*;
use crate::store::tests::Scratch;
use crate::store::{Actor, Expected, Opening, Refusal, Sent, Store};

struct Rig {
    store: Store,
    live: LivePlan,
    moves: Moves,
    _scratch: Scratch,
}

fn rig() -> Rig {
    rig_with("[sip]\nudp = [\"192.0.2.250:5060\"]\n")
}

fn rig_with(text: &str) -> Rig {
    let scratch = Scratch::new("planner");
    let config = config::parse(text, Path::new("."));
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    let live = LivePlan::new(Plan::default());
    let (left, moves) = mpsc::unbounded_channel();
    let planner = Planner::new(&config, live.clone(), left);
    let store = Store::open(Opening {
        file: scratch.path("store.db"),
        key_file: scratch.path("store.key"),
        consumer: Box::new(planner),
        fault: |_| (),
    });
    Rig { store: store.unwrap(), live, moves, _scratch: scratch }
}

impl Rig {
    fn add(&self, kind: Kind, document: Value) -> Result<Arc<Object>, Vec<Finding>> {
        let document = document.as_object().unwrap().clone();
        let actor = Actor::gateway();
        let saved =
            self.store.ask_blocking(move |keeper| keeper.create(&actor, kind, document, None));
        match saved {
            Ok(saved) => Ok(saved.object),
            Err(Refusal::Invalid(findings)) => Err(findings),
            Err(other) => panic!("{other}"),
        }
    }

    fn patch(&self, kind: Kind, id: u32, patch: Value) -> Result<(), Vec<Finding>> {
        let sent = Sent::Patch(patch.as_object().unwrap().clone());
        let actor = Actor::gateway();
        let saved = self
            .store
            .ask_blocking(move |keeper| keeper.update(&actor, kind, id, Expected::Any, sent));
        match saved {
            Ok(_) => Ok(()),
            Err(Refusal::Invalid(findings)) => Err(findings),
            Err(other) => panic!("{other}"),
        }
    }

    fn delete(&self, id: u32) {
        let actor = Actor::gateway();
        let job = move |keeper: &mut crate::store::Keeper| {
            keeper.delete(&actor, Kind::Trunk, id, Expected::Any)
        };
        self.store.ask_blocking(job).unwrap();
    }

    fn depart(&self, id: u32, step: Departure) {
        self.store.ask_blocking(move |keeper| keeper.depart(id, step)).unwrap();
    }

    fn names(&self) -> Vec<String> {
        self.live.plan().trunks.iter().map(|trunk| trunk.name.clone()).collect()
    }
}

fn trunk(name: &str, last: u8) -> Value {
    json!({"name": name, "host": format!("198.51.100.{last}")})
}

#[test]
fn a_save_is_in_the_plan_under_the_stores_id_when_it_is_answered() {
    let rig = rig();
    let a = rig.add(Kind::Trunk, trunk("a", 1)).unwrap();
    let route = json!({"name": "r", "called": "_39.", "destination": "a"});
    rig.add(Kind::Route, route).unwrap();
    let plan = rig.live.plan();
    assert_eq!(plan.trunk(TrunkId(a.id)).unwrap().name, "a");
    assert_eq!(plan.routes.iter().count(), 1);
    rig.patch(Kind::Trunk, a.id, json!({"name": "b", "max_concurrent_calls": 5})).unwrap();
    let plan = rig.live.plan();
    let trunk = plan.trunk(TrunkId(a.id)).unwrap();
    assert_eq!((trunk.name.as_str(), trunk.max_concurrent_calls), ("b", Some(5)));
    assert_eq!(plan.routes.iter().count(), 1, "the route follows the new name");
}

#[test]
fn an_edit_of_one_trunk_reads_no_other() {
    let rig = rig();
    let a = rig.add(Kind::Trunk, trunk("a", 1)).unwrap();
    let b = rig.add(Kind::Trunk, trunk("b", 2)).unwrap();
    let before = Arc::clone(rig.live.plan().trunk(TrunkId(a.id)).unwrap());
    rig.patch(Kind::Trunk, b.id, json!({"port": 5080})).unwrap();
    assert!(Arc::ptr_eq(&before, rig.live.plan().trunk(TrunkId(a.id)).unwrap()));
}

#[test]
fn each_rule_that_is_broken_is_named_with_its_field() {
    let rig = rig();
    rig.add(
        Kind::Trunk,
        json!({"name": "a", "host": "198.51.100.1",
                                "virtual_phone_number": "+4930100"}),
    )
    .unwrap();
    for (document, field) in [
        (json!({"name": "b"}), "host"),
        (json!({"name": "b", "host": "x", "secure": true, "transport": "UDP"}), "secure"),
        (json!({"name": "b", "host": "x", "register": true}), "register"),
        (json!({"name": "b", "host": "x", "encryption": true, "transport": "UDP"}), "encryption"),
        (json!({"name": "b", "host": "198.51.100.1"}), "host"),
        (
            json!({"name": "b", "host": "x.example", "virtual_phone_number": "+4930100"}),
            "virtual_phone_number",
        ),
        (json!({"name": "b", "host": "x.example", "source_acl": "10.0.0.0/7"}), "source_acl"),
        (json!({"name": "b", "host": "x.example", "disallow": "all", "allow": []}), "disallow"),
        (json!({"name": "b", "host": "x.example", "port": 0}), "port"),
        (json!({"name": "b", "host": "x.example", "hots": "y"}), "hots"),
        (
            json!({"name": "b", "host": "x.example", "password_file": "/etc/passwd"}),
            "password_file",
        ),
    ] {
        let findings = rig.add(Kind::Trunk, document.clone()).unwrap_err();
        let found = findings.iter().find(|finding| finding.field == field);
        let found = found.unwrap_or_else(|| panic!("{document}: {findings:?}"));
        assert!(!found.rule.is_empty() && !found.remedy.is_empty(), "{found:?}");
    }
    let missing = json!({"name": "r", "destination": "nowhere"});
    let findings = rig.add(Kind::Route, missing).unwrap_err();
    assert_eq!(
        (findings[0].field.as_str(), &findings[0].value),
        ("destination", &json!("nowhere"))
    );
    assert_eq!(rig.names(), ["a"], "nothing of it was saved");
}

#[test]
fn a_trunk_that_a_route_leads_to_cannot_become_one_that_takes_no_calls() {
    let rig = rig();
    let a = rig.add(Kind::Trunk, trunk("a", 1)).unwrap();
    rig.add(Kind::Route, json!({"name": "r", "destination": "a"})).unwrap();
    let findings = rig.patch(Kind::Trunk, a.id, json!({"direction": "inbound"})).unwrap_err();
    assert!(findings[0].rule.contains("route \"r\""), "{findings:?}");
}

#[test]
fn a_password_is_itself_and_no_environment_and_no_file() {
    let rig = rig();
    let account = json!({"name": "a", "host": "198.51.100.1", "username": "u",
                         "password": "${HOME}"});
    let a = rig.add(Kind::Trunk, account).unwrap();
    let plan = rig.live.plan();
    let trunk = plan.trunk(TrunkId(a.id)).unwrap();
    assert_eq!(trunk.password.as_ref().unwrap().expose(), "${HOME}");
}

#[test]
fn a_deleted_trunk_runs_until_it_is_seen_off() {
    let mut rig = rig();
    let a = rig.add(Kind::Trunk, trunk("a", 1)).unwrap();
    rig.delete(a.id);
    assert_eq!(rig.moves.try_recv(), Ok(Move::Left(TrunkId(a.id))));
    assert_eq!(rig.names(), ["a"], "calls over it go on");
    rig.depart(a.id, Departure::Leave);
    assert!(!rig.live.plan().trunk(TrunkId(a.id)).unwrap().enabled, "it leaves its registrar");
    rig.depart(a.id, Departure::Gone);
    assert!(rig.names().is_empty());
    rig.depart(a.id, Departure::Gone);
    assert_eq!(rig.moves.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn a_trunk_that_is_brought_back_meanwhile_runs_on() {
    let mut rig = rig();
    let a = rig.add(Kind::Trunk, trunk("a", 1)).unwrap();
    rig.delete(a.id);
    rig.depart(a.id, Departure::Leave);
    let (id, actor) = (a.id, Actor::gateway());
    rig.store.ask_blocking(move |keeper| keeper.undelete(&actor, Kind::Trunk, id)).unwrap();
    assert_eq!(rig.moves.try_recv(), Ok(Move::Left(TrunkId(id))));
    assert_eq!(rig.moves.try_recv(), Ok(Move::Back(TrunkId(id))));
    assert!(rig.live.plan().trunk(TrunkId(id)).unwrap().enabled);
    rig.depart(id, Departure::Gone);
    assert_eq!(rig.names(), ["a"], "what was meant for the deleted one does it no harm");
}

#[test]
fn nobody_who_hears_of_it_means_it_is_gone_at_once() {
    let mut rig = rig();
    rig.moves.close();
    let a = rig.add(Kind::Trunk, trunk("a", 1)).unwrap();
    rig.delete(a.id);
    assert!(rig.names().is_empty());
}

/// With what the operator fills in, each preset is a trunk that can be saved.
#[test]
fn every_preset_is_saved_by_the_reader_of_trunks() {
    let rig = rig_with(
        "[sip]\nudp = [\"192.0.2.250:5060\"]\ntcp = [\"192.0.2.250:5060\"]\n\
         tls = [\"192.0.2.250:5061\"]\ntls_certificate = \"gw.pem\"\ntls_key = \"gw.key\"\n",
    );
    for (number, preset) in crate::api::presets::all().into_iter().enumerate() {
        let filled = preset.ask.iter().map(|field| {
            let value = match field.as_str() {
                "name" => json!(preset.name),
                "host" => json!(format!("host{number}.example.com")),
                "tls_peer_names" => json!([format!("peer{number}.example.com")]),
                "tls_ca" => json!("ca.pem"),
                "from_domain" => json!("gateway.example.com"),
                "source_acl" => json!([format!("203.0.113.{number}/32")]),
                "username" => json!("account"),
                "password" => json!("secret"),
                "virtual_phone_number" => json!(format!("+49301000{number}")),
                other => panic!("{}: nothing is known to fill {other} with", preset.name),
            };
            (field.clone(), value)
        });
        let (document, _) = preset.over(filled.collect());
        let saved = rig.add(Kind::Trunk, Value::Object(document));
        let saved = saved.unwrap_or_else(|findings| panic!("{}: {findings:#?}", preset.name));
        assert!(rig.live.plan().trunk(TrunkId(saved.id)).is_some(), "{}", preset.name);
    }
}

#[test]
fn a_group_its_members_and_the_route_to_it_are_saved_renamed_and_kept_together() {
    let rig = rig();
    let group = rig.add(Kind::Group, json!({"name": "g", "strategy": "weighted"})).unwrap();
    for (name, last) in [("a", 1), ("b", 2)] {
        let member = json!({"name": name, "host": format!("198.51.100.{last}"),
                            "failover_group": "g", "priority": last, "weight": 7});
        rig.add(Kind::Trunk, member).unwrap();
    }
    rig.add(Kind::Route, json!({"name": "r", "called": "_39.", "destination": "g"})).unwrap();
    let stands = |name: &str, count: usize| {
        let plan = rig.live.plan();
        let found = plan.groups.iter().next().unwrap();
        assert_eq!((found.name.as_str(), plan.groups.members(found.id).len()), (name, count));
        assert_eq!(plan.routes.iter().count(), 1);
    };
    stands("g", 2);
    rig.patch(Kind::Group, group.id, json!({"name": "carriers", "reach_timer": 5})).unwrap();
    stands("carriers", 2);
    let unknown = json!({"name": "c", "host": "198.51.100.3", "failover_group": "g"});
    let findings = rig.add(Kind::Trunk, unknown).unwrap_err();
    assert_eq!(findings[0].field, "failover_group", "{findings:?}");
    let actor = Actor::gateway();
    let id = group.id;
    let refused = rig.store.ask_blocking(move |keeper| {
        keeper.delete(&actor, Kind::Group, id, Expected::Any).map(drop)
    });
    assert!(matches!(refused, Err(Refusal::Referenced(_))), "{refused:?}");
    stands("carriers", 2);
}

/// No row of the API's tables stands for a field that the reader does not know.
#[test]
fn every_field_of_the_tables_is_one_of_the_reader() {
    use crate::api::fields::{GROUP, ROUTE, TRUNK};
    let rig = rig();
    for (kind, table) in [(Kind::Trunk, TRUNK), (Kind::Group, GROUP), (Kind::Route, ROUTE)] {
        let odd = json!({"name": "x", "qqqqqqqqqqqq": 1});
        let findings = rig.add(kind, odd).unwrap_err();
        let found = findings.iter().find(|finding| finding.field == "qqqqqqqqqqqq").unwrap();
        let known = found.remedy.strip_prefix("remove it; known here: ").unwrap();
        let known: Vec<&str> = known.split(", ").collect();
        for field in table {
            assert!(known.contains(&field.name), "{kind:?}: {} is no field", field.name);
        }
    }
}
