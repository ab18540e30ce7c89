//! Debian's Kamailio as a proxy in front of a trunk's phones: it puts itself into the path by
//! Record-Route, and refuses what does not follow the route set.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::calls::hears;
use crate::capture::Capture;
use crate::gateway::{Gateway, Place};
use crate::lines::{Lines, PATIENCE};
use crate::pbx::Pbx;
use crate::sipp::{Run, Sipp};

/// Where the provider's trunk is in the common configuration.
const PORT: u16 = 5070;
const BEHIND_PORT: u16 = 5090;

struct Proxy {
    child: Child,
    log: Lines,
}

impl Proxy {
    /// Stands at the provider's address, in front of `behind`; returns when it answers.
    fn start(place: &Place, behind: Ipv4Addr) -> Self {
        let template = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/proxy.cfg");
        let mut text = fs::read_to_string(template).unwrap();
        for (word, value) in [
            ("@ADDRESS@", place.provider.to_string()),
            ("@PORT@", PORT.to_string()),
            ("@GATEWAY@", place.gateway.to_string()),
            ("@BEHIND@", format!("{behind}:{BEHIND_PORT}")),
        ] {
            text = text.replace(word, &value);
        }
        let file = place.file("proxy.cfg");
        fs::write(&file, text).unwrap();
        let mut child = Command::new("kamailio")
            .args(["-DD", "-E", "-m", "32", "-M", "4", "-Y"])
            .arg(&place.directory)
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kamailio is missing: apt-get install kamailio");
        let log = Lines::of(child.stderr.take().unwrap());
        let mut this = Self { child, log };
        this.await_answer(place);
        this
    }

    fn await_answer(&mut self, place: &Place) {
        let socket = UdpSocket::bind((place.stranger, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (me, it) = (socket.local_addr().unwrap(), place.provider);
        let options = format!(
            "OPTIONS sip:{it} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKup;rport\r\n\
             From: <sip:a@{0}>;tag=1\r\nTo: <sip:{it}>\r\nCall-ID: up\r\nCSeq: 1 OPTIONS\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            me.ip()
        );
        let until = Instant::now() + PATIENCE;
        loop {
            let _not_yet = socket.send_to(options.as_bytes(), (it, PORT));
            if socket.recv_from(&mut [0; 2_048]).is_ok() {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            let waits = ended.is_none() && Instant::now() < until;
            assert!(waits, "Kamailio does not answer: {ended:?}\n{:#?}", self.log.rest());
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It ends its own children when it is asked to.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _reaped = self.child.wait();
    }
}

/// An address of the place's network that is nobody's yet.
fn behind(place: &Place) -> Ipv4Addr {
    let [a, b, c, _] = place.gateway.octets();
    Ipv4Addr::new(a, b, c, 4)
}

#[test]
fn a_call_to_a_phone_behind_a_proxy_follows_its_route() {
    let place = Place::new();
    let behind = behind(&place);
    let mut gateway = Gateway::start(&place, &place.config());
    let mut proxy = Proxy::start(&place, behind);
    let run = Run { scenario: "routed_callee.xml", transport: "u1", arguments: one_call() };
    let mut callee = Sipp::run_at(&place, behind, BEHIND_PORT, run);
    let mut phones = Pbx::start(&place, &[]);
    let capture = Capture::start(&place);
    phones.call(&place, "0612345");
    phones.events.wait("\"media\"");
    phones.change("hold");
    phones.events.wait("\"direction\": 1");
    phones.hang_up();
    callee.succeed();
    let wire = capture.finish();
    let cdrs = gateway.cdrs_when(1);
    assert!(gateway.stop());
    assert_eq!(cdrs[0]["code"], 200, "{cdrs:#?}");
    for method in ["carried INVITE", "routed ACK", "routed INVITE", "routed BYE"] {
        let line = proxy.log.wait(method);
        assert!(line.contains(&place.gateway.to_string()), "{line}");
    }
    let past = |d: &&crate::capture::Datagram| {
        d.source.0 == place.gateway && d.destination == (behind, BEHIND_PORT)
    };
    assert_eq!(wire.iter().filter(past).count(), 0, "nothing goes past the proxy");
}

#[test]
fn a_call_from_a_phone_behind_a_proxy_is_answered_and_hung_up_through_it() {
    let place = Place::new();
    let behind = behind(&place);
    let mut gateway = Gateway::start(&place, &place.config());
    let mut proxy = Proxy::start(&place, behind);
    let mut phones = Pbx::start(&place, &[]);
    let arguments = [format!("{}:{PORT}", place.provider)].into_iter();
    let arguments = arguments.chain(["-s", "390612345", "-d", "2000"].map(String::from));
    let arguments = arguments.chain(one_call()).collect();
    let run = Run { scenario: "caller.xml", transport: "u1", arguments };
    Sipp::run_at(&place, behind, BEHIND_PORT, run).succeed();
    phones.events.wait("\"disconnected\"");
    let cdrs = gateway.cdrs_when(1);
    assert!(gateway.stop());
    assert_eq!((&cdrs[0]["code"], &cdrs[0]["ended_by"]), (&200.into(), &"caller".into()));
    assert_eq!(cdrs[0]["from_trunk"], "provider", "{cdrs:#?}");
    for method in ["carried INVITE", "routed ACK", "routed BYE"] {
        let line = proxy.log.wait(method);
        assert!(line.contains(&behind.to_string()), "{line}");
    }
    assert!(hears(&phones.heard(), crate::sipp::TONE_HZ), "PJSIP hears the phone");
}

fn one_call() -> Vec<String> {
    ["-m", "1"].map(String::from).to_vec()
}
