//! Hunts through a failover group: who was tried, when, and what the caller saw.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use sip::endpoint::Transport;
use sip::wire::HeaderName;

use super::peer::{Peer, SDP};
use super::plane::SHAPE;
use super::rig::{Carrier, DELAY, Pbx, Rig, Second, Third, Who};
use crate::route::Outcome;

/// Three carriers in a group, a pbx that calls them: lines of the group, of each carrier's trunk,
/// and of the route.
pub fn group(name: &str, group: &str, carriers: [&str; 3], route: &str) -> Rig {
    let pin = "ab".repeat(32);
    let [first, second, third] = carriers;
    let text = format!(
        r#"
[sip]
udp = ["192.0.2.1:5060"]
tls = ["192.0.2.1:5061"]
tls_certificate = "gateway.pem"
tls_key = "gateway.key"

[[group]]
name = "carriers"
{group}

[[trunk]]
name = "carrier"
host = "192.0.2.10"
failover_group = "carriers"
{first}

[[trunk]]
name = "pbx"
host = "192.0.2.20"
secure = true
tls_pin = "{pin}"

[[trunk]]
name = "second"
host = "192.0.2.30"
failover_group = "carriers"
{second}

[[trunk]]
name = "third"
host = "192.0.2.40"
failover_group = "carriers"
{third}

[[route]]
name = "out"
from_trunk = "pbx"
destination = "carriers"
{route}
"#
    );
    Rig::shaped(&format!("hunt-{name}"), &text, SHAPE)
}

const BY_RANK: [&str; 3] = ["priority = 1", "priority = 2", "priority = 3"];

fn plain(name: &str) -> Rig {
    group(name, "", BY_RANK, "")
}

/// Who was asked, when (ms after the call), and how that ended.
fn attempts(record: &Value) -> Vec<(String, i64, u64)> {
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let start = time(&record["start"]);
    let attempts = record["attempts"].as_array().expect("somebody was asked").iter();
    attempts
        .map(|attempt| {
            let began = time(&attempt["start"]).as_millisecond() - start.as_millisecond();
            let trunk = attempt["trunk"].as_str().unwrap().to_owned();
            (trunk, began, attempt["code"].as_u64().unwrap_or(0))
        })
        .collect()
}

fn tried(record: &Value) -> Vec<(String, u64)> {
    attempts(record).into_iter().map(|(trunk, _, code)| (trunk, code)).collect()
}

fn want(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    pairs.iter().map(|(trunk, code)| (String::from(*trunk), *code)).collect()
}

fn call_id(invite: &sip::wire::Request) -> Bytes {
    invite.headers.call_id().unwrap().clone()
}

/// The INVITE that reached `who` is refused.
fn refuse(rig: &mut Rig, who: Who, status: u16) {
    let (id, _) = rig.invited(who);
    rig.answer(who, id, status, None);
}

fn take(rig: &mut Rig, who: Who) {
    let (id, invite) = rig.invited(who);
    rig.accept(who, id, &invite);
}

#[test]
fn a_503_moves_to_the_next_member_and_the_caller_hears_nothing_of_it() {
    let mut rig = plain("503");
    rig.call(Pbx);
    let (id, first) = rig.invited(Carrier);
    rig.answer(Carrier, id, 503, None);
    let (id, second) = rig.invited(Second);
    assert_ne!(call_id(&first), call_id(&second), "each attempt is a leg of its own");
    assert_ne!(first.headers.from().unwrap().tag(), second.headers.from().unwrap().tag());
    rig.answer(Second, id, 180, None);
    rig.accept(Second, id, &second);
    assert_eq!(rig.statuses(Pbx), [180, 200]);
    assert!(rig.third.invites.is_empty());
    rig.hang_up(Pbx);
    let record = rig.finish_one(200);
    assert_eq!(tried(&record), want(&[("carrier", 503), ("second", 200)]));
    assert_eq!(
        (record["group"].as_str(), record["to_trunk"].as_str()),
        (Some("carriers"), Some("second"))
    );
    assert!(record["attempts"][1]["ring"].is_string() && record["attempts"][0]["ring"].is_null());
    assert_eq!(record["attempts"][0]["target"], "192.0.2.10:5060");
}

#[test]
fn the_listed_codes_hunt_and_no_other() {
    for code in [408, 429, 500, 502, 503, 504] {
        let mut rig = plain("codes");
        rig.call(Pbx);
        refuse(&mut rig, Carrier, code);
        refuse(&mut rig, Second, code);
        refuse(&mut rig, Third, code);
        assert_eq!(rig.statuses(Pbx), [code], "the last one's answer");
        let record = rig.finish_one(code);
        let code = u64::from(code);
        assert_eq!(tried(&record), want(&[("carrier", code), ("second", code), ("third", code)]));
    }
    for code in [302, 400, 403, 404, 410, 480, 484, 486, 488, 600, 603, 604, 606] {
        let mut rig = plain("never");
        rig.call(Pbx);
        refuse(&mut rig, Carrier, code);
        assert!(rig.second.invites.is_empty(), "{code}: a busy callee is not rung again");
        let seen = if code == 302 { 480 } else { code };
        assert_eq!(rig.statuses(Pbx), [seen]);
        let record = rig.finish_one(seen);
        assert_eq!(tried(&record), want(&[("carrier", code.into())]), "what was answered");
    }
}

#[test]
fn the_codes_can_be_edited_for_the_group_and_for_a_member() {
    let members = ["priority = 1", "priority = 2\nfailover_codes = [404]", "priority = 3"];
    let mut rig = group("edited", "failover_codes = [486, 603]", members, "");
    rig.call(Pbx);
    refuse(&mut rig, Carrier, 603);
    refuse(&mut rig, Second, 404);
    refuse(&mut rig, Third, 503);
    assert_eq!(rig.statuses(Pbx), [503], "503 is not on the list, and nobody is left");
    rig.call(Pbx);
    // The third one said 503 and is asked last; it is last anyway.
    refuse(&mut rig, Carrier, 486);
    refuse(&mut rig, Second, 486);
    assert_eq!(rig.last_status(Pbx), 486, "the member's own list counts");
    let records = rig.finish();
    assert_eq!(tried(&records[0]), want(&[("carrier", 603), ("second", 404), ("third", 503)]));
    assert_eq!(tried(&records[1]), want(&[("carrier", 486), ("second", 486)]));
}

#[test]
fn a_member_that_is_silent_is_left_after_the_reach_timer() {
    let mut rig = plain("silent");
    rig.cut = Some(Carrier);
    rig.call(Pbx);
    rig.run(Duration::from_millis(2_900));
    assert!(rig.second.invites.is_empty());
    rig.seconds(1);
    take(&mut rig, Second);
    assert_eq!(rig.statuses(Pbx), [200]);
    rig.hang_up(Second);
    let record = rig.finish_one(200);
    assert_eq!(
        attempts(&record),
        [("carrier".into(), 0, 408), ("second".into(), 3_000, 200)],
        "{record}"
    );
    assert_eq!(record["attempts"][0]["reason"], "no response within 3s");
}

#[test]
fn nobody_answers_at_all() {
    let mut rig = plain("nobody");
    rig.lose = Some(|who, _, _| who != Pbx);
    rig.call(Pbx);
    rig.run(Duration::from_millis(8_900));
    assert_eq!(rig.statuses(Pbx), [0_u16; 0]);
    rig.seconds(1);
    assert_eq!(rig.statuses(Pbx), [408]);
    let record = rig.finish_one(408);
    let times: Vec<i64> = attempts(&record).iter().map(|(_, began, _)| *began).collect();
    assert_eq!(times, [0, 3_000, 6_000]);
    let end: jiff::Timestamp = record["end"].as_str().unwrap().parse().unwrap();
    assert_eq!(end, jiff::Timestamp::from_millisecond(9_000 + 5).unwrap(), "{record}");
}

#[test]
fn a_member_that_says_100_and_no_more_is_left_after_the_progress_timer() {
    let mut rig = plain("trying");
    rig.call(Pbx);
    let (first, _) = rig.invited(Carrier);
    rig.run(Duration::from_millis(11_900));
    assert!(rig.second.invites.is_empty(), "100 came in time");
    rig.seconds(1);
    assert_eq!(rig.carrier.cancelled, [first], "the late branch is cancelled");
    let (second, _) = rig.invited(Second);
    rig.seconds(12);
    assert_eq!(rig.second.cancelled, [second]);
    // The last one keeps the call for as long as the whole hunt may take.
    let (third, _) = rig.invited(Third);
    assert_eq!(rig.statuses(Pbx), [0_u16; 0]);
    rig.seconds(6);
    assert_eq!(rig.third.cancelled, [third]);
    assert_eq!(rig.statuses(Pbx), [408]);
    let record = rig.finish_one(408);
    assert_eq!(
        attempts(&record),
        [("carrier".into(), 0, 408), ("second".into(), 12_000, 408), ("third".into(), 24_000, 408)]
    );
    assert_eq!(record["reason"], "nobody rang within the time of a hunt");
}

#[test]
fn the_timers_can_be_edited_for_the_group_and_for_a_member() {
    let members = ["priority = 1\nreach_timer = 1", "priority = 2", "priority = 3"];
    let mut rig = group("timers", "reach_timer = 2\nprogress_timer = 5", members, "");
    rig.lose = Some(|who, _, _| who == Carrier || who == Second);
    rig.call(Pbx);
    rig.seconds(4);
    take(&mut rig, Third);
    rig.hang_up(Pbx);
    let record = rig.finish_one(200);
    let times: Vec<i64> = attempts(&record).iter().map(|(_, began, _)| *began).collect();
    assert_eq!(times, [0, 1_000, 3_000]);
}

#[test]
fn ringing_is_not_limited_by_failover() {
    let mut rig = group("ringing", "", BY_RANK, "ring_limit = 90");
    rig.call(Pbx);
    let (id, _) = rig.invited(Carrier);
    rig.answer(Carrier, id, 180, None);
    rig.seconds(85);
    assert_eq!(rig.statuses(Pbx), [180]);
    rig.seconds(6);
    assert_eq!(rig.statuses(Pbx), [180, 408]);
    assert!(rig.second.invites.is_empty());
    let record = rig.finish_one(408);
    assert_eq!(record["reason"], "ring limit reached");
}

#[test]
fn a_busy_callee_is_asked_once() {
    let mut rig = plain("busy");
    rig.call(Pbx);
    let (id, _) = rig.invited(Carrier);
    rig.answer(Carrier, id, 180, None);
    rig.answer(Carrier, id, 486, None);
    assert_eq!(rig.statuses(Pbx), [180, 486]);
    rig.finish_one(486);
}

#[test]
fn the_caller_cancels_in_the_middle_of_a_hunt() {
    let mut rig = plain("cancel");
    let client = rig.call(Pbx);
    rig.seconds(12);
    let (first, _) = rig.invited(Carrier);
    let (second, _) = rig.invited(Second);
    rig.answer(Second, second, 180, None);
    rig.cancel(Pbx, client);
    rig.turn();
    assert_eq!(rig.statuses(Pbx), [180, 487]);
    assert_eq!(
        (&rig.carrier.cancelled[..], &rig.second.cancelled[..]),
        (&[first][..], &[second][..])
    );
    rig.seconds(30);
    assert!(rig.third.invites.is_empty(), "nobody is asked for a caller who went");
    let record = rig.finish_one(487);
    assert_eq!(tried(&record), want(&[("carrier", 408), ("second", 487)]));
}

#[test]
fn the_caller_cancels_while_a_silent_member_is_asked() {
    let mut rig = plain("cancel-silent");
    rig.cut = Some(Carrier);
    let client = rig.call(Pbx);
    rig.seconds(1);
    rig.cancel(Pbx, client);
    rig.turn();
    assert_eq!(rig.statuses(Pbx), [487]);
    rig.seconds(30);
    assert!(rig.second.invites.is_empty());
    rig.finish_one(487);
}

#[test]
fn a_late_answer_is_acknowledged_and_hung_up() {
    let mut rig = plain("late");
    rig.call(Pbx);
    let (id, first) = rig.invited(Carrier);
    rig.seconds(12);
    // The next one is asked already; the CANCEL comes too late for the first.
    let body = rig.carrier.accept(&first.body);
    rig.answer(Carrier, id, 200, Some(body));
    assert!(rig.carrier.cancelled.len() <= 1);
    take(&mut rig, Second);
    assert_eq!(rig.statuses(Pbx), [200]);
    rig.hang_up(Pbx);
    assert_eq!(rig.second.byes, 1);
    rig.finish_one(200);
}

/// The callee's answer crosses our CANCEL.
#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_hung_up() {
    let mut rig = plain("cross");
    rig.call(Pbx);
    let (id, first) = rig.invited(Carrier);
    let body = rig.carrier.accept(&first.body);
    let sent = rig.now - DELAY * 8;
    let progress = Duration::from_secs(12) + DELAY;
    rig.run(sent + progress + DELAY / 2 - rig.now);
    let now = rig.now;
    rig.carrier.answer(now, id, 200, Some(body));
    rig.turn();
    assert_eq!((rig.carrier.acks.len(), rig.carrier.byes), (1, 1), "ACK and BYE");
    assert_eq!(rig.statuses(Pbx), [0_u16; 0], "the caller hears nothing of it");
    take(&mut rig, Second);
    assert_eq!(rig.statuses(Pbx), [200]);
    assert_eq!(rig.carrier.byes, 1);
    rig.hang_up(Second);
    let record = rig.finish_one(200);
    assert_eq!(record["attempts"][0]["late"], true);
    assert!(record["attempts"][1]["late"].is_null());
    assert_eq!(record["to_trunk"], "second");
}

#[test]
fn early_media_is_the_point_of_no_return() {
    for status in [180, 183] {
        let mut rig = plain("no-return");
        rig.call(Pbx);
        let (id, invite) = rig.invited(Carrier);
        let body = rig.carrier.accept(&invite.body);
        rig.answer(Carrier, id, status, Some(body));
        assert!(!rig.last_response(Pbx).body.is_empty());
        rig.answer(Carrier, id, 503, None);
        assert_eq!(rig.statuses(Pbx), [status, 503]);
        assert!(rig.second.invites.is_empty());
        let record = rig.finish_one(503);
        assert_eq!(tried(&record), want(&[("carrier", 503)]));
    }
}

#[test]
fn ringing_without_media_is_none() {
    let mut rig = plain("return");
    rig.call(Pbx);
    let (id, _) = rig.invited(Carrier);
    rig.answer(Carrier, id, 180, None);
    rig.answer(Carrier, id, 503, None);
    let (id, invite) = rig.invited(Second);
    rig.answer(Second, id, 180, None);
    rig.accept(Second, id, &invite);
    assert_eq!(rig.statuses(Pbx), [180, 180, 200]);
    rig.hang_up(Pbx);
    rig.finish_one(200);
}

#[test]
fn a_group_may_hunt_on_after_early_media() {
    let mut rig = group("on", "hunt_after_ringing = true", BY_RANK, "");
    rig.call(Pbx);
    let (id, invite) = rig.invited(Carrier);
    let body = rig.carrier.accept(&invite.body).replace("RTP/AVP 8 0", "RTP/AVP 8");
    rig.answer(Carrier, id, 183, Some(body.replace("a=rtpmap:0 PCMU/8000\r\n", "")));
    let early = rig.last_response(Pbx);
    let relays = |rig: &Rig| rig.plane.updates.iter().rev().take(2).all(|way| way.relay);
    assert!(relays(&rig));
    rig.answer(Carrier, id, 503, None);
    assert!(!relays(&rig), "nothing is sent any more to who failed");
    let (id, invite) = rig.invited(Second);
    let offer = String::from_utf8_lossy(&invite.body).into_owned();
    assert!(offer.contains("RTP/AVP 8\r\n"), "what the caller was told, and no more: {offer}");
    rig.accept(Second, id, &invite);
    assert!(relays(&rig));
    let answer = rig.last_response(Pbx);
    assert_eq!(rig.statuses(Pbx), [183, 200]);
    assert_eq!(early.body, answer.body, "one dialog has one answer");
    assert_eq!(early.headers.to().unwrap().tag(), answer.headers.to().unwrap().tag());
    rig.hang_up(Pbx);
    let record = rig.finish_one(200);
    assert_eq!(tried(&record), want(&[("carrier", 503), ("second", 200)]));
}

#[test]
fn a_member_that_cannot_be_reached_is_left_at_once() {
    let mut rig = plain("network");
    rig.cut = Some(Carrier);
    rig.call(Pbx);
    rig.fail(Carrier);
    rig.turn();
    take(&mut rig, Second);
    rig.hang_up(Pbx);
    let record = rig.finish_one(200);
    assert_eq!(tried(&record), want(&[("carrier", 503), ("second", 200)]));
    assert!(attempts(&record)[1].1 < 100);
}

#[test]
fn a_503_is_remembered_for_its_time() {
    let secs = |seconds| Bytes::from(format!("{seconds} (maintenance)"));
    for (retry_after, time) in [(None, 30), (Some(secs(7)), 7)] {
        let mut rig = plain("penalty");
        rig.call(Pbx);
        let (id, _) = rig.invited(Carrier);
        let extra = retry_after.map(|value| (HeaderName::RetryAfter, value));
        let now = rig.now;
        rig.carrier.answer_with(now, id, 503, extra.into_iter().collect(), None);
        rig.turn();
        refuse(&mut rig, Second, 486);
        rig.seconds(time - 1);
        rig.call(Pbx);
        refuse(&mut rig, Second, 500);
        refuse(&mut rig, Third, 500);
        // Nobody else is left: better late than never.
        refuse(&mut rig, Carrier, 486);
        rig.seconds(1);
        rig.call(Pbx);
        refuse(&mut rig, Carrier, 486);
        let records = rig.finish();
        let second = tried(&records[1]);
        assert_eq!(second, want(&[("second", 500), ("third", 500), ("carrier", 486)]));
        assert_eq!(tried(&records[2]), want(&[("carrier", 486)]));
    }
}

#[test]
fn a_full_member_is_passed_over_and_its_place_comes_back() {
    let members = [
        "priority = 1\nmax_concurrent_calls = 1",
        "priority = 2\nmax_concurrent_calls = 1",
        "priority = 3\nenabled = false",
    ];
    let mut rig = group("full", "", members, "");
    rig.call(Pbx);
    let (first, first_invite) = rig.invited(Carrier);
    rig.accept(Carrier, first, &first_invite);
    rig.call(Pbx);
    let (second, _) = rig.invited(Second);
    rig.call(Pbx);
    assert_eq!(rig.last_status(Pbx), 503);
    assert!(rig.last_response(Pbx).headers.get(&HeaderName::RetryAfter).is_some());
    // What a member refused is room for the next call at once.
    rig.answer(Second, second, 486, None);
    rig.call(Pbx);
    refuse(&mut rig, Second, 486);
    rig.hang_up(Carrier);
    rig.call(Pbx);
    refuse(&mut rig, Carrier, 486);
    let records = rig.finish();
    let refused = records.iter().find(|record| record["code"] == 503).unwrap();
    let skipped: Vec<_> = refused["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skipped| (skipped["trunk"].as_str().unwrap(), skipped["why"].as_str().unwrap()))
        .collect();
    assert_eq!(
        skipped,
        [
            ("carrier", "its cap of calls is reached"),
            ("second", "its cap of calls is reached"),
            ("third", "it is disabled")
        ]
    );
    assert!(refused["reason"].as_str().unwrap().contains("no trunk of group"));
}

/// The place on a member that failed is given back while the call goes on elsewhere.
#[test]
fn a_hunt_holds_one_place_at_a_time() {
    let members = ["priority = 1\nmax_concurrent_calls = 1", "priority = 2", "priority = 3"];
    let mut rig = group("places", "", members, "");
    rig.call(Pbx);
    refuse(&mut rig, Carrier, 500);
    take(&mut rig, Second);
    rig.call(Pbx);
    let (id, _) = rig.invited(Carrier);
    rig.answer(Carrier, id, 486, None);
    rig.hang_up(Second);
    rig.finish();
}

#[test]
fn an_emergency_call_passes_every_cap() {
    let members = [
        "priority = 1\nmax_concurrent_calls = 1",
        "priority = 2\nmax_concurrent_calls = 1",
        "priority = 3\nenabled = false",
    ];
    let mut rig = group("emergency", "", members, "emergency = true");
    for _ in 0..3 {
        rig.call(Pbx);
        refuse(&mut rig, Carrier, 500);
        rig.invited(Second);
    }
    rig.stop_all();
    let records = rig.finish();
    assert_eq!(records.len(), 3);
    for record in records {
        assert_eq!(tried(&record)[..1], want(&[("carrier", 500)]));
    }
}

#[test]
fn strategies_choose_who_is_asked_first() {
    let first = |rig: &mut Rig| {
        rig.call(Pbx);
        let asked = [Carrier, Second, Third].into_iter().find(|w| !rig.peer(*w).invites.is_empty());
        let who = asked.expect("somebody is asked");
        let (id, invite) = rig.invited(who);
        (who, id, invite)
    };
    let mut rig = group("robin", "strategy = \"round_robin\"", [""; 3], "");
    let mut order = Vec::new();
    for _ in 0..6 {
        let (who, id, _) = first(&mut rig);
        rig.answer(who, id, 486, None);
        order.push(who);
    }
    assert_eq!(order, [Carrier, Second, Third, Carrier, Second, Third]);
    rig.finish();

    let capped =
        ["max_concurrent_calls = 2", "max_concurrent_calls = 3", "max_concurrent_calls = 1"];
    let mut rig = group("least", "strategy = \"least_loaded\"", capped, "");
    let mut order = Vec::new();
    for _ in 0..6 {
        let (who, id, invite) = first(&mut rig);
        rig.accept(who, id, &invite);
        order.push(who);
    }
    assert_eq!(order, [Second, Carrier, Second, Third, Carrier, Second]);
    rig.stop_all();
    rig.finish();

    let weights = ["weight = 65535", "weight = 0", "weight = 0"];
    let mut rig = group("weighted", "strategy = \"weighted\"", weights, "");
    for _ in 0..20 {
        let (who, id, _) = first(&mut rig);
        rig.answer(who, id, 486, None);
        assert_eq!(who, Carrier, "one call in 65,536 goes elsewhere");
    }
    rig.finish();
}

/// The second trunk's name stands for two addresses.
fn with_two_addresses(name: &str, group_lines: &str) -> Rig {
    let members = ["priority = 2", "priority = 1", "priority = 3\nenabled = false"];
    let mut rig = group(name, group_lines, members, "");
    rig.second_resolves_to(&["192.0.2.30", "192.0.2.40"]);
    rig.shared = Some(Third);
    rig
}

#[test]
fn each_address_of_a_trunk_is_tried_before_the_next_member() {
    let mut rig = with_two_addresses("targets", "");
    rig.call(Pbx);
    refuse(&mut rig, Second, 503);
    refuse(&mut rig, Third, 503);
    take(&mut rig, Carrier);
    rig.hang_up(Pbx);
    let record = rig.finish_one(200);
    assert_eq!(tried(&record), want(&[("second", 503), ("second", 503), ("carrier", 200)]));
    assert_eq!(record["attempts"][1]["target"], "192.0.2.40:5060");
}

#[test]
fn what_a_trunk_refused_is_not_asked_of_its_next_address() {
    let mut rig = with_two_addresses("refused-target", "");
    rig.call(Pbx);
    refuse(&mut rig, Second, 500);
    assert!(rig.third.invites.is_empty());
    take(&mut rig, Carrier);
    rig.hang_up(Pbx);
    let record = rig.finish_one(200);
    assert_eq!(tried(&record), want(&[("second", 500), ("carrier", 200)]));
}

#[test]
fn a_silent_address_is_left_for_the_next_one() {
    let mut rig = with_two_addresses("silent-target", "");
    rig.cut = Some(Second);
    rig.call(Pbx);
    rig.seconds(3);
    take(&mut rig, Third);
    rig.hang_up(Pbx);
    let record = rig.finish_one(200);
    assert_eq!(tried(&record), want(&[("second", 408), ("second", 200)]));
}

#[test]
fn an_address_that_was_silent_is_tried_last_by_the_next_call() {
    let mut rig = with_two_addresses("bad-target", "");
    rig.cut = Some(Second);
    rig.call(Pbx);
    rig.seconds(3);
    take(&mut rig, Third);
    rig.hang_up(Pbx);
    rig.call(Pbx);
    take(&mut rig, Third);
    rig.hang_up(Pbx);
    let records = rig.finish();
    let targets = |record: &Value| {
        let attempts = record["attempts"].as_array().unwrap().iter();
        attempts.map(|one| one["target"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(targets(&records[0]), ["192.0.2.30:5060", "192.0.2.40:5060"]);
    assert_eq!(targets(&records[1]), ["192.0.2.40:5060"], "it is asked at once");
}

#[test]
fn a_member_of_the_other_address_family_gets_ports_of_its_own() {
    let mut rig = group("family", "", ["priority = 1", "priority = 2", "priority = 3"], "");
    rig.second_resolves_to(&["2001:db8::30"]);
    rig.second = Peer::new(13, Transport::Udp, "[2001:db8::30]:5060", "[2001:db8::1]:5060");
    rig.call(Pbx);
    let (id, first) = rig.invited(Carrier);
    assert!(String::from_utf8_lossy(&first.body).contains("IP4"));
    rig.answer(Carrier, id, 500, None);
    let (id, second) = rig.invited(Second);
    assert!(String::from_utf8_lossy(&second.body).contains("IP6"));
    assert_eq!(rig.plane.open_flows(), 2, "the first ports are given back");
    rig.answer(Second, id, 500, None);
    let (id, third) = rig.invited(Third);
    assert!(String::from_utf8_lossy(&third.body).contains("IP4"));
    rig.accept(Third, id, &third);
    assert_eq!(rig.statuses(Pbx), [200]);
    rig.hang_up(Pbx);
    let record = rig.finish_one(200);
    assert_eq!(tried(&record), want(&[("carrier", 500), ("second", 500), ("third", 200)]));
}

#[test]
fn a_delayed_offer_is_hunted_too() {
    let mut rig = plain("delayed");
    rig.pbx.mute = true;
    rig.call_with(Pbx, "+4930222", None);
    refuse(&mut rig, Carrier, 503);
    let (id, invite) = rig.invited(Second);
    assert!(invite.body.is_empty());
    let body = rig.second.offer();
    rig.answer(Second, id, 200, Some(body));
    assert_eq!(rig.statuses(Pbx), [200]);
    let ours = rig.last_response(Pbx).body;
    let (now, dialog, answer) = (rig.now, rig.pbx.dialog.unwrap(), rig.pbx.accept(&ours));
    rig.pbx.endpoint.ack(now, dialog, Some((SDP, answer.into()))).unwrap();
    rig.turn();
    assert!(rig.second.acks[0].body.starts_with(b"v=0"), "the ACK carries the answer");
    rig.hang_up(Second);
    let record = rig.finish_one(200);
    assert_eq!(tried(&record), want(&[("carrier", 503), ("second", 200)]));
}

#[test]
fn a_challenge_without_an_account_says_nothing_of_other_trunks() {
    let mut rig = plain("challenge");
    rig.call(Pbx);
    let (id, _) = rig.invited(Carrier);
    let challenge = Bytes::from_static(b"Digest realm=\"c\", nonce=\"n\"");
    let now = rig.now;
    rig.carrier.answer_with(now, id, 401, vec![(HeaderName::WwwAuthenticate, challenge)], None);
    rig.turn();
    take(&mut rig, Second);
    rig.hang_up(Pbx);
    let record = rig.finish_one(200);
    assert_eq!(tried(&record), want(&[("carrier", 401), ("second", 200)]));
}

#[test]
fn each_member_is_told_numbers_as_it_writes_them() {
    let national = "priority = 1\nnumber_format_out = \"national\"\ncountry_code = \"49\"";
    let tech = "priority = 2\nnumber_format_out = \"e164_bare\"\ntech_prefix = \"77#\"";
    let mut rig = group("numbers", "", [national, tech, "priority = 3"], "");
    rig.call(Pbx);
    let said = |invite: &sip::wire::Request| {
        let from = invite.headers.from().unwrap().to_string();
        let number = from.split(['"', '<', '@']).find(|part| part.starts_with("sip:"));
        (invite.uri.to_string(), number.unwrap_or_default().to_owned())
    };
    let (id, invite) = rig.invited(Carrier);
    assert_eq!(said(&invite), ("sip:030222@192.0.2.10".into(), "sip:040111".into()));
    rig.answer(Carrier, id, 500, None);
    let (id, invite) = rig.invited(Second);
    assert_eq!(said(&invite), ("sip:77%234930222@192.0.2.30".into(), "sip:4940111".into()));
    rig.answer(Second, id, 500, None);
    let (id, invite) = rig.invited(Third);
    assert_eq!(said(&invite), ("sip:+4930222@192.0.2.40".into(), "sip:+4940111".into()));
    rig.answer(Third, id, 486, None);
    rig.finish_one(486);
}

/// The same functions decide: what is explained is what happens next.
#[test]
fn an_explanation_tells_the_next_hunt() {
    let members = ["priority = 1", "priority = 1\nmax_concurrent_calls = 1", "priority = 2"];
    for strategy in ["priority", "round_robin", "least_loaded"] {
        let lines = format!("strategy = \"{strategy}\"");
        let mut rig = group("explained", &lines, members, "");
        let mut explained = Vec::new();
        for _ in 0..7 {
            let Outcome::Placed { trunks, route, .. } = rig.explain("+4930222").outcome else {
                panic!("somebody is usable");
            };
            assert_eq!(route, "out");
            explained.push(trunks);
            rig.call(Pbx);
            // Each that is asked says 503, and is asked last the next time.
            while let Some(who) =
                [Carrier, Second, Third].into_iter().find(|who| !rig.peer(*who).invites.is_empty())
            {
                refuse(&mut rig, who, 503);
            }
            rig.seconds(11);
        }
        let records = rig.finish();
        assert_eq!(records.len(), explained.len());
        for (record, trunks) in records.iter().zip(explained) {
            let asked: Vec<String> = tried(record).into_iter().map(|(trunk, _)| trunk).collect();
            assert_eq!(asked, trunks, "{strategy}");
        }
    }
}

#[test]
fn a_lone_trunk_has_all_the_time_of_rfc_3261() {
    let mut rig = Rig::new("alone");
    rig.cut = Some(Carrier);
    rig.call(Pbx);
    rig.seconds(31);
    assert_eq!(rig.statuses(Pbx), [0_u16; 0]);
    rig.seconds(2);
    assert_eq!(rig.statuses(Pbx), [408]);
    rig.finish_one(408);
    // Unless it says otherwise.
    let mut rig = Rig::with("alone-reach", "reach_timer = 5", "", "");
    rig.cut = Some(Carrier);
    rig.call(Pbx);
    rig.seconds(5);
    assert_eq!(rig.statuses(Pbx), [408]);
    let record = rig.finish_one(408);
    assert_eq!(record["reason"], "no response within 5s");
}
