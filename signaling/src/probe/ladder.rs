//! The messages of a test, with everything secret masked before anybody can see it.

use std::net::SocketAddr;
use std::time::Instant;

use sip::endpoint::Transport;

use super::step::{RUNGS_MAX, Rung, transport_name};

/// Collects messages.
pub(super) struct Ladder {
    start: Instant,
    rungs: Vec<Rung>,
    /// Never to be shown, wherever it stands.
    secrets: Vec<String>,
}

impl Ladder {
    /// `secrets` are masked wherever they stand.
    pub(super) fn new(start: Instant, secrets: Vec<String>) -> Self {
        let secrets = secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
        Self { start, rungs: Vec::new(), secrets }
    }

    /// Adds one message; beyond the limit it is left out.
    pub(super) fn add(
        &mut self,
        sent: bool,
        transport: Transport,
        ends: (SocketAddr, SocketAddr),
        bytes: &[u8],
    ) {
        if self.rungs.len() >= RUNGS_MAX {
            return;
        }
        let text = mask(&String::from_utf8_lossy(bytes), &self.secrets);
        let at_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (local, remote) = ends;
        let transport = transport_name(transport);
        self.rungs.push(Rung { at_ms, sent, transport, local, remote, text });
    }

    pub(super) fn into_rungs(self) -> Vec<Rung> {
        self.rungs
    }
}

/// The message without credentials, keys, tokens and the given secrets.
pub(super) fn mask(text: &str, secrets: &[String]) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
        let folded = line.starts_with([' ', '\t']);
        match name.as_str() {
            "authorization" | "proxy-authorization" => hide_quoted(line, "response"),
            _ if line.starts_with("a=crypto:") => hide_after(line, "inline:"),
            _ if folded => hide_quoted(line, "response"),
            _ => line.to_owned(),
        }
    });
    let mut masked: String = lines.collect();
    for secret in secrets {
        masked = masked.replace(secret.as_str(), MASK);
    }
    masked
}

/// Hides the value of `name="value"`, in any case of letters.
fn hide_quoted(line: &str, name: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let Some(at) = lower.find(name) else { return line.to_owned() };
    let rest = line.get(at..).unwrap_or_default();
    let value = rest.find('"').map(|quote| at + quote + 1);
    let end = value.and_then(|from| line.get(from..)?.find('"').map(|length| from + length));
    match (value, end) {
        (Some(from), Some(to)) => {
            let (head, tail) = (line.get(..from), line.get(to..));
            format!("{}{MASK}{}", head.unwrap_or_default(), tail.unwrap_or_default())
        }
        // Not as we write it: nothing of it is shown.
        _ => format!("{}: {MASK}\r\n", line.split(':').next().unwrap_or_default()),
    }
}

/// Hides everything up to the next separator after each `mark`.
fn hide_after(line: &str, mark: &str) -> String {
    let mut parts = line.split(mark);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['|', ' ', '\r', '\n', ';']).unwrap_or(part.len());
        out.push_str(mark);
        out.push_str(MASK);
        out.push_str(part.get(end..).unwrap_or_default());
    }
    out
}

const MASK: &str = "***";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        let text = "REGISTER sip:a SIP/2.0\r\nContact: <sip:u@1;line=tokentoken>\r\n\
                    Authorization: Digest username=\"u\", response=\"0123456789\", nc=1\r\n\
                    Proxy-Authorization: Digest username=\"u\",\r\n RESPONSE = \"abcdef\"\r\n\
                    authorization: Digest response=unquoted12\r\n\r\n\
                    a=crypto:1 AEAD_AES_128_GCM inline:S0S0S0S0|2^31|1:1 inline:K1K1K1K1\r\n";
        let masked = mask(text, &[String::from("tokentoken"), String::from("swordfish")]);
        for secret in ["tokentoken", "0123456789", "abcdef", "unquoted12", "S0S0S0S0", "K1K1K1K1"] {
            assert!(text.contains(secret), "positive control");
            assert!(!masked.contains(secret), "{masked}");
        }
        for kept in ["username=\"u\"", "|2^31|1:1", "AEAD_AES_128_GCM", "nc=1", "sip:u@1"] {
            assert!(masked.contains(kept), "{kept}: {masked}");
        }
    }

    #[test]
    fn any_text_is_taken() {
        for text in ["", "\n", "authorization", "Authorization: response=\"", "a=crypto:inline:"] {
            let _any = mask(text, &[]);
        }
    }

    #[test]
    fn a_ladder_is_bounded() {
        let mut ladder = Ladder::new(Instant::now(), Vec::new());
        let end: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        for _ in 0..2 * RUNGS_MAX {
            ladder.add(true, Transport::Udp, (end, end), b"x");
        }
        assert_eq!(ladder.into_rungs().len(), RUNGS_MAX);
    }
}
