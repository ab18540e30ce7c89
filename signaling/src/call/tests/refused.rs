//! Attempts that nobody answers: refused, cancelled, timed out, never carried.

use bytes::Bytes;
use sip::wire::{HeaderName, Message, Method, Request, Uri};

use super::rig::{CARRIER, Carrier, PBX, Pbx, Rig, Who};
use crate::trunk::TrunkId;

const BOTH: [Who; 2] = [Carrier, Pbx];

#[test]
fn the_caller_cancels_while_it_rings() {
    for caller in BOTH {
        let mut rig = Rig::new("cancel");
        let client = rig.call(caller);
        let (id, _) = rig.invited(caller.other());
        rig.answer(caller.other(), id, 180, None);
        rig.cancel(caller, client);
        rig.turn();
        assert_eq!(rig.statuses(caller), [180, 487]);
        assert_eq!(rig.peer(caller.other()).cancelled, [id]);
        let record = rig.finish_one(487);
        assert_eq!(record["reason"], "cancelled by the caller");
        assert!(record["answer"].is_null());
    }
}

#[test]
fn the_caller_cancels_before_the_callee_said_anything() {
    let mut rig = Rig::new("cancel-mute");
    // 100 Trying of the gateway lets the caller cancel; the callee sends nothing before it is cut.
    rig.cut = Some(Pbx);
    let client = rig.call(Carrier);
    rig.seconds(1);
    rig.cancel(Carrier, client);
    rig.turn();
    assert_eq!(rig.last_status(Carrier), 487);
    rig.seconds(40);
    assert!(rig.calls.is_empty());
    rig.finish_one(487);
}

#[test]
fn a_cancel_that_crosses_the_answer_ends_the_callee() {
    for caller in BOTH {
        let mut rig = Rig::new("cross");
        let client = rig.call(caller);
        let callee = caller.other();
        let (id, invite) = rig.invited(callee);
        rig.answer(callee, id, 180, None);
        let body = rig.peer(callee).accept(&invite.body);
        // Both are on their way at once; the CANCEL reaches the callee after its answer.
        rig.cancel(caller, client);
        rig.run(super::rig::DELAY);
        let now = rig.now;
        rig.peer(callee).answer(now, id, 200, Some(body));
        rig.turn();
        assert_eq!(rig.last_status(caller), 487);
        assert_eq!((rig.peer(callee).acks.len(), rig.peer(callee).byes), (1, 1));
        rig.finish_one(487);
    }
}

#[test]
fn a_cancel_while_media_is_being_connected_ends_the_callee() {
    let mut rig = Rig::new("cancel-connecting");
    let client = rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    rig.plane.stopped = true;
    rig.accept(Pbx, id, &invite);
    rig.cancel(Carrier, client);
    rig.turn();
    rig.plane.stopped = false;
    assert_eq!(rig.last_status(Carrier), 487);
    rig.turn();
    assert_eq!((rig.pbx.acks.len(), rig.pbx.byes), (1, 1));
    rig.finish_one(487);
}

#[test]
fn a_cancel_while_ports_are_leased_asks_nobody() {
    let mut rig = Rig::new("cancel-leasing");
    rig.plane.stopped = true;
    let client = rig.call(Carrier);
    rig.seconds(1);
    rig.cancel(Carrier, client);
    rig.turn();
    rig.plane.stopped = false;
    assert_eq!(rig.last_status(Carrier), 487);
    rig.turn();
    assert!(rig.pbx.invites.is_empty());
    rig.finish_one(487);
}

#[test]
fn a_bye_in_an_early_dialog_ends_the_attempt() {
    for answered in [false, true] {
        let mut rig = Rig::new("early-bye");
        rig.call(Carrier);
        let (id, invite) = rig.invited(Pbx);
        rig.answer(Pbx, id, 180, None);
        let (now, dialog) = (rig.now, rig.carrier.early.unwrap());
        if answered {
            rig.plane.stopped = true;
            rig.accept(Pbx, id, &invite);
        }
        rig.carrier.hang_up(now, dialog);
        rig.turn();
        rig.plane.stopped = false;
        assert_eq!(rig.last_status(Carrier), 487, "RFC 3261 §15.1.2");
        rig.turn();
        assert_eq!(rig.pbx.byes, usize::from(answered));
        assert_eq!(rig.pbx.cancelled.len(), usize::from(!answered));
        rig.finish_one(487);
    }
}

#[test]
fn a_refusal_reaches_the_caller() {
    for status in [400, 403, 404, 480, 486, 488, 500, 503, 600, 603] {
        let mut rig = Rig::new("refusal");
        rig.call(Carrier);
        let (id, _) = rig.invited(Pbx);
        rig.answer(Pbx, id, status, None);
        assert_eq!(rig.last_status(Carrier), status);
        rig.finish_one(status);
    }
}

#[test]
fn what_is_between_us_and_the_callee_stays_there() {
    let contact =
        || vec![(HeaderName::Contact, Bytes::from_static(b"<sip:elsewhere@198.51.100.1>"))];
    let challenge = |name| vec![(name, Bytes::from_static(CHALLENGE.as_bytes()))];
    for (status, extra, seen) in [
        (301, contact(), 480),
        (302, contact(), 480),
        (380, contact(), 480),
        (401, challenge(HeaderName::WwwAuthenticate), 503),
        (407, challenge(HeaderName::ProxyAuthenticate), 503),
    ] {
        let mut rig = Rig::new("between");
        rig.call(Carrier);
        let (id, _) = rig.invited(Pbx);
        let now = rig.now;
        rig.pbx.answer_with(now, id, status, extra, None);
        rig.turn();
        let response = rig.last_response(Carrier);
        assert_eq!(response.status.code(), seen);
        for name in
            [HeaderName::Contact, HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate]
        {
            assert_eq!(response.headers.get(&name), None);
        }
        assert!(rig.pbx.invites.is_empty(), "nothing is answered without an account");
        let record = rig.finish_one(seen);
        let reason = record["reason"].as_str().unwrap();
        assert!(reason.contains(&status.to_string()), "the CDR tells the operator: {reason}");
    }
}

const CHALLENGE: &str = r#"Digest realm="pbx.example", nonce="n1", algorithm=SHA-256, qop="auth""#;

#[test]
fn a_challenge_is_answered_with_the_trunks_account() {
    for (status, asks, answers) in [
        (401, HeaderName::WwwAuthenticate, HeaderName::Authorization),
        (407, HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization),
    ] {
        let mut rig = Rig::with("account", "", ACCOUNT, "");
        rig.call(Carrier);
        let (id, first) = rig.invited(Pbx);
        let (now, challenge) = (rig.now, Bytes::from_static(CHALLENGE.as_bytes()));
        rig.pbx.answer_with(now, id, status, vec![(asks, challenge)], None);
        rig.turn();
        assert!(rig.carrier.responses.is_empty(), "the caller hears nothing of it");
        let (id, second) = rig.invited(Pbx);
        let answer = second.headers.get(&answers).expect("an answer to the challenge");
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        assert!(answer.contains("username=\"trunkline\"") && answer.contains("nonce=\"n1\""));
        assert!(!answer.contains("open sesame"));
        assert_eq!(first.body, second.body);
        assert_eq!(first.headers.call_id().unwrap(), second.headers.call_id().unwrap());
        rig.accept(Pbx, id, &second);
        assert_eq!(rig.last_status(Carrier), 200);
        rig.hang_up(Carrier);
        rig.finish_one(200);
    }
}

const ACCOUNT: &str = "username = \"trunkline\"\npassword = \"open sesame\"";

#[test]
fn a_wrong_password_is_not_tried_for_ever() {
    let mut rig = Rig::with("password", "", ACCOUNT, "");
    rig.call(Carrier);
    let mut asked = 0;
    while let Some((id, _)) = rig.pbx.invites.pop_front() {
        asked += 1;
        let (now, challenge) = (rig.now, Bytes::from_static(CHALLENGE.as_bytes()));
        rig.pbx.answer_with(now, id, 401, vec![(HeaderName::WwwAuthenticate, challenge)], None);
        rig.turn();
    }
    assert!((2..=3).contains(&asked), "{asked} INVITEs");
    assert_eq!(rig.last_status(Carrier), 503);
    rig.finish_one(503);
}

#[test]
fn a_cancel_meets_the_repeated_invite() {
    let mut rig = Rig::with("account-cancel", "", ACCOUNT, "");
    let client = rig.call(Carrier);
    let (id, _) = rig.invited(Pbx);
    let (now, challenge) = (rig.now, Bytes::from_static(CHALLENGE.as_bytes()));
    rig.pbx.answer_with(now, id, 401, vec![(HeaderName::WwwAuthenticate, challenge)], None);
    rig.turn();
    let (id, _) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    rig.cancel(Carrier, client);
    rig.turn();
    assert_eq!(rig.last_status(Carrier), 487);
    assert_eq!(rig.pbx.cancelled, [id]);
    rig.finish_one(487);
}

#[test]
fn ringing_has_a_limit() {
    let mut rig = Rig::with("ring", "", "", "ring_limit = 20");
    rig.call(Carrier);
    let (id, _) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    rig.seconds(19);
    assert_eq!(rig.statuses(Carrier), [180]);
    rig.seconds(2);
    assert_eq!(rig.statuses(Carrier), [180, 408]);
    assert_eq!(rig.pbx.cancelled, [id]);
    let record = rig.finish_one(408);
    assert_eq!(record["reason"], "ring limit reached");
}

#[test]
fn a_callee_that_never_answers_is_given_up() {
    for callee in BOTH {
        let mut rig = Rig::with("mute", "", "", "ring_limit = 60");
        rig.cut = Some(callee);
        rig.call(callee.other());
        rig.seconds(40);
        assert_eq!(rig.last_status(callee.other()), 408);
        rig.finish_one(408);
    }
}

#[test]
fn a_callee_that_cannot_be_reached_is_given_up() {
    let mut rig = Rig::new("unreachable");
    rig.cut = Some(Pbx);
    rig.call(Carrier);
    rig.fail(Pbx);
    rig.turn();
    assert_eq!(rig.last_status(Carrier), 503);
    rig.finish_one(503);
}

/// The answer to an INVITE that a test changed.
fn refused(name: &str, change: impl FnOnce(&mut Request), code: u16) -> sip::wire::Response {
    let mut rig = Rig::new(name);
    let offer = rig.carrier.offer();
    let mut invite = rig.carrier.invite("+4930222", Some(offer));
    change(&mut invite);
    rig.place(Carrier, invite);
    let response = rig.last_response(Carrier);
    assert_eq!(response.status.code(), code);
    assert!(rig.pbx.invites.is_empty(), "the callee is not asked");
    rig.finish_one(code);
    response
}

#[test]
fn an_extension_that_is_required_is_refused() {
    let response = refused(
        "require",
        |invite| {
            invite.headers.push(HeaderName::Require, "100rel");
            invite.headers.push(HeaderName::Require, "canary-extension");
        },
        420,
    );
    let named = response.headers.list(&HeaderName::Unsupported).unwrap();
    assert_eq!(named, ["canary-extension"]);
}

#[test]
fn a_used_up_hop_limit_is_refused() {
    refused("hops", |invite| invite.headers.push(HeaderName::MaxForwards, "0"), 483);
}

#[test]
fn a_body_that_is_not_sdp_is_refused() {
    let change = |invite: &mut Request| {
        invite.headers.set(HeaderName::ContentType, "text/plain");
        invite.body = Bytes::from_static(b"hello");
    };
    let response = refused("not-sdp", change, 415);
    assert_eq!(response.headers.get(&HeaderName::Accept).unwrap(), "application/sdp");
}

#[test]
fn malformed_sdp_is_refused() {
    refused("bad-sdp", |invite| invite.body = Bytes::from_static(b"v=0\r\nnonsense\r\n"), 400);
}

#[test]
fn an_offer_of_the_other_kind_is_refused_with_a_warning() {
    let change = |invite: &mut Request| {
        let text = String::from_utf8(invite.body.to_vec()).unwrap();
        invite.body = Bytes::from(text.replace("RTP/AVP", "RTP/SAVP"));
    };
    let response = refused("savp", change, 488);
    assert!(response.headers.get(&HeaderName::Warning).unwrap().starts_with(b"302"));
}

#[test]
fn a_secure_trunk_is_refused_plain_media() {
    let mut rig = Rig::new("plain-on-tls");
    let plain = rig.carrier.offer();
    rig.call_with(Pbx, "+4930222", Some(plain));
    assert_eq!(rig.last_status(Pbx), 488);
    assert!(rig.carrier.invites.is_empty());
    rig.finish_one(488);
}

#[test]
fn a_codec_that_the_callee_may_not_use_is_refused() {
    let mut rig = Rig::with("codec", "", "allow = [\"PCMU\"]", "");
    let offer = rig.carrier.offer().replace(
        "8 0\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000",
        "8\r\na=rtpmap:8 PCMA/8000",
    );
    rig.call_with(Carrier, "+4930222", Some(offer));
    assert_eq!(rig.last_status(Carrier), 488);
    assert!(rig.pbx.invites.is_empty());
    rig.finish_one(488);
}

#[test]
fn a_number_without_a_route_is_refused() {
    let mut rig = Rig::with("no-route", "", "", "called = \"4930*\"");
    rig.call(Carrier);
    assert_eq!(rig.last_status(Carrier), 404);
    let record = rig.finish_one(404);
    assert!(record["reason"].as_str().unwrap().contains("no enabled route"));
}

#[test]
fn a_request_without_a_number_is_refused() {
    let no_user = |invite: &mut Request| {
        invite.uri = Uri::parse(b"sip:192.0.2.1").unwrap();
    };
    refused("no-number", no_user, 404);
}

#[test]
fn an_invite_that_no_dialog_can_be_made_of_is_no_attempt() {
    let bad = Bytes::from_static(b"<sip:canary@[::1>");
    for change in [
        (HeaderName::Contact, None),
        (HeaderName::Contact, Some(bad.clone())),
        (HeaderName::RecordRoute, Some(bad)),
    ] {
        let mut rig = Rig::new("bad-address");
        rig.rewrite = Some(Box::new(move |who, sent| {
            if who == Carrier && matches!(sent, Message::Request(_)) {
                let (name, value) = change.clone();
                sent.headers_mut().remove(&name);
                value.into_iter().for_each(|value| sent.headers_mut().push(name.clone(), value));
            }
        }));
        rig.call(Carrier);
        assert_eq!(rig.last_status(Carrier), 400);
        assert_eq!(rig.finish().len(), 0);
    }
}

#[test]
fn policies_are_obeyed() {
    for (line, number, seen) in [
        ("incoming_call_policy = \"reject\"", "+4930222", 403),
        ("incoming_call_policy = \"known_numbers\"", "+4930222", 404),
        (KNOWN, "+4930999", 404),
        ("direction = \"outbound\"", "+4930222", 403),
    ] {
        let mut rig = Rig::with("policy", line, "", "");
        let offer = rig.carrier.offer();
        rig.call_with(Carrier, number, Some(offer));
        assert_eq!(rig.last_status(Carrier), seen, "{line}");
        assert!(rig.pbx.invites.is_empty());
        rig.finish_one(seen);
    }
}

const KNOWN: &str =
    "incoming_call_policy = \"known_numbers\"\nvirtual_phone_number = [\"+4930222\"]";

#[test]
fn a_known_number_is_carried() {
    for number in ["+4930222", "+4930222;npdi;phone-context=canary.example"] {
        let mut rig = Rig::with("known", KNOWN, "", "");
        let offer = rig.carrier.offer();
        rig.call_with(Carrier, number, Some(offer));
        let (id, invite) = rig.invited(Pbx);
        assert_eq!(invite.uri.to_string(), "sip:+4930222@192.0.2.20;transport=tls");
        rig.accept(Pbx, id, &invite);
        rig.hang_up(Pbx);
        rig.finish_one(200);
    }
}

#[test]
fn the_callers_password_and_context_stay_with_us() {
    for from in [
        "<sip:+4940111:canary@canary.example>",
        "<sip:+4940111;phone-context=canary.example@canary.example;user=phone>",
        "<tel:+4940111;phone-context=canary.example>",
    ] {
        let mut rig = Rig::new("from");
        let offer = rig.carrier.offer();
        let mut invite = rig.carrier.invite("+4930222", Some(offer));
        invite.headers.set(HeaderName::From, from);
        let client = rig.place(Carrier, invite);
        let (_, invite) = rig.invited(Pbx);
        let seen = invite.headers.from().unwrap();
        assert_eq!(seen.uri.to_string(), "sip:+4940111@192.0.2.1");
        rig.seconds(1);
        rig.cancel(Carrier, client);
        let record = rig.finish_one(487);
        assert_eq!(record["caller"], "+4940111");
    }
}

#[test]
fn the_callees_invite_is_written_anew() {
    let mut rig = Rig::new("anew");
    rig.talk(Carrier);
    // The rig looks for the canary in each INVITE; this shows that it was there to be found.
    let theirs = rig.carrier.invite("+4930222", Some(rig.carrier.offer()));
    assert!(theirs.to_bytes().windows(6).filter(|w| *w == b"canary").count() > 5);
    let ours = rig.told.iter().find(|(who, bytes)| *who == Pbx && bytes.starts_with(b"INVITE"));
    let text = String::from_utf8(ours.unwrap().1.to_vec()).unwrap();
    let names: Vec<&str> = text
        .lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split(':').next())
        .collect();
    let known = [
        "Via",
        "Max-Forwards",
        "From",
        "To",
        "P-Asserted-Identity",
        "Supported",
        "Call-ID",
        "CSeq",
        "Contact",
        "Allow",
        "User-Agent",
        "Content-Type",
        "Content-Length",
    ];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    assert!(text.contains("\r\nMax-Forwards: 69\r\n"));
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn a_full_trunk_refuses_until_a_call_ends() {
    for (carrier, pbx) in [("max_concurrent_calls = 2", ""), ("", "max_concurrent_calls = 2")] {
        let mut rig = Rig::with("full", carrier, pbx, "");
        let mut dialogs = Vec::new();
        for caller in BOTH {
            rig.talk(caller);
            dialogs.push((caller, rig.peer(caller).dialog.unwrap()));
        }
        rig.call(Carrier);
        let response = rig.last_response(Carrier);
        assert_eq!(response.status.code(), 503);
        assert_eq!(response.headers.get(&HeaderName::RetryAfter).unwrap(), "5");
        assert!(rig.pbx.invites.is_empty());
        let (caller, dialog) = dialogs[0];
        let now = rig.now;
        rig.peer(caller).hang_up(now, dialog);
        rig.turn();
        rig.talk(Carrier);
        rig.hang_up(Carrier);
        let (caller, dialog) = dialogs[1];
        let now = rig.now;
        rig.peer(caller).hang_up(now, dialog);
        let mut codes: Vec<_> = rig.finish().iter().map(|record| record["code"].clone()).collect();
        codes.sort_by_key(|code| code.as_u64());
        assert_eq!(codes, [200, 200, 200, 503]);
    }
}

#[test]
fn the_cap_is_exact_under_a_hundred_parallel_invites() {
    for caller in BOTH {
        let mut rig = Rig::with("exact", "max_concurrent_calls = 30", "", "");
        for n in 0..100 {
            let now = rig.now;
            let peer = rig.peer(caller);
            let offer = peer.offer();
            let invite = peer.invite(&format!("+4930222{n:03}"), Some(offer));
            peer.call(now, invite);
        }
        rig.turn();
        let callee = caller.other();
        assert_eq!(rig.peer(callee).invites.len(), 30);
        let used = rig.gateway.admission.used(CARRIER);
        assert_eq!((used.all(), rig.statuses(caller)), (30, vec![503; 70]));
        while let Some((id, _)) = rig.peer(callee).invites.pop_front() {
            rig.answer(callee, id, 486, None);
        }
        let records = rig.finish();
        let busy = records.iter().filter(|record| record["code"] == 486).count();
        assert_eq!((records.len(), busy), (100, 30));
    }
}

#[test]
fn a_draining_trunk_keeps_its_calls_and_takes_no_more() {
    for draining in [CARRIER, PBX] {
        let mut rig = Rig::new("draining");
        rig.talk(Carrier);
        rig.gateway.health.drain(draining, true);
        assert_eq!(rig.calls.on_trunk(draining), 1);
        for caller in BOTH {
            rig.call(caller);
            let response = rig.last_response(caller);
            assert_eq!(response.status.code(), 503);
            assert!(response.headers.get(&HeaderName::RetryAfter).is_some());
        }
        rig.hang_up(Carrier);
        assert_eq!(rig.calls.on_trunk(draining), 0);
        rig.gateway.health.drain(draining, false);
        rig.talk(Pbx);
        rig.hang_up(Pbx);
        let codes: Vec<_> = rig.finish().iter().map(|record| record["code"].clone()).collect();
        assert_eq!(codes, [503, 503, 200, 200]);
    }
}

#[test]
fn attempts_are_counted_where_they_came_from_and_went() {
    let mut rig = Rig::new("tallies");
    rig.talk(Carrier);
    rig.seconds(90);
    rig.hang_up(Carrier);
    rig.call(Carrier);
    let (id, _) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    rig.seconds(3);
    rig.answer(Pbx, id, 486, None);
    let now = jiff::Timestamp::UNIX_EPOCH;
    let [inbound, none] = rig.gateway.tallies.report(CARRIER, now).unwrap();
    assert_eq!((inbound.total.attempts, none.total.attempts), (2, 0));
    assert_eq!((inbound.asr, inbound.ner), (Some(0.5), Some(1.0)));
    assert!(inbound.acd.is_some_and(|acd| (90.0..92.0).contains(&acd)), "{inbound:?}");
    assert_eq!(inbound.codes, [(200, 1), (486, 1)].into());
    let [_, outbound] = rig.gateway.tallies.report(PBX, now).unwrap();
    assert_eq!((outbound.total, outbound.delays), (inbound.total, inbound.delays));
    assert_eq!(inbound.delays.counts.iter().sum::<u64>(), 2);
    rig.finish();
}

#[test]
fn a_trunk_that_is_deleted_with_a_call_ends_it() {
    let mut rig = Rig::new("deleted");
    rig.talk(Carrier);
    rig.stop_calls_of(PBX);
    rig.turn();
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
    let record = rig.finish_one(503);
    assert_eq!(record["reason"], "the trunk was deleted");
}

#[test]
fn failed_attempts_do_not_fill_a_trunk() {
    let mut rig = Rig::with("unfilled", "max_concurrent_calls = 1", "", "");
    for _ in 0..5 {
        rig.call(Carrier);
        let (id, _) = rig.invited(Pbx);
        rig.answer(Pbx, id, 486, None);
        assert_eq!(rig.last_status(Carrier), 486);
    }
    assert_eq!(rig.finish().len(), 5);
}

#[test]
fn a_trunk_that_takes_no_calls_is_not_asked() {
    let mut rig = Rig::with("disabled", "", "enabled = false", "");
    rig.call(Carrier);
    assert_eq!(rig.last_status(Carrier), 503);
    assert!(rig.pbx.invites.is_empty());
    rig.finish_one(503);
}

#[test]
fn an_attempt_of_a_trunk_that_is_gone_leaves_its_record() {
    let mut rig = Rig::new("trunk-gone");
    assert!(rig.gateway.trunks.get(TrunkId(PBX.0 + 1)).is_none());
    rig.pretend = Some(TrunkId(PBX.0 + 1));
    rig.call(Carrier);
    assert_eq!(rig.last_status(Carrier), 403);
    rig.finish_one(403);
}

#[test]
fn a_full_endpoint_refuses_and_recovers() {
    let mut rig = Rig::new("endpoint-full");
    rig.limit_transactions(1);
    rig.call(Carrier);
    assert_eq!(rig.last_status(Carrier), 503);
    assert!(rig.pbx.invites.is_empty());
    rig.finish_one(503);
}

#[test]
fn a_request_of_a_call_that_is_over_is_refused() {
    let mut rig = Rig::new("no-call");
    rig.talk(Carrier);
    let dialog = rig.carrier.dialog.unwrap();
    // The caller does not learn that the callee hung up.
    rig.cut = Some(Carrier);
    rig.hang_up(Pbx);
    rig.seconds(40);
    assert!(rig.calls.is_empty());
    rig.cut = None;
    let now = rig.now;
    rig.carrier.endpoint.request_in_dialog(now, dialog, Method::Info, vec![], None).unwrap();
    rig.turn();
    assert_eq!(rig.last_status(Carrier), 481);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}
