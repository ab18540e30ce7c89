//! Reading and writing a message, so many times as asked: what the regression gate counts
//! instructions of (`bench/tests/instructions.rs`).
//!
//! `sip_paths PATH COUNT`; a path is `sip-read` (an INVITE with a session description, and the headers
//! that every request needs) or `sip-write` (the same back to bytes).

use bytes::Bytes;
use sip::wire::{CSeq, HeaderName, Message, NameAddr, Via, parse};

type Done = Result<(), Box<dyn std::error::Error>>;

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, count] = arguments.as_slice() else { return Err(USAGE.into()) };
    let count: u32 = count.parse()?;
    let raw = Bytes::from_static(INVITE.as_bytes());
    match path.as_str() {
        "sip-read" => {
            for _ in 0..count {
                read(&parse(std::hint::black_box(raw.clone()))?)?;
            }
        }
        "sip-write" => {
            let message = parse(raw)?;
            for _ in 0..count {
                std::hint::black_box(std::hint::black_box(&message).to_bytes());
            }
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

fn read(message: &Message) -> Done {
    let headers = message.headers();
    let of = |name: HeaderName| headers.get(&name).ok_or("a header is missing");
    std::hint::black_box(Via::parse(of(HeaderName::Via)?)?);
    for name in [HeaderName::From, HeaderName::To, HeaderName::Contact] {
        std::hint::black_box(NameAddr::parse(of(name)?)?);
    }
    std::hint::black_box(CSeq::parse(of(HeaderName::CSeq)?)?);
    Ok(())
}

const INVITE: &str = "INVITE sip:+390212345678@192.0.2.1:5060;transport=udp SIP/2.0\r\n\
    Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK776asdhds;rport\r\n\
    Max-Forwards: 70\r\n\
    From: \"Alice\" <sip:+390698765432@198.51.100.7>;tag=1928301774\r\n\
    To: <sip:+390212345678@192.0.2.1>\r\n\
    Call-ID: a84b4c76e66710@198.51.100.7\r\n\
    CSeq: 314159 INVITE\r\n\
    Contact: <sip:provider@198.51.100.7:5060>\r\n\
    Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO\r\n\
    Supported: timer, 100rel\r\n\
    User-Agent: Provider/1.0\r\n\
    P-Asserted-Identity: <sip:+390698765432@198.51.100.7>\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 153\r\n\r\n\
    v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=x:0\r\n";

const USAGE: &str = "sip_paths sip-read|sip-write COUNT";
