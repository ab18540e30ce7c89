//! A callee's proxy that asks several phones at once.

use std::collections::HashSet;

use super::rig::{Carrier, Pbx, Rig};

const SUITES: usize = sdp::Suite::ALL.len();

#[test]
fn each_phone_may_ring_and_one_answers() {
    let mut rig = Rig::new("forks");
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    let body = rig.pbx.accept(&invite.body);
    rig.answer(Pbx, id, 180, None);
    rig.retag(Pbx, "another");
    rig.answer(Pbx, id, 183, Some(body.clone()));
    rig.retag(Pbx, "third");
    rig.answer(Pbx, id, 180, None);
    rig.rewrite = None;
    rig.answer(Pbx, id, 183, Some(body));
    rig.accept(Pbx, id, &invite);
    assert_eq!(rig.statuses(Carrier), [180, 183, 180, 183, 200]);
    let tags: HashSet<_> = rig
        .carrier
        .responses
        .iter()
        .map(|(_, response)| response.headers.to().unwrap().tag().cloned())
        .collect();
    assert_eq!(tags.len(), 1, "the caller sees one phone");
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn a_second_phone_that_answers_is_hung_up_and_the_call_goes_on() {
    for after in [0, 10, 25] {
        let mut rig = Rig::new("second");
        rig.call(Carrier);
        let (id, invite) = rig.invited(Pbx);
        rig.answer(Pbx, id, 180, None);
        rig.accept(Pbx, id, &invite);
        rig.seconds(after);
        rig.repeat_answer(Pbx, "another");
        rig.turn();
        let told = |start: &[u8]| {
            rig.told.iter().filter(|(who, bytes)| *who == Pbx && bytes.starts_with(start)).count()
        };
        assert_eq!((told(b"ACK"), told(b"BYE")), (2, 1), "RFC 3261 §13.2.2.4");
        assert_eq!((rig.calls.len(), rig.carrier.byes, rig.pbx.byes), (1, 0, 0));
        rig.hang_up(Pbx);
        assert_eq!(rig.carrier.byes, 1);
        rig.finish_one(200);
    }
}

#[test]
fn a_second_phone_that_answers_after_the_call_is_hung_up() {
    let mut rig = Rig::new("second-late");
    rig.talk(Carrier);
    rig.hang_up(Carrier);
    assert!(rig.calls.is_empty());
    rig.repeat_answer(Pbx, "another");
    rig.turn();
    let told = |start: &[u8]| {
        rig.told.iter().filter(|(who, bytes)| *who == Pbx && bytes.starts_with(start)).count()
    };
    assert_eq!((told(b"ACK"), told(b"BYE")), (2, 2));
    rig.finish_one(200);
}

#[test]
fn a_second_phone_that_answers_a_cancelled_call_is_hung_up() {
    let mut rig = Rig::new("second-cancelled");
    let client = rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    let body = rig.pbx.accept(&invite.body);
    rig.cancel(Carrier, client);
    rig.run(super::rig::DELAY);
    let now = rig.now;
    rig.pbx.answer(now, id, 200, Some(body));
    rig.turn();
    rig.repeat_answer(Pbx, "another");
    rig.turn();
    let told = |start: &[u8]| {
        rig.told.iter().filter(|(who, bytes)| *who == Pbx && bytes.starts_with(start)).count()
    };
    assert_eq!((told(b"ACK"), told(b"BYE")), (2, 2));
    rig.finish_one(487);
}

/// The pbx's description with the key of its `nth` phone, under the line of `suite` in our offer.
fn phone(offer: &[u8], suite: &str, nth: usize) -> String {
    let offer = std::str::from_utf8(offer).unwrap();
    let line = offer.lines().find(|line| line.contains(suite)).expect("the suite is offered");
    let tag = line.strip_prefix("a=crypto:").unwrap().split(' ').next().unwrap();
    let letter = char::from(b'A' + u8::try_from(nth).unwrap());
    let key = letter.to_string().repeat(40);
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
         m=audio 7000 RTP/SAVP 8\r\na=crypto:{tag} {suite} inline:{key}\r\n"
    )
}

#[test]
fn phones_that_ring_leave_a_key_to_the_one_that_answers() {
    let mut rig = Rig::new("fork-keys");
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    let suites = ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"];
    for nth in 0..2 * SUITES {
        rig.answer(Pbx, id, 183, Some(phone(&invite.body, suites[nth % 2], nth)));
        let early = rig.last_response(Carrier);
        assert_eq!((early.status.code(), early.body.is_empty()), (183, nth >= SUITES - 1), "{nth}");
    }
    // One that was heard before is no further one, in its earlier suite.
    rig.answer(Pbx, id, 183, Some(phone(&invite.body, suites[1], 1)));
    assert!(!rig.last_response(Carrier).body.is_empty());
    rig.answer(Pbx, id, 200, Some(phone(&invite.body, suites[0], 2 * SUITES)));
    assert_eq!(rig.last_status(Carrier), 200);
    let keys = |of: fn(&abi::Update) -> Option<&abi::Key>| {
        let keys = rig.plane.updates.iter().filter_map(of);
        keys.map(|key| (key.suite(), key.key().to_vec())).collect::<HashSet<_>>().len()
    };
    assert_eq!(keys(|way| way.unprotect.as_ref()), SUITES, "what the data plane keeps");
    assert_eq!(keys(|way| way.protect.as_ref()), suites.len(), "one for each suite");
    rig.hang_up(Carrier);
    rig.finish_one(200);
}
