//! The host of a URI or a Via: a name or a numeric address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use super::ParseError;
use super::chars;
use super::lexer::Cursor;

/// RFC 3261 §25.1 `host`. Names compare without regard to case through `equivalent`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Host {
    Name(Bytes),
    V4(Ipv4Addr),
    /// Written in brackets.
    V6(Ipv6Addr),
}

impl Host {
    /// The numeric address, when it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some(IpAddr::V4(*address)),
            Self::V6(address) => Some(IpAddr::V6(*address)),
        }
    }

    /// Reads one host that fills `text`.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let text = Bytes::copy_from_slice(text);
        let mut cursor = Cursor::new("host", &text);
        let host = Self::read(&mut cursor)?;
        if cursor.at_end() { Ok(host) } else { Err(cursor.fault("nothing after the host")) }
    }

    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        if cursor.eat(b'[') {
            let inside = cursor.look_while(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
            cursor.expect(b']', "']' after an IPv6 address")?;
            let text = String::from_utf8_lossy(inside);
            // The grammar of RFC 3261 allows a third colon before an embedded IPv4 address, and
            // RFC 5118 §4.10 asks for tolerance.
            let address = match text.parse() {
                Err(_) if text.contains('.') => text.replacen(":::", "::", 1).parse(),
                address => address,
            };
            return address.map(Self::V6).map_err(|_| cursor.fault("an IPv6 address in '[]'"));
        }
        let start = *cursor;
        let name = cursor.look_while(chars::is_host);
        if let Some(address) = std::str::from_utf8(name).ok().and_then(|text| text.parse().ok()) {
            return Ok(Self::V4(address));
        }
        // A last label of digits alone is no name (RFC 3261 §25.1 `toplabel`); some resolvers read
        // it as an address in another notation.
        let last = name.rsplit(|b| *b == b'.').find(|label| !label.is_empty());
        match last {
            Some(label) if !label.iter().all(u8::is_ascii_digit) => {
                *cursor = start;
                Ok(Self::Name(cursor.take_while(chars::is_host)))
            }
            _ => Err(cursor.fault("a host name or an IP address")),
        }
    }

    /// `host [":" port]`; with `blanks`, blanks around the colon (RFC 3261 §25.1 COLON in a Via).
    pub(super) fn read_with_port(
        cursor: &mut Cursor<'_>,
        blanks: bool,
    ) -> Result<(Self, Option<u16>), ParseError> {
        let host = Self::read(cursor)?;
        let mut ahead = *cursor;
        if blanks {
            ahead.blanks();
        }
        if !ahead.eat(b':') {
            return Ok((host, None));
        }
        if blanks {
            ahead.blanks();
        }
        let port = ahead.number(u64::from(u16::MAX), "a port number after ':'")?;
        *cursor = ahead;
        Ok((host, u16::try_from(port).ok()))
    }

    pub(super) fn write_with_port(&self, port: Option<u16>, out: &mut Vec<u8>) {
        match self {
            Self::Name(name) => chars::write_kept(out, name, chars::is_host),
            Self::V4(address) => out.extend_from_slice(address.to_string().as_bytes()),
            Self::V6(address) => out.extend_from_slice(format!("[{address}]").as_bytes()),
        }
        if let Some(port) = port {
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
    }

    /// Equal without regard to the case of a name.
    pub fn equivalent(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => a.eq_ignore_ascii_case(b),
            _ => self == other,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chars::display(|out| self.write_with_port(None, out), f)
    }
}
