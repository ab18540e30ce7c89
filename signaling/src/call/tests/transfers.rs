//! Transfers that a side asks for by REFER (RFC 3515, RFC 5589): refused, passed on, done by us.

use std::collections::HashSet;

use bytes::Bytes;
use sip::endpoint::DialogId;
use sip::wire::{HeaderName, Method, Request};

use super::rig::{Carrier, Pbx, Rig, Who};

const BOTH: [Who; 2] = [Carrier, Pbx];
const TO: &str = "<sip:+4930333@192.0.2.1;canary=uri>";

/// A gateway whose trunks do with a REFER as `refer` says.
fn rig(name: &str, refer: &str, more: &str) -> Rig {
    let fields = format!("refer = \"{refer}\"\n{more}");
    Rig::with(name, &fields, &fields, "")
}

fn refer(rig: &mut Rig, who: Who, to: &str) -> u16 {
    ask(rig, who, to);
    rig.last_status(who)
}

/// The same where the answer is still to come.
fn ask(rig: &mut Rig, who: Who, to: &str) {
    rig.peer(who).asked.clear();
    let to = vec![(HeaderName::ReferTo, Bytes::from(to.to_owned()))];
    rig.ask_with(who, Method::Refer, to, None);
}

/// The status lines of the NOTIFYs that came, and whether the last one ends the subscription.
fn notified(rig: &mut Rig, who: Who) -> (Vec<String>, bool) {
    let asked: Vec<Request> = rig.peer(who).asked.drain(..).map(|(_, request)| request).collect();
    let mut is_over = false;
    let lines = asked.iter().filter(|request| request.method == Method::Notify).map(|notify| {
        let headers = &notify.headers;
        assert_eq!(headers.event().unwrap().unwrap().package, "refer");
        assert_eq!(headers.content_type().unwrap(), "message/sipfrag;version=2.0");
        is_over = headers.subscription_state().unwrap().unwrap().is_terminated();
        String::from_utf8(notify.body.to_vec()).unwrap().trim_end().to_owned()
    });
    (lines.collect(), is_over)
}

fn dialog(rig: &mut Rig, who: Who) -> DialogId {
    rig.peer(who).dialog.unwrap()
}

fn hang_up(rig: &mut Rig, who: Who, dialog: DialogId) {
    let now = rig.now;
    rig.peer(who).hang_up(now, dialog);
    rig.turn();
}

#[test]
fn a_trunk_that_does_not_say_so_transfers_nothing() {
    for who in BOTH {
        let mut rig = Rig::new("refer-reject");
        rig.talk(Carrier);
        assert_eq!(refer(&mut rig, who, TO), 603);
        assert!(!rig.last_response(who).headers.has_token(&HeaderName::Allow, "REFER"));
        assert!(notified(&mut rig, who).0.is_empty());
        assert_eq!((rig.carrier.byes, rig.pbx.byes), (0, 0));
        rig.hang_up(who);
        rig.finish_one(200);
    }
    // Positive control: what is listed where it is done.
    let mut rig = rig("refer-allow", "local", "");
    rig.talk(Carrier);
    assert!(rig.last_response(Carrier).headers.has_token(&HeaderName::Allow, "REFER"));
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn a_refer_is_passed_to_the_other_side_and_its_notifications_come_back() {
    for who in BOTH {
        let mut rig = rig("refer-pass", "pass", "prepend_out = \"9\"\n");
        rig.talk(Carrier);
        let other = who.other();
        rig.peer(other).hesitates = true;
        rig.peer(who).asked.clear();
        let to = vec![
            (HeaderName::ReferTo, Bytes::from_static(TO.as_bytes())),
            (HeaderName::ReferredBy, Bytes::from_static(b"<sip:canary@canary.example>")),
        ];
        rig.ask_with(who, Method::Refer, to, None);
        let (id, asked) = rig.asked_inside(other);
        assert_eq!(asked.method, Method::Refer);
        let said = asked.headers.refer_to().unwrap().unwrap().to_string();
        assert!(said.starts_with("<sip:9+4930333@192.0.2."), "by the trunk's number rules: {said}");
        let text = String::from_utf8(asked.to_bytes().to_vec()).unwrap();
        let own = asked.headers.to().unwrap().to_string();
        assert!(!text.replace(&own, "").contains("canary-proxy.example;x"), "{text}");
        assert!(!text.contains("Referred-By"), "{text}");
        rig.answer(other, id, 202, None);
        assert_eq!(rig.last_status(who), 202);
        rig.peer(other).hesitates = false;
        for (state, line, relayed) in [
            (
                "active;expires=60",
                "SIP/2.0 100 Trying\r\nVia: SIP/2.0/UDP canary\r\n",
                "100 Trying",
            ),
            ("terminated;reason=noresource", "SIP/2.0 200 canary", "200 OK"),
        ] {
            notify(&mut rig, other, state, line);
            assert_eq!(rig.last_status(other), 200);
            let (lines, is_over) = notified(&mut rig, who);
            assert_eq!(lines, [format!("SIP/2.0 {relayed}")], "the status alone");
            assert_eq!(is_over, state.starts_with("terminated"));
        }
        notify(&mut rig, other, "active;expires=60", "SIP/2.0 180 Ringing");
        assert_eq!(rig.last_status(other), 481, "nothing is subscribed to any more");
        rig.hang_up(who);
        rig.finish_one(200);
    }
}

fn notify(rig: &mut Rig, who: Who, state: &str, fragment: &str) {
    let extra = vec![
        (HeaderName::Event, Bytes::from_static(b"refer")),
        (HeaderName::SubscriptionState, Bytes::from(state.to_owned())),
    ];
    let (now, dialog) = (rig.now, dialog(rig, who));
    let body = Some(("message/sipfrag", Bytes::from(fragment.to_owned())));
    let sent = rig.peer(who).endpoint.request_in_dialog(now, dialog, Method::Notify, extra, body);
    sent.unwrap();
    rig.turn();
}

#[test]
fn a_passed_refer_that_is_refused_or_not_understood_leaves_the_call_as_it_was() {
    let mut rig = rig("refer-pass-refused", "pass", "");
    rig.talk(Carrier);
    rig.carrier.hesitates = true;
    for status in [405, 603, 401, 302] {
        ask(&mut rig, Pbx, TO);
        let (id, _) = rig.asked_inside(Carrier);
        rig.answer(Carrier, id, status, None);
        let told = match status {
            401 => 503,
            302 => 480,
            status => status,
        };
        assert_eq!(rig.last_status(Pbx), told, "{status}");
    }
    // What names a dialog of the transferor's says nothing to the other side.
    let attended = "<sip:+4930333@192.0.2.1?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2>";
    assert_eq!(refer(&mut rig, Pbx, attended), 603);
    assert!(rig.carrier.asked.is_empty());
    // NOTIFYs that cannot be understood.
    ask(&mut rig, Pbx, TO);
    let (id, _) = rig.asked_inside(Carrier);
    rig.answer(Carrier, id, 202, None);
    rig.carrier.hesitates = false;
    for (state, fragment, status) in [
        ("active;expires=60", "INVITE sip:canary SIP/2.0", 400),
        ("active;expires=x", "SIP/2.0 100 Trying", 400),
        ("active;expires=60", "SIP/2.0 100 Trying", 200),
    ] {
        notify(&mut rig, Carrier, state, fragment);
        assert_eq!(rig.last_status(Carrier), status, "{fragment}");
    }
    // A second one has to wait, and the first has its time.
    assert_eq!(refer(&mut rig, Pbx, TO), 500);
    rig.seconds(200);
    let (lines, is_over) = notified(&mut rig, Pbx);
    assert_eq!(
        (lines.as_slice(), is_over),
        (&[String::from("SIP/2.0 408 Request Timeout")][..], true)
    );
    rig.hang_up(Pbx);
    rig.finish_one(200);
}

#[test]
fn refers_that_name_nobody_are_refused() {
    let mut rig = rig("refer-malformed", "local", "");
    rig.talk(Carrier);
    for (to, status) in [
        ("<sip:192.0.2.1>", 484),
        ("nonsense", 400),
        ("<sip:a@b>, <sip:c@d>", 400),
        ("<http://canary.example>", 416),
        ("<sip:+4930333@192.0.2.1;method=BYE>", 603),
        ("<sip:+4930333@192.0.2.1?Replaces=nonsense>", 400),
    ] {
        assert_eq!(refer(&mut rig, Pbx, to), status, "{to}");
    }
    rig.ask(Pbx, Method::Refer, None);
    assert_eq!(rig.last_status(Pbx), 400);
    for claims in ["<sip:a@b>, <sip:c@d>", "nonsense"] {
        let extra = vec![
            (HeaderName::ReferTo, Bytes::from_static(TO.as_bytes())),
            (HeaderName::ReferredBy, Bytes::from_static(claims.as_bytes())),
        ];
        rig.ask_with(Pbx, Method::Refer, extra, None);
        assert_eq!(rig.last_status(Pbx), 400, "{claims}");
    }
    let demanding = vec![
        (HeaderName::ReferTo, Bytes::from_static(TO.as_bytes())),
        (HeaderName::Require, Bytes::from_static(b"multiple-refer")),
    ];
    rig.ask_with(Pbx, Method::Refer, demanding, None);
    assert_eq!(rig.last_status(Pbx), 420);
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (0, 0));
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

/// Every key that protects what we send, as often as it was told anew.
fn keys(rig: &Rig) -> HashSet<Vec<u8>> {
    rig.plane.updates.iter().filter_map(|way| Some(way.protect.as_ref()?.key().to_vec())).collect()
}

#[test]
fn the_other_side_is_called_on_and_goes_over_when_the_target_answers() {
    for caller in BOTH {
        for who in BOTH {
            let mut rig = rig("refer-blind", "local", "");
            rig.talk(caller);
            let (other, first_keys) = (who.other(), keys(&rig));
            let transferred = dialog(&mut rig, other);
            assert_eq!(refer(&mut rig, who, TO), 202, "{caller:?} called, {who:?} transfers");
            let (id, asked) = rig.invited(other);
            assert!(asked.uri.to_string().starts_with("sip:+4930333@"), "{}", asked.uri);
            rig.answer(other, id, 180, None);
            rig.peer(other).asked.clear();
            let body = rig.peer(other).accept(&asked.body);
            let now = rig.now;
            let target = rig.peer(other).answer(now, id, 200, Some(body)).unwrap();
            rig.turn();
            let (_, moved) = rig.asked_inside(other);
            assert_eq!(moved.method, Method::Invite, "the other side is asked to move its media");
            let (lines, is_over) = notified(&mut rig, who);
            assert_eq!(lines, ["SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK"]);
            assert!(is_over);
            assert_eq!(rig.peer(who).byes, 1, "who transferred is sent away");
            assert_eq!(rig.peer(other).live, [transferred, target].into());
            let last = &rig.plane.updates[rig.plane.updates.len() - 2..];
            assert!(last.iter().all(|way| way.relay), "media flows between both");
            let fresh: HashSet<_> = keys(&rig).difference(&first_keys).cloned().collect();
            assert_eq!(fresh.len(), if other == Pbx { 2 } else { 0 }, "one for each encrypted leg");
            hang_up(&mut rig, other, transferred);
            assert_eq!(rig.peer(other).byes, 1, "the target is told");
            rig.attempts += 1;
            let records = rig.finish();
            let [first, second] = records.as_slice() else { panic!("{records:?}") };
            assert_eq!(first["transferred_to"], second["id"]);
            assert_eq!(second["transferred_from"], first["id"]);
            let name = if who == Pbx { "pbx" } else { "carrier" };
            assert_eq!(second["from_trunk"], name, "a call of the trunk that transferred");
            assert_eq!(second["called"], "+4930333");
            let side = if who == caller { "caller" } else { "callee" };
            assert_eq!((&first["ended_by"], &second["ended_by"]), (&side.into(), &"caller".into()));
            assert_eq!((&first["code"], &second["code"]), (&200.into(), &200.into()));
            let number = if who == caller { "+4930222" } else { "+4940111" };
            assert_eq!(second["caller"], number, "who is transferred calls");
        }
    }
}

#[test]
fn who_transfers_may_hang_up_at_once() {
    for answers in [true, false] {
        let mut rig = rig("refer-left", "local", "");
        rig.talk(Carrier);
        let transferred = dialog(&mut rig, Carrier);
        assert_eq!(refer(&mut rig, Pbx, TO), 202);
        rig.hang_up(Pbx);
        assert_eq!(rig.carrier.byes, 0, "the other side waits");
        rig.seconds(70);
        let last = &rig.plane.updates[rig.plane.updates.len() - 2..];
        assert!(last.iter().all(|way| !way.relay), "nothing passes meanwhile");
        let (id, asked) = rig.invited(Carrier);
        if answers {
            rig.accept(Carrier, id, &asked);
            assert_eq!(rig.carrier.byes, 0);
            hang_up(&mut rig, Carrier, transferred);
        } else {
            rig.answer(Carrier, id, 486, None);
        }
        assert_eq!(rig.carrier.byes, 1);
        rig.attempts += 1;
        let records = rig.finish();
        assert_eq!(records.len(), 2);
        let of = |from: &str| records.iter().find(|record| record["from_trunk"] == from).unwrap();
        assert_eq!(of("carrier")["ended_by"], "callee");
        assert_eq!(of("pbx")["code"], if answers { 200 } else { 486 });
    }
}

#[test]
fn a_transfer_that_fails_leaves_the_call_as_it_was() {
    let mut rig = rig("refer-failed", "local", "");
    rig.talk(Carrier);
    for status in [486, 603] {
        assert_eq!(refer(&mut rig, Pbx, TO), 202);
        let (id, _) = rig.invited(Carrier);
        rig.answer(Carrier, id, status, None);
        let (lines, is_over) = notified(&mut rig, Pbx);
        assert!(lines.last().unwrap().starts_with(&format!("SIP/2.0 {status}")), "{lines:?}");
        assert!(is_over);
    }
    // Nobody answers within its time.
    assert_eq!(refer(&mut rig, Pbx, TO), 202);
    let (id, _) = rig.invited(Carrier);
    rig.answer(Carrier, id, 180, None);
    assert_eq!(refer(&mut rig, Pbx, TO), 500, "one at a time");
    rig.seconds(200);
    assert_eq!(rig.carrier.cancelled.len(), 1);
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (0, 0));
    rig.hang_up(Carrier);
    rig.attempts += 3;
    assert_eq!(rig.finish().len(), 4);
}

#[test]
fn a_transfer_ends_with_the_side_that_was_to_go_over() {
    for rings in [false, true] {
        let mut rig = rig("refer-hung-up", "local", "");
        rig.talk(Carrier);
        let transferred = dialog(&mut rig, Carrier);
        assert_eq!(refer(&mut rig, Pbx, TO), 202);
        let (id, _) = rig.invited(Carrier);
        if rings {
            rig.answer(Carrier, id, 180, None);
        }
        hang_up(&mut rig, Carrier, transferred);
        assert_eq!(rig.pbx.byes, 1);
        rig.seconds(1);
        if !rings {
            rig.answer(Carrier, id, 180, None);
        }
        assert_eq!(rig.carrier.cancelled.len(), 1, "{rings}");
        rig.attempts += 1;
        let records = rig.finish();
        assert_eq!(records.iter().filter(|record| record["code"] == 487).count(), 1);
    }
}

#[test]
fn a_transfer_is_a_call_of_its_trunk_with_its_caps_and_its_routes() {
    let mut full = Rig::with(
        "refer-capped",
        "max_outbound_calls = 1\n",
        "refer = \"local\"\n",
        "called = \"+49*\"\n",
    );
    full.talk(Pbx);
    for (to, status) in [(TO, 503), ("<sip:+1555@192.0.2.1>", 404)] {
        assert_eq!(refer(&mut full, Pbx, to), 202);
        let (lines, _) = notified(&mut full, Pbx);
        assert!(lines.last().unwrap().starts_with(&format!("SIP/2.0 {status}")), "{lines:?}");
    }
    full.hang_up(Pbx);
    full.attempts += 2;
    let records = full.finish();
    let codes: Vec<_> = records.iter().map(|record| record["code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [503, 404, 200]);
    assert!(records[..2].iter().all(|record| record["from_trunk"] == "pbx"));
    assert!(records[..2].iter().all(|record| record["transferred_from"] == records[2]["id"]));
}

/// Two calls of the pbx to the carrier; the carrier's dialogs.
fn consult(rig: &mut Rig) -> ([DialogId; 2], [DialogId; 2]) {
    rig.talk(Pbx);
    let first = [Carrier, Pbx].map(|who| dialog(rig, who));
    rig.talk(Pbx);
    let second = [Carrier, Pbx].map(|who| dialog(rig, who));
    ([first[0], second[0]], [first[1], second[1]])
}

fn attended(rig: &mut Rig, who: Who, named: DialogId) -> String {
    let replaces = rig.peer(who).endpoint.replaces_of(named).unwrap().to_string();
    let replaces = replaces.replace(';', "%3B").replace('=', "%3D").replace('@', "%40");
    format!("<sip:+4930333@192.0.2.1?Replaces={replaces}>")
}

#[test]
fn the_other_sides_of_two_calls_are_joined() {
    for with_number in [true, false] {
        let mut rig = rig("refer-attended", "local", "");
        let (far, near) = consult(&mut rig);
        let mut to = attended(&mut rig, Pbx, near[1]);
        if !with_number {
            to = to.replace("+4930333@", "");
        }
        rig.carrier.asked.clear();
        rig.pbx.dialog = Some(near[0]);
        assert_eq!(refer(&mut rig, Pbx, &to), 202);
        rig.seconds(1);
        let (lines, is_over) = notified(&mut rig, Pbx);
        assert_eq!(lines, ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"]);
        assert!(is_over);
        assert_eq!(rig.pbx.byes, 2, "who transferred has left both calls");
        assert!(rig.carrier.invites.is_empty(), "nobody new is called");
        let moved = rig.carrier.asked.iter().filter(|(_, one)| one.method == Method::Invite);
        assert_eq!(moved.count(), 2, "both send their media elsewhere");
        assert_eq!(rig.carrier.live, far.into());
        assert_eq!(rig.plane.open_flows(), 2);
        let last = &rig.plane.updates[rig.plane.updates.len() - 2..];
        assert!(last.iter().all(|way| way.relay));
        hang_up(&mut rig, Carrier, far[1]);
        assert_eq!(rig.carrier.byes, 1);
        rig.attempts += 1;
        let records = rig.finish();
        let joined = records.iter().find(|record| record.get("transferred_from").is_some());
        let joined = joined.expect("the call that came of it has a record");
        assert_eq!((&joined["code"], &joined["ended_by"]), (&200.into(), &"callee".into()));
        let ended = records.iter().filter(|record| record["transferred_to"] == joined["id"]);
        assert_eq!(ended.count(), 2);
    }
}

#[test]
fn only_a_call_of_the_same_trunk_is_joined() {
    let mut rig = rig("refer-foreign", "local", "");
    let (far, near) = consult(&mut rig);
    rig.pbx.dialog = Some(near[0]);
    let own = attended(&mut rig, Pbx, near[0]);
    let foreign = attended(&mut rig, Carrier, far[1]);
    let unknown = attended(&mut rig, Pbx, near[1]).replace("to-tag", "to-tag%3Dx%3Bx");
    for to in [own, foreign, unknown] {
        let status = refer(&mut rig, Pbx, &to);
        let (lines, _) = notified(&mut rig, Pbx);
        assert!(
            status == 400 || lines.last().unwrap().starts_with("SIP/2.0 481"),
            "{to}: {lines:?}"
        );
        assert_eq!((rig.carrier.byes, rig.pbx.byes), (0, 0));
    }
    for dialog in near {
        hang_up(&mut rig, Pbx, dialog);
    }
    assert_eq!(rig.finish().len(), 2);
}

#[test]
fn a_side_that_is_busy_is_asked_again_and_one_that_refuses_ends_the_call() {
    for refuses in [false, true] {
        let mut rig = rig("refer-glare", "local", "");
        rig.talk(Carrier);
        let transferred = dialog(&mut rig, Carrier);
        assert_eq!(refer(&mut rig, Pbx, TO), 202);
        let (id, asked) = rig.invited(Carrier);
        rig.carrier.hesitates = true;
        rig.accept(Carrier, id, &asked);
        let (id, _) = rig.asked_inside(Carrier);
        rig.answer(Carrier, id, if refuses { 488 } else { 491 }, None);
        if refuses {
            assert_eq!(rig.carrier.byes, 2);
        } else {
            rig.seconds(3);
            let (id, asked) = rig.asked_inside(Carrier);
            rig.accept(Carrier, id, &asked);
            hang_up(&mut rig, Carrier, transferred);
            assert_eq!(rig.carrier.byes, 1);
        }
        rig.attempts += 1;
        assert_eq!(rig.finish().len(), 2);
    }
}

#[test]
fn a_data_plane_that_fails_ends_a_transfer_cleanly() {
    for attends in [false, true] {
        let mut rig = rig("refer-plane", "local", "");
        let (_, near) = consult(&mut rig);
        rig.pbx.dialog = Some(near[0]);
        rig.plane.refuse_open = Some(abi::Reason::NoPorts);
        let to = if attends { attended(&mut rig, Pbx, near[1]) } else { String::from(TO) };
        assert_eq!(refer(&mut rig, Pbx, &to), 202);
        let (lines, is_over) = notified(&mut rig, Pbx);
        assert!(lines.last().unwrap().starts_with("SIP/2.0 503"), "{lines:?}");
        assert!(is_over);
        assert_eq!((rig.carrier.byes, rig.pbx.byes), (0, 0), "both calls go on");
        for dialog in near {
            hang_up(&mut rig, Pbx, dialog);
        }
        rig.attempts += 1;
        assert_eq!(rig.finish().len(), 3);
    }
}

/// The Referred-By of the call that the carrier gets when the pbx transfers by a REFER that has
/// one, after a call of the pbx's 4940111.
fn referred_by(carrier: &str, pbx: &str, said: Option<&str>, privacy: bool) -> Option<String> {
    let mut rig = Rig::with(
        "refer-signed",
        &format!("refer = \"local\"\n{carrier}"),
        &format!("refer = \"local\"\n{pbx}"),
        "",
    );
    let offer = rig.pbx.offer();
    let mut invite = rig.pbx.invite("+4930222", Some(offer));
    if privacy {
        invite.headers.push(HeaderName::Privacy, "id");
    }
    rig.place(Pbx, invite);
    let (id, asked) = rig.invited(Carrier);
    rig.accept(Carrier, id, &asked);
    let mut extra = vec![(HeaderName::ReferTo, Bytes::from_static(TO.as_bytes()))];
    extra.extend(said.map(|said| (HeaderName::ReferredBy, Bytes::from(said.to_owned()))));
    rig.ask_with(Pbx, Method::Refer, extra, None);
    assert_eq!(rig.last_status(Pbx), 202);
    let (id, asked) = rig.invited(Carrier);
    let value = asked.headers.referred_by().unwrap().map(|value| value.to_string());
    rig.answer(Carrier, id, 486, None);
    rig.hang_up(Pbx);
    rig.attempts += 1;
    rig.finish();
    value
}

#[test]
fn who_referred_is_told_in_our_words_and_by_the_rules_of_identities() {
    let claim = Some("<sip:canary@canary.example>;cid=\"x@y\"");
    let shown = Some(String::from("<sip:+4940111@192.0.2.1>"));
    assert_eq!(referred_by("", "", claim, false), shown, "never what the REFER claims");
    assert_eq!(referred_by("", "", None, false), None, "who does not say is not told of");
    assert_eq!(referred_by("send_rpid = \"no\"", "", claim, false), None);
    assert_eq!(referred_by("", "", claim, true), None, "who wants to stay unknown");
    assert_eq!(referred_by("trust_identity = true", "", claim, true), shown);
    let own = "virtual_phone_number = \"+4930100\"\ncaller_id_policy = \"trunk\"";
    assert_eq!(referred_by(own, "", claim, false), Some(String::from("<sip:+4930100@192.0.2.1>")));
    let domain = "from_domain = \"home.example\"\nuser_phone = true";
    let written = "<sip:+4940111@home.example;user=phone>";
    assert_eq!(referred_by(domain, "", claim, false), Some(String::from(written)));
}

#[test]
fn who_waits_and_describes_its_media_anew_is_answered_when_the_transfer_fails() {
    let mut rig = rig("refer-changing", "local", "");
    rig.talk(Carrier);
    assert_eq!(refer(&mut rig, Pbx, TO), 202);
    rig.hang_up(Pbx);
    let (id, _) = rig.invited(Carrier);
    rig.plane.stopped = true;
    let anew = rig.carrier.offer().replace("9977 1", "9977 2");
    rig.ask(Carrier, Method::Invite, Some(anew));
    rig.answer(Carrier, id, 486, None);
    rig.plane.stopped = false;
    let answer = rig.last_response(Carrier);
    assert_eq!(answer.headers.cseq().unwrap().method, Method::Invite);
    assert_eq!(answer.status.code(), 487);
    assert_eq!(rig.carrier.byes, 1);
    rig.attempts += 1;
    assert_eq!(rig.finish().len(), 2);
}
