//! Character classes of the grammar (RFC 3261 §25.1) and the rules that keep a value inside its
//! place when it is written.

use bytes::Bytes;

/// `token` characters.
pub fn is_token(byte: u8) -> bool {
    is_in(byte, TOKEN)
}

/// True for a non-empty token.
pub fn token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token)
}

/// A token as text; `_` for bytes that cannot be a token, so that nothing else is ever written in a
/// token's place.
pub fn token_text(text: &[u8]) -> &str {
    match std::str::from_utf8(text) {
        Ok(name) if token(text) => name,
        _ => "_",
    }
}

/// Space or tab.
pub fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A control character that may not stand bare in a header line: all but the tab.
pub fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// What may stand unquoted as a parameter value: wider than `token / host`, because `received`
/// holds bare IPv6 addresses and tags in the field hold `=`, `@` and more, but nothing that ends a
/// value.
pub fn is_param_value(byte: u8) -> bool {
    is_in(byte, PARAM_VALUE)
}

/// What may stand in a URI: visible ASCII that ends neither a `name-addr` nor a start line.
pub fn is_uri(byte: u8) -> bool {
    is_in(byte, URI)
}

/// `user` with its password, and the bare `#` of service codes such as `#31#`, which the field does
/// not escape.
pub fn is_user(byte: u8) -> bool {
    is_in(byte, USER)
}

/// `paramchar`
pub fn is_uri_param(byte: u8) -> bool {
    is_in(byte, URI_PARAM)
}

/// `headers` after the `?` of a URI
pub fn is_uri_headers(byte: u8) -> bool {
    is_in(byte, URI_HEADERS)
}

/// Letters, digits, `-`, `.`, and the `_` that names in the field hold.
pub fn is_host(byte: u8) -> bool {
    is_in(byte, HOST)
}

const TOKEN: u8 = 1;
const PARAM_VALUE: u8 = 1 << 1;
const URI: u8 = 1 << 2;
const USER: u8 = 1 << 3;
const URI_PARAM: u8 = 1 << 4;
const URI_HEADERS: u8 = 1 << 5;
const HOST: u8 = 1 << 6;

/// The classes of each byte: half of what reading a message costs is to ask for them.
static CLASSES: [u8; 256] = classes();

fn is_in(byte: u8, class: u8) -> bool {
    CLASSES.get(usize::from(byte)).is_some_and(|of| of & class != 0)
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault fails the build")]
const fn classes() -> [u8; 256] {
    let mut all = [0; 256];
    let mut at = 0;
    while at < all.len() {
        let byte = at as u8;
        let (alphanumeric, graphic) = (byte.is_ascii_alphanumeric(), byte.is_ascii_graphic());
        // RFC 3261 §25.1 `unreserved`, and the `%` of an escape.
        let unreserved = alphanumeric || is_among(byte, b"-_.!~*'()%");
        all[at] = bit(TOKEN, alphanumeric || is_among(byte, b"-.!%*_+`'~"))
            | bit(PARAM_VALUE, graphic && !is_among(byte, b"\",;<>\\"))
            | bit(URI, graphic && !is_among(byte, b"<>\"\\"))
            | bit(USER, unreserved || is_among(byte, b"&=+$,;?/:#"))
            | bit(URI_PARAM, unreserved || is_among(byte, b"[]/:&+$"))
            | bit(URI_HEADERS, unreserved || is_among(byte, b"[]/?:+$&="))
            | bit(HOST, alphanumeric || is_among(byte, b"-._"));
        at += 1;
    }
    all
}

const fn bit(class: u8, is_in: bool) -> u8 {
    if is_in { class } else { 0 }
}

const fn is_among(byte: u8, set: &[u8]) -> bool {
    let mut rest = set;
    while let Some((first, tail)) = rest.split_first() {
        if *first == byte {
            return true;
        }
        rest = tail;
    }
    false
}

/// `text` without blanks at both ends, as a slice of the same buffer.
pub fn trim(text: &Bytes) -> Bytes {
    let inside = trimmed(text);
    if inside.len() == text.len() { text.clone() } else { text.slice_ref(inside) }
}

/// `text` without blanks at both ends.
pub fn trimmed(text: &[u8]) -> &[u8] {
    let start = text.iter().take_while(|b| is_blank(**b)).count();
    trimmed_end(text.get(start..).unwrap_or_default())
}

/// `text` without blanks at its end.
pub fn trimmed_end(text: &[u8]) -> &[u8] {
    let blanks = text.iter().rev().take_while(|b| is_blank(**b)).count();
    text.get(..text.len() - blanks).unwrap_or_default()
}

/// A decimal number that fills `text`: digits only, no sign, no blank. `None` too on overflow.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, b| sum.checked_mul(10)?.checked_add(u64::from(b - b'0')))
}

/// What a header value holds apart from visible text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Controls {
    None,
    /// A NUL after a backslash: legal (`quoted-pair`), but never passed on.
    QuotedNul,
    /// A control character that no backslash quotes, or a quoted line end.
    Bare,
}

/// Looks for control characters. Those after a backslash are legal in a quoted string
/// (RFC 3261 §25.1 `quoted-pair`, which excludes CR and LF); all others are not.
pub fn controls(text: &[u8]) -> Controls {
    // One pass without branches for the usual line, which has none.
    if !text.iter().fold(false, |any, byte| any | is_control(*byte)) {
        return Controls::None;
    }
    let mut found = Controls::None;
    let mut quoted = false;
    for byte in text.iter().copied() {
        let ends_line = byte == b'\r' || byte == b'\n';
        if is_control(byte) && (!quoted || ends_line) {
            return Controls::Bare;
        }
        if byte == 0 {
            found = Controls::QuotedNul;
        }
        quoted = byte == b'\\' && !quoted;
    }
    found
}

/// `text` as one line: CR, LF and NUL become spaces, as RFC 9110 §5.5 asks of field values, and so
/// does each control character that no backslash quotes. Costs nothing when there is none.
pub fn one_line(text: Bytes) -> Bytes {
    if controls(&text) == Controls::None {
        return text;
    }
    let mut quoted = false;
    let clean = text.iter().map(|byte| {
        let hostile = matches!(byte, b'\r' | b'\n' | 0) || (is_control(*byte) && !quoted);
        quoted = *byte == b'\\' && !quoted;
        if hostile { b' ' } else { *byte }
    });
    clean.collect()
}

/// The byte that two hexadecimal digits spell.
pub fn hex_pair(pair: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let [high, low] = *pair;
    Some(digit(high)? * 16 + digit(low)?)
}

/// True when each `%` of `text` begins an escape (RFC 3261 §25.1 `escaped`).
pub fn escapes_are_valid(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'%', rest) {
        rest = rest.get(at + 1..).unwrap_or_default();
        if rest.first_chunk().and_then(hex_pair).is_none() {
            return false;
        }
    }
    true
}

/// Appends `text` to a URI; each byte that `keep` refuses, and each `%` that begins no escape,
/// becomes `%HH`.
pub fn write_escaped(out: &mut Vec<u8>, text: &[u8], keep: impl Fn(u8) -> bool) {
    if text.iter().all(|byte| *byte != b'%' && keep(*byte)) {
        return out.extend_from_slice(text);
    }
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        let bare_percent = *byte == b'%' && tail.first_chunk().and_then(hex_pair).is_none();
        if keep(*byte) && !bare_percent {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

/// Appends `text`; each byte that `keep` refuses becomes `_`. For places that know no escape.
pub fn write_kept(out: &mut Vec<u8>, text: &[u8], keep: impl Fn(u8) -> bool) {
    out.extend(text.iter().map(|byte| if keep(*byte) { *byte } else { b'_' }));
}

/// Appends `text` as a quoted string (RFC 3261 §25.1). CR, LF and NUL become spaces.
pub fn write_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text.iter().copied() {
        match byte {
            b'\r' | b'\n' | 0 => out.push(b' '),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            byte if is_control(byte) => out.extend_from_slice(&[b'\\', byte]),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The text of bytes that a `write` method made, for `Display`.
pub fn display(write: impl Fn(&mut Vec<u8>), f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    let mut out = Vec::new();
    write(&mut out);
    f.write_str(&String::from_utf8_lossy(&out))
}
