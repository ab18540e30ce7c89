//! Who calls, and who may: what reaches the callee's trunk, and what a challenged trunk must prove.

use bytes::Bytes;
use sip::digest::Credentials;
use sip::wire::{HeaderName, Headers, Method};

use super::rig::{Carrier, Pbx, Rig};

#[test]
fn the_callee_is_told_who_calls() {
    let mut rig = Rig::with("told", "trust_inbound_identity = true", "user_phone = true", "");
    let mut invite = rig.carrier.invite("+4930222", Some(rig.carrier.offer()));
    invite.headers.set(HeaderName::PAssertedIdentity, "<sip:+4940999@198.51.100.77>");
    rig.place(Carrier, invite);
    let (id, invite) = rig.invited(Pbx);
    let value = |name| invite.headers.get(&name).map(|v| String::from_utf8_lossy(v).into_owned());
    let shown = "\"A. Caller\" <sip:+4940999@192.0.2.1;user=phone>";
    assert_eq!(value(HeaderName::PAssertedIdentity).as_deref(), Some(shown));
    assert!(value(HeaderName::From).unwrap().starts_with(shown));
    assert!(invite.uri.to_string().contains(";user=phone"), "{}", invite.uri);
    rig.answer(Pbx, id, 486, None);
    let record = rig.finish_one(486);
    assert_eq!(record["caller"], "+4940999", "what is believed is what is recorded");
}

#[test]
fn a_foreign_number_is_refused_where_the_callees_trunk_says_so() {
    let fields = "virtual_phone_number = \"+49301000\"\ncaller_id_policy = \"deny_foreign\"";
    let mut rig = Rig::with("foreign", "", fields, "");
    rig.call(Carrier);
    assert_eq!(rig.last_status(Carrier), 403);
    assert!(rig.pbx.invites.is_empty());
    rig.finish_one(403);
}

const CHALLENGE: &str = "incoming_call_policy = \"challenge\"\ninbound_username = \"carrier\"\n\
                         inbound_password = \"open sesame\"";

/// Places a call and answers the challenge; the answer is returned.
fn answer_challenge(rig: &mut Rig, password: &str) -> Bytes {
    answer_challenges(rig, password, |headers| headers)
}

/// The same, as a peer that sees the challenges as `seen` makes them.
fn answer_challenges(rig: &mut Rig, password: &str, seen: impl Fn(Headers) -> Headers) -> Bytes {
    let client = rig.call(Carrier);
    assert_eq!(rig.last_status(Carrier), 401);
    rig.attempts -= 1;
    let response = rig.last_response(Carrier);
    let credentials = Credentials::new("carrier", password);
    let uri = "sip:+4930222@192.0.2.1:5060;canary=uri";
    let answer = sip::digest::client::answer(
        &seen(response.headers),
        &credentials,
        &Method::Invite,
        uri,
        b"",
        "cnonce",
        1,
        &|_| true,
    );
    let (name, value) = answer.expect("an answer");
    let now = rig.now;
    rig.carrier.endpoint.reissue(now, client, vec![(name, value.clone())]).unwrap();
    rig.turn();
    value
}

#[test]
fn a_challenged_trunk_proves_each_call() {
    let mut rig = Rig::with("challenge", CHALLENGE, "", "");
    answer_challenge(&mut rig, "open sesame");
    let (id, invite) = rig.invited(Pbx);
    assert!(invite.headers.get(&HeaderName::Authorization).is_none(), "nobody else's business");
    rig.accept(Pbx, id, &invite);
    assert_eq!(rig.last_status(Carrier), 200);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

/// A peer that knows nothing but MD5 (RFC 8760 §2.5): it answers a challenge for MD5 where there is one,
/// else it calls the other one that.
fn by_md5(headers: Headers) -> Headers {
    let all = headers.all(&HeaderName::WwwAuthenticate);
    let all: Vec<String> = all.map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    let offered = all.iter().find(|value| value.contains("algorithm=MD5")).cloned();
    let forged = || all[0].replace("algorithm=SHA-256", "algorithm=MD5");
    let mut seen = Headers::default();
    seen.push(HeaderName::WwwAuthenticate, offered.unwrap_or_else(forged));
    seen
}

#[test]
fn md5_proves_a_call_only_where_the_trunk_allows_it() {
    for (allowed, status) in [(true, 486), (false, 403)] {
        let fields = format!("{CHALLENGE}\ninbound_md5 = {allowed}");
        let mut rig = Rig::with(&format!("md5-{allowed}"), &fields, "", "");
        let answer = answer_challenges(&mut rig, "open sesame", by_md5);
        assert!(String::from_utf8_lossy(&answer).contains("algorithm=MD5"), "{answer:?}");
        assert_eq!(rig.pbx.invites.len(), usize::from(allowed));
        if allowed {
            let (id, _) = rig.invited(Pbx);
            rig.answer(Pbx, id, 486, None);
        }
        assert_eq!(rig.last_status(Carrier), status);
        rig.finish_one(status);
    }
    // And MD5 with a wrong password proves nothing.
    let mut rig = Rig::with("md5-wrong", &format!("{CHALLENGE}\ninbound_md5 = true"), "", "");
    answer_challenges(&mut rig, "open barley", by_md5);
    assert_eq!(rig.last_status(Carrier), 403);
    rig.finish_one(403);
}

#[test]
fn a_wrong_answer_to_a_challenge_is_refused_and_recorded() {
    let mut rig = Rig::with("challenge-wrong", CHALLENGE, "", "");
    answer_challenge(&mut rig, "open barley");
    assert_eq!(rig.last_status(Carrier), 403);
    assert!(rig.pbx.invites.is_empty());
    let record = rig.finish_one(403);
    assert!(!record.to_string().contains("sesame"));
}

#[test]
fn an_answer_serves_one_call() {
    let mut rig = Rig::with("challenge-replay", CHALLENGE, "", "");
    let spent = answer_challenge(&mut rig, "open sesame");
    let (id, _) = rig.invited(Pbx);
    rig.answer(Pbx, id, 486, None);
    let proven = rig.told.len();
    // The same answer in another INVITE, as somebody could send who saw it.
    let mut again = rig.carrier.invite("+4930222", Some(rig.carrier.offer()));
    again.headers.push(HeaderName::Authorization, spent);
    rig.place(Carrier, again);
    assert_eq!(rig.last_status(Carrier), 401);
    rig.attempts -= 1;
    assert!(rig.pbx.invites.is_empty());
    let challenge = String::from_utf8_lossy(&rig.told[proven..].last().unwrap().1).into_owned();
    assert!(challenge.contains("stale=true"), "{challenge}");
    rig.finish_one(486);
}
