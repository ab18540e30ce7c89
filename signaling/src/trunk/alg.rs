//! Whether a device on the path rewrites SIP: what answers repeat is held against what we sent.
//!
//! RFC 3261 §8.2.6.2 has Via and From repeated as they were, and a registrar lists our binding as we
//! registered it (§10.3). Over TLS nobody in between can change anything.

use sip::endpoint::{Hop, Transport};
use sip::wire::{Method, Response};

use super::Trunk;
use super::attribution::TOKEN_PARAMETER;

/// What came back otherwise than it was sent; `sent_by` is our `host:port` toward the peer. `None`
/// for other answers than those to REGISTER and OPTIONS.
pub fn rewritten(trunk: &Trunk, hop: &Hop, sent_by: &str, response: &Response) -> Option<Echo> {
    let method = response.headers.cseq().ok()?.method;
    if hop.transport == Transport::Tls || !matches!(method, Method::Register | Method::Options) {
        return None;
    }
    let told = |what: &'static str, came: String| {
        let text = (came != sent_by).then(|| {
            format!(
                "a device on the path rewrites SIP: our {what} said {sent_by} and came back as \
                 {came}"
            )
        });
        Echo(text)
    };
    let via = response.headers.via().ok()?;
    let port = via.port.map(|port| format!(":{port}")).unwrap_or_default();
    let via = told("Via", format!("{}{port}", via.host));
    if via.0.is_some() || !response.status.is_success() || method != Method::Register {
        return Some(via);
    }
    let token = trunk.registration_token.as_ref()?.expose().as_bytes();
    let contacts = response.headers.contacts().unwrap_or_default();
    let ours = contacts.iter().filter_map(|contact| contact.uri.as_sip()).find(|uri| {
        let said = uri.params.get(TOKEN_PARAMETER);
        said.is_some_and(|said| said.as_ref() == token)
    });
    let Some(ours) = ours else { return Some(via) };
    let port = ours.port.map(|port| format!(":{port}")).unwrap_or_default();
    Some(told("Contact", format!("{}{port}", ours.host)))
}

/// What an answer says of the path: `Some` text when it was rewritten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Echo(pub Option<String>);

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sip::wire::{Message, parse};

    use super::*;
    use crate::config;

    fn trunk() -> std::sync::Arc<Trunk> {
        let text = "[sip]\nudp = [\"192.0.2.1:5060\"]\n[[trunk]]\nname = \"t\"\nregister = true\n\
                    username = \"u\"\npassword = \"p\"\nhost = \"198.51.100.1\"\n";
        config::parse(text, std::path::Path::new(".")).unwrap().trunks.remove(0)
    }

    fn judge(trunk: &Trunk, transport: Transport, via: &str, more: &str) -> Option<Echo> {
        let text = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK1;received=203.0.113.9\r\n\
             From: <sip:u@198.51.100.1>;tag=1\r\nTo: <sip:u@198.51.100.1>;tag=2\r\nCall-ID: 1\r\n\
             {more}Content-Length: 0\r\n\r\n"
        );
        let Ok(Message::Response(response)) = parse(Bytes::from(text)) else { panic!("response") };
        let remote = "198.51.100.1:5060".parse().unwrap();
        let hop = Hop { transport, remote, connection: 0, tag: trunk.id.tag() };
        rewritten(trunk, &hop, "192.0.2.1:5060", &response)
    }

    #[test]
    fn what_is_repeated_as_it_was_is_no_finding() {
        let trunk = trunk();
        for method in ["OPTIONS", "REGISTER"] {
            let cseq = format!("CSeq: 1 {method}\r\n");
            let echo = judge(&trunk, Transport::Udp, "192.0.2.1:5060", &cseq);
            assert_eq!(echo, Some(Echo(None)), "received= is no rewriting (RFC 3581)");
        }
        let other = judge(&trunk, Transport::Udp, "10.0.0.1:5060", "CSeq: 1 INVITE\r\n");
        assert_eq!(other, None);
    }

    #[test]
    fn a_changed_via_or_binding_is_found_but_not_over_tls() {
        let trunk = trunk();
        let cseq = "CSeq: 1 OPTIONS\r\n";
        let Some(Echo(Some(text))) = judge(&trunk, Transport::Udp, "10.0.0.1:1024", cseq) else {
            panic!("found")
        };
        assert!(text.contains("Via") && text.contains("10.0.0.1:1024"), "{text}");
        assert_eq!(judge(&trunk, Transport::Tls, "10.0.0.1:1024", cseq), None);
        let token = trunk.registration_token.as_ref().unwrap().expose();
        let contact = |host: &str| {
            format!("CSeq: 1 REGISTER\r\nContact: <sip:u@{host};line={token}>;expires=60\r\n")
        };
        let via = "192.0.2.1:5060";
        let same = judge(&trunk, Transport::Udp, via, &contact("192.0.2.1:5060"));
        assert_eq!(same, Some(Echo(None)));
        let Some(Echo(Some(text))) = judge(&trunk, Transport::Udp, via, &contact("203.0.113.9:7"))
        else {
            panic!("found")
        };
        assert!(text.contains("Contact") && text.contains("203.0.113.9:7"), "{text}");
        // Somebody else's binding says nothing of our path.
        let foreign = "CSeq: 1 REGISTER\r\nContact: <sip:u@203.0.113.9;line=other>\r\n";
        assert_eq!(judge(&trunk, Transport::Udp, via, foreign), Some(Echo(None)));
    }
}
