//! What only the inside can see: no table and no timer keeps what is over. The behaviour is tested
//! from outside, in `tests/endpoint/`.

use super::*;
use crate::wire::{HeaderName, Method, Request, StatusCode, Uri, parse};

const HOP: Hop = Hop {
    transport: Transport::Udp,
    remote: std::net::SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)),
        5060,
    ),
    connection: 0,
    tag: 0,
};

fn endpoint() -> Endpoint {
    Endpoint::new(Config {
        seed: [5; 32],
        timers: Timers::default(),
        transactions_max: 100,
        dialogs_max: 1,
        user_agent: String::new(),
        via: Box::new(|_| "192.0.2.1".into()),
        contact: Box::new(|_| "sip:192.0.2.1".into()),
        stays: Box::new(|_, _| false),
    })
}

#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn origin() -> Instant {
    Instant::now()
}

fn message(method: &str, branch: &str, to_tag: &str) -> Message {
    let text = format!(
        "{method} sip:us@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{branch}\r\n\
         From: <sip:p@192.0.2.9>;tag=p\r\nTo: <sip:us@192.0.2.1>{to_tag}\r\n\
         Call-ID: c\r\nCSeq: 1 {method}\r\nContact: <sip:p@192.0.2.9>\r\n\
         Content-Length: 0\r\n\r\n"
    );
    parse(Bytes::from(text)).unwrap()
}

impl Endpoint {
    fn take(&mut self) -> Vec<Event> {
        let mut events = vec![];
        loop {
            match self.poll_output() {
                Output::Event(event) => events.push(event),
                Output::Transmit { .. } => {}
                Output::Timeout(_) | Output::Idle => return events,
            }
        }
    }

    fn receive(&mut self, now: Instant, message: Message) -> Vec<Event> {
        self.handle_input(now, Input::Message { hop: HOP, message });
        self.take()
    }

    /// Everything that could leak.
    fn leftovers(&self) -> [usize; 8] {
        [
            self.clients.len(),
            self.client_keys.len(),
            self.servers.len(),
            self.server_keys.len(),
            self.merged.len(),
            self.lanes.len(),
            self.schedule.len(),
            self.dialogs.len() + usize::from(self.dialogs.is_full(0)),
        ]
    }

    fn run_out(&mut self, now: Instant) {
        while let Output::Timeout(at) = self.poll_output_quietly() {
            assert!(at < now + Duration::from_secs(120));
            self.handle_input(at, Input::Timer);
        }
    }

    fn poll_output_quietly(&mut self) -> Output {
        self.take();
        self.poll_output()
    }
}

fn outgoing(method: Method) -> Request {
    let mut request = Request::new(method, Uri::parse(b"sip:p@192.0.2.9").unwrap());
    request.headers.push(HeaderName::From, "<sip:us@192.0.2.1>");
    request.headers.push(HeaderName::To, "<sip:p@192.0.2.9>");
    request
}

#[test]
fn every_way_to_end_leaves_nothing() {
    let (mut endpoint, now) = (endpoint(), origin());
    for status in [Some(486), Some(200), None] {
        let events = endpoint.receive(now, message("INVITE", "1", ""));
        let [Event::Request { transaction, .. }] = events.as_slice() else { panic!("{events:?}") };
        match status.and_then(StatusCode::new) {
            Some(status) => {
                let dialog = endpoint.respond(now, *transaction, status, vec![], None).unwrap();
                dialog.into_iter().for_each(|dialog| endpoint.close(dialog));
            }
            None => endpoint.drop_server(*transaction),
        }
        endpoint.run_out(now);
        assert_eq!(endpoint.leftovers(), [0; 8], "answered by {status:?}");
    }
    for method in [Method::Invite, Method::Options] {
        endpoint.request(now, HOP, outgoing(method.clone())).unwrap();
        endpoint.run_out(now);
        assert_eq!(endpoint.leftovers(), [0; 8], "{method} timed out");
        endpoint.request(now, HOP, outgoing(method.clone())).unwrap();
        endpoint.handle_input(now, Input::Failed { hop: HOP });
        endpoint.take();
        assert_eq!(endpoint.leftovers(), [0; 8], "{method} failed");
    }
}

#[test]
fn the_ack_stops_both_timers_of_the_2xx() {
    let (mut endpoint, now) = (endpoint(), origin());
    let events = endpoint.receive(now, message("INVITE", "1", ""));
    let [Event::Request { transaction, .. }] = events.as_slice() else { panic!("{events:?}") };
    let dialog = endpoint.respond(now, *transaction, StatusCode::OK, vec![], None).unwrap();
    assert_eq!(endpoint.schedule.len(), 3, "timer L, repetition, give up");
    let entry = endpoint.dialogs.get(dialog.unwrap()).unwrap();
    let tag = String::from_utf8(entry.dialog.local_tag().to_vec()).unwrap();
    let events = endpoint.receive(now, message("ACK", "2", &format!(";tag={tag}")));
    assert!(matches!(events.as_slice(), [Event::Ack { .. }]), "{events:?}");
    assert_eq!(endpoint.schedule.len(), 1, "timer L");
}

/// Each live call has two transactions for half a minute and two dialogs for its length: what is added
/// to one of them is added to a hundred thousand.
#[test]
fn what_is_kept_of_transactions_and_dialogs_stays_small() {
    assert!(size_of::<super::client::Client>() <= 640);
    assert!(size_of::<super::server::Server>() <= 352);
    assert!(size_of::<super::dialogs::Entry>() <= 600);
}
