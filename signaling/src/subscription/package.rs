//! What may be subscribed to.

use bytes::Bytes;
use sip::wire::{HeaderName, Headers};

/// An event package that is relayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Package {
    /// How many messages wait (RFC 3842).
    MessageSummary,
    /// Who talks (RFC 4235).
    Dialog,
}

impl Package {
    const ALL: [Self; 2] = [Self::MessageSummary, Self::Dialog];

    /// Its name, case and all (RFC 6665 §7.2).
    pub const fn name(self) -> &'static str {
        match self {
            Self::MessageSummary => "message-summary",
            Self::Dialog => "dialog",
        }
    }

    /// The one body type that its NOTIFYs have.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::MessageSummary => "application/simple-message-summary",
            Self::Dialog => "application/dialog-info+xml",
        }
    }

    /// That type, as whoever takes no other says.
    pub fn accept(self) -> (HeaderName, Bytes) {
        (HeaderName::Accept, Bytes::from_static(self.content_type().as_bytes()))
    }

    /// What Event names, and its `id` if it has one; `None` for another package, and for an `id` that
    /// is no plain word.
    pub fn of(headers: &Headers) -> Option<(Self, Option<Bytes>)> {
        let event = headers.event().ok().flatten()?;
        let package = Self::ALL.into_iter().find(|one| event.package == one.name().as_bytes())?;
        let is_plain = |id: &Bytes| {
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
            (1..=ID_BYTES_MAX).contains(&id.len()) && id.iter().all(is_word)
        };
        match event.id {
            Some(id) if !is_plain(&id) => None,
            id => Some((package, id)),
        }
    }

    /// Whether a NOTIFY has nothing but a body of this package, or none.
    pub fn is_body(self, headers: &Headers, body: &[u8]) -> bool {
        if body.is_empty() {
            return true;
        }
        let Some(kind) = headers.content_type() else { return false };
        let end = kind.iter().position(|b| *b == b';').unwrap_or(kind.len());
        let kind = kind.get(..end).unwrap_or_default().trim_ascii();
        kind.eq_ignore_ascii_case(self.content_type().as_bytes())
    }
}

/// All of them, for Allow-Events.
pub const NAMES: &str = "message-summary, dialog";

/// Bytes of an Event's `id`.
pub const ID_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use sip::wire::HeaderName;

    use super::*;

    fn of(value: &str) -> Option<(Package, Option<Bytes>)> {
        let mut headers = Headers::new();
        headers.push(HeaderName::Event, value.to_owned());
        Package::of(&headers)
    }

    #[test]
    fn two_packages_are_known_with_an_id_that_is_a_word() {
        assert_eq!(of("dialog"), Some((Package::Dialog, None)));
        let known = of("message-summary;id=a.1;x=y");
        assert_eq!(known, Some((Package::MessageSummary, Some(Bytes::from("a.1")))));
        let longest = "x".repeat(ID_BYTES_MAX);
        assert!(of(&format!("dialog;id={longest}")).is_some());
        for value in ["presence", "Dialog", "dialog.winfo", "refer", "", "dialog;id=\"a b\""] {
            assert_eq!(of(value), None, "{value}");
        }
        assert_eq!(of(&format!("dialog;id={longest}x")), None);
        assert_eq!(Package::of(&Headers::new()), None);
        assert_eq!(NAMES, Package::ALL.map(Package::name).join(", "));
    }

    #[test]
    fn a_body_is_of_its_package_or_absent() {
        let is_body = |kind: &str, body: &[u8]| {
            let mut headers = Headers::new();
            headers.push(HeaderName::ContentType, kind.to_owned());
            Package::Dialog.is_body(&headers, body)
        };
        assert!(is_body("Application/dialog-info+xml;charset=utf-8", b"<x/>"));
        assert!(!is_body("application/sdp", b"v=0"));
        assert!(is_body("application/sdp", b""));
        assert!(!Package::Dialog.is_body(&Headers::new(), b"x"));
    }
}
