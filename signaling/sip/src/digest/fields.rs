//! The `name=value` list of a challenge or an answer, read from untrusted text and written back.

use bytes::Bytes;

/// The fields of one `Digest` value. A quoted value is kept as it stands between its quotes,
/// escapes included: both sides hash that text, and what is echoed is what was received.
pub struct Fields(Vec<(Bytes, Bytes)>);

impl Fields {
    /// `None` when the scheme is not `Digest`, the list is malformed, or a name stands twice: two
    /// readers could then pick different values.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = value.trim_ascii();
        let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) || !rest.first()?.is_ascii_whitespace() {
            return None;
        }
        Self::parse_list(rest)
    }

    /// The list alone, as it stands in Authentication-Info.
    pub fn parse_list(text: &[u8]) -> Option<Self> {
        let mut fields = Self(Vec::with_capacity(12));
        let mut rest = text.trim_ascii();
        while !rest.is_empty() {
            let (name, value, tail) = next_field(rest)?;
            if fields.0.len() >= FIELDS_MAX || fields.get_bytes(name).is_some() {
                return None;
            }
            fields.0.push((Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)));
            rest = tail;
        }
        Some(fields)
    }

    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.get_bytes(name.as_bytes())
    }

    fn get_bytes(&self, name: &[u8]) -> Option<&Bytes> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// One field at the front of `text`, and what stands after its comma.
fn next_field(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = text.split_at_checked(text.iter().position(|b| *b == b'=')?)?;
    let name = name.trim_ascii();
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    if name.is_empty() || !name.iter().all(is_name) {
        return None;
    }
    let rest = rest.get(1..)?.trim_ascii_start();
    let (value, rest) = if rest.first() == Some(&b'"') {
        let inside = rest.get(1..)?;
        let (value, rest) = inside.split_at_checked(closing_quote(inside)?)?;
        (value, rest.get(1..)?.trim_ascii_start())
    } else {
        let end = rest.iter().position(|b| *b == b',').unwrap_or(rest.len());
        let (value, rest) = rest.split_at_checked(end)?;
        let value = value.trim_ascii();
        if value.is_empty() || !value.iter().all(|b| b.is_ascii_graphic() && *b != b'"') {
            return None;
        }
        (value, rest)
    };
    match rest.split_first() {
        None => Some((name, value, rest)),
        Some((b',', tail)) => Some((name, value, tail.trim_ascii_start())),
        Some(_) => None,
    }
}

fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    text.iter().position(|byte| {
        let closes = *byte == b'"' && !quoted;
        quoted = *byte == b'\\' && !quoted;
        closes
    })
}

/// Writes a `Digest` value field by field.
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new() -> Self {
        Self(SCHEME.to_vec())
    }

    /// A value without quotes.
    pub fn plain(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.extend_from_slice(value.as_bytes());
    }

    /// Text between quotes that holds its escapes already.
    pub fn quoted(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.0.push(b'"');
        self.0.extend_from_slice(value);
        self.0.push(b'"');
    }

    pub fn finish(self) -> Bytes {
        self.0.into()
    }

    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(if self.0.len() > SCHEME.len() { b", " } else { b" " });
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
    }
}

/// Text as it may stand between quotes. CR, LF and NUL become spaces.
pub fn escape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'\r' | b'\n' | 0 => out.push(b' '),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            byte => out.push(byte),
        }
    }
    out
}

const SCHEME: &[u8] = b"Digest";

/// More fields than any RFC defines for one value.
const FIELDS_MAX: usize = 32;
