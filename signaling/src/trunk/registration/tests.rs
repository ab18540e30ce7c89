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

/// The connection that answers come on.
const FLOW: u64 = 77;

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

/// The first `count` addresses of the trunk.
fn addresses(count: usize) -> Vec<SocketAddr> {
    (1..=count).map(|last| SocketAddr::from(([198, 51, 100, last as u8], 5060))).collect()
}

/// A REGISTER and the number of the address that it goes to.
struct Sent {
    request: Request,
    target: usize,
}

impl Scene {
    fn new(random: u8) -> Self {
        Self::of(&trunk(), random)
    }

    fn of(trunk: &Trunk, random: u8) -> Self {
        let now = Instant::now();
        let one = Registration::new(trunk, now, START_SPREAD, &mut constant(random)).unwrap();
        Self { now, one, random, targets: 1 }
    }

    fn poll(&mut self, now: Instant) -> Option<Sent> {
        let targets = addresses(self.targets);
        let way = Way {
            targets: &targets,
            contact: &|_| CONTACT.to_owned(),
            route: Some("<sip:198.51.100.8:5070;lr>"),
        };
        let sent = self.one.poll(now, &way, &mut constant(self.random))?;
        let target = targets.iter().position(|target| *target == sent.remote).unwrap();
        Some(Sent { request: sent.request, target })
    }

    fn stop(&mut self) -> Option<Sent> {
        let way = Way { targets: &[], contact: &|_| CONTACT.to_owned(), route: None };
        let sent = self.one.stop(&way)?;
        Some(Sent { request: sent.request, target: 0 })
    }

    /// Goes on to the moment when a REGISTER is due: how long that takes, and what is asked.
    fn wait(&mut self) -> (Duration, Sent) {
        let due = self.one.due().expect("nothing will ever be due");
        let waited = due.saturating_duration_since(self.now);
        if let Some(early) = due.checked_sub(Duration::from_millis(1)).filter(|e| *e > self.now) {
            assert!(self.poll(early).is_none());
        }
        self.now = self.now.max(due);
        let sent = self.poll(self.now).unwrap();
        assert!(self.poll(self.now).is_none(), "one at a time");
        assert_eq!(self.one.due(), None);
        (waited, sent)
    }

    fn answer(&mut self, response: &Response) -> Option<Vec<(HeaderName, Bytes)>> {
        let targets = addresses(self.targets);
        self.one.answered(self.now, response, FLOW, &targets, &mut constant(self.random))
    }

    fn fail(&mut self) {
        let targets = addresses(self.targets);
        self.one.failed(self.now, &targets, &mut constant(self.random));
    }

    fn lose(&mut self, connection: u64) {
        self.one.flow_lost(self.now, connection, &mut constant(self.random));
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

fn header(ask: &Sent, name: HeaderName) -> String {
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
            scene.fail();
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
            scene.fail();
            let (waited, _) = scene.wait();
            assert_eq!(waited.as_secs_f64(), want * part);
            want = f64::min(want * 2.0, 1_800.0);
        }
        // Success forgets the past.
        scene.answer(&response(200, &[]));
        scene.wait();
        scene.fail();
        assert_eq!(scene.wait().0.as_secs_f64(), 30.0 * part);
    }
}

#[test]
fn retry_after_is_honoured_within_reason() {
    for (value, want) in [("100", 100), ("7200", 3_600), ("1", 15)] {
        let mut scene = Scene::new(0);
        scene.targets = 2;
        scene.wait();
        // It is one server's wish: the other is asked at once.
        scene.answer(&response(503, &[(HeaderName::RetryAfter, value)]));
        assert_eq!(scene.wait().0, Duration::ZERO);
        scene.fail();
        assert_eq!(scene.wait().0, seconds(want), "{value}");
        // The next round starts from nothing.
        scene.fail();
        scene.wait();
        scene.fail();
        assert_eq!(scene.wait().0, seconds(30), "half of a minute");
    }
}

#[test]
fn a_lost_connection_brings_the_next_register_forward() {
    let mut scene = Scene::new(255);
    let start = scene.one.due();
    scene.lose(FLOW);
    assert_eq!(scene.one.due(), start, "nothing was registered yet");
    scene.wait();
    scene.answer(&response(200, &[]));
    let renewal = scene.one.due();
    scene.lose(FLOW + 1);
    assert_eq!(scene.one.due(), renewal, "that was somebody else's connection");
    scene.lose(FLOW);
    assert_eq!(scene.wait().0, FLOW_LOST_DELAY);
    let mut scene = Scene::new(0);
    scene.wait();
    scene.answer(&response(200, &[]));
    scene.lose(FLOW);
    assert_eq!(scene.wait().0, Duration::ZERO);
}

#[test]
fn a_connection_that_flaps_is_made_more_and_more_rarely() {
    let mut scene = Scene::new(255);
    scene.wait();
    let mut pauses = Vec::new();
    for _ in 0..10 {
        scene.answer(&response(200, &[]));
        scene.lose(FLOW);
        pauses.push(scene.wait().0.as_secs());
    }
    assert_eq!(pauses, [1, 30, 60, 120, 240, 480, 960, 1_800, 1_800, 1_800]);
    // One that holds long enough is trusted again.
    scene.answer(&response(200, &[]));
    scene.now += FLOW_PROVEN;
    scene.lose(FLOW);
    assert_eq!(scene.wait().0, FLOW_LOST_DELAY);
}

#[test]
fn on_a_connection_rfc_5626_is_asked_for_and_439_ends_that() {
    let mut tls = trunk();
    tls.transport = sip::endpoint::Transport::Tls;
    let mut scene = Scene::of(&tls, 0);
    let first = scene.wait().1;
    assert_eq!(header(&first, HeaderName::Supported), "path, outbound");
    let contact = header(&first, HeaderName::Contact);
    let instance = contact.split_once("+sip.instance=\"<urn:uuid:").unwrap().1;
    assert!(contact.contains(";reg-id=1;"), "{contact}");
    assert_eq!(instance.split_once('>').unwrap().0.len(), 36, "{contact}");
    let same = header(&Scene::of(&tls, 255).wait().1, HeaderName::Contact);
    assert!(same.contains(instance), "the same in every run: {same}");
    let again = scene.answer(&response(439, &[])).unwrap();
    let plain = "<sip:+493012345@192.0.2.1:5060;transport=tcp;line=0123abcd>";
    assert_eq!(
        again,
        [
            (HeaderName::Contact, Bytes::from_static(plain.as_bytes())),
            (HeaderName::Supported, Bytes::from_static(b"path")),
        ]
    );
    assert!(scene.answer(&response(200, &[])).is_none());
    let renewal = scene.wait().1;
    assert_eq!(header(&renewal, HeaderName::Contact), plain, "it is remembered");
    assert_eq!(header(&renewal, HeaderName::CSeq), "3 REGISTER");
    // A second 439 is a failure like any other.
    assert!(scene.answer(&response(439, &[])).is_none());
    assert_eq!(scene.status(), Standing::Unreachable);
    // Datagrams have no flow to keep.
    assert_eq!(header(&Scene::new(0).wait().1, HeaderName::Supported), "path");
}

#[test]
fn the_strongest_of_several_challenges_is_answered() {
    let challenge = |algorithm: &str| {
        format!("Digest realm=\"isp\", nonce=\"abc\", qop=\"auth\", algorithm={algorithm}")
    };
    let all = ["MD5", "SHA-256", "SHA-512-256", "MD5-sess"].map(challenge);
    for (listed, want) in [
        (vec![0, 1], "SHA-256"),
        (vec![1, 0], "SHA-256"),
        (vec![0, 2, 1], "SHA-512-256"),
        (vec![0], "MD5"),
    ] {
        let mut scene = Scene::new(0);
        scene.wait();
        let challenges: Vec<_> =
            listed.iter().map(|i| (HeaderName::WwwAuthenticate, all[*i].as_str())).collect();
        let answer = scene.answer(&response(401, &challenges)).unwrap();
        let text = String::from_utf8(answer[0].1.to_vec()).unwrap();
        assert!(text.contains(&format!("algorithm={want},")), "{listed:?}: {text}");
        assert_eq!(answer.len(), 1);
    }
}

#[test]
fn the_registrars_service_route_is_kept_as_long_as_it_is_said() {
    let mut scene = Scene::new(0);
    scene.wait();
    let routes = [
        (HeaderName::ServiceRoute, "<sip:p1.isp.example;lr>, <sip:p2.isp.example:5070;lr>"),
        (HeaderName::ServiceRoute, "<sip:p3.isp.example;lr>"),
    ];
    scene.answer(&response(200, &routes));
    let want =
        ["<sip:p1.isp.example;lr>", "<sip:p2.isp.example:5070;lr>", "<sip:p3.isp.example;lr>"];
    assert_eq!(scene.one.service_route(), want);
    scene.wait();
    scene.answer(&response(200, &[]));
    assert!(scene.one.service_route().is_empty(), "RFC 3608 §6.1: the newest 200 counts");
    let many = "<sip:p.isp.example;lr>, ".repeat(50) + "<sip:p.isp.example;lr>";
    for (routes, count) in [(many.as_str(), SERVICE_ROUTES_MAX), ("<<<not a route", 0)] {
        scene.wait();
        scene.answer(&response(200, &[(HeaderName::ServiceRoute, routes)]));
        assert_eq!(scene.one.service_route().len(), count);
    }
    scene.wait();
    scene.answer(&response(200, &routes));
    scene.wait();
    scene.answer(&response(403, &[]));
    assert!(scene.one.service_route().is_empty());
}

/// What a registrar does for a while, and the moments at which it is asked meanwhile.
struct Episode {
    what: &'static str,
    targets: usize,
    /// Answer to the REGISTER number `n`, from 0; `None` for silence, which takes 32 s (timer F).
    answer: fn(usize) -> Option<Response>,
    /// Seconds from the start at which a REGISTER leaves, and to which address.
    asked: &'static [(u64, usize)],
}

/// Timer F of the transaction (RFC 3261 §17.1.2.2): 64*T1.
const TIMER_F: Duration = Duration::from_secs(32);

#[test]
fn the_schedule_of_attempts_is_exact() {
    let silent = |_| None;
    for episode in [
        Episode {
            what: "a registrar that is down for ten minutes, and then is not",
            targets: 1,
            answer: |n| (n == 5).then(|| response(200, &[])),
            // Each attempt: 32 s without an answer, then 30, 60, 120, 240, 480 s.
            asked: &[(0, 0), (62, 0), (154, 0), (306, 0), (578, 0), (1_090, 0), (4_258, 0)],
        },
        Episode {
            what: "two addresses, both down: each in turn, then the pause",
            targets: 2,
            answer: silent,
            asked: &[(0, 0), (32, 1), (94, 0), (126, 1), (218, 0), (250, 1), (402, 0)],
        },
        Episode {
            what: "the first address is down: the second is stuck to",
            targets: 2,
            answer: |n| (n > 0).then(|| response(200, &[])),
            asked: &[(0, 0), (32, 1), (3_200, 1), (6_368, 1)],
        },
        Episode {
            what: "503 with Retry-After of 100 s from the only address",
            targets: 1,
            answer: |_| Some(response(503, &[(HeaderName::RetryAfter, "100")])),
            asked: &[(0, 0), (100, 0), (200, 0), (320, 0), (560, 0)],
        },
        Episode {
            what: "a refused account: every half an hour",
            targets: 2,
            answer: |_| Some(response(403, &[])),
            asked: &[(0, 0), (1_800, 0), (3_600, 0)],
        },
        Episode {
            what: "500 at once, for ever: up to half an hour",
            targets: 1,
            answer: |_| Some(response(500, &[])),
            asked: &[
                (0, 0),
                (30, 0),
                (90, 0),
                (210, 0),
                (450, 0),
                (930, 0),
                (1_890, 0),
                (3_690, 0),
                (5_490, 0),
            ],
        },
    ] {
        let mut scene = Scene::new(255);
        scene.targets = episode.targets;
        // Jitter at its high end, the first moment taken as 0.
        let mut asked = Vec::new();
        let mut start = None;
        for n in 0..episode.asked.len() {
            let target = scene.wait().1.target;
            let start = *start.get_or_insert(scene.now);
            asked.push(((scene.now - start).as_secs(), target));
            match (episode.answer)(n) {
                Some(response) => assert!(scene.answer(&response).is_none()),
                None => {
                    scene.now += TIMER_F;
                    scene.fail();
                }
            }
        }
        assert_eq!(asked, episode.asked, "{}", episode.what);
    }
}

#[test]
fn an_edit_of_other_fields_ends_the_rest_of_a_refusal() {
    let mut scene = Scene::new(0);
    scene.wait();
    scene.answer(&response(403, &[]));
    scene.one.retry(scene.now);
    assert_eq!(scene.wait().0, Duration::ZERO);
    scene.answer(&response(200, &[]));
    let renewal = scene.one.due();
    scene.one.retry(scene.now);
    assert_eq!(scene.one.due(), renewal, "a registration that stands is left alone");
    assert!(scene.one.is_of(&trunk()));
    let edits: [fn(&mut Trunk); 5] = [
        |trunk| trunk.password = Some(Secret::new("other".into())),
        |trunk| trunk.username = Some("u2".into()),
        |trunk| trunk.host = crate::trunk::Host::parse("198.51.100.99").unwrap(),
        |trunk| trunk.port = Some(5070),
        |trunk| trunk.registration_token = Some(Secret::new("ffff".into())),
    ];
    for edit in edits {
        let mut edited = trunk();
        edit(&mut edited);
        assert!(!scene.one.is_of(&edited), "{edited:?}");
    }
}

#[test]
fn giving_up_removes_the_binding_once() {
    let mut scene = Scene::new(0);
    assert!(scene.stop().is_none(), "there is none yet");
    let mut scene = Scene::new(0);
    scene.wait();
    scene.answer(&response(200, &[]));
    let ask = scene.stop().unwrap();
    assert_eq!(header(&ask, HeaderName::Expires), "0");
    assert_eq!(scene.one.due(), None);
    assert!(scene.answer(&challenge("")).is_some());
    assert!(scene.answer(&challenge("")).is_none(), "once");
    assert!(scene.stop().is_none());
    assert_eq!(scene.one.due(), None);
    scene.answer(&response(500, &[]));
    scene.fail();
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
