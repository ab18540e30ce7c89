//! Cuts a TLS byte flow into SIP messages by `Content-Length` (RFC 3261 §18.3), which `rsip` does not
//! do.

/// Bytes of one connection that are not a whole message yet.
#[derive(Default)]
pub struct Framer {
    pending: Vec<u8>,
}

/// The far end sent something that cannot be framed; the connection is of no use any more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unframed {
    #[error("a message is longer than {MESSAGE_MAX} octets")]
    TooLong,
    #[error("a message on a connection has no valid Content-Length")]
    NoLength,
}

impl Framer {
    pub fn push(&mut self, octets: &[u8]) {
        self.pending.extend_from_slice(octets);
    }

    /// The next whole message, if there is one. Keep-alive line ends between messages are skipped
    /// (RFC 5626 §3.5.1).
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, Unframed> {
        let blank = self.pending.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
        self.pending.drain(..blank);
        let Some(end) = self.pending.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if self.pending.len() > MESSAGE_MAX {
                Err(Unframed::TooLong)
            } else {
                Ok(None)
            };
        };
        let head = self.pending.get(..end).unwrap_or_default();
        let total = content_length(head)
            .ok_or(Unframed::NoLength)?
            .checked_add(end + 4)
            .filter(|total| *total <= MESSAGE_MAX)
            .ok_or(Unframed::TooLong)?;
        if self.pending.len() < total {
            return Ok(None);
        }
        let rest = self.pending.split_off(total);
        Ok(Some(std::mem::replace(&mut self.pending, rest)))
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    String::from_utf8_lossy(head).split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim();
        let wanted = name.eq_ignore_ascii_case("Content-Length") || name.eq_ignore_ascii_case("l");
        wanted.then(|| value.trim().parse().ok()).flatten()
    })
}

const MESSAGE_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cutting() {
        let (one, two) = ("A b C\r\nl: 3\r\n\r\nxyz", "D e F\r\nContent-Length : 0\r\n\r\n");
        let wire = format!("\r\n\r\n{one}\r\n{two}");
        for step in 1..wire.len() {
            let (mut framer, mut out) = (Framer::default(), Vec::new());
            for part in wire.as_bytes().chunks(step) {
                framer.push(part);
                while let Some(message) = framer.next_message().unwrap() {
                    out.push(String::from_utf8(message).unwrap());
                }
            }
            assert_eq!(out, [one, two]);
        }
    }

    #[test]
    fn what_cannot_be_framed_is_an_error() {
        let fed = |wire: &[u8]| {
            let mut framer = Framer::default();
            framer.push(wire);
            framer.next_message()
        };
        assert_eq!(fed(b"A b C\r\nX: y\r\n\r\n"), Err(Unframed::NoLength));
        assert_eq!(fed(b"A b C\r\nl: 99999999\r\n\r\n"), Err(Unframed::TooLong));
        assert_eq!(fed(b"A b C\r\nl: 18446744073709551615\r\n\r\n"), Err(Unframed::TooLong));
        assert_eq!(fed(&[b'x'; MESSAGE_MAX + 1]), Err(Unframed::TooLong));
    }
}
