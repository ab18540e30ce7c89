//! Fax (T.38) in the place of a call's audio: both sides agree, what is passed on, and the way back.

use abi::Update;
use sip::wire::{HeaderName, Method};

use super::rig::{Carrier, Pbx, Rig, Who};

const FAX: &str = "allow = [\"PCMA\", \"PCMU\", \"T38\"]\n";

/// A call that is answered, whose sides are asked by hand from here on.
fn talking(name: &str) -> Rig {
    let mut rig = Rig::plain(&format!("fax-{name}"), FAX, FAX);
    rig.talk(Carrier);
    rig.carrier.hesitates = true;
    rig.pbx.hesitates = true;
    rig
}

/// A peer's description of fax.
fn fax(version: u32, port: u16, rate: u32) -> String {
    format!(
        "v=0\r\no=canary 9977 {version} IN IP4 198.51.100.77\r\ns=canary\r\n\
         c=IN IP4 198.51.100.77\r\nt=0 0\r\nm=image {port} udptl t38\r\na=T38FaxVersion:0\r\n\
         a=T38MaxBitRate:{rate}\r\na=T38VendorInfo:canary\r\n"
    )
}

fn audio(rig: &mut Rig, who: Who, version: u32) -> String {
    rig.peer(who).offer().replace("9977 1", &format!("9977 {version}"))
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

/// The last answer that `who` got.
fn told(rig: &mut Rig, who: Who) -> String {
    assert_eq!(rig.last_status(who), 200);
    text(&rig.last_response(who).body)
}

fn version(body: &str) -> u64 {
    let line = body.lines().find(|line| line.starts_with("o=")).unwrap();
    line.split(' ').nth(2).unwrap().parse().unwrap()
}

/// The last configuration of both ways.
fn ways(rig: &Rig) -> &[Update] {
    &rig.plane.updates[rig.plane.updates.len() - 2..]
}

/// `who` asks for fax and the other side agrees.
fn switch(rig: &mut Rig, who: Who) {
    let other = who.other();
    rig.ask(who, Method::Invite, Some(fax(2, 7100, 14_400)));
    let (id, asked) = rig.asked_inside(other);
    let body = text(&asked.body);
    assert!(body.contains(" udptl t38\r\n") && !body.contains("m=audio"), "{body}");
    assert!(body.contains("a=T38MaxBitRate:14400\r\n"), "{body}");
    assert!(!body.contains("canary"), "{body}");
    rig.answer(other, id, 200, Some(fax(2, 7200, 9_600)));
    let answer = told(rig, who);
    assert!(answer.contains("a=T38MaxBitRate:9600\r\n") && answer.contains("m=image "), "{answer}");
    for way in ways(rig) {
        assert!(way.udptl && way.relay && way.protect.is_none() && way.keepalive.is_none());
        let ports = [way.source_rtp, way.destination_rtp].map(|at| at.unwrap().port());
        assert!(ports == [7100, 7200] || ports == [7200, 7100], "{ports:?}");
        assert_eq!((way.source_rtcp, way.destination_rtcp), (None, None));
    }
}

#[test]
fn audio_gives_way_to_fax_and_comes_back() {
    for who in [Carrier, Pbx] {
        let mut rig = talking("and-back");
        switch(&mut rig, who);
        let answered = told(&mut rig, who);
        // Said again, it is answered as before, and nobody else is asked.
        rig.ask(who, Method::Invite, Some(fax(2, 7100, 14_400)));
        assert_eq!(told(&mut rig, who), answered, "to the letter");
        assert!(rig.peer(who.other()).asked.is_empty());
        // From another port: between it and us.
        rig.ask(who, Method::Invite, Some(fax(3, 7102, 14_400)));
        assert!(rig.peer(who.other()).asked.is_empty());
        assert!(ways(&rig).iter().any(|way| way.source_rtp.unwrap().port() == 7102));
        // Either side may end it.
        for back in [who, who.other()] {
            let offer = audio(&mut rig, back, 4);
            rig.ask(back, Method::Invite, Some(offer));
            let (id, asked) = rig.asked_inside(back.other());
            assert!(
                text(&asked.body).contains("m=audio ") && asked.body.ends_with(b"sendrecv\r\n")
            );
            let answer = audio(&mut rig, back.other(), 4);
            rig.answer(back.other(), id, 200, Some(answer));
            assert!(told(&mut rig, back).contains("m=audio "));
            let ways = ways(&rig);
            assert!(ways.iter().all(|way| !way.udptl && way.relay && way.received.is_some()));
            assert!(ways.iter().all(|way| way.source_rtcp.is_some()));
            if back == who {
                switch(&mut rig, who);
            }
        }
        rig.hang_up(who);
        let record = rig.finish_one(200);
        assert!(record["notes"].to_string().contains("fax (T.38) passed"), "{record}");
    }
}

#[test]
fn a_side_that_takes_no_fax_leaves_the_audio_as_it_was() {
    let mut rig = talking("refused");
    let updates = rig.plane.updates.len();
    rig.ask(Carrier, Method::Invite, Some(fax(2, 7100, 14_400)));
    let (id, _) = rig.asked_inside(Pbx);
    rig.answer(Pbx, id, 488, None);
    assert_eq!(rig.last_status(Carrier), 488);
    assert_eq!(rig.plane.updates.len(), updates);
    // It collides with a request of the other side: to be tried again.
    rig.ask(Carrier, Method::Invite, Some(fax(2, 7100, 14_400)));
    let (id, _) = rig.asked_inside(Pbx);
    rig.answer(Pbx, id, 491, None);
    assert_eq!(rig.last_status(Carrier), 491);
    rig.hang_up(Carrier);
    assert!(!rig.finish_one(200)["notes"].to_string().contains("fax"));
}

/// It accepted a call without media: it is offered the audio again.
#[test]
fn a_side_that_accepts_without_the_fax_line_is_brought_back_to_audio() {
    let mut rig = talking("port-0");
    rig.ask(Carrier, Method::Invite, Some(fax(2, 7100, 14_400)));
    let (id, asked) = rig.asked_inside(Pbx);
    let refused = version(&text(&asked.body));
    rig.answer(Pbx, id, 200, Some(fax(2, 0, 9_600)));
    assert_eq!(rig.last_status(Carrier), 488);
    rig.seconds(5);
    let (id, asked) = rig.asked_inside(Pbx);
    let body = text(&asked.body);
    assert!(body.contains("m=audio ") && body.contains("a=sendrecv"), "{body}");
    assert!(version(&body) > refused, "{body}");
    let answer = audio(&mut rig, Pbx, 3);
    rig.answer(Pbx, id, 200, Some(answer));
    assert!(ways(&rig).iter().all(|way| !way.udptl && way.relay));
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn fax_stays_when_the_other_side_wants_no_audio() {
    let mut rig = talking("stays");
    switch(&mut rig, Carrier);
    let updates = rig.plane.updates.len();
    let offer = audio(&mut rig, Pbx, 3);
    rig.ask(Pbx, Method::Invite, Some(offer));
    let (id, _) = rig.asked_inside(Carrier);
    rig.answer(Carrier, id, 488, None);
    assert_eq!(rig.last_status(Pbx), 488);
    assert_eq!(rig.plane.updates.len(), updates);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn fax_passes_between_trunks_that_allow_it_alone() {
    let audio_only = "";
    for (carrier, pbx) in [(FAX, audio_only), (audio_only, FAX)] {
        let mut rig = Rig::plain("fax-allow", carrier, pbx);
        rig.talk(Carrier);
        rig.pbx.hesitates = true;
        rig.ask(Carrier, Method::Invite, Some(fax(2, 7100, 14_400)));
        let refusal = rig.last_response(Carrier);
        assert_eq!(refusal.status.code(), 488);
        let warning = text(refusal.headers.get(&HeaderName::Warning).unwrap());
        assert!(warning.starts_with("305 ") && warning.contains("T38"), "{warning}");
        assert!(rig.pbx.asked.is_empty(), "the other side is not asked");
        rig.hang_up(Carrier);
        let record = rig.finish_one(200);
        assert!(record["notes"].to_string().contains("not in a trunk's allow list"), "{record}");
    }
}

#[test]
fn fax_never_passes_a_trunk_that_must_encrypt() {
    for who in [Carrier, Pbx] {
        let mut rig = Rig::with("fax-secure", FAX, FAX, "");
        rig.talk(Carrier);
        rig.peer(who.other()).hesitates = true;
        rig.ask(who, Method::Invite, Some(fax(2, 7100, 14_400)));
        let refusal = rig.last_response(who);
        assert_eq!(refusal.status.code(), 488);
        let warning = text(refusal.headers.get(&HeaderName::Warning).unwrap());
        assert!(warning.contains("T.38 has no encryption"), "{warning}");
        assert!(rig.peer(who.other()).asked.is_empty());
        rig.hang_up(Carrier);
        let record = rig.finish_one(200);
        assert!(record["notes"].to_string().contains("a trunk must encrypt"), "{record}");
    }
}

/// Where a description has both, what stands goes on.
#[test]
fn audio_and_fax_in_one_offer_change_nothing() {
    let mut rig = talking("both");
    let line = "m=image 7300 udptl t38\r\na=T38FaxVersion:0\r\n";
    let both = audio(&mut rig, Carrier, 2) + line;
    rig.ask(Carrier, Method::Invite, Some(both));
    let answer = told(&mut rig, Carrier);
    assert!(answer.contains("m=audio 2") && answer.contains("m=image 0 udptl t38"), "{answer}");
    assert!(rig.pbx.asked.is_empty() && ways(&rig).iter().all(|way| !way.udptl));
    switch(&mut rig, Carrier);
    let both =
        audio(&mut rig, Carrier, 3) + &line.replace("7300", "7100") + "a=T38MaxBitRate:14400\r\n";
    rig.ask(Carrier, Method::Invite, Some(both));
    let answer = told(&mut rig, Carrier);
    assert!(answer.contains("m=audio 0 ") && answer.contains("m=image 2"), "{answer}");
    assert!(rig.pbx.asked.is_empty() && ways(&rig).iter().all(|way| way.udptl));
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn who_asks_without_an_offer_while_fax_stands_is_offered_fax() {
    let mut rig = talking("offerless");
    switch(&mut rig, Carrier);
    rig.pbx.mute = true;
    rig.ask(Pbx, Method::Invite, None);
    let ours = told(&mut rig, Pbx);
    assert!(ours.contains("m=image ") && ours.contains("a=T38MaxBitRate:14400"), "{ours}");
    let (now, dialog) = (rig.now, rig.pbx.dialog.unwrap());
    let body = Some((super::peer::SDP, fax(3, 7210, 9_600).into()));
    rig.pbx.endpoint.ack(now, dialog, body).unwrap();
    rig.turn();
    assert!(rig.carrier.asked.is_empty(), "the other side is not concerned");
    assert!(ways(&rig).iter().any(|way| way.source_rtp.unwrap().port() == 7210 && way.udptl));
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn a_refresh_while_fax_stands_offers_fax() {
    let mut rig = Rig::plain("fax-refresh", FAX, &format!("{FAX}session_timer = \"require\"\n"));
    rig.talk(Carrier);
    rig.carrier.hesitates = true;
    rig.pbx.hesitates = true;
    switch(&mut rig, Carrier);
    rig.seconds(900);
    let (id, asked) = rig.asked_inside(Pbx);
    let body = text(&asked.body);
    assert!(body.contains("m=image ") && !body.contains("m=audio"), "{body}");
    rig.answer(Pbx, id, 200, Some(fax(2, 7200, 9_600)));
    assert!(ways(&rig).iter().all(|way| way.udptl && way.relay));
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn fax_passes_by_us_where_audio_did() {
    let direct = format!("{FAX}direct_media = \"yes\"\n");
    let mut rig = Rig::plain("fax-direct", &direct, &direct);
    rig.is_bypassed = true;
    rig.talk(Carrier);
    rig.pbx.hesitates = true;
    rig.ask(Carrier, Method::Invite, Some(fax(2, 7100, 14_400)));
    let (id, asked) = rig.asked_inside(Pbx);
    let body = text(&asked.body);
    assert!(body.contains("m=image 7100 ") && body.contains("198.51.100.77"), "{body}");
    rig.answer(Pbx, id, 200, Some(fax(2, 7200, 9_600)));
    assert!(told(&mut rig, Carrier).contains("m=image 7200 "));
    assert!(rig.plane.updates.is_empty());
    rig.hang_up(Carrier);
    rig.finish_one(200);
}
