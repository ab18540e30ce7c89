//! What must not work.

use std::net::UdpSocket;
use std::time::Duration;

use crate::gateway::{Gateway, MEDIA_PORTS, Place};
use crate::pbx::Pbx;
use crate::sipp::Sipp;

fn invite(place: &Place, from: std::net::Ipv4Addr, body: &str) -> String {
    format!(
        "INVITE sip:390612345@{gateway}:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {from}:5070;branch=z9hG4bK-e2e-{length}\r\n\
         From: <sip:390200000001@{provider}>;tag=e2e\r\n\
         To: <sip:390612345@{gateway}>\r\n\
         Call-ID: e2e-{length}@{from}\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:390200000001@{provider}:5070>\r\n\
         P-Asserted-Identity: <sip:390200000001@{provider}>\r\n\
         Max-Forwards: 70\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {length}\r\n\r\n{body}",
        gateway = place.gateway,
        provider = place.provider,
        length = body.len(),
    )
}

fn offer(place: &Place) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\n\
         m=audio 16000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n",
        place.provider
    )
}

/// Ports of the gateway's media range that take a datagram: for those that do not, the kernel refuses.
/// Not every media backend has a socket per port.
fn media_ports(place: &Place) -> usize {
    let probe = |port: u16| {
        let probe = UdpSocket::bind((place.stranger, 0)).unwrap();
        probe.connect((place.gateway, port)).unwrap();
        probe.send(b"?").unwrap();
        probe
    };
    let probes: Vec<UdpSocket> = MEDIA_PORTS.map(probe).collect();
    // Loopback keeps the order: when this refusal is there, so are those before it.
    let refused = |socket: &UdpSocket| {
        socket.recv(&mut [0; 1]).unwrap_err().kind() == std::io::ErrorKind::ConnectionRefused
    };
    assert!(refused(&probe(CLOSED)));
    let is_open = |socket: &&UdpSocket| {
        socket.set_nonblocking(true).unwrap();
        !refused(socket)
    };
    probes.iter().filter(is_open).count()
}

/// The discard service, which nobody runs.
const CLOSED: u16 = 9;

/// Sends `message` from `from` and returns what comes back within half a second.
fn ask(place: &Place, from: std::net::Ipv4Addr, message: &str) -> Option<String> {
    let socket = UdpSocket::bind((from, 5070)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket.send_to(message.as_bytes(), (place.gateway, 5060)).unwrap();
    let mut buffer = [0_u8; 4096];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[test]
fn an_invite_from_nowhere_leaves_no_trace() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &place.config());
    let mut phones = Pbx::start(&place, &[]);
    assert_eq!(media_ports(&place), 0, "no call, no port");
    // The message is the provider's own in every header; only the source address is not.
    let message = invite(&place, place.provider, &offer(&place));
    assert_eq!(ask(&place, place.stranger, &message), None, "no reply on UDP");
    gateway.log.wait("belongs to no trunk");
    assert_eq!(media_ports(&place), 0, "no port opened");
    // Positive control: the same bytes from the provider ring the PBX and open ports.
    let reply = ask(&place, place.provider, &message).expect("a reply");
    assert!(reply.starts_with("SIP/2.0 1") || reply.starts_with("SIP/2.0 200"), "{reply}");
    phones.events.wait("\"incoming\"");
    assert_eq!(media_ports(&place), 4, "two legs, RTP and RTCP each");
    assert!(gateway.stop());
    let incoming = phones.events.seen.iter().filter(|e| e.contains("\"incoming\"")).count();
    assert_eq!(incoming, 1, "one call, not two");
    let refusals = gateway.log.rest().iter().filter(|l| l.contains("belongs to no trunk")).count();
    assert_eq!(refusals, 1, "counted once");
    assert_eq!(gateway.cdrs().len(), 1, "the stranger's INVITE is no attempt");
}

#[test]
fn malformed_messages_disturb_nobody() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &place.config());
    let mut phones = Pbx::start(&place, &[]);
    let whole = invite(&place, place.provider, &offer(&place));
    let socket = UdpSocket::bind((place.provider, 5071)).unwrap();
    for cut in (0..whole.len()).step_by(7) {
        socket.send_to(&whole.as_bytes()[..cut], (place.gateway, 5060)).unwrap();
    }
    for broken in
        ["v=0\r\nm=audio", "not sdp at all", "v=0\r\no=- 1 1 IN IP4 x\r\ns=-\r\nt=0 0\r\n"]
    {
        let reply = ask(&place, place.provider, &invite(&place, place.provider, broken));
        let reply = reply.expect("a malformed session description is answered");
        assert!(reply.starts_with("SIP/2.0 4"), "{reply}");
    }
    // A good call goes on as if nothing had been.
    Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 500).succeed();
    phones.events.wait("\"disconnected\"");
    assert!(gateway.stop());
    assert!(gateway.cdrs().iter().any(|cdr| cdr["code"] == 200));
}

#[test]
fn a_secure_trunk_without_srtp_is_refused() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &place.config());
    let mut phones = Pbx::start(&place, &["--plain"]);
    phones.call(&place, "0612345");
    let end = phones.events.wait("\"disconnected\"");
    assert!(end.contains("488"), "an offer of RTP/AVP on the secure trunk: {end}");
    let cdrs = gateway.cdrs_when(1);
    assert_eq!(cdrs[0]["code"], 488, "{cdrs:#?}");
    assert!(gateway.stop());
}

#[test]
fn the_callees_refusal_reaches_the_caller() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &place.config());
    let mut phones = Pbx::start(&place, &["--refuse", "486"]);
    let reply = first_final(&place, &invite(&place, place.provider, &offer(&place)));
    assert!(reply.starts_with("SIP/2.0 486"), "{reply}");
    phones.events.wait("\"incoming\"");
    let cdrs = gateway.cdrs_when(1);
    assert_eq!(cdrs[0]["code"], 486, "{cdrs:#?}");
    assert!(gateway.stop());
}

#[test]
fn a_cancelled_call_stops_ringing() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &place.config());
    let mut phones = Pbx::start(&place, &["--ring-only"]);
    let message = invite(&place, place.provider, &offer(&place));
    let socket = UdpSocket::bind((place.provider, 5070)).unwrap();
    socket.set_read_timeout(Some(crate::lines::PATIENCE)).unwrap();
    socket.send_to(message.as_bytes(), (place.gateway, 5060)).unwrap();
    receive_until(&socket, "SIP/2.0 180");
    let head = message.split("Contact:").next().unwrap();
    let cancel = head.replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL");
    let cancel = format!("{cancel}Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n");
    socket.send_to(cancel.as_bytes(), (place.gateway, 5060)).unwrap();
    receive_until(&socket, "SIP/2.0 487");
    phones.events.wait("\"disconnected\"");
    let cdrs = gateway.cdrs_when(1);
    assert_eq!(cdrs[0]["code"], 487, "{cdrs:#?}");
    assert_eq!(media_ports(&place), 0, "ports are given back");
    assert!(gateway.stop());
}

#[test]
fn more_calls_than_ports_are_refused_cleanly() {
    let place = Place::new();
    // Ten ports: two calls of four ports each.
    let config = place.config().replace("20000-20199", "20000-20009");
    let mut gateway = Gateway::start(&place, &config);
    let mut phones = Pbx::start(&place, &[]);
    let mut caller = Sipp::call(&place, "caller.xml", "u1", "390612345", 3, 2000);
    assert!(!caller.wait().success(), "one of three calls is refused");
    let cdrs = gateway.cdrs_when(3);
    let answered = cdrs.iter().filter(|cdr| cdr["code"] == 200).count();
    let refused = cdrs.iter().filter(|cdr| cdr["code"] == 503).count();
    assert_eq!((answered, refused), (2, 1), "{cdrs:#?}");
    phones.events.wait("\"disconnected\"");
    assert!(gateway.stop());
}

fn receive_until(socket: &UdpSocket, start: &str) -> String {
    let mut buffer = [0_u8; 4096];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).unwrap_or_else(|e| panic!("{start}: {e}"));
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with(start) {
            return text;
        }
    }
}

fn first_final(place: &Place, message: &str) -> String {
    let socket = UdpSocket::bind((place.provider, 5070)).unwrap();
    socket.set_read_timeout(Some(crate::lines::PATIENCE)).unwrap();
    socket.send_to(message.as_bytes(), (place.gateway, 5060)).unwrap();
    let mut buffer = [0_u8; 4096];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if !text.starts_with("SIP/2.0 1") {
            return text;
        }
    }
}
