//! Bencode, the notation of rtpengine's ng protocol: integers, octet strings, lists, dictionaries.
//!
//! ```text
//! i42e    5:hello    l 1:a 1:b e    d 3:key 5:value e
//! ```

use thiserror::Error;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Integer(i64),
    Octets(Vec<u8>),
    List(Vec<Value>),
    /// In the order written; keys are not sorted for the reader's sake.
    Dictionary(Vec<(Vec<u8>, Value)>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not bencode at octet {at}: {what}")]
pub struct Malformed {
    pub at: usize,
    pub what: &'static str,
}

impl Value {
    pub fn text(text: &str) -> Value {
        Value::Octets(text.as_bytes().to_vec())
    }

    pub fn texts(texts: &[&str]) -> Value {
        Value::List(texts.iter().map(|text| Value::text(text)).collect())
    }

    pub fn dictionary(entries: Vec<(&str, Value)>) -> Value {
        Value::Dictionary(
            entries.into_iter().map(|(key, value)| (key.as_bytes().to_vec(), value)).collect(),
        )
    }

    /// The value of `key`, when this is a dictionary that has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Value::Dictionary(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key.as_bytes()).map(|(_, value)| value)
    }

    /// The text, when this is an octet string of UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        let Value::Octets(octets) = self else { return None };
        std::str::from_utf8(octets).ok()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Integer(number) => out.extend_from_slice(format!("i{number}e").as_bytes()),
            Value::Octets(octets) => encode_octets(octets, out),
            Value::List(items) => {
                out.push(b'l');
                items.iter().for_each(|item| item.encode(out));
                out.push(b'e');
            }
            Value::Dictionary(entries) => {
                out.push(b'd');
                for (key, value) in entries {
                    encode_octets(key, out);
                    value.encode(out);
                }
                out.push(b'e');
            }
        }
    }

    /// Reads exactly one value.
    ///
    /// # Errors
    /// The first octet that does not belong, values nested deeper than [`DEPTH_MAX`], and anything
    /// after the value.
    pub fn decode(bytes: &[u8]) -> Result<Value, Malformed> {
        let mut reader = Reader { bytes, at: 0 };
        let value = reader.value(0)?;
        if reader.at == bytes.len() { Ok(value) } else { Err(reader.malformed("more follows")) }
    }
}

fn encode_octets(octets: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}:", octets.len()).as_bytes());
    out.extend_from_slice(octets);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        if depth > DEPTH_MAX {
            return Err(self.malformed("nested too deep"));
        }
        match self.peek() {
            Some(b'i') => {
                self.at += 1;
                let number = self.number(b'e')?;
                Ok(Value::Integer(number))
            }
            Some(b'l') => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.ended() {
                    items.push(self.value(depth + 1)?);
                }
                Ok(Value::List(items))
            }
            Some(b'd') => {
                self.at += 1;
                let mut entries = Vec::new();
                while !self.ended() {
                    entries.push((self.octets()?, self.value(depth + 1)?));
                }
                Ok(Value::Dictionary(entries))
            }
            Some(b'0'..=b'9') => self.octets().map(Value::Octets),
            _ => Err(self.malformed("no value begins so")),
        }
    }

    fn octets(&mut self) -> Result<Vec<u8>, Malformed> {
        let len = usize::try_from(self.number(b':')?).map_err(|_| self.malformed("length"))?;
        let end = self.at.checked_add(len).ok_or_else(|| self.malformed("length"))?;
        let octets = self.bytes.get(self.at..end).ok_or_else(|| self.malformed("cut short"))?;
        self.at = end;
        Ok(octets.to_vec())
    }

    /// Digits up to `end`, which is taken too.
    fn number(&mut self, end: u8) -> Result<i64, Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = rest.iter().take(DIGITS_MAX).position(|byte| *byte == end);
        let digits = len.and_then(|len| rest.get(..len));
        let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let number = text.filter(|text| !text.starts_with('+')).and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| self.malformed("no number"))?;
        self.at += digits.map_or(0, <[u8]>::len) + 1;
        Ok(number)
    }

    fn ended(&mut self) -> bool {
        let ended = self.peek() == Some(b'e');
        self.at += usize::from(ended);
        ended
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }
}

/// rtpengine's answers nest four deep; a hostile one must not exhaust our stack.
pub const DEPTH_MAX: usize = 32;
/// Digits and sign of any i64, and the end mark.
const DIGITS_MAX: usize = 21;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        Value::dictionary(vec![
            ("command", Value::text("offer")),
            ("flags", Value::texts(&["trust-address", ""])),
            ("number", Value::Integer(-42)),
            ("nested", Value::dictionary(vec![("empty", Value::List(Vec::new()))])),
        ])
    }

    fn encoded(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&mut out);
        out
    }

    #[test]
    fn known_octets_both_ways() {
        let octets = encoded(&sample());
        assert_eq!(
            String::from_utf8_lossy(&octets),
            "d7:command5:offer5:flagsl13:trust-address0:e6:numberi-42e6:nestedd5:emptyleee"
        );
        assert_eq!(Value::decode(&octets), Ok(sample()));
        assert_eq!(sample().get("command").and_then(Value::as_text), Some("offer"));
        assert_eq!(sample().get("absent"), None);
        assert_eq!(Value::Integer(1).get("command"), None);
        assert_eq!(Value::Octets(vec![0xff]).as_text(), None);
    }

    #[test]
    fn every_cut_and_every_changed_octet_ends_in_an_answer() {
        let whole = encoded(&sample());
        for len in 0..whole.len() {
            assert!(Value::decode(&whole[..len]).is_err(), "cut at {len}");
        }
        for at in 0..whole.len() {
            for value in 0..=u8::MAX {
                let mut bad = whole.clone();
                bad[at] = value;
                if let Ok(value) = Value::decode(&bad) {
                    assert_eq!(Value::decode(&encoded(&value)), Ok(value));
                }
            }
        }
    }

    #[test]
    fn what_is_not_bencode_is_refused() {
        let deep = [vec![b'l'; DEPTH_MAX + 2], vec![b'e'; DEPTH_MAX + 2]].concat();
        let bad: [&[u8]; 14] = [
            b"",
            b"e",
            b"i",
            b"ie",
            b"i+1e",
            b"i1",
            b"-1:a",
            b"1:",
            b"9999999999999999999:a",
            b"99999999999999999999999:a",
            b"di1e1:ae",
            b"d1:ae",
            b"i1ei2e",
            &deep,
        ];
        for octets in bad {
            assert!(Value::decode(octets).is_err(), "{}", String::from_utf8_lossy(octets));
        }
        let fits = [vec![b'l'; DEPTH_MAX + 1], vec![b'e'; DEPTH_MAX + 1]].concat();
        assert!(Value::decode(&fits).is_ok(), "the limit itself is reached");
    }
}
