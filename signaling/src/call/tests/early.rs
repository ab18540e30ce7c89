//! UPDATE in an early dialog (RFC 3311): what describes nothing is answered at once, what describes
//! media waits for the answer of the INVITE, unless that was given and acknowledged already.

use sip::endpoint::ServerId;
use sip::wire::{HeaderName, Method, Request};

use super::rig::{Carrier, Pbx, Rig, Who};

const MOVED_PORT: u16 = 7_100;

/// The carrier's call rings at the PBX, with early media if `reliably` is given.
fn ringing(name: &str, reliably: Option<bool>) -> (Rig, ServerId, Request) {
    let mut rig = Rig::new(name);
    let offer = rig.carrier.offer();
    let mut invite = rig.carrier.invite("+4930222", Some(offer));
    if reliably == Some(true) {
        invite.headers.push(HeaderName::Supported, "100rel");
    }
    rig.place(Carrier, invite);
    let (id, invite) = rig.invited(Pbx);
    let now = rig.now;
    let early = match reliably {
        None => rig.pbx.answer(now, id, 180, None),
        Some(_) => {
            let body = rig.pbx.accept(&invite.body);
            rig.pbx.answer(now, id, 183, Some(body))
        }
    };
    rig.turn();
    rig.pbx.dialog = early;
    rig.carrier.dialog = rig.carrier.early;
    (rig, id, invite)
}

/// What a peer offers, somewhere else than before.
fn moved(rig: &mut Rig, who: Who) -> String {
    let offer = rig.peer(who).offer().replace("9977 1", "9977 2");
    offer.replace("m=audio 7000", &format!("m=audio {MOVED_PORT}"))
}

fn answer_and_end(mut rig: Rig, id: ServerId, invite: &Request) {
    rig.carrier.dialog = None;
    rig.accept(Pbx, id, invite);
    assert_eq!(rig.last_status(Carrier), 200);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

/// Ports that media is sent to, as the data plane was told last.
fn ports(rig: &Rig) -> Vec<u16> {
    let last = &rig.plane.updates[rig.plane.updates.len() - 2..];
    last.iter().filter_map(|way| way.destination_rtp).map(|address| address.port()).collect()
}

#[test]
fn an_update_that_describes_nothing_is_answered_at_once() {
    for who in [Carrier, Pbx] {
        let (mut rig, id, invite) = ringing("early-bare", None);
        rig.ask(who, Method::Update, None);
        assert_eq!(rig.last_status(who), 200, "{who:?}");
        let short = vec![
            (HeaderName::Supported, "timer".into()),
            (HeaderName::SessionExpires, "30;refresher=uac".into()),
        ];
        rig.ask_with(who, Method::Update, short, None);
        assert_eq!(rig.last_status(who), 422, "{who:?}: too short a timer is no matter of state");
        assert!(rig.peer(who.other()).asked.is_empty());
        answer_and_end(rig, id, &invite);
    }
}

#[test]
fn the_session_timer_is_that_of_the_invite() {
    let mut rig = Rig::new("early-timer");
    let offer = rig.carrier.offer();
    let mut invite = rig.carrier.invite("+4930222", Some(offer));
    invite.headers.push(HeaderName::Supported, "timer");
    invite.headers.push(HeaderName::SessionExpires, "1800;refresher=uac");
    rig.place(Carrier, invite);
    let (id, invite) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    rig.carrier.dialog = rig.carrier.early;
    rig.ask(Carrier, Method::Update, None);
    assert_eq!(rig.last_status(Carrier), 200);
    rig.carrier.dialog = None;
    rig.accept(Pbx, id, &invite);
    let answer = rig.last_response(Carrier);
    let agreed = answer.headers.session_expires().unwrap();
    assert_eq!(
        agreed.map(|(seconds, _)| seconds),
        Some(1800),
        "an UPDATE without one changes nothing"
    );
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn an_offer_waits_for_the_answer_of_the_invite() {
    // Ringing without media, and with an answer that may have got lost.
    for reliably in [None, Some(false)] {
        let (mut rig, id, invite) = ringing("early-waits", reliably);
        let offer = moved(&mut rig, Carrier);
        rig.ask(Carrier, Method::Update, Some(offer));
        let refused = rig.last_response(Carrier);
        assert_eq!(refused.status.code(), 500, "RFC 3311 §5.2: {reliably:?}");
        assert!(refused.headers.retry_after().unwrap().unwrap() <= 10);
        answer_and_end(rig, id, &invite);
    }
}

#[test]
fn media_that_moves_while_it_rings_is_followed() {
    for who in [Carrier, Pbx] {
        let (mut rig, id, invite) = ringing("early-moves", Some(true));
        assert!(!ports(&rig).contains(&MOVED_PORT));
        let offer = moved(&mut rig, who);
        rig.ask(who, Method::Update, Some(offer));
        let answer = rig.last_response(who);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status.code() == 200 && text.contains("m=audio"), "{who:?}: {text}");
        assert!(ports(&rig).contains(&MOVED_PORT), "{who:?}: {:?}", ports(&rig));
        assert!(rig.peer(who.other()).asked.is_empty(), "the other side is not asked");
        // What cannot be served changes nothing.
        let useless = moved(&mut rig, who).replace("RTP/", "UNKNOWN/");
        rig.ask(who, Method::Update, Some(useless));
        assert_eq!(rig.last_status(who), 488, "{who:?}");
        rig.carrier.dialog = None;
        // The answer came early and stands, where it moved to.
        rig.answer(Pbx, id, 200, None);
        assert_eq!(rig.last_status(Carrier), 200);
        assert!(ports(&rig).contains(&MOVED_PORT), "{who:?}: after the answer");
        drop(invite);
        rig.hang_up(Carrier);
        rig.finish_one(200);
    }
}

#[test]
fn one_of_several_phones_does_not_decide_what_is_heard() {
    let (mut rig, id, invite) = ringing("early-forks", Some(true));
    // A second phone rings behind the same INVITE.
    rig.retag(Pbx, "second-phone");
    rig.answer(Pbx, id, 180, None);
    rig.rewrite = None;
    let offer = moved(&mut rig, Pbx);
    rig.ask(Pbx, Method::Update, Some(offer));
    assert_eq!(rig.last_status(Pbx), 500);
    answer_and_end(rig, id, &invite);
}
