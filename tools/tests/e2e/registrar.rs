//! Debian's Kamailio as registrar with digest, over UDP and over TLS that demands certificates.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use signaling::locate::Dns;
use signaling::locate::resolver::Reach;
use signaling::probe::{Failure, Kit, Patience, Probes, Report, Stage, Update, Verdict};
use sip::endpoint::Transport;

use crate::gateway::{Gateway, Place};
use crate::kamailio::Kamailio;
use crate::lines::PATIENCE;

/// How this Kamailio is set up.
#[derive(Clone, Copy)]
struct Setup {
    transport: Transport,
    algorithm: &'static str,
    expires: u32,
    expires_min: u32,
}

const UDP: Setup =
    Setup { transport: Transport::Udp, algorithm: "SHA-256", expires: 3_600, expires_min: 60 };
const TLS: Setup = Setup { transport: Transport::Tls, ..UDP };

/// Runs at the address of the place's PBX; returns when it listens.
fn start(place: &Place, setup: Setup) -> Kamailio {
    let (listen, tls, port, parameter) = match setup.transport {
        Transport::Tls => {
            let file = |name: &str| place.file(name).display().to_string();
            let text = format!(
                "loadmodule \"tls.so\"\n\
                 modparam(\"tls\", \"tls_method\", \"TLSv1.2+\")\n\
                 modparam(\"tls\", \"certificate\", \"{}\")\n\
                 modparam(\"tls\", \"private_key\", \"{}\")\n\
                 modparam(\"tls\", \"ca_list\", \"{}\")\n\
                 modparam(\"tls\", \"require_certificate\", 1)\n\
                 modparam(\"tls\", \"verify_certificate\", 1)\n",
                file("pbx.pem"),
                file("pbx.key"),
                file("ca.pem")
            );
            (
                format!("enable_tls=yes\nlisten=tls:{}:5061", place.pbx),
                text,
                "5061",
                ";transport=tls",
            )
        }
        _ => {
            let listen = format!("disable_tcp=yes\nlisten=udp:{}:5060", place.pbx);
            (listen, String::new(), "5060", "")
        }
    };
    let words = [
        ("@LISTEN@", listen.as_str()),
        ("@TLS@", &tls),
        ("@EXPIRES@", &setup.expires.to_string()),
        ("@MIN_EXPIRES@", &setup.expires_min.to_string()),
        ("@ALGORITHM@", setup.algorithm),
        ("@ADDRESS@", &place.pbx.to_string()),
        ("@PORT@", port),
        ("@PARAMETER@", parameter),
    ];
    let mut kamailio = Kamailio::run(place, "registrar.cfg", &words);
    match setup.transport {
        Transport::Tls => kamailio.await_connection(place.pbx, 5061),
        _ => kamailio.await_answer(place, place.pbx, 5060),
    }
    kamailio
}

/// The gateway of the place with the account at Kamailio in place of the PBX. Calls from there go to
/// the provider.
fn config(place: &Place, setup: Setup, password: &str) -> String {
    let secure = "secure = true\nencryption = true\nsecure_rtp = \"required\"";
    let account = format!("register = true\nusername = \"u1\"\npassword = \"{password}\"\n");
    let (port, transport, fields) = match setup.transport {
        Transport::Tls => ("5061", "TLS", format!("{secure}\n{account}")),
        _ => ("5060", "UDP", account),
    };
    place
        .config()
        .replace("port = 5081", &format!("port = {port}"))
        .replace("transport = \"TLS\"", &format!("transport = \"{transport}\""))
        .replace(secure, &fields)
        .replace("called = \"_0.\"", "called = \"_.\"")
}

/// Who calls the account from outside, through Kamailio.
struct Caller {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Caller {
    fn new(place: &Place) -> Self {
        let socket = UdpSocket::bind((place.stranger, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = socket.local_addr().unwrap();
        Self { socket, address }
    }

    fn invite(&self, to: Ipv4Addr, uri: &str, id: &str) {
        let me = self.address;
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\n\
             m=audio 16000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n",
            me.ip()
        );
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK{id};rport\r\n\
             From: <sip:outside@{}>;tag={id}\r\nTo: <{uri}>\r\nCall-ID: {id}\r\n\
             CSeq: 1 INVITE\r\nContact: <sip:outside@{me}>\r\nMax-Forwards: 70\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            me.ip(),
            body.len()
        );
        self.socket.send_to(text.as_bytes(), (to, 5060)).unwrap();
    }

    /// The status of the next final answer.
    fn verdict(&self) -> String {
        let mut buffer = [0; 4_096];
        loop {
            let (length, _) = self.socket.recv_from(&mut buffer).expect("no answer came");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 1") {
                return text[8..11].to_owned();
            }
        }
    }
}

/// The provider's side: takes one INVITE and refuses it as busy.
fn busy_provider(place: &Place) -> std::thread::JoinHandle<String> {
    let socket = UdpSocket::bind((place.provider, 5070)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        loop {
            let (length, source) = socket.recv_from(&mut buffer).expect("no call came");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if !text.starts_with("INVITE ") {
                continue;
            }
            let kept = ["Via:", "From:", "Call-ID:", "CSeq:"];
            let copied: Vec<&str> = text
                .lines()
                .filter(|line| kept.iter().any(|name| line.starts_with(name)))
                .collect();
            let to = text.lines().find(|line| line.starts_with("To:")).unwrap();
            let reply = format!(
                "SIP/2.0 486 Busy Here\r\n{}\r\n{to};tag=busy\r\nContent-Length: 0\r\n\r\n",
                copied.join("\r\n")
            );
            socket.send_to(reply.as_bytes(), source).unwrap();
            return text;
        }
    })
}

#[test]
fn the_account_registers_is_called_and_leaves() {
    for algorithm in ["MD5", "SHA-256"] {
        let place = Place::new();
        let setup = Setup { algorithm, ..UDP };
        let mut kamailio = start(&place, setup);
        let mut gateway = Gateway::start(&place, &config(&place, setup, "swordfish"));
        kamailio.log.wait("challenged u1");
        kamailio.log.wait("saved u1 expires=3600");
        gateway.log.wait("registered");
        // A call for the account comes by Kamailio and belongs to the trunk by its token.
        let (caller, provider) = (Caller::new(&place), busy_provider(&place));
        caller.invite(place.pbx, &format!("sip:u1@{}", place.pbx), "in");
        let invite = kamailio.log.wait("request INVITE");
        assert!(invite.contains("sip:u1@"), "{invite}");
        assert_eq!(caller.verdict(), "486");
        let called = provider.join().unwrap();
        assert!(called.starts_with("INVITE sip:u1@"), "{called}");
        let cdrs = gateway.cdrs_when(1);
        assert_eq!(
            (&cdrs[0]["from_trunk"], &cdrs[0]["code"]),
            (&"pbx".into(), &486.into()),
            "{cdrs:#?}"
        );
        // The same caller by itself belongs to nobody, whatever it calls.
        caller.invite(place.gateway, &format!("sip:u1@{}", place.gateway), "alone");
        gateway.log.wait("belongs to no trunk");
        assert!(gateway.stop());
        kamailio.log.wait("saved u1 expires=0");
        let challenged = kamailio.log.seen.iter().filter(|line| line.contains("challenged u1"));
        assert_eq!(challenged.count(), 1, "the farewell answers the challenge that is known");
        assert_eq!(gateway.cdrs().len(), 1);
    }
}

#[test]
fn outgoing_calls_carry_the_registrars_service_route() {
    let place = Place::new();
    let mut kamailio = start(&place, UDP);
    let mut gateway = Gateway::start(&place, &config(&place, UDP, "swordfish"));
    gateway.log.wait("registered");
    let socket = UdpSocket::bind((place.provider, 5070)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let caller = Caller { address: socket.local_addr().unwrap(), socket };
    caller.invite(place.gateway, &format!("sip:390612345@{}", place.gateway), "out");
    let request = kamailio.log.wait("request INVITE sip:390612345@");
    let route = format!("route=<sip:orig@{}:5060;lr>", place.pbx);
    assert!(request.contains(&route), "{request}");
    assert_eq!(caller.verdict(), "480");
    assert!(gateway.stop());
}

#[test]
fn a_wrong_password_is_no_registration_and_does_not_hammer() {
    let place = Place::new();
    let mut kamailio = start(&place, UDP);
    let mut gateway = Gateway::start(&place, &config(&place, UDP, "not it"));
    let line = gateway.log.wait("not registered");
    assert!(line.contains("does not accept username and password"), "{line}");
    assert!(gateway.stop());
    kamailio.stop();
    let asked = kamailio.log.rest().iter().filter(|line| line.contains("challenged u1")).count();
    assert_eq!(asked, 4, "once without, three times with the password; none at the end");
    assert!(!kamailio.log.seen.iter().any(|line| line.contains("saved")));
    assert!(!gateway.log.seen.iter().any(|line| line.contains("not it")));
}

#[test]
fn the_registrars_minimum_is_taken_over() {
    let place = Place::new();
    let setup = Setup { expires: 9_000, expires_min: 7_200, ..UDP };
    let mut kamailio = start(&place, setup);
    let mut gateway = Gateway::start(&place, &config(&place, setup, "swordfish"));
    gateway.log.wait("registered");
    kamailio.log.wait("saved u1 expires=7200");
    assert!(kamailio.log.seen.iter().any(|line| line.contains("too brief u1")), "423 first");
    assert!(gateway.stop());
}

#[test]
fn over_tls_with_certificates_a_cut_flow_is_replaced() {
    let place = Place::new();
    let mut kamailio = start(&place, TLS);
    let mut gateway = Gateway::start(&place, &config(&place, TLS, "swordfish"));
    let saved = kamailio.log.wait("saved u1 expires=3600 over tls");
    assert!(saved.contains("reg-id"), "RFC 5626 is asked for: {saved}");
    gateway.log.wait("registered");
    // The registrar dies, and with it the flow and the binding.
    kamailio.stop();
    let line = gateway.log.wait("not registered");
    assert!(line.contains("does not answer"), "{line}");
    let mut again = start(&place, TLS);
    again.log.wait("saved u1 expires=3600 over tls");
    gateway.log.wait("registered");
    assert!(gateway.stop());
    again.log.wait("saved u1 expires=0");
}

/// Tests the connection to Kamailio as the API does.
fn probe(place: &Place, setup: Setup, more: &str) -> Report {
    let text = config(place, setup, "swordfish")
        .replace("register = true", &format!("{more}register = true"));
    let config = signaling::config::parse(&text, &place.directory).unwrap();
    let trunk = config.trunks.iter().find(|trunk| trunk.name == "pbx").unwrap();
    let mut sip = config.sip.clone();
    (sip.tls_certificate, sip.tls_key) = (None, None);
    let probes = Probes::new(Kit {
        dns: Dns::new(&[]),
        reach: Reach::ALL,
        sip,
        listeners: vec![(setup.transport, (place.gateway, 5060).into())],
        media: config.media.clone(),
        patience: Patience::default(),
    });
    let mut updates = probes.start(Arc::clone(trunk), None).unwrap();
    loop {
        if let Update::Done(report) = updates.blocking_recv().unwrap() {
            return report;
        }
    }
}

#[test]
fn test_connection_names_what_kamailio_wants() {
    let place = Place::new();
    let mut kamailio = start(&place, TLS);
    let certificate = "tls_client_cert = \"gateway.pem\"\ntls_client_key = \"gateway.key\"\n";
    let report = probe(&place, TLS, certificate);
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
    let stages: Vec<Stage> = report.steps.iter().map(|step| step.stage).collect();
    let all = [Stage::Dns, Stage::Tcp, Stage::Tls, Stage::Options, Stage::Register];
    assert_eq!(stages, all, "{report:#?}");
    assert!(!serde_json::to_string(&report).unwrap().contains("swordfish"));
    let report = probe(&place, TLS, "");
    let last = report.steps.last().unwrap();
    assert_eq!(last.failure, Some(Failure::ClientCertificateDemanded), "{report:#?}");
    kamailio.stop();
    assert!(!kamailio.log.rest().iter().any(|line| line.contains("saved")), "nothing was bound");
}
