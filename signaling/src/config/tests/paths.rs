//! Routes, failover groups and the number fields of trunks.

use super::*;
use crate::group::{Codes, GroupId, Hunting, OwnHunting, Strategy};
use crate::route::numbering::NumberFormat;

const GROUP: &str = "[[group]]\nname = \"g\"\n";

/// One trunk with these lines, and whatever follows them.
fn with(group: &str, trunk: &str) -> Result<Config, ConfigErrors> {
    let head = "[sip]\nudp = [\"192.0.2.1:5060\"]\n";
    parse(&format!("{head}{group}\n[[trunk]]\nname = \"t\"\nhost = \"192.0.2.9\"\n{trunk}"))
}

fn refused(group: &str, trunk: &str, field: &str, said: &str) {
    let (_, what, problem) = only(with(group, trunk));
    assert!(what.ends_with(&format!("field {field}")), "{what}: {problem}");
    assert!(problem.contains(said), "{problem}");
}

#[test]
fn a_group_says_how_its_trunks_stand_in_for_each_other() {
    let config = with(GROUP, "failover_group = \"g\"\n").unwrap();
    let group = &config.groups[0];
    assert_eq!((group.id, group.strategy), (GroupId(1), Strategy::Priority));
    assert_eq!((group.hunting.clone(), group.hunt_after_ringing), (Hunting::default(), false));
    assert_eq!(
        (group.hunting.reach_timer.as_secs(), group.hunting.progress_timer.as_secs()),
        (3, 12)
    );
    assert_eq!(group.hunting.failover_codes.to_string(), "408, 429, 500, 502, 503, 504");
    let member = config.trunks[0].failover_group.unwrap();
    assert_eq!((member.group, member.priority, member.weight), (GroupId(1), 0, 100));
    assert_eq!(config.trunks[0].hunting, OwnHunting::default());

    let whole = format!(
        "{GROUP}strategy = \"least_loaded\"\nreach_timer = 5\nprogress_timer = 20\n\
         failover_codes = [503, 603]\nhunt_after_ringing = true\n"
    );
    let own = "failover_group = \"g\"\npriority = 7\nweight = 65535\nreach_timer = 1\n\
               progress_timer = 2\nfailover_codes = []\n";
    let config = with(&whole, own).unwrap();
    let group = &config.groups[0];
    assert_eq!((group.strategy, group.hunt_after_ringing), (Strategy::LeastLoaded, true));
    assert_eq!(group.hunting.failover_codes, Codes::new([503, 603]).unwrap());
    let trunk = &config.trunks[0];
    let over = trunk.hunting.over(&group.hunting);
    assert_eq!((over.reach_timer.as_secs(), over.progress_timer.as_secs()), (1, 2));
    assert!(over.failover_codes.iter().next().is_none(), "the member hunts on no code");
    let member = trunk.failover_group.unwrap();
    assert_eq!((member.priority, member.weight), (7, 65_535));
    let members = &config.plan().groups;
    assert_eq!(members.members(GroupId(1)).len(), 1);
    for name in Strategy::NAMES {
        let named = with(&format!("{GROUP}strategy = \"{name}\"\n"), "").unwrap();
        assert_eq!(named.groups[0].strategy.to_string(), name);
    }
}

#[test]
fn what_a_group_cannot_be_is_refused() {
    refused("[[group]]\n", "", "name", "no name");
    refused("[[group]]\nname = \"none\"\n", "", "name", "not a name");
    refused("[[group]]\nname = \" g\"\n", "", "name", "not a name");
    refused(&format!("{GROUP}{GROUP}"), "", "name", "another group");
    refused("[[group]]\nname = \"t\"\n", "", "name", "a failover group has this name");
    for (line, field, said) in [
        ("strategy = \"random\"", "strategy", "not a value"),
        ("reach_timer = 0", "reach_timer", "out of range"),
        ("reach_timer = 31", "reach_timer", "out of range"),
        ("progress_timer = 121", "progress_timer", "out of range"),
        ("reach_timer = 5\nprogress_timer = 4", "progress_timer", "before reach_timer"),
        ("failover_codes = [503, 401]", "failover_codes", "401 cannot"),
        ("failover_codes = [302]", "failover_codes", "302 cannot"),
        ("members = [\"t\"]", "members", "no field"),
    ] {
        refused(&format!("{GROUP}{line}\n"), "", field, said);
    }
}

#[test]
fn a_trunk_is_in_a_group_that_there_is() {
    assert!(with("", "failover_group = \"NONE\"\n").unwrap().trunks[0].failover_group.is_none());
    refused("", "failover_group = \"g\"\n", "failover_group", "no failover group \"g\"");
    refused(GROUP, "failover_group = \"h\"\n", "failover_group", "no failover group \"h\"");
    refused(GROUP, "priority = 1\n", "priority", "in no failover group");
    refused(GROUP, "weight = 1\n", "weight", "in no failover group");
    for key in ["priority", "weight"] {
        let lines = format!("failover_group = \"g\"\n{key} = 65536\n");
        refused(GROUP, &lines, key, "out of range");
    }
}

#[test]
fn members_of_one_group_may_share_numbers() {
    let number = "virtual_phone_number = \"+4930100\"\n";
    let second = format!("[[trunk]]\nname = \"u\"\nhost = \"192.0.2.8\"\n{number}");
    let member = "failover_group = \"g\"\n";
    assert!(with(GROUP, &format!("{number}{member}{second}{member}")).is_ok());
    let (_, what, problem) = only(with(GROUP, &format!("{number}{member}{second}")));
    assert!(what.contains("virtual_phone_number") && problem.contains("overlaps"), "{problem}");
}

#[test]
fn a_route_leads_to_a_trunk_or_a_group_at_its_times() {
    let route = |lines: &str| {
        let route = format!("failover_group = \"g\"\n[[route]]\nname = \"r\"\n{lines}\n");
        with(GROUP, &route)
    };
    let destination = |lines: &str| {
        let config = route(lines).unwrap_or_else(|errors| panic!("{lines}: {errors}"));
        config.routes.iter().next().unwrap().destination
    };
    let (trunk, group) = (Destination::Trunk(TrunkId(1)), Destination::Group(GroupId(1)));
    assert_eq!(destination("destination = \"t\""), trunk);
    assert_eq!(destination("destination = 1"), trunk);
    assert_eq!(destination("destination = { trunk = 1 }"), trunk);
    assert_eq!(destination("destination = \"g\""), group);
    assert_eq!(destination("destination = { group = \"g\" }"), group);
    assert_eq!(destination("destination = { group = 1 }"), group);
    for lines in ["destination = 2", "destination = { group = 2 }", "destination = { g = 1 }"] {
        assert!(only(route(lines)).2.contains("there is no trunk"), "{lines}");
    }
    let lines = "destination = \"g\"\nemergency = true\nschedule = \"UTC; Mon 08:00-09:00\"\n\
                 called = \"^0\"";
    let config = route(lines).unwrap();
    let found = config.routes.iter().next().unwrap();
    assert!(found.emergency);
    assert_eq!(found.schedule.as_ref().unwrap().to_string(), "UTC; Mon 08:00-09:00");
    assert!(found.called.matches("0123") && !found.called.matches("10"));
    let found = route("destination = \"g\"\nschedule = \"\"").unwrap();
    assert!(found.routes.iter().next().unwrap().schedule.is_none());
    let night = only(route("destination = \"g\"\nschedule = \"night\""));
    assert!(night.1.ends_with("field schedule") && night.2.contains("no time zone"), "{night:?}");
    let regex = only(route("destination = \"g\"\ncalled = \"/(/\""));
    assert!(regex.1.ends_with("field called") && regex.2.contains("not usable"), "{regex:?}");
}

#[test]
fn a_route_to_a_group_that_nobody_is_in_is_a_warning() {
    let route = "[[route]]\nname = \"r\"\ndestination = \"g\"\n";
    for member in [
        "",
        "failover_group = \"g\"\nenabled = false\n",
        "failover_group = \"g\"\ndirection = \"inbound\"\n",
    ] {
        let config = with(GROUP, &format!("{member}{route}")).unwrap();
        assert!(config.warnings[0].contains("no trunk of group \"g\""), "{:?}", config.warnings);
    }
    let config = with(GROUP, &format!("failover_group = \"g\"\n{route}")).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn a_trunk_says_how_it_writes_numbers() {
    let config = with(
        "",
        "number_format_in = \"national\"\nnumber_format_out = \"e164_bare\"\ncountry_code = \"1\"\n\
         trunk_prefix = \"1\"\ninternational_prefix = \"011\"\ntech_prefix = \"77#\"\n\
         strip_in = 1\nprepend_in = \"9\"\nstrip_out = 2\nprepend_out = \"8\"\n",
    );
    let numbering = &config.unwrap().trunks[0].numbering;
    assert_eq!(numbering.format_in, NumberFormat::National);
    assert_eq!(numbering.format_out, NumberFormat::E164Bare);
    assert_eq!(numbering.country.code, "1");
    assert_eq!((numbering.edit_in.strip, numbering.edit_out.strip), (1, 2));
    assert_eq!((&*numbering.edit_in.prepend, &*numbering.edit_out.prepend), ("9", "8"));
    assert_eq!((&*numbering.country.trunk_prefix, &*numbering.tech_prefix), ("1", "77#"));
    assert_eq!(numbering.country.international_prefix, "011");
    let usual = with("", "").unwrap().trunks[0].numbering.clone();
    assert_eq!(usual, crate::route::Numbering::default());
    for (lines, field, said) in [
        ("number_format_in = \"national\"\n", "number_format_in", "which country"),
        ("number_format_out = \"national\"\n", "number_format_out", "which country"),
        ("number_format_out = \"e.164\"\n", "number_format_out", "not a value"),
        ("country_code = \"+49\"\n", "country_code", "digits"),
        ("country_code = \"1234\"\n", "country_code", "digits"),
        ("trunk_prefix = \"x\"\n", "trunk_prefix", "digits"),
        ("tech_prefix = \"a b\"\n", "tech_prefix", "cannot stand"),
        ("strip_out = 65\n", "strip_out", "out of range"),
        (
            "number_format_out = \"national\"\ncountry_code = \"49\"\ninternational_prefix = \"\"\n",
            "international_prefix",
            "other countries",
        ),
    ] {
        refused("", lines, field, said);
    }
}
