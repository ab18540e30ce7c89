use std::path::Path;

use sip::wire::StatusCode;

use super::*;
use crate::config;
use crate::secret::Secret;

/// A trunk that registers.
pub fn trunk() -> Trunk {
    let text = "[sip]\nudp = [\"192.0.2.1:5060\"]\n[[trunk]]\nname = \"isp\"\n\
                host = \"198.51.100.7\"\nusername = \"u1\"\npassword = \"swordfish\"\n\
                virtual_phone_number = \"+493012345\"\noutbound_proxy = \"198.51.100.8:5070\"\n";
    let mut trunk = config::parse(text, Path::new(".")).unwrap().trunks[0].as_ref().clone();
    trunk.register = true;
    trunk.registration_token = Some(Secret::new("0123abcd".into()));
    trunk
}

const CONTACT: &str = "sip:192.0.2.1:5060;transport=tcp";

/// Randomness that gives `byte` for ever: 0 is the low end of every range, 255 the high end.
fn constant(byte: u8) -> impl FnMut(&mut [u8]) {
    move |bytes| bytes.fill(byte)
}

struct Scene {
    now: Instant,
    one: Registration,
    random: u8,
    targets: usize,
}

impl Scene {
    fn new(random: u8) -> Self {
        let now = Instant::now();
        let one = Registration::new(&trunk(), now, START_SPREAD, &mut constant(random)).unwrap();
        Self { now, one, random, targets: 1 }
    }

    /// Goes on to the moment when a REGISTER is due: how long that takes, and what is asked.
    fn wait(&mut self) -> (Duration, Ask) {
        let due = self.one.due().expect("nothing will ever be due");
        let waited = due.saturating_duration_since(self.now);
        if let Some(early) = due.checked_sub(Duration::from_millis(1)).filter(|e| *e > self.now) {
            assert!(self.one.poll(early, CONTACT).is_none());
        }
        self.now = self.now.max(due);
        let ask = self.one.poll(self.now, CONTACT).unwrap();
        assert!(self.one.poll(self.now, CONTACT).is_none(), "one at a time");
        assert_eq!(self.one.due(), None);
        (waited, ask)
    }

    fn answer(&mut self, response: &Response) -> Option<Vec<(HeaderName, Bytes)>> {
        self.one.answered(self.now, response, self.targets, &mut constant(self.random))
    }

    fn status(&self) -> Standing {
        self.one.status().standing
    }
}

fn response(code: u16, headers: &[(HeaderName, &str)]) -> Response {
    let mut response = Response::new(StatusCode::new(code).unwrap());
    for (name, value) in headers {
        response.headers.push(name.clone(), value.to_string());
    }
    response
}

fn challenge(extra: &str) -> Response {
    let text = format!("Digest realm=\"isp\", nonce=\"abc\", qop=\"auth\"{extra}");
    response(401, &[(HeaderName::WwwAuthenticate, &text)])
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn header(ask: &Ask, name: HeaderName) -> String {
    String::from_utf8(ask.request.headers.get(&name).unwrap().to_vec()).unwrap()
}

#[test]
fn a_register_says_who_where_and_how_long() {
    let (waited, ask) = Scene::new(0).wait();
    assert_eq!((waited, ask.target), (Duration::ZERO, 0));
    assert_eq!(ask.request.uri.to_string(), "sip:198.51.100.7");
    assert_eq!(header(&ask, HeaderName::To), "<sip:u1@198.51.100.7>");
    assert_eq!(header(&ask, HeaderName::From), "<sip:u1@198.51.100.7>");
    assert_eq!(header(&ask, HeaderName::Route), "<sip:198.51.100.8:5070;lr>");
    assert_eq!(header(&ask, HeaderName::Expires), "3600");
    assert_eq!(header(&ask, HeaderName::CSeq), "1 REGISTER");
    let contact = header(&ask, HeaderName::Contact);
    assert_eq!(contact, "<sip:+493012345@192.0.2.1:5060;transport=tcp;line=0123abcd>");
    assert!(!format!("{:?}", ask.request).contains("swordfish"));
}

#[test]
fn the_first_register_is_spread_over_a_minute() {
    assert_eq!(Scene::new(255).wait().0, START_SPREAD);
    assert_eq!(Scene::new(0).wait().0, Duration::ZERO);
}

#[test]
fn a_registration_is_renewed_at_four_fifths_of_what_was_granted() {
    for (random, part) in [(0, 0.72), (255, 0.88)] {
        for (headers, granted) in [
            (vec![(HeaderName::Expires, "1000")], 1_000),
            (vec![], 3_600),
            (vec![(HeaderName::Contact, "<sip:x@192.0.2.1;line=0123abcd>;expires=500")], 500),
            (
                vec![
                    (HeaderName::Contact, "<sip:other@192.0.2.9>;expires=60"),
                    (HeaderName::Contact, "<sip:x@192.0.2.1;line=0123abcd>;expires=500"),
                    (HeaderName::Expires, "1000"),
                ],
                500,
            ),
            // A registrar that rewrites the only Contact.
            (vec![(HeaderName::Contact, "<sip:x@203.0.113.1>;expires=700")], 700),
        ] {
            let mut scene = Scene::new(random);
            let first = scene.wait().1;
            assert!(scene.answer(&response(200, &headers)).is_none());
            assert_eq!(scene.status(), Standing::Registered(scene.now + seconds(granted)));
            assert!(scene.one.status().is_registered(scene.now));
            let (waited, again) = scene.wait();
            let want = granted as f64 * part;
            assert!((waited.as_secs_f64() - want).abs() < 0.01, "{waited:?} {want}");
            assert_eq!(header(&again, HeaderName::CallId), header(&first, HeaderName::CallId));
            assert_eq!(header(&again, HeaderName::CSeq), "2 REGISTER");
        }
    }
}

#[test]
fn short_registrations_are_renewed_in_time_and_not_in_a_frenzy() {
    for (granted, at) in [("60", 45.0), ("20", 10.0), ("0", 5.0), ("1", 5.0)] {
        let mut scene = Scene::new(255);
        scene.wait();
        scene.answer(&response(200, &[(HeaderName::Expires, granted)]));
        assert_eq!(scene.wait().0.as_secs_f64(), at, "{granted}");
    }
}

#[test]
fn a_challenge_is_answered_and_the_next_register_counts_on() {
    let mut scene = Scene::new(0);
    scene.wait();
    let answer = scene.answer(&challenge("")).unwrap();
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].0, HeaderName::Authorization);
    let text = String::from_utf8(answer[0].1.to_vec()).unwrap();
    assert!(text.contains("username=\"u1\"") && text.contains("nc=00000001"), "{text}");
    assert!(text.contains("uri=\"sip:198.51.100.7\"") && !text.contains("swordfish"), "{text}");
    assert!(scene.answer(&response(200, &[])).is_none());
    // The re-issued request took a CSeq number.
    assert_eq!(header(&scene.wait().1, HeaderName::CSeq), "3 REGISTER");
}

#[test]
fn a_wrong_password_is_tried_three_times_and_then_rests() {
    let mut scene = Scene::new(0);
    scene.wait();
    for _ in 0..PASSWORD_TRIES {
        assert!(scene.answer(&challenge("")).is_some());
    }
    assert!(scene.answer(&challenge("")).is_none());
    assert_eq!(scene.status(), Standing::AuthFailed);
    assert_eq!(scene.one.status().code, Some(401));
    assert!(!scene.one.status().reason.is_empty());
    assert_eq!(scene.wait().0, seconds(1_800));
}

#[test]
fn a_stale_nonce_is_no_wrong_password_but_has_its_limit() {
    let mut scene = Scene::new(0);
    scene.wait();
    assert!(scene.answer(&challenge("")).is_some());
    for _ in 0..STALE_TRIES {
        assert!(scene.answer(&challenge(", stale=true")).is_some());
    }
    assert!(scene.answer(&challenge(", stale=true")).is_none());
    assert_eq!(scene.status(), Standing::AuthFailed);
}

#[test]
fn an_unknown_algorithm_gets_no_answer() {
    let mut scene = Scene::new(0);
    scene.wait();
    let odd = [(HeaderName::WwwAuthenticate, "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-1")];
    assert!(scene.answer(&response(401, &odd)).is_none());
    assert_eq!(scene.status(), Standing::AuthFailed);
}

#[test]
fn a_refused_account_rests_half_an_hour() {
    for code in [403, 404, 405] {
        let mut scene = Scene::new(0);
        scene.wait();
        assert!(scene.answer(&response(code, &[])).is_none());
        assert_eq!((scene.status(), scene.one.status().code), (Standing::Rejected, Some(code)));
        assert_eq!(scene.wait().0, REFUSED_PAUSE);
    }
}

#[test]
fn the_registrars_minimum_is_taken_over_once() {
    let least = |seconds| response(423, &[(HeaderName::MinExpires, seconds)]);
    let mut scene = Scene::new(0);
    scene.wait();
    let again = scene.answer(&least("7200")).unwrap();
    assert_eq!(again, [(HeaderName::Expires, Bytes::from_static(b"7200"))]);
    assert!(scene.answer(&response(200, &[])).is_none());
    assert_eq!(scene.status(), Standing::Registered(scene.now + seconds(7_200)));
    assert_eq!(header(&scene.wait().1, HeaderName::Expires), "7200");
    for answers in [vec!["7300", "7400"], vec!["100"], vec!["4000000"], vec!["x"]] {
        let last = answers.len() - 1;
        for (index, answer) in answers.into_iter().enumerate() {
            assert_eq!(scene.answer(&least(answer)).is_some(), index < last, "{answer}");
        }
        assert_eq!(scene.status(), Standing::Rejected);
        scene.wait();
    }
}

#[test]
fn failures_try_every_target_and_then_back_off() {
    let mut scene = Scene::new(255);
    scene.targets = 3;
    let mut pauses = Vec::new();
    let mut targets = vec![scene.wait().1.target];
    for turn in 0..12 {
        if turn % 2 == 0 {
            scene.one.failed(scene.now, scene.targets, &mut constant(255));
            assert_eq!(scene.one.status().code, None);
        } else {
            scene.answer(&response(503, &[]));
            assert_eq!(scene.one.status().code, Some(503));
        }
        assert_eq!(scene.status(), Standing::Unreachable);
        let (waited, ask) = scene.wait();
        pauses.push(waited.as_secs());
        targets.push(ask.target);
    }
    assert_eq!(pauses, [0, 0, 30, 0, 0, 60, 0, 0, 120, 0, 0, 240]);
    assert_eq!(targets, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn the_pause_grows_to_half_an_hour_and_is_spread() {
    for (random, part) in [(255, 1.0), (0, 0.5)] {
        let mut scene = Scene::new(random);
        scene.wait();
        let mut want = 30.0;
        for _ in 0..12 {
            scene.one.failed(scene.now, 1, &mut constant(random));
            let (waited, _) = scene.wait();
            assert_eq!(waited.as_secs_f64(), want * part);
            want = f64::min(want * 2.0, 1_800.0);
        }
        // Success forgets the past.
        scene.answer(&response(200, &[]));
        scene.wait();
        scene.one.failed(scene.now, 1, &mut constant(random));
        assert_eq!(scene.wait().0.as_secs_f64(), 30.0 * part);
    }
}

#[test]
fn retry_after_is_honoured_within_reason() {
    for (value, want) in [("100", 100), ("7200", 3_600), ("1", 15)] {
        let mut scene = Scene::new(0);
        scene.targets = 2;
        scene.wait();
        scene.answer(&response(503, &[(HeaderName::RetryAfter, value)]));
        assert_eq!(scene.wait().0, seconds(want));
    }
}

#[test]
fn a_lost_connection_brings_the_next_register_forward() {
    let mut scene = Scene::new(255);
    let start = scene.one.due();
    scene.one.flow_lost(scene.now, &mut constant(255));
    assert_eq!(scene.one.due(), start, "nothing was registered yet");
    scene.wait();
    scene.answer(&response(200, &[]));
    scene.one.flow_lost(scene.now, &mut constant(255));
    assert_eq!(scene.wait().0, FLOW_LOST_DELAY);
}

#[test]
fn giving_up_removes_the_binding_once() {
    let mut scene = Scene::new(0);
    assert!(scene.one.stop(CONTACT).is_none(), "there is none yet");
    let mut scene = Scene::new(0);
    scene.wait();
    scene.answer(&response(200, &[]));
    let ask = scene.one.stop(CONTACT).unwrap();
    assert_eq!(header(&ask, HeaderName::Expires), "0");
    assert_eq!(scene.one.due(), None);
    assert!(scene.answer(&challenge("")).is_some());
    assert!(scene.answer(&challenge("")).is_none(), "once");
    assert!(scene.one.stop(CONTACT).is_none());
    assert_eq!(scene.one.due(), None);
    scene.answer(&response(500, &[]));
    scene.one.failed(scene.now, 1, &mut constant(0));
    assert_eq!(scene.one.due(), None);
}

#[test]
fn a_trunk_that_does_not_register_has_no_registration() {
    let now = Instant::now();
    let mut plain = trunk();
    plain.register = false;
    assert!(Registration::new(&plain, now, START_SPREAD, &mut constant(0)).is_none());
    let mut nobody = trunk();
    nobody.username = None;
    assert!(Registration::new(&nobody, now, START_SPREAD, &mut constant(0)).is_none());
}
