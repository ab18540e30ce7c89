//! Reading and building the few SIP messages that the peers speak, all through `rsip`.

use std::net::{IpAddr, SocketAddr};

use rsip::headers::{ToTypedHeader as _, UntypedHeader as _};
use rsip::message::{HasHeaders, HeadersExt};
use rsip::{Header, Method, Param, Request, Response, SipMessage, StatusCode, Transport, Uri};

use super::normalise::normalise;

/// A message that cannot be read, or does not say what it must.
#[derive(Debug, thiserror::Error)]
#[error("unreadable SIP message: {0}")]
pub struct Unreadable(String);

impl From<rsip::Error> for Unreadable {
    fn from(error: rsip::Error) -> Unreadable {
        Unreadable(error.to_string())
    }
}

/// Reads one whole message.
pub fn read(wire: &[u8]) -> Result<SipMessage, Unreadable> {
    let text = normalise(wire).ok_or_else(|| {
        Unreadable(format!("cut or without end of headers, {} octets", wire.len()))
    })?;
    Ok(SipMessage::try_from(text)?)
}

/// The branch of the topmost Via: the transaction (RFC 3261 §17.1.3).
pub fn branch(message: &impl HeadersExt) -> Result<String, Unreadable> {
    let branch = message.transaction_id()?;
    let branch = branch.ok_or_else(|| Unreadable("no branch in the topmost Via".into()))?;
    Ok(branch.to_string().trim_start_matches(";branch=").to_owned())
}

pub fn call_id(message: &impl HeadersExt) -> Result<String, Unreadable> {
    Ok(message.call_id_header()?.value().to_owned())
}

/// Sequence number of the CSeq; `None` when absent or not a number.
pub fn cseq(message: &impl HeadersExt) -> Result<(u32, Method), Unreadable> {
    let cseq = message.cseq_header()?.typed()?;
    Ok((cseq.seq, cseq.method))
}

pub fn to_tag(message: &impl HeadersExt) -> Result<Option<String>, Unreadable> {
    Ok(message.to_header()?.tag()?.map(|tag| tag.value().to_owned()))
}

/// Value of the From or To header as it stands: what a dialog repeats in its requests.
pub fn from_value(message: &impl HeadersExt) -> Result<String, Unreadable> {
    Ok(message.from_header()?.value().to_owned())
}

pub fn to_value(message: &impl HeadersExt) -> Result<String, Unreadable> {
    Ok(message.to_header()?.value().to_owned())
}

/// The Contact URI: the target of later requests of the dialog (RFC 3261 §12.1).
pub fn contact(message: &impl HeadersExt) -> Result<Uri, Unreadable> {
    Ok(message.contact_header()?.typed()?.uri)
}

/// Where a URI with an IP address points; `None` for a host name.
pub fn address_of(uri: &Uri, transport: Transport) -> Option<SocketAddr> {
    let address: IpAddr = uri.host().clone().try_into().ok()?;
    let port = uri.port().map_or_else(|| transport.default_port(), Clone::clone);
    Some(SocketAddr::new(address, u16::from(port)))
}

/// What every request of ours is built from.
pub struct Draft<'a> {
    pub method: Method,
    pub uri: Uri,
    pub transport: Transport,
    /// Our own address: the sent-by of the Via and the Contact.
    pub local: SocketAddr,
    pub branch: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    pub call_id: &'a str,
    pub cseq: u32,
    /// A session description; empty for none.
    pub body: &'a str,
}

/// Builds a request.
pub fn request(draft: Draft<'_>) -> Request {
    let via = rsip::typed::Via {
        version: rsip::Version::V2,
        transport: draft.transport,
        uri: draft.local.into(),
        params: vec![Param::Branch(draft.branch.into()), Param::Other("rport".into(), None)],
    };
    let mut headers: Vec<Header> = vec![
        via.into(),
        rsip::headers::MaxForwards::new("70").into(),
        rsip::headers::From::new(draft.from).into(),
        rsip::headers::To::new(draft.to).into(),
        rsip::headers::CallId::new(draft.call_id).into(),
        rsip::headers::CSeq::new(format!("{} {}", draft.cseq, draft.method)).into(),
        rsip::headers::UserAgent::new(AGENT).into(),
    ];
    if draft.method == Method::Invite {
        headers.push(contact_header(draft.local, draft.transport));
        headers.push(rsip::headers::Allow::new(ALLOW).into());
    }
    push_body(&mut headers, draft.body);
    Request {
        method: draft.method,
        uri: draft.uri,
        version: rsip::Version::V2,
        headers: headers.into(),
        body: draft.body.as_bytes().to_vec(),
    }
}

/// What a response adds to the request's own headers.
pub struct Reply<'a> {
    pub code: u16,
    /// Our tag; `None` only for 100.
    pub tag: Option<&'a str>,
    /// Our own address, for the Contact of an INVITE's answer; `None` for none.
    pub contact: Option<(SocketAddr, Transport)>,
    /// A session description; empty for none.
    pub body: &'a str,
}

/// Builds a response to `request`, which came from `source` (RFC 3261 §8.2.6, RFC 3581 §4).
pub fn response(
    request: &Request,
    source: SocketAddr,
    reply: &Reply<'_>,
) -> Result<Response, Unreadable> {
    let mut headers: Vec<Header> = Vec::new();
    let mut top = true;
    for header in request.headers().iter() {
        match header {
            Header::Via(via) if std::mem::take(&mut top) => headers.push(fill(via, source)?),
            Header::To(to) => headers.push(match reply.tag {
                Some(tag) if to.tag()?.is_none() => {
                    rsip::headers::To::new(format!("{};tag={tag}", to.value())).into()
                }
                _ => header.clone(),
            }),
            Header::Via(_)
            | Header::From(_)
            | Header::CallId(_)
            | Header::CSeq(_)
            | Header::RecordRoute(_) => headers.push(header.clone()),
            _ => {}
        }
    }
    headers.push(rsip::headers::Server::new(AGENT).into());
    if let Some((local, transport)) = reply.contact {
        headers.push(contact_header(local, transport));
    }
    headers.push(rsip::headers::Allow::new(ALLOW).into());
    push_body(&mut headers, reply.body);
    Ok(Response {
        status_code: StatusCode::from(reply.code),
        version: rsip::Version::V2,
        headers: headers.into(),
        body: reply.body.as_bytes().to_vec(),
    })
}

/// The Via to return: with the port and address that the request really came from, if asked for.
fn fill(via: &rsip::headers::Via, source: SocketAddr) -> Result<Header, Unreadable> {
    let mut via = via.typed()?;
    let asked = |param: &&mut Param| match param {
        Param::Other(name, None) => name.value().eq_ignore_ascii_case("rport"),
        _ => false,
    };
    if let Some(param) = via.params.iter_mut().find(asked) {
        *param = Param::Other("rport".into(), Some(source.port().to_string().into()));
        via.params.push(Param::Received(source.ip().to_string().into()));
    }
    Ok(via.into())
}

fn contact_header(local: SocketAddr, transport: Transport) -> Header {
    let parameter = transport_parameter(transport);
    rsip::headers::Contact::new(format!("<sip:peer@{local}{parameter}>")).into()
}

/// What a URI says of its transport; UDP goes without saying (RFC 3261 §19.1.1).
pub fn transport_parameter(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
        _ => "",
    }
}

fn push_body(headers: &mut Vec<Header>, body: &str) {
    if !body.is_empty() {
        headers.push(rsip::headers::ContentType::new("application/sdp").into());
    }
    headers.push(rsip::headers::ContentLength::new(body.len().to_string()).into());
}

const AGENT: &str = "trunkline-peer";
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO";

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(uri: &str) -> Draft<'_> {
        Draft {
            method: Method::Invite,
            uri: uri.try_into().unwrap(),
            transport: Transport::Tls,
            local: "127.0.0.1:5081".parse().unwrap(),
            branch: "z9hG4bKabc",
            from: "<sip:1@127.0.0.1:5081>;tag=aa",
            to: "<sip:2@127.0.0.1:5061>",
            call_id: "id-1",
            cseq: 7,
            body: "v=0\r\n",
        }
    }

    #[test]
    fn a_request_is_read_back_as_it_was_built() {
        let built = request(draft("sip:2@127.0.0.1:5061;transport=tls"));
        let SipMessage::Request(back) = read(&Vec::from(built.clone())).unwrap() else {
            panic!("not a request")
        };
        assert_eq!(back, built);
        assert_eq!(branch(&back).unwrap(), "z9hG4bKabc");
        assert_eq!(call_id(&back).unwrap(), "id-1");
        assert_eq!(cseq(&back).unwrap(), (7, Method::Invite));
        assert_eq!(to_tag(&back).unwrap(), None);
        let target = contact(&back).unwrap();
        assert_eq!(address_of(&target, Transport::Tls), "127.0.0.1:5081".parse().ok());
        assert_eq!(target.transport(), Some(&Transport::Tls));
    }

    #[test]
    fn a_response_repeats_what_it_must_and_fills_rport() {
        let asked = request(draft("sip:2@127.0.0.1:5061"));
        let reply = Reply { code: 200, tag: Some("bb"), contact: None, body: "" };
        let source = "127.0.0.9:1234".parse().unwrap();
        let text = response(&asked, source, &reply).unwrap().to_string();
        assert!(text.starts_with("SIP/2.0 200 OK\r\n"), "{text}");
        assert!(text.contains("To: <sip:2@127.0.0.1:5061>;tag=bb\r\n"), "{text}");
        assert!(text.contains(";rport=1234;received=127.0.0.9\r\n"), "{text}");
        assert!(text.contains("CSeq: 7 INVITE\r\n"), "{text}");
        let SipMessage::Response(back) = read(text.as_bytes()).unwrap() else {
            panic!("not a response")
        };
        assert_eq!(branch(&back).unwrap(), "z9hG4bKabc");
        assert_eq!(to_tag(&back).unwrap().as_deref(), Some("bb"));
    }
}
