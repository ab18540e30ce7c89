//! Via values (RFC 3261 §20.42, RFC 3581).

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;

use super::chars;
use super::error::{Fault, ParseError};
use super::lexer::Cursor;
use super::{Host, Params};

/// One Via value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Via {
    /// `UDP`, `TCP`, `TLS`, ... as it was written.
    pub transport: Bytes,
    pub host: Host,
    pub port: Option<u16>,
    pub params: Params,
}

impl Via {
    /// Reads one value that fills `text`.
    pub fn parse(text: &Bytes) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new("Via", text);
        cursor.blanks();
        let name = cursor.look_token("SIP/2.0/transport")?;
        slash(&mut cursor)?;
        let version = cursor.look_token("SIP/2.0/transport")?;
        if !name.eq_ignore_ascii_case(b"SIP") || version != b"2.0" {
            return Err(cursor.error(Fault::Version));
        }
        slash(&mut cursor)?;
        let transport = cursor.token("a transport after SIP/2.0/")?;
        if !cursor.blanks() {
            return Err(cursor.fault("a space between transport and host"));
        }
        let (host, port) = Host::read_with_port(&mut cursor, true)?;
        let params = Params::read(&mut cursor)?;
        Ok(Self { transport, host, port, params })
    }

    pub fn branch(&self) -> Option<&Bytes> {
        self.params.get("branch").filter(|branch| !branch.is_empty())
    }

    /// The `received` address (brackets around IPv6 tolerated, RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let text = std::str::from_utf8(self.params.get("received")?).ok()?;
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        bare.parse().ok()
    }

    /// The value of `rport` (RFC 3581 §4).
    pub fn rport(&self) -> Option<u16> {
        u16::try_from(chars::decimal(self.params.get("rport")?)?).ok()
    }

    /// True when `rport` is there, with or without a value.
    pub fn wants_rport(&self) -> bool {
        self.params.has("rport")
    }

    /// The value as bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(128);
        self.write(&mut out);
        out.into()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"SIP/2.0/");
        out.extend_from_slice(chars::token_text(&self.transport).as_bytes());
        out.push(b' ');
        self.host.write_with_port(self.port, out);
        self.params.write(out);
    }

    /// True when the branch begins with the magic cookie and has more than it: then it identifies
    /// the transaction (RFC 3261 §17.2.3, RFC 4475 §3.2.1).
    pub fn has_cookie(&self) -> bool {
        self.branch().is_some_and(|branch| {
            branch.len() > COOKIE.len()
                && branch.get(..COOKIE.len()).is_some_and(|b| b.eq_ignore_ascii_case(COOKIE))
        })
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chars::display(|out| self.write(out), f)
    }
}

fn slash(cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
    cursor.blanks();
    cursor.expect(b'/', "'/' in SIP/2.0/transport")?;
    cursor.blanks();
    Ok(())
}

const COOKIE: &[u8] = b"z9hG4bK";
