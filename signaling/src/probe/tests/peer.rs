//! Peers that answer as they are told: over UDP, TCP and TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtp::srtp::{MasterKey, Protect, Suite, Unprotect};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sip::wire::{Frame, Framer, HeaderName, Message, Request, parse};

/// What a peer says to a request: whole messages.
pub trait Manner: Fn(&Request) -> Vec<String> + Send + Sync + 'static {}
impl<T: Fn(&Request) -> Vec<String> + Send + Sync + 'static> Manner for T {}

/// A running peer. Its threads end with the process.
pub struct Peer {
    pub address: SocketAddr,
    transport: &'static str,
    /// Every message that came, as text.
    pub heard: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    /// Over UDP.
    pub fn answering(manner: impl Manner) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, heard) = (socket.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let peer = Self { address, transport: "UDP", heard: Arc::clone(&heard) };
        std::thread::spawn(move || {
            let mut buffer = [0; 65_535];
            while let Ok((length, source)) = socket.recv_from(&mut buffer) {
                let raw = Bytes::copy_from_slice(&buffer[..length]);
                heard.lock().unwrap().push(String::from_utf8_lossy(&raw).into_owned());
                if let Ok(Message::Request(request)) = parse(raw) {
                    for text in manner(&request) {
                        let _gone = socket.send_to(text.as_bytes(), source);
                    }
                }
            }
        });
        peer
    }

    /// Over UDP, never answering.
    pub fn silent() -> Self {
        Self::answering(|_| Vec::new())
    }

    /// Over TCP.
    pub fn over_tcp(manner: impl Manner) -> Self {
        let manner = Arc::new(manner);
        Self::accepting("TCP", move |socket, heard| converse(socket, &*manner, heard))
    }

    /// Over TLS.
    pub fn over_tls(config: ServerConfig, manner: impl Manner) -> Self {
        let (config, manner) = (Arc::new(config), Arc::new(manner));
        Self::accepting("TLS", move |socket, heard| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            converse(StreamOwned::new(connection, socket), &*manner, heard);
        })
    }

    /// Something else that accepts connections.
    pub fn accepting(
        transport: &'static str,
        serve: impl Fn(TcpStream, &Mutex<Vec<String>>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heard) = (listener.local_addr().unwrap(), Arc::default());
        let peer = Self { address, transport, heard: Arc::clone(&heard) };
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (serve, heard) = (Arc::clone(&serve), Arc::clone(&heard));
                std::thread::spawn(move || serve(socket, &heard));
            }
        });
        peer
    }

    /// The fields of a trunk that leads here.
    pub fn fields(&self) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        format!("host = \"{ip}\"\nport = {port}\ntransport = \"{}\"\n", self.transport)
    }

    /// Waits for that many messages with this method; all that came.
    pub fn wait(&self, method: &str, count: usize) -> Vec<String> {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            let heard = self.heard(method);
            if heard.len() >= count {
                return heard;
            }
            assert!(Instant::now() < limit, "{count} {method} never came: {heard:?}");
            std::thread::yield_now();
        }
    }

    /// What came with this method so far.
    pub fn heard(&self, method: &str) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|text| text.starts_with(method)).cloned().collect()
    }
}

fn converse(mut socket: impl Read + Write, manner: &dyn Manner, heard: &Mutex<Vec<String>>) {
    let (mut framer, mut buffer) = (Framer::new(), [0; 4_096]);
    loop {
        let Ok(length @ 1..) = socket.read(&mut buffer) else { return };
        if framer.push(&buffer[..length]).is_err() {
            return;
        }
        while let Ok(Some(frame)) = framer.next() {
            let Frame::Message(message) = frame else { continue };
            let text = String::from_utf8_lossy(&message.to_bytes()).into_owned();
            heard.lock().unwrap().push(text);
            let Message::Request(request) = message else { continue };
            for text in manner(&request) {
                if socket.write_all(text.as_bytes()).and_then(|()| socket.flush()).is_err() {
                    return;
                }
            }
        }
    }
}

/// A response that copies what RFC 3261 §8.2.6.2 has copied.
pub fn reply(request: &Request, code: u16, headers: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {code} Whatever\r\n");
    let copied = [HeaderName::Via, HeaderName::From, HeaderName::CallId, HeaderName::CSeq];
    for name in copied {
        for value in request.headers.all(&name) {
            text += &format!("{name}: {}\r\n", String::from_utf8_lossy(value));
        }
    }
    let to = request.headers.get(&HeaderName::To).unwrap();
    let to = String::from_utf8_lossy(to);
    let tag = if to.contains(";tag=") { "" } else { ";tag=peer" };
    format!("{text}To: {to}{tag}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The peer's Contact: where it was asked.
fn contact(request: &Request) -> String {
    format!("Contact: <{}>\r\n", request.uri)
}

/// 200 to an INVITE.
pub fn accept(request: &Request, sdp: &str) -> String {
    let headers = contact(request) + "Content-Type: application/sdp\r\n";
    reply(request, 200, &headers, sdp)
}

/// What a test call's peer does with audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audio {
    /// Sends back what it hears.
    Echo,
    /// Sends nothing.
    Mute,
    /// Sends its own, whatever it hears.
    Monologue,
    /// Drops every fifth packet.
    Lossy,
    /// Encrypts with a key that it did not tell.
    WrongKey,
}

/// A peer that answers OPTIONS, REGISTER, INVITE and BYE with 200.
pub fn answerer(audio: Audio) -> impl Manner {
    move |request: &Request| match request.method.as_str() {
        "INVITE" => {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let sdp = pick_up(&body, audio);
            vec![reply(request, 180, &contact(request), ""), accept(request, &sdp)]
        }
        "ACK" => Vec::new(),
        _ => vec![reply(request, 200, "", "")],
    }
}

/// The key that the peer tells, and the one that it uses when it lies.
const TOLD: &str = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk";
const SECRET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcd";

/// Opens a media socket that behaves, and describes it.
pub fn pick_up(offer: &str, audio: Audio) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let line = |start: &str| offer.lines().find_map(|line| line.strip_prefix(start));
    let theirs: u16 = line("m=audio ").unwrap().split(' ').next().unwrap().parse().unwrap();
    let wanted = "AES_CM_128_HMAC_SHA1_80";
    let crypto = offer
        .lines()
        .filter_map(|line| line.strip_prefix("a=crypto:"))
        .find(|value| value.split(' ').nth(1) == Some(wanted))
        .map(|value| sdp::Crypto::parse(value).unwrap());
    let (profile, answer) = match &crypto {
        Some(crypto) => ("RTP/SAVP", format!("a=crypto:{} {wanted} inline:{TOLD}\r\n", crypto.tag)),
        None => ("RTP/AVP", String::new()),
    };
    let keys = crypto.map(|crypto| {
        let theirs =
            MasterKey::new(Suite::AesCm128HmacSha1_80, crypto.key.key(), crypto.key.salt());
        let used = if audio == Audio::WrongKey { [7; 30].to_vec() } else { SECRET.to_vec() };
        let ours = MasterKey::new(Suite::AesCm128HmacSha1_80, &used[..16], &used[16..]);
        (Unprotect::new(&theirs.unwrap()), Protect::new(&ours.unwrap()))
    });
    std::thread::spawn(move || {
        behave(&socket, SocketAddr::from(([127, 0, 0, 1], theirs)), audio, keys)
    });
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} {profile} 8\r\na=rtpmap:8 PCMA/8000\r\n{answer}"
    )
}

fn behave(
    socket: &UdpSocket,
    _theirs: SocketAddr,
    audio: Audio,
    mut keys: Option<(Unprotect, Protect)>,
) {
    let mut buffer = [0; 2_048];
    let mut count = 0_u32;
    while let Ok((length, source)) = socket.recv_from(&mut buffer) {
        count += 1;
        let mut packet = match &mut keys {
            None => buffer[..length].to_vec(),
            Some((open, _)) => match open.rtp(&mut buffer[..length]) {
                Ok(authentic) => authentic.bytes().to_vec(),
                Err(_) => continue,
            },
        };
        match audio {
            Audio::Mute => continue,
            Audio::Lossy if count.is_multiple_of(5) => continue,
            Audio::Monologue => packet[12..].fill(0x55),
            Audio::Echo | Audio::Lossy | Audio::WrongKey => {}
        }
        if let Some((_, close)) = &mut keys {
            let length = packet.len();
            packet.resize(length + Suite::OVERHEAD_MAX, 0);
            let length = close.rtp(&mut packet, length).unwrap();
            packet.truncate(length);
        }
        let _gone = socket.send_to(&packet, source);
    }
}
