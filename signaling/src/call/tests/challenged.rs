//! Trunks that challenge us inside of a dialog, and who gets no credentials (RFC 3261 §22).

use bytes::Bytes;
use sip::digest::Credentials;
use sip::digest::server::{Refusal, Verifier};
use sip::endpoint::ServerId;
use sip::wire::{HeaderName, Message, Method, Request, StatusCode};

use super::rig::{Carrier, Pbx, Rig, Second, Third, Who};

const ACCOUNT: &str = "username = \"us\"\npassword = \"canary-password\"\n";
const SOURCE: &str = "gateway";
const NOW: u64 = 1_000;

fn verifier() -> Verifier {
    Verifier::new([7; 32])
}

/// Refuses a request with a challenge.
fn challenge(rig: &mut Rig, who: Who, verifier: &mut Verifier, id: ServerId, stale: bool) {
    let challenges = verifier.challenge(NOW, "isp", SOURCE, stale);
    let extra = challenges.into_iter().map(|value| (HeaderName::ProxyAuthenticate, value));
    let now = rig.now;
    rig.peer(who).answer_with(now, id, 407, extra.collect(), None);
    rig.turn();
}

fn proves(verifier: &mut Verifier, request: &Request) -> Result<(), Refusal> {
    let value = request.headers.get(&HeaderName::ProxyAuthorization).expect("credentials");
    let account = Credentials::new("us", "canary-password");
    verifier.verify(NOW, &request.method, value, &account, SOURCE)
}

#[test]
fn a_change_that_is_challenged_is_proven_and_goes_on() {
    let mut rig = Rig::with("challenged", ACCOUNT, "", "");
    let mut verifier = verifier();
    rig.talk(Pbx);
    rig.carrier.hesitates = true;
    let held = rig.pbx.offer().replace("sendrecv", "sendonly");
    rig.ask(Pbx, Method::Invite, Some(held));
    let (id, first) = rig.asked_inside(Carrier);
    challenge(&mut rig, Carrier, &mut verifier, id, false);
    let (id, second) = rig.asked_inside(Carrier);
    assert_eq!(proves(&mut verifier, &second), Ok(()));
    assert_eq!(second.body, first.body);
    let numbers = [&first, &second].map(|request| request.headers.cseq().unwrap().number);
    assert_eq!(numbers[1], numbers[0] + 1);
    let answer = rig.carrier.accept(&second.body).replace("sendrecv", "recvonly");
    rig.answer(Carrier, id, 200, Some(answer));
    assert_eq!(rig.last_status(Pbx), 200);
    rig.hang_up(Pbx);
    rig.finish_one(200);
}

#[test]
fn a_refresh_by_update_is_proven_too() {
    let fields = format!("{ACCOUNT}session_timer = \"require\"\nsession_expires = 300\n");
    let mut rig = Rig::with("challenged-update", &fields, "", "");
    let mut verifier = verifier();
    rig.call(Pbx);
    let (id, invite) = rig.invited(Carrier);
    let body = rig.carrier.accept(&invite.body);
    let now = rig.now;
    let allow = vec![(HeaderName::Allow, Bytes::from_static(b"INVITE, UPDATE"))];
    rig.carrier.answer_with(now, id, 200, allow, Some(body));
    rig.turn();
    rig.carrier.hesitates = true;
    rig.seconds(151);
    let (id, update) = rig.asked_inside(Carrier);
    assert_eq!(update.method, Method::Update);
    challenge(&mut rig, Carrier, &mut verifier, id, false);
    let (id, again) = rig.asked_inside(Carrier);
    assert_eq!(proves(&mut verifier, &again), Ok(()));
    rig.answer(Carrier, id, 200, None);
    rig.seconds(100);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn challenges_without_end_are_answered_twice() {
    let mut rig = Rig::with("challenged-endless", ACCOUNT, "", "");
    let mut verifier = verifier();
    rig.talk(Pbx);
    rig.carrier.hesitates = true;
    let held = rig.pbx.offer().replace("sendrecv", "sendonly");
    rig.ask(Pbx, Method::Invite, Some(held));
    for _ in 0..3 {
        let (id, _) = rig.asked_inside(Carrier);
        challenge(&mut rig, Carrier, &mut verifier, id, true);
    }
    assert!(rig.carrier.asked.is_empty(), "CVE-2020-28242");
    assert_eq!(rig.last_status(Pbx), 200, "a hold that is refused is kept all the same");
    rig.hang_up(Pbx);
    rig.finish_one(200);
}

/// A rig whose call went to the second carrier; its Contact says that it is the third peer.
fn moved_away(name: &str, account: &str) -> Rig {
    let text = super::rig::configuration("", "", "").replace(
        "[[route]]\nname = \"to the carrier\"\nfrom_trunk = \"pbx\"\ndestination = \"carrier\"",
        &format!(
            "[[trunk]]\nname = \"second\"\nhost = \"192.0.2.30\"\n{account}\n\
             [[route]]\nname = \"to the second\"\nfrom_trunk = \"pbx\"\ndestination = \"second\""
        ),
    );
    let mut rig = Rig::shaped(name, &text, super::plane::SHAPE);
    rig.shared = Some(Third);
    rig
}

/// The call is answered; what its BYE is answered by `who` with is a challenge.
fn bye_is_challenged(rig: &mut Rig, who: Who) {
    rig.call(Pbx);
    let (id, invite) = rig.invited(Second);
    let contact = if who == Third { "<sip:x@192.0.2.40:5060>" } else { "<sip:x@192.0.2.30:5060>" };
    rig.rewrite = Some(Box::new(move |from, message| {
        match message {
            Message::Response(response) if from == Second => {
                let headers = &mut response.headers;
                if headers.get(&HeaderName::Contact).is_some() {
                    headers.set(HeaderName::Contact, contact);
                }
            }
            _ => {}
        }
        if let Message::Response(response) = message
            && from == who
            && response.headers.cseq().unwrap().method == Method::Bye
        {
            response.status = StatusCode::UNAUTHORIZED;
            let asks = "Digest realm=\"isp\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"";
            response.headers.push(HeaderName::WwwAuthenticate, asks);
        }
    }));
    rig.accept(Second, id, &invite);
    rig.hang_up(Pbx);
}

fn credentials_sent(rig: &Rig, to: Who) -> usize {
    let shows = |bytes: &Bytes| bytes.windows(15).any(|part| part == b"\r\nAuthorization");
    rig.told.iter().filter(|(who, bytes)| *who == to && shows(bytes)).count()
}

/// The digest leak (CVE-2021-41158): whoever gets a BYE challenged must not get an answer, unless it
/// is the trunk's own address that asks.
#[test]
fn an_address_that_is_not_the_trunks_gets_no_credentials() {
    let mut rig = moved_away("leak", ACCOUNT);
    bye_is_challenged(&mut rig, Third);
    assert_eq!(credentials_sent(&rig, Third), 0);
    let told = rig.told.iter().filter(|(who, _)| *who == Third);
    assert!(told.into_iter().any(|(_, bytes)| bytes.starts_with(b"BYE")), "it was asked");

    let mut control = moved_away("leak-control", ACCOUNT);
    bye_is_challenged(&mut control, Second);
    assert!(credentials_sent(&control, Second) > 0, "control: the trunk itself gets them");
}

#[test]
fn a_realm_that_is_not_the_trunks_gets_no_credentials() {
    for (realm, is_answered) in [("isp", true), ("elsewhere", false)] {
        let account = format!("{ACCOUNT}auth_realm = \"{realm}\"\n");
        let mut rig = Rig::with(&format!("realm-{realm}"), &account, "", "");
        let mut verifier = verifier();
        rig.call(Pbx);
        let (id, _) = rig.invited(Carrier);
        challenge(&mut rig, Carrier, &mut verifier, id, false);
        assert_eq!(!rig.carrier.invites.is_empty(), is_answered);
        if is_answered {
            let (id, again) = rig.invited(Carrier);
            assert_eq!(proves(&mut verifier, &again), Ok(()));
            rig.answer(Carrier, id, 486, None);
        }
        rig.finish();
    }
}

#[test]
fn the_next_call_answers_the_last_challenge_before_it_is_asked() {
    let mut rig = Rig::with("challenged-before", ACCOUNT, "", "");
    let mut verifier = verifier();
    for call in 0..12 {
        rig.call(Pbx);
        let (mut id, mut invite) = rig.invited(Carrier);
        if call == 0 {
            challenge(&mut rig, Carrier, &mut verifier, id, false);
            (id, invite) = rig.invited(Carrier);
        }
        assert_eq!(proves(&mut verifier, &invite), Ok(()), "call {call}: one nonce, a new count");
        rig.answer(Carrier, id, 486, None);
    }
    let proofs = rig.told.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes));
    assert!(proofs.into_iter().any(|text| text.contains("nc=0000000a")), "hexadecimal");
    rig.finish();
}
