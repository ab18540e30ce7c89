//! One endpoint, a hand-written peer, virtual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::endpoint::{
    ClientId, Config, DialogId, Endpoint, Event, Hop, Input, Output, ServerId, Transport,
};
use sip::transaction::Timers;
use sip::wire::{HeaderName, Message, Method, Request, Response, Uri, parse};

pub const T1: Duration = Duration::from_millis(500);
pub const GIVE_UP: Duration = Duration::from_secs(32);

/// Some moment: virtual time needs an origin and nothing else of a clock.
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
pub fn origin() -> Instant {
    Instant::now()
}

pub fn config(seed: u8) -> Config {
    Config {
        seed: [seed; 32],
        timers: Timers::default(),
        transactions_max: 1000,
        dialogs_max: 1000,
        user_agent: String::new(),
        via: Box::new(|_| "192.0.2.1:5060".into()),
        contact: Box::new(|hop| format!("sip:us@192.0.2.1:5060;tag{}", hop.tag)),
        stays: Box::new(|_, _| false),
    }
}

pub fn hop(transport: Transport, remote: &str) -> Hop {
    Hop { transport, remote: remote.parse().unwrap(), connection: 0, tag: 7 }
}

pub fn udp() -> Hop {
    hop(Transport::Udp, "192.0.2.9:5060")
}

/// A TCP connection that is up.
pub fn tcp() -> Hop {
    Hop { connection: 5, ..hop(Transport::Tcp, "192.0.2.9:41000") }
}

pub struct Solo {
    pub now: Instant,
    pub endpoint: Endpoint,
    pub sent: Vec<(Hop, Bytes)>,
    pub events: Vec<Event>,
    pub timeout: Option<Instant>,
}

impl Solo {
    pub fn new() -> Self {
        Self::with(config(1))
    }

    pub fn with(config: Config) -> Self {
        let endpoint = Endpoint::new(config);
        Solo { now: origin(), endpoint, sent: vec![], events: vec![], timeout: None }
    }

    pub fn drain(&mut self) {
        loop {
            match self.endpoint.poll_output() {
                Output::Transmit { hop, bytes } => self.sent.push((hop, bytes)),
                Output::Event(event) => self.events.push(event),
                Output::Timeout(at) => return self.timeout = Some(at),
                Output::Idle => return self.timeout = None,
            }
        }
    }

    pub fn receive(&mut self, hop: Hop, text: &str) {
        let message = parse(Bytes::from(text.to_owned())).unwrap_or_else(|e| panic!("{e}\n{text}"));
        self.endpoint.handle_input(self.now, Input::Message { hop, message });
        self.drain();
    }

    pub fn failed(&mut self, hop: Hop) {
        self.endpoint.handle_input(self.now, Input::Failed { hop });
        self.drain();
    }

    /// Lets time pass, firing each timer at its moment.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.drain();
        while let Some(at) = self.timeout.filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.endpoint.handle_input(self.now, Input::Timer);
            self.drain();
        }
        self.now = end;
    }

    pub fn sent(&mut self) -> Vec<Message> {
        self.drain();
        let sent = std::mem::take(&mut self.sent);
        sent.into_iter().map(|(_, bytes)| parse(bytes).unwrap()).collect()
    }

    /// What was sent since the last look, in short: `INVITE`, `ACK`, `200 INVITE`.
    pub fn said(&mut self) -> Vec<String> {
        self.sent().iter().map(short).collect()
    }

    pub fn one_request(&mut self) -> Request {
        match <[Message; 1]>::try_from(self.sent()) {
            Ok([Message::Request(request)]) => request,
            other => panic!("one request, not {other:?}"),
        }
    }

    pub fn one_response(&mut self) -> Response {
        match <[Message; 1]>::try_from(self.sent()) {
            Ok([Message::Response(response)]) => response,
            other => panic!("one response, not {other:?}"),
        }
    }

    pub fn events(&mut self) -> Vec<Event> {
        self.drain();
        std::mem::take(&mut self.events)
    }

    pub fn one_event(&mut self) -> Event {
        match <[Event; 1]>::try_from(self.events()) {
            Ok([event]) => event,
            Err(other) => panic!("one event, not {other:?}"),
        }
    }

    pub fn respond(&mut self, id: ServerId, code: u16) -> Option<DialogId> {
        let status = sip::wire::StatusCode::new(code).unwrap();
        let dialog = self.endpoint.respond(self.now, id, status, vec![], None).unwrap();
        self.drain();
        dialog
    }

    /// Sends an INVITE and gives its transaction and what went out.
    pub fn invite(&mut self, hop: Hop) -> (ClientId, Request) {
        let request = outgoing(Method::Invite, &[]);
        let id = self.endpoint.request(self.now, hop, request).unwrap();
        (id, self.one_request())
    }

    /// An answered outgoing call, acknowledged.
    pub fn call(&mut self, hop: Hop) -> (DialogId, Request) {
        let (_, invite) = self.invite(hop);
        self.receive(hop, &reply(&invite, 200, "b1", CONTACT));
        let Event::Response { dialog: Some(dialog), .. } = self.one_event() else { panic!() };
        self.endpoint.ack(self.now, dialog, None).unwrap();
        assert_eq!(self.said(), ["ACK"]);
        (dialog, invite)
    }

    /// An accepted incoming call, acknowledged by the peer.
    pub fn called(&mut self, hop: Hop, call: &str) -> (DialogId, String) {
        self.receive(hop, &incoming("INVITE", call, 1, "", CONTACT));
        let Event::Request { transaction, .. } = self.one_event() else { panic!() };
        let dialog = self.respond(transaction, 200).unwrap();
        let tag = to_tag(&self.one_response());
        self.receive(hop, &incoming("ACK", call, 1, &tag, ""));
        assert!(matches!(self.one_event(), Event::Ack { .. }));
        (dialog, tag)
    }

    pub fn assert_empty(&self) {
        let counts = self.endpoint.counts();
        assert_eq!((counts.transactions, counts.dialogs), (0, 0));
        assert_eq!(self.timeout, None, "no timer may be left");
    }
}

pub const CONTACT: &str = "Contact: <sip:peer@192.0.2.9:5060>\r\n";

pub fn short(message: &Message) -> String {
    match message {
        Message::Request(request) => request.method.to_string(),
        Message::Response(response) => {
            format!("{} {}", response.status, response.headers.cseq().unwrap().method)
        }
    }
}

/// A request of ours before the endpoint completes it.
pub fn outgoing(method: Method, extra: &[(HeaderName, &'static str)]) -> Request {
    let mut request = Request::new(method, Uri::parse(b"sip:bob@192.0.2.9").unwrap());
    request.headers.push(HeaderName::From, "<sip:us@192.0.2.1>");
    request.headers.push(HeaderName::To, "<sip:bob@192.0.2.9>");
    for (name, value) in extra {
        request.headers.push(name.clone(), *value);
    }
    request
}

/// The peer's response to our request.
pub fn reply(request: &Request, status: u16, tag: &str, extra: &str) -> String {
    let header = |name| {
        let value = request.headers.get(&name).unwrap();
        format!("{name}: {}\r\n", String::from_utf8_lossy(value))
    };
    let to = request.headers.to().unwrap();
    let to = if tag.is_empty() || to.tag().is_some() { to } else { to.with_tag(tag.to_owned()) };
    format!(
        "SIP/2.0 {status} X\r\n{}{}To: {to}\r\n{}{}{extra}Content-Length: 0\r\n\r\n",
        header(HeaderName::Via),
        header(HeaderName::From),
        header(HeaderName::CallId),
        header(HeaderName::CSeq),
    )
}

/// The peer's request. Its branch is a function of call, number and method (ACK and CANCEL share
/// that of the INVITE; the ACK of a 2xx should not, so `tag` gives it its own).
pub fn incoming(method: &str, call: &str, number: u32, tag: &str, extra: &str) -> String {
    let kind = match method {
        "ACK" if tag.is_empty() => "INVITE",
        "CANCEL" => "INVITE",
        other => other,
    };
    let to = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    format!(
        "{method} sip:us@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-{call}-{number}-{kind}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:bob@192.0.2.9>;tag=p-{call}\r\n\
         To: <sip:us@192.0.2.1>{to}\r\n\
         Call-ID: {call}\r\n\
         CSeq: {number} {method}\r\n\
         {extra}Content-Length: 0\r\n\r\n"
    )
}

pub fn to_tag(response: &Response) -> String {
    let to = response.headers.to().unwrap();
    String::from_utf8(to.tag().expect("a To-tag").to_vec()).unwrap()
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
