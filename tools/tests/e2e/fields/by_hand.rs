//! A provider by hand: what it says is in the tests word for word.

use std::net::UdpSocket;

use super::header;
use crate::gateway::Place;
use crate::lines::PATIENCE;

/// Where its audio is.
pub const MEDIA_PORT: u16 = 16_000;

/// One call of the provider's.
pub struct ByHand<'p> {
    place: &'p Place,
    socket: UdpSocket,
    number: &'static str,
    contact: String,
    more: String,
    /// As the answer has it, once there is one.
    to: String,
    /// Of the last INVITE.
    sequence: u32,
}

impl<'p> ByHand<'p> {
    /// One that will call `number`.
    pub fn new(place: &'p Place, number: &'static str) -> Self {
        let socket = UdpSocket::bind((place.provider, 5070)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let to = format!("<sip:{number}@{}>", place.gateway);
        let contact = place.provider.to_string();
        Self { place, socket, number, contact, more: String::new(), to, sequence: 0 }
    }

    /// Another call of the same provider's, beside this one.
    pub fn beside(&self, number: &'static str) -> Self {
        let socket = self.socket.try_clone().unwrap();
        let to = format!("<sip:{number}@{}>", self.place.gateway);
        let (contact, more) = (self.contact.clone(), self.more.clone());
        Self { socket, number, contact, more, to, sequence: 0, ..*self }
    }

    /// Its Contact names this host.
    pub fn at(self, contact: &str) -> Self {
        Self { contact: contact.to_owned(), ..self }
    }

    /// Its INVITE has these headers too.
    pub fn saying(self, more: &str) -> Self {
        Self { more: more.to_owned(), ..self }
    }

    /// Sends a request of the call; one that describes media has a body.
    pub fn ask(&mut self, method: &str, body: &str) {
        if method != "ACK" {
            self.sequence += 1;
        }
        let Self { place, number, contact, more, to, sequence, .. } = &*self;
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let message = format!(
            "{method} sip:{number}@{gateway}:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {provider}:5070;branch=z9hG4bK-{number}-{method}-{sequence}\r\n\
             From: \"Alice\" <sip:390200000001@{provider}>;tag=e2e\r\n\
             To: {to}\r\nCall-ID: {number}@{provider}\r\nCSeq: {sequence} {method}\r\n\
             Contact: <sip:390200000001@{contact}:5070>\r\nMax-Forwards: 70\r\n{more}{kind}\
             Content-Length: {length}\r\n\r\n{body}",
            gateway = place.gateway,
            provider = place.provider,
            length = body.len(),
        );
        self.send(&message);
    }

    /// The next message that begins so.
    pub fn receive(&self, start: &str) -> String {
        let mut buffer = [0_u8; 4096];
        loop {
            let (length, _) = self.socket.recv_from(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(start) {
                return text;
            }
        }
    }

    /// Calls; the 2xx, which is acknowledged.
    pub fn call(&mut self) -> String {
        self.ask("INVITE", &audio(self.place, 1));
        self.accepted()
    }

    /// The 2xx to its INVITE, which is acknowledged.
    pub fn accepted(&mut self) -> String {
        self.accepted_with("")
    }

    /// The same where the acknowledgement describes its media.
    pub fn accepted_with(&mut self, body: &str) -> String {
        let accepted = self.receive("SIP/2.0 200");
        self.to = header(&accepted, "To").unwrap().to_owned();
        self.ask("ACK", body);
        accepted
    }

    /// Agrees to a request.
    pub fn accept(&self, request: &str, body: &str) {
        let same: String = ["Via", "From", "To", "Call-ID", "CSeq"]
            .map(|name| format!("{name}: {}\r\n", header(request, name).unwrap()))
            .concat();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let contact = format!("Contact: <sip:390200000001@{}:5070>\r\n", self.contact);
        let length = body.len();
        self.send(&format!(
            "SIP/2.0 200 OK\r\n{same}{contact}{kind}Content-Length: {length}\r\n\r\n{body}"
        ));
    }

    /// Answers the BYE that comes to its Contact.
    pub fn answer_bye(&self) -> String {
        let bye = self.receive(&format!("BYE sip:390200000001@{}:5070", self.contact));
        self.accept(&bye, "");
        bye
    }

    /// Hangs up.
    pub fn hang_up(&mut self) {
        self.ask("BYE", "");
        self.receive("SIP/2.0 200");
    }

    fn send(&self, message: &str) {
        self.socket.send_to(message.as_bytes(), (self.place.gateway, 5060)).unwrap();
    }
}

/// Its audio, in this version of its description.
pub fn audio(place: &Place, version: u32) -> String {
    let media = format!("m=audio {MEDIA_PORT} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n");
    description(place, version, &media)
}

/// A description of the provider's with these media lines.
pub fn description(place: &Place, version: u32, media: &str) -> String {
    let host = place.provider;
    format!("v=0\r\no=- 1 {version} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n{media}")
}
