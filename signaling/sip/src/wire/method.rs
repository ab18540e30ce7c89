//! Request methods: the ones this crate knows by name and every other token.

use std::fmt;

use bytes::Bytes;

use super::chars;

/// A request method. Names are case-sensitive tokens (RFC 3261 §7.1).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    /// RFC 3262
    Prack,
    /// RFC 3311
    Update,
    /// RFC 6086
    Info,
    /// RFC 3515
    Refer,
    /// RFC 6665
    Subscribe,
    /// RFC 6665
    Notify,
    /// RFC 3428
    Message,
    /// RFC 3903
    Publish,
    /// Any other token, as it was written.
    Other(Bytes),
}

impl Method {
    /// The method that `name` spells. Anything that is no known name becomes `Other`; the parser
    /// hands in tokens only, and what is written is checked again by the writer.
    pub fn from_bytes(name: Bytes) -> Self {
        KNOWN
            .iter()
            .find(|(text, _)| text.as_bytes() == name)
            .map_or_else(|| Self::Other(name.clone()), |(_, method)| method.clone())
    }

    /// The name as it is written. A name that is not UTF-8 cannot be a token and reads as `_`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(name) => chars::token_text(name),
            known => KNOWN.iter().find(|(_, m)| m == known).map_or("_", |(text, _)| text),
        }
    }
}

impl From<&str> for Method {
    fn from(name: &str) -> Self {
        Self::from_bytes(Bytes::copy_from_slice(name.as_bytes()))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const KNOWN: [(&str, Method); 14] = [
    ("INVITE", Method::Invite),
    ("ACK", Method::Ack),
    ("BYE", Method::Bye),
    ("CANCEL", Method::Cancel),
    ("OPTIONS", Method::Options),
    ("REGISTER", Method::Register),
    ("PRACK", Method::Prack),
    ("UPDATE", Method::Update),
    ("INFO", Method::Info),
    ("REFER", Method::Refer),
    ("SUBSCRIBE", Method::Subscribe),
    ("NOTIFY", Method::Notify),
    ("MESSAGE", Method::Message),
    ("PUBLISH", Method::Publish),
];
