//! A trunk's peer: an endpoint that does what RFC 3261 asks of a user agent by itself (ACK, the
//! answer to BYE, 487 after CANCEL) and leaves the rest to the test.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use sip::endpoint::{
    ClientId, Config, Counts, DialogId, Endpoint, Event, Hop, Input, Misuse, Output, ServerId,
    Transport,
};
use sip::transaction::Timers;
use sip::wire::{HeaderName, Message, Method, Request, Response, StatusCode, Uri};

pub const SDP: &str = "application/sdp";
const CRYPTO: &str = "AES_CM_128_HMAC_SHA1_80";

pub struct Peer {
    pub endpoint: Endpoint,
    pub transport: Transport,
    pub address: SocketAddr,
    gateway: SocketAddr,
    pub due: Option<Instant>,
    pub invites: VecDeque<(ServerId, Request)>,
    pub cancelled: Vec<ServerId>,
    pub acks: Vec<Request>,
    /// BYEs that came.
    pub byes: usize,
    /// Responses to what this peer asked, BYEs apart.
    pub responses: Vec<(ClientId, Response)>,
    /// The dialog of the last answered call.
    pub dialog: Option<DialogId>,
    /// The dialog of the last call that rang.
    pub early: Option<DialogId>,
    /// Dialogs that a 2xx confirmed, and those of BYEs on their way.
    pub live: BTreeSet<DialogId>,
    ending: HashMap<ClientId, DialogId>,
    pub failures: usize,
    /// A 2xx is not acknowledged while this is set.
    pub mute: bool,
    /// ACKs carry this.
    pub ack_body: Option<String>,
    /// Requests inside of dialogs wait in `asked` for the test; else they are agreed to.
    pub hesitates: bool,
    /// INVITEs and other requests inside of dialogs that came; BYEs apart.
    pub asked: VecDeque<(ServerId, Request)>,
    calls: u64,
}

impl Peer {
    pub fn new(seed: u8, transport: Transport, address: &str, gateway: &str) -> Self {
        let sent_by = address.to_owned();
        let contact = match transport {
            Transport::Tls => format!("sip:peer@{address};transport=tls"),
            _ => format!("sip:peer@{address}"),
        };
        let endpoint = Endpoint::new(Config {
            seed: [seed; 32],
            timers: Timers::default(),
            transactions_max: 100_000,
            dialogs_max: 100_000,
            user_agent: String::from("canary-agent"),
            via: Box::new(move |_| sent_by.clone()),
            contact: Box::new(move |_| contact.clone()),
            stays: Box::new(|_, _| false),
        });
        Self {
            endpoint,
            transport,
            address: address.parse().unwrap(),
            gateway: gateway.parse().unwrap(),
            due: None,
            invites: VecDeque::new(),
            cancelled: Vec::new(),
            acks: Vec::new(),
            byes: 0,
            responses: Vec::new(),
            dialog: None,
            early: None,
            live: BTreeSet::new(),
            ending: HashMap::new(),
            failures: 0,
            mute: false,
            ack_body: None,
            hesitates: false,
            asked: VecDeque::new(),
            calls: 0,
        }
    }

    pub fn counts(&self) -> Counts {
        self.endpoint.counts()
    }

    fn hop(&self) -> Hop {
        let connection = u64::from(self.transport.is_reliable());
        Hop { transport: self.transport, remote: self.gateway, connection, tag: 1 }
    }

    pub fn receive(&mut self, now: Instant, bytes: Bytes) {
        let message = sip::wire::parse(bytes).expect("the gateway writes what a parser reads");
        self.endpoint.handle_input(now, Input::Message { hop: self.hop(), message });
    }

    pub fn disconnect(&mut self, now: Instant) {
        self.endpoint.handle_input(now, Input::Failed { hop: self.hop() });
    }

    /// Everything that the endpoint wants; what it sends is returned.
    pub fn drain(&mut self, now: Instant) -> Vec<Bytes> {
        self.endpoint.handle_input(now, Input::Timer);
        let mut sent = Vec::new();
        loop {
            match self.endpoint.poll_output() {
                Output::Transmit { bytes, .. } => sent.push(bytes),
                Output::Event(event) => self.event(now, event),
                Output::Timeout(at) => {
                    self.due = Some(at);
                    return sent;
                }
                Output::Idle => {
                    self.due = None;
                    return sent;
                }
            }
        }
    }

    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Request { transaction, request, .. } => {
                self.invites.push_back((transaction, request));
            }
            Event::InDialog { transaction, dialog, request, .. } => {
                if request.method == Method::Bye {
                    self.agree(now, transaction, None);
                    self.byes += 1;
                    self.live.remove(&dialog);
                    self.endpoint.close(dialog);
                    return;
                }
                if !self.hesitates {
                    let offers = request.method == Method::Invite && !request.body.is_empty();
                    let body = offers.then(|| self.accept(&request.body));
                    self.agree(now, transaction, body);
                }
                self.asked.push_back((transaction, request));
            }
            Event::Cancelled { transaction } => {
                self.cancelled.push(transaction);
                let status = StatusCode::REQUEST_TERMINATED;
                // Refused when an answer is on its way already.
                let _crossed = self.endpoint.respond(now, transaction, status, vec![], None);
            }
            Event::Ack { request, .. } => self.acks.push(request),
            Event::PrackMissing { .. } => self.failures += 1,
            Event::AckMissing { dialog } => self.hang_up(now, dialog),
            Event::Response { transaction, dialog, response, .. } => {
                self.response(now, transaction, dialog, response);
            }
            Event::Failed { transaction, .. } => {
                self.failures += 1;
                self.ended(transaction);
            }
        }
    }

    fn agree(&mut self, now: Instant, id: ServerId, body: Option<String>) {
        let body = body.map(|body| (SDP, Bytes::from(body)));
        let answered = self.endpoint.respond(now, id, StatusCode::OK, vec![], body);
        answered.expect("a request can be answered");
    }

    /// Asks for something inside of the call's dialog.
    pub fn ask(
        &mut self,
        now: Instant,
        method: Method,
        extra: Vec<(HeaderName, Bytes)>,
        body: Option<String>,
    ) {
        let dialog = self.dialog.expect("there is a dialog");
        let body = body.map(|body| (SDP, Bytes::from(body)));
        let sent = self.endpoint.request_in_dialog(now, dialog, method, extra, body);
        sent.expect("the request can be sent");
    }

    fn response(
        &mut self,
        now: Instant,
        client: ClientId,
        dialog: Option<DialogId>,
        response: Response,
    ) {
        if self.ending.contains_key(&client) {
            if response.status.is_final() {
                self.ended(client);
            }
            return;
        }
        let invite = response.headers.cseq().unwrap().method == Method::Invite;
        if let Some(dialog) = dialog.filter(|_| invite && response.status.is_success()) {
            let body = self.ack_body.clone().map(|body| (SDP, Bytes::from(body)));
            let acknowledged = match self.mute {
                true => Ok(()),
                false => self.endpoint.ack(now, dialog, body),
            };
            match acknowledged {
                Ok(()) => {
                    self.dialog = Some(dialog);
                    self.live.insert(dialog);
                }
                // An answer inside of a dialog that ended meanwhile.
                Err(Misuse::UnknownDialog) => {}
                Err(misuse) => panic!("a new 2xx wants an ACK: {misuse}"),
            }
        }
        let subscribes = response.headers.cseq().unwrap().method == Method::Subscribe;
        if let Some(dialog) = dialog.filter(|_| subscribes) {
            self.dialog = Some(dialog);
        }
        if invite && response.status.is_provisional() {
            self.early = dialog;
        }
        self.responses.push((client, response));
    }

    fn ended(&mut self, client: ClientId) {
        if let Some(dialog) = self.ending.remove(&client) {
            self.live.remove(&dialog);
            self.endpoint.close(dialog);
        }
    }

    pub fn hang_up(&mut self, now: Instant, dialog: DialogId) {
        let sent = self.endpoint.request_in_dialog(now, dialog, Method::Bye, vec![], None);
        if let Ok(client) = sent {
            self.ending.insert(client, dialog);
        }
    }

    pub fn call(&mut self, now: Instant, invite: Request) -> ClientId {
        self.endpoint.request(now, self.hop(), invite).expect("an INVITE can be sent")
    }

    pub fn answer(
        &mut self,
        now: Instant,
        id: ServerId,
        status: u16,
        body: Option<String>,
    ) -> Option<DialogId> {
        self.answer_with(now, id, status, vec![], body)
    }

    pub fn answer_reliably(
        &mut self,
        now: Instant,
        id: ServerId,
        status: u16,
        body: Option<String>,
    ) {
        let status = StatusCode::new(status).unwrap();
        let body = body.map(|body| (SDP, Bytes::from(body)));
        let sent = self.endpoint.respond_reliably(now, id, status, vec![], body);
        sent.expect("an INVITE can be answered");
    }

    pub fn answer_with(
        &mut self,
        now: Instant,
        id: ServerId,
        status: u16,
        extra: Vec<(HeaderName, Bytes)>,
        body: Option<String>,
    ) -> Option<DialogId> {
        let status = StatusCode::new(status).unwrap();
        let body = body.map(|body| (SDP, Bytes::from(body)));
        let dialog = self.endpoint.respond(now, id, status, extra, body).ok()?;
        if status.is_success() {
            self.dialog = dialog;
            self.live.extend(dialog);
        }
        dialog
    }

    /// An INVITE for `number` with or without an offer. Everything in it that tells where the peer
    /// is holds the word `canary` or the address 198.51.100.77.
    pub fn invite(&mut self, number: &str, offer: Option<String>) -> Request {
        self.calls += 1;
        let uri = format!("sip:{number}@{};canary=uri", self.gateway);
        let mut request = Request::new(Method::Invite, Uri::parse(uri.as_bytes()).unwrap());
        let headers = &mut request.headers;
        headers.push(HeaderName::From, "\"A. Caller\" <sip:+4940111@canary.example;canary=from>");
        headers.push(HeaderName::To, format!("<sip:{number}@canary.example>"));
        headers.push(HeaderName::CallId, format!("canary-{}@198.51.100.77", self.calls));
        headers.push(HeaderName::RecordRoute, "<sip:canary-proxy.example;lr>");
        headers.push(HeaderName::from("P-Asserted-Identity"), "<sip:canary@198.51.100.77>");
        headers.push(HeaderName::from("X-Canary"), "canary");
        headers.push(HeaderName::Subject, "canary");
        if let Some(offer) = offer {
            headers.push(HeaderName::ContentType, SDP);
            request.body = Bytes::from(offer);
        }
        request
    }

    /// What this peer offers: RTP/SAVP on TLS, RTP/AVP elsewhere.
    pub fn offer(&self) -> String {
        match self.transport {
            Transport::Tls => description("RTP/SAVP", &crypto(1)),
            _ => description("RTP/AVP", ""),
        }
    }

    /// What this peer answers to an offer of the gateway.
    pub fn accept(&self, offer: &[u8]) -> String {
        match self.transport {
            Transport::Tls => {
                let offer = String::from_utf8_lossy(offer);
                let line = offer.lines().find(|line| line.contains(CRYPTO));
                let tag = line.and_then(|line| line.strip_prefix("a=crypto:")?.split(' ').next());
                description(
                    "RTP/SAVP",
                    &crypto(tag.expect("the offer has the suite").parse().unwrap()),
                )
            }
            _ => description("RTP/AVP", ""),
        }
    }
}

/// Everything that a message of the gateway says to a peer.
pub fn message(bytes: &Bytes) -> Message {
    sip::wire::parse(bytes.clone()).unwrap()
}

fn description(profile: &str, more: &str) -> String {
    format!(
        "v=0\r\no=canary 9977 1 IN IP4 198.51.100.77\r\ns=canary\r\nc=IN IP4 198.51.100.77\r\nt=0 0\r\n\
         m=audio 7000 {profile} 8 0\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n{more}\
         a=x-canary:1\r\na=sendrecv\r\n"
    )
}

/// The key of RFC 4568 §6.1.
fn crypto(tag: u32) -> String {
    format!("a=crypto:{tag} {CRYPTO} inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n")
}
