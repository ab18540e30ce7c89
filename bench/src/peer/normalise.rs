//! Makes a message that any SIP element may send readable for `rsip`, and says in one place what
//! `rsip` 0.4 cannot read.
//!
//! The peers read and write SIP with `rsip` because it is an implementation that is not the
//! gateway's. It loses or refuses the following, which RFC 3261 allows; each is rewritten to the
//! equivalent form that it reads:
//!
//! | on the wire | here becomes |
//! |---|---|
//! | compact header names (`v`, `f`, `t`, `i`, `m`, `l`, `c`, ...) | the long names |
//! | folded header lines | one line |
//! | space before the colon, around `;`, `=` and `/` | none |
//! | several values in one `Via` or `Record-Route` | one header each |
//! | display names and quoted parameters of `From`, `To`, `Contact` | dropped: the URI and the tag identify |
//! | more than one `Contact` | the first |
//! | URI headers (`?Replaces=...`) in `Contact` | dropped |
//! | octets after `Content-Length` in a datagram | cut off |
//!
//! It cannot be helped to IPv6 references, `tel:` URIs in the request line and methods that it does
//! not know; such a message is reported as unreadable. It also forgets reason phrases.

/// Rewrites `message` as the table above says. `None` when there is no end of headers, the headers
/// are no text, or the body is shorter than `Content-Length`.
pub fn normalise(message: &[u8]) -> Option<Vec<u8>> {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, rest) = message.split_at_checked(end)?;
    let mut body = rest.get(4..)?;
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = unfold(head).into_iter();
    let mut out = lines.next()?.split_whitespace().collect::<Vec<_>>().join(" ");
    out.push_str("\r\n");
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let (name, value) = (long_name(name.trim()), value.trim());
        if name.eq_ignore_ascii_case("Content-Length") {
            body = body.get(..value.parse().ok()?)?;
        }
        for value in values(name, value) {
            out.push_str(name);
            out.push_str(": ");
            out.push_str(&value);
            out.push_str("\r\n");
        }
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    Some(out)
}

fn unfold(head: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in head.split("\r\n") {
        match lines.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

fn long_name(name: &str) -> &str {
    let compact = |(short, _): &&(&str, &str)| name.eq_ignore_ascii_case(short);
    COMPACT.iter().find(compact).map_or(name, |(_, long)| long)
}

fn values(name: &str, value: &str) -> Vec<String> {
    match name.to_ascii_lowercase().as_str() {
        "via" => split(value, ',').into_iter().map(via).collect(),
        "record-route" => split(value, ',').into_iter().map(|v| address(v, false)).collect(),
        "from" | "to" => vec![address(value, true)],
        "contact" => split(value, ',').into_iter().take(1).map(|v| address(v, false)).collect(),
        "cseq" => vec![value.split_whitespace().collect::<Vec<_>>().join(" ")],
        _ => vec![value.to_owned()],
    }
}

/// `SIP / 2.0 / UDP host : port ; branch = x` without the spaces that carry no meaning.
fn via(value: &str) -> String {
    let mut parts = split(value, ';').into_iter();
    let first = parts.next().unwrap_or_default();
    let mut words = first.rsplit('/');
    let (transport, sent_by) =
        words.next().unwrap_or_default().trim().split_once([' ', '\t']).unwrap_or_default();
    let protocol: Vec<_> = words.rev().map(str::trim).collect();
    let sent_by: String = sent_by.split_whitespace().collect();
    let mut out = format!("{}/{transport} {sent_by}", protocol.join("/"));
    parts.for_each(|part| push_parameter(&mut out, part));
    out
}

/// A name-addr or addr-spec as `<uri>`, with its `tag` when asked for.
fn address(value: &str, keep_parameters: bool) -> String {
    let value = value.trim();
    let (uri, parameters) = match find(value, '<') {
        Some(open) => {
            let inside = value.get(open + 1..).unwrap_or_default();
            inside.split_once('>').unwrap_or((inside, ""))
        }
        // Without angle brackets the parameters are the header's, RFC 3261 §20.10.
        None => value.split_at_checked(find(value, ';').unwrap_or(value.len())).unwrap_or_default(),
    };
    let uri = uri.split('?').next().unwrap_or_default().trim();
    let mut out = format!("<{uri}>");
    if keep_parameters {
        split(parameters, ';').into_iter().for_each(|part| push_parameter(&mut out, part));
    }
    out
}

fn push_parameter(out: &mut String, parameter: &str) {
    let parameter: String = parameter.split_whitespace().collect();
    if !parameter.is_empty() && !parameter.contains('"') {
        out.push(';');
        out.push_str(&parameter);
    }
}

/// First `wanted` outside quotes and, unless it is `<` itself, outside angle brackets.
fn find(text: &str, wanted: char) -> Option<usize> {
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            _ if char == wanted && !angle => return Some(at),
            '<' => angle = true,
            '>' => angle = false,
            _ => {}
        }
    }
    None
}

fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = find(rest, separator) {
        parts.push(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + separator.len_utf8()..).unwrap_or_default();
    }
    parts.push(rest);
    parts
}

/// RFC 3261 §20, RFC 3515, RFC 4028, RFC 3265.
const COMPACT: [(&str, &str); 13] = [
    ("v", "Via"),
    ("f", "From"),
    ("t", "To"),
    ("i", "Call-ID"),
    ("m", "Contact"),
    ("l", "Content-Length"),
    ("c", "Content-Type"),
    ("e", "Content-Encoding"),
    ("k", "Supported"),
    ("s", "Subject"),
    ("r", "Refer-To"),
    ("x", "Session-Expires"),
    ("o", "Event"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rsip_cannot_read_becomes_readable() {
        let wire = "INVITE sip:1@192.0.2.1 SIP/2.0\r\n\
            v: SIP / 2.0 / UDP 192.0.2.2:5060 ;branch = z9hG4bKa, SIP/2.0/TLS 192.0.2.3;branch=b\r\n\
            f : \"A, <b>; \\\"c\" <sip:a@192.0.2.2> ; tag = 1;x=\"q;\"\r\n\
            t: sip:1@192.0.2.1;tag=2\r\n\
            i:call\r\n\
            Subject: one\r\n two\r\n\
            CSeq:  1   INVITE\r\n\
            m: <sip:a@192.0.2.2;transport=udp?Replaces=x>;+sip.instance=\"<urn:y>\", <sip:c@d>\r\n\
            l: 2\r\n\r\nokjunk";
        let expected = "INVITE sip:1@192.0.2.1 SIP/2.0\r\n\
            Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKa\r\n\
            Via: SIP/2.0/TLS 192.0.2.3;branch=b\r\n\
            From: <sip:a@192.0.2.2>;tag=1\r\n\
            To: <sip:1@192.0.2.1>;tag=2\r\n\
            Call-ID: call\r\n\
            Subject: one two\r\n\
            CSeq: 1 INVITE\r\n\
            Contact: <sip:a@192.0.2.2;transport=udp>\r\n\
            Content-Length: 2\r\n\r\nok";
        let out = normalise(wire.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
        assert_eq!(normalise(&out).unwrap(), out);
        assert!(rsip::SipMessage::try_from(out).is_ok());
    }

    #[test]
    fn cut_and_wild_input_is_refused_or_survived() {
        let wire = b"BYE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=b\r\nl: 3\r\n\r\nabc";
        assert!(normalise(wire).is_some());
        for end in 0..wire.len() {
            assert!(normalise(&wire[..end]).is_none(), "cut at {end}");
        }
        for value in ["", ";", ",", "\"", "<", ">", "\\", "/", "SIP/2.0/UDP", "\"\\", "é;ü=\u{a0}"]
        {
            for name in ["Via", "From", "Contact", "CSeq", "Record-Route"] {
                assert!(
                    normalise(format!("A b C\r\n{name}: {value}\r\n\r\n").as_bytes()).is_some()
                );
            }
        }
    }
}
