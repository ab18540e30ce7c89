//! `secure_rtp = preferred`: encrypted where the peer can, plain where it cannot, never half.

use super::peer::message;
use super::plane::SHAPE;
use super::rig::{Carrier, Pbx, Rig, configuration};

/// A rig whose pbx is a trunk that prefers encryption.
fn rig(name: &str) -> Rig {
    let preferred = "transport = \"TLS\"\nallow_mixed = true\nsecure_rtp = \"preferred\"";
    let text = configuration("", "", "").replace("secure = true", preferred);
    let mut rig = Rig::shaped(name, &text, SHAPE);
    rig.is_mixed = true;
    rig
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

/// How many ways are keyed, in and out.
fn keyed(rig: &Rig) -> (usize, usize) {
    let count = rig.plane.updates.len();
    let last = &rig.plane.updates[count - 2..];
    let unprotects = last.iter().filter(|way| way.unprotect.is_some()).count();
    (unprotects, last.iter().filter(|way| way.protect.is_some()).count())
}

#[test]
fn srtp_is_offered_first_and_used() {
    let mut rig = rig("preferred");
    rig.talk(Carrier);
    assert_eq!(keyed(&rig), (1, 1));
    rig.hang_up(Carrier);
    let record = rig.finish_one(200);
    assert_eq!(record["callee_suite"], "AES_CM_128_HMAC_SHA1_80");
}

#[test]
fn a_callee_that_refuses_srtp_is_asked_once_more_without() {
    let mut rig = rig("preferred-again");
    rig.call(Carrier);
    let (id, first) = rig.invited(Pbx);
    assert!(text(&first.body).contains("RTP/SAVP"));
    rig.answer(Pbx, id, 488, None);
    let (id, second) = rig.invited(Pbx);
    let offer = text(&second.body);
    assert!(offer.contains("RTP/AVP ") && !offer.contains("crypto"), "{offer}");
    assert_ne!(first.headers.call_id().unwrap(), second.headers.call_id().unwrap());
    let answer = rig.carrier.accept(&second.body);
    rig.answer(Pbx, id, 200, Some(answer));
    assert_eq!(rig.last_status(Carrier), 200);
    assert_eq!(keyed(&rig), (0, 0));
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn a_second_refusal_is_the_callers() {
    let mut rig = rig("preferred-twice");
    rig.call(Carrier);
    for _ in 0..2 {
        let (id, _) = rig.invited(Pbx);
        rig.answer(Pbx, id, 488, None);
    }
    assert!(rig.pbx.invites.is_empty(), "once, not for ever");
    assert_eq!(rig.last_status(Carrier), 488);
    rig.finish_one(488);
}

#[test]
fn a_trunk_that_requires_srtp_is_never_asked_without() {
    let mut rig = Rig::new("required");
    rig.call(Carrier);
    let (id, _) = rig.invited(Pbx);
    rig.answer(Pbx, id, 488, None);
    assert!(rig.pbx.invites.is_empty());
    rig.finish_one(488);
}

#[test]
fn callers_choose_among_savp_avp_with_keys_and_avp() {
    for (profile, keys) in [("RTP/SAVP", true), ("RTP/AVP", true), ("RTP/AVP", false)] {
        let mut rig = rig("preferred-caller");
        let mut offer = rig.pbx.offer().replace("RTP/SAVP", profile);
        if !keys {
            let kept = offer.lines().filter(|line| !line.starts_with("a=crypto"));
            offer = kept.map(|line| format!("{line}\r\n")).collect();
        }
        rig.call_with(Pbx, "+4930222", Some(offer));
        let (id, invite) = rig.invited(Carrier);
        rig.accept(Carrier, id, &invite);
        let answer = rig.last_response(Pbx);
        assert_eq!(answer.status.code(), 200);
        let body = text(&answer.body);
        assert!(body.contains(&format!("{profile} ")), "{body}");
        assert_eq!(body.contains("a=crypto:1 "), keys, "{body}");
        let count = usize::from(keys);
        assert_eq!(keyed(&rig), (count, count), "{profile} {keys}");
        // No downgrade inside of the call.
        if keys {
            let plain = rig.carrier.offer();
            rig.ask(Pbx, sip::wire::Method::Invite, Some(plain));
            assert_eq!(rig.last_status(Pbx), 488);
        }
        rig.hang_up(Pbx);
        let told = rig.told.iter().filter(|(who, _)| *who == Carrier);
        let mut told = told.map(|(_, bytes)| message(bytes).to_bytes());
        assert!(!told.any(|bytes| text(&bytes).contains("crypto")), "nothing to the carrier");
        rig.finish_one(200);
    }
}
