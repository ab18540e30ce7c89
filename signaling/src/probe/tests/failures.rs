//! DNS, connections, OPTIONS, REGISTER, devices on the path.

use std::net::{TcpListener, UdpSocket};

use super::peer::{Peer, reply};
use super::*;
use crate::locate::Kind;
use crate::locate::zone::{Data, Reply};

const ACCOUNT: &str = "register = true\nusername = \"u1\"\npassword = \"swordfish-canary-1\"\n";

fn by_dns(zone: &Zone, fields: &str) -> Scene {
    Scene::with(fields, Path::new("."), &[zone.address], PATIENCE)
}

/// For what is meant never to come.
fn impatient(fields: &str) -> Scene {
    let short = Duration::from_millis(300);
    let patience = Patience { connect: short, answer: short, ring: short, ..PATIENCE };
    Scene::with(fields, Path::new("."), &[], patience)
}

#[test]
fn no_dns() {
    let zone = Zone::start();
    let report = by_dns(&zone, "host = \"missing.test\"\n").run(None);
    failed(&report, Stage::Dns, Failure::NoDns);
    assert!(report.steps[0].text.contains("does not exist"), "{report:#?}");
    assert!(report.steps[0].facts.iter().any(|(name, _)| name == "SRV _sip._udp.missing.test"));
    for kind in [Kind::Naptr, Kind::Srv, Kind::A, Kind::Aaaa] {
        zone.set("silent.test", kind, Reply::Silence);
        zone.set("_sip._udp.silent.test", kind, Reply::Silence);
    }
    let report = by_dns(&zone, "host = \"silent.test\"\n").run(None);
    failed(&report, Stage::Dns, Failure::NoDns);
    assert!(report.steps[0].remedy.as_ref().unwrap().contains("[dns] servers"), "{report:#?}");
}

#[test]
fn every_server_of_srv_is_tried_and_the_dead_one_is_told() {
    let (zone, dead) = (Zone::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let closed = dead.local_addr().unwrap().port();
    drop(dead);
    let peer = Peer::over_tcp(|request| vec![reply(request, 200, "", "")]);
    let servers =
        vec![Data::Srv(1, 0, closed, "a.test"), Data::Srv(2, 0, peer.address.port(), "a.test")];
    zone.set("_sip._tcp.two.test", Kind::Srv, Reply::Records(60, servers));
    zone.address_of("a.test", 60, "127.0.0.1");
    let report = by_dns(&zone, "host = \"two.test\"\ntransport = \"TCP\"\n").run(None);
    assert_eq!(
        verdicts(&report),
        [(Stage::Dns, Verdict::Pass), (Stage::Tcp, Verdict::Warn), (Stage::Options, Verdict::Pass)],
        "{report:#?}"
    );
    let facts = &step(&report, Stage::Tcp).facts;
    assert!(facts[0].1.contains("refuses") && facts[1].1.contains("open"), "{facts:?}");
    assert_eq!(peer.heard("OPTIONS").len(), 1);
}

#[test]
fn refused() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let fields = format!("host = \"127.0.0.1\"\nport = {port}\ntransport = \"TCP\"\n");
    failed(&Scene::new(&fields, Path::new(".")).run(None), Stage::Tcp, Failure::Refused);
    // UDP learns it from ICMP.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let fields = format!("host = \"127.0.0.1\"\nport = {port}\n");
    failed(&Scene::new(&fields, Path::new(".")).run(None), Stage::Options, Failure::Refused);
}

#[test]
fn timeout() {
    let peer = Peer::silent();
    failed(&impatient(&peer.fields()).run(None), Stage::Options, Failure::Timeout);
    assert!(!peer.heard("OPTIONS").is_empty(), "it was asked");
    let mute = Peer::over_tcp(|_| Vec::new());
    failed(&impatient(&mute.fields()).run(None), Stage::Options, Failure::Timeout);
}

#[test]
fn a_peer_that_hangs_up_is_no_timeout() {
    let rude = Peer::accepting("TCP", |socket, _| drop(socket));
    let report = Scene::toward(&rude, "").run(None);
    failed(&report, Stage::Options, Failure::Closed);
}

#[test]
fn options_refused_with_401_403_404_and_the_rest() {
    for (code, verdict, failure) in [
        (200, Verdict::Pass, None),
        (202, Verdict::Pass, None),
        (401, Verdict::Fail, Some(Failure::Unauthorized)),
        (403, Verdict::Fail, Some(Failure::Forbidden)),
        (404, Verdict::Warn, Some(Failure::NotFound)),
        (405, Verdict::Pass, None),
        (481, Verdict::Pass, None),
        (408, Verdict::Fail, Some(Failure::Declined)),
        (503, Verdict::Fail, Some(Failure::Declined)),
    ] {
        let peer = Peer::answering(move |request| {
            vec![reply(request, code, "Allow: INVITE, ACK\r\nServer: Peer 1\r\n", "")]
        });
        let report = Scene::toward(&peer, "").run(None);
        let options = step(&report, Stage::Options);
        assert_eq!((options.verdict, options.failure), (verdict, failure), "{code}: {options:#?}");
        let fact = |name: &str| {
            options.facts.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
        };
        assert_eq!(fact("code"), Some(code.to_string().as_str()));
        assert_eq!((fact("Allow"), fact("Server")), (Some("INVITE, ACK"), Some("Peer 1")));
        assert!(fact("rtt_ms").is_some());
    }
}

/// A registrar that knows one password and answers with `code` when it is right.
fn registrar(password: &'static str, code: u16, headers: &'static str) -> impl peer::Manner {
    let challenge = "WWW-Authenticate: Digest realm=\"isp\", nonce=\"n1\", algorithm=MD5\r\n\
                     WWW-Authenticate: Digest realm=\"isp\", nonce=\"n1\", qop=\"auth\", \
                     algorithm=SHA-256\r\n";
    move |request| {
        if request.method.as_str() != "REGISTER" {
            return vec![reply(request, 200, "", "")];
        }
        let shown = request.headers.get(&sip::wire::HeaderName::Authorization);
        let Some(shown) = shown else { return vec![reply(request, 401, challenge, "")] };
        let text = String::from_utf8_lossy(shown);
        assert!(text.contains("algorithm=SHA-256"), "the strongest: {text}");
        // What it would be with the right password tells right from wrong.
        let mut headers_in = sip::wire::Headers::default();
        headers_in.push(
            sip::wire::HeaderName::WwwAuthenticate,
            "Digest realm=\"isp\", nonce=\"n1\", qop=\"auth\", algorithm=SHA-256",
        );
        let cnonce = text.split("cnonce=\"").nth(1).unwrap().split('"').next().unwrap();
        let (_, want) = sip::digest::client::answer(
            &headers_in,
            &sip::digest::Credentials::new("u1", password),
            &request.method,
            &request.uri.to_string(),
            &[],
            cnonce,
            1,
            &|_| true,
        )
        .unwrap();
        let response = |text: &str| text.split("response=\"").nth(1).map(|t| t[..64].to_owned());
        match response(&text) == response(&String::from_utf8_lossy(&want)) {
            true => vec![reply(request, code, headers, "")],
            false => vec![reply(request, 401, challenge, "")],
        }
    }
}

#[test]
fn the_registrar_judges_the_account_and_no_binding_changes() {
    for (password, code, verdict, failure) in [
        (PASSWORD, 200, Verdict::Pass, None),
        ("other", 200, Verdict::Fail, Some(Failure::Unauthorized)),
        (PASSWORD, 403, Verdict::Fail, Some(Failure::Forbidden)),
        (PASSWORD, 404, Verdict::Fail, Some(Failure::NotFound)),
        (PASSWORD, 480, Verdict::Fail, Some(Failure::RegistrationRefused)),
        (PASSWORD, 503, Verdict::Fail, Some(Failure::RegistrationRefused)),
    ] {
        let peer = Peer::answering(registrar(password, code, ""));
        let report = Scene::toward(&peer, ACCOUNT).run(None);
        let register = step(&report, Stage::Register);
        assert_eq!((register.verdict, register.failure), (verdict, failure), "{code} {report:#?}");
        for request in peer.heard("REGISTER") {
            assert!(!request.contains("\r\nContact:"), "it asks and binds nothing: {request}");
        }
        let asked: Vec<_> = report.ladder.iter().filter(|rung| rung.sent).collect();
        assert_eq!(asked.len(), 3, "OPTIONS, REGISTER without and with the password");
        assert!(asked[2].text.contains("response=\"***\""), "{}", asked[2].text);
    }
}

#[test]
fn sip_rewritten_on_the_path() {
    // The device forgets to undo what it did to Via.
    let peer = Peer::answering(|request| {
        let text = reply(request, 200, "", "");
        let via = text.lines().find(|line| line.starts_with("Via:")).unwrap().to_owned();
        let sent_by = via.split(' ').nth(2).unwrap().split(';').next().unwrap();
        vec![text.replace(sent_by, "203.0.113.9:1024")]
    });
    let report = Scene::toward(&peer, "").run(None);
    let options = step(&report, Stage::Options);
    assert_eq!((options.verdict, options.failure), (Verdict::Warn, Some(Failure::SipRewritten)));
    assert!(options.text.contains("came back as 203.0.113.9:1024"), "{options:#?}");
    assert!(options.remedy.as_ref().unwrap().contains("ALG"));
    // Positive control: what comes back unchanged is no warning, `received` included.
    let honest = Peer::answering(|request| {
        let text = reply(request, 200, "", "");
        vec![text.replacen(";rport", ";rport=9;received=203.0.113.9", 1)]
    });
    let report = Scene::toward(&honest, "").run(None);
    assert_eq!(step(&report, Stage::Options).verdict, Verdict::Pass, "{report:#?}");
    // The registrar holds a Contact that we never sent.
    for (host, failure) in
        [("203.0.113.9:1024", Some(Failure::SipRewritten)), ("127.0.0.1:5060", None)]
    {
        let token = Arc::new(Mutex::new(String::new()));
        let bound = Arc::clone(&token);
        let peer = Peer::answering(move |request| {
            let contact = format!("Contact: <sip:u1@{host};line={}>\r\n", bound.lock().unwrap());
            vec![reply(request, 200, &contact, "")]
        });
        let scene = Scene::toward(&peer, ACCOUNT);
        *token.lock().unwrap() = scene.trunk.registration_token.clone().unwrap().expose().clone();
        let report = scene.run(None);
        assert_eq!(step(&report, Stage::Register).failure, failure, "{report:#?}");
        let text = serde_json::to_string(&report).unwrap();
        assert!(!text.contains(token.lock().unwrap().as_str()), "the token is masked: {text}");
    }
}

#[test]
fn a_request_that_arrives_at_the_test_is_never_processed() {
    // The peer calls the socket that asks it, again and again, before it answers.
    let peer = Peer::answering(|request| {
        let own = "Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKevil\r\n";
        let invite = format!(
            "INVITE sip:x@127.0.0.1 SIP/2.0\r\n{own}From: <sip:a@b>;tag=1\r\nTo: <sip:x@b>\r\n\
             Call-ID: evil\r\nCSeq: 1 INVITE\r\nContact: <sip:a@127.0.0.1>\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        vec![invite.clone(), invite, reply(request, 200, "", "")]
    });
    let report = Scene::toward(&peer, "").run(None);
    assert_eq!(step(&report, Stage::Options).verdict, Verdict::Pass, "{report:#?}");
    let answered = peer.heard("SIP/2.0");
    assert!(answered.is_empty(), "no answer, not even a refusal: {answered:?}");
    let came = report.ladder.iter().filter(|rung| !rung.sent && rung.text.starts_with("INVITE"));
    assert!(came.count() >= 1, "positive control: it did arrive");
}
