//! Text that came from a peer and is to appear in a reason for people or in a Warning header.

/// Longest piece of a peer's text that a reason quotes.
const QUOTED_MAX: usize = 64;

/// Printable ASCII without quote and backslash: safe in a log line and in the quoted text of a
/// Warning header (RFC 3261 §20.43).
pub fn quotable(text: &str) -> String {
    text.chars()
        .take(QUOTED_MAX)
        .map(|c| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '?' })
        .collect()
}

/// A `token` of RFC 4566 §9, the alphabet of encoding names.
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| {
            matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9'
                | b'A'..=b'Z' | b'^'..=b'~')
        })
}

/// A decimal number without sign and without leading zeros, as RFC 4568 §9.2 writes them.
pub fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    let canonical = text == "0" || !text.starts_with('0');
    (canonical && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}
