//! Messages from a byte transport (RFC 3261 §18.3, RFC 5626 §3.5.1).
//!
//! The framer finds the empty line that ends a head, reads the head by the same code as a datagram,
//! and waits for as many body bytes as Content-Length says. Without a Content-Length, or with one
//! that could be read in two ways, nothing after the head can be trusted to be a message: the error
//! is final and the connection is to be closed.

use bytes::{Buf, BytesMut};

use super::Message;
use super::error::{Fault, ParseError};
use super::limits::{FRAMER_BYTES_MAX, MESSAGE_BYTES_MAX};
use super::parse::Head;

/// Cuts a byte transport into frames. How the bytes are split over `push` calls changes nothing.
#[derive(Default)]
pub struct Framer {
    buffer: BytesMut,
    /// Bytes of the buffer in which no head ends: they are not searched again.
    searched: usize,
    /// A head whose body has not come in full.
    head: Option<Head>,
    half_ping: bool,
    broken: Option<ParseError>,
}

/// What came next on a byte transport.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    Message(Message),
    /// The second CRLF of a CRLFCRLF: answer with one CRLF.
    Ping,
    /// A CRLF: the peer lives. The first half of a ping is no different, so that a ping gives
    /// `Pong` and then `Ping`.
    Pong,
}

impl Framer {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was read. Call `next` until it gives `None` after each push: beyond
    /// `FRAMER_BYTES_MAX` held back, this is an error.
    pub fn push(&mut self, data: &[u8]) -> Result<(), ParseError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        if self.buffer.len() + data.len() > FRAMER_BYTES_MAX {
            return self.fail(ParseError::new("message", Fault::TooLong(FRAMER_BYTES_MAX)));
        }
        self.buffer.extend_from_slice(data);
        Ok(())
    }

    /// The next complete frame. After an error the connection cannot be read further: close it.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot be fed between calls")]
    pub fn next(&mut self) -> Result<Option<Frame>, ParseError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let next = self.advance();
        next.or_else(|error| self.fail(error))
    }

    /// True when no part of an unfinished message is held: the connection may be idle for long.
    pub fn is_idle(&self) -> bool {
        self.buffer.is_empty() && self.head.is_none()
    }

    fn advance(&mut self) -> Result<Option<Frame>, ParseError> {
        if self.head.is_none() {
            if self.buffer.starts_with(LINE_END) {
                return Ok(Some(self.take_line_end()));
            }
            if self.buffer.len() < LINE_END.len() || !self.read_head()? {
                return Ok(None);
            }
        }
        self.take_message()
    }

    fn take_line_end(&mut self) -> Frame {
        self.buffer.advance(LINE_END.len());
        self.searched = 0;
        self.half_ping = !self.half_ping;
        if self.half_ping { Frame::Pong } else { Frame::Ping }
    }

    /// Finds and reads a head; false while it is not complete.
    fn read_head(&mut self) -> Result<bool, ParseError> {
        self.half_ping = false;
        let from = self.searched.saturating_sub(HEAD_END.len() - 1);
        let unsearched = self.buffer.get(from..).unwrap_or_default();
        let end = memchr::memmem::find(unsearched, HEAD_END).map(|at| from + at + HEAD_END.len());
        self.searched = self.buffer.len();
        // Beyond the limit the verdict is the same whether or not the end has come already.
        if end.unwrap_or(self.searched) > MESSAGE_BYTES_MAX {
            return Err(ParseError::new("head", Fault::TooLong(MESSAGE_BYTES_MAX)));
        }
        let Some(end) = end else { return Ok(false) };
        let (head, _) = Head::read(&self.buffer.split_to(end).freeze())?;
        self.searched = 0;
        let Some(length) = head.content_length else {
            return Err(head.blame(ParseError::new("Content-Length", Fault::Missing)));
        };
        if end + length > MESSAGE_BYTES_MAX {
            let error = ParseError::new("message", Fault::TooLong(MESSAGE_BYTES_MAX));
            return Err(head.blame(error));
        }
        self.head = Some(head);
        Ok(true)
    }

    fn take_message(&mut self) -> Result<Option<Frame>, ParseError> {
        match self.head.take() {
            Some(head) if head.content_length.unwrap_or(0) <= self.buffer.len() => {
                let body = self.buffer.split_to(head.content_length.unwrap_or(0)).freeze();
                Ok(Some(Frame::Message(head.with_body(body))))
            }
            unfinished => {
                self.head = unfinished;
                Ok(None)
            }
        }
    }

    fn fail<T>(&mut self, error: ParseError) -> Result<T, ParseError> {
        self.broken = Some(error);
        self.buffer = BytesMut::new();
        self.head = None;
        Err(error)
    }
}

const LINE_END: &[u8] = b"\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";
